//! What crosses between a puller and the process that unpacks: the job, its limits, its answer.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::spec::digest::Digest;

/// How a layer's bytes are packed (OCI image-spec, layer.md, media type suffix).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// RFC 1952, possibly of several members.
    Gzip,
    /// RFC 8878, possibly of several frames.
    Zstd,
    /// A plain tar.
    None,
}

impl Compression {
    /// What the first bytes of a stream say: None when they are of neither compression, as those of
    /// a tar.
    pub fn of(head: &[u8]) -> Option<Self> {
        match *head {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            // A frame, or one to be skipped (RFC 8878, 3.1.1 and 3.1.2).
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// One layer to unpack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnpackJob {
    /// How the bytes that will arrive are packed.
    pub compression: Compression,
    /// An existing empty directory; the tree appears as its child `diff`.
    pub target: PathBuf,
    /// Where a hostile layer is stopped.
    #[serde(default)]
    pub limits: UnpackLimits,
    /// The user namespace maps one id only: every file belongs to it, owners are not applied.
    #[serde(default)]
    pub single_id: bool,
}

/// Bounds on one layer. Reaching one is an error that names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnpackLimits {
    /// Bytes of the decompressed tar stream.
    pub bytes: u64,
    /// Entries of the tar stream.
    pub entries: u64,
    /// Decompressed bytes per compressed byte, once `ratio_floor` decompressed bytes were seen. Long
    /// runs of zeros do not count, as in sparse files: they become holes.
    pub ratio: u64,
    /// Decompressed bytes below which `ratio` is not looked at.
    pub ratio_floor: u64,
    /// Bytes of one path or link target.
    pub path: u32,
    /// Bytes of extended headers (PAX records, GNU long names) of one entry.
    pub extensions: u32,
}

impl UnpackLimits {
    /// For what is known.
    pub const NONE: Self = Self {
        bytes: u64::MAX,
        entries: u64::MAX,
        ratio: u64::MAX,
        ratio_floor: u64::MAX,
        path: u32::MAX,
        extensions: u32::MAX,
    };
}

impl Default for UnpackLimits {
    fn default() -> Self {
        Self {
            bytes: 128 << 30,
            entries: 2_000_000,
            ratio: 200,
            ratio_floor: 512 << 20,
            path: 4095,
            extensions: 1 << 20,
        }
    }
}

/// The two ends a puller holds of one running job.
#[derive(Debug)]
pub struct UnpackStream {
    /// Pipe for the compressed bytes; closing it ends the layer.
    pub input: OwnedFd,
    /// One JSON line, a `Result<Unpacked, String>`, then end of file. End of file without a line
    /// means that the worker died.
    pub result: OwnedFd,
}

/// What became of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unpacked {
    /// Digest of the whole decompressed stream.
    pub diff_id: Digest,
    /// Bytes of file content written, holes not counted.
    pub size: u64,
    /// Entries in the tar stream, whiteouts and skipped ones included.
    pub entries: u64,
    /// Block and character devices that were left out: an unprivileged user cannot make them.
    pub skipped_devices: u64,
}
