//! What can be done with images that are here: names, lists, trees, removal, and what all that takes on
//! disk.
//!
//! RBOX_TEST_KILLS says how often the random kills are done; 100 in the long run, fewer otherwise.

use std::time::Duration;

use crate::common::images::{Image, Layer};
use crate::common::registry::registry;
use crate::common::{Bench, names_in, noise, program, read, write};
use rustix::process::Signal;
use serde_json::Value;

fn kills() -> usize {
    std::env::var("RBOX_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(6)
}

/// Three images: `base`, and two on top of it, each with a layer of its own that has a closed directory
/// of a mapped id.
const NAMES: [&str; 3] = ["local/base:1", "local/one:1", "local/two:1"];

fn on_top(name: &str, seed: u64) -> String {
    registry().push_once(&format!("images/{name}:latest"), || {
        let layer = Layer::new()
            .directory("data", 0o755)
            .file("data/noise", 0o644, noise(seed, 700_000))
            .hardlink("data/again", "data/noise")
            .owned_by(1000, 1000)
            .directory("data/closed", 0o700)
            .owned_by(1000, 1000)
            .file("data/closed/inside", 0o600, noise(seed + 100, 90_000));
        let labels = serde_json::json!({"Labels": {"which": name}});
        vec![Image::small_with(vec![layer]).config(labels)]
    })
}

/// A store with the three images, each under one tag and nothing else.
fn three() -> Bench {
    let bench = Bench::new();
    for (source, name) in [registry().small(), on_top("one", 1), on_top("two", 2)].iter().zip(NAMES) {
        bench.ok(&["pull", "-q", source]);
        bench.ok(&["tag", source, name]);
        bench.ok(&["rmi", source]);
    }
    bench
}

fn id(bench: &Bench, name: &str) -> String {
    bench.inspect(name, "{{.Id}}").trim_start_matches("sha256:").to_owned()
}

/// Names of the images that are listed, sorted.
fn listed(bench: &Bench, flags: &[&str]) -> String {
    let out = bench.rbox(&["images", "--format", "{{.Repository}}:{{.Tag}}"]).args(flags).ok();
    let mut names: Vec<&str> = out.lines().collect();
    names.sort_unstable();
    names.join(" ")
}

/// What `du` says of the store, by somebody who may look into every directory.
pub fn du(bench: &Bench) -> u64 {
    let du = program("unshare").args(["--user", "--map-auto", "--map-root-user", "du", "-s", "--block-size=1"]);
    let out = du.arg(bench.root()).ok();
    out.split_whitespace().next().and_then(|bytes| bytes.parse().ok()).expect("a number")
}

/// Asserts that the sum of `system df -v` is what `du` says; if it is not, with what each of them found.
pub fn assert_accounted(bench: &Bench, when: &str) {
    // A file in many pieces gets a block more, for the list of them, only when it is written out.
    program("sync").arg("-f").arg(bench.root()).ok();
    let parts_then = parts(bench);
    let (ours, theirs) = (sum_of_parts(&parts_then), du(bench));
    if ours != theirs {
        let du = program("unshare").args(["--user", "--map-auto", "--map-root-user", "du", "-a", "--block-size=1"]);
        let all = du.arg(bench.root()).ok();
        let (parts_now, again) = (parts(bench), self::du(bench));
        panic!("{when}: {ours} of {theirs} bytes are accounted for: {parts_then}\n{again} later: {parts_now}\n{all}");
    }
}

fn bytes_of(bench: &Bench, kind: &str, field: &str) -> u64 {
    let out = bench.ok(&["system", "df", "--format", &format!("{{{{.Type}}}}={{{{.{field}}}}}")]);
    let line = out.lines().find_map(|line| line.strip_prefix(&format!("{kind}="))).expect("the row");
    line.parse().expect("a number")
}

/// The sum that `system df -v` ends with, in bytes.
pub fn all_bytes(bench: &Bench) -> u64 {
    sum_of_parts(&parts(bench))
}

/// The parts of the store and their sum.
fn parts(bench: &Bench) -> Value {
    let document: Value = serde_json::from_str(&bench.ok(&["system", "df", "-v", "--format", "json"])).expect("JSON");
    document["Store"].clone()
}

fn sum_of_parts(parts: &Value) -> u64 {
    let parts = parts.as_array().expect("the parts");
    let bytes = |part: &Value| part["RawSize"].as_str().expect("text").parse::<u64>().expect("a number");
    let (total, parts) = parts.split_last().expect("a sum");
    assert_eq!(parts.iter().map(bytes).sum::<u64>(), bytes(total));
    bytes(total)
}

/// `1.234MB` of docker's `%.4g`, for the bytes.
fn four_digits(bytes: u64) -> String {
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1000.0 {
        value /= 1000.0;
        unit += 1;
    }
    let digits = if value >= 1000.0 {
        0
    } else if value >= 100.0 {
        1
    } else if value >= 10.0 {
        2
    } else {
        3
    };
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{}", ["B", "kB", "MB", "GB"][unit])
}

#[test]
fn a_tag_that_moves_on_leaves_an_untagged_image() {
    let bench = three();
    let [base, one, two] = NAMES.map(|name| id(&bench, name));
    assert_eq!(bench.ok(&["tag", NAMES[0], "x:1", "x:2"]), "");
    bench.ok(&["rmi", NAMES[1]]);
    assert_eq!(listed(&bench, &[]), "local/base:1 local/two:1 x:1 x:2");
    bench.ok(&["tag", NAMES[2], "x:1"]);
    assert_eq!(id(&bench, "x:1"), two, "it moved");
    assert_eq!(listed(&bench, &["-f", "dangling=true"]), "", "the other one has names");
    bench.ok(&["tag", NAMES[2], "x:2"]);
    bench.ok(&["tag", NAMES[2], NAMES[0]]);
    assert_eq!(listed(&bench, &["-f", "dangling=true"]), "<none>:<none>");
    assert_eq!(listed(&bench, &["-f", "dangling=false"]), "local/base:1 local/two:1 x:1 x:2");
    let row = bench.ok(&["images", "-f", "dangling=true", "--no-trunc", "--digests"]);
    let cells: Vec<&str> = row.lines().nth(1).expect("a row").split_whitespace().collect();
    assert_eq!(cells[..4], ["<none>", "<none>", "<none>", &format!("sha256:{base}")]);
    assert_eq!(bench.inspect(&base[..12], "{{json .RepoTags}} {{json .RepoDigests}}"), "[] []");
    // It is an image like any other.
    assert_eq!(bench.run_rm(&[], &base[..12], &["cat", "/etc/os-release"]).ok().out(), "ID=small");
    bench.ok(&["create", "--name", "c", &base]);
    assert_eq!(bench.ok(&["ps", "-a", "--format", "{{.Image}}"]), base[..12]);
    assert_eq!(bench.ok(&["ps", "-aq", "-f", &format!("ancestor={base}")]).len(), 12);
    assert_eq!(bench.ok(&["image", "prune", "-f"]), "Total reclaimed space: 0B", "a container needs it");
    bench.rbox(&["rmi", &base]).run().refused(1, "image is being used by stopped container");
    bench.ok(&["rm", "c"]);
    bench.rbox(&["system", "check"]).run().ok();
    let out = bench.ok(&["image", "prune", "-f"]);
    assert!(out.starts_with(&format!("Deleted Images:\ndeleted: sha256:{base}\n\nTotal reclaimed space: ")), "{out}");
    assert!(!bench.rbox(&["image", "exists", &base]).run().exits(1).err().contains("rbox"));
    // The layer stays, for another image needs it.
    assert_eq!(bench.run_rm(&[], "x:1", &["cat", "/etc/os-release"]).ok().out(), "ID=small");
    bench.rbox(&["image", "exists", &one]).run().exits(1);
    for (target, why) in [("UPPER:x", "must be lowercase"), (&format!("x@sha256:{one}"), "digest reference")] {
        let output = bench.rbox(&["tag", "x:1", target]).run().exits(1);
        assert!(output.err().contains(&format!("Error parsing reference: \"{target}\" is not a valid")), "{target}");
        assert!(output.err().contains(why), "{}", output.report());
    }
    bench.rbox(&["tag", "nosuch", "x"]).run().refused(1, "No such image: nosuch:latest");
}

#[test]
fn untag_keeps_the_image() {
    let bench = three();
    let one = id(&bench, NAMES[1]);
    bench.ok(&["tag", NAMES[1], "x:1", "x:2"]);
    assert_eq!(bench.ok(&["untag", NAMES[1], "x:2"]), "");
    assert_eq!(bench.inspect(&one, "{{json .RepoTags}}"), "[\"x:1\",\"local/one:1\"]");
    bench.rbox(&["untag", NAMES[1], NAMES[2]]).run().refused(1, "local/two:1: tag not known");
    bench.ok(&["image", "untag", &one]);
    assert_eq!(bench.inspect(&one, "{{json .RepoTags}}"), "[]");
    assert_eq!(listed(&bench, &[]), "<none>:<none> local/base:1 local/two:1");
    bench.ok(&["tag", &one, "back"]);
    assert_eq!(listed(&bench, &["-f", "dangling=true"]), "");
    let out = bench.ok(&["rmi", "back"]);
    assert!(out.starts_with(&format!("Untagged: back:latest\nDeleted: sha256:{one}\nDeleted: sha256:")), "{out}");
    bench.rbox(&["untag", &one]).run().refused(1, "No such image");
}

#[test]
fn removal_by_every_reference_names_its_users() {
    let bench = Bench::new();
    let image = on_top("one", 1);
    bench.ok(&["pull", "-q", &image]);
    let (repository, _) = image.rsplit_once(':').expect("a tag");
    let digest = registry().digest(&image);
    let id = id(&bench, &image);
    bench.ok(&["create", "--name", "user", &image]);
    let user = bench.inspect("user", "{{.Id}}")[..12].to_owned();
    let short = &id[..12];
    let refused = |reference: &str, text: &str| bench.rbox(&["rmi", reference]).run().refused(1, text);
    refused(
        &image,
        &format!(
            "conflict: unable to remove repository reference \"{image}\" (must force) - container {user} is using its \
             referenced image {short}"
        ),
    );
    let stopped = format!(
        "conflict: unable to delete {short} (must be forced) - image is being used by stopped container {user}"
    );
    refused(short, &stopped);
    refused(&id, &stopped);
    bench.rbox(&["rmi", "-a"]).run().refused(1, &stopped);
    bench.ok(&["tag", &image, "other:1"]);
    refused(short, &format!("conflict: unable to delete {short} (must be forced) - image is referenced in multiple"));
    bench.ok(&["rm", "user"]);
    bench.start(&["--name", "user"], &image, &["sleep", "1000"]);
    let user = bench.inspect("user", "{{.Id}}")[..12].to_owned();
    let running = format!("(cannot be forced) - image is being used by running container {user}");
    bench.rbox(&["rmi", "-f", short]).run().refused(1, &running);
    assert_eq!(bench.ok(&["rmi", "other:1"]), "Untagged: other:1");
    // Forced away from under a running container it stays without a name.
    let out = bench.ok(&["rmi", "-f", &image]);
    assert_eq!(out, format!("Untagged: {image}\nUntagged: {repository}@{digest}"));
    assert_eq!(listed(&bench, &[]), "<none>:<none>");
    bench.ok(&["rm", "-f", "user"]);
    let out = bench.ok(&["rmi", &short[..6]]);
    assert!(out.starts_with(&format!("Deleted: sha256:{id}\nDeleted: sha256:")), "{out}");
    assert_eq!(names_in(bench.root().join("images")), [""; 0]);
    assert_eq!((names_in(bench.root().join("layers")), names_in(bench.root().join("blobs/sha256"))), (vec![], vec![]));

    bench.ok(&["pull", "-q", &format!("{repository}@{digest}")]);
    assert_eq!(listed(&bench, &["-f", "dangling=true"]), format!("{repository}:<none>"));
    let out = bench.ok(&["rmi", &format!("{repository}:any@{digest}")]);
    assert!(out.starts_with(&format!("Untagged: {repository}@{digest}\nDeleted: sha256:{id}")), "{out}");
    for flags in [&["-f"][..], &["-i"], &["--no-prune", "--ignore"]] {
        assert_eq!(bench.rbox(&["rmi"]).args(flags).arg("nosuch").ok(), "");
    }
    let output = bench.rbox(&["rmi", "nosuch", "alsonot:1"]).run().exits(1);
    assert_eq!(output.err(), "rbox: No such image: nosuch:latest\nrbox: No such image: alsonot:1");
}

#[test]
fn lists_filter_sort_and_show() {
    let bench = three();
    let [base, one, _] = NAMES.map(|name| id(&bench, name));
    bench.ok(&["create", "--name", "c", NAMES[1]]);
    let everything = NAMES.join(" ");
    for (filters, expected) in [
        (&["label=which"][..], "local/one:1 local/two:1"),
        (&["label=which=two"], "local/two:1"),
        (&["label!=which"], "local/base:1"),
        (&["label=which", "label=which=one"], "local/one:1"),
        (&["reference=local/*:1"], &everything),
        (&["reference=local/o*", "reference=local/t*"], "local/one:1 local/two:1"),
        (&["reference=*"], ""),
        (&["until=2030-01-01"], &everything),
        (&["until=2020-01-01"], ""),
        (&[&format!("id={}", &base[..10])], "local/base:1"),
        (&[&format!("since={}", NAMES[0])], ""),
        (&["containers=true"], "local/one:1"),
        (&["containers=false"], "local/base:1 local/two:1"),
        (&["readonly=true"], ""),
        (&["intermediate=false", "manifest=false"], &everything),
        (&["dangling=true"], ""),
    ] {
        let flags: Vec<&str> = filters.iter().flat_map(|filter| ["-f", *filter]).collect();
        assert_eq!(listed(&bench, &flags), expected, "{filters:?}");
        assert_eq!(listed(&bench, &[&["-a"], &flags[..]].concat()), expected, "{filters:?}");
    }
    for (filter, text) in [("bogus", "bad format of filter"), ("nosuch=1", "invalid filter 'nosuch'")] {
        let output = bench.rbox(&["images", "-f", filter]).run();
        assert!(output.code != 0 && output.err().contains(text), "{}", output.report());
    }
    bench.rbox(&["images", "-f", "before=nosuch"]).run().refused(1, "No such image: nosuch:latest");
    let by = |sort: &str| bench.ok(&["images", "--sort", sort, "--format", "{{.Repository}}"]).replace("local/", "");
    assert_eq!(by("repository"), "base\none\ntwo");
    assert_eq!(by("size").lines().next(), Some("base"));
    let one_row = |format: &str| bench.ok(&["images", "--format", format, NAMES[1]]);
    assert_eq!(one_row("{{.Containers}} {{.Labels}} {{.Dangling}}"), "1 which=one false");
    assert_eq!(one_row("{{.Id}} {{.RepoTags}} {{.History}}"), format!("{one} local/one:1 local/one:1"));
    let sizes = one_row("{{.Size}} {{.SharedSize}} {{.UniqueSize}}");
    let base_size = bench.ok(&["images", "--format", "{{.Size}}", NAMES[0]]);
    assert!(sizes.ends_with(&format!(" {base_size} 790kB")), "{sizes}");
    assert!(one_row("json").contains("\"Containers\":\"N/A\""), "not counted unless asked for by name");
    let table = bench.ok(&["images", "-n", "--history", NAMES[1]]);
    assert!(table.starts_with("local/one") && table.ends_with("local/one:1"), "{table}");
    // What is remembered of the list is never older than what is there.
    for _ in 0..2 {
        std::thread::sleep(Duration::from_millis(2100));
        assert_eq!(listed(&bench, &[]), everything);
    }
    assert!(bench.root().join("cache/images").exists());
    let record = bench.root().join("images").join(&names_in(bench.root().join("images"))[0]);
    let kept = read(&record);
    write(&record, "damage");
    let output = bench.rbox(&["images", "-q"]).run().ok();
    assert!(output.err().contains("is damaged") && output.out().lines().count() == 2, "{}", output.report());
    write(&record, kept);
    write(bench.root().join("cache/images"), "{]");
    assert_eq!(listed(&bench, &[]), everything);
}

#[test]
fn trees_show_what_is_shared() {
    let bench = three();
    let out = bench.ok(&["image", "tree", NAMES[1]]);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], format!("Image ID: {}", &id(&bench, NAMES[1])[..12]));
    assert_eq!(lines[1], "Tags:     [local/one:1]");
    assert!(lines[2].starts_with("Size:     ") && lines[2].contains("(unique 790kB, shared "), "{out}");
    assert_eq!(lines[3], "Image Layers");
    assert!(lines[4].starts_with("├── ID: "), "{out}");
    assert!(lines[4].contains(" Top Layer of: [local/base:1] Shared with: [local/"), "{out}");
    assert!(
        lines[5].starts_with("└── ID: ") && lines[5].ends_with("Size:   790kB Top Layer of: [local/one:1]"),
        "{out}"
    );
    let out = bench.ok(&["image", "tree", "--whatrequires", NAMES[0]]);
    assert!(out.contains("\n└── ID: ") && out.contains("\n    ├── ID: ") && out.contains("\n    └── ID: "), "{out}");
    assert!(out.contains("Top Layer of: [local/one:1]") && out.contains("Top Layer of: [local/two:1]"), "{out}");
    bench.rbox(&["image", "tree", "nosuch"]).run().refused(1, "No such image: nosuch:latest");
}

