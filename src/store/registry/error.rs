//! Why a registry did not give what was asked. Texts that docker's users know are docker's.

use std::error::Error;
use std::io;
use std::time::Duration;

use reqwest::StatusCode;
use serde::Deserialize;

use super::auth::AuthError;
use crate::spec::digest::Digest;
use crate::spec::registries::Blocked;
use crate::spec::text;

const TEXT_MAX: usize = 300;

/// A failed exchange with a registry. Foreign text inside is already filtered.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("manifest for {0} not found: manifest unknown: manifest unknown")]
    ManifestUnknown(String),
    #[error("repository {0} not found: name unknown: repository name not known to registry")]
    RepositoryUnknown(String),
    #[error(
        "pull access denied for {0}, repository does not exist or may require 'docker login': denied: \
         requested access to the resource is denied"
    )]
    AccessDenied(String),
    #[error("authentication required: registry {0} gives nothing to anonymous users: see 'rbox login'")]
    AuthenticationRequired(String),
    #[error("unauthorized: incorrect username or password: registry {0} refuses the credentials for it")]
    Unauthorized(String),
    #[error("denied: requested access to the resource is denied: by registry {0}")]
    Denied(String),
    #[error(transparent)]
    Blocked(#[from] Blocked),
    #[error(transparent)]
    Auth(#[from] AuthError),
    #[error(
        "push access denied for {repository}: denied: requested access to the resource is denied: log in to {host} as \
         somebody who may write there"
    )]
    PushDenied { repository: String, host: String },
    #[error("registry {host} takes no images, it is read-only{message}")]
    ReadOnly { host: String, message: String },
    #[error("registry {host} refuses what is sent as too large{message}")]
    TooLargeThere { host: String, message: String },
    #[error("blob {digest} is missing from registry {host}")]
    BlobUnknown { digest: Digest, host: String },
    #[error("registry {host} answered {status}{message}")]
    Status { host: String, status: StatusCode, message: String, retry_after: Option<Duration> },
    #[error("cannot reach registry {host}: {why}{}", fault.hint())]
    Transport { host: String, fault: Fault, why: String },
    #[error("{what} from {host} is larger than {limit} bytes")]
    TooLarge { what: &'static str, host: String, limit: u64 },
    #[error("refused redirect of {host} to {location}: {why}")]
    Redirect { host: String, location: String, why: &'static str },
    #[error("refused token server {realm} of registry {host}: {why}")]
    Realm { host: String, realm: String, why: &'static str },
    #[error("token server {host}: {why}")]
    Token { host: String, why: String },
    #[error("refused image {image}: {why}")]
    Image { image: String, why: String },
    #[error("no matching manifest for {wanted} in the manifest list entries of {image}: it has {available}")]
    Platform { image: String, wanted: String, available: String },
    #[error("{what} arrived wrong: digest {found}, expected {expected}")]
    Digest { what: &'static str, expected: Digest, found: Digest },
    #[error("blob {digest} arrived wrong: {why}")]
    Blob { digest: Digest, why: String },
    #[error("{0}")]
    Setup(String),
}

/// What broke below HTTP; decides how often to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing listens there.
    Refused,
    /// The name has no address.
    Name,
    /// The certificate or the handshake.
    Tls,
    /// No answer, or too few bytes, for too long.
    Timeout,
    /// Reset, truncated, garbled.
    Broken,
}

impl Fault {
    fn hint(self) -> &'static str {
        match self {
            Self::Tls => {
                " (trust its CA by a *.crt file in /etc/containers/certs.d/HOST:PORT, or use --tls-verify=false)"
            }
            _ => "",
        }
    }
}

impl RegistryError {
    /// Wraps an error of the transport.
    pub fn transport(host: &str, error: &reqwest::Error) -> Self {
        let (fault, why) = diagnose(error);
        Self::Transport { host: host.to_owned(), fault, why }
    }

    /// No answer in time.
    pub fn timeout(host: &str, why: &str) -> Self {
        Self::Transport { host: host.to_owned(), fault: Fault::Timeout, why: why.to_owned() }
    }

    /// Whether the certificate or the handshake was at fault.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Transport { fault: Fault::Tls, .. })
    }

    /// How often the same request may be sent in all: 1 means never again.
    pub fn tries(&self, patient: u32) -> u32 {
        match self {
            Self::Transport { fault: Fault::Name, .. } => patient.min(2),
            Self::Transport { fault: Fault::Timeout | Fault::Broken, .. } => patient,
            Self::Status { status, .. } if *status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() => {
                patient
            }
            _ => 1,
        }
    }

    /// The pause the registry asked for.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// Walks to the innermost cause: what a person can act on.
fn diagnose(error: &reqwest::Error) -> (Fault, String) {
    let mut fault = if error.is_timeout() { Fault::Timeout } else { Fault::Broken };
    let mut innermost: &(dyn Error + 'static) = error;
    loop {
        match innermost.downcast_ref::<io::Error>().map(io::Error::kind) {
            Some(io::ErrorKind::ConnectionRefused) => return (Fault::Refused, "connection refused".to_owned()),
            Some(io::ErrorKind::ConnectionReset) => return (Fault::Broken, "connection reset by peer".to_owned()),
            Some(io::ErrorKind::TimedOut) => fault = Fault::Timeout,
            _ if innermost.is::<rustls::Error>() => fault = Fault::Tls,
            _ if innermost.to_string() == "dns error" => fault = Fault::Name,
            _ => {}
        }
        match cause(innermost) {
            Some(source) => innermost = source,
            None if fault == Fault::Name && innermost.to_string().starts_with("no records found") => {
                return (fault, "no such host".to_owned());
            }
            None => return (fault, printable(&innermost.to_string())),
        }
    }
}

/// Like `source`, which passes over an error that an I/O error wraps.
fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

/// Foreign text, escaped for a terminal and not too long.
pub fn printable(text: &str) -> String {
    let mut shown: String = text.chars().take(TEXT_MAX).collect();
    if shown.len() < text.len() {
        shown.push_str("...");
    }
    text::printable(&shown)
}

/// The distribution spec's error document; only the first entry is of interest.
#[derive(Deserialize)]
struct Envelope {
    errors: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    code: String,
    #[serde(default)]
    message: String,
}

/// The code and message of an error body, when it is the spec's JSON.
pub fn error_body(body: &[u8]) -> Option<(String, String)> {
    let envelope: Envelope = serde_json::from_slice(body).ok()?;
    let first = envelope.errors.into_iter().next()?;
    Some((first.code, printable(&first.message)))
}
