//! Sizes as people type them: `64m`, `1.5g`, `512 KiB`; in powers of 1024, or of 1000 where docker
//! does so.

/// Why a text is not a size; docker's words.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidSize {
    #[error("invalid size: '{0}'")]
    Number(String),
    #[error("invalid suffix: '{0}'")]
    Suffix(String),
    #[error("invalid size: '{0}': larger than 8 EiB")]
    TooLarge(String),
}

/// Parses `NUMBER[ ][SUFFIX]` to bytes. The number may have a fraction; the suffix, in any case, is
/// empty, `b`, or one of `k m g t p` with an optional `b` or `ib`, all in powers of 1024.
pub fn parse_bytes(text: &str) -> Result<u64, InvalidSize> {
    parse(text, 1024)
}

/// The same in powers of 1000, whatever the suffix (docker's log-opt `max-size`).
pub fn parse_decimal_bytes(text: &str) -> Result<u64, InvalidSize> {
    parse(text, 1000)
}

/// A size that [`parse_decimal_bytes`] reads, with the largest suffix that divides it: `10m`.
pub fn short_decimal(bytes: u64) -> String {
    let units = [("p", 5), ("t", 4), ("g", 3), ("m", 2), ("k", 1)];
    let fitting = units.into_iter().find(|(_, power)| bytes != 0 && bytes.is_multiple_of(1000u64.pow(*power)));
    fitting.map_or_else(|| bytes.to_string(), |(suffix, power)| format!("{}{suffix}", bytes / 1000u64.pow(power)))
}

fn parse(text: &str, base: u64) -> Result<u64, InvalidSize> {
    let end = text.rfind(|c: char| c.is_ascii_digit() || c == '.').map(|last| last + 1);
    let (number, rest) = text.split_at(end.ok_or_else(|| InvalidSize::Number(text.to_owned()))?);
    let suffix = rest.strip_prefix(' ').unwrap_or(rest);
    let power = unit_power(suffix).ok_or_else(|| InvalidSize::Suffix(suffix.to_owned()))?;
    scale(number, base.pow(power), text)
}

/// The power of the base that a suffix stands for.
fn unit_power(suffix: &str) -> Option<u32> {
    let lower = suffix.to_ascii_lowercase();
    let mut chars = lower.chars();
    let power = match chars.next() {
        None => return Some(0),
        Some('b') => return (lower.len() == 1).then_some(0),
        Some('k') => 1,
        Some('m') => 2,
        Some('g') => 3,
        Some('t') => 4,
        Some('p') => 5,
        Some(_) => return None,
    };
    matches!(chars.as_str(), "" | "b" | "ib").then_some(power)
}

/// `number * unit`, exactly for whole numbers, rounded down for fractions.
fn scale(number: &str, unit: u64, text: &str) -> Result<u64, InvalidSize> {
    let invalid = || InvalidSize::Number(text.to_owned());
    let too_large = || InvalidSize::TooLarge(text.to_owned());
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || (whole.is_empty() && fraction.is_empty()) {
        return Err(invalid());
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| too_large())? };
    let part: f64 = format!("0.{fraction}0").parse().map_err(|_| invalid())?;
    // Below 2^50 * 1, so the conversion is exact enough and never saturates.
    let part = (part * unit as f64) as u64;
    let total = whole.checked_mul(unit).and_then(|bytes| bytes.checked_add(part)).ok_or_else(too_large)?;
    if i64::try_from(total).is_err() { Err(too_large()) } else { Ok(total) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn units() {
        for (text, bytes) in [
            ("0", 0),
            ("1024", 1024),
            ("10b", 10),
            ("1k", 1 << 10),
            ("1kb", 1 << 10),
            ("1KiB", 1 << 10),
            ("256m", 256 << 20),
            ("256 MB", 256 << 20),
            ("1.5g", 3 << 29),
            (".5k", 512),
            ("2.", 2),
            ("1t", 1 << 40),
            ("2P", 2 << 50),
            ("9007199254740993", 9_007_199_254_740_993),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn errors_name_the_part() {
        for text in ["", "abc", "-1", "1.2.3", ".", "m", "0x10", "+1", "1e3"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
        assert_eq!(parse_bytes("abc").unwrap_err().to_string(), "invalid size: 'abc'");
        assert_eq!(parse_bytes("-1").unwrap_err().to_string(), "invalid size: '-1'");
        assert_eq!(parse_bytes("1xy").unwrap_err().to_string(), "invalid suffix: 'xy'");
        for suffix in ["bb", "kk", "kibb", "kb ", "ib", " k", "е"] {
            assert_eq!(parse_bytes(&format!("1 {suffix}")), Err(InvalidSize::Suffix(suffix.to_owned())));
        }
        assert!(matches!(parse_bytes("8192p"), Err(InvalidSize::TooLarge(_))));
        assert!(matches!(parse_bytes("99999999999999999999"), Err(InvalidSize::TooLarge(_))));
    }

    #[test]
    fn decimal_units() {
        for (text, bytes) in
            [("10m", 10_000_000), ("1KiB", 1000), ("1.5g", 1_500_000_000), ("7", 7), ("2p", 2 * 10u64.pow(15))]
        {
            assert_eq!(parse_decimal_bytes(text), Ok(bytes), "{text}");
        }
        for (bytes, text) in [(0, "0"), (10_000_000, "10m"), (1500, "1500"), (3000, "3k"), (10u64.pow(18), "1000p")] {
            assert_eq!(short_decimal(bytes), text);
        }
    }

    proptest! {
        #[test]
        fn short_forms_are_read_back(bytes in 0..=i64::MAX as u64) {
            prop_assert_eq!(parse_decimal_bytes(&short_decimal(bytes)), Ok(bytes));
        }

        #[test]
        fn whole_numbers_are_exact(bytes in 0..=i64::MAX as u64) {
            prop_assert_eq!(parse_bytes(&bytes.to_string()), Ok(bytes));
        }

        #[test]
        fn never_panics(text in "\\PC{0,12}") {
            let _ = parse_bytes(&text);
        }
    }
}
