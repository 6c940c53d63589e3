//! Layers made to reach out of their tree, or to be read in two ways. `Bench` checks after each
//! that nothing outside changed.

use super::archive::{Archive, Header, octal, record};
use super::bench::Bench;

/// Every order in which up to four steps can follow each other.
fn orders(steps: usize) -> Vec<Vec<usize>> {
    let mut orders = vec![vec![]];
    for _ in 0..steps {
        let longer = |order: &Vec<usize>| {
            let missing = (0..steps).filter(|step| !order.contains(step)).collect::<Vec<_>>();
            missing.into_iter().map(|step| [order.clone(), vec![step]].concat()).collect::<Vec<_>>()
        };
        orders = orders.iter().flat_map(longer).collect();
    }
    orders
}

type Step = Box<dyn Fn(Archive) -> Archive>;

/// Attempts in steps that are tried in every order. Whether a layer is refused or lands inside does
/// not matter: the canary does.
fn attempts(canary: &str) -> Vec<Vec<Step>> {
    let symlink = |name: &'static str, target: &str| -> Step {
        let target = target.to_owned();
        Box::new(move |archive| archive.symlink(name, &target))
    };
    let hard_link = |name: &'static str, target: &str| -> Step {
        let target = target.to_owned();
        Box::new(move |archive| archive.hard_link(name, &target))
    };
    let file = |name: &'static str| -> Step { Box::new(move |archive| archive.file_mode(name, 0o777, b"changed")) };
    let directory = |name: &'static str| -> Step {
        Box::new(move |archive| {
            archive.header(&Header { name: name.as_bytes(), kind: b'5', mode: 0o777, ..Header::default() })
        })
    };
    let climb = "../".repeat(40) + canary.trim_start_matches('/');
    let inner = format!("{canary}/file");
    vec![
        // Write through a link to a directory, absolute, relative, in a middle component.
        vec![symlink("out", canary), file("out/file"), file("out/new")],
        vec![symlink("out", &climb), file("out/file"), directory("out/directory")],
        vec![symlink("a", canary), file("a/directory/file"), directory("a/directory/new")],
        vec![symlink("a/b", canary), file("a/b/file"), directory("a"), symlink("c", "a/b"), file("c/file")],
        vec![symlink("one", "two"), symlink("two", canary), file("one/file")],
        // Write, chmod or replace through a link to the file itself.
        vec![symlink("out", &inner), file("out"), directory("out")],
        vec![symlink("out", &inner), hard_link("again", "out"), file("again")],
        // Hard links to the outside, then written through.
        vec![hard_link("out", &inner), file("out")],
        vec![hard_link("out", &climb), file("out")],
        vec![symlink("dir", canary), hard_link("out", "dir/file"), file("out")],
        vec![symlink("dir", canary), hard_link("dir/file", "own"), file("own")],
        vec![hard_link("dir", canary), file("dir/file")],
        // Change of a directory's mode through a link (CVE-2026-33056).
        vec![symlink("dir", canary), directory("dir"), file("dir/file")],
        vec![symlink("dir", canary), directory("dir/directory"), directory("dir")],
        // Deletion through a link.
        vec![symlink("dir", canary), file("dir/.wh.file"), file("dir/.wh..wh..opq")],
        vec![symlink("dir", canary), symlink("dir/file", "x"), file("dir/directory")],
        // The root becomes something else.
        vec![symlink("./", canary), file("file")],
        vec![symlink(".", canary), directory("./"), file("file")],
        vec![symlink("/", canary), hard_link("./", "file"), file("file")],
        // Doors that processes offer.
        vec![symlink("dir", "/proc/self/cwd"), file("dir/escaped")],
        vec![symlink("dir", "/proc/self/root"), file("dir/escaped"), directory("dir")],
    ]
}

#[test]
fn no_order_of_links_and_writes_reaches_outside() {
    let count = attempts("/x").len();
    for index in 0..count {
        let steps = attempts("/x")[index].len();
        for order in orders(steps) {
            let bench = Bench::new();
            let attempt = &attempts(&bench.canary())[index];
            let archive = order.iter().fold(Archive::new(), |archive, &step| attempt[step](archive));
            // Twice, so that names of the first round are there in the second.
            let archive = order.iter().fold(archive, |archive, &step| attempt[step](archive));
            let _ = bench.unpack(archive.end());
        }
    }
}

#[test]
fn names_that_climb_are_refused() {
    for name in ["../escape", "a/../../escape", "/../escape", "a/..", ".."] {
        let why = Bench::refused(Archive::new().directory("a").file(name, b"x").end());
        assert!(why.contains("'..'"), "{name}: {why}");
        let why = Bench::refused(Archive::new().directory("a").hard_link("b", name).end());
        assert!(why.contains("'..'"), "{name}: {why}");
    }
}

#[test]
fn the_root_stays_a_directory() {
    for kind in *b"01236" {
        for name in ["./", ".", "/"] {
            let entry = Header { name: name.as_bytes(), kind, target: b"elsewhere", ..Header::default() };
            let bench = Bench::new();
            assert!(bench.unpack(Archive::new().header(&entry).end()).is_err() || kind == b'3', "{kind} {name}");
        }
    }
}

