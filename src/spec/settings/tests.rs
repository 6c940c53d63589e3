use proptest::prelude::*;

use super::*;

const VARIABLES: Variables<'static> = Variables { home: None, uid: 1000 };

fn read(text: &str) -> Result<Settings, String> {
    let mut settings = Settings::default();
    let variables = Variables { home: Some(Path::new("/home/me")), ..VARIABLES };
    settings.read_file("/c", text, variables).map_err(|error| error.to_string())?;
    Ok(settings)
}

fn said(name: &str, value: &str) -> Result<Settings, String> {
    let mut settings = Settings::default();
    let origin = Origin::Variable(Key::find(name).map_or_else(String::new, Key::variable));
    settings.read_text(name, value, origin).map_err(|error| error.to_string())?;
    Ok(settings)
}

fn show(settings: &Settings, name: &str) -> String {
    let (value, origin) = Key::find(name).unwrap().show(settings);
    format!("{value} {origin}")
}

const WHOLE: &str = r#"
root = "$HOME/boxes"
runroot = "/run/user/$UID/boxes"
registry = "quay.io"
insecure-registries = ["registry.example:5000", "10.0.0.1"]
log-driver = "none"
log-max-size = "10m"
log-max-file = 3
detach-keys = "ctrl-x"
network = "host"
pull = "always"
init = true
stop-timeout = -1
seccomp-profile = "/etc/p.json"
layer-max-size = "20g"
layer-max-entries = 5000000
cdi-spec-dirs = ["/etc/cdi", "/opt/cdi"]

[mirrors]
"docker.io" = ["mirror.example", "harbor.example/hub"]

[token-servers]
"registry.example" = ["auth.example:5001"]
"#;

#[test]
fn every_key_is_read_and_knows_its_line() {
    let settings = read(WHOLE).unwrap();
    for (name, expected) in [
        ("root", "\"/home/me/boxes\" /c:2"),
        ("runroot", "\"/run/user/1000/boxes\" /c:3"),
        ("registry", "\"quay.io\" /c:4"),
        ("insecure-registries", "[\"10.0.0.1\",\"registry.example:5000\"] /c:5"),
        ("log-driver", "\"none\" /c:6"),
        ("log-max-size", "\"10m\" /c:7"),
        ("log-max-file", "3 /c:8"),
        ("detach-keys", "\"ctrl-x\" /c:9"),
        ("network", "\"host\" /c:10"),
        ("pull", "\"always\" /c:11"),
        ("init", "true /c:12"),
        ("stop-timeout", "-1 /c:13"),
        ("seccomp-profile", "\"/etc/p.json\" /c:14"),
        ("layer-max-size", "\"20g\" /c:15"),
        ("layer-max-entries", "5000000 /c:16"),
        ("cdi-spec-dirs", "[\"/etc/cdi\",\"/opt/cdi\"] /c:17"),
        ("mirrors", "{\"docker.io\":[\"mirror.example\",\"harbor.example/hub\"]} /c:19"),
        ("token-servers", "{\"registry.example\":[\"auth.example:5001\"]} /c:22"),
    ] {
        assert_eq!(show(&settings, name), expected);
    }
    assert!(KEYS.iter().all(|key| !show(&settings, key.name).ends_with("default")));
    assert!(KEYS.iter().all(|key| show(&Settings::default(), key.name).ends_with(" default")));
}

