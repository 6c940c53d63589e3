//! Every command and flag against the table of what docker and podman have (tests/data/flags.txt):
//! nothing undocumented, nothing missing, no value that a mistyped one could get through as.
//!
//! `RBOX_REGENERATE=1 cargo test --test it flags::` writes docs/compatibility.md anew.

use std::any::TypeId;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::PathBuf;

use crate::common::{Bench, read};
use clap::{Arg, ArgAction, Command};

const TABLE: &str = "tests/data/flags.txt";
const DOCUMENT: &str = "docs/compatibility.md";

/// One flag of the peers, or of rbox alone.
#[derive(Clone, Debug)]
struct Flag {
    long: String,
    short: Option<char>,
    takes_value: bool,
    who: String,
    status: String,
}

/// The flags of one command, under all its names.
#[derive(Clone, Debug)]
struct Section {
    paths: Vec<String>,
    flags: Vec<Flag>,
}

#[derive(Debug, Default)]
struct Table {
    reasons: Vec<(String, String)>,
    /// Name, whose, status.
    commands: Vec<(String, String, String)>,
    sections: Vec<Section>,
}

impl Table {
    fn load() -> Self {
        let mut table = Self::default();
        let mut groups: BTreeMap<String, Vec<Flag>> = BTreeMap::new();
        let mut current: Option<Section> = None;
        for (number, line) in read(TABLE).lines().enumerate() {
            let bad = format!("{TABLE}:{}: cannot be read: {line}", number + 1);
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(rest) = line.strip_prefix("reason ") {
                let (word, text) = rest.split_once(' ').expect(&bad);
                table.reasons.push((word.to_owned(), text.trim().to_owned()));
            } else if let Some(rest) = line.strip_prefix("command ") {
                let words: Vec<&str> = rest.rsplitn(3, ' ').collect();
                let [status, who, name] = words[..] else { panic!("{bad}") };
                table.commands.push((name.trim_matches('\'').to_owned(), who.to_owned(), status.to_owned()));
            } else if let Some(head) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                table.close(current.take(), &mut groups);
                current = Some(Section { paths: head.split(", ").map(str::to_owned).collect(), flags: Vec::new() });
            } else {
                let section = current.as_mut().expect(&bad);
                match line.strip_prefix('+') {
                    Some(group) => section.flags.extend(groups.get(group).cloned().expect(&bad)),
                    None => section.flags.push(flag(line).expect(&bad)),
                }
            }
        }
        table.close(current, &mut groups);
        table
    }

    fn close(&mut self, section: Option<Section>, groups: &mut BTreeMap<String, Vec<Flag>>) {
        let Some(section) = section else { return };
        match section.paths[0].strip_prefix('+') {
            Some(group) => drop(groups.insert(group.to_owned(), section.flags)),
            None => self.sections.push(section),
        }
    }

    fn section(&self, path: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.paths.iter().any(|known| known == path))
    }

    fn statuses(&self) -> impl Iterator<Item = &str> {
        let flags = self.sections.iter().flat_map(|section| &section.flags).map(|flag| flag.status.as_str());
        self.commands.iter().map(|(.., status)| status.as_str()).chain(flags)
    }
}

fn flag(line: &str) -> Option<Flag> {
    let [long, short, kind, who, status] = line.split_whitespace().collect::<Vec<_>>()[..] else { return None };
    let short = match short.strip_prefix('-')? {
        "" => None,
        short => Some(short.chars().next()?),
    };
    let takes_value = match kind {
        "value" => true,
        "switch" => false,
        _ => return None,
    };
    let long = long.strip_prefix("--")?.to_owned();
    Some(Flag { long, short, takes_value, who: who.to_owned(), status: status.to_owned() })
}

fn tree() -> Command {
    let mut tree = rbox::cmd::command();
    tree.build();
    tree
}

/// All commands with their paths (without `rbox`), the groups included; `help` and what is below it
/// are clap's, and hidden ones are for the shells' completion.
fn walk<'a>(command: &'a Command, path: &str, found: &mut Vec<(String, &'a Command)>) {
    for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help" && !sub.is_hide_set()) {
        let path = if path.is_empty() { sub.get_name().to_owned() } else { format!("{path} {}", sub.get_name()) };
        found.push((path.clone(), sub));
        walk(sub, &path, found);
    }
}

fn commands(tree: &Command) -> Vec<(String, &Command)> {
    let mut found = Vec::new();
    walk(tree, "", &mut found);
    found
}

