//! `mount` and `unmount`: the root file system of a container.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use super::{Form, Row, check_possible, form};
use crate::cmd::selection::Choice;
use crate::cmd::{Context, each, launching};
use crate::sandbox::mounted::{self, Kind, Mounted, Place};
use crate::spec::event::Happening;
use crate::store::Store;
use crate::store::containers::Container;

/// Mount the root file systems of containers
#[derive(clap::Args, Debug)]
pub struct MountArgs {
    /// Mount all containers
    #[arg(short, long)]
    all: bool,
    /// Print as json
    #[arg(long, value_parser = form, default_value = "", hide_default_value = true)]
    format: Form,
    /// The container created last
    #[arg(short, long)]
    latest: bool,
    /// Print whole ids
    #[arg(long, alias = "notruncate")]
    no_trunc: bool,
    /// Containers by name, id or unique prefix; without any, what is mounted is listed
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Unmount the root file systems of containers
#[derive(clap::Args, Debug)]
pub struct UnmountArgs {
    /// Unmount all that are mounted
    #[arg(short, long)]
    all: bool,
    /// Unmount also what somebody is in
    #[arg(short, long)]
    force: bool,
    /// The container created last
    #[arg(short, long)]
    latest: bool,
    /// Containers by name, id or unique prefix
    #[arg(required_unless_present_any = ["all", "latest"], value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Mounts, or lists what is mounted.
pub fn mount(args: MountArgs, context: &Context) -> Result<ExitCode> {
    check_possible("mount")?;
    let store = context.store()?;
    if args.containers.is_empty() && !args.all && !args.latest {
        let (containers, _) = store.containers().list()?;
        let mounted = mounted::list(store, Kind::Container)?;
        let find = |mounted: Mounted| {
            let container = containers.iter().find(|container| container.id().to_string() == mounted.id)?;
            Some(row(container, &mounted.path, args.no_trunc))
        };
        super::print(&mounted.into_iter().filter_map(find).collect::<Vec<_>>(), args.format, false)?;
        return Ok(ExitCode::SUCCESS);
    }
    let choice = Choice { named: &args.containers, all: args.all, latest: args.latest, ..Choice::default() };
    let names = choice.names(context, |_| true)?;
    // All must be there before one is mounted.
    let containers = names.iter().map(|name| Ok(store.containers().find(name)?)).collect::<Result<Vec<_>>>()?;
    let mut rows = Vec::new();
    for container in &containers {
        let path = mount_one(store, container).with_context(|| format!("mount {}", container.config.name))?;
        store.happened(Happening::of_container(&container.config, "mount"));
        rows.push(row(container, &path, args.no_trunc));
    }
    super::print(&rows, args.format, true)?;
    Ok(ExitCode::SUCCESS)
}

fn row(container: &Container, path: &Path, whole: bool) -> Row {
    let id = container.id().to_string();
    Row {
        label: if whole { id.clone() } else { id.chars().take(12).collect() },
        id,
        names: vec![container.config.name.clone()],
        repositories: None,
        path: path.to_string_lossy().into_owned(),
    }
}

fn mount_one(store: &Store, container: &Container) -> Result<std::path::PathBuf> {
    let id = container.id().to_string();
    match mounted::place(store, Kind::Container, &id)? {
        None => {}
        Some(Place::Here(path)) => return Ok(path),
        Some(Place::Elsewhere(pid)) => {
            bail!("it is mounted in another 'rbox unshare' (process {})", pid.as_raw_nonzero())
        }
    }
    // Held until it is mounted: who starts it then sees the mount.
    match container.take_alive().context("lock the container")? {
        Some(_alive) => {
            launching::shifting::ensure(store, &container.config)?;
            let root = launching::root_plan(store, &container.config)?;
            mounted::container(store, &id, &root, container.directory())
        }
        None => match container.state.init() {
            Some(init) => mounted::running_container(store, &id, &init),
            None => bail!("the container is being started or removed"),
        },
    }
}

/// Unmounts.
pub fn unmount(args: UnmountArgs, context: &Context) -> Result<ExitCode> {
    check_possible("unmount")?;
    let store = context.store()?;
    let mounted = mounted::list(store, Kind::Container)?;
    if args.all && args.containers.is_empty() && !args.latest {
        let ids: Vec<String> = mounted.iter().map(|one| one.id.clone()).collect();
        return each(&ids, |id| unmount_one(&mounted, id, args.force));
    }
    let choice = Choice { named: &args.containers, all: args.all, latest: args.latest, ..Choice::default() };
    each(&choice.names(context, |_| true)?, |name| {
        let container = store.containers().find(name)?;
        unmount_one(&mounted, &container.id().to_string(), args.force)?;
        store.happened(Happening::of_container(&container.config, "unmount"));
        Ok(())
    })
}

/// One that is not mounted is no error, as with podman.
fn unmount_one(mounted: &[Mounted], id: &str, force: bool) -> Result<()> {
    mounted.iter().filter(|one| one.id == id).try_for_each(|one| mounted::unmount(one, force))
}
