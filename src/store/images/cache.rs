//! What the list of images needs, remembered in one file, so that a thousand images do not cost three
//! thousand opened ones. `cache/images` can be lost at any time: each entry counts only while the file it
//! was read from is untouched.

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use rustix::fs::{AtFlags, Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::{Image, Images, NameRecord, Summaries, Summary, group};
use crate::spec::digest::Digest;
use crate::store::fs;
use crate::store::record::Quarantined;

/// The most that is read; a larger file is made anew.
const CACHE_MAX: usize = 64 << 20;

/// A file that was written so short a time ago could be written again without a new time of change.
const YOUTH: Duration = Duration::from_secs(2);

/// A file as it was when it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    inode: u64,
    /// Seconds and nanoseconds.
    changed: (i64, u64),
    size: i64,
}

/// The file: names by their record's file, summaries by image id.
#[derive(Default, Serialize, Deserialize)]
struct Content {
    names: HashMap<String, (Identity, NameRecord)>,
    summaries: HashMap<Digest, (Identity, Summary)>,
}

/// Reads the list of images with the help of what is remembered.
pub struct ImageList<'a> {
    images: Images<'a>,
    before: Content,
    now: Content,
    blobs: Option<OwnedFd>,
    summaries: Summaries<'a>,
    /// When files are old enough.
    old: Option<Duration>,
    dirty: bool,
}

impl<'a> Images<'a> {
    /// A reader of the list of images.
    pub fn quick_list(&self) -> ImageList<'a> {
        let text = fs::read_limited(&cache_path(*self), CACHE_MAX).unwrap_or_default();
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok();
        ImageList {
            images: *self,
            before: serde_json::from_slice(&text).unwrap_or_default(),
            now: Content::default(),
            blobs: rustix::fs::open(self.store.path("blobs/sha256"), flags, Mode::empty()).ok(),
            summaries: self.summaries(),
            old: now.and_then(|now| now.checked_sub(YOUTH)),
            dirty: false,
        }
    }
}

fn cache_path(images: Images<'_>) -> PathBuf {
    images.store.path("cache/images")
}

fn identity(directory: impl AsFd, name: &str) -> Option<Identity> {
    let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    let changed = (stat.st_ctime, stat.st_ctime_nsec);
    Some(Identity { inode: stat.st_ino, changed, size: stat.st_size })
}

impl ImageList<'_> {
    /// As [`Images::list`].
    pub fn images(&mut self) -> Result<(Vec<Image>, Vec<Quarantined>)> {
        let directory = self.images.store.path("images");
        let context = || format!("list {}", directory.display());
        let open = File::open(&directory).with_context(context)?;
        let (mut names, mut damaged) = (Vec::new(), Vec::new());
        let mut buffer = vec![0; super::RECORD_USUAL];
        for entry in std::fs::read_dir(&directory).with_context(context)? {
            let Some(file) = super::record_file(entry.with_context(context)?.file_name()) else { continue };
            let found = identity(&open, &file);
            if let Some((known, record)) = self.before.names.remove(&file) {
                if found == Some(known) {
                    names.push(record.clone());
                    self.now.names.insert(file, (known, record));
                    continue;
                }
                self.dirty = true;
            }
            let read = self.images.read_one(open.as_fd(), &file, &mut buffer)?;
            match read {
                Some(Ok(record)) => {
                    if let Some(found) = found.filter(|found| self.is_settled(found)) {
                        self.now.names.insert(file, (found, record.clone()));
                        self.dirty = true;
                    }
                    names.push(record);
                }
                Some(Err(bad)) => damaged.push(bad),
                None => {}
            }
        }
        Ok((group(names), damaged))
    }

    /// As [`Summaries::read`].
    pub fn summary(&mut self, id: Digest) -> Result<Summary> {
        let found = self.blobs.as_ref().and_then(|blobs| identity(blobs, &id.hex()));
        if let Some((known, summary)) = self.before.summaries.remove(&id) {
            if found == Some(known) {
                self.now.summaries.insert(id, (known, summary.clone()));
                return Ok(summary);
            }
            self.dirty = true;
        }
        let summary = self.summaries.read(id)?;
        // The size is that of all layers: one that is missing may come back.
        if let Some(found) = found.filter(|found| summary.whole && self.is_settled(found)) {
            self.now.summaries.insert(id, (found, summary.clone()));
            self.dirty = true;
        }
        Ok(summary)
    }

    /// Remembers what was read, if any of it is new.
    pub fn remember(self) {
        if !self.dirty {
            return;
        }
        // On a full or read-only disk it is read again the next time.
        if let Ok(text) = serde_json::to_vec(&self.now) {
            let _ = fs::create_private_dir(&self.images.store.path("cache"))
                .and_then(|()| fs::write_volatile(&cache_path(self.images), &text));
        }
    }

    fn is_settled(&self, found: &Identity) -> bool {
        let changed = u64::try_from(found.changed.0).ok();
        self.old.zip(changed).is_some_and(|(old, changed)| changed < old.as_secs())
    }
}
