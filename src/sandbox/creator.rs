//! Whose the files are that we make for a container: its root's.

use nix::unistd::{Gid, Uid, setfsgid, setfsuid};
use rustix::thread::{CapabilitiesSecureBits, set_capabilities_secure_bits};

use super::idmap::IdMaps;

/// This process makes files as another user, while it keeps its capabilities.
#[derive(Clone, Copy, Debug)]
pub struct Creator {
    uid: u32,
    gid: u32,
}

impl Creator {
    /// Makes files as the container's root from now on.
    pub fn of_container(maps: &IdMaps) -> rustix::io::Result<Self> {
        let (uid, gid) = maps.owner();
        let creator = Self { uid, gid };
        if !creator.is_self() {
            // Else the kernel takes the capabilities over files away with the id.
            set_capabilities_secure_bits(CapabilitiesSecureBits::NO_SETUID_FIXUP)?;
            creator.resume();
        }
        Ok(creator)
    }

    /// Does something as ourselves.
    pub fn as_self<T>(self, work: impl FnOnce() -> T) -> T {
        if self.is_self() {
            return work();
        }
        setfsuid(Uid::from_raw(0));
        setfsgid(Gid::from_raw(0));
        let done = work();
        self.resume();
        done
    }

    fn is_self(self) -> bool {
        (self.uid, self.gid) == (0, 0)
    }

    fn resume(self) {
        setfsgid(Gid::from_raw(self.gid));
        setfsuid(Uid::from_raw(self.uid));
    }
}
