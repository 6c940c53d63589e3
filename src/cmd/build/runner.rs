//! What a build asks of the command: images, and containers by the same way as `run` makes them.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;

use super::carry::Reach;
use crate::build::cache::elsewhere::Entry;
use crate::build::solve::{CachePlace, Host};
use crate::build::step::owner::Owner;
use crate::build::step::{Process, Ran, Runner};
use crate::cmd::registry_options::{RegistryOptions, RetryOptions};
use crate::cmd::{Context, create, launching, pull, short_names};
use crate::sandbox::client::Outcome;
use crate::sandbox::{cgroup, userns};
use crate::spec::config::RootSource;
use crate::spec::create::{self as creation, Base, CreateRequest, EnvironmentRequest, PullPolicy};
use crate::spec::digest::Digest;
use crate::spec::dockerfile::ast::RunNetwork;
use crate::spec::env::EnvChange;
use crate::spec::image::ImageConfig;
use crate::spec::log::{LogConfig, LogDriver};
use crate::spec::network::NetworkMode;
use crate::spec::platform::Platform;
use crate::spec::reference::ImageRef;
use crate::store::gc::Lease;
use crate::store::pull::{self as pulling, LayerState, Progress, PullOptions};
use crate::store::secrets::Payload;

/// Every step sees this name, so that it does not depend on where it ran.
const HOST_NAME: &str = "buildkitsandbox";

/// The command's side of a build.
pub struct LocalHost<'a> {
    context: &'a Context,
    registry: RegistryOptions,
    retry: RetryOptions,
}

impl<'a> LocalHost<'a> {
    /// Registries are reached as these options say.
    pub fn new(context: &'a Context, registry: RegistryOptions, retry: RetryOptions) -> Self {
        Self { context, registry, retry }
    }

    fn reach(&self) -> Reach<'_> {
        Reach { context: self.context, registry: &self.registry, retry: &self.retry }
    }
}

impl Runner for LocalHost<'_> {
    fn run(&mut self, process: Process, output: &mut dyn FnMut(u8, &[u8]) -> std::io::Result<()>) -> Result<Ran> {
        let context = self.context;
        let store = context.store()?;
        let (secrets, payloads): (Vec<_>, Vec<Payload>) = process.secrets.into_iter().unzip();
        let template = process.template;
        let mut request = CreateRequest {
            image: "build".to_owned(),
            command: process.argv,
            entrypoint: Some(String::new()),
            environment: EnvironmentRequest {
                changes: process.env.iter().filter_map(|entry| change(entry)).collect(),
                ..EnvironmentRequest::default()
            },
            user: Some(process.user),
            workdir: Some(process.working_dir),
            hostname: (process.network != RunNetwork::Host).then(|| HOST_NAME.to_owned()),
            privileged: process.privileged,
            mounts: process.mounts,
            // One that is asked to end has nothing to save.
            stop_signal: Some("SIGKILL".parse()?),
            stop_timeout: Some(0),
            ulimits: template.ulimits,
            shm_size: template.shm_size,
            network: match process.network {
                RunNetwork::Default => template.network,
                RunNetwork::None => NetworkMode::None,
                RunNetwork::Host => NetworkMode::Host,
            },
            log: LogConfig { driver: LogDriver::None, ..LogConfig::default() },
            extra_hosts: template.extra_hosts,
            no_hosts: template.no_hosts,
            dns: template.dns,
            security: template.security,
            cap_add: template.cap_add,
            cap_drop: template.cap_drop,
            devices: template.devices,
            secrets,
            limits: template.limits,
            ..CreateRequest::default()
        };
        store.networks().resolve(&mut request.network)?;
        let platform = &process.platform;
        let image = ImageConfig {
            os: platform.os.clone(),
            architecture: platform.architecture.clone(),
            variant: platform.variant.clone(),
            ..ImageConfig::default()
        };
        let name = process.layers.last().copied().unwrap_or_else(|| Digest::of(b""));
        let host_name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let base = Base {
            root: RootSource::Image { id: name, layers: process.layers },
            image: Some(&image),
            host_name: &host_name,
            donor_name: None,
        };
        let id = create::new_id()?;
        let mut config =
            creation::resolve(request, base, id.clone(), format!("build-{}", id.short()), Timestamp::now())?;
        config.build = true;
        cgroup::choose(&config.id, &config.limits, false)?;
        let owner = Owner::new(store, &id).context("make a container for a step")?;
        let mut container = store.containers().create_with(config, &payloads)?;
        let launched = launching::launch(context, &container, true)
            .and_then(|mut client| launching::hear(&mut client).map(|_| client));
        let client = match launched {
            Ok(client) => client,
            Err(error) => {
                let _ = owner.discard(store, &id);
                return Err(error);
            }
        };
        let outcome = client.follow(output, &mut |text| crate::cmd::format::text::warn(text))?;
        let code = match outcome {
            Outcome::Exited(code) => code,
            _ => bail!("the container's supervisor was killed"),
        };
        container.refresh()?;
        Ok(Ran { code, out_of_memory: container.state.oom_killed, container, owner })
    }
}

