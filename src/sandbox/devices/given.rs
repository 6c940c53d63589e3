//! What devices a container was promised are on this machine now, and whether they can be used.
//!
//! A device is the host's node, bound into the container. What opens it there is the caller to the
//! kernel, without the supplementary groups: a device that only these open is refused, not given in
//! vain.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, StatVfsMountFlags};

use super::cdi::{CdiError, Registry};
use crate::explain;
use crate::spec::cdi::{CdiMount, Edits, Meaning};
use crate::spec::device::{self, DevicePath, Devices, InvalidDevice};
use crate::spec::text::printable;

/// More nodes below a directory are not given.
const NODES_MAX: usize = 1024;
const DEPTH_MAX: usize = 16;
/// Below /dev these are file systems of their own, or links; docker leaves them out too.
const LEFT_OUT: [&str; 6] = ["pts", "shm", "fd", "mqueue", ".lxc", "console"];

/// Why a device cannot be given.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// docker's words, then the reason.
    #[error("error gathering device information while adding custom device {device:?}: {why}")]
    Gather { device: String, why: String },
    #[error(transparent)]
    Cdi(#[from] CdiError),
    #[error(transparent)]
    Invalid(#[from] InvalidDevice),
}

/// Everything that a container's devices come to.
#[derive(Debug, Default)]
pub struct Given {
    /// The host's path and the container's.
    pub nodes: Vec<(PathBuf, String)>,
    /// Of CDI.
    pub mounts: Vec<CdiMount>,
    /// `NAME=VALUE`.
    pub env: Vec<String>,
    /// Directories for LD_LIBRARY_PATH.
    pub libraries: Vec<String>,
    /// Symbolic links to make: target and path.
    pub links: Vec<(String, String)>,
    pub gids: Vec<u32>,
}

/// Looks all of them up.
pub fn look_up(devices: &Devices, keeps_groups: bool) -> Result<Given, DeviceError> {
    let mut given = Given::default();
    let look = Look { keeps_groups };
    for path in &devices.paths {
        look.take(path, &mut given.nodes)?;
    }
    if devices.cdi.is_empty() && devices.gpus.is_empty() {
        return Ok(given);
    }
    let registry = Registry::read(&devices.cdi_spec_dirs);
    let mut names = devices.cdi.clone();
    for request in &devices.gpus {
        names.extend(registry.gpus(request)?);
    }
    look.take_edits(registry.edits(&names)?, &mut given)?;
    Ok(given)
}

struct Look {
    keeps_groups: bool,
}

impl Look {
    fn take(&self, path: &DevicePath, nodes: &mut Vec<(PathBuf, String)>) -> Result<(), DeviceError> {
        let refuse = |why: String| gather(&path.host, why);
        let metadata = std::fs::metadata(&path.host).map_err(|error| refuse(reason(&path.host, &error)))?;
        if !metadata.is_dir() {
            self.check(&path.host).map_err(refuse)?;
            nodes.push((path.host.clone(), path.container.clone()));
            return Ok(());
        }
        let mut below = Vec::new();
        walk(&path.host, &path.container, 0, &mut below).map_err(|error| refuse(reason(&path.host, &error)))?;
        if below.is_empty() {
            return Err(refuse("there is no device node below it".to_owned()));
        }
        if below.len() > NODES_MAX {
            return Err(refuse(format!("there are more than {NODES_MAX} device nodes below it")));
        }
        // Of many it is enough that some are of use; what is refused is not shown.
        let refused = below.iter().find_map(|(host, _)| self.check(host).err());
        below.retain(|(host, _)| self.check(host).is_ok());
        if below.is_empty() {
            return Err(refuse(refused.unwrap_or_default()));
        }
        nodes.extend(below);
        Ok(())
    }

    fn take_edits(&self, edits: Edits, given: &mut Given) -> Result<(), DeviceError> {
        for node in &edits.device_nodes {
            device::check_permissions(&node.path, node.permissions.as_deref().unwrap_or("rwm"))?;
            let host = node.host();
            self.check(&host).map_err(|why| gather(&host, why))?;
            given.nodes.push((host, node.path.clone()));
        }
        for mount in &edits.mounts {
            if let Err(error) = std::fs::metadata(&mount.host_path) {
                return Err(gather(&mount.host_path, reason(&mount.host_path, &error)));
            }
        }
        for meaning in edits.hooks.iter().filter_map(|hook| hook.meaning()) {
            match meaning {
                Meaning::Libraries(directories) => given.libraries.extend(directories),
                Meaning::Links(links) => given.links.extend(links),
                Meaning::Nothing => {}
            }
        }
        given.mounts = edits.mounts;
        given.env = edits.env;
        given.gids = edits.additional_gids;
        Ok(())
    }

    /// Whether a path is a device that the container's processes can open.
    fn check(&self, path: &Path) -> Result<(), String> {
        let metadata = std::fs::metadata(path).map_err(|error| reason(path, &error))?;
        if !metadata.file_type().is_char_device() && !metadata.file_type().is_block_device() {
            return Err("not a device node".to_owned());
        }
        let can = |access| rustix::fs::accessat(CWD, path, access, AtFlags::EACCESS).is_ok();
        if !can(Access::READ_OK) && !can(Access::WRITE_OK) {
            let rights = Access::READ_OK | Access::WRITE_OK;
            return Err(explain::with_cause("permission denied".to_owned(), explain::path::unusable(path, rights)));
        }
        let nodev = rustix::fs::statvfs(path).is_ok_and(|stat| stat.f_flag.contains(StatVfsMountFlags::NODEV));
        if nodev {
            return Err("it lies on a file system that is mounted nodev".to_owned());
        }
        match foreign_group(path, &metadata).filter(|_| !self.keeps_groups) {
            Some(gid) => Err(format!(
                "it can be opened only by your supplementary group {gid}, which a container does not have: \
                 add --group-add keep-groups"
            )),
            None => Ok(()),
        }
    }
}

/// The group that alone opens a device to the user, if that is none of those a container has.
fn foreign_group(path: &Path, metadata: &std::fs::Metadata) -> Option<u32> {
    let user = rustix::process::geteuid();
    let group = rustix::process::getegid();
    let opens = |shift: u32| metadata.mode() >> shift & 0o6 != 0;
    if user.is_root() || has_acl(path) {
        return None;
    }
    let by_other_means = if metadata.uid() == user.as_raw() {
        opens(6)
    } else {
        metadata.gid() == group.as_raw() && opens(3) || opens(0)
    };
    (!by_other_means).then(|| metadata.gid())
}

/// An ACL may name the user, as that of a seat's devices does.
fn has_acl(path: &Path) -> bool {
    let mut none: [u8; 0] = [];
    rustix::fs::getxattr(path, c"system.posix_acl_access", &mut none[..]).is_ok_and(|length| length > 0)
}

/// All device nodes below a directory, by name; links are not followed.
fn walk(host: &Path, container: &str, depth: usize, nodes: &mut Vec<(PathBuf, String)>) -> io::Result<()> {
    let mut entries: Vec<_> = std::fs::read_dir(host)?.collect::<io::Result<_>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let kind = entry.file_type()?;
        let (path, inside) = (entry.path(), format!("{}/{name}", container.trim_end_matches('/')));
        if LEFT_OUT.contains(&name.as_str()) || nodes.len() > NODES_MAX {
            continue;
        }
        if kind.is_dir() && depth < DEPTH_MAX {
            // What the user may not look into holds nothing for a container.
            match walk(&path, &inside, depth + 1, nodes) {
                Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
                _ => {}
            }
        } else if kind.is_char_device() || kind.is_block_device() {
            nodes.push((path, inside));
        }
    }
    Ok(())
}

