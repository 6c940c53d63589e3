//! A container's life between commands: create, start, ps, logs, exec, stop, kill, wait, rm.

use std::time::{Duration, Instant};

use crate::common::{Bench, proc, read, wait_until};

#[test]
fn the_life_of_a_detached_container() {
    let (bench, image) = Bench::with_image();
    let script = format!(
        "set -e
         CID=$(rbox run -d --cidfile cid {image} sh -c 'echo started; sleep 100')
         test \"$CID\" = \"$(cat cid)\"
         rbox exec $CID echo in-exec
         test -d /proc/$(rbox inspect -f '{{{{.State.Pid}}}}' $CID)
         rbox logs $CID
         rbox stop -t 1 $CID
         rbox wait $CID
         rbox rm $CID"
    );
    let output = bench.shell(&script).current_dir(bench.path("")).run().ok();
    let id = read(bench.path("cid"));
    assert_eq!(output.out(), format!("in-exec\nstarted\n{id}\n137\n{id}"));
    bench.no_containers();
}

#[test]
fn create_then_start_attached() {
    let (bench, image) = Bench::with_image();
    let id = bench.ok(&["create", "-i", "--name", "later", &image, "sh", "-c", "cat; exit 6"]);
    assert_eq!(bench.status("later"), "created");
    assert_eq!(bench.inspect("later", "{{.State.Pid}} {{.State.StartedAt}}"), "0 0001-01-01T00:00:00Z");
    assert!(bench.ok(&["ps", "-a"]).contains("Created"));
    let output = bench.rbox(&["start", "-a", "-i", "later"]).stdin("through\n").run().exits(6);
    assert_eq!(output.out(), "through");
    assert_eq!(bench.inspect("later", "{{.State.Status}} {{.State.ExitCode}}"), "exited 6");
    // Again, and its changes are still there.
    bench.ok(&["create", "--name", "counts", &image, "sh", "-c", "echo x >>/n; wc -l </n"]);
    assert_eq!(bench.rbox(&["start", "-a", "counts"]).run().ok().out(), "1");
    assert_eq!(bench.rbox(&["start", "-a", "counts"]).run().ok().out(), "2");
    assert_eq!(bench.ok(&["logs", "counts"]), "1\n2");
    assert_eq!(bench.ok(&["rm", "later", "counts"]), "later\ncounts");
    assert_eq!(id.len(), 64);
}

#[test]
fn start_errors_reach_the_caller() {
    let (bench, image) = Bench::with_image();
    bench.rbox(&["run", "-d", "--name", "bad", &image, "nosuch"]).run().refused(127, "nosuch");
    assert_eq!(bench.status("bad"), "created");
    bench.rbox(&["run", "-d", "--name", "bad2", &image, "/etc/plain"]).run().refused(126, "/etc/plain");
    let output = bench.rbox(&["start", "bad"]).run();
    assert!(output.code != 0 && output.stdout.is_empty() && output.err().contains("nosuch"), "{}", output.report());
    bench.rbox(&["run", "-d", "--rm", &image, "nosuch"]).run().refused(127, "nosuch");
    assert_eq!(bench.ok(&["ps", "-aq"]).lines().count(), 2);
}

