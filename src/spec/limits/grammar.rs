//! The values of single flags, in docker's grammar and words.

use super::DeviceRate;
use crate::spec::size::{self, InvalidSize};
use crate::spec::text::printable;

/// Why a text is no limit.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidLimit {
    #[error("failed to parse {0} as a rational number")]
    Rational(String),
    #[error("value is too precise")]
    TooPrecise,
    #[error("value is too large")]
    TooLarge,
    #[error(transparent)]
    Size(#[from] InvalidSize),
    #[error("bad format: {0}")]
    Device(String),
    #[error("bad format for device path: {0}")]
    DevicePath(String),
    #[error(
        "invalid rate for device: {0}. The correct format is <device-path>:<number>[<unit>]. Number must be a \
         positive integer. Unit is optional and can be kb, mb, or gb"
    )]
    Speed(String),
    #[error(
        "invalid rate for device: {0}. The correct format is <device-path>:<number>. Number must be a positive integer"
    )]
    Rate(String),
    #[error("invalid weight for device: {0}")]
    Weight(String),
    #[error("{0:?} is not a list of numbers and ranges as in 0-3,5")]
    List(String),
    #[error("{0:?} is not FILE=VALUE with a file of cgroup version 2, as in memory.high=512M")]
    Conf(String),
}

/// The highest processor or memory node that a list may name.
const HIGHEST: u32 = 8191;

/// `--cpus`: a decimal number, in billionths.
pub fn parse_cpus(text: &str) -> Result<u64, InvalidLimit> {
    let invalid = || InvalidLimit::Rational(printable(text));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || whole.is_empty() && fraction.is_empty() {
        return Err(invalid());
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > 9 {
        return Err(InvalidLimit::TooPrecise);
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| InvalidLimit::TooLarge)? };
    let part: u64 = format!("{fraction:0<9}").parse().map_err(|_| invalid())?;
    let total = whole.checked_mul(1_000_000_000).and_then(|nano| nano.checked_add(part));
    total.filter(|nano| i64::try_from(*nano).is_ok()).ok_or(InvalidLimit::TooLarge)
}

/// `--memory-swap`: bytes, or -1.
pub fn parse_memory_swap(text: &str) -> Result<i64, InvalidLimit> {
    if text == "-1" {
        return Ok(-1);
    }
    // No size is larger than what fits.
    Ok(size::parse_bytes(text)?.try_into().unwrap_or(i64::MAX))
}

/// `PATH:RATE[UNIT]` in bytes a second.
pub fn parse_speed(text: &str) -> Result<DeviceRate, InvalidLimit> {
    let (path, rate) = device(text)?;
    let rate = size::parse_bytes(rate).map_err(|_| InvalidLimit::Speed(printable(text)))?;
    Ok(DeviceRate { path, rate })
}

/// `PATH:NUMBER` in operations a second.
pub fn parse_rate(text: &str) -> Result<DeviceRate, InvalidLimit> {
    let (path, rate) = device(text)?;
    let rate = rate.parse().map_err(|_| InvalidLimit::Rate(printable(text)))?;
    Ok(DeviceRate { path, rate })
}

/// `PATH:WEIGHT`, 10 to 1000 or 0.
pub fn parse_weight_device(text: &str) -> Result<DeviceRate, InvalidLimit> {
    let (path, weight) = device(text)?;
    let valid = weight.parse().ok().filter(|weight| *weight == 0 || (10..=1000).contains(weight));
    Ok(DeviceRate { path, rate: valid.ok_or_else(|| InvalidLimit::Weight(printable(text)))? })
}

fn device(text: &str) -> Result<(String, &str), InvalidLimit> {
    let (path, value) = text
        .split_once(':')
        .filter(|(path, value)| !path.is_empty() && !value.is_empty())
        .ok_or_else(|| InvalidLimit::Device(printable(text)))?;
    if !path.starts_with("/dev/") {
        return Err(InvalidLimit::DevicePath(printable(text)));
    }
    Ok((path.to_owned(), value))
}

/// Processors or memory nodes, as in `0-3,5`: sorted, each once. An empty text is an empty list.
pub fn parse_list(text: &str) -> Result<Vec<u32>, InvalidLimit> {
    let invalid = || InvalidLimit::List(printable(text));
    let number = |word: &str| -> Result<u32, InvalidLimit> {
        let number: Option<u32> = word.bytes().all(|byte| byte.is_ascii_digit()).then(|| word.parse().ok()).flatten();
        number.filter(|number| *number <= HIGHEST).ok_or_else(invalid)
    };
    let mut all = Vec::new();
    for part in text.trim().split(',').filter(|_| !text.trim().is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(invalid());
        }
        all.extend(first..=last);
    }
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

/// `FILE=VALUE`: a controller's file, never one that says which processes are where.
pub fn parse_conf(text: &str) -> Result<(String, String), InvalidLimit> {
    let valid = |file: &str| {
        let (controller, rest) = file.split_once('.')?;
        let word = |part: &str| part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.');
        (!controller.is_empty() && controller != "cgroup" && !rest.is_empty() && word(file)).then_some(())
    };
    let parts = text.split_once('=').filter(|(file, value)| valid(file).is_some() && !value.is_empty());
    let (file, value) = parts.ok_or_else(|| InvalidLimit::Conf(printable(text)))?;
    Ok((file.to_owned(), value.to_owned()))
}
