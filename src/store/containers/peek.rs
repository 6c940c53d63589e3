//! A quick look at containers for who types their names: no lock is waited for, nothing is changed,
//! and what cannot be read is left out.

use serde::Deserialize;

use super::{Containers, State, names, read_state};
use crate::spec::config::ContainerId;
use crate::store::record;

/// The part of `config.json` that tells containers apart.
#[derive(Deserialize)]
struct Shown {
    image: String,
}

impl Containers<'_> {
    /// Names with the containers that have them, in the order of the names. Reads no record.
    pub fn peek_names(&self) -> Vec<(String, ContainerId)> {
        let names = names::list(self.store).unwrap_or_default();
        let holder = |name: String| Some((names::holder(self.store, &name).ok()??, name));
        names.into_iter().filter_map(holder).map(|(id, name)| (name, id)).collect()
    }

    /// A container's state, unless it cannot be read.
    pub fn peek_state(&self, id: &ContainerId) -> Option<State> {
        read_state(&self.directory(id)).ok()
    }

    /// The image a container was asked to be made from, unless that cannot be read.
    pub fn peek_image(&self, id: &ContainerId) -> Option<String> {
        let shown: Shown = record::read(&self.directory(id).join("config.json")).ok()?;
        Some(shown.image)
    }
}

#[cfg(test)]
mod tests {
    use crate::store::containers::Status;
    use crate::store::testing::{TestStore, config};

    #[test]
    fn damage_costs_only_what_is_damaged() {
        let store = TestStore::new();
        for (name, prefix) in [("web", "aa"), ("db", "bb"), ("cache", "cc")] {
            store.containers().create(config(name, prefix)).unwrap();
        }
        let containers = store.containers();
        let names = || containers.peek_names().into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(), ["cache", "db", "web"]);
        let (_, db) = containers.peek_names().remove(1);
        assert_eq!(containers.peek_state(&db).unwrap().status, Status::Created);
        assert_eq!(containers.peek_image(&db).as_deref(), Some("rootfs:/"));

        std::fs::write(containers.directory(&db).join("state.json"), "{").unwrap();
        std::fs::remove_file(containers.directory(&db).join("config.json")).unwrap();
        assert!(containers.peek_state(&db).is_none() && containers.peek_image(&db).is_none());
        std::fs::remove_dir_all(containers.directory(&db)).unwrap();
        std::fs::write(store.path("names/odd"), "no link").unwrap();
        std::os::unix::fs::symlink("no id", store.path("names/other")).unwrap();
        assert_eq!(names(), ["cache", "web"]);
        std::fs::remove_dir_all(store.path("names")).unwrap();
        assert!(names().is_empty());
    }
}
