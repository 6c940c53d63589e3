//! `run`: create a container, start it, and stay with it or not.

use std::process::ExitCode;

use anyhow::{Result, bail};

use super::create::Purpose;
use super::create_options::CreateOptions;
use super::error::WithCode;
use super::inherited_options::InheritedOptions;
use super::launching::{self, Leaving};
use super::{Context, create, rmi, stop, suggest};
use crate::sandbox::client::Attach;
use crate::spec::detach_keys::DetachKeys;
use crate::store::containers::Container;
use crate::store::lock::AliveLock;

/// Create and run a new container from an image
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Run container in background and print container ID
    #[arg(short, long)]
    detach: bool,
    /// Keys that detach from the container: characters or ctrl-X, separated by commas; empty for none
    #[arg(long, value_name = "KEYS")]
    detach_keys: Option<DetachKeys>,
    /// Pass received signals on to the container, the default
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value = "true", hide_default_value = true, hide_possible_values = true, value_parser = super::go_bool)]
    sig_proxy: bool,
    #[command(flatten)]
    options: CreateOptions,
    #[command(flatten)]
    inherited: InheritedOptions,
    /// Remove the container when it exits, and its image unless others use it
    #[arg(long, conflicts_with = "detach")]
    rmi: bool,
    /// Image to use, or rootfs:DIRECTORY
    image: String,
    /// Command to run and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    context.keep_inherited(args.inherited.claim()?);
    let mut options = args.options.clone();
    options.rm |= args.rmi;
    let options = &options;
    if args.detach && !options.attach.is_empty() {
        bail!("conflicting options: cannot specify both --attach and --detach");
    }
    launching::check_tty(options.interactive && !args.detach, options.tty)?;
    let detach_keys = launching::detach_keys(context, args.detach_keys.clone()).or_exit(125)?;
    let purpose = if args.detach { Purpose::Detach } else { Purpose::Foreground };
    let (mut container, alive) = create::create(context, options, &args.image, &args.command, purpose)?;
    let image = container.image_id().filter(|_| args.rmi);
    let ended = start(context, &container, alive, &args, detach_keys).or_exit(125);
    if let Some(image) = image {
        stop::wait_recorded(&mut container)?;
        rmi::remove_unless_used(context, &image.to_string());
    }
    ended
}

fn start(
    context: &Context,
    container: &Container,
    alive: AliveLock,
    args: &Args,
    detach_keys: DetachKeys,
) -> Result<ExitCode> {
    let [stdin, stdout, stderr] = container.config.attach;
    let attach = Attach {
        stdin: stdin && container.config.open_stdin && !container.config.log.driver.passes_through(),
        stdout,
        stderr,
        terminal: container.config.tty,
        signal_proxy: args.sig_proxy,
        detach_keys,
    };
    let stays = attach.stdin || attach.stdout || attach.stderr;
    let mut client =
        launching::launch_new(context, container, alive, stays).inspect_err(|_| discard(context, container))?;
    launching::wait_started(context, container, &mut client)
        .map_err(|error| suggest::misplaced_flag(error, &args.command, "image"))?;
    if !attach.stdout && !attach.stderr {
        super::print_line(container.id().as_str())?;
    }
    if !stays {
        launching::hand_over(container)?;
    }
    if stays { launching::attach(client, &attach, Leaving::Succeeds) } else { Ok(ExitCode::SUCCESS) }
}

/// What was made for `--rm` goes when no supervisor came into being to remove it.
fn discard(context: &Context, container: &Container) {
    if container.config.auto_remove
        && let Ok(store) = context.store()
    {
        // The first error is the one to report.
        let _ = store.containers().remove(container.id());
    }
}
