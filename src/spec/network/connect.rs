//! Changes of a container's attachments after it was made.

use super::{Attachment, NetworkMode};

/// Why a container is not connected or disconnected; docker's words.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConnectError {
    #[error("container cannot be disconnected from host network or connected to host network")]
    Host,
    #[error(
        "container sharing network namespace with another container or host cannot be connected to any other network"
    )]
    Shared,
    #[error("container cannot be connected to multiple networks with one of the networks in private (none) mode")]
    None,
    /// slirp, pasta and slirp4netns.
    #[error("container with network mode {0} cannot be connected to other networks or disconnected from it")]
    Own(String),
    #[error("endpoint with name {container} already exists in network {network}")]
    Connected { container: String, network: String },
    #[error("container {container} is not connected to network {network}")]
    NotConnected { container: String, network: String },
    #[error("interface name {0} is already used by the container")]
    Interface(String),
}

impl NetworkMode {
    /// Attaches a container, named for messages, to one more network.
    pub fn connect(&mut self, container: &str, attachment: Attachment) -> Result<(), ConnectError> {
        let attachments = self.changeable()?;
        let network = &attachment.network;
        if attachments.iter().any(|other| other.network == *network) {
            return Err(ConnectError::Connected { container: container.to_owned(), network: network.clone() });
        }
        if let Some(interface) = &attachment.interface
            && attachments.iter().any(|other| other.interface.as_ref() == Some(interface))
        {
            return Err(ConnectError::Interface(interface.clone()));
        }
        attachments.push(attachment);
        Ok(())
    }

    /// Takes a container off a network.
    pub fn disconnect(&mut self, container: &str, network: &str) -> Result<Attachment, ConnectError> {
        let attachments = self.changeable()?;
        match attachments.iter().position(|other| other.network == network) {
            Some(place) => Ok(attachments.remove(place)),
            None => Err(ConnectError::NotConnected { container: container.to_owned(), network: network.to_owned() }),
        }
    }

    fn changeable(&mut self) -> Result<&mut Vec<Attachment>, ConnectError> {
        match self {
            Self::Networks(attachments) => Ok(attachments),
            Self::Host => Err(ConnectError::Host),
            Self::Container(_) | Self::Path(_) => Err(ConnectError::Shared),
            Self::None => Err(ConnectError::None),
            Self::Slirp(_) | Self::Helper(..) => Err(ConnectError::Own(self.name().into_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attachments_come_and_go() {
        let mut mode = NetworkMode::default();
        mode.connect("web", Attachment::to("a")).unwrap();
        let error = mode.connect("web", Attachment::to("a")).unwrap_err().to_string();
        assert_eq!(error, "endpoint with name web already exists in network a");
        mode.disconnect("web", "bridge").unwrap();
        let error = mode.disconnect("cafe", "bridge").unwrap_err().to_string();
        assert_eq!(error, "container cafe is not connected to network bridge");
        mode.disconnect("web", "a").unwrap();
        assert_eq!((mode.attachments().len(), mode.name().as_ref(), mode.is_private()), (0, "none", true));
        mode.connect("web", Attachment { interface: Some("lan0".into()), ..Attachment::to("b") }).unwrap();
        let same = Attachment { interface: Some("lan0".into()), ..Attachment::to("c") };
        assert_eq!(mode.connect("web", same), Err(ConnectError::Interface("lan0".into())));
        for mut fixed in [NetworkMode::None, NetworkMode::Host, NetworkMode::Path("/x".into())] {
            assert!(fixed.connect("web", Attachment::to("a")).is_err());
            assert!(fixed.disconnect("web", "none").is_err());
        }
    }
}
