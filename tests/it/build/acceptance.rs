//! Real builds: programs compiled in one stage and shipped in another, reproducible to the bit, pushed
//! and run by podman; and the Dockerfiles that everybody writes.

use std::path::Path;

use super::{bench, build, context};
use crate::common::registry::{Registry, registry};
use crate::common::trees::Podman;
use crate::common::{Bench, read, wait_until};
use serde_json::Value;

/// A C program and a Python package with what builds them.
const SOURCES: &[(&str, &str)] = &[
    (
        "Dockerfile",
        r#"# syntax=docker/dockerfile:1
ARG TOOLS=tools
FROM ${TOOLS} AS tools
ARG SOURCE_DATE_EPOCH

FROM tools AS program
WORKDIR /src
COPY program/ ./
RUN --mount=type=cache,target=/objects,sharing=locked make OBJECTS=/objects DESTDIR=/out install

FROM tools AS wheel
WORKDIR /src
COPY package/ ./
RUN --mount=type=cache,target=/root/.cache/pip <<EOF
set -e
pip wheel --quiet --no-deps --no-index --no-build-isolation --wheel-dir /wheels .
PYTHONPATH=$(echo /wheels/*.whl) python3 -m greeting >/wheels/said
EOF

FROM scratch AS tiny
COPY --from=program /out/ /
ENTRYPOINT ["/usr/local/bin/hello"]

FROM base
ARG VERSION=0
LABEL org.opencontainers.image.version=$VERSION
COPY --from=program /out/usr/local/bin/ /usr/local/bin/
COPY --from=wheel --chown=alice:alice /wheels /opt/wheels
RUN adduser -D -H -u 4711 app 2>/dev/null || echo app:x:4711:4711::/:/bin/sh >>/etc/passwd
USER 4711
WORKDIR /srv
EXPOSE 8080/tcp
HEALTHCHECK --interval=150ms --retries=2 CMD ["/usr/local/bin/hello", "healthy"]
CMD ["hello", "world"]
"#,
    ),
    (".dockerignore", "*.o\n**/__pycache__\n"),
    (
        "program/Makefile",
        "OBJECTS = .\n$(OBJECTS)/hello.o: hello.c\n\t$(CC) -O2 -c -o $@ $<\nhello: $(OBJECTS)/hello.o\n\t$(CC) -static -o $@ $<\n\
         install: hello\n\tinstall -D -s hello $(DESTDIR)/usr/local/bin/hello\n",
    ),
    (
        "program/hello.c",
        "#include <stdio.h>\n#include <unistd.h>\nint main(int count, char **words)\n{\n\
         \tprintf(\"hello %s from %d\\n\", count > 1 ? words[1] : \"nobody\", getuid());\n\treturn 0;\n}\n",
    ),
    ("program/stale.o", "not to be sent\n"),
    (
        "package/pyproject.toml",
        "[build-system]\nrequires = [\"setuptools\"]\nbuild-backend = \"setuptools.build_meta\"\n\
         [project]\nname = \"greeting\"\nversion = \"1.2\"\n",
    ),
    ("package/greeting/__init__.py", "def text(name):\n    return f\"hello {name}\"\n"),
    ("package/greeting/__main__.py", "from . import text\n\nprint(text(\"wheel\"))\n"),
];

/// A store with the images `base` and `tools`; None, with the reason printed, where there are no tools.
fn with_tools() -> Option<Bench> {
    let Ok(tar) = std::env::var("RBOX_TEST_TOOLS") else {
        crate::common::skip("RBOX_TEST_TOOLS names no Debian with compilers: start the tests by scripts/test.sh");
        return None;
    };
    let bench = bench();
    bench.rbox(&["import", "-q", &tar, "tools"]).limit(120).run().ok();
    Some(bench)
}

/// One build of the sources, as of a moment, from nothing; the digest of its manifest.
#[track_caller]
fn reproducible(bench: &Bench, directory: &Path, to: &str) -> String {
    let metadata = bench.text("metadata.json");
    let args =
        ["--no-cache", "--rewrite-timestamp", "--build-arg", "VERSION=1.2", "-t", to, "--metadata-file", &metadata];
    build(bench, directory, &args).env("SOURCE_DATE_EPOCH", "1700000000").limit(300).run().ok();
    let metadata: Value = serde_json::from_str(&read(&metadata)).unwrap();
    metadata["containerimage.digest"].as_str().expect("a digest").to_owned()
}

#[test]
fn programs_are_compiled_shipped_and_run_elsewhere() {
    let Some(bench) = with_tools() else { return };
    let registry = Registry::start();
    let directory = context(&bench, "app", SOURCES);
    let one = registry.reference("app:1");
    let digest = reproducible(&bench, &directory, &one);
    // Again, a while later, from the same files at other times.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let directory = context(&bench, "app", SOURCES);
    let two = registry.reference("app:2");
    assert_eq!(reproducible(&bench, &directory, &two), digest);
    let inspected: Value = serde_json::from_str(&bench.ok(&["inspect", &one])).unwrap();
    assert_eq!(inspected[0]["Created"].as_str().map(|text| &text[..19]), Some("2023-11-14T22:13:20"));
    assert_eq!(inspected[0]["Config"]["User"], "4711");
    assert_eq!(inspected[0]["Config"]["Labels"]["org.opencontainers.image.version"], "1.2");
    // What it does.
    assert_eq!(bench.run_rm(&["--net", "none"], &one, &[]).ok().out(), "hello world from 4711");
    assert_eq!(bench.run_rm(&["--net", "none"], &one, &["cat", "/opt/wheels/said"]).ok().out(), "hello wheel");
    let wheels = bench.run_rm(&["--net", "none"], &one, &["ls", "-n", "/opt/wheels/greeting-1.2-py3-none-any.whl"]);
    assert!(wheels.ok().out().contains(" 1000     1000 "));
    bench.start(&["--name", "app", "--net", "none"], &one, &["sleep", "100"]);
    wait_until("it is healthy", || bench.inspect("app", "{{.State.Health.Status}}") == "healthy");
    assert_eq!(bench.inspect("app", "{{(index .State.Health.Log 0).Output}}"), "hello healthy from 4711\n");
    // The same from scratch; what is built already is not built again.
    let output = build(&bench, &directory, &["-t", "tiny", "--target", "tiny"])
        .env("SOURCE_DATE_EPOCH", "1700000000")
        .run()
        .ok();
    assert!(!output.err().contains("pip wheel"), "{}", output.report());
    assert_eq!(bench.run_rm(&["--net", "none"], "tiny", &["you"]).ok().out(), "hello you from 0");
    // Others have it from a registry.
    bench.ok(&["push", "-q", &one]);
    bench.ok(&["push", "-q", &two]);
    // Compressed, they have another digest, and still the same.
    assert_eq!(registry.digest(&one), registry.digest(&two));
    let podman = Podman::new(&bench);
    let script = r#"podman pull -q --tls-verify=false "$1" >&2
        podman image inspect -f '{{.Config.User}} {{json .HealthCheck}}' "$1" || podman image inspect "$1"
        podman run --rm --network none "$1""#;
    let out = podman.script(script, &[&one]).ok();
    assert!(out.starts_with("4711 "), "{out}");
    assert!(out.ends_with("hello world from 4711"), "{out}");
}

#[test]
fn from_copy_run_cmd() {
    let bench = bench();
    let directory = context(
        &bench,
        "ctx",
        &[
            ("Dockerfile", "FROM base\nCOPY app.sh /app.sh\nRUN chmod +x /app.sh\nCMD [\"/app.sh\"]\n"),
            ("app.sh", "#!/bin/sh\necho the app runs\n"),
        ],
    );
    build(&bench, &directory, &["-t", "app"]).run().ok();
    assert_eq!(bench.run_rm(&["--net", "none"], "app", &[]).ok().out(), "the app runs");
    let history = bench.ok(&["history", "--no-trunc", "--format", "{{.CreatedBy}}", "app"]);
    let lines: Vec<&str> = history.lines().collect();
    assert_eq!(
        lines[..3],
        ["CMD [\"/app.sh\"]", "RUN /bin/sh -c chmod +x /app.sh # buildkit", "COPY app.sh /app.sh # buildkit"]
    );
}

#[test]
fn as_nginx_is_built() {
    let bench = bench();
    let dockerfile = r#"FROM base
LABEL maintainer="someone"
ENV SERVER_VERSION 1.2.3
ENV PKG_RELEASE=1
RUN set -x \
    && mkdir -p /var/log/nginx /docker-entrypoint.d \
    && echo "$SERVER_VERSION-$PKG_RELEASE" >/version \
# forward request and error logs to the log collector
    && ln -sf /dev/stdout /var/log/nginx/access.log \
    && ln -sf /dev/stderr /var/log/nginx/error.log
COPY docker-entrypoint.sh /
COPY 10-listen.sh /docker-entrypoint.d
ENTRYPOINT ["/docker-entrypoint.sh"]
EXPOSE 80
STOPSIGNAL SIGQUIT
CMD ["nginx", "-g", "daemon off;"]
"#;
    let directory = context(
        &bench,
        "ctx",
        &[
            ("Dockerfile", dockerfile),
            (
                "docker-entrypoint.sh",
                "#!/bin/sh\nfor f in /docker-entrypoint.d/*; do . $f; done\necho \"$@\" >/var/log/nginx/access.log\n",
            ),
            ("10-listen.sh", "echo listen >/var/log/nginx/error.log\n"),
        ],
    );
    crate::common::program("chmod").arg("755").arg(directory.join("docker-entrypoint.sh")).ok();
    build(&bench, &directory, &["-t", "web"]).run().ok();
    let output = bench.run_rm(&["--net", "none"], "web", &[]).ok();
    assert_eq!((output.out(), output.err()), ("nginx -g daemon off;".to_owned(), "listen".to_owned()));
    assert_eq!(bench.inspect("web", "{{.Config.StopSignal}} {{json .Config.ExposedPorts}}"), "SIGQUIT {\"80/tcp\":{}}");
    assert_eq!(bench.run_rm(&["--net", "none", "--entrypoint", "cat"], "web", &["/version"]).ok().out(), "1.2.3-1");
}

#[test]
fn add_workdir_cmd() {
    let bench = bench();
    let directory = context(
        &bench,
        "ctx",
        &[
            ("Dockerfile", "FROM base\nADD demo.sh /usr/local/demo/\nWORKDIR /usr/local/demo\nCMD sh demo.sh\n"),
            ("demo.sh", "echo \"in $(pwd)\"\n"),
        ],
    );
    build(&bench, &directory, &["-t", "demo"]).run().ok();
    assert_eq!(bench.run_rm(&["--net", "none"], "demo", &[]).ok().out(), "in /usr/local/demo");
    // As a Containerfile, and read from standard input.
    std::fs::rename(directory.join("Dockerfile"), directory.join("Containerfile")).unwrap();
    build(&bench, &directory, &["-t", "demo2"]).run().ok();
    let layers = |name: &str| bench.inspect(name, "{{json .RootFS.Layers}}");
    assert_eq!(layers("demo2"), layers("demo"));
    let file = read(directory.join("Containerfile"));
    build(&bench, &directory, &["-t", "demo3", "-f", "-"]).stdin(file).run().ok();
    assert_eq!(layers("demo3"), layers("demo"));
}

#[test]
fn bases_come_from_a_registry_when_they_are_missing() {
    let bench = Bench::new();
    let image = registry().small();
    let directory = context(&bench, "ctx", &[("Dockerfile", &format!("FROM {image}\nRUN echo pulled >/it\n"))]);
    build(&bench, &directory, &["-t", "made"]).run().ok();
    assert_eq!(bench.run_rm(&["--net", "none"], "made", &["cat", "/it"]).ok().out(), "pulled");
}
