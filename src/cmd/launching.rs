//! From a container of the store to a running process: shared by `run` and `start`.

mod credentials;
mod devices;
pub mod etc;
mod host_namespaces;
mod links;
pub mod logging;
mod mounts;
mod networking;
mod notify;
mod requirements;
pub mod shifting;
pub mod volumes;

pub use notify::hand_over;
pub use requirements::start as start_required;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use oci_spec::runtime::{LinuxNamespaceType as Namespace, Mount};

use self::networking::Networking;
use self::volumes::Moment;
use super::error::with_code;
use super::{Context, keeper};
use crate::sandbox::cgroup;
use crate::sandbox::client::{Attach, Client, Outcome};
use crate::sandbox::devices::given;
use crate::sandbox::inherited::Inherited;
use crate::sandbox::launch::{self, Attachment};
use crate::sandbox::mounted::{self, Kind, Place};
use crate::sandbox::needs::MountNeeds;
use crate::sandbox::network::NetworkPlan;
use crate::sandbox::notify::NotifyPlan;
use crate::sandbox::plan::{Join, Plan, RootPlan};
use crate::sandbox::{seccomp, terminal};
use crate::spec::config::{ContainerConfig, NamespaceMode, NetworkMode, RootSource};
use crate::spec::detach_keys::DetachKeys;
use crate::spec::digest::Digest;
use crate::spec::oci::{self, HostFacts, JoinedNamespaces};
use crate::spec::platform::Platform;
use crate::spec::restart::Restarts;
use crate::spec::seccomp as rules;
use crate::store::Store;
use crate::store::containers::{Container, ProcessIdentity};
use crate::store::lock::AliveLock;

/// The keys that leave a terminal: as asked for, or as configured.
pub fn detach_keys(context: &Context, asked: Option<DetachKeys>) -> Result<DetachKeys> {
    match asked {
        Some(keys) => Ok(keys),
        None => Ok(context.settings()?.detach_keys.value.clone()),
    }
}

/// docker's refusal where somebody is to type into a terminal but has none.
pub fn check_tty(stdin: bool, tty: bool) -> Result<()> {
    if stdin && tty && !rustix::termios::isatty(rustix::stdio::stdin()) {
        bail!("the input device is not a TTY");
    }
    Ok(())
}

/// How long a container that is started or stopped by another command is waited for.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(2);

/// A container that is not to be started.
#[derive(Debug, thiserror::Error)]
#[error("container {0} is already running")]
pub struct AlreadyRuns(String);

/// A container that another command works on.
#[derive(Debug, thiserror::Error)]
#[error("container {0} is in use: another command starts it, removes it or copies its files")]
pub struct InUse(String);

impl InUse {
    /// What to say of `container`.
    pub fn of(container: &Container) -> Self {
        Self(container.config.name.clone())
    }
}

/// Starts a container that does not run; the client has not heard yet how it went.
pub fn launch(context: &Context, container: &Container, foreground: bool) -> Result<Client> {
    requirements::start(context, &container.config)?;
    begin(context, container, take_alive(container)?, foreground, false)
}

/// Starts a container that was made just now, with the lock it was made with. What it requires runs.
pub fn launch_new(context: &Context, container: &Container, alive: AliveLock, foreground: bool) -> Result<Client> {
    begin(context, container, alive, foreground, false)
}

/// Starts a container again for its keeper, unless it was stopped meanwhile, and waits for the start.
pub fn launch_again(context: &Context, container: &Container) -> Result<()> {
    requirements::start(context, &container.config)?;
    let mut client = begin(context, container, take_alive(container)?, false, true)?;
    let pid = hear(&mut client)?;
    requirements::write_pid(container, pid);
    Ok(())
}

/// Waits for who starts it, too, or restarts it, as long as that usually takes.
fn take_alive(container: &Container) -> Result<AliveLock> {
    let deadline = Instant::now() + PATIENCE;
    let mut now = container.clone();
    loop {
        if let Some(alive) = container.take_alive().context("lock the container")? {
            return Ok(alive);
        }
        now.refresh()?;
        if now.is_running() {
            return Err(AlreadyRuns(container.config.name.clone()).into());
        }
        if Instant::now() > deadline {
            return Err(InUse::of(container).into());
        }
        std::thread::sleep(PAUSE);
    }
}

