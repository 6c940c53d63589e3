//! What containers may use: limits in force and read back, changed, refused; pause, stats.
//!
//! Cgroups must have been handed to the user, with this process in them: of version 2 with controllers, or of
//! version 1, as `scripts/test.sh` does it.

use std::path::PathBuf;
use std::time::Duration;

use crate::common::{Bench, comes_true, names_in, proc, program, read, wait_until};

/// Whether memory, processors and processes can be limited here; else says why the test does nothing.
pub fn can_limit(bench: &Bench) -> bool {
    let all = bench.ok(&["info", "--format", "{{.MemoryLimit}} {{.CpuCfsQuota}} {{.PidsLimit}}"]);
    if all != "true true true" {
        crate::common::skip("no cgroups with controllers were handed to this user: start the tests by scripts/test.sh");
    }
    all == "true true true"
}

/// The directories of a container's cgroup, by controller; "" is version 2.
fn cgroup(bench: &Bench, id: &str) -> Vec<(String, PathBuf)> {
    let record = read(bench.runroot().join("cgroups").join(id));
    let places = record.split('\0').skip(1).map(|place| match place.split_once(':') {
        Some((controllers, path)) if !place.starts_with('/') => (controllers.to_owned(), PathBuf::from(path)),
        _ => (String::new(), PathBuf::from(place)),
    });
    places.collect()
}

/// What a file of either version says.
pub fn setting(bench: &Bench, id: &str, files: [&str; 2]) -> String {
    let places = cgroup(bench, id);
    let files = places.iter().flat_map(|(_, place)| files.map(|file| place.join(file)));
    let file = files.into_iter().find(|file| file.exists()).unwrap_or_else(|| panic!("{id}: {places:?}"));
    read(file).trim().to_owned()
}

pub const MEMORY: [&str; 2] = ["memory.max", "memory.limit_in_bytes"];
const PIDS: [&str; 2] = ["pids.max", "pids.max"];
const LIMITED: [&str; 10] =
    ["-m", "64m", "--cpus", "0.5", "--pids-limit", "20", "--cpu-shares", "512", "--oom-score-adj", "500"];

#[test]
fn limits_are_in_force_shown_and_changed() {
    let (bench, image) = Bench::with_image();
    if !can_limit(&bench) {
        return;
    }
    let id = bench.start(&[&["--name", "one"], &LIMITED[..]].concat(), &image, &["sleep", "1000"]);
    assert_eq!(setting(&bench, &id, MEMORY), "67108864");
    assert_eq!(setting(&bench, &id, PIDS), "20");
    let weight = setting(&bench, &id, ["cpu.weight", "cpu.shares"]);
    assert!(weight == "59" || weight == "512", "{weight}");
    assert!(setting(&bench, &id, ["cpu.max", "cpu.cfs_quota_us"]).starts_with("50000"));
    assert_eq!(read(format!("/proc/{}/oom_score_adj", bench.pid("one"))).trim(), "500");
    assert_eq!(bench.ok(&["exec", "one", "cat", "/proc/self/oom_score_adj"]), "500");
    let shown = "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}} \
                 {{.HostConfig.CpuShares}} {{.HostConfig.OomScoreAdj}}";
    assert_eq!(bench.inspect("one", shown), "67108864 134217728 500000000 20 512 500");
    let spec: serde_json::Value =
        serde_json::from_str(&read(bench.root().join("containers").join(&id).join("spec.json"))).unwrap();
    assert_eq!(spec["linux"]["resources"]["memory"]["limit"], 67_108_864);
    assert_eq!(spec["linux"]["resources"]["cpu"]["quota"], 50_000);

    // Live, and where a part is refused nothing of it.
    assert_eq!(bench.ok(&["update", "-m", "128m", "--memory-swap", "256m", "--pids-limit", "30", "one"]), "one");
    assert_eq!((setting(&bench, &id, MEMORY), setting(&bench, &id, PIDS)), ("134217728".to_owned(), "30".to_owned()));
    let refused = bench.rbox(&["update", "-m", "1g", "--pids-limit", "7", "one"]).run();
    refused.refused(1, "Memory limit should be smaller than already set memoryswap limit");
    let nothing = bench.rbox(&["update", "--blkio-weight-device", "/dev/null:100", "--pids-limit", "7", "one"]).run();
    nothing.refused(1, "/dev/null is not a block device");
    assert_eq!(setting(&bench, &id, PIDS), "30");
    assert_eq!(bench.inspect("one", "{{.HostConfig.Memory}} {{.HostConfig.PidsLimit}}"), "134217728 30");

    // At rest, and in force at the next start.
    bench.ok(&["stop", "-t", "0", "one"]);
    assert!(cgroup_is_gone(&bench), "the supervisor removes it");
    bench.ok(&["update", "--pids-limit", "9", "one"]);
    bench.ok(&["start", "one"]);
    assert_eq!(setting(&bench, &id, PIDS), "9");
    bench.ok(&["rm", "-f", "one"]);
}

