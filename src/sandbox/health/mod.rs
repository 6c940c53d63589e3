//! A container's health checks, run by its supervisor: a timer and a fork, nothing that lives between
//! checks. A check goes in as `exec` does.

mod attempt;
mod tree;

use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use self::attempt::Attempt;
use super::exec::{ExecPlan, ExecRequest};
use super::recorder::Recorder;
use crate::spec::health::{CheckResult, Destination, Health, HealthCheck, OnFailure, Status, Verdict};
use crate::store::Store;
use crate::store::containers::Container;

/// How long a check that was due while the container was paused waits for the next look.
const PAUSED: Duration = Duration::from_secs(1);

/// The checks of one life of a container.
#[derive(Debug)]
pub struct Checks {
    store: Store,
    container: Container,
    check: HealthCheck,
    health: Health,
    started: Instant,
    /// When the next one is due.
    next: Option<Instant>,
    attempt: Option<Attempt>,
    /// How a check goes in, from the first one on.
    plan: Option<ExecPlan>,
    /// How long the container had run when the attempt began.
    age: Duration,
    /// Clients that wait for a result.
    asking: Vec<u64>,
}

/// A result, and what follows from it.
#[derive(Debug)]
pub struct Finished {
    pub report: CheckReport,
    pub verdict: Verdict,
    /// Clients that asked for it.
    pub viewers: Vec<u64>,
}

/// What `healthcheck run` is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CheckReport {
    pub result: CheckResult,
    pub status: Status,
}

impl Checks {
    /// The checks of a container that was just started, if there are any.
    pub fn begin(store: &Store, container: &Container) -> Self {
        let mut checks = Self {
            store: store.clone(),
            container: container.clone(),
            check: container.config.health.clone().unwrap_or_default(),
            health: Health::at_start(container.last_health()),
            started: Instant::now(),
            next: None,
            attempt: None,
            plan: None,
            age: Duration::ZERO,
            asking: Vec::new(),
        };
        checks.schedule();
        checks
    }

    /// Goes by what the container's record says now. A check that runs comes to its end.
    pub fn renew(&mut self) -> anyhow::Result<()> {
        self.container = self.store.containers().get(self.container.id())?;
        let check = self.container.config.health.clone().unwrap_or_default();
        if check.startup != self.check.startup || !self.is_any() {
            // What starts is not known to be healthy.
            self.health = Health::at_start(Some(std::mem::take(&mut self.health)));
        }
        self.check = check;
        self.plan = None;
        self.schedule();
        Ok(())
    }

    /// Writes how things stand, and sets the time of the next check.
    fn schedule(&mut self) {
        if !self.is_any() {
            self.next = None;
            return;
        }
        // Where that fails nobody sees results; the container is no worse for it.
        let _ = self.container.write_health(&self.health);
        if self.attempt.is_none() {
            self.next = self.following();
        }
    }

    fn following(&self) -> Option<Instant> {
        let now = Instant::now();
        let pause = || self.health.pause(&self.check, now.duration_since(self.started));
        (self.is_any() && !self.check.manual).then(|| now + pause())
    }

    /// Whether there is a check at all.
    pub fn is_any(&self) -> bool {
        self.check.is_set()
    }

    /// When something is to be done, unless something happens before.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.attempt {
            Some(attempt) => attempt.deadline(),
            None => self.next,
        }
    }

    /// Where something may happen.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.attempt.iter().flat_map(Attempt::descriptors)
    }

    /// Asks for the result of the check under way, or of one that begins as soon as nothing is left of the
    /// last. The viewer hears of it as of [`Finished`].
    pub fn ask(&mut self, viewer: u64) {
        self.asking.push(viewer);
        if self.attempt.as_ref().is_none_or(Attempt::is_told) {
            self.next = Some(Instant::now());
        }
    }

    /// Takes the ends of children.
    pub fn reap(&mut self) {
        if let Some(attempt) = &mut self.attempt {
            attempt.reap();
        }
    }

    /// Does what is due and takes what came. `init` is the container's.
    pub fn tend(&mut self, init: &OwnedFd) -> Option<Finished> {
        let Some(attempt) = &mut self.attempt else {
            if self.next.is_some_and(|at| at <= Instant::now()) {
                self.start(init);
            }
            return None;
        };
        let result = attempt.tend();
        if attempt.is_over() {
            self.attempt = None;
        }
        result.map(|result| self.record(result))
    }

    fn start(&mut self, init: &OwnedFd) {
        if self.asking.is_empty() && self.container.is_paused_now() {
            self.next = Some(Instant::now() + PAUSED);
            return;
        }
        let probe = self.health.probe(&self.check);
        let (timeout, command) = (probe.timeout(), self.check.command(probe));
        self.age = self.started.elapsed();
        self.next = None;
        let limit = self.check.results.size;
        self.attempt = Some(Attempt::begin(self.plan(command), init, timeout, limit));
    }

    /// How this command goes in. The container's records are read once: each fork would read them again.
    fn plan(&mut self, command: Vec<String>) -> anyhow::Result<&ExecPlan> {
        let plan = match self.plan.take() {
            Some(mut plan) => {
                plan.process.set_args(Some(command));
                plan
            }
            None => {
                let container = self.store.containers().get(self.container.id())?;
                let request = ExecRequest { command, gathers: true, ..ExecRequest::default() };
                ExecPlan::new(&self.store, &container, request)?
            }
        };
        Ok(self.plan.insert(plan))
    }

    fn record(&mut self, result: CheckResult) -> Finished {
        let verdict = self.health.record(&self.check, result.clone(), self.age);
        let _ = self.container.write_health(&self.health);
        let status = self.health.status;
        let told = self.check.results.destination == Destination::Events;
        if verdict.changed || told {
            let output = told.then(|| ("health_log", result.output.clone()));
            let recorder = Recorder::new(&self.store, &self.container.config);
            recorder.record(&format!("health_status: {status}"), output.as_slice());
        }
        self.next = self.following();
        Finished { report: CheckReport { result, status }, verdict, viewers: std::mem::take(&mut self.asking) }
    }

    /// Whether the container has become what `--sdnotify=healthy` waits for.
    pub fn is_healthy(&self) -> bool {
        self.health.status == Status::Healthy
    }
}

impl Finished {
    /// What is to be done to the container.
    pub fn action(&self) -> OnFailure {
        self.verdict.action
    }
}
