//! The files, and how they refer to each other by name.

use crate::spec::unit::UnitFile;

/// What a file describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Container,
    Volume,
    Network,
    Image,
    Build,
}

/// Podman's other kinds, and why they are refused.
const REFUSED: [(&str, &str); 3] = [
    ("pod", "rbox has no pods: let the containers share a network, or a container's (Network=NAME.container)"),
    ("kube", "rbox plays no Kubernetes files"),
    ("artifact", "rbox has no artifacts"),
];

impl Kind {
    pub const ALL: [Self; 5] = [Self::Container, Self::Volume, Self::Network, Self::Image, Self::Build];

    /// By the end of a file's name; None where it is no Quadlet file, an error where it is one that
    /// rbox does not translate.
    pub fn of_file(name: &str) -> Option<Result<Self, &'static str>> {
        let (stem, extension) = name.rsplit_once('.')?;
        if stem.is_empty() {
            return None;
        }
        let refused = REFUSED.into_iter().find(|(refused, _)| *refused == extension).map(|(_, reason)| Err(reason));
        Self::ALL.into_iter().find(|kind| kind.extension() == extension).map(Ok).or(refused)
    }

    /// The end of a file's name, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Volume => "volume",
            Self::Network => "network",
            Self::Image => "image",
            Self::Build => "build",
        }
    }

    /// The section that describes it.
    pub fn section(self) -> &'static str {
        match self {
            Self::Container => "Container",
            Self::Volume => "Volume",
            Self::Network => "Network",
            Self::Image => "Image",
            Self::Build => "Build",
        }
    }

    /// The key that names what the service makes.
    pub fn name_key(self) -> &'static str {
        match self {
            Self::Container => "ContainerName",
            Self::Volume => "VolumeName",
            Self::Network => "NetworkName",
            Self::Image | Self::Build => "ImageTag",
        }
    }

    /// The command that the service calls.
    pub fn command(self) -> &'static str {
        match self {
            Self::Container => "run",
            Self::Volume => "volume create",
            Self::Network => "network create",
            Self::Image => "pull",
            Self::Build => "build",
        }
    }
}

/// A file with its drop-ins.
#[derive(Clone, Debug)]
pub struct Source {
    /// `web.container`.
    pub name: String,
    /// Absolute.
    pub path: String,
    pub kind: Kind,
    pub unit: UnitFile,
}

/// A file's name in parts.
struct Stem<'a> {
    base: &'a str,
    /// Of `web@blue`; empty in a template, `web@`.
    instance: Option<&'a str>,
}

fn stem(name: &str) -> Stem<'_> {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    match stem.split_once('@') {
        Some((base, instance)) => Stem { base, instance: Some(instance) },
        None => Stem { base: stem, instance: None },
    }
}

impl Source {
    fn key(&self, key: &str) -> Option<&str> {
        self.unit.last(self.kind.section(), key).map(|entry| entry.value.as_str())
    }

    /// Whether it is a template, of which instances are made.
    pub fn is_template(&self) -> bool {
        stem(&self.name).instance == Some("")
    }

    /// The service's file name.
    pub fn service(&self) -> String {
        self.service_of(stem(&self.name).instance)
    }

    fn service_of(&self, instance: Option<&str>) -> String {
        if let Some(name) = self.key("ServiceName") {
            return format!("{name}.service");
        }
        let dash = if self.kind == Kind::Container { String::new() } else { format!("-{}", self.kind.extension()) };
        let at = instance.map_or_else(String::new, |instance| format!("@{instance}"));
        format!("{}{dash}{at}.service", stem(&self.name).base)
    }

    /// What the service makes is called so, by others; an error for an image that is not named.
    pub fn resource(&self) -> Result<String, &'static str> {
        self.resource_of(stem(&self.name).instance)
    }

    fn resource_of(&self, instance: Option<&str>) -> Result<String, &'static str> {
        // The first tag of a build is its name, the last value of another key counts.
        let named = match self.kind {
            Kind::Build => self.unit.all("Build", "ImageTag").first().map(|entry| entry.value.as_str()),
            Kind::Image => self.key("ImageTag").or_else(|| self.key("Image")),
            kind => self.key(kind.name_key()),
        };
        let made = |base: &str, between: char| match instance {
            None => format!("systemd-{base}"),
            Some("") => format!("systemd-{base}{between}%i"),
            Some(instance) => format!("systemd-{base}{between}{instance}"),
        };
        match (named, self.kind) {
            (Some(name), Kind::Container) => self.named_container(name, instance),
            (Some(name), _) => Ok(name.to_owned()),
            (None, Kind::Image | Kind::Build) => Err("that file does not say what its image is called"),
            // As its own service says it by specifiers.
            (None, Kind::Container) => Ok(made(stem(&self.service_of(instance)).base, '_')),
            (None, Kind::Volume | Kind::Network) => Ok(made(stem(&self.name).base, '-')),
        }
    }

    /// Specifiers in the name are those of its own service, not of the one that it is to stand in.
    fn named_container(&self, name: &str, instance: Option<&str>) -> Result<String, &'static str> {
        let service = self.service_of(instance);
        let name = name.replace("%N", service.strip_suffix(".service").unwrap_or(&service));
        let rest = name.replace("%%", "");
        let is_template = instance == Some("");
        match rest.contains('%') && !(is_template && rest.replace("%i", "").find('%').is_none()) {
            true => Err("the name of that file's container depends on its service: say it without specifiers"),
            false => Ok(name),
        }
    }

    /// The directory that relative paths begin at.
    pub fn directory(&self) -> &str {
        self.path.rsplit_once('/').map_or("/", |(directory, _)| if directory.is_empty() { "/" } else { directory })
    }
}

/// The directories of a file's drop-ins, those that count least first: `container.d`, `a-.container.d`,
/// `a-b.container.d`; of an instance its template's before its own.
pub fn dropin_directories(name: &str) -> Vec<String> {
    let Some((whole, extension)) = name.rsplit_once('.') else { return Vec::new() };
    let mut directories = vec![format!("{extension}.d")];
    let Stem { base, instance } = stem(name);
    for (at, _) in base.match_indices('-') {
        directories.push(format!("{}.{extension}.d", &base[..=at]));
    }
    if instance.is_some_and(|instance| !instance.is_empty()) {
        directories.push(format!("{base}@.{extension}.d"));
    }
    directories.push(format!("{whole}.{extension}.d"));
    directories
}

/// All files that are translated together.
#[derive(Debug, Default)]
pub struct Sources(pub Vec<Source>);

/// What a name of another file stands for.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    pub service: String,
    pub resource: Result<String, &'static str>,
}

impl Sources {
    /// The file called `name`, or the template that it is an instance of.
    pub fn find(&self, name: &str) -> Option<Found> {
        if let Some(source) = self.0.iter().find(|source| source.name == name) {
            return Some(Found { service: source.service(), resource: source.resource() });
        }
        let Stem { base, instance } = stem(name);
        let instance = instance.filter(|instance| !instance.is_empty())?;
        let (_, extension) = name.rsplit_once('.')?;
        let template = format!("{base}@.{extension}");
        let source = self.0.iter().find(|source| source.name == template)?;
        Some(Found { service: source.service_of(Some(instance)), resource: source.resource_of(Some(instance)) })
    }
}
