//! `--security-opt`: no-new-privileges and the choice of seccomp profile.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::text::printable;

/// Which seccomp filter a container runs under.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeccompChoice {
    /// The profile of `spec::seccomp::table`.
    #[default]
    Builtin,
    /// No filter.
    Unconfined,
    /// A profile in docker's JSON: the path it was read from, and its contents at creation.
    Profile(PathBuf, String),
}

/// What the `--security-opt` values of a command line come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecurityOptions {
    pub no_new_privileges: bool,
    pub seccomp: SeccompChoice,
    /// The values as typed.
    pub typed: Vec<String>,
}

/// Why a `--security-opt` value can't be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidSecurityOption {
    #[error("invalid --security-opt: {0:?}")]
    Unknown(String),
    #[error("invalid --security-opt: {0:?}: no {1} labels or profiles are applied, so it has no effect")]
    Unavailable(String, &'static str),
    #[error("opening seccomp profile ({path}) failed: {reason}")]
    Unreadable { path: String, reason: String },
}

impl SecurityOptions {
    /// Parses values in order, the last of a kind winning. `read` gives the contents of a profile's
    /// file, or says why it can't.
    pub fn parse(
        values: &[String],
        read: &mut dyn FnMut(&Path) -> Result<String, String>,
    ) -> Result<Self, InvalidSecurityOption> {
        let mut options = Self { typed: values.to_vec(), ..Self::default() };
        for value in values {
            options.apply(value, read)?;
        }
        Ok(options)
    }

    fn apply(
        &mut self,
        text: &str,
        read: &mut dyn FnMut(&Path) -> Result<String, String>,
    ) -> Result<(), InvalidSecurityOption> {
        let unknown = || InvalidSecurityOption::Unknown(text.to_owned());
        // The colon is docker's older separator.
        let (key, value) = match text.find(['=', ':']) {
            Some(at) => (&text[..at], Some(&text[at + 1..])),
            None => (text, None),
        };
        match (key, value) {
            ("no-new-privileges", None) => self.no_new_privileges = true,
            ("no-new-privileges", Some(value)) => self.no_new_privileges = parse_bool(value).ok_or_else(unknown)?,
            ("seccomp", Some("unconfined")) => self.seccomp = SeccompChoice::Unconfined,
            ("seccomp", Some("builtin")) => self.seccomp = SeccompChoice::Builtin,
            ("seccomp", Some(path)) if !path.is_empty() => self.seccomp = read_profile(path, read)?,
            // What these ask for already holds.
            ("apparmor", Some("unconfined")) | ("label", Some("disable")) => {}
            ("apparmor", Some(_)) => return Err(InvalidSecurityOption::Unavailable(text.to_owned(), "AppArmor")),
            ("label", Some(_)) => return Err(InvalidSecurityOption::Unavailable(text.to_owned(), "SELinux")),
            _ => return Err(unknown()),
        }
        Ok(())
    }
}

fn read_profile(
    path: &str,
    read: &mut dyn FnMut(&Path) -> Result<String, String>,
) -> Result<SeccompChoice, InvalidSecurityOption> {
    let file = PathBuf::from(path);
    match read(&file) {
        Ok(json) => Ok(SeccompChoice::Profile(file, json)),
        Err(reason) => Err(InvalidSecurityOption::Unreadable { path: printable(path), reason }),
    }
}

/// Go's ParseBool.
pub(super) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(values: &[&str]) -> Result<SecurityOptions, InvalidSecurityOption> {
        let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        SecurityOptions::parse(&values, &mut |path| {
            if path.ends_with("ok.json") { Ok("{}".to_owned()) } else { Err("no such file or directory".to_owned()) }
        })
    }

    #[test]
    fn values() {
        let builtin = SeccompChoice::Builtin;
        let profile = SeccompChoice::Profile("ok.json".into(), "{}".into());
        for (values, no_new_privileges, seccomp) in [
            (&[][..], false, &builtin),
            (&["no-new-privileges"], true, &builtin),
            (&["no-new-privileges:true"], true, &builtin),
            (&["no-new-privileges", "no-new-privileges=false"], false, &builtin),
            (&["seccomp=unconfined"], false, &SeccompChoice::Unconfined),
            (&["seccomp:unconfined", "seccomp=builtin"], false, &builtin),
            (&["seccomp=ok.json", "label=disable", "apparmor=unconfined"], false, &profile),
        ] {
            let options = parse(values).unwrap();
            assert_eq!((options.no_new_privileges, &options.seccomp), (no_new_privileges, seccomp), "{values:?}");
            assert_eq!(options.typed, values);
        }
    }

    #[test]
    fn errors() {
        for value in ["", "foo", "seccomp", "seccomp=", "no-new-privileges=maybe", "systempaths=unconfined"] {
            assert_eq!(parse(&[value]), Err(InvalidSecurityOption::Unknown(value.to_owned())), "{value}");
        }
        assert_eq!(parse(&["foo"]).unwrap_err().to_string(), "invalid --security-opt: \"foo\"");
        let missing = parse(&["seccomp=no.json"]).unwrap_err().to_string();
        assert_eq!(missing, "opening seccomp profile (no.json) failed: no such file or directory");
        assert!(matches!(parse(&["apparmor=mine"]), Err(InvalidSecurityOption::Unavailable(..))));
    }
}
