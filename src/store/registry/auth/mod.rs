//! Who we are to a registry: credentials, and where they are kept.
//!
//! Credentials belong to one registry. They are looked up when that registry asks for them, and the
//! session that asked sends them to it and to its token server only.

mod file;
mod files;
mod helper;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

pub use files::{AuthFiles, Kept};

use crate::spec::registries::Domain;

/// What proves who we are. Debug shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    Basic {
        user: String,
        password: String,
    },
    /// A refresh token, which a token server changes for access tokens (OAuth 2).
    IdentityToken(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Basic { .. } => "Basic(..)",
            Self::IdentityToken(_) => "IdentityToken(..)",
        })
    }
}

impl Credentials {
    /// `USER:PASSWORD`, or `USER` with an empty password, as `--creds` has it. None without a user.
    pub fn parse(text: &str) -> Option<Self> {
        let (user, password) = text.split_once(':').unwrap_or((text, ""));
        (!user.is_empty()).then(|| Self::Basic { user: user.to_owned(), password: password.to_owned() })
    }
}

/// Why credentials could not be looked up or kept. No text holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    #[error("cannot use the auth file {}: {why}", path.display())]
    File { path: PathBuf, why: String },
    #[error("credential helper docker-credential-{name}: {why}")]
    Helper { name: String, why: String },
    #[error("no place for credentials: set HOME, REGISTRY_AUTH_FILE or --authfile")]
    NoPlace,
}

/// Where credentials come from.
pub trait Keyring: fmt::Debug + Send + Sync {
    /// What is known for `repository` (a path such as `library/alpine`, or empty) of `registry`.
    /// May read files and run a helper.
    fn credentials(&self, registry: &Domain, repository: &str) -> Result<Option<Credentials>, AuthError>;
}

/// Credentials given by hand for one registry; others are looked up in `rest`.
#[derive(Debug)]
pub struct Given {
    pub registry: Domain,
    pub credentials: Credentials,
    pub rest: Option<Arc<dyn Keyring>>,
}

impl Keyring for Given {
    fn credentials(&self, registry: &Domain, repository: &str) -> Result<Option<Credentials>, AuthError> {
        match &self.rest {
            _ if *registry == self.registry => Ok(Some(self.credentials.clone())),
            Some(rest) => rest.credentials(registry, repository),
            None => Ok(None),
        }
    }
}
