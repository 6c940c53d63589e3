//! Which exit code an error gives, as docker's: 125 for rbox's own failures of run and exec, 126
//! not executable, 127 not found, 1 for the rest. And the one place that prints errors.

use std::process::ExitCode;

use super::format::text;

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

/// Prints an error's whole chain on one line; what foreign text it holds cannot steer a terminal.
pub fn print(error: &anyhow::Error) {
    text::warn(&format!("{error:#}").trim().replace('\n', " "));
}

/// Whether the error is only that nobody reads our output any more, which is no failure.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let inner = error.downcast_ref::<Coded>().map_or(error, |coded| &coded.0);
    inner.chain().any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    })
}
