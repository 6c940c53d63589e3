use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::Path;

use super::*;
use crate::spec::config::ContainerConfig;
use crate::spec::mount::parse_volume;
use crate::spec::volume::NewVolume;
use crate::store::fs::{Durability, exists};
use crate::store::staging::{self, Cleanup};
use crate::store::testing::{self, TestStore};

fn create(store: &Store, name: &str) -> Volume {
    store.volumes().create(NewVolume::named(name), Durability::Durable, None).unwrap().volume()
}

/// A container with mounts as of `-v`; those without a name get the names `anonN`.
fn container(name: &str, prefix: &str, mounts: &[&str]) -> ContainerConfig {
    let mut config = testing::config(name, prefix);
    config.mounts = mounts.iter().map(|text| parse_volume(text, Path::new("/")).unwrap()).collect();
    let mut count = 0;
    config
        .name_volumes(|| {
            count += 1;
            Ok::<_, ()>(format!("{name}-anon{count}"))
        })
        .unwrap();
    config
}

fn content(store: &Store, name: &str) -> Vec<String> {
    let entries = std::fs::read_dir(store.volumes().data_path(name)).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_volume_is_made_found_and_removed() {
    let store = TestStore::new();
    let volumes = store.volumes();
    let made = create(&store, "data");
    assert_eq!(volumes.get("data").unwrap(), made);
    assert!(matches!(
        volumes.create(NewVolume::named("data"), Durability::Durable, None).unwrap(),
        Created::Existing(volume) if volume == made
    ));
    create(&store, "apples");
    assert_eq!(volumes.names().unwrap(), ["apples", "data"]);
    assert_eq!(volumes.list().unwrap().0.len(), 2);
    std::fs::write(volumes.data_path("data").join("file"), "x").unwrap();
    assert_eq!(volumes.remove("data").unwrap(), Cleanup::Complete);
    assert!(matches!(volumes.get("data"), Err(LookupError::NotFound(_))));
    let error = volumes.remove("data").unwrap_err().to_string();
    assert_eq!(error, "get data: no such volume");
    assert_eq!(staging::count_abandoned(&store).unwrap(), 0);
}

#[test]
fn other_options_are_no_answer() {
    let store = TestStore::new();
    let new =
        NewVolume { options: BTreeMap::from([("type".to_owned(), "tmpfs".to_owned())]), ..NewVolume::named("data") };
    store.volumes().create(new.clone(), Durability::Durable, None).unwrap();
    store.volumes().create(new.clone(), Durability::Durable, None).unwrap();
    store.volumes().create(NewVolume::named("data"), Durability::Durable, None).unwrap();
    let other = NewVolume { options: BTreeMap::from([("o".to_owned(), "nocopy".to_owned())]), ..new };
    let error = store.volumes().create(other, Durability::Durable, None).unwrap_err();
    assert!(matches!(error, CreateError::Conflict(_)), "{error}");
    let bad = store.volumes().create(NewVolume::named("../x"), Durability::Durable, None).unwrap_err();
    assert!(matches!(bad, CreateError::Invalid(_)));
    assert!(!store.volumes().exists("../x") && store.volumes().get("..").is_err());
}

#[test]
fn makers_race_for_one_volume() {
    let store = TestStore::in_memory();
    let made = std::sync::atomic::AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let new = NewVolume::named("data");
                if let Created::New(_) = store.volumes().create(new, Durability::Volatile, None).unwrap() {
                    made.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(made.into_inner(), 1);
    assert_eq!(staging::count_abandoned(&store).unwrap(), 0);
}

#[test]
fn a_volume_in_use_stays_with_its_users_named() {
    let store = TestStore::new();
    create(&store, "data");
    let web = store.containers().create(container("web", "aa", &["data:/a", "data:/b"])).unwrap();
    let db = store.containers().create(container("db", "bb", &["data:/data"])).unwrap();
    let error = store.volumes().remove("data").unwrap_err().to_string();
    // The newest first.
    let (web_id, db_id) = (web.id().clone(), db.id().clone());
    assert!(error.starts_with("remove data: volume is in use - ["), "{error}");
    assert!(error.contains(web_id.as_str()) && error.contains(db_id.as_str()), "{error}");
    assert_eq!(error.matches(", ").count(), 1, "{error}");
    assert_eq!(store.containers().remove(&web_id).unwrap(), Cleanup::Complete);
    let _ = store.containers().remove(&db_id).unwrap();
    assert_eq!(store.volumes().remove("data").unwrap(), Cleanup::Complete);
}

#[test]
fn a_container_that_cannot_be_read_may_use_any_volume() {
    let store = TestStore::new();
    create(&store, "data");
    let web = store.containers().create(testing::config("web", "aa")).unwrap();
    std::fs::write(web.path("config.json"), "{").unwrap();
    assert!(matches!(store.volumes().remove("data"), Err(RemoveError::Unknown { .. })));
    let _ = store.containers().remove(web.id()).unwrap();
    assert_eq!(store.volumes().remove("data").unwrap(), Cleanup::Complete);
}

#[test]
fn only_anonymous_volumes_go_with_their_container() {
    let store = TestStore::new();
    let config = container("web", "aa", &["named:/n", "/anonymous", "/shared"]);
    let other = {
        let mut other = testing::config("db", "bb");
        other.mounts = vec![config.mounts[2].clone()];
        other
    };
    for name in ["named", "web-anon1", "web-anon2"] {
        create(&store, name);
    }
    let web = store.containers().create(config.clone()).unwrap();
    store.containers().create(other).unwrap();
    let _ = store.containers().remove_with_volumes(web.id()).unwrap();
    assert_eq!(store.volumes().names().unwrap(), ["named", "web-anon2"]);
    // Without the wish they stay, but for a --rm container.
    create(&store, "web-anon1");
    let web = store.containers().create(config.clone()).unwrap();
    let _ = store.containers().remove(web.id()).unwrap();
    assert_eq!(store.volumes().names().unwrap(), ["named", "web-anon1", "web-anon2"]);
    let web = store.containers().create(ContainerConfig { auto_remove: true, ..config }).unwrap();
    let _ = store.containers().remove(web.id()).unwrap();
    assert_eq!(store.volumes().names().unwrap(), ["named", "web-anon2"]);
}

#[test]
fn a_sweep_finishes_a_removal_with_volumes() {
    let store = TestStore::new();
    create(&store, "web-anon1");
    let web = store.containers().create(container("web", "aa", &["/anonymous"])).unwrap();
    Parting::wish(web.directory()).unwrap();
    // Killed right after the container was gone.
    std::fs::rename(web.directory(), store.path("staging/0123456789abcdef")).unwrap();
    assert_eq!(staging::sweep(&store).unwrap(), Cleanup::Complete);
    assert!(store.volumes().names().unwrap().is_empty());
    assert_eq!(staging::count_abandoned(&store).unwrap(), 0);
}

/// As the copier would.
fn copy(from: std::os::fd::BorrowedFd<'_>, to: std::os::fd::BorrowedFd<'_>) -> anyhow::Result<()> {
    let options = crate::store::copy::CopyOptions { top: true, ..Default::default() };
    crate::store::copy::copy_tree(from, to, &options, &mut |_| {})?;
    Ok(())
}

#[test]
fn a_volume_is_filled_once_and_only_when_empty() {
    let store = TestStore::new();
    let image = tempfile::tempdir().unwrap();
    std::fs::write(image.path().join("file"), "x").unwrap();
    std::os::unix::fs::symlink("file", image.path().join("link")).unwrap();
    let source = std::fs::File::open(image.path()).unwrap();
    let volumes = store.volumes();
    let fill = |name: &str, from: Option<&std::fs::File>| {
        volumes.fill(name, from.map(AsFd::as_fd), Durability::Volatile, &mut copy).unwrap()
    };
    create(&store, "data");
    assert_eq!(volumes.filled("data"), None);
    assert_eq!(fill("data", None), Filled::Nothing);
    assert_eq!(fill("data", Some(&source)), Filled::Content);
    assert_eq!(content(&store, "data"), ["file", "link"]);
    // Emptied on purpose.
    std::fs::remove_file(volumes.data_path("data").join("file")).unwrap();
    std::fs::remove_file(volumes.data_path("data").join("link")).unwrap();
    assert_eq!(fill("data", Some(&source)), Filled::Content);
    assert!(content(&store, "data").is_empty());

    create(&store, "own");
    std::fs::write(volumes.data_path("own").join("mine"), "x").unwrap();
    assert_eq!(fill("own", Some(&source)), Filled::Content);
    assert_eq!(content(&store, "own"), ["mine"]);

    create(&store, "seen");
    let held = volumes.hold_mounted("seen").unwrap();
    assert_eq!(fill("seen", Some(&source)), Filled::Nothing);
    assert!(content(&store, "seen").is_empty());
    drop(held);
    assert_eq!(fill("seen", Some(&source)), Filled::Content);
    assert_eq!(staging::count_abandoned(&store).unwrap(), 0);
}

#[test]
fn a_failed_copy_leaves_an_empty_volume() {
    let store = TestStore::new();
    create(&store, "data");
    let source = std::fs::File::open("/").unwrap();
    let mut fail = |_: std::os::fd::BorrowedFd<'_>, to: std::os::fd::BorrowedFd<'_>| {
        rustix::fs::mkdirat(to, "half", rustix::fs::Mode::RWXU)?;
        anyhow::bail!("no space")
    };
    let filled = store.volumes().fill("data", Some(source.as_fd()), Durability::Volatile, &mut fail);
    assert_eq!(format!("{:#}", filled.unwrap_err()), "fill volume data: no space");
    assert!(content(&store, "data").is_empty() && store.volumes().filled("data").is_none());
    assert_eq!(staging::count_abandoned(&store).unwrap(), 0);
    assert!(exists(&store.volumes().directory("data")));
}

#[test]
fn a_damaged_record_is_told_and_repaired_without_loss() {
    let store = TestStore::new();
    create(&store, "data");
    create(&store, "other");
    std::fs::write(store.volumes().data_path("data").join("file"), "x").unwrap();
    std::fs::write(store.volumes().directory("data").join(RECORD), "{").unwrap();
    std::fs::remove_dir(store.volumes().data_path("other")).unwrap();
    let (fine, damaged) = store.volumes().list().unwrap();
    assert_eq!((fine.len(), damaged[0].id.as_str()), (1, "data"));
    assert!(matches!(store.volumes().get("data"), Err(LookupError::Damaged { .. })));
    let findings = crate::store::check::check(&store).unwrap();
    let texts: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 2, "{texts:?}");
    assert!(texts[0].starts_with("volume data: volume.json is damaged"), "{texts:?}");
    assert_eq!(texts[1], "volume other: its files are missing");
    store.volumes().reset_record("data", &store.path("quarantine/data.json")).unwrap();
    store.volumes().make_data("other").unwrap();
    assert_eq!(crate::store::check::check(&store).unwrap(), []);
    assert_eq!(content(&store, "data"), ["file"]);
}
