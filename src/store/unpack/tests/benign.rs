//! What real images contain has to come out right.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::super::Compression;
use super::archive::{Archive, Header, gzip, octal, record};
use super::bench::{Bench, is_root};
use crate::spec::digest::Digest;

#[test]
fn a_plain_tree_keeps_names_modes_times_and_contents() {
    let bench = Bench::new();
    let archive = Archive::new()
        .directory("./")
        .directory("./usr/")
        .file_mode("usr/program", 0o4755, b"#!/bin/sh\n")
        .file("usr/empty", b"")
        .symlink("bin", "usr/bin")
        .hard_link("usr/again", "usr/program")
        .kind("usr/pipe", b'6')
        .directory("usr/bin/")
        .file("bin/through-link", b"x")
        .end();
    let expected = Digest::of(&archive);
    let unpacked = bench.unpack(archive).unwrap();
    assert_eq!((unpacked.diff_id, unpacked.size, unpacked.entries, unpacked.skipped_devices), (expected, 11, 9, 0));
    let tree = bench.tree();
    let mode = |path: &str| tree[std::path::Path::new(path)].mode;
    assert_eq!((mode(""), mode("usr"), mode("usr/program"), mode("usr/pipe")), (0o40755, 0o40755, 0o104755, 0o10644));
    assert_eq!(
        fs::metadata(bench.diff("usr/again")).unwrap().ino(),
        fs::metadata(bench.diff("usr/program")).unwrap().ino()
    );
    assert_eq!(bench.read("usr/bin/through-link"), "x");
    // Directories too, although entries were added after theirs.
    for (path, node) in &tree {
        assert_eq!(node.mtime, (1_000_000_000, 0), "{}", path.display());
    }
}

#[test]
fn every_compression_gives_the_same_tree_and_digest() {
    let archive = Archive::new().directory("a").file("a/big", &vec![7; 3_000_000]).file("b", b"end").end();
    let zstd = zstd::encode_all(&archive[..], 3).unwrap();
    // Several members in one stream are one layer.
    let (head, tail) = archive.split_at(700);
    let members = [gzip(head), gzip(tail)].concat();
    for (compression, bytes) in [
        (Compression::None, archive.clone()),
        (Compression::Gzip, gzip(&archive)),
        (Compression::Gzip, members),
        (Compression::Zstd, zstd),
    ] {
        let mut bench = Bench::new();
        bench.job.compression = compression;
        let unpacked = bench.unpack(bytes).unwrap();
        assert_eq!(unpacked.diff_id, Digest::of(&archive), "{compression:?}");
        assert_eq!((bench.read("b").as_str(), fs::metadata(bench.diff("a/big")).unwrap().len()), ("end", 3_000_000));
    }
}

#[test]
fn the_digest_covers_what_follows_the_archive() {
    let mut archive = Archive::new().file("a", b"x").end();
    archive.extend_from_slice(&[0; 9000]);
    archive.extend_from_slice(b"trailing");
    let expected = Digest::of(&archive);
    assert_eq!(Bench::new().unpack(archive).unwrap().diff_id, expected);
}

#[test]
fn links_with_absolute_targets_stay_inside() {
    let bench = Bench::new();
    let archive = Archive::new()
        .directory("run")
        .directory("var")
        .symlink("var/run", "/run")
        .file("var/run/utmp", b"inside")
        .symlink("abs", "/var/run/../run")
        .file("abs/second", b"too")
        .file("bin/busybox", b"applets")
        .hard_link("bin/ls", "/bin/busybox")
        .hard_link("bin/utmp", "var/run/utmp")
        .symlink("loop", "loop")
        .hard_link("loop2", "loop")
        .end();
    bench.unpack(archive).unwrap();
    assert_eq!((bench.read("run/utmp"), bench.read("run/second")), ("inside".into(), "too".into()));
    assert_eq!((bench.read("bin/ls"), bench.read("bin/utmp")), ("applets".into(), "inside".into()));
    // The last component of a hard link's source is not followed.
    assert_eq!(fs::read_link(bench.diff("loop2")).unwrap().to_str(), Some("loop"));
}

#[test]
fn missing_parents_are_made_behind_dangling_links_too() {
    let bench = Bench::new();
    let archive = Archive::new()
        .symlink("var/run", "/run")
        .file("var/run/lock/x", b"1")
        .symlink("a/b", "../c/./d")
        .file("a/b/y", b"2")
        .end();
    bench.unpack(archive).unwrap();
    assert_eq!((bench.read("run/lock/x"), bench.read("c/d/y")), ("1".into(), "2".into()));
    assert_eq!(fs::metadata(bench.diff("run/lock")).unwrap().permissions().mode(), 0o40755);
}

