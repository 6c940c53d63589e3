//! Auth files of all shapes, and helpers of all tempers.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::files::{AuthFiles, Kept};
use super::{AuthError, Credentials, Given, Keyring};
use crate::spec::registries::Domain;

struct Home {
    directory: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, content: &Value) {
        std::fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        std::fs::write(self.path(name), content.to_string()).unwrap();
    }

    fn read(&self, name: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.path(name)).unwrap()).unwrap()
    }

    fn files(&self) -> AuthFiles {
        let runtime = self.path("run");
        let variable = move |name: &str| (name == "XDG_RUNTIME_DIR").then(|| runtime.clone().into_os_string());
        AuthFiles::locate(None, variable, Some(self.directory.path()))
    }

    fn user(&self, registry: &str, repository: &str) -> Option<String> {
        match self.files().credentials(&domain(registry), repository).unwrap()? {
            Credentials::Basic { user, .. } => Some(user),
            Credentials::IdentityToken(token) => Some(format!("token {token}")),
        }
    }
}

fn domain(text: &str) -> Domain {
    text.parse().unwrap()
}

fn basic(user: &str, password: &str) -> Credentials {
    Credentials::Basic { user: user.to_owned(), password: password.to_owned() }
}

/// `USER:pw` in base64.
fn auth(user: &str) -> Value {
    use base64::Engine;
    json!({"auth": base64::engine::general_purpose::STANDARD.encode(format!("{user}:pw"))})
}

#[test]
fn the_most_exact_entry_of_the_first_file_counts() {
    let home = Home::new();
    home.write(
        "run/containers/auth.json",
        &json!({"auths": {
        "quay.io/ns/repo": auth("repo"), "quay.io/ns": auth("ns"), "quay.io": auth("host"),
        "token.example": {"identitytoken": "t"}, "empty.example": {}}}),
    );
    home.write(".config/containers/auth.json", &json!({"auths": {"quay.io": auth("later"), "b.example": auth("b")}}));
    home.write(
        ".docker/config.json",
        &json!({"auths": {
        "https://index.docker.io/v1/": auth("hub"), "https://c.example/v2/": auth("c"), "empty.example": auth("e"),
        "named.example": {"username": "u", "password": "p"}}}),
    );
    home.write(".dockercfg", &json!({"old.example": auth("old")}));
    for (registry, repository, expected) in [
        ("quay.io", "ns/repo", Some("repo")),
        ("quay.io", "ns/other", Some("ns")),
        ("quay.io", "ns/repo/deep", Some("repo")),
        ("quay.io", "nsx/repo", Some("host")),
        ("quay.io", "", Some("host")),
        ("b.example", "x", Some("b")),
        ("docker.io", "library/alpine", Some("hub")),
        ("c.example", "x", Some("c")),
        ("c.example:444", "x", None),
        ("empty.example", "x", Some("e")),
        ("named.example", "x", Some("u")),
        ("old.example", "x", Some("old")),
        ("token.example", "x", Some("token t")),
        ("evil.quay.io", "ns/repo", None),
        ("quay.io.evil", "ns/repo", None),
    ] {
        assert_eq!(home.user(registry, repository).as_deref(), expected, "{registry}/{repository}");
    }
}

