//! What a short name means to commands that ask a registry.
//!
//! An image that is here is meant by its name; else the alias of `registries.conf`; else each of the
//! registries that are searched, in their order; else the default registry.

use std::fmt::Write;

use anyhow::{Result, anyhow, bail};

use super::credentials::{ask, can_ask};
use super::format::text::{clean_line, warn};
use super::{Context, settings};
use crate::spec::reference::ImageRef;
use crate::spec::registries::ShortNameMode;
use crate::store::pull::PullError;
use crate::store::push::PushError;
use crate::store::registry::RegistryError;

/// The images to ask for, best first and at least one.
pub fn candidates(context: &Context, text: &str) -> Result<Vec<ImageRef>> {
    let usual = context.image_name(text)?;
    if is_here(context, &usual) {
        return Ok(vec![usual]);
    }
    let mut meant = ImageRef::other_meanings(text);
    if let Some(here) = meant.iter().position(|reference| is_here(context, reference)) {
        return Ok(vec![meant.swap_remove(here)]);
    }
    match meant.len() {
        0 => Ok(vec![usual]),
        1 => Ok(meant),
        _ if settings::registries_conf()?.mode != ShortNameMode::Enforcing => Ok(meant),
        _ => Ok(vec![choose(text, meant)?]),
    }
}

/// A store that cannot be read is found out later.
fn is_here(context: &Context, reference: &ImageRef) -> bool {
    context.store().is_ok_and(|store| store.images().by_name(reference).is_ok_and(|record| record.is_some()))
}

/// Lets the user choose, where short-name-mode is enforcing.
fn choose(text: &str, mut meant: Vec<ImageRef>) -> Result<ImageRef> {
    let mut question = format!("{text} may be one of:\n");
    for (number, reference) in meant.iter().enumerate() {
        // Writing to a String cannot fail.
        let _ = writeln!(question, "  {}) {reference}", number + 1);
    }
    if !can_ask() {
        let names: Vec<String> = meant.iter().map(ToString::to_string).collect();
        let names = names.join(", ");
        bail!(
            "short name {text} may be one of {names}: give the whole name, as short-name-mode is enforcing and there is \
             no terminal to ask"
        );
    }
    let answer = ask(&format!("{question}Which? [1-{}] ", meant.len()))?;
    match answer.parse::<usize>().ok().and_then(|number| number.checked_sub(1)) {
        Some(index) if index < meant.len() => Ok(meant.swap_remove(index)),
        _ => bail!("short name {text}: {answer:?} is none of the numbers: give the whole name"),
    }
}

/// Tries one candidate after the other until a registry has it. An error of one alone is its own; of
/// several it says what was tried.
pub fn in_turn<T>(text: &str, candidates: &[ImageRef], mut attempt: impl FnMut(&ImageRef) -> Result<T>) -> Result<T> {
    let mut failures = Vec::new();
    for (index, reference) in candidates.iter().enumerate() {
        let error = match attempt(reference) {
            Ok(done) => return Ok(done),
            Err(error) if candidates.len() == 1 || !is_of_registry(&error) => return Err(error),
            Err(error) => error,
        };
        // That something is not there is what the next is for; anything else the user should know.
        if index + 1 < candidates.len() && !is_absence(&error) {
            warn(&clean_line(&format!("trying the next registry for {text}: {reference}: {error:#}")));
        }
        failures.push(format!("{reference}: {error:#}"));
    }
    Err(anyhow!("none of the registries that are searched has {text}: {}", failures.join("; ")))
}

fn registry_error(error: &anyhow::Error) -> Option<&RegistryError> {
    match (error.downcast_ref(), error.downcast_ref()) {
        (Some(PullError::Registry(error)), _) | (_, Some(PushError::Registry(error))) => Some(error),
        _ => error.downcast_ref(),
    }
}

fn is_of_registry(error: &anyhow::Error) -> bool {
    registry_error(error).is_some()
}

fn is_absence(error: &anyhow::Error) -> bool {
    use RegistryError::{AccessDenied, ManifestUnknown, RepositoryUnknown};
    let absent = |error: &RegistryError| matches!(error, ManifestUnknown(_) | RepositoryUnknown(_) | AccessDenied(_));
    registry_error(error).is_some_and(absent)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<ImageRef> {
        ["a.example/x", "b.example/x", "c.example/x"].map(|name| name.parse().unwrap()).into()
    }

    fn absent(reference: &ImageRef) -> anyhow::Error {
        PullError::Registry(RegistryError::ManifestUnknown(reference.familiar())).into()
    }

    #[test]
    fn the_first_that_has_it_is_taken() {
        let mut asked = Vec::new();
        let found = in_turn("x", &names(), |reference| {
            asked.push(reference.domain().to_owned());
            if reference.domain() == "b.example" { Ok(reference.clone()) } else { Err(absent(reference)) }
        });
        assert_eq!(found.unwrap().to_string(), "b.example/x:latest");
        assert_eq!(asked, ["a.example", "b.example"]);
    }

    #[test]
    fn what_was_tried_is_listed() {
        let error = in_turn("x", &names(), |reference| Err::<(), _>(absent(reference))).unwrap_err().to_string();
        assert!(error.starts_with("none of the registries that are searched has x: a.example/x:latest: manifest for"));
        assert!(error.contains("; b.example/x:latest: ") && error.contains("; c.example/x:latest: "), "{error}");
        let alone = in_turn("x", &names()[..1], |reference| Err::<(), _>(absent(reference))).unwrap_err().to_string();
        assert!(alone.starts_with("manifest for a.example/x:latest not found"), "{alone}");
        // A full disk is full for all.
        let mut tries = 0;
        let full = in_turn("x", &names(), |_| {
            tries += 1;
            Err::<(), _>(PullError::NoSpace("/x".into()).into())
        });
        assert!(full.unwrap_err().to_string().contains("no space left") && tries == 1);
    }
}
