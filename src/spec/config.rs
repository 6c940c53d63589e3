//! What was asked for when a container was created. `config.json` of its directory.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::create_command::CreateCommand;
use super::credential::Credential;
pub use super::device::Devices;
use super::digest::Digest;
use super::health::HealthCheck;
use super::identity::Identity;
use super::limits::Limits;
use super::log::LogConfig;
use super::mount::{FoundImage, ImageVolumes, Mount, MountKind, VolumeUse};
pub use super::network::NetworkMode;
use super::notify::NotifyMode;
use super::port::PortMapping;
pub use super::restart::RestartPolicy;
pub use super::secret::SecretUse;
use super::security::SeccompChoice;
use super::signal::Signal;
use super::systemd::FullSystem;
use super::ulimit::Ulimit;

/// A container's identity: 64 lower-case hex digits (256 random bits).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(String);

/// Why a text is not a container id.
#[derive(Debug, thiserror::Error)]
#[error("invalid container id {0:?}")]
pub struct InvalidContainerId(pub String);

impl ContainerId {
    /// Makes an id of 32 random bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// All 64 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first 12 digits, as lists show it; also the default hostname.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl FromStr for ContainerId {
    type Err = InvalidContainerId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() == 64 && text.bytes().all(hex) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidContainerId(text.to_owned()))
        }
    }
}

impl TryFrom<String> for ContainerId {
    type Error = InvalidContainerId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ContainerId> for String {
    fn from(id: ContainerId) -> Self {
        id.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where the container's read-only root comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RootSource {
    /// An image of the store: its id (config digest) and its layers' chain ids, lowest first.
    Image { id: Digest, layers: Vec<Digest> },
    /// A directory of the host (`rootfs:PATH`), used read-only below an overlay.
    Directory(PathBuf),
}

/// Whose namespace a container uses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NamespaceMode {
    #[default]
    Private,
    /// IPC only: private, and without /dev/shm.
    None,
    /// IPC only: private, and others may join it.
    Shareable,
    Host,
    Container(ContainerId),
}

/// Capability changes as asked for: canonical names (`CAP_CHOWN`) or `ALL`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapabilityChanges {
    pub add: Vec<String>,
    pub drop: Vec<String>,
}

/// Everything that was asked for at `create`, after the image's defaults were merged in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerConfig {
    pub id: ContainerId,
    /// Without docker's leading slash.
    pub name: String,
    /// RFC 3339 in UTC with nanoseconds.
    pub created: String,
    /// The image reference as typed (`busybox`, `rootfs:/`).
    pub image: String,
    pub root: RootSource,
    /// `os[/arch[/variant]]` of the image.
    pub platform: String,
    /// The entrypoint in force (flag or image), if any.
    pub entrypoint: Option<Vec<String>>,
    /// The arguments in force (command line or image CMD), if any.
    pub cmd: Option<Vec<String>>,
    /// `K=V`, complete but for HOME (which depends on the resolved user).
    pub env: Vec<String>,
    #[serde(default)]
    pub environment: Environment,
    /// Absolute; empty means `/`.
    pub working_dir: String,
    /// `user[:group]` as asked for or from the image; empty means root.
    pub user: String,
    pub hostname: String,
    pub tty: bool,
    pub open_stdin: bool,
    /// Whether the creating command attached to stdin, stdout, stderr.
    pub attach: [bool; 3],
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    /// `--sysctl`: kernel settings of the container's own namespaces.
    #[serde(default)]
    pub sysctls: BTreeMap<String, String>,
    /// What `docker inspect` shows as ExposedPorts: `80/tcp`.
    pub exposed_ports: Vec<String>,
    /// The image's VOLUME paths.
    pub volumes: Vec<String>,
    pub stop_signal: Signal,
    /// Seconds between the stop signal and SIGKILL; None waits for ever.
    pub stop_timeout: Option<u32>,
    pub mounts: Vec<Mount>,
    pub capabilities: CapabilityChanges,
    pub privileged: bool,
    pub no_new_privileges: bool,
    pub seccomp: SeccompChoice,
    /// `--security-opt` values as typed, for inspect.
    pub security_opt: Vec<String>,
    pub read_only: bool,
    pub init: bool,
    /// Set up to boot a whole system (`--systemd`).
    #[serde(default)]
    pub systemd: Option<FullSystem>,
    pub auto_remove: bool,
    /// Made by `run --rm`: what never came to its start is nobody's.
    #[serde(default)]
    pub ephemeral: bool,
    /// Size of /dev/shm in bytes.
    pub shm_size: u64,
    pub ulimits: Vec<Ulimit>,
    /// `--ulimit host`: none of our defaults, which are for what `ulimits` does not say.
    #[serde(default)]
    pub host_ulimits: bool,
    pub pid: NamespaceMode,
    pub ipc: NamespaceMode,
    pub uts: NamespaceMode,
    pub network: NetworkMode,
    /// Containers made before it was known log without limit.
    #[serde(default)]
    pub log: LogConfig,
    /// `--userns host`: the container shares the user's namespace instead of a child of it.
    pub userns_host: bool,
    /// Id map, groups, accounts, umask.
    #[serde(default)]
    pub identity: Identity,
    /// `--cidfile`, for inspect.
    pub cidfile: Option<PathBuf>,
    /// Extra `/etc/hosts` lines: (name, address); the address may be `host-gateway`.
    pub extra_hosts: Vec<(String, String)>,
    /// `--no-hosts`: the image's /etc/hosts stays.
    #[serde(default)]
    pub no_hosts: bool,
    #[serde(default)]
    pub dns: DnsConfig,
    #[serde(default)]
    pub ports: Vec<PortMapping>,
    /// `-P`: every exposed port is published too.
    #[serde(default)]
    pub publish_all: bool,
    #[serde(default)]
    pub links: Vec<Link>,
    #[serde(default)]
    pub storage: Storage,
    #[serde(default)]
    pub devices: Devices,
    #[serde(default)]
    pub secrets: Vec<SecretUse>,
    /// What its service is to give it.
    #[serde(default)]
    pub credentials: Vec<Credential>,
    /// The command line that made it; None for containers made before it was noted.
    #[serde(default)]
    pub create_command: Option<CreateCommand>,
    #[serde(default)]
    pub health: Option<HealthCheck>,
    #[serde(default)]
    pub notify: NotifyMode,
    #[serde(default)]
    pub restart: RestartPolicy,
    #[serde(default)]
    pub lifetime: Lifetime,
    #[serde(default)]
    pub limits: Limits,
    /// It runs a step of a build: nobody sees it, and it goes with the process that made it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub build: bool,
}

