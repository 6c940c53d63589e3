//! Our own executable, out of a container's reach (invariant I7, CVE-2019-5736).
//!
//! A container whose root is mapped to the owner of the rbox binary could open /proc/PID/exe of a
//! process of ours inside it for writing. Such a process therefore runs from a read-only mount of
//! the binary that no mount namespace holds, or from a sealed copy in memory.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};

use super::mounts::{self, Options};
use super::setup::{Doing, SetupError};
use crate::sys::mount::attr;

const SELF: &str = "/proc/self/exe";

/// Whether our executable may be seen and written by an id inside: it stays in the container as
/// the init, or it does not belong to a root that is outside every map.
pub fn needed(stays: bool) -> bool {
    // Read where ids are still the host's would be clearer, but unmapped root reads as the overflow
    // id here, which is what is asked: whoever is not that could be mapped.
    let foreign =
        |uid| std::fs::read_to_string("/proc/sys/kernel/overflowuid").is_ok_and(|text| text.trim().parse() == Ok(uid));
    let safe = std::fs::metadata(SELF).is_ok_and(|metadata| foreign(metadata.uid()) && metadata.mode() & 0o022 == 0);
    stays || !safe
}

/// A descriptor to execute instead of our executable.
pub fn open() -> Result<OwnedFd, SetupError> {
    let path = std::fs::read_link(SELF).doing("find our own executable")?;
    read_only_mount(&path).or_else(|_| memory_copy()).doing("seal our own executable")
}

fn read_only_mount(path: &Path) -> io::Result<OwnedFd> {
    let options = Options { attributes: attr::RDONLY | attr::NOSUID | attr::NODEV, bind: true, ..Options::default() };
    let clone = mounts::clone_tree(path, &options)?;
    let stat = rustix::fs::statat(&clone, c"", rustix::fs::AtFlags::EMPTY_PATH)?;
    let own = std::fs::metadata(Path::new(SELF))?;
    if (stat.st_dev, stat.st_ino) != (own.dev(), own.ino()) {
        return Err(io::Error::other("the executable was replaced"));
    }
    // The clone's own descriptor keeps it a mount, whose attributes a process with CAP_SYS_ADMIN in
    // its own namespaces may change. Closing it leaves a mount that nothing can be done to but read.
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    Ok(rustix::fs::open(format!("/proc/self/fd/{}", clone.as_raw_fd()), flags, Mode::empty())?)
}

fn memory_copy() -> io::Result<OwnedFd> {
    let memory = rustix::fs::memfd_create(c"rbox", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    io::copy(&mut File::open(SELF)?, &mut File::from(memory.try_clone()?))?;
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&memory, seals)?;
    Ok(memory)
}
