//! One file a command: its clap arguments and what it prints. No syscalls here.

pub mod context;
pub mod error;

pub use context::{Context, GlobalOptions};
