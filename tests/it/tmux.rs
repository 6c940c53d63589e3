//! The terminal as a person sees it: full-screen programs in containers, on the screen of a tmux.

use std::time::Duration;

use crate::common::tmux::{Pane, Tmux};
use crate::common::{Bench, comes_true, proc, read, wait_until, write};
use rustix::process::Signal;

/// The machine's own userland: it has vi, less and tmux.
const HOST: &str = "rootfs:/";
const PROMPT: &str = "READY> ";

/// Types into vi's command line.
fn ex(pane: &Pane<'_>, command: &str) {
    pane.keys(&["Escape"]);
    pane.line(&format!(":{command}"));
}

/// Asks vi for its size until it says this one: drawing anew may wipe an answer.
fn expect_lines(pane: &Pane<'_>, lines: u16) {
    let answer = format!("lines={lines}");
    wait_until("vi has the size", || {
        ex(pane, "set lines?");
        comes_true(Duration::from_secs(1), || pane.screen().contains(&answer))
    });
}

/// Waits for the prompt of the container's shell as the last thing on the screen.
fn expect_prompt(pane: &Pane<'_>) {
    pane.expect_that("the container's prompt", |screen| screen.trim_end().lines().last() == Some(PROMPT.trim()));
}

/// Waits for the prompt of the shell in front of rbox.
fn expect_shell(pane: &Pane<'_>) {
    pane.expect_that("the shell's prompt", |screen| screen.trim_end().ends_with('$'));
}

/// What `stty -a` wrote, without the size.
fn settings(path: &str) -> String {
    let text = read(path);
    let (_, settings) = text.split_once(" line = ").unwrap_or_else(|| panic!("no settings: {text:?}"));
    settings.to_owned()
}

fn detach(pane: &Pane<'_>) {
    pane.keys(&["C-p", "C-q"]);
}

/// The process that a person sees as `rbox run`.
fn invocation(bench: &Bench, container: &str) -> i32 {
    proc::parent(bench.supervisor(container)).expect("a parent")
}

#[test]
fn vi_survives_resizing_detaching_and_attaching() {
    let bench = Bench::new();
    let tmux = Tmux::new(&bench);
    let pane = tmux.pane();
    pane.line(&format!("rbox run -it --name v {HOST} sh -c 'vi -u NONE -N /tmp/text; cat /tmp/text'"));
    pane.expect("~");
    pane.send("ifirst line of the text");
    pane.expect("first line of the text");
    expect_lines(&pane, 24);

    pane.resize(60, 15);
    expect_lines(&pane, 15);
    pane.expect("first line of the text");
    assert_eq!(pane.screen().lines().filter(|line| *line == "~").count(), 13, "{}", pane.screen());

    detach(&pane);
    pane.line("echo code=$?");
    pane.expect_line("code=0");
    assert_eq!(bench.status("v"), "running");
    // The same size as before: only a nudge makes vi draw.
    pane.clear();
    pane.line("rbox attach v");
    pane.expect("first line of the text");
    pane.expect_that("all of vi's lines", |screen| screen.lines().filter(|line| *line == "~").count() == 13);
    expect_lines(&pane, 15);

    detach(&pane);
    pane.expect("read escape sequence");
    pane.clear();
    // Another size meanwhile.
    pane.resize(100, 30);
    pane.line("rbox attach v");
    pane.expect("first line of the text");
    expect_lines(&pane, 30);
    pane.send("osecond line");
    ex(&pane, "wq");
    expect_shell(&pane);
    pane.line("echo code=$?");
    pane.expect_line("code=0");
    pane.expect("first line of the text\nsecond line\n");
    assert_eq!(bench.status("v"), "exited");
}

#[test]
fn less_and_tmux_draw_themselves_again() {
    let bench = Bench::new();
    let tmux = Tmux::new(&bench);
    let pane = tmux.pane();
    let numbers = "seq -f 'number %g' 1000 >/tmp/n; exec less /tmp/n";
    pane.line(&format!("rbox run -it --name l {HOST} sh -c \"{numbers}\""));
    pane.expect_line("number 23");
    pane.resize(80, 10);
    pane.expect_that("nine lines", |screen| screen.lines().nth(8) == Some("number 9") && !screen.contains("number 10"));
    pane.keys(&["Space"]);
    pane.expect_line("number 18");
    detach(&pane);
    pane.clear();
    pane.line("rbox attach l");
    pane.expect_line("number 18");
    pane.send("q");
    pane.expect("$");
    wait_until("less ended", || bench.status("l") == "exited");

    let pane = tmux.pane();
    pane.line(&format!("rbox run -it --name t -e LANG=C.UTF-8 {HOST} tmux -f /dev/null new-session 'PS1=in: sh'"));
    pane.expect_that("the prompt inside", |screen| screen.lines().next() == Some("in:"));
    pane.line("echo $((6*7))");
    // Not in the status line, which has a clock.
    let has_answer = |screen: &str| screen.lines().take(4).any(|line| line.contains("42"));
    pane.expect_that("42", has_answer);
    let has_status_in =
        |row: usize| move |screen: &str| screen.lines().nth(row - 1).is_some_and(|line| line.starts_with("[0]"));
    pane.expect_that("the status line at the bottom", has_status_in(24));
    pane.resize(70, 12);
    pane.expect_that("the status line at the new bottom", has_status_in(12));
    detach(&pane);
    pane.clear();
    pane.line("rbox attach t");
    pane.expect_that("the status line again", has_status_in(12));
    pane.expect_that("42 again", has_answer);
    pane.line("exit");
    wait_until("tmux ended", || bench.status("t") == "exited");
}

