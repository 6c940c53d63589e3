//! One registry, as we talk to it: requests of any method, tokens and passwords, redirects, limits.
//!
//! What proves who we are goes to the registry's own origin and to its token server, and nowhere
//! else: not where a redirect or an upload location leads, and not down to plain http.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt};
use jiff::Timestamp;
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};

use super::auth::{Credentials, Keyring};
use super::client::Access;
use super::error::{RegistryError, error_body, printable};
use super::retry::{Patience, parse_retry_after};
use super::scope::Scope;
use super::token::{self, Challenge, Grant};
use super::{endpoint, trust};
use crate::spec::registries::{Domain, Registries};

const TOKEN_MAX: u64 = 1 << 20;
const ERROR_MAX: u64 = 64 << 10;
const REDIRECTS_MAX: usize = 5;
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The bytes of a body, piece by piece.
pub type Chunks = Pin<Box<dyn Stream<Item = io::Result<Vec<u8>>> + Send>>;

/// What a request carries.
#[derive(Clone, Default)]
pub enum Payload<'a> {
    #[default]
    Empty,
    Bytes(&'a [u8]),
    /// So many bytes, begun anew for every try.
    Stream {
        length: u64,
        open: &'a dyn Fn() -> io::Result<Chunks>,
    },
}

/// One request of any kind.
#[derive(Clone)]
pub struct Request<'a> {
    pub method: Method,
    pub url: Url,
    /// Without Authorization and Content-Length, which are ours.
    pub headers: HeaderMap,
    pub payload: Payload<'a>,
    pub scope: &'a Scope,
}

impl<'a> Request<'a> {
    /// A request without headers and body.
    pub fn new(method: Method, url: Url, scope: &'a Scope) -> Self {
        Self { method, url, headers: HeaderMap::new(), payload: Payload::Empty, scope }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: reqwest::header::HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Carries a body.
    #[must_use]
    pub fn payload(mut self, payload: Payload<'a>) -> Self {
        self.payload = payload;
        self
    }

    fn only_reads(&self) -> bool {
        matches!(self.method, Method::GET | Method::HEAD)
    }
}

/// A registry that answers, and what it let us have so far.
#[derive(Debug)]
pub struct Session {
    http: trust::Clients,
    base: Url,
    registry: Domain,
    /// Whose credentials are looked up.
    repository: String,
    plain_allowed: bool,
    patience: Patience,
    keyring: Option<Arc<dyn Keyring>>,
    registries: Registries,
    credentials: RefCell<Option<Option<Credentials>>>,
    challenge: RefCell<Option<Challenge>>,
    grants: RefCell<HashMap<Scope, Grant>>,
    /// Several requests that meet the same old token get one new one.
    renewing: tokio::sync::Mutex<()>,
}

impl Session {
    /// Sets up trust, and finds out the scheme where there is a choice. `repository` may be empty.
    pub async fn connect(
        registry: &str,
        repository: &str,
        access: &Access<'_>,
        patience: Patience,
    ) -> Result<Self, RegistryError> {
        let candidates = endpoint::candidates(registry, access.tls_verify)?;
        let (first, others) =
            candidates.split_first().ok_or_else(|| RegistryError::Setup("no address to try".to_owned()))?;
        endpoint::check_resolver(first, Path::new(RESOLV_CONF))?;
        let named = registry.parse().map_err(|why| RegistryError::Setup(format!("registry {registry}: {why}")))?;
        let mut session = Self {
            http: trust::http_clients(registry, access, &candidates, &patience)?,
            base: first.clone(),
            registry: named,
            repository: repository.to_owned(),
            plain_allowed: access.tls_verify == Some(false),
            patience,
            keyring: access.keyring.cloned(),
            registries: access.registries.cloned().unwrap_or_default(),
            credentials: RefCell::default(),
            challenge: RefCell::default(),
            grants: RefCell::default(),
            renewing: tokio::sync::Mutex::default(),
        };
        if !others.is_empty() {
            session.base = session.settle(&candidates).await?;
        }
        Ok(session)
    }

