//! `logs --follow`: waits for the log to grow (inotify) and for the container to end.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::Result;
use jiff::Timestamp;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::Printer;
use super::source::Source;
use crate::store::containers::Container;

/// Longest wait in milliseconds: what wakes nobody up is found by then.
const LONGEST: i64 = 1000;
/// Wait when the supervisor cannot be watched.
const UNWATCHED: i64 = 100;

/// Prints the log until the container has ended, `--until` is past or nobody reads any more.
pub fn follow<O: Write + AsFd, E: Write>(
    container: &mut Container,
    source: &mut Source,
    until: Option<Timestamp>,
    printer: &mut Printer<O, E>,
) -> Result<()> {
    let watch = Watch::new(source)?;
    loop {
        // First the status, then the log: what was written before the end is there when it ended.
        container.refresh()?;
        let running = container.is_running();
        source.read(|entry| printer.print(entry))?;
        printer.flush()?;
        if !running || until.is_some_and(|until| until < Timestamp::now()) {
            return Ok(());
        }
        let supervisor = container.state.supervisor().and_then(|process| process.open().ok().flatten());
        if watch.wait(supervisor.as_ref(), printer.out.get_ref().as_fd(), until)? == Reader::Gone {
            return Ok(());
        }
    }
}

/// Whether somebody still reads what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    There,
    Gone,
}

/// Watches a log's directory, in which the file is written, created and replaced.
struct Watch {
    inotify: Inotify,
}

impl Watch {
    fn new(source: &Source) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        if let Some(directory) = source.path().parent() {
            let events = AddWatchFlags::IN_MODIFY
                | AddWatchFlags::IN_CREATE
                | AddWatchFlags::IN_MOVED_TO
                | AddWatchFlags::IN_DELETE_SELF;
            inotify.add_watch(directory, events)?;
        }
        Ok(Self { inotify })
    }

    /// Waits for something to happen, such as that nobody reads `out` any more.
    fn wait(&self, supervisor: Option<&OwnedFd>, out: BorrowedFd, until: Option<Timestamp>) -> io::Result<Reader> {
        let mut wait = if supervisor.is_some() { LONGEST } else { UNWATCHED };
        if let Some(until) = until {
            let left = until.as_millisecond() - Timestamp::now().as_millisecond();
            wait = wait.min(left.max(0) + 1);
        }
        let mut watched =
            vec![PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN), PollFd::new(out, PollFlags::empty())];
        watched.extend(supervisor.map(|process| PollFd::new(process.as_fd(), PollFlags::POLLIN)));
        match poll(&mut watched, PollTimeout::from(u16::try_from(wait).unwrap_or(u16::MAX))) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let broken =
            watched[1].revents().is_some_and(|events| events.intersects(PollFlags::POLLERR | PollFlags::POLLHUP));
        // Only that there was something matters.
        while let Ok(events) = self.inotify.read_events() {
            if events.is_empty() {
                break;
            }
        }
        Ok(if broken { Reader::Gone } else { Reader::There })
    }
}
