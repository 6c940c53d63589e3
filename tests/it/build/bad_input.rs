//! Builds that cannot be: one clear message with its place, nothing half made left, exit code 1.
//!
//! Each store is checked when its bench is dropped: no staging entry, no container, no damage.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use super::{bench, build, context};
use crate::common::{Bench, Output, program, write};

/// Builds a context, which must fail with exit code 1 and a message that has `words`; nothing is left.
#[track_caller]
fn refused(bench: &Bench, directory: &Path, words: &[&str]) -> Output {
    let images = bench.ok(&["images", "-aq"]);
    let output = build(bench, directory, &["-t", "made"]).run().exits(1);
    let err = output.err();
    for word in words {
        assert!(err.contains(word), "no {word:?}\n{}", output.report());
    }
    assert!(output.stdout.is_empty(), "{}", output.report());
    assert!(err.lines().last().unwrap_or_default().starts_with("rbox: "), "{}", output.report());
    assert!(!err.contains("panicked") && !err.contains('\x1b') && !err.contains('\0'), "{}", output.report());
    assert!(err.len() < 20_000, "{} bytes of messages", err.len());
    assert_eq!(bench.ok(&["images", "-aq"]), images, "an image was made");
    bench.no_staging();
    bench.no_containers();
    output
}

/// Builds a Dockerfile alone.
#[track_caller]
fn refused_file(bench: &Bench, dockerfile: &str, words: &[&str]) {
    refused(bench, &context(bench, "ctx", &[("Dockerfile", dockerfile)]), words);
}

#[test]
fn files_that_are_no_dockerfiles() {
    let bench = bench();
    for (content, words) in [
        ("", &["no instructions"][..]),
        ("# only a comment\n", &["no instructions"]),
        ("\n\n   \n", &["no instructions"]),
        ("\u{7f}ELF\u{2}\u{1}\u{1}\0\0\0\0\0\0\n\u{3}\0>", &["Dockerfile:1"]),
        ("FROM base\nRUN echo a\0b\n", &["Dockerfile:2"]),
        ("FORM base\n", &["Dockerfile:1", "unknown instruction: FORM (did you mean FROM?)"]),
        ("FROM base\nCOPPY a b\n", &["Dockerfile:2", "unknown instruction: COPPY (did you mean COPY?)", "COPPY a b"]),
        ("FROM base\nCOPY --frm=x a b\n", &["Dockerfile:2", "unknown flag: --frm (did you mean from?)"]),
        ("FROM base\nRUN <<EOF\necho a\n", &["Dockerfile:2", "unterminated heredoc"]),
        ("FROM base\nRUN --mount=type=nosuch true\n", &["Dockerfile:2", "unsupported mount type \"nosuch\""]),
        ("FROM base\nHEALTHCHECK --interval=x CMD true\n", &["Dockerfile:2"]),
        ("ARG A\n", &["no build stage in current context"]),
        ("RUN true\nFROM base\n", &["no build stage in current context"]),
    ] {
        refused_file(&bench, content, words);
    }
    // Bytes that are no text.
    let directory = context(&bench, "binary", &[]);
    write(
        directory.join("Dockerfile"),
        [b"FROM base\nRUN echo ".as_slice(), &[0xff, 0xfe, 0x80], b"\nNOSUCH x\n"].concat(),
    );
    refused(&bench, &directory, &["Dockerfile:2", "dockerfile is not valid UTF-8"]);
}

#[test]
fn the_place_is_shown() {
    let bench = bench();
    let dockerfile = "FROM base\n\nENV A=1 \\\n    B\nRUN true\n";
    let directory = context(&bench, "ctx", &[("Dockerfile", dockerfile)]);
    let output = refused(&bench, &directory, &["Dockerfile:3", ">>>", "ENV A=1", "RUN true"]);
    let marked: Vec<String> =
        output.err().lines().filter(|line| line.contains(">>>")).map(|line| line.trim().to_owned()).collect();
    assert!(marked.iter().any(|line| line.contains("ENV A=1")), "{marked:?}");
    assert!(!marked.iter().any(|line| line.contains("RUN true")), "{marked:?}");
    // In a file of another name.
    let directory = context(&bench, "other", &[("app.Dockerfile", "FROM base\nNOSUCH\n")]);
    let file = directory.join("app.Dockerfile");
    let output = build(&bench, &directory, &["-f", &file.to_string_lossy()]).run().exits(1);
    assert!(output.err().contains("app.Dockerfile:2"), "{}", output.report());
}

#[test]
fn long_lines() {
    let bench = bench();
    let words = ["Dockerfile", "dockerfile line greater than max allowed size of 4194304"];
    let long = "x".repeat(5 << 20);
    refused_file(&bench, &format!("FROM base\nLABEL a={long}\n"), &words);
    refused_file(&bench, &format!("{long}\n"), &words);
    let label = &long[..1 << 20];
    let directory = context(&bench, "fine", &[("Dockerfile", &format!("FROM base\nLABEL a={label}\n"))]);
    build(&bench, &directory, &["-t", "long"]).run().ok();
    assert_eq!(bench.inspect("long", "{{.Config.Labels.a}}").len(), label.len());
    // Nor are many lines.
    let many: String = (0..20_000).map(|n| format!("# {n}\nENV A={n}\n")).collect();
    let directory = context(&bench, "many", &[("Dockerfile", &format!("FROM base\n{many}NOSUCH\n"))]);
    refused(&bench, &directory, &["Dockerfile:40002"]);
}

