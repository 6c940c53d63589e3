//! What RUN asks for: agents, capabilities, networks, caches that are shared or not, mounts whose changes are
//! forgotten, and steps that are done anew.

use std::path::{Path, PathBuf};

use super::{bench, build, cached, context};
use crate::common::http::Server;
use crate::common::{Bench, Running, program, read, wait_until, write};

/// What a file of the image `made` says.
#[track_caller]
fn said(bench: &Bench, path: &str) -> String {
    bench.run_rm(&["--net", "none"], "made", &["cat", path]).ok().out()
}

/// An agent with a key; it ends when the first is dropped.
struct Agent {
    _running: Running,
    socket: PathBuf,
    /// What `ssh-add -l` says.
    keys: String,
}

impl Agent {
    #[track_caller]
    fn start(bench: &Bench, name: &str) -> Self {
        let (socket, key) = (bench.path(&format!("{name}.sock")), bench.text(&format!("{name}.key")));
        let running = program("ssh-agent").args(["-D", "-a"]).arg(&socket).limit(300).spawn();
        wait_until("the agent listens", || socket.exists());
        program("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f", &key]).ok();
        program("ssh-add").args(["-q", &key]).env("SSH_AUTH_SOCK", &socket).ok();
        let keys = program("ssh-add").arg("-l").env("SSH_AUTH_SOCK", &socket).ok();
        assert!(keys.contains(name), "{keys}");
        Self { _running: running, socket, keys }
    }
}

/// Puts the host's ssh-add, with the libraries it needs, into a directory of a context.
#[track_caller]
fn with_ssh_add(directory: &Path) {
    let script = r#"mkdir "$1/tools"; cd /; p=$(readlink -f "$(command -v ssh-add)")
        cp -L --parents "$p" $(ldd "$p" | grep -o '/[^ ]*') "$1/tools/""#;
    program("bash").args(["-ec", script, "copy"]).arg(directory).ok();
}

#[test]
fn agents_are_passed_on() {
    let bench = bench();
    let (mine, other) = (Agent::start(&bench, "mine"), Agent::start(&bench, "other"));
    let dockerfile = "FROM base\nCOPY tools /\n\
        RUN --mount=type=ssh ssh-add -l >/mine; echo $SSH_AUTH_SOCK >/socket; stat -c '%a %u %g' $SSH_AUTH_SOCK >/mode\n\
        RUN --mount=type=cache,target=/c --mount=type=ssh,id=other,target=/tmp/s,mode=0620,uid=405,gid=2000 \
        --mount=type=ssh ssh-add -l >/other && stat -c '%a %u %g' /tmp/s >/mode2 && \
        SSH_AUTH_SOCK=/run/buildkit/ssh_agent.1 ssh-add -l >/both\n\
        RUN chmod 777 /tmp\nUSER alice\nRUN --mount=type=ssh,uid=1000 ssh-add -l >/tmp/alice\n\
        RUN --mount=type=ssh ssh-add -l >/tmp/refused 2>&1 || echo no >/tmp/answer\n\
        RUN ls -A /run /tmp >/tmp/left; echo \"[$SSH_AUTH_SOCK]\" >>/tmp/left\n";
    let directory = context(&bench, "ctx", &[("Dockerfile", dockerfile)]);
    with_ssh_add(&directory);
    let other_flag = format!("other={}", other.socket.display());
    let flags = ["-t", "made", "--ssh", "default", "--ssh", &other_flag];
    build(&bench, &directory, &flags).env("SSH_AUTH_SOCK", &mine.socket).run().ok();
    assert_eq!((said(&bench, "/mine"), said(&bench, "/both")), (mine.keys.clone(), mine.keys.clone()));
    assert_eq!(
        (said(&bench, "/socket"), said(&bench, "/mode")),
        ("/run/buildkit/ssh_agent.0".into(), "600 0 0".into())
    );
    assert_eq!((said(&bench, "/other"), said(&bench, "/mode2")), (other.keys, "620 405 2000".into()));
    assert_eq!(said(&bench, "/tmp/alice"), mine.keys);
    assert_eq!(said(&bench, "/tmp/answer"), "no", "the socket of root is not alice's");
    let left = said(&bench, "/tmp/left");
    assert!(left.ends_with("[]") && !left.contains("buildkit") && !left.contains("\ns\n"), "{left}");
}

