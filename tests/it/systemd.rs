//! Containers that boot a whole system: systemd of a Debian that `scripts/test.sh` makes, and what any
//! such container is given and leaves.
//!
//! A cgroup of version 2 must have been handed to the user, with this process in it, as `systemd-run
//! --user --scope -p Delegate=yes` and `scripts/test.sh` do it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::common::pty::Terminal;
use crate::common::{Bench, Cmd, comes_true, names_in, patient, proc, read, wait_until};

/// Our own cgroup's directory; None, with the reason printed, unless cgroups can be made below it.
fn delegated() -> Option<PathBuf> {
    let mounts = read("/proc/mounts");
    let mut fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let mount = fields.find(|fields| fields[2] == "cgroup2").map(|fields| PathBuf::from(fields[1]));
    let own = read("/proc/self/cgroup").lines().find_map(|line| line.strip_prefix("0::/").map(str::to_owned));
    // Where others were to have limits we were moved, and containers' cgroups lie beside ours.
    let above = |own: String| {
        own.strip_suffix("rbox-outside").map_or(own.clone(), |above| above.trim_end_matches('/').to_owned())
    };
    let directory = mount.zip(own.map(above)).map(|(mount, own)| mount.join(own));
    let usable = directory.filter(|directory| {
        let probe = directory.join(format!("probe-{}", std::process::id()));
        std::fs::create_dir(&probe).and_then(|()| std::fs::remove_dir(&probe)).is_ok()
    });
    if usable.is_none() {
        crate::common::skip("no cgroup of version 2 was handed to this user: start the tests by scripts/test.sh");
    }
    usable
}

/// The container's cgroup, which need not be there.
fn cgroup_of(delegated: &Path, id: &str) -> PathBuf {
    delegated.join(format!("rbox-{id}"))
}

/// `exec` of a command in a container.
fn exec(bench: &Bench, container: &str, command: &[&str]) -> Cmd {
    bench.rbox(&["exec", container]).args(command)
}

/// Waits until systemd has started everything; its word for how that went.
#[track_caller]
fn booted(bench: &Bench, container: &str) -> String {
    wait_until("systemd answers", || exec(bench, container, &["test", "-S", "/run/systemd/private"]).run().code == 0);
    exec(bench, container, &["systemctl", "is-system-running", "--wait"]).run().out()
}

/// `scripts/test.sh` names the file; None, with the reason printed, where it did not.
fn debian() -> Option<String> {
    let tar = std::env::var("RBOX_TEST_SYSTEM").ok();
    if tar.is_none() {
        crate::common::skip("RBOX_TEST_SYSTEM names no Debian to boot: start the tests by scripts/test.sh");
    }
    tar
}

