//! `RUN --mount`: what is mounted while a command runs.

use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::worker::{Failure, Worker};
use super::{SecretSource, agent, copying, files};
use crate::build::cache::mounts::{self as cache_mounts, CacheMount};
use crate::build::solve::Directory;
use crate::sandbox::userns;
use crate::spec::digest::Digest;
use crate::spec::dockerfile::ast::Sharing;
use crate::spec::mount::{
    Bind, Flag, FoundImage, ImageUse, Mount, MountKind, OverlayDirs, Sharing as BindSharing, Tmpfs,
};
use crate::spec::secret::{SIZE_LIMIT, SecretForm, SecretUse};
use crate::store::Store;
use crate::store::secrets::Payload;
use crate::store::staging::Staging;

/// A mount, evaluated.
#[derive(Clone, Debug)]
pub enum RunMount {
    /// Part of a stage or an image, by the chain ids of its layers.
    Layers {
        target: String,
        writable: bool,
        chains: Vec<Digest>,
        source: String,
    },
    /// Part of a context.
    Directory {
        target: String,
        writable: bool,
        directory: Directory,
        source: String,
        path: PathBuf,
        digest: Option<Digest>,
        /// Patterns hide something of it.
        hides: bool,
    },
    Cache(Cache),
    Tmpfs {
        target: String,
        size: Option<u64>,
    },
    Secret {
        id: String,
        target: Option<String>,
        env: Option<String>,
        owner: Owner,
        source: Option<SecretSource>,
    },
    Ssh {
        target: String,
        owner: Owner,
        socket: PathBuf,
    },
    /// A script that is to be run.
    Script {
        target: String,
        content: String,
    },
}

/// Whose something is, and what may be done with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
}

/// A cache mount.
#[derive(Clone, Debug)]
pub struct Cache {
    pub target: String,
    pub id: String,
    pub sharing: Sharing,
    pub readonly: bool,
    pub owner: Owner,
    /// What it begins with: layers, and what of them.
    pub seed: Option<(Vec<Digest>, String)>,
}

/// A mount as far as it counts for the result.
#[derive(Debug, Serialize)]
pub enum MountKey<'a> {
    Layers {
        target: &'a str,
        writable: bool,
        top: Option<Digest>,
        source: &'a str,
    },
    Directory {
        target: &'a str,
        writable: bool,
        digest: Option<Digest>,
    },
    Cache {
        target: &'a str,
        id: &'a str,
        owner: Owner,
    },
    Tmpfs {
        target: &'a str,
    },
    /// By its place only.
    Secret {
        id: &'a str,
        target: Option<&'a str>,
        env: Option<&'a str>,
        owner: Owner,
    },
    Ssh {
        target: &'a str,
    },
    Script {
        target: &'a str,
        content: &'a str,
    },
}

impl RunMount {
    /// What counts for the result.
    pub fn key(&self) -> MountKey<'_> {
        match self {
            Self::Layers { target, writable, chains, source } => {
                MountKey::Layers { target, writable: *writable, top: chains.last().copied(), source }
            }
            Self::Directory { target, writable, digest, .. } => {
                MountKey::Directory { target, writable: *writable, digest: *digest }
            }
            Self::Cache(cache) => MountKey::Cache { target: &cache.target, id: &cache.id, owner: cache.owner },
            Self::Tmpfs { target, .. } => MountKey::Tmpfs { target },
            Self::Secret { id, target, env, owner, .. } => {
                MountKey::Secret { id, target: target.as_deref(), env: env.as_deref(), owner: *owner }
            }
            Self::Ssh { target, .. } => MountKey::Ssh { target },
            Self::Script { target, content } => MountKey::Script { target, content },
        }
    }

    /// Learns what is in a directory that is mounted.
    pub fn look(&mut self, store: &Store) -> Result<(), Failure> {
        if let Self::Directory { directory, source, digest, hides, .. } = self {
            let (found, hidden) = copying::look(store, directory, source)?;
            (*digest, *hides) = (Some(found), hidden);
        }
        Ok(())
    }

    /// Where it is mounted.
    pub fn target(&self) -> Option<&str> {
        match self {
            Self::Layers { target, .. }
            | Self::Directory { target, .. }
            | Self::Tmpfs { target, .. }
            | Self::Ssh { target, .. }
            | Self::Script { target, .. } => Some(target),
            Self::Cache(cache) => Some(&cache.target),
            Self::Secret { target, .. } => target.as_deref(),
        }
    }
}