#[test]
fn names_ids_and_prefixes() {
    let (bench, image) = Bench::with_image();
    let id = bench.start(&["--name", "web"], &image, &["sleep", "100"]);
    for reference in [id.as_str(), &id[..12], &id[..6], "web", "/web"] {
        assert_eq!(bench.inspect(reference, "{{.Id}}"), id, "by {reference}");
    }
    // Names win over prefixes of ids.
    let other = bench.ok(&["create", "--name", &id[..3], &image, "true"]);
    assert_eq!(bench.inspect(&id[..3], "{{.Id}}"), other);
    bench.ok(&["rm", &id[..3]]);
    // 17 containers: two begin with the same digit.
    let mut ids = vec![id];
    ids.extend((0..16).map(|_| bench.ok(&["create", &image, "true"])));
    let ambiguous = (0..16)
        .map(|digit| format!("{digit:x}"))
        .find(|digit| ids.iter().filter(|id| id.starts_with(digit.as_str())).count() > 1)
        .expect("17 ids of 16 first digits");
    let output = bench.rbox(&["inspect", "--type", "container", &ambiguous]).run().exits(1);
    let matching: Vec<&String> = ids.iter().filter(|id| id.starts_with(&ambiguous)).collect();
    assert!(matching.iter().all(|id| output.err().contains(&id[..12])), "candidates: {}", output.err());
    bench.rbox(&["rm", &ambiguous]).run().exits(1);
    bench.rbox(&["rm", "nosuch"]).run().refused(1, "nosuch");
    bench.rbox(&["rm", "-f", "nosuch"]).run().ok();
    // A name that looks like an id is refused: it could hide a container.
    bench.rbox(&["create", "--name", &ids[0], &image]).run().exits_with_one_of(&[1, 125]);
    bench.rbox(&["create", "--name", &ids[0][..12], &image]).run().exits_with_one_of(&[1, 125]);
}

#[test]
fn stop_asks_then_kills() {
    let (bench, image) = Bench::with_image();
    let polite = "trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done";
    bench.start(&["--name", "polite"], &image, &["sh", "-c", polite]);
    wait_until("it is ready", || bench.ok(&["logs", "polite"]) == "ready");
    assert_eq!(bench.ok(&["stop", "polite"]), "polite");
    assert_eq!(bench.inspect("polite", "{{.State.ExitCode}}"), "9");
    // Again: nothing to do is success.
    assert_eq!(bench.ok(&["stop", "polite"]), "polite");

    bench.start(&["--name", "deaf"], &image, &["sleep", "100"]);
    let took = bench.rbox(&["stop", "-t", "1", "deaf"]).run().ok().took;
    assert!(took >= Duration::from_millis(900) && took < Duration::from_secs(8), "{took:?}");
    assert_eq!(bench.inspect("deaf", "{{.State.ExitCode}}"), "137");

    let other = "trap 'exit 8' USR2; echo ready; while :; do sleep 0.05; done";
    bench.start(&["--name", "own", "--stop-signal", "USR2", "--stop-timeout", "60"], &image, &["sh", "-c", other]);
    wait_until("it is ready", || bench.ok(&["logs", "own"]) == "ready");
    bench.ok(&["stop", "own"]);
    assert_eq!(bench.inspect("own", "{{.State.ExitCode}}"), "8");

    bench.start(&["--name", "short", "--stop-timeout", "0"], &image, &["sleep", "100"]);
    let took = bench.rbox(&["stop", "short"]).run().ok().took;
    assert!(took < Duration::from_secs(5), "{took:?}");
    bench.rbox(&["stop", "nosuch"]).run().refused(1, "nosuch");

    // Several have their signals at once, and are told of in their order.
    let names = ["a", "b", "c"];
    let start = || names.iter().for_each(|name| drop(bench.start(&["--name", name], &image, &["sleep", "100"])));
    start();
    let out = bench.rbox(&["stop", "-t", "3", "b", "nosuch", "a", "polite", "c", "a"]).run().exits(1);
    assert_eq!((out.out().as_str(), out.took < Duration::from_secs(8)), ("b\na\npolite\nc\na", true), "{:?}", out.took);
    assert!(names.iter().all(|name| bench.inspect(name, "{{.State.ExitCode}}") == "137"));
    bench.ok(&["rm", "-a"]);
    start();
    let out = bench.rbox(&["rm", "-f", "-t", "3", "a", "b", "c"]).run().ok();
    assert_eq!((out.out().as_str(), out.took < Duration::from_secs(8)), ("a\nb\nc", true), "{:?}", out.took);
    bench.no_containers();
}

