//! Attaching to a container that runs: streams, signals, keys, many at once, and who may.

use std::time::Duration;

use crate::common::pty::Terminal;
use crate::common::{Bench, Output, comes_true, names_in, proc, program, wait_until, write};
use rustix::process::Signal;

const PROMPT: &str = "READY> ";

/// How many clients are connected to a container's supervisor.
fn clients(bench: &Bench, container: &str) -> usize {
    let descriptors = format!("/proc/{}/fd", bench.supervisor(container));
    let sockets = names_in(&descriptors).into_iter().filter(|name| {
        std::fs::read_link(format!("{descriptors}/{name}")).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"))
    });
    // But for the one that listens, and the one to the anchor of its network.
    sockets.count().saturating_sub(2)
}

/// A detached container that says a word when `/shared/NAME` appears, and goes on until `/shared/end`.
fn speaker(bench: &Bench, image: &str, name: &str, flags: &[&str]) {
    let volume = format!("{}:/shared", bench.mkdir("shared").display());
    let script = format!(
        "while [ ! -e /shared/{name} ]; do sleep 0.05; done; echo out-$((40+2)); echo err-$((40+3)) >&2
         while [ ! -e /shared/end ]; do sleep 0.05; done; exit 9"
    );
    bench.start(&[&["--name", name, "-v", &volume], flags].concat(), image, &["sh", "-c", &script]);
}

fn signal_file(bench: &Bench, name: &str) {
    write(bench.mkdir("shared").join(name), "");
}

#[test]
fn output_errors_and_the_exit_code_arrive() {
    let (bench, image) = Bench::with_image();
    speaker(&bench, &image, "s", &[]);
    let mut all: Vec<_> = (0..3).map(|_| bench.rbox(&["attach", "s"]).spawn()).collect();
    wait_until("all are attached", || clients(&bench, "s") == 3);
    signal_file(&bench, "s");
    for running in &mut all {
        running.expect("out-42");
    }
    signal_file(&bench, "end");
    for running in all {
        let output = running.wait().exits(9);
        assert_eq!((output.out().as_str(), output.err().as_str()), ("out-42", "err-43"));
    }
}

#[test]
fn what_does_not_run_is_refused() {
    let (bench, image) = Bench::with_image();
    let stopped = "cannot attach to a stopped container, start it first";
    bench.ok(&["create", "--name", "c", &image, "true"]);
    bench.rbox(&["attach", "c"]).run().refused(1, stopped);
    bench.rbox(&["start", "-a", "c"]).run().ok();
    bench.rbox(&["attach", "c"]).run().refused(1, stopped);
    bench.rbox(&["attach", "nosuch"]).run().refused(1, "nosuch");
    bench.start(&["-it", "--name", "t"], &image, &["sh"]);
    bench.rbox(&["attach", "t"]).run().refused(1, "the input device is not a TTY");
    for command in [&["attach", "t"][..], &["start", "-a", "t"], &["exec", "t", "true"], &["run", &image, "true"]] {
        let (name, rest) = command.split_first().expect("a command");
        for keys in ["ctrl-1", "a,,b", "foo"] {
            bench.rbox(&[name, "--detach-keys", keys]).args(rest).run().refused(125, "unknown key");
        }
    }
}

