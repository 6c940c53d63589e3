//! The words that fit a place.

use clap::builder::PossibleValue;
use clap::{Arg, Command};

use super::position::{Position, Wanted, takes_many};
use super::sources::{Source, Which, source};
use crate::cmd::quadlet;
use crate::spec::settings::KEYS;
use crate::spec::{caps, signal, ulimit};
use crate::store::Store;

/// What fits the word being typed behind its first `at` bytes.
#[derive(Debug)]
pub struct Answer {
    pub at: usize,
    pub content: Content,
}

/// What fits.
#[derive(Debug)]
pub enum Content {
    Values(Vec<Candidate>),
    /// The shell knows best how to complete these; `open`: more may follow in the same word.
    Paths {
        kind: Paths,
        open: bool,
    },
}

/// A kind of paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paths {
    Files,
    Directories,
}

/// One possibility.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub text: String,
    /// Foreign text, perhaps.
    pub about: String,
    /// Only a beginning: the word goes on.
    pub open: bool,
}

impl Candidate {
    pub fn new(text: &str, about: &str) -> Self {
        Self { text: text.to_owned(), about: about.to_owned(), open: false }
    }

    pub fn open(text: &str) -> Self {
        Self { text: text.to_owned(), about: String::new(), open: true }
    }

    /// One that is open if it ends like a beginning.
    fn word(text: &str) -> Self {
        Self { open: text.ends_with(['=', ':', '/']), ..Self::new(text, "") }
    }
}

/// Finds candidates.
pub struct Completer<'a> {
    pub store: Option<&'a Store>,
    /// Leave out what does not begin with the word.
    pub by_prefix: bool,
    /// Describe them.
    pub describe: bool,
}

