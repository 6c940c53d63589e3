//! The walk over what a container changed, and over a merged tree. Who visits is told of each entry
//! once, parents first, names in the order of their bytes.

use std::ffi::CStr;
use std::os::fd::BorrowedFd;

use anyhow::{Result, bail};
use rustix::fs::{FileType, Stat};

use super::Form;
use super::level::{Layer, Level, Seen, is_directory, show};

/// Where every container has something mounted, relative to its root. What was made there, and only
/// for that, is no change of the container's.
const MOUNT_POINTS: [&[u8]; 11] = [
    b"dev",
    b"dev/console",
    b"dev/mqueue",
    b"dev/pts",
    b"dev/shm",
    b"etc/hostname",
    b"etc/hosts",
    b"etc/resolv.conf",
    b"proc",
    b"sys",
    b"sys/fs/cgroup",
];
/// Directories that are made for those.
const MOUNT_PARENTS: [&[u8]; 2] = [b"etc", b"sys/fs"];

/// The longest path of an entry, as readers of layers have it.
const PATH_MAX: usize = 4095;

/// An entry of the tree.
pub(super) struct Entry<'a> {
    /// Relative to the root; empty for the root.
    pub path: &'a [u8],
    pub stat: &'a Stat,
    pub place: Place<'a>,
}

/// Where an entry is reached.
#[derive(Clone, Copy)]
pub(super) enum Place<'a> {
    /// A directory that is open.
    Open(BorrowedFd<'a>),
    /// A name of a directory.
    Named(BorrowedFd<'a>, &'a CStr),
}

/// Whom the walk tells.
pub(super) trait Visitor {
    /// An entry that was added, or that stands for one below (`existed`).
    fn entry(&mut self, entry: &Entry<'_>, existed: bool) -> Result<()>;
    /// What is below by this path is gone.
    fn deleted(&mut self, path: &[u8]) -> Result<()>;
    /// The directory told of last hides all that is below it.
    fn opaque(&mut self, path: &[u8]) -> Result<()>;
}

/// What a visitor wants to hear of.
#[derive(Clone, Copy)]
pub(super) struct Rules {
    /// A directory of which only the time changed.
    pub directory_times: bool,
    /// Each name that an opaque directory hides, in place of the mark.
    pub names_hidden: bool,
}

/// A walk over a writable directory and what is below it.
pub(super) struct Walk<'v, V> {
    visitor: &'v mut V,
    rules: Rules,
    form: Form,
    path: Vec<u8>,
    /// Directories above that the visitor hears of when there is something in them.
    pending: Vec<Pending>,
}

struct Pending {
    layer: Layer,
    stat: Stat,
    /// Of the walk's path.
    length: usize,
    existed: bool,
}

/// What became of the walk through one directory.
#[derive(Clone, Copy, Default)]
struct Outcome {
    /// Something was left out that was made for a mount.
    mount_point: bool,
}

impl<'v, V: Visitor> Walk<'v, V> {
    pub fn new(visitor: &'v mut V, rules: Rules, form: Form) -> Self {
        Self { visitor, rules, form, path: Vec::new(), pending: Vec::new() }
    }

    /// Walks `upper`, the root of the writable tree.
    pub fn run(mut self, upper: Layer, below: &Level) -> Result<()> {
        let stat = upper.stat()?;
        if let Some(root) = below.top()
            && !same_owner_and_mode(&stat, &root.stat()?)
        {
            self.visitor.entry(&Entry { path: b"", stat: &stat, place: Place::Open(upper.fd()) }, true)?;
        }
        self.directory(&upper, below, self.form == Form::Copy)?;
        Ok(())
    }

