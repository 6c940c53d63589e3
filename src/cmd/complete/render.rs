//! The answer in the words of each shell's script: a first line that says what follows, then lines.
//! The form may change with any version, as program and script are of one version: the script that
//! a version prints is the one it answers.

use std::fmt::Write;

use super::Shell;
use super::candidates::{Answer, Content, Paths};
use crate::cmd::format::text::clean_line;

/// Renders an answer for the word being typed, of which bash's readline keeps `kept` bytes.
pub fn render(shell: Shell, answer: &Answer, word: &str, kept: usize) -> String {
    let before = &word[..answer.at];
    let mut out = String::new();
    match (&answer.content, shell) {
        (Content::Values(candidates), Shell::Bash) => {
            let open = candidates.iter().any(|candidate| candidate.open);
            out.push_str(if open { "values nospace\n" } else { "values\n" });
            for candidate in candidates {
                let whole = format!("{before}{}", candidate.text);
                // What readline keeps must be there already.
                if let Some(rest) = whole.strip_prefix(&word[..kept]) {
                    line(&mut out, rest, "", "");
                }
            }
        }
        (Content::Values(candidates), Shell::Zsh) => {
            out.push_str("values\n");
            for candidate in candidates {
                // As _describe wants it, behind a sign for what is only a beginning.
                let sign = if candidate.open { "+" } else { "=" };
                let whole = format!("{before}{}", candidate.text).replace('\\', "\\\\").replace(':', "\\:");
                line(&mut out, &format!("{sign}{whole}"), ":", &candidate.about);
            }
        }
        (Content::Values(candidates), Shell::Fish) => {
            out.push_str("values\n");
            for candidate in candidates {
                line(&mut out, &format!("{before}{}", candidate.text), "\t", &candidate.about);
            }
        }
        (Content::Paths { kind, open }, _) => {
            let kind = if *kind == Paths::Files { "files" } else { "directories" };
            let open = if *open { " nospace" } else { "" };
            let _ = match shell {
                Shell::Bash => {
                    let (path, kept) = (&word[answer.at..], &word[..kept]);
                    writeln!(out, "{kind}{open}\n{before}\n{path}\n{kept}")
                }
                Shell::Zsh | Shell::Fish => writeln!(out, "{kind}{open}\n{}", before.chars().count()),
            };
        }
    }
    out
}

/// One candidate; text of the store cannot make a second line.
fn line(out: &mut String, text: &str, separator: &str, about: &str) {
    out.push_str(&clean_line(text));
    if !about.is_empty() {
        let _ = write!(out, "{separator}{}", clean_line(about));
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::super::candidates::Candidate;
    use super::*;

    fn values(at: usize, candidates: Vec<Candidate>) -> Answer {
        Answer { at, content: Content::Values(candidates) }
    }

    #[test]
    fn bash_gets_what_follows_the_last_break() {
        let answer = values(0, vec![Candidate::new("alpine:3.20", "x"), Candidate::new("busybox:1", "")]);
        assert_eq!(render(Shell::Bash, &answer, "alpine:3", 7), "values\n3.20\n");
        assert_eq!(render(Shell::Bash, &answer, "a", 0), "values\nalpine:3.20\nbusybox:1\n");
        let answer = values(6, vec![Candidate::open("container:")]);
        assert_eq!(render(Shell::Bash, &answer, "--pid=c", 6), "values nospace\ncontainer:\n");
        let answer = values(6, vec![Candidate::new("host", "")]);
        assert_eq!(render(Shell::Bash, &answer, "--pid=h", 6), "values\nhost\n");
    }

    #[test]
    fn descriptions_are_one_clean_line() {
        let answer = values(2, vec![Candidate::new("a:b", "x:y\u{1b}[31m\nz"), Candidate::open("c=")]);
        assert_eq!(render(Shell::Zsh, &answer, "-e", 0), "values\n=-ea\\:b:x:y\\x1b[31m\\nz\n+-ec=\n");
        assert_eq!(render(Shell::Fish, &answer, "-e", 0), "values\n-ea:b\tx:y\\x1b[31m\\nz\n-ec=\n");
    }

    #[test]
    fn paths_are_left_to_the_shell() {
        let answer = Answer { at: 11, content: Content::Paths { kind: Paths::Files, open: true } };
        let word = "--env-file=/a:b/c";
        assert_eq!(render(Shell::Bash, &answer, word, 14), "files nospace\n--env-file=\n/a:b/c\n--env-file=/a:\n");
        assert_eq!(render(Shell::Fish, &answer, word, 0), "files nospace\n11\n");
        let answer = Answer { at: 0, content: Content::Paths { kind: Paths::Directories, open: false } };
        assert_eq!(render(Shell::Zsh, &answer, "/é", 0), "directories\n0\n");
    }
}
