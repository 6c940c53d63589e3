//! `--change` of `commit` and `import`: Dockerfile instructions that change an image's
//! configuration without running anything. Grammar, rules and messages are docker's (its
//! `BuildFromConfig`); podman's `CMD=...` is read too.

mod health;
#[cfg(test)]
mod tests;

use serde_json::{Value, json};

use super::create::parse_expose;
use super::dockerfile::ast::{Command, Instruction, Pair, ParseError};
use super::dockerfile::expand::{ExpandError, expand, expand_words};
use super::dockerfile::lines::{self, Line};
use super::dockerfile::parse_line;
use super::env::{self, EnvChange};
use super::image::{Defaults, ImageConfig};
use super::signal::Signal;
use super::text::printable;

/// The instructions that change only a configuration.
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
    #[error("{}", .0.message)]
    Syntax(#[from] ParseError),
    #[error("{0} names can not be blank")]
    BlankName(&'static str),
    #[error(transparent)]
    Word(#[from] ExpandError),
    #[error("invalid containerPort: {0}")]
    Port(String),
    #[error("VOLUME specified can not be an empty string")]
    EmptyVolume,
    #[error("invalid signal: {0}")]
    Signal(String),
    #[error("NUL byte in a change")]
    Nul,
}

/// Makes the changes, in their order, as one Dockerfile: an instruction may go on over several lines
/// and one change may hold several instructions. Variables are the configuration's own. On an error
/// nothing was changed.
pub fn apply(config: &mut ImageConfig, changes: &[String]) -> Result<(), InvalidChange> {
    let text = changes.join("\n");
    if text.contains('\0') {
        return Err(InvalidChange::Nul);
    }
    let mut target = Target { defaults: config.config.clone(), cmd_set: false };
    for line in lines::scan(text.as_bytes())?.lines {
        target.make(read(line)?)?;
    }
    config.config = target.defaults;
    Ok(())
}

/// Reads a line that is one of [`INSTRUCTIONS`]. podman writes `INSTRUCTION=VALUE`.
fn read(mut line: Line) -> Result<Instruction, InvalidChange> {
    let known = |name: &str| INSTRUCTIONS.iter().any(|known| known.eq_ignore_ascii_case(name));
    let typed = line.text.split(char::is_whitespace).next().unwrap_or_default().to_owned();
    let refused = || InvalidChange::Instruction(printable(&typed.to_ascii_lowercase()));
    if !known(&typed) {
        let (name, rest) = line.text.split_once('=').filter(|(name, _)| known(name)).ok_or_else(refused)?;
        line.text = format!("{name} {rest}");
    }
    parse_line(&line)?.ok_or_else(refused)
}

/// A configuration being changed.
struct Target {
    defaults: Defaults,
    /// A CMD of the same changes survives an ENTRYPOINT after it; the image's does not.
    cmd_set: bool,
}

impl Target {
    fn make(&mut self, instruction: Instruction) -> Result<(), InvalidChange> {
        match instruction {
            Instruction::Cmd(command) => {
                self.defaults.cmd = Some(words(command));
                self.cmd_set = true;
            }
            Instruction::Entrypoint(command) => {
                self.defaults.entrypoint = Some(words(command)).filter(|words| !words.is_empty());
                if !self.cmd_set {
                    self.defaults.cmd = None;
                }
            }
            Instruction::Env(pairs) => {
                let changes = self.pairs("ENV", &pairs)?.into_iter();
                let changes = changes.map(|(name, value)| EnvChange { name, value: Some(value) });
                env::apply(&mut self.defaults.env, changes);
            }
            Instruction::Label(pairs) => {
                let labels = self.pairs("LABEL", &pairs)?;
                self.defaults.labels.extend(labels);
            }
            Instruction::Expose(ports) => self.expose(&ports)?,
            Instruction::Healthcheck(check) => {
                self.defaults.rest.insert("Healthcheck".to_owned(), health::config(check));
            }
            Instruction::Onbuild(trigger) => self.onbuild(&trigger),
            Instruction::Stopsignal(signal) => {
                let signal = self.expand(&signal)?;
                signal.parse::<Signal>().map_err(|_| InvalidChange::Signal(printable(&signal)))?;
                self.defaults.stop_signal = signal;
            }
            Instruction::User(user) => self.defaults.user = self.expand(&user)?,
            Instruction::Volume(paths) => self.volume(&paths)?,
            Instruction::Workdir(path) => {
                self.defaults.working_dir = working_dir(&self.defaults.working_dir, &self.expand(&path)?);
            }
            // Not among those that are read here.
            Instruction::Add(_)
            | Instruction::Arg(_)
            | Instruction::Copy(_)
            | Instruction::Maintainer(_)
            | Instruction::Run(_)
            | Instruction::Shell(_) => {}
        }
        Ok(())
    }

    fn value(&self, name: &str) -> Option<String> {
        let entries = self.defaults.env.iter().filter_map(|entry| entry.split_once('='));
        entries.filter(|(key, _)| *key == name).map(|(_, value)| value.to_owned()).next()
    }

    fn expand(&self, word: &str) -> Result<String, InvalidChange> {
        Ok(expand(word, '\\', &|name| self.value(name))?)
    }

    fn pairs(&self, name: &'static str, pairs: &[Pair]) -> Result<Vec<(String, String)>, InvalidChange> {
        let expanded = pairs.iter().map(|pair| match self.expand(&pair.key)? {
            key if key.is_empty() || key.contains('=') => Err(InvalidChange::BlankName(name)),
            key => Ok((key, self.expand(&pair.value)?)),
        });
        expanded.collect()
    }

    fn expose(&mut self, words: &[String]) -> Result<(), InvalidChange> {
        for word in words {
            for spec in expand_words(word, '\\', &|name| self.value(name))? {
                let ports = parse_expose(&spec).map_err(|_| InvalidChange::Port(printable(&spec)))?;
                self.defaults.exposed_ports.extend(ports.into_iter().map(|port| (port, json!({}))));
            }
        }
        Ok(())
    }

    fn volume(&mut self, words: &[String]) -> Result<(), InvalidChange> {
        for word in words {
            let path = self.expand(word)?;
            let path = path.trim();
            if path.is_empty() {
                return Err(InvalidChange::EmptyVolume);
            }
            self.defaults.volumes.insert(path.to_owned(), json!({}));
        }
        Ok(())
    }

    fn onbuild(&mut self, trigger: &str) {
        let triggers = self.defaults.rest.entry("OnBuild").or_insert(Value::Null);
        if !triggers.is_array() {
            *triggers = json!([]);
        }
        if let Some(triggers) = triggers.as_array_mut() {
            triggers.push(json!(trigger));
        }
    }
}

/// A command's words, with the shell before a line for it.
fn words(command: Command) -> Vec<String> {
    let line = match command {
        Command::Exec(words) => return words,
        Command::Shell(line) => Some(line).filter(|line| !line.is_empty()),
    };
    SHELL.iter().map(|word| (*word).to_owned()).chain(line).collect()
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
