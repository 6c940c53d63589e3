//! Image platforms: `os[/arch[/variant]]`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A platform with normalised names (`x86_64` becomes `amd64`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    pub variant: Option<String>,
}

/// Why a text is not a platform.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("invalid platform {0:?}: expected os[/arch[/variant]], as in linux/amd64")]
pub struct InvalidPlatform(pub String);

impl Platform {
    /// What this machine runs.
    pub fn host() -> Self {
        let (architecture, variant) = normalise(std::env::consts::ARCH, None);
        Self { os: "linux".to_owned(), architecture, variant }
    }

    /// Whether an image for `self` satisfies a request for `wanted`; a missing variant on either
    /// side matches any.
    pub fn satisfies(&self, wanted: &Self) -> bool {
        let variants = match (&self.variant, &wanted.variant) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => true,
        };
        self.os == wanted.os && self.architecture == wanted.architecture && variants
    }

    /// Normalises the fields of an image config or an index entry.
    pub fn from_parts(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let (architecture, variant) = normalise(architecture, variant);
        Self { os: os.to_owned(), architecture, variant }
    }
}

/// containerd's platform normalisation: one name an architecture, implied variants dropped.
fn normalise(architecture: &str, variant: Option<&str>) -> (String, Option<String>) {
    let variant = variant.filter(|v| !v.is_empty());
    let (architecture, variant) = match (architecture, variant) {
        ("x86_64" | "x86-64" | "amd64", variant) => ("amd64", variant.filter(|v| *v != "v1")),
        ("aarch64" | "arm64", variant) => ("arm64", variant.filter(|v| !matches!(*v, "8" | "v8"))),
        ("i386" | "i686" | "x86" | "386", _) => ("386", None),
        ("armhf", _) => ("arm", Some("v7")),
        ("armel", _) => ("arm", Some("v6")),
        ("arm", Some("5" | "v5")) => ("arm", Some("v5")),
        ("arm", Some("6" | "v6")) => ("arm", Some("v6")),
        ("arm", Some("8" | "v8")) => ("arm", Some("v8")),
        ("arm", _) => ("arm", Some("v7")),
        ("powerpc64le", variant) => ("ppc64le", variant),
        ("riscv64gc", variant) => ("riscv64", variant),
        (other, variant) => (other, variant),
    };
    (architecture.to_owned(), variant.map(str::to_owned))
}

impl FromStr for Platform {
    type Err = InvalidPlatform;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || InvalidPlatform(text.to_owned());
        let word =
            |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
        let parts: Vec<&str> = text.split('/').collect();
        if !parts.iter().all(|part| word(part)) {
            return Err(bad());
        }
        match parts[..] {
            ["linux"] => Ok(Self::host()),
            // A lone architecture means linux, as docker has it.
            [architecture] => Ok(Self::from_parts("linux", architecture, None)),
            [os, architecture] => Ok(Self::from_parts(&os.to_ascii_lowercase(), architecture, None)),
            [os, architecture, variant] => Ok(Self::from_parts(&os.to_ascii_lowercase(), architecture, Some(variant))),
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalised() {
        for (input, shown) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("arm64", "linux/arm64"),
        ] {
            assert_eq!(input.parse::<Platform>().unwrap().to_string(), shown);
        }
        for bad in ["", "/", "linux/", "a/b/c/d", "linux/am d64"] {
            assert_eq!(bad.parse::<Platform>(), Err(InvalidPlatform(bad.to_owned())));
        }
    }
}
