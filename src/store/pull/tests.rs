//! Whole pulls from a scripted registry into a store, with an unpacker that only hashes.

mod mirrors;

use std::fs::File;
use std::io::Write;
use std::time::Duration;

use rustix::pipe::{PipeFlags, pipe_with};
use tempfile::TempDir;

use super::*;
use crate::store::registry::scripted::{DOCKER_LIST, Fixture, Reply, Scripted, decompress, impatient, noise};

/// Hashes a layer in a thread and writes its content to `diff/content`.
struct Hasher;

impl Unpacker for Hasher {
    fn start(&mut self, job: &UnpackJob) -> io::Result<UnpackStream> {
        let (read, input) = pipe_with(PipeFlags::CLOEXEC)?;
        let (result, answer) = pipe_with(PipeFlags::CLOEXEC)?;
        let job = job.clone();
        std::thread::spawn(move || {
            let outcome = unpack(File::from(read), &job).map_err(|error| error.to_string());
            let _ = writeln!(File::from(answer), "{}", serde_json::to_string(&outcome).unwrap());
        });
        Ok(UnpackStream { input, result })
    }
}

fn unpack(input: File, job: &UnpackJob) -> io::Result<Unpacked> {
    std::fs::create_dir(job.target.join("diff"))?;
    let content = decompress(input, job.compression)?;
    std::fs::write(job.target.join("diff/content"), &content)?;
    Ok(Unpacked { diff_id: Digest::of(&content), size: content.len() as u64, entries: 1, skipped_devices: 0 })
}

#[derive(Default)]
struct Recorder {
    layers: Vec<Digest>,
    states: Vec<(usize, LayerState)>,
    passed_over: Vec<(String, String)>,
}

impl Progress for Recorder {
    fn layers(&mut self, _: &ImageRef, layers: &[Digest]) {
        self.layers = layers.to_vec();
    }

    fn layer(&mut self, index: usize, state: LayerState) {
        self.states.push((index, state));
    }

    fn retrying(&mut self, _: Duration, _: &str) {}

    fn passed_over(&mut self, mirror: &str, reason: &str) {
        self.passed_over.push((mirror.to_owned(), reason.to_owned()));
    }
}

impl Recorder {
    fn has(&self, state: LayerState) -> bool {
        self.states.iter().any(|(_, seen)| *seen == state)
    }
}

fn options() -> PullOptions {
    let platform = Some("linux/amd64".parse().unwrap());
    PullOptions { platform, patience: impatient(), ..PullOptions::default() }
}

struct Bench {
    store: Store,
    _directory: TempDir,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path().join("store"), directory.path().join("run")).unwrap();
        Self { store, _directory: directory }
    }

    fn pull(&self, server: &Scripted, name: &str) -> (Result<Pulled, PullError>, Recorder) {
        self.pull_with(server, name, &impatient())
    }

    fn pull_with(&self, server: &Scripted, name: &str, patience: &Patience) -> (Result<Pulled, PullError>, Recorder) {
        let reference = format!("{}/{name}", server.address).parse().unwrap();
        let options = PullOptions { patience: patience.clone(), ..options() };
        let mut progress = Recorder::default();
        let pulled = pull(&self.store, &reference, &options, &mut Hasher, &mut progress);
        (pulled, progress)
    }

    fn count(&self, directory: &str) -> usize {
        std::fs::read_dir(self.store.path(directory)).map_or(0, Iterator::count)
    }

    /// The content of each unpacked layer.
    fn contents(&self) -> Vec<Vec<u8>> {
        let layers = std::fs::read_dir(self.store.path("layers")).unwrap();
        layers.map(|layer| std::fs::read(layer.unwrap().path().join("diff/content")).unwrap()).collect()
    }

    /// Nothing but `blobs` verified blobs: no layer, staging entry, partial download or name.
    fn assert_clean(&self, blobs: usize) {
        let found = ["layers", "staging", "blobs/partial", "images", "blobs/sha256"].map(|name| self.count(name));
        assert_eq!(found, [0, 0, 0, 0, blobs]);
    }

    /// Leaves a partial download behind, as an interrupted pull does.
    fn leave_partial(&self, blob: &[u8], bytes: &[u8]) {
        let claim = self.store.blobs().try_claim(Digest::of(blob)).unwrap().unwrap();
        claim.ingest().unwrap().write_all(bytes).unwrap();
    }
}