#[test]
fn every_block_is_accounted_for_and_prune_says_what_it_frees() {
    let bench = three();
    assert_accounted(&bench, "measured");
    assert_accounted(&bench, "remembered");
    let script = "dd if=/dev/urandom of=/big bs=1000 count=300 2>/dev/null; mkdir -m 700 /closed; touch /closed/x; \
                  chown -R 1000:1000 /closed; echo out";
    bench.rbox(&["run", "--name", "stopped", NAMES[1], "sh", "-c", script]).ok();
    bench.start(&["--name", "running"], NAMES[1], &["sh", "-c", "echo x >/file; sleep 1000"]);
    crate::common::wait_until("the file is there", || {
        bench.rbox(&["exec", "running", "test", "-s", "/file"]).run().code == 0
    });
    assert_accounted(&bench, "at the end");
    let table = bench.ok(&["system", "df"]);
    let rows: Vec<Vec<&str>> =
        table.lines().map(|line| line.split("  ").filter(|cell| !cell.is_empty()).collect()).collect();
    assert_eq!(
        rows[0].iter().map(|cell| cell.trim()).collect::<Vec<_>>(),
        ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]
    );
    assert_eq!(rows[1][..3].iter().map(|cell| cell.trim()).collect::<Vec<_>>(), ["Images", "3", "1"]);
    assert_eq!(rows[2][..3].iter().map(|cell| cell.trim()).collect::<Vec<_>>(), ["Containers", "2", "1"]);
    assert!(table.contains("Local Volumes   0         0         0B        0B\n"), "{table}");
    assert!(table.ends_with("Build Cache     0         0         0B        0B"), "{table}");
    let verbose = bench.ok(&["system", "df", "-v"]);
    for title in
        ["Images space usage:", "Containers space usage:", "Local Volumes space usage:", "Build cache usage: 0B"]
    {
        assert!(verbose.contains(&format!("{title}\n\n")), "{verbose}");
    }
    assert!(verbose.contains("SHARED SIZE   UNIQUE SIZE   CONTAINERS"), "{verbose}");

    let (before, expected) = (du(&bench), bytes_of(&bench, "Containers", "RawReclaimable"));
    assert!(expected > 300_000);
    let stopped = bench.inspect("stopped", "{{.Id}}");
    let out = bench.rbox(&["container", "prune"]).stdin("y\n").run().ok().out();
    assert!(out.starts_with("WARNING! This will remove all stopped containers.\n"), "{out}");
    assert!(
        out.ends_with(&format!("Deleted Containers:\n{stopped}\n\nTotal reclaimed space: {}", four_digits(expected))),
        "{out}"
    );
    assert_eq!(before - du(&bench), expected);

    let (before, expected) = (du(&bench), bytes_of(&bench, "Images", "RawReclaimable"));
    assert!(expected > 790_000 && expected < 2_000_000, "one of the images is in use: {expected}");
    let out = bench.ok(&["image", "prune", "-af"]);
    assert!(out.contains("untagged: local/two:1\n") && out.contains("untagged: local/base:1\n"), "{out}");
    assert!(out.ends_with(&format!("\n\nTotal reclaimed space: {}", four_digits(expected))), "{out}");
    assert_eq!(before - du(&bench), expected);
    assert_eq!(bytes_of(&bench, "Images", "RawReclaimable"), 0);

    bench.ok(&["network", "create", "unused"]);
    bench.rbox(&["stop", "-t", "0", "running"]).ok();
    let running = bench.inspect("running", "{{.Id}}");
    let refused = bench.rbox(&["system", "prune", "-a"]).stdin("n\n").run().ok().out();
    assert!(refused.ends_with("  - all build cache\n\nAre you sure you want to continue? [y/N] "), "{refused}");
    bench.rbox(&["system", "prune", "-f", "--volumes", "--filter", "until=1h"]).run().refused(1, "not supported with");
    assert_eq!(bench.ok(&["system", "prune", "-af", "--filter", "label=nosuch"]), "Total reclaimed space: 0B");
    let out = bench.ok(&["system", "prune", "-af", "--volumes"]);
    let head = format!(
        "Deleted Containers:\n{running}\n\nDeleted Networks:\nunused\n\nDeleted Images:\nuntagged: local/one:1\n"
    );
    assert!(out.starts_with(&head) && out.contains("\n\nTotal reclaimed space: "), "{out}");
    assert_eq!(bytes_of(&bench, "Images", "RawSize") + bytes_of(&bench, "Containers", "RawSize"), 0);
    assert_accounted(&bench, "at the end");
}

