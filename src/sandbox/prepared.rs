//! A mount of the Spec with all it needs besides: made in sight of the host, attached in the container,
//! then filled and handed over.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use oci_spec::runtime::Mount;
use rustix::fs::{Mode, OFlags};

use super::idmap::IdMaps;
use super::mounts::{self, Detached, Options};
use super::needs::Needs;
use super::setup::{Doing, ResolvedUser, SetupError};
use super::tree::Root;
use super::{mapped, overlay, owner};
use crate::store::copy::{CopyOptions, copy_tree};
use crate::sys;
use crate::sys::mount::attr;

/// A mount that is made.
#[derive(Debug)]
pub struct Prepared {
    pub mount: Detached,
    /// What is mounted, as the host has it: a read-only mount of it can't be changed.
    source: Option<OwnedFd>,
    chown: bool,
    copy_up: Option<CopyUp>,
    /// Only once it has its content.
    read_only: bool,
}

/// How a tmpfs begins with what it covers.
#[derive(Debug)]
struct CopyUp {
    /// The owner and the mode of its top, too: none were asked for.
    top: bool,
}

impl From<Detached> for Prepared {
    fn from(mount: Detached) -> Self {
        Self { mount, source: None, chown: false, copy_up: None, read_only: false }
    }
}

/// What mounts are made with.
#[derive(Debug)]
pub struct Workshop<'a> {
    /// The container's directory.
    pub container: &'a Path,
    /// The container's own user namespace.
    pub namespace: Option<BorrowedFd<'a>>,
    /// The ids of the container.
    pub maps: &'a IdMaps,
}

impl Workshop<'_> {
    /// Makes a mount of the Spec that needs something; `number` is its place in the Spec.
    pub fn make(&self, mount: &Mount, needs: &Needs, number: usize) -> Result<Prepared, SetupError> {
        let options = mounts::parse_options(mount.options().as_deref().unwrap_or_default());
        match (&needs.overlay, options.bind) {
            (None, false) => self.filesystem(mount, needs, options),
            _ => self.of_source(mount, needs, options, number),
        }
    }

    /// A file system of the container's own.
    fn filesystem(&self, mount: &Mount, needs: &Needs, mut options: Options) -> Result<Prepared, SetupError> {
        let fill = needs.chown || needs.copy_up;
        let read_only = fill && options.attributes & attr::RDONLY != 0;
        if fill {
            options.attributes &= !attr::RDONLY;
        }
        let (target, kind) = (mount.destination().clone(), mount.typ().as_deref().unwrap_or("tmpfs"));
        let made =
            mounts::new_filesystem(kind, &options).doing(format_args!("mount {kind} on {}", target.display()))?;
        let explicit = |option: &String| ["mode=", "uid=", "gid="].iter().any(|key| option.starts_with(key));
        let copy_up = needs.copy_up.then(|| CopyUp { top: !options.data.iter().any(explicit) });
        let mount = Detached { target, mount: made, directory: true };
        Ok(Prepared { mount, source: None, chown: needs.chown, copy_up, read_only })
    }

    /// Something of the host, or an image.
    fn of_source(
        &self,
        mount: &Mount,
        needs: &Needs,
        mut options: Options,
        number: usize,
    ) -> Result<Prepared, SetupError> {
        let target = mount.destination().clone();
        let path = mount.source().as_deref().unwrap_or(Path::new(""));
        let is_image = matches!(&needs.overlay, Some(overlay) if overlay.below != super::needs::Below::Source);
        let mut handle = if is_image { None } else { Some(mounts::open_source(path, &target)?) };
        if let Some(overlay) = &needs.overlay {
            // A part of an image, but an overlay over a part of a directory.
            if let (Some(top), Some(part)) = (&handle, &needs.subpath) {
                handle = Some(part_of(top, part, path)?);
            }
            let what = path.display();
            let below = handle.as_ref().map(AsFd::as_fd);
            handle = Some(overlay::mount(self.container, number, overlay, below, &what)?);
        }
        if let (Some(top), Some(part)) = (&handle, &needs.subpath)
            && (is_image || needs.overlay.is_none())
        {
            handle = Some(part_of(top, part, path)?);
        }
        let Some(handle) = handle else { return Err(SetupError::new("a mount has no source")) };
        if needs.overlay.is_some() {
            (options.bind, options.recursive) = (true, false);
        }
        let mount = mounts::bind(handle.as_fd(), path, target, &options)?;
        if let Some(mapping) = &needs.idmap {
            mapped::apply(mount.mount.as_fd(), mapping, self.namespace, self.maps, &path.display())?;
        }
        Ok(Prepared { mount, source: Some(handle), chown: needs.chown, copy_up: None, read_only: false })
    }
}

fn part_of(top: &OwnedFd, part: &Path, source: &Path) -> Result<OwnedFd, SetupError> {
    overlay::within(top.as_fd(), part).doing(format_args!("use the subpath {} of {}", part.display(), source.display()))
}

impl Prepared {
    /// Attaches the mount inside `root`.
    pub fn attach(&self, root: &Root) -> Result<(), SetupError> {
        let target = self.mount.target_in(root)?;
        if let Some(CopyUp { top }) = self.copy_up {
            let what = format!("copy {} into its tmpfs", self.mount.target.display());
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let from = rustix::fs::openat(&target, c".", flags, Mode::empty()).doing(&what)?;
            let options = CopyOptions { top, ..CopyOptions::default() };
            copy_tree(from.as_fd(), self.mount.mount.as_fd(), &options, &mut |_| {}).doing(&what)?;
        }
        self.mount.attach_to(target.as_fd())
    }

    /// Hands the attached mount over to the container's user.
    pub fn finish(&self, user: &ResolvedUser) -> Result<(), SetupError> {
        let target = self.mount.target.display();
        if self.chown {
            let given = self.source.as_ref().unwrap_or(&self.mount.mount);
            owner::give(given.as_fd(), user.uid, user.gid)
                .doing(format_args!("give what is mounted on {target} to user {}:{}", user.uid, user.gid))?;
        }
        if self.read_only {
            sys::mount::set_attributes(&self.mount.mount, attr::RDONLY, 0, false)
                .doing(format_args!("make {target} read-only"))?;
        }
        Ok(())
    }
}
