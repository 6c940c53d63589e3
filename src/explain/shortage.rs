//! Something ran out or is read-only: what, and where.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{StatVfs, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use super::{Code, Explained, facts, shell_path, user_namespaces};

/// Fewer free bytes than this is full: what is left may be too little for one write.
const FULL_BYTES: u64 = 64 << 10;
const FULL_INODES: u64 = 8;
/// So near to the limit of processes that one more failed.
const FULL_PROCESSES: u64 = 4;

/// Explains an error's text by the errno in it (`(os error 28)`, as std and rustix write it: errors of
/// our other processes arrive as text). `places` are the directories that rbox writes to; paths
/// that the text names are looked at too. Nothing is said that was not found to be so.
pub fn in_text(text: &str, places: &[PathBuf]) -> Option<Explained> {
    let number = text.rsplit_once("(os error ")?.1.split(')').next()?.parse().ok()?;
    let errno = Errno::from_raw_os_error(number);
    match errno {
        // A device that takes nothing, such as /dev/full, is what the text says already.
        Errno::NOSPC if named(text).any(|path| is_device(&path)) => None,
        Errno::NOSPC => all_places(text, places).find_map(|place| full(&place)).or_else(|| Some(kernel_limit())),
        Errno::DQUOT => all_places(text, places).next().map(|place| quota(&place)),
        Errno::ROFS => all_places(text, places).find_map(|place| read_only(&place)),
        Errno::MFILE => Some(open_files()),
        Errno::NFILE => Some(open_files_of_all()),
        Errno::AGAIN => processes_used_up(),
        _ => None,
    }
}

/// The paths named in an error, then the usual places. What begins with "cannot" comes from the
/// making of a container, whose paths are not the host's.
fn all_places(text: &str, places: &[PathBuf]) -> impl Iterator<Item = PathBuf> {
    let named: Vec<PathBuf> = named(text).collect();
    named.into_iter().chain(places.to_vec())
}

fn named(text: &str) -> impl Iterator<Item = PathBuf> {
    let host = !text.starts_with("cannot ");
    let named = text.split([' ', '"', '\'']).filter(move |word| host && word.starts_with('/'));
    named.map(|word| PathBuf::from(word.trim_end_matches([':', ',', ';', ')'])))
}

fn is_device(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|found| found.file_type().is_char_device())
}

/// Says so if the file system of `place` has no room, in bytes or in inodes.
pub fn full(place: &Path) -> Option<Explained> {
    let (part, facts) = facts::file_system(place)?;
    let mount = facts::mount_point(&part).unwrap_or(part);
    let shown = mount.display();
    if facts.f_blocks > 0 && free_bytes(&facts) < FULL_BYTES {
        let cause = format!("no space is left on {shown}");
        return Some(freeing(Explained::new(Code::DiskSpace, cause)));
    }
    if has_inodes(&facts) && facts.f_favail < FULL_INODES {
        let cause = format!("no inode is left on {shown}, of {}: too many files", facts.f_files);
        return Some(freeing(Explained::new(Code::Inodes, cause)));
    }
    None
}

/// Bytes that an ordinary user may still write.
pub fn free_bytes(facts: &StatVfs) -> u64 {
    facts.f_bavail.saturating_mul(facts.f_frsize)
}

/// Whether the file system has a fixed number of inodes (btrfs, for one, has not).
pub fn has_inodes(facts: &StatVfs) -> bool {
    facts.f_files > 0
}

/// How room is made.
pub fn freeing(explained: Explained) -> Explained {
    explained
        .you("rbox rm $(rbox ps -aq -f status=exited)")
        .you("rbox rmi IMAGE   # those of 'rbox images' you do not need")
}

/// Says so if the file system of `place` is read-only.
pub fn read_only(place: &Path) -> Option<Explained> {
    let (part, facts) = facts::file_system(place)?;
    if !facts.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return None;
    }
    let mount = facts::mount_point(&part).unwrap_or(part);
    Some(
        Explained::new(Code::ReadOnly, format!("{} is mounted read-only", mount.display()))
            .administrator(format!("mount -o remount,rw {}", shell_path(&mount))),
    )
}

fn quota(place: &Path) -> Explained {
    let mount = facts::file_system(place).and_then(|(part, _)| facts::mount_point(&part));
    let cause = format!("your disk quota is used up on {}", mount.unwrap_or_else(|| place.to_owned()).display());
    freeing(Explained::new(Code::DiskQuota, cause))
}

/// The kernel says "no space left" of its own tables too.
fn kernel_limit() -> Explained {
    let kinds = ["user", "pid", "mnt", "net", "ipc", "uts", "cgroup"];
    let names = kinds.map(|kind| format!("user.max_{kind}_namespaces"));
    match names.iter().find(|name| facts::sysctl_number(name) == Some(0)) {
        Some(name) if name.contains("max_user_") => user_namespaces::refusal(Errno::NOSPC),
        Some(name) => {
            Explained::new(Code::KernelLimits, format!("{name} is 0")).administrator(format!("sysctl -w {name}=15000"))
        }
        None => Explained::new(
            Code::KernelLimits,
            "the disks have room; left as suspects: the limits of namespaces (sysctl user), mounts (fs.mount-max) and watches (fs.inotify)",
        ),
    }
}

