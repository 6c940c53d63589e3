//! What containers use, for those without a cgroup: the sum over their processes, from /proc. Only the user
//! namespace can tell whose a process is; all containers are asked about at once.

use std::collections::HashMap;
use std::fs::File;

use anyhow::{Context, Result};
use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use super::leftover;
use super::userns;
use crate::store::Store;
use crate::store::containers::ProcessIdentity;

/// A container whose processes are to be counted.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    pub init: ProcessIdentity,
    pub own_user_namespace: bool,
}

/// The sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    /// Nanoseconds of processor time, of those that were waited for, too.
    pub cpu: u64,
    /// Of these in the kernel.
    pub cpu_system: u64,
    /// Bytes of memory that belongs to no file.
    pub memory: u64,
    /// Processes and threads.
    pub threads: u64,
    /// Bytes of block devices.
    pub read: u64,
    pub written: u64,
}

/// Sums for each, in the same order.
pub fn sums(store: &Store, subjects: &[Subject]) -> Result<Vec<Sums>> {
    if subjects.is_empty() {
        return Ok(Vec::new());
    }
    let answer = userns::answer_from_inside(store, |answer| {
        let sums = Marks::of(subjects).sum(subjects.len());
        Ok(serde_json::to_writer(answer, &sums)?)
    })?;
    serde_json::from_reader(answer).context("hear of the containers' processes")
}

/// Inodes of namespaces, with the number of the container they mark.
struct Marks {
    users: HashMap<u64, usize>,
    mounts: HashMap<u64, usize>,
}

impl Marks {
    fn of(subjects: &[Subject]) -> Self {
        let (mut users, mut mounts) = (HashMap::new(), HashMap::new());
        for (number, subject) in subjects.iter().enumerate() {
            match leftover::Mark::of(subject.init.pid, subject.own_user_namespace) {
                Ok(leftover::Mark::User(inode)) => drop(users.insert(inode, number)),
                Ok(leftover::Mark::Mount(inode)) => drop(mounts.insert(inode, number)),
                // It has ended.
                Err(_) => {}
            }
        }
        Self { users, mounts }
    }

    fn sum(&self, count: usize) -> Vec<Sums> {
        let mut all = vec![Sums::default(); count];
        let ticks = procfs::ticks_per_second().max(1);
        let page = rustix::param::page_size() as u64;
        for pid in leftover::pids() {
            if let Some(sums) = self.owner(pid).and_then(|number| all.get_mut(number)) {
                add(sums, pid, 1_000_000_000 / ticks, page);
            }
        }
        all
    }

    fn owner(&self, pid: Pid) -> Option<usize> {
        // A process that has ended is in no mount namespace.
        let mount = leftover::namespace(pid, "mnt").ok()?;
        if let Some(number) = self.mounts.get(&mount) {
            return Some(*number);
        }
        leftover::user_namespaces(pid).find_map(|inode| self.users.get(&inode)).copied()
    }
}

fn add(sums: &mut Sums, pid: Pid, tick: u64, page: u64) {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", pid.as_raw_nonzero())).ok();
    let Some(stat) = read("stat") else { return };
    // The name in parentheses may hold anything; what follows begins with field 3 of proc_pid_stat(5).
    let Some((_, fields)) = stat.rsplit_once(") ") else { return };
    let fields: Vec<u64> = fields.split_ascii_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
    let field = |number: usize| fields.get(number - 3).copied().unwrap_or(0);
    sums.cpu += (field(14) + field(15) + field(16) + field(17)) * tick;
    sums.cpu_system += (field(15) + field(17)) * tick;
    sums.threads += field(20);
    if let Some(memory) = read("statm") {
        let mut pages = memory.split_ascii_whitespace().map(|word| word.parse::<u64>().unwrap_or(0));
        let (resident, shared) = (pages.nth(1).unwrap_or(0), pages.next().unwrap_or(0));
        sums.memory += resident.saturating_sub(shared) * page;
    }
    if let Some(io) = read("io") {
        let value = |name: &str| io.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        sums.read += value("read_bytes:").unwrap_or(0);
        sums.written += value("write_bytes:").unwrap_or(0);
    }
}

/// Bytes received and sent on a process's network, but for its loopback device.
pub fn network(init: Pid) -> Option<(u64, u64)> {
    let text = std::io::read_to_string(File::open(format!("/proc/{}/net/dev", init.as_raw_nonzero())).ok()?).ok()?;
    Some(traffic(&text))
}

/// Sums the lines of /proc/net/dev.
fn traffic(text: &str) -> (u64, u64) {
    let lines = text.lines().filter_map(|line| line.split_once(':')).filter(|(name, _)| name.trim() != "lo");
    let mut sum = (0, 0);
    for (_, numbers) in lines {
        let numbers: Vec<u64> = numbers.split_ascii_whitespace().map(|word| word.parse().unwrap_or(0)).collect();
        sum.0 += numbers.first().copied().unwrap_or(0);
        sum.1 += numbers.get(8).copied().unwrap_or(0);
    }
    sum
}

#[cfg(test)]
mod tests {
    #[test]
    fn traffic_is_that_of_devices() {
        let text = "Inter-|   Receive |  Transmit\n face |bytes packets |bytes packets\n\
                    \x20   lo: 100 1 0 0 0 0 0 0 100 1 0 0 0 0 0 0\n  eth0: 7 1 0 0 0 0 0 0 9 1 0 0 0 0 0 0\n eth1:1 0 0 0 0 0 0 0 2 0 0 0 0 0 0 0\n";
        assert_eq!(super::traffic(text), (8, 11));
    }
}
