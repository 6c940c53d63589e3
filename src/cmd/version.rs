//! `rbox version`. Client and server are this one program, which has both sections so that scripts
//! written for docker find their fields.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Result;
use serde_json::{Value, json};

use super::Context;
use super::format::document;
use super::format::table::{self, Layout};
use crate::spec::platform::Platform;

/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Show the rbox version information
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Format output: 'json' or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

/// Prints the version.
pub fn run(args: Args, _context: &Context) -> Result<ExitCode> {
    let mut out = Vec::new();
    let terminal = std::io::stdout().is_terminal();
    match args.format.as_deref() {
        Some(format) if !format.is_empty() => {
            document::write(&mut out, format, &describe(), "command.versionInfo", terminal)?;
        }
        _ => out.write_all(text().as_bytes())?,
    }
    super::print_bytes(&out)?;
    Ok(ExitCode::SUCCESS)
}

fn text() -> String {
    let platform = Platform::host();
    let system = format!("{}/{}", platform.os, platform.architecture);
    let mut text = format!("Client:\n Version:\t{VERSION}\n OS/Arch:\t{system}\n Context:\tdefault\n");
    // Writing to a String cannot fail.
    let _ = write!(text, "\nServer: rbox (no daemon)\n Engine:\n  Version:\t{VERSION}\n  OS/Arch:\t{system}\n");
    table::align(&text, Layout::VERSION)
}

fn describe() -> Value {
    let platform = Platform::host();
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let details = json!({"Arch": platform.architecture, "KernelVersion": kernel, "Os": platform.os});
    json!({
        "Client": {
            "Platform": {"Name": "rbox"},
            "Version": VERSION,
            "ApiVersion": "",
            "DefaultAPIVersion": "",
            "GitCommit": "",
            "GoVersion": "",
            "Os": platform.os,
            "Arch": platform.architecture,
            "BuildTime": "",
            "Context": "default",
        },
        "Server": {
            "Platform": {"Name": "rbox (no daemon)"},
            "Components": [{"Name": "Engine", "Version": VERSION, "Details": details}],
            "Version": VERSION,
            "ApiVersion": "",
            "MinAPIVersion": "",
            "GitCommit": "",
            "GoVersion": "",
            "Os": platform.os,
            "Arch": platform.architecture,
            "KernelVersion": kernel,
            "Experimental": false,
            "BuildTime": "",
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(template: &str) -> Result<String> {
        let mut out = Vec::new();
        document::write(&mut out, template, &describe(), "command.versionInfo", false)?;
        Ok(String::from_utf8(out)?)
    }

    #[test]
    fn both_sections_have_the_version() {
        assert_eq!(format("{{.Client.Version}} {{.Server.Version}}").unwrap(), format!("{VERSION} {VERSION}\n"));
        let json: Value = serde_json::from_str(&format("json").unwrap()).unwrap();
        assert_eq!(json["Server"]["Components"][0]["Name"], "Engine");
        assert!(text().starts_with(&format!("Client:\n Version:           {VERSION}\n")));
    }

    #[test]
    fn bad_templates_are_dockers_errors() {
        assert_eq!(format("{{.X").unwrap_err().to_string(), "template parsing error: template: :1: unclosed action");
        assert_eq!(
            format("{{.Nope}}").unwrap_err().to_string(),
            "template: :1:2: executing \"\" at <.Nope>: can't evaluate field Nope in type command.versionInfo"
        );
    }
}