/// What a container gets, and what must be held while it runs.
#[derive(Debug, Default)]
pub struct Prepared {
    pub mounts: Vec<Mount>,
    pub secrets: Vec<(SecretUse, Payload)>,
    pub env: Vec<String>,
    _caches: Vec<CacheMount>,
    _agents: Vec<Worker>,
    _staging: Option<Staging>,
}

/// Makes ready what a command needs. May wait for cache mounts.
pub fn prepare(store: &Store, mounts: &[RunMount]) -> Result<Prepared, Failure> {
    let mut prepared = Prepared::default();
    // In the order of ids, as everybody takes these locks.
    let mut caches: Vec<&Cache> = mounts
        .iter()
        .filter_map(|mount| match mount {
            RunMount::Cache(cache) => Some(cache),
            _ => None,
        })
        .collect();
    caches.sort_by_key(|cache| &cache.id);
    for cache in caches {
        let taken = take_cache(store, cache)?;
        prepared.mounts.push(bind(&cache.target, taken.data.clone(), cache.readonly, false));
        prepared._caches.push(taken);
    }
    for mount in mounts {
        prepared.add(store, mount)?;
    }
    // Those above others first.
    prepared.mounts.sort_by_key(|mount| mount.target.matches('/').count());
    Ok(prepared)
}

impl Prepared {
    fn add(&mut self, store: &Store, mount: &RunMount) -> Result<(), Failure> {
        match mount {
            RunMount::Cache(_) => {}
            RunMount::Layers { target, writable, chains, source } => {
                self.mounts.push(of_layers(target, *writable, chains, source));
            }
            RunMount::Directory { target, writable, path, hides, directory, source, .. } => {
                let mut path = path.clone();
                if *hides {
                    let copy = self.staging(store)?.join(format!("visible{}", self.mounts.len()));
                    std::fs::create_dir(&copy).context("copy a directory that is mounted")?;
                    copying::copy_visible(store, directory, source, &copy)
                        .context("copy a directory that is mounted")?;
                    path = copy;
                }
                let is_file = path.metadata().is_ok_and(|metadata| metadata.is_file());
                if is_file && *writable {
                    // No overlay shows a file.
                    let copy = self.staging(store)?.join(format!("file{}", self.mounts.len()));
                    std::fs::copy(&path, &copy).context("copy a file that is mounted")?;
                    path = copy;
                }
                self.mounts.push(bind(target, path, !writable, *writable && !is_file));
            }
            RunMount::Tmpfs { target, size } => self.mounts.push(tmpfs(target, *size)),
            RunMount::Ssh { target, socket, owner } => {
                if self._agents.is_empty() {
                    self.env.push(format!("SSH_AUTH_SOCK={target}"));
                }
                let name = format!("agent{}", self._agents.len());
                let directory = self.staging(store)?;
                self._agents.push(agent::forward(store, socket, &directory, &name, *owner)?);
                self.mounts.push(bind(target, directory.join(name), false, false));
            }
            RunMount::Script { target, content } => {
                let path = self.staging(store)?.join("script");
                std::fs::write(&path, content).context("write a script")?;
                std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).context("write a script")?;
                self.mounts.push(bind(target, path, true, false));
            }
            RunMount::Secret { id, target, env, owner, source } => {
                let Some(source) = source else { return Ok(()) };
                let bytes = read_secret(source).with_context(|| format!("read secret {id}"))?;
                if let Some(variable) = env {
                    let value = String::from_utf8_lossy(&bytes);
                    self.env.push(format!("{variable}={value}"));
                }
                if let Some(target) = target {
                    self.secret_file(store, id, target, *owner, bytes)?;
                }
            }
        }
        Ok(())
    }

    fn secret_file(&mut self, store: &Store, id: &str, target: &str, owner: Owner, bytes: Vec<u8>) -> Result<()> {
        // The store's secrets are never empty, and smaller.
        let Ok(payload) = Payload::new(bytes.clone()) else {
            let name = format!("secret{}", self.mounts.len());
            let path = self.staging(store)?.join(name);
            std::fs::write(&path, bytes).context("write a secret")?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(owner.mode)).context("write a secret")?;
            self.mounts.push(bind(target, path, true, false));
            return Ok(());
        };
        let form = SecretForm::Mount { target: target.to_owned(), uid: owner.uid, gid: owner.gid, mode: owner.mode };
        self.secrets.push((SecretUse { id: id.to_owned(), name: id.to_owned(), form }, payload));
        Ok(())
    }

    fn staging(&mut self, store: &Store) -> Result<PathBuf> {
        let staging = match self._staging.take() {
            Some(staging) => staging,
            None => Staging::create(store)?,
        };
        Ok(self._staging.insert(staging).path().to_owned())
    }
}

