//! A loopback registry for tests: every reply is a function of the request.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flate2::Compression as Level;
use flate2::write::GzEncoder;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use super::retry::Patience;
use crate::spec::digest::Digest;
use crate::store::unpack::Compression;

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// Waits short enough for tests.
pub fn impatient() -> Patience {
    Patience {
        tries: 4,
        pause: Duration::from_millis(2),
        pause_max: Duration::from_millis(40),
        connect: Duration::from_secs(5),
        answer: Duration::from_secs(5),
        stall: Duration::from_secs(5),
    }
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    /// Path and query.
    pub path: String,
    headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The first byte of a range request.
    pub fn range(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }

    pub fn is_blob(&self) -> bool {
        self.path.contains("/blobs/")
    }
}

/// What is sent back.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// Announced instead of the body's length; None announces nothing.
    length: Option<usize>,
    /// Sleep before the connection is closed, the body being sent.
    linger: Duration,
}

impl Reply {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Self { status, length: Some(body.len()), body, ..Self::default() }
    }

    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Announces the whole body but sends only `count` bytes of it.
    pub fn cut(mut self, count: usize) -> Self {
        self.body.truncate(count);
        self
    }

    pub fn announcing(mut self, length: Option<usize>) -> Self {
        self.length = length;
        self
    }

    pub fn lingering(mut self, pause: Duration) -> Self {
        self.linger = pause;
        self
    }
}

/// A running server; it ends with the test process.
pub struct Scripted {
    /// `127.0.0.1:PORT`.
    pub address: String,
    log: Arc<Mutex<Vec<Seen>>>,
}

impl Scripted {
    /// Serves `script`, which gets the request and how many of the same path came before.
    pub fn start(script: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_with(None, script)
    }

    /// The same behind TLS, with a certificate for 127.0.0.1 signed by `testdata/ca.crt`.
    pub fn start_tls(script: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_with(Some(tls_config()), script)
    }

    fn start_with(
        tls: Option<Arc<ServerConfig>>,
        script: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let log: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (script, shared) = (Arc::new(script), Arc::clone(&log));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (script, log, tls) = (Arc::clone(&script), Arc::clone(&shared), tls.clone());
                std::thread::spawn(move || match tls {
                    None => serve(stream, &log, &*script),
                    Some(config) => {
                        let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
                        serve(&mut stream, &log, &*script);
                        stream.conn.send_close_notify();
                        let _ = stream.flush();
                    }
                });
            }
        });
        Self { address, log }
    }

    /// The requests so far, without the ping that finds the scheme.
    pub fn seen(&self) -> Vec<Seen> {
        self.log.lock().unwrap().iter().filter(|seen| seen.path != "/v2/").cloned().collect()
    }

    /// How many requests had `part` in their path.
    pub fn count(&self, part: &str) -> usize {
        self.seen().iter().filter(|seen| seen.path.contains(part)).count()
    }
}

fn tls_config() -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_slice_iter(include_bytes!("testdata/server.crt"));
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("testdata/server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = builder.with_no_client_auth().with_single_cert(chain.map(Result::unwrap).collect(), key);
    Arc::new(config.unwrap())
}

fn serve(mut stream: impl Read + Write, log: &Mutex<Vec<Seen>>, script: &dyn Fn(&Seen, usize) -> Reply) {
    let Some(seen) = read_request(&mut stream) else { return };
    let before = {
        let mut log = log.lock().unwrap();
        let before = log.iter().filter(|earlier| earlier.path == seen.path).count();
        log.push(seen.clone());
        before
    };
    let reply = if seen.path == "/v2/" { Reply::new(200, "{}") } else { script(&seen, before) };
    let mut head = format!("HTTP/1.1 {} Scripted\r\nConnection: close\r\n", reply.status);
    for (name, value) in &reply.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if let Some(length) = reply.length {
        head.push_str(&format!("Content-Length: {length}\r\n"));
    }
    head.push_str("\r\n");
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&reply.body));
    std::thread::sleep(reply.linger);
}

fn read_request(stream: impl Read) -> Option<Seen> {
    let mut reader = BufReader::new(stream);
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).ok().map(|_| line)
    };
    let first = line()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = HashMap::new();
    loop {
        let line = line()?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Seen { method, path, headers, body })
}

