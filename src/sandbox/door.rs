//! How an invocation comes to attach to a container that it did not start.
//!
//! The supervisor listens on `ctl` in the container's directory. Its mode keeps other users out, but
//! not a container that was given a view of the store (`rootfs:/`, `-v $HOME:/home`): the root of a
//! container *is* the user to the kernel, and what a socket says of its peer cannot tell them apart.
//! So a client must show a key that it can only have read from the supervisor's memory, which the
//! kernel opens to the user outside and to nobody in a container (ptrace(2), access mode checking:
//! it takes capabilities over U).

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{MemfdFlags, Mode, OFlags, memfd_create};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, connect, socket_with};

use crate::store;
use crate::store::containers::ProcessIdentity;

/// Length of a key in bytes.
pub const KEY: usize = 32;
const NAME: &str = "rbox-key";

/// The listening side.
#[derive(Debug)]
pub struct Door {
    listener: OwnedFd,
    key: [u8; KEY],
    /// Where clients read the key.
    _shown: File,
}

impl Door {
    /// Guards `listener` by a new key.
    pub fn new(listener: OwnedFd) -> io::Result<Self> {
        let key: [u8; KEY] = store::fs::random_bytes()?;
        // Kernels before 6.3 know no second flag, later ones may demand it.
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::NOEXEC_SEAL;
        let memory = match memfd_create(NAME, flags) {
            Err(Errno::INVAL) => memfd_create(NAME, MemfdFlags::CLOEXEC)?,
            made => made?,
        };
        let mut shown = File::from(memory);
        shown.write_all(&key)?;
        Ok(Self { listener, key, _shown: shown })
    }

    /// What to poll for newcomers.
    pub fn listener(&self) -> &OwnedFd {
        &self.listener
    }

    /// The next connection of this user's. None: nobody waits, or a stranger was sent away.
    pub fn accept(&self) -> io::Result<Option<OwnedFd>> {
        let socket = match accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok(socket) => socket,
            Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // Not rustix's: to it there is no peer outside of our pid namespace.
        let peer = nix::sys::socket::getsockopt(&socket, nix::sys::socket::sockopt::PeerCredentials)?;
        Ok((peer.uid() == rustix::process::geteuid().as_raw()).then_some(socket))
    }

    /// Whether `shown` begins with the key; what follows it. Takes the same time for every wrong key.
    pub fn admit<'a>(&self, shown: &'a [u8]) -> Option<&'a [u8]> {
        let (key, rest) = shown.split_at_checked(KEY)?;
        let difference = key.iter().zip(&self.key).fold(0, |difference, (a, b)| difference | (a ^ b));
        (difference == 0).then_some(rest)
    }
}

/// The connecting side: a socket to the supervisor of the container in `directory`, and the key to
/// show first. None when nobody listens there.
pub fn knock(directory: &Path, supervisor: &ProcessIdentity) -> io::Result<Option<(OwnedFd, [u8; KEY])>> {
    // Through the directory's descriptor, whose /proc path is short enough for a socket address.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let handle = match rustix::fs::open(directory, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(None),
        opened => opened?,
    };
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/ctl", handle.as_raw_fd()))?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    match connect(&socket, &address) {
        Err(Errno::NOENT | Errno::CONNREFUSED) => return Ok(None),
        connected => connected?,
    }
    Ok(read_key(supervisor)?.map(|key| (socket, key)))
}

/// Reads the key from the supervisor's memory; None when it is gone.
fn read_key(supervisor: &ProcessIdentity) -> io::Result<Option<[u8; KEY]>> {
    let mut key = [0; KEY];
    let read = find_key(supervisor).and_then(|path| File::open(path)?.read_exact(&mut key));
    // Whatever was found counts only if it was that very process's, and not a later one's.
    match (supervisor.open()?, read) {
        (None, _) => Ok(None),
        (Some(_), Ok(())) => Ok(Some(key)),
        (Some(_), Err(error)) => Err(error),
    }
}

fn find_key(supervisor: &ProcessIdentity) -> io::Result<PathBuf> {
    let wanted = format!("/memfd:{NAME} (deleted)");
    for entry in std::fs::read_dir(format!("/proc/{}/fd", supervisor.pid.as_raw_nonzero()))? {
        let path = entry?.path();
        if std::fs::read_link(&path).is_ok_and(|target| target.as_os_str() == wanted.as_str()) {
            return Ok(path);
        }
    }
    Err(io::Error::new(io::ErrorKind::NotFound, "the supervisor takes no further clients"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{bind, listen};

    fn listener(directory: &Path) -> OwnedFd {
        let socket =
            socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
                .unwrap();
        let handle = File::open(directory).unwrap();
        bind(&socket, &SocketAddrUnix::new(format!("/proc/self/fd/{}/ctl", handle.as_raw_fd())).unwrap()).unwrap();
        listen(&socket, 1).unwrap();
        socket
    }

    #[test]
    fn only_who_can_read_the_supervisor_gets_in() {
        let parent = tempfile::tempdir().unwrap();
        // Longer than a socket's address can be.
        let directory = parent.path().join("d".repeat(200));
        std::fs::create_dir(&directory).unwrap();
        let own = ProcessIdentity::of(rustix::process::getpid()).unwrap();
        assert!(knock(&directory, &own).unwrap().is_none(), "nobody listens yet");

        let door = Door::new(listener(&directory)).unwrap();
        assert!(door.accept().unwrap().is_none(), "nobody knocked yet");
        let (_socket, key) = knock(&directory, &own).unwrap().unwrap();
        assert!(door.accept().unwrap().is_some());
        assert_eq!(door.admit(&[&key[..], b"more"].concat()), Some(&b"more"[..]));
        assert_eq!(door.admit(&key[..31]), None);
        let mut wrong = key;
        wrong[31] ^= 1;
        assert_eq!(door.admit(&wrong), None);

        drop(door);
        assert!(knock(&directory, &own).unwrap().is_none(), "nobody listens any more");
    }
}
