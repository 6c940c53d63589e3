//! `rbox build`: a Dockerfile's steps as a graph, executed through the sandbox into the store's layers.

pub mod args;
pub mod cache;
pub mod context;
pub mod copy;
pub mod event;
pub mod fetch;
pub mod image;
pub mod solve;
pub mod step;
