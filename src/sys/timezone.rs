//! Time zones of this machine: the files of tzdata.

use std::io::Read;
use std::path::{Component, Path, PathBuf};

/// The largest file of a zone is a few kilobytes long.
const SIZE_MAX: u64 = 1 << 20;
const DIRECTORY: &str = "/usr/share/zoneinfo";
const LOCAL: &str = "/etc/localtime";

/// Why a zone's file cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum TimezoneError {
    #[error("invalid time zone {0:?}: expected local or a name as in Europe/Berlin")]
    Invalid(String),
    #[error("unknown time zone {0}")]
    Unknown(String),
    #[error("unknown time zone {0}: this machine has no {DIRECTORY}: install tzdata")]
    NoData(String),
    #[error("time zone {0}: {path} is no time zone file", path = .1.display())]
    Format(String, PathBuf),
    #[error("time zone {0}: read {path}: {error}", path = .1.display(), error = .2)]
    Read(String, PathBuf, std::io::Error),
}

/// The content (tzfile(5)) of the zone of this name; `local` is this machine's.
pub fn read(zone: &str) -> Result<Vec<u8>, TimezoneError> {
    let path = match zone {
        "local" => PathBuf::from(LOCAL),
        name => {
            let plain = |part: Component<'_>| matches!(part, Component::Normal(_));
            let strange = |c: char| c.is_control() || c.is_whitespace() || c == '\\';
            if name.is_empty() || name.contains(strange) || !Path::new(name).components().all(plain) {
                return Err(TimezoneError::Invalid(name.to_owned()));
            }
            Path::new(DIRECTORY).join(name)
        }
    };
    let mut bytes = Vec::new();
    let content = open(&path).and_then(|file| file.take(SIZE_MAX).read_to_end(&mut bytes));
    match content {
        Ok(_) if bytes.starts_with(b"TZif") => Ok(bytes),
        Ok(_) => Err(TimezoneError::Format(zone.to_owned(), path)),
        // A machine without the link is at UTC.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && zone == "local" => read("UTC"),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(match Path::new(DIRECTORY).is_dir() {
            true => TimezoneError::Unknown(zone.to_owned()),
            false => TimezoneError::NoData(zone.to_owned()),
        }),
        Err(error) if error.kind() == std::io::ErrorKind::IsADirectory => Err(TimezoneError::Unknown(zone.to_owned())),
        Err(error) => Err(TimezoneError::Read(zone.to_owned(), path, error)),
    }
}

fn open(path: &Path) -> std::io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    std::fs::OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_none() {
        for zone in ["", "/etc/passwd", "../../etc/passwd", "Europe/../../x", "a b", "a\nb"] {
            assert!(matches!(read(zone), Err(TimezoneError::Invalid(_))), "{zone}");
        }
        let error = read("Middle/Earth").unwrap_err().to_string();
        assert!(error.starts_with("unknown time zone Middle/Earth"), "{error}");
    }
}
