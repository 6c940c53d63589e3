//! `--restart`: what becomes of a container that has ended. docker's policies, and its pauses before a
//! restart: 100 ms, doubled each time up to a minute, and from the beginning after ten seconds of
//! running. The clock is the caller's.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::text::printable;

/// The pause before the first restart.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A container that ran as long as this starts with the first pause again.
const LONG_RUN: Duration = Duration::from_secs(10);

/// When a container that ended is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RestartPolicy {
    #[default]
    No,
    /// When its exit code is not 0; at most so many times, 0 means without limit.
    OnFailure { retries: u32 },
    /// Whatever its exit code, and at boot.
    Always,
    /// As always, but not at boot if its user had stopped it.
    UnlessStopped,
}

/// Why a text is no restart policy, in docker's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPolicy {
    #[error("invalid restart policy format: no policy provided before colon")]
    NoName,
    #[error("invalid restart policy format: maximum retry count must be an integer")]
    Count,
    #[error("invalid restart policy: maximum retry count cannot be negative")]
    NegativeCount,
    #[error("invalid restart policy: maximum retry count cannot be used with restart policy '{0}'")]
    CountNotUsed(&'static str),
    #[error(
        "invalid restart policy: unknown policy '{0}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
    )]
    Unknown(String),
}

impl RestartPolicy {
    /// docker's name of it, without the count.
    pub fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::OnFailure { .. } => "on-failure",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
        }
    }

    /// How often it is started again at most; 0 means that nothing limits it.
    pub fn maximum_retry_count(self) -> u32 {
        match self {
            Self::OnFailure { retries } => retries,
            _ => 0,
        }
    }

    /// Whether containers of this policy are ever started again.
    pub fn restarts(self) -> bool {
        self != Self::No
    }

    /// Whether a container that is found at rest after a boot is to be started.
    pub fn starts_at_boot(self, rest: &Rest) -> bool {
        match self {
            Self::No => false,
            Self::Always => true,
            Self::UnlessStopped => !rest.stopped,
            Self::OnFailure { .. } => !rest.stopped && self.wants_again(rest.code, rest.restarts),
        }
    }

    fn wants_again(self, code: i32, restarts: u32) -> bool {
        match self {
            Self::No => false,
            Self::OnFailure { retries } => code != 0 && (retries == 0 || restarts < retries),
            Self::Always | Self::UnlessStopped => true,
        }
    }
}

impl fmt::Display for RestartPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OnFailure { retries } if *retries > 0 => write!(f, "on-failure:{retries}"),
            other => f.write_str(other.name()),
        }
    }
}

impl FromStr for RestartPolicy {
    type Err = InvalidPolicy;

    /// `no` (podman: `never`), `always`, `unless-stopped`, `on-failure[:COUNT]`; empty is `no`.
    fn from_str(text: &str) -> Result<Self, InvalidPolicy> {
        let (name, count) = match text.split_once(':') {
            Some(("", _)) => return Err(InvalidPolicy::NoName),
            Some((name, count)) => (name, count),
            None => (text, ""),
        };
        let count = match count {
            "" => 0,
            digits => digits.parse::<i64>().map_err(|_| InvalidPolicy::Count)?,
        };
        let policy = match name {
            "" | "no" | "never" => Self::No,
            "always" => Self::Always,
            "unless-stopped" => Self::UnlessStopped,
            "on-failure" if count < 0 => return Err(InvalidPolicy::NegativeCount),
            "on-failure" => return Ok(Self::OnFailure { retries: u32::try_from(count).unwrap_or(u32::MAX) }),
            other => return Err(InvalidPolicy::Unknown(printable(other))),
        };
        match count {
            0 => Ok(policy),
            _ => Err(InvalidPolicy::CountNotUsed(policy.name())),
        }
    }
}

impl TryFrom<String> for RestartPolicy {
    type Error = InvalidPolicy;

    fn try_from(text: String) -> Result<Self, InvalidPolicy> {
        text.parse()
    }
}

impl From<RestartPolicy> for String {
    fn from(policy: RestartPolicy) -> Self {
        policy.to_string()
    }
}

/// A container at rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest {
    pub code: i32,
    /// Its user has stopped it.
    pub stopped: bool,
    /// How often it was started again since its user started it.
    pub restarts: u32,
}

/// How a container ended, or failed to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    pub code: i32,
    /// Its user has stopped it.
    pub stopped: bool,
    /// None if it was not even started.
    pub started: Option<Timestamp>,
    pub ended: Timestamp,
}

