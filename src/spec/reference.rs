//! Image references with docker's normalisation (distribution/reference grammar).
//!
//! Parsed by hand: compiling the reference regular expression costs more than a container start.
//! A property test holds this parser to `oci_spec::distribution::Reference`.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::registries::Domain;

/// The registry that needs no name, unless another was configured.
pub const DEFAULT_DOMAIN: &str = "docker.io";
const LEGACY_DEFAULT_DOMAIN: &str = "index.docker.io";
const OFFICIAL_PREFIX: &str = "library/";
const DEFAULT_TAG: &str = "latest";
const REPOSITORY_MAX: usize = 255;
const TAG_MAX: usize = 128;

/// What short names mean in this process. One value for all, as a name that is shown must be read
/// back as the same image wherever it is typed.
static DEFAULT_REGISTRY: OnceLock<Domain> = OnceLock::new();

/// Makes names without a registry mean images of `domain`. Called once, before the first name is
/// read; later calls change nothing.
pub fn set_default_registry(domain: Domain) {
    let _ = DEFAULT_REGISTRY.set(domain);
}

/// The full repositories that a short name without tag means, best first.
pub type Meanings = fn(&str) -> Vec<String>;

/// Asked for what is not here under the default registry; see [`set_other_meanings`].
static OTHER_MEANINGS: OnceLock<Meanings> = OnceLock::new();

/// Makes short names mean other repositories where nothing is here under the default registry.
/// Called as [`set_default_registry`] is; the function only when there is need.
pub fn set_other_meanings(meanings: Meanings) {
    let _ = OTHER_MEANINGS.set(meanings);
}

fn default_registry() -> &'static str {
    DEFAULT_REGISTRY.get().map_or(DEFAULT_DOMAIN, Domain::as_str)
}

/// A normalised reference: `domain/path[:tag][@digest]`, with a tag or a digest or both.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageRef {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is not an image reference; the texts are docker's.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidReference {
    #[error("invalid reference format")]
    Format,
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    Uppercase(String),
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    LooksLikeId(String),
    #[error("invalid reference format: repository name must not be more than 255 characters")]
    TooLong,
    #[error("invalid reference format: unsupported digest {0:?}, only sha256 is known")]
    Digest(String),
}

impl ImageRef {
    /// Registry host with its port, `docker.io` for the default one.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Repository path below the domain, `library/alpine`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The tag, if one was given or implied.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if one was given.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// `domain/path`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The repository as docker shows it: without `docker.io/` and `library/`. Where short names mean
    /// another registry, whole.
    pub fn familiar_repository(&self) -> String {
        match default_registry() {
            DEFAULT_DOMAIN => self.short_repository(DEFAULT_DOMAIN),
            _ => self.repository(),
        }
    }

    /// The shortest texts that are read as this repository and this reference.
    pub fn typed(&self) -> [String; 2] {
        let repository = self.short_repository(default_registry());
        [repository.clone(), self.with_suffixes(repository)]
    }

    fn short_repository(&self, registry: &str) -> String {
        let official = self.path.strip_prefix(OFFICIAL_PREFIX).filter(|name| !name.contains('/'));
        let short = official.filter(|_| self.domain == DEFAULT_DOMAIN).unwrap_or(&self.path);
        let misread = short.split_once('/').is_some_and(|(first, _)| looks_like_host(first));
        if self.domain != registry || misread { self.repository() } else { short.to_owned() }
    }

    /// The whole reference as docker shows it.
    pub fn familiar(&self) -> String {
        self.with_suffixes(self.familiar_repository())
    }

    /// The same repository at `digest`, without a tag: what a pull by tag also records.
    pub fn at_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// The same repository under `tag`.
    pub fn at_tag(&self, tag: &str) -> Self {
        Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() }
    }

    /// What a registry is asked for: the digest when there is one, else the tag.
    pub fn manifest_key(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => DEFAULT_TAG.to_owned(),
        }
    }

    fn with_suffixes(&self, mut text: String) -> String {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(&digest.to_string());
        }
        text
    }
}

impl FromStr for ImageRef {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text, default_registry())
    }
}

impl ImageRef {
    /// What a short name may mean besides an image of the default registry, best first; nothing where
    /// `text` names a registry or is no reference.
    pub fn other_meanings(text: &str) -> Vec<Self> {
        OTHER_MEANINGS.get().map_or_else(Vec::new, |meanings| Self::meant(text, *meanings))
    }

    fn meant(text: &str, meanings: Meanings) -> Vec<Self> {
        let name = split_tag(text.split('@').next().unwrap_or_default()).0;
        let is_short = !name.split_once('/').is_some_and(|(first, _)| looks_like_host(first));
        if !is_short || text.parse::<Self>().is_err() {
            return Vec::new();
        }
        let suffixes = &text[name.len()..];
        meanings(name).iter().filter_map(|repository| format!("{repository}{suffixes}").parse().ok()).collect()
    }

