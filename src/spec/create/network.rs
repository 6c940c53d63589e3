//! Options that contradict the network a container has; docker's rules and words.

use super::{CreateError, CreateRequest};
use crate::spec::config::{DnsConfig, NetworkMode};

/// Refuses what cannot be had together.
pub(super) fn check(request: &CreateRequest) -> Result<(), CreateError> {
    if request.no_hosts && !request.extra_hosts.is_empty() {
        return Err(CreateError::Conflict("--no-hosts and --add-host"));
    }
    let has = [
        (request.hostname.is_some(), "hostname and the network mode"),
        (
            !request.links.is_empty(),
            "container type network can't be used with links. This would result in undefined behavior",
        ),
        (request.dns != DnsConfig::default(), "dns and the network mode"),
        (!request.extra_hosts.is_empty(), "custom host-to-IP mapping and the network mode"),
        (!request.ports.is_empty() || request.publish_all, "port publishing and the container type network mode"),
        (!request.exposed_ports.is_empty(), "port exposing and the container type network mode"),
    ];
    let conflict = match &request.network {
        NetworkMode::Container(_) => has.iter().find(|(has, _)| *has).map(|(_, text)| *text),
        NetworkMode::Host if !request.links.is_empty() => {
            Some("host type networking can't be used with links. This would result in undefined behavior")
        }
        NetworkMode::Path(_) if !request.ports.is_empty() || request.publish_all => {
            Some("port publishing and a network namespace that is not the container's own")
        }
        _ => None,
    };
    conflict.map_or(Ok(()), |text| Err(CreateError::Conflict(text)))
}