/// The restarts of a container since its user started it: what is remembered from one to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restarts {
    pub count: u32,
    /// The last pause; none yet, or none since it ran for long, is 0.
    #[serde(default)]
    pub pause_ms: u64,
}

impl Restarts {
    /// What follows an end: the next restart with the pause before it, or None when that was all.
    pub fn after(self, policy: RestartPolicy, end: &End) -> Option<Self> {
        if end.stopped || !policy.wants_again(end.code, self.count) {
            return None;
        }
        let ran = end.started.map_or(Duration::ZERO, |started| since(started, end.ended));
        let last = if ran >= LONG_RUN { Duration::ZERO } else { Duration::from_millis(self.pause_ms) };
        let pause = if last.is_zero() { FIRST_PAUSE } else { last.saturating_mul(2).min(LONGEST_PAUSE) };
        Some(Self { count: self.count.saturating_add(1), pause_ms: u64::try_from(pause.as_millis()).unwrap_or(0) })
    }

    /// How long it is until the restart after an end; not longer than the pause, whatever the clocks say.
    pub fn left(self, ended: Timestamp, now: Timestamp) -> Duration {
        let pause = Duration::from_millis(self.pause_ms).min(LONGEST_PAUSE);
        if now < ended { pause } else { pause.saturating_sub(since(ended, now)) }
    }
}

