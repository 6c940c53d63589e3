//! `wait`: block until containers stop, or are in another state, and print their exit codes.

mod condition;

use std::fs::File;
use std::io::{Read, Seek};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, anyhow};

use self::condition::Condition;
use super::selection::Choice;
use super::{Context, error, stop};
use crate::spec::time::parse_duration;
use crate::store::containers::{Container, LookupError, State, Status};

/// Between looks at what no event tells of.
const INTERVAL: Duration = Duration::from_millis(50);

/// Block until one or more containers stop, then print their exit codes
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Wait for this state instead (created, running, paused, stopped, removing, healthy, unhealthy); for any
    /// of several
    #[arg(long, value_name = "STATE", value_delimiter = ',')]
    condition: Vec<Condition>,
    /// Return when the first of the containers fits
    #[arg(long)]
    exit_first_match: bool,
    /// Print -1 for a container that does not exist
    #[arg(long)]
    ignore: bool,
    /// Time between looks at the states, in milliseconds unless a unit is given
    #[arg(short, long, value_name = "DURATION", value_parser = parse_interval)]
    interval: Option<Duration>,
    /// Wait for the container created last
    #[arg(short, long)]
    latest: bool,
    /// Containers by name, id or unique prefix
    #[arg(required_unless_present = "latest", value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// `250ms`, or milliseconds without a unit.
fn parse_interval(text: &str) -> Result<Duration, String> {
    let bare = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let text = if bare { format!("{text}ms") } else { text.to_owned() };
    let interval = parse_duration(&text).map_err(|error| error.to_string())?;
    Duration::try_from(interval).map_err(|_| "it cannot be negative".to_owned())
}

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let choice = Choice { named: &args.containers, latest: args.latest, ..Choice::default() };
    let names = choice.names(context, |_| true)?;
    let watch = Watch { context, conditions: &args.condition, interval: args.interval.unwrap_or(INTERVAL) };
    if args.exit_first_match {
        return watch.first(&names, args.ignore);
    }
    let mut failed = false;
    for name in &names {
        match watch.one(name) {
            Err(error) if args.ignore && is_missing(&error) => super::print_line("-1")?,
            Ok(code) => super::print_line(&code.to_string())?,
            Err(error) => {
                error::print(&error);
                failed = true;
            }
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn is_missing(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(LookupError::NotFound(_)))
}

/// What is waited for, and how.
struct Watch<'a> {
    context: &'a Context,
    conditions: &'a [Condition],
    interval: Duration,
}

impl Watch<'_> {
    /// Waits for one container; its exit code, or podman's -1 when it was not an end that was waited for.
    fn one(&self, name: &str) -> Result<i32> {
        let mut container = self.context.store()?.containers().find(name)?;
        if self.conditions.iter().all(|condition| *condition == Condition::Stopped) {
            // Without a condition one that never ran has ended, as docker has it.
            while !self.conditions.is_empty() && container.status() == Status::Created {
                std::thread::sleep(self.interval);
                container = self.context.store()?.containers().get(container.id())?;
            }
            return self.end(container);
        }
        loop {
            if let Some(code) = self.met(&container)? {
                return Ok(code);
            }
            std::thread::sleep(self.interval);
        }
    }

    /// Waits for any of them.
    fn first(&self, names: &[String], ignore: bool) -> Result<ExitCode> {
        let mut containers = Vec::new();
        for name in names {
            match self.context.store()?.containers().find(name) {
                Err(LookupError::NotFound(_)) if ignore => {}
                found => containers.push(found?),
            }
        }
        while !containers.is_empty() {
            for container in &containers {
                if let Some(code) = self.met(container)? {
                    super::print_line(&code.to_string())?;
                    return Ok(ExitCode::SUCCESS);
                }
            }
            std::thread::sleep(self.interval);
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The exit code if one of the conditions is met now; None while none is.
    fn met(&self, container: &Container) -> Result<Option<i32>> {
        let now = match self.context.store()?.containers().get(container.id()) {
            Err(LookupError::NotFound(_)) => None,
            found => Some(found?),
        };
        let wanted = if self.conditions.is_empty() { &[Condition::Stopped] } else { self.conditions };
        let met = wanted.iter().find(|condition| condition.is_met(now.as_ref()));
        let code = |container: &Container| container.state.exit_code;
        match (met, now) {
            (Some(Condition::Stopped), Some(now)) => Ok(Some(code(&now))),
            (Some(_), _) => Ok(Some(-1)),
            (None, None) => Err(anyhow!("container {} was removed", container.config.name)),
            (None, Some(_)) => Ok(None),
        }
    }

    /// Waits for the next end, of this life or of the one that is about to begin.
    fn end(&self, mut container: Container) -> Result<i32> {
        while container.is_restarting() {
            std::thread::sleep(self.interval.min(INTERVAL));
            container = self.context.store()?.containers().get(container.id())?;
        }
        if !container.is_running() {
            return Ok(container.state.exit_code);
        }
        let mut records = Records::open(&container);
        stop::wait_recorded(&mut container)?;
        if container.is_running() {
            // It removed itself (--rm), and its last words are in the files we hold.
            let name = &container.config.name;
            return records
                .exit_code()
                .ok_or_else(|| anyhow!("container {name} was removed before its exit code was read"));
        }
        Ok(container.state.exit_code)
    }
}

/// The two files that take turns as a container's state, held open across its removal.
struct Records(Vec<File>);

impl Records {
    fn open(container: &Container) -> Self {
        let open = |name: &str| File::open(container.path(name)).ok();
        Self(["state.json", "state.spare"].into_iter().filter_map(open).collect())
    }

    fn exit_code(&mut self) -> Option<i32> {
        let mut states = self.0.iter_mut().filter_map(|file| {
            let mut text = String::new();
            file.rewind().and_then(|()| file.read_to_string(&mut text)).ok()?;
            serde_json::from_str::<State>(&text).ok()
        });
        let ended = |state: &State| matches!(state.status, Status::Exited | Status::Restarting);
        states.find(ended).map(|state| state.exit_code)
    }
}
