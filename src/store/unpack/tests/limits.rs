//! Layers that only want to be large.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use super::super::{Compression, UnpackLimits};
use super::archive::{Archive, Header, gzip};
use super::bench::Bench;

/// Hands out one block of bytes again and again.
struct Repeat {
    head: Vec<u8>,
    block: Vec<u8>,
    times: u64,
    at: usize,
}

impl Read for Repeat {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.head.len() {
            if self.times == 0 {
                return Ok(0);
            }
            self.times -= 1;
            self.at = 0;
            self.head.clone_from(&self.block);
        }
        let count = buffer.len().min(self.head.len() - self.at);
        buffer[..count].copy_from_slice(&self.head[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

#[test]
fn ten_gigabytes_of_ones_in_ten_megabytes_are_cut_early() {
    // One member of 64 MiB of ones, repeated: 10 GiB behind a header that announces them.
    let ones = gzip(&vec![1; 64 << 20]);
    let head = gzip(&Header { name: b"ones", size: 8_589_934_591, ..Header::default() }.block());
    let mut bench = Bench::new();
    bench.job.compression = Compression::Gzip;
    bench.job.limits.ratio_floor = 96 << 20;
    let before = resident();
    let started = Instant::now();
    let why = bench.unpack_from(Repeat { head, block: ones, times: 160, at: 0 }).unwrap_err();
    assert!(why.contains("200 times") && why.contains("'ones'"), "{why}");
    assert!(started.elapsed() < Duration::from_secs(20));
    assert!(resident() - before < 128 << 20);
}

#[test]
fn long_runs_of_zeros_are_holes_and_have_no_ratio() {
    let mut content = vec![0; 48 << 20];
    content[20_000_000] = 1;
    let mut bench = Bench::new();
    bench.job.compression = Compression::Gzip;
    bench.job.limits.ratio_floor = 1 << 20;
    let ends_in_zeros = Archive::new().file("first", b"x").file("sparse", &content).file("last", b"y").end();
    let unpacked = bench.unpack(gzip(&ends_in_zeros)).unwrap();
    assert_eq!(unpacked.size, content.len() as u64 + 2);
    let path = bench.job.target.join("diff/sparse");
    assert!(std::fs::read(&path).unwrap() == content);
    let blocks = std::os::unix::fs::MetadataExt::blocks(&std::fs::metadata(&path).unwrap());
    assert!(blocks * 512 < 1 << 20, "{blocks} blocks");
}

#[test]
fn millions_of_empty_entries_are_cut_early() {
    let entry = Archive::new().file("empty", b"").bytes;
    // Headers without an entry count as well.
    let global = Archive::new().extension(b'g', b"").bytes;
    for block in [entry, global] {
        let mut bench = Bench::new();
        bench.job.limits.entries = 20_000;
        let input = Repeat { head: Vec::new(), block: block.repeat(512), times: 10_000, at: 0 };
        let why = bench.unpack_from(input).unwrap_err();
        assert!(why.contains("20000 entries"), "{why}");
    }
}

#[test]
fn bytes_are_limited_inside_and_behind_the_archive() {
    let limits = UnpackLimits { bytes: 8 << 20, ..UnpackLimits::default() };
    for head in [
        Header { name: b"endless", size: 1 << 32, ..Header::default() }.block().to_vec(),
        Archive::new().file("small", b"").end(),
    ] {
        let mut bench = Bench::new();
        bench.job.limits = limits;
        let why = bench.unpack_from(Repeat { head, block: vec![0; 65536], times: 100_000, at: 0 }).unwrap_err();
        assert!(why.contains("limit of 8388608 bytes"), "{why}");
    }
}

#[test]
fn names_and_extended_headers_are_limited() {
    let long = "d/".repeat(3000);
    for archive in [
        Archive::new().pax(&[("path", long.as_bytes())]).file("f", b""),
        Archive::new().pax(&[("linkpath", long.as_bytes())]).symlink("f", "t"),
        Archive::new().extension(b'L', long.as_bytes()).file("f", b""),
        Archive::new().extension(b'K', long.as_bytes()).symlink("f", "t"),
    ] {
        let why = Bench::refused(archive.end());
        assert!(why.contains("4095"), "{why}");
    }
    let why = Bench::refused(Archive::new().pax(&[("comment", &vec![b'x'; 2 << 20])]).file("f", b"").end());
    assert!(why.contains("1048576"), "{why}");
}

#[test]
fn the_longest_names_still_work() {
    let bench = Bench::new();
    let name = "d/".repeat(2046) + "f";
    bench.unpack(Archive::new().pax(&[("path", name.as_bytes())]).file("f", b"deep").end()).unwrap();
    crate::store::remove::remove_tree(&bench.job.target).unwrap();
}

#[test]
fn zstd_windows_are_limited() {
    use std::io::Write;
    let archive = Archive::new().file("f", &vec![3; 1 << 20]).end();
    for (log, fits) in [(26, true), (27, false), (30, false)] {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(log).unwrap();
        encoder.write_all(&archive).unwrap();
        let bytes = encoder.finish().unwrap();
        let mut bench = Bench::new();
        bench.job.compression = Compression::Zstd;
        assert_eq!(bench.unpack(bytes).is_ok(), fits, "window of 2^{log}");
    }
}
