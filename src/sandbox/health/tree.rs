//! A process that inherits its orphans, with everything that came from it.

use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::sandbox::session::host_pid;

/// What forks faster than it is found is given up after this many rounds.
const ROUNDS: usize = 100;

/// A process as /proc tells of it.
struct Entry {
    /// As /proc counts.
    pid: i32,
    parent: i32,
    /// As we count, who may be in a pid namespace below.
    own: i32,
}

/// Kills the process behind `root`, a child of ours that is no zombie yet, and all that descends from it.
/// All are stopped first: what is stopped makes no children, and loses none to others.
pub fn kill(root: &OwnedFd) {
    let _ = pidfd_send_signal(root, Signal::STOP);
    let mut found: Vec<(i32, OwnedFd)> = Vec::new();
    if let (Ok(pid), Some(depth)) = (host_pid(root), depth()) {
        let mut known = vec![pid.as_raw_nonzero().get()];
        for _ in 0..ROUNDS {
            let fresh = children(&known, depth);
            if fresh.is_empty() {
                break;
            }
            for (pid, process) in fresh {
                let _ = pidfd_send_signal(&process, Signal::STOP);
                known.push(pid);
                found.push((pid, process));
            }
        }
    }
    for (_, process) in &found {
        let _ = pidfd_send_signal(process, Signal::KILL);
    }
    let _ = pidfd_send_signal(root, Signal::KILL);
}

/// Children of the known ones that are not known themselves.
fn children(known: &[i32], depth: usize) -> Vec<(i32, OwnedFd)> {
    let is_fresh = |entry: &Entry| known.contains(&entry.parent) && !known.contains(&entry.pid);
    let pids = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let entries = pids.filter_map(|entry| read(entry.file_name().to_str()?.parse().ok()?, depth));
    let open = |entry: Entry| {
        let process = pidfd_open(Pid::from_raw(entry.own)?, PidfdFlags::empty()).ok()?;
        // It may have been another's number by then.
        read(entry.pid, depth).is_some_and(|now| is_fresh(&now)).then_some((entry.pid, process))
    };
    entries.filter(is_fresh).filter_map(open).collect()
}

/// How many pid namespaces below that of /proc we are.
fn depth() -> Option<usize> {
    Some(numbers(&std::fs::read_to_string("/proc/self/status").ok()?)?.len() - 1)
}

fn read(pid: i32, depth: usize) -> Option<Entry> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok())?;
    Some(Entry { pid, parent, own: *numbers(&status)?.get(depth)? })
}

/// The process's number in each pid namespace from that of /proc downwards.
fn numbers(status: &str) -> Option<Vec<i32>> {
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    line.split_whitespace()
        .map(|number| number.parse().ok())
        .collect::<Option<Vec<i32>>>()
        .filter(|all| !all.is_empty())
}
