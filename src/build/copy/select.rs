//! From what a COPY or ADD names to entries of the tree.

use std::os::fd::AsFd;

use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::pattern::{self, PathPattern, PatternList};
use super::{Pick, SelectError, Selected, Selection};
use crate::build::context::entry::{is_directory, join};
use crate::build::context::resolve::{Last, Resolved, open_real, resolve};
use crate::build::context::scan::{Filter, LeftOut, Scan, ScanError, Verdict, names};
use crate::build::context::{Kind, Tree};

impl Tree {
    /// Finds what a COPY or ADD names. Wildcards that match nothing are no error, as in BuildKit.
    pub fn select(&self, selection: &Selection) -> Result<Selected, SelectError> {
        if selection.sources.is_empty() {
            return Err(SelectError::NoSources);
        }
        let exclude = PatternList::parse(&selection.exclude).map_err(SelectError::Pattern)?;
        let mut search = Search { tree: self, exclude, picks: Vec::new(), left_out: LeftOut::default() };
        for source in &selection.sources {
            if selection.parents {
                search.with_parents(source)?;
            } else {
                search.source(source)?;
            }
        }
        let Search { picks, left_out, .. } = search;
        Ok(Selected { root: self.shared_root(), owners: self.owners(), picks, left_out })
    }

    /// Finds a file of this name at the top of the tree, wildcards being letters like others.
    pub fn select_file(&self, name: &str) -> Result<Selected, SelectError> {
        let exclude = PatternList::default();
        let mut search = Search { tree: self, exclude, picks: Vec::new(), left_out: LeftOut::default() };
        search.literal(name.as_bytes())?;
        let Search { picks, left_out, .. } = search;
        Ok(Selected { root: self.shared_root(), owners: self.owners(), picks, left_out })
    }
}

struct Search<'a> {
    tree: &'a Tree,
    exclude: PatternList,
    picks: Vec<Pick>,
    left_out: LeftOut,
}

