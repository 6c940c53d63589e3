//! Cgroups of version 2 (Linux Documentation/admin-guide/cgroup-v2.rst).

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Gid, Uid};
use rustix::io::Errno;

use super::{at, make_directory, missing, reason, words, write};

/// What a cgroup is handed over with (Delegation in the same document).
const DELEGATED: [&str; 3] = ["cgroup.procs", "cgroup.subtree_control", "cgroup.threads"];
/// The cgroup that processes move to out of one that is to hand on controllers.
const LEAF: &str = "rbox-outside";
/// How often processes that were made meanwhile are moved too.
const ROUNDS: usize = 50;
/// What is handed on besides what is needed, where it is there: what is to be seen of a container.
const WELCOME: [&str; 4] = ["memory", "pids", "io", "cpu"];

/// The cgroup below which others can be made, for a process in `own`.
pub fn base_of(own: &Path) -> PathBuf {
    match own.parent() {
        Some(above) if own.file_name().is_some_and(|name| name == LEAF) => above.to_owned(),
        _ => own.to_owned(),
    }
}

/// Has the cgroups below `base` get these controllers, and then others that are of use. Processes in `base` move
/// to a cgroup below it: the kernel wants none in one that hands on controllers.
pub fn enable(base: &Path, needed: &[String]) -> io::Result<()> {
    if needed.is_empty() {
        return Ok(());
    }
    let enabled = words(&base.join("cgroup.subtree_control"))?;
    let missing: Vec<&String> = needed.iter().filter(|name| !enabled.contains(name)).collect();
    if !missing.is_empty() {
        let all: Vec<String> = missing.iter().map(|name| format!("+{name}")).collect();
        hand_on(base, &all.join(" "))?;
    }
    welcome(base);
    Ok(())
}

/// Makes a cgroup for others to be made in, with those above it, all of which get these controllers.
pub fn make_base(base: &Path, needed: &[String]) -> io::Result<()> {
    for directory in missing(base) {
        enable(directory.parent().unwrap_or(directory), needed)?;
        make_directory(directory)?;
    }
    enable(base, needed)
}

/// Has the cgroups below `base`, in which no process is, get what is of use.
pub fn welcome(base: &Path) {
    let (there, enabled) = (words(&base.join("cgroup.controllers")), words(&base.join("cgroup.subtree_control")));
    let (Ok(there), Ok(enabled)) = (there, enabled) else { return };
    let has = |list: &[String], name: &str| list.iter().any(|other| other == name);
    for name in WELCOME.into_iter().filter(|name| has(&there, name) && !has(&enabled, name)) {
        let _ = write(&base.join("cgroup.subtree_control"), &format!("+{name}"));
    }
}

fn hand_on(base: &Path, controllers: &str) -> io::Result<()> {
    let control = base.join("cgroup.subtree_control");
    for _ in 0..ROUNDS {
        match write(&control, controllers) {
            Err(error) if reason(&error) == Some(Errno::BUSY) => make_room(base)?,
            written => return written,
        }
    }
    write(&control, controllers)
}

/// Moves the processes of a cgroup to one below it.
fn make_room(base: &Path) -> io::Result<()> {
    let leaf = base.join(LEAF);
    make_directory(&leaf)?;
    let procs = base.join("cgroup.procs");
    for pid in words(&procs)?.iter().filter(|pid| *pid != "0") {
        match write(&leaf.join("cgroup.procs"), pid) {
            // It has ended.
            Err(error) if reason(&error) == Some(Errno::SRCH) => {}
            moved => moved?,
        }
    }
    Ok(())
}

/// Gives a cgroup to the container's root, but for its limits.
pub fn hand_over(directory: &Path, (uid, gid): (u32, u32)) -> io::Result<()> {
    let stat = rustix::fs::stat(directory)?;
    if (stat.st_uid, stat.st_gid) == (uid, gid) {
        return Ok(());
    }
    let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    let give = |path: &Path| {
        let given = rustix::fs::chownat(CWD, path, uid, gid, AtFlags::SYMLINK_NOFOLLOW);
        given.map_err(|error| at(path, "hand over", error.into()))
    };
    give(directory)?;
    DELEGATED.iter().try_for_each(|file| give(&directory.join(file)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_moved_out_of_a_cgroup_makes_others_beside_it() {
        assert_eq!(base_of(Path::new("/c/x.scope/rbox-outside")), Path::new("/c/x.scope"));
        assert_eq!(base_of(Path::new("/c/x.scope")), Path::new("/c/x.scope"));
        assert_eq!(base_of(Path::new("/")), Path::new("/"));
    }
}
