//! `run`: what the command inside sees, what comes out, and with which exit code.

use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use crate::common::{Bench, images, proc, program, read, registry::registry, sha256, wait_until, write};
use rustix::process::Signal;

#[test]
fn exit_codes_are_the_commands_own() {
    let (bench, image) = Bench::with_image();
    let run = |command: &[&str]| bench.run_rm(&[], &image, command);
    run(&["true"]).ok();
    run(&["sh", "-c", "exit 3"]).exits(3);
    run(&["sh", "-c", "exit 255"]).exits(255);
    run(&["nosuch"]).refused(127, "nosuch");
    run(&["/no/such"]).refused(127, "/no/such");
    run(&["/etc/plain"]).refused(126, "/etc/plain");
    run(&["/tmp"]).refused(126, "/tmp");
    bench.no_containers();
}

#[test]
fn an_execution_that_fails_late_is_told_too() {
    let bench = Bench::new();
    let layer = images::Layer::new()
        .file("bad-interpreter", 0o755, "#!/no/such/shell\n")
        .file("garbage", 0o755, [1, 2, 3, 4, 5])
        .file("empty", 0o755, "")
        .file("unreadable", 0o711, "#!/bin/sh\necho ran\n");
    let image = registry().push("t/late", &[images::Image::small_with(vec![layer])]);
    bench.ok(&["pull", "-q", &image]);
    bench.start(&["--name", "up"], &image, &["sleep", "100"]);
    for (program, codes) in [("/bad-interpreter", [127, 127]), ("/garbage", [126, 125]), ("/empty", [126, 125])] {
        for output in [bench.run_rm(&[], &image, &[program]), bench.rbox(&["exec", "up", program]).run()] {
            let output = output.exits_with_one_of(&codes);
            assert!(output.stdout.is_empty() && output.err().contains(program), "{}", output.report());
            assert_eq!(output.err().lines().count(), 1, "{}", output.report());
        }
    }
    bench.run_rm(&["-u", "1000"], &image, &["/unreadable"]).exits_with_one_of(&[2, 126]);
}

#[test]
fn a_death_by_signal_is_128_and_its_number() {
    let (bench, image) = Bench::with_image();
    // The first process of a namespace ignores what it does not handle; a child of --init does not.
    for (signal, code) in [("KILL", 137), ("TERM", 143), ("SEGV", 139), ("HUP", 129)] {
        let script = format!("kill -{signal} $$; sleep 9");
        bench.run_rm(&["--init"], &image, &["sh", "-c", &script]).exits(code);
    }
}

#[test]
fn bad_input_is_refused_in_one_line_and_leaves_nothing() {
    let (bench, image) = Bench::with_image();
    let absent = bench.text("absent");
    let file = bench.text("file");
    write(&file, "x");
    let bind_file_over_directory = format!("type=bind,source={absent},target=/x");
    let cases: &[(&[&str], i32, &str)] = &[
        (&["--nosuch"], 125, "--nosuch"),
        (&["--ulimit", "nofile"], 125, "nofile"),
        (&["--ulimit", "nofile=9:8"], 125, "nofile"),
        (&["--shm-size", "many"], 125, "many"),
        (&["--stop-signal", "FOO"], 125, "FOO"),
        (&["--name", "a b"], 125, "a b"),
        (&["--name", "/"], 125, ""),
        (&["-e", "=x"], 125, "=x"),
        (&["--env-file", &absent], 125, "absent"),
        (&["--cap-add", "FOO"], 125, "FOO"),
        (&["--security-opt", "foo"], 125, "foo"),
        (&["--security-opt", &format!("seccomp={absent}")], 125, "absent"),
        (&["--mount", "type=nosuch,target=/x"], 125, "nosuch"),
        (&["--mount", &bind_file_over_directory], 125, "absent"),
        (&["-v", &format!("{absent}:/x")], 125, "absent"),
        (&["-v", "a:b:c:d"], 125, ""),
        (&["--tmpfs", "relative"], 125, "relative"),
        (&["--pid", "nosuch"], 125, ""),
        (&["--pid", "container:nosuch"], 125, "nosuch"),
        (&["--ipc", "nosuch"], 125, ""),
        (&["--uts", "nosuch"], 125, ""),
        (&["--userns", "nosuch"], 125, ""),
        (&["--network", "nosuch"], 125, "nosuch"),
        (&["--pull", "sometimes"], 125, "sometimes"),
        (&["--platform", "///"], 125, ""),
        (&["-w", "relative"], 125, "relative"),
    ];
    for (flags, code, text) in cases {
        bench.run_rm(flags, &image, &["true"]).refused(*code, text);
    }
    bench.run_rm(&["-u", "nosuch"], &image, &["true"]).exits_with_one_of(&[125, 126]);
    bench.run_rm(&["-u", "0:nosuch"], &image, &["true"]).exits_with_one_of(&[125, 126]);
    for user in ["-1", "4294967295", "4294967296", " 0", "+0", "0x0"] {
        let output = bench.run_rm(&[&format!("--user={user}")], &image, &["id", "-u"]).exits_with_one_of(&[125, 126]);
        assert!(output.stdout.is_empty(), "user {user:?} ran: {}", output.report());
    }
    bench.run_rm(&["-w", "/etc/passwd"], &image, &["true"]).exits_with_one_of(&[125, 126, 127]);
    bench.run_rm(&["-v", &format!("{file}:/etc")], &image, &["true"]).exits_with_one_of(&[125, 126, 127]);
    bench.no_containers();
    bench.no_staging();
}

