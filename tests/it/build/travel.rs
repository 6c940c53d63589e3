//! Caches that travel: from one store to another by a directory, a registry, the image itself.

use std::path::{Path, PathBuf};

use super::{bench, build, cached, context};
use crate::common::registry::registry;
use crate::common::{Bench, names_in, program, read, write};
use serde_json::Value;

/// Its result is another one each time it is really run.
const DOCKERFILE: &str = "FROM base AS tools\nRUN cat /proc/sys/kernel/random/uuid >/tool\n\
    FROM base\nWORKDIR made/here\nRUN cat /proc/sys/kernel/random/uuid >/id\nCOPY a /a\n\
    COPY --from=tools /tool /tool\nRUN cat /id /tool >/both\nENV X=y\n";
/// The steps of all stages.
const STEPS: usize = 6;

fn files(bench: &Bench) -> PathBuf {
    context(bench, "ctx", &[("Dockerfile", DOCKERFILE), ("a", "a\n")])
}

/// Builds `made` in a store of its own; how many steps were known, and what the image says.
#[track_caller]
fn made(flags: &[&str]) -> (usize, String) {
    let bench = bench();
    let directory = files(&bench);
    let output = build(&bench, &directory, &[&["-t", "made"], flags].concat()).run().ok();
    let said = |command: &[&str]| bench.run_rm(&["--net", "none"], "made", command).ok().out();
    assert_eq!(said(&["pwd"]), "/made/here");
    bench.ok(&["system", "check"]);
    (cached(&output), said(&["cat", "/both"]))
}

fn to_directory(directory: &Path, more: &str) -> String {
    format!("--cache-to=type=local,dest={}{more}", directory.display())
}

fn from_directory(directory: &Path) -> String {
    format!("--cache-from=type=local,src={}", directory.display())
}

/// A document of a layout.
fn document(layout: &Path, digest: &Value) -> Value {
    serde_json::from_str(&read(blob(layout, digest))).expect("a document")
}

fn blob(layout: &Path, digest: &Value) -> PathBuf {
    layout.join("blobs/sha256").join(&digest.as_str().expect("a digest")[7..])
}

fn index(layout: &Path) -> Value {
    serde_json::from_str(&read(layout.join("index.json"))).expect("an index")
}

#[test]
fn a_directory_carries_a_cache() {
    let shared = tempfile::tempdir().unwrap();
    let directory = shared.path().join("deep/cache");
    let (from, to) = (from_directory(&directory), to_directory(&directory, ",mode=max"));
    let (known, both) = made(&[&to]);
    assert_eq!(known, 0);
    assert_eq!(made(&[&from]), (STEPS, both.clone()), "every step is known elsewhere");
    // It is an image to others.
    let inspect = program("skopeo").args(["inspect", "--raw", &format!("oci:{}:latest", directory.display())]);
    let manifest: Value = serde_json::from_str(&inspect.run().ok().out()).unwrap();
    let layers = manifest["layers"].as_array().unwrap();
    let is_gzip = |layer: &Value| layer["mediaType"] == "application/vnd.oci.image.layer.v1.tar+gzip";
    assert!(!layers.is_empty() && layers.iter().all(is_gzip), "{manifest}");
    // One that is read and written stays the same, and does not grow.
    let before = names_in(directory.join("blobs/sha256"));
    assert_eq!(made(&[&from, &to]), (STEPS, both));
    assert_eq!(names_in(directory.join("blobs/sha256")).len(), before.len());
    assert!(layers.iter().all(|layer| blob(&directory, &layer["digest"]).exists()));
    // Steps that are no part of the result are not in it unless they are asked for.
    let small = shared.path().join("small");
    let (_, both) = made(&[&to_directory(&small, ",compression=zstd")]);
    let (known, again) = made(&[&from_directory(&small)]);
    assert_eq!((known, both.lines().next()), (3, again.lines().next()), "{both}\n{again}");
    assert_ne!(both, again, "the stage of the tool ran again");
}

