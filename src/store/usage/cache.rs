//! What layers take, remembered: their trees never change. `cache/layer-blocks` has a line for each:
//! chain id, inode and change time of its directory, bytes. It can be lost at any time.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use rustix::fs::{AtFlags, CWD};

use crate::spec::digest::Digest;
use crate::store::{Store, fs};

/// The most that is read; a larger file is made anew.
const CACHE_MAX: usize = 32 << 20;

/// A layer's directory, told from one that took its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    inode: u64,
    /// Nanoseconds.
    changed: i128,
}

/// The bytes of layers whose directories are as they were when they were measured.
#[derive(Debug, Default)]
pub struct LayerBlocks {
    known: HashMap<Digest, (Identity, u64)>,
    dirty: bool,
}

fn path(store: &Store) -> PathBuf {
    store.path("cache/layer-blocks")
}

fn identity(store: &Store, layer: Digest) -> io::Result<Identity> {
    let stat = rustix::fs::statat(CWD, store.layers().path(layer), AtFlags::SYMLINK_NOFOLLOW)?;
    let changed = i128::from(stat.st_ctime) * 1_000_000_000 + i128::from(stat.st_ctime_nsec);
    Ok(Identity { inode: stat.st_ino, changed })
}

impl LayerBlocks {
    /// Reads what is remembered; nothing if it cannot be read.
    pub fn read(store: &Store) -> Self {
        let text = fs::read_limited(&path(store), CACHE_MAX).unwrap_or_default();
        let lines = std::str::from_utf8(&text).unwrap_or_default().lines();
        Self { known: lines.filter_map(parse).collect(), dirty: false }
    }

    /// What a layer takes, if that is known.
    pub fn get(&self, store: &Store, layer: Digest) -> Option<u64> {
        let (then, bytes) = self.known.get(&layer)?;
        (identity(store, layer).ok()? == *then).then_some(*bytes)
    }

    /// Remembers a layer that was measured; one that is gone is passed over.
    pub fn insert(&mut self, store: &Store, layer: Digest, bytes: u64) {
        if let Ok(identity) = identity(store, layer) {
            self.known.insert(layer, (identity, bytes));
            self.dirty = true;
        }
    }

    /// Writes what is new, and forgets all layers but `present`.
    pub fn write(mut self, store: &Store, present: &[Digest]) -> io::Result<()> {
        if !self.dirty {
            return Ok(());
        }
        let mut text = String::with_capacity(self.known.len() * 110);
        for layer in present {
            if let Some((identity, bytes)) = self.known.remove(layer) {
                // Writing to a string does not fail.
                let _ = writeln!(text, "{} {} {} {bytes}", layer.hex(), identity.inode, identity.changed);
            }
        }
        fs::create_private_dir(&store.path("cache"))?;
        fs::write_volatile(&path(store), text.as_bytes())
    }
}

fn parse(line: &str) -> Option<(Digest, (Identity, u64))> {
    let mut fields = line.split(' ');
    let layer = Digest::from_hex(fields.next()?).ok()?;
    let identity = Identity { inode: fields.next()?.parse().ok()?, changed: fields.next()?.parse().ok()? };
    let bytes = fields.next()?.parse().ok()?;
    fields.next().is_none().then_some((layer, (identity, bytes)))
}
