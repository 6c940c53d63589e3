//! What is tried in the user namespace itself: a process of our own in a fresh one, with the ids
//! mapped as for containers, mounts and unmounts there.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::libc;
use rustix::fs::Access;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, UnmountFlags, fsconfig_create, fsmount, fsopen,
    mount_change, unmount,
};
use serde::{Deserialize, Serialize};

use super::child::{self, NoAnswer};
use super::disk::Disk;
use super::{Finding, nftables};
use crate::explain::distribution::{Distribution, Package};
use crate::explain::{self, Code, Explained, facts};
use crate::sandbox::rootfs::{self, Layout};
use crate::sandbox::userns::Trial;
use crate::store::Store;
use crate::store::fs::Durability;
use crate::store::staging::Staging;
use crate::sys::process;

/// What failed: the errno and what was being done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trouble {
    pub errno: i32,
    pub doing: String,
}

impl Trouble {
    fn text(&self) -> String {
        format!("{}: {}", self.doing, rustix::io::Errno::from_raw_os_error(self.errno))
    }
}

/// A try, made in a process of its own.
pub type Tried = Result<(), Trouble>;

/// The answers of the process in the namespace.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answers {
    pub proc_mount: Tried,
    /// None without a store to try it in.
    pub overlay: Option<Tried>,
    pub fuse_overlay: Option<Tried>,
    pub nf_tables: Tried,
    pub tproxy: Tried,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Inside {
    /// Why there are none, in words for checks that were not made.
    pub answers: Result<Answers, String>,
    /// How many users are mapped, or why only one; None when the checks of ranges and helpers say that.
    pub mapped: Option<Result<u64, String>>,
}

const NO_NAMESPACE: &str = "not tried: no user namespace to try it in";

/// Makes the namespace and asks everything. `can_map` says that ranges and helpers are there.
pub fn examine(store: Option<&Store>, can_map: bool) -> Inside {
    let staging = store.and_then(|store| Staging::create(store).ok());
    let directory = staging.as_ref().map(Staging::path);
    if rustix::process::geteuid().is_root() {
        let answers = child::ask(|| answers(directory)).map_err(not_tried);
        return Inside { answers, mapped: None };
    }
    let trial = match Trial::make() {
        Ok(trial) => trial,
        // Of the namespace itself its own check speaks.
        Err(error) => {
            return Inside {
                answers: Err(NO_NAMESPACE.to_owned()),
                mapped: can_map.then(|| Err(format!("{error:#}"))),
            };
        }
    };
    let answers = child::ask(|| trial.join().map(|()| answers(directory)).map_err(|error| error.to_string()));
    let answers = answers.map_err(not_tried).and_then(|joined| joined.map_err(|why| format!("not tried: {why}")));
    let mapped = match &trial.warning {
        None => trial.users().map_err(|error| error.to_string()),
        Some(warning) => Err(warning.clone()),
    };
    trial.release();
    Inside { answers, mapped: can_map.then_some(mapped) }
}

fn not_tried(why: NoAnswer) -> String {
    format!("not tried: {}", why.describe())
}

fn answers(directory: Option<&Path>) -> Answers {
    let (nf_tables, tproxy) = child::ask(nf_tables_probe).unwrap_or_else(|why| {
        let lost = Trouble { errno: libc::EIO, doing: why.describe() };
        (Err(lost.clone()), Err(lost))
    });
    Answers {
        proc_mount: tried(proc_probe),
        overlay: directory.map(|directory| tried(|| overlay_probe(&directory.join("overlay"), "overlay"))),
        fuse_overlay: directory.map(|directory| tried(|| overlay_probe(&directory.join("fuse"), "fuse-overlayfs"))),
        nf_tables,
        tproxy,
    }
}

fn tried(work: impl FnOnce() -> Tried) -> Tried {
    child::ask(work).unwrap_or_else(|why| Err(Trouble { errno: libc::EIO, doing: why.describe() }))
}

/// Names what failed.
trait Doing<T> {
    fn doing(self, what: &str) -> Result<T, Trouble>;
}

impl<T, E: Into<std::io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, what: &str) -> Result<T, Trouble> {
        self.map_err(|error| {
            let error = error.into();
            match error.raw_os_error() {
                Some(errno) => Trouble { errno, doing: what.to_owned() },
                None => Trouble { errno: libc::EINVAL, doing: format!("{what}: {error}") },
            }
        })
    }
}

