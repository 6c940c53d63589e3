//! Reading the credentials that a container gets, when it is started.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::sandbox::plan;
use crate::spec::credential::{Credential, SIZE_MAX, VARIABLE};
use crate::store::fs;

/// Reads them; they are kept in memory only.
pub fn read(wanted: &[Credential]) -> Result<Vec<plan::Credential>> {
    let (mut read, mut total) = (Vec::new(), 0);
    for credential in wanted {
        let name = &credential.name;
        let path = path(credential)?;
        let bytes = match fs::read_limited(&path, SIZE_MAX) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !credential.source.starts_with('/') => {
                bail!("credential {name:?}: the service has none called {:?}", credential.source)
            }
            read => read.with_context(|| format!("credential {name:?}: read {}", path.display()))?,
        };
        total += bytes.len();
        if total > SIZE_MAX {
            bail!("credential {name:?}: all together are longer than 1 MiB");
        }
        read.push(plan::Credential { name: name.clone(), bytes });
    }
    Ok(read)
}

fn path(credential: &Credential) -> Result<PathBuf> {
    if credential.source.starts_with('/') {
        return Ok(PathBuf::from(&credential.source));
    }
    let directory = std::env::var_os(VARIABLE).filter(|directory| !directory.is_empty()).ok_or_else(|| {
        anyhow!(
            "credential {:?}: there is no ${VARIABLE}: only a service with LoadCredential={} or its like has one",
            credential.name,
            credential.source
        )
    })?;
    Ok(Path::new(&directory).join(&credential.source))
}
