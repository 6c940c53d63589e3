//! The digest of a selection: names, kinds, permissions, owners, link targets, extended attributes and
//! contents, no times. Unchanged files are known by their stat data; the others are read by several
//! threads.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::{Errno, retry_on_intr};
use sha2::{Digest as _, Sha256};

use super::{SelectError, Selected};
use crate::build::context::entry::join;
use crate::build::context::resolve::open_real;
use crate::build::context::scan;
use crate::build::context::stat_cache::{Known, attribute_digest, is_racy};
use crate::build::context::{Entry, Kind, Stamp, StatCache, TreeOwners};
use crate::spec::digest::Digest;
use crate::store::copy::{OverlayMarks, attributes};

const BUFFER: usize = 128 << 10;
/// Files that a thread takes at once; fewer than twice as many are not worth a thread.
const BATCH: usize = 32;
const THREADS_MAX: usize = 8;
/// How often a file is read anew that changes meanwhile.
const TRIES: usize = 4;

impl Selected {
    /// The digest of what would be copied. With `chown` the copies' owners are given and the sources' do
    /// not count. Starts threads, and ends them.
    pub fn digest(&mut self, cache: &StatCache, chown: bool) -> Result<Digest, SelectError> {
        self.read(cache)?;
        let owners = self.owners == TreeOwners::Keep && !chown;
        let mut sum = Sum { hash: Sha256::new(), owners };
        for pick in &self.picks {
            sum.text(&pick.name);
            sum.entry(&pick.entry, true);
        }
        Ok(Digest::from_sha256(sum.hash.finalize().into()))
    }

    /// Learns what all files hold.
    fn read(&mut self, cache: &StatCache) -> Result<(), SelectError> {
        let mut directories = Vec::new();
        let mut jobs = Vec::new();
        for pick in &mut self.picks {
            let (directory, own) = (pick.directory.clone(), directories.len());
            directories.push(directory);
            collect(&mut pick.entry, own, &mut directories, cache, &mut jobs);
        }
        let work = Work { root: self.root.as_fd(), directories: &directories, owners: self.owners };
        let found = work.run(&jobs)?;
        let mut new = Vec::new();
        let mut results = found.into_iter();
        for pick in &mut self.picks {
            assign(&mut pick.entry, &mut results, &mut new);
        }
        // What cannot be stored is only read again.
        let _ = cache.store(new);
        Ok(())
    }
}

/// A file to read: where, and what it is called there.
struct Job {
    directory: usize,
    name: CString,
}

/// What came of it.
struct Read {
    stat: Stat,
    known: Known,
    racy: bool,
}

/// Takes what is known from the cache, and lists the rest in the order of the walk.
fn collect(entry: &mut Entry, parent: usize, directories: &mut Vec<Vec<u8>>, cache: &StatCache, jobs: &mut Vec<Job>) {
    match &mut entry.kind {
        Kind::File { digest, racy } => {
            if digest.is_some() {
                return;
            }
            match cache.get(&entry.stat) {
                Some(known) => {
                    (*digest, *racy) = (Some(known.digest), false);
                    entry.attributes = Some(known.attributes);
                }
                None => jobs.push(Job { directory: parent, name: entry.name.clone() }),
            }
        }
        Kind::Directory { entries, .. } => {
            let path = match entry.name.to_bytes() {
                b"." => Vec::new(),
                name => join(&directories[parent], name),
            };
            let own = directories.len();
            directories.push(path);
            for below in entries {
                collect(below, own, directories, cache, jobs);
            }
        }
        _ => {}
    }
}

/// Gives what was read to the files that lack it, in the same order.
fn assign(entry: &mut Entry, results: &mut dyn Iterator<Item = Read>, new: &mut Vec<(Stat, Known)>) {
    match &mut entry.kind {
        Kind::File { digest, racy } if digest.is_none() => {
            let Some(read) = results.next() else { return };
            if !read.racy {
                new.push((read.stat, read.known));
            }
            (*digest, *racy) = (Some(read.known.digest), read.racy);
            entry.stat = read.stat;
            entry.attributes = Some(read.known.attributes);
        }
        Kind::Directory { entries, .. } => entries.iter_mut().for_each(|below| assign(below, results, new)),
        _ => {}
    }
}

struct Work<'a> {
    root: BorrowedFd<'a>,
    directories: &'a [Vec<u8>],
    owners: TreeOwners,
}

impl Work<'_> {
    fn run(&self, jobs: &[Job]) -> Result<Vec<Read>, SelectError> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = processors.min(THREADS_MAX).min(jobs.len() / (2 * BATCH) + 1);
        let next = AtomicUsize::new(0);
        let done = Mutex::new((0..jobs.len()).map(|_| None).collect::<Vec<Option<Read>>>());
        let failed = Mutex::new(None);
        let work = || {
            let mut reader = Reader { work: self, open: None, buffer: vec![0; BUFFER] };
            loop {
                let first = next.fetch_add(BATCH, Ordering::Relaxed);
                let Some(batch) = jobs.get(first..jobs.len().min(first + BATCH)).filter(|batch| !batch.is_empty())
                else {
                    return;
                };
                let read: Result<Vec<Read>, SelectError> = batch.iter().map(|job| reader.read(job)).collect();
                match read {
                    Ok(read) => {
                        let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                        for (slot, read) in done[first..].iter_mut().zip(read) {
                            *slot = Some(read);
                        }
                    }
                    Err(error) => {
                        failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                        next.store(jobs.len(), Ordering::Relaxed);
                        return;
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..threads {
                // Where no thread can be had this one does the work.
                let _ = std::thread::Builder::new().spawn_scoped(scope, work);
            }
            work();
        });
        match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().flatten().collect()),
        }
    }
}