fn begin(context: &Context, container: &Container, alive: AliveLock, foreground: bool, again: bool) -> Result<Client> {
    let store = context.store()?;
    if !again && container.state.restarts != Restarts::default() {
        container.clone().update_state(|state| state.restarts = Restarts::default())?;
    }
    shifting::ensure(store, &container.config)?;
    context.prepare_user_namespace()?;
    volumes::prepare(context, container, Moment::Start, &mut Vec::new())?;
    let mut networking = Networking::take(store, &container.config)?;
    etc::write(store, container, &networking.places, networking.name_server)?;
    let mut plan = plan(store, container)?;
    plan.mounted = mounted_root(store, container)?;
    plan.inherited = context.take_inherited();
    plan.credentials = credentials::read(&container.config.credentials)?;
    logging::check_streams(&container.config.log)?;
    let size = container.config.tty.then(terminal::size).flatten();
    let preparation = context.user_namespace()?;
    let (network, anchors) = networking.hand_on();
    plan.network = network;
    let attachment = Attachment { foreground, size, again };
    let launched = launch::launch(store, container, plan, alive, attachment, preparation, anchors)?;
    if let Some(warning) = launched.warning {
        super::warn(&warning);
    }
    Ok(launched.client)
}

/// Waits for the start of a container, and leaves a keeper behind if it is to be restarted; a failure has
/// docker's exit code.
pub fn wait_started(context: &Context, container: &Container, client: &mut Client) -> Result<()> {
    let pid = hear(client)?;
    keeper::ensure(context, container);
    requirements::write_pid(container, pid);
    Ok(())
}

/// Waits until a command was executed, and returns its pid; a failure has docker's exit code.
pub fn hear(client: &mut Client) -> Result<i32> {
    client.wait_started().map_err(|error| {
        let code = error.code;
        with_code(anyhow!(error), code)
    })
}

/// What detaching by keys is to a command, as docker has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// run, start.
    Succeeds,
    /// attach, exec.
    Fails,
}

/// Attaches the invocation's streams until the end; the process's exit code becomes ours.
pub fn attach(client: Client, attach: &Attach, leaving: Leaving) -> Result<ExitCode> {
    match client.pump(attach, &mut super::warn)? {
        Outcome::Exited(code) => Ok(exit_code(code)),
        Outcome::Detached if leaving == Leaving::Fails => bail!("read escape sequence"),
        Outcome::Detached | Outcome::Fed => Ok(ExitCode::SUCCESS),
        // As a shell has it for SIGHUP; what runs only for us is stopped now.
        Outcome::HungUp => Ok(ExitCode::from(129)),
        Outcome::Interrupted(signal) => Ok(exit_code(128 + signal)),
        Outcome::Lost => {
            super::warn("the container's supervisor was killed, and the container with it");
            Ok(ExitCode::from(137))
        }
    }
}

/// A process's exit status as ours.
pub fn exit_code(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(255))
}

fn plan(store: &Store, container: &Container) -> Result<Plan> {
    let config = &container.config;
    let (place, warnings) = place(store, container)?;
    warnings.iter().for_each(|warning| super::warn(warning));
    let mut told = host_namespaces::seen_through(store, config)?;
    let joins = joins(store, &told)?;
    told.env.extend(links::environment(store, config)?);
    let sources = volumes::sources(store, config)?;
    let volumes = volumes::plan(store, config, &sources)?;
    let facts = HostFacts { volumes: sources, ..host_facts(container, &joins)? };
    let notify = NotifyPlan::new(config.notify);
    notify::tell(notify.as_ref(), &mut told.env);
    let mut spec = oci::runtime_spec(&told, &facts)?;
    notify::mount(notify.as_ref(), container, &mut spec)?;
    let given = given::look_up(&config.devices, config.identity.keep_groups)?;
    devices::apply(&given, &mut spec);
    let architecture = config.platform.parse::<Platform>().unwrap_or_else(|_| Platform::host());
    let effective = rules::circumstantial(config);
    let seccomp = seccomp::filter_for(&effective, &config.seccomp, &architecture.architecture, &store.path("seccomp"))?;
    Ok(Plan {
        network: NetworkPlan::Nothing,
        notify,
        secrets: config.secrets.clone(),
        inherited: Inherited::default(),
        credentials: Vec::new(),
        links: given.links,
        id: config.id.clone(),
        directory: container.directory().to_owned(),
        spec,
        root: root_plan(store, config)?,
        mount_needs: mounts::needs(store, config)?,
        mounted: None,
        user: config.user.clone(),
        identity: config.identity.clone(),
        init: config.init,
        cgroup: place,
        seccomp,
        joins,
        volumes,
        open_stdin: config.open_stdin,
        keep_stdin: !config.attach[0],
        auto_remove: config.auto_remove,
        volatile: config.auto_remove || config.build,
        log: logging::plan(container)?,
        passthrough: config.log.driver.passes_through(),
        stop_signal: config.stop_signal,
        stop_timeout: config.stop_timeout,
        lifetime: config.lifetime.timeout,
    })
}