#[test]
fn two_viewers_see_the_same_and_both_may_type() {
    let (bench, image) = Bench::with_image();
    bench.start(&["-it", "--name", "two", "-e", &format!("PS1={PROMPT}")], &image, &["sh"]);
    let tmux = Tmux::new(&bench);
    let (one, other) = (tmux.pane(), tmux.pane());
    for pane in [&one, &other] {
        pane.line("clear; rbox attach two");
        // What the shell drew before is history; the nudge alone brings its prompt.
        pane.keys(&["Enter"]);
        expect_prompt(pane);
    }
    one.line("clear");
    let is_clear = |screen: &str| screen.trim() == PROMPT.trim();
    one.expect_that("an empty screen", is_clear);
    other.expect_that("an empty screen", is_clear);
    one.line("echo from-$((40+1))");
    one.expect_line("from-41");
    other.expect_line("from-41");
    other.line("echo from-$((40+2))");
    one.expect_line("from-42");
    other.expect_line("from-42");
    wait_until("both show the same", || one.screen() == other.screen());

    // The last one to change its size decides; the last to come does too.
    one.resize(90, 20);
    wait_until("the size follows", || {
        other.line("stty size");
        comes_true(Duration::from_secs(1), || one.screen().contains("20 90"))
    });
    detach(&other);
    other.expect("read escape sequence");
    other.line("clear; rbox attach two");
    wait_until("the size follows again", || {
        other.line("clear; stty size");
        comes_true(Duration::from_secs(1), || one.screen().contains("24 80"))
    });
    detach(&other);
    other.expect("read escape sequence");
    one.line("echo still-$((40+3))");
    one.expect_line("still-43");
    one.line("exit 5");
    expect_shell(&one);
    one.line("echo code=$?");
    one.expect_line("code=5");
}

#[test]
fn stopped_and_continued_by_a_shell_the_terminal_is_right_each_time() {
    let (bench, image) = Bench::with_image();
    let tmux = Tmux::new(&bench);
    let pane = tmux.pane();
    let (before, during, after) = (bench.text("before"), bench.text("during"), bench.text("after"));
    pane.line(&format!("stty -a >{before}; rbox run -it --name z -e PS1='{PROMPT}' {image} sh"));
    expect_prompt(&pane);
    let client = invocation(&bench, "z");
    for round in 0..2 {
        // ctrl-z itself goes to the container: its keys are raw.
        proc::kill(client, Signal::TSTP);
        pane.expect_that("the shell's word", |screen| screen.matches("Stopped").count() == round + 1);
        expect_shell(&pane);
        pane.line(&format!("stty -a >{during}; echo round-$(({round}+40))"));
        pane.expect_line(&format!("round-{}", round + 40));
        assert_eq!(settings(&before), settings(&during));
        std::fs::remove_file(&during).expect("a file of ours");
        assert_eq!(bench.status("z"), "running");
        pane.resize(70 + round as u16, 20);
        pane.line("fg");
        pane.keys(&["Enter"]);
        expect_prompt(&pane);
        // tmux takes its time to resize a window.
        let size = format!("20 {}", 70 + round);
        wait_until("the size is sent again", || {
            pane.line("stty size");
            comes_true(Duration::from_secs(1), || pane.screen().contains(&size))
        });
    }
    pane.line("exit 6");
    expect_shell(&pane);
    pane.line(&format!("echo code=$?; stty -a >{after}; echo written"));
    pane.expect_line("code=6");
    pane.expect_line("written");
    assert_eq!(settings(&before), settings(&after));
}

