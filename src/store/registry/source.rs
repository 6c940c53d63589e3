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
use crate::spec::registries::{Place, Registries};

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
    place: Place,
    access: Access<'a>,
    patience: Patience,
    client: OnceCell<Client>,
    failed: Cell<bool>,
}

impl<'a> Sources<'a> {
    /// The places of `reference`. An error: it may not be asked for.
    pub fn new(reference: &'a ImageRef, demands: Demands<'a>, patience: &Patience) -> Result<Self, RegistryError> {
        let (mirrors, registry) = demands.registries.places(reference)?;
        let source = |place: Place, tls_verify: Option<bool>, cert_dir, patience| {
            let tls_verify = tls_verify.or(place.insecure.then_some(false));
            let access = Access {
                tls_verify,
                cert_dir,
                mirror: None,
                keyring: demands.keyring,
                registries: Some(demands.registries),
            };
            Source { reference, place, access, patience, client: OnceCell::new(), failed: Cell::new(false) }
        };
        let strict = demands.tls_verify.filter(|verify| *verify);
        let mirrors = mirrors.into_iter().map(|place| source(place, strict, None, for_mirror(patience))).collect();
        Ok(Self { mirrors, registry: source(registry, demands.tls_verify, demands.cert_dir, patience.clone()) })
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
        let access = Access { mirror: Some(&self.place), ..self.access };
        let connect = async || Client::connect(self.reference, &access, self.patience.clone()).await;
        self.client.get_or_try_init(|| patiently(&self.patience, notify, connect)).await
    }

    /// The place's name, for messages.
    pub fn name(&self) -> &str {
        &self.place.name
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
