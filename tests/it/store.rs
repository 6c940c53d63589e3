//! The store under damage, a full disk and another version.

use crate::common::images::{Image, Layer};
use crate::common::machine::{Machine, RANGE};
use crate::common::registry::registry;
use crate::common::{Bench, names_in, noise, read, write};

#[test]
fn a_damaged_record_is_named_and_the_rest_works() {
    let (bench, image) = Bench::with_image();
    let good = bench.start(&["--name", "good"], &image, &["sleep", "100"]);
    for (number, damage) in ["", "{", "{\"id\": 5}", "[]", "\u{0}\u{0}\u{0}", "{}"].iter().enumerate() {
        for file in ["config.json", "state.json"] {
            let bad = bench.ok(&["create", "--name", "bad", &image, "true"]);
            write(bench.root().join("containers").join(&bad).join(file), damage);
            let output = bench.rbox(&["ps", "-a", "--format", "{{.Names}}"]).run();
            assert!(output.out().lines().any(|line| line == "good"), "{number} {file}: {}", output.report());
            assert!(
                output.err().contains(&bad[..12]),
                "the damaged one is named: {file} {damage:?}: {}",
                output.report()
            );
            assert_eq!(bench.inspect("good", "{{.Id}}"), good);
            assert_eq!(bench.ok(&["exec", "good", "echo", "alive"]), "alive");
            bench.run_rm(&[], &image, &["true"]).ok();
            let output = bench.rbox(&["system", "check"]).run();
            assert!(output.code != 0 && output.report().contains(&bad[..12]), "{file} {damage:?}: {}", output.report());
            if number % 2 == 0 {
                bench.rbox(&["rm", "-f", &bad]).run().ok();
            } else {
                bench.rbox(&["system", "check", "--repair"]).run().ok();
                // Without its state it counts as exited; without its configuration it is put away.
                bench.rbox(&["rm", "-f", &bad]).run().ok();
            }
            bench.rbox(&["system", "check"]).run().ok();
            assert_eq!(bench.ok(&["ps", "-aq"]), &good[..12]);
            // Its name is free again.
            bench.run_rm(&["--name", "bad"], &image, &["true"]).ok();
        }
    }
}

#[test]
fn a_damaged_image_name_is_named_and_a_pull_mends_it() {
    let (bench, image) = Bench::with_image();
    let other = registry().push_once("t/other:1", || vec![Image::small_with(vec![Layer::new().file("o", 0o644, "o")])]);
    bench.ok(&["pull", "-q", &other]);
    let names = bench.root().join("images");
    let record = names_in(&names).into_iter().find(|name| {
        let text = read(names.join(name));
        text.contains(&image) && !text.contains("@sha256")
    });
    let record = names.join(record.expect("a record of the image's name"));
    write(&record, "{\"broken\"");
    let output = bench.rbox(&["images"]).run();
    assert!(output.out().contains("t/other"), "{}", output.report());
    bench.run_rm(&[], &other, &["true"]).ok();
    let output = bench.rbox(&["system", "check"]).run();
    assert_ne!(output.code, 0, "{}", output.report());
    bench.ok(&["pull", "-q", &image]);
    assert_eq!(bench.run_rm(&[], &image, &["echo", "mended"]).ok().out(), "mended");
    bench.rbox(&["system", "check", "--repair"]).run();
    bench.rbox(&["system", "check"]).run().ok();
}

#[test]
fn check_and_repair_of_layers_and_blobs() {
    let (bench, image) = Bench::with_image();
    bench.rbox(&["system", "check"]).run().ok();
    let layers = bench.root().join("layers");
    let layer = layers.join(&names_in(&layers)[0]);

    // A layer that is gone is extracted again from its blob, without the network.
    remove(&layer);
    let output = bench.run_rm(&[], &image, &["true"]).exits(125);
    assert!(output.err().contains("missing") && output.err().lines().count() == 1, "{}", output.report());
    let output = bench.rbox(&["system", "check"]).run();
    assert!(
        output.code != 0 && output.report().contains(&layer.file_name().unwrap().to_string_lossy()[..12]),
        "{}",
        output.report()
    );
    bench.rbox(&["system", "check", "--repair"]).run().ok();
    bench.rbox(&["system", "check"]).run().ok();
    assert_eq!(bench.run_rm(&[], &image, &["cat", "/etc/os-release"]).ok().out(), "ID=small");

    // So is one whose files are gone.
    remove(&layer.join("diff/etc"));
    bench.run_rm(&[], &image, &["true"]);
    let output = bench.rbox(&["system", "check"]).run();
    if output.code != 0 {
        bench.rbox(&["system", "check", "--repair"]).run().ok();
        assert_eq!(bench.run_rm(&[], &image, &["cat", "/etc/os-release"]).ok().out(), "ID=small");
    } else {
        remove(&layer);
        bench.rbox(&["system", "check", "--repair"]).run().ok();
    }

    // A flipped bit is found; the blob cannot be trusted any more, a pull brings it again.
    let blobs = bench.root().join("blobs/sha256");
    let largest = |name: &String| std::fs::metadata(blobs.join(name)).unwrap().len();
    let victim = names_in(&blobs).into_iter().max_by_key(largest).unwrap();
    let path = blobs.join(&victim);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    make_writable(&path);
    write(&path, &bytes);
    let output = bench.rbox(&["system", "check"]).run();
    assert!(output.code != 0 && output.report().contains(&victim[..12]), "{}", output.report());
    let output = bench.rbox(&["system", "check", "--repair"]).run();
    assert!(output.report().contains(&victim[..12]), "{}", output.report());
    assert_eq!(bench.run_rm(&[], &image, &["echo", "layers still there"]).ok().out(), "layers still there");
    bench.ok(&["pull", "-q", &image]);
    bench.rbox(&["system", "check"]).run().ok();
    assert!(path.exists());
}

