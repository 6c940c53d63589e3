//! Quadlet: podman's files that describe containers, volumes, networks and images (podman-systemd.unit(5))
//! as services of systemd. A translation of text to text; whoever calls it reads and writes the files.
//!
//! A container becomes a service whose main process is `rbox run` in the foreground, so that systemd
//! supervises what it started, in any setting and for any user.

mod build;
mod container;
mod draft;
mod image;
mod install;
pub mod keys;
mod mounts;
mod network;
mod sources;
mod volume;

pub use self::draft::{NO_UNIT_NAME, is_unit_name};
pub use self::install::Link;
pub use self::sources::{Kind, Source, Sources, dropin_directories};

use self::draft::Draft;

/// What the translation must know of this machine.
pub struct Host<'a> {
    /// The rbox that services call.
    pub program: &'a str,
    /// For a user's systemd, not the system's.
    pub user: bool,
    /// Whether this rbox has a command, and if that is not empty, that command a flag.
    pub has: &'a dyn Fn(&str, &str) -> bool,
    /// Whether a path is there.
    pub exists: &'a dyn Fn(&str) -> bool,
}

/// What became of a file.
#[derive(Debug, PartialEq, Eq)]
pub struct Translation {
    /// Why there is no service: each with its file and line.
    pub problems: Vec<String>,
    /// What has no effect.
    pub warnings: Vec<String>,
    pub service: Service,
}

/// A service of systemd.
#[derive(Debug, PartialEq, Eq)]
pub struct Service {
    /// `web.service`.
    pub name: String,
    pub text: String,
    /// What starts it, as `systemctl enable` would note it.
    pub links: Vec<Link>,
}

/// Translates one of `all`.
pub fn translate(source: &Source, all: &Sources, host: &Host<'_>) -> Translation {
    let mut draft = Draft::new(source, all, host);
    if source.unit.section(source.kind.section()).is_none() {
        return draft.finish(Vec::new());
    }
    match source.kind {
        Kind::Container => container::fill(&mut draft),
        Kind::Volume => volume::fill(&mut draft),
        Kind::Network => network::fill(&mut draft),
        Kind::Image => image::fill(&mut draft),
        Kind::Build => build::fill(&mut draft),
    }
    let links = install::links(&mut draft);
    draft.finish(links)
}

#[cfg(test)]
mod tests;
