//! Layers in unusual numbers and places: very many, none, those whose blob was never fetched, and
//! those that are larger than the configuration allows.

use std::path::PathBuf;

use crate::common::images::{Compression, Image, Layer, write_layout};
use crate::common::registry::{Registry, registry};
use crate::common::{Bench, names_in, noise, program, read, sha256, write};
use serde_json::{Value, json};

/// The blobs that the manifest of `digest` names and the store lacks.
fn missing(bench: &Bench, digest: &str) -> Vec<PathBuf> {
    let blobs = bench.root().join("blobs/sha256");
    let manifest: Value = serde_json::from_str(&read(blobs.join(&digest[7..]))).unwrap();
    let layers = manifest["layers"].as_array().unwrap().iter();
    layers.map(|layer| blobs.join(&layer["digest"].as_str().unwrap()[7..])).filter(|path| !path.exists()).collect()
}

/// The same layers at a registry as gzip and as zstd, both pulled: the blobs of the latter are not
/// fetched. The latter's name and digest.
fn pulled_twice(bench: &Bench, registry: &Registry) -> (String, String) {
    let image = || Image::small_with(vec![Layer::new().file("data", 0o644, noise(7, 1 << 20))]);
    let zipped = registry.push("twice/gzip:1", &[image()]);
    let packed =
        registry.push("twice/zstd:1", &[image().config(json!({"Labels": {"a": "b"}})).compressed(Compression::Zstd)]);
    bench.ok(&["pull", "-q", &zipped]);
    bench.ok(&["pull", "-q", &packed]);
    let digest = registry.digest(&packed);
    assert_eq!(missing(bench, &digest).len(), 2);
    (packed, digest)
}

#[test]
fn blobs_that_were_never_fetched_are_when_they_are_handed_on() {
    // Saved and loaded.
    let bench = Bench::new();
    let (image, digest) = pulled_twice(&bench, registry());
    let archive = bench.text("archive");
    bench.ok(&["save", "-q", "-o", &archive, &image]);
    assert_eq!(missing(&bench, &digest), [""; 0].map(PathBuf::from));
    let other = Bench::new();
    other.ok(&["load", "-i", &archive]);
    assert_eq!(missing(&other, &digest).len(), 0);
    assert_eq!(other.inspect(&image, "{{.Id}}"), bench.inspect(&image, "{{.Id}}"));
    // Pushed elsewhere.
    let bench = Bench::new();
    let (image, digest) = pulled_twice(&bench, registry());
    let elsewhere = Registry::start();
    let to = elsewhere.reference("moved/zstd:1");
    bench.ok(&["push", &image, &to]);
    assert_eq!(elsewhere.digest(&to), digest);
    // At the same registry they need not be had.
    let bench = Bench::new();
    let (image, digest) = pulled_twice(&bench, registry());
    let to = registry().reference("twice/other:1");
    bench.ok(&["push", "-q", &image, &to]);
    assert_eq!((registry().digest(&to), missing(&bench, &digest).len()), (digest.clone(), 2));
    // Committed on.
    bench.ok(&["run", "--net=none", "--name=work", &image, "touch", "/new"]);
    bench.ok(&["commit", "work", "committed"]);
    assert_eq!(missing(&bench, &digest).len(), 0);
    bench.ok(&["save", "-o", &bench.text("archive"), "committed"]);
}

#[test]
fn blobs_that_are_nowhere_are_told_of_in_one_line() {
    let bench = Bench::new();
    let gone = Registry::start();
    let (image, digest) = pulled_twice(&bench, &gone);
    drop(gone);
    let elsewhere = Registry::start();
    let to = elsewhere.reference("moved/zstd:1");
    let output = bench.rbox(&["push", "-q", "--retry", "0", &image, &to]).run().exits(1);
    let words = "is not in the store: fetch it from";
    assert!(output.err().contains(words) && output.err().lines().count() == 1, "{}", output.report());
    let images = bench.root().join("images");
    for name in names_in(&images) {
        if name.ends_with(".json") && read(images.join(&name)).contains(&format!("@{digest}")) {
            std::fs::remove_file(images.join(&name)).unwrap();
        }
    }
    let output = bench.rbox(&["save", "-o", &bench.text("archive"), &image]).run().exits(1);
    let words = "no image here names a registry that has it";
    assert!(output.err().contains(words) && output.err().lines().count() == 1, "{}", output.report());
    assert!(!bench.path("archive").exists());
}