    /// Walks what is in a directory. With `complete` it lacks what was deleted from `below`.
    fn directory(&mut self, upper: &Layer, below: &Level, complete: bool) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        let mut names = upper.names()?;
        if complete {
            names.extend(below.names()?);
            names.sort_unstable();
            names.dedup();
        }
        let length = self.path.len();
        for name in &names {
            push(&mut self.path, name)?;
            let of_entry = self.name(upper, below, name, complete)?;
            outcome.mount_point |= of_entry.mount_point;
            self.path.truncate(length);
        }
        Ok(outcome)
    }

    fn name(&mut self, upper: &Layer, below: &Level, name: &CStr, complete: bool) -> Result<Outcome> {
        let under = below.look(name)?.map(|found| found.stat);
        match (upper.look(name)?, under) {
            (Some(Seen::File(stat)), under) if is_directory(&stat) => {
                return self.enter(upper, below, name, &stat, under.as_ref());
            }
            (Some(Seen::File(stat)), None) if is_mount_point(&self.path, &stat) => {
                return Ok(Outcome { mount_point: true });
            }
            (Some(Seen::File(stat)), Some(under)) if self.form == Form::Copy && same(&stat, &under) => {}
            (Some(Seen::File(stat)), under) => {
                self.tell_pending()?;
                let place = Place::Named(upper.fd(), name);
                self.visitor.entry(&Entry { path: &self.path, stat: &stat, place }, under.is_some())?;
            }
            (Some(Seen::Whiteout), Some(_)) => self.delete()?,
            (None, Some(_)) if complete => self.delete()?,
            // Gone since it was listed, or a whiteout of nothing.
            (Some(Seen::Whiteout) | None, _) => {}
        }
        Ok(Outcome::default())
    }

    fn delete(&mut self) -> Result<()> {
        self.tell_pending()?;
        self.visitor.deleted(&self.path)
    }

    fn enter(
        &mut self,
        upper: &Layer,
        below: &Level,
        name: &CStr,
        stat: &Stat,
        under: Option<&Stat>,
    ) -> Result<Outcome> {
        let Some(layer) = upper.descend(name)? else { return Ok(Outcome::default()) };
        let beneath = below.descend(name)?;
        let hides = !beneath.is_empty() && self.form != Form::Copy && layer.is_opaque()?;
        let for_mounts = under.is_none() && is_made_for_mounts(&self.path);
        let like_below = under.is_some_and(|under| is_directory(under) && same_owner_and_mode(stat, under)) && !hides;
        let depth = self.pending.len();
        self.pending.push(Pending {
            layer: layer.clone(),
            stat: *stat,
            length: self.path.len(),
            existed: under.is_some(),
        });
        let untold = for_mounts || like_below || (hides && self.rules.names_hidden);
        if !untold {
            self.tell_pending()?;
        }
        let outcome = if hides && !self.rules.names_hidden {
            self.visitor.opaque(&self.path)?;
            self.directory(&layer, &Level::default(), false)?
        } else {
            self.directory(&layer, &beneath, hides || self.form == Form::Copy)?
        };
        if self.pending.len() > depth {
            let touched = under.is_some_and(|under| !same_time(stat, under)) && !outcome.mount_point;
            let changed = under.is_some_and(|under| !same_owner_and_mode(stat, under));
            if changed || self.rules.directory_times && touched && self.form != Form::Copy {
                self.tell_pending()?;
            }
            self.pending.truncate(depth);
        }
        Ok(Outcome { mount_point: outcome.mount_point || for_mounts })
    }

    /// Tells of the directories on the way that it was not told of.
    fn tell_pending(&mut self) -> Result<()> {
        for Pending { layer, stat, length, existed } in self.pending.drain(..) {
            let entry = Entry { path: &self.path[..length], stat: &stat, place: Place::Open(layer.fd()) };
            self.visitor.entry(&entry, existed)?;
        }
        Ok(())
    }
}

/// Walks a whole merged tree.
pub(super) fn whole(visitor: &mut impl Visitor, root: &Level) -> Result<()> {
    if let Some(top) = root.top() {
        let stat = top.stat()?;
        if (stat.st_uid, stat.st_gid, stat.st_mode & 0o7777) != (0, 0, 0o755) {
            visitor.entry(&Entry { path: b"", stat: &stat, place: Place::Open(top.fd()) }, false)?;
        }
    }
    whole_directory(visitor, root, &mut Vec::new())
}

/// Walks what lies at `name` of a directory, which the visitor is to know as `base`.
pub(super) fn subtree(visitor: &mut impl Visitor, directory: Layer, name: &CStr, base: &[u8]) -> Result<()> {
    let stat = match directory.look(name)? {
        Some(Seen::File(stat)) => stat,
        _ => bail!("{} is not there any more", show(name.to_bytes())),
    };
    if is_directory(&stat)
        && let Some(layer) = directory.descend(name)?
    {
        visitor.entry(&Entry { path: base, stat: &stat, place: Place::Open(layer.fd()) }, false)?;
        return whole_directory(visitor, &Level::of(vec![layer]), &mut base.to_owned());
    }
    visitor.entry(&Entry { path: base, stat: &stat, place: Place::Named(directory.fd(), name) }, false)
}

fn whole_directory(visitor: &mut impl Visitor, level: &Level, path: &mut Vec<u8>) -> Result<()> {
    let length = path.len();
    for name in level.names()? {
        // Gone since it was listed.
        let Some(found) = level.look(&name)? else { continue };
        push(path, &name)?;
        if is_directory(&found.stat) {
            let inner = level.descend(&name)?;
            if let Some(top) = inner.top() {
                visitor.entry(&Entry { path, stat: &found.stat, place: Place::Open(top.fd()) }, false)?;
                whole_directory(visitor, &inner, path)?;
            }
        } else {
            let place = Place::Named(found.layer.fd(), &name);
            visitor.entry(&Entry { path, stat: &found.stat, place }, false)?;
        }
        path.truncate(length);
    }
    Ok(())
}

pub(super) fn push(path: &mut Vec<u8>, name: &CStr) -> Result<()> {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name.to_bytes());
    if path.len() > PATH_MAX {
        bail!("the path {}... is longer than {PATH_MAX} bytes, which no image holds", show(&path[..64]));
    }
    Ok(())
}

pub(super) fn is_mount_point(path: &[u8], stat: &Stat) -> bool {
    stat.st_size == 0 && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && MOUNT_POINTS.contains(&path)
}

pub(super) fn is_made_for_mounts(path: &[u8]) -> bool {
    MOUNT_POINTS.contains(&path) || MOUNT_PARENTS.contains(&path)
}

pub(super) fn same_owner_and_mode(a: &Stat, b: &Stat) -> bool {
    (a.st_mode, a.st_uid, a.st_gid) == (b.st_mode, b.st_uid, b.st_gid)
}

fn same_time(a: &Stat, b: &Stat) -> bool {
    (a.st_mtime, a.st_mtime_nsec) == (b.st_mtime, b.st_mtime_nsec)
}

/// What docker holds for the same file where it has two whole trees to compare.
pub(super) fn same(a: &Stat, b: &Stat) -> bool {
    same_owner_and_mode(a, b) && a.st_rdev == b.st_rdev && a.st_size == b.st_size && same_time(a, b)
}
