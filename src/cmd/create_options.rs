//! The options that `run` and `create` share, and what they mean.

pub mod devices;
mod environment;
pub mod health;
mod identity;
pub mod image;
pub mod limits;
mod logging;
mod notify;
mod restart;
mod secrets;
mod storage;
mod systemd;

pub use environment::VariableOptions;
pub use identity::explained;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};

use self::devices::DeviceOptions;
use self::environment::EnvironmentOptions;
use self::health::HealthOptions;
use self::identity::IdentityOptions;
use self::image::ImageOptions;
use self::limits::LimitOptions;
use self::logging::LoggingOptions;
use self::notify::NotifyOptions;
use self::restart::RestartOptions;
use self::secrets::SecretOptions;
use self::storage::StorageOptions;
use self::systemd::SystemdOptions;
use super::Context;
use crate::spec::config::ContainerId;
use crate::spec::create::{self, CreateRequest, StandardStream};
use crate::spec::env;
use crate::spec::network::{self, NetworkFlags};
use crate::spec::port;
use crate::spec::security::SecurityOptions;
use crate::spec::settings::{Origin, Settings};
use crate::spec::signal::Signal;
use crate::spec::size;
use crate::spec::ulimit::UlimitRequest;

/// Profiles longer than this are not read.
const FILE_LIMIT: u64 = 4 << 20;

