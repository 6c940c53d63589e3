//! `exec`: run a further command in a running container.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow, bail};
use oci_spec::runtime::Spec;

use super::create_options::VariableOptions;
use super::error::WithCode;
use super::launching::{self, Leaving};
use super::{Context, suggest};
use crate::sandbox::client::Attach;
use crate::sandbox::exec::{self, ExecPlan, Journal};
use crate::sandbox::{seccomp, terminal};
use crate::spec::config::ContainerConfig;
use crate::spec::detach_keys::DetachKeys;
use crate::spec::env;
use crate::spec::event::Happening;
use crate::spec::oci;
use crate::spec::platform::Platform;
use crate::spec::seccomp as rules;
use crate::spec::security::SeccompChoice;
use crate::store::containers::Container;
use crate::store::{Store, fs};

/// Run a command in a running container
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Run the command in the background
    #[arg(short, long)]
    detach: bool,
    /// Keys that detach from the command: characters or ctrl-X, separated by commas; empty for none
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<DetachKeys>,
    #[command(flatten)]
    variables: VariableOptions,
    /// Pass STDIN on to the command
    #[arg(short, long)]
    interactive: bool,
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
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    launching::check_tty(args.interactive && !args.detach, args.tty)?;
    let container = context.store()?.containers().find(&args.container)?;
    let plan = plan(context, &container, &args)?;
    let mut client = exec::exec(plan)?;
    launching::wait_started(&mut client).map_err(|error| suggest::misplaced_flag(error, &args.command, "container"))?;
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

fn plan(context: &Context, container: &Container, args: &Args) -> Result<ExecPlan> {
    let not_running = || anyhow!("container {} is not running", container.id());
    if !container.is_running() {
        return Err(not_running());
    }
    let (init, supervisor) = container.state.init().zip(container.state.supervisor()).ok_or_else(not_running)?;
    let bytes = std::fs::read(container.path("spec.json")).context("read the container's runtime Spec")?;
    let spec: Spec = serde_json::from_slice(&bytes).context("read the container's runtime Spec")?;
    let mut process = spec.process().clone().ok_or_else(|| anyhow!("the container's Spec has no process"))?;

    let mut environment_list = process.env().clone().unwrap_or_default();
    // HOME is that of the user looked up for this command.
    environment_list.retain(|entry| !entry.starts_with("HOME=") && (args.tty || !entry.starts_with("TERM=")));
    if args.tty && !environment_list.iter().any(|entry| entry.starts_with("TERM=")) {
        environment_list.push("TERM=xterm".to_owned());
    }
    // The Spec knows no secrets.
    env::apply(&mut environment_list, container.secret_variables()?);
    env::apply(&mut environment_list, args.variables.changes().or_exit(125)?);
    process.set_env(Some(environment_list));
    process.set_args(Some(args.command.clone()));
    process.set_terminal(Some(args.tty));
    if let Some(workdir) = &args.workdir {
        if !workdir.starts_with('/') {
            bail!("the working directory '{workdir}' is invalid, it needs to be an absolute path");
        }
        process.set_cwd(PathBuf::from(workdir));
    }
    let mut config = container.config.clone();
    config.privileged |= args.privileged;
    process.set_capabilities(Some(oci::capabilities(&config, 0)?));
    let choice = if args.privileged { SeccompChoice::Unconfined } else { config.seccomp.clone() };
    let architecture = config.platform.parse::<Platform>().unwrap_or_else(|_| Platform::host()).architecture;
    let effective = rules::circumstantial(&config);
    let store = context.store()?;
    Ok(ExecPlan {
        spec,
        process,
        identity: config.identity.clone(),
        user: args.user.clone().unwrap_or_else(|| config.user.clone()),
        seccomp: seccomp::filter_for(&effective, &choice, &architecture, &store.path("seccomp"))?,
        init,
        supervisor,
        own_cgroup: config.systemd.is_some(),
        open_stdin: args.interactive,
        detached: args.detach,
        size: args.tty.then(terminal::size).flatten(),
        journal: journal(store, &container.config, &args.command)?,
    })
}

fn journal(store: &Store, config: &ContainerConfig, command: &[String]) -> Result<Journal> {
    // As many digits as a container's id has.
    let bytes: [u8; 32] = fs::random_bytes().context("get random bytes")?;
    let id: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let what = Happening::of_container(config, "exec").with("execID", id);
    Ok(Journal { store: store.clone(), what, command: command.join(" ") })
}
