//! PAX extended header records, strictly: a record that two readers could take differently is an
//! error (POSIX pax, "pax Extended Header"). The archive library reads them too, but its iterator
//! ends silently at a bad length.

use std::collections::HashSet;

use anyhow::{Context, Result, bail};

use super::path::show;

const XATTR: &[u8] = b"SCHILY.xattr.";
const SPARSE: &[u8] = b"GNU.sparse.";
/// Keys that change what an entry is; a global header that sets one is read differently by
/// different readers.
const MEANINGFUL: &[&[u8]] = &[b"path", b"linkpath", b"size", b"uid", b"gid", b"mtime"];

/// Seconds and nanoseconds since the epoch; the nanoseconds count up, before 1970 too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Moment {
    pub seconds: i64,
    pub nanoseconds: u32,
}

/// The records of one extended header that rbox honours.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Pax<'a> {
    pub path: Option<&'a [u8]>,
    pub link_path: Option<&'a [u8]>,
    pub size: Option<u64>,
    pub uid: Option<u64>,
    pub gid: Option<u64>,
    pub mtime: Option<Moment>,
    /// Names without the `SCHILY.xattr.` prefix.
    pub xattrs: Vec<(&'a [u8], &'a [u8])>,
    /// Any `GNU.sparse.` record is present.
    pub sparse: bool,
}

impl<'a> Pax<'a> {
    /// Parses a whole extended header.
    pub fn parse(header: &'a [u8]) -> Result<Self> {
        let mut pax = Self::default();
        let mut seen = HashSet::new();
        let mut rest = header;
        while !rest.is_empty() {
            let (key, value, after) = record(rest)?;
            rest = after;
            // Format 0.0 of GNU sparse files repeats its pair of keys for each region.
            let repeats = matches!(key, b"GNU.sparse.offset" | b"GNU.sparse.numbytes");
            if !seen.insert(key) && !repeats {
                bail!("the extended header sets {} twice", show(key));
            }
            pax.set(key, value).with_context(|| format!("extended header record {}", show(key)))?;
        }
        Ok(pax)
    }

    fn set(&mut self, key: &'a [u8], value: &'a [u8]) -> Result<()> {
        match key {
            b"path" => self.path = Some(name(value)?),
            b"linkpath" => self.link_path = Some(name(value)?),
            b"size" => self.size = Some(decimal(value)?),
            b"uid" => self.uid = Some(decimal(value)?),
            b"gid" => self.gid = Some(decimal(value)?),
            b"mtime" => self.mtime = Some(moment(value)?),
            _ => {
                if let Some(xattr) = key.strip_prefix(XATTR) {
                    self.xattrs.push((xattr, value));
                }
                self.sparse |= key.starts_with(SPARSE);
            }
        }
        Ok(())
    }
}

/// Checks a global header: it may carry comments and the like, nothing that changes entries.
pub(super) fn check_global(header: &[u8]) -> Result<()> {
    let mut rest = header;
    while !rest.is_empty() {
        let (key, _, after) = record(rest)?;
        rest = after;
        if MEANINGFUL.contains(&key) || key.starts_with(XATTR) || key.starts_with(SPARSE) {
            bail!("a global extended header sets {}, which tar readers take differently", show(key));
        }
    }
    Ok(())
}

/// Splits `<length> <key>=<value>\n` off the front: key, value, rest.
fn record(bytes: &[u8]) -> Result<(&[u8], &[u8], &[u8])> {
    let malformed = || "malformed extended header record";
    let space = bytes.iter().take(20).position(|&byte| byte == b' ').with_context(malformed)?;
    let length = usize::try_from(decimal(&bytes[..space]).with_context(malformed)?)?;
    let body = bytes.get(space + 1..length).and_then(|body| body.strip_suffix(b"\n")).with_context(malformed)?;
    let equals = body.iter().position(|&byte| byte == b'=').with_context(malformed)?;
    let key = &body[..equals];
    if key.is_empty() || std::str::from_utf8(key).is_err() {
        bail!(malformed());
    }
    Ok((key, &body[equals + 1..], &bytes[length..]))
}

