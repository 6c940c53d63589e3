//! `image scp`: copy an image between stores, here or over ssh: `save` in one and `load` in the
//! other, so that nothing but a pipe is needed.

use std::ffi::OsString;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, bail};

use super::Context;
use crate::spec::text::printable;

/// Copy an image between this store, others and other machines
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Print only errors
    #[arg(short, long)]
    quiet: bool,
    /// Where the image is: IMAGE, DIRECTORY::IMAGE for another store here, [USER@]HOST[:PORT]::IMAGE
    /// over ssh
    #[arg(value_name = "SOURCE")]
    source: String,
    /// Where it goes: DIRECTORY::, [USER@]HOST[:PORT]::, or a new name behind that; this store if not
    /// given
    #[arg(value_name = "DESTINATION")]
    destination: Option<String>,
}

/// A store that is given by a path, by a host, or is ours.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Here,
    Directory(String),
    /// What ssh is given as the host, and a port.
    Host(String, Option<u16>),
}

/// A place, and an image there.
#[derive(Debug, PartialEq, Eq)]
struct End {
    place: Place,
    image: Option<String>,
}

/// Runs the command.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    context.settings()?;
    let source = End::read(&args.source)?;
    let destination = match &args.destination {
        Some(text) => End::read_destination(text)?,
        None => End { place: Place::Here, image: None },
    };
    let Some(image) = &source.image else { bail!("no source image given: name it behind the ::") };
    if source.place == destination.place {
        bail!("source and destination are the same store: see 'rbox tag' for a second name");
    }
    let mut save = source.place.rbox(context, &["save", image])?;
    let mut load = destination.place.rbox(context, &["load"])?;
    let mut saving = save.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().with_context(|| source.place.start())?;
    let pipe = saving.stdout.take().context("a pipe to what saves the image")?;
    load.stdin(pipe).stdout(Stdio::piped());
    let loaded = load.spawn().with_context(|| destination.place.start());
    // Ours is closed with it, so that a loader that fails ends what saves.
    drop(load);
    let loaded = loaded.and_then(|loading| Ok(loading.wait_with_output()?));
    let saved = saving.wait()?;
    let loaded = loaded?;
    // Their own lines have said why.
    if !saved.success() {
        bail!("image {} could not be saved {}", printable(image), source.place.shown());
    }
    if !loaded.status.success() {
        bail!("image {} could not be loaded {}", printable(image), destination.place.shown());
    }
    if let Some(name) = &destination.image {
        let tag = destination.place.rbox(context, &["tag", image, name])?.stdin(Stdio::null()).status()?;
        if !tag.success() {
            bail!("image {} could not be named {}", printable(image), printable(name));
        }
    }
    if !args.quiet {
        super::print_bytes(&loaded.stdout)?;
    }
    Ok(ExitCode::SUCCESS)
}

impl End {
    /// `PLACE::IMAGE`, or an image alone.
    fn read(text: &str) -> Result<Self> {
        match text.split_once("::") {
            Some((place, image)) => {
                Ok(Self { place: Place::read(place)?, image: Some(image.to_owned()).filter(|image| !image.is_empty()) })
            }
            None => Ok(Self { place: Place::Here, image: Some(text.to_owned()) }),
        }
    }

    /// The same for where an image goes: `PLACE::` or `PLACE::NEW-NAME`.
    fn read_destination(text: &str) -> Result<Self> {
        if !text.contains("::") {
            bail!("destination {text:?} names no store: give DIRECTORY:: or [USER@]HOST::");
        }
        Self::read(text)
    }
}

impl Place {
    fn read(text: &str) -> Result<Self> {
        // A path is one by its first character, as for volumes.
        if text.starts_with(['/', '.']) {
            return Ok(Self::Directory(text.to_owned()));
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().with_context(|| format!("invalid port {port:?}"))?)),
            None => (text, None),
        };
        let valid = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
        // What begins with a dash would be a flag of ssh's.
        if host.is_empty() || host.starts_with('-') || !host.chars().all(valid) {
            bail!("invalid host {text:?}: expected [USER@]HOST[:PORT]");
        }
        Ok(Self::Host(host.to_owned(), port))
    }

    /// The command line of rbox at this place.
    fn rbox(&self, context: &Context, arguments: &[&str]) -> Result<Command> {
        Ok(match self {
            Self::Host(host, port) => {
                let mut command = Command::new("ssh");
                command.arg("-T").args(port.map(|port| format!("-p{port}"))).arg("--").arg(host);
                // The other side's shell reads this.
                let words = ["rbox"].iter().chain(arguments).map(|word| quoted(word)).collect::<Vec<_>>();
                command.arg(words.join(" "));
                command
            }
            here => {
                let root = match here {
                    Self::Directory(directory) => std::path::absolute(directory)?,
                    _ => context.root()?,
                };
                let mut command = Command::new(std::env::current_exe().context("find this program")?);
                let options = [OsString::from("--root"), root.into(), "--runroot".into(), context.runtime()?.into()];
                command.args(options).args(arguments);
                command
            }
        })
    }

    fn start(&self) -> String {
        match self {
            Self::Host(..) => "start ssh: install openssh-client".to_owned(),
            _ => "start rbox".to_owned(),
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Here => "here".to_owned(),
            Self::Directory(directory) => format!("in the store {}", printable(directory)),
            Self::Host(host, _) => format!("on {host}"),
        }
    }
}

/// A word as a POSIX shell reads it literally.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let end = |place, image: &str| End { place, image: Some(image.to_owned()).filter(|image| !image.is_empty()) };
        for (text, expected) in [
            ("alpine", end(Place::Here, "alpine")),
            ("host:5000/a:1", end(Place::Here, "host:5000/a:1")),
            ("/srv/store::a:1", end(Place::Directory("/srv/store".to_owned()), "a:1")),
            ("./store::", end(Place::Directory("./store".to_owned()), "")),
            ("me@host::a", end(Place::Host("me@host".to_owned(), None), "a")),
            ("host:2222::a", end(Place::Host("host".to_owned(), Some(2222)), "a")),
        ] {
            assert_eq!(End::read(text).unwrap(), expected, "{text}");
        }
        for bad in ["-oProxyCommand=x::a", "a b::a", "::a", "host:x::a", "h;reboot::a"] {
            assert!(End::read(bad).is_err(), "{bad}");
        }
        assert!(End::read_destination("alpine").is_err());
        assert_eq!(quoted("a'b c"), r"'a'\''b c'");
    }
}
