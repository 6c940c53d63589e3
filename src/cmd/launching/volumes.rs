//! The volumes of a container: made when it is, filled from its image when they are new, and what its start needs
//! to know of them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::cmd::Context;
use crate::cmd::progress::Copying;
use crate::cmd::volume;
use crate::sandbox::fill::{self, Content, Fill, Image};
use crate::sandbox::plan::{Donor, VolumePlan, Volumes};
use crate::spec::config::{ContainerConfig, RootSource};
use crate::spec::mount::{Flag, VolumeUse};
use crate::spec::oci::VolumeSource;
use crate::spec::volume::{Backing, NewVolume};
use crate::store::Store;
use crate::store::containers::Container;
use crate::store::fs::Durability;
use crate::store::volumes::{Created, Filled};

/// When volumes are made ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The container was just made: an empty volume is filled.
    Creation,
    /// It is about to start: what creation did not come to is done now.
    Start,
}

/// Makes the volumes that a container names, which are added to `made`, and fills those that are new.
pub fn prepare(context: &Context, container: &Container, moment: Moment, made: &mut Vec<String>) -> Result<()> {
    if container.config.volume_uses().next().is_none() {
        return Ok(());
    }
    ensure(context.store()?, container, made)?;
    fill(context, container, moment)
}

fn ensure(store: &Store, container: &Container, made: &mut Vec<String>) -> Result<()> {
    for (_, volume) in container.config.volume_uses() {
        let Some(name) = &volume.name else { continue };
        if store.volumes().exists(name) && volume.driver_options.is_empty() {
            continue;
        }
        let new = NewVolume {
            name: name.clone(),
            labels: volume.labels.clone(),
            options: volume.driver_options.clone(),
            anonymous: volume.anonymous,
        };
        if let Created::New(volume) = volume::create::create(store, new, durability(&container.config, volume))? {
            made.push(volume.name);
        }
    }
    Ok(())
}

/// An anonymous volume of a `--rm` container is no loss after a power failure.
fn durability(config: &ContainerConfig, volume: &VolumeUse) -> Durability {
    if volume.anonymous && config.auto_remove { Durability::Volatile } else { Durability::Durable }
}

/// Copies what the image has where volumes are mounted that are empty.
fn fill(context: &Context, container: &Container, moment: Moment) -> Result<()> {
    let store = context.store()?;
    let config = &container.config;
    let mut image = None;
    let mut jobs: Vec<Fill> = Vec::new();
    for (mount, volume) in config.volume_uses() {
        let Some(name) = &volume.name else { continue };
        if volume.nocopy || volume.subpath.is_some() || mount.flag == Flag::VolumesFrom {
            continue;
        }
        let filled = store.volumes().filled(name);
        if filled == Some(Filled::Content) || moment == Moment::Start && filled.is_some() {
            continue;
        }
        if !matches!(store.volumes().get(name)?.backing()?, Backing::Directory { nocopy: false, .. }) {
            continue;
        }
        let target = PathBuf::from(&mount.target);
        let image = match &mut image {
            Some(image) => image,
            none => none.insert(image_of(store, config)?),
        };
        if jobs.iter().any(|job| job.volume == *name) || !image.may_have(&target) {
            continue;
        }
        jobs.push(Fill { volume: name.clone(), directory: target, durability: durability(config, volume) });
    }
    let Some(image) = image.filter(|_| !jobs.is_empty()) else { return Ok(()) };
    let preparation = context.user_namespace()?;
    let mut shown = Copying::new("Filling volumes");
    let preparation = fill::run(store, preparation, &image, &jobs, &mut |bytes| shown.advance(bytes))?;
    // Who has layers to shift first goes into the user namespace by a way of its own.
    if config.identity.shift().is_none() {
        context.keep_user_namespace(preparation);
    }
    Ok(())
}

/// What a container's volumes begin with.
fn image_of<'a>(store: &Store, config: &'a ContainerConfig) -> Result<Image<'a>> {
    let content = match &config.root {
        RootSource::Directory(path) => Content::Directory(path.clone()),
        RootSource::Image { id, layers } => Content::Layers(super::layer_paths(store, *id, layers)?),
    };
    Ok(Image { content, maps: config.identity.shift() })
}

/// What the Spec says about a container's volumes, by name.
pub fn sources(store: &Store, config: &ContainerConfig) -> Result<BTreeMap<String, VolumeSource>> {
    let mut sources = BTreeMap::new();
    for (_, volume) in config.volume_uses() {
        let Some(name) = &volume.name else { continue };
        let source = match store.volumes().get(name)?.backing()? {
            Backing::Directory { .. } => {
                VolumeSource::Directory { path: store.volumes().data_path(name), options: Vec::new() }
            }
            Backing::Bind { device, options } => VolumeSource::Directory { path: device, options },
            Backing::Tmpfs { options } => VolumeSource::Tmpfs(options),
        };
        sources.insert(name.clone(), source);
    }
    Ok(sources)
}

/// What the Spec cannot say about them. They are held from here on as long as the plan lives.
pub fn plan(store: &Store, config: &ContainerConfig, sources: &BTreeMap<String, VolumeSource>) -> Result<Volumes> {
    let mut plan = Volumes::default();
    // In the order of names, as everybody takes these locks.
    for (name, source) in sources {
        let context = || format!("use volume {name}");
        if matches!(source, VolumeSource::Tmpfs(_)) {
            plan.starting.push(store.volumes().lock(name).with_context(context)?);
        }
        plan.held.push(store.volumes().hold_mounted(name).with_context(context)?);
    }
    for (mount, volume) in config.volume_uses() {
        let Some(name) = &volume.name else { continue };
        if !matches!(sources.get(name), Some(VolumeSource::Tmpfs(_))) {
            continue;
        }
        plan.mounts.push(VolumePlan {
            name: name.clone(),
            target: PathBuf::from(&mount.target),
            subpath: volume.subpath.clone(),
            donor: donor(store, name)?,
        });
    }
    Ok(plan)
}

/// A running container that has the volume, whose files are only in memory.
fn donor(store: &Store, volume: &str) -> Result<Option<Donor>> {
    let (containers, _) = store.containers().list()?;
    for container in containers.iter().filter(|container| container.is_running()) {
        let mut uses = container.config.volume_uses();
        let target = uses.find(|(_, used)| used.name.as_deref() == Some(volume)).map(|(mount, _)| &mount.target);
        if let (Some(target), Some(init)) = (target, container.state.init()) {
            return Ok(Some(Donor { pid: init.pid, start: init.start, target: PathBuf::from(target) }));
        }
    }
    Ok(None)
}
