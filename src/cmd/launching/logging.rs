//! What a container's log is to be, from what was asked for: tags and attributes written out, servers
//! found.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RData, RecordType};
use serde_json::{Value, json};

use crate::cmd::format::template::{Data, Functions, Names, Template};
use crate::sandbox::log::{FileFormat, FilePlan, LogPlan, Receiver, RemotePlan, Server, journal_name};
use crate::spec::config::ContainerConfig;
use crate::spec::log::syslog::{Address, SyslogOptions};
use crate::spec::log::{LogConfig, LogDriver, LogOptions};
use crate::store::containers::Container;

/// docker's tag where one is needed and none was asked for.
const TAG: &str = "{{.ID}}";
/// The journal's socket.
const JOURNAL: &str = "/run/systemd/journal/socket";
/// Another journal's socket: of a namespace of journals, say.
const JOURNAL_VARIABLE: &str = "RBOX_JOURNAL_SOCKET";
/// What is kept of a log that only others have, so that it can be shown: docker's limits.
const CACHE_SIZE: u64 = 20_000_000;
const CACHE_FILES: u32 = 5;
/// How long a name server is waited for.
const DNS_PATIENCE: Duration = Duration::from_secs(2);

/// Says at once what is wrong with a tag.
pub fn check(config: &LogConfig) -> Result<()> {
    let Some(tag) = config.options()?.tag else { return Ok(()) };
    let empty = ["ID", "FullID", "Name", "ImageID", "ImageFullID", "ImageName", "DaemonName", "Command", "Hostname"];
    let fields: serde_json::Map<String, Value> = empty.map(|name| (name.to_owned(), json!(""))).into_iter().collect();
    render(&tag, &Value::Object(fields)).map(drop)
}

/// podman's refusal to hand a terminal to a container, which could type into it.
pub fn check_streams(config: &LogConfig) -> Result<()> {
    use rustix::stdio::{stderr, stdin, stdout};
    let terminal = || [stdin(), stdout(), stderr()].into_iter().any(rustix::termios::isatty);
    if config.driver == LogDriver::Passthrough && terminal() {
        bail!("the '--log-driver passthrough' option cannot be used on a TTY: passthrough-tty can");
    }
    Ok(())
}

/// The plan for a start. None keeps no log.
pub fn plan(container: &Container) -> Result<Option<LogPlan>> {
    let config = &container.config;
    let options = config.log.options()?;
    let loss = container.log_loss_path();
    let file = |format, max_size, max_file, compress| {
        let path = container.log_path();
        path.map(|path| FilePlan { path, format, max_size, max_file, compress })
    };
    let (size, files) = (config.log.max_size, config.log.max_file);
    let remote = |receiver| RemotePlan {
        receiver,
        buffer: usize::try_from(options.buffer).unwrap_or(usize::MAX),
        non_blocking: options.non_blocking,
    };
    Ok(Some(match config.log.driver {
        LogDriver::JsonFile => {
            let mut attributes = attributes(config, &options);
            if let Some(tag) = options.tag.as_deref().filter(|tag| !tag.is_empty()) {
                attributes.insert("tag".to_owned(), render(tag, &facts(container))?);
            }
            let format = FileFormat::Json(attributes.into_iter().collect());
            LogPlan { file: file(format, size, files, options.compress), remote: None, loss }
        }
        LogDriver::K8sFile => {
            LogPlan { file: file(FileFormat::K8s, size, files, options.compress), remote: None, loss }
        }
        LogDriver::Local => {
            let format = FileFormat::Json(Vec::new());
            LogPlan { file: file(format, size, files, options.compress), remote: None, loss }
        }
        LogDriver::Journald => {
            let tag = tag(container, &options)?;
            let socket = std::env::var_os(JOURNAL_VARIABLE).map_or_else(|| PathBuf::from(JOURNAL), PathBuf::from);
            let receiver = Receiver::Journald { socket, fields: fields(container, &options, tag) };
            LogPlan { file: None, remote: Some(remote(receiver)), loss }
        }
        LogDriver::Syslog => {
            let SyslogOptions { address, facility, format } = options.syslog.clone();
            let receiver =
                Receiver::Syslog { server: server(&address)?, tag: tag(container, &options)?, facility, format };
            let kept = file(FileFormat::Json(Vec::new()), Some(CACHE_SIZE), CACHE_FILES, true);
            LogPlan { file: kept, remote: Some(remote(receiver)), loss }
        }
        LogDriver::None | LogDriver::Passthrough | LogDriver::PassthroughTty => return Ok(None),
    }))
}

fn tag(container: &Container, options: &LogOptions) -> Result<String> {
    let template = options.tag.as_deref().filter(|tag| !tag.is_empty()).unwrap_or(TAG);
    render(template, &facts(container))
}

fn render(template: &str, facts: &Value) -> Result<String> {
    let parsed = Template::parse(template, Functions::Values);
    let rendered = parsed.and_then(|parsed| parsed.render(&Data::new(facts, Names::Struct("*logger.Info"), false)));
    rendered.map_err(|error| anyhow!("invalid log tag {template:?}: {error}"))
}