impl Completer<'_> {
    /// The answer for the last word, `word`.
    pub fn answer(&self, position: &Position<'_>, word: &str) -> Answer {
        let (at, mut content) = match position.wanted {
            Wanted::Flag => (0, Content::Values(flags(position))),
            Wanted::Command => (0, Content::Values(commands(position.command()))),
            Wanted::Argument(arg) => self.argument(position, arg, word),
            Wanted::Value { arg, at } => {
                let (further, content) = self.value(position, arg, &word[at..]);
                (at + further, content)
            }
            Wanted::Nothing => (0, Content::Values(Vec::new())),
        };
        if let Content::Values(candidates) = &mut content {
            candidates.retain(|candidate| self.wants(&candidate.text, &word[at..]));
            candidates.iter_mut().filter(|_| !self.describe).for_each(|candidate| candidate.about.clear());
        }
        Answer { at, content }
    }

    /// Whether a candidate is worth a look.
    pub fn wants(&self, text: &str, word: &str) -> bool {
        !self.by_prefix || text.starts_with(word)
    }

    fn argument(&self, position: &Position<'_>, arg: &Arg, word: &str) -> (usize, Content) {
        let (at, mut content) = self.value(position, arg, word);
        if let Content::Values(candidates) = &mut content
            && takes_many(arg)
        {
            candidates.retain(|candidate| !position.arguments.contains(&candidate.text));
        }
        (at, content)
    }

    /// What fits a value of which `text` was typed, behind its first bytes.
    fn value(&self, position: &Position<'_>, arg: &Arg, text: &str) -> (usize, Content) {
        let possible = arg.get_possible_values();
        if !possible.is_empty() {
            return (0, Content::Values(possible.iter().map(possible_value).collect()));
        }
        let values = |candidates| (0, Content::Values(candidates));
        let paths = |kind| (0, Content::Paths { kind, open: false });
        match source(position.command(), arg) {
            Source::Unknown => values(Vec::new()),
            Source::Words(words) => self.words(words, text),
            Source::Containers(which) => values(self.containers(text, which)),
            Source::Images => values(self.images(text)),
            Source::Lists => values(self.lists(text)),
            Source::Networks => values(self.networks(text)),
            Source::Secrets => values(self.secrets(text)),
            Source::Quadlets => values(quadlets()),
            Source::NetworkModes => self.network_modes(text),
            Source::Bases => self.bases(text),
            Source::Objects => values(self.objects(position, text)),
            Source::Copied => self.copied(text),
            Source::Files => paths(Paths::Files),
            Source::Directories => paths(Paths::Directories),
            Source::Signals => values(signals(text)),
            Source::Capabilities => values(capabilities(text)),
            Source::Environment => values(environment()),
            Source::Filter => self.filter(arg, text),
            Source::Limits => values(limits()),
            Source::Mount => self.mount(text),
            Source::Security => security(text),
            Source::Settings => values(KEYS.iter().map(|key| Candidate::open(&format!("{}=", key.name))).collect()),
            Source::Volume => self.volume(text),
            Source::Volumes => values(self.volumes()),
        }
    }

    fn words(&self, words: &[&str], text: &str) -> (usize, Content) {
        const DONOR: &str = "container:";
        if words.contains(&DONOR)
            && let Some(name) = text.strip_prefix(DONOR)
        {
            return (DONOR.len(), Content::Values(self.containers(name, Which::Running)));
        }
        (0, Content::Values(words.iter().map(|word| Candidate::word(word)).collect()))
    }

    fn network_modes(&self, text: &str) -> (usize, Content) {
        const MODES: &[&str] = &["container:", "ns:", "pasta", "slirp", "slirp4netns"];
        match text.split_once(':') {
            Some(("ns", _)) => ("ns:".len(), Content::Paths { kind: Paths::Files, open: false }),
            Some((_, options)) if !text.starts_with("container:") => {
                let start = text.len() - options.rsplit(',').next().unwrap_or_default().len();
                let keys = ["alias=", "host-loopback", "interface_name=", "ip6=", "ip=", "mac="];
                (start, Content::Values(keys.iter().map(|key| Candidate::word(key)).collect()))
            }
            Some(_) => self.words(MODES, text),
            None => {
                let modes = MODES.iter().map(|word| Candidate::word(word));
                (0, Content::Values(self.networks(text).into_iter().chain(modes).collect()))
            }
        }
    }

    fn bases(&self, text: &str) -> (usize, Content) {
        const DIRECTORY: &str = "rootfs:";
        if text.starts_with(DIRECTORY) {
            return (DIRECTORY.len(), Content::Paths { kind: Paths::Directories, open: false });
        }
        let mut candidates = self.images(text);
        // Not among the first: mostly an image is meant.
        candidates.extend(text.starts_with('r').then(|| Candidate::open(DIRECTORY)));
        (0, Content::Values(candidates))
    }

    fn objects(&self, position: &Position<'_>, text: &str) -> Vec<Candidate> {
        let noun = position.path.iter().rev().nth(1).map(|command| command.get_name());
        let kind = position.value_of("kind").or(noun);
        let wanted =
            |noun: &str| !matches!(kind, Some(kind @ ("container" | "image" | "network" | "volume")) if kind != noun);
        let containers = if wanted("container") { self.containers(text, Which::All) } else { Vec::new() };
        let images = if wanted("image") { self.images(text) } else { Vec::new() };
        let networks = if wanted("network") { self.networks(text) } else { Vec::new() };
        let volumes = if wanted("volume") { self.volumes() } else { Vec::new() };
        [containers, images, networks, volumes].concat()
    }

    fn volume(&self, text: &str) -> (usize, Content) {
        let words = |words: &[&str]| Content::Values(words.iter().map(|word| Candidate::word(word)).collect());
        let mut colons = text.match_indices(':').map(|(at, _)| at);
        match (colons.next(), colons.next()) {
            (None, _) if text.starts_with(['/', '.', '~', '$']) => {
                (0, Content::Paths { kind: Paths::Files, open: true })
            }
            (None, _) => {
                let named = self.volumes().into_iter().map(|volume| Candidate::open(&format!("{}:", volume.text)));
                let paths = ["./", "/", "~/"].map(Candidate::word);
                (0, Content::Values(named.chain(paths).collect()))
            }
            (Some(_), None) => (text.len(), Content::Values(Vec::new())),
            (Some(_), Some(second)) => {
                let start = text.rfind(',').map_or(second + 1, |comma| comma + 1);
                (start, words(&["O", "U", "nocopy", "noexec", "ro", "rprivate", "rro", "rslave", "rw"]))
            }
        }
    }

    /// A path of the host's, or a container and a path in it, which only the container knows.
    fn copied(&self, text: &str) -> (usize, Content) {
        if text.contains(':') && !text.starts_with(['/', '.']) {
            return (text.len(), Content::Values(Vec::new()));
        }
        let named = if text.is_empty() { Vec::new() } else { self.containers(text, Which::All) };
        if named.is_empty() || begins_a_file(text) {
            return (0, Content::Paths { kind: Paths::Files, open: false });
        }
        (
            0,
            Content::Values(
                named
                    .into_iter()
                    .map(|one| Candidate { about: one.about, ..Candidate::open(&format!("{}:", one.text)) })
                    .collect(),
            ),
        )
    }

    fn filter(&self, arg: &Arg, text: &str) -> (usize, Content) {
        let Some((key, value)) = text.split_once('=') else {
            let keys = filter_keys(arg).into_iter().map(|key| Candidate::open(&format!("{key}=")));
            return (0, Content::Values(keys.collect()));
        };
        let words = |words: &[&str]| words.iter().map(|word| Candidate::word(word)).collect();
        let candidates = match key {
            "status" => words(&["created", "exited", "running"]),
            "dangling" => words(&["false", "true"]),
            "network" => self.networks(value),
            "driver" => words(&["bridge", "host", "null"]),
            "event" => words(&["create", "destroy", "die", "kill", "pull", "push", "start", "stop"]),
            "container" => self.containers(value, Which::All),
            "image" => self.images(value),
            "type" if filter_keys(arg).iter().any(|key| key == "event") => {
                words(&["container", "image", "network", "secret", "volume"])
            }
            "type" => words(&["builtin", "custom"]),
            "name" => self.containers(value, Which::All),
            "ancestor" | "reference" => self.images(value),
            "before" | "since" => [self.containers(value, Which::All), self.images(value)].concat(),
            _ => Vec::new(),
        };
        (key.len() + 1, Content::Values(candidates))
    }

    fn mount(&self, text: &str) -> (usize, Content) {
        let start = text.rfind(',').map_or(0, |comma| comma + 1);
        match text[start..].split_once('=') {
            Some((key @ ("source" | "src"), _)) => {
                (start + key.len() + 1, Content::Paths { kind: Paths::Files, open: true })
            }
            Some((key @ "type", _)) => {
                let kinds = ["bind", "devpts", "image", "tmpfs", "volume"];
                (start + key.len() + 1, Content::Values(kinds.iter().map(|kind| Candidate::open(kind)).collect()))
            }
            Some(_) => (text.len(), Content::Values(Vec::new())),
            None => {
                let keys = [
                    "bind-propagation=",
                    "bind-recursive=",
                    "image-subpath=",
                    "readonly",
                    "source=",
                    "target=",
                    "tmpfs-mode=",
                    "tmpfs-size=",
                    "type=",
                    "volume-nocopy",
                    "volume-subpath=",
                ];
                (start, Content::Values(keys.iter().map(|key| Candidate::open(key)).collect()))
            }
        }
    }
}

