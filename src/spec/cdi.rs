//! Specifications of the Container Device Interface, in JSON or YAML (CNCF container-device-interface,
//! SPEC.md 1.1): what a named device changes in a container. Read strictly: a key that is not known
//! might be what keeps the device safe.

use std::path::PathBuf;

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::device::{self, CdiName};
use super::text::printable;

/// Versions of the specification that are understood.
const VERSIONS: [&str; 12] =
    ["0.1.0", "0.2.0", "0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "0.8.1", "1.0.0", "1.1.0", "1.1.1"];

/// How a specification is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notation {
    Json,
    Yaml,
}

/// A specification: the devices of one kind.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CdiSpec {
    cdi_version: String,
    /// `vendor/class`.
    pub kind: String,
    #[serde(default, rename = "annotations")]
    _annotations: Option<IgnoredAny>,
    #[serde(default)]
    pub devices: Vec<CdiDevice>,
    /// What any of the devices needs.
    #[serde(default)]
    pub container_edits: Edits,
}

/// One device.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CdiDevice {
    pub name: String,
    #[serde(default, rename = "annotations")]
    _annotations: Option<IgnoredAny>,
    #[serde(default)]
    pub container_edits: Edits,
}

/// Changes to a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Edits {
    /// `NAME=VALUE`.
    #[serde(default)]
    pub env: Vec<String>,
    #[serde(default)]
    pub device_nodes: Vec<DeviceNode>,
    #[serde(default)]
    pub mounts: Vec<CdiMount>,
    #[serde(default)]
    pub hooks: Vec<Hook>,
    #[serde(default)]
    pub additional_gids: Vec<u32>,
    #[serde(default)]
    intel_rdt: Option<IgnoredAny>,
    #[serde(default)]
    net_devices: Option<IgnoredAny>,
}

/// A device node. Its owner, mode and number are the host's, as it is the host's node that is shown.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeviceNode {
    /// In the container.
    pub path: String,
    #[serde(default)]
    host_path: Option<PathBuf>,
    #[serde(default)]
    pub permissions: Option<String>,
    #[serde(default, rename = "type")]
    _kind: Option<IgnoredAny>,
    #[serde(default, rename = "major")]
    _major: Option<IgnoredAny>,
    #[serde(default, rename = "minor")]
    _minor: Option<IgnoredAny>,
    #[serde(default, rename = "fileMode")]
    _file_mode: Option<IgnoredAny>,
    #[serde(default, rename = "uid")]
    _uid: Option<IgnoredAny>,
    #[serde(default, rename = "gid")]
    _gid: Option<IgnoredAny>,
}

/// A mount.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CdiMount {
    pub host_path: PathBuf,
    pub container_path: String,
    /// The OCI's words.
    #[serde(default)]
    pub options: Vec<String>,
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
}

/// A program of the host to be run while the container is made.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hook {
    pub hook_name: String,
    pub path: String,
    #[serde(default)]
    pub args: Vec<String>,
    #[serde(default, rename = "env")]
    _env: Option<IgnoredAny>,
    #[serde(default, rename = "timeout")]
    _timeout: Option<IgnoredAny>,
}

/// Reads a specification. The error is one line about what is wrong with it.
pub fn parse(text: &str, notation: Notation) -> Result<CdiSpec, String> {
    let line = |error: String| printable(error.lines().next().unwrap_or_default());
    let spec: CdiSpec = match notation {
        Notation::Json => serde_json::from_str(text).map_err(|error| line(error.to_string()))?,
        Notation::Yaml => yaml_serde::from_str(text).map_err(|error| line(error.to_string()))?,
    };
    spec.check()?;
    Ok(spec)
}

impl CdiSpec {
    fn check(&self) -> Result<(), String> {
        if !VERSIONS.contains(&self.cdi_version.trim_start_matches('v')) {
            return Err(format!("cdiVersion {:?} is not known: the latest is 1.1.0", printable(&self.cdi_version)));
        }
        if !device::is_kind(&self.kind) {
            return Err(format!("invalid kind {:?}: expected VENDOR/CLASS", printable(&self.kind)));
        }
        if self.devices.is_empty() {
            return Err("it has no devices".to_owned());
        }
        for (index, device) in self.devices.iter().enumerate() {
            if !device::is_device(&device.name) {
                return Err(format!("invalid device name {:?}", printable(&device.name)));
            }
            if self.devices[..index].iter().any(|other| other.name == device.name) {
                return Err(format!("device {:?} is there twice", device.name));
            }
            device.container_edits.check().map_err(|why| format!("device {:?}: {why}", device.name))?;
        }
        self.container_edits.check()
    }

