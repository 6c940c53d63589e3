//! Caches outside of the store: an image whose configuration has the records of steps in a field of its own, and
//! whose layers are what these steps made. As an image it can be pushed, fetched and lie in an OCI layout; the
//! result of a build can have the field, too (`type=inline`).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::{Key, Records, StepRecord};
use crate::build::step::Below;
use crate::build::step::worker::Layer;
use crate::spec::digest::Digest;
use crate::spec::image::{Defaults, Descriptor, ImageConfig, RootFs};
use crate::spec::platform::Platform;
use crate::store::Store;
use crate::store::unpack::Compression;

/// The field of the configuration.
const FIELD: &str = "rbox.build-cache.v1";

/// Where the layer of a step is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// The blob is in the store, its tree is not.
    Store,
    /// An OCI layout.
    Layout(PathBuf),
    /// The repository of this image.
    Registry(String),
}

/// A step that was done elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub record: StepRecord,
    pub origin: Origin,
}

/// A layer's blob as a cache's manifest names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blob {
    pub diff_id: Digest,
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    pub compression: Compression,
}

/// The steps that an image's configuration tells of, if its layers are these. What does not fit together is left
/// out.
pub fn entries(config: &ImageConfig, blobs: &[Blob], origin: &Origin) -> Vec<Entry> {
    let records = config.rest.get(FIELD).cloned().map(serde_json::from_value::<Vec<StepRecord>>);
    let records = records.and_then(Result::ok).unwrap_or_default();
    let entry = |mut record: StepRecord| {
        if let Some(layer) = &mut record.layer {
            let blob = blobs.iter().find(|blob| blob.diff_id == layer.diff_id)?;
            (layer.blob, layer.size, layer.compression) = (blob.digest, blob.size, blob.compression);
        }
        Some(Entry { record, origin: origin.clone() })
    };
    records.into_iter().filter_map(entry).collect()
}

/// Has the configuration tell of these steps.
pub fn embed(config: &mut ImageConfig, records: &[StepRecord]) -> Result<()> {
    config.rest.insert(FIELD.to_owned(), serde_json::to_value(records)?);
    Ok(())
}

/// An image that is nothing but a cache: its configuration and its layers.
pub fn image(records: &[StepRecord], platform: &Platform) -> Result<(ImageConfig, Vec<Layer>)> {
    let mut layers: Vec<Layer> = Vec::new();
    for layer in records.iter().filter_map(|record| record.layer) {
        if layers.iter().all(|known| known.diff_id != layer.diff_id) {
            layers.push(layer);
        }
    }
    let mut config = ImageConfig {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        variant: platform.variant.clone(),
        config: Defaults::default(),
        rootfs: RootFs { kind: "layers".to_owned(), diff_ids: layers.iter().map(|layer| layer.diff_id).collect() },
        ..ImageConfig::default()
    };
    embed(&mut config, records)?;
    Ok((config, layers))
}

/// What a build may take steps from.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Nothing at all.
    pub anew: bool,
    pub elsewhere: Rc<BTreeMap<Digest, Entry>>,
}

/// What is known of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// It was done, and its layer is here.
    Here(StepRecord),
    /// It was done, and its layer can be brought here.
    Away(Entry),
    Nothing,
}

impl Known {
    /// What a step with this key made on top of `below`. It counts as used.
    pub fn find(&self, store: &Store, key: Key, below: &Below) -> Result<Lookup> {
        if self.anew {
            return Ok(Lookup::Nothing);
        }
        let records = Records::of(store);
        let is_here = |record: &StepRecord| record.layer.is_none_or(|layer| store.layers().contains(layer.chain_id));
        if let Some(record) = records.find(key).map(|record| record.on(below)) {
            if is_here(&record) {
                return Ok(Lookup::Here(record));
            }
            if record.layer.is_some_and(|layer| store.blobs().contains(layer.blob)) {
                return Ok(Lookup::Away(Entry { record, origin: Origin::Store }));
            }
        }
        let Some(entry) = self.elsewhere.get(&key.0) else { return Ok(Lookup::Nothing) };
        let entry = Entry { record: entry.record.clone().on(below), origin: entry.origin.clone() };
        if is_here(&entry.record) {
            records.write(&entry.record)?;
            return Ok(Lookup::Here(entry.record));
        }
        Ok(Lookup::Away(entry))
    }
}

/// A layer as a manifest names it.
pub fn descriptor(layer: &Layer) -> Descriptor {
    Descriptor::new(crate::store::push::Format::Oci.layer(layer.compression), layer.blob, layer.size)
}

/// Reads the documents of a cache or an image.
pub fn config(bytes: &[u8]) -> Result<ImageConfig> {
    serde_json::from_slice(bytes).context("read the configuration of an image")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::layers::chain_ids;
    use crate::store::testing::TestStore;

    fn record(key: &[u8], diff_id: Option<Digest>) -> StepRecord {
        let layer = diff_id.map(|diff_id| Layer {
            diff_id,
            chain_id: diff_id,
            blob: diff_id,
            size: 1,
            compression: Compression::None,
        });
        Records::new_record(Key(Digest::of(key)), "run", "RUN true", None, layer)
    }

    fn blob(content: &[u8]) -> Blob {
        Blob { diff_id: Digest::of(content), digest: Digest::of(b"packed"), size: 7, compression: Compression::Gzip }
    }

    #[test]
    fn records_travel_in_an_image() {
        let records = [
            record(b"one", Some(Digest::of(b"a"))),
            record(b"two", Some(Digest::of(b"a"))),
            record(b"three", None),
            record(b"four", Some(Digest::of(b"lost"))),
        ];
        let (config, layers) = image(&records, &Platform::host()).unwrap();
        assert_eq!(config.rootfs.diff_ids, [Digest::of(b"a"), Digest::of(b"lost")]);
        assert_eq!(layers.len(), 2);
        let read = super::config(&serde_json::to_vec(&config).unwrap()).unwrap();
        let entries = entries(&read, &[blob(b"a")], &Origin::Store);
        let found: Vec<&str> = entries.iter().map(|entry| entry.record.kind.as_str()).collect();
        assert_eq!(found, ["run", "run", "run"], "one whose layer is not there is left out");
        let layer = entries[0].record.layer.unwrap();
        assert_eq!((layer.blob, layer.size, layer.compression), (Digest::of(b"packed"), 7, Compression::Gzip));
        assert_eq!(super::entries(&ImageConfig::default(), &[], &Origin::Store), []);
    }

    #[test]
    fn a_layer_has_its_place_on_those_below() {
        let store = TestStore::new();
        let (below, content) = (Digest::of(b"below"), Digest::of(b"a"));
        let below = Below { chains: vec![below], diff_ids: vec![below] };
        let entry = Entry { record: record(b"one", Some(content)), origin: Origin::Registry("x".to_owned()) };
        let elsewhere = Rc::new(BTreeMap::from([(entry.record.key, entry)]));
        let known = Known { anew: false, elsewhere };
        let key = Key(Digest::of(b"one"));
        let Lookup::Away(found) = known.find(&store, key, &below).unwrap() else { panic!("it is not here") };
        let chains = chain_ids(&[below.diff_ids[0], content]);
        assert_eq!(found.record.layer.map(|layer| layer.chain_id), chains.last().copied());
        assert_eq!(known.find(&store, Key(Digest::of(b"two")), &below).unwrap(), Lookup::Nothing);
        let anew = Known { anew: true, ..known };
        assert_eq!(anew.find(&store, key, &below).unwrap(), Lookup::Nothing);
    }
}
