//! `--secret`: secrets of the store that a container gets; `--load-credential`: those of its service.

use anyhow::Result;

use crate::spec::credential::{self, Credential};
use crate::spec::secret::{self, SecretUse};
use crate::store::Store;
use crate::store::secrets::Payload;

/// Options of `run` and `create`, as typed.
#[derive(clap::Args, Clone, Debug)]
pub struct SecretOptions {
    /// Give a secret as a file or a variable (NAME, type=mount|env, target=, uid=, gid=, mode=, separated by commas)
    #[arg(long, value_name = "SECRET")]
    secret: Vec<String>,
    /// Give a credential of the service that this runs in, or a file, as a file below $CREDENTIALS_DIRECTORY
    #[arg(long, value_name = "NAME[:SOURCE]")]
    load_credential: Vec<String>,
}

impl SecretOptions {
    /// The credentials, which are read when the container is started.
    pub fn credentials(&self) -> Result<Vec<Credential>> {
        Ok(credential::parse_all(&self.load_credential)?)
    }

    /// The secrets with their bytes, in the order of the flags; all must be in the store.
    pub fn take(&self, store: &Store) -> Result<(Vec<SecretUse>, Vec<Payload>)> {
        let (mut uses, mut payloads) = (Vec::new(), Vec::new());
        for value in &self.secret {
            let request = secret::parse_secret(value)?;
            let (found, payload) = store.secrets().read(&request.source)?;
            uses.push(request.resolve(&found, payload.as_bytes())?);
            payloads.push(payload);
        }
        secret::check_targets(&uses)?;
        Ok((uses, payloads))
    }
}
