//! What the machine is: read from the kernel and from os-release, never from a command.

use std::path::Path;

/// Facts about the machine and this user's place on it.
#[derive(Debug)]
pub struct Host {
    pub kernel: String,
    pub architecture: String,
    pub name: String,
    /// os-release's PRETTY_NAME and VERSION_ID.
    pub operating_system: String,
    pub version: String,
    /// CPUs this process may run on.
    pub cpus: usize,
    /// Bytes.
    pub memory: u64,
    /// `2`, or `1` where the unified hierarchy is not mounted.
    pub cgroup_version: &'static str,
    pub rootless: bool,
    pub ipv4_forwarding: bool,
    pub warnings: Vec<String>,
}

/// Magic numbers of statfs(2) and docker's names.
const FILESYSTEMS: &[(u64, &str)] = &[
    (0xef53, "extfs"),
    (0x9123_683e, "btrfs"),
    (0x5846_5342, "xfs"),
    (0x0102_1994, "tmpfs"),
    (0x794c_7630, "overlayfs"),
    (0x2fc1_2fc1, "zfs"),
    (0xf2f5_2010, "f2fs"),
    (0x6969, "nfs"),
    (0xca45_1a4e, "bcachefs"),
    (0x6573_5546, "fuse"),
];
const CGROUP2: u64 = 0x6367_7270;

impl Host {
    /// The machine's memory in bytes.
    pub fn memory() -> u64 {
        std::fs::read_to_string("/proc/meminfo").map_or(0, |text| total_memory(&text))
    }

    /// Reads everything; what cannot be read is empty or zero.
    pub fn read() -> Self {
        let uname = rustix::system::uname();
        let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        let unified = magic(Path::new("/sys/fs/cgroup")) == Some(CGROUP2);
        let forwarding = std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap_or_default();
        let mut warnings = Vec::new();
        if !unified {
            warnings.push("WARNING: cgroup v2 is not mounted on /sys/fs/cgroup".to_owned());
        }
        Self {
            kernel: uname.release().to_string_lossy().into_owned(),
            architecture: uname.machine().to_string_lossy().into_owned(),
            name: uname.nodename().to_string_lossy().into_owned(),
            operating_system: release_field(&release, "PRETTY_NAME").unwrap_or_else(|| "Linux".to_owned()),
            version: release_field(&release, "VERSION_ID").unwrap_or_default(),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory: Self::memory(),
            cgroup_version: if unified { "2" } else { "1" },
            rootless: !rustix::process::geteuid().is_root(),
            ipv4_forwarding: forwarding.trim() == "1",
            warnings,
        }
    }
}

/// docker's name of the filesystem a path lies on.
pub fn filesystem(path: &Path) -> String {
    let Some(magic) = magic(path) else { return "<unknown>".to_owned() };
    let known = FILESYSTEMS.iter().find(|(number, _)| *number == magic);
    known.map_or_else(|| format!("{magic:#x}"), |(_, name)| (*name).to_owned())
}

fn magic(path: &Path) -> Option<u64> {
    // The kernel's magic numbers have 32 bits; some platforms' field is signed.
    rustix::fs::statfs(path).ok().map(|facts| facts.f_type as u64 & 0xffff_ffff)
}

/// A proxy setting, in capitals or not.
pub fn variable(name: &str) -> String {
    let value = std::env::var(name).or_else(|_| std::env::var(name.to_lowercase()));
    value.map(|value| without_password(&value)).unwrap_or_default()
}

/// docker shows no credentials of a proxy.
fn without_password(url: &str) -> String {
    match url.split_once("://").map(|(scheme, rest)| (scheme, rest.split_once('@'))) {
        Some((scheme, Some((_, host)))) => format!("{scheme}://xxxxx:xxxxx@{host}"),
        _ => url.to_owned(),
    }
}

/// A field of os-release(5), unquoted.
fn release_field(text: &str, name: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
    Some(value.trim().trim_matches(['"', '\'']).to_owned())
}

/// MemTotal of /proc/meminfo, in bytes.
fn total_memory(text: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().map_or(0, |kilobytes: u64| kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_understood() {
        let release = "NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12\"\nVERSION_ID='12'\n";
        assert_eq!(release_field(release, "PRETTY_NAME").as_deref(), Some("Debian GNU/Linux 12"));
        assert_eq!(release_field(release, "VERSION_ID").as_deref(), Some("12"));
        assert_eq!(release_field(release, "ID"), None);
        assert_eq!(total_memory("MemFree: 1 kB\nMemTotal:       16000 kB\n"), 16_384_000);
        assert_eq!(total_memory(""), 0);
    }

    #[test]
    fn proxies_lose_their_password() {
        assert_eq!(without_password("http://me:secret@proxy:3128"), "http://xxxxx:xxxxx@proxy:3128");
        assert_eq!(without_password("http://proxy:3128"), "http://proxy:3128");
    }
}
