//! Who the processes of a container are: id maps, users, groups, account files; and the layers that
//! are made for other maps.
//!
//! RBOX_TEST_KILLS says how often the making of such layers is killed at a random moment; 100 in the
//! long run, fewer otherwise.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use crate::common::images::{Image, Layer};
use crate::common::registry::registry;
use crate::common::{Bench, names_in, read, wait_until, write};
use rustix::process::Signal;

fn kills() -> usize {
    std::env::var("RBOX_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(6)
}

fn own() -> (u32, u32) {
    (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw())
}

/// The lines of a map without their alignment.
fn lines(map: &str) -> String {
    let line = |line: &str| line.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
    map.lines().map(line).collect::<Vec<_>>().join(", ")
}

/// The map in force with these flags, and `id`.
fn map(bench: &Bench, image: &str, flags: &[&str]) -> (String, String) {
    let flags = [&["--net", "none"], flags].concat();
    let out = bench.run_rm(&flags, image, &["sh", "-c", "id -u; id -g; cat /proc/self/uid_map"]).ok().out();
    let (uid, rest) = out.split_once('\n').unwrap();
    let (gid, map) = rest.split_once('\n').unwrap();
    (format!("{uid}:{gid}"), lines(map))
}

/// How many ids the tests' user may map besides its own, in the first range.
fn granted(bench: &Bench, image: &str) -> u32 {
    let (_, map) = map(bench, image, &[]);
    let range = map.split(", ").nth(1).expect("subordinate ids");
    range.split(' ').nth(2).unwrap().parse().unwrap()
}

#[test]
fn every_mode_has_its_map() {
    let (bench, image) = Bench::with_image();
    let (uid, gid) = own();
    let count = granted(&bench, &image);
    let (user, kept) = map(&bench, &image, &["--userns", "keep-id"]);
    assert_eq!(user, format!("{uid}:{gid}"));
    let after = uid + 1;
    let above = format!("{after} {after} {}", count - uid);
    assert!(kept.starts_with(&format!("0 1 {uid}, {uid} 0 1, {above}")), "{kept}");
    let (user, kept) = map(&bench, &image, &["--userns", "keep-id:uid=200,gid=210"]);
    assert!(user == "200:210" && kept.starts_with("0 1 200, 200 0 1, 201 201 "), "{user} {kept}");
    assert_eq!(map(&bench, &image, &["--userns=keep-id:size=100,uid=5,gid=5"]).1, "0 1 5, 5 0 1, 6 6 94");
    assert_eq!(map(&bench, &image, &["--userns=keep-id", "-u", "0"]).0, "0:0");
    assert!(map(&bench, &image, &["--userns=nomap"]).1.starts_with(&format!("0 1 {count}")));
    assert_eq!(map(&bench, &image, &["--userns=auto"]).1, "0 1 2001", "the image has a group 2000");
    assert_eq!(map(&bench, &image, &["--userns=auto:size=3000"]).1, "0 1 3000");
    let (user, mapped) = map(&bench, &image, &["--userns", &format!("auto:uidmapping=7:@{uid}:1")]);
    assert_eq!((user.as_str(), mapped.as_str()), ("0:0", "0 1 7, 7 0 1, 8 9 1993"));
    assert_eq!(map(&bench, &image, &["--uidmap", "0:1:10", "--gidmap", "0:0:5"]).1, "0 1 10");
    assert_eq!(map(&bench, &image, &["--uidmap", "0:1:10", "--uidmap", "+100:3:1"]).1, "0 1 2, 3 4 7, 100 3 1");
    assert_eq!(map(&bench, &image, &["--gidmap", "0:0:5"]).1, "0 0 1, 1 1 4");
    let name =
        read("/etc/passwd").lines().find(|line| line.split(':').nth(2) == Some(&uid.to_string())).unwrap().to_owned();
    let name = name.split(':').next().unwrap();
    assert!(map(&bench, &image, &["--subuidname", name]).1.starts_with(&format!("0 1 {count}")));
    // The user's own: there the numbers are those of the host.
    let (_, host) = map(&bench, &image, &["--userns", "host"]);
    assert!(host.starts_with(&format!("0 {uid} 1")), "{host}");
}

#[test]
fn another_containers_user_namespace_is_joined() {
    let (bench, image) = Bench::with_image();
    bench.start(&["--name", "donor", "--net=none", "--userns=keep-id"], &image, &["sleep", "1000"]);
    let flags = ["--net=none", "--userns=container:donor", "--name=guest"];
    bench.start(&flags, &image, &["sh", "-c", "touch /made; sleep 1000"]);
    let namespace = |name: &str| bench.ok(&["exec", name, "readlink", "/proc/self/ns/user"]);
    assert_eq!(namespace("guest"), namespace("donor"));
    wait_until("it made a file", || bench.rbox(&["exec", "guest", "ls", "/made"]).run().ok().out() == "/made");
    assert_eq!(bench.ok(&["exec", "guest", "stat", "-c", "%u", "/made"]), "0");
    assert_ne!(bench.ok(&["exec", "guest", "ls", "/proc/self/ns/pid"]), "");
    bench.ok(&["stop", "-t", "1", "donor"]);
    bench.ok(&["stop", "-t", "1", "guest"]);
    bench.rbox(&["start", "guest"]).run().refused(1, "not running");
}

#[test]
fn files_made_in_a_project_directory_are_the_callers() {
    let (bench, image) = Bench::with_image();
    let project = bench.mkdir("project");
    let volume = format!("{}:/work", project.display());
    write(project.join("source"), "x");
    let flags = ["--net=none", "--userns=keep-id", "-v", &volume, "-w", "/work"];
    let script = "stat -c %u:%g source; touch made; mkdir d; whoami; id -un; echo $HOME; grep -c : /etc/passwd";
    let out = bench.run_rm(&flags, &image, &["sh", "-ec", script]).ok().out();
    let (uid, gid) = own();
    let found: Vec<&str> = out.lines().collect();
    assert_eq!(found[0], format!("{uid}:{gid}"));
    // Whose id the image knows is who the image says.
    let expected = if uid == 1000 { ("alice", "/home/alice", "4") } else { (found[2], "/work", "5") };
    assert_eq!((found[1], found[3], found[4]), expected, "{out}");
    for name in ["made", "d"] {
        let metadata = std::fs::metadata(project.join(name)).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), (uid, gid));
    }
    // Root inside is somebody else outside, and what exec makes is the caller's too.
    bench.start(&[&["--name", "k"], &flags[..]].concat(), &image, &["sleep", "1000"]);
    bench.ok(&["exec", "k", "touch", "executed"]);
    bench.ok(&["exec", "-u", "0", "k", "sh", "-c", "touch roots; echo '1.2.3.4 x' >>/etc/hosts; chown 0 d"]);
    assert_eq!(std::fs::metadata(project.join("executed")).unwrap().uid(), uid);
    let roots = std::fs::metadata(project.join("roots")).unwrap().uid();
    assert!(roots != uid && roots != 0, "{roots}");
    let status = bench.ok(&["exec", "-u", "0", "k", "cat", "/proc/self/status"]);
    assert!(status.contains("CapEff:\t00000000a80425fb"), "docker's set: {status}");
    assert!(bench.ok(&["exec", "k", "cat", "/proc/self/status"]).contains("CapEff:\t0000000000000000"));
    bench.ok(&["exec", "-u", "0", "k", "rm", "-r", "d", "roots"]);
}

