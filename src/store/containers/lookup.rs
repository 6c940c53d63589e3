//! Finding a container by what a person typed: full id, name, unique id prefix, in this order.

use super::{Container, Containers, names};
use crate::spec::config::ContainerId;
use crate::spec::names::container_name;
use crate::store::fs;
use crate::store::record::RecordError;

/// How many candidates an ambiguity names.
const CANDIDATES_SHOWN: usize = 10;

/// Why a text names no container. The texts are docker's.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    #[error("No such container: {0}")]
    NotFound(String),
    #[error("multiple IDs found with provided prefix: {prefix} ({})", shown(candidates))]
    Ambiguous {
        prefix: String,
        /// Sorted.
        candidates: Vec<ContainerId>,
    },
    /// It exists, and can still be removed.
    #[error("container {id} cannot be used: {why}; remove it or run 'rbox system check --repair'")]
    Damaged { id: ContainerId, why: String },
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

fn shown(candidates: &[ContainerId]) -> String {
    let mut ids: Vec<&str> = candidates.iter().take(CANDIDATES_SHOWN).map(ContainerId::short).collect();
    ids.extend((candidates.len() > CANDIDATES_SHOWN).then_some("..."));
    ids.join(", ")
}

impl Containers<'_> {
    /// Finds a container.
    pub fn find(&self, text: &str) -> Result<Container, LookupError> {
        let id = self.resolve(text)?;
        self.get(&id)
    }

    /// Reads a container by its id.
    pub fn get(&self, id: &ContainerId) -> Result<Container, LookupError> {
        self.load(id).map_err(|error| match error {
            _ if !fs::exists(&self.directory(id)) => LookupError::NotFound(id.to_string()),
            RecordError::Read { .. } => {
                LookupError::Other(anyhow::Error::new(error).context(format!("container {id}")))
            }
            error => LookupError::Damaged { id: id.clone(), why: error.to_string() },
        })
    }

    /// Finds a container's id without reading its records, which may be damaged.
    pub fn resolve(&self, text: &str) -> Result<ContainerId, LookupError> {
        if let Ok(id) = text.parse::<ContainerId>()
            && fs::exists(&self.directory(&id))
        {
            return Ok(id);
        }
        let name = container_name(text).ok();
        if let Some(name) = name
            && let Some(id) = self.by_name(name)?
        {
            return Ok(id);
        }
        if is_id_prefix(text) {
            let mut candidates = self.ids()?;
            candidates.retain(|id| id.as_str().starts_with(text));
            candidates.sort_unstable();
            match candidates.as_slice() {
                [] => {}
                [id] => return Ok(id.clone()),
                _ => return Err(LookupError::Ambiguous { prefix: text.to_owned(), candidates }),
            }
        }
        self.by_config(name)?.ok_or_else(|| LookupError::NotFound(text.to_owned()))
    }

    /// A power loss may have taken a name's record; the container knows its name too.
    fn by_config(&self, name: Option<&str>) -> Result<Option<ContainerId>, LookupError> {
        let Some(name) = name else { return Ok(None) };
        let (containers, _) = self.list()?;
        let named = containers.into_iter().find(|container| container.config.name == name);
        Ok(named.map(|container| container.config.id))
    }

    fn by_name(&self, name: &str) -> Result<Option<ContainerId>, LookupError> {
        let holder = names::holder(self.store, name);
        holder.map_err(|error| anyhow::Error::new(error).context(format!("look up container name {name:?}")).into())
    }
}

fn is_id_prefix(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
