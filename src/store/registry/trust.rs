//! The HTTP client of a pull: whom it trusts, through which proxy it goes.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::{Certificate, Client, ClientBuilder, Identity, NoProxy, Proxy, Url, redirect};

use super::certificates;
use super::client::Access;
use super::error::{RegistryError, printable};
use super::retry::Patience;

/// Never proxied, whatever the environment says.
const LOOPBACK: &str = "localhost,127.0.0.0/8,::1";

/// The clients for one registry: one TLS configuration for everything that is asked on its behalf,
/// but our own certificate is shown to the registry only.
#[derive(Debug)]
pub struct Clients {
    home: Client,
    away: Client,
}

impl Clients {
    /// The one for the registry itself, or for where it sends us.
    pub fn for_home(&self, home: bool) -> &Client {
        if home { &self.home } else { &self.away }
    }
}

/// Builds the clients for the registry `domain`: system roots plus its own, no redirects followed.
pub fn http_clients(
    domain: &str,
    access: &Access<'_>,
    candidates: &[Url],
    patience: &Patience,
) -> Result<Clients, RegistryError> {
    // Fails only when another provider is installed, and there is no other in this program.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let certificates = certificates::load(domain, access.cert_dir)?;
    let client = |identity: Option<&Identity>| http_client(&certificates.roots, identity, access, candidates, patience);
    let away = client(None)?;
    let home = match &certificates.identity {
        Some(identity) => client(Some(identity))?,
        None => away.clone(),
    };
    Ok(Clients { home, away })
}

fn http_client(
    roots: &[Certificate],
    identity: Option<&Identity>,
    access: &Access<'_>,
    candidates: &[Url],
    patience: &Patience,
) -> Result<Client, RegistryError> {
    let roots = roots.to_vec();
    let builder = |only: bool| {
        let mut builder = base_builder(access, patience)?;
        if let Some(identity) = identity {
            builder = builder.identity(identity.clone());
        }
        Ok::<_, RegistryError>(if only {
            builder.tls_certs_only(roots.clone())
        } else {
            builder.tls_certs_merge(roots.clone())
        })
    };
    match builder(false)?.build() {
        Ok(client) => Ok(client),
        // Without system roots plain http still works, and https fails by its certificate.
        Err(_) if candidates.iter().any(|url| url.scheme() == "http") => {
            builder(true)?.build().map_err(|e| no_roots(&e))
        }
        Err(error) => Err(no_roots(&error)),
    }
}

fn no_roots(error: &reqwest::Error) -> RegistryError {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let why = innermost.to_string();
    let why = printable(why.strip_prefix("unexpected error: ").unwrap_or(&why));
    RegistryError::Setup(format!(
        "cannot verify any registry: {why}: install the package ca-certificates or name a bundle in SSL_CERT_FILE"
    ))
}

fn base_builder(access: &Access<'_>, patience: &Patience) -> Result<ClientBuilder, RegistryError> {
    let loopback: [SocketAddr; 2] = [(Ipv4Addr::LOCALHOST, 0).into(), (Ipv6Addr::LOCALHOST, 0).into()];
    let builder = Client::builder()
        .user_agent(concat!("rbox/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .referer(false)
        .connect_timeout(patience.connect)
        .resolve_to_addrs("localhost", &loopback)
        .tls_danger_accept_invalid_certs(access.tls_verify == Some(false));
    with_proxies(builder.no_proxy(), |name| std::env::var(name).ok())
}

/// Applies HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, lower case first as curl has it.
fn with_proxies(
    mut builder: ClientBuilder,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<ClientBuilder, RegistryError> {
    let lookup = |name: &str| {
        let found = variable(&name.to_ascii_lowercase()).or_else(|| variable(name));
        found.filter(|value| !value.is_empty())
    };
    let mut except = LOOPBACK.to_owned();
    if let Some(more) = lookup("NO_PROXY") {
        except = format!("{except},{more}");
    }
    for (name, make) in [("HTTP_PROXY", Proxy::http as fn(String) -> _), ("HTTPS_PROXY", Proxy::https)] {
        let Some(address) = lookup(name).or_else(|| lookup("ALL_PROXY")) else { continue };
        let proxy = make(address).map_err(|_| {
            RegistryError::Setup(format!("invalid {name} in the environment: expected http://HOST:PORT"))
        })?;
        builder = builder.proxy(proxy.no_proxy(NoProxy::from_string(&except)));
    }
    Ok(builder)
}
