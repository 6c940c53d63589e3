//! `stats`: what containers use of the machine.

mod row;
mod sample;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, anyhow};

use self::sample::{Sample, Sampler};
use super::Context;
use super::format::list::Format;
use super::format::text;
use crate::store::containers::Container;

/// Show what containers use of the machine
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Show all containers, not only those that run
    #[arg(short, long)]
    all: bool,
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Seconds between two looks
    #[arg(short, long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..), hide_default_value = true)]
    interval: u32,
    /// Show the container created last
    #[arg(short, long)]
    latest: bool,
    /// Print below what was printed before instead of over it
    #[arg(long)]
    no_reset: bool,
    /// Look once, and end
    #[arg(long)]
    no_stream: bool,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Containers by name, id or unique prefix; those that run by default
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

const TABLE: &str =
    "table {{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}";
/// To the first line and column, where what follows is written over what was there.
const HOME: &str = "\x1b[H";
/// Clears the rest of a line.
const CLEAR_LINE: &str = "\x1b[K";
/// Clears what is below.
const CLEAR_BELOW: &str = "\x1b[J";

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    if args.latest && (args.all || !args.containers.is_empty()) {
        return Err(anyhow!("--all, --latest and containers cannot be used together"));
    }
    let source = match args.format.as_deref().unwrap_or_default() {
        "" | "table" => TABLE,
        custom => custom,
    };
    let format = Format::parse(source)?;
    let terminal = std::io::stdout().is_terminal();
    let redraws = terminal && !args.no_stream && !args.no_reset;
    let mut sampler = Sampler::new()?;
    let mut first = true;
    loop {
        let containers = containers(&args, context, first)?;
        if containers.is_empty() && !first && !args.containers.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        let samples = sampler.look(context.store()?, &containers)?;
        let text = show(&args, &format, &samples, terminal)?;
        if redraws {
            super::print_text(&over(&text, first))?;
        } else {
            super::print_text(&text)?;
        }
        if args.no_stream {
            return Ok(ExitCode::SUCCESS);
        }
        std::io::stdout().flush()?;
        first = false;
        std::thread::sleep(Duration::from_secs(args.interval.into()));
    }
}

/// Those to look at now: what was named must be there the first time.
fn containers(args: &Args, context: &Context, first: bool) -> Result<Vec<Container>> {
    let store = context.store()?.containers();
    if !args.containers.is_empty() {
        let found = args.containers.iter().map(|name| store.find(name));
        return match first {
            true => Ok(found.collect::<Result<_, _>>()?),
            false => Ok(found.flatten().collect()),
        };
    }
    let (mut all, damaged) = store.list()?;
    if first {
        for record in damaged {
            text::warn(&format!("container {} is damaged: {}", record.id, record.why));
        }
    }
    if args.latest {
        all.truncate(1);
        return if all.is_empty() { Err(anyhow!("there are no containers")) } else { Ok(all) };
    }
    all.retain(|container| args.all || container.is_running());
    Ok(all)
}

fn show(args: &Args, format: &Format, samples: &[Sample], terminal: bool) -> Result<String> {
    let rows: Vec<_> = samples
        .iter()
        .map(|sample| {
            let typed = args.containers.iter().find(|name| sample.is_called(name));
            let row = row::row(sample, typed.map(String::as_str), args.no_trunc);
            row.hidden(format.extra(row::EXTRA, sample))
        })
        .collect();
    let mut out = Vec::new();
    format.write(&mut out, row::LISTING, &rows, terminal)?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// The text over what was there.
fn over(text: &str, first: bool) -> String {
    let lines: String = text.lines().map(|line| format!("{line}{CLEAR_LINE}\n")).collect();
    let begin = if first { "\x1b[2J" } else { "" };
    format!("{begin}{HOME}{lines}{CLEAR_BELOW}")
}
