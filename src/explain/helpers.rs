//! newuidmap and newgidmap: are they there, and may they do what they are for?

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::StatVfsMountFlags;

use super::distribution::{Distribution, Package};
use super::{Code, Explained, facts, shell_path};

/// Both helpers, with the capability each needs (capabilities(7)).
pub const HELPERS: [(&str, u32); 2] = [("newgidmap", 6), ("newuidmap", 7)];
/// Where they are installed, should PATH not lead there.
const DIRECTORIES: [&str; 5] = ["/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin"];
const SETUID: u32 = 0o4000;

/// A helper that works as far as can be told without running it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Helper {
    pub path: PathBuf,
    /// Setuid root; otherwise it has a file capability.
    pub setuid: bool,
}

/// Looks at one of [`HELPERS`].
pub fn examine(name: &str) -> Result<Helper, Explained> {
    let Some(path) = facts::program(name) else { return Err(missing(name)) };
    let shown = path.display();
    let failed = |cause: String| Explained::new(Code::IdMapHelpers, cause);
    let metadata = std::fs::metadata(&path).map_err(|error| failed(format!("{shown} cannot be looked at: {error}")))?;
    let setuid = metadata.mode() & SETUID != 0 && metadata.uid() == 0;
    let capability = HELPERS.iter().find(|(known, _)| *known == name).map_or(0, |(_, capability)| *capability);
    if !setuid && !has_file_capability(&path, capability) {
        let file = shell_path(&path);
        let owner = if metadata.uid() == 0 { String::new() } else { format!("chown root {file} && ") };
        let cause = format!(
            "{shown} is neither setuid root nor has it a file capability (mode {:04o}, owner {})",
            metadata.mode() & 0o7777,
            metadata.uid()
        );
        return Err(failed(cause).administrator(format!("{owner}chmod u+s {file}")));
    }
    if rustix::fs::statvfs(&path).is_ok_and(|facts| facts.f_flag.contains(StatVfsMountFlags::NOSUID)) {
        let mount = facts::mount_point(&path).unwrap_or_else(|| PathBuf::from("/"));
        let cause = format!("{shown} lies on {}, which is mounted nosuid, so it has no privilege", mount.display());
        return Err(failed(cause).administrator(format!("mount -o remount,suid {}", shell_path(&mount))));
    }
    if facts::status("NoNewPrivs").is_some_and(|value| value == "1") {
        let cause = format!("no_new_privs is set for this process, so {name} gets no privilege");
        return Err(failed(cause).advice(
            "start rbox without it (NoNewPrivileges=no in a systemd unit; bubblewrap and sandboxes always set it)",
        ));
    }
    Ok(Helper { path, setuid })
}

/// Explains why a helper failed: what is wrong with the helpers, else what it said itself.
pub fn blame(said: &str) -> Explained {
    let known = HELPERS.iter().find_map(|(name, _)| examine(name).err());
    known.unwrap_or_else(|| {
        Explained::new(Code::IdMap, said)
            .advice("compare this user's lines in /etc/subuid and /etc/subgid with these words")
    })
}

fn missing(name: &str) -> Explained {
    let elsewhere = DIRECTORIES.iter().map(|directory| Path::new(directory).join(name)).find(|path| path.is_file());
    if let Some(path) = elsewhere {
        let directory = path.parent().unwrap_or(Path::new("/"));
        return Explained::new(Code::IdMapHelpers, format!("{} is not on the PATH", path.display()))
            .you(format!("export PATH=\"$PATH:{}\"", directory.display()));
    }
    let explained = Explained::new(Code::IdMapHelpers, format!("{name} is not installed"));
    match Distribution::here().install(Package::IdMapHelpers) {
        Some(line) => explained.administrator(line),
        None => explained.advice("install the package that has newuidmap (shadow, uidmap)"),
    }
}

/// Whether the file's permitted set holds `capability` (struct vfs_cap_data of linux/capability.h).
fn has_file_capability(path: &Path, capability: u32) -> bool {
    let mut data = [0u8; 24];
    let Ok(length) = rustix::fs::getxattr(path, c"security.capability", &mut data[..]) else { return false };
    let permitted = data.get(4..8).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
    length >= 20 && permitted.is_some_and(|permitted| permitted >> capability & 1 == 1)
}
