//! `images --filter` and its argument, by docker's rules.

use std::collections::HashSet;

use anyhow::Result;
use jiff::{Timestamp, Zoned};

use super::Listed;
use crate::cmd::format::filter::{Filter, Filters};
use crate::spec::digest::Digest;
use crate::spec::reference::ImageRef;
use crate::spec::time::parse_moment;
use crate::store::Store;
use crate::store::containers::Container;

const KEYS: &[&str] = &[
    "after",
    "before",
    "containers",
    "dangling",
    "digest",
    "id",
    "intermediate",
    "label",
    "label!",
    "manifest",
    "readonly",
    "reference",
    "since",
    "until",
];

/// Which images, and which of their names, were asked for.
pub struct Selection {
    filters: Filters,
    /// Patterns; none means all names.
    references: Vec<String>,
    dangling: Option<bool>,
    /// Whether it has containers, and the images that have.
    containers: Option<(bool, HashSet<Digest>)>,
    /// An image that is what there is none of: read-only, intermediate, a list of manifests.
    impossible: bool,
    before: Option<Timestamp>,
    since: Option<Timestamp>,
}

impl Selection {
    /// Checks the filters; `argument` is a pattern too.
    pub fn new(
        filters: Vec<Filter>,
        argument: Option<&str>,
        store: &Store,
        images: &[Listed],
        now: Timestamp,
    ) -> Result<Self> {
        let filters = Filters::new(filters, KEYS)?;
        let mut dangling = None;
        for filter in filters.of("dangling") {
            dangling = Some(filter.boolean()?);
        }
        let mut containers = None;
        for filter in filters.of("containers") {
            containers = Some((filter.boolean()?, used_images(store)?));
        }
        let mut impossible = false;
        for key in ["intermediate", "manifest", "readonly"] {
            for filter in filters.of(key) {
                impossible |= filter.boolean()?;
            }
        }
        let mut before: Option<Timestamp> = None;
        let mut since: Option<Timestamp> = None;
        for filter in filters.of("before") {
            before = earliest(before, created(store, images, &filter.value)?);
        }
        for filter in filters.of("since").chain(filters.of("after")) {
            since = since.max(created(store, images, &filter.value)?);
        }
        let now = Zoned::new(now, jiff::tz::TimeZone::system());
        for filter in filters.of("until") {
            let moment = parse_moment(&filter.value, &now).map_err(|error| filter.invalid(error.to_string()))?;
            before = earliest(before, Some(moment));
        }
        let typed = filters.of("reference").map(|filter| filter.value.clone());
        let references = typed.chain(argument.map(str::to_owned)).collect();
        Ok(Self { filters, references, dangling, containers, impossible, before, since })
    }

    /// The names of an image that are shown, tags and digests; None when it is not shown at all.
    pub fn select<'a>(&self, listed: &'a Listed) -> Option<(Vec<&'a ImageRef>, Vec<&'a ImageRef>)> {
        let image = &listed.image;
        let is_dangling_as_asked = match self.dangling {
            None => true,
            Some(true) => image.tags.is_empty(),
            // As docker: one that has a digest is shown either way.
            Some(false) => !image.tags.is_empty() || !image.digests.is_empty(),
        };
        let passes = is_dangling_as_asked
            && !self.impossible
            && self.containers.as_ref().is_none_or(|(wanted, used)| used.contains(&image.id) == *wanted)
            && self
                .filters
                .any("id", |prefix| image.id.hex().starts_with(prefix.strip_prefix("sha256:").unwrap_or(prefix)))
            && self.filters.any("digest", |prefix| {
                let mut digests = image.digests.iter().filter_map(ImageRef::digest).chain([image.manifest]);
                digests.any(|digest| digest.to_string().starts_with(prefix))
            })
            && self.filters.labels(&listed.labels)
            && self.before.is_none_or(|moment| listed.created.is_some_and(|created| created < moment))
            && self.since.is_none_or(|moment| listed.created.is_some_and(|created| created > moment));
        if !passes {
            return None;
        }
        let shown = |name: &&ImageRef| self.references.is_empty() || self.references.iter().any(|r| matches(r, name));
        let tags: Vec<&ImageRef> = image.tags.iter().filter(shown).collect();
        let digests: Vec<&ImageRef> = image.digests.iter().filter(shown).collect();
        (self.references.is_empty() || !tags.is_empty() || !digests.is_empty()).then_some((tags, digests))
    }
}

