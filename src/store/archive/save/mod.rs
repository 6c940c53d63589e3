//! Images into an archive or directory. Manifests, configs and layers are written as they are
//! wherever the format permits it, so that their digests stay.

mod convert;
mod plan;

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::decode::{self, Packing};
use super::output::{NewDirectory, NewFile, Output};
use super::tarball::{Tarball, copy_exactly};
use crate::spec::digest::Digest;
use crate::spec::reference::ImageRef;
use crate::store::Store;
use crate::store::compress::Codec;
use crate::store::gc::Lease;
use crate::store::staging::Staging;
use crate::store::unpack::UnpackLimits;

/// The form of what is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// What docker writes since version 25: an OCI layout, and `manifest.json` for older readers.
    #[default]
    Docker,
    /// `manifest.json`, configs and uncompressed layers, as podman and skopeo write it.
    DockerArchive,
    OciArchive,
    /// An OCI layout as a directory.
    OciDir,
    /// skopeo's `dir:`.
    DockerDir,
}

impl Format {
    /// Whether a directory is written.
    pub fn is_directory(self) -> bool {
        matches!(self, Self::OciDir | Self::DockerDir)
    }
}

impl std::str::FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "docker-archive" => Self::DockerArchive,
            "oci-archive" => Self::OciArchive,
            "oci-dir" => Self::OciDir,
            "docker-dir" => Self::DockerDir,
            _ => return Err("must be one of docker-archive, oci-archive, oci-dir, docker-dir".to_owned()),
        })
    }
}

/// How to write.
#[derive(Clone, Copy, Debug, Default)]
pub struct SaveOptions {
    pub format: Format,
    /// Not for [`Format::DockerArchive`], whose layers are never compressed.
    pub layers: LayerForm,
}

/// What becomes of the layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LayerForm {
    /// They stay as the store has them.
    #[default]
    Kept,
    /// Those that are not compressed are; all of them with `force`.
    Compressed { codec: Codec, force: bool },
    /// None is compressed.
    Plain,
}

/// An image to write, and the names that go with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selected {
    pub manifest: Digest,
    pub config: Digest,
    pub names: Vec<ImageRef>,
}

/// One file of the archive.
enum Item {
    Directory(&'static str),
    Bytes(String, Vec<u8>),
    /// A blob as it is.
    Blob {
        name: String,
        digest: Digest,
        size: u64,
    },
    /// What a blob unpacks to.
    Unpacked {
        name: String,
        digest: Digest,
    },
    /// A file made on the way.
    File {
        name: String,
        path: PathBuf,
        size: u64,
    },
}

/// Writes images. Nothing has its name before all of it is written.
pub fn save(store: &Store, images: &[Selected], options: &SaveOptions, output: Output) -> Result<()> {
    let mut digests: Vec<Digest> = images.iter().flat_map(|image| [image.manifest, image.config]).collect();
    let lease = Lease::create(store, &digests)?;
    for image in images {
        digests.extend(store.images().layer_blobs(image.manifest)?);
    }
    lease.add(&digests)?;
    for digest in digests {
        store.blobs().open(digest)?;
    }
    let mut made = None;
    let items = match options.format {
        Format::Docker | Format::OciArchive | Format::OciDir => {
            let staging = Staging::create(store).context("create a staging directory")?;
            let items = plan::layout(store, images, options, staging.path())?;
            made = Some(staging);
            items
        }
        Format::DockerArchive => plan::docker_archive(store, images)?,
        Format::DockerDir => {
            let staging = Staging::create(store).context("create a staging directory")?;
            let items = plan::docker_dir(store, images, options.layers, staging.path())?;
            made = Some(staging);
            items
        }
    };
    match (options.format.is_directory(), output) {
        (true, Output::File(target)) => write_directory(store, items, target)?,
        (true, Output::Stream(_)) => bail!("a directory cannot be written to standard output: name it with -o"),
        (false, output) => write_archive(store, items, output)?,
    }
    drop(made);
    Ok(())
}

fn write_archive(store: &Store, items: Vec<Item>, output: Output) -> Result<()> {
    let mut target = NewFile::create(output)?;
    let (seekable, doing) = (target.is_seekable(), target.doing());
    let mut tarball = Tarball::new(target.file(), seekable);
    for item in items {
        match item {
            Item::Directory(name) => tarball.directory(name),
            Item::Bytes(name, bytes) => tarball.bytes(&name, &bytes),
            Item::Blob { name, digest, size } => tarball.file(&name, &mut store.blobs().open(digest)?, size),
            Item::File { name, path, size } => tarball.file(&name, &mut File::open(path)?, size),
            Item::Unpacked { name, digest } => tarball.stream(&name, || unpacked(store, digest)),
        }
        .with_context(|| doing.clone())?;
    }
    tarball.finish().with_context(|| doing.clone())?;
    target.finish()
}

fn write_directory(store: &Store, items: Vec<Item>, target: PathBuf) -> Result<()> {
    let target = NewDirectory::create(target)?;
    for item in items {
        write_file(store, item, &target).context("write the directory")?;
    }
    target.finish()
}

fn write_file(store: &Store, item: Item, target: &NewDirectory) -> Result<()> {
    match item {
        Item::Directory(name) => Ok(std::fs::create_dir(target.path().join(name))?),
        Item::Bytes(name, bytes) => Ok(io::Write::write_all(&mut target.create_file(&name)?, &bytes)?),
        Item::Blob { name, digest, size } => {
            copy_exactly(&mut store.blobs().open(digest)?, &target.create_file(&name)?, size)
        }
        Item::File { name, path, size } => copy_exactly(&mut File::open(path)?, &target.create_file(&name)?, size),
        Item::Unpacked { name, digest } => {
            decode::pump(&mut unpacked(store, digest)?, &mut target.create_file(&name)?)?;
            Ok(())
        }
    }
}

/// What a layer's blob unpacks to.
fn unpacked(store: &Store, digest: Digest) -> Result<Box<dyn Read>> {
    let file = store.blobs().open(digest)?;
    // What is in the store was measured when it came.
    Ok(decode::decoded(file, UnpackLimits::NONE)?)
}

/// How a layer's blob is packed.
fn packing(store: &Store, digest: Digest) -> Result<Packing> {
    let head = decode::head(&mut store.blobs().open(digest)?)?;
    Ok(Packing::of(&head))
}
