//! Scopes: cgroups that the user's systemd makes, with processes given to it, and hands over. Below one lie
//! `container`, with the container's processes, and for a moment `setup` with the builder, as no process may
//! be in a cgroup that hands on controllers.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Pid;
use zbus::Variant;

use super::super::supervisor::host_self;
use super::bus::{Address, Bus, BusError};
use super::hierarchy::Groups;
use super::{Members, at, make_directory, words, write};

/// The cgroup of the container's processes.
pub const CONTAINER: &str = "container";
/// That of the process that makes them.
const SETUP: &str = "setup";
/// How long systemd may take.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(1);
const DESTINATION: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";

/// A scope that can be made.
#[derive(Clone, Debug)]
pub struct Scope {
    pub address: Address,
    /// `rbox-ID.scope`
    pub unit: String,
    pub slice: Option<String>,
    pub description: String,
}

type Property<'a> = (&'a str, Variant<'a>);
type Auxiliary<'a> = (&'a str, Vec<Property<'a>>);

impl Scope {
    /// Has it made, around this process or those that run already. Its directory.
    pub fn start(&self, members: Members<'_>) -> io::Result<PathBuf> {
        let pids: Vec<Pid> = match members {
            Members::Child => vec![host_self()?],
            Members::Running(pids) => pids.to_vec(),
        };
        let first = *pids.first().ok_or_else(|| io::Error::other("the container has no processes"))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.ask(&pids) {
                // The one before of this name has ended and systemd has yet to notice.
                Err(BusError::Answer { name, .. })
                    if name == "org.freedesktop.systemd1.UnitExists" && Instant::now() < deadline =>
                {
                    std::thread::sleep(10 * PAUSE);
                }
                asked => break asked.map_err(|error| io::Error::other(format!("systemd makes no scope: {error}")))?,
            }
        }
        loop {
            if let Some(place) = Groups::of(Some(first))?.unified
                && let Some(directory) = place.own.ancestors().find(|above| above.ends_with(&self.unit))
            {
                return Ok(directory.to_owned());
            }
            if Instant::now() > deadline {
                return Err(io::Error::new(io::ErrorKind::TimedOut, format!("systemd did not start {}", self.unit)));
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn ask(&self, pids: &[Pid]) -> Result<(), BusError> {
        let pids: Vec<u32> = pids.iter().map(|pid| pid.as_raw_nonzero().get().unsigned_abs()).collect();
        let mut properties: Vec<Property<'_>> = vec![
            ("Description", Variant::from(self.description.as_str())),
            ("PIDs", Variant::from(pids)),
            ("Delegate", Variant::from(true)),
            ("CollectMode", Variant::from("inactive-or-failed")),
        ];
        if let Some(slice) = &self.slice {
            properties.push(("Slice", Variant::from(slice.as_str())));
        }
        let none: Vec<Auxiliary<'_>> = Vec::new();
        let body = (self.unit.as_str(), "fail", properties, none);
        Bus::connect(&self.address)?.call(DESTINATION, PATH, MANAGER, "StartTransientUnit", &body)
    }
}

/// Moves this process from a new scope to where it hinders nothing.
pub fn vacate(base: &Path, members: Members<'_>) -> io::Result<()> {
    if let Members::Child = members {
        make_directory(&base.join(SETUP))?;
        write(&base.join(SETUP).join("cgroup.procs"), "0")?;
    }
    Ok(())
}

/// Waits until systemd has handed the controllers on.
pub fn await_controllers(base: &Path, needed: &[String]) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE / 5;
    loop {
        let there = words(&base.join("cgroup.controllers"))?;
        let missing: Vec<&str> = needed.iter().filter(|name| !there.contains(name)).map(String::as_str).collect();
        if missing.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            let text = format!("systemd did not hand on {} to {}", missing.join(", "), base.display());
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
        std::thread::sleep(PAUSE);
    }
}

/// The scope of ours that a container's directory lies in.
pub fn of(directory: &Path) -> Option<&Path> {
    let scope = directory.parent().filter(|_| directory.file_name().is_some_and(|name| name == CONTAINER))?;
    let name = scope.file_name()?.to_str()?;
    (name.starts_with("rbox-") && name.ends_with(".scope")).then_some(scope)
}

/// Removes what we made in a scope.
pub fn clean(scope: &Path) -> io::Result<()> {
    match std::fs::remove_dir(scope.join(SETUP)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(scope, "clean", error)),
        _ => Ok(()),
    }
}

/// Has systemd move processes to a container's directory in its scope: only it can from elsewhere.
pub fn attach(directory: &Path, pids: &[Pid]) -> io::Result<()> {
    let unit = of(directory).and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or_default();
    let pids: Vec<u32> = pids.iter().map(|pid| pid.as_raw_nonzero().get().unsigned_abs()).collect();
    let body = (unit, format!("/{CONTAINER}"), pids);
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in Address::candidates() {
        let asked = Bus::connect(&address)
            .and_then(|mut bus| bus.call(DESTINATION, PATH, MANAGER, "AttachProcessesToUnit", &body));
        match asked {
            Ok(()) => return Ok(()),
            Err(error) => last = io::Error::other(error),
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_of_ours_are_known_by_their_names() {
        let directory = Path::new("/c/user.slice/rbox-0123.scope/container");
        assert_eq!(of(directory), directory.parent());
        assert_eq!(of(Path::new("/c/run-1.scope/container")), None);
        assert_eq!(of(Path::new("/c/rbox-0123.scope/setup")), None);
        assert_eq!(of(Path::new("/c/own/rbox-0123")), None);
    }
}
