//! Prints the runtime Specs of a few containers, one JSON document a line, for validation:
//! `cargo run --example runtime-spec | python3 tests/validate_spec.py`.

use std::path::Path;

use anyhow::Result;
use jiff::Timestamp;
use rbox::spec::config::{ContainerId, NamespaceMode, NetworkMode, RootSource};
use rbox::spec::create::{Base, CreateRequest, resolve};
use rbox::spec::mount::{parse_mount, parse_tmpfs, parse_volume};
use rbox::spec::oci::{HostFacts, JoinedNamespaces, runtime_spec};
use rbox::spec::security::{SeccompChoice, SecurityOptions};

fn main() -> Result<()> {
    let facts = HostFacts {
        container_dir: "/store/containers/x".into(),
        root_path: "/store/containers/x/merged".into(),
        uid_map: vec![(0, 0, 1), (1, 1, 65535)],
        gid_map: vec![(0, 0, 1), (1, 1, 65535)],
        joined: JoinedNamespaces { pid: Some("/proc/7/ns/pid".into()), ..JoinedNamespaces::default() },
        nofile: (524_288, 524_288),
        kernel: (6, 1),
        masked: vec!["/sys/devices/system/cpu/cpu0/thermal_throttle".to_owned()],
        ..HostFacts::default()
    };
    for request in requests()? {
        let base =
            Base { root: RootSource::Directory("/".into()), image: None, host_name: "machine", donor_name: None };
        let id = ContainerId::from_bytes([1; 32]);
        let config = resolve(request, base, id, "example".to_owned(), Timestamp::UNIX_EPOCH)?;
        println!("{}", serde_json::to_string(&runtime_spec(&config, &facts)?)?);
    }
    Ok(())
}

fn requests() -> Result<Vec<CreateRequest>> {
    let plain = CreateRequest { command: vec!["sh".to_owned()], tty: true, ..CreateRequest::default() };
    let cwd = Path::new("/");
    let mounts = vec![
        parse_volume("/src:/dst:ro,rslave", cwd)?,
        parse_mount("type=bind,source=/src,target=/other", cwd)?,
        parse_tmpfs("/t:size=1m,mode=1777")?,
    ];
    let profile = r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"name":"read","action":"SCMP_ACT_ALLOW"}]}"#;
    let seccomp = SeccompChoice::Profile("profile.json".into(), profile.to_owned());
    Ok(vec![
        plain.clone(),
        CreateRequest { privileged: true, ..plain.clone() },
        CreateRequest {
            mounts,
            user: Some("1000:1000".to_owned()),
            cap_add: vec!["net_admin".to_owned()],
            ulimits: vec!["core=-1".parse()?, "nproc=5".parse()?],
            security: SecurityOptions { seccomp, no_new_privileges: true, ..SecurityOptions::default() },
            read_only: true,
            ..plain.clone()
        },
        CreateRequest {
            pid: NamespaceMode::Container(ContainerId::from_bytes([2; 32])),
            ipc: NamespaceMode::Host,
            uts: NamespaceMode::Host,
            network: NetworkMode::Host,
            userns_host: true,
            ..plain
        },
    ])
}
