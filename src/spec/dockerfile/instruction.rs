//! From a logical line to an instruction.

mod health;

use super::ast::{
    Add, Arg, ArgItem, Command, Copy, FileSource, Files, From, Heredoc, Instruction, Pair, Run, RunNetwork, RunSecurity,
};
use super::flags::{self, Flags, Kind, Known, suggest};
use super::heredoc::{Announced, Body};
use super::lines::Line;
use super::{mount, words};

/// All there are, in capitals.
pub(super) const NAMES: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

const NO_FLAGS: Known = &[];
const FROM_FLAGS: Known = &[("platform", Kind::Text)];
const RUN_FLAGS: Known = &[("mount", Kind::Texts), ("network", Kind::Text), ("security", Kind::Text)];
const COPY_FLAGS: Known = &[
    ("chown", Kind::Text),
    ("from", Kind::Text),
    ("chmod", Kind::Text),
    ("link", Kind::Bool),
    ("parents", Kind::Bool),
    ("exclude", Kind::Texts),
];
const ADD_FLAGS: Known = &[
    ("chown", Kind::Text),
    ("chmod", Kind::Text),
    ("link", Kind::Bool),
    ("keep-git-dir", Kind::Bool),
    ("checksum", Kind::Text),
    ("unpack", Kind::Bool),
    ("exclude", Kind::Texts),
];

/// What a line is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Statement {
    From(From),
    Other(Instruction),
}

/// A line's parts.
struct Parts<'a> {
    /// As typed.
    typed: &'a str,
    /// In capitals; None when there is no such instruction.
    name: Option<&'static str>,
    flags: Vec<String>,
    rest: &'a str,
    heredocs: &'a [Body],
    escape: char,
}

fn parts<'a>(text: &'a str, heredocs: &'a [Body], escape: char) -> Parts<'a> {
    let (typed, after) = words::first(text);
    let name = NAMES.into_iter().find(|name| name.eq_ignore_ascii_case(typed));
    let (flags, rest) = flags::split(after);
    Parts { typed, name, flags, rest, heredocs, escape }
}

/// Whether `<<` means something in this line.
pub(super) fn may_have_heredocs(text: &str) -> bool {
    let parts = parts(text, &[], '\\');
    match parts.name {
        Some("ONBUILD") => {
            // One level only: ONBUILD ONBUILD is refused.
            let inner = self::parts(parts.rest, &[], '\\');
            inner.name != Some("ONBUILD") && may_have_heredocs(parts.rest)
        }
        Some("ADD" | "COPY" | "RUN") => !matches!(words::json(parts.rest), Ok(Some(_)) | Err(_)),
        _ => false,
    }
}

/// Reads a line.
pub(super) fn parse(line: &Line, escape: char) -> Result<Statement, String> {
    let parts = parts(&line.text, &line.heredocs, escape);
    let instruction = match parts.name {
        None => {
            let message = format!("unknown instruction: {}", parts.typed);
            return Err(suggest(message, &parts.typed.to_ascii_uppercase(), &NAMES));
        }
        Some("FROM") => return from(&parts).map(Statement::From),
        Some("ADD") => add(&parts)?,
        Some("ARG") => arg(&parts)?,
        Some("CMD") => Instruction::Cmd(parts.command()?),
        Some("COPY") => copy(&parts)?,
        Some("ENTRYPOINT") => Instruction::Entrypoint(parts.command()?),
        Some("ENV") => Instruction::Env(pairs(&parts, "ENV")?),
        Some("EXPOSE") => {
            let ports = parts.some("EXPOSE", words::fields(parts.rest))?;
            parts.check(NO_FLAGS)?;
            Instruction::Expose(ports.into_iter().map(str::to_owned).collect())
        }
        Some("HEALTHCHECK") => Instruction::Healthcheck(health::parse(&parts.flags, parts.rest)?),
        Some("LABEL") => Instruction::Label(pairs(&parts, "LABEL")?),
        Some("MAINTAINER") => Instruction::Maintainer(parts.one("MAINTAINER")?),
        Some("ONBUILD") => onbuild(&parts)?,
        Some("RUN") => run(&parts)?,
        Some("SHELL") => shell(&parts)?,
        Some("STOPSIGNAL") => Instruction::Stopsignal(parts.one("STOPSIGNAL")?),
        Some("USER") => Instruction::User(parts.one("USER")?),
        Some("VOLUME") => volume(&parts)?,
        Some(_) => Instruction::Workdir(parts.one("WORKDIR")?),
    };
    Ok(Statement::Other(instruction))
}