/// Options of `run` and `create`, as typed.
#[derive(clap::Args, Clone, Debug)]
pub struct CreateOptions {
    /// Add a line to /etc/hosts (NAME[;NAME]:IP, or host-gateway for the host)
    #[arg(long, value_name = "NAME:IP")]
    pub add_host: Vec<String>,
    /// Add an annotation for the OCI runtime Spec
    #[arg(long, value_name = "NAME=VALUE")]
    pub annotation: Vec<String>,
    /// Attach to STDIN, STDOUT or STDERR only; can be given several times
    #[arg(short = 'a', long, value_name = "STREAM")]
    pub attach: Vec<StandardStream>,
    /// Add a Linux capability, or ALL
    #[arg(long, value_name = "CAP")]
    pub cap_add: Vec<String>,
    /// Drop a Linux capability, or ALL
    #[arg(long, value_name = "CAP")]
    pub cap_drop: Vec<String>,
    /// Write the container ID to the file, which must not exist
    #[arg(long, value_name = "FILE")]
    pub cidfile: Option<PathBuf>,
    /// Accepted for compatibility: no image is verified by docker's content trust
    #[arg(long)]
    pub disable_content_trust: bool,
    /// Ask this DNS server instead of the host's; none keeps the image's /etc/resolv.conf
    #[arg(long, value_name = "IP")]
    pub dns: Vec<String>,
    /// Set an option of the resolver, as in ndots:2
    #[arg(long, alias = "dns-opt", value_name = "OPTION")]
    pub dns_option: Vec<String>,
    /// Complete host names with this domain instead of the host's; . alone means none
    #[arg(long, value_name = "DOMAIN")]
    pub dns_search: Vec<String>,
    /// Overwrite the ENTRYPOINT of the image; empty removes it
    #[arg(long, value_name = "COMMAND")]
    pub entrypoint: Option<String>,
    /// Note a port or a range of ports that the container listens on
    #[arg(long, value_name = "PORT[-PORT][/PROTOCOL]")]
    pub expose: Vec<String>,
    /// Container host name
    #[arg(short = 'h', long, value_name = "NAME")]
    pub hostname: Option<String>,
    /// Keep STDIN open even if not attached
    #[arg(short, long)]
    pub interactive: bool,
    /// IPv4 address on the first network
    #[arg(long, value_name = "IP")]
    pub ip: Option<String>,
    /// IPv6 address on the first network
    #[arg(long, value_name = "IP")]
    pub ip6: Option<String>,
    /// IPC mode to use (private, shareable, none, host, container:NAME)
    #[arg(long, value_name = "MODE", default_value = "", hide_default_value = true)]
    pub ipc: String,
    /// Set a label
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub label: Vec<String>,
    /// Read in a file of labels, one a line
    #[arg(long, value_name = "FILE")]
    pub label_file: Vec<PathBuf>,
    /// Know another container by a name, its ports and environment by variables (NAME[:ALIAS])
    #[arg(long, value_name = "NAME[:ALIAS]")]
    pub link: Vec<String>,
    /// Link layer address on the first network
    #[arg(long, value_name = "MAC")]
    pub mac_address: Option<String>,
    /// Assign a name to the container; one is made up by default
    #[arg(long)]
    pub name: Option<String>,
    /// Network to use (NAME[:ip=IP,mac=MAC,alias=NAME,...], none, host, container:NAME, ns:PATH, slirp, pasta), bridge
    /// unless configured; can be given several times
    #[arg(long, alias = "net", value_name = "NETWORK")]
    pub network: Vec<String>,
    /// Further name on the first network
    #[arg(long, alias = "net-alias", value_name = "NAME")]
    pub network_alias: Vec<String>,
    /// Keep the image's /etc/hosts
    #[arg(long)]
    pub no_hosts: bool,
    /// PID namespace to use (host, container:NAME)
    #[arg(long, value_name = "MODE", default_value = "", hide_default_value = true)]
    pub pid: String,
    /// Give all capabilities, devices and no seccomp filter, within the container's own user namespace
    #[arg(long)]
    pub privileged: bool,
    /// Publish a port or a range of ports ([IP:][HOST[-HOST]:]PORT[-PORT][/tcp|udp])
    #[arg(short, long, value_name = "PORTS")]
    pub publish: Vec<String>,
    /// Publish every exposed port on a free port of the host
    #[arg(short = 'P', long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = super::go_bool)]
    pub publish_all: Option<bool>,
    /// Remove another container of the same name first
    #[arg(long)]
    pub replace: bool,
    /// Automatically remove the container when it exits
    #[arg(long)]
    pub rm: bool,
    /// The image is a directory of this machine, used read-only
    #[arg(long)]
    pub rootfs: bool,
    /// Security option (no-new-privileges, seccomp=FILE|builtin|unconfined)
    #[arg(long, value_name = "OPTION")]
    pub security_opt: Vec<String>,
    /// Size of /dev/shm, 64m by default
    #[arg(long, value_name = "BYTES", value_parser = size::parse_bytes)]
    pub shm_size: Option<u64>,
    /// Signal that stops the container; by default the image's, or SIGTERM
    #[arg(long, value_name = "SIGNAL")]
    pub stop_signal: Option<Signal>,
    /// Seconds from the stop signal to SIGKILL, 10 unless configured; -1 waits for ever
    #[arg(long, value_name = "SECONDS")]
    pub stop_timeout: Option<i64>,
    /// Set a kernel parameter of the container's own namespaces
    #[arg(long, value_name = "KEY=VALUE")]
    pub sysctl: Vec<String>,
    /// Allocate a pseudo-TTY
    #[arg(short, long)]
    pub tty: bool,
    /// Resource limit, as in nofile=1024:4096, with -1 for as much as you may; or host for all as they are here
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    pub ulimit: Vec<UlimitRequest>,
    /// UTS namespace to use (host, container:NAME)
    #[arg(long, value_name = "MODE", default_value = "", hide_default_value = true)]
    pub uts: String,
    /// Working directory inside the container, made when missing
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
    #[command(flatten)]
    pub storage: StorageOptions,
    #[command(flatten)]
    pub devices: DeviceOptions,
    #[command(flatten)]
    pub environment: EnvironmentOptions,
    #[command(flatten)]
    pub health: HealthOptions,
    #[command(flatten)]
    pub identity: IdentityOptions,
    #[command(flatten)]
    pub image: ImageOptions,
    #[command(flatten)]
    pub limits: LimitOptions,
    #[command(flatten)]
    pub logging: LoggingOptions,
    #[command(flatten)]
    pub notify: NotifyOptions,
    #[command(flatten)]
    pub restart: RestartOptions,
    #[command(flatten)]
    pub secrets: SecretOptions,
    #[command(flatten)]
    pub systemd: SystemdOptions,
}

