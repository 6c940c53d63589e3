//! Finding and reading Quadlet files with their drop-ins.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::spec::quadlet::{Kind, Source, Sources, dropin_directories};
use crate::spec::unit::UnitFile;
use crate::store::fs;

/// Longer files are not read.
const FILE_MAX: usize = 1 << 20;
/// Directories within directories that are looked into.
const DEPTH_MAX: usize = 8;
/// A directory of files for users lies within that of the system.
const USERS: &str = "users";

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
        } else if !name.as_encoded_bytes().ends_with(b".d") && name != USERS {
            inner.push(path);
        }
    }
    if depth > 0 {
        inner.iter().for_each(|path| walk(path, depth - 1, out));
    }
}

/// What systemd takes in the name of a unit.
fn is_unit_name(name: &str) -> bool {
    name.len() < 200
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '_' | '.' | '\\' | '@'))
}

fn read(path: &Path, name: &str, kind: Kind, directories: &[PathBuf]) -> Result<Source, String> {
    if !is_unit_name(name) {
        return Err("systemd takes no such name: letters, digits and :-_.\\@ only".to_owned());
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
