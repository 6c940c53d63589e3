//! Datagrams in batches, with the addresses and sizes that their control messages carry.

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use nix::libc;

use super::net_relay::check;

/// Datagrams taken by one system call.
pub const BATCH: usize = 32;
/// Room for one datagram, or for a run of them joined by the kernel.
const STRIDE: usize = 65536;
/// Words of control data for one message: packet information and a segment size.
const CONTROL_WORDS: usize = 16;
/// The kernel's limits for datagrams sent as one (UDP_MAX_SEGMENTS and the length field).
const MAX_SEGMENTS: usize = 64;
const MAX_JOINED: usize = 65000;

/// Where a datagram goes: the peer, and the own address it leaves from.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The receiver.
    pub peer: SocketAddr,
    /// The source address, for sockets that have several.
    pub local: Option<IpAddr>,
}

/// What one received datagram says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// The bytes: one datagram, or several of `segment` bytes each (the last may be shorter).
    pub data: &'a [u8],
    /// Who sent it, on unconnected sockets.
    pub peer: Option<SocketAddr>,
    /// The address (and for transparent sockets the port) it was sent to.
    pub local: Option<SocketAddr>,
}

#[derive(Clone, Copy, Default)]
struct Entry {
    length: usize,
    peer: Option<SocketAddr>,
    local: Option<SocketAddr>,
    segment: u16,
}

/// Buffers for a batch of datagrams. Pages are touched only when used.
pub struct Datagrams {
    storage: Vec<u8>,
    entries: [Entry; BATCH],
}

impl Default for Datagrams {
    fn default() -> Self {
        Self { storage: vec![0; BATCH * STRIDE], entries: [Entry::default(); BATCH] }
    }
}

impl Datagrams {
    /// Receives up to [`BATCH`] datagrams without waiting; returns how many.
    pub fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        // SAFETY: these are plain data for which all zeroes is valid.
        let mut names: [libc::sockaddr_storage; BATCH] = unsafe { zeroed() };
        let mut control = [[0u64; CONTROL_WORDS]; BATCH];
        // SAFETY: as above.
        let mut vectors: [libc::iovec; BATCH] = unsafe { zeroed() };
        // SAFETY: as above.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { zeroed() };
        for (index, chunk) in self.storage.chunks_exact_mut(STRIDE).enumerate() {
            vectors[index] = libc::iovec { iov_base: chunk.as_mut_ptr().cast(), iov_len: STRIDE };
            let header = &mut headers[index].msg_hdr;
            header.msg_name = ptr::from_mut(&mut names[index]).cast();
            header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_iov = &raw mut vectors[index];
            header.msg_iovlen = 1;
            header.msg_control = control[index].as_mut_ptr().cast();
            header.msg_controllen = size_of::<[u64; CONTROL_WORDS]>();
        }
        // SAFETY: every header points at live buffers of the lengths it tells.
        let count = check(unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        })?;
        for index in 0..count.min(BATCH) {
            let header = &headers[index];
            let (local, segment) = read_control(&header.msg_hdr);
            self.entries[index] = Entry {
                length: (header.msg_len as usize).min(STRIDE),
                peer: if header.msg_hdr.msg_namelen > 0 { decode(&names[index]) } else { None },
                local,
                segment,
            };
        }
        Ok(count.min(BATCH))
    }

    /// The datagram at `index` of the last batch.
    pub fn get(&self, index: usize) -> Datagram<'_> {
        let entry = &self.entries[index];
        let start = index * STRIDE;
        Datagram { data: &self.storage[start..start + entry.length], peer: entry.peer, local: entry.local }
    }

    /// Sends datagrams `first..last` of the last batch on, joined where the kernel can send them
    /// as one; `offload` turns false when it turns out that it cannot. What does not fit into the
    /// socket is dropped, as a router would.
    ///
    /// # Errors
    /// The last error that concerns the path (connection refused, host unreachable and so on).
    pub fn send(
        &self,
        socket: BorrowedFd<'_>,
        range: std::ops::Range<usize>,
        target: Option<&Target>,
        offload: &mut bool,
    ) -> io::Result<()> {
        let mut outcome = Ok(());
        let mut next = range.start;
        while next < range.end {
            let (sent, result) = self.send_joined(socket, next..range.end, target, *offload);
            next += sent;
            match result {
                Ok(()) => {}
                Err(error) if is_full(&error) => return outcome,
                Err(error) if *offload && matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EIO)) => {
                    *offload = false;
                }
                Err(error) => {
                    // A pending error was told instead of sending; the datagram itself gets one more try.
                    outcome = Err(error);
                    let _ = self.send_joined(socket, next..next + 1, target, *offload);
                    next += 1;
                }
            }
        }
        outcome
    }

    /// One sendmmsg; returns how many entries went out, and why it stopped.
    fn send_joined(
        &self,
        socket: BorrowedFd<'_>,
        range: std::ops::Range<usize>,
        target: Option<&Target>,
        offload: bool,
    ) -> (usize, io::Result<()>) {
        if !offload && self.entries[range.start].segment > 0 {
            return (1, self.send_split(socket, range.start, target));
        }
        // SAFETY: these are plain data for which all zeroes is valid.
        let mut vectors: [libc::iovec; BATCH] = unsafe { zeroed() };
        // SAFETY: as above.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { zeroed() };
        // SAFETY: as above.
        let mut name: libc::sockaddr_storage = unsafe { zeroed() };
        let name_length = target.map_or(0, |target| encode(&target.peer, &mut name));
        let mut control = [[0u64; CONTROL_WORDS]; BATCH];
        let mut widths = [0usize; BATCH];
        let mut count = 0;
        let mut next = range.start;
        while next < range.end && (offload || self.entries[next].segment == 0) {
            let (width, segment) = if offload { self.run(next, range.end) } else { (1, 0) };
            for (index, vector) in vectors.iter_mut().enumerate().skip(next).take(width) {
                let data = self.get(index).data;
                *vector = libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() };
            }
            let header = &mut headers[count].msg_hdr;
            if name_length > 0 {
                header.msg_name = ptr::from_mut(&mut name).cast();
                header.msg_namelen = name_length;
            }
            header.msg_iov = &raw mut vectors[next];
            header.msg_iovlen = width;
            write_control(header, &mut control[count], target, segment);
            widths[count] = width;
            count += 1;
            next += width;
        }
        // SAFETY: every header points at live buffers of the lengths it tells.
        let sent = check(unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                count as libc::c_uint,
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            )
        });
        match sent {
            Ok(sent) => (widths.iter().take(sent).sum(), Ok(())),
            Err(error) => (0, Err(error)),
        }
    }

    /// How many entries from `first` on can go out as one message, and their size.
    fn run(&self, first: usize, end: usize) -> (usize, u16) {
        let entry = &self.entries[first];
        if entry.segment > 0 {
            return (1, entry.segment);
        }
        let size = entry.length;
        let mut total = size;
        let mut width = 1;
        while size > 0 && first + width < end && width < MAX_SEGMENTS {
            let following = &self.entries[first + width];
            if following.segment > 0 || following.length > size || following.length == 0 {
                break;
            }
            total += following.length;
            if total > MAX_JOINED {
                break;
            }
            width += 1;
            if following.length < size {
                break;
            }
        }
        (width, if width > 1 { size as u16 } else { 0 })
    }

    /// Sends one entry that the kernel had joined, datagram by datagram.
    fn send_split(&self, socket: BorrowedFd<'_>, index: usize, target: Option<&Target>) -> io::Result<()> {
        let segment = usize::from(self.entries[index].segment).max(1);
        for datagram in self.get(index).data.chunks(segment) {
            send_one(socket, datagram, target)?;
        }
        Ok(())
    }
}