impl CreateOptions {
    /// What the options ask for; reads the files they name.
    pub fn request(&self, context: &Context, image: &str, command: &[String], detach: bool) -> Result<CreateRequest> {
        let settings = context.settings()?;
        let mut find = |name: &str| find_container(context, name);
        let mut request = CreateRequest {
            image: image.to_owned(),
            command: command.to_vec(),
            entrypoint: self.entrypoint.clone(),
            environment: self.environment.request()?,
            labels: self.labels()?,
            annotations: self.annotation.iter().map(|text| env::parse_label(text)).collect::<Result<_, _>>()?,
            sysctls: self.sysctl.iter().map(|text| create::parse_sysctl(text)).collect::<Result<_, _>>()?,
            exposed_ports: self.exposed_ports()?,
            workdir: self.workdir.clone(),
            hostname: self.hostname.clone(),
            tty: self.tty,
            interactive: self.interactive,
            detach,
            attach: self.attach.clone(),
            auto_remove: self.rm,
            privileged: self.privileged,
            cap_add: self.cap_add.clone(),
            cap_drop: self.cap_drop.clone(),
            security: self.security(settings)?,
            stop_signal: self.stop_signal,
            stop_timeout: self.stop_timeout.or(Some(settings.stop_timeout.value)),
            ulimits: self.ulimit.clone(),
            shm_size: self.shm_size,
            pid: create::parse_pid(&self.pid, &mut find)?,
            ipc: create::parse_ipc(&self.ipc, &mut find)?,
            uts: create::parse_uts(&self.uts, &mut find)?,
            network: network::parse_networks(&self.network_flags(settings), &mut find)?,
            no_hosts: self.no_hosts,
            dns: network::parse_dns(&self.dns, &self.dns_search, &self.dns_option)?,
            ports: port::parse_ports(&self.publish)?,
            publish_all: self.publish_all.unwrap_or_default(),
            links: self.link.iter().map(|text| network::parse_link(text, &mut find)).collect::<Result<_, _>>()?,
            log: self.logging.request(&settings.log(), self.tty)?,
            extra_hosts: self.extra_hosts()?,
            limits: self.limits.request()?,
            health: self.health.request()?,
            cidfile: self.cidfile.clone(),
            credentials: self.secrets.credentials()?,
            ..CreateRequest::default()
        };
        self.storage.fill(&mut request)?;
        self.notify.fill(&mut request);
        self.identity.fill(&mut request, context, &mut find)?;
        self.systemd.fill(&mut request, settings.init.value);
        self.restart.fill(&mut request, context)?;
        request.devices = self.devices.request(&settings.cdi_spec_dirs.value, request.identity.keep_groups)?;
        Ok(request)
    }

    /// As typed; the configured network where none was.
    fn network_flags(&self, settings: &Settings) -> NetworkFlags {
        let configured = || vec![settings.network.value.clone()];
        NetworkFlags {
            networks: Some(self.network.clone()).filter(|networks| !networks.is_empty()).unwrap_or_else(configured),
            aliases: self.network_alias.clone(),
            ip: self.ip.clone(),
            ip6: self.ip6.clone(),
            mac: self.mac_address.clone(),
        }
    }

    fn extra_hosts(&self) -> Result<Vec<(String, String)>> {
        let hosts: Vec<_> =
            self.add_host.iter().map(|text| create::parse_extra_hosts(text)).collect::<Result<_, _>>()?;
        Ok(hosts.concat())
    }

    /// A configured profile counts where none was typed, and not for privileged containers, which
    /// have no filter unless asked for.
    fn security(&self, settings: &Settings) -> Result<SecurityOptions> {
        let default = &settings.seccomp_profile;
        let typed = self.security_opt.iter().any(|value| value.starts_with("seccomp"));
        let configured = default.origin != Origin::Default && !typed && !self.privileged;
        let mut values: Vec<String> = configured.then(|| format!("seccomp={}", default.value)).into_iter().collect();
        values.extend_from_slice(&self.security_opt);
        let mut read = |path: &Path| read_text(path).map_err(|error| format!("{error:#}"));
        let options = SecurityOptions::parse(&values, &mut read).map_err(|error| match configured {
            true => anyhow!("seccomp-profile of {}: {error}", default.origin),
            false => anyhow!(error),
        })?;
        Ok(SecurityOptions { typed: self.security_opt.clone(), ..options })
    }

    fn labels(&self) -> Result<std::collections::BTreeMap<String, String>> {
        let mut labels = std::collections::BTreeMap::new();
        for file in &self.label_file {
            labels.extend(env::parse_label_file(&file.to_string_lossy(), &read_file(file)?)?);
        }
        for label in &self.label {
            labels.extend([env::parse_label(label)?]);
        }
        Ok(labels)
    }

    fn exposed_ports(&self) -> Result<Vec<String>> {
        let ports: Vec<Vec<String>> =
            self.expose.iter().map(|text| create::parse_expose(text)).collect::<Result<_, _>>()?;
        Ok(ports.concat())
    }
}

fn find_container(context: &Context, name: &str) -> Result<ContainerId, String> {
    let store = context.store().map_err(|error| format!("{error:#}"))?;
    store.containers().resolve(name).map_err(|error| error.to_string())
}

fn read_file(path: &Path) -> Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| anyhow!("open {}: {error}", path.display()))?;
    file.take(FILE_LIMIT).read_to_end(&mut bytes).with_context(|| format!("read {}", path.display()))?;
    Ok(bytes)
}

fn read_text(path: &Path) -> Result<String> {
    String::from_utf8(read_file(path)?).map_err(|_| anyhow!("{} is not UTF-8 text", path.display()))
}
