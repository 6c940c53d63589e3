//! One rule: conditions in the order they are tried, then what is done.

use std::net::IpAddr;

use netlink_packet_core::DefaultNla;
use netlink_packet_netfilter::nftables::{
    Bitwise, Cmp, DataAttribute, ExpressionAttribute, Expressions, Immediate, ListAttribute, Meta, MetaKey, Operator,
    Payload, Register, Verdict, VerdictAttribute,
};

use crate::net::netlink::KernelFeature;

type Expression = ListAttribute<ExpressionAttribute>;

/// Where an offset counts from (enum nft_payload_bases).
const LINK: u32 = 0;
const NETWORK: u32 = 1;
const TRANSPORT: u32 = 2;

const NF_DROP: u32 = 0;
const NF_ACCEPT: u32 = 1;

pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const ICMP: u8 = 1;
pub(super) const ICMPV6: u8 = 58;
pub(super) const ETHER_IPV4: u16 = 0x0800;
pub(super) const ETHER_ARP: u16 = 0x0806;
pub(super) const ETHER_IPV6: u16 = 0x86dd;
/// Family numbers of netfilter.
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;
/// Length of an interface name in the kernel.
const IFNAMSIZ: usize = 16;
/// Attributes of the tproxy expression (enum nft_tproxy_attributes).
const NFTA_TPROXY_FAMILY: u16 = 1;
const NFTA_TPROXY_REG_PORT: u16 = 3;

/// A rule under construction.
#[derive(Default)]
pub(super) struct Rule {
    expressions: Vec<Expression>,
    feature: Option<KernelFeature>,
}

impl Rule {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn feature(&self) -> Option<KernelFeature> {
        self.feature
    }

    pub fn into_expressions(self) -> Vec<Expression> {
        self.expressions
    }

    fn push(mut self, expression: Expressions) -> Self {
        self.expressions.push(expression.into());
        self
    }

    fn load_meta(self, key: MetaKey) -> Self {
        self.push(Expressions::Meta(vec![Meta::DestinationRegister(Register::Reg1), Meta::Key(key)]))
    }

    fn load_payload(self, base: u32, offset: u32, length: usize) -> Self {
        self.push(Expressions::Payload(vec![
            Payload::DestinationRegister(Register::Reg1),
            Payload::Base(base),
            Payload::Offset(offset),
            Payload::Len(length as u32),
        ]))
    }

    fn compare(self, operator: Operator, value: &[u8]) -> Self {
        self.push(Expressions::Cmp(vec![
            Cmp::SourceRegister(Register::Reg1),
            Cmp::Op(operator),
            Cmp::Data(DataAttribute::Value(value.to_vec())),
        ]))
    }

    fn mask(self, mask: &[u8]) -> Self {
        self.push(Expressions::Bitwise(vec![
            Bitwise::SourceRegister(Register::Reg1),
            Bitwise::DestinationRegister(Register::Reg1),
            Bitwise::Length(mask.len() as u32),
            Bitwise::Mask(DataAttribute::Value(mask.to_vec())),
            Bitwise::Xor(DataAttribute::Value(vec![0; mask.len()])),
        ]))
    }

    fn field(self, base: u32, offset: u32, value: &[u8]) -> Self {
        self.load_payload(base, offset, value.len()).compare(Operator::Equal, value)
    }

    fn set_register(self, value: Vec<u8>) -> Self {
        self.push(Expressions::Immediate(vec![
            Immediate::DestinationRegister(Register::Reg1),
            Immediate::Data(DataAttribute::Value(value)),
        ]))
    }

    /// The packet came in by `lo`, which has number 1 in every namespace.
    pub fn via_loopback(self) -> Self {
        self.load_meta(MetaKey::Iif).compare(Operator::Equal, &1u32.to_ne_bytes())
    }

    /// The packet came in by another interface than `name`.
    pub fn not_via(self, name: &str) -> Self {
        let mut padded = name.as_bytes().to_vec();
        padded.resize(IFNAMSIZ, 0);
        self.load_meta(MetaKey::Iifname).compare(Operator::NotEqual, &padded)
    }

    /// The protocol inside the frame.
    pub fn ether_type(self, value: u16) -> Self {
        self.load_meta(MetaKey::EtherTypeProtocol).compare(Operator::Equal, &value.to_be_bytes())
    }

    pub fn not_from_mac(self, mac: [u8; 6]) -> Self {
        self.load_payload(LINK, 6, mac.len()).compare(Operator::NotEqual, &mac)
    }

    /// The transport protocol, for IPv6 the one behind all extension headers.
    pub fn protocol(self, value: u8) -> Self {
        self.load_meta(MetaKey::L4Proto).compare(Operator::Equal, &[value])
    }

