//! Where the Dockerfile and the files of a build come from.

use std::io::{self, IsTerminal, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::build::fetch::git::GitRef;
use crate::build::solve::Directory;
use crate::build::step::worker::{Frame, Place, Report, Worker};
use crate::cmd::Context;
use crate::cmd::interruptions::Interruptions;
use crate::store::Store;
use crate::store::archive::{self, Packing};
use crate::store::registry::{Patience, download};
use crate::store::staging::Staging;
use crate::store::unpack::{self, Addition};

/// Dockerfiles are not longer than this.
const FILE_LIMIT: u64 = 16 << 20;
/// Names of the file in a directory, in their order.
const NAMES: [&str; 2] = ["Dockerfile", "Containerfile"];
/// Where a Dockerfile that came alone is in the staging directory.
const ALONE: &str = "Dockerfile";
/// Where files that came are in it.
const FILES: &str = "files";

/// What a build starts from.
#[derive(Debug)]
pub struct Source {
    pub dockerfile: Vec<u8>,
    /// Its name as errors show it.
    pub name: String,
    /// None when the Dockerfile came alone.
    pub context: Option<Directory>,
    /// Files that came from elsewhere, for as long as this lives.
    _kept: Vec<Staging>,
}

impl Source {
    /// Reads what `-f` and the context argument name.
    pub fn read(context: &Context, place: &str, file: Option<&str>, ignorefile: Option<&Path>) -> Result<Self> {
        if file == Some("-") && place == "-" {
            bail!("invalid argument: can't use stdin for both build context and dockerfile");
        }
        if place != "-" && !is_address(place) {
            return Self::of_directory(context, place, file, ignorefile);
        }
        let (staging, root) = match GitRef::parse(place) {
            Some(repository) => clone(context, &repository).context("unable to prepare context")?,
            None if place == "-" || download::is_url(place) => {
                let staging = fetch(context, place)?;
                let root = files_of(&staging);
                (staging, root)
            }
            None => bail!("unable to prepare context: {place} is neither a directory nor an address that can be read"),
        };
        let alone = staging.path().join(ALONE);
        if alone.is_file() {
            let dockerfile = std::fs::read(&alone).context("read the Dockerfile")?;
            return Ok(Self { dockerfile, name: ALONE.to_owned(), context: None, _kept: vec![staging] });
        }
        let mut kept = vec![staging];
        let (name, dockerfile, _) = read_file(context, &root, file, &mut kept)?;
        let ignore = ignore(&root, Some(&root.join(&name)), ignorefile)?;
        Ok(Self { dockerfile, name, context: Some(Directory { path: root, ignore, lasting: false }), _kept: kept })
    }

    fn of_directory(context: &Context, place: &str, file: Option<&str>, ignorefile: Option<&Path>) -> Result<Self> {
        let root = check_directory(Path::new(place))?;
        let mut kept = Vec::new();
        let (name, dockerfile, path) = read_file(context, &root, file, &mut kept)?;
        let ignore = ignore(&root, path.as_deref(), ignorefile)?;
        let directory = Directory { path: root, ignore, lasting: true };
        Ok(Self { dockerfile, name, context: Some(directory), _kept: kept })
    }
}

/// A directory as a context.
pub fn directory(path: &Path, ignorefile: Option<&Path>) -> Result<Directory> {
    let path = check_directory(path)?;
    let ignore = ignore(&path, None, ignorefile)?;
    Ok(Directory { path, ignore, lasting: true })
}

fn check_directory(path: &Path) -> Result<PathBuf> {
    match std::fs::metadata(path) {
        Ok(known) if known.is_dir() => Ok(std::fs::canonicalize(path)?),
        Ok(_) => bail!("unable to prepare context: {} is not a directory", path.display()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            bail!("unable to prepare context: path {:?} not found", path.display().to_string())
        }
        Err(error) => bail!("unable to prepare context: {}: {}", path.display(), reason(&error)),
    }
}

/// The Dockerfile's name for messages, its text, and its path if it has one.
fn read_file(
    context: &Context,
    root: &Path,
    file: Option<&str>,
    kept: &mut Vec<Staging>,
) -> Result<(String, Vec<u8>, Option<PathBuf>)> {
    match file {
        Some("-") => {
            let mut text = Vec::new();
            io::stdin().lock().take(FILE_LIMIT).read_to_end(&mut text).context("read the Dockerfile")?;
            Ok((ALONE.to_owned(), text, None))
        }
        Some(address) if is_address(address) => {
            let staging = fetch(context, address)?;
            let text = std::fs::read(staging.path().join(ALONE));
            let text = text.map_err(|_| anyhow!("failed to read dockerfile: {address} is an archive"))?;
            kept.push(staging);
            Ok((ALONE.to_owned(), text, None))
        }
        Some(file) => {
            // As docker: relative to where we are, else to the context.
            let here = PathBuf::from(file);
            let path = if here.exists() || here.is_absolute() { here } else { root.join(file) };
            let name = path.file_name().map_or_else(|| file.to_owned(), |name| name.to_string_lossy().into_owned());
            Ok((name, read_limited(&path)?, Some(path)))
        }
        None => {
            let found = NAMES.iter().map(|name| root.join(name)).find(|path| path.exists());
            let path = found.unwrap_or_else(|| root.join(NAMES[0]));
            let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            Ok((name, read_limited(&path)?, Some(path)))
        }
    }
}

fn read_limited(path: &Path) -> Result<Vec<u8>> {
    let read = || -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        std::fs::File::open(path)?.take(FILE_LIMIT).read_to_end(&mut text)?;
        Ok(text)
    };
    let name = path.file_name().map_or_else(|| path.to_string_lossy(), |name| name.to_string_lossy());
    read().map_err(|error| anyhow!("failed to read dockerfile: open {name}: {}", reason(&error)))
}

