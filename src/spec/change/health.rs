//! HEALTHCHECK, as the image configuration keeps it (docker image-spec v1.2, `Healthcheck`).

use serde_json::{Map, Value, json};

use super::{InvalidChange, json_words};
use crate::spec::text::printable;
use crate::spec::time::parse_duration;

/// The shortest time docker takes, in nanoseconds; 0 stands for the default.
const SHORTEST: i128 = 1_000_000;

/// Flags that are times, and their names in the configuration.
const TIMES: [(&str, &str); 4] = [
    ("--interval", "Interval"),
    ("--timeout", "Timeout"),
    ("--start-period", "StartPeriod"),
    ("--start-interval", "StartInterval"),
];

pub(super) fn parse(flags: &[String], rest: &str) -> Result<Value, InvalidChange> {
    let (kind, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let rest = rest.trim();
    let test = match kind.to_ascii_uppercase().as_str() {
        "" => return Err(InvalidChange::NoArguments("HEALTHCHECK")),
        "NONE" if rest.is_empty() && flags.is_empty() => vec!["NONE".to_owned()],
        "NONE" => return Err(InvalidChange::HealthNone),
        "CMD" => test(rest)?,
        _ => return Err(InvalidChange::HealthType(printable(kind))),
    };
    let mut check = Map::from_iter([("Test".to_owned(), json!(test))]);
    for flag in flags {
        let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
        if let Some((flag, field)) = TIMES.iter().find(|(flag, _)| *flag == name) {
            set(&mut check, field, time(flag, value)?);
        } else if name == "--retries" {
            set(&mut check, "Retries", retries(value)?);
        } else {
            return Err(InvalidChange::Flag(printable(name)));
        }
    }
    Ok(Value::Object(check))
}

/// Zero is the same as nothing.
fn set(check: &mut Map<String, Value>, field: &str, value: i64) {
    match value {
        0 => drop(check.remove(field)),
        value => drop(check.insert(field.to_owned(), json!(value))),
    }
}

fn test(rest: &str) -> Result<Vec<String>, InvalidChange> {
    let (kind, words) = match json_words(rest)? {
        Some(words) => ("CMD", words),
        None => ("CMD-SHELL", vec![rest.to_owned()]),
    };
    if words.is_empty() || words[0].is_empty() {
        return Err(InvalidChange::HealthCommand);
    }
    Ok(std::iter::once(kind.to_owned()).chain(words).collect())
}

/// Nanoseconds.
fn time(flag: &'static str, value: &str) -> Result<i64, InvalidChange> {
    let bad = |reason| InvalidChange::HealthValue { flag, value: printable(value), reason };
    let nanoseconds = parse_duration(value).map_err(|_| bad("not a duration, as 30s or 1m30s"))?.as_nanos();
    if nanoseconds != 0 && nanoseconds < SHORTEST {
        return Err(bad("cannot be less than 1ms"));
    }
    i64::try_from(nanoseconds).map_err(|_| bad("too long"))
}

fn retries(value: &str) -> Result<i64, InvalidChange> {
    let bad = |reason| InvalidChange::HealthValue { flag: "--retries", value: printable(value), reason };
    match value.parse::<i32>() {
        Ok(count) if count >= 0 => Ok(count.into()),
        Ok(_) => Err(bad("cannot be negative")),
        Err(_) => Err(bad("not a number")),
    }
}
