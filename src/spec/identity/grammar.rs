//! `--uidmap` and `--gidmap` in podman's grammar: `[+ug]INSIDE:[@]FROM[:COUNT]`.

use super::Maps;
use super::map::{self, Extent, InvalidMap};
use super::userns::InvalidUserns;
use crate::spec::text::printable;

/// The flags that say a map piece by piece.
#[derive(Clone, Debug, Default)]
pub struct MapFlags {
    /// `--uidmap`, `--gidmap`, as typed.
    pub uids: Vec<String>,
    pub gids: Vec<String>,
    /// The host ids of `--subuidname` and `--subgidname`: (first, count).
    pub subuids: Option<Vec<(u32, u32)>>,
    pub subgids: Option<Vec<(u32, u32)>>,
}

impl MapFlags {
    /// Whether any was given.
    pub fn any(&self) -> bool {
        !self.uids.is_empty() || !self.gids.is_empty() || self.subuids.is_some() || self.subgids.is_some()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Uid,
    Gid,
}

/// One triple.
struct Piece {
    extends: bool,
    of_users: bool,
    of_groups: bool,
    inside: u32,
    /// A host id rather than one of the user's namespace.
    of_host: bool,
    from: u32,
    count: u32,
}

/// The maps that the flags ask for. `parent` is the user's namespace: its ids, and of which host ids
/// they are. Given only one kind of map, the other is the same but for what is flagged.
pub fn explicit_maps(flags: &MapFlags, parent: &Maps) -> Result<Maps, InvalidUserns> {
    let texts = |own: &[String], other: &[String]| if own.is_empty() { other.to_vec() } else { own.to_vec() };
    let (uid_texts, gid_texts) = (texts(&flags.uids, &flags.gids), texts(&flags.gids, &flags.uids));
    let named = |own: &Option<Vec<(u32, u32)>>, other: &Option<Vec<(u32, u32)>>| {
        own.as_ref().or(other.as_ref()).cloned().unwrap_or_default()
    };
    let mut uids = of_ranges(&named(&flags.subuids, &flags.subgids), &parent.uids)?;
    let mut gids = of_ranges(&named(&flags.subgids, &flags.subuids), &parent.gids)?;
    // What was typed is spoken of.
    if flags.uids.is_empty() {
        gids.extend(one_map(&gid_texts, Kind::Gid, &parent.gids)?);
        uids.extend(one_map(&uid_texts, Kind::Uid, &parent.uids)?);
    } else {
        uids.extend(one_map(&uid_texts, Kind::Uid, &parent.uids)?);
        gids.extend(one_map(&gid_texts, Kind::Gid, &parent.gids)?);
    }
    if uids.is_empty() {
        uids = map::fill(uids, &parent.uids);
    }
    if gids.is_empty() {
        gids = map::fill(gids, &parent.gids);
    }
    Ok(Maps { uids: fitted(uids, Kind::Uid, &parent.uids)?, gids: fitted(gids, Kind::Gid, &parent.gids)? })
}

fn fitted(extents: Vec<Extent>, kind: Kind, parent: &[Extent]) -> Result<Vec<Extent>, InvalidUserns> {
    map::fit(&map::merge(extents), parent).map_err(|reason| InvalidUserns::Map { kind: name(kind), reason })
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Uid => "UID",
        Kind::Gid => "GID",
    }
}

/// Ranges of host ids one after the other from 0.
fn of_ranges(ranges: &[(u32, u32)], parent: &[Extent]) -> Result<Vec<Extent>, InvalidUserns> {
    let mut extents = Vec::new();
    let mut next = 0;
    for &(first, count) in ranges {
        for (from, count) in of_host(first, count, parent)? {
            extents.push(Extent { inside: next, outside: from, count });
            next = next.checked_add(count).ok_or(InvalidUserns::Map { kind: "UID", reason: InvalidMap::Beyond })?;
        }
    }
    Ok(extents)
}

