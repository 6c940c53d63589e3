//! docker's humanised values: elapsed times, sizes, shortened texts, timestamps.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use unicode_width::UnicodeWidthChar;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY_HOURS: i64 = 24;

/// A duration in docker's words: `5 minutes`, `About an hour`, `3 weeks`. Negative ones, which a
/// clock set back produces, read as none.
pub fn elapsed(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    let hours = (seconds + HOUR / 2) / HOUR;
    match seconds {
        i64::MIN..1 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..MINUTE => format!("{seconds} seconds"),
        MINUTE..120 => "About a minute".to_owned(),
        120..HOUR => format!("{} minutes", seconds / MINUTE),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 2 * DAY_HOURS => format!("{hours} hours"),
        _ if hours < 14 * DAY_HOURS => format!("{} days", hours / DAY_HOURS),
        _ if hours < 60 * DAY_HOURS => format!("{} weeks", hours / DAY_HOURS / 7),
        _ if hours < 730 * DAY_HOURS => format!("{} months", hours / DAY_HOURS / 30),
        _ => format!("{} years", seconds / HOUR / DAY_HOURS / 365),
    }
}

/// [`elapsed`] between two moments.
pub fn elapsed_since(past: Timestamp, now: Timestamp) -> String {
    elapsed(now.duration_since(past))
}

/// Base 1000 without a space, `digits` significant: `72.9MB`, `0B`.
pub fn decimal_size(bytes: u64, digits: usize) -> String {
    size(bytes, digits, 1000.0, &["B", "kB", "MB", "GB", "TB", "PB", "EB"])
}

/// Base 1024, four significant digits: `7.762GiB`.
pub fn binary_size(bytes: u64) -> String {
    size(bytes, 4, 1024.0, &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"])
}

fn size(bytes: u64, digits: usize, base: f64, units: &[&str]) -> String {
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= base && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    format!("{}{}", significant(value, digits), units[unit])
}

/// C's `%.{digits}g` for values from 0 up, with its switch to exponents (999.6 -> `1e+03`).
fn significant(value: f64, digits: usize) -> String {
    let scientific = format!("{value:.*e}", digits - 1);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: usize = exponent.parse().unwrap_or(0);
    if exponent >= digits {
        return format!("{}e+{exponent:02}", trim_zeros(mantissa));
    }
    trim_zeros(&format!("{value:.*}", digits - 1 - exponent)).to_owned()
}

fn trim_zeros(number: &str) -> &str {
    if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number }
}

/// Display cells of one character in docker's tables.
pub fn char_width(c: char) -> usize {
    c.width().unwrap_or(0)
}

/// Display cells of a text.
pub fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

/// The text within `cells` display cells, shortened with `…` when it needs more.
pub fn ellipsis(text: &str, cells: usize) -> String {
    if width(text) <= cells {
        return text.to_owned();
    }
    let mut used = 0;
    let fits = |c: &char| {
        used += char_width(*c);
        used < cells
    };
    let mut short: String = text.chars().take_while(fits).collect();
    short.push('…');
    short
}

/// The first 12 digits of an id, without a `sha256:` before it.
pub fn short_id(id: &str) -> &str {
    let hex = id.split_once(':').map_or(id, |(_, hex)| hex);
    hex.get(..12).unwrap_or(hex)
}

/// `2006-01-02 15:04:05 -0700 MST` in the local zone, as `CreatedAt` fields show it.
pub fn local_time(moment: Timestamp) -> String {
    time_in(moment, TimeZone::system())
}

fn time_in(moment: Timestamp, zone: TimeZone) -> String {
    moment.to_zoned(zone).strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn elapsed_in_dockers_words() {
        let (hour, day) = (3600, 86400);
        for (seconds, words) in [
            (-5, "Less than a second"),
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (59 * 60 + 59, "59 minutes"),
            (hour, "About an hour"),
            (hour + 1799, "About an hour"),
            (hour + 1800, "2 hours"),
            (47 * hour, "47 hours"),
            (2 * day, "2 days"),
            (13 * day, "13 days"),
            (14 * day, "2 weeks"),
            (59 * day, "8 weeks"),
            (60 * day, "2 months"),
            (729 * day, "24 months"),
            (730 * day, "2 years"),
            (3 * 365 * day, "3 years"),
        ] {
            assert_eq!(elapsed(SignedDuration::from_secs(seconds)), words, "{seconds}");
        }
    }

    #[test]
    fn sizes_as_docker_shows_them() {
        for (bytes, three, four) in [
            (0, "0B", "0B"),
            (5, "5B", "5B"),
            (999, "999B", "999B"),
            (1000, "1kB", "1kB"),
            (1_984_000, "1.98MB", "1.984MB"),
            (5_000_000, "5MB", "5MB"),
            (72_900_000, "72.9MB", "72.9MB"),
            (401_000_000, "401MB", "401MB"),
            (999_600, "1e+03kB", "999.6kB"),
            (1_154_353, "1.15MB", "1.154MB"),
            (u64::MAX, "18.4EB", "18.45EB"),
        ] {
            assert_eq!(decimal_size(bytes, 3), three);
            assert_eq!(decimal_size(bytes, 4), four);
        }
        assert_eq!(binary_size(328 * 1024), "328KiB");
        assert_eq!(binary_size(8_334_000_000), "7.762GiB");
        assert_eq!(binary_size(1023), "1023B");
    }

    #[test]
    fn texts_are_shortened_by_cells() {
        assert_eq!(ellipsis("docker-entrypoint.sh nginx", 20), "docker-entrypoint.s…");
        assert_eq!(ellipsis("exactly twenty chars", 20), "exactly twenty chars");
        assert_eq!(ellipsis("漢字漢字", 5), "漢字…");
        assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789ab");
        assert_eq!(short_id("0123"), "0123");
    }

    #[test]
    fn times_carry_offset_and_zone() {
        let moment = Timestamp::from_second(1_795_309_108).unwrap();
        assert_eq!(time_in(moment, TimeZone::UTC), "2026-11-22 00:58:28 +0000 UTC");
    }

    proptest! {
        #[test]
        fn shortened_texts_fit(text in "\\PC{0,40}", cells in 1..30usize) {
            prop_assert!(width(&ellipsis(&text, cells)) <= cells);
        }
    }
}
