//! From text to instructions: comments, continued lines, flags.

use super::{INSTRUCTIONS, InvalidChange};
use crate::spec::text::printable;

/// One instruction.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// In capitals, one of [`INSTRUCTIONS`].
    pub instruction: &'static str,
    /// `--NAME[=VALUE]` words before the rest.
    pub flags: Vec<String>,
    /// Without blanks around it.
    pub rest: String,
}

/// Takes the text apart. A backslash at the end of a line continues it; comments and blank lines
/// between are skipped.
pub(super) fn lines(text: &str) -> Result<Vec<Line>, InvalidChange> {
    if text.contains('\0') {
        return Err(InvalidChange::Nul);
    }
    let (mut found, mut open) = (Vec::new(), String::new());
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.starts_with('#') || trimmed.is_empty() {
            continue;
        }
        let line = if open.is_empty() { line.trim_start() } else { line };
        match line.trim_end().strip_suffix('\\') {
            Some(part) => open.push_str(part),
            None => {
                open.push_str(line);
                found.push(parse(std::mem::take(&mut open).trim())?);
            }
        }
    }
    if !open.trim().is_empty() {
        found.push(parse(open.trim())?);
    }
    Ok(found)
}

fn parse(line: &str) -> Result<Line, InvalidChange> {
    let (typed, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let (instruction, rest) = match known(typed) {
        Some(instruction) => (instruction, rest.trim().to_owned()),
        // podman: INSTRUCTION=VALUE.
        None => match line.split_once('=').and_then(|(name, rest)| Some((known(name)?, rest))) {
            Some((instruction, rest)) => (instruction, rest.trim().to_owned()),
            None => return Err(InvalidChange::Instruction(printable(&typed.to_ascii_lowercase()))),
        },
    };
    let (flags, rest) = flags(&rest);
    Ok(Line { instruction, flags, rest })
}

fn known(name: &str) -> Option<&'static str> {
    INSTRUCTIONS.into_iter().find(|known| known.eq_ignore_ascii_case(name))
}

/// Splits off leading `--NAME` words; a lone `--` ends them.
fn flags(rest: &str) -> (Vec<String>, String) {
    let (mut flags, mut rest) = (Vec::new(), rest);
    while rest.starts_with("--") {
        let (word, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        rest = after.trim_start();
        if word == "--" {
            break;
        }
        flags.push(word.to_owned());
    }
    (flags, rest.to_owned())
}
