//! FROM: names of stages, platforms, base images; and the comments that describe stages and ARGs.

use std::collections::{BTreeMap, BTreeSet};

use super::{Linter, is_lower, is_upper, nearest};
use crate::spec::dockerfile::ast::{Arg, Dockerfile, Instruction, Lines};
use crate::spec::dockerfile::expand::{Lexer, expand};
use crate::spec::dockerfile::flags;
use crate::spec::dockerfile::words;

/// ARGs that are there without being declared.
pub(super) const AUTOMATIC: [&str; 9] = [
    "TARGETPLATFORM",
    "TARGETOS",
    "TARGETARCH",
    "TARGETVARIANT",
    "BUILDPLATFORM",
    "BUILDOS",
    "BUILDARCH",
    "BUILDVARIANT",
    "TARGETSTAGE",
];

const RESERVED: [&str; 2] = ["context", "scratch"];

impl Linter<'_> {
    pub(super) fn from(&mut self) {
        let mut seen = BTreeSet::new();
        for stage in &self.file.stages {
            let (from, lines) = (&stage.from.value, stage.from.lines);
            self.keywords(&stage.from.text, lines);
            if let Some(name) = &from.name {
                if RESERVED.contains(&name.as_str()) {
                    let message = format!("Stage name should not use the same name as reserved stage {name:?}");
                    self.warn("ReservedStageName", lines, message);
                }
                if !seen.insert(name.clone()) {
                    let message = format!("Duplicate stage name {name:?}, stage names should be unique");
                    self.warn("DuplicateStageName", lines, message);
                }
            }
            if let Some(platform) = &from.platform {
                self.platform(platform, from.name.as_deref(), lines);
            }
            self.base(&from.base, from.platform.as_deref(), lines);
        }
    }

    /// `FROM`, `AS` and the name, as typed.
    fn keywords(&mut self, text: &str, lines: Lines) {
        let (typed, rest) = words::first(text);
        let (_, rest) = flags::split(rest);
        let [_, word, name] = words::fields(rest)[..] else { return };
        if name.to_lowercase() != name {
            self.warn("StageNameCasing", lines, format!("Stage name '{name}' should be lowercase"));
        }
        if is_upper(typed) && !is_upper(word) || is_lower(typed) && !is_lower(word) {
            let message = format!("'{word}' and '{typed}' keywords' casing do not match");
            self.warn("FromAsCasing", lines, message);
        }
    }

    fn platform(&mut self, platform: &str, name: Option<&str>, lines: Lines) {
        if platform == "$TARGETPLATFORM" || platform == "${TARGETPLATFORM}" {
            let message = format!(
                "Setting platform to predefined {platform} in FROM is redundant as this is the default behavior"
            );
            self.warn("RedundantTargetPlatform", lines, message);
        }
        // A stage that is named after its platform is one of several to choose from.
        let is_named = platform.split('/').any(|part| name.is_some_and(|name| name.contains(part)));
        if !platform.contains('$') && !is_named {
            let message = format!("FROM --platform flag should not use constant value {platform:?}");
            self.warn("FromPlatformFlagConstDisallowed", lines, message);
        }
    }

    /// Variables of the base and the platform, and what becomes of the base without `--build-arg`.
    fn base(&mut self, base: &str, platform: Option<&str>, lines: Lines) {
        // Put back below.
        let defaults = std::mem::take(&mut self.defaults);
        let known = |name: &str| match defaults.get(name) {
            Some(value) => Some(value.clone()),
            None => AUTOMATIC.contains(&name).then(|| "x".to_owned()),
        };
        let lexer = Lexer::new(self.file.directives.escape);
        for word in [Some(base), platform].into_iter().flatten() {
            let Ok(expanded) = lexer.expand(word, &known) else { continue };
            for name in &expanded.missing {
                let names = defaults.keys().map(String::as_str).chain(AUTOMATIC);
                let mut message = format!("FROM argument '{name}' is not declared");
                if let Some(meant) = nearest(name, names) {
                    message.push_str(&format!(" (did you mean {meant}?)"));
                }
                self.warn("UndefinedArgInFrom", lines, message);
            }
            if word == base && !expanded.used.is_empty() && !may_be_image(&expanded.text) {
                let message = format!("Default value for ARG {base} results in empty or invalid base image name");
                self.warn("InvalidDefaultArgInFrom", lines, message);
            }
        }
        self.defaults = defaults;
    }

    /// A comment right above an ARG or a named stage describes it.
    pub(super) fn descriptions(&mut self) {
        let lines: Vec<&[u8]> = self.source.split(|byte| *byte == b'\n').collect();
        let mut named: Vec<(Lines, &'static str, Vec<String>)> = Vec::new();
        let names = |arg: &Arg| arg.0.iter().map(|item| item.name.clone()).collect();
        for arg in &self.file.args {
            named.push((arg.lines, "ARG", names(&arg.value)));
        }
        for stage in &self.file.stages {
            named.push((stage.from.lines, "FROM", stage.from.value.name.iter().cloned().collect()));
            for instruction in &stage.instructions {
                if let Instruction::Arg(arg) = &instruction.value {
                    named.push((instruction.lines, "ARG", names(arg)));
                }
            }
        }
        for (place, instruction, names) in named {
            let above = place.first.checked_sub(2).and_then(|above| lines.get(above)).copied().unwrap_or_default();
            let Some(comment) = comment(above) else { continue };
            let first = comment.split(' ').next().unwrap_or_default();
            let (Some(name), false) = (names.first(), names.iter().any(|name| name == first)) else { continue };
            let example = if names.len() > 1 { "<arg_key>" } else { name };
            let message = format!("Comment for {instruction} should follow the format: `# {example} <description>`");
            self.warn("InvalidDefinitionDescription", place, message);
        }
    }
}

/// The ARGs before the first FROM, empty where they have no default.
pub(super) fn defaults(file: &Dockerfile) -> BTreeMap<String, String> {
    let mut values: BTreeMap<String, String> = BTreeMap::new();
    for item in file.args.iter().flat_map(|arg| &arg.value.0) {
        let value = item.default.as_deref().unwrap_or_default();
        let expanded = expand(value, file.directives.escape, &|name| values.get(name).cloned());
        values.insert(item.name.clone(), expanded.unwrap_or_default());
    }
    values
}

/// What a line says that is a comment, not empty and no directive.
fn comment(line: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(line);
    let text = text.trim_start_matches('\u{feff}').trim().strip_prefix('#')?.trim();
    let key = text.split_once('=').map(|(key, _)| key.trim().to_ascii_lowercase());
    let directive = key.is_some_and(|key| ["syntax", "escape", "check"].contains(&key.as_str()));
    (!text.is_empty() && !directive).then(|| text.to_owned())
}

/// Whether a text may name an image.
fn may_be_image(text: &str) -> bool {
    let edge = |c: char| ":/@.-_".contains(c);
    !text.is_empty()
        && !text.starts_with(edge)
        && !text.ends_with(edge)
        && !text.contains("//")
        && !text.contains("/:")
        && !text.contains(":@")
        && !text.contains(char::is_whitespace)
}
