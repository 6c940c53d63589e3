//! `--load-credential`: credentials of the service that rbox runs in (systemd.exec(5), "Credentials"),
//! for its container. In the container they are where systemd-nspawn puts them
//! (systemd's CONTAINER_INTERFACE).

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::text::printable;

/// The variable that names the directory.
pub const VARIABLE: &str = "CREDENTIALS_DIRECTORY";
/// The directory, in a container.
pub const DIRECTORY: &str = "/run/host/credentials";
/// All credentials of a container together are no longer (systemd's limit), in bytes.
pub const SIZE_MAX: usize = 1 << 20;

/// `NAME[:SOURCE]`. The bytes are read at each start and written down nowhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// The file's name in the container.
    pub name: String,
    /// An absolute path, or a name in the service's own directory.
    pub source: String,
}

/// Why a text is no `--load-credential`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCredential {
    #[error("invalid --load-credential \"{0}\": a credential's name is that of a file, without ':' and '/'")]
    Name(String),
    #[error("invalid --load-credential \"{0}\": the source is an absolute path or the name of a credential")]
    Source(String),
    #[error("credential \"{0}\" is given twice")]
    Twice(String),
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() < 256
        && !matches!(text, "." | "..")
        && !text.contains(|c: char| c == '/' || c.is_control())
}

impl FromStr for Credential {
    type Err = InvalidCredential;

    fn from_str(text: &str) -> Result<Self, InvalidCredential> {
        let (name, source) = text.split_once(':').unwrap_or((text, text));
        if !is_name(name) {
            return Err(InvalidCredential::Name(printable(text)));
        }
        let is_path = source.starts_with('/') && !source.contains('\0');
        if !is_path && !is_name(source) {
            return Err(InvalidCredential::Source(printable(text)));
        }
        Ok(Self { name: name.to_owned(), source: source.to_owned() })
    }
}

/// Reads the values of the flag.
pub fn parse_all(values: &[String]) -> Result<Vec<Credential>, InvalidCredential> {
    let mut all: Vec<Credential> = Vec::new();
    for value in values {
        let credential: Credential = value.parse()?;
        if all.iter().any(|other| other.name == credential.name) {
            return Err(InvalidCredential::Twice(printable(&credential.name)));
        }
        all.push(credential);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar() {
        let parse = |text: &str| text.parse::<Credential>().map(|found| (found.name, found.source));
        for (text, name, source) in
            [("key", "key", "key"), ("key:other", "key", "other"), ("a.b:/etc/x:y", "a.b", "/etc/x:y")]
        {
            assert_eq!(parse(text), Ok((name.to_owned(), source.to_owned())));
        }
        for text in ["", ":x", "a/b", "..", ".:x", "a:", "a:b/c", "a:..", "a\n:x"] {
            assert!(parse(text).is_err(), "{text}");
        }
        let twice = parse_all(&["a".to_owned(), "a:/x".to_owned()]).unwrap_err();
        assert_eq!(twice.to_string(), "credential \"a\" is given twice");
    }
}
