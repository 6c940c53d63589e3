use super::*;
use crate::spec::config::RootSource;
use crate::store::containers::{Container, Status};
use crate::store::testing::{self, TestStore, reference};

fn not_found_text(store: &Store, text: &str) -> String {
    store.images().find(text).unwrap_err().to_string()
}

fn user(store: &Store, image: &testing::TestImage, name: &str) -> Container {
    let mut config = testing::config(name, "a");
    config.root = RootSource::Image { id: image.config, layers: image.chains.clone() };
    store.containers().create(config).unwrap()
}

fn lines(removal: &remove::Removal) -> Vec<String> {
    removal.steps.iter().map(ToString::to_string).collect()
}

#[test]
fn an_image_is_found_by_id_reference_and_prefix() {
    let store = TestStore::new();
    let by_digest = format!("alpine@{}", Digest::of(b"index"));
    let image = testing::image(&store, &["alpine:3", "alpine", &by_digest], &["base", "top"]);
    testing::image(&store, &["other"], &["else"]);
    let id = image.config;
    let found = store.images().find("alpine").unwrap();
    assert_eq!((found.id, found.manifest), (id, image.manifest));
    assert_eq!(found.tags, [reference("alpine:3"), reference("alpine:latest")]);
    assert_eq!(found.digests, [reference(&by_digest)]);
    let texts = [
        id.to_string(),
        id.hex(),
        id.short(),
        format!("sha256:{}", id.short()),
        "docker.io/library/alpine:3".to_owned(),
        format!("alpine:whatever@{}", Digest::of(b"index")),
    ];
    for text in texts {
        assert_eq!(store.images().find(&text).unwrap(), found, "{text}");
    }
    assert_eq!(store.images().layers(id).unwrap(), image.chains);
    assert_eq!(store.images().size(id).unwrap(), 200);
}

#[test]
fn what_is_not_found_is_named_as_docker_names_it() {
    let store = TestStore::new();
    assert_eq!(not_found_text(&store, "x"), "No such image: x:latest");
    assert_eq!(not_found_text(&store, "x:1"), "No such image: x:1");
    let id = Digest::of(b"x").to_string();
    assert_eq!(not_found_text(&store, &id), format!("No such image: {id}"));
    assert_eq!(not_found_text(&store, "UP"), "No such image: UP");
}

#[test]
fn an_ambiguous_prefix_lists_the_candidates() {
    let store = TestStore::in_memory();
    let mut ids: Vec<Digest> =
        (0..40).map(|n| testing::image(&store, &[&format!("i{n}")], &[&n.to_string()]).config).collect();
    ids.sort_unstable();
    let twins = ids.windows(2).find(|pair| pair[0].hex()[..1] == pair[1].hex()[..1]).unwrap();
    let prefix = twins[0].hex()[..1].to_owned();
    match store.images().find(&prefix) {
        Err(LookupError::Ambiguous { candidates, .. }) => assert!(twins.iter().all(|id| candidates.contains(id))),
        other => panic!("{other:?}"),
    }
    let text = not_found_text(&store, &prefix);
    assert!(text.starts_with(&format!("multiple IDs found with provided prefix: {prefix} (")), "{text}");
    assert!(text.contains(&twins[0].short()), "{text}");
}

#[test]
fn a_damaged_record_is_named_and_the_rest_works() {
    let store = TestStore::new();
    testing::image(&store, &["good"], &["a"]);
    let bad = testing::image(&store, &["bad"], &["b"]);
    let path = store.images().path(&reference("bad"));
    for damage in ["", "{", "[]", "\0\0", r#"{"name":"good"}"#] {
        std::fs::write(&path, damage).unwrap();
        let (images, damaged) = store.images().list().unwrap();
        assert_eq!((images.len(), damaged.len()), (1, 1));
        assert_eq!(damaged[0].id, path.file_name().unwrap().to_str().unwrap());
        assert!(matches!(store.images().find("bad"), Err(LookupError::Damaged { .. })));
        assert!(store.images().find("good").is_ok());
    }
    // A record under another's file name would make one name mean two things.
    std::fs::copy(store.images().path(&reference("good")), &path).unwrap();
    assert!(store.images().list().unwrap().1[0].why.contains("it describes docker.io/library/good:latest"));
    store.images().tag(&reference("bad"), bad.manifest, bad.config).unwrap();
    assert!(store.images().find("bad").is_ok());
}

