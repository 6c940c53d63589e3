//! The copy itself, in a process inside the user namespace: which rights it has on each side, what
//! docker's rules make of the two ends, and the options of the copier that follow.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::fs::FileType;
use rustix::io::Errno;

use super::locate::{Located, Nowhere, locate};
use super::paths::Asked;
use super::report::{Done, Teller};
use crate::cmd::format::quote::quote;
use crate::cmd::format::text::clean_line;
use crate::explain::reason;
use crate::sandbox::rights::Rights;
use crate::sandbox::view::{self, Root, View};
use crate::spec::identity::{Extent, Maps, inverse, look_up};
use crate::store::copy::{self, Copied, CopyOptions, Existing, Owners, Side};
use crate::store::{pack, unpack};

/// One end of a copy.
pub enum End {
    /// Opened by the caller, with the caller's rights.
    Host(Asked, Located),
    /// A container: which of the views, by what name it was called, and where in it.
    Container { view: usize, name: String, path: Asked },
    /// Standard input or output: an archive.
    Stream,
}

/// A copy to make.
pub struct Job {
    pub views: Vec<View>,
    /// The id maps of the views' containers, where they have their own.
    pub maps: Vec<Option<Maps>>,
    pub source: End,
    pub target: End,
    /// The caller has all rights on the host, or in U, without us.
    pub caller_is_root: bool,
    /// Owners stay.
    pub archive: bool,
    /// A last link of the source is followed.
    pub follow: bool,
    /// Kinds may change.
    pub overwrite: bool,
}

/// What is to be copied.
struct Source {
    located: Located,
    /// What the directory holds is meant.
    contents: bool,
    /// The name it has in an existing directory.
    base: CString,
    shown: Vec<u8>,
    /// None on the host.
    view: Option<usize>,
}

/// Where it goes.
struct Target {
    located: Located,
    /// The path behind which a `/.` stands is missing: whose directory it would be.
    missing: Option<String>,
    asserts_directory: bool,
    shown: Vec<u8>,
    /// None on the host.
    view: Option<usize>,
}

/// Makes the copy.
pub fn run(job: Job, teller: Rc<Teller>) -> Result<Done> {
    raise_file_limit();
    let roots = view::open(&job.views)?;
    match (&job.source, &job.target) {
        (End::Stream, End::Container { view, name, path }) => take_archive(&job, &roots, *view, (name, path), &teller),
        (End::Stream, _) | (_, End::Stream) if !matches!(job.source, End::Container { .. }) => {
            bail!("must specify at least one container source")
        }
        (_, End::Stream) => give_archive(&job, &source(&job, &roots)?, &teller),
        _ => {
            let source = source(&job, &roots)?;
            let target = target(&job, &roots)?;
            copy_files(&job, &source, &target, &teller)
        }
    }
}

/// An archive's directories are open all the way down.
fn raise_file_limit() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let _ = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
}

fn source(job: &Job, roots: &[Root]) -> Result<Source> {
    let (asked, located, view) = match &job.source {
        End::Host(asked, located) => (asked, located.duplicate()?, None),
        End::Container { view, name, path } => {
            let follow = job.follow || path.contents;
            let located = locate(&roots[*view], &path.path, follow).map_err(|error| missing(name, path, &error))?;
            if located.stat.is_none() {
                return Err(not_found(&path.path, name));
            }
            (path, located, Some(*view))
        }
        End::Stream => bail!("must specify at least one container source"),
    };
    if asked.contents && located.kind() != Some(FileType::Directory) {
        bail!("{}: not a directory", show(&asked.path));
    }
    let base = CString::new(asked.base()).context("a name with a zero byte")?;
    Ok(Source { located, contents: asked.contents, base, shown: asked.path.clone(), view })
}

fn target(job: &Job, roots: &[Root]) -> Result<Target> {
    match &job.target {
        End::Host(asked, located) => Ok(Target {
            located: located.duplicate()?,
            missing: None,
            asserts_directory: asked.asserts_directory(),
            shown: asked.path.clone(),
            view: None,
        }),
        End::Container { view, name, path } => {
            let located = locate(&roots[*view], &path.path, true).map_err(|error| missing(name, path, &error))?;
            let missing = (located.stat.is_none() && path.contents).then(|| name.clone());
            if let Some(kind) = located.kind()
                && !matches!(kind, FileType::Directory | FileType::RegularFile)
            {
                bail!("destination {} must be a directory or a regular file", quote(&typed(name, path)));
            }
            let asserts_directory = path.asserts_directory();
            Ok(Target { located, missing, asserts_directory, shown: path.path.clone(), view: Some(*view) })
        }
        End::Stream => bail!("must specify at least one container source"),
    }
}

