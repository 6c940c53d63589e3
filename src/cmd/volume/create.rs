//! `volume create`: make a volume.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use rustix::fs::{Gid, Mode, OFlags, Uid};

use crate::cmd::format::text;
use crate::cmd::{Context, print_line};
use crate::sandbox::userns;
use crate::spec::env;
use crate::spec::volume::{self, Backing, DRIVER, NewVolume};
use crate::store::fs::Durability;
use crate::store::volumes::Created;
use crate::store::{self, Store};

/// Create a volume
#[derive(clap::Args, Debug)]
pub struct Args {
    /// What makes the volume: local is all there is
    #[arg(short, long, value_name = "DRIVER", default_value = DRIVER, hide_default_value = true)]
    driver: String,
    /// Group that the volume belongs to, as containers see it
    #[arg(long, value_name = "GID")]
    gid: Option<u32>,
    /// Accepted for compatibility: a volume that exists is no error
    #[arg(long)]
    ignore: bool,
    /// Set a label
    #[arg(short, long, value_name = "NAME=VALUE")]
    label: Vec<String>,
    /// Set an option of the driver (type=tmpfs|none, device=PATH, o=OPTIONS)
    #[arg(short, long, value_name = "KEY=VALUE")]
    opt: Vec<String>,
    /// User that the volume belongs to, as containers see it
    #[arg(long, value_name = "UID")]
    uid: Option<u32>,
    /// The volume's name; without one it gets a random one
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

/// Makes the volume and prints its name.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    volume::check_driver(&args.driver)?;
    let (name, anonymous) = match &args.name {
        Some(name) => (name.clone(), false),
        None => (volume::anonymous_name(store::fs::random_bytes()?), true),
    };
    let new = NewVolume {
        labels: args.label.iter().map(|text| env::parse_label(text)).collect::<Result<_, _>>()?,
        options: args.options()?,
        anonymous,
        name,
    };
    let made = create(context.store()?, new, Durability::Durable)?;
    print_line(&made.volume().name)?;
    Ok(ExitCode::SUCCESS)
}

/// Makes a volume with its owner, or finds it.
pub(in crate::cmd) fn create(store: &Store, new: NewVolume, durability: Durability) -> Result<Created> {
    let give = match new.check()? {
        Backing::Directory { owner: (None, None), .. } => None,
        Backing::Directory { owner, .. } => Some(move |data: &Path| give(store, data, owner)),
        Backing::Tmpfs { .. } => None,
        Backing::Bind { device, .. } => {
            check_device(&device)?;
            None
        }
    };
    let give = give.as_ref().map(|give| give as &dyn Fn(&Path) -> Result<()>);
    Ok(store.volumes().create(new, durability, give)?)
}

/// docker finds out when it mounts; here it is told at once.
fn check_device(device: &Path) -> Result<()> {
    let shown = device.to_string_lossy();
    let shown = text::clean_line(&shown);
    match std::fs::metadata(device) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => bail!("invalid volume option device={shown}: not a directory"),
        Err(error) => bail!("invalid volume option device={shown}: {error}"),
    }
}

/// Gives the directory to ids as containers see them.
fn give(store: &Store, data: &Path, (uid, gid): (Option<u32>, Option<u32>)) -> Result<()> {
    userns::run_inside(store, || {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let data = rustix::fs::open(data, flags, Mode::empty())?;
        let given = rustix::fs::fchown(data.as_fd(), uid.map(Uid::from_raw), gid.map(Gid::from_raw));
        let owner = |id: Option<u32>| id.map_or_else(String::new, |id| id.to_string());
        given.with_context(|| {
            format!("give the volume to {}:{}, which subordinate ids must have room for", owner(uid), owner(gid))
        })
    })
}

impl Args {
    /// `-o` pairs; `--uid`, `--gid` and podman's two options without a value are words of its `o`.
    fn options(&self) -> Result<BTreeMap<String, String>> {
        let mut options = BTreeMap::new();
        let ids = [("uid", self.uid), ("gid", self.gid)];
        let mut words: Vec<String> = ids.into_iter().filter_map(|(name, id)| Some(format!("{name}={}", id?))).collect();
        for text in &self.opt {
            match text.split_once('=') {
                Some((key, value)) if !key.is_empty() => drop(options.insert(key.to_owned(), value.to_owned())),
                None if matches!(&**text, "copy" | "nocopy") => words.push(text.clone()),
                _ => bail!("invalid volume option {}: must be KEY=VALUE", text::clean_line(text)),
            }
        }
        if !words.is_empty() {
            let given = options.remove("o").filter(|given| !given.is_empty());
            options.insert("o".to_owned(), given.into_iter().chain(words).collect::<Vec<_>>().join(","));
        }
        Ok(options)
    }
}