fn make_writable(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn remove(path: &std::path::Path) {
    crate::common::program("unshare").args(["--user", "--map-auto", "--map-root-user", "rm", "-rf"]).arg(path).ok();
    assert!(!path.exists());
}

#[test]
fn a_newer_store_is_refused_and_not_touched() {
    let (bench, image) = Bench::with_image();
    let version = bench.root().join("version");
    let before = read(&version);
    for text in ["2\n", "1000\n"] {
        write(&version, text);
        for command in [&["ps"][..], &["images"], &["pull", &image], &["system", "check"]] {
            let output = bench.rbox(command).run();
            assert!(output.code != 0 && output.err().contains("newer"), "{}", output.report());
        }
        bench.run_rm(&[], &image, &["true"]).refused(125, "newer");
        assert_eq!(read(&version), text);
    }
    write(&version, before);
    bench.run_rm(&[], &image, &["true"]).ok();
}

#[test]
fn leftovers_in_staging_are_swept() {
    let (bench, image) = Bench::with_image();
    let left = bench.root().join("staging/abandoned/diff/etc");
    std::fs::create_dir_all(&left).unwrap();
    write(left.join("file"), "x");
    bench.rbox(&["system", "check", "--repair"]).run();
    bench.ok(&["pull", "-q", &image]);
    bench.run_rm(&[], &image, &["true"]).ok();
    bench.rbox(&["system", "check"]).run().ok();
    bench.no_staging();
}

#[test]
fn a_full_disk_stops_writers_and_nothing_else() {
    let bench = Bench::new();
    let small = registry().small();
    let large = || vec![Image::small_with(vec![Layer::new().file("large", 0o644, noise(11, 30 << 20))])];
    let large = registry().push_once("t/toolarge:1", large);
    let script = format!(
        r#"
        check() {{ echo "== $*"; "$@"; echo "code=$?"; }}
        rbox pull -q {small} || exit 90
        rbox run -d --name runs {small} sh -c 'echo logged; sleep 1000' >/dev/null || exit 91
        rbox create --name made {small} true >/dev/null || exit 92
        rbox run -d --name writes {small} sh -c 'while [ ! -e /go ]; do sleep 0.1; done; yes | head -c 3000000; echo through >&2; touch /through; sleep 1000' >/dev/null || exit 93
        rbox exec writes touch /through /go.tmp
        check rbox pull -q {large}
        echo "staging=$(ls -A $HOME/.local/share/rbox/staging | wc -l)"
        head -c 100M /dev/zero >/mnt/home/fill 2>/dev/null
        echo "free=$(df --output=avail /mnt | tail -n1 | tr -d ' ')"
        rbox exec writes mv /go.tmp /go
        for i in $(seq 100); do rbox exec writes sh -c 'ps | grep -q "[s]leep 1000"' && break; sleep 0.1; done
        echo "writer got through its output: $?"
        rbox rm -f writes >/dev/null
        head -c 100M /dev/zero >/mnt/home/fill2 2>/dev/null
        check rbox ps -a --format '{{{{.Names}}}}'
        check rbox images -q
        check rbox logs runs
        check rbox inspect -f '{{{{.Name}}}}' runs
        check rbox run --rm {small} true
        check rbox create --name more {small} true
        check rbox stop -t 0 runs
        check rbox rm made
        check rbox rm -f runs
        check rbox rmi {small}
        check rbox ps -aq
        rm /mnt/home/fill /mnt/home/fill2
        check rbox system check
        check rbox run --rm -q {small} echo again
        "#
    );
    let machine = Machine { ranges: RANGE, size: "40m" };
    let output = machine.script(&bench, &script).limit(120).run();
    let out = output.out();
    let part = |title: &str| {
        let start = out.find(&format!("== rbox {title}")).unwrap_or_else(|| panic!("no {title}\n{}", output.report()));
        out[start..].split("\n== ").next().unwrap().to_owned()
    };
    let code = |title: &str, expected: &[i32]| {
        let part = part(title);
        assert!(expected.iter().any(|code| part.contains(&format!("code={code}"))), "{part}\n{}", output.report());
    };
    code("pull -q", &[1]);
    assert!(output.err().contains("No space left"), "{}", output.report());
    assert!(out.contains("staging=0"), "{}", output.report());
    assert!(out.contains("free=0"), "{}", output.report());
    assert!(out.contains("writer got through its output: 0"), "a full log never blocks: {}", output.report());
    for title in [
        "ps -a --format",
        "images -q",
        "logs runs",
        "inspect",
        "stop -t 0 runs",
        "rm made",
        "rm -f runs",
        "rmi",
        "ps -aq",
    ] {
        code(title, &[0]);
    }
    assert!(part("logs runs").contains("logged"));
    code("run --rm 127", &[125, 0]);
    code("create --name more", &[1, 125, 0]);
    code("system check", &[0]);
    assert!(part("run --rm -q").contains("again\ncode=0"), "{}", output.report());
}

#[test]
fn a_read_only_store_can_be_read() {
    let bench = Bench::new();
    let small = registry().small();
    let script = format!(
        "rbox pull -q {small} && rbox run --name was {small} echo logged || exit 90
         chmod -R a-w ~/.local/share/rbox/images ~/.local/share/rbox/blobs
         rbox ps -a --format '{{{{.Names}}}}' && rbox images -q && rbox logs was && rbox inspect -f '{{{{.Name}}}}' was"
    );
    let machine = Machine { ranges: RANGE, size: "40m" };
    let output = machine.script(&bench, &script).run().ok();
    assert!(output.out().ends_with("logged\n/was"), "{}", output.report());
}
