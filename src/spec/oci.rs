//! The OCI runtime Spec of a container (runtime-spec 1.2): all that the sandbox executes, a pure
//! function of the configuration and of facts about the host.

mod mounts;

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use oci_spec::OciSpecError;
use oci_spec::runtime::{
    Capability, Linux, LinuxCapabilities, LinuxIdMapping, LinuxIdMappingBuilder, LinuxNamespace, LinuxNamespaceType,
    LinuxSeccomp, PosixRlimit, PosixRlimitBuilder, PosixRlimitType, Process, Root, Spec, User,
};

use super::caps;
use super::config::{ContainerConfig, NamespaceMode, NetworkMode};
use super::limits;
use super::platform::Platform;
use super::seccomp::{self, Circumstances, InvalidProfile};
use super::security::SeccompChoice;

pub use mounts::asked as asked_mounts;

/// The version of the runtime-spec that the Spec follows.
pub const OCI_VERSION: &str = "1.2.0";

/// Hidden from unprivileged containers: docker's list and podman's together.
pub const MASKED_PATHS: [&str; 13] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/fs/selinux",
];

/// Read-only in unprivileged containers; podman's /proc/asound is masked already.
pub const READONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What the Spec needs to know about this machine and this start.
#[derive(Clone, Debug, Default)]
pub struct HostFacts {
    /// The container's directory, which holds `hosts`, `hostname`, `resolv.conf`.
    pub container_dir: PathBuf,
    /// Where the root file system is mounted.
    pub root_path: PathBuf,
    /// The id maps of the container's own user namespace: (inside, outside, count). Unused when it
    /// shares the user's.
    pub uid_map: Vec<(u32, u32, u32)>,
    pub gid_map: Vec<(u32, u32, u32)>,
    /// Namespaces to join, for each mode that is `container:…`.
    pub joined: JoinedNamespaces,
    /// Where volumes have their files, by name.
    pub volumes: BTreeMap<String, VolumeSource>,
    /// The soft and the hard limit on open files of whoever starts the container.
    pub nofile: (u64, u64),
    /// Version and patch level of the running kernel.
    pub kernel: (u32, u32),
    /// Numbers of the block devices that limits name.
    pub block_devices: BTreeMap<String, (i64, i64)>,
    /// Paths to mask that differ between machines (`…/cpu*/thermal_throttle`).
    pub masked: Vec<String>,
}

/// Where a volume has its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeSource {
    /// With options for the mount, in the Spec's words.
    Directory { path: PathBuf, options: Vec<String> },
    /// In memory, with options for the mount.
    Tmpfs(Vec<String>),
}

/// Paths of other containers' namespaces, as in `/proc/PID/ns/pid`.
#[derive(Clone, Debug, Default)]
pub struct JoinedNamespaces {
    pub user: Option<PathBuf>,
    pub pid: Option<PathBuf>,
    pub ipc: Option<PathBuf>,
    pub uts: Option<PathBuf>,
    pub net: Option<PathBuf>,
}

