//! Changing what a container was asked to be.

use anyhow::Context as _;

use super::{Containers, read_config};
use crate::spec::config::{ContainerConfig, ContainerId};
use crate::store::fs;

impl Containers<'_> {
    /// Changes what was asked for, running or not; what `change` returns is returned. Nothing is written when
    /// it fails.
    pub fn update<T>(
        &self,
        id: &ContainerId,
        change: impl FnOnce(&mut ContainerConfig) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let context = || format!("change container {id}");
        let _lock = self.lock(id).with_context(context)?;
        let directory = self.directory(id);
        let mut config = read_config(&directory, id).with_context(context)?;
        let before = config.clone();
        let result = change(&mut config)?;
        if config != before {
            fs::write_atomic(&directory.join("config.json"), &serde_json::to_vec(&config)?).with_context(context)?;
        }
        Ok(result)
    }
}
