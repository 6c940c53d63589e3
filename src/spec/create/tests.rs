use super::*;
use crate::spec::env::EnvChange;
use crate::spec::mount::{parse_tmpfs, parse_volume};
use crate::spec::systemd::FullSystem;
use serde_json::json;
use std::path::Path;

pub(in crate::spec) fn image() -> ImageConfig {
    serde_json::from_value(json!({
        "architecture": "amd64", "os": "linux",
        "config": {
            "Env": ["PATH=/image/bin", "KEEP=1", "CHANGE=old", "bad", "=worse"],
            "Entrypoint": ["/entry", "-x"], "Cmd": ["default"], "WorkingDir": "/work", "User": "1000:1000",
            "Labels": {"a": "image", "b": "image"}, "StopSignal": "SIGQUIT",
            "Volumes": {"/data": {}}, "ExposedPorts": {"80/tcp": {}},
        },
    }))
    .unwrap()
}

pub(in crate::spec) fn create(
    request: CreateRequest,
    image: Option<&ImageConfig>,
) -> Result<ContainerConfig, CreateError> {
    let base = Base { root: RootSource::Directory("/".into()), image, host_name: "machine", donor_name: None };
    let id = ContainerId::from_bytes([0xab; 32]);
    resolve(request, base, id, "web".to_owned(), Timestamp::UNIX_EPOCH)
}

pub(in crate::spec) fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn sh() -> CreateRequest {
    CreateRequest { command: words(&["sh"]), ..CreateRequest::default() }
}

#[test]
fn entrypoint_and_command() {
    let image = image();
    for (entrypoint, command, argv) in [
        (None, &[][..], Some("/entry -x default")),
        (None, &["a", "b"], Some("/entry -x a b")),
        (Some("sh"), &[], Some("sh")),
        (Some("sh"), &["-c", "x"], Some("sh -c x")),
        (Some("sh -c"), &[], Some("sh -c")),
        (Some(""), &["a"], Some("a")),
        (Some(r#"["a","b"]"#), &["c"], Some("a b c")),
        (Some("[odd"), &[], Some("[odd")),
        (Some(""), &[], None),
        (Some("[]"), &[], None),
        (Some(""), &[""], None),
    ] {
        let entrypoint = entrypoint.map(str::to_owned);
        let request = CreateRequest { entrypoint: entrypoint.clone(), command: words(command), ..Default::default() };
        let made = create(request, Some(&image)).ok().map(|config| config.argv().join(" "));
        assert_eq!(made.as_deref(), argv, "{entrypoint:?} {command:?}");
    }
    let error = create(CreateRequest::default(), None).unwrap_err();
    assert_eq!(error.to_string(), "no command specified");
    let literal = create(CreateRequest { entrypoint: Some("sh -c".into()), ..Default::default() }, None).unwrap();
    assert_eq!(literal.argv(), ["sh -c"]);
}

#[test]
fn environment_in_dockers_order() {
    let env = |tty: bool, image: Option<&ImageConfig>, changes: &[(&str, Option<&str>)]| {
        let change =
            |(name, value): &(&str, Option<&str>)| EnvChange { name: (*name).into(), value: value.map(Into::into) };
        let changes = changes.iter().map(change).collect();
        let environment = EnvironmentRequest { changes, ..EnvironmentRequest::default() };
        let request = CreateRequest { tty, environment, ..sh() };
        create(request, image).unwrap().env
    };
    assert_eq!(env(false, None, &[]), [DEFAULT_PATH, "HOSTNAME=abababababab"]);
    let changes =
        [("CHANGE", Some("file")), ("NEW", Some("")), ("CHANGE", Some("new")), ("KEEP", None), ("TERM", Some("dumb"))];
    let expected = ["PATH=/image/bin", "HOSTNAME=abababababab", "TERM=dumb", "CHANGE=new", "NEW="];
    assert_eq!(env(true, Some(&image()), &changes), expected);
}

#[test]
fn podmans_flags_about_the_environment() {
    let change = |name: &str, value: &str| EnvChange { name: name.into(), value: Some(value.into()) };
    let resolve = |environment: EnvironmentRequest| {
        create(CreateRequest { tty: true, environment, ..sh() }, Some(&image()))
            .map(|config| (config.env, config.environment))
    };
    let words = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let asked = EnvironmentRequest {
        unset: words(&["PATH", "GONE", "KEEP"]),
        merge: words(&["CHANGE=${CHANGE}er", "KEEP=${KEEP}2", "NEW=${NONE}-x"]),
        ..Default::default()
    };
    let expected = ["HOSTNAME=abababababab", "TERM=xterm", "CHANGE=older", "KEEP=12", "NEW=-x"];
    assert_eq!(resolve(asked).unwrap().0, expected);
    let asked = EnvironmentRequest {
        unset_all: true,
        borrowed: vec![change("HTTP_PROXY", "p"), change("A", "caller")],
        changes: vec![change("A", "typed")],
        ..Default::default()
    };
    let (env, remembered) = resolve(asked).unwrap();
    assert_eq!(env, ["HOSTNAME=abababababab", "HTTP_PROXY=p", "A=typed"]);
    assert_eq!(remembered.borrowed, ["HTTP_PROXY"]);
    let error = resolve(EnvironmentRequest { merge: words(&["A=${B"]), ..Default::default() }).unwrap_err();
    assert!(error.to_string().starts_with("invalid --env-merge value \"A=${B\": "), "{error}");
    assert!(parse_merge("A").is_err() && parse_merge("=x").is_err() && parse_merge("A=").is_ok());
}

#[test]
fn defaults_of_the_image_and_of_docker() {
    let config =
        create(CreateRequest { labels: BTreeMap::from([("b".into(), "flag".into())]), ..sh() }, Some(&image()))
            .unwrap();
    assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("1000:1000", "/work"));
    assert_eq!(config.stop_signal.to_string(), "SIGQUIT");
    assert_eq!(config.labels, BTreeMap::from([("a".into(), "image".into()), ("b".into(), "flag".into())]));
    assert_eq!((config.volumes, config.exposed_ports), (words(&["/data"]), words(&["80/tcp"])));
    assert_eq!(config.platform, "linux/amd64");
    assert_eq!(config.created, "1970-01-01T00:00:00.000000000Z");

    let config = create(sh(), None).unwrap();
    assert_eq!((config.stop_signal, config.stop_timeout), (Signal::TERM, Some(10)));
    assert_eq!(config.shm_size, 64 << 20);
    assert_eq!(config.attach, [false, true, true]);
    assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("", ""));
    assert_eq!(config.hostname, "abababababab");

    let request = CreateRequest {
        user: Some("0".into()),
        workdir: Some("/w".into()),
        stop_signal: Some(Signal::KILL),
        stop_timeout: Some(-1),
        shm_size: Some(0),
        interactive: true,
        detach: true,
        ulimits: ["core=1", "nofile=5", "core=2"].iter().map(|text| text.parse().unwrap()).collect(),
        ..sh()
    };
    let config = create(request, Some(&image())).unwrap();
    assert_eq!((config.user.as_str(), config.working_dir.as_str()), ("0", "/w"));
    assert_eq!((config.stop_signal, config.stop_timeout), (Signal::KILL, None));
    assert_eq!((config.attach, config.open_stdin), ([false; 3], true));
    assert_eq!(config.shm_size, 64 << 20);
    let limits: Vec<String> = config.ulimits.iter().map(ToString::to_string).collect();
    assert_eq!(limits, ["core=2:2", "nofile=5:5"]);
}