fn used_images(store: &Store) -> Result<HashSet<Digest>> {
    Ok(store.containers().list()?.0.iter().filter_map(Container::image_id).collect())
}

fn earliest(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    one.into_iter().chain(other).min()
}

/// When the image that `text` names was created.
fn created(store: &Store, images: &[Listed], text: &str) -> Result<Option<Timestamp>> {
    let id = store.images().resolve(text)?.config;
    Ok(images.iter().find(|listed| listed.image.id == id).and_then(|listed| listed.created))
}

/// Whether a pattern names a reference: the shortest or the full form, with its tag or without.
fn matches(pattern: &str, name: &ImageRef) -> bool {
    let [repository, short] = name.typed();
    let forms = [short, repository, name.to_string(), name.repository()];
    forms.iter().any(|form| glob(pattern.as_bytes(), form.as_bytes()))
}

/// Go's path.Match: `*` and `?` stop at `/`, `[a-z]` and `[^a-z]` are classes, `\` quotes.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern, text) {
        ([], []) => true,
        ([b'*', rest @ ..], _) => {
            let end = text.iter().position(|&byte| byte == b'/').unwrap_or(text.len());
            let rest = rest.iter().position(|&byte| byte != b'*').map_or(&[][..], |stars| &rest[stars..]);
            (0..=end).any(|taken| glob(rest, &text[taken..]))
        }
        ([b'?', rest @ ..], [byte, after @ ..]) => *byte != b'/' && glob(rest, after),
        ([b'[', class @ ..], [byte, after @ ..]) => {
            class_end(class).is_some_and(|end| in_class(&class[..end], *byte) && glob(&class[end + 1..], after))
        }
        ([b'\\', quoted, rest @ ..], [byte, after @ ..]) => quoted == byte && glob(rest, after),
        ([literal, rest @ ..], [byte, after @ ..]) => literal == byte && glob(rest, after),
        _ => false,
    }
}

fn class_end(class: &[u8]) -> Option<usize> {
    class.iter().skip(1).position(|&byte| byte == b']').map(|end| end + 1)
}

fn in_class(class: &[u8], byte: u8) -> bool {
    let (negated, mut members) = match class {
        [b'^', members @ ..] => (true, members),
        members => (false, members),
    };
    let mut found = false;
    while let [first, rest @ ..] = members {
        let (last, rest) = match rest {
            [b'-', last, rest @ ..] => (last, rest),
            rest => (first, rest),
        };
        found |= (*first..=*last).contains(&byte);
        members = rest;
    }
    found != negated && byte != b'/'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_by_segment() {
        for (pattern, name, expected) in [
            ("busybox", "busybox:1.29", true),
            ("busybox:1.29", "busybox:1.29", true),
            ("busybox:1.2", "busybox:1.29", false),
            ("busy*", "busybox:1.29", true),
            ("busy*:*", "busybox:1.29", true),
            ("*/busybox", "busybox", false),
            ("*", "a/b:1", false),
            ("*/*", "a/b:1", true),
            ("docker.io/library/busybox", "busybox", true),
            ("busyb?x", "busybox", true),
            ("busyb[a-o]x", "busybox", true),
            ("busyb[^a-o]x", "busybox", false),
            ("busyb[", "busybox", false),
            ("quay.io/*/app:v[12]", "quay.io/x/app:v2", true),
        ] {
            assert_eq!(matches(pattern, &name.parse().unwrap()), expected, "{pattern} {name}");
        }
        assert!(!glob(b"********************************b", &[b'a'; 200]));
    }
}
