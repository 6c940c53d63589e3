//! Logs: drivers and their options, rotation under a reader, receivers that die, supervisors that are
//! killed.
//!
//! RBOX_TEST_LOG_LINES says how many lines four writers log through rotations; 10 million in the long
//! run. RBOX_TEST_KILLS says how often a supervisor is killed while it logs.

use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::common::{Bench, names_in, read, wait_until};

fn number(variable: &str, default: usize) -> usize {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Four loops that print numbered lines of about 100 bytes.
const WRITERS: &str = r#"
    for writer in 1 2 3 4; do
        (
            i=0
            while [ $i -lt $1 ]; do
                i=$((i + 1))
                echo "$writer $i 01234567890123456789012345678901234567890123456789012345678901234567890123456789"
            done
        ) &
    done
    wait
"#;

/// Says how many lines each writer's were in order, and what was not.
const CHECK: &str = r#"awk '$2 != ++seen[$1] || length($3) != 80 { bad++; seen[$1] = $2 } END { print seen[1], seen[2], seen[3], seen[4], bad + 0 }'"#;

#[test]
fn every_line_of_four_writers_is_read_once_and_in_order_through_rotations() {
    let (bench, image) = Bench::with_image();
    let lines = number("RBOX_TEST_LOG_LINES", 40_000) / 4;
    // Three rotations and a rest.
    let size = format!("--log-opt=max-size={}", lines * 4 * 165 * 2 / 7);
    for driver in ["json-file", "k8s-file"] {
        let flags = [&format!("--log-driver={driver}"), &size, "--log-opt=max-file=6", "--log-opt=compress=true"];
        let began = Instant::now();
        bench
            .rbox(&["run", "-d", "--name", driver])
            .args(flags)
            .args([&image, "sh", "-c", WRITERS, "sh"])
            .arg(lines.to_string())
            .ok();
        let pid = bench.supervisor(driver);
        let expected = format!("{lines} {lines} {lines} {lines} 0");
        let follow = bench.shell(&format!("rbox logs -f {driver} | {CHECK}")).limit(1800).spawn();
        let mut most = 0;
        while bench.status(driver) == "running" {
            most = most.max(anonymous_memory(pid));
            std::thread::sleep(Duration::from_millis(50));
        }
        let written = began.elapsed();
        assert_eq!(follow.wait().ok().out().trim(), expected, "{driver}");
        println!("{driver}: {} lines written in {written:?}, followed in {:?}", lines * 4, began.elapsed());
        assert!(most < 8192, "the supervisor has {most} KiB");
        assert_eq!(bench.shell(&format!("rbox logs {driver} | {CHECK}")).limit(1800).run().ok().out().trim(), expected);
        let path = bench.inspect(driver, "{{.LogPath}}");
        let path = std::path::Path::new(&path);
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let files = names_in(path.parent().unwrap()).into_iter().filter(|file| file.starts_with(&name)).count();
        assert!(files >= 3, "{files} files: no rotation");
        assert_eq!(bench.ok(&["logs", "-n", "0", driver]), "");
    }
}

/// KiB that are the process's own.
fn anonymous_memory(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
}

#[test]
fn rotated_files_are_compressed_and_read() {
    let (bench, image) = Bench::with_image();
    let flags = ["--log-driver=local", "--log-opt=max-size=50k", "--log-opt=max-file=20"];
    let script = "for i in $(seq 2000); do echo line $i; done; sleep 60";
    bench.rbox(&["run", "-d", "--name", "c"]).args(flags).args([&image, "sh", "-c", script]).ok();
    let directory = bench.root().join("containers").join(bench.inspect("c", "{{.Id}}"));
    let compressed = || names_in(&directory).iter().filter(|name| name.ends_with(".gz")).count();
    wait_until("files are compressed", || compressed() >= 2);
    let expected: Vec<String> = (1..=2000).map(|n| format!("line {n}")).collect();
    wait_until("all is there", || bench.ok(&["logs", "c"]).lines().count() == 2000);
    assert_eq!(bench.ok(&["logs", "c"]).lines().collect::<Vec<_>>(), expected);
    assert_eq!(bench.ok(&["logs", "-n", "1900", "c"]).lines().next(), Some("line 101"));
    bench.ok(&["kill", "c"]);
    // What was not compressed yet is when it starts again.
    bench.ok(&["start", "c"]);
    wait_until("no rotated file is plain", || {
        let names = names_in(&directory);
        !names.iter().any(|name| name.rsplit('.').next().is_some_and(|end| end.parse::<u32>().is_ok()))
    });
    assert_eq!(bench.inspect("c", "{{.LogPath}}"), "");
}

#[test]
fn long_lines_bytes_and_unfinished_lines_come_back_as_they_were() {
    let (bench, image) = Bench::with_image();
    let script = "head -c 70000 /dev/zero | tr '\\0' x; echo; printf 'a\\377b\\000c\\n'; printf end";
    for driver in ["k8s-file", "json-file"] {
        bench.rbox(&["run", "--name", driver, "--log-driver", driver, &image, "sh", "-c", script]).run().ok();
        let text = bench.shell(&format!("rbox logs {driver} | tail -c +70000 | od -An -c")).run().ok().out();
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        // JSON has no other bytes than text: docker, too, puts a mark in their place.
        let byte = if driver == "k8s-file" { "377" } else { "357 277 275" };
        assert_eq!(words, format!("x \\n a {byte} b \\0 c \\n e n d"), "{driver}");
    }
    let details = bench.rbox(&["logs", "--details", "-n", "1", "k8s-file"]).run().ok();
    assert_eq!(details.out(), " end");
}

#[test]
fn attributes_tags_and_paths_are_as_asked_for() {
    let (bench, image) = Bench::with_image();
    let flags = ["--log-opt=labels=tier,none", "--log-opt=env-regex=^APP", "--log-opt=tag={{.Name}}/{{.DaemonName}}"];
    let more = ["--label=tier=front end", "-e", "APP_X=1", "-e", "OTHER=2", &image, "echo", "text"];
    bench.rbox(&["run", "--name", "d"]).args(flags).args(more).run().ok();
    assert_eq!(bench.ok(&["logs", "--details", "d"]), "APP_X=1,tag=d%2Frbox,tier=front+end text");
    let config = bench.inspect("d", "{{index .HostConfig.LogConfig.Config \"labels\"}} {{.HostConfig.LogConfig.Type}}");
    assert_eq!(config, "tier,none json-file");
    let path = bench.text("own.log");
    let flags = ["--log-driver=k8s-file", &format!("--log-opt=path={path}")];
    bench.rbox(&["run", "--name", "p"]).args(flags).args([&image, "echo", "text"]).run().ok();
    assert_eq!(bench.inspect("p", "{{.LogPath}}"), path);
    assert!(read(&path).ends_with(" stdout F text\n"));
    bench.ok(&["start", "-a", "p"]);
    assert_eq!(bench.ok(&["logs", "p"]), "text\ntext");
    let fifo = bench.text("fifo");
    bench.shell("mkfifo $1").arg("sh").arg(&fifo).ok();
    let flags = ["--log-driver=k8s-file", &format!("--log-opt=path={fifo}")];
    let refused = bench.rbox(&["run", "--name", "q"]).args(flags).args([&image, "true"]).limit(20).run();
    refused.refused(125, "failed to initialize logging driver");
    let null = ["run", "--rm", "--log-driver=k8s-file", "--log-opt=path=/dev/null", &image, "echo", "text"];
    assert_eq!(bench.ok(&null), "text");
}

#[test]
fn what_is_wrong_is_one_clear_line() {
    let (bench, image) = Bench::with_image();
    let missing = bench.text("no-socket");
    for (flags, text) in [
        (&["--log-driver=fluentd"][..], "plugin \"fluentd\" not found: there are json-file, k8s-file"),
        (&["--log-driver=awslogs", "--log-opt=awslogs-group=x"], "plugin \"awslogs\" not found"),
        (&["--log-driver=none", "--log-opt=tag=x"], "invalid logging opts for driver none"),
        (&["--log-opt=colour=red"], "unknown log opt 'colour' for json-file log driver"),
        (&["--log-opt=tag={{.Nope}}"], "can't evaluate field Nope"),
        (&["--log-opt=tag={{"], "invalid log tag"),
        (&["--log-driver=syslog", "--log-opt=syslog-address=tcp+tls://h:1"], "syslog over TLS is not supported"),
        (
            &["--log-driver=syslog", "--log-opt=syslog-address=tcp://127.0.0.1:1"],
            "dial 127.0.0.1:1: Connection refused",
        ),
        (&["--log-driver=syslog", &format!("--log-opt=syslog-address=unix://{missing}")], "no-socket: No such file"),
        (&["--log-driver=journald"], "journald is not enabled on this host"),
        (&["--log-driver=passthrough", "-t"], "conflicting options: --log-driver passthrough"),
    ] {
        let run = bench.rbox(&["run", "--rm"]).args(flags).args([&image, "true"]).env("RBOX_JOURNAL_SOCKET", &missing);
        let output = run.run().exits(125);
        let err = output.err();
        assert!(err.contains(text) && err.trim_end().lines().count() == 1, "{flags:?}: {err}");
    }
    bench.rbox(&["run", "--name", "n", "--log-driver=none", &image, "true"]).run().ok();
    bench.rbox(&["logs", "n"]).run().refused(1, "configured logging driver does not support reading");
    bench.rbox(&["run", "--name", "j", &image, "true"]).run().ok();
    for time in ["yesterday", "2026-13-01", "12:00", "1x", "2026-01-01T", "--", " ", "1.2.3"] {
        for flag in ["since", "until"] {
            let output = bench.rbox(&["logs", &format!("--{flag}={time}"), "j"]).run();
            output.refused(1, &format!("invalid value for \"{flag}\": failed to parse value as time or duration"));
        }
    }
    for time in ["0", "10m", "1h30m", "-5s", "1700000000", "1700000000.5", "2026-01-02", "2026-01-02T15:04:05.999Z"] {
        bench.ok(&["logs", "--since", time, "j"]);
    }
    bench.rbox(&["logs", "j", "absent"]).run().refused(1, "No such container: absent");
    bench.rbox(&["logs", "-l", "j"]).run().refused(1, "conflicting options: --latest");
}

#[test]
fn syslog_servers_get_messages_and_logs_has_a_copy() {
    let (bench, image) = Bench::with_image();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let path = bench.text("log.socket");
    let unix = UnixDatagram::bind(&path).unwrap();
    udp.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    unix.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let run = |name: &str, address: String, more: &[&str]| {
        let flags = ["--log-driver=syslog", "--log-opt=tag={{.Name}}", &format!("--log-opt=syslog-address={address}")];
        let command = [&image, "sh", "-c", "echo out; echo err >&2"];
        bench.rbox(&["run", "--name", name]).args(flags).args(more).args(command).run().ok();
    };
    let mut buffer = [0; 2048];
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    run("u", format!("udp://{}", udp.local_addr().unwrap()), &["--log-opt=syslog-format=rfc5424micro"]);
    let count = udp.recv(&mut buffer).unwrap();
    let message = text(&buffer[..count]);
    assert!(message.starts_with("<30>1 20") && message.contains(" u ") && message.ends_with(" u - out"), "{message}");
    run("x", format!("unixgram://{path}"), &["--log-opt=syslog-facility=local0", "--log-opt=cache-disabled=true"]);
    let mut both: Vec<String> =
        (0..2).map(|_| unix.recv(&mut buffer).map(|count| text(&buffer[..count])).unwrap()).collect();
    both.sort();
    assert!(both[0].starts_with("<131>") && both[0].contains(" x[") && both[0].ends_with("]: err"), "{both:?}");
    assert!(both[1].starts_with("<134>") && both[1].ends_with("]: out"), "{both:?}");
    run("t", format!("tcp://localhost:{}", tcp.local_addr().unwrap().port()), &["--log-opt=syslog-format=rfc3164"]);
    let mut all = String::new();
    tcp.accept().unwrap().0.read_to_string(&mut all).unwrap();
    assert_eq!(all.lines().count(), 2, "{all}");
    assert_eq!(bench.rbox(&["logs", "t"]).run().ok().out(), "out");
    assert_eq!(bench.inspect("t", "{{.LogPath}}"), "");
    bench.rbox(&["logs", "x"]).run().refused(1, "configured logging driver does not support reading");
}

#[test]
fn a_server_that_dies_or_stalls_blocks_nothing_and_the_loss_is_shown() {
    let (bench, image) = Bench::with_image();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("--log-opt=syslog-address=tcp://{}", tcp.local_addr().unwrap());
    for mode in ["blocking", "non-blocking"] {
        let flags =
            ["--log-driver=syslog", &address, &format!("--log-opt=mode={mode}"), "--log-opt=cache-disabled=true"];
        // 20 MB to a server that accepts and never reads.
        let script =
            "yes 0123456789012345678901234567890123456789012345678901234567890123456789 | head -c 20000000; echo last";
        let began = Instant::now();
        bench.rbox(&["run", "-d", "--name", mode]).args(flags).args([&image, "sh", "-c", script]).ok();
        let (stream, _) = tcp.accept().unwrap();
        bench.rbox(&["wait", mode]).limit(60).run().ok();
        assert!(began.elapsed() < Duration::from_secs(40), "{mode}: {:?}", began.elapsed());
        let lost: u64 = bench.inspect(mode, "{{.LogLost.Messages}}").parse().unwrap();
        assert!(lost > 100, "{mode}: {lost}");
        assert_eq!(bench.inspect(mode, "{{.LogLost.Reason}}"), "the receiver is too slow");
        drop(stream);
    }
    // One that dies in the middle and comes back gets the rest.
    let script = "echo one; read go; echo two; read go; echo three";
    let flags = ["--log-driver=syslog", &address, "--log-opt=tag=t"];
    bench.rbox(&["run", "-di", "--name", "back"]).args(flags).args([&image, "sh", "-c", script]).ok();
    let (stream, _) = tcp.accept().unwrap();
    let mut line = String::new();
    BufReader::new(&stream).read_line(&mut line).unwrap();
    assert!(line.ends_with("]: one\n"), "{line}");
    let address = tcp.local_addr().unwrap();
    drop((stream, tcp));
    std::thread::sleep(Duration::from_millis(200));
    let mut attached = bench.rbox(&["attach", "back"]).piped().spawn();
    attached.send("\n");
    attached.expect("two\n");
    let tcp = TcpListener::bind(address).unwrap();
    let (stream, _) = tcp.accept().unwrap();
    attached.send("\n");
    attached.wait().ok();
    let lines: Vec<String> = BufReader::new(stream).lines().map_while(Result::ok).collect();
    assert!(lines.len() == 2 && lines[0].ends_with("]: two") && lines[1].ends_with("]: three"), "{lines:?}");
    assert_eq!(bench.inspect("back", "{{.LogLost.Messages}}"), "0");
}

#[test]
fn the_journal_gets_dockers_fields() {
    let (bench, image) = Bench::with_image();
    let path = bench.text("journal");
    let journal = UnixDatagram::bind(&path).unwrap();
    journal.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let flags = ["--log-driver=journald", "--log-opt=labels=com.x.tier", "--label=com.x.tier=front", "--name", "j"];
    let run = bench.rbox(&["run"]).args(flags).args([&image, "sh", "-c", "echo out; sleep 0.2; printf part >&2"]);
    run.env("RBOX_JOURNAL_SOCKET", &path).run().ok();
    let next = || {
        let mut buffer = [0; 8192];
        let count = journal.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..count].to_vec()).unwrap()
    };
    let id = bench.inspect("j", "{{.Id}}");
    let short = &id[..12];
    let head = format!(
        "CONTAINER_ID={short}\nCONTAINER_ID_FULL={id}\nCONTAINER_NAME=j\nCONTAINER_TAG={short}\nIMAGE_NAME={image}\n\
         SYSLOG_IDENTIFIER={short}\nCOM_X_TIER=front\n"
    );
    assert_eq!(next(), format!("{head}PRIORITY=6\nMESSAGE=out\n"));
    assert_eq!(next(), format!("{head}PRIORITY=3\nCONTAINER_PARTIAL_MESSAGE=true\nMESSAGE=part\n"));
    assert_eq!(bench.inspect("j", "{{.LogPath}}"), "");
    // systemd's program reads it, where it is installed.
    let output = bench.rbox(&["logs", "j"]).env("PATH", "/nowhere").run();
    output.refused(1, "logs of driver journald are read by journalctl, which is not installed");
}

