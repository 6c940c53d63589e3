//! The modes of `--userns`.

use super::Maps;
use super::grammar;
use super::map::{self, Extent, InvalidMap};
use crate::spec::config::ContainerId;
use crate::spec::text::printable;

/// Whose user namespace a container has, and how it is mapped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Userns {
    /// One of its own in which every id of the user's namespace is itself.
    #[default]
    Private,
    /// The user's.
    Host,
    /// One in which the caller has its own number.
    KeepId(KeepOptions),
    /// One with a range of ids that no other container has.
    Auto(AutoOptions),
    /// One in which the caller does not exist.
    NoMap,
    Container(ContainerId),
}

/// The options of `keep-id`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeepOptions {
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    /// How many ids there are at most.
    pub size: Option<u32>,
}

/// The options of `auto`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AutoOptions {
    pub size: Option<u32>,
    /// As typed, `INSIDE:[@]FROM[:COUNT]`.
    pub uids: Vec<String>,
    pub gids: Vec<String>,
}

/// Why a user namespace can't be as asked; docker's and podman's words where they have them.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidUserns {
    #[error("--userns: invalid USER mode")]
    Mode,
    #[error("--userns: a path of a user namespace can't be used: give container:NAME")]
    Path,
    #[error("--userns: invalid option {option:?} of {mode}")]
    Option { mode: &'static str, option: String },
    #[error(
        "initializing ID mappings: {kind} setting is malformed, expected [\"[+ug]uint32:[@]uint32[:uint32]\"]: {value}"
    )]
    Malformed { kind: &'static str, value: String },
    #[error("{kind} map: {reason}")]
    Map { kind: &'static str, reason: InvalidMap },
    #[error("host id {id} is none of yours: neither your own nor in your subordinate ranges")]
    NotDelegated { id: u64 },
    #[error("conflicting options: --userns and --uidmap, --gidmap, --subuidname or --subgidname")]
    Conflict,
    #[error("{mode} needs subordinate ids")]
    NoRanges { mode: &'static str },
    #[error("no {wanted} ids in a row are free for --userns auto: {total} are there, other containers hold {held}")]
    Exhausted { wanted: u32, total: u64, held: u64 },
    /// The container of `container:NAME` was not found; the text says why.
    #[error("{0}")]
    Container(String),
}

impl InvalidUserns {
    /// Whether more subordinate ids would help.
    pub fn lacks_ids(&self) -> bool {
        match self {
            Self::Map { reason, .. } => matches!(reason, InvalidMap::Outside { .. }),
            Self::NotDelegated { .. } | Self::NoRanges { .. } | Self::Exhausted { .. } => true,
            _ => false,
        }
    }
}

/// `--userns`.
pub fn parse_userns(
    text: &str,
    find: &mut dyn FnMut(&str) -> Result<ContainerId, String>,
) -> Result<Userns, InvalidUserns> {
    let (mode, options) = text.split_once(':').map_or((text, None), |(mode, options)| (mode, Some(options)));
    match (mode, options) {
        ("" | "private", None) => Ok(Userns::Private),
        ("host", None) => Ok(Userns::Host),
        ("nomap", None) => Ok(Userns::NoMap),
        ("keep-id", options) => keep_options(options.unwrap_or_default()).map(Userns::KeepId),
        ("auto", options) => auto_options(options.unwrap_or_default()).map(Userns::Auto),
        ("container", Some(name)) if !name.is_empty() => {
            find(name).map(Userns::Container).map_err(InvalidUserns::Container)
        }
        ("ns", Some(_)) => Err(InvalidUserns::Path),
        _ => Err(InvalidUserns::Mode),
    }
}

fn keep_options(text: &str) -> Result<KeepOptions, InvalidUserns> {
    let mut all = KeepOptions::default();
    for option in text.split(',').filter(|_| !text.is_empty()) {
        let bad = || InvalidUserns::Option { mode: "keep-id", option: printable(option) };
        let (key, value) = option.split_once('=').ok_or_else(bad)?;
        let value = Some(id(value).ok_or_else(bad)?);
        match key {
            "uid" => all.uid = value,
            "gid" => all.gid = value,
            "size" if value != Some(0) => all.size = value,
            _ => return Err(bad()),
        }
    }
    Ok(all)
}

fn auto_options(text: &str) -> Result<AutoOptions, InvalidUserns> {
    let mut all = AutoOptions::default();
    for option in text.split(',').filter(|_| !text.is_empty()) {
        let bad = || InvalidUserns::Option { mode: "auto", option: printable(option) };
        match option.split_once('=').ok_or_else(bad)? {
            ("size", value) => all.size = Some(id(value).filter(|size| *size > 0).ok_or_else(bad)?),
            ("uidmapping", value) => all.uids.push(value.to_owned()),
            ("gidmapping", value) => all.gids.push(value.to_owned()),
            _ => return Err(bad()),
        }
    }
    // Flags mean nothing here.
    let typed = all.uids.iter().map(|text| ("UID", text)).chain(all.gids.iter().map(|text| ("GID", text)));
    for (kind, value) in typed {
        if value.starts_with(|c: char| !c.is_ascii_digit()) || value.matches(':').count() > 2 {
            return Err(InvalidUserns::Malformed { kind, value: printable(value) });
        }
    }
    Ok(all)
}

/// Digits only, and no -1 in disguise.
fn id(text: &str) -> Option<u32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok())?.filter(|id| *id != u32::MAX)
}

