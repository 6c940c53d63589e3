//! Caches that travel: reading what one knows, bringing a layer from it, writing one.

use std::io;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::Args;
use super::cache::{Export, Target};
use super::deliver::{Pushing, push_options};
use super::result::Built;
use super::watch::Watch;
use crate::build::cache::Records;
use crate::build::cache::elsewhere::{self, Blob, Entry, Origin};
use crate::build::solve::CachePlace;
use crate::build::step::worker::Layer;
use crate::cmd::registry_options::{RegistryOptions, RetryOptions};
use crate::cmd::{Context, pull, short_names};
use crate::sandbox::userns;
use crate::spec::digest::Digest;
use crate::spec::image::{Descriptor, Manifest};
use crate::spec::reference::ImageRef;
use crate::store::Store;
use crate::store::archive::{Changing, Layout};
use crate::store::compress::Compressor;
use crate::store::gc::Lease;
use crate::store::intake::{Expected, Intake, Keep};
use crate::store::pull::{self as pulling, Progress, PullOptions};
use crate::store::push::{self, Format};
use crate::store::registry::manifest;
use crate::store::unpack::Compression;
use crate::store::variants::Variant;

/// How registries are reached.
pub struct Reach<'a> {
    pub context: &'a Context,
    pub registry: &'a RegistryOptions,
    pub retry: &'a RetryOptions,
}

impl Reach<'_> {
    /// What a cache knows.
    pub fn read(&self, place: &CachePlace, progress: &mut dyn Progress) -> Result<Vec<Entry>> {
        match place {
            CachePlace::Local { directory, tag, digest } => read_layout(directory, tag, *digest),
            CachePlace::Registry(name) => {
                let candidates = short_names::candidates(self.context, name)?;
                short_names::in_turn(name, &candidates, |reference| {
                    let options = self.options(reference)?;
                    let found = pulling::look_up(self.context.store()?, reference, &options, progress)?;
                    let config = elsewhere::config(&found.config)?;
                    let blobs: Vec<Blob> = found
                        .layers
                        .iter()
                        .map(|layer| Blob {
                            diff_id: layer.diff_id,
                            digest: layer.blob.digest,
                            size: layer.blob.size,
                            compression: layer.compression,
                        })
                        .collect();
                    Ok(elsewhere::entries(&config, &blobs, &Origin::Registry(reference.to_string())))
                })
            }
        }
    }

    /// Brings a step's layer into the store, on top of the layers of the diff ids `below`.
    pub fn bring(&self, entry: &Entry, below: &[Digest], lease: &Lease, progress: &mut dyn Progress) -> Result<()> {
        let store = self.context.store()?;
        let Some(layer) = entry.record.layer else { return Ok(()) };
        lease.add(&entry.record.digests())?;
        let mut unpacker = pull::unpack_worker(store)?;
        let mut input = match &entry.origin {
            Origin::Registry(name) => {
                let reference: ImageRef = name.parse()?;
                let options = PullOptions { single_id: userns::is_single(store)?, ..self.options(&reference)? };
                let wanted = pulling::Layer {
                    blob: manifest::Descriptor { digest: layer.blob, size: layer.size },
                    compression: layer.compression,
                    diff_id: layer.diff_id,
                    chain_id: layer.chain_id,
                };
                pulling::fetch_layer(store, &reference, wanted, &options, &mut unpacker, progress)?;
                return Ok(());
            }
            Origin::Layout(directory) => Layout::at(directory).blob(layer.blob)?,
            Origin::Store => store.blobs().open(layer.blob)?,
        };
        let limits = self.context.layer_limits()?;
        let single_id = userns::is_single(store)?;
        let mut intake = Intake { store, lease, unpacker: &mut unpacker, single_id, limits };
        let expected = Expected { blob: Some(layer.blob), size: Some(layer.size), diff_id: Some(layer.diff_id) };
        intake.take(&mut input, below, &expected, Keep::AsRead, &mut |_| ())?;
        Ok(())
    }

    fn options(&self, reference: &ImageRef) -> Result<PullOptions> {
        self.registry.pull_options(self.context, reference, self.retry)
    }
}

fn read_layout(directory: &Path, tag: &str, digest: Option<Digest>) -> Result<Vec<Entry>> {
    let layout = Layout::at(directory);
    let manifest = layout.find(tag, digest)?;
    let config = elsewhere::config(&layout.document(manifest.config.digest)?)?;
    let blob = |(layer, diff_id): (&Descriptor, &Digest)| {
        let compression = compression_of(&layer.media_type);
        Blob { diff_id: *diff_id, digest: layer.digest, size: layer.size, compression }
    };
    let blobs: Vec<Blob> = manifest.layers.iter().zip(&config.rootfs.diff_ids).map(blob).collect();
    Ok(elsewhere::entries(&config, &blobs, &Origin::Layout(directory.to_owned())))
}

