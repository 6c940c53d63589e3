//! Layer extraction: a tar stream becomes the lower directory of an overlay, in a process of its
//! own inside the user namespace. Everything that arrives is hostile.
//!
//! A stream (decompressing thread) feeds a reader (headers become entries), which feeds an applier
//! (entries become files). The applier reaches files only through descriptors below `diff`.

pub(in crate::store) mod answer;
mod apply;
mod directories;
mod header;
mod job;
mod meta;
mod path;
mod pax;
mod reader;
mod sparse;
mod stream;
#[cfg(test)]
mod tests;
mod whiteout;
mod worker;

use std::io::Read;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use anyhow::{Context, Result};
use rustix::fs::{CWD, Mode, OFlags};

use crate::spec::digest::Digest;
use crate::spec::identity::Maps;
use apply::{Applier, Place};
pub use job::{Compression, UnpackJob, UnpackLimits, UnpackStream, Unpacked};
use meta::Owners;
use reader::Reader;
pub(in crate::store) use sparse::{dense, hole};
use stream::Stream;
pub(in crate::store) use stream::decoder;
pub use worker::{Worker, serve};

/// Unpacks the layer that `input` holds into the new directory `diff` of the job's target. Reads
/// ahead on a second thread, which ends with the input. On an error the target is left half done;
/// nothing outside `diff` was touched.
pub fn unpack_layer(input: impl Read + Send + 'static, job: &UnpackJob) -> Result<Unpacked> {
    let context = || format!("make the directory diff in {}", job.target.display());
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = rustix::fs::openat(CWD, &job.target, flags, Mode::empty()).with_context(context)?;
    rustix::fs::mkdirat(&target, "diff", Mode::RWXU).with_context(context)?;
    let root = rustix::fs::openat(&target, "diff", flags, Mode::empty()).with_context(context)?;
    let stream = Stream::start(input, job.compression, job.limits)?;
    let reader = Reader::new(stream, job.limits);
    Applier::new(reader, root, Owners { single_id: job.single_id, one: None, maps: None })?.run()
}

/// How an archive is added to a container's files.
#[derive(Clone, Debug)]
pub struct Addition {
    /// The directory that its names are relative to, from the container's root and without links.
    pub path: Vec<u8>,
    /// Whose everything is; None leaves it to the archive.
    pub owner: Option<(u32, u32)>,
    /// The container's map, if it has one of its own.
    pub maps: Option<Maps>,
    /// A directory may take the place of another kind of file, and the other way round.
    pub replace_kinds: bool,
    /// The user namespace maps one id only; see [`UnpackJob::single_id`].
    pub single_id: bool,
}

/// Adds the files of the archive that `input` holds to those of a container, which may change them
/// meanwhile: every name is resolved within `root`. Reads ahead on a second thread.
pub fn add(input: impl Read + Send + 'static, root: OwnedFd, addition: Addition) -> Result<Unpacked> {
    let Addition { path, owner, maps, replace_kinds, single_id } = addition;
    // What somebody hands in is nothing to be guarded against; the bounds of names stay.
    let UnpackLimits { path: longest, extensions, .. } = UnpackLimits::default();
    let limits = UnpackLimits { path: longest, extensions, ..UnpackLimits::NONE };
    let reader = Reader::new(Stream::start(input, Compression::None, limits)?, limits);
    let owners = Owners { single_id, one: owner, maps: maps.map(Rc::new) };
    Applier::within(reader, root, owners, Place { path, replace_kinds })?.run()
}

/// The digest of what `input` holds, decompressed on a second thread. Nothing is extracted.
pub fn diff_id(input: impl Read + Send + 'static, compression: Compression, limits: UnpackLimits) -> Result<Digest> {
    Stream::start(input, compression, limits)?.finish()
}
