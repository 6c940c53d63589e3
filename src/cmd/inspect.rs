//! `rbox inspect`: everything about containers, images and networks, as docker's JSON or by a template.

pub mod container;
pub mod endpoints;
pub mod image;
mod mounts;
pub mod network;
#[cfg(test)]
mod tests;
pub mod volume;

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::{Result, anyhow, bail};
use serde_json::Value;

use super::error;
use super::format::document::unparsable;
use super::format::json::{self, Html};
use super::format::template::{Data, Functions, Names, Template};
use super::format::text;
use super::selection::Choice;
use super::{Context, platform_options, usage};
use crate::spec::network::Network;
use crate::spec::platform::Platform;
use crate::store::Store;
use crate::store::containers::{self, Container};
use crate::store::{images, networks, volumes};

/// Show everything about containers, images, networks and volumes, as JSON
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    container: ContainerArgs,
    /// Look among these only
    #[arg(short = 't', long = "type", value_name = "TYPE", default_value = "all", hide_default_value = true)]
    kind: Kind,
}

/// Show everything about containers, as JSON
#[derive(clap::Args, Debug)]
pub struct ContainerArgs {
    /// Format output: 'json' or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Show the container created last
    #[arg(short, long)]
    latest: bool,
    /// Show how much disk containers take
    #[arg(short, long)]
    size: bool,
    /// Objects by name, id or unique prefix
    #[arg(required_unless_present = "latest", value_name = "NAME|ID")]
    names: Vec<String>,
}

/// Show everything about images, as JSON
#[derive(clap::Args, Debug)]
pub struct ImageArgs {
    /// Format output: 'json' or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Show only images for this platform, as in linux/arm64
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<Platform>,
    /// Images by reference, id or unique prefix
    #[arg(required = true, value_name = "NAME|ID")]
    names: Vec<String>,
}

/// Show everything about networks, as JSON
#[derive(clap::Args, Debug)]
pub struct NetworkArgs {
    /// Format output: 'json' or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Accepted for compatibility: there is no more to show
    #[arg(short, long)]
    verbose: bool,
    /// Networks by name, id or unique prefix
    #[arg(required = true, value_name = "NETWORK")]
    names: Vec<String>,
}

/// Show everything about volumes, as JSON
#[derive(clap::Args, Debug)]
pub struct VolumeArgs {
    /// All volumes
    #[arg(short, long)]
    all: bool,
    /// Format output: 'json' or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Volumes by name
    #[arg(required_unless_present = "all", value_name = "VOLUME")]
    names: Vec<String>,
}

/// A type of object.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    All,
    Container,
    Image,
    Network,
    Volume,
}

/// Runs `inspect`.
pub fn run(args: Args, context: &Context) -> Result<ExitCode> {
    let ContainerArgs { format, latest, size, names } = args.container;
    if latest && !matches!(args.kind, Kind::All | Kind::Container) {
        bail!("conflicting options: --latest and --type other than container");
    }
    let names = Choice { named: &names, latest, ..Choice::default() }.names(context, |_| true)?;
    let kind = if latest { Kind::Container } else { args.kind };
    inspect(context, &names, kind, format.as_deref(), size)
}

/// Runs `container inspect`.
pub fn containers(args: ContainerArgs, context: &Context) -> Result<ExitCode> {
    run(Args { container: args, kind: Kind::Container }, context)
}

/// Runs `image inspect`.
pub fn images(args: ImageArgs, context: &Context) -> Result<ExitCode> {
    let store = context.store()?;
    let extended = is_template(args.format.as_deref());
    print_objects(&args.names, args.format.as_deref(), |name| {
        let image = store.images().find(name)?;
        platform_options::check(context, name, &image, args.platform.as_slice())?;
        describe_image(store, &image, extended)
    })
}

/// Runs `network inspect`.
pub fn networks(args: NetworkArgs, context: &Context) -> Result<ExitCode> {
    inspect(context, &args.names, Kind::Network, args.format.as_deref(), false)
}

/// Runs `volume inspect`.
pub fn volumes(args: VolumeArgs, context: &Context) -> Result<ExitCode> {
    if args.all && !args.names.is_empty() {
        bail!("conflicting options: --all and a volume's name");
    }
    let names = if args.all { context.store()?.volumes().names()? } else { args.names };
    inspect(context, &names, Kind::Volume, args.format.as_deref(), false)
}

/// Prints what is found; what is not is reported on stderr and makes the exit code 1.
fn inspect(context: &Context, names: &[String], kind: Kind, format: Option<&str>, size: bool) -> Result<ExitCode> {
    let store = context.store()?;
    print_objects(names, format, |name| look_up(store, name, kind, size, is_template(format)))
}

