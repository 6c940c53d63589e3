//! From bytes to logical lines: directives, comments, continuations and heredocs.

use std::ops::Range;

use super::ast::{Directives, Lines, ParseError, Warning};
use super::heredoc::{self, Body};
use super::instruction;
use crate::spec::text::printable;

/// The longest line, in bytes. BuildKit's is 65535, which labels with data in them exceed.
const LINE_MAX: usize = 4 << 20;

/// How much of a message is kept, in characters.
const MESSAGE_MAX: usize = 300;

/// One instruction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::spec) struct Line {
    pub lines: Lines,
    /// Without the blanks around it and with continuations joined.
    pub text: String,
    /// How many bytes stand before it in its first line.
    pub(super) indent: usize,
    pub(super) heredocs: Vec<Body>,
}

/// All of a file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::spec) struct Scanned {
    pub directives: Directives,
    pub lines: Vec<Line>,
    pub(super) warnings: Vec<Warning>,
}

/// Takes a file apart.
pub(in crate::spec) fn scan(bytes: &[u8]) -> Result<Scanned, ParseError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut scanner = Scanner { rest: bytes, number: 0, scanned: Scanned::default(), top: Some(Vec::new()) };
    while let Some(line) = scanner.next()? {
        scanner.logical(line)?;
    }
    Ok(scanner.scanned)
}

/// A message about one line.
pub(super) fn refusal(message: impl Into<String>, lines: Lines, column: Option<Range<usize>>) -> ParseError {
    let mut message: String = message.into();
    if let Some((end, _)) = message.char_indices().nth(MESSAGE_MAX) {
        message.truncate(end);
        message.push_str("...");
    }
    ParseError { message: printable(&message), lines, column }
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

struct Scanner<'a> {
    rest: &'a [u8],
    /// Of the line read last.
    number: usize,
    scanned: Scanned,
    /// Names of the directives seen, as long as there may be more.
    top: Option<Vec<String>>,
}

impl<'a> Scanner<'a> {
    fn here(&self) -> Lines {
        Lines { first: self.number, last: self.number }
    }

    /// The next line with its end.
    fn next(&mut self) -> Result<Option<&'a str>, ParseError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let end = self.rest.iter().position(|byte| *byte == b'\n').map_or(self.rest.len(), |at| at + 1);
        let (line, rest) = self.rest.split_at(end);
        self.rest = rest;
        self.number += 1;
        if let Some(at) = line.iter().position(|byte| *byte == 0) {
            let message = "dockerfile holds a NUL byte: it is no text file";
            return Err(refusal(message, self.here(), Some(at..at + 1)));
        }
        if line.len() > LINE_MAX {
            let message = format!("dockerfile line greater than max allowed size of {LINE_MAX}");
            return Err(refusal(message, self.here(), None));
        }
        match std::str::from_utf8(line) {
            Ok(line) => Ok(Some(line)),
            // What a comment says does not matter.
            Err(_) if line.trim_ascii_start().starts_with(b"#") => Ok(Some("#\n")),
            Err(error) => {
                let at = error.valid_up_to();
                Err(refusal("dockerfile is not valid UTF-8", self.here(), Some(at..at + 1)))
            }
        }
    }

    /// Reads what begins with `line`.
    fn logical(&mut self, line: &str) -> Result<(), ParseError> {
        let whole = line.trim_end_matches(['\r', '\n']);
        let line = whole.trim_start();
        let indent = whole.len() - line.len();
        self.directive(line)?;
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        let first = self.number;
        let (part, mut open) = self.continued(line);
        let (mut text, mut empty) = (part.to_owned(), None);
        while open {
            let Some(line) = self.next()? else { break };
            let line = line.trim_end_matches(['\r', '\n']);
            if is_comment(line) {
                continue;
            }
            if line.trim().is_empty() {
                empty = empty.or(Some(self.number));
                continue;
            }
            let (part, more) = self.continued(line);
            text.push_str(part);
            open = more;
        }
        let mut lines = Lines { first, last: self.number };
        if empty.is_some() {
            let message = "Empty continuation line".to_owned();
            self.scanned.warnings.push(Warning { rule: "NoEmptyContinuation", message, lines });
        }
        let text = text.trim().to_owned();
        if text.is_empty() {
            return Ok(());
        }
        let mut heredocs = Vec::new();
        if instruction::may_have_heredocs(&text) {
            for announced in heredoc::announced(&text) {
                heredocs.push(self.body(announced, first)?);
            }
        }
        lines.last = self.number;
        self.scanned.lines.push(Line { lines, text, indent, heredocs });
        Ok(())
    }

    /// Takes off the escape character that continues a line. Two of them do not.
    fn continued<'b>(&self, line: &'b str) -> (&'b str, bool) {
        let escape = self.scanned.directives.escape;
        match line.trim_end_matches([' ', '\t']).strip_suffix(escape) {
            Some(part) if !part.ends_with(escape) => (part, true),
            _ => (line, false),
        }
    }

    fn body(&mut self, announced: heredoc::Announced, first: usize) -> Result<Body, ParseError> {
        let mut content = String::new();
        while let Some(line) = self.next()? {
            if announced.ends_with(line.trim_end_matches(['\r', '\n'])) {
                return Ok(Body { announced, content });
            }
            content.push_str(line);
        }
        Err(refusal("unterminated heredoc", Lines { first, last: self.number }, None))
    }

    /// `# NAME = VALUE` at the top.
    fn directive(&mut self, line: &str) -> Result<(), ParseError> {
        let Some(mut seen) = self.top.take() else { return Ok(()) };
        let Some((name, value)) = line.strip_prefix('#').and_then(|rest| rest.split_once('=')) else { return Ok(()) };
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        if value.is_empty() || !["syntax", "escape", "check"].contains(&name.as_str()) {
            return Ok(());
        }
        if seen.contains(&name) {
            return Err(refusal(format!("only one {name} parser directive can be used"), self.here(), None));
        }
        let directives = &mut self.scanned.directives;
        match name.as_str() {
            "syntax" => directives.syntax = Some(value.to_owned()),
            "check" => directives.check = Some(value.to_owned()),
            _ => match value {
                "\\" => directives.escape = '\\',
                "`" => directives.escape = '`',
                _ => {
                    let message = format!("invalid escape token '{value}' does not match ` or \\");
                    return Err(refusal(message, self.here(), None));
                }
            },
        }
        seen.push(name);
        self.top = Some(seen);
        Ok(())
    }
}
