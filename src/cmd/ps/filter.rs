//! `ps --filter`, by docker's rules.

use std::ops::RangeInclusive;

use anyhow::Result;
use jiff::{Timestamp, Zoned};
use regex::Regex;

use super::ports::exposed_port;
use crate::cmd::format::filter::{Filter, FilterError, Filters};
use crate::cmd::inspect::endpoints;
use crate::spec::config::{ContainerConfig, RootSource};
use crate::spec::digest::Digest;
use crate::spec::mount::MountKind;
use crate::spec::port::Protocol;
use crate::spec::restart::RestartPolicy;
use crate::spec::time::parse_moment;
use crate::store::Store;
use crate::store::containers::Container;

const KEYS: &[&str] = &[
    "ancestor",
    "before",
    "command",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "label!",
    "name",
    "network",
    "publish",
    "restart-policy",
    "should-start-on-boot",
    "since",
    "status",
    "until",
    "volume",
];
const STATES: &[&str] = &["created", "running", "paused", "restarting", "removing", "exited", "dead"];
const ISOLATION: &[&str] = &["", "default", "hyperv", "process"];
const RESTART: &[&str] = &["no", "never", "always", "on-failure", "unless-stopped"];
const HEALTH: &[&str] = &["starting", "healthy", "unhealthy", "none"];

/// Which containers were asked for.
pub struct Selection {
    filters: Filters,
    names: Vec<Regex>,
    /// Image ids and top layers of `ancestor` values.
    ancestors: Vec<(Digest, Option<Digest>)>,
    exit_codes: Vec<i32>,
    before: Vec<Timestamp>,
    since: Vec<Timestamp>,
    /// Names of networks.
    networks: Vec<String>,
}

impl Selection {
    /// Checks the filters. `containers` are all there are.
    pub fn new(filters: Vec<Filter>, store: &Store, containers: &[Container]) -> Result<Self> {
        let filters = Filters::new(filters, KEYS)?;
        for (key, what, allowed) in [
            ("status", "state", STATES),
            ("health", "health", HEALTH),
            ("isolation", "isolation", ISOLATION),
            ("restart-policy", "restart policy", RESTART),
        ] {
            for filter in filters.of(key) {
                check_word(filter, what, allowed)?;
            }
        }
        for filter in filters.of("is-task").chain(filters.of("should-start-on-boot")) {
            filter.boolean()?;
        }
        for filter in filters.of("expose").chain(filters.of("publish")) {
            ports(filter)?;
        }
        // What is no network of the store may be a mode, such as none, or was a network once.
        let network = |filter: &Filter| {
            store.networks().find(&filter.value).map_or_else(|_| filter.value.clone(), |network| network.name)
        };
        let exit_code = |filter: &Filter| filter.value.parse().map_err(|_| filter.invalid("not a number"));
        let ancestor = |filter: &Filter| {
            let id = store.images().resolve(&filter.value).ok()?.config;
            Some((id, store.images().layers(id).ok().and_then(|layers| layers.last().copied())))
        };
        let created = |filter: &Filter| Ok::<_, anyhow::Error>(created(&find(store, containers, &filter.value)?));
        Ok(Self {
            // docker takes a name that is no regular expression for one that matches nothing.
            names: filters.of("name").filter_map(|filter| Regex::new(&filter.value).ok()).collect(),
            ancestors: filters.of("ancestor").filter_map(ancestor).collect(),
            exit_codes: filters.of("exited").map(exit_code).collect::<Result<_, FilterError>>()?,
            before: filters.of("before").map(created).chain(filters.of("until").map(until)).collect::<Result<_>>()?,
            since: filters.of("since").map(created).collect::<Result<_>>()?,
            networks: filters.of("network").map(network).collect(),
            filters,
        })
    }

    /// Whether the filters ask for more than running containers.
    pub fn includes_stopped(&self) -> bool {
        self.filters.has("status")
    }