#[test]
fn agents_that_are_not_there() {
    let bench = bench();
    let directory = context(&bench, "ctx", &[("Dockerfile", "FROM base\nRUN --mount=type=ssh,required true\n")]);
    let needed = build(&bench, &directory, &[]).run().exits(1).err();
    assert!(needed.contains("unset ssh forward key default") && needed.contains("Dockerfile:2"), "{needed}");
    write(directory.join("Dockerfile"), "FROM base\nRUN --mount=type=ssh echo \"[$SSH_AUTH_SOCK]\" >/out\n");
    build(&bench, &directory, &["-t", "made"]).run().ok();
    assert_eq!(said(&bench, "/out"), "[]");
    let unset = build(&bench, &directory, &["--ssh", "default"]).without_env("SSH_AUTH_SOCK").run();
    unset.refused(1, "make sure SSH_AUTH_SOCK is set");
    let key = bench.text("key");
    write(&key, "-----BEGIN OPENSSH PRIVATE KEY-----\n");
    build(&bench, &directory, &["--ssh", &format!("default={key}")]).run().refused(1, "ssh-agent");
}

#[test]
fn insecure_steps_have_to_be_allowed() {
    let bench = bench();
    let mounting = "mkdir -p /m && mount -t tmpfs none /m && touch /m/x";
    let dockerfile = format!(
        "FROM base\nRUN grep CapEff /proc/self/status >/usual; {mounting} || echo no >/answer\n\
         RUN --security=sandbox {mounting} || echo no >>/answer\n\
         RUN --security=insecure grep CapEff /proc/self/status >/all; {mounting} && grep ' /m ' /proc/mounts >/mounted\n"
    );
    let directory = context(&bench, "ctx", &[("Dockerfile", &dockerfile)]);
    let refused = build(&bench, &directory, &["-t", "made"]).run().exits(1).err();
    assert!(refused.contains("security.insecure is not allowed") && refused.contains("Dockerfile:4"), "{refused}");
    build(&bench, &directory, &["--allow", "network.host"]).run().exits(1);
    build(&bench, &directory, &["-t", "made", "--allow", "security.insecure"]).run().ok();
    assert_eq!(said(&bench, "/answer"), "no\nno");
    assert!(said(&bench, "/mounted").contains("tmpfs"));
    let bits = |path: &str| u64::from_str_radix(said(&bench, path).trim_start_matches("CapEff:").trim(), 16).unwrap();
    const SYS_ADMIN: u64 = 1 << 21;
    assert_eq!((bits("/usual") & SYS_ADMIN, bits("/all") & SYS_ADMIN), (0, SYS_ADMIN));
    assert_eq!(bench.run_rm(&["--net", "none"], "made", &["ls", "-A", "/m"]).ok().out(), "", "what lay on a mount");
}

#[test]
fn networks_of_steps() {
    let bench = bench();
    let server = Server::start(|_| (200, String::new(), "from the host".to_owned()));
    let (host, port) = server.host().split_once(':').map(|(a, b)| (a.to_owned(), b.to_owned())).expect("a port");
    // Of busybox's programs those that know names of hosts crash where there is no libc.
    let ask = format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 {host} {port} | grep from");
    let links = "ip -o link | grep -v ': lo' | wc -l";
    let dockerfile = format!(
        "FROM base\nRUN {links} >/default; {ask} >/answer || echo no >/answer\nRUN --network=none {links} >/none\n\
         RUN --network=host {ask} >/host\n"
    );
    let directory = context(&bench, "ctx", &[("Dockerfile", &dockerfile)]);
    let refused = build(&bench, &directory, &["-t", "made"]).run().exits(1).err();
    assert!(refused.contains("network.host is not allowed") && refused.contains("Dockerfile:4"), "{refused}");
    build(&bench, &directory, &["-t", "made", "--allow", "network.host"]).run().ok();
    assert_eq!((said(&bench, "/default"), said(&bench, "/answer")), ("1".to_owned(), "no".to_owned()));
    assert_eq!((said(&bench, "/none"), said(&bench, "/host")), ("0".to_owned(), "from the host".to_owned()));
    // Of all steps that say nothing; the host's allows itself, as with buildx.
    build(&bench, &directory, &["-t", "made", "--network", "host"]).run().ok();
    assert_eq!((said(&bench, "/answer"), said(&bench, "/none")), ("from the host".to_owned(), "0".to_owned()));
    write(directory.join("Dockerfile"), format!("FROM base\nRUN {links} >/none\n"));
    build(&bench, &directory, &["-t", "made", "--network", "none"]).run().ok();
    assert_eq!(said(&bench, "/none"), "0");
}

