//! `top`: the processes of a container.

mod columns;
mod observed;

use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, anyhow, bail};

use self::columns::Column;
use self::observed::{Accounts, Machine};
use super::format::table::{self, Layout};
use super::format::text::clean_line;
use super::{Context, selection};
use crate::sandbox::idmap::IdMaps;
use crate::sandbox::processes::{self, Processes};
use crate::spec::event::Happening;

/// Show the processes of a container
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Show those of the container created last
    #[arg(short, long)]
    latest: bool,
    /// Container by name, id or unique prefix
    #[arg(required_unless_present = "latest", value_name = "CONTAINER")]
    container: Option<String>,
    /// Columns (pid user args ...) or options of ps(1)
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COLUMN|OPTION")]
    options: Vec<String>,
}

/// docker's layout: ps's columns, twenty wide.
const LAYOUT: Layout = Layout { minimum: 20, padding: 3 };

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    // With --latest no container is named, and the first word is the first column.
    let named = args.container.clone().filter(|_| !args.latest);
    let first = args.container.filter(|_| args.latest);
    let options: Vec<String> = first.into_iter().chain(args.options).collect();
    let container = selection::one(context, named.as_deref(), args.latest)?;
    if container.is_restarting() {
        bail!("Container {} is restarting, wait until the container is running", container.id());
    }
    let not_running = || anyhow!("container {} is not running", container.id());
    let init = container.state.init().filter(|_| container.is_running()).ok_or_else(not_running)?;
    let maps = IdMaps::of(init.pid).context("read the container's id maps")?;
    let processes = processes::of(context.store()?, init, !container.config.userns_host)?;
    let lines = match columns::parse(&options) {
        Some(columns) => by_columns(&columns, &processes, maps)?,
        None => by_ps(&options, &processes.pids)?,
    };
    let lines: Vec<String> = lines.iter().map(|line| line.join("\t")).collect();
    context.store()?.happened(Happening::of_container(&container.config, "top"));
    super::print_line(&table::align(&lines.join("\n"), LAYOUT))?;
    Ok(ExitCode::SUCCESS)
}

/// A line of titles, then one a process; those that have ended meanwhile are left out.
fn by_columns(columns: &[Column], processes: &Processes, maps: IdMaps) -> Result<Vec<Vec<String>>> {
    let machine = Machine::now()?;
    let accounts = Accounts::new(processes, maps);
    let mut lines = vec![columns.iter().map(|column| column.title().to_owned()).collect::<Vec<_>>()];
    for &pid in &processes.pids {
        if let Some(process) = machine.observe(pid) {
            let cells = columns.iter().map(|column| column.of(&process, &accounts));
            lines.push(cells.map(|cell| clean_line(&cell).into_owned()).collect());
        }
    }
    Ok(lines)
}

/// What this machine's ps(1) says with these options about the container's processes.
fn by_ps(options: &[String], pids: &[i32]) -> Result<Vec<Vec<String>>> {
    let mut command = Command::new("ps");
    command.args(options).stdin(Stdio::null()).stderr(Stdio::piped());
    let output = command.output().context("run ps, which options need: install procps, or name columns as pid,args")?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        bail!("ps: {}", clean_line(reason.lines().find(|line| !line.trim().is_empty()).unwrap_or("failed").trim()));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    let titles: Vec<String> = lines.next().unwrap_or_default().split_whitespace().map(str::to_owned).collect();
    let place = titles.iter().position(|title| title == "PID");
    let place = place.ok_or_else(|| anyhow!("Couldn't find PID field in ps output"))?;
    let mut shown = vec![titles.clone()];
    for line in lines {
        let cells = split(line, titles.len());
        let pid = cells.get(place).and_then(|pid| pid.parse().ok());
        if pid.is_some_and(|pid: i32| pids.contains(&pid)) {
            shown.push(cells.iter().map(|cell| clean_line(cell).into_owned()).collect());
        }
    }
    Ok(shown)
}

/// The first `count - 1` words and the rest, which may hold blanks.
fn split(line: &str, count: usize) -> Vec<&str> {
    let mut cells = Vec::new();
    let mut rest = line.trim();
    while cells.len() + 1 < count
        && let Some((word, after)) = rest.split_once(char::is_whitespace)
    {
        cells.push(word);
        rest = after.trim_start();
    }
    cells.push(rest);
    cells
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_line_of_ps_is_split_up_to_the_command() {
        assert_eq!(super::split(" 1  root 0:00   sh -c  x ", 4), ["1", "root", "0:00", "sh -c  x"]);
        assert_eq!(super::split("1", 3), ["1"]);
    }
}
