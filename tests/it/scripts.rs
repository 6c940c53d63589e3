//! What scripts rely on: formats, filters, orders, exit codes, pipes that close early, and foreign
//! text that must not steer a terminal.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use crate::common::images::Image;
use crate::common::pty::Terminal;
use crate::common::registry::registry;
use crate::common::{Bench, names_in, rbox_program, read, wait_until, write};
use serde_json::{Value, json};

/// ESC, BEL, newline, carriage return, C1 and bidirectional controls.
const HOSTILE: &str = "a\u{1b}[31mred\u{7}\r\nb\u{9b}2J\u{202e}c\u{2066}\td";

fn steers(text: &str) -> bool {
    let dangerous = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    text.contains(|c: char| dangerous(c) || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
}

/// The screen after a script, without what the terminal itself makes of newlines.
fn screen(bench: &Bench, script: &str) -> String {
    let mut terminal = Terminal::shell(bench, &format!("{script}; echo THE END"));
    terminal.expect("THE END");
    terminal.screen().replace("\r\n", "\n")
}

#[test]
fn noun_forms_are_the_same_commands() {
    let (bench, image) = Bench::with_image();
    let id = bench.ok(&["container", "create", "--name", "one", "-h", "host", &image, "sh", "-c", "hostname; exit 3"]);
    for name in ["ls", "list", "ps"] {
        let full = bench.ok(&["container", name, "-a", "--format", "json"]);
        assert_eq!(full, bench.ok(&["ps", "-a", "--format", "json"]), "{name}");
    }
    assert_eq!(bench.ok(&["container", "start", "one"]), "one");
    assert_eq!(bench.ok(&["container", "wait", "one"]), "3");
    assert_eq!(bench.ok(&["container", "logs", "one"]), "host");
    bench.ok(&["container", "rename", "one", "two"]);
    assert_eq!(bench.ok(&["container", "inspect", "-f", "{{.Id}} {{.Name}}", "two"]), format!("{id} /two"));
    bench.rbox(&["container", "inspect", &image]).run().exits(1);
    bench.ok(&["container", "run", "-d", "--name", "runs", &image, "sleep", "100"]);
    assert_eq!(bench.ok(&["container", "exec", "runs", "echo", "inside"]), "inside");
    assert_eq!(bench.ok(&["container", "kill", "runs"]), "runs");
    assert_eq!(bench.ok(&["container", "stop", "runs"]), "runs");
    assert_eq!(bench.ok(&["container", "rm", "runs"]), "runs");
    bench.rbox(&["container", "exists", "two"]).run().exits(0);
    bench.rbox(&["container", "exists", "runs"]).run().exits(1);
    assert_eq!(bench.ok(&["container", "remove", "two"]), "two");

    for name in ["ls", "list"] {
        assert_eq!(bench.ok(&["image", name]), bench.ok(&["images"]));
    }
    bench.ok(&["image", "tag", &image, "mine:1", "mine:2"]);
    assert_eq!(bench.ok(&["image", "inspect", "-f", "{{len .RepoTags}}", "mine:1"]), "3");
    bench.rbox(&["image", "exists", "mine:2"]).run().exits(0);
    assert_eq!(bench.ok(&["image", "rm", "mine:2"]), "Untagged: mine:2");
    assert_eq!(bench.ok(&["image", "remove", "mine:1"]), "Untagged: mine:1");
    bench.rbox(&["image", "exists", "mine:2"]).run().exits(1);
    assert_eq!(bench.ok(&["image", "pull", "-q", &image]), image);
    let root = bench.root().display().to_string();
    assert_eq!(bench.ok(&["system", "info", "-f", "{{.DockerRootDir}}"]), root);
    assert_eq!(bench.ok(&["info", "-f", "{{.DockerRootDir}}"]), root);
    for noun in ["container", "image", "network", "system"] {
        let output = bench.rbox(&[noun]).run().ok();
        let usage = format!("Usage:  rbox {noun} COMMAND\n");
        assert!(output.stdout.is_empty() && output.err().contains(&usage), "{}", output.report());
        assert!(bench.ok(&[noun, "--help"]).contains(&usage));
    }
    let output = bench.rbox(&[]).run().ok();
    assert!(output.stdout.is_empty() && output.err().contains("\nCommands:"), "{}", output.report());
    assert!(bench.ok(&["container", "run", "--help"]).contains("Usage:  rbox container run"));
}

#[test]
fn lists_for_scripts() {
    let (bench, image) = Bench::with_image();
    let mut ids = Vec::new();
    for (name, code) in [("first", "0"), ("second", "3"), ("third", "0")] {
        let label = format!("com.example.my-role={name}");
        let script = format!("echo {name} >/written; exit {code}");
        bench.rbox(&["run", "-l", &label, "--name", name, &image, "sh", "-c", &script]).run();
        ids.insert(0, bench.inspect(name, "{{.Id}}"));
    }
    bench.start(&["--name", "runs"], &image, &["sleep", "100"]);
    let names = |args: &[&str]| bench.rbox(&["ps", "--format", "{{.Names}}"]).args(args).ok().replace('\n', " ");
    // Newest first, whatever the time of day.
    for _ in 0..3 {
        assert_eq!(names(&["-a"]), "runs third second first");
    }
    for (args, expected) in [
        (&[][..], "runs"),
        (&["-n", "2"], "runs third"),
        (&["-l"], "runs"),
        (&["--last", "-1", "-a", "--sort", "names"], "first runs second third"),
        (&["-f", "status=exited"], "third second first"),
        (&["-f", "exited=3", "-a"], "second"),
        (&["-a", "-f", "label=com.example.my-role=first"], "first"),
        (&["-a", "-f", "name=^/?t"], "third"),
        (&["-a", "-f", "since=second"], "runs third"),
        (&["-a", "-f", "before=second"], "first"),
        (&["-a", "-f", "ancestor=nosuch"], ""),
        (&["-a", "-f", &format!("ancestor={image}"), "-f", "name=o"], "second"),
    ] {
        assert_eq!(names(args), expected, "{args:?}");
    }
    assert_eq!(bench.ok(&["ps", "-aq", "--no-trunc", "-f", "status=exited"]), ids.join("\n"));
    assert!(bench.ok(&["ps", "-aq"]).lines().all(|line| line.len() == 12));

    let one = |format: &str| bench.ok(&["ps", "-a", "-f", "name=second", "--format", format]);
    assert_eq!(one("{{.Label \"com.example.my-role\"}}|{{.Label \"x\"}}"), "second|");
    assert_eq!(one("{{.State}} {{.ID}} {{.Networks}} {{.LocalVolumes}}"), format!("exited {} bridge 0", &ids[1][..12]));
    assert_eq!(one("{{upper .Names}}{{println}}{{.ExitCode}}"), "SECOND\n3");
    assert_eq!(one("{{range split .Names \"co\"}}[{{.}}]{{end}}"), "[se][nd]");
    assert!(
        one("table {{.Names}}\\t{{.Label \"com.example.my-role\"}}").starts_with("NAMES     my role\nsecond    second")
    );
    assert!(one("{{.Status}}").starts_with("Exited (3) "), "{}", one("{{.Status}}"));
    // Time goes by between the two.
    let row = |format: &str| -> Value {
        let mut row: Value = serde_json::from_str(&one(format)).unwrap();
        let ago = ["RunningFor", "Status"].map(|key| row.as_object_mut().unwrap().remove(key));
        assert!(ago.iter().flatten().all(|text| text.as_str().unwrap().ends_with(" ago")), "{ago:?}");
        row
    };
    assert_eq!(row("json"), row("{{json .}}"));
    let row = row("json");
    assert_eq!((row["Names"].as_str(), row["ID"].as_str()), (Some("second"), Some(&ids[1][..12])));
    let sized = bench.ok(&["ps", "-as", "--noheading", "-f", "name=second"]);
    assert!(sized.starts_with(&ids[1][..12]) && sized.contains("7B (virtual "), "{sized}");
    assert_eq!(bench.ok(&["ps", "-q", "-f", "name=nosuch"]), "");
    // What the lists print feeds the commands.
    let removed = bench.shell("rbox rm $(rbox ps -aq -f status=exited)").ok();
    assert_eq!(removed.lines().count(), 3);

    let digest = registry().digest(&image);
    let repository = image.rsplit_once(':').unwrap().0;
    assert_eq!(bench.ok(&["images", "--format", "{{.Repository}}:{{.Tag}} {{.Digest}}"]), format!("{image} {digest}"));
    assert!(bench.ok(&["images", "--digests", "-a"]).contains(&digest));
    assert_eq!(bench.ok(&["images", "-n", "--format", "table {{.Tag}}", repository]), "latest");
    assert_eq!(bench.ok(&["images", "-q", "-f", "containers=false"]), "");
    let full = bench.ok(&["images", "-q", "--no-trunc"]);
    assert_eq!(full, bench.inspect(&image, "{{.Id}}"));
}

#[test]
fn inspect_of_mixed_kinds() {
    let (bench, image) = Bench::with_image();
    let mount = bench.mkdir("source");
    let volume = format!("{}:/inside:ro", mount.display());
    bench.start(&["--name", "web", "-v", &volume, "-e", "A=1", "--expose", "80-81"], &image, &["sleep", "100"]);
    let output = bench.rbox(&["inspect", "-s", "web", "nosuch", &image]).run().exits(1);
    let objects: Vec<Value> = serde_json::from_str(&output.out()).unwrap();
    assert_eq!(objects.len(), 2, "{}", output.report());
    assert!(objects[0]["SizeRootFs"].as_u64() > Some(100_000) && objects[1]["RepoTags"][0] == json!(image));
    assert_eq!(output.err(), "rbox: no such object: nosuch");
    for (template, expected) in [
        ("{{.State.Running}} {{.Config.Image}}", format!("true {image}")),
        (
            "{{range .Mounts}}{{.Source}}->{{.Destination}} {{.RW}}{{end}}",
            format!("{}->/inside false", mount.display()),
        ),
        ("{{index .Config.Labels \"none\"}}|", "|".to_owned()),
        ("{{range $port, $bindings := .Config.ExposedPorts}}{{$port}} {{end}}", "80/tcp 81/tcp ".to_owned()),
        ("{{json .HostConfig.Binds}}", format!("[\"{volume}\"]")),
        ("{{len .NetworkSettings.Networks}}|{{.HostConfig.NetworkMode}}", "1|bridge".to_owned()),
        ("{{range .Config.Env}}{{if eq . \"A=1\"}}found{{end}}{{end}}", "found".to_owned()),
        ("{{len .Id}} {{printf \"%.12s\" .Id}}", format!("64 {}", &bench.inspect("web", "{{.Id}}")[..12])),
    ] {
        assert_eq!(bench.inspect("web", template), expected, "{template}");
    }
    assert_eq!(bench.ok(&["inspect", "-l", "-f", "{{.Name}}"]), "/web");
    assert_eq!(bench.ok(&["inspect", "-t", "image", "-f", "{{.Os}}", &image]), "linux");
    bench.rbox(&["inspect", "--type", "image", "web"]).run().exits(1);
    let output = bench.rbox(&["inspect", "nosuch"]).run().exits(1);
    assert_eq!(output.out(), "[]");
    assert_eq!(bench.ok(&["version", "-f", "{{.Client.Version}}"]), env!("CARGO_PKG_VERSION"));
    assert_eq!(bench.ok(&["-v"]), format!("rbox {}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn exit_codes() {
    let (bench, image) = Bench::with_image();
    bench.ok(&["create", "--name", "made", &image, "true"]);
    for (args, code, text) in [
        (&["ps", "--format", "{{.ID"][..], 1, "failed to parse template: template: :1: unclosed action"),
        (&["ps", "-a", "--format", "{{.Nope}}"], 1, "can't evaluate field Nope in type *formatter.ContainerContext"),
        (&["inspect", "-f", "{{.Id", "made"], 64, "template parsing error: template: :1: unclosed action"),
        (&["ps", "-f", "nosuch=1"], 1, "invalid filter 'nosuch'"),
        (&["ps", "-f", "nosuch"], 125, "bad format of filter (expected name=value)"),
        (&["images", "-f", "dangling=x"], 1, "invalid filter 'dangling=x'"),
        (&["container", "prune", "-f", "--filter", "name=x"], 1, "invalid filter 'name'"),
        (&["rm", "nosuch"], 1, "No such container: nosuch"),
        (&["rm", "--time", "1", "made"], 125, "--force option must be specified"),
        (&["stop", "nosuch"], 1, "No such container: nosuch"),
        (&["kill", "made"], 1, "is not running"),
        (&["logs", "nosuch"], 1, "No such container: nosuch"),
        (&["logs", "--since", "x", "made"], 1, "invalid value for \"since\""),
        (&["wait", "nosuch"], 1, "No such container: nosuch"),
        (&["rename", "nosuch", "x"], 1, "No such container: nosuch"),
        (&["rename", "made", "a b"], 1, "Invalid container name (a b)"),
        (&["rename", "made", "made"], 1, "same name"),
        (&["tag", "nosuch", "x"], 1, "No such image: nosuch:latest"),
        (&["tag", &image, "good", "UPPER"], 1, "is not a valid repository/tag"),
        (&["rmi", "nosuch"], 1, "No such image: nosuch:latest"),
        (&["rmi", "--all", "nosuch"], 1, "conflicting options"),
        (&["pull", "--policy", "never", "nosuch"], 1, "No such image: nosuch:latest"),
        (&["pull", "--policy", "maybe", "nosuch"], 125, "invalid pull option: 'maybe'"),
        (&["rm", "-a", "made"], 1, "conflicting options"),
        (&["rm", "--cidfile", "/nosuch"], 1, "read the container ID file /nosuch: No such file"),
        (&["rm", "--cidfile", "/etc/passwd"], 1, "holds no container ID"),
        (&["run", "--replace", &image], 125, "cannot replace a container without --name"),
        (&["run", "--sysctl", "kernel.hostname=x", &image], 125, "sysctl 'kernel.hostname' is not allowed"),
        (&["run", "--expose", "99999", &image], 125, "invalid range format for --expose: 99999"),
        (&["exec", "made", "true"], 1, "is not running"),
    ] {
        bench.rbox(args).run().refused(code, text);
    }
    assert_eq!(bench.ok(&["images", "-q", "good"]), "", "of several targets none is made when one is wrong");
    for args in
        [&["rm", "-f", "nosuch"][..], &["rm", "--ignore", "nosuch"], &["stop", "-i", "nosuch"], &["rmi", "-i", "x"]]
    {
        let output = bench.rbox(args).run().ok();
        assert!(output.stderr.is_empty(), "{}", output.report());
    }
    assert_eq!(bench.ok(&["wait", "--ignore", "nosuch", "made"]), "-1\n0");
    assert_eq!(bench.ok(&["ps", "-aq"]).lines().count(), 1);
}

/// Runs with a standard output that nobody reads: code, error output.
fn unread(bench: &Bench, args: &[&str]) -> (Option<i32>, String) {
    let (reading, writing): (OwnedFd, OwnedFd) = nix::unistd::pipe().unwrap();
    drop(reading);
    let child = Command::new(rbox_program())
        .args(args)
        .env("RBOX_ROOT", bench.root())
        .env("RBOX_RUNROOT", bench.runroot())
        .stdin(Stdio::null())
        .stdout(Stdio::from(writing))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let (bench, image) = Bench::with_image();
    for name in ["one", "two", "three"] {
        bench.start(&["--name", name], &image, &["sh", "-c", "yes | head -n 100000; sleep 100"]);
    }
    let quiet = (Some(0), String::new());
    for args in [
        &["ps", "-a"][..],
        &["ps", "--format", "json"],
        &["images"],
        &["inspect", "one", &image],
        &["logs", "one"],
        &["info", "-f", "json"],
        &["version"],
        &["--help"],
        &["run", "--help"],
        &["help", "container"],
        &["system", "check"],
        &["container", "prune", "-f"],
        &["image", "prune", "-f"],
        &["pull", &image],
        &["create", "--name", "four", &image],
    ] {
        assert_eq!(unread(&bench, args), quiet, "{args:?}");
    }
    // What was asked for is done all the same.
    assert_eq!(bench.status("four"), "created");
    assert_eq!(unread(&bench, &["rm", "-f", "one", "two", "four"]), quiet);
    assert_eq!(bench.ok(&["ps", "-a", "--format", "{{.Names}}"]), "three");
    let (code, error) = unread(&bench, &["rm", "nosuch", "three"]);
    assert_eq!((code, error.lines().count()), (Some(1), 2), "{error}");
    // Following ends with its reader, and the container goes on.
    let output = bench.shell("set -o pipefail; rbox logs -f three | head -n 1").run().ok();
    assert_eq!((output.out(), output.err()), ("y".to_owned(), String::new()));
    assert_eq!(bench.status("three"), "running");
    // Errors that nobody reads keep their exit code.
    let script = "{ rbox inspect nosuch; echo code=$? >&3; } 3>&1 2>&1 >/dev/null | cat; rbox nosuch 2>&-; echo $?";
    let output = bench.shell(script).run().ok();
    assert!(output.out().contains("code=1") && output.out().ends_with("\n1"), "{}", output.report());
}

#[test]
fn a_full_disk_behind_stdout_is_an_error() {
    let bench = Bench::new();
    for args in ["ps", "version", "images", "info"] {
        let output = bench.shell(&format!("rbox {args} >/dev/full")).run().exits(1);
        // A warning about the machine may stand before it.
        let line = "rbox: write to standard output: No space left on device (os error 28)";
        assert_eq!(output.err().lines().last(), Some(line), "{args}");
    }
}

#[test]
fn arguments_that_are_no_text() {
    use std::os::unix::ffi::OsStrExt;
    let bench = Bench::new();
    let odd = std::ffi::OsStr::from_bytes(b"a\xff\x1b[31m");
    for args in [&["rm"][..], &["ps", "--format"], &["container", "ls", "-f"], &[], &["create", "--name"], &["-H"]] {
        let output = bench.rbox(args).arg(odd).run();
        assert!(output.code != 0 && output.signal.is_none(), "{args:?}: {}", output.report());
        assert!(!steers(&output.err()) && !output.err().contains("panicked"), "{args:?}: {}", output.report());
    }
}

fn hostile_image() -> Image {
    let labels = json!({"evil": HOSTILE, format!("k{HOSTILE}"): "v"});
    crate::common::images::small()
        .config(json!({"Labels": labels, "Env": [format!("E={HOSTILE}")], "Cmd": ["echo", HOSTILE]}))
}

#[test]
fn foreign_text_does_not_reach_a_terminal() {
    let bench = Bench::new();
    let image = registry().push_once("t/hostile:1", || vec![hostile_image()]);
    bench.ok(&["pull", "-q", &image]);
    let made = bench.ok(&["create", "--name", "made", "-l", &format!("mine={HOSTILE}"), &image]);
    write(bench.path("format"), "{{.Labels}}|{{.Command}}");
    for script in [
        "rbox ps -a --no-trunc",
        "rbox ps -a --format 'table {{.Labels}}\\t{{.Command}}'",
        "rbox ps -a --format '{{.Labels}}'",
        "rbox ps -a --format '{{.Label \"evil\"}}'",
        "rbox ps -a --format json",
        "rbox images --format '{{.Labels}}'",
        "rbox inspect made",
        "rbox inspect -f '{{.Config.Labels}} {{json .Config.Env}} {{.Args}}' made",
        "rbox inspect -f '{{range $k, $v := .Config.Labels}}{{$k}}{{$v}}{{end}}' $(rbox images -q)",
        "rbox ps -a -f label=$'evil=\\e[31m'",
        "rbox rm $'nosuch\\e[31m\\a'",
        "rbox ps -f $'no\\e[31m=1'",
        "rbox $'no\\e[31msuch'",
        "rbox run --no$'\\e[31m'such",
        "rbox run --name $'\\e[31m' x",
        "rbox logs --since $'\\e[31m' made",
        "rbox inspect -f $'{{.\\e[31m}}' made",
        "rbox ps --format $'{{\\e[31m}}'",
    ] {
        let shown = screen(&bench, script);
        assert!(!steers(&shown), "{script}: {shown:?}");
    }
    // Tables are safe in pipes too; templates and JSON give scripts the bytes, escaped or not.
    let table = bench.ok(&["ps", "-a", "--format", "table {{.Labels}}"]);
    assert!(!steers(&table) && table.lines().count() == 2 && table.contains("\\x1b[31mred\\x07\\r\\nb"), "{table:?}");
    assert_eq!(bench.ok(&["ps", "-a", "--format", "{{.Label \"evil\"}}"]), HOSTILE);
    let row: Value = serde_json::from_str(&bench.ok(&["ps", "-a", "--format", "json"])).unwrap();
    assert!(row["Labels"].as_str().unwrap().contains(HOSTILE));
    let object: Value = serde_json::from_str(&bench.ok(&["inspect", "made"])).unwrap();
    assert_eq!(
        (object[0]["Config"]["Labels"]["evil"].as_str(), object[0]["Id"].as_str()),
        (Some(HOSTILE), Some(&*made))
    );
}

#[test]
fn a_registrys_words_do_not_reach_a_terminal() {
    let bench = Bench::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let body = json!({"errors": [{"code": format!("DENIED{HOSTILE}"), "message": HOSTILE}]}).to_string();
            let head = format!("HTTP/1.1 403 No{}\r\nContent-Type: application/json\r\n", "\u{1b}[31m");
            let _ = write!(stream, "{head}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
        }
    });
    let shown = screen(&bench, &format!("rbox pull {host}/x; rbox run {host}/x"));
    assert!(!steers(&shown) && shown.contains("rbox: "), "{shown:?}");
    let output = bench.rbox(&["pull", &format!("{host}/x")]).run().exits(1);
    assert!(!steers(&output.err()) && output.err().lines().count() == 1, "{}", output.report());
}

#[test]
fn progress_and_colours_only_where_they_make_sense() {
    let bench = Bench::new();
    let image = registry().small();
    let shown = screen(&bench, &format!("TERM=dumb rbox pull {image}; NO_COLOR=1 rbox --help; rbox nosuch"));
    assert!(!steers(&shown), "{shown:?}");
    bench.ok(&["rmi", &image]);
    let output = bench.rbox(&["pull", &image]).run().ok();
    assert!(!steers(&output.out()) && output.out().contains(": Pull complete\n"), "{}", output.report());
    assert_eq!(output.err(), "");
    let output = bench.shell("CLICOLOR_FORCE=1 rbox --help; rbox nosuch").run();
    assert!(!steers(&output.out()) && !steers(&output.err()), "{}", output.report());
}

#[test]
fn a_container_is_renamed() {
    let (bench, image) = Bench::with_image();
    let id = bench.start(&["--name", "old", "-h", "stays"], &image, &["sleep", "100"]);
    bench.ok(&["create", "--name", "other", &image]);
    bench.rbox(&["rename", "old", "other"]).run().refused(1, "The container name \"/other\" is already in use");
    let output = bench.rbox(&["rename", "old", "new"]).run().ok();
    assert!(output.stdout.is_empty(), "{}", output.report());
    assert_eq!(bench.inspect("new", "{{.Id}} {{.Name}} {{.Config.Hostname}}"), format!("{id} /new stays"));
    bench.rbox(&["inspect", "old"]).run().exits(1);
    assert_eq!(names_in(bench.root().join("names")), ["new", "other"]);
    // Free again at once; and swapped by three renames.
    bench.ok(&["create", "--name", "old", &image]);
    for (from, to) in [("old", "tmp"), ("new", "old"), ("tmp", "new")] {
        bench.ok(&["rename", from, to]);
    }
    assert_eq!(bench.inspect("old", "{{.Id}} {{.State.Running}}"), format!("{id} true"));
    bench.ok(&["rm", "-f", "old"]);
    assert_eq!(names_in(bench.root().join("names")), ["new", "other"]);
    // Many at once for one name: exactly one wins, and the store agrees with itself.
    for number in 0..6 {
        bench.ok(&["create", "--name", &format!("racer{number}"), &image]);
    }
    let output =
        bench.shell("for i in 0 1 2 3 4 5; do rbox rename racer$i won & done; wait; rbox system check").run().ok();
    assert_eq!(output.err().lines().filter(|line| line.contains("already in use")).count(), 5, "{}", output.report());
    assert_eq!(names_in(bench.root().join("names")).len(), 8);
}

#[test]
fn containers_are_chosen_in_podmans_ways() {
    let (bench, image) = Bench::with_image();
    for name in ["one", "two", "three"] {
        let cidfile = bench.text(&format!("{name}.cid"));
        bench.start(&["--name", name, "-l", "of=test", "--cidfile", &cidfile], &image, &["sleep", "100"]);
    }
    let id = |name: &str| read(bench.path(&format!("{name}.cid")));
    bench.ok(&["create", "--name", "last", &image]);
    assert_eq!(bench.ok(&["kill", "-s", "CONT", "-a"]).lines().count(), 3);
    assert_eq!(bench.ok(&["kill", "--cidfile", &bench.text("one.cid")]), id("one"));
    assert_eq!(bench.ok(&["stop", "-t", "0", "--filter", "name=two"]), id("two"));
    assert_eq!(bench.ok(&["logs", "-l"]), "");
    assert_eq!(bench.ok(&["wait", "-l"]), "0");
    bench.rbox(&["rm", "--latest", "two"]).run().refused(1, "conflicting options");
    bench.rbox(&["kill", "--latest"]).run().refused(1, "is not running");
    assert_eq!(bench.ok(&["rm", "--latest"]).len(), 64);
    assert_eq!(bench.status("three"), "running");
    assert_eq!(bench.ok(&["stop", "-t", "0", "-a"]), id("three"));
    assert_eq!(bench.ok(&["rm", "--filter", "label=of=test", "--filter", "name=three"]), id("three"));
    bench.start(
        &["--name", "slow"],
        &image,
        &["sh", "-c", "trap 'echo caught; exit 0' TERM; while :; do sleep 0.1; done"],
    );
    wait_until("the trap is set", || bench.rbox(&["exec", "slow", "ps"]).run().out().contains("sleep 0.1"));
    bench.ok(&["rm", "-a", "-f", "-t", "20"]);
    bench.no_containers();
    assert_eq!(bench.ok(&["rm", "-a"]), "");
    bench.rbox(&["inspect", "-l"]).run().refused(1, "there are no containers");
}

#[test]
fn prune_asks_removes_and_counts() {
    let (bench, image) = Bench::with_image();
    bench.run_rm(&[], &image, &["true"]).ok();
    for (name, label) in [("keep", "keep=1"), ("goes", "x=1")] {
        bench.ok(&["run", "--name", name, "-l", label, &image, "sh", "-c", "head -c 5000 /dev/zero >/f"]);
    }
    bench.start(&["--name", "runs"], &image, &["sleep", "100"]);
    for answer in ["n\n", "", "yes\n", "\n"] {
        let output = bench.rbox(&["container", "prune"]).stdin(answer).run().ok();
        let asked = "WARNING! This will remove all stopped containers.\nAre you sure you want to continue? [y/N] ";
        assert_eq!(output.out(), asked.trim_end_matches('\n'), "{answer:?}");
    }
    assert_eq!(bench.ok(&["ps", "-aq"]).lines().count(), 3);
    let goes = bench.inspect("goes", "{{.Id}}");
    let output = bench.ok(&["container", "prune", "-f", "--filter", "label!=keep", "--filter", "until=0s"]);
    // Blocks of all its files, not only the 5000 bytes that it wrote.
    let freed = |output: &str| {
        let freed = output.rsplit_once("\n\nTotal reclaimed space: ").and_then(|(_, freed)| freed.strip_suffix("kB"));
        let freed: f64 = freed.and_then(|freed| freed.parse().ok()).unwrap_or_else(|| panic!("{output}"));
        assert!((8.0..200.0).contains(&freed), "{output}");
    };
    assert!(output.starts_with(&format!("Deleted Containers:\n{goes}\n\nTotal reclaimed space: ")), "{output}");
    freed(&output);
    assert_eq!(bench.ok(&["container", "prune", "-f", "--filter", "until=24h"]), "Total reclaimed space: 0B");
    let output = bench.rbox(&["container", "prune"]).stdin("Y\n").run().ok();
    freed(&output.out());
    assert_eq!(bench.ok(&["ps", "-a", "--format", "{{.Names}}"]), "runs");

    let other =
        registry().push_once("t/pruned:1", || vec![crate::common::images::small().config(json!({"Cmd": ["x"]}))]);
    bench.ok(&["pull", "-q", &other]);
    assert_eq!(bench.ok(&["image", "prune", "-f"]), "Total reclaimed space: 0B");
    let output = bench.ok(&["image", "prune", "-af"]);
    assert!(output.starts_with(&format!("Deleted Images:\nuntagged: {other}\nuntagged: ")), "{output}");
    assert!(output.contains("\ndeleted: sha256:") && output.contains("\n\nTotal reclaimed space: "), "{output}");
    assert_eq!(bench.ok(&["images", "-q"]).lines().count(), 1, "the one in use stays");
    bench.rbox(&["rmi", "-a"]).run().refused(1, "image is being used by");
    bench.ok(&["rm", "-f", "runs"]);
    assert!(bench.ok(&["rmi", "-a"]).contains("Deleted: sha256:"));
    assert_eq!(bench.ok(&["images", "-q"]), "");
}

#[test]
fn flags_of_create_that_note_and_set() {
    let (bench, image) = Bench::with_image();
    let flags = ["--sysctl", "net.core.somaxconn=77", "--sysctl", "kernel.shm_rmid_forced=1"];
    let script = "cat /proc/sys/net/core/somaxconn /proc/sys/kernel/shm_rmid_forced";
    assert_eq!(bench.run_rm(&flags, &image, &["sh", "-c", script]).ok().out(), "77\n1");
    assert_ne!(read("/proc/sys/net/core/somaxconn").trim(), "77", "the machine's own is another");
    let range = ["--sysctl", "net.ipv4.ping_group_range=5 9"];
    let shown = bench.run_rm(&range, &image, &["cat", "/proc/sys/net/ipv4/ping_group_range"]).ok().out();
    assert_eq!(shown.split_whitespace().collect::<Vec<_>>(), ["5", "9"]);

    bench.ok(&[
        "create",
        "--name",
        "noted",
        "--expose",
        "53/udp",
        "--annotation",
        "a=b",
        "--disable-content-trust",
        &image,
    ]);
    let notes = "{{json .Config.ExposedPorts}} {{index .HostConfig.Annotations \"a\"}}";
    assert_eq!(bench.inspect("noted", notes), "{\"53/udp\":{}} b");
    let first = bench.inspect("noted", "{{.Id}}");
    bench.rbox(&["create", "--name", "noted", &image]).run().refused(125, "already in use");
    // What is wrong is found before the old one goes.
    bench
        .rbox(&["create", "--replace", "--name", "noted", "-w", "rel", &image])
        .run()
        .refused(125, "working directory");
    assert_eq!(bench.inspect("noted", "{{.Id}}"), first);
    let second = bench.ok(&["create", "--replace", "--name", "noted", &image]);
    assert_eq!(bench.inspect("noted", "{{.Id}}"), second);
    bench.start(&["--replace", "--name", "noted"], &image, &["sleep", "100"]);
    assert_eq!(bench.start(&["--replace", "--name", "noted"], &image, &["sleep", "100"]).len(), 64);
    assert_eq!(bench.ok(&["ps", "-aq"]).lines().count(), 1);

    let shown = bench.run_rm(&["--rootfs"], "/", &["sh", "-c", "echo from-a-directory"]).ok();
    assert_eq!(shown.out(), "from-a-directory");
    let missing = bench.text("missing");
    bench.rbox(&["run", "--rootfs", &missing, "true"]).run().refused(125, "use the root file system");
    assert_eq!(bench.ok(&["pull", "--policy", "missing", &image]), image);
}

#[test]
fn a_log_for_scripts() {
    let (bench, image) = Bench::with_image();
    bench.ok(&["run", "--name", "log", &image, "sh", "-c", "echo one; echo two >&2; sleep 0.2; echo three"]);
    let all = bench.rbox(&["logs", "log"]).run().ok();
    assert_eq!((all.out(), all.err()), ("one\nthree".to_owned(), "two".to_owned()));
    assert_eq!(bench.ok(&["logs", "-n", "1", "log"]), "three");
    assert_eq!(bench.ok(&["logs", "--tail=0", "log"]), "");
    assert_eq!(bench.ok(&["logs", "--details", "-n", "1", "log"]), " three");
    assert_eq!(bench.ok(&["logs", "--since", "1h", "--until", "0s", "log"]), "one\nthree");
    assert_eq!(bench.ok(&["logs", "--until", "1h", "log"]), "");
    let stamped = bench.ok(&["logs", "-t", "-n1", "-f", "log"]);
    let (stamp, text) = stamped.split_once(' ').unwrap();
    assert!(stamp.len() == 30 && stamp.ends_with('Z') && text == "three", "{stamped}");
    let mut file = File::open(bench.inspect("log", "{{.LogPath}}")).unwrap();
    let mut line = String::new();
    file.read_to_string(&mut line).unwrap();
    assert!(line.starts_with("{\"log\":\"one\\n\",\"stream\":\"stdout\",\"time\":\""), "{line}");
}
