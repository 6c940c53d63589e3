//! What the values of flags say: lists of `key=value`, secrets, caches, contexts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::source;
use crate::build::fetch::git::GitRef;
use crate::build::solve::Allowed;
use crate::build::step::{SecretSource, Secrets};
use crate::store::archive::Entry;
use crate::store::registry::download;

/// Splits `a=b,c="d,e"` as docker does: fields in double quotes may hold commas.
pub fn fields(text: &str) -> Result<Vec<(String, String)>> {
    let mut fields = Vec::new();
    for field in split(text)? {
        let (key, value) = field.split_once('=').unwrap_or((&field, ""));
        fields.push((key.trim().to_lowercase(), value.to_owned()));
    }
    Ok(fields)
}

fn split(text: &str) -> Result<Vec<String>> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let last = fields.len() - 1;
        match c {
            '"' if quoted && rest.peek() == Some(&'"') => {
                rest.next();
                fields[last].push('"');
            }
            '"' if quoted || fields[last].is_empty() => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            c => fields[last].push(c),
        }
    }
    if quoted {
        bail!("invalid value {text:?}: a quote is not closed");
    }
    Ok(fields)
}

/// `--build-arg` and `--build-arg-file`; one without a value is the environment's, or left out.
pub fn build_args(texts: &[String], files: &[PathBuf]) -> Result<BTreeMap<String, String>> {
    let mut args = BTreeMap::new();
    for file in files {
        let text = source::read_text(file)?;
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            take_arg(&mut args, line);
        }
    }
    texts.iter().for_each(|text| take_arg(&mut args, text));
    Ok(args)
}

fn take_arg(args: &mut BTreeMap<String, String>, text: &str) {
    match text.split_once('=') {
        Some((name, value)) => drop(args.insert(name.to_owned(), value.to_owned())),
        None => match std::env::var(text) {
            Ok(value) => drop(args.insert(text.to_owned(), value)),
            Err(_) => drop(args.remove(text)),
        },
    }
}

/// `--secret`.
pub fn secrets(texts: &[String]) -> Result<Secrets> {
    texts.iter().map(|text| secret(text)).collect()
}

fn secret(text: &str) -> Result<(String, SecretSource)> {
    let (mut id, mut kind, mut path, mut variable) = (None, None, None, None);
    for (key, value) in fields(text)? {
        match key.as_str() {
            "id" => id = Some(value),
            "type" if value == "file" || value == "env" => kind = Some(value),
            "type" => bail!("unsupported secret type {value:?}"),
            "src" | "source" => path = Some(value),
            "env" => variable = Some(value),
            _ => bail!("unexpected key '{key}' in '{text}'"),
        }
    }
    let Some(id) = id.or_else(|| path.clone()).or_else(|| variable.clone()) else { bail!("secret missing 'id'") };
    if kind.as_deref() == Some("env") && variable.is_none() {
        variable = path.take();
    }
    if path.is_none() && variable.is_none() {
        let is_set = std::env::var_os(&id).is_some();
        if kind.as_deref() == Some("env") || (kind.is_none() && is_set) {
            variable = Some(id.clone());
        } else {
            path = Some(id.clone());
        }
    }
    if let Some(variable) = variable {
        use std::os::unix::ffi::OsStringExt;
        let Some(value) = std::env::var_os(&variable) else {
            bail!("secret {id}: the environment variable {variable} is not set");
        };
        return Ok((id, SecretSource::Value(value.into_vec())));
    }
    let path = std::path::absolute(path.unwrap_or_default())?;
    if let Err(error) = std::fs::metadata(&path) {
        bail!("failed to stat {}: {}", path.display(), source::reason(&error));
    }
    Ok((id, SecretSource::File(path)))
}

/// `--ssh`: the sockets of agents by id.
pub fn ssh(texts: &[String]) -> Result<BTreeMap<String, PathBuf>> {
    let mut agents = BTreeMap::new();
    for text in texts {
        let (id, path) = text.split_once('=').unwrap_or((text, ""));
        let path = match path {
            "" => std::env::var_os("SSH_AUTH_SOCK").map(PathBuf::from),
            path => Some(PathBuf::from(path)),
        };
        let Some(path) = path.filter(|path| !path.as_os_str().is_empty()) else {
            bail!("invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set");
        };
        if !is_socket(&path) {
            bail!("--ssh {id}={}: keys are not read: start an ssh-agent and add it with ssh-add", path.display());
        }
        agents.insert(if id.is_empty() { "default" } else { id }.to_owned(), std::path::absolute(path)?);
    }
    Ok(agents)
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    std::fs::metadata(path).is_ok_and(|known| known.file_type().is_socket())
}

/// What `--build-context` names, before it is brought here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    Directory(PathBuf),
    Image(String),
    Stage(String),
    /// A layout of images, and which of them.
    Layout(PathBuf, Entry),
    Repository(GitRef),
    /// An archive's address.
    Address(String),
}

