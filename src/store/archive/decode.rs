//! Archives are recognised by their first bytes, whatever their name says, and decompressed without
//! any other program.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::rc::Rc;

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;

use crate::store::metered::Counted;
use crate::store::unpack::{self, UnpackLimits};

/// Bytes that tell how an archive is compressed.
const MAGIC: usize = 6;
const BUFFER: usize = 256 << 10;
/// The largest window a zstd frame may ask for: 64 MiB (RFC 8878 asks decoders for 8 MiB).
const ZSTD_WINDOW_LOG: u32 = 26;
/// Memory that an xz block may ask for, in KiB: the 64 MiB dictionary of `xz -9` and some.
const XZ_MEMORY: u32 = 80 << 10;

/// How an archive is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    Plain,
    Gzip,
    Bzip2,
    Xz,
    Zstd,
}

impl Packing {
    /// What the first bytes say.
    pub fn of(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, 8, ..] => Self::Gzip,
            [b'B', b'Z', b'h', ..] => Self::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::Plain,
        }
    }
}

/// Reads up to [`MAGIC`] bytes: what a packing is known by.
pub(super) fn head(input: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    input.take(MAGIC as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// What `input` holds, decompressed if it is compressed. More than the limits allow is an error.
pub fn decoded<'a>(mut input: impl Read + 'a, limits: UnpackLimits) -> io::Result<Box<dyn Read + 'a>> {
    let head = head(&mut input)?;
    let packing = Packing::of(&head);
    unpacked(io::Cursor::new(head).chain(input), packing, limits)
}

pub(super) fn unpacked<'a>(
    input: impl Read + 'a,
    packing: Packing,
    limits: UnpackLimits,
) -> io::Result<Box<dyn Read + 'a>> {
    let packed = Rc::new(Cell::new(0));
    let input = BufReader::with_capacity(BUFFER, Counted { input, count: Rc::clone(&packed) });
    let inner = decoder(input, packing)?;
    Ok(Box::new(Bounded { inner, packed, total: 0, dense: 0, limits, compressed: packing != Packing::Plain }))
}

fn decoder<'a>(input: impl BufRead + 'a, packing: Packing) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match packing {
        Packing::Plain => Box::new(input),
        Packing::Gzip => Box::new(MultiGzDecoder::new(input)),
        Packing::Bzip2 => Box::new(MultiBzDecoder::new(input)),
        Packing::Xz => Box::new(XzReader::new_mem_limit(input, true, XZ_MEMORY)),
        Packing::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
    })
}

/// Copies all there is, in large pieces.
pub(super) fn pump(from: &mut dyn Read, to: &mut dyn Write) -> io::Result<u64> {
    let (mut buffer, mut total) = (vec![0; BUFFER], 0);
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(count) => {
                to.write_all(&buffer[..count])?;
                total += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Stops at the limits.
struct Bounded<'a> {
    inner: Box<dyn Read + 'a>,
    packed: Rc<Cell<u64>>,
    total: u64,
    /// Bytes outside long runs of zeros, which cost neither memory nor disk.
    dense: u64,
    limits: UnpackLimits,
    compressed: bool,
}

impl Read for Bounded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = match self.inner.read(buffer) {
            Err(error) if self.compressed && error.kind() != io::ErrorKind::Interrupted => {
                return Err(io::Error::new(error.kind(), format!("the archive is damaged: {error}")));
            }
            read => read?,
        };
        self.total += count as u64;
        if self.compressed {
            self.dense += unpack::dense(&buffer[..count]);
        }
        let UnpackLimits { bytes, ratio, ratio_floor, .. } = self.limits;
        if self.total > bytes {
            return Err(io::Error::other(format!("the archive holds more than the limit of {bytes} bytes")));
        }
        if self.compressed && self.dense > ratio_floor && self.dense / ratio.max(1) > self.packed.get() {
            return Err(io::Error::other(format!(
                "the archive unpacks to more than the limit of {ratio} times its compressed size"
            )));
        }
        Ok(count)
    }
}