#[test]
fn input_of_an_attached_client() {
    let (bench, image) = Bench::with_image();
    // Made in the background: the end of one client's input is not the end.
    bench.start(&["-i", "--name", "keep"], &image, &["cat"]);
    assert_eq!(bench.inspect("keep", "{{.Config.StdinOnce}}"), "false");
    for round in 0..2 {
        let mut running = bench.rbox(&["attach", "--sig-proxy=false", "keep"]).piped().spawn();
        running.send(format!("line {round}\n"));
        running.expect(&format!("line {round}"));
        running.close_stdin();
        std::thread::sleep(Duration::from_millis(100));
        assert!(!running.has_ended(), "output may still come");
        running.signal(Signal::TERM);
        running.wait().exits(143);
    }
    assert_eq!(bench.ok(&["logs", "keep"]), "line 0\nline 1");
    bench.ok(&["rm", "-f", "keep"]);

    // Made for the foreground: it is.
    bench.ok(&["create", "-i", "--name", "once", &image, "sh", "-c", "cat; echo ended; exit 4"]);
    assert_eq!(bench.inspect("once", "{{.Config.StdinOnce}}"), "true");
    bench.ok(&["start", "once"]);
    let output = bench.rbox(&["attach", "once"]).stdin("words\n").run().exits(4);
    assert_eq!(output.out(), "words\nended");
    // Without its stdin attached nothing is read, and nothing ended.
    bench.ok(&["start", "once"]);
    let mut running = bench.rbox(&["attach", "--no-stdin", "once"]).stdin("words\n").spawn();
    wait_until("it is attached", || clients(&bench, "once") == 1);
    std::thread::sleep(Duration::from_millis(100));
    assert!(!running.has_ended() && running.out_so_far().is_empty());
    bench.ok(&["kill", "once"]);
    running.wait().exits(137);
}

#[test]
fn much_input_of_an_attached_client_arrives_whole() {
    let (bench, image) = Bench::with_image();
    let bytes = crate::common::noise(3, 20_000_000);
    bench.ok(&["create", "-i", "--name", "sum", &image, "sha256sum"]);
    bench.ok(&["start", "sum"]);
    let output = bench.rbox(&["attach", "sum"]).stdin(bytes.clone()).run().ok();
    assert_eq!(output.out(), format!("{}  -", crate::common::sha256(&bytes)));
}

#[test]
fn a_command_that_closes_its_input_is_no_sink() {
    let (bench, image) = Bench::with_image();
    let refuses = "exec 0<&-; sleep 1; echo end";
    let script = format!("yes | rbox run -i --rm {image} sh -c '{refuses}'; echo ${{PIPESTATUS[*]}}");
    // 141: the writer had SIGPIPE, as from any program.
    assert_eq!(bench.shell(&script).run().out(), "end\n141 0");
    bench.start(&["-i", "--name", "c"], &image, &["sh", "-c", "exec 0<&-; while [ ! -e /go ]; do sleep 0.05; done"]);
    wait_until("its input is closed", || {
        let output = bench.rbox(&["exec", "c", "sh", "-c", "ls /proc/1/fd"]).run();
        !output.out().lines().any(|line| line == "0")
    });
    let mut writer = bench.shell("yes | rbox attach c; echo ${PIPESTATUS[*]}").spawn();
    wait_until("it is attached", || clients(&bench, "c") == 1);
    std::thread::sleep(Duration::from_millis(100));
    assert!(!writer.has_ended());
    // It may be ended itself by the end that it brings about.
    bench.rbox(&["exec", "c", "touch", "/go"]).run();
    assert_eq!(writer.wait().out(), "141 0");
}

#[test]
fn signals_are_passed_on_or_not() {
    let (bench, image) = Bench::with_image();
    let script = "trap 'echo got-int' INT; trap 'echo got-term; exit 7' TERM; echo ready; while :; do sleep 0.05; done";
    bench.start(&["--name", "s"], &image, &["sh", "-c", script]);
    wait_until("it is ready", || bench.ok(&["logs", "s"]) == "ready");
    let mut one = bench.rbox(&["attach", "--sig-proxy=false", "s"]).spawn();
    let mut other = bench.rbox(&["attach", "s"]).spawn();
    // Connected is not ready: before it takes signals itself, one ends it.
    let takes_signals = |pid: i32| {
        let blocked = u64::from_str_radix(&proc::status(pid)["SigBlk"], 16).expect("a mask");
        blocked & (1 << (Signal::INT.as_raw() - 1)) != 0
    };
    wait_until("both take signals", || takes_signals(one.pid()) && takes_signals(other.pid()));
    other.signal(Signal::INT);
    other.expect("got-int");
    one.expect("got-int");
    one.signal(Signal::INT);
    one.wait().exits(130);
    assert_eq!(bench.status("s"), "running");
    other.signal(Signal::TERM);
    assert_eq!(other.wait().exits(7).out(), "got-int\ngot-term");
}