/// A procfs shows the pid namespace of whoever makes it: a child of a new one does.
fn proc_probe() -> Tried {
    process::unshare(libc::CLONE_NEWNS | libc::CLONE_NEWPID).doing("create a pid namespace")?;
    process::with_shared_child(|| new_proc().doing("mount /proc").map(drop)).doing("create a process in it")?
}

fn new_proc() -> rustix::io::Result<OwnedFd> {
    let context = fsopen(c"proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(context.as_fd())?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}

/// Mounts with the store's own driver, on the store's own file system, and uses the mount: a new
/// file, a deleted lower file, an executable one.
fn overlay_probe(directory: &Path, driver: &str) -> Tried {
    process::unshare(libc::CLONE_NEWNS).doing("create a mount namespace")?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).doing("make mounts private")?;
    let [lower, upper, work, merged] = ["lower", "upper", "work", "merged"].map(|name| directory.join(name));
    for path in [&lower, &upper, &work, &merged] {
        std::fs::create_dir_all(path).doing("make a directory in the store")?;
    }
    std::fs::write(lower.join("old"), "").doing("write a file in the store")?;
    let Some(driver) = rootfs::driver(driver) else {
        return Err(Trouble { errno: libc::ENOSYS, doing: "find the driver".to_owned() });
    };
    let lowers = [lower];
    driver
        .mount(&Layout {
            lowers: &lowers,
            data: None,
            upper: &upper,
            work: &work,
            merged: &merged,
            durability: Durability::Volatile,
        })
        .doing("mount")?;
    let used = use_mount(&merged);
    // A helper that serves the mount ends with it.
    let _ = unmount(&merged, UnmountFlags::DETACH);
    used
}

fn use_mount(merged: &Path) -> Tried {
    use std::os::unix::fs::PermissionsExt;
    let new = merged.join("new");
    std::fs::write(&new, "").doing("write a file in it")?;
    std::fs::remove_file(merged.join("old")).doing("delete a lower file in it")?;
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).doing("change a mode in it")?;
    rustix::fs::access(&new, Access::EXEC_OK).doing("execute a file in it")
}

fn nf_tables_probe() -> (Tried, Tried) {
    if let Err(trouble) = process::unshare(libc::CLONE_NEWNET).doing("create a network namespace") {
        return (Err(trouble.clone()), Err(trouble));
    }
    match nftables::probe() {
        Ok(errors) => {
            let result = |errno: Option<i32>, doing: &str| match errno {
                Some(errno) => Err(Trouble { errno, doing: doing.to_owned() }),
                None => Ok(()),
            };
            (result(errors.chain, "make a table and a chain"), result(errors.rule, "make a tproxy rule"))
        }
        Err(error) => {
            let trouble = Trouble { errno: error.raw_os_error(), doing: "open a netfilter socket".to_owned() };
            (Err(trouble.clone()), Err(trouble))
        }
    }
}

/// A /proc of one's own.
pub fn proc_mount(inside: &Inside) -> Finding {
    let code = Code::ProcMount;
    match inside.answers.as_ref().map(|answers| &answers.proc_mount) {
        Err(why) => Finding::skipped(code, why),
        Ok(Ok(())) => Finding::pass(code, "a new /proc can be mounted"),
        Ok(Err(trouble)) if trouble.errno == libc::EPERM => {
            Finding::fail(explain::covered_proc("a new /proc cannot be mounted: parts of the /proc here are covered"))
        }
        Ok(Err(trouble)) => Finding::fail(Explained::new(code, trouble.text())),
    }
}

/// The map as containers get it.
pub fn id_map(inside: &Inside) -> Finding {
    let code = Code::IdMap;
    match &inside.mapped {
        Some(Ok(count)) => Finding::pass(code, format!("{count} users can be mapped")),
        Some(Err(why)) => Finding::fail(
            Explained::new(code, why.clone())
                .advice("compare the lines of this user in /etc/subuid and /etc/subgid with the helper's words"),
        ),
        None if rustix::process::geteuid().is_root() => Finding::skipped(code, "root maps ids by itself"),
        None => Finding::skipped(code, "not tried: see user-namespaces, subordinate-ids and id-map-helpers"),
    }
}

