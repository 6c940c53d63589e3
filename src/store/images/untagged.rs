//! Images without a name, docker's `<none>`: made by `commit` without one, or left behind by a tag
//! that moved on.
//!
//! An untagged image has a mark: a record like a name's, whose name is `untagged.invalid/image@ID`.
//! No registry can be there (RFC 2606), so no image is ever called that, and a reader that does not
//! know of marks takes it for a name by digest and keeps the image. Beside a real name a mark means
//! nothing.

use anyhow::{Context, Result};
use jiff::Timestamp;

use super::{Image, Images, NameRecord};
use crate::spec::digest::Digest;
use crate::spec::reference::ImageRef;
use crate::store::{fs, gc};

/// The repository of marks.
const REPOSITORY: &str = "untagged.invalid/image";

/// The name of the mark of the image `id`.
pub(super) fn mark(id: Digest) -> Result<ImageRef> {
    Ok(format!("{REPOSITORY}@{id}").parse()?)
}

/// Whether a name is a mark's.
pub(super) fn is_mark(name: &ImageRef) -> bool {
    name.domain() == "untagged.invalid"
}

impl NameRecord {
    /// Whether the record is an untagged image's: its name is not to be shown.
    pub fn is_untagged(&self) -> bool {
        is_mark(&self.name)
    }

    /// What to call the image in a message: the shortest name, or the short id without one.
    pub fn label(&self) -> String {
        if self.is_untagged() { self.config.short() } else { self.name.familiar() }
    }
}

impl Images<'_> {
    /// Records an image that nothing names, if nothing does. Its manifest and config are in the
    /// store.
    pub fn keep(&self, manifest: Digest, config: Digest) -> Result<()> {
        let context = || format!("record image {}", config.short());
        // A collection that is about to delete these blobs is waited for; then they must be here.
        let _gc = gc::shared(self.store).with_context(context)?;
        self.require(&[manifest, config]).with_context(context)?;
        if self.names()?.0.iter().any(|record| record.config == config && !record.is_untagged()) {
            return Ok(());
        }
        self.write_mark(manifest, config)
    }

    /// Takes names away from an image, which stays, if need be without any.
    pub fn strip(&self, image: &Image, names: &[ImageRef]) -> Result<()> {
        let _gc = gc::exclusive(self.store).context("lock the store's image names")?;
        if !self.is_named_otherwise(image.id, names)? {
            self.write_mark(image.manifest, image.id)?;
        }
        names.iter().try_for_each(|name| self.untag(name).map(drop))
    }

    /// Takes away all names of an image, and its mark: it goes with the next collection. Needs no
    /// space. Returns the names that were still there.
    pub fn forget(&self, image: &Image) -> Result<Vec<ImageRef>> {
        let mut gone = Vec::new();
        for name in image.tags.iter().chain(&image.digests) {
            if self.untag(name)? {
                gone.push(name.clone());
            }
        }
        self.untag(&mark(image.id)?)?;
        Ok(gone)
    }

    /// Marks the image of a name that is about to mean another one, unless it has further names.
    /// The collection lock is held exclusively: of two names that move at once, one is the last.
    pub(super) fn keep_former(&self, former: &NameRecord) -> Result<()> {
        let lost = self.require(&[former.manifest, former.config]).is_err();
        if lost || self.is_named_otherwise(former.config, std::slice::from_ref(&former.name))? {
            return Ok(());
        }
        self.write_mark(former.manifest, former.config)
    }

    /// Removes the mark of an image that has a name now. One that stays means nothing.
    pub(super) fn drop_mark(&self, id: Digest) {
        if let Ok(mark) = mark(id) {
            let _ = fs::remove_if_present(&self.path(&mark));
        }
    }

    fn is_named_otherwise(&self, id: Digest, names: &[ImageRef]) -> Result<bool> {
        let (records, _) = self.names()?;
        Ok(records.iter().any(|record| record.config == id && !record.is_untagged() && !names.contains(&record.name)))
    }

    fn write_mark(&self, manifest: Digest, config: Digest) -> Result<()> {
        self.write(&NameRecord { name: mark(config)?, manifest, config, tagged: Timestamp::now() })
    }
}
