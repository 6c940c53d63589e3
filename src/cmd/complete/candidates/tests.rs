use super::*;
use crate::cmd::complete::line;
use crate::spec::network::NewNetwork;
use crate::store::testing::{TestStore, config, image};

/// What bash would offer for the last word of a line: each candidate as the whole word, an open one
/// with `…`, or where paths begin.
fn offered(store: Option<&Store>, text: &str) -> Vec<String> {
    let mut root = crate::cmd::command();
    root.build();
    let words = line::split(text, "").words;
    let word = words.last().unwrap();
    let completer = Completer { store, by_prefix: true, describe: true };
    let answer = completer.answer(&Position::find(&root, &words), word);
    let before = &word[..answer.at];
    match answer.content {
        Content::Values(candidates) => candidates
            .iter()
            .map(|candidate| format!("{before}{}{}", candidate.text, if candidate.open { "…" } else { "" }))
            .collect(),
        Content::Paths { kind, open } => vec![format!("{before}<{kind:?}>{}", if open { "…" } else { "" })],
    }
}

#[track_caller]
fn check(store: &Store, text: &str, expected: &[&str]) {
    assert_eq!(offered(Some(store), text), expected, "{text}");
}

fn filled() -> TestStore {
    let store = TestStore::new();
    for (name, prefix) in [("alpha", "a1b2"), ("album", "ffff"), ("web", "a1ff")] {
        store.containers().create(config(name, prefix)).unwrap();
    }
    image(&store, &["alpine:3.20", "alpine", "reg.example:5000/team/app:1"], &["x"]);
    store
}

#[test]
fn names_come_from_the_store() {
    let store = filled();
    check(&store, "rbox rm al", &["album", "alpha"]);
    check(&store, "rbox rm alpha al", &["album"]);
    check(&store, "rbox rm -f ", &["album", "alpha", "web"]);
    check(&store, "rbox start w", &["web"]);
    check(&store, "rbox stop ", &[]);
}

#[test]
fn copies_name_containers_or_files() {
    let store = filled();
    check(&store, "rbox cp al", &["album:…", "alpha:…"]);
    check(&store, "rbox cp album:/etc/hosts ", &["<Files>"]);
    check(&store, "rbox cp album:/etc/hosts ./al", &["<Files>"]);
    check(&store, "rbox cp album:", &[]);
}

#[test]
fn images_are_offered_by_tag() {
    let store = filled();
    check(&store, "rbox run -it --rm al", &["alpine:3.20", "alpine:latest"]);
    check(&store, "rbox run alpine:", &["alpine:3.20", "alpine:latest"]);
    check(&store, "rbox rmi reg.example:5000/", &["reg.example:5000/team/app:1"]);
    check(&store, "rbox run ro", &["rootfs:…"]);
    check(&store, "rbox run rootfs:/v", &["rootfs:<Directories>"]);
    check(&store, "rbox run alpine al", &[]);
    check(&store, "rbox inspect al", &["album", "alpha", "alpine:3.20", "alpine:latest"]);
    check(&store, "rbox inspect --type image al", &["alpine:3.20", "alpine:latest"]);
    check(&store, "rbox inspect --type=container al", &["album", "alpha"]);
}

#[test]
fn networks_are_offered() {
    let store = filled();
    store.networks().create(NewNetwork::named("front"), &[]).unwrap();
    check(&store, "rbox network rm ", &["bridge", "front", "host", "none"]);
    check(&store, "rbox network rm front f", &[]);
    check(&store, "rbox network connect fr", &["front"]);
    check(&store, "rbox network connect front al", &["album", "alpha"]);
    check(&store, "rbox network create fr", &[]);
    check(&store, "rbox network reload al", &[]);
    let modes = ["bridge", "front", "host", "none", "container:…", "ns:…", "pasta", "slirp", "slirp4netns"];
    check(&store, "rbox run --network ", &modes);
    check(&store, "rbox run --net=fr", &["--net=front"]);
    check(&store, "rbox run --network ns:/r", &["ns:<Files>"]);
    check(&store, "rbox run --network front:ho", &["front:host-loopback"]);
    check(&store, "rbox run --network front:ip=10.0.0.9,al", &["front:ip=10.0.0.9,alias=…"]);
    check(&store, "rbox ps -f network=f", &["network=front"]);
    check(&store, "rbox network ls -f type=", &["type=builtin", "type=custom"]);
    check(&store, "rbox inspect f", &["front"]);
    check(&store, "rbox inspect --type network f", &["front"]);
    check(&store, "rbox inspect --type container f", &[]);
    let id = store.networks().find("front").unwrap().id;
    check(&store, &format!("rbox network rm {}", &id[..3]), &[&id[..12]]);
}

