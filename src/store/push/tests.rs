//! Whole pushes to a scripted registry.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::*;
use crate::store::registry::scripted::{OCI_MANIFEST, Reply, Scripted, Seen, descriptor, impatient, noise};
use crate::store::testing::TestStore;

/// A registry that keeps what is pushed.
#[derive(Default)]
struct Depot {
    blobs: HashMap<String, Vec<u8>>,
    uploads: HashMap<String, Vec<u8>>,
    manifests: HashMap<String, Vec<u8>>,
}

impl Depot {
    fn reply(&mut self, seen: &Seen) -> Reply {
        let (path, query) = seen.path.split_once('?').unwrap_or((&seen.path, ""));
        let last = path.rsplit('/').next().unwrap().to_owned();
        let moved = |count: usize, status| {
            let to = format!("/v2/a/blobs/uploads/{last}?state={count}");
            Reply::new(status, "").with("Location", to).with("Range", format!("0-{}", count.saturating_sub(1)))
        };
        match seen.method.as_str() {
            "HEAD" if path.contains("/blobs/") && self.blobs.contains_key(&last) => Reply::new(200, ""),
            "HEAD" => Reply::new(404, ""),
            "POST" => {
                let id = self.uploads.len().to_string();
                self.uploads.insert(id.clone(), Vec::new());
                Reply::new(202, "").with("Location", format!("/v2/a/blobs/uploads/{id}"))
            }
            "GET" | "PATCH" => {
                let Some(upload) = self.uploads.get_mut(&last) else { return Reply::new(404, "") };
                upload.extend_from_slice(&seen.body);
                let status = if seen.method == "GET" { 204 } else { 202 };
                moved(upload.len(), status)
            }
            "PUT" if path.contains("/manifests/") => {
                self.manifests.insert(last, seen.body.clone());
                Reply::new(201, "")
            }
            "PUT" => {
                let mut upload = self.uploads.remove(&last).unwrap();
                upload.extend_from_slice(&seen.body);
                let digest = query.rsplit("digest=").next().unwrap().replace("%3A", ":");
                if Digest::of(&upload).to_string() != digest {
                    return Reply::new(400, r#"{"errors":[{"code":"DIGEST_INVALID","message":"no"}]}"#);
                }
                self.blobs.insert(digest, upload);
                Reply::new(201, "")
            }
            _ => Reply::new(405, ""),
        }
    }
}

#[derive(Default)]
struct Recorder(Vec<(usize, LayerState)>);

impl Progress for Recorder {
    fn layers(&mut self, _: &[Digest]) {}

    fn layer(&mut self, index: usize, state: &LayerState) {
        self.0.push((index, state.clone()));
    }

    fn retrying(&mut self, _: Duration, _: &str) {}
}

/// An image of uncompressed layers, as `load` leaves it; its manifest.
fn image(store: &Store, layers: &[Vec<u8>]) -> Digest {
    let put = |bytes: &[u8]| store.blobs().put(bytes).unwrap();
    let diff_ids: Vec<Digest> = layers.iter().map(|layer| put(layer)).collect();
    let config = json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}});
    let config = config.to_string().into_bytes();
    put(&config);
    let of = |layer: &Vec<u8>| descriptor("application/vnd.oci.image.layer.v1.tar", layer);
    let manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
        "layers": layers.iter().map(of).collect::<Vec<Value>>(),
        "subject": descriptor(OCI_MANIFEST, b"subject")});
    put(manifest.to_string().as_bytes())
}

struct Bench {
    store: TestStore,
    server: Scripted,
    depot: Arc<Mutex<Depot>>,
}

impl Bench {
    /// `before` may answer in place of the registry.
    fn new(before: impl Fn(&Seen, &mut Depot) -> Option<Reply> + Send + Sync + 'static) -> Self {
        let depot: Arc<Mutex<Depot>> = Arc::default();
        let shared = Arc::clone(&depot);
        let server = Scripted::start(move |seen, _| {
            let mut depot = shared.lock().unwrap();
            before(seen, &mut depot).unwrap_or_else(|| depot.reply(seen))
        });
        Self { store: TestStore::new(), server, depot }
    }

    fn push(&self, image: Digest, options: PushOptions) -> (Result<Pushed, PushError>, Recorder) {
        let to = format!("{}/a:1", self.server.address).parse().unwrap();
        let mut recorder = Recorder::default();
        let options = PushOptions { patience: impatient(), ..options };
        (push(&self.store, image, &to, &options, &mut recorder), recorder)
    }

