//! `doctor` in broken environments, and the causes that errors of other commands name.

use std::path::Path;
use std::time::Duration;

use crate::common::machine::{Machine, RANGE};
use crate::common::pty::Terminal;
use crate::common::{Bench, Cmd, Output, program, write};
use serde_json::Value;

const WHOLE: Machine = Machine { ranges: RANGE, size: "200m" };

/// What `doctor --json` said.
struct Report {
    document: Value,
    output: Output,
}

impl Report {
    #[track_caller]
    fn of(command: Cmd) -> Self {
        let output = command.limit(30).run();
        let document: Value = serde_json::from_str(&output.out())
            .unwrap_or_else(|error| panic!("no JSON document: {error}\n{}", output.report()));
        let failed = document["summary"]["fail"].as_u64().expect("a number") > 0;
        assert_eq!(output.code, i32::from(failed), "{}", output.report());
        assert_eq!(output.stderr, b"", "{}", output.report());
        Self { document, output }
    }

    /// In a machine, spoilt by its root, after `before` by its user.
    #[track_caller]
    fn in_machine(machine: &Machine, spoil: &str, before: &str) -> Self {
        let bench = Bench::new();
        Self::of(machine.spoiled(&bench, spoil, &format!("{before}\nrbox doctor --json")))
    }

    #[track_caller]
    fn check(&self, code: &str) -> &Value {
        let checks = self.document["checks"].as_array().expect("a list");
        checks
            .iter()
            .find(|check| check["code"] == code)
            .unwrap_or_else(|| panic!("no check {code}\n{}", self.output.report()))
    }

    fn lines(&self, code: &str) -> Vec<String> {
        let mend = self.check(code)["mend"].as_array().expect("a list").clone();
        mend.iter().map(|mend| mend["line"].as_str().expect("a line").to_owned()).collect()
    }

    /// The check ended so, says so, and one of the lines that mend it holds `line`.
    #[track_caller]
    fn says(&self, code: &str, status: &str, summary: &str, line: &str) {
        let check = self.check(code);
        let text = check["summary"].as_str().expect("a text");
        assert!(check["status"] == status && text.contains(summary), "{code} is {check:#}");
        assert!(self.lines(code).iter().any(|mend| mend.contains(line)), "no {line:?} in {check:#}");
        assert!(!check["why"].as_str().expect("a text").is_empty());
    }

    #[track_caller]
    fn passes(&self, code: &str) {
        assert_eq!(self.check(code)["status"], "pass", "{code} is {:#}", self.check(code));
    }
}

#[test]
fn a_whole_machine_passes_in_a_second() {
    let bench = Bench::new();
    let report = Report::of(WHOLE.script(&bench, "rbox doctor --json"));
    for code in [
        "kernel",
        "system-calls",
        "user-namespaces",
        "nested-container",
        "proc-mount",
        "id-map-helpers",
        "id-map",
        "path-access",
        "store",
        "read-only",
        "noexec-mount",
        "inodes",
        "store-content",
        "overlayfs",
        "seccomp",
        "open-files",
        "processes",
    ] {
        report.passes(code);
    }
    // The machine has few ids, and a small disk in memory.
    report.says("subordinate-ids", "warn", "grants user 40000 ids, images expect 65536", "usermod --add-subuids ");
    report.says("disk-space", "warn", "MiB free of 200.0 MiB on /mnt", "rbox rmi");
    report.says("store-file-system", "warn", "tmpfs on /mnt", "RBOX_ROOT=/var/tmp/");
    assert_eq!(report.document["summary"]["fail"], 0, "{}", report.output.report());
    let took = bench.rbox(&["doctor"]).run().took;
    assert!(took < Duration::from_secs(2), "{took:?}");
    bench.no_staging();
    bench.no_processes();
}

