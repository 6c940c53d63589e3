//! A small synchronous netlink client and the messages this program sends.
//!
//! Requests are batched: [`Batch`] collects messages, [`Socket::run`] sends them by one system call and only the
//! last asks for an acknowledgement, so a batch that succeeds costs two calls. The kernel works through a batch
//! before `sendmsg` returns, so reading the answers never waits.

mod error;
mod link;
mod reply;
mod route;
mod socket;

pub use error::{KernelFeature, NetError};
pub use link::{Veth, add_bridge, add_veth, delete_link, isolate_port, set_up, without_link_local};
pub use route::{
    add_address, add_mark_rule, add_neighbour, delete_default_route, dump_addresses, dump_routes, is_local,
    local_default_route, replace_default_route,
};
pub use socket::{Batch, Socket};
