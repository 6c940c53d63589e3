//! `# check=`: which rules run, and whether what they find is an error.

use super::EXPERIMENTAL;

/// A setting that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCheck {
    #[error("invalid check option {0:?}")]
    Option(String),
    #[error("failed to parse check option {0:?}: {1:?} is neither true nor false")]
    Bool(String, String),
}

/// Rules by name, or all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Rules {
    all: bool,
    names: Vec<String>,
}

/// How a file is checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    skip: Rules,
    experimental: Rules,
    /// What is found makes the build fail.
    pub error: bool,
}

impl Options {
    /// Reads `skip=NAME,...|all;error=BOOL;experimental=NAME,...|all`.
    pub fn parse(text: &str) -> Result<Self, InvalidCheck> {
        let mut options = Self::default();
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').ok_or_else(|| InvalidCheck::Option(part.to_owned()))?;
            let value = value.trim();
            match key.trim() {
                "skip" => options.skip = Rules::parse(value),
                "experimental" => options.experimental = Rules::parse(value),
                "error" => {
                    options.error = match value {
                        "1" | "t" | "T" | "TRUE" | "true" | "True" => true,
                        "0" | "f" | "F" | "FALSE" | "false" | "False" => false,
                        _ => return Err(InvalidCheck::Bool(part.to_owned(), value.to_owned())),
                    }
                }
                key => return Err(InvalidCheck::Option(key.to_owned())),
            }
        }
        Ok(options)
    }

    /// Whether a rule runs.
    pub(super) fn runs(&self, rule: &str) -> bool {
        !self.skip.have(rule) && (!EXPERIMENTAL.contains(&rule) || self.experimental.have(rule))
    }
}

impl Rules {
    fn parse(text: &str) -> Self {
        match text {
            "all" => Self { all: true, names: Vec::new() },
            text => Self { all: false, names: text.split(',').map(|name| name.trim().to_owned()).collect() },
        }
    }

    fn have(&self, name: &str) -> bool {
        self.all || self.names.iter().any(|known| known == name)
    }
}
