//! The places one image may come from: the mirrors of its registry in their order, then the
//! registry itself.
//!
//! A mirror is asked as a registry of its own, with its own trust, credentials and tokens; nothing that
//! the registry gave us is sent to it. What it sends is held to the same digests. A mirror that
//! fails once, in whatever way, is not asked again for this image.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OnceCell;

use super::auth::Keyring;
use super::client::{Access, Client};
use super::error::RegistryError;
use super::retry::{Patience, patiently};
use crate::spec::reference::ImageRef;
use crate::spec::registries::{Mirror, Registries};

/// How the user wants registries to be reached.
#[derive(Clone, Copy, Debug)]
pub struct Demands<'a> {
    pub registries: &'a Registries,
    /// As in [`PullOptions`](crate::store::pull::PullOptions). Only `Some(true)` concerns mirrors:
    /// who distrusts no certificate of the registry said nothing about others.
    pub tls_verify: Option<bool>,
    /// For the registry itself.
    pub cert_dir: Option<&'a Path>,
    /// Mirrors are looked up in it by their own names.
    pub keyring: Option<&'a Arc<dyn Keyring>>,
}

/// All places of one image.
#[derive(Debug)]
pub struct Sources<'a> {
    mirrors: Vec<Source<'a>>,
    registry: Source<'a>,
}

/// One place, connected to when first needed.
#[derive(Debug)]
pub struct Source<'a> {
    reference: &'a ImageRef,
    access: Access<'a>,
    patience: Patience,
    client: OnceCell<Client>,
    failed: Cell<bool>,
}

impl<'a> Sources<'a> {
    /// The places of `reference`.
    pub fn new(reference: &'a ImageRef, demands: Demands<'a>, patience: &Patience) -> Self {
        let verify = |domain| demands.tls_verify.or_else(|| demands.registries.is_insecure(domain).then_some(false));
        let source = |access, patience| Source {
            reference,
            access,
            patience,
            client: OnceCell::new(),
            failed: Cell::new(false),
        };
        let mirror = |mirror: &'a Mirror| {
            let insecure = demands.registries.is_insecure(mirror.domain.as_str());
            let tls_verify = demands.tls_verify.filter(|verify| *verify).or(insecure.then_some(false));
            let access = Access { tls_verify, cert_dir: None, mirror: Some(mirror), keyring: demands.keyring };
            source(access, for_mirror(patience))
        };
        let itself = Access {
            tls_verify: verify(reference.domain()),
            cert_dir: demands.cert_dir,
            mirror: None,
            keyring: demands.keyring,
        };
        let mirrors = demands.registries.mirrors_of(reference.domain()).map(mirror).collect();
        Self { mirrors, registry: source(itself, patience.clone()) }
    }

    /// The mirrors that have not failed yet, in order.
    pub fn mirrors(&self) -> impl Iterator<Item = &Source<'a>> {
        self.mirrors.iter().filter(|mirror| !mirror.failed.get())
    }

    /// The registry itself.
    pub fn registry(&self) -> &Source<'a> {
        &self.registry
    }
}

impl Source<'_> {
    /// The connection. `notify` hears of pauses while it is made.
    pub async fn client(&self, notify: impl FnMut(Duration, &str)) -> Result<&Client, RegistryError> {
        let connect = async || Client::connect(self.reference, &self.access, self.patience.clone()).await;
        self.client.get_or_try_init(|| patiently(&self.patience, notify, connect)).await
    }

    /// The place's name, for messages.
    pub fn name(&self) -> String {
        self.access.mirror.map_or_else(|| self.reference.domain().to_owned(), Mirror::to_string)
    }

    /// Marks a mirror as failed; false when it was before.
    pub fn fail(&self) -> bool {
        !self.failed.replace(true)
    }
}

/// A mirror saves time or it is none: it gets a second chance, no more.
fn for_mirror(patience: &Patience) -> Patience {
    Patience {
        tries: patience.tries.min(2),
        pause_max: patience.pause_max.min(Duration::from_secs(5)),
        connect: patience.connect.min(Duration::from_secs(5)),
        answer: patience.answer.min(Duration::from_secs(30)),
        stall: patience.stall.min(Duration::from_secs(30)),
        ..patience.clone()
    }
}
