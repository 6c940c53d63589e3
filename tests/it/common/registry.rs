//! Debian's docker-registry on a loopback port, one per test program, and images pushed to it with
//! skopeo when first asked for.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use super::images::{self, Image};
use super::{comes_true, program, scratch, unprivileged};

/// A running registry.
pub struct Registry {
    port: u16,
    directory: PathBuf,
    pushed: Mutex<HashMap<String, ()>>,
    /// When we end, for whatever reason, this closes, and the registry's keeper cleans up.
    _keeper: ChildStdin,
}

/// This test program's registry, started on first use.
pub fn registry() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(Registry::start)
}

/// Runs the registry until its standard input ends, then removes its directory.
const KEEPER: &str = r#"docker-registry serve "$1/config.yml" >"$1/log" 2>&1 & server=$!
cat >/dev/null; kill $server; wait $server; rm -rf "$1""#;

impl Registry {
    /// Starts another one, for tests that need two.
    pub fn start() -> Self {
        unprivileged();
        let attempt = |_| Self::try_start("");
        (0..5).find_map(attempt).expect("docker-registry answers on a free port (is it installed?)")
    }

    /// Starts one that takes nothing.
    pub fn start_read_only() -> Self {
        unprivileged();
        let attempt = |_| Self::try_start("  maintenance:\n    readonly:\n      enabled: true\n");
        (0..5).find_map(attempt).expect("docker-registry answers on a free port (is it installed?)")
    }

    fn try_start(storage: &str) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = scratch().join(format!("rbox-registry-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory for the registry");
        let port = TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?.port();
        let config = format!(
            "version: 0.1\nlog:\n  level: info\nstorage:\n  filesystem:\n    rootdirectory: {}/data\n  delete:\n    \
             enabled: true\n{storage}http:\n  addr: 127.0.0.1:{port}\n",
            directory.display()
        );
        super::write(directory.join("config.yml"), config);
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER, "registry-keeper"]).arg(&directory).current_dir("/");
        keeper.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let keeper = keeper.spawn().ok()?.stdin.take()?;
        let up = comes_true(Duration::from_secs(10), || answers(port));
        up.then(|| Self { port, directory, pushed: Mutex::default(), _keeper: keeper })
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The reference of a name here.
    pub fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.host())
    }

    /// Where it keeps a blob: for tests that damage it.
    pub fn blob_path(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").expect("a digest");
        self.directory.join("data/docker/registry/v2/blobs/sha256").join(&hex[..2]).join(hex).join("data")
    }

    /// The small image, `library/alpine` by name; its reference.
    #[track_caller]
    pub fn small(&self) -> String {
        self.push_once("library/alpine:latest", || vec![images::small()])
    }

    /// The image that mmdebstrap made; None with a printed reason when it cannot be made here.
    pub fn debian(&self) -> Option<String> {
        let tar = images::debian_tar()?;
        Some(self.push_once("library/debian:latest", || vec![images::Image::from_tar(super::images::read_tar(&tar))]))
    }

    /// Pushes an image (or an index of several) under a name unless that was done before; its
    /// reference.
    #[track_caller]
    pub fn push_once(&self, name: &str, make: impl FnOnce() -> Vec<Image>) -> String {
        let mut pushed = self.pushed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !pushed.contains_key(name) {
            self.push(name, &make());
            pushed.insert(name.to_owned(), ());
        }
        self.reference(name)
    }

    /// Pushes an image, or an index of several, as OCI manifests.
    #[track_caller]
    pub fn push(&self, name: &str, content: &[Image]) -> String {
        self.push_as(name, content, "oci")
    }

    /// Pushes with manifests of the given kind: `oci` or `v2s2`.
    #[track_caller]
    pub fn push_as(&self, name: &str, content: &[Image], format: &str) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let layout = self.directory.join(format!("layout-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        images::write_layout(&layout, content);
        self.push_layout(&layout, name, format);
        let _ = std::fs::remove_dir_all(&layout);
        self.reference(name)
    }

    /// Pushes the image tagged `image` of an OCI layout.
    #[track_caller]
    pub fn push_layout(&self, layout: &Path, name: &str, format: &str) {
        let copy = program("skopeo").args(["--insecure-policy", "copy", "-q", "--all", "--dest-tls-verify=false"]);
        let copy = if format == "oci" { copy } else { copy.args(["--format", format]) };
        copy.arg(format!("oci:{}:image", layout.display()))
            .arg(format!("docker://{}/{name}", self.host()))
            .limit(120)
            .ok();
    }

    /// The digest that a tag has here.
    #[track_caller]
    pub fn digest(&self, reference: &str) -> String {
        let (name, tag) = reference.rsplit_once(':').expect("a tag");
        let name = name.strip_prefix(&self.host()).expect("an image of this registry").trim_start_matches('/');
        let mut stream = TcpStream::connect(self.host()).expect("the registry");
        let accept = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
                      application/vnd.docker.distribution.manifest.v2+json, \
                      application/vnd.docker.distribution.manifest.list.v2+json";
        let request = format!("HEAD /v2/{name}/manifests/{tag} HTTP/1.0\r\nHost: x\r\nAccept: {accept}\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("the registry");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the registry");
        let header = answer.lines().find_map(|line| line.strip_prefix("Docker-Content-Digest: "));
        header.unwrap_or_else(|| panic!("no digest of {reference}: {answer}")).trim().to_owned()
    }
}

/// Another registry on the same content, which wants to know who asks.
pub struct Guarded {
    port: u16,
    _keeper: ChildStdin,
}

impl Registry {
    /// Starts it; `guard` is the `auth` section of its configuration, and with `tls` it has the
    /// certificate that the tests' `ca.crt` vouches for, and further lines of that section.
    pub fn guarded(&self, guard: &str, tls: Option<&str>) -> Guarded {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let directory = self.directory.join(format!("guarded-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        std::fs::create_dir_all(&directory).expect("a directory for the registry");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port").port();
        let tls = if let Some(more) = tls {
            super::write(
                directory.join("server.crt"),
                include_bytes!("../../../src/store/registry/testdata/server.crt"),
            );
            super::write(
                directory.join("server.key"),
                include_bytes!("../../../src/store/registry/testdata/server.key"),
            );
            let place = directory.display();
            format!("  tls:\n    certificate: {place}/server.crt\n    key: {place}/server.key\n{more}")
        } else {
            String::new()
        };
        let config = format!(
            "version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {}/data\nhttp:\n  addr: 127.0.0.1:{port}\n{tls}\
             {guard}",
            self.directory.display()
        );
        super::write(directory.join("config.yml"), config);
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEPER, "registry-keeper"]).arg(&directory).current_dir("/");
        keeper.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let keeper = keeper.spawn().ok().and_then(|mut keeper| keeper.stdin.take()).expect("a registry");
        super::wait_until("the guarded registry listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Guarded { port, _keeper: keeper }
    }
}

impl Guarded {
    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

fn answers(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return false };
    let mut answer = String::new();
    stream.write_all(b"GET /v2/ HTTP/1.0\r\nHost: x\r\n\r\n").is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.contains("200 OK")
}
