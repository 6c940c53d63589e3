//! Taking apart what the kernel answers: acknowledgements, errors and the ends of dumps.

use netlink_packet_core::{NlasIterator, parse_string};
use rustix::io::Errno;

const HEADER: usize = 16;
const NLMSG_NOOP: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_CAPPED: u16 = 0x100;
const NLM_F_ACK_TLVS: u16 = 0x200;
const NLMSGERR_ATTR_MSG: u16 = 1;

/// One message of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reply<'a> {
    pub sequence: u32,
    /// A dump met changes while it ran: what it says may not fit together.
    pub interrupted: bool,
    pub content: Content<'a>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content<'a> {
    /// Done, or the end of a dump.
    Done,
    /// Refused, with what the kernel says about it (extended acknowledgement).
    Refused(Errno, Option<String>),
    /// A whole message, header included.
    Message(&'a [u8]),
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Splits a datagram from the kernel into its messages; ends at the first that is malformed.
pub(super) fn replies(mut datagram: &[u8]) -> impl Iterator<Item = Reply<'_>> {
    std::iter::from_fn(move || {
        loop {
            let length = u32_at(datagram, 0)? as usize;
            let message = datagram.get(..length).filter(|message| message.len() >= HEADER)?;
            datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
            if u16_at(message, 4)? != NLMSG_NOOP {
                return reply(message);
            }
        }
    })
}

fn reply(message: &[u8]) -> Option<Reply<'_>> {
    let flags = u16_at(message, 6)?;
    let content = match u16_at(message, 4)? {
        NLMSG_ERROR => status(u32_at(message, HEADER)?, || explanation(message, flags)),
        // The end of a dump carries its status too.
        NLMSG_DONE => status(u32_at(message, HEADER).unwrap_or(0), || None),
        _ => Content::Message(message),
    };
    Some(Reply { sequence: u32_at(message, 8)?, interrupted: flags & NLM_F_DUMP_INTR != 0, content })
}

fn status<'a>(code: u32, explain: impl FnOnce() -> Option<String>) -> Content<'a> {
    match code as i32 {
        0.. => Content::Done,
        code => Content::Refused(Errno::from_raw_os_error(code.saturating_neg()), explain()),
    }
}

/// The text of the extended acknowledgement, which follows the echoed request (only its header if capped).
fn explanation(message: &[u8], flags: u16) -> Option<String> {
    if flags & NLM_F_ACK_TLVS == 0 {
        return None;
    }
    let echoed = match flags & NLM_F_CAPPED {
        0 => (u32_at(message, HEADER + 4)? as usize).next_multiple_of(4),
        _ => HEADER,
    };
    let attributes = message.get(HEADER + 4 + echoed..)?;
    let text = NlasIterator::new(attributes).map_while(Result::ok).find(|nla| nla.kind() == NLMSGERR_ATTR_MSG)?;
    parse_string(text.value()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(flags.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn errors_carry_the_kernels_words() {
        let mut body = (-17i32).to_ne_bytes().to_vec();
        body.extend([0; HEADER]);
        body.extend([8, 0, 1, 0, b'h', b'u', b'h', 0]);
        let bytes = message(NLMSG_ERROR, NLM_F_CAPPED | NLM_F_ACK_TLVS, 7, &body);
        let found: Vec<_> = replies(&bytes).collect();
        let content = Content::Refused(Errno::EXIST, Some("huh".to_owned()));
        assert_eq!(found, [Reply { sequence: 7, interrupted: false, content }]);
    }

    #[test]
    fn acknowledgements_and_ends_of_dumps() {
        let mut bytes = message(NLMSG_NOOP, 0, 1, &[]);
        bytes.extend(message(20, NLM_F_DUMP_INTR, 1, &[1, 2, 3]));
        bytes.extend(message(NLMSG_ERROR, 0, 2, &[0; 20]));
        bytes.extend(message(NLMSG_DONE, 0, 3, &[0; 4]));
        let found: Vec<_> = replies(&bytes).collect();
        assert_eq!(found.len(), 3);
        assert!(found[0].interrupted && matches!(found[0].content, Content::Message(_)));
        assert_eq!((found[1].sequence, &found[1].content), (2, &Content::Done));
        assert_eq!((found[2].sequence, &found[2].content), (3, &Content::Done));
    }

    #[test]
    fn malformed_datagrams_end_the_iteration() {
        for bytes in [&[][..], &[1, 2, 3], &[0; 64], &[255; 64], &[17, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]]
        {
            assert_eq!(replies(bytes).count(), 0, "{bytes:?}");
        }
    }
}
