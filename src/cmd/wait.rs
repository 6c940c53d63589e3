//! `wait`: block until containers stop and print their exit codes.

use std::fs::File;
use std::io::{Read, Seek};
use std::process::ExitCode;

use anyhow::{Result, anyhow};

use super::selection::Choice;
use super::{Context, error, stop};
use crate::store::containers::{Container, LookupError, State, Status};

/// Block until one or more containers stop, then print their exit codes
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Print -1 for a container that does not exist
    #[arg(long)]
    ignore: bool,
    /// Wait for the container created last
    #[arg(short, long)]
    latest: bool,
    /// Containers by name, id or unique prefix
    #[arg(required_unless_present = "latest", value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let mut failed = false;
    let choice = Choice { named: &args.containers, latest: args.latest, ..Choice::default() };
    for name in &choice.names(context, |_| true)? {
        match wait(context, name) {
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

fn wait(context: &Context, name: &str) -> Result<i32> {
    let mut container = context.store()?.containers().find(name)?;
    if !container.is_running() {
        return Ok(container.state.exit_code);
    }
    let mut records = Records::open(&container);
    stop::wait_recorded(&mut container)?;
    if container.is_running() {
        // It removed itself (--rm), and its last words are in the files we hold.
        return records
            .exit_code()
            .ok_or_else(|| anyhow!("container {name} was removed before its exit code was read"));
    }
    Ok(container.state.exit_code)
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
        states.find(|state| state.status == Status::Exited).map(|state| state.exit_code)
    }
}
