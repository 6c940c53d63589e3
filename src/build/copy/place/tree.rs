//! Directories with what they hold, and what is neither a file nor a directory.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::Ordering;

use rustix::fs::{AtFlags, FileType, Gid, Mode, Stat, Uid};
use rustix::io::Errno;

use super::file::{Owner, times};
use super::{At, PlaceError, PlaceOptions, Placed, open_directory, vacate};
use crate::build::context::entry::join;
use crate::build::context::resolve::open_real;
use crate::build::context::{Entry, Kind, TreeOwners};
use crate::build::copy::{Pick, Selected};
use crate::store::copy::{Files, Links, OverlayMarks, Owners, attributes, settle};

/// Levels whose descriptors stay open while the work is below them.
const OPEN_LEVELS: usize = 64;

/// Copies one pick.
pub(super) struct Writer<'a> {
    pub selected: &'a Selected,
    options: &'a PlaceOptions<'a>,
    pub placed: &'a mut Placed,
    pub progress: &'a mut dyn FnMut(u64),
    pub files: Files,
    pub links: Links,
    pub buffer: Vec<u8>,
    /// Where the work is in the source.
    path: Vec<u8>,
    pub umask: u32,
    /// Whose what we make is.
    creator: (u32, u32),
}

/// What a directory does to what is made in it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Quirks {
    /// Its group becomes theirs.
    pub group: bool,
    /// It has an access list for them.
    pub access_list: bool,
}

/// Where one entry goes.
pub(super) struct Place<'p> {
    /// Where the pick goes: what `below` is relative to.
    pub top: BorrowedFd<'p>,
    pub below: &'p [u8],
    pub directory: BorrowedFd<'p>,
    pub name: &'p [u8],
    /// From the root.
    pub path: &'p [u8],
    pub quirks: Quirks,
}

impl Place<'_> {
    pub fn failed(&self, doing: &'static str, error: Errno) -> PlaceError {
        PlaceError::Io { doing, path: self.path.to_vec(), error }
    }
}

/// A directory and its copy.
struct Level {
    source: OwnedFd,
    target: OwnedFd,
    quirks: Quirks,
    /// Of the copy, relative to the top.
    below: Vec<u8>,
    depth: usize,
}

/// What becomes of a copied directory's own owner, permissions, attributes and times.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Settle {
    All,
    Mode,
}

/// The top of what a pick goes to.
struct Top<'t> {
    directory: &'t OwnedFd,
    path: &'t [u8],
}

impl<'a> Writer<'a> {
    pub fn new(
        selected: &'a Selected,
        options: &'a PlaceOptions<'a>,
        placed: &'a mut Placed,
        progress: &'a mut dyn FnMut(u64),
    ) -> Self {
        Self {
            selected,
            options,
            placed,
            progress,
            files: Files::default(),
            links: Links::default(),
            buffer: Vec::new(),
            path: Vec::new(),
            umask: umask(),
            creator: (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()),
        }
    }

    /// Copies what a directory holds into another.
    pub fn contents(mut self, pick: &Pick, at: &At) -> Result<(), PlaceError> {
        let Kind::Directory { entries, .. } = &pick.entry.kind else { return Ok(()) };
        self.path = pick.path();
        let source = self.open_source_directory()?;
        let failed = |error| PlaceError::Io { doing: "open", path: at.path.clone(), error };
        let target = open_directory(at.directory.as_fd(), b".").map_err(failed)?;
        let quirks = quirks(&target).map_err(failed)?;
        let top = Top { directory: &at.directory, path: &at.path };
        self.level(entries, Level { source, target, quirks, below: Vec::new(), depth: 0 }, &top)
    }

    /// Copies what is no directory.
    pub fn file(mut self, pick: &Pick, at: &At) -> Result<(), PlaceError> {
        self.path = pick.directory.clone();
        let source = self.open_source_directory()?;
        let failed = |error| PlaceError::Io { doing: "open", path: at.path.clone(), error };
        let quirks = quirks(&at.directory).map_err(failed)?;
        let place = Place {
            top: at.directory.as_fd(),
            below: &at.name,
            directory: at.directory.as_fd(),
            name: &at.name,
            path: &at.path,
            quirks,
        };
        self.one(&pick.entry, source.as_fd(), &place)
    }

    fn open_source_directory(&self) -> Result<OwnedFd, PlaceError> {
        open_real(self.selected.root.as_fd(), &self.path).map_err(|error| match error {
            Errno::LOOP | Errno::NOTDIR | Errno::NOENT => PlaceError::Changed(self.path.clone()),
            error => PlaceError::Io { doing: "open", path: [b"/", self.path.as_slice()].concat(), error },
        })
    }

