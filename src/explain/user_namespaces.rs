//! Why the kernel refuses a user namespace.

use std::path::Path;

use rustix::io::Errno;

use super::distribution::sysctl;
use super::{Code, Explained, facts};

/// Enough for every container of a busy machine; what distributions set lies around it.
const NAMESPACES: &str = "15000";

/// Explains `errno` of unshare(2) or clone(2) with CLONE_NEWUSER, as seen by this process.
pub fn refusal(errno: Errno) -> Explained {
    let explained = |cause: &str| Explained::new(Code::UserNamespaces, cause);
    match errno {
        Errno::NOSPC | Errno::USERS => limit(),
        Errno::INVAL => explained("this kernel is built without user namespaces (CONFIG_USER_NS)")
            .advice("boot a kernel that has them"),
        Errno::NOSYS => explained("a seccomp filter hides the system call").advice(OUTER),
        Errno::PERM | Errno::ACCESS => refused(),
        error => explained(&format!("the kernel says: {error}")),
    }
}

/// Explains that namespaces can be made but give no capabilities, or the other way round.
pub fn powerless() -> Explained {
    restricted_by_apparmor().unwrap_or_else(refused)
}

/// An error of making namespaces, the user namespace among them, with its cause.
pub fn in_clone(error: std::io::Error) -> String {
    let refused = Errno::from_io_error(&error).filter(|errno| matches!(*errno, Errno::PERM | Errno::USERS));
    super::with_cause(error, refused.map(refusal))
}

const OUTER: &str = "start the outer container with --security-opt seccomp=unconfined, or ask who runs it";

fn limit() -> Explained {
    let name = "user.max_user_namespaces";
    let value = facts::sysctl(name);
    let cause = match value.as_deref() {
        Some("0") => format!("{name} is 0"),
        Some(value) => format!("the limit {name} ({value}) is reached here, or one of an outer namespace is"),
        None => "the limit of user namespaces is reached".to_owned(),
    };
    with_sysctl(Explained::new(Code::UserNamespaces, cause), name, NAMESPACES)
}

/// EPERM has many causes; those that can be read come first.
fn refused() -> Explained {
    let clone = "kernel.unprivileged_userns_clone";
    if facts::sysctl_number(clone) == Some(0) {
        return with_sysctl(Explained::new(Code::UserNamespaces, format!("{clone} is 0")), clone, "1");
    }
    if let Some(explained) = restricted_by_apparmor() {
        return explained;
    }
    if !is_mapped() {
        return Explained::new(Code::UserNamespaces, "your user or group id is not mapped in the namespace you are in")
            .advice("enter it as a user that exists in it");
    }
    if is_chrooted() {
        return Explained::new(Code::UserNamespaces, "this is a chroot, in which the kernel allows none")
            .advice("use a container or pivot_root in place of chroot");
    }
    let suspects = facts::suspects();
    if suspects.is_empty() {
        return Explained::new(Code::UserNamespaces, "the kernel refused without a reason that can be read from here")
            .advice("see the kernel's log (dmesg) for a denial");
    }
    Explained::new(Code::UserNamespaces, format!("refused by {}", suspects.join(" or "))).advice(OUTER)
}

/// Ubuntu 23.10 and later: only programs with an AppArmor profile get namespaces that are of use.
fn restricted_by_apparmor() -> Option<Explained> {
    let name = "kernel.apparmor_restrict_unprivileged_userns";
    let restricted = facts::sysctl_number(name) == Some(1);
    restricted.then(|| {
        let program = std::env::current_exe().unwrap_or_default();
        let profile = format!(
            "printf 'abi <abi/4.0>,\\ninclude <tunables/global>\\nprofile rbox {} flags=(unconfined) {{ userns, }}\\n' \
             >/etc/apparmor.d/rbox && apparmor_parser -r /etc/apparmor.d/rbox",
            super::shell_path(&program)
        );
        let cause = format!("AppArmor keeps them from programs without a profile ({name} is 1)");
        with_sysctl(Explained::new(Code::UserNamespaces, cause), name, "0")
            .advice(format!("or, for rbox alone, an administrator runs: {profile}"))
    })
}

fn with_sysctl(explained: Explained, name: &str, value: &str) -> Explained {
    let [now, always] = sysctl(name, value);
    explained.administrator(now).administrator(always)
}

fn is_mapped() -> bool {
    facts::outer_id(rustix::process::geteuid().as_raw(), "uid_map").is_some()
        && facts::outer_id(rustix::process::getegid().as_raw(), "gid_map").is_some()
}

/// Whether the root directory is no mount point of its own. One that is can still be a chroot; that
/// cannot be told.
fn is_chrooted() -> bool {
    facts::text(Path::new("/proc/self/mountinfo"))
        .is_some_and(|text| !text.lines().any(|line| line.split(' ').nth(4) == Some("/")))
}
