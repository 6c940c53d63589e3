//! The flags that say for what an entry of a list is made.

use serde_json::json;

use crate::spec::image::{Descriptor, DescriptorPlatform};

/// What an entry says about itself.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct PlatformOptions {
    /// Architecture, as in arm64
    #[arg(long, value_name = "ARCH")]
    arch: Option<String>,
    /// Features of the processor
    #[arg(long, value_name = "FEATURE", value_delimiter = ',')]
    features: Vec<String>,
    /// Operating system
    #[arg(long, value_name = "OS")]
    os: Option<String>,
    /// Features of the operating system
    #[arg(long, value_name = "FEATURE", value_delimiter = ',')]
    os_features: Vec<String>,
    /// Version of the operating system
    #[arg(long, value_name = "VERSION")]
    os_version: Option<String>,
    /// Variant of the architecture, as in v7
    #[arg(long, value_name = "VARIANT")]
    variant: Option<String>,
}

impl PlatformOptions {
    /// Writes what was given into an entry.
    pub fn apply(&self, entry: &mut Descriptor) {
        if self.is_empty() {
            return;
        }
        let empty = || DescriptorPlatform {
            os: "linux".to_owned(),
            architecture: String::new(),
            variant: None,
            rest: serde_json::Map::new(),
        };
        let platform = entry.platform.get_or_insert_with(empty);
        if let Some(architecture) = &self.arch {
            platform.architecture.clone_from(architecture);
        }
        if let Some(os) = &self.os {
            platform.os.clone_from(os);
        }
        if let Some(variant) = &self.variant {
            platform.variant = Some(variant.clone()).filter(|variant| !variant.is_empty());
        }
        let lists = [("features", &self.features), ("os.features", &self.os_features)];
        for (key, values) in lists.into_iter().filter(|(_, values)| !values.is_empty()) {
            platform.rest.insert(key.to_owned(), json!(values));
        }
        if let Some(version) = &self.os_version {
            platform.rest.insert("os.version".to_owned(), json!(version));
        }
    }

    fn is_empty(&self) -> bool {
        let words = [&self.arch, &self.os, &self.os_version, &self.variant];
        words.iter().all(|word| word.is_none()) && self.features.is_empty() && self.os_features.is_empty()
    }
}