fn cgroup_is_gone(bench: &Bench) -> bool {
    comes_true(Duration::from_secs(5), || names_in(bench.runroot().join("cgroups")).is_empty())
}

#[test]
fn processes_beyond_the_limit_are_not_made_and_exec_counts() {
    let (bench, image) = Bench::with_image();
    if !can_limit(&bench) {
        return;
    }
    let script = "for i in 1 2 3 4 5 6; do sleep 5 & done; echo all";
    let out = bench.rbox(&["run", "--rm", "--pids-limit", "4", &image, "sh", "-c", script]).run();
    assert!(out.err().contains("fork"), "{}", out.report());
    assert_eq!(bench.ok(&["run", "--rm", "--pids-limit", "-1", &image, "echo", "fine"]), "fine");
    let id = bench.start(&["--name", "full", "--pids-limit", "2"], &image, &["sh", "-c", "sleep 1000; true"]);
    wait_until("two run", || setting(&bench, &id, ["pids.current", "pids.current"]) == "2");
    let out = bench.rbox(&["exec", "full", "sh", "-c", "sleep 0 & wait; echo after"]).run();
    assert!(!out.out().contains("after") || out.err().contains("fork"), "{}", out.report());
    bench.ok(&["rm", "-f", "full"]);
}

#[test]
fn a_full_memory_is_told() {
    let (bench, image) = Bench::with_image();
    if !can_limit(&bench) {
        return;
    }
    let fill = "x=aaaaaaaaaa; while :; do x=$x$x; done";
    let limits = ["-m", "32m", "--memory-swap", "32m"];
    let run = |name: &str, script: &str| {
        bench.rbox(&["run", "--name", name]).args(limits).args([&image, "sh", "-c", script]).run()
    };
    run("init", fill).exits(137);
    assert_eq!(bench.inspect("init", "{{.State.OOMKilled}} {{.State.ExitCode}}"), "true 137");
    run("child", &format!("({fill}) & wait; exit 3")).exits(3);
    assert_eq!(bench.inspect("child", "{{.State.OOMKilled}} {{.State.ExitCode}}"), "true 3");
    let events = bench.ok(&[
        "events",
        "--since",
        "1h",
        "--until",
        "0s",
        "--filter",
        "event=oom",
        "--format",
        "{{.Actor.Attributes.name}}",
    ]);
    assert_eq!(events, "init\nchild");
    run("thin", "true").ok();
    assert_eq!(bench.inspect("thin", "{{.State.OOMKilled}}"), "false");
    bench.ok(&["rm", "-a"]);
}

