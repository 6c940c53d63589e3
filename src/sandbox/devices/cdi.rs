//! Specifications of the Container Device Interface in this machine's directories.

use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::spec::cdi::{self, CdiSpec, Edits, Notation};
use crate::spec::device::{CdiName, GpuRequest};
use crate::spec::text::printable;

/// A longer file is none that a generator wrote.
const FILE_MAX: u64 = 4 << 20;
/// What GPUs are called, in the order in which they are looked for.
const GPU_KINDS: [&str; 2] = ["nvidia.com/gpu", "amd.com/gpu"];

/// Why a CDI device cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum CdiError {
    #[error("unresolvable CDI devices {name}: {why}")]
    Unresolvable { name: CdiName, why: String },
    #[error("conflicting CDI device {name}: {} and {} both describe it", .one.display(), .other.display())]
    Conflict { name: CdiName, one: PathBuf, other: PathBuf },
    #[error("CDI device {name} of {}: {why}", .file.display())]
    Impossible { name: CdiName, file: PathBuf, why: String },
    /// docker's words, then the reason.
    #[error("could not select device driver {driver:?} with capabilities: [[{capabilities}]]: {why}")]
    Gpu { driver: String, capabilities: String, why: String },
}

/// All specifications of some directories.
#[derive(Debug, Default)]
pub struct Registry {
    directories: Vec<PathBuf>,
    found: Vec<Found>,
    /// Files that cannot be used, with the reason.
    broken: Vec<(PathBuf, String)>,
}

#[derive(Debug)]
struct Found {
    /// Of its directory: the higher counts.
    priority: usize,
    file: PathBuf,
    spec: CdiSpec,
}

impl Registry {
    /// Reads the directories; those that are not there are empty.
    pub fn read(directories: &[PathBuf]) -> Self {
        let mut registry = Self { directories: directories.to_vec(), ..Self::default() };
        for (priority, directory) in directories.iter().enumerate() {
            let entries = match std::fs::read_dir(directory) {
                Ok(entries) => entries,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => {
                    registry.broken.push((directory.clone(), error.to_string()));
                    continue;
                }
            };
            let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
            files.sort();
            for file in files {
                let notation = match file.extension().and_then(|extension| extension.to_str()) {
                    Some("json") => Notation::Json,
                    Some("yaml" | "yml") => Notation::Yaml,
                    _ => continue,
                };
                match read_text(&file).and_then(|text| cdi::parse(&text, notation)) {
                    Ok(spec) => registry.found.push(Found { priority, file, spec }),
                    Err(why) => registry.broken.push((file, why)),
                }
            }
        }
        registry
    }

    /// The names of all devices, sorted.
    pub fn names(&self) -> Vec<CdiName> {
        let mut names: Vec<CdiName> = self.found.iter().flat_map(|found| found.spec.names()).collect();
        names.sort();
        names.dedup();
        names
    }

    /// What these devices change, all together. `all` means every device of the kind, unless one is
    /// called so.
    pub fn edits(&self, names: &[CdiName]) -> Result<Edits, CdiError> {
        let mut expanded: Vec<CdiName> = Vec::new();
        for name in names {
            let of_kind = || self.names().into_iter().filter(|other| other.kind == name.kind).collect::<Vec<_>>();
            let meant = match name.device.as_str() {
                "all" if !of_kind().is_empty() && !of_kind().contains(name) => of_kind(),
                _ => vec![name.clone()],
            };
            expanded.extend(meant.into_iter().filter(|one| !names[..0].contains(one)));
        }
        let mut unique: Vec<CdiName> = Vec::new();
        for name in expanded {
            if !unique.contains(&name) {
                unique.push(name);
            }
        }
        let mut edits = Edits::default();
        let mut files: Vec<&Path> = Vec::new();
        for name in &unique {
            let found = self.find(name)?;
            let device = found.spec.device(&name.device).map(|device| &device.container_edits);
            let common = (!files.contains(&found.file.as_path())).then_some(&found.spec.container_edits);
            files.push(&found.file);
            for part in common.into_iter().chain(device) {
                if let Some(why) = part.obstacle() {
                    return Err(CdiError::Impossible { name: name.clone(), file: found.file.clone(), why });
                }
                edits.append(part);
            }
        }
        Ok(edits)
    }

    /// The CDI devices that `--gpus` means here.
    pub fn gpus(&self, request: &GpuRequest) -> Result<Vec<CdiName>, CdiError> {
        let kinds = GPU_KINDS.into_iter().filter(|kind| request.driver.is_empty() || kind.starts_with(&request.driver));
        let refuse = |why: String| CdiError::Gpu {
            driver: printable(&request.driver),
            capabilities: printable(&request.capabilities.join(" ")),
            why,
        };
        for kind in kinds {
            let here = self.names().into_iter().filter(|name| name.kind == kind).count();
            if here == 0 {
                continue;
            }
            return Ok(request.names(kind));
        }
        let why = format!("no CDI specification of {}{}", GPU_KINDS[0], self.looked());
        Err(refuse(format!("{why}: make one with 'nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml'")))
    }

