//! The options of driver `local`: `type`, `device` and `o`, as mount(8) has them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::InvalidVolume;
use crate::spec::size::parse_bytes;
use crate::spec::text::printable;

/// What a volume consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backing {
    /// A directory of the store, which is filled from the image when it is first used.
    Directory {
        /// Its owner, if one was asked for (podman's `o=uid=,gid=`).
        owner: (Option<u32>, Option<u32>),
        /// It is never filled from an image (podman's `o=nocopy`).
        nocopy: bool,
    },
    /// A file system in memory, which lives as long as a running container uses it.
    Tmpfs {
        /// For the mount, in the Spec's words: `size=64m`, `noexec`.
        options: Vec<String>,
    },
    /// A directory of the host.
    Bind {
        /// Absolute.
        device: PathBuf,
        /// For the mount, in the Spec's words: `bind`, `ro`.
        options: Vec<String>,
    },
}

const NAMES: [&str; 3] = ["type", "device", "o"];
/// What any mount can be told.
const FLAGS: [&str; 12] =
    ["ro", "rw", "nosuid", "suid", "nodev", "dev", "noexec", "exec", "noatime", "relatime", "strictatime", "defaults"];
const PROPAGATION: [&str; 6] = ["private", "rprivate", "shared", "rshared", "slave", "rslave"];

impl Backing {
    /// Reads options; docker's grammar, and podman's further words in `o`.
    pub fn of(options: &BTreeMap<String, String>) -> Result<Self, InvalidVolume> {
        if let Some(unknown) = options.keys().find(|name| !NAMES.contains(&name.as_str())) {
            return Err(InvalidVolume::Option(printable(unknown)));
        }
        let given = |name: &str| options.get(name).map(String::as_str).filter(|value| !value.is_empty());
        let words: Vec<&str> = given("o").into_iter().flat_map(|text| text.split(',')).collect();
        match (given("type"), given("device")) {
            (None, None) => directory(&words),
            (None, Some(_)) => Err(InvalidVolume::Missing("type")),
            (Some("tmpfs"), _) => tmpfs(&words),
            (Some("none" | "bind"), None) => Err(InvalidVolume::Missing("device")),
            (Some(kind @ ("none" | "bind")), Some(device)) => bind(kind, device, &words),
            (Some(other), _) => Err(InvalidVolume::Value {
                option: "type",
                value: printable(other),
                why: "only tmpfs and none (with o=bind) can be mounted without root".to_owned(),
            }),
        }
    }

    /// Whether it is a directory of the store.
    pub fn is_directory(&self) -> bool {
        matches!(self, Self::Directory { .. })
    }
}

fn refuse<T>(word: &str, why: &str) -> Result<T, InvalidVolume> {
    Err(InvalidVolume::Value { option: "o", value: printable(word), why: why.to_owned() })
}

fn directory(words: &[&str]) -> Result<Backing, InvalidVolume> {
    let (mut owner, mut nocopy) = ((None, None), false);
    for word in words {
        match word.split_once('=').unwrap_or((word, "")) {
            ("uid", value) => owner.0 = Some(number(word, value)?),
            ("gid", value) => owner.1 = Some(number(word, value)?),
            ("nocopy", "") => nocopy = true,
            ("copy", "") => nocopy = false,
            ("size" | "inodes", _) => {
                return refuse(word, "a quota takes root: type=tmpfs has one");
            }
            // What is asked for is so.
            ("noquota" | "rw", "") => {}
            _ => return refuse(word, "a volume without type knows uid=, gid=, copy and nocopy"),
        }
    }
    Ok(Backing::Directory { owner, nocopy })
}

fn number(word: &str, value: &str) -> Result<u32, InvalidVolume> {
    match value.parse::<u32>() {
        Ok(number) if number != u32::MAX && value.bytes().all(|byte| byte.is_ascii_digit()) => Ok(number),
        _ => refuse(word, "not an id"),
    }
}