#[test]
fn starts_and_restarts_at_once_all_succeed() {
    let (bench, image) = Bench::with_image();
    bench.ok(&["create", "--name", "one", &image, "sleep", "1000"]);
    for round in 0..5 {
        let commands: [&[&str]; 4] = [&["start"], &["start"], &["restart", "-t", "0"], &["start"]];
        let running = commands.map(|command| bench.rbox(&[command, &["one"]].concat()).spawn());
        for one in running {
            let out = one.wait();
            assert_eq!(out.code, 0, "round {round}: {}", out.report());
        }
        assert_eq!(bench.status("one"), "running", "round {round}");
        bench.ok(&["stop", "-t", "0", "one"]);
    }
    bench.ok(&["rm", "one"]);
}

#[test]
fn kill_sends_any_signal() {
    let (bench, image) = Bench::with_image();
    let script = "trap 'echo hup' HUP; trap 'echo usr1' USR1; echo ready; while :; do sleep 0.05; done";
    bench.start(&["--name", "k"], &image, &["sh", "-c", script]);
    wait_until("it is ready", || bench.ok(&["logs", "k"]) == "ready");
    for (signal, word) in [("HUP", "hup"), ("SIGUSR1", "usr1"), ("1", "hup")] {
        let before = bench.ok(&["logs", "k"]).matches(word).count();
        assert_eq!(bench.ok(&["kill", "-s", signal, "k"]), "k");
        wait_until("the trap ran", || bench.ok(&["logs", "k"]).matches(word).count() == before + 1);
    }
    bench.rbox(&["kill", "-s", "BOGUS", "k"]).run().exits_with_one_of(&[1, 125]);
    let pid = bench.pid("k");
    assert_eq!(bench.ok(&["kill", "k"]), "k");
    assert_eq!(bench.ok(&["wait", "k"]), "137");
    proc::wait_gone(pid, Duration::from_secs(1));
    bench.rbox(&["kill", "k"]).run().refused(1, "not running");
}

#[test]
fn rm_refuses_what_runs_unless_forced() {
    let (bench, image) = Bench::with_image();
    bench.start(&["--name", "busy"], &image, &["sleep", "100"]);
    let pid = bench.pid("busy");
    bench.rbox(&["rm", "busy"]).run().refused(1, "busy");
    let output = bench.rbox(&["rm", "-f", "nosuch", "busy"]).run();
    assert!(output.out().contains("busy"), "{}", output.report());
    assert!(!proc::is_alive(pid));
    bench.no_containers();
}

#[test]
fn ps_shows_filters_and_formats() {
    let (bench, image) = Bench::with_image();
    let up = bench.start(&["--name", "up", "--label", "role=web"], &image, &["sleep", "100"]);
    bench.rbox(&["run", "--name", "down", &image, "sh", "-c", "exit 5"]).run().exits(5);
    bench.ok(&["create", "--name", "made", &image, "true"]);
    let names = |args: &[&str]| {
        let mut names: Vec<String> =
            bench.rbox(&["ps", "--format", "{{.Names}}"]).args(args).ok().lines().map(str::to_owned).collect();
        names.sort();
        names.join(" ")
    };
    assert_eq!(names(&[]), "up");
    assert_eq!(names(&["-a"]), "down made up");
    assert_eq!(names(&["-a", "-f", "status=exited"]), "down");
    assert_eq!(names(&["-f", "status=created"]), "made");
    assert_eq!(names(&["-a", "-f", "exited=5"]), "down");
    assert_eq!(names(&["-a", "-f", "label=role=web"]), "up");
    assert_eq!(names(&["-a", "-f", "name=^/?m"]), "made");
    assert_eq!(names(&["-a", "-f", &format!("ancestor={image}")]), "down made up");
    assert_eq!(bench.ok(&["ps", "-q"]), &up[..12]);
    assert_eq!(bench.ok(&["ps", "-q", "--no-trunc"]), up);
    let table = bench.ok(&["ps", "-a"]);
    let header = table.lines().next().unwrap();
    for column in ["CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"] {
        assert!(header.contains(column), "{column} in {header}");
    }
    assert!(table.contains("Exited (5)") && table.contains("Up ") && table.contains("Created"), "{table}");
    let row: serde_json::Value = serde_json::from_str(&bench.ok(&["ps", "--format", "json"])).unwrap();
    assert_eq!((row["Names"].as_str(), row["State"].as_str()), (Some("up"), Some("running")));
    bench.rbox(&["ps", "-f", "nosuch=1"]).run().exits_with_one_of(&[1, 125]);
    bench.rbox(&["ps", "--format", "{{.Nosuch}}"]).run().exits(1);
}

