use std::io::Write;
use std::os::fd::OwnedFd;

use super::*;
use crate::spec::config::RootSource;
use crate::store::lock::AliveLock;
use crate::store::pull::{UnpackJob, UnpackStream, Unpacked, Unpacker};
use crate::store::testing::{self, TestStore, reference};

/// Unpacks in a thread: the whole layer becomes one file.
#[derive(Default)]
struct FakeUnpacker {
    answer: Option<&'static str>,
}

impl Unpacker for FakeUnpacker {
    fn start(&mut self, job: &UnpackJob) -> std::io::Result<UnpackStream> {
        let (input, feed) = std::io::pipe()?;
        let (result, mut answer) = std::io::pipe()?;
        let (target, fixed) = (job.target.clone(), self.answer);
        std::thread::spawn(move || {
            if let Some(fixed) = fixed {
                return answer.write_all(fixed.as_bytes()).unwrap();
            }
            let bytes = std::io::read_to_string(input).unwrap();
            std::fs::create_dir(target.join("diff")).unwrap();
            std::fs::write(target.join("diff/file"), &bytes).unwrap();
            let diff_id = Digest::of(bytes.as_bytes());
            let unpacked = Unpacked { diff_id, size: bytes.len() as u64, entries: 1, skipped_devices: 0 };
            serde_json::to_writer(&mut answer, &Ok::<_, String>(unpacked)).unwrap();
        });
        Ok(UnpackStream { input: OwnedFd::from(feed), result: OwnedFd::from(result) })
    }
}

fn repair_all(store: &Store) -> Vec<String> {
    let findings = check(store).unwrap();
    let repairs = repair(store, findings, &mut FakeUnpacker::default(), RepairOptions::default());
    repairs.into_iter().map(|repair| repair.outcome.unwrap_or_else(|error| format!("error: {error:#}"))).collect()
}

fn shown(store: &Store) -> Vec<String> {
    check(store).unwrap().iter().map(ToString::to_string).collect()
}

fn store_with_user() -> (TestStore, testing::TestImage, ContainerId) {
    let store = TestStore::new();
    let image = testing::image(&store, &["alpine:3"], &["base", "top"]);
    let mut config = testing::config("web", "a");
    config.root = RootSource::Image { id: image.config, layers: image.chains.clone() };
    let id = store.containers().create(config).unwrap().id().clone();
    (store, image, id)
}

#[test]
fn a_sound_store_has_no_findings() {
    let (store, ..) = store_with_user();
    assert!(shown(&store).is_empty());
}

#[test]
fn a_corrupt_blob_is_named_and_removed() {
    let (store, image, _) = store_with_user();
    std::fs::write(store.blobs().path(image.blobs[1]), "tOp").unwrap();
    let expected = format!("blob {} is corrupt: its content is {}", image.blobs[1], Digest::of(b"tOp"));
    assert_eq!(shown(&store), [expected]);
    assert_eq!(repair_all(&store), ["removed: pull the images that need it again"]);
    assert_eq!(shown(&store), [format!("blob {} of image alpine:3 is missing", image.blobs[1])]);
    assert_eq!(repair_all(&store), ["error: pull the image again"]);
    store.blobs().put(b"top").unwrap();
    assert!(shown(&store).is_empty());
}

#[test]
fn a_corrupt_manifest_is_found_once_and_stops_nothing() {
    let (store, image, _) = store_with_user();
    std::fs::write(store.blobs().path(image.manifest), "{}").unwrap();
    assert_eq!(check(&store).unwrap().len(), 1);
    std::fs::remove_file(store.blobs().path(image.manifest)).unwrap();
    assert_eq!(shown(&store), [format!("blob {} of image alpine:3 is missing", image.manifest)]);
}

#[test]
fn a_missing_or_damaged_layer_is_extracted_again() {
    let (store, image, _) = store_with_user();
    let directory = |at: usize| store.path("layers").join(image.chains[at].hex());
    std::fs::remove_dir_all(directory(0)).unwrap();
    std::fs::remove_dir_all(directory(1).join("diff")).unwrap();
    let expected = [
        format!("layer {} of image alpine:3: it is missing", image.chains[0]),
        format!("layer {} of image alpine:3: its files are missing", image.chains[1]),
    ];
    assert_eq!(shown(&store), expected);
    assert_eq!(repair_all(&store), ["extracted again", "extracted again"]);
    assert!(shown(&store).is_empty());
    assert_eq!(std::fs::read_to_string(store.layers().diff_path(image.chains[1]).join("file")).unwrap(), "top");
    std::fs::write(directory(0).join("layer.json"), "{").unwrap();
    assert_eq!(repair_all(&store), ["extracted again"]);
    assert!(shown(&store).is_empty());
}

