//! Limits as files of cgroups and what is written to them
//! (Linux Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/).

use super::{DeviceRate, Limits, cpu_weight, io_weight};

/// The period of docker's `--cpus`, in microseconds.
const PERIOD: u64 = 100_000;

/// One file and what is written to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The controller whose file it is, by its name in this version.
    pub controller: String,
    pub file: String,
    pub value: String,
    /// The flag that asks for it.
    pub flag: &'static str,
    /// Follows from another: a kernel without the file does without.
    pub optional: bool,
}

/// A limit that this version of cgroups does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsupported {
    /// docker warns and goes on without it.
    Discarded(&'static str),
    /// docker refuses it.
    Refused(&'static str),
}

/// What is collected.
#[derive(Default)]
struct Settings(Vec<Setting>);

impl Settings {
    fn add(&mut self, flag: &'static str, file: &str, value: impl ToString) {
        let controller = file.split_once('.').map_or(file, |(controller, _)| controller).to_owned();
        self.0.push(Setting { controller, file: file.to_owned(), value: value.to_string(), flag, optional: false });
    }

    fn add_optional(&mut self, flag: &'static str, file: &str, value: impl ToString) {
        self.add(flag, file, value);
        if let Some(last) = self.0.last_mut() {
            last.optional = true;
        }
    }
}

/// A list of rates, its flag, and its name in io.max and in blkio.throttle.
type Throttle<'a> = (&'a [DeviceRate], &'static str, &'static str, &'static str);

fn throttles(limits: &Limits) -> [Throttle<'_>; 4] {
    [
        (&limits.device_read_bps, "--device-read-bps", "rbps", "read_bps"),
        (&limits.device_write_bps, "--device-write-bps", "wbps", "write_bps"),
        (&limits.device_read_iops, "--device-read-iops", "riops", "read_iops"),
        (&limits.device_write_iops, "--device-write-iops", "wiops", "write_iops"),
    ]
}

/// Quota (None is no limit) and period.
fn bandwidth(limits: &Limits) -> Option<(&'static str, Option<u64>, u64)> {
    if limits.nano_cpus != 0 {
        return Some(("--cpus", Some(limits.nano_cpus * PERIOD / 1_000_000_000), PERIOD));
    }
    if limits.cpu_period == 0 && limits.cpu_quota == 0 {
        return None;
    }
    let flag = if limits.cpu_quota != 0 { "--cpu-quota" } else { "--cpu-period" };
    let period = if limits.cpu_period == 0 { PERIOD } else { limits.cpu_period };
    Some((flag, u64::try_from(limits.cpu_quota).ok().filter(|quota| *quota > 0), period))
}

fn or_max(value: Option<u64>) -> String {
    value.map_or_else(|| "max".to_owned(), |value| value.to_string())
}

/// Both versions say these in the same words.
fn add_sets_and_pids(all: &mut Settings, limits: &Limits) {
    if !limits.cpuset_cpus.is_empty() {
        all.add("--cpuset-cpus", "cpuset.cpus", &limits.cpuset_cpus);
    }
    if !limits.cpuset_mems.is_empty() {
        all.add("--cpuset-mems", "cpuset.mems", &limits.cpuset_mems);
    }
    if let Some(pids) = limits.pids_limit {
        all.add("--pids-limit", "pids.max", or_max(u64::try_from(pids).ok().filter(|pids| *pids > 0)));
    }
}

/// The settings of version 2. `number` is a device's `MAJOR:MINOR`.
pub fn unified<E>(
    limits: &Limits,
    number: impl Fn(&str) -> Result<String, E>,
) -> Result<(Vec<Setting>, Vec<Unsupported>), E> {
    let mut all = Settings::default();
    if limits.memory != 0 {
        all.add("--memory", "memory.max", limits.memory);
        let swap = u64::try_from(limits.memory_swap).ok().map(|swap| swap.saturating_sub(limits.memory));
        all.add_optional("--memory-swap", "memory.swap.max", or_max(swap));
    }
    if limits.memory_reservation != 0 {
        all.add("--memory-reservation", "memory.low", limits.memory_reservation);
    }
    if limits.cpu_shares != 0 {
        all.add("--cpu-shares", "cpu.weight", cpu_weight(limits.cpu_shares));
    }
    if let Some((flag, quota, period)) = bandwidth(limits) {
        all.add(flag, "cpu.max", format!("{} {period}", or_max(quota)));
    }
    add_sets_and_pids(&mut all, limits);
    if limits.blkio_weight != 0 {
        all.add("--blkio-weight", "io.weight", format!("default {}", io_weight(limits.blkio_weight)));
    }
    for device in &limits.blkio_weight_device {
        let weight = u16::try_from(device.rate).ok().filter(|rate| *rate != 0);
        let weight = weight.map_or_else(|| "default".to_owned(), |weight| io_weight(weight).to_string());
        all.add("--blkio-weight-device", "io.weight", format!("{} {weight}", number(&device.path)?));
    }
    for (rates, flag, key, _) in throttles(limits) {
        for device in rates {
            let rate = or_max(Some(device.rate).filter(|rate| *rate != 0));
            all.add(flag, "io.max", format!("{} {key}={rate}", number(&device.path)?));
        }
    }
    for (file, value) in &limits.conf {
        all.add("--cgroup-conf", file, value);
    }
    let mut lacking = Vec::new();
    if limits.memory_swappiness.is_some() {
        lacking.push(Unsupported::Discarded("cgroup version 2 has no memory swappiness. Memory swappiness discarded."));
    }
    if limits.oom_kill_disable {
        lacking.push(Unsupported::Discarded("cgroup version 2 has no OomKillDisable. OomKillDisable discarded."));
    }
    if limits.cpu_rt_period != 0 || limits.cpu_rt_runtime != 0 {
        lacking.push(Unsupported::Refused("cgroup version 2 has no limit of real-time processor time"));
    }
    Ok((all.0, lacking))
}

/// The settings of version 1, in an order in which each is possible after those before it.
pub fn legacy<E>(
    limits: &Limits,
    number: impl Fn(&str) -> Result<String, E>,
) -> Result<(Vec<Setting>, Vec<Unsupported>), E> {
    let mut all = Settings::default();
    if limits.memory != 0 {
        all.add("--memory", "memory.limit_in_bytes", limits.memory);
        all.add_optional("--memory-swap", "memory.memsw.limit_in_bytes", limits.memory_swap);
    }
    if limits.memory_reservation != 0 {
        all.add("--memory-reservation", "memory.soft_limit_in_bytes", limits.memory_reservation);
    }
    if let Some(swappiness) = limits.memory_swappiness {
        all.add("--memory-swappiness", "memory.swappiness", swappiness);
    }
    if limits.oom_kill_disable {
        all.add("--oom-kill-disable", "memory.oom_control", 1);
    }
    if limits.cpu_shares != 0 {
        all.add("--cpu-shares", "cpu.shares", limits.cpu_shares.max(2));
    }
    if let Some((flag, quota, period)) = bandwidth(limits) {
        all.add(flag, "cpu.cfs_period_us", period);
        let quota = quota.map_or_else(|| "-1".to_owned(), |quota| quota.to_string());
        all.add(flag, "cpu.cfs_quota_us", quota);
    }
    if limits.cpu_rt_period != 0 {
        all.add("--cpu-rt-period", "cpu.rt_period_us", limits.cpu_rt_period);
    }
    if limits.cpu_rt_runtime != 0 {
        all.add("--cpu-rt-runtime", "cpu.rt_runtime_us", limits.cpu_rt_runtime);
    }
    add_sets_and_pids(&mut all, limits);
    if limits.blkio_weight != 0 {
        all.add("--blkio-weight", "blkio.weight", limits.blkio_weight);
    }
    for device in &limits.blkio_weight_device {
        all.add("--blkio-weight-device", "blkio.weight_device", format!("{} {}", number(&device.path)?, device.rate));
    }
    for (rates, flag, _, name) in throttles(limits) {
        for device in rates {
            let file = format!("blkio.throttle.{name}_device");
            all.add(flag, &file, format!("{} {}", number(&device.path)?, device.rate));
        }
    }
    let conf = !limits.conf.is_empty();
    let lacking = conf.then_some(Unsupported::Refused("--cgroup-conf needs cgroup version 2")).into_iter().collect();
    Ok((all.0, lacking))
}
