//! One line of `ps`.

use std::borrow::Cow;
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use jiff::Timestamp;

use super::ports;
use crate::cmd::format::human::{self, decimal_size, elapsed_since, ellipsis, short_id};
use crate::cmd::format::list::{Extra, Row};
use crate::cmd::format::quote::quote;
use crate::cmd::inspect::endpoints;
use crate::spec::config::{ContainerConfig, RootSource};
use crate::spec::digest::Digest;
use crate::spec::health::Status as Health;
use crate::spec::mount::MountKind;
use crate::spec::reference::ImageRef;
use crate::store::Store;
use crate::store::containers::{Container, State, Status};

/// Most display cells of a command and of a mount.
const COMMAND_CELLS: usize = 20;
const MOUNT_CELLS: usize = 15;

/// Builds a row; `sizes` are the container's own bytes and all bytes.
pub fn row(container: &Container, image: &str, sizes: Option<(u64, u64)>, no_trunc: bool, now: Timestamp) -> Row {
    let config = &container.config;
    let created: Option<Timestamp> = config.created.parse().ok();
    let id = if no_trunc { config.id.as_str() } else { config.id.short() };
    let labels: Vec<String> = config.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let health = container.health_status();
    Row::new([
        ("ID", id.to_owned()),
        ("Image", image.to_owned()),
        ("Command", command(config, no_trunc)),
        ("CreatedAt", created.map(human::local_time).unwrap_or_default()),
        ("RunningFor", created.map(|created| format!("{} ago", elapsed_since(created, now))).unwrap_or_default()),
        ("Ports", ports::column(container)),
        ("State", container.state.word().to_owned()),
        ("Status", status(&container.state, health, now)),
        ("Size", size(sizes.unwrap_or_default())),
        ("Names", config.name.clone()),
        ("Labels", labels.join(",")),
        ("Mounts", mounts(config, no_trunc)),
        ("LocalVolumes", local_volumes(config).to_string()),
        ("Networks", endpoints::names(&config.network).join(",")),
        ("Platform", config.platform.clone()),
    ])
    .hidden([("HealthStatus", health.map(|health| health.to_string()).unwrap_or_default())])
    .labels(config.labels.clone())
}

/// podman's further fields, for templates that name them.
pub const EXTRA: &Extra<Container> = &[
    ("AutoRemove", |container| container.config.auto_remove.to_string()),
    ("CIDFile", |container| container.config.cidfile.as_deref().map(path_text).unwrap_or_default()),
    ("Created", |container| container.config.created.clone()),
    ("CreatedHuman", |container| {
        let created = container.config.created.parse::<Timestamp>();
        created.map(|created| format!("{} ago", elapsed_since(created, Timestamp::now()))).unwrap_or_default()
    }),
    ("ExitCode", |container| container.state.exit_code.to_string()),
    ("Exited", |container| (container.status() == Status::Exited).to_string()),
    ("ExitedAt", |container| unix_time(container.state.finished_at)),
    ("ExposedPorts", |container| container.config.exposed_ports.join(", ")),
    ("ImageID", |container| container.image_id().map(|id| id.hex()).unwrap_or_default()),
    ("IsInfra", |_| "false".to_owned()),
    ("Pid", |container| container.state.pid.to_string()),
    ("Pod", |_| String::new()),
    ("PodName", |_| String::new()),
    ("Restarts", |container| container.state.restarts.count.to_string()),
    ("StartedAt", |container| unix_time(container.state.started_at)),
    ("CGROUPNS", |container| namespace(container, "cgroup")),
    ("IPC", |container| namespace(container, "ipc")),
    ("MNT", |container| namespace(container, "mnt")),
    ("NET", |container| namespace(container, "net")),
    ("PIDNS", |container| namespace(container, "pid")),
    ("USERNS", |container| namespace(container, "user")),
    ("UTS", |container| namespace(container, "uts")),
];

/// The number of a namespace of its first process; empty when it does not run.
fn namespace(container: &Container, kind: &str) -> String {
    let init = container.state.init().filter(|_| container.is_running());
    let link = init.and_then(|init| std::fs::read_link(format!("/proc/{}/ns/{kind}", init.pid.as_raw_nonzero())).ok());
    let number = |link: std::path::PathBuf| {
        let text = link.to_str()?.split_once('[')?.1.strip_suffix(']')?.to_owned();
        Some(text)
    };
    link.and_then(number).unwrap_or_default()
}

fn path_text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn unix_time(moment: Option<Timestamp>) -> String {
    moment.map_or_else(String::new, |moment| moment.as_second().to_string())
}

