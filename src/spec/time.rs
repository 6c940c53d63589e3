//! Durations in Go's notation and the moments that `--since` and `--until` take.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp, Zoned};

/// Why a text is not a duration.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid duration {0:?}: expected numbers with units, as in 1h30m, 10s or 300ms")]
pub struct InvalidDuration(pub String);

/// Why a text is not a moment; docker's words. Callers prefix `invalid value for "since": `.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("failed to parse value as time or duration: {0:?}")]
pub struct InvalidMoment(pub String);

const NANOS_PER_SECOND: i128 = 1_000_000_000;

/// Parses a Go duration: an optional sign, then numbers (with an optional fraction) each followed
/// by `ns us µs ms s m h`; a bare `0` needs no unit. The limit is Go's: 2^63 nanoseconds.
pub fn parse_duration(text: &str) -> Result<SignedDuration, InvalidDuration> {
    let invalid = || InvalidDuration(text.to_owned());
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(SignedDuration::ZERO);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let (nanos, after) = duration_part(rest).ok_or_else(invalid)?;
        total += nanos;
        if total > i128::from(i64::MAX) {
            return Err(invalid());
        }
        rest = after;
    }
    let nanos = i64::try_from(if negative { -total } else { total }).map_err(|_| invalid())?;
    Ok(SignedDuration::from_nanos(nanos))
}

/// Takes one `NUMBER UNIT` off the front and gives it in nanoseconds.
fn duration_part(text: &str) -> Option<(i128, &str)> {
    let (whole, rest) = split_digits(text);
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => split_digits(rest),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    const UNITS: [(&str, i128); 8] = [
        ("ns", 1),
        ("us", 1_000),
        ("µs", 1_000),
        ("μs", 1_000),
        ("ms", 1_000_000),
        ("s", NANOS_PER_SECOND),
        ("m", 60 * NANOS_PER_SECOND),
        ("h", 3600 * NANOS_PER_SECOND),
    ];
    let (rest, unit) = UNITS.iter().find_map(|(name, unit)| Some((rest.strip_prefix(name)?, *unit)))?;
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse::<i64>().ok()?.into() };
    // Fifteen decimals of an hour are below a nanosecond.
    let fraction = &fraction[..fraction.len().min(15)];
    let part: i128 = if fraction.is_empty() { 0 } else { fraction.parse::<i64>().ok()?.into() };
    let scale = 10i128.pow(fraction.len() as u32);
    Some((whole * unit + part * unit / scale, rest))
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// Parses a `--since` or `--until` value: a Go duration before `now`, else RFC 3339 or a truncation
/// of it (`2006-01-02`, `…T15`, `…T15:04`; without a zone in that of `now`), else Unix seconds with
/// an optional fraction.
pub fn parse_moment(text: &str, now: &Zoned) -> Result<Timestamp, InvalidMoment> {
    let invalid = || InvalidMoment(text.to_owned());
    // docker takes it for the number of seconds.
    let duration = Some(text).filter(|text| *text != "0").map(parse_duration);
    if let Some(Ok(back)) = duration {
        return now.timestamp().checked_sub(back).map_err(|_| invalid());
    }
    let date = text.get(..10).and_then(parse_date);
    match date {
        Some(date) => parse_rest(date, &text[10..], now.time_zone()).ok_or_else(invalid),
        None => parse_unix(text).ok_or_else(invalid),
    }
}

