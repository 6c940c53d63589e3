//! `-it` on a real terminal: a pty whose session runs rbox, as a shell's would.

use std::time::Duration;

use crate::common::pty::Terminal;
use crate::common::{Bench, proc, wait_until};

const PROMPT: &str = "READY> ";

/// An interactive shell in a container, at its first prompt.
fn interactive(bench: &Bench, image: &str) -> Terminal {
    let prompt = format!("PS1={PROMPT}");
    let flags = ["run", "-it", "--rm", "--name", "tty", "--stop-timeout", "1", "-e", &prompt];
    let mut terminal = Terminal::rbox(bench, &[&flags[..], &[image, "sh"]].concat());
    terminal.expect(PROMPT);
    terminal
}

#[test]
fn a_shell_exits_with_its_code_and_the_terminal_is_as_before() {
    let (bench, image) = Bench::with_image();
    let mut terminal = Terminal::shell(
        &bench,
        &format!("stty -a >before; rbox run -it --rm -e PS1='{PROMPT}' {image} sh; echo code=$?; read x"),
    );
    terminal.expect(PROMPT);
    terminal.line("echo $((6*7)) $TERM; tty");
    terminal.expect("42 xterm");
    terminal.expect("/dev/pts/0");
    terminal.expect(PROMPT);
    let raw = terminal.modes();
    terminal.line("exit 3");
    terminal.expect("code=3");
    assert_ne!(raw, terminal.modes(), "it was raw while the container ran");
    let fresh = Terminal::shell(&bench, "read x");
    wait_until("settings are restored", || terminal.modes() == fresh.modes());
    terminal.line("");
    assert_eq!(terminal.wait(), 0);
}

#[test]
fn interrupt_stop_and_continue_reach_the_foreground_job() {
    let (bench, image) = Bench::with_image();
    let mut terminal = interactive(&bench, &image);
    terminal.line("sleep 100");
    std::thread::sleep(Duration::from_millis(300));
    terminal.send("\x03");
    terminal.expect(PROMPT);
    terminal.line("echo code=$?");
    terminal.expect("code=130");
    terminal.expect(PROMPT);
    // Type only when the terminal is cat's: the shell's line editor echoes differently.
    terminal.line("echo cat''s; cat");
    terminal.expect("cats\r\n");
    terminal.line("echoed");
    // Once by the terminal, once by cat.
    terminal.expect("echoed");
    terminal.expect("echoed");
    terminal.send("\x1a");
    terminal.expect("Stopped");
    terminal.expect(PROMPT);
    terminal.line("jobs");
    terminal.expect("Stopped");
    terminal.expect(PROMPT);
    terminal.line("fg");
    terminal.expect("cat\r\n");
    std::thread::sleep(Duration::from_millis(100));
    terminal.line("again");
    terminal.expect("again");
    terminal.expect("again");
    terminal.send("\x04");
    terminal.expect(PROMPT);
    terminal.line("sleep 0.1 & wait; echo waited");
    terminal.expect("waited");
    terminal.line("exit 3");
    assert_eq!(terminal.wait(), 3);
}

#[test]
fn sizes_follow() {
    let (bench, image) = Bench::with_image();
    let mut terminal = interactive(&bench, &image);
    terminal.line("stty size");
    terminal.expect("24 80");
    terminal.expect(PROMPT);
    terminal.line("sh -c 'trap \"echo winch; stty size; exit\" WINCH; echo trap\"\"ped; while :; do sleep 0.05; done'");
    terminal.expect("trapped");
    terminal.resize(50, 132);
    terminal.expect("winch");
    terminal.expect("50 132");
    terminal.expect(PROMPT);
    terminal.line("exit");
    terminal.wait();
}

#[test]
fn detach_keys_leave_the_container_running() {
    let (bench, image) = Bench::with_image();
    let prompt = format!("PS1={PROMPT}");
    let mut terminal =
        Terminal::shell(&bench, &format!("rbox run -it --name away -e '{prompt}' {image} sh; echo code=$?; read x"));
    terminal.expect(PROMPT);
    // A prefix that is not followed by the rest is delivered: ctrl-p recalls a line.
    terminal.line("echo one");
    terminal.expect("one\r\n");
    terminal.expect(PROMPT);
    terminal.send("\x10");
    terminal.send("\n");
    terminal.expect("one\r\n");
    terminal.expect(PROMPT);
    terminal.send("\x10\x11");
    terminal.expect("code=0");
    assert_eq!(bench.status("away"), "running");
    let fresh = Terminal::shell(&bench, "read x");
    wait_until("settings are restored", || terminal.modes() == fresh.modes());
    assert_eq!(bench.ok(&["exec", "away", "echo", "alive"]), "alive");
    // Output of a detached container with a terminal still goes to its log.
    assert!(bench.ok(&["logs", "away"]).contains("one"));
}

