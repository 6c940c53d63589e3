//! Compiled filters on disk, one file a filter: the program, then its SHA-256. A cache: an entry
//! that is missing, cut short or altered is compiled anew.

use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::compile::{INSTRUCTION, MAX_INSTRUCTIONS};
use crate::store::fs;

const SUM: usize = 32;

/// The program stored as `name`, if it is whole.
pub fn read(directory: &Path, name: &str) -> Option<Vec<u8>> {
    let mut bytes = std::fs::read(directory.join(name)).ok()?;
    let length = bytes.len().checked_sub(SUM)?;
    let sum = bytes.split_off(length);
    let sound = is_program(&bytes) && Sha256::digest(&bytes)[..] == sum[..];
    sound.then_some(bytes)
}

/// Stores a program. Failure costs time at the next start and nothing else (the disk may be full
/// or the store read-only), so it is not reported.
pub fn write(directory: &Path, name: &str, program: &[u8]) {
    let mut bytes = program.to_vec();
    bytes.extend_from_slice(&Sha256::digest(program));
    let _ = fs::create_private_dir(directory).and_then(|()| fs::write_atomic(&directory.join(name), &bytes));
}

/// Whether bytes can be a program: whole instructions, and not too many.
fn is_program(bytes: &[u8]) -> bool {
    bytes.len().is_multiple_of(INSTRUCTION) && (1..=MAX_INSTRUCTIONS).contains(&(bytes.len() / INSTRUCTION))
}
