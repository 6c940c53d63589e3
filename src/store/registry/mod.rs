//! The distribution protocol: endpoints, trust, credentials and tokens, manifests and blobs.
//!
//! Requests are our own over reqwest, the transport of the registry crate, because every foreign
//! byte here has a limit, redirects and realms have rules, and retries need status and headers.
//! The registry crate gives the document types. Async code lives here, in `store::pull` and in
//! `store::push` only.

pub mod auth;
pub mod blob;
pub mod certificates;
pub mod client;
pub mod download;
pub mod endpoint;
pub mod error;
pub mod listing;
pub mod manifest;
pub mod repository;
pub mod resolve;
pub mod retry;
pub mod scope;
#[cfg(test)]
pub(crate) mod scripted;
pub mod session;
pub mod source;
#[cfg(test)]
mod tests;
pub mod token;
pub mod trust;
pub mod upload;

use std::future::Future;
use std::io;

pub use auth::{AuthError, Credentials, Keyring};
pub use client::{Access, Client};
pub use error::RegistryError;
pub use retry::Patience;
pub use scope::Scope;
pub use session::{Payload, Request, Session};
pub use source::{Demands, Source, Sources};

/// Runs `future` on a runtime of its own in this thread; the runtime is gone afterwards.
pub fn block_on<T>(future: impl Future<Output = T>) -> io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    Ok(runtime.block_on(future))
}
