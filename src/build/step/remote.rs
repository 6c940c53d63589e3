//! Sources of ADD that come from elsewhere: what names their content is learned before it is known whether
//! they are needed.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::build::cache;
use crate::build::context::{StatCache, Tree};
use crate::build::copy::{Selected, Selection};
use crate::build::fetch::git::GitRef;
use crate::build::fetch::http::{Downloads, Fetched};
use crate::spec::digest::Digest;
use crate::store::Store;
use crate::store::staging::Staging;

/// Downloads, in the build cache's directory.
const DOWNLOADS: &str = "downloads";

/// A source as it was written.
#[derive(Clone, Debug)]
pub struct Remote {
    pub address: String,
    pub checksum: Option<String>,
    pub keep_git_directory: bool,
}

/// A source whose content has a name.
pub enum Found {
    File(Fetched),
    Commit { reference: GitRef, commit: String, keep_git_directory: bool },
}

/// A source that is here for as long as this lives.
pub struct Brought {
    pub selected: Selected,
    /// What was checked out.
    _staging: Option<Staging>,
}

impl Remote {
    /// Whether a word of ADD is no path of the context.
    pub fn is(word: &str) -> bool {
        word.starts_with("http://") || word.starts_with("https://") || GitRef::parse(word).is_some()
    }

    /// Learns what it is now; a file is brought along.
    pub fn find(&self, store: &Store) -> Result<Found> {
        if let Some(mut reference) = GitRef::parse(&self.address) {
            reference.commit = reference.commit.or_else(|| self.checksum.clone());
            let commit = reference.resolve()?;
            return Ok(Found::Commit { reference, commit, keep_git_directory: self.keep_git_directory });
        }
        let downloads = Downloads::at(store.path(cache::DIRECTORY).join(DOWNLOADS));
        downloads.fetch(&self.address, self.checksum.as_deref(), &mut |_| ()).map(Found::File)
    }
}

impl Found {
    /// Names what it holds.
    pub fn digest(&self) -> Digest {
        match self {
            Self::File(file) => Digest::of(format!("file {} {}", file.digest, file.name).as_bytes()),
            Self::Commit { reference, commit, keep_git_directory } => {
                let below = reference.subdirectory.as_deref().unwrap_or_default();
                Digest::of(format!("git {commit} {keep_git_directory} {below}").as_bytes())
            }
        }
    }

    /// Brings it here. Not in the user namespace: git goes by the caller's settings and keys.
    pub fn bring(&self, store: &Store) -> Result<Brought> {
        match self {
            Self::File(file) => {
                let tree = Tree::open(&file.directory, None).context("open the download")?;
                let mut selected = tree.select_file(&file.name)?;
                selected.digest(&StatCache::none(), true)?;
                Ok(Brought { selected, _staging: None })
            }
            Self::Commit { reference, commit, keep_git_directory } => {
                let staging = Staging::create(store).context("create a staging directory")?;
                reference.check_out(commit, staging.path(), *keep_git_directory)?;
                let files = reference.wanted(staging.path())?;
                Ok(Brought { selected: select_all(&files)?, _staging: Some(staging) })
            }
        }
    }
}

fn select_all(files: &Path) -> Result<Selected> {
    let tree = Tree::open(files, None).context("open the repository's files")?;
    let selection = Selection { sources: vec![".".to_owned()], ..Selection::default() };
    Ok(tree.select(&selection)?)
}

/// Refuses a checksum where it means nothing. BuildKit's words.
pub fn check(checksum: Option<&str>, sources: &[String]) -> Result<()> {
    match checksum {
        None => Ok(()),
        Some(_) if sources.len() != 1 => bail!("checksum can't be specified for multiple sources"),
        Some(_) if !Remote::is(&sources[0]) => bail!("checksum requires HTTP(S) or Git sources"),
        Some(_) => Ok(()),
    }
}