#[test]
fn a_debian_boots_to_a_login_works_and_shuts_down() {
    let (Some(delegated), Some(tar)) = (delegated(), debian()) else { return };
    let bench = Bench::new();
    bench.ok(&["import", "-q", "-c", "CMD [\"/sbin/init\"]", &tar, "debian"]);
    let begun = Instant::now();
    let mut console = Terminal::rbox(&bench, &["run", "-it", "--name", "os", "--hostname", "vessel", "debian"]);
    console.expect("vessel login:");
    let state = booted(&bench, "os");
    assert!(begun.elapsed() < patient(Duration::from_secs(15)), "booting took {:?}", begun.elapsed());
    let failed = exec(&bench, "os", &["systemctl", "--failed", "--plain", "--no-legend"]).ok();
    assert_eq!((state.as_str(), failed.as_str()), ("running", ""));

    // Who it is, and where.
    let id = bench.inspect("os", "{{.Id}}");
    assert_eq!(exec(&bench, "os", &["cat", "/etc/machine-id"]).ok(), id[..32]);
    assert_eq!(exec(&bench, "os", &["hostname"]).ok(), "vessel");
    assert_eq!(exec(&bench, "os", &["systemd-detect-virt", "--container"]).ok(), "container-other");
    assert_eq!(bench.inspect("os", "{{.Config.StopSignal}} {{.Config.SystemdMode}}"), "SIGRTMIN+3 true");
    let cgroup = cgroup_of(&delegated, &id);
    assert!(cgroup.join("system.slice/dbus.service").is_dir(), "services have cgroups below the container's");
    let place = exec(&bench, "os", &["sh", "-c", "grep ^0:: /proc/self/cgroup"]).ok();
    assert_eq!(place, "0::/init.scope", "what is executed belongs to the container");

    // Services and the journal, one that fails included.
    let unit =
        "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -c 'echo words of a unit; exit $CODE'\n";
    for (name, code) in [("good", 0), ("bad", 7)] {
        let text = unit.replace("$CODE", &code.to_string());
        let script =
            format!("cat >/etc/systemd/system/{name}.service && systemctl daemon-reload && systemctl start {name}");
        let output = bench.rbox(&["exec", "-i", "os", "sh", "-c", &script]).stdin(text).run();
        assert_eq!(output.code == 0, code == 0, "{}", output.report());
        exec(&bench, "os", &["journalctl", "--sync"]).ok();
        let journal = exec(&bench, "os", &["journalctl", "-u", name, "-o", "cat"]).ok();
        assert!(journal.contains("words of a unit"), "{journal}");
    }
    assert_eq!(exec(&bench, "os", &["systemctl", "is-system-running"]).run().out(), "degraded");
    assert!(exec(&bench, "os", &["systemctl", "--failed", "--plain", "--no-legend"]).ok().starts_with("bad.service"));

    // A clean end, and a second life with the same identity.
    let begun = Instant::now();
    bench.ok(&["stop", "os"]);
    assert!(begun.elapsed() < patient(Duration::from_secs(8)), "stopping took {:?}", begun.elapsed());
    assert_eq!(console.wait(), 0);
    assert_eq!(bench.inspect("os", "{{.State.Status}} {{.State.ExitCode}}"), "exited 0");
    assert!(!cgroup.exists());
    bench.ok(&["start", "os"]);
    assert_eq!(booted(&bench, "os"), "running", "what was started is not enabled");
    assert_eq!(exec(&bench, "os", &["cat", "/etc/machine-id"]).ok(), id[..32]);
    bench.ok(&["rm", "-f", "os"]);
    assert!(!cgroup.exists());
}

const LOOK: &str = "grep -E ' (/run|/run/lock|/tmp|/var/log/journal|/sys/fs/cgroup) ' /proc/mounts | cut -d' ' -f2-4; \
                    echo container=$container; grep ^0:: /proc/self/cgroup";

#[test]
fn always_gives_it_to_any_command_and_false_to_none() {
    if delegated().is_none() {
        return;
    }
    let (bench, root) = Bench::with_image();
    let look = |flags: &[&str]| bench.run_rm(flags, &root, &["sh", "-c", LOOK]).ok().out();
    let given = look(&["--systemd=always", "--shm-size-systemd", "1m", "--tmpfs", "/tmp:size=2m"]);
    for target in ["/run", "/run/lock", "/var/log/journal"] {
        assert!(given.contains(&format!("{target} tmpfs rw,nosuid,nodev,relatime,size=1024k")), "{given}");
    }
    assert!(given.contains("/tmp tmpfs ") && given.contains("size=2048k") && given.contains("container=rbox\n0::/"));
    assert!(given.contains("/sys/fs/cgroup cgroup2 rw,"), "{given}");
    let plain = look(&[]);
    assert!(plain.contains("/sys/fs/cgroup cgroup2 ro,") && plain.contains("container=\n"), "{plain}");
    assert!(!plain.contains("/run ") && !plain.contains("/tmp "), "{plain}");
    // By the command's name, unless told not to.
    let init = |flags: &[&str]| {
        let flags = [flags, &["--entrypoint", "/sbin/init", "-e", "LOOK", "--name", "i"]].concat();
        bench.rbox(&["create"]).args(flags).arg(&root).ok();
        let found = bench.inspect("i", "{{.Config.StopSignal}}");
        bench.ok(&["rm", "i"]);
        found
    };
    assert_eq!(init(&[]), "SIGRTMIN+3");
    assert_eq!(init(&["--systemd=false"]), "SIGTERM");
    assert_eq!(init(&["--init"]), "SIGTERM");
    assert_eq!(init(&["--stop-signal", "PWR"]), "SIGPWR");
}

