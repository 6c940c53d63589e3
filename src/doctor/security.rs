//! Seccomp and the security modules.

use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD};

use super::{Finding, child};
use crate::explain::{Code, Explained, facts};
use crate::sandbox::seccomp as filters;
use crate::sys::calls;

/// The usual filter, really loaded; the cache of others.
pub fn seccomp(root: &Path) -> Finding {
    let code = Code::Seccomp;
    let loaded = child::ask(|| {
        let loaded = rustix::thread::set_no_new_privs(true)
            .map_err(std::io::Error::from)
            .and_then(|()| filters::default_filter().map_or(Ok(()), |filter| filter.load()));
        loaded.map_err(|error| error.to_string())
    });
    match loaded {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            return Finding::fail(
                Explained::new(code, format!("the kernel takes no filter: {error}"))
                    .advice("boot a kernel with CONFIG_SECCOMP_FILTER"),
            );
        }
        Err(why) => return Finding::fail(Explained::new(code, format!("no filter can be loaded: {}", why.describe()))),
    }
    let cache = root.join("seccomp");
    let cached = std::fs::read_dir(&cache).map_or(0, Iterator::count);
    let closed = cache.exists() && rustix::fs::accessat(CWD, &cache, Access::WRITE_OK, AtFlags::EACCESS).is_err();
    if closed {
        let cause = format!("filters work, but {} cannot be written to: each start compiles anew", cache.display());
        return Finding::warn(
            Explained::new(code, cause).you(format!("rm -rf {}", crate::explain::shell_path(&cache))),
        );
    }
    let notifies = if calls::seccomp_notifies() { "" } else { ", no notifications" };
    let own = if facts::is_filtered() { ", one is in force for rbox itself" } else { "" };
    Finding::pass(code, format!("filters can be loaded, {cached} compiled in the cache{notifies}{own}"))
}

/// AppArmor, SELinux and others, and whether they hold this process.
pub fn module() -> Finding {
    let code = Code::SecurityModule;
    let active = facts::text(Path::new("/sys/kernel/security/lsm"));
    let apparmor = facts::text(Path::new("/sys/module/apparmor/parameters/enabled")).is_some_and(|value| value == "Y");
    let selinux = Path::new("/sys/fs/selinux/enforce").exists();
    let label = facts::security_label();
    let name = match (selinux, apparmor) {
        (true, _) if facts::is_selinux_enforcing() => "SELinux, enforcing",
        (true, _) => "SELinux, permissive",
        (_, true) => "AppArmor",
        (false, false) => "neither AppArmor nor SELinux",
    };
    let others = active.map(|list| format!(" (active: {list})")).unwrap_or_default();
    match label {
        Some(label) if apparmor && !selinux => {
            Finding::warn(Explained::new(code, format!("AppArmor holds rbox to the profile {label}")).administrator(
                format!("aa-complain {}", crate::explain::shell_word(label.split(' ').next().unwrap_or_default())),
            ))
        }
        Some(label) if selinux && facts::is_selinux_enforcing() && !label.contains("unconfined") => Finding::warn(
            Explained::new(code, format!("SELinux holds rbox to the domain {label}"))
                .advice("see 'ausearch -m avc -ts recent' for what it refuses"),
        ),
        label => Finding::pass(
            code,
            format!("{name}{}{others}", label.map(|label| format!(", as {label}")).unwrap_or_default()),
        ),
    }
}
