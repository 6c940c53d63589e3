//! The corpus of Dockerfiles, each built with rbox and with buildah: images and errors are compared.
//!
//! `tests/data/build/corpus/` has a file a subject, with many cases each; README.md there says how they
//! are written. RBOX_CORPUS names one case, to see what both make of it; `all` is for every one of them, where
//! the ordinary run leaves out every second case of those that are not known to differ.

mod case;
mod compare;
mod files;
mod peer;

use std::collections::BTreeSet;

use self::case::Case;
use self::compare::{Made, aspects, expectations};
use self::peer::Peer;
use crate::common::images::{Image, Layer};
use crate::common::registry::registry;
use crate::common::{Bench, read};
use serde_json::json;

/// Why a case may differ from buildah: the class that its `differs:` names, and the reason why ours is
/// BuildKit's behaviour. docs/build.md tells of them under these names, and where BuildKit says so.
const CLASSES: &[(&str, &str)] = &[
    ("archive-owners", "--chown is for what archives hold, too"),
    ("before-from", "instructions before the first FROM are refused, ARG excepted"),
    ("bind-mounts", "bind mounts take relative targets, show nothing ignored, and forget what is written"),
    ("brackets", "`[[]` stands for a bracket, as filepath.Match has it"),
    ("empty-wildcards", "a pattern that fits nothing copies nothing"),
    ("env-order", "a variable that is set again keeps its place"),
    ("escape-directive", "the escape character of the directive is that of words, too"),
    ("file-over-directory", "a file is not put where a directory is"),
    ("heredocs", "this version of buildah knows no heredocs"),
    ("inherited-arguments", "a stage upon a stage knows its arguments"),
    ("links-at-destination", "a link at the destination is followed, inside the image"),
    ("modifiers", "this version of buildah knows the expansions with a colon only"),
    ("mount-points", "what a container needed to be mounted upon is not in the image"),
    ("newer-flags", "this version of buildah knows fewer flags"),
    ("ports", "what is no port is refused, and a range is all of its ports"),
    ("setuid", "COPY keeps the bits for another user and group"),
    ("several-sources", "the destination of several sources ends with a slash"),
    ("shell-form", "SHELL is that of CMD and ENTRYPOINT, too"),
    ("special-names", "`$10` and `$-` are names, as in a shell"),
    ("stage-names", "names of stages are compared without case, and begin with a letter"),
    ("volumes", "what is written below a VOLUME afterwards is kept"),
];

#[test]
fn arguments() {
    check("arguments");
}

#[test]
fn words() {
    check("words");
}

#[test]
fn metadata() {
    check("metadata");
}

#[test]
fn copies() {
    check("copies");
}

#[test]
fn additions() {
    check("additions");
}

#[test]
fn commands() {
    check("commands");
}

#[test]
fn heredocs() {
    check("heredocs");
}

#[test]
fn stages() {
    check("stages");
}

#[test]
fn ignored_files() {
    check("ignored_files");
}

#[test]
fn syntax() {
    check("syntax");
}