#[test]
fn inspect_has_dockers_shape() {
    let (bench, image) = Bench::with_image();
    let id = bench.start(&["--name", "shape", "-e", "A=1", "-w", "/tmp", "-u", "1000"], &image, &["sleep", "100"]);
    let all: serde_json::Value = serde_json::from_str(&bench.ok(&["inspect", "shape"])).unwrap();
    let container = &all[0];
    let text = |pointer: &str| container.pointer(pointer).unwrap_or_else(|| panic!("no {pointer}")).to_string();
    assert_eq!(text("/Id"), format!("\"{id}\""));
    assert_eq!(text("/Name"), "\"/shape\"");
    assert_eq!(text("/Path"), "\"sleep\"");
    assert_eq!(text("/Args"), "[\"100\"]");
    assert_eq!(text("/State/Status"), "\"running\"");
    assert_eq!(text("/State/Running"), "true");
    assert_eq!(text("/Config/User"), "\"1000\"");
    assert_eq!(text("/Config/WorkingDir"), "\"/tmp\"");
    assert_eq!(text("/Config/Image"), format!("\"{image}\""));
    assert!(text("/Config/Env").contains("A=1"));
    assert!(text("/Image").starts_with("\"sha256:"));
    for pointer in ["/HostConfig/NetworkMode", "/Mounts", "/LogPath", "/Created", "/Driver", "/NetworkSettings"] {
        text(pointer);
    }
    let pid = bench.pid("shape");
    assert!(read(format!("/proc/{pid}/cmdline")).starts_with("sleep\x00100"));
    let started = bench.inspect("shape", "{{.State.StartedAt}}");
    assert!(started.starts_with("20") && started.ends_with('Z'), "{started}");
    let output = bench.rbox(&["inspect", "nosuch"]).run().exits(1);
    assert_eq!(output.out(), "[]");
    assert!(output.err().contains("nosuch"));
    bench.rbox(&["inspect", "-f", "{{.State", "shape"]).run().exits_with_one_of(&[1, 64, 125]);
}

