//! Layer extraction: a tar stream becomes the lower directory of an overlay, in a process of its
//! own inside the user namespace. Everything that arrives is hostile.

mod job;

pub use job::{Compression, UnpackJob, UnpackLimits, UnpackStream, Unpacked};
