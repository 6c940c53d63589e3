//! `secret create`: put a secret into the store.

use std::io::IsTerminal;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::fs::{Access, OFlags};

use crate::cmd::{Context, print_line};
use crate::explain;
use crate::spec::env;
use crate::spec::secret::secret_name;
use crate::spec::text::printable;
use crate::store::secrets::{CreateError, Payload};

/// Create a secret from a file, standard input or a variable
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Where the secret is kept: file, the store, is all there is
    #[arg(short, long, value_name = "DRIVER", default_value = "file", hide_default_value = true)]
    driver: String,
    /// Set an option of the driver, of which file has none
    #[arg(long, value_name = "KEY=VALUE")]
    driver_opts: Vec<String>,
    /// FILE is the name of a variable of the environment
    #[arg(long)]
    env: bool,
    /// Do nothing if there is a secret of this name
    #[arg(long)]
    ignore: bool,
    /// Set a label
    #[arg(short, long, value_name = "NAME=VALUE")]
    label: Vec<String>,
    /// Take the place of a secret of this name; containers keep what they were given
    #[arg(long)]
    replace: bool,
    /// The secret's name
    #[arg(value_name = "NAME")]
    name: String,
    /// Where to read it from; - is standard input
    #[arg(value_name = "FILE|-")]
    file: std::ffi::OsString,
}

/// Makes the secret and prints its id.
pub fn run(args: &Args, context: &Context) -> Result<ExitCode> {
    if args.driver != "file" {
        bail!("invalid driver {:?}: secrets are kept by the driver file only", args.driver);
    }
    if let Some(option) = args.driver_opts.first() {
        bail!("unknown driver option {option:?}: the driver file has none");
    }
    if args.ignore && args.replace {
        bail!("conflicting options: --ignore and --replace");
    }
    secret_name(&args.name)?;
    let labels = args.label.iter().map(|text| env::parse_label(text)).collect::<Result<_, _>>()?;
    let store = context.store()?;
    if args.ignore
        && let Ok(secret) = store.secrets().find(&args.name)
        && secret.name == args.name
    {
        print_line(&secret.id)?;
        return Ok(ExitCode::SUCCESS);
    }
    let payload = args.payload()?;
    let secret = match store.secrets().create(&args.name, &payload, labels, args.replace) {
        Err(CreateError::Exists(_)) if args.ignore => store.secrets().find(&args.name)?,
        created => created?,
    };
    print_line(&secret.id)?;
    Ok(ExitCode::SUCCESS)
}

impl Args {
    fn payload(&self) -> Result<Payload> {
        if self.env {
            let shown = || printable(&self.file.to_string_lossy());
            let name = Some(&self.file).filter(|name| !name.is_empty() && !name.as_bytes().contains(&b'='));
            let value = name.and_then(std::env::var_os);
            let value = value.ok_or_else(|| {
                anyhow!("cannot create store secret data: environment variable {} is not set", shown())
            })?;
            return Ok(Payload::new(value.as_bytes().to_vec())?);
        }
        if self.file == "-" {
            let stdin = std::io::stdin();
            if stdin.is_terminal() {
                bail!("if `-` is used, data must be passed into stdin");
            }
            return Ok(Payload::read(stdin.lock()).context("read standard input")??);
        }
        let path = Path::new(&self.file);
        let shown = printable(&path.to_string_lossy());
        let opened = std::fs::OpenOptions::new().read(true).custom_flags(OFlags::NOCTTY.bits() as i32).open(path);
        let file = opened.map_err(|error| {
            let text = format!("open {shown}: {error}");
            anyhow!(explain::with_cause(text, explain::path::unusable(path, Access::READ_OK)))
        })?;
        Ok(Payload::read(file).with_context(|| format!("read {shown}"))??)
    }
}
