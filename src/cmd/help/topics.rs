//! What the command tree cannot say: a description, examples, exit codes and related commands, for
//! help and the man pages. Each command has a row in the file of its subject; tests say which one is
//! missing and parse every example.

mod builds;
mod containers;
mod images;
mod networks;
mod registries;
mod secrets;
mod services;
mod storage;
mod system;
mod volumes;

/// The text about one command.
#[derive(Debug)]
pub struct Topic {
    /// The command's words after the program's name; empty for the program itself.
    pub command: &'static str,
    /// Paragraphs, separated by an empty line.
    pub text: &'static str,
    /// What each line does, and the line.
    pub examples: &'static [(&'static str, &'static str)],
    /// Codes with their meaning; empty for those that every command has.
    pub exit: &'static [(&'static str, &'static str)],
    /// Commands to read about next.
    pub see: &'static [&'static str],
}

/// Exit codes of a command that says nothing else.
pub const EXIT: &[(&str, &str)] = &[
    ("0", "Success."),
    ("1", "It failed, and one line on standard error says why. Of several arguments the others were done."),
    ("125", "An unknown flag, or a value that a flag does not take."),
];

const EXIT_OF_RUN: &[(&str, &str)] = &[
    ("0 to 255", "That of the command in the container; 128+N if signal N killed it."),
    ("125", "The container could not be made or started: a bad value, no such image, a name in use."),
    ("126", "The command exists and cannot be executed."),
    ("127", "There is no such command."),
];

/// Full names that are not their short name behind a noun.
const FULL_NAMES: &[(&str, &str)] = &[("container ls", "ps"), ("image ls", "images"), ("image rm", "rmi")];

/// The rows, a list a subject.
const SUBJECTS: &[&[Topic]] = &[
    builds::TOPICS,
    containers::TOPICS,
    images::TOPICS,
    networks::TOPICS,
    registries::TOPICS,
    secrets::TOPICS,
    services::TOPICS,
    storage::TOPICS,
    system::TOPICS,
    volumes::TOPICS,
];

/// The topic of a command, and the words under which its examples are written: a full name such as
/// `container rm` has the text of `rm`.
pub fn find(words: &str) -> Option<(&'static Topic, &'static str)> {
    let exact = |words: &str| SUBJECTS.iter().flat_map(|topics| topics.iter()).find(|topic| topic.command == words);
    let full = FULL_NAMES.iter().find(|(full, _)| *full == words).map(|(_, short)| *short);
    let short = full.or_else(|| words.split_once(' ').map(|(_, last)| last));
    let topic = exact(words).or_else(|| exact(short?))?;
    Some((topic, topic.command))
}

/// An example written for the command `base`, for the same command by the name `words`.
pub fn spelled(line: &str, base: &str, words: &str) -> String {
    let mut spelled = String::new();
    let mut rest = line;
    let typed = format!("rbox {base}");
    while let Some(at) = rest.find(&typed).filter(|_| base != words) {
        let end = at + typed.len();
        let whole = rest[end..].chars().next().is_none_or(|next| !next.is_alphanumeric());
        spelled.push_str(&rest[..at]);
        spelled.push_str(if whole { "rbox " } else { &typed });
        spelled.push_str(if whole { words } else { "" });
        rest = &rest[end..];
    }
    spelled + rest
}