#[test]
fn any_user_and_groups() {
    let (bench, image) = Bench::with_image();
    let id = |flags: &[&str]| {
        let flags = [&["--net=none"], flags].concat();
        bench.run_rm(&flags, &image, &["sh", "-c", "id -u; id -g; id -G"]).ok().out().replace('\n', " ")
    };
    assert_eq!(id(&["-u", "10000:20000"]), "10000 20000 20000");
    assert_eq!(id(&["-u", "alice"]), "1000 1000 1000 2000");
    assert_eq!(id(&["-u", "alice", "--group-add", "wheel", "--group-add", "77"]), "1000 1000 1000 10 77 2000");
    assert_eq!(id(&["--group-add", "users"]), "0 0 0 1 10 100");
    let mut kept: Vec<&str> = Vec::new();
    let status = read("/proc/self/status");
    let groups = status.lines().find_map(|line| line.strip_prefix("Groups:")).unwrap();
    kept.extend(groups.split_ascii_whitespace());
    let out =
        bench.run_rm(&["--net=none", "--group-add=keep-groups"], &image, &["grep", "Groups", "/proc/self/status"]);
    assert_eq!(out.ok().out().split_ascii_whitespace().count() - 1, kept.len(), "as many as the caller has");
    let refused = |flags: &[&str], code: i32, text: &str| {
        let flags = [&["--net=none"], flags].concat();
        bench.run_rm(&flags, &image, &["true"]).refused(code, text);
    };
    refused(&["-u", "nosuch"], 125, "unable to find user nosuch: no matching entries in passwd file");
    refused(&["--group-add", "nosuch"], 125, "unable to find group nosuch: no matching entries in group file");
    refused(
        &["--userns=auto:size=100", "-u", "5000"],
        125,
        "user 5000:0 is outside the ids mapped into the container (uids 0 to 99; gids 0 to 99)",
    );
    refused(&["--userns=auto:size=100", "--group-add", "100"], 125, "group 100 is outside the ids mapped");
    refused(
        &["--group-add=keep-groups", "--group-add=5"],
        125,
        "'--group-add keep-groups' option is not allowed with any other",
    );
    bench.no_containers();
}

