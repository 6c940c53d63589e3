//! `--mount type=bind,source=/src,target=/dst,readonly`

use std::collections::BTreeMap;
use std::path::Path;

use super::tmpfs::is_mode;
use super::{
    Bind, Devpts, Flag, IdMapping, ImageUse, InvalidMount, Mount, MountKind, OverlayDirs, Propagation, Recursion,
    Restriction, Sharing, Target, Tmpfs, VolumeUse, csv, source, subpath, target,
};
use crate::spec::names;
use crate::spec::security::parse_bool;
use crate::spec::size::parse_bytes;
use crate::spec::text::printable;

/// What the keys said, before they are held against each other.
#[derive(Default)]
struct Keys {
    kind: Option<String>,
    source: Option<String>,
    target: Option<String>,
    read_only: Option<bool>,
    /// `bind-*`, with what is common to binds and volumes.
    sharing: Sharing,
    propagation: Option<Propagation>,
    recursion: Option<Recursion>,
    create_source: bool,
    volume: VolumeUse,
    subpath: Option<String>,
    tmpfs: Tmpfs,
    devpts: Devpts,
    /// Whether each of `noexec` and its like was asked for, or the contrary.
    switches: BTreeMap<Restriction, bool>,
    /// Keys that only some kinds have.
    special: Vec<&'static Special>,
}

/// A key that only some kinds of mount have.
struct Special {
    name: &'static str,
    kinds: &'static [&'static str],
}

