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

use anyhow::{Context, Result};
use rustix::fs::{CWD, Mode, OFlags};

use crate::spec::digest::Digest;
use apply::Applier;
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
    Applier::new(reader, root, Owners { single_id: job.single_id })?.run()
}

/// The digest of what `input` holds, decompressed on a second thread. Nothing is extracted.
pub fn diff_id(input: impl Read + Send + 'static, compression: Compression, limits: UnpackLimits) -> Result<Digest> {
    Stream::start(input, compression, limits)?.finish()
}