#[test]
fn logs_follow_tail_and_since() {
    let (bench, image) = Bench::with_image();
    let script = "for i in 1 2 3; do echo line$i; echo err$i >&2; done; until test -e /go; do sleep 0.05; done; \
                  echo late; printf tail";
    bench.start(&["--name", "l"], &image, &["sh", "-c", script]);
    let mut follow = bench.rbox(&["logs", "-f", "l"]).spawn();
    follow.expect("line3");
    let moment = bench.shell("date -u +%Y-%m-%dT%H:%M:%S.%NZ").ok();
    bench.ok(&["exec", "l", "touch", "/go"]);
    let output = follow.wait().ok();
    assert_eq!(output.out(), "line1\nline2\nline3\nlate\ntail");
    assert_eq!(output.err(), "err1\nerr2\nerr3");
    assert_eq!(bench.ok(&["wait", "l"]), "0");
    let logs = |args: &[&str]| bench.rbox(&["logs"]).args(args).arg("l").run().ok();
    assert_eq!(logs(&["--tail", "1"]).out(), "tail");
    assert_eq!(logs(&["-n", "2"]).out(), "late\ntail");
    assert_eq!(logs(&["-n", "0"]).out(), "");
    assert_eq!(logs(&["--since", &moment]).out(), "late\ntail");
    assert_eq!(logs(&["--until", &moment]).out(), "line1\nline2\nline3");
    let stamped = logs(&["-t"]).out();
    let first = stamped.lines().next().unwrap();
    let (time, line) = first.split_once(' ').unwrap();
    assert!(line == "line1" && time.len() == 30 && time.ends_with('Z'), "{first}");
    bench.rbox(&["logs", "--since", "garbage", "l"]).run().exits_with_one_of(&[1, 125]);
    bench.rbox(&["logs", "nosuch"]).run().refused(1, "nosuch");
    // The file is docker's json-file.
    let file = read(bench.inspect("l", "{{.LogPath}}"));
    let record: serde_json::Value = serde_json::from_str(file.lines().next().unwrap()).unwrap();
    assert_eq!(record["log"], "line1\n");
    assert_eq!(record["stream"], "stdout");
    assert!(record["time"].is_string());
}

#[test]
fn logs_keep_up_with_much_output() {
    let (bench, image) = Bench::with_image();
    bench
        .rbox(&["run", "--name", "much", &image, "sh", "-c", "seq 200000; head -c 300000 /dev/zero | tr '\\0' x"])
        .run()
        .ok();
    let output = bench.rbox(&["logs", "much"]).run().ok();
    let text = output.out();
    assert!(text.starts_with("1\n2\n3\n"));
    assert_eq!(text.lines().count(), 200_001);
    assert_eq!(text.lines().last().map(str::len), Some(300_000), "one long line is one line");
}

#[test]
fn exec_runs_beside_the_first_process() {
    let (bench, image) = Bench::with_image();
    bench.start(&["--name", "e", "-e", "A=run", "-w", "/tmp"], &image, &["sleep", "100"]);
    let exec = |args: &[&str]| bench.rbox(&["exec"]).args(args).run();
    assert_eq!(exec(&["e", "sh", "-c", "echo $A; pwd; id -u"]).ok().out(), "run\n/tmp\n0");
    let flags = ["-e", "A=exec", "-e", "B=2", "-w", "/etc", "-u", "alice", "e"];
    let out = exec(&[&flags[..], &["sh", "-c", "echo $A $B $HOME; pwd; id"]].concat()).ok().out();
    assert_eq!(out, "exec 2 /home/alice\n/etc\nuid=1000(alice) gid=1000(alice) groups=1000(alice),2000(extra)");
    exec(&["e", "sh", "-c", "exit 3"]).exits(3);
    exec(&["e", "sh", "-c", "kill -9 $$"]).exits(137);
    exec(&["e", "nosuch"]).exits(127);
    exec(&["e", "/etc/plain"]).exits(126);
    exec(&["nosuch", "true"]).refused(1, "nosuch");
    let bytes = crate::common::noise(3, 2_000_000);
    let output = bench.rbox(&["exec", "-i", "e", "cat"]).stdin(bytes.clone()).run().ok();
    assert!(output.stdout == bytes, "bytes pass unchanged");
    let output = exec(&["e", "sh", "-c", "echo out; echo err >&2"]).ok();
    assert_eq!((output.out(), output.err()), ("out".into(), "err".into()));
    assert_eq!(exec(&["-d", "e", "sh", "-c", "echo made >/tmp/made; sleep 50"]).ok().out(), "");
    wait_until("the detached command ran", || exec(&["e", "cat", "/tmp/made"]).code == 0);
    // It shares all namespaces and the process tree.
    let pid = bench.pid("e");
    let out = exec(&["e", "sh", "-c", "ls -l /proc/self/ns/; cat /proc/1/cmdline"]).ok().out();
    for kind in ["mnt", "pid", "net", "ipc", "uts", "cgroup", "user"] {
        assert!(out.contains(&proc::namespace(pid, kind)), "{kind} is shared: {out}");
    }
    bench.ok(&["kill", "e"]);
    bench.ok(&["wait", "e"]);
    exec(&["e", "true"]).refused(1, "not running");
}

