//! A path that cannot be used, explained by walking it as the kernel does.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD};

use super::{Code, Explained, facts, shell_path};

/// As many links as the kernel follows (path_resolution(7)).
const LINKS: usize = 40;

/// Whose path it is: that decides who can mend it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Host,
    /// The host's, seen by a process in the user namespace.
    HostFromInside,
    /// Within a container's root, seen from inside.
    Container,
}

/// Where a walk ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Walk {
    /// The path leads to this file, all links resolved.
    Arrived(PathBuf),
    /// This directory may not be searched.
    Closed(PathBuf),
    /// This does not exist; the link that named it, if one did.
    Missing { path: PathBuf, link: Option<PathBuf> },
    /// Not a directory, though more of the path follows.
    NotDirectory(PathBuf),
    /// Links lead in a circle, or through too many.
    Circle(PathBuf),
}

/// Walks `path` with this process's effective rights.
pub fn walk(path: &Path) -> io::Result<Walk> {
    let mut reached = PathBuf::from("/");
    let mut rest: VecDeque<OsString> = VecDeque::new();
    let mut links = 0;
    let mut link = None;
    push_front(&mut rest, &std::path::absolute(path)?);
    while let Some(name) = rest.pop_front() {
        if name == ".." {
            reached.pop();
            continue;
        }
        if rustix::fs::accessat(CWD, &reached, Access::EXEC_OK, AtFlags::EACCESS).is_err() {
            return Ok(Walk::Closed(reached));
        }
        let next = reached.join(&name);
        let metadata = match std::fs::symlink_metadata(&next) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Walk::Missing { path: next, link }),
            Err(error) => return Err(error),
        };
        if metadata.is_symlink() {
            links += 1;
            if links > LINKS {
                return Ok(Walk::Circle(path.to_owned()));
            }
            let target = std::fs::read_link(&next)?;
            link = Some(next);
            if target.is_absolute() {
                reached = PathBuf::from("/");
            }
            push_front(&mut rest, &target);
        } else if !metadata.is_dir() && !rest.is_empty() {
            return Ok(Walk::NotDirectory(next));
        } else {
            reached = next;
        }
    }
    Ok(Walk::Arrived(reached))
}

/// Puts the names of `path` before what is left to walk.
fn push_front(rest: &mut VecDeque<OsString>, path: &Path) {
    for component in path.components().rev() {
        match component {
            Component::Normal(name) => rest.push_front(name.to_owned()),
            Component::ParentDir => rest.push_front(OsString::from("..")),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
}

/// Why this host path cannot be reached, or used with the given rights; None when nothing of it
/// is in the way.
pub fn unusable(path: &Path, rights: Access) -> Option<Explained> {
    match walk(path) {
        Ok(Walk::Arrived(end)) => denied(&end, rights),
        Ok(walked) => obstacle(&walked, Side::Host),
        Err(_) => None,
    }
}

/// An error about a host path, met in the user namespace, with its cause.
pub fn annotate(error: impl Into<io::Error>, path: &Path) -> String {
    let error = error.into();
    let known = matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied | io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    );
    let cause = || obstacle(&walk(path).ok()?, Side::HostFromInside);
    super::with_cause(&error, known.then(cause).flatten())
}

/// What keeps the user from a directory with the given rights, or from making it where it is
/// missing.
pub fn barred(place: &Path, rights: Access) -> Option<Explained> {
    match walk(place) {
        Ok(Walk::Missing { path, link: None }) => unusable(path.parent()?, Access::WRITE_OK | Access::EXEC_OK),
        _ => unusable(place, rights),
    }
}

/// The explanation of a walk that did not arrive.
pub fn obstacle(walked: &Walk, side: Side) -> Option<Explained> {
    match walked {
        Walk::Arrived(_) => None,
        Walk::Closed(directory) => Some(closed(directory, side)),
        Walk::Missing { path, link } => {
            let missing = path.display();
            let cause = match link {
                Some(link) => format!("{} is a link that leads to {missing}, which does not exist", link.display()),
                None => format!("{missing} does not exist"),
            };
            Some(Explained::new(Code::PathAccess, cause))
        }
        Walk::NotDirectory(path) => {
            Some(Explained::new(Code::PathAccess, format!("{} is not a directory", path.display())))
        }
        Walk::Circle(path) => {
            Some(Explained::new(Code::PathAccess, format!("the links of {} lead in a circle", path.display())))
        }
    }
}

/// The directory that lacks x.
fn closed(directory: &Path, side: Side) -> Explained {
    let cause = format!("directory {} lacks x for {}", directory.display(), who(directory, side));
    let explained = Explained::new(Code::PathAccess, cause);
    let own = is_own(directory);
    let line = format!("chmod {}+x {}", if own { 'u' } else { 'o' }, shell_path(directory));
    match side {
        Side::Container => explained.advice(format!("in the image: {line}, or choose another user with --user")),
        _ if own => explained.you(line),
        _ => explained.administrator(line),
    }
}

/// What `rights` the end of a walk lacks.
fn denied(end: &Path, rights: Access) -> Option<Explained> {
    let letters = [(Access::READ_OK, 'r'), (Access::WRITE_OK, 'w'), (Access::EXEC_OK, 'x')];
    let lacks = |right: Access| {
        rights.contains(right)
            && rustix::fs::accessat(CWD, end, right, AtFlags::EACCESS) == Err(rustix::io::Errno::ACCESS)
    };
    let missing: String = letters.into_iter().filter(|&(right, _)| lacks(right)).map(|(_, letter)| letter).collect();
    if missing.is_empty() {
        return None;
    }
    let explained =
        Explained::new(Code::PathAccess, format!("{} lacks {missing} for {}", end.display(), who(end, Side::Host)));
    let path = shell_path(end);
    Some(if is_own(end) {
        explained.you(format!("chmod u+{missing} {path}"))
    } else {
        explained.administrator(format!("setfacl -m u:{}:{missing} {path}", super::shell_word(&facts::user_name())))
    })
}

fn is_own(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.uid() == rustix::process::geteuid().as_raw())
}

