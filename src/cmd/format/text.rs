//! The gate for foreign text (labels, commands, paths, registry answers) on its way to a terminal
//! or into a table: nothing that moves the cursor, changes colours or reorders letters passes.

use std::borrow::Cow;
use std::fmt::Write;
use std::io::Write as _;

/// Whether a terminal acts on `c` instead of showing it: C0, DEL, C1, bidirectional controls and
/// the Unicode line separators.
pub fn is_dangerous(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Text of several lines: LF and TAB stay, every other dangerous character becomes a visible
/// escape (`\x1b`, `\u202e`). Idempotent.
pub fn clean(text: &str) -> Cow<'_, str> {
    escape(text, |c| is_dangerous(c) && !matches!(c, '\n' | '\t'))
}

/// Text for one line or one table cell: LF and TAB are escaped too (`\n`, `\t`). Idempotent.
pub fn clean_line(text: &str) -> Cow<'_, str> {
    escape(text, is_dangerous)
}

/// Prints a message on stderr with the program's name. Nobody listening there is no failure.
pub fn warn(message: &str) {
    // In one piece: others may write there too.
    let _ = std::io::stderr().write_all(format!("rbox: {}\n", clean(message)).as_bytes());
}

fn escape(text: &str, dangerous: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&dangerous) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        // Writing to a String cannot fail.
        let _ = match c {
            _ if !dangerous(c) => out.write_char(c),
            '\n' => out.write_str("\\n"),
            '\t' => out.write_str("\\t"),
            '\r' => out.write_str("\\r"),
            _ if u32::from(c) < 0x100 => write!(out, "\\x{:02x}", u32::from(c)),
            _ => write!(out, "\\u{:04x}", u32::from(c)),
        };
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn controls_become_visible() {
        assert_eq!(clean("a\u{1b}[31mred\u{7}\r\nb\tc"), "a\\x1b[31mred\\x07\\r\nb\tc");
        assert_eq!(clean_line("a\nb\tc\u{9b}2J\u{7f}"), "a\\nb\\tc\\x9b2J\\x7f");
        assert_eq!(clean("evil\u{202e}gpj.exe\u{2066}"), "evil\\u202egpj.exe\\u2066");
        assert!(matches!(clean("naïve 漢字 ✓"), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn clean_text_is_safe_and_stays_the_same(text in any::<String>()) {
            let once = clean(&text).into_owned();
            prop_assert!(!once.chars().any(|c| is_dangerous(c) && c != '\n' && c != '\t'));
            prop_assert_eq!(clean(&once), once.as_str());
            let line = clean_line(&text).into_owned();
            prop_assert!(!line.contains(is_dangerous));
            prop_assert_eq!(clean_line(&line), line.as_str());
        }
    }
}
