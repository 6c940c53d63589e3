//! Transactions and the objects in them: tables, chains, rules.

use netlink_packet_core::{NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, Hook, HookNumber, NfTablesMessage, RuleAttribute, RuleMessage, TableAttribute,
    TableMessage,
};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily};
use rustix::io::Errno;

use super::rule::Rule;
use crate::net::netlink::{Batch, KernelFeature, NetError, Socket};

/// NFNL_SUBSYS_NFTABLES, for whom a transaction is.
const SUBSYSTEM: u16 = 10;
const POLICY_DROP: u32 = 0;
const POLICY_ACCEPT: u32 = 1;

/// Changes to one table, made together or not at all.
pub(super) struct Transaction {
    batch: Batch,
    family: NetfilterProtoFamily,
    table: &'static str,
}

/// Where packets enter a chain.
pub(super) struct Entry<'a> {
    pub hook: HookNumber,
    pub priority: i32,
    /// Of the ingress hook.
    pub device: Option<&'a str>,
    /// What becomes of a packet that no rule decides on.
    pub drop: bool,
}

impl Transaction {
    pub fn new(family: NetfilterProtoFamily, table: &'static str) -> Self {
        let mut transaction = Transaction { batch: Batch::transaction(), family, table };
        transaction.control("change packet filter rules", ControlMessage::BatchBegin);
        transaction.batch.needs(KernelFeature::NfTables);
        transaction
    }

    fn control(&mut self, name: &str, message: ControlMessage) {
        let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, SUBSYSTEM);
        self.batch.push(name, 0, NetfilterMessage::new(header, message));
    }

    fn push(&mut self, name: String, flags: u16, message: impl Into<NetfilterMessageInner>) -> &mut Batch {
        let header = NetfilterHeader::new(self.family, 0, 0);
        self.batch.push(name, flags, NetfilterMessage::new(header, message))
    }

    /// Creates the table unless it is there.
    pub fn add_table(&mut self) {
        let message = TableMessage { attributes: vec![TableAttribute::Name(self.table.to_owned())] };
        let feature = match self.family {
            NetfilterProtoFamily::NetDev => KernelFeature::NfTablesNetdev,
            _ => KernelFeature::NfTablesInet,
        };
        let name = format!("create packet filter table {}", self.table);
        self.push(name, NLM_F_CREATE, NfTablesMessage::NewTable(message)).needs(feature);
    }

    /// Creates a chain that must not be there.
    pub fn add_chain(&mut self, chain: &str, entry: &Entry<'_>) {
        let mut hook = vec![Hook::Number(entry.hook), Hook::Priority(entry.priority as u32)];
        hook.extend(entry.device.map(|device| Hook::NetDeviceName(device.to_owned())));
        let message = ChainMessage {
            attributes: vec![
                ChainAttribute::Table(self.table.to_owned()),
                ChainAttribute::Name(chain.to_owned()),
                ChainAttribute::Hook(hook),
                ChainAttribute::Policy(if entry.drop { POLICY_DROP } else { POLICY_ACCEPT }),
                ChainAttribute::Type("filter".to_owned()),
            ],
        };
        let name = format!("create packet filter chain {chain}");
        let batch = self.push(name, NLM_F_CREATE | NLM_F_EXCL, NfTablesMessage::NewChain(message));
        if entry.device.is_some() {
            batch.needs(KernelFeature::Ingress);
        }
    }

    /// Removes a chain with its rules; absent is as good.
    pub fn delete_chain(&mut self, chain: &str) {
        let message = ChainMessage {
            attributes: vec![ChainAttribute::Table(self.table.to_owned()), ChainAttribute::Name(chain.to_owned())],
        };
        let name = format!("remove packet filter chain {chain}");
        self.push(name, 0, NfTablesMessage::DeleteChain(message)).excuse(&[Errno::NOENT]);
    }

    pub fn add_rule(&mut self, chain: &str, rule: Rule) {
        let feature = rule.feature();
        let message = RuleMessage {
            attributes: vec![
                RuleAttribute::Table(self.table.to_owned()),
                RuleAttribute::Chain(chain.to_owned()),
                RuleAttribute::Expressions(rule.into_expressions()),
            ],
        };
        let name = format!("add a rule to packet filter chain {chain}");
        let batch = self.push(name, NLM_F_CREATE | NLM_F_APPEND, NfTablesMessage::NewRule(message));
        if let Some(feature) = feature {
            batch.needs(feature);
        }
    }

    pub fn commit(mut self, socket: &mut Socket) -> Result<(), NetError> {
        self.control("change packet filter rules", ControlMessage::BatchEnd);
        socket.run(self.batch)
    }
}
