//! `quadlet install`: put files where they are found, or a directory of them as an application.
//!
//! What is installed appears by one rename of what was written beside it, under a lock. Whatever ends
//! the command before that leaves only what the next one sweeps away.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::directories::{self, Scope};
use super::{apply, manager, read, translation};
use crate::cmd::format::text::{clean_line, warn};
use crate::cmd::print_line;
use crate::spec::quadlet::Kind;
use crate::store::fs;
use crate::store::lock::FileLock;
use crate::store::remove::remove_tree;

/// Of names that are only there while something is installed or removed.
const TEMPORARY: &str = ".rbox-";
const LOCK: &str = ".rbox-lock";
/// A longer file is no Quadlet file, nor one that belongs to some.
const FILE_MAX: u64 = 64 << 20;

/// Install Quadlet files
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Have systemd read its units again, the default
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "true", hide_default_value = true, hide_possible_values = true, value_parser = crate::cmd::go_bool)]
    reload_systemd: bool,
    /// Take the place of what is installed under this name
    #[arg(short, long)]
    replace: bool,
    /// A Quadlet file, or a directory of files that belong together
    #[arg(value_name = "QUADLET|DIR")]
    source: String,
    /// Files that belong to it
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Installs them.
pub fn run(args: &Args) -> Result<ExitCode> {
    let scope = Scope::own();
    if args.source.contains("://") {
        bail!("{}: fetch the file first, and read it", args.source);
    }
    let source = std::path::absolute(&args.source)?;
    let target = directories::installed(scope)?;
    std::fs::create_dir_all(&target).with_context(|| format!("make {}", target.display()))?;
    let _lock = FileLock::exclusive(&target.join(LOCK)).with_context(|| format!("lock {}", target.display()))?;
    sweep(&target);
    let staged = Staged::make(&source, &args.files, &target)?;
    let place = target.join(&staged.name);
    if fs::exists(&place) && !args.replace {
        bail!("{} is installed already: use --replace", place.display());
    }
    check(&staged, &place, scope)?;
    staged.put(&place)?;
    print_line(&place.display().to_string())?;
    if directories::searched(scope).iter().all(|directory| directory != &target) {
        warn(&format!("{} is not among the directories that are searched", target.display()));
    }
    finish(scope, args.reload_systemd)?;
    Ok(ExitCode::SUCCESS)
}

/// Lets systemd know, once files are there or gone.
pub fn finish(scope: Scope, reload: bool) -> Result<()> {
    let services = directories::services(scope)?;
    match directories::is_generated(scope) {
        // Those that were written before there was a generator count more than what it makes.
        true => apply::clear(&services)?,
        false => apply::bring_up_to_date(scope, &services)?.say(),
    }
    if reload && let Err(why) = manager::reload(scope) {
        warn(&clean_line(&format!("systemd has not read its units again: {why}")));
    }
    Ok(())
}

/// Removes what interrupted commands left; the lock is held.
pub fn sweep(target: &Path) {
    for entry in std::fs::read_dir(target).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(TEMPORARY.as_bytes()) && name != LOCK {
            let _ = remove_tree(&entry.path());
        }
    }
}

/// A name for something that is not there yet, or not any more.
pub fn temporary(target: &Path) -> io::Result<PathBuf> {
    Ok(target.join(format!("{TEMPORARY}{}", fs::random_suffix()?)))
}

/// Takes the lock of installed files.
pub fn lock(target: &Path) -> io::Result<FileLock> {
    FileLock::exclusive(&target.join(LOCK))
}

/// Copies on their way; they are removed unless put into place.
struct Staged {
    /// What is to be installed.
    path: PathBuf,
    /// Removed with everything in it.
    directory: PathBuf,
    /// How it is to be called.
    name: String,
}

impl Drop for Staged {
    fn drop(&mut self) {
        let _ = remove_tree(&self.directory);
    }
}

