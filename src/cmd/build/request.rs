//! From flags to what a build is asked for. All of it is read before anything is done.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, anyhow, bail};

use super::Args;
use super::cache;
use super::named::Contexts;
use super::options::{RunOptions, SourceOptions};
use super::source::{self, Source};
use super::values::{self, Named};
use crate::build::solve::{NoCache, Request};
use crate::cmd::Context;
use crate::cmd::create_options::devices::DeviceOptions;
use crate::cmd::create_options::limits::{ResourceOptions, available};
use crate::spec::create::{self, CreateRequest, PullPolicy};
use crate::spec::dockerfile::ast::RunNetwork;
use crate::spec::env;
use crate::spec::limits::Limits;
use crate::spec::mount::parse_volume;
use crate::spec::network::{self, NetworkFlags};
use crate::spec::platform::Platform;
use crate::spec::security::SecurityOptions;

/// What flags ask for, the same for every platform.
pub struct Wanted {
    request: Request,
    platforms: Vec<Option<Platform>>,
    /// `--build-context`.
    pub contexts: BTreeMap<String, Named>,
}

impl Wanted {
    /// Reads the flags.
    pub fn of(args: &Args, context: &Context) -> Result<Self> {
        let (way, result, from) = (&args.way, &args.result, &args.source);
        let mut build_args = values::build_args(&from.build_arg, &from.build_arg_file)?;
        let timestamp = timestamp(args, build_args.get("SOURCE_DATE_EPOCH"))?;
        // As buildx, which hands it on from its environment; RUN sees it when it is declared.
        build_args.remove("SOURCE_DATE_EPOCH");
        if args.steps.http_proxy == Some(true) {
            for (name, value) in proxies() {
                build_args.entry(name).or_insert(value);
            }
        }
        let mut allowed = values::allowed(&way.allow)?;
        let network = match args.steps.network.as_deref() {
            Some("none") => RunNetwork::None,
            Some("host") => {
                allowed.network_host = true;
                RunNetwork::Host
            }
            _ => RunNetwork::Default,
        };
        let request = Request {
            dockerfile: Vec::new(),
            name: String::new(),
            context: None,
            contexts: BTreeMap::new(),
            args: build_args,
            target: from.target.clone().filter(|target| !target.is_empty()),
            platform: None,
            labels: result.label.iter().map(|text| env::parse_label(text)).collect::<Result<_, _>>()?,
            no_cache: match &way.no_cache_filter[..] {
                _ if way.no_cache || !way.layers => NoCache::Everything,
                [] => NoCache::Nothing,
                stages => NoCache::Stages(stages.iter().map(|stage| stage.to_lowercase()).collect()),
            },
            secrets: values::secrets(&from.secret)?,
            ssh: values::ssh(&from.ssh)?,
            template: template(&args.steps, context)?,
            network,
            allowed,
            timestamp,
            rewrite_timestamp: result.timestamp.is_some() || (result.rewrite_timestamp && timestamp.is_some()),
            squash: result.squash || result.squash_all,
            squash_base: result.squash_all,
            env: variables(&result.env)?,
            from: from.from.clone().filter(|image| !image.is_empty()),
            cache_from: cache::sources(&way.cache_from)?,
            inline_cache: cache::targets(&way.cache_to)?.contains(&cache::Target::Inline),
            jobs: way.jobs,
            pull: pull(from.pull.as_deref(), context)?,
        };
        let contexts = values::contexts(&from.build_context)?;
        Ok(Self { request, platforms: platforms(from)?, contexts })
    }

    /// What to build for; None is the machine's platform.
    pub fn platforms(&self) -> impl Iterator<Item = Option<Platform>> + '_ {
        let none = self.platforms.is_empty().then_some(None);
        self.platforms.iter().cloned().chain(none)
    }

    /// The request for one platform.
    pub fn request(&self, source: &Source, contexts: &Contexts, platform: Option<Platform>) -> Request {
        Request {
            contexts: contexts.found.clone(),
            dockerfile: source.dockerfile.clone(),
            name: source.name.clone(),
            context: source.context.clone(),
            platform,
            ..self.request.clone()
        }
    }
}

/// `--platform`, or its parts.
fn platforms(from: &SourceOptions) -> Result<Vec<Option<Platform>>> {
    let texts = &from.platform;
    if from.os.is_some() || from.arch.is_some() || from.variant.is_some() {
        if !texts.is_empty() {
            bail!("conflicting options: --platform with --arch, --os or --variant");
        }
        let host = Platform::host();
        let (os, arch) = (from.os.as_ref().unwrap_or(&host.os), from.arch.as_ref().unwrap_or(&host.architecture));
        return Ok(vec![Some(Platform::from_parts(os, arch, from.variant.as_deref()))]);
    }
    let default = std::env::var("DOCKER_DEFAULT_PLATFORM").ok().filter(|text| !text.is_empty());
    let texts: Vec<String> = if texts.is_empty() { default.into_iter().collect() } else { texts.to_vec() };
    let mut platforms: Vec<Option<Platform>> = Vec::new();
    for text in texts.iter().filter(|text| !text.is_empty()) {
        let platform = match text.as_str() {
            "local" => Platform::host(),
            text => text.parse().map_err(|error| anyhow!("invalid platform {text:?}: {error}"))?,
        };
        if !platforms.contains(&Some(platform.clone())) {
            platforms.push(Some(platform));
        }
    }
    Ok(platforms)
}