    fn manifest(&self) -> Value {
        serde_json::from_slice(&self.depot.lock().unwrap().manifests["1"]).unwrap()
    }

    fn methods(&self, part: &str) -> Vec<String> {
        self.server.seen().into_iter().filter(|seen| seen.path.contains(part)).map(|seen| seen.method).collect()
    }
}

/// Nothing is asked for.
fn plainly() -> PushOptions {
    PushOptions::default()
}

/// As if the registry had given the image: then it goes as it is.
fn known(bench: &Bench, image: Digest) {
    let manifest = bench.store.images().manifest(image).unwrap();
    let name: ImageRef = format!("elsewhere.example/a@{image}").parse().unwrap();
    bench.store.images().tag(&name, image, manifest.config.digest).unwrap();
}

#[test]
fn an_image_that_is_known_goes_as_it_is_and_only_once() {
    let bench = Bench::new(|_, _| None);
    let image = image(&bench.store, &[noise(700_000, 1), noise(10, 2), noise(10, 2)]);
    known(&bench, image);
    let (pushed, recorder) = bench.push(image, plainly());
    assert_eq!(pushed.unwrap().digest, image);
    assert!(recorder.0.contains(&(0, LayerState::Pushed)) && recorder.0.contains(&(2, LayerState::AlreadyExists)));
    assert_eq!(bench.server.seen().last().unwrap().path, "/v2/a/manifests/1");
    let name: ImageRef = format!("{}/a@{image}", bench.server.address).parse().unwrap();
    assert!(bench.store.images().by_name(&name).unwrap().is_some(), "it is known to be there");
    let before = bench.methods("uploads").len();
    bench.push(image, plainly()).0.unwrap();
    assert_eq!(bench.methods("uploads").len(), before, "nothing is sent twice");
}

#[test]
fn uncompressed_layers_are_compressed_once() {
    let bench = Bench::new(|_, _| None);
    let image = image(&bench.store, &[b"text ".repeat(100_000), noise(1000, 1)]);
    let pushed = bench.push(image, plainly()).0.unwrap();
    assert_ne!(pushed.digest, image);
    let manifest = bench.manifest();
    assert_eq!(manifest["layers"][0]["mediaType"], "application/vnd.oci.image.layer.v1.tar+gzip");
    assert!(manifest["layers"][0]["size"].as_u64().unwrap() < 10_000 && manifest["subject"].is_object());
    let (again, recorder) = bench.push(image, plainly());
    assert_eq!(again.unwrap(), pushed);
    assert!(!recorder.0.iter().any(|(_, state)| matches!(state, LayerState::Compressing { .. })));
    assert!(recorder.0.contains(&(0, LayerState::AlreadyExists)));
    assert_eq!(std::fs::read_dir(bench.store.path("staging")).unwrap().count(), 0);
    let docker = PushOptions { format: Some(Format::V2s2), ..plainly() };
    bench.push(image, docker).0.unwrap();
    let manifest = bench.manifest();
    assert_eq!(manifest["mediaType"], Format::V2s2.manifest());
    assert_eq!(manifest["layers"][1]["mediaType"], "application/vnd.docker.image.rootfs.diff.tar.gzip");
    assert!(manifest.get("subject").is_none());
}

#[test]
fn a_broken_upload_goes_on_where_it_stopped() {
    let bench = Bench::new(|seen, depot| {
        let first = seen.method == "PUT" && seen.body.len() > 100_000;
        first.then(|| {
            let id = seen.path.split(['/', '?']).nth(5).unwrap();
            depot.uploads.insert(id.to_owned(), seen.body[..100_000].to_vec());
            Reply::new(503, "")
        })
    });
    let content = noise(300_000, 1);
    let image = image(&bench.store, std::slice::from_ref(&content));
    known(&bench, image);
    let (pushed, recorder) = bench.push(image, plainly());
    pushed.unwrap();
    assert!(recorder.0.iter().any(|(_, state)| matches!(state, LayerState::Retrying { .. })));
    let patch = bench.server.seen().into_iter().find(|seen| seen.method == "PATCH").unwrap();
    assert_eq!(patch.header("content-range"), Some("100000-299999"));
    assert_eq!(patch.body.len(), 200_000);
    assert!(bench.depot.lock().unwrap().blobs.contains_key(&Digest::of(&content).to_string()));
}

