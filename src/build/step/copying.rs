//! COPY and ADD in a worker.

use std::os::fd::AsFd;
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, Result, anyhow};
use serde::Serialize;

use super::Below;
use super::files::{LayersRoot, cached_or, in_root, mount_read_only, own_mounts};
use super::remote::{Brought, Found, Remote};
use super::worker::{Failure, Layer, Report, Teller, die_with};
use crate::build::cache::{self, Key, Known, Records, StepRecord};
use crate::build::context::{Ignore, StatCache, Tree};
use crate::build::copy::{self, Chmod, Destination, PlaceOptions, Selected, Selection, chown};
use crate::build::solve::Directory;
use crate::sandbox::userns;
use crate::spec::digest::Digest;
use crate::spec::dockerfile::ignore;
use crate::store::gc::Lease;
use crate::store::staging::Staging;
use crate::store::{Store, fs};

/// COPY or ADD, evaluated.
#[derive(Clone, Debug)]
pub struct CopyJob {
    pub below: Below,
    /// `COPY` or `ADD`.
    pub instruction: &'static str,
    pub source: CopySource,
    pub selection: Selection,
    /// Names and contents of heredocs.
    pub inline: Vec<(String, String)>,
    pub destination: Destination,
    pub chown: Option<String>,
    pub chmod: Option<String>,
    pub link: bool,
    /// Archives are extracted.
    pub unpack: bool,
    /// Sources that come from elsewhere, after the others.
    pub remotes: Vec<Remote>,
    /// What comes from elsewhere is extracted, too.
    pub unpack_remotes: bool,
    pub platform: String,
    pub youngest: Option<i64>,
    pub description: String,
    pub known: Known,
}

/// Where files come from.
#[derive(Clone, Debug)]
pub enum CopySource {
    /// Heredocs only.
    Nothing,
    Directory(Directory),
    /// A stage or an image.
    Layers(Below),
}

/// What counts for the result besides the files.
#[derive(Serialize)]
struct CopyKey<'a> {
    files: Option<Digest>,
    sources: usize,
    inline: &'a [(String, String)],
    destination: &'a [u8],
    is_directory: bool,
    chown: Option<&'a str>,
    chmod: Option<&'a str>,
    link: bool,
    unpack: bool,
    remotes: &'a [Digest],
    unpack_remotes: bool,
}

/// What names files of layers, without looking at them.
#[derive(Serialize)]
struct Shortcut<'a> {
    top: Option<Digest>,
    sources: &'a [String],
    parents: bool,
    exclude: &'a [String],
    rest: CopyKey<'a>,
}

