//! Layers from memory into a store, with the real reader of archives in a thread.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::pipe::{PipeFlags, pipe_with};

use super::*;
use crate::store::testing::TestStore;
use crate::store::unpack::{UnpackStream, unpack_layer};

/// Unpacks in a thread; counts the jobs.
#[derive(Default)]
struct Local(AtomicUsize);

impl Unpacker for Local {
    fn start(&mut self, job: &UnpackJob) -> io::Result<UnpackStream> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let (read, input) = pipe_with(PipeFlags::CLOEXEC)?;
        let (result, answer) = pipe_with(PipeFlags::CLOEXEC)?;
        let job = job.clone();
        std::thread::spawn(move || {
            let outcome = unpack_layer(File::from(read), &job).map_err(|error| format!("{error:#}"));
            let _ = writeln!(File::from(answer), "{}", serde_json::to_string(&outcome).unwrap());
        });
        Ok(UnpackStream { input, result })
    }
}

struct Bench {
    store: TestStore,
    lease: Lease,
    unpacker: Local,
    limits: UnpackLimits,
}

impl Bench {
    fn new() -> Self {
        let store = TestStore::new();
        let lease = Lease::create(&store, &[]).unwrap();
        Self { store, lease, unpacker: Local::default(), limits: UnpackLimits::default() }
    }

    fn take(&mut self, bytes: &[u8], expected: Expected, keep: Keep) -> Result<Taken, IntakeError> {
        self.take_on(&mut &bytes[..], &[], expected, keep)
    }

    fn take_on(
        &mut self,
        input: &mut dyn Read,
        below: &[Digest],
        expected: Expected,
        keep: Keep,
    ) -> Result<Taken, IntakeError> {
        self.intake().take(input, below, &expected, keep, &mut |_| {})
    }

    fn intake(&mut self) -> Intake<'_> {
        let Self { store, lease, unpacker, limits } = self;
        Intake { store, lease, unpacker, single_id: true, limits: *limits }
    }

    fn extractions(&self) -> usize {
        self.unpacker.0.load(Ordering::Relaxed)
    }

    fn blob(&self, taken: Taken) -> Vec<u8> {
        let bytes = self.store.blobs().read(taken.blob, 100 << 20).unwrap();
        assert_eq!(bytes.len() as u64, taken.size);
        bytes
    }

    /// Layers, blobs and staging entries.
    fn assert_holds(&self, layers: usize, blobs: usize) {
        let found =
            ["layers", "blobs/sha256", "staging"].map(|name| std::fs::read_dir(self.store.path(name)).unwrap().count());
        assert_eq!(found, [layers, blobs, 0]);
    }
}

/// A tar of one file `name` with `length` bytes that do not compress well.
fn archive(name: &str, length: usize) -> Vec<u8> {
    let mut content = Vec::with_capacity(length + 64);
    let mut digest = Digest::of(name.as_bytes());
    while content.len() < length {
        content.extend_from_slice(digest.to_string().as_bytes());
        digest = Digest::of(digest.to_string().as_bytes());
    }
    let mut header = tar::Header::new_ustar();
    header.set_size(length as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, name, &content[..length]).unwrap();
    archive.into_inner().unwrap()
}

fn packed(codec: Codec, bytes: &[u8]) -> Vec<u8> {
    let mut compressor = Compressor::new(codec, Vec::new()).unwrap();
    compressor.write_all(bytes).unwrap();
    compressor.finish().unwrap()
}

fn none() -> Expected {
    Expected::default()
}

#[test]
fn layers_of_every_compression_are_kept_as_they_came() {
    let tar = archive("f", 700_000);
    let forms = [
        (tar.clone(), Compression::None),
        (packed(Codec::GZIP, &tar), Compression::Gzip),
        (packed(Codec::ZSTD, &tar), Compression::Zstd),
    ];
    for (bytes, compression) in forms {
        let mut bench = Bench::new();
        let expected = Expected {
            blob: Some(Digest::of(&bytes)),
            size: Some(bytes.len() as u64),
            diff_id: Some(Digest::of(&tar)),
        };
        let mut seen = 0;
        let taken = bench.intake().take(&mut &bytes[..], &[], &expected, Keep::AsRead, &mut |read| seen = read);
        let taken = taken.unwrap();
        assert_eq!((taken.compression, taken.diff_id, taken.chain_id), (compression, Digest::of(&tar), taken.diff_id));
        assert!(taken.fresh && bench.blob(taken) == bytes && seen == bytes.len() as u64);
        let tree = bench.store.layers().diff_path(taken.chain_id);
        assert_eq!(std::fs::metadata(tree.join("f")).unwrap().len(), 700_000);
        assert_eq!(bench.store.layers().get(taken.chain_id).unwrap().blob, taken.blob);
        bench.assert_holds(1, 1);
        let known = bench.intake().known(&[], taken.diff_id).unwrap();
        assert_eq!(known, Taken { fresh: false, ..taken });
    }
}

#[test]
fn layers_are_compressed_on_the_way() {
    let tar = archive("f", 3_000_000);
    let mut blobs = Vec::new();
    for bytes in [tar.clone(), packed(Codec::Gzip { level: 1 }, &tar), packed(Codec::ZSTD, &tar)] {
        let mut bench = Bench::new();
        let taken = bench.take(&bytes, none(), Keep::Compressed(Codec::GZIP)).unwrap();
        assert_eq!((taken.compression, taken.diff_id), (Compression::Gzip, Digest::of(&tar)));
        assert!(bench.blob(taken) == packed(Codec::GZIP, &tar));
        blobs.push(taken.blob);
        bench.assert_holds(1, 1);
    }
    assert!(blobs.windows(2).all(|pair| pair[0] == pair[1]), "the blob depends on the content alone");
}

