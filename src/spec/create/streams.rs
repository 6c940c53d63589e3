//! `-a`: which standard streams the creating command attaches to.

use std::str::FromStr;

use crate::spec::text::printable;

/// A standard stream by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StandardStream {
    Stdin,
    Stdout,
    Stderr,
}

/// Why a text names no stream; docker's words.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("'{0}': valid streams are STDIN, STDOUT and STDERR")]
pub struct InvalidStream(String);

impl FromStr for StandardStream {
    type Err = InvalidStream;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "stdin" => Ok(Self::Stdin),
            "stdout" => Ok(Self::Stdout),
            "stderr" => Ok(Self::Stderr),
            _ => Err(InvalidStream(printable(text))),
        }
    }
}

/// Attached streams in the order stdin, stdout, stderr. Without `-a` the two outputs are; stdin is
/// wherever it is kept open; in the background nothing is.
pub fn attached(named: &[StandardStream], interactive: bool, detach: bool) -> [bool; 3] {
    let has = |stream| named.contains(&stream);
    if detach {
        return [false; 3];
    }
    let outputs = |stream| named.is_empty() || has(stream);
    [interactive || has(StandardStream::Stdin), outputs(StandardStream::Stdout), outputs(StandardStream::Stderr)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use StandardStream::{Stderr, Stdin, Stdout};

    #[test]
    fn names_in_any_case() {
        assert_eq!("stdin".parse(), Ok(Stdin));
        assert_eq!("STDOUT".parse(), Ok(Stdout));
        assert_eq!("Stderr".parse(), Ok(Stderr));
        let message = "both".parse::<StandardStream>().unwrap_err().to_string();
        assert_eq!(message, "'both': valid streams are STDIN, STDOUT and STDERR");
    }

    #[test]
    fn dockers_rules() {
        assert_eq!(attached(&[], false, false), [false, true, true]);
        assert_eq!(attached(&[], true, false), [true, true, true]);
        assert_eq!(attached(&[], true, true), [false; 3]);
        assert_eq!(attached(&[Stdout], true, false), [true, true, false]);
        assert_eq!(attached(&[Stdin], false, false), [true, false, false]);
        assert_eq!(attached(&[Stdout, Stderr], false, false), [false, true, true]);
    }
}
