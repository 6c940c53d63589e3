//! Registries by name: which mirrors stand before them, and which need no proof of who they are.

mod conf;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

pub use conf::{Blocked, InvalidConf, Place, RegistriesConf, Rule, RuleMirror, ShortNameMode};

use super::reference;

/// A registry's host, with its port if any: `docker.io`, `registry.example:5000`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(String);

/// A registry that holds copies of another one's images, below a path if one is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    pub domain: Domain,
    /// What comes before the repository's path there; empty, or components without outer slashes.
    pub prefix: String,
}

/// What is known about registries beyond their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registries {
    /// In the order in which they are asked.
    pub mirrors: BTreeMap<Domain, Vec<Mirror>>,
    /// Neither certificate nor https is demanded of them.
    pub insecure: BTreeSet<Domain>,
    /// Token servers of another house that may have a registry's credentials.
    pub token_servers: BTreeMap<Domain, Vec<Domain>>,
    /// What `registries.conf` says; asked after the above.
    pub rules: Vec<Rule>,
}

/// Why a text names no registry or mirror.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidRegistry {
    #[error("a registry's name has a dot or a port, or is localhost")]
    NotAHost,
    #[error("it is no host name with optional port")]
    Malformed,
    #[error("the path after the host is no repository path")]
    Path,
    #[error("leave http:// out and name the host in insecure-registries")]
    PlainHttp,
}

impl Registries {
    /// The mirrors of a registry, best first.
    pub fn mirrors_of(&self, domain: &str) -> impl Iterator<Item = &Mirror> {
        let found = self.mirrors.iter().find(|(of, _)| of.as_str() == domain);
        found.into_iter().flat_map(|(_, mirrors)| mirrors)
    }
}

impl Registries {
    /// Whether a token server, by host and port, was named as one of the registry's.
    pub fn permits_token_server(&self, registry: &Domain, server: &str) -> bool {
        self.token_servers.get(registry).is_some_and(|named| named.iter().any(|domain| domain.as_str() == server))
    }
}

impl Domain {
    /// As references have it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Domain {
    fn default() -> Self {
        Self(reference::DEFAULT_DOMAIN.to_owned())
    }
}

impl FromStr for Domain {
    type Err = InvalidRegistry;

    /// Only what a reference too takes for a host: else `HOST/NAME` would mean something else when
    /// it is read again.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !reference::is_domain(text) || !has_valid_port(text) {
            return Err(InvalidRegistry::Malformed);
        }
        if !reference::looks_like_host(text) {
            return Err(InvalidRegistry::NotAHost);
        }
        Ok(Self(reference::normal_domain(text).to_owned()))
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn has_valid_port(domain: &str) -> bool {
    match domain.rsplit_once(':') {
        Some((_, port)) if !port.ends_with(']') => port.parse::<u16>().is_ok_and(|port| port != 0),
        _ => true,
    }
}

impl FromStr for Mirror {
    type Err = InvalidRegistry;

    /// `HOST[:PORT][/PATH]`; https:// in front and slashes behind change nothing.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with("http://") {
            return Err(InvalidRegistry::PlainHttp);
        }
        let text = text.strip_prefix("https://").unwrap_or(text).trim_end_matches('/');
        let (domain, prefix) = text.split_once('/').unwrap_or((text, ""));
        if !prefix.is_empty() && !prefix.split('/').all(reference::is_component) {
            return Err(InvalidRegistry::Path);
        }
        Ok(Self { domain: domain.parse()?, prefix: prefix.to_owned() })
    }
}

impl fmt::Display for Mirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        write!(f, "{}{slash}{}", self.domain, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::reference::ImageRef;
    use proptest::prelude::*;

    #[test]
    fn domains() {
        for (text, expected) in [
            ("quay.io", Ok("quay.io")),
            ("index.docker.io", Ok("docker.io")),
            ("localhost", Ok("localhost")),
            ("localhost:5000", Ok("localhost:5000")),
            ("[::1]:5000", Ok("[::1]:5000")),
            ("[::1]", Ok("[::1]")),
            ("10.0.0.1:65535", Ok("10.0.0.1:65535")),
            ("corp", Err(InvalidRegistry::NotAHost)),
            ("", Err(InvalidRegistry::Malformed)),
            ("quay.io/x", Err(InvalidRegistry::Malformed)),
            ("https://quay.io", Err(InvalidRegistry::Malformed)),
            ("quay.io:65536", Err(InvalidRegistry::Malformed)),
            ("quay.io:0", Err(InvalidRegistry::Malformed)),
            ("10.0.0.0/8", Err(InvalidRegistry::Malformed)),
            ("a b.c", Err(InvalidRegistry::Malformed)),
            ("user@quay.io", Err(InvalidRegistry::Malformed)),
        ] {
            assert_eq!(text.parse::<Domain>(), expected.map(|domain| Domain(domain.to_owned())), "{text}");
        }
    }

    #[test]
    fn mirrors() {
        for (text, expected) in [
            ("mirror.example", Ok("mirror.example")),
            ("https://mirror.example:5000/", Ok("mirror.example:5000")),
            ("harbor.example/hub/proxy", Ok("harbor.example/hub/proxy")),
            ("http://mirror.example", Err(InvalidRegistry::PlainHttp)),
            ("harbor.example/Hub", Err(InvalidRegistry::Path)),
            ("harbor.example//x", Err(InvalidRegistry::Path)),
            ("harbor.example/../x", Err(InvalidRegistry::Path)),
            ("https://user:pw@mirror.example", Err(InvalidRegistry::Malformed)),
            ("", Err(InvalidRegistry::Malformed)),
        ] {
            let shown = text.parse::<Mirror>().map(|mirror| mirror.to_string());
            assert_eq!(shown, expected.map(str::to_owned), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_domain_before_a_name_is_read_as_that_domain(text in "[a-zA-Z0-9.:\\[\\]-]{1,20}") {
            if let Ok(domain) = text.parse::<Domain>() {
                let reference: ImageRef = format!("{domain}/a/b").parse().unwrap();
                prop_assert_eq!(reference.domain(), domain.as_str());
            }
        }
    }
}
