//! Advisory locks that the kernel releases when their holder dies.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::sys;

/// A held flock(2) on a file; dropped with the value. Never inherited by a child on purpose: the
/// descriptor is close-on-exec and forked children of short-lived work exit before their parent.
#[derive(Debug)]
pub struct FileLock {
    _file: File,
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

impl FileLock {
    /// Waits for the exclusive lock on `path`, creating the file when absent.
    pub fn exclusive(path: &Path) -> io::Result<Self> {
        let file = open(path)?;
        file.lock()?;
        Ok(Self { _file: file })
    }

    /// Waits for the shared lock on `path`.
    pub fn shared(path: &Path) -> io::Result<Self> {
        let file = open(path)?;
        file.lock_shared()?;
        Ok(Self { _file: file })
    }

    /// Takes the exclusive lock, or None while another holds it.
    pub fn try_exclusive(path: &Path) -> io::Result<Option<Self>> {
        let file = open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

/// The lock a supervisor holds all its life: 'running' means this lock is held. An open file
/// description lock, so that asking never disturbs it and a forked supervisor inherits it.
#[derive(Debug)]
pub struct AliveLock {
    _file: File,
}

impl AliveLock {
    /// Takes the lock at `path`; None when the container already has a live supervisor.
    pub fn try_acquire(path: &Path) -> io::Result<Option<Self>> {
        let file = open(path)?;
        Ok(sys::lock::try_lock(&file)?.then_some(Self { _file: file }))
    }

    /// Whether a supervisor holds the lock at `path`; a missing file means no.
    pub fn is_held(path: &Path) -> io::Result<bool> {
        match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => sys::lock::is_locked(&file),
            // A read-only store cannot have a live supervisor of ours.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ReadOnlyFilesystem) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
