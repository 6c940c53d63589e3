//! Credentials: real registries with passwords and tokens, auth files and helpers, `registries.conf`,
//! and who gets to see a secret.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use crate::common::http::{Server, Signer};
use crate::common::images::{Image, Layer};
use crate::common::proxy::Proxy;
use crate::common::pty::Terminal;
use crate::common::registry::{Guarded, registry};
use crate::common::{Bench, Cmd, comes_true, noise, read, write};

/// The user `me` of [`HTPASSWD`].
const PASSWORD: &str = "hush-A";
/// `me:hush-A` by bcrypt.
const HTPASSWD: &str = "me:$2y$04$abcdefghijklmnopqrstuurUoK4hWQwP44ZxSz2E2xOa93PexfXle\n";
/// `me:hush-A` in base64.
const ENCODED: &str = "bWU6aHVzaC1B";

/// A bench with a home directory of its own.
struct Home {
    bench: Bench,
}

impl Home {
    fn new() -> Self {
        let bench = Bench::new();
        bench.mkdir("home");
        Self { bench }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.bench.path("home").join(name)
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        write(self.path(name), content);
    }

    fn rbox(&self, args: &[&str]) -> Cmd {
        self.bench
            .rbox(args)
            .env("HOME", self.bench.path("home"))
            .env("RBOX_CONFIG", "")
            .env("PATH", format!("{}:/usr/bin:/bin", self.bench.mkdir("bin").display()))
            .without_env("XDG_CONFIG_HOME")
            .without_env("DOCKER_CONFIG")
            .without_env("REGISTRY_AUTH_FILE")
            .limit(60)
    }

    /// The directory with the tests' own authority.
    fn trust(&self) -> String {
        let directory = self.bench.mkdir("trust");
        write(directory.join("ca.crt"), include_bytes!("../../src/store/registry/testdata/ca.crt"));
        directory.to_string_lossy().into_owned()
    }

    fn login(&self, host: &str) {
        let output = self.rbox(&["login", "-u", "me", "--password-stdin", host]).stdin(PASSWORD).run().ok();
        assert_eq!(output.out(), "Login Succeeded");
    }

    fn helper(&self, name: &str, script: &str) {
        let program = self.bench.mkdir("bin").join(format!("docker-credential-{name}"));
        write(&program, format!("#!/bin/sh\n{script}\n"));
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    }
}

/// A registry with the small image behind a password.
fn with_password(home: &Home, tls: Option<&str>) -> Guarded {
    registry().small();
    let file = home.bench.path("htpasswd");
    write(&file, HTPASSWD);
    registry().guarded(&format!("auth:\n  htpasswd:\n    realm: tests\n    path: {}\n", file.display()), tls)
}

#[test]
fn a_password_over_tls() {
    let home = Home::new();
    let guarded = with_password(&home, Some(""));
    let (host, trust) = (guarded.host(), home.trust());
    let image = format!("{host}/library/alpine");
    let pull = |more: &[&str]| home.rbox(&[&["pull", "-q", "--cert-dir", &trust][..], more, &[&image]].concat()).run();
    let refused = pull(&[]).refused(1, "authentication required: registry ");
    assert!(refused.err().contains("rbox login"), "{}", refused.err());

    let login = |args: &[&str], password: &str| {
        let words = [&["login", "--cert-dir", &trust][..], args, &[&host]].concat();
        home.rbox(&words).stdin(password.to_owned()).run()
    };
    let wrong = login(&["-u", "me", "--password-stdin"], "hush-wrong").exits(1);
    assert!(wrong.err().contains("unauthorized: incorrect username or password"), "{}", wrong.err());
    assert!(!wrong.report().contains("hush") && !home.path(".docker/config.json").exists());
    login(&["-u", "me"], "").refused(1, "cannot perform an interactive login from a non TTY device");
    login(&["--password-stdin"], PASSWORD).refused(1, "the --password-stdin option requires --username to be set");
    login(&["-u", "me", "-p", "x", "--password-stdin"], "").refused(1, "cannot specify both --password and");

    let right = login(&["-u", "me", "--password-stdin"], &format!("{PASSWORD}\n")).ok();
    assert_eq!(right.out(), "Login Succeeded");
    assert!(right.err().contains("WARNING! Your credentials are stored unencrypted in '"), "{}", right.err());
    assert!(read(home.path(".docker/config.json")).contains(ENCODED));
    assert_eq!(home.rbox(&["login", "--get-login", &host]).ok(), "me");
    assert_eq!(pull(&[]).ok().out(), format!("{image}:latest"));
    // skopeo reads what we wrote.
    let skopeo = crate::common::program("skopeo").args(["inspect", "--cert-dir", &trust, "--raw"]);
    skopeo.arg(format!("docker://{image}")).env("HOME", home.path("")).without_env("XDG_RUNTIME_DIR").ok();

    assert_eq!(home.rbox(&["logout", &host]).ok(), format!("Removing login credentials for {host}"));
    assert_eq!(home.rbox(&["logout", &host]).ok(), format!("Not logged in to {host}"));
    home.rbox(&["login", "--get-login", &host]).run().refused(125, "not logged into");
    pull(&[]).refused(1, "authentication required");
    pull(&["--creds", &format!("me:{PASSWORD}")]).ok();
    pull(&["--creds", "me:hush-wrong"]).refused(1, "unauthorized: incorrect username or password");
}

