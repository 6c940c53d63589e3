//! Images made for the tests: tar layers written entry by entry, and OCI layouts of them.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::{Value, json};

use super::{program, sha256, write};

/// How a layer is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
}

/// A tar being written. `owned_by`, `at` and `xattr` apply to the next entry only.
pub struct Layer {
    tar: tar::Builder<Vec<u8>>,
    owner: (u64, u64),
    mtime: u64,
    xattrs: Vec<(String, Vec<u8>)>,
}

impl Default for Layer {
    fn default() -> Self {
        Self::new()
    }
}

impl Layer {
    pub fn new() -> Self {
        Self { tar: tar::Builder::new(Vec::new()), owner: (0, 0), mtime: 1_600_000_000, xattrs: Vec::new() }
    }

    pub fn owned_by(mut self, uid: u64, gid: u64) -> Self {
        self.owner = (uid, gid);
        self
    }

    pub fn at(mut self, mtime: u64) -> Self {
        self.mtime = mtime;
        self
    }

    pub fn xattr(mut self, name: &str, value: &[u8]) -> Self {
        self.xattrs.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn directory(self, path: &str, mode: u32) -> Self {
        self.entry(tar::EntryType::Directory, path, mode, b"", None)
    }

    pub fn file(self, path: &str, mode: u32, content: impl AsRef<[u8]>) -> Self {
        self.entry(tar::EntryType::Regular, path, mode, content.as_ref(), None)
    }

    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(tar::EntryType::Symlink, path, 0o777, b"", Some(target))
    }

    pub fn hardlink(self, path: &str, target: &str) -> Self {
        self.entry(tar::EntryType::Link, path, 0o644, b"", Some(target))
    }

    pub fn fifo(self, path: &str) -> Self {
        self.entry(tar::EntryType::Fifo, path, 0o644, b"", None)
    }

    pub fn device(self, path: &str) -> Self {
        self.entry(tar::EntryType::Char, path, 0o666, b"", None)
    }

    /// Says that an upper layer removes `path`.
    pub fn whiteout(self, path: &str) -> Self {
        let (parent, name) = path.rsplit_once('/').map_or((String::new(), path), |(p, n)| (format!("{p}/"), n));
        self.file(&format!("{parent}.wh.{name}"), 0o644, "")
    }

    /// Says that a directory hides what lower layers have in it.
    pub fn opaque(self, path: &str) -> Self {
        self.file(&format!("{path}/.wh..wh..opq"), 0o644, "")
    }

    fn entry(mut self, kind: tar::EntryType, path: &str, mode: u32, content: &[u8], link: Option<&str>) -> Self {
        let extensions: Vec<(String, Vec<u8>)> =
            self.xattrs.drain(..).map(|(name, value)| (format!("SCHILY.xattr.{name}"), value)).collect();
        if !extensions.is_empty() {
            let pairs = extensions.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
            self.tar.append_pax_extensions(pairs).expect("memory");
        }
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(self.owner.0);
        header.set_gid(self.owner.1);
        header.set_mtime(self.mtime);
        header.set_size(content.len() as u64);
        if kind == tar::EntryType::Char {
            header.set_device_major(1).and_then(|()| header.set_device_minor(3)).expect("a GNU header");
        }
        let appended = match link {
            Some(target) => self.tar.append_link(&mut header, path, target),
            None => self.tar.append_data(&mut header, path, content),
        };
        appended.unwrap_or_else(|error| panic!("tar entry {path}: {error}"));
        self.owner = (0, 0);
        self.mtime = 1_600_000_000;
        self
    }

    /// The tar.
    pub fn into_bytes(self) -> Vec<u8> {
        self.tar.into_inner().expect("memory")
    }
}

/// One platform's image.
#[derive(Clone)]
pub struct Image {
    layers: Vec<(Vec<u8>, Compression)>,
    config: Value,
    architecture: String,
}

