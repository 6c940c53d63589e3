//! nf_tables rulesets, sent as netlink transactions.

mod endpoint;
mod gateway;
mod message;
mod rule;

pub use endpoint::{add_chain, delete_chain};
pub use gateway::gateway_ruleset;

/// The name of this program's tables.
const TABLE: &str = "rbox";

#[cfg(test)]
pub(super) mod tests {
    use netlink_packet_netfilter::NetfilterProtoFamily;
    use netlink_packet_netfilter::nftables::{HookNumber, InetHookNumber};

    use super::message::{Entry, Transaction};
    use super::rule::Rule;
    use crate::net::netlink::{KernelFeature, Socket};

    /// To be called in a network namespace of the test's own.
    pub fn unknown_expressions_are_missing_features() {
        let mut transaction = Transaction::new(NetfilterProtoFamily::Inet, "probe");
        transaction.add_table();
        let hook = HookNumber::Inet(InetHookNumber::PreRouting);
        transaction.add_chain("c", &Entry { hook, priority: 0, device: None, drop: false });
        transaction.add_rule("c", Rule::new().drop());
        transaction.add_rule("c", Rule::unknown(KernelFeature::Tproxy));
        transaction.add_rule("c", Rule::new().accept());
        let mut socket = Socket::netfilter().unwrap();
        let error = transaction.commit(&mut socket).unwrap_err();
        assert_eq!(error.to_string(), "this kernel is built without CONFIG_NFT_TPROXY");
        // Nothing of the transaction remains.
        let mut transaction = Transaction::new(NetfilterProtoFamily::Inet, "probe");
        transaction.add_rule("c", Rule::new().drop());
        let error = transaction.commit(&mut socket).unwrap_err();
        assert_eq!(error.errno(), Some(rustix::io::Errno::NOENT), "{error}");
    }
}
