//! `doctor`: what this system lacks for rbox, and the lines that mend it.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use anyhow::Result;
use serde_json::{Value, json};

use super::Context;
use super::format::list::{Format, Listing, Row};
use super::format::{json, text};
use crate::doctor::{self, Finding, Status};
use crate::explain::Mend;

/// Check what this system offers to rbox, and say how to mend what is missing
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Print everything as one JSON document
    #[arg(long, conflicts_with = "format")]
    json: bool,
    /// Format each check: 'table', 'table TEMPLATE', 'json', or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Print only what fails or could be better
    #[arg(short, long)]
    quiet: bool,
}

const LISTING: Listing = Listing {
    go_type: "*formatter.DoctorContext",
    titles: &[("Code", "CODE"), ("Status", "STATUS"), ("Summary", "SUMMARY"), ("Why", "WHY"), ("Mend", "MEND")],
};
const TABLE: &str = "table {{.Status}}\t{{.Code}}\t{{.Summary}}";

/// Prints what was found; exit code 1 when something fails.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let format = args.format.as_deref().filter(|format| !format.is_empty());
    let format = format.map(|format| Format::parse(if format == "table" { TABLE } else { format })).transpose()?;
    let all = doctor::examine(&context.places()?);
    let failed = all.iter().any(|finding| finding.status == Status::Fail);
    let shown: Vec<&Finding> = all.iter().filter(|finding| !args.quiet || finding.is_problem()).collect();
    let stdout = std::io::stdout();
    let terminal = stdout.is_terminal();
    let mut out = stdout.lock();
    if args.json {
        writeln!(out, "{}", json::pretty(&document(&all, &shown)))?;
    } else if let Some(format) = format {
        let rows: Vec<Row> = shown.iter().copied().map(row).collect();
        format.write(&mut out, LISTING, &rows, terminal)?;
    } else {
        let colours = terminal && !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        out.write_all(report(&all, &shown, args.quiet, colours).as_bytes())?;
    }
    out.flush()?;
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| !value.is_empty())
}

/// A line a check; below a problem why it matters and what mends it; a summary.
fn report(all: &[Finding], shown: &[&Finding], quiet: bool, colours: bool) -> String {
    let width = shown.iter().map(|finding| finding.code.name().len()).max().unwrap_or(0);
    let mut out = String::new();
    for finding in shown {
        let (word, colour) = match finding.status {
            Status::Pass => ("ok", AnsiColor::Green),
            Status::Warn => ("warn", AnsiColor::Yellow),
            Status::Fail => ("FAIL", AnsiColor::Red),
            Status::Skipped => ("skip", AnsiColor::Cyan),
        };
        let style = if colours { colour.on_default().bold() } else { Style::new() };
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "{style}{word:<4}{style:#}  {:<width$}  {}",
            finding.code.name(),
            text::clean_line(&finding.summary)
        );
        if finding.is_problem() {
            let _ = writeln!(out, "      why: {}", finding.code.why());
            for mend in &finding.mend {
                let (label, words) = labelled(mend);
                let _ = writeln!(out, "      {label}: {}", text::clean_line(words));
            }
        }
    }
    if !quiet {
        let [passed, warned, failed, skipped] = counts(all);
        let _ =
            writeln!(out, "\n{} checks: {passed} ok, {warned} to note, {failed} failed, {skipped} skipped", all.len());
    }
    out
}

/// Who does it, for people; and the words.
fn labelled(mend: &Mend) -> (&'static str, &str) {
    match mend {
        Mend::You(line) => ("run", line),
        Mend::Administrator(line) => ("as root", line),
        Mend::Advice(words) => ("do", words),
    }
}

/// Passed, warned, failed, skipped.
fn counts(all: &[Finding]) -> [usize; 4] {
    [Status::Pass, Status::Warn, Status::Fail, Status::Skipped]
        .map(|status| all.iter().filter(|finding| finding.status == status).count())
}

fn row(finding: &Finding) -> Row {
    let lines: Vec<&str> = finding.mend.iter().map(|mend| labelled(mend).1).collect();
    Row::new([
        ("Code", finding.code.name().to_owned()),
        ("Status", finding.status.name().to_owned()),
        ("Summary", finding.summary.clone()),
        ("Why", finding.code.why().to_owned()),
        ("Mend", lines.join("; ")),
    ])
}

/// The document of `--json`; fields may be added, none will change its meaning (docs/doctor.md).
fn document(all: &[Finding], shown: &[&Finding]) -> Value {
    let mend = |mend: &Mend| {
        let by = match mend {
            Mend::You(_) => "user",
            Mend::Administrator(_) => "root",
            Mend::Advice(_) => "advice",
        };
        json!({"by": by, "line": labelled(mend).1})
    };
    let check = |finding: &&Finding| {
        json!({
            "code": finding.code.name(),
            "status": finding.status.name(),
            "summary": finding.summary,
            "why": finding.code.why(),
            "mend": finding.mend.iter().map(mend).collect::<Vec<_>>(),
        })
    };
    let [passed, warned, failed, skipped] = counts(all);
    json!({
        "schema": 1,
        "version": super::version::VERSION,
        "checks": shown.iter().map(check).collect::<Vec<_>>(),
        "summary": {"pass": passed, "warn": warned, "fail": failed, "skipped": skipped},
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::Code;

    fn findings() -> Vec<Finding> {
        let finding = |code, status, summary: &str, mend| Finding { code, status, summary: summary.into(), mend };
        vec![
            finding(Code::UserNamespaces, Status::Pass, "allowed (at most 94000)", vec![]),
            finding(
                Code::Tun,
                Status::Fail,
                "bad\u{1b}[31m\nname",
                vec![Mend::Administrator("modprobe tun".into()), Mend::Advice("look".into())],
            ),
        ]
    }

    #[test]
    fn one_line_a_check_and_more_below_a_problem() {
        let all = findings();
        let shown: Vec<&Finding> = all.iter().collect();
        let plain = report(&all, &shown, false, false);
        assert_eq!(
            plain,
            format!(
                "ok    user-namespaces  allowed (at most 94000)\nFAIL  tun              bad\\x1b[31m\\nname\n      why: {}\n      \
                 as root: modprobe tun\n      do: look\n\n2 checks: 1 ok, 0 to note, 1 failed, 0 skipped\n",
                Code::Tun.why()
            )
        );
        let coloured = report(&all, &shown, false, true);
        assert!(coloured.contains("\u{1b}[1m\u{1b}[31mFAIL\u{1b}[0m"), "{coloured:?}");
        assert!(report(&all, &shown[1..], true, false).starts_with("FAIL  tun  bad"));
    }

    #[test]
    fn the_document_keeps_its_fields() {
        let all = findings();
        let shown: Vec<&Finding> = all.iter().collect();
        let document = document(&all, &shown);
        assert_eq!(document["schema"], 1);
        assert_eq!(document["summary"], json!({"pass": 1, "warn": 0, "fail": 1, "skipped": 0}));
        let check = &document["checks"][1];
        assert_eq!((check["code"].as_str(), check["status"].as_str()), (Some("tun"), Some("fail")));
        assert_eq!(check["mend"][0], json!({"by": "root", "line": "modprobe tun"}));
    }
}
