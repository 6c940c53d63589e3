//! Capability sets of the process that becomes the container's.
//!
//! Order matters: first [`drop_bounding`] (needs CAP_SETPCAP), then the change of user with
//! PR_SET_KEEPCAPS, then [`Sets::apply`]. The capabilities kept are those over the container's own
//! user namespace only.

use std::io;

use caps::Capability;
use oci_spec::runtime::{Capabilities, LinuxCapabilities};
use rustix::io::Errno;
use rustix::thread::{self, CapabilitySet, CapabilitySets};

/// The five sets of capabilities(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sets {
    pub bounding: CapabilitySet,
    pub effective: CapabilitySet,
    pub permitted: CapabilitySet,
    pub inheritable: CapabilitySet,
    pub ambient: CapabilitySet,
}

/// A capability the runtime specification names and this program cannot give.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown capability {0:?}")]
pub struct UnknownCapability(pub String);

impl Sets {
    /// The sets of `process.capabilities` in an OCI runtime Spec; an absent set is empty.
    pub fn from_oci(capabilities: &LinuxCapabilities) -> Result<Self, UnknownCapability> {
        let set = |names: &Option<Capabilities>| names.as_ref().map_or(Ok(CapabilitySet::empty()), set_of);
        Ok(Self {
            bounding: set(capabilities.bounding())?,
            effective: set(capabilities.effective())?,
            permitted: set(capabilities.permitted())?,
            inheritable: set(capabilities.inheritable())?,
            ambient: set(capabilities.ambient())?,
        })
    }

    /// Makes the permitted, effective, inheritable and ambient set of this thread what they should
    /// be; EPERM when it does not hold what it should keep. The bounding set is left alone.
    pub fn apply(&self) -> io::Result<()> {
        thread::clear_ambient_capability_set()?;
        thread::set_capabilities(
            None,
            CapabilitySets { effective: self.effective, permitted: self.permitted, inheritable: self.inheritable },
        )?;
        for capability in self.ambient {
            thread::configure_capability_in_ambient_set(capability, true)?;
        }
        Ok(())
    }
}

fn set_of(names: &Capabilities) -> Result<CapabilitySet, UnknownCapability> {
    let bit = |name: String| match format!("CAP_{name}").parse::<Capability>() {
        Ok(capability) => Ok(CapabilitySet::from_bits_retain(capability.bitmask())),
        Err(_) => Err(UnknownCapability(name)),
    };
    names.iter().map(|name| bit(name.to_string())).collect()
}

/// Removes everything but `keep` from this thread's bounding set, also capabilities younger than
/// this program.
pub fn drop_bounding(keep: CapabilitySet) -> io::Result<()> {
    for number in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        if keep.contains(capability) {
            continue;
        }
        match thread::remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            // Beyond the last one this kernel knows.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::Capability as Name;

    use super::*;

    #[test]
    fn oci_names_become_the_kernels_bits() {
        let named = [Name::Chown, Name::NetBindService, Name::SysAdmin, Name::CheckpointRestore, Name::Mknod];
        let mut oci = LinuxCapabilities::default();
        oci.set_bounding(Some(named.into_iter().collect())).set_ambient(None);
        let sets = Sets::from_oci(&oci).unwrap();
        assert_eq!(sets.bounding.bits(), 1 | 1 << 10 | 1 << 21 | 1 << 40 | 1 << 27);
        assert_eq!(sets.ambient, CapabilitySet::empty());
    }

    #[test]
    fn every_oci_capability_is_known() {
        use std::str::FromStr;
        for capability in caps::all() {
            let name = capability.to_string();
            let oci = Name::from_str(name.trim_start_matches("CAP_")).unwrap();
            assert_eq!(set_of(&[oci].into_iter().collect()).unwrap().bits(), capability.bitmask(), "{name}");
        }
    }
    /// Capabilities belong to a thread, so one can be spent on the test; it takes CAP_SETPCAP.
    #[test]
    fn sets_become_the_threads() {
        let (chown, kill) = (CapabilitySet::CHOWN, CapabilitySet::KILL);
        if !thread::capabilities(None).unwrap().effective.contains(CapabilitySet::SETPCAP) {
            println!("skipped: needs CAP_SETPCAP");
            return;
        }
        let sets = Sets {
            bounding: chown | kill,
            effective: CapabilitySet::empty(),
            permitted: chown,
            inheritable: chown,
            ambient: chown,
        };
        let check = move || {
            drop_bounding(sets.bounding).unwrap();
            sets.apply().unwrap();
            std::fs::read_to_string("/proc/thread-self/status").unwrap()
        };
        let status = std::thread::spawn(check).join().unwrap();
        let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).unwrap();
        assert_eq!(line("CapBnd:"), "0000000000000021");
        assert_eq!(line("CapPrm:"), "0000000000000001");
        assert_eq!(line("CapEff:"), "0000000000000000");
        assert_eq!(line("CapInh:"), "0000000000000001");
        assert_eq!(line("CapAmb:"), "0000000000000001");
    }
}
