//! The instructions of a stage, apart from their variables.

use std::collections::BTreeMap;

use super::Linter;
use crate::spec::dockerfile::ast::{Command, FileSource, Files, Instruction, Lines, Pair};
use crate::spec::dockerfile::{ignore, stages};

/// Parts of a name, between underscores, that tell of a secret.
const SECRETS: [&str; 11] =
    ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "pwd", "secret", "token"];

impl Linter<'_> {
    pub(super) fn stages(&mut self) {
        // Per stage: a working directory was set, a shell was set.
        let mut states: Vec<(bool, bool)> = Vec::new();
        for (index, stage) in self.file.stages.iter().enumerate() {
            let (mut workdir, mut shell) = match stages::base(self.file, index, &stage.from.value.base) {
                stages::Reference::Stage(base) => states[base],
                _ => (false, false),
            };
            let mut once: BTreeMap<&'static str, Lines> = BTreeMap::new();
            for instruction in &stage.instructions {
                let lines = instruction.lines;
                match &instruction.value {
                    Instruction::Cmd(command) => self.command("CMD", command, shell, lines, &mut once),
                    Instruction::Entrypoint(command) => self.command("ENTRYPOINT", command, shell, lines, &mut once),
                    Instruction::Healthcheck(_) => self.once("HEALTHCHECK", lines, &mut once),
                    Instruction::Shell(_) => shell = true,
                    Instruction::Workdir(path) => {
                        // What a variable gives may be absolute.
                        if !workdir && !path.starts_with(['/', '$', '"', '\'']) {
                            let message = format!(
                                "Relative workdir {path:?} can have unexpected results if the base image changes"
                            );
                            self.warn("WorkdirRelativePath", lines, message);
                        }
                        workdir = true;
                    }
                    Instruction::Maintainer(_) => {
                        let message = "Maintainer instruction is deprecated in favor of using label".to_owned();
                        self.warn("MaintainerDeprecated", lines, message);
                    }
                    Instruction::Env(pairs) => {
                        self.legacy("ENV", pairs, lines);
                        pairs.iter().for_each(|pair| self.secret("ENV", &pair.key, lines));
                    }
                    Instruction::Label(pairs) => self.legacy("LABEL", pairs, lines),
                    Instruction::Arg(arg) => arg.0.iter().for_each(|item| self.secret("ARG", &item.name, lines)),
                    Instruction::Expose(words) => words.iter().for_each(|word| self.expose(word, lines)),
                    Instruction::Copy(copy) if copy.from.is_none() => self.ignored("COPY", &copy.files, lines),
                    Instruction::Add(add) => self.ignored("ADD", &add.files, lines),
                    _ => {}
                }
            }
            states.push((workdir, shell));
        }
    }

    fn command(
        &mut self,
        name: &'static str,
        command: &Command,
        shell: bool,
        lines: Lines,
        once: &mut BTreeMap<&'static str, Lines>,
    ) {
        self.once(name, lines, once);
        if matches!(command, Command::Shell(_)) && !shell {
            let message =
                format!("JSON arguments recommended for {name} to prevent unintended behavior related to OS signals");
            self.warn("JSONArgsRecommended", lines, message);
        }
    }

    /// The one before is the one that counts for nothing.
    fn once(&mut self, name: &'static str, lines: Lines, seen: &mut BTreeMap<&'static str, Lines>) {
        if let Some(before) = seen.insert(name, lines) {
            let message = format!(
                "Multiple {name} instructions should not be used in the same stage because only the last one will be used"
            );
            self.warn("MultipleInstructionsDisallowed", before, message);
        }
    }

    fn legacy(&mut self, name: &str, pairs: &[Pair], lines: Lines) {
        if pairs.iter().any(|pair| pair.legacy) {
            let message = format!("\"{name} key=value\" should be used instead of legacy \"{name} key value\" format");
            self.warn("LegacyKeyValueFormat", lines, message);
        }
    }

    fn secret(&mut self, instruction: &str, key: &str, lines: Lines) {
        let lower = key.to_ascii_lowercase();
        let parts: Vec<&str> = lower.split('_').collect();
        if parts.iter().any(|part| SECRETS.contains(part)) && !parts.contains(&"public") {
            let message = format!("Do not use ARG or ENV instructions for sensitive data ({instruction} {key:?})");
            self.warn("SecretsUsedInArgOrEnv", lines, message);
        }
    }

    fn expose(&mut self, word: &str, lines: Lines) {
        if word.contains('$') {
            return;
        }
        if word.split_once('/').is_some_and(|(_, protocol)| protocol.to_lowercase() != protocol) {
            let message = format!("Defined protocol '{word}' in EXPOSE instruction should be lowercase");
            self.warn("ExposeProtoCasing", lines, message);
        }
        if word.contains(':') {
            let message =
                format!("EXPOSE instruction should not define an IP address or host-port mapping, found '{word}'");
            self.warn("ExposeInvalidFormat", lines, message);
        }
    }

    fn ignored(&mut self, name: &str, files: &Files, lines: Lines) {
        let Some(hidden) = self.input.ignore else { return };
        for source in &files.sources {
            let FileSource::Path(path) = source else { continue };
            let is_remote = name == "ADD" && (path.contains("://") || path.starts_with("git@"));
            if is_remote || path.contains(['$', '*', '?', '[']) {
                continue;
            }
            let clean = ignore::clean(&format!("/{path}"));
            if hidden.excludes(clean.trim_start_matches('/').as_bytes(), false) {
                let message = format!("Attempting to {name} file {path:?} that is excluded by .dockerignore");
                self.warn("CopyIgnoredFile", lines, message);
            }
        }
    }
}
