//! What the kernel says about processes, read from the host's /proc.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Pid, Signal};

/// All process ids that can be seen.
pub fn pids() -> Vec<i32> {
    std::fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

/// Whether a process exists and has not ended (a zombie has).
pub fn is_alive(pid: i32) -> bool {
    matches!(state(pid), Some(state) if state != 'Z' && state != 'X')
}

/// The state letter of /proc/PID/stat.
pub fn state(pid: i32) -> Option<char> {
    stat_fields(pid)?.first()?.chars().next()
}

/// The parent's process id.
pub fn parent(pid: i32) -> Option<i32> {
    stat_fields(pid)?.get(1)?.parse().ok()
}

/// Fields of /proc/PID/stat from the third (state) on.
fn stat_fields(pid: i32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(text[text.rfind(')')? + 2..].split(' ').map(str::to_owned).collect())
}

/// Processes whose parent is `pid`.
pub fn children(pid: i32) -> Vec<i32> {
    pids().into_iter().filter(|child| parent(*child) == Some(pid)).collect()
}

/// `pid` and everything below it.
pub fn tree(pid: i32) -> Vec<i32> {
    let mut found = vec![pid];
    let mut next = 0;
    while next < found.len() {
        found.extend(children(found[next]));
        next += 1;
    }
    found
}

/// /proc/PID/status.
#[track_caller]
pub fn status(pid: i32) -> BTreeMap<String, String> {
    parse_status(&super::read(format!("/proc/{pid}/status")))
}

/// The text of a status file as names and values.
pub fn parse_status(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect()
}

/// A figure of /proc/PID/status in kB.
pub fn status_kb(pid: i32, name: &str) -> u64 {
    let status = status(pid);
    let value = status.get(name).unwrap_or_else(|| panic!("no {name} of {pid}"));
    value.trim_end_matches(" kB").parse().expect("a number of kB")
}

/// The identity of a namespace, as `net:[4026531840]`.
#[track_caller]
pub fn namespace(pid: impl std::fmt::Display, kind: &str) -> String {
    let path = format!("/proc/{pid}/ns/{kind}");
    let link = std::fs::read_link(&path).unwrap_or_else(|error| panic!("read {path}: {error}"));
    link.to_string_lossy().into_owned()
}

/// One line of mountinfo.
#[derive(Clone, Debug)]
pub struct MountLine {
    pub root: String,
    pub target: String,
    pub options: Vec<String>,
    pub kind: String,
    pub source: String,
    pub super_options: Vec<String>,
}

/// A process's mounts.
#[track_caller]
pub fn mounts(pid: i32) -> Vec<MountLine> {
    parse_mounts(&super::read(format!("/proc/{pid}/mountinfo")))
}

/// The lines of a mountinfo file.
pub fn parse_mounts(text: &str) -> Vec<MountLine> {
    let list = |text: &str| text.split(',').map(str::to_owned).collect();
    let parse = |line: &str| {
        let (front, back) = line.split_once(" - ")?;
        let front: Vec<&str> = front.split(' ').collect();
        let back: Vec<&str> = back.split(' ').collect();
        Some(MountLine {
            root: (*front.get(3)?).to_owned(),
            target: (*front.get(4)?).to_owned(),
            options: list(front.get(5)?),
            kind: (*back.first()?).to_owned(),
            source: (*back.get(1)?).to_owned(),
            super_options: list(back.get(2)?),
        })
    };
    text.lines().filter_map(parse).collect()
}

/// The last mount on `target`, which is the one that is seen.
#[track_caller]
pub fn mount_at<'a>(mounts: &'a [MountLine], target: &str) -> &'a MountLine {
    let found = mounts.iter().rev().find(|mount| mount.target == target);
    found.unwrap_or_else(|| panic!("no mount on {target}: {mounts:#?}"))
}

/// Processes that have to do with `directory`: named in their arguments or environment, as their
/// root, working directory or a mount, or as an open file.
pub fn processes_of(directory: &Path) -> Vec<String> {
    let needle = directory.as_os_str().as_encoded_bytes();
    let own = i32::try_from(std::process::id()).expect("a pid");
    pids().into_iter().filter(|pid| *pid != own).filter_map(|pid| mention(pid, needle)).collect()
}

fn mention(pid: i32, needle: &[u8]) -> Option<String> {
    let path = |name: &str| format!("/proc/{pid}/{name}");
    let has = |bytes: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
    let file = |name: &str| std::fs::read(path(name)).is_ok_and(|bytes| has(&bytes));
    let link = |path: String| std::fs::read_link(path).is_ok_and(|link| has(link.as_os_str().as_encoded_bytes()));
    let descriptor = || {
        let entries = std::fs::read_dir(path("fd")).ok()?;
        entries.flatten().find(|entry| link(entry.path().to_string_lossy().into_owned())).map(|entry| entry.path())
    };
    let why = ["cmdline", "environ", "mountinfo"].into_iter().find(|name| file(name)).map(str::to_owned);
    let why = why.or_else(|| ["cwd", "root"].into_iter().find(|name| link(path(name))).map(str::to_owned));
    let why = why.or_else(|| descriptor().map(|path| path.display().to_string()))?;
    is_alive(pid).then(|| {
        let cmdline = std::fs::read(path("cmdline")).unwrap_or_default();
        let cmdline = String::from_utf8_lossy(&cmdline).replace('\0', " ");
        let state = state(pid).unwrap_or('?');
        format!("pid {pid} (parent {}, state {state}; by its {why}): {cmdline}", parent(pid).unwrap_or(0))
    })
}

/// Sends a signal; whether the process was there.
pub fn kill(pid: i32, signal: Signal) -> bool {
    Pid::from_raw(pid).is_some_and(|pid| rustix::process::kill_process(pid, signal).is_ok())
}

/// Waits until a process has ended.
#[track_caller]
pub fn wait_gone(pid: i32, limit: Duration) {
    assert!(super::comes_true(limit, || !is_alive(pid)), "process {pid} still there after {limit:?}");
}
