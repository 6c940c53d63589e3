//! System call filters: the built-in profile, embedded compiled for the usual cases, and users'
//! profiles, compiled once and cached. Loading is `seccomp(2)` on the bytes.

mod builtin;
mod cache;
mod compile;
#[cfg(test)]
mod interpreter;
mod numbers;
mod profile;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::Path;

use anyhow::{Context, Result};
use libseccomp::ScmpVersion;
use rustix::fs::MemfdFlags;

use self::profile::{Circumstances, ProfileError};
use crate::spec::digest::Digest;
use crate::spec::platform::Platform;
use crate::spec::seccomp::table;
use crate::spec::security::SeccompChoice;

/// Part of the cache's key: changes when the same input would give other bytes.
const FORMAT: u32 = 1;

/// A compiled filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    program: Cow<'static, [u8]>,
}

impl Filter {
    /// Classic BPF, for [`load`](crate::sys::seccomp::load).
    pub fn program(&self) -> &[u8] {
        &self.program
    }

    /// The digest of the program.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.program)
    }

    /// Puts the filter in force for this thread and its descendants. Async-signal-safe; the caller
    /// has no_new_privs set or CAP_SYS_ADMIN in its user namespace.
    pub fn load(&self) -> io::Result<()> {
        crate::sys::seccomp::load(&self.program)
    }
}

/// A variant of the built-in profile that the build script compiled.
struct Variant {
    architecture: &'static str,
    /// The relevant capabilities, in order.
    capabilities: &'static [&'static str],
    program: &'static [u8],
}

/// What an anchor may do, compiled by the build script.
const RELAY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/relay.bpf"));

const EMBEDDED: &[Variant] = include!(concat!(env!("OUT_DIR"), "/seccomp.rs"));

/// The filter for a container whose bounding set is `capabilities` (`CAP_…`), of an image for
/// `architecture` (`amd64`); None when it is to run unconfined. `cache` is a directory of the
/// store, made when needed. Errors say in one line what is wrong with a user's profile.
pub fn filter_for(
    capabilities: &[impl AsRef<str>],
    choice: &SeccompChoice,
    architecture: &str,
    cache: &Path,
) -> Result<Option<Filter>> {
    let capabilities: Vec<&str> = capabilities.iter().map(AsRef::as_ref).collect();
    match choice {
        SeccompChoice::Unconfined => Ok(None),
        SeccompChoice::Builtin => builtin_filter(&capabilities, architecture, cache).map(Some),
        SeccompChoice::Profile(path, json) => {
            let named = || format!("seccomp profile {}", path.display());
            custom_filter(&capabilities, json, cache).with_context(named).map(Some)
        }
    }
}

/// The filter of an anchor's threads.
pub fn relay_filter() -> Filter {
    Filter { program: Cow::Borrowed(RELAY) }
}

/// The filter that a container gets when nothing is asked for; `info` shows its digest.
pub fn default_filter() -> Option<Filter> {
    let variant = EMBEDDED.first()?;
    Some(Filter { program: Cow::Borrowed(variant.program) })
}

fn builtin_filter(capabilities: &[&str], image_architecture: &str, cache: &Path) -> Result<Filter> {
    let host = Platform::host().architecture;
    let architecture = effective_architecture(image_architecture, &host);
    let relevant = builtin::relevant(capabilities, architecture);
    let embedded = EMBEDDED
        .iter()
        .find(|variant| variant.architecture == architecture && relevant.iter().eq(variant.capabilities.iter()));
    if let Some(variant) = embedded {
        return Ok(Filter { program: Cow::Borrowed(variant.program) });
    }
    // The embedded programs stand for the table they were made from.
    let table: Vec<u8> = EMBEDDED.iter().flat_map(|variant| variant.program).copied().collect();
    let key = cache_key("builtin", &table, &relevant, architecture);
    cached(cache, &key, || {
        let stages = builtin::stages(&relevant, architecture);
        Ok(compile::compile(&stages, &builtin::abis(architecture), builtin::FOREIGN, &mut scratch()?)?)
    })
    .context("compile the built-in seccomp profile")
}

/// The image architecture whose rules apply: the image's own if this machine runs it natively,
/// else the machine's, as an emulator makes the machine's system calls.
fn effective_architecture<'a>(image: &'a str, host: &'a str) -> &'a str {
    let native = |architecture| table::architectures(architecture).first();
    if native(image).is_some() && native(image) == native(host) { image } else { host }
}

fn custom_filter(capabilities: &[&str], json: &str, cache: &Path) -> Result<Filter> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let kernel = profile::kernel_version(&release).unwrap_or((0, 0));
    let host = Platform::host().architecture;
    let circumstances = Circumstances { capabilities, architecture: &host, kernel };
    let all: BTreeSet<String> = capabilities.iter().map(|name| (*name).to_owned()).collect();
    let key = cache_key(&format!("profile {kernel:?}"), json.as_bytes(), &all, &host);
    cached(cache, &key, || {
        let parsed = profile::parse(json, &circumstances)?;
        let program = compile::compile(&[parsed.stage], &parsed.abis, builtin::FOREIGN, &mut scratch()?);
        Ok(program.map_err(ProfileError::from)?)
    })
}

/// A name for a filter that changes with everything the filter depends on.
fn cache_key(kind: &str, source: &[u8], capabilities: &BTreeSet<String>, architecture: &str) -> String {
    let library = ScmpVersion::current().map_or_else(|_| String::new(), |version| version.to_string());
    let source = Digest::of(source);
    let text = format!("{FORMAT}\n{library}\n{architecture}\n{kind}\n{source}\n{capabilities:?}\n");
    format!("{}.bpf", Digest::of(text.as_bytes()).hex())
}

fn cached(directory: &Path, key: &str, compile: impl FnOnce() -> Result<Vec<u8>>) -> Result<Filter> {
    if let Some(program) = cache::read(directory, key) {
        return Ok(Filter { program: Cow::Owned(program) });
    }
    let program = compile()?;
    cache::write(directory, key, &program);
    Ok(Filter { program: Cow::Owned(program) })
}

/// Where libseccomp writes a program: a file in memory.
fn scratch() -> io::Result<File> {
    Ok(File::from(rustix::fs::memfd_create("seccomp", MemfdFlags::CLOEXEC)?))
}
