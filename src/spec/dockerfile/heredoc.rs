//! `<<EOF` and what follows it.

use super::expand::Lexer;

/// A heredoc that a line announces; the content is read later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Announced {
    pub name: String,
    pub expand: bool,
    pub chomp: bool,
}

/// A heredoc as it stands in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Body {
    pub announced: Announced,
    /// With the leading tabs of `<<-`.
    pub content: String,
}

impl Body {
    /// The content as it is meant.
    pub(super) fn chomped(&self) -> String {
        if !self.announced.chomp {
            return self.content.clone();
        }
        self.content.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
    }
}

impl Announced {
    /// Reads `[N]<<[-]WORD`.
    pub(super) fn parse(word: &str) -> Option<Self> {
        let rest = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
        let (chomp, rest) = match rest.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let rest = rest.trim_start();
        if rest.is_empty() || rest.contains('<') {
            return None;
        }
        let lexer = Lexer { skip_unset: true, ..Lexer::new('\\') };
        let words = |lexer: Lexer| lexer.expand(rest, &|_| None).ok().map(|expanded| expanded.words);
        let ([name], [raw]) = (&words(lexer)?[..], &words(Lexer { raw_quotes: true, ..lexer })?[..]) else {
            return None;
        };
        let quotes = |text: &str| text.chars().filter(|c| matches!(c, '\'' | '"')).count();
        Some(Self { name: name.clone(), expand: quotes(name) == quotes(raw), chomp })
    }

    /// Whether this line, without its end, is the last one.
    pub(super) fn ends_with(&self, line: &str) -> bool {
        let line = if self.chomp { line.trim_start_matches('\t') } else { line };
        line == self.name
    }
}

/// The heredocs of a line, in their order. A line whose quotes don't match has none.
pub(super) fn announced(line: &str) -> Vec<Announced> {
    if !line.contains("<<") {
        return Vec::new();
    }
    let words = Lexer::raw().expand(line, &|_| None).map(|expanded| expanded.words).unwrap_or_default();
    words.iter().filter_map(|word| Announced::parse(word)).collect()
}