/// docker names the family where there is one.
const SPECIAL: [Special; 28] = {
    const BIND: &[&str] = &["bind"];
    const SHARED: &[&str] = &["bind", "volume"];
    const VOLUME: &[&str] = &["volume"];
    const TMPFS: &[&str] = &["tmpfs"];
    const DEVPTS: &[&str] = &["devpts"];
    const fn key(name: &'static str, kinds: &'static [&'static str]) -> Special {
        Special { name, kinds }
    }
    [
        key("bind-propagation", BIND),
        key("bind-recursive", BIND),
        key("bind-nonrecursive", BIND),
        key("bind-create-src", BIND),
        key("propagation", SHARED),
        key("relabel", SHARED),
        key("idmap", SHARED),
        key("overlay", SHARED),
        key("upperdir", SHARED),
        key("workdir", SHARED),
        key("chown", &["bind", "volume", "tmpfs"]),
        key("exec", &["bind", "volume", "tmpfs"]),
        key("volume-nocopy", VOLUME),
        key("nocopy", VOLUME),
        key("nocreate", VOLUME),
        key("volume-label", VOLUME),
        key("volume-driver", VOLUME),
        key("volume-opt", VOLUME),
        key("volume-subpath", VOLUME),
        key("image-subpath", &["image"]),
        key("subpath", &["volume", "image"]),
        key("tmpfs-size", TMPFS),
        key("tmpfs-mode", TMPFS),
        key("tmpfs-options", TMPFS),
        key("uid", &["devpts", "tmpfs"]),
        key("gid", &["devpts", "tmpfs"]),
        key("mode", DEVPTS),
        key("max", DEVPTS),
    ]
};

/// Parses a `--mount` value. A source that begins with `.` is taken below `cwd`.
pub fn parse_mount(text: &str, cwd: &Path) -> Result<Mount, InvalidMount> {
    let fail = |reason: String| InvalidMount::Option { spec: text.to_owned(), reason: printable(&reason) };
    let mut keys = Keys::default();
    for field in csv::split(text).ok_or_else(|| fail("a quote is out of place".to_owned()))? {
        keys.apply(&field).map_err(fail)?;
    }
    let kind = keys.kind.clone().unwrap_or_else(|| "volume".to_owned());
    check_kind(&kind)?;
    let to = keys.target.clone().ok_or_else(|| fail("target is required".to_owned()))?;
    if let Some(special) = keys.special.iter().find(|special| !special.kinds.contains(&kind.as_str())) {
        let family = special.name.split_once('-').map_or(special.name, |(family, _)| family);
        return Err(fail(match special.name.contains('-') {
            true => format!("cannot mix '{family}-*' options with mount type '{kind}'"),
            false => format!("option '{family}' can't be used with mount type '{kind}'"),
        }));
    }
    match kind.as_str() {
        "bind" => keys.bind(&to, cwd, &fail),
        "tmpfs" => keys.tmpfs(&to),
        "image" => keys.image(&to),
        "devpts" => keys.devpts(&to),
        _ => keys.volume(&to),
    }
}

fn check_kind(kind: &str) -> Result<(), InvalidMount> {
    let reason = match kind {
        "bind" | "volume" | "tmpfs" | "image" | "devpts" => return Ok(()),
        "npipe" => "named pipes of this kind are Windows's",
        "cluster" => "there are no swarm clusters here",
        "glob" => "give each path a mount of its own",
        "ramfs" => "use tmpfs, which has a limit",
        "artifact" => "artifacts are not kept here",
        _ => "it must be bind, volume, tmpfs, image or devpts",
    };
    Err(InvalidMount::Kind(printable(kind), reason))
}

impl Keys {
    fn apply(&mut self, field: &str) -> Result<(), String> {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (field, None),
        };
        if key.trim() != key {
            return Err(format!("invalid option '{key}' in '{field}': option should not have whitespace"));
        }
        if let Some(value) = value {
            if value.trim().is_empty() {
                return Err(format!("invalid value for '{key}': value is empty"));
            }
            if value.trim() != value {
                return Err(format!("invalid value for '{key}' in '{field}': value should not have whitespace"));
            }
        }
        // Except for podman's one-letter options case says nothing.
        let lower = if key.len() == 1 { key.to_owned() } else { key.to_ascii_lowercase() };
        match value {
            Some(value) => self.set(&lower, value, field),
            None => self.switch(&lower, field),
        }
    }

    /// Notes that a key was used which only some kinds have.
    fn note(&mut self, name: &str) {
        self.special.extend(SPECIAL.iter().find(|special| special.name == name));
    }

    /// A key without a value.
    fn switch(&mut self, key: &str, field: &str) -> Result<(), String> {
        match key {
            "readonly" | "ro" | "rw" | "readwrite" => self.read_only = Some(key.starts_with("ro") || key == "readonly"),
            "bind-nonrecursive" | "bind-create-src" | "volume-nocopy" | "nocopy" | "copy" | "nocreate" | "u" | "U"
            | "chown" | "tmpcopyup" | "notmpcopyup" => return self.set(key, "true", field),
            "z" | "Z" => {
                self.note("relabel");
                self.sharing.relabel = key.chars().next();
            }
            "O" => {
                self.note("overlay");
                self.sharing.overlay.get_or_insert_default();
            }
            "idmap" => {
                self.note("idmap");
                self.sharing.idmap = Some(IdMapping::default());
            }
            "noatime" | "relatime" | "noswap" => self.tmpfs_option(key)?,
            _ => match (Restriction::parse(key), Propagation::parse(key)) {
                (Some((about, on)), _) => {
                    self.note("exec");
                    self.switches.insert(about, on);
                }
                (None, Some(propagation)) => {
                    self.note("propagation");
                    self.propagation = Some(propagation);
                }
                _ => return Err(format!("invalid field '{field}' must be a key=value pair")),
            },
        }
        Ok(())
    }

    fn tmpfs_option(&mut self, option: &str) -> Result<(), String> {
        self.note("tmpfs-options");
        self.tmpfs.apply(option).map_err(|error| error.to_string())
    }

    fn set(&mut self, key: &str, value: &str, field: &str) -> Result<(), String> {
        let invalid = || format!("invalid value for {key}: {value}");
        let yes = || parse_bool(value).ok_or_else(invalid);
        self.note(key);
        match key {
            "type" => self.kind = Some(value.to_ascii_lowercase()),
            "source" | "src" => self.source = Some(value.to_owned()),
            "target" | "dst" | "destination" | "dest" => self.target = Some(value.to_owned()),
            "readonly" | "ro" => self.read_only = Some(yes()?),
            "rw" | "readwrite" => self.read_only = Some(!yes()?),
            // A hint for file sharing that does nothing on Linux.
            "consistency" => {}
            "bind-propagation" => self.propagation = Some(Propagation::parse(value).ok_or_else(invalid)?),
            "bind-recursive" => self.recursion = Some(recursion(value).ok_or_else(invalid)?),
            "bind-nonrecursive" => {
                self.recursion = Some(if yes()? { Recursion::Disabled } else { Recursion::Enabled });
            }
            "bind-create-src" => self.create_source = yes()?,
            "relabel" => self.sharing.relabel = Some(relabel(value).ok_or_else(invalid)?),
            "idmap" => self.sharing.idmap = Some(IdMapping::parse(value).ok_or_else(invalid)?),
            "upperdir" => self.sharing.overlay.get_or_insert_default().upper = Some(value.into()),
            "workdir" => self.sharing.overlay.get_or_insert_default().work = Some(value.into()),
            "u" | "U" | "chown" => {
                self.note("chown");
                self.sharing.chown = yes()?;
            }
            "tmpcopyup" | "notmpcopyup" => {
                self.tmpfs_option(if yes()? == (key == "tmpcopyup") { "tmpcopyup" } else { "notmpcopyup" })?;
            }
            _ => return self.set_special(key, value, field),
        }
        Ok(())
    }

    /// Keys of volumes, images, tmpfs and devpts.
    fn set_special(&mut self, key: &str, value: &str, field: &str) -> Result<(), String> {
        let invalid = || format!("invalid value for {key}: {value}");
        let yes = || parse_bool(value).ok_or_else(invalid);
        let number = || value.parse::<u32>().ok().filter(|_| value.bytes().all(|byte| byte.is_ascii_digit()));
        match key {
            "volume-nocopy" | "nocopy" => self.volume.nocopy = yes()?,
            "copy" => {
                self.note("nocopy");
                self.volume.nocopy = !yes()?;
            }
            "nocreate" => self.volume.nocreate = yes()?,
            "volume-driver" => self.volume.driver = Some(value.to_owned()),
            "volume-opt" | "volume-label" => {
                let (name, text) = value.split_once('=').unwrap_or((value, ""));
                let map = if key == "volume-opt" { &mut self.volume.driver_options } else { &mut self.volume.labels };
                map.insert(name.to_owned(), text.to_owned());
            }
            "volume-subpath" | "image-subpath" | "subpath" => self.subpath = Some(value.to_owned()),
            "tmpfs-size" => {
                let bytes = parse_bytes(value).map_err(|_| invalid())?;
                self.tmpfs.set("size", &bytes.to_string()).ok_or_else(invalid)?;
            }
            "tmpfs-mode" if is_mode(value) => self.tmpfs.set("mode", value).ok_or_else(invalid)?,
            "mode" if is_mode(value) => self.devpts.mode = Some(value.to_owned()),
            "uid" | "gid" => {
                let id = Some(number().ok_or_else(invalid)?);
                *(if key == "uid" { &mut self.devpts.uid } else { &mut self.devpts.gid }) = id;
                self.tmpfs.set(key, value).ok_or_else(invalid)?;
            }
            "max" => self.devpts.max = Some(number().filter(|max| *max > 0).ok_or_else(invalid)?),
            "tmpfs-mode" | "mode" => return Err(invalid()),
            _ => return Err(format!("unknown option '{key}' in '{field}'")),
        }
        Ok(())
    }

    /// Puts together what `bind-*` and its like said.
    fn sharing(&mut self) -> Result<Sharing, InvalidMount> {
        let mut sharing = std::mem::take(&mut self.sharing);
        if let Some(OverlayDirs { upper, work }) = &sharing.overlay {
            sharing.overlay = Some(OverlayDirs::new(
                upper.as_deref().map(Path::to_string_lossy).as_deref(),
                work.as_deref().map(Path::to_string_lossy).as_deref(),
            )?);
        }
        sharing.propagation = self.propagation.unwrap_or_default();
        sharing.recursion = self.recursion.unwrap_or_default();
        sharing.restrictions = self.switches.iter().filter_map(|(about, on)| on.then_some(*about)).collect();
        Ok(sharing)
    }

    fn check(&self, fail: &dyn Fn(String) -> InvalidMount) -> Result<(), InvalidMount> {
        let read_only = self.read_only.unwrap_or(false);
        let needs = |what: &str, other: &str| {
            fail(format!("option 'bind-recursive={what}' requires '{other}' to be specified in conjunction"))
        };
        match self.recursion.unwrap_or_default() {
            Recursion::Writable if !read_only => return Err(needs("writable", "readonly")),
            Recursion::Readonly if !read_only => return Err(needs("readonly", "readonly")),
            Recursion::Readonly if self.propagation != Some(Propagation::Rprivate) => {
                return Err(needs("readonly", "bind-propagation=rprivate"));
            }
            _ => {}
        }
        let of_source = read_only || self.propagation.is_some() || self.recursion.is_some();
        if self.sharing.overlay.is_some() && (of_source || self.sharing.idmap.is_some()) {
            return Err(fail("an overlay can't be combined with readonly, propagation, recursion or idmap".to_owned()));
        }
        Ok(())
    }

    fn bind(mut self, to: &str, cwd: &Path, fail: &dyn Fn(String) -> InvalidMount) -> Result<Mount, InvalidMount> {
        self.check(fail)?;
        let source = source(self.source.as_deref().unwrap_or_default(), cwd)?;
        let sharing = self.sharing()?;
        let kind = MountKind::Bind(Bind { source, sharing, create_source: self.create_source });
        self.mount("bind", to, kind)
    }

    fn tmpfs(mut self, to: &str) -> Result<Mount, InvalidMount> {
        if self.source.is_some() {
            return Err(InvalidMount::Config { kind: "tmpfs", reason: Target::Unwanted("Source") });
        }
        let mut tmpfs = std::mem::take(&mut self.tmpfs);
        let lifted = |about| self.switches.get(&about) == Some(&false);
        tmpfs.exec = lifted(Restriction::Noexec);
        tmpfs.suid = lifted(Restriction::Nosuid);
        tmpfs.dev = lifted(Restriction::Nodev);
        tmpfs.chown = self.sharing.chown;
        self.mount("tmpfs", to, MountKind::Tmpfs(tmpfs))
    }

    fn volume(mut self, to: &str) -> Result<Mount, InvalidMount> {
        let sharing = self.sharing()?;
        let name = match self.source.as_deref() {
            Some(name) => {
                let valid = names::volume_name(name).ok_or_else(|| InvalidMount::VolumeName(printable(name)))?;
                Some(valid.to_owned())
            }
            None if self.subpath.is_some() => {
                return Err(InvalidMount::Config { kind: "volume", reason: Target::AnonymousSubpath });
            }
            None => None,
        };
        let subpath = self.subpath.as_deref().map(|path| subpath("volume", path)).transpose()?;
        let asked = std::mem::take(&mut self.volume);
        let kind = MountKind::Volume(VolumeUse { anonymous: name.is_none(), name, sharing, subpath, ..asked });
        self.mount("volume", to, kind)
    }

    /// An image is read-only unless that is lifted.
    fn image(mut self, to: &str) -> Result<Mount, InvalidMount> {
        let Some(reference) = self.source.clone() else {
            return Err(InvalidMount::Config { kind: "image", reason: Target::Missing("Source") });
        };
        let subpath = self.subpath.as_deref().map(|path| subpath("image", path)).transpose()?;
        self.read_only.get_or_insert(true);
        self.mount("image", to, MountKind::Image(ImageUse { reference, subpath, found: None }))
    }

    fn devpts(mut self, to: &str) -> Result<Mount, InvalidMount> {
        if self.source.is_some() {
            return Err(InvalidMount::Config { kind: "devpts", reason: Target::Unwanted("Source") });
        }
        let devpts = std::mem::take(&mut self.devpts);
        self.mount("devpts", to, MountKind::Devpts(devpts))
    }

    fn mount(self, name: &'static str, to: &str, kind: MountKind) -> Result<Mount, InvalidMount> {
        let read_only = self.read_only.unwrap_or(false);
        Ok(Mount { target: target(name, to)?, read_only, kind, flag: Flag::Mount, typed: String::new() })
    }
}

