//! `--output`: what a build makes, and where that goes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::options::ResultOptions;
use super::values::fields;
use crate::cmd::go_bool;
use crate::store::archive::LayerForm;
use crate::store::compress::Codec;

/// Something a build makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// An image of the store, which may be pushed.
    Image(Image),
    /// The files, into a directory.
    Local(PathBuf),
    /// The files as an archive.
    Tar(Target),
    /// The image as an archive or directory.
    Archive { form: Form, target: Target, names: Vec<String>, layers: LayerForm },
    /// Nothing but what the cache keeps.
    CacheOnly,
}

/// An image in the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// Besides those of `--tag`.
    pub names: Vec<String>,
    pub push: bool,
    /// How layers are compressed that are pushed, and whether those that are compressed are, too.
    pub codec: Option<Codec>,
    pub force: bool,
}

/// The form of an archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Oci,
    OciDirectory,
    Docker,
}

/// Where bytes go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Stdout,
    File(PathBuf),
}

/// All that is to be made; an image unless something else is asked for. Annotations of outputs are added to
/// `annotations`.
pub fn outputs(options: &ResultOptions, annotations: &mut BTreeMap<String, String>) -> Result<Vec<Output>> {
    let mut outputs = Vec::new();
    for text in options.output.iter().filter(|text| !text.is_empty()) {
        outputs.push(parse(text, annotations)?);
    }
    let has_image = outputs.iter().any(|output| matches!(output, Output::Image(_)));
    if !has_image && (outputs.is_empty() || options.load || options.push) {
        outputs.push(Output::Image(Image::default()));
    }
    if options.push {
        for output in &mut outputs {
            if let Output::Image(image) = output {
                image.push = true;
            }
        }
    }
    if outputs.iter().filter(|output| output.is_stdout()).count() > 1 {
        bail!("multiple outputs cannot be written to standard output");
    }
    Ok(outputs)
}

impl Output {
    /// Whether standard output is taken.
    pub fn is_stdout(&self) -> bool {
        matches!(self, Self::Tar(Target::Stdout) | Self::Archive { target: Target::Stdout, .. })
    }
}

/// The keys of one output.
struct Keys<'a> {
    text: &'a str,
    values: BTreeMap<String, String>,
}

impl Keys<'_> {
    fn take(&mut self, key: &str) -> Option<String> {
        self.values.remove(key).filter(|value| !value.is_empty())
    }

    fn flag(&mut self, key: &str) -> Result<Option<bool>> {
        let Some(value) = self.values.remove(key) else { return Ok(None) };
        match go_bool(&value) {
            _ if value.is_empty() => Ok(Some(true)),
            Ok(value) => Ok(Some(value)),
            Err(_) => bail!("non-bool value {value:?} specified for {key} in {:?}", self.text),
        }
    }

    fn names(&mut self) -> Vec<String> {
        let names = self.take("name").unwrap_or_default();
        names.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }

    fn target(&mut self, path: Option<String>) -> Target {
        match path {
            Some(path) if path != "-" => Target::File(path.into()),
            _ => Target::Stdout,
        }
    }
}

fn parse(text: &str, annotations: &mut BTreeMap<String, String>) -> Result<Output> {
    if text == "-" {
        return Ok(Output::Tar(Target::Stdout));
    }
    if !text.contains('=') {
        return Ok(Output::Local(PathBuf::from(text)));
    }
    let mut keys = Keys { text, values: BTreeMap::new() };
    for (key, value) in fields(text)? {
        match key.strip_prefix("annotation.") {
            Some(name) => drop(annotations.insert(name.to_owned(), value)),
            None => drop(keys.values.insert(key, value)),
        }
    }
    let Some(kind) = keys.take("type") else { bail!("type is required for output {text:?}") };
    let path = keys.take("dest");
    let output = match (kind.as_str(), path) {
        ("local", Some(path)) => Output::Local(path.into()),
        ("local", None) => bail!("dest is required for local exporter"),
        ("tar", path) => Output::Tar(keys.target(path)),
        ("oci", path) => {
            let form = if keys.flag("tar")? == Some(false) { Form::OciDirectory } else { Form::Oci };
            archive(&mut keys, form, path)?
        }
        ("docker", Some(path)) => archive(&mut keys, Form::Docker, Some(path))?,
        ("docker", None) => Output::Image(Image { names: keys.names(), ..Image::default() }),
        ("image" | "registry", _) => {
            let push = keys.flag("push")?.unwrap_or(kind == "registry");
            let codec = compression(&mut keys)?;
            let force = keys.flag("force-compression")?.unwrap_or_default();
            Output::Image(Image { names: keys.names(), push, codec, force })
        }
        ("cacheonly", _) => Output::CacheOnly,
        (other, _) => bail!(
            "failed to find exporter {other:?}: must be one of cacheonly, docker, image, local, oci, registry, tar"
        ),
    };
    keys.refuse_rest()?;
    Ok(output)
}

