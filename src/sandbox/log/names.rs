//! The files of a log: `NAME` is written to, `NAME.1` came before it, `NAME.2` before that, and so on;
//! one that is compressed is `NAME.1.gz`.

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// The file before the current one by so many.
pub(super) fn numbered(path: &Path, number: u32) -> PathBuf {
    with_suffix(path, &number.to_string())
}

/// The same, compressed.
pub(super) fn compressed(path: &Path, number: u32) -> PathBuf {
    with_suffix(path, &format!("{number}.gz"))
}

pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".");
    name.push(suffix);
    name.into()
}

/// Makes room for a new file: each gets the next number, the current one 1, and the oldest goes. For a
/// moment there is no current one.
pub(super) fn shift(path: &Path, count: u32) -> io::Result<()> {
    for number in (0..count.saturating_sub(1)).rev() {
        // Whichever form it had, what is replaced must not stay behind in the other.
        remove_if_present(&compressed(path, number + 1))?;
        if number == 0 {
            rename_if_present(path, &numbered(path, 1))?;
        } else {
            remove_if_present(&numbered(path, number + 1))?;
            rename_if_present(&compressed(path, number), &compressed(path, number + 1))?;
            rename_if_present(&numbered(path, number), &numbered(path, number + 1))?;
        }
    }
    Ok(())
}

fn rename_if_present(from: &Path, to: &Path) -> io::Result<()> {
    absence_is_fine(std::fs::rename(from, to))
}

pub(super) fn remove_if_present(path: &Path) -> io::Result<()> {
    absence_is_fine(std::fs::remove_file(path))
}

fn absence_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
