use super::*;
use crate::spec::config::ContainerId;
use crate::spec::create::CreateRequest;
use crate::spec::create::tests::{create, image, words};
use crate::spec::mount::{parse_mount, parse_tmpfs, parse_volume};
use crate::spec::security::SecurityOptions;
use serde_json::{Value, json};
use std::path::Path;

fn facts() -> HostFacts {
    HostFacts {
        container_dir: "/store/containers/x".into(),
        root_path: "/store/containers/x/merged".into(),
        uid_map: vec![(0, 0, 1), (1, 1, 65535)],
        gid_map: vec![(0, 0, 1), (1, 1, 65535)],
        nofile: (2048, 4096),
        kernel: (6, 1),
        masked: vec!["/sys/devices/system/cpu/cpu0/thermal_throttle".into()],
        ..HostFacts::default()
    }
}

fn request() -> CreateRequest {
    CreateRequest { image: "busybox".into(), command: words(&["sh", "-c", "true"]), ..Default::default() }
}

fn spec(request: CreateRequest, facts: &HostFacts) -> Value {
    let config = create(request, Some(&image())).unwrap();
    serde_json::to_value(runtime_spec(&config, facts).unwrap()).unwrap()
}

fn sorted(value: &Value) -> Vec<String> {
    let mut texts: Vec<String> =
        value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect();
    texts.sort();
    texts
}

fn sorted_names(names: &[&str]) -> Vec<String> {
    let mut names = words(names);
    names.sort();
    names
}

fn mount_at<'a>(spec: &'a Value, target: &str) -> Option<&'a Value> {
    spec["mounts"].as_array().unwrap().iter().find(|mount| mount["destination"] == target)
}

/// `type: options` of a mount.
fn summary(spec: &Value, target: &str) -> String {
    let mount = mount_at(spec, target).unwrap();
    format!("{}: {}", mount["type"].as_str().unwrap(), words_of(&mount["options"]).join(","))
}

fn words_of(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect()
}

fn namespaces_of(spec: &Value) -> Vec<&str> {
    spec["linux"]["namespaces"].as_array().unwrap().iter().map(|ns| ns["type"].as_str().unwrap()).collect()
}