/// The cgroup it is to get, and what of its limits is left out.
fn place(store: &Store, container: &Container) -> Result<(Option<cgroup::Place>, Vec<String>)> {
    let config = &container.config;
    let mut chosen = cgroup::choose(&config.id, &config.limits, config.systemd.is_some())?;
    let warnings = std::mem::take(&mut chosen.warnings);
    let place = chosen.place(store, &config.id, container.directory())?;
    place.iter().try_for_each(cgroup::Place::prepare).context("hand on cgroup controllers")?;
    Ok((place, warnings))
}

/// Where the root is mounted already, by `rbox mount` in this mount namespace: one directory must not
/// be written by two overlays.
pub fn mounted_root(store: &Store, container: &Container) -> Result<Option<PathBuf>> {
    let cure = format!("unmount it first: rbox unmount {}", container.config.name);
    match mounted::place(store, Kind::Container, &container.id().to_string())? {
        None => Ok(None),
        Some(Place::Here(path)) if matches!(container.config.root, RootSource::Image { .. }) => Ok(Some(path)),
        Some(Place::Here(_)) => bail!("the container's root is mounted: {cure}"),
        Some(Place::Elsewhere(pid)) => {
            bail!("the container's root is mounted in 'rbox unshare' (process {}): {cure}", pid.as_raw_nonzero())
        }
    }
}

/// What of a container's mounts is there when it does not run: its user's, but for new file systems,
/// and the files of /etc since it was started.
pub fn lasting_mounts(store: &Store, container: &Container) -> Result<(Vec<Mount>, MountNeeds)> {
    let config = &container.config;
    let spec = oci::runtime_spec(config, &host_facts(container, &[])?)?;
    let is_bind = |mount: &Mount| mount.options().iter().flatten().any(|word| word == "bind" || word == "rbind");
    let lasts = |mount: &Mount| is_bind(mount) || mount.typ().as_deref() == Some("overlay");
    let wanted = |mount: &Mount| {
        let ours = mount.source().as_ref().is_some_and(|source| source.starts_with(container.directory()));
        let asked = || config.mounts.iter().any(|asked| Path::new(&asked.target) == mount.destination());
        lasts(mount) && if ours { mount.source().as_ref().is_some_and(|source| source.exists()) } else { asked() }
    };
    let mounts = spec.mounts().clone().unwrap_or_default().into_iter().filter(wanted).collect();
    Ok((mounts, mounts::needs(store, config)?))
}

/// The root file system that a container is to have.
pub fn root_plan(store: &Store, config: &ContainerConfig) -> Result<RootPlan> {
    match &config.root {
        RootSource::Directory(path) => Ok(RootPlan::Directory(path.clone())),
        RootSource::Image { id, layers } => plan_of_layers(store, config, *id, layers),
    }
}

/// An image's layers, for the container's ids.
fn plan_of_layers(store: &Store, config: &ContainerConfig, image: Digest, layers: &[Digest]) -> Result<RootPlan> {
    let lowers = layer_paths(store, image, layers)?;
    match config.identity.shift() {
        Some(maps) => shifting::plan(store, layers, maps),
        None => Ok(RootPlan::Layers { lowers, data: None }),
    }
}