#[test]
fn a_supervisor_that_is_killed_leaves_a_log_that_goes_on() {
    let (bench, image) = Bench::with_image();
    let script = "i=0; while :; do i=$((i + 1)); echo $i 0123456789012345678901234567890123456789; done";
    let flags = ["--log-opt=max-size=20m", "--log-opt=max-file=40"];
    bench.rbox(&["run", "-d", "--name", "k"]).args(flags).args([&image, "sh", "-c", script]).ok();
    for round in 1..=number("RBOX_TEST_KILLS", 4).min(20) {
        std::thread::sleep(Duration::from_millis(100 + 37 * round as u64 % 100));
        kill_process(Pid::from_raw(bench.supervisor("k")).unwrap(), Signal::KILL).unwrap();
        wait_until("it ended", || bench.status("k") != "running");
        let text = bench.ok(&["logs", "k"]);
        let (mut begins, mut before) = (0, 0);
        for line in text.lines() {
            let number: u64 = line.split_once(" 0123456789012345678901234567890123456789").unwrap().0.parse().unwrap();
            assert!(number == before + 1 || number == 1, "{number} after {before}");
            begins += usize::from(number == 1);
            before = number;
        }
        assert_eq!(begins, round);
        bench.ok(&["start", "k"]);
    }
    bench.ok(&["rm", "-f", "k"]);
}

