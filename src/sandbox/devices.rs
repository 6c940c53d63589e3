//! /dev: six device nodes bound from the host, the usual links, and the terminal.

pub mod cdi;
pub mod given;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, makedev};
use rustix::pty::OpenptFlags;

use super::idmap::IdMaps;
use super::mounts::{self, Cover, Detached, Options};
use super::setup::{Doing, SetupError};
use super::tree::Root;
use crate::sys::mount::attr;

/// Name, major and minor of the nodes every container gets.
const NODES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Clones the host's device nodes, each checked to be the device it should be.
pub fn prepare() -> Result<Vec<Detached>, SetupError> {
    NODES.iter().map(|&(name, major, minor)| node(name, major, minor)).collect()
}

/// A clone of the host's /dev/null, for masking files.
pub fn null() -> Result<Cover, SetupError> {
    node("null", 1, 3).map(|node| Cover::new(node.mount))
}

fn node(name: &str, major: u32, minor: u32) -> Result<Detached, SetupError> {
    let path = Path::new("/dev").join(name);
    let options = Options { attributes: attr::NOSUID | attr::NOEXEC, bind: true, ..Options::default() };
    let mount = mounts::clone_tree(&path, &options).doing(format_args!("bind {}", path.display()))?;
    let stat =
        rustix::fs::statat(&mount, c"", AtFlags::EMPTY_PATH).doing(format_args!("inspect {}", path.display()))?;
    let device =
        FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == makedev(major, minor);
    if !device {
        return Err(SetupError::new(format!("the host's {} is not the device {major}:{minor}", path.display())));
    }
    Ok(Detached { target: path, mount, directory: false })
}

/// All device nodes of the host's /dev that can be bound, for a privileged container.
pub fn prepare_all() -> Vec<Detached> {
    let Ok(entries) = std::fs::read_dir("/dev") else { return Vec::new() };
    let options = Options { bind: true, attributes: attr::NOSUID | attr::NOEXEC, ..Options::default() };
    entries
        .filter_map(Result::ok)
        .filter(|entry| {
            use std::os::unix::fs::FileTypeExt;
            let known = NODES.iter().any(|(name, ..)| entry.file_name() == *name);
            let special = ["ptmx", "console"].iter().any(|name| entry.file_name() == *name);
            !known && !special && entry.file_type().is_ok_and(|kind| kind.is_char_device() || kind.is_block_device())
        })
        .filter_map(|entry| {
            let target = Path::new("/dev").join(entry.file_name());
            let mount = mounts::clone_tree(&target, &options).ok()?;
            Some(Detached { target, mount, directory: false })
        })
        .collect()
}

/// Makes the links of /dev.
pub fn link(root: &Root) -> Result<(), SetupError> {
    let directory = root.handle(Path::new("/dev")).doing("open the container's /dev")?;
    for (name, target) in LINKS {
        match rustix::fs::symlinkat(target, &directory, name) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(SetupError::new(format!("cannot make /dev/{name}: {error}"))),
        }
    }
    Ok(())
}

/// Makes the symbolic links that devices need, (target, path), where nothing is yet.
pub fn make_links(root: &Root, links: &[(String, String)]) -> Result<(), SetupError> {
    for (target, path) in links {
        let what = format!("make the link {path}");
        let path = Path::new(path);
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { continue };
        let parent = root.ensure_directory(parent).doing(&what)?;
        match rustix::fs::symlinkat(target.as_str(), &parent, name) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(SetupError::new(format!("cannot {what}: {error}"))),
        }
    }
    Ok(())
}

/// A terminal from the container's own devpts.
#[derive(Debug)]
pub struct Terminal {
    /// The supervisor's side.
    pub controller: OwnedFd,
    /// The container's side.
    pub user: OwnedFd,
}

/// Group 5 is tty everywhere.
const TTY_GROUP: u32 = 5;

/// Opens a terminal, as /dev/console if it is the container's main one. The user side comes from the controller itself
/// (TIOCGPTPEER), never by name (CVE-2025-52565).
pub fn open_terminal(root: &Root, console: bool) -> Result<Terminal, SetupError> {
    let controller = root
        .open_at(Path::new("/dev/pts/ptmx"), OFlags::RDWR | OFlags::NOCTTY)
        .doing("open the container's terminal multiplexer")?;
    check_is_multiplexer(&controller).doing("check the container's terminal multiplexer")?;
    rustix::pty::unlockpt(&controller).doing("unlock the terminal")?;
    let user =
        rustix::pty::ioctl_tiocgptpeer(&controller, OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)
            .doing("open the terminal")?;
    if console {
        show_as_console(root, &user)?;
    }
    Ok(Terminal { controller, user })
}

fn show_as_console(root: &Root, user: &OwnedFd) -> Result<(), SetupError> {
    let console = rustix::mount::open_tree(
        user,
        c"",
        rustix::mount::OpenTreeFlags::OPEN_TREE_CLONE
            | rustix::mount::OpenTreeFlags::OPEN_TREE_CLOEXEC
            | rustix::mount::OpenTreeFlags::AT_EMPTY_PATH,
    )
    .doing("bind the terminal")?;
    Detached { target: PathBuf::from("/dev/console"), mount: console, directory: false }.attach(root)
}

/// The multiplexer has device number 5:2 on a devpts (linux Documentation/filesystems/devpts.rst).
fn check_is_multiplexer(controller: &OwnedFd) -> io::Result<()> {
    let stat = rustix::fs::fstat(controller)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == makedev(5, 2) {
        return Ok(());
    }
    Err(io::Error::other("not the devpts multiplexer"))
}

/// Hands the terminal to the user inside, so that it can be opened again by name.
pub fn give_terminal(terminal: &OwnedFd, uid: u32, maps: &IdMaps) -> io::Result<()> {
    let uid = maps.outer_uid(uid).map(rustix::fs::Uid::from_raw);
    let gid = maps.outer_gid(TTY_GROUP).map(rustix::fs::Gid::from_raw);
    rustix::fs::fchown(terminal.as_fd(), uid, gid)?;
    Ok(rustix::fs::fchmod(terminal.as_fd(), Mode::RUSR | Mode::WUSR | Mode::WGRP)?)
}

/// Opens the host's /dev/null for reading and writing.
pub fn open_null() -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(CWD, c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?)
}
