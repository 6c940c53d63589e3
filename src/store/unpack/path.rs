//! Names inside an archive: split, checked, and made fit to be shown.

use anyhow::{Result, bail};

/// The longest component Linux takes (NAME_MAX).
const NAME_MAX: usize = 255;

/// Where an entry belongs: relative to the tree's root, without `.`, `..` and empty components.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum EntryPath {
    /// The root directory itself (`./`).
    Root,
    /// `name` in the directory `parent`, which is empty for the root.
    Below { parent: Vec<u8>, name: Vec<u8> },
}

impl EntryPath {
    /// Normalises a name as it stands in an archive. `..` is refused: readers differ in what it
    /// means behind a symbolic link.
    pub fn parse(raw: &[u8]) -> Result<Self> {
        let mut clean = Vec::with_capacity(raw.len());
        let mut last = 0;
        for component in raw.split(|&byte| byte == b'/') {
            match component {
                b"" | b"." => continue,
                b".." => bail!("the name goes through '..'"),
                _ if component.contains(&0) => bail!("the name holds a zero byte"),
                _ if component.len() > NAME_MAX => bail!("a component of the name is longer than {NAME_MAX} bytes"),
                _ => {}
            }
            if !clean.is_empty() {
                clean.push(b'/');
            }
            last = clean.len();
            clean.extend_from_slice(component);
        }
        if clean.is_empty() {
            return Ok(Self::Root);
        }
        let name = clean.split_off(last);
        clean.truncate(last.saturating_sub(1));
        Ok(Self::Below { parent: clean, name })
    }
}

/// A foreign name for a message: printable, on one line, of bounded length.
pub(super) fn show(name: &[u8]) -> String {
    const SHOWN: usize = 200;
    let text = String::from_utf8_lossy(&name[..name.len().min(SHOWN)]);
    let dots = if name.len() > SHOWN { "..." } else { "" };
    format!("'{}{dots}'", text.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalised_and_never_leave_the_root() {
        let below = |parent: &str, name: &str| EntryPath::Below { parent: parent.into(), name: name.into() };
        for (raw, expected) in [
            ("a", below("", "a")),
            ("./a/", below("", "a")),
            ("//usr/./bin///sh", below("usr/bin", "sh")),
            ("./", EntryPath::Root),
            ("/", EntryPath::Root),
            ("", EntryPath::Root),
        ] {
            assert_eq!(EntryPath::parse(raw.as_bytes()).unwrap(), expected, "{raw}");
        }
        for bad in ["..", "../a", "a/../b", "/..", "a\0b"] {
            assert!(EntryPath::parse(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(EntryPath::parse(&[b'x'; 256]).is_err());
    }

    #[test]
    fn shown_names_hold_no_control_bytes() {
        assert_eq!(show(b"a\x1b[2J\n\xff"), "'a\\u{1b}[2J\\n\u{fffd}'");
        assert!(show(&[b'x'; 5000]).len() < 300);
    }
}
