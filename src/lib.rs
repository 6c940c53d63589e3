//! rbox: daemonless, rootless containers in a single binary.
//!
//! Modules depend downward only: `cmd` on everything, `store`, `sandbox` and `net` on `spec` and
//! `sys`, `sys` on nothing. See docs/architecture.md.

#![deny(unsafe_code)]

pub mod build;
pub mod cmd;
pub mod doctor;
pub mod explain;
pub mod net;
pub mod sandbox;
pub mod spec;
pub mod store;
pub mod sys;
#[cfg(test)]
mod testing;
