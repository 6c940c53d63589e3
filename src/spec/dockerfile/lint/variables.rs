//! Variables that nothing defines.

use std::collections::BTreeSet;

use super::from::AUTOMATIC;
use super::{Linter, nearest};
use crate::spec::dockerfile::ast::{FileSource, Files, Instruction, Lines, Pair, Run, RunMountKind};
use crate::spec::dockerfile::expand::{Lexer, expand, variables};
use crate::spec::dockerfile::stages::{self, Reference};

/// What a base image sets that is not known to set anything else.
const PATH: &str = "PATH";

impl Linter<'_> {
    pub(super) fn variables(&mut self) {
        // Per stage the names that are set at its end; None where the base is not known.
        let mut ends: Vec<Option<BTreeSet<String>>> = Vec::new();
        for (index, stage) in self.file.stages.iter().enumerate() {
            let default = |name: &str| self.defaults.get(name).cloned();
            let name = expand(&stage.from.value.base, self.file.directives.escape, &default);
            let mut known = match name.map(|name| stages::base(self.file, index, &name)) {
                Ok(Reference::Stage(base)) => ends[base].clone(),
                Ok(Reference::Scratch) => Some(BTreeSet::from([PATH.to_owned()])),
                Ok(Reference::Outside(image)) => {
                    let names = (self.input.base_env)(&image);
                    names.map(|names| names.into_iter().chain([PATH.to_owned()]).collect())
                }
                Err(_) => None,
            };
            let mut args = BTreeSet::new();
            for instruction in &stage.instructions {
                if let Some(known) = &known {
                    self.undefined(&instruction.value, instruction.lines, known, &args);
                }
                match (&instruction.value, &mut known) {
                    (Instruction::Env(pairs), Some(known)) => known.extend(pairs.iter().map(|pair| pair.key.clone())),
                    (Instruction::Arg(arg), _) => args.extend(arg.0.iter().map(|item| item.name.clone())),
                    _ => {}
                }
            }
            ends.push(known);
        }
    }

    fn undefined(&mut self, value: &Instruction, lines: Lines, known: &BTreeSet<String>, args: &BTreeSet<String>) {
        let escape = self.file.directives.escape;
        let mut names: BTreeSet<String> = words(value).iter().flat_map(|word| variables(word, escape)).collect();
        for content in contents(value) {
            names.extend(Lexer::content().expand(content, &|_| None).map(|found| found.missing).unwrap_or_default());
        }
        // Items of an ARG see those before them.
        let own: BTreeSet<&String> = match value {
            Instruction::Arg(arg) => arg.0.iter().map(|item| &item.name).collect(),
            _ => BTreeSet::new(),
        };
        for name in names {
            if known.contains(&name) || args.contains(&name) || own.contains(&name) || name == "SOURCE_DATE_EPOCH" {
                continue;
            }
            let candidates =
                known.iter().chain(args).map(String::as_str).chain(AUTOMATIC).filter(|known| *known != name);
            let mut message = format!("Usage of undefined variable '${name}'");
            if let Some(meant) = nearest(&name, candidates) {
                message.push_str(&format!(" (did you mean ${meant}?)"));
            }
            self.warn("UndefinedVar", lines, message);
        }
    }
}

fn pairs(pairs: &[Pair]) -> Vec<&str> {
    pairs.iter().flat_map(|pair| [pair.key.as_str(), pair.value.as_str()]).collect()
}

fn files(files: &Files) -> Vec<&str> {
    let paths = files.sources.iter().filter_map(|source| match source {
        FileSource::Path(path) => Some(path.as_str()),
        FileSource::Inline(_) => None,
    });
    let flags = [&files.chown, &files.chmod].into_iter().flatten().map(String::as_str);
    paths.chain([files.destination.as_str()]).chain(flags).collect()
}

fn mounts(run: &Run) -> Vec<&str> {
    let mut found: Vec<Option<&String>> = Vec::new();
    for mount in &run.mounts {
        found.push(mount.target.as_ref());
        match &mount.kind {
            RunMountKind::Bind { source, .. } => found.push(source.as_ref()),
            RunMountKind::Cache { id, source, .. } => found.extend([id.as_ref(), source.as_ref()]),
            RunMountKind::Secret { id, .. } | RunMountKind::Ssh { id } => found.push(id.as_ref()),
            RunMountKind::Tmpfs { .. } => {}
        }
    }
    found.into_iter().flatten().map(String::as_str).collect()
}

/// The words of an instruction that expand.
fn words(value: &Instruction) -> Vec<&str> {
    match value {
        Instruction::Add(add) => files(&add.files).into_iter().chain(add.checksum.as_deref()).collect(),
        Instruction::Arg(arg) => arg.0.iter().filter_map(|item| item.default.as_deref()).collect(),
        Instruction::Copy(copy) => files(&copy.files),
        Instruction::Env(list) | Instruction::Label(list) => pairs(list),
        Instruction::Expose(list) | Instruction::Volume(list) => list.iter().map(String::as_str).collect(),
        Instruction::Run(run) => mounts(run),
        Instruction::Stopsignal(word) | Instruction::User(word) | Instruction::Workdir(word) => vec![word],
        Instruction::Cmd(_)
        | Instruction::Entrypoint(_)
        | Instruction::Healthcheck(_)
        | Instruction::Maintainer(_)
        | Instruction::Onbuild(_)
        | Instruction::Shell(_) => Vec::new(),
    }
}

/// The heredocs of an instruction that expand.
fn contents(value: &Instruction) -> Vec<&str> {
    let files = match value {
        Instruction::Copy(copy) => &copy.files,
        Instruction::Add(add) => &add.files,
        _ => return Vec::new(),
    };
    let inline = files.sources.iter().filter_map(|source| match source {
        FileSource::Inline(heredoc) if heredoc.expand => Some(heredoc.content.as_str()),
        _ => None,
    });
    inline.collect()
}
