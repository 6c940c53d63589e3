//! Signals by name and number.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::text::printable;

/// A Linux signal number, 1 to 64. Printed as `SIGTERM`, `SIGRTMIN+3`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Signal(i32);

/// Why a text is not a signal; docker's words.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid signal: {0}")]
pub struct InvalidSignal(pub String);

/// Names of the signals 1 to 31 on every architecture but alpha, mips, parisc and sparc.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM",
    "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO",
    "PWR", "SYS",
];
const ALIASES: [(&str, i32); 3] = [("IOT", 6), ("CLD", 17), ("POLL", 29)];
/// glibc keeps 32 and 33 for itself.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

impl Signal {
    pub const KILL: Self = Self(9);
    pub const TERM: Self = Self(15);

    /// The number for kill(2).
    pub fn number(self) -> i32 {
        self.0
    }

    /// Whether people send it to end a process: INT, QUIT, ABRT, KILL or TERM.
    pub fn is_meant_to_end(self) -> bool {
        matches!(self.0, 2 | 3 | 6 | 9 | 15)
    }

    /// The signal of this number, if there is one.
    pub fn from_number(number: i32) -> Option<Self> {
        (1..=RTMAX).contains(&number).then_some(Self(number))
    }
}

impl Default for Signal {
    fn default() -> Self {
        Self::TERM
    }
}

impl FromStr for Signal {
    type Err = InvalidSignal;

    /// Accepts `TERM`, `SIGTERM`, `sigterm`, `15`, `RTMIN+3`, `RTMAX-1`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| InvalidSignal(printable(text)))
    }
}

fn parse(text: &str) -> Option<Signal> {
    if text.bytes().all(|b| b.is_ascii_digit()) {
        return Signal::from_number(text.parse().ok()?);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(index) = NAMES.iter().position(|known| *known == name) {
        return Signal::from_number(index as i32 + 1);
    }
    if let Some((_, number)) = ALIASES.iter().find(|(alias, _)| *alias == name) {
        return Some(Signal(*number));
    }
    let number = if let Some(offset) = name.strip_prefix("RTMIN") {
        RTMIN + realtime_offset(offset, '+')?
    } else {
        RTMAX - realtime_offset(name.strip_prefix("RTMAX")?, '-')?
    };
    (RTMIN..=RTMAX).contains(&number).then_some(Signal(number))
}

/// Nothing, or the sign and one or two digits.
fn realtime_offset(text: &str, sign: char) -> Option<i32> {
    if text.is_empty() {
        return Some(0);
    }
    let digits = text.strip_prefix(sign)?;
    let valid = matches!(digits.len(), 1 | 2) && digits.bytes().all(|b| b.is_ascii_digit());
    if valid { digits.parse().ok() } else { None }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.get(self.0 as usize - 1) {
            Some(name) => write!(f, "SIG{name}"),
            None if self.0 == RTMIN => f.write_str("SIGRTMIN"),
            None if self.0 > RTMIN => write!(f, "SIGRTMIN+{}", self.0 - RTMIN),
            None => write!(f, "{}", self.0),
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for Signal {
    type Error = InvalidSignal;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Signal> for String {
    fn from(signal: Signal) -> Self {
        signal.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, number) in [
            ("TERM", 15),
            ("SIGTERM", 15),
            ("sigterm", 15),
            ("15", 15),
            ("9", 9),
            ("HUP", 1),
            ("SYS", 31),
            ("WINCH", 28),
            ("IOT", 6),
            ("RTMIN", 34),
            ("RTMIN+3", 37),
            ("SIGRTMAX-1", 63),
            ("RTMAX", 64),
        ] {
            assert_eq!(text.parse::<Signal>().map(Signal::number), Ok(number), "{text}");
        }
        for text in ["", "0", "65", "-1", "FOO", "SIG", "RTMIN+31", "RTMIN-1", "RTMIN+", "SIGSIGTERM", " TERM"] {
            assert_eq!(text.parse::<Signal>(), Err(InvalidSignal(text.to_owned())));
        }
        assert_eq!("F\u{1b}OO".parse::<Signal>().unwrap_err().to_string(), "invalid signal: F\\u{1b}OO");
        assert_eq!(Signal::default().to_string(), "SIGTERM");
    }

    #[test]
    fn printing_round_trips() {
        for number in 1..=64 {
            let signal = Signal::from_number(number).unwrap();
            assert_eq!(signal.to_string().parse(), Ok(signal));
        }
    }
}
