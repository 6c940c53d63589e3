//! Making shifted layers: processes in U, one for each layer at a time, that walk through them.

use std::fs::File;
use std::io::{self, PipeReader, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::libc;
use rustix::fs::{Mode, OFlags, XattrFlags};
use rustix::process::{Pid, Signal, WaitOptions, wait, waitpid};

use super::{rootfs, userns};
use crate::store::Store;
use crate::store::shifted::{self, Job, Way};
use crate::sys::process::{self, Fork};

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
    pub fn start(store: &Store, jobs: Vec<Job>) -> Result<(Self, Option<String>)> {
        let (progress, told) = io::pipe()?;
        let (error, failed) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let forked = userns::fork_into(store, move || {
            let parent = rustix::process::getppid();
            // Ids were changed on the way in, which made the process forget it.
            let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
            if rustix::process::getppid() != parent {
                return 1;
            }
            match all(&jobs, told.as_fd()) {
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
            // Its children die with it, and the last of them closes this.
            let mut rest = [0; 4096];
            while self.progress.read(&mut rest).is_ok_and(|count| count > 0) {}
            let _ = waitpid(Some(pid), WaitOptions::empty());
        }
    }
}

/// Does the jobs, as many at a time as there are processors.
fn all(jobs: &[Job], told: BorrowedFd<'_>) -> Result<()> {
    let most = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if most == 1 || jobs.len() == 1 {
        return jobs.iter().try_for_each(|job| one(job, told));
    }
    let (mut failures, failed) = io::pipe()?;
    let (mut running, mut ended_badly) = (0, false);
    let mut reap = |running: &mut usize| -> Result<()> {
        let status = rustix::io::retry_on_intr(|| wait(WaitOptions::empty()))?;
        *running -= 1;
        ended_badly |= !status.is_some_and(|(_, status)| status.exit_status() == Some(0));
        Ok(())
    };
    for job in jobs {
        while running >= most {
            reap(&mut running)?;
        }
        match process::fork().context("fork")? {
            Fork::Parent(_) => running += 1,
            Fork::Child => process::exit_now(in_child(job, told, failed.as_fd())),
        }
    }
    while running > 0 {
        reap(&mut running)?;
    }
    drop(failed);
    if ended_badly {
        let mut text = String::new();
        failures.by_ref().take(ERROR_MAX).read_to_string(&mut text)?;
        bail!("{}", if text.is_empty() { "a process that prepares layers died" } else { &text });
    }
    Ok(())
}

fn in_child(job: &Job, told: BorrowedFd<'_>, failed: BorrowedFd<'_>) -> i32 {
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    match one(job, told) {
        Ok(()) => 0,
        Err(error) => {
            // Short enough for a pipe that nobody reads yet.
            let text: String = format!("{error:#}").chars().take(1000).collect();
            let _ = rustix::io::write(failed, text.as_bytes());
            1
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
