//! `-v [SOURCE:]TARGET[:OPT[,OPT…]]`

use std::path::Path;

use super::{
    Bind, Flag, IdMapping, InvalidMount, Mount, MountKind, OverlayDirs, Propagation, Recursion, Restriction, Sharing,
    VolumeUse, source, target,
};
use crate::spec::names;
use crate::spec::text::printable;

/// Parses a `-v` value: a bind where the source begins with `/` or `.` (then taken below `cwd`), else
/// a volume, an anonymous one without a source.
pub fn parse_volume(text: &str, cwd: &Path) -> Result<Mount, InvalidMount> {
    if text.is_empty() {
        return Err(InvalidMount::Empty);
    }
    let fields: Vec<&str> = text.split(':').collect();
    if fields.len() > 3 {
        return Err(InvalidMount::TooManyColons(printable(text)));
    }
    if fields.iter().any(|field| field.is_empty()) {
        return Err(InvalidMount::EmptySection(printable(text)));
    }
    let in_spec = |reason| InvalidMount::Volume { spec: printable(text), reason: Box::new(reason) };
    let (from, to, typed) = match fields[..] {
        [to] => (None, to, ""),
        [from, to] => (Some(from), to, ""),
        [from, to, options, ..] => (Some(from), to, options),
        [] => return Err(InvalidMount::Empty),
    };
    let is_path = from.is_some_and(|from| from.starts_with(['/', '.']));
    let to = target(if is_path { "bind" } else { "volume" }, to).map_err(in_spec)?;
    let given = Given::parse(typed).ok_or_else(|| in_spec(InvalidMount::Mode(printable(typed))))?;
    let read_only = given.read_only.unwrap_or(false);
    let (nocopy, nocreate) = (given.nocopy.unwrap_or(false), given.nocreate);
    if is_path && (given.nocopy.is_some() || nocreate) {
        return Err(in_spec(InvalidMount::Mode(printable(typed))));
    }
    let sharing = given.sharing().map_err(in_spec)?;
    let kind = match from {
        Some(from) if is_path => {
            let source = source(from, cwd).map_err(in_spec)?;
            MountKind::Bind(Bind { source, sharing, create_source: false })
        }
        Some(name) => {
            let name = names::volume_name(name).ok_or_else(|| InvalidMount::VolumeName(printable(name)))?;
            let name = Some(name.to_owned());
            MountKind::Volume(VolumeUse { name, sharing, nocopy, nocreate, ..VolumeUse::default() })
        }
        None => MountKind::Volume(VolumeUse { anonymous: true, ..VolumeUse::default() }),
    };
    Ok(Mount { target: to, read_only, kind, flag: Flag::Volume, typed: typed.to_owned() })
}

/// What the options said.
#[derive(Default)]
struct Given<'a> {
    read_only: Option<bool>,
    propagation: Option<Propagation>,
    recursion: Option<Recursion>,
    relabel: Option<char>,
    /// Each once: what it is about, and whether it restricts.
    switches: Vec<(Restriction, bool)>,
    chown: bool,
    idmap: Option<IdMapping>,
    nocopy: Option<bool>,
    nocreate: bool,
    overlay: bool,
    upper: Option<&'a str>,
    work: Option<&'a str>,
}

impl<'a> Given<'a> {
    /// A kind of option given twice is an error, as in docker; None stands for any error.
    fn parse(options: &'a str) -> Option<Self> {
        let mut given = Self::default();
        for option in options.split(',').filter(|_| !options.is_empty()) {
            match option {
                "rw" | "ro" => once(&mut given.read_only, option == "ro")?,
                "rro" => {
                    once(&mut given.read_only, true)?;
                    once(&mut given.recursion, Recursion::Readonly)?;
                }
                "z" | "Z" => once(&mut given.relabel, option.chars().next()?)?,
                "rbind" => once(&mut given.recursion, Recursion::Enabled)?,
                "bind" => once(&mut given.recursion, Recursion::Disabled)?,
                "nocopy" | "copy" => once(&mut given.nocopy, option == "nocopy")?,
                "nocreate" => given.nocreate = true,
                "U" => given.chown = true,
                "O" => given.overlay = true,
                "idmap" => once(&mut given.idmap, IdMapping::default())?,
                // docker's file sharing hints, which do nothing on Linux.
                "consistent" | "cached" | "delegated" => {}
                other => given.set(other)?,
            }
        }
        given.is_consistent().then_some(given)
    }

    fn set(&mut self, option: &'a str) -> Option<()> {
        if let Some((about, on)) = Restriction::parse(option) {
            let fresh = self.switches.iter().all(|(known, _)| *known != about);
            self.switches.push((about, on));
            return fresh.then_some(());
        }
        match option.split_once('=') {
            Some(("upperdir", path)) => once(&mut self.upper, path),
            Some(("workdir", path)) => once(&mut self.work, path),
            Some(("idmap", ranges)) => once(&mut self.idmap, IdMapping::parse(ranges)?),
            Some(_) => None,
            None => once(&mut self.propagation, Propagation::parse(option)?),
        }
    }

    /// An overlay is a new file system: what is about the mounts of the source says nothing there.
    fn is_consistent(&self) -> bool {
        let of_source = self.read_only.is_some_and(|ro| ro)
            || self.propagation.is_some()
            || self.recursion.is_some()
            || self.idmap.is_some();
        if self.overlay { !of_source } else { self.upper.is_none() && self.work.is_none() }
    }

