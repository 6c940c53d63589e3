//! RUN: a command in a container, and the layer of what it changed.

use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use super::files::known_report;
use super::layer::{self, Taking};
use super::mounts::{self, MountKey, RunMount};
use super::worker::{Failure, Layer, Report, Teller, die_with};
use super::{Below, Process, Ran, Runner};
use crate::build::cache::{Key, Known, Records};
use crate::sandbox::userns;
use crate::spec::create::CreateRequest;
use crate::spec::dockerfile::ast::RunNetwork;
use crate::spec::platform::Platform;
use crate::store::Store;
use crate::store::fs;
use crate::store::gc::Lease;
use crate::store::staging::Cleanup;

/// A RUN, evaluated.
#[derive(Clone, Debug)]
pub struct RunJob {
    pub below: Below,
    pub argv: Vec<String>,
    pub env: Vec<String>,
    /// Variables that do not count for the result.
    pub uncounted_env: Vec<String>,
    pub working_dir: String,
    pub user: String,
    pub mounts: Vec<RunMount>,
    pub network: RunNetwork,
    pub privileged: bool,
    pub platform: Platform,
    pub template: CreateRequest,
    pub youngest: Option<i64>,
    /// As the display shows it.
    pub description: String,
    pub known: Known,
}

#[derive(Serialize)]
struct RunKey<'a> {
    argv: &'a [String],
    env: &'a [String],
    working_dir: &'a str,
    user: &'a str,
    mounts: Vec<MountKey<'a>>,
    network: &'a str,
    privileged: bool,
}

impl RunJob {
    /// The step's key, once the digests of what it mounts are known.
    pub fn key(&self) -> Result<Key> {
        let step = RunKey {
            argv: &self.argv,
            env: &self.env,
            working_dir: &self.working_dir,
            user: &self.user,
            mounts: self.mounts.iter().map(RunMount::key).collect(),
            network: match self.network {
                RunNetwork::Default => "default",
                RunNetwork::None => "none",
                RunNetwork::Host => "host",
            },
            privileged: self.privileged,
        };
        Key::of("run", self.below.top(), &self.platform.to_string(), self.youngest, &step)
    }

    /// Whether the key can be made without reading files.
    pub fn is_known(&self) -> bool {
        !self.mounts.iter().any(|mount| matches!(mount, RunMount::Directory { digest: None, .. }))
    }

    /// Does it, unless somebody did meanwhile. Runs in a worker.
    pub fn perform(
        &self,
        store: &Store,
        lease: &Lease,
        runner: &mut dyn Runner,
        teller: &mut Teller,
    ) -> Result<Report, Failure> {
        let key = self.key()?;
        let records = Records::of(store);
        let _lock = records.lock(key)?;
        if let Some(report) = known_report(store, lease, key, &self.known, &self.below)? {
            return Ok(report);
        }
        let ran = self.execute(store, runner, teller)?;
        let layer = self.finish(store, lease, ran)?;
        let record = Records::new_record(key, "run", &self.description, self.below.top(), layer);
        records.write(&record)?;
        Ok(record.report(false))
    }

    fn execute(&self, store: &Store, runner: &mut dyn Runner, teller: &mut Teller) -> Result<Ran, Failure> {
        let prepared = mounts::prepare(store, &self.mounts)?;
        let process = Process {
            template: self.template.clone(),
            layers: self.below.chains.clone(),
            argv: self.argv.clone(),
            env: self.env.iter().chain(&self.uncounted_env).chain(&prepared.env).cloned().collect(),
            working_dir: self.working_dir.clone(),
            user: self.user.clone(),
            // Those of the step itself lie above what is given to all.
            mounts: [&self.template.mounts[..], &prepared.mounts].concat(),
            secrets: prepared.secrets,
            platform: self.platform.clone(),
            network: self.network,
            privileged: self.privileged,
        };
        Ok(runner.run(process, &mut |stream, bytes| teller.output(stream, bytes))?)
    }

    /// Makes the layer, if it went well, and clears the container away.
    fn finish(&self, store: &Store, lease: &Lease, ran: Ran) -> Result<Option<Layer>, Failure> {
        let taken = match ran.code {
            0 => self.take(store, lease, &ran),
            code => Err(Failure { message: self.failure(code, ran.out_of_memory), exit_code: Some(code) }),
        };
        let id = ran.container.id().clone();
        // Files of mapped ids are left to a sweep.
        let discarded = ran.owner.discard(store, &id);
        let layer = taken?;
        let (Cleanup::Complete | Cleanup::NeedsUserNamespace) = discarded?;
        Ok(layer)
    }

    fn failure(&self, code: i32, out_of_memory: bool) -> String {
        let command = self.argv.join(" ");
        let why = if out_of_memory { ": it ran out of memory" } else { "" };
        format!("process \"{command}\" did not complete successfully: exit code: {code}{why}")
    }

    fn take(&self, store: &Store, lease: &Lease, ran: &Ran) -> Result<Option<Layer>, Failure> {
        let upper = ran.container.path("upper");
        if !fs::exists(&upper) {
            return Ok(None);
        }
        let lowers = self.below.paths(store);
        let given = self.template.mounts.iter().map(|mount| mount.target.as_str());
        let points: Vec<String> =
            self.mounts.iter().filter_map(RunMount::target).chain(given).map(str::to_owned).collect();
        let taking = Taking {
            upper: &upper,
            lowers: &lowers,
            below: &self.below.diff_ids,
            mount_points: &points,
            was_root: true,
            form: layer::form_of(ran.container.directory()),
            youngest: self.youngest,
        };
        Ok(take_inside(store, lease, &taking, ran.container.directory())?)
    }
}

/// Makes the layer in the user namespace, and takes away there what is left of the step.
fn take_inside(store: &Store, lease: &Lease, taking: &Taking<'_>, directory: &Path) -> Result<Option<Layer>> {
    let parent = rustix::process::getpid();
    let answer = userns::answer_from_inside(store, |mut answer| {
        die_with(parent).context("watch the parent")?;
        let layer = layer::take(store, lease, taking)?;
        // What is of mapped ids can only be removed here.
        for name in ["upper", "work"] {
            crate::store::remove::remove_tree(&directory.join(name))?;
        }
        Ok(serde_json::to_writer(&mut answer, &layer)?)
    })?;
    serde_json::from_reader(answer).context("hear of a layer")
}
