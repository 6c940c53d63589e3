//! What somebody who typed an unknown command or flag may have meant.

mod peers;

use anyhow::anyhow;

use super::error::{code_of, with_code};
use super::help::{typed, words};

/// What to say after `unknown command: NAME`; empty when nothing is known.
pub fn command(name: &str) -> String {
    let mut root = super::command();
    root.build();
    let path = typed(&root);
    let known = path[path.len() - 1].get_subcommands().filter(|sub| !sub.is_hide_set());
    let names: Vec<&str> =
        known.flat_map(|sub| std::iter::once(sub.get_name()).chain(sub.get_visible_aliases())).collect();
    let whole = format!("{} {name}", words(&path));
    hint(name, &names, peers::has_command(whole.trim()), "")
}

/// What to say after `unknown flag: FLAG`; empty when nothing is known.
pub fn flag(flag: &str) -> String {
    let mut root = super::command();
    root.build();
    let path = typed(&root);
    let command = path[path.len() - 1];
    let longs: Vec<&str> = command
        .get_arguments()
        .filter(|arg| !arg.is_hide_set())
        .flat_map(|arg| arg.get_long().into_iter().chain(arg.get_visible_aliases().unwrap_or_default()))
        .collect();
    let name = flag.split('=').next().unwrap_or(flag);
    match name.strip_prefix("--") {
        Some(long) => hint(long, &longs, peers::has_flag(command.get_name(), name), "--"),
        None => hint("", &[], peers::has_flag(command.get_name(), name), ""),
    }
}

/// Adds to the failure to execute `command` that its first word looks like a flag of ours, which
/// must come before the image or the container.
pub fn misplaced_flag(error: anyhow::Error, command: &[String], before: &str) -> anyhow::Error {
    const NOT_FOUND: u8 = 127;
    let text = format!("{error:#}");
    match command.first() {
        Some(word)
            if word.starts_with('-') && code_of(&error) == Some(NOT_FOUND) && text.contains(&format!("\"{word}\"")) =>
        {
            with_code(anyhow!("{text}; flags of rbox itself come before the {before}"), NOT_FOUND)
        }
        _ => error,
    }
}

fn hint(typed: &str, known: &[&str], peers_have_it: bool, dashes: &str) -> String {
    if peers_have_it {
        return "; docker or podman has it, this version of rbox does not".to_owned();
    }
    nearest(typed, known).map_or_else(String::new, |name| format!("; did you mean '{dashes}{name}'?"))
}

/// The known word that a slip of the fingers makes of it: one mistake in a short word, two in a
/// longer one, or the rest left out.
fn nearest<'a>(typed: &str, known: &[&'a str]) -> Option<&'a str> {
    let length = typed.chars().count();
    let allowed = match length {
        0 | 1 => return None,
        2..=4 => 1,
        _ => 2,
    };
    let distances = known.iter().map(|name| (distance(typed, name), *name));
    let close = distances.filter(|(distance, _)| *distance <= allowed).min();
    let begun = || known.iter().copied().filter(|name| length > 2 && name.starts_with(typed)).min();
    close.map(|(_, name)| name).or_else(begun)
}

/// How many letters must be added, left out, replaced or swapped with their neighbour (optimal
/// string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_counted() {
        for (a, b, expected) in
            [("run", "run", 0), ("rnu", "run", 1), ("", "abc", 3), ("stpo", "stop", 1), ("ca", "abc", 3), ("é", "e", 1)]
        {
            assert_eq!(distance(a, b), expected, "{a} {b}");
            assert_eq!(distance(b, a), expected, "{b} {a}");
        }
    }

    #[test]
    fn only_a_likely_word_is_suggested() {
        let known = ["run", "rm", "rmi", "exec", "images", "inspect", "version"];
        for (typed, expected) in [
            ("rnu", Some("run")),
            ("runn", Some("run")),
            ("rmm", Some("rm")),
            ("iamges", Some("images")),
            ("insp", Some("inspect")),
            ("exce", Some("exec")),
            ("vresoin", Some("version")),
            ("x", None),
            ("in", None),
            ("frobnicate", None),
            ("", None),
        ] {
            assert_eq!(nearest(typed, &known), expected, "{typed}");
        }
    }

    #[test]
    fn a_flag_behind_the_image_is_explained_only_when_it_was_not_found() {
        let failed = |code| with_code(anyhow!("exec: \"--rm\": executable file not found in $PATH"), code);
        let shown = |code, word: &str| {
            let error = misplaced_flag(failed(code), &[word.to_owned()], "image");
            assert_eq!(code_of(&error), Some(code));
            error.to_string()
        };
        assert!(shown(127, "--rm").ends_with("$PATH; flags of rbox itself come before the image"));
        for (code, word) in [(126, "--rm"), (127, "-x"), (127, "sh")] {
            assert!(shown(code, word).ends_with("$PATH"), "{code} {word}");
        }
    }

    #[test]
    fn what_only_the_peers_have_is_said() {
        assert_eq!(hint("build", &["run"], true, ""), "; docker or podman has it, this version of rbox does not");
        assert_eq!(hint("detatch", &["detach"], false, "--"), "; did you mean '--detach'?");
        assert_eq!(hint("zzz", &["detach"], false, "--"), "");
        assert!(peers::has_command("build") && peers::has_command("network ls") && !peers::has_command("frob"));
        assert!(
            peers::has_flag("run", "--publish") && peers::has_flag("create", "-p") && !peers::has_flag("run", "-Z")
        );
        assert!(peers::has_flag("start", "--all") && !peers::has_flag("tag", "--publish"));
    }
}
