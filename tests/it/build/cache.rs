//! The build cache: what runs again and what does not.

use std::path::Path;

use super::{bench, build, cached, context};
use crate::common::{Bench, names_in, program, read, write};
use serde_json::Value;

/// Builds as `made`; how many steps came from the cache.
#[track_caller]
fn hits(bench: &Bench, directory: &Path, args: &[&str]) -> usize {
    cached(&build(bench, directory, &[&["-t", "made"], args].concat()).run().ok())
}

/// What a file of the image `made` says.
#[track_caller]
fn said(bench: &Bench, path: &str) -> String {
    bench.run_rm(&["--net", "none"], "made", &["cat", path]).ok().out()
}

/// A step that says something else each time it runs.
const RANDOM: &str = "cat /proc/sys/kernel/random/uuid";

#[test]
fn an_unchanged_build_runs_nothing() {
    let bench = bench();
    let dockerfile = format!(
        "FROM base AS one\nRUN {RANDOM} >/one\nWORKDIR /w\nCOPY a /a\nFROM base\nRUN {RANDOM} >/two\n\
         COPY --from=one /one /one\nENV X=y\nRUN cat /one /two >/both\n"
    );
    let directory = context(&bench, "ctx", &[("Dockerfile", &dockerfile), ("a", "a\n")]);
    assert_eq!(hits(&bench, &directory, &[]), 0);
    let (id, both) = (bench.inspect("made", "{{.Id}}"), said(&bench, "/both"));
    assert_eq!(hits(&bench, &directory, &[]), 6, "all steps");
    assert_eq!(bench.inspect("made", "{{.Id}}"), id, "the same image");
    // Not for want of the name: what made it is known.
    bench.ok(&["rmi", "-f", "made"]);
    hits(&bench, &directory, &[]);
    assert_eq!(said(&bench, "/both"), both);
    // Asked not to know.
    assert_eq!(hits(&bench, &directory, &["--no-cache"]), 0);
    assert_ne!(said(&bench, "/both"), both);
    // And what that made is known.
    let both = said(&bench, "/both");
    hits(&bench, &directory, &[]);
    assert_eq!(said(&bench, "/both"), both);
}

#[test]
fn only_content_and_modes_of_files_count() {
    let bench = bench();
    let dockerfile = format!("FROM base\nCOPY a d/ /x/\nRUN {RANDOM} >/id\n");
    let directory = context(&bench, "ctx", &[("Dockerfile", &dockerfile), ("a", "a\n"), ("d/b", "b\n")]);
    hits(&bench, &directory, &[]);
    let id = said(&bench, "/id");
    let same = |what: &str| {
        hits(&bench, &directory, &[]);
        assert_eq!(said(&bench, "/id"), id, "{what}");
    };
    program("touch").args(["-d", "@1234567890"]).arg(directory.join("a")).ok();
    same("a time");
    write(directory.join("a"), "a\n");
    same("the same written again");
    write(directory.join("unrelated"), "u\n");
    same("a file that is not copied");
    program("chmod").arg("755").arg(directory.join("a")).ok();
    hits(&bench, &directory, &[]);
    let moded = said(&bench, "/id");
    assert_ne!(moded, id, "a mode");
    program("chmod").arg("644").arg(directory.join("a")).ok();
    same("back again");
    for (what, script) in [
        ("content", "echo b >a"),
        ("content of the same length and time", "touch -r d/b ref; echo c >d/b; touch -r ref d/b; rm ref"),
        ("a new name", "mv d/b d/c"),
        ("a new file", "echo n >d/n"),
        ("a link", "ln -s c d/l"),
        ("where a link leads", "ln -sfn n d/l"),
        ("a directory", "mkdir d/e"),
        ("a type", "rm d/n && mkdir d/n"),
    ] {
        let before = said(&bench, "/id");
        program("sh").args(["-ec", script]).current_dir(&directory).ok();
        hits(&bench, &directory, &[]);
        assert_ne!(said(&bench, "/id"), before, "{what}");
    }
}

#[test]
fn ignored_files_do_not_count() {
    let bench = bench();
    let dockerfile = format!("FROM base\nCOPY . /x/\nRUN {RANDOM} >/id\n");
    let directory = context(
        &bench,
        "ctx",
        &[("Dockerfile", &dockerfile), ("a", "a\n"), ("log/x", "1\n"), (".dockerignore", "log\n.dockerignore\n")],
    );
    hits(&bench, &directory, &[]);
    let id = said(&bench, "/id");
    write(directory.join("log/x"), "2\n");
    write(directory.join("log/y"), "3\n");
    hits(&bench, &directory, &[]);
    assert_eq!(said(&bench, "/id"), id);
    write(directory.join(".dockerignore"), "log/x\n.dockerignore\n");
    hits(&bench, &directory, &[]);
    assert_ne!(said(&bench, "/id"), id);
}

