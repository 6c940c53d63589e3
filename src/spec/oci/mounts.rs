//! The Spec's list of mounts, in mounting order.

use std::path::{Path, PathBuf};

use oci_spec::runtime::Mount;

use super::{HostFacts, VolumeSource};
use crate::spec::config::{ContainerConfig, NamespaceMode};
use crate::spec::mount::{MountKind, Propagation, Recursion, Sharing, VolumeUse};
use crate::spec::systemd::{self, FullSystem};

/// The container's own mounts, then the files of /etc, then the user's, parents before children. A
/// user's mount takes the place of one of ours at the same target.
pub fn all(config: &ContainerConfig, facts: &HostFacts) -> Vec<Mount> {
    let asked = asked(config);
    let taken = |mount: &Mount| {
        asked.iter().any(|user| {
            let dev = user.target == "/dev" && mount.destination().starts_with("/dev");
            dev || mount.destination().as_os_str() == user.target.as_str()
        })
    };
    let ours = system(config).into_iter().chain(etc(config, facts)).filter(|mount| !taken(mount));
    let mut users: Vec<_> = asked.iter().collect();
    users.sort_by_key(|mount| mount.depth());
    ours.chain(users.into_iter().filter_map(|asked| user(asked, facts))).collect()
}

fn mount(kind: &str, source: impl Into<PathBuf>, target: &str, options: Vec<String>) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination(PathBuf::from(target))
        .set_typ(Some(kind.to_owned()))
        .set_source(Some(source.into()))
        .set_options(Some(options));
    mount
}

fn words(text: &str) -> Vec<String> {
    text.split(',').map(str::to_owned).collect()
}

fn system(config: &ContainerConfig) -> Vec<Mount> {
    const INERT: &str = "nosuid,noexec,nodev";
    let access = if config.privileged { "rw" } else { "ro" };
    let mut mounts = vec![
        match config.pid {
            // A procfs of its own would show the pid namespace of whoever mounts it.
            NamespaceMode::Host => mount("bind", "/proc", "/proc", words(&format!("rbind,rprivate,{INERT}"))),
            _ => mount("proc", "proc", "/proc", words(INERT)),
        },
        mount("tmpfs", "tmpfs", "/dev", words("nosuid,strictatime,mode=755,size=65536k")),
        mount("devpts", "devpts", "/dev/pts", words("nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5")),
    ];
    mounts.extend(shared_memory(config));
    mounts.push(mount("mqueue", "mqueue", "/dev/mqueue", words(INERT)));
    mounts.push(mount("sysfs", "sysfs", "/sys", words(&format!("{INERT},{access}"))));
    let access = if config.systemd.is_some() { "rw" } else { access };
    mounts.push(match config.limits.host_cgroupns {
        // The host's own cannot be mounted anew in another user namespace.
        true => mount("bind", "/sys/fs/cgroup", "/sys/fs/cgroup", words(&format!("rbind,rro,{INERT}"))),
        false => mount("cgroup2", "cgroup", "/sys/fs/cgroup", words(&format!("{access},{INERT}"))),
    });
    mounts.extend(config.systemd.iter().flat_map(for_a_system));
    mounts
}

/// What systemd needs empty or writable, as podman gives it.
fn for_a_system(system: &FullSystem) -> impl Iterator<Item = Mount> {
    let size = system.tmpfs_size;
    systemd::TMPFS.into_iter().map(move |(target, mode)| {
        let mut options = words(&format!("nosuid,nodev,mode={mode}"));
        options.extend((size > 0).then(|| format!("size={size}")));
        mount("tmpfs", "tmpfs", target, options)
    })
}

/// /dev/shm goes with the ipc namespace. The source of a joined one is /dev/shm as its owner sees it.
fn shared_memory(config: &ContainerConfig) -> Option<Mount> {
    match config.ipc {
        NamespaceMode::None => None,
        NamespaceMode::Host | NamespaceMode::Container(_) => {
            Some(mount("bind", "/dev/shm", "/dev/shm", words("bind,rprivate,nosuid,noexec,nodev")))
        }
        NamespaceMode::Private | NamespaceMode::Shareable => {
            let options = format!("nosuid,noexec,nodev,mode=1777,size={}", config.shm_size);
            Some(mount("tmpfs", "shm", "/dev/shm", words(&options)))
        }
    }
}

/// Files that rbox writes for each container, writable in it.
fn etc(config: &ContainerConfig, facts: &HostFacts) -> impl Iterator<Item = Mount> {
    let is_ours = |file: &&str| match *file {
        "hosts" => !config.no_hosts,
        "hostname" => !config.identity.no_hostname,
        "resolv.conf" => !config.dns.untouched,
        _ => true,
    };
    let localtime = config.environment.timezone.as_ref().map(|_| "localtime");
    let roots = std::iter::once("").chain(config.storage.chroot_dirs.iter().map(|root| root.trim_end_matches('/')));
    let files = ["resolv.conf", "hostname", "hosts"].into_iter().chain(localtime).filter(is_ours);
    let places = roots.flat_map(move |root| files.clone().map(move |file| (file, format!("{root}/etc/{file}"))));
    places.map(|(file, target)| mount("bind", facts.container_dir.join(file), &target, words("bind,rprivate,rw")))
}