#[test]
fn what_interrupted_work_left_goes_with_the_next_command_that_writes() {
    let bench = three();
    let left = bench.root().join("staging/0123456789abcdef/diff");
    let leave = || {
        program("unshare")
            .args(["--user", "--map-auto", "--map-root-user", "sh", "-c"])
            .arg(format!("mkdir -p {0}/closed && chown 1000 {0}/closed && chmod 700 {0}/closed", left.display()))
            .ok();
        write(bench.root().join("leases/0123"), "");
    };
    for command in [&["tag", NAMES[0], "x"][..], &["untag", "x", "x"], &["rmi", "x"], &["image", "prune", "-f"]] {
        if command[0] == "rmi" {
            bench.ok(&["tag", NAMES[0], "x"]);
        }
        leave();
        bench.ok(command);
        bench.no_staging();
        assert_eq!(names_in(bench.root().join("leases")), [""; 0], "{command:?}");
    }
    leave();
    let before = all_bytes(&bench);
    assert_eq!(before, du(&bench), "what is left is accounted for");
    // What a killed process of a network leaves: of one that is still there, and of a container's own.
    bench.ok(&["network", "create", "left"]);
    let networks = bench.runroot().join("networks");
    let [known, own] = [bench.ok(&["network", "inspect", "-f", "{{.Id}}", "left"]), "0".repeat(64)];
    for id in [&known, &own] {
        std::fs::create_dir_all(networks.join(id).join("endpoints")).expect("ours");
        write(networks.join(id).join("anchor"), "");
    }
    bench.ok(&["system", "check"]);
    assert!(all_bytes(&bench) < before + 8192);
    assert_eq!((networks.join(&known).join("anchor").exists(), networks.join(&own).exists()), (false, false));
    bench.ok(&["network", "rm", "left"]);
}

