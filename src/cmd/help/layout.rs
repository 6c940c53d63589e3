//! Two columns within 80 characters.

use std::fmt::Write;

/// Lines are no longer than this.
pub const WIDTH: usize = 80;
/// A left side longer than this has its right side on the next line.
const LEFT_MAX: usize = 26;

/// How wide the left column of these rows must be.
pub fn left_width<'a>(lefts: impl Iterator<Item = &'a str>) -> usize {
    lefts.map(str::len).filter(|length| *length <= LEFT_MAX).max().unwrap_or(0)
}

/// Writes a row, indented by two.
pub fn row(out: &mut String, left: &str, right: &str, left_width: usize) {
    let column = 2 + left_width + 3;
    let mut lines = wrap(right, WIDTH - column).into_iter();
    let first = if left.len() > left_width { None } else { lines.next() };
    // Writing to a String cannot fail.
    let _ = match first {
        Some(first) => writeln!(out, "  {left:left_width$}   {first}"),
        None => writeln!(out, "  {left}"),
    };
    for line in lines {
        let _ = writeln!(out, "{:column$}{line}", "");
    }
}

/// Breaks text at blanks; a longer word has a line of its own.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stay_within_the_width() {
        let mut out = String::new();
        row(&mut out, "-a", &"word ".repeat(30), 10);
        row(&mut out, "a-very-long-left-side", "right", 10);
        row(&mut out, "nothing", "", 10);
        assert!(out.lines().all(|line| line.len() <= WIDTH), "{out}");
        assert!(out.contains("\n  a-very-long-left-side\n               right\n  nothing\n"), "{out}");
    }

    #[test]
    fn text_is_broken_at_blanks() {
        assert_eq!(wrap("aa bb  cc\ndddddddd e", 5), ["aa bb", "cc", "dddddddd", "e"]);
        assert_eq!(wrap("", 5), [""; 0]);
    }
}