/// The user that lacks the right, with the mode and the owner that decide it. Ids are those that the
/// user knows, though this process may be in the user namespace.
pub fn who(path: &Path, side: Side) -> String {
    let outer =
        |id: u32, map: &str| if side == Side::HostFromInside { facts::outer_id(id, map).unwrap_or(id) } else { id };
    let uid = outer(rustix::process::geteuid().as_raw(), "uid_map");
    match std::fs::metadata(path) {
        Ok(metadata) => {
            let (owner, group) = (outer(metadata.uid(), "uid_map"), outer(metadata.gid(), "gid_map"));
            format!("uid {uid} (mode {:04o}, owner {owner}:{group})", metadata.mode() & 0o7777)
        }
        Err(_) => format!("uid {uid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn walks_end_where_the_kernels_do() {
        let directory = tempfile::tempdir().unwrap();
        let base = std::fs::canonicalize(directory.path()).unwrap();
        std::fs::create_dir_all(base.join("a/b")).unwrap();
        std::fs::write(base.join("a/file"), "").unwrap();
        symlink("../a", base.join("a/self")).unwrap();
        symlink(base.join("a/gone"), base.join("dangling")).unwrap();
        symlink("round", base.join("round")).unwrap();
        let walk = |path: &str| walk(&base.join(path)).unwrap();
        assert_eq!(walk("a/self/b/../file"), Walk::Arrived(base.join("a/file")));
        assert_eq!(walk("dangling"), Walk::Missing { path: base.join("a/gone"), link: Some(base.join("dangling")) });
        assert_eq!(walk("a/x/y"), Walk::Missing { path: base.join("a/x"), link: None });
        assert_eq!(walk("a/file/y"), Walk::NotDirectory(base.join("a/file")));
        assert_eq!(walk("round"), Walk::Circle(base.join("round")));
    }

    #[test]
    fn what_a_user_lacks_is_named() {
        // Root lacks nothing.
        if rustix::process::geteuid().is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let closed = directory.path().join("closed");
        std::fs::create_dir_all(closed.join("in")).unwrap();
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o600)).unwrap();
        let explained = unusable(&closed.join("in"), Access::READ_OK).unwrap();
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).unwrap();
        let text = explained.to_string();
        assert!(text.contains("/closed lacks x for uid") && text.contains("chmod u+x "), "{text}");
        assert_eq!(unusable(&closed.join("in"), Access::READ_OK), None);
    }
}