/// A command's own flags by each of their long names; those of rbox itself and help are left out.
fn flags(command: &Command, top: bool) -> Vec<(String, &Arg)> {
    let own = command.get_arguments().filter(|arg| arg.get_id() != "help" && (top || !arg.is_global_set()));
    let mut found = Vec::new();
    for arg in own.filter(|arg| !arg.is_positional()) {
        let long =
            arg.get_long().unwrap_or_else(|| panic!("{}: {} has no long name", command.get_name(), arg.get_id()));
        let aliases = arg.get_all_aliases().unwrap_or_default();
        found.extend([long].into_iter().chain(aliases).map(|name| (name.to_owned(), arg)));
    }
    found
}

/// Whether a flag consumes a value; booleans take one only after `=`.
fn takes_value(arg: &Arg) -> bool {
    !matches!(arg.get_action(), ArgAction::SetTrue | ArgAction::Version | ArgAction::Help)
        && arg.get_num_args().is_none_or(|range| range.min_values() > 0)
}

fn is_refused(arg: &Arg) -> bool {
    arg.get_help().is_some_and(|help| help.to_string().starts_with("Refused: "))
}

#[test]
fn the_tree_and_the_table_agree() {
    let (tree, table) = (tree(), Table::load());
    let mut wrong = Vec::new();
    let mut compare = |path: &str, command: &Command| {
        let Some(section) = table.section(path) else {
            wrong.push(format!("{path}: has no section"));
            return;
        };
        let built = flags(command, path == "rbox");
        for (long, arg) in &built {
            match section.flags.iter().find(|flag| flag.long == *long) {
                None => wrong.push(format!("{path} --{long}: is in the tree but in no row")),
                // Known only so that it can say why it is not taken.
                Some(row) if row.status.starts_with("never:") && is_refused(arg) => {}
                Some(row) if row.status != "built" => {
                    wrong.push(format!("{path} --{long}: is in the tree but the table says {}", row.status));
                }
                Some(row) => {
                    // An alias shares the shorthand with the flag's own name.
                    let short = arg.get_short().filter(|_| arg.get_long() == Some(long));
                    if row.short != short {
                        wrong.push(format!("{path} --{long}: shorthand {short:?}, in the table {:?}", row.short));
                    }
                    if row.takes_value != takes_value(arg) {
                        wrong.push(format!("{path} --{long}: in the table it is a {}", kind(row)));
                    }
                }
            }
        }
        for row in section.flags.iter().filter(|row| row.status == "built") {
            if !built.iter().any(|(long, _)| *long == row.long) {
                wrong.push(format!("{path} --{}: is built by the table and not in the tree", row.long));
            }
        }
    };
    compare("rbox", &tree);
    for (path, command) in commands(&tree).iter().filter(|(_, command)| !command.has_subcommands()) {
        compare(path, command);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_commands_and_the_table_agree() {
    let (tree, table) = (tree(), Table::load());
    let mut built = BTreeSet::from(["help".to_owned()]);
    for (path, command) in commands(&tree) {
        let front = path.rsplit_once(' ').map_or(String::new(), |(front, _)| format!("{front} "));
        built.extend(command.get_all_aliases().map(|alias| format!("{front}{alias}")));
        built.insert(path);
    }
    let listed: BTreeSet<String> =
        table.commands.iter().filter(|(.., status)| status == "built").map(|(name, ..)| name.clone()).collect();
    assert_eq!(built, listed, "commands of the tree, and those that the table calls built");
    let unknown: Vec<&String> = table
        .sections
        .iter()
        .flat_map(|section| &section.paths)
        .filter(|path| *path != "rbox" && !built.contains(*path))
        .collect();
    assert!(unknown.is_empty(), "sections of commands that do not exist: {unknown:?}");
}

#[test]
fn the_table_is_sound() {
    let table = Table::load();
    let reasons: BTreeSet<&str> = table.reasons.iter().map(|(word, _)| word.as_str()).collect();
    let mut used = BTreeSet::new();
    for status in table.statuses().filter(|status| *status != "built") {
        let (when, reason) = status.split_once(':').unwrap_or_else(|| panic!("status {status:?}"));
        assert!(["later", "never"].contains(&when), "status {status:?}");
        assert!(reasons.contains(reason), "no reason {reason:?} is given");
        used.insert(reason);
    }
    assert_eq!(reasons, used, "reasons, and those that are used");
    for section in &table.sections {
        let names: Vec<&String> = section.flags.iter().map(|flag| &flag.long).collect();
        let once: BTreeSet<&String> = names.iter().copied().collect();
        assert_eq!(names.len(), once.len(), "a flag twice in {:?}", section.paths);
        assert!(section.flags.iter().all(|flag| ["D", "P", "DP", "R"].contains(&flag.who.as_str())));
    }
}

#[test]
fn everything_has_a_help_text() {
    let tree = tree();
    let mut silent = Vec::new();
    let mut look = |path: &str, command: &Command| {
        let text =
            |text: Option<&clap::builder::StyledStr>| text.is_some_and(|text| !text.to_string().trim().is_empty());
        if !text(command.get_about()) {
            silent.push(path.to_owned());
        }
        for arg in command.get_arguments().filter(|arg| !text(arg.get_help())) {
            silent.push(format!("{path}: {}", arg.get_id()));
        }
    };
    look("rbox", &tree);
    for (path, command) in commands(&tree) {
        look(&path, command);
    }
    assert!(silent.is_empty(), "without help: {silent:#?}");
}

#[test]
fn the_compatibility_page_is_fresh() {
    let rendered = render(&Table::load());
    if std::env::var_os("RBOX_REGENERATE").is_some() {
        std::fs::write(DOCUMENT, &rendered).unwrap();
    }
    let hint = "stale: RBOX_REGENERATE=1 cargo test --test it flags:: writes it anew";
    assert!(read(DOCUMENT) == rendered, "{DOCUMENT} is {hint}");
}

fn render(table: &Table) -> String {
    let mut page = String::from(
        "# Compatibility\n\n\
         Which commands and flags of docker and podman rbox has. Where the two differ, rbox does what docker\n\
         does. This page is made from `tests/data/flags.txt`, to which a test holds the program.\n\n\
         What is not here is refused with `unknown flag` or `unknown command`, never ignored.\n\n\
         ## Commands\n\n| command | docker | podman | rbox |\n|---|---|---|---|\n",
    );
    let mark = |who: &str, letter: char| if who.contains(letter) { "yes" } else { "" };
    for (name, who, status) in &table.commands {
        let _ = writeln!(page, "| `{name}` | {} | {} | {} |", mark(who, 'D'), mark(who, 'P'), shown(status));
    }
    for section in &table.sections {
        let names: Vec<String> = section.paths.iter().map(|path| format!("`{path}`")).collect();
        let _ = writeln!(page, "\n## {}\n", names.join(", "));
        if section.flags.is_empty() {
            page.push_str("No flags.\n");
            continue;
        }
        page.push_str("| flag | docker | podman | rbox |\n|---|---|---|---|\n");
        for flag in &section.flags {
            let short = flag.short.map_or_else(String::new, |short| format!("-{short}, "));
            let value = if flag.takes_value { " VALUE" } else { "" };
            let (docker, podman) = (mark(&flag.who, 'D'), mark(&flag.who, 'P'));
            let _ =
                writeln!(page, "| `{short}--{}{value}` | {docker} | {podman} | {} |", flag.long, shown(&flag.status));
        }
    }
    page.push_str("\n## Reasons\n\n");
    for (word, text) in &table.reasons {
        let _ = writeln!(page, "- **{word}**: {text}");
    }
    page
}

fn shown(status: &str) -> String {
    match status.split_once(':') {
        Some((when, reason)) => format!("{when}: {reason}"),
        None => "yes".to_owned(),
    }
}

fn kind(flag: &Flag) -> &'static str {
    if flag.takes_value { "flag with a value" } else { "switch" }
}

/// What no flag can mean, with bytes that must not reach a terminal.
const GARBAGE: &str = "\u{1}gar\u{1b}[31m\u{202e}bage\u{7}\n";

/// What stands in for each positional argument: nothing that exists, or that can be made.
fn positionals(path: &str, command: &Command) -> Vec<&'static str> {
    let required = command.get_positionals().filter(|arg| arg.is_required_set() || arg.get_id() == "containers");
    required.map(|_| if path == "network create" { "bridge" } else { "nosuch" }).collect()
}

