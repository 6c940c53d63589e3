//! Settings below /proc/sys/net of the calling thread's network namespace.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{Mode, OFlags, open, openat};
use rustix::io::{Errno, read, write};

use crate::net::NetError;

/// One setting: its path below /proc/sys/net and its value.
pub type Setting<'a> = (&'a str, &'a str);

/// Writes the settings in turn. Those that the kernel does not have are left out. One that may not be written is no
/// error if it has the value already (a read-only /proc/sys).
pub fn set(settings: &[Setting<'_>]) -> io::Result<()> {
    let directory = open("/proc/sys/net", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| NetError::call("open /proc/sys/net", errno))?;
    for (path, value) in settings {
        match write_one(directory.as_fd(), path, value) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(_) if current(directory.as_fd(), path).is_ok_and(|current| current == *value) => {}
            Err(errno) => return Err(NetError::call(format!("set /proc/sys/net/{path} to {value}"), errno).into()),
        }
    }
    Ok(())
}

fn write_one(directory: BorrowedFd<'_>, path: &str, value: &str) -> Result<(), Errno> {
    let file = openat(directory, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    write(&file, value.as_bytes()).map(drop)
}

fn current(directory: BorrowedFd<'_>, path: &str) -> Result<String, Errno> {
    let file = openat(directory, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut text = [0; 64];
    let length = read(&file, &mut text)?;
    Ok(String::from_utf8_lossy(&text[..length]).trim().to_owned())
}
