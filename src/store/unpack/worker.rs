//! The process that unpacks, and its client. Jobs travel over a sequenced-packet socket as JSON
//! with two pipe ends; each runs in a child of its own, so that a crash or a kill costs one layer.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::cmsg_space;
use rustix::event::{PollFd, PollFlags};
use rustix::fs::Mode;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions};

use super::job::{UnpackJob, UnpackStream, Unpacked};
use super::unpack_layer;
use crate::store::pull::Unpacker;
use crate::sys::process::{Fork, exit_now, fork};

/// The longest request: a path and some numbers.
const REQUEST: usize = 16 << 10;
/// What a pipe for layer bytes should hold; the system may grant less.
const PIPE: usize = 1 << 20;

/// The client's end of a worker.
#[derive(Debug)]
pub struct Worker {
    socket: OwnedFd,
}

impl Worker {
    /// Takes the client's end of a `SOCK_SEQPACKET` pair whose other end is in [`serve`]. Dropping
    /// it ends the worker and kills jobs that still run.
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket }
    }
}

impl Unpacker for Worker {
    fn start(&mut self, job: &UnpackJob) -> io::Result<UnpackStream> {
        let (layer, input) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        let (result, answer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        // Fewer wake-ups; without it everything works, only slower.
        let _ = rustix::pipe::fcntl_setpipe_size(&input, PIPE);
        let request = serde_json::to_vec(job)?;
        let descriptors = [layer.as_fd(), answer.as_fd()];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(2))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
        rustix::net::sendmsg(&self.socket, &[IoSlice::new(&request)], &mut control, SendFlags::NOSIGNAL)?;
        Ok(UnpackStream { input, result })
    }
}

/// Unpacks layers for the client behind `socket` until it closes its end; then kills what still
/// runs. Must be called in a process that has one thread; clears its umask.
pub fn serve(socket: OwnedFd) -> io::Result<()> {
    rustix::process::umask(Mode::empty());
    let mut children = Children(Vec::new());
    loop {
        if !wait(&socket, &mut children)? {
            continue;
        }
        let Some(request) = receive(&socket)? else { return Ok(()) };
        let server = rustix::process::getpid();
        match fork()? {
            Fork::Parent(pid) => children.add(pid)?,
            Fork::Child => {
                drop(socket);
                work(request, server);
                exit_now(0)
            }
        }
    }
}

/// A job as it arrived.
struct Request {
    job: UnpackJob,
    input: OwnedFd,
    answer: OwnedFd,
}

/// The jobs that run. They are killed and reaped when the server returns.
struct Children(Vec<Child>);

struct Child {
    pid: Pid,
    pidfd: OwnedFd,
}

impl Children {
    fn add(&mut self, pid: Pid) -> io::Result<()> {
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
        self.0.push(Child { pid, pidfd });
        Ok(())
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        for child in &self.0 {
            let _ = rustix::process::pidfd_send_signal(&child.pidfd, Signal::KILL);
            let _ = rustix::io::retry_on_intr(|| rustix::process::waitpid(Some(child.pid), WaitOptions::empty()));
        }
    }
}

/// Sleeps until a request arrives or a child ends. Reaps; true when the socket is readable.
fn wait(socket: &OwnedFd, children: &mut Children) -> io::Result<bool> {
    let mut polled = vec![PollFd::new(socket, PollFlags::IN)];
    polled.extend(children.0.iter().map(|child| PollFd::new(&child.pidfd, PollFlags::IN)));
    rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, None))?;
    let mut ready: Vec<bool> = polled.iter().map(|entry| !entry.revents().is_empty()).collect();
    let request = ready.remove(0);
    let mut ended = ready.into_iter();
    children.0.retain(|child| {
        let ended = ended.next().unwrap_or(false);
        if ended {
            let _ = rustix::io::retry_on_intr(|| rustix::process::waitpid(Some(child.pid), WaitOptions::empty()));
        }
        !ended
    });
    Ok(request)
}

/// Reads one request; None when the client is gone.
fn receive(socket: &OwnedFd) -> io::Result<Option<Request>> {
    let mut bytes = vec![0; REQUEST];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags)
    })?;
    if received.bytes == 0 {
        return Ok(None);
    }
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(sent) = message {
            descriptors.extend(sent);
        }
    }
    let truncated = received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC);
    let (Ok([input, answer]), false) = (<[OwnedFd; 2]>::try_from(descriptors), truncated) else {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "malformed request for an unpack job"));
    };
    let job = serde_json::from_slice(&bytes[..received.bytes])?;
    Ok(Some(Request { job, input, answer }))
}

/// The child: unpacks, answers.
fn work(request: Request, server: Pid) {
    // Nobody would read the answer, or stop the work, after the server's death.
    let bound = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    if bound.is_err() || rustix::process::getppid() != Some(server) {
        return;
    }
    let outcome: Result<Unpacked, String> =
        unpack_layer(File::from(request.input), &request.job).map_err(|error| printable(&format!("{error:#}")));
    if let Ok(mut line) = serde_json::to_vec(&outcome) {
        line.push(b'\n');
        // A client that is gone needs no answer.
        let _ = File::from(request.answer).write_all(&line);
    }
}

/// Error text may quote the archive.
fn printable(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut shown, char| {
        match char.is_control() {
            true => shown.extend(char.escape_default()),
            false => shown.push(char),
        }
        shown
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn error_text_is_made_printable() {
        assert_eq!(super::printable("entry 'a\x1b[31m\nb' ü"), "entry 'a\\u{1b}[31m\\nb' ü");
    }
}