#[test]
fn account_files_gain_what_is_missing() {
    let (bench, image) = Bench::with_image();
    let cat = |flags: &[&str]| {
        let flags = [&["--net=none"], flags].concat();
        bench.run_rm(&flags, &image, &["sh", "-c", "tail -n 1 /etc/passwd; tail -n 1 /etc/group"]).ok().out()
    };
    let (passwd, group) = ("alice:x:1000:1000:Alice:/home/alice:/bin/sh", "extra:x:2000:alice");
    assert_eq!(cat(&["-u", "alice"]), format!("{passwd}\n{group}"));
    assert_eq!(
        cat(&["-u", "10000:20000", "-w", "/tmp", "--passwd"]),
        "10000:*:10000:20000:container user:/tmp:/bin/sh\n20000:x:20000:10000"
    );
    assert_eq!(cat(&["-u", "10000:20000"]), format!("{passwd}\n{group}"));
    assert_eq!(cat(&["--userns", "keep-id", "--passwd=false"]), format!("{passwd}\n{group}"));
    let entry = "$USERNAME:x:$UID:$GID:A $NAME:$HOME:/bin/false";
    let group_entry = "mine:x:$GID:$USERLIST";
    assert_eq!(
        cat(&["-u", "7777:8888", "--passwd-entry", entry, "--group-entry", group_entry]),
        "7777:x:7777:8888:A container user:/:/bin/false\nmine:x:8888:7777"
    );
    // The host's daemon has no account in the image.
    let daemon = cat(&["--hostuser", "daemon", "-u", "alice"]);
    assert!(daemon.starts_with("daemon:*:1") || daemon.starts_with(passwd), "{daemon}");
    let games = bench.run_rm(&["--net=none", "--hostuser=games", "-u=games"], &image, &["id", "-un"]).ok().out();
    assert_eq!(games, "games");
    // It stays the container's own, and is no change of its files.
    bench.ok(&["run", "--net=none", "--name=k", "-u=4242", "--passwd", &image, "id", "-un"]);
    assert!(!bench.ok(&["diff", "k"]).contains("passwd"));
    assert_eq!(bench.ok(&["start", "-a", "k"]), "4242");
    // A file of the user's is left alone.
    write(bench.path("mine"), "me:x:4242:1::/:\n");
    let volume = format!("{}:/etc/passwd", bench.text("mine"));
    let out =
        bench.run_rm(&["--net=none", "-u=4243", "--passwd", "-v", &volume], &image, &["cat", "/etc/passwd"]).ok().out();
    assert_eq!(out, "me:x:4242:1::/:");
}

