//! A configuration file's text: TOML, keys, paths, and the places of what is wrong in it.

use std::borrow::Cow;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::given::{Given, Refusal};
use super::keys::Key;
use super::origin::excerpt;
use super::{InvalidSetting, Origin, Settings, Variables};
use crate::spec::text::printable;

/// Takes what the text says into `settings`.
pub fn read(settings: &mut Settings, path: &str, text: &str, variables: Variables<'_>) -> Result<(), InvalidSetting> {
    let path: Arc<str> = printable(path).into();
    let place = |offset| {
        let (line, column) = position(text, offset);
        format!("{path}:{line}:{column}")
    };
    let document = DeTable::parse(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        InvalidSetting::new(place(offset), excerpt(error.message().trim_end()))
    })?;
    // The table is sorted by name; what is wrong first in the file is told first.
    let mut entries: Vec<_> = document.get_ref().iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    for (name, value) in entries {
        let at = name.span().start;
        let Some(key) = Key::find(name.get_ref()) else {
            return Err(InvalidSetting::unknown(place(at), name.get_ref()));
        };
        let (line, column) = position(text, at);
        let origin = Origin::File { path: path.clone(), line, column };
        take(settings, key, value.get_ref(), origin, variables).map_err(|refusal| {
            let span = refusal.span.clone().unwrap_or_else(|| value.span());
            let shown = text.get(span.clone()).unwrap_or_default();
            InvalidSetting::of(place(span.start), key, shown, refusal)
        })?;
    }
    Ok(())
}

fn take(
    settings: &mut Settings,
    key: &Key,
    value: &DeValue<'_>,
    origin: Origin,
    variables: Variables<'_>,
) -> Result<(), Refusal> {
    let words = ["builtin", "unconfined"];
    let given = Given::Toml(value);
    if !key.is_path() || given.text().is_ok_and(|text| words.contains(&text)) {
        return (key.assign)(settings, given, origin);
    }
    let expanded = expand(given.text()?, variables)?;
    (key.assign)(settings, Given::Text(&expanded), origin)
}

/// A file's path with `$HOME` at its start and `$UID` anywhere replaced. Absolute, for a relative
/// one would mean another place in each directory.
fn expand<'a>(text: &'a str, variables: Variables<'_>) -> Result<Cow<'a, str>, Refusal> {
    let mut path = Cow::Borrowed(text);
    if let Some(rest) = text.strip_prefix("$HOME").filter(|rest| rest.is_empty() || rest.starts_with('/')) {
        let home = variables.home.and_then(|home| home.to_str());
        let home = home.ok_or_else(|| Refusal::because("there is no home directory"))?;
        path = format!("{home}{rest}").into();
    }
    if path.contains("$UID") {
        path = path.replace("$UID", &variables.uid.to_string()).into();
    }
    if !path.starts_with('/') || path.contains(['$', '\0']) {
        return Err(Refusal::because("only $HOME at its start and $UID are replaced"));
    }
    Ok(path)
}

/// Line and column of a byte, both from 1, columns in characters.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let line = before.iter().filter(|byte| **byte == b'\n').count();
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    (line + 1, String::from_utf8_lossy(&before[start..]).chars().count() + 1)
}
