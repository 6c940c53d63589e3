//! The HTTP client of a pull: whom it trusts, through which proxy it goes.

use std::io::{ErrorKind, Read};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use reqwest::{Certificate, Client, ClientBuilder, NoProxy, Proxy, Url, redirect};

use super::client::Access;
use super::error::{RegistryError, printable};
use super::retry::Patience;

const CERTIFICATE_MAX: u64 = 1 << 20;
/// Never proxied, whatever the environment says.
const LOOPBACK: &str = "localhost,127.0.0.0/8,::1";

/// Builds the client for the registry `domain`: system roots plus its own, no redirects followed,
/// one TLS configuration for everything that is asked on its behalf.
pub fn http_client(
    domain: &str,
    access: &Access<'_>,
    candidates: &[Url],
    patience: &Patience,
) -> Result<Client, RegistryError> {
    // Fails only when another provider is installed, and there is no other in this program.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let roots = extra_roots(domain, access.cert_dir)?;
    let builder = |only: bool| {
        let builder = base_builder(access, patience)?;
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

/// The `*.crt` files of `cert_dir`, or else of the per-registry directories that exist.
fn extra_roots(domain: &str, cert_dir: Option<&Path>) -> Result<Vec<Certificate>, RegistryError> {
    if let Some(directory) = cert_dir {
        return read_directory(directory)?.ok_or_else(|| {
            let directory = directory.display();
            RegistryError::Setup(format!("certificate directory {directory} does not exist or is not readable"))
        });
    }
    let mut roots = Vec::new();
    for base in per_registry_directories() {
        roots.extend(read_directory(&base.join(domain))?.unwrap_or_default());
    }
    Ok(roots)
}

fn per_registry_directories() -> Vec<PathBuf> {
    let mut directories: Vec<PathBuf> = vec!["/etc/containers/certs.d".into(), "/etc/docker/certs.d".into()];
    // Not std::env::home_dir: it asks NSS when HOME is unset.
    if let Some(home) = std::env::var_os("HOME") {
        directories.push(PathBuf::from(home).join(".config/containers/certs.d"));
    }
    directories
}

fn read_directory(directory: &Path) -> Result<Option<Vec<Certificate>>, RegistryError> {
    let failed =
        |path: &Path, why: String| RegistryError::Setup(format!("read certificates {}: {why}", path.display()));
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => return Ok(None),
        Err(error) => return Err(failed(directory, error.to_string())),
    };
    let mut roots = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| failed(directory, error.to_string()))?.path();
        if path.extension().is_none_or(|extension| extension != "crt") {
            continue;
        }
        let mut pem = Vec::new();
        let file = std::fs::File::open(&path).map_err(|error| failed(&path, error.to_string()))?;
        file.take(CERTIFICATE_MAX).read_to_end(&mut pem).map_err(|error| failed(&path, error.to_string()))?;
        let found = Certificate::from_pem_bundle(&pem).unwrap_or_default();
        if found.is_empty() {
            return Err(failed(&path, "no PEM certificate in it".to_owned()));
        }
        roots.extend(found);
    }
    Ok(Some(roots))
}
