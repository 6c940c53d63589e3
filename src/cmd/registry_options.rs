//! The flags that say how a registry is reached, for every command that talks to one.

use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow, bail};

use super::Context;
use super::credentials::{ask_hidden, auth_files, can_ask};
use crate::spec::reference::ImageRef;
use crate::spec::registries::{Domain, Place, Registries};
use crate::spec::time::parse_duration;
use crate::store::pull::PullOptions;
use crate::store::registry::{self, Access, Client, Patience, RegistryError, listing};

const PAUSE_MAX: Duration = Duration::from_secs(3600);
use crate::store::registry::auth::{Credentials, Given, Keyring};

/// How a registry is reached, as typed.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct RegistryOptions {
    /// Keep and look up credentials in this file (REGISTRY_AUTH_FILE)
    #[arg(long, value_name = "FILE")]
    pub authfile: Option<PathBuf>,
    /// Trust the *.crt files in this directory, and show the registry its *.cert with its *.key
    #[arg(long, value_name = "DIR")]
    pub cert_dir: Option<PathBuf>,
    /// User name and password for the registry; without a password it is asked for
    #[arg(long, value_name = "USER[:PASSWORD]", value_parser = Hidden::take)]
    pub creds: Option<Hidden>,
    /// Verify the registry's certificate; =false also permits plain http
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = super::go_bool)]
    pub tls_verify: Option<bool>,
}

/// How often a registry is asked, as typed.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub struct RetryOptions {
    /// How often to try again when a registry fails, 4 times unless given
    #[arg(long, value_name = "COUNT")]
    pub retry: Option<u32>,
    /// Pause before the second try, as in 2s; each later one is twice as long
    #[arg(long, value_name = "DURATION", value_parser = pause)]
    pub retry_delay: Option<Duration>,
}

impl RetryOptions {
    /// The same as waiting limits.
    pub fn patience(&self) -> Patience {
        let usual = Patience::default();
        let pause = self.retry_delay.unwrap_or(usual.pause);
        Patience {
            tries: self.retry.map_or(usual.tries, |retries| retries.saturating_add(1)),
            pause,
            pause_max: usual.pause_max.max(pause),
            ..usual
        }
    }
}

/// A duration in Go's words that can be waited for; a number alone means seconds.
fn pause(text: &str) -> Result<Duration, String> {
    let read = match text.parse::<u32>() {
        Ok(seconds) => Ok(Duration::from_secs(seconds.into())),
        Err(_) => parse_duration(text)
            .map_err(|error| error.to_string())
            .and_then(|duration| Duration::try_from(duration).map_err(|_| "it is negative".to_owned())),
    };
    read.and_then(|pause| if pause <= PAUSE_MAX { Ok(pause) } else { Err("it is longer than an hour".to_owned()) })
}

/// A typed text that no message shows.
#[derive(Clone, Default)]
pub struct Hidden(pub String);

impl Hidden {
    /// Takes anything: a refusal would quote it.
    pub fn take(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

/// How one registry is reached, flags and configuration taken together.
#[derive(Clone, Debug)]
pub struct Reach {
    pub tls_verify: Option<bool>,
    pub cert_dir: Option<PathBuf>,
    pub keyring: Arc<dyn Keyring>,
    pub registries: Registries,
}

impl Reach {
    /// The same for a client of the registry.
    pub fn access(&self) -> Access<'_> {
        Access {
            tls_verify: self.tls_verify,
            cert_dir: self.cert_dir.as_deref(),
            mirror: None,
            keyring: Some(&self.keyring),
            registries: Some(&self.registries),
        }
    }

    /// The same for where `registries.conf` says that it is.
    pub fn access_at<'a>(&'a self, place: &'a Place) -> Access<'a> {
        let tls_verify = self.tls_verify.or(place.insecure.then_some(false));
        Access { tls_verify, mirror: Some(place), ..self.access() }
    }

    /// The tags of a repository, from where `registries.conf` says that it is.
    pub fn tags(&self, reference: &ImageRef, patience: Patience) -> Result<Vec<String>> {
        let (_, place) = self.registries.places(reference).map_err(RegistryError::from)?;
        let access = self.access_at(&place);
        let work = async {
            let client = Client::connect(reference, &access, patience).await?;
            listing::tags(&client).await
        };
        Ok(registry::block_on(work)??)
    }
}

impl RegistryOptions {
    /// How `registry` is reached. `--creds` counts for it and for no other.
    pub fn reach(&self, context: &Context, registry: &str) -> Result<Reach> {
        let registries = context.registries()?;
        Ok(Reach {
            tls_verify: self.tls_verify.or_else(|| registries.is_insecure(registry).then_some(false)),
            cert_dir: self.cert_dir.clone(),
            keyring: self.keyring(registry)?,
            registries,
        })
    }

    /// What a pull of `reference` has to know; the platform is left to the caller.
    pub fn pull_options(&self, context: &Context, reference: &ImageRef, retry: &RetryOptions) -> Result<PullOptions> {
        Ok(PullOptions {
            tls_verify: self.tls_verify,
            cert_dir: self.cert_dir.clone(),
            registries: context.registries()?,
            limits: context.layer_limits()?,
            keyring: Some(self.keyring(reference.domain())?),
            patience: retry.patience(),
            ..PullOptions::default()
        })
    }

    /// Where credentials come from in this invocation.
    pub fn keyring(&self, registry: &str) -> Result<Arc<dyn Keyring>> {
        let rest: Arc<dyn Keyring> = Arc::new(auth_files(self.authfile.as_deref()));
        let Some(Hidden(creds)) = &self.creds else { return Ok(rest) };
        let registry: Domain = registry.parse().map_err(|why| anyhow!("registry {registry}: {why}"))?;
        let mut credentials =
            Credentials::parse(creds).ok_or_else(|| anyhow!("invalid --creds: there is no user name in it"))?;
        if let Credentials::Basic { password, .. } = &mut credentials
            && !creds.contains(':')
        {
            if !can_ask() {
                bail!("invalid --creds: there is no password in it, and no terminal to ask for it");
            }
            *password = ask_hidden("Password: ")?;
        }
        Ok(Arc::new(Given { registry, credentials, rest: Some(rest) }))
    }
}
