//! Go's `%q`: how docker shows commands, and how Go's own messages show names.

use std::fmt::Write;

/// The text in double quotes, with what Go's strconv.Quote escapes escaped its way.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        push_escaped(&mut out, c);
    }
    out.push('"');
    out
}

fn push_escaped(out: &mut String, c: char) {
    // Writing to a String cannot fail.
    let _ = match c {
        '"' => out.write_str("\\\""),
        '\\' => out.write_str("\\\\"),
        '\u{7}' => out.write_str("\\a"),
        '\u{8}' => out.write_str("\\b"),
        '\u{c}' => out.write_str("\\f"),
        '\n' => out.write_str("\\n"),
        '\r' => out.write_str("\\r"),
        '\t' => out.write_str("\\t"),
        '\u{b}' => out.write_str("\\v"),
        _ if is_print(c) => out.write_char(c),
        _ if c < ' ' || c == '\u{7f}' => write!(out, "\\x{:02x}", u32::from(c)),
        _ if u32::from(c) < 0x1_0000 => write!(out, "\\u{:04x}", u32::from(c)),
        _ => write!(out, "\\U{:08x}", u32::from(c)),
    };
}

/// Go's unicode.IsPrint: letters, marks, numbers, punctuation, symbols and the ASCII space.
fn is_print(c: char) -> bool {
    if c.is_ascii() {
        return !c.is_ascii_control();
    }
    // Rust keeps the same table behind escape_debug, which spares combining marks unless they come
    // first.
    let mut after_a_letter = String::from("a");
    after_a_letter.push(c);
    after_a_letter.escape_debug().nth(1) != Some('\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_as_go_does() {
        for (text, quoted) in [
            ("sh -c 'echo hi'", r#""sh -c 'echo hi'""#),
            ("say \"x\" \\", r#""say \"x\" \\""#),
            ("a\n\t\u{1b}\u{7f}", r#""a\n\t\x1b\x7f""#),
            ("docker-entrypoint.s…", r#""docker-entrypoint.s…""#),
            ("漢字é", r#""漢字é""#),
            ("e\u{301}", "\"e\u{301}\""),
            ("\u{202e}\u{a0}\u{200b}", r#""\u202e\u00a0\u200b""#),
            ("\u{e0001}", r#""\U000e0001""#),
        ] {
            assert_eq!(quote(text), quoted);
        }
    }
}
