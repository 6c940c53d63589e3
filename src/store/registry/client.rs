//! One repository as one pull or push sees it: documents and blobs, with errors in docker's words.

use std::path::Path;
use std::sync::Arc;

use reqwest::header::{ACCEPT, HeaderMap, HeaderValue, RANGE};
use reqwest::{Method, Response, StatusCode, Url};

use super::auth::Keyring;
use super::error::RegistryError;
use super::retry::Patience;
use super::scope::Scope;
use super::session::{Request, Session};
use crate::spec::digest::Digest;
use crate::spec::reference::ImageRef;
use crate::spec::registries::{Place, Registries};

/// Limit of manifests and configs, in bytes.
pub const DOCUMENT_MAX: u64 = 4 << 20;

/// How a registry may be reached; see [`PullOptions`](crate::store::pull::PullOptions).
#[derive(Clone, Copy, Debug, Default)]
pub struct Access<'a> {
    pub tls_verify: Option<bool>,
    pub cert_dir: Option<&'a Path>,
    /// Asked in place of the reference's registry.
    pub mirror: Option<&'a Place>,
    /// Asked when the registry wants to know who we are.
    pub keyring: Option<&'a Arc<dyn Keyring>>,
    /// Knows which token servers were permitted.
    pub registries: Option<&'a Registries>,
}

impl Access<'_> {
    /// Whom to ask.
    fn domain<'a>(&'a self, reference: &'a ImageRef) -> &'a str {
        self.mirror.map_or(reference.domain(), |place| place.domain.as_str())
    }

    /// The repository's path there.
    fn path(&self, reference: &ImageRef) -> String {
        self.mirror.map_or(reference.path(), |place| &place.path).to_owned()
    }
}

/// What is asked of a repository.
#[derive(Clone, Debug)]
pub enum Target {
    /// A manifest by tag or digest.
    Manifest(String),
    /// A blob, from this byte on.
    Blob(Digest, u64),
}

/// The repository of one reference at its registry or at a mirror.
#[derive(Debug)]
pub struct Client {
    session: Session,
    reference: ImageRef,
    /// The repository's path, which at a mirror may not be the reference's.
    repository: String,
    scope: Scope,
}

impl Client {
    /// Sets up trust, and finds out the scheme where there is a choice; to pull.
    pub async fn connect(reference: &ImageRef, access: &Access<'_>, patience: Patience) -> Result<Self, RegistryError> {
        let repository = access.path(reference);
        let session = Session::connect(access.domain(reference), &repository, access, patience).await?;
        Ok(Self { session, reference: reference.clone(), scope: Scope::pull(&repository), repository })
    }

    /// The same to push: tokens are asked for reading and writing.
    pub async fn connect_to_push(
        reference: &ImageRef,
        access: &Access<'_>,
        patience: Patience,
    ) -> Result<Self, RegistryError> {
        let client = Self::connect(reference, access, patience).await?;
        Ok(Self { scope: Scope::push(&client.repository), ..client })
    }

    /// The registry, for requests of any kind.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// What tokens are asked for.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The repository's path at this place.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Host and port, for messages.
    pub fn host(&self) -> String {
        self.session.host()
    }

    /// The reference this client was made for.
    pub fn reference(&self) -> &ImageRef {
        &self.reference
    }

    /// Waiting limits.
    pub fn patience(&self) -> &Patience {
        self.session.patience()
    }

    /// An address below the repository, as in `blobs/uploads/`.
    pub fn url(&self, path: &str) -> Result<Url, RegistryError> {
        self.session.url(&format!("v2/{}/{path}", self.repository))
    }

    /// Sends one request and returns a response of status 200, 206 or 416. A 401 is answered by
    /// one new token.
    pub async fn get(&self, target: &Target, accept: &str) -> Result<Response, RegistryError> {
        let (url, offset) = match target {
            Target::Manifest(key) => (self.url(&format!("manifests/{key}"))?, 0),
            Target::Blob(digest, offset) => (self.url(&format!("blobs/{digest}"))?, *offset),
        };
        let header = |text: &str| HeaderValue::from_str(text).map_err(|error| RegistryError::Setup(error.to_string()));
        let mut request = Request::new(Method::GET, url, &self.scope).header(ACCEPT, header(accept)?);
        if offset > 0 {
            request = request.header(RANGE, header(&format!("bytes={offset}-"))?);
        }
        let response = self.session.send(&request).await.map_err(|error| self.in_dockers_words(error))?;
        match response.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE => Ok(response),
            _ => Err(self.failure(target, response).await),
        }
    }

    /// Sends one request and reads the whole body, at most [`DOCUMENT_MAX`] bytes of it.
    pub async fn get_document(&self, target: &Target, accept: &str) -> Result<(HeaderMap, Vec<u8>), RegistryError> {
        let response = self.get(target, accept).await?;
        if response.status() != StatusCode::OK {
            return Err(self.failure(target, response).await);
        }
        let headers = response.headers().clone();
        let what = match target {
            Target::Manifest(_) => "manifest",
            Target::Blob(..) => "config",
        };
        Ok((headers, self.session.read_capped(response, what, DOCUMENT_MAX).await?))
    }

    fn in_dockers_words(&self, error: RegistryError) -> RegistryError {
        match error {
            RegistryError::Denied(_) => self.access_denied(),
            other => other,
        }
    }

    /// Turns a refusal into the error that docker would show.
    async fn failure(&self, target: &Target, response: Response) -> RegistryError {
        let (status, at_home) = (response.status(), self.session.is_home(response.url()));
        let error = self.session.status_error(response).await;
        let code = match &error {
            RegistryError::Status { message, .. } => message.trim_start_matches(": ").split(':').next().unwrap_or(""),
            _ => "",
        };
        match (status, target) {
            (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) if at_home && code != "TOOMANYREQUESTS" => {
                self.access_denied()
            }
            (StatusCode::NOT_FOUND, Target::Manifest(_)) if code == "NAME_UNKNOWN" => {
                RegistryError::RepositoryUnknown(self.reference.familiar_repository())
            }
            (StatusCode::NOT_FOUND, Target::Manifest(key)) => RegistryError::ManifestUnknown(self.named(key)),
            (StatusCode::NOT_FOUND, Target::Blob(digest, _)) => {
                RegistryError::BlobUnknown { digest: *digest, host: self.host() }
            }
            _ => error,
        }
    }

    fn access_denied(&self) -> RegistryError {
        RegistryError::AccessDenied(self.reference.familiar_repository())
    }

    /// The reference as docker shows it, at the manifest `key`.
    fn named(&self, key: &str) -> String {
        match key.parse() {
            Ok(digest) => self.reference.at_digest(digest).familiar(),
            Err(_) => self.reference.at_tag(key).familiar(),
        }
    }
}