impl Search<'_> {
    fn source(&mut self, source: &str) -> Result<(), SelectError> {
        let parts = pattern::components(source.as_bytes());
        let Some(first) = parts.iter().position(|part| pattern::has_wildcards(part)) else {
            return self.literal(&parts.join(&b'/'));
        };
        pattern::check(source.as_bytes()).map_err(|_| SelectError::Pattern(source.to_owned()))?;
        let base = parts[..first].join(&b'/');
        let found = match self.resolve(&base) {
            Ok(found) => found,
            Err(SelectError::NotFound(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        if !found.stat.as_ref().is_some_and(is_directory) {
            return Ok(());
        }
        let mut matched = Vec::new();
        self.expand(&found.path, &parts[first..], &mut matched)?;
        for path in matched {
            let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default().to_vec();
            if self.excluded(&name) || self.excluded(&path) {
                continue;
            }
            let found = self.resolve(&path)?;
            match self.pick(found, name) {
                // Nothing of it is visible.
                Err(SelectError::Ignored(_)) => {}
                picked => picked?,
            }
        }
        Ok(())
    }

    /// A path without wildcards.
    fn literal(&mut self, path: &[u8]) -> Result<(), SelectError> {
        let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        let found = self.resolve(path)?;
        let is_dir = found.stat.as_ref().is_some_and(is_directory);
        if !is_dir && (self.excluded(name) || self.excluded(path)) {
            return Ok(());
        }
        self.pick(found, name.to_vec()).map_err(|error| match error {
            // As it was written.
            SelectError::NotFound(_) => SelectError::NotFound(path.to_vec()),
            SelectError::Ignored(_) => SelectError::Ignored(path.to_vec()),
            error => error,
        })
    }

    fn excluded(&self, path: &[u8]) -> bool {
        !self.exclude.is_empty() && self.exclude.matches(path)
    }

    /// What a path leads to; it is there.
    fn resolve(&self, path: &[u8]) -> Result<Resolved, SelectError> {
        match resolve(self.tree.root(), path, Last::Follow, None) {
            Ok(found) if found.stat.is_some() => Ok(found),
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR) => Err(self.missing(path)),
            Err(error) => Err(SelectError::Io { doing: "lstat", path: path.to_vec(), error }),
        }
    }

    fn missing(&self, path: &[u8]) -> SelectError {
        SelectError::NotFound(path.to_vec())
    }

    fn pick(&mut self, found: Resolved, name: Vec<u8>) -> Result<(), SelectError> {
        let Resolved { parent, name: own, path, stat } = found;
        let Some(stat) = stat else { return Err(self.missing(&path)) };
        let excludes = Excludes(&self.exclude);
        let filter = (!self.exclude.is_empty() && is_directory(&stat)).then_some(&excludes as &dyn Filter);
        let mut scan = Scan::new(self.tree, filter, &path);
        let entry = scan.top(parent.as_fd(), &own, &path, stat).map_err(in_words)?;
        self.left_out.add(scan.left_out);
        let Some(entry) = entry else {
            let hidden = self.tree.hides(&path, is_directory(&stat));
            return Err(if hidden { SelectError::Ignored(path) } else { SelectError::NotFound(path) });
        };
        self.picks.push(Pick { directory: above(&path), name, entry });
        Ok(())
    }

    /// Paths that match, by the rules of `filepath.Walk` and `filepath.Match`: links are not followed.
    fn expand(&self, directory: &[u8], patterns: &[&[u8]], matched: &mut Vec<Vec<u8>>) -> Result<(), SelectError> {
        let Some((first, rest)) = patterns.split_first() else { return Ok(()) };
        let failed = |path: &[u8], error| SelectError::Io { doing: "open", path: path.to_vec(), error };
        let fd = open_real(self.tree.root(), directory).map_err(|error| failed(directory, error))?;
        let mut found = names(fd.as_fd()).map_err(|error| failed(directory, error))?;
        found.retain(|name| pattern::matches(first, name));
        found.sort_unstable();
        for name in found {
            let path = join(directory, &name);
            let stat = match rustix::fs::statat(&fd, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(failed(&path, error)),
            };
            let is_dir = is_directory(&stat);
            let hidden = self.tree.hides(&path, is_dir);
            let may_descend = || self.tree.ignore().is_none_or(|ignore| ignore.may_descend(&path));
            if hidden && !(is_dir && may_descend()) {
                continue;
            }
            match rest {
                [] => matched.push(path),
                rest if is_dir => self.expand(&path, rest, matched)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// `--parents`: what matches, with the directories that lead to it from the pivot.
    fn with_parents(&mut self, source: &str) -> Result<(), SelectError> {
        let (pivot, pattern) = source.split_once("/./").unwrap_or(("", source));
        let pivot = if source.starts_with("./") && pivot.is_empty() { "" } else { pivot };
        let parts = pattern::components(pivot.as_bytes());
        let base = parts.join(&b'/');
        let found = self.resolve(&base)?;
        let wanted = PathPattern::parse(pattern).map_err(|_| SelectError::Pattern(source.to_owned()))?;
        let literal = !pattern::has_wildcards(pattern.as_bytes());
        let asked = pattern::components(pattern.as_bytes()).join(&b'/');
        if asked.is_empty() {
            return self.literal(&base);
        }
        let filter = Wanted { wanted: &wanted, exclude: &self.exclude };
        let mut scan = Scan::new(self.tree, Some(&filter), &found.path);
        let Resolved { parent, name, path, stat } = found;
        let Some(stat) = stat else { return Err(self.missing(&path)) };
        let entry = scan.top(parent.as_fd(), &name, &path, stat).map_err(in_words)?;
        self.left_out.add(scan.left_out);
        let below = join(&base, &asked);
        let empty = |entry: &crate::build::context::Entry| match &entry.kind {
            Kind::Directory { entries, .. } => entries.is_empty(),
            _ => true,
        };
        match entry {
            Some(mut entry) if !empty(&entry) => {
                if let Kind::Directory { wanted, .. } = &mut entry.kind {
                    *wanted = false;
                }
                self.picks.push(Pick { directory: above(&path), name: Vec::new(), entry });
                Ok(())
            }
            _ if literal && !self.excluded(&asked) => {
                let hidden = self.tree.hides(&below, false) || self.tree.hides(&below, true);
                Err(if hidden { SelectError::Ignored(below) } else { SelectError::NotFound(below) })
            }
            _ => Ok(()),
        }
    }
}

/// The directory that a real path is in.
fn above(path: &[u8]) -> Vec<u8> {
    path.iter().rposition(|&byte| byte == b'/').map_or_else(Vec::new, |slash| path[..slash].to_vec())
}

fn in_words(error: ScanError) -> SelectError {
    let ScanError { path, doing, error } = error;
    SelectError::Io { doing, path, error }
}

/// `--exclude`.
struct Excludes<'a>(&'a PatternList);

impl Filter for Excludes<'_> {
    fn judge(&self, path: &[u8], is_dir: bool) -> Verdict {
        match self.0.matches(path) {
            false => Verdict::Take,
            true if is_dir && self.0.may_except_below(path) => Verdict::Pass,
            true => Verdict::Leave,
        }
    }
}

/// `--parents`.
struct Wanted<'a> {
    wanted: &'a PathPattern,
    exclude: &'a PatternList,
}

impl Filter for Wanted<'_> {
    fn judge(&self, path: &[u8], is_dir: bool) -> Verdict {
        let excluded = Excludes(self.exclude).judge(path, is_dir);
        if excluded != Verdict::Take {
            return excluded;
        }
        if self.wanted.covers(path) {
            Verdict::Take
        } else if is_dir && self.wanted.may_cover_below(path) {
            Verdict::Pass
        } else {
            Verdict::Leave
        }
    }
}
