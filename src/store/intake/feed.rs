//! Where the bytes of a layer go beside the blob: into the unpacking process, or only into a sum.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::thread::JoinHandle;

use rustix::pipe::PipeFlags;

use super::IntakeError;
use crate::spec::digest::Digest;
use crate::store::Store;
use crate::store::pull::Unpacker;
use crate::store::staging::Staging;
use crate::store::unpack::{self, Compression, UnpackJob, UnpackLimits, Unpacked, answer};

/// A layer on its way. Dropped before [`finish`](Self::finish), it stops the job and removes what it
/// made.
pub(super) struct Feed {
    input: Option<File>,
    job: Option<Job>,
}

enum Job {
    Extract { result: OwnedFd, staging: Staging },
    Hash(JoinHandle<anyhow::Result<Digest>>),
}

/// What became of the bytes.
pub(super) enum Extracted {
    /// The tree is complete in the staging directory.
    Tree { staging: Staging, unpacked: Unpacked },
    /// Only looked at.
    Hashed(Digest),
}

impl Extracted {
    pub fn diff_id(&self) -> Digest {
        match self {
            Self::Tree { unpacked, .. } => unpacked.diff_id,
            Self::Hashed(diff_id) => *diff_id,
        }
    }
}

impl Feed {
    /// Extracts into a new staging directory, for which `job` makes the job.
    pub fn extract(
        store: &Store,
        unpacker: &mut dyn Unpacker,
        job: impl FnOnce(PathBuf) -> UnpackJob,
    ) -> Result<Self, IntakeError> {
        let failed = || IntakeError::file(store, "start unpacking a layer");
        let staging = Staging::create(store).map_err(failed())?;
        let stream = unpacker.start(&job(staging.path().to_owned())).map_err(failed())?;
        let job = Job::Extract { result: stream.result, staging };
        Ok(Self { input: Some(File::from(stream.input)), job: Some(job) })
    }

    /// Decompresses and hashes on a thread, extracts nothing.
    pub fn hash(compression: Compression, limits: UnpackLimits) -> Result<Self, IntakeError> {
        let start = || -> io::Result<Self> {
            let (read, input) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
            let work = move || unpack::diff_id(File::from(read), compression, limits);
            let thread = std::thread::Builder::new().name("hash".into()).spawn(work)?;
            Ok(Self { input: Some(File::from(input)), job: Some(Job::Hash(thread)) })
        };
        start().map_err(IntakeError::Read)
    }

    /// Passes bytes on. A job that ended early is no error here: its answer tells why.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(input) = &mut self.input else { return Ok(()) };
        match input.write_all(bytes) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.input = None;
                Ok(())
            }
            other => other,
        }
    }

    /// Whether the job takes no more, because it failed.
    pub fn is_closed(&self) -> bool {
        self.input.is_none()
    }

    /// Ends the input and waits for the outcome.
    pub fn finish(mut self, store: &Store) -> Result<Extracted, IntakeError> {
        self.input = None;
        match self.job.take() {
            Some(Job::Extract { result, staging }) => {
                let mut answer = Vec::new();
                let read = File::from(result).take(answer::ANSWER_MAX).read_to_end(&mut answer);
                read.map_err(IntakeError::file(store, "read the answer of the unpacking process"))?;
                let unpacked = answer::parse(&answer).map_err(|why| IntakeError::unpack(store, &why))?;
                Ok(Extracted::Tree { staging, unpacked })
            }
            Some(Job::Hash(thread)) => {
                let diff_id = thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the hashing thread died")));
                diff_id.map(Extracted::Hashed).map_err(|error| IntakeError::unpack(store, &format!("{error:#}")))
            }
            None => Err(IntakeError::unpack(store, "it was given up")),
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.input = None;
        if let Some(Job::Extract { result, .. }) = &self.job {
            answer::wait_for_end(result);
        }
    }
}