#[test]
fn a_certificate_of_our_own() {
    let home = Home::new();
    registry().small();
    let trust = home.trust();
    let (key, certificate) = (format!("{trust}/client.key"), format!("{trust}/client.cert"));
    let openssl =
        crate::common::program("openssl").args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=me"]);
    openssl.args(["-days", "3650", "-keyout", &key, "-out", &certificate]).run().ok();
    let guarded = registry().guarded("", Some(&format!("    clientcas:\n      - {certificate}\n")));
    let image = format!("{}/library/alpine", guarded.host());
    let pull = |directory: &str| home.rbox(&["pull", "-q", "--cert-dir", directory, &image]).run();
    pull(&trust).ok();
    // In the directory of the registry, too.
    let place = format!(".config/containers/certs.d/{}", guarded.host());
    for name in ["ca.crt", "client.cert", "client.key"] {
        home.write(&format!("{place}/{name}"), &read(PathBuf::from(&trust).join(name)));
    }
    home.rbox(&["pull", "-q", "--tls-verify", &image]).ok();
    std::fs::remove_file(home.path(&format!("{place}/client.key"))).unwrap();
    home.rbox(&["pull", "-q", &image]).run().refused(1, "client.key: No such file or directory");
    std::fs::remove_file(home.path(&format!("{place}/client.cert"))).unwrap();
    home.rbox(&["pull", "-q", "--tls-verify", &image]).run().refused(1, "cannot reach registry");
}