    /// Whether a container passes all filters.
    pub fn matches(&self, container: &Container) -> bool {
        let config = &container.config;
        let status = container.state.word();
        let with_slash = format!("/{}", config.name);
        self.filters.any("id", |prefix| config.id.as_str().starts_with(prefix))
            && (!self.filters.has("name")
                || self.names.iter().any(|name| name.is_match(&config.name) || name.is_match(&with_slash)))
            && self.filters.any("status", |wanted| wanted == status)
            && self.filters.any("health", |wanted| wanted == health(container))
            && self.filters.any("isolation", |wanted| matches!(wanted, "" | "default"))
            && self.filters.any("restart-policy", |wanted| has_policy(config.restart, wanted))
            && self.filters.of("should-start-on-boot").all(|filter| filter.boolean() == Ok(starts_at_boot(container)))
            && self.filters.any("command", |wanted| config.argv().first().is_some_and(|program| program == wanted))
            && self.filters.of("is-task").all(|filter| filter.boolean() == Ok(false))
            && self.filters.labels(&config.labels)
            && (!self.filters.has("network")
                || endpoints::names(&config.network).iter().any(|name| self.networks.contains(name)))
            && self.filters.any("volume", |place| has_mount(config, place))
            && (!self.filters.has("expose") || self.filters.of("expose").any(|filter| exposes(config, filter)))
            && (!self.filters.has("publish") || self.filters.of("publish").any(|filter| publishes(config, filter)))
            && (!self.filters.has("exited")
                || (status == "exited" && self.exit_codes.contains(&container.state.exit_code)))
            && (!self.filters.has("ancestor") || self.ancestors.iter().any(|ancestor| descends(config, ancestor)))
            && self.before.iter().all(|moment| created(config) < *moment)
            && self.since.iter().all(|moment| created(config) > *moment)
    }
}

/// podman has `never` for no.
fn has_policy(policy: RestartPolicy, wanted: &str) -> bool {
    policy.name() == if wanted == "never" { "no" } else { wanted }
}

/// podman's word: for which the boot is reason enough.
fn starts_at_boot(container: &Container) -> bool {
    match container.config.restart {
        RestartPolicy::Always => true,
        RestartPolicy::UnlessStopped => !container.state.stopped_by_user,
        RestartPolicy::No | RestartPolicy::OnFailure { .. } => false,
    }
}

fn check_word(filter: &Filter, what: &str, allowed: &[&str]) -> Result<(), FilterError> {
    if allowed.contains(&filter.value.as_str()) {
        return Ok(());
    }
    Err(filter.invalid(format!("invalid value for {what} ({}): must be one of {}", filter.value, allowed.join(", "))))
}

fn until(filter: &Filter) -> Result<Timestamp> {
    Ok(parse_moment(&filter.value, &Zoned::now()).map_err(|error| filter.invalid(error.to_string()))?)
}

fn find(store: &Store, containers: &[Container], text: &str) -> Result<ContainerConfig> {
    let id = store.containers().resolve(text)?;
    let found = containers.iter().find(|container| container.config.id == id);
    Ok(found.ok_or_else(|| anyhow::anyhow!("No such container: {text}"))?.config.clone())
}

fn created(config: &ContainerConfig) -> Timestamp {
    config.created.parse().unwrap_or(Timestamp::UNIX_EPOCH)
}

/// docker's word.
fn health(container: &Container) -> &'static str {
    let status = container.health_status().or_else(|| container.health().map(|health| health.status));
    status.map_or("none", |status| status.as_str())
}

fn has_mount(config: &ContainerConfig, place: &str) -> bool {
    config.mounts.iter().any(|mount| {
        let source = match &mount.kind {
            MountKind::Bind(bind) => bind.source.to_str(),
            MountKind::Volume(volume) => volume.name.as_deref(),
            MountKind::Image(image) => Some(image.reference.as_str()),
            MountKind::Tmpfs(_) | MountKind::Devpts(_) => None,
        };
        mount.target == place || source == Some(place)
    })
}

/// A container descends from an image that it was made of or whose layers it lies upon.
fn descends(config: &ContainerConfig, (image, top): &(Digest, Option<Digest>)) -> bool {
    match &config.root {
        RootSource::Image { id, layers } => id == image || top.is_some_and(|top| layers.contains(&top)),
        RootSource::Directory(_) => false,
    }
}

/// `PORT[-PORT][/PROTOCOL]`
fn ports(filter: &Filter) -> Result<(RangeInclusive<u16>, Protocol), FilterError> {
    let (range, protocol) = filter.value.split_once('/').unwrap_or((&filter.value, "tcp"));
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let protocol = protocol.to_lowercase().parse().map_err(|_| filter.invalid(format!("invalid proto: {protocol}")))?;
    match (first.parse(), last.parse()) {
        (Ok(first), Ok(last)) if first <= last => Ok((first..=last, protocol)),
        _ => Err(filter.invalid(format!("invalid port range: {range}"))),
    }
}

fn exposes(config: &ContainerConfig, filter: &Filter) -> bool {
    let Ok((range, protocol)) = ports(filter) else { return false };
    let mut exposed = config.exposed_ports.iter().filter_map(|text| exposed_port(text));
    exposed.any(|(port, exposed)| exposed == protocol && range.contains(&port))
}

/// docker compares with the container's ports that were to be published, running or not.
fn publishes(config: &ContainerConfig, filter: &Filter) -> bool {
    let Ok((range, protocol)) = ports(filter) else { return false };
    config.ports.iter().any(|port| port.protocol == protocol && range.contains(&port.container_port))
}
