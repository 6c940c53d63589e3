//! One registry as one pull sees it: requests with token, redirects, limits and typed errors.

use std::cell::RefCell;
use std::future::Future;
use std::path::Path;

use jiff::Timestamp;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, LOCATION, RANGE, RETRY_AFTER};
use reqwest::{Response, StatusCode, Url};

use super::error::{RegistryError, error_body, printable};
use super::retry::{Patience, parse_retry_after};
use super::token::{self, Challenge};
use super::{endpoint, trust};
use crate::spec::digest::Digest;
use crate::spec::reference::ImageRef;
use crate::spec::registries::Mirror;

/// Limit of manifests and configs, in bytes.
pub const DOCUMENT_MAX: u64 = 4 << 20;
const TOKEN_MAX: u64 = 1 << 20;
const ERROR_MAX: u64 = 64 << 10;
const REDIRECTS_MAX: usize = 5;
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// How a registry may be reached; see [`PullOptions`](crate::store::pull::PullOptions).
#[derive(Clone, Copy, Debug)]
pub struct Access<'a> {
    pub tls_verify: Option<bool>,
    pub cert_dir: Option<&'a Path>,
    /// Asked in place of the reference's registry.
    pub mirror: Option<&'a Mirror>,
}

impl Access<'_> {
    /// Whom to ask.
    fn domain<'a>(&'a self, reference: &'a ImageRef) -> &'a str {
        self.mirror.map_or(reference.domain(), |mirror| mirror.domain.as_str())
    }

    /// The repository's path there.
    fn path(&self, reference: &ImageRef) -> String {
        match self.mirror {
            Some(mirror) if !mirror.prefix.is_empty() => format!("{}/{}", mirror.prefix, reference.path()),
            _ => reference.path().to_owned(),
        }
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
    http: reqwest::Client,
    base: Url,
    reference: ImageRef,
    /// The repository's path, which at a mirror may not be the reference's.
    repository: String,
    plain_allowed: bool,
    patience: Patience,
    token: RefCell<Option<HeaderValue>>,
}

impl Client {
    /// Sets up trust, and finds out the scheme where there is a choice.
    pub async fn connect(reference: &ImageRef, access: &Access<'_>, patience: Patience) -> Result<Self, RegistryError> {
        let domain = access.domain(reference);
        let candidates = endpoint::candidates(domain, access.tls_verify)?;
        let (first, others) =
            candidates.split_first().ok_or_else(|| RegistryError::Setup("no address to try".to_owned()))?;
        endpoint::check_resolver(first, Path::new(RESOLV_CONF))?;
        let mut client = Self {
            http: trust::http_client(domain, access, &candidates, &patience)?,
            base: first.clone(),
            reference: reference.clone(),
            repository: access.path(reference),
            plain_allowed: access.tls_verify == Some(false),
            patience,
            token: RefCell::default(),
        };
        if !others.is_empty() {
            client.base = client.settle(&candidates).await?;
        }
        Ok(client)
    }

    /// Host and port, for messages.
    pub fn host(&self) -> String {
        endpoint::authority(&self.base)
    }

    /// The reference this client was made for.
    pub fn reference(&self) -> &ImageRef {
        &self.reference
    }

    /// Waiting limits.
    pub fn patience(&self) -> &Patience {
        &self.patience
    }

    /// The first address that speaks its scheme. A 400 over plain http is what TLS servers say to
    /// it, so another candidate gets its chance first.
    async fn settle(&self, candidates: &[Url]) -> Result<Url, RegistryError> {
        let (mut doubtful, mut failed) = (None, None);
        for url in candidates {
            let ping = url.join("v2/").map_err(|error| RegistryError::Setup(error.to_string()))?;
            match self.exchange(self.http.get(ping)).await {
                Ok(response) if url.scheme() == "http" && response.status() == StatusCode::BAD_REQUEST => {
                    doubtful = Some(url);
                }
                Ok(_) => return Ok(url.clone()),
                // That a certificate is not trusted says more than that TLS is not plain http.
                Err(error) if failed.is_none() || error.is_tls() => failed = Some(error),
                Err(_) => {}
            }
        }
        match (doubtful, failed) {
            (Some(url), _) => Ok(url.clone()),
            (None, Some(error)) => Err(error),
            (None, None) => Ok(self.base.clone()),
        }
    }

    /// Sends one request and returns a response of status 200, 206 or 416. A 401 is answered by
    /// one new token.
    pub async fn get(&self, target: &Target, accept: &str) -> Result<Response, RegistryError> {
        let (url, offset) = self.address(target)?;
        let mut renewed = false;
        let response = loop {
            let token = self.token.borrow().clone();
            let response = self.follow(url.clone(), accept, offset, token.as_ref()).await?;
            let unauthorized = response.status() == StatusCode::UNAUTHORIZED;
            if renewed || !unauthorized || !endpoint::same_origin(response.url(), &self.base) {
                break response;
            }
            // Another request may have brought a newer token since this one was sent.
            if *self.token.borrow() == token {
                self.renew_token(response.headers()).await?;
                renewed = true;
            }
        };
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
        Ok((headers, self.read_capped(response, what, DOCUMENT_MAX).await?))
    }

