//! What a container's mounts need that its OCI Spec cannot say.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::spec::mount::IdMapping;

/// The needs of mounts by their targets in the Spec; a mount without any has no entry.
pub type MountNeeds = BTreeMap<PathBuf, Needs>;

/// Of one mount.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// What is mounted is this path within the source, which no link leads out of.
    pub subpath: Option<PathBuf>,
    pub overlay: Option<Overlay>,
    /// Everything in it is given to the container's user.
    pub chown: bool,
    /// It begins with what the container has at its target.
    pub copy_up: bool,
    pub idmap: Option<IdMapping>,
}

/// An overlay of the container's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overlay {
    pub below: Below,
    /// Where changes are kept, and the work directory beside it. None: in the container's directory,
    /// for as long as it runs.
    pub dirs: Option<(PathBuf, PathBuf)>,
}

/// What is below an overlay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Below {
    /// The mount's source.
    #[default]
    Source,
    /// Extracted layers, lowest first, and where the content of files lies that are stubs in them.
    Layers { lowers: Vec<PathBuf>, data: Option<PathBuf> },
}