#[test]
fn host_names() {
    let name = |request: CreateRequest| create(request, None).map(|config| config.hostname).map_err(|e| e.to_string());
    assert_eq!(name(CreateRequest { hostname: Some("h".into()), ..sh() }).as_deref(), Ok("h"));
    assert_eq!(name(CreateRequest { network: NetworkMode::Host, ..sh() }).as_deref(), Ok("machine"));
    assert_eq!(name(CreateRequest { uts: NamespaceMode::Host, ..sh() }).as_deref(), Ok("machine"));
    let id = ContainerId::from_bytes([1; 32]);
    let joined = CreateRequest { network: NetworkMode::Container(id), hostname: Some("h".into()), ..sh() };
    assert_eq!(name(joined), Err("conflicting options: hostname and the network mode".into()));
    let both = CreateRequest { hostname: Some("h".into()), uts: NamespaceMode::Host, ..sh() };
    assert_eq!(name(both), Err("conflicting options: hostname and the UTS mode".into()));
    let bad = CreateRequest { hostname: Some("a\nb".into()), ..sh() };
    assert_eq!(name(bad), Err("invalid hostname format: a\\nb".into()));
}

#[test]
fn security() {
    let with = |privileged, seccomp: SeccompChoice| {
        create(CreateRequest { privileged, security: SecurityOptions { seccomp, ..Default::default() }, ..sh() }, None)
    };
    let profile = |json: &str| SeccompChoice::Profile("p.json".into(), json.into());
    let valid = profile(r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#);
    for (privileged, asked, got) in [
        (false, SeccompChoice::Builtin, SeccompChoice::Builtin),
        (true, SeccompChoice::Builtin, SeccompChoice::Unconfined),
        (true, valid.clone(), valid.clone()),
        (false, SeccompChoice::Unconfined, SeccompChoice::Unconfined),
    ] {
        assert_eq!(with(privileged, asked).unwrap().seccomp, got);
    }
    assert!(with(false, profile("{")).unwrap_err().to_string().starts_with("p.json: decoding seccomp profile failed"));
    let caps =
        create(CreateRequest { cap_add: words(&["net_admin"]), cap_drop: words(&["ALL"]), ..sh() }, None).unwrap();
    assert_eq!((caps.capabilities.add, caps.capabilities.drop), (words(&["CAP_NET_ADMIN"]), words(&["ALL"])));
}

#[test]
fn refusals() {
    let error = |request: CreateRequest| create(request, None).unwrap_err().to_string();
    let relative = CreateRequest { workdir: Some("foo".into()), ..sh() };
    assert_eq!(error(relative), "the working directory 'foo' is invalid, it needs to be an absolute path");
    let unknown = CreateRequest { cap_add: words(&["foo"]), ..sh() };
    assert_eq!(error(unknown), "invalid CapAdd: unknown capability: \"CAP_FOO\"");
    let mounts = vec![parse_volume("/a:/x", Path::new("/")).unwrap(), parse_tmpfs("/x").unwrap()];
    assert_eq!(error(CreateRequest { mounts, ..sh() }), "Duplicate mount point: /x");
    assert_eq!(error(CreateRequest { command: words(&["a\0"]), ..Default::default() }), "a\\u{0} holds a NUL byte");

    let mut image = image();
    image.config.stop_signal = "FOO".into();
    let message = create(sh(), Some(&image)).unwrap_err().to_string();
    assert_eq!(message, "the image's stop signal can't be used: invalid signal: FOO");
}

#[test]
fn configs_survive_json() {
    let mounts = vec![parse_volume("/a:/x:ro", Path::new("/")).unwrap(), parse_tmpfs("/t:size=1m").unwrap()];
    let ulimits = vec!["nofile=1:2".parse().unwrap()];
    let config = create(CreateRequest { mounts, ulimits, ..sh() }, Some(&image())).unwrap();
    let json = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<ContainerConfig>(&json).unwrap(), config);
}

