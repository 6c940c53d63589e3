//! One auth file: docker's `config.json` or containers' `auth.json`, which have the same shape, and
//! docker's old `.dockercfg`. What we do not know in it stays as it was.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};

use super::{AuthError, Credentials};
use crate::spec::registries::Domain;
use crate::spec::text::printable;
use crate::store::fs;
use crate::store::lock::FileLock;

const FILE_MAX: usize = 4 << 20;
/// What docker calls its own registry.
pub const HUB_KEY: &str = "https://index.docker.io/v1/";
const HUB: &str = "docker.io";
const HUB_HOSTS: [&str; 3] = [HUB, "index.docker.io", "registry-1.docker.io"];

/// Who wrote the file, which decides what it calls docker.io.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Docker,
    Containers,
    /// `.dockercfg`: the registries are the whole of it.
    Legacy,
}

/// A file that was read.
#[derive(Debug)]
pub struct Document {
    path: PathBuf,
    kind: Kind,
    root: Map<String, Value>,
}

/// What a file says about a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Credentials(Credentials),
    /// Ask this helper, for this server.
    Helper {
        name: String,
        server: String,
    },
}

impl Document {
    /// Reads a file; None when there is none. An empty one holds nothing.
    pub fn read(path: &Path, kind: Kind) -> Result<Option<Self>, AuthError> {
        let failed = |why: String| AuthError::File { path: path.to_owned(), why };
        let bytes = match fs::read_limited(path, FILE_MAX) {
            Ok(bytes) => bytes,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
            Err(error) => return Err(failed(error.to_string())),
        };
        let blank = bytes.iter().all(u8::is_ascii_whitespace);
        // The parser's message could quote the file: only where it failed is told.
        let root = if blank {
            Map::new()
        } else {
            serde_json::from_slice(&bytes).map_err(|error| {
                let (line, column) = (error.line(), error.column());
                failed(format!("it is not a JSON object as docker and podman write (line {line}, column {column})"))
            })?
        };
        Ok(Some(Self { path: path.to_owned(), kind, root }))
    }

    /// Changes a file under a lock, and writes it whole or not at all, for its owner only. `change`
    /// says whether there is anything to write.
    pub fn edit<T>(
        path: &Path,
        kind: Kind,
        change: impl FnOnce(&mut Self) -> Result<(bool, T), AuthError>,
    ) -> Result<T, AuthError> {
        let failed = |error: std::io::Error| AuthError::File { path: path.to_owned(), why: error.to_string() };
        // Where a link leads: it may be kept with other files of its kind.
        let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let directory = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_private_dir(directory).map_err(failed)?;
        let _lock = FileLock::directory(directory).map_err(failed)?;
        let mut document =
            Self::read(&target, kind)?.unwrap_or_else(|| Self { path: target.clone(), kind, root: Map::new() });
        let (changed, answer) = change(&mut document)?;
        if changed {
            let mut text = serde_json::to_vec_pretty(&document.root).map_err(|error| failed(error.into()))?;
            text.push(b'\n');
            fs::write_atomic(&target, &text).map_err(failed)?;
        }
        Ok(answer)
    }

    /// What the file says of a registry: a helper named for it, else the most exact entry, else the
    /// helper for all.
    pub fn find(&self, registry: &Domain, repository: &str) -> Result<Option<Found>, AuthError> {
        if let Some(name) = self.helper_of(registry) {
            let server = helper_key(registry).to_owned();
            return Ok(Some(Found::Helper { name: name.to_owned(), server }));
        }
        for key in self.keys(registry, repository) {
            if let Some(credentials) = self.entry(&key)? {
                return Ok(Some(Found::Credentials(credentials)));
            }
        }
        let server = helper_key(registry).to_owned();
        Ok(self.store().map(|name| Found::Helper { name: name.to_owned(), server }))
    }

    /// The helper named for a registry.
    pub fn helper_of(&self, registry: &Domain) -> Option<&str> {
        let helpers = self.root.get("credHelpers")?.as_object()?;
        let named = helpers.iter().find(|(key, _)| normal_key(key) == normal_host(registry.as_str()));
        named.and_then(|(_, name)| name.as_str()).filter(|name| !name.is_empty())
    }

    /// The helper for all registries.
    pub fn store(&self) -> Option<&str> {
        self.root.get("credsStore").and_then(Value::as_str).filter(|name| !name.is_empty())
    }

    /// Whether there is an entry of exactly this registry, and not only of a repository.
    pub fn has(&self, registry: &Domain) -> bool {
        let is_of = |key: &str| normal_key(key) == normal_host(registry.as_str());
        self.entries().is_some_and(|entries| entries.iter().any(|(key, value)| is_of(key) && !is_hollow(value)))
    }

    /// Keeps credentials for a registry or, with a repository, for that and what is below it.
    pub fn put(&mut self, registry: &Domain, repository: &str, credentials: &Credentials) {
        let written = match credentials {
            Credentials::Basic { user, password } => json!({"auth": BASE64.encode(format!("{user}:{password}"))}),
            Credentials::IdentityToken(token) => {
                json!({"auth": BASE64.encode("<token>:"), "identitytoken": token})
            }
        };
        let key = self.key_to_write(registry, repository);
        self.entries_mut().insert(key, written);
    }