#[test]
fn wait_and_races_with_the_end() {
    let (bench, image) = Bench::with_image();
    bench.start(&["--name", "w"], &image, &["sh", "-c", "sleep 0.7; exit 12"]);
    let waiters: Vec<_> = (0..4).map(|_| bench.rbox(&["wait", "w"]).spawn()).collect();
    for waiter in waiters {
        assert_eq!(waiter.wait().ok().out(), "12");
    }
    assert_eq!(bench.ok(&["wait", "w", "w"]), "12\n12");
    bench.rbox(&["wait", "nosuch"]).run().refused(1, "nosuch");
    // A waiter of a --rm container still learns the code.
    let id = bench.start(&["--rm"], &image, &["sh", "-c", "sleep 0.5; exit 13"]);
    assert_eq!(bench.ok(&["wait", &id]), "13");
    // Many things at once, at the moment it ends.
    for round in 0..6 {
        let name = format!("race{round}");
        bench.start(&["--name", &name], &image, &["sleep", "0.1"]);
        let commands =
            [vec!["stop", "-t", "0", &name], vec!["kill", &name], vec!["wait", &name], vec!["rm", "-f", &name]];
        let running: Vec<_> = commands.iter().map(|args| bench.rbox(args).spawn()).collect();
        for command in running {
            let output = command.wait();
            assert!(output.code <= 1, "{}: {}", output.shown, output.report());
        }
        bench.rbox(&["rm", "-f", &name]).run();
        assert!(!bench.ok(&["ps", "-a", "--format", "{{.Names}}"]).contains(&name));
    }
}

#[test]
fn start_twice_restart_and_refused_starts() {
    let (bench, image) = Bench::with_image();
    bench.start(&["--name", "s"], &image, &["sleep", "100"]);
    assert_eq!(bench.ok(&["start", "s"]), "s", "a start of what runs does nothing");
    bench.ok(&["stop", "-t", "0", "s"]);
    assert_eq!(bench.ok(&["start", "s"]), "s");
    assert_eq!(bench.status("s"), "running");
    let output = bench.rbox(&["start", "nosuch", "s"]).run().exits(1);
    assert_eq!(output.out(), "s");
    bench.rbox(&["start", "-a", "s", "s"]).run().exits_with_one_of(&[1, 125]);
}

#[test]
fn a_detached_container_outlives_its_terminal_and_shell() {
    let (bench, image) = Bench::with_image();
    bench.shell(&format!("setsid -w bash -c 'rbox run -d --name d {image} sleep 100; kill -HUP $$'")).run();
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(bench.status("d"), "running");
    let supervisor = bench.supervisor("d");
    // In a session of its own, with nothing of the caller's open.
    for descriptor in [0, 1, 2] {
        let target = std::fs::read_link(format!("/proc/{supervisor}/fd/{descriptor}"));
        let shown = target.map(|path| path.display().to_string()).unwrap_or_default();
        assert!(shown == "/dev/null" || shown.is_empty(), "descriptor {descriptor} of the supervisor is {shown}");
    }
    assert!(!read(format!("/proc/{supervisor}/cwd/proc/self/comm")).is_empty(), "its directory is /");
}

#[test]
fn starting_is_quick_and_leaves_two_processes() {
    let (bench, image) = Bench::with_image();
    let before = Instant::now();
    bench.start(&["--name", "q", "--network", "none"], &image, &["sleep", "100"]);
    assert!(before.elapsed() < Duration::from_secs(5));
    let processes = proc::processes_of(&bench.root());
    assert!(processes.len() <= 2, "a supervisor and its container, nothing else: {processes:#?}");
    // All containers of a network share one more.
    bench.start(&["--name", "r"], &image, &["sleep", "100"]);
    bench.start(&["--name", "s"], &image, &["sleep", "100"]);
    let processes = proc::processes_of(&bench.root());
    assert!(processes.len() <= 7, "two more of each, and an anchor: {processes:#?}");
}

