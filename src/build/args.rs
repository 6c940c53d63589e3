//! Variables of a build: `ARG`s before the first FROM and in stages, what was given for them, and those that are
//! there without being declared.

use std::collections::BTreeMap;

use crate::spec::dockerfile::expand;
use crate::spec::platform::Platform;

/// Given ones count for RUN without being declared, and are no part of keys and history.
const PREDEFINED: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// Expands the variables of a word and takes its quotes off.
pub fn expand(word: &str, escape: char, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    expand::expand(word, escape, lookup).map_err(|error| error.to_string())
}

/// What was given for a build, and what is the same for all of it.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// `--build-arg`.
    pub args: BTreeMap<String, String>,
    /// TARGETPLATFORM and its like.
    pub automatic: BTreeMap<String, String>,
    /// Of the ARGs before the first FROM.
    pub global: BTreeMap<String, Option<String>>,
}

impl Given {
    /// What a build for this platform has; the target is a stage's name.
    pub fn new(args: &BTreeMap<String, String>, platform: &Platform, target: &str, timestamp: Option<i64>) -> Self {
        let mut automatic = BTreeMap::new();
        for (prefix, platform) in [("TARGET", platform), ("BUILD", &Platform::host())] {
            let variant = platform.variant.clone().unwrap_or_default();
            automatic.insert(format!("{prefix}PLATFORM"), platform.to_string());
            automatic.insert(format!("{prefix}OS"), platform.os.clone());
            automatic.insert(format!("{prefix}ARCH"), platform.architecture.clone());
            automatic.insert(format!("{prefix}VARIANT"), variant);
        }
        let target = if target.is_empty() { "default" } else { target };
        automatic.insert("TARGETSTAGE".to_owned(), target.to_owned());
        if let Some(seconds) = timestamp {
            automatic.insert("SOURCE_DATE_EPOCH".to_owned(), seconds.to_string());
        }
        Self { args: args.clone(), automatic, global: BTreeMap::new() }
    }

    /// Takes an ARG before the first FROM.
    pub fn declare_global(&mut self, name: &str, default: Option<String>) {
        let value = self.args.get(name).cloned().or(default).or_else(|| self.automatic.get(name).cloned());
        self.global.insert(name.to_owned(), value);
    }

    /// What FROM sees.
    pub fn global(&self, name: &str) -> Option<String> {
        match self.global.get(name) {
            Some(value) => value.clone(),
            None => self.automatic.get(name).cloned(),
        }
    }

    /// What an ARG of a stage is: given, or its own default, or that of the same one before the first FROM.
    pub fn value(&self, name: &str, default: Option<String>) -> Option<String> {
        let given = self.args.get(name).cloned();
        given
            .or(default)
            .or_else(|| self.global.get(name).cloned().flatten())
            .or_else(|| self.automatic.get(name).cloned())
    }

    /// The proxies that RUN sees without a declaration.
    pub fn proxies(&self) -> impl Iterator<Item = (&String, &String)> {
        self.args.iter().filter(|(name, _)| PREDEFINED.contains(&name.as_str()))
    }
}

/// The ARGs that a stage has declared so far, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Args(Vec<(String, Option<String>)>);

impl Args {
    /// Declares one, in its old place if it was there.
    pub fn set(&mut self, name: &str, value: Option<String>) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some(known) => known.1 = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// The value of one that has any.
    pub fn get(&self, name: &str) -> Option<&String> {
        self.0.iter().find(|(known, _)| known == name).and_then(|(_, value)| value.as_ref())
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_deref()))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Whether it is a proxy that keys and history leave out.
pub fn is_predefined(name: &str) -> bool {
    PREDEFINED.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_wins_over_defaults() {
        let args = BTreeMap::from([("A".to_owned(), "given".to_owned())]);
        let mut given = Given::new(&args, &"linux/arm64".parse().unwrap(), "", None);
        given.declare_global("A", Some("default".to_owned()));
        given.declare_global("B", Some("global".to_owned()));
        assert_eq!(given.global("A").as_deref(), Some("given"));
        assert_eq!(given.global("TARGETARCH").as_deref(), Some("arm64"));
        assert_eq!(given.value("A", Some("own".to_owned())).as_deref(), Some("given"));
        assert_eq!(given.value("B", None).as_deref(), Some("global"));
        assert_eq!(given.value("B", Some("own".to_owned())).as_deref(), Some("own"));
        assert_eq!(given.value("C", None), None);
        assert_eq!(given.value("TARGETPLATFORM", None).as_deref(), Some("linux/arm64"));
    }

    #[test]
    fn args_keep_their_order() {
        let mut args = Args::default();
        args.set("B", None);
        args.set("A", Some("1".to_owned()));
        args.set("B", Some("2".to_owned()));
        assert_eq!(args.iter().collect::<Vec<_>>(), [("B", Some("2")), ("A", Some("1"))]);
    }
}
