//! A place to unpack into, with neighbours that must not change.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};

use super::super::{Compression, UnpackJob, UnpackLimits, Unpacked, unpack_layer};

/// What a tree has at one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    pub mode: u32,
    pub owner: (u32, u32),
    pub mtime: (i64, i64),
    pub links: u64,
    /// Content of a file, target of a link.
    pub content: Vec<u8>,
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

/// Every path of a tree, relative to it, the tree itself as the empty path.
pub type Tree = BTreeMap<PathBuf, Node>;

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub fn tree(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let mut left = vec![root.to_owned()];
    while let Some(path) = left.pop() {
        let stat = fs::symlink_metadata(&path).unwrap();
        if stat.is_dir() {
            left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        tree.insert(path.strip_prefix(root).unwrap().to_owned(), node(&path, &stat));
    }
    tree
}

fn node(path: &Path, stat: &fs::Metadata) -> Node {
    let content = match () {
        () if stat.is_symlink() => fs::read_link(path).unwrap().as_os_str().as_bytes().to_vec(),
        () if stat.is_file() => fs::read(path).unwrap(),
        () => Vec::new(),
    };
    let links = if stat.is_file() { stat.nlink() } else { 0 };
    let (owner, mtime) = ((stat.uid(), stat.gid()), (stat.mtime(), stat.mtime_nsec()));
    Node { mode: stat.mode(), owner, mtime, links, content, xattrs: xattrs(path) }
}

fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut list = vec![0; 64 << 10];
    let length = rustix::fs::llistxattr(path, &mut list[..]).unwrap_or(0);
    let names = list[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty());
    let value = |name: &str| {
        let mut value = vec![0; 64 << 10];
        let length = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
        value[..length].to_vec()
    };
    names.map(|name| String::from_utf8(name.to_vec()).unwrap()).map(|name| (name.clone(), value(&name))).collect()
}

/// A target directory and a canary beside it.
pub struct Bench {
    top: tempfile::TempDir,
    canary: Tree,
    pub job: UnpackJob,
}

impl Bench {
    pub fn new() -> Self {
        let top = tempfile::tempdir().unwrap();
        let canary = top.path().join("canary");
        fs::create_dir_all(canary.join("directory")).unwrap();
        fs::write(canary.join("file"), "untouched").unwrap();
        fs::write(canary.join("directory/file"), "untouched").unwrap();
        symlink("file", canary.join("link")).unwrap();
        let target = top.path().join("target");
        fs::create_dir(&target).unwrap();
        let limits = UnpackLimits::default();
        let job = UnpackJob { compression: Compression::None, target, limits, single_id: !is_root() };
        Self { canary: tree(&canary), top, job }
    }

    pub fn canary(&self) -> String {
        self.top.path().join("canary").to_str().unwrap().to_owned()
    }

    pub fn diff(&self, path: &str) -> PathBuf {
        self.job.target.join("diff").join(path)
    }

    pub fn read(&self, path: &str) -> String {
        String::from_utf8(fs::read(self.diff(path)).unwrap()).unwrap()
    }

    pub fn exists(&self, path: &str) -> bool {
        fs::symlink_metadata(self.diff(path)).is_ok()
    }

    pub fn is_whiteout(&self, path: &str) -> bool {
        fs::symlink_metadata(self.diff(path)).is_ok_and(|stat| stat.file_type().is_char_device() && stat.rdev() == 0)
    }

    pub fn is_opaque(&self, path: &str) -> bool {
        let mut value = [0; 8];
        rustix::fs::lgetxattr(self.diff(path), "user.overlay.opaque", &mut value[..])
            .is_ok_and(|length| &value[..length] == b"y")
    }

    pub fn tree(&self) -> Tree {
        tree(&self.diff(""))
    }

    /// Unpacks, and checks that nothing outside changed.
    pub fn unpack(&self, bytes: impl AsRef<[u8]> + Send + 'static) -> Result<Unpacked, String> {
        self.unpack_from(Cursor::new(bytes))
    }

    pub fn unpack_from(&self, input: impl Read + Send + 'static) -> Result<Unpacked, String> {
        let outcome = unpack_layer(input, &self.job).map_err(|error| format!("{error:#}"));
        assert_eq!(tree(self.top.path().join("canary").as_path()), self.canary, "something outside changed");
        let beside: Vec<_> = fs::read_dir(&self.job.target).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(beside, ["diff"]);
        assert!(fs::symlink_metadata(self.diff("")).unwrap().is_dir());
        outcome
    }

    /// Unpacks what must be refused and returns why.
    pub fn refused(bytes: Vec<u8>) -> String {
        Self::new().unpack(bytes).unwrap_err()
    }
}
