//! Limits as `linux.resources` of the OCI runtime Spec.

use std::collections::HashMap;

use oci_spec::OciSpecError;
use oci_spec::runtime::{
    LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxPidsBuilder, LinuxResources, LinuxThrottleDevice,
    LinuxThrottleDeviceBuilder, LinuxWeightDevice, LinuxWeightDeviceBuilder,
};

use super::{DeviceRate, Limits};

/// A device's number, by its path; None where there is no such device.
pub type Number<'a> = &'a dyn Fn(&str) -> Option<(i64, i64)>;

/// None if nothing is limited. Devices that are not there are left out.
pub fn resources(limits: &Limits, number: Number<'_>) -> Result<Option<LinuxResources>, OciSpecError> {
    let mut all = LinuxResources::default();
    all.set_memory(memory(limits)).set_cpu(cpu(limits));
    if let Some(pids) = limits.pids_limit {
        let limit = if pids > 0 { pids } else { -1 };
        all.set_pids(Some(LinuxPidsBuilder::default().limit(limit).build()?));
    }
    all.set_block_io(block_io(limits, number)?);
    let conf: HashMap<String, String> = limits.conf.clone().into_iter().collect();
    all.set_unified(Some(conf).filter(|conf| !conf.is_empty()));
    Ok(Some(all).filter(|all| *all != LinuxResources::default()))
}

fn memory(limits: &Limits) -> Option<LinuxMemory> {
    let bytes = |value: u64| i64::try_from(value).ok().filter(|value| *value != 0);
    let mut memory = LinuxMemory::default();
    memory
        .set_limit(bytes(limits.memory))
        .set_reservation(bytes(limits.memory_reservation))
        .set_swap(Some(limits.memory_swap).filter(|swap| *swap != 0))
        .set_swappiness(limits.memory_swappiness.map(u64::from))
        .set_disable_oom_killer(limits.oom_kill_disable.then_some(true));
    Some(memory).filter(|memory| *memory != LinuxMemory::default())
}

fn cpu(limits: &Limits) -> Option<LinuxCpu> {
    let given = |value: u64| Some(value).filter(|value| *value != 0);
    let text = |value: &String| Some(value.clone()).filter(|value| !value.is_empty());
    let (quota, period) = match limits.nano_cpus {
        0 => (limits.cpu_quota, limits.cpu_period),
        nano => (i64::try_from(nano / 10_000).unwrap_or(i64::MAX), 100_000),
    };
    let mut cpu = LinuxCpu::default();
    cpu.set_shares(given(limits.cpu_shares))
        .set_quota(Some(quota).filter(|quota| *quota != 0))
        .set_period(given(period))
        .set_realtime_runtime(given(limits.cpu_rt_runtime).and_then(|value| i64::try_from(value).ok()))
        .set_realtime_period(given(limits.cpu_rt_period))
        .set_cpus(text(&limits.cpuset_cpus))
        .set_mems(text(&limits.cpuset_mems));
    Some(cpu).filter(|cpu| *cpu != LinuxCpu::default())
}

fn block_io(limits: &Limits, number: Number<'_>) -> Result<Option<LinuxBlockIo>, OciSpecError> {
    let rates = |list: &[DeviceRate]| -> Result<Option<Vec<LinuxThrottleDevice>>, OciSpecError> {
        let found = list.iter().filter_map(|device| Some((number(&device.path)?, device.rate)));
        let rate =
            |((major, minor), rate)| LinuxThrottleDeviceBuilder::default().major(major).minor(minor).rate(rate).build();
        let all = found.map(rate).collect::<Result<Vec<_>, _>>()?;
        Ok(Some(all).filter(|all| !all.is_empty()))
    };
    let weights = limits.blkio_weight_device.iter().filter_map(|device| Some((number(&device.path)?, device.rate)));
    let weight = |((major, minor), rate)| {
        let weight = u16::try_from(rate).unwrap_or(u16::MAX);
        LinuxWeightDeviceBuilder::default().major(major).minor(minor).weight(weight).build()
    };
    let weights: Vec<LinuxWeightDevice> = weights.map(weight).collect::<Result<_, _>>()?;
    let mut io = LinuxBlockIo::default();
    io.set_weight(Some(limits.blkio_weight).filter(|weight| *weight != 0))
        .set_weight_device(Some(weights).filter(|weights| !weights.is_empty()))
        .set_throttle_read_bps_device(rates(&limits.device_read_bps)?)
        .set_throttle_write_bps_device(rates(&limits.device_write_bps)?)
        .set_throttle_read_iops_device(rates(&limits.device_read_iops)?)
        .set_throttle_write_iops_device(rates(&limits.device_write_iops)?);
    Ok(Some(io).filter(|io| *io != LinuxBlockIo::default()))
}
