//! HEALTHCHECK, as the image configuration keeps it (docker image-spec v1.2, `Healthcheck`).

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::spec::dockerfile::ast::{Command, Healthcheck};

/// The check as an image's configuration has it; times are nanoseconds.
pub(super) fn config(check: Healthcheck) -> Value {
    let Healthcheck::Cmd { command, interval, timeout, start_period, start_interval, retries } = check else {
        return json!({"Test": ["NONE"]});
    };
    let (kind, words) = match command {
        Command::Exec(words) => ("CMD", words),
        Command::Shell(line) => ("CMD-SHELL", vec![line]),
    };
    let test: Vec<String> = std::iter::once(kind.to_owned()).chain(words).collect();
    let mut config = Map::from_iter([("Test".to_owned(), json!(test))]);
    let nanoseconds = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
    let times = [
        ("Interval", interval),
        ("Timeout", timeout),
        ("StartPeriod", start_period),
        ("StartInterval", start_interval),
    ];
    for (name, time) in times {
        config.extend(time.map(|time| (name.to_owned(), json!(nanoseconds(time)))));
    }
    config.extend(retries.map(|retries| ("Retries".to_owned(), json!(retries))));
    Value::Object(config)
}
