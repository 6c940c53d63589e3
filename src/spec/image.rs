//! Image documents: configuration, manifest and index, docker's and OCI's alike. Unknown fields are
//! kept, absent and null ones are the same.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::digest::Digest;
use super::platform::Platform;

/// An image's configuration; its digest is the image id.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ImageConfig {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub architecture: String,
    #[serde(default, deserialize_with = "or_default")]
    pub os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// What containers of this image start with.
    #[serde(default, deserialize_with = "or_default")]
    pub config: Defaults,
    #[serde(default, deserialize_with = "or_default")]
    pub rootfs: RootFs,
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// The defaults an image gives its containers (the OCI image-spec's `config` object).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Defaults {
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub user: String,
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub exposed_ports: BTreeMap<String, Value>,
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    #[serde(default, deserialize_with = "words", skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    #[serde(default, deserialize_with = "words", skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub volumes: BTreeMap<String, Value>,
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub working_dir: String,
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub stop_signal: String,
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// The layers of an image, lowest first, by the digests of their uncompressed contents.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    #[serde(rename = "type", default, deserialize_with = "or_default")]
    pub kind: String,
    #[serde(default, deserialize_with = "or_default")]
    pub diff_ids: Vec<Digest>,
}

/// How one layer, or one step without a layer, came to be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub created_by: String,
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub comment: String,
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "std::ops::Not::not")]
    pub empty_layer: bool,
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// What a manifest or index points at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    #[serde(default, deserialize_with = "or_default")]
    pub media_type: String,
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<DescriptorPlatform>,
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl Descriptor {
    /// A descriptor with nothing but what it must have.
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.into(),
            digest,
            size,
            platform: None,
            annotations: BTreeMap::new(),
            rest: Map::new(),
        }
    }
}

/// The platform of an index entry, as written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DescriptorPlatform {
    #[serde(default, deserialize_with = "or_default")]
    pub os: String,
    #[serde(default, deserialize_with = "or_default")]
    pub architecture: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// One platform's image: docker's schema 2 or OCI's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    pub schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl Manifest {
    /// A manifest with nothing but what it must have.
    pub fn new(media_type: impl Into<String>, config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self { schema_version: 2, media_type: Some(media_type.into()), config, layers, rest: Map::new() }
    }
}

/// A list of manifests by platform: docker's manifest list or OCI's index.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    pub schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    pub manifests: Vec<Descriptor>,
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

impl ImageConfig {
    /// The platform in normalised names.
    pub fn platform(&self) -> Platform {
        Platform::from_parts(&self.os, &self.architecture, self.variant.as_deref())
    }
}

impl DescriptorPlatform {
    /// The platform in normalised names.
    pub fn normalised(&self) -> Platform {
        Platform::from_parts(&self.os, &self.architecture, self.variant.as_deref())
    }
}

/// Go writes empty maps and lists as null.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// A list of words, or one word, as images of old write it.
fn words<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Words {
        Many(Vec<String>),
        One(String),
    }
    Ok(Option::<Words>::deserialize(deserializer)?.map(|words| match words {
        Words::Many(words) => words,
        Words::One(word) => vec![word],
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn config_with_nulls_and_unknown_fields() {
        let document = json!({
            "architecture": "amd64", "os": "linux", "created": "2018-12-31T22:20:08Z", "docker_version": "17",
            "config": {
                "User": "", "Env": ["PATH=/bin"], "Cmd": ["sh"], "Entrypoint": null, "Volumes": null,
                "WorkingDir": "", "Labels": null, "ExposedPorts": {"80/tcp": {}},
                "Healthcheck": {"Test": ["CMD", "true"]},
            },
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", "a".repeat(64))]},
            "history": [{"created_by": "x", "empty_layer": true}],
        });
        let config: ImageConfig = serde_json::from_value(document).unwrap();
        assert_eq!(config.config.cmd, Some(vec!["sh".to_owned()]));
        assert_eq!(config.config.entrypoint, None);
        assert_eq!(config.platform().to_string(), "linux/amd64");
        assert_eq!(config.rootfs.diff_ids.len(), 1);
        let again = serde_json::to_value(&config).unwrap();
        assert_eq!(again["docker_version"], "17");
        assert_eq!(again["config"]["Healthcheck"]["Test"][1], "true");
        assert_eq!(again["history"][0]["empty_layer"], true);
        assert_eq!(serde_json::from_value::<ImageConfig>(again).unwrap(), config);
    }

    #[test]
    fn sparse_configs() {
        let config: ImageConfig = serde_json::from_str("{}").unwrap();
        assert_eq!(config, ImageConfig::default());
        let config: ImageConfig = serde_json::from_str(r#"{"config":{"Cmd":"/bin/sh"},"rootfs":null}"#).unwrap();
        assert_eq!(config.config.cmd, Some(vec!["/bin/sh".to_owned()]));
        for bad in ["[]", r#"{"config":[]}"#, r#"{"rootfs":{"diff_ids":["sha256:x"]}}"#] {
            assert!(serde_json::from_str::<ImageConfig>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn manifests_and_indexes() {
        let descriptor =
            json!({"mediaType": "m", "digest": format!("sha256:{}", "b".repeat(64)), "size": 3, "urls": ["u"]});
        let manifest = json!({"schemaVersion": 2, "config": descriptor, "layers": [descriptor], "subject": {}});
        let parsed: Manifest = serde_json::from_value(manifest.clone()).unwrap();
        assert_eq!((parsed.layers.len(), parsed.config.size), (1, 3));
        assert_eq!(serde_json::to_value(&parsed).unwrap(), manifest);

        let mut entry = descriptor.clone();
        entry["platform"] = json!({"os": "linux", "architecture": "arm64", "variant": "v8", "os.version": "1"});
        let index = json!({"schemaVersion": 2, "manifests": [entry]});
        let parsed: Index = serde_json::from_value(index.clone()).unwrap();
        let platform = parsed.manifests[0].platform.as_ref().unwrap();
        assert_eq!(platform.normalised().to_string(), "linux/arm64");
        assert_eq!(serde_json::to_value(&parsed).unwrap(), index);
        let negative = json!({"digest": format!("sha256:{}", "b".repeat(64)), "size": -1});
        assert!(serde_json::from_value::<Descriptor>(negative).is_err());
    }
}