impl Host for LocalHost<'_> {
    fn find(&mut self, image: &str, platform: &Platform, policy: PullPolicy) -> Result<Option<Digest>> {
        // An id means what is here.
        if matches!(policy, PullPolicy::Always | PullPolicy::Newer) && image.parse::<Digest>().is_err() {
            return Ok(None);
        }
        let store = self.context.store()?;
        match store.images().resolve(image) {
            Ok(record) => {
                let config = store.images().config(record.config)?;
                let fits = config.architecture.is_empty() || config.platform().satisfies(platform);
                Ok((fits || policy == PullPolicy::Never).then_some(record.config))
            }
            Err(error) if policy == PullPolicy::Never => Err(error.into()),
            Err(_) => Ok(None),
        }
    }

    fn fetch(
        &mut self,
        image: &str,
        platform: &Platform,
        policy: PullPolicy,
        progress: &mut dyn FnMut(&str, u64, Option<u64>),
    ) -> Result<Digest> {
        let context = self.context;
        let store = context.store()?;
        let candidates = short_names::candidates(context, image)?;
        let pulled = short_names::in_turn(image, &candidates, |reference| {
            let mut worker = pull::unpack_worker(store)?;
            let options = PullOptions {
                platform: Some(platform.clone()),
                single_id: userns::is_single(store)?,
                ..self.registry.pull_options(context, reference, &self.retry)?
            };
            Ok(pulling::pull(
                store,
                reference,
                &options,
                &mut worker,
                &mut Layers { names: Vec::new(), tell: progress },
            )?)
        });
        match pulled {
            Ok(pulled) => Ok(pulled.config),
            // What is newer there, or else what is here.
            Err(error) if policy == PullPolicy::Newer => match store.images().resolve(image) {
                Ok(record) => Ok(record.config),
                Err(_) => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    fn read_cache(&mut self, place: &CachePlace) -> Result<Vec<Entry>> {
        self.reach().read(place, &mut Layers { names: Vec::new(), tell: &mut |_, _, _| () })
    }

    fn bring_layer(
        &mut self,
        entry: &Entry,
        below: &[Digest],
        lease: &Lease,
        progress: &mut dyn FnMut(&str, u64, Option<u64>),
    ) -> Result<()> {
        self.reach().bring(entry, below, lease, &mut Layers { names: Vec::new(), tell: progress })
    }
}

/// A pull's progress for the build's display.
struct Layers<'a> {
    names: Vec<String>,
    tell: &'a mut dyn FnMut(&str, u64, Option<u64>),
}

fn change(entry: &str) -> Option<EnvChange> {
    let (name, value) = entry.split_once('=')?;
    (!name.is_empty()).then(|| EnvChange { name: name.to_owned(), value: Some(value.to_owned()) })
}

impl Progress for Layers<'_> {
    fn layers(&mut self, _reference: &ImageRef, layers: &[Digest]) {
        self.names = layers.iter().map(Digest::to_string).collect();
    }

    fn layer(&mut self, index: usize, state: LayerState) {
        let Some(name) = self.names.get(index) else { return };
        match state {
            LayerState::Downloading { current, total } => (self.tell)(name, current, Some(total)),
            LayerState::Extracting => (self.tell)(&format!("extracting {name}"), 0, None),
            LayerState::PullComplete | LayerState::AlreadyExists => {
                (self.tell)(&format!("extracting {name}"), 1, Some(1))
            }
            _ => {}
        }
    }

    fn retrying(&mut self, _pause: Duration, _reason: &str) {}

    fn passed_over(&mut self, _mirror: &str, _reason: &str) {}
}
