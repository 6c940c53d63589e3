//! Measuring trees with directories of mapped ids, which only the user namespace can look into.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use rustix::fs::MemfdFlags;

use super::userns;
use crate::store::Store;
use crate::store::usage::tree;

/// The bytes that each of the trees takes.
pub fn sizes(store: &Store, trees: &[PathBuf]) -> Result<Vec<u64>> {
    // A pipe could fill up while the other side is waited for.
    let mut answer = File::from(rustix::fs::memfd_create("sizes", MemfdFlags::CLOEXEC)?);
    let writer = answer.try_clone()?;
    userns::run_inside(store, move || {
        let mut writer = BufWriter::new(writer);
        for path in trees {
            let tree = tree::measure(path).with_context(|| format!("measure {}", path.display()))?;
            writeln!(writer, "{}", tree.bytes)?;
        }
        Ok(writer.flush()?)
    })?;
    let mut text = String::new();
    answer.seek(SeekFrom::Start(0))?;
    answer.read_to_string(&mut text)?;
    text.lines().map(|line| line.parse().context("measure files of mapped ids")).collect()
}
