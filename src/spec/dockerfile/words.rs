//! An instruction's arguments as words, before anything expands.

use serde_json::Value;

/// What separates arguments.
pub(super) fn is_blank(c: char) -> bool {
    matches!(c, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ')
}

/// Splits at blanks; quotes mean nothing.
pub(super) fn fields(text: &str) -> Vec<&str> {
    text.split(is_blank).filter(|field| !field.is_empty()).collect()
}

/// The first word and what follows the blanks after it.
pub(super) fn first(text: &str) -> (&str, &str) {
    match text.find(is_blank) {
        Some(end) => (&text[..end], text[end..].trim_start_matches(is_blank)),
        None => (text, ""),
    }
}

/// Splits at blanks outside quotes; quotes and escapes stay in the words.
pub(super) fn quoted(text: &str, escape: char) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), String::new(), None);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if quote.is_none() && c.is_whitespace() {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
            continue;
        }
        match quote {
            None if c == '\'' || c == '"' => quote = Some(c),
            Some(open) if open == c => quote = None,
            _ => {}
        }
        if c == escape && quote != Some('\'') {
            // An escape at the very end goes.
            let Some(next) = chars.next() else { break };
            word.extend([c, next]);
        } else {
            word.push(c);
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Why a JSON array is no list of words.
pub(super) const NOT_STRINGS: &str = "when using JSON array syntax, arrays must be comprised of strings only";

/// The words of a JSON array; None for what is no JSON array.
pub(super) fn json(text: &str) -> Result<Option<Vec<String>>, &'static str> {
    let text = text.trim_start();
    if !text.starts_with('[') {
        return Ok(None);
    }
    let Ok(values) = serde_json::from_str::<Vec<Value>>(text) else { return Ok(None) };
    let word = |value| match value {
        Value::String(word) => Ok(word),
        _ => Err(NOT_STRINGS),
    };
    values.into_iter().map(word).collect::<Result<_, _>>().map(Some)
}
