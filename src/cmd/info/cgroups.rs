//! By which cgroups limits can be enforced.

use crate::sandbox::cgroup;

/// docker's words for what is missing, by controller.
const MISSING: [(&str, &str); 5] = [
    ("memory", "WARNING: No memory limit support"),
    ("cpu", "WARNING: No cpu cfs quota support"),
    ("cpuset", "WARNING: No cpuset support"),
    ("pids", "WARNING: No pids limit support"),
    ("io", "WARNING: No io.max support"),
];

/// What there is.
pub struct Cgroups {
    /// docker's word: cgroupfs, systemd, none.
    pub driver: &'static str,
    controllers: Vec<String>,
}

impl Cgroups {
    /// Looks where a container's cgroup would be made.
    pub fn read() -> Self {
        let (driver, controllers) = cgroup::driver();
        Self { driver, controllers }
    }

    /// Whether limits can be enforced by a controller, by its name in version 2.
    pub fn has(&self, controller: &str) -> bool {
        let is_it = |name: &String| name == controller || controller == "io" && name == "blkio";
        self.controllers.iter().any(is_it)
    }

    /// A line for each that is missing.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        MISSING.iter().filter(|(controller, _)| !self.has(controller)).map(|(_, text)| (*text).to_owned())
    }
}
