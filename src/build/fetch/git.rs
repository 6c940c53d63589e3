//! Repositories as contexts and for ADD, brought by the program `git`, with the caller's own settings and
//! keys for it. It never asks on a terminal.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};
use rustix::fs::Mode;

use crate::build::context::resolve::{Last, resolve};
use crate::store::remove::remove_tree;
use crate::sys::net_helper::die_with_parent;

/// Shown of what git says.
const ERROR_MAX: usize = 2000;

/// Nobody is asked for a password, and servers that are slower than so many bytes for so many seconds, or do not
/// answer, are given up.
const PATIENCE: [(&str, &str); 3] = [
    ("GIT_HTTP_LOW_SPEED_LIMIT", "100"),
    ("GIT_HTTP_LOW_SPEED_TIME", "60"),
    ("GIT_SSH_COMMAND", "ssh -o BatchMode=yes -o ConnectTimeout=60 -o ServerAliveInterval=15 -o ServerAliveCountMax=4"),
];

/// A repository, what of it is meant, and where in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GitRef {
    pub remote: String,
    /// A branch, a tag or a commit; None means what the remote's HEAD is.
    pub reference: Option<String>,
    pub subdirectory: Option<String>,
    /// The commit that it has to be, whole or its beginning.
    pub commit: Option<String>,
}