    /// The device of this name.
    pub fn device(&self, name: &str) -> Option<&CdiDevice> {
        self.devices.iter().find(|device| device.name == name)
    }

    /// Its devices' full names.
    pub fn names(&self) -> impl Iterator<Item = CdiName> {
        self.devices.iter().map(|device| CdiName::new(&self.kind, &device.name))
    }
}

impl DeviceNode {
    /// The host's node.
    pub fn host(&self) -> PathBuf {
        self.host_path.clone().unwrap_or_else(|| PathBuf::from(&self.path))
    }
}

impl Edits {
    fn check(&self) -> Result<(), String> {
        let absolute = |what: &str, path: &str| match path.starts_with('/') && !path.split('/').any(|part| part == "..")
        {
            true => Ok(()),
            false => Err(format!("{what} {:?} is not an absolute path without '..'", printable(path))),
        };
        for entry in &self.env {
            if entry.split_once('=').is_none_or(|(name, _)| name.is_empty()) || entry.contains('\0') {
                return Err(format!("invalid environment variable {:?}", printable(entry)));
            }
        }
        for node in &self.device_nodes {
            absolute("the device node", &node.path)?;
            absolute("the host's device node", &node.host().to_string_lossy())?;
        }
        for mount in &self.mounts {
            absolute("the mount point", &mount.container_path)?;
            absolute("the mount's source", &mount.host_path.to_string_lossy())?;
        }
        Ok(())
    }

    /// What of it cannot be done here, if anything.
    pub fn obstacle(&self) -> Option<String> {
        if self.intel_rdt.is_some() {
            return Some("it asks for Intel RDT, which needs root".to_owned());
        }
        if self.net_devices.is_some() {
            return Some("it moves a network device of the host, which needs root".to_owned());
        }
        self.hooks.iter().find(|hook| hook.meaning().is_none()).map(|hook| {
            format!(
                "its {} hook would run {}, and hooks are not run",
                printable(&hook.hook_name),
                printable(&hook.path)
            )
        })
    }

    /// Adds another's changes.
    pub fn append(&mut self, other: &Self) {
        self.env.extend_from_slice(&other.env);
        self.device_nodes.extend_from_slice(&other.device_nodes);
        self.mounts.extend_from_slice(&other.mounts);
        self.hooks.extend_from_slice(&other.hooks);
        self.additional_gids.extend_from_slice(&other.additional_gids);
        self.intel_rdt = self.intel_rdt.or(other.intel_rdt);
        self.net_devices = self.net_devices.or(other.net_devices);
    }
}

/// What is done in the place of a hook of NVIDIA's generator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Directories of libraries, which `ldconfig` would have put into the container's cache.
    Libraries(Vec<String>),
    /// Symbolic links to make: target and path.
    Links(Vec<(String, String)>),
    /// Of no consequence where the host's nodes are bound.
    Nothing,
}

