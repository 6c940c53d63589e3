//! BuildKit's known cases, and whole files.

use super::ast::*;
use super::*;

fn read(text: &str) -> Dockerfile {
    parse(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The only instruction after a FROM.
fn one(text: &str) -> Instruction {
    let mut file = read(&format!("FROM a\n{text}\n"));
    assert_eq!(file.stages[0].instructions.len(), 1, "{text}");
    file.stages.remove(0).instructions.remove(0).value
}

fn refused(text: &str) -> ParseError {
    parse(text.as_bytes()).map(|file| panic!("{text}: {file:?}")).unwrap_err()
}

mod files;
mod instructions;
mod refusals;