/// None for a volume that is not there, which a start has made sure of.
fn user(asked: &crate::spec::mount::Mount, facts: &HostFacts) -> Option<Mount> {
    let access = || if asked.read_only { "ro" } else { "rw" }.to_owned();
    let target = &asked.target;
    Some(match &asked.kind {
        MountKind::Bind(bind) => shared(&bind.source, &bind.sharing, asked),
        MountKind::Tmpfs(tmpfs) => {
            let mut options = tmpfs.options();
            options.push(access());
            mount("tmpfs", "tmpfs", target, options)
        }
        MountKind::Image(image) => mount("overlay", &image.reference, target, vec![access(), "nodev".to_owned()]),
        MountKind::Devpts(devpts) => {
            let mut options = words("nosuid,noexec,newinstance,ptmxmode=0666");
            let numbers = [("uid", devpts.uid), ("gid", devpts.gid), ("max", devpts.max)];
            options
                .extend(numbers.into_iter().filter_map(|(name, value)| value.map(|value| format!("{name}={value}"))));
            options.push(format!("mode={}", devpts.mode.as_deref().unwrap_or("0620")));
            options.push(access());
            mount("devpts", "devpts", target, options)
        }
        MountKind::Volume(volume) => return of_volume(asked, volume, facts),
    })
}

/// A directory or file from outside the container.
fn shared(source: &Path, sharing: &Sharing, asked: &crate::spec::mount::Mount) -> Mount {
    if sharing.overlay.is_some() {
        let options = sharing.restrictions.iter().map(|restriction| restriction.as_str().to_owned()).collect();
        return mount("overlay", source, &asked.target, options);
    }
    mount("bind", source, &asked.target, sharing_options(sharing, asked.read_only))
}

/// The user's mounts, and those that follow from other options.
pub fn asked(config: &ContainerConfig) -> Vec<crate::spec::mount::Mount> {
    const SCRATCH: [&str; 3] = ["/run", "/tmp", "/var/tmp"];
    let free = |target: &&str| !config.mounts.iter().any(|mount| mount.target == *target);
    let scratch = SCRATCH.into_iter().filter(|_| config.read_only && config.storage.read_only_tmpfs).filter(free);
    config.mounts.iter().cloned().chain(scratch.map(crate::spec::mount::Mount::scratch)).collect()
}

/// None for a volume that is not there, which a start has made sure of.
fn of_volume(asked: &crate::spec::mount::Mount, volume: &VolumeUse, facts: &HostFacts) -> Option<Mount> {
    let own = sharing_options(&volume.sharing, asked.read_only);
    let overlaid = volume.sharing.overlay.is_some();
    match facts.volumes.get(volume.name.as_deref()?)? {
        VolumeSource::Directory { path, .. } if overlaid => Some(shared(path, &volume.sharing, asked)),
        VolumeSource::Directory { path, options } => {
            // What the use asks for comes last, but it can't take the volume's own read-only away.
            let fixed = options.iter().filter(|option| *option == "ro").cloned();
            let all = options.iter().cloned().chain(own).chain(fixed).collect();
            Some(mount("bind", path.clone(), &asked.target, all))
        }
        VolumeSource::Tmpfs(options) => {
            let access = if asked.read_only { "ro" } else { "rw" };
            let mut all = options.clone();
            if asked.read_only || !options.iter().any(|option| option == "ro") {
                all.push(access.to_owned());
            }
            all.extend(volume.sharing.restrictions.iter().map(|restriction| restriction.as_str().to_owned()));
            Some(mount("tmpfs", "tmpfs", &asked.target, all))
        }
    }
}

/// `ro` is about the mount itself, `rro` about those below it too. Together: below it where the
/// kernel can; `rro` alone: or fail.
fn sharing_options(sharing: &Sharing, read_only: bool) -> Vec<String> {
    let recursive = sharing.recursion != Recursion::Disabled;
    let mut options = vec![if recursive { "rbind" } else { "bind" }, propagation(sharing.propagation, recursive)];
    options.extend_from_slice(match (read_only, sharing.recursion) {
        (false, _) => &["rw"],
        (true, Recursion::Enabled) => &["ro", "rro"],
        (true, Recursion::Disabled | Recursion::Writable) => &["ro"],
        (true, Recursion::Readonly) => &["rro"],
    });
    options.extend(sharing.restrictions.iter().map(|restriction| restriction.as_str()));
    options.into_iter().map(str::to_owned).collect()
}

/// Without mounts below it, only the mount's own propagation is to be set.
fn propagation(propagation: Propagation, recursive: bool) -> &'static str {
    let word = propagation.as_str();
    if recursive { word } else { word.strip_prefix('r').unwrap_or(word) }
}