#[test]
fn stages_are_done_anew_by_name() {
    let bench = bench();
    let random = "cat /proc/sys/kernel/random/uuid";
    let dockerfile = format!(
        "FROM base AS One\nRUN echo 1; {random} >/id\nFROM base AS two\nRUN echo 2; {random} >/id\n\
         FROM base AS last\nCOPY --from=one /id /one\nCOPY --from=two /id /two\nRUN {random} >/last\n"
    );
    let directory = context(&bench, "ctx", &[("Dockerfile", &dockerfile)]);
    let ids = |args: &[&str]| {
        let output = build(&bench, &directory, &[&["-t", "made"], args].concat()).run().ok();
        (cached(&output), ["/one", "/two", "/last"].map(|path| said(&bench, path)))
    };
    let (_, first) = ids(&[]);
    let (hits, again) = ids(&["--no-cache-filter", "two"]);
    assert_eq!((&again[0], again[1] == first[1]), (&first[0], false));
    assert_eq!(hits, 2, "that of one, and the copy of it");
    let (_, both) = ids(&["--no-cache-filter", "ONE,last"]);
    assert_eq!((both[0] == again[0], &both[1], both[2] == again[2]), (false, &again[1], false));
    // What was made anew is known.
    assert_eq!(ids(&[]), (5, both));
}

/// Two builds of one Dockerfile at the same time, as images `a` and `b`; each has its name in `$N`.
#[track_caller]
fn together(bench: &Bench, mount: &str, script: &str) -> [String; 2] {
    let dockerfile =
        format!("FROM base\nARG N\nARG SALT\nRUN --mount=type=cache,id=meet,target=/meet {mount} set -e; {script}\n");
    let directory = context(bench, "together", &[("Dockerfile", &dockerfile)]);
    let salt = format!("SALT={mount}");
    let start =
        |name: &str| build(bench, &directory, &["-t", name, "--build-arg", &salt, "--build-arg", &format!("N={name}")]);
    let running = ["a", "b"].map(|name| start(name).spawn());
    running.into_iter().for_each(|running| drop(running.wait().ok()));
    ["a", "b"].map(|name| bench.run_rm(&["--net", "none"], name, &["cat", "/out"]).ok().out())
}

/// Waits in a step until both builds are there; who waits in vain fails.
const MEET: &str =
    "touch /meet/$N; n=0; until [ -e /meet/a ] && [ -e /meet/b ]; do sleep 0.1; n=$((n+1)); [ $n -lt 200 ]; done";

#[test]
fn shared_caches_are_used_at_once() {
    let bench = bench();
    let mount = "--mount=type=cache,target=/c,sharing=shared";
    let seen = together(&bench, mount, &format!("touch /c/$N; {MEET}; ls /c | xargs >/out"));
    assert_eq!(seen, ["a b", "a b"]);
}

#[test]
fn private_caches_are_ones_own() {
    let bench = bench();
    let mount = "--mount=type=cache,target=/c,sharing=private";
    let seen = together(&bench, mount, &format!("touch /c/$N; {MEET}; ls /c | xargs >/out"));
    assert_eq!(seen, ["a", "b"]);
    // Who comes later has one of these.
    let dockerfile = format!("FROM base\nRUN {mount} ls /c | xargs >/out\n");
    let directory = context(&bench, "later", &[("Dockerfile", &dockerfile)]);
    build(&bench, &directory, &["-t", "made"]).run().ok();
    let found = said(&bench, "/out");
    assert!(found == "a" || found == "b", "{found:?}");
}