    /// Host and port, for messages.
    pub fn host(&self) -> String {
        endpoint::authority(&self.base)
    }

    /// Waiting limits.
    pub fn patience(&self) -> &Patience {
        &self.patience
    }

    /// An address of this registry: `path` is relative to its root, as in `v2/_catalog?n=100`.
    pub fn url(&self, path: &str) -> Result<Url, RegistryError> {
        self.base.join(path).map_err(|error| RegistryError::Setup(format!("invalid address {path}: {error}")))
    }

    /// Whether this is docker.io.
    pub fn is_hub(&self) -> bool {
        self.registry == Domain::default()
    }

    /// Proves who we are, and asks for nothing else.
    pub async fn login(&self) -> Result<(), RegistryError> {
        let scope = Scope::default();
        let response = self.send(&Request::new(Method::GET, self.url("v2/")?, &scope)).await?;
        match response.status() {
            StatusCode::OK => Ok(()),
            StatusCode::UNAUTHORIZED => Err(RegistryError::Unauthorized(self.host())),
            StatusCode::FORBIDDEN => Err(RegistryError::Denied(self.host())),
            _ => Err(self.status_error(response).await),
        }
    }

    /// Where the `location` that came with an answer from `from` leads, if it may be followed.
    pub fn location(&self, from: &Url, location: Option<&HeaderValue>) -> Result<Url, RegistryError> {
        let location = location.and_then(|value| value.to_str().ok());
        // Two slashes are no address: the refusal names what did not come.
        endpoint::redirect(from, location.unwrap_or("//"), self.plain_allowed)
    }

    /// Whether an address is the registry's own, so that it gets what proves who we are.
    pub fn is_home(&self, url: &Url) -> bool {
        endpoint::same_origin(url, &self.base)
    }

