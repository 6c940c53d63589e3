//! `--tmpfs TARGET[:OPT,OPT…]`

use serde::{Deserialize, Serialize};

use super::{Flag, InvalidMount, Mount, MountKind, target};
use crate::spec::text::printable;

/// A tmpfs of the container. Without options: writable, noexec, nosuid, nodev, unlimited.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tmpfs {
    pub exec: bool,
    pub suid: bool,
    pub dev: bool,
    #[serde(default)]
    pub noatime: bool,
    /// `U`: it belongs to the container's user.
    #[serde(default)]
    pub chown: bool,
    /// It begins with what the container has at its place.
    #[serde(default)]
    pub copy_up: bool,
    /// The filesystem's own parameters in the kernel's grammar: `("size", "64m")`.
    pub parameters: Vec<(String, String)>,
}

/// Parses a `--tmpfs` value.
pub fn parse_tmpfs(text: &str) -> Result<Mount, InvalidMount> {
    let (path, options) = text.split_once(':').unwrap_or((text, ""));
    let mut tmpfs = Tmpfs::default();
    let mut read_only = false;
    for option in options.split(',').filter(|_| !options.is_empty()) {
        match option {
            "ro" | "rw" => read_only = option == "ro",
            other => tmpfs.apply(other)?,
        }
    }
    let target = target("tmpfs", path)?;
    Ok(Mount { target, read_only, kind: MountKind::Tmpfs(tmpfs), flag: Flag::Tmpfs, typed: options.to_owned() })
}

impl Tmpfs {
    /// Applies an option of mount(8) or podman but `ro` and `rw`; later ones win.
    pub(super) fn apply(&mut self, option: &str) -> Result<(), InvalidMount> {
        let invalid = || InvalidMount::TmpfsOption(printable(option));
        match option {
            "exec" | "noexec" => self.exec = option == "exec",
            "suid" | "nosuid" => self.suid = option == "suid",
            "dev" | "nodev" => self.dev = option == "dev",
            "noatime" | "relatime" => self.noatime = option == "noatime",
            "tmpcopyup" | "notmpcopyup" => self.copy_up = option == "tmpcopyup",
            "U" | "chown" => self.chown = true,
            "noswap" => return Err(InvalidMount::Noswap(option.to_owned())),
            // A tmpfs is private to its container whatever is said; podman writes these.
            "private" | "rprivate" => {}
            other => {
                let (name, value) = other.split_once('=').ok_or_else(invalid)?;
                self.set(name, value).ok_or_else(invalid)?;
            }
        }
        Ok(())
    }

    /// Sets a parameter, the last of a name winning; None when the name or the value is not the
    /// kernel's (tmpfs(5)).
    pub(super) fn set(&mut self, name: &str, value: &str) -> Option<()> {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let amount = |text: &str| digits(text.strip_suffix(['k', 'm', 'g', 'K', 'M', 'G']).unwrap_or(text));
        let valid = match name {
            "size" => amount(value) || value.strip_suffix('%').is_some_and(digits),
            "nr_blocks" | "nr_inodes" => amount(value),
            "mode" => is_mode(value),
            "uid" | "gid" => digits(value) && value.parse::<u32>().is_ok(),
            "mpol" => !value.is_empty() && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"=:-".contains(&b)),
            _ => false,
        };
        if !valid {
            return None;
        }
        self.parameters.retain(|(known, _)| known != name);
        self.parameters.push((name.to_owned(), value.to_owned()));
        Some(())
    }

    /// The options of this mount but read-only, for the Spec and for printing.
    pub fn options(&self) -> Vec<String> {
        let word = |on: bool, yes: &str, no: &str| if on { yes.to_owned() } else { no.to_owned() };
        let mut options =
            vec![word(self.suid, "suid", "nosuid"), word(self.dev, "dev", "nodev"), word(self.exec, "exec", "noexec")];
        options.extend(self.noatime.then(|| "noatime".to_owned()));
        options.extend(self.parameters.iter().map(|(name, value)| format!("{name}={value}")));
        options
    }
}

/// One to four octal digits.
pub(super) fn is_mode(text: &str) -> bool {
    let digits = text.strip_prefix('0').filter(|rest| !rest.is_empty()).unwrap_or(text);
    (1..=4).contains(&digits.len()) && digits.bytes().all(|b| (b'0'..=b'7').contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn defaults_and_options() {
        for (text, printed, spec) in [
            ("/t", "/t", "nosuid,nodev,noexec"),
            ("/t:", "/t", "nosuid,nodev,noexec"),
            ("/t/:exec", "/t:exec", "nosuid,nodev,exec"),
            ("/t:size=64m,mode=1777,ro", "/t:size=64m,mode=1777,ro", "nosuid,nodev,noexec,size=64m,mode=1777"),
            ("/t:size=1k,size=50%,noexec,suid,dev", "/t:size=1k,size=50%,noexec,suid,dev", "suid,dev,noexec,size=50%"),
            (
                "/t:uid=5,gid=6,nr_inodes=1k",
                "/t:uid=5,gid=6,nr_inodes=1k",
                "nosuid,nodev,noexec,uid=5,gid=6,nr_inodes=1k",
            ),
        ] {
            let mount = parse_tmpfs(text).unwrap();
            assert_eq!(mount.to_string(), printed);
            let MountKind::Tmpfs(tmpfs) = &mount.kind else { panic!("{mount:?}") };
            assert_eq!(tmpfs.options().join(","), spec);
        }
    }

    #[test]
    fn bad_values() {
        for option in
            ["foo", "size=", "size=x", "size=1kk", "mode=9", "mode=", "mode=17777", "uid=-1", "uid=4294967296"]
        {
            let text = format!("/t:{option}");
            assert_eq!(parse_tmpfs(&text), Err(InvalidMount::TmpfsOption(option.to_owned())), "{text}");
        }
        assert!(matches!(parse_tmpfs("/t:noswap"), Err(InvalidMount::Noswap(_))));
        for text in ["", "t", "/", "/proc:ro", "/t:size=1m,"] {
            assert!(parse_tmpfs(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn printing_round_trips(target in "(/[a-z,. ]{1,4}){1,3}", options in "[a-z=0-9%,]{0,24}") {
            if let Ok(mount) = parse_tmpfs(&format!("{target}:{options}")) {
                prop_assert_eq!(parse_tmpfs(&mount.to_string()), Ok(mount));
            }
        }
    }
}
