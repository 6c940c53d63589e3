//! nf_tables rulesets, sent as netlink transactions.

mod endpoint;
mod gateway;
mod message;
mod rule;

pub use endpoint::{add_chain, delete_chain};
pub use gateway::gateway_ruleset;

/// The name of this program's tables.
const TABLE: &str = "rbox";
