//! The few packets that the relay reads and writes itself. What containers send is hostile: every
//! read is bounds-checked and every length is compared with what is there.

use std::net::{IpAddr, SocketAddr};

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
/// What an ICMPv4 error quotes: the header without options and eight bytes (RFC 792); an ICMPv6
/// error may quote as much as fits into 1,280 bytes (RFC 4443 section 2.4).
const QUOTE: usize = 548;
const HOPS: u8 = 64;

/// A connection request as it came from a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Syn {
    /// The container's address and port.
    pub source: SocketAddr,
    /// Where it wants to connect.
    pub destination: SocketAddr,
    /// The whole packet from the IP header on, without padding.
    pub packet: Box<[u8]>,
    /// Where the TCP header starts.
    header: usize,
}

/// Why a packet could not be delivered (RFC 792, RFC 4443).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// No route to the network.
    Network,
    /// The host does not answer.
    Host,
    /// Nothing listens at the port.
    Port,
    /// Forbidden by a filter.
    Prohibited,
}

impl Reason {
    fn v4(self) -> (u8, u8) {
        match self {
            Self::Network => (3, 0),
            Self::Host => (3, 1),
            Self::Port => (3, 3),
            Self::Prohibited => (3, 13),
        }
    }

    fn v6(self) -> (u8, u8) {
        match self {
            Self::Network => (1, 0),
            Self::Host => (1, 3),
            Self::Port => (1, 4),
            Self::Prohibited => (1, 1),
        }
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn address<const N: usize>(bytes: &[u8], at: usize) -> Option<IpAddr>
where
    IpAddr: From<[u8; N]>,
{
    Some(IpAddr::from(<[u8; N]>::try_from(bytes.get(at..at + N)?).ok()?))
}

/// Reads a TCP SYN without ACK, RST or FIN; anything else is None.
pub(crate) fn parse_syn(bytes: &[u8]) -> Option<Syn> {
    let (source, destination, header, total) = match bytes.first()? >> 4 {
        4 => {
            let header = usize::from(bytes[0] & 0xf) * 4;
            let fragment = word(bytes, 6)? & 0x3fff;
            if header < 20 || *bytes.get(9)? != TCP || fragment != 0 {
                return None;
            }
            (address::<4>(bytes, 12)?, address::<4>(bytes, 16)?, header, usize::from(word(bytes, 2)?))
        }
        6 if *bytes.get(6)? == TCP => {
            (address::<16>(bytes, 8)?, address::<16>(bytes, 24)?, 40, 40 + usize::from(word(bytes, 4)?))
        }
        _ => return None,
    };
    let packet = bytes.get(..total)?;
    let tcp = packet.get(header..)?;
    let offset = usize::from(*tcp.get(12)? >> 4) * 4;
    if offset < 20 || offset > tcp.len() || tcp.get(13)? & 0x17 != 0x02 {
        return None;
    }
    let (from, to) = (word(tcp, 0)?, word(tcp, 2)?);
    if from == 0 || to == 0 {
        return None;
    }
    Some(Syn {
        source: SocketAddr::new(source, from),
        destination: SocketAddr::new(destination, to),
        packet: packet.into(),
        header,
    })
}

impl Syn {
    /// Computes the checksum of the TCP segment, which a veth leaves to hardware that is not there.
    pub fn fill_checksum(&mut self) {
        let (source, destination) = (self.source.ip(), self.destination.ip());
        if let Some(segment) = self.packet.get_mut(self.header..) {
            fill_checksum(segment, 16, source, destination, TCP);
        }
    }

    /// The packet that refuses the connection as a closed port would (RFC 9293 section 3.10.7.1).
    pub fn refusal(&self) -> Vec<u8> {
        let tcp = self.packet.get(self.header..).unwrap_or_default();
        let sequence = tcp.get(4..8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes);
        let offset = usize::from(tcp.get(12).copied().unwrap_or(0x50) >> 4) * 4;
        let acknowledged = sequence.wrapping_add(1).wrapping_add(tcp.len().saturating_sub(offset) as u32);
        let mut segment = [0u8; 20];
        segment[0..2].copy_from_slice(&self.destination.port().to_be_bytes());
        segment[2..4].copy_from_slice(&self.source.port().to_be_bytes());
        segment[8..12].copy_from_slice(&acknowledged.to_be_bytes());
        segment[12] = 0x50;
        segment[13] = 0x14; // RST and ACK
        fill_checksum(&mut segment, 16, self.destination.ip(), self.source.ip(), TCP);
        wrap(&segment, self.destination.ip(), self.source.ip(), TCP).unwrap_or_default()
    }
}

/// The start of a datagram of a flow, for an error message to quote.
pub(crate) fn datagram_head(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let mut header = [0u8; 8];
    header[0..2].copy_from_slice(&source.port().to_be_bytes());
    header[2..4].copy_from_slice(&destination.port().to_be_bytes());
    header[5] = 8;
    wrap(&header, source.ip(), destination.ip(), UDP).unwrap_or_default()
}

/// An ICMP or ICMPv6 error from `from` about the packet `original` of `to`. None when the families differ.
pub(crate) fn unreachable(original: &[u8], from: IpAddr, to: IpAddr, reason: Reason) -> Option<Vec<u8>> {
    let (kind, code) = if to.is_ipv6() { reason.v6() } else { reason.v4() };
    let mut message = vec![kind, code, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(&original[..original.len().min(QUOTE)]);
    finish_icmp(message, from, to)
}

/// An echo request or reply as it lies after the IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Echo<'a> {
    /// Tells the sender's own streams of requests apart.
    pub identifier: u16,
    /// Sequence number.
    pub sequence: u16,
    /// The rest.
    pub payload: &'a [u8],
}

/// Reads an echo request (`reply` false) or reply. The kernel has checked the checksum.
pub(crate) fn parse_echo(message: &[u8], v6: bool, reply: bool) -> Option<Echo<'_>> {
    let wanted = match (v6, reply) {
        (false, false) => 8,
        (false, true) => 0,
        (true, false) => 128,
        (true, true) => 129,
    };
    if *message.first()? != wanted || *message.get(1)? != 0 {
        return None;
    }
    Some(Echo { identifier: word(message, 4)?, sequence: word(message, 6)?, payload: message.get(8..)? })
}

/// Splits what a raw ICMPv4 socket delivers into source, destination and message.
pub(crate) fn split_v4(bytes: &[u8]) -> Option<(IpAddr, IpAddr, &[u8])> {
    let header = usize::from(bytes.first()? & 0xf) * 4;
    if bytes[0] >> 4 != 4 || header < 20 {
        return None;
    }
    Some((address::<4>(bytes, 12)?, address::<4>(bytes, 16)?, bytes.get(header..)?))
}

/// An echo message: as it goes to a ping socket, whose kernel side fills identifier and checksum.
pub(crate) fn echo_request(echo: &Echo<'_>, v6: bool) -> Vec<u8> {
    echo_message(if v6 { 128 } else { 8 }, echo)
}

/// A whole echo reply packet. None when the families differ or it would be too long.
pub(crate) fn echo_reply(echo: &Echo<'_>, from: IpAddr, to: IpAddr) -> Option<Vec<u8>> {
    finish_icmp(echo_message(if to.is_ipv6() { 129 } else { 0 }, echo), from, to)
}

/// A whole echo request packet as the container sent it, for an error to quote.
pub(crate) fn echo_original(echo: &Echo<'_>, from: IpAddr, to: IpAddr) -> Option<Vec<u8>> {
    finish_icmp(echo_request(echo, to.is_ipv6()), from, to)
}

fn echo_message(kind: u8, echo: &Echo<'_>) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0];
    message.extend_from_slice(&echo.identifier.to_be_bytes());
    message.extend_from_slice(&echo.sequence.to_be_bytes());
    message.extend_from_slice(echo.payload);
    message
}

/// Adds checksum and IP header to an ICMP message.
fn finish_icmp(mut message: Vec<u8>, from: IpAddr, to: IpAddr) -> Option<Vec<u8>> {
    if to.is_ipv6() {
        fill_checksum(&mut message, 2, from, to, ICMPV6);
        return wrap(&message, from, to, ICMPV6);
    }
    let sum = fold(add(0, &message));
    message.get_mut(2..4)?.copy_from_slice(&(!sum).to_be_bytes());
    wrap(&message, from, to, ICMP)
}

/// Puts an IP header before a payload. None when families differ or the length does not fit.
fn wrap(payload: &[u8], from: IpAddr, to: IpAddr, protocol: u8) -> Option<Vec<u8>> {
    let mut packet = Vec::with_capacity(40 + payload.len());
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let length = u16::try_from(20 + payload.len()).ok()?;
            packet.extend_from_slice(&[0x45, 0]);
            packet.extend_from_slice(&length.to_be_bytes());
            packet.extend_from_slice(&[0, 0, 0, 0, HOPS, protocol, 0, 0]);
            packet.extend_from_slice(&from.octets());
            packet.extend_from_slice(&to.octets());
            let sum = fold(add(0, &packet));
            packet[10..12].copy_from_slice(&(!sum).to_be_bytes());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let length = u16::try_from(payload.len()).ok()?;
            packet.extend_from_slice(&[0x60, 0, 0, 0]);
            packet.extend_from_slice(&length.to_be_bytes());
            packet.extend_from_slice(&[protocol, HOPS]);
            packet.extend_from_slice(&from.octets());
            packet.extend_from_slice(&to.octets());
        }
        _ => return None,
    }
    packet.extend_from_slice(payload);
    Some(packet)
}

