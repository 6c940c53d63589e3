//! `RUN --mount`.

use super::ast::{RunMount, RunMountKind, Sharing};
use super::flags::suggest;
use crate::spec::mount::csv;
use crate::spec::size::parse_bytes;

const TYPES: [&str; 5] = ["bind", "cache", "tmpfs", "secret", "ssh"];
const SHARING: [&str; 3] = ["shared", "private", "locked"];
const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "target",
    "readonly",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "src",
    "dst",
    "destination",
    "ro",
    "rw",
    "readwrite",
    "env",
];

/// What a mount's values are expanded with.
pub type Expander<'a> = &'a dyn Fn(&str) -> Result<String, String>;

/// Reads a mount as it stands in the file: texts stay as they are, and numbers that are given by variables
/// are left out until [`evaluate`].
pub(super) fn parse(text: &str) -> Result<RunMount, String> {
    read(text, None)
}

/// Reads a mount with every value expanded; `text` is [`RunMount::text`].
pub fn evaluate(text: &str, expander: Expander<'_>) -> Result<RunMount, String> {
    read(text, Some(expander))
}

/// What was said, before it is known whether it fits the type.
#[derive(Default)]
struct Draft {
    kind: Option<&'static str>,
    from: Option<String>,
    source: Option<String>,
    target: Option<String>,
    id: Option<String>,
    env: Option<String>,
    readonly: Option<bool>,
    required: bool,
    size: Option<u64>,
    sharing: Option<Sharing>,
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
}

fn read(text: &str, expander: Option<Expander<'_>>) -> Result<RunMount, String> {
    let fields = csv::split(text).ok_or_else(|| format!("failed to parse csv mounts: stray quote in {text}"))?;
    let mut draft = Draft::default();
    for field in &fields {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_ascii_lowercase(), Some(value)),
            None => (field.to_ascii_lowercase(), None),
        };
        let Some(value) = value else {
            draft.word(&key, field)?;
            continue;
        };
        let text_key =
            matches!(key.as_str(), "source" | "src" | "target" | "dst" | "destination" | "id" | "env" | "from");
        let value = match expander {
            Some(expander) => expander(value)?,
            None if key == "from" && has_variable(value) => {
                return Err(format!("'{key}' doesn't support variable expansion, define alias stage instead"));
            }
            // Not known yet.
            None if !text_key && value.contains('$') && KEYS.contains(&key.as_str()) => continue,
            None => value.to_owned(),
        };
        draft.set(&key, value, field)?;
    }
    draft.finish(text)
}

/// A dollar sign with something after it.
fn has_variable(value: &str) -> bool {
    value.split_once('$').is_some_and(|(_, rest)| !rest.is_empty())
}

fn bool_value(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(format!("invalid value for {key}: {value}")),
    }
}

impl Draft {
    fn kind(&self) -> &'static str {
        self.kind.unwrap_or("bind")
    }

    fn wants(&self, key: &str, kinds: &[&str]) -> Result<(), String> {
        match kinds.contains(&self.kind()) {
            true => Ok(()),
            false => Err(format!("unexpected key '{key}' for mount type '{}'", self.kind())),
        }
    }

    /// A key without a value.
    fn word(&mut self, key: &str, field: &str) -> Result<(), String> {
        match key {
            "readonly" | "ro" => self.readonly = Some(true),
            "readwrite" | "rw" => self.readonly = Some(false),
            "required" => {
                self.wants(key, &["secret", "ssh"])?;
                self.required = true;
            }
            _ => return Err(format!("invalid field '{field}' must be a key=value pair")),
        }
        Ok(())
    }

    fn set(&mut self, key: &str, value: String, field: &str) -> Result<(), String> {
        let lower = value.to_ascii_lowercase();
        let number = |radix| u32::from_str_radix(&value, radix).map_err(|_| format!("invalid value {value} for {key}"));
        match key {
            "type" => {
                let unknown = || suggest(format!("unsupported mount type {value:?}"), &value, &TYPES);
                self.kind = Some(TYPES.into_iter().find(|kind| *kind == lower).ok_or_else(unknown)?);
            }
            "from" => self.from = Some(value),
            "source" | "src" => self.source = Some(value),
            "target" | "dst" | "destination" => self.target = Some(value),
            "id" => self.id = Some(value),
            "env" => self.env = Some(value),
            "readonly" | "ro" => self.readonly = Some(bool_value(key, &value)?),
            "readwrite" | "rw" => self.readonly = Some(!bool_value(key, &value)?),
            "required" => {
                self.wants(key, &["secret", "ssh"])?;
                self.required = bool_value(key, &value)?;
            }
            "size" => {
                self.wants(key, &["tmpfs"])?;
                self.size = Some(parse_bytes(&value).map_err(|_| format!("invalid value for {key}: {value}"))?);
            }
            "sharing" => {
                self.sharing = Some(match lower.as_str() {
                    "shared" => Sharing::Shared,
                    "private" => Sharing::Private,
                    "locked" => Sharing::Locked,
                    _ => return Err(suggest(format!("unsupported sharing value {value:?}"), &value, &SHARING)),
                });
            }
            "mode" => self.mode = Some(number(8)?),
            "uid" => self.uid = Some(number(10)?),
            "gid" => self.gid = Some(number(10)?),
            _ => return Err(suggest(format!("unexpected key '{key}' in '{field}'"), key, &KEYS)),
        }
        Ok(())
    }

    /// What does not fit the type is refused.
    fn finish(self, text: &str) -> Result<RunMount, String> {
        let kind = self.kind();
        if matches!(kind, "bind" | "tmpfs") {
            let given = [("mode", self.mode), ("uid", self.uid), ("gid", self.gid)];
            if let Some((key, _)) = given.into_iter().find(|(_, value)| value.is_some()) {
                return Err(format!("{key} not allowed for {kind:?} type mounts"));
            }
        }
        let some = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let (from, source, target, id) = (some(&self.from), some(&self.source), some(&self.target), some(&self.id));
        if kind == "secret" {
            let refused = match () {
                () if from.is_some() => "secret mount should not have a from",
                () if self.sharing.is_some() => "secret mount should not define sharing",
                () if source.is_none() && target.is_none() && id.is_none() => {
                    "invalid secret mount. one of source, target required"
                }
                () if source.is_some() && id.is_some() => "both source and id can't be set",
                () => "",
            };
            if !refused.is_empty() {
                return Err(refused.to_owned());
            }
        }
        if self.sharing.is_some() && kind != "cache" {
            return Err(format!("invalid cache sharing set for {kind} mount"));
        }
        let readonly = self.readonly.unwrap_or(!matches!(kind, "cache" | "tmpfs"));
        let kind = match kind {
            "cache" => RunMountKind::Cache { id, from, source, sharing: self.sharing.unwrap_or_default() },
            "tmpfs" => RunMountKind::Tmpfs { size: self.size },
            "secret" => RunMountKind::Secret { id: id.or(source), env: some(&self.env) },
            "ssh" if source.is_some() => return Err("ssh does not support source".to_owned()),
            "ssh" => RunMountKind::Ssh { id },
            _ => RunMountKind::Bind { from, source },
        };
        let Self { required, uid, gid, mode, .. } = self;
        Ok(RunMount { text: text.to_owned(), kind, target, readonly, required, uid, gid, mode })
    }
}
