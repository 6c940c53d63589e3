//! Words within a value: quotes and escapes as systemd has them.

/// A quote that is not closed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the quote {0} is not closed")]
pub struct BadWords(char);

/// Splits at white space; quotes join, wherever they begin, and C escapes are undone. An escape that
/// there is not stays as it is, as with systemd.
pub fn split_words(text: &str) -> Result<Vec<String>, BadWords> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match (c, quote) {
            ('\\', _) => unescape(&mut rest, word.get_or_insert_default()),
            (c, Some(open)) if c == open => quote = None,
            (c, Some(_)) => word.get_or_insert_default().push(c),
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, None) if c.is_ascii_whitespace() => words.extend(word.take()),
            (c, None) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    quote.map_or(Ok(words), |open| Err(BadWords(open)))
}

/// What comes after a backslash.
fn unescape(rest: &mut std::str::Chars<'_>, word: &mut String) {
    let before = rest.as_str();
    let Some(c) = rest.next() else { return word.push('\\') };
    let (digits, radix) = match c {
        'a' => return word.push('\x07'),
        'b' => return word.push('\x08'),
        'f' => return word.push('\x0c'),
        'n' => return word.push('\n'),
        'r' => return word.push('\r'),
        't' => return word.push('\t'),
        'v' => return word.push('\x0b'),
        's' => return word.push(' '),
        '\\' | '"' | '\'' => return word.push(c),
        'x' => (2, 16),
        'u' => (4, 16),
        'U' => (8, 16),
        '0'..='7' => (3, 8),
        _ => {
            word.push('\\');
            return word.push(c);
        }
    };
    let number = if radix == 8 { before } else { rest.as_str() };
    let decoded = number.get(..digits).and_then(|digits| u32::from_str_radix(digits, radix).ok());
    // Bytes that are no characters cannot be told apart from those that are, in text.
    match decoded.and_then(char::from_u32).filter(|c| *c != '\0' && (digits > 3 || c.is_ascii())) {
        Some(c) => {
            word.push(c);
            *rest = number[digits..].chars();
        }
        None => {
            word.push('\\');
            word.push(c);
        }
    }
}

/// The word as it is to be written so that [`split_words`], and systemd, read it again.
pub fn quote_word(word: &str) -> String {
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '"' | '\'' | '\\');
    // A semicolon alone would end the command.
    if !word.is_empty() && word != ";" && word.chars().all(plain) {
        return word.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in word.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            c if c.is_ascii_control() => quoted.push_str(&format!("\\x{:02x}", c as u32)),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", c as u32)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// Words as a value.
pub fn join_words<S: AsRef<str>>(words: impl IntoIterator<Item = S>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| quote_word(word.as_ref())).collect();
    words.join(" ")
}

/// `text` with what systemd would put something else for: its specifiers and its variables.
pub fn literal(text: &str) -> String {
    text.replace('%', "%%").replace('$', "$$")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn words_are_split_as_systemd_splits_them() {
        for (text, expected) in [
            ("", &[][..]),
            ("  a\t b ", &["a", "b"]),
            ("'a b' \"c d\"", &["a b", "c d"]),
            ("K=\"a b\"c", &["K=a bc"]),
            ("\"\" ''", &["", ""]),
            (r#"a\sb\tc\x41\u00fc\101\"\\"#, &["a b\tcAüA\"\\"]),
            (r"\q \x4 \400 \", &[r"\q", r"\x4", r"\400", "\\"]),
            ("'it\\'s'", &["it's"]),
            ("%n $HOME ${X}", &["%n", "$HOME", "${X}"]),
        ] {
            assert_eq!(split_words(text).unwrap(), expected, "{text}");
        }
        assert_eq!(split_words("a 'b").unwrap_err().to_string(), "the quote ' is not closed");
        assert!(split_words("\"").is_err());
    }

    #[test]
    fn what_is_quoted() {
        for (word, expected) in [
            ("a=b%n$x", "a=b%n$x"),
            ("", "\"\""),
            (";", "\";\""),
            ("a b", "\"a b\""),
            ("a\"\\\n\u{1}", r#""a\"\\\n\x01""#),
        ] {
            assert_eq!(quote_word(word), expected);
        }
        assert_eq!(literal("100% of $HOME"), "100%% of $$HOME");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(words in proptest::collection::vec("[^\0]{0,12}", 0..6)) {
            prop_assert_eq!(split_words(&join_words(&words)).unwrap(), words);
        }

        #[test]
        fn nothing_breaks_it(text in "\\PC*") {
            let _ = split_words(&text);
        }
    }
}
