//! A running job seen from its client: its answer, and its end.

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::job::Unpacked;

/// The longest answer, in bytes.
pub const ANSWER_MAX: u64 = 64 << 10;
/// How long an abandoned job is given to notice that its input ended.
const ABANDON: Duration = Duration::from_secs(2);

/// What an answer says; the text of a failure is the worker's.
pub fn parse(answer: &[u8]) -> Result<Unpacked, String> {
    serde_json::from_slice(answer).unwrap_or_else(|_| Err("the unpacking process died".to_owned()))
}

/// Whether a worker's words tell of a full disk: it has only the C library's for it.
pub fn is_full(why: &str) -> bool {
    why.contains("No space left on device") || why.contains("Disk quota exceeded")
}

/// Waits until a job whose input was closed is gone, so that it does not write into a directory
/// being removed.
pub fn wait_for_end(result: impl AsFd) {
    let until = Instant::now() + ABANDON;
    let mut ignored = [0; 512];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let (Ok(timeout), false) = (Timespec::try_from(left), left.is_zero()) else { return };
        match poll(&mut [PollFd::new(&result, PollFlags::IN)], Some(&timeout)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(_) => return,
        }
        match rustix::io::read(&result, &mut ignored) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}
