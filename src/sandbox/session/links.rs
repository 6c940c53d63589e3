//! The networks of a container that is watched.

use super::{Session, host_pid};
use crate::sandbox::message::Kind;
use crate::sandbox::network::{Change, Finished, Links};

impl Session {
    /// Looks after the container's networks.
    pub fn tend(&mut self, links: Links) {
        self.links = Some(links);
    }

    /// Lets go of the container's networks.
    pub fn take_links(&mut self) -> Option<Links> {
        self.links.take()
    }

    /// Looks after the networks, and tells those who asked for changes how they went.
    pub(super) fn tend_links(&mut self) {
        let finished = self.links.as_mut().map(Links::tend).unwrap_or_default();
        self.tell_finished(finished);
    }

    pub(super) fn tell_finished(&mut self, finished: Vec<Finished>) {
        for Finished { viewer, result } in finished {
            if let Some(viewer) = self.viewers.iter_mut().find(|one| one.id == viewer) {
                viewer.tell(Kind::Changed, result.err().unwrap_or_default().as_bytes());
            }
        }
    }

    /// Changes the networks as a viewer asks.
    pub(super) fn change_links(&mut self, index: usize, payload: &[u8]) {
        let Some(viewer) = self.viewers.get(index).map(|viewer| viewer.id) else { return };
        let refused = |text| vec![Finished { viewer, result: Err(text) }];
        let finished = match (serde_json::from_slice::<Change>(payload), &mut self.links, host_pid(&self.pidfd)) {
            (Ok(change), Some(links), Ok(init)) => links.change(change, init, viewer),
            (Err(error), ..) => refused(format!("the request is not understood: {error}")),
            _ => refused("the container has no networks of its own".to_owned()),
        };
        self.tell_finished(finished);
    }
}