#[test]
fn an_image_of_130_layers() {
    let source = registry().push_once("t/many:1", || {
        let layer = |n: u32| {
            let layer = Layer::new().file(&format!("many/{n}"), 0o644, n.to_string());
            if n % 10 == 9 { layer.whiteout(&format!("many/{}", n - 5)) } else { layer }
        };
        vec![Image::small_with((1..130).map(layer).collect())]
    });
    let bench = Bench::new();
    bench.ok(&["pull", "-q", &source]);
    let list = ["sh", "-c", "ls /many | wc -l; cat /many/129"];
    let expected = format!("{}\n129", 129 - 13);
    assert_eq!(bench.run_rm(&["--net=none"], &source, &list).ok().out(), expected);
    bench.ok(&["run", "--net=none", "--name=work", &source, "rm", "/many/1"]);
    bench.ok(&["commit", "work", "more"]);
    assert_eq!(bench.inspect("more", "{{len .RootFS.Layers}}"), "131");
    bench.ok(&["save", "-o", &bench.text("archive"), "more", &source]);
    let other = Bench::new();
    other.ok(&["load", "-i", &bench.text("archive")]);
    assert_eq!(other.run_rm(&["--net=none"], &source, &list).ok().out(), expected);
    let expected = format!("{}\n129", 129 - 14);
    assert_eq!(other.run_rm(&["--net=none"], "more", &list).ok().out(), expected);
    assert_eq!(other.inspect("more", "{{.Id}}"), bench.inspect("more", "{{.Id}}"));
}

/// The small image with a tiny layer so often that there are `count` layers.
fn of_layers(count: usize) -> Image {
    Image::small_with((1..count).map(|_| Layer::new().file("tiny", 0o644, "tiny")).collect())
}

/// Gives a registry a manifest of 501 layers over the blobs of an image of two.
fn push_501() -> String {
    let two = registry().push("t/toomany:2", &[of_layers(2)]);
    let mut manifest: Value = serde_json::from_str(&read(registry().blob_path(&registry().digest(&two)))).unwrap();
    let layers = manifest["layers"].as_array_mut().unwrap();
    layers.resize(501, layers[1].clone());
    let kind = format!("Content-Type: {}", manifest["mediaType"].as_str().unwrap());
    let url = format!("http://{}/v2/t/toomany/manifests/501", registry().host());
    let put = program("curl").args(["-fsS", "-X", "PUT", "-H", &kind, "--data-binary", "@-", &url]);
    put.stdin(manifest.to_string()).ok();
    registry().reference("t/toomany:501")
}

/// A docker archive that names one layer 501 times.
fn archive_of_501(bench: &Bench) -> String {
    let directory = bench.mkdir("docker");
    program("tar").args(["-C", "/etc", "-cf", &bench.text("docker/l.tar"), "hostname"]).ok();
    let diff_id = format!("sha256:{}", sha256(&std::fs::read(directory.join("l.tar")).unwrap()));
    let config = json!({"os": "linux", "architecture": "amd64",
        "rootfs": {"type": "layers", "diff_ids": vec![diff_id; 501]}});
    write(directory.join("c.json"), config.to_string());
    let list = json!([{"Config": "c.json", "RepoTags": ["many:1"], "Layers": vec!["l.tar"; 501]}]);
    write(directory.join("manifest.json"), list.to_string());
    let archive = bench.text("docker.tar");
    program("tar").args(["-C", &bench.text("docker"), "-cf", &archive, "c.json", "l.tar", "manifest.json"]).ok();
    archive
}