/// All subjects have a test, and what they hold is a corpus.
#[test]
fn the_corpus_is_whole() {
    let mut names = BTreeSet::new();
    let mut used = BTreeSet::new();
    for subject in case::subjects() {
        for case in case::read(&subject) {
            assert!(names.insert(case.name.clone()), "two cases are named {}", case.name);
            used.extend(case.differs.into_iter().map(|(class, _)| class));
        }
    }
    assert!(names.len() >= 150, "the corpus has {} cases", names.len());
    let known: BTreeSet<String> = CLASSES.iter().map(|(class, _)| (*class).to_owned()).collect();
    assert_eq!(used, known, "classes of differences");
    let guide = read(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/build.md"));
    for class in known {
        assert!(guide.contains(&format!("`{class}`")), "docs/build.md does not tell of the difference {class}");
    }
}

/// Builds all cases of a subject with both and compares.
fn check(subject: &str) {
    let cases = case::read(subject);
    let wanted = std::env::var("RBOX_CORPUS").ok();
    let chosen = |(index, case): &(usize, Case)| match wanted.as_deref() {
        Some("all") => true,
        Some(name) => case.name == name,
        None => index % 2 == 0 || !case.differs.is_empty(),
    };
    let cases: Vec<Case> = cases.into_iter().enumerate().filter(chosen).map(|(_, case)| case).collect();
    if cases.is_empty() {
        return;
    }
    let bench = Bench::new();
    let mut peer = Peer::start(&bench);
    have_bases(&bench, &mut peer);
    let mut wrong = Vec::new();
    for case in &cases {
        let context = files::make(&bench, case);
        // Before buildah, which writes through bind mounts into the context.
        let ours = compare::build(&bench, &mut peer, case, &context);
        let theirs = peer.build(case, &context);
        if wanted.as_ref().is_some_and(|name| *name == case.name) {
            println!("--- rbox\n{}\n--- buildah\n{}", ours.report(), theirs.report());
        }
        wrong.extend(judge(case, &ours, &theirs).into_iter().map(|line| format!("{}: {line}", case.name)));
        files::remove(&context);
    }
    assert!(wrong.is_empty(), "{} things of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

/// What is wrong with a case.
fn judge(case: &Case, ours: &Made, theirs: &Made) -> Vec<String> {
    let mut wrong = expectations(case, ours);
    let named: BTreeSet<&str> =
        case.differs.iter().flat_map(|(_, aspects)| aspects.iter().map(String::as_str)).collect();
    let found = aspects(case, ours, theirs);
    for (aspect, detail) in &found {
        if !named.contains(aspect.as_str()) {
            wrong.push(format!("{aspect}: {detail}"));
        }
    }
    for aspect in named {
        if !found.iter().any(|(found, _)| found == aspect) {
            wrong.push(format!("does not differ from buildah any more: {aspect}"));
        }
    }
    for (class, _) in &case.differs {
        if !CLASSES.iter().any(|(known, _)| known == class) {
            wrong.push(format!("no such class of differences: {class}"));
        }
    }
    wrong
}

/// The images that the cases build upon, in both stores.
fn have_bases(bench: &Bench, peer: &mut Peer) {
    for (name, reference) in [("base", registry().small()), ("rich", rich()), ("triggers", triggers())] {
        bench.ok(&["pull", "-q", &reference]);
        bench.ok(&["tag", &reference, name]);
        peer.ok(&["pull", "-q", "--tls-verify=false", &reference]);
        peer.ok(&["tag", &reference, name]);
    }
}

/// An image whose configuration says everything.
fn rich() -> String {
    registry().push_once("corpus/rich:1", || {
        let layer = Layer::new()
            .owned_by(1000, 1000)
            .directory("work", 0o750)
            .symlink("link", "/work")
            .directory("data", 0o755)
            .file("data/lower", 0o640, "lower\n")
            .symlink("data/up", "../work")
            .symlink("data/dangling", "/nowhere/at/all")
            .file("file", 0o644, "file\n");
        vec![Image::small_with(vec![layer]).config(json!({
            "Env": ["PATH=/bin:/usr/bin", "RICH=yes", "NAME=base"], "User": "alice", "WorkingDir": "/work",
            "Entrypoint": ["/bin/sh", "-c"], "Cmd": ["echo rich"], "Labels": {"of": "rich", "kept": "yes"},
            "Volumes": {"/vol": {}}, "ExposedPorts": {"80/tcp": {}}, "StopSignal": "SIGQUIT",
        }))]
    })
}

/// An image with triggers.
fn triggers() -> String {
    let of = || {
        vec![Image::small_with(Vec::new()).config(json!({
            "OnBuild": ["ENV A=triggered", "COPY trigger /trigger", "RUN echo $A > /ran"],
        }))]
    };
    let name = "corpus/triggers:1";
    static ONCE: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    ONCE.get_or_init(|| registry().push_as(name, &of(), "v2s2")).clone()
}
