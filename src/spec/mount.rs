//! What is mounted into a container on a user's behalf, from `-v`, `--mount`, `--tmpfs`, an image's
//! VOLUMEs and other containers.
//!
//! A [`Mount`] prints as the value of the flag it came from and parses back to itself.

pub(in crate::spec) mod csv;
mod idmap;
mod image_volumes;
mod option;
mod overlay;
mod print;
mod sharing;
mod tmpfs;
mod volume;
mod volumes_from;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::text::printable;

pub use idmap::{IdMapping, IdRange};
pub use image_volumes::ImageVolumes;
pub use option::parse_mount;
pub use overlay::OverlayDirs;
pub use sharing::{Propagation, Recursion, Restriction, Sharing};
pub use tmpfs::{Tmpfs, parse_tmpfs};
pub use volume::parse_volume;
pub use volumes_from::{VolumesFrom, inherited, parse_volumes_from};

/// One mount asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path in the container, without `.`, `..` or doubled slashes; never `/` or `/proc…`.
    pub target: String,
    pub read_only: bool,
    pub kind: MountKind,
    /// Where it came from, which decides how it is printed and where inspect shows it.
    pub flag: Flag,
    /// The options of `-v` and `--tmpfs` as typed, without what stands before them.
    #[serde(default)]
    pub typed: String,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountKind {
    Bind(Bind),
    Tmpfs(Tmpfs),
    Volume(VolumeUse),
    Image(ImageUse),
    Devpts(Devpts),
}

/// A directory or file of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// Absolute, as given (symlinks unresolved).
    pub source: PathBuf,
    #[serde(flatten)]
    pub sharing: Sharing,
    /// `bind-create-src`: a missing source is made, a directory.
    #[serde(default)]
    pub create_source: bool,
}

/// A volume of the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct VolumeUse {
    /// None for an anonymous one until `create` gave it a name of 64 hex digits.
    pub name: Option<String>,
    /// Asked for without a name: it goes with its container where asked to.
    pub anonymous: bool,
    #[serde(flatten)]
    pub sharing: Sharing,
    /// An empty volume stays empty.
    pub nocopy: bool,
    /// It must exist already.
    pub nocreate: bool,
    /// A relative path within the volume, without `..`.
    pub subpath: Option<String>,
    /// `volume-driver`, `volume-opt`, `volume-label`: what a volume made for this use gets.
    pub driver: Option<String>,
    pub driver_options: BTreeMap<String, String>,
    pub labels: BTreeMap<String, String>,
}

/// The content of an image. Changes, where [`Mount::read_only`] is off, go with the container's run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageUse {
    /// As typed.
    pub reference: String,
    /// A relative path within the image, without `..`.
    pub subpath: Option<String>,
    /// The image found at `create`: its id and its layers' chain ids, lowest first.
    #[serde(default)]
    pub found: Option<FoundImage>,
}

/// An image of the store, for as long as a container uses it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundImage {
    pub id: Digest,
    pub layers: Vec<Digest>,
}

/// A devpts of its own (devpts(5)); None leaves it to the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Devpts {
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    /// Octal, as typed.
    pub mode: Option<String>,
    /// Terminals at the same time.
    pub max: Option<u32>,
}

/// Where a mount came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flag {
    Volume,
    Mount,
    Tmpfs,
    /// The image's VOLUME.
    Image,
    /// `--volumes-from`.
    VolumesFrom,
}

