//! What happens to containers, images, volumes and networks, in docker's words.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::config::ContainerConfig;
use super::digest::Digest;
use super::network::Network;
use super::reference::ImageRef;
use super::volume::DRIVER;

/// What something happened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    Container,
    Image,
    Network,
    Secret,
    Volume,
}

impl Subject {
    /// docker's word, as filters and lines have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Image => "image",
            Self::Network => "network",
            Self::Secret => "secret",
            Self::Volume => "volume",
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Something that is about to be recorded: an [`Event`] without its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Happening {
    #[serde(rename = "type")]
    pub subject: Subject,
    /// docker's word: `start`, `exec_start: sh -c true`.
    pub action: String,
    /// The container's id, the image's, the volume's name, the network's id.
    pub id: String,
    pub attributes: BTreeMap<String, String>,
    /// It is nobody's affair: of a container that runs a step of a build.
    #[serde(skip)]
    pub hidden: bool,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// To the nanosecond.
    pub time: Timestamp,
    #[serde(flatten)]
    pub what: Happening,
}

impl Happening {
    /// Something that happened to an object without attributes so far.
    pub fn new(subject: Subject, action: impl Into<String>, id: impl Into<String>) -> Self {
        Self { subject, action: action.into(), id: id.into(), attributes: BTreeMap::new(), hidden: false }
    }

    /// Something that happened to a container: its labels, its image and its name come along.
    pub fn of_container(config: &ContainerConfig, action: impl Into<String>) -> Self {
        let mut happening = Self::new(Subject::Container, action, config.id.as_str());
        happening.hidden = config.build;
        happening.attributes.clone_from(&config.labels);
        happening.with("image", &config.image).with("name", &config.name)
    }

    /// Something that happened to a volume.
    pub fn of_volume(name: &str, action: &str) -> Self {
        Self::new(Subject::Volume, action, name).with("driver", DRIVER)
    }

    /// Something that happened to a network.
    pub fn of_network(network: &Network, action: impl Into<String>) -> Self {
        let happening = Self::new(Subject::Network, action, network.id.as_str());
        happening.with("name", &network.name).with("type", "bridge")
    }

    /// Something that happened to an image, under one of its names or under none.
    pub fn of_image(id: Digest, action: &str, name: Option<&ImageRef>) -> Self {
        let happening = Self::new(Subject::Image, action, id.to_string());
        let name = name.map_or_else(|| id.to_string(), ImageRef::familiar);
        happening.with("name", name)
    }

    /// The removal of all unused objects of a kind, which gave so many bytes free.
    pub fn of_prune(subject: Subject, reclaimed: u64) -> Self {
        Self::new(subject, "prune", "").with("reclaimed", reclaimed.to_string())
    }

    /// A transfer from or to a registry, which docker knows by the name it was asked for with.
    pub fn of_transfer(reference: &ImageRef, action: &str) -> Self {
        Self::new(Subject::Image, action, reference.familiar()).with("name", reference.familiar_repository())
    }

    /// Adds an attribute.
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.attributes.insert(key.to_owned(), value.into());
        self
    }
}