/// Why no Spec can be made of a configuration that was accepted once.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    #[error("the container's seccomp profile can't be used: {0}")]
    Profile(#[from] InvalidProfile),
    #[error("the container's configuration can't be used: {0}")]
    Value(#[from] OciSpecError),
    #[error("the container's configuration can't be used: unknown {kind} {name:?}")]
    Unknown { kind: &'static str, name: String },
}

/// Builds the Spec of a container. Names in `user` are not resolved: unless it is purely numeric
/// the process is 0:0, and who resolves it also takes [`capabilities`] for the result.
pub fn runtime_spec(config: &ContainerConfig, facts: &HostFacts) -> Result<Spec, SpecError> {
    let mut root = Root::default();
    root.set_path(facts.root_path.clone()).set_readonly(Some(config.read_only));
    let annotations = config.annotations.clone().into_iter().collect();
    let mut spec = Spec::default();
    spec.set_version(OCI_VERSION.to_owned())
        .set_root(Some(root))
        .set_process(Some(process(config, facts)?))
        .set_hostname((config.uts == NamespaceMode::Private).then(|| config.hostname.clone()))
        .set_domainname(Some(config.identity.domainname.clone()).filter(|name| !name.is_empty()))
        .set_mounts(Some(mounts::all(config, facts)))
        .set_annotations(Some(annotations).filter(|map: &std::collections::HashMap<_, _>| !map.is_empty()))
        .set_linux(Some(linux(config, facts)?));
    Ok(spec)
}

fn process(config: &ContainerConfig, facts: &HostFacts) -> Result<Process, SpecError> {
    let (uid, gid) = numeric_user(&config.user).unwrap_or((0, 0));
    let mut user = User::default();
    user.set_uid(uid).set_gid(gid).set_umask(Some(config.identity.umask.unwrap_or(0o022)));
    let cwd = if config.working_dir.is_empty() { "/" } else { &config.working_dir };
    let mut process = Process::default();
    process
        .set_terminal(Some(config.tty))
        .set_user(user)
        .set_args(Some(config.argv()))
        .set_env(Some(config.env.clone()))
        .set_cwd(PathBuf::from(cwd))
        .set_capabilities(Some(capabilities(config, uid)?))
        .set_rlimits(Some(rlimits(config, facts.nofile)?))
        .set_no_new_privileges(Some(config.no_new_privileges))
        .set_oom_score_adj(config.limits.oom_score_adj);
    Ok(process)
}

/// `uid` or `uid:gid` in digits; the group of a lone uid is 0 until /etc/passwd was read.
fn numeric_user(text: &str) -> Option<(u32, u32)> {
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u32>().ok())?;
    let (user, group) = text.split_once(':').unwrap_or((text, "0"));
    Some((number(user)?, number(group)?))
}

/// The capability sets of a process of `uid` in the container, also for `exec`. Root holds the
/// bounding set. Any other user holds what was added by name, inheritable and ambient so that it
/// survives exec, and nothing else.
pub fn capabilities(config: &ContainerConfig, uid: u32) -> Result<LinuxCapabilities, SpecError> {
    let bounding = capability_set(&caps::effective(&config.capabilities, config.privileged))?;
    let explicit = capability_set(&caps::explicit(&config.capabilities))?;
    let none = HashSet::new();
    let (held, kept) = if uid == 0 { (&bounding, &none) } else { (&explicit, &explicit) };
    let mut sets = LinuxCapabilities::default();
    sets.set_effective(Some(held.clone()))
        .set_permitted(Some(held.clone()))
        .set_inheritable(Some(kept.clone()))
        .set_ambient(Some(kept.clone()))
        .set_bounding(Some(bounding));
    Ok(sets)
}

fn capability_set(names: &[&str]) -> Result<HashSet<Capability>, SpecError> {
    let parse = |name: &&str| {
        let short = name.strip_prefix("CAP_").unwrap_or(name);
        short.parse().map_err(|_| SpecError::Unknown { kind: "capability", name: (*name).to_owned() })
    };
    names.iter().map(parse).collect()
}

/// What was asked for; else few open files by default (the hard limit stays) and no core dumps.
fn rlimits(config: &ContainerConfig, nofile: (u64, u64)) -> Result<Vec<PosixRlimit>, SpecError> {
    const NOFILE_SOFT: u64 = 1024;
    let mut limits = Vec::new();
    let (soft, hard) = nofile;
    // As it was before rbox raised its own.
    let soft = if config.host_ulimits { soft } else { NOFILE_SOFT.min(hard) };
    for (name, soft, hard) in [("nofile", soft, hard), ("core", 0, 0)] {
        // systemd sets its services' own.
        let left = name == "core" && (config.host_ulimits || config.systemd.is_some());
        if !left && !config.ulimits.iter().any(|limit| limit.name == name) {
            limits.push(rlimit(name, soft, hard)?);
        }
    }
    // -1 becomes RLIM_INFINITY.
    for limit in &config.ulimits {
        limits.push(rlimit(&limit.name, limit.soft as u64, limit.hard as u64)?);
    }
    Ok(limits)
}

fn rlimit(name: &str, soft: u64, hard: u64) -> Result<PosixRlimit, SpecError> {
    let kernel_name = format!("RLIMIT_{}", name.to_ascii_uppercase());
    let kind: PosixRlimitType =
        kernel_name.parse().map_err(|_| SpecError::Unknown { kind: "limit", name: name.to_owned() })?;
    Ok(PosixRlimitBuilder::default().typ(kind).soft(soft).hard(hard).build()?)
}

fn linux(config: &ContainerConfig, facts: &HostFacts) -> Result<Linux, SpecError> {
    let own_ids = !config.userns_host && config.identity.joined.is_none();
    let map = |extents: &[(u32, u32, u32)]| extents.iter().map(id_mapping).collect::<Result<Vec<_>, _>>();
    let mut linux = Linux::default();
    linux
        .set_namespaces(Some(namespaces(config, facts)))
        .set_uid_mappings(own_ids.then(|| map(&facts.uid_map)).transpose()?)
        .set_gid_mappings(own_ids.then(|| map(&facts.gid_map)).transpose()?)
        .set_sysctl(Some(sysctls(config)).filter(|settings| !settings.is_empty()))
        .set_resources(limits::resources(&config.limits, &|path| facts.block_devices.get(path).copied())?)
        .set_devices(None)
        .set_seccomp(seccomp(config, facts)?)
        .set_masked_paths((!config.privileged).then(|| strings(&MASKED_PATHS).chain(facts.masked.clone()).collect()))
        .set_readonly_paths((!config.privileged).then(|| strings(&READONLY_PATHS).collect()));
    Ok(linux)
}

fn strings<'a>(texts: &'a [&str]) -> impl Iterator<Item = String> + 'a {
    texts.iter().map(|text| (*text).to_owned())
}

