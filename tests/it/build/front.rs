//! The command around a build: flags and their errors, sources, displays, outputs, names.

use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use super::{bench, build, context};
use crate::common::pty::Terminal;
use crate::common::registry::registry;
use crate::common::{Bench, program, read, wait_until};

const PLAIN: &str = "FROM base\nRUN echo made >/made\nCOPY a /a\n";

/// A store and a context that can be built.
#[track_caller]
fn plain() -> (Bench, std::path::PathBuf) {
    let bench = bench();
    let directory = context(&bench, "ctx", &[("Dockerfile", PLAIN), ("a", "a\n")]);
    (bench, directory)
}

fn is_there(name: &str) -> bool {
    Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success())
}

#[track_caller]
fn json(path: impl AsRef<Path>) -> Value {
    serde_json::from_str(&read(path)).expect("JSON")
}

#[test]
fn flags_that_make_no_sense() {
    let (bench, directory) = plain();
    let refused = |args: &[&str], code: i32, text: &str| {
        build(&bench, &directory, args).run().refused(code, text);
    };
    refused(&["--nosuch"], 125, "unknown flag: --nosuch");
    refused(&["-t", "UPPER"], 1, "invalid tag");
    refused(&["-o", "type=nosuch,dest=x"], 1, "nosuch");
    refused(&["-o", "type=local"], 1, "dest is required");
    refused(&["--push"], 1, "tag is needed when pushing to registry");
    refused(&["--secret", "id=a,src=/no/such/file"], 1, "/no/such/file");
    refused(&["--secret", "id=a,what=b"], 1, "unexpected key 'what'");
    refused(&["--cache-to", "type=nosuch"], 1, "nosuch");
    refused(&["--allow", "everything"], 1, "unknown entitlement");
    refused(&["--platform", "a/b/c/d/e"], 1, "a/b/c/d/e");
    refused(&["--build-context", "x"], 1, "expected key=value");
    let lost = build(&bench, &directory, &["--target", "nosuch"]).run().exits(1).err();
    assert!(lost.contains("target stage \"nosuch\" could not be found"), "{lost}");
    refused(&["-f", "/no/such/Dockerfile"], 1, "failed to read dockerfile");
    refused(&["--attest", "mode=max"], 1, "attestation type not specified");
    bench.rbox(&["build", "--progress", "nosuch"]).arg(&directory).run().refused(1, "invalid progress mode");
    bench.rbox(&["build", "no/such/directory"]).run().refused(1, "not found");
    bench.rbox(&["build", "-f", "-", "-"]).stdin("").run().refused(1, "can't use stdin for both");
    // Nothing of it was built.
    assert_eq!(bench.ok(&["images", "-q", "--filter", "dangling=true"]), "");
}

#[test]
fn flags_that_are_taken_for_the_sake_of_others() {
    let (bench, directory) = plain();
    let flags = ["--rm", "--force-rm", "--provenance=false", "--sbom=false", "--builder", "x", "--isolation", "oci"];
    build(&bench, &directory, &flags).args(["--layers", "--load", "-t", "taken"]).run().ok();
    bench.ok(&["image", "inspect", "taken"]);
}

#[test]
fn names_and_files_about_them() {
    let (bench, directory) = plain();
    let (id, metadata) = (bench.text("iid"), bench.text("metadata"));
    let args = ["-t", "one", "-t", "two:3", "--iidfile", &id, "--metadata-file", &metadata, "--label", "l=m"];
    build(&bench, &directory, &args).run().ok();
    let known = bench.inspect("one", "{{.Id}}");
    assert_eq!(bench.inspect("two:3", "{{.Id}}"), known);
    assert_eq!(read(&id), known, "no line end");
    let metadata = json(metadata);
    assert_eq!(metadata["containerimage.config.digest"], known);
    assert!(metadata["containerimage.digest"].as_str().is_some_and(|digest| digest.starts_with("sha256:")));
    assert!(
        metadata["image.name"].as_str().is_some_and(|names| names.contains("one:latest") && names.contains("two:3"))
    );
    assert_eq!(bench.inspect("one", "{{.Config.Labels.l}}"), "m");
    // The id alone, and nothing on the other stream.
    let quiet = bench.rbox(&["build", "-q"]).arg(&directory).args(["--label", "l=m"]).run().ok();
    assert_eq!((quiet.out().trim(), quiet.err().as_str()), (known.as_str(), ""));
    // Without -q nothing is data.
    assert_eq!(build(&bench, &directory, &[]).run().ok().out(), "");
    bench.no_containers();
    bench.no_staging();
}

