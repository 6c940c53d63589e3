//! Control groups: the version, and what is handed to the user.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD};

use super::Finding;
use crate::explain::distribution::Distribution;
use crate::explain::{Code, Explained, facts};

const HIERARCHY: &str = "/sys/fs/cgroup";
const CGROUP2: u64 = 0x6367_7270;
/// What limits of memory, CPU, processes and disk throughput need.
const WANTED: [&str; 5] = ["cpu", "cpuset", "io", "memory", "pids"];

/// The controllers that this user may hand on.
pub fn examine() -> Finding {
    let code = Code::Cgroups;
    let magic = rustix::fs::statfs(HIERARCHY).map(|facts| facts.f_type as u64 & 0xffff_ffff);
    if magic != Ok(CGROUP2) {
        return Finding::warn(version_one());
    }
    let Some(directory) = delegated() else {
        return Finding::warn(undelegated("no cgroup that you may write to"));
    };
    let Some(text) = facts::text(&directory.join("cgroup.controllers")) else {
        return Finding::skipped(code, format!("{}/cgroup.controllers cannot be read", directory.display()));
    };
    let here: Vec<&str> = text.split_ascii_whitespace().collect();
    let missing: Vec<&str> = WANTED.into_iter().filter(|name| !here.contains(name)).collect();
    if missing.is_empty() {
        return Finding::pass(code, format!("version 2, with {text}"));
    }
    Finding::warn(undelegated(&format!("{} not handed to {}", missing.join(" "), directory.display())))
}

fn version_one() -> Explained {
    let hybrid = Path::new(HIERARCHY).join("unified").exists();
    let cause = if hybrid {
        "version 1 (hybrid): limits cannot be handed to a user"
    } else if Path::new(HIERARCHY).exists() {
        "version 1: limits cannot be handed to a user"
    } else {
        "not mounted on /sys/fs/cgroup"
    };
    let explained = Explained::new(Code::Cgroups, cause);
    let setting = "systemd.unified_cgroup_hierarchy=1";
    if !Path::new("/run/systemd/system").exists() {
        return explained.advice("boot with cgroup version 2 alone on /sys/fs/cgroup");
    }
    match Distribution::here() {
        Distribution::Fedora => {
            explained.administrator(format!("grubby --update-kernel=ALL --args={setting} && reboot"))
        }
        Distribution::Debian => explained.administrator(format!(
            "sed -i 's/^GRUB_CMDLINE_LINUX=\"/&{setting} /' /etc/default/grub && update-grub && reboot"
        )),
        _ => explained.advice(format!("add {setting} to the kernel's command line and boot")),
    }
}

fn undelegated(cause: &str) -> Explained {
    let explained = Explained::new(Code::Cgroups, cause);
    if !Path::new("/run/systemd/system").exists() {
        return explained.advice("start rbox in a cgroup whose directory belongs to you");
    }
    explained
        .administrator(
            "mkdir -p /etc/systemd/system/user@.service.d && \
             printf '[Service]\\nDelegate=cpu cpuset io memory pids\\n' >/etc/systemd/system/user@.service.d/delegate.conf && \
             systemctl daemon-reload",
        )
        .you("exit   # log in anew for it to take effect")
}

/// The user's own service of systemd, or else the cgroup of this process, if it may be written to.
fn delegated() -> Option<PathBuf> {
    let uid = rustix::process::getuid().as_raw();
    let service = format!("{HIERARCHY}/user.slice/user-{uid}.slice/user@{uid}.service");
    let own = facts::text(Path::new("/proc/self/cgroup"))?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::/")).map(|path| Path::new(HIERARCHY).join(path));
    std::iter::once(PathBuf::from(service)).chain(own).find(|directory| {
        let writable = |name: &str| rustix::fs::accessat(CWD, directory.join(name), Access::WRITE_OK, AtFlags::EACCESS);
        writable("cgroup.procs").is_ok() && writable("cgroup.subtree_control").is_ok()
    })
}
