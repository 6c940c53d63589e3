//! The shape of a DNS message (RFC 1035 section 4) as far as a forwarder must see it: where the
//! question and each record lie. What records hold is never looked at, so unknown types pass.

use std::ops::Range;

/// Bytes of a message's header.
pub const HEADER: usize = 12;
/// Record type OPT (RFC 6891).
pub const OPT: u16 = 41;
/// Record type SOA.
pub const SOA: u16 = 6;

/// Bits of the header's second word.
pub mod flag {
    pub const RESPONSE: u16 = 0x8000;
    pub const OPCODE: u16 = 0x7800;
    pub const TRUNCATED: u16 = 0x0200;
    pub const RECURSION_DESIRED: u16 = 0x0100;
    pub const RECURSION_AVAILABLE: u16 = 0x0080;
    pub const AUTHENTIC: u16 = 0x0020;
    pub const CHECKING_DISABLED: u16 = 0x0010;
    pub const RCODE: u16 = 0x000f;
}

/// The bytes are no DNS message.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed;

/// The part of a message that a record stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    Answer,
    Authority,
    Additional,
}

/// Where a record lies in its message, all offsets from the message's start.
#[derive(Debug)]
pub struct RecordAt {
    pub section: Section,
    pub start: usize,
    /// Of its TYPE, behind the owner's name; CLASS at +2, TTL at +4, RDLENGTH at +8.
    pub fixed: usize,
    pub kind: u16,
    pub ttl: u32,
    pub data: Range<usize>,
}

/// The 16-bit number at `at`.
pub fn u16_at(message: &[u8], at: usize) -> Result<u16, Malformed> {
    let bytes = message.get(at..).and_then(|rest| rest.first_chunk::<2>()).ok_or(Malformed)?;
    Ok(u16::from_be_bytes(*bytes))
}

/// The 32-bit number at `at`.
pub fn u32_at(message: &[u8], at: usize) -> Result<u32, Malformed> {
    let bytes = message.get(at..).and_then(|rest| rest.first_chunk::<4>()).ok_or(Malformed)?;
    Ok(u32::from_be_bytes(*bytes))
}

/// Writes a 16-bit number over the two bytes at `at`, if they are there.
pub fn put_u16(message: &mut [u8], at: usize, value: u16) {
    if let Some(place) = message.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<2>()) {
        *place = value.to_be_bytes();
    }
}

/// Writes a 32-bit number over the four bytes at `at`, if they are there.
pub fn put_u32(message: &mut [u8], at: usize, value: u32) {
    if let Some(place) = message.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<4>()) {
        *place = value.to_be_bytes();
    }
}

/// The raw question of a message with exactly one: name without pointers, TYPE, CLASS.
pub fn question(message: &[u8]) -> Result<&[u8], Malformed> {
    let mut at = HEADER;
    loop {
        match *message.get(at).ok_or(Malformed)? {
            0 => break,
            length @ 1..=63 => at += 1 + usize::from(length),
            _ => return Err(Malformed),
        }
        if at - HEADER >= 255 {
            return Err(Malformed);
        }
    }
    message.get(HEADER..at + 5).ok_or(Malformed)
}

/// Whether two raw questions ask the same, whatever the case of letters in the name.
pub fn same_question(one: &[u8], other: &[u8]) -> bool {
    let (Some((name, tail)), Some((other_name, other_tail))) =
        (one.split_last_chunk::<4>(), other.split_last_chunk::<4>())
    else {
        return false;
    };
    tail == other_tail && name.eq_ignore_ascii_case(other_name)
}

/// Past the name at `start`, which may end in a pointer. Pointers are not followed, but each must point
/// backwards, so that no reader can be led in a circle by an owner's name.
fn skip_name(message: &[u8], start: usize) -> Result<usize, Malformed> {
    let mut at = start;
    loop {
        match *message.get(at).ok_or(Malformed)? {
            0 => return Ok(at + 1),
            length @ 1..=63 => at += 1 + usize::from(length),
            0xc0.. => {
                let target = usize::from(u16_at(message, at)? & 0x3fff);
                return if (HEADER..start).contains(&target) { Ok(at + 2) } else { Err(Malformed) };
            }
            _ => return Err(Malformed),
        }
        if at - start >= 255 {
            return Err(Malformed);
        }
    }
}

