//! `rbox events`: what happened, and what happens.

mod filter;
mod line;

use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;

use anyhow::{Result, bail};
use jiff::{Timestamp, Zoned};
use nix::poll::PollTimeout;
use nix::sys::inotify::AddWatchFlags;

use self::filter::Wanted;
use self::line::Form;
use super::changes::{Audience, Changes};
use super::format::filter::Filter;
use super::{Context, moment};
use crate::spec::event::Event;
use crate::store::events::{Events, Reader};
use crate::store::fs;

/// Show what happens to containers, images, networks and volumes
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Show only what matches (container, event, image, label, network, secret, type, volume)
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<Filter>,
    /// Format output: 'json' or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Accepted for compatibility: ids are whole
    #[arg(long)]
    no_trunc: bool,
    /// Begin with what happened since a moment (2026-01-02T13:23:37Z) or a time ago (42m)
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    since: Option<String>,
    /// Go on waiting for more
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", hide_default_value = true, value_parser = super::go_bool)]
    stream: bool,
    /// End with what happened until a moment (2026-01-02T13:23:37Z) or a time ago (42m)
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    until: Option<String>,
}

/// Prints lines until `--until`, or for ever.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let now = Zoned::now();
    let (since, until) = (moment("since", args.since.as_deref(), &now)?, moment("until", args.until.as_deref(), &now)?);
    if let (Some(since), Some(until)) = (since, until)
        && since > until
    {
        bail!("`since` time ({since}) cannot be after `until` time ({until})");
    }
    let wanted = Wanted::new(args.filter)?;
    let form = Form::new(args.format.as_deref().unwrap_or_default())?;
    // Without --since what is to come; unless there is nothing to wait for.
    let from = since.or((args.stream && until.is_none_or(|until| until > now.timestamp())).then(|| now.timestamp()));
    let mut printer = Printer { out: io::stdout(), form, wanted, from, until };
    let events = context.store()?.events();
    match stream(&events, &mut printer, args.stream) {
        Err(error) if error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe) => {}
        result => result?,
    }
    Ok(ExitCode::SUCCESS)
}

fn stream(events: &Events, printer: &mut Printer, waits: bool) -> Result<()> {
    fs::create_private_dir(events.directory())?;
    let changes = Changes::new()?;
    changes.watch(events.directory(), AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE)?;
    let mut reader = events.reader();
    loop {
        let past = printer.until.is_some_and(|until| until <= Timestamp::now());
        printer.read(&mut reader)?;
        if past || !waits {
            return Ok(());
        }
        if changes.wait(printer.out.as_fd(), std::iter::empty(), time_to(printer.until))? == Audience::Gone {
            return Ok(());
        }
    }
}

/// Prints the events that were asked for.
struct Printer {
    out: io::Stdout,
    form: Form,
    wanted: Wanted,
    from: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl Printer {
    fn read(&mut self, reader: &mut Reader) -> Result<()> {
        let Self { out, form, wanted, from, until } = self;
        let in_time =
            |event: &Event| from.is_none_or(|from| event.time >= from) && until.is_none_or(|until| event.time <= until);
        let mut text = String::new();
        reader.read(|event| {
            if in_time(&event) && wanted.takes(&event) {
                text.push_str(&form.line(&event)?);
            }
            Ok::<_, anyhow::Error>(())
        })?;
        out.write_all(text.as_bytes())?;
        Ok(out.flush()?)
    }
}

/// How long until then.
fn time_to(until: Option<Timestamp>) -> PollTimeout {
    let left = until.map(|until| until.as_millisecond() - Timestamp::now().as_millisecond() + 1);
    left.map_or(PollTimeout::NONE, |left| PollTimeout::from(u16::try_from(left.max(0)).unwrap_or(u16::MAX)))
}
