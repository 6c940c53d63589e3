//! One pattern with wildcards, matched against a path and all directories above it at once.

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Byte(u8),
    /// `?`
    One,
    /// `[...]`
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
    /// `*`
    Star,
    /// `**/`: nothing, or anything up to a slash.
    Deep,
    /// `**` at the end.
    Rest,
}

/// A compiled pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Glob(Vec<Token>);

impl Glob {
    /// None when brackets or a backslash are left open.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut tokens = Vec::new();
        // `**name` without anything else is any path that ends so.
        let is_plain = |name: &&str| !name.is_empty() && !name.starts_with('/') && !name.contains(super::MARKS);
        if let Some(name) = text.strip_prefix("**").filter(is_plain) {
            tokens.push(Token::Rest);
            tokens.extend(name.bytes().map(Token::Byte));
            return Some(Self(tokens));
        }
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                '*' if chars.next_if_eq(&'*').is_some() => {
                    chars.next_if_eq(&'/');
                    tokens.push(if chars.peek().is_none() { Token::Rest } else { Token::Deep });
                }
                '*' => tokens.push(Token::Star),
                '?' => tokens.push(Token::One),
                '[' => tokens.push(class(&mut chars)?),
                '\\' => push(&mut tokens, chars.next()?),
                c => push(&mut tokens, c),
            }
        }
        tokens.dedup_by(|a, b| a == b && matches!(a, Token::Star | Token::Deep | Token::Rest));
        Some(Self(tokens))
    }

    /// Whether the whole path or its beginning up to a slash matches.
    pub(super) fn covers(&self, path: &[u8]) -> bool {
        let end = self.0.len();
        let mut now = States::new(end + 1);
        let mut next = States::new(end + 1);
        self.arrive(&mut now, 0);
        let mut at = 0;
        while at < path.len() {
            let (c, length) = character(&path[at..]);
            if c == '/' && now.has(end) {
                return true;
            }
            next.clear();
            for index in 0..now.list.len() {
                let state = now.list[index];
                if let Some(token) = self.0.get(state) {
                    self.step(token, state, c, &path[at..at + length], &mut next);
                }
            }
            // Bytes of a literal character are matched one by one.
            std::mem::swap(&mut now, &mut next);
            if now.list.is_empty() {
                return false;
            }
            at += length;
        }
        now.has(end)
    }

    fn step(&self, token: &Token, state: usize, c: char, bytes: &[u8], next: &mut States) {
        match token {
            Token::Byte(_) => {
                let literal = self.0[state..].iter().take(bytes.len());
                let same = literal.clone().count() == bytes.len()
                    && literal.zip(bytes).all(|(token, byte)| *token == Token::Byte(*byte));
                if same {
                    self.arrive(next, state + bytes.len());
                }
            }
            Token::One if c != '/' => self.arrive(next, state + 1),
            Token::Class { negated, ranges } => {
                if ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated {
                    self.arrive(next, state + 1);
                }
            }
            Token::Star if c != '/' => self.arrive(next, state),
            Token::Rest => self.arrive(next, state),
            Token::Deep => {
                next.add(state);
                if c == '/' {
                    self.arrive(next, state + 1);
                }
            }
            Token::One | Token::Star => {}
        }
    }

    /// Comes to a state, and to those behind what may stand for nothing.
    fn arrive(&self, states: &mut States, state: usize) {
        let mut state = state;
        loop {
            let known = states.add(state);
            match self.0.get(state) {
                Some(Token::Star | Token::Deep | Token::Rest) => state += 1,
                _ => return,
            }
            // A state of `**/` may be there without those behind it.
            if known && !matches!(self.0[state - 1], Token::Deep) {
                return;
            }
        }
    }
}

fn push(tokens: &mut Vec<Token>, c: char) {
    tokens.extend(c.encode_utf8(&mut [0; 4]).bytes().map(Token::Byte));
}

/// What follows `[`, up to its bracket.
fn class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<Token> {
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        if !ranges.is_empty() && chars.next_if_eq(&']').is_some() {
            return Some(Token::Class { negated, ranges });
        }
        let low = class_character(chars)?;
        let high = if chars.next_if_eq(&'-').is_some() { class_character(chars)? } else { low };
        ranges.push((low, high));
    }
}

fn class_character(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<char> {
    match chars.next()? {
        '-' | ']' => None,
        '\\' => chars.next(),
        c => Some(c),
    }
}

/// The first character and its bytes; what is no UTF-8 counts byte by byte.
fn character(text: &[u8]) -> (char, usize) {
    if text[0].is_ascii() {
        return (char::from(text[0]), 1);
    }
    let whole = |length: &usize| std::str::from_utf8(&text[..*length]).is_ok();
    match (2..=text.len().min(4)).find(whole) {
        Some(length) => {
            let text = std::str::from_utf8(&text[..length]).unwrap_or_default();
            (text.chars().next().unwrap_or(char::REPLACEMENT_CHARACTER), length)
        }
        None => (char::REPLACEMENT_CHARACTER, 1),
    }
}

/// A set of small numbers.
struct States {
    list: Vec<usize>,
    marks: Vec<bool>,
}

impl States {
    fn new(count: usize) -> Self {
        Self { list: Vec::with_capacity(count), marks: vec![false; count] }
    }

    fn has(&self, state: usize) -> bool {
        self.marks[state]
    }

    /// Whether it was there.
    fn add(&mut self, state: usize) -> bool {
        let known = std::mem::replace(&mut self.marks[state], true);
        if !known {
            self.list.push(state);
        }
        known
    }

    fn clear(&mut self) {
        for state in self.list.drain(..) {
            self.marks[state] = false;
        }
    }
}