/// Ticks that a process has had.
fn processor_time(pid: i32) -> u64 {
    let stat = read(format!("/proc/{pid}/stat"));
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn a_paused_container_stands_still() {
    let (bench, image) = Bench::with_image();
    bench.start(
        &["--name", "one", "--cgroups", "enabled", "--limits", "best-effort"],
        &image,
        &["sh", "-c", "while :; do :; done"],
    );
    let time = || processor_time(bench.pid("one"));
    wait_until("it runs", || time() > 0);
    assert_eq!(bench.ok(&["pause", "one"]), "one");
    let before = time();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(time(), before, "no time for a paused process");
    assert_eq!(bench.status("one"), "paused");
    assert!(bench.ok(&["ps", "--format", "{{.State}} {{.Status}}"]).ends_with("(Paused)"));
    assert_eq!(bench.ok(&["ps", "-q", "--filter", "status=running"]), "");
    assert_eq!(bench.ok(&["info", "--format", "{{.ContainersPaused}} {{.ContainersRunning}}"]), "1 0");
    bench.rbox(&["exec", "one", "true"]).run().refused(1, "Container one is paused, unpause the container before exec");
    bench.rbox(&["attach", "one"]).run().refused(1, "paused container, unpause it first");
    bench.rbox(&["pause", "one"]).run().refused(1, "is already paused");
    assert_eq!(bench.ok(&["unpause", "one"]), "one");
    wait_until("it goes on", || time() > before);
    bench.rbox(&["unpause", "one"]).run().refused(1, "is not paused");
    // Who stands still can be stopped, and removed.
    bench.ok(&["pause", "-a"]);
    bench.ok(&["stop", "-t", "1", "one"]);
    bench.rbox(&["pause", "one"]).run().refused(1, "is not running");
    bench.ok(&["start", "one"]);
    bench.ok(&["pause", "one"]);
    bench.ok(&["rm", "-f", "one"]);
    let actions = bench.ok(&[
        "events",
        "--since",
        "1h",
        "--until",
        "0s",
        "--filter",
        "event=pause",
        "--filter",
        "event=unpause",
        "--format",
        "{{.Action}}",
    ]);
    // The last may have been killed where it stood.
    assert_eq!(actions.trim_end_matches("\nunpause"), "pause\nunpause\npause\nunpause\npause");
    for _ in 0..10 {
        bench.start(&["--name", "one"], &image, &["sleep", "1000"]);
        bench.ok(&["pause", "one"]);
        bench.ok(&["rm", "-f", "one"]);
    }
}

#[test]
fn pause_and_unpause_at_once_leave_what_the_record_says() {
    let (bench, image) = Bench::with_image();
    bench.start(&["--name", "one", "--cgroups", "enabled", "--limits", "best-effort"], &image, &["sleep", "1000"]);
    for round in 0..15 {
        let both = ["pause", "unpause"].map(|command| bench.rbox(&[command, "one"]).spawn());
        both.into_iter().for_each(|one| drop(one.wait()));
        if bench.status("one") == "paused" {
            bench.ok(&["unpause", "one"]);
        }
        let out = bench.rbox(&["exec", "one", "echo", "awake"]).limit(20).run();
        assert_eq!(out.out(), "awake", "round {round}: {}", out.report());
    }
    bench.ok(&["rm", "-f", "one"]);
}

#[test]
fn an_update_says_what_it_cannot_do() {
    let (bench, image) = Bench::with_image();
    if !can_limit(&bench) {
        return;
    }
    let swap = ["memory.swap.max", "memory.memsw.limit_in_bytes"];
    // The first limit of memory, of one that has a cgroup for others.
    let id = bench.start(&["--name", "one", "--pids-limit", "50"], &image, &["sleep", "1000"]);
    bench.ok(&["update", "-m", "64m", "one"]);
    assert_eq!(setting(&bench, &id, MEMORY), "67108864");
    bench.ok(&["update", "-m", "32m", "--memory-swap", "48m", "one"]);
    bench.ok(&["update", "-m", "96m", "--memory-swap", "128m", "one"]);
    assert_eq!(setting(&bench, &id, MEMORY), "100663296");
    let before = setting(&bench, &id, swap);
    // Version 2 kills where version 1 refuses.
    if cgroup(&bench, &id).iter().any(|(names, _)| names.contains("memory")) {
        let hold = "x=$(head -c 30000000 /dev/zero | tr '\\0' a); echo full; sleep 1000; true";
        let id = bench.start(&["--name", "full", "-m", "256m"], &image, &["sh", "-c", hold]);
        wait_until("it is full", || bench.ok(&["logs", "full"]) == "full");
        let before = setting(&bench, &id, swap);
        let out = bench.rbox(&["update", "-m", "8m", "--memory-swap", "16m", "full"]).run();
        out.refused(1, "cannot enforce --memory: the container uses more than that now");
        assert_eq!((setting(&bench, &id, MEMORY), setting(&bench, &id, swap)), ("268435456".to_owned(), before));
        bench.ok(&["rm", "-f", "full"]);
    }
    assert_eq!(setting(&bench, &id, swap), before);
    bench.ok(&["update", "--cpus", "0.5", "one"]);
    let out = bench.rbox(&["update", "--cpu-period", "50000", "one"]).run();
    out.refused(1, "CPU Period cannot be updated as NanoCPUs has already been set");
    assert_eq!(bench.inspect("one", "{{.HostConfig.NanoCpus}}"), "500000000");
    // What says nothing is no mistake, and changes nothing.
    for nothing in [["--cpu-shares", "0"], ["--memory", "0"], ["--cpuset-cpus", ""]] {
        assert_eq!(bench.ok(&[&["update"], &nothing[..], &["one"]].concat()), "one");
    }
    assert_eq!(bench.inspect("one", "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}}"), "100663296 500000000");
    for flag in ["--cpus", "--cpu-shares", "--cpu-period"] {
        let out = bench.rbox(&["update", flag, "-1", "one"]).run().exits(125);
        assert!(out.err().contains(flag) && !out.err().contains("unknown flag"), "{}", out.report());
    }
    // One without a cgroup gets it where processes can be moved, else at its next start.
    bench.start(&["--name", "none"], &image, &["sleep", "1000"]);
    let out = bench.rbox(&["update", "--limits", "best-effort", "--pids-limit", "9", "none"]).run().ok();
    if !out.err().is_empty() {
        assert!(out.err().contains("no limit is enforced before the next start"), "{}", out.report());
        bench.ok(&["restart", "-t", "0", "none"]);
    }
    assert_eq!(setting(&bench, &bench.inspect("none", "{{.Id}}"), PIDS), "9");
    bench.ok(&["rm", "-f", "-a"]);
}

#[test]
fn a_parent_that_is_not_there_is_made() {
    let (bench, image) = Bench::with_image();
    if !can_limit(&bench) {
        return;
    }
    let parent = format!("made-{}/deep", std::process::id());
    let id =
        bench.start(&["--name", "one", "--cgroup-parent", &parent, "--pids-limit", "9"], &image, &["sleep", "1000"]);
    assert_eq!(setting(&bench, &id, PIDS), "9");
    let places = cgroup(&bench, &id);
    assert!(
        !places.is_empty() && places.iter().all(|(_, place)| place.parent().unwrap().ends_with(&parent)),
        "{places:?}"
    );
    bench.ok(&["rm", "-f", "one"]);
    for (_, place) in places {
        // As docker leaves it.
        let deep = place.parent().unwrap();
        std::fs::remove_dir(deep).and_then(|()| std::fs::remove_dir(deep.parent().unwrap())).unwrap();
    }
}

#[test]
fn processes_have_the_limits_of_their_caller_if_asked_for() {
    let (bench, image) = Bench::with_image();
    let files = |flags: &[&str], kind: &str| {
        let script = format!("ulimit {kind}n; ulimit {kind}c");
        let flags = flags.join(" ");
        bench
            .shell(&format!("ulimit -Sn 3000; ulimit -Hn 5000; rbox run --rm {flags} {image} sh -c '{script}'"))
            .ok()
            .replace('\n', " ")
    };
    assert_eq!((files(&[], "-S"), files(&[], "-H")), ("1024 0".to_owned(), "5000 0".to_owned()));
    let core = program("sh").args(["-c", "ulimit -Sc"]).ok();
    assert_eq!(files(&["--ulimit", "host"], "-S"), format!("3000 {core}"));
    assert_eq!(files(&["--ulimit", "nofile=-1"], "-S"), "5000 0", "as much as the caller may");
    let both = bench.rbox(&["create", "--ulimit", "host", "--ulimit", "nofile=9", &image]).run();
    both.refused(125, "conflicting options: --ulimit host, which means all of them, and --ulimit nofile=9:9");
    bench.no_containers();
}

#[test]
fn what_containers_use() {
    let (bench, image) = Bench::with_image();
    bench.start(&["--name", "busy", "--label", "a=b"], &image, &["sh", "-c", "sleep 1000 & while :; do :; done"]);
    bench.rbox(&["create", "--name", "idle", &image, "true"]).ok();
    std::thread::sleep(Duration::from_millis(500));
    let shown = bench.ok(&["stats", "--no-stream"]);
    let titles = "CONTAINER ID   NAME      CPU %     MEM USAGE / LIMIT     MEM %     NET I/O       BLOCK I/O   PIDS";
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(shown.lines().next().unwrap()), words(titles));
    assert_eq!(shown.lines().count(), 2, "{shown}");
    let one = bench.ok(&["stats", "--no-stream", "--format", "json", "busy"]);
    let one: serde_json::Value = serde_json::from_str(&one).unwrap();
    assert_eq!((&one["Container"], &one["Name"], &one["PIDs"]), (&"busy".into(), &"busy".into(), &"2".into()));
    let percent: f64 = one["CPUPerc"].as_str().unwrap().trim_end_matches('%').parse().unwrap();
    assert!(percent > 1.0, "{one}");
    assert_ne!(bench.ok(&["stats", "--no-stream", "--format", "{{.CPUNano}}", "busy"]), "0");
    let all = bench.ok(&["stats", "-a", "--no-stream", "--format", "{{.Name}} {{.CPUPerc}} {{.PIDs}}"]);
    assert!(all.starts_with("idle 0.00% 0\nbusy "), "{all}");
    bench.rbox(&["stats", "--no-stream", "nosuch"]).run().refused(1, "No such container: nosuch");
    bench.rbox(&["stats", "-i", "0"]).run().refused(125, "invalid argument");
    let mut stream = bench.rbox(&["stats", "--format", "{{.Name}}"]).spawn();
    stream.expect("busy\nbusy\n");
    bench.ok(&["rm", "-f", "busy"]);
    stream.signal(rustix::process::Signal::INT);
    stream.wait();
    bench.ok(&["rm", "idle"]);
}

