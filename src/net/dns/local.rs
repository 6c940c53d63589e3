//! Answers that are made here: names and addresses of containers.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hickory_proto::ProtoError;
use hickory_proto::op::{Message, OpCode, Query as Asked, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::Names;
use super::answer::{Answer, code};
use super::query::Query;
use super::wire::flag;

/// Containers come and go: nobody should remember their addresses.
const TTL: u32 = 0;
/// Names whose turn is remembered.
const REMEMBERED: usize = 1024;
/// More addresses than any name sensibly has; also what a TCP message holds.
const ADDRESSES: usize = 2000;

/// Whose turn it is to be named first, per name and record type.
#[derive(Default)]
pub struct Turns(HashMap<(String, u16), usize>);

impl Turns {
    fn next(&mut self, name: &str, kind: u16) -> usize {
        if self.0.len() >= REMEMBERED {
            self.0.clear();
        }
        let turn = self.0.entry((name.to_owned(), kind)).or_default();
        *turn = turn.wrapping_add(1);
        *turn - 1
    }
}

/// The answer to a query that concerns this network; None: it is to be forwarded, or refused.
pub fn answer(query: &Query, asker: IpAddr, names: &mut dyn Names, turns: &mut Turns) -> Option<Answer> {
    if query.class != u16::from(DNSClass::IN) {
        return None;
    }
    let name = query.name()?;
    if let Some(address) = reverse_address(&name) {
        return reverse(query, address, asker, names);
    }
    let mut addresses = names.forward(asker, &name)?;
    let kind = RecordType::from(query.kind);
    addresses.retain(|address| match kind {
        RecordType::A => address.is_ipv4(),
        RecordType::AAAA => address.is_ipv6(),
        kind => kind == RecordType::ANY,
    });
    if addresses.len() > 1 {
        let first = turns.next(&name, query.kind) % addresses.len();
        addresses.rotate_left(first);
    }
    let data = addresses.into_iter().take(ADDRESSES).map(|address| match address {
        IpAddr::V4(address) => RData::A(A(address)),
        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
    });
    Some(encode(query, data.collect()))
}

fn reverse(query: &Query, address: IpAddr, asker: IpAddr, names: &mut dyn Names) -> Option<Answer> {
    let Some(full) = names.reverse(asker, address) else {
        return names.is_own_subnet(address).then(|| Answer::empty(query, code::NXDOMAIN));
    };
    let wanted = matches!(RecordType::from(query.kind), RecordType::PTR | RecordType::ANY);
    let target = Name::from_labels(full.trim_end_matches('.').split('.').map(str::as_bytes)).ok();
    let data = target.filter(|_| wanted).map(|target| RData::PTR(PTR(target)));
    Some(encode(query, data.into_iter().collect()))
}

/// An authoritative answer with these records for the name that was asked for.
fn encode(query: &Query, data: Vec<RData>) -> Answer {
    // Names and numbers are in range by construction; a failure would be a bug that costs one answer.
    message(query, data).map_or_else(|_| Answer::empty(query, code::SERVFAIL), Answer::own)
}

fn message(query: &Query, data: Vec<RData>) -> Result<Vec<u8>, ProtoError> {
    let name = Name::from_labels(query.labels())?;
    let mut message = Message::response(query.id, OpCode::Query);
    message.metadata.response_code = ResponseCode::NoError;
    message.metadata.authoritative = true;
    message.metadata.recursion_available = true;
    message.metadata.recursion_desired = query.flags & flag::RECURSION_DESIRED != 0;
    message.metadata.checking_disabled = query.flags & flag::CHECKING_DISABLED != 0;
    let mut asked = Asked::query(name.clone(), query.kind.into());
    asked.set_query_class(query.class.into());
    message.add_query(asked);
    message.add_answers(data.into_iter().map(|data| Record::from_rdata(name.clone(), TTL, data)));
    message.to_vec()
}

/// The address that a full reverse name stands for.
fn reverse_address(name: &str) -> Option<IpAddr> {
    if let Some(octets) = name.strip_suffix(".in-addr.arpa") {
        let mut parts = octets.split('.').rev();
        let mut address = [0; 4];
        for slot in &mut address {
            let part = parts.next()?;
            let canonical = part == "0" || !part.starts_with('0') && part.bytes().all(|byte| byte.is_ascii_digit());
            *slot = canonical.then(|| part.parse().ok())??;
        }
        return parts.next().is_none().then(|| Ipv4Addr::from(address).into());
    }
    let nibbles = name.strip_suffix(".ip6.arpa")?;
    let mut parts = nibbles.split('.').rev();
    let mut address = 0u128;
    for _ in 0..32 {
        let part = parts.next().filter(|part| part.len() == 1)?;
        address = address << 4 | u128::from(u8::from_str_radix(part, 16).ok()?);
    }
    parts.next().is_none().then(|| Ipv6Addr::from(address).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reverse_names_are_read_strictly() {
        assert_eq!(reverse_address("129.42.0.10.in-addr.arpa"), Some(Ipv4Addr::new(10, 0, 42, 129).into()));
        for wrong in ["42.0.10", "1.129.42.0.10", "x.42.0.10", "256.42.0.10", "01.42.0.10", "+1.42.0.10", ".42.0.10"] {
            assert_eq!(reverse_address(&format!("{wrong}.in-addr.arpa")), None, "{wrong}");
        }
        let six = format!("2.{}d.f.ip6.arpa", "0.".repeat(29));
        assert_eq!(reverse_address(&six), Some("fd00::2".parse().unwrap()));
        assert_eq!(reverse_address("2.0.d.f.ip6.arpa"), None);
        assert_eq!(reverse_address("in-addr.arpa"), None);
    }

    #[test]
    fn everybody_gets_a_turn() {
        let mut turns = Turns::default();
        assert_eq!([turns.next("a", 1), turns.next("a", 28), turns.next("a", 1), turns.next("b", 1)], [0, 0, 1, 0]);
    }
}
