//! `quadlet ls`: the files and the state of their services.

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;

use super::directories::{self, Scope};
use super::{manager, read};
use crate::cmd::format::filter::{Filter, Filters};
use crate::cmd::format::list::{Format, Listing, Row};
use crate::cmd::format::text::{clean_line, warn};
use crate::cmd::print_bytes;

/// List Quadlet files
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Show only what matches (name, a pattern; status, its beginning)
    #[arg(short, long, value_name = "KEY=VALUE")]
    filter: Vec<Filter>,
    /// Format output: 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "FORMAT", default_value = "table", hide_default_value = true)]
    format: String,
}

const LISTING: Listing = Listing {
    go_type: "*quadlet.ListQuadlet",
    titles: &[
        ("Name", "NAME"),
        ("UnitName", "UNIT NAME"),
        ("Path", "PATH ON DISK"),
        ("Status", "STATUS"),
        ("App", "APPLICATION"),
    ],
};

const TABLE: &str = "table {{.Name}}\t{{.UnitName}}\t{{.Path}}\t{{.Status}}\t{{.App}}";

/// Prints the list.
pub fn run(args: Args) -> Result<ExitCode> {
    let scope = Scope::own();
    let template = if matches!(&*args.format, "" | "table") { TABLE } else { &args.format };
    let format = Format::parse(template)?;
    let filters = Filters::new(args.filter, &["name", "status"])?;
    let searched = directories::searched(scope);
    let found = read::collect(&searched);
    let services: Vec<String> = found.sources.0.iter().map(|source| source.service()).collect();
    let states = manager::states(scope, &services);
    let mut rows = Vec::new();
    for source in &found.sources.0 {
        let service = source.service();
        let status = states.get(&service).cloned().unwrap_or_else(|| "unknown".to_owned());
        let names = |filter: &str| matches_name(filter, &source.name);
        if filters.any("name", names) && filters.any("status", |filter| status.starts_with(filter)) {
            rows.push(Row::new([
                ("Name", source.name.clone()),
                ("UnitName", service),
                ("Path", source.path.clone()),
                ("Status", status),
                ("App", application(Path::new(&source.path), &searched)),
            ]));
        }
    }
    let mut out = Vec::new();
    format.write(&mut out, LISTING, &rows, std::io::stdout().is_terminal())?;
    print_bytes(&out)?;
    found.problems.iter().for_each(|text| warn(&clean_line(text)));
    Ok(ExitCode::SUCCESS)
}

/// The directory that a file was installed with, within those that are searched.
pub fn application(path: &Path, searched: &[std::path::PathBuf]) -> String {
    let parent = path.parent().unwrap_or(path);
    let inner = searched.iter().find_map(|directory| parent.strip_prefix(directory).ok());
    let first = inner.and_then(|inner| inner.components().next());
    first.map_or_else(String::new, |first| first.as_os_str().to_string_lossy().into_owned())
}

/// As a whole, or with `*` for anything.
fn matches_name(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let Some(last) = parts.next_back() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_matched() {
        for (pattern, name, expected) in [
            ("web.container", "web.container", true),
            ("web", "web.container", false),
            ("web*", "web.container", true),
            ("*.container", "web.container", true),
            ("w*b*er", "web.container", true),
            ("*x*", "web.container", false),
            ("", "web", false),
        ] {
            assert_eq!(matches_name(pattern, name), expected, "{pattern}");
        }
        let searched = ["/a/b".into()];
        assert_eq!(application(Path::new("/a/b/app/x/web.container"), &searched), "app");
        assert_eq!(application(Path::new("/a/b/web.container"), &searched), "");
    }
}
