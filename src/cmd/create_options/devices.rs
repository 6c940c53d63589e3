//! Options about devices.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::sandbox::devices::given;
use crate::spec::device::{self, DeviceFlag, Devices, GpuRequest};

/// Options of `run` and `create`, as typed.
#[derive(clap::Args, Clone, Debug)]
pub struct DeviceOptions {
    /// Show a device of the host, all below a directory, or one of CDI (HOST[:CONTAINER][:rwm] or VENDOR/CLASS=NAME)
    #[arg(long, value_name = "DEVICE")]
    device: Vec<String>,
    /// Refused: only root can program the kernel's device control
    #[arg(long, value_name = "RULE")]
    device_cgroup_rule: Vec<String>,
    /// GPUs to show, by way of CDI (all, COUNT, device=NAME)
    #[arg(long, value_name = "REQUEST", value_parser = device::parse_gpus)]
    gpus: Option<GpuRequest>,
}

impl DeviceOptions {
    /// Those of `--device` alone.
    pub fn of(devices: &[String]) -> Self {
        Self { device: devices.to_vec(), device_cgroup_rule: Vec::new(), gpus: None }
    }

    /// What the options ask for, all of which must be there; `directories` hold CDI
    /// specifications. A container that keeps the caller's groups can open more.
    pub fn request(&self, directories: &[PathBuf], keeps_groups: bool) -> Result<Devices> {
        if let Some(rule) = self.device_cgroup_rule.first() {
            bail!(
                "--device-cgroup-rule {rule}: only root can program the kernel's device control; \
                 give the devices themselves with --device"
            );
        }
        let mut devices = Devices { gpus: self.gpus.iter().cloned().collect(), ..Devices::default() };
        for text in &self.device {
            match device::parse_device(text)? {
                DeviceFlag::Path(path) => devices.paths.push(path),
                DeviceFlag::Cdi(name) => devices.cdi.push(name),
            }
        }
        if !devices.cdi.is_empty() || !devices.gpus.is_empty() {
            devices.cdi_spec_dirs = directories.to_vec();
        }
        given::look_up(&devices, keeps_groups)?;
        Ok(devices)
    }
}
