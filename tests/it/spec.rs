//! The OCI runtime Spec saved beside a container is valid by the specification's own schema.

use std::path::PathBuf;

use crate::common::{Bench, program, read};
use serde_json::Value;

/// The tests' directory: where the sources are now, which need not be where they were built.
fn validator() -> PathBuf {
    let sources = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| PathBuf::from("."), PathBuf::from);
    sources.join("tests/validate_spec.py")
}

#[test]
fn saved_specs_are_valid_and_say_what_was_asked() {
    let (bench, image) = Bench::with_image();
    let data = bench.mkdir("data");
    let bind = format!("{}:/data:ro", data.display());
    let profile = bench.text("profile.json");
    crate::common::write(
        &profile,
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_ERRNO"}]}"#,
    );
    let seccomp = format!("seccomp={profile}");
    let cases: &[&[&str]] = &[
        &[],
        &["-it", "-u", "alice", "-w", "/tmp", "-e", "A=1", "-h", "box"],
        &["--privileged"],
        &[
            "--read-only",
            "--tmpfs",
            "/t:size=1m",
            "-v",
            &bind,
            "--mount",
            &format!("type=bind,src={},dst=/d2", data.display()),
        ],
        &["--cap-drop", "ALL", "--cap-add", "CHOWN", "--security-opt", "no-new-privileges", "--ulimit", "nofile=10:20"],
        &["--pid", "host", "--ipc", "host", "--uts", "host", "--network", "host"],
        &["--security-opt", "seccomp=unconfined", "--init", "--shm-size", "1m", "--label", "a=b"],
        &["--security-opt", &seccomp],
    ];
    let mut files = Vec::new();
    for (number, flags) in cases.iter().enumerate() {
        let name = format!("c{number}");
        let flags = [&["create", "--name", &name], *flags, &[image.as_str(), "true"]].concat();
        let id = bench.ok(&flags);
        bench.rbox(&["start", &name]).run().ok();
        bench.ok(&["wait", &name]);
        files.push(bench.root().join("containers").join(id).join("spec.json"));
    }
    let spec: Value = serde_json::from_str(&read(&files[0])).unwrap();
    assert!(spec["ociVersion"].as_str().unwrap().starts_with("1."));
    assert_eq!(spec["process"]["args"], serde_json::json!(["true"]));
    assert_eq!(spec["process"]["capabilities"]["bounding"].as_array().unwrap().len(), 14);
    let kinds: Vec<&str> =
        spec["linux"]["namespaces"].as_array().unwrap().iter().map(|entry| entry["type"].as_str().unwrap()).collect();
    for kind in ["user", "mount", "pid", "network", "ipc", "uts", "cgroup"] {
        assert!(kinds.contains(&kind), "{kind} in {kinds:?}");
    }
    let output = program("python3").arg(validator()).args(&files).run();
    if output.err().contains("ModuleNotFoundError") {
        crate::common::skip("no python3-jsonschema to validate with");
        return;
    }
    assert_eq!(output.ok().out(), format!("{} Specs, 0 errors", files.len()));
}
