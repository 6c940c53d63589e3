//! The keys: name, type, effect. The only list of them; messages, `info`, the environment and the
//! tests of the documents go by it.

use serde_json::{Value, json};

use super::given::{Given, Refusal};
use super::{Origin, Setting, Settings};
use crate::spec::create::PullPolicy;
use crate::spec::log::{parse_max_file, parse_max_size};
use crate::spec::network::check_setting;
use crate::spec::registries::{Domain, Mirror};
use crate::spec::size;

/// One key.
#[derive(Debug)]
pub struct Key {
    pub name: &'static str,
    /// What its value must be, to follow "it must be".
    pub allowed: &'static str,
    pub(super) assign: fn(&mut Settings, Given<'_>, Origin) -> Result<(), Refusal>,
    show: fn(&Settings) -> (Value, &Origin),
}

/// All keys, in the order in which they are shown.
pub const KEYS: &[Key] = &[
    Key {
        name: "root",
        allowed: "the absolute path of a directory",
        assign: |all, given, origin| set(&mut all.root, Some(given.text()?.into()), origin),
        show: |all| shown(&all.root, json!(all.root.value)),
    },
    Key {
        name: "runroot",
        allowed: "the absolute path of a directory",
        assign: |all, given, origin| set(&mut all.runroot, Some(given.text()?.into()), origin),
        show: |all| shown(&all.runroot, json!(all.runroot.value)),
    },
    Key {
        name: "registry",
        allowed: "a registry's host with optional port, as in \"quay.io\"",
        assign: |all, given, origin| set(&mut all.registry, parse(given.text()?)?, origin),
        show: |all| shown(&all.registry, json!(all.registry.value.as_str())),
    },
    Key {
        name: "mirrors",
        allowed: "lists of mirrors by registry, as in \"docker.io\" = [\"mirror.example:5000\"]",
        assign: assign_mirrors,
        show: |all| {
            let list = |mirrors: &[Mirror]| mirrors.iter().map(Mirror::to_string).collect::<Value>();
            let mirrors = all.mirrors.value.iter().map(|(of, mirrors)| (of.to_string(), list(mirrors)));
            shown(&all.mirrors, Value::Object(mirrors.collect()))
        },
    },
    Key {
        name: "insecure-registries",
        allowed: "a list of registry hosts with optional port, as in [\"registry.example:5000\"]",
        assign: |all, given, origin| {
            let domains = given.list(str::parse::<Domain>)?;
            set(&mut all.insecure_registries, domains.into_iter().collect(), origin)
        },
        show: |all| {
            let domains = all.insecure_registries.value.iter().map(Domain::as_str).collect();
            shown(&all.insecure_registries, domains)
        },
    },
    Key {
        name: "token-servers",
        allowed: "lists of hosts by registry, as in \"registry.example\" = [\"auth.example\"]",
        assign: |all, given, origin| {
            let mut servers = super::TokenServers::new();
            for (of, list) in given.lists(str::parse::<Domain>, str::parse::<Domain>)? {
                servers.entry(of).or_default().extend(list);
            }
            set(&mut all.token_servers, servers, origin)
        },
        show: |all| {
            let list = |servers: &[Domain]| servers.iter().map(Domain::as_str).collect::<Value>();
            let servers = all.token_servers.value.iter().map(|(of, servers)| (of.to_string(), list(servers)));
            shown(&all.token_servers, Value::Object(servers.collect()))
        },
    },
    Key {
        name: "log-driver",
        allowed: "one of json-file, k8s-file, local, journald, syslog, none, passthrough, passthrough-tty",
        assign: |all, given, origin| {
            let driver = given.text()?.parse().map_err(|_| Refusal::default())?;
            set(&mut all.log_driver, driver, origin)
        },
        show: |all| shown(&all.log_driver, json!(all.log_driver.value.to_string())),
    },
    Key {
        name: "log-max-size",
        allowed: "a size in powers of 1000, as in \"10m\", or -1 for no limit",
        assign: |all, given, origin| {
            let limit = parse_max_size(&given.text_or_digits()?).map_err(|_| Refusal::default())?;
            set(&mut all.log_max_size, limit, origin)
        },
        show: |all| {
            let limit = all.log_max_size.value.map_or_else(|| "-1".to_owned(), size::short_decimal);
            shown(&all.log_max_size, json!(limit))
        },
    },
    Key {
        name: "log-max-file",
        allowed: "a whole number from 1 to 1000",
        assign: |all, given, origin| {
            let count = parse_max_file(&given.digits()?).map_err(|_| Refusal::default())?;
            set(&mut all.log_max_file, count, origin)
        },
        show: |all| shown(&all.log_max_file, json!(all.log_max_file.value)),
    },
    Key {
        name: "detach-keys",
        allowed: "keys separated by commas, as in \"ctrl-p,ctrl-q\"",
        assign: |all, given, origin| {
            let keys = given.text()?.parse().map_err(Refusal::because)?;
            set(&mut all.detach_keys, keys, origin)
        },
        show: |all| shown(&all.detach_keys, json!(all.detach_keys.value.to_string())),
    },
    Key {
        name: "network",
        allowed: "\"bridge\", \"none\", \"host\" or another value of --network",
        assign: |all, given, origin| {
            let mode = given.text()?;
            check_setting(mode).map_err(Refusal::because)?;
            set(&mut all.network, mode.to_owned(), origin)
        },
        show: |all| shown(&all.network, json!(all.network.value)),
    },
    Key {
        name: "pull",
        allowed: "\"missing\", \"always\", \"newer\" or \"never\"",
        assign: |all, given, origin| {
            let policy = given.text()?.parse().map_err(|_| Refusal::default())?;
            set(&mut all.pull, policy, origin)
        },
        show: |all| {
            let policy = match all.pull.value {
                PullPolicy::Always => "always",
                PullPolicy::Missing => "missing",
                PullPolicy::Newer => "newer",
                PullPolicy::Never => "never",
            };
            shown(&all.pull, json!(policy))
        },
    },
    Key {
        name: "init",
        allowed: "true or false",
        assign: |all, given, origin| set(&mut all.init, given.boolean()?, origin),
        show: |all| shown(&all.init, json!(all.init.value)),
    },
    Key {
        name: "stop-timeout",
        allowed: "whole seconds up to 2147483647, or -1 to wait for ever",
        assign: |all, given, origin| {
            let seconds: i32 = given.digits()?.parse().map_err(|_| Refusal::default())?;
            let seconds = if seconds < -1 { Err(Refusal::default()) } else { Ok(seconds.into()) };
            set(&mut all.stop_timeout, seconds?, origin)
        },
        show: |all| shown(&all.stop_timeout, json!(all.stop_timeout.value)),
    },
    Key {
        name: "layer-max-size",
        allowed: "a size in powers of 1000, as in \"20g\"",
        assign: |all, given, origin| {
            let size = size::parse_decimal_bytes(&given.text_or_digits()?).map_err(|_| Refusal::default())?;
            set(&mut all.layer_max_size, size, origin)
        },
        show: |all| shown(&all.layer_max_size, json!(size::short_decimal(all.layer_max_size.value))),
    },
    Key {
        name: "layer-max-entries",
        allowed: "a whole number",
        assign: |all, given, origin| {
            let count = given.digits()?.parse().map_err(|_| Refusal::default())?;
            set(&mut all.layer_max_entries, count, origin)
        },
        show: |all| shown(&all.layer_max_entries, json!(all.layer_max_entries.value)),
    },
    Key {
        name: "seccomp-profile",
        allowed: "\"builtin\", \"unconfined\" or the absolute path of a profile",
        assign: |all, given, origin| set(&mut all.seccomp_profile, given.text()?.to_owned(), origin),
        show: |all| shown(&all.seccomp_profile, json!(all.seccomp_profile.value)),
    },
    Key {
        name: "cdi-spec-dirs",
        allowed: "a list of absolute paths of directories, as in [\"/etc/cdi\"]",
        assign: |all, given, origin| {
            let absolute = |text: &str| match text.starts_with('/') {
                true => Ok(std::path::PathBuf::from(text)),
                false => Err("it is not an absolute path"),
            };
            set(&mut all.cdi_spec_dirs, given.list(absolute)?, origin)
        },
        show: |all| shown(&all.cdi_spec_dirs, json!(all.cdi_spec_dirs.value)),
    },
];

impl Key {
    /// The key of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.name == name)
    }

