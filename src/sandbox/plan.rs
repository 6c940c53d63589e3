//! What to launch: the OCI runtime Spec and what it cannot say.

use std::fmt;
use std::path::PathBuf;

use oci_spec::runtime::{LinuxNamespaceType, Spec};

use super::cgroup::Place;
use super::inherited::Inherited;
use super::log::LogPlan;
use super::needs::MountNeeds;
use super::network::NetworkPlan;
use super::notify::NotifyPlan;
use super::seccomp::Filter;
use crate::spec::config::{ContainerId, SecretUse};
use crate::spec::identity::Identity;
use crate::spec::signal::Signal;
use crate::store::lock::FileLock;

/// Everything a supervisor needs to know about its container.
#[derive(Debug)]
pub struct Plan {
    pub id: ContainerId,
    /// The container's directory: `upper`, `work`, `merged`, and the files bound into /etc.
    pub directory: PathBuf,
    /// The runtime Spec; its user is replaced once names were looked up in the root file system.
    pub spec: Spec,
    pub root: RootPlan,
    pub mount_needs: MountNeeds,
    /// Where the root is mounted already.
    pub mounted: Option<PathBuf>,
    /// `user[:group]` as asked for.
    pub user: String,
    /// The id map, groups and accounts.
    pub identity: Identity,
    /// Run our reaper as pid 1, with the command as its child.
    pub init: bool,
    /// The cgroup that the container gets for itself; else it stays in the invocation's.
    pub cgroup: Option<Place>,
    /// None when unconfined.
    pub seccomp: Option<Filter>,
    /// Containers whose namespaces are joined: each one's init.
    pub joins: Vec<Join>,
    /// What the Spec cannot say about mounts of volumes.
    pub volumes: Volumes,
    pub network: NetworkPlan,
    /// Whom to tell that the container is ready.
    pub notify: Option<NotifyPlan>,
    /// Their bytes are in the container's directory.
    pub secrets: Vec<SecretUse>,
    /// Of its service.
    pub credentials: Vec<Credential>,
    /// Descriptors that the process gets besides the standard streams.
    pub inherited: Inherited,
    /// Symbolic links that devices need: target and path.
    pub links: Vec<(String, String)>,
    pub open_stdin: bool,
    /// The end of a client's stdin is not the end of the process's.
    pub keep_stdin: bool,
    pub auto_remove: bool,
    /// What it writes need not get to the disk by itself.
    pub volatile: bool,
    /// None keeps no log.
    pub log: Option<LogPlan>,
    /// The process gets the streams of the invocation.
    pub passthrough: bool,
    pub stop_signal: Signal,
    /// Seconds between the stop signal and SIGKILL; None waits for ever.
    pub stop_timeout: Option<u32>,
    /// Seconds after which it is killed.
    pub lifetime: Option<u32>,
}

/// A file of the container's that is nowhere else.
pub struct Credential {
    pub name: String,
    pub bytes: Vec<u8>,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({}, {} bytes)", self.name, self.bytes.len())
    }
}

/// What lies below the container's writable layer.
#[derive(Debug)]
pub enum RootPlan {
    /// Extracted layers, lowest first, and where the content of files lies that are stubs in them.
    Layers { lowers: Vec<PathBuf>, data: Option<PathBuf> },
    /// A directory of the host.
    Directory(PathBuf),
}

/// The volumes that are mounted, as far as they are more than directories.
#[derive(Debug, Default)]
pub struct Volumes {
    pub mounts: Vec<VolumePlan>,
    /// Locks of volumes in memory, held until the container runs: who comes later shares what it has.
    pub starting: Vec<FileLock>,
    /// Says that a running container sees them.
    pub held: Vec<FileLock>,
}

/// A volume that is mounted.
#[derive(Debug)]
pub struct VolumePlan {
    pub name: String,
    /// As in the Spec.
    pub target: PathBuf,
    /// What of a volume in memory is mounted; of others the mount's needs say.
    pub subpath: Option<String>,
    /// Whose mount this one shares: files in memory are nowhere else.
    pub donor: Option<Donor>,
}

/// A container that has a volume mounted.
#[derive(Debug)]
pub struct Donor {
    /// Its init.
    pub pid: rustix::process::Pid,
    /// Start time, so that a reused pid is never taken for it.
    pub start: u64,
    pub target: PathBuf,
}

/// A namespace of another container's init.
#[derive(Debug)]
pub struct Join {
    pub kind: LinuxNamespaceType,
    pub pid: rustix::process::Pid,
    /// Start time, so that a reused pid is never joined.
    pub start: u64,
}

impl Plan {
    /// Whether the container gets a namespace of its own of this kind.
    pub fn is_private(&self, kind: LinuxNamespaceType) -> bool {
        let namespaces = self.spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
        namespaces.into_iter().flatten().any(|namespace| namespace.typ() == kind && namespace.path().is_none())
    }

    /// Whether the process gets a terminal.
    pub fn has_terminal(&self) -> bool {
        self.spec.process().as_ref().and_then(|process| process.terminal()).unwrap_or(false)
    }
}