    /// Notes that a helper keeps the credentials of a registry, as docker does.
    pub fn put_hollow(&mut self, registry: &Domain) {
        let key = self.key_to_write(registry, "");
        self.entries_mut().insert(key, json!({}));
    }

    /// Forgets a registry, or a repository of it; false when nothing was known.
    pub fn forget(&mut self, registry: &Domain, repository: &str) -> bool {
        let host = normal_host(registry.as_str());
        let known = |key: &str| match repository {
            "" => normal_key(key) == host,
            path => key == format!("{registry}/{path}"),
        };
        let Some(entries) = self.entries() else { return false };
        let gone: Vec<String> = entries.keys().filter(|key| known(key)).cloned().collect();
        gone.iter().for_each(|key| drop(self.entries_mut().shift_remove(key)));
        !gone.is_empty()
    }

    /// Forgets every registry; false when none was known.
    pub fn forget_all(&mut self) -> bool {
        let any = self.entries().is_some_and(|entries| !entries.is_empty());
        if any {
            self.entries_mut().clear();
        }
        any
    }

    /// The registries that have entries or helpers of their own.
    pub fn registries(&self) -> impl Iterator<Item = Domain> {
        let keys = |map: &Map<String, Value>| map.keys().map(|key| normal_key(key)).collect::<Vec<_>>();
        let helpers = self.root.get("credHelpers").and_then(Value::as_object).map(keys);
        let entries = self.entries().map(keys);
        entries.into_iter().chain(helpers).flatten().filter_map(|key| key.parse().ok())
    }

    fn entries(&self) -> Option<&Map<String, Value>> {
        match self.kind {
            Kind::Legacy => Some(&self.root),
            Kind::Docker | Kind::Containers => self.root.get("auths")?.as_object(),
        }
    }

    fn entries_mut(&mut self) -> &mut Map<String, Value> {
        if self.kind == Kind::Legacy {
            return &mut self.root;
        }
        if !self.root.get("auths").is_some_and(Value::is_object) {
            self.root.insert("auths".to_owned(), json!({}));
        }
        self.root["auths"].as_object_mut().expect("an object was put there when there was none")
    }

    /// The keys to look at, the most exact first: repository and its parents, then the host by all
    /// its names.
    fn keys(&self, registry: &Domain, repository: &str) -> Vec<String> {
        let mut keys = Vec::new();
        let mut path = repository;
        while !path.is_empty() {
            keys.push(format!("{registry}/{path}"));
            path = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        }
        keys.push(registry.to_string());
        let host = normal_host(registry.as_str());
        keys.extend(self.entries().into_iter().flat_map(Map::keys).filter(|key| normal_key(key) == host).cloned());
        keys
    }

    fn key_to_write(&self, registry: &Domain, repository: &str) -> String {
        if !repository.is_empty() {
            return format!("{registry}/{repository}");
        }
        let host = normal_host(registry.as_str());
        let known = self.entries().into_iter().flat_map(Map::keys).find(|key| normal_key(key) == host);
        known.cloned().unwrap_or_else(|| match self.kind {
            Kind::Containers => registry.to_string(),
            Kind::Docker | Kind::Legacy => helper_key(registry).to_owned(),
        })
    }

    /// The credentials under one key; None when there is no such key, or nothing under it.
    fn entry(&self, key: &str) -> Result<Option<Credentials>, AuthError> {
        let Some(entry) = self.entries().and_then(|entries| entries.get(key)) else { return Ok(None) };
        let failed = |why: &str| AuthError::File { path: self.path.clone(), why: format!("{}: {why}", printable(key)) };
        let text = |name: &str| entry.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        if !entry.is_object() {
            return Err(failed("the entry is not an object"));
        }
        if let Some(token) = text("identitytoken") {
            return Ok(Some(Credentials::IdentityToken(token.to_owned())));
        }
        if let Some(encoded) = text("auth") {
            let decoded = BASE64.decode(encoded.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let (user, password) = decoded
                .as_deref()
                .and_then(|pair| pair.split_once(':'))
                .ok_or_else(|| failed("its auth is not USER:PASSWORD in base64"))?;
            let (user, password) = (user.to_owned(), password.trim_end_matches('\0').to_owned());
            return Ok(Some(Credentials::Basic { user, password }));
        }
        let named = text("username").zip(text("password"));
        Ok(named.map(|(user, password)| Credentials::Basic { user: user.to_owned(), password: password.to_owned() }))
    }
}

/// An entry that only says that a helper knows more.
fn is_hollow(entry: &Value) -> bool {
    entry.as_object().is_some_and(Map::is_empty)
}

/// What docker and its helpers call a registry.
pub fn helper_key(registry: &Domain) -> &str {
    if registry.as_str() == HUB { HUB_KEY } else { registry.as_str() }
}

/// The host that a key is about, in the one spelling we compare: without scheme, and without the
/// path that only addresses have. A key of a repository stays as it is.
fn normal_key(key: &str) -> String {
    let stripped = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
    match stripped {
        Some(rest) => normal_host(rest.split('/').next().unwrap_or_default()).to_owned(),
        None => normal_host(key).to_owned(),
    }
}

fn normal_host(host: &str) -> &str {
    if HUB_HOSTS.contains(&host) { HUB } else { host }
}