#[test]
fn the_environment_says_the_same_in_text() {
    for (name, value, expected) in [
        ("root", "relative", "\"relative\" RBOX_ROOT"),
        ("registry", "index.docker.io", "\"docker.io\" RBOX_REGISTRY"),
        (
            "mirrors",
            "docker.io=a.b, docker.io=c.d/e,quay.io=f:1",
            "{\"docker.io\":[\"a.b\",\"c.d/e\"],\"quay.io\":[\"f:1\"]} RBOX_MIRRORS",
        ),
        ("mirrors", "", "{} RBOX_MIRRORS"),
        ("insecure-registries", "a.b,c:5", "[\"a.b\",\"c:5\"] RBOX_INSECURE_REGISTRIES"),
        ("log-max-size", "1500", "\"1500\" RBOX_LOG_MAX_SIZE"),
        ("log-max-size", "-1", "\"-1\" RBOX_LOG_MAX_SIZE"),
        ("log-max-file", "2", "2 RBOX_LOG_MAX_FILE"),
        ("init", "1", "true RBOX_INIT"),
        ("init", "false", "false RBOX_INIT"),
        ("stop-timeout", "0", "0 RBOX_STOP_TIMEOUT"),
        ("seccomp-profile", "unconfined", "\"unconfined\" RBOX_SECCOMP_PROFILE"),
    ] {
        assert_eq!(show(&said(name, value).unwrap(), name), expected);
    }
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (text, expected) in [
        ("log-drivr = 1", "/c:1:1: unknown key \"log-drivr\": did you mean \"log-driver\"?"),
        ("\n\n  registri = \"a.b\"", "/c:3:3: unknown key \"registri\": did you mean \"registry\"?"),
        ("log_max_size = 1", "/c:1:1: unknown key \"log_max_size\": did you mean \"log-max-size\"?"),
        ("[log]\ndriver = 1", "/c:1:2: unknown key \"log\": did you mean \"log-driver\"?"),
        ("colour = 1", "/c:1:1: unknown key \"colour\""),
        ("\"a\\u001b[0m\" = 1", "/c:1:1: unknown key \"a\\u{1b}[0m\""),
        ("init = 1", "/c:1:8: invalid value 1 of init: it must be true or false"),
        ("init = \"true\"", "/c:1:8: invalid value \"true\" of init: it must be true or false"),
        (
            "pull=\"ever\"",
            "/c:1:6: invalid value \"ever\" of pull: it must be \"missing\", \"always\", \"newer\" or \"never\"",
        ),
        ("log-max-file = 0", "/c:1:16: invalid value 0 of log-max-file: it must be a whole number from 1 to 1000"),
        (
            "log-max-file = \"3\"",
            "/c:1:16: invalid value \"3\" of log-max-file: it must be a whole number from 1 to 1000",
        ),
        ("log-max-size = 1.5", "/c:1:16: invalid value 1.5 of log-max-size: it must be a size in powers of 1000"),
        ("stop-timeout = -2", "/c:1:16: invalid value -2 of stop-timeout: it must be whole seconds"),
        ("stop-timeout = 99999999999999999999", "/c:1:16: invalid value 99999999999999999999 of stop-timeout"),
        (
            "network = 7",
            "/c:1:11: invalid value 7 of network: it must be \"bridge\", \"none\", \"host\" or another value of --network",
        ),
        (
            "registry = \"corp\"",
            "/c:1:12: invalid value \"corp\" of registry: it must be a registry's host with optional port, as in \"quay.io\" (a registry's name has a dot or a port, or is localhost)",
        ),
        ("registry = [\"a.b\"]", "/c:1:12: invalid value [\"a.b\"] of registry"),
        ("insecure-registries = [\n \"a.b\",\n \"c d\"]", "/c:3:2: invalid value \"c d\" of insecure-registries"),
        ("insecure-registries = \"a.b\"", "/c:1:23: invalid value \"a.b\" of insecure-registries: it must be a list"),
        ("[mirrors]\ndocker.io = [\"a.b\"]", "/c:2:"),
        ("[mirrors]\n\"docker.io\" = \"a.b\"", "/c:2:15: invalid value \"a.b\" of mirrors: it must be lists"),
        ("[mirrors]\n\"docker.io\" = [\"http://a.b\"]", "/c:2:16: invalid value \"http://a.b\" of mirrors"),
        ("[mirrors]\n\"docker\" = [\"a.b\"]", "/c:2:1: invalid value \"docker\" of mirrors"),
        ("root = \"boxes\"", "/c:1:8: invalid value \"boxes\" of root: it must be the absolute path of a directory"),
        (
            "root = \"~/boxes\"",
            "/c:1:8: invalid value \"~/boxes\" of root: it must be the absolute path of a directory (only $HOME at its start and $UID are replaced)",
        ),
        ("root = \"/x/$USER\"", "/c:1:8: invalid value \"/x/$USER\" of root"),
        ("root = \"$HOMES/x\"", "/c:1:8: invalid value \"$HOMES/x\" of root"),
        ("root = 5", "/c:1:8: invalid value 5 of root"),
        ("seccomp-profile = \"p.json\"", "/c:1:19: invalid value \"p.json\" of seccomp-profile"),
        ("pull = \"missing\"\npull = \"never\"", "/c:2:1: duplicate key"),
        ("pull = ", "/c:1:"),
        ("pull = \"missing", "/c:1:"),
        ("ü = = 1", "/c:1:"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.starts_with(expected), "{text:?} gave {error:?}");
        assert!(!error.contains(['\n', '\u{1b}']), "{error:?}");
    }
    // The first in the file, not in the alphabet.
    assert!(read("pull = 1\ninit = 1").unwrap_err().starts_with("/c:1:8: "));
    let hint = read("[mirrors]\ndocker.io = [\"a.b\"]").unwrap_err();
    assert!(hint.ends_with("(a name with a dot needs quotes, as in \"docker.io\")"), "{hint}");
    let mut settings = Settings::default();
    let homeless = settings.read_file("/c", "root = \"$HOME/x\"", VARIABLES).unwrap_err().to_string();
    assert!(homeless.ends_with("(there is no home directory)"), "{homeless}");
}

