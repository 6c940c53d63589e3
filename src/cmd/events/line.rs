//! One event as a line: docker's text, docker's JSON, or by a template with docker's and podman's fields.

use std::fmt::Write as _;

use anyhow::{Result, anyhow};
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::cmd::format::document::unparsable;
use crate::cmd::format::json::{Html, compact};
use crate::cmd::format::template::{Data, Functions, Names, Template};
use crate::cmd::format::text::clean_line;
use crate::spec::event::{Event, Subject};

/// How events are shown.
pub enum Form {
    Text(TimeZone),
    Json,
    Template(Template),
}

impl Form {
    /// Takes `--format`; empty is docker's text.
    pub fn new(format: &str) -> Result<Self> {
        Ok(match format.trim() {
            "" => Self::Text(TimeZone::system()),
            "json" | "{{json .}}" | "{{ json . }}" => Self::Json,
            source => Self::Template(Template::parse(source, Functions::Values).map_err(unparsable)?),
        })
    }

    /// The line, with its end.
    pub fn line(&self, event: &Event) -> Result<String> {
        let mut line = match self {
            Self::Text(zone) => text(event, zone),
            Self::Json => compact(&document(event), Html::Escape),
            Self::Template(template) => {
                let data = Data::new(&fields(event), Names::Struct("*events.Message"), true);
                template.render(&data).map_err(|error| anyhow!("template parsing error: {error}"))?
            }
        };
        line.push('\n');
        Ok(line)
    }
}

/// `TIME TYPE ACTION ID (KEY=VALUE, ...)`.
fn text(event: &Event, zone: &TimeZone) -> String {
    let what = &event.what;
    let time = event.time.to_zoned(zone.clone());
    let mark = if time.offset().is_zero() { "%Y-%m-%dT%H:%M:%S.%9fZ" } else { "%Y-%m-%dT%H:%M:%S.%9f%:z" };
    let mut line = format!("{} {} {} {}", time.strftime(mark), what.subject, what.action, what.id);
    let attributes: Vec<String> = what.attributes.iter().map(|(key, value)| format!("{key}={value}")).collect();
    if !attributes.is_empty() {
        // Writing to a String cannot fail.
        let _ = write!(line, " ({})", attributes.join(", "));
    }
    clean_line(&line).into_owned()
}

/// docker's message, with the fields of its first version for those subjects that had them.
fn document(event: &Event) -> Value {
    let what = &event.what;
    let mut document = json!({
        "Type": what.subject.as_str(),
        "Action": what.action,
        "Actor": { "ID": what.id, "Attributes": what.attributes },
        "scope": "local",
        "time": event.time.as_second(),
        "timeNano": event.time.as_nanosecond() as i64,
    });
    if matches!(what.subject, Subject::Container | Subject::Image) {
        document["status"] = what.action.as_str().into();
        document["id"] = what.id.as_str().into();
    }
    if let Some(image) = what.attributes.get("image").filter(|_| what.subject == Subject::Container) {
        document["from"] = image.as_str().into();
    }
    document
}

/// What templates know: docker's fields and podman's.
fn fields(event: &Event) -> Value {
    let what = &event.what;
    let attribute = |key: &str| what.attributes.get(key).cloned().unwrap_or_default();
    let image = if what.subject == Subject::Image { attribute("name") } else { attribute("image") };
    json!({
        "Type": what.subject.as_str(),
        "Action": what.action,
        "Status": what.action,
        "ID": what.id,
        "From": attribute("image"),
        "Actor": { "ID": what.id, "Attributes": what.attributes },
        "Scope": "local",
        "Time": event.time.as_second(),
        "TimeNano": event.time.as_nanosecond() as i64,
        "Name": attribute("name"),
        "Image": image,
        "Network": if what.subject == Subject::Network { attribute("name") } else { String::new() },
        "Attributes": what.attributes,
        "ContainerExitCode": attribute("exitCode").parse::<i64>().unwrap_or_default(),
        "HealthStatus": what.action.strip_prefix("health_status: ").unwrap_or_default(),
        "OOMKilled": what.action == "oom",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::event::Happening;

    fn event() -> Event {
        let what = Happening::new(Subject::Container, "die", "ab12").with("name", "ev").with("exitCode", "3");
        Event { time: "2026-11-22T00:59:23.6253681Z".parse().unwrap(), what: what.with("image", "busybox:1.29") }
    }

    #[test]
    fn lines_are_dockers() {
        let line = text(&event(), &TimeZone::UTC);
        assert_eq!(line, "2026-11-22T00:59:23.625368100Z container die ab12 (exitCode=3, image=busybox:1.29, name=ev)");
        let line = text(&event(), &TimeZone::fixed(jiff::tz::offset(2)));
        assert!(line.starts_with("2026-11-22T02:59:23.625368100+02:00 container"), "{line}");
        let json: Value = serde_json::from_str(&Form::Json.line(&event()).unwrap()).unwrap();
        assert_eq!(json["timeNano"], 1_795_309_163_625_368_100_i64);
        assert_eq!(
            [&json["status"], &json["from"], &json["Actor"]["Attributes"]["name"]],
            ["die", "busybox:1.29", "ev"]
        );
    }

    #[test]
    fn templates_know_dockers_and_podmans_fields() {
        let line = |format: &str| Form::new(format).and_then(|form| form.line(&event()));
        assert_eq!(
            line("{{.Actor.Attributes.name}} {{.Status}} {{.ContainerExitCode}} {{.Name}}").unwrap(),
            "ev die 3 ev\n"
        );
        assert!(line("{{.Nothing}}").is_err() && line("{{").is_err());
    }
}