#[test]
fn ports_and_settings_of_flags() {
    let request = CreateRequest { exposed_ports: words(&["443/tcp", "80/tcp", "8/udp"]), ..sh() };
    assert_eq!(create(request, Some(&image())).unwrap().exposed_ports, ["8/udp", "80/tcp", "443/tcp"]);

    let with = |key: &str, network: NetworkMode, ipc: NamespaceMode| {
        let sysctls = BTreeMap::from([(key.to_owned(), "1".to_owned())]);
        create(CreateRequest { sysctls, network, ipc, ..sh() }, None).map(|config| config.sysctls.len())
    };
    let (none, host) = (NetworkMode::None, NetworkMode::Host);
    for key in ["net.core.somaxconn", "kernel.shmmax", "fs.mqueue.msg_max"] {
        assert_eq!(with(key, none.clone(), NamespaceMode::Private).unwrap(), 1, "{key}");
        let error = with(key, host.clone(), NamespaceMode::Host).unwrap_err().to_string();
        assert!(error.starts_with(&format!("sysctl '{key}' is not allowed: ")), "{error}");
    }
    for key in ["kernel.hostname", "vm.swappiness", "net..x", "net/core/somaxconn", "fs.mqueue./../x", "net.", ""] {
        let error = with(key, none.clone(), NamespaceMode::Private).unwrap_err().to_string();
        assert_eq!(error, format!("sysctl '{key}' is not allowed"));
    }
}

#[test]
fn published_and_exposed() {
    let ports = crate::spec::port::parse_ports(&words(&["8080:80", "53:53/udp", "90"])).unwrap();
    let publishing = CreateRequest { ports, publish_all: true, exposed_ports: words(&["7/tcp", "9/sctp"]), ..sh() };
    let config = create(publishing.clone(), Some(&image())).unwrap();
    assert_eq!(config.exposed_ports, ["7/tcp", "9/sctp", "53/udp", "80/tcp", "90/tcp"]);
    let shown: Vec<String> = config
        .published()
        .iter()
        .map(|port| format!("{}/{} {:?}", port.container_port, port.protocol, port.host_port))
        .collect();
    assert_eq!(shown, ["80/tcp Fixed(8080)", "53/udp Fixed(53)", "90/tcp Random", "7/tcp Random"]);
    for network in [NetworkMode::Host, NetworkMode::None] {
        let config = create(CreateRequest { network, ..publishing.clone() }, None).unwrap();
        assert_eq!((config.published().len(), config.ports.len()), (0, 3));
    }
    let config = create(CreateRequest { publish_all: false, ..publishing }, Some(&image())).unwrap();
    assert_eq!(config.published(), config.ports);
}