#[test]
fn locked_caches_are_waited_for() {
    let bench = bench();
    let script = "mkdir /meet/in; sleep 1; rmdir /meet/in; echo $N >>/c/log; wc -l </c/log >/out";
    let mut seen = together(&bench, "--mount=type=cache,target=/c,sharing=locked", script);
    seen.sort();
    assert_eq!(seen, ["1", "2"], "one after the other");
}

#[test]
fn what_is_written_to_bind_mounts_is_forgotten() {
    let bench = bench();
    let dockerfile = "FROM base AS lower\nRUN mkdir /data && echo lower >/data/f && echo gone >/data/g\n\
        FROM base\nRUN --mount=type=bind,from=lower,source=/data,target=/m,rw \
        echo new >/m/f && rm /m/g && echo x >/m/h && cat /m/f /m/h >/seen\n\
        RUN --mount=from=lower,source=/data,target=/m ! touch /m/x && cat /m/* >/again\n\
        RUN --mount=target=/ctx,rw echo new >/ctx/file && rm /ctx/other && ls /ctx | xargs >/ctx-seen\n\
        COPY --from=lower /data /copied\n";
    let files = [("Dockerfile", dockerfile), ("file", "old\n"), ("other", "o\n")];
    let directory = context(&bench, "ctx", &files);
    build(&bench, &directory, &["-t", "made"]).run().ok();
    assert_eq!((said(&bench, "/seen"), said(&bench, "/again")), ("new\nx".into(), "lower\ngone".into()));
    assert_eq!(said(&bench, "/ctx-seen"), "Dockerfile file");
    assert_eq!((read(directory.join("file")), read(directory.join("other"))), ("old\n".into(), "o\n".into()));
    assert_eq!(bench.run_rm(&["--net", "none"], "made", &["ls", "/copied"]).ok().out(), "f\ng");
    let root = bench.run_rm(&["--net", "none"], "made", &["ls", "/"]).ok().out();
    assert!(!root.lines().any(|name| name == "m" || name == "ctx"), "{root}");
    // Nor is it in the layer of that step.
    let out = bench.path("saved");
    bench.ok(&["save", "--format", "oci-dir", "-o", &out.to_string_lossy(), "made"]);
    let listed = program("bash")
        .args(["-ec", "for b in \"$1\"/blobs/sha256/*; do tar -tf $b 2>/dev/null || :; done", "x"])
        .arg(&out)
        .ok();
    assert!(listed.lines().any(|name| name.trim_start_matches("./") == "seen"), "{listed}");
    assert!(!listed.lines().any(|name| name.trim_start_matches("./").starts_with("m/")), "{listed}");
}

#[test]
fn what_is_ignored_is_not_in_a_bind_mount_either() {
    let bench = bench();
    let list = "find . | sort | xargs";
    let dockerfile = format!(
        "FROM base\nRUN --mount=target=/ctx cd /ctx && {list} >/all\n\
         RUN --mount=target=/ctx,source=sub,rw cd /ctx && echo new >a && {list} >/part && cat a >/a\n\
         RUN --mount=target=/ctx,source=open cd /ctx && {list} >/open\n"
    );
    let files = [
        ("Dockerfile", dockerfile.as_str()),
        (".dockerignore", "**/secret\nsub/deep\n!sub/deep/shown\nbig\n"),
        ("secret", "s"),
        ("sub/a", "old"),
        ("sub/secret", "s"),
        ("sub/deep/hidden", "h"),
        ("sub/deep/shown", "s"),
        ("big/file", "b"),
        ("open/file", "o"),
    ];
    let directory = context(&bench, "ctx", &files);
    build(&bench, &directory, &["-t", "made"]).run().ok();
    let all = ". ./.dockerignore ./Dockerfile ./open ./open/file ./sub ./sub/a ./sub/deep ./sub/deep/shown";
    assert_eq!(said(&bench, "/all"), all);
    assert_eq!((said(&bench, "/part"), said(&bench, "/a")), (". ./a ./deep ./deep/shown".into(), "new".into()));
    assert_eq!(said(&bench, "/open"), ". ./file");
    assert_eq!(read(directory.join("sub/a")), "old");
    // What is hidden does not count for the cache.
    write(directory.join("big/file"), "other");
    assert_eq!(cached(&build(&bench, &directory, &["-t", "made"]).run().ok()), 3);
    bench.no_staging();
}
