//! From flags and image defaults to a [`ContainerConfig`]: docker's rules, in docker's words.

mod environment;
mod modes;
mod network;
mod streams;
mod system;

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;

use super::caps::{self, UnknownCapability};
use super::config::{
    CapabilityChanges, ContainerConfig, ContainerId, Devices, DnsConfig, Lifetime, Link, NamespaceMode, NetworkMode,
    RestartPolicy, RootSource, SecretUse, Storage,
};
use super::create_command::CreateCommand;
use super::credential::{self, Credential};
use super::health::{self, HealthCheck, HealthRequest, InvalidHealth};
use super::identity::{AutoOptions, Identity};
use super::image::{Defaults, ImageConfig};
use super::limits::Limits;
use super::log::LogConfig;
use super::mount::{self, InvalidMount, Mount};
use super::names::{self, InvalidName};
use super::notify::NotifyMode;
use super::platform::Platform;
use super::port::PortMapping;
use super::seccomp::{self, InvalidProfile};
use super::security::{SeccompChoice, SecurityOptions};
use super::signal::{InvalidSignal, Signal};
use super::systemd::{self, SystemdMode};
use super::text::printable;
use super::ulimit::{InvalidUlimit, Ulimit, UlimitRequest};

pub use environment::{EnvironmentRequest, parse_merge};
pub use streams::{InvalidStream, StandardStream};

pub use modes::{
    HOST_GATEWAY, InvalidMode, PullPolicy, parse_expose, parse_extra_hosts, parse_ipc, parse_pid, parse_sysctl,
    parse_uts,
};

/// What `run` and `create` were asked for. A `Default` is a command line with nothing on it.
#[derive(Clone, Debug, Default)]
pub struct CreateRequest {
    /// The image reference as typed.
    pub image: String,
    /// The arguments after the image.
    pub command: Vec<String>,
    /// One executable, or a JSON list of words (podman); empty clears the image's.
    pub entrypoint: Option<String>,
    pub environment: EnvironmentRequest,
    /// Label files first, then `--label`: the last of a name won.
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub sysctls: BTreeMap<String, String>,
    /// `80/tcp`, besides the image's.
    pub exposed_ports: Vec<String>,
    pub user: Option<String>,
    pub workdir: Option<String>,
    pub hostname: Option<String>,
    pub tty: bool,
    pub interactive: bool,
    pub detach: bool,
    /// `-a`, in the order of the flags.
    pub attach: Vec<StandardStream>,
    /// `--init`.
    pub init: bool,
    /// The configuration wants an init where there is none of the container's own.
    pub configured_init: bool,
    pub systemd: SystemdMode,
    /// Bytes of each tmpfs made for a whole system; None is podman's size.
    pub systemd_tmpfs_size: Option<u64>,
    pub read_only: bool,
    pub auto_remove: bool,
    pub privileged: bool,
    /// In the order of the flags; duplicates are refused here.
    pub mounts: Vec<Mount>,
    /// Those of other containers, which give way.
    pub inherited: Vec<Mount>,
    /// As typed.
    pub cap_add: Vec<String>,
    pub cap_drop: Vec<String>,
    pub security: SecurityOptions,
    pub stop_signal: Option<Signal>,
    /// Seconds; negative waits for ever.
    pub stop_timeout: Option<i64>,
    /// In the order of the flags; the last of a name wins.
    pub ulimits: Vec<UlimitRequest>,
    /// Bytes; 0 is the default.
    pub shm_size: Option<u64>,
    pub pid: NamespaceMode,
    pub ipc: NamespaceMode,
    pub uts: NamespaceMode,
    pub network: NetworkMode,
    pub log: LogConfig,
    pub userns_host: bool,
    pub identity: Identity,
    /// Ids that are to be leased.
    pub auto: Option<AutoOptions>,
    /// (name, address); the address may be `host-gateway`.
    pub extra_hosts: Vec<(String, String)>,
    /// The image's /etc/hosts stays.
    pub no_hosts: bool,
    pub dns: DnsConfig,
    pub ports: Vec<PortMapping>,
    pub publish_all: bool,
    pub links: Vec<Link>,
    pub storage: Storage,
    pub devices: Devices,
    pub secrets: Vec<SecretUse>,
    pub credentials: Vec<Credential>,
    /// The command line that asks for it.
    pub create_command: Option<CreateCommand>,
    pub health: HealthRequest,
    pub notify: NotifyMode,
    /// Settled.
    pub limits: Limits,
    pub cidfile: Option<PathBuf>,
    pub restart: RestartPolicy,
    pub lifetime: Lifetime,
}

