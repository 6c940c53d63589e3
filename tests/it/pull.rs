//! Pulls from a real registry, and what becomes of images in the store.

use std::path::Path;
use std::time::Duration;

use crate::common::images::{self, Compression, Image, Layer};
use crate::common::proxy::Proxy;
use crate::common::registry::registry;
use crate::common::trees::{self, Podman};
use crate::common::{Bench, names_in, noise, program, read, sha256, wait_until, write};
use rustix::process::Signal;
use serde_json::Value;

/// Blobs of a store, by digest.
fn blobs(bench: &Bench) -> Vec<String> {
    names_in(bench.root().join("blobs/sha256"))
}

fn layers(bench: &Bench) -> Vec<String> {
    names_in(bench.root().join("layers"))
}

/// An image of two layers of bytes that do not compress.
fn large() -> Vec<Image> {
    let layer = |seed, megabytes: usize| Layer::new().file(&format!("data{seed}"), 0o644, noise(seed, megabytes << 20));
    vec![Image::small_with(vec![layer(1, 6), layer(2, 3)])]
}

#[test]
fn by_tag_and_by_digest() {
    let bench = Bench::new();
    let image = registry().small();
    let digest = registry().digest(&image);
    let output = bench.rbox(&["pull", &image]).run().ok();
    let out = output.out();
    assert!(out.contains(&format!("Digest: {digest}")), "{out}");
    assert!(out.contains(&format!("Status: Downloaded newer image for {image}")), "{out}");
    assert_eq!(out.lines().last(), Some(image.as_str()), "{out}");
    assert!(!out.contains('\x1b') && !out.contains('\r'), "no progress bars without a terminal: {out:?}");
    let out = bench.rbox(&["pull", &image]).run().ok().out();
    assert!(out.contains(&format!("Status: Image is up to date for {image}")), "{out}");

    let (repository, _) = image.rsplit_once(':').unwrap();
    let by_digest = format!("{repository}@{digest}");
    assert_eq!(bench.inspect(&image, "{{json .RepoDigests}}"), format!("[\"{by_digest}\"]"));
    assert_eq!(bench.inspect(&image, "{{json .RepoTags}}"), format!("[\"{image}\"]"));
    let other = Bench::new();
    assert_eq!(other.ok(&["pull", "-q", &by_digest]), by_digest);
    assert_eq!(other.run_rm(&[], &by_digest, &["cat", "/etc/os-release"]).ok().out(), "ID=small");
    assert_eq!(other.inspect(&by_digest, "{{.Id}}"), bench.inspect(&image, "{{.Id}}"));
    let wrong = format!("{repository}@sha256:{}", "0".repeat(64));
    let output = other.rbox(&["pull", &wrong]).run().exits(1);
    assert!(output.err().contains("not found") || output.err().contains("unknown"), "{}", output.report());
}

#[test]
fn quiet_prints_the_reference_only() {
    let bench = Bench::new();
    let image = registry().small();
    let output = bench.rbox(&["pull", "-q", &image]).run().ok();
    assert_eq!((output.out(), output.err()), (image.clone(), String::new()));
    let (untagged, _) = image.rsplit_once(':').unwrap();
    let output = bench.rbox(&["pull", untagged]).run().ok();
    assert!(output.report().contains("Using default tag: latest"), "{}", output.report());
}

#[test]
fn run_pulls_what_is_missing() {
    let bench = Bench::new();
    let image = registry().small();
    let output = bench.run_rm(&["--pull", "never"], &image, &["true"]).exits(125);
    assert!(output.err().contains("No such image"), "{}", output.report());
    let output = bench.run_rm(&[], &image, &["echo", "ran"]).ok();
    assert_eq!(output.out(), "ran", "progress is not on standard output");
    assert!(output.err().contains(&format!("Unable to find image '{image}' locally")), "{}", output.err());
    let output = bench.run_rm(&[], &image, &["echo", "ran"]).ok();
    assert_eq!(output.err(), "");
    let other = Bench::new();
    let output = other.run_rm(&["-q"], &image, &["echo", "ran"]).ok();
    assert!(output.err().lines().count() <= 1, "{}", output.err());
}

