//! Durable file operations: nothing is visible before it is whole and on disk.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use crate::spec::digest::Digest;

/// After this long a temporary file of [`write_atomic`] has no living writer.
const TEMPORARY_LIFE: Duration = Duration::from_secs(3600);

/// Whether a write must survive the loss of power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Synced, file and directory.
    Durable,
    /// Atomic towards other processes only. After a power loss the file may be old, absent or empty.
    Volatile,
}

impl Durability {
    fn syncs(self) -> bool {
        self == Self::Durable
    }
}

/// Whether a failure comes from a full disk or quota.
pub fn is_full(error: &anyhow::Error) -> bool {
    let full = |error: &io::Error| matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).any(full)
}

/// Creates `path` and its missing parents with mode 0700.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Replaces `path` with `bytes`: temporary file beside it, fsync, rename, fsync of the directory.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes, Durability::Durable)?;
    sync_parent(path)
}

/// Replaces `path` with `bytes` at once, but not durably: for what can be made again.
pub fn write_volatile(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes, Durability::Volatile)
}

fn replace(path: &Path, bytes: &[u8], durability: Durability) -> io::Result<()> {
    let temporary = temporary_beside(path)?;
    let written = create_file(&temporary, bytes, durability).and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

/// Creates the file `path`, which must not exist, with mode 0600. Its name is not made durable.
pub fn create_file(path: &Path, bytes: &[u8], durability: Durability) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    if durability.syncs() { file.sync_all() } else { Ok(()) }
}

/// Replaces `path` with `bytes` by overwriting `spare` in place and exchanging the two names, so
/// that a full disk does not stop a record from being updated. The caller is the only writer.
pub fn exchange(path: &Path, spare: &Path, bytes: &[u8], durability: Durability) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(spare)?;
    file.write_all(bytes)?;
    if file.metadata()?.len() != bytes.len() as u64 {
        file.set_len(bytes.len() as u64)?;
    }
    if durability.syncs() {
        file.sync_data()?;
    }
    match rustix::fs::renameat_with(CWD, spare, CWD, path, rustix::fs::RenameFlags::EXCHANGE) {
        Ok(()) => {}
        // No `path` yet, or a file system that cannot exchange.
        Err(rustix::io::Errno::NOENT | rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            std::fs::rename(spare, path)?;
        }
        Err(error) => return Err(error.into()),
    }
    // Without this the next update could overwrite what a lost rename still calls `path`.
    if durability.syncs() { sync_parent(path) } else { Ok(()) }
}

/// Renames and makes the new name durable. Both paths are on the store's file system.
pub fn rename_durable(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)?;
    sync_parent(to)
}

/// Makes a name in `path`'s parent directory durable.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    sync_dir(path.parent().ok_or(io::ErrorKind::InvalidInput)?)
}

/// Makes the names in a directory durable.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Writes everything of the file system that holds `path` to disk (syncfs(2)), a whole tree at the
/// price of one call.
pub fn sync_file_system(path: &Path) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(path)?)?)
}

/// Reads a file of at most `limit` bytes with few system calls; a larger one is an error of kind
/// [`io::ErrorKind::FileTooLarge`].
pub fn read_limited(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut bytes = Vec::with_capacity(8 << 10);
    let count = (&file).take(limit as u64 + 1).read_to_end(&mut bytes)?;
    if count > limit {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

/// Reads a file below an open directory into `buffer` with three system calls; what comes is its
/// beginning if a read was cut short, so a record that does not parse is to be read again by
/// [`read_limited`]. None when it cannot be read or fills the buffer.
pub fn read_quickly<'a>(directory: BorrowedFd<'_>, path: &str, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::openat(directory, path, flags, Mode::empty()).ok()?;
    let count = rustix::io::read(&file, &mut *buffer).ok()?;
    (count < buffer.len()).then(|| &buffer[..count])
}

/// 16 random hex digits, for temporary names.
pub fn random_suffix() -> io::Result<String> {
    let bytes: [u8; 8] = random_bytes()?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Random bytes from the kernel.
pub fn random_bytes<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0u8; N];
    let mut filled = 0;
    while filled < N {
        filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(bytes)
}

/// Whether a file exists, not following a last symbolic link.
pub fn exists(path: &Path) -> bool {
    rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).is_ok()
}

/// Whether `path` now names the open `file`.
pub fn is_same_file(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(named) => Ok((named.st_dev, named.st_ino) == (ours.dev(), ours.ino())),
        Err(rustix::io::Errno::NOENT) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Removes the temporary files that crashed writers left in a directory.
pub fn remove_stale_temporaries(directory: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") && is_older(&entry.path(), TEMPORARY_LIFE)? {
            remove_if_present(&entry.path())?;
        }
    }
    Ok(())
}

/// Whether a file was last written more than `age` ago; an absent one was not.
pub fn is_older(path: &Path, age: Duration) -> io::Result<bool> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) => Ok(metadata.modified()?.elapsed().is_ok_and(|elapsed| elapsed > age)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes a file; false when it was absent.
pub fn remove_if_present(path: &Path) -> io::Result<bool> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The digests whose hex digits name an entry of a directory, sorted; other names are passed over.
pub fn digests_in(directory: &Path) -> io::Result<Vec<Digest>> {
    let mut digests = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        digests.extend(entry?.file_name().to_str().and_then(|name| Digest::from_hex(name).ok()));
    }
    digests.sort_unstable();
    Ok(digests)
}

fn temporary_beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    Ok(path.with_file_name(format!(".{name}.{}", random_suffix()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exchange_replaces_the_record_and_needs_no_new_file() {
        let directory = tempfile::tempdir().unwrap();
        let (path, spare) = (directory.path().join("record"), directory.path().join("spare"));
        for text in ["first, a long one", "second", "third, longer"] {
            exchange(&path, &spare, text.as_bytes(), Durability::Durable).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        let inode = |path: &Path| std::fs::metadata(path).unwrap().ino();
        let before = [inode(&path), inode(&spare)];
        exchange(&path, &spare, b"fourth", Durability::Volatile).unwrap();
        assert_eq!([inode(&spare), inode(&path)], before);
    }

    #[test]
    fn a_file_above_the_limit_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("large");
        File::create(&path).unwrap().set_len(1 << 30).unwrap();
        assert_eq!(read_limited(&path, 1000).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        create_file(&directory.path().join("small"), b"12345", Durability::Volatile).unwrap();
        assert_eq!(read_limited(&directory.path().join("small"), 5).unwrap(), b"12345");
    }

    #[test]
    fn only_old_temporaries_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        let (old, fresh, record) =
            (directory.path().join(".a.1"), directory.path().join(".b.2"), directory.path().join("c.json"));
        for path in [&old, &fresh, &record] {
            std::fs::write(path, "x").unwrap();
        }
        let long_ago = std::time::SystemTime::now() - 2 * TEMPORARY_LIFE;
        for path in [&old, &record] {
            File::open(path).unwrap().set_modified(long_ago).unwrap();
        }
        remove_stale_temporaries(directory.path()).unwrap();
        assert_eq!([exists(&old), exists(&fresh), exists(&record)], [false, true, true]);
    }
}
