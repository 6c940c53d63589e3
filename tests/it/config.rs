//! The configuration: where values come from, what is said of wrong ones, and what they change.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::common::images::{Image, Layer};
use crate::common::proxy::Proxy;
use crate::common::registry::{Registry, registry};
use crate::common::{Bench, Cmd, Output, names_in, program, rbox_program, read, skip, write};
use serde_json::Value;

/// A store whose user has a configuration file of his own.
struct Configured {
    bench: Bench,
    file: PathBuf,
}

impl Configured {
    #[track_caller]
    fn new(text: &str) -> Self {
        let bench = Bench::new();
        let file = bench.mkdir("xdg/rbox").join("config.toml");
        write(&file, text);
        Self { bench, file }
    }

    fn rbox(&self, args: &[&str]) -> Cmd {
        let xdg = self.bench.path("xdg");
        self.bench.rbox(args).env("XDG_CONFIG_HOME", xdg).without_env("RBOX_CONFIG")
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        self.rbox(args).ok()
    }

    /// A key's value and origin, as `info` says.
    #[track_caller]
    fn info(&self, field: &str) -> String {
        shown(self.rbox(&["info"]), field)
    }

    /// `FILE:LINE` of our file.
    fn line(&self, line: usize) -> String {
        format!("{}:{line}", self.file.display())
    }

    /// What a container made of the host's userland has, by a template.
    #[track_caller]
    fn made(&self, flags: &[&str], template: &str) -> String {
        let id = self.rbox(&["create"]).args(flags).args(["rootfs:/", "true"]).ok();
        let shown = self.ok(&["inspect", "-f", template, &id]);
        self.ok(&["rm", &id]);
        shown
    }
}

#[track_caller]
fn shown(info: Cmd, field: &str) -> String {
    let template = format!("{{{{json .Configuration.{field}.Value}}}} {{{{.Configuration.{field}.Origin}}}}");
    info.args(["--format", &template]).ok()
}

/// Refused in one line that says where and what.
#[track_caller]
fn refused(command: Cmd, code: i32, texts: &[&str]) -> Output {
    let output = command.run().refused(code, texts[0]);
    assert!(texts.iter().all(|text| output.err().contains(text)), "{texts:?} in {}", output.report());
    output
}