#[test]
fn the_environment_is_dockers_and_nothing_of_the_callers() {
    let (bench, image) = Bench::with_image();
    let file = bench.text("env");
    write(&file, "# comment\nFROM_FILE=a b # kept\n  INDENTED=1\nOVER=file\nFROM_CALLER\nUNSET_THERE\n");
    let flags = ["--hostname", "box", "--env-file", &file, "-e", "OVER=flag", "-e", "EMPTY=", "-e", "FROM_CALLER2"];
    let output = bench
        .rbox(&["run", "--rm"])
        .args(flags)
        .args([image.as_str(), "env"])
        .env("FROM_CALLER", "one")
        .env("FROM_CALLER2", "two")
        .env("SECRET_OF_CALLER", "x")
        .without_env("UNSET_THERE")
        .ok();
    let mut lines: Vec<&str> = output.lines().collect();
    lines.sort_unstable();
    let expected = [
        "EMPTY=",
        "FROM_CALLER2=two",
        "FROM_CALLER=one",
        "FROM_FILE=a b # kept",
        "HOME=/root",
        "HOSTNAME=box",
        "INDENTED=1",
        "OVER=flag",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn users_are_looked_up_in_the_image() {
    let (bench, image) = Bench::with_image();
    let id = |user: &str| bench.run_rm(&["-u", user], &image, &["sh", "-c", "id; echo $HOME"]).ok().out();
    assert_eq!(bench.run_rm(&[], &image, &["id", "-u"]).ok().out(), "0");
    assert_eq!(id("alice"), "uid=1000(alice) gid=1000(alice) groups=1000(alice),2000(extra)\n/home/alice");
    assert_eq!(id("1000"), "uid=1000(alice) gid=1000(alice) groups=1000(alice),2000(extra)\n/home/alice");
    assert_eq!(id("alice:users"), "uid=1000(alice) gid=100(users) groups=100(users)\n/home/alice");
    assert_eq!(id("1000:2000"), "uid=1000(alice) gid=2000(extra) groups=2000(extra)\n/home/alice");
    assert_eq!(id("10000:12000"), "uid=10000 gid=12000 groups=12000\n/");
    assert_eq!(id("54321"), "uid=54321 gid=0(root) groups=0(root)\n/");
}

#[test]
fn an_image_decides_user_directory_and_command() {
    let bench = Bench::new();
    let config = serde_json::json!({
        "User": "alice", "WorkingDir": "/srv/made", "Entrypoint": ["echo", "entry"], "Cmd": ["command"],
        "Env": ["PATH=/bin:/usr/bin", "A=image", "B=image"], "Labels": {"from": "image", "both": "image"},
        "StopSignal": "SIGUSR1",
    });
    let image = registry().push_once("t/config", || vec![images::small().config(config.clone())]);
    bench.ok(&["pull", "-q", &image]);
    let run = |flags: &[&str], command: &[&str]| bench.run_rm(flags, &image, command).ok().out();
    assert_eq!(run(&[], &[]), "entry command");
    assert_eq!(run(&[], &["mine"]), "entry mine");
    assert_eq!(run(&["--entrypoint", "pwd"], &[]), "/srv/made");
    assert_eq!(run(&["--entrypoint", ""], &["id", "-un"]), "alice");
    bench.run_rm(&["--entrypoint", ""], &image, &[]).refused(125, "no command");
    let script = "echo $A $B; pwd; id -u";
    let out = run(&["--entrypoint", "sh", "-e", "B=flag", "-w", "/other/dir", "-u", "0"], &["-c", script]);
    assert_eq!(out, "image flag\n/other/dir\n0");
    bench.ok(&["create", "--name", "labels", "--label", "both=flag", "--label", "own", &image]);
    assert_eq!(bench.inspect("labels", "{{json .Config.Labels}}"), r#"{"both":"flag","from":"image","own":""}"#);
    assert_eq!(bench.inspect("labels", "{{.Config.StopSignal}}"), "SIGUSR1");
}

#[test]
fn hostname_and_its_files() {
    let (bench, image) = Bench::with_image();
    let show = "hostname; cat /etc/hostname; grep -c box /etc/hosts; grep -c localhost /etc/hosts";
    let out = bench.run_rm(&["-h", "box"], &image, &["sh", "-c", show]).ok().out();
    let lines: Vec<&str> = out.lines().collect();
    // One line for each family's address.
    assert_eq!(&lines[..3], ["box", "box", "2"]);
    assert_ne!(lines[3], "0");
    // By default it is the start of the id.
    let out = bench.run_rm(&["--cidfile", &bench.text("cid")], &image, &["hostname"]).ok().out();
    assert!(read(bench.path("cid")).starts_with(&out) && out.len() == 12, "{out}");
    // Writable, like docker's, and for this container only.
    let out = bench.run_rm(&[], &image, &["sh", "-c", "echo 1.2.3.4 x >>/etc/hosts && tail -n1 /etc/hosts"]).ok().out();
    assert_eq!(out, "1.2.3.4 x");
    assert!(!read("/etc/hosts").contains("1.2.3.4 x"));
}

#[test]
fn a_cidfile_holds_the_id_and_is_never_overwritten() {
    let (bench, image) = Bench::with_image();
    let file = bench.text("cid");
    let id = bench.start(&["--cidfile", &file], &image, &["sleep", "100"]);
    assert_eq!(read(&file), id);
    assert!(id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase()));
    bench.run_rm(&["--cidfile", &file], &image, &["true"]).refused(125, &file);
    assert_eq!(read(&file), id);
    let other = bench.text("other");
    bench.run_rm(&["--cidfile", &other], "127.0.0.1:1/absent", &["true"]).exits(125);
    assert!(!bench.path("other").exists(), "a failed creation takes its cidfile back");
}

#[test]
fn a_taken_name_is_refused_and_freed_by_rm() {
    let (bench, image) = Bench::with_image();
    let id = bench.start(&["--name", "web"], &image, &["sleep", "100"]);
    let output = bench.run_rm(&["--name", "web"], &image, &["true"]).refused(125, "web");
    assert!(output.err().contains(&id), "the holder's id: {}", output.err());
    bench.rbox(&["create", "--name", "/web", &image]).run().exits_with_one_of(&[1, 125]);
    bench.ok(&["rm", "-f", "web"]);
    assert_eq!(bench.run_rm(&["--name", "web"], &image, &["echo", "again"]).ok().out(), "again");
    assert_eq!(bench.run_rm(&["--name", "web"], &image, &["echo", "again"]).ok().out(), "again");
}

#[test]
fn without_rm_the_container_stays_with_rm_it_goes() {
    let (bench, image) = Bench::with_image();
    bench.rbox(&["run", "--name", "stays", &image, "sh", "-c", "exit 4"]).run().exits(4);
    assert_eq!(bench.inspect("stays", "{{.State.Status}} {{.State.ExitCode}} {{.State.Running}}"), "exited 4 false");
    bench.run_rm(&["--name", "goes"], &image, &["true"]).ok();
    assert_eq!(bench.ok(&["ps", "-a", "--format", "{{.Names}}"]), "stays");
    let detached = bench.start(&["--rm"], &image, &["sleep", "0.2"]);
    bench.rbox(&["wait", &detached]).run();
    wait_until("a detached --rm container removes itself", || bench.ok(&["ps", "-aq"]).lines().count() == 1);
}

#[test]
fn read_only_leaves_tmpfs_and_binds_writable() {
    let (bench, image) = Bench::with_image();
    let data = bench.mkdir("data");
    let bind = format!("{}:/data", data.display());
    let flags = ["--read-only", "--tmpfs", "/scratch:size=1m,mode=1770", "-v", &bind];
    let probe = |command: &str| bench.run_rm(&flags, &image, &["sh", "-c", command]);
    probe("touch /new").exits(1);
    probe("touch /etc/passwd").exits(1);
    probe("echo x >/data/file && echo x >/scratch/file && echo x >/dev/shm/file && echo x >>/etc/hosts").ok();
    assert_eq!(read(data.join("file")), "x\n");
    let mounts = proc::parse_mounts(&probe("cat /proc/self/mountinfo").ok().out());
    assert!(proc::mount_at(&mounts, "/").options.contains(&"ro".to_owned()));
    let scratch = proc::mount_at(&mounts, "/scratch");
    assert_eq!(scratch.kind, "tmpfs");
    for option in ["rw", "nosuid", "nodev", "noexec"] {
        assert!(scratch.options.contains(&option.to_owned()), "{option} in {scratch:?}");
    }
    assert_eq!(probe("stat -c %a /scratch; df -k /scratch | tail -n1 | awk '{print $2}'").ok().out(), "1770\n1024");
}

#[test]
fn binds_carry_data_owner_and_read_only() {
    let (bench, image) = Bench::with_image();
    let data = bench.mkdir("data");
    write(data.join("in"), "from the host\n");
    let file = bench.text("one file");
    write(&file, "single\n");
    let text = data.display().to_string();

    let out =
        bench.run_rm(&["-v", &format!("{text}:/data")], &image, &["sh", "-c", "cat /data/in; echo out >/data/out"]);
    assert_eq!(out.ok().out(), "from the host");
    assert_eq!(read(data.join("out")), "out\n");
    let own = std::fs::metadata(data.join("out")).unwrap().uid();
    assert_eq!(own, rustix::process::geteuid().as_raw(), "what root in the container makes is the user's");

    for flags in [
        ["-v", &format!("{text}:/data:ro")],
        ["--mount", &format!("type=bind,source={text},target=/data,readonly")],
        ["--mount", &format!("type=bind,src={text},dst=/data,ro=true")],
    ] {
        let output = bench.run_rm(&flags, &image, &["sh", "-c", "cat /data/in && touch /data/no"]);
        assert_eq!(output.exits(1).out(), "from the host");
    }
    assert!(!data.join("no").exists());

    let out = bench.run_rm(&["-v", &format!("{file}:/etc/made/deep:ro")], &image, &["cat", "/etc/made/deep"]);
    assert_eq!(out.ok().out(), "single");
    let out = bench.run_rm(&["-v", &format!("{file}:/etc/passwd")], &image, &["cat", "/etc/passwd"]);
    assert_eq!(out.ok().out(), "single");

    let relative = bench.rbox(&["run", "--rm", "-v", "./data:/data", &image, "cat", "/data/in"]);
    assert_eq!(relative.current_dir(bench.path("")).ok(), "from the host");

    // The deeper target last, whatever the order of the flags.
    let inner = bench.mkdir("inner");
    write(inner.join("x"), "inner\n");
    let flags = ["-v", &format!("{}:/data/sub", inner.display()), "-v", &format!("{text}:/data")];
    assert_eq!(bench.run_rm(&flags, &image, &["cat", "/data/sub/x"]).ok().out(), "inner");
    bench.run_rm(&["-v", &format!("{text}:/d"), "-v", &format!("{text}:/d")], &image, &["true"]).refused(125, "/d");
}

#[test]
fn a_bind_of_the_users_directory_hides_nothing_else_of_the_host() {
    let (bench, image) = Bench::with_image();
    let data = bench.mkdir("data");
    // A link in the bound tree leads nowhere but into the container.
    std::os::unix::fs::symlink("/etc/os-release", data.join("link")).unwrap();
    let out = bench.run_rm(&["-v", &format!("{}:/data", data.display())], &image, &["cat", "/data/link"]).ok().out();
    assert_eq!(out, "ID=small");
}

#[test]
fn limits_and_shared_memory() {
    let (bench, image) = Bench::with_image();
    let script = "ulimit -n; ulimit -Hn; ulimit -c; df -k /dev/shm | tail -n1 | awk '{print $2}'";
    let flags = ["--ulimit", "nofile=100:200", "--ulimit", "core=0", "--shm-size", "8m"];
    assert_eq!(bench.run_rm(&flags, &image, &["sh", "-c", script]).ok().out(), "100\n200\n0\n8192");
    let size = "df -k /dev/shm | tail -n1 | awk '{print $2}'";
    assert_eq!(bench.run_rm(&[], &image, &["sh", "-c", size]).ok().out(), "65536");
}

#[test]
fn init_reaps_and_forwards() {
    let (bench, image) = Bench::with_image();
    // 50 orphans end while pid 1 is not their parent's shell.
    let script = "for i in $(seq 50); do (sleep 0 & ) ; done; sleep 0.5; ps -o stat,pid | grep -c ^Z";
    let out = bench.run_rm(&["--init"], &image, &["sh", "-c", script]);
    assert_eq!(out.exits(1).out(), "0", "no zombie is left");
    let id = bench.start(&["--init"], &image, &["sleep", "100"]);
    let took = bench.rbox(&["stop", &id]).run().ok().took;
    assert!(took < Duration::from_secs(5), "SIGTERM reaches sleep through init: {took:?}");
    assert_eq!(bench.inspect(&id, "{{.State.ExitCode}}"), "143");
    let exec = "cat /proc/1/comm; ls -l /proc/1/exe >/dev/null 2>&1; echo $$";
    let out = bench.run_rm(&["--init"], &image, &["sh", "-c", exec]).ok().out();
    assert_ne!(out.lines().last(), Some("1"), "the command is not pid 1");
}

#[test]
fn signals_reach_the_command() {
    let (bench, image) = Bench::with_image();
    let script =
        "trap 'echo got-usr1' USR1; trap 'echo got-term; exit 7' TERM; echo ready; while :; do sleep 0.05; done";
    let mut running = bench.rbox(&["run", "--rm", &image, "sh", "-c", script]).spawn();
    running.expect("ready");
    running.signal(Signal::USR1);
    running.expect("got-usr1");
    running.signal(Signal::TERM);
    let output = running.wait().exits(7);
    assert_eq!(output.out(), "ready\ngot-usr1\ngot-term");
}

#[test]
fn an_interrupt_ends_a_command_that_does_not_care() {
    let (bench, image) = Bench::with_image();
    let mut running = bench.rbox(&["run", "--rm", "--init", &image, "sh", "-c", "echo ready; sleep 100"]).spawn();
    running.expect("ready");
    running.signal(Signal::INT);
    running.wait().exits_with_one_of(&[130, 143]);
}

#[test]
fn two_hundred_megabytes_pass_through_unchanged_in_flat_memory() {
    let (bench, image) = Bench::with_image();
    let script = format!("yes | head -c 200M | rbox run -i --rm --name pump {image} sha256sum");
    let running = bench.shell(&script).limit(120).spawn();
    wait_until("the container runs", || {
        bench.rbox(&["inspect", "pump"]).run().code == 0 && bench.status("pump") == "running"
    });
    let supervisor = bench.supervisor("pump");
    let client = proc::parent(supervisor).expect("the supervisor's parent");
    let mut peak = 0;
    while proc::is_alive(supervisor) && proc::is_alive(client) {
        for pid in [supervisor, client] {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let line = proc::parse_status(&status).get("VmHWM").cloned().unwrap_or_default();
            peak = peak.max(line.trim_end_matches(" kB").parse().unwrap_or(0));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let plain = program("bash").args(["-c", "yes | head -c 200M | sha256sum"]).ok();
    assert_eq!(running.wait().ok().out(), plain);
    assert!(peak > 0 && peak < 64 * 1024, "peak resident size {peak} kB");
}

#[test]
fn bytes_of_every_value_pass_both_ways() {
    let (bench, image) = Bench::with_image();
    let bytes = [(0..=255).collect(), crate::common::noise(7, 1_000_000)].concat();
    let output = bench.rbox(&["run", "-i", "--rm", &image, "cat"]).stdin(bytes.clone()).run().ok();
    assert_eq!(sha256(&output.stdout), sha256(&bytes));
}

#[test]
fn output_and_errors_stay_apart() {
    let (bench, image) = Bench::with_image();
    let output = bench.run_rm(&[], &image, &["sh", "-c", "echo out; echo err >&2; printf 'no newline'"]).ok();
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"out\nno newline"[..], &b"err\n"[..]));
}

#[test]
fn a_slow_reader_loses_nothing_and_costs_nothing() {
    let (bench, image) = Bench::with_image();
    let script = format!(
        "rbox run --rm --name flood {image} sh -c 'yes 0123456789abcdef | head -c 30000000' | (sleep 1.5; sha256sum)"
    );
    let running = bench.shell(&script).spawn();
    std::thread::sleep(Duration::from_millis(1200));
    let supervisor = bench.supervisor("flood");
    assert!(proc::status_kb(supervisor, "VmHWM") < 64 * 1024, "what nobody reads is not kept in memory");
    let plain = program("bash").args(["-c", "yes 0123456789abcdef | head -c 30000000 | sha256sum"]).ok();
    assert_eq!(running.wait().ok().out(), plain);
}

#[test]
fn a_reader_that_leaves_does_not_hang_us() {
    let (bench, image) = Bench::with_image();
    let output = bench.shell(&format!("rbox run --rm {image} yes | head -n 1")).limit(30).run();
    assert_eq!(output.out(), "y");
    wait_until("the container ends", || bench.ok(&["ps", "-aq"]).is_empty());
}

#[test]
fn closed_descriptors_are_no_trap() {
    let (bench, image) = Bench::with_image();
    let file = bench.text("out");
    bench.shell(&format!("rbox run --rm {image} echo hello <&- >{file}")).run().ok();
    assert_eq!(read(&file), "hello\n");
    assert_eq!(bench.shell(&format!("rbox run -i --rm {image} cat <&-")).run().ok().out(), "");
    bench.shell(&format!("rbox run --rm {image} true >&- 2>&-")).run().ok();
    bench.shell(&format!("rbox run --rm {image} true <&- >&- 2>&-")).run().ok();
}

#[test]
fn without_i_the_command_has_no_input() {
    let (bench, image) = Bench::with_image();
    let output = bench.rbox(&["run", "--rm", &image, "wc", "-c"]).stdin(vec![b'x'; 1000]).run().ok();
    assert_eq!(output.out(), "0");
}

#[test]
fn a_terminal_needs_a_terminal() {
    let (bench, image) = Bench::with_image();
    let output = bench.rbox(&["run", "-it", "--rm", &image, "true"]).run().exits_with_one_of(&[1, 125]);
    assert!(output.err().to_lowercase().contains("tty") || output.err().contains("terminal"), "{}", output.err());
    // -t alone works without one.
    let output = bench.rbox(&["run", "-t", "--rm", &image, "sh", "-c", "echo hi; tty; echo $TERM"]).run().ok();
    assert_eq!(output.out(), "hi\r\n/dev/pts/0\r\nxterm\r");
    bench.no_containers();
}

#[test]
fn networks_none_and_host() {
    let (bench, image) = Bench::with_image();
    for flags in [["--network", "none"], ["--net", "none"]] {
        let out =
            bench.run_rm(&flags, &image, &["sh", "-c", "ls /sys/class/net; cat /sys/class/net/lo/flags"]).ok().out();
        // IFF_UP is bit 0.
        assert!(out == "lo\n0x9" || out == "lo\n0x49" || out == "lo\n0x10049", "only loopback, and up: {out:?}");
    }
    let server = "nc -l -p 7777 -e echo hi & sleep 0.3; nc 127.0.0.1 7777";
    assert_eq!(bench.run_rm(&["--network", "none"], &image, &["sh", "-c", server]).ok().out(), "hi");
    bench.start(&["--name", "h", "--network", "host"], &image, &["sleep", "100"]);
    assert_eq!(proc::namespace(bench.pid("h"), "net"), proc::namespace("self", "net"));
    let host = read("/proc/sys/kernel/hostname");
    assert_eq!(bench.ok(&["exec", "h", "hostname"]), host.trim());
    let registry = registry().port().to_string();
    let fetch = format!("wget -q -O- http://127.0.0.1:{registry}/v2/");
    assert_eq!(bench.ok(&["exec", "h", "sh", "-c", &fetch]), "{}");
}

#[test]
fn namespaces_can_be_shared() {
    let (bench, image) = Bench::with_image();
    bench.start(&["--name", "donor", "--ipc", "shareable", "-h", "donor"], &image, &["sleep", "100"]);
    let donor = bench.pid("donor");
    let flags = ["--name", "guest", "--pid", "container:donor", "--ipc", "container:donor"];
    bench.start(&flags, &image, &["sleep", "200"]);
    let guest = bench.pid("guest");
    for kind in ["pid", "ipc"] {
        assert_eq!(proc::namespace(guest, kind), proc::namespace(donor, kind), "{kind} is shared");
    }
    for kind in ["mnt", "net", "uts"] {
        assert_ne!(proc::namespace(guest, kind), proc::namespace(donor, kind), "{kind} is not");
    }
    let seen = bench.ok(&["exec", "guest", "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"]);
    assert!(seen.contains("sleep 100") && seen.contains("sleep 200"), "{seen}");
    bench.start(&["--name", "hosts", "--pid", "host", "--ipc", "host", "--uts", "host"], &image, &["sleep", "100"]);
    let pid = bench.pid("hosts");
    for kind in ["pid", "ipc", "uts"] {
        assert_eq!(proc::namespace(pid, kind), proc::namespace("self", kind), "{kind} is the host's");
    }
    bench.start(&["--name", "private"], &image, &["sleep", "100"]);
    bench.run_rm(&["--ipc", "container:private"], &image, &["true"]).exits(125);
}

#[test]
fn flags_are_typed_in_many_ways() {
    let (bench, image) = Bench::with_image();
    let run = |args: &[&str]| bench.rbox(args).run().ok().out();
    assert_eq!(run(&["run", "--rm=true", "-eA=1", "--env=B=2", "-e", "C=3", &image, "sh", "-c", "echo $A$B$C"]), "123");
    assert_eq!(run(&["run", "--rm", &image, "echo", "--rm", "-e", "--", "-it"]), "--rm -e -- -it");
    assert_eq!(run(&["run", "--rm", "-w=/tmp", &image, "pwd"]), "/tmp");
    assert_eq!(run(&["run", "--rm", "-u", "0", "-u", "1000", &image, "id", "-u"]), "1000");
    assert_eq!(bench.rbox(&["run", "-i", "--rm", &image, "cat"]).stdin("x").ok(), "x");
    assert_eq!(bench.rbox(&["run", "-i=false", "--rm", &image, "cat"]).stdin("x").ok(), "");
    bench.rbox(&["run"]).run().exits_with_one_of(&[1, 125]);
    bench.rbox(&["nosuch"]).run().refused(1, "nosuch");
    assert!(bench.ok(&["run", "--help"]).contains("--entrypoint"));
}

#[test]
fn commands_see_a_clean_process() {
    let (bench, image) = Bench::with_image();
    // Ignored and blocked signals of the caller are not the command's.
    let script = format!(
        "trap '' PIPE INT QUIT USR1; rbox run --rm {image} grep -E 'Sig(Blk|Ign)|NoNewPrivs' /proc/self/status"
    );
    let status = proc::parse_status(&bench.shell(&script).run().ok().out());
    assert_eq!(status["SigBlk"], "0000000000000000");
    assert_eq!(status["SigIgn"], "0000000000000000");
    assert_eq!(status["NoNewPrivs"], "0");
    let out = bench.shell(&format!("umask 077; rbox run --rm {image} sh -c umask")).run().ok().out();
    assert_eq!(out, "0022");
}

#[test]
fn arguments_of_any_bytes_and_size_end_in_an_answer() {
    let (bench, image) = Bench::with_image();
    // Not UTF-8: passed on unchanged or refused, never mangled.
    let output = bench.shell(&format!("rbox run --rm {image} printf %s $'a\\xffb' | od -An -tx1")).run();
    assert!(["61 ff 62", ""].contains(&output.out().trim()), "{}", output.report());
    assert!(!output.err().contains("panic"), "{}", output.report());
    let output =
        bench.shell(&format!("rbox run --rm -e $'A=\\xff' {image} sh -c 'printf %s \"$A\"' | od -An -tx1")).run();
    assert!(["ff", ""].contains(&output.out().trim()), "{}", output.report());
    // One string longer than the kernel takes (128 KiB), and a list longer than that.
    let long = "x".repeat(100_000);
    let value = format!("A={long}");
    assert_eq!(bench.run_rm(&["-e", &value], &image, &["sh", "-c", "echo ${#A}"]).ok().out(), "100000");
    let flags: Vec<String> = (0..12).map(|number| format!("-eV{number}={long}")).collect();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    assert_eq!(bench.run_rm(&flags, &image, &["sh", "-c", "echo ${#V11}"]).ok().out(), "100000");
    let file = bench.text("env");
    write(&file, format!("A={}\n", "x".repeat(140_000)));
    let output = bench.run_rm(&["--env-file", &file], &image, &["true"]).exits_with_one_of(&[125, 126]);
    assert_eq!(output.err().lines().count(), 1, "{}", output.report());
    bench.no_containers();
}

#[test]
fn many_binds_of_long_paths() {
    let (bench, image) = Bench::with_image();
    let deep = bench.mkdir(&["directory-with-a-long-name"; 30].join("/"));
    let flags: Vec<String> = (0..300).map(|number| format!("-v{}:/binds/{number}", deep.display())).collect();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let output = bench.run_rm(&flags, &image, &["sh", "-c", "ls /binds | wc -l; grep -c /binds/ /proc/self/mountinfo"]);
    assert_eq!(output.ok().out(), "300\n300");
}

#[test]
fn few_descriptors_are_an_error_not_a_hang() {
    let (bench, image) = Bench::with_image();
    for limit in [4, 5, 6, 8, 10, 12, 16, 20, 24, 32] {
        let output = bench.shell(&format!("ulimit -n {limit}; rbox run --rm {image} echo ran")).limit(20).run();
        assert!(
            output.code == 0 || output.code == 125 || output.code == 1,
            "{limit}: {} {}",
            output.code,
            output.report()
        );
        assert_eq!(output.code == 0, output.out() == "ran", "{limit}: {}", output.report());
    }
    bench.no_processes();
    assert_eq!(bench.run_rm(&[], &image, &["echo", "ran"]).ok().out(), "ran");
}

#[test]
fn output_that_nobody_wants_is_no_failure() {
    let (bench, image) = Bench::with_image();
    bench.ok(&["create", "--name", "made", &image, "true"]);
    for command in ["ps -a", "images", "inspect made", "info", "--help", "version"] {
        let output =
            bench.shell(&format!("rbox {command} | true; echo ${{PIPESTATUS[0]}}; rbox {command} >/dev/full")).run();
        assert!(["0", "141"].contains(&output.out().as_str()), "{command}: {}", output.report());
        assert!(!output.err().contains("panic") && output.code < 126, "{command}: {}", output.report());
    }
}
