//! What can be known of mounts before anything is made.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use rustix::fs::Access;

use crate::explain;
use crate::spec::mount::{Bind, Mount, MountKind, Propagation};

/// docker's words. Asked before an image is pulled for nothing.
pub fn check(mounts: &[Mount]) -> Result<()> {
    for mount in mounts {
        if let MountKind::Bind(bind) = &mount.kind {
            check_source(bind)?;
            check_propagation(bind)?;
        }
    }
    Ok(())
}

fn check_source(bind: &Bind) -> Result<()> {
    let source = bind.source.display();
    match std::fs::metadata(&bind.source) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && bind.create_source => {
            std::fs::create_dir_all(&bind.source).with_context(|| format!("create the mount's source {source}"))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!("invalid mount config for type \"bind\": bind source path does not exist: {source}")
        }
        Err(error) => {
            let text = format!("invalid mount config for type \"bind\": cannot use {source}: {error}");
            bail!(explain::with_cause(text, explain::path::unusable(&bind.source, Access::empty())))
        }
    }
}

/// Across a user namespace mounts propagate in one direction only: from the host to the container.
fn check_propagation(bind: &Bind) -> Result<()> {
    let word = bind.sharing.propagation.as_str();
    match bind.sharing.propagation {
        Propagation::Shared | Propagation::Rshared => bail!(
            "propagation {word} can't be had: what is mounted in a container's user namespace never reaches the \
             host (use rslave for what the host mounts)"
        ),
        Propagation::Slave | Propagation::Rslave => {
            let source = std::fs::canonicalize(&bind.source).unwrap_or_else(|_| bind.source.clone());
            let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").context("read the list of mounts")?;
            match mount_of(&mountinfo, &source) {
                Some((_, true)) | None => Ok(()),
                Some((point, false)) => bail!(
                    "path {} is mounted on {} but it is not a shared or slave mount",
                    source.display(),
                    point.display()
                ),
            }
        }
        _ => Ok(()),
    }
}

/// The mount point above `path`, and whether that mount is shared or a slave (proc_pid_mountinfo(5)).
fn mount_of(mountinfo: &str, path: &Path) -> Option<(PathBuf, bool)> {
    let mut found: Option<(PathBuf, bool)> = None;
    for line in mountinfo.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let point = PathBuf::from(fields.get(4)?.replace("\\040", " ").replace("\\134", "\\"));
        let propagates = fields
            .iter()
            .skip(6)
            .take_while(|field| **field != "-")
            .any(|field| field.starts_with("shared:") || field.starts_with("master:"));
        // A later mount at the same place covers the earlier one.
        let deeper = found.as_ref().is_none_or(|(known, _)| point.starts_with(known));
        if path.starts_with(&point) && deeper {
            found = Some((point, propagates));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_above_a_path() {
        let mountinfo = "1 0 8:1 / / rw shared:1 - ext4 x rw\n2 1 0:2 / /tmp rw - tmpfs t rw\n\
                         3 2 0:3 / /tmp/a\\040b rw master:4 - tmpfs t rw\n";
        for (path, point, propagates) in
            [("/etc", "/", true), ("/tmp/x", "/tmp", false), ("/tmp/a b/c", "/tmp/a b", true), ("/tmpx", "/", true)]
        {
            assert_eq!(mount_of(mountinfo, Path::new(path)), Some((PathBuf::from(point), propagates)), "{path}");
        }
    }
}
