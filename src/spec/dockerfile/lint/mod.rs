//! What BuildKit says of a file that can be built but should be written otherwise: the rules of `--check`, with
//! its names, messages and addresses.

mod from;
mod options;
mod stage;
#[cfg(test)]
mod tests;
mod variables;

use std::collections::BTreeMap;

use super::ast::{Dockerfile, Lines, Warning};
use super::ignore::Ignore;
use crate::spec::similar;

pub use options::{InvalidCheck, Options};

/// A rule: its name, the last part of its page's address, what it is about.
struct Rule {
    name: &'static str,
    page: &'static str,
    description: &'static str,
}

const fn rule(name: &'static str, page: &'static str, description: &'static str) -> Rule {
    Rule { name, page, description }
}

const RULES: [Rule; 21] = [
    rule("StageNameCasing", "stage-name-casing", "Stage names should be lowercase"),
    rule("FromAsCasing", "from-as-casing", "The 'as' keyword should match the case of the 'from' keyword"),
    rule(
        "NoEmptyContinuation",
        "no-empty-continuation",
        "Empty continuation lines will become errors in a future release",
    ),
    rule(
        "ConsistentInstructionCasing",
        "consistent-instruction-casing",
        "All commands within the Dockerfile should use the same casing (either upper or lower)",
    ),
    rule("DuplicateStageName", "duplicate-stage-name", "Stage names should be unique"),
    rule("ReservedStageName", "reserved-stage-name", "Reserved words should not be used as stage names"),
    rule(
        "JSONArgsRecommended",
        "json-args-recommended",
        "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals",
    ),
    rule(
        "MaintainerDeprecated",
        "maintainer-deprecated",
        "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
    ),
    rule("UndefinedArgInFrom", "undefined-arg-in-from", "FROM command must use declared ARGs"),
    rule(
        "WorkdirRelativePath",
        "workdir-relative-path",
        "Relative workdir without an absolute workdir declared within the build can have unexpected results if the \
         base image changes",
    ),
    rule("UndefinedVar", "undefined-var", "Variables should be defined before their use"),
    rule(
        "MultipleInstructionsDisallowed",
        "multiple-instructions-disallowed",
        "Multiple instructions of the same type should not be used in the same stage",
    ),
    rule(
        "LegacyKeyValueFormat",
        "legacy-key-value-format",
        "Legacy key/value format with whitespace separator should not be used",
    ),
    rule(
        "RedundantTargetPlatform",
        "redundant-target-platform",
        "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
    ),
    rule(
        "SecretsUsedInArgOrEnv",
        "secrets-used-in-arg-or-env",
        "Sensitive data should not be used in the ARG or ENV commands",
    ),
    rule(
        "InvalidDefaultArgInFrom",
        "invalid-default-arg-in-from",
        "Default value for global ARG results in an empty or invalid base image name",
    ),
    rule(
        "FromPlatformFlagConstDisallowed",
        "from-platform-flag-const-disallowed",
        "FROM --platform flag should not use a constant value",
    ),
    rule("CopyIgnoredFile", "copy-ignored-file", "Attempting to Copy file that is excluded by .dockerignore"),
    rule(
        "InvalidDefinitionDescription",
        "invalid-definition-description",
        "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is \
         not intended to be a description comment, add an empty line or comment between the instruction and the \
         comment.",
    ),
    rule("ExposeProtoCasing", "expose-proto-casing", "Protocol in EXPOSE instruction should be lowercase"),
    rule(
        "ExposeInvalidFormat",
        "expose-invalid-format",
        "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a \
         future release",
    ),
];

/// Those that only run when asked for.
const EXPERIMENTAL: [&str; 2] = ["CopyIgnoredFile", "InvalidDefinitionDescription"];

/// Among how many names a suggestion is looked for.
const NAMES_MAX: usize = 200;

/// What a rule is about.
pub fn description(name: &str) -> Option<&'static str> {
    RULES.iter().find(|rule| rule.name == name).map(|rule| rule.description)
}

