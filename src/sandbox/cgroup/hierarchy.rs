//! Where cgroups are mounted, and which one a process is in.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD};
use rustix::process::Pid;

/// A hierarchy of cgroups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Version {
    Two,
    /// Of version 1, with these controllers.
    One(Vec<String>),
}

/// A hierarchy with a process in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where the hierarchy is mounted.
    pub mount: PathBuf,
    /// The directory of the process's cgroup.
    pub own: PathBuf,
}

/// The cgroups of one process, as far as they are in sight.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    pub unified: Option<Place>,
    /// Those of version 1 that have controllers.
    pub legacy: Vec<(Vec<String>, Place)>,
}

impl Groups {
    /// Those of a process, our own without one.
    pub fn of(pid: Option<Pid>) -> io::Result<Self> {
        let process = pid.map_or_else(|| "self".to_owned(), |pid| pid.as_raw_nonzero().to_string());
        let groups = std::fs::read(format!("/proc/{process}/cgroup"))?;
        Ok(Self::parse(&groups, &std::fs::read("/proc/self/mountinfo")?))
    }

    fn parse(groups: &[u8], mounts: &[u8]) -> Self {
        let mut all = Self::default();
        for line in groups.split(|&byte| byte == b'\n') {
            let mut fields = line.splitn(3, |&byte| byte == b':').skip(1);
            let (Some(controllers), Some(cgroup)) = (fields.next(), fields.next()) else { continue };
            let version = match controllers {
                b"" => Version::Two,
                names if names.starts_with(b"name=") => continue,
                names => {
                    let names = names.split(|&byte| byte == b',').map(String::from_utf8_lossy);
                    Version::One(names.map(std::borrow::Cow::into_owned).collect())
                }
            };
            let place = mounts.split(|&byte| byte == b'\n').find_map(|line| shown_by(line, &version, cgroup));
            match (place, version) {
                (Some(place), Version::Two) => all.unified = Some(place),
                (Some(place), Version::One(names)) => all.legacy.push((names, place)),
                (None, _) => {}
            }
        }
        all
    }
}

/// Where the mount of this line of mountinfo (proc_pid_mountinfo(5)) shows the cgroup.
fn shown_by(line: &[u8], version: &Version, cgroup: &[u8]) -> Option<Place> {
    let mut fields = line.split(|&byte| byte == b' ');
    let (root, target) = (fields.nth(3)?, fields.next()?);
    fields.find(|field| *field == b"-")?;
    let (kind, options) = (fields.next()?, fields.nth(1)?);
    let is_it = match version {
        Version::Two => kind == b"cgroup2",
        Version::One(names) => {
            let has = |name: &String| options.split(|&byte| byte == b',').any(|option| option == name.as_bytes());
            kind == b"cgroup" && names.iter().all(has)
        }
    };
    if !is_it {
        return None;
    }
    let below = Path::new(OsStr::from_bytes(cgroup)).strip_prefix(unescape(root)).ok()?.to_owned();
    // A cgroup beside our cgroup namespace's root is shown with dots.
    if !below.components().all(|part| matches!(part, Component::Normal(_))) {
        return None;
    }
    let mount = unescape(target);
    let own = if below.as_os_str().is_empty() { mount.clone() } else { mount.join(below) };
    Some(Place { mount, own })
}

/// Blanks and the like are octal in mountinfo.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let code = (*first == b'\\').then(|| tail.get(..3)).flatten();
        let code = code.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &tail[3..] } else { tail };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// The cgroup itself, or if it is not there the next above it that is.
pub fn nearest(directory: &Path) -> &Path {
    directory.ancestors().find(|above| above.exists()).unwrap_or(directory)
}

/// Whether we may make cgroups in a directory and put processes there.
pub fn is_ours(directory: &Path) -> bool {
    may_write(directory, Access::WRITE_OK | Access::EXEC_OK)
        && may_write(&directory.join("cgroup.procs"), Access::WRITE_OK)
}

/// Whether a file or directory may be used in this way.
pub fn may_write(path: &Path, access: Access) -> bool {
    rustix::fs::accessat(CWD, path, access, AtFlags::EACCESS).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_is_found_where_it_is_mounted() {
        let shown =
            |line: &str, cgroup: &str| shown_by(line.as_bytes(), &Version::Two, cgroup.as_bytes()).map(|at| at.own);
        let unified = "31 24 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate";
        assert_eq!(shown(unified, "/user.slice/a b"), Some("/sys/fs/cgroup/user.slice/a b".into()));
        assert_eq!(shown(unified, "/"), Some("/sys/fs/cgroup".into()));
        assert_eq!(shown(unified, "/../other"), None);
        let part = r"31 24 0:27 /user.slice /mnt/a\040b rw shared:1 master:2 - cgroup2 none rw";
        assert_eq!(shown(part, "/user.slice/x"), Some("/mnt/a b/x".into()));
        assert_eq!(shown(part, "/system.slice"), None);
        assert_eq!(shown("31 24 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu", "/"), None);
        assert_eq!(shown("", "/"), None);
    }

    #[test]
    fn hierarchies_of_both_versions_are_told_apart() {
        let groups = b"5:name=systemd:/\n4:cpu,cpuacct:/a\n3:memory:/b:c\n2:pids:/\n0::/u\n";
        let mounts = b"1 0 0:1 / /c/memory rw - cgroup cgroup rw,memory\n\
                       2 0 0:2 / /c/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                       3 0 0:3 / /c/unified rw - cgroup2 cgroup2 rw\n";
        let all = Groups::parse(groups, mounts);
        assert_eq!(all.unified.unwrap().own, Path::new("/c/unified/u"));
        let [(first, cpu), (_, memory)] = &all.legacy[..] else { panic!("{:?}", all.legacy) };
        assert_eq!((first.join(" ").as_str(), cpu.own.as_path()), ("cpu cpuacct", Path::new("/c/cpu,cpuacct/a")));
        assert_eq!(memory.own, Path::new("/c/memory/b:c"));
    }
}