#[test]
fn a_name_for_nothing_is_refused() {
    let store = TestStore::new();
    let image = testing::image(&store, &[], &["a"]);
    let error = store.images().tag(&reference("a"), image.manifest, Digest::of(b"missing")).unwrap_err();
    assert!(format!("{error:#}").contains("is missing from the store"));
    assert!(store.images().list().unwrap().0.is_empty());
}

#[test]
fn removing_one_of_two_tags_keeps_the_image() {
    let store = TestStore::new();
    let image = testing::image(&store, &["a:1", "a:2"], &["base"]);
    let removal = store.images().remove("a:1", false, &[]).unwrap();
    assert_eq!(lines(&removal), ["Untagged: a:1"]);
    assert!(store.layers().contains(image.chains[0]));
}

#[test]
fn removing_the_last_tag_deletes_the_image_and_its_own_layers() {
    let store = TestStore::new();
    let by_digest = format!("a@{}", Digest::of(b"index"));
    let image = testing::image(&store, &["a:1", &by_digest], &["base", "middle", "top"]);
    let other = testing::image(&store, &["b"], &["base"]);
    let removal = store.images().remove("a:1", false, &[]).unwrap();
    let expected = [
        "Untagged: a:1".to_owned(),
        format!("Untagged: {by_digest}"),
        format!("Deleted: {}", image.config),
        format!("Deleted: {}", image.chains[2]),
        format!("Deleted: {}", image.chains[1]),
    ];
    assert_eq!(lines(&removal), expected);
    assert!(!store.blobs().contains(image.manifest) && store.layers().contains(other.chains[0]));
}

#[test]
fn a_used_image_needs_force() {
    let store = TestStore::new();
    let image = testing::image(&store, &["a:1"], &["base"]);
    let containers = [user(&store, &image, "web")];
    let (container, short) = (containers[0].id().short(), image.config.short());
    let error = store.images().remove("a:1", false, &containers).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "conflict: unable to remove repository reference \"a:1\" (must force) - container {container} is using its \
             referenced image {short}"
        )
    );
    let error = store.images().remove(&short, false, &containers).unwrap_err();
    let expected = format!(
        "conflict: unable to delete {short} (must be forced) - image is being used by stopped container {container}"
    );
    assert_eq!(error.to_string(), expected);
    let removal = store.images().remove("a:1", true, &containers).unwrap();
    assert_eq!(lines(&removal), ["Untagged: a:1".to_owned(), format!("Deleted: {}", image.config)]);
    assert!(store.layers().contains(image.chains[0]), "the container still needs it");
}

#[test]
fn a_running_containers_image_is_only_untagged() {
    let store = TestStore::new();
    let image = testing::image(&store, &["a:1"], &["base"]);
    let mut containers = [user(&store, &image, "web")];
    containers[0].state.status = Status::Running;
    let (container, short) = (containers[0].id().short().to_owned(), image.config.short());
    for force in [false, true] {
        let error = store.images().remove(&short, force, &containers).unwrap_err();
        let expected = format!(
            "conflict: unable to delete {short} (cannot be forced) - image is being used by running container {container}"
        );
        assert_eq!(error.to_string(), expected);
    }
    let removal = store.images().remove("a:1", true, &containers).unwrap();
    assert_eq!(lines(&removal), ["Untagged: a:1"]);
    assert!(store.images().find(&short).unwrap().tags.is_empty(), "it stays without a name");
}