#[test]
fn umask_and_names() {
    let (bench, image) = Bench::with_image();
    let run = |flags: &[&str], script: &str| {
        let flags = [&["--net=none"], flags].concat();
        bench.run_rm(&flags, &image, &["sh", "-c", script]).ok().out()
    };
    assert_eq!(run(&[], "umask"), "0022");
    assert_eq!(run(&["--umask", "077"], "umask; touch f; stat -c %a f"), "0077\n600");
    assert_eq!(run(&["--domainname", "example.org"], "cat /proc/sys/kernel/domainname"), "example.org");
    write(bench.path("hosts"), "10.1.2.3 elsewhere");
    assert!(
        run(&["--hosts-file", &bench.text("hosts")], "cat /etc/hosts").starts_with("10.1.2.3 elsewhere\n127.0.1.1")
    );
    assert!(!run(&["--hosts-file", "none"], "cat /etc/hosts").contains("localhost"));
    assert_eq!(run(&["--no-hostname"], "ls /etc/hostname 2>/dev/null; true"), "");
    bench.start(&["--name=k", "--net=none", "--umask=027", "--userns=keep-id"], &image, &["sleep", "1000"]);
    assert_eq!(bench.ok(&["exec", "k", "sh", "-c", "umask"]), "0027");
    let (uid, gid) = own();
    assert_eq!(bench.inspect("k", "{{.HostConfig.UsernsMode}} {{.Config.User}}"), format!("keep-id {uid}:{gid}"));
    let maps = bench.inspect("k", "{{json .HostConfig.IDMappings}}");
    assert!(maps.contains(&format!("\"{uid}:0:1\"")), "{maps}");
}

#[test]
fn leased_ids_are_nobody_elses_until_they_are_given_back() {
    let (bench, image) = Bench::with_image();
    let lease = |name: &str| bench.inspect(name, "{{index .HostConfig.IDMappings.UidMap 0}}");
    let makers: Vec<_> = (0..4)
        .map(|n| bench.rbox(&["create", "--userns=auto:size=1000", "--name", &format!("c{n}"), &image, "true"]).spawn())
        .collect();
    makers.into_iter().for_each(|maker| drop(maker.wait().ok()));
    let mut leases: Vec<String> = (0..4).map(|n| lease(&format!("c{n}"))).collect();
    leases.sort();
    assert_eq!(leases, ["0:1001:1000", "0:1:1000", "0:2001:1000", "0:3001:1000"]);
    let second = (0..4).map(|n| format!("c{n}")).find(|name| lease(name) == "0:1001:1000").unwrap();
    bench.ok(&["rm", &second]);
    bench.ok(&["create", "--userns=auto:size=1000", "--name=next", &image, "true"]);
    assert_eq!(lease("next"), "0:1001:1000");
    bench
        .rbox(&["create", "--userns=auto:size=64000", &image, "true"])
        .run()
        .refused(125, "are free for --userns auto");
}

