use serde_json::Value;

use super::*;
use crate::spec::config::{ContainerConfig, NamespaceMode, RootSource};
use crate::spec::mount::{parse_mount, parse_tmpfs, parse_volume};
use crate::store::testing::{self, TestStore};

fn full_config() -> ContainerConfig {
    let here = std::path::Path::new("/");
    ContainerConfig {
        entrypoint: Some(vec!["sh".to_owned(), "-c".to_owned()]),
        cmd: Some(vec!["echo <hi>".to_owned()]),
        labels: [("app".to_owned(), "web".to_owned())].into(),
        mounts: vec![
            parse_volume("/src:/dst:ro", here).unwrap(),
            parse_tmpfs("/t:size=64m").unwrap(),
            parse_mount("type=bind,source=/a,target=/b,readonly", here).unwrap(),
        ],
        exposed_ports: vec!["80/tcp".to_owned()],
        pid: NamespaceMode::Host,
        init: true,
        ..testing::config("web", "abc")
    }
}

fn print(store: &Store, names: &[&str], format: Option<&str>) -> (String, Vec<String>) {
    let mut printer = Printer::new(format, false).unwrap();
    let mut errors = Vec::new();
    for name in names {
        match look_up(store, name, Kind::All, false, false) {
            Ok(object) => errors.extend(printer.add(object).err().map(|error| error.to_string())),
            Err(error) => errors.push(format!("{error:#}")),
        }
    }
    (printer.finish(), errors)
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn a_container_has_dockers_shape() {
    let store = TestStore::new();
    let container = store.containers().create(full_config()).unwrap();
    let (text, errors) = print(&store, &["web"], None);
    assert_eq!(errors, Vec::<String>::new());
    assert!(text.starts_with("[\n    {\n        \"Id\": \"abc") && text.ends_with("    }\n]\n"), "{text}");
    let object = &serde_json::from_str::<Value>(&text).unwrap()[0];
    assert_eq!(keys(object)[..6], ["Id", "Created", "Path", "Args", "State", "Image"]);
    assert_eq!(keys(object)[18..], ["HostConfig", "GraphDriver", "LogLost", "Mounts", "Config", "NetworkSettings"]);
    assert_eq!(
        keys(&object["State"]),
        [
            "Status",
            "Running",
            "Paused",
            "Restarting",
            "OOMKilled",
            "Dead",
            "Pid",
            "ExitCode",
            "Error",
            "StartedAt",
            "FinishedAt"
        ]
    );
    for (pointer, expected) in [
        ("/Path", "\"sh\""),
        ("/Args", r#"["-c","echo <hi>"]"#),
        ("/State/StartedAt", "\"0001-01-01T00:00:00Z\""),
        ("/Name", "\"/web\""),
        ("/HostConfig/Binds", r#"["/src:/dst:ro"]"#),
        ("/HostConfig/Tmpfs", r#"{"/t":"size=64m"}"#),
        ("/HostConfig/Mounts", r#"[{"Type":"bind","Source":"/a","Target":"/b","ReadOnly":true}]"#),
        ("/HostConfig/PidMode", "\"host\""),
        ("/HostConfig/Init", "true"),
        ("/HostConfig/CapAdd", "null"),
        ("/HostConfig/NetworkMode", "\"none\""),
        ("/Mounts/0/Mode", "\"ro\""),
        ("/Mounts/1/RW", "false"),
        ("/Config/ExposedPorts", r#"{"80/tcp":{}}"#),
        ("/Config/StopSignal", "\"SIGTERM\""),
        ("/NetworkSettings/IPAddress", "\"\""),
    ] {
        assert_eq!(object.pointer(pointer).unwrap().to_string(), expected, "{pointer}");
    }
    assert_eq!(object["Mounts"].as_array().unwrap().len(), 2, "docker leaves --tmpfs out");
    assert_eq!(object["LogPath"], container.log_path().unwrap().to_str().unwrap());
    let order = keys(&object["HostConfig"]);
    let place = |key: &str| order.iter().position(|known| *known == key).unwrap();
    for pair in [
        "Binds",
        "NetworkMode",
        "CapAdd",
        "SecurityOpt",
        "Tmpfs",
        "UTSMode",
        "ShmSize",
        "CpuShares",
        "Mounts",
        "MaskedPaths",
        "Init",
    ]
    .windows(2)
    {
        assert!(place(pair[0]) < place(pair[1]), "{pair:?}");
    }
}

#[test]
fn an_image_has_dockers_shape() {
    let store = TestStore::new();
    let image = testing::image(&store, &["busybox:1.29", "quay.io/a/b"], &["base", "top"]);
    let (text, errors) = print(&store, &["busybox:1.29"], None);
    assert_eq!(errors, Vec::<String>::new());
    let object = &serde_json::from_str::<Value>(&text).unwrap()[0];
    assert_eq!(object["Id"], image.config.to_string());
    assert_eq!(object["RepoTags"].to_string(), r#"["busybox:1.29","quay.io/a/b:latest"]"#);
    assert_eq!(object["Config"]["Cmd"].to_string(), r#"["sh"]"#);
    assert_eq!(object["Size"], 200);
    assert_eq!(object["RootFS"]["Layers"].as_array().unwrap().len(), 2);
    assert_eq!(
        keys(object)[7..],
        ["Author", "Config", "Architecture", "Os", "Size", "GraphDriver", "RootFS", "Metadata"]
    );
}

#[test]
fn several_objects_templates_and_misses() {
    let store = TestStore::new();
    store.containers().create(full_config()).unwrap();
    testing::image(&store, &["busybox"], &["base"]);
    assert_eq!(print(&store, &["nope"], None), ("[]\n".to_owned(), vec!["no such object: nope".to_owned()]));
    let (text, errors) = print(&store, &["web", "nope", "busybox"], Some("{{.Id}}"));
    assert_eq!((text.lines().count(), errors.len()), (2, 1));
    assert_eq!(print(&store, &["web"], Some("{{.Name}} {{.State.Running}} {{.State.Pid}}")).0, "/web false 0\n");
    assert_eq!(print(&store, &["web"], Some("{{json .Config.Cmd}}")).0, "[\"echo <hi>\"]\n");
    assert_eq!(print(&store, &["web"], Some("{{range .Mounts}}{{.Destination}} {{end}}")).0, "/dst /b \n");
    assert_eq!(print(&store, &["web"], Some("json")).0.lines().count(), 1);
    let unknown =
        "template parsing error: template: :1:2: executing \"\" at <.Nope>: map has no entry for key \"Nope\"";
    assert_eq!(print(&store, &["web"], Some("{{.Nope}}")), ("\n".to_owned(), vec![unknown.to_owned()]));
    let error = Printer::new(Some("{{.Id"), false).err().unwrap();
    assert_eq!(error.to_string(), "template parsing error: template: :1: unclosed action");
}

#[test]
fn types_restrict_the_search() {
    let store = TestStore::new();
    store.containers().create(full_config()).unwrap();
    testing::image(&store, &["web"], &["base"]);
    let found = |kind| look_up(&store, "web", kind, true, false).unwrap();
    assert!(found(Kind::All).get("State").is_some() && found(Kind::Container).get("SizeRw").is_some());
    assert!(found(Kind::Image).get("RepoTags").is_some());
    let missing = |kind| look_up(&store, "absent", kind, false, false).unwrap_err().to_string();
    assert_eq!(missing(Kind::Container), "No such container: absent");
    assert_eq!(missing(Kind::Image), "No such image: absent:latest");
}

#[test]
fn lower_directories_are_the_roots_parts() {
    let store = TestStore::new();
    let image = testing::image(&store, &["a"], &["base", "top"]);
    let mut config = full_config();
    config.root = RootSource::Image { id: image.config, layers: image.chains.clone() };
    let container = store.containers().create(config).unwrap();
    let object = describe_container(&store, &container, true).unwrap();
    let lower = object["GraphDriver"]["Data"]["LowerDir"].as_str().unwrap().to_owned();
    let path = |chain| store.layers().diff_path(chain).display().to_string();
    assert_eq!(lower, format!("{}:{}", path(image.chains[1]), path(image.chains[0])));
    assert_eq!((object["SizeRw"].as_u64(), object["SizeRootFs"].as_u64()), (Some(0), Some(200)));
    assert_eq!(object["Image"], image.config.to_string());
}