/// Prints the objects of these names as `find` has them; what is not found is reported on stderr and
/// makes the exit code 1.
pub fn print_objects(names: &[String], format: Option<&str>, find: impl Fn(&str) -> Result<Value>) -> Result<ExitCode> {
    let mut printer = Printer::new(format, std::io::stdout().is_terminal())?;
    let mut errors = Vec::new();
    for name in names {
        match find(name) {
            Ok(object) => errors.extend(printer.add(object).err()),
            Err(error) => errors.push(error),
        }
    }
    super::print_bytes(printer.finish().as_bytes())?;
    errors.iter().for_each(error::print);
    Ok(if errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Fields are asked for by name: then podman's are there too, which docker's output has not.
fn is_template(format: Option<&str>) -> bool {
    !matches!(format.unwrap_or_default(), "" | "json")
}

/// Collects objects in the asked-for form.
enum Printer {
    Json(Vec<Value>),
    CompactJson(Vec<Value>),
    Template { template: Template, safe: bool, text: String },
}

impl Printer {
    fn new(format: Option<&str>, terminal: bool) -> Result<Self> {
        Ok(match format.unwrap_or_default() {
            "" => Self::Json(Vec::new()),
            "json" => Self::CompactJson(Vec::new()),
            source => {
                let template = Template::parse(source, Functions::Values).map_err(unparsable)?;
                Self::Template { template, safe: terminal, text: String::new() }
            }
        })
    }

    fn add(&mut self, object: Value) -> Result<()> {
        match self {
            Self::Json(objects) | Self::CompactJson(objects) => objects.push(object),
            Self::Template { template, safe, text } => {
                let rendered = template.render(&Data::new(&object, Names::Json, *safe));
                text.push_str(&rendered.map_err(|error| anyhow!("template parsing error: {error}"))?);
                text.push('\n');
            }
        }
        Ok(())
    }

    /// What goes to stdout: with nothing found an empty array, or an empty line for a template.
    fn finish(self) -> String {
        let mut text = match self {
            Self::Json(objects) => json::pretty(&Value::Array(objects)),
            Self::CompactJson(objects) => json::compact(&Value::Array(objects), Html::Keep),
            Self::Template { text, .. } if text.is_empty() => String::new(),
            Self::Template { text, .. } => return text,
        };
        text.push('\n');
        text
    }
}

/// Finds an object: containers before images before networks before volumes, as docker does.
fn look_up(store: &Store, name: &str, kind: Kind, size: bool, extended: bool) -> Result<Value> {
    if matches!(kind, Kind::All | Kind::Container) {
        match store.containers().find(name) {
            Ok(container) => return describe_container(store, &container, size),
            Err(containers::LookupError::NotFound(_)) if kind == Kind::All => {}
            Err(error) => return Err(error.into()),
        }
    }
    if matches!(kind, Kind::All | Kind::Image) {
        match store.images().find(name) {
            Ok(image) => return describe_image(store, &image, extended),
            Err(images::LookupError::NotFound(_)) if kind == Kind::All => {}
            Err(error) => return Err(error.into()),
        }
    }
    if matches!(kind, Kind::All | Kind::Network) {
        match store.networks().find(name) {
            Ok(network) => return describe_network(store, &network),
            Err(networks::LookupError::NotFound(_)) if kind == Kind::All => {}
            Err(error) => return Err(error.into()),
        }
    }
    match store.volumes().get(name) {
        Ok(volume) => Ok(volume::describe(&volume, &store.volumes().data_path(&volume.name))),
        Err(volumes::LookupError::NotFound(_)) if kind == Kind::All => {
            Err(anyhow!("no such object: {}", text::clean_line(name)))
        }
        Err(error) => Err(error.into()),
    }
}

fn describe_container(store: &Store, container: &Container, size: bool) -> Result<Value> {
    let layers = container.layers();
    let lower = match &container.config.root {
        crate::spec::config::RootSource::Directory(path) => vec![path.clone()],
        crate::spec::config::RootSource::Image { .. } => {
            layers.iter().map(|layer| store.layers().diff_path(*layer)).collect()
        }
    };
    let sizes = size.then(|| usage::sizes(store, container));
    let network = endpoints::Facts::of(store, container);
    Ok(container::describe(&container::Subject { container, network, lower, sizes }))
}

fn describe_image(store: &Store, image: &images::Image, extended: bool) -> Result<Value> {
    let config = store.images().config(image.id)?;
    let layers = store.images().layers(image.id)?.into_iter().map(|layer| store.layers().diff_path(layer)).collect();
    let size = store.images().size(image.id)?;
    let subject = image::Subject { image, config: &config, size, layers };
    let mut all = image::describe(&subject);
    if extended {
        image::extend(&mut all, &subject, &store.images().manifest(image.manifest)?);
    }
    Ok(all)
}

fn describe_network(store: &Store, network: &Network) -> Result<Value> {
    let leases = store.leases(network).list()?;
    Ok(network::describe(network, &leases))
}
