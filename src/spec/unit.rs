//! systemd's unit files: their syntax (systemd.syntax(7)), the words within a value (systemd.service(5),
//! "Command lines"), and writing them so that systemd reads the same again. Specifiers (`%n`) and
//! variables (`$X`) are systemd's affair and pass through.

mod words;

use std::fmt;
use std::rc::Rc;

pub use self::words::{BadWords, join_words, literal, quote_word, split_words};

/// Where something was read: a file and a line, from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub file: Rc<str>,
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// `KEY=VALUE`, its continued lines joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: String,
    pub value: String,
    pub place: Place,
}

/// A section; one that occurs several times is one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    pub name: String,
    pub entries: Vec<Entry>,
    /// Where it begins first.
    pub place: Place,
}

/// A unit file, perhaps with its drop-ins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitFile {
    pub sections: Vec<Section>,
}

/// What is no unit file.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct SyntaxError {
    pub place: Place,
    pub reason: String,
}

impl UnitFile {
    /// Reads the file called `file` in messages.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<Self, SyntaxError> {
        let mut unit = Self::default();
        unit.add(file, bytes)?;
        Ok(unit)
    }

    /// Reads a drop-in: its values come after those that are there.
    pub fn add(&mut self, file: &str, bytes: &[u8]) -> Result<(), SyntaxError> {
        let file: Rc<str> = Rc::from(file);
        let mut reader = Reader { unit: self, file, section: None };
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let mut pending: Option<(usize, String)> = None;
        for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            let number = index + 1;
            let text = std::str::from_utf8(line).map_err(|_| reader.wrong(number, "the line is not UTF-8 text"))?;
            if text.contains('\0') {
                return Err(reader.wrong(number, "the line holds a NUL byte"));
            }
            let text = text.strip_suffix('\r').unwrap_or(text);
            // A comment amid a continued line is no part of it.
            if text.trim_start().starts_with(['#', ';']) {
                continue;
            }
            let (first, mut whole) = pending.take().unwrap_or_else(|| (number, String::new()));
            match text.strip_suffix('\\') {
                Some(begun) => {
                    whole.push_str(begun);
                    whole.push(' ');
                    pending = Some((first, whole));
                }
                None => {
                    whole.push_str(text);
                    reader.line(first, &whole)?;
                }
            }
        }
        match pending {
            Some((first, whole)) => reader.line(first, &whole),
            None => Ok(()),
        }
    }

    /// The section of this name.
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }

    /// The values that count of a key that may be given several times: an empty one forgets those
    /// before it.
    pub fn all(&self, section: &str, key: &str) -> Vec<&Entry> {
        let mut found = Vec::new();
        for entry in self.section(section).into_iter().flat_map(|section| &section.entries) {
            if entry.key == key {
                if entry.value.is_empty() {
                    found.clear();
                } else {
                    found.push(entry);
                }
            }
        }
        found
    }

    /// The value that counts of a key that is given once.
    pub fn last(&self, section: &str, key: &str) -> Option<&Entry> {
        self.all(section, key).pop()
    }

    /// Whether the key is there, with whatever value.
    pub fn mentions(&self, section: &str, key: &str) -> bool {
        self.section(section).is_some_and(|section| section.entries.iter().any(|entry| entry.key == key))
    }
}

struct Reader<'a> {
    unit: &'a mut UnitFile,
    file: Rc<str>,
    /// Index of the current one.
    section: Option<usize>,
}