#[test]
fn every_compression_and_manifest_kind() {
    let bench = Bench::new();
    for (name, compression, format) in [
        ("oci-gzip", Compression::Gzip, "oci"),
        ("oci-zstd", Compression::Zstd, "oci"),
        ("oci-none", Compression::None, "oci"),
        ("v2s2-gzip", Compression::Gzip, "v2s2"),
    ] {
        let layer = Layer::new().file("kind", 0o644, name);
        let content = Image::small_with(vec![layer]).compressed(compression);
        let image = registry().push_as(&format!("t/{name}:1"), &[content], format);
        bench.ok(&["pull", "-q", &image]);
        assert_eq!(bench.run_rm(&[], &image, &["cat", "/kind"]).ok().out(), name);
        let digest = registry().digest(&image);
        let manifest: Value = serde_json::from_str(&read(registry().blob_path(&digest))).unwrap();
        let expected = if format == "oci" { "oci" } else { "docker" };
        assert!(manifest["mediaType"].as_str().unwrap().contains(expected), "skopeo pushed {manifest}");
    }
}

#[test]
fn an_index_is_read_by_platform() {
    let bench = Bench::new();
    let of = |architecture: &str| {
        Image::small_with(vec![Layer::new().file("architecture", 0o644, architecture)]).architecture(architecture)
    };
    let image = registry().push("t/multi:1", &[of("arm64"), of("amd64"), of("s390x")]);
    let host = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    bench.ok(&["pull", "-q", &image]);
    assert_eq!(bench.inspect(&image, "{{.Architecture}}"), host);
    assert_eq!(bench.run_rm(&[], &image, &["cat", "/architecture"]).ok().out(), host);
    assert_eq!(layers(&bench).len(), 2, "only this platform's layers");
    let other = Bench::new();
    other.ok(&["pull", "-q", "--platform", "linux/s390x", &image]);
    let output = other.rbox(&["create", &image]).run();
    let expected = "rbox: the requested image's platform (linux/s390x) does not match the detected host platform";
    assert!(output.err().starts_with(expected), "{}", output.report());
    assert_eq!(other.inspect(&image, "{{.Os}}/{{.Architecture}}"), "linux/s390x");
    let output = Bench::new().rbox(&["pull", "--platform", "linux/riscv64", &image]).run().exits(1);
    assert!(output.err().contains("riscv64"), "{}", output.report());
    // RepoDigests name what the registry resolved: the index.
    assert!(bench.inspect(&image, "{{json .RepoDigests}}").contains(&registry().digest(&image)));
}

#[test]
fn refusals_say_what_and_where_and_leave_nothing() {
    let bench = Bench::new();
    let image = registry().small();
    let (repository, _) = image.rsplit_once(':').unwrap();
    let host = registry().host();
    for (reference, words) in [
        (format!("{repository}:nosuch"), vec!["nosuch"]),
        (format!("{host}/no/such:1"), vec!["no/such"]),
        ("127.0.0.1:1/absent:1".to_owned(), vec!["127.0.0.1:1"]),
        (format!("{host}/UPPER:1"), vec!["lowercase"]),
        (format!("{host}/a b"), vec!["invalid reference format"]),
        (format!("{repository}@sha256:abc"), vec!["invalid"]),
        (format!("{repository}@sha256:{}", "A".repeat(64)), vec!["invalid"]),
        (String::new(), vec!["invalid reference format"]),
    ] {
        let output = bench.rbox(&["pull", &reference]).run().exits(1);
        assert!(words.iter().all(|word| output.err().contains(word)), "{reference:?}: {}", output.report());
        assert!(output.took < Duration::from_secs(45), "{:?}", output.took);
        bench.run_rm(&[], &reference, &["true"]).exits(125);
    }
    assert_eq!(bench.ok(&["images", "-q"]), "");
    assert_eq!(blobs(&bench), [""; 0]);
    bench.no_staging();
    bench.no_containers();
}

