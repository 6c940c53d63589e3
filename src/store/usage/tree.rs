//! What a directory tree takes on disk.

use std::collections::HashSet;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

/// The unit of `st_blocks`.
const BLOCK: u64 = 512;

/// What a tree takes, as far as it could be seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// Blocks of all files and directories in bytes, of a file with several names once.
    pub bytes: u64,
    /// False when a directory could not be looked into: it belongs to a mapped id.
    pub complete: bool,
}

/// Measures a tree or a single file without following links or leaving its file system. What
/// vanishes meanwhile counts nothing.
pub fn measure(top: &Path) -> io::Result<Tree> {
    let stat = match rustix::fs::statat(CWD, top, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        Err(Errno::NOENT) => return Ok(Tree { bytes: 0, complete: true }),
        Err(error) => return Err(error.into()),
    };
    let mut walk = Walk { device: stat.st_dev, linked: HashSet::new(), tree: Tree { bytes: 0, complete: true } };
    walk.count(&stat);
    if FileType::from_raw_mode(stat.st_mode).is_dir() {
        walk.all_below(top)?;
    }
    Ok(walk.tree)
}

/// The bytes that an inode's blocks take.
pub fn blocks(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or(0) * BLOCK
}

struct Walk {
    device: u64,
    /// Inodes of several names that were seen.
    linked: HashSet<u64>,
    tree: Tree,
}

/// A directory on the way down.
struct Level {
    inode: u64,
    /// Directories in it that are still to be visited.
    pending: Vec<CString>,
}

impl Walk {
    fn count(&mut self, stat: &Stat) {
        let directory = FileType::from_raw_mode(stat.st_mode).is_dir();
        if directory || stat.st_nlink < 2 || self.linked.insert(stat.st_ino) {
            self.tree.bytes += blocks(stat);
        }
    }

    /// Goes through the tree with one open directory, however deep it is.
    fn all_below(&mut self, top: &Path) -> io::Result<()> {
        let Some((mut here, level)) = self.enter(CWD, top)? else { return Ok(()) };
        let mut levels = vec![level];
        while let Some(level) = levels.last_mut() {
            if let Some(name) = level.pending.pop() {
                if let Some((inner, level)) = self.enter(here.as_fd(), name.as_c_str())? {
                    here = inner;
                    levels.push(level);
                }
                continue;
            }
            levels.pop();
            let Some(above) = levels.last() else { break };
            here = rustix::fs::openat(here, c"..", FLAGS, Mode::empty())?;
            if rustix::fs::fstat(&here)?.st_ino != above.inode {
                // It was moved: what is left of the tree lies elsewhere.
                self.tree.complete = false;
                break;
            }
        }
        Ok(())
    }

    /// Counts what is in a directory; None when it cannot be looked into.
    fn enter(&mut self, at: impl AsFd, name: impl rustix::path::Arg) -> io::Result<Option<(OwnedFd, Level)>> {
        let here = match rustix::fs::openat(at, name, FLAGS, Mode::empty()) {
            Ok(here) => here,
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::ACCESS | Errno::PERM) => {
                self.tree.complete = false;
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let mut level = Level { inode: rustix::fs::fstat(&here)?.st_ino, pending: Vec::new() };
        for entry in Dir::read_from(&here)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            match rustix::fs::statat(&here, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if stat.st_dev != self.device => {}
                Ok(stat) => {
                    self.count(&stat);
                    if FileType::from_raw_mode(stat.st_mode).is_dir() {
                        level.pending.push(name.to_owned());
                    }
                }
                Err(Errno::NOENT) => {}
                Err(Errno::ACCESS | Errno::PERM) => self.tree.complete = false,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Some((here, level)))
    }
}

const FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;

    fn du(path: &Path) -> u64 {
        let output = Command::new("du").args(["-s", "--block-size=1"]).arg(path).output().unwrap();
        String::from_utf8(output.stdout).unwrap().split('\t').next().unwrap().parse().unwrap()
    }

    #[test]
    fn a_tree_takes_what_du_says() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::create_dir_all(path("a/b/c")).unwrap();
        std::fs::write(path("a/b/file"), [1; 100_000]).unwrap();
        std::fs::hard_link(path("a/b/file"), path("a/link")).unwrap();
        std::fs::hard_link(path("a/b/file"), path("again")).unwrap();
        std::os::unix::fs::symlink("/", path("a/root")).unwrap();
        std::fs::File::create(path("sparse")).unwrap().set_len(1 << 30).unwrap();
        for n in 0..300 {
            std::fs::write(path(&format!("a/b/c/{n}")), "x").unwrap();
        }
        let tree = measure(directory.path()).unwrap();
        assert_eq!(tree, Tree { bytes: du(directory.path()), complete: true });
        assert!(tree.bytes < 10 << 20);
        assert_eq!(measure(&path("again")).unwrap().bytes, du(&path("again")));
        assert_eq!(measure(&path("absent")).unwrap(), Tree { bytes: 0, complete: true });
    }

    #[test]
    fn depth_is_no_limit() {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let mut here = rustix::fs::open(directory.path(), FLAGS, Mode::empty()).unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&here, c"deeper", Mode::RWXU).unwrap();
            here = rustix::fs::openat(&here, c"deeper", FLAGS, Mode::empty()).unwrap();
        }
        assert!(measure(directory.path()).unwrap().complete);
        crate::store::remove::remove_tree(directory.path()).unwrap();
    }

    #[test]
    fn what_cannot_be_looked_into_is_said() {
        if rustix::process::geteuid().is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let closed = directory.path().join("closed");
        std::fs::create_dir(&closed).unwrap();
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o000)).unwrap();
        assert!(!measure(directory.path()).unwrap().complete);
    }
}
