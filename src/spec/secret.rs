//! Secrets: their names, and the values of `--secret`. The bytes themselves are never part of a value
//! here: records, configurations and messages can all be shown.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::text::printable;

/// A secret holds fewer bytes than this (podman's limit).
pub const SIZE_LIMIT: usize = 512_000;
/// Where secrets are mounted unless told.
pub const DIRECTORY: &str = "/run/secrets";
/// The kernel's limit on one variable of the environment (MAX_ARG_STRLEN), name and NUL included.
const VARIABLE_MAX: usize = 128 << 10;
const NAME_MAX: usize = 253;
const DEFAULT_MODE: u32 = 0o444;

/// What is known about a secret of the store, apart from its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// 25 lower-case hex digits, as podman's.
    pub id: String,
    pub name: String,
    /// RFC 3339 in UTC with nanoseconds.
    pub created: String,
    pub updated: String,
    pub labels: BTreeMap<String, String>,
}

/// A secret of a container, whose bytes lie in the container's directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretUse {
    pub id: String,
    pub name: String,
    pub form: SecretForm,
}

/// How a container sees a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretForm {
    /// A read-only file at an absolute path.
    Mount { target: String, uid: u32, gid: u32, mode: u32 },
    /// A variable of this name.
    Env { variable: String },
}

/// A `--secret` value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRequest {
    /// Name or id.
    pub source: String,
    target: Option<String>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Mount { uid: u32, gid: u32, mode: u32 },
    Env,
}

/// Why a secret can't be used as asked. podman's words where it has them.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidSecret {
    #[error("secret name {0:?} can not include '=', '/', ',', or the '\\0' (NULL) and be between 1 and 253 characters")]
    Name(String),
    #[error("secret data must be larger than 0 and less than 512000 bytes")]
    Size,
    #[error("invalid --secret {value:?}: {reason}")]
    Flag { value: String, reason: String },
    #[error("secret {0:?} holds a NUL byte and cannot be a variable: use type=mount")]
    Nul(String),
    #[error("secret {0:?} is too long for a variable, which the kernel limits to 128 KiB: use type=mount")]
    Long(String),
    #[error("Duplicate mount point: {0}: two secrets have this target")]
    Target(String),
}

/// Checks a secret's name by podman's rule.
pub fn secret_name(text: &str) -> Result<&str, InvalidSecret> {
    let refused = |c: char| matches!(c, '=' | '/' | ',' | '\0');
    if text.is_empty() || text.len() > NAME_MAX || text.contains(refused) {
        return Err(InvalidSecret::Name(printable(text)));
    }
    Ok(text)
}

/// Parses `NAME[,type=mount|env][,target=...][,uid=][,gid=][,mode=]`, or the same with `source=NAME`
/// in any place.
pub fn parse_secret(value: &str) -> Result<SecretRequest, InvalidSecret> {
    let refuse = |reason: String| InvalidSecret::Flag { value: printable(value), reason };
    let (mut source, mut target, mut env, mut mount_only) = (None, None, None, None);
    let (mut uid, mut gid, mut mode) = (0, 0, DEFAULT_MODE);
    for (index, field) in value.split(',').enumerate() {
        let Some((key, setting)) = field.split_once('=') else {
            if index == 0 {
                source = Some(field);
                continue;
            }
            return Err(refuse(format!("option {} must be in form option=value", printable(field))));
        };
        let number = |what: &str| setting.parse().map_err(|_| refuse(format!("{what} {} invalid", printable(setting))));
        match key {
            "source" | "src" | "id" if source.is_none() => source = Some(setting),
            "type" if env.is_some() => return Err(refuse("cannot set more than one secret type".to_owned())),
            "type" => {
                env = Some(match setting {
                    "env" => true,
                    "mount" => false,
                    other => return Err(refuse(format!("type {} is invalid", printable(other)))),
                });
            }
            "target" | "dst" | "destination" => target = Some(setting),
            "uid" | "UID" => (uid, mount_only) = (number("UID")?, Some("uid")),
            "gid" | "GID" => (gid, mount_only) = (number("GID")?, Some("gid")),
            "mode" => {
                let parsed = u32::from_str_radix(setting, 8).ok().filter(|mode| *mode <= 0o7777);
                let parsed = parsed.ok_or_else(|| refuse(format!("mode {} invalid", printable(setting))))?;
                (mode, mount_only) = (parsed, Some("mode"));
            }
            _ => return Err(refuse(format!("option {} invalid", printable(field)))),
        }
    }
    let source = source.filter(|source| !source.is_empty()).ok_or_else(|| refuse("no source found".to_owned()))?;
    let env = env.unwrap_or(false);
    if env && mount_only.is_some() {
        return Err(refuse("UID, GID, Mode options cannot be set with secret type env".to_owned()));
    }
    let target = target.filter(|target| !target.is_empty()).map(str::to_owned);
    if let Some(target) = &target {
        let checked = if env { check_variable(target) } else { mount_target(target).map(drop) };
        checked.map_err(|reason| refuse(reason.to_owned()))?;
    }
    let kind = if env { Kind::Env } else { Kind::Mount { uid, gid, mode } };
    Ok(SecretRequest { source: source.to_owned(), target, kind })
}

