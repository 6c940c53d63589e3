//! The walk in place of openat2(2): component by component, each pinned before it is judged. `..` leads
//! to the directory that the walk came from, whose descriptor it holds, wherever that was moved.
//!
//! Unlike the kernel it sets off no automounts, and it heeds neither `nosymfollow` nor
//! `fs.protected_symlinks`, as no link leads out.

use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags, Statx, StatxFlags};
use rustix::io::Errno;

/// As many links as the kernel follows (path_resolution(7)).
const LINKS_MAX: u32 = 40;
/// Bytes of a path, its end included.
const PATH_MAX: usize = 4096;
const HANDLE: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
/// The inode of a procfs's root directory.
const PROC_ROOT: u64 = 1;

/// Opens `path` as openat2 would.
pub(super) fn open(top: BorrowedFd<'_>, path: &CStr, flags: OFlags, resolve: ResolveFlags) -> Result<OwnedFd, Errno> {
    // Few paths go up, and a deep one could need more descriptors than there are.
    for hold in [false, true] {
        let mut walk = Walk::new(top, flags, resolve, hold)?;
        walk.take_up(path.to_bytes())?;
        if let Some(opened) = walk.run()? {
            return Ok(opened);
        }
    }
    Err(Errno::AGAIN)
}

struct Walk<'a> {
    top: BorrowedFd<'a>,
    flags: OFlags,
    resolve: ResolveFlags,
    /// Whether all directories on the way stay open.
    hold: bool,
    /// The directories below the top that the walk went down, or the last of them.
    above: Vec<OwnedFd>,
    rest: VecDeque<CString>,
    /// A slash follows the last component: it must be a directory, and a link there is followed.
    slash: bool,
    links: u32,
    /// The mount that may not be left.
    mount: Option<u64>,
}

impl<'a> Walk<'a> {
    fn new(top: BorrowedFd<'a>, flags: OFlags, resolve: ResolveFlags, hold: bool) -> Result<Self, Errno> {
        let mount = match resolve.contains(ResolveFlags::NO_XDEV) {
            true => Some(look(top)?.stx_mnt_id),
            false => None,
        };
        let (above, rest) = (Vec::new(), VecDeque::new());
        Ok(Self { top, flags, resolve, hold, above, rest, slash: false, links: 0, mount })
    }

