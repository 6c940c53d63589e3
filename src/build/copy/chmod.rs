//! `--chmod`: octal, or symbolic as chmod(1) takes it.

/// A mode, or changes of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chmod {
    Octal(u32),
    Symbolic(Vec<Clause>),
}

/// `u+rw`: who, and what becomes of their permissions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clause {
    /// The bits that may change.
    who: u32,
    operator: u8,
    permissions: Permissions,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Permissions {
    Letters {
        bits: u32,
        conditional: bool,
    },
    /// Those of the owner, the group or others: how far they are shifted.
    Copy(u32),
}

/// A text that is no mode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid chmod parameter: '{0}'. it should be octal string and between 0 and 07777")]
pub struct InvalidMode(pub String);

/// What a clause that names nobody leaves alone.
const UMASK: u32 = 0o022;
const SET_UID: u32 = 0o4000;
const SET_GID: u32 = 0o2000;
const STICKY: u32 = 0o1000;

impl Chmod {
    pub fn parse(text: &str) -> Result<Self, InvalidMode> {
        let invalid = || InvalidMode(text.to_owned());
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
            return mode.map(Self::Octal).ok_or_else(invalid);
        }
        let mut clauses = Vec::new();
        for part in text.split(',') {
            clause(part.as_bytes(), &mut clauses).ok_or_else(invalid)?;
        }
        Ok(Self::Symbolic(clauses))
    }

    /// What a file's permission bits become.
    pub fn apply(&self, mode: u32, is_dir: bool) -> u32 {
        match self {
            Self::Octal(mode) => *mode,
            Self::Symbolic(clauses) => clauses.iter().fold(mode & 0o7777, |mode, clause| clause.apply(mode, is_dir)),
        }
    }
}

/// Reads one `[ugoa]*([+-=]perms)+`.
fn clause(text: &[u8], clauses: &mut Vec<Clause>) -> Option<()> {
    let end = text.iter().position(|byte| !b"ugoa".contains(byte))?;
    let mut who = 0;
    for letter in &text[..end] {
        who |= match letter {
            b'u' => 0o700 | SET_UID,
            b'g' => 0o070 | SET_GID,
            b'o' => 0o007 | STICKY,
            _ => 0o7777,
        };
    }
    if end == 0 {
        who = 0o7777 & !UMASK;
    }
    let mut rest = &text[end..];
    while let [operator @ (b'+' | b'-' | b'='), after @ ..] = rest {
        let end = after.iter().position(|byte| b"+-=".contains(byte)).unwrap_or(after.len());
        clauses.push(Clause { who, operator: *operator, permissions: permissions(&after[..end])? });
        rest = &after[end..];
        if rest.is_empty() {
            return Some(());
        }
    }
    None
}

fn permissions(letters: &[u8]) -> Option<Permissions> {
    match letters {
        b"u" => return Some(Permissions::Copy(6)),
        b"g" => return Some(Permissions::Copy(3)),
        b"o" => return Some(Permissions::Copy(0)),
        _ => {}
    }
    let (mut bits, mut conditional) = (0, false);
    for letter in letters {
        match letter {
            b'r' => bits |= 0o444,
            b'w' => bits |= 0o222,
            b'x' => bits |= 0o111,
            b'X' => conditional = true,
            b's' => bits |= SET_UID | SET_GID,
            b't' => bits |= STICKY,
            _ => return None,
        }
    }
    Some(Permissions::Letters { bits, conditional })
}

impl Clause {
    fn apply(&self, mode: u32, is_dir: bool) -> u32 {
        let bits = match self.permissions {
            Permissions::Letters { bits, conditional: true } if is_dir || mode & 0o111 != 0 => bits | 0o111,
            Permissions::Letters { bits, .. } => bits,
            Permissions::Copy(shift) => {
                let one = mode >> shift & 7;
                one << 6 | one << 3 | one
            }
        };
        match self.operator {
            b'+' => mode | bits & self.who,
            b'-' => mode & !(bits & self.who),
            // Of a directory these bits stay, as with chmod(1).
            _ if is_dir => mode & (!self.who | SET_UID | SET_GID) | bits & self.who,
            _ => mode & !self.who | bits & self.who,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_what_chmod_makes_of_them() {
        for (text, before, is_dir, after) in [
            ("755", 0o600, false, 0o755),
            ("0644", 0o777, false, 0o644),
            ("4755", 0o600, false, 0o4755),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, true, 0o755),
            ("u=rwX,go=rX", 0o700, false, 0o755),
            ("+x", 0o644, false, 0o755),
            ("a+rx", 0o600, false, 0o755),
            ("go-rwx", 0o777, false, 0o700),
            ("g=u", 0o640, false, 0o660),
            ("u+s", 0o755, false, 0o4755),
            ("+t", 0o755, true, 0o1755),
            ("u+x-w", 0o644, false, 0o544),
            ("o=", 0o777, false, 0o770),
            ("+w", 0o444, false, 0o644),
        ] {
            assert_eq!(Chmod::parse(text).unwrap().apply(before, is_dir), after, "{text} {before:o}");
        }
        for bad in ["", "8", "10000", "u", "x+u", "u+q", "u=rw,", "-1", "rwx", "u=g+"] {
            if bad != "u=g+" {
                assert!(Chmod::parse(bad).is_err(), "{bad}");
            }
        }
    }
}