#[test]
fn no_subordinate_ids() {
    let report = Report::in_machine(&Machine { ranges: "", size: "200m" }, "", "");
    let line = "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 user";
    report.says("subordinate-ids", "fail", "no range for user in /etc/subuid", line);
    assert_eq!(report.check("id-map")["status"], "skipped");
    report.passes("user-namespaces");
    // Somebody else's range is not offered again.
    let report = Report::in_machine(&Machine { ranges: "other:100000:65536\n", size: "200m" }, "", "");
    report.says("subordinate-ids", "fail", "no range for user", "usermod --add-subuids 165536-231071");
}

#[test]
fn subordinate_ids_that_overlap() {
    let machine = Machine { ranges: "user:2000:65536\nother:3000:10\n", size: "200m" };
    let report = Report::in_machine(&machine, "", "");
    report.says("subordinate-ids", "warn", "also other's", "give user the line: user:");
}

#[test]
fn no_id_map_helpers() {
    let hidden = "for helper in newuidmap newgidmap; do umount /usr/bin/$helper; rm $files/$helper; mount --bind /dev/null /usr/bin/$helper; done";
    let report = Report::in_machine(&WHOLE, hidden, "");
    let install = report.lines("id-map-helpers");
    report.says("id-map-helpers", "fail", "newgidmap is not installed", "");
    // Whatever the distribution is: its own package manager.
    let release = crate::common::read("/etc/os-release");
    if release.lines().any(|line| line == "ID=debian" || line == "ID=ubuntu") {
        assert_eq!(install, ["apt-get install uidmap"]);
    }
    // Installed, but where PATH does not lead.
    let report = Report::in_machine(&WHOLE, "rm $files/new*", "PATH=/nowhere");
    report.says("id-map-helpers", "fail", "/usr/bin/newgidmap is not on the PATH", "export PATH=\"$PATH:/usr/bin\"");
}

#[test]
fn id_map_helpers_without_privilege() {
    let report = Report::in_machine(&WHOLE, "chmod u-s $files/newuidmap; rm $files/newgidmap", "");
    report.says(
        "id-map-helpers",
        "fail",
        "newuidmap is neither setuid root nor has it a file capability",
        "chmod u+s /",
    );
    // On a mount that takes the bit's effect away.
    let report = Report::in_machine(&WHOLE, "mount -o remount,nosuid,mode=755 none $files", "");
    report.says("id-map-helpers", "fail", "which is mounted nosuid", "mount -o remount,suid /");
    // And by no_new_privs.
    let report = Report::in_machine(&WHOLE, "", "rbox() { setpriv --no-new-privs \"$RBOX_BIN\" \"$@\"; }");
    report.says("id-map-helpers", "fail", "no_new_privs is set", "NoNewPrivileges=no");
}

#[test]
fn user_namespaces_switched_off() {
    let off = "echo 0 >/proc/sys/user/max_user_namespaces";
    let report = Report::in_machine(&WHOLE, off, "");
    let line = "sysctl -w user.max_user_namespaces=15000";
    report.says("user-namespaces", "fail", "user.max_user_namespaces is 0", line);
    for code in ["proc-mount", "id-map", "overlayfs", "nf-tables"] {
        assert_eq!(report.check(code)["status"], "skipped", "{code} was not asked");
    }
    // Other commands say the same.
    let bench = Bench::new();
    let output = WHOLE.spoiled(&bench, off, "rbox run --rm rootfs:/ true").run();
    let expected = format!("user.max_user_namespaces is 0 [user-namespaces]; an administrator runs: {line}");
    output.refused(125, &expected);
}

#[test]
fn a_seccomp_filter_in_the_way() {
    let bench = Bench::new();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/forbid.py");
    let (unshare, clone3) = (nix::libc::SYS_unshare, nix::libc::SYS_clone3);
    let run = |how: &str, calls: &str| {
        let command = program("python3").arg(&script).args([how, calls]).arg(crate::common::rbox_program());
        Report::of(bench.environment(command.args(["doctor", "--json"])))
    };
    let report = run("errno=1", &format!("{unshare}"));
    report.says("user-namespaces", "fail", "refused by a seccomp filter", "seccomp=unconfined");
    // As older docker does with clone3.
    let report = run("errno=38", &format!("{clone3}"));
    report.says("system-calls", "fail", "clone3 is hidden by a seccomp filter", "seccomp=unconfined");
    report.passes("user-namespaces");
    // One that kills takes only the attempt with it.
    let report = run("kill", &format!("{unshare},{clone3}"));
    report.says("system-calls", "fail", "a seccomp filter killed the attempt", "seccomp=unconfined");
    assert_eq!(report.check("user-namespaces")["status"], "fail");
    assert!(report.check("user-namespaces")["summary"].as_str().unwrap().contains("seccomp filter kills"));
}