#[test]
fn standard_input() {
    let bench = bench();
    let alone = bench.rbox(&["build", "-q", "-t", "alone", "-"]).stdin("FROM base\nRUN echo alone >/what\n");
    alone.limit(120).run().ok();
    assert_eq!(bench.run_rm(&["--net", "none"], "alone", &["cat", "/what"]).ok().out(), "alone");
    let directory = context(&bench, "ctx", &[("a", "a\n"), ("sub/b", "b\n")]);
    let given = bench.rbox(&["build", "-q", "-t", "given", "-f", "-"]).arg(&directory);
    given.stdin("FROM base\nCOPY a sub/b /x/\n").limit(120).run().ok();
    assert_eq!(bench.run_rm(&["--net", "none"], "given", &["cat", "/x/a", "/x/b"]).ok().out(), "a\nb");
    std::fs::write(directory.join("Dockerfile"), "FROM base\nCOPY . /y/\n").expect("a file");
    std::fs::write(directory.join(".dockerignore"), "sub\n").expect("a file");
    let archive = bench.path("context.tar.gz");
    program("tar").args(["-C"]).arg(&directory).arg("-czf").arg(&archive).arg(".").ok();
    let bytes = std::fs::read(&archive).expect("an archive");
    bench.rbox(&["build", "-q", "-t", "packed", "-"]).stdin(bytes).limit(120).run().ok();
    let found = bench.run_rm(&["--net", "none"], "packed", &["sh", "-c", "cat /y/a; test ! -e /y/sub"]).ok();
    assert_eq!(found.out(), "a");
    bench.no_staging();
}

#[test]
fn progress_in_lines_and_documents() {
    let (bench, directory) = plain();
    let plain = build(&bench, &directory, &["--no-cache"]).run().ok().err();
    for part in ["#1 [internal] load build definition from Dockerfile", "RUN echo made >/made", " DONE "] {
        assert!(plain.contains(part), "{part}: {plain}");
    }
    // Auto, on a pipe, is the same; and the second time nothing is done.
    let again = bench.rbox(&["build"]).arg(&directory).limit(120).run().ok().err();
    assert!(again.contains("CACHED") && !again.contains('\x1b'), "{again}");
    let raw = bench.rbox(&["build", "--progress", "rawjson"]).arg(&directory).limit(120).run().ok().err();
    for line in raw.lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok_and(|line| line.is_object()), "{line}");
    }
    assert!(raw.contains("RUN echo made"), "{raw}");
    let none = bench.rbox(&["build", "--progress", "quiet"]).arg(&directory).limit(120).run().ok();
    assert_eq!((none.out(), none.err()), (String::new(), String::new()));
    let named = bench.rbox(&["build"]).arg(&directory).env("BUILDKIT_PROGRESS", "rawjson").limit(120).run().ok().err();
    assert!(named.starts_with('{'), "{named}");
}

#[test]
fn progress_on_a_terminal() {
    let (bench, directory) = plain();
    let mut terminal = Terminal::rbox(&bench, &["build", "--no-cache", "-t", "drawn", &directory.to_string_lossy()]);
    // The last drawing has its head above its rows.
    terminal.expect("FINISHED");
    terminal.expect("RUN echo made");
    assert_eq!(terminal.wait(), 0);
    bench.ok(&["image", "inspect", "drawn"]);
}

#[test]
fn failures_show_the_place() {
    let bench = bench();
    let directory = context(&bench, "ctx", &[("Dockerfile", "FROM base\nRUN true\nRUN echo last words; false\n")]);
    let failed = build(&bench, &directory, &["-t", "never"]).run().exits(1).err();
    for part in ["Dockerfile:3", ">>> RUN echo last words; false", "last words"] {
        assert!(failed.contains(part), "{part}: {failed}");
    }
    let last = failed.lines().last().unwrap_or_default();
    assert!(last.starts_with("rbox: ERROR: failed to solve: process \"/bin/sh -c echo last words; false\""), "{last}");
    assert!(last.ends_with("did not complete successfully: exit code: 1"), "{last}");
    bench.rbox(&["image", "inspect", "never"]).run().exits(1);
    bench.no_containers();
}