#[test]
fn helpers_and_unusable_files() {
    let home = Home::new();
    let guarded = with_password(&home, None);
    let host = guarded.host();
    let image = format!("{host}/library/alpine");
    let kept = home.bench.text("kept");
    home.helper(
        "test",
        &format!("case $1 in store) cat >{kept};; get) cat >/dev/null; cat {kept};; erase) rm {kept};; esac"),
    );
    home.write(".docker/config.json", r#"{"credsStore": "test", "other": 1}"#);
    home.login(&host);
    assert!(read(&kept).contains(PASSWORD));
    let file = read(home.path(".docker/config.json"));
    assert!(!file.contains(ENCODED) && file.contains("\"other\": 1") && file.contains(&host), "{file}");
    home.rbox(&["pull", "-q", &image]).ok();
    home.rbox(&["logout", &host]).ok();
    assert!(!PathBuf::from(&kept).exists());
    home.write(".docker/config.json", r#"{"credsStore": "absent"}"#);
    let output = home.rbox(&["pull", "-q", &image]).run().refused(1, "credential helper docker-credential-absent");
    assert!(output.err().contains("there is no such program"), "{}", output.err());
    home.write(".docker/config.json", "{ hush");
    let output = home.rbox(&["pull", "-q", &image]).run().refused(1, ".docker/config.json: it is not a JSON object");
    assert!(!output.err().contains("hush"));
    home.rbox(&["pull", "-q", "--authfile", "/nowhere/auth.json", &image]).run().refused(1, "/nowhere/auth.json");
    // What needs no password asks nobody.
    home.rbox(&["pull", "-q", &registry().small()]).ok();
}

/// A token server for docker-registry, and the registry behind it.
fn with_tokens(home: &Home, seconds: u64) -> (Server, Guarded) {
    let signer = Signer::new(&home.bench.mkdir("signer"));
    let certificate = signer.certificate();
    let server = Server::start(move |request| {
        let basic = request.header("authorization") == Some(&format!("Basic {ENCODED}"));
        let identity = request.body.contains("refresh_token=identity");
        if !basic && !identity {
            return (401, String::new(), r#"{"details":"incorrect username or password"}"#.to_owned());
        }
        let query =
            format!("{}&{}", request.line(), request.body).replace("%3A", ":").replace("%2F", "/").replace("%2C", ",");
        let scope = query.split(['?', '&', ' ']).find_map(|pair| pair.strip_prefix("scope="));
        let token = signer.token(scope, seconds);
        // The client is told nothing of the end: it has to learn it from the registry.
        let name = if identity { "access_token" } else { "token" };
        (200, String::new(), format!(r#"{{"{name}":"{token}","expires_in":3600}}"#))
    });
    let auth = format!(
        "auth:\n  token:\n    realm: http://{}/token\n    service: tests\n    issuer: issuer\n    rootcertbundle: {}\n",
        server.host(),
        certificate.display()
    );
    let guarded = registry().guarded(&auth, None);
    (server, guarded)
}

#[test]
fn tokens_are_fetched_with_the_password_and_renewed() {
    let home = Home::new();
    let layer = |seed| Layer::new().file(&format!("data{seed}"), 0o644, noise(seed, 400_000));
    registry().push_once("tests/layers:latest", || vec![Image::small_with((1..7).map(layer).collect())]);
    let (server, guarded) = with_tokens(&home, 2);
    let proxy = Proxy::before(guarded.port());
    let image = format!("{}/tests/layers", proxy.host());
    home.rbox(&["pull", "-q", &image]).run().refused(1, "pull access denied");
    home.rbox(&["pull", "-q", "--creds", "me:hush-wrong", &image])
        .run()
        .refused(1, "unauthorized: incorrect username or password");
    home.login(&proxy.host());
    let before = server.seen().len();
    // Three layers at a time take longer than a token lives.
    proxy.limit(250_000);
    home.rbox(&["pull", "-q", &image]).ok();
    let tokens = server.seen().len() - before;
    assert!((2..10).contains(&tokens), "{tokens} tokens");
    let asked = server.seen().pop().unwrap();
    assert!(asked.line().contains("scope=repository%3Atests%2Flayers%3Apull"), "{}", asked.line());

    // An identity token goes by POST.
    proxy.limit(0);
    let file = home.bench.text("identity.json");
    write(&file, format!(r#"{{"auths":{{"{}":{{"identitytoken":"identity"}}}}}}"#, proxy.host()));
    home.rbox(&["pull", "-q", "--authfile", &file, &image]).ok();
    let asked = server.seen().pop().unwrap();
    assert!(asked.line().starts_with("POST ") && asked.body.contains("grant_type=refresh_token"), "{asked:?}");
    assert!(!server.traffic().contains("GET /token?identity"));
}

#[test]
fn lists_tags_and_all_of_them() {
    let home = Home::new();
    for tag in ["one", "two"] {
        registry().push_once(&format!("tests/tagged:{tag}"), || vec![crate::common::images::small()]);
    }
    let host = registry().host();
    let (name, catalog) = (format!("{host}/tests/tagged"), format!("{host}/tagg"));
    let tags = home.rbox(&["search", "--list-tags", &name, "--format", "{{.Name}} {{.Tag}}"]).ok();
    assert_eq!(tags.lines().collect::<Vec<_>>(), [format!("{name} one"), format!("{name} two")]);
    assert_eq!(home.rbox(&["search", &catalog, "--format", "{{.Name}}"]).ok(), name);
    assert!(home.rbox(&["search", &catalog]).ok().starts_with("NAME"), "a table");
    let out = home.rbox(&["pull", "--all-tags", &name]).ok();
    assert!(out.contains("one: Pulling from tests/tagged") && out.lines().last() == Some(&name), "{out}");
    for tag in ["one", "two"] {
        home.rbox(&["image", "exists", &format!("{name}:{tag}")]).ok();
    }
    home.rbox(&["pull", "-a", &format!("{name}:one")]).run().refused(1, "tag can't be used with --all-tags/-a");
    home.rbox(&["pull", "-a", &format!("{host}/tests/nothing")]).run().refused(1, "tests/nothing not found");
    let arm = home.rbox(&["pull", "-q", "--arch", "arm64", &format!("{name}:one")]).run().exits(1);
    assert!(arm.err().contains("linux/arm64"), "{}", arm.err());
    // What is here will do when the registry does not answer.
    let gone = format!("{}/a:1", Server::start(|_| (503, String::new(), String::new())).host());
    home.rbox(&["tag", &format!("{name}:one"), &gone]).ok();
    let kept = home.rbox(&["pull", "-q", "--policy", "newer", "--retry", "0", &gone]).run().ok();
    assert!(kept.out() == gone && kept.err().contains("keeping the "), "{}", kept.report());
}

#[test]
fn registries_conf_rules() {
    let home = Home::new();
    registry().small();
    let (own, dead) = (registry().host(), Server::start(|_| (500, String::new(), String::new())));
    home.write(
        ".config/containers/registries.conf",
        &format!(
            r#"
        [[registry]]
        location = "mirrored.example"
        [[registry.mirror]]
        location = "{}"
        [[registry.mirror]]
        location = "{own}"
        [[registry]]
        prefix = "moved.example/team"
        location = "{own}/library"
        [[registry]]
        prefix = "*.blocked.example"
        blocked = true
        [aliases]
        "shorty" = "{own}/library/alpine"
        "#,
            dead.host()
        ),
    );
    let output = home.rbox(&["pull", "--retry", "0", "mirrored.example/library/alpine"]).run().ok();
    assert!(output.report().contains(&dead.host()), "{}", output.report());
    home.rbox(&["pull", "-q", "moved.example/team/alpine"]).ok();
    home.rbox(&["image", "exists", "moved.example/team/alpine"]).ok();
    home.rbox(&["pull", "-q", "a.blocked.example/x"]).run().refused(1, "registry *.blocked.example is blocked in ");
    assert_eq!(home.rbox(&["pull", "-q", "shorty"]).ok(), format!("{own}/library/alpine:latest"));
    assert_eq!(home.rbox(&["run", "--rm", "--pull", "never", "shorty", "echo", "ran"]).ok(), "ran");
    // Own settings come first.
    let config = home.bench.text("own.toml");
    write(&config, format!("[mirrors]\n\"mirrored.example\" = [\"{own}\"]\n"));
    let output = home.rbox(&["pull", "mirrored.example/library/alpine"]).env("RBOX_CONFIG", &config).run().ok();
    assert!(!output.report().contains(&dead.host()), "{}", output.report());
    home.write(".config/containers/registries.conf.d/bad.conf", "[[registry]]\nprefix = 'x y'\n");
    home.rbox(&["pull", "-q", "shorty"]).run().refused(1, "bad.conf: registry \"x y\": its prefix is no host");
    home.rbox(&["ps"]).ok();
}

#[test]
fn short_names_are_looked_for_in_turn() {
    let home = Home::new();
    registry().small();
    let (own, conf) = (registry().host(), ".config/containers/registries.conf");
    let other = crate::common::registry::Registry::start();
    let empty = other.host();
    let search = |more: &str| format!("unqualified-search-registries = [\"{empty}\", \"{own}\"]\n{more}");
    let name = "library/alpine";
    home.write(conf, &search("short-name-mode = 'enforcing'"));
    let refused = home.rbox(&["pull", "-q", name]).run().refused(1, "give the whole name");
    assert!(refused.err().contains(&format!("{empty}/{name}:latest, {own}/{name}:latest")), "{}", refused.report());

    home.write(conf, &search(""));
    let lost = home.rbox(&["pull", "-q", "--retry", "0", "lost"]).run().refused(1, "none of the registries that are");
    assert!(lost.err().contains(&format!("{empty}/lost:latest: ")), "{}", lost.report());
    assert!(lost.err().contains(&format!("{own}/lost:latest: ")), "{}", lost.report());
    let missing = home.rbox(&["run", "--rm", "lost"]).run().exits(125);
    assert!(missing.err().contains("none of the registries that are searched has lost"), "{}", missing.report());
    home.rbox(&["pull", "--creds", "me:x", name]).run().refused(1, "--creds is for one registry");
    let tags = home.rbox(&["search", "--list-tags", "--format", "{{.Name}}", name]).ok();
    assert!(tags.starts_with(&format!("{own}/{name}")), "{tags}");
    home.rbox(&["manifest", "inspect", name]).ok();

    let ran = home.rbox(&["run", "--name", "c", name, "echo", "ran"]).run().ok();
    assert_eq!(ran.out(), "ran", "{}", ran.report());
    let image = format!("{own}/{name}");
    assert!(home.rbox(&["ps", "-a", "--format", "{{.Image}}"]).ok().starts_with(&image));
    home.rbox(&["rm", "c"]).ok();
    assert_eq!(home.rbox(&["pull", "-q", name]).ok(), format!("{image}:latest"));
    home.rbox(&["image", "exists", name]).ok();

    // What is here under the default registry is meant first, and the files are not even looked at.
    home.rbox(&["tag", name, "docker.io/library/here"]).ok();
    home.write(conf, "[");
    assert_eq!(home.rbox(&["run", "--rm", "here", "echo", "ran"]).ok(), "ran");
    home.rbox(&["images"]).ok();
    home.write(conf, &search(""));
    home.rbox(&["rmi", "here"]).ok();
    home.rbox(&["rmi", name]).ok();
    home.rbox(&["image", "exists", name]).run().exits(1);
}

#[test]
fn blocked_and_moved_registries_for_lists() {
    let home = Home::new();
    registry().small();
    let (own, conf) = (registry().host(), ".config/containers/registries.conf");
    home.write(
        conf,
        &format!(
            "[[registry]]\nprefix = 'moved.example/team'\nlocation = '{own}/library'\n\
             [[registry]]\nprefix = 'whole.example'\nlocation = '{own}/library'\n\
             [[registry]]\nprefix = 'shut.example'\nblocked = true\n"
        ),
    );
    let tags = |name: &str| home.rbox(&["search", "--list-tags", "--format", "{{.Name}}:{{.Tag}}", name]).run();
    assert!(tags("moved.example/team/alpine").ok().out().contains("moved.example/team/alpine:latest"));
    tags("shut.example/x").refused(1, "registry shut.example is blocked in ");
    for command in [
        &["search", "shut.example/x"][..],
        &["pull", "-a", "shut.example/x"],
        &["manifest", "inspect", "shut.example/x"],
    ] {
        home.rbox(command).run().refused(1, "registry shut.example is blocked in ");
    }
    let found = home.rbox(&["search", "--format", "{{.Name}}", "whole.example/alpine"]).ok();
    assert!(found.lines().any(|line| line == "whole.example/alpine"), "{found}");
    home.rbox(&["manifest", "inspect", "moved.example/team/alpine"]).ok();
}

#[test]
fn a_token_server_of_another_house_must_be_permitted() {
    let home = Home::new();
    let gate = Server::start(|_| {
        let challenge = "WWW-Authenticate: Bearer realm=\"https://auth.elsewhere.example/token\",service=\"x\"\r\n";
        (401, challenge.to_owned(), String::new())
    });
    let login = |servers: &str| {
        let login = home.rbox(&["login", "-u", "me", "--password-stdin", &gate.host()]).stdin(PASSWORD);
        login.env("RBOX_TOKEN_SERVERS", servers).limit(60).run()
    };
    let other = format!("{}=auth.other.example", gate.host());
    for servers in ["", &other] {
        let refused = login(servers).refused(1, "refused token server auth.elsewhere.example of registry ");
        assert!(refused.err().contains("name it in token-servers"), "{}", refused.report());
    }
    // Asked now, and nowhere to be found.
    let asked = login(&format!("{}=auth.elsewhere.example", gate.host())).exits(1);
    assert!(!asked.err().contains("refused token server"), "{}", asked.report());
    assert!(asked.err().contains("auth.elsewhere.example"), "{}", asked.report());
}

#[test]
fn passwords_are_typed_unseen() {
    let home = Home::new();
    let guarded = with_password(&home, None);
    let host = guarded.host();
    let script = format!(
        "export HOME={} RBOX_CONFIG=; unset XDG_CONFIG_HOME DOCKER_CONFIG REGISTRY_AUTH_FILE\n\
         log() {{ rbox login -u me {host}; echo \"code $?\"; }}\nlog; log; log; stty -a; read -r line",
        home.bench.path("home").display()
    );
    let mut terminal = Terminal::shell(&home.bench, &script);
    terminal.expect("Password: ");
    terminal.line("hush-wrong");
    terminal.expect("incorrect username or password");
    terminal.expect("code 1");
    terminal.expect("Password: ");
    terminal.send("hush-half\x03");
    terminal.expect("code 130");
    terminal.expect("Password: ");
    terminal.line(PASSWORD);
    terminal.expect("Login Succeeded");
    terminal.expect("code 0");
    // As it was before.
    terminal.expect(" icanon ");
    terminal.expect(" echo ");
    terminal.line("seen");
    let shown = terminal.screen();
    assert!(!shown.contains("hush"), "{shown}");
    assert!(read(home.path(".docker/config.json")).contains(ENCODED));
}

#[test]
fn secrets_stay_where_they_belong() {
    let home = Home::new();
    let thief = Server::start(|request| match request.line().contains("/v2/ ") {
        true => (200, String::new(), "{}".to_owned()),
        false => (401, "WWW-Authenticate: Basic realm=\"x\"\r\n".to_owned(), String::new()),
    });
    let stranger = thief.host();
    let lazy = Server::start(move |request| {
        let known = request.header("authorization") == Some(&format!("Basic {ENCODED}"));
        match request.line() {
            _ if !known => (401, "WWW-Authenticate: Basic realm=\"x\"\r\n".to_owned(), String::new()),
            line if line.contains("/v2/ ") => (200, String::new(), "{}".to_owned()),
            line => {
                let path = line.split(' ').nth(1).unwrap_or_default();
                (307, format!("Location: http://{stranger}{path}\r\n"), String::new())
            }
        }
    });
    home.login(&lazy.host());
    let secrets = [PASSWORD, ENCODED];
    let none_in = |text: &str, whose: &str| {
        for secret in secrets {
            assert!(!text.contains(secret), "{secret} in {whose}: {text}");
        }
    };
    // Sent on by the registry, and asked by another one.
    let redirected = home.rbox(&["pull", &format!("{}/a/b", lazy.host())]).run().exits(1);
    none_in(&redirected.report(), "the output");
    assert!(lazy.traffic().contains(ENCODED) && thief.seen().iter().any(|seen| seen.line().contains("/a/b/")));
    let other = home.rbox(&["pull", &format!("{}/a/b", thief.host())]).run().exits(1);
    none_in(&other.report(), "the output");
    home.rbox(&["pull", "--creds", &format!("me:{PASSWORD}"), &format!("{}/a/b", lazy.host())]).run().exits(1);
    none_in(&thief.traffic(), "what others got");
    assert!(!thief.traffic().to_lowercase().contains("authorization:"));

    let (one, two) = (format!("{}/a", lazy.host()), format!("{}/a", thief.host()));
    let several = home.rbox(&["pull", "--creds", &format!("me:{PASSWORD}"), &one, &two]).run();
    none_in(&several.refused(1, "--creds is for one registry").report(), "the output");

    // While it works, the list of processes says nothing.
    let slow = Server::start(|_| {
        std::thread::sleep(Duration::from_secs(4));
        (503, String::new(), String::new())
    });
    let creds = format!("me:{PASSWORD}");
    let running = home.rbox(&["pull", "--retry", "0", "--creds", &creds, &format!("{}/a", slow.host())]).spawn();
    assert!(comes_true(Duration::from_secs(10), || !slow.seen().is_empty()));
    none_in(&read(format!("/proc/{}/cmdline", running.pid())), "the list of processes");
    none_in(&running.wait().report(), "the output");
    let strict = Server::start(|_| (401, "WWW-Authenticate: Basic realm=\"x\"\r\n".to_owned(), String::new()));
    let refused = home.rbox(&["login", "-u", "me", "-p", PASSWORD, &strict.host()]).run().exits(1);
    assert!(refused.err().contains("WARNING! Using --password via the CLI is insecure"), "{}", refused.err());
    none_in(&refused.report(), "the output");
}

#[test]
fn refusals_that_never_end_do() {
    let home = Home::new();
    let limited = Server::start(|request| match request.line().contains("/v2/ ") {
        true => (200, String::new(), "{}".to_owned()),
        false => (429, "Retry-After: 1\r\n".to_owned(), String::new()),
    });
    let output = home.rbox(&["pull", "--retry", "1", &format!("{}/a", limited.host())]).run().exits(1);
    assert!(output.err().contains("429 Too Many Requests"), "{}", output.report());
    assert_eq!(limited.seen().iter().filter(|seen| seen.line().contains("/manifests/")).count(), 2);
    assert!(output.took >= Duration::from_secs(1));
    let forever = Server::start(|request| {
        let host = request.header("host").unwrap_or_default();
        match request.line().contains("/token") {
            true => (200, String::new(), r#"{"token":"x"}"#.to_owned()),
            false => (401, format!("WWW-Authenticate: Bearer realm=\"http://{host}/token\"\r\n"), String::new()),
        }
    });
    let output = home.rbox(&["pull", &format!("{}/a", forever.host())]).run().exits(1);
    assert!(output.err().contains("pull access denied"), "{}", output.err());
    assert!(forever.seen().len() < 8, "{}", forever.traffic());
}