#[test]
fn stages_that_are_not_there() {
    let bench = bench();
    for (dockerfile, words) in [
        ("FROM base\nCOPY --from=nosuch.invalid/x /a /a\n", &["Dockerfile:2", "nosuch.invalid/x"][..]),
        ("FROM base AS a\nCOPY --from=a /etc /x\n", &["Dockerfile:2"]),
        ("FROM base\nCOPY --from=5 /a /a\n", &["Dockerfile:2"]),
        ("FROM base AS a\nCOPY --from=b /x /x\nFROM base AS b\nCOPY --from=a /x /x\n", &["circular"]),
        ("FROM nosuch.invalid/base\n", &["Dockerfile:1", "nosuch.invalid/base"]),
        ("FROM base AS 1\nRUN true\n", &["Dockerfile:1", "invalid name for build stage"]),
        ("FROM base\nFROM\n", &["Dockerfile:2", "FROM requires either one or three arguments"]),
        ("FROM $NOPE\n", &["Dockerfile:1", "base name ($NOPE) should not be blank"]),
        ("FROM base\nARG\n", &["Dockerfile:2", "ARG requires at least one argument"]),
        ("FROM base\nENV A=${B:?needs a value}\n", &["Dockerfile:2", "can't find = in \"a\""]),
        ("FROM base\nENV A=\"${B:?needs a value}\"\n", &["Dockerfile:2", "needs a value"]),
        ("FROM base\nENV A=${B*x}\n", &["Dockerfile:2", "unsupported modifier"]),
    ] {
        refused_file(&bench, dockerfile, words);
    }
    let directory = context(&bench, "ctx", &[("Dockerfile", "FROM base AS one\n")]);
    let output = build(&bench, &directory, &["--target", "onne"]).run().exits(1);
    assert!(output.err().contains("target stage \"onne\" could not be found"), "{}", output.report());
}

#[test]
fn paths_of_no_file() {
    let bench = bench();
    write(bench.path("outside"), "secret of the host\n");
    for (dockerfile, words) in [
        ("FROM base\nCOPY missing /x\n", &["Dockerfile:2", "\"/missing\": not found"][..]),
        ("FROM base\nCOPY ../outside /x\n", &["Dockerfile:2", "\"/outside\": not found"]),
        ("FROM base\nCOPY a/../../../outside /x\n", &["Dockerfile:2", "\"/outside\": not found"]),
        ("FROM base\nCOPY link /x\n", &["Dockerfile:2", "not found"]),
        ("FROM base\nCOPY up/outside /x\n", &["Dockerfile:2", "not found"]),
        ("FROM base\nCOPY cycle /x\n", &["Dockerfile:2"]),
        ("FROM base\nCOPY a b /x\n", &["Dockerfile:2", "destination must be a directory and end with a /"]),
        ("FROM base\nCOPY ignored /x\n", &["Dockerfile:2", "\"/ignored\": not found"]),
        ("FROM base\nCOPY --chown=nosuch a /x\n", &["Dockerfile:2", "nosuch"]),
        ("FROM base\nCOPY --chmod=9z a /x\n", &["Dockerfile:2", "invalid chmod parameter"]),
        ("FROM base\nADD --checksum=nonsense a /x\n", &["Dockerfile:2"]),
    ] {
        let directory = context(
            &bench,
            "ctx",
            &[
                ("Dockerfile", dockerfile),
                ("a", "a\n"),
                ("b", "b\n"),
                ("ignored", "x\n"),
                (".dockerignore", "ignored\n"),
            ],
        );
        symlink(bench.path("outside"), directory.join("link")).unwrap();
        symlink("..", directory.join("up")).unwrap();
        symlink("cycle", directory.join("cycle")).unwrap();
        refused(&bench, &directory, words);
    }
    // The context itself.
    let output = build(&bench, &bench.path("absent"), &[]).run().exits(1);
    assert!(output.err().contains("absent"), "{}", output.report());
    let directory = context(&bench, "empty", &[("a", "a\n")]);
    refused(&bench, &directory, &["Dockerfile"]);
}

