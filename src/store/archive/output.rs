//! Where an archive goes. A file or directory appears under its name when it is complete; what a
//! failure or a kill leaves has no name wherever the file system can do that.

use std::fs::File;
use std::io::{self, Seek};
use std::os::fd::AsRawFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::store::{fs, remove};

/// What `save` writes to.
#[derive(Debug)]
pub enum Output {
    /// A pipe or whatever else was opened already.
    Stream(File),
    /// A file of this name, replaced when the new one is complete.
    File(PathBuf),
}

/// A file being written.
#[derive(Debug)]
pub struct NewFile {
    file: File,
    /// For messages.
    name: String,
    end: End,
}

#[derive(Debug)]
enum End {
    /// Written in place.
    Nothing,
    /// Has no name yet.
    Link(PathBuf),
    /// Has a temporary name.
    Rename { from: Temporary, to: PathBuf },
}

/// A temporary name, removed when it is dropped.
#[derive(Debug)]
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = remove::remove_tree(&self.0);
    }
}

impl NewFile {
    /// Begins to write; nobody sees anything yet. What was begun goes when it is dropped. It is for its
    /// owner only, as docker's, whatever it replaces: it holds an image's or a container's files.
    pub fn create(output: Output) -> Result<Self> {
        let path = match output {
            Output::Stream(file) => return Ok(Self { file, name: "standard output".to_owned(), end: End::Nothing }),
            Output::File(path) => path,
        };
        let shown = path.display().to_string();
        let context = || format!("create {}", path.display());
        match std::fs::metadata(&path) {
            Ok(known) if known.is_dir() => bail!("invalid output path: {:?} is a directory", path.display()),
            Ok(known) if known.is_file() => Self::beside(std::fs::canonicalize(&path)?, shown).with_context(context),
            // A device or a pipe.
            Ok(_) => {
                let file = File::options().write(true).open(&path).with_context(context)?;
                Ok(Self { file, name: shown, end: End::Nothing })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                check_parent(&path)?;
                Self::beside(path.clone(), shown).with_context(context)
            }
            Err(error) => Err(error).with_context(context),
        }
    }

    /// A file without a name in the directory of `path`, else one with a name of its own.
    fn beside(path: PathBuf, name: String) -> Result<Self> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        match rustix::fs::openat(CWD, parent(&path), flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => Ok(Self { file: File::from(file), name, end: End::Link(path) }),
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT) => {
                let temporary = temporary(&path)?;
                fs::create_file(&temporary, b"", fs::Durability::Volatile)?;
                let from = Temporary(temporary);
                let file = File::options().read(true).write(true).open(&from.0)?;
                Ok(Self { file, name, end: End::Rename { from, to: path } })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// What the writing is, for the messages of its failures.
    pub fn doing(&self) -> String {
        format!("write to {}", self.name)
    }

    /// What is written to.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Whether what was written can be gone back to.
    pub fn is_seekable(&mut self) -> bool {
        self.file.stream_position().is_ok() && !matches!(self.end, End::Nothing)
    }

    /// Gives the file its name.
    pub fn finish(self) -> Result<()> {
        match self.end {
            End::Nothing => Ok(()),
            End::Link(path) => link(&self.file, &path).with_context(|| format!("name {}", path.display())),
            End::Rename { from, to } => std::fs::rename(&from.0, &to).with_context(|| format!("name {}", to.display())),
        }
    }
}

/// Names a file that has none, in place of one that may be there.
fn link(file: &File, path: &Path) -> Result<()> {
    let source = format!("/proc/self/fd/{}", file.as_raw_fd());
    let name = |path: &Path| rustix::fs::linkat(CWD, source.as_str(), CWD, path, AtFlags::SYMLINK_FOLLOW);
    match name(path) {
        Err(Errno::EXIST) => {
            let temporary = Temporary(temporary(path)?);
            name(&temporary.0)?;
            Ok(std::fs::rename(&temporary.0, path)?)
        }
        named => Ok(named?),
    }
}

/// A directory being filled.
#[derive(Debug)]
pub(super) struct NewDirectory {
    temporary: Temporary,
    target: PathBuf,
}

impl NewDirectory {
    /// Fills a directory that takes the place of `target`, which is absent or empty.
    pub fn create(target: PathBuf) -> Result<Self> {
        match std::fs::read_dir(&target).map(|mut entries| entries.next().is_none()) {
            Ok(true) => {}
            Ok(false) => bail!("invalid output path: directory {:?} is not empty", target.display()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => check_parent(&target)?,
            Err(error) => return Err(error).with_context(|| format!("open {}", target.display())),
        }
        let temporary = temporary(&target)?;
        std::fs::DirBuilder::new()
            .mode(0o755)
            .create(&temporary)
            .with_context(|| format!("create {}", target.display()))?;
        Ok(Self { temporary: Temporary(temporary), target })
    }

    pub fn path(&self) -> &Path {
        &self.temporary.0
    }

    /// Creates a file in it.
    pub fn create_file(&self, name: &str) -> Result<File> {
        let path = self.path().join(name);
        Ok(File::options().write(true).create_new(true).open(path)?)
    }

    /// Gives it its name.
    pub fn finish(self) -> Result<()> {
        std::fs::rename(self.path(), &self.target).with_context(|| format!("name {}", self.target.display()))
    }
}

/// docker's words.
fn check_parent(path: &Path) -> Result<()> {
    let parent = parent(path);
    if parent.is_dir() {
        return Ok(());
    }
    bail!("invalid output path: directory {:?} does not exist", parent.display())
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn temporary(path: &Path) -> Result<PathBuf> {
    let name = path.file_name().with_context(|| format!("invalid output path: {:?}", path.display()))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}", fs::random_suffix()?));
    Ok(path.with_file_name(hidden))
}
