//! `.dockerignore` and `--exclude`, as moby's patternmatcher reads them: the last pattern that matches a path or a
//! directory above it decides.

mod glob;
#[cfg(test)]
mod tests;

use glob::Glob;

/// What makes a pattern more than a path.
const MARKS: [char; 5] = ['*', '?', '[', ']', '\\'];

/// A pattern that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    #[error("illegal exclusion pattern: \"!\"")]
    LoneMark,
    #[error("invalid pattern {0:?}: syntax error in pattern")]
    Syntax(String),
}

/// What is hidden. Paths are relative to the top and clean: no `.`, no `..`, no slash at the ends.
#[derive(Clone, Debug, Default)]
pub struct Ignore {
    patterns: Vec<Pattern>,
}

#[derive(Clone, Debug)]
struct Pattern {
    /// `!`: what matches is visible after all.
    exception: bool,
    kind: Kind,
    /// Every match, and every directory above one, begins with this or is the beginning of this.
    literal: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Kind {
    /// Without wildcards.
    Exact,
    Glob(Glob),
}

impl Ignore {
    /// Reads a `.dockerignore`.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let lines = text.lines().filter(|line| !line.starts_with('#')).map(str::trim).filter(|line| !line.is_empty());
        let rooted = |line: &str| {
            let (mark, path) = match line.strip_prefix('!') {
                Some(path) => ("!", path.trim()),
                None => ("", line),
            };
            let path = if path.is_empty() { String::new() } else { clean(path) };
            // Absolute ones are relative to the top.
            let path = path.strip_prefix('/').filter(|path| !path.is_empty()).unwrap_or(&path);
            format!("{mark}{path}")
        };
        Self::list(lines.map(rooted))
    }

    /// Takes patterns as flags have them: nothing is a comment.
    pub fn patterns<S: AsRef<str>>(patterns: &[S]) -> Result<Self, InvalidPattern> {
        Self::list(patterns.iter().map(|pattern| pattern.as_ref().to_owned()))
    }

    fn list(texts: impl Iterator<Item = String>) -> Result<Self, InvalidPattern> {
        let texts = texts.filter(|text| !text.trim().is_empty());
        Ok(Self { patterns: texts.map(|text| Pattern::parse(&text)).collect::<Result<_, _>>()? })
    }

    /// Whether nothing is hidden.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether a path is hidden, by itself or by a directory above it. Patterns don't tell directories from
    /// files, so what the path is does not count.
    pub fn excludes(&self, path: &[u8], _is_dir: bool) -> bool {
        if path.is_empty() || path == b"." {
            return false;
        }
        let mut hidden = false;
        for pattern in &self.patterns {
            // An exception of nothing, or what is hidden already.
            if pattern.exception == hidden && pattern.covers(path) {
                hidden = !pattern.exception;
            }
        }
        hidden
    }

    /// Whether something below a directory may be visible. When not, it need not be read.
    pub fn may_descend(&self, directory: &[u8]) -> bool {
        if !self.excludes(directory, true) {
            return true;
        }
        let reaches = |pattern: &Pattern| {
            let literal = &pattern.literal;
            let common = literal.len().min(directory.len());
            literal[..common] == directory[..common]
                && match (literal.get(directory.len()), &pattern.kind) {
                    (Some(next), _) => *next == b'/',
                    (None, Kind::Exact) => false,
                    (None, Kind::Glob(_)) => true,
                }
        };
        self.patterns.iter().any(|pattern| pattern.exception && reaches(pattern))
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, InvalidPattern> {
        let cleaned = clean(text.trim());
        let (exception, path) = match cleaned.strip_prefix('!') {
            Some("") => return Err(InvalidPattern::LoneMark),
            Some(path) => (true, path),
            None => (false, cleaned.as_str()),
        };
        let literal = &path[..path.find(MARKS).unwrap_or(path.len())];
        let kind = if literal.len() == path.len() {
            Kind::Exact
        } else {
            Kind::Glob(Glob::parse(path).ok_or_else(|| InvalidPattern::Syntax(path.to_owned()))?)
        };
        Ok(Self { exception, kind, literal: literal.as_bytes().to_vec() })
    }

    /// Whether the path or a directory above it matches.
    fn covers(&self, path: &[u8]) -> bool {
        match &self.kind {
            Kind::Exact => {
                let rest = path.strip_prefix(&self.literal[..]);
                rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
            }
            Kind::Glob(glob) => path.starts_with(&self.literal) && glob.covers(path),
        }
    }
}

/// Go's `filepath.Clean`: no doubled slashes, no `.`, and `..` takes the part before it away.
pub fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    match (rooted, parts.join("/")) {
        (true, path) => format!("/{path}"),
        (false, path) if path.is_empty() => ".".to_owned(),
        (false, path) => path,
    }
}
