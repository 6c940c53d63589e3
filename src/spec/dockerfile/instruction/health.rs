//! HEALTHCHECK.

use std::time::Duration;

use super::command;
use crate::spec::dockerfile::ast::{Command, Healthcheck};
use crate::spec::dockerfile::flags::{self, Flags, Kind, Known};
use crate::spec::dockerfile::words;
use crate::spec::time::parse_duration;

/// The shortest time docker takes; 0 stands for the default.
const SHORTEST: Duration = Duration::from_millis(1);

const FLAGS: Known = &[
    ("interval", Kind::Text),
    ("timeout", Kind::Text),
    ("start-period", Kind::Text),
    ("start-interval", Kind::Text),
    ("retries", Kind::Text),
];

pub(super) fn parse(given: &[String], rest: &str) -> Result<Healthcheck, String> {
    let (kind, rest) = words::first(rest);
    match kind.to_ascii_uppercase().as_str() {
        "" => Err("HEALTHCHECK requires at least one argument".to_owned()),
        "NONE" if rest.is_empty() && given.is_empty() => Ok(Healthcheck::None),
        "NONE" => Err("HEALTHCHECK NONE takes no arguments".to_owned()),
        "CMD" => {
            let flags = flags::check(given, FLAGS)?;
            let command = command(rest)?;
            let empty = match &command {
                Command::Shell(line) => line.is_empty(),
                Command::Exec(words) => words.first().is_none_or(String::is_empty),
            };
            if empty {
                return Err("Missing command after HEALTHCHECK CMD".to_owned());
            }
            Ok(Healthcheck::Cmd {
                command,
                interval: time(&flags, "interval")?,
                timeout: time(&flags, "timeout")?,
                start_period: time(&flags, "start-period")?,
                start_interval: time(&flags, "start-interval")?,
                retries: retries(&flags)?,
            })
        }
        kind => Err(format!("Unknown type {kind:?} in HEALTHCHECK (try CMD)")),
    }
}

/// Zero is the same as nothing.
fn time(flags: &Flags, name: &str) -> Result<Option<Duration>, String> {
    let Some(value) = flags.text(name) else { return Ok(None) };
    let bad = |reason: &str| format!("invalid value for HEALTHCHECK --{name}: {value}: {reason}");
    let duration = parse_duration(&value).map_err(|_| bad("not a duration, as 30s or 1m30s"))?;
    match Duration::try_from(duration) {
        Ok(Duration::ZERO) => Ok(None),
        Ok(duration) if duration >= SHORTEST => Ok(Some(duration)),
        _ => Err(bad("cannot be less than 1ms")),
    }
}

fn retries(flags: &Flags) -> Result<Option<u32>, String> {
    let Some(value) = flags.text("retries") else { return Ok(None) };
    let bad = |reason: &str| format!("invalid value for HEALTHCHECK --retries: {value}: {reason}");
    match value.parse::<i32>() {
        Ok(0) => Ok(None),
        Ok(count) => u32::try_from(count).map(Some).map_err(|_| bad("cannot be negative")),
        Err(_) => Err(bad("not a number")),
    }
}
