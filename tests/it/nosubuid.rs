//! A user without subordinate ids, and other poor surroundings.

use crate::common::Bench;
use crate::common::machine::{Machine, RANGE};
use crate::common::registry::registry;

const POOR: Machine = Machine { ranges: "", size: "100m" };

#[test]
fn one_id_and_one_warning() {
    let bench = Bench::new();
    let image = registry().small();
    let script = format!(
        "rbox pull -q {image} >/dev/null
         echo PULLED >&2
         rbox run --rm {image} sh -c 'id -u; cat /proc/self/uid_map; touch /x && stat -c %u /x; cat /etc/os-release'
         echo code=$?; echo RAN >&2
         rbox run --rm {image} sh -c 'exit 3'; echo code=$?
         rbox run --rm -u 1000 {image} true; echo code=$?
         rbox run -d --name d {image} sleep 100 >/dev/null; rbox exec d echo in; rbox stop -t 0 d; rbox rm d
         rbox run --rm rootfs:/ sh -c 'id -u; echo host'
         rbox rmi {image} >/dev/null && rbox system check && rbox ps -aq
        until [ -z \"$(ls -A ~/.local/share/rbox/staging)\" ]; do sleep 0.05; done"
    );
    let output = POOR.script(&bench, &script).run().ok();
    let out = output.out();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], "0", "{}", output.report());
    let map: Vec<&str> = lines[1].split_whitespace().collect();
    assert_eq!((map[0], map[2], lines[2]), ("0", "1", "0"), "{}", output.report());
    assert_eq!(&lines[3..6], ["ID=small", "code=0", "code=3"], "{}", output.report());
    assert!(lines[6].starts_with("code=") && lines[6] != "code=0", "an id that is not mapped: {}", output.report());
    assert_eq!(&lines[7..], ["in", "d", "d", "0", "host"], "{}", output.report());
    // One warning a command, with the line that an administrator must add.
    let err = output.err();
    let pulled = err.split("PULLED").next().unwrap();
    let ran = err.split("PULLED").nth(1).unwrap().split("RAN").next().unwrap();
    for (what, text) in [("pull", pulled), ("run", ran)] {
        let count = text.matches("subuid").count();
        assert!(count >= 1 && text.lines().filter(|line| line.starts_with("rbox: ")).count() == 1, "{what}: {text:?}");
    }
}

#[test]
fn with_ranges_the_same_machine_has_no_warning() {
    let bench = Bench::new();
    let image = registry().small();
    let script = format!(
        "rbox run -q --rm {image} sh -c 'wc -l </proc/self/uid_map; id -u'; rbox run --rm -u 1000 {image} id -u
         rbox run --rm -v ~/made:/x {image} true; mkdir ~/made; rbox run --rm -v ~/made:/x {image} touch /x/y; stat -c %u ~/made/y"
    );
    let machine = Machine { ranges: RANGE, size: "100m" };
    let output = machine.script(&bench, &script).run().ok();
    assert_eq!(output.out(), "2\n0\n1000\n1000", "{}", output.report());
    assert!(!output.err().contains("subuid"), "{}", output.report());
}

#[test]
fn without_a_home_or_runtime_directory() {
    let bench = Bench::new();
    let image = registry().small();
    let script = format!(
        "unset XDG_RUNTIME_DIR; rbox run -q --rm {image} echo no-runtime
         export XDG_RUNTIME_DIR=/nowhere; rbox run --rm {image} echo wrong-runtime
         unset HOME; rbox run --rm {image} echo no-home; ls -A /mnt/home"
    );
    let machine = Machine { ranges: RANGE, size: "100m" };
    let output = machine.script(&bench, &script).run();
    assert!(output.out().contains("no-runtime\nwrong-runtime\nno-home"), "{}", output.report());
    let output = bench.rbox(&["run", "--rm", "rootfs:/", "echo", "x"]).env("XDG_RUNTIME_DIR", "/proc/1").run();
    assert_eq!(output.ok().out(), "x");
}