impl Image {
    /// An image of gzip layers, lowest first, whose command is a shell.
    pub fn new(layers: Vec<Layer>) -> Self {
        Self {
            layers: layers.into_iter().map(|layer| (layer.into_bytes(), Compression::Gzip)).collect(),
            config: json!({"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                           "Cmd": ["/bin/sh"]}),
            architecture: "amd64".to_owned(),
        }
    }

    /// An image of one ready tar.
    pub fn from_tar(tar: Vec<u8>) -> Self {
        Self { layers: vec![(tar, Compression::Gzip)], ..Self::new(Vec::new()) }
    }

    /// The small image with further layers.
    pub fn small_with(layers: Vec<Layer>) -> Self {
        let mut image = small();
        image.layers.extend(Self::new(layers).layers);
        image
    }

    /// Sets keys of the image's configuration.
    pub fn config(mut self, changes: Value) -> Self {
        for (key, value) in changes.as_object().expect("an object") {
            self.config[key] = value.clone();
        }
        self
    }

    /// Compresses all layers so.
    pub fn compressed(mut self, compression: Compression) -> Self {
        self.layers.iter_mut().for_each(|layer| layer.1 = compression);
        self
    }

    pub fn architecture(mut self, architecture: &str) -> Self {
        self.architecture = architecture.to_owned();
        self
    }
}

/// A root directory around busybox, with a few users.
pub fn small() -> Image {
    static SMALL: OnceLock<Image> = OnceLock::new();
    SMALL.get_or_init(|| Image::new(vec![small_layer()])).clone()
}

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbin:x:1:1:bin:/bin:/sbin/nologin\n\
guest:x:405:100:guest:/dev/null:/sbin/nologin\nalice:x:1000:1000:Alice:/home/alice:/bin/sh\n";
const GROUP: &str =
    "root:x:0:root\nbin:x:1:root,bin\nwheel:x:10:root\nusers:x:100:\nalice:x:1000:\nextra:x:2000:alice\n";

fn small_layer() -> Layer {
    let busybox = std::fs::read("/bin/busybox").expect("busybox-static is installed");
    let applets = program("busybox").arg("--list-full").ok();
    let mut layer = Layer::new().directory("./", 0o755);
    for directory in ["bin", "etc", "home", "lib", "sbin", "usr", "usr/bin", "usr/sbin", "usr/lib", "var", "var/tmp"] {
        layer = layer.directory(directory, 0o755);
    }
    layer = layer
        .directory("root", 0o700)
        .directory("tmp", 0o1777)
        .owned_by(1000, 1000)
        .directory("home/alice", 0o700)
        .file("etc/passwd", 0o644, PASSWD)
        .file("etc/group", 0o644, GROUP)
        .file("etc/os-release", 0o644, "ID=small\n")
        .file("etc/plain", 0o644, "not a program\n")
        .file("bin/busybox", 0o755, busybox);
    for applet in applets.lines().filter(|applet| *applet != "bin/busybox") {
        layer = layer.symlink(applet, "/bin/busybox");
    }
    layer
}

/// Writes an OCI layout whose tag `image` is the image, or the index of several.
pub fn write_layout(directory: &Path, images: &[Image]) {
    let blobs = directory.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).expect("a directory of ours");
    write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#);
    let mut manifests: Vec<Value> = images.iter().map(|image| write_image(&blobs, image)).collect();
    if manifests.len() > 1 {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
        manifests = vec![blob(&blobs, INDEX, index.to_string().as_bytes())];
    }
    manifests[0]["annotations"] = json!({"org.opencontainers.image.ref.name": "image"});
    let index = json!({"schemaVersion": 2, "manifests": manifests});
    write(directory.join("index.json"), index.to_string());
}

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

fn write_image(blobs: &Path, image: &Image) -> Value {
    let diff_ids: Vec<String> = image.layers.iter().map(|(tar, _)| format!("sha256:{}", sha256(tar))).collect();
    let config = json!({
        "created": "2024-01-02T03:04:05Z", "architecture": image.architecture, "os": "linux",
        "config": image.config, "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": vec![json!({"created": "2024-01-02T03:04:05Z", "created_by": "made by the tests"}); image.layers.len()],
    });
    let layers: Vec<Value> = image.layers.iter().map(|(tar, how)| compressed_blob(blobs, tar, *how)).collect();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": blob(blobs, CONFIG, config.to_string().as_bytes()), "layers": layers,
    });
    let mut descriptor = blob(blobs, MANIFEST, manifest.to_string().as_bytes());
    descriptor["platform"] = json!({"architecture": image.architecture, "os": "linux"});
    descriptor
}

fn compressed_blob(blobs: &Path, tar: &[u8], compression: Compression) -> Value {
    match compression {
        Compression::None => blob(blobs, LAYER, tar),
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(tar).expect("memory");
            blob(blobs, &format!("{LAYER}+gzip"), &encoder.finish().expect("memory"))
        }
        Compression::Zstd => blob(blobs, &format!("{LAYER}+zstd"), &zstd::encode_all(tar, 1).expect("memory")),
    }
}

fn blob(blobs: &Path, kind: &str, bytes: &[u8]) -> Value {
    let hex = sha256(bytes);
    write(blobs.join(&hex), bytes);
    json!({"mediaType": kind, "digest": format!("sha256:{hex}"), "size": bytes.len()})
}

/// The bytes of a tar file.
pub fn read_tar(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
}

/// A Debian root directory made by mmdebstrap from the mirror apt uses, kept in the user's cache;
/// None, with the reason printed, when it cannot be made here.
pub fn debian_tar() -> Option<PathBuf> {
    static TAR: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match TAR.get_or_init(make_debian) {
        Ok(path) => Some(path.clone()),
        Err(reason) => {
            super::skip(&format!("no Debian image: {reason}"));
            None
        }
    }
}

fn make_debian() -> Result<PathBuf, String> {
    let home = std::env::var_os("HOME").map_or_else(super::scratch, PathBuf::from);
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(|| home.join(".cache"), PathBuf::from);
    let directory = cache.join("rbox-tests");
    let made = directory.join("debian-2.tar");
    if made.exists() {
        return Ok(made);
    }
    std::fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let release = super::read("/etc/os-release");
    let suite = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let suite = suite.ok_or("/etc/os-release names no Debian release")?;
    let partial = directory.join(format!("debian-{}.tmp", std::process::id()));
    let mut command = program("mmdebstrap").args(["--variant=essential", "--mode=unshare", "--format=tar"]);
    // The file list, not the prose; and no device nodes, which need privilege to unpack.
    for excluded in ["man", "doc", "locale", "info", "zoneinfo"] {
        command = command.arg(format!("--dpkgopt=path-exclude=/usr/share/{excluded}/*"));
    }
    let output = command.args(["--skip=output/dev", "--skip=output/mknod", suite]).arg(&partial).limit(400).run();
    if output.code != 0 {
        let _ = std::fs::remove_file(&partial);
        return Err(format!("mmdebstrap: {}", output.err().lines().last().unwrap_or("failed")));
    }
    std::fs::rename(&partial, &made).map_err(|error| error.to_string())?;
    Ok(made)
}