#[test]
fn nonsense_is_one_line_and_makes_nothing() {
    let (bench, image) = Bench::with_image();
    for (flags, said) in [
        (&["-m", "5m"][..], "Minimum memory limit allowed is 6MB"),
        (&["-m", "x"], "invalid size: 'x'"),
        (&["-m", "-1"], "invalid size"),
        (&["--memory-swap", "1g"], "You should always set the Memory limit when using Memoryswap limit"),
        (&["-m", "64m", "--memory-swap", "32m"], "Minimum memoryswap limit should be larger than memory limit"),
        (&["-m", "64m", "--memory-reservation", "128m"], "can not be less than memory reservation limit"),
        (&["--memory-swappiness", "101"], "valid memory swappiness range is 0-100"),
        (&["--cpus", "9999"], "range of CPUs is from 0.01 to "),
        (&["--cpus", "one"], "failed to parse one as a rational number"),
        (&["--cpus", "1", "--cpu-quota", "10000"], "Nano CPUs and CPU Quota cannot both be set"),
        (&["--cpu-period", "5"], "CPU cfs period can not be less than 1ms"),
        (&["--cpu-quota", "5"], "CPU cfs quota can not be less than 1ms"),
        (&["--cpuset-cpus", "8000"], "Requested CPUs are not available - requested 8000, available: "),
        (&["--cpuset-cpus", "1-0"], "Invalid value 1-0 for cpuset cpus"),
        (&["--cpuset-mems", "99"], "Requested memory nodes are not available"),
        (&["--pids-limit", "many"], "invalid syntax"),
        (&["--blkio-weight", "5"], "Range of blkio weight is from 10 to 1000"),
        (&["--blkio-weight-device", "/dev/x:5"], "invalid weight for device"),
        (&["--device-read-bps", "x:1"], "bad format for device path: x:1"),
        (&["--device-write-iops", "/dev/x:1k"], "Number must be a positive integer"),
        (&["--device-read-bps", "/dev/rbox-nosuch:1k"], "/dev/rbox-nosuch"),
        (&["--oom-score-adj", "1001"], "range for oom score adj is [-1000, 1000]"),
        (&["--oom-score-adj", "-1000"], "only root may go below"),
        (&["--cgroups", "some"], "must be one of enabled, disabled, no-conmon, split"),
        (&["--cgroups", "disabled", "-m", "64m"], "conflicting options: --cgroups=disabled and limits"),
        (&["--cgroupns", "mine"], "invalid cgroup mode"),
        (&["--cgroup-parent", "../up"], "a path with .. in it"),
        (&["--cgroup-conf", "cgroup.procs=1"], "is not FILE=VALUE"),
        (&["--rdt-class", "a"], "only root can make classes"),
        (&["--limits", "some"], "must be one of enforce, best-effort"),
    ] {
        let out = bench.rbox(&["create"]).args(flags).args([&image, "true"]).run();
        let out = out.refused(125, said);
        assert_eq!(out.err().lines().count(), 1, "{flags:?}: {}", out.err());
    }
    bench.no_containers();
    bench.rbox(&["create", "--name", "one", &image, "true"]).ok();
    bench.rbox(&["update", "one"]).run().refused(1, "you must provide one or more flags when using this command");
    bench.rbox(&["update", "--restart", "often", "one"]).run().refused(1, "often");
    bench.rbox(&["update", "--pids-limit", "5", "nosuch"]).run().refused(1, "No such container: nosuch");
    bench.ok(&["rm", "one"]);
}

