//! What `commit`, `diff` and `export` share: a container's tree, and the process in the user
//! namespace that packs it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;

use anyhow::{Result, bail};
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, Signal, WaitOptions, waitpid};

use super::format::text::warn;
use crate::sandbox::userns;
use crate::spec::config::RootSource;
use crate::store::containers::Container;
use crate::store::pack::{Form, Packed, Tree};
use crate::store::{Store, fs};
use crate::sys::process;

/// What a pipe for the archive should hold; the system may grant less.
const PIPE: usize = 1 << 20;
/// The longest report: some names and an error.
const REPORT: u64 = 64 << 10;

/// The tree of a container. `doing` is what cannot be done to one without layers.
pub fn tree_of(store: &Store, container: &Container, doing: &str) -> Result<Tree> {
    let RootSource::Image { layers, .. } = &container.config.root else {
        bail!("cannot {doing} a container that uses a directory of the host as its root");
    };
    for layer in layers {
        if !store.layers().contains(*layer) {
            bail!("layer {layer} of the container's image is missing: run 'rbox system check --repair'");
        }
    }
    let upper = container.path("upper");
    let driver = std::fs::read_to_string(container.path("driver")).unwrap_or_default();
    Ok(Tree {
        upper: fs::exists(&upper).then_some(upper),
        lowers: layers.iter().map(|layer| store.layers().diff_path(*layer)).collect(),
        form: Form::of_driver(driver.trim()),
        ids: container.config.identity.maps.clone(),
    })
}

/// A process that packs. Reading gives the archive, and at its end the process's error, if there was
/// one: who reads to the end has a whole archive.
pub struct Packing {
    archive: File,
    report: File,
    pid: Option<Pid>,
    packed: Option<Packed>,
}

impl Packing {
    /// Starts it; the caller has one thread. `work` writes the archive.
    pub fn start(store: &Store, work: impl FnOnce(&mut dyn Write) -> Result<Packed>) -> Result<Self> {
        let (archive, theirs) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        let (report, answer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        // Fewer wake-ups; without it everything works, only slower.
        let _ = rustix::pipe::fcntl_setpipe_size(&theirs, PIPE);
        let forked = userns::fork_into(store, move || {
            if process::close_all_but(&[0, 1, 2, theirs.as_raw_fd(), answer.as_raw_fd()]).is_err() {
                return 1;
            }
            let packed = work(&mut File::from(theirs)).map_err(|error| format!("{error:#}"));
            let told = serde_json::to_vec(&packed).map(|report| File::from(answer).write_all(&report));
            i32::from(!matches!(told, Ok(Ok(()))))
        })?;
        if let Some(warning) = &forked.warning {
            warn(warning);
        }
        Ok(Self { archive: archive.into(), report: report.into(), pid: Some(forked.pid), packed: None })
    }

    /// What was packed, once the archive was read to its end.
    pub fn packed(&self) -> Option<&Packed> {
        self.packed.as_ref()
    }

    fn finish(&mut self) -> io::Result<()> {
        if self.packed.is_some() {
            return Ok(());
        }
        let mut report = Vec::new();
        Read::by_ref(&mut self.report).take(REPORT).read_to_end(&mut report)?;
        self.reap();
        let died = || io::Error::other("the process that packs the container's files died");
        let outcome: Result<Packed, String> = serde_json::from_slice(&report).map_err(|_| died())?;
        self.packed = Some(outcome.map_err(io::Error::other)?);
        Ok(())
    }

    fn reap(&mut self) {
        if let Some(pid) = self.pid.take() {
            let _ = rustix::io::retry_on_intr(|| waitpid(Some(pid), WaitOptions::empty()));
        }
    }
}

impl Read for Packing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.archive.read(buffer)?;
        if count == 0 && !buffer.is_empty() {
            self.finish()?;
        }
        Ok(count)
    }
}

impl Drop for Packing {
    fn drop(&mut self) {
        if let Some(pid) = self.pid {
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
        self.reap();
    }
}

/// Says what an archive could not take.
pub fn warn_of_losses(packed: &Packed) {
    if packed.sockets > 0 {
        warn(&format!("left out {} sockets: no archive holds them", packed.sockets));
    }
    for name in &packed.reserved {
        warn(&format!("left out /{name}: in an image names that begin with .wh. mean deletions"));
    }
}
