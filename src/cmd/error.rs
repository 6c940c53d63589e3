//! Which exit code an error gives, as docker's: 125 for rbox's own failures of run and exec, 126
//! not executable, 127 not found, 1 for the rest. And the one place that prints errors.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::OnceLock;

use super::format::text;
use crate::explain::{self, shortage};

/// An error with the exit code it decides. Made by [`WithCode`]; everything else exits 1.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
pub struct Coded(anyhow::Error, u8);

/// The reason was printed already, by the process that met it.
#[derive(Debug, thiserror::Error)]
#[error("failed")]
pub struct AlreadyReported(pub u8);

/// Attaches an exit code to an error.
pub trait WithCode<T> {
    /// The same result; the error exits with `code`, unless a deeper one decided already.
    fn or_exit(self, code: u8) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> WithCode<T> for Result<T, E> {
    fn or_exit(self, code: u8) -> anyhow::Result<T> {
        self.map_err(|error| with_code(error.into(), code))
    }
}

/// `error`, exiting with `code` unless it decided already.
pub fn with_code(error: anyhow::Error, code: u8) -> anyhow::Error {
    let decided = error.downcast_ref::<Coded>().is_some() || error.downcast_ref::<AlreadyReported>().is_some();
    if decided { error } else { Coded(error, code).into() }
}

/// The exit code that an error decided, if it did.
pub fn code_of(error: &anyhow::Error) -> Option<u8> {
    error.downcast_ref::<Coded>().map(|coded| coded.1)
}

/// Prints the error unless somebody did, and gives its exit code.
pub fn report(error: &anyhow::Error) -> ExitCode {
    if let Some(AlreadyReported(code)) = error.downcast_ref() {
        return ExitCode::from(*code);
    }
    if is_broken_pipe(error) {
        return ExitCode::SUCCESS;
    }
    print(error);
    ExitCode::from(error.downcast_ref::<Coded>().map_or(1, |coded| coded.1))
}

/// What failed when standard output takes no more: none of our own places, so there is no more to
/// say about it.
pub const OUTPUT: &str = "write to standard output";

/// The directories that this invocation writes to: looked at when something ran out.
static PLACES: OnceLock<Vec<PathBuf>> = OnceLock::new();

/// Remembers where this invocation writes.
pub fn writes_to(places: [PathBuf; 2]) {
    let _ = PLACES.set(places.to_vec());
}

/// Prints an error's whole chain on one line, with what ran out and where if that is its cause; what
/// foreign text it holds cannot steer a terminal.
pub fn print(error: &anyhow::Error) {
    let line = text::clean_line(&format!("{error:#}").trim().replace('\n', " ")).into_owned();
    let places = PLACES.get().map(Vec::as_slice).unwrap_or_default();
    let cause = shortage::in_text(&line, places)
        .filter(|cause| !line.starts_with(OUTPUT) && !line.contains(&format!("[{}]", cause.code)));
    text::warn(&explain::with_cause(line, cause));
}

/// Whether the error is only that nobody reads our output any more, which is no failure.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let inner = error.downcast_ref::<Coded>().map_or(error, |coded| &coded.0);
    inner.chain().any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    })
}