#[test]
fn an_interrupt_ends_it() {
    let bench = bench();
    let directory = context(&bench, "ctx", &[("Dockerfile", "FROM base\nRUN echo begun; sleep 1000\n")]);
    let building = build(&bench, &directory, &[]).spawn();
    wait_until("the step runs", || bench.shell("ps -A -o args | grep -q '[s]leep 1000'").run().code == 0);
    building.signal(Signal::INT);
    building.wait().exits(130);
    bench.no_containers();
}

#[test]
fn an_interrupt_on_a_terminal() {
    let bench = bench();
    let directory = context(&bench, "ctx", &[("Dockerfile", "FROM base\nRUN echo begun; sleep 1000\n")]);
    // Bash goes on, as it was the build that was interrupted, and did not die of it.
    let script = format!(
        "trap : INT; stty -a >{0}/before; rbox build --progress tty {1}; echo \"code=$?\"; stty -a >{0}/after; echo over",
        bench.mkdir("modes").display(),
        directory.display()
    );
    let mut terminal = Terminal::shell(&bench, &script);
    terminal.expect("RUN echo begun");
    wait_until("the step runs", || bench.shell("ps -A -o args | grep -q '[s]leep 1000'").run().code == 0);
    terminal.send("\x03");
    terminal.expect("CANCELED");
    terminal.expect("rbox: canceled");
    terminal.expect("code=130");
    terminal.expect("over");
    let screen = terminal.screen();
    assert_eq!(
        screen.matches("\x1b[?25l").count(),
        screen.matches("\x1b[?25h").count(),
        "the cursor is seen: {screen}"
    );
    assert_eq!(terminal.wait(), 0);
    assert_eq!(read(bench.path("modes/before")), read(bench.path("modes/after")));
    bench.no_containers();
    bench.no_staging();
}

#[test]
fn files_in_place_of_an_image() {
    let (bench, _) = plain();
    let dockerfile = "FROM base AS made\nRUN mkdir -p /out/d && echo x >/out/d/x && ln -s x /out/d/l && \
                      chown 5:6 /out/d/x && chmod 640 /out/d/x\nFROM scratch\nCOPY --from=made /out /\n";
    let directory = context(&bench, "files", &[("Dockerfile", dockerfile)]);
    let (out, tar) = (bench.path("out"), bench.path("out.tar"));
    build(&bench, &directory, &["-o", &out.to_string_lossy()]).run().ok();
    assert_eq!(read(out.join("d/x")), "x\n");
    assert_eq!(std::fs::read_link(out.join("d/l")).expect("a link"), Path::new("x"));
    let known = std::fs::metadata(out.join("d/x")).expect("a file");
    use std::os::unix::fs::MetadataExt;
    assert_eq!((known.uid(), known.mode() & 0o777), (rustix::process::geteuid().as_raw(), 0o640));
    build(&bench, &directory, &["-o", &format!("type=tar,dest={}", tar.display())]).run().ok();
    let listed = program("tar").args(["--numeric-owner", "-tvf"]).arg(&tar).ok();
    assert!(listed.lines().any(|line| line.contains("5/6") && line.ends_with("d/x")), "{listed}");
    // The same on standard output, and nothing in the store.
    let streamed = build(&bench, &directory, &["-o", "-"]).run().ok();
    assert!(streamed.out().contains("ustar"), "an archive");
    assert_eq!(bench.ok(&["images", "-q", "--filter", "dangling=true"]), "");
}

#[test]
fn archives_that_others_read() {
    let (bench, directory) = plain();
    let (oci, docker) = (bench.text("oci.tar"), bench.text("docker.tar"));
    build(&bench, &directory, &["-t", "named:1", "-o", &format!("type=oci,dest={oci}")]).run().ok();
    build(&bench, &directory, &["-t", "named:1", "-o", &format!("type=docker,dest={docker}")]).run().ok();
    if is_there("skopeo") {
        for archive in [format!("oci-archive:{oci}"), format!("docker-archive:{docker}")] {
            let read = program("skopeo").args(["--insecure-policy", "inspect", "--config", &archive]).ok();
            let config: Value = serde_json::from_str(&read).expect("a configuration");
            assert_eq!(
                config["history"].as_array().and_then(|steps| steps.last()).expect("a step")["comment"],
                "buildkit.dockerfile.v0"
            );
        }
    }
    bench.ok(&["load", "-i", &docker]);
    assert_eq!(bench.run_rm(&["--net", "none"], "named:1", &["cat", "/made"]).ok().out(), "made");
}

