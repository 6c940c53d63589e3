//! What containers use at one moment, from their cgroups, else from /proc.

use std::collections::HashMap;
use std::time::Instant;

use anyhow::Result;
use jiff::Timestamp;

use crate::cmd::info::host::Host;
use crate::sandbox::cgroup::{Group, Usage};
use crate::sandbox::observed::{self, Subject};
use crate::spec::config::{ContainerId, NetworkMode};
use crate::store::Store;
use crate::store::containers::Container;

/// One container at one moment.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    pub id: String,
    pub name: String,
    /// Nanoseconds of processor time, and of these in the kernel.
    pub cpu: u64,
    pub cpu_system: u64,
    /// Percent of one processor: since the last look, the first time since the start.
    pub cpu_percent: f64,
    /// Percent of one processor since the start.
    pub average_percent: f64,
    /// Nanoseconds since the start.
    pub up: u64,
    /// Bytes.
    pub memory: u64,
    pub memory_limit: u64,
    pub received: u64,
    pub sent: u64,
    pub read: u64,
    pub written: u64,
    pub pids: u64,
}

impl Sample {
    /// Whether `typed` means this container.
    pub fn is_called(&self, typed: &str) -> bool {
        self.name == typed || self.id.starts_with(typed)
    }

    /// Percent of the memory it may use.
    pub fn memory_percent(&self) -> f64 {
        if self.memory_limit == 0 { 0.0 } else { self.memory as f64 / self.memory_limit as f64 * 100.0 }
    }
}

/// Looks again and again.
pub struct Sampler {
    /// Bytes that the machine has.
    memory: u64,
    /// When each container was looked at last, and its processor time then.
    last: HashMap<ContainerId, (Instant, u64)>,
}

impl Sampler {
    pub fn new() -> Result<Self> {
        Ok(Self { memory: Host::memory(), last: HashMap::new() })
    }

    /// A sample of each, in the same order.
    pub fn look(&mut self, store: &Store, containers: &[Container]) -> Result<Vec<Sample>> {
        let now = Instant::now();
        let mut usages: Vec<Option<Usage>> = containers.iter().map(|container| of_cgroup(store, container)).collect();
        complete(store, containers, &mut usages)?;
        let mut samples = Vec::with_capacity(containers.len());
        for (container, usage) in containers.iter().zip(usages) {
            samples.push(self.sample(container, usage.unwrap_or_default(), now));
        }
        Ok(samples)
    }

    fn sample(&mut self, container: &Container, usage: Usage, now: Instant) -> Sample {
        let config = &container.config;
        let init = container.state.init().filter(|_| container.is_running());
        let mut sample = Sample { id: config.id.to_string(), name: config.name.clone(), ..Sample::default() };
        let Some(init) = init else { return sample };
        sample.cpu = usage.cpu.unwrap_or(0);
        sample.cpu_system = usage.cpu_system.unwrap_or(0);
        let up = container.state.started_at.map_or(0, |start| Timestamp::now().duration_since(start).as_nanos());
        sample.up = u64::try_from(up).unwrap_or(0);
        sample.average_percent = percent(sample.cpu, sample.up);
        sample.cpu_percent = match self.last.insert(config.id.clone(), (now, sample.cpu)) {
            Some((then, cpu)) => {
                let passed = u64::try_from(now.duration_since(then).as_nanos()).unwrap_or(u64::MAX);
                percent(sample.cpu.saturating_sub(cpu), passed)
            }
            None => sample.average_percent,
        };
        sample.memory = usage.memory.unwrap_or(0);
        sample.memory_limit = usage.memory_limit.unwrap_or(self.memory).min(self.memory);
        (sample.read, sample.written) = (usage.read.unwrap_or(0), usage.written.unwrap_or(0));
        sample.pids = usage.pids.unwrap_or(0);
        if !matches!(config.network, NetworkMode::Host) {
            (sample.received, sample.sent) = observed::network(init.pid).unwrap_or_default();
        }
        sample
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 * 100.0 }
}

fn of_cgroup(store: &Store, container: &Container) -> Option<Usage> {
    container.is_running().then(|| Group::of(store, container.id()).ok().flatten().map(|group| group.usage())).flatten()
}

/// Fills in what cgroups do not say, in one pass for all.
fn complete(store: &Store, containers: &[Container], usages: &mut [Option<Usage>]) -> Result<()> {
    let mut places = Vec::new();
    let mut subjects = Vec::new();
    for (place, (container, usage)) in containers.iter().zip(usages.iter()).enumerate() {
        let lacks = usage.is_none_or(|usage| {
            usage.cpu.is_none() || usage.memory.is_none() || usage.pids.is_none() || usage.read.is_none()
        });
        if let Some(init) = container.state.init().filter(|_| lacks && container.is_running()) {
            places.push(place);
            subjects.push(Subject { init, own_user_namespace: !container.config.userns_host });
        }
    }
    for (place, sums) in places.into_iter().zip(observed::sums(store, &subjects)?) {
        let known = usages[place].unwrap_or_default();
        usages[place] = Some(Usage {
            cpu: known.cpu.or(Some(sums.cpu)),
            cpu_system: known.cpu_system.or(Some(sums.cpu_system)),
            memory: known.memory.or(Some(sums.memory)),
            pids: known.pids.or(Some(sums.threads)),
            read: known.read.or(Some(sums.read)),
            written: known.written.or(Some(sums.written)),
            ..known
        });
    }
    Ok(())
}