#[test]
fn what_a_shared_network_excludes() {
    let id = ContainerId::from_bytes([1; 32]);
    let link = Link { container: id.clone(), alias: "db".into() };
    let ports = crate::spec::port::parse_ports(&words(&["80"])).unwrap();
    let dns = DnsConfig { search: words(&["x"]), ..DnsConfig::default() };
    let error = |request: CreateRequest, network: NetworkMode| {
        create(CreateRequest { network, command: words(&["sh"]), ..request }, None).unwrap_err().to_string()
    };
    let joined = || NetworkMode::Container(id.clone());
    let linked = CreateRequest { links: vec![link], ..Default::default() };
    let publishing = CreateRequest { ports, ..Default::default() };
    let hosts = vec![("a".to_owned(), "10.0.0.1".to_owned())];
    for (request, text) in [
        (linked.clone(), "container type network can't be used with links. This would result in undefined behavior"),
        (publishing.clone(), "port publishing and the container type network mode"),
        (
            CreateRequest { publish_all: true, ..Default::default() },
            "port publishing and the container type network mode",
        ),
        (CreateRequest { dns, ..Default::default() }, "dns and the network mode"),
        (
            CreateRequest { extra_hosts: hosts.clone(), ..Default::default() },
            "custom host-to-IP mapping and the network mode",
        ),
        (
            CreateRequest { exposed_ports: words(&["80/tcp"]), ..Default::default() },
            "port exposing and the container type network mode",
        ),
    ] {
        assert_eq!(error(request, joined()), format!("conflicting options: {text}"));
    }
    let text =
        "conflicting options: host type networking can't be used with links. This would result in undefined behavior";
    assert_eq!(error(linked, NetworkMode::Host), text);
    let text = "conflicting options: port publishing and a network namespace that is not the container's own";
    assert_eq!(error(publishing, NetworkMode::Path("/x".into())), text);
    let both = CreateRequest { no_hosts: true, extra_hosts: hosts, ..Default::default() };
    assert_eq!(error(both, NetworkMode::default()), "conflicting options: --no-hosts and --add-host");

    let base =
        Base { root: RootSource::Directory("/".into()), image: None, host_name: "machine", donor_name: Some("theirs") };
    let request = CreateRequest { network: joined(), ..sh() };
    let config = resolve(request, base, id.clone(), "web".into(), Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!(config.hostname, "theirs");
}

#[test]
fn a_command_that_is_an_init_boots_a_whole_system() {
    let init = |change: &dyn Fn(&mut CreateRequest)| {
        let mut request = CreateRequest { command: words(&["/sbin/init"]), ..CreateRequest::default() };
        change(&mut request);
        create(request, None)
    };
    let config = init(&|_| {}).unwrap();
    assert_eq!(config.systemd, Some(FullSystem { tmpfs_size: 64 << 20 }));
    assert_eq!(config.stop_signal.to_string(), "SIGRTMIN+3");
    assert_eq!(config.env[2], "container=rbox");
    assert!(config.env[3].starts_with("container_uuid=abababab-"));
    let config = init(&|request| {
        request.environment.changes = vec![EnvChange { name: "container".into(), value: Some("lxc".into()) }];
        request.stop_signal = Some(Signal::TERM);
        request.configured_init = true;
    });
    let config = config.unwrap();
    assert_eq!((config.env[2].as_str(), config.stop_signal, config.init), ("container=lxc", Signal::TERM, false));

    let off: [&dyn Fn(&mut CreateRequest); 4] = [
        &|request| request.systemd = SystemdMode::Never,
        &|request| request.init = true,
        &|request| request.pid = NamespaceMode::Host,
        &|request| request.command = words(&["sh"]),
    ];
    for change in off {
        let config = init(change).unwrap();
        assert!(config.systemd.is_none() && config.stop_signal == Signal::TERM && config.env.len() == 2, "{config:?}");
    }
    let conflicts: [&dyn Fn(&mut CreateRequest); 2] =
        [&|request| request.init = true, &|request| request.pid = NamespaceMode::Host];
    for change in conflicts {
        let error = init(&|request| {
            request.systemd = SystemdMode::Always;
            change(request);
        });
        assert!(error.unwrap_err().to_string().starts_with("conflicting options: --"));
    }
    let always = CreateRequest { systemd: SystemdMode::Always, ..sh() };
    assert!(create(always, None).unwrap().systemd.is_some());
}
