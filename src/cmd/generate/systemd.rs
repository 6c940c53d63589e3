//! `generate systemd`: a service of systemd for a container that exists.
//!
//! Its main process is an rbox in the foreground: `rbox start --attach` for this very container, or,
//! with --new, the `rbox run` that makes one like it each time. There is nothing in the background that
//! systemd would have to be told of.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::ValueEnum;
use jiff::Zoned;

use crate::cmd::error::WithCode;
use crate::cmd::quadlet::program;
use crate::cmd::{Context, print_bytes, print_line};
use crate::spec::config::ContainerConfig;
use crate::spec::service::Service;
use crate::spec::unit::literal;
use crate::store::fs;

/// From SIGKILL until all is put away, in seconds.
const SPARE_SECONDS: u64 = 60;

/// systemd's words for when to start a service again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Restart {
    No,
    OnSuccess,
    OnFailure,
    OnAbnormal,
    OnWatchdog,
    OnAbort,
    Always,
}

impl Restart {
    fn word(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::OnSuccess => "on-success",
            Self::OnFailure => "on-failure",
            Self::OnAbnormal => "on-abnormal",
            Self::OnWatchdog => "on-watchdog",
            Self::OnAbort => "on-abort",
            Self::Always => "always",
        }
    }
}

/// Print a unit of systemd for a container
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Order the service after this unit, too
    #[arg(long, value_name = "UNIT")]
    after: Vec<String>,
    /// What the service's name begins with
    #[arg(long, value_name = "WORD", default_value = "container", hide_default_value = true)]
    container_prefix: String,
    /// Set a variable for the service
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Write the unit to a file in the working directory and print its path
    #[arg(short, long)]
    files: bool,
    /// Print JSON: the unit, or its path, by its name
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Name service and container by the container's name, not its id
    #[arg(short, long)]
    name: bool,
    /// Make a new container at each start, as this one was made, and remove it at the end
    #[arg(long)]
    new: bool,
    /// Leave out the comment at the beginning
    #[arg(long)]
    no_header: bool,
    /// Start nothing without this unit
    #[arg(long, value_name = "UNIT")]
    requires: Vec<String>,
    /// When systemd starts the service again (no, on-success, on-failure, on-abnormal, on-watchdog, on-abort, always)
    #[arg(
        long,
        value_name = "POLICY",
        default_value = "on-failure",
        hide_default_value = true,
        hide_possible_values = true
    )]
    restart_policy: Restart,
    /// Seconds before it is started again
    #[arg(long, value_name = "SECONDS")]
    restart_sec: Option<u64>,
    /// What stands between the name's beginning and the container's name
    #[arg(long, value_name = "WORD", default_value = "-", hide_default_value = true, allow_hyphen_values = true)]
    separator: String,
    /// Seconds that the service may take to start
    #[arg(long, value_name = "SECONDS")]
    start_timeout: Option<u64>,
    /// Seconds from the stop signal to SIGKILL, by default the container's own
    #[arg(short = 't', long, visible_alias = "time", value_name = "SECONDS")]
    stop_timeout: Option<u32>,
    /// Make a template, of which each instance has a container of its own; needs --new
    #[arg(long)]
    template: bool,
    /// Start other units with it
    #[arg(long, value_name = "UNIT")]
    wants: Vec<String>,
    /// Container by name, id or unique prefix
    container: String,
}

