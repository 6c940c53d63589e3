use super::*;

fn each_page(visit: &mut dyn FnMut(&str, &str)) {
    fn walk<'a>(path: &mut Vec<&'a Command>, visit: &mut dyn FnMut(&str, &str)) {
        visit(&words(path), &page(path));
        let command = path[path.len() - 1];
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
            path.push(sub);
            walk(path, visit);
            path.pop();
        }
    }
    let mut root = crate::cmd::command();
    root.build();
    walk(&mut vec![&root], visit);
}

#[test]
fn pages_fit_80_columns() {
    let mut pages = 0;
    each_page(&mut |words, page| {
        pages += 1;
        for line in page.lines() {
            assert!(line.len() <= layout::WIDTH || line.starts_with("  rbox "), "{words}: {line}");
            assert_eq!(line.trim_end(), line, "{words}");
        }
    });
    assert!(pages > 15);
}

#[test]
fn usage_lines_are_dockers() {
    let mut lines = Vec::new();
    each_page(&mut |_, page| lines.extend(page.lines().next().map(str::to_owned)));
    for line in [
        "Usage:  rbox [OPTIONS] COMMAND",
        "Usage:  rbox run [OPTIONS] IMAGE [COMMAND] [ARG...]",
        "Usage:  rbox exec [OPTIONS] CONTAINER COMMAND [ARG...]",
        "Usage:  rbox rename CONTAINER NEW_NAME",
        "Usage:  rbox system COMMAND",
        "Usage:  rbox images [OPTIONS] [REPOSITORY[:TAG]]",
    ] {
        assert!(lines.iter().any(|one| one == line), "{line}: {lines:#?}");
    }
}

#[test]
fn commands_are_grouped_as_docker_groups_them() {
    let mut first = String::new();
    each_page(&mut |words, page| {
        if words.is_empty() {
            first = page.to_owned();
        }
    });
    let at = |text: &str| first.find(text).unwrap_or_else(|| panic!("no {text:?} in:\n{first}"));
    let order = ["\nCommon Commands:\n  run ", "\n  exec ", "\nManagement Commands:\n", "\n  system ", "\nCommands:\n"];
    let order = order.map(at);
    assert!(order.is_sorted(), "{first}");
    assert!(at("\nCommands:\n") < at("\n  create ") && at("\n  create ") < at("\nGlobal Options:\n"), "{first}");
    assert!(!first.contains("__complete"), "{first}");
}

#[test]
fn flags_of_run_are_under_headings() {
    each_page(&mut |words, page| {
        if words == "run" {
            let at = |text: &str| page.find(text).unwrap_or_else(|| panic!("no {text:?} in:\n{page}"));
            assert!(at("\nOptions:\n") < at("  -d, --detach ") && at("--detach ") < at("\nProcess Options:\n"));
            assert!(at("\nFile System Options:\n") < at("-v, --volume "));
            assert!(at("\nExamples:\n") > at("--root DIR"));
        }
    });
}

#[test]
fn every_command_has_text_and_examples_that_parse() {
    each_page(&mut |words, page| {
        assert!(!page.contains("  # ") || page.contains("\nExamples:\n"), "{words}");
        let (topic, base) = topics::find(words).unwrap_or_else(|| panic!("topics/ lacks a topic for {words:?}"));
        assert!(!topic.text.is_empty(), "no description of {words:?}");
        if page.contains("COMMAND --help' for more") {
            return;
        }
        assert!(!topic.examples.is_empty(), "no examples of {words:?}");
        for (purpose, line) in topic.examples {
            assert!(!purpose.is_empty(), "{line}");
            let line = topics::spelled(line, base, words);
            assert!(line.contains(&format!("rbox {words}")), "an example of {words:?} is {line:?}");
            for typed in invocations(&line) {
                if let Err(error) = crate::cmd::command().try_get_matches_from(&typed) {
                    panic!("{words}: {line}: {error}");
                }
            }
        }
    });
}

#[test]
fn a_full_name_takes_the_text_of_the_short_one() {
    for (words, base) in
        [("container ls", "ps"), ("image ls", "images"), ("image rm", "rmi"), ("container rm", "rm"), ("run", "run")]
    {
        assert_eq!(topics::find(words).map(|(_, base)| base), Some(base), "{words}");
    }
    assert!(topics::find("nosuch").is_none());
    assert_eq!(
        topics::spelled("rbox ps -q | xargs rbox rm", "ps", "container ls"),
        "rbox container ls -q | xargs rbox rm"
    );
    assert_eq!(topics::spelled("rbox psi", "ps", "container ls"), "rbox psi");
}

#[test]
fn invocations_are_cut_out_of_a_line() {
    let found = invocations("docker ps; rbox ps -q | xargs rbox rm 'a b' > x");
    assert_eq!(found, [vec!["rbox", "ps", "-q"], vec!["rbox", "rm", "a b"]]);
    assert_eq!(invocations("source <(rbox completion bash)"), [["rbox", "completion", "bash"]]);
}

/// The command lines of rbox in a line of shell, as words.
fn invocations(line: &str) -> Vec<Vec<String>> {
    let mut quote = None;
    let plain: String = line
        .chars()
        .map(|c| match (quote, c) {
            (None, '\'' | '"') => {
                quote = Some(c);
                c
            }
            (Some(open), _) if open == c => {
                quote = None;
                c
            }
            (None, '|' | '&' | ';' | '<' | '>' | '(' | ')') => '\n',
            _ => c,
        })
        .collect();
    let commands = plain.lines().map(|command| crate::cmd::complete::line::split(&format!("{command} "), "").words);
    commands
        .filter_map(|mut words| {
            words.pop();
            let at = words.iter().position(|word| word == "rbox")?;
            Some(words.split_off(at))
        })
        .collect()
}
