//! Mounts as `docker inspect` shows them: as they are, and as they were asked for with `--mount`.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::container::object;
use crate::spec::mount::{Flag, Mount, MountKind, Propagation, Recursion, Sharing, Tmpfs, VolumeUse};
use crate::store::containers::Container;

/// The rows of `Mounts`; docker leaves `--tmpfs` out of it.
pub fn points(container: &Container) -> Value {
    let store = container.directory().parent().and_then(Path::parent).unwrap_or(Path::new("/"));
    let shown = container.config.mounts.iter().filter(|mount| mount.flag != Flag::Tmpfs);
    shown.map(|mount| point(mount, store)).collect()
}

fn point(mount: &Mount, store: &Path) -> Value {
    let mut all = Map::new();
    let (mut mode, mut propagation) = (mount.typed_options(), "");
    match &mount.kind {
        MountKind::Bind(bind) => {
            all.extend(object([("Type", json!("bind")), ("Source", json!(bind.source.to_string_lossy()))]));
            propagation = bind.sharing.propagation.as_str();
        }
        MountKind::Volume(volume) => {
            let name = volume.name.as_deref().unwrap_or_default();
            let data = store.join("volumes").join(name).join("_data");
            all.extend(object([
                ("Type", json!("volume")),
                ("Name", json!(name)),
                ("Source", json!(data.to_string_lossy())),
                ("Driver", json!(volume.driver.as_deref().unwrap_or("local"))),
            ]));
            // docker's default, which stands for no more than a volume being shared.
            mode = if mode.is_empty() { "z" } else { mode };
        }
        MountKind::Image(image) => {
            all.extend(object([("Type", json!("image")), ("Source", json!(image.reference))]));
        }
        MountKind::Tmpfs(_) => all.extend(object([("Type", json!("tmpfs")), ("Source", json!(""))])),
        MountKind::Devpts(_) => all.extend(object([("Type", json!("devpts")), ("Source", json!(""))])),
    }
    // docker's order of keys: what is mounted, where, and how.
    let driver = all.remove("Driver");
    all.insert("Destination".to_owned(), json!(mount.target));
    all.extend(driver.map(|driver| ("Driver".to_owned(), driver)));
    all.extend(object([("Mode", json!(mode)), ("RW", json!(!mount.read_only)), ("Propagation", json!(propagation))]));
    Value::Object(all)
}

/// An entry of `HostConfig.Mounts`: what `--mount` asked for.
pub fn asked(mount: &Mount) -> Value {
    let mut all = Map::new();
    let (kind, source) = match &mount.kind {
        MountKind::Bind(bind) => ("bind", Some(bind.source.to_string_lossy().into_owned())),
        MountKind::Volume(volume) => ("volume", volume.name.clone().filter(|_| !volume.anonymous)),
        MountKind::Image(image) => ("image", Some(image.reference.clone())),
        MountKind::Tmpfs(_) => ("tmpfs", None),
        MountKind::Devpts(_) => ("devpts", None),
    };
    all.insert("Type".to_owned(), json!(kind));
    all.extend(source.map(|source| ("Source".to_owned(), json!(source))));
    all.insert("Target".to_owned(), json!(mount.target));
    if mount.read_only {
        all.insert("ReadOnly".to_owned(), json!(true));
    }
    let (name, options) = match &mount.kind {
        MountKind::Bind(bind) => ("BindOptions", bind_options(&bind.sharing, bind.create_source)),
        MountKind::Volume(volume) => ("VolumeOptions", volume_options(volume)),
        MountKind::Image(image) => {
            ("ImageOptions", image.subpath.iter().map(|path| ("Subpath".to_owned(), json!(path))).collect())
        }
        MountKind::Tmpfs(tmpfs) => ("TmpfsOptions", tmpfs_options(tmpfs)),
        MountKind::Devpts(_) => ("DevptsOptions", Map::new()),
    };
    if !options.is_empty() {
        all.insert(name.to_owned(), Value::Object(options));
    }
    Value::Object(all)
}

fn bind_options(sharing: &Sharing, create_source: bool) -> Map<String, Value> {
    let mut all = Map::new();
    if sharing.propagation != Propagation::default() || sharing.recursion == Recursion::Readonly {
        all.insert("Propagation".to_owned(), json!(sharing.propagation.as_str()));
    }
    for (on, key) in [
        (sharing.recursion == Recursion::Disabled, "NonRecursive"),
        (create_source, "CreateMountpoint"),
        (sharing.recursion == Recursion::Writable, "ReadOnlyNonRecursive"),
        (sharing.recursion == Recursion::Readonly, "ReadOnlyForceRecursive"),
    ] {
        all.extend(on.then(|| (key.to_owned(), json!(true))));
    }
    all
}

fn volume_options(volume: &VolumeUse) -> Map<String, Value> {
    let mut all = Map::new();
    all.extend(volume.nocopy.then(|| ("NoCopy".to_owned(), json!(true))));
    if !volume.labels.is_empty() {
        all.insert("Labels".to_owned(), json!(volume.labels));
    }
    all.extend(volume.subpath.iter().map(|path| ("Subpath".to_owned(), json!(path))));
    if volume.driver.is_some() || !volume.driver_options.is_empty() {
        let mut driver = Map::new();
        driver.extend(volume.driver.iter().map(|name| ("Name".to_owned(), json!(name))));
        if !volume.driver_options.is_empty() {
            driver.insert("Options".to_owned(), json!(volume.driver_options));
        }
        all.insert("DriverConfig".to_owned(), Value::Object(driver));
    }
    all
}

/// Bytes, and the mode as a number.
fn tmpfs_options(tmpfs: &Tmpfs) -> Map<String, Value> {
    let value = |name: &str| tmpfs.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value);
    let size = value("size").and_then(|size| size.parse::<u64>().ok());
    let mode = value("mode").and_then(|mode| u32::from_str_radix(mode, 8).ok());
    let mut all = Map::new();
    all.extend(size.map(|size| ("SizeBytes".to_owned(), json!(size))));
    all.extend(mode.map(|mode| ("Mode".to_owned(), json!(mode))));
    all
}
