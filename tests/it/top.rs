//! `top`: the processes of a container, and of no other.

use crate::common::{Bench, wait_until};

#[test]
fn the_containers_processes_by_default_and_by_columns() {
    let (bench, image) = Bench::with_image();
    bench.start(&["--name", "web", "--user", "7:8"], &image, &["sh", "-c", "sleep 1234 & exec sleep 4321"]);
    bench.start(&["--name", "other"], &image, &["sleep", "5555"]);
    bench.ok(&["exec", "-d", "-u", "0", "web", "sleep", "2468"]);
    wait_until("all run", || bench.ok(&["top", "web"]).lines().count() == 4);
    let shown = bench.ok(&["top", "web"]);
    let mut lines = shown.lines();
    let titles: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(titles, ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
    let pid = bench.inspect("web", "{{.State.Pid}}");
    let init: Vec<&str> = lines.find(|line| line.contains("sleep 4321")).unwrap().split_whitespace().collect();
    assert_eq!(init[1], pid);
    assert!(!shown.contains("5555") && shown.contains("sleep 2468"), "{shown}");

    let shown = bench.ok(&["top", "web", "pid,user", "rgroup", "capeff", "seccomp", "args"]);
    let cells = |what: &str| -> Vec<String> {
        let line = shown.lines().find(|line| line.contains(what)).unwrap_or_else(|| panic!("{what}: {shown}"));
        line.split("   ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
    };
    assert_eq!(cells("COMMAND"), ["PID", "USER", "RGROUP", "EFFECTIVE CAPS", "SECCOMP", "COMMAND"]);
    assert_eq!(cells("4321"), ["1", "7", "8", "none", "filter", "sleep 4321"]);
    let exec = cells("2468");
    assert_eq!([&exec[1], &exec[5]], ["root", "sleep 2468"]);
    assert!(exec[3].starts_with("CHOWN,DAC_OVERRIDE,"), "{exec:?}");
    assert_eq!(bench.ok(&["top", "-l", "args"]), "COMMAND\nsleep 5555");
}

#[test]
fn options_are_those_of_ps() {
    let (bench, image) = Bench::with_image();
    bench.start(&["--name", "web"], &image, &["sleep", "4321"]);
    let shown = bench.ok(&["top", "web", "-eo", "user,pid,cmd"]);
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines.len() == 2 && lines[1].ends_with("sleep 4321"), "{shown}");
    bench.rbox(&["top", "web", "-eo", "user,cmd"]).run().refused(1, "Couldn't find PID field in ps output");
    bench.rbox(&["top", "web", "--nosuch"]).run().refused(1, "ps: ");
}

#[test]
fn containers_without_a_pid_namespace_of_their_own_are_told_apart() {
    let (bench, image) = Bench::with_image();
    bench.start(&["--name", "host", "--pid", "host"], &image, &["sleep", "2468"]);
    bench.start(&["--name", "first"], &image, &["sleep", "4321"]);
    bench.start(&["--name", "beside", "--pid", "container:first"], &image, &["sleep", "1234"]);
    assert_eq!(bench.ok(&["top", "host", "args"]), "COMMAND\nsleep 2468");
    assert_eq!(bench.ok(&["top", "first", "args"]), "COMMAND\nsleep 4321");
    assert_eq!(bench.ok(&["top", "beside", "args"]), "COMMAND\nsleep 1234");
}

#[test]
fn what_has_no_processes_is_named() {
    let (bench, image) = Bench::with_image();
    let id = bench.ok(&["create", "--name", "idle", &image, "true"]);
    bench.rbox(&["top", "idle"]).run().refused(1, &format!("container {id} is not running"));
    bench.rbox(&["top", "nosuch"]).run().refused(1, "nosuch");
    bench.rbox(&["top"]).run().refused(1, "missing argument: <CONTAINER>");
}
