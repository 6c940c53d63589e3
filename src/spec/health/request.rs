//! From an image's HEALTHCHECK and `--health-*` to a [`HealthCheck`]: docker's merging and its refusals.

use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;

use super::{Destination, HealthCheck, OnFailure, Probe, Results, StartupCheck};
use crate::spec::image::Defaults;
use crate::spec::text::printable;
use crate::spec::time::parse_duration;

/// docker's shortest time.
const SHORTEST: Duration = Duration::from_millis(1);

/// What the flags ask for; what is None or empty was not given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthRequest {
    /// `--no-healthcheck`.
    pub disabled: bool,
    /// docker's `Test`.
    pub test: Vec<String>,
    pub interval: Option<Interval>,
    pub timeout: Option<SignedDuration>,
    pub start_period: Option<SignedDuration>,
    pub start_interval: Option<SignedDuration>,
    pub retries: Option<i64>,
    pub on_failure: Option<String>,
    pub startup: StartupRequest,
    pub log_destination: Option<String>,
    pub log_count: Option<usize>,
    pub log_size: Option<usize>,
}

/// `--health-startup-*`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StartupRequest {
    pub test: Vec<String>,
    pub interval: Option<Interval>,
    pub timeout: Option<SignedDuration>,
    pub retries: Option<i64>,
    pub successes: Option<i64>,
}

/// A time between checks, or podman's `disable`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interval {
    Every(SignedDuration),
    Disabled,
}

