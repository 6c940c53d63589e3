//! OCI image layouts (image-spec, image-layout.md), and skopeo's directories of one manifest and
//! its blobs.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::{Entry, Found, add_name, of_manifest, parse_name};
use crate::spec::image::{Descriptor, Index};
use crate::spec::platform::Platform;
use crate::spec::reference::ImageRef;
use crate::spec::text::printable;
use crate::store::archive::{Contents, INDEX, NAME_ANNOTATION, REF_ANNOTATION, blob_name};
use crate::store::registry::manifest::{self, Document};

/// Indexes within indexes.
const DEPTH_MAX: usize = 4;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layout {
    image_layout_version: String,
}

/// Whether the layout is one that we read.
pub(super) fn check_version(layout: &[u8]) -> Result<()> {
    let layout: Layout = serde_json::from_slice(layout).context("oci-layout of the archive is malformed")?;
    match layout.image_layout_version.starts_with("1.") {
        true => Ok(()),
        false => bail!("the archive's OCI layout has the unknown version {}", printable(&layout.image_layout_version)),
    }
}

/// The images of a layout. Several entries of one name are one image for several platforms: the one
/// for `wanted`, or else for the host, is meant.
pub(super) fn find(
    contents: &Contents,
    index: &[u8],
    wanted: Option<&Platform>,
    only: Option<&Entry>,
) -> Result<Vec<Found>> {
    let mut index = match manifest::parse(None, index) {
        Ok(Document::Index(index)) => index,
        Ok(Document::Image(_)) => bail!("{INDEX} of the archive is no index"),
        Err(why) => bail!("{INDEX} of the archive cannot be used: {why}"),
    };
    if let Some(only) = only {
        index.manifests = chosen(index.manifests, only)?;
    }
    let mut by_name: BTreeMap<Option<ImageRef>, Vec<&Descriptor>> = BTreeMap::new();
    let mut order = Vec::new();
    for entry in &index.manifests {
        let name = name(entry)?;
        if !order.contains(&name) {
            order.push(name.clone());
        }
        let same = by_name.entry(name).or_default();
        if same.iter().all(|known| known.digest != entry.digest) {
            same.push(entry);
        }
    }
    let mut images: Vec<Found> = Vec::new();
    for name in order {
        let entries = by_name.remove(&name).unwrap_or_default();
        for found in of_entries(contents, &entries, wanted, name.is_some(), 0)? {
            let known = images.iter().position(|image| image.manifest == found.manifest);
            let position = known.unwrap_or_else(|| {
                images.push(found);
                images.len() - 1
            });
            if let Some(name) = &name {
                add_name(&mut images[position].names, name.clone());
            }
        }
    }
    Ok(images)
}

/// The entries that are meant, several if they are for several platforms.
fn chosen(manifests: Vec<Descriptor>, only: &Entry) -> Result<Vec<Descriptor>> {
    let has_tag = |entry: &Descriptor, tag: &str| {
        let name = entry.annotations.get(REF_ANNOTATION);
        name.is_some_and(|name| name == tag || name.rsplit_once(':').is_some_and(|(_, last)| last == tag))
    };
    let is_meant = |entry: &Descriptor| match only {
        Entry::Digest(digest) => entry.digest == *digest,
        Entry::Tag(tag) => has_tag(entry, tag),
        Entry::Usual => manifests.len() == 1 || has_tag(entry, "latest"),
    };
    let chosen: Vec<Descriptor> = manifests.iter().filter(|entry| is_meant(entry)).cloned().collect();
    match (chosen.is_empty(), only) {
        (false, _) => Ok(chosen),
        (true, Entry::Digest(digest)) => bail!("it has no entry {digest}"),
        (true, Entry::Tag(tag)) => bail!("it has no entry with the tag {}", printable(tag)),
        (true, Entry::Usual) => bail!("it has several entries and none with the tag latest: name one"),
    }
}

/// The image of what skopeo's `dir:` wrote, whose only document is `bytes`.
pub(super) fn of_directory(contents: &Contents, bytes: &[u8]) -> Result<Vec<Found>> {
    Ok(vec![of_manifest(contents, bytes.to_owned(), None, |digest| digest.hex())?])
}