#[test]
fn flags_beat_the_environment_which_beats_the_file() {
    let it = Configured::new(
        "# ours\nnetwork = \"host\"\ninit = true\nstop-timeout = 30\nlog-max-size = \"1m\"\nlog-max-file = 4\n",
    );
    for (key, variable, other, field, flag) in [
        ("network", "RBOX_NETWORK", "none", "Network", &["--network", "none"][..]),
        ("init", "RBOX_INIT", "false", "Init", &["--init=false"]),
        ("stop-timeout", "RBOX_STOP_TIMEOUT", "31", "StopTimeout", &["--stop-timeout", "33"]),
        ("log-max-size", "RBOX_LOG_MAX_SIZE", "2m", "LogMaxSize", &["--log-opt", "max-size=3m"]),
        ("log-max-file", "RBOX_LOG_MAX_FILE", "5", "LogMaxFile", &["--log-opt", "max-file=6"]),
    ] {
        let quoted =
            |text: &str| if matches!(field, "Network" | "LogMaxSize") { format!("{text:?}") } else { text.into() };
        let with = |value: &str| it.rbox(&["info"]).env(variable, value);
        let info = it.info(field);
        assert!(info.contains(&it.file.display().to_string()), "{key}: {info}");
        assert_eq!(shown(with(other), field), format!("{} {variable}", quoted(other)));
        assert_eq!(shown(with(""), field), info, "an empty variable is none");
        let set = format!("{key}={other}");
        let given = if field == "Network" {
            "host"
        } else if field == "Init" {
            "true"
        } else {
            "7"
        };
        let both = it.rbox(&["--set", &set, "info"]).env(variable, given);
        assert_eq!(shown(both, field), format!("{} --set", quoted(other)));
        it.rbox(&["create"]).args(flag).args(["rootfs:/", "true"]).ok();
    }
    assert_eq!(it.info("Network"), format!("\"host\" {}", it.line(2)));
    assert_eq!(it.info("Pull"), "\"missing\" default");
    let all =
        "{{.HostConfig.NetworkMode}} {{json .HostConfig.Init}} {{.Config.StopTimeout}} {{json .HostConfig.LogConfig}}";
    let log = |size: &str, files: u32| {
        format!(r#"{{"Type":"json-file","Config":{{"max-file":"{files}","max-size":"{size}"}}}}"#)
    };
    assert_eq!(it.made(&[], all), format!("host true 30 {}", log("1m", 4)));
    let flags = ["--network=none", "--init=false", "--stop-timeout=9", "--log-opt=max-size=3m", "--log-opt=max-file=6"];
    let by_flags = it.made(&flags, &all.replace("{{json .HostConfig.Init}}", "-"));
    assert_eq!(by_flags, format!("none - 9 {}", log("3m", 6)));
    // Defaults again, without the file.
    let plain = it.rbox(&["--config", "/dev/null", "create", "rootfs:/", "true"]).ok();
    let shown = it.ok(&["inspect", "-f", "{{.HostConfig.NetworkMode}} {{json .HostConfig.LogConfig}}", &plain]);
    assert_eq!(shown, r#"bridge {"Type":"json-file","Config":{}}"#);
}

#[test]
fn another_file_replaces_the_users() {
    let it = Configured::new("stop-timeout = 1\n");
    let other = it.bench.path("other.toml");
    write(&other, "stop-timeout = 2\n");
    let third = it.bench.path("third.toml");
    write(&third, "stop-timeout = 3\n");
    let info = |args: &[&str], variable: Option<&Path>| {
        let command = it.rbox(args);
        let command = if let Some(path) = variable { command.env("RBOX_CONFIG", path) } else { command };
        shown(command.arg("info"), "StopTimeout")
    };
    assert_eq!(info(&[], None), format!("1 {}", it.line(1)));
    assert_eq!(info(&[], Some(&other)), format!("2 {}:1", other.display()));
    let third = third.to_str().unwrap();
    assert_eq!(info(&["--config", third], Some(&other)), format!("3 {third}:1"));
    assert_eq!(info(&["--config", ""], None), "10 default");
    assert_eq!(info(&[], Some(Path::new(""))), "10 default");
    assert_eq!(info(&[], Some(Path::new("/dev/null"))), "10 default");
    let files = it.rbox(&["info", "--format", "{{json .ConfigurationFiles}}"]).ok();
    let files: Value = serde_json::from_str(&files).unwrap();
    assert_eq!(files[1]["Path"], it.file.to_str().unwrap());
    assert_eq!(files[1]["Read"], true);
    let absent = it.bench.text("absent.toml");
    refused(it.rbox(&["--config", &absent, "ps"]), 1, &[&absent, "No such file"]);
}

#[test]
fn info_shows_every_key_as_text() {
    let it = Configured::new("[mirrors]\n\"docker.io\" = [\"mirror.example\", \"harbor.example:5000/hub\"]\n");
    let text = it.rbox(&["info"]).env("RBOX_DETACH_KEYS", "ctrl-x").ok();
    for line in [
        "  File: /etc/rbox/config.toml".to_owned(),
        format!("  File: {}", it.file.display()),
        format!("  root: {} (RBOX_ROOT)", it.bench.root().display()),
        format!("  runroot: {} (RBOX_RUNROOT)", it.bench.runroot().display()),
        "  registry: docker.io (default)".to_owned(),
        format!("  mirrors: docker.io=mirror.example,docker.io=harbor.example:5000/hub ({})", it.line(1)),
        "  insecure-registries: (default)".to_owned(),
        "  token-servers: (default)".to_owned(),
        "  log-driver: json-file (default)".to_owned(),
        "  log-max-size: -1 (default)".to_owned(),
        "  log-max-file: 1 (default)".to_owned(),
        "  detach-keys: ctrl-x (RBOX_DETACH_KEYS)".to_owned(),
        "  network: bridge (default)".to_owned(),
        "  pull: missing (default)".to_owned(),
        "  init: false (default)".to_owned(),
        "  stop-timeout: 10 (default)".to_owned(),
        "  layer-max-size: 128g (default)".to_owned(),
        "  layer-max-entries: 2000000 (default)".to_owned(),
        "  seccomp-profile: builtin (default)".to_owned(),
        "  cdi-spec-dirs: /etc/cdi,/var/run/cdi (default)".to_owned(),
    ] {
        assert!(text.lines().any(|shown| shown.starts_with(&line)), "{line:?} is not in {text}");
    }
    let flags = ["--root", "/tmp/nowhere-a", "--runroot", "/tmp/nowhere-b", "ps"];
    assert!(it.rbox(&flags).run().ok().out().starts_with("CONTAINER ID"));
    std::fs::remove_dir_all("/tmp/nowhere-a").unwrap();
}

#[test]
fn what_is_wrong_is_told_with_file_line_and_column() {
    let it = Configured::new("");
    for (text, texts) in [
        (
            "pull = \"always\"\nlog-drivr = \"none\"\n",
            &["config.toml:2:1: ", "unknown key \"log-drivr\"", "did you mean \"log-driver\"?"][..],
        ),
        ("\ninit = \"yes\"\n", &["config.toml:2:8: ", "invalid value \"yes\" of init", "true or false"]),
        (
            "log-driver = \"gelf\"",
            &["config.toml:1:14: ", "\"gelf\" of log-driver", "one of json-file, k8s-file, local, journald"],
        ),
        (
            "insecure-registries = [\n  \"a.b\",\n  7,\n]",
            &["config.toml:3:3: ", "invalid value 7 of insecure-registries"],
        ),
        ("pull = \"never", &["config.toml:1:"]),
        ("root = \"relative\"", &["config.toml:1:8: ", "absolute path"]),
    ] {
        write(&it.file, text);
        for (args, code) in [
            (&["ps"][..], 1),
            (&["info"], 1),
            (&["images"], 1),
            (&["pull", "nosuch"], 1),
            (&["tag", "a", "b"], 1),
            (&["run", "rootfs:/", "true"], 125),
            (&["create", "rootfs:/", "true"], 125),
        ] {
            refused(it.rbox(args), code, texts);
        }
        for args in [&["--help"][..], &["version"], &["run", "--help"], &["--version"]] {
            it.rbox(args).run().ok();
        }
    }
    assert!(!it.bench.root().exists(), "nothing is made before the configuration is known to be right");
    write(&it.file, "");
    refused(it.rbox(&["ps"]).env("RBOX_INIT", "maybe"), 1, &["RBOX_INIT: ", "true or false"]);
    refused(it.rbox(&["--set", "pul=always", "ps"]), 1, &["--set: unknown key \"pul\"", "\"pull\""]);
    refused(it.rbox(&["--set", "pull", "ps"]), 1, &["--set", "KEY=VALUE"]);
    refused(it.rbox(&["run", "--log-driver", "gelf", "rootfs:/", "true"]), 125, &["\"gelf\" not found"]);
    refused(it.rbox(&["run", "--log-opt", "max-size=x", "rootfs:/", "true"]), 125, &["invalid max-size \"x\""]);
    let none = ["run", "--log-driver=none", "--log-opt", "max-file=2", "rootfs:/", "true"];
    refused(it.rbox(&none), 125, &["invalid logging opts for driver none"]);
}

#[test]
fn files_that_cannot_be_trusted_or_read_are_refused() {
    let it = Configured::new("init = true\n");
    let mode = |mode: u32| std::fs::set_permissions(&it.file, PermissionsExt::from_mode(mode)).unwrap();
    let path = it.file.to_str().unwrap();
    mode(0o646);
    refused(it.rbox(&["ps"]), 1, &[path, "everybody can write", "chmod o-w"]);
    mode(0);
    refused(it.rbox(&["ps"]), 1, &[path, "Permission denied"]);
    mode(0o664);
    assert_eq!(it.info("Init"), format!("true {}", it.line(1)));
    write(&it.file, b"init = true\n# caf\xe9\n");
    refused(it.rbox(&["ps"]), 1, &[path, "line 2 is not UTF-8"]);
    write(&it.file, vec![b'\n'; 300_000]);
    refused(it.rbox(&["ps"]), 1, &[path, "larger than 256 KiB"]);
    std::fs::remove_file(&it.file).unwrap();
    std::fs::create_dir(&it.file).unwrap();
    refused(it.rbox(&["ps"]), 1, &[path, "is a directory"]);
    std::fs::remove_dir(&it.file).unwrap();
    program("mkfifo").arg(&it.file).ok();
    refused(it.rbox(&["ps"]).limit(10), 1, &[path, "not a regular file"]);
    // Somebody else's is none of ours: the machine has files of root only, which may be read.
    std::fs::remove_file(&it.file).unwrap();
    std::os::unix::fs::symlink("/etc/hostname", &it.file).unwrap();
    let output = it.rbox(&["ps"]).run();
    assert!(!output.err().contains("belongs to uid"), "root's files are trusted: {}", output.report());
}

/// Runs a script in a mount namespace where /etc can be changed, as root of a user namespace that
/// has further ids.
fn as_root_with_etc(bench: &Bench, script: &str) -> Option<Output> {
    let setup = r#"set -e
        cp -a /etc "$DIR/etc" 2>/dev/null || :
        mkdir -p "$DIR/etc/rbox" "$DIR/home"
        mount --bind "$DIR/etc" /etc
        export RBOX_ROOT="$DIR/root" RBOX_RUNROOT="$DIR/run" HOME="$DIR/home"
        unset XDG_CONFIG_HOME RBOX_CONFIG
        key() { "$RBOX" info --format "{{json .Configuration.$1.Value}} {{.Configuration.$1.Origin}}" || echo "exit $?"; }
    "#;
    let directory = bench.mkdir("machine");
    let enter = ["--user", "--map-auto", "--map-root-user", "--mount"];
    let possible = program("unshare").args(enter).arg("true").run().code == 0;
    let unshare = program("unshare").args(enter).args(["bash", "-c", &format!("{setup}\n{script}")]);
    possible.then(|| unshare.env("DIR", directory).env("RBOX", rbox_program()).run())
}

#[test]
fn the_systems_file_is_below_the_users_and_only_roots() {
    let bench = Bench::new();
    let script = r#"
        mkdir -p $HOME/.config/rbox
        printf 'stop-timeout = 5\ninit = true\nroot = "/from/system"\n' >/etc/rbox/config.toml
        key StopTimeout; key Root
        printf '\nstop-timeout = 6\n' >$HOME/.config/rbox/config.toml
        key StopTimeout; key Init
        RBOX_STOP_TIMEOUT=7 key StopTimeout
        echo 'nonsense = 1' >/etc/rbox/config.toml
        "$RBOX" ps 2>&1 || echo "exit $?"
        echo 'init = true' >/etc/rbox/config.toml; chmod o+w /etc/rbox/config.toml
        "$RBOX" --config '' ps 2>&1 || echo "exit $?"
        chmod o-w /etc/rbox/config.toml; chown 5:5 /etc/rbox/config.toml
        "$RBOX" ps 2>&1 || echo "exit $?"
        rm /etc/rbox/config.toml; mkdir /etc/rbox/config.toml
        "$RBOX" ps 2>&1 || echo "exit $?"
        rm -rf "$DIR" 2>/dev/null || :
    "#;
    let Some(output) = as_root_with_etc(&bench, script) else { return skip("no user namespace with further ids") };
    let home = bench.path("machine/home");
    let expected = [
        "5 /etc/rbox/config.toml:1".to_owned(),
        format!("{:?} RBOX_ROOT", bench.path("machine/root")),
        format!("6 {}/.config/rbox/config.toml:2", home.display()),
        "true /etc/rbox/config.toml:2".to_owned(),
        "7 RBOX_STOP_TIMEOUT".to_owned(),
        "rbox: /etc/rbox/config.toml:1:1: unknown key \"nonsense\"".to_owned(),
        "exit 1".to_owned(),
        "rbox: cannot use the configuration file /etc/rbox/config.toml: everybody can write to it: run 'chmod o-w' on it".to_owned(),
        "exit 1".to_owned(),
        "rbox: cannot use the configuration file /etc/rbox/config.toml: it belongs to uid 5 and must be root's: see 'chown'".to_owned(),
        "exit 1".to_owned(),
        "rbox: cannot use the configuration file /etc/rbox/config.toml: it is a directory".to_owned(),
        "exit 1".to_owned(),
    ];
    assert_eq!(output.out().lines().collect::<Vec<_>>(), expected, "{}", output.report());
}

#[test]
fn root_takes_no_orders_from_the_home_that_sudo_left_it() {
    let bench = Bench::new();
    let script = r#"
        mkdir -p $HOME/.config/rbox $DIR/etc/theirs
        echo 'stop-timeout = 6' >$HOME/.config/rbox/config.toml
        key StopTimeout
        chown -R 1000:1000 $HOME
        key StopTimeout
        XDG_CONFIG_HOME=$HOME/.config key StopTimeout
        chown 0:0 $HOME; key StopTimeout 2>&1
        "$RBOX" --config "$HOME/.config/rbox/config.toml" ps 2>&1 || echo "exit $?"
        chown -R 0:0 $HOME; rm -rf "$DIR" 2>/dev/null || :
    "#;
    let Some(output) = as_root_with_etc(&bench, script) else { return skip("no user namespace with further ids") };
    let file = bench.path("machine/home/.config/rbox/config.toml");
    let theirs = format!(
        "rbox: cannot use the configuration file {}: it belongs to uid 1000 and must be yours or root's: see 'chown'",
        file.display()
    );
    let expected =
        [&format!("6 {}:1", file.display()), "10 default", "10 default", &theirs, "exit 1", &theirs, "exit 1"]
            .map(str::to_owned);
    assert_eq!(output.out().lines().collect::<Vec<_>>(), expected, "{}", output.report());
}

#[test]
fn a_user_trusts_only_himself_and_root() {
    let bench = Bench::new();
    // As another user than the file's owner: an id of our own range.
    let script = r#"
        mkdir $DIR/xdg $DIR/xdg/rbox $DIR/other; echo 'init = true' >$DIR/xdg/rbox/config.toml
        chmod 755 $DIR $DIR/xdg $DIR/xdg/rbox; chmod 644 $DIR/xdg/rbox/config.toml
        chown 5:5 $DIR/xdg/rbox/config.toml; chown 7:7 $DIR/other
        export XDG_CONFIG_HOME=$DIR/xdg RBOX_ROOT=$DIR/other/root RBOX_RUNROOT=$DIR/other/run
        setpriv --reuid 7 --regid 7 --clear-groups "$RBOX" ps 2>&1 || echo "exit $?"
        chown 0:0 $DIR/xdg/rbox/config.toml
        setpriv --reuid 7 --regid 7 --clear-groups "$RBOX" ps -q 2>&1 || echo "exit $?"
        rm -rf "$DIR" 2>/dev/null || :
    "#;
    let Some(output) = as_root_with_etc(&bench, script) else { return skip("no user namespace with further ids") };
    let file = bench.path("machine/xdg/rbox/config.toml");
    let expected = format!(
        "rbox: cannot use the configuration file {}: it belongs to uid 5 and must be yours or root's: see 'chown'\nexit 1",
        file.display()
    );
    assert_eq!(output.out(), expected, "{}", output.report());
}

#[test]
fn without_files_it_costs_two_failed_opens() {
    let bench = Bench::new();
    let trace = bench.path("trace");
    let xdg = bench.mkdir("empty");
    let strace = program("strace").args(["-f", "-e", "trace=/open|stat", "-o"]).arg(&trace).arg(rbox_program());
    bench.environment(strace.arg("ps")).env("XDG_CONFIG_HOME", xdg).without_env("RBOX_CONFIG").run().ok();
    let text = read(&trace);
    let opens: Vec<&str> = text.lines().filter(|line| line.contains("config.toml")).collect();
    assert!(opens.len() == 2 && opens.iter().all(|line| line.contains("ENOENT")), "{opens:#?}");
}

/// A reference without its registry.
fn short(reference: &str) -> &str {
    reference.split_once('/').expect("a registry").1
}

#[test]
fn short_names_mean_the_configured_registry() {
    let image = registry().small();
    let host = registry().host();
    let it = Configured::new(&format!("registry = \"{host}\"\n"));
    let name = short(&image);
    assert_eq!(it.ok(&["pull", "-q", name]), image);
    assert_eq!(it.rbox(&["run", "--rm", "--pull=never", name, "cat", "/etc/os-release"]).ok(), "ID=small");
    // No library/ but on Docker Hub.
    refused(it.rbox(&["pull", "-q", "alpine"]), 1, &[&format!("{host}/alpine"), "not found"]);
    it.ok(&["tag", name, "mine"]);
    let tags = it.ok(&["inspect", "-f", "{{json .RepoTags}}", "mine"]);
    assert!(tags.contains(&format!("\"{host}/mine:latest\"")), "{tags}");
    let by_id = it.ok(&["images", "-q", "mine"]);
    assert_eq!(it.ok(&["inspect", "-f", "{{.Id}}", &by_id]), it.ok(&["inspect", "-f", "{{.Id}}", "mine"]));
    // Docker Hub's images are not shown by names that mean others now.
    it.ok(&["tag", name, "docker.io/alpine"]);
    let listed = it.ok(&["images", "--format", "{{.Repository}}"]);
    assert!(listed.lines().any(|line| line == "docker.io/library/alpine"), "{listed}");
    let by_default = it.rbox(&["--config", "", "images", "--format", "{{.Repository}}"]).ok();
    assert!(by_default.lines().any(|line| line == "alpine"), "{by_default}");
    it.ok(&["rmi", "mine"]);
    assert_eq!(it.info("Registry"), format!("{host:?} {}", it.line(1)));
    let hub = it.rbox(&["run", "--rm", "--pull=never", "docker.io/alpine", "echo", "here"]).ok();
    assert_eq!(hub, "here");
    let elsewhere = it.rbox(&["run", "--rm", "--pull=never", name, "true"]).env("RBOX_REGISTRY", "quay.io").run();
    assert!(elsewhere.exits(125).err().contains(&format!("No such image: quay.io/{name}")));
}

/// The second registry of these tests.
fn second() -> &'static Registry {
    static SECOND: std::sync::OnceLock<Registry> = std::sync::OnceLock::new();
    SECOND.get_or_init(Registry::start)
}

fn marked(mark: &str) -> Vec<Image> {
    vec![Image::small_with(vec![Layer::new().file("mark", 0o644, mark)])]
}

#[test]
fn mirrors_are_asked_in_order_and_the_dead_are_passed_over() {
    let it = Configured::new("");
    // Docker Hub cannot be reached from here: what comes, comes from the mirror.
    second().push("library/mirrored:1", &marked("copy"));
    write(&it.file, format!("[mirrors]\n\"docker.io\" = [\"127.0.0.1:1\", \"{}\"]\n", second().host()));
    let output = it.rbox(&["pull", "mirrored:1"]).run().ok();
    assert!(
        output.out().contains("mirror 127.0.0.1:1 passed over: cannot reach registry 127.0.0.1:1: connection refused")
    );
    assert!(output.out().ends_with("docker.io/library/mirrored:1"), "{}", output.report());
    assert_eq!(it.ok(&["run", "--rm", "--pull=never", "mirrored:1", "cat", "/mark"]), "copy");
    let digest = second().digest(&second().reference("library/mirrored:1"));
    let names = it.ok(&["inspect", "-f", "{{json .RepoDigests}}", "mirrored:1"]);
    assert_eq!(names, format!("[\"mirrored@{digest}\"]"), "the image is Docker Hub's, wherever it came from");
    // As text of the environment, and quietly; below a path.
    second().push("proxy/hub/library/deep:1", &marked("deep"));
    let mirrors = format!("docker.io=127.0.0.1:1,docker.io={}/proxy/hub", second().host());
    let output = it.rbox(&["run", "--rm", "-q", "deep:1", "cat", "/mark"]).env("RBOX_MIRRORS", mirrors).run().ok();
    assert_eq!((output.out(), output.err()), ("deep".to_owned(), String::new()));
    // Another registry's images are not asked of it.
    let error = it.rbox(&["pull", "127.0.0.1:2/library/mirrored:1"]).run().exits(1).err();
    assert!(error.contains("127.0.0.1:2") && !error.contains(&second().host()), "{error}");
}

#[test]
fn a_mirror_without_the_image_or_a_layer_of_it_gives_way_to_the_registry() {
    let origin = registry().push("t/fallback:1", &marked("origin"));
    let mirrors = format!("[mirrors]\n\"{}\" = [\"{}\"]\n", registry().host(), second().host());
    let it = Configured::new(&mirrors);
    let output = it.rbox(&["pull", &origin]).run().ok();
    assert!(output.out().contains(&format!("mirror {} passed over: ", second().host())), "{}", output.report());
    assert_eq!(it.ok(&["run", "--rm", "--pull=never", &origin, "cat", "/mark"]), "origin");

    // The mirror knows the image, but one of its blobs is gone, another one wrong.
    for damage in ["gone", "wrong"] {
        let name = format!("t/half-{damage}:1");
        let mark = format!("{damage} at the mirror, whole at the registry");
        let image = registry().push(&name, &marked(&mark));
        second().push(&name, &marked(&mark));
        let digest = registry().digest(&image);
        let manifest: Value = serde_json::from_str(&read(registry().blob_path(&digest))).unwrap();
        let layer = manifest["layers"].as_array().unwrap().last().unwrap()["digest"].as_str().unwrap().to_owned();
        let blob = second().blob_path(&layer);
        if damage == "gone" {
            std::fs::remove_file(&blob).unwrap();
        } else {
            let mut bytes = std::fs::read(&blob).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            write(&blob, bytes);
        }
        let output = it.rbox(&["pull", &image]).run().ok();
        assert!(output.out().contains("passed over"), "{}", output.report());
        assert_eq!(it.ok(&["run", "--rm", "--pull=never", &image, "cat", "/mark"]), mark);
    }
    // Neither has it: the registry's word is the error.
    let absent = registry().reference("t/absent:1");
    let error = it.rbox(&["pull", "-q", &absent]).run().refused(1, "t/absent").err();
    assert!(error.contains(&registry().host()) && !error.contains(&second().host()), "{error}");
}

#[test]
fn a_mirror_serves_what_it_has_and_the_registry_is_left_alone() {
    let image = registry().push("t/copied:1", &marked("same"));
    second().push("t/copied:1", &marked("same"));
    let proxy = Proxy::before(registry().port());
    let name = image.replace(&registry().host(), &proxy.host());
    let it = Configured::new(&format!("[mirrors]\n\"{}\" = [\"{}\"]\n", proxy.host(), second().host()));
    it.ok(&["pull", "-q", &name]);
    assert_eq!(proxy.take_requests(), [""; 0], "all of it came from the mirror");
    it.ok(&["rmi", &name]);
    it.rbox(&["--set", "mirrors=", "pull", "-q", &name]).ok();
    assert!(!proxy.take_requests().is_empty());
}

#[test]
fn insecure_registries_need_no_https() {
    // A name of this machine that is not loopback by its looks.
    let host = program("hostname").arg("-I").run().out();
    let Some(address) = host.split_whitespace().find(|address| address.contains('.')) else {
        return skip("no address but loopback");
    };
    let it = Configured::new("");
    let name = format!("{address}:1/a:1");
    let plain = it.rbox(&["pull", &name]).env("NO_PROXY", "*").run().exits(1).err();
    assert!(plain.contains("cannot reach registry"), "{plain}");
    let Some(forward) = Forward::start(address, registry().port()) else { return skip("cannot listen there") };
    let image = registry().small();
    let name = format!("{}/{}", forward.host, short(&image));
    let refusal = it.rbox(&["pull", "-q", &name]).env("NO_PROXY", "*").run().exits(1).err();
    assert!(refusal.contains(&forward.host), "{refusal}");
    write(&it.file, format!("insecure-registries = [\"{}\"]\n", forward.host));
    assert_eq!(it.rbox(&["pull", "-q", &name]).env("NO_PROXY", "*").ok(), name);
    let strict = it.rbox(&["pull", "-q", "--tls-verify", &name]).env("NO_PROXY", "*").run();
    strict.exits(1);
}

/// A port of another address that leads to one of loopback.
struct Forward {
    host: String,
}

impl Forward {
    fn start(address: &str, port: u16) -> Option<Self> {
        let listener = std::net::TcpListener::bind((address, 0)).ok()?;
        let host = listener.local_addr().ok()?.to_string();
        std::thread::spawn(move || {
            for inner in listener.incoming().flatten() {
                let Ok(outer) = std::net::TcpStream::connect(("127.0.0.1", port)) else { continue };
                for (mut from, mut to) in
                    [(inner.try_clone().expect("a socket"), outer.try_clone().expect("a socket")), (outer, inner)]
                {
                    std::thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(std::net::Shutdown::Write);
                    });
                }
            }
        });
        Some(Self { host })
    }
}