/// Why a health check can't be had; docker's words where it has them.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidHealth {
    #[error("--no-healthcheck conflicts with --health-* options")]
    Conflict,
    #[error("{0} cannot be negative")]
    Negative(&'static str),
    #[error("{0} in Healthcheck cannot be less than 1ms")]
    TooShort(&'static str),
    #[error("{flag} {value} is more than a number of checks can be")]
    TooMany { flag: &'static str, value: i64 },
    #[error("the image's HEALTHCHECK cannot be used: {0}")]
    Image(String),
    #[error("invalid on-failure action {0:?} for health check: supported actions are none, kill, restart, stop")]
    OnFailure(String),
    #[error("cannot set on-failure action to {0} without a health check")]
    NothingFails(OnFailure),
    #[error("a startup health check needs a regular one: add --health-cmd")]
    NothingFollows,
    #[error("the container has no health check to change: add --health-cmd")]
    NoCommand,
    #[error("the health check {0:?} has no command")]
    Empty(Vec<String>),
    #[error("--health-startup-* options need --health-startup-cmd")]
    NoStartupCommand,
    #[error("invalid health log destination {0:?}: expected local, events_logger or an absolute directory")]
    Destination(String),
}

/// `--health-cmd`: a line for the shell, podman's JSON list of words, or `none`.
pub fn parse_command(text: &str) -> Vec<String> {
    let words: Option<Vec<String>> = text.starts_with('[').then(|| serde_json::from_str(text).ok()).flatten();
    let test = |kind: &str, rest: Vec<String>| std::iter::once(kind.to_owned()).chain(rest).collect();
    match words {
        _ if text.eq_ignore_ascii_case("none") => vec!["NONE".to_owned()],
        Some(words) if matches!(words.first().map(String::as_str), Some("CMD" | "CMD-SHELL" | "NONE")) => words,
        Some(words) if !words.is_empty() => test("CMD", words),
        _ if text.is_empty() => Vec::new(),
        _ => test("CMD-SHELL", vec![text.to_owned()]),
    }
}

/// `--health-interval`: a duration, or `disable`.
pub fn parse_interval(text: &str) -> Result<Interval, crate::spec::time::InvalidDuration> {
    match text {
        "disable" => Ok(Interval::Disabled),
        _ => parse_duration(text).map(Interval::Every),
    }
}

/// What a container of this image gets. None where neither says anything.
pub fn resolve(request: &HealthRequest, image: &Defaults) -> Result<Option<HealthCheck>, InvalidHealth> {
    if request.disabled {
        return disabled(request).map(Some);
    }
    let of_image = of_image(image)?;
    if *request == HealthRequest::default() && of_image.is_none() {
        return Ok(None);
    }
    let base = HealthCheck { probe: of_image.unwrap_or_default(), shell: shell(image), ..HealthCheck::default() };
    apply(request, base).map(Some)
}

/// What a container's check becomes by `update`; what was not asked for stays.
pub fn update(request: &HealthRequest, now: Option<&HealthCheck>) -> Result<HealthCheck, InvalidHealth> {
    if request.disabled {
        return disabled(request);
    }
    let none = request.test.first().is_some_and(|kind| kind == "NONE");
    let base = now.filter(|_| !none).cloned().unwrap_or_default();
    match apply(request, base)? {
        check if check.is_set() || none => Ok(check),
        _ => Err(InvalidHealth::NoCommand),
    }
}

fn disabled(request: &HealthRequest) -> Result<HealthCheck, InvalidHealth> {
    if *request != (HealthRequest { disabled: true, ..HealthRequest::default() }) {
        return Err(InvalidHealth::Conflict);
    }
    let none = Probe { test: vec!["NONE".to_owned()], ..Probe::default() };
    Ok(HealthCheck { probe: none, ..HealthCheck::default() })
}

fn apply(request: &HealthRequest, base: HealthCheck) -> Result<HealthCheck, InvalidHealth> {
    check_command(&request.test)?;
    check_command(&request.startup.test)?;
    let check = HealthCheck {
        probe: merge(probe(request)?, base.probe),
        shell: base.shell,
        manual: request.interval.map_or(base.manual, |interval| interval == Interval::Disabled),
        on_failure: request.on_failure.as_deref().map_or(Ok(base.on_failure), on_failure)?,
        startup: startup(&request.startup, base.startup)?,
        results: results(request, base.results)?,
    };
    check_lengths(&check.probe)?;
    if !check.is_set() && check.on_failure != OnFailure::None {
        return Err(InvalidHealth::NothingFails(check.on_failure));
    }
    if !check.is_set() && check.startup.is_some() {
        return Err(InvalidHealth::NothingFollows);
    }
    Ok(check)
}

/// The image's own. docker's images keep times as numbers that may be anything.
fn of_image(image: &Defaults) -> Result<Option<Probe>, InvalidHealth> {
    let Some(value) = image.rest.get("Healthcheck").filter(|value| !value.is_null()) else { return Ok(None) };
    let probe = serde_json::from_value(value.clone());
    probe.map(Some).map_err(|error| InvalidHealth::Image(printable(&error.to_string())))
}

fn shell(image: &Defaults) -> Vec<String> {
    let shell = image.rest.get("Shell").cloned();
    shell.and_then(|shell| serde_json::from_value(shell).ok()).unwrap_or_default()
}

fn probe(request: &HealthRequest) -> Result<Probe, InvalidHealth> {
    Ok(Probe {
        test: request.test.clone(),
        interval: interval("--health-interval", request.interval)?,
        timeout: duration("--health-timeout", request.timeout)?,
        start_period: duration("--health-start-period", request.start_period)?,
        start_interval: duration("--health-start-interval", request.start_interval)?,
        retries: count("--health-retries", request.retries)?,
    })
}

/// What was not asked for is as before.
fn merge(asked: Probe, base: Probe) -> Probe {
    Probe {
        test: if asked.test.is_empty() { base.test } else { asked.test },
        interval: super::or(asked.interval, base.interval),
        timeout: super::or(asked.timeout, base.timeout),
        start_period: super::or(asked.start_period, base.start_period),
        start_interval: super::or(asked.start_interval, base.start_interval),
        retries: if asked.retries == 0 { base.retries } else { asked.retries },
    }
}

fn startup(request: &StartupRequest, base: Option<StartupCheck>) -> Result<Option<StartupCheck>, InvalidHealth> {
    if *request == StartupRequest::default() {
        return Ok(base);
    }
    if request.test.is_empty() && base.is_none() {
        return Err(InvalidHealth::NoStartupCommand);
    }
    let base = base.unwrap_or_else(|| StartupCheck { probe: Probe::default(), successes: 1 });
    let asked = Probe {
        test: request.test.clone(),
        interval: interval("--health-startup-interval", request.interval)?,
        timeout: duration("--health-startup-timeout", request.timeout)?,
        retries: count("--health-startup-retries", request.retries)?,
        ..Probe::default()
    };
    let probe = merge(asked, base.probe);
    check_lengths(&probe)?;
    let successes = match count("--health-startup-success", request.successes)? {
        0 => base.successes,
        given => given,
    };
    Ok(probe.is_set().then_some(StartupCheck { probe, successes }))
}

fn results(request: &HealthRequest, base: Results) -> Result<Results, InvalidHealth> {
    let destination = match request.log_destination.as_deref() {
        None => base.destination,
        Some("local") => Destination::Local,
        Some("events_logger") => Destination::Events,
        Some(path) if path.starts_with('/') => Destination::Directory(PathBuf::from(path)),
        Some(other) => return Err(InvalidHealth::Destination(printable(other))),
    };
    Ok(Results {
        destination,
        count: request.log_count.unwrap_or(base.count),
        size: request.log_size.unwrap_or(base.size),
    })
}

fn on_failure(word: &str) -> Result<OnFailure, InvalidHealth> {
    Ok(match word {
        "none" => OnFailure::None,
        "kill" => OnFailure::Kill,
        "restart" => OnFailure::Restart,
        "stop" => OnFailure::Stop,
        other => return Err(InvalidHealth::OnFailure(printable(other))),
    })
}

/// Of words that were asked for; the empty ones mean that nothing was.
fn check_command(test: &[String]) -> Result<(), InvalidHealth> {
    let says_nothing = test.get(1).is_none_or(String::is_empty);
    match test.first().map(String::as_str) {
        Some("CMD" | "CMD-SHELL") if says_nothing => {
            Err(InvalidHealth::Empty(test.iter().map(|word| printable(word)).collect()))
        }
        _ => Ok(()),
    }
}

fn check_lengths(probe: &Probe) -> Result<(), InvalidHealth> {
    let times = [
        ("Interval", probe.interval),
        ("Timeout", probe.timeout),
        ("StartPeriod", probe.start_period),
        ("StartInterval", probe.start_interval),
    ];
    match times.into_iter().find(|(_, time)| !time.is_zero() && *time < SHORTEST) {
        Some((name, _)) => Err(InvalidHealth::TooShort(name)),
        None => Ok(()),
    }
}

fn interval(flag: &'static str, value: Option<Interval>) -> Result<Duration, InvalidHealth> {
    match value {
        Some(Interval::Every(time)) => duration(flag, Some(time)),
        Some(Interval::Disabled) | None => Ok(Duration::ZERO),
    }
}

fn duration(flag: &'static str, value: Option<SignedDuration>) -> Result<Duration, InvalidHealth> {
    value.unwrap_or_default().try_into().map_err(|_| InvalidHealth::Negative(flag))
}

fn count(flag: &'static str, value: Option<i64>) -> Result<u32, InvalidHealth> {
    match value.unwrap_or_default() {
        negative if negative < 0 => Err(InvalidHealth::Negative(flag)),
        value => u32::try_from(value).map_err(|_| InvalidHealth::TooMany { flag, value }),
    }
}