#[test]
fn a_container_is_made_like_another() {
    let (bench, image) = Bench::with_image();
    bench.rbox(&["secret", "create", "tok", "-"]).stdin("hush").ok();
    bench.ok(&["network", "create", "--subnet", "10.88.7.0/24", "net"]);
    let flags = ["--name", "a", "-e", "COLOR=red", "-v", "named:/data", "-v", "/anonymous", "--secret", "tok"];
    let script = "echo of-a >/data/f; echo of-a >/anonymous/f; sleep 1000";
    let original = bench.start(
        &[&flags[..], &["--network", "net", "--ip", "10.88.7.7", "-p", "0:80"]].concat(),
        &image,
        &["sh", "-c", script],
    );
    wait_until("it has written", || bench.rbox(&["exec", "a", "test", "-s", "/anonymous/f"]).run().code == 0);
    bench.ok(&["exec", "a", "touch", "/own"]);

    let clone = bench.ok(&["container", "clone", "--memory-reservation", "32m", "--limits", "best-effort", "a"]);
    assert_eq!(
        bench.inspect(&clone, "{{.Name}} {{.State.Status}} {{.HostConfig.MemoryReservation}}"),
        "/a-clone created 33554432"
    );
    assert_eq!(bench.ok(&["container", "clone", "--run", "a"]).len(), 64);
    let shown = "cat /data/f /anonymous/f /run/secrets/tok; echo; echo $COLOR $HOSTNAME; test ! -e /own";
    let id = bench.inspect("a-clone1", "{{.Id}}");
    assert_eq!(bench.ok(&["exec", "a-clone1", "sh", "-c", shown]), format!("of-a\nof-a\nhush\nred {}", &id[..12]));
    let address = |name: &str| bench.inspect(name, "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}");
    assert_ne!(address("a-clone1"), address("a"));

    // Another image, in place of the original.
    let directory = bench.mkdir("other");
    std::fs::create_dir(directory.join("bin")).expect("mkdir");
    std::fs::copy("/bin/busybox", directory.join("bin/sh")).expect("copy busybox");
    let rootfs = format!("rootfs:{}", directory.display());
    bench.rbox(&["container", "clone", "--destroy", "a", "b", &rootfs]).run().refused(125, "container a runs");
    let instead = bench.ok(&["container", "clone", "--destroy", "-f", "--run", "a", "b", &rootfs]);
    bench.rbox(&["inspect", &original]).run().exits(1);
    assert_eq!(bench.inspect("b", "{{.Id}} {{.Config.Image}}"), format!("{instead} {rootfs}"));
    assert_eq!(address("b"), "10.88.7.7");

    // Nothing half-done.
    let before = bench.ok(&["ps", "-aq"]);
    for (arguments, code, text) in [
        (&["a-clone", "b"][..], 125, "is already in use"),
        (&["a-clone", "b c"], 125, "Invalid container name"),
        (&["nosuch"], 125, "nosuch"),
        (&["a-clone", "c", "rootfs:/nosuch"], 125, "/nosuch"),
        (&["--force", "a-clone"], 125, "--destroy"),
        (&["--name", "c", "a-clone", "d"], 125, "--name"),
        (&["--memory", "1k", "a-clone"], 125, "Minimum memory limit"),
    ] {
        bench.rbox(&["container", "clone"]).args(arguments).run().refused(code, text);
    }
    assert_eq!(bench.ok(&["ps", "-aq"]), before);
    bench.ok(&["rm", "-f", "-t", "0", "-v", "a-clone", "a-clone1", "b"]);
    bench.no_containers();
}
