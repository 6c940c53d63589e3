//! What the processes of a cgroup use.

use std::path::Path;

use super::Group;

/// Figures, as far as the cgroup has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Nanoseconds of processor time.
    pub cpu: Option<u64>,
    /// Of these in the kernel.
    pub cpu_system: Option<u64>,
    /// Bytes, without what of the page cache would be given up first, as docker has it.
    pub memory: Option<u64>,
    /// Bytes.
    pub memory_limit: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Bytes of block devices.
    pub read: Option<u64>,
    pub written: Option<u64>,
}

/// Version 1 has a number near 2^63 for no limit.
const NO_LIMIT: u64 = 1 << 60;

impl Group {
    /// Reads the figures.
    pub fn usage(&self) -> Usage {
        let mut usage = if self.is_legacy() { self.legacy_usage() } else { Usage::default() };
        let Some(unified) = self.unified.as_deref() else { return usage };
        if usage.cpu.is_none()
            && let Some(stat) = text(unified, "cpu.stat")
        {
            usage.cpu = value(&stat, "usage_usec").map(|micros| micros * 1000);
            usage.cpu_system = value(&stat, "system_usec").map(|micros| micros * 1000);
        }
        if usage.memory.is_none() {
            let cache = text(unified, "memory.stat").and_then(|stat| value(&stat, "inactive_file")).unwrap_or(0);
            usage.memory = number(unified, "memory.current").map(|all| all.saturating_sub(cache));
            usage.memory_limit = number(unified, "memory.max");
        }
        usage.pids = usage.pids.or_else(|| number(unified, "pids.current"));
        if usage.read.is_none()
            && let Some(stat) = text(unified, "io.stat")
        {
            let sum = |key: &str| {
                let words = stat.split_ascii_whitespace().filter_map(|word| word.split_once('='));
                words.filter(|(name, _)| *name == key).filter_map(|(_, value)| value.parse::<u64>().ok()).sum()
            };
            (usage.read, usage.written) = (Some(sum("rbytes")), Some(sum("wbytes")));
        }
        usage
    }

    fn legacy_usage(&self) -> Usage {
        let mut usage = Usage::default();
        if let Some(directory) = self.with_controller("cpuacct") {
            usage.cpu = number(directory, "cpuacct.usage");
            usage.cpu_system = number(directory, "cpuacct.usage_sys");
        }
        if let Some(directory) = self.with_controller("memory") {
            let cache = text(directory, "memory.stat").and_then(|stat| value(&stat, "total_inactive_file"));
            let all = number(directory, "memory.usage_in_bytes");
            usage.memory = all.map(|all| all.saturating_sub(cache.unwrap_or(0)));
            usage.memory_limit = number(directory, "memory.limit_in_bytes").filter(|limit| *limit < NO_LIMIT);
        }
        usage.pids = self.with_controller("pids").and_then(|directory| number(directory, "pids.current"));
        if let Some(directory) = self.with_controller("blkio")
            && let Some(stat) = text(directory, "blkio.throttle.io_service_bytes_recursive")
        {
            let sum = |kind: &str| {
                let lines = stat.lines().map(|line| line.split(' ').collect::<Vec<_>>());
                lines
                    .filter_map(|line| if line.get(1) == Some(&kind) { line.get(2)?.parse::<u64>().ok() } else { None })
                    .sum()
            };
            (usage.read, usage.written) = (Some(sum("Read")), Some(sum("Write")));
        }
        usage
    }
}

fn text(directory: &Path, file: &str) -> Option<String> {
    std::fs::read_to_string(directory.join(file)).ok()
}

fn number(directory: &Path, file: &str) -> Option<u64> {
    text(directory, file)?.trim().parse().ok()
}

/// The number behind a name, in lines of both.
fn value(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_both_versions() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
        write("cpu.stat", "usage_usec 5000\nuser_usec 3000\nsystem_usec 2000\n");
        write("memory.current", "1000\n");
        write("memory.stat", "file 700\ninactive_file 300\n");
        write("memory.max", "max\n");
        write("pids.current", "3\n");
        write("io.stat", "8:0 rbytes=1 wbytes=2 rios=1\n8:16 rbytes=10 wbytes=20\n");
        let new = Group { unified: Some(directory.path().to_owned()), legacy: Vec::new() }.usage();
        assert_eq!(
            (new.cpu, new.cpu_system, new.memory, new.memory_limit),
            (Some(5_000_000), Some(2_000_000), Some(700), None)
        );
        assert_eq!((new.pids, new.read, new.written), (Some(3), Some(11), Some(22)));
        write("cpuacct.usage", "77\n");
        write("memory.usage_in_bytes", "500\n");
        write("memory.limit_in_bytes", "9223372036854771712\n");
        write("memory.stat", "inactive_file 1\ntotal_inactive_file 100\n");
        write("blkio.throttle.io_service_bytes_recursive", "8:0 Read 5\n8:0 Write 6\n8:0 Total 11\nTotal 11\n");
        let names = "cpuacct,memory,pids,blkio".to_owned();
        let old = Group { unified: None, legacy: vec![(names, directory.path().to_owned())] }.usage();
        assert_eq!((old.cpu, old.memory, old.memory_limit), (Some(77), Some(400), None));
        assert_eq!((old.pids, old.read, old.written), (Some(3), Some(5), Some(6)));
        assert_eq!(Group { unified: None, legacy: Vec::new() }.usage(), Usage::default());
    }
}