/// From one moment to a later one; nothing if it is not later.
fn since(earlier: Timestamp, later: Timestamp) -> Duration {
    Duration::try_from(later.duration_since(earlier)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    const FOREVER: RestartPolicy = RestartPolicy::OnFailure { retries: 0 };

    /// A clock that goes on when told.
    struct Clock(Timestamp);

    impl Clock {
        fn new() -> Self {
            Self("2026-01-02T03:04:05Z".parse().unwrap())
        }

        fn advance(&mut self, milliseconds: i64) -> Timestamp {
            self.0 += SignedDuration::from_millis(milliseconds);
            self.0
        }
    }

    /// Runs for that long, ends with `code`, and pauses; the pause in milliseconds.
    fn live(restarts: &mut Restarts, policy: RestartPolicy, clock: &mut Clock, ran: i64, code: i32) -> Option<u64> {
        let started = clock.0;
        let ended = clock.advance(ran);
        let next = restarts.after(policy, &End { code, stopped: false, started: Some(started), ended })?;
        *restarts = next;
        let left = next.left(ended, clock.0);
        assert_eq!(left, Duration::from_millis(next.pause_ms));
        clock.advance(i64::try_from(next.pause_ms).unwrap());
        assert_eq!(next.left(ended, clock.0), Duration::ZERO);
        Some(next.pause_ms)
    }

    #[test]
    fn policies_are_dockers_words() {
        let good = [
            ("", RestartPolicy::No, "no"),
            ("no", RestartPolicy::No, "no"),
            ("never", RestartPolicy::No, "no"),
            ("always", RestartPolicy::Always, "always"),
            ("always:0", RestartPolicy::Always, "always"),
            ("unless-stopped", RestartPolicy::UnlessStopped, "unless-stopped"),
            ("on-failure", FOREVER, "on-failure"),
            ("on-failure:", FOREVER, "on-failure"),
            ("on-failure:0", FOREVER, "on-failure"),
            ("on-failure:3", RestartPolicy::OnFailure { retries: 3 }, "on-failure:3"),
        ];
        for (text, policy, shown) in good {
            assert_eq!(text.parse::<RestartPolicy>(), Ok(policy), "{text}");
            assert_eq!(policy.to_string(), shown);
            let record = serde_json::to_string(&policy).unwrap();
            assert_eq!(serde_json::from_str::<RestartPolicy>(&record).unwrap(), policy);
        }
    }

    #[test]
    fn refusals_are_dockers_too() {
        let bad = [
            (":3", "invalid restart policy format: no policy provided before colon"),
            ("on-failure:x", "invalid restart policy format: maximum retry count must be an integer"),
            ("on-failure:1:2", "invalid restart policy format: maximum retry count must be an integer"),
            ("on-failure:-1", "invalid restart policy: maximum retry count cannot be negative"),
            ("always:3", "invalid restart policy: maximum retry count cannot be used with restart policy 'always'"),
            (
                "foo",
                "invalid restart policy: unknown policy 'foo'; use one of 'no', 'always', 'on-failure', or \
                 'unless-stopped'",
            ),
            (
                "Always",
                "invalid restart policy: unknown policy 'Always'; use one of 'no', 'always', 'on-failure', or \
                 'unless-stopped'",
            ),
        ];
        for (text, error) in bad {
            assert_eq!(text.parse::<RestartPolicy>().unwrap_err().to_string(), error);
        }
    }

    #[test]
    fn the_pause_doubles_to_a_minute() {
        let (mut restarts, mut clock) = (Restarts::default(), Clock::new());
        let pauses: Vec<u64> =
            (0..13).map(|_| live(&mut restarts, RestartPolicy::Always, &mut clock, 5, 1).unwrap()).collect();
        assert_eq!(
            pauses,
            [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000, 60000],
            "as docker has it"
        );
        assert_eq!(restarts.count, 13);
    }

    #[test]
    fn ten_seconds_of_running_begin_it_anew() {
        let (mut restarts, mut clock) = (Restarts::default(), Clock::new());
        let runs = [(5, 100), (9_999, 200), (10_000, 100), (5, 200), (86_400_000, 100), (0, 200)];
        for (ran, pause) in runs {
            assert_eq!(live(&mut restarts, RestartPolicy::Always, &mut clock, ran, 0), Some(pause), "{ran}");
        }
        assert_eq!(restarts.count, 6, "the count goes on");
    }

    #[test]
    fn failures_are_counted() {
        let (mut restarts, mut clock) = (Restarts::default(), Clock::new());
        let policy = RestartPolicy::OnFailure { retries: 2 };
        assert_eq!(live(&mut restarts, policy, &mut clock, 5, 0), None, "no failure");
        assert_eq!(live(&mut restarts, policy, &mut clock, 5, 1), Some(100));
        assert_eq!(live(&mut restarts, policy, &mut clock, 60_000, 137), Some(100));
        assert_eq!(live(&mut restarts, policy, &mut clock, 5, 1), None, "twice is enough");
        assert_eq!(live(&mut restarts, FOREVER, &mut clock, 5, 143), Some(200));
        assert_eq!(live(&mut restarts, RestartPolicy::No, &mut clock, 5, 1), None);
    }

    #[test]
    fn what_its_user_stopped_stays_so() {
        let now = Clock::new().0;
        for policy in [FOREVER, RestartPolicy::Always, RestartPolicy::UnlessStopped] {
            let end = End { code: 1, stopped: true, started: Some(now), ended: now };
            assert_eq!(Restarts::default().after(policy, &end), None);
        }
    }

    #[test]
    fn a_failed_start_is_a_failure_at_once() {
        let now = Clock::new().0;
        let end = End { code: 127, stopped: false, started: None, ended: now };
        let second = Restarts { count: 4, pause_ms: 800 }.after(FOREVER, &end);
        assert_eq!(second, Some(Restarts { count: 5, pause_ms: 1600 }));
    }

    #[test]
    fn clocks_that_jump_do_no_harm() {
        let mut clock = Clock::new();
        let ended = clock.0;
        let restarts = Restarts { count: 1, pause_ms: 400 };
        let before = clock.advance(-3_600_000);
        assert_eq!(restarts.left(ended, before), Duration::from_millis(400));
        assert_eq!(restarts.left(before, ended), Duration::ZERO);
        let backwards = End { code: 1, stopped: false, started: Some(ended), ended: before };
        assert_eq!(restarts.after(FOREVER, &backwards), Some(Restarts { count: 2, pause_ms: 800 }));
        let huge = Restarts { count: u32::MAX, pause_ms: u64::MAX };
        assert_eq!(huge.left(ended, ended), Duration::from_secs(60));
        let next = huge.after(FOREVER, &End { ended, ..backwards }).unwrap();
        assert_eq!(next, Restarts { count: u32::MAX, pause_ms: 60_000 });
    }

    #[test]
    fn at_boot_as_docker_has_it() {
        let rest = |code, stopped, restarts| Rest { code, stopped, restarts };
        let cases = [
            (RestartPolicy::No, rest(1, false, 0), false),
            (RestartPolicy::Always, rest(0, true, 0), true),
            (RestartPolicy::UnlessStopped, rest(0, false, 0), true),
            (RestartPolicy::UnlessStopped, rest(137, true, 0), false),
            (FOREVER, rest(137, false, 9), true),
            (FOREVER, rest(0, false, 0), false),
            (FOREVER, rest(143, true, 0), false),
            (RestartPolicy::OnFailure { retries: 2 }, rest(1, false, 1), true),
            (RestartPolicy::OnFailure { retries: 2 }, rest(1, false, 2), false),
        ];
        for (policy, rest, expected) in cases {
            assert_eq!(policy.starts_at_boot(&rest), expected, "{policy} {rest:?}");
        }
    }
}