/// docker's STATUS: `Up 5 minutes`, `Exited (0) 8 days ago`.
pub fn status(state: &State, health: Option<Health>, now: Timestamp) -> String {
    let health = match health {
        None => String::new(),
        Some(Health::Starting) => " (health: starting)".to_owned(),
        Some(health) => format!(" ({health})"),
    };
    match (state.status, state.started_at, state.finished_at) {
        (Status::Created, _, _) => "Created".to_owned(),
        (Status::Running, Some(started), _) if state.paused.is_some() => {
            format!("Up {} (Paused)", elapsed_since(started, now))
        }
        (Status::Running, Some(started), _) => format!("Up {}{health}", elapsed_since(started, now)),
        (Status::Running, None, _) => format!("Up Less than a second{health}"),
        (Status::Restarting, _, finished) => {
            let ago = elapsed_since(finished.unwrap_or(now), now);
            format!("Restarting ({}) {ago} ago", state.exit_code)
        }
        (Status::Exited, _, Some(finished)) => {
            format!("Exited ({}) {} ago", state.exit_code, elapsed_since(finished, now))
        }
        // Its supervisor died: nobody saw when.
        (Status::Exited, _, None) => format!("Exited ({})", state.exit_code),
    }
}

/// The command line, with docker's quotes around arguments that hold blanks.
fn command(config: &ContainerConfig, no_trunc: bool) -> String {
    let quoted =
        |(number, word): (usize, String)| if number > 0 && word.contains(' ') { format!("'{word}'") } else { word };
    let words: Vec<String> = config.argv().into_iter().enumerate().map(quoted).collect();
    let line = words.join(" ");
    quote(&if no_trunc { line } else { ellipsis(&line, COMMAND_CELLS) })
}

fn mounts(config: &ContainerConfig, no_trunc: bool) -> String {
    let sources = config.mounts.iter().filter_map(|mount| match &mount.kind {
        MountKind::Bind(bind) => Some(bind.source.to_string_lossy()),
        MountKind::Volume(volume) => volume.name.as_deref().map(Cow::Borrowed),
        MountKind::Image(image) => Some(Cow::Borrowed(image.reference.as_str())),
        MountKind::Tmpfs(_) | MountKind::Devpts(_) => None,
    });
    let shown = sources.map(|source| if no_trunc { source.into_owned() } else { ellipsis(&source, MOUNT_CELLS) });
    shown.collect::<Vec<_>>().join(",")
}

/// How many volumes a container has mounted.
fn local_volumes(config: &ContainerConfig) -> usize {
    let names: BTreeSet<_> = config.volume_uses().filter_map(|(_, volume)| volume.name.as_deref()).collect();
    names.len()
}

fn size((written, all): (u64, u64)) -> String {
    match all {
        0 => decimal_size(written, 3),
        _ => format!("{} (virtual {})", decimal_size(written, 3), decimal_size(all, 3)),
    }
}

/// What images are called now; asks the store once a name.
pub struct ImageNames<'a> {
    store: &'a Store,
    known: HashMap<String, Meaning>,
}

/// What a typed name says.
struct Meaning {
    /// The image that has this name.
    image: Option<Digest>,
    /// The name as docker shows it.
    familiar: String,
}

impl<'a> ImageNames<'a> {
    pub fn new(store: &'a Store) -> Self {
        Self { store, known: HashMap::new() }
    }

    /// The image as typed when the container was created, unless that names another image by now,
    /// or none: then its id.
    pub fn shown(&mut self, container: &Container, no_trunc: bool) -> String {
        let config = &container.config;
        let RootSource::Image { id, .. } = &config.root else { return config.image.clone() };
        let meaning = self.meaning(&config.image);
        if meaning.image != Some(*id) {
            return if no_trunc { id.to_string() } else { id.short() };
        }
        if no_trunc {
            return config.image.clone();
        }
        if id.hex().starts_with(short_id(&config.image)) {
            return id.short();
        }
        meaning.familiar.clone()
    }

    fn meaning(&mut self, typed: &str) -> &Meaning {
        match self.known.entry(typed.to_owned()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let image = self.store.images().resolve_plainly(typed).ok().map(|record| record.config);
                unknown.insert(Meaning { image, familiar: familiar_as_typed(typed) })
            }
        }
    }
}

/// docker's familiar form without a digest; a tag only when one was typed.
fn familiar_as_typed(typed: &str) -> String {
    let Ok(name) = typed.parse::<ImageRef>() else { return typed.to_owned() };
    let repository = name.familiar_repository();
    let named = typed.split_once('@').map_or(typed, |(named, _)| named);
    match name.tag().filter(|tag| named.strip_suffix(tag).is_some_and(|front| front.ends_with(':'))) {
        Some(tag) => format!("{repository}:{tag}"),
        None => repository,
    }
}
