//! What a container's log is to be.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::spec::log::syslog::Format;

/// Where a container's output goes.
#[derive(Clone, Debug)]
pub struct LogPlan {
    pub file: Option<FilePlan>,
    pub remote: Option<RemotePlan>,
    /// The file that says how much was lost, in the container's directory.
    pub loss: PathBuf,
}

/// A log in files.
#[derive(Clone, Debug)]
pub struct FilePlan {
    pub path: PathBuf,
    pub format: FileFormat,
    /// Bytes at which a file is full; None never.
    pub max_size: Option<u64>,
    /// Files kept, the current one counted.
    pub max_file: u32,
    /// Compress those that are no longer written to.
    pub compress: bool,
}

/// How a line is written to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// docker's; with attributes, which are the same for each line.
    Json(Vec<(String, String)>),
    /// podman's and CRI's.
    K8s,
}

/// A log that others keep.
#[derive(Clone, Debug)]
pub struct RemotePlan {
    pub receiver: Receiver,
    /// Bytes of messages that may wait.
    pub buffer: usize,
    /// Messages are lost at once, rather than late, when the receiver is slow.
    pub non_blocking: bool,
}

/// Who keeps it.
#[derive(Clone, Debug)]
pub enum Receiver {
    /// The journal behind a socket, and the fields of each message.
    Journald { socket: PathBuf, fields: Vec<(String, String)> },
    /// A syslog server.
    Syslog { server: Server, tag: String, facility: u8, format: Format },
}

/// How a syslog server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Server {
    /// The first of the machine's usual sockets that answers.
    Local,
    Unix(PathBuf),
    UnixDatagram(PathBuf),
    Udp(SocketAddr),
    Tcp(SocketAddr),
}