#[test]
fn a_later_entry_replaces_an_earlier_one_of_another_type() {
    let bench = Bench::new();
    let archive = Archive::new()
        .file("d2f/deep/file", b"old")
        .file("d2f", b"now a file")
        .file("f2d", b"old")
        .directory("f2d")
        .file("f2d/inside", b"new")
        .directory("real")
        .symlink("l2d", "real")
        .directory("l2d")
        .file("l2d/own", b"not in real")
        .directory("d2l")
        .file("d2l/a", b"x")
        .symlink("d2l", "real")
        .file("d2l/b", b"in real")
        .file("twice", b"first")
        .hard_link("kept", "twice")
        .file("twice", b"second")
        .hard_link("kept", "kept")
        .end();
    bench.unpack(archive).unwrap();
    assert_eq!((bench.read("d2f"), bench.read("f2d/inside")), ("now a file".into(), "new".into()));
    assert_eq!((bench.read("l2d/own"), bench.read("real/b")), ("not in real".into(), "in real".into()));
    assert!(!bench.exists("real/own") && !bench.exists("real/a"));
    assert_eq!((bench.read("kept"), bench.read("twice")), ("first".into(), "second".into()));
}

#[test]
fn whiteouts_hide_lower_layers_only_in_any_order() {
    let bench = Bench::new();
    let archive = Archive::new()
        .file("usr/.wh.gone", b"")
        .file(".wh.file", b"")
        .file("file", b"new")
        .file("other", b"new")
        .file(".wh.other", b"")
        .file(".wh.tree", b"")
        .directory("tree")
        .file("tree/new", b"x")
        .file(".wh.implied", b"")
        .file("implied/new", b"x")
        .directory("early")
        .file("early/new", b"x")
        .file(".wh.early", b"")
        .directory("opaque")
        .file("opaque/before", b"x")
        .file("opaque/.wh..wh..opq", b"")
        .file("opaque/after", b"x")
        .file(".wh.parent", b"")
        .file("parent/.wh.child", b"")
        .file("parent/.wh..wh..opq", b"")
        .file(".wh..wh.aufs", b"")
        .file(".wh..wh.plnk/1.2", b"")
        .end();
    bench.unpack(archive).unwrap();
    assert!(bench.is_whiteout("usr/gone") && bench.is_whiteout("parent"));
    assert_eq!((bench.read("file"), bench.read("other")), ("new".into(), "new".into()));
    for directory in ["tree", "implied", "early", "opaque"] {
        assert!(bench.is_opaque(directory), "{directory}");
    }
    assert!(bench.exists("opaque/before") && bench.exists("opaque/after") && bench.exists("early/new"));
    assert!(!bench.is_opaque("usr"));
    assert!(!bench.tree().keys().any(|path| path.to_string_lossy().contains(".wh.")));
}

#[test]
fn extended_headers_carry_long_names_times_and_numbers() {
    let bench = Bench::new();
    let long = format!("{}/{}", "d".repeat(200), "f".repeat(250));
    let archive = Archive::new()
        .pax(&[("path", long.as_bytes()), ("mtime", b"1234567890.123456789"), ("size", b"3"), ("comment", b"any")])
        .header(&Header { name: b"short", size: 9, ..Header::default() })
        .data(b"pax")
        .pax(&[("mtime", b"0")])
        .file("epoch", b"")
        .pax(&[("mtime", b"-1.5")])
        .file("before", b"")
        .extension(b'L', format!("{}\0", "g".repeat(120)).as_bytes())
        .extension(b'K', format!("{}\0", "t".repeat(130)).as_bytes())
        .symlink("short", "short")
        .pax(&[("linkpath", "p".repeat(140).as_bytes())])
        .symlink("linked", "short")
        .extension(b'g', &record("comment", b"0123456789abcdef"))
        .file("last", b"")
        .end();
    bench.unpack(archive).unwrap();
    let tree = bench.tree();
    let node = |path: &str| &tree[std::path::Path::new(path)];
    assert_eq!((node(&long).mtime, node(&long).content.as_slice()), ((1234567890, 123456789), &b"pax"[..]));
    assert_eq!((node("epoch").mtime, node("before").mtime), ((0, 0), (-2, 500_000_000)));
    assert_eq!(node(&"g".repeat(120)).content, "t".repeat(130).as_bytes());
    assert_eq!(node("linked").content, "p".repeat(140).as_bytes());
    assert!(bench.exists("last"));
}