/// The records of a message in order; stops behind the first malformed one. Every step consumes at
/// least eleven bytes, so a header's counts cannot make it long.
pub struct Records<'a> {
    message: &'a [u8],
    at: usize,
    left: [u16; 3],
}

/// The records behind a question that ends at `from`.
pub fn records(message: &[u8], from: usize) -> Result<Records<'_>, Malformed> {
    Ok(Records { message, at: from, left: [u16_at(message, 6)?, u16_at(message, 8)?, u16_at(message, 10)?] })
}

impl Records<'_> {
    /// Where the next record would start.
    pub fn position(&self) -> usize {
        self.at
    }

    fn read(&mut self, section: Section) -> Result<RecordAt, Malformed> {
        let start = self.at;
        let fixed = skip_name(self.message, start)?;
        let length = usize::from(u16_at(self.message, fixed + 8)?);
        let data = fixed + 10..fixed + 10 + length;
        if data.end > self.message.len() {
            return Err(Malformed);
        }
        self.at = data.end;
        let kind = u16_at(self.message, fixed)?;
        Ok(RecordAt { section, start, fixed, kind, ttl: u32_at(self.message, fixed + 4)?, data })
    }
}

impl Iterator for Records<'_> {
    type Item = Result<RecordAt, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        const SECTIONS: [Section; 3] = [Section::Answer, Section::Authority, Section::Additional];
        let (left, section) = self.left.iter_mut().zip(SECTIONS).find(|(left, _)| **left > 0)?;
        *left -= 1;
        let record = self.read(section);
        if record.is_err() {
            self.left = [0; 3];
        }
        Some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message of one question for `a.b` and what follows.
    fn message(counts: [u16; 3], rest: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 7, 0x81, 0x80, 0, 1];
        counts.iter().for_each(|count| bytes.extend(count.to_be_bytes()));
        bytes.extend(b"\x01a\x01b\0\0\x01\0\x01");
        bytes.extend(rest);
        bytes
    }

    #[test]
    fn questions_must_be_whole_and_plain() {
        assert_eq!(question(&message([0; 3], b"")).unwrap(), b"\x01a\x01b\0\0\x01\0\x01");
        for cut in 0..21 {
            assert_eq!(question(&message([0; 3], b"")[..cut]), Err(Malformed));
        }
        assert_eq!(question(b"\0\x07\x81\x80\0\x01\0\0\0\0\0\0\xc0\x0c\0\x01\0\x01"), Err(Malformed));
        let long = [vec![0; 12], [b"\x3f".to_vec(), vec![b'x'; 63]].concat().repeat(4), vec![0; 5]].concat();
        assert_eq!(question(&long), Err(Malformed));
    }

    #[test]
    fn records_end_where_the_message_ends() {
        let record = b"\xc0\x0c\0\x10\0\x01\0\0\0\x05\0\x02hi";
        let whole = message([1, 0, 1], &[&record[..], &record[..]].concat());
        let seen: Vec<_> = records(&whole, 21).unwrap().map(|record| record.unwrap().section).collect();
        assert_eq!(seen, [Section::Answer, Section::Additional]);
        let lying = message([0xffff; 3], record);
        assert_eq!(records(&lying, 21).unwrap().count(), 2);
        let forwards = message([1, 0, 0], b"\xc0\x15\0\x10\0\x01\0\0\0\x05\0\0");
        assert!(records(&forwards, 21).unwrap().next().unwrap().is_err());
    }

    #[test]
    fn case_does_not_matter_in_names_but_in_types() {
        assert!(same_question(b"\x01a\0\0\x41\0\x01", b"\x01A\0\0\x41\0\x01"));
        assert!(!same_question(b"\x01a\0\0\x41\0\x01", b"\x01a\0\0\x61\0\x01"));
        assert!(!same_question(b"", b""));
    }
}