fn read_secret(source: &SecretSource) -> Result<Vec<u8>> {
    match source {
        SecretSource::Value(bytes) => Ok(bytes.clone()),
        SecretSource::File(path) => {
            let bytes = std::fs::read(path).with_context(|| format!("open {}", path.display()))?;
            if bytes.len() > SIZE_LIMIT {
                bail!("it is larger than {SIZE_LIMIT} bytes");
            }
            Ok(bytes)
        }
    }
}

/// Takes a cache mount and makes its directory if there is none, with what it begins with.
fn take_cache(store: &Store, cache: &Cache) -> Result<CacheMount, Failure> {
    let taken = cache_mounts::take(store, &cache.id, cache.sharing)?;
    if !taken.fresh {
        return Ok(taken);
    }
    let (data, owner, seed) = (taken.data.clone(), cache.owner, cache.seed.clone());
    let made = userns::run_inside(store, || {
        // Under another name until it is whole.
        let new = data.with_extension(format!("new{}", std::process::id()));
        crate::store::remove::remove_tree(&new)?;
        std::fs::DirBuilder::new().mode(0o700).create(&new)?;
        if let Some((chains, source)) = &seed {
            files::copy_from_layers(store, chains, source, &new)?;
        }
        chown(&new, Some(owner.uid), Some(owner.gid))?;
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(owner.mode))?;
        match std::fs::rename(&new, &data) {
            Err(_) if data.is_dir() => Ok(crate::store::remove::remove_tree(&new)?),
            renamed => Ok(renamed?),
        }
    });
    made.with_context(|| format!("make the cache mount {:?}", cache.id))?;
    Ok(taken)
}

fn mount(target: &str, read_only: bool, kind: MountKind) -> Mount {
    Mount { target: target.to_owned(), read_only, kind, flag: Flag::Mount, typed: String::new() }
}

/// With `discarded`, changes go with the container.
fn bind(target: &str, source: PathBuf, read_only: bool, discarded: bool) -> Mount {
    let overlay = discarded.then(OverlayDirs::default);
    let sharing = BindSharing { overlay, ..BindSharing::default() };
    mount(target, read_only, MountKind::Bind(Bind { source, sharing, create_source: false }))
}

fn of_layers(target: &str, writable: bool, chains: &[Digest], source: &str) -> Mount {
    let subpath = Path::new(source.trim_matches('/')).to_str().filter(|path| !path.is_empty() && *path != ".");
    let id = chains.last().copied().unwrap_or_else(|| Digest::of(b""));
    let found = FoundImage { id, layers: chains.to_vec() };
    let image = ImageUse { reference: id.to_string(), subpath: subpath.map(str::to_owned), found: Some(found) };
    mount(target, !writable, MountKind::Image(image))
}

fn tmpfs(target: &str, size: Option<u64>) -> Mount {
    let parameters = size.map(|size| ("size".to_owned(), size.to_string())).into_iter().collect();
    mount(target, false, MountKind::Tmpfs(Tmpfs { exec: true, suid: true, dev: false, parameters, ..Tmpfs::default() }))
}