fn honest(fixture: &Fixture) -> Scripted {
    let fixture = fixture.clone();
    Scripted::start(move |seen, _| fixture.reply(seen))
}

fn one_layer(content: &[u8]) -> Fixture {
    one_layer_in(content, Compression::None)
}

fn one_layer_in(content: &[u8], compression: Compression) -> Fixture {
    Fixture::new(&[(content, compression)], false)
}

#[test]
fn an_image_arrives_whole_and_is_not_fetched_twice() {
    for docker in [false, true] {
        let (a, b, c) = (noise(300_000, 1), noise(10, 2), vec![7; 2_000_000]);
        let layers =
            [(&a[..], Compression::Gzip), (&b, Compression::None), (&c, Compression::Zstd), (&a, Compression::Gzip)];
        let mut fixture = Fixture::new(&layers, docker);
        let index = fixture.index(&[("linux", "arm64"), ("linux", "amd64")], true);
        fixture.tag("1", DOCKER_LIST, index.clone());
        let (server, bench) = (honest(&fixture), Bench::new());

        let (pulled, progress) = bench.pull(&server, "library/busy:1");
        let pulled = pulled.unwrap();
        assert_eq!(pulled.config, Digest::of(&fixture.config));
        assert_eq!(pulled.manifest, Digest::of(&fixture.manifest));
        assert_eq!(pulled.resolved, Digest::of(&index));
        assert!(pulled.changed && progress.has(LayerState::PullComplete));
        assert_eq!(progress.layers.len(), 4);
        let mut contents = bench.contents();
        contents.sort_by_key(Vec::len);
        assert_eq!(contents, [b.clone(), a.clone(), a.clone(), c.clone()]);
        let found = ["staging", "blobs/partial", "images", "blobs/sha256"].map(|name| bench.count(name));
        assert_eq!(found, [0, 0, 2, 5]);
        assert_eq!(server.count("/blobs/"), 4, "the doubled layer is fetched once");
        for version in [":1".to_owned(), format!("@{}", pulled.resolved)] {
            let name = format!("{}/library/busy{version}", server.address).parse().unwrap();
            assert_eq!(bench.store.images().by_name(&name).unwrap().unwrap().config, pulled.config);
        }

        let before = server.seen().len();
        let (again, progress) = bench.pull(&server, "library/busy:1");
        assert!(!again.unwrap().changed);
        assert!(progress.states.iter().all(|(_, state)| *state == LayerState::AlreadyExists));
        assert_eq!(server.seen().len(), before + 1, "only the index is asked for");
        assert!(bench.pull(&server, "library/busy:latest").0.unwrap().changed);
    }
}

#[test]
fn a_pull_by_digest_names_no_tag() {
    let fixture = one_layer(b"content");
    let (server, bench) = (honest(&fixture), Bench::new());
    let digest = Digest::of(&fixture.manifest);
    bench.pull(&server, &format!("a:latest@{digest}")).0.unwrap();
    assert_eq!(bench.count("images"), 1);
}

#[test]
fn a_lost_layer_is_unpacked_from_its_blob() {
    let fixture = one_layer(&noise(500_000, 3));
    let (server, bench) = (honest(&fixture), Bench::new());
    bench.pull(&server, "a").0.unwrap();
    std::fs::remove_dir_all(bench.store.path("layers")).unwrap();
    std::fs::create_dir(bench.store.path("layers")).unwrap();
    let before = server.count("/blobs/");
    let (pulled, progress) = bench.pull(&server, "a");
    assert!(!pulled.unwrap().changed);
    assert!(progress.has(LayerState::PullComplete) && !progress.has(LayerState::DownloadComplete));
    assert_eq!((bench.contents(), server.count("/blobs/")), (vec![noise(500_000, 3)], before));
}

