//! The configuration in force, with the source of each value.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use serde_json::{Map, Value, json};

use crate::cmd::Context;
use crate::cmd::format::text::clean_line;
use crate::cmd::settings::{self, Source};
use crate::spec::registries::{Domain, Mirror, RegistriesConf, Rule, RuleMirror};
use crate::spec::settings::{KEYS, Key, Settings};

/// What is shown of it.
pub struct Configuration<'a> {
    pub settings: &'a Settings,
    files: &'a [Source],
    root: PathBuf,
    runroot: PathBuf,
    /// Of containers' `registries.conf`, or why it cannot be used.
    registries: Result<&'static RegistriesConf, String>,
}

impl<'a> Configuration<'a> {
    /// Takes it from the invocation.
    pub fn of(context: &'a Context) -> Result<Self> {
        let loaded = context.loaded()?;
        Ok(Self {
            settings: &loaded.settings,
            files: &loaded.files,
            root: context.root()?,
            runroot: context.runtime()?,
            registries: settings::registries_conf().map_err(|error| format!("{error:#}")),
        })
    }

    /// The lines of the section.
    pub fn text(&self) -> String {
        let mut text = " Configuration:\n".to_owned();
        for file in self.files {
            let state = if file.read { "" } else { " (absent)" };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  File: {}{state}", file.path.display());
        }
        for key in KEYS {
            let (value, origin) = self.value(key);
            let value = plain(&value);
            let space = if value.is_empty() { "" } else { " " };
            let _ = writeln!(text, "  {}: {value}{space}({origin})", key.name);
        }
        text
    }

    /// The lines about containers' `registries.conf`; none where it says nothing.
    pub fn registries_text(&self) -> String {
        let conf = match &self.registries {
            Ok(conf) => conf,
            Err(why) => return format!(" registries.conf: {}\n", clean_line(why)),
        };
        let mut lines: Vec<String> = Vec::new();
        if !conf.search.is_empty() {
            let search: Vec<&str> = conf.search.iter().map(Domain::as_str).collect();
            lines.push(format!("unqualified-search: {}", search.join(" ")));
        }
        if !conf.aliases.is_empty() {
            lines.push(format!("short names: {}", conf.aliases.len()));
        }
        for rule in conf.rules.values() {
            let location = rule.location.as_ref().map(|location| format!("location {location}"));
            let mirrors = rule.mirrors.iter().map(|mirror| {
                format!("mirror {}{}", mirror.location, if mirror.insecure { " (insecure)" } else { "" })
            });
            let flags = [(rule.blocked, "blocked"), (rule.insecure, "insecure")];
            let flags = flags.iter().filter(|(set, _)| *set).map(|(_, word)| (*word).to_owned());
            let words: Vec<String> = location.into_iter().chain(flags).chain(mirrors).collect();
            lines.push(format!("{}: {} ({})", rule.prefix, words.join(", "), rule.file));
        }
        let lines = lines.iter().map(|line| format!("  {}\n", clean_line(line)));
        let text: String = lines.collect();
        if text.is_empty() { text } else { format!(" registries.conf:\n{text}") }
    }

    /// podman's `registries`: where short names are looked for, and what is said of each prefix.
    pub fn registries_json(&self) -> Value {
        let Ok(conf) = &self.registries else { return json!({}) };
        let mirror = |mirror: &RuleMirror| json!({"Location": mirror.location, "Insecure": mirror.insecure});
        let rule = |rule: &Rule| {
            json!({
                "Prefix": rule.prefix,
                "Location": rule.location.as_ref().unwrap_or(&rule.prefix),
                "Insecure": rule.insecure,
                "Blocked": rule.blocked,
                "Mirrors": rule.mirrors.iter().map(mirror).collect::<Vec<_>>(),
            })
        };
        let mut all: Map<String, Value> =
            conf.rules.iter().map(|(prefix, said)| (prefix.clone(), rule(said))).collect();
        all.insert("search".to_owned(), json!(conf.search.iter().map(Domain::as_str).collect::<Vec<_>>()));
        Value::Object(all)
    }