#[test]
fn an_argument_counts_from_where_it_is_declared() {
    let bench = bench();
    let dockerfile = format!("FROM base\nRUN {RANDOM} >/one\nARG A=0\nRUN {RANDOM} >/two\n");
    let directory = context(&bench, "ctx", &[("Dockerfile", &dockerfile)]);
    hits(&bench, &directory, &["--build-arg", "A=1"]);
    let (one, two) = (said(&bench, "/one"), said(&bench, "/two"));
    hits(&bench, &directory, &["--build-arg", "A=2"]);
    assert_eq!(said(&bench, "/one"), one);
    let other = said(&bench, "/two");
    assert_ne!(other, two);
    hits(&bench, &directory, &["--build-arg", "A=1"]);
    assert_eq!(said(&bench, "/two"), two);
    // Proxies do not count, nor do arguments that nothing declares.
    hits(&bench, &directory, &["--build-arg", "A=1", "--build-arg", "HTTPS_PROXY=http://localhost:1"]);
    assert_eq!(said(&bench, "/two"), two);
    hits(&bench, &directory, &["--build-arg", "A=1", "--build-arg", "NOBODY=knows"]);
    assert_eq!(said(&bench, "/two"), two);
    // The name of an instruction of the configuration is no reason to run anything.
    let labelled = dockerfile.replace("ARG A=0\n", "ARG A=0\nLABEL x=y\n");
    write(directory.join("Dockerfile"), labelled);
    hits(&bench, &directory, &["--build-arg", "A=1"]);
    assert_eq!(said(&bench, "/two"), two);
}

#[test]
fn linked_copies_lie_on_any_base() {
    let bench = bench();
    let dockerfile =
        |base: &str| format!("FROM base\nRUN echo {base} >/base\nCOPY --link a /linked/a\nRUN cat /linked/a >/out\n");
    let directory = context(&bench, "ctx", &[("Dockerfile", &dockerfile("1")), ("a", "a\n")]);
    assert_eq!(hits(&bench, &directory, &[]), 0);
    for base in ["2", "3"] {
        write(directory.join("Dockerfile"), dockerfile(base));
        assert_eq!(hits(&bench, &directory, &[]), 1, "what is linked does not depend on what is below");
        assert_eq!((said(&bench, "/base"), said(&bench, "/out")), (base.to_owned(), "a".to_owned()));
    }
    // On the first one again, from which nothing was taken away.
    write(directory.join("Dockerfile"), dockerfile("1"));
    assert_eq!(hits(&bench, &directory, &[]), 3);
    write(directory.join("a"), "b\n");
    assert_eq!(hits(&bench, &directory, &[]), 1, "all below it is done again");
    assert_eq!(said(&bench, "/linked/a"), "b");
    bench.ok(&["system", "check"]);
}

/// Every file below a directory that has `needle` in it, or in its name.
fn files_with(directory: &Path, needle: &str) -> Vec<String> {
    let grep = program("grep").args(["-rlaF", "--", needle]).arg(directory).run();
    let mut found: Vec<String> = grep.out().lines().map(str::to_owned).collect();
    found.extend(
        program("find").arg(directory).args(["-name", &format!("*{needle}*")]).run().out().lines().map(str::to_owned),
    );
    found
}

#[test]
fn secrets_are_nowhere_and_change_nothing() {
    let bench = bench();
    let dockerfile = format!(
        "FROM base\nRUN --mount=type=secret,id=key cat /run/secrets/key | wc -c >/size; {RANDOM} >/id\n\
         RUN --mount=type=secret,id=key,env=TOKEN test -n \"$TOKEN\" && echo ${{#TOKEN}} >/length\n"
    );
    let directory = context(&bench, "ctx", &[("Dockerfile", &dockerfile)]);
    let outside = tempfile::tempdir().unwrap();
    let file = outside.path().join("key");
    let secret = format!("id=key,src={}", file.display());
    write(&file, "hunter2-very-secret");
    hits(&bench, &directory, &["--secret", &secret]);
    let id = said(&bench, "/id");
    assert_eq!((said(&bench, "/size"), said(&bench, "/length")), ("19".to_owned(), "19".to_owned()));
    // Another value, and none at all: the steps are known.
    write(&file, "swordfish-not-this-one");
    hits(&bench, &directory, &["--secret", &secret]);
    assert_eq!(said(&bench, "/id"), id);
    // From the environment of the caller.
    let from_environment = build(&bench, &directory, &["-t", "made", "--no-cache", "--secret", "id=key,env=MY_KEY"]);
    let output = from_environment.env("MY_KEY", "opensesame-in-the-environment").run().ok();
    for value in ["hunter2-very", "swordfish-not", "opensesame-in"] {
        assert!(!output.err().contains(value), "{}", output.report());
        assert_eq!(files_with(&bench.root(), value), [""; 0]);
        assert!(!bench.ok(&["history", "--no-trunc", "made"]).contains(value));
        assert!(!bench.ok(&["inspect", "made"]).contains(value));
    }
    let listing = bench.run_rm(&["--net", "none"], "made", &["ls", "-A", "/run"]).out();
    assert!(!listing.contains("secrets"), "{listing}");
}