impl Reader<'_> {
    fn place(&self, line: usize) -> Place {
        Place { file: Rc::clone(&self.file), line }
    }

    fn wrong(&self, line: usize, reason: impl Into<String>) -> SyntaxError {
        SyntaxError { place: self.place(line), reason: reason.into() }
    }

    fn line(&mut self, number: usize, text: &str) -> Result<(), SyntaxError> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(());
        }
        let place = self.place(number);
        if let Some(header) = text.strip_prefix('[') {
            let named = header.strip_suffix(']').filter(|name| !name.is_empty() && !name.contains(['[', ']']));
            let name = named.ok_or_else(|| self.wrong(number, format!("invalid section header {text:?}")))?;
            let known = self.unit.sections.iter().position(|section| section.name == name);
            self.section = Some(known.unwrap_or_else(|| {
                self.unit.sections.push(Section { name: name.to_owned(), entries: Vec::new(), place });
                self.unit.sections.len() - 1
            }));
            return Ok(());
        }
        let Some((key, value)) = text.split_once('=') else {
            return Err(self.wrong(number, format!("{text:?} is no section, no comment and no KEY=VALUE")));
        };
        let key = key.trim_end();
        if key.is_empty() || !key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
            return Err(self.wrong(number, format!("invalid key {key:?}")));
        }
        let entry = Entry { key: key.to_owned(), value: value.trim_start().to_owned(), place };
        match self.section.and_then(|index| self.unit.sections.get_mut(index)) {
            Some(section) => section.entries.push(entry),
            None => return Err(self.wrong(number, format!("{key}= comes before any section"))),
        }
        Ok(())
    }
}

/// systemd's booleans.
pub fn parse_boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "yes" | "y" | "true" | "t" | "on" => Some(true),
        "0" | "no" | "n" | "false" | "f" | "off" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(text: &str, key: &str) -> Vec<String> {
        let unit = UnitFile::parse("a.container", text.as_bytes()).unwrap();
        unit.all("S", key).into_iter().map(|entry| entry.value.clone()).collect()
    }

    #[test]
    fn sections_and_values() {
        let text = "\u{feff}# comment\n; comment\n\n [S] \r\nA = one  \nB=\nA=two = 2\n[T]\nA=x\n[S]\nA=three\n";
        assert_eq!(values(text, "A"), ["one", "two = 2", "three"]);
        assert!(values(text, "B").is_empty());
        let unit = UnitFile::parse("f", text.as_bytes()).unwrap();
        assert_eq!(unit.sections.len(), 2);
        assert_eq!(unit.last("S", "A").unwrap().place.to_string(), "f:11");
        assert!(unit.mentions("S", "B") && !unit.mentions("T", "B"));
    }

    #[test]
    fn lines_that_go_on() {
        let text = "[S]\nA=one \\\n  two\\\n# not part of it\n; nor this\nthree\nB=last\\";
        assert_eq!(values(text, "A"), ["one    two three"]);
        assert_eq!(values(text, "B"), ["last"]);
        let unit = UnitFile::parse("f", text.as_bytes()).unwrap();
        assert_eq!(unit.last("S", "A").unwrap().place.line, 2);
        assert_eq!(unit.last("S", "B").unwrap().place.line, 7);
    }

    #[test]
    fn an_empty_value_forgets() {
        assert_eq!(values("[S]\nA=1\nA=2\nA=\nA=3\n", "A"), ["3"]);
        assert!(values("[S]\nA=1\nA=\n", "A").is_empty());
        let mut unit = UnitFile::parse("f", b"[S]\nA=1\n").unwrap();
        unit.add("f.d/10.conf", b"[S]\nA=\nA=2\n[N]\nX=1\n").unwrap();
        assert_eq!(unit.last("S", "A").unwrap().place.to_string(), "f.d/10.conf:3");
        assert_eq!(unit.sections.len(), 2);
    }

    #[test]
    fn what_is_no_unit_file() {
        for (text, expected) in [
            (&b"A=1"[..], "f:1: A= comes before any section"),
            (b"\n[S\nA=1", "f:2: invalid section header \"[S\""),
            (b"[]\n", "f:1: invalid section header \"[]\""),
            (b"[S]\nhello\n", "f:2: \"hello\" is no section, no comment and no KEY=VALUE"),
            (b"[S]\n=x\n", "f:2: invalid key \"\""),
            (b"[S]\nA B=x\n", "f:2: invalid key \"A B\""),
            (b"[S]\nA=\xff\n", "f:2: the line is not UTF-8 text"),
            (b"[S]\nA=a\0b\n", "f:2: the line holds a NUL byte"),
        ] {
            assert_eq!(UnitFile::parse("f", text).unwrap_err().to_string(), expected);
        }
    }
}
