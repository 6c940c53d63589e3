//! Subordinate ids and the helpers that map them.

use std::path::Path;

use super::Finding;
use crate::explain::subordinate::{FILES, WANTED, grant_line};
use crate::explain::{Code, Explained, facts, helpers};
use crate::sys::accounts::{self, Grant};

/// The ranges of this user in both files.
pub fn subordinate() -> Finding {
    let code = Code::SubordinateIds;
    if rustix::process::geteuid().is_root() {
        return Finding::skipped(code, "root needs none");
    }
    let uid = rustix::process::getuid().as_raw();
    let name = accounts::login_name(uid);
    let own = |grant: &Grant| grant.owner == uid.to_string() || Some(&grant.owner) == name.as_ref();
    let mut summary = Vec::new();
    for file in FILES {
        let (mine, others): (Vec<Grant>, Vec<Grant>) = accounts::grants(Path::new(file)).into_iter().partition(own);
        match judge(file, &mine, &others) {
            Ok(text) => summary.push(text),
            Err(finding) => return finding,
        }
    }
    Finding::pass(code, summary.join(", "))
}

fn judge(file: &str, mine: &[Grant], others: &[Grant]) -> Result<String, Finding> {
    let name = facts::user_name();
    let explained = |cause: String| Explained::new(Code::SubordinateIds, cause);
    let total: u64 = mine.iter().map(|grant| grant.count).sum();
    if total == 0 {
        return Err(Finding::fail(none(file, &name)));
    }
    if let Some(grant) = mine.iter().find(|grant| grant.end() > u64::from(u32::MAX)) {
        let cause = format!("{file} grants {name} ids beyond 2^32: {}", show(grant));
        return Err(Finding::fail(explained(cause).administrator(grant_line(&name))));
    }
    if let Some((one, two)) = overlapping(mine, mine) {
        let cause =
            format!("two ranges of {name} in {file} overlap, which cannot be mapped: {} and {}", show(one), show(two));
        return Err(Finding::fail(explained(cause).administrator(format!("vi {file}   # remove one of the lines"))));
    }
    if total < WANTED {
        let cause = format!("{file} grants {name} {total} ids, images expect {WANTED}");
        return Err(Finding::warn(explained(cause).administrator(grant_line(&name))));
    }
    if let Some((one, two)) = overlapping(mine, others) {
        let cause = format!(
            "{file} grants {name} ids that are also {}'s: {} and {}: each reaches into the other's containers",
            two.owner,
            show(one),
            show(two)
        );
        return Err(Finding::warn(
            explained(cause).administrator(format!("vi {file}   # give {name} the line: {}", free(&name))),
        ));
    }
    if let Some((account, id)) =
        accounts::accounts().into_iter().find(|(_, id)| mine.iter().any(|grant| holds(grant, *id)))
    {
        let cause = format!("{file} grants {name} the id {id}, which is the account {account}'s");
        return Err(Finding::warn(
            explained(cause).administrator(format!("vi {file}   # give {name} the line: {}", free(&name))),
        ));
    }
    Ok(format!("{total} in {file}"))
}

/// No range: perhaps they are kept somewhere else.
fn none(file: &str, name: &str) -> Explained {
    let elsewhere = facts::text(Path::new("/etc/nsswitch.conf"))
        .and_then(|text| {
            text.lines().find_map(|line| line.trim().strip_prefix("subid:").map(|rest| rest.trim().to_owned()))
        })
        .filter(|sources| !sources.is_empty() && sources != "files");
    let cause = match elsewhere {
        Some(sources) => {
            format!("no range for {name} in {file}; nsswitch.conf looks them up in '{sources}', rbox in the files only")
        }
        None if !Path::new(file).exists() => format!("no range for {name}: {file} does not exist"),
        None => format!("no range for {name} in {file}"),
    };
    Explained::new(Code::SubordinateIds, cause).administrator(grant_line(name))
}

/// A line with a range that nobody has.
fn free(name: &str) -> String {
    let line = grant_line(name);
    let numbers =
        line.split(|c: char| !c.is_ascii_digit()).find(|number| number.len() >= 6).unwrap_or("100000").to_owned();
    format!("{name}:{numbers}:{WANTED}")
}

fn show(grant: &Grant) -> String {
    format!("{}:{}:{}", grant.owner, grant.start, grant.count)
}

fn holds(grant: &Grant, id: u32) -> bool {
    (grant.start..grant.end()).contains(&u64::from(id))
}

/// Two different ranges with an id in common.
fn overlapping<'a>(these: &'a [Grant], those: &'a [Grant]) -> Option<(&'a Grant, &'a Grant)> {
    these.iter().find_map(|one| {
        let other = |two: &&Grant| !std::ptr::eq(one, *two) && one.start < two.end() && two.start < one.end();
        those.iter().find(other).map(|two| (one, two))
    })
}

/// newuidmap and newgidmap.
pub fn helpers() -> Finding {
    if rustix::process::geteuid().is_root() {
        return Finding::skipped(Code::IdMapHelpers, "root needs none");
    }
    let mut found = Vec::new();
    for (name, _) in helpers::HELPERS {
        match helpers::examine(name) {
            Ok(helper) => found.push(format!(
                "{} ({})",
                helper.path.display(),
                if helper.setuid { "setuid root" } else { "file capability" }
            )),
            Err(explained) => return Finding::fail(explained),
        }
    }
    Finding::pass(Code::IdMapHelpers, found.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;

    fn grant(owner: &str, start: u64, count: u64) -> Grant {
        Grant { owner: owner.into(), start, count }
    }

    #[test]
    fn ranges_are_judged() {
        let judged = |mine: &[Grant], others: &[Grant]| match judge("/etc/subuid", mine, others) {
            Ok(text) => (Status::Pass, text),
            Err(finding) => (finding.status, finding.summary),
        };
        // Far from the accounts of any machine.
        let good = grant("me", 900_000_000, 65_536);
        assert_eq!(judged(std::slice::from_ref(&good), &[]), (Status::Pass, "65536 in /etc/subuid".into()));
        assert_eq!(judged(&[], &[]).0, Status::Fail);
        for (mine, others, status, words) in [
            (vec![grant("me", 900_000_000, 1000)], vec![], Status::Warn, "images expect 65536"),
            (vec![grant("me", 4_294_900_000, 100_000)], vec![], Status::Fail, "beyond 2^32"),
            (vec![good.clone(), grant("me", 900_065_535, 10)], vec![], Status::Fail, "overlap"),
            (vec![good.clone()], vec![grant("bob", 900_000_001, 1)], Status::Warn, "also bob's"),
            (vec![grant("me", 0, 65_536)], vec![], Status::Warn, "which is the account root's"),
        ] {
            let (found, text) = judged(&mine, &others);
            assert!(found == status && text.contains(words), "{found:?} {text}");
        }
        assert_eq!(judged(&[good], &[grant("bob", 900_065_536, 1)]).0, Status::Pass, "neighbours do not overlap");
    }
}
