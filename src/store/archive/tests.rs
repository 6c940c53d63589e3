use std::io::{Cursor, Read, Write};

use proptest::prelude::*;

use super::contents::Contents;
use super::decode::{self, Packing};
use super::members::normal;
use super::tarball::Tarball;
use crate::store::testing::TestStore;
use crate::store::unpack::UnpackLimits;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

fn stream(bytes: &[u8], limits: UnpackLimits) -> Result<Contents, String> {
    let store = TestStore::new();
    Contents::of_stream(&store, bytes, limits).map_err(|error| format!("{error:#}"))
}

fn document(contents: &Contents, name: &str) -> Option<Vec<u8>> {
    contents.document(name).unwrap()
}

#[test]
fn names_stay_inside() {
    for (below, name, expected) in [
        ("", "a/b", Some("a/b")),
        ("", "./a//b/.", Some("a/b")),
        ("", "/a", Some("a")),
        ("x/y", "../z", Some("x/z")),
        ("x", "/z", Some("z")),
        ("x", "../../z", None),
        ("", "..", None),
        ("", "a/../b", Some("b")),
    ] {
        assert_eq!(normal(below, name).as_deref(), expected, "{name}");
    }
}

#[test]
fn a_file_and_a_stream_hold_the_same() {
    let long = "d/".repeat(150) + "file";
    let bytes = archive(&[("./a", b"one"), (&long, b"two"), ("empty", b"")]);
    let store = TestStore::new();
    let path = store.path("archive");
    for packed in [bytes.clone(), gzip(&bytes), zstd::encode_all(&bytes[..], 1).unwrap()] {
        std::fs::write(&path, &packed).unwrap();
        let file = Contents::of_file(&store, std::fs::File::open(&path).unwrap(), UnpackLimits::default()).unwrap();
        let stream = stream(&packed, UnpackLimits::default()).unwrap();
        for contents in [file, stream] {
            assert_eq!(document(&contents, "a").as_deref(), Some(&b"one"[..]));
            assert_eq!(document(&contents, &long).as_deref(), Some(&b"two"[..]));
            assert_eq!(document(&contents, "empty").as_deref(), Some(&b""[..]));
            assert_eq!(document(&contents, "nosuch"), None);
            assert_eq!(document(&contents, "../a"), None);
        }
    }
}

#[test]
fn limits_stop_bombs() {
    let bytes = archive(&[("ones", &vec![1; 4 << 20])]);
    let small = UnpackLimits { bytes: 1 << 20, ..UnpackLimits::default() };
    assert!(stream(&bytes, small).unwrap_err().contains("more than the limit of 1048576 bytes"));
    let tight = UnpackLimits { ratio_floor: 1 << 20, ratio: 10, ..UnpackLimits::default() };
    assert!(stream(&gzip(&bytes), tight).unwrap_err().contains("10 times its compressed size"));
    assert!(stream(&bytes, tight).is_ok(), "what is not compressed has no ratio");
    // Behind the end of the archive, where nobody looks.
    let mut behind = archive(&[("a", b"a")]);
    behind.resize(4 << 20, 1);
    assert!(stream(&gzip(&behind), tight).unwrap_err().contains("10 times"));
}

#[test]
fn a_huge_extended_header_is_not_read() {
    for kind in [b'x', b'L', b'K', b'g'] {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_size(3 << 30);
        header.set_path("././@LongLink").unwrap();
        header.set_cksum();
        let endless = Cursor::new(header.as_bytes().to_vec()).chain(std::io::repeat(b'a'));
        let store = TestStore::new();
        assert!(Contents::of_stream(&store, endless, UnpackLimits::default()).is_err(), "{kind}");
    }
}

#[test]
fn packings_are_known_by_their_first_bytes() {
    for (head, packing) in [
        (&b"\x1f\x8b\x08\0"[..], Packing::Gzip),
        (b"BZh9", Packing::Bzip2),
        (b"\xfd7zXZ\0", Packing::Xz),
        (b"\x28\xb5\x2f\xfd", Packing::Zstd),
        (b"manifest.json\0", Packing::Plain),
        (b"", Packing::Plain),
        (b"\x1f", Packing::Plain),
    ] {
        assert_eq!(Packing::of(head), packing);
    }
    for damaged in [&b"\x1f\x8b\x08\0xxxxxxxxxxxxxxxxxx"[..], b"BZh9xxxxxxxxxxxx", b"\xfd7zXZ\0xxxxxxxxxxxx"] {
        let mut all = Vec::new();
        let read = decode::decoded(damaged, UnpackLimits::default()).and_then(|mut input| input.read_to_end(&mut all));
        assert!(read.unwrap_err().to_string().starts_with("the archive is damaged"));
    }
}

#[test]
fn what_is_written_is_a_tar() {
    let write = |seekable| {
        let file = tempfile::tempfile().unwrap();
        let mut tarball = Tarball::new(&file, seekable);
        tarball.directory("blobs").unwrap();
        tarball.bytes("blobs/a", b"abc").unwrap();
        tarball.stream("b", || Ok(Box::new(Cursor::new(vec![7; 1500])))).unwrap();
        tarball.finish().unwrap();
        let mut bytes = Vec::new();
        std::io::Seek::rewind(&mut &file).unwrap();
        (&file).read_to_end(&mut bytes).unwrap();
        bytes
    };
    let bytes = write(true);
    assert_eq!(bytes, write(false));
    let contents = stream(&bytes, UnpackLimits::default()).unwrap();
    assert_eq!(document(&contents, "blobs/a").as_deref(), Some(&b"abc"[..]));
    assert_eq!(document(&contents, "b"), Some(vec![7; 1500]));
    assert_eq!(document(&contents, "blobs"), None);
}

proptest! {
    /// A file and a stream of the same bytes are read in the same way, whatever they are.
    #[test]
    fn damage_is_seen_alike(position in 0usize..3000, byte: u8, cut in 0usize..4000) {
        let mut bytes = archive(&[("a", b"one"), (&("l".repeat(120)), &[1; 700]), ("c", b"")]);
        let end = bytes.len();
        bytes[position % end] = byte;
        bytes.truncate(cut.max(1).min(end));
        let store = TestStore::new();
        let path = store.path("archive");
        std::fs::write(&path, &bytes).unwrap();
        let file = Contents::of_file(&store, std::fs::File::open(&path).unwrap(), UnpackLimits::default());
        let stream = stream(&bytes, UnpackLimits::default());
        prop_assert_eq!(file.is_ok(), stream.is_ok());
        if let (Ok(file), Ok(stream)) = (file, stream) {
            for name in ["a", "c"] {
                let found = [file.document(name), stream.document(name)].map(|found| found.map_err(|e| format!("{e:#}")));
                prop_assert_eq!(&found[0], &found[1]);
            }
        }
    }
}