#[test]
fn concurrent_builds_run_a_step_once() {
    let bench = bench();
    let dockerfile = format!("FROM base\nRUN sleep 1; {RANDOM} >/id\nRUN {RANDOM} >/second\n");
    let directory = context(&bench, "ctx", &[("Dockerfile", &dockerfile)]);
    let running: Vec<_> =
        ["one", "two", "three"].iter().map(|name| build(&bench, &directory, &["-t", name]).spawn()).collect();
    let outputs: Vec<_> = running.into_iter().map(|running| running.wait().ok()).collect();
    let ids: Vec<String> =
        ["one", "two", "three"].iter().map(|name| bench.inspect(name, "{{json .RootFS.Layers}}")).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:#?}\n{}", outputs[1].report());
}

#[test]
fn identical_steps_of_one_file_run_once() {
    let bench = bench();
    let dockerfile = format!(
        "FROM base AS one\nRUN sleep 1; {RANDOM} >/id\nFROM base AS two\nRUN sleep 1; {RANDOM} >/id\n\
         FROM scratch\nCOPY --from=one /id /one\nCOPY --from=two /id /two\n"
    );
    let directory = context(&bench, "ctx", &[("Dockerfile", &dockerfile)]);
    let out = bench.text("out");
    build(&bench, &directory, &["-o", &out]).run().ok();
    assert_eq!(read(format!("{out}/one")), read(format!("{out}/two")));
}

#[test]
fn cache_mounts_survive_and_are_in_no_layer() {
    let bench = bench();
    let dockerfile = |number: u32| {
        format!(
            "FROM base\nRUN --mount=type=cache,target=/cache echo {number} >>/cache/log; cat /cache/log >/out\n\
             RUN test ! -e /cache/log\n"
        )
    };
    let directory = context(&bench, "ctx", &[("Dockerfile", &dockerfile(1))]);
    hits(&bench, &directory, &[]);
    write(directory.join("Dockerfile"), dockerfile(2));
    hits(&bench, &directory, &[]);
    assert_eq!(said(&bench, "/out"), "1\n2");
    // Another build that wants the same, with the same id; and one with an id of its own.
    let by_id = "FROM base\nRUN --mount=type=cache,id=/cache,target=/elsewhere cat /elsewhere/log >/out\n";
    write(directory.join("Dockerfile"), by_id);
    hits(&bench, &directory, &[]);
    assert_eq!(said(&bench, "/out"), "1\n2");
    write(
        directory.join("Dockerfile"),
        by_id.replace("id=/cache", "id=own").replace("cat /elsewhere/log", "ls -A /elsewhere"),
    );
    hits(&bench, &directory, &[]);
    assert_eq!(said(&bench, "/out"), "");
    // locked: one at a time.
    let locked = "FROM base\nARG N\nRUN --mount=type=cache,target=/c,sharing=locked \
                  mkdir /c/busy && sleep 0.5 && rmdir /c/busy && echo $N >>/c/log\n";
    write(directory.join("Dockerfile"), locked);
    let running: Vec<_> =
        ["N=1", "N=2", "N=3"].iter().map(|arg| build(&bench, &directory, &["--build-arg", arg]).spawn()).collect();
    running.into_iter().for_each(|running| drop(running.wait().ok()));
    // Pruned.
    bench.ok(&["builder", "prune", "-af"]);
    write(directory.join("Dockerfile"), dockerfile(3));
    hits(&bench, &directory, &[]);
    assert_eq!(said(&bench, "/out"), "3");
}

#[test]
fn what_is_pruned_is_gone_and_images_stay() {
    let bench = bench();
    let dockerfile = format!("FROM base\nRUN {RANDOM} >/id\nRUN head -c 3000000 /dev/zero >/big\n");
    let directory = context(&bench, "ctx", &[("Dockerfile", &dockerfile)]);
    hits(&bench, &directory, &[]);
    let id = said(&bench, "/id");
    let df: Vec<Value> = bench
        .ok(&["system", "df", "--format", "json"])
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert!(df.iter().any(|row| row["Type"] == "Build Cache" && row["TotalCount"] != "0"), "{df:?}");
    // Until then: nothing is so old.
    bench.ok(&["builder", "prune", "-af", "--filter", "until=1h"]);
    hits(&bench, &directory, &[]);
    assert_eq!(said(&bench, "/id"), id);
    let out = bench.ok(&["builder", "prune", "-af"]);
    assert!(out.lines().last().unwrap_or_default().starts_with("Total"), "{out}");
    assert_eq!(names_in(bench.root().join("build-cache/records")), [""; 0]);
    assert_eq!(said(&bench, "/id"), id, "images keep what they need");
    hits(&bench, &directory, &[]);
    assert_ne!(said(&bench, "/id"), id);
    // Without images the cache alone keeps the layers, until it is pruned.
    bench.ok(&["rmi", "-f", "made"]);
    bench.ok(&["rmi", "-f", "base"]);
    let layers = names_in(bench.root().join("layers")).len();
    assert!(layers >= 2);
    bench.ok(&["builder", "prune", "-af"]);
    assert!(names_in(bench.root().join("layers")).len() < layers);
}