#[test]
fn an_unpacker_that_fails_leaves_the_layer_missing() {
    let (store, image, _) = store_with_user();
    std::fs::remove_dir_all(store.path("layers").join(image.chains[0].hex())).unwrap();
    for (answer, expected) in [
        ("", "the unpacking process died"),
        (r#"{"Err":"bad\u001b tar"}"#, "unpack the layer: bad\\u{1b} tar"),
        (
            &format!(r#"{{"Ok":{{"diff_id":"{}","size":1,"entries":1,"skipped_devices":0}}}}"#, image.config),
            "unpacks to",
        ),
    ] {
        let mut unpacker = FakeUnpacker { answer: Some(answer.to_owned().leak()) };
        let repairs = repair(&store, check(&store).unwrap(), &mut unpacker, RepairOptions::default());
        let error = repairs[0].outcome.as_ref().unwrap_err();
        assert!(format!("{error:#}").contains(expected), "{error:#}");
        assert_eq!(check(&store).unwrap().len(), 1);
    }
}

#[test]
fn a_layer_under_a_running_container_is_not_replaced() {
    let (store, image, id) = store_with_user();
    let mut web = store.containers().get(&id).unwrap();
    let _alive = web.take_alive().unwrap().unwrap();
    web.update_state(|state| {
        state.status = containers::Status::Running;
        state.boot_id = containers::boot_id().to_owned();
    })
    .unwrap();
    std::fs::write(store.path("layers").join(image.chains[0].hex()).join("layer.json"), "").unwrap();
    let outcome = repair_all(&store);
    assert!(outcome[0].contains(&format!("in use by running container {}", id.short())), "{outcome:?}");
}

#[test]
fn a_layer_without_an_image_cannot_be_extracted() {
    let (store, image, id) = store_with_user();
    store.images().untag(&reference("alpine:3")).unwrap();
    std::fs::remove_dir_all(store.path("layers").join(image.chains[1].hex())).unwrap();
    assert_eq!(shown(&store), [format!("layer {} of container {}: it is missing", image.chains[1], id.short())]);
    assert_eq!(repair_all(&store), ["error: no image in the store has this layer: pull the image again"]);
}

#[test]
fn bad_records_are_moved_to_quarantine() {
    let (store, _, id) = store_with_user();
    let other = store.containers().create(testing::config("db", "b")).unwrap();
    testing::image(&store, &["bad"], &["base"]);
    let record = store.path("images").join(format!("{}.json", Digest::of(b"docker.io/library/bad:latest").hex()));
    std::fs::write(record, "{").unwrap();
    std::fs::write(store.containers().directory(&id).join("config.json"), "").unwrap();
    std::fs::write(other.path("state.json"), "\0\0").unwrap();
    assert_eq!(check(&store).unwrap().len(), 3);
    let outcomes = repair_all(&store);
    assert!(outcomes.iter().all(|outcome| outcome.starts_with("moved to quarantine/")), "{outcomes:?}");
    assert!(shown(&store).is_empty());
    let kept = std::fs::read_dir(store.path("quarantine")).unwrap().count();
    let db = store.containers().find("db").unwrap();
    assert_eq!((kept, db.status(), db.state.exit_code), (3, containers::Status::Exited, 137));
    assert!(store.containers().find("web").is_err());
}

#[test]
fn a_running_container_is_not_moved() {
    let store = TestStore::new();
    let web = store.containers().create(testing::config("web", "a")).unwrap();
    let alive = AliveLock::try_acquire(&web.path("alive")).unwrap().unwrap();
    std::fs::write(web.path("config.json"), "{").unwrap();
    assert_eq!(repair_all(&store), ["error: it is running: stop it first"]);
    drop(alive);
    assert!(repair_all(&store)[0].starts_with("moved to quarantine/"));
}

#[test]
fn names_and_staging_are_put_right() {
    let (store, _, id) = store_with_user();
    std::fs::remove_file(store.path("names/web")).unwrap();
    std::os::unix::fs::symlink("0".repeat(64), store.path("names/gone")).unwrap();
    std::fs::create_dir(store.path("staging/0123456789abcdef")).unwrap();
    let expected = [
        format!("container {id} is not found by its name web"),
        "container name gone leads to no container".to_owned(),
        "1 unfinished operations were left in staging".to_owned(),
    ];
    assert_eq!(shown(&store), expected);
    assert_eq!(repair_all(&store), ["recorded again", "removed", "removed"]);
    assert!(shown(&store).is_empty());
}

#[test]
fn a_damaged_network_is_set_aside() {
    let store = TestStore::new();
    let nothing = || Ok(Vec::new());
    store.networks().bridge(&nothing).unwrap();
    assert!(shown(&store).is_empty());
    std::fs::write(store.path("networks/bridge.json"), "").unwrap();
    assert_eq!(shown(&store), ["network bridge: bridge.json is damaged: it is empty"]);
    assert!(repair_all(&store)[0].starts_with("moved to quarantine/bridge.json."));
    assert!(shown(&store).is_empty());
    store.networks().bridge(&nothing).unwrap();
}

#[test]
fn a_damaged_manifest_list_is_set_aside() {
    let store = TestStore::new();
    std::fs::create_dir(store.path("lists")).unwrap();
    std::fs::write(store.path("lists/bad.json"), "").unwrap();
    assert_eq!(shown(&store), ["manifest list record bad.json: bad.json is damaged: it is empty"]);
    assert!(repair_all(&store)[0].starts_with("moved to quarantine/bad.json."));
    assert!(shown(&store).is_empty());
}

#[test]
fn a_damaged_secret_is_set_aside() {
    let store = TestStore::new();
    let payload = crate::store::secrets::Payload::new(b"x".to_vec()).unwrap();
    store.secrets().create("s", &payload, Default::default(), false).unwrap();
    let hex = Digest::of(b"s").hex();
    std::fs::write(store.path(format!("secrets/{hex}/secret.json")), "{").unwrap();
    assert!(shown(&store)[0].starts_with(&format!("secret {hex}: secret.json is damaged: ")));
    repair_all(&store);
    assert!(shown(&store).is_empty());
    store.secrets().create("s", &payload, Default::default(), false).unwrap();
}
