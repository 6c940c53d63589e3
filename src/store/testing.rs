//! What the store's tests share.

use std::collections::BTreeMap;
use std::ops::Deref;

use serde_json::json;
use tempfile::TempDir;

use super::Store;
use super::layers::{LayerRecord, chain_ids};
use super::staging::Staging;
use crate::spec::config::{
    CapabilityChanges, ContainerConfig, ContainerId, Devices, DnsConfig, Environment, NamespaceMode, NetworkMode,
    RootSource,
};
use crate::spec::digest::Digest;
use crate::spec::log::LogConfig;
use crate::spec::reference::ImageRef;
use crate::spec::security::SeccompChoice;
use crate::spec::signal::Signal;

/// A store in a directory that goes away with it.
pub struct TestStore {
    store: Store,
    _directory: TempDir,
}

impl TestStore {
    pub fn new() -> Self {
        Self::of(tempfile::tempdir().unwrap())
    }

    /// On a tmpfs, for tests that make many files.
    pub fn in_memory() -> Self {
        Self::of(tempfile::tempdir_in("/dev/shm").unwrap())
    }

    fn of(directory: TempDir) -> Self {
        let store = Store::open(directory.path().join("store"), directory.path().join("run")).unwrap();
        Self { store, _directory: directory }
    }
}

impl Deref for TestStore {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

/// A parsed reference.
pub fn reference(text: &str) -> ImageRef {
    text.parse().unwrap()
}

/// A container of no image, with an id that begins with `prefix`.
pub fn config(name: &str, prefix: &str) -> ContainerConfig {
    let fill = Digest::of(name.as_bytes()).hex();
    let id: ContainerId = format!("{prefix}{}", &fill[prefix.len()..]).parse().unwrap();
    ContainerConfig {
        hostname: id.short().to_owned(),
        id,
        name: name.to_owned(),
        created: "2026-01-02T03:04:05.000000000Z".to_owned(),
        image: "rootfs:/".to_owned(),
        root: RootSource::Directory("/".into()),
        platform: "linux/amd64".to_owned(),
        entrypoint: None,
        cmd: Some(vec!["true".to_owned()]),
        env: vec!["PATH=/bin".to_owned()],
        environment: Environment::default(),
        working_dir: String::new(),
        user: String::new(),
        tty: false,
        open_stdin: false,
        attach: [false; 3],
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        sysctls: BTreeMap::new(),
        exposed_ports: Vec::new(),
        volumes: Vec::new(),
        stop_signal: Signal::default(),
        stop_timeout: None,
        mounts: Vec::new(),
        capabilities: CapabilityChanges::default(),
        privileged: false,
        no_new_privileges: false,
        seccomp: SeccompChoice::Builtin,
        security_opt: Vec::new(),
        read_only: false,
        init: false,
        systemd: None,
        auto_remove: false,
        ephemeral: false,
        build: false,
        shm_size: 64 << 20,
        ulimits: Vec::new(),
        host_ulimits: false,
        pid: NamespaceMode::Private,
        ipc: NamespaceMode::Private,
        uts: NamespaceMode::Private,
        network: NetworkMode::None,
        log: LogConfig::default(),
        userns_host: false,
        identity: crate::spec::identity::Identity::default(),
        cidfile: None,
        extra_hosts: Vec::new(),
        no_hosts: false,
        dns: DnsConfig::default(),
        ports: Vec::new(),
        publish_all: false,
        links: Vec::new(),
        storage: Default::default(),
        devices: Devices::default(),
        secrets: Vec::new(),
        credentials: Vec::new(),
        create_command: None,
        restart: Default::default(),
        health: None,
        notify: Default::default(),
        lifetime: Default::default(),
        limits: crate::spec::limits::Limits::default(),
    }
}

/// An image in the store, whose layers' blobs are plain text.
pub struct TestImage {
    pub manifest: Digest,
    pub config: Digest,
    pub blobs: Vec<Digest>,
    pub chains: Vec<Digest>,
}

/// Puts blobs and layers into the store and names the image; the layer texts are its identity.
pub fn image(store: &Store, names: &[&str], layers: &[&str]) -> TestImage {
    let diff_ids: Vec<Digest> = layers.iter().map(|text| Digest::of(text.as_bytes())).collect();
    let blobs: Vec<Digest> = layers.iter().map(|text| store.blobs().put(text.as_bytes()).unwrap()).collect();
    let config = json!({"architecture": "amd64", "os": "linux", "created": "2026-01-01T00:00:00Z",
        "config": {"Cmd": ["sh"]}, "rootfs": {"type": "layers", "diff_ids": diff_ids}});
    let config = store.blobs().put(config.to_string().as_bytes()).unwrap();
    let descriptors: Vec<_> = blobs
        .iter()
        .zip(layers)
        .map(|(digest, text)| json!({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": text.len()}))
        .collect();
    let manifest = json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 1},
        "layers": descriptors});
    let manifest = store.blobs().put(manifest.to_string().as_bytes()).unwrap();
    let chains = chain_ids(&diff_ids);
    for ((chain_id, diff_id), blob) in chains.iter().zip(&diff_ids).zip(&blobs) {
        layer(store, *chain_id, *diff_id, *blob);
    }
    for name in names {
        store.images().tag(&reference(name), manifest, config).unwrap();
    }
    TestImage { manifest, config, blobs, chains }
}

/// Commits a layer of one file and 100 bytes.
pub fn layer(store: &Store, chain_id: Digest, diff_id: Digest, blob: Digest) {
    let staged = Staging::create(store).unwrap();
    std::fs::create_dir(staged.path().join("diff")).unwrap();
    std::fs::write(staged.path().join("diff/file"), "x").unwrap();
    store.layers().commit(staged, &LayerRecord { chain_id, diff_id, blob, size: 100, entries: 1 }).unwrap();
}
