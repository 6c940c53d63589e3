//! `--NAME[=VALUE]` between an instruction's name and its arguments.

use crate::spec::similar::nearest;

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing, or `=true` or `=false`.
    Bool,
    Text,
    /// Text, as often as one likes.
    Texts,
}

/// The flags that an instruction knows.
pub(super) type Known = &'static [(&'static str, Kind)];

/// The flags given, checked.
#[derive(Debug, Default)]
pub(super) struct Flags(Vec<(&'static str, String)>);

impl Flags {
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let found = self.0.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
    }

    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(known, _)| *known == name).map(|(_, value)| value.clone()).collect()
    }

    pub(super) fn bool(&self, name: &str) -> Option<bool> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value == "true")
    }
}

/// What is longer is no slip of the fingers.
const TYPED_MAX: usize = 64;

/// A message with what was probably meant.
pub(super) fn suggest(message: String, typed: &str, known: &[&str]) -> String {
    match Some(typed).filter(|typed| typed.len() <= TYPED_MAX).and_then(|typed| nearest(typed, known)) {
        Some(meant) => format!("{message} (did you mean {meant}?)"),
        None => message,
    }
}

/// Takes the flags off the front of an instruction's arguments; quotes and backslashes in them are resolved.
pub(super) fn split(text: &str) -> (Vec<String>, &str) {
    let (mut flags, mut rest) = (Vec::new(), text.trim_start());
    while rest.starts_with("--") {
        let (word, after) = word(rest);
        rest = after.trim_start();
        if word == "--" {
            break;
        }
        flags.push(word);
    }
    (flags, rest.trim_end())
}

fn word(text: &str) -> (String, &str) {
    let (mut word, mut quote) = (String::new(), None);
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match (quote, c) {
            (None, c) if c.is_whitespace() => return (word, &text[at..]),
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (_, '\\') => word.extend(chars.next().map(|(_, c)| c)),
            (_, c) => word.push(c),
        }
    }
    (word, "")
}

/// Checks flags against those known.
pub(super) fn check(given: &[String], known: Known) -> Result<Flags, String> {
    let mut flags = Flags::default();
    for flag in given {
        let (shown, value) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (flag.as_str(), None),
        };
        let typed = shown.strip_prefix("--").unwrap_or(shown);
        let Some((name, kind)) = known.iter().find(|(name, _)| *name == typed).copied() else {
            let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
            return Err(suggest(format!("unknown flag: {shown}"), typed, &names));
        };
        if kind != Kind::Texts && flags.0.iter().any(|(seen, _)| *seen == name) {
            return Err(format!("duplicate flag specified: {shown}"));
        }
        let value = match (kind, value) {
            (Kind::Bool, None) => "true".to_owned(),
            (Kind::Bool, Some(value)) => match value.to_ascii_lowercase().as_str() {
                "" => return Err(format!("missing a value on flag: {shown}")),
                value @ ("true" | "false") => value.to_owned(),
                _ => return Err(format!("expecting boolean value for flag {shown}, not: {value}")),
            },
            (_, None) => return Err(format!("missing a value on flag: {shown}")),
            (_, Some(value)) => value.to_owned(),
        };
        flags.0.push((name, value));
    }
    Ok(flags)
}
