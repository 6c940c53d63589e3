//! What a container asks: one question, checked from the first byte to the last.

use super::answer::code;
use super::wire::{self, HEADER, Malformed, Section, flag};

/// The most bytes a question's message may have; longer ones are not looked at.
pub const LARGEST: usize = 4096;
/// What is answered over UDP without EDNS (RFC 1035 section 4.2.1).
const PLAIN_LIMIT: u16 = 512;
/// Where answers over UDP end, whatever a client says it takes.
const UDP_LIMIT: u16 = 4096;

/// Whole zones are not for forwarding.
const IXFR: u16 = 251;
const AXFR: u16 = 252;

/// What of a client's OPT record concerns a forwarder (RFC 6891); options are between neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edns {
    /// The largest answer it takes over UDP, in bytes.
    pub payload: u16,
    pub dnssec: bool,
}

/// A well-formed query with one question.
#[derive(Clone, Debug)]
pub struct Query {
    pub id: u16,
    /// The header's second word as sent.
    pub flags: u16,
    /// Name, TYPE and CLASS as sent.
    pub question: Box<[u8]>,
    pub kind: u16,
    pub class: u16,
    pub edns: Option<Edns>,
}

/// What a packet turned out to be.
#[derive(Debug)]
pub enum Parsed {
    Query(Query),
    /// Not answerable, but for this error.
    Error(Vec<u8>),
    /// Nothing that may be replied to.
    Nothing,
}

/// Reads a packet from a container.
pub fn parse(message: &[u8]) -> Parsed {
    let (Ok(id), Ok(flags)) = (wire::u16_at(message, 0), wire::u16_at(message, 2)) else { return Parsed::Nothing };
    if message.len() < HEADER || message.len() > LARGEST || flags & flag::RESPONSE != 0 {
        return Parsed::Nothing;
    }
    if flags & flag::OPCODE != 0 {
        return Parsed::Error(error(id, flags, code::NOTIMP));
    }
    match read(message, id, flags) {
        Ok((_, version)) if version > 0 => Parsed::Error(bad_version(id, flags)),
        Ok((query, _)) if matches!(query.kind, AXFR | IXFR) => Parsed::Error(error(id, flags, code::REFUSED)),
        Ok((query, _)) => Parsed::Query(query),
        Err(Malformed) => Parsed::Error(error(id, flags, code::FORMERR)),
    }
}

/// The query and the version of EDNS that it speaks.
fn read(message: &[u8], id: u16, flags: u16) -> Result<(Query, u8), Malformed> {
    if wire::u16_at(message, 4)? != 1 {
        return Err(Malformed);
    }
    let question = wire::question(message)?;
    let end = HEADER + question.len();
    let (kind, class) = (wire::u16_at(message, end - 4)?, wire::u16_at(message, end - 2)?);
    let mut query = Query { id, flags, question: question.into(), kind, class, edns: None };
    let mut version = 0;
    let mut records = wire::records(message, end)?;
    for record in &mut records {
        let record = record?;
        if record.kind != wire::OPT {
            continue;
        }
        let root = record.fixed == record.start + 1;
        if query.edns.is_some() || !root || record.section != Section::Additional {
            return Err(Malformed);
        }
        version = (record.ttl >> 16) as u8;
        query.edns = Some(Edns { payload: wire::u16_at(message, record.fixed + 2)?, dnssec: record.ttl & 0x8000 != 0 });
    }
    if records.position() != message.len() {
        return Err(Malformed);
    }
    Ok((query, version))
}

/// A bare header with an error, never longer than what it replies to.
fn error(id: u16, flags: u16, rcode: u16) -> Vec<u8> {
    let kept = flags & (flag::OPCODE | flag::RECURSION_DESIRED | flag::CHECKING_DISABLED);
    let mut reply = vec![0; HEADER];
    wire::put_u16(&mut reply, 0, id);
    wire::put_u16(&mut reply, 2, flag::RESPONSE | flag::RECURSION_AVAILABLE | kept | rcode);
    reply
}

/// BADVERS: an OPT record that says which version is spoken here.
fn bad_version(id: u16, flags: u16) -> Vec<u8> {
    let mut reply = error(id, flags, 0);
    wire::put_u16(&mut reply, 10, 1);
    reply.extend(opt_record(1, false, &[]));
    reply
}

/// An OPT record of ours: `high` are the upper bits of the response code.
pub fn opt_record(high: u8, dnssec: bool, options: &[u8]) -> Vec<u8> {
    let mut record = vec![0];
    record.extend(wire::OPT.to_be_bytes());
    record.extend((LARGEST as u16).to_be_bytes());
    record.extend([high, 0, if dnssec { 0x80 } else { 0 }, 0]);
    record.extend((options.len() as u16).to_be_bytes());
    record.extend(options);
    record
}

impl Query {
    /// The question with its name in lower case: equal for equal questions.
    pub fn folded(&self) -> Box<[u8]> {
        let mut folded = self.question.clone();
        if let Some((name, _)) = folded.split_last_chunk_mut::<4>() {
            name.make_ascii_lowercase();
        }
        folded
    }