fn open_files() -> Explained {
    let limits = getrlimit(Resource::Nofile);
    let number = |limit: Option<u64>| limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
    let (soft, hard) = (number(limits.current), number(limits.maximum));
    let explained = Explained::new(Code::OpenFiles, format!("a process may open {soft} files (at most {hard})"));
    if limits.current < limits.maximum {
        explained.you(format!("ulimit -n {hard}"))
    } else {
        explained.administrator(limit_line("nofile", 524_288))
    }
}

/// The line that raises a limit for the user's next login (limits.conf(5)).
pub fn limit_line(item: &str, value: u64) -> String {
    format!("echo '{} - {item} {value}' >>/etc/security/limits.d/rbox.conf", facts::user_name())
}

fn open_files_of_all() -> Explained {
    let maximum = facts::sysctl("fs.file-max").unwrap_or_default();
    Explained::new(Code::KernelLimits, format!("all processes together have fs.file-max ({maximum}) files open"))
        .administrator("sysctl -w fs.file-max=9223372036854775807")
}

/// How many processes and threads the user has, and how many it may have; None without a limit.
pub fn processes() -> Option<(u64, u64)> {
    let limit = getrlimit(Resource::Nproc).current?;
    let uid = rustix::process::getuid().as_raw();
    let entries = std::fs::read_dir("/proc").ok()?.flatten();
    let own = entries.filter(|entry| {
        let name = entry.file_name();
        name.as_encoded_bytes().iter().all(u8::is_ascii_digit)
            && entry.metadata().is_ok_and(|metadata| metadata.uid() == uid)
    });
    let threads = |entry: std::fs::DirEntry| {
        let status = facts::text(&entry.path().join("status"))?;
        status.lines().find_map(|line| line.strip_prefix("Threads:"))?.trim().parse::<u64>().ok()
    };
    Some((own.filter_map(threads).sum(), limit))
}

/// Says so if the user's processes, or its cgroup's, are as many as allowed.
pub fn processes_used_up() -> Option<Explained> {
    let explained = |cause: String| Explained::new(Code::Processes, cause);
    if let Some((used, limit)) = processes()
        && used + FULL_PROCESSES > limit
    {
        return Some(
            explained(format!("{} has {used} processes and threads, and may have {limit}", facts::user_name()))
                .administrator(limit_line("nproc", 65_536)),
        );
    }
    let (used, limit) = cgroup_processes()?;
    (used + FULL_PROCESSES > limit).then(|| {
        explained(format!("the cgroup has {used} processes and threads, and may have {limit} (pids.max)"))
            .advice("raise TasksMax= of the unit or the session that rbox runs in")
    })
}

/// The tightest limit of processes among this process's cgroups (version 2), and what is used of it.
pub fn cgroup_processes() -> Option<(u64, u64)> {
    let own = facts::text(Path::new("/proc/self/cgroup"))?;
    let path = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    let directory = Path::new("/sys/fs/cgroup").join(path.trim_start_matches('/'));
    let number = |file: PathBuf| facts::text(&file)?.parse::<u64>().ok();
    directory
        .ancestors()
        .take_while(|part| part.starts_with("/sys/fs/cgroup"))
        .filter_map(|part| Some((number(part.join("pids.current"))?, number(part.join("pids.max"))?)))
        .min_by_key(|(used, limit)| limit.saturating_sub(*used))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_errno_is_found_in_the_text() {
        let places = [PathBuf::from("/")];
        assert_eq!(in_text("write x: Permission denied (os error 13)", &places), None);
        assert_eq!(in_text("no errno at all", &places), None);
        assert_eq!(in_text("registry says: (os error x)", &places), None);
        let explained = in_text("open /x/y: Too many open files (os error 24)", &places).unwrap();
        assert_eq!(explained.code, Code::OpenFiles);
        // The disks here have room, so it is not said that they have none.
        let explained = in_text("write /proc: No space left on device (os error 28)", &places).unwrap();
        assert_ne!(explained.code, Code::DiskSpace);
        // Nothing is read-only at the root of a test machine unless it really is.
        let is = |place: &str| read_only(Path::new(place)).is_some();
        assert_eq!(in_text("write: Read-only file system (os error 30)", &places).is_some(), is("/"));
    }

    #[test]
    fn paths_of_the_text_come_first() {
        let places = [PathBuf::from("/store")];
        let found: Vec<PathBuf> = all_places("write \"/a/b\": open /c/d: no", &places).collect();
        assert_eq!(found, ["/a/b", "/c/d", "/store"].map(PathBuf::from));
        let found: Vec<PathBuf> = all_places("cannot make the mount point /usr/x: no", &places).collect();
        assert_eq!(found, [PathBuf::from("/store")], "a path in a container");
    }

    #[test]
    fn processes_are_counted() {
        if let Some((used, limit)) = processes() {
            assert!(used >= 1 && limit >= 1);
        }
    }
}
