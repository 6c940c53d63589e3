//! podman's flags of a build, and docker's that ask for what is not made.

use serde_json::Value;

use super::{bench, build, context};
use crate::common::{Bench, read, write};

/// What a command says in the image `made`.
#[track_caller]
fn said(bench: &Bench, command: &str) -> String {
    bench.run_rm(&["--net", "none"], "made", &["sh", "-c", command]).ok().out()
}

#[test]
fn attestations_are_left_out_with_a_word() {
    let bench = bench();
    let directory = context(&bench, "ctx", &[("Dockerfile", "FROM base\n")]);
    let word = "rbox: attestations are not made";
    for flag in ["--provenance", "--provenance=mode=max", "--sbom=true", "--sbom=generator=x/y", "--attest=type=sbom"] {
        let said = build(&bench, &directory, &["-t", "made", flag]).run().ok().err();
        assert_eq!(said.lines().filter(|line| line.starts_with(word)).count(), 1, "{flag}: {said}");
        bench.ok(&["rmi", "-f", "made"]);
    }
    for flag in ["--provenance=false", "--sbom=0", "--attest=type=provenance,disabled=true"] {
        let said = build(&bench, &directory, &["-t", "made", flag]).run().ok().err();
        assert!(!said.contains("attestations"), "{flag}: {said}");
    }
}

#[test]
fn variables_and_labels_come_and_go() {
    let bench = bench();
    let dockerfile = "FROM base\nRUN echo $GIVEN $OWN >/out\nENV OWN=file LEFT=x\nLABEL kept=1 gone=2\n";
    let directory = context(&bench, "ctx", &[("Dockerfile", dockerfile)]);
    let flags = ["-t", "made", "--env", "GIVEN=flag", "--env", "OWN=flag", "--env", "CALLER", "--env", "MISSING"];
    let more = ["--unsetenv", "LEFT", "--unsetlabel", "gone"];
    build(&bench, &directory, &[&flags[..], &more].concat()).env("CALLER", "mine").without_env("MISSING").run().ok();
    assert_eq!(said(&bench, "cat /out"), "flag flag");
    let env: Vec<String> = serde_json::from_str(&bench.inspect("made", "{{json .Config.Env}}")).expect("a list");
    for (entry, is_there) in [("GIVEN=flag", true), ("OWN=file", true), ("CALLER=mine", true), ("LEFT=x", false)] {
        assert_eq!(env.iter().any(|own| own == entry), is_there, "{entry} {env:?}");
    }
    assert!(!env.iter().any(|own| own.starts_with("MISSING")), "{env:?}");
    assert_eq!(bench.inspect("made", "{{json .Config.Labels}}"), "{\"kept\":\"1\"}");
}

#[test]
fn another_base_and_one_layer() {
    let bench = bench();
    let below = context(&bench, "below", &[("Dockerfile", "FROM base\nRUN echo other >/which; rm /etc/plain\n")]);
    build(&bench, &below, &["-t", "other"]).run().ok();
    let dockerfile = "FROM nosuch.invalid/base AS one\nRUN cat /which >/seen\nFROM base\nCOPY --from=one /seen /seen\n";
    let directory = context(&bench, "ctx", &[("Dockerfile", dockerfile)]);
    build(&bench, &directory, &["-t", "made", "--from", "other"]).run().ok();
    assert_eq!(said(&bench, "cat /seen"), "other");
    write(directory.join("Dockerfile"), "FROM base\nRUN echo a >/a\nRUN rm /a; echo b >/b\n");
    let layers =
        || serde_json::from_str::<Vec<String>>(&bench.inspect("made", "{{json .RootFS.Layers}}")).unwrap().len();
    build(&bench, &directory, &["-t", "made", "--squash-all", "--from", "other"]).run().ok();
    assert_eq!(
        (layers(), said(&bench, "cat /b /which; ls /a /etc/plain 2>/dev/null | wc -l")),
        (1, "b\nother\n0".into())
    );
    build(&bench, &directory, &["-t", "made", "--squash", "--from", "other"]).run().ok();
    assert_eq!(layers(), 3, "those of the base stay");
}

#[test]
fn lists_and_parts_of_platforms() {
    let bench = bench();
    let directory =
        context(&bench, "ctx", &[("Dockerfile", "FROM scratch\nARG TARGETARCH\nCOPY f /$TARGETARCH\n"), ("f", "1")]);
    for arch in ["amd64", "arm64", "arm64"] {
        build(&bench, &directory, &["--arch", arch, "--manifest", "list"]).run().ok();
    }
    let list: Value = serde_json::from_str(&bench.ok(&["manifest", "inspect", "list"])).expect("a list");
    let entries = list["manifests"].as_array().expect("manifests");
    let platforms: Vec<&str> = entries.iter().filter_map(|entry| entry["platform"]["architecture"].as_str()).collect();
    assert_eq!(platforms, ["amd64", "arm64"]);
    build(&bench, &directory, &["-t", "made", "--os", "linux", "--arch", "arm", "--variant", "v7"]).run().ok();
    assert_eq!(bench.inspect("made", "{{.Os}} {{.Architecture}} {{.Variant}}"), "linux arm v7");
    build(&bench, &directory, &["--arch", "arm", "--platform", "linux/amd64"]).run().refused(1, "conflicting options");
}

#[test]
fn what_steps_are_given() {
    let bench = bench();
    let dockerfile = "FROM base\nRUN cat /given/f >/out; echo written >/given/g; ! echo x >/read/f; \
        head -c 3 /dev/mine | wc -c >>/out; echo \"$http_proxy\" >>/out; test -e /etc/hosts; echo $? >>/out\n";
    let directory = context(&bench, "ctx", &[("Dockerfile", dockerfile)]);
    let host = bench.mkdir("host");
    write(host.join("f"), "of the host\n");
    let volumes = [format!("{}:/given", host.display()), format!("{}:/read:ro", host.display())];
    let flags = [
        "-t",
        "made",
        "-v",
        &volumes[0],
        "--volume",
        &volumes[1],
        "--device",
        "/dev/zero:/dev/mine",
        "--no-hosts",
        "--http-proxy",
    ];
    build(&bench, &directory, &flags).env("http_proxy", "http://proxy:1").run().ok();
    assert_eq!(said(&bench, "cat /out"), "of the host\n3\nhttp://proxy:1\n1");
    assert_eq!(read(host.join("g")), "written\n");
    assert_eq!(said(&bench, "ls / | grep -c -e given -e read; env | grep -c proxy || :"), "0\n0");
    // Proxies are not given of themselves, and there are hosts.
    write(
        directory.join("Dockerfile"),
        "FROM base\nRUN echo \"[$http_proxy]\" >/out; grep -c localhost /etc/hosts >>/out\n",
    );
    build(&bench, &directory, &["-t", "made"]).env("http_proxy", "http://proxy:1").run().ok();
    assert!(said(&bench, "cat /out").starts_with("[]\n") && !said(&bench, "cat /out").ends_with("\n0"));
}
