//! Who watches a process: how they come in by the door, what they ask for, and how they leave.

use std::io;
use std::os::fd::OwnedFd;

use rustix::event::PollFlags;
use rustix::io::Errno;

use super::{Session, host_pid};
use crate::sandbox::door::Door;
use crate::sandbox::message::{self, Kind, wish};
use crate::sandbox::viewer::{Role, Viewer};

/// Connections that have not shown the key; beyond, the oldest is closed.
const STRANGERS_MAX: usize = 8;
/// What a client wishes that is attached to the output.
const SHOWN: u8 = wish::STDOUT | wish::STDERR;
/// Clients at the same time.
const VIEWERS_MAX: usize = 64;

impl Session {
    /// Accepts further clients on `listener`. Where they cannot be told from strangers there are none.
    pub fn listen(&mut self, listener: OwnedFd) {
        self.door = Door::new(listener).ok();
    }

    /// Attaches a client; `owner` is the invocation that started the process in the foreground.
    pub fn attach(&mut self, socket: OwnedFd, owner: bool) -> io::Result<()> {
        let mut viewer = Viewer::new(socket, if owner { Role::Owner } else { Role::Onlooker })?;
        if let Some(stdin) = self.streams.stdin.as_ref().filter(|_| owner) {
            viewer.give_stdin(stdin);
        }
        self.viewers.push(viewer);
        Ok(())
    }

    /// Lets every client go: the process is on its own.
    pub fn drop_clients(&mut self) {
        self.viewers.clear();
    }

    /// Says something to every client.
    pub fn tell(&mut self, kind: Kind, payload: &[u8]) {
        for viewer in &mut self.viewers {
            viewer.tell(kind, payload);
        }
    }

    /// Whether somebody waits to start the container again.
    pub fn is_restarted(&self) -> bool {
        self.viewers.iter().any(|viewer| viewer.wishes & wish::RESTART != 0)
    }

    pub(super) fn accept(&mut self) {
        let Some(door) = &self.door else { return };
        let newcomer = match door.accept() {
            Ok(Some(socket)) => Viewer::new(socket, Role::Stranger),
            Ok(None) => return,
            Err(error) => Err(error),
        };
        match newcomer {
            Ok(mut viewer) => {
                self.newcomers += 1;
                viewer.id = self.newcomers;
                self.viewers.push(viewer);
            }
            Err(_) => self.full = true,
        }
        // Whoever waits outside for long is not one of ours.
        if self.viewers.iter().filter(|viewer| viewer.role == Role::Stranger).count() > STRANGERS_MAX
            && let Some(oldest) = self.viewers.iter_mut().find(|viewer| viewer.role == Role::Stranger)
        {
            oldest.gone = true;
        }
    }

    pub(super) fn serve(&mut self, index: usize, events: PollFlags) {
        let Some(viewer) = self.viewers.get_mut(index) else { return };
        if viewer.flush() {
            self.redraw();
        }
        // Room for output alone is no reason to take input while the process has much unread.
        if !events.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            return;
        }
        let Some(viewer) = self.viewers.get_mut(index) else { return };
        match rustix::io::read(&viewer.socket, viewer.decoder.space()) {
            Ok(0) => viewer.gone = true,
            Ok(count) => viewer.decoder.filled(count),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => viewer.gone = true,
        }
        while let Some(viewer) = self.viewers.get_mut(index) {
            match viewer.decoder.peek() {
                Ok(Some((Kind::Stdin, payload))) if viewer.wishes & wish::STDIN != 0 => {
                    self.stdin.extend(payload);
                    viewer.decoder.advance();
                }
                Ok(Some((kind, payload))) => {
                    let payload = payload.to_vec();
                    viewer.decoder.advance();
                    self.handle(index, kind, &payload);
                }
                Ok(None) => break,
                Err(_) => {
                    viewer.gone = true;
                    break;
                }
            }
        }
        if !self.stdin.is_empty() {
            self.write_stdin();
        }
    }

    pub(super) fn handle(&mut self, index: usize, kind: Kind, payload: &[u8]) {
        let Some(viewer) = self.viewers.get_mut(index) else { return };
        if viewer.role == Role::Stranger {
            return self.admit(index, kind, payload);
        }
        match kind {
            Kind::StdinEnd if viewer.wishes & wish::STDIN != 0 => self.end_stdin(),
            Kind::Resize => {
                if let [r0, r1, c0, c1] = *payload {
                    let fresh = std::mem::take(&mut viewer.fresh);
                    self.resize((u16::from_le_bytes([r0, r1]), u16::from_le_bytes([c0, c1])), fresh);
                }
            }
            Kind::Signal => {
                let number = message::number(payload).unwrap_or_default();
                if let Some(signal) = crate::sys::process::signal_from_number(number) {
                    let ends =
                        crate::spec::signal::Signal::from_number(number).is_some_and(|one| one.is_meant_to_end());
                    self.end_wanted |= ends || signal == self.rule.signal;
                    self.send_signal(signal);
                }
            }
            Kind::Change if viewer.wishes & wish::CHANGE != 0 => self.change_links(index, payload),
            Kind::Check if viewer.wishes & wish::CHECK != 0 => self.check_for(index),
            Kind::Update if viewer.wishes & wish::CHECK != 0 => self.renew_check(index),
            Kind::Detach => {
                // An owner that says so leaves the process to itself.
                viewer.role = Role::Onlooker;
                viewer.gone = true;
                if viewer.wishes & SHOWN != 0 {
                    self.record("detach", &[]);
                }
            }
            _ => {}
        }
    }

    /// A stranger shows the key and says what it wants, or has to go.
    pub(super) fn admit(&mut self, index: usize, kind: Kind, payload: &[u8]) {
        let pid = host_pid(&self.pidfd).map_or(0, |pid| pid.as_raw_nonzero().get());
        let room = self.viewers.len() <= VIEWERS_MAX + STRANGERS_MAX;
        let Some(viewer) = self.viewers.get_mut(index) else { return };
        let wishes = self.door.as_ref().filter(|_| kind == Kind::Attach && room).and_then(|door| door.admit(payload));
        let Some(&[wishes]) = wishes else {
            viewer.gone = true;
            return;
        };
        viewer.role = Role::Onlooker;
        viewer.wishes = wishes;
        viewer.fresh = true;
        viewer.tell(Kind::Started, &pid.to_le_bytes());
        if wishes & wish::STDIN != 0 && self.streams.terminal.is_none() && self.streams.stdin.is_none() {
            viewer.tell(Kind::StdinEnd, &[]);
        }
        if wishes & (wish::STDIN | SHOWN) != 0 {
            self.record("attach", &[]);
        }
    }

    pub(super) fn drop_gone_viewers(&mut self) {
        if !self.viewers.iter().any(|viewer| viewer.gone) {
            return;
        }
        let left = |role| self.viewers.iter().any(|viewer| viewer.gone && viewer.role == role);
        let owner_lost = left(Role::Owner);
        let fed = self.viewers.iter().any(|viewer| viewer.gone && viewer.wishes & wish::STDIN != 0);
        self.viewers.retain(|viewer| !viewer.gone);
        self.full = false;
        if fed {
            self.end_stdin();
        }
        if owner_lost && self.rule.on_owner_lost && self.exit.is_none() {
            self.stop();
        }
    }
}