#[test]
fn killed_while_removing_and_pruning() {
    let bench = three();
    let images: Vec<String> = [registry().small(), on_top("one", 1), on_top("two", 2)].into();
    for round in 0..kills() {
        let command: &[&str] = match round % 3 {
            0 => &["rmi", "-f", NAMES[1], NAMES[2]],
            1 => &["image", "prune", "-af"],
            _ => &["system", "prune", "-af"],
        };
        bench.rbox(&["create", "--name", "c", NAMES[2]]).run();
        let running = bench.rbox(command).spawn();
        std::thread::sleep(Duration::from_micros(u64::from(noise(round as u64, 1)[0]) * 200));
        running.signal(Signal::KILL);
        running.wait();
        // Everything that is still named is whole.
        let out = bench.rbox(&["system", "check"]).run();
        assert_eq!((out.code, out.out()), (0, String::new()), "round {round}: {}", out.report());
        assert_accounted(&bench, &format!("round {round}"));
        bench.rbox(&["rm", "-f", "c"]).run();
        bench.ok(&["rmi", "-af"]);
        bench.ok(&["image", "prune", "-af"]);
        assert_eq!(bytes_of(&bench, "Images", "RawSize"), 0, "round {round}: a repeat finishes");
        for (source, name) in images.iter().zip(NAMES) {
            bench.ok(&["pull", "-q", source]);
            bench.ok(&["tag", source, name]);
        }
    }
}

