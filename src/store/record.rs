//! Records: small JSON files that may have been damaged by a disk, an editor or a lost write.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

use serde::de::DeserializeOwned;

use super::fs;
use crate::spec::text::printable;

/// The most that a record may hold; a larger file is damage.
const RECORD_MAX: usize = 4 << 20;

/// Why a record cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("{file} is missing")]
    Missing { file: String },
    /// The text is safe to print.
    #[error("{file} is damaged: {why}")]
    Damaged { file: String, why: String },
    /// The system failed, which says nothing about the record.
    #[error("read {file}: {error}")]
    Read { file: String, error: io::Error },
}

/// A record that was set aside, by name; everything else goes on without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// The container id or the record's file name.
    pub id: String,
    /// What is wrong with it, safe to print.
    pub why: String,
}

/// Reads and parses a record below an open directory, without saying why when that does not work:
/// then [`read`] it again. `buffer` is room for a usual record.
pub fn read_quickly<T: DeserializeOwned>(directory: BorrowedFd<'_>, path: &str, buffer: &mut [u8]) -> Option<T> {
    let bytes = fs::read_quickly(directory, path, buffer)?;
    serde_json::from_slice(without_padding(bytes)).ok()
}

/// Cuts off most of the blanks at the end, of which a padded record has more than text.
fn without_padding(mut bytes: &[u8]) -> &[u8] {
    const BLANKS: [u8; 64] = [b' '; 64];
    bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    while let Some(front) = bytes.strip_suffix(&BLANKS) {
        bytes = front;
    }
    bytes
}

/// Reads and parses a record.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, RecordError> {
    let file = || path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let bytes = fs::read_limited(path, RECORD_MAX).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => RecordError::Missing { file: file() },
        io::ErrorKind::FileTooLarge | io::ErrorKind::IsADirectory => {
            RecordError::Damaged { file: file(), why: error.to_string() }
        }
        _ => RecordError::Read { file: file(), error },
    })?;
    serde_json::from_slice(&bytes).map_err(|error| {
        // The parser quotes what it found.
        let why = if bytes.is_empty() { "it is empty".to_owned() } else { printable(&error.to_string()) };
        RecordError::Damaged { file: file(), why }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_told_from_absence() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("r.json");
        assert!(matches!(read::<u32>(&path), Err(RecordError::Missing { .. })));
        for (bytes, why) in [
            (&b""[..], "it is empty"),
            (b"12", ""),
            (b"\"\\u001b[31m\"", "invalid type"),
            (b"\0\0\0\0", "expected value"),
            (b"1\xff", "trailing"),
        ] {
            std::fs::write(&path, bytes).unwrap();
            match read::<u32>(&path) {
                Ok(value) => assert_eq!((value, why), (12, "")),
                Err(error) => {
                    let text = error.to_string();
                    assert!(text.starts_with("r.json is damaged: ") && text.contains(why), "{text}");
                    assert!(!text.contains(char::is_control), "{text:?}");
                }
            }
        }
        std::fs::File::create(&path).unwrap().set_len(1 << 30).unwrap();
        assert!(matches!(read::<u32>(&path), Err(RecordError::Damaged { .. })));
    }
}
