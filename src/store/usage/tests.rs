use super::*;
use crate::spec::config::RootSource;
use crate::store::gc;
use crate::store::testing::{self, TestStore};

fn du(path: &Path) -> u64 {
    let output = std::process::Command::new("du").args(["-s", "--block-size=1"]).arg(path).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split('\t').next().unwrap().parse().unwrap()
}

fn measured(store: &Store) -> Usage {
    measure(store, &mut |_| panic!("nothing here belongs to a mapped id")).unwrap()
}

#[test]
fn every_block_of_a_store_is_counted_once() {
    let store = TestStore::new();
    assert_eq!(measured(&store).total(), du(store.root()));
    let image = testing::image(&store, &["a:1", "b"], &["base", "top"]);
    testing::image(&store, &["c"], &["base", "other"]);
    let mut config = testing::config("web", "a");
    config.root = RootSource::Image { id: image.config, layers: image.chains.clone() };
    let container = store.containers().create(config).unwrap();
    std::fs::write(container.path("log"), [0; 50_000]).unwrap();
    std::fs::create_dir_all(store.path("staging/left/diff")).unwrap();
    std::fs::create_dir(store.path("blobs/partial")).unwrap();
    std::fs::write(store.path("blobs/partial/x"), [0; 30_000]).unwrap();
    std::fs::write(store.path("blobs/sha256/.temporary"), "x").unwrap();
    std::fs::write(store.path("layers/.odd"), "x").unwrap();
    std::fs::write(store.path("quarantine/bad"), "x").unwrap();
    std::fs::create_dir(store.path("of-a-later-version")).unwrap();
    for _ in 0..2 {
        let usage = measured(&store);
        assert_eq!(usage.total(), du(store.root()));
        assert_eq!((usage.layers.len(), usage.containers.len()), (3, 1));
        assert!(usage.containers[container.id()] > 50_000 && usage.partial > 30_000);
        assert!(usage.staging > 0 && usage.quarantine > 0);
    }
}

#[test]
fn a_layer_that_was_made_again_is_measured_again() {
    let store = TestStore::new();
    let image = testing::image(&store, &["a"], &["base"]);
    let before = measured(&store).layers[&image.chains[0]];
    std::fs::remove_dir_all(store.layers().path(image.chains[0])).unwrap();
    testing::layer(&store, image.chains[0], image.chains[0], image.blobs[0]);
    std::fs::write(store.layers().diff_path(image.chains[0]).join("more"), [0; 40_000]).unwrap();
    assert_ne!(measured(&store).layers[&image.chains[0]], before);
    std::fs::write(store.path("cache/layer-blocks"), "nonsense\n1 2 3\n").unwrap();
    assert_eq!(measured(&store).total(), du(store.root()));
}

#[test]
fn what_images_share_and_what_can_be_freed() {
    let store = TestStore::new();
    let used = testing::image(&store, &["used"], &["base", "top"]);
    let other = testing::image(&store, &["other", "twin"], &["base", "more"]);
    let lost = store.blobs().put(&[1; 20_000]).unwrap();
    let mut config = testing::config("web", "a");
    config.root = RootSource::Image { id: used.config, layers: used.chains.clone() };
    store.containers().create(config).unwrap();
    let (containers, _) = store.containers().list().unwrap();
    let usage = measured(&store);
    let images = usage.by_image(&store, &containers).unwrap();
    let base = usage.layers[&used.chains[0]] + usage.blobs[&used.blobs[0]];
    assert_eq!([images.images[&used.config].shared, images.images[&other.config].shared], [base, base]);
    assert_eq!(images.unreferenced, usage.blobs[&lost]);
    assert_eq!(images.reclaimable, images.images[&other.config].unique() + images.unreferenced);
    let found = store.images().find("other").unwrap();
    let names = image_names(&store, &found).unwrap();
    let before = du(store.root());
    store.images().forget(&found).unwrap();
    let collected = gc::collect(&store).unwrap();
    assert_eq!(collected.bytes + names, images.reclaimable);
    assert_eq!(before - du(store.root()), images.reclaimable);
}
