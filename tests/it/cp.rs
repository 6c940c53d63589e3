//! `cp`: docker's rules on both sides, on running and other containers, and what a hostile one or an
//! impatient user can do meanwhile.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::common::{Bench, names_in, read, write};

/// A running and a stopped container, and one that never ran.
const STATES: [&str; 3] = ["running", "stopped", "created"];

fn bench() -> (Bench, String) {
    let (bench, image) = Bench::with_image();
    bench.start(&["--name", "running", "--net", "none"], &image, &["sleep", "1000"]);
    bench.ok(&["run", "--name", "stopped", "--net", "none", &image, "true"]);
    bench.ok(&["create", "--name", "created", "--net", "none", &image, "true"]);
    (bench, image)
}

/// Every path below a directory with what it is: `DIR`, `-> target`, or a file's text.
fn tree(top: &Path) -> BTreeMap<String, String> {
    fn walk(top: &Path, at: &Path, found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(top).unwrap().to_str().unwrap().to_owned();
            let kind = fs::symlink_metadata(&path).unwrap();
            let what = if kind.is_dir() {
                "DIR".to_owned()
            } else if kind.is_symlink() {
                format!("-> {}", fs::read_link(&path).unwrap().display())
            } else {
                read(&path)
            };
            found.insert(name, what);
            if kind.is_dir() {
                walk(top, &path, found);
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(top, top, &mut found);
    found
}

/// What sources are made of, in a directory: `file`, `src/{f,sub/g}`, `link` to the one, `flink` to the
/// other.
fn make_sources(at: &Path) {
    fs::create_dir_all(at.join("src/sub")).unwrap();
    write(at.join("file"), "file");
    write(at.join("src/f"), "f");
    write(at.join("src/sub/g"), "g");
    symlink("src", at.join("link")).unwrap();
    symlink("file", at.join("flink")).unwrap();
}

/// What a source is copied as: its name, or none for the content of a directory.
#[derive(Clone, Copy)]
enum What {
    File(&'static str),
    Link(&'static str, &'static str),
    Directory(Option<&'static str>),
}

/// docker takes a link behind which a slash is typed for its target on the host, not in a container.
const SOURCES: [(&str, What, What); 8] = [
    ("file", What::File("file"), What::File("file")),
    ("src", What::Directory(Some("src")), What::Directory(Some("src"))),
    ("src/", What::Directory(Some("src")), What::Directory(Some("src"))),
    ("src/.", What::Directory(None), What::Directory(None)),
    ("link", What::Link("link", "src"), What::Link("link", "src")),
    ("link/", What::Directory(Some("link")), What::Link("link", "src")),
    ("link/.", What::Directory(None), What::Directory(None)),
    ("flink", What::Link("flink", "file"), What::Link("flink", "file")),
];

const TARGETS: [&str; 12] =
    ["dir", "dir/", "dir/.", "ldir", "new", "new/", "new/.", "old", "lold", "dangling", "loop", "nosuch/x"];

fn make_targets(at: &Path) {
    fs::create_dir_all(at.join("dir")).unwrap();
    write(at.join("old"), "old");
    symlink("dir", at.join("ldir")).unwrap();
    symlink("old", at.join("lold")).unwrap();
    symlink("nowhere", at.join("dangling")).unwrap();
    symlink("loop", at.join("loop")).unwrap();
}

/// What a copy adds, by docker's table, or a part of its refusal.
fn expected(what: What, target: &str, into_container: bool) -> Result<BTreeMap<String, String>, &'static str> {
    let directory = matches!(what, What::Directory(_));
    let as_name = |name: &str| -> BTreeMap<String, String> {
        match what {
            What::File(_) => [(name.to_owned(), "file".to_owned())].into(),
            What::Link(_, to) => [(name.to_owned(), format!("-> {to}"))].into(),
            What::Directory(_) => {
                let parts = [("", "DIR"), ("/f", "f"), ("/sub", "DIR"), ("/sub/g", "g")];
                parts.map(|(part, text)| (format!("{name}{part}"), text.to_owned())).into()
            }
        }
    };
    match target {
        "dir" | "dir/" | "dir/." | "ldir" => Ok(match what {
            What::File(name) | What::Link(name, _) | What::Directory(Some(name)) => as_name(&format!("dir/{name}")),
            What::Directory(None) => as_name("dir"),
        }),
        "new/" if !directory => Err("no such directory"),
        "new" | "new/" => Ok(as_name("new")),
        "new/." if into_container && !directory => Err("no such directory"),
        "new/." if into_container => Err("Could not find the file"),
        "new/." => Err("invalid output path: directory "),
        "old" | "lold" if directory => Err("cannot copy directory"),
        "old" | "lold" => Ok(as_name("old")),
        "dangling" => Ok(as_name("nowhere")),
        "loop" => Err("too many levels of symbolic links"),
        "nosuch/x" if into_container => Err("Could not find the file"),
        _ => Err("invalid output path: directory "),
    }
}

#[test]
fn dockers_table_into_containers() {
    let (bench, _) = bench();
    let sources = bench.mkdir("sources");
    make_sources(&sources);
    let blank = bench.mkdir("blank");
    for (index, _) in SOURCES.iter().enumerate() {
        for (number, _) in TARGETS.iter().enumerate() {
            make_targets(&blank.join(format!("{index}-{number}")));
        }
    }
    for state in STATES {
        bench.ok(&["cp", blank.to_str().unwrap(), &format!("{state}:/t")]);
        let mut wanted = tree(&blank);
        for (index, (source, what, _)) in SOURCES.iter().enumerate() {
            for (number, target) in TARGETS.iter().enumerate() {
                let place = format!("{index}-{number}");
                // The table is the same whatever the state: one of them sees it all.
                if state != "running" && (index + number) % 4 != 0 {
                    continue;
                }
                let from = format!("{}/{source}", sources.display());
                let output = bench.rbox(&["cp", &from, &format!("{state}:/t/{place}/{target}")]).run();
                match expected(*what, target, true) {
                    Ok(added) => {
                        assert_eq!((output.code, output.err()), (0, String::new()), "{source} {target}");
                        let gone = |name: &String| added.contains_key(name);
                        wanted.retain(|name, _| {
                            !name.strip_prefix(&format!("{place}/")).is_some_and(|name| gone(&name.to_owned()))
                        });
                        wanted.extend(added.into_iter().map(|(name, what)| (format!("{place}/{name}"), what)));
                    }
                    Err(part) => {
                        let said = output.exits(1).err();
                        assert!(said.contains(part) && said.lines().count() == 1, "{source} {target}: {said}");
                    }
                }
            }
        }
        let result = bench.path(&format!("result-{state}"));
        bench.ok(&["cp", &format!("{state}:/t"), result.to_str().unwrap()]);
        let found = tree(&result);
        for (name, what) in &wanted {
            assert_eq!(found.get(name), Some(what), "{state} {name}");
        }
        assert_eq!(found.len(), wanted.len(), "{state}");
    }
}

#[test]
fn dockers_table_out_of_containers() {
    let (bench, _) = bench();
    let sources = bench.mkdir("sources");
    make_sources(&sources);
    for state in STATES {
        bench.ok(&["cp", sources.to_str().unwrap(), &format!("{state}:/s")]);
        for (index, (source, _, what)) in SOURCES.iter().enumerate() {
            for (number, target) in TARGETS.iter().enumerate() {
                if state != "running" && (index + number) % 4 != 1 {
                    continue;
                }
                let place = bench.path(&format!("{state}-{index}-{number}"));
                make_targets(&place);
                let mut wanted = tree(&place);
                let to = format!("{}/{target}", place.display());
                let output = bench.rbox(&["cp", &format!("{state}:/s/{source}"), &to]).run();
                match expected(*what, target, false) {
                    Ok(added) => {
                        assert_eq!((output.code, output.err()), (0, String::new()), "{source} {target}");
                        wanted.extend(added);
                    }
                    Err(part) => {
                        let said = output.exits(1).err();
                        assert!(said.contains(part) && said.lines().count() == 1, "{source} {target}: {said}");
                    }
                }
                assert_eq!(tree(&place), wanted, "{state}: {source} {target}");
            }
        }
    }
}

#[test]
fn bad_input_is_one_clear_line() {
    let (bench, _) = bench();
    write(bench.path("file"), "x");
    fs::create_dir_all(bench.path("kinds/file")).unwrap();
    fs::create_dir(bench.path("kinds2")).unwrap();
    write(bench.path("kinds2/dir"), "x");
    let file = bench.path("file").display().to_string();
    let here = bench.path("").display().to_string();
    bench.ok(&["cp", &file, "running:/file"]);
    bench.ok(&["cp", &bench.path("kinds").display().to_string(), "running:/dir"]);
    let full = |name: &str| bench.path(name).display().to_string();
    let (kinds2, nosuch) = (full("kinds2/."), full("nosuch"));
    for (source, target, said) in [
        (file.as_str(), here.as_str(), "must specify at least one container source"),
        ("-", "-", "must specify at least one container source"),
        ("-", &here, "must specify at least one container source"),
        ("running:/nosuch", &here, "Could not find the file /nosuch in container running"),
        ("running:nosuch/below", &here, "Could not find the file /nosuch in container running"),
        ("nobody:/x", &here, "No such container: nobody"),
        (&file, "nobody:/x", "No such container: nobody"),
        (&file, "running:/nosuch/x", "Could not find the file /nosuch in container running"),
        (&file, "running:/nosuch/", "no such directory"),
        (&nosuch, "running:/", "lstat FILES/nosuch: no such file or directory"),
        ("running:/file", &full("no/such"), "invalid output path: directory \"FILES/no\" does not exist"),
        ("running:/file", "/dev/null", "invalid output path: \"/dev/null\" must be a directory or a regular file"),
        (&file, "running:/dev/null", "destination \"running:/dev/null\" must be a directory or a regular file"),
        ("-", "running:/file", "destination \"running:/file\" must be a directory"),
        ("-", "running:/nosuch", "Could not find the file /nosuch in container running"),
        ("running:/file/.", &here, "/file: not a directory"),
        ("running:", &here, "the path in container running is empty"),
        (&file, "", "a path is empty"),
        (&file, "running:/dir", "cannot overwrite directory /dir/file with non-directory"),
        (&full("kinds"), "running:/file", "cannot copy directory"),
        (&file, "running:/proc/sys/kernel/nosuch", "create /proc/sys/kernel/nosuch"),
        (&kinds2, "stopped:/etc", ""),
    ] {
        let output = bench.rbox(&["cp", source, target]).stdin("").run();
        let err = output.err().replace(here.trim_end_matches('/'), "FILES");
        if said.is_empty() {
            assert_eq!((output.code, err.as_str()), (0, ""), "{source} {target}");
            continue;
        }
        assert_eq!(output.code, 1, "{source} {target}: {err}");
        assert!(err.starts_with(&format!("rbox: {said}")) && err.lines().count() == 1, "{source} {target}: {err}");
    }
    // podman's --overwrite.
    bench.ok(&["cp", "--overwrite", &file, "running:/dir"]);
    assert_eq!(bench.ok(&["exec", "running", "cat", "/dir/file"]), "x");
    bench.ok(&["cp", "--overwrite", &full("kinds"), "running:/dir/file"]);
    assert_eq!(bench.ok(&["exec", "running", "ls", "/dir/file"]), "file");
    // A looping link and what it is called.
    bench.ok(&["exec", "running", "ln", "-s", "loop", "/loop"]);
    let said = bench.rbox(&["cp", "-L", "running:/loop", &here]).run().exits(1).err();
    assert_eq!(said, "rbox: running:/loop: too many levels of symbolic links");
    bench.ok(&["system", "check"]);
}

#[test]
fn what_is_mounted_is_seen_as_inside() {
    let (bench, image) = Bench::with_image();
    let (shared, guarded) = (bench.mkdir("shared"), bench.mkdir("guarded"));
    write(guarded.join("kept"), "kept");
    let binds = [format!("{}:/shared", shared.display()), format!("{}:/guarded:ro", guarded.display())];
    let flags = ["--net", "none", "-v", &binds[0], "-v", &binds[1], "--tmpfs", "/scratch"];
    bench.start(&[&["--name", "running"], &flags[..]].concat(), &image, &["sleep", "1000"]);
    bench.ok(&[&["create", "--name", "created"], &flags[..], &[&image, "true"]].concat());
    write(bench.path("new"), "new");
    let new = bench.path("new").display().to_string();
    for state in ["running", "created"] {
        bench.ok(&["cp", &new, &format!("{state}:/shared/{state}")]);
        assert_eq!(read(shared.join(state)), "new");
        let said = bench.rbox(&["cp", &new, &format!("{state}:/guarded/")]).run().exits(1).err();
        assert!(said.ends_with("/guarded/new: read-only file system"), "{said}");
        bench.ok(&["cp", &format!("{state}:/guarded/kept"), &bench.path(state).display().to_string()]);
        assert_eq!(read(bench.path(state)), "kept");
    }
    assert_eq!(names_in(&guarded), ["kept"]);
    bench.ok(&["cp", &new, "running:/scratch"]);
    assert_eq!(bench.ok(&["exec", "running", "cat", "/scratch/new"]), "new");
    // A file that is mounted cannot be replaced: it is written.
    bench.ok(&["cp", &new, "running:/etc/hosts"]);
    assert_eq!(bench.ok(&["exec", "running", "cat", "/etc/hosts"]), "new");
    bench.ok(&["cp", "running:/proc/version", &bench.path("version").display().to_string()]);
    assert_eq!(read(bench.path("version")), read("/proc/version"));
    // Archives go through mounts too.
    let script = "tar c -C $FILES new | rbox cp - running:/shared && rbox cp running:/shared - | tar t | sort";
    let listed = bench.shell(script).env("FILES", bench.path("")).ok();
    assert_eq!(listed, "shared/\nshared/created\nshared/new\nshared/running");
}

#[test]
fn owners_modes_times_holes_and_links_are_kept_as_told() {
    const MIB: u64 = 1 << 20;
    let (bench, _) = bench();
    let here = bench.mkdir("here");
    write(here.join("tool"), "x");
    fs::set_permissions(here.join("tool"), fs::Permissions::from_mode(0o750)).unwrap();
    fs::hard_link(here.join("tool"), here.join("twin")).unwrap();
    let sparse = fs::File::create(here.join("sparse")).unwrap();
    sparse.write_all_at(b"end", 300 * MIB).unwrap();
    let moment = std::time::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
    fs::File::open(here.join("tool")).unwrap().set_modified(moment).unwrap();
    let here = here.display().to_string();
    let me = fs::metadata(bench.path("")).unwrap();
    let listing =
        ["sh", "-c", "cd /here && stat -c '%n %a %u:%g %h %Y' tool twin && chown 33:34 tool && chmod 4755 tool"];
    for state in STATES {
        bench.ok(&["cp", &here, &format!("{state}:/here")]);
        let (plain, kept) = (bench.path(&format!("{state}-plain")), bench.path(&format!("{state}-kept")));
        if state == "running" {
            let found = bench.ok(&[&["exec", state][..], &listing].concat());
            assert_eq!(found, "tool 750 0:0 2 1000000000\ntwin 750 0:0 2 1000000000");
        }
        let source = format!("{state}:/here");
        bench.ok(&["cp", &source, plain.to_str().unwrap()]);
        bench.ok(&["cp", "-a", &source, kept.to_str().unwrap()]);
        let copy = fs::metadata(plain.join("tool")).unwrap();
        assert_eq!((copy.uid(), copy.gid(), copy.nlink()), (me.uid(), me.gid(), 2));
        assert_eq!((copy.mtime(), copy.mtime_nsec()), (1_000_000_000, 123_456_789));
        // Rights of another one are not lent out.
        let mode = if state == "running" { 0o755 } else { 0o750 };
        assert_eq!(copy.mode() & 0o7777, mode);
        let sparse = fs::metadata(plain.join("sparse")).unwrap();
        assert_eq!(sparse.len(), 300 * MIB + 3);
        assert!(sparse.blocks() * 512 < MIB, "{} blocks", sparse.blocks());
        if state == "running" {
            let owned = fs::metadata(kept.join("tool")).unwrap();
            assert!(owned.uid() != me.uid() && owned.mode() & 0o7777 == 0o4755, "{owned:?}");
            // What only its owner may read is out of reach, but not in the user namespace.
            bench.shell("rbox unshare chmod 4700 $FILES/running-kept/tool").env("FILES", bench.path("")).ok();
            let said = bench.rbox(&["cp", kept.to_str().unwrap(), "running:/denied"]).run().exits(1).err();
            assert!(said.ends_with(": permission denied"), "{said}");
            let script = "rbox unshare rbox cp -a $FILES/running-kept running:/granted && rbox unshare chmod 4755 $FILES/running-kept/tool";
            bench.shell(script).env("FILES", bench.path("")).ok();
            assert_eq!(bench.ok(&["exec", state, "stat", "-c", "%u:%g %a", "/granted/tool"]), "33:34 4700");
            // There and back again, and to another container.
            for to in ["running:/back", "created:/back"] {
                bench.ok(&["cp", "-a", kept.to_str().unwrap(), to]);
            }
            bench.ok(&["cp", "-a", "running:/here", "running:/across"]);
            bench.ok(&["cp", "running:/here", "running:/plainly"]);
            let found =
                bench.ok(&["exec", state, "stat", "-c", "%u:%g %a", "/back/tool", "/across/tool", "/plainly/tool"]);
            assert_eq!(found, "33:34 4755\n33:34 4755\n0:0 4755");
            let listed = bench.shell("rbox cp created:/back/tool - | tar tv --numeric-owner").ok();
            assert!(listed.starts_with("-rwsr-xr-x 33/34 "), "{listed}");
        }
    }
    // They belong to users that only rbox can remove files of.
    bench.shell("rbox unshare rm -rf $FILES/running-kept").env("FILES", bench.path("")).run();
}

#[test]
fn ids_are_those_of_the_containers_map() {
    let (bench, image) = bench();
    let flags = ["--name", "mapped", "--userns", "keep-id", "--net", "none", "-u", "0"];
    bench.start(&flags, &image, &["sleep", "1000"]);
    write(bench.path("file"), "x");
    let file = bench.path("file").display().to_string();
    let me = fs::metadata(&file).unwrap();
    bench.ok(&["cp", &file, "mapped:/plain"]);
    bench.ok(&["cp", "-a", &file, "mapped:/mine"]);
    bench
        .shell("tar c -C $FILES --owner=7 --group=8 --numeric-owner file | rbox cp -a - mapped:/tmp")
        .env("FILES", bench.path(""))
        .ok();
    // Users are told by their numbers.
    bench.ok(&["cp", "-a", "mapped:/mine", "running:/mine"]);
    bench.ok(&["cp", "-a", "running:/mine", "mapped:/again"]);
    let stat = ["exec", "mapped", "stat", "-c", "%u:%g", "/plain", "/mine", "/tmp/file", "/again"];
    let mine = format!("{}:{}", me.uid(), me.gid());
    assert_eq!(bench.ok(&stat), format!("0:0\n{mine}\n7:8\n{mine}"));
    assert_eq!(bench.ok(&["exec", "running", "stat", "-c", "%u:%g", "/mine"]), mine);
    let listed = bench.shell("rbox cp mapped:/mine - | tar tv --numeric-owner | cut -d' ' -f2").ok();
    assert_eq!(listed, mine.replace(':', "/"));
    bench.ok(&["cp", "-a", "mapped:/mine", &bench.path("back").display().to_string()]);
    let back = fs::metadata(bench.path("back")).unwrap();
    assert_eq!((back.uid(), back.gid()), (me.uid(), me.gid()));
}

#[test]
fn archives_go_both_ways() {
    let (bench, _) = bench();
    make_sources(&bench.mkdir("sources"));
    for state in STATES {
        let script = format!(
            "tar c -C $FILES --owner=7 --group=8 --numeric-owner sources | rbox cp - {state}:/opt
             tar c -C $FILES --owner=7 --group=8 --numeric-owner sources | gzip | rbox cp -a - {state}:/srv
             rbox cp {state}:/opt/sources/src - | tar t
             rbox cp {state}:/opt/sources/src/. - | tar t
             rbox cp {state}:/opt/sources/link - | tar tv | grep -o 'link.*'
             rbox cp -L {state}:/opt/sources/link - | tar t | head -1
             rbox cp {state}:/opt/sources/file - | tar xO
             rbox cp {state}:/opt/sources/file - | tar tv --numeric-owner | cut -d' ' -f2
             rbox cp {state}:/srv/sources/file - | tar tv --numeric-owner | cut -d' ' -f2"
        );
        // The small image has neither directory.
        let dirs = bench.mkdir("dirs");
        fs::create_dir_all(dirs.join("opt")).unwrap();
        fs::create_dir_all(dirs.join("srv")).unwrap();
        bench.ok(&["cp", &format!("{}/.", dirs.display()), &format!("{state}:/")]);
        let found = bench.shell(&script).env("FILES", bench.path("")).ok();
        let wanted = "src/\nsrc/f\nsrc/sub/\nsrc/sub/g\n./\nf\nsub/\nsub/g\nlink -> src\nlink/\nfile0/0\n7/8";
        assert_eq!(found, wanted, "{state}");
    }
    // Nobody reads on.
    assert_eq!(bench.shell("set -o pipefail; rbox cp running:/bin - | head -c 1 | wc -c").run().ok().out(), "1");
    // A damaged archive, and one that climbs.
    let said = bench.rbox(&["cp", "-", "running:/opt"]).stdin("this is no archive".repeat(100)).run().exits(1).err();
    assert_eq!(said.lines().count(), 1, "{said}");
    let climbing = "cd $FILES && echo x >x && tar cP --transform 's,^x,../../x,' x | rbox cp - running:/opt";
    let said = bench.shell(climbing).env("FILES", bench.path("")).run().exits(1).err();
    assert!(said.contains("..") && said.lines().count() == 1, "{said}");
}

#[test]
fn containers_copy_to_each_other() {
    let (bench, _) = bench();
    make_sources(&bench.mkdir("sources"));
    bench.ok(&["cp", bench.path("sources").to_str().unwrap(), "stopped:/sources"]);
    bench.ok(&["cp", "stopped:/sources", "created:/sources"]);
    bench.ok(&["cp", "created:/sources/.", "running:/copied"]);
    bench.ok(&["cp", "running:/copied", "running:/again"]);
    bench.ok(&["cp", "running:/again", bench.path("again").to_str().unwrap()]);
    assert_eq!(tree(&bench.path("again")), tree(&bench.path("sources")));
    assert_eq!(bench.rbox(&["start", "created"]).run().ok().err(), "");
}

#[test]
fn a_terminal_is_told_what_was_copied() {
    let (bench, _) = bench();
    write(bench.path("file"), vec![b'x'; 1540]);
    let file = bench.path("file").display().to_string();
    let typed = |flags: &str| {
        let script = format!("script -qec 'rbox cp {flags} {file} created:/tmp/../x/../file' /dev/null </dev/null");
        bench.shell(&script).env("TERM", "xterm").ok()
    };
    assert!(typed("").contains("Successfully copied 1.54kB to created:/file"));
    assert_eq!(typed("-q"), "");
    assert_eq!(bench.rbox(&["cp", &file, "created:/file"]).run().ok().err(), "");
}

/// CVE-2018-15664 and kin: the container swaps what the path goes through.
#[test]
fn a_racing_container_leads_nobody_out() {
    let (bench, image) = Bench::with_image();
    let canary = bench.mkdir("canary");
    write(canary.join("file"), "canary");
    write(bench.path("file"), "in");
    // /a/b is a directory at one moment, at the next a link to a path that the host has too.
    let outside = canary.display().to_string();
    let race = format!(
        "mkdir -p /a/b /a/c; echo inside >/a/b/file; ln -s {outside} /a/l; touch /ready; while :; do mv -T /a/b /a/c/b; mv -T /a/l /a/b; mv -T /a/b /a/l; mv -T /a/c/b /a/b; done"
    );
    bench.start(&["--name", "racer", "--net", "none"], &image, &["sh", "-c", &race]);
    crate::common::wait_until("it races", || bench.rbox(&["exec", "racer", "test", "-e", "/ready"]).run().code == 0);
    let (file, out) = (bench.path("file").display().to_string(), bench.path("out").display().to_string());
    let until = Instant::now() + Duration::from_secs(4);
    while Instant::now() < until {
        bench.rbox(&["cp", &file, "racer:/a/b/file"]).run();
        bench.rbox(&["cp", &bench.path("canary").display().to_string(), "racer:/a/b"]).run();
        if bench.rbox(&["cp", "racer:/a/b/file", &out]).run().code == 0 {
            assert!(["inside\n", "in", "canary"].contains(&read(&out).as_str()));
        }
        bench.rbox(&["cp", "racer:/a", &out]).run();
        let _ = fs::remove_file(&out);
        let _ = fs::remove_dir_all(&out);
    }
    assert_eq!(tree(&canary), [("file".to_owned(), "canary".to_owned())].into());
}

#[test]
fn a_copy_ends_with_its_container() {
    let (bench, image) = Bench::with_image();
    bench.start(&["--name", "brief", "--net", "none", "--tmpfs", "/data"], &image, &["sleep", "1000"]);
    bench.ok(&["exec", "brief", "sh", "-c", "mkdir /data/d; cd /data/d; for i in $(seq 3000); do echo $i >$i; done"]);
    let running = bench.rbox(&["cp", "brief:/data/d", bench.path("out").to_str().unwrap()]).spawn();
    bench.ok(&["kill", "brief"]);
    // What is open stays until it was read: all of it, or one line.
    let output = running.wait();
    assert!(output.code == 0 || output.err().lines().count() == 1, "{}", output.err());
    let said = bench.rbox(&["cp", "brief:/data/d", bench.path("out2").to_str().unwrap()]).run().exits(1).err();
    assert_eq!(said, "rbox: Could not find the file /data/d in container brief");
}

#[test]
fn a_killed_copy_leaves_nothing_behind() {
    let kills: usize = std::env::var("RBOX_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(6);
    let (bench, _) = bench();
    let many = bench.mkdir("many");
    for index in 0..300 {
        write(many.join(index.to_string()), vec![b'x'; 10_000]);
    }
    write(many.join("large"), vec![b'y'; 30 << 20]);
    let from = many.display().to_string();
    bench.ok(&["cp", &from, "stopped:/many"]);
    for round in 0..kills {
        let state = STATES[round % 3];
        let out = bench.path("out").display().to_string();
        let (source, target) =
            if round % 2 == 0 { (from.clone(), format!("{state}:/killed")) } else { ("stopped:/many".to_owned(), out) };
        let running = bench.rbox(&["cp", &source, &target]).spawn();
        let delay = crate::common::noise(round as u64 + std::process::id() as u64, 1)[0];
        std::thread::sleep(Duration::from_micros(u64::from(delay) * 700));
        running.signal(Signal::KILL);
        drop(running);
        bench.ok(&["system", "check"]);
        // A file is there whole, or not.
        if let Ok(copied) = fs::metadata(bench.path("out/large")) {
            assert_eq!(copied.len(), 30 << 20);
        }
        let _ = fs::remove_dir_all(bench.path("out"));
        assert_eq!(names_in(bench.root().join("staging")), Vec::<String>::new());
    }
    // Every container can be used at once.
    for state in STATES {
        bench.ok(&["cp", &from, &format!("{state}:/after")]);
    }
    bench.ok(&["start", "stopped"]);
    bench.ok(&["rm", "-f", "running", "stopped", "created"]);
    bench.no_processes();
}
