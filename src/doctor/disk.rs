//! The store and the disk below it.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, StatVfs, StatVfsMountFlags};
use serde::{Deserialize, Serialize};

use super::{Finding, Places, Status, child};
use crate::explain::{Code, Explained, facts, path, shell_path, shortage};
use crate::store::{Store, check};

const MIB: u64 = 1 << 20;
/// Below this a pull or a log soon fails.
const SPACE_WARN: u64 = 1024 * MIB;
const SPACE_FAIL: u64 = 32 * MIB;
/// An image of a distribution has some thousand files.
const INODES_WARN: u64 = 10_000;
const INODES_FAIL: u64 = 100;

/// The checks about the store, in order.
const CODES: [Code; 8] = [
    Code::PathAccess,
    Code::Store,
    Code::StoreFileSystem,
    Code::ReadOnly,
    Code::NoexecMount,
    Code::DiskSpace,
    Code::Inodes,
    Code::StoreContent,
];

/// The store as it was found.
pub struct Disk {
    /// One for each of the eight checks.
    pub findings: Vec<Finding>,
    /// If it can be used.
    pub store: Option<Store>,
    /// Its file system's type.
    pub kind: String,
}

#[derive(Serialize, Deserialize)]
struct Seen {
    findings: Vec<Finding>,
    kind: String,
    opened: bool,
}

/// Looks at the store from a child: a network file system may not answer.
pub fn examine(places: &Places) -> Disk {
    match child::ask(|| look(places)) {
        Ok(seen) => {
            // It was opened there a moment ago.
            let store = seen.opened.then(|| open(places).ok()).flatten();
            Disk { findings: seen.findings, store, kind: seen.kind }
        }
        Err(why) => {
            let cause = format!("the file system of {} does not answer: {}", places.root.display(), why.describe());
            let mut findings =
                vec![Finding::fail(Explained::new(CODES[0], cause).you("df   # shows which mount hangs"))];
            findings.extend(CODES[1..].iter().map(|code| Finding::skipped(*code, "not asked: see path-access")));
            Disk { findings, store: None, kind: "an unknown file system".to_owned() }
        }
    }
}

fn open(places: &Places) -> anyhow::Result<Store> {
    let runtime = places.runtime.clone().unwrap_or_else(|_| PathBuf::from("/nonexistent"));
    Store::open(places.root.clone(), runtime)
}

fn look(places: &Places) -> Seen {
    let access = path_access(places);
    if access.status == Status::Fail {
        let mut findings = vec![access];
        findings.extend(CODES[1..].iter().map(|code| Finding::skipped(*code, "not reached: see path-access")));
        return Seen { findings, kind: "an unreached file system".to_owned(), opened: false };
    }
    let opened = open(places);
    let store = match &opened {
        Ok(store) => Finding::pass(Code::Store, store.root().display().to_string()),
        Err(error) => Finding::fail(unopened(&format!("{error:#}"), &places.root)),
    };
    let Some((part, facts)) = facts::file_system(&places.root) else {
        let mut findings = vec![access, store];
        findings.extend(CODES[2..].iter().map(|code| Finding::skipped(*code, "the file system cannot be asked")));
        return Seen { findings, kind: "an unknown file system".to_owned(), opened: false };
    };
    let mount = facts::mount_point(&part).unwrap_or_else(|| part.clone());
    let (kind, file_system) = file_system(&part, &mount);
    let findings = vec![
        access,
        store,
        file_system,
        read_only(&facts, &mount),
        noexec(&facts, &mount),
        space(&facts, &mount),
        inodes(&facts, &mount),
        opened.as_ref().map_or_else(|_| Finding::skipped(Code::StoreContent, "the store is not open"), content),
    ];
    Seen { findings, kind, opened: opened.is_ok() }
}

/// A store that cannot be opened; what ran out or is read-only says how to mend it.
fn unopened(text: &str, root: &Path) -> Explained {
    let explained = Explained::new(Code::Store, text.replace('\n', " "));
    match shortage::in_text(text, &[root.to_owned()]) {
        Some(cause) => {
            Explained { cause: format!("{}: {}", explained.cause, cause.cause), mend: cause.mend, ..explained }
        }
        None => {
            explained.you("export RBOX_ROOT=$HOME/rbox-store   # or another directory of yours; --root does the same")
        }
    }
}

