//! What of volumes, mounts and networks names other files or places of the host.

use super::Kind;
use super::draft::{Draft, unquoted};
use crate::spec::unit::Entry;

/// `Volume=SOURCE:TARGET[:OPTIONS]`.
pub fn volumes(draft: &mut Draft<'_>) {
    for entry in draft.entries("Volume") {
        let value = unquoted(&entry.value);
        let value = match value.split_once(':') {
            Some((source, rest)) => format!("{}:{rest}", source_of(draft, entry, source)),
            // A place without a source is an anonymous volume.
            None => value.to_owned(),
        };
        draft.flag(entry, "--volume", Some(&value));
    }
}

/// Another file's volume, a directory, or a name as it is.
fn source_of(draft: &mut Draft<'_>, entry: &Entry, source: &str) -> String {
    if source.starts_with(['/', '.']) {
        let path = draft.path(source);
        draft.unit("RequiresMountsFor", path.clone());
        return path;
    }
    match Kind::of_file(source) {
        Some(Ok(Kind::Volume)) => draft.resource(entry, source).unwrap_or_default(),
        _ => source.to_owned(),
    }
}

/// `Mount=type=KIND,source=...`.
pub fn mounts(draft: &mut Draft<'_>) {
    for (entry, word) in draft.words("Mount") {
        // Quotes within are for paths with commas, which name no file of ours.
        let value = if word.contains('"') { word } else { mount(draft, entry, &word) };
        draft.flag(entry, "--mount", Some(&value));
    }
}

fn mount(draft: &mut Draft<'_>, entry: &Entry, value: &str) -> String {
    let kind = value.split(',').find_map(|part| part.strip_prefix("type=")).unwrap_or("volume");
    if kind == "glob" {
        draft.problem(Some(entry), "rbox has no mounts of type glob: mount the directory");
    }
    let parts: Vec<String> = value
        .split(',')
        .map(|part| match part.split_once('=') {
            Some((key @ ("source" | "src"), source)) => {
                let known = match kind {
                    "volume" | "bind" => source_of(draft, entry, source),
                    "image" => image(draft, entry, source),
                    _ => source.to_owned(),
                };
                format!("{key}={known}")
            }
            _ => part.to_owned(),
        })
        .collect();
    parts.join(",")
}

/// An image by name, or the one that another file pulls or builds.
pub fn image(draft: &mut Draft<'_>, entry: &Entry, name: &str) -> String {
    match Kind::of_file(name) {
        Some(Ok(Kind::Image | Kind::Build)) => draft.resource(entry, name).unwrap_or_default(),
        _ => name.to_owned(),
    }
}

/// `Network=NAME[:OPTIONS]`.
pub fn networks(draft: &mut Draft<'_>) {
    for entry in draft.entries("Network") {
        let value = unquoted(&entry.value);
        let (name, options) = value.split_once(':').map_or((value, None), |(name, rest)| (name, Some(rest)));
        let known = match Kind::of_file(name) {
            Some(Ok(Kind::Network)) => draft.resource(entry, name).unwrap_or_default(),
            Some(Ok(Kind::Container)) => {
                if options.is_some() {
                    draft.problem(
                        Some(entry),
                        format!("Network={value}: the network of another container takes no options"),
                    );
                }
                let container = draft.resource(entry, name).unwrap_or_default();
                // Without it there is no network left.
                if let Some(found) = draft.reference(entry, name) {
                    draft.unit("BindsTo", found.service);
                }
                format!("container:{container}")
            }
            _ => name.to_owned(),
        };
        let value = options.map_or_else(|| known.clone(), |options| format!("{known}:{options}"));
        draft.flag(entry, "--network", Some(&value));
    }
}