#[test]
fn an_interrupted_download_is_resumed() {
    let content = noise(400_000, 4);
    for kept in [1, 200_000, 399_999, 400_000] {
        let (server, bench) = (honest(&one_layer(&content)), Bench::new());
        bench.leave_partial(&content, &content[..kept]);
        bench.pull(&server, "a").0.unwrap();
        assert_eq!(bench.contents(), std::slice::from_ref(&content));
        let digest = Digest::of(&content).to_string();
        let asked: Vec<_> = server.seen().into_iter().filter(|seen| seen.path.ends_with(&digest)).collect();
        let ranges: Vec<_> = asked.iter().map(|seen| seen.range()).collect();
        assert_eq!(ranges, if kept == 400_000 { vec![] } else { vec![Some(kept)] });
    }
}

#[test]
fn broken_connections_continue_where_they_broke() {
    let content = noise(400_000, 5);
    let fixture = one_layer(&content);
    let (bench, digest) = (Bench::new(), Digest::of(&content).to_string());
    let server = Scripted::start(move |seen, before| match before {
        0..=2 if seen.path.ends_with(&digest) => fixture.reply(seen).cut(100_000),
        _ => fixture.reply(seen),
    });
    let (pulled, progress) = bench.pull(&server, "a");
    pulled.unwrap();
    assert_eq!(bench.contents(), [content]);
    assert!(progress.states.iter().any(|(_, state)| matches!(state, LayerState::Retrying { .. })));
    let ranges: Vec<_> = server.seen().iter().filter_map(|seen| seen.range()).collect();
    assert_eq!(ranges, [100_000, 200_000, 300_000]);
}

#[test]
fn ranges_that_are_not_served_right_restart_the_download() {
    type Answer = fn(&[u8], usize) -> Reply;
    let answers: [(&str, Answer); 5] = [
        ("ignored", |content, _| Reply::new(200, content)),
        ("unsatisfiable", |_, _| Reply::new(416, "")),
        ("shifted", |content, from| {
            Reply::new(206, &content[from - 1..]).with("Content-Range", format!("bytes {}-399999/400000", from - 1))
        }),
        ("unnamed", |content, from| Reply::new(206, &content[from..])),
        ("mislabelled", |content, from| {
            Reply::new(206, vec![0; content.len() - from]).with("Content-Range", format!("bytes {from}-399999/400000"))
        }),
    ];
    for (name, answer) in answers {
        let content = noise(400_000, 6);
        let (bench, fixture) = (Bench::new(), one_layer(&content));
        bench.leave_partial(&content, &content[..150_000]);
        let server = Scripted::start({
            let content = content.clone();
            move |seen, _| match seen.range() {
                Some(from) => answer(&content, from),
                None => fixture.reply(seen),
            }
        });
        bench.pull(&server, "a").0.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(bench.contents(), [content], "{name}");
        assert_eq!((bench.count("staging"), bench.count("blobs/partial")), (0, 0), "{name}");
    }
}

#[test]
fn a_damaged_partial_download_is_fetched_anew() {
    let content = noise(400_000, 7);
    for partial in [noise(100_000, 8), noise(500_000, 8), noise(400_000, 8)] {
        let (server, bench) = (honest(&one_layer(&content)), Bench::new());
        bench.leave_partial(&content, &partial);
        bench.pull(&server, "a").0.unwrap();
        assert_eq!(bench.contents(), std::slice::from_ref(&content));
    }
}

#[test]
fn wrong_bytes_are_fetched_once_more_and_leave_nothing() {
    type Answer = fn(Reply, &[u8]) -> Reply;
    let answers: [(&str, Answer); 4] = [
        ("flipped", |_, content| Reply::new(200, [&content[1..], b"x"].concat())),
        ("long", |_, content| Reply::new(200, [content, b"x"].concat())),
        ("short", |_, content| Reply::new(200, &content[1..])),
        ("unannounced", |_, content| Reply::new(200, [content, b"x"].concat()).announcing(None)),
    ];
    for (name, answer) in answers {
        let content = noise(100_000, 9);
        let (bench, fixture, digest) = (Bench::new(), one_layer(&content), Digest::of(&content).to_string());
        let server = Scripted::start({
            let (content, digest) = (content.clone(), digest.clone());
            move |seen, _| {
                if seen.path.ends_with(&digest) { answer(fixture.reply(seen), &content) } else { fixture.reply(seen) }
            }
        });
        let error = bench.pull(&server, "a").0.unwrap_err();
        assert!(error.to_string().contains("arrived wrong"), "{name}: {error}");
        assert_eq!(server.count(&digest), 2, "{name}");
        bench.assert_clean(0);
    }
}