impl SecretRequest {
    /// The use of the secret that was found, whose bytes are `payload`.
    pub fn resolve(&self, secret: &Secret, payload: &[u8]) -> Result<SecretUse, InvalidSecret> {
        let refuse = |reason: &str| InvalidSecret::Flag {
            value: printable(&self.source),
            reason: format!("{reason}: give a target"),
        };
        let target = self.target.as_deref().unwrap_or(&secret.name);
        let form = match self.kind {
            Kind::Mount { uid, gid, mode } => {
                SecretForm::Mount { target: mount_target(target).map_err(refuse)?, uid, gid, mode }
            }
            Kind::Env => {
                check_variable(target).map_err(refuse)?;
                if payload.contains(&0) {
                    return Err(InvalidSecret::Nul(printable(&secret.name)));
                }
                if std::str::from_utf8(payload).is_err() {
                    return Err(refuse("it is not UTF-8 text"));
                }
                if target.len() + payload.len() + 2 > VARIABLE_MAX {
                    return Err(InvalidSecret::Long(printable(&secret.name)));
                }
                SecretForm::Env { variable: target.to_owned() }
            }
        };
        Ok(SecretUse { id: secret.id.clone(), name: secret.name.clone(), form })
    }
}

/// Refuses two secrets at one place.
pub fn check_targets(uses: &[SecretUse]) -> Result<(), InvalidSecret> {
    let targets: Vec<&str> = uses.iter().filter_map(SecretUse::target).collect();
    let inside = |outer: &str, inner: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('/'));
    for (index, target) in targets.iter().enumerate() {
        if targets[..index].iter().any(|other| other == target || inside(other, target) || inside(target, other)) {
            return Err(InvalidSecret::Target(printable(target)));
        }
    }
    Ok(())
}

impl SecretUse {
    /// Where it is mounted, if it is.
    pub fn target(&self) -> Option<&str> {
        match &self.form {
            SecretForm::Mount { target, .. } => Some(target),
            SecretForm::Env { .. } => None,
        }
    }
}

/// An absolute path is as it is, another lies below [`DIRECTORY`].
fn mount_target(text: &str) -> Result<String, &'static str> {
    if text.contains('\0') {
        return Err("the target holds a NUL byte");
    }
    let whole = if text.starts_with('/') { text.to_owned() } else { format!("{DIRECTORY}/{text}") };
    let mut path = String::new();
    for part in whole.split('/').filter(|part| !part.is_empty() && *part != ".") {
        if part == ".." {
            return Err("the target must not contain '..'");
        }
        path.push('/');
        path.push_str(part);
    }
    match path.as_str() {
        "" | DIRECTORY => Err("the target is a directory"),
        _ => Ok(path),
    }
}

