//! Which containers a command is about: those named, or podman's other ways to choose.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};

use super::Context;
use super::format::filter::Filter;
use super::ps::filter::Selection;
use crate::spec::config::ContainerId;
use crate::store::containers::Container;

/// A file of `--cidfile` holds no more than an id and white space.
const CIDFILE_LIMIT: u64 = 4 << 10;

/// The ways to choose of the commands that end containers. Each changes what it has otherwise.
#[derive(clap::Args, Debug)]
pub struct Chosen {
    /// All containers that the command can work on
    #[arg(short, long)]
    pub all: bool,
    /// Read the ID of a container from this file
    #[arg(long, value_name = "FILE")]
    pub cidfile: Vec<PathBuf>,
    /// All that match, as in ps
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub filter: Vec<Filter>,
    /// The container created last
    #[arg(short, long)]
    pub latest: bool,
    /// Containers by name, id or unique prefix
    #[arg(required_unless_present_any = ["all", "cidfile", "filter", "latest"], value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

impl Chosen {
    /// The same for the look-up.
    pub fn choice(&self) -> Choice<'_> {
        Choice {
            named: &self.containers,
            cidfiles: &self.cidfile,
            filters: &self.filter,
            all: self.all,
            latest: self.latest,
        }
    }
}

/// The ways to choose that a command has; those it lacks are empty.
#[derive(Clone, Copy, Default)]
pub struct Choice<'a> {
    /// Names, ids and unique prefixes, as typed.
    pub named: &'a [String],
    /// Files that `--cidfile` of `run` wrote.
    pub cidfiles: &'a [PathBuf],
    /// `--filter`: those that match all.
    pub filters: &'a [Filter],
    /// All that the command can work on.
    pub all: bool,
    /// The one created last.
    pub latest: bool,
}

impl Choice<'_> {
    /// What to call the chosen containers: as typed, or by id. `fits` says what the command can work
    /// on when all were asked for.
    pub fn names(&self, context: &Context, fits: impl Fn(&Container) -> bool) -> Result<Vec<String>> {
        let others = [self.all, self.latest, !self.filters.is_empty()];
        let named = !self.named.is_empty() || !self.cidfiles.is_empty();
        if others.iter().filter(|used| **used).count() + usize::from(named) > 1 {
            bail!("conflicting options: containers can be chosen by name, --all, --latest or --filter, one at a time");
        }
        let mut names = self.named.to_vec();
        for file in self.cidfiles {
            names.push(read_cidfile(file)?);
        }
        if named {
            return Ok(names);
        }
        if !others.contains(&true) {
            // As after --all=false.
            bail!("requires at least 1 argument");
        }
        let (containers, _) = context.store()?.containers().list()?;
        if self.latest {
            let latest = containers.first().ok_or_else(|| anyhow!("there are no containers"))?;
            return Ok(vec![latest.id().to_string()]);
        }
        let selection = Selection::new(self.filters.to_vec(), context.store()?, &containers)?;
        let chosen = containers.iter().filter(|one| selection.matches(one) && (!self.all || fits(one)));
        Ok(chosen.map(|container| container.id().to_string()).collect())
    }
}

/// The container of one name, or with `latest` the one created last.
pub fn one(context: &Context, name: Option<&str>, latest: bool) -> Result<Container> {
    let containers = context.store()?.containers();
    match (name, latest) {
        (Some(_), true) => bail!("conflicting options: --latest and a container's name"),
        (Some(name), false) => Ok(containers.find(name)?),
        (None, _) => containers.list()?.0.into_iter().next().ok_or_else(|| anyhow!("there are no containers")),
    }
}

fn read_cidfile(path: &Path) -> Result<String> {
    let mut text = String::new();
    let open = std::fs::File::open(path).and_then(|file| file.take(CIDFILE_LIMIT).read_to_string(&mut text));
    open.with_context(|| format!("read the container ID file {}", path.display()))?;
    match text.trim().parse::<ContainerId>() {
        Ok(id) => Ok(id.to_string()),
        Err(_) => bail!("the container ID file {} holds no container ID", path.display()),
    }
}
