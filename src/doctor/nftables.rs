//! Can nf_tables steer flows with tproxy? Asked by making such a rule over netlink, in a network
//! namespace that nobody uses (linux/netfilter/nf_tables.h, nfnetlink.h).

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with};

const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;
const NLMSG_ERROR: u16 = 2;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const SUBSYSTEM: u16 = 10;
const NEW_TABLE: u16 = SUBSYSTEM << 8;
const NEW_CHAIN: u16 = SUBSYSTEM << 8 | 3;
const NEW_RULE: u16 = SUBSYSTEM << 8 | 6;
const IPV4: u8 = 2;
const NESTED: u16 = 0x8000;
const NAME: &[u8] = b"rbox-probe\0";
/// Sequence numbers of the messages, by which answers are told apart.
const BEGIN_SEQUENCE: u32 = 1;
const TABLE_SEQUENCE: u32 = 2;
const CHAIN_SEQUENCE: u32 = 3;
const RULE_SEQUENCE: u32 = 4;

/// Which of the messages were refused, and how.
#[derive(Debug, Default)]
pub struct Errors {
    /// Of the table or its chain, or of the whole batch.
    pub chain: Option<i32>,
    /// Of the tproxy rule.
    pub rule: Option<i32>,
}

/// Makes a table, a chain and a tproxy rule in this network namespace, which should be a fresh one.
pub fn probe() -> Result<Errors, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(netlink::NETFILTER))?;
    send(&socket, &batch(), SendFlags::empty())?;
    let mut errors = Errors::default();
    // The kernel has answered by the time send(2) returns.
    let mut buffer = [0u8; 16 << 10];
    loop {
        match recv(&socket, &mut buffer, RecvFlags::empty()) {
            Ok((length, _)) => note(&buffer[..length], &mut errors),
            Err(Errno::AGAIN) => return Ok(errors),
            Err(error) => return Err(error),
        }
    }
}

/// Walks the messages of one datagram for errors.
fn note(mut bytes: &[u8], errors: &mut Errors) {
    let word = |bytes: &[u8], at: usize| bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_ne_bytes);
    while let (Some(length), Some(sequence)) = (word(bytes, 0), word(bytes, 8)) {
        let length = length as usize;
        let kind = u16::from_ne_bytes([bytes[4], bytes[5]]);
        if length < 16 {
            return;
        }
        let errno = word(bytes, 16).map(|number| -(number as i32)).filter(|&errno| kind == NLMSG_ERROR && errno != 0);
        match sequence {
            BEGIN_SEQUENCE | TABLE_SEQUENCE | CHAIN_SEQUENCE => errors.chain = errors.chain.or(errno),
            RULE_SEQUENCE => errors.rule = errors.rule.or(errno),
            _ => {}
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
}

fn batch() -> Vec<u8> {
    let mut bytes = message(BATCH_BEGIN, REQUEST, BEGIN_SEQUENCE, 0, SUBSYSTEM, &[]);
    let table = attribute(1, NAME);
    bytes.extend(message(NEW_TABLE, REQUEST | CREATE | ACK, TABLE_SEQUENCE, IPV4, 0, &table));
    bytes.extend(message(NEW_CHAIN, REQUEST | CREATE | ACK, CHAIN_SEQUENCE, IPV4, 0, &chain()));
    bytes.extend(message(NEW_RULE, REQUEST | CREATE | APPEND | ACK, RULE_SEQUENCE, IPV4, 0, &rule()));
    bytes.extend(message(BATCH_END, REQUEST, RULE_SEQUENCE + 1, 0, SUBSYSTEM, &[]));
    bytes
}

/// nlmsghdr, nfgenmsg, attributes.
fn message(kind: u16, flags: u16, sequence: u32, family: u8, resource: u16, attributes: &[u8]) -> Vec<u8> {
    let length = (16 + 4 + attributes.len()) as u32;
    let mut bytes = Vec::with_capacity(length as usize);
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend(0u32.to_ne_bytes());
    bytes.extend([family, 0]);
    bytes.extend(resource.to_be_bytes());
    bytes.extend(attributes);
    bytes
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend((4 + value.len() as u16).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn nested(kind: u16, attributes: &[Vec<u8>]) -> Vec<u8> {
    attribute(kind | NESTED, &attributes.concat())
}

/// A filter chain at the hook before routing, the only one where tproxy is allowed.
fn chain() -> Vec<u8> {
    const PRE_ROUTING: u32 = 0;
    const PRIORITY_MANGLE: i32 = -150;
    let hook = nested(4, &[attribute(1, &PRE_ROUTING.to_be_bytes()), attribute(2, &PRIORITY_MANGLE.to_be_bytes())]);
    [attribute(1, NAME), attribute(3, NAME), hook, attribute(7, b"filter\0")].concat()
}

/// Port 1 into a register, then tproxy to the port in it.
fn rule() -> Vec<u8> {
    const REGISTER: u32 = 1;
    const FAMILY: u32 = IPV4 as u32;
    let immediate = [attribute(1, &REGISTER.to_be_bytes()), nested(2, &[attribute(1, &1u16.to_be_bytes())])];
    let tproxy = [attribute(1, &FAMILY.to_be_bytes()), attribute(3, &REGISTER.to_be_bytes())];
    let expression = |name: &[u8], data: &[Vec<u8>]| nested(1, &[attribute(1, name), nested(2, data)]);
    let expressions = nested(4, &[expression(b"immediate\0", &immediate), expression(b"tproxy\0", &tproxy)]);
    [attribute(1, NAME), attribute(2, NAME), expressions].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_whatever_they_are() {
        let mut errors = Errors::default();
        let answer = |sequence: u32, errno: i32| {
            let mut bytes = Vec::new();
            bytes.extend(36u32.to_ne_bytes());
            bytes.extend(NLMSG_ERROR.to_ne_bytes());
            bytes.extend([0; 2]);
            bytes.extend(sequence.to_ne_bytes());
            bytes.extend([0; 4]);
            bytes.extend((-errno).to_ne_bytes());
            bytes.resize(36, 0);
            bytes
        };
        note(&[answer(TABLE_SEQUENCE, 0), answer(RULE_SEQUENCE, 2)].concat(), &mut errors);
        assert_eq!((errors.chain, errors.rule), (None, Some(2)));
        note(&answer(BEGIN_SEQUENCE, 95), &mut errors);
        assert_eq!(errors.chain, Some(95));
        for length in 0..36 {
            note(&answer(1, 1)[..length], &mut errors);
        }
        note(&[0; 64], &mut errors);
    }

    #[test]
    fn messages_are_aligned_and_count_themselves() {
        let mut rest = &batch()[..];
        let mut kinds = Vec::new();
        while !rest.is_empty() {
            let length = u32::from_ne_bytes(rest[..4].try_into().unwrap()) as usize;
            assert!(length.is_multiple_of(4) && length >= 20);
            kinds.push(u16::from_ne_bytes([rest[4], rest[5]]));
            rest = &rest[length..];
        }
        assert_eq!(kinds, [BATCH_BEGIN, NEW_TABLE, NEW_CHAIN, NEW_RULE, BATCH_END]);
    }
}
