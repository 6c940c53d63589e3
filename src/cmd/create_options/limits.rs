//! Options about what a container may use of the machine.

use std::path::Path;

use anyhow::{Result, bail};

use crate::explain::facts;
use crate::spec::limits::{
    Available, CgroupsMode, DeviceRate, Limits, parse_conf, parse_cpus, parse_memory_swap, parse_rate, parse_speed,
    parse_weight_device,
};
use crate::spec::size;

/// What can be changed later, too: options of `run`, `create` and `update`, as typed.
#[derive(clap::Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceOptions {
    /// Weight of its block I/O among others', 10 to 1000
    #[arg(long, value_name = "WEIGHT")]
    pub blkio_weight: Option<u16>,
    /// The same for one device
    #[arg(long, value_name = "PATH:WEIGHT", value_parser = parse_weight_device)]
    pub blkio_weight_device: Vec<DeviceRate>,
    /// Microseconds after which the time of --cpu-quota begins anew, 100000 by default
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_period: Option<u64>,
    /// Microseconds of processor time in each period; -1 for no limit
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_quota: Option<i64>,
    /// Period of real-time scheduling, in microseconds (cgroup version 1)
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_rt_period: Option<u64>,
    /// Real-time processor time in each period, in microseconds (cgroup version 1)
    #[arg(long, value_name = "MICROSECONDS")]
    pub cpu_rt_runtime: Option<u64>,
    /// Weight of its processor time among others', 1024 by default
    #[arg(short = 'c', long, value_name = "SHARES")]
    pub cpu_shares: Option<u64>,
    /// Processors' time it may use at most, as in 1.5
    #[arg(long, value_name = "DECIMAL", value_parser = parse_cpus)]
    pub cpus: Option<u64>,
    /// Processors it may run on, as in 0-2,5
    #[arg(long, value_name = "LIST")]
    pub cpuset_cpus: Option<String>,
    /// Memory nodes it may use, as in 0,1
    #[arg(long, value_name = "LIST")]
    pub cpuset_mems: Option<String>,
    /// Limit the bytes a second read from a device
    #[arg(long, value_name = "PATH:BYTES", value_parser = parse_speed)]
    pub device_read_bps: Vec<DeviceRate>,
    /// Limit the reads a second from a device
    #[arg(long, value_name = "PATH:COUNT", value_parser = parse_rate)]
    pub device_read_iops: Vec<DeviceRate>,
    /// Limit the bytes a second written to a device
    #[arg(long, value_name = "PATH:BYTES", value_parser = parse_speed)]
    pub device_write_bps: Vec<DeviceRate>,
    /// Limit the writes a second to a device
    #[arg(long, value_name = "PATH:COUNT", value_parser = parse_rate)]
    pub device_write_iops: Vec<DeviceRate>,
    /// What to do about limits that cannot be enforced: fail (enforce), or go on with a warning (best-effort)
    #[arg(long, value_name = "MODE", default_value = "enforce", hide_default_value = true)]
    pub limits: Strictness,
    /// Memory it may use at most, 6m or more
    #[arg(short = 'm', long, value_name = "BYTES", value_parser = size::parse_bytes, allow_hyphen_values = true)]
    pub memory: Option<u64>,
    /// Memory that others leave it when there is little
    #[arg(long, value_name = "BYTES", value_parser = size::parse_bytes, allow_hyphen_values = true)]
    pub memory_reservation: Option<u64>,
    /// Memory and swap it may use together, twice --memory by default; -1 for no limit of swap
    #[arg(long, value_name = "BYTES", value_parser = parse_memory_swap, allow_hyphen_values = true)]
    pub memory_swap: Option<i64>,
    /// How readily its memory is swapped out, 0 to 100 (cgroup version 1)
    #[arg(long, value_name = "PERCENT")]
    pub memory_swappiness: Option<i64>,
    /// Processes and threads it may have at most; -1 or 0 for no limit
    #[arg(long, value_name = "COUNT")]
    pub pids_limit: Option<i64>,
}

/// Options of `run` and `create` about limits, as typed.
#[derive(clap::Args, Clone, Debug)]
pub struct LimitOptions {
    #[command(flatten)]
    pub resources: ResourceOptions,
    /// Write to a file of its cgroup (version 2), as in memory.high=512M
    #[arg(long, value_name = "FILE=VALUE", value_parser = parse_conf)]
    pub cgroup_conf: Vec<(String, String)>,
    /// Where its cgroup is made: a slice of systemd's, or a path in the hierarchy
    #[arg(long, value_name = "PARENT", default_value = "", hide_default_value = true)]
    pub cgroup_parent: String,
    /// Cgroup namespace to use (private, host)
    #[arg(long, value_name = "MODE")]
    pub cgroupns: Option<String>,
    /// Whether it gets a cgroup (enabled, disabled, no-conmon, split); without this, where it has limits
    #[arg(long, value_name = "MODE")]
    pub cgroups: Option<String>,
    /// Have its processes wait instead of killing one when its memory is full (cgroup version 1)
    #[arg(long)]
    pub oom_kill_disable: bool,
    /// How readily the kernel kills its processes when memory is short, -1000 to 1000
    #[arg(long, value_name = "SCORE")]
    pub oom_score_adj: Option<i32>,
    /// Refused: only root can make classes of cache and memory bandwidth
    #[arg(long, value_name = "CLASS")]
    pub rdt_class: Option<String>,
}

/// `--limits`
#[derive(clap::ValueEnum, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strictness {
    #[default]
    Enforce,
    BestEffort,
}