#[test]
fn the_size_is_read_in_one_way_only() {
    let inner = Archive::new().file("smuggled", b"x").bytes;
    // The extended header's size covers the inner header; a reader that ignores it sees a file more.
    let bench = Bench::new();
    let size = inner.len().to_string();
    let archive =
        Archive::new().pax(&[("size", size.as_bytes())]).header(&Header { name: b"outer", ..Header::default() });
    bench.unpack(archive.data(&inner).file("after", b"").end()).unwrap();
    assert!(!bench.exists("smuggled") && bench.exists("after") && bench.exists("outer"));
    // A directory has no content, whatever its header says.
    let bench = Bench::new();
    let archive =
        Archive::new().header(&Header { name: b"d", kind: b'5', size: 1024, mode: 0o755, ..Header::default() });
    bench.unpack(archive.data(&inner).end()).unwrap();
    assert!(bench.exists("smuggled"));
}

#[test]
fn ambiguous_or_malformed_headers_are_refused() {
    let file = Header { name: b"f", ..Header::default() };
    let pax = |data: &[u8]| Archive::new().extension(b'x', data).header(&file).end();
    let field = |range: std::ops::Range<usize>, bytes: &[u8]| {
        Archive::new().edited(&file, |block| block[range].copy_from_slice(bytes)).end()
    };
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("record", pax(b"xx path=a\n")),
        ("record", pax(b"9 path=a\njunk")),
        ("record", pax(b"900 path=a\n")),
        ("twice", pax(b"9 path=a\n9 path=b\n")),
        ("number", pax(&record("size", b"+1"))),
        ("number", pax(&record("size", b"-10"))),
        ("number", pax(&record("uid", b"0x0"))),
        ("name", pax(&record("path", b"a\0b"))),
        ("name", pax(&record("linkpath", b""))),
        ("ambiguous size", pax(&record("size", u64::MAX.to_string().as_bytes()))),
        ("duplicate", Archive::new().pax(&[("uid", b"0")]).pax(&[("gid", b"0")]).header(&file).end()),
        ("duplicate", Archive::new().extension(b'L', b"a").extension(b'L', b"b").header(&file).end()),
        ("two extended", Archive::new().extension(b'L', b"a").pax(&[("path", b"b")]).header(&file).end()),
        ("global", Archive::new().extension(b'g', &record("path", b"x")).header(&file).end()),
        ("global", Archive::new().extension(b'g', &record("SCHILY.xattr.user.x", b"x")).header(&file).end()),
        ("without a following", Archive::new().pax(&[("uid", b"0")]).end()),
        ("checksum", {
            let mut bytes = Archive::new().file("f", b"").end();
            bytes[0] = b'g';
            bytes
        }),
        // A base-256 number whose top bits do not fit; one below zero; trailing junk in octal.
        ("number", field(124..136, b"\x80\x01\0\0\0\0\0\0\0\0\0\0")),
        ("size", field(124..136, &[0xff; 12])),
        ("uid", field(108..116, b"\xff\xff\xff\xff\xff\xff\xff\xfe")),
        ("", field(124..136, b"00000000009\0")),
        ("malformed", field(124..136, b"\x0000000000010")),
        ("unknown entry type", field(156..157, b"Z")),
        ("unknown entry type", field(156..157, b"D")),
        ("named like a directory", Archive::new().file("f/", b"").end()),
        ("without a target", Archive::new().symlink("l", "").end()),
        ("lone zero block", {
            let one = Archive::new().file("a", b"").data(&[0; 512]);
            one.file("b", b"").end()
        }),
        ("lone zero block", Archive::new().pax(&[("uid", b"0")]).data(&[0; 512]).header(&file).end()),
        ("whiteout", Archive::new().file(".wh.", b"").end()),
        ("through a whiteout", Archive::new().file(".wh.a/b", b"").end()),
        ("capability", Archive::new().pax(&[("SCHILY.xattr.security.capability", b"\0\0\0\x02")]).header(&file).end()),
        ("capability", Archive::new().pax(&[("SCHILY.xattr.security.capability", &[2; 24])]).header(&file).end()),
        ("longer than 255", Archive::new().pax(&[("path", &[b'n'; 256])]).header(&file).end()),
        ("not a directory", Archive::new().file("a", b"").file("a/b", b"").end()),
        ("link to", Archive::new().hard_link("a", "missing").end()),
        ("link to", Archive::new().directory("d").hard_link("a", "d").end()),
        ("root", Archive::new().hard_link("a", "/").end()),
    ];
    for (index, (expected, bytes)) in cases.into_iter().enumerate() {
        let why = Bench::refused(bytes);
        assert!(why.contains(expected), "case {index}: {expected:?} not in {why:?}");
        assert!(!why.chars().any(char::is_control), "case {index}: {why:?}");
    }
}

#[test]
fn owners_beyond_any_id_are_refused() {
    if !super::bench::is_root() {
        return;
    }
    for id in ["4294967295", "4294967296", "18446744073709551615"] {
        let why = Bench::refused(Archive::new().pax(&[("uid", id.as_bytes())]).file("f", b"").end());
        assert!(why.contains(id) && why.contains("'f'"), "{why}");
    }
}

