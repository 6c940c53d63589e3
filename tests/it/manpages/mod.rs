//! The man pages in `man/` are made from the command tree, and fail this test when they are stale.
//! `RBOX_REGENERATE=1 cargo test --test it manpages::` writes them anew.

mod page;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Command;

use crate::common::{names_in, program, read, skip};

/// As cargo has it now: the tests may run from a copy of the tree.
fn tree() -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("started by cargo or scripts/test.sh"))
}

fn commands() -> Command {
    let mut root = rbox::cmd::command();
    root.build();
    root
}

/// Calls `visit` with the path to every command that has a page.
fn each<'a>(path: &mut Vec<&'a Command>, visit: &mut dyn FnMut(&[&'a Command])) {
    visit(path);
    let command = path[path.len() - 1];
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
        path.push(sub);
        each(path, visit);
        path.pop();
    }
}

fn pages() -> BTreeMap<String, String> {
    let root = commands();
    let mut pages = BTreeMap::new();
    each(&mut vec![&root], &mut |path| {
        pages.insert(page::file_name(path), page::page(path));
    });
    pages
}

#[test]
fn pages_are_those_of_the_commands() {
    let directory = tree().join("man");
    let pages = pages();
    if std::env::var_os("RBOX_REGENERATE").is_some() {
        std::fs::create_dir_all(&directory).expect("a directory of the tree");
        for stale in names_in(&directory).iter().filter(|name| !pages.contains_key(*name)) {
            std::fs::remove_file(directory.join(stale)).expect("a page of the tree");
        }
        pages.iter().for_each(|(name, text)| crate::common::write(directory.join(name), text));
    }
    let stale = "the man pages are stale: run RBOX_REGENERATE=1 cargo test --test it manpages::";
    assert_eq!(names_in(&directory), pages.keys().cloned().collect::<Vec<_>>(), "{stale}");
    for (name, text) in &pages {
        assert!(read(directory.join(name)) == *text, "{name}: {stale}");
    }
    assert!(pages.len() > 20, "{}", pages.len());
}

#[test]
fn every_page_has_every_section() {
    for (name, text) in pages() {
        let sections: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix(".SH ")).collect();
        let mut wanted = vec!["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "\"EXIT STATUS\""];
        if !text.contains(".SH COMMANDS") {
            wanted.push("EXAMPLES");
        }
        if name != "rbox.1" || text.contains(".SH \"SEE ALSO\"") {
            wanted.push("\"SEE ALSO\"");
        }
        if name == "rbox.1" {
            wanted.extend(["COMMANDS", "ENVIRONMENT", "FILES", "EXAMPLES"]);
        }
        assert!(wanted.iter().all(|section| sections.contains(section)), "{name}: {sections:?}");
        assert!(!text.contains("/work") && !text.contains("/home/"), "{name}");
    }
}

#[test]
fn every_variable_of_a_flag_is_explained() {
    let root = commands();
    let mut seen = 0;
    each(&mut vec![&root], &mut |path| {
        for variable in path[path.len() - 1].get_arguments().filter_map(clap::Arg::get_env) {
            seen += 1;
            let variable = variable.to_string_lossy();
            assert!(page::explains(&variable), "tests/it/manpages/page.rs: ENVIRONMENT lacks {variable}");
        }
    });
    assert!(seen > 1, "{seen}");
}

#[test]
fn formatters_have_nothing_to_say() {
    if !has("man") || !has("mandoc") {
        return skip("man-db or mandoc is not installed");
    }
    for name in names_in(tree().join("man")) {
        let path = tree().join("man").join(&name);
        let shown =
            program("man").args(["--warnings", "-E", "UTF-8", "-l"]).arg(&path).env("MANWIDTH", "80").run().ok();
        assert_eq!(shown.err(), "", "{name}");
        assert!(shown.out().contains("SYNOPSIS"), "{name}");
        // The title has no date, so that the same input makes the same page.
        let lint = program("mandoc").args(["-T", "lint", "-W", "warning"]).arg(&path).run();
        let findings: Vec<String> =
            lint.out().lines().filter(|line| !line.contains("missing date")).map(str::to_owned).collect();
        assert!(findings.is_empty(), "{name}: {findings:#?}");
        let index = program("lexgrog").arg(&path).run().ok().out();
        assert!(index.contains(&format!("\"{} - ", name.trim_end_matches(".1"))), "{name}: {index}");
    }
}

fn has(name: &str) -> bool {
    program("sh").args(["-c", &format!("command -v {name}")]).run().code == 0
}
