//! containers' `registries.conf`, version 2 (containers-registries.conf(5)): where names lead, which
//! mirrors stand before them, what is blocked, and what short names mean.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Domain, Registries};
use crate::spec::reference::{self, ImageRef};
use crate::spec::text::printable;

/// What the files say together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegistriesConf {
    /// By prefix.
    pub rules: BTreeMap<String, Rule>,
    /// Names without a registry are looked for there.
    pub search: Vec<Domain>,
    /// Repositories by short name.
    pub aliases: BTreeMap<String, String>,
    pub mode: ShortNameMode,
}

/// What is done about a short name that may be of several registries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ShortNameMode {
    /// The user is asked.
    Enforcing,
    /// Each is tried.
    #[default]
    Permissive,
    /// The same.
    Disabled,
}

/// What is said of the images whose names begin with a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// `HOST[:PORT][/PATH]`, or `*.DOMAIN` for all hosts below it.
    pub prefix: String,
    /// Takes the place of the prefix.
    pub location: Option<String>,
    pub insecure: bool,
    pub blocked: bool,
    pub mirrors: Vec<RuleMirror>,
    /// The file that says so, for messages.
    pub file: String,
}

/// A mirror of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleMirror {
    pub location: String,
    pub insecure: bool,
    pub holds: Holds,
}

/// What a mirror is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Holds {
    #[default]
    All,
    DigestOnly,
    TagOnly,
}

/// Where an image is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub domain: Domain,
    /// The repository's path there.
    pub path: String,
    pub insecure: bool,
    /// What the place is called in messages.
    pub name: String,
}

/// A registry that is not to be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("registry {prefix} is blocked in {file}")]
pub struct Blocked {
    pub prefix: String,
    pub file: String,
}

