//! What is done to containers that run: their interfaces and addresses change at once.

use anyhow::{Result, bail};

use crate::spec::network::{Attachment, Network};
use crate::store::Store;
use crate::store::containers::Container;

/// Gives a running container an interface on a further network. Nothing is changed when it fails.
pub fn connect(_store: &Store, container: &Container, _attachment: &Attachment) -> Result<()> {
    bail!("container {} is running: stop it to connect it to a network", container.config.name)
}

/// Takes a running container's interface on a network away.
pub fn disconnect(_store: &Store, container: &Container, _network: &Network) -> Result<()> {
    bail!("container {} is running: stop it to disconnect it from a network", container.config.name)
}

/// Gives a running container's interfaces, addresses and published ports to its networks again.
pub fn reload(_store: &Store, container: &Container) -> Result<()> {
    bail!("container {} cannot be reloaded", container.config.name)
}
