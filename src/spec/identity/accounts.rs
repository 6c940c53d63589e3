//! Accounts that a container is told of, and the umask.

use serde::{Deserialize, Serialize};

use crate::spec::text::printable;

/// An account of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    /// The full name, or what else is there.
    pub comment: String,
    pub home: String,
    /// The name of its group.
    pub group: String,
}

/// Why a value about accounts can't be used.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidAccount {
    #[error("invalid umask {0}: expected up to four octal digits, as in 0022")]
    Umask(String),
    #[error("invalid {flag} {entry}: expected one line of {fields} fields, as in {example}")]
    Entry { flag: &'static str, entry: String, fields: usize, example: &'static str },
    #[error("the '--group-add keep-groups' option is not allowed with any other --group-add options")]
    KeepGroups,
    #[error("invalid domain name {0:?}")]
    Domain(String),
    #[error("--hostuser: unable to find user {0}: no matching entries in the host's /etc/passwd")]
    HostUser(String),
}

/// `--umask`.
pub fn parse_umask(text: &str) -> Result<u32, InvalidAccount> {
    let octal = !text.is_empty() && text.len() <= 4 && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    let value = octal.then(|| u32::from_str_radix(text, 8).ok()).flatten().filter(|value| *value <= 0o777);
    value.ok_or_else(|| InvalidAccount::Umask(printable(text)))
}

/// `--passwd-entry` or `--group-entry`: one line with as many fields as its file has.
pub fn check_entry(flag: &'static str, entry: &str) -> Result<(), InvalidAccount> {
    let (fields, example) = match flag {
        "--passwd-entry" => (7, "$USERNAME:*:$UID:$GID:$NAME:$HOME:/bin/sh"),
        _ => (4, "$GROUPNAME:x:$GID:$USERLIST"),
    };
    if entry.split(':').count() == fields && !entry.chars().any(char::is_control) && !entry.starts_with(':') {
        return Ok(());
    }
    Err(InvalidAccount::Entry { flag, entry: printable(entry), fields, example })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn umasks() {
        assert_eq!(parse_umask("0002"), Ok(2));
        assert_eq!(parse_umask("77"), Ok(0o77));
        for bad in ["", "8", "00022", "abc", "-1", "1777", "0o22"] {
            assert!(parse_umask(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn entries_are_one_line_of_the_right_form() {
        assert!(check_entry("--passwd-entry", "$USERNAME:*:$UID:$GID:$NAME:$HOME:/bin/sh").is_ok());
        assert!(check_entry("--group-entry", "$GROUPNAME:x:$GID:$USERLIST").is_ok());
        for bad in ["", "a", "a:b:c:d:e:f:g:h", "a:*:0:0::/:\nroot2:*:0:0::/:", ":x:0:0::/:/bin/sh"] {
            assert!(check_entry("--passwd-entry", bad).is_err(), "{bad:?}");
        }
    }
}