    fn find(&self, name: &CdiName) -> Result<&Found, CdiError> {
        let mut candidates = self
            .found
            .iter()
            .filter(|found| found.spec.kind == name.kind && found.spec.device(&name.device).is_some())
            .collect::<Vec<_>>();
        let highest = candidates.iter().map(|found| found.priority).max();
        candidates.retain(|found| Some(found.priority) == highest);
        match candidates[..] {
            [found] => Ok(found),
            [one, other, ..] => {
                let (one, other) = (one.file.clone(), other.file.clone());
                Err(CdiError::Conflict { name: name.clone(), one, other })
            }
            [] => Err(CdiError::Unresolvable { name: name.clone(), why: format!("not found{}", self.looked()) }),
        }
    }

    /// Where was looked, and what could not be read there.
    fn looked(&self) -> String {
        let directories: Vec<String> =
            self.directories.iter().map(|directory| printable(&directory.to_string_lossy())).collect();
        let mut text = format!(" in {}", directories.join(", "));
        if let Some((file, why)) = self.broken.first() {
            text += &format!(" (cannot use {}: {why})", printable(&file.to_string_lossy()));
        }
        text
    }
}

fn read_text(file: &Path) -> Result<String, String> {
    // Without O_NONBLOCK a FIFO would make us wait for its writer.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let open = std::fs::OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(file);
    let opened = open.map_err(|error| error.to_string())?;
    if !opened.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Err("it is not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    opened.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(format!("it is larger than {} MiB", FILE_MAX >> 20));
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::device::parse_gpus;

    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn write(&self, file: &str, kind: &str, devices: &[&str]) {
            let path = self.0.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let devices: Vec<String> = devices
                .iter()
                .map(|name| format!("- name: '{name}'\n  containerEdits: {{env: ['{name}={file}']}}\n"))
                .collect();
            let text = format!(
                "cdiVersion: 0.5.0\nkind: {kind}\ncontainerEdits: {{env: [COMMON={file}]}}\ndevices:\n{}",
                devices.concat()
            );
            std::fs::write(path, text).unwrap();
        }

        fn registry(&self) -> Registry {
            Registry::read(&["low", "high"].map(|name| self.0.path().join(name)))
        }
    }

    fn env(registry: &Registry, names: &[&str]) -> Result<Vec<String>, String> {
        let names: Vec<CdiName> = names.iter().map(|name| name.parse().unwrap()).collect();
        registry.edits(&names).map(|edits| edits.env).map_err(|error| error.to_string())
    }

    #[test]
    fn the_later_directory_counts_and_equals_conflict() {
        let place = Place::new();
        place.write("low/a.yaml", "v.com/c", &["one", "two"]);
        place.write("high/b.yaml", "v.com/c", &["two", "three"]);
        place.write("high/c.yaml", "v.com/c", &["three"]);
        let registry = place.registry();
        assert_eq!(env(&registry, &["v.com/c=one"]).unwrap(), ["COMMON=low/a.yaml", "one=low/a.yaml"]);
        assert_eq!(env(&registry, &["v.com/c=two"]).unwrap(), ["COMMON=high/b.yaml", "two=high/b.yaml"]);
        let error = env(&registry, &["v.com/c=three"]).unwrap_err();
        assert!(error.starts_with("conflicting CDI device v.com/c=three: ") && error.contains("c.yaml"), "{error}");
        assert!(
            env(&registry, &["v.com/c=four"])
                .unwrap_err()
                .contains("unresolvable CDI devices v.com/c=four: not found in ")
        );
    }

    #[test]
    fn all_means_all_unless_a_device_is_called_so() {
        let place = Place::new();
        place.write("low/a.yaml", "v.com/c", &["one", "two"]);
        place.write("low/b.yaml", "v.com/d", &["one", "all"]);
        let registry = place.registry();
        assert_eq!(
            env(&registry, &["v.com/c=all", "v.com/c=two"]).unwrap(),
            ["COMMON=low/a.yaml", "one=low/a.yaml", "two=low/a.yaml"]
        );
        assert_eq!(env(&registry, &["v.com/d=all"]).unwrap(), ["COMMON=low/b.yaml", "all=low/b.yaml"]);
    }

    #[test]
    fn broken_files_are_named_when_a_device_is_missing() {
        let place = Place::new();
        place.write("low/a.yaml", "v.com/c", &["one"]);
        std::fs::write(place.0.path().join("low/b.json"), "{").unwrap();
        nix::unistd::mkfifo(&place.0.path().join("low/c.json"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let registry = place.registry();
        assert!(env(&registry, &["v.com/c=one"]).is_ok());
        let error = env(&registry, &["w.com/c=one"]).unwrap_err();
        assert!(error.contains("b.json: EOF") && !error.contains('\n'), "{error}");
    }

    #[test]
    fn gpus_are_cdi_devices() {
        let place = Place::new();
        let error = place.registry().gpus(&parse_gpus("all").unwrap()).unwrap_err().to_string();
        assert!(error.starts_with("could not select device driver \"\" with capabilities: [[gpu]]: no CDI"), "{error}");
        place.write("low/a.yaml", "amd.com/gpu", &["0", "1"]);
        let names = place.registry().gpus(&parse_gpus("1").unwrap()).unwrap();
        assert_eq!(names, [CdiName::new("amd.com/gpu", "0")]);
        place.write("low/n.yaml", "nvidia.com/gpu", &["0", "all"]);
        let names = place.registry().gpus(&parse_gpus("all").unwrap()).unwrap();
        assert_eq!(names, [CdiName::new("nvidia.com/gpu", "all")]);
    }
}