#[test]
fn an_image_that_loses_its_last_name_to_another_stays_untagged() {
    let store = TestStore::new();
    let old = testing::image(&store, &["a:1", "a:2"], &["old"]);
    let new = testing::image(&store, &["b"], &["new"]);
    let images = store.images();
    let marks = || images.names().unwrap().0.iter().filter(|record| record.is_untagged()).count();
    images.tag(&reference("a:1"), new.manifest, new.config).unwrap();
    assert_eq!(marks(), 0, "it has another name");
    images.tag(&reference("a:2"), new.manifest, new.config).unwrap();
    assert!(gc::collect(&store).unwrap().blobs.is_empty());
    let found = images.find(&old.config.short()).unwrap();
    assert_eq!((found.id, found.manifest), (old.config, old.manifest));
    assert!(found.tags.is_empty() && found.digests.is_empty());
    assert_eq!(images.list().unwrap().0.len(), 2);
    images.tag(&reference("c"), old.manifest, old.config).unwrap();
    assert_eq!(marks(), 0, "a name replaces the mark");
    let removal = images.remove("c", false, &[]).unwrap();
    assert_eq!(removal.steps[1], Removed::Deleted(old.config));
    assert!(!store.blobs().contains(old.manifest));
}

#[test]
fn an_image_can_be_kept_without_a_name_and_removed_by_id() {
    let store = TestStore::new();
    let image = testing::image(&store, &[], &["base"]);
    let images = store.images();
    images.keep(image.manifest, image.config).unwrap();
    images.keep(image.manifest, image.config).unwrap();
    assert!(gc::collect(&store).unwrap().blobs.is_empty());
    let (all, damaged) = images.list().unwrap();
    assert_eq!((all.len(), damaged.len()), (1, 0));
    assert!(images.find(&format!("untagged.invalid/image@{}", image.config)).is_err(), "its mark is no name");
    assert!(crate::store::check::check(&store).unwrap().is_empty());
    let expected = [image.config, image.chains[0]].map(|digest| format!("Deleted: {digest}"));
    assert_eq!(lines(&images.remove(&image.config.short(), false, &[]).unwrap()), expected);
    assert!(images.list().unwrap().0.is_empty() && store.blobs().list().unwrap().is_empty());
    assert!(images.keep(image.manifest, image.config).is_err(), "its blobs are gone");
}

#[test]
fn stripped_of_its_names_an_image_stays() {
    let store = TestStore::new();
    let image = testing::image(&store, &["a:1", "a:2"], &["base"]);
    let found = store.images().find("a:1").unwrap();
    store.images().strip(&found, &found.tags[..1]).unwrap();
    store.images().strip(&found, &found.tags[1..]).unwrap();
    assert!(gc::collect(&store).unwrap().blobs.is_empty());
    assert!(store.images().find("a:1").is_err());
    assert!(store.images().find(&image.config.hex()).unwrap().tags.is_empty());
}

#[test]
fn an_id_in_several_repositories_needs_force() {
    let store = TestStore::new();
    let image = testing::image(&store, &["a:1", "b:1"], &["base"]);
    let short = image.config.short();
    let error = store.images().remove(&short, false, &[]).unwrap_err();
    let expected =
        format!("conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories");
    assert_eq!(error.to_string(), expected);
    assert_eq!(lines(&store.images().remove(&short, true, &[]).unwrap()).len(), 4);
    assert!(store.images().list().unwrap().0.is_empty() && store.blobs().list().unwrap().is_empty());
}

#[test]
fn two_processes_tag_and_untag_without_losing_a_blob_that_has_a_name() {
    let store = TestStore::new();
    let image = testing::image(&store, &["keep"], &["base"]);
    std::thread::scope(|scope| {
        for worker in 0..2 {
            let (store, image) = (&store, &image);
            scope.spawn(move || {
                let name = format!("w{worker}");
                for _ in 0..50 {
                    store.images().tag(&reference(&name), image.manifest, image.config).unwrap();
                    store.images().remove(&name, false, &[]).unwrap();
                }
            });
        }
    });
    assert_eq!(store.images().find("keep").unwrap().tags.len(), 1);
    assert!(store.layers().contains(image.chains[0]) && store.blobs().contains(image.manifest));
}
