//! What ADD and contexts take from elsewhere: files by their address, repositories of git.

pub mod git;
pub mod http;