impl CopyJob {
    fn kind(&self) -> &'static str {
        if self.instruction == "ADD" { "add" } else { "copy" }
    }

    fn step<'a>(&'a self, files: Option<Digest>, sources: usize, remotes: &'a [Digest]) -> CopyKey<'a> {
        CopyKey {
            files,
            sources,
            inline: &self.inline,
            destination: &self.destination.path,
            is_directory: self.destination.directory,
            chown: self.chown.as_deref(),
            chmod: self.chmod.as_deref(),
            link: self.link,
            unpack: self.unpack,
            remotes,
            unpack_remotes: self.unpack_remotes,
        }
    }

    /// What is linked is the same on top of anything.
    fn key_of(&self, step: &impl Serialize) -> Result<Key> {
        let parent = self.below.top().filter(|_| !self.link);
        Key::of(self.kind(), parent, &self.platform, self.youngest, step)
    }

    /// A key that can be made without looking at files: those of layers never change.
    pub fn quick_key(&self) -> Result<Option<Key>> {
        let top = match &self.source {
            _ if !self.remotes.is_empty() => return Ok(None),
            CopySource::Directory(_) => return Ok(None),
            CopySource::Nothing => None,
            CopySource::Layers(below) => below.top(),
        };
        let Selection { sources, parents, exclude } = &self.selection;
        let shortcut = Shortcut { top, sources, parents: *parents, exclude, rest: self.step(None, 0, &[]) };
        self.key_of(&shortcut).map(Some)
    }

    /// Does it. Runs in a worker, which goes into the user namespace only if it has to.
    pub fn perform(&self, store: &Store, lease: &Lease, teller: &mut Teller) -> Result<Report, Failure> {
        let mut inside = Inside { store, entered: false, copied: None };
        let mut selected = self.select(store, &mut inside)?;
        let files = match &mut selected {
            Some(selected) => Some(self.digest(store, selected)?),
            None => None,
        };
        let found = self.remotes.iter().map(|remote| remote.find(store)).collect::<Result<Vec<Found>>>()?;
        let remotes: Vec<Digest> = found.iter().map(Found::digest).collect();
        let key = self.key_of(&self.step(files, selected.as_ref().map_or(0, Selected::sources), &remotes))?;
        let mut changed = false;
        let what = (self.kind(), self.description.as_str());
        let report = cached_or(store, lease, key, &self.known, what, &self.below, || {
            let brought = found.iter().map(|found| found.bring(store)).collect::<Result<Vec<Brought>>>()?;
            inside.enter()?;
            let layer = self.place(store, lease, (selected.as_ref(), &brought), &mut changed, teller);
            Ok(layer?)
        })?;
        if changed {
            // It is not what its key says.
            Records::of(store).remove(key)?;
        } else if let Some(quick) = self.quick_key()?.filter(|quick| *quick != key && report.away.is_none()) {
            let records = Records::of(store);
            let record = Records::new_record(quick, self.kind(), &self.description, self.below.top(), report.layer);
            // The same result, so the same time.
            let created = report.created.clone().unwrap_or(record.created);
            records.write(&StepRecord { created, ..record })?;
        }
        Ok(report)
    }

    fn select(&self, store: &Store, inside: &mut Inside<'_>) -> Result<Option<Selected>, Failure> {
        let tree = match &self.source {
            CopySource::Nothing => return Ok(None),
            CopySource::Directory(directory) => open(directory)?,
            CopySource::Layers(below) => {
                inside.enter()?;
                own_mounts()?;
                let LayersRoot { root, copied } = mount_read_only(store, &below.chains)?;
                inside.copied = copied;
                Tree::of_root(root)
            }
        };
        let selected = tree.select(&self.selection);
        let selected = selected.map_err(|error| failed(anyhow!("failed to compute cache key: {error}")))?;
        Ok(Some(selected))
    }

    fn digest(&self, store: &Store, selected: &mut Selected) -> Result<Digest, Failure> {
        let cache = match &self.source {
            CopySource::Directory(directory) if directory.lasting => stat_cache(store, directory)?,
            _ => StatCache::none(),
        };
        selected
            .digest(&cache, self.chown.is_some())
            .map_err(|error| failed(anyhow!("failed to compute cache key: {error}")))
    }

    fn place(
        &self,
        store: &Store,
        lease: &Lease,
        (selected, brought): (Option<&Selected>, &[Brought]),
        changed: &mut bool,
        teller: &mut Teller,
    ) -> Result<Option<Layer>> {
        let single_id = userns::is_single(store)?;
        let chmod = self.chmod.as_deref().map(|text| Chmod::parse(text).map_err(|error| anyhow!(error))).transpose()?;
        let below = &self.below;
        in_root(store, lease, below, self.link, self.youngest, |root| {
            let chown = self.chown.as_deref().map(|text| chown::resolve(root.as_fd(), text)).transpose()?;
            let options = PlaceOptions {
                instruction: self.instruction,
                chown,
                chmod,
                unpack: self.unpack,
                single_id,
                stop: None,
            };
            let several = self.inline.len() + brought.len() + selected.map_or(0, Selected::sources) > 1;
            if let Some(selected) = selected {
                let placed = copy::place(selected, root.as_fd(), &self.destination, &options, &mut |_| ())?;
                *changed = !placed.changed.is_empty();
                if placed.skipped_devices > 0 {
                    let count = placed.skipped_devices;
                    teller.warn(&format!("skipped {count} device nodes: containers have their own /dev"));
                }
            }
            let options = PlaceOptions { unpack: self.unpack_remotes, ..options };
            for brought in brought {
                // It is in a place of ours, where nothing changes.
                copy::place(&brought.selected, root.as_fd(), &self.destination, &options, &mut |_| ())?;
            }
            for (name, content) in &self.inline {
                copy::place_inline(name, content.as_bytes(), several, root.as_fd(), &self.destination, &options)?;
            }
            Ok(())
        })
    }
}

