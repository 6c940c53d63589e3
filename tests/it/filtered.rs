//! Without openat2, without setuid bits and without new privileges, as systemd's `DynamicUser=` has it:
//! what is found and made is the same, and nothing leads out of a root.

use std::os::unix::fs::symlink;

use serde_json::Value;

use crate::common::images::{Image, Layer};
use crate::common::registry::registry;
use crate::common::trees::chain_of;
use crate::common::{Bench, Cmd, names_in, program, rbox_program, read, write};

/// `rbox ARGS...` as such a service runs it.
fn filtered(bench: &Bench, args: &[&str]) -> Cmd {
    let script = include_str!("../data/dynamic_user.py");
    bench.environment(program("python3").args(["-c", script]).arg(rbox_program()).args(args))
}

#[track_caller]
fn ok(bench: &Bench, args: &[&str]) -> String {
    filtered(bench, args).ok()
}

/// The small image and two layers more, with links of all kinds to write through.
fn linked() -> Vec<Image> {
    let lower = Layer::new()
        .directory("data", 0o755)
        .directory("data/old", 0o755)
        .file("data/old/gone", 0o644, "gone")
        .file("data/kept", 0o640, "kept")
        .symlink("absolute", "/data")
        .symlink("outside", "../../../../../../data/old")
        .symlink("loop", "loop")
        .file("absolute/through", 0o644, "through")
        .file("outside/deep/er", 0o644, "deeper")
        .hardlink("data/same", "absolute/through")
        .directory("shared", 0o2775)
        .file("bin/su", 0o4755, "#!/bin/sh\necho su\n");
    let upper =
        Layer::new().whiteout("data/old/gone").directory("shared", 0o755).opaque("shared").file("shared/x", 0o600, "");
    vec![Image::small_with(vec![lower, upper])]
}

#[test]
fn images_are_unpacked() {
    let image = registry().push_once("filtered/linked:1", linked);
    let (plain, bench) = (Bench::new(), Bench::new());
    plain.ok(&["pull", "-q", &image]);
    let output = filtered(&bench, &["pull", "-q", &image]).run().ok();
    assert!(output.err().contains("no_new_privs"), "{}", output.report());
    // The same names in every layer, and the same modes but for the bits that mean nothing here.
    let tree = |bench: &Bench, chain: &str| {
        let layer = bench.root().join("layers").join(chain).join("diff");
        let list = "find . -printf '%P %y %m %l\\n' | sort";
        plain.shell(&format!("cd {} && exec rbox unshare sh -c \"{list}\"", layer.display())).ok()
    };
    let chain = chain_of(&bench, &image);
    assert_eq!(chain.len(), 3);
    for layer in &chain {
        let theirs =
            tree(&plain, layer).replace("bin/su f 4755", "bin/su f 755").replace("shared d 2775", "shared d 775");
        assert_eq!(tree(&bench, layer), theirs);
    }
    let script = "id -u; cat /data/through /data/same /data/old/deep/er /outside/deep/er /absolute/kept; ls /data/old";
    let out = ok(&bench, &["run", "--rm", &image, "sh", "-c", script]);
    assert_eq!(out, "0\nthroughthroughdeeperdeeperkeptdeep");

    let archive = bench.text("archive.tar");
    ok(&bench, &["save", "-o", &archive, &image]);
    ok(&bench, &["rmi", &image]);
    assert!(names_in(bench.root().join("layers")).is_empty());
    ok(&bench, &["load", "-i", &archive]);
    ok(&bench, &["tag", &image, "other"]);
    assert_eq!(ok(&bench, &["run", "--rm", "other", "sh", "-c", "cat /bin/su | tail -n 1"]), "echo su");
}