#[test]
fn what_is_wrong_elsewhere_names_the_variable() {
    assert_eq!(
        said("log-driver", "gelf").unwrap_err(),
        "RBOX_LOG_DRIVER: invalid value \"gelf\" of log-driver: it must be one of json-file, k8s-file, local, journald, \
         syslog, none, passthrough, passthrough-tty"
    );
    let long = said("pull", &"x\u{1b}".repeat(200)).unwrap_err();
    assert!(long.len() < 500 && !long.contains('\u{1b}'), "{long}");
    for (name, value) in
        [("mirrors", "docker.io"), ("mirrors", "docker=a.b"), ("insecure-registries", "a/b"), ("init", "yes")]
    {
        assert!(said(name, value).is_err(), "{name}={value}");
    }
    let mut settings = Settings::default();
    let error = settings.read_text("rot", "x", Origin::Flag("--set")).unwrap_err().to_string();
    assert_eq!(error, "--set: unknown key \"rot\": did you mean \"root\"?");
    let keys = Setting { value: "ctrl-ü", origin: Origin::File { path: "/c".into(), line: 3, column: 5 } };
    let error = keys.refuse("detach-keys", keys.value, &"no such key").to_string();
    assert_eq!(error, "/c:3:5: invalid value \"ctrl-ü\" of detach-keys: no such key");
}

#[test]
fn later_sources_replace_earlier_ones_whole() {
    let mut settings = read("[mirrors]\n\"docker.io\" = [\"a.b\"]\n\"quay.io\" = [\"a.b\"]").unwrap();
    settings.read_file("/d", "[mirrors]\n\"quay.io\" = [\"c.d\"]", VARIABLES).unwrap();
    assert_eq!(show(&settings, "mirrors"), "{\"quay.io\":[\"c.d\"]} /d:1");
    settings.read_text("mirrors", "ghcr.io=e.f", Origin::Flag("--set")).unwrap();
    assert_eq!(show(&settings, "mirrors"), "{\"ghcr.io\":[\"e.f\"]} --set");
}

#[test]
fn names_follow_one_rule() {
    let forms = |name: &str| Key::find(name).map(|key| (key.variable(), key.field())).unwrap();
    assert_eq!(forms("root"), ("RBOX_ROOT".to_owned(), "Root".to_owned()));
    assert_eq!(forms("log-max-size"), ("RBOX_LOG_MAX_SIZE".to_owned(), "LogMaxSize".to_owned()));
    assert!(KEYS.iter().all(|key| key.variable() != "RBOX_CONFIG"));
    for (typed, meant) in [
        ("logdriver", Some("log-driver")),
        ("LOG-DRIVER", Some("log-driver")),
        ("mirror", Some("mirrors")),
        ("x", None),
        ("", None),
        ("zzzzzzzz", None),
        ("seccomp", Some("seccomp-profile")),
    ] {
        assert_eq!(closest(typed), meant, "{typed}");
    }
}

#[test]
fn comments_empty_files_and_byte_order_marks_are_no_matter() {
    for text in ["", "\n\n", "# nothing\r\n", "\u{feff}", "\u{feff}# x\n"] {
        assert_eq!(read(text).unwrap(), Settings::default(), "{text:?}");
    }
    assert_eq!(show(&read("\u{feff}init = true\r\npull = 'never'\r\n").unwrap(), "pull"), "\"never\" /c:2");
}

fn survives(text: &str) {
    if let Err(error) = read(text) {
        let rest = error.strip_prefix("/c:").unwrap_or_else(|| panic!("{error:?} of {text:?}"));
        let line: usize = rest.split(':').next().unwrap().parse().unwrap();
        assert!((1..=text.lines().count() + 1).contains(&line), "{error:?} of {text:?}");
        assert!(!error.chars().any(char::is_control), "{error:?}");
    }
}

proptest! {
    #[test]
    fn any_text_is_survived(text in "(?s).{0,200}") {
        survives(&text);
    }

    #[test]
    fn any_value_of_a_real_key_is_survived(key in 0..KEYS.len(), value in "[-0-9a-z\"'\\[\\]{}=,.:/$#\\\\ \n\u{e4}]{0,40}") {
        survives(&format!("{} = {value}", KEYS[key].name));
        let mut settings = Settings::default();
        let _ = settings.read_text(KEYS[key].name, &value, Origin::Flag("--set"));
    }

    #[test]
    fn a_damaged_file_is_survived(at in 0..WHOLE.len(), byte in "[\u{0}-\u{7f}]") {
        let mut text = WHOLE.to_owned();
        if text.is_char_boundary(at) && text.is_char_boundary(at + 1) {
            text.replace_range(at..=at, &byte);
        }
        survives(&text);
    }
}