#[test]
fn a_layer_that_is_here_is_not_extracted_again() {
    let mut bench = Bench::new();
    let tar = archive("f", 400_000);
    let first = bench.take(&tar, none(), Keep::AsRead).unwrap();
    let zipped = packed(Codec::GZIP, &tar);
    let expected = Expected { diff_id: Some(first.diff_id), ..none() };
    let second = bench.take(&zipped, expected, Keep::AsRead).unwrap();
    assert_eq!((second.chain_id, second.fresh, bench.extractions()), (first.chain_id, false, 1));
    assert!(bench.blob(second) == zipped);
    bench.assert_holds(1, 2);
    // What nobody knew beforehand is found at the end.
    let third = bench.take(&tar, none(), Keep::AsRead).unwrap();
    assert_eq!((third.blob, third.fresh, bench.extractions()), (first.blob, false, 2));
    bench.assert_holds(1, 2);
    // The same changes on another layer are another layer.
    let other = archive("g", 10);
    let below = bench.take(&other, none(), Keep::AsRead).unwrap().diff_id;
    let above = bench.take_on(&mut &tar[..], &[below], expected, Keep::AsRead).unwrap();
    assert!(above.fresh && above.chain_id != first.chain_id);
    bench.assert_holds(3, 3);
}

#[test]
fn what_is_damaged_leaves_nothing() {
    let tar = archive("f", 900_000);
    for codec in [Codec::GZIP, Codec::ZSTD] {
        let good = packed(codec, &tar);
        let mut flipped = good.clone();
        flipped[good.len() / 2] ^= 4;
        let cut = good[..good.len() / 2].to_vec();
        let known = Expected { blob: Some(Digest::of(&good)), size: None, diff_id: None };
        for bad in [flipped, cut] {
            for keep in [Keep::AsRead, Keep::Compressed(Codec::GZIP)] {
                let mut bench = Bench::new();
                let error = bench.take(&bad, none(), keep).unwrap_err();
                assert!(matches!(error, IntakeError::Unpack(_) | IntakeError::Read(_)), "{error}");
                bench.assert_holds(0, 0);
            }
            let mut bench = Bench::new();
            assert!(matches!(bench.take(&bad, known, Keep::AsRead), Err(IntakeError::Blob { .. })));
            bench.assert_holds(0, 0);
            // Also beside the layer itself.
            let taken = bench.take(&tar, none(), Keep::AsRead).unwrap();
            let expected = Expected { diff_id: Some(taken.diff_id), ..none() };
            assert!(bench.take(&bad, expected, Keep::AsRead).is_err());
            bench.assert_holds(1, 1);
        }
    }
}

#[test]
fn what_is_not_as_promised_leaves_nothing() {
    let (tar, other) = (archive("f", 90_000), Digest::of(b"other"));
    let size = |size| Expected { size: Some(size), ..none() };
    let mut bench = Bench::new();
    let content = bench.take(&tar, Expected { diff_id: Some(other), ..none() }, Keep::AsRead).unwrap_err();
    assert!(matches!(content, IntakeError::Content { expected, .. } if expected == other));
    for wrong in [1, tar.len() as u64 - 1, tar.len() as u64 + 1] {
        let error = bench.take(&tar, size(wrong), Keep::AsRead).unwrap_err().to_string();
        assert!(error.contains(&wrong.to_string()), "{error}");
    }
    bench.assert_holds(0, 0);
    assert!(bench.take(&tar, size(tar.len() as u64), Keep::AsRead).is_ok());
}

#[test]
fn what_is_no_layer_is_refused() {
    let mut bench = Bench::new();
    let refused = |bench: &mut Bench, bytes: &[u8]| bench.take(bytes, none(), Keep::AsRead).unwrap_err().to_string();
    assert!(refused(&mut bench, b"\xfd7zXZ\0rest").contains("compressed with xz"));
    assert!(refused(&mut bench, b"BZh91AY&SY").contains("compressed with bzip2"));
    assert!(refused(&mut bench, &b"hello\n".repeat(200)).starts_with("unpack the layer: "));
    assert!(refused(&mut bench, b"\x1f\x8bno").starts_with("unpack the layer: "));
    // An endless one is given up once it is known to be wrong.
    let error = bench.take_on(&mut io::repeat(b'x'), &[], none(), Keep::Compressed(Codec::GZIP)).unwrap_err();
    assert!(matches!(error, IntakeError::Unpack(_)));
    bench.limits.bytes = 1 << 20;
    let error = bench.take_on(&mut io::repeat(0), &[], none(), Keep::AsRead).unwrap_err().to_string();
    assert!(error.contains("more than the limit of 1048576 bytes"), "{error}");
    bench.assert_holds(0, 0);
    // Nothing at all is an empty layer.
    let empty = bench.take(b"", none(), Keep::AsRead).unwrap();
    assert_eq!(empty.diff_id, Digest::of(b""));
}

#[test]
fn a_source_that_fails_is_named() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the cable is cut"))
        }
    }
    let mut bench = Bench::new();
    let tar = archive("f", 100_000);
    let mut input = (&tar[..50_000]).chain(Failing);
    let error = bench.take_on(&mut input, &[], none(), Keep::AsRead).unwrap_err();
    assert_eq!(error.to_string(), "read the layer: the cable is cut");
    bench.assert_holds(0, 0);
}