/// The digest of what lies at a path of a context, and whether something of that is hidden.
pub fn look(store: &Store, directory: &Directory, source: &str) -> Result<(Digest, bool), Failure> {
    let error = |error| failed(anyhow!("failed to compute cache key: {error}"));
    let mut selected = visible(directory, source)?;
    let cache = if directory.lasting { stat_cache(store, directory)? } else { StatCache::none() };
    Ok((selected.digest(&cache, false).map_err(error)?, selected.left_out.hidden > 0))
}

/// Copies what is visible of a directory of a context into the empty directory `to`.
pub fn copy_visible(store: &Store, directory: &Directory, source: &str, to: &Path) -> Result<()> {
    let single_id = userns::is_single(store)?;
    userns::run_inside(store, || {
        let options =
            PlaceOptions { instruction: "RUN", chown: None, chmod: None, unpack: false, single_id, stop: None };
        let selected = visible(directory, source).map_err(|failure| anyhow!(failure.message))?;
        let to = std::fs::File::open(to)?;
        copy::place(&selected, to.as_fd(), &Destination::new("/", "/"), &options, &mut |_| ())?;
        Ok(())
    })
}

fn visible(directory: &Directory, source: &str) -> Result<Selected, Failure> {
    let source = if source.is_empty() { "." } else { source };
    let selection = Selection { sources: vec![source.to_owned()], ..Selection::default() };
    let selected = open(directory)?.select(&selection);
    selected.map_err(|error| failed(anyhow!("failed to compute cache key: {error}")))
}

/// Opens a context with what is hidden of it.
pub fn open(directory: &Directory) -> Result<Tree> {
    let patterns = directory.ignore.as_deref().map(ignore::Ignore::parse).transpose();
    let ignore = patterns.map_err(|error| anyhow!("failed to parse ignore patterns: {error}"))?;
    let ignore = ignore.filter(|ignore| !ignore.is_empty()).map(|ignore| Rc::new(ignore) as Rc<dyn Ignore>);
    let tree = Tree::open(&directory.path, ignore);
    tree.with_context(|| format!("open the build context {}", directory.path.display()))
}

fn stat_cache(store: &Store, directory: &Directory) -> Result<StatCache> {
    let place = store.path(cache::DIRECTORY).join("context");
    fs::create_private_dir(&place).context("make the place of the stat cache")?;
    let identity = open(directory)?.identity().context("look at the build context")?;
    Ok(StatCache::load(&place.join(identity.hex())))
}

fn failed(error: anyhow::Error) -> Failure {
    Failure::from(error)
}

/// The way into the user namespace, gone once.
struct Inside<'a> {
    store: &'a Store,
    entered: bool,
    /// Files of layers that could not be mounted.
    copied: Option<Staging>,
}

impl Inside<'_> {
    fn enter(&mut self) -> Result<()> {
        if !std::mem::replace(&mut self.entered, true) {
            let parent = rustix::process::getppid();
            if !rustix::process::geteuid().is_root() {
                userns::enter_for_good(self.store)?;
            }
            // The kernel forgets it when the identity changes.
            if let Some(parent) = parent {
                die_with(parent).context("watch the invocation")?;
            }
        }
        Ok(())
    }
}
