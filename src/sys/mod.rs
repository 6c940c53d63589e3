//! The only home of `unsafe`: thin typed wrappers over what rustix and nix lack.

#![allow(unsafe_code)]

pub mod accounts;
pub mod beneath;
pub mod calls;
pub mod lock;
pub mod mount;
pub mod net;
pub mod net_datagrams;
pub mod net_helper;
pub mod net_netlink;
pub mod net_relay;
pub mod process;
pub mod seccomp;
pub mod timezone;
