//! Subordinate ids: who has which, and the line that grants a free range.

use std::path::Path;

use super::{Code, Explained, facts};
use crate::sys::accounts::{self, Grant};

/// What images expect: the ids 0 to 65535.
pub const WANTED: u64 = 65_536;
/// The first id that useradd hands out (SUB_UID_MIN of login.defs(5)).
const FIRST: u64 = 100_000;

/// The two files.
pub const FILES: [&str; 2] = ["/etc/subuid", "/etc/subgid"];

/// This user has none.
pub fn none() -> Explained {
    let name = facts::user_name();
    Explained::new(Code::SubordinateIds, format!("no subordinate ids for {name} in /etc/subuid and /etc/subgid"))
        .administrator(grant_line(&name))
}

/// This user has too few, or none.
pub fn more() -> Explained {
    let name = facts::user_name();
    let granted = |file: &str| {
        let uid = rustix::process::getuid().as_raw();
        accounts::subordinate_ranges(Path::new(file), uid, Some(&name))
    };
    if granted(FILES[0]).is_empty() || granted(FILES[1]).is_empty() {
        return none();
    }
    Explained::new(Code::SubordinateIds, format!("/etc/subuid and /etc/subgid grant {name} no more"))
        .administrator(grant_line(&name))
}

/// The line for root that gives `name` a range that nobody has, in both files.
pub fn grant_line(name: &str) -> String {
    let grants = FILES.iter().flat_map(|file| accounts::grants(Path::new(file)));
    let first = free_start(grants);
    let last = first + WANTED - 1;
    let known_locally = facts::text(Path::new("/etc/passwd"))
        .is_some_and(|text| text.lines().any(|line| line.split(':').next() == Some(name)));
    // usermod knows local accounts only, and small systems have none.
    if known_locally && facts::program("usermod").is_some() | Path::new("/usr/sbin/usermod").is_file() {
        return format!(
            "usermod --add-subuids {first}-{last} --add-subgids {first}-{last} {}",
            super::shell_word(name)
        );
    }
    format!("echo {} | tee -a /etc/subuid /etc/subgid", super::shell_word(&format!("{name}:{first}:{WANTED}")))
}

/// The first id after everything that is granted.
fn free_start(grants: impl Iterator<Item = Grant>) -> u64 {
    grants.map(|grant| grant.end()).filter(|&end| end + WANTED < u64::from(u32::MAX)).fold(FIRST, u64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_range_follows_all_others() {
        let grant = |start, count| Grant { owner: "x".into(), start, count };
        assert_eq!(free_start([].into_iter()), 100_000);
        assert_eq!(free_start([grant(100_000, 65_536), grant(165_536, 65_536)].into_iter()), 231_072);
        assert_eq!(free_start([grant(1, 2)].into_iter()), 100_000);
        // One that takes all that is left does not push the suggestion out of range.
        assert_eq!(free_start([grant(524_288, u64::from(u32::MAX))].into_iter()), 100_000);
    }
}