#[test]
fn the_pull_policy_has_a_default() {
    let image = registry().small();
    let it = Configured::new("pull = \"never\"\n");
    refused(it.rbox(&["run", "--rm", &image, "true"]), 125, &["No such image"]);
    it.rbox(&["run", "--rm", "-q", "--pull=missing", &image, "true"]).run().ok();
    let proxy = Proxy::before(registry().port());
    let name = image.replace(&registry().host(), &proxy.host());
    it.ok(&["tag", &image, &name]);
    it.rbox(&["run", "--rm", "-q", &name, "true"]).run().ok();
    assert_eq!(proxy.take_requests(), [""; 0]);
    it.rbox(&["run", "--rm", "-q", &name, "true"]).env("RBOX_PULL", "always").run().ok();
    assert!(!proxy.take_requests().is_empty());
}

#[test]
fn full_logs_are_rotated_and_read_across() {
    let (bench, image) = Bench::with_image();
    let run = ["run", "--name", "l", "--log-opt", "max-size=20k", "--log-opt", "max-file=3", &image];
    bench.rbox(&run).args(["seq", "10000", "19999"]).run().ok();
    let path = bench.inspect("l", "{{.LogPath}}");
    let directory = Path::new(&path).parent().unwrap();
    let files: Vec<String> = names_in(directory).into_iter().filter(|name| name.contains("-json.log")).collect();
    assert_eq!(files.len(), 3, "{files:?}");
    for name in &files {
        let length = std::fs::metadata(directory.join(name)).unwrap().len();
        assert!(length < 20_200, "{name} has {length} bytes");
    }
    let text = bench.ok(&["logs", "l"]);
    let numbers: Vec<u32> = text.lines().map(|line| line.parse().unwrap()).collect();
    assert!((400..1000).contains(&numbers.len()), "{} lines are left", numbers.len());
    let last: Vec<u32> = (20_000 - u32::try_from(numbers.len()).unwrap()..20_000).collect();
    assert_eq!(numbers, last, "the newest, in order and without a gap");
    let tail = bench.ok(&["logs", "-n", "300", "l"]);
    assert_eq!(tail.lines().next(), Some("19700"), "more lines than the current file has");
    assert_eq!(tail.lines().count(), 300);
    assert_eq!(bench.ok(&["logs", "-n", "2", "l"]), "19998\n19999");
    // A second start goes on with the same files.
    bench.rbox(&["start", "-a", "l"]).run().ok();
    assert_eq!(bench.ok(&["logs", "-n", "1", "l"]), "19999");
    assert_eq!(names_in(directory).iter().filter(|name| name.contains("-json.log")).count(), 3);
}

