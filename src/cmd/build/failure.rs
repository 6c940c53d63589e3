//! How a build that failed says why: the last of the step's output, the place in the Dockerfile, the error.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;

use super::progress::shown;
use crate::build::event::Event;
use crate::build::solve::BuildError;
use crate::cmd::error;
use crate::cmd::format::text::{clean, clean_line, warn};
use crate::spec::dockerfile::ast::Lines;
use crate::spec::dockerfile::report;

/// Lines of a failed step's output that are shown again.
const TAIL: usize = 20;

/// Prints why there is no image and gives the exit code.
pub fn report(error: BuildError, name: &str, dockerfile: &[u8]) -> Result<ExitCode> {
    let message = match &error {
        BuildError::Interrupted(signal) => {
            warn("canceled");
            return Ok(ExitCode::from(u8::try_from(128 + signal).unwrap_or(1)));
        }
        BuildError::Parse(wrong) => {
            print(&report::parse_error(name, dockerfile, wrong));
            error.to_string()
        }
        BuildError::At { lines, message } => {
            print_place(name, dockerfile, *lines);
            message.clone()
        }
        BuildError::Step { lines, name: step, message, output, .. } => {
            print(&tail(step, output));
            print_place(name, dockerfile, *lines);
            message.clone()
        }
        BuildError::Other(other) if other.downcast_ref::<error::AlreadyReported>().is_some() => {
            return Ok(ExitCode::FAILURE);
        }
        BuildError::Other(other) => format!("{other:#}"),
    };
    error::print(&anyhow::anyhow!("ERROR: failed to solve: {message}"));
    Ok(ExitCode::FAILURE)
}

fn print_place(name: &str, dockerfile: &[u8], lines: Lines) {
    print(&report::excerpt(name, dockerfile, lines, None));
}

/// That nobody reads it changes nothing.
fn print(text: &str) {
    let _ = std::io::stderr().write_all(clean(text).as_bytes());
}

fn tail(step: &str, output: &[u8]) -> String {
    if output.is_empty() {
        return String::new();
    }
    let lines: Vec<String> = output.split(|byte| *byte == b'\n').map(shown).collect();
    let end = lines.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1);
    let first = end.saturating_sub(TAIL);
    let lines: String = lines[first..end].iter().map(|line| format!("{line}\n")).collect();
    format!("------\n > {}:\n{lines}------\n", clean_line(step))
}

/// Prints the remarks of a build as docker does: how many, and each with its place.
pub fn warnings(warnings: &[Event]) {
    let count = warnings.len();
    if count == 0 {
        return;
    }
    let plural = if count == 1 { "" } else { "s" };
    let mut text = format!("\n {count} warning{plural} found:\n");
    for warning in warnings {
        let Event::Warning { text: remark, rule, lines } = warning else { continue };
        let rule = rule.map_or_else(String::new, |rule| format!("{rule}: "));
        let place = lines.map_or_else(String::new, |(first, _)| format!(" (line {first})"));
        text.push_str(&format!(" - {rule}{}{place}\n", clean_line(remark)));
    }
    print(&text);
}