#[test]
fn a_terminal_that_goes_away_ends_the_container() {
    let (bench, image) = Bench::with_image();
    // As the session's leader, and below a shell.
    let mut alone = interactive(&bench, &image);
    let pid = bench.pid("tty");
    alone.hang_up();
    proc::wait_gone(pid, Duration::from_secs(15));
    alone.wait();
    wait_until("--rm removes it", || bench.ok(&["ps", "-aq"]).is_empty());

    let script = format!("rbox run -it --rm --name tty --stop-timeout 1 -e PS1='{PROMPT}' {image} sh; true");
    let mut below = Terminal::shell(&bench, &script);
    below.expect(PROMPT);
    let pid = bench.pid("tty");
    below.hang_up();
    proc::wait_gone(pid, Duration::from_secs(15));
    wait_until("--rm removes it", || bench.ok(&["ps", "-aq"]).is_empty());
}

#[test]
fn exec_has_a_terminal_of_its_own() {
    let (bench, image) = Bench::with_image();
    bench.start(&["--name", "host"], &image, &["sleep", "100"]);
    let mut terminal = Terminal::rbox(&bench, &["exec", "-it", "-e", &format!("PS1={PROMPT}"), "host", "sh"]);
    terminal.expect(PROMPT);
    terminal.line("stty size; tty; echo $TERM");
    terminal.expect("24 80");
    terminal.expect("/dev/pts/0");
    terminal.expect("xterm");
    terminal.resize(30, 90);
    std::thread::sleep(Duration::from_millis(200));
    terminal.line("stty size");
    terminal.expect("30 90");
    terminal.line("sleep 100");
    std::thread::sleep(Duration::from_millis(300));
    terminal.send("\x03");
    terminal.line("exit 5");
    assert_eq!(terminal.wait(), 5);
    assert_eq!(bench.status("host"), "running");
}

#[test]
fn nothing_inside_can_type_for_the_user() {
    let (bench, _) = Bench::with_image();
    // TIOCSTI on whatever terminal the process has: its own pty with -t, none without.
    let probe = "import fcntl, sys\n\
        for fd in (0, 1, 2):\n\
        \x20try:\n\
        \x20 for c in b'echo INJECTED\\n': fcntl.ioctl(fd, 0x5412, bytes([c]))\n\
        \x20except OSError as e: print('refused', e.errno)\n\
        try: open('/dev/tty')\n\
        except OSError as e: print('no tty', e.errno)\n";
    let script = "rbox run --rm rootfs:/ python3 -c \"$PROBE\"; echo after=$?; read line; echo line=[$line]";
    let mut terminal = Terminal::shell(&bench, &format!("PROBE=$(cat <<'END'\n{probe}\nEND\n); {script}"));
    terminal.expect("no tty");
    terminal.expect("after=0");
    std::thread::sleep(Duration::from_millis(200));
    terminal.line("mine");
    terminal.expect("line=[mine]");
    assert!(!terminal.screen().contains("line=[echo"), "{}", terminal.screen());
    assert_eq!(terminal.wait(), 0);
}

#[test]
fn killing_the_client_restores_nothing_but_ends_the_container() {
    let (bench, image) = Bench::with_image();
    let mut terminal = interactive(&bench, &image);
    terminal.line("echo up");
    terminal.expect("up");
    let pid = bench.pid("tty");
    proc::kill(terminal.pid(), rustix::process::Signal::KILL);
    proc::wait_gone(pid, Duration::from_secs(15));
}

#[test]
fn the_first_run_pulls_before_the_prompt() {
    let bench = Bench::new();
    let image = crate::common::registry::registry().small();
    let mut terminal = interactive(&bench, &image);
    let screen = terminal.screen();
    let words =
        ["Unable to find image", "Pulling from library/alpine", "Pull complete", "Status: Downloaded newer image"];
    let mut from = 0;
    for word in words {
        let found = screen[from..].find(word);
        from += found.unwrap_or_else(|| panic!("no {word:?} in its place:\n{screen}"));
    }
    terminal.line("exit 3");
    assert_eq!(terminal.wait(), 3);
    let mut again = Terminal::shell(&bench, &format!("rbox pull {image}; echo code=$?"));
    again.expect("Status: Image is up to date");
    again.expect("code=0");
}