#[test]
fn following_goes_on_over_rotations() {
    let it = Configured::new("log-max-size = \"2k\"\nlog-max-file = 500\n");
    it.bench.pull_small();
    let image = registry().small();
    let script =
        "i=0; while [ $i -lt 600 ]; do echo line $i; i=$((i+1)); [ $((i%50)) -eq 0 ] && sleep 0.05; done; read x";
    it.rbox(&["run", "-di", "--name", "f", &image, "sh", "-c", script]).ok();
    let mut follow = it.rbox(&["logs", "-f", "f"]).spawn();
    let mut late = it.rbox(&["logs", "-f", "-n", "1", "f"]).spawn();
    follow.expect("line 599\n");
    late.expect("line 599\n");
    it.ok(&["kill", "f"]);
    let out = follow.wait().ok().out();
    let expected: Vec<String> = (0..600).map(|number| format!("line {number}")).collect();
    assert_eq!(out.lines().collect::<Vec<_>>(), expected);
    let out = late.wait().ok().out();
    let first: usize = out.lines().next().unwrap().strip_prefix("line ").unwrap().parse().unwrap();
    assert_eq!(out.lines().collect::<Vec<_>>(), expected[first..]);
    let path = it.ok(&["inspect", "-f", "{{.LogPath}}", "f"]);
    assert!(Path::new(&format!("{path}.9")).exists(), "it was rotated");
}