#[test]
fn pushed_and_pulled() {
    let (bench, directory) = plain();
    let name = format!("{}/t/front:1", registry().host());
    let metadata = bench.text("metadata");
    let args = ["--push", "--tls-verify=false", "-t", &name, "--metadata-file", &metadata];
    build(&bench, &directory, &args).run().ok();
    bench.ok(&["pull", "--tls-verify=false", "-q", &name]);
    assert_eq!(bench.run_rm(&["--net", "none"], &name, &["cat", "/a"]).ok().out(), "a");
    // What is told is what the registry has, whose layers are compressed.
    assert_eq!(json(metadata)["containerimage.digest"], registry().digest(&name));
    if is_there("skopeo") {
        let there = format!("docker://{name}");
        program("skopeo").args(["--insecure-policy", "inspect", "--tls-verify=false", &there]).ok();
    }
}

#[test]
fn lists_of_platforms() {
    let bench = bench();
    let directory = context(
        &bench,
        "ctx",
        &[("Dockerfile", "FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /f\n"), ("amd64", "1"), ("arm64", "2")],
    );
    build(&bench, &directory, &["--platform", "linux/amd64,linux/arm64", "-t", "several"]).run().ok();
    let list: Value = serde_json::from_str(&bench.ok(&["manifest", "inspect", "several"])).expect("a list");
    let platforms: Vec<&str> = list["manifests"]
        .as_array()
        .expect("manifests")
        .iter()
        .filter_map(|entry| entry["platform"]["architecture"].as_str())
        .collect();
    assert_eq!(platforms, ["amd64", "arm64"]);
}

#[test]
fn other_names_of_the_command() {
    let (bench, directory) = plain();
    for words in [&["image", "build"][..], &["buildx", "build"], &["buildx", "b"], &["builder", "build"]] {
        bench.rbox(words).args(["-q", "-t", "other"]).arg(&directory).limit(120).run().ok();
    }
    assert!(bench.ok(&["buildx", "version"]).contains("buildx v"));
    assert!(bench.ok(&["buildx", "ls"]).contains("default*"));
    assert!(bench.ok(&["buildx", "inspect", "--bootstrap"]).contains("running"));
    assert_eq!(bench.ok(&["buildx", "create", "--name", "mine", "--use"]), "mine");
    bench.ok(&["buildx", "use", "mine"]);
    bench.ok(&["buildx", "rm", "mine"]);
}

#[test]
fn the_cache_is_shown_and_pruned() {
    let (bench, directory) = plain();
    build(&bench, &directory, &["-t", "kept"]).run().ok();
    let shown = bench.ok(&["buildx", "du"]);
    assert!(shown.starts_with("ID ") && shown.contains("Total:"), "{shown}");
    assert!(bench.ok(&["buildx", "du", "--verbose"]).contains("RUN echo made"), "what it was");
    // The image shares all of it.
    bench.ok(&["builder", "prune", "-f"]);
    // A base image that is here is always said to be cached.
    let cached = || build(&bench, &directory, &["-t", "kept"]).run().ok().err().matches("CACHED").count();
    let kept = cached();
    assert!(kept > 1, "{kept}");
    let pruned = bench.ok(&["builder", "prune", "-a", "-f"]);
    assert!(pruned.contains("Deleted build cache objects:") && pruned.contains("Total reclaimed space:"), "{pruned}");
    assert_eq!(cached(), 1);
    bench.rbox(&["builder", "prune", "--filter", "nosuch=1", "-f"]).run().refused(1, "invalid filter");
    bench.rbox(&["buildx", "prune"]).stdin("n\n").run().ok();
}

#[test]
fn what_is_said_of_a_dockerfile() {
    let bench = bench();
    let dockerfile = "ARG V=1\nFROM base AS one\nFROM one AS two\n";
    let directory = context(&bench, "ctx", &[("Dockerfile", dockerfile)]);
    let checked = bench.rbox(&["build", "--check"]).arg(&directory).run().ok().out();
    assert!(checked.contains("no warnings found"), "{checked}");
    let targets = bench.rbox(&["build", "--call", "targets"]).arg(&directory).run().ok().out();
    assert!(targets.contains("one") && targets.contains("two"), "{targets}");
    let directory = context(&bench, "bad", &[("Dockerfile", "from base\nRUN true\nCMD echo x\n")]);
    let checked = bench.rbox(&["build", "--check"]).arg(&directory).run().exits(1).out();
    assert!(checked.contains("WARNING: JSONArgsRecommended"), "{checked}");
}
