//! Words of an instruction: split at blanks that are not quoted, then quotes, escapes and
//! variables resolved as a shell does (Dockerfile reference, "Environment replacement").

use std::iter::Peekable;
use std::str::Chars;

/// A variable's value, None when it is not set.
pub(in crate::spec) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// How deep `${A:-${B:-...}}` may nest.
const DEPTH_MAX: u32 = 32;

/// Splits at blanks outside quotes; quotes and escapes stay in the words.
pub(super) fn split(text: &str) -> Vec<&str> {
    let (mut words, mut start, mut quote) = (Vec::new(), None, None);
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        if quote.is_none() && c.is_whitespace() {
            words.extend(start.take().map(|start| &text[start..at]));
            continue;
        }
        start.get_or_insert(at);
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            (None | Some('"'), '\\') => drop(chars.next()),
            _ => {}
        }
    }
    words.extend(start.map(|start| &text[start..]));
    words
}

/// Resolves quotes, escapes and variables. The error says what is wrong.
pub(in crate::spec) fn expand(word: &str, lookup: Lookup<'_>) -> Result<String, String> {
    let mut expansion = Expansion { chars: word.chars().peekable(), lookup, depth: 0 };
    expansion.until(None)
}

struct Expansion<'a> {
    chars: Peekable<Chars<'a>>,
    lookup: Lookup<'a>,
    depth: u32,
}

impl Expansion<'_> {
    /// Reads up to the end or to `close`, which is consumed.
    fn until(&mut self, close: Option<char>) -> Result<String, String> {
        let mut text = String::new();
        while let Some(c) = self.chars.next() {
            match c {
                c if Some(c) == close => return Ok(text),
                '\'' => self.single_quoted(&mut text)?,
                '"' => self.double_quoted(&mut text)?,
                '\\' => text.extend(self.chars.next()),
                '$' => text.push_str(&self.variable()?),
                c => text.push(c),
            }
        }
        match close {
            None => Ok(text),
            Some(close) => Err(format!("unexpected end of statement while looking for matching {close}")),
        }
    }

    fn single_quoted(&mut self, text: &mut String) -> Result<(), String> {
        loop {
            match self.chars.next() {
                Some('\'') => return Ok(()),
                Some(c) => text.push(c),
                None => return Err("unexpected end of statement while looking for matching single-quote".to_owned()),
            }
        }
    }

    fn double_quoted(&mut self, text: &mut String) -> Result<(), String> {
        loop {
            match self.chars.next() {
                Some('"') => return Ok(()),
                Some('$') => text.push_str(&self.variable()?),
                Some('\\') => match self.chars.next() {
                    Some(c @ ('"' | '$' | '\\')) => text.push(c),
                    Some(c) => text.extend(['\\', c]),
                    None => text.push('\\'),
                },
                Some(c) => text.push(c),
                None => return Err("unexpected end of statement while looking for matching double-quote".to_owned()),
            }
        }
    }

    /// What follows a dollar sign.
    fn variable(&mut self) -> Result<String, String> {
        if self.chars.next_if_eq(&'{').is_some() {
            return self.braced();
        }
        let name = self.name();
        Ok(if name.is_empty() { "$".to_owned() } else { (self.lookup)(&name).unwrap_or_default() })
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(c) = self.chars.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
            name.push(c);
            // Positional parameters have one digit.
            if name.len() == 1 && c.is_ascii_digit() {
                break;
            }
        }
        name
    }

    /// `{NAME}`, `{NAME:-WORD}`, `{NAME:+WORD}`, `{NAME:?WORD}`, and these without the colon, for
    /// which an empty value counts as one.
    fn braced(&mut self) -> Result<String, String> {
        let name = self.name();
        if name.is_empty() {
            return Err("bad substitution".to_owned());
        }
        let value = (self.lookup)(&name);
        let colon = self.chars.next_if_eq(&':').is_some();
        let modifier = match self.chars.next() {
            Some('}') if !colon => return Ok(value.unwrap_or_default()),
            Some(c @ ('-' | '+' | '?')) => c,
            Some(c) => return Err(format!("unsupported modifier ({c}) in substitution")),
            None => return Err("syntax error: missing '}'".to_owned()),
        };
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("substitutions are nested too deeply".to_owned());
        }
        let word = self.until(Some('}'))?;
        self.depth -= 1;
        let value = value.filter(|value| !colon || !value.is_empty());
        match (modifier, value) {
            ('-', value) => Ok(value.unwrap_or(word)),
            ('+', value) => Ok(value.map(|_| word).unwrap_or_default()),
            (_, Some(value)) => Ok(value),
            (_, None) if word.is_empty() => Err(format!("{name}: not set")),
            (_, None) => Err(format!("{name}: {word}")),
        }
    }
}
