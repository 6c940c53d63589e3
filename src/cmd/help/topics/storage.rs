//! What outlives a container, and what is carried into it and out.

use super::Topic;

/// One row a command, in the order of their names.
#[rustfmt::skip]
pub const TOPICS: &[Topic] = &[
];
