//! The distribution protocol, pull side: endpoints, trust, anonymous tokens, manifests and blobs.
//!
//! Requests are our own over reqwest, the transport of the registry crate, because every foreign
//! byte here has a limit, redirects and realms have rules, and retries need status and headers.
//! The registry crate gives the document types. Async code lives here and in `store::pull` only.

pub mod blob;
pub mod client;
pub mod endpoint;
pub mod error;
pub mod manifest;
pub mod resolve;
pub mod retry;
#[cfg(test)]
pub(crate) mod scripted;
pub mod source;
#[cfg(test)]
mod tests;
pub mod token;
pub mod trust;

use std::future::Future;
use std::io;

pub use client::{Access, Client};
pub use error::RegistryError;
pub use retry::Patience;
pub use source::{Demands, Source, Sources};

/// Runs `future` on a runtime of its own in this thread; the runtime is gone afterwards.
pub fn block_on<T>(future: impl Future<Output = T>) -> io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    Ok(runtime.block_on(future))
}