/// When a container starts and ends, besides its restarts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lifetime {
    /// `--timeout`: seconds after which it is killed.
    pub timeout: Option<u32>,
    /// `--requires`: containers that are started before it.
    pub requires: Vec<ContainerId>,
    /// `--pidfile`: where the pid of its init is written at each start.
    pub pidfile: Option<PathBuf>,
}

/// How the container's storage is laid out, besides its mounts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Storage {
    /// `--read-only-tmpfs`: a read-only root has writable tmpfs at /run, /tmp and /var/tmp.
    pub read_only_tmpfs: bool,
    pub image_volumes: ImageVolumes,
    /// `--volume-driver`: that of volumes made for this container.
    pub volume_driver: Option<String>,
    /// `--chrootdirs`: directories that have the files of /etc too.
    pub chroot_dirs: Vec<String>,
    /// `--volumes-from` as typed; its mounts are among the others.
    pub volumes_from: Vec<String>,
}

/// What is to be known about [`ContainerConfig::env`], and what goes with it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// `--tz`: `local` or the name of a zone.
    pub timezone: Option<String>,
    /// Variables of the caller's that nobody named: no image made of the container has them.
    pub borrowed: Vec<String>,
}

/// `--dns` and its like: what differs from the host's resolv.conf.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsConfig {
    pub servers: Vec<std::net::IpAddr>,
    /// `.` alone means none.
    pub search: Vec<String>,
    pub options: Vec<String>,
    /// `--dns none` (podman): the image's /etc/resolv.conf stays.
    #[serde(default)]
    pub untouched: bool,
}

/// `--link`: a running container known under an alias.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    pub container: ContainerId,
    pub alias: String,
}

impl ContainerConfig {
    /// Entrypoint followed by arguments: the argv of the container's init. Empty when nothing was
    /// given, which `create` refuses.
    pub fn argv(&self) -> Vec<String> {
        let parts = [self.entrypoint.as_deref(), self.cmd.as_deref()];
        parts.into_iter().flatten().flatten().cloned().collect()
    }

    /// Whether it may have to be started again once it has ended: by its policy, or for its health.
    pub fn is_kept(&self) -> bool {
        self.restart.restarts() || self.health.as_ref().is_some_and(HealthCheck::restarts)
    }

    /// The images that are mounted in the container.
    pub fn mounted_images(&self) -> impl Iterator<Item = &FoundImage> {
        self.mounts.iter().filter_map(|mount| match &mount.kind {
            MountKind::Image(image) => image.found.as_ref(),
            _ => None,
        })
    }

    /// The volumes that are mounted, with where and how.
    pub fn volume_uses(&self) -> impl Iterator<Item = (&Mount, &VolumeUse)> {
        self.mounts.iter().filter_map(|mount| match &mount.kind {
            MountKind::Volume(volume) => Some((mount, volume)),
            _ => None,
        })
    }

    /// The chain ids of the layers below its root and below what it mounts.
    pub fn used_layers(&self) -> impl Iterator<Item = &Digest> {
        self.layer_stacks().flatten()
    }

    /// The layers of each image that it uses, its own first.
    pub fn layer_stacks(&self) -> impl Iterator<Item = &[Digest]> {
        let own: &[Digest] = match &self.root {
            RootSource::Image { layers, .. } => layers,
            RootSource::Directory(_) => &[],
        };
        std::iter::once(own).chain(self.mounted_images().map(|found| found.layers.as_slice()))
    }

    /// Gives anonymous volumes names of their own.
    pub fn name_volumes<E>(&mut self, mut name: impl FnMut() -> Result<String, E>) -> Result<(), E> {
        for mount in &mut self.mounts {
            if let MountKind::Volume(volume) = &mut mount.kind
                && volume.name.is_none()
            {
                volume.name = Some(name()?);
            }
        }
        Ok(())
    }
}
