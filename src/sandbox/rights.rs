//! Whose rights a process in U has on files: its own, or only those of the caller who started it, who
//! is the same user outside.

use anyhow::{Context, Result};
use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

use crate::sys::process;

/// Two sets of effective capabilities to change between.
#[derive(Debug)]
pub struct Rights(Option<Sets>);

#[derive(Debug)]
struct Sets {
    callers: CapabilitySets,
    all: CapabilitySets,
}

impl Rights {
    /// Of this process. A caller who was root before it was made has all anyhow. With `give_away` the
    /// caller's rights include to give files to other users of U, which the caller could do in U.
    pub fn new(caller_is_root: bool, give_away: bool) -> Result<Self> {
        if caller_is_root {
            return Ok(Self(None));
        }
        let all = capabilities(None).context("read the capabilities")?;
        let given = CapabilitySet::CHOWN | CapabilitySet::FOWNER | CapabilitySet::FSETID;
        let effective = if give_away { all.permitted & given } else { CapabilitySet::empty() };
        let full = CapabilitySets { effective: all.permitted, ..all };
        Ok(Self(Some(Sets { callers: CapabilitySets { effective, ..all }, all: full })))
    }

    /// Takes on the caller's rights, or all. A process that could not must not go on.
    pub fn take(&self, callers: bool) {
        let Some(sets) = &self.0 else { return };
        if set_capabilities(None, if callers { sets.callers } else { sets.all }).is_err() {
            process::exit_now(125);
        }
    }
}
