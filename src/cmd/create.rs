//! `create`: make a container and print its id.

mod leasing;
mod mounts;
pub mod root;
mod volumes;

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow, bail};
use jiff::Timestamp;

use super::Context;
use super::create_options::CreateOptions;
use super::create_options::image::ImageOptions;
use super::error::WithCode;
use super::format::text::clean_line;
use super::launching::shifting;
use super::launching::volumes::Moment;
use super::{launching, rm};
use crate::sandbox::cgroup;
use crate::spec::config::{ContainerConfig, ContainerId, NamespaceMode, NetworkMode, RootSource, SecretUse};
use crate::spec::create::{self, Base, CreateRequest, PullPolicy};
use crate::spec::create_command::CreateCommand;
use crate::spec::mount::{FoundImage, Mount, MountKind};
use crate::spec::names;
use crate::spec::secret;
use crate::spec::volume;
use crate::store::containers::{Container, CreateError};
use crate::store::lock::AliveLock;
use crate::store::{self, Store};

const NAME_TRIES: usize = 32;

/// Create a new container
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    options: CreateOptions,
    /// Image to use, or rootfs:DIRECTORY
    image: String,
    /// Command to run and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let (made, _) = create(context, &args.options, &args.image, &args.command, Purpose::Keep)?;
    super::print_line(made.id().as_str())?;
    Ok(ExitCode::SUCCESS)
}

/// What a container is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To be started later.
    Keep,
    /// To be started now, with the invocation attached.
    Foreground,
    /// To be started now and left alone.
    Detach,
}

/// Makes the container, pulling its image if need be, and writes the cidfile. Until the lock is let go nobody
/// else starts or removes it.
pub fn create(
    context: &Context,
    options: &CreateOptions,
    image: &str,
    command: &[String],
    purpose: Purpose,
) -> Result<(Container, AliveLock)> {
    let policy = options.image.pull_policy(context).or_exit(125)?;
    options.image.platform.wanted().or_exit(125)?;
    let directory = options.rootfs.then(|| format!("{}{image}", root::ROOTFS_PREFIX));
    let image = directory.as_deref().unwrap_or(image);
    let mut request = options.request(context, image, command, purpose == Purpose::Detach).or_exit(125)?;
    if options.replace && options.name.is_none() {
        return Err(anyhow!("cannot replace a container without --name")).or_exit(125);
    }
    options.name.as_deref().map(names::container_name).transpose().or_exit(125)?;
    mounts::check(&request.mounts).or_exit(125)?;
    volumes::complete(context, &mut request).or_exit(125)?;
    let cidfile = options.cidfile.as_deref().map(CidFile::reserve).transpose().or_exit(125)?;
    let store = context.store().or_exit(125)?;
    store.networks().resolve(&mut request.network).or_exit(125)?;
    let donor_name = donor_name(store, &request.network).or_exit(125)?;
    let (secrets, payloads) = options.secrets.take(store).or_exit(125)?;
    check_secret_targets(&secrets, &request.mounts).or_exit(125)?;
    request.secrets = secrets;
    let words: Vec<String> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    request.create_command = Some(CreateCommand::of(&words, 1 + command.len()));
    super::sweep_abandoned(context).or_exit(125)?;
    let (root, config, name) = root::find(context, image, &options.image, policy).or_exit(125)?;
    request.image = name;
    find_images(context, &mut request.mounts, &options.image, policy).or_exit(125)?;
    // The removal of what is replaced may need U to itself.
    if purpose != Purpose::Keep && !options.replace && has_layers(store, &root, &request) {
        context.prepare_user_namespace().or_exit(125)?;
    }
    let host_name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let make = |name: String| -> Result<Made> {
        let id = new_id()?;
        let base = Base {
            root: root.clone(),
            image: config.as_ref(),
            host_name: &host_name,
            donor_name: donor_name.as_deref(),
        };
        let mut resolved = create::resolve(request.clone(), base, id, name, Timestamp::now())?;
        resolved.ephemeral = resolved.auto_remove && purpose != Purpose::Keep;
        resolved.name_volumes(|| store::fs::random_bytes().map(volume::anonymous_name))?;
        // What cannot be enforced is not accepted; the start says the warnings.
        cgroup::choose(&resolved.id, &resolved.limits, purpose != Purpose::Keep && resolved.systemd.is_some())?;
        // Not before everything else is known to be right.
        if options.replace {
            replace(context, &resolved)?;
        }
        // Before there is a lock of the new one's, which their supervisors would hold with it.
        if purpose != Purpose::Keep {
            launching::start_required(context, &resolved)?;
        }
        let _lease = match &request.auto {
            Some(options) => Some(leasing::lease(store, options, &mut resolved)?),
            None => None,
        };
        Ok(store.containers().create_held(resolved, &payloads))
    };
    let made = with_name(options.name.as_deref(), make).or_exit(125)?;
    let (container, alive) = prepare(context, made).or_exit(125)?;
    if container.config.network == NetworkMode::Host
        && (!container.config.ports.is_empty() || container.config.publish_all)
    {
        super::warn("Published ports are discarded when using host network mode");
    }
    if let Some(cidfile) = cidfile {
        cidfile.write(container.id()).or_exit(125)?;
    }
    Ok((container, alive))
}