#[test]
fn a_stream_cut_anywhere_is_an_error_or_whole_entries() {
    let archive = Archive::new().pax(&[("path", b"one")]).file("x", &[1; 700]).file("two", b"2").end();
    // Between entries, and in the padding before the next, a cut looks like an end; the layer's digest tells.
    let ends = [0..=0, 1536 + 700..=2560, 3072 + 1..=3584];
    for length in (0..archive.len() - 1024).step_by(29).chain([0, 2560, 3584]) {
        let bench = Bench::new();
        let between = ends.iter().any(|end| end.contains(&length));
        assert_eq!(bench.unpack(archive[..length].to_vec()).is_ok(), between, "cut at {length}");
    }
}

#[test]
fn sparse_maps_that_do_not_fit_are_refused() {
    let with = |records: &[(&str, &[u8])], size| {
        let header = Header { name: b"f", size, ..Header::default() };
        Archive::new().pax(records).header(&header).data(&[b'\n'; 1024]).end()
    };
    let one = (("GNU.sparse.major", &b"1"[..]), ("GNU.sparse.minor", &b"0"[..]));
    let huge = u64::MAX.to_string();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("overlap", with(&[("GNU.sparse.map", b"0,10,5,10"), ("GNU.sparse.size", b"100")], 20)),
        ("overlap", with(&[("GNU.sparse.map", b"50,10,0,10"), ("GNU.sparse.size", b"100")], 20)),
        ("overlap", with(&[("GNU.sparse.map", b"95,10"), ("GNU.sparse.size", b"100")], 10)),
        (
            "beyond any file",
            with(&[("GNU.sparse.map", format!("{huge},10").as_bytes()), ("GNU.sparse.size", b"9")], 10),
        ),
        ("describes", with(&[("GNU.sparse.map", b"0,10"), ("GNU.sparse.size", b"100")], 20)),
        ("sparse map", with(&[("GNU.sparse.map", b"0,10,5"), ("GNU.sparse.size", b"100")], 10)),
        ("", with(&[("GNU.sparse.map", b"0,1e1"), ("GNU.sparse.size", b"100")], 10)),
        ("make a file", with(&[("GNU.sparse.map", b"0,0"), ("GNU.sparse.size", huge.as_bytes())], 0)),
        ("realsize", with(&[one.0, one.1], 1024)),
        ("decimal", with(&[one.0, one.1, ("GNU.sparse.realsize", b"5")], 1024)),
        ("format", with(&[("GNU.sparse.major", b"2"), ("GNU.sparse.minor", b"0")], 10)),
        ("format", with(&[("GNU.sparse.name", b"other")], 10)),
        (
            "no file",
            Archive::new().pax(&[("GNU.sparse.map", b"0,0"), ("GNU.sparse.size", b"5")]).symlink("l", "t").end(),
        ),
        ("number", {
            let sparse = Header { name: b"f", kind: b'S', size: 0, ..Header::default() };
            let edit = |block: &mut [u8; 512]| {
                block[257..265].copy_from_slice(b"ustar  \0");
                block[386..398].copy_from_slice(b"\x80\x01\0\0\0\0\0\0\0\0\0\0");
                octal(&mut block[398..410], 0);
                octal(&mut block[483..495], 10);
            };
            Archive::new().edited(&sparse, edit).end()
        }),
    ];
    for (index, (expected, bytes)) in cases.into_iter().enumerate() {
        let why = Bench::refused(bytes);
        assert!(why.contains(expected), "case {index}: {expected:?} not in {why:?}");
    }
}

#[test]
fn a_sparse_map_without_line_ends_is_given_up() {
    let size = 4 << 20;
    let header = Header { name: b"f", size, ..Header::default() };
    let records: [(&str, &[u8]); 3] =
        [("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.realsize", b"5")];
    let why = Bench::refused(Archive::new().pax(&records).header(&header).data(&vec![b'1'; size as usize]).end());
    assert!(why.contains("exceed the limit"), "{why}");
}

#[test]
fn damaged_compressed_streams_are_errors() {
    use super::super::Compression;
    let archive = Archive::new().file("f", &vec![1; 100_000]).end();
    let gzip = super::archive::gzip(&archive);
    let zstd = zstd::encode_all(&archive[..], 1).unwrap();
    for (compression, whole) in [(Compression::Gzip, gzip), (Compression::Zstd, zstd)] {
        let cut = whole[..whole.len() - 5].to_vec();
        let mut flipped = whole.clone();
        let last = flipped.len() - 9;
        flipped[last] ^= 0x55;
        let trailing = [whole.clone(), b"junk".to_vec()].concat();
        let empty = Vec::new();
        for (index, bytes) in [cut, flipped, trailing, archive.clone(), empty].into_iter().enumerate() {
            let mut bench = Bench::new();
            bench.job.compression = compression;
            let outcome = bench.unpack(bytes);
            assert!(outcome.is_err(), "{compression:?} {index}: {outcome:?}");
        }
    }
}