#[test]
fn contexts_of_odd_files() {
    let bench = bench();
    let directory = context(&bench, "ctx", &[("Dockerfile", "FROM base\nCOPY . /c/\n"), ("d/file", "x\n")]);
    drop(std::os::unix::net::UnixListener::bind(directory.join("d/socket")).unwrap());
    program("mkfifo").arg(directory.join("d/fifo")).ok();
    symlink("b", directory.join("a")).unwrap();
    symlink("a", directory.join("b")).unwrap();
    symlink("/etc/shadow", directory.join("d/absolute")).unwrap();
    symlink(".", directory.join("d/itself")).unwrap();
    build(&bench, &directory, &["-t", "odd"]).run().ok();
    let listing = bench.run_rm(&["--net", "none"], "odd", &["ls", "-1", "/c", "/c/d"]).ok().out();
    assert_eq!(listing, "/c:\nDockerfile\na\nb\nd\n\n/c/d:\nabsolute\nfifo\nfile\nitself", "{listing}");
    // What cannot be read is said by name, unless it is ignored.
    write(directory.join("d/closed"), "x");
    std::fs::set_permissions(directory.join("d/closed"), std::fs::Permissions::from_mode(0o0)).unwrap();
    refused(&bench, &directory, &["/d/closed", "permission denied"]);
    write(directory.join(".dockerignore"), "d/closed\n");
    build(&bench, &directory, &["-t", "odd"]).run().ok();
    // A directory of which the names cannot be read.
    std::fs::create_dir(directory.join("shut")).unwrap();
    std::fs::set_permissions(directory.join("shut"), std::fs::Permissions::from_mode(0o0)).unwrap();
    refused(&bench, &directory, &["shut", "permission denied"]);
    std::fs::set_permissions(directory.join("shut"), std::fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn very_many_files() {
    let bench = bench();
    let directory =
        context(&bench, "ctx", &[("Dockerfile", "FROM base\nCOPY . /c/\nRUN find /c -type f | wc -l >/count\n")]);
    let make = r#"cd "$1"; for d in $(seq 100); do mkdir $d; (cd $d; seq -f f%g 1000 | xargs touch); done"#;
    program("sh").args(["-ec", make, "make"]).arg(&directory).ok();
    build(&bench, &directory, &["-t", "many"]).limit(300).run().ok();
    assert_eq!(bench.run_rm(&["--net", "none"], "many", &["cat", "/count"]).ok().out(), "100001");
}

#[test]
fn commands_that_fail() {
    let bench = bench();
    let dockerfile = "FROM base\nRUN true\nRUN echo said before; echo to stderr >&2; exit 7\nRUN never\n";
    let directory = context(&bench, "ctx", &[("Dockerfile", dockerfile)]);
    refused(
        &bench,
        &directory,
        &[
            "Dockerfile:3",
            "said before",
            "to stderr",
            "failed to solve: process \"/bin/sh -c echo said before; echo to stderr >&2; exit 7\" did not complete \
             successfully: exit code: 7",
        ],
    );
    refused_file(&bench, "FROM base\nRUN nosuch-command\n", &["Dockerfile:2", "not found", "exit code: 127"]);
    refused_file(&bench, "FROM base\nRUN sh -c 'kill -9 $$'; exit $?\n", &["Dockerfile:2", "exit code: 137"]);
    refused_file(&bench, "FROM base\nRUN [\"/no/such\"]\n", &["Dockerfile:2", "/no/such"]);
    refused_file(&bench, "FROM scratch\nRUN true\n", &["Dockerfile:2", "/bin/sh"]);
    refused_file(&bench, "FROM base\nUSER nosuch\nRUN true\n", &["Dockerfile:3", "unable to find user nosuch"]);
    refused_file(
        &bench,
        "FROM base\nRUN --mount=type=secret,id=k,required cat /run/secrets/k\n",
        &["secret k: not found"],
    );
    // What a terminal would obey is not printed as it is.
    refused_file(&bench, "FROM base\nRUN printf 'a\\033[2Jb\\n'; exit 1\n", &["exit code: 1"]);
}

#[test]
fn a_full_disk() {
    let bench = bench();
    let directory = context(
        &bench,
        "ctx",
        &[("Dockerfile", "FROM base\nRUN echo first >/first\nRUN head -c 40000000 /dev/zero >/big\n")],
    );
    // A store of its own on a small file system, all in a user namespace of ours: overlays need none
    // below, tmpfs will do.
    let save = bench.text("base.tar");
    bench.ok(&["save", "-q", "-o", &save, "base"]);
    let script = r#"
        mount -t tmpfs -o size=24m none "$1"
        export RBOX_ROOT="$1/root" RBOX_RUNROOT="$1/run"
        rbox load -q -i "$2" >/dev/null 2>&1 || { echo "no store here"; exit 0; }
        rbox build --progress plain -t big "$3" 2>"$1/../said" && exit 1
        tail -n 1 "$1/../said"
        rbox system check >/dev/null || { echo damaged; exit 1; }
        rbox images -q big | grep . && exit 1
        ls "$1/root/staging" | grep . && exit 1
        rbox ps -aq | grep . && exit 1
        exit 0"#;
    let place = bench.mkdir("small");
    let inner =
        program("unshare").args(["--user", "--map-auto", "--map-root-user", "--mount", "bash", "-c", script, "full"]);
    let bin = bench.mkdir("bin");
    let _ = symlink(crate::common::rbox_program(), bin.join("rbox"));
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", bin.display());
    let output = inner.arg(&place).arg(&save).arg(&directory).env("PATH", path).limit(120).run().ok();
    if output.out().contains("no store here") {
        crate::common::skip("no store on a tmpfs in a user namespace");
        return;
    }
    assert!(
        output.out().contains("No space left on device") || output.out().contains("exit code: 1"),
        "{}",
        output.report()
    );
}
