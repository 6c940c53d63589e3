//! What a container may use of the machine: docker's HostConfig, as flags, records and cgroups have it.

mod check;
mod grammar;
mod resources;
mod settings;
#[cfg(test)]
mod tests;
mod weight;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use check::{Available, InvalidLimits};
pub use grammar::{
    InvalidLimit, parse_conf, parse_cpus, parse_list, parse_memory_swap, parse_rate, parse_speed, parse_weight_device,
};
pub use resources::resources;
pub use settings::{Setting, Unsupported, legacy, unified};
pub use weight::{cpu_weight, io_weight};

/// Limits as asked for. Zero and empty mean that nothing was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Bytes.
    pub memory: u64,
    /// Bytes.
    pub memory_reservation: u64,
    /// Bytes of memory and swap together; -1 is no limit.
    pub memory_swap: i64,
    /// 0 to 100.
    pub memory_swappiness: Option<u8>,
    pub oom_kill_disable: bool,
    /// -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// Billionths of a processor.
    pub nano_cpus: u64,
    pub cpu_shares: u64,
    /// Microseconds.
    pub cpu_period: u64,
    /// Microseconds a period; -1 is no limit.
    pub cpu_quota: i64,
    /// Microseconds.
    pub cpu_rt_period: u64,
    /// Microseconds.
    pub cpu_rt_runtime: u64,
    /// A list as in `0-3,5`.
    pub cpuset_cpus: String,
    pub cpuset_mems: String,
    /// Processes and threads; not above zero is no limit.
    pub pids_limit: Option<i64>,
    /// 10 to 1000.
    pub blkio_weight: u16,
    pub blkio_weight_device: Vec<DeviceRate>,
    pub device_read_bps: Vec<DeviceRate>,
    pub device_write_bps: Vec<DeviceRate>,
    pub device_read_iops: Vec<DeviceRate>,
    pub device_write_iops: Vec<DeviceRate>,
    /// `--cgroup-conf`: files of cgroup version 2 and what is written to them.
    pub conf: BTreeMap<String, String>,
    /// A slice of systemd's, or a path in the hierarchy; empty is where rbox was started.
    pub cgroup_parent: String,
    pub cgroups: CgroupsMode,
    /// `--cgroupns host`.
    pub host_cgroupns: bool,
    /// `--limits=best-effort`: what cannot be enforced is left out, with a warning.
    pub best_effort: bool,
}

/// What a block device may be used for: bytes or operations a second, or a weight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRate {
    pub path: String,
    pub rate: u64,
}

/// podman's `--cgroups`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CgroupsMode {
    /// Not said: a cgroup where there is something to limit.
    #[default]
    Needed,
    Enabled,
    Disabled,
    /// As enabled: no supervisor is ever in its container's cgroup.
    NoConmon,
    /// Below the cgroup that rbox was started in, or not at all.
    Split,
}

impl CgroupsMode {
    /// podman's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Needed => "default",
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::NoConmon => "no-conmon",
            Self::Split => "split",
        }
    }
}

impl Limits {
    /// Whether something is to be enforced that takes a cgroup.
    pub fn need_cgroup(&self) -> bool {
        let unlimited = Self {
            memory_swappiness: None,
            oom_kill_disable: false,
            oom_score_adj: self.oom_score_adj,
            cgroup_parent: self.cgroup_parent.clone(),
            cgroups: self.cgroups,
            host_cgroupns: self.host_cgroupns,
            best_effort: self.best_effort,
            ..Self::default()
        };
        *self != unlimited
    }

    /// Every device that something is said about.
    pub fn devices(&self) -> impl Iterator<Item = &DeviceRate> {
        let rates = [
            &self.blkio_weight_device,
            &self.device_read_bps,
            &self.device_write_bps,
            &self.device_read_iops,
            &self.device_write_iops,
        ];
        rates.into_iter().flatten()
    }

    /// Whether the container is to have a cgroup of its own.
    pub fn want_cgroup(&self) -> bool {
        match self.cgroups {
            CgroupsMode::Disabled => false,
            CgroupsMode::Needed => self.need_cgroup() || !self.cgroup_parent.is_empty(),
            CgroupsMode::Enabled | CgroupsMode::NoConmon | CgroupsMode::Split => true,
        }
    }
}
