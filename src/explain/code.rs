//! The stable codes, and why each matters.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a finding or an error is about. The names are stable: scripts and docs/doctor.md use them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Code {
    Kernel,
    SystemCalls,
    UserNamespaces,
    Nested,
    ProcMount,
    SubordinateIds,
    IdMapHelpers,
    IdMap,
    PathAccess,
    Store,
    StoreFileSystem,
    ReadOnly,
    NoexecMount,
    DiskSpace,
    Inodes,
    DiskQuota,
    StoreContent,
    Overlayfs,
    FuseOverlayfs,
    RuntimeDirectory,
    Lingering,
    Cgroups,
    Tun,
    NfTables,
    PingRange,
    LowPorts,
    Seccomp,
    SecurityModule,
    OpenFiles,
    Processes,
    CoreFiles,
    KernelLimits,
    NotExecutable,
    MissingInterpreter,
    WrongArchitecture,
    ExecFormat,
}

impl Code {
    /// Every code: doctor's in the order of its checks, then those of run-time failures only.
    pub const ALL: [Self; 36] = [
        Self::Kernel,
        Self::SystemCalls,
        Self::UserNamespaces,
        Self::Nested,
        Self::ProcMount,
        Self::SubordinateIds,
        Self::IdMapHelpers,
        Self::IdMap,
        Self::PathAccess,
        Self::Store,
        Self::StoreFileSystem,
        Self::ReadOnly,
        Self::NoexecMount,
        Self::DiskSpace,
        Self::Inodes,
        Self::StoreContent,
        Self::Overlayfs,
        Self::FuseOverlayfs,
        Self::RuntimeDirectory,
        Self::Lingering,
        Self::Cgroups,
        Self::Tun,
        Self::NfTables,
        Self::PingRange,
        Self::LowPorts,
        Self::Seccomp,
        Self::SecurityModule,
        Self::OpenFiles,
        Self::Processes,
        Self::CoreFiles,
        Self::DiskQuota,
        Self::KernelLimits,
        Self::NotExecutable,
        Self::MissingInterpreter,
        Self::WrongArchitecture,
        Self::ExecFormat,
    ];

    /// The stable name.
    pub fn name(self) -> &'static str {
        self.texts().0
    }

    /// Why it matters, as a sentence without its full stop.
    pub fn why(self) -> &'static str {
        self.texts().1
    }

    fn texts(self) -> (&'static str, &'static str) {
        match self {
            Self::Kernel => ("kernel", "rbox is built on system calls that came with Linux 5.12"),
            Self::SystemCalls => {
                ("system-calls", "a container is built with these calls; without them a start fails half-way")
            }
            Self::UserNamespaces => {
                ("user-namespaces", "without them an ordinary user cannot isolate anything: no container starts")
            }
            Self::Nested => {
                ("nested-container", "the outer container's rules decide what rbox may do, whatever this system allows")
            }
            Self::ProcMount => ("proc-mount", "every container mounts a /proc that shows its own processes only"),
            Self::SubordinateIds => (
                "subordinate-ids",
                "the files of images belong to several users; without spare ids a container has root only",
            ),
            Self::IdMapHelpers => {
                ("id-map-helpers", "only newuidmap and newgidmap may hand a user's spare ids to a container")
            }
            Self::IdMap => ("id-map", "a container's users are these ids; if they cannot be mapped there is root only"),
            Self::PathAccess => {
                ("path-access", "a directory without the right stops everything below it, whoever owns that")
            }
            Self::Store => ("store", "images and containers are kept there"),
            Self::StoreFileSystem => (
                "store-file-system",
                "layers need owners, links, xattrs and locks as a local Linux file system has them",
            ),
            Self::ReadOnly => ("read-only", "nothing can be pulled, created or recorded there"),
            Self::NoexecMount => ("noexec-mount", "the kernel executes nothing from such a mount"),
            Self::DiskSpace => ("disk-space", "pulls, writes in containers and their logs stop when it is used up"),
            Self::Inodes => ("inodes", "every file and directory takes one; with none left nothing new can be made"),
            Self::DiskQuota => ("disk-quota", "a quota stops writes while the disk has room for others"),
            Self::StoreContent => ("store-content", "a container cannot start from layers or records that are missing"),
            Self::Overlayfs => ("overlayfs", "it lets containers share the files of an image; else each gets a copy"),
            Self::FuseOverlayfs => ("fuse-overlayfs", "it stands in where the kernel's overlayfs does not work"),
            Self::RuntimeDirectory => {
                ("runtime-directory", "what must vanish at boot and be safe from other users is kept there")
            }
            Self::Lingering => {
                ("lingering", "when you log out the system may stop your processes, and containers are among them")
            }
            Self::Cgroups => ("cgroups", "limits of memory, CPU and processes need controllers handed to the user"),
            Self::Tun => ("tun", "networks of containers that reach out need a TAP device for ICMP"),
            Self::NfTables => {
                ("nf-tables", "networks of containers that reach out are steered by the kernel's tproxy rules")
            }
            Self::PingRange => ("ping-range", "ping from a container's network leaves through a ping socket of yours"),
            Self::LowPorts => ("low-ports", "a published port is an ordinary port that your user listens on"),
            Self::Seccomp => ("seccomp", "every container gets a filter of system calls"),
            Self::SecurityModule => {
                ("security-module", "AppArmor or SELinux may refuse what ordinary permissions allow")
            }
            Self::OpenFiles => ("open-files", "an image takes a descriptor a layer, and busy programs thousands"),
            Self::Processes => ("processes", "at the limit nothing can be started, in containers or outside"),
            Self::CoreFiles => ("core-files", "a program that crashes in a container leaves no core file to look at"),
            Self::KernelLimits => {
                ("kernel-limits", "the kernel counts namespaces, mounts and open files for everybody")
            }
            Self::NotExecutable => ("not-executable", "the kernel executes only files whose mode allows it"),
            Self::MissingInterpreter => {
                ("missing-interpreter", "scripts and dynamic programs are started by another program, which must exist")
            }
            Self::WrongArchitecture => {
                ("wrong-architecture", "a program runs on the processor it was built for, or under an emulator")
            }
            Self::ExecFormat => ("exec-format", "the kernel executes ELF programs and scripts that begin with #!"),
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_documented_once() {
        let page = include_str!("../../docs/doctor.md");
        let mut names: Vec<&str> = Code::ALL.iter().map(|code| code.name()).collect();
        for name in &names {
            assert_eq!(page.matches(&format!("\n### {name}\n")).count(), 1, "{name} in docs/doctor.md");
        }
        assert_eq!(page.matches("\n### ").count(), names.len(), "docs/doctor.md explains a code that does not exist");
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Code::ALL.len());
        assert!(names.iter().all(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '-')));
    }
}
