//! The socket and the batches of requests sent through it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable,
};
use nix::libc;
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with};

use super::error::{KernelFeature, NetError};
use super::reply::{Content, replies};
use crate::sys::net_netlink::enable;

/// Dumps of the kernel come in pieces of at most 32 KiB.
const BUFFER: usize = 32 * 1024;
/// How often a dump is started anew because the table changed under it.
const ATTEMPTS: usize = 8;

/// A netlink socket of the network namespace in which it was opened.
pub struct Socket {
    socket: OwnedFd,
    sequence: u32,
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Socket {
    /// For links, addresses, routes (rtnetlink(7)).
    pub fn route() -> Result<Self, NetError> {
        // NETLINK_ROUTE is protocol 0.
        Self::open("open a route netlink socket", None, None)
    }

    /// For packet filter rules.
    pub fn netfilter() -> Result<Self, NetError> {
        let protocol = Some(netlink::NETFILTER);
        Self::open("open a netfilter netlink socket", protocol, Some(KernelFeature::Netfilter))
    }

    fn open(
        operation: &str,
        protocol: Option<rustix::net::Protocol>,
        feature: Option<KernelFeature>,
    ) -> Result<Self, NetError> {
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)
            .map_err(|errno| NetError::answered(operation, feature, errno, None))?;
        for option in [libc::NETLINK_EXT_ACK, libc::NETLINK_CAP_ACK] {
            // Only the wording of errors depends on them.
            let _ = enable(socket.as_fd(), libc::SOL_NETLINK, option);
        }
        Ok(Socket { socket, sequence: 0 })
    }

    /// Sends `batch`; the error is that of the first request that failed and is not excused. The kernel tries the
    /// requests after a failed one as well (but for those of nf_tables, which are a transaction).
    pub fn run(&mut self, mut batch: Batch) -> Result<(), NetError> {
        let Some(last) = batch.finish(self.sequence) else { return Ok(()) };
        let first = self.sequence;
        self.sequence = first + batch.operations.len() as u32;
        self.send(&batch.bytes, || batch.operation(0))?;
        let mut failure = None;
        let mut buffer = vec![0; 4096];
        loop {
            let length = self.receive(&mut buffer, || batch.operation(0))?;
            for reply in replies(&buffer[..length]).filter(|reply| (first..=last).contains(&reply.sequence)) {
                let index = (reply.sequence - first) as usize;
                if let Content::Refused(errno, detail) = reply.content {
                    if failure.is_none() && !batch.excused(index, errno) {
                        failure = Some(batch.failure(index, errno, detail));
                    }
                    // A transaction that failed as a whole is answered through its opening message alone.
                    if index == 0 && batch.transaction {
                        return failure.map_or(Ok(()), Err);
                    }
                }
                if reply.sequence == last {
                    return failure.map_or(Ok(()), Err);
                }
            }
        }
    }

    /// Everything a table holds. Messages that cannot be decoded are left out.
    pub fn dump<M>(&mut self, operation: &str, request: impl Fn() -> M) -> Result<Vec<M>, NetError>
    where
        M: NetlinkSerializable + NetlinkDeserializable + Into<NetlinkPayload<M>>,
    {
        for _ in 0..ATTEMPTS {
            if let Some(entries) = self.collect(operation, request(), NLM_F_DUMP)? {
                return Ok(entries);
            }
        }
        Err(NetError::Protocol { operation: operation.to_owned(), what: "changes that never end" })
    }

    /// What the kernel answers to one question.
    pub fn ask<M>(&mut self, operation: &str, request: M) -> Result<Vec<M>, NetError>
    where
        M: NetlinkSerializable + NetlinkDeserializable + Into<NetlinkPayload<M>>,
    {
        Ok(self.collect(operation, request, NLM_F_ACK)?.unwrap_or_default())
    }

    /// All messages of an answer; none if the table changed meanwhile.
    fn collect<M>(&mut self, operation: &str, request: M, flags: u16) -> Result<Option<Vec<M>>, NetError>
    where
        M: NetlinkSerializable + NetlinkDeserializable + Into<NetlinkPayload<M>>,
    {
        let sequence = self.sequence;
        self.sequence += 1;
        let mut bytes = Vec::new();
        encode(&mut bytes, request, NLM_F_REQUEST | flags, sequence);
        self.send(&bytes, || operation.to_owned())?;
        let (mut entries, mut whole) = (Vec::new(), true);
        let mut buffer = vec![0; BUFFER];
        loop {
            let length = self.receive(&mut buffer, || operation.to_owned())?;
            for reply in replies(&buffer[..length]).filter(|reply| reply.sequence == sequence) {
                whole &= !reply.interrupted;
                match reply.content {
                    Content::Done => return Ok(whole.then_some(entries)),
                    Content::Refused(errno, detail) => {
                        return Err(NetError::answered(operation, None, errno, detail));
                    }
                    Content::Message(bytes) => entries.extend(decode(bytes)),
                }
            }
        }
    }