/// docker's table (moby's archive.PrepareArchiveCopy).
fn copy_files(job: &Job, source: &Source, target: &Target, teller: &Teller) -> Result<Done> {
    let is_directory = source.located.kind() == Some(FileType::Directory);
    let existing = if job.overwrite { Existing::Replace } else { Existing::ReplaceSameKind };
    let rights = Rights::new(job.caller_is_root, job.archive)?;
    let turn = |side: Side| rights.take(if side == Side::Source { source.view } else { target.view }.is_none());
    let translation = Translation::new(job, source.view, target.view);
    let (uid, gid) = (|id| Some(translation.uids.of(id)), |id| Some(translation.gids.of(id)));
    let owners = match (job.archive, target.view) {
        (true, None) => Owners::Keep,
        (true, Some(_)) => Owners::Map { uid: &uid, gid: &gid },
        (false, None) => Owners::Copier,
        (false, Some(_)) => Owners::One(translation.uids.owner, translation.gids.owner),
    };
    let options = CopyOptions { owners, existing, whole: true, rights: Some(&turn), ..CopyOptions::default() };
    let mut progress = |count| teller.advance(count);
    let into = |directory: &OwnedFd, name: &CString, progress: &mut dyn FnMut(u64)| {
        let from = source.located.entry();
        copy::copy_entry(from.parent, from.name, directory.as_fd(), name, &options, progress)
    };
    let copied = match target.located.kind() {
        Some(FileType::Directory) => {
            let directory = target.located.directory().map_err(|error| opening(&target.shown, error))?;
            if source.contents {
                let from = source.located.directory().map_err(|error| opening(&source.shown, error))?;
                copy::copy_tree(from.as_fd(), directory.as_fd(), &options, &mut progress)
            } else {
                into(&directory, &source.base, &mut progress)
            }
        }
        Some(_) if is_directory && !job.overwrite => bail!("cannot copy directory"),
        None if !is_directory && target.asserts_directory => bail!("no such directory"),
        _ if target.missing.is_some() => {
            return Err(not_found(&target.shown, target.missing.as_deref().unwrap_or_default()));
        }
        _ => into(&target.located.parent, &target.located.name, &mut progress),
    };
    let copied = copied.map_err(|error| describe(error, source, target))?;
    Ok(done(&copied))
}

/// The ids that a container's root has on disk, or the lowest that it has.
fn owner(maps: Option<&Maps>) -> (u32, u32) {
    maps.map_or((0, 0), Maps::owner)
}

/// From the ids that the source's files have on disk to those of the same users of the target.
struct Translation {
    uids: Ids,
    gids: Ids,
}

struct Ids {
    /// To ids inside the source; None keeps what it is on disk.
    inside: Option<Vec<Extent>>,
    /// From ids inside the target.
    outside: Option<Vec<Extent>>,
    /// Whom files belong to whose owner the target does not know.
    owner: u32,
}

impl Translation {
    /// What comes from the host stays whose it is, if that one is somebody in the container.
    fn new(job: &Job, source: Option<usize>, target: Option<usize>) -> Self {
        let maps = |view: Option<usize>| view.and_then(|view| job.maps[view].as_ref());
        let (from, to) = (maps(source), maps(target));
        let (uid, gid) = owner(to);
        let ids = |of: fn(&Maps) -> &Vec<Extent>, owner| Ids {
            inside: if source.is_none() { to } else { from }.map(|maps| inverse(of(maps))),
            outside: to.map(|maps| of(maps).clone()),
            owner,
        };
        Self { uids: ids(|maps| &maps.uids, uid), gids: ids(|maps| &maps.gids, gid) }
    }
}

impl Ids {
    fn of(&self, id: u32) -> u32 {
        let inside = self.inside.as_ref().map_or(Some(id), |map| look_up(map, id));
        let outside = inside.and_then(|id| self.outside.as_ref().map_or(Some(id), |map| look_up(map, id)));
        outside.unwrap_or(self.owner)
    }
}