#[test]
fn the_attributes_of_the_host_and_of_overlayfs_are_dropped() {
    let bench = Bench::new();
    let capability = b"\x01\0\0\x02\x00\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let archive = Archive::new()
        .pax(&[
            ("SCHILY.xattr.user.kept", b"a=b\n22 linkpath=/etc/shadow\n"),
            ("SCHILY.xattr.user.empty", b""),
            ("SCHILY.xattr.user.overlay.opaque", b"y"),
            ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
            ("SCHILY.xattr.security.selinux", b"label"),
            ("SCHILY.xattr.security.capability", capability),
        ])
        .file("file", b"x")
        .pax(&[("SCHILY.xattr.user.overlay.opaque", b"y"), ("SCHILY.xattr.user.on", b"directory")])
        .directory("directory")
        .pax(&[("SCHILY.xattr.user.on", b"link")])
        .symlink("link", "file")
        .end();
    bench.unpack(archive).unwrap();
    let tree = bench.tree();
    let mut xattrs = tree[std::path::Path::new("file")].xattrs.clone();
    assert_eq!(xattrs.remove("user.kept").unwrap(), b"a=b\n22 linkpath=/etc/shadow\n");
    assert_eq!(xattrs.remove("user.empty").unwrap(), b"");
    // Only root may give files capabilities; the value holds a line feed on purpose.
    assert_eq!(xattrs.remove("security.capability").as_deref(), is_root().then_some(&capability[..]));
    assert_eq!(xattrs.len(), 0);
    assert!(!bench.is_opaque("directory"));
    assert_eq!(tree[std::path::Path::new("directory")].xattrs["user.on"], b"directory");
}

#[test]
fn owners_are_applied_or_fold_into_one() {
    let mut bench = Bench::new();
    let owner = (1234, 5678);
    let archive = Archive::new()
        .header(&Header { name: b"setuid", mode: 0o6711, owner, ..Header::default() })
        .header(&Header { name: b"directory/", kind: b'5', mode: 0o3770, owner, ..Header::default() })
        .header(&Header { name: b"link", kind: b'2', target: b"nowhere", owner, ..Header::default() })
        .header(&Header { name: b"fifo", kind: b'6', mode: 0o600, owner, ..Header::default() })
        .file("directory/of-root", b"")
        .end();
    for single_id in [true, false] {
        bench.job.single_id = single_id;
        let expected =
            if single_id { (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()) } else { owner };
        if !single_id && !is_root() {
            assert!(bench.unpack(archive.clone()).unwrap_err().contains("set the owner"));
            continue;
        }
        bench.unpack(archive.clone()).unwrap();
        let tree = bench.tree();
        for name in ["setuid", "directory", "link", "fifo"] {
            assert_eq!(tree[std::path::Path::new(name)].owner, expected, "{name}");
        }
        assert_eq!(tree[std::path::Path::new("setuid")].mode, 0o106711);
        assert_eq!(tree[std::path::Path::new("directory")].mode, 0o43770);
        // Not the group of its setgid directory.
        assert!(single_id || tree[std::path::Path::new("directory/of-root")].owner == (0, 0));
        crate::store::remove::remove_tree(&bench.diff("")).unwrap();
    }
}

#[test]
fn devices_are_skipped_and_counted() {
    let bench = Bench::new();
    let archive = Archive::new().kind("dev/sda", b'4').kind("dev/null", b'3').file("after", b"x").end();
    let unpacked = bench.unpack(archive).unwrap();
    assert_eq!((unpacked.skipped_devices, unpacked.entries), (2, 3));
    assert!(!bench.exists("dev/null") && bench.exists("after"));
}

#[test]
fn the_oldest_format_and_oddly_padded_fields_are_read() {
    let bench = Bench::new();
    let old = |block: &mut [u8; 512]| block[257..].fill(0);
    let archive = Archive::new()
        .edited(&Header { name: b"old/", kind: 0, mode: 0o755, ..Header::default() }, old)
        .edited(&Header { name: b"old/file", kind: 0, size: 3, ..Header::default() }, |block| {
            old(block);
            block[100..108].copy_from_slice(b"100640 \0");
            block[124..136].copy_from_slice(b"          3 ");
        })
        .data(b"old")
        .edited(&Header { name: b"gnu", kind: b'7', ..Header::default() }, |block| {
            block[257..265].copy_from_slice(b"ustar  \0");
            block[124..136].copy_from_slice(b"\x80\0\0\0\0\0\0\0\0\0\0\x04");
            block[136..148].fill(0xff);
        })
        .data(b"gnu!")
        .edited(&Header { name: b"name", ..Header::default() }, |block| block[345..351].copy_from_slice(b"prefix"))
        .end();
    bench.unpack(archive).unwrap();
    assert_eq!(
        (bench.read("old/file"), bench.read("gnu"), bench.exists("prefix/name")),
        ("old".into(), "gnu!".into(), true)
    );
    assert_eq!(fs::metadata(bench.diff("old/file")).unwrap().permissions().mode() & 0o7777, 0o640);
    assert_eq!(fs::metadata(bench.diff("gnu")).unwrap().mtime(), -1);
}

