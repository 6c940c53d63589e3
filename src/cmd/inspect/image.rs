//! docker's JSON of an image.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::container::time;
use crate::spec::image::{Defaults, ImageConfig, Manifest};
use crate::spec::reference::ImageRef;
use crate::store::images::Image;

/// An image and what is known of it.
pub struct Subject<'a> {
    pub image: &'a Image,
    pub config: &'a ImageConfig,
    /// Bytes of its layers' contents.
    pub size: u64,
    /// The layers' directories, lowest first.
    pub layers: Vec<PathBuf>,
}

/// The JSON of `docker image inspect`, keys in docker's order.
pub fn describe(subject: &Subject) -> Value {
    let (image, config) = (subject.image, subject.config);
    let names = |names: &[ImageRef]| names.iter().map(ImageRef::familiar).collect::<Vec<_>>();
    let text = |key: &str| config.rest.get(key).and_then(Value::as_str).unwrap_or_default();
    let mut all = Map::new();
    let mut put = |key: &str, value: Value| all.insert(key.to_owned(), value);
    put("Id", json!(image.id.to_string()));
    put("RepoTags", json!(names(&image.tags)));
    put("RepoDigests", json!(names(&image.digests)));
    put("Parent", json!(""));
    put("Comment", json!(config.history.last().map_or("", |step| step.comment.as_str())));
    put("Created", json!(config.created.as_deref().unwrap_or_default()));
    put("DockerVersion", json!(text("docker_version")));
    put("Author", json!(config.author.as_deref().unwrap_or_default()));
    put("Config", defaults(&config.config));
    put("Architecture", json!(config.architecture));
    if let Some(variant) = config.variant.as_deref().filter(|variant| !variant.is_empty()) {
        put("Variant", json!(variant));
    }
    put("Os", json!(config.os));
    if !text("os.version").is_empty() {
        put("OsVersion", json!(text("os.version")));
    }
    put("Size", json!(subject.size));
    put("GraphDriver", graph_driver(&subject.layers));
    put("RootFS", json!({"Type": "layers", "Layers": config.rootfs.diff_ids}));
    put("Metadata", json!({"LastTagTime": time(Some(image.tagged))}));
    Value::Object(all)
}

/// Adds what podman has and docker has not.
pub fn extend(all: &mut Value, subject: &Subject, manifest: &Manifest) {
    let (image, config) = (subject.image, subject.config);
    let names = image.tags.iter().chain(&image.digests).map(ImageRef::familiar).collect::<Vec<_>>();
    let or_empty = |value: Option<&Value>| value.cloned().unwrap_or_else(|| json!({}));
    all["Digest"] = json!(image.manifest.to_string());
    all["NamesHistory"] = json!(names);
    all["VirtualSize"] = json!(subject.size);
    all["Labels"] = json!(config.config.labels);
    all["Annotations"] = or_empty(manifest.rest.get("annotations"));
    all["ManifestType"] = json!(manifest.media_type.as_deref().unwrap_or("application/vnd.oci.image.manifest.v1+json"));
    all["User"] = json!(config.config.user);
    all["Version"] = config.rest.get("docker_version").cloned().unwrap_or_else(|| json!(""));
    all["History"] = json!(config.history);
    all["Healthcheck"] = config.config.rest.get("Healthcheck").cloned().unwrap_or_default();
    all["HealthCheck"] = all["Healthcheck"].clone();
}

fn defaults(config: &Defaults) -> Value {
    let mut all = Map::new();
    let mut put = |key: &str, value: Value| all.insert(key.to_owned(), value);
    let rest = |key: &str| config.rest.get(key).filter(|value| !value.is_null()).cloned();
    put("Hostname", json!(""));
    put("Domainname", json!(""));
    put("User", json!(config.user));
    put("AttachStdin", json!(false));
    put("AttachStdout", json!(false));
    put("AttachStderr", json!(false));
    if !config.exposed_ports.is_empty() {
        put("ExposedPorts", json!(config.exposed_ports));
    }
    put("Tty", json!(false));
    put("OpenStdin", json!(false));
    put("StdinOnce", json!(false));
    put("Env", json!(config.env));
    put("Cmd", json!(config.cmd));
    for key in ["Healthcheck", "ArgsEscaped"] {
        if let Some(value) = rest(key) {
            put(key, value);
        }
    }
    put("Image", json!(""));
    put("Volumes", if config.volumes.is_empty() { Value::Null } else { json!(config.volumes) });
    put("WorkingDir", json!(config.working_dir));
    put("Entrypoint", json!(config.entrypoint));
    put("OnBuild", rest("OnBuild").unwrap_or_default());
    put("Labels", if config.labels.is_empty() { Value::Null } else { json!(config.labels) });
    if !config.stop_signal.is_empty() {
        put("StopSignal", json!(config.stop_signal));
    }
    if let Some(shell) = rest("Shell") {
        put("Shell", shell);
    }
    Value::Object(all)
}

fn graph_driver(layers: &[PathBuf]) -> Value {
    let mut paths = layers.iter().rev().map(|path| path.to_string_lossy().into_owned());
    let upper = paths.next().unwrap_or_default();
    let mut data = Map::new();
    let lower: Vec<String> = paths.collect();
    if !lower.is_empty() {
        data.insert("LowerDir".to_owned(), json!(lower.join(":")));
    }
    data.insert("MergedDir".to_owned(), json!(""));
    data.insert("UpperDir".to_owned(), json!(upper));
    data.insert("WorkDir".to_owned(), json!(""));
    json!({"Data": data, "Name": "overlay"})
}
