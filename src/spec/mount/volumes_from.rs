//! `--volumes-from CONTAINER[:MODE]`: the mounts of another container.

use super::{Flag, InvalidMount, Mount, MountKind};
use crate::spec::text::printable;

/// A value of the flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumesFrom {
    /// The other container by name, id or unique prefix.
    pub container: String,
    /// They are read-only here, even where they are not there.
    pub read_only: bool,
}

/// Parses a value. Propagation and copying are the other container's affair, as docker has it.
pub fn parse_volumes_from(text: &str) -> Result<VolumesFrom, InvalidMount> {
    let (container, mode) = text.split_once(':').map_or((text, None), |(container, mode)| (container, Some(mode)));
    if container.is_empty() {
        return Err(InvalidMount::VolumesFrom);
    }
    let (mut access, mut relabel) = (None, false);
    for word in mode.into_iter().flat_map(|mode| mode.split(',')) {
        let valid = match word {
            "ro" | "rw" => access.replace(word == "ro").is_none(),
            // Labels are SELinux's affair; docker takes one of them.
            "z" | "Z" => !std::mem::replace(&mut relabel, true),
            _ => false,
        };
        if !valid {
            return Err(InvalidMount::Mode(printable(mode.unwrap_or_default())));
        }
    }
    Ok(VolumesFrom { container: container.to_owned(), read_only: access.unwrap_or(false) })
}

impl VolumesFrom {
    /// The mounts that come over: all that another container can have too, but for `--tmpfs`. Volumes are not
    /// filled again.
    pub fn mounts(&self, theirs: &[Mount]) -> Vec<Mount> {
        let shared = theirs.iter().filter(|mount| match mount.kind {
            MountKind::Bind(_) | MountKind::Volume(_) | MountKind::Image(_) => true,
            MountKind::Tmpfs(_) => mount.flag != Flag::Tmpfs,
            MountKind::Devpts(_) => false,
        });
        let inherit = |mount: &Mount| {
            let mut mount = mount.clone();
            mount.read_only |= self.read_only;
            (mount.flag, mount.typed) = (Flag::VolumesFrom, String::new());
            if let MountKind::Volume(volume) = &mut mount.kind {
                volume.nocopy = true;
            }
            mount
        };
        shared.map(inherit).collect()
    }
}

/// What a container has of others' mounts: of two at one place the later, and none where it has one of its own.
pub fn inherited(from: Vec<Mount>, own: &[Mount]) -> Vec<Mount> {
    let mut kept: Vec<Mount> = Vec::new();
    for mount in from {
        kept.retain(|earlier| earlier.target != mount.target);
        if !own.iter().any(|own| own.target == mount.target) {
            kept.push(mount);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{parse_tmpfs, parse_volume};
    use super::*;

    #[test]
    fn modes_of_docker() {
        let parse = |text: &str| parse_volumes_from(text).map(|from| (from.container, from.read_only));
        for (text, read_only) in [("data", false), ("data:rw", false), ("data:ro", true), ("data:ro,z", true)] {
            assert_eq!(parse(text), Ok(("data".to_owned(), read_only)), "{text}");
        }
        for (text, error) in [
            ("", "volumes-from specification cannot be an empty string"),
            (":ro", "volumes-from specification cannot be an empty string"),
            ("data:", "invalid mode: "),
            ("data:ro,rw", "invalid mode: ro,rw"),
            ("data:nocopy", "invalid mode: nocopy"),
            ("data:rslave", "invalid mode: rslave"),
            ("data:ro:rw", "invalid mode: ro:rw"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), error, "{text}");
        }
    }

    #[test]
    fn own_mounts_and_later_ones_win() {
        let volume = |text: &str| parse_volume(text, Path::new("/")).unwrap();
        let from = parse_volumes_from("x:ro").unwrap();
        let theirs = [volume("aa:/a"), volume("/host:/b"), parse_tmpfs("/c").unwrap(), volume("dd:/d")];
        let mounts = from.mounts(&theirs);
        let shown: Vec<String> = mounts.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["aa:/a:ro", "/host:/b:ro", "dd:/d:ro"]);
        let own = [volume("own:/d")];
        let all = inherited([mounts, vec![volume("later:/a")]].concat(), &own);
        let shown: Vec<String> = all.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["/host:/b:ro", "later:/a"]);
    }
}
