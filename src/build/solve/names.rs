//! What stages are called.

use crate::spec::dockerfile::ast::Dockerfile;
use crate::spec::dockerfile::stages;

/// The stage that a name or number means for the stage `of`: an earlier one.
pub fn stage_before(dockerfile: &Dockerfile, name: &str, of: usize) -> Option<usize> {
    stages::find(dockerfile, name).filter(|found| *found < of)
}

/// A stage as the display calls it.
pub fn shown(dockerfile: &Dockerfile, stage: usize) -> String {
    match &dockerfile.stages[stage].from.value.name {
        Some(name) => name.clone(),
        None if dockerfile.stages.len() == 1 => String::new(),
        None => format!("stage-{stage}"),
    }
}
