//! `logs --follow`: waits for logs to grow (inotify) and for containers to end.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::Result;
use jiff::Timestamp;
use nix::poll::PollTimeout;
use nix::sys::inotify::AddWatchFlags;

use super::printer::Printer;
use super::{Followed, Reading, print_new};
use crate::cmd::changes::{Audience, Changes};
use crate::store::containers::Container;
use crate::store::fs;

/// Longest wait in milliseconds: what wakes nobody up is found by then.
const LONGEST: i64 = 1000;
/// Wait when a supervisor cannot be watched.
const UNWATCHED: i64 = 100;
/// How long the journal may take to show what was written to it.
const JOURNAL: Duration = Duration::from_millis(500);

/// Prints the logs until no container runs any more, `--until` is past or nobody reads any more.
pub fn follow<O: Write + AsFd, E: Write>(
    all: &mut [Followed],
    until: Option<Timestamp>,
    printer: &mut Printer<O, E>,
) -> Result<()> {
    // What is open by now is read to its end, even where the container is removed meanwhile.
    print_new(all, printer)?;
    let changes = changes_of(all)?;
    let mut ended = None;
    loop {
        // First the status, then the log: what was written before the end is there when it ended.
        let mut running = false;
        for one in all.iter_mut() {
            running |= match one.container.refresh() {
                Ok(()) => goes_on(&one.container),
                Err(_) if !fs::exists(one.container.directory()) => false,
                Err(error) => return Err(error),
            };
        }
        let now = Instant::now();
        if print_new(all, printer)? > 0 && ended.is_some() {
            ended = Some(now);
        }
        printer.flush()?;
        let journal = all.iter().any(|one| one.reading.descriptor().is_some());
        let silent = now.duration_since(*ended.get_or_insert(now)) >= JOURNAL;
        if running {
            ended = None;
        }
        let over = !running && (silent || !journal);
        if over || until.is_some_and(|until| until < Timestamp::now()) {
            return Ok(());
        }
        if wait(&changes, all, printer.out.get_ref().as_fd(), until)? == Audience::Gone {
            return Ok(());
        }
    }
}

/// Whether more may be written: it runs, or is about to again.
fn goes_on(container: &Container) -> bool {
    container.is_running() || container.is_restarting()
}

/// Watches the directories of logs, in which files are written, created and replaced.
fn changes_of(all: &[Followed]) -> io::Result<Changes> {
    let changes = Changes::new()?;
    for one in all {
        let Reading::Files(source) = &one.reading else { continue };
        let Some(directory) = source.path().parent() else { continue };
        let events = AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_DELETE_SELF;
        match changes.watch(directory, events) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            watched => watched?,
        }
    }
    Ok(changes)
}

/// Waits for something to happen, such as that nobody reads `out` any more.
fn wait(changes: &Changes, all: &[Followed], out: BorrowedFd<'_>, until: Option<Timestamp>) -> io::Result<Audience> {
    let process = |one: &Followed| one.container.state.supervisor()?.open().ok().flatten();
    let running = all.iter().filter(|one| goes_on(&one.container));
    let supervisors: Vec<Option<OwnedFd>> = running.map(process).collect();
    let mut wait = if supervisors.iter().any(Option::is_none) || supervisors.is_empty() { UNWATCHED } else { LONGEST };
    if let Some(until) = until {
        let left = until.as_millisecond() - Timestamp::now().as_millisecond();
        wait = wait.min(left.max(0) + 1);
    }
    let processes = supervisors.iter().flatten().map(AsFd::as_fd);
    let journals = all.iter().filter_map(|one| one.reading.descriptor());
    let timeout = PollTimeout::from(u16::try_from(wait).unwrap_or(u16::MAX));
    changes.wait(out, processes.chain(journals), timeout)
}