#[test]
fn four_at_once_lose_nothing_that_has_a_name() {
    let bench = three();
    let (one, two) = (on_top("one", 1), on_top("two", 2));
    let rounds = kills().clamp(3, 20);
    std::thread::scope(|scope| {
        let work = |lane: usize| {
            let (bench, one, two) = (&bench, &one, &two);
            move || {
                for _ in 0..rounds {
                    match lane {
                        0 => {
                            bench.ok(&["pull", "-q", one]);
                            bench.rbox(&["rmi", one]).run();
                        }
                        1 => {
                            bench.ok(&["pull", "-q", two]);
                            bench.rbox(&["tag", two, "moving:1"]).run();
                            bench.rbox(&["rmi", "-f", two]).run();
                        }
                        2 => {
                            bench.ok(&["image", "prune", "-f"]);
                            bench.ok(&["tag", NAMES[0], "moving:1"]);
                        }
                        _ => {
                            bench.rbox(&["rmi", "moving:1"]).run();
                            bench.ok(&["images"]);
                            bench.ok(&["system", "df", "-v"]);
                        }
                    };
                }
            }
        };
        (0..4).for_each(|lane| drop(scope.spawn(work(lane))));
    });
    bench.rbox(&["system", "check"]).run().ok();
    for name in NAMES {
        assert_eq!(bench.run_rm(&[], name, &["cat", "/etc/os-release"]).ok().out(), "ID=small");
    }
    // Supervisors clean up after their clients have ended.
    bench.no_processes();
    assert_accounted(&bench, "at the end");
}

