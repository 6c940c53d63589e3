//! A place of a file as messages show it: BuildKit's excerpt, with a caret where the column is known.

use std::fmt::Write;
use std::ops::Range;

use super::ast::{Lines, ParseError};
use crate::spec::text::printable;

const RULE: &str = "--------------------";

/// How much of a line is shown, in characters.
const WIDTH_MAX: usize = 400;

/// The excerpt for an error of [`super::parse()`].
pub fn parse_error(name: &str, source: &[u8], error: &ParseError) -> String {
    excerpt(name, source, error.lines, error.column.clone())
}

/// The lines that are meant, marked, with some around them. `column` is a range of bytes of the first one.
/// Empty when there are no such lines.
pub fn excerpt(name: &str, source: &[u8], meant: Lines, column: Option<Range<usize>>) -> String {
    let source = source.strip_prefix(b"\xef\xbb\xbf").unwrap_or(source);
    let lines: Vec<&[u8]> = source.split(|byte| *byte == b'\n').collect();
    let count = lines.len();
    if meant.first == 0 || meant.first > count || meant.last < meant.first {
        return String::new();
    }
    let last_meant = meant.last.min(count);
    let (first, last) = around(meant.first, last_meant, count);
    let mut out = format!("{}:{}\n{RULE}\n", printable(name), meant.first);
    for number in first..=last {
        let is_meant = (meant.first..=last_meant).contains(&number);
        let line = shown(lines[number - 1]);
        // Writing to a String does not fail.
        let _ = writeln!(out, " {number:3} | {} {line}", if is_meant { ">>>" } else { "   " });
        if let Some(column) = column.as_ref().filter(|_| number == meant.first) {
            let _ = out.write_str(&caret(lines[number - 1], column));
        }
    }
    out.push_str(RULE);
    out.push('\n');
    out
}

/// Two or four lines more, evenly on both sides as far as there are any.
fn around(mut first: usize, mut last: usize, count: usize) -> (usize, usize) {
    let wanted = if first == last { 4 } else { 2 };
    let mut taken = 0;
    while taken < wanted {
        if first > 1 {
            first -= 1;
            taken += 1;
        }
        if last != count {
            last += 1;
            taken += 1;
        }
        taken += 1;
    }
    (first, last)
}

/// A line fit for a terminal; tabs stay.
fn shown(line: &[u8]) -> String {
    let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
    let cut: String = match line.char_indices().nth(WIDTH_MAX) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line.into_owned(),
    };
    cut.split('\t').map(printable).collect::<Vec<_>>().join("\t")
}

/// The line below that points at the columns.
fn caret(line: &[u8], column: &Range<usize>) -> String {
    let start = column.start.min(line.len());
    let end = column.end.clamp(start, line.len());
    let before = shown(&line[..start]);
    let width = shown(&line[start..end]).chars().count().max(1);
    if before.chars().count() + width > WIDTH_MAX {
        return String::new();
    }
    let blanks: String = before.chars().map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
    format!("     |     {blanks}{}\n", "^".repeat(width))
}