/// An image as a registry holds it.
#[derive(Clone)]
pub struct Fixture {
    pub manifest: Vec<u8>,
    pub manifest_type: &'static str,
    pub config: Vec<u8>,
    /// Compressed layers, bottom first.
    pub layers: Vec<Vec<u8>>,
    /// Further documents and blobs, by digest, and tags.
    pub documents: HashMap<String, (&'static str, Vec<u8>)>,
}

impl Fixture {
    /// An image of `layers`: content and compression. `docker` selects the family of media types.
    pub fn new(layers: &[(&[u8], Compression)], docker: bool) -> Self {
        let diff_ids: Vec<String> = layers.iter().map(|(content, _)| Digest::of(content).to_string()).collect();
        let config =
            json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}});
        Self::with_config(layers, docker, &config)
    }

    pub fn with_config(layers: &[(&[u8], Compression)], docker: bool, config: &Value) -> Self {
        let config = config.to_string().into_bytes();
        let blobs: Vec<Vec<u8>> = layers.iter().map(|(content, compression)| compress(content, *compression)).collect();
        let entries: Vec<Value> = layers
            .iter()
            .zip(&blobs)
            .map(|((_, compression), blob)| descriptor(&layer_type(*compression, docker), blob))
            .collect();
        let (manifest_type, config_type) = match docker {
            true => (DOCKER_MANIFEST, "application/vnd.docker.container.image.v1+json"),
            false => (OCI_MANIFEST, "application/vnd.oci.image.config.v1+json"),
        };
        let manifest = json!({"schemaVersion": 2, "mediaType": manifest_type,
            "config": descriptor(config_type, &config), "layers": entries});
        let manifest = manifest.to_string().into_bytes();
        let mut fixture = Self { manifest, manifest_type, config, layers: blobs, documents: HashMap::new() };
        fixture.tag("latest", manifest_type, fixture.manifest.clone());
        fixture
    }

    /// Offers a document under a tag and its digest.
    pub fn tag(&mut self, tag: &str, media_type: &'static str, body: Vec<u8>) {
        self.documents.insert(Digest::of(&body).to_string(), (media_type, body.clone()));
        self.documents.insert(tag.to_owned(), (media_type, body));
    }

    /// An index whose entry for each platform is this image's manifest.
    pub fn index(&self, platforms: &[(&str, &str)], docker: bool) -> Vec<u8> {
        let entry = |(os, architecture): &(&str, &str)| {
            let mut entry = descriptor(self.manifest_type, &self.manifest);
            entry["platform"] = json!({"os": os, "architecture": architecture});
            entry
        };
        let entries: Vec<Value> = platforms.iter().map(entry).collect();
        let media_type = if docker { DOCKER_LIST } else { OCI_INDEX };
        json!({"schemaVersion": 2, "mediaType": media_type, "manifests": entries}).to_string().into_bytes()
    }

    /// An honest registry's answer.
    pub fn reply(&self, seen: &Seen) -> Reply {
        let path = seen.path.split('?').next().unwrap();
        let name = path.rsplit('/').next().unwrap();
        if path.contains("/manifests/") {
            return match self.documents.get(name) {
                Some((media_type, body)) => Reply::new(200, body.clone()).with("Content-Type", *media_type),
                None => Reply::new(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#),
            };
        }
        let blobs = self.layers.iter().chain([&self.config]);
        let Some(blob) = blobs.into_iter().find(|blob| Digest::of(blob).to_string() == name) else {
            return Reply::new(404, r#"{"errors":[{"code":"BLOB_UNKNOWN","message":"blob unknown"}]}"#);
        };
        match seen.range() {
            Some(from) if from < blob.len() => Reply::new(206, &blob[from..])
                .with("Content-Range", format!("bytes {from}-{}/{}", blob.len() - 1, blob.len())),
            Some(_) => Reply::new(416, ""),
            None => Reply::new(200, blob.clone()),
        }
    }
}

pub fn descriptor(media_type: &str, body: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": Digest::of(body).to_string(), "size": body.len()})
}

fn layer_type(compression: Compression, docker: bool) -> String {
    let (base, joint) = if docker {
        ("application/vnd.docker.image.rootfs.diff.tar", ".")
    } else {
        ("application/vnd.oci.image.layer.v1.tar", "+")
    };
    match compression {
        Compression::None => base.to_owned(),
        Compression::Gzip => format!("{base}{joint}gzip"),
        Compression::Zstd => format!("{base}{joint}zstd"),
    }
}

pub fn compress(content: &[u8], compression: Compression) -> Vec<u8> {
    match compression {
        Compression::None => content.to_vec(),
        Compression::Zstd => zstd::encode_all(content, 1).unwrap(),
        Compression::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Level::fast());
            encoder.write_all(content).unwrap();
            encoder.finish().unwrap()
        }
    }
}

/// Bytes that do not compress, different for each seed.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length);
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
    .take(length)
    .for_each(|byte| bytes.push(byte));
    bytes
}

/// Reads a compressed stream to its end.
pub fn decompress(input: impl Read, compression: Compression) -> std::io::Result<Vec<u8>> {
    let mut content = Vec::new();
    match compression {
        Compression::None => { input }.read_to_end(&mut content)?,
        Compression::Gzip => flate2::read::MultiGzDecoder::new(input).read_to_end(&mut content)?,
        Compression::Zstd => zstd::Decoder::new(input)?.read_to_end(&mut content)?,
    };
    Ok(content)
}
