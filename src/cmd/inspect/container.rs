//! docker's JSON of a container.

use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::endpoints::{self, Facts};
use super::mounts;
use crate::sandbox::log::Lost;
use crate::spec::config::{ContainerConfig, NamespaceMode};
use crate::spec::device::{CdiName, DevicePath};
use crate::spec::health::HealthCheck;
use crate::spec::identity::{Extent, Maps};
use crate::spec::limits::DeviceRate;
use crate::spec::log::LogDriver;
use crate::spec::mount::{Flag, Mount, MountKind};
use crate::spec::oci::{MASKED_PATHS, READONLY_PATHS};
use crate::spec::secret::SecretForm;
use crate::store::containers::{Container, Status};

/// docker's time for what has not happened.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// A container and what is known of it.
pub struct Subject<'a> {
    pub container: &'a Container,
    pub network: Facts,
    /// The overlay's lower directories, lowest first.
    pub lower: Vec<PathBuf>,
    /// Bytes written and bytes in all, with `--size`.
    pub sizes: Option<(u64, u64)>,
}

/// The JSON of `docker inspect`, keys in docker's order.
pub fn describe(subject: &Subject) -> Value {
    let config = &subject.container.config;
    let argv = config.argv();
    let path = |name: &str| json!(subject.container.path(name).to_string_lossy());
    let image = subject.container.image_id().map(|id| id.to_string()).unwrap_or_default();
    let mut object = object([
        ("Id", json!(config.id)),
        ("Created", json!(config.created)),
        ("Path", json!(argv.first().map_or("", String::as_str))),
        ("Args", json!(argv.get(1..).unwrap_or_default())),
        ("State", state(subject.container)),
        ("Image", json!(image)),
        ("ResolvConfPath", path("resolv.conf")),
        ("HostnamePath", path("hostname")),
        ("HostsPath", path("hosts")),
        ("LogPath", json!(log_path(subject.container))),
        ("Name", json!(format!("/{}", config.name))),
        ("RestartCount", json!(subject.container.state.restarts.count)),
        ("Driver", json!("overlay")),
        ("Platform", json!(config.platform.split('/').next().unwrap_or("linux"))),
        ("MountLabel", json!("")),
        ("ProcessLabel", json!("")),
        ("AppArmorProfile", json!("")),
        ("ExecIDs", Value::Null),
        ("HostConfig", host_config(config, &subject.network)),
        ("GraphDriver", graph_driver(subject)),
    ]);
    object.insert("LogLost".to_owned(), lost(subject.container));
    if let Some((written, all)) = subject.sizes {
        object.extend(self::object([("SizeRw", json!(written)), ("SizeRootFs", json!(all))]));
    }
    object.extend(self::object([
        ("Mounts", mounts::points(subject.container)),
        ("Config", process_config(config)),
        ("NetworkSettings", endpoints::settings(subject.container, &subject.network)),
    ]));
    Value::Object(object)
}

