//! Health checks: when they run, what they see, what follows, and that nothing of them stays.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::common::{Bench, proc, read, wait_until};

fn health(bench: &Bench, name: &str) -> Value {
    let state: Value = serde_json::from_str(&bench.ok(&["inspect", name])).unwrap();
    state[0]["State"]["Health"].clone()
}

fn status(bench: &Bench, name: &str) -> String {
    bench.inspect(name, "{{.State.Health.Status}}")
}

/// Processes whose command line holds this text.
fn running(text: &str) -> usize {
    let line = |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    proc::pids().into_iter().filter(|pid| line(*pid).replace('\0', " ").contains(text)).count()
}

#[test]
fn states_follow_the_checks_and_are_seen_everywhere() {
    let (bench, image) = Bench::with_image();
    let flags = ["--name", "web", "--health-cmd", "echo looked; test -e /ok", "--health-interval", "150ms"];
    bench.start(&[&flags[..], &["--health-retries", "2", "--rm"]].concat(), &image, &["sleep", "100"]);
    assert_eq!(status(&bench, "web"), "starting");
    assert!(bench.ok(&["ps"]).contains("(health: starting)"));
    wait_until("it is unhealthy", || status(&bench, "web") == "unhealthy");
    let shown = health(&bench, "web");
    assert!(shown["FailingStreak"].as_u64().unwrap() >= 2, "{shown}");
    assert_eq!(shown["Log"][0]["ExitCode"], 1);
    assert_eq!(shown["Log"][0]["Output"], "looked\n");
    assert!(bench.ok(&["ps"]).contains("(unhealthy)"));
    bench.ok(&["exec", "web", "touch", "/ok"]);
    wait_until("it is healthy", || status(&bench, "web") == "healthy");
    wait_until("five results are kept", || health(&bench, "web")["Log"].as_array().unwrap().len() == 5);
    assert!(bench.ok(&["ps"]).contains("(healthy)"));
    assert_eq!(
        bench.ok(&["ps", "--filter", "health=healthy", "--format", "{{.Names}} {{.HealthStatus}}"]),
        "web healthy"
    );
    assert_eq!(bench.ok(&["ps", "-q", "--filter", "health=unhealthy"]), "");
    bench.ok(&["stop", "-t", "0", "web"]);
    let past =
        ["events", "--since", "1h", "--until", "0s", "--filter", "event=health_status", "--format", "{{.Action}}"];
    assert_eq!(bench.ok(&past), "health_status: unhealthy\nhealth_status: healthy");
}

#[test]
fn states_can_be_waited_for() {
    let (bench, image) = Bench::with_image();
    let flags = ["--name", "web", "--health-cmd", "test -e /ok", "--health-interval", "100ms", "--health-retries", "1"];
    let wait = |condition: &str| bench.rbox(&["wait", "-i", "10ms", "--condition", condition, "web"]).spawn();
    bench.start(&flags, &image, &["sleep", "100"]);
    let healthy = wait("healthy");
    assert_eq!(wait("unhealthy").wait().ok().out(), "-1");
    let mut paused = wait("paused");
    assert!(!paused.has_ended());
    bench.ok(&["exec", "web", "touch", "/ok"]);
    assert_eq!(healthy.wait().ok().out(), "-1");
    assert!(!paused.has_ended());
    bench.ok(&["pause", "web"]);
    assert_eq!(paused.wait().ok().out(), "-1");
    // Any of several.
    let flags = ["wait", "-i", "10ms", "--condition", "unhealthy", "--condition", "removed", "web"];
    let waiting = bench.rbox(&flags).spawn();
    bench.ok(&["rm", "-f", "web"]);
    assert_eq!(waiting.wait().ok().out(), "-1");
}

