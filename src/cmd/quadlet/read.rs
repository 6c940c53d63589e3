//! Finding and reading Quadlet files with their drop-ins.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::spec::quadlet::{Kind, NO_UNIT_NAME, Source, Sources, dropin_directories, is_unit_name};
use crate::spec::unit::UnitFile;
use crate::store::fs;

/// Longer files are not read.
const FILE_MAX: usize = 1 << 20;
/// Directories within directories that are looked into.
const DEPTH_MAX: usize = 8;
/// Where directories of the system's are; one of files for users lies within.
const SYSTEM: [&str; 3] = ["/run/", "/etc/", "/usr/share/"];

/// What was found.
#[derive(Debug, Default)]
pub struct Collection {
    pub sources: Sources,
    /// Of files that cannot be used, each with why not.
    pub problems: Vec<String>,
}

/// Reads all files of these directories; of two of a name the first counts.
pub fn collect(directories: &[PathBuf]) -> Collection {
    let mut found = Collection::default();
    let mut places = Vec::new();
    for directory in directories {
        walk(directory, DEPTH_MAX, &mut places);
    }
    let mut seen = Vec::new();
    for path in &places {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let Some(kind) = Kind::of_file(name) else { continue };
        if seen.contains(&name) {
            continue;
        }
        seen.push(name);
        match kind.map_err(str::to_owned).and_then(|kind| read(path, name, kind, directories)) {
            Ok(source) => found.sources.0.push(source),
            Err(reason) if reason.starts_with('/') => found.problems.push(reason),
            Err(reason) => found.problems.push(format!("{}: {reason}", path.display())),
        }
    }
    found
}

/// Files by name, those of a directory before those of the ones in it.
fn walk(directory: &Path, depth: usize, out: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    let mut names: Vec<OsString> = entries.flatten().map(|entry| entry.file_name()).collect();
    names.sort();
    let mut inner = Vec::new();
    for name in names.iter().filter(|name| !name.as_encoded_bytes().starts_with(b".")) {
        let path = directory.join(name);
        if !path.is_dir() {
            out.push(path);
        } else if !name.as_encoded_bytes().ends_with(b".d") && !is_anothers(&path) {
            inner.push(path);
        }
    }
    if depth > 0 {
        inner.iter().for_each(|path| walk(path, depth - 1, out));
    }
}

/// Whether a directory within one that is searched is not for who searches: that of the files for users within
/// the system's, and within it those of one user, who searches his own besides.
fn is_anothers(directory: &Path) -> bool {
    let of_system = SYSTEM.iter().any(|base| directory.as_os_str().as_encoded_bytes().starts_with(base.as_bytes()));
    let is_users = |path: &Path| path.ends_with("systemd/users");
    let name = directory.file_name().unwrap_or_default().as_encoded_bytes();
    let of_one = name.iter().all(u8::is_ascii_digit) && directory.parent().is_some_and(is_users);
    of_system && (is_users(directory) || of_one)
}

fn read(path: &Path, name: &str, kind: Kind, directories: &[PathBuf]) -> Result<Source, String> {
    if !is_unit_name(name) {
        return Err(NO_UNIT_NAME.to_owned());
    }
    let path = std::path::absolute(path).map_err(|error| error.to_string())?;
    let shown = path.to_str().ok_or("its path is not UTF-8 text")?.to_owned();
    let mut unit = UnitFile::parse(&shown, &bytes(&path)?).map_err(|error| error.to_string())?;
    for dropin in dropins(&path, name, directories) {
        let shown = dropin.display().to_string();
        let bytes = bytes(&dropin).map_err(|error| format!("{shown}: {error}"))?;
        unit.add(&shown, &bytes).map_err(|error| error.to_string())?;
    }
    Ok(Source { name: name.to_owned(), path: shown, kind, unit })
}

fn bytes(path: &Path) -> Result<Vec<u8>, String> {
    fs::read_limited(path, FILE_MAX).map_err(|error| error.to_string())
}

/// The drop-ins that count, by their names: of two of a name that of the more special directory, then
/// that of the directory that counts more.
fn dropins(path: &Path, name: &str, directories: &[PathBuf]) -> Vec<PathBuf> {
    let beside = path.parent().map(Path::to_owned);
    let mut chosen: BTreeMap<OsString, PathBuf> = BTreeMap::new();
    for dropin in dropin_directories(name) {
        for directory in directories.iter().rev().chain(&beside) {
            let Ok(entries) = std::fs::read_dir(directory.join(&dropin)) else { continue };
            for entry in entries.flatten() {
                let name = entry.file_name();
                if name.as_encoded_bytes().ends_with(b".conf") && !name.as_encoded_bytes().starts_with(b".") {
                    chosen.insert(name, entry.path());
                }
            }
        }
    }
    chosen.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_directories_are_searched() {
        for (path, expected) in [
            ("/etc/containers/systemd/users", true),
            ("/usr/share/containers/systemd/users/1000", true),
            ("/etc/rbox/systemd/users/web", false),
            ("/etc/rbox/systemd/users/web/1000", false),
            ("/etc/rbox/systemd/web", false),
            ("/home/u/.config/rbox/systemd/users", false),
            ("/home/u/.config/rbox/systemd/users/7", false),
        ] {
            assert_eq!(is_anothers(Path::new(path)), expected, "{path}");
        }
    }
}