    fn here(&self) -> BorrowedFd<'_> {
        self.above.last().map_or(self.top, AsFd::as_fd)
    }

    /// Puts the components of a path, or of a link's target, before those that are left.
    fn take_up(&mut self, path: &[u8]) -> Result<(), Errno> {
        match path {
            [] => return Err(Errno::NOENT),
            _ if path.len() >= PATH_MAX => return Err(Errno::NAMETOOLONG),
            [b'/', ..] if self.resolve.contains(ResolveFlags::BENEATH) => return Err(Errno::XDEV),
            [b'/', ..] => self.above.clear(),
            _ => {}
        }
        self.slash |= self.rest.is_empty() && path.ends_with(b"/");
        for part in path.split(|&byte| byte == b'/').filter(|part| !part.is_empty()).rev() {
            self.rest.push_front(CString::new(part).map_err(|_| Errno::INVAL)?);
        }
        Ok(())
    }

    /// None if the path goes up and the directories above were not held.
    fn run(mut self) -> Result<Option<OwnedFd>, Errno> {
        while let Some(name) = self.rest.pop_front() {
            match name.to_bytes() {
                b"." => self.search()?,
                b".." if !self.hold => return Ok(None),
                b".." => self.go_up()?,
                _ => {
                    if let Some(opened) = self.step(name)? {
                        return Ok(Some(opened));
                    }
                }
            }
        }
        rustix::fs::openat(self.here(), c".", self.flags, Mode::empty()).map(Some)
    }

    /// `.` and `..` are names like others: whoever may not search the directory finds none.
    fn search(&self) -> Result<(), Errno> {
        rustix::fs::openat(self.here(), c".", HANDLE | OFlags::DIRECTORY, Mode::empty()).map(drop)
    }

    fn go_up(&mut self) -> Result<(), Errno> {
        self.search()?;
        match self.above.pop() {
            None if self.resolve.contains(ResolveFlags::BENEATH) => Err(Errno::XDEV),
            _ => Ok(()),
        }
    }

    /// Goes to `name`, follows it, or, where it is the last, opens it.
    fn step(&mut self, name: CString) -> Result<Option<OwnedFd>, Errno> {
        let pinned = rustix::fs::openat(self.here(), &name, HANDLE, Mode::empty())?;
        let found = look(pinned.as_fd())?;
        self.stay(&found)?;
        let kind = FileType::from_raw_mode(found.stx_mode.into());
        let last = self.rest.is_empty();
        if kind == FileType::Symlink && (!last || self.slash || !self.flags.contains(OFlags::NOFOLLOW)) {
            return self.follow(&pinned, &found).map(|()| None);
        }
        let directory = !last || self.slash || self.flags.contains(OFlags::DIRECTORY);
        match kind {
            FileType::Directory if !last => {
                if !self.hold {
                    self.above.clear();
                }
                self.above.push(pinned);
                Ok(None)
            }
            FileType::Directory => self.open_last(pinned, name),
            _ if directory => Err(Errno::NOTDIR),
            FileType::Symlink if !self.flags.contains(OFlags::PATH) => Err(Errno::LOOP),
            _ => self.open_last(pinned, name),
        }
    }

    /// Opens the last component, which was pinned and is no link to be followed. None if it is something
    /// else by now, and has to be looked at again.
    fn open_last(&mut self, pinned: OwnedFd, name: CString) -> Result<Option<OwnedFd>, Errno> {
        if self.flags.contains(OFlags::PATH) {
            return Ok(Some(pinned));
        }
        match rustix::fs::openat(self.here(), &name, self.flags | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(opened) => {
                self.stay(&look(opened.as_fd())?)?;
                Ok(Some(opened))
            }
            Err(Errno::LOOP | Errno::NOTDIR) => {
                self.count()?;
                self.rest.push_front(name);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Goes on with a link's target.
    fn follow(&mut self, link: &OwnedFd, found: &Statx) -> Result<(), Errno> {
        self.count()?;
        if self.resolve.contains(ResolveFlags::NO_SYMLINKS) {
            return Err(Errno::LOOP);
        }
        let target = rustix::fs::readlinkat(link, c"", Vec::new())?.into_bytes();
        if self.is_magic(link, found, target.len())? {
            let refused = self.resolve.contains(ResolveFlags::NO_MAGICLINKS);
            return Err(if refused { Errno::LOOP } else { Errno::XDEV });
        }
        self.take_up(&target)
    }

    fn count(&mut self) -> Result<(), Errno> {
        self.links += 1;
        if self.links > LINKS_MAX { Err(Errno::LOOP) } else { Ok(()) }
    }

    /// Whether a link leads to what a process has (/proc/PID/exe and its like), not to what it says.
    /// Plain links of procfs have the length of their text; those in its root, `self` among them, are all
    /// plain.
    fn is_magic(&self, link: &OwnedFd, found: &Statx, length: usize) -> Result<bool, Errno> {
        if rustix::fs::fstatfs(link)?.f_type != PROC_SUPER_MAGIC || found.stx_size == length as u64 {
            return Ok(false);
        }
        Ok(look(self.here())?.stx_ino != PROC_ROOT)
    }

    fn stay(&self, found: &Statx) -> Result<(), Errno> {
        match self.mount {
            Some(mount) if mount != found.stx_mnt_id => Err(Errno::XDEV),
            _ => Ok(()),
        }
    }
}

fn look(file: BorrowedFd<'_>) -> Result<Statx, Errno> {
    let wanted = StatxFlags::TYPE | StatxFlags::INO | StatxFlags::SIZE | StatxFlags::MNT_ID;
    let found = rustix::fs::statx(file, c"", AtFlags::EMPTY_PATH, wanted)?;
    // Since Linux 5.8.
    if StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::MNT_ID) {
        Ok(found)
    } else {
        Err(Errno::NOSYS)
    }
}
