//! `--build-context`: layouts of images, repositories and archives beside directories; no context named at all.

use serde_json::Value;

use super::{bench, build, context};
use crate::common::{Bench, program, read, write};

/// What a command says in the image `made`.
#[track_caller]
fn said(bench: &Bench, command: &str) -> String {
    bench.run_rm(&["--net", "none"], "made", &["sh", "-c", command]).ok().out()
}

#[test]
fn layouts_of_images() {
    let bench = bench();
    let layout = bench.text("layout");
    for number in ["1", "2"] {
        let dockerfile = format!("FROM base\nENV NUMBER={number}\nRUN echo {number} >/number\n");
        let directory = context(&bench, "below", &[("Dockerfile", &dockerfile)]);
        build(&bench, &directory, &["-t", &format!("below:{number}")]).run().ok();
    }
    bench.ok(&["save", "--format", "oci-dir", "-o", &layout, "below:1", "below:2"]);
    let index: Value = serde_json::from_str(&read(format!("{layout}/index.json"))).expect("an index");
    let second = index["manifests"][1]["digest"].as_str().expect("a digest").to_owned();
    bench.ok(&["rmi", "-f", "below:1", "below:2"]);
    bench.ok(&["builder", "prune", "-af"]);
    let dockerfile = "FROM given\nCOPY --from=other /number /other\nRUN echo $NUMBER $(cat /number /other) >/out\n";
    let directory = context(&bench, "ctx", &[("Dockerfile", dockerfile)]);
    let with = |given: &str, other: &str| {
        let (given, other) =
            (format!("given=oci-layout://{layout}{given}"), format!("other=oci-layout://{layout}{other}"));
        build(&bench, &directory, &["-t", "made", "--pull", "--build-context", &given, "--build-context", &other]).run()
    };
    with(":1", &format!("@{second}")).ok();
    assert_eq!(said(&bench, "cat /out"), "1 1 2");
    with(":2", ":1").ok();
    assert_eq!(said(&bench, "cat /out"), "2 2 1");
    assert!(!bench.ok(&["images"]).contains("below"), "no name comes with them");
    with(":3", ":1").refused(1, "no entry with the tag 3");
    with("", ":1").refused(1, "several entries");
    with(&format!("@sha256:{}", "0".repeat(64)), ":1").refused(1, "no entry sha256:000");
    let lost = ["--build-context", "given=oci-layout:///no/such/layout"];
    build(&bench, &directory, &lost).run().refused(1, "/no/such/layout");
}

#[test]
fn repositories_and_archives() {
    let bench = bench();
    let served = bench.mkdir("served");
    let script = r#"export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
        export GIT_CONFIG_GLOBAL=/dev/null HOME=/nonexistent
        git init -q -b main "$1/r.git"; cd "$1/r.git"; mkdir d; echo tracked >d/f; git add .; git commit -q -m one
        mkdir "$1/t"; echo packed >"$1/t/g"; tar -C "$1/t" -czf "$1/t.tgz" ."#;
    program("bash").args(["-ec", script, "make"]).arg(&served).ok();
    let files = super::sources::Files::start(&served);
    write(served.join("plain"), "no archive\n");
    let dockerfile = "FROM base\nCOPY --from=repo f /f\nRUN --mount=from=packed,target=/m cat /m/g >/g\n";
    let directory = context(&bench, "ctx", &[("Dockerfile", dockerfile)]);
    let repository = format!("repo=file://{}/r.git#main:d", served.display());
    let address = |name: &str| format!("packed=http://{}/{name}", files.host);
    let with = |repository: &str, archive: &str| {
        let flags = ["-t", "made", "--build-context", repository, "--build-context", archive];
        build(&bench, &directory, &flags).run()
    };
    with(&repository, &address("t.tgz")).ok();
    assert_eq!(said(&bench, "cat /f /g"), "tracked\npacked");
    with(&repository, &address("plain")).refused(1, "plain is no archive");
    with(&repository.replace(":d", ":e"), &address("t.tgz")).refused(1, "build context repo: ");
    with("repo=ftp://h/x", &address("t.tgz")).refused(1, "cannot be read");
}

#[test]
fn without_a_word_it_is_the_current_directory() {
    let bench = bench();
    let directory = context(&bench, "ctx", &[("Containerfile", "FROM base\nCOPY a /a\n"), ("a", "here\n")]);
    bench.rbox(&["build", "-q", "-t", "made"]).current_dir(&directory).limit(120).run().ok();
    assert_eq!(said(&bench, "cat /a"), "here");
    let nothing = bench.rbox(&["build"]).current_dir(bench.mkdir("empty")).run();
    nothing.refused(1, "failed to read dockerfile: open Dockerfile");
}
