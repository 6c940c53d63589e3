//! `exec`: run a further command in a running container.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow, bail};

use super::create_options::VariableOptions;
use super::error::WithCode;
use super::inherited_options::InheritedOptions;
use super::launching::{self, Leaving};
use super::selection::Choice;
use super::{Context, suggest};
use crate::sandbox::client::Attach;
use crate::sandbox::exec::{self, ExecPlan, ExecRequest, Journal};
use crate::sandbox::terminal;
use crate::spec::config::ContainerConfig;
use crate::spec::detach_keys::DetachKeys;
use crate::spec::event::Happening;
use crate::store::containers::Container;
use crate::store::{Store, fs};

/// Run a command in a running container
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Read the ID of the container from this file; no container is named then
    #[arg(long, value_name = "FILE")]
    cidfile: Option<PathBuf>,
    /// Run the command in the background
    #[arg(short, long)]
    detach: bool,
    /// Keys that detach from the command: characters or ctrl-X, separated by commas; empty for none
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<DetachKeys>,
    #[command(flatten)]
    variables: VariableOptions,
    #[command(flatten)]
    inherited: InheritedOptions,
    /// Pass STDIN on to the command
    #[arg(short, long)]
    interactive: bool,
    /// The container created last; no container is named then
    #[arg(short, long)]
    latest: bool,
    /// Give all capabilities and no seccomp filter, within the container's user namespace
    #[arg(long)]
    privileged: bool,
    /// Allocate a pseudo-TTY
    #[arg(short, long)]
    tty: bool,
    /// User and group to run as
    #[arg(short, long, value_name = "NAME|UID[:GROUP|GID]")]
    user: Option<String>,
    /// Working directory inside the container
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Container by name, id or unique prefix
    container: String,
    /// Command to run and its arguments
    #[arg(required_unless_present_any = ["cidfile", "latest"], trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Runs the command.
pub fn run(mut args: Args, context: &Context) -> Result<ExitCode> {
    context.keep_inherited(args.inherited.claim()?);
    launching::check_tty(args.interactive && !args.detach, args.tty)?;
    let store = context.store()?;
    let container = args.take_container(context)?;
    if container.is_restarting() {
        bail!("Container {} is restarting, wait until the container is running", container.id());
    }
    let mut plan = ExecPlan::new(store, &container, request(&args)?)?;
    plan.inherited = context.take_inherited();
    let mut client = exec::exec(plan, &journal(store, &container.config, &args.command)?)?;
    launching::hear(&mut client).map_err(|error| suggest::misplaced_flag(error, &args.command, "container"))?;
    if args.detach {
        return Ok(ExitCode::SUCCESS);
    }
    let attach = Attach {
        stdin: args.interactive,
        stdout: true,
        stderr: true,
        terminal: args.tty,
        // Signals stay with this invocation, as with docker: ctrl-c ends it, and the process with it.
        signal_proxy: false,
        detach_keys: launching::detach_keys(context, args.detach_keys)?,
    };
    launching::attach(client, &attach, Leaving::Fails)
}

impl Args {
    /// The container that is meant; what looks like its name is the command's first word if it was chosen
    /// in another way.
    fn take_container(&mut self, context: &Context) -> Result<Container> {
        let named = !self.latest && self.cidfile.is_none();
        if named {
            return Ok(context.store()?.containers().find(&self.container)?);
        }
        self.command.insert(0, std::mem::take(&mut self.container));
        let choice = Choice { cidfiles: self.cidfile.as_slice(), latest: self.latest, ..Choice::default() };
        let names = choice.names(context, |_| true)?;
        let name = names.first().ok_or_else(|| anyhow!("there are no containers"))?;
        Ok(context.store()?.containers().find(name)?)
    }
}

fn request(args: &Args) -> Result<ExecRequest> {
    Ok(ExecRequest {
        command: args.command.clone(),
        user: args.user.clone(),
        workdir: args.workdir.clone(),
        variables: args.variables.changes().or_exit(125)?,
        tty: args.tty,
        privileged: args.privileged,
        open_stdin: args.interactive,
        detached: args.detach,
        gathers: false,
        size: args.tty.then(terminal::size).flatten(),
    })
}

fn journal(store: &Store, config: &ContainerConfig, command: &[String]) -> Result<Journal> {
    // As many digits as a container's id has.
    let bytes: [u8; 32] = fs::random_bytes().context("get random bytes")?;
    let id: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let what = Happening::of_container(config, "exec").with("execID", id);
    Ok(Journal { store: store.clone(), what, command: command.join(" ") })
}
