//! Compresses files that are no longer written to, in a child, so that it is never in the way of
//! output. What a child has finished takes the file's place under its number of that moment.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use flate2::{Compression, GzBuilder};
use rustix::process::{Pid, Signal, WaitOptions, waitpid};

use super::names::{compressed, numbered, remove_if_present, with_suffix};
use crate::store::logs::Original;
use crate::sys::process::{self, Fork};

/// Bytes compressed at once.
const BLOCK: usize = 64 * 1024;
/// Text of a log compresses well with little effort.
const LEVEL: Compression = Compression::new(3);
/// The child gives way to all that is not idle.
const NICE: i32 = 15;

/// What compresses a log's files, one at a time.
#[derive(Debug)]
pub(super) struct Compressor {
    path: PathBuf,
    child: Option<Child>,
}

#[derive(Debug)]
struct Child {
    pid: Pid,
    /// Which file it reads. None: the file was dropped meanwhile.
    number: Option<u32>,
}

impl Compressor {
    /// Compresses what an earlier life of the container left.
    pub(super) fn new(path: &Path, count: u32) -> Self {
        let mut compressor = Self { path: path.to_owned(), child: None };
        let _ = remove_if_present(&compressor.temporary());
        for number in 1..count {
            // It ended between making the one and removing the other.
            if compressed(path, number).exists() {
                let _ = remove_if_present(&numbered(path, number));
            }
        }
        compressor.begin(count);
        compressor
    }

    /// All files of a log of `count` got the next number.
    pub(super) fn shifted(&mut self, count: u32) {
        if let Some(child) = &mut self.child {
            child.number = child.number.map(|number| number + 1).filter(|number| *number < count);
        }
        self.begin(count);
    }

    /// Looks whether the child has ended.
    pub(super) fn reap(&mut self, count: u32) {
        let Some(child) = &self.child else { return };
        let done = match waitpid(Some(child.pid), WaitOptions::NOHANG) {
            Ok(None) => return,
            Ok(Some((_, status))) => status.exit_status() == Some(0),
            // Somebody else has heard how it ended.
            Err(_) => false,
        };
        let number = child.number;
        self.child = None;
        let taken = number.filter(|_| done).is_some_and(|number| self.take_place(number).is_ok());
        if !taken {
            let _ = remove_if_present(&self.temporary());
        }
        // What failed is tried again with the next rotation, not at once.
        if done {
            self.begin(count);
        }
    }

    fn take_place(&self, number: u32) -> io::Result<()> {
        std::fs::rename(self.temporary(), compressed(&self.path, number))?;
        std::fs::remove_file(numbered(&self.path, number))
    }

    fn temporary(&self) -> PathBuf {
        with_suffix(&self.path, "gz.new")
    }

    /// Starts with the oldest file that is not compressed, if nothing is under way.
    fn begin(&mut self, count: u32) {
        if self.child.is_some() {
            return;
        }
        let next = (1..count).rev().find_map(|number| Some((number, File::open(numbered(&self.path, number)).ok()?)));
        let Some((number, input)) = next else { return };
        let _ = remove_if_present(&self.temporary());
        let new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.temporary());
        let Ok(output) = new else { return };
        match process::fork() {
            Ok(Fork::Parent(pid)) => self.child = Some(Child { pid, number: Some(number) }),
            Ok(Fork::Child) => {
                let done = alone(&input, &output).and_then(|()| compress(&input, &output));
                process::exit_now(i32::from(done.is_err()));
            }
            // Nothing but space is lost.
            Err(_) => {}
        }
    }
}

/// The next life of the container begins anew with what was not finished.
impl Drop for Compressor {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            let _ = rustix::process::kill_process(child.pid, Signal::KILL);
            let _ = waitpid(Some(child.pid), WaitOptions::empty());
            let _ = remove_if_present(&self.temporary());
        }
    }
}

/// The child keeps nothing of its parent's: no lock, no stream of the container, no client.
fn alone(input: &File, output: &File) -> io::Result<()> {
    process::close_all_but(&[input.as_raw_fd(), output.as_raw_fd()])?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // Being nice is no must.
    let _ = rustix::process::nice(NICE);
    Ok(())
}

fn compress(input: &File, output: &File) -> io::Result<()> {
    let original = Original::of(input)?;
    let mut encoder = GzBuilder::new().comment(original.to_string()).write(output, LEVEL);
    let mut block = vec![0; BLOCK];
    let mut input = input;
    loop {
        match input.read(&mut block)? {
            0 => break,
            count => io::Write::write_all(&mut encoder, &block[..count])?,
        }
    }
    encoder.finish()?.sync_data()
}
