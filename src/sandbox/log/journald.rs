//! The systemd journal by its native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): a datagram a
//! message, `NAME=value` a line; what is too large for a datagram goes as a sealed file in memory.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
    connect, send, sendmsg, socket_with,
};

use super::remote::Transport;
use super::{Piece, Stamp, Stream};

/// Syslog's severities, docker's choice: errors and information.
const STDERR: &[u8] = b"PRIORITY=3\n";
const STDOUT: &[u8] = b"PRIORITY=6\n";

/// The way to a journal.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    /// The same in each message.
    fields: Vec<u8>,
    socket: Option<OwnedFd>,
}

impl Journal {
    pub(super) fn new(path: &Path, fields: &[(String, String)]) -> Self {
        let mut encoded = Vec::new();
        for (name, value) in fields {
            encode_field(&mut encoded, name.as_bytes(), value.as_bytes());
        }
        Self { path: path.to_owned(), fields: encoded, socket: None }
    }

    fn send_as_file(&self, socket: &OwnedFd, message: &[u8]) -> io::Result<()> {
        let file = memfd_create("rbox-log", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        let mut rest = message;
        while !rest.is_empty() {
            rest = &rest[rustix::io::write(&file, rest)?..];
        }
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL)?;
        let descriptors = [file.as_fd()];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&descriptors));
        sendmsg(socket, &[IoSlice::new(&[])], &mut control, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?;
        Ok(())
    }
}

/// `NAME=value`, or with a newline in the value the name, the value's length and the value.
fn encode_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    if value.contains(&b'\n') {
        out.push(b'\n');
        out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        out.push(b'=');
    }
    out.extend_from_slice(value);
    out.push(b'\n');
}

impl Transport for Journal {
    fn encode(&mut self, out: &mut Vec<u8>, piece: Piece<'_>, _stamp: &Stamp) {
        out.extend_from_slice(&self.fields);
        out.extend_from_slice(if piece.stream == Stream::Stderr { STDERR } else { STDOUT });
        if !piece.ends {
            out.extend_from_slice(b"CONTAINER_PARTIAL_MESSAGE=true\n");
        }
        encode_field(out, b"MESSAGE", piece.text);
    }

    fn connect(&mut self) -> io::Result<()> {
        self.socket = None;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        let said = |error: Errno| {
            let error = io::Error::from(error);
            let what = format!("journald is not enabled on this host: {}: {error}", self.path.display());
            io::Error::new(error.kind(), what)
        };
        connect(&socket, &SocketAddrUnix::new(&self.path)?).map_err(said)?;
        self.socket = Some(socket);
        Ok(())
    }

    fn send(&mut self, message: &[u8]) -> io::Result<usize> {
        let socket = self.socket.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        match send(socket, message, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            // The second where the buffer could never hold it, or just now not.
            Err(Errno::MSGSIZE | Errno::NOBUFS) => self.send_as_file(socket, message).map(|()| message.len()),
            other => Ok(other?),
        }
    }

    fn is_of_message(&self, error: &io::Error) -> bool {
        matches!(Errno::from_io_error(error), Some(Errno::MSGSIZE | Errno::PERM | Errno::MFILE | Errno::NOMEM))
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.socket.as_ref().map(AsFd::as_fd)
    }
}
