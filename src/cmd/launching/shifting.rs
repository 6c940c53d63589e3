//! Layers for a container whose ids differ from the images': made before its first start, once for
//! each layer and map.

use std::io::IsTerminal;

use anyhow::{Context as _, Result, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::cmd::interruptions::Interruptions;
use crate::cmd::progress::is_watched;
use crate::sandbox::plan::RootPlan;
use crate::sandbox::shifting::{self, Shifting};
use crate::sandbox::userns;
use crate::spec::config::ContainerConfig;
use crate::spec::digest::Digest;
use crate::spec::identity::{Maps, spare};
use crate::store::Store;
use crate::store::lock::FileLock;
use crate::store::shifted::{Job, Shifted, Way};
use crate::store::staging::{self, Staging};

/// Makes the layers that a container with another map needs and that are not here. The caller holds no
/// way into the user namespace.
pub fn ensure(store: &Store, config: &ContainerConfig) -> Result<()> {
    let Some(maps) = config.identity.shift() else { return Ok(()) };
    // Those of mounted images too.
    let missing = || config.layer_stacks().filter(|layers| !is_ready(store, layers, maps));
    if missing().next().is_none() {
        return Ok(());
    }
    let outer = userns::maps(store)?;
    if outer.is_single() {
        return Ok(());
    }
    let shifted = store.shifted(maps);
    let _lock = wait_for_lock(&shifted)?;
    // Another start may have made them meanwhile.
    for layers in config.layer_stacks() {
        if !is_ready(store, layers, maps) {
            make(store, &shifted, layers, maps, &outer).context("prepare the image's layers for the id map")?;
        }
    }
    Ok(())
}

/// Whether the layers for this map are here.
pub fn is_ready(store: &Store, layers: &[Digest], maps: &Maps) -> bool {
    let shifted = store.shifted(maps);
    layers.last().is_none_or(|top| shifted.way(*top).is_some())
}

/// The root file system of a container with this map.
pub fn plan(store: &Store, layers: &[Digest], maps: &Maps) -> Result<RootPlan> {
    let shifted = store.shifted(maps);
    let Some(top) = layers.last() else { return Ok(RootPlan::Layers { lowers: Vec::new(), data: None }) };
    if let Some(way) = shifted.way(*top) {
        let data = (way == Way::Stubs).then(|| store.shifted_data());
        return Ok(RootPlan::Layers { lowers: vec![shifted.tree(*top)], data });
    }
    if !userns::maps(store)?.is_single() {
        bail!("the layers that were prepared for the id map are gone: try again");
    }
    // The files of every image are the caller's: there is nothing to shift.
    Ok(RootPlan::Layers { lowers: layers.iter().map(|layer| store.layers().diff_path(*layer)).collect(), data: None })
}

/// Waits while another start prepares layers for the same map.
fn wait_for_lock(shifted: &Shifted<'_>) -> Result<FileLock> {
    let context = "lock the layers of an id map";
    if let Some(lock) = shifted.try_lock().context(context)? {
        return Ok(lock);
    }
    let spinner = watched_bar("Waiting for layers that another command prepares {spinner}", 0);
    spinner.tick();
    let lock = shifted.lock().context(context);
    spinner.finish_and_clear();
    lock
}

fn make(store: &Store, shifted: &Shifted<'_>, layers: &[Digest], maps: &Maps, outer: &Maps) -> Result<()> {
    let Some(top) = layers.last() else { return Ok(()) };
    let scratch = Staging::create(store)?;
    let way = shifting::way(store, scratch.path())?;
    drop(scratch);
    let staged = Staging::create(store)?;
    let job = Job {
        layers: layers.iter().map(|layer| (*layer, store.layers().diff_path(*layer))).collect(),
        to: staged.path().join("diff"),
        maps: maps.clone(),
        nobody: (spare(&maps.uids, &outer.uids), spare(&maps.gids, &outer.gids)),
        way,
    };
    let entries = layers.iter().map(|layer| store.layers().get(*layer).map_or(0, |record| record.entries)).sum();
    let interruptions = Interruptions::watch()?;
    let (shifting, warning) = Shifting::start(store, job)?;
    warning.iter().for_each(|warning| crate::cmd::warn(warning));
    if let Err(error) = follow(shifting, &interruptions, entries) {
        drop(staged);
        // Files of mapped ids are left, which only the user namespace can delete.
        let _ = userns::run_inside(store, || Ok(staging::sweep(store).map(drop)?));
        return Err(error);
    }
    shifted.commit(*top, staged, way)
}

/// Shows how far it is until it is done, or somebody interrupts.
fn follow(mut shifting: Shifting, interruptions: &Interruptions, entries: u64) -> Result<()> {
    let bar = watched_bar("Preparing layers for the id map [{bar:40}] {pos}/{len} files", entries);
    let outcome = loop {
        let mut ready = [
            PollFd::from_borrowed_fd(shifting.descriptor(), PollFlags::IN),
            PollFd::from_borrowed_fd(interruptions.descriptor(), PollFlags::IN),
        ];
        match poll(&mut ready, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => break Err(error.into()),
        }
        if let Err(error) = interruptions.check() {
            break Err(error);
        }
        if !ready[0].revents().is_empty() {
            match shifting.take()? {
                Some(done) => bar.inc(done),
                None => break shifting.finish(),
            }
        }
    };
    bar.finish_and_clear();
    outcome
}

fn watched_bar(template: &str, length: u64) -> ProgressBar {
    let target = match is_watched() && std::io::stderr().is_terminal() {
        true => ProgressDrawTarget::stderr(),
        false => ProgressDrawTarget::hidden(),
    };
    let bar = ProgressBar::with_draw_target(Some(length), target);
    // A template of ours that cannot be read would show the default.
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}