#[test]
fn bad_values_are_refused_in_one_line() {
    let (bench, image) = Bench::with_image();
    for (flags, text) in [
        (&["--userns=foo"][..], "--userns: invalid USER mode"),
        (&["--userns=ns:/proc/1/ns/user"], "--userns: a path of a user namespace can't be used"),
        (&["--userns=container:nosuch"], "No such container: nosuch"),
        (&["--userns=keep-id:uid=x"], "invalid option \"uid=x\" of keep-id"),
        (&["--userns=keep-id:foo=1"], "invalid option \"foo=1\" of keep-id"),
        (&["--userns=auto:size=0"], "invalid option \"size=0\" of auto"),
        (&["--userns=auto:uidmapping=1:2:3:4"], "UID setting is malformed"),
        (&["--userns=keep-id", "--uidmap=0:0:1"], "conflicting options: --userns and --uidmap"),
        (&["--uidmap=0"], "initializing ID mappings: UID setting is malformed"),
        (&["--gidmap=0:-1:5"], "initializing ID mappings: GID setting is malformed"),
        (&["--uidmap=0:0:1", "--uidmap=0:1:1"], "the id 0 inside is mapped twice"),
        (&["--uidmap=0:100000000:5"], "the ids 100000000 to 100000004 are not among those you may map, which are 0 to"),
        (&["--uidmap=0:@4294967290:1"], "host id 4294967290 is none of yours"),
        (&["--subuidname=nosuch"], "no ranges of \"nosuch\" are in /etc/subuid"),
        (&["--hostuser=nosuch"], "unable to find user nosuch"),
        (&["--umask=999"], "invalid umask 999"),
        (&["--passwd-entry=a:b"], "invalid --passwd-entry a:b: expected one line of 7 fields"),
        (&["--passwd-entry=a:x:0:0::/:/bin/sh\nb:x:0:0::/:/bin/sh"], "invalid --passwd-entry"),
        (&["--group-entry=a"], "invalid --group-entry a"),
        (&["--domainname=a b"], "invalid domain name"),
        (&["--hosts-file=/nonexistent/hosts"], "use the hosts file /nonexistent/hosts"),
    ] {
        let output = bench.rbox(&["create"]).args(flags).args([&image, "true"]).run().refused(125, text);
        assert_eq!(output.err().lines().count(), 1, "{}", output.report());
    }
    let too_far = bench.rbox(&["create", "--uidmap=0:100000000:5", &image, "true"]).run().err();
    assert!(too_far.contains("/etc/subuid") && too_far.contains("administrator"), "{too_far}");
    bench.no_containers();
}

/// Three layers with what shifting could get wrong.
fn tricky() -> Image {
    let long = "d".repeat(200);
    let deep = format!("{long}/{long}/{long}/{long}/{long}/{long}/{long}/{long}/{long}/{long}/{long}");
    let mut bottom = Layer::new()
        .directory("t", 0o755)
        .file("t/first", 0o644, "bottom")
        .hardlink("t/second", "t/first")
        .file("t/replaced", 0o600, "bottom")
        .file("t/pair1", 0o644, "pair")
        .hardlink("t/pair2", "t/pair1")
        .file("t/gone", 0o644, "gone")
        .directory("t/opaque", 0o755)
        .file("t/opaque/old", 0o644, "old")
        .file("t/empty", 0o640, "")
        .file("t/big", 0o644, crate::common::noise(3, 300_000))
        .symlink("t/link", "first")
        .fifo("t/fifo");
    let mut at = String::new();
    for part in deep.split('/') {
        at = if at.is_empty() { format!("t/{part}") } else { format!("{at}/{part}") };
        bottom = bottom.directory(&at, 0o755);
    }
    bottom = bottom.file(&format!("{at}/file"), 0o644, "deep");
    let middle = Layer::new()
        .owned_by(33, 44)
        .file("t/setuid", 0o4755, "#!/bin/sh\n")
        .owned_by(1000, 2000)
        .directory("t/sticky", 0o1777)
        .xattr("user.note", b"hello")
        .file("t/marked", 0o2755, "marked")
        .whiteout("t/gone");
    let top = Layer::new()
        // Its name is the stub's of the other name of the same file below.
        .file("t/first", 0o644, "top")
        .owned_by(7, 8)
        .file("t/replaced", 0o644, "top")
        .directory("t/opaque", 0o700)
        .opaque("t/opaque")
        .file("t/opaque/new", 0o644, "new");
    Image::small_with(vec![bottom, middle, top])
}

/// Everything about the files of a container's /t, as root sees them.
const LIST: &str = "cd /t; find . | sort | while read -r f; do stat -c '%n|%F|%a|%u:%g|%s|%Y|%N' \"$f\"; \
                    if [ -f \"$f\" ]; then md5sum <\"$f\"; fi; done; stat -c '%h %i' pair1 pair2 | uniq | wc -l";