/// Keys in the order given.
pub fn object<const N: usize>(entries: [(&str, Value); N]) -> Map<String, Value> {
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn log_path(container: &Container) -> String {
    match container.config.log.driver {
        LogDriver::JsonFile | LogDriver::K8sFile => {
            container.log_path().unwrap_or_default().to_string_lossy().into_owned()
        }
        // docker names no file that is for its own use only.
        _ => String::new(),
    }
}

/// How much of its log was lost, if there was any.
fn lost(container: &Container) -> Value {
    let bytes = std::fs::read(container.log_loss_path()).unwrap_or_default();
    let lost: Lost = serde_json::from_slice(&bytes).unwrap_or_default();
    json!({"Messages": lost.messages, "Bytes": lost.bytes, "Reason": lost.reason})
}

fn or_null<T: serde::Serialize>(list: &[T]) -> Value {
    if list.is_empty() { Value::Null } else { json!(list) }
}

fn state(container: &Container) -> Value {
    let state = &container.state;
    let mut value = json!({
        "Status": state.word(),
        // As docker has it: what is restarted is taken for running.
        "Running": matches!(state.status, Status::Running | Status::Restarting),
        "Paused": state.paused.is_some(),
        "Restarting": state.status == Status::Restarting,
        "OOMKilled": state.oom_killed,
        "Dead": false,
        "Pid": state.pid,
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": time(state.started_at),
        "FinishedAt": time(state.finished_at),
    });
    if let Some(health) = container.health() {
        value["Health"] = json!({"Status": health.status, "FailingStreak": health.failing_streak, "Log": health.log});
    }
    value
}

/// A moment in RFC 3339, or docker's for never.
pub fn time(moment: Option<Timestamp>) -> String {
    moment.map_or_else(|| NEVER.to_owned(), |moment| moment.to_string())
}

fn host_config(config: &ContainerConfig, network: &Facts) -> Value {
    let by_flag = |flag: Flag| config.mounts.iter().filter(move |mount| mount.flag == flag);
    // An anonymous volume is no bind: docker shows it among Config.Volumes.
    let anonymous = |mount: &&Mount| matches!(&mount.kind, MountKind::Volume(volume) if volume.anonymous);
    let binds: Vec<String> = by_flag(Flag::Volume).filter(|mount| !anonymous(mount)).map(Mount::to_string).collect();
    let mut all = object([
        ("Binds", or_null(&binds)),
        ("ContainerIDFile", json!(config.cidfile.as_deref().map(|path| path.to_string_lossy()).unwrap_or_default())),
        ("LogConfig", json!({"Type": config.log.driver.to_string(), "Config": config.log.shown()})),
        ("NetworkMode", json!(config.network.name())),
        ("PortBindings", endpoints::port_bindings(&config.ports)),
        (
            "RestartPolicy",
            json!({"Name": config.restart.name(), "MaximumRetryCount": config.restart.maximum_retry_count()}),
        ),
        ("AutoRemove", json!(config.auto_remove)),
        ("VolumeDriver", json!(config.storage.volume_driver.as_deref().unwrap_or_default())),
        ("VolumesFrom", or_null(&config.storage.volumes_from)),
        ("ConsoleSize", json!([0, 0])),
    ]);
    if !config.annotations.is_empty() {
        all.insert("Annotations".to_owned(), json!(config.annotations));
    }
    all.extend(isolation(config, &network.links));
    let entry = |mount: &Mount| (mount.target.clone(), json!(mount.typed_options()));
    let tmpfs: Map<String, Value> = by_flag(Flag::Tmpfs).map(entry).collect();
    if !tmpfs.is_empty() {
        all.insert("Tmpfs".to_owned(), Value::Object(tmpfs));
    }
    let mappings = config.identity.maps.as_ref().map(id_mappings);
    let sysctls = (!config.sysctls.is_empty()).then(|| json!(config.sysctls));
    all.extend(object([
        ("UTSMode", json!(namespace(&config.uts, ""))),
        ("UsernsMode", json!(userns(config))),
        ("ShmSize", json!(config.shm_size)),
    ]));
    all.extend(mappings.map(|mappings| ("IDMappings".to_owned(), mappings)));
    all.extend(sysctls.map(|settings| ("Sysctls".to_owned(), settings)));
    all.extend(object([("Runtime", json!("rbox")), ("Isolation", json!(""))]));
    all.extend(resources(config));
    let mounts: Vec<Value> = by_flag(Flag::Mount).map(mounts::asked).collect();
    if !mounts.is_empty() {
        all.insert("Mounts".to_owned(), json!(mounts));
    }
    let hidden = |paths: &[&str]| if config.privileged { Value::Null } else { json!(paths) };
    all.extend(object([("MaskedPaths", hidden(&MASKED_PATHS)), ("ReadonlyPaths", hidden(&READONLY_PATHS))]));
    if config.init {
        all.insert("Init".to_owned(), json!(true));
    }
    Value::Object(all)
}

fn isolation(config: &ContainerConfig, links: &[String]) -> Map<String, Value> {
    let hosts: Vec<String> = config.extra_hosts.iter().map(|(name, address)| format!("{name}:{address}")).collect();
    object([
        ("CapAdd", or_null(&config.capabilities.add)),
        ("CapDrop", or_null(&config.capabilities.drop)),
        ("CgroupnsMode", json!(if config.limits.host_cgroupns { "host" } else { "private" })),
        ("Dns", json!(config.dns.servers)),
        ("DnsOptions", json!(config.dns.options)),
        ("DnsSearch", json!(config.dns.search)),
        ("ExtraHosts", or_null(&hosts)),
        ("GroupAdd", or_null(&groups(config))),
        ("IpcMode", json!(namespace(&config.ipc, "private"))),
        ("Cgroup", json!("")),
        ("Links", or_null(links)),
        ("OomScoreAdj", json!(config.limits.oom_score_adj.unwrap_or(0))),
        ("PidMode", json!(namespace(&config.pid, ""))),
        ("Privileged", json!(config.privileged)),
        ("PublishAllPorts", json!(config.publish_all)),
        ("ReadonlyRootfs", json!(config.read_only)),
        ("SecurityOpt", or_null(&config.security_opt)),
    ])
}

fn groups(config: &ContainerConfig) -> Vec<String> {
    let kept = config.identity.keep_groups.then(|| "keep-groups".to_owned());
    config.identity.groups.iter().cloned().chain(kept).collect()
}

/// As typed; podman says `private` where maps were given one by one.
fn userns(config: &ContainerConfig) -> &str {
    match config.identity.userns.as_str() {
        "" if config.userns_host => "host",
        "" if config.identity.maps.is_some() => "private",
        typed => typed,
    }
}

/// podman's: `INSIDE:OUTSIDE:COUNT`, outside being ids of the user's namespace.
fn id_mappings(maps: &Maps) -> Value {
    let lines = |extents: &[Extent]| -> Vec<String> {
        extents.iter().map(|extent| format!("{}:{}:{}", extent.inside, extent.outside, extent.count)).collect()
    };
    json!({"UidMap": lines(&maps.uids), "GidMap": lines(&maps.gids)})
}

/// Limits on resources, as they are in force.
fn resources(config: &ContainerConfig) -> Map<String, Value> {
    let ulimit =
        |limit: &crate::spec::ulimit::Ulimit| json!({"Name": limit.name, "Hard": limit.hard, "Soft": limit.soft});
    let ulimits: Vec<Value> = config.ulimits.iter().map(ulimit).collect();
    let limits = &config.limits;
    let rates = |key: &str, list: &[DeviceRate]| -> Value {
        list.iter().map(|device| json!({"Path": device.path, key: device.rate})).collect()
    };
    let mut all = Map::new();
    all.extend(object([
        ("CpuShares", json!(limits.cpu_shares)),
        ("Memory", json!(limits.memory)),
        ("NanoCpus", json!(limits.nano_cpus)),
        ("CgroupParent", json!(limits.cgroup_parent)),
        ("BlkioWeight", json!(limits.blkio_weight)),
        ("BlkioWeightDevice", rates("Weight", &limits.blkio_weight_device)),
        ("BlkioDeviceReadBps", rates("Rate", &limits.device_read_bps)),
        ("BlkioDeviceWriteBps", rates("Rate", &limits.device_write_bps)),
        ("BlkioDeviceReadIOps", rates("Rate", &limits.device_read_iops)),
        ("BlkioDeviceWriteIOps", rates("Rate", &limits.device_write_iops)),
        ("CpuPeriod", json!(limits.cpu_period)),
        ("CpuQuota", json!(limits.cpu_quota)),
        ("CpuRealtimePeriod", json!(limits.cpu_rt_period)),
        ("CpuRealtimeRuntime", json!(limits.cpu_rt_runtime)),
        ("CpusetCpus", json!(limits.cpuset_cpus)),
        ("CpusetMems", json!(limits.cpuset_mems)),
    ]));
    all.extend(object([
        ("Devices", devices(config)),
        ("DeviceCgroupRules", Value::Null),
        ("DeviceRequests", device_requests(config)),
        ("MemoryReservation", json!(limits.memory_reservation)),
        ("MemorySwap", json!(limits.memory_swap)),
        ("MemorySwappiness", json!(limits.memory_swappiness)),
        ("OomKillDisable", json!(limits.oom_kill_disable)),
        ("PidsLimit", json!(limits.pids_limit)),
        ("Ulimits", or_null(&ulimits)),
        ("CpuCount", json!(0)),
        ("CpuPercent", json!(0)),
        ("IOMaximumIOps", json!(0)),
        ("IOMaximumBandwidth", json!(0)),
    ]));
    all
}

fn devices(config: &ContainerConfig) -> Value {
    let device = |path: &DevicePath| {
        json!({
            "PathOnHost": path.host.to_string_lossy(),
            "PathInContainer": path.container,
            "CgroupPermissions": path.permissions,
        })
    };
    config.devices.paths.iter().map(device).collect()
}

fn device_requests(config: &ContainerConfig) -> Value {
    let gpus = config.devices.gpus.iter().map(|request| {
        json!({
            "Driver": request.driver,
            "Count": request.count,
            "DeviceIDs": or_null(&request.device_ids),
            "Capabilities": [request.capabilities],
            "Options": request.options,
        })
    });
    let names: Vec<String> = config.devices.cdi.iter().map(CdiName::to_string).collect();
    let cdi = (!names.is_empty())
        .then(|| json!({"Driver": "cdi", "Count": 0, "DeviceIDs": names, "Capabilities": null, "Options": null}));
    let requests: Vec<Value> = gpus.chain(cdi).collect();
    if requests.is_empty() { Value::Null } else { Value::Array(requests) }
}

/// podman's list of the secrets that are files.
fn secrets(config: &ContainerConfig) -> Vec<Value> {
    let files = config.secrets.iter().filter_map(|secret| match &secret.form {
        SecretForm::Mount { uid, gid, mode, .. } => {
            Some(json!({"Name": secret.name, "ID": secret.id, "UID": uid, "GID": gid, "Mode": mode}))
        }
        SecretForm::Env { .. } => None,
    });
    files.collect()
}

fn namespace(mode: &NamespaceMode, private: &str) -> String {
    match mode {
        NamespaceMode::Private => private.to_owned(),
        NamespaceMode::None => "none".to_owned(),
        NamespaceMode::Shareable => "shareable".to_owned(),
        NamespaceMode::Host => "host".to_owned(),
        NamespaceMode::Container(id) => format!("container:{id}"),
    }
}

/// What podman's checks have and docker's have not, where it was asked for.
fn podmans_health(health: &HealthCheck) -> Map<String, Value> {
    let (usual, results) = (HealthCheck::default(), &health.results);
    let mut all = Map::new();
    if let Some(startup) = &health.startup {
        let mut value = json!(startup.probe);
        value["Successes"] = json!(startup.successes);
        all.insert("StartupHealthCheck".to_owned(), value);
    }
    if health.on_failure != usual.on_failure {
        all.insert("HealthcheckOnFailureAction".to_owned(), json!(health.on_failure));
    }
    if *results != usual.results {
        all.insert("HealthLogDestination".to_owned(), json!(results.destination.to_string()));
        all.insert("HealthcheckMaxLogCount".to_owned(), json!(results.count));
        all.insert("HealthcheckMaxLogSize".to_owned(), json!(results.size));
    }
    all
}

fn process_config(config: &ContainerConfig) -> Value {
    let keys = |names: &[String]| names.iter().map(|name| (name.clone(), json!({}))).collect::<Map<_, _>>();
    let [stdin, stdout, stderr] = config.attach;
    let mut all = object([
        ("Hostname", json!(config.hostname)),
        ("Domainname", json!(config.identity.domainname)),
        ("User", json!(config.user)),
        ("AttachStdin", json!(stdin)),
        ("AttachStdout", json!(stdout)),
        ("AttachStderr", json!(stderr)),
    ]);
    if !config.exposed_ports.is_empty() {
        all.insert("ExposedPorts".to_owned(), Value::Object(keys(&config.exposed_ports)));
    }
    let anonymous = config.mounts.iter().filter(|mount| {
        let of_volume = matches!(&mount.kind, MountKind::Volume(volume) if volume.anonymous);
        of_volume && mount.flag == Flag::Volume && !config.volumes.contains(&mount.target)
    });
    let volumes: Vec<String> =
        config.volumes.iter().cloned().chain(anonymous.map(|mount| mount.target.clone())).collect();
    let volumes = if volumes.is_empty() { Value::Null } else { Value::Object(keys(&volumes)) };
    all.extend(object([
        ("Tty", json!(config.tty)),
        ("OpenStdin", json!(config.open_stdin)),
        ("StdinOnce", json!(config.open_stdin && stdin)),
        ("Env", json!(config.env)),
        ("Cmd", json!(config.cmd)),
    ]));
    if let Some(health) = &config.health {
        all.extend(object([("Healthcheck", json!(health.probe))]));
        all.extend(podmans_health(health));
    }
    all.extend(object([
        ("Image", json!(config.image)),
        ("Volumes", volumes),
        ("WorkingDir", json!(config.working_dir)),
        ("Entrypoint", json!(config.entrypoint)),
        ("OnBuild", Value::Null),
        ("Labels", json!(config.labels)),
        ("StopSignal", json!(config.stop_signal)),
    ]));
    let secrets = secrets(config);
    if !secrets.is_empty() {
        all.insert("Secrets".to_owned(), Value::Array(secrets));
    }
    if let Some(made) = &config.create_command {
        all.insert("CreateCommand".to_owned(), json!(made.words().collect::<Vec<_>>()));
    }
    if let Some(zone) = &config.environment.timezone {
        all.insert("Timezone".to_owned(), json!(zone));
    }
    if let Some(seconds) = config.stop_timeout {
        all.insert("StopTimeout".to_owned(), json!(seconds));
    }
    if config.systemd.is_some() {
        all.insert("SystemdMode".to_owned(), json!(true));
    }
    Value::Object(all)
}

fn graph_driver(subject: &Subject) -> Value {
    let path = |name: &str| json!(subject.container.path(name).to_string_lossy());
    let lower: Vec<String> = subject.lower.iter().rev().map(|path| path.to_string_lossy().into_owned()).collect();
    let data = object([
        ("LowerDir", json!(lower.join(":"))),
        ("MergedDir", path("merged")),
        ("UpperDir", path("upper")),
        ("WorkDir", path("work")),
    ]);
    json!({"Data": data, "Name": "overlay"})
}
