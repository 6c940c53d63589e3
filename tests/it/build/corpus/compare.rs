//! What a build made, and how that differs from what another made or from what was expected.

use std::collections::BTreeMap;
use std::path::Path;

use super::case::Case;
use super::peer::Peer;
use crate::common::{Bench, read, sha256};
use serde_json::Value;

/// A build's result.
#[derive(Clone, Debug)]
pub struct Made {
    pub code: i64,
    /// What it said.
    pub output: String,
    /// The image's configuration.
    pub config: Value,
    /// Lines of list_tree.py.
    pub tree: Vec<String>,
}

impl Made {
    /// All of it, for reading; files of the base image left out.
    pub fn report(&self) -> String {
        let tree: Vec<String> = self.nodes().into_iter().map(|(path, node)| format!("{path} {node:?}")).collect();
        let tree: Vec<&String> = tree.iter().filter(|line| !line.contains("/bin/busybox")).collect();
        format!("code {}\n{}\n{:#}\n{tree:#?}", self.code, self.output, self.config)
    }

    fn nodes(&self) -> BTreeMap<String, Node> {
        self.tree.iter().map(|line| Node::parse(line)).collect()
    }
}

/// Builds a case with rbox.
pub fn build(bench: &Bench, peer: &mut Peer, case: &Case, context: &Path) -> Made {
    let id_file = bench.path("id");
    let args: Vec<String> = case.args.iter().map(|arg| arg.replace("@CONTEXT@", &context.to_string_lossy())).collect();
    let build = bench.rbox(&["build", "--progress", "plain", "--iidfile"]).arg(&id_file).args(&args).arg(context);
    let output = build.limit(120).run();
    let mut made = Made { code: output.code.into(), output: output.err(), config: Value::Null, tree: Vec::new() };
    if output.code == 0 {
        let id = read(&id_file);
        let hex = id.trim().trim_start_matches("sha256:");
        made.config =
            serde_json::from_str(&read(bench.root().join("blobs/sha256").join(hex))).expect("a configuration");
        let layers: Vec<_> = chain(&made.config).iter().rev().map(|hex| layer(bench, hex)).collect();
        made.tree = peer.tree(&layers);
    }
    made
}

fn layer(bench: &Bench, hex: &str) -> std::path::PathBuf {
    bench.root().join("layers").join(hex).join("diff")
}

/// The chain ids of a configuration's layers.
fn chain(config: &Value) -> Vec<String> {
    let mut chain: Vec<String> = Vec::new();
    for diff in config["rootfs"]["diff_ids"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        chain.push(match chain.last() {
            None => diff.trim_start_matches("sha256:").to_owned(),
            Some(parent) => sha256(format!("sha256:{parent} {diff}").as_bytes()),
        });
    }
    chain
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    kind: String,
    mode: String,
    owner: String,
    seconds: i64,
    xattrs: String,
    detail: String,
}

impl Node {
    /// Its path, and what a line of list_tree.py says of it.
    fn parse(line: &str) -> (String, Self) {
        let quote = line.chars().next().expect("a quoted path");
        let end = line[1..].find(&format!("{quote} ")).expect("the end of the path") + 1;
        let path = match &line[1..end] {
            "/" => "/".to_owned(),
            path => format!("/{path}"),
        };
        let words: Vec<&str> = line[end + 2..].splitn(5, ' ').collect();
        let [kind, mode, owner, time, rest] = words[..] else { panic!("no line of a tree: {line}") };
        let (xattrs, detail) = rest.split_once("] ").expect("attributes");
        let kind = match kind {
            "40000" => "dir",
            "100000" => "file",
            "120000" => "link",
            "10000" => "fifo",
            "20000" => "device",
            "140000" => "socket",
            other => other,
        };
        let nanoseconds: i64 = time.parse().expect("a time");
        let node = Self {
            kind: kind.to_owned(),
            mode: mode.to_owned(),
            owner: owner.to_owned(),
            seconds: nanoseconds / 1_000_000_000,
            xattrs: xattrs.trim_start_matches('[').to_owned(),
            detail: detail.to_owned(),
        };
        (path, node)
    }

    fn is_empty(&self) -> bool {
        self.kind == "dir" || self.detail.starts_with("0 ")
    }

    /// The same but for times that nothing defines: of what was made by the build.
    fn same(&self, other: &Self) -> bool {
        let made = |node: &Self| node.seconds > RECENT;
        let times = self.seconds == other.seconds
            || made(self) && made(other)
            || self.kind == "dir" && (made(self) || made(other));
        let modes = self.mode == other.mode || self.kind == "link";
        times
            && modes
            && (&self.kind, &self.owner, &self.xattrs, &self.detail)
                == (&other.kind, &other.owner, &other.xattrs, &other.detail)
    }
}

