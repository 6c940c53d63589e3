//! `*` and `?` in `${v#p}`, `${v%p}` and `${v/p/r}`.

/// How long a pattern may be, in characters: matching takes this times the value's length.
const PATTERN_MAX: usize = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Any,
    One,
    Char(char),
}

/// A shell pattern without brackets.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Token>);

/// Where the matches from one place end, in characters from there.
struct Found {
    shortest: usize,
    longest: usize,
}

impl Pattern {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (mut tokens, mut chars) = (Vec::new(), text.chars().peekable());
        while let Some(c) = chars.next() {
            tokens.push(match c {
                '*' => Token::Any,
                '?' => Token::One,
                '\\' => match chars.next() {
                    Some(c @ ('*' | '?' | '\\' | '}' | '/')) => Token::Char(c),
                    other => {
                        let shown = other.map(String::from).unwrap_or_default();
                        return Err(format!("invalid pattern ({text}) in substitution: invalid escape '\\{shown}'"));
                    }
                },
                c => Token::Char(c),
            });
        }
        tokens.dedup_by(|a, b| *a == Token::Any && *b == Token::Any);
        if tokens.len() > PATTERN_MAX {
            return Err(format!("a pattern is longer than {PATTERN_MAX} characters"));
        }
        Ok(Self(tokens))
    }

    /// Matches at the start of `text`. `Err(true)` when a later start can't match either.
    fn find(&self, text: impl Iterator<Item = char>) -> Result<Found, bool> {
        let end = self.0.len();
        // state[i]: the first i tokens are matched.
        let mut state = vec![false; end + 1];
        let mut found: Option<Found> = None;
        let mut starred = false;
        let close = |state: &mut Vec<bool>, starred: &mut bool| {
            for (i, token) in self.0.iter().enumerate() {
                if state[i] && *token == Token::Any {
                    state[i + 1] = true;
                    *starred = true;
                }
            }
        };
        state[0] = true;
        close(&mut state, &mut starred);
        if state[end] {
            found = Some(Found { shortest: 0, longest: 0 });
        }
        for (at, c) in text.enumerate() {
            for i in (0..end).rev() {
                let next = state[i] && (self.0[i] == Token::One || self.0[i] == Token::Char(c));
                state[i + 1] = next || state[i + 1] && self.0.get(i + 1) == Some(&Token::Any);
            }
            state[0] = self.0.first() == Some(&Token::Any);
            close(&mut state, &mut starred);
            if state[end] {
                found = Some(Found { shortest: found.map_or(at + 1, |found| found.shortest), longest: at + 1 });
            }
            if !state.contains(&true) {
                break;
            }
        }
        found.ok_or(starred)
    }

    pub(super) fn without_prefix<'a>(&self, value: &'a str, longest: bool) -> &'a str {
        let Ok(found) = self.find(value.chars()) else { return value };
        let count = if longest { found.longest } else { found.shortest };
        value.char_indices().nth(count).map_or("", |(at, _)| &value[at..])
    }

    pub(super) fn without_suffix(&self, value: &str, longest: bool) -> String {
        let reversed = Self(self.0.iter().rev().copied().collect());
        let Ok(found) = reversed.find(value.chars().rev()) else { return value.to_owned() };
        let count = if longest { found.longest } else { found.shortest };
        value.chars().take(value.chars().count() - count).collect()
    }

    /// Replaces the first place, or all.
    pub(super) fn replace(&self, value: &str, replacement: &str, all: bool) -> Result<String, String> {
        let (mut out, mut at, mut copied) = (String::new(), 0, 0);
        let mut after_match = false;
        loop {
            let rest = &value[at..];
            let step = rest.chars().next().map_or(1, char::len_utf8);
            match self.find(rest.chars()) {
                Err(true) => break,
                Ok(found) if found.longest > 0 || !after_match => {
                    out.push_str(&value[copied..at]);
                    out.push_str(replacement);
                    at += rest.char_indices().nth(found.longest).map_or(rest.len(), |(end, _)| end);
                    copied = at;
                    after_match = true;
                    if found.longest == 0 {
                        at += step;
                        after_match = false;
                    }
                    if !all {
                        break;
                    }
                }
                _ => {
                    at += step;
                    after_match = false;
                }
            }
            if out.len() > super::LENGTH_MAX {
                return Err(format!("the result is longer than {} bytes", super::LENGTH_MAX));
            }
            if at > value.len() {
                break;
            }
        }
        out.push_str(&value[copied..]);
        Ok(out)
    }
}
