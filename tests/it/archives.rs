//! Images as archives: what rbox writes is read by others and the other way round, and bad archives
//! leave nothing.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::common::images::{Image, Layer};
use crate::common::pty::Terminal;
use crate::common::registry::{Registry, registry};
use crate::common::trees::{self, Podman};
use crate::common::{Bench, names_in, noise, program, read, sha256, write};
use rustix::process::Signal;
use serde_json::{Value, json};

const FORMATS: [(&str, &str); 4] =
    [("docker-archive", "docker-archive"), ("oci-archive", "oci-archive"), ("oci-dir", "oci"), ("docker-dir", "dir")];

/// What an image is: id, manifest, layers.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Facts {
    id: String,
    manifest: String,
    layers: Vec<String>,
}

fn kills() -> usize {
    std::env::var("RBOX_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(4)
}

/// What the store has under a name.
#[track_caller]
fn facts(bench: &Bench, image: &str) -> Facts {
    let id = bench.inspect(image, "{{.Id}}");
    let records = names_in(bench.root().join("images")).into_iter();
    let records = records.map(|name| read(bench.root().join("images").join(name)));
    let records = records.map(|text| serde_json::from_str::<Value>(&text).unwrap());
    let record = records.filter(|record| record["config"] == id.as_str()).last().expect("a record");
    let manifest = record["manifest"].as_str().unwrap().to_owned();
    let layers = serde_json::from_str(&bench.inspect(image, "{{json .RootFS.Layers}}")).unwrap();
    Facts { id, manifest, layers }
}

/// Loads into a new store and tells which image came.
#[track_caller]
fn load(path: &str) -> (Bench, String) {
    let bench = Bench::new();
    let out = bench.ok(&["load", "-i", path]);
    let image = out.lines().last().and_then(|line| line.split_once(": ")).expect("a line").1.to_owned();
    (bench, image)
}

#[track_caller]
fn skopeo(from: &str, to: &str) {
    let copy = program("skopeo").args(["--insecure-policy", "copy", "-q"]);
    copy.args(["--src-tls-verify=false", "--dest-tls-verify=false", from, to]).limit(120).ok();
}

/// A tar of these members; their names are written as they are.
fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, content) in members {
        member(&mut archive, name, b'0', "", content);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

fn member(archive: &mut Vec<u8>, name: &str, kind: u8, link: &str, content: &[u8]) {
    let mut header = tar::Header::new_ustar();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(tar::EntryType::new(kind));
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    header.set_cksum();
    archive.extend_from_slice(header.as_bytes());
    archive.extend_from_slice(content);
    archive.resize(archive.len().next_multiple_of(512), 0);
}

fn layer_tar(name: &str) -> Vec<u8> {
    tar(&[(name, name.as_bytes())])
}

/// A config of an image of these layers.
fn config_of(layers: &[&[u8]]) -> Vec<u8> {
    let diff_ids: Vec<String> = layers.iter().map(|layer| format!("sha256:{}", sha256(layer))).collect();
    let config = json!({"architecture": "amd64", "os": "linux", "config": {"Cmd": ["/x"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids}});
    config.to_string().into_bytes()
}

/// The acceptance table: every tool as writer and as reader, in every form.
#[test]
fn round_trips() {
    let source = registry().push_once("t/round:1", || vec![trees::layered()]);
    let origin = format!("docker://{source}");
    let bench = Bench::new();
    bench.ok(&["pull", "-q", &source]);
    let (expected, tree) = (facts(&bench, &source), trees::of_rbox(&bench, &source));
    assert_eq!(expected.manifest, registry().digest(&source));
    let podman = Podman::new(&bench);
    let check = |who: &str, other: &Bench, image: &str| {
        let found = facts(other, image);
        assert_eq!((&found.id, &found.layers), (&expected.id, &expected.layers), "{who}");
        trees::same(who, &trees::of_rbox(other, image), &tree);
        found
    };

    // rbox writes.
    bench.ok(&["save", "-o", &bench.text("docker"), &source]);
    for (format, _) in FORMATS {
        bench.ok(&["save", "--format", format, "-o", &bench.text(format), &source]);
    }
    for format in ["docker", "docker-archive", "oci-archive", "oci-dir", "docker-dir"] {
        let path = bench.text(format);
        // rbox reads.
        let (other, image) = load(&path);
        let found = check(&format!("rbox's {format} read by rbox"), &other, &image);
        assert_eq!(image == source, format != "docker-dir", "only that form has no names: {image}");
        if matches!(format, "docker" | "oci-archive" | "oci-dir") {
            assert_eq!(found.manifest, expected.manifest, "{format}: the same manifest");
        }
        // podman reads.
        let id = format!("podman rmi -af >&2; podman load -q -i {path} >&2; podman images -q --no-trunc");
        let id = podman.script(&id, &[]).ok();
        assert_eq!(id, expected.id, "rbox's {format} read by podman");
        let who = format!("podman of rbox's {format}");
        trees::same(&who, &trees::below_root(&tree), &trees::below_root(&podman.tree(&id)));
        // skopeo reads, and umoci what it wrote.
        let transport = FORMATS.iter().find(|(name, _)| *name == format).map_or("docker-archive", |(_, name)| *name);
        let layout = bench.text(&format!("{format}-layout"));
        skopeo(&format!("{transport}:{path}"), &format!("oci:{layout}:image"));
        let (other, image) = load(&layout);
        check(&format!("rbox's {format} copied by skopeo"), &other, &image);
        if matches!(format, "docker-archive" | "oci-dir") {
            let who = format!("umoci of rbox's {format}");
            trees::same(&who, &tree, &trees::of_umoci(&format!("{layout}:image"), &bench.text("bundle")));
        }
    }

    // rbox writes to a registry, by itself and by a list of one.
    let remote = Registry::start();
    bench.ok(&["manifest", "create", "local/list:1", &source]);
    for (form, arguments) in
        [("push", &["push", "-q", &source][..]), ("manifest push", &["manifest", "push", "local/list:1"])]
    {
        let to = remote.reference(&format!("t/{}:1", form.replace(' ', "-")));
        bench.ok(&[arguments, &[&to]].concat());
        if form == "push" {
            assert_eq!(remote.digest(&to), expected.manifest, "pushed as it was pulled");
        }
        let other = Bench::new();
        other.ok(&["pull", "-q", &to]);
        assert_eq!(check(&format!("rbox's {form} pulled by rbox"), &other, &to).manifest, expected.manifest);
        let id = format!("podman rmi -af >&2; podman pull -q --tls-verify=false {to} >&2; podman images -q --no-trunc");
        let id = podman.script(&id, &[]).ok();
        assert_eq!(id, expected.id, "rbox's {form} pulled by podman");
        trees::same(
            &format!("podman of rbox's {form}"),
            &trees::below_root(&tree),
            &trees::below_root(&podman.tree(&id)),
        );
        let layout = bench.text(&form.replace(' ', "-"));
        skopeo(&format!("docker://{to}"), &format!("oci:{layout}:image"));
        let (loaded, image) = load(&layout);
        check(&format!("rbox's {form} copied by skopeo"), &loaded, &image);
        let who = format!("umoci of rbox's {form}");
        trees::same(&who, &tree, &trees::of_umoci(&format!("{layout}:image"), &bench.text("bundle")));
    }

    // podman writes.
    let script = r#"podman rmi -af >&2; podman pull -q --tls-verify=false "$1" >&2
        for format in docker-archive oci-archive oci-dir docker-dir; do
            podman save -q --format $format -o "$2/podman-$format" "$1" >&2
        done"#;
    podman.script(script, &[&source, &bench.text("")]).ok();
    for (format, transport) in FORMATS {
        let (other, image) = load(&bench.text(&format!("podman-{format}")));
        check(&format!("podman's {format}"), &other, &image);
        assert_eq!(image == source, format != "docker-dir", "podman's {format} has the name: {image}");
        // skopeo writes.
        let path = bench.text(&format!("skopeo-{format}"));
        let name = if transport == "dir" { String::new() } else { format!(":{source}") };
        skopeo(&origin, &format!("{transport}:{path}{name}"));
        let (other, image) = load(&path);
        let found = check(&format!("skopeo's {format}"), &other, &image);
        assert_eq!(image == source, format != "docker-dir", "skopeo's {format} has the name: {image}");
        if format != "docker-archive" {
            assert_eq!(found.manifest, expected.manifest, "skopeo's {format}: the same manifest");
        }
    }

    // umoci writes: a new configuration over the same layers, and another layer.
    let layout = bench.text("umoci");
    skopeo(&origin, &format!("oci:{layout}:image"));
    program("umoci").args(["config", "--image", &format!("{layout}:image"), "--author", "me"]).ok();
    let (other, image) = load(&layout);
    assert_eq!(other.inspect(&image, "{{.Author}}"), "me");
    assert_eq!(facts(&other, &image).layers, expected.layers);
    trees::same("umoci", &trees::of_rbox(&other, &image), &tree);
    write(bench.path("added"), "by umoci");
    let insert = ["insert", "--rootless", "--image", &format!("{layout}:image"), &bench.text("added"), "/added"];
    program("umoci").args(insert).ok();
    let (other, image) = load(&layout);
    assert_eq!(facts(&other, &image).layers.len(), expected.layers.len() + 1);
    assert_eq!(other.run_rm(&[], &image, &["cat", "/added"]).ok().out(), "by umoci");

    // Through the registry and back.
    let (other, _) = load(&bench.text("docker"));
    other.ok(&["pull", "-q", &source]);
    assert_eq!(facts(&other, &source), expected, "what was loaded and what is pulled are one image");
}

#[test]
fn several_images_names_and_a_stream() {
    let bench = Bench::new();
    let one = registry().small();
    let two = registry().push_once("t/two:1", || {
        vec![Image::small_with(vec![Layer::new().file("two", 0o644, "two")]).config(json!({"Cmd": ["/two"]}))]
    });
    bench.ok(&["pull", "-q", &one]);
    bench.ok(&["pull", "-q", &two]);
    bench.ok(&["tag", &one, "named/one:a", "named/one:b"]);
    let archive = bench.rbox(&["save", "named/one", &two, "named/one:a"]).run().ok();
    assert_eq!(archive.err(), "");
    let again = bench.rbox(&["save", "named/one", &two]).run().ok();
    assert!(archive.stdout == again.stdout, "saved twice, the same bytes");
    let (first, second) = (facts(&bench, &one), facts(&bench, &two));

    for packing in ["cat", "gzip -1", "bzip2 -1", "xz -0", "zstd -1 -q"] {
        let other = Bench::new();
        write(other.path("archive"), &archive.stdout);
        let packed =
            other.shell(&format!("{packing} < {0} > {0}.packed; rbox load < {0}.packed", other.text("archive")));
        let out = packed.ok();
        let lines: Vec<&str> = out.lines().collect();
        let expected = ["Loaded image: named/one:a", "Loaded image: named/one:b", &format!("Loaded image: {two}")];
        assert_eq!(lines, expected, "{packing}");
        assert_eq!((facts(&other, "named/one:b"), facts(&other, &two)), (first.clone(), second.clone()), "{packing}");
        if packing == "cat" {
            // Once more, from the file: nothing is unpacked again. A pipe that is read slowly.
            let layers = bench.text("archive");
            write(&layers, &archive.stdout);
            let layer = other.root().join("layers").join(&trees::chain_of(&other, &two)[0]);
            let before = std::fs::metadata(&layer).unwrap().modified().unwrap();
            assert_eq!(other.ok(&["load", "-q", "-i", &layers]), out);
            assert_eq!(other.shell(&format!("dd status=none bs=1000 if={layers} | rbox load")).ok(), out);
            assert_eq!(std::fs::metadata(&layer).unwrap().modified().unwrap(), before);
        } else {
            assert_eq!(other.ok(&["load", "-i", &other.text("archive.packed")]), out, "{packing}");
        }
    }

    // By id there is no name.
    bench.ok(&["save", "-o", &bench.text("id"), &first.id]);
    let (other, _) = load(&bench.text("id"));
    assert_eq!(other.ok(&["images", "-q", "--no-trunc"]), first.id);
    assert_eq!(other.rbox(&["load", "-i", &bench.text("id")]).ok(), format!("Loaded image ID: {}", first.id));
    // A name that another image had.
    other.ok(&["tag", &first.id, "named/one:a"]);
    let conflict = Bench::new();
    conflict.ok(&["pull", "-q", &two]);
    conflict.ok(&["tag", &two, "named/one:a"]);
    let out = conflict.rbox(&["load"]).stdin(archive.stdout.clone()).ok();
    let former = format!("The image named/one:a already exists, renaming the old one with ID {} to", second.id);
    assert!(out.contains(&former), "{out}");
}

#[test]
fn what_save_refuses_leaves_nothing() {
    let (bench, image) = Bench::with_image();
    let files = bench.mkdir("out");
    let inside = |name: &str| files.join(name).display().to_string();
    std::fs::create_dir(files.join("full")).unwrap();
    write(files.join("full/file"), "x");
    for (arguments, words) in [
        (vec!["save", "nosuch"], "No such image: nosuch:latest"),
        (vec!["save", "-o", &inside("a/b"), &image], "directory"),
        (vec!["save", "-o", &inside("full"), &image], "is a directory"),
        (vec!["save", "--format", "oci-dir", "-o", &inside("full"), &image], "is not empty"),
        (vec!["save", "--format", "oci-dir", &image], "name it with -o"),
        (vec!["save", "--compress", "-o", &inside("c"), &image], "--compress can only be set"),
        (
            vec!["save", "--platform", "linux/s390x", "-o", &inside("p"), &image],
            "does not provide the specified platform",
        ),
    ] {
        let output = bench.rbox(&arguments).run().exits(1);
        assert!(output.err().contains(words) && output.err().lines().count() == 1, "{}", output.report());
    }
    bench.rbox(&["save", "--format", "zip", &image]).run().exits(125);
    bench.rbox(&["save"]).run().exits(1);
    let mut terminal = Terminal::rbox(&bench, &["save", &image]);
    terminal.expect("cowardly refusing to save to a terminal. Use the -o flag or redirect");
    assert_eq!(terminal.wait(), 1);
    // A blob that is cut off.
    let manifest = facts(&bench, &image).manifest;
    let layer = read(bench.root().join("blobs/sha256").join(&manifest[7..]));
    let layer: Value = serde_json::from_str(&layer).unwrap();
    let blob = bench.root().join("blobs/sha256").join(&layer["layers"][0]["digest"].as_str().unwrap()[7..]);
    write(files.join("kept"), "old");
    let hidden = bench.path("hidden");
    std::fs::copy(&blob, &hidden).unwrap();
    std::fs::OpenOptions::new().write(true).open(&blob).unwrap().set_len(1000).unwrap();
    bench.rbox(&["save", "-o", &inside("kept"), &image]).run().exits(1);
    std::fs::rename(&hidden, &blob).unwrap();
    assert_eq!(names_in(&files), ["full", "kept"]);
    assert_eq!(read(files.join("kept")), "old");
    // What is there is replaced, and devices are written to.
    bench.ok(&["save", "-o", &inside("kept"), &image]);
    assert!(std::fs::metadata(files.join("kept")).unwrap().len() > 100_000);
    bench.ok(&["save", "-o", "/dev/null", &image]);
    let reader_gone = bench.shell(&format!("rbox save {image} | head -c 100 | wc -c")).ok();
    assert_eq!(reader_gone.trim(), "100");
}

#[test]
fn bad_archives_are_refused_with_one_line() {
    let (good, other) = (layer_tar("good"), layer_tar("other"));
    let config = config_of(&[&good]);
    let name = format!("{}.json", sha256(&config));
    let list = |layers: &[&str]| json!([{"Config": name, "RepoTags": ["bad:1"], "Layers": layers}]).to_string();
    let listed = list(&["l.tar"]);
    let with =
        |listed: &str, layer: &[u8]| tar(&[(&name, &config), ("l.tar", layer), ("manifest.json", listed.as_bytes())]);
    let whole = with(&listed, &good);
    let mut flipped = good.clone();
    flipped[600] ^= 1;
    let escape = layer_tar("../../../../escape");
    let escaping = config_of(&[&escape]);
    let escaping_list = json!([{"Config": "c.json", "RepoTags": ["bad:1"], "Layers": ["l.tar"]}]).to_string();
    let mut linked = Vec::new();
    member(&mut linked, "manifest.json", b'2', "/etc/passwd", b"");
    member(&mut linked, "l.tar", b'2', "../../../../../../etc/passwd", b"");
    linked.resize(linked.len() + 1024, 0);
    let mut circle = Vec::new();
    member(&mut circle, "manifest.json", b'2', "other", b"");
    member(&mut circle, "other", b'2', "manifest.json", b"");
    let blob = format!("blobs/sha256/{}", "a".repeat(64));
    let index = json!({"schemaVersion": 2, "manifests": [{"mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": format!("sha256:{}", "a".repeat(64)), "size": 2}]});
    let layout = br#"{"imageLayoutVersion":"1.0.0"}"#;
    let huge = vec![b' '; 5 << 20];
    for (what, archive, words) in [
        ("text", b"hello\n".repeat(300), "not a tar archive"),
        ("empty", Vec::new(), "empty"),
        ("zeros", vec![0; 10240], "empty"),
        ("no image", tar(&[("etc/passwd", b"x")]), "no image"),
        ("cut in a header", whole[..700].to_vec(), "ends inside"),
        ("cut in a file", whole[..1300].to_vec(), "ends inside"),
        (
            "gzip of half",
            {
                let mut gz = gzip(&whole);
                gz.truncate(gz.len() / 2);
                gz
            },
            "damaged",
        ),
        ("not JSON", with("{[", &good), ""),
        ("not a list", with("\"x\"", &good), "malformed"),
        ("empty list", with("[]", &good), "no image"),
        ("huge list", tar(&[("manifest.json", &huge)]), "larger than"),
        ("no config", tar(&[("l.tar", &good), ("manifest.json", listed.as_bytes())]), "config"),
        ("missing layer", with(&list(&["nosuch.tar"]), &good), "nosuch.tar"),
        ("two layers", with(&list(&["l.tar", "l.tar"]), &good), "length mismatch: expected 1, got 2"),
        ("other layer", with(&listed, &other), "promises"),
        ("flipped bit", with(&listed, &flipped), ""),
        ("config's digest", tar(&[(&name, b"{}"), ("l.tar", &good), ("manifest.json", listed.as_bytes())]), "digest"),
        ("bad name", with(&listed.replace("bad:1", "BAD:1"), &good), "invalid tag"),
        ("outside", with(&list(&["../../../../../etc/passwd"]), &good), "etc/passwd"),
        ("absolute", with(&list(&["/etc/passwd"]), &good), "etc/passwd"),
        (
            "escaping layer",
            tar(&[("c.json", &escaping), ("l.tar", &escape), ("manifest.json", escaping_list.as_bytes())]),
            "",
        ),
        ("links out", linked, "no image"),
        ("links in a circle", circle, "links"),
        ("twice", tar(&[("manifest.json", b"[]"), ("manifest.json", b"[]")]), "twice"),
        ("missing blob", tar(&[("oci-layout", layout), ("index.json", index.to_string().as_bytes())]), "no blob"),
        (
            "wrong blob",
            tar(&[("oci-layout", layout), ("index.json", index.to_string().as_bytes()), (&blob, b"{}")]),
            "damaged",
        ),
        ("other layout", tar(&[("oci-layout", br#"{"imageLayoutVersion":"9.0"}"#)]), "unknown version"),
        ("index that is none", tar(&[("oci-layout", layout), ("index.json", b"[]")]), "index.json"),
    ] {
        let bench = Bench::new();
        let canary = bench.path("canary");
        write(&canary, "untouched");
        write(bench.path("archive"), &archive);
        for from_file in [true, false] {
            let command = if from_file {
                bench.rbox(&["load", "-i", &bench.text("archive")])
            } else {
                bench.rbox(&["load"]).stdin(archive.clone())
            };
            let output = command.run();
            // A layer's own paths are confined to it: that one is loaded.
            if what == "escaping layer" {
                assert!(output.code <= 1, "{}", output.report());
                continue;
            }
            let output = output.exits(1);
            let (text, report) = (output.err(), output.report());
            assert!(text.starts_with("rbox: ") && text.lines().count() == 1, "{what}: {report}");
            assert!(text.contains(words) && text.len() < 500, "{what}: {report}");
            assert_eq!(output.out(), "", "{what}: {report}");
            assert_eq!(bench.ok(&["images", "-aq"]), "", "{what}");
            assert_eq!(names_in(bench.root().join("layers")), [""; 0], "{what}");
        }
        assert_eq!(read(&canary), "untouched");
        assert!(!bench.root().parent().unwrap().join("escape").exists());
    }
    let bench = Bench::new();
    bench.rbox(&["load", "-i", &bench.text("nosuch")]).run().exits(1);
    let mut terminal = Terminal::rbox(&bench, &["load"]);
    terminal.expect("requested load from stdin, but stdin is empty");
    assert_eq!(terminal.wait(), 1);
    // A layout's files are reached through no link.
    let layout = bench.mkdir("layout");
    write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#);
    std::os::unix::fs::symlink("/etc/passwd", layout.join("index.json")).unwrap();
    let output = bench.rbox(&["load", "-i", &bench.text("layout")]).run().exits(1);
    assert!(output.err().contains("symbolic link"), "{}", output.report());
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn archives_of_old() {
    let (lower, upper) = (layer_tar("lower"), layer_tar("upper"));
    // docker up to 24: layers in directories, a shared one linked.
    let (one, two) = (config_of(&[&lower]), config_of(&[&lower, &upper]));
    let list = json!([
        {"Config": "one.json", "RepoTags": ["old/one:1"], "Layers": ["aa/layer.tar"]},
        {"Config": "two.json", "RepoTags": null, "Layers": ["bb/layer.tar", "./cc//layer.tar"]},
    ]);
    let mut archive = Vec::new();
    member(&mut archive, "aa/", b'5', "", b"");
    member(&mut archive, "aa/layer.tar", b'0', "", &lower);
    member(&mut archive, "bb/layer.tar", b'2', "../aa/layer.tar", b"");
    // Compressed inside, as some tools write it.
    member(&mut archive, "cc/layer.tar", b'0', "", &gzip(&upper));
    member(&mut archive, "one.json", b'0', "", &one);
    member(&mut archive, "two.json", b'0', "", &two);
    member(&mut archive, "manifest.json", b'0', "", list.to_string().as_bytes());
    archive.resize(archive.len() + 1024, 0);
    let bench = Bench::new();
    let out = bench.rbox(&["load"]).stdin(archive).ok();
    let id = format!("sha256:{}", sha256(&two));
    assert_eq!(out, format!("Loaded image: old/one:1\nLoaded image ID: {id}"));
    assert_eq!(facts(&bench, &id).layers.len(), 2);
    assert_eq!(names_in(bench.root().join("layers")).len(), 2, "the lower one is shared");
    assert_eq!(bench.inspect("old/one:1", "{{.Id}}"), format!("sha256:{}", sha256(&one)));

    // docker before 1.10: names to layers, each with its own configuration.
    let json_of = |id: &str, parent: Option<&str>, command: &str| {
        let mut value = json!({"id": id, "created": "2015-01-02T03:04:05Z", "os": "linux", "architecture": "amd64",
            "container_config": {"Cmd": ["/bin/sh", "-c", command]}, "config": {"Cmd": ["/run"], "Env": ["A=b"]}});
        if let Some(parent) = parent {
            value["parent"] = json!(parent);
        }
        value.to_string().into_bytes()
    };
    let archive = tar(&[
        ("l1/VERSION", b"1.0"),
        ("l1/json", &json_of("l1", None, "first")),
        ("l1/layer.tar", &lower),
        ("l2/json", &json_of("l2", Some("l1"), "second")),
        ("l2/layer.tar", &upper),
        ("repositories", br#"{"older":{"1":"l2","latest":"l2"}}"#),
    ]);
    let bench = Bench::new();
    let out = bench.rbox(&["load"]).stdin(archive).ok();
    assert_eq!(out, "Loaded image: older:1\nLoaded image: older:latest");
    assert_eq!(bench.inspect("older", "{{json .Config.Cmd}} {{json .Config.Env}}"), r#"["/run"] ["A=b"]"#);
    assert_eq!(facts(&bench, "older").layers.len(), 2);
    let archive = tar(&[("l1/json", &json_of("l1", Some("l1"), "x")), ("repositories", br#"{"a":{"1":"l1"}}"#)]);
    let output = bench.rbox(&["load"]).stdin(archive).run().exits(1);
    assert!(output.err().contains("no end"), "{}", output.report());
}

#[test]
fn several_platforms() {
    let bench = Bench::new();
    let of = |architecture: &str| {
        Image::small_with(vec![Layer::new().file("architecture", 0o644, architecture)]).architecture(architecture)
    };
    let layout = bench.mkdir("layout");
    crate::common::images::write_layout(&layout, &[of("arm64"), of("amd64"), of("s390x")]);
    let host = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    program("tar").args(["-C", &bench.text("layout"), "-cf", &bench.text("archive"), "."]).ok();
    for path in ["layout", "archive"] {
        let (other, image) = load(&bench.text(path));
        assert_eq!(other.inspect(&image, "{{.Architecture}}"), host, "{path}");
        assert_eq!(names_in(other.root().join("layers")).len(), 2, "only this platform's layers");
        other.ok(&["load", "--platform", "linux/s390x", "-i", &bench.text(path)]);
        assert_eq!(other.ok(&["images", "-aq"]).lines().count(), 2);
        let output = other.rbox(&["load", "--platform", "linux/riscv64", "-i", &bench.text(path)]).run().exits(1);
        assert!(output.err().contains("riscv64") && output.err().contains("arm64"), "{}", output.report());
    }
}

/// Serves one file over http as often as it is asked for.
fn serve(content: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let mut request = [0; 4096];
            let count = stream.read(&mut request).unwrap_or(0);
            let asked = String::from_utf8_lossy(&request[..count]).into_owned();
            let answer = if asked.starts_with("GET /moved") {
                b"HTTP/1.1 302 Found\r\nLocation: /file\r\nContent-Length: 0\r\n\r\n".to_vec()
            } else if asked.starts_with("GET /cut") {
                [
                    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", content.len()).as_bytes(),
                    &content[..content.len() / 2],
                ]
                .concat()
            } else if asked.starts_with("GET /file") {
                [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", content.len()).as_bytes(), &content].concat()
            } else {
                b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec()
            };
            let _ = stream.write_all(&answer);
        }
    });
    format!("http://{address}")
}

#[test]
fn import_of_a_root_file_system() {
    let (bench, image) = Bench::with_image();
    let root = bench.mkdir("root-fs");
    std::fs::create_dir(root.join("bin")).unwrap();
    std::fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    std::os::unix::fs::symlink("busybox", root.join("bin/sh")).unwrap();
    std::os::unix::fs::symlink("busybox", root.join("bin/cat")).unwrap();
    write(root.join("file"), "imported");
    let plain = bench.text("fs.tar");
    program("tar").args(["-C", &bench.text("root-fs"), "--owner=0", "--group=0", "-cf", &plain, "."]).ok();
    let diff_id = format!("sha256:{}", sha256(&std::fs::read(&plain).unwrap()));
    for (packing, suffix) in
        [("gzip -1", "gz"), ("bzip2 -1", "bz2"), ("xz -0", "xz"), ("zstd -1 -q", "zst"), ("cat", "x")]
    {
        bench.shell(&format!("{packing} < {plain} > {plain}.{suffix}")).ok();
        let id = bench.ok(&["import", &format!("{plain}.{suffix}"), &format!("fs:{suffix}")]);
        assert!(id.starts_with("sha256:") && id.len() == 71, "{id}");
        assert_eq!(facts(&bench, &format!("fs:{suffix}")).layers, std::slice::from_ref(&diff_id));
    }
    assert_eq!(names_in(bench.root().join("layers")).len(), 2, "one layer for all, beside the other image");
    assert_eq!(bench.run_rm(&[], "fs:gz", &["cat", "/file"]).ok().out(), "imported");
    let output = bench.run_rm(&[], "fs:gz", &[]).exits(125);
    assert!(output.err().contains("no command"), "{}", output.report());

    let changes = [
        "CMD [\"cat\", \"/file\"]",
        "ENV A=b C=\"$A d\"",
        "EXPOSE 80 53/udp",
        "LABEL k=v",
        "USER 0:0",
        "VOLUME /data",
        "WORKDIR /bin",
        "STOPSIGNAL SIGINT",
        "HEALTHCHECK --interval=5s CMD true",
        "ONBUILD RUN x",
    ];
    let mut arguments = vec!["import", "-q", "-m", "a message", "--platform", "linux/amd64"];
    changes.iter().for_each(|change| arguments.extend(["-c", change]));
    arguments.extend(["-", "changed"]);
    let id = bench.rbox(&arguments).stdin(std::fs::read(&plain).unwrap()).ok();
    assert_eq!(bench.inspect("changed", "{{.Id}}"), id);
    let shown: Value = serde_json::from_str(&bench.ok(&["inspect", "changed"])).unwrap();
    let config = &shown[0]["Config"];
    assert_eq!(config["Cmd"], json!(["cat", "/file"]));
    assert_eq!(config["Env"], json!(["A=b", "C= d"]));
    assert_eq!(config["Labels"], json!({"k": "v"}));
    assert_eq!(config["WorkingDir"], "/bin");
    assert_eq!(shown[0]["Comment"], "a message");
    assert_eq!(bench.run_rm(&[], "changed", &[]).ok().out(), "imported");

    let address = serve(std::fs::read(format!("{plain}.xz")).unwrap());
    for path in ["file", "moved"] {
        bench.ok(&["import", "--arch", "arm64", &format!("{address}/{path}"), "web:1"]);
        assert_eq!(facts(&bench, "web:1").layers, std::slice::from_ref(&diff_id));
    }
    assert_eq!(
        bench.inspect("web:1", "{{.Architecture}} {{.Comment}}"),
        format!("arm64 Imported from {address}/moved")
    );
    let before = bench.ok(&["images", "-q"]);
    write(bench.path("text"), "no archive at all\n".repeat(100));
    for (arguments, code, words) in [
        (vec!["import", &format!("{address}/nosuch"), "bad"], 1, "404"),
        (vec!["import", &format!("{address}/cut"), "bad"], 1, ""),
        (vec!["import", "http://127.0.0.1:1/x", "bad"], 1, "127.0.0.1:1"),
        (vec!["import", &bench.text("nosuch"), "bad"], 1, "nosuch"),
        (vec!["import", &bench.text("text"), "bad"], 1, ""),
        (vec!["import", &plain, "BAD"], 1, "lowercase"),
        (vec!["import", "-c", "RUN x", &plain, "bad"], 1, "run is not a valid change command"),
        (vec!["import", "--platform", "x y", &plain, "bad"], 125, "platform"),
    ] {
        let output = bench.rbox(&arguments).run().exits(code);
        assert!(output.err().contains(words) && output.err().lines().count() == 1, "{}", output.report());
    }
    assert_eq!(bench.ok(&["images", "-q"]), before);
    // Without a name it is kept all the same; what is saved of it is loaded again.
    let id = bench.ok(&["import", &plain]);
    assert!(bench.ok(&["images", "-aq", "--no-trunc"]).contains(&id));
    bench.ok(&["save", "-o", &bench.text("saved"), "changed"]);
    let (other, loaded) = load(&bench.text("saved"));
    assert_eq!(facts(&other, &loaded), facts(&bench, "changed"));
    drop(image);
}

/// An archive of some megabytes that do not compress, in several layers.
fn heavy(bench: &Bench) -> (PathBuf, String) {
    let image = registry().push_once("t/heavy:1", || {
        let layer = |seed| Layer::new().file(&format!("data{seed}"), 0o644, noise(seed, 3 << 20));
        vec![Image::small_with(vec![layer(1), layer(2), layer(3), layer(4)])]
    });
    bench.ok(&["pull", "-q", &image]);
    let path = bench.path("heavy.tar");
    bench.ok(&["save", "-o", &path.display().to_string(), &image]);
    (path, image)
}

#[test]
fn a_killed_load_leaves_a_store_that_goes_on() {
    let source = Bench::new();
    let (archive, image) = heavy(&source);
    let expected = facts(&source, &image);
    let whole = Bench::new();
    let took = whole.rbox(&["load", "-i", &archive.display().to_string()]).run().ok().took;
    let bench = Bench::new();
    let bytes = std::fs::read(&archive).unwrap();
    for round in 0..kills() {
        let running = if round % 2 == 0 {
            bench.rbox(&["load", "-i", &archive.display().to_string()]).spawn()
        } else {
            bench.rbox(&["load"]).stdin(bytes.clone()).spawn()
        };
        std::thread::sleep(pause(round, took));
        running.signal(Signal::KILL);
        drop(running);
        // Whatever has a name is whole.
        bench.rbox(&["system", "check"]).run().ok();
        if round % 3 == 2 {
            bench.rbox(&["rmi", "-f", &image]).run();
        }
    }
    bench.ok(&["load", "-i", &archive.display().to_string()]);
    assert_eq!(facts(&bench, &image), expected);
    let tree = |bench| trees::below_root(&trees::of_rbox(bench, &image));
    trees::same("the source", &tree(&bench), &tree(&source));
    bench.no_staging();
}

#[test]
fn a_killed_save_leaves_no_file() {
    let bench = Bench::new();
    let (archive, image) = heavy(&bench);
    let out = bench.mkdir("out");
    let path = out.join("file").display().to_string();
    let took = bench.rbox(&["save", "-o", &path, &image]).run().ok().took;
    std::fs::remove_file(&path).unwrap();
    let whole = std::fs::metadata(&archive).unwrap().len();
    for round in 0..kills() {
        let running = bench.rbox(&["save", "-o", &path, &image]).spawn();
        std::thread::sleep(pause(round, took));
        running.signal(Signal::KILL);
        drop(running);
        bench.ok(&["system", "check"]);
        let left = names_in(&out);
        assert!(left.is_empty() || left == ["file"], "round {round}: {left:?}");
        if !left.is_empty() {
            assert_eq!(std::fs::metadata(&path).unwrap().len(), whole, "round {round}");
            std::fs::remove_file(&path).unwrap();
        }
    }
    bench.ok(&["save", "-o", &path, &image]);
    assert!(std::fs::read(Path::new(&path)).unwrap() == std::fs::read(&archive).unwrap());
}

/// Moments spread over the time a command takes.
fn pause(round: usize, took: Duration) -> Duration {
    let share = u64::from_le_bytes(noise(round as u64 + 1, 8).try_into().unwrap()) % 1000;
    took.mul_f64(share as f64 / 1000.0)
}
