//! buildah, with a store of its own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::case::Case;
use super::compare::Made;
use crate::common::{Bench, program};
use serde_json::{Value, json};

/// A process in a user namespace that builds with buildah, and lists trees.
pub struct Peer {
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    store: PathBuf,
    /// Short, as buildah wants it.
    run: PathBuf,
}

impl Peer {
    pub fn start(bench: &Bench) -> Self {
        let store = bench.mkdir("buildah");
        let run = PathBuf::from(program("mktemp").args(["-d", "/tmp/rbox-b.XXXXXX"]).ok());
        let tree =
            std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
        let mut command = Command::new("buildah");
        command.args(["unshare", "python3"]).arg(tree.join("tests/data/build/peer.py")).args([&store, &run]);
        command.arg(tree.join("tests/data/list_tree.py"));
        command.env("BUILDAH_ISOLATION", "chroot").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("start buildah: {error} (is it installed?)"));
        let requests = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().expect("piped"));
        Self { child, requests, answers, store, run }
    }

    #[track_caller]
    fn ask(&mut self, request: &Value) -> Value {
        let requests = self.requests.as_mut().expect("open until it is dropped");
        writeln!(requests, "{request}").expect("peer.py reads");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("peer.py answers");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("peer.py ended: {error}: {line}"))
    }

    /// Runs buildah, which must succeed.
    #[track_caller]
    pub fn ok(&mut self, args: &[&str]) {
        let answer = self.ask(&json!({"run": args}));
        assert_eq!(answer["code"], 0, "buildah {args:?}: {}", answer["err"]);
    }

    /// Builds a case.
    pub fn build(&mut self, case: &Case, context: &Path) -> Made {
        let mut args: Vec<String> =
            ["--layers=false", "--pull-never", "--format", "docker", "-q"].map(str::to_owned).to_vec();
        args.extend(case.args.iter().map(|arg| arg.replace("@CONTEXT@", &context.to_string_lossy())));
        args.push(context.to_string_lossy().into_owned());
        let answer = self.ask(&json!({"build": args, "tree": true}));
        Made {
            code: answer["code"].as_i64().unwrap_or(-1),
            output: answer["err"].as_str().unwrap_or_default().to_owned(),
            config: answer["config"].as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default(),
            tree: lines(&answer),
        }
    }

    /// The tree of these layers, the topmost first.
    pub fn tree(&mut self, layers: &[PathBuf]) -> Vec<String> {
        lines(&self.ask(&json!({"layers": layers})))
    }
}

fn lines(answer: &Value) -> Vec<String> {
    let lines = answer["tree"].as_array().into_iter().flatten();
    lines.filter_map(|line| line.as_str().map(str::to_owned)).collect()
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.requests = None;
        let _ = self.child.wait();
        let script = r#"umount -l "$1"/overlay; rm -rf "$1" "$2""#;
        let unshare = program("buildah").args(["unshare", "sh", "-c", script, "clean"]).arg(&self.store);
        let _ = unshare.arg(&self.run).run();
    }
}
