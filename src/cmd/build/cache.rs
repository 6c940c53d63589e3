//! `--cache-from` and `--cache-to`: where caches are that travel.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, anyhow, bail};

use super::output::codec;
use super::values::fields;
use crate::build::solve::CachePlace;
use crate::store::compress::Codec;

/// What a local cache is called where nothing else is said.
const TAG: &str = "latest";

/// `--cache-to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// In the image itself.
    Inline,
    Place(Export),
}

/// A cache to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    pub place: CachePlace,
    /// `mode=max`: every step, not only those of the result.
    pub whole: bool,
    /// None: as the layers are.
    pub codec: Option<Codec>,
    /// Compress anew what is compressed in another way.
    pub force: bool,
    /// A failure is a warning.
    pub optional: bool,
}

/// `--cache-from`.
pub fn sources(texts: &[String]) -> Result<Vec<CachePlace>> {
    let read = |text: &String| {
        let mut fields = Fields::of("--cache-from", text)?;
        let place = match fields.kind()?.as_str() {
            // It is in an image, which is named like any.
            "registry" | "inline" => CachePlace::Registry(fields.needed("ref")?),
            "local" => fields.local("src")?,
            other => return Err(fields.unknown(other)),
        };
        fields.refuse_rest()?;
        Ok(place)
    };
    texts.iter().filter(|text| !text.is_empty()).map(read).collect()
}

/// `--cache-to`.
pub fn targets(texts: &[String]) -> Result<Vec<Target>> {
    texts.iter().filter(|text| !text.is_empty()).map(|text| target(text)).collect()
}

fn target(text: &str) -> Result<Target> {
    let mut fields = Fields::of("--cache-to", text)?;
    let kind = fields.kind()?;
    let place = match kind.as_str() {
        "inline" => None,
        "registry" => Some(CachePlace::Registry(fields.needed("ref")?)),
        "local" => Some(fields.local("dest")?),
        other => return Err(fields.unknown(other)),
    };
    let whole = match fields.take("mode").as_deref() {
        None | Some("min") => false,
        Some("max") if place.is_some() => true,
        Some("max") => {
            bail!("--cache-to {text:?}: an image tells of its own steps only: take mode=min or another type")
        }
        Some(other) => bail!("invalid cache mode {other:?}: must be min or max"),
    };
    let name = fields.take("compression");
    let plain = name.as_deref() == Some("uncompressed");
    if plain && kind == "registry" {
        bail!("--cache-to {text:?}: layers are compressed for a registry: take gzip or zstd");
    }
    let chosen = codec(name.as_deref(), fields.take("compression-level"))?;
    let codec = if plain { None } else { Some(chosen.unwrap_or(Codec::GZIP)) };
    let force = fields.flag("force-compression")?;
    let optional = fields.flag("ignore-error")?;
    // What is written is an image of OCI's in any case.
    fields.flag("oci-mediatypes")?;
    fields.flag("image-manifest")?;
    fields.refuse_rest()?;
    Ok(match place {
        None => Target::Inline,
        Some(place) => Target::Place(Export { place, whole, codec, force, optional }),
    })
}

/// The fields of one value.
struct Fields<'a> {
    flag: &'static str,
    text: &'a str,
    values: BTreeMap<String, String>,
}

impl<'a> Fields<'a> {
    fn of(flag: &'static str, text: &'a str) -> Result<Self> {
        // A name alone is that of an image.
        let values = match text.contains('=') {
            true => fields(text)?.into_iter().collect(),
            false => [("type", "registry"), ("ref", text)].map(|(key, value)| (key.into(), value.into())).into(),
        };
        Ok(Self { flag, text, values })
    }

    fn take(&mut self, key: &str) -> Option<String> {
        self.values.remove(key)
    }

    fn kind(&mut self) -> Result<String> {
        let kind = self.take("type").filter(|kind| !kind.is_empty());
        kind.ok_or_else(|| anyhow!("{} {:?}: type is required", self.flag, self.text))
    }

    fn needed(&mut self, key: &str) -> Result<String> {
        let value = self.take(key).filter(|value| !value.is_empty());
        value.ok_or_else(|| anyhow!("{} {:?}: {key} is required", self.flag, self.text))
    }

    fn flag(&mut self, key: &str) -> Result<bool> {
        match self.take(key).as_deref() {
            None | Some("false" | "0") => Ok(false),
            Some("" | "true" | "1") => Ok(true),
            Some(other) => bail!("{} {:?}: non-bool value {other:?} specified for {key}", self.flag, self.text),
        }
    }

    fn local(&mut self, key: &str) -> Result<CachePlace> {
        let directory = std::path::absolute(Path::new(&self.needed(key)?))?;
        let digest = self.take("digest").map(|digest| digest.parse()).transpose()?;
        Ok(CachePlace::Local { directory, tag: self.take("tag").unwrap_or_else(|| TAG.to_owned()), digest })
    }

    fn unknown(&self, kind: &str) -> anyhow::Error {
        anyhow!("{} {:?}: unknown cache type {kind:?}: must be one of inline, local, registry", self.flag, self.text)
    }

    fn refuse_rest(&self) -> Result<()> {
        match self.values.keys().next() {
            Some(key) => bail!("{} {:?}: unknown key {key:?}", self.flag, self.text),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(directory: &str, tag: &str) -> CachePlace {
        CachePlace::Local { directory: directory.into(), tag: tag.to_owned(), digest: None }
    }

    #[test]
    fn caches_have_a_place() {
        let read = |text: &str| sources(&[text.to_owned()]).unwrap().remove(0);
        assert_eq!(read("example.com/a"), CachePlace::Registry("example.com/a".to_owned()));
        assert_eq!(read("type=registry,ref=a"), CachePlace::Registry("a".to_owned()));
        assert_eq!(read("type=local,src=/a"), local("/a", "latest"));
        assert_eq!(read("type=local,src=/a,tag=b"), local("/a", "b"));
        assert_eq!(sources(&[String::new()]).unwrap(), []);
    }

    #[test]
    fn exports_have_options() {
        let usual = Export {
            place: local("/a", "latest"),
            whole: false,
            codec: Some(Codec::GZIP),
            force: false,
            optional: false,
        };
        assert_eq!(target("type=local,dest=/a").unwrap(), Target::Place(usual.clone()));
        let options = "compression=uncompressed,mode=max,ignore-error=true,oci-mediatypes=true";
        let other = Export { whole: true, codec: None, optional: true, ..usual };
        assert_eq!(target(&format!("type=local,dest=/a,{options}")).unwrap(), Target::Place(other));
        assert_eq!(target("type=inline").unwrap(), Target::Inline);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("type=local,dest=/a,mode=x", "invalid cache mode \"x\""),
            ("type=local", "dest is required"),
            ("type=gha", "unknown cache type \"gha\""),
            ("ref=a", "type is required"),
            ("type=registry,ref=a,colour=red", "unknown key \"colour\""),
            ("type=inline,mode=max", "its own steps only"),
            ("type=registry,ref=a,compression=lzma", "lzma"),
            ("type=registry,ref=a,compression=uncompressed", "take gzip or zstd"),
            ("type=local,dest=/a,ignore-error=perhaps", "non-bool value \"perhaps\""),
        ] {
            let error = target(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(sources(&["type=local,src=/a,digest=x".to_owned()]).is_err());
    }
}
