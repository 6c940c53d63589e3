//! Writing services and their links.

use std::collections::HashMap;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

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
    let mut makers: HashMap<String, &str> = HashMap::new();
    for (source, made) in translations(&found.sources, scope)? {
        report.warnings.extend(made.warnings);
        if !made.problems.is_empty() {
            report.problems.extend(made.problems);
            continue;
        }
        if let Some(first) = makers.get(&made.service.name) {
            report.problems.push(format!("{}: {} is made of {first} already", source.path, made.service.name));
            continue;
        }
        match write(&made.service, directory) {
            Ok(path) => report.written.push(path),
            Err(error) => report.problems.push(format!("{}: {error:#}", source.path)),
        }
        makers.insert(made.service.name, &source.path);
    }
    Ok(report)
}

/// As [`write_all`], and removes the services of files that are gone.
pub fn bring_up_to_date(scope: Scope, directory: &Path) -> Result<Report> {
    std::fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
    let mut before = services_of_ours(directory);
    let report = write_all(scope, directory)?;
    before.retain(|path| !report.written.contains(path));
    remove_all(&before, directory)?;
    Ok(report)
}

/// Removes all services that were made of Quadlet files.
pub fn clear(directory: &Path) -> Result<()> {
    remove_all(&services_of_ours(directory), directory)
}

fn remove_all(services: &[PathBuf], directory: &Path) -> Result<()> {
    for path in services {
        let remove = || -> io::Result<()> {
            links_to(path, directory)?.iter().try_for_each(std::fs::remove_file)?;
            std::fs::remove_file(path)
        };
        remove().with_context(|| format!("remove {}", path.display()))?;
    }
    Ok(())
}

/// Refuses a service that would take the place of something that no Quadlet file made.
pub fn check_free(service: &Service, directory: &Path) -> Result<()> {
    let path = directory.join(&service.name);
    if fs::exists(&path) && !is_ours(&path) {
        bail!("{} is not of a Quadlet file: remove it, or give the file another name or ServiceName=", path.display());
    }
    for link in &service.links {
        let place = directory.join(&link.path);
        let target = std::fs::read_link(&place).ok();
        let is_of_ours = |target: &Path| {
            target == Path::new(&link.target)
                || target.is_relative() && target.file_name().is_some_and(|name| is_ours(&directory.join(name)))
        };
        if fs::exists(&place) && !target.as_deref().is_some_and(is_of_ours) {
            bail!("{} is not of a Quadlet file: remove it, or have [Install] say something else", place.display());
        }
    }
    Ok(())
}

/// Puts a service and its links into a directory, and takes links away that it does not ask for any more.
fn write(service: &Service, directory: &Path) -> Result<PathBuf> {
    check_free(service, directory)?;
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
    let links: Vec<PathBuf> = service.links.iter().map(|link| directory.join(&link.path)).collect();
    for link in links_to(&path, directory)?.iter().filter(|link| !links.contains(link)) {
        std::fs::remove_file(link).with_context(|| format!("remove the link {}", link.display()))?;
    }
    for (link, place) in service.links.iter().zip(&links) {
        put_link(Path::new(&link.target), place).with_context(|| format!("make the link {}", place.display()))?;
    }
    Ok(path)
}

fn put_link(target: &Path, place: &Path) -> io::Result<()> {
    if let Some(parent) = place.parent() {
        std::fs::create_dir_all(parent)?;
    }
    match symlink(target, place) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if std::fs::read_link(place).is_ok_and(|there| there == target) {
                return Ok(());
            }
            std::fs::remove_file(place)?;
            symlink(target, place)
        }
        made => made,
    }
}

fn services_of_ours(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let paths = entries.flatten().map(|entry| entry.path());
    let is_service = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "service");
    paths.filter(is_service).filter(|path| is_ours(path)).collect()
}

/// Whether a service was made of a Quadlet file.
fn is_ours(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| metadata.is_file())
        && std::fs::read(path).is_ok_and(|bytes| bytes.starts_with(MARK.as_bytes()))
}

/// The links of ours to a service; `systemctl enable` makes others.
fn links_to(path: &Path, directory: &Path) -> io::Result<Vec<PathBuf>> {
    let Some(name) = path.file_name() else { return Ok(Vec::new()) };
    let inner = |entry: &std::fs::DirEntry| {
        let name = entry.file_name();
        let name = name.as_encoded_bytes();
        [&b".wants"[..], b".requires", b".upholds"].iter().any(|end| name.ends_with(end))
    };
    let groups: Vec<PathBuf> =
        std::fs::read_dir(directory)?.flatten().filter(inner).map(|entry| entry.path()).collect();
    let mut links = Vec::new();
    for group in groups.iter().map(PathBuf::as_path).chain([directory]) {
        for entry in std::fs::read_dir(group)?.flatten() {
            let target = std::fs::read_link(entry.path());
            if target.is_ok_and(|target| target == Path::new(name) || target == Path::new("..").join(name)) {
                links.push(entry.path());
            }
        }
    }
    Ok(links)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_made_of_quadlet_files_is_cleared() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::create_dir(at("a.target.wants")).unwrap();
        std::fs::write(at("web.service"), format!("{MARK}/x: change that, not this.\n")).unwrap();
        std::fs::write(at("own.service"), "[Service]\n").unwrap();
        for (target, link) in [("../web.service", "web.service"), ("../own.service", "own.service")] {
            symlink(target, at("a.target.wants").join(link)).unwrap();
        }
        symlink("web.service", at("site.service")).unwrap();
        clear(directory.path()).unwrap();
        let mut left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["a.target.wants", "own.service"]);
        assert!(!at("a.target.wants/web.service").is_symlink() && at("a.target.wants/own.service").is_symlink());
        clear(&at("nowhere")).unwrap();
    }
}