#[test]
fn a_registry_that_takes_only_pieces_gets_pieces() {
    for status in [413, 405] {
        let bench = Bench::new(move |seen, _| {
            let whole = seen.method == "PUT" && seen.path.contains("blobs") && seen.body.len() > 100_000;
            whole.then(|| Reply::new(status, ""))
        });
        let image = image(&bench.store, &[noise(300_000, 1)]);
        known(&bench, image);
        bench.push(image, plainly()).0.unwrap();
        assert_eq!(bench.methods("uploads").iter().filter(|method| *method == "PATCH").count(), 1);
    }
}

#[test]
fn refusals_are_told() {
    for (status, body, expected) in [
        (405, r#"{"errors":[{"code":"UNSUPPORTED","message":"The operation is unsupported."}]}"#, "it is read-only"),
        (403, "", "push access denied for"),
        (401, "", "authentication required"),
        (404, "<html>", "answered 404"),
        (429, "", "429"),
        (500, "<html>\u{1b}[31m", "500"),
    ] {
        let bench = Bench::new(move |seen, _| (seen.method == "POST").then(|| Reply::new(status, body)));
        let image = image(&bench.store, &[noise(10, 1)]);
        let error = bench.push(image, plainly()).0.unwrap_err().to_string();
        assert!(error.contains(expected) && !error.contains('\u{1b}'), "{status}: {error}");
        assert!(bench.depot.lock().unwrap().manifests.is_empty());
    }
}

#[test]
fn a_blob_that_is_damaged_here_is_refused_by_the_registry() {
    let bench = Bench::new(|_, _| None);
    let image = image(&bench.store, &[noise(1000, 1)]);
    known(&bench, image);
    let path = bench.store.blobs().path(Digest::of(&noise(1000, 1)));
    std::fs::write(&path, noise(1000, 2)).unwrap();
    let error = bench.push(image, plainly()).0.unwrap_err().to_string();
    assert!(error.contains("DIGEST_INVALID") && error.contains("system check"), "{error}");
    std::fs::write(&path, noise(10, 2)).unwrap();
    let error = bench.push(image, plainly()).0.unwrap_err().to_string();
    assert!(error.contains("shorter than its manifest says"), "{error}");
}

#[test]
fn what_another_repository_has_is_mounted() {
    let bench = Bench::new(|seen, _| {
        let there = seen.path.contains("mount=") && seen.path.contains("from=b");
        there.then(|| Reply::new(201, ""))
    });
    let image = image(&bench.store, &[noise(1000, 1)]);
    let config = bench.store.images().manifest(image).unwrap().config.digest;
    let name: ImageRef = format!("{}/b@{image}", bench.server.address).parse().unwrap();
    bench.store.images().tag(&name, image, config).unwrap();
    let (pushed, recorder) = bench.push(image, plainly());
    pushed.unwrap();
    assert!(recorder.0.contains(&(0, LayerState::Mounted("b".to_owned()))));
}

#[test]
fn a_token_that_ends_in_the_middle_is_renewed() {
    let given = AtomicUsize::new(0);
    let bench = Bench::new(move |seen, _| {
        if seen.path.starts_with("/token") {
            let number = given.fetch_add(1, Ordering::Relaxed) + 1;
            return Some(Reply::new(200, format!(r#"{{"token":"t{number}"}}"#)));
        }
        let number = given.load(Ordering::Relaxed);
        let proven = seen.header("authorization") == Some(&format!("Bearer t{number}"));
        let ended = number == 1 && seen.method == "PUT";
        let realm = format!(r#"Bearer realm="http://{}/token""#, seen.header("host").unwrap());
        (!proven || ended).then(|| Reply::new(401, "").with("WWW-Authenticate", realm))
    });
    let image = image(&bench.store, &[noise(300_000, 1)]);
    known(&bench, image);
    bench.push(image, plainly()).0.unwrap();
    let tokens: Vec<String> =
        bench.server.seen().into_iter().filter(|seen| seen.path.starts_with("/token")).map(|seen| seen.path).collect();
    assert_eq!(tokens, ["/token?scope=repository%3Aa%3Apull%2Cpush"; 2]);
}