/// Whether a file of the working directory has a name that begins so.
fn begins_a_file(text: &str) -> bool {
    let entries = std::fs::read_dir(".").into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name()).any(|name| name.as_encoded_bytes().starts_with(text.as_bytes()))
}

fn possible_value(value: &PossibleValue) -> Candidate {
    Candidate::new(value.get_name(), &value.get_help().map(ToString::to_string).unwrap_or_default())
}

/// The flags of a command, without those that were typed and count once.
fn flags(position: &Position<'_>) -> Vec<Candidate> {
    let typed = |arg: &Arg| position.flags.iter().any(|(flag, _)| flag.get_id() == arg.get_id());
    let offered = |arg: &&Arg| !arg.is_hide_set() && !arg.is_positional() && (takes_many(arg) || !typed(arg));
    let mut candidates = Vec::new();
    for arg in position.command().get_arguments().filter(offered) {
        let about = arg.get_help().map(ToString::to_string).unwrap_or_default();
        candidates.extend(arg.get_long().map(|long| Candidate::new(&format!("--{long}"), &about)));
        candidates.extend(arg.get_short().map(|short| Candidate::new(&format!("-{short}"), &about)));
    }
    candidates.sort_by(|a, b| b.text.starts_with("--").cmp(&a.text.starts_with("--")).then(a.text.cmp(&b.text)));
    candidates
}