#[test]
fn setuid_bits_that_would_count_are_an_error() {
    let image = registry().push_once("filtered/linked:1", linked);
    let (bench, small) = Bench::with_image();
    // A user namespace of many ids, which the filtered process joins.
    bench.start(&["--name", "other"], &small, &["sleep", "1000"]);
    let output = filtered(&bench, &["pull", "-q", &image]).run().exits(1);
    let cause = "set the setuid or setgid bit, which a seccomp filter may forbid, as systemd's RestrictSUIDSGID= does";
    assert!(output.err().contains(cause), "{}", output.report());
    bench.ok(&["rm", "-f", "-t", "0", "other"]);
}

#[test]
fn containers_have_their_mounts() {
    let (bench, image) = Bench::with_image();
    let source = bench.mkdir("source");
    std::fs::create_dir_all(source.join("part/inner")).unwrap();
    write(source.join("part/inner/file"), "part");
    symlink("part/inner", source.join("link")).unwrap();
    symlink("/etc", source.join("out")).unwrap();
    let source = source.display();
    ok(&bench, &["volume", "create", "vol"]);
    let flags = [
        "-v=vol:/var/tmp",
        &format!("-v={source}:/made/on/the/way:ro"),
        &format!("-v={source}:/over:O"),
        &format!("-v={source}:/given:U"),
        "--mount=type=volume,src=fresh,dst=/etc",
        "--tmpfs=/t",
        "--sysctl=net.ipv4.ip_forward=1",
        "--workdir=/new/work",
    ];
    let script =
        "pwd; cat /made/on/the/way/link/file; echo x >/over/part/new; cat /etc/os-release /proc/sys/net/ipv4/ip_forward
                  echo kept >/var/tmp/kept; echo new >/t/file; exit 7";
    let output = filtered(&bench, &["run", "--rm"]).args(flags).args([&image, "sh", "-c", script]).run().exits(7);
    assert_eq!(output.out(), "/new/work\npartID=small\n1", "{}", output.report());
    assert_eq!(names_in(bench.path("source/part")), ["inner"]);
    let mount = |subpath: &str, kind: &str| format!("--mount=type={kind},volume-subpath={subpath},dst=/x");
    ok(
        &bench,
        &["run", "--rm", "-v=vol:/v", &image, "sh", "-c", "mkdir -p /v/a/b; ln -s a/b /v/in; ln -s ../../.. /v/up"],
    );
    let run = |mount: &str| filtered(&bench, &["run", "--rm", mount, &image, "ls", "-d", "/x"]).run();
    for part in ["a/b", "in", "a/../in"] {
        let output = run(&mount(part, "volume,src=vol"));
        assert_eq!(output.code, 0, "{part}: {}", output.report());
    }
    for part in ["up", "none"] {
        let output = run(&mount(part, "volume,src=vol"));
        assert_eq!((output.code, output.out().as_str()), (125, ""), "{part}: {}", output.report());
    }
    ok(&bench, &["volume", "rm", "vol", "fresh"]);
    bench.no_containers();
}

#[test]
fn an_image_leads_nowhere_else() {
    let bench = Bench::new();
    let outside = bench.mkdir("outside");
    let link = format!("{}{}", "../".repeat(20), outside.display().to_string().trim_start_matches('/'));
    let layer = Layer::new().symlink("relative", &link).symlink("absolute", &outside.display().to_string());
    let image =
        registry().push(&format!("filtered/hostile-{}:1", std::process::id()), &[Image::small_with(vec![layer])]);
    ok(&bench, &["pull", "-q", &image]);
    let (one, other) = (bench.text("one"), bench.mkdir("other"));
    write(&one, "one");
    ok(&bench, &["create", "--name=c", &image, "true"]);
    for link in ["relative", "absolute"] {
        let mounts = [format!("-v={one}:/{link}/file"), format!("-v={}:/{link}/made", other.display())];
        let script = format!("cat {}/file; ls -d {}/made", outside.display(), outside.display());
        let output = filtered(&bench, &["run", "--rm"]).args(&mounts).args([&image, "sh", "-c", &script]).run().ok();
        assert_eq!(output.out(), format!("one{}/made", outside.display()), "{}", output.report());
        // Inside there is no such directory; where there is one outside, nothing may come to be.
        filtered(&bench, &["cp", &one, &format!("c:/{link}/")]).run().exits(1);
    }
    bench.mkdir("context");
    write(
        bench.path("context/Dockerfile"),
        format!("FROM {image}\nCOPY one /relative/\nWORKDIR /absolute/sub\nCOPY one .\n"),
    );
    write(bench.path("context/one"), "one");
    ok(&bench, &["build", "-q", "-t", "built", &bench.text("context")]);
    let files = format!("cat {0}/one {0}/sub/one", outside.display());
    assert_eq!(ok(&bench, &["run", "--rm", "built", "sh", "-c", &files]), "oneone");
    assert!(names_in(&outside).is_empty(), "{:?}", names_in(&outside));
    ok(&bench, &["rm", "c"]);
}

