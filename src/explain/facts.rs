//! Small facts of the system that several explanations need. Each is None where it cannot be asked.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatVfs, StatxFlags, statx};

use crate::sys::accounts;

/// The most that a file of the system is read of.
const LIMIT: u64 = 1 << 20;

/// A small text file, trimmed.
pub fn text(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(LIMIT).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).trim().to_owned())
}

/// A sysctl by its dotted name.
pub fn sysctl(name: &str) -> Option<String> {
    text(&Path::new("/proc/sys").join(name.replace('.', "/")))
}

/// A sysctl that is one number.
pub fn sysctl_number(name: &str) -> Option<i64> {
    sysctl(name)?.parse().ok()
}

/// A field of /proc/self/status.
pub fn status(field: &str) -> Option<String> {
    let all = text(Path::new("/proc/self/status"))?;
    let line = all.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

/// Whether a seccomp filter is in force for this process.
pub fn is_filtered() -> bool {
    status("Seccomp").is_some_and(|mode| mode == "2")
}

/// The security module's label of this process, if one confines it.
pub fn security_label() -> Option<String> {
    let label = text(Path::new("/proc/self/attr/current"))?;
    let label = label.trim_matches('\0').trim();
    (!label.is_empty() && label != "unconfined").then(|| label.to_owned())
}

/// Whether SELinux is here and refuses what its policy forbids.
pub fn is_selinux_enforcing() -> bool {
    text(Path::new("/sys/fs/selinux/enforce")).is_some_and(|value| value == "1")
}

/// What may still have refused something when ordinary permissions allow it.
pub fn suspects() -> Vec<String> {
    let mut found = Vec::new();
    if let Some(label) = security_label() {
        found.push(format!("the security module ({label})"));
    } else if is_selinux_enforcing() {
        found.push("SELinux".to_owned());
    }
    if is_filtered() {
        found.push("a seccomp filter".to_owned());
    }
    found
}

/// The user's login name, or the number where there is none.
pub fn user_name() -> String {
    let uid = rustix::process::getuid().as_raw();
    accounts::login_name(uid).unwrap_or_else(|| uid.to_string())
}

/// What `id` is outside of this process's user namespace, by `uid_map` or `gid_map`; None if it has
/// no counterpart there.
pub fn outer_id(id: u32, map: &str) -> Option<u32> {
    let lines = text(&Path::new("/proc/self").join(map))?;
    lines.lines().find_map(|line| {
        let mut fields = line.split_ascii_whitespace().map(str::parse::<u64>);
        let (inside, outside, count) = (fields.next()?.ok()?, fields.next()?.ok()?, fields.next()?.ok()?);
        let offset = u64::from(id).checked_sub(inside).filter(|offset| *offset < count)?;
        u32::try_from(outside + offset).ok()
    })
}

/// The file system of the nearest part of `path` that exists, and that part.
pub fn file_system(path: &Path) -> Option<(PathBuf, StatVfs)> {
    path.ancestors().find_map(|part| Some((part.to_owned(), rustix::fs::statvfs(part).ok()?)))
}

/// Where the mount is attached that `path`, which exists, lies on.
pub fn mount_point(path: &Path) -> Option<PathBuf> {
    let id = |path: &Path| {
        let found = statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID).ok()?;
        Some(found.stx_mnt_id)
    };
    let real = std::fs::canonicalize(path).ok()?;
    let own = id(&real)?;
    let inside = real.ancestors().take_while(|part| id(part) == Some(own));
    inside.last().map(Path::to_owned)
}

/// A program found along PATH, or None.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_of_this_machine() {
        assert!(sysctl_number("user.max_user_namespaces").is_some());
        assert_eq!(sysctl("no.such"), None);
        assert!(outer_id(rustix::process::getuid().as_raw(), "uid_map").is_some());
        assert_eq!(outer_id(5, "no_map"), None);
        assert_eq!(status("Pid"), Some(std::process::id().to_string()));
        assert_eq!(mount_point(Path::new("/proc/self/status")), Some(PathBuf::from("/proc")));
        assert_eq!(mount_point(Path::new("/")), Some(PathBuf::from("/")));
        assert_eq!(file_system(Path::new("/proc/no/such/place")).unwrap().0, Path::new("/proc"));
        assert!(program("sh").is_some() && program("no-such-program").is_none());
    }
}
