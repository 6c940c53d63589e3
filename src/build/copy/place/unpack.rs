//! ADD of a local archive: extracted into the destination. Archives are known by their content.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::fd::AsFd;

use rustix::fs::{FileType, Mode, OFlags};

use super::{PlaceError, Placed, Target};
use crate::build::context::Kind;
use crate::build::context::entry::show;
use crate::build::context::resolve::open_real;
use crate::build::copy::{Pick, Selected};
use crate::store::archive::Packing;
use crate::store::unpack::{Addition, add};

const BLOCK: usize = 512;
const BUFFER: usize = 256 << 10;
/// The largest window a zstd frame may ask for: 128 MiB, as zstd(1) has it.
const ZSTD_WINDOW_LOG: u32 = 27;
/// Memory that an xz block may ask for, in KiB: the 64 MiB dictionary of `xz -9` and some.
const XZ_MEMORY: u32 = 80 << 10;

/// Extracts the pick if it is an archive; false if it is none.
pub(super) fn attempt(
    selected: &Selected,
    pick: &Pick,
    target: &Target<'_>,
    placed: &mut Placed,
) -> Result<bool, PlaceError> {
    if !matches!(pick.entry.kind, Kind::File { .. }) {
        return Ok(false);
    }
    let source = || [b"/", pick.path().as_slice()].concat();
    let failed = |error| PlaceError::Io { doing: "open", path: source(), error };
    let directory = open_real(selected.root.as_fd(), &pick.directory).map_err(failed)?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let open = || -> io::Result<File> {
        Ok(File::from(rustix::fs::openat(&directory, &pick.entry.name, flags, Mode::empty())?))
    };
    let in_words = |error: io::Error| PlaceError::Archive { path: source(), error: error.into() };
    let file = open().map_err(in_words)?;
    let stat = rustix::fs::fstat(&file).map_err(failed)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || !is_archive(file) {
        return Ok(false);
    }
    let at = target.directory(None)?;
    let path = at.path.strip_prefix(b"/").unwrap_or(&at.path).to_vec();
    let root = rustix::io::fcntl_dupfd_cloexec(target.root, 3).map_err(failed)?;
    // What is opened for reading, not a handle, is needed to settle times.
    let root = rustix::fs::openat(&root, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed)?;
    let addition = Addition {
        path,
        owner: target.options.chown,
        maps: None,
        replace_kinds: true,
        single_id: target.options.single_id,
    };
    let input = decoder(open().map_err(in_words)?).map_err(in_words)?;
    let added = add(input, root, addition).map_err(|error| PlaceError::Archive { path: source(), error })?;
    placed.entries += added.entries;
    placed.bytes += added.size;
    placed.skipped_devices += added.skipped_devices;
    let after = open().and_then(|file| Ok(rustix::fs::fstat(&file)?)).map_err(in_words)?;
    let stamp = crate::build::context::Stamp::of;
    if stamp(&after) != stamp(&pick.entry.stat) {
        placed.changed.push(show(&source()));
    }
    Ok(true)
}

/// Whether what a file holds, decompressed, begins as a tar.
fn is_archive(file: File) -> bool {
    let mut header = Vec::new();
    let read = decoder(file).and_then(|input| input.take(BLOCK as u64).read_to_end(&mut header));
    read.is_ok() && header.first_chunk::<BLOCK>().is_some_and(is_header)
}

/// A tar header's sum is right (its own field counts as spaces), and it names something.
fn is_header(header: &[u8; BLOCK]) -> bool {
    let field = &header[148..156];
    let digits = field.iter().copied().skip_while(|byte| *byte == b' ');
    let digits: Vec<u8> = digits.take_while(|byte| (b'0'..=b'7').contains(byte)).collect();
    let Some(expected) = std::str::from_utf8(&digits).ok().and_then(|text| i64::from_str_radix(text, 8).ok()) else {
        return false;
    };
    let value = |index: usize| if (148..156).contains(&index) { b' ' } else { header[index] };
    let unsigned: i64 = (0..BLOCK).map(|index| i64::from(value(index))).sum();
    // Some old tars took bytes as signed.
    let signed: i64 = (0..BLOCK).map(|index| i64::from(value(index).cast_signed())).sum();
    header[0] != 0 && (expected == unsigned || expected == signed)
}

/// What a file holds, decompressed if it is compressed; for a thread.
fn decoder(mut file: File) -> io::Result<Box<dyn Read + Send>> {
    let mut head = Vec::new();
    (&mut file).take(6).read_to_end(&mut head)?;
    io::Seek::rewind(&mut file)?;
    let packing = Packing::of(&head);
    let input = BufReader::with_capacity(BUFFER, file);
    Ok(match packing {
        Packing::Plain => Box::new(input),
        Packing::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        Packing::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(input)),
        Packing::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(input, true, XZ_MEMORY)),
        Packing::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
    })
}