#[test]
fn ids_are_offered_to_who_types_digits() {
    let store = filled();
    let ids = |text: &str| offered(Some(&store), text);
    let found = ids("rbox rm a1");
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|id| id.len() == 12 && id.starts_with("a1")), "{found:?}");
    assert_eq!(ids("rbox rm a1f").len(), 1);
    assert_eq!(ids("rbox rm a"), ["album", "alpha"]);
    let id = store.images().find("alpine").unwrap().id;
    assert_eq!(ids(&format!("rbox rmi {}", &id.hex()[..4])), [id.short()]);
    assert_eq!(ids(&format!("rbox rmi sha256:{}", &id.hex()[..4])), [id.to_string()]);
}

#[test]
fn values_of_flags() {
    let store = filled();
    check(&store, "rbox run --pull ", &["always", "missing", "never", "newer"]);
    check(&store, "rbox run --rm=", &["--rm=false", "--rm=true"]);
    check(&store, "rbox stop --signal QU", &["QUIT"]);
    check(&store, "rbox stop -sSIGQ", &["-sSIGQUIT"]);
    check(&store, "rbox run --cap-add=NET_B", &["--cap-add=NET_BIND_SERVICE", "--cap-add=NET_BROADCAST"]);
    check(&store, "rbox run --cap-drop CAP_BP", &["CAP_BPF"]);
    check(&store, "rbox run --pid ", &["container:…", "host"]);
    check(&store, "rbox run --pid=container:a", &[]);
    check(&store, "rbox run --env-file=/e", &["--env-file=<Files>"]);
    check(&store, "rbox run --cidfile ", &["<Files>"]);
    check(&store, "rbox --root /", &["<Directories>"]);
    check(&store, "rbox run -w /", &[]);
    check(&store, "rbox run -v ", &["./…", "/…", "~/…"]);
    check(&store, "rbox run -v/s", &["-v<Files>…"]);
    check(&store, "rbox run -v /s:/", &[]);
    check(&store, "rbox run -v /s:/t:ro,rs", &["/s:/t:ro,rslave"]);
    check(&store, "rbox run --mount ty", &["type=…"]);
    check(&store, "rbox run --mount type=bind,source=/", &["type=bind,source=<Files>…"]);
    check(&store, "rbox run --security-opt sec", &["seccomp=…"]);
    check(&store, "rbox run --security-opt seccomp=u", &["seccomp=unconfined"]);
    check(&store, "rbox run --security-opt seccomp=./", &["seccomp=<Files>"]);
    check(&store, "rbox run -a stdi", &["stdin"]);
    check(&store, "rbox start --attach=t", &["--attach=true"]);
    check(&store, "rbox run --log-driver js", &["json-file"]);
    check(&store, "rbox run --log-opt max-s", &["max-size=…"]);
    check(&store, "rbox --set detach", &["detach-keys=…"]);
    check(&store, "rbox run --ulimit no", &["nofile=…"]);
    check(&store, "rbox ps --filter st", &["status=…"]);
    check(&store, "rbox ps -f status=ex", &["status=exited"]);
    check(&store, "rbox ps -f name=w", &["name=web"]);
    check(&store, "rbox images --filter dang", &["dangling=…"]);
    check(&store, "rbox inspect --type i", &["image"]);
}

#[test]
fn commands_and_flags_come_from_the_tree() {
    let store = filled();
    check(&store, "rbox sta", &["start", "stats"]);
    check(&store, "rbox system ch", &["check"]);
    check(&store, "rbox help im", &["image", "images", "import"]);
    check(&store, "rbox help container st", &["start", "stats", "stop"]);
    check(&store, "rbox container rm we", &["web"]);
    check(&store, "rbox image rm alpine:3", &["alpine:3.20"]);
    check(&store, "rbox image inspect al", &["alpine:3.20", "alpine:latest"]);
    check(&store, "rbox container inspect al", &["album", "alpha"]);
    check(&store, "rbox __", &[]);
    check(&store, "rbox rm --f", &["--filter", "--force"]);
    check(&store, "rbox rm --force --f", &["--filter"]);
    check(&store, "rbox run -e A --env", &["--env", "--env-file", "--env-host", "--env-merge"]);
    assert!(offered(Some(&store), "rbox rm -").contains(&"-f".to_owned()));
    assert!(offered(Some(&store), "rbox ").len() > 15);
}

#[test]
fn without_a_store_there_are_no_names_but_all_the_rest() {
    assert_eq!(offered(None, "rbox rm "), [""; 0]);
    assert_eq!(offered(None, "rbox run al"), [""; 0]);
    assert_eq!(
        offered(None, "rbox tag -"),
        ["--cdi-spec-dir", "--config", "--help", "--root", "--runroot", "--set", "-h"]
    );
}

#[test]
fn every_filter_says_which_keys_it_takes() {
    let mut root = crate::cmd::command();
    root.build();
    let mut filters = 0;
    for command in root.get_subcommands() {
        for arg in command.get_arguments().filter(|arg| arg.get_long() == Some("filter")) {
            filters += 1;
            assert!(filter_keys(arg).len() > 1, "the help of {} --filter lists no keys", command.get_name());
        }
    }
    assert!(filters >= 2);
}