#[test]
fn what_is_written_keeps_the_rest_and_is_the_owners() {
    let home = Home::new();
    home.write(".docker/config.json", &json!({"psFormat": "x", "auths": {"a.example": auth("a")}, "z": [1]}));
    let files = home.files();
    let kept = files.put(&domain("docker.io"), "", &basic("me", "p:w")).unwrap();
    assert_eq!(kept, Kept::File(home.path(".docker/config.json")));
    assert_eq!(files.credentials(&domain("docker.io"), "library/x").unwrap(), Some(basic("me", "p:w")));
    let written = home.read(".docker/config.json");
    assert_eq!((&written["psFormat"], &written["z"]), (&json!("x"), &json!([1])));
    assert!(written["auths"]["https://index.docker.io/v1/"]["auth"].is_string());
    assert_eq!(written["auths"]["a.example"], auth("a"));
    let mode = std::fs::metadata(home.path(".docker/config.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // Where a file that comes earlier knows the registry, it is changed there.
    home.write("run/containers/auth.json", &json!({"auths": {"a.example": auth("old")}}));
    assert_eq!(
        files.put(&domain("a.example"), "", &basic("new", "")).unwrap(),
        Kept::File(home.path("run/containers/auth.json"))
    );
    assert_eq!(home.user("a.example", "").as_deref(), Some("new"));
    assert!(files.forget(&domain("a.example"), "").unwrap());
    assert_eq!(home.user("a.example", ""), None);
    assert!(!files.forget(&domain("a.example"), "").unwrap());
    files.forget_all().unwrap();
    assert_eq!(home.user("docker.io", ""), None);
    assert_eq!(home.read(".docker/config.json"), json!({"psFormat": "x", "auths": {}, "z": [1]}));
}

#[test]
fn a_new_file_is_made_with_its_directory_and_a_link_stays() {
    let home = Home::new();
    home.files().put(&domain("a.example"), "", &basic("a", "b")).unwrap();
    assert_eq!(std::fs::metadata(home.path(".docker")).unwrap().permissions().mode() & 0o777, 0o700);
    let named = home.path("dots/auth.json");
    std::fs::create_dir(home.path("dots")).unwrap();
    std::fs::write(&named, "").unwrap();
    std::os::unix::fs::symlink(&named, home.path("link")).unwrap();
    let files = AuthFiles::locate(Some(&home.path("link")), |_| None, None);
    files.put(&domain("docker.io"), "", &basic("a", "b")).unwrap();
    files.put(&domain("docker.io"), "ns/repo", &basic("c", "d")).unwrap();
    assert!(std::fs::symlink_metadata(home.path("link")).unwrap().is_symlink());
    let keys = home.read("dots/auth.json")["auths"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys, ["docker.io", "docker.io/ns/repo"]);
    assert!(files.forget(&domain("docker.io"), "ns/repo").unwrap());
    assert_eq!(files.credentials(&domain("docker.io"), "ns/repo").unwrap(), Some(basic("a", "b")));
}

#[test]
fn many_writers_lose_nothing() {
    let home = Home::new();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let files = home.files();
            scope.spawn(move || files.put(&domain(&format!("r{number}.example")), "", &basic("u", "p")).unwrap());
        }
    });
    assert_eq!(home.read(".docker/config.json")["auths"].as_object().unwrap().len(), 8);
    let left = std::fs::read_dir(home.path(".docker")).unwrap().count();
    assert_eq!(left, 1);
}