/// containerd's annotation holds a whole name. The specification's holds a tag by itself, which
/// names nothing, or a whole name as podman and skopeo write it.
fn name(entry: &Descriptor) -> Result<Option<ImageRef>> {
    if let Some(name) = entry.annotations.get(NAME_ANNOTATION) {
        return parse_name(name).map(Some);
    }
    let whole = entry.annotations.get(REF_ANNOTATION).filter(|text| text.contains([':', '/']));
    // It may be anything: what is no name is none.
    Ok(whole.and_then(|text| parse_name(text).ok()))
}

/// The images that some entries mean: all where nothing but the content tells them apart; of those
/// for several platforms the one that is wanted.
fn of_entries(
    contents: &Contents,
    entries: &[&Descriptor],
    wanted: Option<&Platform>,
    one: bool,
    depth: usize,
) -> Result<Vec<Found>> {
    if depth > DEPTH_MAX {
        bail!("indexes are nested more than {DEPTH_MAX} deep in the archive");
    }
    let mut platforms: Vec<Platform> = entries.iter().filter_map(|entry| platform(entry)).collect();
    platforms.sort_by_key(ToString::to_string);
    platforms.dedup();
    let several = platforms.len() > 1 || (one && entries.len() > 1);
    let chosen = if several { vec![choose(contents, entries, wanted)?] } else { entries.to_vec() };
    let mut images = Vec::new();
    for entry in chosen {
        if is_attestation(entry) {
            continue;
        }
        let bytes = contents.verified(&blob_name(entry.digest), entry.digest)?;
        let kind = Some(entry.media_type.as_str()).filter(|kind| !kind.is_empty());
        match manifest::parse(kind, &bytes) {
            Ok(Document::Index(Index { manifests, .. })) => {
                let nested: Vec<&Descriptor> = manifests.iter().collect();
                images.extend(of_entries(contents, &nested, wanted, true, depth + 1)?);
            }
            Ok(Document::Image(_)) => images.push(of_manifest(contents, bytes, kind, blob_name)?),
            Err(why) => bail!("manifest {} of the archive cannot be used: {why}", entry.digest),
        }
    }
    Ok(images)
}

/// The entry for the platform that is wanted, else for the host, else the only one whose manifest
/// is in the archive.
fn choose<'a>(contents: &Contents, entries: &[&'a Descriptor], wanted: Option<&Platform>) -> Result<&'a Descriptor> {
    let here = |entry: &&&Descriptor| matches!(contents.open(&blob_name(entry.digest)), Ok(Some(_)));
    let images: Vec<&'a Descriptor> =
        entries.iter().filter(|entry| !is_attestation(entry)).filter(here).copied().collect();
    let host = Platform::host();
    let target = wanted.unwrap_or(&host);
    let index = Index {
        schema_version: 2,
        media_type: None,
        manifests: images.iter().map(|entry| (*entry).clone()).collect(),
        rest: serde_json::Map::new(),
    };
    match (manifest::select(&index, target), images.as_slice()) {
        (Ok(chosen), images) => {
            let found = images.iter().find(|entry| entry.digest == chosen.digest).copied();
            found.context("the selected image is not in the archive")
        }
        (Err(_), [only]) if wanted.is_none() => Ok(only),
        (Err(available), images) if available.is_empty() => {
            bail!("the archive has {} manifests for one image, and none for {target}", images.len())
        }
        (Err(available), _) => bail!("no image of the archive is for {target}: it has {}", available.join(", ")),
    }
}

fn platform(entry: &Descriptor) -> Option<Platform> {
    entry.platform.as_ref().filter(|_| !is_attestation(entry)).map(|platform| platform.normalised())
}

/// BuildKit's descriptions of how an image was made stand beside it.
fn is_attestation(entry: &Descriptor) -> bool {
    entry.annotations.contains_key("vnd.docker.reference.type")
        || entry.platform.as_ref().is_some_and(|platform| platform.os == "unknown")
}