fn recursion(text: &str) -> Option<Recursion> {
    match text {
        "enabled" => Some(Recursion::Enabled),
        "disabled" => Some(Recursion::Disabled),
        "writable" => Some(Recursion::Writable),
        "readonly" => Some(Recursion::Readonly),
        _ => None,
    }
}

fn relabel(text: &str) -> Option<char> {
    match text {
        "shared" => Some('z'),
        "private" => Some('Z'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Mount, InvalidMount> {
        parse_mount(text, Path::new("/home/me"))
    }

    #[test]
    fn keys_in_every_spelling() {
        for (text, printed) in [
            ("type=bind,src=/s,dst=/d", "type=bind,source=/s,target=/d"),
            ("Type=bind,SOURCE=./s,destination=/d/,ro", "type=bind,source=/home/me/s,target=/d,readonly"),
            ("type=bind,source=/s,target=/d,readonly=false,consistency=cached", "type=bind,source=/s,target=/d"),
            (
                "type=bind,source=/s,target=/d,ro=1,bind-recursive=writable,bind-propagation=rslave",
                "type=bind,source=/s,target=/d,readonly,rslave,bind-recursive=writable",
            ),
            (
                "src=data,dst=/d,volume-opt=type=tmpfs,volume-opt=o=size=1m,volume-label=a=b,volume-nocopy=1,U=true",
                "type=volume,source=data,target=/d,chown,volume-nocopy,volume-opt=o=size=1m,volume-opt=type=tmpfs,volume-label=a=b",
            ),
            (
                "type=image,src=busybox,dst=/d,subpath=bin/../etc/",
                "type=image,source=busybox,target=/d,image-subpath=etc",
            ),
            ("type=image,src=busybox,dst=/d,rw=true", "type=image,source=busybox,target=/d,rw"),
            ("type=devpts,dst=/d,uid=1,gid=5,mode=0620,max=4", "type=devpts,target=/d,uid=1,gid=5,max=4,mode=0620"),
            (
                "type=bind,src=/s,dst=/d,relabel=shared,noexec,nosuid,suid,U,idmap=uids=0-1-2,bind-create-src",
                "type=bind,source=/s,target=/d,z,noexec,chown,idmap=uids=0-1-2,bind-create-src",
            ),
            (
                "type=bind,src=/s,dst=/d,O,upperdir=/u,workdir=/w/",
                "type=bind,source=/s,target=/d,O,upperdir=/u,workdir=/w",
            ),
            ("type=bind,\"src=/a,\"\"b\",dst=/d", "type=bind,\"source=/a,\"\"b\",target=/d"),
            (
                "type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=700",
                "type=tmpfs,target=/t,tmpfs-size=1048576,tmpfs-mode=700",
            ),
        ] {
            assert_eq!(parse(text).map(|mount| mount.to_string()), Ok(printed.to_owned()), "{text}");
        }
    }

    #[test]
    fn errors_in_dockers_words() {
        for (text, reason) in [
            ("type=bind,src=/s", "target is required"),
            ("bogus=1", "unknown option 'bogus' in 'bogus=1'"),
            ("type=bind, src=/s,dst=/d", "invalid option ' src' in ' src=/s': option should not have whitespace"),
            ("type=bind,src=,dst=/d", "invalid value for 'src': value is empty"),
            ("type=bind,src,dst=/d", "invalid field 'src' must be a key=value pair"),
            ("type=bind,src=/s,dst=/d,tmpfs-size=1m", "cannot mix 'tmpfs-*' options with mount type 'bind'"),
            ("type=tmpfs,dst=/d,volume-nocopy", "cannot mix 'volume-*' options with mount type 'tmpfs'"),
            ("type=bind,src=/s,dst=/d,image-subpath=x", "cannot mix 'image-*' options with mount type 'bind'"),
            ("type=devpts,dst=/d,U", "option 'chown' can't be used with mount type 'devpts'"),
            ("type=bind,src=/s,dst=/d,max=1", "option 'max' can't be used with mount type 'bind'"),
            ("type=devpts,dst=/d,max=0", "invalid value for max: 0"),
            (
                "type=bind,src=/s,dst=/d,O,ro",
                "an overlay can't be combined with readonly, propagation, recursion or idmap",
            ),
            ("type=bind,src=/s,dst=/d,idmap=x", "invalid value for idmap: x"),
            ("type=bind,src=/s,dst=/d,relabel=both", "invalid value for relabel: both"),
            (
                "type=tmpfs,dst=/d,noswap",
                "invalid tmpfs option \"noswap\": the kernel lets only root have a tmpfs that is never swapped out",
            ),
            ("type=tmpfs,dst=/d,bind-propagation=slave", "cannot mix 'bind-*' options with mount type 'tmpfs'"),
            ("type=bind,src=/s,dst=/d,ro=maybe", "invalid value for ro: maybe"),
            ("type=tmpfs,dst=/d,tmpfs-mode=89", "invalid value for tmpfs-mode: 89"),
            (
                "type=bind,src=/s,dst=/d,bind-recursive=writable",
                "option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction",
            ),
            ("type=bind,src=\"/s,dst=/d", "a quote is out of place"),
            ("", "invalid field '' must be a key=value pair"),
        ] {
            let expected = InvalidMount::Option { spec: text.to_owned(), reason: reason.to_owned() };
            assert_eq!(parse(text), Err(expected));
        }
        for (text, message) in [
            ("type=bind,dst=/d", "invalid mount config for type \"bind\": field Source must not be empty"),
            ("type=tmpfs,src=/s,dst=/d", "invalid mount config for type \"tmpfs\": field Source must not be specified"),
            ("type=image,dst=/d", "invalid mount config for type \"image\": field Source must not be empty"),
            ("type=npipe,dst=/d", "mount type \"npipe\" can't be used: named pipes of this kind are Windows's"),
            ("type=x,dst=/d", "mount type \"x\" can't be used: it must be bind, volume, tmpfs, image or devpts"),
            (
                "type=volume,src=v,dst=/d,volume-subpath=a/../../b",
                "invalid mount config for type \"volume\": subpath must be a relative path within the volume",
            ),
            (
                "type=image,src=i,dst=/d,subpath=/a",
                "invalid mount config for type \"image\": subpath must be a relative path within the image",
            ),
            (
                "dst=/d,subpath=a",
                "invalid mount config for type \"volume\": must not set Subpath when using anonymous volumes",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), message);
        }
        assert!(matches!(parse("src=a/b,dst=/d"), Err(InvalidMount::VolumeName(_))));
        assert!(matches!(
            parse("dst=/d").unwrap().kind,
            MountKind::Volume(VolumeUse { name: None, anonymous: true, .. })
        ));
        assert!(matches!(parse("type=bind,src=s,dst=/d"), Err(InvalidMount::Config { .. })));
        assert!(matches!(parse("type=tmpfs,dst=/proc/self"), Err(InvalidMount::Config { .. })));
    }

    const OPTIONS: &str = "readonly|bind-propagation=(shared|rprivate)|bind-recursive=(disabled|readonly|writable)|rslave\
        |nosuid|exec|U|O|idmap|idmap=uids=0-1-2;gids=@3-4-5|relabel=private|bind-create-src|subpath=(a|a/b|\\.\\.)|ro=false\
        |volume-(nocopy|label=a=b|opt=o=x,y|driver=local|subpath=a)|nocreate|tmpfs-(size=1k|mode=700)|uid=5|gid=6|mode=620\
        |max=3|tmpcopyup|noatime|upperdir=/u|workdir=/w|rw";

    proptest! {
        #[test]
        fn printing_round_trips(
            kind in "bind|volume|tmpfs|image|devpts",
            source in "(/[a-z,\"=:]{1,4}){1,3}|[a-z]{2,4}|",
            target in "(/[a-z,\"=:]{1,4}){1,3}",
            options in prop::collection::vec(OPTIONS, 0..4),
        ) {
            let mut fields = vec![format!("type={kind}"), format!("dst={target}")];
            if !source.is_empty() {
                fields.push(format!("src={source}"));
            }
            fields.extend(options);
            let text = fields.iter().map(|field| csv::quote(field)).collect::<Vec<_>>().join(",");
            if let Ok(mount) = parse(&text) {
                prop_assert_eq!(parse(&mount.to_string()), Ok(mount));
            }
        }

        #[test]
        fn never_panics(text in "\\PC{0,30}") {
            let _ = parse(&text);
        }
    }
}
