//! An OCI layout as a directory that images are added to and read from (OCI image-spec, image-layout.md). What
//! others have put there stays.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use oci_distribution::manifest::OCI_IMAGE_INDEX_MEDIA_TYPE;
use rustix::fs::{FlockOperation, flock};
use serde_json::Map;

use super::{DOCUMENT_MAX, INDEX, LAYOUT, LAYOUT_VERSION, REF_ANNOTATION, blob_name};
use crate::spec::digest::Digest;
use crate::spec::image::{Descriptor, Index, Manifest};
use crate::store::metered::Digested;

const BLOBS: &str = "blobs/sha256";
/// What is being written.
const NEW: &str = ".new";

/// A layout.
#[derive(Clone, Debug)]
pub struct Layout {
    directory: PathBuf,
}

/// The right to change a layout, until it is dropped.
#[derive(Debug)]
pub struct Changing {
    layout: Layout,
    _lock: File,
}

impl Layout {
    /// The one in `directory`, which need not be there.
    pub fn at(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// The manifest of an image: the one of this digest, else of this tag.
    pub fn find(&self, tag: &str, digest: Option<Digest>) -> Result<Manifest> {
        let digest = match digest {
            Some(digest) => digest,
            None => {
                let tagged =
                    |entry: &&Descriptor| entry.annotations.get(REF_ANNOTATION).is_some_and(|name| name == tag);
                let index = self.index()?;
                let found = index.manifests.iter().find(tagged);
                found.map(|entry| entry.digest).ok_or_else(|| anyhow!("it has nothing of the tag {tag}"))?
            }
        };
        serde_json::from_slice(&self.document(digest)?).with_context(|| format!("read the manifest {digest}"))
    }

    /// A manifest or a configuration, verified.
    pub fn document(&self, digest: Digest) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.blob(digest)?.take(DOCUMENT_MAX).read_to_end(&mut bytes).with_context(|| format!("read blob {digest}"))?;
        if Digest::of(&bytes) != digest {
            bail!("blob {digest} is damaged");
        }
        Ok(bytes)
    }

    /// A blob, as it lies there.
    pub fn blob(&self, digest: Digest) -> Result<File> {
        File::open(self.directory.join(blob_name(digest))).with_context(|| format!("open blob {digest}"))
    }

    /// Makes the layout if it is not there, and waits until nobody else changes it.
    pub fn change(&self) -> Result<Changing> {
        let make = || -> io::Result<File> {
            std::fs::create_dir_all(self.directory.join(BLOBS))?;
            let lock = File::open(&self.directory)?;
            flock(&lock, FlockOperation::LockExclusive)?;
            let version = self.directory.join(LAYOUT);
            if !version.exists() {
                std::fs::write(version, LAYOUT_VERSION)?;
            }
            Ok(lock)
        };
        let lock = make().with_context(|| format!("make the directory {}", self.directory.display()))?;
        Ok(Changing { layout: self.clone(), _lock: lock })
    }

    fn index(&self) -> Result<Index> {
        let bytes = std::fs::read(self.directory.join(INDEX)).context("read index.json")?;
        serde_json::from_slice(&bytes).context("read index.json")
    }
}

impl Changing {
    /// Whether a blob is there, whole.
    pub fn has(&self, digest: Digest, size: u64) -> bool {
        std::fs::metadata(self.layout.directory.join(blob_name(digest))).is_ok_and(|known| known.len() == size)
    }

    /// Adds a blob, which has its name when it is whole: its digest and how many bytes it has.
    pub fn add(&self, write: impl FnOnce(Digested) -> Result<Digested>) -> Result<(Digest, u64)> {
        let (path, file) = new_file(&self.layout.directory).context("write a blob")?;
        let written = write(Digested::new(file)).and_then(|written| {
            written.sync()?;
            let digest = written.digest();
            std::fs::rename(&path, self.layout.directory.join(blob_name(digest)))?;
            Ok((digest, written.size()))
        });
        written.inspect_err(|_| drop(std::fs::remove_file(&path))).context("write a blob")
    }

    /// Adds a document.
    pub fn put(&self, bytes: &[u8]) -> Result<(Digest, u64)> {
        self.add(|mut out| {
            out.write_all(bytes)?;
            Ok(out)
        })
    }