/// Adds bytes to a ones' complement sum (RFC 1071).
fn add(mut sum: u64, bytes: &[u8]) -> u64 {
    let mut pairs = bytes.chunks_exact(2);
    for pair in &mut pairs {
        sum += u64::from(u16::from_be_bytes([pair[0], pair[1]]));
    }
    match pairs.remainder() {
        [last] => sum + (u64::from(*last) << 8),
        _ => sum,
    }
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// Writes the checksum with its pseudo header at offset `at` of a segment; too short a segment is left alone.
fn fill_checksum(segment: &mut [u8], at: usize, from: IpAddr, to: IpAddr, protocol: u8) {
    let mut sum = u64::from(protocol) + segment.len() as u64;
    for address in [from, to] {
        sum = match address {
            IpAddr::V4(address) => add(sum, &address.octets()),
            IpAddr::V6(address) => add(sum, &address.octets()),
        };
    }
    let Some(field) = segment.get_mut(at..at + 2) else { return };
    field.fill(0);
    let sum = !fold(add(sum, segment));
    segment[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn syn(from: &str, to: &str, data: &[u8]) -> Vec<u8> {
        let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
        let mut segment = vec![0u8; 20];
        segment[0..2].copy_from_slice(&from.port().to_be_bytes());
        segment[2..4].copy_from_slice(&to.port().to_be_bytes());
        segment[4..8].copy_from_slice(&7u32.to_be_bytes());
        segment[12] = 0x50;
        segment[13] = 0x02;
        segment.extend_from_slice(data);
        wrap(&segment, from.ip(), to.ip(), TCP).unwrap()
    }

    fn is_valid(packet: &[u8], from: IpAddr, to: IpAddr, protocol: u8) -> bool {
        let payload = &packet[if to.is_ipv6() { 40 } else { 20 }..];
        let mut copy = payload.to_vec();
        let at = if protocol == TCP { 16 } else { 2 };
        fill_checksum(&mut copy, at, from, to, protocol);
        copy == payload
    }

    #[test]
    fn requests_are_read_and_refused() {
        for (from, to) in [("10.0.0.2:4000", "192.0.2.1:80"), ("[fd00::2]:4000", "[2001:db8::1]:80")] {
            let mut bytes = syn(from, to, b"abc");
            bytes.extend_from_slice(&[0; 9]); // padding of a short frame
            let mut parsed = parse_syn(&bytes).unwrap();
            assert_eq!((parsed.source.to_string().as_str(), parsed.destination.to_string().as_str()), (from, to));
            parsed.fill_checksum();
            let (source, destination) = (parsed.source.ip(), parsed.destination.ip());
            assert!(is_valid(&parsed.packet, source, destination, TCP));
            let refusal = parsed.refusal();
            assert!(is_valid(&refusal, destination, source, TCP));
            let tcp = &refusal[refusal.len() - 20..];
            assert_eq!(tcp[8..12], 11u32.to_be_bytes(), "sequence, one for SYN, three for the data");
            assert_eq!(tcp[13], 0x14);
        }
    }

    #[test]
    fn only_plain_requests_are_taken() {
        let good = syn("10.0.0.2:4000", "192.0.2.1:80", b"");
        for (at, value) in
            [(0, 0x44), (9, 17), (6, 0x20), (7, 1), (33, 0x12), (33, 0x10), (33, 0x03), (32, 0x40), (32, 0xf0), (3, 30)]
        {
            let mut bad = good.clone();
            bad[at] = value;
            assert_eq!(parse_syn(&bad), None, "byte {at}");
        }
        assert_eq!(parse_syn(&syn("10.0.0.2:0", "192.0.2.1:80", b"")), None);
        assert_eq!(parse_syn(&good[..39]), None);
    }

    #[test]
    fn errors_quote_what_failed() {
        let (from, to): (SocketAddr, SocketAddr) = ("10.0.0.2:5".parse().unwrap(), "192.0.2.1:9".parse().unwrap());
        let head = datagram_head(from, to);
        let error = unreachable(&head, to.ip(), from.ip(), Reason::Port).unwrap();
        assert_eq!(error[20..22], [3, 3]);
        assert_eq!(&error[28..], head);
        let (from, to): (SocketAddr, SocketAddr) = ("[fd00::2]:5".parse().unwrap(), "[fd01::1]:9".parse().unwrap());
        let error = unreachable(&datagram_head(from, to), to.ip(), from.ip(), Reason::Prohibited).unwrap();
        assert_eq!(error[40..42], [1, 1]);
        assert!(is_valid(&error, to.ip(), from.ip(), ICMPV6));
        assert_eq!(unreachable(&head, to.ip(), "10.0.0.2".parse().unwrap(), Reason::Host), None);
    }

    #[test]
    fn echoes_are_answered() {
        let echo = Echo { identifier: 7, sequence: 9, payload: b"odd" };
        let (from, to): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let packet = echo_reply(&echo, from, to).unwrap();
        let (source, destination, message) = split_v4(&packet).unwrap();
        assert_eq!((source, destination), (from, to));
        assert_eq!(fold(add(0, message)), 0xffff);
        assert_eq!(parse_echo(message, false, true), Some(echo));
        assert_eq!(parse_echo(message, false, false), None);
        assert_eq!(echo_reply(&Echo { payload: &[0; 65535], ..echo }, from, to), None);
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_parsers(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            if let Some(mut syn) = parse_syn(&bytes) {
                syn.fill_checksum();
                syn.refusal();
                unreachable(&syn.packet, syn.destination.ip(), syn.source.ip(), Reason::Host);
            }
            split_v4(&bytes);
            for (v6, reply) in [(false, false), (false, true), (true, false), (true, true)] {
                parse_echo(&bytes, v6, reply);
            }
        }

        #[test]
        fn no_change_of_a_good_packet_breaks_the_parser(at in 0usize..40, value: u8, cut in 0usize..44, v6: bool) {
            let mut bytes = if v6 { syn("[fd00::2]:4000", "[fd01::1]:80", b"data") } else { syn("10.0.0.2:4000", "192.0.2.1:80", b"data") };
            bytes[at] = value;
            bytes.truncate(bytes.len() - cut);
            if let Some(syn) = parse_syn(&bytes) {
                prop_assert!(syn.packet.len() <= bytes.len());
                syn.refusal();
            }
        }
    }
}