/// Where a rule is explained.
pub fn url(name: &str) -> Option<String> {
    let rule = RULES.iter().find(|rule| rule.name == name)?;
    Some(format!("https://docs.docker.com/go/dockerfile/rule/{}/", rule.page))
}

/// What is known besides the file.
pub struct LintInput<'a> {
    pub options: Options,
    /// Of the build context.
    pub ignore: Option<&'a Ignore>,
    /// The names of an image's variables. None when the image is not known: what is undefined in stages on it
    /// cannot be told then.
    pub base_env: &'a dyn Fn(&str) -> Option<Vec<String>>,
}

/// All that is to be said, by line.
pub fn lint(file: &Dockerfile, source: &[u8], input: &LintInput<'_>) -> Vec<Warning> {
    let mut linter = Linter { file, source, input, defaults: from::defaults(file), found: file.warnings.clone() };
    linter.casing();
    linter.descriptions();
    linter.from();
    linter.variables();
    linter.stages();
    let mut found = linter.found;
    found.retain(|warning| input.options.runs(warning.rule));
    found.sort_by_key(|warning| (warning.lines.first, warning.lines.last));
    found.dedup();
    found
}

/// What a build fails with when `error=true` and something was found.
pub fn violation(options: &Options, warnings: &[Warning]) -> Option<String> {
    if !options.error || warnings.is_empty() {
        return None;
    }
    let mut rules: Vec<&str> = warnings.iter().map(|warning| warning.rule).collect();
    rules.sort_unstable();
    rules.dedup();
    Some(format!("lint violation found for rules: {}", rules.join(", ")))
}

struct Linter<'a> {
    file: &'a Dockerfile,
    source: &'a [u8],
    input: &'a LintInput<'a>,
    /// The ARGs before the first FROM, empty where they have no default.
    defaults: BTreeMap<String, String>,
    found: Vec<Warning>,
}

impl Linter<'_> {
    fn warn(&mut self, rule: &'static str, lines: Lines, message: String) {
        self.found.push(Warning { rule, message, lines });
    }

    /// The instructions with their places, as written.
    fn texts(&self) -> Vec<(Lines, String)> {
        let args = self.file.args.iter().map(|arg| (arg.lines, arg.text.clone()));
        let stages = self.file.stages.iter().flat_map(|stage| {
            let from = (stage.from.lines, stage.from.text.clone());
            let others = stage.instructions.iter().map(|instruction| (instruction.lines, instruction.text.clone()));
            std::iter::once(from).chain(others)
        });
        args.chain(stages).collect()
    }

    /// Names of instructions are all in capitals or none is.
    fn casing(&mut self) {
        let first = |text: &str| text.split(char::is_whitespace).next().unwrap_or_default().to_owned();
        let names: Vec<(Lines, String)> = self.texts().iter().map(|(lines, text)| (*lines, first(text))).collect();
        let lower = names.iter().filter(|(_, name)| is_lower(name)).count();
        let upper = names.iter().filter(|(_, name)| is_upper(name)).count();
        let (wanted, fits): (_, fn(&str) -> bool) =
            if lower > upper { ("lowercase", is_lower) } else { ("uppercase", is_upper) };
        for (lines, name) in names.iter().filter(|(_, name)| !fits(name)) {
            let message = format!("Command '{name}' should match the case of the command majority ({wanted})");
            self.warn("ConsistentInstructionCasing", *lines, message);
        }
    }
}

/// The name that was probably meant. Not looked for among very many.
fn nearest<'a>(typed: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let names: Vec<&str> = names.take(NAMES_MAX + 1).collect();
    if names.len() > NAMES_MAX || typed.len() > NAMES_MAX { None } else { similar::nearest(typed, &names) }
}

fn is_lower(text: &str) -> bool {
    !text.contains(|c: char| c.is_ascii_uppercase())
}

fn is_upper(text: &str) -> bool {
    !text.contains(|c: char| c.is_ascii_lowercase())
}
