//! `exec`: a further process in a running container. The invocation forks a small supervisor of its
//! own for it; the container's supervisor is not involved. Health checks go in the same way, but are
//! children of the container's supervisor.

mod enter;
mod plan;

use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::Context;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, WaitOptions};

pub use self::enter::enter;
use self::enter::enter_from_outside;
pub use self::plan::{ExecPlan, ExecRequest};
use super::channel::{Channel, Received};
use super::client::Client;
use super::inherited::Inherited;
use super::launch;
use super::message::Kind;
use super::session::{self, Session, StopRule, Streams};
use super::setup::{Doing, Report, SetupError};
use super::supervisor;
use crate::spec::event::Happening;
use crate::store::Store;
use crate::sys::process::{self, Fork};

/// Where it is recorded what becomes of the process.
#[derive(Debug)]
pub struct Journal {
    pub store: Store,
    /// The container's, with `execID`.
    pub what: Happening,
    /// The process's arguments, as one text.
    pub command: String,
}

impl Journal {
    fn write(&self, action: String, attributes: &[(&str, String)]) {
        let mut what = Happening { action, ..self.what.clone() };
        // It may have been renamed.
        if let Some(now) = what.id.parse().ok().and_then(|id| self.store.containers().get(&id).ok()) {
            what = what.with("name", now.config.name);
        }
        self.store.happened(attributes.iter().fold(what, |what, (key, value)| what.with(key, value)));
    }
}

/// Starts the process; the client hears first whether that succeeded.
pub fn exec(plan: ExecPlan, journal: &Journal) -> anyhow::Result<Client> {
    let (ours, theirs) = launch::connection().context("make a socket")?;
    match process::fork().context("fork")? {
        Fork::Parent(_) => Ok(Client::new(ours)),
        Fork::Child => {
            drop(ours);
            supervise(plan, journal, theirs);
            process::exit_now(0)
        }
    }
}

fn supervise(mut plan: ExecPlan, journal: &Journal, socket: OwnedFd) {
    // Our arguments may hold secrets, and everybody could read them for as long as the process runs.
    let _ = process::set_title("rbox exec supervisor");
    journal.write(format!("exec_create: {}", journal.command), &[]);
    match start(&plan) {
        Ok((mut session, pid)) => {
            // The process has its own.
            plan.inherited = Inherited::default();
            journal.write(format!("exec_start: {}", journal.command), &[]);
            let attached = session.attach(socket, !plan.detached);
            session.tell(Kind::Started, &pid.to_le_bytes());
            if attached.is_err() || plan.detached {
                session.drop_clients();
            }
            let code = session.run().unwrap_or(255);
            journal.write("exec_die".to_owned(), &[("exitCode", code.to_string())]);
            session.finish(code);
        }
        Err(error) => {
            // What failed is our child: left alone it would stay a zombie of the container's init.
            while rustix::process::wait(WaitOptions::empty()).is_ok_and(|child| child.is_some()) {}
            supervisor::tell_failure(&socket, &error);
        }
    }
}

fn start(plan: &ExecPlan) -> Result<(Session, i32), SetupError> {
    let signals = session::block_signals().doing("block signals")?;
    supervisor::leave_the_invocation().doing("leave the invocation's session")?;
    let terminal = plan.process.terminal().unwrap_or(false);
    let (mut streams, inside) = make_streams(plan, terminal)?;

    let (ours, theirs) = Channel::pair().doing("make a channel")?;
    // Nothing is copied for the process that goes in first.
    let entered = process::with_shared_child(|| enter_from_outside(plan, &theirs, inside)).doing("fork")?;
    // We share its memory, which it has hidden from the container; we are not inside.
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable).doing("find our children")?;
    let pidfd = entered?;
    drop(theirs);
    while let Some(Received { message, descriptors }) = ours.receive::<Report>().doing("hear from the process")? {
        let mut descriptors = descriptors.into_iter();
        match message {
            Report::Console => {
                streams.terminal = descriptors.next();
                streams.terminal_user = descriptors.next();
                streams.resize(plan.size);
            }
            Report::Init | Report::User(_) => {}
            Report::Failed(error) => return Err(error),
        }
    }
    let pid = session::host_pid(&pidfd).map_or(0, |pid| pid.as_raw_nonzero().get());
    let rule = StopRule { signal: Signal::TERM, timeout: Some(Duration::from_secs(10)), on_owner_lost: true };
    let session = Session::new(pidfd, streams, None, signals, rule).doing("watch the process")?;
    Ok((session, pid))
}

fn make_streams(plan: &ExecPlan, terminal: bool) -> Result<(Streams, [Option<OwnedFd>; 3]), SetupError> {
    let mut streams = Streams::default();
    let mut inside = [None, None, None];
    if terminal || plan.detached {
        return Ok((streams, inside));
    }
    let pipe = || pipe_with(PipeFlags::CLOEXEC).doing("make a pipe");
    if plan.open_stdin {
        let (read, write) = pipe()?;
        (inside[0], streams.stdin) = (Some(read), Some(write));
    }
    let (read, write) = pipe()?;
    (streams.stdout, inside[1]) = (Some(read), Some(write));
    let (read, write) = pipe()?;
    (streams.stderr, inside[2]) = (Some(read), Some(write));
    Ok((streams, inside))
}
