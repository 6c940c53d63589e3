//! An answer as it is kept, and as each client that waits for it gets it.

use super::query::{Query, opt_record};
use super::wire::{self, HEADER, Malformed, Section, flag};

/// Response codes (RFC 1035, RFC 6895).
pub mod code {
    pub const NO_ERROR: u16 = 0;
    pub const FORMERR: u16 = 1;
    pub const SERVFAIL: u16 = 2;
    pub const NXDOMAIN: u16 = 3;
    pub const NOTIMP: u16 = 4;
    pub const REFUSED: u16 = 5;
}

/// The EDNS option that says more about an error (RFC 8914); the only one passed on.
const EXTENDED_ERROR: u16 = 15;
/// The most bytes of such options.
const OPTIONS_LIMIT: usize = 512;

/// A whole and well-formed response without its OPT record, records untouched.
#[derive(Clone, Debug)]
pub struct Answer {
    message: Vec<u8>,
    /// The upper bits of the response code.
    high: u8,
    /// Options for the OPT record, as on the wire.
    options: Vec<u8>,
}

/// How long an answer may be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    No,
    /// It says that something is there; seconds.
    Positive(u32),
    /// It says that nothing is there (RFC 2308); seconds.
    Negative(u32),
}

impl Answer {
    /// Takes a response to `question` that came from a server.
    pub fn read(message: &[u8], question: &[u8]) -> Result<Self, Malformed> {
        let flags = wire::u16_at(message, 2)?;
        if flags & flag::RESPONSE == 0 || flags & flag::OPCODE != 0 || wire::u16_at(message, 4)? != 1 {
            return Err(Malformed);
        }
        let asked = wire::question(message)?;
        if !wire::same_question(asked, question) {
            return Err(Malformed);
        }
        let mut answer = Self { message: Vec::new(), high: 0, options: Vec::new() };
        let mut records = wire::records(message, HEADER + asked.len())?;
        let mut additional = 0;
        let mut end = None;
        for record in &mut records {
            let record = record?;
            if record.kind == wire::OPT && record.section == Section::Additional {
                answer.high = (record.ttl >> 24) as u8;
                answer.options = extended_errors(&message[record.data]);
                // What stands behind it may point to names there, so it goes too; it is only additional.
                end = Some(record.start);
                break;
            }
            additional += u16::from(record.section == Section::Additional);
        }
        answer.message = message[..end.unwrap_or(records.position())].to_vec();
        wire::put_u16(&mut answer.message, 10, additional);
        Ok(answer)
    }

    /// An answer made here: encoded, without OPT.
    pub fn own(message: Vec<u8>) -> Self {
        Self { message, high: 0, options: Vec::new() }
    }

    /// An answer without records.
    pub fn empty(query: &Query, code: u16) -> Self {
        let kept = query.flags & (flag::RECURSION_DESIRED | flag::CHECKING_DISABLED);
        let mut message = vec![0; HEADER];
        wire::put_u16(&mut message, 2, flag::RESPONSE | flag::RECURSION_AVAILABLE | kept | code);
        wire::put_u16(&mut message, 4, 1);
        message.extend(&query.question);
        Self::own(message)
    }

    fn flags(&self) -> u16 {
        wire::u16_at(&self.message, 2).unwrap_or(0)
    }

    /// Its response code, the upper bits included.
    pub fn code(&self) -> u16 {
        u16::from(self.high) << 4 | self.flags() & flag::RCODE
    }

    /// Whether its server had more to say than fits a datagram.
    pub fn is_truncated(&self) -> bool {
        self.flags() & flag::TRUNCATED != 0
    }

    /// Its size in memory, in bytes.
    pub fn size(&self) -> usize {
        self.message.len() + self.options.len()
    }

