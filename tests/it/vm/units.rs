//! Units of the user's manager that wrap a foreground container.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{Manager, Unit, machine, patient};
use crate::common::{Bench, comes_true, proc, program, wait_until};

/// A container that ends with 0 when it is told to.
const OBEYS: &str = "trap \"exit 0\" TERM; touch /up; while :; do sleep 0.1; done";

/// The only container that runs; its id.
fn running(bench: &Bench) -> Option<String> {
    let ids = bench.ok(&["ps", "-q", "--no-trunc"]);
    (ids.lines().count() == 1).then_some(ids)
}

/// Waits until a container runs that is not `before`, and its command with it.
#[track_caller]
fn next_life(bench: &Bench, unit: &Unit, before: &str) -> String {
    let mut id = String::new();
    let lives = comes_true(Duration::from_secs(20), || {
        id = running(bench).unwrap_or_default();
        !id.is_empty() && id != before && bench.rbox(&["exec", &id, "test", "-e", "/up"]).run().code == 0
    });
    assert!(lives, "no new container: {}\n{}", bench.ok(&["ps", "-a"]), unit.journal());
    id
}

/// Finds a process of a unit's container.
type Victim = fn(&Bench, &Unit) -> i32;

#[test]
fn systemd_run_passes_output_and_exit_code_on() {
    if !machine() {
        return;
    }
    let (bench, image) = Bench::with_image();
    let run = |flags: &[&str], command: &[&str]| {
        let run = program("systemd-run").args(["--user", "--quiet", "--collect"]).args(flags);
        let run = run.arg(format!("--setenv=RBOX_ROOT={}", bench.root().display()));
        let run = run.arg(format!("--setenv=RBOX_RUNROOT={}", bench.runroot().display()));
        run.arg(crate::common::rbox_program()).args(["run", "--rm", &image]).args(command).run()
    };
    let output = run(&["--wait", "--pipe"], &["sh", "-c", "echo words; echo more >&2; exit 7"]);
    assert_eq!((output.code, output.out().as_str()), (7, "words"), "{}", output.report());
    let scope = run(&["--scope"], &["sh", "-c", "echo words; exit 9"]);
    assert_eq!((scope.code, scope.out().as_str()), (9, "words"), "{}", scope.report());
    bench.no_containers();
}

#[test]
fn the_units_result_is_the_containers() {
    if !machine() {
        return;
    }
    let (bench, image) = Bench::with_image();
    for (command, result, status) in
        [("exit 0", "success", "0"), ("exit 7", "exit-code", "7"), ("sh -c \"kill -9 $$\"", "exit-code", "137")]
    {
        let lines =
            format!("Type=exec\nExecStart=@RBOX@ run --rm --init {image} sh -c '{}'\n", command.replace("$$", "$$$$"));
        let unit = Unit::new(&bench, Manager::User, &lines);
        unit.start();
        wait_until("it has ended", || !unit.show("Result").is_empty() && unit.show("SubState") != "running");
        assert_eq!((unit.show("Result").as_str(), unit.show("ExecMainStatus").as_str()), (result, status));
        unit.left_nothing();
    }
    bench.no_containers();
}

#[test]
fn a_unit_is_restarted_whichever_of_its_processes_is_killed() {
    if !machine() {
        return;
    }
    let (bench, image) = Bench::with_image();
    let lines = format!(
        "Type=exec\nRestart=on-failure\nRestartSec=100ms\nTimeoutStopSec=20\n\
         ExecStart=@RBOX@ run --rm --replace --name web {image} sh -c '{OBEYS}'\n"
    );
    let unit = Unit::new(&bench, Manager::User, &lines);
    unit.start();
    let mut id = next_life(&bench, &unit, "");
    let victims: [(&str, Victim); 3] = [
        ("the client", |_, unit| unit.show("MainPID").parse().expect("a process")),
        ("the supervisor", |bench, _| bench.supervisor("web")),
        ("the container's first process", |bench, _| bench.pid("web")),
    ];
    for (who, victim) in victims {
        let (pid, before) = (victim(&bench, &unit), unit.restarts());
        let tree = unit.processes();
        proc::kill(pid, Signal::KILL);
        proc::wait_gone(pid, Duration::from_secs(5));
        wait_until(who, || unit.restarts() > before);
        id = next_life(&bench, &unit, &id);
        tree.into_iter().for_each(|pid| proc::wait_gone(pid, Duration::from_secs(5)));
        assert_eq!(unit.show("ActiveState"), "active");
    }
    assert_eq!(unit.systemctl("stop").code, 0);
    assert_eq!(unit.show("Result"), "success", "{}", unit.journal());
    unit.left_nothing();
    assert_eq!(bench.ok(&["ps", "-aq"]), "", "{}", unit.journal());
    bench.no_processes();
    bench.ok(&["system", "check"]);
}