/// The commands below one.
fn commands(command: &Command) -> Vec<Candidate> {
    let about = |command: &Command| command.get_about().map(ToString::to_string).unwrap_or_default();
    let shown = command.get_subcommands().filter(|command| !command.is_hide_set());
    shown.map(|command| Candidate::new(command.get_name(), &about(command))).collect()
}

/// The keys in the parentheses of a filter flag's help, or in those of the command it refers to.
fn filter_keys(arg: &Arg) -> Vec<String> {
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    if help.ends_with("as in ps") {
        let root = crate::cmd::command();
        let own = root.find_subcommand("ps").into_iter().flat_map(Command::get_arguments);
        return own.filter(|own| own.get_long() == arg.get_long()).flat_map(filter_keys).collect();
    }
    let keys = help.split_once('(').and_then(|(_, rest)| rest.split_once(')')).map_or("", |(keys, _)| keys);
    keys.split(", ").filter(|key| !key.is_empty() && !key.contains(' ')).map(str::to_owned).collect()
}

fn limits() -> Vec<Candidate> {
    let named = ulimit::NAMES.iter().map(|name| Candidate::open(&format!("{name}=")));
    named.chain([Candidate::new("host", "all as they are here")]).collect()
}

/// Short names, as people type them, unless they began with SIG.
fn signals(text: &str) -> Vec<Candidate> {
    let all = (1..32).filter_map(signal::Signal::from_number);
    all.map(|signal| {
        let name = signal.to_string();
        let shown = if text.starts_with('S') { name.as_str() } else { name.strip_prefix("SIG").unwrap_or(&name) };
        Candidate::new(shown, &signal.number().to_string())
    })
    .collect()
}

fn capabilities(text: &str) -> Vec<Candidate> {
    let shown = |name: &&'static str| match name.strip_prefix("CAP_") {
        Some(short) if !text.starts_with("CAP_") => Candidate::new(short, ""),
        _ => Candidate::new(name, ""),
    };
    [caps::ALL].iter().chain(&caps::NAMES).map(shown).collect()
}

/// The caller's variables, which `-e NAME` passes on.
fn environment() -> Vec<Candidate> {
    let plain = |name: &String| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    let mut names: Vec<String> = names.filter(plain).collect();
    names.sort_unstable();
    names.iter().map(|name| Candidate::new(name, "")).collect()
}

fn security(text: &str) -> (usize, Content) {
    const SECCOMP: &str = "seccomp=";
    let words = |words: &[&str]| Content::Values(words.iter().map(|word| Candidate::word(word)).collect());
    match text.strip_prefix(SECCOMP) {
        Some(path) if path.contains(['/', '.', '~']) => {
            (SECCOMP.len(), Content::Paths { kind: Paths::Files, open: false })
        }
        Some(_) => (SECCOMP.len(), words(&["./", "/", "builtin", "unconfined"])),
        None => (0, words(&["no-new-privileges", SECCOMP])),
    }
}

/// Source, target and options of `-v`. The target is a path of the container, which we cannot see.
fn quadlets() -> Vec<Candidate> {
    quadlet::names().iter().map(|name| Candidate::new(name, "")).collect()
}

#[cfg(test)]
mod tests;
