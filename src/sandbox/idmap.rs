//! Id maps: which ids of an inner user namespace are which ids of the outer one
//! (user_namespaces(7)).

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use rustix::process::Pid;

use crate::spec::identity::{self, InvalidMap};
pub use crate::spec::identity::{Extent, Maps as IdMaps};

impl IdMaps {
    /// Only the caller's own ids, as root inside.
    pub fn single(uid: u32, gid: u32) -> Self {
        let one = |outside| vec![Extent { inside: 0, outside, count: 1 }];
        Self { uids: one(uid), gids: one(gid) }
    }

    /// Reads the maps of this process's own user namespace.
    pub fn of_self() -> io::Result<Self> {
        Self::read(Path::new("/proc/self"))
    }

    /// Reads the maps of another process's user namespace.
    pub fn of(pid: Pid) -> io::Result<Self> {
        Self::read(&PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero())))
    }

    fn read(process: &Path) -> io::Result<Self> {
        let read = |name: &str| std::fs::read_to_string(process.join(name)).map(|text| parse_map(&text));
        Ok(Self { uids: read("uid_map")?, gids: read("gid_map")? })
    }

    /// The identity map for a child namespace: each extent within one extent of the parent's,
    /// which the kernel demands.
    pub fn identity_below(&self) -> Self {
        let identity = |extents: &[Extent]| {
            extents.iter().map(|e| Extent { inside: e.inside, outside: e.inside, count: e.count }).collect()
        };
        Self { uids: identity(&self.uids), gids: identity(&self.gids) }
    }

    /// The map of a child namespace of the one that these are of: as asked for, or the identity.
    pub fn below(&self, asked: Option<&Self>) -> Result<Self, InvalidMap> {
        let Some(asked) = asked else { return Ok(self.identity_below()) };
        Ok(Self { uids: identity::fit(&asked.uids, &self.uids)?, gids: identity::fit(&asked.gids, &self.gids)? })
    }

    /// The uid outside of one inside.
    pub fn outer_uid(&self, uid: u32) -> Option<u32> {
        identity::look_up(&self.uids, uid)
    }

    /// The gid outside of one inside.
    pub fn outer_gid(&self, gid: u32) -> Option<u32> {
        identity::look_up(&self.gids, gid)
    }

    /// Who owns outside what belongs to the container: its root, or else the lowest id it has.
    pub fn owner(&self) -> (u32, u32) {
        let of = |extents: &[Extent]| {
            identity::look_up(extents, 0).or_else(|| extents.first().map(|extent| extent.outside)).unwrap_or(0)
        };
        (of(&self.uids), of(&self.gids))
    }

    /// Whether only one id is mapped: no subordinate ids.
    pub fn is_single(&self) -> bool {
        self.uids.iter().map(|e| u64::from(e.count)).sum::<u64>() == 1
    }

    /// Whether `uid` exists inside.
    pub fn has_uid(&self, uid: u32) -> bool {
        self.outer_uid(uid).is_some()
    }

    /// Whether `gid` exists inside.
    pub fn has_gid(&self, gid: u32) -> bool {
        self.outer_gid(gid).is_some()
    }
}

/// The kernel's form of a map, one line an extent.
pub fn format_map(extents: &[Extent]) -> String {
    extents.iter().fold(String::new(), |mut text, e| {
        let _ = writeln!(text, "{} {} {}", e.inside, e.outside, e.count);
        text
    })
}

/// The ids inside, for people: `0 to 999, 1001`.
pub fn shown(extents: &[Extent]) -> String {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for extent in extents {
        match ranges.last_mut() {
            Some((_, end)) if *end == u64::from(extent.inside) => *end = extent.inside_end(),
            _ => ranges.push((extent.inside.into(), extent.inside_end())),
        }
    }
    let range = |(start, end): (u64, u64)| {
        if end == start + 1 { start.to_string() } else { format!("{start} to {}", end - 1) }
    };
    ranges.into_iter().map(range).collect::<Vec<_>>().join(", ")
}

fn parse_map(text: &str) -> Vec<Extent> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace().map(str::parse::<u32>);
            match (fields.next()?, fields.next()?, fields.next()?) {
                (Ok(inside), Ok(outside), Ok(count)) => Some(Extent { inside, outside, count }),
                _ => None,
            }
        })
        .collect()
}

/// The user's id as root, then every granted range in order.
pub fn with_ranges(own: u32, ranges: &[(u32, u32)]) -> Vec<Extent> {
    let mut extents = vec![Extent { inside: 0, outside: own, count: 1 }];
    let mut inside: u32 = 1;
    for &(outside, count) in ranges {
        let count = count.min(u32::MAX - inside);
        if count == 0 {
            break;
        }
        extents.push(Extent { inside, outside, count });
        inside += count;
    }
    extents
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn child_extents_stay_within_the_parents() {
        let maps =
            IdMaps { uids: with_ranges(1000, &[(100_000, 65_536), (300_000, 10)]), gids: with_ranges(1000, &[]) };
        assert_eq!(format_map(&maps.uids), "0 1000 1\n1 100000 65536\n65537 300000 10\n");
        assert_eq!(format_map(&maps.identity_below().uids), "0 0 1\n1 1 65536\n65537 65537 10\n");
        assert!(maps.has_uid(65_546) && !maps.has_uid(65_547) && !maps.has_gid(1));
        assert!(!maps.is_single() && IdMaps::single(5, 5).is_single());
        assert_eq!(parse_map(&format_map(&maps.uids)), maps.uids);
    }
}
