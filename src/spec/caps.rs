//! Linux capabilities: names, the default set, and what `--cap-add` and `--cap-drop` make of it.

use super::config::CapabilityChanges;

/// The word that stands for every capability.
pub const ALL: &str = "ALL";

/// Every capability by its kernel number (capability.h, Linux 5.9 and later).
#[rustfmt::skip]
pub const NAMES: [&str; 41] = [
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
    "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN",
    "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
];

/// Docker's fourteen.
#[rustfmt::skip]
pub const DEFAULT: [&str; 14] = [
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SYS_CHROOT", "CAP_MKNOD", "CAP_AUDIT_WRITE", "CAP_SETFCAP",
];

/// A name that is no capability; docker's words.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown capability: {0:?}")]
pub struct UnknownCapability(pub String);

/// The canonical form (`CAP_NET_RAW`, or [`ALL`]) of a name in any case, with or without `CAP_`.
pub fn normalise(text: &str) -> Result<&'static str, UnknownCapability> {
    let upper = text.to_ascii_uppercase();
    if upper == ALL || upper == "CAP_ALL" {
        return Ok(ALL);
    }
    let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
    let known = NAMES.iter().find(|name| **name == full);
    known.copied().ok_or(UnknownCapability(full))
}

/// The container's bounding set, in kernel order: the default set less the drops plus the adds.
/// `ALL` added starts from everything, `ALL` dropped from nothing; an add beats the same drop.
pub fn effective(changes: &CapabilityChanges, privileged: bool) -> Vec<&'static str> {
    let adds_all = lists(&changes.add, ALL);
    let drops_all = lists(&changes.drop, ALL);
    let keep = |name: &&str| {
        if privileged {
            true
        } else if adds_all {
            !lists(&changes.drop, name)
        } else if lists(&changes.add, name) {
            true
        } else {
            !drops_all && DEFAULT.contains(name) && !lists(&changes.drop, name)
        }
    };
    NAMES.iter().copied().filter(keep).collect()
}

/// The part of the bounding set that was asked for by name, which a non-root user keeps (as ambient
/// capabilities; everything else it loses at exec).
pub fn explicit(changes: &CapabilityChanges) -> Vec<&'static str> {
    let named = |name: &&str| lists(&changes.add, ALL) || lists(&changes.add, name);
    effective(changes, false).into_iter().filter(named).collect()
}

fn lists(names: &[String], name: &str) -> bool {
    names.iter().any(|listed| listed == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(add: &[&str], drop: &[&str]) -> CapabilityChanges {
        let canonical = |names: &[&str]| names.iter().map(|name| normalise(name).unwrap().to_owned()).collect();
        CapabilityChanges { add: canonical(add), drop: canonical(drop) }
    }

    fn mask(names: &[&str]) -> u64 {
        names.iter().map(|name| 1 << NAMES.iter().position(|known| known == name).unwrap()).sum()
    }

    #[test]
    fn default_set_is_dockers() {
        assert_eq!(mask(&effective(&changes(&[], &[]), false)), 0xa804_25fb);
        assert_eq!(mask(&effective(&changes(&[], &["net_raw"]), true)), (1 << 41) - 1);
    }

    #[test]
    fn names_in_any_spelling() {
        for text in ["net_raw", "NET_RAW", "cap_net_raw", "CAP_NET_RAW", "Cap_Net_Raw"] {
            assert_eq!(normalise(text), Ok("CAP_NET_RAW"));
        }
        assert_eq!(normalise("all"), Ok(ALL));
        assert_eq!(normalise("foo").unwrap_err().to_string(), "unknown capability: \"CAP_FOO\"");
        assert!(normalise("").is_err());
    }

    #[test]
    fn adds_and_drops() {
        for (add, drop, expected) in [
            (&["sys_admin"][..], &[][..], 0xa804_25fb | 1 << 21),
            (&[], &["net_raw"], 0xa804_25fb & !(1 << 13)),
            (&[], &["all"], 0),
            (&["kill"], &["all"], 1 << 5),
            (&["all"], &["sys_admin"], ((1u64 << 41) - 1) & !(1 << 21)),
            (&["net_raw"], &["net_raw"], 0xa804_25fb),
        ] {
            assert_eq!(mask(&effective(&changes(add, drop), false)), expected, "{add:?} {drop:?}");
        }
    }

    #[test]
    fn explicit_capabilities() {
        assert_eq!(explicit(&changes(&[], &[])), Vec::<&str>::new());
        assert_eq!(explicit(&changes(&["net_bind_service"], &["all"])), ["CAP_NET_BIND_SERVICE"]);
        assert_eq!(explicit(&changes(&["all"], &["kill"])).len(), 40);
    }
}