#[test]
fn a_proc_with_covered_parts() {
    let report = Report::in_machine(&WHOLE, "mount -t tmpfs none /proc/sys/kernel", "");
    report.says("proc-mount", "fail", "parts of the /proc here are covered", "systempaths=unconfined");
    report.passes("user-namespaces");
}

#[test]
fn a_store_on_noexec() {
    let spoil = "mkdir /mnt/home/s; mount -t tmpfs -o noexec,size=100m none /mnt/home/s; chown 1000:1000 /mnt/home/s";
    let report = Report::in_machine(&WHOLE, spoil, "export RBOX_ROOT=/mnt/home/s/store");
    // A warning, as an overlay is not concerned: that it works is tried.
    let line = "mount -o remount,exec /mnt/home/s";
    report.says("noexec-mount", "warn", "/mnt/home/s is mounted noexec", line);
    report.passes("overlayfs");
}

#[test]
fn a_full_disk() {
    let fill = "rbox ps >/dev/null; dd if=/dev/zero of=/mnt/home/filler bs=1M 2>/dev/null";
    let report = Report::in_machine(&Machine { ranges: RANGE, size: "40m" }, "", fill);
    let line = "rbox rm $(rbox ps -aq -f status=exited)";
    report.says("disk-space", "fail", "0 B free of 40.0 MiB on /mnt", line);
    let bench = Bench::new();
    let script = format!("{fill}; rbox run --rm rootfs:/ true; exit $?");
    let output = Machine { ranges: RANGE, size: "40m" }.script(&bench, &script).run();
    assert_eq!(output.code, 125, "{}", output.report());
    let expected = format!("no space is left on /mnt [disk-space]; run: {line}");
    assert!(output.err().contains(&expected), "{}", output.report());
}

#[test]
fn no_inodes() {
    let spoil = "mkdir /mnt/home/s; mount -t tmpfs -o nr_inodes=60 none /mnt/home/s; chown 1000:1000 /mnt/home/s";
    let before = "export RBOX_ROOT=/mnt/home/s/store; rbox ps >/dev/null; (while echo >/mnt/home/s/f$((++i)); do :; done) 2>/dev/null";
    let report = Report::in_machine(&WHOLE, spoil, before);
    report.says("inodes", "fail", "0 free of 60 on /mnt/home/s", "rbox rmi");
    let bench = Bench::new();
    let output = WHOLE.spoiled(&bench, spoil, &format!("{before}; rbox run --rm rootfs:/ true")).run();
    assert!(output.err().contains("no inode is left on /mnt/home/s, of 60"), "{}", output.report());
    assert!(output.err().contains("[inodes]; run: rbox rm"), "{}", output.report());
}

#[test]
fn no_runtime_directory() {
    let report = Report::in_machine(&WHOLE, "", "unset XDG_RUNTIME_DIR");
    report.says(
        "runtime-directory",
        "warn",
        "XDG_RUNTIME_DIR is not set; /tmp/rbox-1000 is used",
        "export XDG_RUNTIME_DIR=/run/user/1000",
    );
    let report = Report::in_machine(&WHOLE, "", "export XDG_RUNTIME_DIR=/nowhere/at/all");
    report.says("runtime-directory", "warn", "(/nowhere/at/all) does not exist", "/run/user/1000");
    let report = Report::in_machine(&WHOLE, "", "chmod 755 /mnt/run");
    report.says("runtime-directory", "warn", "(/mnt/run) is open to other users (mode 0755)", "chmod 0700 /mnt/run");
    let report = Report::in_machine(&WHOLE, "mkdir -m 700 /mnt/theirs", "export XDG_RUNTIME_DIR=/mnt/theirs");
    report.says("runtime-directory", "warn", "belongs to uid 0, not to uid 1000", "/run/user/1000");
    Report::in_machine(&WHOLE, "", "").passes("runtime-directory");
}