/// Why a value is not a mount; docker's words where it has them. Values are escaped for printing.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidMount {
    #[error("invalid empty volume spec")]
    Empty,
    #[error("invalid spec: {0}: empty section between colons")]
    EmptySection(String),
    #[error("invalid spec: {0}: too many colons")]
    TooManyColons(String),
    #[error("invalid volume specification: '{spec}': {reason}")]
    Volume { spec: String, reason: Box<InvalidMount> },
    #[error("invalid mount config for type \"{kind}\": {reason}")]
    Config { kind: &'static str, reason: Target },
    #[error("invalid mode: {0}")]
    Mode(String),
    #[error("overlay volume options must have both upperdir= and workdir=, absolute paths")]
    OverlayDirs,
    #[error(
        "create {0}: {0:?} includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are \
         allowed. If you intended to pass a host directory, use absolute path"
    )]
    VolumeName(String),
    #[error("mount type {0:?} can't be used: {1}")]
    Kind(String, &'static str),
    #[error("invalid --mount {spec:?}: {reason}")]
    Option { spec: String, reason: String },
    #[error("invalid tmpfs option {0:?}")]
    TmpfsOption(String),
    #[error("invalid tmpfs option {0:?}: the kernel lets only root have a tmpfs that is never swapped out")]
    Noswap(String),
    #[error("volumes-from specification cannot be an empty string")]
    VolumesFrom,
    #[error("Duplicate mount point: {0}")]
    Duplicate(String),
    #[error("invalid --image-volume {0:?}: must be bind, anonymous, tmpfs or ignore")]
    ImageVolumes(String),
}

