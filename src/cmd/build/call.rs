//! `--call`: what can be said of a Dockerfile without building it.

use std::process::ExitCode;

use anyhow::{Result, anyhow, bail};

use super::Args;
use super::failure;
use super::options::WayOptions;
use super::source::Source;
use super::values;
use crate::build::solve::BuildError;
use crate::cmd::format::text::{clean, clean_line};
use crate::cmd::print_text;
use crate::spec::dockerfile::ast::{Dockerfile, Instruction, Warning};
use crate::spec::dockerfile::ignore::Ignore;
use crate::spec::dockerfile::lint::{self, LintInput};
use crate::spec::dockerfile::{report, stages};

/// The methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Build,
    Check,
    Outline,
    Targets,
}

impl Method {
    /// `--call` and `--check`.
    pub fn of(options: &WayOptions) -> Result<Self> {
        if options.check {
            return Ok(Self::Check);
        }
        Ok(match options.call.split(',').next().unwrap_or_default() {
            "" | "build" => Self::Build,
            "check" | "lint" => Self::Check,
            "outline" => Self::Outline,
            "targets" => Self::Targets,
            other => bail!("invalid --call {other:?}: must be one of build, check, lint, outline, targets"),
        })
    }
}

/// Prints what was asked for. Mistakes that were found make exit code 1.
pub fn run(method: Method, args: &Args, source: &Source) -> Result<ExitCode> {
    let parsed = match crate::spec::dockerfile::parse(&source.dockerfile) {
        Ok(parsed) => parsed,
        Err(error) => return failure::report(BuildError::Parse(error), &source.name, &source.dockerfile),
    };
    let target = stages::target(&parsed, args.source.target.as_deref()).map_err(|error| anyhow!("{error}"))?;
    match method {
        Method::Outline => print_text(&outline(&parsed, target, args)?)?,
        Method::Targets => print_text(&targets(&parsed))?,
        Method::Build | Method::Check => return check(&parsed, args, source),
    }
    Ok(ExitCode::SUCCESS)
}

fn check(parsed: &Dockerfile, args: &Args, source: &Source) -> Result<ExitCode> {
    let (warnings, _) = found(parsed, args, source)?;
    if warnings.is_empty() {
        print_text("Check complete, no warnings found.\n")?;
        return Ok(ExitCode::SUCCESS);
    }
    let count = warnings.len();
    let plural = if count == 1 { " has" } else { "s have" };
    let mut text = format!("Check complete, {count} warning{plural} been found!\n");
    for warning in &warnings {
        let url = lint::url(warning.rule).map_or_else(String::new, |url| format!(" - {url}"));
        text.push_str(&format!("\nWARNING: {}{url}\n", warning.rule));
        if let Some(about) = lint::description(warning.rule) {
            text.push_str(&format!("{about}\n"));
        }
        text.push_str(&format!("{}\n\n", clean_line(&warning.message)));
        text.push_str(&clean(&report::excerpt(&source.name, &source.dockerfile, warning.lines, None)));
    }
    print_text(&text)?;
    Ok(ExitCode::FAILURE)
}

/// The linter's remarks, and what the build fails with because of them.
pub fn found(parsed: &Dockerfile, args: &Args, source: &Source) -> Result<(Vec<Warning>, Option<String>)> {
    let given = values::build_args(&args.source.build_arg, &[])?;
    let written = given.get("BUILDKIT_DOCKERFILE_CHECK").or(parsed.directives.check.as_ref());
    let options = lint::Options::parse(written.map_or("", String::as_str))?;
    let text = source.context.as_ref().and_then(|context| context.ignore.as_deref());
    let ignore = text.map(Ignore::parse).transpose()?;
    let input = LintInput { options, ignore: ignore.as_ref(), base_env: &|_| None };
    let warnings = lint::lint(parsed, &source.dockerfile, &input);
    let violation = lint::violation(&input.options, &warnings);
    Ok((warnings, violation))
}

/// Each stage's name, the last one being the default.
fn targets(parsed: &Dockerfile) -> String {
    let mut text = String::from("TARGET              DESCRIPTION\n");
    let last = parsed.stages.len().saturating_sub(1);
    for (index, stage) in parsed.stages.iter().enumerate() {
        let name = match &stage.from.value.name {
            Some(name) if index == last => format!("{name} (default)"),
            Some(name) => name.clone(),
            None if index == last => "(default)".to_owned(),
            None => continue,
        };
        text.push_str(&format!("{}\n", clean_line(&name)));
    }
    text
}

/// The variables that the target's own stage and the beginning of the file declare.
fn outline(parsed: &Dockerfile, target: usize, args: &Args) -> Result<String> {
    let given = values::build_args(&args.source.build_arg, &args.source.build_arg_file)?;
    let stage = &parsed.stages[target];
    let mut text = String::new();
    if let Some(name) = &stage.from.value.name {
        text.push_str(&format!("TARGET:      {}\n\n", clean_line(name)));
    }
    text.push_str("BUILD ARG           VALUE               DESCRIPTION\n");
    let inner = stage.instructions.iter().filter_map(|one| match &one.value {
        Instruction::Arg(arg) => Some(arg),
        _ => None,
    });
    for item in parsed.args.iter().map(|one| &one.value).chain(inner).flat_map(|arg| &arg.0) {
        let value = given.get(&item.name).or(item.default.as_ref()).map_or("", String::as_str);
        text.push_str(&format!("{:<20}{}\n", clean_line(&item.name), clean_line(value)));
    }
    Ok(text)
}
