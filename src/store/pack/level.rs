//! One directory as a stack of layers shows it: the directories that merge, topmost first.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, Result};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::spec::identity::{Extent, Maps, inverse, look_up};

/// Attributes that make a directory hide what is below, by whoever may have set them.
const OPAQUE: [&CStr; 2] = [c"user.overlay.opaque", c"trusted.overlay.opaque"];
const OPAQUE_FUSE: [&CStr; 3] = [c"user.overlay.opaque", c"user.fuseoverlayfs.opaque", c"trusted.overlay.opaque"];
const FUSE_PREFIX: &[u8] = b".wh.";
const FUSE_OPAQUE: &CStr = c".wh..wh..opq";

/// Who maintains a layer's whiteouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Dialect {
    Kernel,
    Fuse,
    /// Nobody: it is a tree of its own.
    Plain,
}

/// One layer's directory.
#[derive(Clone, Debug)]
pub(in crate::store) struct Layer {
    directory: Rc<OwnedFd>,
    dialect: Dialect,
    ids: Option<Rc<Ids>>,
    number: usize,
}

/// Ids on disk as those of the images.
#[derive(Clone, Debug)]
pub(in crate::store) struct Ids {
    uids: Vec<Extent>,
    gids: Vec<Extent>,
}

impl Ids {
    /// For files that were made by who has these maps.
    pub fn new(maps: &Maps) -> Rc<Self> {
        Rc::new(Self { uids: inverse(&maps.uids), gids: inverse(&maps.gids) })
    }

    /// Whose file capabilities are those of root inside.
    pub fn root_of(maps: Option<&Maps>) -> u32 {
        maps.and_then(|maps| look_up(&maps.uids, 0)).unwrap_or(0)
    }

    /// What no id inside stands for is shown as the kernel shows it there.
    fn apply(&self, stat: &mut Stat) {
        stat.st_uid = look_up(&self.uids, stat.st_uid).unwrap_or(NOBODY);
        stat.st_gid = look_up(&self.gids, stat.st_gid).unwrap_or(NOBODY);
    }
}

/// /proc/sys/kernel/overflowuid, everywhere.
const NOBODY: u32 = 65_534;

/// What a name of one layer is.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) enum Seen {
    Whiteout,
    File(Stat),
}

/// The directories that merge into one, topmost first; none where nothing is.
#[derive(Clone, Debug, Default)]
pub(in crate::store) struct Level(Vec<Layer>);

/// What a stack of layers shows by a name.
pub(in crate::store) struct Found<'a> {
    pub stat: Stat,
    /// The layer that it comes from.
    pub layer: &'a Layer,
}

impl Layer {
    pub fn open(path: &Path, dialect: Dialect, ids: Option<Rc<Ids>>) -> Result<Self> {
        let directory = rustix::fs::openat(CWD, path, directory_flags(), Mode::empty())
            .with_context(|| format!("open {}", path.display()))?;
        Ok(Self { directory: Rc::new(directory), dialect, ids, number: 0 })
    }

    /// The same, known by a number.
    pub fn numbered(self, number: usize) -> Self {
        Self { number, ..self }
    }

    /// What it is known by.
    pub fn number(&self) -> usize {
        self.number
    }

    /// What the directory itself is.
    pub fn stat(&self) -> Result<Stat> {
        let mut stat = rustix::fs::fstat(self.fd())?;
        self.translate(&mut stat);
        Ok(stat)
    }

    fn translate(&self, stat: &mut Stat) {
        if let Some(ids) = &self.ids {
            ids.apply(stat);
        }
    }

    /// An open directory that hides nothing.
    pub fn of(directory: OwnedFd, ids: Option<Rc<Ids>>) -> Self {
        Self { directory: Rc::new(directory), dialect: Dialect::Kernel, ids, number: 0 }
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Whether the directory hides what lower layers have in it.
    pub fn is_opaque(&self) -> Result<bool> {
        let names = match self.dialect {
            Dialect::Kernel => &OPAQUE[..],
            Dialect::Fuse => &OPAQUE_FUSE[..],
            Dialect::Plain => return Ok(false),
        };
        for name in names {
            let mut value = [0u8; 2];
            match rustix::fs::fgetxattr(&*self.directory, *name, &mut value[..]) {
                Ok(1) if value[0] == b'y' => return Ok(true),
                Ok(_) | Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE | Errno::PERM) => {}
                Err(error) => return Err(error).context("read the mark of an opaque directory"),
            }
        }
        Ok(self.dialect == Dialect::Fuse && stat_at(self.fd(), FUSE_OPAQUE)?.is_some())
    }

    /// What the layer itself has by this name.
    pub fn look(&self, name: &CStr) -> Result<Option<Seen>> {
        let seen = stat_at(self.fd(), name)?;
        Ok(match seen {
            Some(stat) if is_whiteout(&stat) && self.dialect != Dialect::Plain => Some(Seen::Whiteout),
            Some(mut stat) => {
                self.translate(&mut stat);
                Some(Seen::File(stat))
            }
            None if self.dialect == Dialect::Fuse && stat_at(self.fd(), &fuse_whiteout(name))?.is_some() => {
                Some(Seen::Whiteout)
            }
            None => None,
        })
    }