/// What buildah leaves of what it mounts for a RUN: empty files and directories.
const MOUNTED: [&str; 7] = ["/dev", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/proc", "/run", "/sys"];

/// Later than all times that the corpus gives to files.
const RECENT: i64 = 1_760_000_000;

/// What differs between both: `peer-fails`, `peer-builds`, `config.KEY`, `tree:PATH`, with details.
pub fn aspects(case: &Case, ours: &Made, theirs: &Made) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut add = |aspect: String, detail: String| found.push((aspect, detail));
    match (ours.code == 0, theirs.code == 0) {
        // Whoever expected another end hears of it with our message.
        (built, _) if built != case.fails.is_none() => return found,
        (true, true) => {}
        (false, false) => return found,
        (true, false) => {
            add("peer-fails".to_owned(), theirs.output.clone());
            return found;
        }
        (false, true) => {
            add("peer-builds".to_owned(), String::new());
            return found;
        }
    }
    let (a, b) = (normal(&ours.config), normal(&theirs.config));
    for key in a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))) {
        let value = |map: &BTreeMap<String, Value>| map.get(key).cloned().unwrap_or_default();
        if value(&a) != value(&b) {
            add(format!("config.{key}"), format!("ours {} theirs {}", value(&a), value(&b)));
        }
    }
    // One case names them.
    let thorough = case.differs.iter().any(|(_, aspects)| aspects.iter().any(|aspect| aspect == "tree:/proc"));
    let (a, b) = (ours.nodes(), theirs.nodes());
    for path in a.keys().chain(b.keys().filter(|path| !a.contains_key(*path))) {
        match (a.get(path), b.get(path)) {
            (Some(ours), Some(theirs)) if ours.same(theirs) => {}
            // buildah's store has a mode of its own for it.
            (Some(ours), Some(theirs)) if path == "/" && ours.owner == theirs.owner => {}
            (None, Some(theirs)) if !thorough && MOUNTED.contains(&path.as_str()) && theirs.is_empty() => {}
            (ours, theirs) => add(format!("tree:{path}"), format!("ours {ours:?} theirs {theirs:?}")),
        }
    }
    found
}

/// The part of a configuration that is compared, empty values left out.
fn normal(config: &Value) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for key in ["architecture", "os", "variant", "author"] {
        all.insert(key.to_owned(), config[key].clone());
    }
    for key in [
        "User",
        "Env",
        "Entrypoint",
        "Cmd",
        "WorkingDir",
        "Labels",
        "ExposedPorts",
        "Volumes",
        "StopSignal",
        "Shell",
        "Healthcheck",
        "OnBuild",
    ] {
        all.insert(key.to_owned(), config["config"][key].clone());
    }
    if let Some(labels) = all.get_mut("Labels").and_then(Value::as_object_mut) {
        labels.remove("io.buildah.version");
    }
    all.retain(|key, value| match value {
        Value::Null => false,
        // BuildKit writes down that it is the root.
        Value::String(text) => !(text.is_empty() || key == "WorkingDir" && text == "/"),
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
        _ => true,
    });
    all
}

/// What a case says of the result and is not so.
pub fn expectations(case: &Case, ours: &Made) -> Vec<String> {
    let mut wrong = Vec::new();
    if let Some(text) = &case.fails {
        if ours.code == 0 {
            wrong.push("rbox builds it".to_owned());
        } else if ours.code != 1 || !ours.output.contains(text.as_str()) {
            wrong.push(format!("exit code {}, no {text:?} in {}", ours.code, ours.output));
        }
        return wrong;
    }
    if ours.code != 0 {
        return vec![format!("rbox fails with exit code {}: {}", ours.code, ours.output)];
    }
    let nodes = ours.nodes();
    for line in &case.is {
        wrong.extend(not_so(line, &nodes));
    }
    wrong.extend(case.lacks.iter().filter(|path| nodes.contains_key(*path)).map(|path| format!("has {path}")));
    for (key, value) in &case.config {
        let found = [&ours.config["config"][key], &ours.config[key]];
        if !found.contains(&value) {
            wrong.push(format!("{key} is {}, not {value}", found[0]));
        }
    }
    let steps: Vec<&str> = ours.config["history"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|step| step["created_by"].as_str())
        .collect();
    for step in &case.history {
        if !steps.contains(&step.as_str()) {
            wrong.push(format!("no {step:?} in the history {steps:#?}"));
        }
    }
    wrong
}

/// `PATH KIND MODE OWNER [DETAIL]`: the detail is a target, or a JSON string that is the content.
fn not_so(line: &str, nodes: &BTreeMap<String, Node>) -> Option<String> {
    let words: Vec<&str> = line.splitn(5, ' ').collect();
    let Some(node) = nodes.get(words[0]) else { return Some(format!("lacks {}", words[0])) };
    let mut fits =
        [&node.kind, &node.mode, &node.owner].iter().zip(&words[1..]).all(|(is, word)| is == word || *word == "*");
    if let Some(detail) = words.get(4) {
        let content = serde_json::from_str::<String>(detail);
        let expected =
            content.map_or_else(|_| (*detail).to_owned(), |text| format!("{} {}", text.len(), sha256(text.as_bytes())));
        fits &= node.detail == expected || node.detail.starts_with(&format!("{expected} same="));
    }
    (!fits).then(|| format!("not so: {line}: {node:?}"))
}
