//! Writing services and their links.

use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::directories::Scope;
use super::{directories, read, translations};
use crate::cmd::format::text::{clean_line, warn};
use crate::spec::quadlet::Service;
use crate::store::fs;

/// How a service begins that was made of a Quadlet file.
const MARK: &str = "# Made by rbox of ";

/// What came of all files.
#[derive(Debug, Default)]
pub struct Report {
    pub written: Vec<PathBuf>,
    pub problems: Vec<String>,
    pub warnings: Vec<String>,
}

impl Report {
    /// Tells a person.
    pub fn say(&self) {
        self.problems.iter().chain(&self.warnings).for_each(|text| warn(&clean_line(text)));
    }
}

/// Translates all files into services in `directory`.
pub fn write_all(scope: Scope, directory: &Path) -> Result<Report> {
    let found = read::collect(&directories::searched(scope));
    let mut report = Report { problems: found.problems, ..Report::default() };
    for (_, made) in translations(&found.sources, scope)? {
        report.warnings.extend(made.warnings);
        if !made.problems.is_empty() {
            report.problems.extend(made.problems);
            continue;
        }
        match write(&made.service, directory) {
            Ok(path) => report.written.push(path),
            Err(error) => report.problems.push(format!("{}: {error:#}", made.service.name)),
        }
    }
    Ok(report)
}

/// As [`write_all`], and removes the services of files that are gone.
pub fn bring_up_to_date(scope: Scope, directory: &Path) -> Result<Report> {
    std::fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
    let mut before = services_of_ours(directory);
    let report = write_all(scope, directory)?;
    before.retain(|path| !report.written.contains(path));
    for path in before {
        remove(&path, directory).with_context(|| format!("remove {}", path.display()))?;
    }
    Ok(report)
}

/// Puts a service and its links into a directory.
pub fn write(service: &Service, directory: &Path) -> Result<PathBuf> {
    let path = directory.join(&service.name);
    let temporary = directory.join(format!(".{}.{}", service.name, fs::random_suffix()?));
    let make = || -> io::Result<()> {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(&temporary)?;
        file.write_all(service.text.as_bytes())?;
        std::fs::rename(&temporary, &path)
    };
    let made = make();
    if made.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    made.with_context(|| format!("write {}", path.display()))?;
    for link in &service.links {
        let place = directory.join(&link.path);
        let make = || -> io::Result<()> {
            if let Some(parent) = place.parent() {
                std::fs::create_dir_all(parent)?;
            }
            match symlink(&link.target, &place) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    if std::fs::read_link(&place).is_ok_and(|target| target == Path::new(&link.target)) {
                        return Ok(());
                    }
                    std::fs::remove_file(&place)?;
                    symlink(&link.target, &place)
                }
                made => made,
            }
        };
        make().with_context(|| format!("make the link {}", place.display()))?;
    }
    Ok(path)
}

fn services_of_ours(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let paths = entries.flatten().map(|entry| entry.path());
    let is_service = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "service");
    let is_ours = |path: &PathBuf| {
        path.symlink_metadata().is_ok_and(|metadata| metadata.is_file())
            && std::fs::read(path).is_ok_and(|bytes| bytes.starts_with(MARK.as_bytes()))
    };
    paths.filter(is_service).filter(is_ours).collect()
}

/// Removes a service and what links to it.
fn remove(path: &Path, directory: &Path) -> io::Result<()> {
    let Some(name) = path.file_name() else { return Ok(()) };
    let inner = |entry: &std::fs::DirEntry| {
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        [&b".wants"[..], b".requires", b".upholds"].iter().any(|end| name.ends_with(end))
    };
    let groups: Vec<PathBuf> =
        std::fs::read_dir(directory)?.flatten().filter(inner).map(|entry| entry.path()).collect();
    for group in groups.iter().map(PathBuf::as_path).chain([directory]) {
        for entry in std::fs::read_dir(group)?.flatten() {
            let target = std::fs::read_link(entry.path());
            if target.is_ok_and(|target| target == Path::new(name) || target == Path::new("..").join(name)) {
                std::fs::remove_file(entry.path())?;
            }
        }
    }
    std::fs::remove_file(path)
}