    /// The directory `name` of this one; None when it is gone or no directory.
    pub fn descend(&self, name: &CStr) -> Result<Option<Self>> {
        match rustix::fs::openat(self.fd(), name, directory_flags(), Mode::empty()) {
            Ok(directory) => {
                let directory = Rc::new(directory);
                Ok(Some(Self { directory, dialect: self.dialect, ids: self.ids.clone(), number: self.number }))
            }
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::STALE) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("open directory {}", show(name.to_bytes()))),
        }
    }

    /// All names, each with whether it may be a whiteout. A directory that was removed has none.
    fn list(&self) -> Result<Vec<(CString, bool)>> {
        let mut names = Vec::new();
        let directory = match Dir::read_from(&*self.directory) {
            Err(Errno::NOENT) => return Ok(names),
            directory => directory.context("list a directory")?,
        };
        for entry in directory {
            let entry = match entry {
                Err(Errno::NOENT) => break,
                entry => entry.context("list a directory")?,
            };
            let name = entry.file_name();
            if !matches!(name.to_bytes(), b"." | b"..") {
                let maybe = matches!(entry.file_type(), FileType::CharacterDevice | FileType::Unknown);
                names.push((name.to_owned(), maybe));
            }
        }
        Ok(names)
    }

    /// The names that say something, sorted: those of whiteouts in any form are the names they hide.
    pub fn names(&self) -> Result<Vec<CString>> {
        let mut names: Vec<CString> = self.list()?.into_iter().filter_map(|(name, _)| self.meant(name)).collect();
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// The name that an entry is about.
    fn meant(&self, name: CString) -> Option<CString> {
        match name.to_bytes().strip_prefix(FUSE_PREFIX) {
            Some(_) if self.dialect == Dialect::Fuse && name.as_c_str() == FUSE_OPAQUE => None,
            Some(hidden) if self.dialect == Dialect::Fuse => CString::new(hidden).ok(),
            _ => Some(name),
        }
    }
}

impl Level {
    /// The root of a stack of layers, topmost first.
    pub fn of(layers: Vec<Layer>) -> Self {
        Self(layers)
    }

    /// The same with one layer more on top.
    pub fn under(mut self, top: Layer) -> Self {
        self.0.insert(0, top);
        self
    }

    /// The topmost directory.
    pub fn top(&self) -> Option<&Layer> {
        self.0.first()
    }

    /// Whether no layer has anything here.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What shows by this name.
    pub fn look(&self, name: &CStr) -> Result<Option<Found<'_>>> {
        for layer in &self.0 {
            match layer.look(name)? {
                Some(Seen::File(stat)) => return Ok(Some(Found { stat, layer })),
                Some(Seen::Whiteout) => return Ok(None),
                None => {}
            }
        }
        Ok(None)
    }

    /// The directory that shows by this name; without layers when none does.
    pub fn descend(&self, name: &CStr) -> Result<Self> {
        let mut merged = Vec::new();
        for layer in &self.0 {
            match layer.look(name)? {
                None => continue,
                Some(Seen::Whiteout) => break,
                Some(Seen::File(stat)) if !is_directory(&stat) => break,
                Some(Seen::File(_)) => {}
            }
            let Some(directory) = layer.descend(name)? else { continue };
            let opaque = directory.is_opaque()?;
            merged.push(directory);
            if opaque {
                break;
            }
        }
        Ok(Self(merged))
    }

    /// The names that show, sorted.
    pub fn names(&self) -> Result<Vec<CString>> {
        if let [layer] = &self.0[..]
            && layer.dialect != Dialect::Fuse
        {
            let mut names = Vec::new();
            for (name, maybe_whiteout) in layer.list()? {
                if !maybe_whiteout || !matches!(layer.look(&name)?, Some(Seen::Whiteout)) {
                    names.push(name);
                }
            }
            names.sort_unstable();
            return Ok(names);
        }
        let mut shown: BTreeMap<CString, bool> = BTreeMap::new();
        for layer in &self.0 {
            for (name, maybe_whiteout) in layer.list()? {
                let renamed = layer.dialect == Dialect::Fuse && name.to_bytes().starts_with(FUSE_PREFIX);
                let Some(name) = layer.meant(name) else { continue };
                if let Entry::Vacant(place) = shown.entry(name) {
                    let hidden =
                        (maybe_whiteout || renamed) && matches!(layer.look(place.key())?, Some(Seen::Whiteout));
                    place.insert(!hidden);
                }
            }
        }
        Ok(shown.into_iter().filter_map(|(name, shows)| shows.then_some(name)).collect())
    }
}

fn directory_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

fn fuse_whiteout(name: &CStr) -> CString {
    let bytes = [FUSE_PREFIX, name.to_bytes()].concat();
    // A name holds no NUL.
    CString::new(bytes).unwrap_or_default()
}

/// What is there by this name itself; None when nothing is.
fn stat_at(directory: BorrowedFd<'_>, name: &CStr) -> Result<Option<Stat>> {
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::STALE | Errno::NAMETOOLONG) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("inspect {}", show(name.to_bytes()))),
    }
}

fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

pub(super) fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// A name as error texts show it.
pub(super) fn show(name: &[u8]) -> String {
    name.escape_ascii().to_string()
}