    /// How long it may be kept by what its records say.
    pub fn keep(&self) -> Keep {
        let Ok(question) = wire::question(&self.message) else { return Keep::No };
        if self.is_truncated() || !matches!(self.code(), code::NO_ERROR | code::NXDOMAIN) {
            return Keep::No;
        }
        let kind = wire::u16_at(question, question.len() - 4).unwrap_or(0);
        let (mut shortest, mut found, mut negative) = (u32::MAX, false, None);
        let Ok(records) = wire::records(&self.message, HEADER + question.len()) else { return Keep::No };
        for record in records.flatten() {
            match record.section {
                Section::Answer => {
                    shortest = shortest.min(signed(record.ttl));
                    found |= record.kind == kind;
                }
                Section::Authority if record.kind == wire::SOA => {
                    let minimum = record.data.end.checked_sub(4).and_then(|at| wire::u32_at(&self.message, at).ok());
                    negative = minimum.map(|minimum| signed(record.ttl).min(signed(minimum)));
                }
                _ => {}
            }
        }
        match (found, negative) {
            (true, _) if self.code() == code::NO_ERROR => Keep::Positive(shortest),
            // An alias that leads nowhere: both the alias and the nothing have their time.
            (_, Some(seconds)) => Keep::Negative(seconds.min(shortest)),
            _ => Keep::No,
        }
    }

    /// The message for a client: its id, its spelling of the question, times to live less `age` seconds,
    /// at most `limit` bytes, an OPT record if it sent one.
    pub fn render(&self, query: &Query, limit: usize, age: u32) -> Vec<u8> {
        let mut opt = query.edns.map(|edns| opt_record(self.high, edns.dnssec, &self.options));
        let mut room = limit.saturating_sub(opt.as_ref().map_or(0, Vec::len));
        if self.message.len() > room && !self.options.is_empty() {
            opt = query.edns.map(|edns| opt_record(self.high, edns.dnssec, &[]));
            room = limit.saturating_sub(opt.as_ref().map_or(0, Vec::len));
        }
        let mut message = self.fit(room, query.question.len(), age);
        wire::put_u16(&mut message, 0, query.id);
        if let Some(place) = message.get_mut(HEADER..HEADER + query.question.len()) {
            place.copy_from_slice(&query.question);
        }
        if let Some(opt) = opt {
            let additional = wire::u16_at(&message, 10).unwrap_or(0);
            wire::put_u16(&mut message, 10, additional.saturating_add(1));
            message.extend(opt);
        }
        message
    }

    /// The message with as many whole records as `room` bytes hold. Those that fit stay even in a truncated
    /// message, since some resolvers (musl before 1.2.4) never come back by TCP.
    fn fit(&self, room: usize, question: usize, age: u32) -> Vec<u8> {
        let mut message = self.message.clone();
        let mut counts = [0u16; 3];
        let mut end = HEADER + question;
        let mut cut = None;
        if let Ok(records) = wire::records(&self.message, end) {
            for record in records.flatten() {
                if record.data.end > room {
                    cut = Some(record.section);
                    break;
                }
                counts[record.section as usize] += 1;
                end = record.data.end;
                wire::put_u32(&mut message, record.fixed + 4, record.ttl.saturating_sub(age));
            }
        }
        message.truncate(end);
        for (at, count) in [6, 8, 10].into_iter().zip(counts) {
            wire::put_u16(&mut message, at, count);
        }
        if matches!(cut, Some(Section::Answer | Section::Authority)) {
            wire::put_u16(&mut message, 2, self.flags() | flag::TRUNCATED);
        }
        message
    }
}

/// A time to live; with the top bit set it counts as nothing (RFC 2181 section 8).
fn signed(ttl: u32) -> u32 {
    if ttl > i32::MAX as u32 { 0 } else { ttl }
}

