//! Volumes: their commands, how containers get and share them, what they begin with, and that nothing is lost or left
//! when something is killed.
//!
//! RBOX_TEST_KILLS says how often the random kills are done; 100 in the long run, fewer otherwise.

use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant};

use crate::common::images::{Image, Layer};
use crate::common::registry::registry;
use crate::common::{Bench, names_in, read, wait_until, write};
use rustix::process::Signal;
use serde_json::{Value, json};

fn kills() -> usize {
    std::env::var("RBOX_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(6)
}

/// An image that has something at /data, which is also its volume, in two layers with a link on the way.
fn with_data() -> String {
    let below = Layer::new()
        .owned_by(1000, 1001)
        .directory("data", 0o2750)
        .owned_by(1000, 1001)
        .file("data/own", 0o640, "mine")
        .file("data/gone", 0o644, "x")
        .directory("data/sub", 0o755)
        .symlink("link", "/data/sub");
    let above = Layer::new()
        .owned_by(1000, 1001)
        .directory("data", 0o2750)
        .whiteout("data/gone")
        .xattr("user.colour", b"red")
        .file("data/sub/a", 0o600, "a")
        .hardlink("data/sub/b", "data/sub/a")
        .file("data/sub/script", 0o4755, "#!/bin/sh\n")
        .symlink("data/escape", "/etc/passwd");
    let image = Image::small_with(vec![below, above]).config(json!({"Volumes": {"/data": {}}}));
    registry().push_once("test/volumes:data", || vec![image.clone()])
}

/// A bench with that image.
fn bench() -> (Bench, String) {
    let bench = Bench::new();
    let image = with_data();
    bench.ok(&["pull", "-q", &image]);
    (bench, image)
}

fn volumes(bench: &Bench) -> Vec<String> {
    bench.ok(&["volume", "ls", "-q"]).lines().map(str::to_owned).collect()
}

#[test]
fn a_shared_volume_outlives_its_containers() {
    let (bench, image) = Bench::with_image();
    let create = ["volume", "create", "--driver", "local", "--label", "example=cassandra", "cass-shared"];
    assert_eq!([bench.ok(&create), bench.ok(&create)], ["cass-shared"; 2]);
    let shared = ["-v", "cass-shared:/var/lib/cassandra/data"];
    let write = "for n in 1 2 3; do echo $n >> /var/lib/cassandra/data/log; sleep 0.1; done; sleep 1000";
    bench.start(&[&["--name", "cass1"][..], &shared].concat(), &image, &["sh", "-c", write]);
    bench.start(&[&["--name", "cass2"][..], &shared].concat(), &image, &["sleep", "1000"]);
    let seen = || bench.rbox(&["exec", "cass2", "cat", "/var/lib/cassandra/data/log"]).run().out();
    wait_until("the reader sees what is written", || seen() == "1\n2\n3" || seen() == "1\n2\n3\n");
    let refused = bench.rbox(&["volume", "rm", "cass-shared"]).run().exits(1);
    let ids: Vec<String> = ["cass1", "cass2"].iter().map(|name| bench.inspect(name, "{{.Id}}")).collect();
    assert!(refused.err().starts_with("rbox: remove cass-shared: volume is in use - ["), "{}", refused.err());
    assert!(ids.iter().all(|id| refused.err().contains(id)), "{}", refused.err());
    assert_eq!(bench.ok(&["rm", "-vf", "cass1"]), "cass1");
    assert!(seen().starts_with("1\n2\n3"));
    bench.ok(&["rm", "-vf", "cass2"]);
    let mountpoint = bench.ok(&["volume", "inspect", "-f", "{{.Mountpoint}}", "cass-shared"]);
    assert_eq!(read(format!("{mountpoint}/log")), "1\n2\n3\n");

    bench.ok(&["create", "-v", "cass-shared:/data", "--name", "data", &image, "true"]);
    let output = bench.run_rm(&["--volumes-from", "data"], &image, &["cat", "/data/log"]).ok();
    assert_eq!(output.out(), "1\n2\n3");
    bench.run_rm(&["--volumes-from", "data:ro"], &image, &["touch", "/data/x"]).exits(1);
    bench.ok(&["create", "--name", "other", "--volumes-from", "data:ro", &image, "true"]);
    assert_eq!(bench.inspect("other", "{{json .HostConfig.VolumesFrom}}"), "[\"data:ro\"]");
    let mounts = "{{range .Mounts}}{{.Type}} {{.Name}} {{.Destination}} {{.Driver}} {{.RW}}{{end}}";
    assert_eq!(bench.inspect("other", mounts), "volume cass-shared /data local false");
    bench.ok(&["rm", "-v", "data", "other"]);
    assert_eq!(volumes(&bench), ["cass-shared"]);
    assert_eq!(bench.ok(&["volume", "rm", "cass-shared"]), "cass-shared");
    bench.no_staging();
}

#[test]
fn a_new_volume_begins_with_what_the_image_has() {
    let (bench, image) = bench();
    let list = "cd /data && stat -c '%n %u:%g %a' . sub && stat -c '%n %u:%g %a %h' own sub/a sub/b sub/script escape && \
                cat own && ls";
    let expected = bench.rbox(&["run", "--rm", "--image-volume", "ignore", &image, "sh", "-c", list]).ok();
    assert!(expected.contains("own 1000:1001 640") && expected.contains("sub/a 0:0 600 2"), "{expected}");
    assert_eq!(bench.rbox(&["run", "--rm", "-v", "named:/data", &image, "sh", "-c", list]).ok(), expected);
    assert_eq!(volumes(&bench), ["named"]);
    // An anonymous one for the image's VOLUME, which goes with the container.
    assert_eq!(bench.rbox(&["run", "--rm", &image, "sh", "-c", list]).ok(), expected);
    assert_eq!(volumes(&bench), ["named"]);
    // Through the image's own link, and with other ids.
    bench.run_rm(&["-v", "linked:/link"], &image, &["sh", "-c", "ls /data/sub/a"]).ok();
    bench.run_rm(&["-v", "linked:/x"], &image, &["ls", "/x/a", "/x/b"]).ok();
    // Never into one that has something, nor where it is not wanted.
    bench.run_rm(&["-v", "named:/data"], &image, &["sh", "-c", "rm -rf /data/* && touch /data/new"]).ok();
    assert_eq!(bench.run_rm(&["-v", "named:/data"], &image, &["ls", "/data"]).ok().out(), "new");
    assert_eq!(bench.run_rm(&["-v", "plain:/data:nocopy"], &image, &["ls", "-a", "/data"]).ok().out(), ".\n..");
    // What was emptied on purpose stays so.
    bench.run_rm(&["-v", "named:/data"], &image, &["rm", "/data/new"]).ok();
    assert_eq!(bench.run_rm(&["-v", "named:/data"], &image, &["ls", "/data"]).ok().out(), "");
    // It is filled when the container is made, as with docker: who never starts has filled it.
    bench.ok(&["create", "--name", "data", "-v", "made:/data", &image, "true"]);
    let from = bench.rbox(&["run", "--rm", "--volumes-from", "data", &image, "sh", "-c", list]).ok();
    assert_eq!(from, expected);
    bench.ok(&["rm", "-v", "data"]);
    bench.no_staging();
}

#[test]
fn parts_backings_and_options() {
    let (bench, image) = bench();
    bench.ok(&["volume", "create", "-o", "type=tmpfs", "-o", "o=size=1m,mode=1777", "fast"]);
    bench.start(&["--name", "one", "-v", "fast:/fast"], &image, &["sh", "-c", "echo x > /fast/f; sleep 1000"]);
    wait_until("it is there", || bench.rbox(&["exec", "one", "cat", "/fast/f"]).run().out() == "x");
    assert_eq!(bench.run_rm(&["-v", "fast:/other"], &image, &["cat", "/other/f"]).ok().out(), "x");
    bench.ok(&["rm", "-f", "one"]);
    bench.run_rm(&["-v", "fast:/other"], &image, &["test", "!", "-e", "/other/f"]).ok();

    let site = bench.mkdir("site");
    let device = format!("device={}", site.display());
    bench.ok(&["volume", "create", "-o", "type=none", "-o", "o=bind", "-o", &device, "site"]);
    bench.run_rm(&["-v", "site:/srv"], &image, &["sh", "-c", "echo hi > /srv/index"]).ok();
    assert_eq!(read(site.join("index")), "hi\n");
    bench.ok(&["volume", "rm", "site"]);
    assert_eq!(read(site.join("index")), "hi\n");

    bench.ok(&["volume", "create", "--uid", "1000", "--gid", "1001", "owned"]);
    let owner = bench.run_rm(&["-v", "owned:/o"], &image, &["stat", "-c", "%u:%g", "/o"]).ok();
    assert_eq!(owner.out(), "1000:1001");

    bench.run_rm(&["-v", "parts:/p"], &image, &["sh", "-c", "mkdir /p/in && echo x > /p/in/f && ln -s / /p/out"]).ok();
    let part = |subpath: &str| format!("type=volume,src=parts,dst=/d,volume-subpath={subpath}");
    assert_eq!(bench.run_rm(&["--mount", &part("in")], &image, &["ls", "/d"]).ok().out(), "f");
    for subpath in ["out", "out/etc", "../..", "/in", "nosuch"] {
        let refused = bench.run_rm(&["--mount", &part(subpath)], &image, &["true"]).exits(125);
        assert!(refused.err().contains("subpath"), "{subpath}: {}", refused.err());
    }
    let labelled = "type=volume,src=made,dst=/m,volume-label=a=b,volume-driver=local,volume-opt=type=tmpfs";
    bench.run_rm(&["--mount", labelled], &image, &["true"]).ok();
    let made: Value = serde_json::from_str(&bench.ok(&["volume", "inspect", "made"])).unwrap();
    assert_eq!(made[0]["Labels"], json!({"a": "b"}));
    assert_eq!(made[0]["Options"], json!({"type": "tmpfs"}));
}

#[test]
fn commands_and_their_errors() {
    let (bench, image) = Bench::with_image();
    for (args, code, error) in [
        (
            &["volume", "create", "a/b"][..],
            1,
            "create a/b: \"a/b\" includes invalid characters for a local volume name",
        ),
        (&["volume", "create", "a"], 1, "create a: volume name is too short"),
        (&["volume", "create", "-d", "nfs", "vol"], 1, "error looking up volume plugin nfs"),
        (&["volume", "create", "-o", "size=1g", "vol"], 1, "invalid option: \"size\""),
        (&["volume", "create", "-o", "device=/x", "vol"], 1, "missing required option: \"type\""),
        (&["volume", "create", "-o", "type=nfs", "-o", "device=:/x", "vol"], 1, "invalid volume option type=nfs"),
        (&["volume", "create", "-o", "bogus", "vol"], 1, "invalid volume option bogus: must be KEY=VALUE"),
        (
            &["volume", "create", "-o", "type=none", "-o", "o=bind", "-o", "device=/nonexistent", "vol"],
            1,
            "invalid volume option device=/nonexistent: No such file",
        ),
        (&["volume", "rm", "nosuch"], 1, "get nosuch: no such volume"),
        (&["volume", "inspect", "nosuch"], 1, "get nosuch: no such volume"),
        (&["volume", "ls", "--filter", "bogus=1"], 1, "invalid filter 'bogus'"),
        (&["volume", "ls", "--filter", "dangling=maybe"], 1, "invalid filter 'dangling=maybe'"),
        (&["volume", "export", "nosuch"], 1, "get nosuch: no such volume"),
        (&["run", "-v", "a:/x", &image, "true"], 125, "create a: volume name is too short"),
        (&["run", "-v", "vol:/x:nocreate", &image, "true"], 125, "creating named volume vol"),
        (&["run", "--volume-driver", "nfs", "-v", "vol:/x", &image, "true"], 125, "error looking up volume plugin nfs"),
        (&["run", "--volumes-from", "nosuch", &image, "true"], 125, "No such container: nosuch"),
        (&["run", "--volumes-from", "", &image, "true"], 125, "volumes-from specification cannot be an empty string"),
        (&["run", "--volumes-from", "x:nocopy", &image, "true"], 125, "invalid mode: nocopy"),
    ] {
        let output = bench.rbox(args).run().exits(code);
        assert!(output.err().starts_with(&format!("rbox: {error}")), "{args:?}: {}", output.err());
        assert_eq!(output.err().lines().count(), 1, "{args:?}: {}", output.err());
    }
    assert_eq!(volumes(&bench), [""; 0]);
    bench.no_containers();

    bench.ok(&["volume", "create", "--label", "tier=db", "db"]);
    bench.ok(&["volume", "create", "web"]);
    let anonymous = bench.ok(&["volume", "create"]);
    assert_eq!(anonymous.len(), 64);
    bench.ok(&["create", "--name", "user", "-v", "db:/data", &image, "true"]);
    let filtered = |filter: &str| bench.ok(&["volume", "ls", "-q", "--filter", filter]).replace('\n', " ");
    assert_eq!(filtered("name=we"), "web");
    assert_eq!(filtered("label=tier"), "db");
    assert_eq!(filtered("dangling=false"), "db");
    assert_eq!(filtered("anonymous=true"), anonymous);
    assert!(bench.ok(&["volume", "ls"]).starts_with("DRIVER    VOLUME NAME\nlocal     "));
    let line: Value =
        serde_json::from_str(&bench.ok(&["volume", "ls", "--filter", "name=web", "--format", "json"])).unwrap();
    assert_eq!((&line["Name"], &line["Links"]), (&json!("web"), &json!("N/A")));
    bench.rbox(&["volume", "exists", "web"]).run().exits(0);
    bench.rbox(&["volume", "exists", "nosuch"]).run().exits(1);
    assert_eq!(bench.ok(&["volume", "rm", "-f", "nosuch"]), "nosuch");
    assert_eq!(bench.ok(&["ps", "-a", "--filter", "volume=db", "--format", "{{.Names}} {{.LocalVolumes}}"]), "user 1");
    assert!(bench.ok(&["system", "df"]).contains("Local Volumes   3         1"));

    let pruned = bench.ok(&["volume", "prune", "-f"]);
    assert!(pruned.starts_with(&format!("Deleted Volumes:\n{anonymous}\n")), "{pruned}");
    assert!(!pruned.ends_with(" 0B"), "{pruned}");
    let pruned = bench.ok(&["volume", "prune", "-af"]);
    assert!(pruned.starts_with("Deleted Volumes:\nweb\n\nTotal reclaimed space: "), "{pruned}");
    assert_eq!(volumes(&bench), ["db"]);
    bench.ok(&["rm", "user"]);
    assert_eq!(bench.ok(&["volume", "rm", "-a"]), "db");
}

#[test]
fn archives_of_volumes() {
    let (bench, image) = bench();
    bench.run_rm(&["-v", "one:/data"], &image, &["sh", "-c", "touch /data/.wh.name; mkfifo /data/pipe"]).ok();
    let archive = bench.text("one.tar");
    bench.ok(&["volume", "export", "-o", &archive, "one"]);
    bench.ok(&["volume", "create", "two"]);
    bench.ok(&["volume", "import", "two", &archive]);
    let list = "cd /d && find . -mindepth 1 -exec stat -c '%n %u:%g %a %h %s' {} + | sort";
    let of = |name: &str| {
        let mount = format!("{name}:/d:nocopy");
        bench.rbox(&["run", "--rm", "-v", &mount, &image, "sh", "-c", list]).ok()
    };
    let content = of("one");
    assert!(content.contains("./.wh.name") && content.contains("./own 1000:1001 640"), "{content}");
    assert_eq!(of("two"), content);
    bench
        .shell("set -o pipefail; rbox volume create three && rbox volume export one | rbox volume import three -")
        .ok();
    assert_eq!(of("three"), content);
    write(bench.path("broken.tar"), "no archive at all");
    bench.rbox(&["volume", "import", "three", &bench.text("broken.tar")]).run().exits(1);
    bench.ok(&["volume", "create", "-o", "type=tmpfs", "fast"]);
    let refused = bench.rbox(&["volume", "export", "fast"]).run().exits(1);
    assert!(refused.err().contains("it is a tmpfs"), "{}", refused.err());
}

#[test]
fn one_of_many_first_users_fills_a_volume() {
    let (bench, image) = bench();
    let script = format!(
        "for n in $(seq 20); do
            rbox run --rm --net none -v shared:/data {image} sh -c 'cat /data/sub/a /data/sub/b /data/own; ls /data | wc -l' > {out}/$n 2>&1 &
        done; wait; cat {out}/* | sort | uniq -c",
        out = bench.mkdir("out").display()
    );
    let output = bench.shell(&script).limit(120).ok();
    assert_eq!(output.split_whitespace().collect::<Vec<_>>(), ["20", "aamine3"], "{output}");
    assert_eq!(volumes(&bench), ["shared"]);
    bench.no_staging();
}

#[test]
fn kills_at_random_moments_lose_and_leave_nothing() {
    let (bench, image) = bench();
    bench.ok(&["volume", "create", "kept"]);
    bench.run_rm(&["-v", "kept:/k"], &image, &["sh", "-c", "echo precious > /k/f"]).ok();
    let fill = ["create", "--name", "c", "-v", "filled:/data", "-v", "kept:/k", "-v", "/anonymous", &image, "true"];
    let run = ["run", "--rm", "--net", "none", "--name", "c", "-v", "filled:/data", "-v", "kept:/k", &image, "true"];
    let works: [&[&str]; 5] = [
        &["volume", "create", "--label", "a=b", "made"],
        &fill,
        &run,
        &["volume", "prune", "-af"],
        &["volume", "rm", "-f", "made", "filled"],
    ];
    let list = "cat /data/sub/a /data/own; ls /data | wc -l";
    for round in 0..kills() {
        for work in works {
            if work[1] == "prune" {
                // What is in use stays.
                bench.ok(&["create", "--name", "user", "-v", "kept:/k", &image, "true"]);
            }
            let begun = Instant::now();
            let running = bench.rbox(work).spawn();
            // A few milliseconds are what most of it takes.
            std::thread::sleep(Duration::from_millis((round as u64 * 7 + work.len() as u64 * 3) % 40));
            running.signal(Signal::KILL);
            running.wait();
            assert!(begun.elapsed() < Duration::from_secs(20));
            let _ = bench.rbox(&["rm", "-vf", "c", "user"]).run();
            assert_eq!(read(bench.root().join("volumes/kept/_data/f")), "precious\n", "round {round}, {work:?}");
            // Whoever comes next sees all of it or makes it.
            if work == fill || work == run {
                let seen = bench.run_rm(&["--net", "none", "-v", "filled:/data"], &image, &["sh", "-c", list]).ok();
                assert_eq!(seen.out(), "amine3", "round {round}, {work:?}");
            }
        }
        bench.rbox(&["volume", "rm", "-f", "made", "filled"]).run().ok();
        assert_eq!(volumes(&bench), ["kept"], "round {round}");
        bench.ok(&["system", "check"]);
        bench.no_staging();
    }
    assert_eq!(names_in(bench.root().join("volumes")), ["kept"]);
    assert!(std::fs::metadata(bench.root().join("volumes/kept/_data")).unwrap().mode() & 0o777 == 0o755);
}