impl Parts<'_> {
    fn check(&self, known: Known) -> Result<Flags, String> {
        flags::check(&self.flags, known)
    }

    fn some<T>(&self, name: &str, words: Vec<T>) -> Result<Vec<T>, String> {
        if words.is_empty() { Err(format!("{name} requires at least one argument")) } else { Ok(words) }
    }

    /// The whole rest of the line.
    fn one(&self, name: &str) -> Result<String, String> {
        if self.rest.is_empty() {
            return Err(format!("{name} requires exactly one argument"));
        }
        self.check(NO_FLAGS)?;
        Ok(self.rest.to_owned())
    }

    fn command(&self) -> Result<Command, String> {
        let command = command(self.rest)?;
        self.check(NO_FLAGS)?;
        Ok(command)
    }

    /// JSON words or words between blanks.
    fn list(&self) -> Result<Vec<String>, String> {
        Ok(match words::json(self.rest)? {
            Some(words) => words,
            None => words::fields(self.rest).into_iter().map(str::to_owned).collect(),
        })
    }
}

/// A JSON array of words, or a line for the shell.
fn command(rest: &str) -> Result<Command, String> {
    Ok(match words::json(rest)? {
        Some(words) => Command::Exec(words),
        None => Command::Shell(rest.to_owned()),
    })
}

fn from(parts: &Parts<'_>) -> Result<From, String> {
    let (base, name) = match words::fields(parts.rest)[..] {
        [base] => (base, None),
        [base, word, name] if word.eq_ignore_ascii_case("as") => (base, Some(stage_name(name)?)),
        _ => return Err("FROM requires either one or three arguments".to_owned()),
    };
    let flags = parts.check(FROM_FLAGS)?;
    Ok(From { platform: flags.text("platform"), base: base.to_owned(), name })
}

fn stage_name(typed: &str) -> Result<String, String> {
    let name = typed.to_lowercase();
    let valid = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c));
    if valid {
        return Ok(name);
    }
    Err(format!("invalid name for build stage: {typed:?}, name can't start with a number or contain symbols"))
}

fn arg(parts: &Parts<'_>) -> Result<Instruction, String> {
    let words = parts.some("ARG", words::quoted(parts.rest, parts.escape))?;
    parts.check(NO_FLAGS)?;
    let items = words.into_iter().map(|word| match word.split_once('=') {
        Some(("", _)) => Err("ARG names can not be blank".to_owned()),
        Some((name, default)) => Ok(ArgItem { name: name.to_owned(), default: Some(default.to_owned()) }),
        None => Ok(ArgItem { name: word, default: None }),
    });
    Ok(Instruction::Arg(Arg(items.collect::<Result<_, _>>()?)))
}

/// `K=V ...`, or the old `K the rest of the line`.
fn pairs(parts: &Parts<'_>, name: &str) -> Result<Vec<Pair>, String> {
    let words = words::quoted(parts.rest, parts.escape);
    let legacy = words.first().is_some_and(|word| !word.contains('='));
    let split: Vec<(&str, &str)> = if legacy {
        match words::first(parts.rest) {
            (_, "") => return Err(format!("{name} must have two arguments")),
            pair => vec![pair],
        }
    } else {
        let no_sign =
            |word: &String| format!("Syntax error - can't find = in {word:?}. Must be of the form: name=value");
        words.iter().map(|word| word.split_once('=').ok_or_else(|| no_sign(word))).collect::<Result<_, _>>()?
    };
    parts.check(NO_FLAGS)?;
    let pair = |(key, value): (&str, &str)| match key {
        "" => Err(format!("{name} names can not be blank")),
        key => Ok(Pair { key: key.to_owned(), value: value.to_owned(), legacy }),
    };
    parts.some(name, split.into_iter().map(pair).collect::<Result<Vec<_>, _>>()?)
}

/// The sources and the destination of COPY and ADD.
fn files(parts: &Parts<'_>, name: &str, flags: &Flags, mut words: Vec<String>) -> Result<Files, String> {
    let Some(destination) = words.pop() else { return Err(no_destination(name)) };
    if Announced::parse(&destination).is_some() {
        return Err(format!("{name} cannot accept a heredoc as a destination"));
    }
    let source = |word: String| {
        let announced = Announced::parse(&word);
        let body = announced.and_then(|wanted| parts.heredocs.iter().rfind(|body| body.announced.name == wanted.name));
        match body {
            Some(body) => FileSource::Inline(heredoc(body)),
            None => FileSource::Path(word),
        }
    };
    Ok(Files {
        sources: words.into_iter().map(source).collect(),
        destination,
        chown: flags.text("chown"),
        chmod: flags.text("chmod"),
        link: flags.bool("link").unwrap_or(false),
        parents: flags.bool("parents").unwrap_or(false),
        exclude: flags.texts("exclude"),
    })
}

