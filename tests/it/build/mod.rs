//! `rbox build`: the corpus built with buildah, too, real builds, bad input, the cache, the command around them.

mod acceptance;
mod bad_input;
mod cache;
mod contexts;
mod corpus;
mod crash;
mod drivers;
mod front;
mod options;
mod outputs;
mod run_options;
mod sources;
mod travel;

use std::path::PathBuf;

use crate::common::{Bench, Cmd, Output, write};

/// A context of these files, made anew; directories above them are made. The Dockerfile is one of them.
#[track_caller]
fn context(bench: &Bench, name: &str, files: &[(&str, &str)]) -> PathBuf {
    let directory = bench.path(name);
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).expect("a directory of ours");
    for (path, content) in files {
        let path = directory.join(path);
        std::fs::create_dir_all(path.parent().expect("below the context")).expect("a directory of ours");
        write(path, content);
    }
    directory
}

/// A store whose image `base` is the small image.
#[track_caller]
fn bench() -> Bench {
    let (bench, image) = Bench::with_image();
    bench.ok(&["tag", &image, "base"]);
    bench
}

/// `rbox build ARGS DIRECTORY` with progress as plain text.
fn build(bench: &Bench, directory: &std::path::Path, args: &[&str]) -> Cmd {
    bench.rbox(&["build", "--progress", "plain"]).args(args).arg(directory).limit(120)
}

/// How many steps a build said it took from the cache; a base image is no step.
fn cached(output: &Output) -> usize {
    let err = output.err();
    let is_step =
        |number: &str| !err.lines().any(|line| line.starts_with(&format!("{number} [")) && line.contains("] FROM "));
    err.lines().filter_map(|line| line.strip_suffix(" CACHED")).filter(|number| is_step(number)).count()
}