impl ResourceOptions {
    /// Whether none of them was given. One may say nothing: 0 and an empty list leave things as they are.
    pub fn are_absent(&self) -> bool {
        *self == Self { limits: self.limits, ..Self::default() }
    }

    /// The limits they ask for, not settled.
    pub fn limits(&self) -> Result<Limits> {
        let swappiness = match self.memory_swappiness {
            None | Some(-1) => None,
            Some(value @ 0..=100) => u8::try_from(value).ok(),
            Some(value) => bail!("Invalid value: {value}, valid memory swappiness range is 0-100"),
        };
        Ok(Limits {
            memory: self.memory.unwrap_or_default(),
            memory_reservation: self.memory_reservation.unwrap_or_default(),
            memory_swap: self.memory_swap.unwrap_or_default(),
            memory_swappiness: swappiness,
            nano_cpus: self.cpus.unwrap_or_default(),
            cpu_shares: self.cpu_shares.unwrap_or_default(),
            cpu_period: self.cpu_period.unwrap_or_default(),
            cpu_quota: self.cpu_quota.unwrap_or_default(),
            cpu_rt_period: self.cpu_rt_period.unwrap_or_default(),
            cpu_rt_runtime: self.cpu_rt_runtime.unwrap_or_default(),
            cpuset_cpus: self.cpuset_cpus.clone().unwrap_or_default(),
            cpuset_mems: self.cpuset_mems.clone().unwrap_or_default(),
            pids_limit: self.pids_limit,
            blkio_weight: self.blkio_weight.unwrap_or_default(),
            blkio_weight_device: last_of_each(&self.blkio_weight_device),
            device_read_bps: last_of_each(&self.device_read_bps),
            device_write_bps: last_of_each(&self.device_write_bps),
            device_read_iops: last_of_each(&self.device_read_iops),
            device_write_iops: last_of_each(&self.device_write_iops),
            best_effort: self.limits == Strictness::BestEffort,
            ..Limits::default()
        })
    }
}

impl LimitOptions {
    /// The limits they ask for, as far as they make sense on this machine.
    pub fn request(&self) -> Result<Limits> {
        if let Some(class) = &self.rdt_class {
            bail!("--rdt-class {class}: only root can make classes of cache and memory bandwidth (resctrl)");
        }
        let limits = Limits {
            conf: self.cgroup_conf.iter().cloned().collect(),
            cgroup_parent: self.cgroup_parent.clone(),
            cgroups: self.mode()?,
            host_cgroupns: self.is_host_cgroupns()?,
            oom_kill_disable: self.oom_kill_disable,
            oom_score_adj: self.oom_score_adj,
            ..self.resources.limits()?
        };
        check_parent(&limits.cgroup_parent)?;
        if limits == Limits::default() {
            return Ok(limits);
        }
        let mut limits = limits.settle(&available())?;
        settle_score(&mut limits)?;
        Ok(limits)
    }

    fn mode(&self) -> Result<CgroupsMode> {
        Ok(match self.cgroups.as_deref() {
            None => CgroupsMode::Needed,
            Some("enabled") => CgroupsMode::Enabled,
            Some("disabled") => CgroupsMode::Disabled,
            Some("no-conmon") => CgroupsMode::NoConmon,
            Some("split") => CgroupsMode::Split,
            Some(other) => bail!(
                "invalid argument {other:?} for \"--cgroups\" flag: must be one of enabled, disabled, no-conmon, split"
            ),
        })
    }

    fn is_host_cgroupns(&self) -> Result<bool> {
        match self.cgroupns.as_deref() {
            None | Some("" | "private") => Ok(false),
            Some("host") => Ok(true),
            Some(other) => bail!("invalid cgroup mode: {other:?}: must be private or host"),
        }
    }
}

/// A path stays in the hierarchy.
fn check_parent(parent: &str) -> Result<()> {
    let is_odd = |part: std::path::Component<'_>| matches!(part, std::path::Component::ParentDir);
    if parent.contains('\0') || Path::new(parent).components().any(is_odd) {
        bail!("invalid argument {parent:?} for \"--cgroup-parent\" flag: a path with .. in it");
    }
    if parent.ends_with(".slice") && parent.contains('/') {
        bail!("cgroup-parent for systemd cgroup should be a valid slice named as \"xxx.slice\"");
    }
    Ok(())
}

/// Only root may make a process less likely to be killed than rbox is.
fn settle_score(limits: &mut Limits) -> Result<()> {
    let Some(score) = limits.oom_score_adj else { return Ok(()) };
    let own = facts::text(Path::new("/proc/self/oom_score_adj")).and_then(|text| text.parse().ok()).unwrap_or(0);
    if score >= own || rustix::process::geteuid().is_root() {
        return Ok(());
    }
    if !limits.best_effort {
        bail!("cannot enforce --oom-score-adj {score}: only root may go below {own}, which is yours");
    }
    crate::cmd::warn(&format!("--oom-score-adj {score} is not enforced: only root may go below {own}, which is yours"));
    limits.oom_score_adj = None;
    Ok(())
}

/// Of a device named twice the last word counts.
fn last_of_each(rates: &[DeviceRate]) -> Vec<DeviceRate> {
    let mut kept: Vec<DeviceRate> = Vec::new();
    for rate in rates {
        kept.retain(|earlier| earlier.path != rate.path);
        kept.push(rate.clone());
    }
    kept
}

/// The processors and memory nodes of this machine.
pub fn available() -> Available {
    let list = |path: &str| facts::text(Path::new(path)).unwrap_or_else(|| "0".to_owned());
    Available { cpus: list("/sys/devices/system/cpu/online"), mems: list("/sys/devices/system/node/online") }
}