#[test]
fn files_that_cannot_be_used_are_named_and_not_quoted() {
    let home = Home::new();
    let path = home.path("auth.json");
    let refusal = |content: &str| {
        std::fs::write(&path, content).unwrap();
        let files = AuthFiles::locate(Some(&path), |_| None, None);
        files.credentials(&domain("a.example"), "x").unwrap_err().to_string()
    };
    for (content, why) in [
        ("{secret", "not a JSON object"),
        ("[]", "not a JSON object"),
        ("\"secret\"", "not a JSON object"),
        (r#"{"auths":{"a.example":{"auth":"secret!"}}}"#, "a.example: its auth is not USER:PASSWORD"),
        (r#"{"auths":{"a.example":{"auth":"c2VjcmV0"}}}"#, "a.example: its auth is not USER:PASSWORD"),
        (r#"{"auths":{"a.example":"secret"}}"#, "the entry is not an object"),
    ] {
        let error = refusal(content);
        assert!(error.starts_with(&format!("cannot use the auth file {}: ", path.display())), "{error}");
        assert!(error.contains(why) && !error.contains("secret") && !error.contains("c2Vjc"), "{content}: {error}");
    }
    let absent = AuthFiles::locate(Some(&home.path("none")), |_| None, None);
    assert!(absent.credentials(&domain("a.example"), "").unwrap_err().to_string().contains("none: No such file"));
    assert_eq!(home.user("a.example", ""), None);
    // What cannot be read is never overwritten.
    std::fs::write(&path, "{secret").unwrap();
    assert!(AuthFiles::locate(Some(&path), |_| None, None).put(&domain("a.example"), "", &basic("a", "b")).is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "{secret");
}

#[test]
fn given_credentials_are_for_one_registry() {
    let given = Given { registry: domain("a.example"), credentials: basic("u", "p"), rest: None };
    assert_eq!(given.credentials(&domain("a.example"), "x").unwrap(), Some(basic("u", "p")));
    assert_eq!(given.credentials(&domain("b.example"), "x").unwrap(), None);
    assert!(!format!("{given:?} {:?}", basic("u", "hush")).contains("hush"));
    for (text, expected) in [
        ("u:p", Some(basic("u", "p"))),
        ("u:p:q", Some(basic("u", "p:q"))),
        ("u", Some(basic("u", ""))),
        (":p", None),
        ("", None),
    ] {
        assert_eq!(Credentials::parse(text), expected);
    }
}

/// Puts a helper into the directory.
fn helper(home: &Home, name: &str, script: &str) {
    let program = home.path(&format!("docker-credential-{name}"));
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
}

fn ask(home: &Home, registry: &str) -> Result<Option<Credentials>, AuthError> {
    let files = home.files().with_patience(Duration::from_millis(700)).with_programs(home.directory.path());
    files.credentials(&domain(registry), "x")
}

#[test]
fn helpers_are_asked_in_their_own_language() {
    let home = Home::new();
    let log = home.path("log");
    helper(
        &home,
        "own",
        &format!(
            r#"[ "$1" = get ] || {{ cat >>{log}; exit 0; }}
server=$(cat); echo "$server" >>{log}
case $server in
  https://index.docker.io/v1/) echo '{{"ServerURL":"x","Username":"hub","Secret":"s"}}' ;;
  t.example) echo '{{"Username":"<token>","Secret":"tok"}}' ;;
  *) echo credentials not found in native keychain; exit 1 ;;
esac"#,
            log = log.display()
        ),
    );
    helper(&home, "all", r#"echo '{"Username":"all","Secret":"s"}'"#);
    home.write(
        ".docker/config.json",
        &json!({"credsStore": "all", "auths": {"f.example": auth("file")},
        "credHelpers": {"docker.io": "own", "t.example": "own", "n.example": "own"}}),
    );
    assert_eq!(ask(&home, "docker.io").unwrap(), Some(basic("hub", "s")));
    assert_eq!(ask(&home, "t.example").unwrap(), Some(Credentials::IdentityToken("tok".to_owned())));
    assert_eq!(ask(&home, "n.example").unwrap(), None);
    assert_eq!(ask(&home, "f.example").unwrap(), Some(basic("file", "pw")));
    assert_eq!(ask(&home, "other.example").unwrap(), Some(basic("all", "s")));
    let files = home.files().with_programs(home.directory.path());
    assert_eq!(files.put(&domain("n.example"), "", &basic("u", "p")).unwrap(), Kept::Helper("own".to_owned()));
    assert_eq!(home.read(".docker/config.json")["auths"]["n.example"], json!({}));
    assert!(files.forget(&domain("n.example"), "").unwrap());
    let said = std::fs::read_to_string(log).unwrap();
    assert!(
        said.ends_with("n.example\n{\"ServerURL\":\"n.example\",\"Username\":\"u\",\"Secret\":\"p\"}n.example"),
        "{said}"
    );
}

#[test]
fn helpers_that_fail_are_errors() {
    let home = Home::new();
    for (name, script, part) in [
        ("fails", "echo 'key\u{1b}ring is locked'; exit 1", "docker-credential-fails: key\\u{1b}ring is locked"),
        ("mute", "exit 3", "docker-credential-mute: it failed: exit status: 3"),
        ("garbage", "echo '{\"Secret\": hush'", "docker-credential-garbage: its answer is not the JSON expected"),
        ("endless", "exec cat /dev/zero", "docker-credential-endless: "),
        ("a/b", "", "has no slash"),
        ("absent", "", "there is no such program"),
    ] {
        if !["a/b", "absent"].contains(&name) {
            helper(&home, name, script);
        }
        home.write(".docker/config.json", &json!({"credsStore": name}));
        let error = ask(&home, "a.example").unwrap_err().to_string();
        assert!(error.starts_with("credential helper docker-credential-") && error.contains(part), "{name}: {error}");
        assert!(!error.contains("hush"), "{error}");
    }
}

#[test]
fn a_helper_that_hangs_is_killed_with_what_it_started() {
    let home = Home::new();
    let pids = home.path("pids");
    helper(&home, "hangs", &format!("sleep 300 & echo $$ $! >{}; wait", pids.display()));
    home.write(".docker/config.json", &json!({"credsStore": "hangs"}));
    let started = Instant::now();
    let error = ask(&home, "a.example").unwrap_err().to_string();
    assert!(error.contains("no answer within 700ms"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(10));
    let alive = |pid: &str| {
        let status = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat")).unwrap_or_default();
        status.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(['Z', 'X']))
    };
    let pids = std::fs::read_to_string(pids).unwrap();
    for pid in pids.split_whitespace() {
        let gone = (0..100).any(|_| {
            !alive(pid) || {
                std::thread::sleep(Duration::from_millis(20));
                false
            }
        });
        assert!(gone, "process {pid} of the helper is gone");
    }
    // One that answers and leaves something behind is not waited for.
    helper(&home, "leaves", r#"sleep 3 & echo '{"Username":"u","Secret":"s"}'"#);
    home.write(".docker/config.json", &json!({"credsStore": "leaves"}));
    assert_eq!(ask(&home, "a.example").unwrap(), Some(basic("u", "s")));
}
