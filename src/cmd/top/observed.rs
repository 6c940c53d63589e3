//! What /proc says about a process, and who is who.

use anyhow::{Context as _, Result};
use procfs::process::{Process, Stat, Status};
use procfs::{Current, Uptime};

use crate::sandbox::idmap::{Extent, IdMaps};
use crate::sandbox::processes::Processes;
use crate::sys::accounts;

/// What is the same for all processes.
pub struct Machine {
    ticks: u64,
    /// Seconds since the boot.
    uptime: f64,
    /// When that was, in seconds since the epoch.
    boot: f64,
}

/// A process at one moment.
pub struct Observed {
    pub stat: Stat,
    pub status: Status,
    pub command_line: Vec<String>,
    pub label: String,
    /// Seconds of processor time.
    pub time: u64,
    /// Seconds since its start.
    pub elapsed: u64,
    /// Its start, in seconds since the epoch.
    pub started: i64,
}

impl Machine {
    /// Reads the clock and the time since the boot.
    pub fn now() -> Result<Self> {
        let uptime = Uptime::current().context("read /proc/uptime")?.uptime;
        let now = jiff::Timestamp::now().as_millisecond() as f64 / 1000.0;
        Ok(Self { ticks: procfs::ticks_per_second(), uptime, boot: now - uptime })
    }

    /// Looks at a process; None when it has ended.
    pub fn observe(&self, pid: i32) -> Option<Observed> {
        let process = Process::new(pid).ok()?;
        let (stat, status) = (process.stat().ok()?, process.status().ok()?);
        let start = stat.starttime as f64 / self.ticks as f64;
        let label = std::fs::read_to_string(format!("/proc/{pid}/attr/current")).unwrap_or_default();
        Some(Observed {
            command_line: process.cmdline().unwrap_or_default(),
            label: label.trim_end_matches(['\0', '\n']).to_owned(),
            time: (stat.utime + stat.stime) / self.ticks,
            elapsed: (self.uptime - start).max(0.0) as u64,
            started: (self.boot + start) as i64,
            stat,
            status,
        })
    }
}

/// Users and groups by number: of the host, and of the container behind its id map.
pub struct Accounts {
    maps: IdMaps,
    inside: [Vec<(String, u32)>; 2],
    host: [Vec<(String, u32)>; 2],
}

/// Which of the two kinds of ids.
#[derive(Clone, Copy)]
pub enum Kind {
    User,
    Group,
}

impl Accounts {
    /// `maps` are from the container to the host.
    pub fn new(processes: &Processes, maps: IdMaps) -> Self {
        let inside = [accounts::names_in(&processes.passwd), accounts::names_in(&processes.group)];
        Self { maps, inside, host: [accounts::accounts(), accounts::groups()] }
    }

    /// The host's name of an id, or its number.
    pub fn on_host(&self, kind: Kind, id: u32) -> String {
        name(&self.host[kind as usize], id)
    }

    /// The container's name of one of the host's ids, or its number there; `?` outside of its map.
    pub fn inside(&self, kind: Kind, id: u32) -> String {
        let extents = match kind {
            Kind::User => &self.maps.uids,
            Kind::Group => &self.maps.gids,
        };
        let within = |extent: &&Extent| id >= extent.outside && id - extent.outside < extent.count;
        match extents.iter().find(within) {
            Some(extent) => name(&self.inside[kind as usize], extent.inside + (id - extent.outside)),
            None => "?".to_owned(),
        }
    }
}

fn name(names: &[(String, u32)], id: u32) -> String {
    names.iter().find(|(_, number)| *number == id).map_or_else(|| id.to_string(), |(name, _)| name.clone())
}