    /// Reads a reference; one that names no registry is of `registry`.
    fn parse(text: &str, registry: &str) -> Result<Self, InvalidReference> {
        if text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Err(InvalidReference::LooksLikeId(text.to_owned()));
        }
        let (rest, digest) = match text.split_once('@') {
            None => (text, None),
            Some((rest, digest)) => (rest, Some(parse_digest(digest)?)),
        };
        let (name, tag) = split_tag(rest);
        if let Some(tag) = tag
            && !is_tag(tag)
        {
            return Err(InvalidReference::Format);
        }
        let (domain, path) = split_domain(name, registry);
        if domain.len() + 1 + path.len() > REPOSITORY_MAX {
            return Err(InvalidReference::TooLong);
        }
        if !is_domain(&domain) {
            return Err(InvalidReference::Format);
        }
        if !path.split('/').all(is_component) {
            let lower = path.to_ascii_lowercase();
            let only_case = lower != path && lower.split('/').all(is_component);
            return Err(if only_case { InvalidReference::Uppercase(path) } else { InvalidReference::Format });
        }
        let implied = (tag.is_none() && digest.is_none()).then_some(DEFAULT_TAG);
        let tag = tag.or(implied).map(str::to_owned);
        Ok(Self { domain, path, tag, digest })
    }
}

fn parse_digest(text: &str) -> Result<Digest, InvalidReference> {
    text.parse().map_err(|_| {
        let known_shape = text.split_once(':').is_some_and(|(algorithm, hex)| {
            algorithm != "sha256"
                && !algorithm.is_empty()
                && hex.len() >= 32
                && hex.bytes().all(|b| b.is_ascii_hexdigit())
        });
        if known_shape { InvalidReference::Digest(text.to_owned()) } else { InvalidReference::Format }
    })
}

/// Splits at the colon of the last path component; a colon before a `/` belongs to a port.
fn split_tag(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (text, None),
    }
}

/// Whether the first component of a name is a registry and not part of the path.
pub(super) fn looks_like_host(text: &str) -> bool {
    text == "localhost" || text.contains(['.', ':']) || text.bytes().any(|b| b.is_ascii_uppercase())
}

/// A registry's one name where it has two.
pub(super) fn normal_domain(domain: &str) -> &str {
    if domain == LEGACY_DEFAULT_DOMAIN { DEFAULT_DOMAIN } else { domain }
}

fn split_domain(name: &str, registry: &str) -> (String, String) {
    let (domain, path) = match name.split_once('/') {
        Some((first, rest)) if looks_like_host(first) => (first, rest),
        _ => (registry, name),
    };
    let domain = normal_domain(domain);
    if domain == DEFAULT_DOMAIN && !path.contains('/') {
        return (domain.to_owned(), format!("{OFFICIAL_PREFIX}{path}"));
    }
    (domain.to_owned(), path.to_owned())
}

/// `HOST[:PORT]` by the grammar of references.
pub(super) fn is_domain(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((v6, rest)) => {
                let valid = !v6.is_empty() && v6.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
                return valid && (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port));
            }
            None => return false,
        },
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.split('.').all(label) && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// `[a-z0-9]+` joined by one `.`, one or two `_`, or any number of `-`.
pub(super) fn is_component(text: &str) -> bool {
    let alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    if !bytes.first().copied().is_some_and(alphanumeric) || !bytes.last().copied().is_some_and(alphanumeric) {
        return false;
    }
    bytes
        .split(|&b| alphanumeric(b))
        .filter(|separator| !separator.is_empty())
        .all(|separator| matches!(separator, b"." | b"_" | b"__") || separator.iter().all(|&b| b == b'-'))
}

fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    text.len() <= TAG_MAX
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'))
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with_suffixes(self.repository()))
    }
}