    /// For chains that see several families.
    pub fn family_of(self, address: IpAddr) -> Self {
        let family = if address.is_ipv4() { NFPROTO_IPV4 } else { NFPROTO_IPV6 };
        self.load_meta(MetaKey::Nfproto).compare(Operator::Equal, &[family])
    }

    /// The address in the IP header; the family must have been tested before.
    pub fn source(self, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => self.field(NETWORK, 12, &address.octets()),
            IpAddr::V6(address) => self.field(NETWORK, 8, &address.octets()),
        }
    }

    /// As [`Rule::source`].
    pub fn destination(self, address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => self.field(NETWORK, 16, &address.octets()),
            IpAddr::V6(address) => self.field(NETWORK, 24, &address.octets()),
        }
    }

    /// The frame was not addressed to this machine alone.
    pub fn not_unicast(self) -> Self {
        const PACKET_HOST: u8 = 0;
        self.load_meta(MetaKey::PacketType).compare(Operator::NotEqual, &[PACKET_HOST])
    }

    /// A destination that is one of many: IPv4 class D and E, IPv6 multicast.
    pub fn multicast(self, v6: bool) -> Self {
        let (example, offset, mask): (IpAddr, _, _) = match v6 {
            false => ([224, 0, 0, 0].into(), 16, 0xe0),
            true => ([0xff00, 0, 0, 0, 0, 0, 0, 0].into(), 24, 0xff),
        };
        self.family_of(example).load_payload(NETWORK, offset, 1).mask(&[mask]).compare(Operator::Equal, &[mask])
    }

    pub fn source_port(self, port: u16) -> Self {
        self.field(TRANSPORT, 0, &port.to_be_bytes())
    }

    pub fn destination_port(self, port: u16) -> Self {
        self.field(TRANSPORT, 2, &port.to_be_bytes())
    }

    /// Opens a connection: SYN without FIN, RST and ACK.
    pub fn tcp_syn(self) -> Self {
        const SYN: u8 = 0x02;
        const FIN_SYN_RST_ACK: u8 = 0x17;
        self.load_payload(TRANSPORT, 13, 1).mask(&[FIN_SYN_RST_ACK]).compare(Operator::Equal, &[SYN])
    }

    /// The type of an ICMP or ICMPv6 message.
    pub fn icmp_type(self, value: u8) -> Self {
        self.field(TRANSPORT, 0, &[value])
    }

    /// A neighbour advertisement is about another address.
    pub fn not_about(self, address: std::net::Ipv6Addr) -> Self {
        self.load_payload(TRANSPORT, 8, 16).compare(Operator::NotEqual, &address.octets())
    }

    /// The sender an ARP message names, for Ethernet and IPv4.
    pub fn arp_sender(self, mac: [u8; 6], address: std::net::Ipv4Addr) -> Self {
        self.field(NETWORK, 8, &mac).field(NETWORK, 14, &address.octets())
    }

    /// Sets the packet's mark.
    pub fn mark_with(self, mark: u32) -> Self {
        let meta = Expressions::Meta(vec![Meta::Key(MetaKey::Mark), Meta::SourceRegister(Register::Reg1)]);
        self.set_register(mark.to_ne_bytes().to_vec()).push(meta)
    }

    /// Gives the packet to the transparent socket that its connection belongs to, or else to the one that listens on
    /// `port`. The rule ends here if there is neither.
    pub fn tproxy(mut self, port: u16) -> Self {
        // Enum nft_registers: the register set before; family 0: that of the packet.
        let number = |kind, value: u32| DefaultNla::new(kind, value.to_be_bytes().to_vec());
        let register = u32::from(Register::Reg1);
        self.feature = Some(KernelFeature::Tproxy);
        self.set_register(port.to_be_bytes().to_vec()).push(Expressions::Other {
            expression_type: "tproxy".to_owned(),
            attributes: vec![number(NFTA_TPROXY_FAMILY, 0), number(NFTA_TPROXY_REG_PORT, register)],
        })
    }

    fn verdict(self, code: u32) -> Self {
        self.push(Expressions::Immediate(vec![
            Immediate::DestinationRegister(Register::Verdict),
            Immediate::Data(DataAttribute::Verdict(vec![VerdictAttribute::Code(Verdict::Other(code))])),
        ]))
    }

    /// What no kernel knows, in place of what `feature` brings.
    #[cfg(test)]
    pub fn unknown(feature: KernelFeature) -> Self {
        let expression = Expressions::Other { expression_type: "rbox".to_owned(), attributes: Vec::new() };
        Rule { feature: Some(feature), ..Rule::new() }.push(expression)
    }

    pub fn accept(self) -> Self {
        self.verdict(NF_ACCEPT)
    }

    pub fn drop(self) -> Self {
        self.verdict(NF_DROP)
    }
}
