use super::*;
use crate::spec::config::{ContainerConfig, RootSource};
use crate::spec::network::{Attachment, NetworkMode};
use crate::spec::port::{HostPort, PortMapping, Protocol, PublishedPort};
use crate::store::containers::{State, Status};
use crate::store::testing::{self, TestStore};

const NOW: &str = "2026-01-02T03:09:05Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn print(store: &Store, args: &Args) -> Result<String> {
    let format = Format::parse(&args.template())?;
    let (rows, damaged) = rows(args, &format, store, now())?;
    assert_eq!(damaged, Vec::<String>::new());
    let mut out = Vec::new();
    format.write(&mut out, LISTING, &rows, false)?;
    Ok(String::from_utf8(out)?)
}

fn names(store: &Store, filters: &[&str]) -> Result<String> {
    let filter = filters.iter().map(|filter| filter.parse()).collect::<Result<_, _>>()?;
    let args = Args { all: true, filter, format: Some("{{.Names}}".to_owned()), last: -1, ..Args::default() };
    Ok(print(store, &args)?.split_whitespace().collect::<Vec<_>>().join(" "))
}

fn store() -> TestStore {
    let store = TestStore::new();
    let image = testing::image(&store, &["docker.io/library/busybox:1.29"], &["base"]);
    let web = ContainerConfig {
        entrypoint: Some(vec!["docker-entrypoint.sh".to_owned()]),
        cmd: Some(vec!["nginx -g".to_owned()]),
        image: "busybox:1.29".to_owned(),
        root: RootSource::Image { id: image.config, layers: image.chains },
        labels: [("app".to_owned(), "web".to_owned()), ("tier".to_owned(), "front".to_owned())].into(),
        exposed_ports: vec!["80/tcp".to_owned()],
        ..testing::config("web", "aaa")
    };
    store.containers().create(web).unwrap();
    let db = ContainerConfig {
        created: "2026-01-02T03:04:06Z".to_owned(),
        network: NetworkMode::Networks(vec![Attachment::to("front"), Attachment::to("back")]),
        ports: vec![PortMapping {
            host_ip: None,
            host_port: HostPort::Fixed(8080),
            container_port: 80,
            protocol: Protocol::Tcp,
        }],
        ..testing::config("db", "bbb")
    };
    let mut db = store.containers().create(db).unwrap();
    db.update_state(|state| {
        *state = State {
            status: Status::Exited,
            exit_code: 3,
            finished_at: Some("2026-01-02T03:05:05Z".parse().unwrap()),
            ..State::created()
        };
    })
    .unwrap();
    store
}

#[test]
fn the_table_of_docker() {
    let store = store();
    let args = Args { all: true, last: -1, ..Args::default() };
    let text = print(&store, &args).unwrap();
    let ids: Vec<String> =
        ["db", "web"].iter().map(|name| store.containers().find(name).unwrap().id().short().to_owned()).collect();
    assert_eq!(
        text,
        format!(
            "CONTAINER ID   IMAGE          COMMAND                  CREATED         STATUS                     PORTS     NAMES\n\
             {}   rootfs:/       \"true\"                   4 minutes ago   Exited (3) 4 minutes ago             db\n\
             {}   busybox:1.29   \"docker-entrypoint.s…\"   5 minutes ago   Created                              web\n",
            ids[0], ids[1]
        )
    );
    assert_eq!(print(&store, &Args { last: -1, ..Args::default() }).unwrap().lines().count(), 1, "none runs");
    assert_eq!(
        print(&store, &Args { quiet: true, latest: true, last: -1, ..Args::default() }).unwrap(),
        format!("{}\n", ids[0])
    );
    let full = print(&store, &Args { quiet: true, no_trunc: true, all: true, last: -1, ..Args::default() }).unwrap();
    assert!(full.lines().all(|line| line.len() == 64));
    let sized = print(&store, &Args { size: true, last: 5, ..Args::default() }).unwrap();
    assert!(sized.contains("SIZE") && sized.contains("0B (virtual 100B)"), "{sized}");
}

#[test]
fn ports_and_networks_of_what_runs() {
    let store = store();
    let show = |container: &Container| {
        let row = row::row(container, "x", None, false, now());
        format!("{}|{}", row.text("Ports").unwrap(), row.text("Networks").unwrap())
    };
    let mut db = store.containers().find("db").unwrap();
    let port = |host_ip: &str| PublishedPort {
        container_port: 80,
        protocol: Protocol::Tcp,
        host_ip: host_ip.parse().unwrap(),
        host_port: 8080,
    };
    db.state.ports = vec![port("0.0.0.0"), port("::")];
    db.config.exposed_ports = vec!["80/tcp".to_owned(), "443/tcp".to_owned()];
    assert_eq!(show(&db), "|front,back", "it does not run");
    db.state.status = Status::Running;
    assert_eq!(show(&db), "443/tcp, 0.0.0.0:8080->80/tcp, [::]:8080->80/tcp|front,back");
    db.state.ports.clear();
    for (mode, shown) in [
        (NetworkMode::None, "|none"),
        (NetworkMode::Host, "|host"),
        (NetworkMode::Container(db.config.id.clone()), "|"),
        (NetworkMode::default(), "80/tcp, 443/tcp|bridge"),
    ] {
        db.config.network = mode;
        assert_eq!(show(&db), shown);
    }
}

