//! Output in pieces of any size, as lines.

use crate::cmd::format::text::clean;

/// A line that never ends is cut here.
const LINE_MAX: usize = 64 << 10;

/// What came after the last newline.
#[derive(Debug, Default)]
pub struct Lines {
    rest: Vec<u8>,
}

impl Lines {
    /// Takes bytes and gives the lines they complete, without their ends.
    pub fn take(&mut self, bytes: &[u8]) -> Vec<String> {
        self.rest.extend_from_slice(bytes);
        let whole = match self.rest.iter().rposition(|byte| *byte == b'\n') {
            Some(last) => last + 1,
            None if self.rest.len() > LINE_MAX => self.rest.len(),
            None => return Vec::new(),
        };
        let lines: Vec<u8> = self.rest.drain(..whole).collect();
        let lines = lines.strip_suffix(b"\n").unwrap_or(&lines);
        lines.split(|byte| *byte == b'\n').map(text).collect()
    }

    /// What is left at the end, if anything.
    pub fn end(&mut self) -> Option<String> {
        let rest = std::mem::take(&mut self.rest);
        (!rest.is_empty()).then(|| text(&rest))
    }
}

/// A line as a terminal would show it: what stands before a carriage return is written over, colours and what
/// else steers a terminal are left out.
pub fn text(line: &[u8]) -> String {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let visible = line.rsplit(|byte| *byte == b'\r').next().unwrap_or_default();
    clean(&without_sequences(&String::from_utf8_lossy(visible))).into_owned()
}

/// Leaves out control sequences (ECMA-48: CSI, OSC and its like, and short ones).
fn without_sequences(text: &str) -> String {
    if !text.contains('\u{1b}') {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '\u{1b}' {
            out.push(c);
            continue;
        }
        match rest.next() {
            Some('[') => while rest.next().is_some_and(|c| !('\u{40}'..='\u{7e}').contains(&c)) {},
            Some(']' | 'P' | 'X' | '^' | '_') => {
                let mut before = ' ';
                for c in rest.by_ref() {
                    if c == '\u{7}' || (before == '\u{1b}' && c == '\\') {
                        break;
                    }
                    before = c;
                }
            }
            Some(' '..='/') => {
                rest.next();
            }
            _ => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sequences_are_left_out() {
        for (line, expected) in [
            ("\x1b[1;31mred\x1b[0m", "red"),
            ("a\x1b]0;title\x07b", "ab"),
            ("a\x1b]8;;x\x1b\\b", "ab"),
            ("10%\r20%\r30%\r", "30%"),
            ("a\x1b(Bb\x1bc", "ab"),
            ("a\tb\x07", "a\tb\\x07"),
            ("\u{fc}\u{6f22}", "\u{fc}\u{6f22}"),
            ("\x1b[", ""),
        ] {
            assert_eq!(text(line.as_bytes()), expected, "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn no_control_byte_comes_out(bytes in any::<Vec<u8>>()) {
            let mut lines = Lines::default();
            let mut all = lines.take(&bytes);
            all.extend(lines.end());
            prop_assert!(!all.iter().any(|line| line.chars().any(|c| c.is_control() && c != '\t')));
        }
    }
}