/// Sends one datagram without waiting.
pub fn send_one(socket: BorrowedFd<'_>, data: &[u8], target: Option<&Target>) -> io::Result<()> {
    // SAFETY: these are plain data for which all zeroes is valid.
    let (mut name, mut header): (libc::sockaddr_storage, libc::msghdr) = unsafe { (zeroed(), zeroed()) };
    let mut control = [0u64; CONTROL_WORDS];
    let mut vector = libc::iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: data.len() };
    if let Some(target) = target {
        header.msg_namelen = encode(&target.peer, &mut name);
        header.msg_name = ptr::from_mut(&mut name).cast();
    }
    header.msg_iov = &raw mut vector;
    header.msg_iovlen = 1;
    write_control(&mut header, &mut control, target, 0);
    // SAFETY: the header points at live buffers of the lengths it tells.
    let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &header, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Whether an error says only that there is no room just now.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM))
}

/// Writes the control messages of one header: source address and segment size.
fn write_control(header: &mut libc::msghdr, control: &mut [u64; CONTROL_WORDS], target: Option<&Target>, segment: u16) {
    let mut used = 0;
    match target.and_then(|target| target.local) {
        Some(IpAddr::V4(address)) => {
            let info = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr { s_addr: u32::from(address).to_be() },
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            used += put(control, used, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
        }
        Some(IpAddr::V6(address)) => {
            let info = libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: address.octets() }, ipi6_ifindex: 0 };
            used += put(control, used, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
        }
        None => {}
    }
    if segment > 0 {
        used += put(control, used, libc::SOL_UDP, libc::UDP_SEGMENT, segment);
    }
    if used > 0 {
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = used;
    }
}

/// Appends one control message after `used` bytes; returns the room it takes.
fn put<T: Copy>(control: &mut [u64; CONTROL_WORDS], used: usize, level: i32, kind: i32, value: T) -> usize {
    // SAFETY: CMSG_SPACE and CMSG_LEN only compute.
    let (space, length) =
        unsafe { (libc::CMSG_SPACE(size_of::<T>() as u32) as usize, libc::CMSG_LEN(size_of::<T>() as u32) as usize) };
    if used + space > size_of::<[u64; CONTROL_WORDS]>() {
        return 0;
    }
    // SAFETY: the message lies inside the array by the check above; CMSG_SPACE keeps it aligned,
    // and the data is written without an assumption on alignment.
    unsafe {
        let message = control.as_mut_ptr().cast::<u8>().add(used).cast::<libc::cmsghdr>();
        (*message).cmsg_level = level;
        (*message).cmsg_type = kind;
        (*message).cmsg_len = length;
        ptr::write_unaligned(libc::CMSG_DATA(message).cast::<T>(), value);
    }
    space
}

