//! Names of containers and hosts: which are allowed, and making one up.

use super::text::printable;

/// Why a name can't be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidName {
    #[error("Invalid container name ({0}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")]
    Container(String),
    #[error("Invalid container name ({0}): it could be taken for a container id")]
    LooksLikeId(String),
    #[error("Invalid container name: it is longer than {CONTAINER_MAX} bytes")]
    TooLong,
    #[error("invalid hostname format: {0}")]
    Host(String),
}

/// A name is a file name in the store.
const CONTAINER_MAX: usize = 255;
/// Digits of a short id.
const SHORT_ID: usize = 12;
/// __NEW_UTS_LEN of the kernel.
const HOST_MAX: usize = 64;

/// Checks a container name, at least two characters, and takes off docker's leading slash.
pub fn container_name(text: &str) -> Result<&str, InvalidName> {
    let name = text.strip_prefix('/').unwrap_or(text);
    let word = |byte: u8| byte.is_ascii_alphanumeric();
    let allowed = |byte: u8| word(byte) || b"_.-".contains(&byte);
    if !name.as_bytes().first().copied().is_some_and(word) || !name.bytes().all(allowed) {
        return Err(InvalidName::Container(printable(text)));
    }
    if name.len() > CONTAINER_MAX {
        return Err(InvalidName::TooLong);
    }
    // Otherwise it could stand before another container's id (CVE-2014-5278).
    let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if name.len() >= SHORT_ID && name.bytes().all(hex) {
        return Err(InvalidName::LooksLikeId(name.to_owned()));
    }
    Ok(name)
}

/// Checks a volume's name; docker's rule, but one character is enough (podman).
pub fn volume_name(text: &str) -> Option<&str> {
    let word = |byte: u8| byte.is_ascii_alphanumeric();
    let allowed = |byte: u8| word(byte) || b"_.-".contains(&byte);
    let valid = text.as_bytes().first().copied().is_some_and(word) && text.bytes().all(allowed);
    (valid && text.len() <= CONTAINER_MAX).then_some(text)
}

/// Checks a `--hostname`: what may stand in /etc/hosts and fits the kernel.
pub fn host_name(text: &str) -> Result<&str, InvalidName> {
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
    };
    let valid = text.len() <= HOST_MAX && text.strip_suffix('.').unwrap_or(text).split('.').all(label);
    if valid { Ok(text) } else { Err(InvalidName::Host(printable(text))) }
}

#[rustfmt::skip]
const ADJECTIVES: [&str; 64] = [
    "able", "agile", "amused", "awake", "bold", "brave", "bright", "brisk", "busy", "calm", "careful", "cheerful",
    "clever", "cool", "crisp", "curious", "daring", "dazzling", "eager", "early", "earnest", "easy", "fair", "fearless",
    "festive", "fluent", "frank", "gentle", "glad", "golden", "graceful", "happy", "hardy", "honest", "hopeful", "jolly",
    "jovial", "keen", "kind", "lively", "lucid", "lucky", "mellow", "merry", "modest", "neat", "nimble", "noble",
    "patient", "plucky", "polite", "proud", "quick", "quiet", "ready", "serene", "sharp", "steady", "sunny", "tidy",
    "tranquil", "vivid", "witty", "zesty",
];

#[rustfmt::skip]
const SURNAMES: [&str; 128] = [
    "abel", "ada", "agnesi", "allen", "ampere", "archimedes", "babbage", "banach", "bardeen", "bell", "bernoulli",
    "blackwell", "bohr", "boole", "borg", "bose", "boyle", "brahe", "brahmagupta", "cantor", "carson", "carver",
    "cauchy", "cavendish", "cerf", "chandrasekhar", "chatelet", "church", "codd", "copernicus", "coulomb", "cray",
    "curie", "dalton", "darwin", "diffie", "dijkstra", "dirac", "edison", "einstein", "engelbart", "erdos", "euclid",
    "euler", "faraday", "fermat", "fermi", "feynman", "fourier", "franklin", "galileo", "galois", "gauss", "germain",
    "godel", "goodall", "hamilton", "hamming", "hawking", "heisenberg", "hellman", "hertz", "herschel", "hilbert",
    "hodgkin", "hopper", "hubble", "hypatia", "jackson", "johnson", "joule", "kepler", "kilby", "knuth", "kovalevskaya",
    "lagrange", "lamarr", "lamport", "laplace", "lavoisier", "leavitt", "leibniz", "lichterman", "liskov", "lovelace",
    "maxwell", "mayer", "mcclintock", "mccarthy", "mclean", "meitner", "mendel", "mendeleev", "mirzakhani", "morse",
    "nash", "neumann", "newton", "nobel", "noether", "ohm", "pascal", "pasteur", "pauling", "perlman", "planck",
    "poincare", "ptolemy", "ramanujan", "raman", "ride", "riemann", "ritchie", "rubin", "rutherford", "sagan",
    "shannon", "shaw", "sinoussi", "swartz", "tesla", "thompson", "torvalds", "turing", "volta", "wiles", "wing", "wu",
];

/// A name `adjective_surname` out of two random bytes.
pub fn random(bytes: [u8; 2]) -> String {
    let adjective = ADJECTIVES[usize::from(bytes[0]) % ADJECTIVES.len()];
    let surname = SURNAMES[usize::from(bytes[1]) % SURNAMES.len()];
    format!("{adjective}_{surname}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_names() {
        for (text, name) in [
            ("web", "web"),
            ("/web", "web"),
            ("a", "a"),
            ("a1", "a1"),
            ("A_b.c-d", "A_b.c-d"),
            ("deadbeef", "deadbeef"),
        ] {
            assert_eq!(container_name(text), Ok(name));
        }
        for text in ["", "/", "-a", ".a", "_a", "a b", "a/b", "//ab", "ä1", "a\n", "a:b"] {
            assert!(matches!(container_name(text), Err(InvalidName::Container(_))), "{text:?}");
        }
        let message = container_name("a b").unwrap_err().to_string();
        assert_eq!(message, "Invalid container name (a b), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed");
        assert!(matches!(container_name("0123456789ab"), Err(InvalidName::LooksLikeId(_))));
        assert!(container_name("0123456789aB").is_ok());
        assert_eq!(container_name(&"x".repeat(256)), Err(InvalidName::TooLong));
    }

    #[test]
    fn host_names() {
        for text in ["a", "web-1", "web.example.org", "A_b", "0123456789ab"] {
            assert_eq!(host_name(text), Ok(text));
        }
        for text in ["", ".", "-a", "a-", "a..b", "a b", "a\nb", "ä", &"x".repeat(65)] {
            assert!(host_name(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn made_up_names_are_valid() {
        for first in 0..=255 {
            for second in 0..=255 {
                let name = random([first, second]);
                assert_eq!(container_name(&name), Ok(name.as_str()));
            }
        }
        let distinct: std::collections::BTreeSet<&str> = ADJECTIVES.iter().chain(&SURNAMES).copied().collect();
        assert_eq!(distinct.len(), ADJECTIVES.len() + SURNAMES.len());
    }
}