#[test]
fn a_parent_directory_that_cannot_be_entered() {
    // One's own, on the way to the store.
    let before = "mkdir -p ~/a/b; chmod 600 ~/a; export RBOX_ROOT=~/a/b/store";
    let report = Report::in_machine(&WHOLE, "", before);
    report.says(
        "path-access",
        "fail",
        "directory /mnt/home/a lacks x for uid 1000 (mode 0600",
        "chmod u+x /mnt/home/a",
    );
    assert_eq!(report.check("store")["status"], "skipped");
    // Somebody else's, with a blank in its name.
    let spoil = "mkdir -m 700 '/mnt/their own'; mkdir '/mnt/their own/b'; chown 1000 '/mnt/their own/b'";
    let before_theirs = "export RBOX_ROOT='/mnt/their own/b/store'";
    let report = Report::in_machine(&WHOLE, spoil, before_theirs);
    report.says("path-access", "fail", "directory /mnt/their own lacks x", "chmod o+x '/mnt/their own'");
    // A store that cannot be made for want of w.
    let report = Report::in_machine(&WHOLE, "", "mkdir -m 500 ~/a; export RBOX_ROOT=~/a/store");
    report.says("path-access", "fail", "/mnt/home/a lacks w for uid 1000", "chmod u+w /mnt/home/a");
    // Other commands say the same.
    let bench = Bench::new();
    let output = WHOLE.script(&bench, &format!("{before}; rbox run rootfs:/ true")).run();
    output.refused(125, "directory /mnt/home/a lacks x for uid 1000 (mode 0600, owner 1000:1000) [path-access]; run: chmod u+x /mnt/home/a");
}

#[test]
fn one_processor_and_low_limits() {
    let report =
        Report::in_machine(&WHOLE, "", "rbox() { taskset -c 0 \"$RBOX_BIN\" \"$@\"; }; ulimit -c 0; ulimit -n 64");
    report.says(
        "open-files",
        "fail",
        "64 for each process, up to 64",
        "echo 'user - nofile 524288' >>/etc/security/limits.d/rbox.conf",
    );
    report.says("core-files", "warn", "none can be written", "user hard core unlimited");
    // A soft limit is one's own to raise.
    let report = Report::in_machine(&WHOLE, "", "ulimit -S -n 64; ulimit -S -c 0");
    let hard = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    let hard = hard.map_or_else(|| "unlimited".to_owned(), |hard| hard.to_string());
    report.says("open-files", "warn", "64 for each process", &format!("ulimit -n {hard}"));
    let report = Report::in_machine(&WHOLE, "", "ulimit -u 40");
    report.says("processes", "warn", "of at most 40 processes", "user - nproc");
}

#[test]
fn a_store_that_is_read_only() {
    let spoil = "mkdir /mnt/ro; mount -t tmpfs none /mnt/ro; mkdir /mnt/ro/store; chown 1000:1000 /mnt/ro/store; mount -o remount,ro /mnt/ro";
    let before = "export RBOX_ROOT=/mnt/ro/store";
    let report = Report::in_machine(&WHOLE, spoil, before);
    let line = "mount -o remount,rw /mnt/ro";
    report.says("read-only", "fail", "/mnt/ro is mounted read-only", line);
    report.says("store", "fail", "create the store /mnt/ro/store", line);
    let bench = Bench::new();
    let output = WHOLE.spoiled(&bench, spoil, &format!("{before}; rbox run rootfs:/ true")).run();
    output.refused(125, &format!("/mnt/ro is mounted read-only [read-only]; an administrator runs: {line}"));
}

