//! `rm`: remove containers.

use std::collections::{HashMap, HashSet};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use super::ending::{self, Ending};
use super::error::WithCode;
use super::selection::Chosen;
use super::{Context, each, finish_cleanup};
use crate::sandbox::mounted::{self, Kind};
use crate::spec::config::ContainerId;
use crate::spec::signal::Signal;
use crate::store::Store;
use crate::store::containers::{Containers, LookupError, RemoveError};

/// How long a container that is being started may take to run, so that it can be killed.
const PATIENCE: Duration = Duration::from_secs(30);

/// Remove one or more containers
#[derive(clap::Args, Debug)]
#[command(mut_arg("filter", |arg| arg.short(None)), mut_arg("latest", |arg| arg.short(None)))]
pub struct Args {
    #[command(flatten)]
    chosen: Chosen,
    /// Remove the containers that require it (run --requires), too
    #[arg(long)]
    depend: bool,
    /// Force the removal of a running container (uses SIGKILL)
    #[arg(short, long)]
    force: bool,
    /// Don't complain about containers that do not exist
    #[arg(short, long)]
    ignore: bool,
    /// With --force: seconds from the stop signal to SIGKILL, none by default; -1 waits for ever
    #[arg(short, long, value_name = "SECONDS")]
    time: Option<i64>,
    /// Remove the container's anonymous volumes, too, unless another container has them
    #[arg(short, long)]
    volumes: bool,
}

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    if args.time.is_some() && !args.force {
        return Err(anyhow!("--force option must be specified to use the --time option")).or_exit(125);
    }
    let names = args.chosen.choice().names(context, |_| true)?;
    let names = requiring_first(context, names, args.depend)?;
    if args.force && names.len() > 1 {
        end_all(context, &names, args.time)?;
    }
    each(&names, |name| match context.store()?.containers().resolve(name) {
        Err(LookupError::NotFound(_)) if args.ignore => Ok(()),
        _ => remove_as(context, name, args.force, args.time, args.volumes),
    })
}

/// The containers in an order in which none is required by a later one; with `all` those that nobody named,
/// too.
fn requiring_first(context: &Context, names: Vec<String>, all: bool) -> Result<Vec<String>> {
    if names.len() < 2 && !all {
        return Ok(names);
    }
    let containers = context.store()?.containers();
    let found: Vec<Option<ContainerId>> = names.iter().map(|name| containers.resolve(name).ok()).collect();
    let mut named = HashMap::new();
    for (id, name) in found.iter().zip(&names) {
        if let Some(id) = id {
            named.entry(id.clone()).or_insert_with(|| name.clone());
        }
    }
    let mut removal = Removal { containers, named, all, seen: HashSet::new(), order: Vec::new() };
    for (id, name) in found.iter().zip(&names) {
        match id {
            Some(id) => removal.take(id)?,
            None => removal.order.push(name.clone()),
        }
    }
    Ok(removal.order)
}

struct Removal<'a> {
    containers: Containers<'a>,
    /// As they were typed.
    named: HashMap<ContainerId, String>,
    all: bool,
    seen: HashSet<ContainerId>,
    order: Vec<String>,
}

impl Removal<'_> {
    /// Takes those that require it, and then itself. There is no circle: what is required was there before.
    fn take(&mut self, id: &ContainerId) -> Result<()> {
        if !self.seen.insert(id.clone()) {
            return Ok(());
        }
        for by in self.containers.requiring(id)? {
            if self.all || self.named.contains_key(&by) {
                self.take(&by)?;
            }
        }
        self.order.push(self.named.get(id).cloned().unwrap_or_else(|| id.to_string()));
        Ok(())
    }
}

/// Removes a container. With `force` a running one is killed first, after its stop signal and
/// `time` seconds when that is given, and one that does not exist is no error.
pub fn remove(context: &Context, name: &str, force: bool, time: Option<i64>) -> Result<()> {
    remove_as(context, name, force, time, false)
}

fn remove_as(context: &Context, name: &str, force: bool, time: Option<i64>, volumes: bool) -> Result<()> {
    let containers = context.store()?.containers();
    let id = match containers.resolve(name) {
        Err(LookupError::NotFound(_)) if force => return Ok(()),
        found => found?,
    };
    // Before it is stopped.
    containers.refuse_required(&id)?;
    let take = |id: &ContainerId| if volumes { containers.remove_with_volumes(id) } else { containers.remove(id) };
    let leave = || leave(context.store()?, &id);
    if !force {
        let removed = take(&id)?;
        leave()?;
        return finish_cleanup(context, removed);
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Ok(container) = containers.get(&id)
            && !container.is_at_rest()
        {
            let (signal, patience) = forced(time);
            if let Some(ending) = Ending::begin(context.store()?, container, signal, patience)? {
                ending.wait(context.store()?)?;
            }
        }
        match take(&id) {
            // A --rm container removed itself when it was stopped.
            Err(RemoveError::NotFound(_)) => return Ok(()),
            // It was being started when we looked.
            Err(RemoveError::Running { .. } | RemoveError::Restarting { .. }) if Instant::now() < deadline => {}
            removed => {
                let removed = removed?;
                leave()?;
                return finish_cleanup(context, removed);
            }
        }
    }
}

/// How a container is ended that is removed by force: killed, or asked to stop when there is time.
fn forced(time: Option<i64>) -> (Option<Signal>, Option<Duration>) {
    match time {
        None => (Some(Signal::KILL), None),
        Some(seconds) => (None, u64::try_from(seconds).ok().map(Duration::from_secs)),
    }
}

/// Ends those that can be removed, side by side. What went wrong is told when they are removed.
fn end_all(context: &Context, names: &[String], time: Option<i64>) -> Result<()> {
    let store = context.store()?;
    let (signal, patience) = forced(time);
    let begin = |name: &mut &String| {
        let container = store.containers().find(name)?;
        store.containers().refuse_required(container.id())?;
        Ending::begin(store, container, signal, patience)
    };
    ending::side_by_side(store, names.iter(), begin, |_, _| ())
}

/// What a container that is gone had besides its directory: what is mounted of it, and its addresses, which
/// its supervisor has given back if it was not killed.
pub fn leave(store: &Store, id: &ContainerId) -> Result<()> {
    mounted::discard(store, Kind::Container, &id.to_string()).and(store.networks().leave(id))
}