fn compression_of(media_type: &str) -> Compression {
    let all = [Compression::Gzip, Compression::Zstd];
    all.into_iter().find(|one| Format::Oci.layer(*one) == media_type).unwrap_or(Compression::None)
}

/// Writes the caches that were asked for.
pub fn export(context: &Context, args: &Args, targets: &[Target], built: &[Built], watch: &mut Watch) -> Result<()> {
    for target in targets {
        let Target::Place(export) = target else { continue };
        let name = format!("exporting cache to {}", export.place);
        let written = watch.during(&name, |tell| write(context, args, export, built, tell));
        match written {
            Err(error) if export.optional => crate::cmd::warn(&format!("{name}: {error:#}")),
            written => written?,
        }
    }
    Ok(())
}

fn write(
    context: &Context,
    args: &Args,
    export: &Export,
    built: &[Built],
    tell: &mut dyn FnMut(&str, u64, u64),
) -> Result<()> {
    let store = context.store()?;
    let Some(first) = built.first() else { return Ok(()) };
    let steps = built.iter().map(|built| &built.outcome.steps);
    let keys: Vec<Digest> =
        steps.flat_map(|steps| if export.whole { &steps.all } else { &steps.result }).copied().collect();
    let mut records = Records::of(store).of_keys(&keys);
    records.retain(|record| record.layer.is_none_or(|layer| store.blobs().contains(layer.blob)));
    let (config, layers) = elsewhere::image(&records, &first.outcome.platform)?;
    let config = serde_json::to_vec(&config)?;
    match &export.place {
        CachePlace::Local { directory, tag, .. } => {
            let changing = Layout::at(directory).change()?;
            let layers = layers.iter().map(|layer| add_layer(store, &changing, layer, export, tell));
            let layers = layers.collect::<Result<Vec<Descriptor>>>()?;
            tell("writing config", 0, 0);
            let manifest = manifest_of(changing.put(&config)?, layers);
            let written = changing.put(&serde_json::to_vec(&manifest)?)?;
            tell(&format!("writing manifest {}", written.0), 0, 0);
            changing.tag(tag, Format::Oci.manifest(), written)
        }
        CachePlace::Registry(name) => {
            let lease = &first.outcome.lease;
            let put = |bytes: &[u8]| -> Result<(Digest, u64)> {
                lease.add(&[Digest::of(bytes)])?;
                Ok((store.blobs().put(bytes)?, bytes.len() as u64))
            };
            let layers = layers.iter().map(elsewhere::descriptor).collect();
            let manifest = put(&serde_json::to_vec(&manifest_of(put(&config)?, layers))?)?;
            let to = context.image_name(name)?;
            let options = push_options(args, context, &to, export.codec, export.force)?;
            let pushed = push::send(store, manifest.0, &to, &options, &mut Pushing::new(tell))?;
            tell(&format!("pushing manifest for {to}@{}", pushed.digest), 0, 0);
            Ok(())
        }
    }
}

fn manifest_of((digest, size): (Digest, u64), layers: Vec<Descriptor>) -> Manifest {
    Manifest::new(Format::Oci.manifest(), Descriptor::new(Format::Oci.config(), digest, size), layers)
}

/// Adds a layer's blob to a layout, compressed if it is to be. What was compressed in an earlier build and is there
/// is not compressed again.
fn add_layer(
    store: &Store,
    changing: &Changing,
    layer: &Layer,
    export: &Export,
    tell: &mut dyn FnMut(&str, u64, u64),
) -> Result<Descriptor> {
    let wanted = export.codec.filter(|_| layer.compression == Compression::None);
    let mut packed = *layer;
    if let Some(codec) = wanted {
        packed.compression = codec.compression();
        let media_type = Format::Oci.layer(packed.compression);
        let level = codec.level();
        let known = store.variants().of(layer.diff_id).into_iter();
        let mut known = known.filter(|known| known.media_type == media_type && known.level == level);
        match known.find(|known| changing.has(known.blob, known.size)) {
            Some(known) => (packed.blob, packed.size) = (known.blob, known.size),
            None => {
                tell(&format!("writing layer {}", layer.diff_id), 0, 0);
                (packed.blob, packed.size) = changing.add(|out| {
                    let mut out = Compressor::new(codec, out)?;
                    io::copy(&mut store.blobs().open(layer.blob)?, &mut out)?;
                    Ok(out.finish()?)
                })?;
                let variant =
                    Variant { blob: packed.blob, size: packed.size, media_type: media_type.to_owned(), level };
                store.variants().remember(layer.diff_id, variant)?;
            }
        }
    } else if !changing.has(layer.blob, layer.size) {
        tell(&format!("writing layer {}", layer.diff_id), 0, 0);
        changing
            .add(|mut out| {
                io::copy(&mut store.blobs().open(layer.blob)?, &mut out)?;
                Ok(out)
            })
            .with_context(|| format!("write layer {}", layer.diff_id))?;
    }
    Ok(elsewhere::descriptor(&packed))
}
