//! The pipe into the unpacking process, and its answer.

use std::cell::RefCell;
use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;

use super::{PullError, UnpackJob, Unpacked, Unpacker};
use crate::spec::digest::Digest;
use crate::store::Store;
use crate::store::staging::Staging;
use crate::store::unpack::answer;

/// Larger than the default 64 KiB: fewer switches between the two processes.
const PIPE_BYTES: usize = 1 << 20;

/// One layer on its way into a staging directory. Dropped before [`finish`](Self::finish), it stops
/// the job and removes the directory.
#[derive(Debug)]
pub struct Feed {
    input: Option<pipe::Sender>,
    result: Option<pipe::Receiver>,
    staging: Option<Staging>,
}

/// A layer whose tree is complete in its staging directory.
#[derive(Debug)]
pub struct Tree {
    pub staging: Staging,
    pub unpacked: Unpacked,
}

impl Feed {
    /// Starts a job. `job` makes it from the staging directory.
    pub fn start(
        store: &Store,
        unpacker: &RefCell<&mut dyn Unpacker>,
        job: impl FnOnce(&Staging) -> UnpackJob,
    ) -> Result<Self, PullError> {
        let staging = Staging::create(store).map_err(PullError::file(store, "create a staging directory"))?;
        let job = job(&staging);
        let failed = || PullError::file(store, "start unpacking a layer");
        let stream = unpacker.borrow_mut().start(&job).map_err(failed())?;
        // Only a wish: the user's limit of pipe memory may be reached.
        let _ = rustix::pipe::fcntl_setpipe_size(&stream.input, PIPE_BYTES);
        let input = pipe::Sender::from_owned_fd(stream.input).map_err(failed())?;
        let result = pipe::Receiver::from_owned_fd(stream.result).map_err(failed())?;
        Ok(Self { input: Some(input), result: Some(result), staging: Some(staging) })
    }

    /// Extracts nothing.
    pub fn none() -> Self {
        Self { input: None, result: None, staging: None }
    }

    /// Passes bytes on; waits while the job is slower than we are. A job that ended early is no
    /// error here: its answer tells why, once the bytes themselves are known to be right.
    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(input) = &mut self.input else { return Ok(()) };
        match input.write_all(bytes).await {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.input = None;
                Ok(())
            }
            other => other,
        }
    }

    /// Ends the input and waits for the answer.
    pub async fn finish(mut self, store: &Store, layer: Digest) -> Result<Tree, PullError> {
        self.input = None;
        let mut answer = Vec::new();
        if let Some(result) = self.result.take() {
            let read = result.take(answer::ANSWER_MAX).read_to_end(&mut answer).await;
            read.map_err(PullError::file(store, "read the answer of the unpacking process"))?;
        }
        let failed = |why: &str| PullError::unpack(store, layer, why);
        let unpacked = answer::parse(&answer).map_err(|why| failed(&why))?;
        let staging = self.staging.take().ok_or_else(|| failed("it was given up"))?;
        Ok(Tree { staging, unpacked })
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.input = None;
        if let Some(result) = &self.result {
            answer::wait_for_end(result);
        }
    }
}