fn check_variable(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.contains(['=', '\0']) { Err("the target is no name for a variable") } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(name: &str) -> Secret {
        let now = "2026-01-02T03:04:05Z".to_owned();
        Secret {
            id: "0".repeat(25),
            name: name.to_owned(),
            created: now.clone(),
            updated: now,
            labels: BTreeMap::new(),
        }
    }

    fn form(value: &str, name: &str) -> SecretForm {
        parse_secret(value).unwrap().resolve(&secret(name), b"x").unwrap().form
    }

    #[test]
    fn both_grammars() {
        let mount = |target: &str, uid, gid, mode| SecretForm::Mount { target: target.to_owned(), uid, gid, mode };
        let env = |variable: &str| SecretForm::Env { variable: variable.to_owned() };
        for (value, expected) in [
            ("s", mount("/run/secrets/s", 0, 0, 0o444)),
            ("s,target=a/b", mount("/run/secrets/a/b", 0, 0, 0o444)),
            ("s,target=/etc//key,uid=1,gid=2,mode=0400", mount("/etc/key", 1, 2, 0o400)),
            ("source=s,target=t", mount("/run/secrets/t", 0, 0, 0o444)),
            ("target=t,src=s,type=mount", mount("/run/secrets/t", 0, 0, 0o444)),
            ("s,type=env", env("s")),
            ("s,type=env,target=TOKEN", env("TOKEN")),
        ] {
            assert_eq!(form(value, "s"), expected, "{value}");
        }
    }

    #[test]
    fn what_is_malformed() {
        for (value, reason) in [
            ("", "no source found"),
            (",type=env", "no source found"),
            ("type=env", "no source found"),
            ("s,oops", "option oops must be in form option=value"),
            ("s,a=b", "option a=b invalid"),
            ("s,type=file", "type file is invalid"),
            ("s,type=env,type=mount", "cannot set more than one secret type"),
            ("s,uid=x", "UID x invalid"),
            ("s,gid=-1", "GID -1 invalid"),
            ("s,uid=4294967296", "UID 4294967296 invalid"),
            ("s,mode=9", "mode 9 invalid"),
            ("s,mode=70000", "mode 70000 invalid"),
            ("s,type=env,mode=0400", "UID, GID, Mode options cannot be set with secret type env"),
            ("s,target=../etc/x", "the target must not contain '..'"),
            ("s,target=/", "the target is a directory"),
            ("s,type=env,target=A=B", "the target is no name for a variable"),
            ("s,source=t", "option source=t invalid"),
        ] {
            let error = parse_secret(value).unwrap_err().to_string();
            assert_eq!(error, format!("invalid --secret {value:?}: {reason}"));
        }
    }

    #[test]
    fn what_cannot_be_a_variable() {
        let request = parse_secret("s,type=env").unwrap();
        assert!(request.resolve(&secret("s"), b"a\0b").unwrap_err().to_string().contains("NUL byte"));
        assert!(request.resolve(&secret("s"), &[b'x'; VARIABLE_MAX]).unwrap_err().to_string().contains("128 KiB"));
        assert!(request.resolve(&secret("s"), b"\xff").unwrap_err().to_string().contains("UTF-8"));
        // Names may be anything but these two mean directories.
        assert!(parse_secret("..").unwrap().resolve(&secret(".."), b"x").is_err());
    }

    #[test]
    fn names() {
        for name in ["a", "A b", "-x", "..", "ü", "a:b", &"x".repeat(253)] {
            assert_eq!(secret_name(name), Ok(name));
        }
        for name in ["", "a=b", "a/b", "a,b", "a\0b", &"x".repeat(254)] {
            assert!(secret_name(name).unwrap_err().to_string().contains("can not include '=', '/', ','"));
        }
    }

    #[test]
    fn one_secret_a_target() {
        let uses =
            |values: [&str; 2]| values.map(|value| parse_secret(value).unwrap().resolve(&secret("s"), b"x").unwrap());
        assert!(check_targets(&uses(["s", "s,target=t"])).is_ok());
        assert!(check_targets(&uses(["s", "s,type=env"])).is_ok());
        assert!(check_targets(&uses(["s", "s,target=/run/secrets/s"])).is_err());
        assert!(check_targets(&uses(["s,target=a", "s,target=a/b"])).is_err());
    }
}
