//! `rmi`, by docker's rules (cli-reference 6.3).

use std::collections::HashSet;
use std::fmt;

use anyhow::Result;

use super::{Image, Images, LookupError, not_found};
use crate::spec::digest::Digest;
use crate::spec::reference::ImageRef;
use crate::store::containers::Container;
use crate::store::gc::{self, Collected};

/// One step of a removal; prints docker's line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removed {
    Untagged(ImageRef),
    /// An image id or a layer's chain id.
    Deleted(Digest),
}

impl fmt::Display for Removed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untagged(name) => write!(f, "Untagged: {}", name.familiar()),
            Self::Deleted(digest) => write!(f, "Deleted: {digest}"),
        }
    }
}

/// What was removed, and what that freed.
#[derive(Debug)]
pub struct Removal {
    /// In the order of the removals.
    pub steps: Vec<Removed>,
    pub collected: Collected,
}

/// Why an image was not removed. The texts are docker's; ids are short ones.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    #[error(transparent)]
    Lookup(#[from] LookupError),
    #[error(
        "conflict: unable to remove repository reference \"{reference}\" (must force) - container {container} is using \
         its referenced image {image}"
    )]
    ReferenceInUse { reference: String, container: String, image: String },
    #[error(
        "conflict: unable to delete {image} (cannot be forced) - image is being used by running container {container}"
    )]
    Running { image: String, container: String },
    #[error(
        "conflict: unable to delete {image} (must be forced) - image is being used by stopped container {container}"
    )]
    Stopped { image: String, container: String },
    #[error("conflict: unable to delete {image} (must be forced) - image is referenced in multiple repositories")]
    ManyReferences { image: String },
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

/// What a removal will do.
struct Plan {
    untag: Vec<ImageRef>,
    then: Then,
}

/// What becomes of the image.
#[derive(PartialEq, Eq)]
enum Then {
    /// It has other names.
    Named,
    /// A running container uses it: it stays without a name.
    Untagged,
    Delete,
}

/// Removes images one after another, by what was there when it was made; what nothing refers to any
/// more is deleted at the end, for all of them at once.
#[derive(Debug)]
pub struct Remover<'a> {
    images: Images<'a>,
    /// What is left.
    all: Vec<Image>,
    containers: &'a [Container],
    done: Vec<Done>,
}

/// One image's removal.
#[derive(Debug)]
struct Done {
    /// Its id.
    image: Digest,
    untagged: Vec<ImageRef>,
    /// Its id and its layers, lowest first, if no name is left.
    deleted: Option<(Digest, Vec<Digest>)>,
}

impl<'a> Images<'a> {
    /// Begins to remove images. `containers` are all there are.
    pub fn remover(&self, containers: &'a [Container]) -> Result<Remover<'a>, RemoveError> {
        Ok(Remover { images: *self, all: self.list()?.0, containers, done: Vec::new() })
    }

    /// Removes what `text` names, and what nothing refers to any more.
    pub fn remove(&self, text: &str, force: bool, containers: &'a [Container]) -> Result<Removal, RemoveError> {
        let mut remover = self.remover(containers)?;
        remover.remove(text, force)?;
        Ok(remover.finish()?)
    }
}

impl Remover<'_> {
    /// The ids of all images that are left.
    pub fn ids(&self) -> Vec<Digest> {
        self.all.iter().map(|image| image.id).collect()
    }

    /// Removes an image with all its names; without `force` only one that no container uses.
    pub fn remove_whole(&mut self, id: Digest, force: bool) -> Result<(), RemoveError> {
        let user = self.containers.iter().find(|container| container.images().any(|used| used == id));
        match user.filter(|_| !force) {
            Some(user) => Err(RemoveError::Stopped { image: id.short(), container: user.id().short().to_owned() }),
            None => self.remove(&id.to_string(), true),
        }
    }

    /// Removes what `text` names: a name, or an image with all its names.
    pub fn remove(&mut self, text: &str, force: bool) -> Result<(), RemoveError> {
        let (index, name) = self.find(text)?;
        let image = &self.all[index];
        let usage = Usage::of(image, self.containers);
        let plan = match &name {
            Some(name) => plan_by_name(text, name, image, force, &usage)?,
            None => plan_by_id(image, force, &usage)?,
        };
        let mut deleted = None;
        match plan.then {
            Then::Named => plan.untag.iter().try_for_each(|name| self.images.untag(name).map(drop))?,
            Then::Untagged => self.images.strip(image, &plan.untag)?,
            Then::Delete => {
                deleted = Some((image.id, self.images.layers(image.id).unwrap_or_default()));
                self.images.forget(image)?;
            }
        }
        let image = &mut self.all[index];
        let id = image.id;
        image.tags.retain(|name| !plan.untag.contains(name));
        image.digests.retain(|name| !plan.untag.contains(name));
        if deleted.is_some() {
            self.all.remove(index);
        }
        self.done.push(Done { image: id, untagged: plan.untag, deleted });
        Ok(())
    }

