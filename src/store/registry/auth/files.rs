//! The auth files of docker and podman, in podman's order: what one of them holds, all of them see.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::file::{Document, Found, Kind, helper_key};
use super::helper::{self, Helper};
use super::{AuthError, Credentials, Keyring};
use crate::spec::registries::Domain;

/// The files to look at, the first that knows a registry deciding.
#[derive(Clone, Debug)]
pub struct AuthFiles {
    places: Vec<Place>,
    /// How long a helper may take.
    patience: Duration,
    /// Where helpers are; None is PATH.
    programs: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    path: PathBuf,
    kind: Kind,
    /// Named by the user: it must be there when it is asked.
    named: bool,
}

impl Place {
    /// What is there, if anything; a file that was named must be.
    fn read(&self) -> Result<Option<Document>, AuthError> {
        match Document::read(&self.path, self.kind)? {
            None if self.named => {
                let why = "No such file or directory".to_owned();
                Err(AuthError::File { path: self.path.clone(), why })
            }
            document => Ok(document),
        }
    }
}

/// Where credentials were put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Readable, in this file.
    File(PathBuf),
    Helper(String),
}

impl AuthFiles {
    /// The file given, or that of `REGISTRY_AUTH_FILE`, alone; else those that docker and podman use.
    pub fn locate(given: Option<&Path>, variable: impl Fn(&str) -> Option<OsString>, home: Option<&Path>) -> Self {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let place = |path: PathBuf, kind| Place { path, kind, named: false };
        let named = given.map(Path::to_owned).or_else(|| set("REGISTRY_AUTH_FILE"));
        let places = match named {
            Some(path) => {
                let docker = path.file_name().is_some_and(|name| name == "config.json");
                vec![Place { path, kind: if docker { Kind::Docker } else { Kind::Containers }, named: true }]
            }
            None => {
                let runtime = set("XDG_RUNTIME_DIR");
                let config = set("XDG_CONFIG_HOME").or_else(|| Some(home?.join(".config")));
                let docker = set("DOCKER_CONFIG").or_else(|| Some(home?.join(".docker")));
                let containers = [runtime, config].into_iter().flatten();
                let containers = containers.map(|base| place(base.join("containers/auth.json"), Kind::Containers));
                let docker = docker.map(|base| place(base.join("config.json"), Kind::Docker));
                let legacy = home.map(|home| place(home.join(".dockercfg"), Kind::Legacy));
                containers.chain(docker).chain(legacy).collect()
            }
        };
        Self { places, patience: helper::PATIENCE, programs: None }
    }

    /// The same with helpers of one directory only.
    #[cfg(test)]
    pub fn with_programs(self, directory: &Path) -> Self {
        Self { programs: Some(directory.to_owned()), ..self }
    }

    /// The same with another limit for helpers.
    #[cfg(test)]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Keeps credentials: in the file that knows the registry already, else in docker's, or with the
    /// helper that the file names. Nothing that comes earlier hides it then.
    pub fn put(&self, registry: &Domain, repository: &str, credentials: &Credentials) -> Result<Kept, AuthError> {
        let place = self.place_to_write(registry)?;
        let document = Document::read(&place.path, place.kind)?;
        let helper = document.as_ref().and_then(|document| document.helper_of(registry).or(document.store()));
        match helper.filter(|_| repository.is_empty()) {
            Some(name) => {
                self.helper(name).store(helper_key(registry), credentials)?;
                Document::edit(&place.path, place.kind, |document| {
                    document.put_hollow(registry);
                    Ok((true, ()))
                })?;
                Ok(Kept::Helper(name.to_owned()))
            }
            None => {
                Document::edit(&place.path, place.kind, |document| {
                    document.put(registry, repository, credentials);
                    Ok((true, ()))
                })?;
                Ok(Kept::File(place.path.clone()))
            }
        }
    }

    /// Forgets a registry everywhere; false when it was unknown.
    pub fn forget(&self, registry: &Domain, repository: &str) -> Result<bool, AuthError> {
        let mut known = false;
        for place in &self.places {
            let Some(document) = place.read()? else { continue };
            let helper = document.helper_of(registry).or(document.store()).filter(|_| repository.is_empty());
            if let Some(name) = helper {
                known |= self.helper(name).erase(helper_key(registry))?;
            }
            known |= Document::edit(&place.path, place.kind, |document| {
                let forgotten = document.forget(registry, repository);
                Ok((forgotten, forgotten))
            })?;
        }
        Ok(known)
    }

    /// Forgets every registry everywhere.
    pub fn forget_all(&self) -> Result<(), AuthError> {
        for place in &self.places {
            let Some(document) = place.read()? else { continue };
            for registry in document.registries() {
                if let Some(name) = document.helper_of(&registry).or(document.store()) {
                    self.helper(name).erase(helper_key(&registry))?;
                }
            }
            Document::edit(&place.path, place.kind, |document| {
                let forgotten = document.forget_all();
                Ok((forgotten, ()))
            })?;
        }
        Ok(())
    }

    fn place_to_write(&self, registry: &Domain) -> Result<&Place, AuthError> {
        for place in self.places.iter().filter(|place| place.kind != Kind::Legacy) {
            let document = Document::read(&place.path, place.kind)?;
            if document.is_some_and(|document| document.has(registry) || document.helper_of(registry).is_some()) {
                return Ok(place);
            }
        }
        let docker = self.places.iter().find(|place| place.kind == Kind::Docker);
        docker.or(self.places.first()).ok_or(AuthError::NoPlace)
    }

    fn helper<'a>(&'a self, name: &'a str) -> Helper<'a> {
        Helper { name, patience: self.patience, programs: self.programs.as_deref() }
    }
}

impl Keyring for AuthFiles {
    fn credentials(&self, registry: &Domain, repository: &str) -> Result<Option<Credentials>, AuthError> {
        for place in &self.places {
            let Some(document) = place.read()? else { continue };
            let found = match document.find(registry, repository)? {
                Some(Found::Credentials(credentials)) => Some(credentials),
                Some(Found::Helper { name, server }) => self.helper(&name).get(&server)?,
                None => None,
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}