#[test]
fn twenty_viewers_of_which_five_are_stopped() {
    let (bench, image) = Bench::with_image();
    let volume = format!("{}:/shared", bench.mkdir("shared").display());
    let script = "while [ ! -e /shared/go ]; do sleep 0.05; done; yes 0123456789abcdef | head -c 11900000; \
        echo end; while [ ! -e /shared/end ]; do sleep 0.05; done";
    bench.start(&["--name", "v", "-v", &volume], &image, &["sh", "-c", script]);
    let before = clients(&bench, "v");
    let mut all: Vec<_> = (0..20).map(|_| bench.rbox(&["attach", "v"]).limit(120).spawn()).collect();
    wait_until("all are attached", || clients(&bench, "v") == 20);
    let live = all.split_off(5);
    for viewer in &all {
        viewer.signal(Signal::STOP);
    }
    signal_file(&bench, "go");
    // The log has everything: the container was not held up.
    let written = || bench.rbox(&["logs", "-n", "1", "v"]).run().out();
    assert!(comes_true(Duration::from_secs(60), || written() == "end"), "stopped viewers hold up the container");
    signal_file(&bench, "end");
    // Neither do they delay its end.
    let outputs: Vec<Output> = live.into_iter().map(|viewer| viewer.wait().ok()).collect();
    for output in outputs {
        assert_eq!((output.stdout.len(), output.err().as_str()), (11_900_004, ""));
    }
    wait_until("it ended", || bench.status("v") == "exited");
    assert_eq!(before, 0);
    for viewer in &all {
        viewer.signal(Signal::CONT);
    }
    for viewer in all {
        // What they missed is said, and that the container ended is known or at least not made up.
        viewer.wait().exits_with_one_of(&[0, 137]);
    }
}

#[test]
fn clients_that_come_and_go_leave_nothing() {
    let (bench, image) = Bench::with_image();
    bench.start(&["-i", "--name", "c"], &image, &["cat"]);
    let supervisor = bench.supervisor("c");
    let open = || names_in(format!("/proc/{supervisor}/fd"));
    let before = open();
    for _ in 0..6 {
        let all: Vec<_> = (0..10).map(|_| bench.rbox(&["attach", "--sig-proxy=false", "c"]).piped().spawn()).collect();
        wait_until("all are attached", || clients(&bench, "c") == 10);
        for (index, client) in all.iter().enumerate() {
            client.signal(if index % 2 == 0 { Signal::KILL } else { Signal::TERM });
        }
        for client in all {
            client.wait().exits_with_one_of(&[137, 143]);
        }
    }
    wait_until("all are gone", || open() == before);
    // More than there is room for: some are refused, none hangs, the container lives.
    let all: Vec<_> = (0..90).map(|_| bench.rbox(&["attach", "--sig-proxy=false", "c"]).piped().spawn()).collect();
    wait_until("as many as fit are attached", || clients(&bench, "c") >= 60);
    assert_eq!(bench.status("c"), "running");
    drop(all);
    wait_until("all are gone again", || open() == before);
}

/// Connects to a control socket: silent, with nonsense, with a wrong key, and many times.
const INTRUDER: &str = r#"
import glob, os, socket, struct, sys, time
def connect(path):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(10)
    directory = os.open(os.path.dirname(path), os.O_PATH)
    try:
        while True:
            try: return s.connect('/proc/self/fd/%d/ctl' % directory) or s
            except BlockingIOError: time.sleep(0.01) # many wait already
    finally: os.close(directory)
def ended(s):
    try: return s.recv(100) == b''
    except ConnectionResetError: return True
