//! `--format` of the commands that describe one thing: `json` or a template.

use std::io::Write;

use anyhow::{Result, anyhow};
use serde_json::Value;

use super::table::{self, Layout};
use super::template::{Data, Functions, Names, Template, TemplateError};
use crate::cmd::error::with_code;

/// Exit code for a template that does not parse.
pub const BAD_TEMPLATE: u8 = 64;

/// The error of a template that does not parse, with docker's exit code.
pub fn unparsable(error: TemplateError) -> anyhow::Error {
    with_code(anyhow!("template parsing error: {error}"), BAD_TEMPLATE)
}

/// Prints the document by a template; `go_type` is the type that docker's errors name.
pub fn write(out: &mut dyn Write, format: &str, document: &Value, go_type: &'static str, safe: bool) -> Result<()> {
    let format = if format == "json" { "{{json .}}" } else { format };
    let template = Template::parse(format, Functions::Values).map_err(unparsable)?;
    let text = template.render(&Data::new(document, Names::Struct(go_type), safe))?;
    writeln!(out, "{}", table::align(&text, Layout::VERSION))?;
    Ok(())
}
