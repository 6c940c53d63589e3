//! `O[,upperdir=DIR,workdir=DIR]`: an overlay over a directory.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{InvalidMount, clean};

/// Where changes go: None is a place of the container's that is empty at each start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OverlayDirs {
    /// Absolute, on one file system.
    pub upper: Option<PathBuf>,
    pub work: Option<PathBuf>,
}

impl OverlayDirs {
    pub(super) fn new(upper: Option<&str>, work: Option<&str>) -> Result<Self, InvalidMount> {
        let absolute = |path: &str| Path::new(path).is_absolute().then(|| PathBuf::from(clean(path)));
        match (upper, work) {
            (None, None) => Ok(Self::default()),
            (Some(upper), Some(work)) => match (absolute(upper), absolute(work)) {
                (Some(upper), Some(work)) => Ok(Self { upper: Some(upper), work: Some(work) }),
                _ => Err(InvalidMount::OverlayDirs),
            },
            _ => Err(InvalidMount::OverlayDirs),
        }
    }
}
