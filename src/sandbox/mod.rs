//! Isolation: namespaces, id maps, the root file system, mounts, seccomp, capabilities, the
//! terminal, and the supervisor that watches over a container.
//!
//! The sandbox executes an OCI runtime Spec. It knows nothing of command lines and of how images
//! got into the store.

pub mod caps;
pub mod idmap;
pub mod seccomp;
pub mod userns;