#[test]
fn streams_are_passed_through() {
    let (bench, image) = Bench::with_image();
    let script = "rbox run --rm --log-driver=passthrough $IMAGE sh -c 'read a; echo got $a; echo err >&2; exit 7'";
    let output = bench.shell(script).env("IMAGE", &image).stdin("input\n").run().exits(7);
    assert_eq!((output.out().as_str(), output.err().as_str()), ("got input", "err"));
    let script =
        "rbox run --name p -u 1000 --log-driver=passthrough $IMAGE echo text >$1; stat -c %u $1; id -u; cat $1";
    let output = bench.shell(script).env("IMAGE", &image).arg("sh").arg(bench.text("out")).run().ok().out();
    let lines: Vec<&str> = output.lines().collect();
    assert!(lines.len() == 3 && lines[0] == lines[1] && lines[2] == "text", "{output}");
    bench.rbox(&["logs", "p"]).run().refused(1, "configured logging driver does not support reading");
}

#[test]
fn several_logs_are_told_apart_and_followed_through_restarts() {
    let (bench, image) = Bench::with_image();
    for name in ["web", "db"] {
        bench.rbox(&["run", "--name", name, &image, "sh", "-c", "echo one; echo two"]).run().ok();
    }
    assert_eq!(bench.ok(&["logs", "--names", "web", "db"]), "web one\nweb two\ndb one\ndb two");
    let short = bench.ok(&["ps", "-aq", "--filter", "name=web"]);
    assert!(bench.ok(&["logs", "web", "db"]).starts_with(&format!("{short} one\n")));
    let coloured = bench.ok(&["logs", "--names", "--color", "-n", "1", "web", "db"]);
    assert_eq!(coloured, "\u{1b}[36mweb\u{1b}[0m two\n\u{1b}[33mdb\u{1b}[0m two");
    let run =
        ["run", "-d", "--name", "again", "--restart=on-failure:2", &image, "sh", "-c", "echo life; sleep 0.3; false"];
    bench.ok(&run);
    let follow = bench.rbox(&["logs", "-f", "again"]).limit(30).run().ok();
    assert_eq!(follow.out(), "life\nlife\nlife");
}

#[test]
fn a_log_that_goes_with_its_container_is_followed_to_its_end() {
    let (bench, image) = Bench::with_image();
    for _ in 0..10 {
        let script = "echo ready; until test -e /go; do :; done; seq 1 3000";
        bench.start(&["--rm", "--name", "r"], &image, &["sh", "-c", script]);
        let mut follow = bench.rbox(&["logs", "-f", "r"]).spawn();
        follow.expect("ready");
        // The container's end may be quicker than its own.
        bench.rbox(&["exec", "r", "touch", "/go"]).run();
        assert_eq!(follow.wait().ok().out().lines().count(), 3001);
        wait_until("it is gone", || bench.ok(&["ps", "-aq"]).is_empty());
    }
}

#[test]
fn times_that_are_none_and_zero() {
    let (bench, image) = Bench::with_image();
    bench.ok(&["run", "--name", "l", "--log-driver", "", &image, "echo", "line"]);
    for flags in [["--since", "0"], ["--since", ""], ["--until", "0"], ["--until", ""]] {
        assert_eq!(bench.rbox(&["logs"]).args(flags).arg("l").ok(), "line", "{flags:?}");
    }
    assert!(bench.ok(&["events", "--since", "0", "--until", "0s"]).contains("container create"));
}
