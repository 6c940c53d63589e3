//! The certificates of one registry, in the directories that docker and podman keep them in: `*.crt`
//! are authorities to trust, `NAME.cert` and `NAME.key` are who we are.

use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use reqwest::{Certificate, Identity};

use super::endpoint;
use super::error::RegistryError;

const CERTIFICATE_MAX: u64 = 1 << 20;

/// What was found for one registry.
#[derive(Debug, Default)]
pub struct Certificates {
    pub roots: Vec<Certificate>,
    /// Our own certificate and its key; the first directory that has one decides.
    pub identity: Option<Identity>,
}

/// Reads `cert_dir`, or else the per-registry directories that exist.
pub fn load(domain: &str, cert_dir: Option<&Path>) -> Result<Certificates, RegistryError> {
    let mut found = Certificates::default();
    if let Some(directory) = cert_dir {
        if !found.add(directory)? {
            let directory = directory.display();
            let why = format!("certificate directory {directory} does not exist or is not readable");
            return Err(RegistryError::Setup(why));
        }
        return Ok(found);
    }
    for base in per_registry_directories() {
        found.add(&base.join(domain))?;
        // docker.io is known by the name of the host that serves it, too.
        if endpoint::host_of(domain) != domain {
            found.add(&base.join(endpoint::host_of(domain)))?;
        }
    }
    Ok(found)
}

/// The user's before the system's.
fn per_registry_directories() -> Vec<PathBuf> {
    let mut directories = Vec::new();
    let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    // Not std::env::home_dir: it asks NSS when HOME is unset.
    if let Some(config) = variable("XDG_CONFIG_HOME").or_else(|| Some(variable("HOME")?.join(".config"))) {
        directories.push(config.join("containers/certs.d"));
    }
    directories.extend(["/etc/containers/certs.d".into(), "/etc/docker/certs.d".into()]);
    directories
}

impl Certificates {
    /// Takes what is in a directory; false when there is none for us.
    fn add(&mut self, directory: &Path) -> Result<bool, RegistryError> {
        let entries = match std::fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if is_absent(&error) => return Ok(false),
            Err(error) => return Err(failed(directory, error)),
        };
        let mut paths = entries
            .map(|entry| Ok(entry.map_err(|error| failed(directory, error))?.path()))
            .collect::<Result<Vec<PathBuf>, RegistryError>>()?;
        paths.sort();
        let mut identity = None;
        for path in &paths {
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("crt") => self.roots.extend(authorities(path)?),
                Some("cert") if identity.is_none() => identity = Some(own(path)?),
                Some("key") if !path.with_extension("cert").exists() => {
                    let certificate = path.with_extension("cert");
                    return Err(failed(path, format!("its certificate {} is missing", certificate.display())));
                }
                _ => {}
            }
        }
        self.identity = self.identity.take().or(identity);
        Ok(true)
    }
}

fn authorities(path: &Path) -> Result<Vec<Certificate>, RegistryError> {
    let found = Certificate::from_pem_bundle(&read(path)?).unwrap_or_default();
    if found.is_empty() {
        return Err(failed(path, "no PEM certificate in it"));
    }
    Ok(found)
}

/// A certificate with the key beside it.
fn own(path: &Path) -> Result<Identity, RegistryError> {
    let key = path.with_extension("key");
    let mut pem = read(path)?;
    pem.push(b'\n');
    pem.extend(read(&key).map_err(|error| match error {
        RegistryError::Setup(why) => RegistryError::Setup(format!("{why}: it goes with {}", path.display())),
        other => other,
    })?);
    Identity::from_pem(&pem).map_err(|_| failed(path, format!("no PEM certificate with a key in {}", key.display())))
}

fn read(path: &Path) -> Result<Vec<u8>, RegistryError> {
    let mut pem = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| failed(path, error))?;
    file.take(CERTIFICATE_MAX).read_to_end(&mut pem).map_err(|error| failed(path, error))?;
    Ok(pem)
}

fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::PermissionDenied)
}

fn failed(path: &Path, why: impl std::fmt::Display) -> RegistryError {
    RegistryError::Setup(format!("read certificates {}: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_needs_its_key() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let found = || load("a.example", Some(directory.path()));
        assert!(found().unwrap().identity.is_none());
        std::fs::write(path("ca.crt"), include_bytes!("testdata/ca.crt")).unwrap();
        std::fs::write(path("me.cert"), include_bytes!("testdata/server.crt")).unwrap();
        let error = found().unwrap_err().to_string();
        assert!(error.contains("me.key: ") && error.contains("it goes with "), "{error}");
        std::fs::write(path("me.key"), include_bytes!("testdata/server.key")).unwrap();
        let both = found().unwrap();
        assert!(both.identity.is_some() && both.roots.len() == 1);
        std::fs::write(path("me.key"), "none").unwrap();
        assert!(found().unwrap_err().to_string().contains("no PEM certificate with a key in "));
        std::fs::rename(path("me.cert"), path("other")).unwrap();
        let error = found().unwrap_err().to_string();
        assert!(error.contains("me.key: its certificate ") && error.ends_with("me.cert is missing"), "{error}");
        assert!(load("a.example", Some(&path("none"))).is_err());
    }
}
