//! `rbox logs`: what a container wrote.

mod follow;
mod source;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use jiff::Zoned;

use self::source::Source;
use super::{Context, moment, selection};
use crate::spec::log::LogDriver;
use crate::store::containers::Container;
use crate::store::logs::{LogEntry, LogQuery, Stream};

/// Fetch the logs of a container
#[derive(clap::Args, Debug, Default)]
pub struct Args {
    /// Accepted for compatibility: this version logs no details
    #[arg(long)]
    details: bool,
    /// Follow log output
    #[arg(short, long)]
    follow: bool,
    /// Show the logs of the container created last
    #[arg(short, long)]
    latest: bool,
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
    /// Container by name, id or unique prefix
    #[arg(required_unless_present = "latest", value_name = "CONTAINER")]
    container: Option<String>,
}

/// Prints the log, and with `--follow` what is added until the container stops.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let now = Zoned::now();
    // docker takes what is no number for all.
    let tail = args.tail.parse().ok();
    let query = LogQuery {
        tail,
        since: moment("since", args.since.as_deref(), &now)?,
        until: moment("until", args.until.as_deref(), &now)?,
    };
    let mut container = selection::one(context, args.container.as_deref(), args.latest)?;
    if container.config.log.driver == LogDriver::None {
        bail!("configured logging driver does not support reading");
    }
    let mut printer = Printer {
        out: BufWriter::new(duplicate(io::stdout())?),
        err: BufWriter::new(duplicate(io::stderr())?),
        last: Stream::Stdout,
        at_line_start: [true; 2],
        timestamps: args.timestamps,
        details: args.details,
    };
    match print(&mut container, query, args.follow, &mut printer) {
        Err(error) if error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe) => {}
        result => result.with_context(|| format!("read the log of container {}", container.config.name))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// A file of our own for a standard stream, without the line buffer of std's.
fn duplicate(stream: impl AsFd) -> io::Result<File> {
    Ok(File::from(stream.as_fd().try_clone_to_owned()?))
}

fn print<O: Write + AsFd, E: Write>(
    container: &mut Container,
    query: LogQuery,
    follow: bool,
    printer: &mut Printer<O, E>,
) -> Result<()> {
    let mut source = Source::new(container.log_path(), query);
    if follow {
        follow::follow(container, &mut source, query.until, printer)?;
    } else {
        source.read(|entry| printer.print(entry))?;
    }
    printer.flush()?;
    Ok(())
}

/// Writes entries to the streams they came from.
struct Printer<O: Write, E: Write> {
    out: BufWriter<O>,
    err: BufWriter<E>,
    last: Stream,
    /// Of stdout and stderr: a long line comes in pieces, and only the first has a prefix.
    at_line_start: [bool; 2],
    timestamps: bool,
    details: bool,
}

impl<O: Write, E: Write> Printer<O, E> {
    fn print(&mut self, entry: &LogEntry) -> io::Result<()> {
        let stream = entry.stream;
        if stream != self.last {
            // Where both go to one place, the order of lines is kept.
            self.flush()?;
            self.last = stream;
        }
        let prefix = if self.at_line_start[stream as usize] { self.prefix(entry) } else { String::new() };
        self.at_line_start[stream as usize] = entry.text.ends_with('\n');
        let target: &mut dyn Write = match stream {
            Stream::Stdout => &mut self.out,
            Stream::Stderr => &mut self.err,
        };
        target.write_all(prefix.as_bytes())?;
        target.write_all(entry.text.as_bytes())
    }

    fn prefix(&self, entry: &LogEntry) -> String {
        let mut prefix = String::new();
        if self.timestamps {
            // Writing to a String cannot fail.
            let _ = write!(prefix, "{} ", entry.time.strftime("%Y-%m-%dT%H:%M:%S.%9fZ"));
        }
        if self.details {
            // The blank that docker puts after attributes, which this log driver does not write.
            prefix.push(' ');
        }
        prefix
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()?;
        self.err.flush()
    }
}
