//! Wildcards: Go's `filepath.Match` for sources, and lists of patterns as `.dockerignore` has them for
//! `--exclude` and `--parents`.

/// A pattern that cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub struct BadPattern;

/// Whether a text holds wildcards: `*`, `?` or `[` that no backslash precedes.
pub fn has_wildcards(text: &[u8]) -> bool {
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'*' | b'?' | b'[' => return true,
            _ => {}
        }
    }
    false
}

/// Whether a name, which has no slash, matches a pattern of one component.
pub fn matches(pattern: &[u8], name: &[u8]) -> bool {
    // Where to go on when what follows the last star does not match.
    let mut again: Option<(&[u8], &[u8])> = None;
    let (mut rest, mut text) = (pattern, name);
    loop {
        if let [b'*', after @ ..] = rest {
            again = Some((after, text));
            rest = after;
            continue;
        }
        let step = match (rest.is_empty(), text.is_empty()) {
            (true, true) => return true,
            (true, false) | (false, true) => None,
            (false, false) => one(rest, text),
        };
        match step {
            Some((pattern_after, text_after)) => (rest, text) = (pattern_after, text_after),
            None => match again {
                Some((after, at)) if !at.is_empty() => {
                    let at = &at[character(at).1..];
                    again = Some((after, at));
                    (rest, text) = (after, at);
                }
                _ => return false,
            },
        }
    }
}

/// Checks a pattern of any number of components.
pub fn check(pattern: &[u8]) -> Result<(), BadPattern> {
    let mut rest = pattern;
    while let [first, after @ ..] = rest {
        rest = match first {
            b'\\' => after.get(character(after).1..).filter(|_| !after.is_empty()).ok_or(BadPattern)?,
            b'[' => class(after, 'a').ok_or(BadPattern)?.1,
            _ => after,
        };
    }
    Ok(())
}

/// Matches one character that is no star.
fn one<'p, 't>(pattern: &'p [u8], text: &'t [u8]) -> Option<(&'p [u8], &'t [u8])> {
    let (found, length) = character(text);
    let after = &text[length..];
    match pattern {
        [b'?', rest @ ..] => Some((rest, after)),
        [b'[', rest @ ..] => {
            let (matched, rest) = class(rest, found)?;
            matched.then_some((rest, after))
        }
        [b'\\', rest @ ..] | rest if !rest.is_empty() => (rest[0] == text[0]).then(|| (&rest[1..], &text[1..])),
        _ => None,
    }
}

/// A class behind its `[`: whether a character is in it, and what follows.
fn class(mut rest: &[u8], found: char) -> Option<(bool, &[u8])> {
    let negated = rest.first() == Some(&b'^');
    if negated {
        rest = &rest[1..];
    }
    let (mut matched, mut ranges) = (false, 0);
    loop {
        if let ([b']', after @ ..], true) = (rest, ranges > 0) {
            return Some((matched != negated, after));
        }
        let (low, after) = class_character(rest)?;
        let (high, after) = match after {
            [b'-', after @ ..] => class_character(after)?,
            _ => (low, after),
        };
        matched |= (low..=high).contains(&found);
        ranges += 1;
        rest = after;
    }
}

fn class_character(rest: &[u8]) -> Option<(char, &[u8])> {
    let rest = match rest {
        [] | [b'-', ..] | [b']', ..] => return None,
        [b'\\', escaped @ ..] => escaped,
        _ => rest,
    };
    if rest.is_empty() {
        return None;
    }
    let (found, length) = character(rest);
    Some((found, &rest[length..]))
}

/// The first character and how many bytes it has; what is no UTF-8 counts byte by byte.
fn character(text: &[u8]) -> (char, usize) {
    for length in 1..=text.len().min(4) {
        if let Some(found) = std::str::from_utf8(&text[..length]).ok().and_then(|text| text.chars().next()) {
            return (found, length);
        }
    }
    (char::REPLACEMENT_CHARACTER, text.len().min(1))
}

/// Components of a path without `.`; `..` takes the one before away, and none above the top.
pub fn components(path: &[u8]) -> Vec<&[u8]> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts
}

/// A path's pattern, `**` standing for any number of components.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathPattern {
    parts: Vec<Vec<u8>>,
}

impl PathPattern {
    pub fn parse(text: &str) -> Result<Self, BadPattern> {
        check(text.as_bytes())?;
        Ok(Self { parts: components(text.as_bytes()).into_iter().map(<[u8]>::to_vec).collect() })
    }

    /// Whether the path or a directory above it matches.
    pub fn covers(&self, path: &[u8]) -> bool {
        let parts: Vec<&[u8]> = path.split(|&byte| byte == b'/').collect();
        (1..=parts.len()).any(|end| whole(&self.parts, &parts[..end]))
    }