/// Every directory on the way to the store and the runtime directory.
fn path_access(places: &Places) -> Finding {
    let runtime = places.runtime.as_ref().ok();
    for place in std::iter::once(&places.root).chain(runtime) {
        if let Some(explained) = path::barred(place, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK) {
            return Finding::fail(explained);
        }
    }
    Finding::pass(Code::PathAccess, "the store and the runtime directory can be reached")
}

/// How a kind of file system serves as the store's.
enum Verdict {
    Good,
    /// With what is worse there.
    Poor(&'static str),
    Bad(&'static str),
}

/// Magic numbers of statfs(2).
const KINDS: [(u64, &str, Verdict); 28] = [
    (0xef53, "ext4", Verdict::Good),
    (0x9123_683e, "btrfs", Verdict::Good),
    (0x5846_5342, "xfs", Verdict::Good),
    (0xf2f5_2010, "f2fs", Verdict::Good),
    (0xca45_1a4e, "bcachefs", Verdict::Good),
    (0x2fc1_2fc1, "zfs", Verdict::Good),
    (0x0102_1994, "tmpfs", Verdict::Poor("images and containers are in memory and gone after a boot")),
    (0x8584_58f6, "ramfs", Verdict::Poor("images and containers are in memory, without limit, and gone after a boot")),
    (0xf15f, "ecryptfs", Verdict::Poor("no overlays and no names longer than 143 bytes")),
    (0x794c_7630, "overlayfs", Verdict::Poor("the kernel puts no overlay on an overlay")),
    (0x6573_5546, "fuse", Verdict::Poor("what it can do depends on its program, and it is slow")),
    (0x0102_1997, "9p", Verdict::Poor("owners and locks are those of another machine")),
    (0x4750_4653, "gpfs", Verdict::Poor("files of subordinate ids may be refused")),
    (0x0bd0_0bd0, "lustre", Verdict::Poor("files of subordinate ids may be refused")),
    (0x1983_0326, "beegfs", Verdict::Poor("files of subordinate ids may be refused")),
    (0x00c3_6400, "ceph", Verdict::Poor("files of subordinate ids may be refused")),
    (0x0116_1970, "gfs2", Verdict::Poor("files of subordinate ids may be refused")),
    (0x6969, "nfs", Verdict::Bad("the server refuses files of subordinate ids")),
    (0xff53_4d42, "cifs", Verdict::Bad("it has no owners")),
    (0xfe53_4d42, "smb", Verdict::Bad("it has no owners")),
    (0x517b, "smb", Verdict::Bad("it has no owners")),
    (0x5346_414f, "afs", Verdict::Bad("it has no owners as Linux has them")),
    (0x6b41_4653, "afs", Verdict::Bad("it has no owners as Linux has them")),
    (0x4d44, "vfat", Verdict::Bad("it has neither owners nor links")),
    (0x2011_bab0, "exfat", Verdict::Bad("it has neither owners nor links")),
    (0x5346_544e, "ntfs", Verdict::Bad("it has no owners as Linux has them")),
    (0x7366_746e, "ntfs3", Verdict::Bad("it has no owners as Linux has them")),
    (0x786f_4256, "vboxsf", Verdict::Bad("it has neither owners nor links")),
];

const ELSEWHERE: &str =
    "mkdir -m 700 /var/tmp/rbox-$USER && export RBOX_ROOT=/var/tmp/rbox-$USER   # any directory on a local disk";

/// The name of the kind, and whether it will do.
fn file_system(part: &Path, mount: &Path) -> (String, Finding) {
    let code = Code::StoreFileSystem;
    // The magic numbers have 32 bits; some platforms' field is signed.
    let Some(magic) = rustix::fs::statfs(part).ok().map(|facts| facts.f_type as u64 & 0xffff_ffff) else {
        return ("an unknown file system".to_owned(), Finding::skipped(code, "it cannot be asked"));
    };
    let Some((_, name, verdict)) = KINDS.iter().find(|(number, ..)| *number == magic) else {
        let name = format!("file system {magic:#x}");
        return (name.clone(), Finding::pass(code, format!("{name} on {}, not known to rbox", mount.display())));
    };
    let cause = |what: &str| Explained::new(code, format!("{name} on {}: {what}", mount.display())).you(ELSEWHERE);
    let finding = match verdict {
        Verdict::Good => Finding::pass(code, format!("{name} on {}", mount.display())),
        Verdict::Poor(what) => Finding::warn(cause(what)),
        Verdict::Bad(what) => Finding::fail(cause(what)),
    };
    ((*name).to_owned(), finding)
}

fn read_only(facts: &StatVfs, mount: &Path) -> Finding {
    if !facts.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Finding::pass(Code::ReadOnly, format!("{} is mounted for writing", mount.display()));
    }
    let cause = format!("{} is mounted read-only", mount.display());
    let explained = Explained::new(Code::ReadOnly, cause);
    Finding::fail(explained.administrator(format!("mount -o remount,rw {}", shell_path(mount))).you(ELSEWHERE))
}

fn noexec(facts: &StatVfs, mount: &Path) -> Finding {
    if !facts.f_flag.contains(StatVfsMountFlags::NOEXEC) {
        return Finding::pass(Code::NoexecMount, format!("{} lets programs be executed", mount.display()));
    }
    let explained = Explained::new(Code::NoexecMount, format!("{} is mounted noexec", mount.display()));
    Finding::fail(explained.administrator(format!("mount -o remount,exec {}", shell_path(mount))).you(ELSEWHERE))
}

/// An overlay does not inherit noexec from the mount below it; only without one it is fatal.
pub fn soften(findings: &mut [Finding]) {
    for finding in findings.iter_mut().filter(|finding| finding.code == Code::NoexecMount) {
        if finding.status == Status::Fail {
            finding.status = Status::Warn;
            finding.summary.push_str(": works with overlayfs only");
        }
    }
}

fn space(facts: &StatVfs, mount: &Path) -> Finding {
    if facts.f_blocks == 0 {
        return Finding::pass(Code::DiskSpace, format!("{} has no fixed size", mount.display()));
    }
    let free = shortage::free_bytes(facts);
    let total = facts.f_blocks.saturating_mul(facts.f_frsize);
    let summary = format!("{} free of {} on {}", size(free), size(total), mount.display());
    match free {
        SPACE_WARN.. => Finding::pass(Code::DiskSpace, summary),
        SPACE_FAIL.. => Finding::warn(shortage::freeing(Explained::new(Code::DiskSpace, summary))),
        _ => Finding::fail(shortage::freeing(Explained::new(Code::DiskSpace, summary))),
    }
}

fn inodes(facts: &StatVfs, mount: &Path) -> Finding {
    if !shortage::has_inodes(facts) {
        return Finding::pass(Code::Inodes, format!("{} has no fixed number of them", mount.display()));
    }
    let summary = format!("{} free of {} on {}", facts.f_favail, facts.f_files, mount.display());
    match facts.f_favail {
        INODES_WARN.. => Finding::pass(Code::Inodes, summary),
        INODES_FAIL.. => Finding::warn(shortage::freeing(Explained::new(Code::Inodes, summary))),
        _ => Finding::fail(shortage::freeing(Explained::new(Code::Inodes, summary))),
    }
}

/// What `system check` would find without reading every blob.
fn content(store: &Store) -> Finding {
    let code = Code::StoreContent;
    match check::check_records(store) {
        Ok(findings) if findings.is_empty() => {
            Finding::pass(code, "nothing is missing or damaged ('rbox system check' reads every blob too)")
        }
        Ok(findings) => {
            let first = findings.first().map(ToString::to_string).unwrap_or_default();
            let cause = match findings.len() {
                1 => first,
                count => format!("{count} findings, the first: {first}"),
            };
            Finding::fail(Explained::new(code, cause.replace('\n', " ")).you("rbox system check --repair"))
        }
        Err(error) => {
            let cause = format!("{error:#}").replace('\n', " ");
            Finding::fail(Explained::new(code, cause).you("rbox system check"))
        }
    }
}

fn size(bytes: u64) -> String {
    let units = [(1u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|&(unit, _)| bytes >= unit) {
        Some((unit, name)) => format!("{:.1} {name}", bytes as f64 / unit as f64),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_readable() {
        assert_eq!([size(0), size(1536), size(100 << 20), size(3 << 40)], ["0 B", "1.5 KiB", "100.0 MiB", "3.0 TiB"]);
    }

    #[test]
    fn a_kind_is_listed_once() {
        let mut magics: Vec<u64> = KINDS.iter().map(|(magic, ..)| *magic).collect();
        magics.sort_unstable();
        magics.dedup();
        assert_eq!(magics.len(), KINDS.len());
    }

    #[test]
    fn noexec_weighs_less_where_overlays_work() {
        let mut findings = vec![
            Finding::fail(Explained::new(Code::NoexecMount, "x is mounted noexec")),
            Finding::fail(Explained::new(Code::ReadOnly, "x")),
        ];
        soften(&mut findings);
        assert_eq!([findings[0].status, findings[1].status], [Status::Warn, Status::Fail]);
    }
}
