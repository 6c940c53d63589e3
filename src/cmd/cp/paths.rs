//! Paths as docker reads them: cleaned by their text, with what a trailing `/` or `/.` says kept
//! beside (Go's path.Clean; moby's archive/copy.go).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// A path that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Absolute, without `.`, `..` and doubled slashes.
    pub path: Vec<u8>,
    /// It ends in `/.`, or is the root: what the directory holds is meant.
    pub contents: bool,
    /// It ends in `/`.
    pub slash: bool,
}

impl Asked {
    /// A path of a container, which is relative to its root.
    pub fn in_container(text: &[u8]) -> Self {
        Self::read(&[b"/", text].concat())
    }

    /// A path of the host.
    pub fn on_host(text: &OsStr) -> std::io::Result<Self> {
        let text = text.as_bytes();
        if text.starts_with(b"/") {
            return Ok(Self::read(text));
        }
        let here = std::env::current_dir()?;
        Ok(Self::read(&[here.as_os_str().as_bytes(), b"/", text].concat()))
    }

    fn read(absolute: &[u8]) -> Self {
        let path = clean(absolute);
        let last = absolute.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        let contents = last == b"." || path == b"/";
        Self { contents, slash: last.is_empty(), path }
    }

    /// Whether it says that it is a directory.
    pub fn asserts_directory(&self) -> bool {
        self.slash || self.contents
    }

    /// The name that a copy has in an existing directory.
    pub fn base(&self) -> &[u8] {
        self.path.rsplit(|&byte| byte == b'/').next().unwrap_or_default()
    }

    /// As it is shown.
    pub fn shown(&self) -> OsString {
        OsString::from_vec(self.path.clone())
    }
}

fn clean(absolute: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in absolute.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    [b"/", parts.join(&b'/').as_slice()].concat()
}

/// The directory and the last component of a path.
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let end = path.iter().rposition(|&byte| byte != b'/').map_or(0, |last| last + 1);
    if end == 0 && !path.is_empty() {
        return (b"/", b"");
    }
    match path[..end].iter().rposition(|&byte| byte == b'/') {
        Some(0) => (b"/", &path[1..end]),
        Some(slash) => (&path[..slash], &path[slash + 1..end]),
        None => (b".", &path[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailing_parts_are_kept_beside_the_path() {
        let read = |text: &str| {
            let asked = Asked::in_container(text.as_bytes());
            (String::from_utf8(asked.path.clone()).unwrap(), asked.contents, asked.slash)
        };
        for (text, path, contents, slash) in [
            ("a", "/a", false, false),
            ("/a/", "/a", false, true),
            ("/a/.", "/a", true, false),
            ("a//b/../c", "/a/c", false, false),
            ("../../etc", "/etc", false, false),
            ("", "/", true, true),
            ("/", "/", true, true),
            (".", "/", true, false),
            ("a/..", "/", true, false),
            ("a/b/..", "/a", false, false),
            ("a/.b", "/a/.b", false, false),
        ] {
            assert_eq!(read(text), (path.to_owned(), contents, slash), "{text}");
        }
    }

    #[test]
    fn paths_are_split_at_the_last_component() {
        for (path, parent, name) in [
            ("/", "/", ""),
            ("/a", "/", "a"),
            ("/a/b", "/a", "b"),
            ("a", ".", "a"),
            ("a/b//", "a", "b"),
            ("/a/", "/", "a"),
        ] {
            assert_eq!(split(path.as_bytes()), (parent.as_bytes(), name.as_bytes()), "{path}");
        }
    }
}