/// The kernel's overlayfs; without it, what stands in.
pub fn overlay(inside: &Inside, disk: &Disk) -> Finding {
    let code = Code::Overlayfs;
    let answers = match &inside.answers {
        Ok(answers) => answers,
        Err(why) => return Finding::skipped(code, why),
    };
    let trouble = match &answers.overlay {
        None => return Finding::skipped(code, "not tried: no store that can be written to try it on"),
        Some(Ok(())) => return Finding::pass(code, format!("works on {}", disk.kind)),
        Some(Err(trouble)) => trouble,
    };
    if matches!(trouble.errno, libc::ENOSPC | libc::EDQUOT | libc::EROFS) {
        return Finding::skipped(code, format!("not tried: {}", trouble.text()));
    }
    let instead = match &answers.fuse_overlay {
        Some(Ok(())) => "fuse-overlayfs is used instead, which is slower",
        _ => "every container gets a full copy of its image",
    };
    let explained = Explained::new(code, format!("{} on {}; {instead}", trouble.text(), disk.kind));
    Finding::warn(match trouble.errno {
        libc::ENODEV => {
            explained.administrator("modprobe overlay").administrator("echo overlay >>/etc/modules-load.d/rbox.conf")
        }
        libc::EPERM => explained.advice("install a newer kernel; user namespaces may mount overlays since Linux 5.11"),
        _ => {
            explained.you("export RBOX_ROOT=/var/tmp/$USER-rbox   # or another directory on a local ext4, xfs or btrfs")
        }
    })
}

/// The stand-in, and the device it needs.
pub fn fuse_overlay(inside: &Inside) -> Finding {
    let code = Code::FuseOverlayfs;
    let program = facts::program("fuse-overlayfs");
    let answers = match &inside.answers {
        Ok(answers) => answers,
        Err(why) => return Finding::skipped(code, why),
    };
    let works = matches!(answers.fuse_overlay, Some(Ok(())));
    let needed = !matches!(answers.overlay, Some(Ok(())) | None);
    if works {
        return Finding::pass(code, "works");
    }
    let Some(program) = program else {
        let explained = Explained::new(code, "not installed");
        let explained = match Distribution::here().install(Package::FuseOverlayfs) {
            Some(line) => explained.administrator(line),
            None => explained.advice("install the package fuse-overlayfs"),
        };
        return unless_needed(needed, explained);
    };
    let explained = match std::fs::OpenOptions::new().read(true).write(true).open("/dev/fuse") {
        Ok(_) => Explained::new(code, format!("{} does not mount here", program.display()))
            .advice(format!("run {} by hand to see why", program.display())),
        Err(error) => device_trouble(code, "/dev/fuse", "fuse", &error),
    };
    unless_needed(needed, explained)
}

fn unless_needed(needed: bool, explained: Explained) -> Finding {
    if needed {
        Finding::warn(explained)
    } else {
        Finding::pass(explained.code, format!("not needed ({})", explained.cause))
    }
}

/// A device that cannot be opened, for want of a module, a right, or the device.
pub fn device_trouble(code: Code, path: &str, module: &str, error: &std::io::Error) -> Explained {
    let explained = |cause: &str| Explained::new(code, format!("{path} {cause}"));
    let shown = PathBuf::from(path);
    match error.raw_os_error() {
        Some(libc::ENOENT) if super::kernel::outer_container().is_some() => {
            explained("does not exist in this container")
                .advice(format!("start the outer container with --device {path}"))
        }
        Some(libc::ENOENT) => explained("does not exist").administrator(format!("modprobe {module}")),
        Some(libc::ENODEV | libc::ENXIO) => explained("leads to no driver").administrator(format!("modprobe {module}")),
        Some(libc::EACCES) => {
            explained(&format!("may not be opened by {}", explain::path::who(&shown, explain::path::Side::Host)))
                .administrator(format!("chmod 0666 {path}"))
                .administrator(format!(
                    "echo 'KERNEL==\"{}\", MODE=\"0666\"' >/etc/udev/rules.d/90-rbox-{module}.rules",
                    shown.file_name().unwrap_or_default().to_string_lossy()
                ))
        }
        Some(libc::EPERM) => explained("is forbidden here by a device filter or lies on a mount with nodev")
            .advice(format!("start the outer container with --device {path}")),
        _ => Explained::new(code, format!("{path}: {error}")),
    }
}