fn tmpfs(words: &[&str]) -> Result<Backing, InvalidVolume> {
    let mut options = vec!["nosuid".to_owned(), "nodev".to_owned()];
    for word in words {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        let valid = match name {
            "size" => value.strip_suffix('%').is_some_and(is_number) || is_amount(value),
            "nr_blocks" | "nr_inodes" => is_amount(value),
            "mode" => !value.is_empty() && value.len() <= 5 && value.bytes().all(|byte| (b'0'..=b'7').contains(&byte)),
            "uid" | "gid" => {
                number(word, value)?;
                true
            }
            _ => FLAGS.contains(word),
        };
        if !valid {
            return refuse(word, "a tmpfs has no such option");
        }
        options.push((*word).to_owned());
    }
    Ok(Backing::Tmpfs { options })
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A number in the kernel's grammar, and one that makes sense.
fn is_amount(text: &str) -> bool {
    is_number(text.strip_suffix(['k', 'm', 'g', 'K', 'M', 'G']).unwrap_or(text)) && parse_bytes(text).is_ok()
}

fn bind(kind: &str, device: &str, words: &[&str]) -> Result<Backing, InvalidVolume> {
    let invalid = |why: &str| InvalidVolume::Value { option: "device", value: printable(device), why: why.to_owned() };
    if !device.starts_with('/') || device.contains('\0') {
        return Err(invalid("it must be the absolute path of a directory"));
    }
    let is_bind = |word: &&str| matches!(*word, "bind" | "rbind");
    let asked: Vec<&str> = words.iter().copied().filter(is_bind).collect();
    let how = match asked.last() {
        Some(word) => *word,
        None if kind == "bind" => "bind",
        None => return Err(InvalidVolume::Missing("o=bind")),
    };
    let mut options = vec![how.to_owned()];
    // Nothing is ever copied to the host's directory.
    for word in words.iter().filter(|word| !is_bind(word) && **word != "nocopy") {
        if !FLAGS.contains(word) && !PROPAGATION.contains(word) {
            return refuse(word, "a bind mount has no such option");
        }
        options.push((*word).to_owned());
    }
    Ok(Backing::Bind { device: PathBuf::from(device), options })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Backing, String> {
        let pairs = text.split_whitespace().filter_map(|pair| pair.split_once('='));
        let options = pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Backing::of(&options).map_err(|error| error.to_string())
    }

    #[test]
    fn what_docker_and_podman_take() {
        let strings = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let directory = |owner, nocopy| Ok(Backing::Directory { owner, nocopy });
        assert_eq!(of(""), directory((None, None), false));
        assert_eq!(of("o=uid=1000,gid=0,nocopy"), directory((Some(1000), Some(0)), true));
        assert_eq!(
            of("type=tmpfs device=tmpfs o=size=100m,uid=1000,noexec"),
            Ok(Backing::Tmpfs { options: strings(&["nosuid", "nodev", "size=100m", "uid=1000", "noexec"]) })
        );
        assert_eq!(of("type=tmpfs"), Ok(Backing::Tmpfs { options: strings(&["nosuid", "nodev"]) }));
        let bind = |words| Ok(Backing::Bind { device: "/srv/x".into(), options: strings(words) });
        assert_eq!(of("type=none o=bind device=/srv/x"), bind(&["bind"]));
        assert_eq!(of("type=bind device=/srv/x o=ro,rbind,rslave"), bind(&["rbind", "ro", "rslave"]));
    }

    #[test]
    fn what_cannot_be_is_told() {
        for (text, error) in [
            ("size=1g", "invalid option: \"size\""),
            ("device=/x", "missing required option: \"type\""),
            ("type=none o=bind", "missing required option: \"device\""),
            ("type=none device=/x", "missing required option: \"o=bind\""),
            (
                "type=none o=bind device=x",
                "invalid volume option device=x: it must be the absolute path of a directory",
            ),
            (
                "type=nfs o=addr=10.0.0.1 device=:/x",
                "invalid volume option type=nfs: only tmpfs and none (with o=bind) can be mounted without root",
            ),
            ("type=tmpfs o=size=x", "invalid volume option o=size=x: a tmpfs has no such option"),
            ("type=tmpfs o=uid=-1", "invalid volume option o=uid=-1: not an id"),
            ("o=size=1g", "invalid volume option o=size=1g: a quota takes root: type=tmpfs has one"),
            ("o=bogus", "invalid volume option o=bogus: a volume without type knows uid=, gid=, copy and nocopy"),
            ("type=none o=bind,size=1 device=/x", "invalid volume option o=size=1: a bind mount has no such option"),
        ] {
            assert_eq!(of(text), Err(error.to_owned()), "{text}");
        }
    }
}