/// Prints or writes the unit.
pub fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    args.check().or_exit(125)?;
    let container = context.store()?.containers().find(&args.container)?;
    let service = args.service(&container.config)?;
    let (name, text) = (service.file_name(), service.text());
    let shown = name.strip_suffix(".service").unwrap_or(&name).to_owned();
    let value = if args.files {
        let path = std::env::current_dir()?.join(&name);
        fs::write_atomic(&path, text.as_bytes())
            .and_then(|()| std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)))
            .with_context(|| format!("write {}", path.display()))?;
        path.display().to_string()
    } else {
        text
    };
    if args.format.is_some() {
        print_line(&serde_json::to_string_pretty(&BTreeMap::from([(shown, value)]))?)?;
    } else if args.files {
        print_line(&value)?;
    } else {
        print_bytes(value.as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn check(&self) -> Result<()> {
        if self.template && !self.new {
            bail!("--template needs --new: a container that exists can only be started once");
        }
        if let Some(format) = self.format.as_deref().filter(|format| *format != "json") {
            bail!("invalid --format {format:?}: json is what there is");
        }
        if let Some(variable) = self.env.iter().find(|variable| !variable.contains('=')) {
            bail!("invalid --env {variable:?}: give NAME=VALUE");
        }
        let is_plain =
            |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '_' | '.'));
        for (flag, value) in [("--container-prefix", &self.container_prefix), ("--separator", &self.separator)] {
            if !is_plain(value) {
                bail!("invalid {flag} {value:?}: systemd takes letters, digits and :-_. in names");
            }
        }
        let units = self.after.iter().chain(&self.wants).chain(&self.requires);
        match units
            .into_iter()
            .find(|unit| unit.is_empty() || unit.contains(|c: char| c.is_whitespace() || c.is_control()))
        {
            Some(unit) => bail!("{unit:?} is no name of a unit"),
            None => Ok(()),
        }
    }

    fn service(&self, config: &ContainerConfig) -> Result<Service> {
        let own = if self.name { config.name.as_str() } else { config.id.as_str() };
        let prefix = if self.container_prefix.is_empty() { "" } else { &self.separator };
        let seconds = match self.stop_timeout {
            Some(seconds) => Some(u64::from(seconds)),
            None => config.stop_timeout.map(u64::from),
        };
        let program = program()?;
        // A container of its own each.
        let called = match (self.new, self.template) {
            (true, true) => format!("{}-%i", literal(&config.name)),
            (true, false) => literal(&config.name),
            (false, _) => literal(own),
        };
        let timeout = seconds.map_or_else(|| "-1".to_owned(), |seconds| seconds.to_string());
        let line = |words: &[&str]| -> Vec<String> {
            std::iter::once(literal(&program))
                .chain(globals(config))
                .chain(words.iter().map(|word| (*word).to_owned()))
                .collect()
        };
        let start =
            if self.new { self.run_line(config, &called, &program)? } else { line(&["start", "--attach", &called]) };
        let name = format!("{}{prefix}{own}", self.container_prefix);
        let mut service = Service {
            template: self.template,
            user: !rustix::process::geteuid().is_root(),
            wants: self.wants.clone(),
            after: self.after.clone(),
            requires: self.requires.clone(),
            environment: self.env.clone(),
            restart: self.restart_policy.word().to_owned(),
            restart_seconds: self.restart_sec,
            start_seconds: self.start_timeout,
            stop_seconds: seconds.map(|seconds| seconds + SPARE_SECONDS),
            kind: if self.new { "notify" } else { "exec" },
            start,
            stop: line(&["stop", "--ignore", "--timeout", &timeout, &called]),
            clean: self.new.then(|| line(&["rm", "--force", "--ignore", "--volumes", &called])),
            header: Vec::new(),
            name,
        };
        if !self.no_header {
            let made = format!("Made by rbox {} generate systemd", env!("CARGO_PKG_VERSION"));
            service.header = vec![service.file_name(), made, Zoned::now().strftime("%a, %d %b %Y %T %z").to_string()];
        }
        Ok(service)
    }

    /// The line that made the container, for one in the foreground of a service.
    fn run_line(&self, config: &ContainerConfig, called: &str, program: &str) -> Result<Vec<String>> {
        let made = config.create_command.as_ref().ok_or_else(|| {
            anyhow!("container {} was made by a version of rbox that did not note how: make it again", config.name)
        })?;
        let mut line = vec![literal(program)];
        line.extend(globals(config));
        line.push("run".to_owned());
        let flags = made.flags_without(&["--cidfile", "--name", "--restart", "--pidfile"]);
        line.extend(flags.iter().map(|flag| literal(flag)));
        // The last of a flag counts.
        line.extend(["--detach=false", "--replace", "--rm"].map(str::to_owned));
        if flags == made.flags_without(&["--cidfile", "--name", "--restart", "--pidfile", "--sdnotify"]) {
            line.push("--sdnotify=conmon".to_owned());
        }
        if config.tty && config.open_stdin {
            // There is nobody to type.
            line.push("--interactive=false".to_owned());
        }
        line.push(format!("--name={called}"));
        line.extend(made.rest.iter().map(|word| literal(word)));
        Ok(line)
    }
}

fn globals(config: &ContainerConfig) -> Vec<String> {
    config.create_command.iter().flat_map(|made| &made.global).map(|word| literal(word)).collect()
}