#[test]
fn what_cannot_be_enforced_is_refused_with_its_cure_or_left_out() {
    let (bench, image) = Bench::with_image();
    // Nobody makes a slice where no systemd answers.
    let alone = |args: &[&str]| {
        bench.rbox(args).env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nosuch").env("XDG_RUNTIME_DIR", "/nosuch").run()
    };
    let flags = ["run", "--rm", "--pids-limit", "9", "--cgroup-parent", "rbox.slice"];
    let refused = alone(&[&flags[..], &[&image, "true"]].concat()).refused(125, "cannot enforce --pids-limit: ");
    assert!(refused.err().contains("[cgroups]"), "{}", refused.err());
    let out = alone(&[&flags[..], &["--limits=best-effort", &image, "echo", "fine"]].concat()).ok();
    assert_eq!(out.out(), "fine");
    assert!(out.err().contains("no limit is enforced: "), "{}", out.err());
    bench.no_containers();
}

#[test]
fn a_killed_supervisor_leaves_no_cgroup() {
    let (bench, image) = Bench::with_image();
    if !can_limit(&bench) {
        return;
    }
    for _ in 0..3 {
        let id =
            bench.start(&["--name", "one", "--pids-limit", "50"], &image, &["sh", "-c", "sleep 1000 & sleep 1000"]);
        let places = cgroup(&bench, &id);
        bench.ok(&["pause", "one"]);
        proc::kill(bench.supervisor("one"), rustix::process::Signal::KILL);
        wait_until("all ended or can end", || bench.status("one") == "exited");
        bench.ok(&["rm", "-f", "one"]);
        assert!(places.iter().all(|(_, place)| !place.exists()), "{places:?}");
        assert_eq!(names_in(bench.runroot().join("cgroups")), [""; 0]);
    }
}