fn name(value: &[u8]) -> Result<&[u8]> {
    if value.is_empty() || value.contains(&0) {
        bail!("invalid name {}", show(value));
    }
    Ok(value)
}

/// Digits only: no sign, no blank.
fn decimal(value: &[u8]) -> Result<u64> {
    let digits = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    match digits.and_then(|text| text.parse().ok()) {
        Some(number) => Ok(number),
        None => bail!("invalid number {}", show(value)),
    }
}

/// `[-]SECONDS[.FRACTION]`; digits beyond nanoseconds are cut off.
fn moment(value: &[u8]) -> Result<Moment> {
    let (negative, magnitude) = match value.strip_prefix(b"-") {
        Some(magnitude) => (true, magnitude),
        None => (false, value),
    };
    let mut parts = magnitude.splitn(2, |&byte| byte == b'.');
    let seconds = i64::try_from(decimal(parts.next().unwrap_or_default())?)?;
    let mut nanoseconds = 0;
    let fraction = parts.next().unwrap_or(b"0");
    for (position, digit) in fraction.iter().enumerate() {
        match digit {
            b'0'..=b'9' if position < 9 => nanoseconds += u32::from(digit - b'0') * 10u32.pow(8 - position as u32),
            b'0'..=b'9' => {}
            _ => bail!("invalid time {}", show(value)),
        }
    }
    Ok(match (negative, nanoseconds) {
        (false, _) => Moment { seconds, nanoseconds },
        (true, 0) => Moment { seconds: -seconds, nanoseconds },
        (true, _) => Moment { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_taken_by_their_length() {
        let header = b"18 path=some/file\n30 SCHILY.xattr.user.x=a\nb=\0c\n";
        let pax = Pax::parse(header).unwrap();
        assert_eq!(pax.path, Some(&b"some/file"[..]));
        assert_eq!(pax.xattrs, [(&b"user.x"[..], &b"a\nb=\0c"[..])]);
    }

    #[test]
    fn a_value_cannot_forge_another_record() {
        let pax = Pax::parse(b"48 SCHILY.xattr.user.x=\n22 linkpath=/etc/shadow\n").unwrap();
        assert_eq!((pax.link_path, pax.xattrs.len()), (None, 1));
    }

    #[test]
    fn malformed_duplicate_and_signed_records_are_errors() {
        for bad in [
            &b"x path=a\n"[..],
            b"9 path=a",
            b"99 path=a\n",
            b"8 path=a\n",
            b"+9 path=a\n",
            b"5 path\n",
            b"6 =ab\n",
            b"path=a\n",
            b"9 path=a\n\0",
            b"9 path=a\n9 path=b\n",
            b"8 path=\n",
            b"11 size=+1\n",
            b"11 size=-1\n",
            b"9 size= \n",
            b"28 size=99999999999999999999\n",
            b"15 mtime=1e400\n",
            b"11 uid=0x10\n",
            b"0 ",
            b"3 \n",
        ] {
            assert!(Pax::parse(bad).is_err(), "{}", show(bad));
        }
    }

    #[test]
    fn times_keep_their_sign_and_nanoseconds() {
        let moment = |text: &str| moment(text.as_bytes()).map(|at| (at.seconds, at.nanoseconds)).ok();
        assert_eq!(moment("0"), Some((0, 0)));
        assert_eq!(moment("1350244992.023960108"), Some((1350244992, 23960108)));
        assert_eq!(moment("1.5"), Some((1, 500_000_000)));
        assert_eq!(moment("-1.5"), Some((-2, 500_000_000)));
        assert_eq!(moment("-7"), Some((-7, 0)));
        assert_eq!(moment("1.0000000019"), Some((1, 1)));
        for bad in ["", "-", ".5", "1.x", "1.-5", "--1"] {
            assert_eq!(moment(bad), None, "{bad}");
        }
    }

    #[test]
    fn global_headers_may_only_comment() {
        check_global(b"18 comment=0123456\n").unwrap_err();
        check_global(b"19 comment=0123456\n").unwrap();
        assert!(check_global(b"14 path=global\n").is_err());
        assert!(check_global(b"junk").is_err());
    }
}