#[test]
fn an_ordinary_container() {
    let spec = spec(CreateRequest { user: Some(String::new()), tty: true, ..request() }, &facts());
    assert_eq!(spec["ociVersion"], "1.2.0");
    assert_eq!(spec["root"], json!({"path": "/store/containers/x/merged", "readonly": false}));
    assert_eq!(spec["hostname"], "abababababab");
    let process = &spec["process"];
    assert_eq!(process["user"], json!({"uid": 0, "gid": 0, "umask": 18}));
    assert_eq!(process["args"], json!(["/entry", "-x", "sh", "-c", "true"]));
    assert_eq!((&process["terminal"], &process["cwd"]), (&json!(true), &json!("/work")));
    assert_eq!(process["noNewPrivileges"], false);
    for set in ["bounding", "effective", "permitted"] {
        assert_eq!(sorted(&process["capabilities"][set]), sorted_names(&caps::DEFAULT), "{set}");
    }
    assert_eq!(
        (&process["capabilities"]["inheritable"], &process["capabilities"]["ambient"]),
        (&json!([]), &json!([]))
    );
    let limits = json!([
        {"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 4096}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
    ]);
    assert_eq!(process["rlimits"], limits);
    let linux = &spec["linux"];
    assert_eq!(namespaces_of(&spec), ["user", "pid", "ipc", "uts", "network", "mount", "cgroup"]);
    assert_eq!(linux["uidMappings"][1], json!({"containerID": 1, "hostID": 1, "size": 65535}));
    assert_eq!(linux["gidMappings"].as_array().unwrap().len(), 2);
    assert_eq!(linux["maskedPaths"].as_array().unwrap().len(), MASKED_PATHS.len() + 1);
    assert_eq!(linux["readonlyPaths"], json!(READONLY_PATHS));
    assert_eq!(linux["seccomp"]["defaultErrnoRet"], 38);
    for absent in ["resources", "devices"] {
        assert_eq!(linux.get(absent), None, "{absent}");
    }
}

#[test]
fn mounts_in_order() {
    let at = |text: &str| parse_volume(text, Path::new("/")).unwrap();
    let strict = "type=bind,src=/s,dst=/b/strict,ro,bind-recursive=readonly,bind-propagation=rprivate";
    let mounts = vec![
        at("/src:/b/c:ro"),
        parse_tmpfs("/t:size=1m,ro").unwrap(),
        at("/src:/b:bind,rslave,noexec"),
        parse_mount(strict, Path::new("/")).unwrap(),
    ];
    let spec = spec(CreateRequest { mounts, ..request() }, &facts());
    let targets: Vec<&str> =
        spec["mounts"].as_array().unwrap().iter().map(|mount| mount["destination"].as_str().unwrap()).collect();
    let expected = [
        "/proc",
        "/dev",
        "/dev/pts",
        "/dev/shm",
        "/dev/mqueue",
        "/sys",
        "/sys/fs/cgroup",
        "/etc/resolv.conf",
        "/etc/hostname",
        "/etc/hosts",
        "/t",
        "/b",
        "/b/c",
        "/b/strict",
    ];
    assert_eq!(targets, expected);
    for (target, expected) in [
        ("/proc", "proc: nosuid,noexec,nodev"),
        ("/dev/shm", "tmpfs: nosuid,noexec,nodev,mode=1777,size=67108864"),
        ("/sys", "sysfs: nosuid,noexec,nodev,ro"),
        ("/sys/fs/cgroup", "cgroup2: ro,nosuid,noexec,nodev"),
        ("/t", "tmpfs: nosuid,nodev,noexec,size=1m,ro"),
        ("/b", "bind: bind,slave,rw,noexec"),
        ("/b/c", "bind: rbind,rprivate,ro,rro"),
        ("/b/strict", "bind: rbind,rprivate,rro"),
    ] {
        assert_eq!(summary(&spec, target), expected, "{target}");
    }
    assert_eq!(mount_at(&spec, "/etc/hosts").unwrap()["source"], "/store/containers/x/hosts");
}

#[test]
fn a_mount_of_the_user_replaces_ours() {
    let at = |text: &str| parse_volume(text, Path::new("/")).unwrap();
    let replaced = spec(CreateRequest { mounts: vec![at("/h:/etc/hosts")], ..request() }, &facts());
    assert_eq!(mount_at(&replaced, "/etc/hosts").unwrap()["source"], "/h");
    let replaced = spec(CreateRequest { mounts: vec![at("/dev:/dev")], ..request() }, &facts());
    assert_eq!(mount_at(&replaced, "/dev").unwrap()["source"], "/dev");
    assert_eq!(mount_at(&replaced, "/dev/pts"), None);
}

#[test]
fn users_and_capabilities() {
    let of = |user: &str, add: &[&str]| {
        let made = spec(CreateRequest { user: Some(user.into()), cap_add: words(add), ..request() }, &facts());
        made["process"].clone()
    };
    for (user, uid, gid) in [
        ("1000", 1000, 0),
        ("1000:1001", 1000, 1001),
        ("0:5", 0, 5),
        ("www", 0, 0),
        ("1000:www", 0, 0),
        ("4294967296", 0, 0),
    ] {
        let process = of(user, &[]);
        assert_eq!((&process["user"]["uid"], &process["user"]["gid"]), (&json!(uid), &json!(gid)), "{user}");
        let held = process["capabilities"]["effective"].as_array().unwrap().len();
        assert_eq!(held, if uid == 0 { 14 } else { 0 }, "{user}");
    }
    let sets = &of("1000", &["net_admin"])["capabilities"];
    for set in ["effective", "permitted", "inheritable", "ambient"] {
        assert_eq!(sets[set], json!(["CAP_NET_ADMIN"]), "{set}");
    }
    assert_eq!(sets["bounding"].as_array().unwrap().len(), 15);
    let all = of("", &["all"]);
    assert_eq!(sorted(&all["capabilities"]["bounding"]), sorted_names(&caps::NAMES));
}

#[test]
fn privileged() {
    let made = spec(CreateRequest { privileged: true, ..request() }, &facts());
    assert_eq!(made["process"]["capabilities"]["bounding"].as_array().unwrap().len(), 41);
    for absent in ["maskedPaths", "readonlyPaths", "seccomp"] {
        assert_eq!(made["linux"].get(absent), None, "{absent}");
    }
    assert_eq!(summary(&made, "/sys"), "sysfs: nosuid,noexec,nodev,rw");
    assert_eq!(summary(&made, "/sys/fs/cgroup"), "cgroup2: rw,nosuid,noexec,nodev");
}

#[test]
fn shared_namespaces() {
    let id = ContainerId::from_bytes([1; 32]);
    let host = CreateRequest {
        pid: NamespaceMode::Host,
        ipc: NamespaceMode::Host,
        uts: NamespaceMode::Host,
        network: NetworkMode::Host,
        userns_host: true,
        ..request()
    };
    let made = spec(host, &facts());
    assert_eq!(namespaces_of(&made), ["mount", "cgroup"]);
    assert_eq!((made.get("hostname"), made["linux"].get("uidMappings")), (None, None));
    assert_eq!(made["linux"].get("sysctl"), None);
    assert_eq!(summary(&made, "/proc"), "bind: rbind,rprivate,nosuid,noexec,nodev");
    assert_eq!(mount_at(&made, "/dev/shm").unwrap()["type"], "bind");

    let joins = CreateRequest { pid: NamespaceMode::Container(id.clone()), ipc: NamespaceMode::None, ..request() };
    let joined = JoinedNamespaces { pid: Some("/proc/7/ns/pid".into()), ..JoinedNamespaces::default() };
    let made = spec(joins, &HostFacts { joined, ..facts() });
    assert_eq!(made["linux"]["namespaces"][1], json!({"type": "pid", "path": "/proc/7/ns/pid"}));
    assert_eq!(mount_at(&made, "/dev/shm"), None);
}

#[test]
fn limits_and_profiles() {
    let ulimits = ["core=-1", "nofile=10:20", "nproc=5"].iter().map(|text| text.parse().unwrap()).collect();
    let made = spec(CreateRequest { ulimits, ..request() }, &facts());
    let limits = json!([
        {"type": "RLIMIT_CORE", "soft": u64::MAX, "hard": u64::MAX}, {"type": "RLIMIT_NOFILE", "soft": 10, "hard": 20},
        {"type": "RLIMIT_NPROC", "soft": 5, "hard": 5},
    ]);
    assert_eq!(made["process"]["rlimits"], limits);
    for name in crate::spec::ulimit::NAMES {
        assert!(rlimit(name, 0, 0).is_ok(), "{name}");
    }
    let seccomp = SeccompChoice::Profile("p".into(), r#"{"defaultAction":"SCMP_ACT_LOG"}"#.into());
    let security = SecurityOptions { seccomp, no_new_privileges: true, ..Default::default() };
    let made = spec(CreateRequest { security, ..request() }, &facts());
    assert_eq!(made["linux"]["seccomp"]["defaultAction"], "SCMP_ACT_LOG");
    assert_eq!(made["process"]["noNewPrivileges"], true);
}

#[test]
fn specs_survive_json() {
    let config = create(request(), Some(&image())).unwrap();
    let spec = runtime_spec(&config, &facts()).unwrap();
    let json = serde_json::to_string(&spec).unwrap();
    assert_eq!(serde_json::from_str::<Spec>(&json).unwrap(), spec);
}

#[test]
fn a_whole_system_gets_what_systemd_needs() {
    let mut booted = request();
    booted.command = words(&["/usr/lib/systemd/systemd"]);
    booted.entrypoint = Some(String::new());
    booted.mounts = vec![parse_tmpfs("/tmp:size=1g").unwrap()];
    booted.systemd_tmpfs_size = Some(1 << 20);
    let booted = spec(booted, &facts());
    assert_eq!(summary(&booted, "/sys/fs/cgroup"), "cgroup2: rw,nosuid,noexec,nodev");
    assert_eq!(summary(&booted, "/run"), "tmpfs: nosuid,nodev,mode=755,size=1048576");
    for target in ["/run/lock", "/var/log/journal"] {
        assert!(mount_at(&booted, target).is_some(), "{target}");
    }
    assert!(summary(&booted, "/tmp").contains("size=1g"), "the user's own");
    let limits: Vec<&str> =
        booted["process"]["rlimits"].as_array().unwrap().iter().map(|limit| limit["type"].as_str().unwrap()).collect();
    assert_eq!(limits, ["RLIMIT_NOFILE"]);
    let uevents = |spec: &Value| {
        let calls = spec["linux"]["seccomp"]["syscalls"].as_array().unwrap();
        let is = |call: &&Value| call["names"] == json!(["socket"]) && call["args"][1]["value"] == 15;
        calls.iter().find(is).map(|call| call["action"].clone())
    };
    assert_eq!(uevents(&booted), Some(json!("SCMP_ACT_ALLOW")));
    let plain = spec(request(), &facts());
    assert_eq!(summary(&plain, "/sys/fs/cgroup"), "cgroup2: ro,nosuid,noexec,nodev");
    assert!(mount_at(&plain, "/run").is_none());
    assert_ne!(uevents(&plain), Some(json!("SCMP_ACT_ALLOW")));
}
