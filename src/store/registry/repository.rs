//! A repository that is written to.

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Response, StatusCode, Url};

use super::client::{Access, Client};
use super::error::RegistryError;
use super::manifest;
use super::retry::Patience;
use super::scope::Scope;
use super::session::{Payload, Request};
use crate::spec::digest::Digest;
use crate::spec::reference::ImageRef;

/// The repository of one reference at its registry, for writing.
#[derive(Debug)]
pub struct Repository {
    client: Client,
}

/// A failed request, and the status it failed with.
#[derive(Debug)]
pub struct Failed {
    pub status: Option<StatusCode>,
    pub error: RegistryError,
}

impl From<RegistryError> for Failed {
    fn from(error: RegistryError) -> Self {
        Self { status: None, error }
    }
}

impl Repository {
    /// Sets up trust and finds out the scheme, as for a pull. Mirrors are never written to.
    pub async fn connect(reference: &ImageRef, access: &Access<'_>, patience: Patience) -> Result<Self, RegistryError> {
        Ok(Self { client: Client::connect_to_push(reference, access, patience).await? })
    }

    /// The registry, as references have it.
    pub fn domain(&self) -> &str {
        self.client.reference().domain()
    }

    /// The repository's path, as references have it.
    pub fn path(&self) -> &str {
        self.client.reference().path()
    }

    /// Host and port, for messages.
    pub fn host(&self) -> String {
        self.client.host()
    }

    /// Waiting limits.
    pub fn patience(&self) -> &Patience {
        self.client.patience()
    }

    /// An address below the repository's own.
    pub fn url(&self, below: &str) -> Result<Url, RegistryError> {
        self.client.url(below)
    }

    /// Where an answer from `from` sends us, if it may.
    pub fn location(&self, from: &Url, location: Option<&HeaderValue>) -> Result<Url, RegistryError> {
        self.client.session().location(from, location)
    }

    /// Sends a request and returns what came, of any status.
    pub async fn send(&self, method: Method, url: Url, payload: Payload<'_>) -> Result<Response, RegistryError> {
        self.send_with(method, url, HeaderMap::new(), payload).await
    }

    /// The same with headers.
    pub async fn send_with(
        &self,
        method: Method,
        url: Url,
        headers: HeaderMap,
        payload: Payload<'_>,
    ) -> Result<Response, RegistryError> {
        let request = Request { headers, ..Request::new(method, url, self.client.scope()).payload(payload) };
        self.client.session().send(&request).await.map_err(|error| self.in_words(error))
    }

    /// Asks for a blob of another repository here, which needs the right to read there.
    pub async fn mount(&self, blob: Digest, from: &str) -> Result<Response, RegistryError> {
        let mut url = self.url("blobs/uploads/")?;
        url.query_pairs_mut().append_pair("mount", &blob.to_string()).append_pair("from", from);
        let scope = self.client.scope().clone().and(Scope::pull(from));
        self.client
            .session()
            .send(&Request::new(Method::POST, url, &scope).payload(Payload::Bytes(&[])))
            .await
            .map_err(|error| self.in_words(error))
    }

    /// Whether the repository has a blob.
    pub async fn has_blob(&self, digest: Digest) -> Result<bool, RegistryError> {
        self.has(&format!("blobs/{digest}"), "*/*").await
    }

    /// Whether the repository has a manifest.
    pub async fn has_manifest(&self, digest: Digest) -> Result<bool, RegistryError> {
        self.has(&format!("manifests/{digest}"), manifest::ACCEPT).await
    }

    async fn has(&self, below: &str, accept: &'static str) -> Result<bool, RegistryError> {
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
        let response = self.send_with(Method::HEAD, self.url(below)?, headers, Payload::Empty).await?;
        match response.status() {
            StatusCode::OK => Ok(true),
            // A registry that cannot say is one that has to be sent everything.
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Ok(false),
            _ => Err(self.refusal(response).await.error),
        }
    }

    /// Puts a manifest under a tag or its digest.
    pub async fn put_manifest(&self, key: &str, media_type: &str, body: &[u8]) -> Result<(), RegistryError> {
        let kind = HeaderValue::from_str(media_type)
            .map_err(|_| RegistryError::Setup(format!("invalid media type {media_type:?} of a manifest")))?;
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, kind)]);
        let url = self.url(&format!("manifests/{key}"))?;
        let response = self.send_with(Method::PUT, url, headers, Payload::Bytes(body)).await?;
        if response.status().is_success() { Ok(()) } else { Err(self.refusal(response).await.error) }
    }

    fn in_words(&self, error: RegistryError) -> RegistryError {
        match error {
            RegistryError::Denied(host) => {
                RegistryError::PushDenied { repository: self.client.reference().familiar_repository(), host }
            }
            other => other,
        }
    }

    /// What an answer of an unwelcome status means for who writes.
    pub async fn refusal(&self, response: Response) -> Failed {
        let status = response.status();
        let error = self.client.session().status_error(response).await;
        let (host, repository) = (self.host(), self.client.reference().familiar_repository());
        let message = match &error {
            RegistryError::Status { message, .. } => message.clone(),
            _ => String::new(),
        };
        let error = match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if !message.contains("TOOMANYREQUESTS") => {
                RegistryError::PushDenied { repository, host }
            }
            StatusCode::METHOD_NOT_ALLOWED => RegistryError::ReadOnly { host, message },
            StatusCode::PAYLOAD_TOO_LARGE => RegistryError::TooLargeThere { host, message },
            _ => error,
        };
        Failed { status: Some(status), error }
    }
}
