//! `rbox logs`: what containers wrote.

mod follow;
mod journal;
mod printer;
mod source;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow, bail};
use jiff::Zoned;

use self::journal::Journal;
use self::printer::{Prefixes, Printer};
use self::source::Source;
use super::{Context, moment, selection};
use crate::spec::log::LogDriver;
use crate::store::containers::Container;
use crate::store::logs::{Form, LogEntry, LogQuery};

/// Colours of names, one container after the other: those that are readable on any background.
const COLOURS: [u8; 6] = [36, 33, 32, 35, 34, 31];

/// Fetch the logs of one or more containers
#[derive(clap::Args, Debug, Default)]
pub struct Args {
    /// Show the names of several containers in colours
    #[arg(long)]
    color: bool,
    /// Show the labels and variables that are logged (--log-opt labels=..., env=...)
    #[arg(long)]
    details: bool,
    /// Follow log output
    #[arg(short, long)]
    follow: bool,
    /// Show the logs of the container created last
    #[arg(short, long)]
    latest: bool,
    /// Begin lines with the container's name, not its ID
    #[arg(long)]
    names: bool,
    /// Show logs since a moment (2026-01-02T13:23:37Z) or for a time (42m)
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    since: Option<String>,
    /// Number of lines to show from the end
    #[arg(short = 'n', long, value_name = "N", default_value = "all", allow_hyphen_values = true)]
    tail: String,
    /// Show timestamps
    #[arg(short, long)]
    timestamps: bool,
    /// Show logs until a moment (2026-01-02T13:23:37Z) or a time ago (42m)
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    until: Option<String>,
    /// Containers by name, id or unique prefix
    #[arg(required_unless_present = "latest", value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Prints the logs, and with `--follow` what is added until the containers stop.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let now = Zoned::now();
    // docker takes what is no number for all.
    let tail = args.tail.parse().ok();
    let query = LogQuery {
        tail,
        since: moment("since", args.since.as_deref(), &now)?,
        // 0 is no limit (docker).
        until: moment("until", args.until.as_deref(), &now)?.filter(|until| *until != jiff::Timestamp::UNIX_EPOCH),
    };
    if args.latest && !args.containers.is_empty() {
        bail!("conflicting options: --latest and a container's name");
    }
    let containers = match args.latest {
        true => vec![selection::one(context, None, true)?],
        false => {
            args.containers.iter().map(|name| selection::one(context, Some(name), false)).collect::<Result<_>>()?
        }
    };
    let names = names(&containers, &args);
    let reading = |container| Followed::new(container, query, args.follow);
    let mut all: Vec<Followed> = containers.into_iter().map(reading).collect::<Result<_>>()?;
    let prefixes = Prefixes { timestamps: args.timestamps, details: args.details };
    let mut printer = Printer::new(duplicate(io::stdout())?, duplicate(io::stderr())?, names, prefixes);
    match print(&mut all, query, args.follow, &mut printer) {
        Err(error) if error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe) => {}
        result => {
            let names: Vec<&str> = all.iter().map(|one| one.container.config.name.as_str()).collect();
            result.with_context(|| format!("read the log of container {}", names.join(", ")))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What goes before each line, so that several containers' can be told apart.
fn names(containers: &[Container], args: &Args) -> Vec<String> {
    let name = |(number, container): (usize, &Container)| {
        let name = match (args.names, containers.len()) {
            (true, _) => container.config.name.clone(),
            (false, 1) => return String::new(),
            (false, _) => container.id().short().to_string(),
        };
        match args.color {
            true => format!("\x1b[{}m{name}\x1b[0m ", COLOURS[number % COLOURS.len()]),
            false => format!("{name} "),
        }
    };
    containers.iter().enumerate().map(name).collect()
}

/// A file of our own for a standard stream, without the line buffer of std's.
fn duplicate(stream: impl AsFd) -> io::Result<File> {
    Ok(File::from(stream.as_fd().try_clone_to_owned()?))
}

fn print<O: Write + AsFd, E: Write>(
    all: &mut [Followed],
    query: LogQuery,
    follow: bool,
    printer: &mut Printer<O, E>,
) -> Result<()> {
    if follow {
        follow::follow(all, query.until, printer)?;
    } else {
        print_new(all, printer)?;
    }
    printer.flush()?;
    Ok(())
}

/// Where a container's entries come from.
enum Reading {
    Files(Box<Source>),
    Journal(Journal),
}

impl Reading {
    fn next(&mut self) -> io::Result<Option<LogEntry>> {
        match self {
            Self::Files(source) => source.next(),
            Self::Journal(journal) => journal.next(),
        }
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Files(_) => None,
            Self::Journal(journal) => journal.descriptor(),
        }
    }
}

/// A container whose log is printed.
struct Followed {
    container: Container,
    reading: Reading,
    /// Read, and not printed yet.
    next: Option<LogEntry>,
}

impl Followed {
    fn new(container: Container, query: LogQuery, follow: bool) -> Result<Self> {
        let config = &container.config;
        let unreadable = || anyhow!("configured logging driver does not support reading");
        let reading = match config.log.driver {
            LogDriver::Journald => Reading::Journal(Journal::open(container.id(), query, follow)?),
            driver => {
                let path = container.log_path().ok_or_else(unreadable)?;
                let form = if driver == LogDriver::K8sFile { Form::K8s } else { Form::Json };
                Reading::Files(Box::new(Source::new(path, form, query)))
            }
        };
        Ok(Self { container, reading, next: None })
    }
}

/// Prints what was not printed yet, several containers' lines in the order of time; how many entries
/// there were.
fn print_new<O: Write, E: Write>(all: &mut [Followed], printer: &mut Printer<O, E>) -> io::Result<u64> {
    let mut count = 0;
    let mut current: Option<usize> = None;
    loop {
        for one in all.iter_mut().filter(|one| one.next.is_none()) {
            one.next = one.reading.next()?;
        }
        // A line in pieces is not torn by others'.
        let going_on = current.filter(|number| all[*number].next.is_some());
        let waiting = all.iter().enumerate().filter_map(|(number, one)| Some((one.next.as_ref()?.time, number)));
        let Some(number) = going_on.or_else(|| waiting.min().map(|(_, number)| number)) else { return Ok(count) };
        if let Some(entry) = all[number].next.take() {
            printer.print(number, &entry)?;
            count += 1;
            current = (!entry.text.ends_with(b"\n")).then_some(number);
        }
    }
}