#[test]
fn plain_http_is_for_loopback_or_on_request() {
    let bench = Bench::new();
    let name = read("/proc/sys/kernel/hostname");
    let image = format!("{}:{}/library/alpine:latest", name.trim(), registry().port());
    // Not a loopback address by name, so TLS is spoken, and the registry does not.
    let output = bench.rbox(&["pull", &image]).run();
    assert_eq!(output.code, 1, "{}", output.report());
    let image = format!("localhost:{}/library/alpine:latest", registry().port());
    registry().small();
    bench.ok(&["pull", "-q", &image]);
}

#[test]
fn a_layer_of_every_kind_of_file() {
    let bench = Bench::new();
    let long = format!("{}/{}", "directory-name".repeat(9), "file-name".repeat(20));
    let lower = Layer::new()
        .directory("kept", 0o755)
        .file("kept/lower", 0o644, "lower")
        .file("gone", 0o644, "x")
        .directory("hidden", 0o755)
        .file("hidden/lower", 0o644, "x")
        .directory("becomes-file", 0o755)
        .file("becomes-file/x", 0o644, "x")
        .file("becomes-directory", 0o644, "x");
    let upper = Layer::new()
        .whiteout("gone")
        .directory("hidden", 0o755)
        .opaque("hidden")
        .file("hidden/upper", 0o644, "upper")
        .file("becomes-file", 0o644, "file")
        .directory("becomes-directory", 0o711)
        .file("kept/upper", 0o600, "upper")
        .hardlink("kept/second", "kept/upper")
        .symlink("kept/link", "upper")
        .owned_by(7, 8)
        .at(1_000_000_001)
        .file("kept/owned", 0o6755, "owned")
        .directory("sticky", 0o1777)
        .xattr("user.note", b"hello")
        .file("noted", 0o644, "")
        .fifo("fifo")
        .device("device")
        .file(&long, 0o644, "long")
        .directory("made/implicitly/deep", 0o700);
    let image = registry().push("t/kinds", &[Image::small_with(vec![lower, upper])]);
    let output = bench.rbox(&["pull", &image]).run().ok();
    assert_eq!(output.report().matches("device").count(), 1, "a skipped device is said once: {}", output.report());
    let script = format!(
        "cat /kept/lower /kept/upper /kept/second /kept/link /hidden/upper /becomes-file /{long}; echo
         ls /hidden; ls -d /gone /device /becomes-file/x 2>/dev/null
         stat -c '%n %F %a %u:%g %Y %h' /kept/owned /sticky /kept/second /becomes-directory /fifo /made /made/implicitly/deep"
    );
    let out = bench.run_rm(&[], &image, &["sh", "-c", &script]).exits(0).out();
    let expected = "lowerupperupperupperupperfilelong\nupper\n\
        /kept/owned regular file 6755 7:8 1000000001 1\n/sticky directory 1777 0:0 1600000000 2\n\
        /kept/second regular file 600 0:0 1600000000 2\n/becomes-directory directory 711 0:0 1600000000 2\n";
    assert!(out.starts_with(expected), "{out}");
    let deep = "/made/implicitly/deep directory 700 0:0 1600000000 2";
    assert!(out.contains("/fifo fifo 644") && out.ends_with(deep), "{out}");
}

