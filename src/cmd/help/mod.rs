//! Help: one page a command, all from the command tree and the table of [`topics`]. The man pages
//! are made of the same parts.

pub mod flags;
pub mod layout;
pub mod topics;

use std::fmt::Write;

use clap::Command;

use self::flags::{about, grouped, placeholder, spec};
use self::layout::{left_width, row};
use super::complete::position::Position;

/// What people need first, in docker's order.
const COMMON: &[&str] =
    &["run", "exec", "ps", "build", "pull", "push", "images", "login", "logout", "search", "version", "info"];

/// The page that the invocation asks for, by `--help`, by `help`, or by lacking a command.
pub fn requested() -> String {
    let mut root = super::command();
    root.build();
    page(&typed(&root))
}

/// The commands that the invocation names, the program itself first.
pub fn typed(root: &Command) -> Vec<&Command> {
    let words: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    // The last word counts as finished.
    let words = [words, vec![String::new()]].concat();
    Position::find(root, &words).path
}

/// The page of the command at the end of `path`, which begins with the program; all are built.
pub fn page(path: &[&Command]) -> String {
    let Some(command) = path.last() else { return String::new() };
    let words = words(path);
    let mut out = format!("Usage:  {}\n", usage(path));
    if let Some(text) = command.get_about() {
        let _ = write!(out, "\n{text}\n");
    }
    write_aliases(&mut out, path);
    write_lists(&mut out, command, path.len() == 1);
    if let Some((topic, base)) = topics::find(&words) {
        write_examples(&mut out, topic, base, &words);
    }
    if command.has_subcommands() {
        let _ = write!(out, "\nRun 'rbox {}COMMAND --help' for more information on a command.\n", prefix(&words));
    }
    out
}

/// `system check`: the words of a command after the program's name.
pub fn words(path: &[&Command]) -> String {
    path.iter().skip(1).map(|command| command.get_name()).collect::<Vec<_>>().join(" ")
}

fn prefix(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!("{words} ") }
}

/// `rbox run [OPTIONS] IMAGE [COMMAND] [ARG...]`.
pub fn usage(path: &[&Command]) -> String {
    let mut parts: Vec<String> = path.iter().map(|command| command.get_name().to_owned()).collect();
    let Some(command) = path.last() else { return String::new() };
    let own = grouped(command).iter().any(|(heading, _)| *heading != flags::GLOBAL);
    parts.extend((own || path.len() == 1).then(|| "[OPTIONS]".to_owned()));
    parts.extend(command.has_subcommands().then(|| "COMMAND".to_owned()));
    parts.extend(command.get_positionals().map(placeholder));
    let usage = parts.join(" ");
    // Of exec the second word is needed, but for the flags that name the container.
    if command.get_name() == "exec" { usage.replace("[COMMAND]", "COMMAND") } else { usage }
}

/// The commands below one under their headings.
pub fn command_groups(command: &Command, is_root: bool) -> Vec<(&'static str, Vec<&Command>)> {
    let shown = || command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help");
    let is_common = |sub: &&Command| is_root && COMMON.contains(&sub.get_name());
    let by_name = |mut commands: Vec<_>| -> Vec<&Command> {
        commands.sort_by_key(|command: &&Command| command.get_name());
        commands
    };
    let common = if is_root { COMMON } else { &[] };
    let common = common.iter().filter_map(|name| shown().find(|sub| sub.get_name() == *name)).collect();
    let (nouns, verbs) = shown().filter(|sub| !is_common(sub)).partition(|sub| sub.has_subcommands());
    let groups = [("Common Commands", common), ("Management Commands", by_name(nouns)), ("Commands", by_name(verbs))];
    groups.into_iter().filter(|(_, commands)| !commands.is_empty()).collect()
}

fn write_aliases(out: &mut String, path: &[&Command]) {
    let Some((command, above)) = path.split_last() else { return };
    let own = std::iter::once(command.get_name()).chain(command.get_visible_aliases());
    let before: Vec<&str> = above.iter().map(|command| command.get_name()).collect();
    let all: Vec<String> = own.map(|name| format!("{} {name}", before.join(" "))).collect();
    if all.len() > 1 {
        let _ = write!(out, "\nAliases:\n  {}\n", all.join(", "));
    }
}

/// Arguments, commands and flags, with one left column for all.
fn write_lists(out: &mut String, command: &Command, is_root: bool) {
    let mut lists: Vec<(&str, Vec<(String, String)>)> = Vec::new();
    let arguments = command.get_positionals().map(|arg| (value(arg), about(arg))).collect();
    lists.push(("Arguments", arguments));
    for (heading, commands) in command_groups(command, is_root) {
        let line = |sub: &&Command| (sub.get_name().to_owned(), about_of(sub));
        lists.push((heading, commands.iter().map(line).collect()));
    }
    for (heading, args) in grouped(command) {
        lists.push((heading, args.iter().map(|arg| (spec(arg), about(arg))).collect()));
    }
    let width = left_width(lists.iter().flat_map(|(_, rows)| rows).map(|(left, _)| left.as_str()));
    for (heading, rows) in lists.iter().filter(|(_, rows)| !rows.is_empty()) {
        let _ = write!(out, "\n{heading}:\n");
        rows.iter().for_each(|(left, right)| row(out, left, right, width));
    }
}

fn value(arg: &clap::Arg) -> String {
    arg.get_value_names().and_then(|names| names.first()).map_or_else(String::new, ToString::to_string)
}

fn about_of(command: &Command) -> String {
    command.get_about().map(ToString::to_string).unwrap_or_default()
}

fn write_examples(out: &mut String, topic: &topics::Topic, base: &str, words: &str) {
    if !topic.examples.is_empty() {
        out.push_str("\nExamples:\n");
    }
    for (purpose, line) in topic.examples {
        let _ = writeln!(out, "  # {purpose}\n  {}", topics::spelled(line, base, words));
    }
}

#[cfg(test)]
mod tests;
