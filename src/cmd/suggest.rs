//! What somebody who typed an unknown command or flag may have meant.

mod peers;

use anyhow::anyhow;

use super::error::{code_of, with_code};
use super::help::{typed, words};
use crate::spec::similar::nearest;

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

#[cfg(test)]
mod tests {
    use super::*;

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