#[test]
fn bad_input_is_refused() {
    let (bench, root) = Bench::with_image();
    for (flags, code, text) in [
        (&["--systemd=maybe"][..], 125, "--systemd values must be one of \"true\", \"false\" or \"always\""),
        (&["--systemd="], 125, "--systemd values must be one of"),
        (&["--shm-size-systemd", "much"], 125, "invalid"),
        (&["--systemd=always", "--init"], 125, "conflicting options: --init and --systemd=always"),
        (&["--systemd=always", "--pid", "host"], 125, "conflicting options: --pid and --systemd=always"),
    ] {
        bench.run_rm(flags, &root, &["true"]).refused(code, text);
    }
    bench.no_containers();
}

#[test]
fn a_killed_supervisor_leaves_no_process_and_no_cgroup() {
    let Some(delegated) = delegated() else { return };
    let (bench, root) = Bench::with_image();
    let script =
        "cd /sys/fs/cgroup; mkdir -p a/b/c d; (echo 0 >a/b/c/cgroup.procs; exec sleep 1000) & touch /up; sleep 1000";
    for flags in [&["--name", "k"][..], &["--name", "k", "--rm"]] {
        let id = bench.start(&[flags, &["--systemd=always"]].concat(), &root, &["sh", "-c", script]);
        let cgroup = cgroup_of(&delegated, &id);
        wait_until("it is up", || {
            std::fs::read_to_string(cgroup.join("a/b/c/cgroup.procs")).is_ok_and(|list| !list.is_empty())
        });
        let tree = proc::tree(bench.pid("k"));
        assert!(tree.len() >= 2, "{tree:?}");
        proc::kill(bench.supervisor("k"), rustix::process::Signal::KILL);
        tree.into_iter().for_each(|pid| proc::wait_gone(pid, Duration::from_secs(5)));
        assert!(cgroup.is_dir(), "nobody was there to remove it");
        bench.ok(&["system", "check"]);
        assert!(!cgroup.exists());
        assert_eq!(names_in(bench.runroot().join("cgroups")), [""; 0]);
        bench.rbox(&["rm", "-f", "k"]).run();
    }
    // One that could not even start leaves none either.
    bench.run_rm(&["--systemd=always"], &root, &["/no/such/command"]).refused(127, "no such file");
    let left = || names_in(&delegated).iter().any(|name| name.starts_with("rbox-") && delegated.join(name).exists());
    assert!(comes_true(Duration::from_secs(2), || !left() || names_in(bench.runroot().join("cgroups")).is_empty()));
}

#[test]
fn a_cgroup_that_was_not_handed_over_is_an_error_with_its_cure() {
    let Some(delegated) = delegated() else { return };
    let (bench, root) = Bench::with_image();
    let lonely = bench.text("lonely");
    let closed = delegated.join(format!("closed-{}", std::process::id()));
    std::fs::create_dir(&closed).expect("a cgroup of ours");
    let inside = |command: &str| {
        let enter = format!("echo $$ >{0}/cgroup.procs && chmod 555 {0} && {command}", closed.display());
        // A user manager would give it another one.
        let output = bench.shell(&enter).without_env("DBUS_SESSION_BUS_ADDRESS").env("XDG_RUNTIME_DIR", &lonely).run();
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o755)).expect("ours");
        output
    };
    let cure = format!(
        "the cgroup {} is not yours to write to [cgroups]; run: systemd-run --user --scope -p Delegate=yes rbox run ...",
        closed.display()
    );
    inside(&format!("rbox run --name n --systemd=always {root} true")).refused(125, &cure);
    bench.no_containers();
    // Made it can be, and started from elsewhere.
    inside(&format!("rbox create --name n --systemd=always {root} true")).ok();
    inside("rbox start n").refused(1, &cure);
    inside(&format!("rbox run --rm {root} true")).ok();
    bench.ok(&["start", "-a", "n"]);
    wait_until("the closed cgroup is empty", || std::fs::remove_dir(&closed).is_ok());
}
