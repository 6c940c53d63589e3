//! What the shells ask while somebody types: the hidden command `__complete` answers with the words
//! that fit. All knowledge is here and in the command tree, so the shells' scripts (`completions/`)
//! hold no list of commands or flags and cannot become stale.
//!
//! The answer is silence when anything is amiss: an error printed into a half-typed line helps
//! nobody. The store is looked at, never made, changed or waited for.

mod candidates;
pub mod line;
mod names;
pub mod position;
mod render;
mod sources;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use anyhow::Result;

use self::candidates::Completer;
use self::position::Position;
use super::Context;

/// A store that does not answer, on a dead network file system perhaps, must not hold up typing.
const LIMIT_SECONDS: u32 = 3;

/// Answer a shell's question for completions
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Leave descriptions out
    #[arg(long)]
    no_desc: bool,
    /// The shell that asks
    shell: Shell,
    /// bash: COMP_WORDBREAKS and the line up to the cursor; else the words, the last one unfinished
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

/// A shell with completions.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// Prints the answer in the form that the shell's script reads.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    nix::unistd::alarm::set(LIMIT_SECONDS);
    let texts = args.words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let (words, kept) = typed(args.shell, texts);
    let mut root = super::command();
    root.build();
    let position = Position::find(&root, &words);
    let word = words.last().map_or("", String::as_str);
    let store = context.existing_store(position.value_of("root"));
    let completer = Completer {
        store: store.as_ref(),
        // The others' own matching may be more generous than by prefix.
        by_prefix: args.shell == Shell::Bash,
        describe: args.shell != Shell::Bash && !args.no_desc,
    };
    let answer = completer.answer(&position, word);
    let text = render::render(args.shell, &answer, word, kept);
    // A shell that went away takes no answer.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    Ok(ExitCode::SUCCESS)
}

/// The words, and for bash how much of the last one readline keeps.
fn typed(shell: Shell, texts: Vec<String>) -> (Vec<String>, usize) {
    match (shell, texts.as_slice()) {
        (Shell::Bash, [breaks, line]) => {
            let line = line::split(line, breaks);
            (line.words, line.kept)
        }
        _ => (texts, 0),
    }
}