    fn sharing(self) -> Result<Sharing, InvalidMount> {
        let mut restrictions: Vec<Restriction> =
            self.switches.into_iter().filter_map(|(about, on)| on.then_some(about)).collect();
        restrictions.sort();
        Ok(Sharing {
            propagation: self.propagation.unwrap_or_default(),
            recursion: self.recursion.unwrap_or_default(),
            relabel: self.relabel,
            restrictions,
            chown: self.chown,
            overlay: self.overlay.then(|| OverlayDirs::new(self.upper, self.work)).transpose()?,
            idmap: self.idmap,
        })
    }
}

fn once<T>(slot: &mut Option<T>, value: T) -> Option<()> {
    slot.replace(value).is_none().then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Mount, InvalidMount> {
        parse_volume(text, Path::new("/home/me"))
    }

    fn sharing(text: &str) -> Sharing {
        parse(text).unwrap().sharing().unwrap().clone()
    }

    #[test]
    fn paths_and_options() {
        for (text, printed) in [
            ("/src:/dst", "/src:/dst"),
            ("/src/:/dst/", "/src:/dst"),
            ("./x:/dst:rw", "/home/me/x:/dst:rw"),
            ("..:/dst", "/home:/dst"),
            (".:/dst:ro,Z", "/home/me:/dst:ro,Z"),
            ("/s:/d:rslave,ro,z,nodev,noexec,cached", "/s:/d:rslave,ro,z,nodev,noexec,cached"),
            ("data:/d/:nocopy", "data:/d:nocopy"),
            ("/d/", "/d"),
        ] {
            assert_eq!(parse(text).map(|mount| mount.to_string()), Ok(printed.to_owned()), "{text}");
        }
        assert!(parse("/s:/d:rro").unwrap().read_only);
        assert_eq!(sharing("/s:/d:rro").recursion, Recursion::Readonly);
        assert_eq!(sharing("/s:/d:noexec,nodev,suid").restrictions, [Restriction::Noexec, Restriction::Nodev]);
        assert_eq!(sharing("/s:/d:bind,runbindable").propagation, Propagation::Runbindable);
        assert!(sharing("/s:/d:U").chown && sharing("/s:/d:idmap").idmap.is_some());
        let dirs = sharing("/s:/d:O,upperdir=/u,workdir=/w/").overlay.unwrap();
        assert_eq!((dirs.upper.as_deref(), dirs.work.as_deref()), (Some(Path::new("/u")), Some(Path::new("/w"))));
        assert_eq!(sharing("/s:/d:O,U").overlay, Some(OverlayDirs::default()));
    }

    #[test]
    fn volumes() {
        let volume = |text: &str| match parse(text).unwrap().kind {
            MountKind::Volume(volume) => volume,
            other => panic!("{other:?}"),
        };
        assert!(volume("/x").anonymous && volume("/x").name.is_none());
        let named = volume("data:/x:ro,nocopy,nocreate,U");
        assert_eq!((named.name.as_deref(), named.anonymous, named.nocopy), (Some("data"), false, true));
        assert!(named.nocreate && named.sharing.chown && !volume("data:/x:copy").nocopy);
    }

    #[test]
    fn errors_in_dockers_words() {
        for (text, message) in [
            ("", "invalid empty volume spec"),
            ("/a:/b:ro:x", "invalid spec: /a:/b:ro:x: too many colons"),
            ("/a::ro", "invalid spec: /a::ro: empty section between colons"),
            ("/a:/b:foo", "invalid volume specification: '/a:/b:foo': invalid mode: foo"),
            ("/a:/b:ro,rw", "invalid volume specification: '/a:/b:ro,rw': invalid mode: ro,rw"),
            ("/a:/b:nocopy", "invalid volume specification: '/a:/b:nocopy': invalid mode: nocopy"),
            ("/a:/b:exec,noexec", "invalid volume specification: '/a:/b:exec,noexec': invalid mode: exec,noexec"),
            ("/a:/b:O,ro", "invalid volume specification: '/a:/b:O,ro': invalid mode: O,ro"),
            ("/a:/b:upperdir=/x", "invalid volume specification: '/a:/b:upperdir=/x': invalid mode: upperdir=/x"),
            (
                "/a:/b:O,upperdir=/x",
                "invalid volume specification: '/a:/b:O,upperdir=/x': overlay volume options must have both upperdir= and workdir=, absolute paths",
            ),
            (
                "foo:ro",
                "invalid volume specification: 'foo:ro': invalid mount config for type \"volume\": invalid mount path: 'ro' mount path must be absolute",
            ),
            (
                "/a:/",
                "invalid volume specification: '/a:/': invalid mount config for type \"bind\": invalid specification: destination can't be '/'",
            ),
            (
                "b/c:/d",
                "create b/c: \"b/c\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), message);
        }
        assert!(matches!(parse("/a:/proc/1"), Err(InvalidMount::Volume { .. })));
    }

    const OPTIONS: &str = "ro|z|Z|bind|rslave|shared|unbindable|noexec|nosuid|dev|rw|cached|rro|U|nocopy|copy|nocreate\
        |idmap|idmap=uids=0-1-2;gids=@3-4-5|O|upperdir=/u|workdir=/w";

    proptest! {
        #[test]
        fn printing_round_trips(
            source in "((/[a-z. ,=]{1,4}){1,3}|[a-z][a-z._-]{0,4}):|",
            target in "(/[a-z. ,=]{1,4}){1,3}",
            options in prop::collection::vec(OPTIONS, 0..4),
        ) {
            let mut text = format!("{source}{target}");
            if !options.is_empty() {
                text = format!("{text}:{}", options.join(","));
            }
            if let Ok(mount) = parse(&text) {
                prop_assert_eq!(parse(&mount.to_string()), Ok(mount));
            }
        }

        #[test]
        fn never_panics(text in "\\PC{0,20}") {
            let _ = parse(&text);
        }
    }
}
