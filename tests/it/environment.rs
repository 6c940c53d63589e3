//! The environment of processes in containers: where variables come from, and the time zone.

use crate::common::{Bench, Cmd, write};

const ROOT: &str = "rootfs:/";

/// The variables that a container's process has, without those every process has.
fn variables(command: Cmd) -> String {
    let all = command.args([ROOT, "env"]).ok();
    let usual = |line: &&str| !["PATH=", "HOSTNAME=", "HOME="].iter().any(|name| line.starts_with(name));
    all.lines().filter(usual).collect::<Vec<_>>().join(" ")
}

#[test]
fn variables_of_the_caller() {
    let bench = Bench::new();
    let file = bench.path("env");
    write(&file, "FOO_B\nGONE*\nBA*\n");
    let caller = |flags: &[&str]| {
        let command = bench.rbox(&["run", "--rm"]).args(flags);
        variables(
            command.env("FOO_A", "1").env("FOO_B", "2").env("BAR", "3").env("HTTP_PROXY", "p").env("no_proxy", "q"),
        )
    };
    assert_eq!(caller(&[]), "");
    assert_eq!(caller(&["-e", "FOO*"]), "FOO_A=1 FOO_B=2");
    assert_eq!(caller(&["-e", "FOO_A", "-e", "FOO*=x", "-e", "NONE*"]), "FOO_A=1 FOO*=x");
    assert_eq!(caller(&["--env-file", file.to_str().unwrap()]), "FOO_B=2 BAR=3");
    assert_eq!(caller(&["--http-proxy"]), "HTTP_PROXY=p no_proxy=q");
    assert_eq!(caller(&["--http-proxy=false"]), "");
    let host = caller(&["--env-host", "-e", "BAR=typed"]);
    assert!(host.contains("FOO_A=1") && host.contains("BAR=typed") && host.contains("RBOX_ROOT="), "{host}");
}

#[test]
fn variables_taken_away_and_made_of_others() {
    let (bench, image) = Bench::with_image();
    let image = {
        bench.ok(&["create", "--name", "c", &image, "true"]);
        let id = bench.ok(&["commit", "-q", "-c", "ENV hello=world other=x", "c"]);
        bench.ok(&["rm", "c"]);
        id
    };
    let env = |flags: &[&str]| bench.run_rm(flags, &image, &["/bin/busybox", "env"]).ok().out();
    let merged = env(&["--env-merge", "hello=${hello}-some", "--env-merge", "new=${none}-x"]);
    assert!(merged.contains("hello=world-some\n") && merged.contains("new=-x"), "{merged}");
    let without = env(&["--unsetenv", "hello", "--unsetenv", "PATH", "--unsetenv", "none"]);
    assert!(!without.contains("hello=") && !without.contains("PATH=") && without.contains("other=x"), "{without}");
    let none = env(&["--unsetenv-all", "-e", "A=1", "-t"]);
    let names: Vec<&str> = none.lines().filter_map(|line| line.split('=').next()).collect();
    assert_eq!(names, ["HOSTNAME", "A", "HOME"], "{none}");
    // What nobody named is no part of an image.
    let command = bench.rbox(&["run", "--name", "p", "--http-proxy", "--env-host", "-e", "NAMED", &image, "true"]);
    command.env("HTTP_PROXY", "http://user:password@proxy").env("NAMED", "1").env("HIDDEN", "2").ok();
    let committed = bench.inspect(&bench.ok(&["commit", "-q", "p"]), "{{.Config.Env}}");
    assert!(
        committed.contains("NAMED=1") && !committed.contains("password") && !committed.contains("HIDDEN"),
        "{committed}"
    );
    for (flags, reason) in [
        (&["--env-merge", "x"][..], "invalid argument \"x\" for \"--env-merge\" flag: expected NAME=TEXT"),
        (&["--env-merge", "x=${y"], "invalid --env-merge value"),
        (&["-e", "=x"], "invalid environment variable: =x"),
        (&["--env-file", "/nonexistent"], "open /nonexistent: No such file or directory"),
    ] {
        let output = bench.run_rm(flags, &image, &["true"]).exits(125);
        assert!(output.err().contains(reason), "{flags:?}: {}", output.err());
    }
}

