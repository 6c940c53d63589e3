//! What a container's mounts need beyond its Spec.

use std::path::PathBuf;

use anyhow::{Result, anyhow};

use super::plan_of_layers;
use crate::sandbox::needs::{Below, MountNeeds, Needs, Overlay};
use crate::sandbox::plan::RootPlan;
use crate::spec::config::ContainerConfig;
use crate::spec::mount::{ImageUse, Mount, MountKind, Sharing};
use crate::spec::oci;
use crate::store::Store;

/// The needs of the mounts that have any.
pub fn needs(store: &Store, config: &ContainerConfig) -> Result<MountNeeds> {
    let mut all = MountNeeds::new();
    for mount in oci::asked_mounts(config) {
        let needs = of_mount(store, config, &mount)?;
        if needs != Needs::default() {
            all.insert(PathBuf::from(&mount.target), needs);
        }
    }
    Ok(all)
}

fn of_mount(store: &Store, config: &ContainerConfig, mount: &Mount) -> Result<Needs> {
    Ok(match &mount.kind {
        MountKind::Bind(bind) => of_sharing(&bind.sharing),
        MountKind::Volume(volume) => {
            Needs { subpath: volume.subpath.as_ref().map(PathBuf::from), ..of_sharing(&volume.sharing) }
        }
        MountKind::Tmpfs(tmpfs) => Needs { chown: tmpfs.chown, copy_up: tmpfs.copy_up, ..Needs::default() },
        MountKind::Image(image) => of_image(store, config, image)?,
        MountKind::Devpts(_) => Needs::default(),
    })
}

fn of_sharing(sharing: &Sharing) -> Needs {
    let overlay = sharing
        .overlay
        .as_ref()
        .map(|overlay| Overlay { below: Below::Source, dirs: overlay.upper.clone().zip(overlay.work.clone()) });
    Needs { overlay, chown: sharing.chown, idmap: sharing.idmap.clone(), ..Needs::default() }
}

fn of_image(store: &Store, config: &ContainerConfig, image: &ImageUse) -> Result<Needs> {
    let missing = || anyhow!("the image {} to be mounted was not found at create", image.reference);
    let found = image.found.as_ref().ok_or_else(missing)?;
    let below = match plan_of_layers(store, config, found.id, &found.layers)? {
        RootPlan::Layers { lowers, data } => Below::Layers { lowers, data },
        RootPlan::Directory(_) => Below::Source,
    };
    Ok(Needs {
        subpath: image.subpath.as_ref().map(PathBuf::from),
        overlay: Some(Overlay { below, dirs: None }),
        ..Needs::default()
    })
}
