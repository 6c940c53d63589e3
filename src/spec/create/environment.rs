//! The environment of a container: what every container has, the image's, and what flags say.

use super::{CreateError, CreateRequest, DEFAULT_PATH};
use crate::spec::config::Environment;
use crate::spec::dockerfile::expand::{ExpandError, expand};
use crate::spec::env::{self, EnvChange};
use crate::spec::image::Defaults;
use crate::spec::text::printable;

/// What flags say about the environment.
#[derive(Clone, Debug, Default)]
pub struct EnvironmentRequest {
    /// Env files first, then `-e`, each in order.
    pub changes: Vec<EnvChange>,
    /// `--env-merge`, see [`parse_merge`].
    pub merge: Vec<String>,
    /// `--unsetenv`.
    pub unset: Vec<String>,
    pub unset_all: bool,
    /// What nobody named: proxies of docker's configuration or the caller's, all of the caller's.
    pub borrowed: Vec<EnvChange>,
    /// `--tz`: `local` or the name of a zone.
    pub timezone: Option<String>,
}

/// Checks an `--env-merge` value: `NAME=TEXT` whose `${NAME}` stand for variables of the image.
pub fn parse_merge(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((name, _)) if !name.is_empty() && !text.contains('\0') => Ok(text.to_owned()),
        _ => Err("expected NAME=TEXT".to_owned()),
    }
}

/// PATH, HOSTNAME, what the container is `told`, TERM, the image's, the borrowed and the flags', each
/// overriding in place; and what is to be remembered about it. podman's order, which without its flags is docker's.
pub(super) fn resolve(
    request: &CreateRequest,
    image: &Defaults,
    hostname: &str,
    told: &[String],
) -> Result<(Vec<String>, Environment), CreateError> {
    let asked = &request.environment;
    let own_name = format!("HOSTNAME={hostname}");
    let mut environment = vec![DEFAULT_PATH.to_owned(), own_name.clone()];
    environment.extend_from_slice(told);
    environment.extend(request.tty.then(|| "TERM=xterm".to_owned()));
    let of_image = image.env.iter().filter_map(|entry| {
        let (name, value) = entry.split_once('=')?;
        (!name.is_empty()).then(|| EnvChange { name: name.to_owned(), value: Some(value.to_owned()) })
    });
    env::apply(&mut environment, of_image);
    let merged = merge(&asked.merge, &environment)?;
    if asked.unset_all {
        // These are the container's own, not defaults.
        environment.retain(|entry| *entry == own_name || told.contains(entry));
    }
    env::apply(&mut environment, asked.unset.iter().map(|name| EnvChange { name: name.clone(), value: None }));
    env::apply(&mut environment, asked.borrowed.iter().cloned());
    env::apply(&mut environment, asked.changes.iter().chain(&merged).cloned());
    let named = |name: &String| asked.changes.iter().chain(&merged).any(|change| change.name == *name);
    let borrowed = asked.borrowed.iter().map(|change| change.name.clone()).filter(|name| !named(name)).collect();
    Ok((environment, Environment { timezone: asked.timezone.clone(), borrowed }))
}

fn merge(words: &[String], environment: &[String]) -> Result<Vec<EnvChange>, CreateError> {
    let lookup = |name: &str| {
        let mut values = environment.iter().filter_map(|entry| entry.split_once('='));
        values.find(|(known, _)| *known == name).map(|(_, value)| value.to_owned())
    };
    let merged = |word: &String| {
        let refused = |error: ExpandError| CreateError::EnvMerge { word: printable(word), reason: error.reason };
        let (name, text) = word.split_once('=').unwrap_or((word, ""));
        Ok(EnvChange { name: name.to_owned(), value: Some(expand(text, '\\', &lookup).map_err(refused)?) })
    };
    words.iter().map(merged).collect()
}