    /// The name's labels, as sent.
    pub fn labels(&self) -> Vec<&[u8]> {
        let mut labels = Vec::new();
        let mut rest = &self.question[..];
        while let Some((&length @ 1..=63, behind)) = rest.split_first() {
            let Some((label, behind)) = behind.split_at_checked(length.into()) else { break };
            labels.push(label);
            rest = behind;
        }
        labels
    }

    /// The name in lower case without a trailing dot; None if it is nothing that a container or address
    /// can be called (the root, dots or control characters within a label).
    pub fn name(&self) -> Option<String> {
        let labels = self.labels();
        let plain = |label: &&[u8]| !label.iter().any(|byte| *byte == b'.' || byte.is_ascii_control() || *byte == b' ');
        if labels.is_empty() || !labels.iter().all(plain) {
            return None;
        }
        String::from_utf8(labels.join(&b'.')).ok().map(|name| name.to_ascii_lowercase())
    }

    /// The largest answer over UDP, in bytes.
    pub fn udp_limit(&self) -> u16 {
        self.edns.map_or(PLAIN_LIMIT, |edns| edns.payload.clamp(PLAIN_LIMIT, UDP_LIMIT))
    }

    /// The header bits that change what the answer is: RD, AD, CD.
    pub fn wishes(&self) -> u16 {
        self.flags & (flag::RECURSION_DESIRED | flag::AUTHENTIC | flag::CHECKING_DISABLED)
    }

    /// The query that goes upstream, with id 0: our own OPT record, and only if the client sent one, since
    /// cookies and other options are between neighbours.
    pub fn to_upstream(&self) -> Vec<u8> {
        let mut message = vec![0; HEADER];
        wire::put_u16(&mut message, 2, self.wishes());
        wire::put_u16(&mut message, 4, 1);
        message.extend(&self.question);
        if let Some(edns) = self.edns {
            let mut record = opt_record(0, edns.dnssec, &[]);
            wire::put_u16(&mut record, 3, self.udp_limit());
            wire::put_u16(&mut message, 10, 1);
            message.extend(record);
        }
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03WeB\0\0\x01\0\x01";

    fn query(message: &[u8]) -> Query {
        match parse(message) {
            Parsed::Query(query) => query,
            other => panic!("{other:?}"),
        }
    }

    fn code(message: &[u8]) -> Option<u8> {
        match parse(message) {
            Parsed::Error(reply) => Some(reply[3] & 15),
            _ => None,
        }
    }

    #[test]
    fn plain_queries_are_read() {
        let query = query(PLAIN);
        assert_eq!((query.id, query.kind, query.class, query.edns), (0x1234, 1, 1, None));
        assert_eq!(query.name().as_deref(), Some("web"));
        assert_eq!(&*query.folded(), b"\x03web\0\0\x01\0\x01");
        assert_eq!(query.to_upstream(), [b"\0\0", &PLAIN[2..]].concat());
        assert_eq!(query.udp_limit(), 512);
    }

    #[test]
    fn edns_is_read_and_made_anew() {
        let cookie = b"\0\0\x29\x10\0\0\0\x80\0\0\x0c\0\x0a\0\x08abcdefgh";
        let mut message = [PLAIN, cookie].concat();
        message[11] = 1;
        let query = query(&message);
        assert_eq!(query.edns, Some(Edns { payload: 4096, dnssec: true }));
        let upstream = query.to_upstream();
        assert_eq!(&upstream[PLAIN.len()..], b"\0\0\x29\x10\0\0\0\x80\0\0\0");
        message.extend(cookie);
        message[11] = 2;
        assert_eq!(code(&message), Some(1));
        let mut newer = [PLAIN, cookie].concat();
        newer[11] = 1;
        newer[PLAIN.len() + 6] = 1;
        assert_eq!(code(&newer), Some(0), "the code of BADVERS is in its OPT record");
    }

    #[test]
    fn what_is_no_query_gets_little_or_nothing() {
        for cut in 0..HEADER {
            assert!(matches!(parse(&PLAIN[..cut]), Parsed::Nothing));
        }
        for cut in HEADER..PLAIN.len() {
            assert_eq!(code(&PLAIN[..cut]), Some(1));
        }
        let with = |at: usize, byte: u8| [&PLAIN[..at], &[byte], &PLAIN[at + 1..]].concat();
        assert!(matches!(parse(&with(2, 0x81)), Parsed::Nothing), "a response");
        assert_eq!(code(&with(2, 0x29)), Some(4), "an update");
        assert_eq!(code(&with(5, 2)), Some(1), "two questions");
        assert_eq!(code(&with(11, 1)), Some(1), "a record too few");
        assert_eq!(code(&[PLAIN, b"x"].concat()), Some(1), "bytes left over");
        assert_eq!(code(&with(18, 252)), Some(5), "a zone transfer");
        assert!(matches!(parse(&[PLAIN, &[0; LARGEST]].concat()), Parsed::Nothing));
    }

    #[test]
    fn odd_names_are_nobodys() {
        for name in [&b"\0"[..], b"\x03a.b\0", b"\x02\xff\xfe\0", b"\x02a\n\0"] {
            let message = [&PLAIN[..HEADER], name, b"\0\x01\0\x01"].concat();
            assert_eq!(query(&message).name(), None);
        }
    }
}
