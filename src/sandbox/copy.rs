//! The last resort where no overlay can be had: the layers' merged content as a plain copy.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags};

use crate::store::copy::{CopyOptions, Existing, OverlayMarks, copy_tree};

/// Copies the tree `lower` over the tree `upper`, applying overlayfs's whiteouts (character device
/// 0:0) and opaque directories (`user.overlay.opaque`).
pub fn merge(lower: &Path, upper: &Path) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let lower = rustix::fs::openat(CWD, lower, flags, Mode::empty())?;
    let upper = rustix::fs::openat(CWD, upper, flags, Mode::empty())?;
    let over =
        CopyOptions { existing: Existing::Replace, overlay: OverlayMarks::Apply, top: true, ..CopyOptions::default() };
    copy_tree(lower.as_fd(), upper.as_fd(), &over, &mut |_| ())?;
    Ok(())
}
