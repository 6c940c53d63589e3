//! Which limits make sense, alone and together: docker's rules, in docker's words.

use super::{CgroupsMode, Limits, parse_list};
use crate::spec::text::printable;

/// The least memory a container can start with.
const MEMORY_MIN: u64 = 6 << 20;
/// The least that `--cpus` may ask for: a hundredth.
const NANO_CPUS_MIN: u64 = 10_000_000;

/// What the machine has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Available {
    /// Lists as in `0-3,5`.
    pub cpus: String,
    pub mems: String,
}

/// Why limits are refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidLimits {
    #[error("Minimum memory limit allowed is 6MB")]
    Memory,
    #[error("Minimum memory reservation allowed is 6MB")]
    Reservation,
    #[error("Minimum memoryswap limit should be larger than memory limit, see usage")]
    Swap,
    #[error("You should always set the Memory limit when using Memoryswap limit, see usage")]
    SwapAlone,
    #[error("Minimum memory limit can not be less than memory reservation limit, see usage")]
    ReservationAboveMemory,
    #[error("Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time")]
    MemoryAboveSetSwap,
    #[error("Conflicting options: Nano CPUs and CPU {0} cannot both be set.")]
    NanoCpusAnd(&'static str),
    #[error(
        "Conflicting options: CPU Period cannot be updated as NanoCPUs has already been set: give --cpu-quota, too"
    )]
    NanoCpusSet,
    #[error("range of CPUs is from 0.01 to {0}.00, as there are only {0} CPUs available")]
    Cpus(usize),
    #[error("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")]
    Period,
    #[error("CPU cfs quota can not be less than 1ms (i.e. 1000)")]
    Quota,
    #[error("cpu real-time runtime cannot be higher than cpu real-time period")]
    Realtime,
    #[error("Invalid value {value} for cpuset {kind}")]
    List { kind: &'static str, value: String },
    #[error("Requested {what} are not available - requested {requested}, available: {available}")]
    Unavailable { what: &'static str, requested: String, available: String },
    #[error("Range of blkio weight is from 10 to 1000")]
    Weight,
    #[error("Invalid value {0}, range for oom score adj is [-1000, 1000]")]
    OomScore(i32),
    #[error("Invalid value: {0}, valid memory swappiness range is 0-100")]
    Swappiness(u8),
    #[error("conflicting options: --cgroups=disabled and limits, which take a cgroup")]
    Disabled,
}

impl Limits {
    /// Fills in what follows from what was asked for, and refuses what makes no sense.
    pub fn settle(mut self, machine: &Available) -> Result<Self, InvalidLimits> {
        self.check(machine)?;
        if self.memory != 0 && self.memory_swap == 0 {
            self.memory_swap = (self.memory * 2).try_into().unwrap_or(i64::MAX);
        }
        Ok(self)
    }

    fn check(&self, machine: &Available) -> Result<(), InvalidLimits> {
        self.check_memory()?;
        self.check_cpu(machine)?;
        if self.blkio_weight != 0 && !(10..=1000).contains(&self.blkio_weight) {
            return Err(InvalidLimits::Weight);
        }
        if let Some(score) = self.oom_score_adj.filter(|score| !(-1000..=1000).contains(score)) {
            return Err(InvalidLimits::OomScore(score));
        }
        if self.cgroups == CgroupsMode::Disabled && self.need_cgroup() {
            return Err(InvalidLimits::Disabled);
        }
        Ok(())
    }

    fn check_memory(&self) -> Result<(), InvalidLimits> {
        let Self { memory, memory_swap: swap, memory_reservation: reservation, .. } = *self;
        if memory != 0 && memory < MEMORY_MIN {
            return Err(InvalidLimits::Memory);
        }
        if memory != 0 && swap > 0 && swap.unsigned_abs() < memory {
            return Err(InvalidLimits::Swap);
        }
        if memory == 0 && swap > 0 {
            return Err(InvalidLimits::SwapAlone);
        }
        if let Some(value) = self.memory_swappiness.filter(|value| *value > 100) {
            return Err(InvalidLimits::Swappiness(value));
        }
        if reservation != 0 && reservation < MEMORY_MIN {
            return Err(InvalidLimits::Reservation);
        }
        if memory != 0 && memory < reservation {
            return Err(InvalidLimits::ReservationAboveMemory);
        }
        Ok(())
    }

    fn check_cpu(&self, machine: &Available) -> Result<(), InvalidLimits> {
        if self.nano_cpus != 0 {
            if self.cpu_period != 0 {
                return Err(InvalidLimits::NanoCpusAnd("Period"));
            }
            if self.cpu_quota != 0 {
                return Err(InvalidLimits::NanoCpusAnd("Quota"));
            }
            let count = parse_list(&machine.cpus).map_or(1, |list| list.len());
            if self.nano_cpus < NANO_CPUS_MIN || self.nano_cpus > count as u64 * 1_000_000_000 {
                return Err(InvalidLimits::Cpus(count));
            }
        }
        if self.cpu_period != 0 && !(1000..=1_000_000).contains(&self.cpu_period) {
            return Err(InvalidLimits::Period);
        }
        if self.cpu_quota > 0 && self.cpu_quota < 1000 {
            return Err(InvalidLimits::Quota);
        }
        if self.cpu_rt_period != 0 && self.cpu_rt_runtime > self.cpu_rt_period {
            return Err(InvalidLimits::Realtime);
        }
        check_list("cpus", "CPUs", &self.cpuset_cpus, &machine.cpus)?;
        check_list("mems", "memory nodes", &self.cpuset_mems, &machine.mems)
    }

    /// These limits with what `change` says. `change` is as typed, not settled.
    pub fn updated(&self, change: &Self, machine: &Available) -> Result<Self, InvalidLimits> {
        let mut all = self.clone();
        let number = |old: &mut u64, new: u64| *old = if new == 0 { *old } else { new };
        number(&mut all.memory, change.memory);
        number(&mut all.memory_reservation, change.memory_reservation);
        number(&mut all.cpu_shares, change.cpu_shares);
        number(&mut all.cpu_rt_period, change.cpu_rt_period);
        number(&mut all.cpu_rt_runtime, change.cpu_rt_runtime);
        if change.memory_swap != 0 {
            all.memory_swap = change.memory_swap;
        } else if change.memory != 0 && self.memory_swap > 0 && change.memory > self.memory_swap.unsigned_abs() {
            return Err(InvalidLimits::MemoryAboveSetSwap);
        }
        all.update_cpu(change)?;
        all.memory_swappiness = change.memory_swappiness.or(all.memory_swappiness);
        all.pids_limit = change.pids_limit.or(all.pids_limit);
        all.blkio_weight = if change.blkio_weight == 0 { all.blkio_weight } else { change.blkio_weight };
        for (old, new) in [(&mut all.cpuset_cpus, &change.cpuset_cpus), (&mut all.cpuset_mems, &change.cpuset_mems)] {
            if !new.is_empty() {
                old.clone_from(new);
            }
        }
        for (old, new) in [
            (&mut all.blkio_weight_device, &change.blkio_weight_device),
            (&mut all.device_read_bps, &change.device_read_bps),
            (&mut all.device_write_bps, &change.device_write_bps),
            (&mut all.device_read_iops, &change.device_read_iops),
            (&mut all.device_write_iops, &change.device_write_iops),
        ] {
            old.retain(|known| !new.iter().any(|rate| rate.path == known.path));
            old.extend(new.iter().cloned());
        }
        all.best_effort = self.best_effort || change.best_effort;
        all.settle(machine)
    }

    /// One way of saying how much of the processors takes the other's place, if it says it whole: a period
    /// alone would leave no limit at all.
    fn update_cpu(&mut self, change: &Self) -> Result<(), InvalidLimits> {
        if change.nano_cpus != 0 {
            (self.nano_cpus, self.cpu_period, self.cpu_quota) = (change.nano_cpus, change.cpu_period, change.cpu_quota);
            return Ok(());
        }
        match (change.cpu_period, change.cpu_quota) {
            (0, 0) => return Ok(()),
            (_, 0) if self.nano_cpus != 0 => return Err(InvalidLimits::NanoCpusSet),
            _ => self.nano_cpus = 0,
        }
        if change.cpu_period != 0 {
            self.cpu_period = change.cpu_period;
        }
        if change.cpu_quota != 0 {
            self.cpu_quota = change.cpu_quota;
        }
        Ok(())
    }
}

fn check_list(kind: &'static str, what: &'static str, asked: &str, there: &str) -> Result<(), InvalidLimits> {
    let list = parse_list(asked).map_err(|_| InvalidLimits::List { kind, value: printable(asked) })?;
    let there_are = parse_list(there).unwrap_or_default();
    if list.iter().all(|number| there_are.contains(number)) {
        return Ok(());
    }
    Err(InvalidLimits::Unavailable { what, requested: asked.to_owned(), available: there.to_owned() })
}