#[test]
fn the_terminal_is_right_after_the_supervisor_was_killed() {
    let (bench, image) = Bench::with_image();
    let tmux = Tmux::new(&bench);
    let (before, after) = (bench.text("before"), bench.text("after"));
    for victim in ["supervisor", "init", "attached"] {
        let pane = tmux.pane();
        pane.line(&format!("stty -a >{before}; rbox run -it --rm --name k -e PS1='{PROMPT}' {image} sh"));
        expect_prompt(&pane);
        if victim == "attached" {
            detach(&pane);
            expect_shell(&pane);
            pane.clear();
            pane.line("rbox attach k");
            pane.keys(&["Enter"]);
            expect_prompt(&pane);
        }
        let pid = if victim == "init" { bench.pid("k") } else { bench.supervisor("k") };
        proc::kill(pid, Signal::KILL);
        expect_shell(&pane);
        pane.line(&format!("echo code=$?; stty -a >{after}; echo written"));
        pane.expect_line("code=137");
        pane.expect_line("written");
        assert_eq!(settings(&before), settings(&after), "{victim}");
        bench.rbox(&["rm", "-f", "k"]).run();
    }
}

#[test]
fn a_stalled_viewer_slows_nobody() {
    let (bench, image) = Bench::with_image();
    let shared = bench.mkdir("shared");
    let volume = format!("{}:/shared", shared.display());
    // Far more than all buffers between the container and a viewer hold.
    let script = "while [ ! -e /shared/go ]; do sleep 0.05; done; i=0; \
        while [ $i -lt 96 ]; do head -c 1048576 /dev/zero | tr '\\000' x; i=$((i+1)); echo $i >/shared/count; done; \
        echo; echo end; while [ ! -e /shared/end ]; do sleep 0.05; done";
    bench.start(&["--name", "flood", "-v", &volume], &image, &["sh", "-c", script]);
    let tmux = Tmux::new(&bench);
    let (stalled, seen) = (bench.path("stalled"), bench.path("seen"));
    let pane = tmux.pane();
    // Its output is a pipe with a reader, so that only the viewer itself is stopped.
    pane.line(&format!("rbox attach --no-stdin flood 2>{}.err | cat >{} & echo", stalled.display(), stalled.display()));
    let mut live = bench.shell(&format!("rbox attach --no-stdin flood >{}", seen.display())).limit(120).spawn();
    let viewers = || -> Vec<i32> {
        let is_one = |pid: &i32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.starts_with(b"rbox\0attach\0--no-stdin\0flood")
        };
        proc::pids().into_iter().filter(is_one).filter(|pid| proc::parent(*pid) != Some(live.pid())).collect()
    };
    // The shell may have become the viewer, or be its parent.
    wait_until("both viewers are attached", || {
        let supervisor = bench.supervisor("flood");
        let sockets = std::fs::read_dir(format!("/proc/{supervisor}/fd")).into_iter().flatten().flatten();
        let is_socket = |path: std::path::PathBuf| {
            std::fs::read_link(path).is_ok_and(|link| link.to_string_lossy().starts_with("socket:"))
        };
        // The listening one, the one to the network's anchor, and one a viewer.
        sockets.filter(|entry| is_socket(entry.path())).count() == 4
    });
    let victim = viewers().into_iter().find(|pid| *pid != live.pid()).expect("the viewer in the pane");
    proc::kill(victim, Signal::STOP);
    write(shared.join("go"), "");
    let count = || std::fs::read_to_string(shared.join("count")).unwrap_or_default().trim().parse().unwrap_or(0);
    // No limit of time is asked about but this: without the viewer's help it gets there at all.
    assert!(comes_true(Duration::from_secs(60), || count() == 96), "the container got to {} of 96", count());
    assert_eq!(proc::state(victim), Some('T'), "the viewer is still stopped");
    assert!(proc::status_kb(bench.supervisor("flood"), "VmHWM") < 40 * 1024, "what it does not read is not kept");
    // The other viewer saw everything.
    wait_until("the other viewer saw all of it", || {
        std::fs::metadata(&seen).is_ok_and(|metadata| metadata.len() == 96 * 1048576 + 5)
    });
    // The stalled one is told what it missed, and sees what comes then.
    proc::kill(victim, Signal::CONT);
    let told = bench.path("stalled.err");
    wait_until("it is told", || std::fs::read_to_string(&told).is_ok_and(|text| text.contains("were left out")));
    assert_eq!(read(&told).lines().count(), 1, "{}", read(&told));
    let missed: u64 = read(&told).split(' ').find_map(|word| word.parse().ok()).expect("a number of bytes");
    // What is shown goes through a pipe.
    wait_until("every byte was shown or counted", || {
        std::fs::metadata(&stalled).is_ok_and(|output| output.len() + missed == 96 * 1048576 + 5)
    });
    write(shared.join("end"), "");
    assert!(comes_true(Duration::from_secs(20), || live.has_ended()));
    live.wait().ok();
}
