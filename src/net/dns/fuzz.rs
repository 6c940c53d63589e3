//! Mutated messages against everything that reads them. `DNS_FUZZ` sets how many (default: 20,000).

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query as Asked};
use hickory_proto::rr::rdata::{A, CNAME, MX, SOA, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::Names;
use super::answer::Answer;
use super::client;
use super::local::{self, Turns};
use super::query::{self, Parsed};
use super::wire::{self, HEADER};

/// A generator that gives the same on every run (xorshift64*).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % sides
    }

    /// A few changes of the kinds that break parsers.
    fn mutate(&mut self, message: &mut Vec<u8>) {
        for _ in 0..self.roll(6) {
            let length = message.len().max(1);
            let (at, other) = (self.roll(length), self.roll(length));
            match self.roll(8) {
                0 => message.truncate(at),
                1 => message.extend_from_within(at.min(other).min(message.len())..),
                2 => message.insert(at.min(message.len()), self.roll(256) as u8),
                3 => wire::put_u16(message, at, 0xc000 | other as u16),
                4 => wire::put_u16(message, at, [0, 1, 0xff, 0xffff, 0x7fff][self.roll(5)]),
                5 => wire::put_u16(message, 4 + 2 * self.roll(4), self.roll(4) as u16),
                6 => message.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << (self.0 % 8)),
                _ => message.iter_mut().skip(at).take(1).for_each(|byte| *byte = self.0 as u8),
            }
        }
    }
}

/// Knows some names and every address.
struct Everybody;

impl Names for Everybody {
    fn forward(&mut self, _: IpAddr, name: &str) -> Option<Vec<IpAddr>> {
        let count = name.len() % 90;
        (!name.contains("example")).then(|| (0..count).map(|last| IpAddr::from([10, 0, 0, last as u8])).collect())
    }

    fn reverse(&mut self, _: IpAddr, address: IpAddr) -> Option<String> {
        address.is_ipv4().then(|| "somebody.somewhere".to_owned())
    }

    fn is_own_subnet(&mut self, _: IpAddr) -> bool {
        true
    }

    fn upstreams(&mut self, _: IpAddr) -> Option<Vec<IpAddr>> {
        None
    }
}

fn corpus() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let names = ["web", "a.very.long.name.of.a.service.somewhere", "129.42.0.10.in-addr.arpa", "www.example.com", "."];
    let (mut queries, mut responses) = (Vec::new(), Vec::new());
    for (number, name) in names.iter().enumerate() {
        for kind in [RecordType::A, RecordType::AAAA, RecordType::PTR, RecordType::ANY, RecordType::TXT] {
            let name = Name::from_ascii(name).unwrap();
            let mut message = Message::new(number as u16, MessageType::Query, OpCode::Query);
            message.metadata.recursion_desired = true;
            message.add_query(Asked::query(name.clone(), kind));
            queries.push(message.to_vec().unwrap());
            let mut edns = Edns::new();
            edns.set_max_payload(1232).set_dnssec_ok(true);
            message.set_edns(edns);
            queries.push(message.to_vec().unwrap());
            message.metadata.message_type = MessageType::Response;
            let host = Name::from_ascii("mail.example.com.").unwrap();
            let soa = SOA::new(host.clone(), host.clone(), 1, 2, 3, 4, 60);
            let mut add = |data: RData| {
                message.add_answer(Record::from_rdata(name.clone(), 300, data));
            };
            add(RData::CNAME(CNAME(host.clone())));
            (0..60).for_each(|last| add(RData::A(A::new(10, 0, 0, last))));
            add(RData::MX(MX::new(10, host.clone())));
            add(RData::TXT(TXT::new(vec!["text".repeat(40)])));
            message.add_authority(Record::from_rdata(host, 300, RData::SOA(soa)));
            responses.push(message.to_vec().unwrap());
        }
    }
    (queries, responses)
}

/// A reply is as long as may be, says who asked what, and is well-formed.
fn check_reply(reply: &[u8], query: &query::Query, limit: usize) {
    assert!(reply.len() <= limit, "{} bytes for {limit}", reply.len());
    assert_eq!(wire::u16_at(reply, 0), Ok(query.id));
    assert_eq!(wire::question(reply), Ok(&*query.question));
    let mut records = wire::records(reply, HEADER + query.question.len()).unwrap();
    assert!(records.by_ref().all(|record| record.is_ok()));
    assert_eq!(records.position(), reply.len());
    Answer::read(reply, &query.question).unwrap();
}

fn fuzz_query(message: &[u8], turns: &mut Turns) -> bool {
    let asker = IpAddr::from([10, 0, 0, 2]);
    match query::parse(message) {
        Parsed::Nothing => false,
        Parsed::Error(reply) => {
            assert!(reply.len() <= message.len() + 11 && reply[..2] == message[..2] && reply[2] & 0x80 != 0);
            false
        }
        Parsed::Query(query) => {
            assert!(
                matches!(query::parse(&query.to_upstream()), Parsed::Query(again) if again.folded() == query.folded())
            );
            if let Some(answer) = local::answer(&query, asker, &mut Everybody, turns) {
                let limit = query.udp_limit().into();
                let reply = answer.render(&query, limit, 0);
                check_reply(&reply, &query, limit);
                Message::from_vec(&reply).unwrap();
            }
            true
        }
    }
}

fn fuzz_response(message: &[u8], query: &query::Query) -> bool {
    let Ok(answer) = Answer::read(message, &query.question) else { return false };
    answer.keep();
    for limit in [512, 1232, 65535] {
        check_reply(&answer.render(query, limit, 77), query, limit);
    }
    true
}

fn fuzz_stream(messages: &[Vec<u8>], dice: &mut Dice) {
    let mut stream = Vec::new();
    for message in messages {
        stream.extend((message.len() as u16).to_be_bytes());
        stream.extend(message);
    }
    dice.mutate(&mut stream);
    let mut input = Vec::new();
    for byte in stream {
        input.push(byte);
        let before = input.len();
        match client::split(&mut input, 1) {
            Ok(messages) => assert_eq!(before, input.len() + messages.iter().map(|one| 2 + one.len()).sum::<usize>()),
            Err(_) => return,
        }
    }
}

#[test]
fn mutated_messages_do_no_harm() {
    let count = std::env::var("DNS_FUZZ").ok().and_then(|count| count.parse().ok()).unwrap_or(20_000);
    let (queries, responses) = corpus();
    let parsed = |message: &Vec<u8>| match query::parse(message) {
        Parsed::Query(query) => query,
        other => panic!("{other:?}"),
    };
    let originals: Vec<_> = queries.iter().map(parsed).collect();
    let (mut dice, mut turns) = (Dice(0x0123_4567_89ab_cdef), Turns::default());
    let (mut asked, mut answered) = (0, 0);
    for _ in 0..count {
        let which = dice.roll(responses.len());
        let mut message = queries[2 * which + dice.roll(2)].clone();
        dice.mutate(&mut message);
        asked += usize::from(fuzz_query(&message, &mut turns));
        let mut response = responses[which].clone();
        dice.mutate(&mut response);
        answered += usize::from(fuzz_response(&response, &originals[2 * which + dice.roll(2)]));
        if dice.roll(16) == 0 {
            fuzz_stream(&queries[which..which + 2], &mut dice);
        }
    }
    // Else the mutations are too coarse to get past the first check.
    assert!(asked > count / 10 && answered > count / 10, "{asked} and {answered} of {count} were well-formed");
}