/// What a container is made from.
#[derive(Clone, Debug)]
pub struct Base<'a> {
    pub root: RootSource,
    /// None for a bare root directory.
    pub image: Option<&'a ImageConfig>,
    /// The machine's name, for containers that share its network or its UTS namespace.
    pub host_name: &'a str,
    /// The name of the container whose network is joined.
    pub donor_name: Option<&'a str>,
}

/// Why a container can't be created as asked.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    #[error("no command specified")]
    NoCommand,
    #[error("the working directory '{0}' is invalid, it needs to be an absolute path")]
    WorkingDirectory(String),
    #[error("conflicting options: hostname and the UTS mode")]
    HostnameAndUts,
    #[error("conflicting options: {0}")]
    Conflict(&'static str),
    #[error(transparent)]
    Ulimit(#[from] InvalidUlimit),
    /// podman's words.
    #[error("sdnotify policy \"healthy\" requires a healthcheck to be set")]
    NothingHealthy,
    #[error("invalid CapAdd: {0}")]
    CapAdd(UnknownCapability),
    #[error("invalid CapDrop: {0}")]
    CapDrop(UnknownCapability),
    #[error("invalid --env-merge value {word:?}: {reason}")]
    EnvMerge { word: String, reason: String },
    #[error("{0} holds a NUL byte")]
    Nul(String),
    #[error("the image's stop signal can't be used: {0}")]
    StopSignal(#[from] InvalidSignal),
    #[error("sysctl '{0}' is not allowed")]
    Sysctl(String),
    #[error("sysctl '{0}' is not allowed: the container shares this namespace with others")]
    SharedSysctl(String),
    #[error(transparent)]
    Health(#[from] InvalidHealth),
    #[error(transparent)]
    Name(#[from] InvalidName),
    #[error(transparent)]
    Mount(#[from] InvalidMount),
    #[error("{path}: {reason}")]
    Seccomp { path: String, reason: InvalidProfile },
}

/// Docker's PATH for images without one.
pub const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const DEFAULT_SHM_SIZE: u64 = 64 << 20;
const DEFAULT_STOP_TIMEOUT: u32 = 10;

/// Merges what was asked for with what the image says. `name` is a checked container name.
pub fn resolve(
    request: CreateRequest,
    base: Base<'_>,
    id: ContainerId,
    name: String,
    now: Timestamp,
) -> Result<ContainerConfig, CreateError> {
    let image = base.image.map(|image| image.config.clone()).unwrap_or_default();
    let (entrypoint, cmd) = command(request.entrypoint.as_deref(), &request.command, &image)?;
    network::check(&request)?;
    if request.auto_remove && request.restart.restarts() {
        return Err(CreateError::Conflict("cannot specify both --restart and --rm"));
    }
    let hostname = hostname(&request, &base, &id)?;
    let systemd = system::wanted(&request, entrypoint.iter().chain(&cmd).flatten())?;
    let mut told = systemd.as_ref().map_or_else(Vec::new, |_| systemd::environment(&id).to_vec());
    if !request.credentials.is_empty() {
        told.push(format!("{}={}", credential::VARIABLE, credential::DIRECTORY));
    }
    let (env, environment) = environment::resolve(&request, &image, &hostname, &told)?;
    mount::check_duplicates(&request.mounts)?;
    check_sysctls(&request)?;
    let image_volumes = request.storage.image_volumes;
    let inherited = mount::inherited(request.inherited, &request.mounts);
    let mut mounts: Vec<Mount> = inherited.into_iter().chain(request.mounts).collect();
    mounts.extend(image_volumes.mounts(image.volumes.keys().map(String::as_str), &mounts)?);
    let health = health::resolve(&request.health, &image)?;
    if request.notify == NotifyMode::Healthy && !health.as_ref().is_some_and(HealthCheck::is_set) {
        return Err(CreateError::NothingHealthy);
    }
    let config = ContainerConfig {
        name,
        created: format!("{now:.9}"),
        image: request.image,
        root: base.root,
        platform: base.image.map_or_else(Platform::host, ImageConfig::platform).to_string(),
        entrypoint,
        cmd,
        env,
        environment,
        working_dir: working_dir(request.workdir, &image)?,
        user: user(request.user, &request.identity, image.user),
        hostname,
        tty: request.tty,
        open_stdin: request.interactive,
        attach: streams::attached(&request.attach, request.interactive, request.detach),
        labels: image.labels.into_iter().chain(request.labels).collect(),
        annotations: request.annotations,
        sysctls: request.sysctls,
        exposed_ports: exposed_ports(image.exposed_ports.into_keys(), request.exposed_ports, &request.ports),
        volumes: image.volumes.into_keys().collect(),
        stop_signal: stop_signal(request.stop_signal, &image.stop_signal, systemd.is_some())?,
        stop_timeout: stop_timeout(request.stop_timeout),
        mounts,
        capabilities: capabilities(&request.cap_add, &request.cap_drop)?,
        privileged: request.privileged,
        no_new_privileges: request.security.no_new_privileges,
        seccomp: seccomp_choice(request.security.seccomp, request.privileged)?,
        security_opt: request.security.typed,
        read_only: request.read_only,
        init: request.init || request.configured_init && systemd.is_none(),
        systemd,
        auto_remove: request.auto_remove,
        ephemeral: false,
        shm_size: request.shm_size.filter(|size| *size != 0).unwrap_or(DEFAULT_SHM_SIZE),
        host_ulimits: request.ulimits.contains(&UlimitRequest::Host),
        ulimits: ulimits(request.ulimits)?,
        pid: request.pid,
        ipc: request.ipc,
        uts: request.uts,
        network: request.network,
        log: request.log,
        userns_host: request.userns_host,
        identity: request.identity,
        cidfile: request.cidfile,
        extra_hosts: request.extra_hosts,
        no_hosts: request.no_hosts,
        dns: request.dns,
        ports: request.ports,
        publish_all: request.publish_all,
        links: request.links,
        storage: request.storage,
        devices: request.devices,
        secrets: request.secrets,
        credentials: request.credentials,
        create_command: request.create_command,
        restart: request.restart,
        lifetime: request.lifetime,
        health,
        notify: request.notify,
        limits: request.limits,
        build: false,
        id,
    };
    refuse_nul(&config)?;
    Ok(config)
}

type Words = Option<Vec<String>>;

/// Entrypoint and arguments. Setting the entrypoint drops the image's CMD with its ENTRYPOINT.
fn command(entrypoint: Option<&str>, arguments: &[String], image: &Defaults) -> Result<(Words, Words), CreateError> {
    let given = Some(arguments.to_vec()).filter(|words| !words.is_empty());
    let (entrypoint, cmd) = match entrypoint {
        Some(text) => (Some(entrypoint_words(text)), given),
        None => (image.entrypoint.clone(), given.or_else(|| image.cmd.clone())),
    };
    let entrypoint = entrypoint.filter(|words| !words.is_empty());
    let first = entrypoint.iter().chain(&cmd).flatten().next();
    if first.is_none_or(String::is_empty) {
        return Err(CreateError::NoCommand);
    }
    Ok((entrypoint, cmd))
}

fn entrypoint_words(text: &str) -> Vec<String> {
    match text {
        "" => Vec::new(),
        list if list.starts_with('[') => serde_json::from_str(list).unwrap_or_else(|_| vec![list.to_owned()]),
        word => vec![word.to_owned()],
    }
}

fn hostname(request: &CreateRequest, base: &Base<'_>, id: &ContainerId) -> Result<String, CreateError> {
    let shares_uts = request.uts != NamespaceMode::Private;
    match &request.hostname {
        Some(_) if shares_uts => Err(CreateError::HostnameAndUts),
        Some(name) => Ok(names::host_name(name)?.to_owned()),
        None if request.uts == NamespaceMode::Host || request.network == NetworkMode::Host => {
            Ok(base.host_name.to_owned())
        }
        None => Ok(base.donor_name.unwrap_or(id.short()).to_owned()),
    }
}

/// Who keeps an id of his own is that user inside.
fn user(asked: Option<String>, identity: &Identity, image: String) -> String {
    let caller = identity.caller.as_ref().map(|caller| format!("{}:{}", caller.uid, caller.gid));
    asked.or(caller).unwrap_or(image)
}

fn working_dir(asked: Option<String>, image: &Defaults) -> Result<String, CreateError> {
    let directory = asked.filter(|path| !path.is_empty()).unwrap_or_else(|| image.working_dir.clone());
    if directory.is_empty() || directory.starts_with('/') {
        Ok(directory)
    } else {
        Err(CreateError::WorkingDirectory(printable(&directory)))
    }
}

/// Each once, in the order of the numbers; what is published is exposed.
fn exposed_ports(image: impl Iterator<Item = String>, asked: Vec<String>, published: &[PortMapping]) -> Vec<String> {
    let published = published.iter().map(|mapping| format!("{}/{}", mapping.container_port, mapping.protocol));
    let mut ports: Vec<String> = image.chain(asked).chain(published).collect();
    ports.sort_by_cached_key(|port| {
        let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
        (number.parse().unwrap_or(u32::MAX), protocol.to_owned())
    });
    ports.dedup();
    ports
}

/// docker's list of what belongs to a namespace; a container may change its own only.
fn check_sysctls(request: &CreateRequest) -> Result<(), CreateError> {
    const OF_IPC: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    for key in request.sysctls.keys() {
        let own = match key {
            _ if key.split('.').any(|part| part.is_empty() || part.contains('/')) => None,
            _ if key.starts_with("net.") => Some(request.network.is_private()),
            _ if key.starts_with("fs.mqueue.") || OF_IPC.contains(&key.as_str()) => {
                let private = [NamespaceMode::Private, NamespaceMode::Shareable, NamespaceMode::None];
                Some(private.contains(&request.ipc))
            }
            _ => None,
        };
        match own {
            Some(true) => {}
            Some(false) => return Err(CreateError::SharedSysctl(printable(key))),
            None => return Err(CreateError::Sysctl(printable(key))),
        }
    }
    Ok(())
}

fn stop_signal(asked: Option<Signal>, image: &str, systemd: bool) -> Result<Signal, CreateError> {
    match asked {
        Some(signal) => Ok(signal),
        None if image.is_empty() && systemd => Ok(systemd::stop_signal()),
        None if image.is_empty() => Ok(Signal::default()),
        None => Ok(image.parse()?),
    }
}

fn stop_timeout(asked: Option<i64>) -> Option<u32> {
    match asked {
        None => Some(DEFAULT_STOP_TIMEOUT),
        Some(seconds) if seconds < 0 => None,
        Some(seconds) => Some(u32::try_from(seconds).unwrap_or(u32::MAX)),
    }
}

fn capabilities(add: &[String], drop: &[String]) -> Result<CapabilityChanges, CreateError> {
    let canonical = |names: &[String]| -> Result<Vec<String>, UnknownCapability> {
        names.iter().map(|name| caps::normalise(name).map(str::to_owned)).collect()
    };
    let add = canonical(add).map_err(CreateError::CapAdd)?;
    Ok(CapabilityChanges { add, drop: canonical(drop).map_err(CreateError::CapDrop)? })
}

/// A privileged container has no filter unless one was asked for.
fn seccomp_choice(asked: SeccompChoice, privileged: bool) -> Result<SeccompChoice, CreateError> {
    match asked {
        SeccompChoice::Builtin if privileged => Ok(SeccompChoice::Unconfined),
        SeccompChoice::Profile(path, json) => match seccomp::check_profile(&json) {
            Ok(()) => Ok(SeccompChoice::Profile(path, json)),
            Err(reason) => Err(CreateError::Seccomp { path: printable(&path.to_string_lossy()), reason }),
        },
        other => Ok(other),
    }
}

/// The last of each name.
fn ulimits(requests: Vec<UlimitRequest>) -> Result<Vec<Ulimit>, InvalidUlimit> {
    let is_host = requests.contains(&UlimitRequest::Host);
    let mut kept: Vec<Ulimit> = Vec::new();
    for request in requests {
        let UlimitRequest::One(limit) = request else { continue };
        if is_host {
            return Err(InvalidUlimit::BesidesHost(limit.to_string()));
        }
        match kept.iter_mut().find(|earlier| earlier.name == limit.name) {
            Some(earlier) => *earlier = limit,
            None => kept.push(limit),
        }
    }
    Ok(kept)
}

/// What execve and the kernel take as C strings.
fn refuse_nul(config: &ContainerConfig) -> Result<(), CreateError> {
    let argv = config.argv();
    let settings = config.sysctls.iter().flat_map(|(key, value)| [key, value]);
    let texts = argv.iter().chain(&config.env).chain([&config.working_dir, &config.user]).chain(settings);
    match texts.chain(&config.identity.groups).find(|text| text.contains('\0')) {
        Some(text) => Err(CreateError::Nul(printable(text))),
        None => Ok(()),
    }
}

#[cfg(test)]
pub(super) mod tests;