impl Hook {
    /// What a hook that is known does; None for any other.
    pub fn meaning(&self) -> Option<Meaning> {
        let program = self.path.rsplit('/').next()?;
        if !matches!(program, "nvidia-ctk" | "nvidia-cdi-hook") || self.hook_name != "createContainer" {
            return None;
        }
        let verb = self.args.iter().skip(1).find(|word| *word != "hook")?;
        let options = |name: &str| -> Vec<&str> {
            let mut found = Vec::new();
            let mut words = self.args.iter();
            while let Some(word) = words.next() {
                match word.strip_prefix(name) {
                    Some("") => found.extend(words.next().map(String::as_str)),
                    Some(rest) => found.extend(rest.strip_prefix('=')),
                    None => {}
                }
            }
            found
        };
        match verb.as_str() {
            "update-ldcache" => Some(Meaning::Libraries(options("--folder").into_iter().map(str::to_owned).collect())),
            "create-symlinks" => {
                let links = options("--link").into_iter().map(|link| link.split_once("::"));
                let owned = |(target, path): (&str, &str)| (target.to_owned(), path.to_owned());
                links.map(|link| link.map(owned)).collect::<Option<Vec<_>>>().map(Meaning::Links)
            }
            "chmod" | "enable-cuda-compat" | "disable-device-node-modification" => Some(Meaning::Nothing),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YAML: &str = "cdiVersion: 0.6.0
kind: vendor.com/class
annotations: {a: b}
containerEdits:
  env: [GLOBAL=1]
devices:
- name: one
  containerEdits:
    env: [ONE=1]
    deviceNodes:
    - path: /dev/one
      hostPath: /dev/null
      fileMode: 0644
      uid: 0
      permissions: rw
    mounts:
    - {hostPath: /usr, containerPath: /mnt/usr, options: [ro, nosuid, bind]}
    additionalGids: [5]
";

    #[test]
    fn both_notations() {
        let spec = parse(YAML, Notation::Yaml).unwrap();
        assert_eq!(spec.names().map(|name| name.to_string()).collect::<Vec<_>>(), ["vendor.com/class=one"]);
        let edits = &spec.device("one").unwrap().container_edits;
        assert_eq!((edits.device_nodes[0].host(), &*edits.device_nodes[0].path), ("/dev/null".into(), "/dev/one"));
        assert_eq!((&*edits.mounts[0].container_path, edits.mounts[0].options.len()), ("/mnt/usr", 3));
        assert_eq!((edits.additional_gids.as_slice(), edits.obstacle()), (&[5][..], None));
        let json = r#"{"cdiVersion":"0.5.0","kind":"a/b","devices":[{"name":"x","containerEdits":{"deviceNodes":[{"path":"/dev/null","type":"c","major":1,"minor":3}]}}]}"#;
        assert_eq!(
            parse(json, Notation::Json).unwrap().device("x").unwrap().container_edits.device_nodes[0].host(),
            PathBuf::from("/dev/null")
        );
    }

    #[test]
    fn malformed_specifications_are_one_line() {
        for (from, to, reason) in [
            ("0.6.0", "9.0.0", "cdiVersion \"9.0.0\" is not known"),
            ("vendor.com/class", "vendor", "invalid kind \"vendor\""),
            ("name: one", "name: -one-", "invalid device name \"-one-\""),
            ("ONE=1", "ONE", "device \"one\": invalid environment variable \"ONE\""),
            ("path: /dev/one", "path: dev/one", "is not an absolute path"),
            ("containerPath: /mnt/usr", "containerPath: /mnt/../usr", "is not an absolute path"),
            ("env: [GLOBAL=1]", "bogus: 1", "unknown field `bogus`"),
            ("[GLOBAL=1]", "[GLOBAL=1", ""),
            ("devices:\n", "devices: []\nother:\n", ""),
        ] {
            let text = YAML.replacen(from, to, 1);
            let error = parse(&text, Notation::Yaml).unwrap_err();
            assert!(error.contains(reason) && !error.contains('\n'), "{to}: {error}");
        }
        assert!(parse("", Notation::Json).unwrap_err().contains("EOF"));
        assert!(parse("[]", Notation::Json).is_err());
    }

    fn hook(name: &str, path: &str, args: &[&str]) -> Hook {
        let args = args.iter().map(|word| (*word).to_owned()).collect();
        Hook { hook_name: name.into(), path: path.into(), args, ..Hook::default() }
    }

    #[test]
    fn hooks_of_nvidias_generator_are_understood() {
        let folders = hook(
            "createContainer",
            "/usr/bin/nvidia-cdi-hook",
            &["nvidia-cdi-hook", "update-ldcache", "--folder", "/usr/lib64", "--folder=/opt/lib"],
        );
        assert_eq!(folders.meaning(), Some(Meaning::Libraries(vec!["/usr/lib64".into(), "/opt/lib".into()])));
        let links = hook(
            "createContainer",
            "/usr/bin/nvidia-ctk",
            &["nvidia-ctk", "hook", "create-symlinks", "--link", "libcuda.so.1::/usr/lib/libcuda.so"],
        );
        assert_eq!(links.meaning(), Some(Meaning::Links(vec![("libcuda.so.1".into(), "/usr/lib/libcuda.so".into())])));
        for other in [
            hook("prestart", "/usr/bin/nvidia-ctk", &["nvidia-ctk", "hook", "update-ldcache"]),
            hook("createContainer", "/bin/sh", &["sh", "update-ldcache"]),
            hook("createContainer", "/usr/bin/nvidia-ctk", &["nvidia-ctk", "hook", "new-verb"]),
        ] {
            let edits = Edits { hooks: vec![other], ..Edits::default() };
            assert!(edits.obstacle().unwrap().contains("hooks are not run"));
        }
    }
}