impl Staged {
    fn make(source: &Path, files: &[PathBuf], target: &Path) -> Result<Self> {
        let file_name = source.file_name().and_then(|name| name.to_str());
        let file_name = file_name.ok_or_else(|| anyhow!("{} has no usable name", source.display()))?;
        let metadata = std::fs::metadata(source).with_context(|| format!("read {}", source.display()))?;
        if !metadata.is_dir() {
            match Kind::of_file(file_name) {
                Some(Ok(_)) => {}
                Some(Err(reason)) => bail!("{}: {reason}", source.display()),
                None => bail!("{} is no Quadlet file: its name has none of the known ends", source.display()),
            }
        }
        let directory = temporary(target)?;
        std::fs::create_dir(&directory).with_context(|| format!("make {}", directory.display()))?;
        // What belongs together is in a directory of its own, and relative paths lead there.
        let alone = !metadata.is_dir() && files.is_empty();
        let name = match (alone, metadata.is_dir()) {
            (true, _) | (_, true) => file_name.to_owned(),
            (false, false) => file_name.rsplit_once('.').map_or(file_name, |(stem, _)| stem).to_owned(),
        };
        let staged = Self { path: directory.join(&name), directory, name };
        if alone {
            copy_file(source, &staged.path)?;
            return Ok(staged);
        }
        std::fs::create_dir(&staged.path)?;
        if metadata.is_dir() {
            copy_directory(source, &staged.path)?;
        } else {
            copy_file(source, &staged.path.join(file_name))?;
        }
        for file in files {
            let name = file.file_name().ok_or_else(|| anyhow!("{} has no usable name", file.display()))?;
            copy_file(file, &staged.path.join(name))?;
        }
        Ok(staged)
    }

    /// The copies appear at `place` at once, in exchange for what is there.
    fn put(&self, place: &Path) -> Result<()> {
        let put = match renameat_with(CWD, &self.path, CWD, place, RenameFlags::EXCHANGE) {
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::INVAL) => std::fs::rename(&self.path, place),
            exchanged => exchanged.map_err(io::Error::from),
        };
        put.and_then(|()| fs::sync_parent(place)).with_context(|| format!("write {}", place.display()))
    }
}

fn copy_file(from: &Path, to: &Path) -> Result<()> {
    let copy = || -> Result<()> {
        let mut file = std::fs::File::open(from)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.len() > FILE_MAX {
            bail!("only files of at most 64 MiB can be installed");
        }
        let mut copy = std::fs::OpenOptions::new().write(true).create_new(true).open(to)?;
        io::copy(&mut file, &mut copy)?;
        copy.set_permissions(std::fs::Permissions::from_mode(0o644 | (metadata.permissions().mode() & 0o111)))?;
        Ok(copy.sync_all()?)
    };
    copy().with_context(|| format!("copy {}", from.display()))
}

fn copy_directory(from: &Path, to: &Path) -> Result<()> {
    for entry in std::fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let entry = entry?;
        let (path, place) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_symlink() {
            let target = std::fs::read_link(&path)?;
            // An instance of a template is a link to it.
            if target.components().count() != 1 || target.is_absolute() || target.ends_with("..") {
                bail!("{} links to {}, outside the directory", path.display(), target.display());
            }
            std::os::unix::fs::symlink(target, &place)?;
        } else if kind.is_dir() {
            std::fs::create_dir(&place)?;
            copy_directory(&path, &place)?;
        } else {
            copy_file(&path, &place)?;
        }
    }
    Ok(())
}

/// Refuses what could not be translated, together with what is installed.
fn check(staged: &Staged, place: &Path, scope: Scope) -> Result<()> {
    let own = if staged.path.is_dir() { staged.path.clone() } else { staged.directory.clone() };
    let searched: Vec<PathBuf> = std::iter::once(own.clone()).chain(directories::searched(scope)).collect();
    let found = read::collect(&searched);
    let is_ours = |path: &str| Path::new(path).starts_with(&own);
    let mut problems: Vec<String> = found.problems.iter().filter(|text| is_ours(text)).cloned().collect();
    let mut count = 0;
    for source in found.sources.0.iter().filter(|source| is_ours(&source.path)) {
        count += 1;
        let made = translation(source, &found.sources, scope)?;
        problems.extend(made.problems);
        if !directories::is_generated(scope)
            && let Err(error) = apply::check_free(&made.service, &directories::services(scope)?)
        {
            problems.push(format!("{}: {error}", source.path));
        }
        made.warnings.iter().for_each(|text| warn(&clean_line(&shown(text, staged, place))));
    }
    let Some((last, others)) = problems.split_last() else {
        return if count > 0 { Ok(()) } else { Err(anyhow!("there are no Quadlet files in it")) };
    };
    others.iter().for_each(|text| warn(&clean_line(&shown(text, staged, place))));
    bail!("{}", clean_line(&shown(last, staged, place)))
}

/// With the path that is meant for the file, not that of its copy.
fn shown(text: &str, staged: &Staged, place: &Path) -> String {
    text.replace(&*staged.path.to_string_lossy(), &place.to_string_lossy())
}
