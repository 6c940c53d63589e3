//! docker's JSON of a volume.

use std::path::Path;

use serde_json::{Value, json};

use super::container::object;
use crate::spec::volume::{DRIVER, Volume};

/// The JSON of `docker volume inspect`, keys in docker's order.
pub fn describe(volume: &Volume, mountpoint: &Path) -> Value {
    let or_null = |map: &std::collections::BTreeMap<String, String>| {
        if map.is_empty() { Value::Null } else { json!(map) }
    };
    // docker shows whole seconds.
    let created = match volume.created.parse::<jiff::Timestamp>() {
        Ok(moment) => moment.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        Err(_) => volume.created.clone(),
    };
    Value::Object(object([
        ("CreatedAt", json!(created)),
        ("Driver", json!(DRIVER)),
        ("Labels", or_null(&volume.labels)),
        ("Mountpoint", json!(mountpoint.to_string_lossy())),
        ("Name", json!(volume.name)),
        ("Options", or_null(&volume.options)),
        ("Scope", json!("local")),
    ]))
}