#[test]
fn a_scope_is_asked_for_by_d_bus() {
    let own = read("/proc/self/cgroup").lines().find_map(|line| line.strip_prefix("0::/").map(str::to_owned));
    let mounts = read("/proc/mounts");
    let mut fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let mount = fields.find(|fields| fields[2] == "cgroup2").map(|fields| PathBuf::from(fields[1]));
    let directory = mount.zip(own).map(|(mount, own)| mount.join(own));
    let Some(directory) = directory.filter(|directory| {
        let probe = directory.join(format!("probe-scope-{}", std::process::id()));
        std::fs::create_dir(&probe).and_then(|()| std::fs::remove_dir(&probe)).is_ok()
    }) else {
        return crate::common::skip(
            "no cgroup of version 2 was handed to this user: start the tests by scripts/test.sh",
        );
    };
    let (bench, image) = Bench::with_image();
    let socket = bench.path("bus");
    let tree = std::env::var_os("CARGO_MANIFEST_DIR").expect("started by cargo or scripts/test.sh");
    let script = PathBuf::from(tree).join("tests/data/systemd.py");
    let mut systemd = program("python3").arg(script).arg(&socket).arg(&directory).spawn();
    systemd.expect("ready");
    let address = format!("unix:path={}", socket.display());
    let flags = ["run", "-d", "--name", "one", "--cgroups", "enabled", "--cgroup-parent", "test.slice"];
    let id =
        bench.rbox(&flags).args([&image, "sleep", "1000"]).env("DBUS_SESSION_BUS_ADDRESS", &address).run().ok().out();
    let scope = directory.join(format!("rbox-{id}.scope"));
    systemd.expect(&format!("start rbox-{id}.scope slice"));
    assert_eq!(cgroup(&bench, &id), [(String::new(), scope.join("container"))]);
    assert_eq!(read(scope.join("container/cgroup.procs")).trim(), bench.pid("one").to_string());
    assert_eq!(bench.ok(&["exec", "one", "sh", "-c", "grep ^0:: /proc/self/cgroup"]), "0::/");
    bench.ok(&["pause", "one"]);
    assert!(read(scope.join("container/cgroup.events")).contains("frozen 1"));
    bench.ok(&["rm", "-f", "one"]);
    assert!(!scope.join("container").exists() && !scope.join("setup").exists());
    // systemd takes an empty one away.
    std::fs::remove_dir(&scope).expect("nothing is left in the scope");
    systemd.signal(rustix::process::Signal::KILL);
    systemd.wait();
}

