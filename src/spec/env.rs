//! Environment variables and labels: `-e`, `--env-file`, `--label`, `--label-file`.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::text::printable;

/// What a flag does to one variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvChange {
    /// Not empty, without `=` and NUL.
    pub name: String,
    /// None takes away what the image sets: `-e NAME` for a name the caller hasn't set.
    pub value: Option<String>,
}

/// A variable or label that can't be set. The texts are docker's.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidEntry {
    #[error("invalid environment variable: {0}")]
    Variable(String),
    #[error("invalid label '{0}': empty name")]
    Label(String),
    #[error("label '{0}' contains whitespaces")]
    LabelSpace(String),
    #[error("{file}: poorly formatted environment: {line}")]
    File { file: String, line: InvalidLine },
}

/// What is wrong in an env file or label file.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidLine {
    #[error("variable '{0}' contains whitespaces")]
    Whitespace(String),
    #[error("no variable name on line '{0}'")]
    NoName(String),
    #[error("invalid utf8 bytes at line {0}")]
    Utf8(usize),
    #[error("NUL byte at line {0}")]
    Nul(usize),
}

/// The caller's own environment, as far as it is UTF-8.
#[derive(Clone, Debug, Default)]
pub struct Caller(BTreeMap<String, String>);

impl Caller {
    /// Takes a process's variables.
    pub fn new(variables: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let text = |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        Self(variables.filter_map(text).filter(|(name, _)| !name.is_empty()).collect())
    }

    /// A variable's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Every variable, by name.
    pub fn all(&self) -> impl Iterator<Item = EnvChange> {
        self.starting_with("")
    }

    /// What a name alone stands for: the variable's value, or those of all that begin with what comes
    /// before a last `*` (podman).
    fn meant(&self, name: &str) -> Vec<EnvChange> {
        match name.strip_suffix('*') {
            Some(prefix) => self.starting_with(prefix).collect(),
            None => vec![EnvChange { name: name.to_owned(), value: self.get(name).map(str::to_owned) }],
        }
    }

    fn starting_with(&self, prefix: &str) -> impl Iterator<Item = EnvChange> {
        let found = self.0.iter().filter(move |(name, _)| name.starts_with(prefix));
        found.map(|(name, value)| EnvChange { name: name.clone(), value: Some(value.clone()) })
    }
}

/// Parses a `-e` value: `K=V`, `K` to take the caller's value, `K*` to take all that begin so.
pub fn parse_env(text: &str, caller: &Caller) -> Result<Vec<EnvChange>, InvalidEntry> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    if name.is_empty() || text.contains('\0') {
        return Err(InvalidEntry::Variable(printable(text)));
    }
    Ok(match value {
        Some(value) => vec![EnvChange { name: name.to_owned(), value: Some(value) }],
        None => caller.meant(name),
    })
}

/// Parses an env file. `K` and `K*` alone take the caller's values and are skipped when there are
/// none; `file` is its name in errors.
pub fn parse_env_file(file: &str, content: &[u8], caller: &Caller) -> Result<Vec<EnvChange>, InvalidEntry> {
    let lines = parse_lines(content).map_err(|line| InvalidEntry::File { file: printable(file), line })?;
    let changes = lines.into_iter().flat_map(|(name, value)| match value {
        Some(value) => vec![EnvChange { name, value: Some(value) }],
        None => caller.meant(&name).into_iter().filter(|change| change.value.is_some()).collect(),
    });
    Ok(changes.collect())
}

