//! What a file holds: its bytes, holes as zeros (the image-spec advises against sparse entries), and
//! its extended attributes.

use std::ffi::CString;
use std::io::{self, Write};
use std::os::fd::{BorrowedFd, OwnedFd};

use anyhow::{Context, Result};
use rustix::fs::{SeekFrom, Stat};
use rustix::io::Errno;

const BUFFER: usize = 128 << 10;
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// Attributes that belong to overlays, not to files.
const OF_OVERLAYS: [&[u8]; 3] = [b"user.overlay.", b"user.fuseoverlayfs.", b"user.containers."];
const KEPT: [&[u8]; 3] = [b"user.", b"security.capability", b"system.posix_acl_"];

/// Copies contents through one buffer.
#[derive(Default)]
pub(super) struct Content {
    buffer: Vec<u8>,
}

impl Content {
    /// Writes as many bytes as `stat` says: a file that shrank is filled up with zeros, of one that
    /// grew the rest is left.
    pub fn copy(&mut self, file: &OwnedFd, stat: &Stat, out: &mut impl Write) -> io::Result<()> {
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let allocated = u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
        if allocated >= size {
            let read = self.stretch(file, 0, size, out)?;
            return zeros(size - read, out);
        }
        let mut position = 0;
        while position < size {
            let Some((start, end)) = next_data(file, position, size)? else { break };
            zeros(start - position, out)?;
            let read = self.stretch(file, start, end - start, out)?;
            zeros(end - start - read, out)?;
            position = end;
        }
        zeros(size - position, out)
    }

    /// Copies `length` bytes from `offset`; returns how many were there.
    fn stretch(&mut self, file: &OwnedFd, offset: u64, length: u64, out: &mut impl Write) -> io::Result<u64> {
        self.buffer.resize(BUFFER, 0);
        let mut done = 0;
        while done < length {
            let wanted = usize::try_from(length - done).unwrap_or(BUFFER).min(BUFFER);
            let count =
                rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut self.buffer[..wanted], offset + done))?;
            if count == 0 {
                break;
            }
            out.write_all(&self.buffer[..count])?;
            done += count as u64;
        }
        Ok(done)
    }
}

/// The next stretch of data at or after `position`, at most up to `size`.
fn next_data(file: &OwnedFd, position: u64, size: u64) -> io::Result<Option<(u64, u64)>> {
    let start = match rustix::fs::seek(file, SeekFrom::Data(position)) {
        Ok(start) if start < size => start,
        Ok(_) | Err(Errno::NXIO) => return Ok(None),
        // A file system that knows no holes.
        Err(Errno::INVAL) => return Ok(Some((position, size))),
        Err(error) => return Err(error.into()),
    };
    let end = match rustix::fs::seek(file, SeekFrom::Hole(start)) {
        // It shrank meanwhile.
        Err(Errno::NXIO) => size,
        end => end?,
    };
    // Never none at all, whatever a file system answers.
    Ok(Some((start, end.clamp(start + 1, size))))
}

fn zeros(mut count: u64, out: &mut impl Write) -> io::Result<()> {
    while count > 0 {
        let piece = usize::try_from(count).unwrap_or(ZEROS.len()).min(ZEROS.len());
        out.write_all(&ZEROS[..piece])?;
        count -= piece as u64;
    }
    Ok(())
}

/// The attributes of an open file or directory that a layer keeps, sorted by name. `root` is who is
/// root to the container.
pub(super) fn xattrs(file: BorrowedFd<'_>, root: u32) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut names = [0u8; 1024];
    let listed = match rustix::fs::flistxattr(file, &mut names[..]) {
        Ok(length) => names[..length].to_vec(),
        Err(Errno::RANGE) => long_list(file)?,
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(error) => return Err(error).context("list extended attributes"),
    };
    let mut found = Vec::new();
    for name in listed.split(|&byte| byte == 0).filter(|name| is_kept(name)) {
        if let Some(value) = value(file, name)? {
            let value = if name == b"security.capability" { of_any_root(value, root) } else { value };
            found.push((name.to_owned(), value));
        }
    }
    found.sort();
    Ok(found)
}

/// File capabilities (capabilities(7)) that are the container root's, as an image has them: version 3,
/// which names the root, becomes version 2.
fn of_any_root(value: Vec<u8>, root: u32) -> Vec<u8> {
    const VERSION_3: u8 = 3;
    match value.last_chunk() {
        Some(id) if value.len() == 24 && value[3] == VERSION_3 && u32::from_le_bytes(*id) == root => {
            [&value[..3], &[2], &value[4..20]].concat()
        }
        _ => value,
    }
}

/// The names, when they are many.
fn long_list(file: BorrowedFd<'_>) -> Result<Vec<u8>> {
    // What the kernel allows (XATTR_LIST_MAX).
    let mut names = vec![0; 64 << 10];
    let length = rustix::fs::flistxattr(file, &mut names[..]).context("list extended attributes")?;
    names.truncate(length);
    Ok(names)
}

fn value(file: BorrowedFd<'_>, name: &[u8]) -> Result<Option<Vec<u8>>> {
    let name = CString::new(name)?;
    // What the kernel allows (XATTR_SIZE_MAX).
    let mut value = vec![0; 64 << 10];
    match rustix::fs::fgetxattr(file, &name, &mut value[..]) {
        Ok(length) => {
            value.truncate(length);
            Ok(Some(value))
        }
        // Removed since it was listed, or one whose ids are unknown here.
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::OVERFLOW) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("read extended attribute {}", name.to_string_lossy())),
    }
}

/// Whether an attribute is one that layers keep; a PAX key is text without `=`.
fn is_kept(name: &[u8]) -> bool {
    KEPT.iter().any(|kept| name.starts_with(kept))
        && !OF_OVERLAYS.iter().any(|other| name.starts_with(other))
        && std::str::from_utf8(name).is_ok_and(|name| !name.contains('='))
}