/// `--build-context`.
pub fn contexts(texts: &[String]) -> Result<BTreeMap<String, Named>> {
    let mut contexts = BTreeMap::new();
    for text in texts {
        let Some((name, value)) = text.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            bail!("invalid context value: {text}, expected key=value");
        };
        let named = named(value).with_context(|| format!("build context {name}"))?;
        contexts.insert(name.to_lowercase(), named);
    }
    Ok(contexts)
}

fn named(value: &str) -> Result<Named> {
    if let Some(image) = value.strip_prefix("docker-image://").or(value.strip_prefix("container-image://")) {
        return Ok(Named::Image(image.to_owned()));
    }
    if let Some(stage) = value.strip_prefix("target:") {
        return Ok(Named::Stage(stage.to_owned()));
    }
    if let Some(layout) = value.strip_prefix("oci-layout://") {
        return layout_entry(layout);
    }
    if let Some(repository) = GitRef::parse(value) {
        return Ok(Named::Repository(repository));
    }
    if download::is_url(value) {
        return Ok(Named::Address(value.to_owned()));
    }
    if value.contains("://") {
        bail!("{value} cannot be read: name a directory, docker-image://, oci-layout://, target: or an address");
    }
    Ok(Named::Directory(PathBuf::from(value)))
}

/// `PATH[:TAG][@DIGEST]`.
fn layout_entry(text: &str) -> Result<Named> {
    let (rest, digest) = text.split_once('@').map_or((text, None), |(rest, digest)| (rest, Some(digest)));
    let (path, tag) = match rest.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (rest, None),
    };
    let entry = match (digest, tag) {
        (Some(digest), _) => Entry::Digest(digest.parse()?),
        (None, Some(tag)) => Entry::Tag(tag.to_owned()),
        (None, None) => Entry::Usual,
    };
    Ok(Named::Layout(PathBuf::from(path), entry))
}

/// `--allow`.
pub fn allowed(texts: &[String]) -> Result<Allowed> {
    let mut allowed = Allowed::default();
    for text in texts.iter().flat_map(|text| text.split(',')) {
        match text {
            "network.host" => allowed.network_host = true,
            "security.insecure" => allowed.insecure = true,
            // What files a build may read and write is up to the caller here.
            "device" => {}
            text if text.starts_with("fs") || text.starts_with("device=") => {}
            other => bail!("invalid entitlement: unknown entitlement {other}"),
        }
    }
    Ok(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_may_be_quoted() {
        let read =
            |text: &str| fields(text).map(|fields| fields.into_iter().map(|(k, v)| format!("{k}:{v}")).collect());
        let list: Vec<String> = read("type=local,dest=a").unwrap();
        assert_eq!(list, ["type:local", "dest:a"]);
        let list: Vec<String> = read("id=a,\"src=b,c\"").unwrap();
        assert_eq!(list, ["id:a", "src:b,c"]);
        let list: Vec<String> = read("type=image,\"name=a,\"\"b\"\"\"").unwrap();
        assert_eq!(list, ["type:image", "name:a,\"b\""]);
        assert!(fields("\"a").is_err());
    }

    #[test]
    fn contexts_are_of_several_kinds() {
        let layout = |path: &str, entry| Named::Layout(path.into(), entry);
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, expected) in [
            ("dir", Named::Directory("dir".into())),
            ("docker-image://a:1", Named::Image("a:1".to_owned())),
            ("target:a", Named::Stage("a".to_owned())),
            ("oci-layout://d", layout("d", Entry::Usual)),
            ("oci-layout:///a/b:1.2", layout("/a/b", Entry::Tag("1.2".to_owned()))),
            (&format!("oci-layout://d:x@{digest}"), layout("d", Entry::Digest(digest.parse().unwrap()))),
            ("oci-layout:///a:b/c", layout("/a:b/c", Entry::Usual)),
            ("https://h/a.tar", Named::Address("https://h/a.tar".to_owned())),
        ] {
            assert_eq!(named(text).unwrap(), expected, "{text}");
        }
        assert!(matches!(named("https://h/a.git#b").unwrap(), Named::Repository(_)));
        assert!(named("ftp://h/a").unwrap_err().to_string().contains("cannot be read"));
        assert!(contexts(&["=a".to_owned()]).is_err());
    }

    #[test]
    fn entitlements_are_known() {
        assert_eq!(allowed(&["network.host".to_owned()]).unwrap(), Allowed { insecure: false, network_host: true });
        assert!(allowed(&["everything".to_owned()]).is_err());
    }

    #[test]
    fn secrets_say_what_is_wrong() {
        for (text, part) in [
            ("type=x,id=a", "unsupported secret type"),
            ("id=a,foo=b", "unexpected key 'foo' in 'id=a,foo=b'"),
            ("id=a,src=/nowhere/at/all", "failed to stat /nowhere/at/all"),
            ("id=a,env=NO_SUCH_VARIABLE_HERE", "is not set"),
            ("type=file", "secret missing 'id'"),
        ] {
            let error = secret(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