/// Reads destination address and segment size from what came with a datagram.
fn read_control(header: &libc::msghdr) -> (Option<SocketAddr>, u16) {
    let (mut local, mut segment) = (None, 0);
    // SAFETY: the kernel wrote well-formed messages into the buffer that the header tells; the
    // CMSG functions stay inside it, and each value is read only at the length its type says.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while let Some(current) = message.as_ref() {
            let data = libc::CMSG_DATA(message);
            let room = current.cmsg_len.saturating_sub(libc::CMSG_LEN(0) as usize);
            match (current.cmsg_level, current.cmsg_type) {
                (libc::IPPROTO_IP, libc::IP_ORIGDSTADDR) if room >= size_of::<libc::sockaddr_in>() => {
                    local = Some(decode_v4(&ptr::read_unaligned(data.cast())));
                }
                (libc::IPPROTO_IPV6, libc::IPV6_ORIGDSTADDR) if room >= size_of::<libc::sockaddr_in6>() => {
                    local = Some(decode_v6(&ptr::read_unaligned(data.cast())));
                }
                (libc::IPPROTO_IP, libc::IP_PKTINFO) if room >= size_of::<libc::in_pktinfo>() => {
                    let info: libc::in_pktinfo = ptr::read_unaligned(data.cast());
                    let address = Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr));
                    local = Some(SocketAddr::new(address.into(), 0));
                }
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) if room >= size_of::<libc::in6_pktinfo>() => {
                    let info: libc::in6_pktinfo = ptr::read_unaligned(data.cast());
                    local = Some(SocketAddr::new(Ipv6Addr::from(info.ipi6_addr.s6_addr).into(), 0));
                }
                (libc::SOL_UDP, libc::UDP_GRO) if room >= size_of::<u16>() => {
                    segment = ptr::read_unaligned(data.cast::<u16>());
                }
                _ => {}
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
    (local, segment)
}

fn decode_v4(address: &libc::sockaddr_in) -> SocketAddr {
    let ip = Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr));
    SocketAddrV4::new(ip, u16::from_be(address.sin_port)).into()
}

fn decode_v6(address: &libc::sockaddr_in6) -> SocketAddr {
    let ip = Ipv6Addr::from(address.sin6_addr.s6_addr);
    SocketAddrV6::new(ip, u16::from_be(address.sin6_port), 0, address.sin6_scope_id).into()
}

fn decode(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(storage.ss_family) {
        // SAFETY: the family tells which structure the storage, large and aligned enough for both, holds.
        libc::AF_INET => Some(decode_v4(unsafe { &*ptr::from_ref(storage).cast() })),
        // SAFETY: as above.
        libc::AF_INET6 => Some(decode_v6(unsafe { &*ptr::from_ref(storage).cast() })),
        _ => None,
    }
}

fn encode(address: &SocketAddr, storage: &mut libc::sockaddr_storage) -> libc::socklen_t {
    match address {
        SocketAddr::V4(address) => {
            // SAFETY: sockaddr_storage is large and aligned enough for every address.
            let slot: &mut libc::sockaddr_in = unsafe { &mut *ptr::from_mut(storage).cast() };
            slot.sin_family = libc::AF_INET as libc::sa_family_t;
            slot.sin_port = address.port().to_be();
            slot.sin_addr.s_addr = u32::from(*address.ip()).to_be();
            size_of::<libc::sockaddr_in>() as libc::socklen_t
        }
        SocketAddr::V6(address) => {
            // SAFETY: as above.
            let slot: &mut libc::sockaddr_in6 = unsafe { &mut *ptr::from_mut(storage).cast() };
            slot.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            slot.sin6_port = address.port().to_be();
            slot.sin6_addr.s6_addr = address.ip().octets();
            slot.sin6_scope_id = address.scope_id();
            size_of::<libc::sockaddr_in6>() as libc::socklen_t
        }
    }
}

/// Receives one message without waiting; returns its length.
pub fn receive_from(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
) -> io::Result<(usize, Option<SocketAddr>, Option<IpAddr>)> {
    // SAFETY: these are plain data for which all zeroes is valid.
    let (mut name, mut header): (libc::sockaddr_storage, libc::msghdr) = unsafe { (zeroed(), zeroed()) };
    let mut control = [0u64; CONTROL_WORDS];
    let mut vector = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    header.msg_name = ptr::from_mut(&mut name).cast();
    header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
    header.msg_iov = &raw mut vector;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of::<[u64; CONTROL_WORDS]>();
    // SAFETY: the header points at live buffers of the lengths it tells.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &mut header, libc::MSG_DONTWAIT) };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    let peer = if header.msg_namelen > 0 { decode(&name) } else { None };
    let (local, _) = read_control(&header);
    Ok((length.min(buffer.len()), peer, local.map(|address| address.ip())))
}