    /// Gives the tag to a manifest, and takes away the blobs that no manifest names any more.
    pub fn tag(&self, tag: &str, media_type: &str, manifest: (Digest, u64)) -> Result<()> {
        let empty = || Index {
            schema_version: 2,
            media_type: Some(OCI_IMAGE_INDEX_MEDIA_TYPE.to_owned()),
            manifests: Vec::new(),
            rest: Map::new(),
        };
        let directory = &self.layout.directory;
        let mut index = if directory.join(INDEX).exists() { self.layout.index()? } else { empty() };
        index.manifests.retain(|entry| entry.annotations.get(REF_ANNOTATION).is_none_or(|name| name != tag));
        let annotations = BTreeMap::from([(REF_ANNOTATION.to_owned(), tag.to_owned())]);
        index.manifests.push(Descriptor { annotations, ..Descriptor::new(media_type, manifest.0, manifest.1) });
        let replace = || -> Result<()> {
            let (path, mut file) = new_file(directory)?;
            file.write_all(&serde_json::to_vec(&index)?)?;
            file.sync_all()?;
            Ok(std::fs::rename(path, directory.join(INDEX))?)
        };
        replace().context("write index.json")?;
        self.collect(&index)
    }

    /// Only where everything that is named can be read.
    fn collect(&self, index: &Index) -> Result<()> {
        let mut used = HashSet::new();
        for entry in &index.manifests {
            let read = self.layout.document(entry.digest).ok();
            let Some(manifest) = read.and_then(|bytes| serde_json::from_slice::<Manifest>(&bytes).ok()) else {
                return Ok(());
            };
            used.extend([entry.digest, manifest.config.digest]);
            used.extend(manifest.layers.iter().map(|layer| layer.digest));
        }
        let directory = self.layout.directory.join(BLOBS);
        for entry in std::fs::read_dir(&directory).context("list blobs")? {
            let name = entry.context("list blobs")?.file_name();
            let digest = name.to_str().and_then(|hex| Digest::from_hex(hex).ok());
            if digest.is_some_and(|digest| !used.contains(&digest)) {
                std::fs::remove_file(directory.join(name)).context("remove a blob")?;
            }
        }
        Ok(())
    }
}

/// The file for what is being written. There is one writer at a time: what a killed one left is replaced.
fn new_file(directory: &Path) -> io::Result<(PathBuf, File)> {
    let path = directory.join(NEW);
    let file = File::options().read(true).write(true).create(true).truncate(true).open(&path)?;
    Ok((path, file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::image::ImageConfig;

    fn descriptor((digest, size): (Digest, u64)) -> Descriptor {
        Descriptor::new("", digest, size)
    }

    fn add(layout: &Layout, tag: &str, content: &[u8]) -> (Manifest, Digest) {
        let changing = layout.change().unwrap();
        let layer = changing.put(content).unwrap();
        assert!(changing.has(layer.0, layer.1) && !changing.has(Digest::of(b"nothing"), 7));
        let config = changing.put(&serde_json::to_vec(&ImageConfig::default()).unwrap()).unwrap();
        let manifest = Manifest {
            schema_version: 2,
            media_type: None,
            config: descriptor(config),
            layers: vec![descriptor(layer)],
            rest: Map::new(),
        };
        let written = changing.put(&serde_json::to_vec(&manifest).unwrap()).unwrap();
        changing.tag(tag, "application/vnd.oci.image.manifest.v1+json", written).unwrap();
        (manifest, written.0)
    }

    #[test]
    fn images_are_added_and_what_is_unused_goes() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::at(&directory.path().join("deep/er"));
        assert!(layout.find("latest", None).is_err());
        let (first, digest) = add(&layout, "latest", b"first");
        add(&layout, "other", b"other");
        assert_eq!(layout.find("latest", None).unwrap(), first);
        assert_eq!(layout.find("nosuch", Some(digest)).unwrap(), first);
        let (second, _) = add(&layout, "latest", b"second");
        assert_eq!(layout.find("latest", None).unwrap(), second);
        assert!(layout.find("other", None).is_ok());
        assert!(layout.blob(Digest::of(b"first")).is_err() && layout.blob(Digest::of(b"other")).is_ok());
        let names = std::fs::read_dir(&layout.directory).unwrap().count();
        assert_eq!(names, 3, "blobs, index.json and oci-layout");
    }

    #[test]
    fn what_is_damaged_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::at(directory.path());
        let (_, digest) = add(&layout, "latest", b"first");
        std::fs::write(directory.path().join(blob_name(digest)), "{}").unwrap();
        let error = layout.find("latest", None).unwrap_err().to_string();
        assert!(error.contains("damaged"), "{error}");
    }
}
