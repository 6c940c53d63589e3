//! A bash command line up to the cursor, cut into words as the shell will see them, and where
//! readline thinks that the word to be completed begins.

/// A line cut into words.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// The words without their quotes; the last one, perhaps empty, is being typed.
    pub words: Vec<String>,
    /// How much of the last word readline keeps, in bytes: it replaces only what follows the last
    /// character that breaks words (`:` and `=` among them) or an open quote.
    pub kept: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quote {
    None,
    Single,
    Double,
}

/// Cuts a line; `breaks` is COMP_WORDBREAKS. Expands nothing.
pub fn split(line: &str, breaks: &str) -> Line {
    let mut words = Vec::new();
    let (mut word, mut kept, mut started, mut quote) = (String::new(), 0, false, Quote::None);
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match (quote, c) {
            (Quote::None, ' ' | '\t' | '\n') => {
                if started {
                    words.push(std::mem::take(&mut word));
                }
                (started, kept) = (false, 0);
                continue;
            }
            (Quote::None, '\\') => word.extend(rest.next()),
            (Quote::Double, '\\') => match rest.next() {
                Some(next @ ('"' | '\\' | '$' | '`')) => word.push(next),
                next => word.extend(Some('\\').into_iter().chain(next)),
            },
            (Quote::None, '\'' | '"') => {
                quote = if c == '"' { Quote::Double } else { Quote::Single };
                kept = word.len();
            }
            (Quote::Single, '\'') | (Quote::Double, '"') => {
                quote = Quote::None;
                kept = word.len();
            }
            (Quote::None, _) if breaks.contains(c) => {
                word.push(c);
                kept = word.len();
            }
            _ => word.push(c),
        }
        started = true;
    }
    words.push(word);
    Line { words, kept }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BREAKS: &str = " \t\n\"'@><=;|&(:";

    #[track_caller]
    fn check(line: &str, words: &[&str], kept: &str) {
        let split = split(line, BREAKS);
        assert_eq!(split.words, words, "{line}");
        assert_eq!(&split.words[split.words.len() - 1][..split.kept], kept, "{line}");
    }

    #[test]
    fn words_are_those_of_the_shell() {
        check("rbox st", &["rbox", "st"], "");
        check("rbox  rm\t", &["rbox", "rm", ""], "");
        check(r#"rbox run -e "A=b c" 'd e' f\ g"#, &["rbox", "run", "-e", "A=b c", "d e", "f g"], "");
        check(r#"rbox run "a\"b\$c\d" '' x"#, &["rbox", "run", "a\"b$c\\d", "", "x"], "");
        check("", &[""], "");
    }

    #[test]
    fn readline_keeps_what_precedes_a_break_or_a_quote() {
        check("rbox run alpine:3.", &["rbox", "run", "alpine:3."], "alpine:");
        check("rbox run --name=we", &["rbox", "run", "--name=we"], "--name=");
        check("rbox run -v /a:/b:", &["rbox", "run", "-v", "/a:/b:"], "/a:/b:");
        check(r"rbox run a\:b", &["rbox", "run", "a:b"], "");
        check("rbox rm \"we", &["rbox", "rm", "we"], "");
        check("rbox run 'reg:5000/al", &["rbox", "run", "reg:5000/al"], "");
        check("rbox run --name='we", &["rbox", "run", "--name=we"], "--name=");
    }
}
