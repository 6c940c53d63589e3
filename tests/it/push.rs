//! Pushes to a real registry, with other programs as readers.

use crate::common::images::{Compression, Image, Layer};
use crate::common::proxy::Proxy;
use crate::common::registry::{Registry, registry};
use crate::common::trees::Podman;
use crate::common::{Bench, noise, program, read, sha256};
use rustix::process::Signal;
use serde_json::Value;

fn kills() -> usize {
    std::env::var("RBOX_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(4)
}

/// The small image with layers of bytes that do not compress.
fn large(megabytes: &[usize]) -> Image {
    let layer = |(seed, size): (usize, &usize)| {
        Layer::new().file(&format!("data{seed}"), 0o644, noise(seed as u64 + 100, size << 20))
    };
    Image::small_with(megabytes.iter().enumerate().map(layer).collect())
}

/// A manifest as the registry keeps it.
fn manifest(registry: &Registry, reference: &str) -> Value {
    serde_json::from_str(&read(registry.blob_path(&registry.digest(reference)))).unwrap()
}

fn skopeo_digest(reference: &str) -> String {
    let inspect = program("skopeo").args(["inspect", "--tls-verify=false", "--format", "{{.Digest}}"]);
    inspect.arg(format!("docker://{reference}")).ok()
}

#[test]
fn what_was_pulled_keeps_its_digest_and_others_read_it() {
    let bench = Bench::new();
    for (name, compression, format) in [
        ("gzip", Compression::Gzip, "oci"),
        ("zstd", Compression::Zstd, "oci"),
        ("none", Compression::None, "oci"),
        ("docker", Compression::Gzip, "v2s2"),
    ] {
        let image = registry().push_as(&format!("from/{name}:1"), &[large(&[1]).compressed(compression)], format);
        let digest = registry().digest(&image);
        bench.ok(&["pull", "-q", &image]);
        let other = Registry::start();
        let to = other.reference(&format!("to/{name}:2"));
        bench.ok(&["tag", &image, &to]);
        let file = bench.text("digest");
        let out = bench.ok(&["push", "--digestfile", &file, &to]);
        assert_eq!(other.digest(&to), digest, "{name}");
        assert_eq!(read(&file), digest);
        let last = out.lines().last().unwrap();
        assert!(last.starts_with(&format!("2: digest: {digest} size: ")), "{out}");
        assert!(out.starts_with(&format!("The push refers to repository [{}]\n", to.trim_end_matches(":2"))), "{out}");
        assert_eq!(out.matches(": Pushed").count(), 2, "{out}");
        assert!(!out.contains(['\x1b', '\r']), "{out:?}");
        assert!(
            bench.inspect(&to, "{{json .RepoDigests}}").contains(&format!("{}@{digest}", to.trim_end_matches(":2")))
        );
        // Again: nothing to send.
        let out = bench.ok(&["push", &to]);
        assert_eq!(out.matches(": Layer already exists").count(), 2, "{out}");
        assert_eq!(bench.ok(&["push", "-q", &to]), to);
        assert_eq!(skopeo_digest(&to), digest);
        let reader = Bench::new();
        reader.ok(&["pull", "-q", &to]);
        assert_eq!(reader.inspect(&to, "{{.Id}}"), bench.inspect(&image, "{{.Id}}"));
        let layout = bench.mkdir(&format!("read-{name}"));
        let copy = program("skopeo").args(["--insecure-policy", "copy", "-q", "--src-tls-verify=false"]);
        copy.arg(format!("docker://{to}")).arg(format!("dir:{}", layout.display())).ok();
    }
}

#[test]
fn other_repositories_lend_their_blobs() {
    let bench = Bench::new();
    let registry = Registry::start();
    let image = registry.push("lender/app:1", &[large(&[1, 1])]);
    bench.ok(&["pull", "-q", &image]);
    let to = registry.reference("borrower/app:1");
    bench.ok(&["tag", &image, &to]);
    let out = bench.ok(&["push", &to]);
    assert_eq!(out.matches(": Mounted from lender/app").count(), 3, "{out}");
    assert_eq!(registry.digest(&to), registry.digest(&image));
}

#[test]
fn all_tags_of_a_repository() {
    let bench = Bench::new();
    let image = bench.pull_small();
    let other = Registry::start();
    let repository = other.reference("many/tags");
    for tag in ["a", "b"] {
        bench.ok(&["tag", &image, &format!("{repository}:{tag}")]);
    }
    let out = bench.ok(&["push", "--all-tags", &repository]);
    assert!(out.contains("\na: digest: ") && out.contains("\nb: digest: "), "{out}");
    assert_eq!(other.digest(&format!("{repository}:a")), other.digest(&format!("{repository}:b")));
    let refused = bench.rbox(&["push", "-a", &format!("{repository}:a")]).run().exits(1);
    assert!(refused.err().contains("tag can't be used with --all-tags/-a"), "{}", refused.report());
    let refused = bench.rbox(&["push", "-a", &other.reference("no/such")]).run().exits(1);
    assert!(refused.err().contains("does not exist locally"), "{}", refused.report());
}

#[test]
fn compression_and_kind_of_manifest_can_be_chosen() {
    let bench = Bench::new();
    let registry = Registry::start();
    let image = registry.push("from/it:1", &[large(&[1])]);
    bench.ok(&["pull", "-q", &image]);
    let id = bench.inspect(&image, "{{.Id}}");
    for (flags, manifest_type, layer_type) in [
        (&["--compression-format", "zstd"][..], "oci.image.manifest.v1+json", "tar+zstd"),
        (&["--compression-format", "zstd:chunked", "--compression-level", "1"], "oci.image", "tar+zstd"),
        (&["--format", "v2s2"], "docker.distribution.manifest.v2+json", "docker.image.rootfs.diff.tar.gzip"),
        (&["--format", "v2s2", "--compression-format=gzip"], "docker.distribution", "tar.gzip"),
    ] {
        let to = registry.reference(&format!("to/it:{}", sha256(flags.join(" ").as_bytes())));
        let out = bench.rbox(&["push"]).args(flags).args([&image, &format!("docker://{to}")]).run().ok();
        assert_eq!(out.err().contains("plain zstd"), flags.contains(&"zstd:chunked"), "{}", out.report());
        let manifest = manifest(&registry, &to);
        assert!(manifest["mediaType"].as_str().unwrap().contains(manifest_type), "{flags:?}: {manifest}");
        assert!(manifest["layers"][0]["mediaType"].as_str().unwrap().contains(layer_type), "{flags:?}: {manifest}");
        let reader = Bench::new();
        reader.ok(&["pull", "-q", &to]);
        assert_eq!(reader.inspect(&to, "{{.Id}}"), id, "{flags:?}");
        assert_eq!(reader.run_rm(&[], &to, &["cat", "/etc/os-release"]).ok().out(), "ID=small");
    }
    // What it becomes is known now.
    let again = registry.reference("to/it:again");
    let out = bench.ok(&["push", "--compression-format", "zstd", &image, &again]);
    assert_eq!(out.matches(": Layer already exists").count(), 2, "{out}");
    for (flags, words) in [
        (&["--format", "v2s1"][..], "schema 1"),
        (&["--format", "v2s2", "--compression-format", "zstd"], "need an OCI manifest"),
        (&["--compression-level", "10"], "invalid compression level 10"),
    ] {
        let output = bench.rbox(&["push"]).args(flags).arg(&image).run().exits(1);
        assert!(output.err().contains(words), "{}", output.report());
    }
}

#[test]
fn a_broken_connection_costs_one_layer() {
    let bench = Bench::new();
    let registry = Registry::start();
    let source = crate::common::registry::registry().push("broken/it:1", &[large(&[8])]);
    bench.ok(&["pull", "-q", &source]);
    let proxy = Proxy::before(registry.port());
    let to = format!("{}/to/it:1", proxy.host());
    bench.ok(&["tag", &source, &to]);
    proxy.cut_upstream_after(4 << 20);
    let out = bench.ok(&["push", &to]);
    assert!(out.contains(": Retrying in "), "{out}");
    assert_eq!(registry.digest(&registry.reference("to/it:1")), crate::common::registry::registry().digest(&source));
    // This registry forgets what a broken request brought: that layer is sent anew, and no other.
    let received = proxy.received();
    assert!(received < 14 << 20, "more than what broke was sent twice: {received} bytes");
}

#[test]
fn refusals_are_one_line_and_leave_nothing() {
    let bench = Bench::new();
    let image = bench.pull_small();
    let closed = Registry::start_read_only();
    for (reference, words) in
        [(closed.reference("a:1"), "read-only"), ("127.0.0.1:1/a:1".to_owned(), "connection refused")]
    {
        bench.ok(&["tag", &image, &reference]);
        let output = bench.rbox(&["push", &reference]).run().exits(1);
        let err = output.err();
        assert!(err.contains(words) && err.lines().count() == 1, "{}", output.report());
    }
    for (arguments, words) in [
        (&["push", "nosuch:1"][..], "An image does not exist locally with the tag: nosuch"),
        (&["push", &image, "oci:/tmp/x"], "rbox save"),
        (&["push", "--platform", "linux/s390x", &image], "does not provide the specified platform (linux/s390x)"),
        (&["push", &format!("a@sha256:{}", "0".repeat(64))], "cannot push a digest reference"),
    ] {
        let output = bench.rbox(arguments).run().exits(1);
        assert!(output.err().contains(words), "{}", output.report());
    }
    bench.no_staging();
}

#[test]
fn lists_of_manifests() {
    let bench = Bench::new();
    let registry = Registry::start();
    let of = |architecture: &str| {
        Image::small_with(vec![Layer::new().file("architecture", 0o644, architecture)]).architecture(architecture)
    };
    let host = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    let here = registry.push("part/here:1", &[of(host)]);
    // One that is only at a registry, and not the one pushed to.
    let there = crate::common::registry::registry().push("part/there:1", &[of("s390x")]);
    bench.ok(&["pull", "-q", &here]);
    let list = registry.reference("list/app:1");
    assert_eq!(bench.ok(&["manifest", "create", &list, &here]), format!("Created manifest list {list}"));
    bench.ok(&["manifest", "add", "--annotation", "a=b", &list, &format!("docker://{there}")]);
    bench.ok(&["manifest", "annotate", "--os-version", "5", &list, &there]);
    let refused = bench.rbox(&["manifest", "create", &list]).run().exits(1);
    assert!(refused.err().contains("no --amend flag"), "{}", refused.report());
    let shown: Value = serde_json::from_str(&bench.ok(&["manifest", "inspect", &list])).unwrap();
    assert_eq!(shown["manifests"][1]["platform"]["os.version"], "5");
    assert_eq!(shown["manifests"][1]["annotations"]["a"], "b");
    // The list keeps what it needs.
    bench.ok(&["rmi", "-f", &here]);
    bench.ok(&["system", "check"]);
    let file = bench.text("digest");
    let digest = bench.ok(&["manifest", "push", "--digestfile", &file, &list]);
    assert_eq!((registry.digest(&list), read(&file)), (digest.clone(), digest.clone()));
    assert_eq!(skopeo_digest(&list), digest);
    for architecture in [host, "s390x"] {
        let reader = Bench::new();
        reader.ok(&["pull", "-q", "--platform", &format!("linux/{architecture}"), &list]);
        assert_eq!(reader.inspect(&list, "{{.Architecture}}"), architecture);
    }
    let shown: Value =
        serde_json::from_str(&bench.ok(&["manifest", "inspect", "-v", &format!("docker://{list}")])).unwrap();
    assert_eq!(shown[1]["Descriptor"]["platform"]["architecture"], "s390x");
    bench.ok(&["manifest", "remove", &list, &there]);
    bench.ok(&["manifest", "push", "--purge", "-q", &list, &registry.reference("list/app:docker")]);
    bench.rbox(&["manifest", "exists", &list]).run().exits(1);
    let gone = bench.rbox(&["manifest", "rm", &list]).run().exits(1);
    assert!(gone.err().contains("No such manifest"), "{}", gone.report());
}

#[test]
fn what_was_loaded_is_compressed_on_the_way_and_read_by_others() {
    let bench = Bench::new();
    let registry = Registry::start();
    let source = registry.push("from/it:1", &[large(&[1])]);
    let archive = bench.text("archive.tar");
    let copy = program("skopeo").args(["--insecure-policy", "copy", "-q", "--src-tls-verify=false"]);
    copy.arg(format!("docker://{source}")).arg(format!("docker-archive:{archive}:loaded:1")).ok();
    bench.ok(&["load", "-q", "-i", &archive]);
    let to = registry.reference("to/it:1");
    let out = bench.ok(&["push", "loaded:1", &to]);
    assert_eq!(out.matches(": Pushed").count(), 2, "{out}");
    let pushed = manifest(&registry, &to);
    for layer in pushed["layers"].as_array().unwrap() {
        assert!(layer["mediaType"].as_str().unwrap().ends_with("gzip"), "{pushed}");
    }
    let out = bench.ok(&["push", "loaded:1", &registry.reference("to/it:2")]);
    assert_eq!(out.matches(": Layer already exists").count(), 2, "{out}");
    let reader = Bench::new();
    reader.ok(&["pull", "-q", &to]);
    assert_eq!(reader.inspect(&to, "{{.Id}}"), bench.inspect("loaded:1", "{{.Id}}"));
    let podman = Podman::new(&bench);
    let id = podman.script(r#"podman pull -q --tls-verify=false "$1""#, &[&to]).ok();
    assert_eq!(format!("sha256:{id}"), reader.inspect(&to, "{{.Id}}"));
}

#[test]
fn what_was_never_fetched_is_fetched_to_be_pushed() {
    let twins = [("gzip", Compression::Gzip), ("zstd", Compression::Zstd)].map(|(name, compression)| {
        registry().push_as(&format!("twins/{name}:1"), &[large(&[1]).compressed(compression)], "oci")
    });
    for list in [false, true] {
        let (bench, other) = (Bench::new(), Registry::start());
        // The layers of the second are here by the first one's blobs.
        twins.iter().for_each(|twin| drop(bench.ok(&["pull", "-q", twin])));
        let (to, digest) = (other.reference("to/it:1"), registry().digest(&twins[1]));
        if list {
            bench.ok(&["manifest", "create", "local/list:1", &twins[1]]);
            let pushed = bench.rbox(&["manifest", "push", "local/list:1", &to]).run().ok();
            assert_eq!(
                pushed.err().matches(&format!("\n{}: Pushed", &digest[7..19])).count(),
                1,
                "{}",
                pushed.report()
            );
        } else {
            let out = bench.ok(&["push", &twins[1], &to]);
            assert_eq!((out.matches(": Preparing").count(), out.matches(": Pushed").count()), (2, 2), "{out}");
            assert_eq!(other.digest(&to), digest);
        }
        let reader = Bench::new();
        reader.ok(&["pull", "-q", &to]);
        assert_eq!(reader.inspect(&to, "{{.Id}}"), bench.inspect(&twins[1], "{{.Id}}"));
    }
}

#[test]
fn copies_between_stores() {
    let bench = Bench::new();
    let image = bench.pull_small();
    let other = bench.mkdir("other");
    let there = other.to_string_lossy().into_owned();
    let out = bench.ok(&["image", "scp", &image, &format!("{there}::copied:2")]);
    assert_eq!(out, format!("Loaded image: {image}"));
    let listed = bench.ok(&["--root", &there, "images", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}", "--no-trunc"]);
    let id = bench.inspect(&image, "{{.Id}}");
    assert!(listed.lines().any(|line| line == format!("copied:2 {id}")), "{listed}");
    bench.ok(&["--root", &there, "system", "check"]);
    let back = Bench::new();
    back.ok(&["image", "scp", "-q", &format!("{there}::copied:2")]);
    assert_eq!(back.inspect("copied:2", "{{.Id}}"), id);
    for (arguments, words) in [
        (&["image", "scp", "nosuch:1", &format!("{there}::")][..], "could not be saved here"),
        (&["image", "scp", &image, "elsewhere"], "names no store"),
        (&["image", "scp", "-oProxyCommand=x::a"], ""),
        (&["image", "scp", &image], "same store"),
    ] {
        let output = bench.rbox(arguments).run();
        assert!(output.code != 0 && output.err().contains(words), "{}", output.report());
    }
}

#[test]
fn killed_at_any_moment() {
    let bench = Bench::new();
    let registry = Registry::start();
    // Uncompressed at a registry, then asked for in another form: all that a push can do.
    let source = crate::common::registry::registry().push("killed/it:1", &[large(&[6, 4])]);
    bench.ok(&["pull", "-q", &source]);
    let whole = registry.reference("timed/it:1");
    let flags = ["push", "--compression-format", "zstd"];
    let took = bench.rbox(&flags).args([&source, &whole]).run().ok().took;
    for round in 0..kills() {
        let other = Registry::start();
        let to = other.reference(&format!("killed/it:{round}"));
        let push = bench.rbox(&flags).args([&source, &to]).spawn();
        std::thread::sleep(took.mul_f64((round as f64 + 0.5) / kills() as f64));
        push.signal(Signal::KILL);
        push.wait();
        bench.ok(&["system", "check"]);
        bench.rbox(&flags).args([&source, &to]).run().ok();
        assert_eq!(other.digest(&to), registry.digest(&whole), "round {round}");
        bench.no_staging();
    }
}