#[test]
fn a_killed_pull_goes_on_where_it_was() {
    let bench = Bench::new();
    registry().push_once("t/large:1", large);
    let proxy = Proxy::before(registry().port());
    let image = format!("{}/t/large:1", proxy.host());
    proxy.limit(3_000_000);
    let running = bench.rbox(&["pull", "-q", &image]).limit(120).spawn();
    wait_until("part of it came", || proxy.sent() > 3_000_000);
    running.signal(Signal::KILL);
    running.wait().exits(137);
    let first = proxy.sent();
    assert_eq!(bench.ok(&["images", "-q"]), "", "half an image has no name");
    proxy.take_requests();
    proxy.limit(0);
    bench.rbox(&["pull", "-q", &image]).run().ok();
    let requests = proxy.take_requests();
    let resumed = requests
        .iter()
        .any(|request| request.contains("/blobs/") && request.to_ascii_lowercase().contains("range: bytes="));
    assert!(resumed, "{requests:#?}");
    let total = proxy.sent();
    assert!(total < 9 * (1 << 20) + first / 2 + (3 << 20), "{first} bytes, then {}", total - first);
    let sums = bench.run_rm(&[], &image, &["sha256sum", "/data1", "/data2"]).ok().out();
    let expected = format!("{}  /data1\n{}  /data2", sha256(&noise(1, 6 << 20)), sha256(&noise(2, 3 << 20)));
    assert_eq!(sums, expected);
    bench.rbox(&["system", "check"]).run().ok();
    bench.no_staging();
}

