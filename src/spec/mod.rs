//! What the user asked for, as types: references, sizes, mounts, environment, and the pure
//! functions that turn flags and image configuration into a [`config::ContainerConfig`] and an
//! OCI runtime Spec. Nothing here touches a file, a clock or the kernel.

pub mod caps;
pub mod cdi;
pub mod change;
pub mod commit;
pub mod config;
pub mod create;
pub mod detach_keys;
pub mod device;
pub mod digest;
pub mod env;
pub mod event;
pub mod identity;
pub mod image;
pub mod log;
pub mod mount;
pub mod names;
pub mod network;
pub mod oci;
pub mod platform;
pub mod port;
pub mod reference;
pub mod registries;
pub mod seccomp;
pub mod secret;
pub mod security;
pub mod settings;
pub mod signal;
pub mod size;
pub mod systemd;
pub mod text;
pub mod time;
pub mod ulimit;
pub mod volume;