#[test]
fn an_archive_may_end_with_one_zero_block_or_none() {
    for end in [0, 512, 1024] {
        let bench = Bench::new();
        let mut archive = Archive::new().file("a", b"x").bytes;
        archive.extend_from_slice(&vec![0; end]);
        assert_eq!(bench.unpack(archive).unwrap().entries, 1);
    }
    assert_eq!(Bench::new().unpack(Vec::new()).unwrap().entries, 0);
}

#[test]
fn sparse_files_of_all_formats_keep_their_holes() {
    let data = b"data at the start".repeat(30);
    let (first, rest) = data.split_at(100);
    let at: u64 = 1 << 20;
    let end = at + rest.len() as u64;
    let file_size = (3 << 20).to_string();
    let pairs = [(0, first.len() as u64), (at, rest.len() as u64)];
    let size = data.len() as u64;
    let plain = Header { name: b"GNUSparseFile.1/f", size, ..Header::default() };
    let real = ("GNU.sparse.realsize", file_size.as_bytes());
    let map = pairs.map(|(offset, length)| format!("{offset},{length}")).join(",");
    let lines = format!("2\n{}\n", pairs.map(|(offset, length)| format!("{offset}\n{length}")).join("\n"));
    let lines = Archive::new().data(lines.as_bytes()).bytes;
    let gnu = |block: &mut [u8; 512]| {
        block[..4].copy_from_slice(b"f\0\0\0");
        block[257..265].copy_from_slice(b"ustar  \0");
        for (index, (offset, length)) in pairs.iter().enumerate() {
            octal(&mut block[386 + index * 24..398 + index * 24], *offset);
            octal(&mut block[398 + index * 24..410 + index * 24], *length);
        }
        octal(&mut block[483..495], 3 << 20);
    };
    let size_of_1_0 = (lines.len() as u64 + size).to_string();
    let offset = at.to_string();
    let (length_one, length_two) = (first.len().to_string(), rest.len().to_string());
    let formats = [
        Archive::new().edited(&Header { kind: b'S', name: b"f", ..plain.clone() }, gnu),
        Archive::new()
            .pax(&[
                ("GNU.sparse.size", file_size.as_bytes()),
                ("GNU.sparse.numblocks", b"2"),
                ("GNU.sparse.offset", b"0"),
                ("GNU.sparse.numbytes", length_one.as_bytes()),
                ("GNU.sparse.offset", offset.as_bytes()),
                ("GNU.sparse.numbytes", length_two.as_bytes()),
                ("GNU.sparse.name", b"f"),
            ])
            .header(&plain),
        Archive::new()
            .pax(&[
                ("GNU.sparse.map", map.as_bytes()),
                ("GNU.sparse.size", file_size.as_bytes()),
                ("GNU.sparse.name", b"f"),
            ])
            .header(&plain),
        Archive::new()
            .pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.minor", b"0"), ("GNU.sparse.name", b"f"), real])
            .header(&Header { size: lines.len() as u64 + size, ..plain.clone() })
            .data(&lines),
        Archive::new()
            .pax(&[
                ("GNU.sparse.major", b"1"),
                ("GNU.sparse.minor", b"0"),
                ("GNU.sparse.name", b"f"),
                real,
                ("size", size_of_1_0.as_bytes()),
            ])
            .header(&Header { size: lines.len() as u64 + size, ..plain.clone() })
            .data(&lines),
    ];
    for (index, format) in formats.into_iter().enumerate() {
        let bench = Bench::new();
        let unpacked = bench.unpack(format.data(&data).file("next", b"intact").end()).unwrap();
        assert_eq!(unpacked.size, size + 6, "format {index}");
        let content = fs::read(bench.diff("f")).unwrap();
        assert_eq!(content.len(), 3 << 20, "format {index}");
        assert!(content[..100] == *first && content[at as usize..end as usize] == *rest, "format {index}");
        assert!(content[100..at as usize].iter().chain(&content[end as usize..]).all(|&byte| byte == 0));
        assert!(fs::metadata(bench.diff("f")).unwrap().blocks() < 1024, "format {index}");
        assert_eq!(bench.read("next"), "intact");
    }
}
