//! What is compressed is read by others, and is the same for any number of threads.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use flate2::bufread::{GzDecoder, MultiGzDecoder};

use super::{Codec, Compressor};
use crate::store::unpack::Compression;

/// Text that repeats over long distances, then noise, then zeros.
fn sample(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut bytes = Vec::with_capacity(length + 64);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        match bytes.len() * 3 / length {
            0 => bytes.extend_from_slice(format!("entry {} of {}\n", state % 1000, bytes.len()).as_bytes()),
            1 => bytes.extend_from_slice(&state.to_le_bytes()),
            _ => bytes.extend_from_slice(&[0; 64]),
        }
    }
    bytes.truncate(length);
    bytes
}

fn compress(codec: Codec, bytes: &[u8], threads: usize, piece: usize) -> Vec<u8> {
    let mut compressor = Compressor::with_threads(codec, Vec::new(), threads).unwrap();
    for piece in bytes.chunks(piece) {
        compressor.write_all(piece).unwrap();
    }
    compressor.flush().unwrap();
    compressor.finish().unwrap()
}

/// What the system's own program makes of it.
fn filter(program: &str, arguments: &[&str], input: Vec<u8>) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(&input).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success(), "{program}");
    output.stdout
}

/// Around the ends of blocks, where a mistake would show.
const LENGTHS: [usize; 9] =
    [0, 1, 511, (32 << 10) - 1, (256 << 10) - 1, 256 << 10, (256 << 10) + 1, 512 << 10, 3_000_001];

#[test]
fn gzip_of_any_length_is_one_member_that_readers_take() {
    for length in LENGTHS {
        let bytes = sample(length);
        let packed = compress(Codec::GZIP, &bytes, 3, 70_000);
        let mut read = Vec::new();
        let mut decoder = GzDecoder::new(&packed[..]);
        decoder.read_to_end(&mut read).unwrap();
        assert!(read == bytes && decoder.into_inner().is_empty(), "{length}");
        assert_eq!(packed[4..8], [0; 4], "no time");
        assert!(filter("gzip", &["-dc"], packed) == bytes, "{length}");
    }
}

#[test]
fn zstd_of_any_length_is_what_readers_take() {
    for length in LENGTHS.into_iter().chain([9_000_000]) {
        let bytes = sample(length);
        let packed = compress(Codec::ZSTD, &bytes, 2, 70_000);
        assert!(zstd::decode_all(&packed[..]).unwrap() == bytes, "{length}");
        assert!(filter("zstd", &["-dc"], packed) == bytes, "{length}");
    }
}

#[test]
fn threads_and_pieces_do_not_show() {
    let bytes = sample(1_500_000);
    for codec in
        [Codec::Gzip { level: 1 }, Codec::GZIP, Codec::Gzip { level: 9 }, Codec::ZSTD, Codec::Zstd { level: 19 }]
    {
        let one = compress(codec, &bytes, 1, bytes.len());
        for (threads, piece) in [(1, 1000), (2, 262_144), (5, 77_777), (3, 1 << 20)] {
            let found = compress(codec, &bytes, threads, piece);
            let at = found.iter().zip(&one).position(|(found, one)| found != one);
            assert!(found == one, "{codec:?} {threads} {piece}: {} {} differ at {at:?}", found.len(), one.len());
        }
    }
}

#[test]
fn blocks_cost_little() {
    let bytes = sample(2_000_000);
    let mut whole = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    whole.write_all(&bytes).unwrap();
    let (whole, blocks) = (whole.finish().unwrap().len(), compress(Codec::GZIP, &bytes, 2, 4096).len());
    assert!(blocks < whole + whole / 100, "{blocks} instead of {whole}");
}

#[test]
fn the_largest_levels_need_no_large_window() {
    let packed = compress(Codec::Zstd { level: 22 }, &sample(1_000_000), 1, 100_000);
    let mut decoder = zstd::stream::read::Decoder::new(&packed[..]).unwrap();
    decoder.window_log_max(23).unwrap();
    assert_eq!(std::io::copy(&mut decoder, &mut std::io::sink()).unwrap(), 1_000_000);
}

#[test]
fn an_output_that_fails_is_an_error() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    for codec in [Codec::GZIP, Codec::ZSTD] {
        let mut compressor = Compressor::with_threads(codec, Full, 2).unwrap();
        let written = compressor.write_all(&sample(10_000_000));
        let error = written.and_then(|()| compressor.finish().map(drop)).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    }
}

#[test]
fn levels_are_those_of_the_formats() {
    assert_eq!(Codec::GZIP.with_level(9).unwrap(), Codec::Gzip { level: 9 });
    assert_eq!(Codec::ZSTD.with_level(22).unwrap().compression(), Compression::Zstd);
    for (codec, level) in [(Codec::GZIP, 0), (Codec::GZIP, 10), (Codec::ZSTD, 23), (Codec::ZSTD, i64::MIN)] {
        let error = codec.with_level(level).unwrap_err().to_string();
        assert!(error.contains(&format!("invalid compression level {level} for")), "{error}");
    }
    let empty = compress(Codec::GZIP, b"", 1, 1);
    assert_eq!(MultiGzDecoder::new(&empty[..]).read_to_end(&mut Vec::new()).unwrap(), 0);
}