fn gather(path: &Path, why: String) -> DeviceError {
    DeviceError::Gather { device: printable(&path.to_string_lossy()), why }
}

fn reason(path: &Path, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        _ => explain::with_cause(error.to_string(), explain::path::unusable(path, Access::empty())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(host: &Path, container: &str) -> Devices {
        let path = DevicePath { host: host.to_owned(), container: container.to_owned(), permissions: "rwm".to_owned() };
        Devices { paths: vec![path], ..Devices::default() }
    }

    fn refusal(host: &Path) -> String {
        look_up(&paths(host, "/dev/x"), false).unwrap_err().to_string()
    }

    #[test]
    fn nodes_links_and_directories() {
        let nodes = |host: &Path, container: &str| look_up(&paths(host, container), false).unwrap().nodes;
        assert_eq!(nodes(Path::new("/dev/null"), "/dev/x"), [("/dev/null".into(), "/dev/x".to_owned())]);
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        assert_eq!(nodes(&link, "/dev/x"), [(link.clone(), "/dev/x".to_owned())]);
        let all = nodes(Path::new("/dev"), "/opt/dev");
        assert!(all.contains(&("/dev/null".into(), "/opt/dev/null".to_owned())), "{all:?}");
        assert!(!all.iter().any(|(host, _)| host.starts_with("/dev/pts")), "{all:?}");
    }

    #[test]
    fn what_is_no_device() {
        let directory = tempfile::tempdir().unwrap();
        let start = "error gathering device information while adding custom device ";
        let file = directory.path().join("file");
        std::fs::write(&file, "").unwrap();
        for (path, why) in [
            (Path::new("/dev/nonesuch"), "no such file or directory"),
            (&file, "not a device node"),
            (directory.path(), "there is no device node below it"),
        ] {
            assert_eq!(refusal(path), format!("{start}{:?}: {why}", path.to_str().unwrap()));
        }
    }
}