/// The error with the path on the side that it is about.
fn describe(error: copy::CopyError, source: &Source, target: &Target) -> anyhow::Error {
    let of_source = matches!(error, copy::CopyError::Io { side: Side::Source, .. } | copy::CopyError::NoOwner { .. });
    let base = if of_source {
        source.shown.clone()
    } else if target.located.kind() == Some(FileType::Directory) && !source.contents {
        [target.shown.as_slice(), if target.shown == b"/" { b"" } else { b"/" }, source.base.as_bytes()].concat()
    } else {
        target.shown.clone()
    };
    anyhow!(error.below(OsStr::from_bytes(&base)))
}

fn done(copied: &Copied) -> Done {
    let Copied { size, sockets, devices, attributes_lost, .. } = *copied;
    Done { size, sockets, devices, attributes: attributes_lost }
}

/// Standard input's archive into a container.
fn take_archive(job: &Job, roots: &[Root], view: usize, (name, path): (&str, &Asked), teller: &Teller) -> Result<Done> {
    let (root, maps) = (&roots[view], &job.maps[view]);
    let located = locate(root, &path.path, true).map_err(|error| missing(name, path, &error))?;
    match located.kind() {
        None => return Err(not_found(&path.path, name)),
        Some(FileType::Directory) => {}
        Some(_) => bail!("destination {} must be a directory", quote(&typed(name, path))),
    }
    let addition = unpack::Addition {
        path: located.path.strip_prefix(b"/").unwrap_or(&located.path).to_owned(),
        owner: (!job.archive).then(|| owner(maps.as_ref())),
        maps: maps.clone(),
        replace_kinds: job.overwrite,
        single_id: false,
    };
    // The archive is read on another thread, which tells of nothing.
    let root = root.as_fd().try_clone_to_owned()?;
    let added = unpack::add(StandardInput(io::stdin()), root, addition)?;
    teller.advance(added.size);
    Ok(Done { size: added.size, devices: added.skipped_devices, ..Done::default() })
}

struct StandardInput(io::Stdin);

impl Read for StandardInput {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.lock().read(buffer)
    }
}

/// A container's files as an archive on standard output.
fn give_archive(job: &Job, source: &Source, teller: &Teller) -> Result<Done> {
    let from = source.located.entry();
    let base: &[u8] = if source.contents { b"" } else { source.base.as_bytes() };
    let out = Counting { out: File::from(io::stdout().as_fd().try_clone_to_owned()?), teller };
    let options = pack::PackOptions { plain: true, ..pack::PackOptions::default() };
    let maps = source.view.and_then(|view| job.maps[view].as_ref());
    let packed = pack::subtree((from.parent, from.name), base, maps, options, out);
    match packed {
        // Nobody reads on.
        Err(error) if crate::cmd::error::is_broken_pipe(&error) => Ok(Done::default()),
        packed => {
            let packed = packed?;
            Ok(Done { size: packed.bytes, sockets: packed.sockets, ..Done::default() })
        }
    }
}

struct Counting<'a> {
    out: File,
    teller: &'a Teller,
}

impl Write for Counting<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.out.write(buffer)?;
        self.teller.advance(count as u64);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn missing(name: &str, asked: &Asked, error: &Nowhere) -> anyhow::Error {
    match error {
        Nowhere::NoParent(parent) if asked.path.starts_with(parent) => not_found(parent, name),
        Nowhere::NoParent(_) | Nowhere::System(Errno::NOENT) => not_found(&asked.path, name),
        Nowhere::System(error) => anyhow!("{}: {}", printable(&typed(name, asked)), reason(&(*error).into())),
    }
}

fn not_found(path: &[u8], name: &str) -> anyhow::Error {
    anyhow!("Could not find the file {} in container {}", show(path), printable(name))
}

fn opening(path: &[u8], error: Errno) -> anyhow::Error {
    anyhow!("open {}: {}", show(path), reason(&error.into()))
}

fn typed(name: &str, asked: &Asked) -> String {
    format!("{name}:{}", String::from_utf8_lossy(&asked.path))
}

/// A path for a message.
pub fn show(path: &[u8]) -> String {
    printable(&String::from_utf8_lossy(path))
}

fn printable(text: &str) -> String {
    clean_line(text).into_owned()
}

impl Located {
    fn duplicate(&self) -> io::Result<Self> {
        let Self { parent, name, stat, path } = self;
        Ok(Self { parent: parent.try_clone()?, name: name.clone(), stat: *stat, path: path.clone() })
    }
}