#[test]
fn devices_that_are_hidden() {
    let report = Report::in_machine(&WHOLE, "mount -t tmpfs -o mode=755 none /dev/net", "");
    report.says("tun", "warn", "/dev/net/tun does not exist", "tun");
    let report = Report::in_machine(
        &WHOLE,
        "mount -t tmpfs -o mode=755 none /dev/net; touch /dev/net/tun; chmod 600 /dev/net/tun",
        "",
    );
    report.says("tun", "warn", "/dev/net/tun may not be opened by uid 1000 (mode 0600", "chmod 0666 /dev/net/tun");
}

#[test]
fn damage_in_the_store() {
    let (bench, image) = Bench::with_image();
    bench.expect_damage();
    Report::of(bench.rbox(&["doctor", "--json"])).passes("store-content");
    let layers = bench.root().join("layers");
    let layer = crate::common::names_in(&layers).pop().expect("a layer");
    std::fs::rename(layers.join(&layer), bench.path("layer")).unwrap();
    let report = Report::of(bench.rbox(&["doctor", "--json"]));
    report.says("store-content", "fail", &layer, "rbox system check --repair");
    bench.rbox(&["system", "check", "--repair"]).run().ok();
    Report::of(bench.rbox(&["doctor", "--json"])).passes("store-content");
    bench.run_rm(&[], &image, &["true"]).ok();
}

#[test]
fn output_for_people_and_for_programs() {
    let bench = Bench::new();
    let output = bench.rbox(&["doctor"]).env("XDG_RUNTIME_DIR", "/nowhere").run().exits_with_one_of(&[0, 1]);
    let text = output.out();
    assert!(!text.contains('\u{1b}') && text.starts_with("ok    kernel "), "{text}");
    let last = text.lines().last().unwrap();
    assert!(last.starts_with("30 checks: ") && last.contains(" failed, "), "{last}");
    // Quietly: problems only, and what mends them.
    let quiet = bench.rbox(&["doctor", "-q"]).run().out();
    let first_words = quiet.lines().filter(|line| !line.starts_with(' ')).map(|line| line.split_whitespace().next());
    assert!(first_words.flatten().all(|word| word == "warn" || word == "FAIL"), "{quiet}");
    // docker's formats.
    let rows = bench.rbox(&["doctor", "--format", "{{.Code}}={{.Status}}"]).run().out();
    assert_eq!(rows.lines().count(), 30);
    assert!(rows.starts_with("kernel=pass\nsystem-calls=pass\n"), "{rows}");
    let table = bench.rbox(&["doctor", "--format", "table"]).run().out();
    assert!(table.starts_with("STATUS "), "{table}");
    let json = bench.rbox(&["doctor", "--format", "json"]).run().out();
    assert!(json.lines().all(|line| serde_json::from_str::<Value>(line).is_ok_and(|row| row["Code"].is_string())));
    bench.rbox(&["doctor", "--format", "{{.Nope}}"]).run().refused(1, "can't evaluate field Nope");
    bench.rbox(&["doctor", "--json", "--format", "json"]).run().refused(125, "cannot be used with");
    // Colours on a terminal, unless they are not wanted.
    let shown = |script: &str| {
        let mut terminal = Terminal::shell(&bench, script);
        terminal.expect("checks: ");
        terminal.screen()
    };
    assert!(shown("rbox doctor").contains("\u{1b}[32mok"));
    assert!(!shown("NO_COLOR=1 rbox doctor").contains('\u{1b}'));
    assert!(!shown("TERM=dumb rbox doctor").contains('\u{1b}'));
}

/// A root directory around busybox.
fn tree(bench: &Bench) -> std::path::PathBuf {
    let root = bench.mkdir("tree");
    for directory in ["bin", "etc", "closed"] {
        std::fs::create_dir_all(root.join(directory)).unwrap();
    }
    std::fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    std::os::unix::fs::symlink("busybox", root.join("bin/sh")).unwrap();
    root
}