    /// The environment variable that sets it: `RBOX_` and its name in capitals, `-` as `_`.
    pub fn variable(&self) -> String {
        format!("RBOX_{}", self.name.to_ascii_uppercase().replace('-', "_"))
    }

    /// Its name as a field of `info`'s JSON: `LogMaxSize`.
    pub fn field(&self) -> String {
        let capitalised = |word: &str| word[..1].to_ascii_uppercase() + &word[1..];
        self.name.split('-').map(capitalised).collect()
    }

    /// Its value as JSON, and where that came from.
    pub fn show<'a>(&self, settings: &'a Settings) -> (Value, &'a Origin) {
        (self.show)(settings)
    }

    /// Whether its value may be a path.
    pub(super) fn is_path(&self) -> bool {
        matches!(self.name, "root" | "runroot" | "seccomp-profile")
    }
}

/// The key that was probably meant: few letters apart, or one that goes on where `name` ends.
pub fn closest(name: &str) -> Option<&'static str> {
    let name = name.to_lowercase().replace('_', "-");
    let (distance, key) = KEYS.iter().map(|key| (edits(&name, key.name), key.name)).min()?;
    let extended = || KEYS.iter().map(|key| key.name).find(|key| name.len() > 2 && key.starts_with(&name));
    if distance <= 1 + name.len() / 4 && distance < name.len() { Some(key) } else { extended() }
}

/// How many letters must be changed, added or removed (Levenshtein). Long texts are far from all.
fn edits(from: &str, to: &str) -> usize {
    if from.len() > 64 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (line, a) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], line + 1);
        for (column, b) in to.chars().enumerate() {
            let changed = diagonal + usize::from(a != b);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

fn set<T>(setting: &mut Setting<T>, value: T, origin: Origin) -> Result<(), Refusal> {
    *setting = Setting { value, origin };
    Ok(())
}

fn shown<T>(setting: &Setting<T>, value: Value) -> (Value, &Origin) {
    (value, &setting.origin)
}

fn parse(text: &str) -> Result<Domain, Refusal> {
    text.parse().map_err(Refusal::because)
}

fn assign_mirrors(all: &mut Settings, given: Given<'_>, origin: Origin) -> Result<(), Refusal> {
    let mut mirrors = super::Mirrors::new();
    for (of, list) in given.lists(str::parse::<Domain>, str::parse::<Mirror>)? {
        mirrors.entry(of).or_default().extend(list);
    }
    set(&mut all.mirrors, mirrors, origin)
}