/// Why a path can't be mounted or mounted on.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Target {
    #[error("invalid mount path: '{0}' mount path must be absolute")]
    Relative(String),
    #[error("invalid specification: destination can't be '/'")]
    Root,
    #[error("invalid specification: destination '{0}' is inside /proc, which is always the container's own")]
    Proc(String),
    #[error("invalid mount path: '{0}' holds a NUL byte")]
    Nul(String),
    #[error("field {0} must not be empty")]
    Missing(&'static str),
    #[error("field {0} must not be specified")]
    Unwanted(&'static str),
    #[error("subpath must be a relative path within the {0}")]
    Subpath(&'static str),
    #[error("must not set Subpath when using anonymous volumes")]
    AnonymousSubpath,
}

/// Checks and normalises a path in the container.
fn target(kind: &'static str, text: &str) -> Result<String, InvalidMount> {
    let fail = |reason| Err(InvalidMount::Config { kind, reason });
    if text.contains('\0') {
        return fail(Target::Nul(printable(text)));
    }
    if !text.starts_with('/') {
        return fail(Target::Relative(printable(text)));
    }
    let path = clean(text);
    if path == "/" {
        return fail(Target::Root);
    }
    if path == "/proc" || path.starts_with("/proc/") {
        return fail(Target::Proc(printable(&path)));
    }
    Ok(path)
}

/// Makes a bind source absolute; only `.`-paths are relative to `cwd`.
fn source(text: &str, cwd: &Path) -> Result<PathBuf, InvalidMount> {
    let fail = |reason| Err(InvalidMount::Config { kind: "bind", reason });
    if text.contains('\0') {
        return fail(Target::Nul(printable(text)));
    }
    match text.as_bytes().first() {
        None => fail(Target::Missing("Source")),
        Some(b'/') => Ok(PathBuf::from(clean(text))),
        Some(b'.') => Ok(PathBuf::from(clean(&format!("{}/{text}", cwd.display())))),
        Some(_) => fail(Target::Relative(printable(text))),
    }
}

/// Checks a subpath as docker does (Go's filepath.IsLocal) and gives its normal form.
fn subpath(kind: &'static str, text: &str) -> Result<String, InvalidMount> {
    let fail = |reason| Err(InvalidMount::Config { kind, reason });
    if text.contains('\0') {
        return fail(Target::Nul(printable(text)));
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.pop().is_none() => return fail(Target::Subpath(kind)),
            ".." => {}
            part => parts.push(part),
        }
    }
    if text.starts_with('/') || text.is_empty() {
        return fail(Target::Subpath(kind));
    }
    Ok(if parts.is_empty() { ".".to_owned() } else { parts.join("/") })
}

/// The lexical normal form of an absolute path (Go's path.Clean).
pub(super) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Refuses two mounts on one target.
pub fn check_duplicates(mounts: &[Mount]) -> Result<(), InvalidMount> {
    let repeats =
        |(index, mount): (usize, &Mount)| mounts[..index].iter().any(|earlier| earlier.target == mount.target);
    match mounts.iter().enumerate().find(|pair| repeats(*pair)) {
        Some((_, mount)) => Err(InvalidMount::Duplicate(printable(&mount.target))),
        None => Ok(()),
    }
}

impl Mount {
    /// How deep the target lies, for mounting parents before children.
    pub fn depth(&self) -> usize {
        self.target.split('/').count() - 1
    }

    /// A writable tmpfs in a read-only root, which begins with what the image has there (podman).
    pub fn scratch(target: &str) -> Self {
        let kind = MountKind::Tmpfs(Tmpfs { exec: true, copy_up: true, ..Tmpfs::default() });
        Self { target: target.to_owned(), read_only: false, kind, flag: Flag::Tmpfs, typed: String::new() }
    }

    /// The options of `-v` and `--tmpfs` as typed. Mounts made before these were kept know only this.
    pub fn typed_options(&self) -> &str {
        if self.typed.is_empty() && self.read_only && self.flag != Flag::Mount { "ro" } else { &self.typed }
    }

    /// What the kinds that show something from outside the container have in common.
    pub fn sharing(&self) -> Option<&Sharing> {
        match &self.kind {
            MountKind::Bind(bind) => Some(&bind.sharing),
            MountKind::Volume(volume) => Some(&volume.sharing),
            MountKind::Tmpfs(_) | MountKind::Image(_) | MountKind::Devpts(_) => None,
        }
    }
}

impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.flag {
            Flag::Mount => return print::as_mount(self, f),
            Flag::Tmpfs | Flag::Image => f.write_str(&self.target)?,
            Flag::Volume | Flag::VolumesFrom => {
                match &self.kind {
                    MountKind::Bind(bind) => write!(f, "{}:", bind.source.display())?,
                    MountKind::Volume(VolumeUse { name: Some(name), anonymous: false, .. }) => write!(f, "{name}:")?,
                    _ => {}
                }
                f.write_str(&self.target)?;
            }
        }
        let words = self.typed_options();
        if words.is_empty() { Ok(()) } else { write!(f, ":{words}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        assert_eq!(target("bind", "//a/./b/../c/").as_deref(), Ok("/a/c"));
        for (text, reason) in [
            ("/", Target::Root),
            ("/a/..", Target::Root),
            ("/proc", Target::Proc("/proc".into())),
            ("/sys/../proc//self", Target::Proc("/proc/self".into())),
            ("rel", Target::Relative("rel".into())),
            ("/a\0", Target::Nul("/a\\u{0}".into())),
        ] {
            assert_eq!(target("bind", text), Err(InvalidMount::Config { kind: "bind", reason }));
        }
        assert_eq!(target("bind", "/procs").as_deref(), Ok("/procs"));
    }

    #[test]
    fn records_of_before_are_read() {
        let record = r#"[{"target":"/x","read_only":true,"kind":{"bind":{"source":"/a","propagation":"rslave",
            "recursion":"disabled","relabel":"z","restrictions":["noexec"]}},"flag":"volume"},
            {"target":"/t","read_only":false,"kind":{"tmpfs":{"exec":true,"suid":false,"dev":false,
            "parameters":[["size","1m"]]}},"flag":"tmpfs"}]"#;
        let mounts: Vec<Mount> = serde_json::from_str(record).unwrap();
        let sharing = mounts[0].sharing().unwrap();
        assert_eq!((sharing.propagation, sharing.relabel), (Propagation::Rslave, Some('z')));
        assert_eq!(sharing.recursion, Recursion::Disabled);
        assert_eq!(mounts[0].to_string(), "/a:/x:ro");
        assert!(matches!(&mounts[1].kind, MountKind::Tmpfs(tmpfs) if tmpfs.exec && !tmpfs.copy_up));
    }

    #[test]
    fn duplicates_are_named() {
        let cwd = Path::new("/");
        let mounts = [parse_volume("/a:/x", cwd).unwrap(), parse_tmpfs("/x/").unwrap()];
        assert_eq!(check_duplicates(&mounts).unwrap_err().to_string(), "Duplicate mount point: /x");
        assert_eq!(check_duplicates(&mounts[..1]), Ok(()));
    }
}
