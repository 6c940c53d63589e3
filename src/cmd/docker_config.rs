//! What of docker's own configuration counts for containers: the proxies they are told of.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use serde::Deserialize;

use super::format::text::clean_line;
use crate::store::fs::read_limited;

const SIZE_MAX: usize = 4 << 20;

#[derive(Default, Deserialize)]
struct Document {
    #[serde(default)]
    proxies: std::collections::BTreeMap<String, Proxies>,
}

/// `proxies.default` of docker's `config.json`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Proxies {
    http_proxy: String,
    https_proxy: String,
    ftp_proxy: String,
    no_proxy: String,
    all_proxy: String,
}

/// The variables that docker sets in new containers, in capitals. A file that is not there says
/// nothing; one that cannot be read is an error, as it would be for docker.
pub fn proxies(home: Option<&Path>) -> Result<Vec<(&'static str, String)>> {
    let given = std::env::var_os("DOCKER_CONFIG").filter(|value| !value.is_empty()).map(PathBuf::from);
    let Some(directory) = given.or_else(|| Some(home?.join(".docker"))) else { return Ok(Vec::new()) };
    let path = directory.join("config.json");
    let bytes = match read_limited(&path, SIZE_MAX) {
        Ok(bytes) => bytes,
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };
    if bytes.trim_ascii().is_empty() {
        return Ok(Vec::new());
    }
    let mut document: Document = serde_json::from_slice(&bytes)
        .map_err(|error| anyhow!("read {}: {}", path.display(), clean_line(&error.to_string())))?;
    let found = document.proxies.remove("default").unwrap_or_default();
    let variables = [
        ("HTTP_PROXY", found.http_proxy),
        ("HTTPS_PROXY", found.https_proxy),
        ("FTP_PROXY", found.ftp_proxy),
        ("NO_PROXY", found.no_proxy),
        ("ALL_PROXY", found.all_proxy),
    ];
    Ok(variables.into_iter().filter(|(_, value)| !value.is_empty() && !value.contains('\0')).collect())
}
