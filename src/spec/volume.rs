//! Volumes: directories with names that outlive containers, and what `volume create` asks of them.

mod backing;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::text::printable;

pub use backing::Backing;

/// The label of volumes that were made without a name, as docker has it.
pub const ANONYMOUS_LABEL: &str = "com.docker.volume.anonymous";

/// The only driver there is.
pub const DRIVER: &str = "local";

/// A name is a file name in the store.
const NAME_MAX: usize = 255;

/// What is known of a volume; never changed once it is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    pub name: String,
    /// RFC 3339 in UTC with nanoseconds.
    pub created: String,
    /// As given, for inspect.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Of the driver, as given; [`Volume::backing`] says what they mean.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// Made without a name, for one container.
    #[serde(default)]
    pub anonymous: bool,
}

/// A volume to be made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewVolume {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub options: BTreeMap<String, String>,
    pub anonymous: bool,
}

/// Why a volume can't be made as asked; docker's words where it has them. Values are escaped for printing.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidVolume {
    #[error(
        "create {0}: \"{0}\" includes invalid characters for a local volume name, only \
         \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
    )]
    Name(String),
    #[error("create {0}: volume name is too short, names should be at least two alphanumeric characters")]
    TooShort(String),
    #[error("create {}...: volume name is longer than {NAME_MAX} bytes", &.0[..16])]
    TooLong(String),
    #[error("error looking up volume plugin {0}: plugin \"{0}\" not found: local is the only driver")]
    Driver(String),
    #[error("invalid option: \"{0}\"")]
    Option(String),
    #[error("missing required option: \"{0}\"")]
    Missing(&'static str),
    #[error("invalid volume option {option}={value}: {why}")]
    Value { option: &'static str, value: String, why: String },
}

/// Checks a volume's name, which is also that of its directory.
pub fn check_volume_name(name: &str) -> Result<(), InvalidVolume> {
    let word = |byte: u8| byte.is_ascii_alphanumeric();
    let allowed = |byte: u8| word(byte) || b"_.-".contains(&byte);
    if !name.as_bytes().first().copied().is_some_and(word) || !name.bytes().all(allowed) {
        return Err(InvalidVolume::Name(printable(name)));
    }
    match name.len() {
        1 => Err(InvalidVolume::TooShort(name.to_owned())),
        length if length > NAME_MAX => Err(InvalidVolume::TooLong(name.to_owned())),
        _ => Ok(()),
    }
}

/// Checks a driver's name; an empty one is the default.
pub fn check_driver(driver: &str) -> Result<(), InvalidVolume> {
    if matches!(driver, "" | DRIVER) { Ok(()) } else { Err(InvalidVolume::Driver(printable(driver))) }
}

/// The name of a volume without one: 64 lower-case hex digits.
pub fn anonymous_name(bytes: [u8; 32]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl NewVolume {
    /// A volume of plain defaults.
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// Checks the name and the options.
    pub fn check(&self) -> Result<Backing, InvalidVolume> {
        check_volume_name(&self.name)?;
        Backing::of(&self.options)
    }

    /// The record, made now. docker marks anonymous volumes with a label.
    pub fn into_record(self, now: jiff::Timestamp) -> Volume {
        let Self { name, mut labels, options, anonymous } = self;
        if anonymous {
            labels.insert(ANONYMOUS_LABEL.to_owned(), String::new());
        }
        Volume { name, created: format!("{now:.9}"), labels, options, anonymous }
    }
}

impl Volume {
    /// What the volume consists of. Fails only on a record that something else wrote.
    pub fn backing(&self) -> Result<Backing, InvalidVolume> {
        Backing::of(&self.options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_docker() {
        for name in ["ab", "cass-shared", "1.x_Y-z", &"v".repeat(255), &"0f".repeat(32)] {
            assert_eq!(check_volume_name(name), Ok(()), "{name}");
        }
        for name in ["", ".x", "-x", "a/b", "../x", "a b", "ä", "a\n", "_x"] {
            assert_eq!(check_volume_name(name), Err(InvalidVolume::Name(printable(name))), "{name}");
        }
        assert_eq!(check_volume_name("a"), Err(InvalidVolume::TooShort("a".to_owned())));
        let long = check_volume_name(&"v".repeat(256)).unwrap_err().to_string();
        assert_eq!(long, "create vvvvvvvvvvvvvvvv...: volume name is longer than 255 bytes");
        assert_eq!(
            check_volume_name("bad/name").unwrap_err().to_string(),
            "create bad/name: \"bad/name\" includes invalid characters for a local volume name, only \
             \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path"
        );
    }

    #[test]
    fn drivers() {
        assert_eq!([check_driver(""), check_driver("local")], [Ok(()), Ok(())]);
        assert_eq!(
            check_driver("nfs").unwrap_err().to_string(),
            "error looking up volume plugin nfs: plugin \"nfs\" not found: local is the only driver"
        );
    }

    #[test]
    fn an_anonymous_volume_has_dockers_label() {
        let new = NewVolume { anonymous: true, ..NewVolume::named(&anonymous_name([0xab; 32])) };
        let volume = new.into_record("2026-01-02T03:04:05Z".parse().unwrap());
        assert_eq!(volume.created, "2026-01-02T03:04:05.000000000Z");
        assert_eq!(volume.labels[ANONYMOUS_LABEL], "");
    }
}
