//! Isolation: namespaces, id maps, the root file system, mounts, seccomp, capabilities, the
//! terminal, and the supervisor that watches over a container.
//!
//! The sandbox executes an OCI runtime Spec. It knows nothing of command lines and of how images
//! got into the store.

mod accounts;
pub mod anchor;
mod become_process;
mod builder;
pub mod caps;
pub mod cgroup;
mod channel;
pub mod client;
mod copy;
mod creator;
pub mod devices;
mod door;
pub mod exec;
pub mod fill;
pub mod halt;
pub mod health;
mod hostview;
pub mod idmap;
pub mod inherited;
mod init;
mod input;
mod keys;
pub mod launch;
mod leftover;
pub mod log;
mod mapped;
pub mod measure;
mod message;
pub mod mounted;
mod mounts;
pub mod needs;
pub mod network;
pub mod notify;
pub mod observed;
mod output;
mod overlay;
mod owner;
pub mod pause;
pub mod plan;
mod prepared;
pub mod processes;
mod queue;
mod recorder;
pub mod rights;
pub mod rootfs;
mod seal;
pub mod seccomp;
mod secrets;
mod session;
pub mod setup;
pub mod shifting;
pub mod stage;
mod streams;
mod supervisor;
pub mod terminal;
mod tree;
pub mod user;
pub mod userns;
pub mod view;
mod viewer;
mod volumes;
