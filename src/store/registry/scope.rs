//! What a token is asked for (distribution spec, token scopes).

use std::fmt;

/// A set of permissions, as a token server names them. The empty one only proves who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Scope(Vec<String>);

impl Scope {
    /// To read a repository.
    pub fn pull(repository: &str) -> Self {
        Self(vec![format!("repository:{repository}:pull")])
    }

    /// To read and write a repository.
    pub fn push(repository: &str) -> Self {
        Self(vec![format!("repository:{repository}:pull,push")])
    }

    /// To delete from a repository.
    pub fn delete(repository: &str) -> Self {
        Self(vec![format!("repository:{repository}:pull,delete")])
    }

    /// To list all repositories.
    pub fn catalog() -> Self {
        Self(vec!["registry:catalog:*".to_owned()])
    }

    /// Both, as for a mount from another repository.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The single permissions.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}
