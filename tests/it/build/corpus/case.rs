//! The notation of a case.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::common::{names_in, read as read_file};
use serde_json::Value;

/// One Dockerfile with its context and what is known of the result.
#[derive(Debug, Default)]
pub struct Case {
    pub name: String,
    /// Of the command line, without the context.
    pub args: Vec<String>,
    /// The build fails, and rbox's message has this text.
    pub fails: Option<String>,
    /// Class of the difference from buildah, and the aspects that differ.
    pub differs: Vec<(String, Vec<String>)>,
    /// `PATH KIND MODE OWNER [DETAIL]` of files in the image.
    pub is: Vec<String>,
    /// Paths that are not in the image.
    pub lacks: Vec<String>,
    /// Keys of the configuration.
    pub config: BTreeMap<String, Value>,
    /// `created_by` of entries of the history.
    pub history: Vec<String>,
    pub sections: Vec<Section>,
}

/// A file of the context: `-- PATH OPTION... --` and its lines.
#[derive(Debug)]
pub struct Section {
    pub path: String,
    pub options: Vec<String>,
    pub content: String,
}

fn directory() -> PathBuf {
    // Where the test program was staged, not where it was built.
    let tree = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    tree.join("tests/data/build/corpus")
}

/// The names of the corpus' files, without their ending.
pub fn subjects() -> Vec<String> {
    names_in(directory()).iter().filter_map(|name| name.strip_suffix(".txt").map(str::to_owned)).collect()
}

/// The cases of a file.
pub fn read(subject: &str) -> Vec<Case> {
    let text = read_file(directory().join(format!("{subject}.txt")));
    let mut cases: Vec<Case> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let place = || format!("{subject}.txt:{}", number + 1);
        if let Some(name) = line.strip_prefix("=== ") {
            end(&mut cases);
            cases.push(Case { name: name.to_owned(), ..Case::default() });
            continue;
        }
        let Some(case) = cases.last_mut() else { continue };
        if let Some(heading) = line.strip_prefix("-- ").and_then(|rest| rest.strip_suffix(" --")) {
            let mut words = heading.split_whitespace().map(str::to_owned);
            let path = words.next().unwrap_or_else(|| panic!("{}: a section without a path", place()));
            case.sections.push(Section { path, options: words.collect(), content: String::new() });
        } else if let Some(section) = case.sections.last_mut() {
            section.content.push_str(line);
            section.content.push('\n');
        } else if !line.is_empty() && !line.starts_with('#') {
            case.head(line).unwrap_or_else(|| panic!("{}: {line}", place()));
        }
    }
    end(&mut cases);
    cases
}

/// The empty line before the next case is of no file.
fn end(cases: &mut [Case]) {
    if let Some(section) = cases.last_mut().and_then(|case| case.sections.last_mut())
        && (section.content == "\n" || section.content.ends_with("\n\n"))
    {
        section.content.pop();
    }
}

impl Case {
    fn head(&mut self, line: &str) -> Option<()> {
        let (key, value) = line.split_once(": ")?;
        match key {
            "args" if value.starts_with('[') => self.args.extend(serde_json::from_str::<Vec<String>>(value).ok()?),
            "args" => self.args.extend(value.split_whitespace().map(str::to_owned)),
            "fails" => self.fails = Some(value.to_owned()),
            "differs" => {
                let mut words = value.split_whitespace().map(str::to_owned);
                self.differs.push((words.next()?, words.collect()));
            }
            "is" => self.is.push(value.to_owned()),
            "lacks" => self.lacks.extend(value.split_whitespace().map(str::to_owned)),
            "config" => self.config.extend(serde_json::from_str::<BTreeMap<String, Value>>(value).ok()?),
            "history" => self.history.push(value.to_owned()),
            _ => return None,
        }
        Some(())
    }
}
