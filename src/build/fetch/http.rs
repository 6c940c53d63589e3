//! `ADD https://...`: a file by its address, kept in the store for the next build, which asks only whether
//! it changed.

use std::fs::{File, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::spec::digest::Digest;
use crate::store::fs;
use crate::store::lock::FileLock;
use crate::store::registry::{Patience, download};

/// A file whose address gives it no name; BuildKit's.
const UNNAMED: &str = "__unnamed__";
const RECORD: &str = "record.json";
const RECORD_MAX: usize = 64 << 10;
/// The directory with the file alone.
const FILES: &str = "files";
const BUFFER: usize = 256 << 10;

/// A directory of downloads, an entry for each address.
#[derive(Clone, Debug)]
pub struct Downloads {
    directory: PathBuf,
}

/// A file that is here. It stays what it is as long as this lives.
#[derive(Debug)]
pub struct Fetched {
    /// Holds the file and nothing else.
    pub directory: PathBuf,
    pub name: String,
    pub digest: Digest,
    pub size: u64,
    _lock: FileLock,
}

/// What is known of a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    url: String,
    digest: Digest,
    size: u64,
    #[serde(default)]
    etag: Option<String>,
}

impl Downloads {
    /// `directory` is made when it is needed.
    pub fn at(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Brings the file at `url`: mode 0600, its time the server's. With `checksum` (`sha256:...`) it must be
    /// this one, and nobody is asked if it is here. `progress` hears of bytes.
    pub fn fetch(&self, url: &str, checksum: Option<&str>, progress: &mut dyn FnMut(u64)) -> Result<Fetched> {
        let expected = checksum.map(str::parse::<Digest>).transpose().context("--checksum")?;
        let entry = self.directory.join(Digest::of(url.as_bytes()).hex());
        fs::create_private_dir(&entry).with_context(|| format!("make {}", entry.display()))?;
        let lock = FileLock::directory(&entry).with_context(|| format!("lock {}", entry.display()))?;
        let name = name_of(url);
        let path = entry.join(FILES).join(&name);
        let known = read_record(&entry.join(RECORD)).filter(|known| known.url == url && is_whole(&path, known.size));
        let fetched = |record: &Record| Fetched {
            directory: entry.join(FILES),
            name: name.clone(),
            digest: record.digest,
            size: record.size,
            _lock: lock,
        };
        if let Some(known) = known.as_ref().filter(|known| Some(known.digest) == expected) {
            return Ok(fetched(known));
        }
        let etag = known.as_ref().and_then(|known| known.etag.as_deref());
        let mut download = download::open_unless(url, etag, &Patience::default())?;
        let record = match known {
            Some(known) if download.is_unchanged() => known,
            _ => {
                let etag = download.etag().map(str::to_owned);
                let modified = download.last_modified().unwrap_or(0);
                let (digest, size) = receive(&mut download, &entry, &name, modified, progress)
                    .with_context(|| format!("download {url}"))?;
                let record = Record { url: url.to_owned(), digest, size, etag };
                fs::write_volatile(&entry.join(RECORD), &serde_json::to_vec(&record)?)?;
                record
            }
        };
        match expected {
            Some(expected) if expected != record.digest => {
                bail!("download {url}: digest mismatch {}: {expected}", record.digest)
            }
            _ => Ok(fetched(&record)),
        }
    }
}

fn read_record(path: &Path) -> Option<Record> {
    serde_json::from_slice(&fs::read_limited(path, RECORD_MAX).ok()?).ok()
}

fn is_whole(path: &Path, size: u64) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() == size)
}

/// Writes what comes to a file that takes its place when it is whole.
fn receive(
    input: &mut dyn Read,
    entry: &Path,
    name: &str,
    modified: i64,
    progress: &mut dyn FnMut(u64),
) -> Result<(Digest, u64)> {
    let files = entry.join(FILES);
    let _ = std::fs::remove_file(entry.join(RECORD));
    if fs::exists(&files) {
        std::fs::remove_dir_all(&files)?;
    }
    fs::create_private_dir(&files)?;
    let part = entry.join("part");
    let mut file = File::create(&part)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    let (mut hash, mut buffer, mut size) = (Sha256::new(), vec![0; BUFFER], 0);
    loop {
        let count = input.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        hash.update(&buffer[..count]);
        file.write_all(&buffer[..count])?;
        size += count as u64;
        progress(count as u64);
    }
    let time = match u64::try_from(modified) {
        Ok(seconds) => UNIX_EPOCH + Duration::from_secs(seconds),
        Err(_) => SystemTime::UNIX_EPOCH,
    };
    file.set_modified(time)?;
    std::fs::rename(&part, files.join(name))?;
    Ok((Digest::from_sha256(hash.finalize().into()), size))
}

/// The last part of the address's path.
pub fn name_of(url: &str) -> String {
    let path = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let name = path.split_once('/').map_or("", |(_, path)| path).trim_end_matches('/').rsplit('/').next();
    match name.map(decoded) {
        Some(name) if !matches!(name.as_str(), "" | "." | "..") && !name.contains(['/', '\0']) => name,
        _ => UNNAMED.to_owned(),
    }
}

/// `%41` is `A`; what is none of these stays.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.filter(|_| bytes[at] == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                plain.push(byte);
                at += 3;
            }
            None => {
                plain.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(plain).unwrap_or_else(|_| text.to_owned())
}