#[test]
fn platforms_are_asked_for_in_docker_s_and_in_podman_s_words() {
    let (bench, image) = Bench::with_image();
    let host = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    let (here, other) = (format!("linux/{host}"), "linux/s390x");
    let refusal =
        format!("image with reference {image} was found but does not provide the specified platform ({other})");
    for command in [&["history"][..], &["image", "inspect"], &["rmi"]] {
        let with = |platform: &str| bench.rbox(command).args(["--platform", platform, &image]).run();
        let refused = with(other).exits(1);
        assert!(refused.err().contains(&refusal), "{}", refused.report());
        if command != ["rmi"] {
            with(&here).ok();
        }
    }
    assert_eq!(bench.run_rm(&["--arch", host, "--os", "linux"], &image, &["echo", "runs"]).ok().out(), "runs");
    bench.rbox(&["run", "--platform", &here, "--arch", host, &image]).run().refused(125, "conflicting options");
    bench.ok(&["rmi", "--platform", &here, &image]);
    assert_eq!(bench.ok(&["images", "-q"]), "");
}

#[test]
fn an_image_goes_with_its_container() {
    let (bench, image) = Bench::with_image();
    bench.ok(&["create", "--name", "other", &image, "true"]);
    let kept = bench.rbox(&["run", "--rmi", &image, "sh", "-c", "exit 3"]).run().exits(3);
    assert!(kept.err().contains("container") && !bench.ok(&["images", "-q"]).is_empty(), "{}", kept.report());
    bench.ok(&["rm", "other"]);
    assert_eq!(bench.rbox(&["run", "--rmi", &image, "echo", "last"]).run().ok().out(), "last");
    assert_eq!((bench.ok(&["images", "-q"]), bench.ok(&["ps", "-aq"])), (String::new(), String::new()));
    bench.rbox(&["run", "-d", "--rmi", &image]).run().exits(125);
}