/// As the documents show it: ready when the container says so, started again whatever of it is killed.
#[test]
fn a_service_is_ready_when_its_container_says_so() {
    if !machine() {
        return;
    }
    let bench = Bench::new();
    let lines = format!(
        "Type=notify\nUser=someone\nRestart=on-failure\nRestartSec=100ms\nTimeoutStopSec=20\n\
         ExecStart=@RBOX@ run --rm --replace --name web --sdnotify=container rootfs:/ \
         sh -c 'sleep 1; touch /said; systemd-notify --ready; {OBEYS}'\n"
    );
    let unit = Unit::new(&bench, Manager::System, &lines);
    unit.start();
    assert_eq!(unit.show("ActiveState"), "active");
    assert_eq!(bench.ok(&["exec", "web", "ls", "/said"]), "/said", "it was not ready before");
    let mut id = next_life(&bench, &unit, "");
    let victims: [Victim; 3] = [
        |_, unit| unit.show("MainPID").parse().expect("a process"),
        |bench, _| bench.supervisor("web"),
        |bench, _| bench.pid("web"),
    ];
    for victim in victims {
        let before = unit.restarts();
        proc::kill(victim(&bench, &unit), Signal::KILL);
        wait_until("it was restarted", || unit.restarts() > before);
        id = next_life(&bench, &unit, &id);
        wait_until("it is ready again", || unit.show("ActiveState") == "active");
    }
    assert_eq!(unit.systemctl("stop").code, 0);
    assert_eq!(unit.show("Result"), "success", "{}", unit.journal());
    unit.left_nothing();
    bench.no_containers();
    bench.no_processes();
}

#[test]
fn the_journal_has_what_a_container_says() {
    if !machine() {
        return;
    }
    let (bench, image) = Bench::with_image();
    let flags = ["run", "-d", "--name", "talks", "--log-driver", "journald", "--log-opt", "tag=of {{.Name}}"];
    let script = "echo out; echo err >&2; sleep 0.2; printf half";
    let id = bench.ok(&[&flags[..], &[&image, "sh", "-c", script]].concat());
    assert_eq!(bench.ok(&["wait", "talks"]), "0");
    let entries = || -> Vec<serde_json::Value> {
        let match_id = format!("CONTAINER_ID_FULL={id}");
        let journal = program("sudo").args(["journalctl", "-o", "json", "--no-pager", &match_id]).ok();
        journal.lines().map(|line| serde_json::from_str(line).expect("a document")).collect()
    };
    wait_until("the journal has it", || entries().len() == 3);
    let mut said: Vec<(String, String)> = entries()
        .iter()
        .map(|entry| (entry["MESSAGE"].as_str().unwrap().to_owned(), entry["PRIORITY"].as_str().unwrap().to_owned()))
        .collect();
    // Two streams have no order.
    said.sort();
    let expected = [("err", "3"), ("half", "6"), ("out", "6")].map(|(text, level)| (text.to_owned(), level.to_owned()));
    assert_eq!(said, expected);
    assert!(entries().iter().all(|entry| entry["CONTAINER_TAG"] == "of talks" && entry["CONTAINER_NAME"] == "talks"));
    bench.ok(&["rm", "talks"]);
}

#[test]
fn every_kill_mode_stops_in_time_and_leaves_nothing() {
    if !machine() {
        return;
    }
    let (bench, image) = Bench::with_image();
    for mode in ["control-group", "mixed", "process"] {
        let lines = format!(
            "Type=exec\nKillMode={mode}\nTimeoutStopSec=60\nExecStart=@RBOX@ run --rm {image} sh -c '{OBEYS}'\n"
        );
        let unit = Unit::new(&bench, Manager::User, &lines);
        unit.start();
        next_life(&bench, &unit, "");
        let begun = Instant::now();
        assert_eq!(unit.systemctl("stop").code, 0);
        assert!(begun.elapsed() < patient(Duration::from_secs(4)), "{mode}: {:?}", begun.elapsed());
        assert_eq!(unit.show("Result"), "success", "{mode}: {}", unit.journal());
        unit.left_nothing();
        bench.no_processes();
        assert_eq!(bench.ok(&["ps", "-aq"]), "", "{mode}: {}", unit.journal());
    }
}

#[test]
fn a_container_that_ignores_its_end_is_killed_at_the_time_limit() {
    if !machine() {
        return;
    }
    let (bench, image) = Bench::with_image();
    let script = "trap \"\" TERM; touch /up; while :; do sleep 0.1; done";
    for mode in ["control-group", "mixed"] {
        let lines = format!(
            "Type=exec\nKillMode={mode}\nTimeoutStopSec=2\nExecStart=@RBOX@ run --rm {image} sh -c '{script}'\n"
        );
        let unit = Unit::new(&bench, Manager::User, &lines);
        unit.start();
        next_life(&bench, &unit, "");
        let begun = Instant::now();
        unit.systemctl("stop");
        assert!(begun.elapsed() < Duration::from_secs(2) + patient(Duration::from_secs(2)), "{mode}");
        assert_eq!(unit.show("Result"), "timeout", "{mode}: {}", unit.journal());
        unit.left_nothing();
        bench.no_processes();
        bench.ok(&["system", "check"]);
        assert_eq!(bench.ok(&["ps", "-q"]), "", "{mode}: what was killed does not run");
    }
}