/// RBOX_TEST_KILLS says how often; 100 in the long run.
#[test]
fn a_pull_killed_at_any_moment_is_gone_on_with() {
    let kills = std::env::var("RBOX_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(4_u64);
    registry().push_once("t/large:1", large);
    let proxy = Proxy::before(registry().port());
    let image = format!("{}/t/large:1", proxy.host());
    let bench = Bench::new();
    bench.ok(&["pull", "-q", &image]);
    let whole = proxy.sent();
    for round in 0..kills {
        bench.ok(&["rmi", "-af"]);
        bench.ok(&["image", "prune", "-af"]);
        let running = bench.rbox(&["pull", "-q", &image]).spawn();
        std::thread::sleep(Duration::from_micros(u64::from(noise(round, 1)[0]) * 2000));
        running.signal(Signal::KILL);
        running.wait();
        let checked = bench.rbox(&["system", "check"]).run();
        assert_eq!((checked.code, checked.out()), (0, String::new()), "round {round}: {}", checked.report());
        super::images::assert_accounted(&bench, &format!("round {round}"));
        let complete = blobs(&bench);
        let before = proxy.sent();
        proxy.take_requests();
        bench.rbox(&["pull", "-q", &image]).run().ok();
        assert!(proxy.sent() - before <= whole + (1 << 20), "round {round}: {} of {whole}", proxy.sent() - before);
        let asked = proxy.take_requests();
        let again =
            complete.iter().find(|hex| asked.iter().any(|request| request.contains(&format!("/blobs/sha256:{hex}"))));
        assert_eq!(again, None, "round {round}: {asked:#?}");
    }
    bench.rbox(&["system", "check"]).run().ok();
    bench.no_staging();
}

#[test]
fn an_interrupted_pull_leaves_a_clean_store() {
    let bench = Bench::new();
    registry().push_once("t/large:1", large);
    let proxy = Proxy::before(registry().port());
    proxy.limit(3_000_000);
    let image = format!("{}/t/large:1", proxy.host());
    for signal in [Signal::INT, Signal::TERM] {
        let before = proxy.sent();
        let running = bench.rbox(&["pull", "-q", &image]).spawn();
        wait_until("part of it came", || proxy.sent() > before + 500_000);
        running.signal(signal);
        let output = running.wait();
        assert_ne!(output.code, 0);
        assert!(output.took < Duration::from_secs(25), "{:?}", output.took);
        bench.no_processes();
    }
    assert_eq!(bench.ok(&["images", "-q"]), "");
    bench.rbox(&["system", "check"]).run().ok();
    bench.no_staging();
}

#[test]
fn pulls_at_once_share_the_work() {
    let bench = Bench::new();
    registry().push_once("t/large:1", large);
    let proxy = Proxy::before(registry().port());
    let image = format!("{}/t/large:1", proxy.host());
    let running: Vec<_> = (0..4).map(|_| bench.rbox(&["pull", "-q", &image]).spawn()).collect();
    for running in running {
        assert_eq!(running.wait().ok().out(), image);
    }
    assert_eq!(layers(&bench).len(), 3);
    let downloads = proxy.take_requests().iter().filter(|request| request.contains("/blobs/")).count();
    assert!(downloads <= 4 * 4, "{downloads}");
    assert_eq!(bench.run_rm(&[], &image, &["stat", "-c", "%s", "/data1"]).ok().out(), (6 << 20).to_string());
}

#[test]
fn a_line_that_breaks_is_tried_again() {
    let bench = Bench::new();
    registry().small();
    let proxy = Proxy::before(registry().port());
    proxy.close(true);
    let image = format!("{}/library/alpine:latest", proxy.host());
    let running = bench.rbox(&["pull", "-q", &image]).spawn();
    std::thread::sleep(Duration::from_millis(700));
    proxy.close(false);
    running.wait().ok();
    assert_eq!(bench.run_rm(&[], &image, &["echo", "ran"]).ok().out(), "ran");
}

#[test]
fn a_blob_that_is_not_what_it_says_is_refused() {
    let bench = Bench::new();
    let layer = Layer::new().file("unique", 0o644, noise(99, 300_000));
    let image = registry().push("t/corrupt:1", &[Image::small_with(vec![layer])]);
    let manifest: Value = serde_json::from_str(&read(registry().blob_path(&registry().digest(&image)))).unwrap();
    let digest = manifest["layers"][1]["digest"].as_str().unwrap();
    let path = registry().blob_path(digest);
    let good = std::fs::read(&path).unwrap();
    let mut flipped = good.clone();
    flipped[150_000] ^= 1;
    let longer = [good.as_slice(), b"more"].concat();
    for (what, bad) in [("flipped", flipped), ("short", good[..200_000].to_vec()), ("long", longer)] {
        write(&path, &bad);
        let output = bench.rbox(&["pull", &image]).limit(100).run();
        assert_eq!(output.code, 1, "{what}: {}", output.report());
        assert!(output.err().contains(&digest[..19]), "{what}: the digest is named: {}", output.report());
        assert_eq!(bench.ok(&["images", "-q"]), "", "{what}");
        assert!(!blobs(&bench).iter().any(|name| digest.ends_with(name.as_str())), "{what}: it is not kept");
        bench.no_staging();
    }
    write(&path, &good);
    bench.ok(&["pull", "-q", &image]);
    assert_eq!(
        bench.run_rm(&[], &image, &["sha256sum", "/unique"]).ok().out(),
        format!("{}  /unique", sha256(&noise(99, 300_000)))
    );
}

#[test]
fn hostile_layers_change_nothing_outside() {
    let bench = Bench::new();
    let canary = bench.mkdir("canary");
    write(canary.join("file"), "untouched");
    let host = canary.display().to_string();
    let relative = host.trim_start_matches('/').to_owned();
    let up = format!("../../../../../../../../..{host}");
    let layers: Vec<(&str, Layer)> = vec![
        (
            "through-link",
            Layer::new().symlink("link", &host).file("link/made", 0o644, "x").file("link/file", 0o644, "x"),
        ),
        ("relative-link", Layer::new().symlink("link", &up).file("link/made", 0o644, "x")),
        ("chmod", Layer::new().symlink("link", &host).directory("link", 0o777).directory("link/.", 0o777)),
        ("hardlink", Layer::new().symlink("link", &host).hardlink("stolen", "link/file").file("stolen", 0o644, "x")),
        ("absolute-hardlink", Layer::new().hardlink("stolen", &format!("/{relative}/file")).file("stolen", 0o644, "x")),
        ("whiteout", Layer::new().symlink("link", &host).whiteout("link/file").opaque("link")),
        ("middle", Layer::new().directory("a", 0o755).symlink("a/b", &host).file("a/b/c/d", 0o644, "x")),
    ];
    for (name, layer) in layers {
        let image = registry().push(&format!("hostile/layer-{name}"), &[Image::small_with(vec![layer])]);
        let output = bench.rbox(&["pull", "-q", &image]).run();
        assert!(output.code == 0 || output.code == 1, "{name}: {}", output.report());
        assert_eq!(names_in(&canary), ["file"], "{name}");
        assert_eq!(read(canary.join("file")), "untouched", "{name}");
        if output.code == 0 {
            let stolen = bench.run_rm(&[], &image, &["sh", "-c", "cat /stolen; grep -rs untouched /link /a; true"]);
            assert!(!stolen.out().contains("untouched"), "{name}: {}", stolen.report());
        }
        bench.no_staging();
    }
}

#[test]
fn rmi_frees_everything() {
    let (bench, image) = Bench::with_image();
    let id = bench.inspect(&image, "{{.Id}}");
    bench.ok(&["tag", &image, "local/second:1"]);
    let out = bench.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    assert!(out.contains("local/second:1") && out.contains(&image), "{out}");
    assert_eq!(bench.ok(&["rmi", "local/second:1"]), "Untagged: local/second:1");
    assert!(!blobs(&bench).is_empty());
    let out = bench.ok(&["rmi", &image]);
    assert!(out.contains(&format!("Untagged: {image}")) && out.contains(&format!("Deleted: {id}")), "{out}");
    assert_eq!((blobs(&bench), layers(&bench)), (vec![], vec![]));
    assert_eq!(names_in(bench.root().join("images")), [""; 0]);
    bench.rbox(&["rmi", &image]).run().refused(1, "No such image");
    // A layer that another image uses stays.
    let both = registry().push("t/both", &[Image::small_with(vec![Layer::new().file("x", 0o644, "x")])]);
    bench.pull_small();
    bench.ok(&["pull", "-q", &both]);
    assert_eq!(layers(&bench).len(), 2);
    bench.ok(&["rmi", &both]);
    assert_eq!(layers(&bench).len(), 1);
    assert_eq!(bench.run_rm(&[], &image, &["echo", "whole"]).ok().out(), "whole");
}

#[test]
fn an_image_in_use_is_not_removed() {
    let (bench, image) = Bench::with_image();
    let id = bench.start(&["--name", "user"], &image, &["sleep", "100"]);
    let output = bench.rbox(&["rmi", &image]).run().exits(1);
    assert!(
        output.err().contains(&id[..12]) && output.err().contains("user") || output.err().contains(&id[..12]),
        "{}",
        output.report()
    );
    bench.ok(&["kill", "user"]);
    bench.ok(&["wait", "user"]);
    bench.rbox(&["rmi", &image]).run().exits(1);
    // Forced, the name goes; the container still starts.
    bench.rbox(&["rmi", "-f", &image]).run();
    bench.ok(&["start", "user"]);
    assert_eq!(bench.ok(&["exec", "user", "cat", "/etc/os-release"]), "ID=small");
    bench.ok(&["rm", "-f", "user"]);
}

#[test]
fn a_tag_that_moves_leaves_the_old_image_to_its_containers() {
    let bench = Bench::new();
    let of = |text: &str| [Image::small_with(vec![Layer::new().file("version", 0o644, text)])];
    let image = registry().push("t/moves:1", &of("one"));
    bench.ok(&["pull", "-q", &image]);
    bench.start(&["--name", "old"], &image, &["sleep", "100"]);
    registry().push("t/moves:1", &of("two"));
    assert_eq!(bench.run_rm(&[], &image, &["cat", "/version"]).ok().out(), "one", "nothing moves by itself");
    assert_eq!(bench.run_rm(&["--pull", "always", "-q"], &image, &["cat", "/version"]).ok().out(), "two");
    assert_eq!(bench.ok(&["exec", "old", "cat", "/version"]), "one");
    bench.ok(&["stop", "-t", "0", "old"]);
    bench.ok(&["start", "old"]);
    assert_eq!(bench.ok(&["exec", "old", "cat", "/version"]), "one");
}

#[test]
fn images_tag_and_lookup() {
    let (bench, image) = Bench::with_image();
    let id = bench.inspect(&image, "{{.Id}}");
    let hex = id.strip_prefix("sha256:").unwrap();
    for reference in [image.as_str(), &id, hex, &hex[..12], &hex[..5]] {
        assert_eq!(bench.inspect(reference, "{{.Id}}"), id, "by {reference}");
        assert_eq!(bench.run_rm(&["--pull", "never"], reference, &["echo", "ran"]).ok().out(), "ran", "by {reference}");
    }
    assert_eq!(bench.ok(&["images", "-q"]), &hex[..12]);
    assert_eq!(bench.ok(&["images", "-q", "--no-trunc"]), id);
    let table = bench.ok(&["images"]);
    assert!(table.lines().next().unwrap().starts_with("REPOSITORY"), "{table}");
    bench.ok(&["tag", &image, "short"]);
    assert_eq!(bench.inspect("short", "{{.Id}}"), id);
    assert!(bench.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}"]).lines().any(|line| line == "short:latest"));
    bench.rbox(&["tag", "nosuch", "x"]).run().refused(1, "No such image");
    bench.rbox(&["tag", &image, "UPPER:x"]).run().exits(1);
    bench.rbox(&["rmi", "nosuch"]).run().refused(1, "No such image");
    let inspected: Value = serde_json::from_str(&bench.ok(&["inspect", &image])).unwrap();
    assert_eq!(inspected[0]["Config"]["Cmd"], serde_json::json!(["/bin/sh"]));
    assert_eq!(inspected[0]["RootFS"]["Type"], "layers");
    assert!(inspected[0]["Size"].as_u64().unwrap() > 1_000_000);
}

/// Pulls with rbox, podman and umoci and compares the trees.
fn compare(image: &str) {
    let bench = Bench::new();
    bench.ok(&["pull", "-q", image]);
    let ours = trees::of_rbox(&bench, image);
    let layout = bench.text("layout");
    let source = format!("docker://{image}");
    let skopeo = ["--insecure-policy", "copy", "-q", "--src-tls-verify=false", &source, &format!("oci:{layout}:image")];
    program("skopeo").args(skopeo).limit(120).ok();
    trees::same("umoci", &ours, &trees::of_umoci(&format!("{layout}:image"), &bench.text("bundle")));
    let podman = Podman::new(&bench);
    podman.script("podman pull -q --tls-verify=false \"$1\"", &[image]).ok();
    trees::same("podman", &trees::below_root(&ours), &trees::below_root(&podman.tree(image)));
}

#[test]
fn the_tree_of_a_debian_image_equals_podmans_and_umocis() {
    crate::common::unprivileged();
    let Some(image) = registry().debian() else { return };
    compare(&image);
}

#[test]
fn the_tree_of_a_layered_image_equals_podmans_and_umocis() {
    let image = registry().push_once("t/layered:1", || vec![trees::layered()]);
    compare(&image);
}

#[test]
fn a_debian_image_runs() {
    let bench = Bench::new();
    let Some(image) = registry().debian() else { return };
    bench.rbox(&["pull", "-q", &image]).limit(120).run().ok();
    let script = "set -e; . /etc/os-release; echo $ID; ls -l /bin/su | cut -c1-10; su -s /bin/sh nobody -c id; \
        mkdir /var/x; chown 1:1 /var/x; rm -r /usr/share/perl5 2>/dev/null || true; dpkg -l >/dev/null; echo fine";
    let out = bench.run_rm(&[], &image, &["bash", "-c", script]).ok().out();
    assert_eq!(out, "debian\n-rwsr-xr-x\nuid=65534(nobody) gid=65534(nogroup) groups=65534(nogroup)\nfine");
    assert!(Path::new(&bench.root()).exists());
    let _ = images::small();
}