#[test]
fn images_as_a_tree_and_podman_s_fields() {
    let (bench, image) = Bench::with_image();
    bench.ok(&["tag", &image, "second:1"]);
    bench.ok(&["create", &image, "true"]);
    let tree = bench.ok(&["images", "--tree"]);
    let lines: Vec<&str> = tree.lines().collect();
    assert!(lines[0].starts_with("IMAGE ") && lines[0].ends_with("EXTRA"), "{tree}");
    assert!(lines[1].ends_with(" U") && lines[3].starts_with("└─ linux/") && lines.len() == 4, "{tree}");
    bench.rbox(&["images", "--tree", "-q"]).run().refused(1, "--quiet is not yet supported with --tree");
    let manifest = registry().digest(&image);
    assert_eq!(bench.ok(&["image", "inspect", "-f", "{{.Digest}}", &image]), manifest);
    assert!(bench.ok(&["inspect", "-f", "{{json .NamesHistory}}{{.ManifestType}}", &image]).contains("manifest.v"));
    assert!(!bench.ok(&["image", "inspect", &image]).contains("NamesHistory"));
    let full = bench.rbox(&["save", "-o", "/dev/full", &image]).run().exits(1);
    assert!(full.err().contains("write to /dev/full: ") && !full.err().contains("suspects"), "{}", full.report());
}