/// Parses a `--label` value: `K=V`, or `K` for an empty value.
pub fn parse_label(text: &str) -> Result<(String, String), InvalidEntry> {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    let name = name.trim_start();
    if name.is_empty() {
        return Err(InvalidEntry::Label(printable(text)));
    }
    if name.contains(char::is_whitespace) {
        return Err(InvalidEntry::LabelSpace(printable(text)));
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// Parses a label file: the lines of an env file; `K` alone is skipped, as docker does.
pub fn parse_label_file(file: &str, content: &[u8]) -> Result<BTreeMap<String, String>, InvalidEntry> {
    let lines = parse_lines(content).map_err(|line| InvalidEntry::File { file: printable(file), line })?;
    Ok(lines.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
}

/// The entries of a file: values verbatim, blank lines and `#` comments skipped.
fn parse_lines(content: &[u8]) -> Result<Vec<(String, Option<String>)>, InvalidLine> {
    let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
    let mut entries = Vec::new();
    for (index, line) in content.split(|&byte| byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = std::str::from_utf8(line).map_err(|_| InvalidLine::Utf8(index + 1))?;
        if line.contains('\0') {
            return Err(InvalidLine::Nul(index + 1));
        }
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (line, None),
        };
        if name.is_empty() {
            return Err(InvalidLine::NoName(printable(line)));
        }
        if name.contains([' ', '\t']) {
            return Err(InvalidLine::Whitespace(printable(name)));
        }
        entries.push((name.to_owned(), value));
    }
    Ok(entries)
}

/// Applies `changes` to a list of `K=V`: a name that is there keeps its place, a new one goes last.
pub fn apply(environment: &mut Vec<String>, changes: impl IntoIterator<Item = EnvChange>) {
    for EnvChange { name, value } in changes {
        let same = |entry: &String| entry.split('=').next() == Some(&name);
        match (environment.iter().position(same), value) {
            (Some(index), Some(value)) => environment[index] = format!("{name}={value}"),
            (Some(index), None) => drop(environment.remove(index)),
            (None, Some(value)) => environment.push(format!("{name}={value}")),
            (None, None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn caller() -> Caller {
        let variables = [("HERE", "from caller"), ("FOO_A", "1"), ("FOO_B", "x=y")];
        Caller::new(variables.into_iter().map(|(name, value)| (name.into(), value.into())))
    }

    fn change(name: &str, value: Option<&str>) -> EnvChange {
        EnvChange { name: name.to_owned(), value: value.map(str::to_owned) }
    }

    #[test]
    fn variables() {
        for (text, expected) in [
            ("A=b", change("A", Some("b"))),
            ("A=", change("A", Some(""))),
            ("A=b=c", change("A", Some("b=c"))),
            ("HERE", change("HERE", Some("from caller"))),
            ("GONE", change("GONE", None)),
            ("a b=c", change("a b", Some("c"))),
        ] {
            assert_eq!(parse_env(text, &caller()), Ok(vec![expected]));
        }
        let both = vec![change("FOO_A", Some("1")), change("FOO_B", Some("x=y"))];
        assert_eq!(parse_env("FOO*", &caller()), Ok(both));
        assert_eq!(parse_env("GONE*", &caller()), Ok(Vec::new()));
        assert_eq!(parse_env("FOO*=x", &caller()), Ok(vec![change("FOO*", Some("x"))]));
        assert_eq!(parse_env("=x", &caller()).unwrap_err().to_string(), "invalid environment variable: =x");
        assert!(parse_env("", &caller()).is_err());
        assert!(parse_env("A=\0", &caller()).is_err());
    }

    #[test]
    fn env_files() {
        let content = b"\xef\xbb\xbf# comment\n\n  A=1 # kept \r\nB=\"q\"\nHERE\nGONE\n\tC=x=y\nFOO_A*";
        let expected = [
            change("A", Some("1 # kept ")),
            change("B", Some("\"q\"")),
            change("HERE", Some("from caller")),
            change("C", Some("x=y")),
            change("FOO_A", Some("1")),
        ];
        assert_eq!(parse_env_file("f", content, &caller()).as_deref(), Ok(&expected[..]));
        for (content, message) in [
            (&b"export E=1"[..], "f: poorly formatted environment: variable 'export E' contains whitespaces"),
            (b"A=1\n=x", "f: poorly formatted environment: no variable name on line '=x'"),
            (b"A=1\n\xff=2", "f: poorly formatted environment: invalid utf8 bytes at line 2"),
            (b"A=\0", "f: poorly formatted environment: NUL byte at line 1"),
        ] {
            assert_eq!(parse_env_file("f", content, &caller()).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn labels() {
        for (text, name, value) in
            [("a=b", "a", "b"), ("a", "a", ""), ("a.b/c=d = e", "a.b/c", "d = e"), (" a=1", "a", "1")]
        {
            assert_eq!(parse_label(text), Ok((name.to_owned(), value.to_owned())));
        }
        assert_eq!(parse_label("=x").unwrap_err().to_string(), "invalid label '=x': empty name");
        assert!(parse_label("a b=c").is_err());
        let labels = parse_label_file("f", b"a=1\nb\n#c\n").unwrap();
        assert_eq!(labels, BTreeMap::from([("a".to_owned(), "1".to_owned())]));
    }

    #[test]
    fn changes_keep_places() {
        let mut environment = vec!["PATH=/bin".to_owned(), "A=1".to_owned(), "B=2".to_owned()];
        apply(
            &mut environment,
            [change("B", None), change("PATH", Some("/x")), change("C", Some("")), change("D", None)],
        );
        assert_eq!(environment, ["PATH=/x", "A=1", "C="]);
    }

    proptest! {
        #[test]
        fn values_are_byte_exact(name in "[A-Z_][^=\\s\\x00#]{0,8}", value in "[^\\x00\\r\\n]{0,16}") {
            let line = format!("{name}={value}\n");
            let expected = vec![change(&name, Some(&value))];
            prop_assert_eq!(parse_env_file("f", line.as_bytes(), &caller()), Ok(expected));
            prop_assert_eq!(parse_env(line.trim_end_matches('\n'), &caller()), Ok(vec![change(&name, Some(&value))]));
        }
    }
}