/// Reads files, one directory after the other.
struct Reader<'a> {
    work: &'a Work<'a>,
    open: Option<(usize, OwnedFd)>,
    buffer: Vec<u8>,
}

impl Reader<'_> {
    fn read(&mut self, job: &Job) -> Result<Read, SelectError> {
        let path = || join(&self.work.directories[job.directory], job.name.to_bytes());
        let failed = |error| SelectError::Io { doing: "open", path: path(), error };
        if self.open.as_ref().is_none_or(|(open, _)| *open != job.directory) {
            let fd = open_real(self.work.root, &self.work.directories[job.directory]).map_err(failed)?;
            self.open = Some((job.directory, fd));
        }
        let Some((_, directory)) = &self.open else { return Err(failed(Errno::BADF)) };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(directory, &job.name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::LOOP | Errno::NXIO | Errno::NOENT) => return Err(SelectError::Changed(path())),
            Err(error) => return Err(failed(error)),
        };
        let mut stat = rustix::fs::fstat(&file).map_err(failed)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(SelectError::Changed(path()));
        }
        let failed = |error| SelectError::Io { doing: "read", path: path(), error };
        for tries in 1.. {
            let now = SystemTime::now();
            let known = content(&file, self.work.owners, &mut self.buffer).map_err(failed)?;
            let after = rustix::fs::fstat(&file).map_err(failed)?;
            let same = Stamp::of(&after) == Stamp::of(&stat);
            stat = after;
            if same || tries == TRIES {
                return Ok(Read { stat, known, racy: !same || is_racy(&stat, now) });
            }
        }
        Err(SelectError::Changed(path()))
    }
}

/// The digest of an open file's content and extended attributes.
pub(super) fn content(file: &OwnedFd, owners: TreeOwners, buffer: &mut [u8]) -> Result<Known, Errno> {
    let mut hash = Sha256::new();
    let mut offset = 0;
    loop {
        let count = retry_on_intr(|| rustix::io::pread(file, &mut *buffer, offset))?;
        if count == 0 {
            break;
        }
        hash.update(&buffer[..count]);
        offset += count as u64;
    }
    let found = attributes(file.as_fd(), OverlayMarks::Drop, &scan::owners(owners))?;
    if !found.is_empty() {
        hash.update(attribute_digest(&found).as_bytes());
        // An attribute is no content.
        hash.update((offset ^ u64::MAX).to_le_bytes());
    }
    Ok(Known { digest: Digest::from_sha256(hash.finalize().into()), attributes: !found.is_empty() })
}

/// A sum over entries in an unambiguous form.
struct Sum {
    hash: Sha256,
    owners: bool,
}

impl Sum {
    fn text(&mut self, text: &[u8]) {
        self.hash.update((text.len() as u64).to_le_bytes());
        self.hash.update(text);
    }

    /// `top`: its own name in the tree does not matter.
    fn entry(&mut self, entry: &Entry, top: bool) {
        if !top {
            self.text(entry.name());
        }
        // Of a source that is a directory only what it holds is copied.
        let contents = top && entry.is_directory();
        let mode = match entry.kind {
            Kind::Link(_) => 0o777,
            _ if contents => 0,
            _ => entry.stat.st_mode & 0o7777,
        };
        self.hash.update(mode.to_le_bytes());
        if self.owners && !contents {
            self.hash.update(entry.stat.st_uid.to_le_bytes());
            self.hash.update(entry.stat.st_gid.to_le_bytes());
        }
        match &entry.kind {
            Kind::Directory { entries, wanted, attributes } => {
                self.hash.update([b'd', u8::from(*wanted), u8::from(attributes.is_some() && !contents)]);
                if let Some(attributes) = attributes.as_ref().filter(|_| !contents) {
                    self.hash.update(attributes.as_bytes());
                }
                self.hash.update((entries.len() as u64).to_le_bytes());
                entries.iter().for_each(|below| self.entry(below, false));
            }
            Kind::File { digest, .. } => {
                self.hash.update(b"f");
                if let Some(digest) = digest {
                    self.hash.update(digest.as_bytes());
                }
            }
            Kind::Link(target) => {
                self.hash.update(b"l");
                self.text(target.to_bytes());
            }
            Kind::Fifo => self.hash.update(b"p"),
            Kind::Device => {
                self.hash.update(b"c");
                self.hash.update(entry.stat.st_rdev.to_le_bytes());
            }
        }
    }
}