fn one_map(texts: &[String], kind: Kind, parent: &[Extent]) -> Result<Vec<Extent>, InvalidUserns> {
    let malformed = || InvalidUserns::Malformed { kind: name(kind), value: printable(&format!("{texts:?}")) };
    let (mut extents, mut rest) = (Vec::new(), false);
    for text in texts.iter().filter(|text| !text.is_empty()) {
        let mut words: Vec<&str> = text.split(':').collect();
        if words.len() == 2 {
            words.push("1");
        }
        if !words.len().is_multiple_of(3) {
            return Err(malformed());
        }
        for triple in words.chunks_exact(3) {
            let piece = Piece::parse(triple).ok_or_else(malformed)?;
            if piece.count > 0 && piece.is_for(kind) {
                piece.add_to(&mut extents, &mut rest, parent)?;
            }
        }
    }
    Ok(if rest { map::fill(extents, parent) } else { extents })
}

impl Piece {
    fn parse(triple: &[&str]) -> Option<Self> {
        let [inside, from, count] = triple else { return None };
        let digits = inside.find(|c: char| c.is_ascii_digit())?;
        let (flags, inside) = inside.split_at(digits);
        if !flags.chars().all(|flag| matches!(flag, '+' | 'u' | 'g')) {
            return None;
        }
        let (of_users, of_groups) = (flags.contains('u'), flags.contains('g'));
        let of_host = from.starts_with('@');
        let from = number(from.strip_prefix('@').unwrap_or(from))?;
        Some(Self {
            extends: flags.contains('+'),
            of_users: of_users || !of_groups,
            of_groups: of_groups || !of_users,
            inside: number(inside)?,
            of_host,
            from,
            count: number(count)?,
        })
    }

    fn is_for(&self, kind: Kind) -> bool {
        if kind == Kind::Uid { self.of_users } else { self.of_groups }
    }

    fn add_to(&self, extents: &mut Vec<Extent>, rest: &mut bool, parent: &[Extent]) -> Result<(), InvalidUserns> {
        let parts = if self.of_host { of_host(self.from, self.count, parent)? } else { vec![(self.from, self.count)] };
        // What extends nothing extends everything that there is.
        *rest |= self.extends && extents.is_empty();
        let mut inside = self.inside;
        for (outside, count) in parts {
            let extent = Extent { inside, outside, count };
            if self.extends {
                map::take_over(extents, extent)
            } else {
                extents.push(extent)
            }
            inside = inside.saturating_add(count);
        }
        Ok(())
    }
}

fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Host ids as those of the user's namespace: (first, count), in order.
fn of_host(first: u32, count: u32, parent: &[Extent]) -> Result<Vec<(u32, u32)>, InvalidUserns> {
    let mut parts = Vec::new();
    let (mut id, end) = (u64::from(first), u64::from(first) + u64::from(count));
    while id < end {
        let holds = |range: &&Extent| id >= u64::from(range.outside) && id < range.outside_end();
        let range = parent.iter().find(holds).ok_or(InvalidUserns::NotDelegated { id })?;
        let upto = range.outside_end().min(end);
        let inside = u64::from(range.inside) + (id - u64::from(range.outside));
        let (Ok(inside), Ok(count)) = (u32::try_from(inside), u32::try_from(upto - id)) else { break };
        parts.push((inside, count));
        id = upto;
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parent() -> Maps {
        let extents = |own| {
            vec![
                Extent { inside: 0, outside: own, count: 1 },
                Extent { inside: 1, outside: 100_000, count: 65_536 },
                Extent { inside: 65_537, outside: 2000, count: 1 },
            ]
        };
        Maps { uids: extents(1000), gids: extents(1000) }
    }

    fn lines(extents: &[Extent]) -> String {
        let line = |extent: &Extent| format!("{} {} {}", extent.inside, extent.outside, extent.count);
        extents.iter().map(line).collect::<Vec<_>>().join(", ")
    }

    fn maps(uids: &[&str], gids: &[&str]) -> Result<(String, String), String> {
        let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let flags = MapFlags { uids: own(uids), gids: own(gids), ..MapFlags::default() };
        let maps = explicit_maps(&flags, &parent()).map_err(|error| error.to_string())?;
        Ok((lines(&maps.uids), lines(&maps.gids)))
    }

    fn both(text: &str) -> Result<(String, String), String> {
        Ok((text.to_owned(), text.to_owned()))
    }

    #[test]
    fn podmans_examples() {
        assert_eq!(maps(&["0:1:10"], &[]), both("0 1 10"));
        assert_eq!(maps(&[], &["0:1:10", "100:50"]), both("0 1 10, 100 50 1"));
        assert_eq!(maps(&["0:1:10"], &["0:5:10"]), Ok(("0 1 10".into(), "0 5 10".into())));
        assert_eq!(maps(&["0:0:65000", "+100000:1:1"], &[]), both("0 0 1, 2 2 64998, 100000 1 1"));
        // The u flag alone leaves the other map to what is there.
        assert_eq!(maps(&["u0:1:10"], &[]), Ok(("0 1 10".into(), "0 0 1, 1 1 65536, 65537 65537 1".into())));
        assert_eq!(
            maps(&[], &["0:0:1000", "g2000:2000:1"]),
            Ok(("0 0 1, 1 1 999".into(), "0 0 1, 1 1 999, 2000 2000 1".into()))
        );
        assert_eq!(maps(&[], &["+g100000:@2000"]).unwrap().1, "0 0 1, 1 1 65536, 100000 65537 1",);
        assert_eq!(maps(&["1000:@1000", "0:@100000:5"], &[]), both("0 1 5, 1000 0 1"));
        assert_eq!(maps(&["0:1:10:20:30:5"], &[]), both("0 1 10, 20 30 5"));
        assert_eq!(maps(&["+1000:0"], &[]).unwrap().0, "0 1 1000, 1000 0 1, 1001 1001 64536, 65537 65537 1");
    }

    #[test]
    fn names_of_ranges() {
        let flags = MapFlags { subuids: Some(vec![(100_010, 20), (2000, 1)]), ..MapFlags::default() };
        let maps = explicit_maps(&flags, &parent()).unwrap();
        assert_eq!(
            (lines(&maps.uids), lines(&maps.gids)),
            ("0 11 20, 20 65537 1".into(), "0 11 20, 20 65537 1".into())
        );
        let flags = MapFlags { subuids: Some(vec![(7, 1)]), ..MapFlags::default() };
        assert_eq!(explicit_maps(&flags, &parent()).unwrap_err(), InvalidUserns::NotDelegated { id: 7 });
    }

    #[test]
    fn malformed_maps() {
        for bad in [
            "0",
            "0:1:2:3",
            "a:1:1",
            "0:b:1",
            "0:1:c",
            "-1:0:1",
            "0:-1:1",
            "x0:1:1",
            ":0:1",
            "0::1",
            "0:1:",
            "0:@:1",
            "0:@@1:1",
            "4294967296:0:1",
            "+:0:1",
            "0:0: 1",
            "0x1:0:1",
            "@0:0:1",
            "0+:0:1",
        ] {
            let error = maps(&[bad], &[]).unwrap_err();
            assert!(error.starts_with("initializing ID mappings: UID setting is malformed"), "{bad}: {error}");
        }
        let error = maps(&["0:70000:5"], &[]).unwrap_err();
        assert!(error.contains("the ids 70000 to 70004 are not among those you may map"), "{error}");
        assert!(maps(&["0:@5:1"], &[]).unwrap_err().contains("host id 5 is none of yours"));
        assert!(maps(&["0:0:2", "1:5:1"], &[]).unwrap_err().contains("mapped twice"));
    }
}