/// What a tag can name.
fn facts(container: &Container) -> Value {
    let config = &container.config;
    let image = container.image_id().map(|id| id.to_string()).unwrap_or_default();
    let short: String = image.rsplit(':').next().unwrap_or_default().chars().take(12).collect();
    json!({
        "ID": config.id.short().to_string(),
        "FullID": config.id.to_string(),
        "Name": config.name,
        "ImageID": short,
        "ImageFullID": image,
        "ImageName": config.image,
        "DaemonName": "rbox",
        "Command": config.argv().join(" "),
        "Hostname": rustix::system::uname().nodename().to_string_lossy(),
    })
}

/// The labels and variables that were asked for.
fn attributes(config: &ContainerConfig, options: &LogOptions) -> BTreeMap<String, String> {
    let pairs = config.env.iter().filter_map(|entry| entry.split_once('='));
    let variables = pairs.filter(|(name, _)| options.env.contains(name));
    let labels = config.labels.iter().filter(|(name, _)| options.labels.contains(name));
    let labels = labels.map(|(name, value)| (name.as_str(), value.as_str()));
    labels.chain(variables).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The fields of the journal that are the same in each message. What is asked for never replaces
/// what is said of the container.
fn fields(container: &Container, options: &LogOptions, tag: String) -> Vec<(String, String)> {
    let config = &container.config;
    let own = [
        ("CONTAINER_ID", config.id.short().to_string()),
        ("CONTAINER_ID_FULL", config.id.to_string()),
        ("CONTAINER_NAME", config.name.clone()),
        ("CONTAINER_TAG", tag.clone()),
        ("IMAGE_NAME", config.image.clone()),
        ("SYSLOG_IDENTIFIER", tag),
    ];
    let taken = |name: &str| own.iter().any(|(own, _)| *own == name) || ["MESSAGE", "PRIORITY"].contains(&name);
    let named = attributes(config, options).into_iter().filter_map(|(name, value)| Some((journal_name(&name)?, value)));
    let more: Vec<_> = named.filter(|(name, _)| !taken(name)).collect();
    own.into_iter().map(|(name, value)| (name.to_owned(), value)).chain(more).collect()
}

fn server(address: &Address) -> Result<Server> {
    Ok(match address {
        Address::Local => Server::Local,
        Address::Unix(path) => Server::Unix(path.clone()),
        Address::UnixDatagram(path) => Server::UnixDatagram(path.clone()),
        Address::Udp(host, port) => Server::Udp(SocketAddr::new(find_host(host)?, *port)),
        Address::Tcp(host, port) => Server::Tcp(SocketAddr::new(find_host(host)?, *port)),
    })
}

/// The address of a syslog server: now, as a supervisor must not wait for names.
fn find_host(host: &str) -> Result<IpAddr> {
    if let Ok(address) = host.parse() {
        return Ok(address);
    }
    if host == "localhost" {
        return Ok(IpAddr::from([127, 0, 0, 1]));
    }
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let listed = hosts.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        let address = words.next()?.parse::<IpAddr>().ok()?;
        words.any(|word| word.eq_ignore_ascii_case(host)).then_some(address)
    });
    match listed {
        Some(address) => Ok(address),
        None => ask_for_host(host).with_context(|| format!("find the address of the syslog server {host}")),
    }
}

fn ask_for_host(host: &str) -> Result<IpAddr> {
    let name = Name::from_ascii(format!("{}.", host.trim_end_matches('.')))?;
    let resolv = std::fs::read_to_string("/etc/resolv.conf").context("read /etc/resolv.conf")?;
    let named = resolv.lines().filter_map(|line| line.trim().strip_prefix("nameserver")?.trim().parse::<IpAddr>().ok());
    let mut failure = anyhow!("/etc/resolv.conf names no server");
    for server in named.take(3) {
        match [RecordType::A, RecordType::AAAA].iter().find_map(|kind| ask(server, &name, *kind).transpose()) {
            Some(Ok(address)) => return Ok(address),
            Some(Err(error)) => failure = error,
            None => bail!("no such host"),
        }
    }
    Err(failure)
}

fn ask(server: IpAddr, name: &Name, kind: RecordType) -> Result<Option<IpAddr>> {
    let any: IpAddr = if server.is_ipv4() { [0; 4].into() } else { [0u16; 8].into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect((server, 53))?;
    socket.set_read_timeout(Some(DNS_PATIENCE))?;
    let mut question = Message::new(std::process::id() as u16, MessageType::Query, OpCode::Query);
    question.metadata.recursion_desired = true;
    question.add_query(Query::query(name.clone(), kind));
    socket.send(&question.to_vec()?)?;
    let mut answer = vec![0; 4096];
    let count = socket.recv(&mut answer).with_context(|| format!("ask the name server {server}"))?;
    let answer = Message::from_vec(&answer[..count])?;
    Ok(answer.answers.iter().find_map(|record| match &record.data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    }))
}
