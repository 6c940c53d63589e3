//! Why something can't be done with a volume. The texts are docker's where it has them.

use crate::spec::config::ContainerId;
use crate::spec::volume::InvalidVolume;

/// Why a text names no volume.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    #[error("get {0}: no such volume")]
    NotFound(String),
    /// It exists; `system check --repair` gives it a record again.
    #[error("volume {name} cannot be used: {why}; run 'rbox system check --repair'")]
    Damaged { name: String, why: String },
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

/// Why a volume was not made. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    #[error(transparent)]
    Invalid(#[from] InvalidVolume),
    #[error(
        "create {0}: conflict: volume name must be unique: it exists with other options or another driver: remove it \
         first or leave them out"
    )]
    Conflict(String),
    #[error(transparent)]
    Unusable(#[from] LookupError),
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

/// Why a volume was not removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    #[error("get {0}: no such volume")]
    NotFound(String),
    #[error("remove {volume}: volume is in use - [{}]", shown(users))]
    InUse { volume: String, users: Vec<ContainerId> },
    /// A container that cannot be read may use any volume.
    #[error(
        "remove {volume}: container {container} cannot be read and may use it: run 'rbox system check --repair' or \
         remove the container first"
    )]
    Unknown { volume: String, container: String },
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

fn shown(users: &[ContainerId]) -> String {
    let users: Vec<&str> = users.iter().map(ContainerId::as_str).collect();
    users.join(", ")
}