    /// The first address that speaks its scheme. A 400 over plain http is what TLS servers say to
    /// it, so another candidate gets its chance first.
    async fn settle(&self, candidates: &[Url]) -> Result<Url, RegistryError> {
        let (mut doubtful, mut failed) = (None, None);
        for url in candidates {
            let ping = url.join("v2/").map_err(|error| RegistryError::Setup(error.to_string()))?;
            match self.exchange(self.http.for_home(true).get(ping)).await {
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

    /// Sends a request and returns what came, of any status. A 401 is answered once, by a new token
    /// or the password; one that has aged is renewed before. No other retries.
    pub async fn send(&self, request: &Request<'_>) -> Result<Response, RegistryError> {
        let mut renewed = false;
        loop {
            let held = self.held(request.scope).await?;
            let response = self.follow(request, held.as_ref().map(|grant| &grant.value)).await?;
            let unauthorized = response.status() == StatusCode::UNAUTHORIZED;
            if !unauthorized || !self.is_home(response.url()) || !self.is_home(&request.url) {
                return Ok(response);
            }
            if renewed && *self.challenge.borrow() == Some(Challenge::Basic) {
                return Err(RegistryError::Unauthorized(self.host()));
            }
            if renewed {
                return Ok(response);
            }
            self.renew(token::challenge(response.headers()), request.scope, held.as_ref()).await?;
            renewed = true;
        }
    }

    /// What is in hand for `scope`: renewed if it has aged, fetched if the way is known.
    async fn held(&self, scope: &Scope) -> Result<Option<Grant>, RegistryError> {
        let held = self.grants.borrow().get(scope).cloned();
        if held.as_ref().is_some_and(|grant| grant.is_fresh(Instant::now())) {
            return Ok(held);
        }
        let Some(challenge) = self.challenge.borrow().clone() else { return Ok(held) };
        self.renew(challenge, scope, held.as_ref()).await?;
        Ok(self.grants.borrow().get(scope).cloned())
    }

    /// Gets what `challenge` asks for, unless another request brought something newer than `old`.
    async fn renew(&self, challenge: Challenge, scope: &Scope, old: Option<&Grant>) -> Result<(), RegistryError> {
        let _one = self.renewing.lock().await;
        if self.grants.borrow().get(scope) != old {
            return Ok(());
        }
        let credentials = self.credentials()?;
        let grant = match &challenge {
            Challenge::Bearer { realm, service } => {
                self.fetch_token(realm, service.as_deref(), scope, credentials.as_ref()).await?
            }
            Challenge::Basic => {
                let value = credentials.as_ref().and_then(token::basic);
                let value = value.ok_or_else(|| RegistryError::AuthenticationRequired(self.host()))?;
                if old.is_some_and(|old| old.value == value) {
                    return Err(RegistryError::Unauthorized(self.host()));
                }
                Grant { value, until: None }
            }
            Challenge::Other => return Err(RegistryError::AuthenticationRequired(self.host())),
        };
        self.grants.borrow_mut().insert(scope.clone(), grant);
        self.challenge.replace(Some(challenge));
        Ok(())
    }

    /// Looked up once, when the registry asks.
    fn credentials(&self) -> Result<Option<Credentials>, RegistryError> {
        if let Some(known) = &*self.credentials.borrow() {
            return Ok(known.clone());
        }
        let found = match &self.keyring {
            Some(keyring) => keyring.credentials(&self.registry, &self.repository)?,
            None => None,
        };
        self.credentials.replace(Some(found.clone()));
        Ok(found)
    }

    async fn fetch_token(
        &self,
        realm: &str,
        service: Option<&str>,
        scope: &Scope,
        credentials: Option<&Credentials>,
    ) -> Result<Grant, RegistryError> {
        let realm = endpoint::realm(&self.base, realm, self.plain_allowed)?;
        let permitted = || self.registries.permits_token_server(&self.registry, &endpoint::authority(&realm));
        if credentials.is_some() && !endpoint::is_related(&self.base, &realm) && !permitted() {
            let (host, realm) = (self.host(), printable(&endpoint::authority(&realm)));
            let why = "the credentials are for the registry, and this is somebody else's: if you trust it with them, \
                       name it in token-servers of rbox's configuration";
            return Err(RegistryError::Realm { host, realm, why });
        }
        endpoint::check_resolver(&realm, Path::new(RESOLV_CONF))?;
        let asked = Instant::now();
        let response = self.exchange(self.token_request(&realm, service, scope, credentials)).await?;
        let host = endpoint::authority(&realm);
        match response.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED if credentials.is_some() => {
                return Err(RegistryError::Unauthorized(self.host()));
            }
            // That a grant is invalid is a 400 in OAuth 2.
            StatusCode::BAD_REQUEST if matches!(credentials, Some(Credentials::IdentityToken(_))) => {
                return Err(RegistryError::Unauthorized(self.host()));
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(RegistryError::Denied(self.host())),
            status if is_redirect(status) => {
                return Err(RegistryError::Token { host, why: format!("refused redirect ({status})") });
            }
            _ => return Err(self.status_error(response).await),
        }
        let body = self.read_capped(response, "token", TOKEN_MAX).await?;
        token::grant(&body, asked)
            .ok_or(RegistryError::Token { host, why: "its answer holds no usable token".to_owned() })
    }

    fn token_request(
        &self,
        realm: &Url,
        service: Option<&str>,
        scope: &Scope,
        credentials: Option<&Credentials>,
    ) -> RequestBuilder {
        let request = token::request(realm, service, scope, credentials);
        let http = self.http.for_home(self.is_home(realm));
        let builder = match request.form {
            Some(form) => http.post(request.url).header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form),
            None => http.get(request.url),
        };
        match request.authorization {
            Some(value) => builder.header(AUTHORIZATION, value),
            None => builder,
        }
    }

    /// One exchange, with redirects: what only reads goes where it is sent, without what proves who
    /// we are once it left the registry; what writes stays.
    async fn follow(&self, request: &Request<'_>, proof: Option<&HeaderValue>) -> Result<Response, RegistryError> {
        let mut url = request.url.clone();
        let mut at_home = true;
        for _ in 0..=REDIRECTS_MAX {
            at_home &= self.is_home(&url);
            let http = self.http.for_home(at_home);
            let mut builder = http.request(request.method.clone(), url.clone()).headers(request.headers.clone());
            if let Some(proof) = proof.filter(|_| at_home) {
                builder = builder.header(AUTHORIZATION, proof.clone());
            }
            let response = self.deliver(builder, &request.payload).await?;
            if !is_redirect(response.status()) {
                return Ok(response);
            }
            let to = self.location(&url, response.headers().get(LOCATION))?;
            let same_method = matches!(response.status().as_u16(), 307 | 308);
            let may_follow = request.only_reads() || (same_method && endpoint::same_origin(&url, &to));
            if !may_follow {
                let location = printable(&endpoint::authority(&to));
                return Err(RegistryError::Redirect { host: self.host(), location, why: "a change stays here" });
            }
            url = to;
        }
        let location = printable(&endpoint::authority(&url));
        Err(RegistryError::Redirect { host: self.host(), location, why: "more than 5 redirects" })
    }

    async fn deliver(&self, builder: RequestBuilder, payload: &Payload<'_>) -> Result<Response, RegistryError> {
        match payload {
            Payload::Empty => self.exchange(builder).await,
            Payload::Bytes(bytes) => self.exchange(builder.body(bytes.to_vec())).await,
            Payload::Stream { length, open } => {
                let chunks =
                    open().map_err(|error| RegistryError::Setup(format!("read what is to be sent: {error}")))?;
                let moved = Arc::new(Mutex::new(Instant::now()));
                let noted = Arc::clone(&moved);
                let chunks = chunks.inspect(move |_| {
                    *noted.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
                });
                let builder = builder.header(CONTENT_LENGTH, *length).body(reqwest::Body::wrap_stream(chunks));
                let work = self.execute(builder);
                self.while_moving(work, &moved).await
            }
        }
    }

    async fn execute(&self, request: RequestBuilder) -> Result<Response, RegistryError> {
        let (client, request) = request.build_split();
        let request = request.map_err(|error| RegistryError::transport(&self.host(), &error))?;
        let host = endpoint::authority(request.url());
        client.execute(request).await.map_err(|error| RegistryError::transport(&host, &error))
    }

    async fn exchange(&self, request: RequestBuilder) -> Result<Response, RegistryError> {
        self.in_time(self.execute(request)).await
    }

    async fn in_time<T>(&self, work: impl Future<Output = Result<T, RegistryError>>) -> Result<T, RegistryError> {
        let limit = self.patience.answer;
        tokio::time::timeout(limit, work)
            .await
            .unwrap_or_else(|_| Err(RegistryError::timeout(&self.host(), &format!("no answer within {limit:?}"))))
    }

    /// A long body has no time limit as long as it moves.
    async fn while_moving<T>(
        &self,
        work: impl Future<Output = Result<T, RegistryError>>,
        moved: &Mutex<Instant>,
    ) -> Result<T, RegistryError> {
        let limit = self.patience.answer.max(self.patience.stall);
        let mut work = std::pin::pin!(work);
        loop {
            let quiet = moved.lock().unwrap_or_else(PoisonError::into_inner).elapsed();
            let left = limit.saturating_sub(quiet);
            if left.is_zero() {
                return Err(RegistryError::timeout(&self.host(), &format!("nothing moved for {limit:?}")));
            }
            if let Ok(done) = tokio::time::timeout(left.max(Duration::from_millis(1)), &mut work).await {
                return done;
            }
        }
    }

    /// The whole body of an answer, if it is not longer than `limit` bytes.
    pub async fn read_capped(
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

    /// What an answer of an unwelcome status says.
    pub async fn status_error(&self, response: Response) -> RegistryError {
        let (host, status) = (endpoint::authority(response.url()), response.status());
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = retry_after.and_then(|text| parse_retry_after(text, Timestamp::now()));
        let body = self.read_capped(response, "error message", ERROR_MAX).await.unwrap_or_default();
        let (code, message) = error_body(&body).unzip();
        let message = message.map(|message| format!(": {}: {message}", printable(code.as_deref().unwrap_or_default())));
        RegistryError::Status { host, status, message: message.unwrap_or_default(), retry_after }
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}
