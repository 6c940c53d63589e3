//! Making shifted layers: a process in U that walks through them.

use std::fs::File;
use std::io::{self, PipeReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::libc;
use rustix::fs::{Mode, OFlags, XattrFlags};
use rustix::process::{Pid, Signal, WaitOptions, waitpid};

use super::{rootfs, userns};
use crate::store::Store;
use crate::store::shifted::{self, Job, Way};
use crate::sys::process;

/// Entries after which progress is told.
const STEP: u32 = 64;
/// The longest error that is passed on.
const ERROR_MAX: u64 = 64 << 10;
/// Where it is remembered how layers are made.
const MEMORY: &str = "cache/shifting";

/// Layers in the making. Dropping it ends that.
#[derive(Debug)]
pub struct Shifting {
    pid: Option<Pid>,
    progress: PipeReader,
    error: File,
}

/// How layers can be shifted here: as remembered for this kernel, or found out by trying in the empty
/// directory `scratch`.
pub fn way(store: &Store, scratch: &Path) -> Result<Way> {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let memory = store.path(MEMORY);
    let text = std::fs::read_to_string(&memory).unwrap_or_default();
    match text.trim().split_once(' ') {
        Some(("stubs", known)) if known == release => return Ok(Way::Stubs),
        Some(("content", known)) if known == release => return Ok(Way::Content),
        _ => {}
    }
    let (way, word) = match userns::run_inside(store, || stubs_work(scratch)) {
        Ok(()) => (Way::Stubs, "stubs"),
        Err(_) => (Way::Content, "content"),
    };
    let remembered = crate::store::fs::create_private_dir(&store.path("cache"))
        .and_then(|()| crate::store::fs::write_volatile(&memory, format!("{word} {release}\n").as_bytes()));
    // A store that cannot remember tries again.
    drop(remembered);
    Ok(way)
}

/// Reads a file through a stub of it.
fn stubs_work(scratch: &Path) -> Result<()> {
    const TEXT: &[u8] = b"content";
    process::unshare(libc::CLONE_NEWNS).context("create a mount namespace")?;
    let (data, stubs) = (scratch.join("data"), scratch.join("stubs"));
    for directory in [&data, &stubs] {
        std::fs::create_dir(directory)?;
    }
    std::fs::write(data.join("file"), TEXT)?;
    let stub = File::create(stubs.join("file"))?;
    rustix::fs::fsetxattr(&stub, c"user.overlay.redirect", b"/file", XattrFlags::empty())?;
    rustix::fs::fsetxattr(&stub, c"user.overlay.metacopy", b"", XattrFlags::empty())?;
    stub.set_len(TEXT.len() as u64)?;
    let mount = rootfs::mount_stubs(&stubs, &data)?;
    let read = || -> io::Result<Vec<u8>> {
        let file = rustix::fs::openat(&mount, c"file", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let mut text = Vec::new();
        File::from(file).take(64).read_to_end(&mut text)?;
        Ok(text)
    };
    if read()? != TEXT {
        bail!("a stub has no content");
    }
    Ok(())
}

impl Shifting {
    /// Starts; the caller has one thread.
    pub fn start(store: &Store, job: Job) -> Result<(Self, Option<String>)> {
        let (progress, told) = io::pipe()?;
        let (error, failed) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let forked = userns::fork_into(store, move || {
            let parent = rustix::process::getppid();
            // Ids were changed on the way in, which made the process forget it.
            let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
            if rustix::process::getppid() != parent {
                return 1;
            }
            match one(&job, told.as_fd()) {
                Ok(()) => 0,
                Err(error) => {
                    let _ = File::from(failed).write_all(format!("{error:#}").as_bytes());
                    1
                }
            }
        })?;
        Ok((Self { pid: Some(forked.pid), progress, error: error.into() }, forked.warning))
    }

    /// Readable when there is progress, or an end.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.progress.as_fd()
    }

    /// Takes in what was done since; None at the end.
    pub fn take(&mut self) -> io::Result<Option<u64>> {
        let mut told = [0; 4096];
        match self.progress.read(&mut told)? {
            0 => Ok(None),
            count => Ok(Some(u64::from(STEP) * count as u64)),
        }
    }

    /// Whether everything was made, once nobody works any more.
    pub fn finish(mut self) -> Result<()> {
        let mut text = String::new();
        let _ = Read::by_ref(&mut self.error).take(ERROR_MAX).read_to_string(&mut text);
        let status = match self.pid.take() {
            Some(pid) => waitpid(Some(pid), WaitOptions::empty())?,
            None => None,
        };
        if status.is_some_and(|(_, status)| status.exit_status() == Some(0)) {
            return Ok(());
        }
        bail!("{}", if text.is_empty() { "a process that prepares layers died" } else { &text })
    }
}

impl Drop for Shifting {
    fn drop(&mut self) {
        if let Some(pid) = self.pid {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
            let _ = waitpid(Some(pid), WaitOptions::empty());
        }
    }
}

fn one(job: &Job, told: BorrowedFd<'_>) -> Result<()> {
    let mut entries = 0;
    shifted::shift(job, &mut || {
        entries += 1;
        if entries % STEP == 0 {
            // Who would hear of it may be gone, and this process with it in a moment.
            let _ = rustix::io::write(told, &[1]);
        }
    })
}
