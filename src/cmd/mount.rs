//! `mount`, `unmount` and the same of images: root file systems for a look from outside. Only root,
//! also the root of `rbox unshare`, can mount.

pub mod container;
pub mod image;

use anyhow::{Result, anyhow};
use serde_json::{Value, json};

use super::error::with_code;
use super::format::json;
use super::print_text;
use crate::sandbox::mounted;

/// podman's words where nothing can be mounted.
fn check_possible(command: &str) -> Result<()> {
    if mounted::is_possible() {
        return Ok(());
    }
    let text = format!("cannot run command \"rbox {command}\" in rootless mode, must execute `rbox unshare` first");
    Err(with_code(anyhow!(text), 125))
}

/// `--format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Form {
    #[default]
    Lines,
    Json,
}

fn form(text: &str) -> Result<Form, String> {
    match text {
        "" => Ok(Form::Lines),
        "json" => Ok(Form::Json),
        _ => Err(format!("unknown --format argument: {text:?}")),
    }
}

/// What is mounted, as it is listed.
struct Row {
    id: String,
    /// In the list.
    label: String,
    names: Vec<String>,
    /// Of an image.
    repositories: Option<Vec<String>>,
    path: String,
}

impl Row {
    /// podman's keys.
    fn to_json(&self) -> Value {
        let mut value = json!({ "id": self.id, "Names": self.names });
        if let Some(repositories) = &self.repositories {
            value["Repositories"] = json!(repositories);
        }
        value["mountpoint"] = json!(self.path);
        value
    }
}

fn print(rows: &[Row], form: Form, paths_only: bool) -> Result<()> {
    let text = match form {
        Form::Json => json::indented(&Value::Array(rows.iter().map(Row::to_json).collect()), " ") + "\n",
        Form::Lines if paths_only => rows.iter().map(|row| format!("{}\n", row.path)).collect(),
        Form::Lines => {
            let width = rows.iter().map(|row| row.label.chars().count()).max().unwrap_or_default();
            rows.iter().map(|row| format!("{:width$}  {}\n", row.label, row.path)).collect()
        }
    };
    print_text(&text)
}
