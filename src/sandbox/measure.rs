//! Measuring trees with directories of mapped ids, which only the user namespace can look into.

use std::io::{BufWriter, Read, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::userns;
use crate::store::Store;
use crate::store::usage::tree;

/// The bytes that each of the trees takes.
pub fn sizes(store: &Store, trees: &[PathBuf]) -> Result<Vec<u64>> {
    let mut answer = userns::answer_from_inside(store, |answer| {
        let mut writer = BufWriter::new(answer);
        for path in trees {
            let tree = tree::measure(path).with_context(|| format!("measure {}", path.display()))?;
            writeln!(writer, "{}", tree.bytes)?;
        }
        Ok(writer.flush()?)
    })?;
    let mut text = String::new();
    answer.read_to_string(&mut text)?;
    text.lines().map(|line| line.parse().context("measure files of mapped ids")).collect()
}
