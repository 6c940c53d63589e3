//! The command line as the parser should see it.

use std::ffi::OsString;

use clap::Command;

use super::complete::position::foreign_start;

/// Puts `--` behind the image of `run` and `create` and the container of `exec`: docker reads no
/// flags there, while clap would until the first word of the command.
pub fn end_flags(root: &Command, mut words: Vec<OsString>) -> Vec<OsString> {
    let texts: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    // A noun's commands are there only when the tree was built.
    let noun = texts.iter().skip(1).find_map(|word| root.find_subcommand(word));
    let start = if noun.is_some_and(|command| command.get_arguments().next().is_none()) {
        let mut built = root.clone();
        built.build();
        foreign_start(&built, &texts)
    } else {
        foreign_start(root, &texts)
    };
    if let Some(start) = start {
        words.insert(start, OsString::from("--"));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &[&str]) -> Vec<String> {
        let root = crate::cmd::command();
        let words = end_flags(&root, line.iter().map(OsString::from).collect());
        let matches = root.try_get_matches_from(words).unwrap();
        let (_, mut run) = matches.subcommand().unwrap();
        while let Some((_, inner)) = run.subcommand() {
            run = inner;
        }
        run.get_many::<String>("command").into_iter().flatten().cloned().collect()
    }

    #[test]
    fn flags_behind_the_image_are_the_commands() {
        for rest in [&["-e", "A=b", "env"][..], &["--rm"], &["--", "x"], &["-"], &["--help"], &["x", "--", "y"], &[]] {
            assert_eq!(parsed(&[&["rbox", "run", "--rm", "alpine"], rest].concat()), rest);
            assert_eq!(parsed(&[&["rbox", "create", "-it", "--", "alpine"], rest].concat()), rest);
        }
        assert_eq!(parsed(&["rbox", "exec", "-it", "web", "-x", "--tty"]), ["-x", "--tty"]);
        assert_eq!(parsed(&["rbox", "container", "run", "-it", "alpine", "-e", "--tty"]), ["-e", "--tty"]);
    }
}