#[test]
fn a_mistyped_value_is_one_clear_line() {
    let (tree, bench) = (tree(), Bench::new());
    bench.ok(&["ps"]);
    let before = contents(&bench);
    let mut wrong = Vec::new();
    let mut tried = 0;
    for (path, command) in commands(&tree).iter().filter(|(_, command)| !command.has_subcommands()) {
        for (long, arg) in flags(command, false) {
            let given = format!("--{long}={GARBAGE}");
            let mut args: Vec<&str> = path.split(' ').chain([given.as_str()]).collect();
            // With a value that is taken as it is, the command fails because nothing exists.
            if path.ends_with("run") || path.ends_with("create") {
                args.push("--pull=never");
            }
            // Else it waits for what happens next.
            if path.ends_with("events") {
                args.push("--stream=false");
            }
            args.extend(positionals(path, command));
            let output = bench.rbox(&args).run();
            tried += 1;
            let mut complain = |what: &str| wrong.push(format!("{path} --{long}: {what}\n{}", output.report()));
            let lines = output.err().lines().count();
            let steers = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(|c: char| c != '\n' && is_control(c));
            if output.err().contains("panicked") || output.signal.is_some() {
                complain("panics");
            }
            if steers(&output.stderr) {
                complain("sends control bytes to the terminal");
            }
            if !output.err().is_empty() && (lines != 1 || !output.err().starts_with("rbox: ")) {
                complain("does not fail with one line of rbox's");
            }
            if is_typed(arg) {
                let named = format!("--{}\" flag: ", arg.get_long().expect("flags have one"));
                if output.code != 125 || !output.err().contains("invalid argument ") || !output.err().contains(&named) {
                    complain("is not refused as an invalid argument");
                }
            }
            let prints = ["doctor", "ps", "images", "info", "version", "ls", "df", "du", "events"]
                .iter()
                .any(|name| path.ends_with(name));
            if output.code == 0 && !prints && !path.ends_with("prune") && !long.starts_with("ignore") {
                complain("succeeds");
            }
            if (path.ends_with("run") || path.ends_with("create")) && output.code != 125 {
                complain("does not exit with 125");
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(tried > 100, "only {tried} flags were tried");
    assert_eq!(contents(&bench), before, "a mistyped value left something");
}

/// Whether clap itself checks the value, rather than the command.
fn is_typed(arg: &Arg) -> bool {
    let plain = [TypeId::of::<String>(), TypeId::of::<PathBuf>(), TypeId::of::<OsString>()];
    let kind = arg.get_value_parser().type_id();
    // A refusal would quote it.
    let secret = ["creds", "password"].iter().any(|name| arg.get_id() == name);
    !secret && !plain.iter().any(|plain| kind == *plain)
}

fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn contents(bench: &Bench) -> Vec<String> {
    let listing = crate::common::program("find").arg(bench.root()).arg(bench.path("")).ok();
    listing.lines().map(str::to_owned).collect()
}

#[test]
fn a_flag_without_its_value_is_named() {
    let bench = Bench::new();
    for (args, text) in [
        (&["ps", "--format"][..], "flag needs an argument: --format"),
        (&["ps", "-f"], "flag needs an argument: --filter"),
        (&["container", "run", "--name"], "flag needs an argument: --name"),
        (&["ps", "--nosuch"], "unknown flag: --nosuch; see 'rbox ps --help'"),
        (&["container", "ls", "-Z"], "unknown flag: -Z; see 'rbox container ls --help'"),
        (&["ps", "--all=maybe"], "invalid argument \"maybe\" for \"-a, --all\" flag: strconv.ParseBool"),
        (&["inspect", "--type", "pod", "x"], "invalid argument \"pod\" for \"-t, --type\" flag: must be one of all, "),
        (&["kill", "-s", "NOSUCH", "x"], "invalid argument \"NOSUCH\" for \"-s, --signal\" flag: "),
        (&["ps", "-n", "x"], "\"-n, --last\" flag: strconv.ParseInt: parsing \"x\": invalid syntax"),
        (&["ps", "-n", "99999999999999999999"], "\": value out of range"),
        (&["stop", "-t", "1h", "x"], "invalid argument \"1h\" for \"-t, --timeout\" flag: "),
    ] {
        bench.rbox(args).run().refused(125, text);
    }
    for (args, text) in [
        (&["nosuch"][..], "unknown command: nosuch; see 'rbox --help'"),
        (&["container", "nosuch"], "unknown command: container nosuch; see 'rbox container --help'"),
        (&["rm"], "missing argument: "),
        (&["rm", "--all=false"], "requires at least 1 argument"),
        (&["rename", "x"], "missing argument: "),
        (&["\u{1b}[31m"], "unknown command: \\x1b[31m"),
    ] {
        bench.rbox(args).run().refused(1, text);
    }
}