    fn address(&self, target: &Target) -> Result<(Url, u64), RegistryError> {
        let repository = &self.repository;
        let (path, offset) = match target {
            Target::Manifest(key) => (format!("v2/{repository}/manifests/{key}"), 0),
            Target::Blob(digest, offset) => (format!("v2/{repository}/blobs/{digest}"), *offset),
        };
        let url =
            self.base.join(&path).map_err(|error| RegistryError::Setup(format!("invalid address {path}: {error}")))?;
        Ok((url, offset))
    }

    /// GET with redirects. The token goes to the registry's own origin only, and no more once a
    /// redirect left it.
    async fn follow(
        &self,
        mut url: Url,
        accept: &str,
        offset: u64,
        token: Option<&HeaderValue>,
    ) -> Result<Response, RegistryError> {
        let mut at_home = true;
        for _ in 0..=REDIRECTS_MAX {
            at_home &= endpoint::same_origin(&url, &self.base);
            let mut request = self.http.get(url.clone()).header(ACCEPT, accept);
            if let Some(token) = token.filter(|_| at_home) {
                request = request.header(AUTHORIZATION, token.clone());
            }
            if offset > 0 {
                request = request.header(RANGE, format!("bytes={offset}-"));
            }
            let response = self.exchange(request).await?;
            if !is_redirect(response.status()) {
                return Ok(response);
            }
            let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            url = endpoint::redirect(&url, location.unwrap_or("//"), self.plain_allowed)?;
        }
        let location = printable(&endpoint::authority(&url));
        Err(RegistryError::Redirect { host: self.host(), location, why: "more than 5 redirects" })
    }

    async fn exchange(&self, request: reqwest::RequestBuilder) -> Result<Response, RegistryError> {
        self.in_time(async {
            let request = request.build().map_err(|error| RegistryError::transport(&self.host(), &error))?;
            let host = endpoint::authority(request.url());
            self.http.execute(request).await.map_err(|error| RegistryError::transport(&host, &error))
        })
        .await
    }

    async fn in_time<T>(&self, work: impl Future<Output = Result<T, RegistryError>>) -> Result<T, RegistryError> {
        let limit = self.patience.answer;
        tokio::time::timeout(limit, work)
            .await
            .unwrap_or_else(|_| Err(RegistryError::timeout(&self.host(), &format!("no answer within {limit:?}"))))
    }

    async fn read_capped(
        &self,
        mut response: Response,
        what: &'static str,
        limit: u64,
    ) -> Result<Vec<u8>, RegistryError> {
        let host = endpoint::authority(response.url());
        let too_large = || RegistryError::TooLarge { what, host: host.clone(), limit };
        if response.content_length().is_some_and(|length| length > limit) {
            return Err(too_large());
        }
        self.in_time(async {
            let mut body = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(|error| RegistryError::transport(&host, &error))? {
                if (body.len() + chunk.len()) as u64 > limit {
                    return Err(too_large());
                }
                body.extend_from_slice(&chunk);
            }
            Ok(body)
        })
        .await
    }

    /// Gets a token as the challenge asks. Anonymous: nothing secret is sent.
    async fn renew_token(&self, headers: &HeaderMap) -> Result<(), RegistryError> {
        let Challenge::Bearer { realm, service } = token::challenge(headers) else {
            return Err(RegistryError::AuthenticationRequired(self.host()));
        };
        let realm = endpoint::realm(&self.base, &realm, self.plain_allowed)?;
        endpoint::check_resolver(&realm, Path::new(RESOLV_CONF))?;
        let url = token::request(&realm, service.as_deref(), &self.repository);
        let response = self.exchange(self.http.get(url)).await?;
        let host = endpoint::authority(&realm);
        match response.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(self.access_denied()),
            status if is_redirect(status) => {
                return Err(RegistryError::Token { host, why: format!("refused redirect ({status})") });
            }
            _ => return Err(self.status_error(response).await),
        }
        let body = self.read_capped(response, "token", TOKEN_MAX).await?;
        let value = token::authorization(&body)
            .ok_or(RegistryError::Token { host, why: "its answer holds no usable token".to_owned() })?;
        self.token.replace(Some(value));
        Ok(())
    }

    /// Turns a refusal into the error that docker would show.
    async fn failure(&self, target: &Target, response: Response) -> RegistryError {
        let (status, at_home) = (response.status(), endpoint::same_origin(response.url(), &self.base));
        let error = self.status_error(response).await;
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

    async fn status_error(&self, response: Response) -> RegistryError {
        let (host, status) = (endpoint::authority(response.url()), response.status());
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = retry_after.and_then(|text| parse_retry_after(text, Timestamp::now()));
        let body = self.read_capped(response, "error message", ERROR_MAX).await.unwrap_or_default();
        let message = error_body(&body).map(|(code, message)| format!(": {}: {message}", printable(&code)));
        RegistryError::Status { host, status, message: message.unwrap_or_default(), retry_after }
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}