fn put(path: &Path, mode: u32, content: impl AsRef<[u8]>) {
    use std::os::unix::fs::PermissionsExt;
    write(path, content);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn why_a_program_cannot_be_executed() {
    let bench = Bench::new();
    let root = tree(&bench);
    let mut foreign = std::fs::read("/bin/busybox").unwrap();
    // e_machine of an architecture that is nobody's here.
    foreign[18..20].copy_from_slice(&22u16.to_le_bytes());
    foreign.truncate(1 << 16);
    // The first bytes of a dynamic program: its headers name a loader that the tree has not.
    let dynamic = std::fs::read("/usr/bin/env").unwrap();
    put(&root.join("text"), 0o755, "echo hello\n");
    put(&root.join("plain"), 0o644, "#!/bin/sh\n");
    put(&root.join("script"), 0o755, "#!/no/such/shell\n");
    put(&root.join("dos"), 0o755, "#!/bin/sh\r\nexit 0\r\n");
    put(&root.join("empty"), 0o755, "");
    put(&root.join("foreign"), 0o755, &foreign);
    put(&root.join("dynamic"), 0o755, &dynamic);
    put(&root.join("private"), 0o700, "#!/bin/sh\n");
    put(&root.join("closed/program"), 0o755, "#!/bin/sh\n");
    std::os::unix::fs::symlink("/gone", root.join("link")).unwrap();
    put(&root.join("good"), 0o755, "#!/bin/sh\nexit 7\n");
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(root.join("closed"), std::fs::Permissions::from_mode(0o700)).unwrap();
    let image = format!("rootfs:{}", root.display());
    for (flags, command, code, words, end) in [
        (&[][..], "/text", 126, "exec format error: /text is a text without a first line #!", "[exec-format]; "),
        (
            &[],
            "/plain",
            126,
            "permission denied: /plain has no x (mode 0644)",
            "[not-executable]; in the image: chmod +x /plain",
        ),
        (
            &[],
            "/script",
            127,
            "no such file or directory: the interpreter /no/such/shell of /script",
            "[missing-interpreter]; ",
        ),
        (
            &[],
            "/dos",
            127,
            "ends in a carriage return after /bin/sh",
            "[missing-interpreter]; in the image: sed -i 's/\\r$//' /dos",
        ),
        (&[], "/empty", 126, "exec format error: /empty is empty", "[exec-format]"),
        (&[], "/foreign", 126, "exec format error: /foreign is a program for s390x", "[wrong-architecture]; "),
        (&[], "/dynamic", 127, "no such file or directory: the dynamic loader of glibc", "[missing-interpreter]; "),
        (&[], "/link", 127, "/link is a link that leads to /gone, which does not exist", "[path-access]"),
        (&[], "/no/way", 127, "/no does not exist", "[path-access]"),
        (
            &["-u", "1000"],
            "/private",
            126,
            "/private lacks x for uid 1000 (mode 0700, owner 0:0)",
            "[not-executable]; ",
        ),
        (
            &["-u", "1000"],
            "/closed/program",
            126,
            "directory /closed lacks x for uid 1000 (mode 0700, owner 0:0)",
            "[path-access]; in the image: chmod o+x /closed",
        ),
        (&["--init"], "/script", 127, "the interpreter /no/such/shell of /script", "[missing-interpreter]; "),
        (&["--init"], "/foreign", 126, "is a program for s390x", "[wrong-architecture]; "),
    ] {
        let output = bench.run_rm(flags, &image, &[command]).refused(code, words);
        let err = output.err();
        assert!(err.starts_with(&format!("rbox: exec: \"{command}\": ")) && err.contains(end), "{err}");
    }
    // docker's words stand alone where they say all.
    for (command, code, text) in [
        ("/absent", 127, "rbox: exec: \"/absent\": no such file or directory"),
        ("absent", 127, "rbox: exec: \"absent\": executable file not found in $PATH"),
        ("/etc", 126, "rbox: exec: \"/etc\": is a directory"),
    ] {
        assert_eq!(bench.run_rm(&[], &image, &[command]).refused(code, "").err(), text);
    }
    bench.run_rm(&[], &image, &["/good"]).exits(7);
}

#[test]
fn a_mount_that_forbids_execution() {
    let bench = Bench::new();
    let root = tree(&bench);
    let image = format!("rootfs:{}", root.display());
    let id = bench.start(&["--tmpfs", "/t:noexec"], &image, &["/bin/busybox", "sleep", "100"]);
    bench.rbox(&["exec", &id, "/bin/busybox", "cp", "/bin/busybox", "/t/program"]).ok();
    let output = bench.rbox(&["exec", &id, "/t/program", "true"]).run();
    output.refused(126, "permission denied: /t/program lies on /t, which is mounted noexec [noexec-mount]; ");
    bench.ok(&["rm", "-f", &id]);
}

#[test]
fn why_a_path_of_the_host_cannot_be_used() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new();
    let image = format!("rootfs:{}", tree(&bench).display());
    let closed = bench.mkdir("closed/inner");
    let outer = closed.parent().unwrap().to_owned();
    let volume = format!("{}:/x", closed.display());
    bench.ok(&["create", "--name", "later", "-v", &volume, &image, "/bin/sh"]);
    let set = |mode| std::fs::set_permissions(&outer, std::fs::Permissions::from_mode(mode)).unwrap();
    set(0o600);
    let outputs = [
        bench.run_rm(&["-v", &volume], &image, &["/bin/sh"]),
        bench.run_rm(&[], &format!("rootfs:{}", closed.display()), &["/bin/sh"]),
    ];
    set(0o700);
    let uid = rustix::process::getuid().as_raw();
    let outer = outer.display();
    for output in outputs {
        let output = output.refused(125, &format!("directory {outer} lacks x for uid {uid} (mode 0600, owner {uid}:"));
        let err = output.err();
        assert!(err.ends_with(&format!(" [path-access]; run: chmod u+x {outer}")), "{err}");
    }
    // Found out by the process that mounts, in the user namespace.
    std::fs::remove_dir(&closed).unwrap();
    let output = bench.rbox(&["start", "-a", "later"]).run();
    let expected = format!("{} does not exist [path-access]", closed.display());
    assert!(output.code != 0 && output.err().contains(&expected), "{}", output.report());
}