/// The text of the patterns that leave files out: those of this Dockerfile alone, else the context's.
fn ignore(root: &Path, dockerfile: Option<&Path>, given: Option<&Path>) -> Result<Option<String>> {
    if let Some(file) = given {
        return read_text(file).map(Some);
    }
    let mut places = Vec::new();
    if let Some(dockerfile) = dockerfile {
        let mut own = dockerfile.as_os_str().to_owned();
        own.push(".dockerignore");
        places.push(PathBuf::from(own));
    }
    places.extend([".dockerignore", ".containerignore"].map(|name| root.join(name)));
    places.into_iter().find(|path| path.is_file()).map(|path| read_text(&path)).transpose()
}

/// A file of text that is not endless.
pub fn read_text(path: &Path) -> Result<String> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| anyhow!("open {}: {}", path.display(), reason(&error)))?;
    file.take(FILE_LIMIT).read_to_end(&mut bytes).with_context(|| format!("read {}", path.display()))?;
    String::from_utf8(bytes).map_err(|_| anyhow!("{} is not UTF-8 text", path.display()))
}

/// An error of the system in Go's words.
pub fn reason(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => {
            let text = error.to_string();
            let text = text.strip_suffix(&format!(" (os error {number})")).unwrap_or(&text);
            text.to_lowercase()
        }
        None => error.to_string(),
    }
}

fn is_address(place: &str) -> bool {
    place.contains("://") || place.starts_with("git@") || place.starts_with("github.com/")
}

/// Where the files are that came as an archive.
pub fn files_of(staging: &Staging) -> PathBuf {
    staging.path().join(FILES)
}

/// The files of a repository, and where they are.
pub fn clone(context: &Context, repository: &GitRef) -> Result<(Staging, PathBuf)> {
    let staging = Staging::create(context.store()?).context("create a staging directory")?;
    let files = staging.path().join(FILES);
    std::fs::create_dir(&files)?;
    apart(context.store()?, || repository.check_out(&repository.resolve()?, &files, false))?;
    let root = repository.wanted(&files)?;
    Ok((staging, root))
}

/// Takes an archive or a Dockerfile from standard input or an address into a staging directory.
pub fn fetch(context: &Context, place: &str) -> Result<Staging> {
    if place == "-" && io::stdin().is_terminal() {
        bail!("ambiguous Dockerfile source: standard input is a terminal: redirect a Dockerfile or an archive to it");
    }
    let staging = Staging::create(context.store()?).context("create a staging directory")?;
    apart(context.store()?, || take(context, place, staging.path()))?;
    Ok(staging)
}

/// Does `work` in a process of its own, as it may need threads and we fork more, and an interrupt ends it.
pub fn apart(store: &Store, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let interruptions = Interruptions::watch()?;
    let mut worker = Worker::start(store, Place::Here, |_| Ok(work().map(|()| Report::default())?))?;
    loop {
        {
            let [said, ended] = worker.descriptors();
            let watched = [said, ended, interruptions.descriptor()];
            let mut watched = watched.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
            match poll(&mut watched, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        interruptions.check()?;
        for frame in worker.hear()? {
            if let Frame::Done(done) = frame {
                return (*done).map(drop).map_err(|failure| anyhow!(failure.message));
            }
        }
    }
}

fn take(context: &Context, place: &str, to: &Path) -> Result<()> {
    let mut input: Box<dyn Read + Send> = match place {
        "-" => Box::new(io::stdin()),
        url => Box::new(download::open(url, &Patience::default()).context("unable to prepare context")?),
    };
    let mut head = Vec::new();
    Read::by_ref(&mut input).take(512).read_to_end(&mut head).context("read the build context")?;
    let is_archive = Packing::of(&head) != Packing::Plain || head.get(257..262) == Some(b"ustar");
    let input = io::Cursor::new(head).chain(input);
    if !is_archive {
        let mut text = Vec::new();
        input.take(FILE_LIMIT).read_to_end(&mut text).context("read the Dockerfile")?;
        return std::fs::write(to.join(ALONE), text).context("write the Dockerfile");
    }
    let limits = context.layer_limits()?;
    let root = to.join(FILES);
    std::fs::create_dir(&root)?;
    unpack_into(archive::decoded(input, limits)?, &root).context("unpack the build context")
}

/// Unpacks a plain archive as files of ours. The caller may have threads from here on.
pub fn unpack_into(input: impl Read, root: &Path) -> Result<()> {
    let root: OwnedFd = std::fs::File::open(root)?.into();
    let addition = Addition { path: Vec::new(), owner: None, maps: None, replace_kinds: true, single_id: true };
    let (ours, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let unpacking = std::thread::spawn(move || unpack::add(std::fs::File::from(ours), root, addition));
    let mut input = input;
    let mut theirs = std::fs::File::from(theirs);
    let copied = io::copy(&mut input, &mut theirs);
    drop(theirs);
    match unpacking.join() {
        Ok(unpacked) => {
            // Who reads no more says why.
            unpacked?;
            Ok(copied.map(drop)?)
        }
        Err(_) => bail!("the thread that unpacks panicked"),
    }
}