/// Does what belongs to the making of a container that is in the store; where that fails it is gone again.
pub fn prepare(context: &Context, (container, alive): (Container, AliveLock)) -> Result<(Container, AliveLock)> {
    let mut made = Vec::new();
    match launching::volumes::prepare(context, &container, Moment::Creation, &mut made) {
        Ok(()) => Ok((container, alive)),
        Err(error) => {
            drop(alive);
            let store = context.store()?;
            // The first error is the one to report.
            let _ = store.containers().remove_with_volumes(container.id());
            made.iter().for_each(|name| drop(store.volumes().remove(name)));
            Err(error)
        }
    }
}

/// Removes the container that the new one is to take the place of.
fn replace(context: &Context, new: &ContainerConfig) -> Result<()> {
    if let Ok(old) = context.store()?.containers().resolve(&new.name) {
        let shared = NamespaceMode::Container(old.clone());
        let joins = [&new.pid, &new.ipc, &new.uts].contains(&&shared);
        if joins || new.network == NetworkMode::Container(old.clone()) || new.lifetime.requires.contains(&old) {
            bail!("container {} cannot be replaced by one that requires it or shares its namespaces", new.name);
        }
    }
    rm::remove(context, &new.name, true, None)
}

/// A container and its lock, or why there is none under this name.
type Made = Result<(Container, AliveLock), CreateError>;

/// Whether a start needs no work in the user namespace of its own before it.
fn has_layers(store: &Store, root: &RootSource, request: &CreateRequest) -> bool {
    match (root, request.identity.shift()) {
        (RootSource::Image { layers, .. }, Some(maps)) => shifting::is_ready(store, layers, maps),
        _ => request.auto.is_none(),
    }
}

/// The host name of the container whose network is joined.
fn donor_name(store: &Store, network: &NetworkMode) -> Result<Option<String>> {
    match network {
        NetworkMode::Container(donor) => Ok(Some(store.containers().get(donor)?.config.hostname)),
        _ => Ok(None),
    }
}

/// A secret and a mount cannot share a place.
fn check_secret_targets(secrets: &[SecretUse], mounts: &[Mount]) -> Result<()> {
    let usual = |target: &str| target.starts_with(secret::DIRECTORY).then_some(secret::DIRECTORY);
    for target in secrets.iter().filter_map(SecretUse::target) {
        if let Some(mount) = mounts.iter().find(|mount| mount.target == target || usual(target) == Some(&*mount.target))
        {
            bail!("Duplicate mount point: {}: a secret is mounted there", clean_line(&mount.target));
        }
    }
    Ok(())
}

/// The asked-for name, or a generated one that is free.
fn with_name(asked: Option<&str>, make: impl Fn(String) -> Result<Made>) -> Result<(Container, AliveLock)> {
    if let Some(name) = asked {
        return Ok(make(names::container_name(name)?.to_owned())??);
    }
    for round in 0..NAME_TRIES {
        let name = names::random(store::fs::random_bytes()?);
        let name = if round < NAME_TRIES / 2 { name } else { format!("{name}{}", round % 10) };
        match make(name)? {
            Err(CreateError::NameTaken { .. }) => {}
            made => return Ok(made?),
        }
    }
    bail!("no free name was found: give one with --name");
}

/// Random; a short form of digits only would be taken for a number by scripts.
pub fn new_id() -> Result<ContainerId> {
    loop {
        let id = ContainerId::from_bytes(store::fs::random_bytes()?);
        if !id.short().bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(id);
        }
    }
}

/// Finds the images that are to be mounted, pulled if the policy says so.
fn find_images(context: &Context, mounts: &mut [Mount], options: &ImageOptions, policy: PullPolicy) -> Result<()> {
    for mount in mounts {
        if let MountKind::Image(image) = &mut mount.kind {
            match root::find(context, &image.reference, options, policy)?.0 {
                RootSource::Image { id, layers } => image.found = Some(FoundImage { id, layers }),
                RootSource::Directory(_) => bail!("{} is not an image: use type=bind", image.reference),
            }
        }
    }
    Ok(())
}

/// `--cidfile`: reserved before anything is made, removed again if nothing comes of it.
struct CidFile {
    path: PathBuf,
    file: Option<std::fs::File>,
}

impl CidFile {
    fn reserve(path: &Path) -> Result<Self> {
        match OpenOptions::new().write(true).create_new(true).mode(0o644).open(path) {
            Ok(file) => Ok(Self { path: path.to_owned(), file: Some(file) }),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => bail!(
                "container ID file found, make sure the other container isn't running or delete {}",
                path.display()
            ),
            Err(error) => Err(error).with_context(|| format!("create the container ID file {}", path.display())),
        }
    }

    fn write(mut self, id: &ContainerId) -> Result<()> {
        let Some(mut file) = self.file.take() else { return Ok(()) };
        file.write_all(id.as_str().as_bytes()).with_context(|| format!("write {}", self.path.display()))
    }
}

impl Drop for CidFile {
    fn drop(&mut self) {
        if self.file.is_some() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
