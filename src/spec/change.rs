//! `--change` of `commit` and `import`: Dockerfile instructions that change an image's
//! configuration without running anything. Grammar, rules and messages are docker's (its
//! `BuildFromConfig`); podman's `CMD=...` is read too.

mod health;
mod line;
#[cfg(test)]
mod tests;
mod word;

pub(super) use word::expand as expand_word;

use serde_json::{Value, json};

use super::create::parse_expose;
use super::env::{self, EnvChange};
use super::image::{Defaults, ImageConfig};
use super::signal::Signal;
use super::text::printable;
use line::Line;

/// The instructions that change only a configuration, as typed in messages of docker.
const INSTRUCTIONS: [&str; 11] = [
    "CMD",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "HEALTHCHECK",
    "LABEL",
    "ONBUILD",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// What runs the shell form of a command.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// Why a change can't be made.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidChange {
    #[error("{0} is not a valid change command")]
    Instruction(String),
    #[error("unknown flag: {0}")]
    Flag(String),
    #[error("{0} requires at least one argument")]
    NoArguments(&'static str),
    #[error("{0} requires exactly one argument")]
    OneArgument(&'static str),
    #[error("{0} must have two arguments")]
    TwoArguments(&'static str),
    #[error("{0} names can not be blank")]
    BlankName(&'static str),
    #[error("Syntax error - can't find = in {0:?}. Must be of the form: name=value")]
    NoEqualsSign(String),
    #[error("when using JSON array syntax, arrays must be comprised of strings only")]
    NotStrings,
    #[error("failed to process {word:?}: {reason}")]
    Word { word: String, reason: String },
    #[error("invalid containerPort: {0}")]
    Port(String),
    #[error("VOLUME specified can not be an empty string")]
    EmptyVolume,
    #[error("invalid signal: {0}")]
    Signal(String),
    #[error("Unknown type {0:?} in HEALTHCHECK (try CMD)")]
    HealthType(String),
    #[error("Missing command after HEALTHCHECK CMD")]
    HealthCommand,
    #[error("HEALTHCHECK NONE takes no arguments")]
    HealthNone,
    #[error("invalid value for HEALTHCHECK {flag}: {value}: {reason}")]
    HealthValue { flag: &'static str, value: String, reason: &'static str },
    #[error("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")]
    OnbuildChain,
    #[error("{0} isn't allowed as an ONBUILD trigger")]
    OnbuildTrigger(String),
    #[error("NUL byte in a change")]
    Nul,
}

/// Makes the changes, in their order, as one Dockerfile: an instruction may go on over several lines
/// and one change may hold several instructions. Variables are the configuration's own. On an error
/// nothing was changed.
pub fn apply(config: &mut ImageConfig, changes: &[String]) -> Result<(), InvalidChange> {
    let mut target = Target { defaults: config.config.clone(), cmd_set: false };
    for line in line::lines(&changes.join("\n"))? {
        target.make(&line)?;
    }
    config.config = target.defaults;
    Ok(())
}

/// A configuration being changed.
struct Target {
    defaults: Defaults,
    /// A CMD of the same changes survives an ENTRYPOINT after it; the image's does not.
    cmd_set: bool,
}

impl Target {
    fn make(&mut self, line: &Line) -> Result<(), InvalidChange> {
        if line.instruction != "HEALTHCHECK" && !line.flags.is_empty() {
            return Err(InvalidChange::Flag(printable(&line.flags[0])));
        }
        let rest = line.rest.as_str();
        match line.instruction {
            "CMD" => {
                self.defaults.cmd = Some(command(rest)?);
                self.cmd_set = true;
            }
            "ENTRYPOINT" => {
                self.defaults.entrypoint = Some(command(rest)?).filter(|words| !words.is_empty());
                if !self.cmd_set {
                    self.defaults.cmd = None;
                }
            }
            "ENV" => {
                let changes = self.pairs("ENV", rest)?.into_iter();
                let changes = changes.map(|(name, value)| EnvChange { name, value: Some(value) });
                env::apply(&mut self.defaults.env, changes);
            }
            "LABEL" => {
                let labels = self.pairs("LABEL", rest)?;
                self.defaults.labels.extend(labels);
            }
            "EXPOSE" => self.expose(rest)?,
            "HEALTHCHECK" => {
                let check = health::parse(&line.flags, rest)?;
                self.defaults.rest.insert("Healthcheck".to_owned(), check);
            }
            "ONBUILD" => self.onbuild(rest)?,
            "STOPSIGNAL" => {
                let signal = self.one("STOPSIGNAL", rest)?;
                signal.parse::<Signal>().map_err(|_| InvalidChange::Signal(printable(&signal)))?;
                self.defaults.stop_signal = signal;
            }
            "USER" => self.defaults.user = self.one("USER", rest)?,
            "VOLUME" => self.volume(rest)?,
            _ => {
                let requested = self.one("WORKDIR", rest)?;
                self.defaults.working_dir = working_dir(&self.defaults.working_dir, &requested);
            }
        }
        Ok(())
    }

    fn expand(&self, word: &str) -> Result<String, InvalidChange> {
        let value = |name: &str| {
            let found =
                self.defaults.env.iter().filter_map(|entry| entry.split_once('=')).find(|(key, _)| *key == name);
            found.map(|(_, value)| value.to_owned())
        };
        word::expand(word, &value).map_err(|reason| InvalidChange::Word { word: printable(word), reason })
    }

    /// The whole rest of the line, as USER, WORKDIR and STOPSIGNAL have it.
    fn one(&self, name: &'static str, rest: &str) -> Result<String, InvalidChange> {
        match rest {
            "" => Err(InvalidChange::OneArgument(name)),
            rest => self.expand(rest),
        }
    }

    /// `K=V ...`, or the old `K the rest of the line`.
    fn pairs(&self, name: &'static str, rest: &str) -> Result<Vec<(String, String)>, InvalidChange> {
        let words = word::split(rest);
        let Some(first) = words.first() else { return Err(InvalidChange::NoArguments(name)) };
        let pairs: Vec<(&str, &str)> = if first.contains('=') {
            let no_sign = |word: &str| InvalidChange::NoEqualsSign(printable(word));
            words.iter().map(|word| word.split_once('=').ok_or_else(|| no_sign(word))).collect::<Result<_, _>>()?
        } else {
            let (key, value) = rest.split_once(char::is_whitespace).ok_or(InvalidChange::TwoArguments(name))?;
            vec![(key, value.trim_start())]
        };
        let expanded = pairs.into_iter().map(|(key, value)| match self.expand(key)? {
            key if key.is_empty() || key.contains('=') => Err(InvalidChange::BlankName(name)),
            key => Ok((key, self.expand(value)?)),
        });
        expanded.collect()
    }

    fn expose(&mut self, rest: &str) -> Result<(), InvalidChange> {
        if rest.is_empty() {
            return Err(InvalidChange::NoArguments("EXPOSE"));
        }
        for word in rest.split_whitespace() {
            for spec in self.expand(word)?.split_whitespace() {
                let ports = parse_expose(spec).map_err(|_| InvalidChange::Port(printable(spec)))?;
                self.defaults.exposed_ports.extend(ports.into_iter().map(|port| (port, json!({}))));
            }
        }
        Ok(())
    }

    fn volume(&mut self, rest: &str) -> Result<(), InvalidChange> {
        let words = match json_words(rest)? {
            Some(words) => words,
            None => rest.split_whitespace().map(str::to_owned).collect(),
        };
        if words.is_empty() {
            return Err(InvalidChange::NoArguments("VOLUME"));
        }
        for word in words {
            let path = self.expand(&word)?;
            let path = path.trim();
            if path.is_empty() {
                return Err(InvalidChange::EmptyVolume);
            }
            self.defaults.volumes.insert(path.to_owned(), json!({}));
        }
        Ok(())
    }

    fn onbuild(&mut self, rest: &str) -> Result<(), InvalidChange> {
        let trigger = rest.split_whitespace().next().ok_or(InvalidChange::NoArguments("ONBUILD"))?;
        match trigger.to_ascii_uppercase().as_str() {
            "ONBUILD" => return Err(InvalidChange::OnbuildChain),
            name @ ("FROM" | "MAINTAINER") => return Err(InvalidChange::OnbuildTrigger(name.to_owned())),
            _ => {}
        }
        let triggers = self.defaults.rest.entry("OnBuild").or_insert(Value::Null);
        if !triggers.is_array() {
            *triggers = json!([]);
        }
        if let Some(triggers) = triggers.as_array_mut() {
            triggers.push(json!(rest));
        }
        Ok(())
    }
}

/// A JSON array of words, or a line for the shell.
fn command(rest: &str) -> Result<Vec<String>, InvalidChange> {
    if let Some(words) = json_words(rest)? {
        return Ok(words);
    }
    let line = Some(rest.to_owned()).filter(|line| !line.is_empty());
    Ok(SHELL.iter().map(|word| (*word).to_owned()).chain(line).collect())
}

/// The words of a JSON array; None for what is no JSON array.
fn json_words(text: &str) -> Result<Option<Vec<String>>, InvalidChange> {
    if !text.starts_with('[') {
        return Ok(None);
    }
    let Ok(values) = serde_json::from_str::<Vec<Value>>(text) else { return Ok(None) };
    let word = |value| match value {
        Value::String(word) => Ok(word),
        _ => Err(InvalidChange::NotStrings),
    };
    values.into_iter().map(word).collect::<Result<_, _>>().map(Some)
}

/// A relative directory is below the one before.
fn working_dir(current: &str, requested: &str) -> String {
    if requested.starts_with('/') {
        return requested.to_owned();
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in current.split('/').chain(requested.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}
