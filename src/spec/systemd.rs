//! Containers that boot a whole system: `--systemd`, in podman's grammar, and what systemd expects
//! of whoever starts it (systemd's CONTAINER_INTERFACE).

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::config::ContainerId;
use super::signal::Signal;

/// `--systemd`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SystemdMode {
    /// `true`: where the command is an init system, by its name.
    #[default]
    WhenCommand,
    /// `always`.
    Always,
    /// `false`.
    Never,
}

/// What a container that boots a whole system was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FullSystem {
    /// Bytes of each tmpfs that was made for it; 0 sets no limit of ours.
    pub tmpfs_size: u64,
}

/// Why a text is no value of `--systemd`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("--systemd values must be one of \"true\", \"false\" or \"always\"")]
pub struct InvalidSystemdMode;

impl FromStr for SystemdMode {
    type Err = InvalidSystemdMode;

    fn from_str(text: &str) -> Result<Self, InvalidSystemdMode> {
        match text.to_ascii_lowercase().as_str() {
            "true" => Ok(Self::WhenCommand),
            "always" => Ok(Self::Always),
            "false" => Ok(Self::Never),
            _ => Err(InvalidSystemdMode),
        }
    }
}

/// podman's `--shm-size-systemd`.
pub const DEFAULT_TMPFS_SIZE: u64 = 64 << 20;

/// What a directory of such a container is a tmpfs for: its mode. Podman's list.
pub const TMPFS: [(&str, &str); 4] =
    [("/run", "755"), ("/run/lock", "1777"), ("/tmp", "1777"), ("/var/log/journal", "755")];

/// Whether this command line starts an init system; podman's names. A shell that runs a line is
/// looked into, as images have it that were made with an entrypoint in shell form.
pub fn is_init(argv: &[String]) -> bool {
    const INITS: [&str; 4] = ["/sbin/init", "/usr/sbin/init", "/usr/local/sbin/init", "init"];
    let argv = match argv {
        [shell, flag, rest @ ..] if shell == "/bin/sh" && flag == "-c" => rest,
        all => all,
    };
    let Some(command) = argv.first() else { return false };
    INITS.contains(&command.as_str()) || command.rsplit('/').next() == Some("systemd")
}

/// SIGRTMIN+3: systemd halts (systemd(1), Signals).
pub fn stop_signal() -> Signal {
    const HALT: i32 = 34 + 3;
    Signal::from_number(HALT).unwrap_or_default()
}

/// What tells systemd that it is in a container, of whom, and as which machine.
pub fn environment(id: &ContainerId) -> [String; 2] {
    let (digits, mut uuid) = (&id.as_str()[..32], String::with_capacity(36));
    for (index, digit) in digits.chars().enumerate() {
        if [8, 12, 16, 20].contains(&index) {
            uuid.push('-');
        }
        uuid.push(digit);
    }
    ["container=rbox".to_owned(), format!("container_uuid={uuid}")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inits_are_known_by_podmans_names() {
        let is = |words: &[&str]| is_init(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        for command in
            ["/sbin/init", "/usr/sbin/init", "/usr/local/sbin/init", "init", "systemd", "/lib/systemd/systemd"]
        {
            assert!(is(&[command]), "{command}");
            assert!(is(&["/bin/sh", "-c", command]), "{command}");
        }
        for command in ["sh", "/bin/init", "/opt/init", "systemd-run", "/usr/bin/systemctl", ""] {
            assert!(!is(&[command, "/sbin/init"]), "{command}");
        }
        assert!(!is(&[]) && !is(&["/bin/sh", "-c"]));
    }

    #[test]
    fn modes_are_podmans() {
        assert_eq!("Always".parse(), Ok(SystemdMode::Always));
        for wrong in ["", "maybe", "1", "yes", "true "] {
            assert_eq!(wrong.parse::<SystemdMode>(), Err(InvalidSystemdMode), "{wrong:?}");
        }
    }

    #[test]
    fn the_uuid_is_the_ids_beginning() {
        let id = ContainerId::from_bytes([0xab; 32]);
        assert_eq!(environment(&id)[1], "container_uuid=abababab-abab-abab-abab-abababababab");
        assert_eq!(stop_signal().to_string(), "SIGRTMIN+3");
    }
}