#[test]
fn a_shifted_tree_equals_the_original() {
    let bench = Bench::new();
    let image = registry().push_once("identity/tricky:1", || vec![tricky()]);
    bench.ok(&["pull", "-q", &image]);
    let plain = bench.run_rm(&["--net=none"], &image, &["sh", "-c", LIST]).ok().out();
    assert!(plain.lines().count() > 30 && plain.contains("|4755|33:44|"), "{plain}");
    for flags in [&["--userns=keep-id", "-u=0"][..], &["--userns=nomap"], &["--userns=auto:size=5000"]] {
        let shifted = bench.run_rm(&[&["--net=none"], flags].concat(), &image, &["sh", "-c", LIST]).ok().out();
        assert_eq!(shifted, plain, "{flags:?}");
    }
    // What the map lacks is nobody's, not somebody else's.
    let script = "stat -c %u:%g /t/setuid /t/sticky /t/replaced";
    let few = bench.run_rm(&["--net=none", "--userns=auto:size=40"], &image, &["sh", "-c", script]).ok().out();
    assert_eq!(few, "33:65534\n65534:65534\n7:8");
    // Written to, they are copied up whole.
    let script = "echo more >>/t/big; wc -c </t/big; chmod 600 /t/second; cat /t/second; echo; cat /t/first";
    let out = bench.run_rm(&["--net=none", "--userns=keep-id", "-u=0"], &image, &["sh", "-c", script]).ok().out();
    assert_eq!(out, "300005\nbottom\ntop");
    // A marked program works as such.
    let out = bench.run_rm(&["--net=none", "--userns=keep-id", "-u=0"], &image, &["sh", "-c", "stat -c %a /t/marked"]);
    assert_eq!(out.ok().out(), "2755");
}

#[test]
fn what_such_a_container_changed_has_the_images_ids_again() {
    let bench = Bench::new();
    let image = registry().push_once("identity/tricky:1", || vec![tricky()]);
    bench.ok(&["pull", "-q", &image]);
    let script = "mkdir /t/made; echo x >/t/made/file; chown 33:44 /t/made/file; rm /t/link; echo y >>/t/marked; \
                  chmod 4711 /t/made/file; chmod 700 /t/sticky";
    for (name, flags) in [("plain", &[][..]), ("kept", &["--userns=keep-id", "-u=0"]), ("auto", &["--userns=auto"])] {
        bench.ok(&[&["run", "--net=none", "--name", name], flags, &[&image, "sh", "-ec", script]].concat());
    }
    let stamped = |name: &str| {
        bench.ok(&["commit", "-q", "--timestamp", "1700000000", name, &format!("committed-{name}")]);
    };
    stamped("plain");
    stamped("kept");
    stamped("auto");
    let layer = |name: &str| bench.inspect(&format!("committed-{name}"), "{{json .RootFS.Layers}}");
    assert_eq!(layer("kept"), layer("plain"), "the same layer to the byte");
    assert_eq!(layer("auto"), layer("plain"));
    assert_eq!(bench.ok(&["diff", "kept"]), bench.ok(&["diff", "plain"]));
    let list = "cd /t; find . -not -path './d*' | sort | xargs stat -c '%n %F %a %u:%g %s'";
    let of = |image: &str| bench.run_rm(&["--net=none"], image, &["sh", "-c", list]).ok().out();
    assert_eq!(of("committed-kept"), of("committed-plain"));
    let export = |name: &str| {
        let file = bench.text(&format!("{name}.tar"));
        bench.ok(&["export", "-o", &file, name]);
        let list = crate::common::program("tar").args(["--numeric-owner", "-tvf", &file, "--exclude=*/made*"]).ok();
        let lines: Vec<String> = list.lines().filter(|line| line.contains(" t/")).map(str::to_owned).collect();
        lines
    };
    assert_eq!(export("kept"), export("plain"));
}

