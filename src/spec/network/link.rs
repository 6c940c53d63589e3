//! `--link NAME[:ALIAS]`.

use crate::spec::config::{ContainerId, Link};
use crate::spec::names;
use crate::spec::text::printable;

/// Why a link can't be made; docker's words.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidLink {
    #[error("empty string specified for links")]
    Empty,
    #[error("bad format for links: {0}")]
    Format(String),
    #[error("could not get container for {name}: {why}")]
    Container { name: String, why: String },
}

/// `NAME[:ALIAS]`; the alias becomes a name in /etc/hosts. The container must exist, running or not.
pub fn parse_link(text: &str, find: &mut dyn FnMut(&str) -> Result<ContainerId, String>) -> Result<Link, InvalidLink> {
    if text.is_empty() {
        return Err(InvalidLink::Empty);
    }
    let (name, alias) = text.split_once(':').unwrap_or((text, text.strip_prefix('/').unwrap_or(text)));
    if name.is_empty() || names::host_name(alias).is_err() {
        return Err(InvalidLink::Format(printable(text)));
    }
    let container = find(name).map_err(|why| InvalidLink::Container { name: printable(name), why })?;
    Ok(Link { container, alias: alias.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links() {
        let id = ContainerId::from_bytes([7; 32]);
        let mut find =
            |name: &str| if name == "db" { Ok(id.clone()) } else { Err(format!("No such container: {name}")) };
        let mut link =
            |text: &str| parse_link(text, &mut find).map(|link| link.alias).map_err(|error| error.to_string());
        assert_eq!(link("db").as_deref(), Ok("db"));
        assert_eq!(link("db:my-db").as_deref(), Ok("my-db"));
        assert_eq!(link("x:y"), Err("could not get container for x: No such container: x".into()));
        assert_eq!(link(""), Err("empty string specified for links".into()));
        for bad in ["db:", ":a", "db:a:b", "db:a b", "db:a\nb"] {
            assert_eq!(link(bad), Err(format!("bad format for links: {}", printable(bad))));
        }
    }
}