#[test]
fn environment_and_ulimits_are_changed_for_the_next_start() {
    let (bench, image) = Bench::with_image();
    let script = "echo \"$ONE $TWO $PATH\"; ulimit -n; sleep 1000";
    let flags = ["--name", "web", "-e", "ONE=1", "-e", "TWO=2", "--ulimit", "nofile=100", "--ulimit", "core=0"];
    bench.start(&flags, &image, &["sh", "-c", script]);
    let path = bench.ok(&["exec", "web", "sh", "-c", "echo $PATH"]);
    let change =
        ["update", "--env", "ONE=eins", "--env", "CALLER", "--unsetenv", "TWO", "--ulimit", "nofile=90:95", "web"];
    assert_eq!(bench.rbox(&change).env("CALLER", "here").run().ok().out(), "web");
    assert_eq!(
        bench.inspect("web", "{{range .HostConfig.Ulimits}}{{.Name}}={{.Soft}}:{{.Hard}} {{end}}"),
        "core=0:0 nofile=90:95 "
    );
    assert_eq!(bench.ok(&["exec", "web", "sh", "-c", "echo $ONE $TWO"]), "1 2");
    bench.ok(&["restart", "-t", "0", "web"]);
    assert_eq!(bench.ok(&["exec", "web", "sh", "-c", "echo $ONE $TWO $CALLER"]), "eins here");
    let expected = format!("1 2 {path}\n100\neins  {path}\n90");
    wait_until("it has started again", || bench.ok(&["logs", "web"]) == expected);
    bench.rbox(&["update", "--env", "=x", "web"]).run().refused(1, "=x");
    bench.rbox(&["update", "--ulimit", "nofile=2:1", "web"]).run().refused(125, "nofile");
    bench.ok(&["rm", "-f", "web"]);
}