/// The machine's root opens the directory of a bind source for `create` and closes it for `start`.
#[test]
fn a_bind_source_that_was_closed_since() {
    let bench = Bench::new();
    let image = tree(&bench);
    let spoil = "mkdir -m 755 /mnt/theirs; mkdir /mnt/theirs/source; chown 1000 /mnt/theirs/source; mkfifo -m 666 /mnt/close; \
        (read <>/mnt/close; chmod 700 /mnt/theirs; touch /mnt/closed) &";
    let script = format!(
        "rbox create --name c -v /mnt/theirs/source:/x rootfs:{} /bin/sh >/dev/null; echo >/mnt/close; \
         until [ -e /mnt/closed ]; do sleep 0.01; done; rbox start -a c",
        image.display()
    );
    let output = WHOLE.spoiled(&bench, spoil, &script).run();
    let expected = "directory /mnt/theirs lacks x for uid 1000 (mode 0700, owner 65534:65534) [path-access]; \
        an administrator runs: chmod o+x /mnt/theirs";
    assert!(output.code != 0 && output.err().contains(expected), "{}", output.report());
}

#[test]
fn a_file_limit_that_is_too_low() {
    let bench = Bench::new();
    let image = format!("rootfs:{}", tree(&bench).display());
    let output = bench.shell(&format!("ulimit -n 9; rbox run --rm {image} /bin/sh -c true")).run();
    assert_eq!(output.code, 125, "{}", output.report());
    assert!(output.err().contains("[open-files]; an administrator runs: echo '"), "{}", output.report());
}

#[test]
fn too_many_processes() {
    let bench = Bench::new();
    let output = WHOLE.script(&bench, "ulimit -u 3; exec \"$RBOX_BIN\" run --rm rootfs:/ true").run();
    assert!(output.code != 0, "{}", output.report());
    assert!(output.err().contains("[processes]; an administrator runs: echo 'user - nproc"), "{}", output.report());
}
