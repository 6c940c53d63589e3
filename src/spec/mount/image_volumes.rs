//! `--image-volume`: what becomes of an image's VOLUMEs.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Flag, InvalidMount, Mount, MountKind, Tmpfs, VolumeUse, target};
use crate::spec::text::printable;

/// What is mounted where the image names a volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageVolumes {
    /// An anonymous volume; `bind` is podman's older word for it.
    #[default]
    Anonymous,
    /// A tmpfs.
    Tmpfs,
    /// Nothing.
    Ignore,
}

impl FromStr for ImageVolumes {
    type Err = InvalidMount;

    fn from_str(text: &str) -> Result<Self, InvalidMount> {
        match text {
            "bind" | "anonymous" => Ok(Self::Anonymous),
            "tmpfs" => Ok(Self::Tmpfs),
            "ignore" => Ok(Self::Ignore),
            _ => Err(InvalidMount::ImageVolumes(printable(text))),
        }
    }
}

impl ImageVolumes {
    /// The mounts of the image's volumes at `paths`, but for those where `asked` mounts something.
    pub fn mounts<'a>(self, paths: impl Iterator<Item = &'a str>, asked: &[Mount]) -> Result<Vec<Mount>, InvalidMount> {
        let mut mounts: Vec<Mount> = Vec::new();
        for path in paths.filter(|_| self != Self::Ignore) {
            let target = target("volume", path)?;
            if asked.iter().chain(&mounts).any(|mount| mount.target == target) {
                continue;
            }
            let kind = match self {
                // As podman has it: what an image expects there can be executed.
                Self::Tmpfs => MountKind::Tmpfs(Tmpfs { exec: true, ..Tmpfs::default() }),
                _ => MountKind::Volume(VolumeUse { anonymous: true, ..VolumeUse::default() }),
            };
            mounts.push(Mount { target, read_only: false, kind, flag: Flag::Image, typed: String::new() });
        }
        Ok(mounts)
    }
}
