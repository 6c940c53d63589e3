//! Advisory locks that the kernel releases when their holder dies.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::fs;
use crate::sys;

/// A held flock(2) on a file or directory; dropped with the value. Never inherited by a child on
/// purpose: the descriptor is close-on-exec and forked children of short-lived work exit before
/// their parent.
#[derive(Debug)]
pub struct FileLock {
    _file: File,
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// Opens and locks until the locked file is the one that `path` names: its holder may have removed
/// it while we waited. None when `take` reports that another holds it.
fn acquire(
    path: &Path,
    open: fn(&Path) -> io::Result<File>,
    take: impl Fn(&File) -> io::Result<bool>,
) -> io::Result<Option<File>> {
    loop {
        let file = open(path)?;
        match take(&file) {
            Ok(true) if fs::is_same_file(&file, path)? => return Ok(Some(file)),
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn wait(path: &Path, open: fn(&Path) -> io::Result<File>, lock: fn(&File) -> io::Result<()>) -> io::Result<FileLock> {
    let file = acquire(path, open, |file| lock(file).map(|()| true))?;
    file.map(|file| FileLock { _file: file }).ok_or_else(|| io::ErrorKind::WouldBlock.into())
}

fn try_lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(std::fs::TryLockError::WouldBlock) => Ok(false),
        Err(std::fs::TryLockError::Error(error)) => Err(error),
    }
}

impl FileLock {
    /// Waits for the exclusive lock on `path`, creating the file when absent. An error of kind
    /// NotFound: its directory is gone.
    pub fn exclusive(path: &Path) -> io::Result<Self> {
        wait(path, open, File::lock)
    }

    /// Waits for the shared lock on `path`, creating the file when absent.
    pub fn shared(path: &Path) -> io::Result<Self> {
        wait(path, open, File::lock_shared)
    }

    /// Takes the exclusive lock, or None while another holds it.
    pub fn try_exclusive(path: &Path) -> io::Result<Option<Self>> {
        Ok(acquire(path, open, try_lock)?.map(|file| Self { _file: file }))
    }

    /// Waits for the exclusive lock on an existing directory, which needs no file of its own.
    pub fn directory(path: &Path) -> io::Result<Self> {
        wait(path, |path| File::open(path), File::lock)
    }

    /// Takes the exclusive lock on an existing directory, or None while another holds it.
    pub fn try_directory(path: &Path) -> io::Result<Option<Self>> {
        Ok(acquire(path, |path| File::open(path), try_lock)?.map(|file| Self { _file: file }))
    }
}

/// The lock a supervisor holds all its life: 'running' means this lock is held. An open file
/// description lock, so that asking never disturbs it and a forked supervisor inherits it.
#[derive(Debug)]
pub struct AliveLock {
    file: File,
}

impl AsFd for AliveLock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl AliveLock {
    /// Takes the lock at `path`; None when the container already has a live supervisor. An error of
    /// kind NotFound: the container is gone.
    pub fn try_acquire(path: &Path) -> io::Result<Option<Self>> {
        Ok(acquire(path, open, |file| sys::lock::try_lock(file))?.map(|file| Self { file }))
    }

    /// Lets go of it, whoever else has inherited it.
    pub fn release(&self) -> io::Result<()> {
        sys::lock::unlock(&self.file)
    }

    /// Whether a supervisor holds the lock at `path`; a missing file means no.
    pub fn is_held(path: &Path) -> io::Result<bool> {
        match File::open(path) {
            Ok(file) => sys::lock::is_locked(&file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn a_lock_excludes_and_ends_with_its_guard() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let shared = FileLock::shared(&path).unwrap();
        assert!(FileLock::try_exclusive(&path).unwrap().is_none());
        FileLock::shared(&path).unwrap();
        drop(shared);
        assert!(FileLock::try_exclusive(&path).unwrap().is_some());
        let held = FileLock::directory(directory.path()).unwrap();
        assert!(FileLock::try_directory(directory.path()).unwrap().is_none());
        drop(held);
        assert!(FileLock::try_directory(directory.path()).unwrap().is_some());
    }

    #[test]
    fn a_waiter_does_not_settle_for_a_removedfile() {
        let directory = tempfile::tempdir().unwrap();
        let inside = directory.path().join("object");
        std::fs::create_dir(&inside).unwrap();
        let path = inside.join("lock");
        let held = FileLock::exclusive(&path).unwrap();
        let waiter = std::thread::spawn({
            let path = path.clone();
            move || FileLock::exclusive(&path).map(|_| ()).map_err(|error| error.kind())
        });
        std::thread::sleep(Duration::from_millis(50));
        std::fs::remove_dir_all(&inside).unwrap();
        drop(held);
        assert_eq!(waiter.join().unwrap(), Err(io::ErrorKind::NotFound));
    }

    #[test]
    fn a_killed_holder_frees_its_locks_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        drop(FileLock::exclusive(&path).unwrap());
        let mut holder = std::process::Command::new("flock").arg(&path).args(["sleep", "60"]).spawn().unwrap();
        while FileLock::try_exclusive(&path).unwrap().is_some() {
            std::thread::sleep(Duration::from_millis(5));
        }
        // flock(1) leaves the descriptor to the sleep it started: end both through their parent.
        let children = format!("/proc/{0}/task/{0}/children", holder.id());
        let sleeper: i32 = std::fs::read_to_string(children).unwrap().trim().parse().unwrap();
        let killed = Instant::now();
        holder.kill().unwrap();
        rustix::process::kill_process(rustix::process::Pid::from_raw(sleeper).unwrap(), rustix::process::Signal::KILL)
            .unwrap();
        drop(FileLock::exclusive(&path).unwrap());
        assert!(killed.elapsed() < Duration::from_secs(10));
        holder.wait().unwrap();
    }

    #[test]
    fn asking_does_not_disturb_the_alive_lock() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("alive");
        assert!(!AliveLock::is_held(&path).unwrap());
        let held = AliveLock::try_acquire(&path).unwrap().unwrap();
        for _ in 0..3 {
            assert!(AliveLock::is_held(&path).unwrap());
            assert!(AliveLock::try_acquire(&path).unwrap().is_none());
        }
        drop(held);
        assert!(!AliveLock::is_held(&path).unwrap());
    }
}