    fn level(&mut self, entries: &[Entry], level: Level, top: &Top<'_>) -> Result<(), PlaceError> {
        let path_length = self.path.len();
        for entry in entries.iter().filter(|entry| !entry.is_directory()) {
            let (below, path) = level.at(entry, top);
            let place = Place {
                top: top.directory.as_fd(),
                below: &below,
                directory: level.target.as_fd(),
                name: entry.name(),
                path: &path,
                quirks: level.quirks,
            };
            self.one(entry, level.source.as_fd(), &place)?;
        }
        let mut below = Vec::new();
        for entry in entries.iter().filter(|entry| entry.is_directory()) {
            self.stopped()?;
            let made = self.make_directory(entry, &level, top)?;
            if level.depth < OPEN_LEVELS {
                self.enter(entry, made, &level.below, level.depth, top)?;
                self.path.truncate(path_length);
            } else {
                below.push((entry, Made { target: None, ..made }));
            }
        }
        let (above, depth) = (level.below.clone(), level.depth);
        drop(level);
        for (entry, made) in below {
            self.enter(entry, made, &above, depth, top)?;
            self.path.truncate(path_length);
        }
        Ok(())
    }

    fn stopped(&self) -> Result<(), PlaceError> {
        match self.options.stop {
            Some(stop) if stop.load(Ordering::Relaxed) => Err(PlaceError::Stopped),
            _ => Ok(()),
        }
    }

    fn make_directory(&mut self, entry: &Entry, level: &Level, top: &Top<'_>) -> Result<Made, PlaceError> {
        let (_, path) = level.at(entry, top);
        let failed = |error| PlaceError::Io { doing: "mkdir", path: path.clone(), error };
        let wanted = matches!(entry.kind, Kind::Directory { wanted: true, .. });
        let made = match rustix::fs::mkdirat(&level.target, &entry.name, Mode::RWXU) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(error) => return Err(failed(error)),
        };
        let target = match open_directory(level.target.as_fd(), entry.name()) {
            Err(Errno::LOOP | Errno::NOTDIR) if !made => return Err(PlaceError::FileInTheWay(path)),
            opened => opened.map_err(failed)?,
        };
        let quirks = if made { level.quirks } else { quirks(&target).map_err(failed)? };
        self.placed.entries += 1;
        let settle = if made || wanted { Settle::All } else { Settle::Mode };
        Ok(Made { target: Some(target), quirks, settle })
    }

    /// Copies what a directory holds into the one made for it, which is finished then.
    fn enter(
        &mut self,
        entry: &Entry,
        made: Made,
        above: &[u8],
        depth: usize,
        top: &Top<'_>,
    ) -> Result<(), PlaceError> {
        let Kind::Directory { entries, attributes: own, .. } = &entry.kind else { return Ok(()) };
        self.path = join(&self.path, entry.name());
        let below = join(above, entry.name());
        let failed = |error| PlaceError::Io { doing: "open", path: top.join(&below), error };
        let target = match made.target {
            Some(target) => target,
            None => open_real(top.directory.as_fd(), &below).map_err(failed)?,
        };
        let source = self.open_source_directory()?;
        let found = match own {
            Some(_) => attributes(source.as_fd(), OverlayMarks::Drop, &self.owners()).map_err(failed)?,
            None => Vec::new(),
        };
        let finished =
            if depth + 1 < OPEN_LEVELS { Some(target.try_clone().map_err(|_| failed(Errno::MFILE))?) } else { None };
        let level = Level { source, target, quirks: made.quirks, below, depth: depth + 1 };
        let below = level.below.clone();
        self.level(entries, level, top)?;
        let failed = |error| PlaceError::Io { doing: "set the attributes of", path: top.join(&below), error };
        let finished = match finished {
            Some(finished) => finished,
            None => open_real(top.directory.as_fd(), &below).map_err(failed)?,
        };
        let mode = self.mode(&entry.stat, true);
        if made.settle == Settle::Mode {
            return rustix::fs::fchmod(&finished, Mode::from_raw_mode(mode)).map_err(failed);
        }
        // Always given: an existing one may be anybody's.
        if let Some((uid, gid)) = self.owner(&entry.stat) {
            rustix::fs::fchown(&finished, Some(uid), Some(gid)).map_err(failed)?;
        }
        let mut wanted = entry.stat;
        wanted.st_mode = mode;
        settle(finished.as_fd(), &wanted, &Owners::Keep, &found).map(drop).map_err(failed)
    }

    /// Copies one entry that is no directory.
    fn one(&mut self, entry: &Entry, from: BorrowedFd<'_>, place: &Place<'_>) -> Result<(), PlaceError> {
        self.stopped()?;
        match &entry.kind {
            Kind::File { .. } => self.regular(entry, from, place)?,
            Kind::Link(target) => {
                put(place, &mut || rustix::fs::symlinkat(target, place.directory, place.name))?;
                self.settle_name(entry, place, false)?;
            }
            Kind::Fifo => {
                let mode = Mode::RUSR | Mode::WUSR;
                put(place, &mut || rustix::fs::mknodat(place.directory, place.name, FileType::Fifo, mode, 0))?;
                self.settle_name(entry, place, true)?;
            }
            Kind::Device => {
                let (kind, device) = (FileType::from_raw_mode(entry.stat.st_mode), entry.stat.st_rdev);
                let mode = Mode::RUSR | Mode::WUSR;
                let made = put(place, &mut || rustix::fs::mknodat(place.directory, place.name, kind, mode, device));
                match made {
                    Err(PlaceError::Io { error: Errno::PERM | Errno::ACCESS, .. }) => {
                        self.placed.skipped_devices += 1;
                        return Ok(());
                    }
                    made => made?,
                }
                self.settle_name(entry, place, true)?;
            }
            Kind::Directory { .. } => return Ok(()),
        }
        self.placed.entries += 1;
        Ok(())
    }

    /// Owner, permissions and times of what is not opened.
    fn settle_name(&self, entry: &Entry, place: &Place<'_>, has_mode: bool) -> Result<(), PlaceError> {
        let failed = |error| place.failed("set the attributes of", error);
        let (directory, name) = (place.directory, place.name);
        if let Some((uid, gid)) = self.new_owner(&entry.stat, place.quirks) {
            rustix::fs::chownat(directory, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        }
        if has_mode {
            let mode = Mode::from_raw_mode(self.mode(&entry.stat, false));
            rustix::fs::chmodat(directory, name, mode, AtFlags::empty()).map_err(failed)?;
        }
        rustix::fs::utimensat(directory, name, &times(&entry.stat), AtFlags::SYMLINK_NOFOLLOW).map_err(failed)
    }

    /// Permission bits of a copy.
    pub fn mode(&self, stat: &Stat, is_dir: bool) -> u32 {
        let mode = stat.st_mode & 0o7777;
        self.options.chmod.as_ref().map_or(mode, |chmod| chmod.apply(mode, is_dir))
    }

    /// Whose access lists are copied.
    pub fn owners(&self) -> Owners<'static> {
        match (self.options.chown, self.selected.owners) {
            (None, TreeOwners::Keep) => Owners::Keep,
            _ => Owners::One(0, 0),
        }
    }

    /// Whose a copy is; None where that cannot be chosen.
    fn owner(&self, stat: &Stat) -> Option<Owner> {
        if self.options.single_id {
            return None;
        }
        let (uid, gid) = match (self.options.chown, self.selected.owners) {
            (Some(chosen), _) => chosen,
            (None, TreeOwners::Keep) => (stat.st_uid, stat.st_gid),
            (None, TreeOwners::Root) => (0, 0),
        };
        Some((Uid::from_raw(uid), Gid::from_raw(gid)))
    }

    /// The same for what was just made; None where it is so already.
    pub fn new_owner(&self, stat: &Stat, quirks: Quirks) -> Option<Owner> {
        let (uid, gid) = self.owner(stat)?;
        (quirks.group || (uid.as_raw(), gid.as_raw()) != self.creator).then_some((uid, gid))
    }

    pub fn source_path(&self, entry: &Entry) -> Vec<u8> {
        join(&self.path, entry.name())
    }

    pub fn source_error(&self, doing: &'static str, entry: &Entry, error: Errno) -> PlaceError {
        PlaceError::Io { doing, path: [b"/", self.source_path(entry).as_slice()].concat(), error }
    }
}