/// A file that cannot be used; begins with its path.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{file}: {why}")]
pub struct InvalidConf {
    pub file: String,
    pub why: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Text {
    unqualified_search_registries: Option<Vec<String>>,
    short_name_mode: Option<ShortNameMode>,
    #[serde(default)]
    registry: Vec<RegistryText>,
    #[serde(default)]
    aliases: BTreeMap<String, String>,
    /// Only in version 1.
    registries: Option<toml::Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RegistryText {
    #[serde(default)]
    prefix: String,
    #[serde(default)]
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror_by_digest_only: bool,
    #[serde(default)]
    mirror: Vec<MirrorText>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct MirrorText {
    location: String,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    pull_from_mirror: Option<Holds>,
}

impl RegistriesConf {
    /// Takes a file's text; what it says replaces what was said before of the same prefix, alias or
    /// list.
    pub fn read(&mut self, file: &str, text: &str) -> Result<(), InvalidConf> {
        let failed = |why: String| InvalidConf { file: file.to_owned(), why };
        let text: Text = toml::from_str(text).map_err(|error| failed(printable(error.message())))?;
        if text.registries.is_some() {
            return Err(failed("it has the old format of version 1: see containers-registries.conf(5)".to_owned()));
        }
        if let Some(search) = text.unqualified_search_registries {
            let domain = |text: &String| {
                text.parse().map_err(|why| failed(format!("unqualified-search-registries: {}: {why}", printable(text))))
            };
            self.search = search.iter().map(domain).collect::<Result<_, _>>()?;
        }
        self.mode = text.short_name_mode.unwrap_or(self.mode);
        for registry in text.registry {
            let rule = rule(file, registry).map_err(failed)?;
            self.rules.insert(rule.prefix.clone(), rule);
        }
        for (name, target) in text.aliases {
            match alias(&target) {
                // An empty one takes back what an earlier file said.
                _ if target.is_empty() => drop(self.aliases.remove(&name)),
                Some(repository) => drop(self.aliases.insert(name, repository)),
                None => {
                    let (name, target) = (printable(&name), printable(&target));
                    return Err(failed(format!("alias {name}: {target} is no repository with its registry")));
                }
            }
        }
        Ok(())
    }

    /// The full repositories that a short name without tag means: its alias, else one of each of the
    /// registries that are searched.
    pub fn meanings(&self, name: &str) -> Vec<String> {
        match self.aliases.get(name) {
            Some(repository) => vec![repository.clone()],
            None => self.search.iter().map(|registry| format!("{registry}/{name}")).collect(),
        }
    }

    /// The registry to be asked for something without a name, if the files say so: the only one, or
    /// docker.io where it is one of several, or the first.
    pub fn default_registry(&self) -> Option<&Domain> {
        let hub = Domain::default();
        self.search.iter().find(|domain| **domain == hub && self.search.len() > 1).or(self.search.first())
    }
}

fn rule(file: &str, text: RegistryText) -> Result<Rule, String> {
    let prefix = if text.prefix.is_empty() { &text.location } else { &text.prefix };
    let prefix = prefix.trim_end_matches('/').to_owned();
    let wild = prefix.strip_prefix("*.");
    let known =
        wild.map_or_else(|| is_place(&prefix), |domain| !domain.contains(['/', ':', '*']) && !domain.is_empty());
    if !known {
        return Err(format!("registry {:?}: its prefix is no host with optional path", printable(&prefix)));
    }
    let location = text.location.trim_end_matches('/');
    if wild.is_some() && !location.is_empty() || wild.is_none() && !location.is_empty() && !is_place(location) {
        return Err(format!("registry {prefix}: invalid location {:?}", printable(location)));
    }
    let mirror = |mirror: MirrorText| {
        let location = mirror.location.trim_end_matches('/').to_owned();
        if !is_place(&location) {
            return Err(format!("registry {prefix}: invalid mirror {:?}", printable(&location)));
        }
        let all = if text.mirror_by_digest_only { Holds::DigestOnly } else { Holds::All };
        Ok(RuleMirror { location, insecure: mirror.insecure, holds: mirror.pull_from_mirror.unwrap_or(all) })
    };
    let mirrors = text.mirror.into_iter().map(mirror).collect::<Result<_, _>>()?;
    let location = (!location.is_empty() && location != prefix).then(|| location.to_owned());
    Ok(Rule { location, insecure: text.insecure, blocked: text.blocked, mirrors, file: file.to_owned(), prefix })
}

/// `HOST[:PORT][/PATH]`.
fn is_place(text: &str) -> bool {
    let (host, path) = text.split_once('/').unwrap_or((text, ""));
    host.parse::<Domain>().is_ok() && (path.is_empty() || path.split('/').all(reference::is_component))
}

/// The repository that an alias leads to; it names its registry.
fn alias(target: &str) -> Option<String> {
    let (host, path) = target.split_once('/')?;
    (host.parse::<Domain>().is_ok() && path.split('/').all(reference::is_component)).then(|| target.to_owned())
}

impl Rule {
    /// How much of a repository's full name the prefix covers; None when it is another's.
    fn covers(&self, name: &str) -> Option<usize> {
        let host = name.split('/').next().unwrap_or_default();
        if let Some(domain) = self.prefix.strip_prefix('*') {
            let bare = host.rsplit_once(':').map_or(host, |(host, _)| host);
            return (bare.len() > domain.len() && bare.ends_with(domain)).then_some(host.len());
        }
        let rest = name.strip_prefix(self.prefix.as_str())?;
        (rest.is_empty() || rest.starts_with('/')).then_some(self.prefix.len())
    }
}

impl Registries {
    /// The most exact rule about a repository's full name, or about a registry, and how much of the
    /// name it covers.
    fn rule(&self, name: &str) -> Option<(&Rule, usize)> {
        let covering = self.rules.iter().filter_map(|rule| Some((rule, rule.covers(name)?)));
        covering.max_by_key(|(rule, _)| (!rule.prefix.starts_with('*'), rule.prefix.len()))
    }

    /// Where an image is asked for: its mirrors in their order, then the registry. The user's own
    /// mirrors of a registry take the place of those in `registries.conf`.
    pub fn places(&self, reference: &ImageRef) -> Result<(Vec<Place>, Place), Blocked> {
        let name = reference.repository();
        let rule = self.rule(&name);
        if let Some((Rule { blocked: true, prefix, file, .. }, _)) = rule {
            return Err(Blocked { prefix: prefix.clone(), file: file.clone() });
        }
        let rewritten = |location: &str, insecure: bool, covered: usize| {
            let full = format!("{location}{}", &name[covered..]);
            let (host, path) = full.split_once('/')?;
            let domain: Domain = host.parse().ok()?;
            let insecure = insecure || self.insecure.contains(&domain);
            Some(Place { domain, path: path.to_owned(), insecure, name: location.to_owned() })
        };
        let itself = || Place {
            domain: reference.domain().parse().unwrap_or_default(),
            path: reference.path().to_owned(),
            insecure: self.is_insecure(&name),
            name: reference.domain().to_owned(),
        };
        let moved = rule.and_then(|(rule, covered)| rewritten(rule.location.as_deref()?, rule.insecure, covered));
        let own: Vec<Place> = self.mirrors_of(reference.domain()).map(|mirror| self.at(mirror, reference)).collect();
        let mirrors = match rule {
            Some((rule, covered)) if own.is_empty() => {
                let by_digest = reference.digest().is_some();
                let holds = |mirror: &&RuleMirror| match mirror.holds {
                    Holds::All => true,
                    Holds::DigestOnly => by_digest,
                    Holds::TagOnly => !by_digest,
                };
                let chosen = rule.mirrors.iter().filter(holds);
                chosen.filter_map(|mirror| rewritten(&mirror.location, mirror.insecure, covered)).collect()
            }
            _ => own,
        };
        Ok((mirrors, moved.unwrap_or_else(itself)))
    }

    /// Where a registry as a whole is asked; all its repositories are below the place's path there,
    /// which may be empty.
    pub fn place_of(&self, registry: &Domain) -> Result<Place, Blocked> {
        let name = registry.as_str();
        let rule = self.rule(name).map(|(rule, _)| rule);
        if let Some(Rule { blocked: true, prefix, file, .. }) = rule {
            return Err(Blocked { prefix: prefix.clone(), file: file.clone() });
        }
        let moved = rule.and_then(|rule| {
            let location = rule.location.as_deref()?;
            let (host, path) = location.split_once('/').unwrap_or((location, ""));
            let domain: Domain = host.parse().ok()?;
            let insecure = rule.insecure || self.insecure.contains(&domain);
            Some(Place { domain, path: path.to_owned(), insecure, name: location.to_owned() })
        });
        Ok(moved.unwrap_or_else(|| Place {
            domain: registry.clone(),
            path: String::new(),
            insecure: self.is_insecure(name),
            name: name.to_owned(),
        }))
    }

    /// Whether the repository of this full name is not to be used.
    pub fn is_blocked(&self, name: &str) -> bool {
        self.rule(name).is_some_and(|(rule, _)| rule.blocked)
    }

    fn at(&self, mirror: &super::Mirror, reference: &ImageRef) -> Place {
        let path = match mirror.prefix.as_str() {
            "" => reference.path().to_owned(),
            prefix => format!("{prefix}/{}", reference.path()),
        };
        let insecure = self.insecure.contains(&mirror.domain);
        Place { domain: mirror.domain.clone(), path, insecure, name: mirror.to_string() }
    }

    /// Whether a registry, or what a repository's full name says of it, needs no proof.
    pub fn is_insecure(&self, name: &str) -> bool {
        let host = name.split('/').next().unwrap_or_default();
        self.insecure.iter().any(|known| known.as_str() == host)
            || self.rule(name).is_some_and(|(rule, _)| rule.insecure && rule.location.is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registries(text: &str) -> Registries {
        let mut conf = RegistriesConf::default();
        conf.read("/c", text).unwrap();
        Registries { rules: conf.rules.into_values().collect(), ..Registries::default() }
    }

    fn shown(registries: &Registries, name: &str) -> String {
        let (mirrors, itself) = match registries.places(&name.parse().unwrap()) {
            Ok(places) => places,
            Err(blocked) => return blocked.to_string(),
        };
        let show = |place: &Place| format!("{}/{}{}", place.domain, place.path, if place.insecure { "!" } else { "" });
        mirrors.iter().chain([&itself]).map(show).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn names_lead_where_the_rules_say() {
        let all = registries(
            r#"
            [[registry]]
            location = "docker.io"
            [[registry.mirror]]
            location = "m.example:5000/hub/"
            insecure = true
            [[registry.mirror]]
            location = "d.example"
            pull-from-mirror = "digest-only"
            [[registry]]
            prefix = "a.example/ns"
            location = "b.example/other"
            insecure = true
            [[registry]]
            prefix = "a.example/ns/deep"
            blocked = true
            [[registry]]
            prefix = "*.w.example"
            insecure = true
            [[registry.mirror]]
            location = "m.example/w"
            [[registry]]
            prefix = "x.w.example"
            blocked = true
            [[registry]]
            prefix = "by.digest"
            mirror-by-digest-only = true
            mirror = [{ location = "m.example" }]
            "#,
        );
        let digest = format!("by.digest/a@sha256:{}", "0".repeat(64));
        for (name, expected) in [
            ("docker.io/alpine", "m.example:5000/hub/library/alpine! docker.io/library/alpine"),
            ("a.example/ns/x", "b.example/other/x!"),
            ("a.example/nsx/x", "a.example/nsx/x"),
            ("a.example/ns/deep/x", "registry a.example/ns/deep is blocked in /c"),
            ("a.example/x", "a.example/x"),
            ("a.example:5000/ns/x", "a.example:5000/ns/x"),
            ("y.w.example/a", "m.example/w/a y.w.example/a!"),
            ("z.y.w.example:5000/a", "m.example/w/a z.y.w.example:5000/a!"),
            ("w.example/a", "w.example/a"),
            ("x.w.example/a", "registry x.w.example is blocked in /c"),
            ("xw.example/a", "xw.example/a"),
            ("by.digest/a", "by.digest/a"),
            (&digest, "m.example/a by.digest/a"),
        ] {
            assert_eq!(shown(&all, name), expected, "{name}");
        }
        // What the user says of a registry comes before.
        let own = Registries {
            mirrors: [("docker.io".parse().unwrap(), vec!["own.example".parse().unwrap()])].into(),
            insecure: ["own.example".parse().unwrap()].into(),
            ..all
        };
        assert_eq!(shown(&own, "docker.io/alpine"), "own.example/library/alpine! docker.io/library/alpine");
        assert!(own.is_insecure("q.w.example") && own.is_insecure("own.example") && !own.is_insecure("a.example"));
    }

    #[test]
    fn registries_as_a_whole_follow_their_own_rules() {
        let all = registries(
            r#"
            registry = [
                { location = "a.example", blocked = true },
                { prefix = "b.example/team", blocked = true },
                { prefix = "c.example", location = "d.example:5000/all/of", insecure = true },
                { prefix = "*.w.example", insecure = true },
            ]
            "#,
        );
        let shown = |name: &str| match all.place_of(&name.parse().unwrap()) {
            Ok(place) => format!("{}/{}{}", place.domain, place.path, if place.insecure { "!" } else { "" }),
            Err(blocked) => blocked.to_string(),
        };
        assert_eq!(shown("a.example"), "registry a.example is blocked in /c");
        assert_eq!(shown("b.example"), "b.example/");
        assert_eq!(shown("c.example"), "d.example:5000/all/of!");
        assert_eq!(shown("x.w.example"), "x.w.example/!");
        assert!(all.is_blocked("b.example/team/x") && !all.is_blocked("b.example/teams"));
    }

    #[test]
    fn later_files_replace_what_they_name() {
        let mut conf = RegistriesConf::default();
        conf.read(
            "/1",
            "unqualified-search-registries = ['a.example', 'docker.io']\n[aliases]\nx = 'q.io/x'\ny = 'q.io/y'",
        )
        .unwrap();
        assert_eq!(conf.default_registry().map(Domain::as_str), Some("docker.io"));
        conf.read("/2", "unqualified-search-registries = ['b.example']\nshort-name-mode = 'enforcing'\n[aliases]\nx = ''\ny = 'r.io/z'").unwrap();
        assert_eq!(conf.default_registry().map(Domain::as_str), Some("b.example"));
        assert_eq!(conf.aliases, [("y".to_owned(), "r.io/z".to_owned())].into());
        assert_eq!(conf.mode, ShortNameMode::Enforcing);
        assert_eq!(conf.meanings("y"), ["r.io/z"]);
        conf.read("/3", "unqualified-search-registries = ['a.example', 'docker.io']").unwrap();
        assert_eq!(conf.meanings("team/x"), ["a.example/team/x", "docker.io/team/x"]);
        assert_eq!(RegistriesConf::default().default_registry(), None);
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (text, part) in [
            ("registry = 1", "/c: "),
            ("[registries.search]\nregistries = ['a.io']", "version 1"),
            ("[[registry]]\nblocked = true", "its prefix is no host"),
            ("[[registry]]\nprefix = 'a.io/UP'", "its prefix is no host"),
            ("[[registry]]\nprefix = '*.a.io'\nlocation = 'b.io'", "registry *.a.io: invalid location"),
            ("[[registry]]\nprefix = 'a.io'\nlocation = 'http://b.io'", "invalid location"),
            ("[[registry]]\nprefix = 'a.io'\nmirror = [{ location = 'b' }]", "invalid mirror \"b\""),
            ("[[registry]]\nprefix = 'a.io'\n[[registry.mirror]]\nlocation = 'b.io'\npull-from-mirror = 'x'", "/c: "),
            ("unqualified-search-registries = ['a b']", "unqualified-search-registries: a b: "),
            ("short-name-mode = 'strict'", "/c: "),
            ("[aliases]\nx = 'y'", "alias x: y is no repository"),
            ("[aliases]\nx = 'q.io/y:1'", "alias x: q.io/y:1 is no repository"),
            ("x = [", "/c: "),
        ] {
            let error = RegistriesConf::default().read("/c", text).unwrap_err().to_string();
            assert!(error.starts_with("/c: ") && error.contains(part), "{text}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
