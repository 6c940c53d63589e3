//! From a Dockerfile to an image: which stages are needed, what can go on at the same time, what was
//! done before.

mod base;
mod copying;
mod engine;
mod evaluate;
mod known;
pub mod names;
mod stage;
mod tasks;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use anyhow::Result;

use super::cache::elsewhere::Entry;
use super::event::Event;
use super::step::{Runner, Secrets};
use crate::spec::create::{CreateRequest, PullPolicy};
use crate::spec::digest::Digest;
use crate::spec::dockerfile::ast::{Lines, ParseError, RunNetwork};
use crate::spec::image::{Descriptor, ImageConfig};
use crate::spec::platform::Platform;
use crate::store::Store;
use crate::store::gc::Lease;

/// A directory that COPY and ADD take files from.
#[derive(Clone, Debug)]
pub struct Directory {
    /// Absolute.
    pub path: PathBuf,
    /// The text of its `.dockerignore`, if there is one.
    pub ignore: Option<String>,
    /// It stays where it is from one build to the next: what was hashed of it is remembered by stat data.
    pub lasting: bool,
}

/// `--build-context NAME=`.
#[derive(Clone, Debug)]
pub enum NamedContext {
    Directory(Directory),
    /// `docker-image://`.
    Image(String),
    /// `target:`: a stage of this file.
    Target(String),
}

/// Which steps are not to be taken from the cache.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NoCache {
    #[default]
    Nothing,
    Everything,
    /// The stages of these names.
    Stages(Vec<String>),
}

/// What a Dockerfile may do beyond the ordinary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// `security.insecure`.
    pub insecure: bool,
    /// `network.host`.
    pub network_host: bool,
}

/// A place for the cache outside of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CachePlace {
    /// An OCI layout: what has this tag in it, or this digest.
    Local { directory: PathBuf, tag: String, digest: Option<Digest> },
    /// An image's name.
    Registry(String),
}

impl fmt::Display for CachePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local { directory, .. } => write!(f, "local:{}", directory.display()),
            Self::Registry(name) => f.write_str(name),
        }
    }
}

/// What is to be built.
#[derive(Clone, Debug)]
pub struct Request {
    pub dockerfile: Vec<u8>,
    /// Its name as errors show it.
    pub name: String,
    /// None when the Dockerfile came alone: COPY finds nothing then.
    pub context: Option<Directory>,
    pub contexts: BTreeMap<String, NamedContext>,
    /// `--build-arg`, those without a value taken from the environment or left out.
    pub args: BTreeMap<String, String>,
    pub target: Option<String>,
    /// None is the machine's.
    pub platform: Option<Platform>,
    pub labels: BTreeMap<String, String>,
    pub no_cache: NoCache,
    pub secrets: Secrets,
    /// Sockets of agents, by id.
    pub ssh: BTreeMap<String, PathBuf>,
    /// Limits, ulimits, shm size, hosts, resolvers; the rest of it is not looked at.
    pub template: CreateRequest,
    /// What `--network` of the build says where RUN does not.
    pub network: RunNetwork,
    pub allowed: Allowed,
    /// Seconds since the epoch for the configuration and the history.
    pub timestamp: Option<i64>,
    /// Files are not younger than the timestamp either.
    pub rewrite_timestamp: bool,
    pub squash: bool,
    /// The layers of the base become one with the others.
    pub squash_base: bool,
    /// Variables that every stage begins with, before its own.
    pub env: Vec<(String, String)>,
    /// In place of what the first FROM names.
    pub from: Option<String>,
    pub cache_from: Vec<CachePlace>,
    /// The image tells of its own steps.
    pub inline_cache: bool,
    /// How many steps at once; 0 is the number of processors.
    pub jobs: usize,
    pub pull: PullPolicy,
}

/// What a build asks of the command it is part of.
pub trait Host: Runner {
    /// The id of an image that is here and need not be looked for elsewhere.
    fn find(&mut self, image: &str, platform: &Platform, policy: PullPolicy) -> Result<Option<Digest>>;

    /// Fetches an image and gives its id. Called in a worker process, which may go on to have threads.
    /// `progress` is told the name of a layer, how many bytes are there, and of how many.
    fn fetch(
        &mut self,
        image: &str,
        platform: &Platform,
        policy: PullPolicy,
        progress: &mut dyn FnMut(&str, u64, Option<u64>),
    ) -> Result<Digest>;

    /// What a cache elsewhere knows. Called in a worker process, as all that may have threads.
    fn read_cache(&mut self, place: &CachePlace) -> Result<Vec<Entry>>;

    /// Brings the layer of a step into the store, on top of the layers of the diff ids `below`, with progress as of
    /// `fetch`. Called in a worker process.
    fn bring_layer(
        &mut self,
        entry: &Entry,
        below: &[Digest],
        lease: &Lease,
        progress: &mut dyn FnMut(&str, u64, Option<u64>),
    ) -> Result<()>;
}

/// What the build cache knows the steps of a build by.
#[derive(Clone, Debug, Default)]
pub struct Steps {
    /// Those of the result, with the stages below it.
    pub result: Vec<Digest>,
    pub all: Vec<Digest>,
}

/// A finished build.
#[derive(Debug)]
pub struct Outcome {
    pub config: ImageConfig,
    /// The same, as it is to be stored: its digest is the image's id.
    pub config_bytes: Vec<u8>,
    /// The layers' blobs, lowest first, with media types of OCI.
    pub layers: Vec<Descriptor>,
    /// The chain ids of the same.
    pub chains: Vec<Digest>,
    pub platform: Platform,
    /// The stage's name, if it has one.
    pub stage: Option<String>,
    pub steps: Steps,
    /// Keeps all that from collection until the image has a name.
    pub lease: Lease,
}

/// Why nothing was built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error("dockerfile parse error on line {}: {}", .0.lines.first, .0.message)]
    Parse(#[from] ParseError),
    /// At a place of the file; the text is BuildKit's.
    #[error("{message}")]
    At { lines: Lines, message: String },
    /// A step failed.
    #[error("{message}")]
    Step {
        lines: Lines,
        /// The step as the display shows it.
        name: String,
        message: String,
        /// The last of what it wrote.
        output: Vec<u8>,
        /// Of a RUN.
        exit_code: Option<i32>,
    },
    /// A signal asked us to end.
    #[error("canceled")]
    Interrupted(i32),
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

/// Builds. The caller has one thread. `tell` is called whenever something happens, and with
/// [`Event::Tick`] several times a second.
pub fn build(
    store: &Store,
    request: Request,
    host: &mut dyn Host,
    tell: &mut dyn FnMut(Event),
) -> Result<Outcome, BuildError> {
    engine::Engine::new(store, request, host, tell)?.run()
}