#[test]
fn no_log_at_all() {
    let it = Configured::new("log-driver = \"none\"\nlog-max-size = \"1m\"\n");
    it.bench.pull_small();
    let image = registry().small();
    let output = it.rbox(&["run", "--name", "n", &image, "echo", "seen"]).run().ok();
    assert_eq!(output.out(), "seen");
    refused(it.rbox(&["logs", "n"]), 1, &["configured logging driver does not support reading"]);
    let shown = it.ok(&["inspect", "-f", "{{.HostConfig.LogConfig.Type}} {{.LogPath}}|", "n"]);
    assert_eq!(shown, "none |");
    let id = it.ok(&["inspect", "-f", "{{.Id}}", "n"]);
    let files = names_in(it.bench.root().join("containers").join(id));
    assert!(!files.iter().any(|name| name.contains("log")), "{files:?}");
    it.rbox(&["run", "--name", "j", "--log-driver", "json-file", &image, "echo", "kept"]).run().ok();
    assert_eq!(it.ok(&["logs", "j"]), "kept");
    assert_eq!(it.ok(&["info", "--format", "{{.LoggingDriver}}"]), "none");
}

#[test]
fn a_seccomp_profile_for_all() {
    let it = Configured::new("");
    let profile = it.bench.path("profile.json");
    let deny =
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO"}]}"#;
    write(&profile, deny);
    write(&it.file, format!("seccomp-profile = {:?}\n", profile.to_str().unwrap()));
    let mkdir = |flags: &[&str]| {
        let code = it.rbox(&["run", "--rm"]).args(flags).args(["rootfs:/", "mkdir", "/tmp/made"]).run().code;
        code == 0
    };
    assert!(!mkdir(&[]));
    assert!(mkdir(&["--security-opt", "seccomp=builtin"]));
    assert!(mkdir(&["--privileged"]), "privileged containers have no filter unless asked for");
    assert!(!mkdir(&["--privileged", "--security-opt", &format!("seccomp={}", profile.display())]));
    let options = it.made(&[], "{{json .HostConfig.SecurityOpt}}");
    assert_eq!(options, "null", "only what was typed is shown");
    std::fs::remove_file(&profile).unwrap();
    refused(it.rbox(&["run", "rootfs:/", "true"]), 125, &[&it.line(1), "opening seccomp profile"]);
    assert!(mkdir(&["--security-opt", "seccomp=unconfined"]));
}

