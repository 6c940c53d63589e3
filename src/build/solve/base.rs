//! The images that stages come from, or that files are copied from.

use anyhow::anyhow;

use super::BuildError;
use super::engine::Engine;
use super::tasks::{Purpose, Task};
use crate::build::event::{Ended, VertexId};
use crate::build::step::Below;
use crate::build::step::worker::{Place, Report, Worker};
use crate::spec::digest::Digest;
use crate::spec::dockerfile::ast::Lines;
use crate::spec::image::{Descriptor, ImageConfig};
use crate::spec::platform::Platform;
use crate::store::layers::chain_ids;

/// An image of the store.
#[derive(Debug)]
pub(super) struct BaseImage {
    pub vertex: VertexId,
    /// None until it is here.
    pub found: Option<Found>,
    working: bool,
}

/// What is known of an image that is here.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub config: ImageConfig,
    pub below: Below,
    pub layers: Vec<Descriptor>,
}

impl Engine<'_> {
    /// An image, if it is here; else it is on its way, or will be when there is room for that.
    pub fn image(&mut self, name: &str, platform: &Platform, lines: Lines) -> Result<Option<Found>, BuildError> {
        let key = (name.to_owned(), platform.to_string());
        if let Some(image) = self.images.get(&key) {
            if image.found.is_some() || image.working {
                return Ok(image.found.clone());
            }
        } else {
            let shown = name
                .parse()
                .map_or_else(|_| name.to_owned(), |name: crate::spec::reference::ImageRef| name.to_string());
            let vertex = self.declare(format!("[internal] load metadata for {shown}"), Vec::new());
            self.images.insert(key.clone(), BaseImage { vertex, found: None, working: false });
        }
        let vertex = self.images[&key].vertex;
        let policy = self.request.pull;
        let failed = |error: anyhow::Error| BuildError::Step {
            lines,
            name: format!("load metadata for {name}"),
            message: format!("{name}: failed to resolve source metadata for {name}: {error:#}"),
            output: Vec::new(),
            exit_code: None,
        };
        if let Some(id) = self.host.find(name, platform, policy).map_err(failed)? {
            self.start(vertex);
            let found = self.load_image(id).map_err(failed)?;
            self.end(vertex, Ended::Made);
            if let Some(image) = self.images.get_mut(&key) {
                image.found = Some(found.clone());
            }
            return Ok(Some(found));
        }
        if !self.has_room() {
            return Ok(None);
        }
        self.start(vertex);
        let (host, wanted) = (&mut self.host, platform.clone());
        let worker = Worker::start(self.store, Place::Here, |teller| {
            let id = host.fetch(name, &wanted, policy, &mut |name, done, total| teller.progress(name, done, total))?;
            Ok(Report { image: Some(id), ..Report::default() })
        })?;
        if let Some(image) = self.images.get_mut(&key) {
            image.working = true;
        }
        self.tasks.push(Task::new(worker, vertex, lines, Purpose::Image(key)));
        Ok(None)
    }

    /// An image that was fetched.
    pub fn take_image(&mut self, key: &(String, String), id: Option<Digest>) -> Result<(), BuildError> {
        let id = id.ok_or_else(|| anyhow!("the image {} was not fetched", key.0))?;
        let found = self.load_image(id)?;
        if let Some(image) = self.images.get_mut(key) {
            (image.found, image.working) = (Some(found), false);
        }
        Ok(())
    }

    fn load_image(&mut self, id: Digest) -> anyhow::Result<Found> {
        let images = self.store.images();
        let record = images.resolve(&id.to_string())?;
        let config = images.config(record.config)?;
        let manifest = images.manifest(record.manifest)?;
        let diff_ids = config.rootfs.diff_ids.clone();
        let chains = chain_ids(&diff_ids);
        let blobs: Vec<Digest> = manifest.layers.iter().map(|layer| layer.digest).collect();
        self.lease.add(&[&blobs[..], &chains[..], &[record.manifest, record.config]].concat())?;
        for chain in &chains {
            anyhow::ensure!(
                self.store.layers().contains(*chain),
                "layer {chain} is missing: run 'rbox system check --repair'"
            );
        }
        Ok(Found { config, below: Below { chains, diff_ids }, layers: manifest.layers })
    }
}
