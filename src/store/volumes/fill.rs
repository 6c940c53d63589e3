//! What a volume begins with: the content of the image's directory that it is first mounted over, with its owner
//! and mode. Runs in the user namespace, where the ids of files are what the image says.
//!
//! The content is made in `staging` and renamed over the empty directory, so that it is there as a whole or not
//! at all. Containers that run hold `mounted` shared: nothing is put in the place of what they see.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::{Dir, Mode, OFlags};

use super::Volumes;
use crate::store::fs::{self, Durability};
use crate::store::lock::FileLock;
use crate::store::staging::Staging;

const MARKER: &str = "filled";
const MOUNTED: &str = "mounted";

/// What an image gave a volume to begin with. A volume that nobody looked for has no such record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filled {
    /// The image has no directory there.
    Nothing,
    /// The image's directory is empty: its owner and mode.
    Owner,
    /// Everything, or the volume has content of its own.
    Content,
}

/// Copies what is in one directory, and its own attributes, into another one.
pub type Copy<'a> = &'a mut dyn FnMut(BorrowedFd<'_>, BorrowedFd<'_>) -> Result<()>;

impl Filled {
    fn word(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Owner => "owner",
            Self::Content => "content",
        }
    }
}

impl Volumes<'_> {
    /// What was done for a volume before; None when nothing was, or not to its end.
    pub fn filled(&self, name: &str) -> Option<Filled> {
        let text = std::fs::read_to_string(self.directory(name).join(MARKER)).ok()?;
        [Filled::Nothing, Filled::Owner, Filled::Content].into_iter().find(|filled| filled.word() == text)
    }

    /// Whether a volume may have nothing in it yet. Without a look at files of mapped ids the answer is yes.
    pub fn may_be_empty(&self, name: &str) -> bool {
        self.filled(name) != Some(Filled::Content) && open(&self.data_path(name)).is_ok_and(|data| is_empty(&data))
            || open(&self.data_path(name)).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    }

    /// Holds a volume as one that a running container sees. Waits for who fills it.
    pub fn hold_mounted(&self, name: &str) -> io::Result<FileLock> {
        FileLock::shared(&self.directory(name).join(MOUNTED))
    }

    /// Fills a volume that is empty and that no running container sees, waiting for another who does. `content` is
    /// the image's directory.
    pub fn fill(
        &self,
        name: &str,
        content: Option<BorrowedFd<'_>>,
        durability: Durability,
        copy: Copy<'_>,
    ) -> Result<Filled> {
        let context = || format!("fill volume {name}");
        let _lock = self.lock(name).with_context(context)?;
        let data = open(&self.data_path(name)).with_context(context)?;
        let before = self.filled(name);
        if before == Some(Filled::Content) || !is_empty(&data) {
            return self.note(name, Filled::Content).with_context(context);
        }
        let Some(content) = content else {
            return self.note(name, before.unwrap_or(Filled::Nothing)).with_context(context);
        };
        let Some(_unseen) = FileLock::try_exclusive(&self.directory(name).join(MOUNTED)).with_context(context)? else {
            return Ok(before.unwrap_or(Filled::Nothing));
        };
        let staged = Staging::create(self.store).with_context(context)?;
        let new = staged.path().join("data");
        fs::create_private_dir(&new).with_context(context)?;
        copy(content, open(&new).with_context(context)?.as_fd()).with_context(context)?;
        if durability == Durability::Durable {
            fs::sync_file_system(&new).with_context(context)?;
        }
        let filled = if is_empty(&open(&new).with_context(context)?) { Filled::Owner } else { Filled::Content };
        match std::fs::rename(&new, self.data_path(name)) {
            // Somebody put something there from outside.
            Err(error) if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) => {
                return self.note(name, Filled::Content).with_context(context);
            }
            renamed => renamed.with_context(context)?,
        }
        self.note(name, filled).with_context(context)
    }

    /// For who put content into a volume by other ways and holds its lock.
    pub fn note_content(&self, name: &str) -> io::Result<()> {
        self.note(name, Filled::Content).map(drop)
    }

    fn note(&self, name: &str, filled: Filled) -> io::Result<Filled> {
        if self.filled(name) != Some(filled) {
            fs::write_volatile(&self.directory(name).join(MARKER), filled.word().as_bytes())?;
        }
        Ok(filled)
    }
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Whether a directory has no entry; one that cannot be read counts as not empty.
fn is_empty(directory: &OwnedFd) -> bool {
    let is_own = |name: &[u8]| matches!(name, b"." | b"..");
    match Dir::read_from(directory) {
        Ok(entries) => entries.into_iter().all(|entry| entry.is_ok_and(|entry| is_own(entry.file_name().to_bytes()))),
        Err(_) => false,
    }
}

/// The same by path, for tests and checks.
impl Volumes<'_> {
    /// The descriptor of a volume's directory of files.
    pub fn open_data(&self, name: &str) -> io::Result<File> {
        open(&self.data_path(name)).map(File::from)
    }
}
