//! Text from elsewhere, made fit for a terminal.

/// Escapes control characters and those that reorder or hide text; everything else stays.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_format(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

/// Directional marks, embeddings, overrides and isolates, line separators, byte order mark.
fn is_format(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes() {
        assert_eq!(printable("it's \"ü\""), "it's \"ü\"");
        assert_eq!(printable("a\u{1b}[0m\n\u{9b}\u{202e}"), "a\\u{1b}[0m\\n\\u{9b}\\u{202e}");
    }
}
