//! Seccomp: the built-in profile as data, shared with build.rs.

pub mod table;