#[test]
fn the_store_lies_where_the_file_says() {
    let it = Configured::new("");
    let uid = rustix::process::geteuid().as_raw();
    let text = format!("root = \"$HOME/{{root}}\"\nrunroot = \"{}/run-$UID\"\n", it.bench.path("").display());
    write(&it.file, text.replace("{root}", "boxes"));
    let home = it.bench.mkdir("home");
    let command = |args: &[&str]| it.rbox(args).env("HOME", &home).without_env("RBOX_ROOT").without_env("RBOX_RUNROOT");
    assert_eq!(shown(command(&["info"]), "Root"), format!("{:?} {}", home.join("boxes"), it.line(1)));
    assert_eq!(command(&["info", "--format", "{{.DockerRootDir}}"]).ok(), home.join("boxes").to_str().unwrap());
    assert_eq!(command(&["run", "--rm", "rootfs:/", "echo", "ran"]).ok(), "ran");
    assert!(home.join("boxes/version").exists());
    assert!(it.bench.path(&format!("run-{uid}/userns.lock")).exists());
    let elsewhere = it.bench.text("elsewhere");
    let flagged = command(&["--root", &elsewhere, "info"]).env("RBOX_ROOT", "/nowhere");
    assert_eq!(shown(flagged, "Root"), format!("{elsewhere:?} --root"));
}

