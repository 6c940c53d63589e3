//! Words with their quotes, escapes and variables resolved, as BuildKit's `dockerfile/shell` does it (a part
//! of POSIX sh, and `${v/p/r}` of bash).

mod pattern;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use pattern::Pattern;

/// A variable's value, None when it is not set.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// How deep `${A:-${B:-...}}` may nest.
const DEPTH_MAX: u32 = 100;

/// How long an expansion may become, in bytes: `ENV A=$A$A` doubles it at every turn.
const LENGTH_MAX: usize = 16 << 20;

/// Why a word has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to process {word:?}: {reason}")]
pub struct ExpandError {
    /// As written, its beginning if it is long.
    pub word: String,
    pub reason: String,
}

/// What became of a word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expanded {
    pub text: String,
    /// The same split at blanks that were not quoted.
    pub words: Vec<String>,
    /// Variables that were asked for and have a value.
    pub used: BTreeSet<String>,
    /// Those that have none.
    pub missing: BTreeSet<String>,
}

/// How words are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lexer {
    /// `\` or a backquote.
    pub escape: char,
    /// Quotes stay where they are.
    pub raw_quotes: bool,
    /// Escapes stay where they are.
    pub raw_escapes: bool,
    /// Quotes mean nothing (content of heredocs).
    pub ignore_quotes: bool,
    /// What names a variable that is not set stays as it is.
    pub skip_unset: bool,
}

impl Lexer {
    /// One for the words of instructions.
    pub fn new(escape: char) -> Self {
        Self { escape, raw_quotes: false, raw_escapes: false, ignore_quotes: false, skip_unset: false }
    }

    /// One for the content of heredocs: variables only.
    pub fn content() -> Self {
        Self { ignore_quotes: true, ..Self::new('\\') }
    }

    /// One that leaves everything as it is and only finds the words.
    pub(super) fn raw() -> Self {
        Self { raw_quotes: true, raw_escapes: true, skip_unset: true, ..Self::new('\\') }
    }

    /// Resolves a text.
    pub fn expand(&self, text: &str, lookup: Lookup<'_>) -> Result<Expanded, ExpandError> {
        let mut reader = Reader { lexer: *self, text, at: 0, depth: 0, lookup, out: Expanded::default() };
        let (value, words) =
            reader.until(None, self.raw_escapes).map_err(|reason| ExpandError { word: shorten(text), reason })?;
        Ok(Expanded { text: value, words, ..reader.out })
    }
}

/// Resolves a word to one word.
pub fn expand(word: &str, escape: char, lookup: Lookup<'_>) -> Result<String, ExpandError> {
    Ok(Lexer::new(escape).expand(word, lookup)?.text)
}

/// Resolves a word to the words it makes: blanks that are not quoted separate them, those of variables too.
pub fn expand_words(word: &str, escape: char, lookup: Lookup<'_>) -> Result<Vec<String>, ExpandError> {
    Ok(Lexer::new(escape).expand(word, lookup)?.words)
}

/// Resolves the variables of a heredoc's content. As in BuildKit a backslash quotes what follows it and goes.
pub fn expand_content(content: &str, lookup: Lookup<'_>) -> Result<String, ExpandError> {
    Ok(Lexer::content().expand(content, lookup)?.text)
}

/// The variables that a word asks for, whether they are set or not.
pub fn variables(word: &str, escape: char) -> BTreeSet<String> {
    Lexer::new(escape).expand(word, &|_| None).map(|expanded| expanded.missing).unwrap_or_default()
}

