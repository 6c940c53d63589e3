//! Which exit code an error gives, as docker's: 125 for rbox's own failures of run and exec, 126
//! not executable, 127 not found, 1 for the rest.

use std::process::ExitCode;

/// An error with the exit code it decides. Made by [`WithCode`]; everything else exits 1.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
pub struct Coded(anyhow::Error, u8);

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
    if error.downcast_ref::<Coded>().is_some() { error } else { Coded(error, code).into() }
}

/// The exit code an error decides.
pub fn code_of(error: &anyhow::Error) -> ExitCode {
    ExitCode::from(error.downcast_ref::<Coded>().map_or(1, |coded| coded.1))
}

/// Whether the error is only that nobody reads our output any more, which is no failure.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    })
}
