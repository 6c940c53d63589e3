//! Where in the command tree the word being typed is: which command, and whether it is a flag, a
//! value, or an argument. Reads words as the parser does (docker's grammar), but forgives.

use clap::{Arg, ArgAction, Command};

/// The index of the first of `words` that belongs to the command a container will run: docker reads
/// no flags behind the image or the container. None without such a word, or if `--` ended the flags.
pub fn foreign_start(root: &Command, words: &[String]) -> Option<usize> {
    let mut position = Position::new(root);
    let mut pending = None;
    for (index, word) in words.iter().enumerate().skip(1) {
        if pending.take().is_some() {
            continue;
        }
        if position.is_foreign() && !position.after_dashes {
            return Some(index);
        }
        pending = position.read(word);
    }
    None
}

/// What the word being typed can be.
#[derive(Clone, Copy, Debug)]
pub enum Wanted<'a> {
    /// The name of a flag.
    Flag,
    /// The value of a flag; `at` bytes of the word precede it, as in `--name=` and `-e`.
    Value { arg: &'a Arg, at: usize },
    /// A command below the current one.
    Command,
    /// An argument.
    Argument(&'a Arg),
    /// Nothing of ours: a word of the command that the container will run, or one too many.
    Nothing,
}

/// The place of the last word.
#[derive(Debug)]
pub struct Position<'a> {
    /// The commands typed, the program itself first.
    pub path: Vec<&'a Command>,
    /// Flags typed so far, with their values.
    pub flags: Vec<(&'a Arg, Option<String>)>,
    /// Arguments typed so far.
    pub arguments: Vec<String>,
    pub wanted: Wanted<'a>,
    after_dashes: bool,
    /// The words name commands only, behind `help`.
    helping: bool,
}

impl<'a> Position<'a> {
    fn new(root: &'a Command) -> Self {
        Self {
            path: vec![root],
            flags: Vec::new(),
            arguments: Vec::new(),
            wanted: Wanted::Nothing,
            after_dashes: false,
            helping: false,
        }
    }

    /// Finds the place of the last of `words`, which begin with the program's name; `root` is built.
    pub fn find(root: &'a Command, words: &[String]) -> Self {
        let mut position = Self::new(root);
        let (word, before) = words.split_last().map_or(("", &[][..]), |(word, before)| (word.as_str(), before));
        let mut pending = None;
        for word in before.iter().skip(1) {
            match pending.take() {
                Some(flag) => position.flags.push((flag, Some(word.clone()))),
                None => pending = position.read(word),
            }
        }
        position.wanted = match pending {
            Some(arg) => Wanted::Value { arg, at: 0 },
            None => position.classify(word),
        };
        position
    }

    /// The innermost command typed.
    pub fn command(&self) -> &'a Command {
        self.path[self.path.len() - 1]
    }

    /// The value typed last for a flag.
    pub fn value_of(&self, id: &str) -> Option<&str> {
        self.flags.iter().rev().find(|(flag, _)| flag.get_id() == id)?.1.as_deref()
    }

    /// Takes in a finished word; the flag whose value comes next, if any.
    fn read(&mut self, word: &str) -> Option<&'a Arg> {
        if self.is_argument(word) {
            self.read_argument(word);
            return None;
        }
        if word == "--" {
            self.after_dashes = true;
            return None;
        }
        if let Some(text) = word.strip_prefix("--") {
            let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
            return self.long(name).and_then(|flag| self.read_flag(flag, value));
        }
        let mut rest = &word[1..];
        while let Some(c) = rest.chars().next() {
            rest = &rest[c.len_utf8()..];
            let flag = self.short(c)?;
            if takes_next(flag) || rest.starts_with('=') {
                let value = rest.strip_prefix('=').unwrap_or(rest);
                return self.read_flag(flag, (!rest.is_empty()).then_some(value));
            }
            self.flags.push((flag, None));
        }
        None
    }

    fn read_flag(&mut self, flag: &'a Arg, value: Option<&str>) -> Option<&'a Arg> {
        if value.is_none() && takes_next(flag) {
            return Some(flag);
        }
        self.flags.push((flag, value.map(str::to_owned)));
        None
    }

    fn read_argument(&mut self, word: &str) {
        let command = self.command();
        match command.find_subcommand(word) {
            // Below it are only pictures of the commands, and not of all.
            Some(help) if help.get_name() == "help" => self.helping = true,
            Some(found) if self.arguments.is_empty() => self.path.push(found),
            _ => self.arguments.push(word.to_owned()),
        }
    }

    fn classify(&self, word: &str) -> Wanted<'a> {
        if self.is_foreign() {
            return Wanted::Nothing;
        }
        if self.is_argument(word) && word != "-" {
            return match self.next_argument() {
                _ if self.command().has_subcommands() && self.arguments.is_empty() => Wanted::Command,
                _ if self.helping => Wanted::Nothing,
                Some(arg) => Wanted::Argument(arg),
                None => Wanted::Nothing,
            };
        }
        if let Some(text) = word.strip_prefix("--") {
            return match text.split_once('=') {
                Some((name, _)) => {
                    self.long(name).map_or(Wanted::Nothing, |arg| Wanted::Value { arg, at: "--=".len() + name.len() })
                }
                None => Wanted::Flag,
            };
        }
        // A bundle of short flags: the last may have its value attached.
        for (at, c) in word.char_indices().skip(1) {
            let end = at + c.len_utf8();
            let Some(arg) = self.short(c) else { break };
            let equals = word[end..].starts_with('=');
            if end < word.len() && (equals || takes_next(arg)) {
                return Wanted::Value { arg, at: end + usize::from(equals) };
            }
        }
        Wanted::Flag
    }

    fn is_argument(&self, word: &str) -> bool {
        self.after_dashes || self.is_foreign() || !word.starts_with('-') || word == "-"
    }

    /// Whether the next word belongs to the command that the container will run.
    fn is_foreign(&self) -> bool {
        self.next_argument().is_some_and(Arg::is_trailing_var_arg_set)
    }

    fn next_argument(&self) -> Option<&'a Arg> {
        let typed = self.arguments.len();
        let last = self.command().get_positionals().last().filter(|arg| takes_many(arg));
        self.command().get_positionals().nth(typed).or(last)
    }

    /// A flag of the current command by its long name or an alias of it.
    fn long(&self, name: &str) -> Option<&'a Arg> {
        self.known_flags().find(|arg| {
            arg.get_long() == Some(name) || arg.get_all_aliases().is_some_and(|aliases| aliases.contains(&name))
        })
    }

    fn short(&self, c: char) -> Option<&'a Arg> {
        self.known_flags().find(|arg| {
            arg.get_short() == Some(c) || arg.get_all_short_aliases().is_some_and(|aliases| aliases.contains(&c))
        })
    }

    /// The command's flags, and those of the program that hold everywhere: a tree that is not built
    /// has the latter at its root only.
    fn known_flags(&self) -> impl Iterator<Item = &'a Arg> {
        let global = self.path[0].get_arguments().filter(|arg| arg.is_global_set());
        self.command().get_arguments().chain(global)
    }
}

