//! COPY and ADD become jobs.

use super::BuildError;
use super::engine::Engine;
use super::stage::{Awaited, Source};
use crate::build::copy::{Destination, Selection};
use crate::build::image::StageImage;
use crate::build::step::copying::{CopyJob, CopySource};
use crate::build::step::remote::{self, Remote};
use crate::build::step::worker::Place;
use crate::spec::dockerfile::ast::{Add, Copy, FileSource, Files, Lines};

fn at(lines: Lines) -> impl Fn(String) -> BuildError {
    move |message| BuildError::At { lines, message }
}

/// What COPY and ADD have in common, expanded.
struct Expanded {
    paths: Vec<String>,
    inline: Vec<(String, String)>,
    destination: String,
    chown: Option<String>,
    chmod: Option<String>,
    exclude: Vec<String>,
    /// Of ADD.
    checksum: Option<String>,
}

impl Expanded {
    fn of(files: &Files, checksum: &Option<String>, image: &StageImage) -> Result<Self, String> {
        let (mut paths, mut inline) = (Vec::new(), Vec::new());
        for source in &files.sources {
            match source {
                FileSource::Path(path) => paths.push(image.expand(path)?),
                FileSource::Inline(heredoc) => {
                    let content = match heredoc.expand {
                        true => image.expand_content(&heredoc.content)?,
                        false => heredoc.content.clone(),
                    };
                    inline.push((heredoc.name.clone(), content));
                }
            }
        }
        let optional = |text: &Option<String>| {
            let expanded = text.as_deref().map(|text| image.expand(text)).transpose()?;
            Ok::<_, String>(expanded.filter(|text| !text.is_empty()))
        };
        Ok(Self {
            paths,
            inline,
            destination: image.expand(&files.destination)?,
            chown: optional(&files.chown)?,
            chmod: optional(&files.chmod)?,
            exclude: files.exclude.iter().map(|text| image.expand(text)).collect::<Result<_, _>>()?,
            checksum: optional(checksum)?,
        })
    }

    /// Takes out what is no path of the context.
    fn take_remotes(&mut self, add: &Add) -> Vec<Remote> {
        let remotes = self.paths.extract_if(.., |path| Remote::is(path));
        let remote = |address| Remote {
            address,
            checksum: self.checksum.clone(),
            keep_git_directory: add.keep_git_dir.unwrap_or(false),
        };
        remotes.map(remote).collect()
    }

    /// As BuildKit's history has it.
    fn history(&self, instruction: &str, files: &Files) -> String {
        let mut words = vec![instruction.to_owned()];
        words.extend(files.parents.then(|| "--parents".to_owned()));
        words.extend(self.chown.iter().map(|chown| format!("--chown={chown}")));
        words.extend(self.chmod.iter().map(|chmod| format!("--chmod={chmod}")));
        words.extend(self.paths.iter().cloned());
        words.extend(self.inline.iter().map(|(name, _)| format!("<<{name}")));
        words.extend([self.destination.clone(), "# buildkit".to_owned()]);
        words.join(" ")
    }
}

impl Engine<'_> {
    /// COPY; false when it has to wait.
    pub fn copy_step(&mut self, stage: usize, copy: &Copy, lines: Lines) -> Result<bool, BuildError> {
        let image = self.current(stage)?;
        let from = copy.from.as_deref().map(|from| image.expand(from)).transpose().map_err(at(lines))?;
        let source = match from.filter(|from| !from.is_empty()) {
            Some(from) => match self.source(stage, &from, lines)? {
                Awaited::Later => return Ok(false),
                Awaited::Here(Source::Layers(below)) => CopySource::Layers(below),
                Awaited::Here(Source::Directory(directory)) => CopySource::Directory(directory),
            },
            None => self.context_source(),
        };
        let expanded = Expanded::of(&copy.files, &None, &image).map_err(at(lines))?;
        self.files_step(stage, (&copy.files, expanded), source, None, lines)
    }

    /// ADD; false when it has to wait.
    pub fn add_step(&mut self, stage: usize, add: &Add, lines: Lines) -> Result<bool, BuildError> {
        let image = self.current(stage)?;
        let expanded = Expanded::of(&add.files, &add.checksum, &image).map_err(at(lines))?;
        remote::check(expanded.checksum.as_deref(), &expanded.paths).map_err(|error| at(lines)(error.to_string()))?;
        let source = self.context_source();
        self.files_step(stage, (&add.files, expanded), source, Some(add), lines)
    }

    fn context_source(&self) -> CopySource {
        self.request.context.clone().map_or(CopySource::Nothing, CopySource::Directory)
    }

    fn files_step(
        &mut self,
        stage: usize,
        (files, mut expanded): (&Files, Expanded),
        source: CopySource,
        add: Option<&Add>,
        lines: Lines,
    ) -> Result<bool, BuildError> {
        let image = self.current(stage)?;
        let instruction = if add.is_some() { "ADD" } else { "COPY" };
        let history = expanded.history(instruction, files);
        let remotes = match add {
            Some(add) => expanded.take_remotes(add),
            None => Vec::new(),
        };
        let unpack = add.is_some_and(|add| add.unpack.unwrap_or(true));
        if let (CopySource::Nothing, Some(first)) = (&source, expanded.paths.first()) {
            return Err(at(lines)(format!("failed to compute cache key: \"/{first}\": not found")));
        }
        let source = if expanded.paths.is_empty() { CopySource::Nothing } else { source };
        let selection = Selection { sources: expanded.paths, parents: files.parents, exclude: expanded.exclude };
        let job = CopyJob {
            below: self.stages[stage].below.clone(),
            instruction,
            source,
            selection,
            inline: expanded.inline,
            destination: Destination::new(&image.config.config.working_dir, &expanded.destination),
            chown: expanded.chown,
            chmod: expanded.chmod,
            link: files.link,
            unpack,
            remotes,
            unpack_remotes: add.is_some_and(|add| add.unpack.unwrap_or(false)),
            platform: self.stages[stage].platform.as_ref().unwrap_or(&self.platform).to_string(),
            youngest: self.youngest(),
            description: self.description(stage),
            known: self.known(stage),
        };
        self.stages[stage].history = history;
        // A cache that travels has it under both of its keys.
        self.stages[stage].keys.extend(job.quick_key()?.map(|key| key.0));
        if let Some(key) = job.quick_key()?
            && let Some(taken) = self.recorded(stage, key, &job.known, lines)?
        {
            return Ok(taken);
        }
        if !self.has_room() {
            return Ok(false);
        }
        let store = self.store;
        self.employ(stage, lines, Place::Here, move |_, lease, teller| job.perform(store, lease, teller))?;
        Ok(false)
    }
}
