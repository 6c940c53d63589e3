//! The fixed header block, strictly. The archive library lets two things pass that other readers
//! refuse: base-256 numbers that do not fit, and a lone zero block amid the extended headers.

use anyhow::{Context, Result, bail};
use tar_core::Header;

use super::path::show;

/// One tar block in bytes.
pub(super) const BLOCK: usize = 512;

/// What precedes an entry's own header.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Chain {
    /// Offset of the entry's own header.
    pub header: usize,
    /// A GNU long name record is present.
    pub long_name: bool,
    /// A GNU long link target record is present.
    pub long_link: bool,
}

impl Chain {
    /// Walks the extension headers at the start of `input`, of which the library has consumed
    /// `consumed` bytes for one entry.
    pub fn walk(input: &[u8], consumed: usize) -> Result<Self> {
        let mut chain = Self::default();
        loop {
            let block = block(input, chain.header).filter(|_| chain.header < consumed).context("misread header")?;
            if is_zero(block) {
                bail!("a lone zero block inside the archive");
            }
            let header = Header::from_bytes(block);
            let extended = header.is_gnu() || header.is_ustar();
            match block[156] {
                b'x' if extended => {}
                b'L' if extended => chain.long_name = true,
                b'K' if extended => chain.long_link = true,
                _ => return Ok(chain),
            }
            let size = usize::try_from(number(&block[124..136])?)?;
            chain.header += BLOCK + size.checked_next_multiple_of(BLOCK).context("misread header")?;
        }
    }
}

/// The block at `offset`.
pub(super) fn block(input: &[u8], offset: usize) -> Option<&[u8; BLOCK]> {
    input.get(offset..offset.checked_add(BLOCK)?)?.try_into().ok()
}

/// Whether a block marks the end of an archive.
pub(super) fn is_zero(block: &[u8; BLOCK]) -> bool {
    block.iter().all(|&byte| byte == 0)
}

/// The numbers of an entry's own header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Numbers {
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    pub size: u64,
    /// Seconds since the epoch.
    pub mtime: i64,
}

impl Numbers {
    pub fn parse(block: &[u8; BLOCK]) -> Result<Self> {
        let unsigned = |field: &str, bytes: &[u8]| {
            number(bytes).and_then(|value| Ok(u64::try_from(value)?)).with_context(|| format!("header field {field}"))
        };
        Ok(Self {
            // Old archives keep the file type above the permission bits.
            mode: (unsigned("mode", &block[100..108])? & 0o7777) as u32,
            uid: unsigned("uid", &block[108..116])?,
            gid: unsigned("gid", &block[116..124])?,
            size: unsigned("size", &block[124..136])?,
            mtime: number(&block[136..148]).context("header field mtime")?,
        })
    }
}

/// A numeric field: octal digits padded with blanks and zero bytes, or, with the top bit set, a
/// big-endian two's complement number (GNU base-256) that must fit 64 bits.
pub(super) fn number(field: &[u8]) -> Result<i64> {
    match field.first() {
        Some(first) if first & 0x80 != 0 => base256(field),
        _ => octal(field),
    }
    .with_context(|| format!("malformed number {}", show(field)))
}

fn base256(field: &[u8]) -> Option<i64> {
    let negative = field[0] & 0x40 != 0;
    let mut value = if negative { -1i64 } else { 0 };
    for (position, &byte) in field.iter().enumerate() {
        // The top bit of the first byte is the marker; the sign is the bit below.
        let byte = match (position, negative) {
            (0, false) => byte & 0x7f,
            _ => byte,
        };
        value = value.checked_mul(256)?.checked_add(i64::from(byte))?;
    }
    Some(value)
}

fn octal(field: &[u8]) -> Option<i64> {
    let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    let digits = field[..end].trim_ascii();
    if digits.is_empty() {
        // Some readers skip leading zero bytes, others stop at the first.
        return field.iter().all(|byte| matches!(byte, 0 | b' ')).then_some(0);
    }
    if !digits.iter().all(|digit| (b'0'..=b'7').contains(digit)) {
        return None;
    }
    i64::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_base_256() {
        assert_eq!(number(b"0000644\0").unwrap(), 0o644);
        assert_eq!(number(b"    644 ").unwrap(), 0o644);
        assert_eq!(number(b"\0\0\0\0\0\0\0\0").unwrap(), 0);
        assert_eq!(number(b"77777777777\0").unwrap(), 0o77777777777);
        assert_eq!(number(b"\x80\0\0\0\x02\0\0\0").unwrap(), 1 << 25);
        assert_eq!(number(&[0xff; 12]).unwrap(), -1);
        assert_eq!(number(b"\xff\xff\xff\xff\xff\xff\xff\x38").unwrap(), -200);
    }

    #[test]
    fn numbers_that_do_not_fit_or_parse_are_errors() {
        for bad in [
            &b"\x00000644"[..],
            b"0000648\0",
            b"+000644\0",
            b"-000644\0",
            b"0x1f\0\0\0\0",
            b"\x80\x01\0\0\0\0\0\0\0\0\0\0",
            b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            assert!(number(bad).is_err(), "{}", show(bad));
        }
    }
}