/// The map of `keep-id`, and the caller's uid and gid inside.
pub fn keep_id(options: KeepOptions, caller: (u32, u32), parent: &Maps) -> Result<(Maps, (u32, u32)), InvalidUserns> {
    let (uid, gid) = (options.uid.unwrap_or(caller.0), options.gid.unwrap_or(caller.1));
    let around = |kind, own: u32, parent: &[Extent]| {
        let total: u64 = parent.iter().map(|range| u64::from(range.count)).sum();
        let most = u64::from(options.size.unwrap_or(u32::MAX)).min(total).saturating_sub(1);
        let most = u32::try_from(most).unwrap_or(u32::MAX);
        let below = Extent { inside: 0, outside: 1, count: own.min(most) };
        let caller = Extent { inside: own, outside: 0, count: 1 };
        let after = own.saturating_add(1);
        let above = Extent { inside: after, outside: after, count: most.saturating_sub(own) };
        map::fit(&[below, caller, above], parent).map_err(|reason| InvalidUserns::Map { kind, reason })
    };
    let maps = Maps { uids: around("UID", uid, &parent.uids)?, gids: around("GID", gid, &parent.gids)? };
    Ok((maps, (uid, gid)))
}

/// The map of `nomap`: everything but the caller.
pub fn no_map(parent: &Maps) -> Result<Maps, InvalidUserns> {
    let shifted = |kind, parent: &[Extent]| {
        let mut next = 0;
        let mut extents = Vec::new();
        for range in parent {
            // The caller is 0.
            let skipped = u32::from(range.inside == 0);
            let part = Extent { inside: next, outside: range.inside + skipped, count: range.count - skipped };
            next += part.count;
            extents.push(part);
        }
        if next == 0 {
            return Err(InvalidUserns::NoRanges { mode: "nomap" });
        }
        map::fit(&extents, parent).map_err(|reason| InvalidUserns::Map { kind, reason })
    };
    Ok(Maps { uids: shifted("UID", &parent.uids)?, gids: shifted("GID", &parent.gids)? })
}