for path in glob.glob('/store/containers/*/ctl'):
    for frame in [struct.pack('<BI', 12, 33) + bytes(32) + b'\7', struct.pack('<BI', 6, 4) + struct.pack('<i', 9),
                  struct.pack('<BI', 1, 3) + b'hi\n', struct.pack('<BI', 12, 0), struct.pack('<BI', 12, 33) + bytes(31),
                  struct.pack('<BI', 99, 3), struct.pack('<BI', 12, 0x7fffffff)]:
        s = connect(path)
        s.sendall(frame)
        s.shutdown(socket.SHUT_WR)
        assert ended(s), frame
    silent = [connect(path) for _ in range(30)]
    assert ended(silent[0])
    print('kept out of', path)
keys = [k for k in glob.glob('/proc/*/fd/*') if 'rbox-key' in (os.readlink(k) if os.access(k, os.R_OK) else '')]
print('keys', keys)
sys.stdout.flush()
sys.stdin.readline()
"#;

#[test]
fn a_container_that_sees_the_store_attaches_to_nobody() {
    let (bench, image) = Bench::with_image();
    bench.start(&["-i", "--name", "victim"], &image, &["cat"]);
    let view = format!("{}:/store", bench.root().display());
    for flags in [&[][..], &["--privileged"], &["--pid", "host"], &["--userns", "host"], &["--network", "host"]] {
        let command = ["rootfs:/", "python3", "-c", INTRUDER];
        let mut intruder = bench.rbox(&["run", "-i", "--rm", "-v", &view]).args(flags).args(command).piped().spawn();
        intruder.expect("keys");
        assert_eq!(intruder.out_so_far().matches("kept out of").count(), 2, "its own and the victim's");
        intruder.expect("keys []");
        // While it keeps its connections, who may come in does.
        let mut client = bench.rbox(&["attach", "--sig-proxy=false", "victim"]).piped().spawn();
        client.send("through\n");
        client.expect("through");
        client.signal(Signal::TERM);
        client.wait();
        intruder.send("\n");
        intruder.wait().ok();
    }
    assert!(!bench.ok(&["logs", "victim"]).contains("hi"));
}

#[test]
fn streams_can_be_chosen() {
    let (bench, image) = Bench::with_image();
    let both = ["sh", "-c", "echo out; echo err >&2; exit 5"];
    for (flags, out, err) in [
        (&["-a", "stdout"][..], "out", ""),
        (&["-a", "STDERR"], "", "err"),
        (&["-a", "stdout", "-a", "stderr"], "out", "err"),
        (&["--attach=stderr"], "", "err"),
    ] {
        let output = bench.run_rm(flags, &image, &both).exits(5);
        assert_eq!((output.out().as_str(), output.err().as_str()), (out, err), "{flags:?}");
    }
    // Only stdin: its end is ours, and the container goes on by itself.
    let id = bench
        .rbox(&["run", "-i", "-a", "stdin", "--name", "in", &image, "sh", "-c", "cat; sleep 1; echo later; exit 3"])
        .stdin("input\n")
        .run()
        .ok()
        .out();
    assert_eq!(id.len(), 64);
    assert_eq!(bench.ok(&["wait", "in"]), "3");
    assert_eq!(bench.ok(&["logs", "in"]), "input\nlater");
    assert_eq!(bench.inspect("in", "{{.Config.AttachStdin}} {{.Config.AttachStdout}}"), "true false");
    let conflict = "conflicting options: cannot specify both --attach and --detach";
    bench.rbox(&["run", "-d", "-a", "stdout", &image, "true"]).run().refused(1, conflict);
    bench.rbox(&["run", "-a", "all", &image, "true"]).run().refused(125, "valid streams are STDIN, STDOUT and STDERR");
    bench.ok(&["rm", "in"]);
    bench.no_containers();
}

