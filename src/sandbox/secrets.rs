//! Secrets and credentials on their way into a container: files on a tmpfs that is made for them, and
//! variables that only the init gets to know.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Gid, MemfdFlags, Mode, OFlags, Uid};

use super::idmap::IdMaps;
use super::mounts::{self, Detached, Options};
use super::plan::Plan;
use super::setup::{Doing, SetupError};
use super::tree;
use crate::spec::credential;
use crate::spec::env::EnvChange;
use crate::spec::secret::{self, SecretForm};
use crate::store::{containers, fs};
use crate::sys::mount::attr;

const PAGE: usize = 4096;
/// What is mounted as a whole, and its name in the tmpfs.
const USUAL: [(&str, &str); 2] = [(secret::DIRECTORY, "usual"), (credential::DIRECTORY, "credentials")];
/// Of who is in the container nobody is to be told apart, as with secrets.
const CREDENTIAL_MODE: u32 = 0o444;

/// What is to be mounted, and what the init is to be sent.
#[derive(Debug, Default)]
pub struct Prepared {
    pub mounts: Vec<Detached>,
    /// A memory file for [`variables`].
    pub variables: Option<OwnedFd>,
}

/// A file to be made.
struct Item<'a> {
    target: String,
    /// In the container's ids.
    uid: u32,
    gid: u32,
    mode: u32,
    bytes: Cow<'a, [u8]>,
    /// For messages.
    what: String,
}

/// Reads the container's copies and lays them out, while the host's file systems are in sight.
pub fn prepare(plan: &Plan, maps: &IdMaps) -> Result<Prepared, SetupError> {
    let mut prepared = Prepared::default();
    if plan.secrets.is_empty() && plan.credentials.is_empty() {
        return Ok(prepared);
    }
    let directory = plan.directory.join(containers::SECRETS);
    let (mut items, mut variables) = (Vec::new(), Vec::new());
    for (index, secret) in plan.secrets.iter().enumerate() {
        let bytes = std::fs::read(directory.join(index.to_string()))
            .doing(format_args!("read the container's copy of secret {:?}", secret.name))?;
        match &secret.form {
            SecretForm::Mount { target, uid, gid, mode } => items.push(Item {
                target: target.clone(),
                uid: *uid,
                gid: *gid,
                mode: *mode,
                bytes: bytes.into(),
                what: format!("secret {:?}", secret.name),
            }),
            SecretForm::Env { variable } => {
                variables.push((variable, String::from_utf8(bytes).doing("read a secret variable")?));
            }
        }
    }
    items.extend(plan.credentials.iter().map(|given| Item {
        target: format!("{}/{}", credential::DIRECTORY, given.name),
        uid: 0,
        gid: 0,
        mode: CREDENTIAL_MODE,
        bytes: given.bytes.as_slice().into(),
        what: format!("credential {:?}", given.name),
    }));
    if !variables.is_empty() {
        prepared.variables = Some(in_memory(&serde_json::to_vec(&variables).doing("write down secret variables")?)?);
    }
    if !items.is_empty() {
        prepared.mounts = lay_out(&directory, &items, maps)?;
    }
    Ok(prepared)
}

/// One tmpfs for all: what belongs below the usual directories is mounted with them, so that no empty
/// files stay behind in the container's layer; anything else by itself. It covers the copies in this
/// process's mount namespace, and goes with it.
fn lay_out(place: &Path, items: &[Item<'_>], maps: &IdMaps) -> Result<Vec<Detached>, SetupError> {
    let what = "make a file system for secrets";
    let size: usize = items.iter().map(|item| item.bytes.len().next_multiple_of(PAGE) + 4 * PAGE).sum();
    let options =
        ["nosuid".to_owned(), "nodev".to_owned(), "noexec".to_owned(), "mode=755".to_owned(), format!("size={size}")];
    let tmpfs = mounts::new_filesystem("tmpfs", &mounts::parse_options(&options)).doing(what)?;
    // Credentials have no copies that it would cover.
    fs::create_private_dir(place).doing(what)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = rustix::fs::openat(CWD, place, flags, Mode::empty()).doing(what)?;
    tree::attach(tmpfs.as_fd(), target.as_fd()).doing(what)?;

    let (mut detached, mut used) = (Vec::new(), [false; USUAL.len()]);
    for (index, item) in items.iter().enumerate() {
        let (Some(owner), Some(group)) = (maps.outer_uid(item.uid), maps.outer_gid(item.gid)) else {
            return Err(SetupError::new(format!(
                "{}: user {}:{} is outside the ids mapped into containers",
                item.what, item.uid, item.gid
            )));
        };
        let below = USUAL.iter().enumerate().find_map(|(number, (directory, name))| {
            let rest = item.target.strip_prefix(directory)?.strip_prefix('/')?;
            used[number] = true;
            Some(Path::new(name).join(rest))
        });
        let alone = below.is_none();
        let name = below.unwrap_or_else(|| PathBuf::from(index.to_string()));
        let made = make_file(tmpfs.as_fd(), &name, &item.bytes, (owner, group, item.mode));
        made.doing(format_args!("make the file of {}", item.what))?;
        if alone {
            detached.push(clone(&place.join(name), &item.target, false)?);
        }
    }
    for ((directory, name), _) in USUAL.into_iter().zip(used).filter(|(_, used)| *used) {
        detached.push(clone(&place.join(name), directory, true)?);
    }
    Ok(detached)
}

fn make_file(root: BorrowedFd<'_>, path: &Path, bytes: &[u8], (uid, gid, mode): (u32, u32, u32)) -> io::Result<()> {
    let mut directory = rustix::io::dup(root)?;
    for part in path.parent().into_iter().flatten() {
        let mode = Mode::from_raw_mode(0o755);
        match rustix::fs::mkdirat(&directory, part, mode) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        directory = rustix::fs::openat(&directory, part, flags, Mode::empty())?;
        rustix::fs::fchmod(&directory, mode)?;
    }
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::openat(&directory, name, flags, Mode::RUSR | Mode::WUSR)?);
    file.write_all(bytes)?;
    // Before the mode: a change of owner takes set-id bits away.
    rustix::fs::fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    Ok(rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?)
}

fn clone(source: &Path, target: &str, directory: bool) -> Result<Detached, SetupError> {
    let attributes = attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC;
    let options = Options { attributes, bind: true, ..Options::default() };
    let mount = mounts::clone_tree(source, &options).doing(format_args!("mount a secret on {target}"))?;
    Ok(Detached { target: PathBuf::from(target), mount, directory })
}

fn in_memory(bytes: &[u8]) -> Result<OwnedFd, SetupError> {
    let what = "keep secret variables in memory";
    let mut file = File::from(rustix::fs::memfd_create(c"variables", MemfdFlags::CLOEXEC).doing(what)?);
    file.write_all(bytes).doing(what)?;
    Ok(file.into())
}

/// Reads what [`prepare`] wrote.
pub fn variables(memory: OwnedFd) -> Result<Vec<EnvChange>, SetupError> {
    let what = "read secret variables";
    let mut file = File::from(memory);
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).doing(what)?;
    let pairs: Vec<(String, String)> = serde_json::from_slice(&bytes).doing(what)?;
    Ok(pairs.into_iter().map(|(name, value)| EnvChange { name, value: Some(value) }).collect())
}