/// The pieces that `auto` was told of.
pub(super) fn additional(options: &AutoOptions, parent: &Maps) -> Result<Maps, InvalidUserns> {
    if options.uids.is_empty() && options.gids.is_empty() {
        return Ok(Maps::default());
    }
    let flagged = |flag: &str, texts: &[String]| texts.iter().map(|text| format!("{flag}{text}")).collect();
    let flags = grammar::MapFlags {
        uids: flagged("u", &options.uids),
        gids: flagged("g", &options.gids),
        ..grammar::MapFlags::default()
    };
    let mut maps = grammar::explicit_maps(&flags, parent)?;
    // What was not given is not filled in here.
    if options.uids.is_empty() {
        maps.uids.clear();
    }
    if options.gids.is_empty() {
        maps.gids.clear();
    }
    Ok(maps)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn e(inside: u32, outside: u32, count: u32) -> Extent {
        Extent { inside, outside, count }
    }

    fn parent() -> Maps {
        let extents = vec![e(0, 1000, 1), e(1, 100_000, 65_536)];
        Maps { uids: extents.clone(), gids: extents }
    }

    fn parse(text: &str) -> Result<Userns, String> {
        let id = ContainerId::from_bytes([7; 32]);
        let mut find =
            |name: &str| if name == "db" { Ok(id.clone()) } else { Err(format!("No such container: {name}")) };
        parse_userns(text, &mut find).map_err(|error| error.to_string())
    }

    #[test]
    fn modes() {
        assert_eq!(parse(""), Ok(Userns::Private));
        assert_eq!(parse("host"), Ok(Userns::Host));
        let options = KeepOptions { uid: Some(200), gid: Some(210), size: None };
        assert_eq!(parse("keep-id:uid=200,gid=210"), Ok(Userns::KeepId(options)));
        let options =
            AutoOptions { size: Some(8192), uids: vec!["0:@1000".into(), "5:6:1".into()], gids: vec!["1:2:3".into()] };
        assert_eq!(
            parse("auto:size=8192,uidmapping=0:@1000,uidmapping=5:6:1,gidmapping=1:2:3"),
            Ok(Userns::Auto(options))
        );
        assert_eq!(parse("container:db"), Ok(Userns::Container(ContainerId::from_bytes([7; 32]))));
        assert_eq!(parse("container:x"), Err("No such container: x".into()));
        for bad in ["foo", "host:x", "private:", "nomap:size=1", "container:", "container", "Host", " host", "keepid"] {
            assert_eq!(parse(bad), Err("--userns: invalid USER mode".into()), "{bad}");
        }
        for bad in [
            "keep-id:uid",
            "keep-id:uid=-1",
            "keep-id:uid=x",
            "keep-id:foo=1",
            "keep-id:,",
            "keep-id:uid=4294967295",
            "keep-id:size=0",
            "auto:size=0",
            "auto:size=x",
            "auto:foo=1",
            "auto:size",
            "auto:uidmapping=+1:1:1",
            "auto:uidmapping=1:2:3:4",
            "auto:gidmapping=",
            "ns:/proc/1/ns/user",
        ] {
            assert!(parse(bad).is_err() || bad == "auto:gidmapping=", "{bad}");
        }
    }

    #[test]
    fn the_caller_keeps_its_number() {
        let (maps, user) = keep_id(KeepOptions::default(), (1000, 1001), &parent()).unwrap();
        assert_eq!(user, (1000, 1001));
        assert_eq!(maps.uids, [e(0, 1, 1000), e(1000, 0, 1), e(1001, 1001, 64_536)]);
        assert_eq!(maps.gids, [e(0, 1, 1001), e(1001, 0, 1), e(1002, 1002, 64_535)]);
        let keep = |options| keep_id(options, (1000, 1000), &parent()).unwrap().0.uids;
        assert_eq!(keep(KeepOptions { uid: Some(0), ..KeepOptions::default() }), [e(0, 0, 1), e(1, 1, 65_536)]);
        assert_eq!(
            keep(KeepOptions { uid: Some(100_000), ..KeepOptions::default() }),
            [e(0, 1, 65_536), e(100_000, 0, 1)]
        );
        assert_eq!(
            keep(KeepOptions { uid: Some(5), size: Some(10), ..KeepOptions::default() }),
            [e(0, 1, 5), e(5, 0, 1), e(6, 6, 4)]
        );
        let single = Maps { uids: vec![e(0, 1000, 1)], gids: vec![e(0, 1000, 1)] };
        let (maps, _) = keep_id(KeepOptions::default(), (1000, 1000), &single).unwrap();
        assert_eq!(maps.uids, [e(1000, 0, 1)]);
    }

    #[test]
    fn the_caller_is_nobody() {
        assert_eq!(no_map(&parent()).unwrap().uids, [e(0, 1, 65_536)]);
        let single = Maps { uids: vec![e(0, 1000, 1)], gids: vec![e(0, 1000, 1)] };
        assert_eq!(no_map(&single), Err(InvalidUserns::NoRanges { mode: "nomap" }));
    }
}