#[test]
fn states_read_as_in_docker() {
    let at = |text: &str| Some(text.parse().unwrap());
    let state = |status, exit_code, started_at, finished_at| State {
        status,
        exit_code,
        started_at,
        finished_at,
        ..State::created()
    };
    for (state, expected) in [
        (state(Status::Created, 0, None, None), "Created"),
        (state(Status::Running, 0, at("2026-01-02T03:04:05Z"), None), "Up 5 minutes"),
        (state(Status::Exited, 0, None, at("2025-12-25T03:09:05Z")), "Exited (0) 8 days ago"),
        (state(Status::Exited, 137, at("2026-01-02T03:04:05Z"), None), "Exited (137)"),
    ] {
        assert_eq!(row::status(&state, None, now()), expected);
    }
}

#[test]
fn json_has_dockers_keys_sorted() {
    let store = store();
    let args = Args { all: true, last: 1, format: Some("json".to_owned()), ..Args::default() };
    let line = print(&store, &args).unwrap();
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    let keys: Vec<&String> = value.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "Command",
            "CreatedAt",
            "ID",
            "Image",
            "Labels",
            "LocalVolumes",
            "Mounts",
            "Names",
            "Networks",
            "Platform",
            "Ports",
            "RunningFor",
            "Size",
            "State",
            "Status"
        ]
    );
    assert_eq!((value["State"].as_str(), value["Command"].as_str()), (Some("exited"), Some("\"true\"")));
}

#[test]
fn filters_choose() {
    let store = store();
    let web = store.containers().find("web").unwrap().config.id;
    let id = format!("id={}", web.short());
    for (filters, expected) in [
        (&[][..], "db web"),
        (&["status=exited"], "db"),
        (&["status=exited", "status=created"], "db web"),
        (&["status=exited", "name=web"], ""),
        (&["name=^/we"], "web"),
        (&["name=b$"], "db web"),
        (&["name=("], ""),
        (&["label=app", "label=tier=front"], "web"),
        (&["label=app=db"], ""),
        (&["exited=3"], "db"),
        (&["exited=0"], ""),
        (&[&id], "web"),
        (&["ancestor=busybox:1.29"], "web"),
        (&["ancestor=absent"], ""),
        (&["before=db"], "web"),
        (&["since=web"], "db"),
        (&["network=none"], "web"),
        (&["expose=80"], "web"),
        (&["expose=70-90/tcp"], "web"),
        (&["expose=80/udp"], ""),
        (&["publish=80"], "db"),
        (&["publish=79-81/tcp"], "db"),
        (&["publish=8080"], ""),
        (&["publish=80/udp"], ""),
        (&["network=front"], "db"),
        (&["network=front", "network=none"], "db web"),
        (&["network=bridge"], ""),
        (&["health=none"], "db web"),
        (&["health=healthy"], ""),
        (&["is-task=true"], ""),
        (&["isolation=default", "restart-policy=no"], "db web"),
        (&["restart-policy=always"], ""),
        (&["label!=tier"], "db"),
        (&["command=docker-entrypoint.sh"], "web"),
        (&["command=docker"], ""),
        (&["until=2026-01-02T03:04:06Z"], "web"),
    ] {
        assert_eq!(names(&store, filters).unwrap(), expected, "{filters:?}");
    }
    for (filters, expected) in [
        (
            ["bogus=1"],
            "invalid filter 'bogus': use one of ancestor, before, command, exited, expose, health, id, is-task, \
             isolation, label, label!, name, network, publish, restart-policy, should-start-on-boot, since, status, \
             until, volume",
        ),
        (
            ["status=foo"],
            "invalid filter 'status=foo': invalid value for state (foo): must be one of created, running, paused, \
             restarting, removing, exited, dead",
        ),
        (["since=absent"], "No such container: absent"),
        (["until=x"], "invalid filter 'until=x': failed to parse value as time or duration: \"x\""),
        (["exited=x"], "invalid filter 'exited=x': not a number"),
        (["publish=1/x"], "invalid filter 'publish=1/x': invalid proto: x"),
        (["expose=9-1"], "invalid filter 'expose=9-1': invalid port range: 9-1"),
        (["nothing"], "bad format of filter (expected name=value)"),
    ] {
        assert_eq!(names(&store, &filters).unwrap_err().to_string(), expected);
    }
}

#[test]
fn fields_of_podman_and_orders() {
    let store = store();
    let show = |format: &str, sort: Sort| {
        let args = Args { all: true, last: -1, format: Some(format.to_owned()), sort, ..Args::default() };
        print(&store, &args).unwrap().replace('\n', ";")
    };
    assert_eq!(show("{{.Names}} {{.ExitCode}} {{.Exited}} {{.Pid}}", Sort::Created), "db 3 true 0;web 0 false 0;");
    assert_eq!(show("{{.ExitedAt}}|{{.StartedAt}}|{{.ExposedPorts}}", Sort::Created), "1767323105||;||80/tcp;");
    assert_eq!(show("table {{.Names}} {{.Restarts}}", Sort::Id), "NAMES RESTARTS;web 0;db 0;");
    for (sort, expected) in [
        (Sort::Created, "db;web;"),
        (Sort::Names, "db;web;"),
        (Sort::Image, "web;db;"),
        (Sort::Command, "web;db;"),
        (Sort::Status, "web;db;"),
        (Sort::Size, "db;web;"),
    ] {
        assert_eq!(show("{{.Names}}", sort), expected, "{sort:?}");
    }
}

#[test]
fn an_image_that_lost_its_name_is_shown_by_id() {
    let store = store();
    let image = testing::image(&store, &["busybox:1.29"], &["newer"]);
    let id = store.containers().find("web").unwrap().image_id().unwrap();
    assert_ne!(id, image.config);
    let args = Args { all: true, last: -1, format: Some("{{.Image}}".to_owned()), ..Args::default() };
    assert_eq!(print(&store, &args).unwrap(), format!("rootfs:/\n{}\n", id.short()));
}