    /// Deletes what nothing refers to any more.
    pub fn finish(self) -> Result<Removal> {
        let collected = if self.done.is_empty() { Collected::default() } else { gc::collect(self.images.store)? };
        let mut gone: HashSet<Digest> = collected.layers.iter().copied().collect();
        let mut steps = Vec::new();
        for done in self.done {
            let id = done.image;
            let untag = |name| self.images.happened(id, "untag", Some(name));
            done.untagged.iter().for_each(untag);
            if done.deleted.is_some() {
                self.images.happened(id, "delete", None);
            }
            steps.extend(done.untagged.into_iter().map(Removed::Untagged));
            if let Some((id, layers)) = done.deleted {
                steps.push(Removed::Deleted(id));
                steps.extend(layers.into_iter().rev().filter(|layer| gone.remove(layer)).map(Removed::Deleted));
            }
        }
        Ok(Removal { steps, collected })
    }

    /// The image that `text` names, and the name if it is one: full id, exact reference, unique id
    /// prefix, what else a short name means, in this order.
    fn find(&self, text: &str) -> Result<(usize, Option<ImageRef>), LookupError> {
        let found = self.find_plainly(text);
        if !matches!(found, Err(LookupError::NotFound(_))) {
            return found;
        }
        let others = ImageRef::other_meanings(text);
        others.iter().find_map(|name| self.by_name(name)).map_or(found, Ok)
    }

    fn by_name(&self, asked: &ImageRef) -> Option<(usize, Option<ImageRef>)> {
        let name = asked.digest().map_or_else(|| asked.clone(), |digest| asked.at_digest(digest));
        let has = |image: &Image| image.tags.contains(&name) || image.digests.contains(&name);
        self.all.iter().position(has).map(|index| (index, Some(name.clone())))
    }

    fn find_plainly(&self, text: &str) -> Result<(usize, Option<ImageRef>), LookupError> {
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        let missing = || not_found(text);
        if let Ok(id) = Digest::from_hex(hex) {
            return self.all.iter().position(|image| image.id == id).map(|index| (index, None)).ok_or_else(missing);
        }
        if let Ok(asked) = text.parse::<ImageRef>() {
            if let Some(found) = self.by_name(&asked) {
                return Ok(found);
            }
            // Damage is worth more than absence.
            self.images.by_name(&asked)?;
        }
        let mut matching = self.all.iter().enumerate().filter(|(_, image)| image.id.hex().starts_with(hex));
        let is_prefix = !hex.is_empty() && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        match (matching.next().filter(|_| is_prefix), matching.next()) {
            (None, _) => Err(missing()),
            (Some((index, _)), None) => Ok((index, None)),
            (Some(first), Some(second)) => {
                let rest = [first, second].into_iter().chain(matching);
                let candidates = rest.map(|(_, image)| image.id).collect();
                Err(LookupError::Ambiguous { prefix: text.to_owned(), candidates })
            }
        }
    }
}

/// The containers that use an image, by docker's distinction.
struct Usage<'a> {
    any: Option<&'a Container>,
    running: Option<&'a Container>,
}

impl<'a> Usage<'a> {
    fn of(image: &Image, containers: &'a [Container]) -> Self {
        let users = || containers.iter().filter(|container| container.images().any(|used| used == image.id));
        Self { any: users().next(), running: users().find(|container| container.is_running()) }
    }
}

fn plan_by_name(
    text: &str,
    name: &ImageRef,
    image: &Image,
    force: bool,
    usage: &Usage<'_>,
) -> Result<Plan, RemoveError> {
    if let Some(container) = usage.any
        && !force
        && is_single_reference(image)
    {
        return Err(RemoveError::ReferenceInUse {
            reference: text.to_owned(),
            container: container.id().short().to_owned(),
            image: image.id.short(),
        });
    }
    let mut untag = vec![name.clone()];
    // The last tag of a repository takes the repository's digests along.
    let same_repository = |other: &ImageRef| other.repository() == name.repository();
    if name.digest().is_none() && !image.tags.iter().any(|tag| tag != name && same_repository(tag)) {
        untag.extend(image.digests.iter().filter(|digest| same_repository(digest)).cloned());
    }
    let all = untag.len() == image.tags.len() + image.digests.len();
    let then = match (all, usage.running) {
        (false, _) => Then::Named,
        (true, Some(_)) => Then::Untagged,
        (true, None) => Then::Delete,
    };
    Ok(Plan { untag, then })
}

fn plan_by_id(image: &Image, force: bool, usage: &Usage<'_>) -> Result<Plan, RemoveError> {
    let short = || image.id.short();
    let id_of = |container: &Container| container.id().short().to_owned();
    if let Some(container) = usage.running {
        return Err(RemoveError::Running { image: short(), container: id_of(container) });
    }
    if !force {
        if !is_single_reference(image) {
            return Err(RemoveError::ManyReferences { image: short() });
        }
        if let Some(container) = usage.any {
            return Err(RemoveError::Stopped { image: short(), container: id_of(container) });
        }
    }
    Ok(Plan { untag: image.tags.iter().chain(&image.digests).cloned().collect(), then: Then::Delete })
}

/// At most one tag, and all names in one repository.
fn is_single_reference(image: &Image) -> bool {
    let mut repositories: Vec<String> = image.tags.iter().chain(&image.digests).map(|name| name.repository()).collect();
    repositories.sort_unstable();
    repositories.dedup();
    image.tags.len() + image.digests.len() <= 1 || (image.tags.len() <= 1 && repositories.len() <= 1)
}