fn archive(keys: &mut Keys<'_>, form: Form, path: Option<String>) -> Result<Output> {
    if form == Form::OciDirectory && path.is_none() {
        bail!("dest is required for oci exporter with tar=false");
    }
    let is_plain = keys.values.get("compression").is_some_and(|kind| kind == "uncompressed");
    let (codec, force) = (compression(keys)?, keys.flag("force-compression")?.unwrap_or_default());
    let layers = match codec {
        Some(codec) => LayerForm::Compressed { codec, force },
        None if is_plain && force => LayerForm::Plain,
        None => LayerForm::Kept,
    };
    Ok(Output::Archive { form, names: keys.names(), target: keys.target(path), layers })
}

fn compression(keys: &mut Keys<'_>) -> Result<Option<Codec>> {
    codec(keys.take("compression").as_deref(), keys.take("compression-level"))
}

/// `compression` and `compression-level`; None is as the layers are.
pub fn codec(name: Option<&str>, level: Option<String>) -> Result<Option<Codec>> {
    let codec = match name {
        None | Some("uncompressed") => None,
        Some("gzip") => Some(Codec::GZIP),
        Some("zstd") => Some(Codec::ZSTD),
        Some(other) => bail!("unsupported layer compression type {other}: must be gzip, uncompressed or zstd"),
    };
    match (codec, level) {
        (Some(codec), Some(level)) => match level.parse() {
            Ok(level) => Ok(Some(codec.with_level(level)?)),
            Err(_) => bail!("non-integer value {level:?} specified for compression-level"),
        },
        (codec, _) => Ok(codec),
    }
}

impl Keys<'_> {
    /// What nobody asked for is a mistake; what concerns BuildKit's parts only is not.
    fn refuse_rest(&self) -> Result<()> {
        const IGNORED: [&str; 9] = [
            "buildinfo",
            "context",
            "dangling-name-prefix",
            "name-canonical",
            "oci-mediatypes",
            "platform-split",
            "rewrite-timestamp",
            "store",
            "unpack",
        ];
        match self.values.keys().find(|key| !IGNORED.contains(&key.as_str())) {
            Some(key) => bail!("unknown key {key:?} in output {:?}", self.text),
            None => Ok(()),
        }
    }
}

/// Whether there can be files below this path, or why not.
pub fn check_local(path: &Path) -> Result<()> {
    match std::fs::metadata(path) {
        Ok(known) if !known.is_dir() => bail!("destination {} is not a directory", path.display()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Output> {
        parse(text, &mut BTreeMap::new())
    }

    #[test]
    fn outputs_have_types() {
        assert_eq!(read("out").unwrap(), Output::Local("out".into()));
        assert_eq!(read("-").unwrap(), Output::Tar(Target::Stdout));
        assert_eq!(read("type=tar,dest=a.tar").unwrap(), Output::Tar(Target::File("a.tar".into())));
        let names = vec!["a".to_owned(), "b".to_owned()];
        let pushed = Image { names, push: true, ..Image::default() };
        assert_eq!(read("type=registry,\"name=a,b\"").unwrap(), Output::Image(pushed.clone()));
        assert_eq!(read("type=image,push=true,\"name=a,b\"").unwrap(), Output::Image(pushed));
        assert_eq!(read("type=docker").unwrap(), Output::Image(Image::default()));
        let archive =
            |form, layers| Output::Archive { form, target: Target::File("d".into()), names: Vec::new(), layers };
        assert_eq!(read("type=oci,tar=false,dest=d").unwrap(), archive(Form::OciDirectory, LayerForm::Kept));
        assert_eq!(read("type=cacheonly").unwrap(), Output::CacheOnly);
        for (text, layers) in [
            ("compression=uncompressed", LayerForm::Kept),
            ("compression=uncompressed,force-compression=true", LayerForm::Plain),
            (
                "compression=gzip,compression-level=9",
                LayerForm::Compressed { codec: Codec::Gzip { level: 9 }, force: false },
            ),
            ("compression=zstd,force-compression=1", LayerForm::Compressed { codec: Codec::ZSTD, force: true }),
        ] {
            assert_eq!(read(&format!("type=oci,dest=d,{text}")).unwrap(), archive(Form::Oci, layers), "{text}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("type=local", "dest is required"),
            ("type=floppy,dest=a", "failed to find exporter \"floppy\""),
            ("dest=a", "type is required"),
            ("type=image,push=maybe", "non-bool value"),
            ("type=image,compression=lzma", "unsupported layer compression type lzma"),
            ("type=local,dest=a,colour=red", "unknown key \"colour\""),
            ("type=oci,dest=a,compression=gzip,compression-level=10", "invalid compression level 10"),
            ("type=oci,dest=a,compression=estargz", "unsupported layer compression type estargz"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn annotations_of_outputs_count() {
        let mut annotations = BTreeMap::new();
        parse("type=image,annotation.a.b=c", &mut annotations).unwrap();
        assert_eq!(annotations.get("a.b").map(String::as_str), Some("c"));
    }
}