impl GitRef {
    /// Reads `https://host/x.git#ref:subdir`, `git@host:x`, `git://`, `ssh://`, `github.com/x/y` and the form
    /// with a query (`?ref=&subdir=&checksum=`). None for what is no repository; addresses of files are
    /// told from repositories by `.git` at the end of the path.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, fragment) = text.split_once('#').map_or((text, None), |(address, rest)| (address, Some(rest)));
        let (address, query) =
            address.split_once('?').map_or((address, None), |(address, query)| (address, Some(query)));
        let schemes = ["git://", "ssh://", "git+ssh://", "git+https://", "git+http://"];
        let by_suffix = ["http://", "https://", "file://"];
        let is_scp = || {
            let (user, rest) = address.split_once('@').unwrap_or(("", ""));
            let name = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
            !user.is_empty() && name(user) && rest.split_once(':').is_some_and(|(host, _)| name(host))
        };
        let remote = if schemes.iter().any(|scheme| address.starts_with(scheme)) {
            address.strip_prefix("git+").unwrap_or(address).to_owned()
        } else if by_suffix.iter().any(|scheme| address.starts_with(scheme)) {
            if !address.trim_end_matches('/').ends_with(".git") {
                return None;
            }
            address.to_owned()
        } else if let Some(path) = address.strip_prefix("github.com/") {
            format!("https://github.com/{path}")
        } else if is_scp() {
            address.to_owned()
        } else {
            return None;
        };
        let mut found = Self { remote, ..Self::default() };
        let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        if let Some(fragment) = fragment {
            let (reference, subdirectory) = fragment.split_once(':').unwrap_or((fragment, ""));
            (found.reference, found.subdirectory) = (given(reference), given(subdirectory));
        }
        for (key, value) in query.into_iter().flat_map(|query| query.split('&')).filter_map(|pair| pair.split_once('='))
        {
            match key {
                "ref" | "branch" | "tag" => found.reference = given(value),
                "subdir" => found.subdirectory = given(value),
                "commit" | "checksum" => found.commit = given(value),
                _ => return None,
            }
        }
        Some(found)
    }

    /// The commit that it is now, which names its content.
    pub fn resolve(&self) -> Result<String> {
        let reference = self.reference.as_deref().unwrap_or("HEAD");
        if reference.starts_with('-') || self.remote.starts_with('-') {
            bail!("invalid git reference {reference:?} of {}", self.remote);
        }
        let commit = match is_commit(reference) {
            true => reference.to_owned(),
            false => self.look_up(reference)?,
        };
        match &self.commit {
            Some(expected) if !commit.starts_with(expected.as_str()) => {
                bail!("expected checksum to match {expected}, got {commit}")
            }
            _ => Ok(commit),
        }
    }

    fn look_up(&self, reference: &str) -> Result<String> {
        let listed = run(git(None).args(["ls-remote", "--", &self.remote]), &self.remote)?;
        let refs: Vec<(&str, &str)> = listed.lines().filter_map(|line| line.split_once('\t')).collect();
        let names = [
            format!("refs/heads/{reference}"),
            // What an annotated tag is of.
            format!("refs/tags/{reference}^{{}}"),
            format!("refs/tags/{reference}"),
            format!("{reference}^{{}}"),
            reference.to_owned(),
        ];
        let find = |name: &String| refs.iter().find(|(_, found)| found == name);
        let (commit, _) = names
            .iter()
            .find_map(find)
            .ok_or_else(|| anyhow!("repository does not contain ref {reference}: {}", self.remote))?;
        Ok((*commit).to_owned())
    }

    /// Brings the files of a commit into the empty directory `to`, submodules included.
    pub fn check_out(&self, commit: &str, to: &Path, keep_git_directory: bool) -> Result<()> {
        // What git makes is as open as what others make: the files go into images.
        let old = rustix::process::umask(Mode::from_raw_mode(0o022));
        let done = self.fill(commit, to);
        rustix::process::umask(old);
        done?;
        if !keep_git_directory {
            remove_tree(&to.join(".git")).context("remove .git")?;
        }
        Ok(())
    }

    /// Where the wanted ones are of the files that lie in `to`.
    pub fn wanted(&self, to: &Path) -> Result<PathBuf> {
        let Some(subdirectory) = &self.subdirectory else { return Ok(to.to_owned()) };
        let missing = || anyhow!("{}: no directory {subdirectory} in the commit", self.remote);
        let root = std::fs::File::open(to)?;
        let found = resolve(std::os::fd::AsFd::as_fd(&root), subdirectory.as_bytes(), Last::Follow, None);
        let found = found.ok().filter(|found| found.stat.is_some()).ok_or_else(missing)?;
        let path = to.join(std::ffi::OsStr::new(std::str::from_utf8(&found.path)?));
        if path.is_dir() { Ok(path) } else { Err(missing()) }
    }

    fn fill(&self, commit: &str, to: &Path) -> Result<()> {
        let in_place = |arguments: &[&str]| run(git(Some(to)).args(arguments), &self.remote);
        in_place(&["-c", "init.defaultBranch=main", "init", "-q"])?;
        in_place(&["remote", "add", "--", "origin", &self.remote])?;
        // Not every server gives a commit by its number.
        if in_place(&["fetch", "-q", "--depth=1", "--no-tags", "origin", commit]).is_err() {
            let reference = self.reference.as_deref().filter(|reference| !is_commit(reference));
            let shallow = reference.map(|reference| in_place(&["fetch", "-q", "--depth=1", "origin", reference]));
            if !matches!(shallow, Some(Ok(_))) || in_place(&["cat-file", "-e", commit]).is_err() {
                in_place(&["fetch", "-q", "--tags", "origin", "+refs/heads/*:refs/remotes/origin/*"])?;
            }
        }
        in_place(&["-c", "advice.detachedHead=false", "checkout", "-q", "--detach", commit])?;
        if to.join(".gitmodules").is_file() {
            in_place(&["submodule", "update", "-q", "--init", "--recursive", "--depth=1"])?;
        }
        Ok(())
    }
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn git(directory: Option<&Path>) -> Command {
    let mut command = Command::new("git");
    if let Some(directory) = directory {
        command.arg("-C").arg(directory);
    }
    // Hooks and file system monitors of the caller's are for the caller's own repositories.
    command.args(["-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false"]);
    for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR"] {
        command.env_remove(variable);
    }
    command.env("GIT_TERMINAL_PROMPT", "0").stdin(Stdio::null());
    for (variable, value) in PATIENCE {
        if std::env::var_os(variable).is_none() {
            command.env(variable, value);
        }
    }
    die_with_parent(&mut command);
    command
}

/// What it prints.
fn run(command: &mut Command, remote: &str) -> Result<String> {
    let output = command.output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => anyhow!("cannot fetch {remote}: git is not installed: install git"),
        _ => anyhow!("run git: {error}"),
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr[output.stderr.len().saturating_sub(ERROR_MAX)..]).into_owned();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let text = lines.map(|line| line.escape_debug().to_string().replace("\\'", "'")).collect::<Vec<_>>().join("; ");
    bail!("failed to fetch remote {remote}: {text}")
}