fn layer_paths(store: &Store, image: Digest, layers: &[Digest]) -> Result<Vec<PathBuf>> {
    if let Some(missing) = layers.iter().find(|layer| !store.layers().contains(**layer)) {
        bail!("layer {missing} of image {} is missing: run 'rbox system check --repair'", image.short());
    }
    Ok(layers.iter().map(|layer| store.layers().diff_path(*layer)).collect())
}

/// The containers whose namespaces this one shares; all must run.
fn joins(store: &Store, config: &ContainerConfig) -> Result<Vec<Join>> {
    let network = match &config.network {
        NetworkMode::Container(id) => NamespaceMode::Container(id.clone()),
        _ => NamespaceMode::Private,
    };
    let user = config.identity.joined.clone().map_or(NamespaceMode::Private, NamespaceMode::Container);
    let wanted = [
        (Namespace::User, &user),
        (Namespace::Pid, &config.pid),
        (Namespace::Ipc, &config.ipc),
        (Namespace::Uts, &config.uts),
        (Namespace::Network, &network),
    ];
    let mut joins = Vec::new();
    for (kind, mode) in wanted {
        if let NamespaceMode::Container(id) = mode {
            let donor = store.containers().get(id)?;
            if kind == Namespace::Ipc && matches!(donor.config.ipc, NamespaceMode::Private | NamespaceMode::None) {
                bail!(
                    "cannot join IPC of container {}: non-shareable IPC (hint: use --ipc shareable for the donor container)",
                    donor.config.name
                );
            }
            let ProcessIdentity { pid, start } = running_init(&donor)?;
            joins.push(Join { kind, pid, start });
        }
    }
    Ok(joins)
}

fn running_init(donor: &Container) -> Result<ProcessIdentity> {
    let init = donor.state.init().filter(|_| donor.is_running());
    init.ok_or_else(|| anyhow!("cannot join container {}: it is not running", donor.config.name))
}

fn host_facts(container: &Container, joins: &[Join]) -> Result<HostFacts> {
    let path_of = |kind: Namespace, name: &str| -> Option<PathBuf> {
        let join = joins.iter().find(|join| join.kind == kind)?;
        Some(PathBuf::from(format!("/proc/{}/ns/{name}", join.pid.as_raw_nonzero())))
    };
    let nofile = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)?;
    Ok(HostFacts {
        container_dir: container.directory().to_owned(),
        root_path: container.path("merged"),
        // The supervisor, which knows the user namespace it is in, fills them in.
        uid_map: Vec::new(),
        gid_map: Vec::new(),
        joined: JoinedNamespaces {
            user: path_of(Namespace::User, "user"),
            pid: path_of(Namespace::Pid, "pid"),
            ipc: path_of(Namespace::Ipc, "ipc"),
            uts: path_of(Namespace::Uts, "uts"),
            net: match &container.config.network {
                NetworkMode::Path(path) => Some(path.clone()),
                _ => path_of(Namespace::Network, "net"),
            },
        },
        volumes: BTreeMap::new(),
        nofile,
        kernel: kernel_version(),
        block_devices: block_devices(&container.config),
        masked: thermal_throttles(),
    })
}

/// One that is gone is left out: its limit is refused elsewhere.
fn block_devices(config: &ContainerConfig) -> BTreeMap<String, (i64, i64)> {
    let numbered = |path: &str| {
        let (major, minor) = cgroup::block_device(path).ok()?;
        Some((path.to_owned(), (major.into(), minor.into())))
    };
    config.limits.devices().filter_map(|device| numbered(&device.path)).collect()
}

fn kernel_version() -> (u32, u32) {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok());
    (numbers.next().unwrap_or(5), numbers.next().unwrap_or(12))
}

/// Counters that differ between processors, each in its own directory.
fn thermal_throttles() -> Vec<String> {
    (0..)
        .map(|cpu| format!("/sys/devices/system/cpu/cpu{cpu}"))
        .take_while(|directory| Path::new(directory).exists())
        .map(|directory| format!("{directory}/thermal_throttle"))
        .filter(|path| Path::new(path).exists())
        .collect()
}