#[test]
fn a_bad_layer_is_refused_though_its_bytes_are_right() {
    let bench = Bench::new();
    let config = serde_json::json!({"architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [Digest::of(b"other").to_string()]}});
    let lying = Fixture::with_config(&[(b"content", Compression::Gzip)], false, &config);
    let error = bench.pull(&honest(&lying), "a").0.unwrap_err();
    assert!(matches!(error, PullError::Content { .. }), "{error}");
    bench.assert_clean(1);

    let mut fixture = Fixture::new(&[(b"content", Compression::None)], false);
    let mut garbage: serde_json::Value = serde_json::from_slice(&fixture.manifest).unwrap();
    garbage["layers"][0]["mediaType"] = "application/vnd.oci.image.layer.v1.tar+gzip".into();
    fixture.tag("latest", fixture.manifest_type, garbage.to_string().into_bytes());
    let (bench, server) = (Bench::new(), honest(&fixture));
    let error = bench.pull(&server, "a").0.unwrap_err();
    assert!(matches!(error, PullError::Unpack { .. }), "{error}");
    bench.assert_clean(1);
}

#[test]
fn a_stalled_download_is_given_up_and_kept() {
    let content = noise(400_000, 10);
    let fixture = one_layer(&content);
    let (bench, digest) = (Bench::new(), Digest::of(&content).to_string());
    let server = Scripted::start(move |seen, _| match seen.path.ends_with(&digest) {
        true => fixture.reply(seen).cut(50_000).lingering(Duration::from_secs(5)),
        false => fixture.reply(seen),
    });
    let patience = Patience { tries: 2, stall: Duration::from_millis(200), ..impatient() };
    let error = bench.pull_with(&server, "a", &patience).0.unwrap_err();
    assert!(error.to_string().contains("fewer than 1024 bytes within 200ms"), "{error}");
    let partial = bench.store.path("blobs/partial").join(Digest::of(&content).hex());
    assert_eq!(std::fs::read(partial).unwrap(), content[..100_000]);
    assert_eq!(bench.count("staging"), 0);
}

#[test]
fn an_expired_token_is_renewed_in_the_middle() {
    let contents: Vec<Vec<u8>> = (0..6).map(|seed| noise(50_000, seed + 20)).collect();
    let layers: Vec<(&[u8], Compression)> = contents.iter().map(|content| (&content[..], Compression::Gzip)).collect();
    let fixture = Fixture::new(&layers, false);
    let uses = std::sync::atomic::AtomicUsize::new(0);
    // The first token is good for four requests.
    let server = Scripted::start(move |seen, _| {
        let issued = u8::from(uses.load(std::sync::atomic::Ordering::SeqCst) >= 4);
        if seen.path.starts_with("/token") {
            return Reply::new(200, format!(r#"{{"token":"t{issued}"}}"#));
        }
        if seen.header("authorization") == Some(&format!("Bearer t{issued}")) {
            uses.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            return fixture.reply(seen);
        }
        let realm = format!(r#"Bearer realm="http://{}/token""#, seen.header("host").unwrap());
        Reply::new(401, "").with("WWW-Authenticate", realm)
    });
    let bench = Bench::new();
    bench.pull(&server, "a").0.unwrap();
    assert_eq!(bench.contents().len(), 6);
    assert!(server.count("/token") >= 2);
}

#[test]
fn two_pulls_of_one_image_share_the_work() {
    let contents: Vec<Vec<u8>> = (0..5).map(|seed| noise(300_000, seed + 30)).collect();
    let layers: Vec<(&[u8], Compression)> = contents.iter().map(|content| (&content[..], Compression::Gzip)).collect();
    let fixture = Fixture::new(&layers, false);
    let (server, bench) = (honest(&fixture), Bench::new());
    std::thread::scope(|scope| {
        let pulls: Vec<_> = (0..3).map(|_| scope.spawn(|| bench.pull(&server, "a").0)).collect();
        pulls.into_iter().for_each(|pull| assert!(pull.join().unwrap().is_ok()));
    });
    assert_eq!(bench.contents().len(), 5);
    for layer in &fixture.layers {
        assert_eq!(server.count(&Digest::of(layer).to_string()), 1);
    }
    assert_eq!((bench.count("staging"), bench.count("blobs/partial")), (0, 0));
}

#[test]
fn a_failure_stops_the_other_layers_and_cleans_up() {
    let (good, missing) = (noise(3_000_000, 40), noise(1000, 41));
    let fixture = Fixture::new(&[(&good, Compression::None), (&missing, Compression::None)], false);
    let digest = Digest::of(&missing).to_string();
    let server = Scripted::start(move |seen, _| match seen.path.ends_with(&digest) {
        true => Reply::new(404, ""),
        false => fixture.reply(seen).lingering(Duration::from_millis(300)),
    });
    let bench = Bench::new();
    let error = bench.pull(&server, "a").0.unwrap_err();
    assert!(error.to_string().contains("is missing from registry 127.0.0.1:"), "{error}");
    assert_eq!((bench.count("images"), bench.count("staging"), bench.count("layers")), (0, 0, 0));
}

#[test]
fn the_same_content_in_another_compression_is_not_fetched() {
    let content = noise(200_000, 5);
    let (zipped, packed) = (one_layer_in(&content, Compression::Gzip), one_layer_in(&content, Compression::Zstd));
    let (first, second, bench) = (honest(&zipped), honest(&packed), Bench::new());
    bench.pull(&first, "a:latest").0.unwrap();
    let (pulled, progress) = bench.pull(&second, "b:latest");
    let pulled = pulled.unwrap();
    assert!(progress.has(LayerState::AlreadyExists) && !progress.has(LayerState::Extracting));
    let layers = bench.store.images().layer_sources(pulled.manifest, pulled.config).unwrap();
    assert!(!bench.store.blobs().contains(layers[0].blob));
    // Nothing is wrong with that, and what serves instead is kept.
    let reference = format!("{}/a:latest", first.address);
    for name in [reference.clone(), format!("{}/a@{}", first.address, Digest::of(&zipped.manifest))] {
        let _ = bench.store.images().untag(&name.parse().unwrap());
    }
    let _ = crate::store::gc::collect(&bench.store).unwrap();
    assert_eq!(crate::store::check::check(&bench.store).unwrap(), []);
    // Who has to hand the image on gets its very bytes, but nothing is extracted.
    let options = PullOptions { every_blob: true, ..options() };
    let (name, mut progress) = (format!("{}/b:latest", second.address).parse().unwrap(), Recorder::default());
    pull(&bench.store, &name, &options, &mut Hasher, &mut progress).unwrap();
    assert!(bench.store.blobs().contains(layers[0].blob) && !progress.has(LayerState::Extracting));
}

#[test]
fn a_lost_blob_is_fetched_and_not_extracted() {
    let fixture = one_layer(&noise(50_000, 6));
    let (server, bench) = (honest(&fixture), Bench::new());
    let pulled = bench.pull(&server, "a:latest").0.unwrap();
    let layers = bench.store.images().layer_sources(pulled.manifest, pulled.config).unwrap();
    std::fs::remove_file(bench.store.blobs().path(layers[0].blob)).unwrap();
    assert_eq!(crate::store::check::check(&bench.store).unwrap().len(), 1);
    let (again, progress) = bench.pull(&server, "a:latest");
    again.unwrap();
    assert!(progress.has(LayerState::PullComplete) && !progress.has(LayerState::Extracting));
    assert_eq!(crate::store::check::check(&bench.store).unwrap(), []);
    assert_eq!(bench.count("staging"), 0);
}
