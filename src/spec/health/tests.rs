use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::json;

use super::request::{Interval, StartupRequest};
use super::*;
use crate::spec::image::Defaults;

const SECOND: Duration = Duration::from_secs(1);

fn image(check: serde_json::Value) -> Defaults {
    serde_json::from_value(json!({ "Healthcheck": check })).unwrap()
}

fn line(text: &str) -> HealthRequest {
    HealthRequest { test: parse_command(text), ..HealthRequest::default() }
}

fn seconds(count: i64) -> Option<SignedDuration> {
    Some(SignedDuration::from_secs(count))
}

#[test]
fn commands_are_lines_words_or_none() {
    assert_eq!(parse_command("curl -f localhost || exit 1"), ["CMD-SHELL", "curl -f localhost || exit 1"]);
    assert_eq!(parse_command(r#"["curl", "-f", "a b"]"#), ["CMD", "curl", "-f", "a b"]);
    assert_eq!(parse_command(r#"["CMD-SHELL", "true"]"#), ["CMD-SHELL", "true"]);
    assert_eq!(parse_command("[ -f /ready ]"), ["CMD-SHELL", "[ -f /ready ]"]);
    assert_eq!(parse_command("none"), ["NONE"]);
    assert!(parse_command("").is_empty());
    let check = HealthCheck { shell: vec!["/bin/ash".into(), "-ec".into()], ..HealthCheck::default() };
    let probe = |text| Probe { test: parse_command(text), ..Probe::default() };
    assert_eq!(check.command(&probe("a b")), ["/bin/ash", "-ec", "a b"]);
    assert_eq!(HealthCheck::default().command(&probe("a b")), ["/bin/sh", "-c", "a b"]);
    assert_eq!(check.command(&probe(r#"["a", "b"]"#)), ["a", "b"]);
}

#[test]
fn flags_win_over_the_image_one_by_one() {
    let of_image = image(json!({"Test": ["CMD", "old"], "Interval": 5_000_000_000_i64, "Timeout": null, "Retries": 7}));
    assert_eq!(resolve(&HealthRequest::default(), &Defaults::default()), Ok(None));
    let check = resolve(&HealthRequest::default(), &of_image).unwrap().unwrap();
    assert_eq!((check.probe.test.len(), check.probe.interval, check.probe.retries), (2, 5 * SECOND, 7));
    let request = HealthRequest { timeout: seconds(9), ..line("new") };
    let check = resolve(&request, &of_image).unwrap().unwrap();
    assert_eq!(check.probe.test, ["CMD-SHELL", "new"]);
    assert_eq!((check.probe.interval, check.probe.timeout, check.probe.retries), (5 * SECOND, 9 * SECOND, 7));
    let off = HealthRequest { disabled: true, ..HealthRequest::default() };
    assert!(!resolve(&off, &of_image).unwrap().unwrap().is_set());
    assert!(!resolve(&line("none"), &of_image).unwrap().unwrap().is_set());
    let document = serde_json::to_value(&check.probe).unwrap();
    assert_eq!(document["Timeout"], 9_000_000_000_i64);
    assert!(document.get("StartPeriod").is_none());
    let manual = HealthRequest { interval: Some(Interval::Disabled), ..HealthRequest::default() };
    assert!(resolve(&manual, &of_image).unwrap().unwrap().manual);
}

#[test]
fn an_update_leaves_what_it_does_not_name() {
    let startup = StartupRequest { test: parse_command("up"), retries: Some(4), ..StartupRequest::default() };
    let asked = HealthRequest {
        timeout: seconds(9),
        on_failure: Some("kill".to_owned()),
        startup,
        log_count: Some(2),
        ..line("old")
    };
    let old = resolve(&asked, &Defaults::default()).unwrap().unwrap();
    let new = update(&HealthRequest { retries: Some(8), ..line("new") }, Some(&old)).unwrap();
    let probe = Probe { test: parse_command("new"), retries: 8, ..old.probe.clone() };
    assert_eq!(new, HealthCheck { probe, ..old.clone() });
    let later = StartupRequest { successes: Some(3), ..StartupRequest::default() };
    let new = update(&HealthRequest { startup: later, ..HealthRequest::default() }, Some(&old)).unwrap();
    let expected = StartupCheck { successes: 3, ..old.startup.clone().unwrap() };
    assert_eq!(new, HealthCheck { startup: Some(expected), ..old.clone() });
    let disabled = HealthRequest { disabled: true, ..HealthRequest::default() };
    for none in [line("none"), disabled] {
        assert!(!update(&none, Some(&old)).unwrap().is_set());
    }
    let only = HealthRequest { retries: Some(1), ..HealthRequest::default() };
    assert_eq!(update(&only, None), Err(InvalidHealth::NoCommand));
}

#[test]
fn refusals_are_dockers() {
    let refused = |request: HealthRequest| resolve(&request, &Defaults::default()).unwrap_err().to_string();
    assert_eq!(
        refused(HealthRequest { disabled: true, ..line("x") }),
        "--no-healthcheck conflicts with --health-* options"
    );
    let negative = HealthRequest { interval: Some(Interval::Every(SignedDuration::from_secs(-1))), ..line("x") };
    assert_eq!(refused(negative), "--health-interval cannot be negative");
    assert_eq!(refused(HealthRequest { retries: Some(-1), ..line("x") }), "--health-retries cannot be negative");
    let short = HealthRequest { start_interval: Some(SignedDuration::from_micros(999)), ..line("x") };
    assert_eq!(refused(short), "StartInterval in Healthcheck cannot be less than 1ms");
    let huge = HealthRequest { retries: Some(i64::MAX), ..line("x") };
    assert!(refused(huge).starts_with("--health-retries 9223372036854775807 is more"));
    let action = |word: &str, request| HealthRequest { on_failure: Some(word.to_owned()), ..request };
    assert!(refused(action("explode", line("x"))).contains("supported actions are none, kill, restart, stop"));
    let nothing = HealthRequest { retries: Some(1), ..HealthRequest::default() };
    assert_eq!(refused(action("kill", nothing)), "cannot set on-failure action to kill without a health check");
    let place = HealthRequest { log_destination: Some("relative".to_owned()), ..line("x") };
    assert!(refused(place).contains("\"relative\""));
    let startup = StartupRequest { retries: Some(2), ..StartupRequest::default() };
    assert!(refused(HealthRequest { startup, ..line("x") }).contains("--health-startup-cmd"));
    let startup = StartupRequest { test: parse_command("x"), ..StartupRequest::default() };
    assert!(refused(HealthRequest { startup, ..HealthRequest::default() }).contains("--health-cmd"));
    for bad in [json!({"Test": 3}), json!({"Interval": -5}), json!("x"), json!({"Retries": -1})] {
        let error = resolve(&HealthRequest::default(), &image(bad.clone())).unwrap_err();
        assert!(matches!(error, InvalidHealth::Image(_)), "{bad}");
    }
    let error = resolve(&HealthRequest::default(), &image(json!({"Test": ["CMD", "x"], "Interval": 5}))).unwrap_err();
    assert_eq!(error.to_string(), "Interval in Healthcheck cannot be less than 1ms");
}

/// A container's health in made-up time.
struct Trial {
    check: HealthCheck,
    health: Health,
    age: Duration,
}

impl Trial {
    fn of(request: &HealthRequest) -> Self {
        let check = resolve(request, &Defaults::default()).unwrap().unwrap();
        Self { check, health: Health::at_start(None), age: Duration::ZERO }
    }

    /// Waits as long as it has to and takes a result that takes no time.
    fn next(&mut self, exit_code: i32) -> Verdict {
        self.age += self.health.pause(&self.check, self.age);
        let moment = Timestamp::UNIX_EPOCH + self.age;
        let output = format!("{exit_code}");
        self.health.record(&self.check, CheckResult { start: moment, end: moment, exit_code, output }, self.age)
    }
}

#[test]
fn any_success_heals_and_so_many_failures_in_a_row_do_not() {
    let mut trial =
        Trial::of(&HealthRequest { interval: Some(Interval::Every(SignedDuration::from_secs(2))), ..line("x") });
    let expected = [
        (1, Status::Starting, 1),
        (1, Status::Starting, 2),
        (0, Status::Healthy, 0),
        (1, Status::Healthy, 1),
        (-1, Status::Healthy, 2),
        (0, Status::Healthy, 0),
        (2, Status::Healthy, 1),
        (1, Status::Healthy, 2),
        (1, Status::Unhealthy, 3),
        (1, Status::Unhealthy, 4),
        (0, Status::Healthy, 0),
    ];
    let mut before = Status::Starting;
    for (code, status, streak) in expected {
        let verdict = trial.next(code);
        assert_eq!((trial.health.status, trial.health.failing_streak), (status, streak));
        assert_eq!(verdict, Verdict { changed: status != before, action: OnFailure::None });
        before = status;
    }
    assert_eq!(trial.age, 22 * SECOND, "one interval before each, the first too");
    let kept: Vec<&str> = trial.health.log.iter().map(|result| result.output.as_str()).collect();
    assert_eq!(kept, ["2", "1", "1", "1", "0"], "the last five, oldest first");
    let again = Health::at_start(Some(trial.health));
    assert_eq!((again.status, again.failing_streak, again.log.len()), (Status::Starting, 0, 5));
}

#[test]
fn failures_while_a_container_starts_do_not_count() {
    let request = HealthRequest {
        start_period: seconds(12),
        retries: Some(2),
        interval: Some(Interval::Every(SignedDuration::from_secs(60))),
        ..line("x")
    };
    let mut trial = Trial::of(&request);
    trial.next(1);
    trial.next(1);
    assert_eq!((trial.age, trial.health.failing_streak), (10 * SECOND, 0), "five seconds while it starts");
    trial.next(1);
    assert_eq!((trial.age, trial.health.failing_streak), (15 * SECOND, 1), "the third began after the period");
    trial.next(1);
    assert_eq!((trial.age, trial.health.status), (75 * SECOND, Status::Unhealthy));

    let mut trial = Trial::of(&request);
    trial.next(0);
    assert_eq!(trial.health.status, Status::Healthy);
    trial.next(1);
    assert_eq!((trial.age, trial.health.failing_streak), (65 * SECOND, 1), "once healthy it does not start any more");
}

#[test]
fn an_unhealthy_container_is_dealt_with() {
    let mut trial = Trial::of(&HealthRequest { retries: Some(1), on_failure: Some("stop".to_owned()), ..line("x") });
    assert_eq!(trial.next(0).action, OnFailure::None);
    assert_eq!(trial.next(1), Verdict { changed: true, action: OnFailure::Stop });
    assert_eq!(trial.next(1), Verdict { changed: false, action: OnFailure::Stop });
    assert_eq!(trial.next(0).action, OnFailure::None);
}

#[test]
fn the_startup_check_comes_first() {
    let startup = StartupRequest {
        test: parse_command("early"),
        interval: Some(Interval::Every(SignedDuration::from_secs(1))),
        retries: Some(3),
        successes: Some(2),
        ..StartupRequest::default()
    };
    let mut trial = Trial::of(&HealthRequest { startup, ..line("late") });
    let wanted = |trial: &Trial| trial.health.probe(&trial.check).test[1].clone();
    for (code, next) in [(1, "early"), (0, "early"), (1, "early"), (0, "early"), (0, "late")] {
        assert_eq!(trial.next(code), Verdict { changed: false, action: OnFailure::None });
        assert_eq!(wanted(&trial), next);
        assert_eq!((trial.health.status, trial.health.failing_streak), (Status::Starting, 0));
    }
    assert_eq!(trial.age, 5 * SECOND);
    assert!(trial.next(0).changed);
    assert_eq!((trial.age, trial.health.status), (35 * SECOND, Status::Healthy));

    let startup = StartupRequest { test: parse_command("early"), retries: Some(2), ..StartupRequest::default() };
    let mut trial = Trial::of(&HealthRequest { startup, ..line("late") });
    assert_eq!(trial.next(1).action, OnFailure::None);
    assert_eq!(trial.next(1).action, OnFailure::Restart);
}

#[test]
fn records_read_back_and_all_results_can_be_kept() {
    let mut trial = Trial::of(&HealthRequest { log_count: Some(0), ..line("x") });
    for _ in 0..20 {
        trial.next(0);
    }
    assert_eq!(trial.health.log.len(), 20);
    let text = serde_json::to_string(&trial.health).unwrap();
    assert_eq!(serde_json::from_str::<Health>(&text).unwrap(), trial.health);
    assert!(text.contains(r#""ExitCode":0"#));
    let check = serde_json::to_string(&trial.check).unwrap();
    assert_eq!(serde_json::from_str::<HealthCheck>(&check).unwrap(), trial.check);
}