fn shifted(bench: &Bench) -> Vec<String> {
    let directory = bench.root().join("shifted");
    if !directory.exists() {
        return Vec::new();
    }
    names_in(&directory).iter().flat_map(|key| names_in(directory.join(key))).collect()
}

#[test]
fn layers_are_made_once_and_go_with_their_image() {
    let bench = Bench::new();
    let image = registry().push_once("identity/many:1", || vec![many()]);
    bench.ok(&["pull", "-q", &image]);
    // Two first starts at once: one works, the other waits.
    let start = || bench.rbox(&["run", "--rm", "--net=none", "--userns=keep-id", &image, "ls", "/many"]).spawn();
    let both = [start(), start()];
    for running in both {
        assert_eq!(running.wait().ok().out().lines().count(), 2000);
    }
    assert_eq!(shifted(&bench).len(), 1);
    let made = |bench: &Bench| {
        let directory = bench.root().join("shifted");
        let key = names_in(&directory).pop().unwrap();
        std::fs::metadata(directory.join(key)).unwrap().mtime_nsec()
    };
    let first = made(&bench);
    bench.run_rm(&["--net=none", "--userns=keep-id"], &image, &["true"]).ok();
    assert_eq!(made(&bench), first);
    let df = bench.ok(&["system", "df", "-v"]);
    let line = df.lines().find(|line| line.starts_with("Layers for other ids")).unwrap_or_else(|| panic!("{df}"));
    assert!(!line.contains(" 0B"), "{line}");
    assert_eq!(bench.ok(&["system", "check"]), "");
    bench.ok(&["run", "--rm", "--net=none", "--userns=nomap", &image, "true"]);
    assert_eq!(shifted(&bench).len(), 2);
    bench.ok(&["system", "prune", "-f"]);
    assert_eq!(shifted(&bench).len(), 0, "what no container uses is pruned");
    bench.run_rm(&["--net=none", "--userns=nomap"], &image, &["true"]).ok();
    assert_eq!(shifted(&bench).len(), 1);
    bench.ok(&["rmi", &image]);
    assert_eq!(shifted(&bench), [""; 0]);
    bench.no_staging();
}

/// An image whose layers take a moment.
fn many() -> Image {
    let mut layer = Layer::new().directory("many", 0o755);
    for n in 0..2000 {
        layer = layer.owned_by(n % 50, n % 7).file(&format!("many/file-{n}"), 0o644, "content");
    }
    Image::small_with(vec![layer])
}

#[test]
fn interrupted_it_leaves_nothing() {
    let bench = Bench::new();
    let image = registry().push_once("identity/many:1", || vec![many()]);
    bench.ok(&["pull", "-q", &image]);
    bench.ok(&["run", "--rm", "--net=none", "--userns=keep-id:uid=5", &image, "true"]);
    let mut interrupted = 0;
    for round in 0..kills() {
        let uid = format!("keep-id:uid={}", 100 + round);
        let signal = if round % 3 == 0 { Signal::INT } else { Signal::KILL };
        let running = bench.rbox(&["run", "--rm", "--net=none", "--userns", &uid, &image, "true"]).spawn();
        std::thread::sleep(Duration::from_millis(20 + 37 * (round as u64 % 9)));
        running.signal(signal);
        let output = running.wait();
        if signal == Signal::INT && output.err().contains("interrupted") {
            bench.no_staging();
            interrupted += 1;
        }
        let found = bench.ok(&["system", "check", "--repair"]);
        assert!(found.is_empty() || found.contains("unfinished"), "{found}");
        assert_eq!(bench.ok(&["system", "check"]), "");
        bench.run_rm(&["--net=none", "--userns", &uid], &image, &["sh", "-c", "ls /many | wc -l"]).ok();
    }
    println!("{interrupted} were interrupted in the middle");
    bench.ok(&["rm", "-fa"]);
    bench.no_containers();
    assert!(Path::new(&bench.root()).join("shifted").exists());
}