/// `NNNN-NN-NN`
fn parse_date(text: &str) -> Option<Date> {
    let mut parts = text.split('-');
    let year = number(parts.next()?, 4)?;
    let (month, day) = (number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    if parts.next().is_some() {
        return None;
    }
    Date::new(i16::try_from(year).ok()?, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()
}

/// What follows the date: `[THH[:MM[:SS[.fraction]]]][Z|±HH:MM]`.
fn parse_rest(date: Date, rest: &str, local: &TimeZone) -> Option<Timestamp> {
    let (rest, zone) = split_zone(rest)?;
    let time = match rest.strip_prefix('T') {
        Some(time) => parse_time(time)?,
        None if rest.is_empty() => Time::midnight(),
        None => return None,
    };
    let zone = zone.unwrap_or_else(|| local.clone());
    DateTime::from_parts(date, time).to_zoned(zone).ok().map(|zoned| zoned.timestamp())
}

fn split_zone(text: &str) -> Option<(&str, Option<TimeZone>)> {
    if let Some(rest) = text.strip_suffix('Z') {
        return Some((rest, Some(TimeZone::UTC)));
    }
    let Some(sign_at) = text.rfind(['+', '-']) else { return Some((text, None)) };
    let (hours, minutes) = text[sign_at + 1..].split_once(':')?;
    let (hours, minutes) = (number(hours, 2)?, number(minutes, 2)?);
    if hours > 23 || minutes > 59 {
        return None;
    }
    let seconds = i32::try_from(hours * 3600 + minutes * 60).ok()?;
    let seconds = if text.as_bytes()[sign_at] == b'-' { -seconds } else { seconds };
    Some((&text[..sign_at], Some(TimeZone::fixed(Offset::from_seconds(seconds).ok()?))))
}

fn parse_time(text: &str) -> Option<Time> {
    let mut parts = text.split(':');
    let hour = number(parts.next()?, 2)?;
    let minute = parts.next().map_or(Some(0), |part| number(part, 2))?;
    let (second, nanos) = match parts.next() {
        None => (0, 0),
        Some(seconds) => {
            let (second, fraction) = seconds.split_once('.').map_or((seconds, None), |(s, f)| (s, Some(f)));
            (number(second, 2)?, fraction.map_or(Some(0), nanoseconds)?)
        }
    };
    if parts.next().is_some() {
        return None;
    }
    let small = |value: u32| i8::try_from(value).ok();
    Time::new(small(hour)?, small(minute)?, small(second)?, i32::try_from(nanos).ok()?).ok()
}

/// `seconds[.fraction]` since 1970.
fn parse_unix(text: &str) -> Option<Timestamp> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (seconds, nanos) = match digits.split_once('.') {
        Some((seconds, fraction)) => (seconds, nanoseconds(fraction)?),
        None => (digits, 0),
    };
    if seconds.is_empty() || !seconds.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (seconds, nanos) = (seconds.parse::<i64>().ok()?, i32::try_from(nanos).ok()?);
    let (seconds, nanos) = if negative { (-seconds, -nanos) } else { (seconds, nanos) };
    Timestamp::new(seconds, nanos).ok()
}

/// A decimal fraction of a second, at most nine digits, padded on the right.
fn nanoseconds(fraction: &str) -> Option<u32> {
    if fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    let value = number(fraction, fraction.len())?;
    Some(value * 10u32.pow(9 - fraction.len() as u32))
}

/// Exactly `width` decimal digits.
fn number(text: &str, width: usize) -> Option<u32> {
    let digits = text.len() == width && text.bytes().all(|b| b.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn go_durations() {
        for (text, nanos) in [
            ("0", 0),
            ("-0", 0),
            ("0s", 0),
            ("300ms", 300_000_000),
            ("1.5h", 5_400_000_000_000),
            ("2h45m", 9_900_000_000_000),
            ("-10m", -600_000_000_000),
            ("+1us", 1_000),
            ("1µs2ns", 1_002),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("0.123456789123456789s", 123_456_789),
        ] {
            assert_eq!(parse_duration(text).map(|d| d.as_nanos()), Ok(nanos), "{text}");
        }
        for text in ["", "-", "1", "10", "s", ".s", "1x", "1h 2m", "1d", "9999999h", "１s", "1h-2m"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn moments() {
        let zone = TimeZone::fixed(Offset::from_seconds(7200).unwrap());
        let now: Timestamp = "2026-05-04T12:00:00Z".parse().unwrap();
        let now = now.to_zoned(zone);
        for (text, expected) in [
            ("10m", "2026-05-04T11:50:00Z"),
            ("-1h", "2026-05-04T13:00:00Z"),
            ("2026-01-02", "2026-01-01T22:00:00Z"),
            ("2026-01-02Z", "2026-01-02T00:00:00Z"),
            ("2026-01-02-05:30", "2026-01-02T05:30:00Z"),
            ("2026-01-02T03", "2026-01-02T01:00:00Z"),
            ("2026-01-02T03:04Z", "2026-01-02T03:04:00Z"),
            ("2026-01-02T03:04:05+01:00", "2026-01-02T02:04:05Z"),
            ("2026-01-02T03:04:05.5Z", "2026-01-02T03:04:05.5Z"),
            ("2026-01-02T03:04:05.123456789", "2026-01-02T01:04:05.123456789Z"),
            ("1136073845", "2006-01-01T00:04:05Z"),
            ("1136073845.000000001", "2006-01-01T00:04:05.000000001Z"),
            ("1136073845.5", "2006-01-01T00:04:05.5Z"),
        ] {
            assert_eq!(parse_moment(text, &now).map(|t| t.to_string()), Ok(expected.to_owned()), "{text}");
        }
        for text in
            ["garbage", "", "2026-13-01", "2026-01-02T", "2026-01-02T03:04:05.", "2026-01-02 03:04", "1e9", "€€€€"]
        {
            assert!(parse_moment(text, &now).is_err(), "{text}");
        }
        let error = parse_moment("garbage", &now).unwrap_err().to_string();
        assert_eq!(error, "failed to parse value as time or duration: \"garbage\"");
    }

    proptest! {
        #[test]
        fn rfc3339_round_trips(seconds in 0i64..4_000_000_000, nanos in 0i32..1_000_000_000) {
            let moment = Timestamp::new(seconds, nanos).unwrap();
            let now = Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
            prop_assert_eq!(parse_moment(&moment.to_string(), &now), Ok(moment));
        }

        #[test]
        fn never_panics(text in "[0-9TZ:.+µs\\-hm ]{0,30}|\\PC{0,16}") {
            let _ = parse_moment(&text, &Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC));
        }
    }
}