#[test]
fn more_layers_than_can_be_mounted_are_refused() {
    let bench = Bench::new();
    let layout = |count| {
        let name = format!("layout-{count}");
        write_layout(&bench.mkdir(&name), &[of_layers(count)]);
        bench.text(&name)
    };
    for arguments in
        [&["pull", "-q", &push_501()][..], &["load", "-i", &layout(501)], &["load", "-i", &archive_of_501(&bench)]]
    {
        let output = bench.rbox(arguments).run().exits(1);
        let text = output.err();
        let said = text.contains("501 layers, at most 500 can be mounted") && text.lines().count() == 1;
        assert!(said, "{}", output.report());
        assert_eq!(bench.ok(&["images", "-aq"]), "");
    }

    bench.ok(&["load", "-i", &layout(500)]);
    let id = bench.ok(&["images", "-aq", "--no-trunc"]);
    bench.ok(&["run", "--net=none", "--name=work", &id, "touch", "/new"]);
    let output = bench.rbox(&["commit", "work", "more"]).run().exits(1);
    assert!(
        output.err().contains("has 500 layers already") && output.err().lines().count() == 1,
        "{}",
        output.report()
    );
    bench.ok(&["commit", "--squash", "work", "squashed"]);
    assert_eq!(bench.run_rm(&["--net=none"], "squashed", &["cat", "/tiny"]).ok().out(), "tiny");
}

#[test]
fn an_image_without_layers() {
    let source = registry().push_once("t/scratch:1", || vec![Image::new(Vec::new()).config(json!({"Cmd": ["/x"]}))]);
    let bench = Bench::new();
    bench.ok(&["pull", "-q", &source]);
    assert_eq!(bench.inspect(&source, "{{json .RootFS.Layers}} {{json .Config.Cmd}}"), r#"[] ["/x"]"#);
    assert!(bench.ok(&["images"]).contains("scratch"));
    let output = bench.run_rm(&["--net=none"], &source, &[]).exits(127);
    assert!(output.err().contains("/x") && output.err().lines().count() <= 2, "{}", output.report());
    let id = bench.inspect(&source, "{{.Id}}");
    for format in ["docker-archive", "oci-archive", "oci-dir", "docker-dir"] {
        let path = bench.text(format);
        bench.ok(&["save", "--format", format, "-o", &path, &source]);
        let other = Bench::new();
        other.ok(&["load", "-i", &path]);
        assert_eq!(other.ok(&["images", "-aq", "--no-trunc"]), id, "{format}");
    }
    let to = Registry::start();
    bench.ok(&["push", "-q", &source, &to.reference("scratch:1")]);
    assert_eq!(to.digest(&to.reference("scratch:1")), registry().digest(&source));
    // What is copied into it is there.
    bench.ok(&["create", "--net=none", "--name=work", &source]);
    bench.ok(&["commit", "work", "same"]);
    bench.ok(&["rm", "work"]);
    bench.ok(&["rmi", "-f", &id, "same"]);
    assert_eq!(bench.ok(&["images", "-aq"]), "");
}

#[test]
fn the_configured_limit_holds_for_every_way_in() {
    let bench = Bench::new();
    let image = registry().push_once("t/limited:1", || {
        vec![Image::small_with(vec![Layer::new().file("data", 0o644, noise(9, 6 << 20))])]
    });
    bench.ok(&["pull", "-q", &image]);
    bench.ok(&["save", "-o", &bench.text("archive"), &image]);
    bench.ok(&["run", "--net=none", "--name=work", &image, "cp", "/data", "/again"]);
    let tree = bench.mkdir("tree");
    write(tree.join("data"), noise(9, 6 << 20));
    program("tar").args(["-C", &bench.text("tree"), "-cf", &bench.text("tar"), "."]).ok();
    let other = Bench::new();
    let limited = |bench: &Bench, arguments: &[&str]| {
        let output = bench.rbox(&["--set", "layer-max-size=5m"]).args(arguments).run().exits(1);
        let text = output.err() + &output.out();
        assert!(text.contains("limit of 5000000 bytes") && text.lines().count() == 1, "{}", output.report());
    };
    limited(&other, &["pull", "-q", &image]);
    limited(&other, &["load", "-i", &bench.text("archive")]);
    limited(&other, &["import", &bench.text("tar")]);
    limited(&bench, &["commit", "work"]);
    let layers = bench.root().join("layers");
    let large = names_in(&layers).into_iter().find(|name| layers.join(name).join("diff/data").exists()).unwrap();
    std::fs::remove_file(layers.join(&large).join("layer.json")).unwrap();
    limited(&bench, &["system", "check", "--repair"]);
    bench.ok(&["system", "check", "--repair"]);
    let digest = format!("sha256:{}", sha256(&noise(9, 6 << 20)));
    let found = bench.run_rm(&["--net=none"], &image, &["sha256sum", "/data"]).ok().out();
    assert_eq!(found.split(' ').next(), Some(&digest[7..]));
}
