use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::store::testing::TestStore;

fn payload(text: &str) -> Payload {
    Payload::new(text.into()).unwrap()
}

fn create(store: &Store, name: &str, text: &str) -> Secret {
    store.secrets().create(name, &payload(text), BTreeMap::new(), false).unwrap()
}

fn read(store: &Store, name: &str) -> String {
    String::from_utf8(store.secrets().read(name).unwrap().1.as_bytes().to_vec()).unwrap()
}

#[test]
fn a_secret_is_made_found_and_removed() {
    let store = TestStore::new();
    let secret = create(&store, "a b", "x");
    let other = create(&store, "..", "y");
    assert_eq!(secret.id.len(), 25);
    for text in ["a b", &secret.id, &secret.id[..20]] {
        assert_eq!(read(&store, text), "x", "{text}");
    }
    assert_eq!(read(&store, ".."), "y");
    let names: Vec<String> = store.secrets().list().unwrap().0.into_iter().map(|secret| secret.name).collect();
    assert_eq!(names, ["..", "a b"]);
    let directory = store.path("secrets").join(hex("a b"));
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(
        [mode(&directory), mode(&directory.join(PAYLOAD)), mode(&directory.join(RECORD))],
        [0o700, 0o600, 0o600]
    );
    let record = std::fs::read_to_string(directory.join(RECORD)).unwrap();
    assert!(!record.contains("\"x\""), "{record}");
    store.secrets().remove(&secret).unwrap();
    store.secrets().remove(&other).unwrap();
    assert!(matches!(store.secrets().find("a b"), Err(LookupError::NotFound(_))));
    assert!(matches!(store.secrets().remove(&secret), Err(LookupError::NotFound(_))));
    for directory in ["secrets", "staging"] {
        assert_eq!(std::fs::read_dir(store.path(directory)).unwrap().count(), 0);
    }
}

#[test]
fn a_name_is_taken_once_and_replaced_when_asked() {
    let store = TestStore::new();
    let first = create(&store, "s", "one");
    let again = store.secrets().create("s", &payload("two"), BTreeMap::new(), false).unwrap_err();
    assert_eq!(again.to_string(), "s: secret name in use");
    assert_eq!(read(&store, "s"), "one");
    let second = store.secrets().create("s", &payload("two"), BTreeMap::new(), true).unwrap();
    assert_eq!((read(&store, "s"), &second.created), ("two".to_owned(), &first.created));
    assert_ne!((&first.id, &first.updated), (&second.id, &second.updated));
    assert_eq!(std::fs::read_dir(store.path("staging")).unwrap().count(), 0);
}

#[test]
fn readers_see_the_old_or_the_new() {
    let store = TestStore::new();
    create(&store, "s", "0");
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for round in 0..100 {
                store.secrets().create("s", &payload(&round.to_string()), BTreeMap::new(), true).unwrap();
            }
        });
        while !writer.is_finished() {
            read(&store, "s");
            assert_eq!(store.secrets().list().unwrap().0.len(), 1);
        }
    });
}

#[test]
fn damage_is_told() {
    let store = TestStore::new();
    create(&store, "s", "x");
    std::fs::write(store.path("secrets").join(hex("s")).join(RECORD), "").unwrap();
    let (secrets, damaged) = store.secrets().list().unwrap();
    assert_eq!((secrets.len(), damaged.len()), (0, 1));
    assert!(store.secrets().find("s").unwrap_err().to_string().contains("cannot be used: secret.json is damaged"));
    store.secrets().remove_damaged("s").unwrap();
    create(&store, "s", "x");
    std::fs::remove_file(store.path("secrets").join(hex("s")).join(PAYLOAD)).unwrap();
    assert!(store.secrets().read("s").unwrap_err().to_string().contains("its payload"));
}

#[test]
fn sizes() {
    assert!(Payload::new(Vec::new()).is_err());
    assert!(Payload::new(vec![0; SIZE_LIMIT - 1]).is_ok());
    assert!(Payload::new(vec![0; SIZE_LIMIT]).is_err());
    assert!(Payload::read(std::io::repeat(1)).unwrap().is_err());
    assert_eq!(format!("{:?}", payload("token")), "Payload(5 bytes)");
}
