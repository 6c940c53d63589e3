//! What becomes of a result: nothing but the cache, and archives whose layers are compressed as somebody wants.

use std::path::Path;

use serde_json::Value;

use super::{bench, build, cached, context};
use crate::common::trees::Podman;
use crate::common::{Bench, names_in, program, read};

const DOCKERFILE: &str = "FROM base\nRUN seq 1 40000 >/numbers\nCOPY a /a\n";

#[track_caller]
fn plain() -> (Bench, std::path::PathBuf) {
    let bench = bench();
    let directory = context(&bench, "ctx", &[("Dockerfile", DOCKERFILE), ("a", "a\n")]);
    (bench, directory)
}

#[test]
fn the_cache_alone() {
    let (bench, directory) = plain();
    let images = bench.ok(&["images", "-aq"]);
    build(&bench, &directory, &["-t", "never", "-o", "type=cacheonly"]).run().ok();
    assert_eq!(bench.ok(&["images", "-aq"]), images);
    assert_eq!(cached(&build(&bench, &directory, &["-t", "made"]).run().ok()), 2);
}

fn json(path: impl AsRef<Path>) -> Value {
    serde_json::from_str(&read(path)).expect("JSON")
}

/// The manifest of a layout's only image, whose blobs are what their names say.
#[track_caller]
fn manifest(layout: &Path) -> Value {
    let blobs = layout.join("blobs/sha256");
    for name in names_in(&blobs) {
        let content = std::fs::read(blobs.join(&name)).expect("a blob");
        assert_eq!(crate::common::sha256(&content), name);
    }
    let index = json(layout.join("index.json"));
    let digest = index["manifests"][0]["digest"].as_str().expect("a digest").trim_start_matches("sha256:").to_owned();
    json(blobs.join(digest))
}

/// What kinds of layers a manifest has, and how many bytes they are.
fn layers(manifest: &Value) -> (Vec<String>, u64) {
    let layers = manifest["layers"].as_array().expect("layers");
    let kind =
        |layer: &Value| layer["mediaType"].as_str().expect("a type").rsplit('.').next().expect("a word").to_owned();
    (layers.iter().map(kind).collect(), layers.iter().filter_map(|layer| layer["size"].as_u64()).sum())
}

#[test]
fn layers_are_compressed_as_wanted() {
    let (bench, directory) = plain();
    let made = |name: &str, options: &str| {
        let layout = bench.path(name);
        let output = format!("type=oci,tar=false,dest={}{options}", layout.display());
        build(&bench, &directory, &["-t", "made:1", "-o", &output]).run().ok();
        // Another reader decompresses all of them, and compares with the ids of the configuration.
        let read = format!("oci:{}", layout.display());
        program("skopeo")
            .args(["--insecure-policy", "copy", "-q", &read, &format!("oci:{}-read", layout.display())])
            .ok();
        program("umoci").args(["ls", "--layout"]).arg(&layout).ok();
        layers(&manifest(&layout))
    };
    let (kept, _) = made("kept", "");
    let base = &kept[0];
    assert_eq!(kept[1..], ["tar", "tar"]);
    let gzip = made("gzip", ",compression=gzip").0;
    assert_eq!(gzip, [base.as_str(), "tar+gzip", "tar+gzip"]);
    let zstd = made("zstd", ",compression=zstd").0;
    assert_eq!(zstd, [base.as_str(), "tar+zstd", "tar+zstd"]);
    assert_eq!(made("force", ",compression=zstd,force-compression=true").0, ["tar+zstd"; 3]);
    assert_eq!(made("plain", ",compression=uncompressed,force-compression=true").0, ["tar"; 3]);
    assert_eq!(made("usual", ",compression=uncompressed").0, kept);
    let (fast, small) = (",compression=gzip,compression-level=1", ",compression=gzip,compression-level=9");
    let (fast, small) = (made("fast", fast).1, made("small", small).1);
    assert!(small < fast, "{small} {fast}");
    // The same image, whatever it is packed in.
    let configs = ["kept", "zstd", "plain"].map(|name| manifest(&bench.path(name))["config"]["digest"].clone());
    assert!(configs.iter().all(|config| *config == configs[0]), "{configs:?}");
}

#[test]
fn others_read_compressed_archives() {
    let (bench, directory) = plain();
    let podman = Podman::new(&bench);
    for (kind, options) in [
        ("oci", "compression=zstd,force-compression=true"),
        ("docker", "compression=gzip"),
        ("oci", "compression=gzip"),
    ] {
        let archive = bench.text(&format!("{kind}.tar"));
        let name = format!("packed-{kind}:1");
        build(&bench, &directory, &["-t", &name, "-o", &format!("type={kind},dest={archive},{options}")]).run().ok();
        let source = format!("{kind}-archive:{archive}");
        program("skopeo").args(["--insecure-policy", "inspect", &source]).ok();
        let script =
            r#"podman load -q -i "$1" >&2; podman run --rm --network none "$2" sh -c 'cat /a; wc -l </numbers'"#;
        let said = podman.script(script, &[&archive, &format!("localhost/{name}")]).run();
        let said = if said.code == 0 {
            said
        } else {
            podman.script(script, &[&archive, &format!("docker.io/library/{name}")]).run().ok()
        };
        assert_eq!(said.out(), "a\n40000");
        bench.ok(&["load", "-q", "-i", &archive]);
        assert_eq!(bench.run_rm(&["--net", "none"], &name, &["cat", "/a"]).ok().out(), "a");
        bench.ok(&["rmi", "-f", &name]);
    }
}
