//! `secret inspect`: everything about secrets, and their bytes only when asked for.

use std::fmt::Write as _;
use std::process::ExitCode;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::go_time;
use crate::cmd::format::text::clean_line;
use crate::cmd::inspect::print_objects;
use crate::cmd::{Context, error, print_text};
use crate::spec::secret::Secret;
use crate::store::Store;

/// Show everything about secrets, as JSON; their bytes only with --showsecret
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Format output: 'json' or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Print the information in a form for people
    #[arg(long)]
    pretty: bool,
    /// Show the bytes too, as text
    #[arg(long)]
    showsecret: bool,
    /// Secrets by name, id or unique prefix of the id
    #[arg(required = true, value_name = "SECRET")]
    secrets: Vec<String>,
}

/// Prints what is found; what is not is reported on stderr and makes the exit code 1.
pub fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    let store = context.store()?;
    if !args.pretty {
        return print_objects(&args.secrets, args.format.as_deref(), |name| describe(store, name, args.showsecret));
    }
    if args.format.as_deref().is_some_and(|format| !format.is_empty()) || args.showsecret {
        bail!("--pretty goes with neither --format nor --showsecret");
    }
    let mut failed = false;
    for name in &args.secrets {
        match store.secrets().find(name) {
            Ok(secret) => print_text(&pretty(&secret))?,
            Err(error) => {
                error::print(&error.into());
                failed = true;
            }
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// podman's shape.
fn describe(store: &Store, name: &str, shown: bool) -> Result<Value> {
    let (secret, payload) = match shown {
        true => store.secrets().read(name).map(|(secret, payload)| (secret, Some(payload)))?,
        false => (store.secrets().find(name)?, None),
    };
    let mut object = json!({
        "ID": secret.id,
        "CreatedAt": secret.created,
        "UpdatedAt": secret.updated,
        "Spec": {"Name": secret.name, "Driver": {"Name": "file", "Options": {}}, "Labels": secret.labels},
    });
    if let (Some(payload), Value::Object(object)) = (payload, &mut object) {
        object.insert("SecretData".to_owned(), json!(String::from_utf8_lossy(payload.as_bytes())));
    }
    Ok(object)
}

fn pretty(secret: &Secret) -> String {
    let mut text = format!("ID:              {}\nName:            {}\n", secret.id, clean_line(&secret.name));
    if !secret.labels.is_empty() {
        text.push_str("Labels:\n");
    }
    for (name, value) in &secret.labels {
        let value = if value.is_empty() { String::new() } else { format!("={value}") };
        // Writing to a String cannot fail.
        let _ = writeln!(text, " - {}", clean_line(&format!("{name}{value}")));
    }
    let (created, updated) = (go_time(&secret.created), go_time(&secret.updated));
    text + &format!("Driver:          file\nCreated at:      {created}\nUpdated at:      {updated}\n")
}