/// A text for a message.
fn shorten(text: &str) -> String {
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// The words of a text, gathered with it.
#[derive(Default)]
struct Words {
    done: Vec<String>,
    word: String,
}

impl Words {
    fn push(&mut self, c: char) {
        if !c.is_whitespace() {
            self.word.push(c);
        } else if !self.word.is_empty() {
            self.done.push(std::mem::take(&mut self.word));
        }
    }

    fn finish(mut self) -> Vec<String> {
        if !self.word.is_empty() {
            self.done.push(self.word);
        }
        self.done
    }
}

struct Reader<'a> {
    lexer: Lexer,
    text: &'a str,
    at: usize,
    depth: u32,
    lookup: Lookup<'a>,
    out: Expanded,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn next_if(&mut self, wanted: impl Fn(char) -> bool) -> Option<char> {
        self.peek().filter(|c| wanted(*c)).inspect(|c| self.at += c.len_utf8())
    }

    /// Reads up to the end or to `close`, which is consumed.
    fn until(&mut self, close: Option<char>, raw_escapes: bool) -> Result<(String, Vec<String>), String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err("substitutions are nested too deeply".to_owned());
        }
        let outer = std::mem::replace(&mut self.lexer.raw_escapes, raw_escapes);
        let read = self.until_inner(close);
        self.lexer.raw_escapes = outer;
        self.depth -= 1;
        read
    }

    fn until_inner(&mut self, close: Option<char>) -> Result<(String, Vec<String>), String> {
        let (mut text, mut words) = (String::new(), Words::default());
        while let Some(c) = self.next() {
            match c {
                c if Some(c) == close => return Ok((text, words.finish())),
                '\'' | '"' if !self.lexer.ignore_quotes => {
                    let part = if c == '"' { self.double_quoted()? } else { self.single_quoted()? };
                    text.push_str(&part);
                    words.word.push_str(&part);
                }
                '$' => {
                    let part = self.variable()?;
                    text.push_str(&part);
                    part.chars().for_each(|c| words.push(c));
                }
                '<' if self.lexer.raw_quotes && !self.lexer.ignore_quotes && close.is_none() => {
                    let part = self.possible_heredoc();
                    text.push_str(part);
                    words.word.push_str(part);
                }
                c if c == self.lexer.escape => {
                    let kept = self.lexer.raw_escapes.then_some(c).into_iter().chain(self.next());
                    for c in kept {
                        text.push(c);
                        words.word.push(c);
                    }
                }
                c => {
                    text.push(c);
                    words.push(c);
                }
            }
            if text.len() > LENGTH_MAX {
                return Err(format!("the result is longer than {LENGTH_MAX} bytes"));
            }
        }
        match close {
            None => Ok((text, words.finish())),
            Some(close) => Err(format!("unexpected end of statement while looking for matching {close}")),
        }
    }

    /// After `<`: blanks between `<<` or `<<-` and the word belong to it.
    fn possible_heredoc(&mut self) -> &'static str {
        if self.next_if(|c| c == '<').is_none() {
            return "<";
        }
        let dash = self.next_if(|c| c == '-').is_some();
        let rest = &self.text[self.at..];
        let word = rest.trim_start();
        if !word.is_empty() && !word.starts_with('<') {
            self.at += rest.len() - word.len();
        }
        if dash { "<<-" } else { "<<" }
    }

    fn single_quoted(&mut self) -> Result<String, String> {
        let rest = &self.text[self.at..];
        let end = rest.find('\'').ok_or("unexpected end of statement while looking for matching single-quote")?;
        self.at += end + 1;
        Ok(if self.lexer.raw_quotes { format!("'{}'", &rest[..end]) } else { rest[..end].to_owned() })
    }

    fn double_quoted(&mut self) -> Result<String, String> {
        let mut text = String::new();
        let quote = self.lexer.raw_quotes.then_some('"');
        text.extend(quote);
        loop {
            match self.next() {
                Some('"') => {
                    text.extend(quote);
                    return Ok(text);
                }
                Some('$') => text.push_str(&self.variable()?),
                Some(c) if c == self.lexer.escape => {
                    text.extend(self.lexer.raw_escapes.then_some(c));
                    let escape = self.lexer.escape;
                    match self.next_if(|next| next == '"' || next == '$' || next == escape) {
                        Some(quoted) => text.push(quoted),
                        None if self.peek().is_some() => text.push(c),
                        None => {}
                    }
                }
                Some(c) => text.push(c),
                None => return Err("unexpected end of statement while looking for matching double-quote".to_owned()),
            }
        }
    }

    fn value(&mut self, name: &str) -> Option<String> {
        let value = (self.lookup)(name);
        let list = if value.is_some() { &mut self.out.used } else { &mut self.out.missing };
        if !list.contains(name) {
            list.insert(name.to_owned());
        }
        value
    }

    /// What follows a dollar sign.
    fn variable(&mut self) -> Result<String, String> {
        if self.next_if(|c| c == '{').is_some() {
            return self.braced();
        }
        let name = self.name();
        if name.is_empty() {
            return Ok("$".to_owned());
        }
        Ok(match self.value(&name) {
            None if self.lexer.skip_unset => format!("${name}"),
            value => value.unwrap_or_default(),
        })
    }

    /// Letters, digits and underscores, digits only, or a special parameter of the shell.
    fn name(&mut self) -> String {
        if let Some(special) = self.next_if(|c| "@*#?-$!".contains(c)) {
            return special.to_string();
        }
        let rest = &self.text[self.at..];
        let digits = rest.starts_with(char::is_numeric);
        let stop = |c: char| if digits { !c.is_numeric() } else { !c.is_alphanumeric() && c != '_' };
        let name = &rest[..rest.find(stop).unwrap_or(rest.len())];
        self.at += name.len();
        name.to_owned()
    }

    fn braced(&mut self) -> Result<String, String> {
        match self.peek() {
            None => return Err("syntax error: missing '}'".to_owned()),
            Some('{' | '}' | ':') => return Err("syntax error: bad substitution".to_owned()),
            Some(_) => {}
        }
        let name = self.name();
        match self.next() {
            Some('}') => Ok(match self.value(&name) {
                None if self.lexer.skip_unset => format!("${{{name}}}"),
                value => value.unwrap_or_default(),
            }),
            Some(':') => match self.next() {
                Some(modifier) => self.modified(&name, true, modifier),
                None => Err("syntax error: missing '}'".to_owned()),
            },
            Some(c @ ('+' | '-' | '?' | '#' | '%')) => self.modified(&name, false, c),
            Some('/') => self.replaced(&name),
            Some(c) => Err(format!("unsupported modifier ({c}) in substitution")),
            None => Err("syntax error: missing '}'".to_owned()),
        }
    }

    /// A part of `${}` up to `close`.
    fn part(&mut self, close: char, raw_escapes: bool, missing: &str) -> Result<String, String> {
        match self.until(Some(close), raw_escapes) {
            Ok((word, _)) => Ok(word),
            Err(_) if self.peek().is_none() && self.depth < DEPTH_MAX => {
                Err(format!("syntax error: missing {missing}"))
            }
            Err(reason) => Err(reason),
        }
    }

    /// `${name:-word}` and its like. With the colon an empty value counts as none.
    fn modified(&mut self, name: &str, colon: bool, modifier: char) -> Result<String, String> {
        let word = self.part('}', matches!(modifier, '#' | '%'), "'}'")?;
        let sign = if colon { format!(":{modifier}") } else { modifier.to_string() };
        if !"+-?#%".contains(modifier) {
            return Err(format!("unsupported modifier ({sign}) in substitution"));
        }
        let value = self.value(name);
        if value.is_none() && self.lexer.skip_unset {
            return Ok(format!("${{{name}{sign}{word}}}"));
        }
        let unset = value.is_none();
        let full = value.clone().filter(|value| !colon || !value.is_empty());
        match modifier {
            '-' => Ok(full.unwrap_or(word)),
            '+' => Ok(full.map(|_| word).unwrap_or_default()),
            '?' => full.ok_or_else(|| match (word.is_empty(), unset) {
                (false, _) => format!("{name}: {word}"),
                (true, true) => format!("{name}: is not allowed to be unset"),
                (true, false) => format!("{name}: is not allowed to be empty"),
            }),
            _ => {
                let value = value.unwrap_or_default();
                let (longest, word) = match word.strip_prefix(modifier) {
                    Some(word) => (true, word),
                    None => (false, word.as_str()),
                };
                let pattern = Pattern::parse(word)?;
                Ok(if modifier == '#' {
                    pattern.without_prefix(&value, longest).to_owned()
                } else {
                    pattern.without_suffix(&value, longest)
                })
            }
        }
    }

    /// `${name/pattern/replacement}`, with a second slash for all places.
    fn replaced(&mut self, name: &str) -> Result<String, String> {
        let all = self.next_if(|c| c == '/').is_some();
        let pattern = self.part('/', true, "'/' in ${}")?;
        let replacement = self.part('}', true, "'}'")?;
        match self.value(name) {
            None if self.lexer.skip_unset => Ok(format!("${{{name}/{pattern}/{replacement}}}")),
            value => Pattern::parse(&pattern)?.replace(&value.unwrap_or_default(), &replacement, all),
        }
    }
}
