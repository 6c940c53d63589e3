//! `[Install]`: the links that `systemctl enable` would make. A generated unit cannot be enabled, so
//! they are generated with it.

use super::draft::Draft;
use crate::spec::unit::Entry;

/// A symbolic link, both relative to the directory of the services.
#[derive(Debug, PartialEq, Eq)]
pub struct Link {
    pub path: String,
    pub target: String,
}

const SECTION: &str = "Install";
const WANTS: [(&str, &str); 3] = [("WantedBy", "wants"), ("RequiredBy", "requires"), ("UpheldBy", "upholds")];

pub fn links(draft: &mut Draft<'_>) -> Vec<Link> {
    let service = draft.source.service();
    let unit = &draft.source.unit;
    let mut links = Vec::new();
    for entry in unit.all(SECTION, "Alias") {
        for alias in names(draft, entry) {
            if alias != service {
                links.push(Link { path: alias, target: service.clone() });
            }
        }
    }
    let default = unit.last(SECTION, "DefaultInstance").map(|entry| entry.value.as_str());
    // Of a template only an instance can be started.
    let started = match (draft.source.is_template(), default) {
        (true, None) => return links,
        (true, Some(instance)) => service.replacen('@', &format!("@{instance}"), 1),
        (false, _) => service.clone(),
    };
    for (key, directory) in WANTS {
        for entry in unit.all(SECTION, key) {
            for by in names(draft, entry) {
                let path = format!("{by}.{directory}/{started}");
                links.push(Link { path, target: format!("../{service}") });
            }
        }
    }
    links
}

/// Names of units; anything else could lead out of the directory.
fn names(draft: &mut Draft<'_>, entry: &Entry) -> Vec<String> {
    let words = draft.words_of(entry);
    let is_name = |word: &str| !word.contains('/') && !word.starts_with('.') && word.contains('.');
    for word in words.iter().filter(|word| !is_name(word)) {
        draft.problem(Some(entry), format!("{}={word} is no name of a unit", entry.key));
    }
    words.into_iter().filter(|word| is_name(word)).collect()
}
