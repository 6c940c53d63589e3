//! Sparse files: which parts of a file the archive holds (GNU tar manual, "Sparse Formats").

use anyhow::{Context, Result, bail};

use super::header::{BLOCK, block, number};

/// Zeros of this many bytes become a hole.
const HOLE: usize = 64 << 10;

/// Bytes at the start of `piece` that can be left out of a file: whole holes.
pub(in crate::store) fn hole(piece: &[u8]) -> usize {
    piece.chunks_exact(HOLE).take_while(|chunk| is_zero(chunk)).count() * HOLE
}

/// Bytes at the start of `piece` up to the next hole.
pub(super) fn solid(piece: &[u8]) -> usize {
    let holes = piece.chunks_exact(HOLE).position(is_zero);
    holes.map_or(piece.len(), |index| index * HOLE)
}

/// Bytes of `piece` outside holes.
pub(in crate::store) fn dense(piece: &[u8]) -> u64 {
    let holes = piece.chunks_exact(HOLE).filter(|chunk| is_zero(chunk)).count();
    (piece.len() - holes * HOLE) as u64
}

/// Ends at the first byte that is not, so that it costs nothing where there are none.
fn is_zero(bytes: &[u8]) -> bool {
    bytes.first() == Some(&0) && bytes[1..] == bytes[..bytes.len() - 1]
}

/// One stretch of data in a sparse file, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Region {
    pub offset: u64,
    pub length: u64,
}

/// The regions of a file, ascending and apart, and its size with holes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SparseMap {
    pub regions: Vec<Region>,
    pub file_size: u64,
}

impl SparseMap {
    /// Checks the map that the library read against what the archive stores for the file.
    pub fn new(regions: &[tar_core::SparseEntry], file_size: u64, stored: u64) -> Result<Self> {
        let mut end = 0u64;
        let mut sum = 0u64;
        for region in regions {
            let in_order = region.offset >= end;
            end = region.offset.checked_add(region.length).context("a sparse region ends beyond any file")?;
            if !in_order || end > file_size {
                bail!("the sparse map's regions overlap or exceed the file");
            }
            sum += region.length;
        }
        if sum != stored {
            bail!("the sparse map describes {sum} bytes, the archive holds {stored}");
        }
        let regions = regions.iter().filter(|region| region.length > 0);
        let regions = regions.map(|region| Region { offset: region.offset, length: region.length }).collect();
        Ok(Self { regions, file_size })
    }
}

/// Checks the numbers of an old GNU sparse header (type `S`) at `header` and of the `blocks` map
/// blocks behind it: the library wraps base-256 numbers that do not fit.
pub(super) fn check_gnu_numbers(input: &[u8], header: usize, blocks: usize) -> Result<()> {
    let first = block(input, header).context("misread sparse header")?;
    // Four pairs of offset and length, then the flag, then the size with holes.
    first[386..482].chunks_exact(12).chain([&first[483..495]]).try_for_each(unsigned)?;
    for index in 1..=blocks {
        let more = block(input, header + index * BLOCK).context("misread sparse header")?;
        more[..504].chunks_exact(12).try_for_each(unsigned)?;
    }
    Ok(())
}

fn unsigned(field: &[u8]) -> Result<()> {
    match number(field)? {
        0.. => Ok(()),
        negative => bail!("negative number {negative} in a sparse map"),
    }
}
