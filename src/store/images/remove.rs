//! `rmi`, by docker's rules (cli-reference 6.3).

use std::fmt;

use super::{Image, Images, LookupError, NameRecord};
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

impl Images<'_> {
    /// Removes what `text` names, and what nothing refers to any more. `containers` are all there
    /// are.
    pub fn remove(&self, text: &str, force: bool, containers: &[Container]) -> Result<Removal, RemoveError> {
        let record = self.resolve(text)?;
        let image = self.list()?.0.into_iter().find(|image| image.id == record.config);
        let image = image.ok_or_else(|| LookupError::NotFound(text.to_owned()))?;
        let usage = Usage::of(&image, containers);
        let plan = match named_by(text, &record) {
            Some(name) => plan_by_name(text, name, &image, force, &usage)?,
            None => plan_by_id(&image, force, &usage)?,
        };
        let layers = self.layers(image.id).unwrap_or_default();
        match plan.then {
            Then::Named => plan.untag.iter().try_for_each(|name| self.untag(name).map(drop))?,
            Then::Untagged => self.strip(&image, &plan.untag)?,
            Then::Delete => drop(self.forget(&image)?),
        }
        let mut steps: Vec<Removed> = plan.untag.into_iter().map(Removed::Untagged).collect();
        let collected = gc::collect(self.store)?;
        if plan.then == Then::Delete {
            steps.push(Removed::Deleted(image.id));
            let gone = layers.iter().rev().filter(|layer| collected.layers.contains(layer));
            steps.extend(gone.copied().map(Removed::Deleted));
        }
        Ok(Removal { steps, collected })
    }
}

/// The containers that use an image, by docker's distinction.
struct Usage<'a> {
    any: Option<&'a Container>,
    running: Option<&'a Container>,
}

impl<'a> Usage<'a> {
    fn of(image: &Image, containers: &'a [Container]) -> Self {
        let users = || containers.iter().filter(|container| container.image_id() == Some(image.id));
        Self { any: users().next(), running: users().find(|container| container.is_running()) }
    }
}

/// The name that `text` was found by; None when it was an id.
fn named_by<'a>(text: &str, record: &'a NameRecord) -> Option<&'a ImageRef> {
    let asked: ImageRef = text.parse().ok()?;
    let same = match asked.digest() {
        Some(digest) => asked.at_digest(digest) == record.name,
        None => asked == record.name,
    };
    same.then_some(&record.name)
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