/// Whether a flag's value can be the next word.
pub fn takes_next(arg: &Arg) -> bool {
    // Only a built tree has the number where nobody gave one.
    let wants = arg.get_num_args().map_or_else(|| arg.get_action().takes_values(), |range| range.min_values() > 0);
    wants && !arg.is_require_equals_set()
}

/// Whether an argument can be repeated.
pub fn takes_many(arg: &Arg) -> bool {
    arg.get_num_args().is_some_and(|range| range.max_values() > 1) || matches!(arg.get_action(), ArgAction::Append)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn describe(position: &Position<'_>) -> String {
        let names: Vec<&str> = position.path.iter().skip(1).map(|command| command.get_name()).collect();
        let wanted = match position.wanted {
            Wanted::Flag => "flag".to_owned(),
            Wanted::Value { arg, at } => format!("{}@{at}", arg.get_id()),
            Wanted::Command => "command".to_owned(),
            Wanted::Argument(arg) => format!("argument {}", arg.get_id()),
            Wanted::Nothing => "nothing".to_owned(),
        };
        format!("{}: {wanted}", names.join(" "))
    }

    #[track_caller]
    fn check(line: &str, expected: &str) {
        let mut root = crate::cmd::command();
        root.build();
        let words = crate::cmd::complete::line::split(line, "").words;
        assert_eq!(describe(&Position::find(&root, &words)), expected, "{line}");
    }

    #[test]
    fn commands_flags_and_arguments() {
        check("rbox ", ": command");
        check("rbox st", ": command");
        check("rbox -", ": flag");
        check("rbox --root /x st", ": command");
        check("rbox --root ", ": root@0");
        check("rbox --root=/", ": root@7");
        check("rbox system ", "system: command");
        check("rbox system check --", "system check: flag");
        check("rbox nosuch ", ": nothing");
        check("rbox rm ", "rm: argument containers");
        check("rbox rm a b ", "rm: argument containers");
        check("rbox rm a --fo", "rm: flag");
        check("rbox rm -- --fo", "rm: argument containers");
        check("rbox tag a b ", "tag: argument targets");
        check("rbox help ru", ": command");
        check("rbox help system ch", "system: command");
        check("rbox help run ", "run: nothing");
    }

    #[test]
    fn flags_take_values_as_the_parser_has_it() {
        check("rbox run --name ", "run: name@0");
        check("rbox run --name=a", "run: name@7");
        check("rbox run --name a ", "run: argument image");
        check("rbox run -it --rm al", "run: argument image");
        check("rbox run --rm ", "run: argument image");
        check("rbox run --rm=", "run: rm@5");
        check("rbox run --net ", "run: network@0");
        check("rbox run -it", "run: flag");
        check("rbox run -itv", "run: flag");
        check("rbox run -itv ", "run: volume@0");
        check("rbox run -itv/s", "run: volume@4");
        check("rbox run -itv=/s", "run: volume@5");
        check("rbox run -e A -e ", "run: env@0");
        check("rbox stop -t -1 ", "stop: argument containers");
        check("rbox run --nosuch ", "run: argument image");
        check("rbox run -X", "run: flag");
    }

    #[test]
    fn the_containers_command_begins_behind_the_image() {
        for (line, start) in [
            ("rbox run alpine", None),
            ("rbox run alpine -e X", Some(3)),
            ("rbox run alpine -- x", Some(3)),
            ("rbox run -- alpine -e X", None),
            ("rbox run -it --name web -v=/a:/b --rm=false alpine --name x", Some(8)),
            ("rbox --root /x run --runroot /y --sig-proxy alpine ls", Some(8)),
            ("rbox run --root=/x --tls-verify alpine ls", Some(5)),
            ("rbox run -ite A alpine -x", Some(5)),
            ("rbox run --net host alpine -x", Some(5)),
            ("rbox exec -it web -x", Some(4)),
            ("rbox exec web", None),
            ("rbox rm a -f", None),
            ("rbox run --help", None),
            ("rbox", None),
        ] {
            let words = crate::cmd::complete::line::split(line, "").words;
            let unbuilt = crate::cmd::command();
            let mut built = unbuilt.clone();
            built.build();
            assert_eq!(foreign_start(&unbuilt, &words), start, "{line}");
            assert_eq!(foreign_start(&built, &words), start, "built: {line}");
        }
    }

    #[test]
    fn what_follows_the_image_is_the_containers() {
        check("rbox run alpine ", "run: nothing");
        check("rbox run alpine -", "run: nothing");
        check("rbox run alpine sh --na", "run: nothing");
        check("rbox run -- alpine l", "run: nothing");
        check("rbox run -- al", "run: argument image");
        check("rbox exec web ", "exec: nothing");
        check("rbox exec -e A=b -it web ls -", "exec: nothing");
        check("rbox exec -it we", "exec: argument container");
    }
}
