//! Waiting for files to change (inotify(7)), for those who print what changes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

/// Word of changes; what they were is for the files themselves to say.
pub struct Changes(Inotify);

/// Whether somebody still reads what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    There,
    Gone,
}

impl Changes {
    /// Of nothing yet.
    pub fn new() -> io::Result<Self> {
        Ok(Self(Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?))
    }

    /// Tells of these events of a directory, too.
    pub fn watch(&self, directory: &Path, events: AddWatchFlags) -> io::Result<()> {
        self.0.add_watch(directory, events)?;
        Ok(())
    }

    /// Forgets what was told so far.
    pub fn forget(&self) {
        while self.0.read_events().is_ok_and(|events| !events.is_empty()) {}
    }

    /// Waits for a change, for something to read from one of `others`, for the time, or until nobody reads
    /// `out` any more.
    pub fn wait<'a>(
        &'a self,
        out: BorrowedFd<'a>,
        others: impl Iterator<Item = BorrowedFd<'a>>,
        timeout: PollTimeout,
    ) -> io::Result<Audience> {
        let mut watched = vec![PollFd::new(out, PollFlags::empty()), PollFd::new(self.as_fd(), PollFlags::POLLIN)];
        watched.extend(others.map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN)));
        match poll(&mut watched, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        self.forget();
        let gone = PollFlags::POLLERR | PollFlags::POLLHUP;
        let is_gone = watched[0].revents().is_some_and(|events| events.intersects(gone));
        Ok(if is_gone { Audience::Gone } else { Audience::There })
    }
}

impl AsFd for Changes {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
