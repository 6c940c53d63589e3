//! A service in the making.

use super::keys::{self, Means};
use super::sources::Found;
use super::{Host, Kind, Link, Service, Source, Sources, Translation};
use crate::spec::similar::nearest;
use crate::spec::unit::{Entry, join_words, parse_boolean, split_words};

/// Sections that are there beside the one that a file is about. Those that begin with `X-` are
/// nobody's.
const SECTIONS: [&str; 4] = ["Unit", "Service", "Install", "Quadlet"];

/// Keys of `[Unit]` that may name other files.
const DEPENDENCIES: [&str; 15] = [
    "Wants",
    "Requires",
    "Requisite",
    "BindsTo",
    "PartOf",
    "Upholds",
    "Conflicts",
    "Before",
    "After",
    "OnFailure",
    "OnSuccess",
    "PropagatesReloadTo",
    "ReloadPropagatedFrom",
    "PropagatesStopTo",
    "StopPropagatedFrom",
];

pub struct Draft<'a> {
    pub source: &'a Source,
    pub host: &'a Host<'a>,
    all: &'a Sources,
    problems: Vec<String>,
    warnings: Vec<String>,
    /// Flags of rbox itself, in each command.
    global: Vec<String>,
    /// Flags of the command.
    arguments: Vec<String>,
    /// Lines of ours in `[Unit]`.
    unit: Vec<(&'static str, String)>,
    /// Lines of ours in `[Service]`, where the file has no such key.
    service: Vec<(&'static str, String)>,
}

impl<'a> Draft<'a> {
    pub fn new(source: &'a Source, all: &'a Sources, host: &'a Host<'a>) -> Self {
        let mut draft = Self {
            source,
            host,
            all,
            problems: Vec::new(),
            warnings: Vec::new(),
            global: Vec::new(),
            arguments: Vec::new(),
            unit: Vec::new(),
            service: Vec::new(),
        };
        draft.check_sections();
        draft.check_name();
        draft.global = draft.said("GlobalArgs", "");
        draft.default_dependencies();
        draft.table();
        draft
    }

    /// What makes the file unusable.
    pub fn problem(&mut self, entry: Option<&Entry>, text: impl std::fmt::Display) {
        self.problems.push(match entry {
            Some(entry) => format!("{}: {text}", entry.place),
            None => format!("{}: {text}", self.source.path),
        });
    }

    pub fn warning(&mut self, entry: &Entry, text: impl std::fmt::Display) {
        self.warnings.push(format!("{}: {text}", entry.place));
    }

    /// The value of a key of the file's own section; quotes around it are no part of it.
    pub fn text(&self, key: &str) -> Option<(&'a Entry, &'a str)> {
        let entry = self.source.unit.last(self.source.kind.section(), key)?;
        Some((entry, unquoted(&entry.value)))
    }

    pub fn entries(&self, key: &str) -> Vec<&'a Entry> {
        self.source.unit.all(self.source.kind.section(), key)
    }

    /// The words of all values of a key.
    pub fn words(&mut self, key: &str) -> Vec<(&'a Entry, String)> {
        self.entries(key)
            .into_iter()
            .flat_map(|entry| self.words_of(entry).into_iter().map(move |w| (entry, w)))
            .collect()
    }

    pub fn words_of(&mut self, entry: &Entry) -> Vec<String> {
        split_words(&entry.value).unwrap_or_else(|error| {
            self.problem(Some(entry), format!("{}=: {error}", entry.key));
            Vec::new()
        })
    }

    pub fn switch(&mut self, key: &str) -> Option<bool> {
        let (entry, value) = self.text(key)?;
        let parsed = parse_boolean(value);
        if parsed.is_none() {
            self.problem(Some(entry), format!("{key}={value} is neither true nor false"));
        }
        parsed
    }

    /// Adds `--flag=value`, if the command has it.
    pub fn flag(&mut self, entry: &Entry, flag: &str, value: Option<&str>) {
        let command = self.source.kind.command();
        if (self.host.has)(command, "") && !(self.host.has)(command, flag) {
            let text =
                format!("{}= needs 'rbox {command} {flag}', which this version of rbox does not have", entry.key);
            return self.problem(Some(entry), text);
        }
        match value {
            None => self.arguments.push(flag.to_owned()),
            // systemd expands a variable only where it begins a word.
            Some(value) if value.starts_with('$') => self.arguments.extend([flag.to_owned(), value.to_owned()]),
            Some(value) => self.arguments.push(format!("{flag}={value}")),
        }
    }

    /// What a file says word for word, whose flags this rbox must have.
    fn said(&mut self, key: &str, command: &str) -> Vec<String> {
        let mut words = Vec::new();
        for (entry, word) in self.words(key) {
            let flag = word.split_once('=').map_or(&*word, |(flag, _)| flag);
            if flag.len() > 2 && flag.starts_with("--") && !(self.host.has)(command, flag) {
                let called = format!("rbox {command}");
                self.problem(Some(entry), format!("{key}={word}: '{}' has no flag {flag}", called.trim_end()));
            }
            words.push(word);
        }
        words
    }

    /// Adds a line to `[Unit]`, once.
    pub fn unit(&mut self, key: &'static str, value: impl Into<String>) {
        let line = (key, value.into());
        if !self.unit.contains(&line) {
            self.unit.push(line);
        }
    }

    /// Adds a line to `[Service]`; one of the file's own takes its place.
    pub fn service(&mut self, key: &'static str, value: impl Into<String>) {
        if !self.source.unit.mentions("Service", key) {
            self.service.push((key, value.into()));
        }
    }

    /// Adds a command line to `[Service]`; the file cannot have one.
    pub fn command(&mut self, key: &'static str, prefix: &str, words: &[String]) {
        let program = std::iter::once(self.host.program);
        let line = program.chain(self.global.iter().chain(words).map(String::as_str));
        self.service.push((key, format!("{prefix}{}", join_words(line))));
    }

    /// The file that `name` stands for, which becomes a dependency.
    pub fn reference(&mut self, entry: &Entry, name: &str) -> Option<Found> {
        let found = self.all.find(name);
        match &found {
            Some(found) => {
                self.unit("Requires", &found.service);
                self.unit("After", &found.service);
            }
            None => self.problem(Some(entry), format!("{}={name}: there is no such Quadlet file", entry.key)),
        }
        found
    }

    /// As [`Self::reference`], by the name of what that file's service makes.
    pub fn resource(&mut self, entry: &Entry, name: &str) -> Option<String> {
        let found = self.reference(entry, name)?;
        match found.resource {
            Ok(resource) => Some(resource),
            Err(reason) => {
                self.problem(Some(entry), format!("{}={name}: {reason}", entry.key));
                None
            }
        }
    }

    /// The path as systemd can use it: a relative one begins at the file's directory. One that begins
    /// with a specifier is absolute.
    pub fn path(&self, path: &str) -> String {
        if path.starts_with(['/', '%']) {
            return path.to_owned();
        }
        let mut parts: Vec<&str> = self.source.directory().split('/').filter(|part| !part.is_empty()).collect();
        for part in path.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        format!("/{}", parts.join("/"))
    }

    /// Everything of the command that is typed before what comes last: its name, `first`, the flags, and
    /// what the file says word for word.
    pub fn line(&mut self, first: Vec<String>) -> Vec<String> {
        let mut line: Vec<String> = self.source.kind.command().split(' ').map(str::to_owned).collect();
        line.extend(first);
        line.append(&mut self.arguments);
        let command = self.source.kind.command();
        line.extend(self.said("PodmanArgs", command));
        line.extend(self.said("RboxArgs", command));
        line
    }

    /// The lines that a service has that runs once; if what it makes `stays` it counts as there from then on.
    pub fn once(&mut self, line: &[String], stays: bool) {
        self.service("Type", "oneshot");
        if stays {
            self.service("RemainAfterExit", "yes");
        }
        self.service("SyslogIdentifier", "%N");
        self.command("ExecStart", "", line);
    }

    fn check_sections(&mut self) {
        let own = self.source.kind.section();
        let known: Vec<&str> = SECTIONS.into_iter().chain([own]).collect();
        for section in &self.source.unit.sections {
            if known.contains(&&*section.name) || section.name.starts_with("X-") {
                continue;
            }
            let meant = nearest(&section.name, &known);
            if meant.is_some() || Kind::ALL.iter().any(|other| other.section() == section.name) {
                let hint = hint(meant.map(|name| format!("[{name}]")));
                self.problems.push(format!("{}: unknown section [{}]{hint}", section.place, section.name));
            } else {
                // It goes into the service as it is, where systemd has its own word on it.
                self.warnings.push(format!("{}: [{}] means nothing here", section.place, section.name));
            }
        }
        if self.source.unit.section(own).is_none() {
            self.problem(None, format!("there is no [{own}] section"));
        }
        if let Some(entry) = self.source.unit.last("Service", "ExecStart") {
            self.problem(
                Some(entry),
                format!("ExecStart= is made of the section [{own}]: say there what is to be done"),
            );
        }
    }

    fn check_name(&mut self) {
        let Some(entry) = self.source.unit.last(self.source.kind.section(), "ServiceName") else { return };
        if !is_unit_name(&entry.value) {
            self.problem(Some(entry), format!("ServiceName={}: {NO_UNIT_NAME}", entry.value));
        } else if entry.value.ends_with(".service") {
            self.warning(entry, format!("the service is called {0}.service: leave .service away", entry.value));
        }
    }

    fn default_dependencies(&mut self) {
        let own = self.source.unit.section("Quadlet").into_iter().flat_map(|section| &section.entries);
        for entry in own.filter(|entry| entry.key != "DefaultDependencies") {
            let hint = hint(nearest(&entry.key, &["DefaultDependencies"]).map(str::to_owned));
            self.problem(Some(entry), format!("unknown key {}= in [Quadlet]{hint}", entry.key));
        }
        let asked = self.source.unit.last("Quadlet", "DefaultDependencies");
        let wanted = asked.map(|entry| (entry, parse_boolean(unquoted(&entry.value))));
        if let Some((entry, None)) = wanted {
            self.problem(Some(entry), format!("{}={} is neither true nor false", entry.key, entry.value));
        }
        // A user's systemd knows nothing of the machine's network.
        if !self.host.user && !matches!(wanted, Some((_, Some(false)))) {
            self.unit("Wants", "network-online.target");
            self.unit("After", "network-online.target");
        }
        self.unit("RequiresMountsFor", "%t/rbox");
        self.unit("SourcePath", self.source.path.clone());
    }

    /// What the table of keys says by itself.
    fn table(&mut self) {
        let table = keys::of(self.source.kind);
        let names: Vec<&str> = table.iter().map(|(name, _)| *name).collect();
        let section = self.source.unit.section(self.source.kind.section());
        for entry in section.into_iter().flat_map(|section| &section.entries) {
            match table.iter().find(|(name, _)| *name == entry.key) {
                None => {
                    let hint = hint(nearest(&entry.key, &names).map(|name| format!("{name}=")));
                    let own = self.source.kind.section();
                    self.problem(Some(entry), format!("unknown key {}= in [{own}]{hint}", entry.key));
                }
                Some((_, Means::Refused(reason))) => {
                    self.problem(Some(entry), format!("{}= is not supported: {reason}", entry.key));
                }
                Some((_, Means::Ignored(reason))) => {
                    self.warning(entry, format!("{}= has no effect: {reason}", entry.key));
                }
                Some(_) => {}
            }
        }
        for (key, means) in table {
            match *means {
                Means::Text(flag) => {
                    if let Some((entry, value)) = self.text(key) {
                        self.flag(entry, flag, Some(value));
                    }
                }
                Means::Texts(flag) => {
                    for entry in self.entries(key) {
                        self.flag(entry, flag, Some(unquoted(&entry.value)));
                    }
                }
                Means::Words(flag) => {
                    for (entry, word) in self.words(key) {
                        self.flag(entry, flag, Some(&word));
                    }
                }
                Means::Pairs(flag) => self.pairs(key, flag),
                Means::Variables(flag) => self.variables(key, flag),
                Means::Paths(flag) => {
                    for (entry, word) in self.words(key) {
                        let path = self.path(&word);
                        self.flag(entry, flag, Some(&path));
                    }
                }
                Means::Switch(flag) => {
                    if let Some((entry, _)) = self.text(key)
                        && let Some(on) = self.switch(key)
                    {
                        self.flag(entry, flag, if on { None } else { Some("false") });
                    }
                }
                Means::Own | Means::Refused(_) | Means::Ignored(_) => {}
            }
        }
    }

    fn pairs(&mut self, key: &str, flag: &str) {
        for (entry, word) in self.words(key) {
            if word.contains('=') {
                self.flag(entry, flag, Some(&word));
            } else {
                self.problem(Some(entry), format!("{key}={word} is no NAME=VALUE"));
            }
        }
    }

    /// A name alone has the value that it has where the service runs, or none.
    fn variables(&mut self, key: &str, flag: &str) {
        let mut assigned = None;
        for (entry, word) in self.words(key) {
            if word.contains('=') {
                assigned = Some(&entry.place);
            } else if assigned == Some(&entry.place) {
                self.warning(entry, format!("{key}=: {word} is a name alone: a value with blanks needs quotes"));
            }
            self.flag(entry, flag, Some(&word));
        }
    }

    /// The service's text: what is ours, then what the file has.
    pub fn finish(mut self, links: Vec<Link>) -> Translation {
        let own = self.source.kind.section();
        let mut text = format!("# Made by rbox of {}: change that, not this.\n\n[Unit]\n", self.source.path);
        for (key, value) in &self.unit {
            text.push_str(&format!("{key}={value}\n"));
        }
        let unit = &self.source.unit;
        for entry in unit.section("Unit").into_iter().flat_map(|section| &section.entries) {
            let value = self.dependencies(entry);
            text.push_str(&format!("{}={value}\n", entry.key));
        }
        text.push_str("\n[Service]\n");
        for (key, value) in &self.service {
            text.push_str(&format!("{key}={value}\n"));
        }
        for entry in unit.section("Service").into_iter().flat_map(|section| &section.entries) {
            text.push_str(&format!("{}={}\n", entry.key, entry.value));
        }
        for section in &unit.sections {
            if matches!(&*section.name, "Unit" | "Service") {
                continue;
            }
            let name = if section.name == own || section.name == "Quadlet" {
                format!("X-{}", section.name)
            } else {
                section.name.clone()
            };
            text.push_str(&format!("\n[{name}]\n"));
            for entry in &section.entries {
                text.push_str(&format!("{}={}\n", entry.key, entry.value));
            }
        }
        let service = Service { name: self.source.service(), text, links };
        Translation { problems: self.problems, warnings: self.warnings, service }
    }

    /// The value with the services of the files that it names.
    fn dependencies(&mut self, entry: &Entry) -> String {
        if !DEPENDENCIES.contains(&&*entry.key) {
            return entry.value.clone();
        }
        let all = self.all;
        let mut translated = Vec::new();
        for word in entry.value.split_ascii_whitespace() {
            match Kind::of_file(word) {
                Some(Ok(_)) => match all.find(word) {
                    Some(found) => translated.push(found.service),
                    None => self.problem(Some(entry), format!("{}={word}: there is no such Quadlet file", entry.key)),
                },
                Some(Err(reason)) => self.problem(Some(entry), format!("{}={word}: {reason}", entry.key)),
                None => translated.push(word.to_owned()),
            }
        }
        translated.join(" ")
    }
}

/// Without quotes around all of it.
pub fn unquoted(value: &str) -> &str {
    let inside = |quote| value.strip_prefix(quote).and_then(|rest: &str| rest.strip_suffix(quote));
    // Where there are more of them the first and the last are no pair.
    let whole = |quote: char| inside(quote).filter(|inside| !inside.contains(quote));
    whole('"').or_else(|| whole('\'')).unwrap_or(value)
}

/// Why a name is refused.
pub const NO_UNIT_NAME: &str = "systemd takes no such name: letters, digits and :-_.\\@ only";

/// What systemd takes in the name of a unit.
pub fn is_unit_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() < 200
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '_' | '.' | '\\' | '@'))
}

fn hint(name: Option<String>) -> String {
    name.map_or_else(String::new, |name| format!("; did you mean {name}?"))
}