#[test]
fn start_attaches_to_what_runs_already() {
    let (bench, image) = Bench::with_image();
    speaker(&bench, &image, "s", &[]);
    let mut running = bench.rbox(&["start", "-a", "s"]).spawn();
    wait_until("it is attached", || clients(&bench, "s") == 1);
    signal_file(&bench, "s");
    running.expect("out-42");
    signal_file(&bench, "end");
    running.wait().exits(9);
    let several = "you cannot start and attach multiple containers at once";
    bench.rbox(&["start", "-a", "s", "s"]).run().refused(1, several);
    bench.rbox(&["start", "-i", "s", "s"]).run().refused(1, several);
}

#[test]
fn restart_stops_and_starts() {
    let (bench, image) = Bench::with_image();
    let script = "trap 'echo usr2; exit 3' USR2; echo started; while :; do sleep 0.05; done";
    bench.start(&["--name", "r", "--stop-timeout", "0"], &image, &["sh", "-c", script]);
    bench.ok(&["create", "--name", "new", &image, "sleep", "100"]);
    let pid = bench.pid("r");
    assert_eq!(bench.ok(&["restart", "r", "new"]), "r\nnew");
    assert!(!proc::is_alive(pid));
    assert_ne!(bench.pid("r"), pid);
    assert_eq!((bench.status("r"), bench.status("new")), ("running".to_owned(), "running".to_owned()));
    wait_until("it started again", || bench.ok(&["logs", "r"]) == "started\nstarted");
    bench.ok(&["restart", "-s", "USR2", "-t", "30", "r"]);
    wait_until("it was asked by signal", || bench.ok(&["logs", "r"]) == "started\nstarted\nusr2\nstarted");
    bench.ok(&["kill", "r"]);
    bench.ok(&["restart", "r"]);
    assert_eq!(bench.status("r"), "running");
    // Goes on past what fails.
    let output = bench.rbox(&["restart", "-t", "0", "nosuch", "new"]).run().exits(1);
    assert_eq!(output.out(), "new");
    assert!(output.err().contains("nosuch"), "{}", output.report());
    bench.rbox(&["restart", "-s", "BOGUS", "new"]).run().exits_with_one_of(&[1, 125]);
    // podman's ways to choose.
    bench.ok(&["create", "--name", "idle", &image, "sleep", "100"]);
    let id = |name: &str| bench.inspect(name, "{{.Id}}");
    let mut running = vec![id("new"), id("r")];
    running.sort();
    let mut restarted: Vec<String> =
        bench.ok(&["restart", "-t", "0", "--running"]).lines().map(str::to_owned).collect();
    restarted.sort();
    assert_eq!((restarted, bench.status("idle")), (running, "created".to_owned()));
    assert_eq!(bench.ok(&["restart", "-t", "0", "-f", "name=idle"]), id("idle"));
    assert_eq!(bench.status("idle"), "running");
    bench.rbox(&["restart"]).run().exits(1);
    // What cannot be started is an error that says so.
    bench.start(&["--name", "gone", "-v", &format!("{}:/v", bench.mkdir("gone").display())], &image, &["sleep", "99"]);
    std::fs::remove_dir(bench.path("gone")).expect("a directory of ours");
    bench.rbox(&["restart", "-t", "0", "gone"]).run().refused(1, "cannot restart container gone");
}

#[test]
fn restart_keeps_what_rm_would_remove() {
    let (bench, image) = Bench::with_image();
    bench.start(&["--rm", "--name", "r"], &image, &["sh", "-c", "echo x >>/n; sleep 1000"]);
    wait_until("it wrote", || bench.rbox(&["exec", "r", "cat", "/n"]).run().out() == "x");
    bench.ok(&["restart", "-t", "0", "r"]);
    wait_until("it is the same", || bench.rbox(&["exec", "r", "cat", "/n"]).run().out() == "x\nx");
    bench.ok(&["stop", "-t", "0", "r"]);
    bench.no_containers();
}

