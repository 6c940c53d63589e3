//! Which containers can be put on which network, and how the record of one says so.

use std::net::IpAddr;

use anyhow::{Result, bail};

use crate::spec::network::{Attachment, ConnectError, Driver, Network, NetworkMode};

/// Refuses what cannot be connected, in docker's words. `mode` is what the container called `name`
/// has now.
pub fn check(name: &str, mode: &NetworkMode, network: &Network, part: &Attachment) -> Result<()> {
    let is_on_none = match network.driver {
        Driver::Host => {
            bail!("cannot connect container to host network - container must be created in host network mode")
        }
        Driver::Null => *mode != NetworkMode::Networks(Vec::new()),
        Driver::Bridge => *mode == NetworkMode::None,
    };
    match mode {
        NetworkMode::Host | NetworkMode::Container(_) | NetworkMode::Path(_) => return Err(ConnectError::Shared.into()),
        _ if is_on_none => return Err(ConnectError::None.into()),
        _ => mode.clone().connect(name, part.clone())?,
    }
    for address in part.ip.map(IpAddr::V4).into_iter().chain(part.ip6.map(IpAddr::V6)) {
        if let Some(why) = network.refusal(address) {
            bail!("invalid address {address}: {why}");
        }
    }
    Ok(())
}

/// Puts the container called `name` on the network, last.
pub fn add(name: &str, mode: &mut NetworkMode, network: &Network, part: Attachment) -> Result<()> {
    if network.driver == Driver::Null {
        *mode = NetworkMode::None;
        return Ok(());
    }
    Ok(mode.connect(name, part)?)
}

/// Takes the container off the network. One that is taken off its last network has none, and can be
/// connected to others.
pub fn take_off(id: &str, mode: &mut NetworkMode, network: &Network) -> Result<()> {
    match (&mode, network.driver) {
        (NetworkMode::Host, Driver::Host) => {
            bail!("cannot disconnect container from host network - container was created in host network mode")
        }
        (NetworkMode::None, Driver::Null) => {
            *mode = NetworkMode::Networks(Vec::new());
            Ok(())
        }
        (NetworkMode::Networks(_), _) => Ok(mode.disconnect(id, &network.name).map(drop)?),
        _ => Err(ConnectError::NotConnected { container: id.to_owned(), network: network.name.clone() }.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(driver: Driver, name: &str) -> Network {
        let json = serde_json::json!({"id": "ab".repeat(32), "name": name, "created": "", "driver": driver,
        "subnets": if driver == Driver::Bridge {
            serde_json::json!([{"subnet": "10.0.42.0/24", "gateway": "10.0.42.1"}])
        } else {
            serde_json::json!([])
        }});
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn only_containers_with_networks_of_their_own_are_connected() {
        let front = network(Driver::Bridge, "front");
        let connect = |mode: &NetworkMode, network: &Network, part: &Attachment| {
            check("web", mode, network, part).map_err(|error| error.to_string())
        };
        let part = Attachment::to("front");
        assert_eq!(connect(&NetworkMode::default(), &front, &part), Ok(()));
        assert_eq!(connect(&NetworkMode::Networks(Vec::new()), &front, &part), Ok(()));
        for (mode, text) in [
            (NetworkMode::Host, "container sharing network namespace with another container or host"),
            (NetworkMode::Path("/n".into()), "container sharing network namespace"),
            (NetworkMode::None, "one of the networks in private (none) mode"),
            (NetworkMode::Slirp(Attachment::default()), "slirp"),
            (NetworkMode::Networks(vec![part.clone()]), "endpoint with name web already exists in network front"),
        ] {
            let error = connect(&mode, &front, &part).unwrap_err();
            assert!(error.contains(text), "{error}");
        }
        let host = connect(&NetworkMode::default(), &network(Driver::Host, "host"), &Attachment::to("host"));
        assert!(host.unwrap_err().starts_with("cannot connect container to host network"));
        let none = network(Driver::Null, "none");
        let refused = connect(&NetworkMode::default(), &none, &Attachment::to("none"));
        assert!(refused.unwrap_err().contains("in private (none) mode"));
        for address in ["10.0.42.1", "10.9.9.9", "10.0.42.255"] {
            let part = Attachment { ip: Some(address.parse().unwrap()), ..part.clone() };
            let error = connect(&NetworkMode::default(), &front, &part).unwrap_err();
            assert!(error.starts_with(&format!("invalid address {address}: ")), "{error}");
        }
    }

    #[test]
    fn none_can_be_left_and_entered() {
        let (front, none) = (network(Driver::Bridge, "front"), network(Driver::Null, "none"));
        let mut mode = NetworkMode::None;
        assert!(take_off("cafe", &mut mode, &front).is_err());
        take_off("cafe", &mut mode, &none).unwrap();
        add("web", &mut mode, &front, Attachment::to("front")).unwrap();
        assert_eq!(mode, NetworkMode::Networks(vec![Attachment::to("front")]));
        let error = take_off("cafe", &mut mode, &network(Driver::Bridge, "back")).unwrap_err().to_string();
        assert_eq!(error, "container cafe is not connected to network back");
        take_off("cafe", &mut mode, &front).unwrap();
        check("web", &mode, &none, &Attachment::to("none")).unwrap();
        add("web", &mut mode, &none, Attachment::to("none")).unwrap();
        assert_eq!(mode, NetworkMode::None);
        let host = take_off("cafe", &mut NetworkMode::Host, &network(Driver::Host, "host")).unwrap_err();
        assert!(host.to_string().starts_with("cannot disconnect container from host network"));
    }
}