#[test]
fn the_example_is_right_and_complete() {
    let it = Configured::new("");
    let tree = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tree =
        if tree.exists() { tree.to_owned() } else { PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap()) };
    let example = read(tree.join("examples/config.toml"));
    write(&it.file, &example);
    let settings = |it: &Configured| -> Value {
        serde_json::from_str(&it.ok(&["info", "--format", "{{json .Configuration}}"])).unwrap()
    };
    let defaults = settings(&it);
    let is_default = |entry: &Value| matches!(entry["Origin"].as_str(), Some("default" | "RBOX_ROOT" | "RBOX_RUNROOT"));
    assert!(defaults.as_object().unwrap().values().all(is_default), "all is commented out: {defaults}");
    // Without the marks it says what is so anyway.
    let active: String = example
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') && !rest.is_empty() => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    write(&it.file, &active);
    let said = settings(&it);
    let documents = read(tree.join("docs/configuration.md"));
    for (field, entry) in said.as_object().unwrap() {
        let (key, variable) = (entry["Key"].as_str().unwrap(), entry["Variable"].as_str().unwrap());
        let from_file = entry["Origin"].as_str().unwrap().starts_with(it.file.to_str().unwrap());
        assert!(from_file || matches!(key, "root" | "runroot"), "{key} is not in the example");
        assert!(active.lines().any(|line| line.starts_with(&format!("{key} = ")) || line == format!("[{key}]")));
        if !matches!(key, "root" | "runroot") {
            assert_eq!(entry["Value"], defaults[field]["Value"], "{key}");
        }
        assert!(documents.contains(&format!("`{key}`")), "{key} is not in docs/configuration.md");
        assert!(documents.contains(&format!("`{variable}`")), "{variable} is not in docs/configuration.md");
    }
}

#[test]
fn a_log_that_is_full_does_not_slow_the_reader_or_the_container() {
    let (bench, image) = Bench::with_image();
    // One file only: it begins anew when full, and followers go on with the new one.
    let run = ["run", "-d", "--name", "o", "--log-opt=max-size=1k", &image, "sh", "-c"];
    bench.rbox(&run).arg("for i in $(seq 300); do echo $i; sleep 0.01; done; sleep 60").ok();
    let mut follow = bench.rbox(&["logs", "-f", "o"]).limit(60).spawn();
    follow.expect("300\n");
    bench.ok(&["kill", "o"]);
    let out = follow.wait().ok().out();
    let numbers: Vec<u32> = out.lines().map(|line| line.parse().unwrap()).collect();
    assert!(numbers.is_sorted() && numbers.last() == Some(&300), "{numbers:?}");
    let path = bench.inspect("o", "{{.LogPath}}");
    assert!(std::fs::metadata(&path).unwrap().len() < 1200);
    assert!(!Path::new(&format!("{path}.1")).exists());
}