#[test]
fn a_registry_carries_a_cache() {
    let name = registry().reference("cache-max");
    let bench = bench();
    let to = format!("type=registry,ref={name},mode=max");
    build(&bench, &files(&bench), &["-t", "made", "--cache-to", &to]).run().ok();
    let both = bench.run_rm(&["--net", "none"], "made", &["cat", "/both"]).ok().out();
    assert!(!bench.ok(&["images", "-a"]).contains("cache-max"), "a cache is no image of ours");
    assert_eq!(made(&["--cache-from", &name]), (STEPS, both.clone()));
    // One that is not there is no hindrance.
    let nowhere = registry().reference("nosuchcache");
    assert_eq!(made(&["--cache-from", &nowhere, "--cache-from", &name]), (STEPS, both));
}

#[test]
fn an_image_carries_its_own_steps() {
    let bench = bench();
    let name = registry().reference("cache-inline");
    build(&bench, &files(&bench), &["-t", &name, "--push", "--cache-to", "type=inline"]).run().ok();
    let id = bench.run_rm(&["--net", "none"], &name, &["cat", "/id"]).ok().out();
    let other = super::bench();
    let output = build(&other, &files(&other), &["-t", "made", "--cache-from", &name]).run().ok();
    assert_eq!(cached(&output), 3, "{}", output.report());
    assert_eq!(other.run_rm(&["--net", "none"], "made", &["cat", "/id"]).ok().out(), id);
    // An image that tells nothing is no cache, and no mistake.
    assert_eq!(made(&["--cache-from", &registry().small()]).0, 0);
}

#[test]
fn what_is_not_to_be_had_is_done_again() {
    let shared = tempfile::tempdir().unwrap();
    let directory = shared.path().join("cache");
    let from = from_directory(&directory);
    let bench = bench();
    let missing = build(&bench, &files(&bench), &[&from]).run().ok();
    assert!(missing.err().contains("failed to import the cache from local:"), "{}", missing.report());
    let (_, both) = made(&[&to_directory(&directory, ",mode=max")]);
    let manifest = document(&directory, &index(&directory)["manifests"][0]["digest"]);
    for layer in manifest["layers"].as_array().unwrap() {
        damage(&blob(&directory, &layer["digest"]));
    }
    let (known, again) = made(&[&from]);
    assert_eq!(known, 0);
    assert_ne!(both, again);
    damage(&blob(&directory, &manifest["config"]["digest"]));
    assert_eq!(made(&[&from]).0, 0);
}

/// Changes a byte in the middle.
fn damage(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn writers_of_one_directory_take_turns() {
    let bench = bench();
    let directory = bench.path("cache");
    let write = |number: usize| {
        let dockerfile = format!("FROM base\nRUN echo {number} >/number\n");
        let files = context(&bench, &format!("ctx{number}"), &[("Dockerfile", &dockerfile)]);
        build(&bench, &files, &[&to_directory(&directory, &format!(",tag=t{number}"))]).spawn()
    };
    let running: Vec<_> = (0..4).map(write).collect();
    running.into_iter().for_each(|running| drop(running.wait().ok()));
    assert_eq!(index(&directory)["manifests"].as_array().unwrap().len(), 4);
    bench.ok(&["builder", "prune", "-af"]);
    for number in 0..4 {
        let from = format!("{},tag=t{number}", from_directory(&directory));
        let output = build(&bench, &bench.path(&format!("ctx{number}")), &[&from]).run().ok();
        assert_eq!(cached(&output), 1, "{}", output.report());
    }
}

#[test]
fn a_cache_that_cannot_be_written_fails_the_build_unless_it_need_not() {
    let bench = bench();
    let directory = files(&bench);
    write(bench.path("file"), "");
    let to = to_directory(&bench.path("file/cache"), "");
    let output = build(&bench, &directory, &["-t", "made", &to]).run().exits(1);
    assert!(output.err().contains("make the directory"), "{}", output.report());
    assert_eq!(bench.ok(&["images", "-q", "made"]).len(), 12, "the image is there");
    let output = build(&bench, &directory, &[&format!("{to},ignore-error=true")]).run().ok();
    assert!(output.err().contains("make the directory"), "{}", output.report());
    for (flag, value, part) in [
        ("--cache-to", "type=gha", "unknown cache type \"gha\""),
        ("--cache-to", "type=local", "dest is required"),
        ("--cache-from", "type=local,src=/x,colour=red", "unknown key \"colour\""),
    ] {
        build(&bench, &directory, &[flag, value]).run().refused(1, part);
    }
}