#[test]
fn keys_leave_and_come_back() {
    let (bench, image) = Bench::with_image();
    let prompt = format!("PS1={PROMPT}");
    let run = ["run", "-it", "--name", "k", "--detach-keys", "ctrl-x,y,ctrl-]", "-e", &prompt, &image, "sh"];
    let mut terminal = Terminal::rbox(&bench, &run);
    terminal.expect(PROMPT);
    // The default means nothing now, a broken-off sequence is delivered, and reads may cut it anywhere.
    terminal.line("stty -ixon; cat -v");
    terminal.expect("cat -v\r\n");
    std::thread::sleep(Duration::from_millis(200));
    terminal.send("\x10\x11\n");
    terminal.expect("\r\n^P^Q\r\n");
    for key in ["\x18", "y", "z", "\n"] {
        terminal.send(key);
        std::thread::sleep(Duration::from_millis(50));
    }
    terminal.expect("\r\n^Xyz\r\n");
    for key in ["\x18", "y", "\x1d"] {
        terminal.send(key);
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(terminal.wait(), 0);
    assert_eq!(bench.status("k"), "running");

    let mut terminal = Terminal::rbox(&bench, &["attach", "--detach-keys=a,b", "k"]);
    wait_until("it is attached", || clients(&bench, "k") == 1);
    terminal.until_raw();
    terminal.send("\x03");
    terminal.expect(PROMPT);
    terminal.line("echo again-$((40+1))");
    terminal.expect("again-41");
    terminal.send("ab");
    terminal.expect("read escape sequence");
    assert_eq!(terminal.wait(), 1);

    // Without keys nothing detaches.
    let mut terminal = Terminal::rbox(&bench, &["attach", "--detach-keys=", "k"]);
    wait_until("it is attached", || clients(&bench, "k") == 1);
    terminal.until_raw();
    terminal.send("\x03");
    terminal.expect(PROMPT);
    terminal.line("cat -v");
    terminal.expect("cat -v\r\n");
    std::thread::sleep(Duration::from_millis(200));
    terminal.send("\x10\x11\n");
    terminal.expect("\r\n^P^Q\r\n");
    terminal.send("\x04");
    terminal.expect(PROMPT);
    terminal.line("exit 8");
    assert_eq!(terminal.wait(), 8);

    // start -ai of the same, left as run is, by keys that were set for good.
    let mut terminal = Terminal::shell(&bench, "RBOX_DETACH_KEYS=q exec rbox start -ai k");
    terminal.expect(PROMPT);
    terminal.send("q");
    assert_eq!(terminal.wait(), 0);
    assert_eq!(bench.status("k"), "running");
    // By now it is nobody's: its viewers' windows may be closed.
    let mut terminal = Terminal::rbox(&bench, &["attach", "k"]);
    wait_until("it is attached", || clients(&bench, "k") == 1);
    terminal.hang_up();
    terminal.wait();
    assert_eq!(bench.status("k"), "running");
}

#[test]
fn an_exec_goes_on_without_its_terminal() {
    let (bench, image) = Bench::with_image();
    bench.start(&["--name", "c"], &image, &["sleep", "1000"]);
    let script = "echo in-$((40+2)); while [ ! -e /end ]; do sleep 0.05; done; echo x >/ended";
    let mut terminal = Terminal::rbox(&bench, &["exec", "-it", "--detach-keys", "ctrl-a,d", "c", "sh", "-c", script]);
    terminal.expect("in-42");
    terminal.send("\x01d");
    terminal.expect("read escape sequence");
    assert_eq!(terminal.wait(), 1);
    std::thread::sleep(Duration::from_millis(300));
    bench.ok(&["exec", "c", "touch", "/end"]);
    wait_until("the command ended by itself", || bench.rbox(&["exec", "c", "cat", "/ended"]).run().out() == "x");
    // In the background from the start, with a terminal and without.
    for flags in [&["-d"][..], &["-dt"], &["-dit"]] {
        let ended = format!("echo done >/done{}; test -t 0 && echo tty >>/done{0}", flags[0].len());
        assert_eq!(
            bench.rbox(&["exec"]).args(flags).args(["c", "sh", "-c", &ended]).run().ok().report(),
            report_of_nothing()
        );
    }
    wait_until("all are done", || {
        bench.rbox(&["exec", "c", "cat", "/done2", "/done3", "/done4"]).run().out() == "done\ndone\ntty\ndone\ntty"
    });
}

fn report_of_nothing() -> String {
    program("true").run().report()
}

#[test]
fn signals_leave_the_terminal_as_it_was() {
    let (bench, image) = Bench::with_image();
    bench.start(&["-it", "--name", "c", "-e", &format!("PS1={PROMPT}")], &image, &["sh"]);
    let fresh = Terminal::shell(&bench, "read x");
    let attach = ["attach", "c"];
    let exec = ["exec", "-it", "c", "cat"];
    for signal in [Signal::TERM, Signal::HUP, Signal::INT, Signal::QUIT, Signal::USR1, Signal::ALARM] {
        for command in [&attach[..], &exec] {
            let terminal = Terminal::rbox(&bench, command);
            wait_until("it is raw", || terminal.modes() != fresh.modes());
            proc::kill(terminal.pid(), signal);
            wait_until("settings are restored", || terminal.modes() == fresh.modes());
            assert_eq!(terminal.wait(), 128 + signal.as_raw(), "{command:?}");
        }
    }
    assert_eq!(bench.status("c"), "running");
}

#[test]
fn a_stop_gives_the_terminal_back() {
    let (bench, image) = Bench::with_image();
    // dash leaves terminals as they are: what is put right here, rbox put right.
    let script = format!(
        "set -m; rbox run -it --name c -e PS1='{PROMPT}' {image} sh; echo stopped=$?; read x; fg; echo then=$?; read x; fg; \
         echo code=$?; read x"
    );
    write(bench.path("script"), script);
    let mut terminal = Terminal::shell(&bench, &format!("exec dash {}", bench.text("script")));
    let fresh = Terminal::shell(&bench, "read x");
    terminal.expect(PROMPT);
    let client = proc::parent(bench.supervisor("c")).expect("a parent");
    assert_ne!(terminal.modes(), fresh.modes());
    proc::kill(client, Signal::TSTP);
    terminal.expect("stopped=148");
    assert_eq!(terminal.modes(), fresh.modes());
    assert_eq!(proc::state(client), Some('T'));
    terminal.resize(31, 91);
    terminal.line("");
    wait_until("it is raw again", || terminal.modes() != fresh.modes());
    terminal.send("\n");
    terminal.expect(PROMPT);
    terminal.line("stty size");
    terminal.expect("31 91");
    // A stop that cannot be noticed: somebody else puts the terminal right, and we make it raw again.
    proc::kill(client, Signal::STOP);
    terminal.expect("then=147");
    terminal.set_modes_of(&fresh);
    // Continued in the background it must leave the terminal to the others.
    proc::kill(client, Signal::CONT);
    wait_until("it runs", || proc::state(client) != Some('T'));
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(terminal.modes(), fresh.modes());
    terminal.line("");
    wait_until("it is raw once more", || terminal.modes() != fresh.modes());
    terminal.line("exit 4");
    terminal.expect("code=4");
    wait_until("settings are restored", || terminal.modes() == fresh.modes());
}

#[test]
fn nobody_reading_is_no_reason_to_ignore_signals() {
    let (bench, image) = Bench::with_image();
    let mut blocked =
        bench.shell(&format!("rbox run --name c --sig-proxy=false --stop-timeout 0 {image} yes | sleep 15")).spawn();
    wait_until("the container runs", || {
        bench.rbox(&["inspect", "-f", "{{.State.Status}}", "c"]).run().out() == "running"
    });
    let client = proc::parent(bench.supervisor("c")).expect("a parent");
    std::thread::sleep(Duration::from_millis(500));
    proc::kill(client, Signal::TERM);
    proc::wait_gone(client, Duration::from_secs(5));
    wait_until("its container ends with it", || bench.status("c") == "exited");
    assert!(!blocked.has_ended(), "the reader sleeps on");
    blocked.wait();
}
