//! What names mean in a file of several stages, and which stages a target needs.

#[cfg(test)]
mod tests;

use super::ast::{Dockerfile, Instruction, Lines, RunMountKind};
use super::expand::{Lookup, expand};
use super::flags::suggest;

/// What FROM, `COPY --from` and `RUN --mount=from=` name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// By its place in the file, from zero.
    Stage(usize),
    /// `FROM scratch`.
    Scratch,
    /// An image, or a context given by name.
    Outside(String),
}

/// A name that does not mean what it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct StageError {
    pub message: String,
    /// None for what is not of the file.
    pub lines: Option<Lines>,
}

/// The stage of a name, in any case. Of several the last one counts.
pub fn named(file: &Dockerfile, name: &str) -> Option<usize> {
    let is_it = |known: &String| known.eq_ignore_ascii_case(name);
    file.stages.iter().rposition(|stage| stage.from.value.name.as_ref().is_some_and(is_it))
}

/// The stage of a name, or else of a number.
pub fn find(file: &Dockerfile, name: &str) -> Option<usize> {
    named(file, name).or_else(|| name.parse().ok().filter(|number| *number < file.stages.len()))
}

/// What the base of a stage means, its variables expanded: stages are those before it.
pub fn base(file: &Dockerfile, stage: usize, base: &str) -> Reference {
    let is_it = |known: &String| known.eq_ignore_ascii_case(base);
    let before = &file.stages[..stage.min(file.stages.len())];
    match before.iter().rposition(|stage| stage.from.value.name.as_ref().is_some_and(is_it)) {
        Some(found) => Reference::Stage(found),
        None if base == "scratch" => Reference::Scratch,
        None => Reference::Outside(base.to_owned()),
    }
}

/// What `--from` means: the number or the name of any stage, or something outside.
pub fn from(file: &Dockerfile, from: &str) -> Result<Reference, String> {
    if let Ok(number) = from.parse::<i64>() {
        let known = usize::try_from(number).ok().filter(|number| *number < file.stages.len());
        return known.map(Reference::Stage).ok_or_else(|| format!("invalid stage index {number}"));
    }
    Ok(named(file, from).map_or_else(|| Reference::Outside(from.to_owned()), Reference::Stage))
}

/// The stage to build: that of `--target` by name or number, or the last one.
pub fn target(file: &Dockerfile, target: Option<&str>) -> Result<usize, StageError> {
    let Some(name) = target.filter(|name| !name.is_empty()) else {
        let none = || StageError { message: "no build stage in current context".to_owned(), lines: None };
        return file.stages.len().checked_sub(1).ok_or_else(none);
    };
    find(file, name).ok_or_else(|| {
        let names: Vec<&str> = file.stages.iter().filter_map(|stage| stage.from.value.name.as_deref()).collect();
        let message = format!("target stage {name:?} could not be found");
        StageError { message: suggest(message, &name.to_lowercase(), &names), lines: None }
    })
}

/// What the instructions of a stage take from elsewhere, as written, and where.
pub fn sources(file: &Dockerfile, stage: usize) -> Vec<(&str, Lines)> {
    let mut names = Vec::new();
    for instruction in &file.stages[stage].instructions {
        match &instruction.value {
            Instruction::Copy(copy) => names.extend(copy.from.as_deref().map(|from| (from, instruction.lines))),
            Instruction::Run(run) => names.extend(run.mounts.iter().filter_map(|mount| match &mount.kind {
                RunMountKind::Bind { from, .. } | RunMountKind::Cache { from, .. } => {
                    from.as_deref().map(|from| (from, instruction.lines))
                }
                _ => None,
            })),
            _ => {}
        }
    }
    names
}

/// The stages that a target needs, itself included, each after all it needs. `lookup` has the ARGs before the
/// first FROM; `outside` says which names are contexts that stand for stages.
pub fn needed(
    file: &Dockerfile,
    target: usize,
    lookup: Lookup<'_>,
    outside: &dyn Fn(&str) -> bool,
) -> Result<Vec<usize>, StageError> {
    let mut marks = vec![Mark::New; file.stages.len()];
    let mut order = Vec::new();
    // Stages being looked at, each with what it needs and is still to be looked at.
    let mut open = vec![(target, dependencies(file, target, lookup, outside)?)];
    marks[target] = Mark::Open;
    while let Some((stage, pending)) = open.last_mut() {
        let stage = *stage;
        match pending.pop() {
            Some((next, _)) if marks[next] == Mark::New => {
                marks[next] = Mark::Open;
                open.push((next, dependencies(file, next, lookup, outside)?));
            }
            Some((next, lines)) if marks[next] == Mark::Open => {
                let name = file.stages[next].from.value.name.clone().unwrap_or_else(|| format!("stage-{next}"));
                let message = format!("circular dependency detected on stage: {name}");
                return Err(StageError { message, lines: Some(lines) });
            }
            Some(_) => {}
            None => {
                marks[stage] = Mark::Done;
                order.push(stage);
                open.pop();
            }
        }
    }
    Ok(order)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    New,
    Open,
    Done,
}

/// The stages that one needs and the lines that say so, those of later instructions first.
fn dependencies(
    file: &Dockerfile,
    stage: usize,
    lookup: Lookup<'_>,
    outside: &dyn Fn(&str) -> bool,
) -> Result<Vec<(usize, Lines)>, StageError> {
    let from = &file.stages[stage].from;
    let located = |message: String, lines| StageError { message, lines: Some(lines) };
    let name = expand(&from.value.base, file.directives.escape, lookup);
    let name = name.map_err(|error| located(error.to_string(), from.lines))?;
    let mut found = Vec::new();
    if let Reference::Stage(base) = base(file, stage, &name)
        && !outside(&name)
    {
        found.push((base, from.lines));
    }
    for (name, lines) in sources(file, stage) {
        if outside(name) {
            continue;
        }
        if let Reference::Stage(source) = self::from(file, name).map_err(|message| located(message, lines))? {
            found.push((source, lines));
        }
    }
    found.reverse();
    Ok(found)
}