#[test]
fn files_are_copied_in_and_out() {
    let (bench, image) = Bench::with_image();
    ok(&bench, &["run", "-d", "--name=c", &image, "sleep", "1000"]);
    ok(&bench, &["exec", "c", "sh", "-c", "mkdir -p /d/e; echo deep >/d/e/f; ln -s /d/e /link; ln /d/e/f /d/same"]);
    let source = bench.mkdir("source/sub");
    write(source.join("file"), "in");
    ok(&bench, &["cp", &bench.text("source"), "c:/link"]);
    assert_eq!(ok(&bench, &["exec", "c", "cat", "/d/e/source/sub/file"]), "in");
    ok(&bench, &["cp", "c:/link/.", &bench.text("back")]);
    assert_eq!(read(bench.path("back/f")) + &read(bench.path("back/source/sub/file")), "deep\nin");
    ok(&bench, &["cp", "c:/d", &bench.text("whole")]);
    assert_eq!(names_in(bench.path("whole")), ["e", "same"]);
    ok(&bench, &["commit", "c", "committed"]);
    assert_eq!(ok(&bench, &["run", "--rm", "committed", "cat", "/link/f", "/d/same"]), "deep\ndeep");
    ok(&bench, &["rm", "-f", "-t", "0", "c"]);
    bench.no_processes();
}

#[test]
fn images_are_built() {
    let (bench, image) = Bench::with_image();
    let context = bench.mkdir("context");
    std::fs::create_dir_all(context.join("dir/sub")).unwrap();
    write(context.join("dir/sub/file"), "file");
    symlink("sub/file", context.join("dir/link")).unwrap();
    program("tar").args(["-cf"]).arg(context.join("a.tar")).arg("-C").arg(context.join("dir")).arg(".").ok();
    let lines = format!(
        "FROM {image} AS base
         RUN mkdir -p /r/s && echo made >/r/s/made && ln -s r/s /to && rm /etc/plain
         FROM {image}
         WORKDIR /w/x/../y
         COPY dir /copied
         COPY --link dir/link linked
         ADD a.tar /added/
         COPY --from=base /to/made .
         RUN --mount=type=bind,from=base,source=/to,target=/b --mount=type=bind,source=dir/sub,target=/c cat /b/made /c/file >/both
         RUN --mount=type=cache,target=/cache touch /cache/x\n"
    );
    write(context.join("Dockerfile"), lines);
    ok(&bench, &["build", "-q", "-t", "built", &context.display().to_string()]);
    let script = "pwd; cat /copied/link linked /added/link made /both";
    assert_eq!(ok(&bench, &["run", "--rm", "built", "sh", "-c", script]), "/w/y\nfilefilefilemade\nmade\nfile");
}

#[test]
fn the_doctor_does_not_mind() {
    let bench = Bench::new();
    let output = filtered(&bench, &["doctor", "--json"]).run();
    let report: Value = serde_json::from_str(&output.out()).unwrap();
    let check = report["checks"].as_array().unwrap().iter().find(|check| check["code"] == "system-calls").unwrap();
    assert_eq!(
        (check["status"].as_str(), check["summary"].as_str()),
        (Some("pass"), Some("14 of 15 answer; rbox does without openat2"))
    );
}