    /// Whether something below this directory may match.
    pub fn may_cover_below(&self, directory: &[u8]) -> bool {
        let parts: Vec<&[u8]> = directory.split(|&byte| byte == b'/').collect();
        beginning(&self.parts, &parts)
    }
}

fn whole(pattern: &[Vec<u8>], path: &[&[u8]]) -> bool {
    match (pattern, path) {
        ([], []) => true,
        ([first, rest @ ..], _) if first == b"**" => {
            // At the end it stands for something.
            let least = usize::from(rest.is_empty());
            (least..=path.len()).any(|skipped| whole(rest, &path[skipped..]))
        }
        ([first, rest @ ..], [name, below @ ..]) => matches(first, name) && whole(rest, below),
        _ => false,
    }
}

fn beginning(pattern: &[Vec<u8>], path: &[&[u8]]) -> bool {
    match (pattern, path) {
        ([first, ..], _) if first == b"**" => true,
        ([_, ..], []) => true,
        ([first, rest @ ..], [name, below @ ..]) => matches(first, name) && beginning(rest, below),
        ([], _) => false,
    }
}

/// Patterns of which the last one that matches decides; `!` makes an exception.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PatternList {
    patterns: Vec<(PathPattern, bool)>,
}

impl PatternList {
    pub fn parse(lines: &[String]) -> Result<Self, String> {
        let one = |line: &String| {
            let line = line.trim();
            let (text, exception) = match line.strip_prefix('!') {
                Some(text) => (text, true),
                None => (line, false),
            };
            let pattern = PathPattern::parse(text).map_err(|BadPattern| line.to_owned())?;
            Ok((pattern, exception))
        };
        let patterns = lines.iter().filter(|line| !line.trim().is_empty()).map(one).collect::<Result<_, String>>()?;
        Ok(Self { patterns })
    }

    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether the path, or a directory above it, matches and is no exception.
    pub fn matches(&self, path: &[u8]) -> bool {
        let last = self.patterns.iter().rev().find(|(pattern, _)| pattern.covers(path));
        last.is_some_and(|(_, exception)| !exception)
    }

    /// Whether there may be exceptions below a directory that matches.
    pub fn may_except_below(&self, directory: &[u8]) -> bool {
        self.patterns.iter().any(|(pattern, exception)| *exception && pattern.may_cover_below(directory))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_in_go() {
        for (pattern, name, expected) in [
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*c", "abc", true),
            ("a*", "a", true),
            ("a*", "abc", true),
            ("a*b*c*d*e*", "axbxcxdxe", true),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("a*b?c*x", "abxbbxdbxebxczzy", false),
            ("ab[c]", "abc", true),
            ("ab[b-d]", "abc", true),
            ("ab[e-g]", "abc", false),
            ("ab[^c]", "abc", false),
            ("ab[^e-g]", "abc", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "ab", false),
            ("a?b", "a☺b", true),
            ("a[^a]b", "a☺b", true),
            ("a???b", "a☺b", false),
            ("[a-ζ]*", "α", true),
            ("*[a-ζ]", "A", false),
            ("[\\]a]", "]", true),
            ("[x\\-]", "-", true),
            ("[x\\-]", "z", false),
            ("*x", "xxx", true),
            ("[[]x", "[x", true),
            ("", "", true),
            ("?", "", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
            assert_eq!(check(pattern.as_bytes()), Ok(()), "{pattern}");
        }
        for bad in ["[]a]", "[-]", "[x-]", "[-x]", "\\", "[a-b-c]", "[", "[^", "[^bc", "a["] {
            assert_eq!(check(bad.as_bytes()), Err(BadPattern), "{bad}");
        }
        assert!(matches(b"a?c", b"a\xffc"));
        assert!(has_wildcards(b"a*") && !has_wildcards(b"a\\*"));
    }

    #[test]
    fn the_last_pattern_decides() {
        let list = |lines: &[&str]| {
            PatternList::parse(&lines.iter().map(|&line| line.to_owned()).collect::<Vec<_>>()).unwrap()
        };
        let patterns = list(&["*.txt", "!keep.txt", "deep/**/x", "dir/"]);
        for (path, expected) in [
            ("a.txt", true),
            ("keep.txt", false),
            ("sub/a.txt", false),
            ("deep/x", true),
            ("deep/a/b/x", true),
            ("deep/a/b/x/y", true),
            ("dir", true),
            ("dir/file", true),
        ] {
            assert_eq!(patterns.matches(path.as_bytes()), expected, "{path}");
        }
        let patterns = list(&["a", "!a/b/c"]);
        assert!(patterns.may_except_below(b"a") && patterns.may_except_below(b"a/b"));
        assert!(!patterns.may_except_below(b"a/x"));
        assert!(list(&["**/*.o"]).matches(b"x/y/z.o"));
        assert!(list(&["x/**"]).matches(b"x/y") && !list(&["x/**"]).matches(b"x"));
    }
}