fn no_destination(name: &str) -> String {
    format!("{name} requires at least two arguments, but only one was provided. Destination could not be determined")
}

fn heredoc(body: &Body) -> Heredoc {
    let Announced { name, expand, chomp } = body.announced.clone();
    Heredoc { name, expand, chomp, content: body.chomped() }
}

fn copy(parts: &Parts<'_>) -> Result<Instruction, String> {
    let words = parts.list()?;
    if words.len() < 2 {
        return Err(no_destination("COPY"));
    }
    let flags = parts.check(COPY_FLAGS)?;
    Ok(Instruction::Copy(Copy { from: flags.text("from"), files: files(parts, "COPY", &flags, words)? }))
}

fn add(parts: &Parts<'_>) -> Result<Instruction, String> {
    let words = parts.list()?;
    if words.len() < 2 {
        return Err(no_destination("ADD"));
    }
    let flags = parts.check(ADD_FLAGS)?;
    Ok(Instruction::Add(Add {
        files: files(parts, "ADD", &flags, words)?,
        checksum: flags.text("checksum"),
        keep_git_dir: flags.bool("keep-git-dir"),
        unpack: flags.bool("unpack"),
    }))
}

fn onbuild(parts: &Parts<'_>) -> Result<Instruction, String> {
    let (trigger, _) = words::first(parts.rest);
    match trigger.to_ascii_uppercase().as_str() {
        "" => return Err("ONBUILD requires at least one argument".to_owned()),
        "ONBUILD" => return Err("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed".to_owned()),
        name @ ("FROM" | "MAINTAINER") => return Err(format!("{name} isn't allowed as an ONBUILD trigger")),
        _ => {}
    }
    parts.check(NO_FLAGS)?;
    let mut text = parts.rest.to_owned();
    for body in parts.heredocs {
        text.push('\n');
        text.push_str(&body.content);
        text.push_str(&body.announced.name);
    }
    Ok(Instruction::Onbuild(text))
}

fn run(parts: &Parts<'_>) -> Result<Instruction, String> {
    let flags = parts.check(RUN_FLAGS)?;
    let (mut command, mut heredocs) = (command(parts.rest)?, Vec::new());
    if let (Command::Shell(text), [first, ..]) = (&mut command, parts.heredocs) {
        if Announced::parse(text).is_some() {
            let script = heredoc(first);
            text.clone_from(&script.content);
            heredocs.push(script);
        } else {
            for body in parts.heredocs {
                text.push('\n');
                text.push_str(&body.content);
                text.push_str(&body.announced.name);
            }
        }
    }
    let network = match flags.text("network").as_deref() {
        None | Some("default") => RunNetwork::Default,
        Some("none") => RunNetwork::None,
        Some("host") => RunNetwork::Host,
        Some(other) => {
            let message = format!("unsupported network mode {other:?}");
            return Err(suggest(message, other, &["default", "none", "host"]));
        }
    };
    let security = match flags.text("security").as_deref() {
        None | Some("sandbox") => RunSecurity::Sandbox,
        Some("insecure") => RunSecurity::Insecure,
        Some(other) => {
            return Err(suggest(format!("security {other:?} is not valid"), other, &["sandbox", "insecure"]));
        }
    };
    let mounts = flags.texts("mount").iter().map(|text| mount::parse(text)).collect::<Result<_, _>>()?;
    Ok(Instruction::Run(Run { command, heredocs, mounts, network, security }))
}

fn shell(parts: &Parts<'_>) -> Result<Instruction, String> {
    parts.check(NO_FLAGS)?;
    match words::json(parts.rest)? {
        Some(words) => Ok(Instruction::Shell(parts.some("SHELL", words)?)),
        None if parts.rest.is_empty() => Err("SHELL requires at least one argument".to_owned()),
        None => Err("SHELL requires the arguments to be in JSON form".to_owned()),
    }
}

fn volume(parts: &Parts<'_>) -> Result<Instruction, String> {
    let words = parts.some("VOLUME", parts.list()?)?;
    parts.check(NO_FLAGS)?;
    let trimmed = words.iter().map(|word| match word.trim() {
        "" => Err("VOLUME specified can not be an empty string".to_owned()),
        word => Ok(word.to_owned()),
    });
    Ok(Instruction::Volume(trimmed.collect::<Result<_, _>>()?))
}
