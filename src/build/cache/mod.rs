//! What was built before: `build-cache/` in the store.
//!
//! `records/HEX.json` says what a step with this key made. A key is made of everything that decides about the
//! step's result; see [`key`]. `locks/HEX` is held while a step is done, so that who needs the same waits for
//! it. Records keep their layers from collection.

pub mod elsewhere;
pub mod key;
pub mod mounts;
pub mod prune;
pub mod records;

pub use elsewhere::{Known, Lookup};
pub use key::Key;
pub use records::{Records, StepRecord};

/// The directory below the store's root.
pub const DIRECTORY: &str = "build-cache";
