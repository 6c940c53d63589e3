//! Dockerfiles, as BuildKit reads them: text to instructions, words to values. Source of the rules: the
//! Dockerfile reference and the behaviour of BuildKit's `dockerfile/parser`, `dockerfile/instructions` and
//! `dockerfile/shell`.

pub mod ast;
pub mod expand;
mod flags;
mod heredoc;
pub mod ignore;
mod instruction;
pub(super) mod lines;
pub mod lint;
pub mod mount;
mod parse;
pub mod report;
pub mod stages;
#[cfg(test)]
mod tests;
mod words;

pub(super) use parse::parse_line;
pub use parse::{parse, parse_onbuild};