    fn send(&self, bytes: &[u8], operation: impl Fn() -> String) -> Result<(), NetError> {
        match rustix::io::retry_on_intr(|| send(&self.socket, bytes, SendFlags::empty())) {
            Ok(sent) if sent == bytes.len() => Ok(()),
            Ok(_) => Err(NetError::Protocol { operation: operation(), what: "half of the request taken" }),
            Err(errno) => Err(NetError::call(operation(), errno)),
        }
    }

    /// Answers are there when the request has been sent; to wait for one that is not would be to wait for ever.
    fn receive(&self, buffer: &mut [u8], operation: impl Fn() -> String) -> Result<usize, NetError> {
        let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
        match rustix::io::retry_on_intr(|| recv(&self.socket, &mut *buffer, flags)) {
            Ok((_, length)) if length <= buffer.len() => Ok(length),
            Ok(_) => Err(NetError::Protocol { operation: operation(), what: "more than fits" }),
            Err(Errno::AGAIN) => Err(NetError::Protocol { operation: operation(), what: "nothing" }),
            Err(errno) => Err(NetError::call(operation(), errno)),
        }
    }
}

/// Appends one message.
fn encode<M: NetlinkSerializable + Into<NetlinkPayload<M>>>(
    bytes: &mut Vec<u8>,
    message: M,
    flags: u16,
    sequence: u32,
) {
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    header.sequence_number = sequence;
    let mut message = NetlinkMessage::new(header, message.into());
    message.finalize();
    let start = bytes.len();
    bytes.resize(start + message.buffer_len().next_multiple_of(4), 0);
    message.serialize(&mut bytes[start..start + message.buffer_len()]);
}

fn decode<M: NetlinkDeserializable>(bytes: &[u8]) -> Option<M> {
    match NetlinkMessage::deserialize(bytes).ok()?.payload {
        NetlinkPayload::InnerMessage(message) => Some(message),
        _ => None,
    }
}

/// What is known of a request should it fail.
struct Operation {
    name: String,
    feature: Option<KernelFeature>,
    excuses: &'static [Errno],
    start: usize,
}

/// Requests to be sent together.
#[derive(Default)]
pub struct Batch {
    bytes: Vec<u8>,
    operations: Vec<Operation>,
    /// All or nothing (nf_tables); the messages that open and close it do not count as requests.
    transaction: bool,
}

impl Batch {
    pub fn new() -> Self {
        Self::default()
    }

    /// A batch whose messages the kernel treats as one transaction; the first and last that are pushed delimit it.
    pub fn transaction() -> Self {
        Batch { transaction: true, ..Self::default() }
    }

    /// Adds a request; `name` completes "cannot ...".
    pub fn push<M>(&mut self, name: impl Into<String>, flags: u16, message: M) -> &mut Self
    where
        M: NetlinkSerializable + Into<NetlinkPayload<M>>,
    {
        let start = self.bytes.len();
        encode(&mut self.bytes, message, NLM_F_REQUEST | flags, 0);
        self.operations.push(Operation { name: name.into(), feature: None, excuses: &[], start });
        self
    }

    /// The last request needs `feature`.
    pub fn needs(&mut self, feature: KernelFeature) -> &mut Self {
        if let Some(operation) = self.operations.last_mut() {
            operation.feature = Some(feature);
        }
        self
    }

    /// That the last request fails with one of `errnos` is as good as success.
    pub fn excuse(&mut self, errnos: &'static [Errno]) -> &mut Self {
        if let Some(operation) = self.operations.last_mut() {
            operation.excuses = errnos;
        }
        self
    }

    /// Numbers the messages from `sequence` on and has the last request acknowledged; the number of that one.
    fn finish(&mut self, sequence: u32) -> Option<u32> {
        for (index, operation) in self.operations.iter().enumerate() {
            let number = (sequence + index as u32).to_ne_bytes();
            self.bytes[operation.start + 8..operation.start + 12].copy_from_slice(&number);
        }
        // Kernels before 6.10 do not acknowledge the message that closes a transaction.
        let last = self.operations.len().checked_sub(if self.transaction { 2 } else { 1 })?;
        let flags = self.operations[last].start + 6;
        let acknowledged = u16::from_ne_bytes([self.bytes[flags], self.bytes[flags + 1]]) | NLM_F_ACK;
        self.bytes[flags..flags + 2].copy_from_slice(&acknowledged.to_ne_bytes());
        Some(sequence + last as u32)
    }

    fn operation(&self, index: usize) -> String {
        self.operations.get(index).map(|operation| operation.name.clone()).unwrap_or_default()
    }

    fn excused(&self, index: usize, errno: Errno) -> bool {
        self.operations.get(index).is_some_and(|operation| operation.excuses.contains(&errno))
    }

    fn failure(&self, index: usize, errno: Errno, detail: Option<String>) -> NetError {
        let feature = self.operations.get(index).and_then(|operation| operation.feature);
        NetError::answered(&self.operation(index), feature, errno, detail)
    }
}