    /// An object with one field a key: `{"LogDriver": {"Key", "Value", "Origin", "Variable"}}`.
    pub fn json(&self) -> Value {
        let entry = |key: &Key| {
            let (value, origin) = self.value(key);
            (key.field(), json!({"Key": key.name, "Value": value, "Origin": origin, "Variable": key.variable()}))
        };
        Value::Object(KEYS.iter().map(entry).collect())
    }

    /// The files that were looked for.
    pub fn files_json(&self) -> Value {
        let file = |file: &Source| json!({"Path": file.path.to_string_lossy(), "Read": file.read});
        self.files.iter().map(file).collect()
    }

    /// docker's `RegistryConfig`.
    pub fn registry_json(&self) -> Value {
        let insecure =
            |name: &str| self.settings.insecure_registries.value.iter().any(|domain| domain.as_str() == name);
        let index = |name: &str, mirrors: &[Mirror]| {
            let mirrors: Vec<String> = mirrors.iter().map(Mirror::to_string).collect();
            json!({"Name": name, "Mirrors": mirrors, "Secure": !insecure(name), "Official": name == "docker.io"})
        };
        let mut all: Map<String, Value> = self
            .settings
            .mirrors
            .value
            .iter()
            .map(|(domain, mirrors)| (domain.to_string(), index(domain.as_str(), mirrors)))
            .collect();
        let named = self.settings.insecure_registries.value.iter().map(|domain| domain.as_str());
        for name in named.chain(["docker.io"]) {
            if !all.contains_key(name) {
                all.insert(name.to_owned(), index(name, &[]));
            }
        }
        let hub = all.get("docker.io").map_or_else(|| json!([]), |index| index["Mirrors"].clone());
        json!({"IndexConfigs": all, "InsecureRegistryCIDRs": ["::1/128", "127.0.0.0/8"], "Mirrors": hub})
    }

    /// The usual places instead of nothing.
    fn value(&self, key: &Key) -> (Value, String) {
        let (value, origin) = key.show(self.settings);
        let value = match key.name {
            "root" => json!(self.root.to_string_lossy()),
            "runroot" => json!(self.runroot.to_string_lossy()),
            _ => value,
        };
        (value, origin.to_string())
    }
}

/// A value as the environment variable of its key would have it.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(","),
        Value::Object(lists) => {
            let items = |(name, list): (&String, &Value)| -> Vec<String> {
                list.as_array().into_iter().flatten().map(|item| format!("{name}={}", plain(item))).collect()
            };
            lists.iter().flat_map(items).collect::<Vec<_>>().join(",")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::settings::Origin;

    #[test]
    fn values_are_shown_as_they_could_be_set() {
        let mut settings = Settings::default();
        let text = "docker.io=a.b,docker.io=c.d/e,quay.io=f:1";
        for (key, value) in [("mirrors", text), ("insecure-registries", "a.b,f:1"), ("init", "true")] {
            settings.read_text(key, value, Origin::Flag("--set")).unwrap();
        }
        let files = [Source { path: "/etc/x".into(), read: true }, Source { path: "/home/x".into(), read: false }];
        let configuration = Configuration {
            settings: &settings,
            files: &files,
            root: "/r".into(),
            runroot: "/run/r".into(),
            registries: Err("no".to_owned()),
        };
        assert_eq!(configuration.registries_text(), " registries.conf: no\n");
        let shown = configuration.text();
        for line in [
            " Configuration:\n  File: /etc/x\n  File: /home/x (absent)\n  root: /r (default)\n".to_owned(),
            format!("\n  mirrors: {text} (--set)\n"),
            "\n  insecure-registries: a.b,f:1 (--set)\n".to_owned(),
            "\n  init: true (--set)\n".to_owned(),
            "\n  log-driver: json-file (default)\n".to_owned(),
        ] {
            assert!(shown.contains(&line), "{line:?} is not in {shown}");
        }
        // Everything can be set to what is shown.
        for key in KEYS {
            let (value, _) = configuration.value(key);
            settings.clone().read_text(key.name, &plain(&value), Origin::Flag("--set")).unwrap();
        }
        let registries = configuration.registry_json();
        assert_eq!(registries["Mirrors"], json!(["a.b", "c.d/e"]));
        assert_eq!(registries["IndexConfigs"]["f:1"]["Secure"], false);
        assert_eq!(registries["IndexConfigs"]["quay.io"]["Mirrors"], json!(["f:1"]));
    }
}
