//! The black-box tests: one program, a module a subject, so that it is linked once and the tests of
//! all subjects wait side by side.

mod common;

mod archives;
mod attach;
mod commit;
mod completions;
mod config;
mod cp;
mod crash;
mod devices;
mod doctor;
mod environment;
mod events;
mod flags;
mod hardening;
mod identity;
mod images;
mod isolation;
mod layers;
mod lifecycle;
mod manpages;
mod many;
mod mounts;
mod network_cli;
mod network_crash;
mod network_hostile;
mod network_modes;
mod network_names;
mod network_outbound;
mod network_ports;
mod nosubuid;
mod pull;
mod push;
mod registry_auth;
mod reset;
mod rootfs;
mod run;
mod scripts;
mod secrets;
mod spec;
mod store;
mod systemd;
mod terminal;
mod tmux;
mod usage;
