//! What a container's supervisor has to say for the record of events.

use crate::spec::config::ContainerConfig;
use crate::spec::event::Happening;
use crate::store::Store;

/// Records what happens to one container.
#[derive(Clone, Debug)]
pub struct Recorder {
    store: Store,
    config: ContainerConfig,
}

impl Recorder {
    pub fn new(store: &Store, config: &ContainerConfig) -> Self {
        Self { store: store.clone(), config: config.clone() }
    }

    /// Records docker's `action` with attributes of its own.
    pub fn record(&self, action: &str, attributes: &[(&str, String)]) {
        // It may have been renamed.
        let now = self.store.containers().get(&self.config.id);
        let config = now.as_ref().map_or(&self.config, |now| &now.config);
        let what = Happening::of_container(config, action);
        self.store.happened(attributes.iter().fold(what, |what, (key, value)| what.with(key, value)));
    }

    /// Records that its volumes are mounted.
    pub fn volumes_mounted(&self) {
        for (mount, volume) in self.config.volume_uses() {
            if let Some(name) = &volume.name {
                let what = Happening::of_volume(name, "mount").with("container", self.config.id.as_str());
                let what = what.with("destination", &mount.target).with("propagation", "");
                self.store.happened(what.with("read/write", (!mount.read_only).to_string()));
            }
        }
    }

    /// Records that they are not any more.
    pub fn volumes_unmounted(&self) {
        self.store.containers().tell_unmounted(&self.config);
    }
}