#[test]
fn proxies_of_dockers_configuration() {
    let bench = Bench::new();
    let directory = bench.mkdir("docker");
    let file = directory.join("config.json");
    write(
        &file,
        r#"{"proxies": {"default": {"httpProxy": "http://p:1", "noProxy": "localhost"}, "tcp://x": {"ftpProxy": "f"}}}"#,
    );
    let run = |flags: &[&str]| variables(bench.rbox(&["run", "--rm"]).args(flags).env("DOCKER_CONFIG", &directory));
    assert_eq!(run(&[]), "HTTP_PROXY=http://p:1 http_proxy=http://p:1 NO_PROXY=localhost no_proxy=localhost");
    assert!(run(&["-e", "HTTP_PROXY=mine"]).starts_with("HTTP_PROXY=mine http_proxy=http://p:1"));
    write(&file, "{");
    let output = bench.rbox(&["run", "--rm", ROOT, "true"]).env("DOCKER_CONFIG", &directory).run().exits(125);
    assert!(output.err().contains("config.json: EOF"), "{}", output.err());
}

#[test]
fn exec_has_the_same_grammar() {
    let bench = Bench::new();
    let file = bench.path("env");
    write(&file, "FROM_FILE=1\nFOO_B\n");
    bench.start(&["--name", "c", "-e", "KEPT=1"], ROOT, &["sleep", "100"]);
    let exec = bench
        .rbox(&["exec", "-e", "FOO*", "-e", "KEPT=2", "--env-file"])
        .arg(&file)
        .env("FOO_A", "a")
        .env("FOO_B", "b");
    let seen = exec.args(["c", "sh", "-c", "echo $FROM_FILE $FOO_A $FOO_B $KEPT"]).ok();
    assert_eq!(seen, "1 a b 2");
    bench.rbox(&["exec", "-e", "=x", "c", "true"]).run().exits(125);
}

#[test]
fn time_zones() {
    if !std::path::Path::new("/usr/share/zoneinfo/Asia/Tokyo").exists() {
        return crate::common::skip("tzdata is not installed");
    }
    let (bench, image) = Bench::with_image();
    let zone = |flags: &[&str], image: &str| bench.run_rm(flags, image, &["date", "+%Z"]).ok().out();
    assert_eq!(zone(&["--tz", "Asia/Tokyo"], ROOT), "JST");
    assert_eq!(zone(&["--tz", "local"], ROOT), zone(&[], ROOT));
    // An image without time zones, and one whose link leads nowhere.
    let sum = |flags: &[&str], image: &str| bench.run_rm(flags, image, &["md5sum", "/etc/localtime"]).ok().out();
    let host = crate::common::program("md5sum").arg("/usr/share/zoneinfo/Asia/Tokyo").ok();
    assert_eq!(sum(&["--tz", "Asia/Tokyo"], &image)[..32], host[..32]);
    bench.ok(&["run", "--name", "l", &image, "ln", "-s", "/usr/share/zoneinfo/Nowhere", "/etc/localtime"]);
    let linked = bench.ok(&["commit", "-q", "l"]);
    assert_eq!(sum(&["--tz", "Asia/Tokyo"], &linked)[..32], host[..32]);
    assert_eq!(bench.inspect("l", "{{.Config.Hostname}}").len(), 12);
    for (value, reason) in [
        ("Middle/Earth", "unknown time zone Middle/Earth"),
        ("../../etc/passwd", "invalid time zone"),
        ("/etc/localtime", "invalid time zone"),
        ("tzdata.zi", "is no time zone file"),
        ("Asia", "unknown time zone Asia"),
    ] {
        let output = bench.run_rm(&["--tz", value], ROOT, &["true"]).exits(125);
        assert!(output.err().contains(reason) && output.err().lines().count() == 1, "{value}: {}", output.err());
    }
    assert_eq!(bench.run_rm(&["--tz", "container"], ROOT, &["echo", "same"]).ok().out(), "same");
}