impl fmt::Debug for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TryFrom<String> for ImageRef {
    type Error = InvalidReference;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ImageRef> for String {
    fn from(reference: ImageRef) -> Self {
        reference.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<String, InvalidReference> {
        text.parse::<ImageRef>().map(|r| r.to_string())
    }

    #[test]
    fn docker_normalisation() {
        for (input, canonical, familiar) in [
            ("nginx", "docker.io/library/nginx:latest", "nginx:latest"),
            (
                "dockerinaction/hello_world",
                "docker.io/dockerinaction/hello_world:latest",
                "dockerinaction/hello_world:latest",
            ),
            ("quay.io/a/b:1", "quay.io/a/b:1", "quay.io/a/b:1"),
            ("index.docker.io/library/alpine:3", "docker.io/library/alpine:3", "alpine:3"),
            ("localhost:5000/a", "localhost:5000/a:latest", "localhost:5000/a:latest"),
            ("localhost/a", "localhost/a:latest", "localhost/a:latest"),
            ("[::1]:5000/a/b", "[::1]:5000/a/b:latest", "[::1]:5000/a/b:latest"),
            ("docker.io/a.b/c", "docker.io/a.b/c:latest", "docker.io/a.b/c:latest"),
        ] {
            let reference: ImageRef = input.parse().unwrap();
            assert_eq!(reference.to_string(), canonical);
            assert_eq!(reference.familiar(), familiar);
        }
        let hex = "a".repeat(64);
        let reference: ImageRef = format!("alpine:3@sha256:{hex}").parse().unwrap();
        assert_eq!((reference.tag(), reference.manifest_key()), (Some("3"), format!("sha256:{hex}")));
    }

    #[test]
    fn short_names_of_another_registry() {
        for (input, canonical) in [
            ("alpine", "quay.io/alpine:latest"),
            ("team/app:1", "quay.io/team/app:1"),
            ("docker.io/alpine", "docker.io/library/alpine:latest"),
            ("index.docker.io/alpine", "docker.io/library/alpine:latest"),
            ("docker.io/team/app", "docker.io/team/app:latest"),
            ("ghcr.io/team/app", "ghcr.io/team/app:latest"),
            ("localhost/a", "localhost/a:latest"),
        ] {
            let reference = ImageRef::parse(input, "quay.io").unwrap();
            assert_eq!(reference.to_string(), canonical);
            let short = reference.with_suffixes(reference.short_repository("quay.io"));
            assert_eq!(ImageRef::parse(&short, "quay.io").unwrap(), reference, "{short}");
            assert!(!short.starts_with("quay.io/"), "{short}");
        }
    }

    #[test]
    fn malformed_references_are_named() {
        for bad in
            ["", ":", "a:", "a//b", "/a", "a/", "a b", "a..b", "a___b", "-a", "a@sha256:00", "a:b:c/", "a\u{1b}[0m"]
        {
            assert_eq!(parse(bad), Err(InvalidReference::Format), "{bad:?}");
        }
        assert_eq!(parse("UPPER"), Err(InvalidReference::Uppercase("library/UPPER".into())));
        assert_eq!(parse(&"a".repeat(300)), Err(InvalidReference::TooLong));
        assert_eq!(parse(&"a".repeat(64)), Err(InvalidReference::LooksLikeId("a".repeat(64))));
        let sha512 = format!("a@sha512:{}", "0".repeat(128));
        assert!(matches!(parse(&sha512), Err(InvalidReference::Digest(_))));
    }

    #[test]
    fn other_meanings_are_of_short_names() {
        let meanings: Meanings = |name| match name {
            "web" => vec!["quay.io/team/web".to_owned()],
            "a/b" => vec!["one.example/a/b".to_owned(), "docker.io/a/b".to_owned()],
            _ => Vec::new(),
        };
        let digest = format!("@sha256:{}", "0".repeat(64));
        for (typed, expected) in [
            ("web", vec!["quay.io/team/web:latest".to_owned()]),
            ("web:1", vec!["quay.io/team/web:1".to_owned()]),
            (&format!("web{digest}"), vec![format!("quay.io/team/web{digest}")]),
            ("a/b:2", vec!["one.example/a/b:2".to_owned(), "docker.io/a/b:2".to_owned()]),
            ("library/web", vec![]),
            ("localhost/web", vec![]),
            ("docker.io/web", vec![]),
            ("WEB", vec![]),
            ("web:", vec![]),
        ] {
            let shown: Vec<String> = ImageRef::meant(typed, meanings).iter().map(ToString::to_string).collect();
            assert_eq!(shown, expected, "{typed}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_specification_crate(text in "[a-zA-Z0-9._:/@-]{1,40}") {
            let ours = text.parse::<ImageRef>();
            let theirs = text.parse::<oci_spec::distribution::Reference>();
            // Docker takes a first component with an upper-case letter for a host; the crate doesn't.
            let upper = |r: &ImageRef| r.domain().bytes().any(|b| b.is_ascii_uppercase());
            if let (Ok(ours), Ok(theirs)) = (&ours, &theirs)
                && !upper(ours)
            {
                prop_assert_eq!(ours.domain(), theirs.registry());
                prop_assert_eq!(ours.path(), theirs.repository());
                prop_assert_eq!(ours.tag(), theirs.tag());
            }
            if ours.is_ok() {
                prop_assert!(theirs.is_ok(), "{:?} accepted by us only", text);
            }
        }

        #[test]
        fn short_forms_are_read_back(path in "[a-z.]{1,8}(/[a-z.]{1,8}){0,2}", domain in 0..3usize, registry in 0..3usize) {
            let domains = ["docker.io", "quay.io", "localhost:5000"];
            if let Ok(reference) = ImageRef::parse(&format!("{}/{path}", domains[domain]), "docker.io") {
                let short = reference.short_repository(domains[registry]);
                prop_assert_eq!(ImageRef::parse(&short, domains[registry]).unwrap(), reference);
            }
        }

        #[test]
        fn printing_round_trips(text in "[a-zA-Z0-9._:/@-]{1,60}") {
            if let Ok(reference) = text.parse::<ImageRef>() {
                prop_assert_eq!(reference.to_string().parse::<ImageRef>().unwrap(), reference.clone());
                prop_assert_eq!(reference.familiar().parse::<ImageRef>().unwrap(), reference);
            }
        }
    }
}