fn pull(text: Option<&str>, context: &Context) -> Result<PullPolicy> {
    Ok(match text {
        None => match context.settings()?.pull.value {
            // Base images need not be newer each time because images that are run are.
            PullPolicy::Never => PullPolicy::Never,
            _ => PullPolicy::Missing,
        },
        Some("true" | "1") => PullPolicy::Always,
        Some("false" | "0" | "ifmissing") => PullPolicy::Missing,
        Some("ifnewer") => PullPolicy::Newer,
        Some(policy) => policy.parse()?,
    })
}

/// `--timestamp`, else `SOURCE_DATE_EPOCH` as an argument of the build or of the environment.
fn timestamp(args: &Args, given: Option<&String>) -> Result<Option<i64>> {
    if args.result.timestamp.is_some() {
        return Ok(args.result.timestamp);
    }
    let text = given.cloned().or_else(|| std::env::var("SOURCE_DATE_EPOCH").ok());
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| anyhow!("invalid SOURCE_DATE_EPOCH: {text:?}: it is no number of seconds"))
}

/// Whether attestations are asked for. None is made: who asks for one must not believe that it is there.
pub fn wants_attestations(args: &Args) -> Result<bool> {
    let result = &args.result;
    let is_on = |value: &Option<String>| value.as_deref().is_some_and(|value| !matches!(value, "false" | "0" | ""));
    let mut wanted = is_on(&result.provenance) || is_on(&result.sbom);
    for text in &result.attest {
        let fields = values::fields(text)?;
        if !fields.iter().any(|(key, _)| key == "type") {
            bail!("attestation type not specified in --attest {text:?}");
        }
        wanted |= !fields.iter().any(is_disabled);
    }
    Ok(wanted)
}

/// `--env`; one without a value is the environment's, if it is there.
fn variables(texts: &[String]) -> Result<Vec<(String, String)>> {
    let caller = env::Caller::new(std::env::vars_os());
    let mut changes = Vec::new();
    for text in texts {
        changes.extend(env::parse_env(text, &caller)?);
    }
    Ok(changes.into_iter().filter_map(|change| Some((change.name, change.value?))).collect())
}

/// The proxies of the environment.
fn proxies() -> impl Iterator<Item = (String, String)> {
    std::env::vars().filter(|(name, _)| crate::build::args::is_predefined(name))
}

fn is_disabled((key, value): &(String, String)) -> bool {
    key == "disabled" && value == "true"
}

/// What containers of RUN get.
fn template(steps: &RunOptions, context: &Context) -> Result<CreateRequest> {
    let settings = context.settings()?;
    let hosts: Vec<_> = steps.add_host.iter().map(|text| create::parse_extra_hosts(text)).collect::<Result<_, _>>()?;
    let network = match steps.network.as_deref() {
        None | Some("" | "default" | "none" | "host") => settings.network.value.clone(),
        Some(name) => name.to_owned(),
    };
    let here = std::env::current_dir().context("find the working directory")?;
    let flags = NetworkFlags { networks: vec![network], ..NetworkFlags::default() };
    let mut find = |name: &str| {
        let store = context.store().map_err(|error| format!("{error:#}"))?;
        store.containers().resolve(name).map_err(|error| error.to_string())
    };
    let mut read = |path: &std::path::Path| source::read_text(path).map_err(|error| format!("{error:#}"));
    let security = SecurityOptions::parse(&steps.security_opt, &mut read).map_err(|error| anyhow!(error))?;
    Ok(CreateRequest {
        cap_add: steps.cap_add.clone(),
        cap_drop: steps.cap_drop.clone(),
        security: SecurityOptions { typed: steps.security_opt.clone(), ..security },
        mounts: steps.volume.iter().map(|text| parse_volume(text, &here)).collect::<Result<_, _>>()?,
        devices: DeviceOptions::of(&steps.device).request(&settings.cdi_spec_dirs.value, false)?,
        no_hosts: steps.no_hosts,
        ulimits: steps.ulimit.clone(),
        shm_size: steps.shm_size,
        network: network::parse_networks(&flags, &mut find)?,
        dns: network::parse_dns(&steps.dns, &steps.dns_search, &steps.dns_option)?,
        extra_hosts: hosts.concat(),
        limits: limits(steps).context("limits of steps")?,
        ..CreateRequest::default()
    })
}

fn limits(steps: &RunOptions) -> Result<Limits> {
    let resources = ResourceOptions {
        cpu_period: steps.cpu_period,
        cpu_quota: steps.cpu_quota,
        cpu_shares: steps.cpu_shares,
        cpuset_cpus: steps.cpuset_cpus.clone(),
        cpuset_mems: steps.cpuset_mems.clone(),
        memory: steps.memory,
        memory_swap: steps.memory_swap,
        ..ResourceOptions::default()
    };
    let limits = Limits { cgroup_parent: steps.cgroup_parent.clone(), ..resources.limits()? };
    if limits == Limits::default() {
        return Ok(limits);
    }
    Ok(limits.settle(&available())?)
}