#[test]
fn a_check_sees_what_the_container_sees() {
    let (bench, image) = Bench::with_image();
    let flags = ["--name", "web", "--user", "7:8", "-e", "A=b", "-w", "/tmp", "--health-interval", "100ms"];
    let command = r#"["sh", "-c", "echo $(id -u) $(id -g) $A $(pwd) $HOME; exit 3"]"#;
    bench.start(&[&flags[..], &["--health-cmd", command]].concat(), &image, &["sleep", "100"]);
    wait_until("a check has run", || !health(&bench, "web")["Log"].as_array().unwrap().is_empty());
    let shown = &health(&bench, "web")["Log"][0];
    assert_eq!((&shown["ExitCode"], shown["Output"].as_str().unwrap()), (&json!(3), "7 8 b /tmp /\n"));
    let test = bench.inspect("web", "{{json .Config.Healthcheck}}");
    assert!(test.starts_with(r#"{"Test":["CMD","sh","-c","#) && test.contains(r#""Interval":100000000"#), "{test}");
}

#[test]
fn a_check_that_never_ends_is_killed_with_all_it_started() {
    let (bench, image) = Bench::with_image();
    // One that left its session, and one whose parent is gone.
    let command =
        "sleep 71717 & (setsid sleep 72727 & setsid sh -c 'sleep 73737 & sleep 74747' &); echo begun; sleep 75757";
    let flags = ["--name", "web", "--health-cmd", command, "--health-timeout", "300ms", "--health-interval", "200ms"];
    bench.start(&flags, &image, &["sleep", "100"]);
    wait_until("it runs", || running("sleep 75757") > 0);
    wait_until("it was killed", || health(&bench, "web")["Log"].as_array().is_some_and(|log| log.len() >= 2));
    let shown = &health(&bench, "web")["Log"][0];
    assert_eq!(shown["ExitCode"], -1);
    assert_eq!(shown["Output"], "Health check exceeded timeout (300ms): begun\n");
    for sleeper in ["71717", "72727", "73737", "74747", "75757"] {
        assert!(running(&format!("sleep {sleeper}")) <= 1, "one at a time, {sleeper}");
    }
    bench.ok(&["kill", "web"]);
    wait_until("nothing is left", || running("sleep 75757") == 0);
    bench.ok(&["rm", "-f", "web"]);
    bench.no_processes();
}

#[test]
fn the_death_of_the_supervisor_is_that_of_the_check() {
    let (bench, image) = Bench::with_image();
    let rounds = std::env::var("RBOX_TEST_KILLS").ok().and_then(|count| count.parse().ok()).unwrap_or(3);
    for round in 0..rounds {
        let name = format!("web{round}");
        let flags = ["--name", &name, "--health-cmd", "sleep 76767", "--health-interval", "1ms"];
        bench.start(&flags, &image, &["sleep", "100"]);
        let supervisor = bench.supervisor(&name);
        std::thread::sleep(Duration::from_millis(3 * round));
        assert!(proc::kill(supervisor, Signal::KILL));
        wait_until("it is seen to be dead", || bench.status(&name) == "exited");
        wait_until("the check is gone", || running("sleep 76767") == 0);
        bench.ok(&["rm", &name]);
    }
    bench.no_processes();
}

#[test]
fn a_check_can_be_run_by_hand() {
    let (bench, image) = Bench::with_image();
    let flags =
        ["--name", "web", "--health-cmd", "test -e /ok", "--health-interval", "disable", "--health-retries", "2"];
    let id = bench.start(&flags, &image, &["sleep", "100"]);
    let output = bench.rbox(&["healthcheck", "run", "web"]).run().exits(1);
    assert_eq!(output.out(), "starting");
    let output = bench.rbox(&["healthcheck", "run", "web"]).run().exits(1);
    assert_eq!(output.out(), "unhealthy");
    assert_eq!(bench.ok(&["healthcheck", "run", "--ignore-result", "web"]), "unhealthy");
    assert_eq!(health(&bench, "web")["Log"].as_array().unwrap().len(), 3, "and nobody else runs it");
    bench.ok(&["exec", "web", "touch", "/ok"]);
    assert_eq!(bench.ok(&["healthcheck", "run", "web"]), "");
    assert_eq!(status(&bench, "web"), "healthy");
    bench.ok(&["stop", "-t", "0", "web"]);
    bench.rbox(&["healthcheck", "run", "web"]).run().refused(125, &format!("container {id} is not running"));
    assert_eq!(status(&bench, "web"), "unhealthy");
    let id = bench.start(&["--name", "plain"], &image, &["sleep", "100"]);
    let none = format!("container {id} has no defined healthcheck");
    bench.rbox(&["healthcheck", "run", "plain"]).run().refused(125, &none);
    bench.rbox(&["healthcheck", "run", "nosuch"]).run().refused(125, "nosuch");
    assert_eq!(bench.ok(&["ps", "-q", "--no-trunc", "--filter", "health=none"]), id);
}

#[test]
fn what_fails_is_stopped_killed_or_restarted() {
    let (bench, image) = Bench::with_image();
    let flags =
        ["--health-cmd", "exit 1", "--health-interval", "100ms", "--health-retries", "1", "--health-on-failure"];
    let start = |name: &str, action: &str, command: &[&str]| {
        bench.start(&[&flags[..], &[action, "--name", name]].concat(), &image, command);
    };
    start("kill", "kill", &["sleep", "100"]);
    start("stop", "stop", &["sh", "-c", "trap 'exit 5' TERM; while :; do sleep 0.1; done"]);
    start("restart", "restart", &["sh", "-c", "trap 'exit 5' TERM; while :; do sleep 0.1; done"]);
    wait_until("one was killed", || bench.status("kill") == "exited");
    assert_eq!(bench.inspect("kill", "{{.State.ExitCode}}"), "137");
    wait_until("one was stopped", || bench.status("stop") == "exited");
    assert_eq!(bench.inspect("stop", "{{.State.ExitCode}}"), "5");
    wait_until("one was restarted twice", || {
        bench.inspect("restart", "{{.RestartCount}}").parse::<u32>().unwrap() >= 2
    });
    bench.ok(&["rm", "-f", "restart"]);
    bench.no_processes();
}

#[test]
fn images_bring_checks_and_keep_them() {
    let (bench, image) = Bench::with_image();
    bench.ok(&["create", "--name", "base", &image, "true"]);
    bench.ok(&["commit", "-c", "HEALTHCHECK --interval=100ms --retries=7 CMD echo of image", "base", "checked"]);
    bench.start(&["--name", "a"], "checked", &["sleep", "100"]);
    wait_until("it is healthy", || status(&bench, "a") == "healthy");
    bench.start(&["--name", "b", "--no-healthcheck"], "checked", &["sleep", "100"]);
    assert_eq!(bench.inspect("b", "{{json .Config.Healthcheck}}"), r#"{"Test":["NONE"]}"#);
    assert_eq!(health(&bench, "b"), Value::Null);
    bench.ok(&["create", "--name", "c", "--health-cmd", "echo mine", "--health-timeout", "2s", "checked", "true"]);
    bench.ok(&["commit", "c", "again"]);
    let kept: Value = serde_json::from_str(&bench.inspect("again", "{{json .Config.Healthcheck}}")).unwrap();
    let expected = json!({"Test": ["CMD-SHELL", "echo mine"], "Interval": 100_000_000, "Timeout": 2_000_000_000_i64, "Retries": 7});
    assert_eq!(kept, expected);
    let rest = bench.run_rm(&["--health-cmd", "true"], &image, &["true"]);
    rest.exits(0);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let (bench, image) = Bench::with_image();
    let cases: &[(&[&str], &str)] = &[
        (&["--no-healthcheck", "--health-cmd", "x"], "--no-healthcheck conflicts with --health-* options"),
        (&["--health-cmd", "x", "--health-interval", "-1s"], "--health-interval cannot be negative"),
        (&["--health-cmd", "x", "--health-timeout", "999us"], "Timeout in Healthcheck cannot be less than 1ms"),
        (&["--health-cmd", "x", "--health-retries", "-2"], "--health-retries cannot be negative"),
        (&["--health-cmd", "x", "--health-interval", "5"], "invalid duration"),
        (&["--health-cmd", "x", "--health-on-failure", "weep"], "invalid on-failure action \"weep\""),
        (&["--health-on-failure", "kill"], "cannot set on-failure action to kill without a health check"),
        (&["--health-startup-cmd", "x"], "add --health-cmd"),
        (&["--health-cmd", "x", "--health-log-destination", "here"], "invalid health log destination \"here\""),
        (&["--sdnotify", "always"], "invalid sdnotify value \"always\""),
    ];
    for (flags, text) in cases {
        let args = [&["create"], *flags, &[&image, "true"]].concat();
        let output = bench.rbox(&args).run().exits(125);
        assert!(output.err().contains(text), "{text}: {}", output.report());
    }
    bench.no_containers();
    let flags = ["--name", "web", "--health-cmd", r#"["/no/such"]"#, "--health-interval", "50ms"];
    bench.start(&flags, &image, &["sleep", "100"]);
    wait_until("a check has failed", || !health(&bench, "web")["Log"].as_array().unwrap().is_empty());
    let shown = &health(&bench, "web")["Log"][0];
    assert_eq!(shown["ExitCode"], -1);
    assert!(shown["Output"].as_str().unwrap().contains("no such file or directory"), "{shown}");
}

#[test]
fn output_is_limited_and_the_loop_is_not_held_up() {
    let (bench, image) = Bench::with_image();
    let flags = ["--name", "web", "--health-cmd", "yes", "--health-timeout", "400ms", "--health-interval", "10ms"];
    bench.start(&[&flags[..], &["--health-max-log-size", "10"]].concat(), &image, &["sleep", "100"]);
    wait_until("a check was killed", || !health(&bench, "web")["Log"].as_array().unwrap().is_empty());
    assert_eq!(health(&bench, "web")["Log"][0]["Output"], "Health check exceeded timeout (400ms): y\ny\ny\ny\ny\n...");
    let begin = Instant::now();
    bench.ok(&["stop", "-t", "0", "web"]);
    assert!(begin.elapsed() < Duration::from_secs(5));
}

#[test]
fn results_are_written_where_they_are_asked_for() {
    let (bench, image) = Bench::with_image();
    let place = bench.mkdir("results");
    let (flag, nowhere) = (place.display().to_string(), bench.text("nowhere"));
    let check = ["--health-cmd", "echo fine", "--health-interval", "100ms", "--health-log-destination"];
    let refused = bench.rbox(&["run", "-d"]).args(check).args([&nowhere, &image, "sleep", "1000"]).run();
    refused.refused(125, "there is no such directory");
    let id = bench.start(&[&["--name", "one"], &check[..], &[&flag]].concat(), &image, &["sleep", "1000"]);
    wait_until("it is healthy", || status(&bench, "one") == "healthy");
    let copy = place.join(format!("{id}-healthcheck.log"));
    assert!(read(&copy).contains("fine"));
    bench.rbox(&["update", "--health-log-destination", &nowhere, "one"]).run().refused(1, "no such directory");
    // The record does not depend on somebody else's directory.
    std::fs::remove_file(&copy).unwrap();
    std::fs::remove_dir(&place).unwrap();
    assert_eq!(status(&bench, "one"), "healthy");
    std::fs::create_dir(&place).unwrap();
    wait_until("it is written again", || copy.exists());
    bench.ok(&["rm", "-f", "one"]);
    assert!(!copy.exists(), "it goes with its container");
    for empty in ["[\"CMD\"]", "[\"CMD-SHELL\", \"\"]"] {
        bench.rbox(&["create", "--health-cmd", empty, &image]).run().refused(125, "has no command");
    }
}

#[test]
fn checks_are_changed_while_they_run() {
    let (bench, image) = Bench::with_image();
    bench.start(&["--name", "web"], &image, &["sleep", "1000"]);
    bench.rbox(&["update", "--health-interval", "1s", "web"]).run().refused(1, "add --health-cmd");
    bench.rbox(&["update", "--health-cmd", "true", "--health-retries", "-1", "web"]).run().refused(1, "negative");
    // From none to one that fails, and from that to one that doesn't.
    bench.ok(&[
        "update",
        "--health-cmd",
        "echo bad; exit 3",
        "--health-interval",
        "20ms",
        "--health-retries",
        "2",
        "web",
    ]);
    wait_until("it is unhealthy", || health(&bench, "web")["Status"] == "unhealthy");
    let interval = "{{.Config.Healthcheck.Test}} {{.Config.Healthcheck.Interval}} {{.Config.Healthcheck.Retries}}";
    assert_eq!(bench.inspect("web", interval), "[CMD-SHELL echo bad; exit 3] 20000000 2");
    bench.ok(&["update", "--health-cmd", "true", "web"]);
    wait_until("it is healthy", || health(&bench, "web")["Status"] == "healthy");
    assert_eq!(bench.inspect("web", interval), "[CMD-SHELL true] 20000000 2");
    assert!(bench.ok(&["ps"]).contains("(healthy)"));
    // By hand only, and then not at all.
    bench.ok(&["update", "--health-interval", "disable", "web"]);
    bench.ok(&["healthcheck", "run", "web"]);
    bench.ok(&["update", "--no-healthcheck", "web"]);
    bench.rbox(&["healthcheck", "run", "web"]).run().refused(125, "has no defined healthcheck");
    assert!(!bench.ok(&["ps"]).contains("healthy"));
    // What follows from it changes, too: it has a keeper now.
    bench.ok(&["update", "--health-cmd", "exit 1", "--health-retries", "1", "--health-on-failure", "restart", "web"]);
    bench.ok(&["update", "--health-interval", "50ms", "web"]);
    wait_until("it was restarted", || bench.inspect("web", "{{.RestartCount}}") != "0");
    bench.ok(&["rm", "-f", "web"]);
}

#[test]
fn the_containers_end_is_no_result_of_a_check() {
    let (bench, image) = Bench::with_image();
    for way in ["kill", "stop", "end"] {
        let flags =
            ["--name", "web", "--health-cmd", "sleep 0.1", "--health-interval", "10ms", "--health-retries", "1"];
        let flags = [&flags[..], &["--health-on-failure", "restart"]].concat();
        bench.start(&flags, &image, &["sh", "-c", "trap 'exit 0' TERM; until test -e /end; do sleep 0.01; done"]);
        wait_until("it is healthy", || bench.inspect("web", "{{.State.Health.Status}}") == "healthy");
        match way {
            "end" => drop(bench.rbox(&["exec", "web", "touch", "/end"]).run()),
            way => drop(bench.ok(&[way, "web"])),
        }
        wait_until("it has ended", || bench.status("web") == "exited");
        assert_eq!(bench.inspect("web", "{{.RestartCount}} {{.State.Health.FailingStreak}}"), "0 0", "{way}");
        let events = ["events", "--since", "1h", "--until", "0s", "--filter", "event=health_status: unhealthy"];
        assert_eq!(bench.ok(&events), "", "{way}");
        // Nothing is healthy without a process (docker).
        assert_eq!(bench.ok(&["ps", "-a", "--filter", "health=unhealthy", "--format", "{{.Names}}"]), "web");
        bench.ok(&["rm", "web"]);
    }
}

#[test]
fn what_health_ends_is_not_restarted_by_a_policy() {
    let (bench, image) = Bench::with_image();
    for action in ["kill", "stop"] {
        let flags = ["--name", "web", "--health-cmd", "false", "--health-interval", "50ms", "--health-retries", "1"];
        let flags =
            [&flags[..], &["--restart", "always", "--stop-timeout", "0", "--health-on-failure", action]].concat();
        bench.start(&flags, &image, &["sleep", "1000"]);
        wait_until("it has ended", || bench.status("web") == "exited");
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(bench.inspect("web", "{{.State.Status}} {{.RestartCount}}"), "exited 0", "{action}");
        bench.ok(&["rm", "web"]);
    }
}
