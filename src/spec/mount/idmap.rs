//! `idmap[=uids=FROM-TO-COUNT[#...][;gids=...]]`: a mount whose files have other owners (crun's grammar).

use std::fmt;

use serde::{Deserialize, Serialize};

/// How owners are mapped. Without ranges: as the container's own ids are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdMapping {
    pub uids: Vec<IdRange>,
    pub gids: Vec<IdRange>,
}

/// Ids of the file system that are shown as others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    /// The first id on the file system.
    pub from: u32,
    /// The first id as the mount shows it.
    pub to: u32,
    pub count: u32,
    /// `@`: `to` is an id of the container's instead of one of the user's namespace.
    pub relative: bool,
}

impl IdMapping {
    /// Parses what stands behind `idmap=`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut mapping = Self::default();
        for part in text.split(';') {
            let (kind, ranges) = part.split_once('=')?;
            let ranges: Vec<IdRange> = ranges.split('#').map(IdRange::parse).collect::<Option<_>>()?;
            let list = match kind {
                "uids" => &mut mapping.uids,
                "gids" => &mut mapping.gids,
                _ => return None,
            };
            if !list.is_empty() {
                return None;
            }
            *list = ranges;
        }
        Some(mapping)
    }
}

impl IdRange {
    fn parse(text: &str) -> Option<Self> {
        let (relative, numbers) = text.strip_prefix('@').map_or((false, text), |rest| (true, rest));
        let mut numbers = numbers.split('-').map(|number| {
            number.bytes().all(|byte| byte.is_ascii_digit()).then(|| number.parse::<u32>().ok()).flatten()
        });
        let (from, to, count) = (numbers.next()??, numbers.next()??, numbers.next()??);
        let fits = |start: u32| start.checked_add(count).is_some();
        (count > 0 && fits(from) && fits(to) && numbers.next().is_none()).then_some(Self { from, to, count, relative })
    }
}

impl fmt::Display for IdMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |kind: &str, ranges: &[IdRange]| {
            let ranges: Vec<String> = ranges.iter().map(ToString::to_string).collect();
            (!ranges.is_empty()).then(|| format!("{kind}={}", ranges.join("#")))
        };
        let parts: Vec<String> = [list("uids", &self.uids), list("gids", &self.gids)].into_iter().flatten().collect();
        f.write_str("idmap")?;
        if parts.is_empty() { Ok(()) } else { write!(f, "={}", parts.join(";")) }
    }
}

impl fmt::Display for IdRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.relative { "@" } else { "" };
        write!(f, "{sign}{}-{}-{}", self.from, self.to, self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_round_trip() {
        for text in ["uids=0-1-10", "uids=0-1-10#10-11-10;gids=@0-100-10", "gids=5-5-1"] {
            assert_eq!(IdMapping::parse(text).unwrap().to_string(), format!("idmap={text}"));
        }
        for text in ["", "uids", "uids=", "uids=1-2", "uids=1-2-0", "uids=+1-2-3", "x=1-2-3", "uids=1-2-3-4"] {
            assert_eq!(IdMapping::parse(text), None, "{text}");
        }
        for text in ["uids=4294967295-0-2", "uids=0-0-1;uids=1-1-1", "uids=0-0-1;"] {
            assert_eq!(IdMapping::parse(text), None, "{text}");
        }
    }
}
