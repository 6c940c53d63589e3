//! `--filter key=value`: parsing, and docker's rules of combination. The same key again means OR
//! (for labels AND), different keys mean AND. Which keys exist is each command's own list.

use std::collections::BTreeMap;
use std::str::FromStr;

/// One `--filter` argument; the key is trimmed and in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    pub key: String,
    pub value: String,
}

/// Why a filter is refused; the texts are docker's.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FilterError {
    #[error("bad format of filter (expected name=value)")]
    Format,
    #[error("invalid filter '{key}': use one of {known}")]
    UnknownKey { key: String, known: String },
    #[error("invalid filter '{key}={value}'{}", reason(.why))]
    Value { key: String, value: String, why: String },
}

fn reason(why: &str) -> String {
    if why.is_empty() { String::new() } else { format!(": {why}") }
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (key, value) = text.split_once('=').ok_or(FilterError::Format)?;
        Ok(Self { key: key.trim().to_lowercase(), value: value.trim().to_owned() })
    }
}

impl Filter {
    /// The error for a value that its key cannot have.
    pub fn invalid(&self, why: impl Into<String>) -> FilterError {
        FilterError::Value { key: self.key.clone(), value: self.value.clone(), why: why.into() }
    }

    /// The value as docker reads booleans.
    pub fn boolean(&self) -> Result<bool, FilterError> {
        match self.value.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            _ => Err(self.invalid("")),
        }
    }
}

/// All `--filter` arguments of a command.
#[derive(Clone, Debug, Default)]
pub struct Filters(Vec<Filter>);

impl Filters {
    /// Takes the arguments; a key that is not in `known` is an error.
    pub fn new(filters: Vec<Filter>, known: &[&str]) -> Result<Self, FilterError> {
        match filters.iter().find(|filter| !known.contains(&filter.key.as_str())) {
            Some(unknown) => Err(FilterError::UnknownKey { key: unknown.key.clone(), known: known.join(", ") }),
            None => Ok(Self(filters)),
        }
    }

    /// The filters of one key.
    pub fn of(&self, key: &str) -> impl Iterator<Item = &Filter> {
        self.0.iter().filter(move |filter| filter.key == key)
    }

    /// Whether the key was used.
    pub fn has(&self, key: &str) -> bool {
        self.of(key).next().is_some()
    }

    /// OR over the values of `key`; true when the key was not used.
    pub fn any(&self, key: &str, mut matches: impl FnMut(&str) -> bool) -> bool {
        !self.has(key) || self.of(key).any(|filter| matches(&filter.value))
    }

    /// AND over `label` and `label!`, each `name` or `name=value`.
    pub fn labels(&self, labels: &BTreeMap<String, String>) -> bool {
        self.of("label").all(|filter| has_label(labels, &filter.value))
            && !self.of("label!").any(|filter| has_label(labels, &filter.value))
    }
}

fn has_label(labels: &BTreeMap<String, String>, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((name, value)) => labels.get(name).is_some_and(|found| found == value),
        None => labels.contains_key(wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filters(texts: &[&str]) -> Filters {
        Filters::new(
            texts.iter().map(|text| text.parse().unwrap()).collect(),
            &["label", "label!", "status", "dangling"],
        )
        .unwrap()
    }

    #[test]
    fn bad_filters_are_named() {
        assert_eq!("bogus".parse::<Filter>(), Err(FilterError::Format));
        let unknown = Filters::new(vec!["Foo=x".parse().unwrap()], &["status"]).unwrap_err();
        assert_eq!(unknown.to_string(), "invalid filter 'foo': use one of status");
        let status: Filter = "status=foo".parse().unwrap();
        assert_eq!(status.invalid("no such state").to_string(), "invalid filter 'status=foo': no such state");
        let dangling: Filter = "dangling=maybe".parse().unwrap();
        assert_eq!(dangling.boolean().unwrap_err().to_string(), "invalid filter 'dangling=maybe'");
    }

    #[test]
    fn same_key_is_or_labels_are_and() {
        let either = filters(&[" STATUS = a", "status=b"]);
        assert!(either.any("status", |value| value == "a"));
        assert!(either.any("status", |value| value == "b"));
        assert!(!either.any("status", |value| value == "c"));
        assert!(either.any("name", |_| false), "an unused key does not restrict");

        let labels = BTreeMap::from([("app".to_owned(), "web".to_owned()), ("tier".to_owned(), "1=2".to_owned())]);
        assert!(filters(&["label=app", "label=tier=1=2"]).labels(&labels));
        assert!(!filters(&["label=app", "label=missing"]).labels(&labels));
        assert!(!filters(&["label=app=db"]).labels(&labels));
        assert!(!filters(&["label!=app"]).labels(&labels));
        assert!(filters(&["label!=other"]).labels(&labels));
    }
}