fn id_mapping(&(inside, outside, count): &(u32, u32, u32)) -> Result<LinuxIdMapping, OciSpecError> {
    LinuxIdMappingBuilder::default().container_id(inside).host_id(outside).size(count).build()
}

/// Docker's for a private network (any user may bind low ports and ping), then what was asked for.
fn sysctls(config: &ContainerConfig) -> std::collections::HashMap<String, String> {
    let usual = [("net.ipv4.ip_unprivileged_port_start", "0"), ("net.ipv4.ping_group_range", "0 2147483647")];
    let usual = usual.into_iter().filter(|_| config.network.is_private());
    let usual = usual.map(|(key, value)| (key.to_owned(), value.to_owned()));
    usual.chain(config.sysctls.clone()).collect()
}

/// Those that are the host's are left out; those joined have a path.
fn namespaces(config: &ContainerConfig, facts: &HostFacts) -> Vec<LinuxNamespace> {
    let mut namespaces = Vec::new();
    let mut add = |kind: LinuxNamespaceType, path: Option<PathBuf>| {
        let mut namespace = LinuxNamespace::default();
        namespace.set_typ(kind).set_path(path);
        namespaces.push(namespace);
    };
    if !config.userns_host {
        add(LinuxNamespaceType::User, facts.joined.user.clone());
    }
    for (kind, mode, joined) in [
        (LinuxNamespaceType::Pid, &config.pid, &facts.joined.pid),
        (LinuxNamespaceType::Ipc, &config.ipc, &facts.joined.ipc),
        (LinuxNamespaceType::Uts, &config.uts, &facts.joined.uts),
    ] {
        match mode {
            NamespaceMode::Host => {}
            NamespaceMode::Container(_) => add(kind, joined.clone()),
            NamespaceMode::Private | NamespaceMode::None | NamespaceMode::Shareable => add(kind, None),
        }
    }
    match config.network {
        NetworkMode::Host => {}
        NetworkMode::Container(_) | NetworkMode::Path(_) => add(LinuxNamespaceType::Network, facts.joined.net.clone()),
        _ => add(LinuxNamespaceType::Network, None),
    }
    add(LinuxNamespaceType::Mount, None);
    if !config.limits.host_cgroupns {
        add(LinuxNamespaceType::Cgroup, None);
    }
    namespaces
}

fn seccomp(config: &ContainerConfig, facts: &HostFacts) -> Result<Option<LinuxSeccomp>, SpecError> {
    let capabilities = seccomp::circumstantial(config);
    let platform: Platform = config.platform.parse().unwrap_or_else(|_| Platform::host());
    let now = Circumstances { capabilities: &capabilities, architecture: &platform.architecture, kernel: facts.kernel };
    match &config.seccomp {
        SeccompChoice::Unconfined => Ok(None),
        SeccompChoice::Builtin => Ok(Some(seccomp::builtin(&now)?)),
        SeccompChoice::Profile(_, json) => Ok(Some(seccomp::profile(json, &now)?)),
    }
}

#[cfg(test)]
mod tests;