/// The options among `data` that may be passed on, as they are.
fn extended_errors(data: &[u8]) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut at = 0;
    while let (Ok(option), Ok(length)) = (wire::u16_at(data, at), wire::u16_at(data, at + 2)) {
        let end = at + 4 + usize::from(length);
        let Some(bytes) = data.get(at..end) else { break };
        if option == EXTENDED_ERROR && kept.len() + bytes.len() <= OPTIONS_LIMIT {
            kept.extend(bytes);
        }
        at = end;
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::super::query::{self, Parsed};
    use super::*;

    fn ask(edns: bool) -> Query {
        let mut message = b"\0\x01\x01\0\0\x01\0\0\0\0\0\0\x03WeB\0\0\x01\0\x01".to_vec();
        if edns {
            message.extend(b"\0\0\x29\x04\xd0\0\0\0\0\0\0");
            message[11] = 1;
        }
        match query::parse(&message) {
            Parsed::Query(query) => query,
            other => panic!("{other:?}"),
        }
    }

    /// `web` with so many addresses, the SOA of a parent and an OPT record with an explanation.
    fn response(answers: u16, soa: bool, rcode: u8) -> Vec<u8> {
        let mut message = vec![9, 9, 0x81, 0x80 | rcode, 0, 1];
        for count in [answers, u16::from(soa), 1] {
            message.extend(count.to_be_bytes());
        }
        message.extend(b"\x03web\0\0\x01\0\x01");
        for last in 0..answers {
            message.extend(b"\xc0\x0c\0\x01\0\x01\0\0\0\x64\0\x04\x0a\0\0");
            message.push(last as u8);
        }
        if soa {
            message.extend(b"\0\0\x06\0\x01\0\0\0\x50\0\x16\0\0");
            message.extend([0; 16]);
            message.extend(30u32.to_be_bytes());
        }
        message.extend(b"\0\0\x29\x04\xd0\0\0\0\0\0\x0e\0\x0f\0\x02\0\x16\0\x0a\0\x04abcd");
        message
    }

    #[test]
    fn answers_are_kept_without_opt_and_given_with_the_clients() {
        let answer = Answer::read(&response(2, false, 0), &ask(false).question).unwrap();
        let plain = answer.render(&ask(false), 512, 10);
        assert_eq!(plain.len(), HEADER + 9 + 32);
        assert_eq!(&plain[HEADER..HEADER + 4], b"\x03WeB");
        assert_eq!(plain[11], 0);
        assert_eq!(wire::u32_at(&plain, HEADER + 9 + 6), Ok(90));
        let with = answer.render(&ask(true), 512, 0);
        assert_eq!(&with[with.len() - 6..], b"\0\x0f\0\x02\0\x16", "the explanation, not the cookie");
        assert_eq!(with[11], 1);
    }

    #[test]
    fn too_long_answers_are_cut_between_records() {
        let answer = Answer::read(&response(100, true, 0), &ask(false).question).unwrap();
        for edns in [false, true] {
            let cut = answer.render(&ask(edns), 512, 0);
            assert!(cut.len() <= 512 && cut.len() > 470);
            assert_eq!(wire::u16_at(&cut, 2).unwrap() & flag::TRUNCATED, flag::TRUNCATED);
            let question = wire::question(&cut).unwrap().len();
            let records: Vec<_> = wire::records(&cut, HEADER + question).unwrap().collect();
            assert!(records.iter().all(Result::is_ok) && records.len() > 28);
        }
        assert_eq!(answer.render(&ask(false), 65535, 0).len(), answer.message.len());
    }

    #[test]
    fn only_answers_to_the_question_count() {
        let question = &ask(false).question;
        assert!(Answer::read(&response(1, false, 0), b"\x03wee\0\0\x01\0\x01").is_err());
        assert!(Answer::read(&response(1, false, 0), b"\x03web\0\0\x1c\0\x01").is_err());
        let mut asking = response(1, false, 0);
        asking[2] &= 0x7f;
        assert!(Answer::read(&asking, question).is_err());
        let whole = response(3, true, 3);
        for cut in 0..whole.len() {
            assert!(Answer::read(&whole[..cut], question).is_err(), "{cut}");
        }
    }

    #[test]
    fn answers_are_kept_as_long_as_they_say() {
        let keep = |answers, soa, code| {
            Answer::read(&response(answers, soa, code), &ask(false).question).map(|answer| answer.keep())
        };
        assert_eq!(keep(2, false, 0), Ok(Keep::Positive(100)));
        assert_eq!(keep(0, true, 3), Ok(Keep::Negative(30)));
        assert_eq!(keep(0, true, 0), Ok(Keep::Negative(30)));
        assert_eq!(keep(0, false, 3), Ok(Keep::No));
        assert_eq!(keep(0, true, 2), Ok(Keep::No));
    }
}
