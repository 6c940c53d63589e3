//! The devices of a container in its runtime Spec: bind mounts of the host's nodes, and what CDI adds.

use std::path::PathBuf;

use oci_spec::runtime::{Mount, Spec};

use crate::sandbox::devices::given::Given;
use crate::spec::env::{self, EnvChange};

const LIBRARIES: &str = "LD_LIBRARY_PATH";

/// Puts them in, after all other mounts.
pub fn apply(given: &Given, spec: &mut Spec) {
    let mut all = spec.mounts().clone().unwrap_or_default();
    for (host, container) in &given.nodes {
        all.push(mount(host.clone(), container, "bind", ["bind", "nosuid", "noexec"].map(str::to_owned).to_vec()));
    }
    for edit in &given.mounts {
        let mut options = edit.options.clone();
        let kind = edit.kind.clone().filter(|kind| !kind.is_empty()).unwrap_or_else(|| "bind".to_owned());
        if kind == "bind" && !options.iter().any(|option| option == "bind" || option == "rbind") {
            options.insert(0, "rbind".to_owned());
        }
        all.push(mount(edit.host_path.clone(), &edit.container_path, &kind, options));
    }
    spec.set_mounts(Some(all));
    let Some(process) = spec.process_mut() else { return };
    let mut environment = process.env().clone().unwrap_or_default();
    let changes = given.env.iter().filter_map(|entry| entry.split_once('='));
    let change = |(name, value): (&str, &str)| EnvChange { name: name.to_owned(), value: Some(value.to_owned()) };
    env::apply(&mut environment, changes.map(change));
    if !given.libraries.is_empty() {
        let before = environment.iter().find_map(|entry| entry.strip_prefix(LIBRARIES)?.strip_prefix('='));
        let paths: Vec<&str> = before.into_iter().chain(given.libraries.iter().map(String::as_str)).collect();
        let value = Some(paths.join(":"));
        env::apply(&mut environment, [EnvChange { name: LIBRARIES.to_owned(), value }]);
    }
    process.set_env(Some(environment));
    if !given.gids.is_empty() {
        process.user_mut().set_additional_gids(Some(given.gids.clone()));
    }
}

fn mount(source: PathBuf, target: &str, kind: &str, options: Vec<String>) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination(PathBuf::from(target))
        .set_typ(Some(kind.to_owned()))
        .set_source(Some(source))
        .set_options(Some(options));
    mount
}
