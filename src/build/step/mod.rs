//! Steps that do work, each in a worker process.

pub mod agent;
pub mod copying;
pub mod files;
pub mod layer;
pub mod mounts;
pub mod owner;
pub mod remote;
pub mod run;
pub mod squash;
pub mod worker;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;

use crate::spec::create::CreateRequest;
use crate::spec::digest::Digest;
use crate::spec::dockerfile::ast::RunNetwork;
use crate::spec::mount::Mount;
use crate::spec::platform::Platform;
use crate::spec::secret::SecretUse;
use crate::store::Store;
use crate::store::containers::Container;
use crate::store::secrets::Payload;
use owner::Owner;

/// The layers that a step comes on top of, lowest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Below {
    pub chains: Vec<Digest>,
    pub diff_ids: Vec<Digest>,
}

impl Below {
    /// The directories of the layers.
    pub fn paths(&self, store: &Store) -> Vec<PathBuf> {
        self.chains.iter().map(|chain| store.layers().diff_path(*chain)).collect()
    }

    /// Names all of them.
    pub fn top(&self) -> Option<Digest> {
        self.chains.last().copied()
    }

    /// Adds what a step has made.
    pub fn push(&mut self, layer: &worker::Layer) {
        self.chains.push(layer.chain_id);
        self.diff_ids.push(layer.diff_id);
    }
}

/// A command that is to run in a container.
#[derive(Debug)]
pub struct Process {
    /// Limits, hosts, resolvers: what the whole build was asked for.
    pub template: CreateRequest,
    /// The chain ids of the layers below, lowest first.
    pub layers: Vec<Digest>,
    pub argv: Vec<String>,
    /// `K=V`.
    pub env: Vec<String>,
    /// Absolute; empty means `/`.
    pub working_dir: String,
    /// `user[:group]`; empty means root.
    pub user: String,
    pub mounts: Vec<Mount>,
    /// With the bytes of each.
    pub secrets: Vec<(SecretUse, Payload)>,
    pub platform: Platform,
    pub network: RunNetwork,
    /// `--security insecure`.
    pub privileged: bool,
}

/// A command that has ended, and its container.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out_of_memory: bool,
    pub container: Container,
    pub owner: Owner,
}

/// Runs containers, by the same way as `run`. Called in a worker process.
pub trait Runner {
    /// Runs the command in a container of its own. `output` is told what it writes: the stream (1 or 2) and the
    /// bytes.
    fn run(&mut self, process: Process, output: &mut dyn FnMut(u8, &[u8]) -> std::io::Result<()>) -> Result<Ran>;
}

/// What secrets there are, by id.
pub type Secrets = BTreeMap<String, SecretSource>;

/// Where a secret comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretSource {
    File(PathBuf),
    /// The value of a variable of the caller's.
    Value(Vec<u8>),
}

impl std::fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Value(_) => f.write_str("Value(..)"),
        }
    }
}