/// A directory for which contents are to come.
struct Made {
    /// None: it is opened again when its turn comes.
    target: Option<OwnedFd>,
    quirks: Quirks,
    settle: Settle,
}

impl Level {
    /// Where an entry's copy is: relative to the top, and from the root.
    fn at(&self, entry: &Entry, top: &Top<'_>) -> (Vec<u8>, Vec<u8>) {
        let below = join(&self.below, entry.name());
        let path = top.join(&below);
        (below, path)
    }
}

impl Top<'_> {
    fn join(&self, below: &[u8]) -> Vec<u8> {
        match self.path {
            b"/" => [b"/", below].concat(),
            path => join(path, below),
        }
    }
}

/// Makes something, where something else may be.
fn put(place: &Place<'_>, make: &mut dyn FnMut() -> Result<(), Errno>) -> Result<(), PlaceError> {
    match make() {
        Err(Errno::EXIST) => {}
        made => return made.map_err(|error| place.failed("create", error)),
    }
    vacate(place.directory, place.name, place.path)?;
    make().map_err(|error| place.failed("create", error))
}

fn quirks(directory: &OwnedFd) -> Result<Quirks, Errno> {
    let stat = rustix::fs::fstat(directory)?;
    let access_list = rustix::fs::fgetxattr(directory, c"system.posix_acl_default", &mut [0u8; 0][..]);
    Ok(Quirks { group: stat.st_mode & 0o2000 != 0, access_list: access_list.is_ok_and(|length| length > 0) })
}

/// The process's mask; all bits where it cannot be told, which costs a system call a file.
fn umask() -> u32 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok()).unwrap_or(0o777)
}
