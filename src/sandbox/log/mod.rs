//! The container's log: what it writes, cut into lines, goes to files, to the systemd journal or to a
//! syslog server.
//!
//! Nothing here fails its caller or waits for others for long: a full disk or a receiver that is gone
//! costs messages, which are counted, never the container.

mod attributes;
mod compress;
mod file;
mod journald;
mod json;
mod k8s;
mod loss;
mod names;
mod outbox;
mod plan;
mod remote;
mod split;
mod syslog;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use self::file::LogFile;
use self::loss::{Loss, Record};
use self::remote::Remote;
use self::split::Splitter;

pub use self::attributes::journal_name;
pub use self::loss::Lost;
pub use self::plan::{FileFormat, FilePlan, LogPlan, Receiver, RemotePlan, Server};

/// How long the end of a container waits for a receiver that has not taken everything.
const PARTING: Duration = Duration::from_secs(2);

/// Which stream a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// A line, or a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece<'a> {
    stream: Stream,
    /// Without the newline.
    text: &'a [u8],
    /// The line ends here; otherwise it goes on in the stream's next piece.
    ends: bool,
}

/// When something was read, in the forms that drivers need, each written once for all of its lines.
#[derive(Debug)]
struct Stamp {
    time: Timestamp,
    /// RFC 3339 in UTC, with nine decimals and no zone.
    text: String,
}

impl Stamp {
    fn now() -> Self {
        let mut stamp = Self { time: Timestamp::UNIX_EPOCH, text: String::new() };
        stamp.renew();
        stamp
    }

    fn renew(&mut self) {
        let now = Timestamp::now();
        if now.as_second() == self.time.as_second() && !self.text.is_empty() {
            self.text.truncate("2026-11-22T00:58:29.".len());
        } else {
            self.text.clear();
            // Writing to a String cannot fail.
            let _ = write!(self.text, "{}", now.strftime("%Y-%m-%dT%H:%M:%S."));
        }
        let _ = write!(self.text, "{:09}", now.subsec_nanosecond());
        self.time = now;
    }
}

/// What pieces go to.
trait Driver: std::fmt::Debug {
    /// Takes a piece; it may be kept until [`Driver::flush`].
    fn take(&mut self, piece: Piece<'_>, stamp: &Stamp);

    /// Passes on what was taken, as far as that goes without waiting.
    fn flush(&mut self, loss: &mut Loss);

    /// Whether more should come later: the receiver is busy, and makes progress.
    fn is_busy(&self, now: Instant) -> bool;

    /// What to wait for until it can be written to.
    fn outlet(&self) -> Option<BorrowedFd<'_>>;

    /// When to flush even if nothing was written.
    fn deadline(&self) -> Option<Instant>;

    /// A child may have ended.
    fn reap(&mut self) {}

    /// Bytes that wait.
    fn waiting(&self) -> usize {
        0
    }

    /// Gives up what waits.
    fn abandon(&mut self, _loss: &mut Loss) {}
}

/// The log of a running container.
#[derive(Debug)]
pub struct Log {
    drivers: Vec<Box<dyn Driver>>,
    splitter: Splitter,
    stamp: Stamp,
    loss: Record,
}

impl Log {
    /// Opens the log for appending, and connects where it goes. `pid` is this process on the host.
    pub fn open(plan: &LogPlan, pid: i32) -> io::Result<Self> {
        let mut drivers: Vec<Box<dyn Driver>> = Vec::new();
        if let Some(remote) = &plan.remote {
            drivers.push(Box::new(Remote::open(remote, pid)?));
        }
        if let Some(file) = &plan.file {
            let open = LogFile::open(file);
            let said = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", file.path.display()));
            drivers.push(Box::new(open.map_err(said)?));
        }
        Ok(Self { drivers, splitter: Splitter::default(), stamp: Stamp::now(), loss: Record::open(plan.loss.clone()) })
    }

    /// Takes what the container wrote; whole lines are passed on at once.
    pub fn write(&mut self, stream: Stream, bytes: &[u8]) {
        self.stamp.renew();
        let Self { drivers, splitter, stamp, loss } = self;
        splitter.feed(stream, bytes, &mut |piece| drivers.iter_mut().for_each(|driver| driver.take(piece, stamp)));
        drivers.iter_mut().for_each(|driver| driver.flush(&mut loss.loss));
        loss.save();
    }

    /// Writes unfinished lines, when the container has ended, and waits a moment for a receiver that
    /// has not taken everything.
    pub fn finish(&mut self) {
        self.stamp.renew();
        let Self { drivers, splitter, stamp, .. } = self;
        splitter.finish(&mut |piece| drivers.iter_mut().for_each(|driver| driver.take(piece, stamp)));
        let deadline = Instant::now() + PARTING;
        loop {
            self.tend();
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.drivers.iter().all(|driver| driver.waiting() == 0) {
                break;
            }
            let due = self.deadline().map(|at| at.saturating_duration_since(Instant::now()));
            remote::wait(self.outlets(), left.min(due.unwrap_or(left)));
        }
        for driver in &mut self.drivers {
            driver.abandon(&mut self.loss.loss);
        }
        self.loss.finish();
    }

    /// Whether the container's output should not be read just now: a receiver makes progress, but
    /// slower. It never stays so for long without progress.
    pub fn is_busy(&self, now: Instant) -> bool {
        self.drivers.iter().any(|driver| driver.is_busy(now))
    }

    /// Descriptors to wait for until they can be written to; then, and at the deadline, [`Log::tend`].
    pub fn outlets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.drivers.iter().filter_map(|driver| driver.outlet())
    }

    /// When there is something to do even if nothing is written.
    pub fn deadline(&self) -> Option<Instant> {
        self.drivers.iter().filter_map(|driver| driver.deadline()).chain(self.loss.deadline()).min()
    }

    /// Goes on with what waits.
    pub fn tend(&mut self) {
        self.drivers.iter_mut().for_each(|driver| driver.flush(&mut self.loss.loss));
        self.loss.save();
    }

    /// Looks whether a child of the log has ended.
    pub fn reap(&mut self) {
        self.drivers.iter_mut().for_each(|driver| driver.reap());
    }
}
