//! Keys: the digest of everything that decides about the result of a step.

use serde::Serialize;

use crate::spec::digest::Digest;

/// Counts up when the meaning of a key changes.
const VERSION: u32 = 1;

/// Names a step with all that it depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub Digest);

/// What every key has.
#[derive(Serialize)]
struct Envelope<'a, T> {
    version: u32,
    kind: &'a str,
    /// The chain id of the layers below, or nothing.
    parent: Option<Digest>,
    platform: &'a str,
    /// Times that files are given.
    youngest: Option<i64>,
    step: &'a T,
}

impl Key {
    /// The key of a step. Fields are written in the order of their declaration, so the same step has the same
    /// key everywhere.
    pub fn of<T: Serialize>(
        kind: &str,
        parent: Option<Digest>,
        platform: &str,
        youngest: Option<i64>,
        step: &T,
    ) -> anyhow::Result<Self> {
        let bytes = serde_json::to_vec(&Envelope { version: VERSION, kind, parent, platform, youngest, step })?;
        Ok(Self(Digest::of(&bytes)))
    }

    /// Its digits, as in file names.
    pub fn hex(&self) -> String {
        self.0.hex().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_counts() {
        let parent = Some(Digest::of(b"parent"));
        let key =
            |kind: &str, parent, platform: &str, step: &str| Key::of(kind, parent, platform, None, &step).unwrap();
        let one = key("run", parent, "linux/amd64", "true");
        assert_eq!(one, key("run", parent, "linux/amd64", "true"));
        let others = [
            key("copy", parent, "linux/amd64", "true"),
            key("run", None, "linux/amd64", "true"),
            key("run", parent, "linux/arm64", "true"),
            key("run", parent, "linux/amd64", "false"),
        ];
        assert!(others.iter().all(|other| *other != one));
    }
}
