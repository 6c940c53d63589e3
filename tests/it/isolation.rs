//! What keeps a container in: kernel facts of a plain one, and attempts to get out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::common::images::{Image, Layer};
use crate::common::registry::registry;
use crate::common::{Bench, Output, comes_true, images, proc, read, sha256, wait_until, write};

const ATTACK: &str = include_str!("../data/attack.py");
const WATCH: &str = include_str!("../data/watch.py");

/// docker's default capabilities.
const DEFAULT_CAPS: &str = "00000000a80425fb";
const NO_CAPS: &str = "0000000000000000";

fn last_capability() -> u32 {
    read("/proc/sys/kernel/cap_last_cap").trim().parse().expect("a number")
}

/// Runs the attack script in a container on the host's own userland; it must find nothing.
#[track_caller]
fn attack(bench: &Bench, flags: &[&str], arguments: &[String]) -> Output {
    let mut command = vec!["python3", "-c", ATTACK];
    command.extend(arguments.iter().map(String::as_str));
    let output = bench.run_rm(flags, "rootfs:/", &command).ok();
    assert!(!output.out().contains("BREACH"), "{}", output.report());
    assert!(output.out().contains("done: "), "{}", output.report());
    output
}

#[test]
fn capabilities_seccomp_and_no_new_privileges() {
    let (bench, image) = Bench::with_image();
    let all = format!("{:016x}", (1_u64 << (last_capability() + 1)) - 1);
    let drop_one = format!("{:016x}", 0xa804_25fb_u64 & !(1 << 13));
    let add_one = format!("{:016x}", 0xa804_25fb_u64 | (1 << 12));
    // flags, effective, bounding, seccomp mode, no_new_privs
    let cases: &[(&[&str], &str, &str, &str, &str)] = &[
        (&[], DEFAULT_CAPS, DEFAULT_CAPS, "2", "0"),
        (&["--init"], DEFAULT_CAPS, DEFAULT_CAPS, "2", "0"),
        (&["-t"], DEFAULT_CAPS, DEFAULT_CAPS, "2", "0"),
        (&["-u", "1000"], NO_CAPS, DEFAULT_CAPS, "2", "0"),
        (&["-u", "1000", "--init"], NO_CAPS, DEFAULT_CAPS, "2", "0"),
        (&["--cap-drop", "net_raw"], &drop_one, &drop_one, "2", "0"),
        (&["--cap-add", "NET_ADMIN"], &add_one, &add_one, "2", "0"),
        (&["--cap-drop", "ALL"], NO_CAPS, NO_CAPS, "2", "0"),
        (&["--cap-drop=all", "--cap-add", "CAP_CHOWN"], "0000000000000001", "0000000000000001", "2", "0"),
        (&["--security-opt", "no-new-privileges"], DEFAULT_CAPS, DEFAULT_CAPS, "2", "1"),
        (&["--security-opt", "seccomp=unconfined"], DEFAULT_CAPS, DEFAULT_CAPS, "0", "0"),
        (&["--privileged"], &all, &all, "0", "0"),
        (&["--privileged", "-u", "1000"], NO_CAPS, &all, "0", "0"),
    ];
    for (number, (flags, effective, bounding, seccomp, no_new_privs)) in cases.iter().enumerate() {
        let name = format!("c{number}");
        bench.start(&[&["--name", &name], *flags].concat(), &image, &["sleep", "100"]);
        // From outside, and the command's own rather than --init's.
        let pid = *proc::tree(bench.pid(&name)).last().unwrap();
        let status = proc::status(pid);
        let facts = |status: &BTreeMap<String, String>| {
            ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "Seccomp", "NoNewPrivs"].map(|key| status[key].clone())
        };
        let expected = [NO_CAPS, effective, effective, bounding, NO_CAPS, seccomp, no_new_privs];
        assert_eq!(facts(&status), expected, "run {flags:?}");
        let inside = proc::parse_status(&bench.ok(&["exec", &name, "cat", "/proc/self/status"]));
        assert_eq!(facts(&inside), expected, "exec in {flags:?}");
        bench.ok(&["rm", "-f", &name]);
    }
    bench.start(&["--name", "e"], &image, &["sleep", "100"]);
    let status = proc::parse_status(&bench.ok(&["exec", "-u", "1000", "e", "cat", "/proc/self/status"]));
    assert_eq!(
        [&status["CapEff"], &status["CapPrm"], &status["CapAmb"], &status["CapBnd"]],
        [NO_CAPS, NO_CAPS, NO_CAPS, DEFAULT_CAPS]
    );
    let status = proc::parse_status(&bench.ok(&["exec", "--privileged", "e", "cat", "/proc/self/status"]));
    assert_eq!(status["CapEff"], all);
}

#[test]
fn file_capabilities_and_setuid_gain_no_more_than_the_bounding_set() {
    let bench = Bench::new();
    // cap_net_admin=ep, which the bounding set lacks, and cap_net_raw=ep, which it has; version 2.
    let capability = |bit: u32| {
        let words = [0x0200_0001_u32, 1 << bit, 0, 0, 0];
        words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>()
    };
    let busybox = std::fs::read("/bin/busybox").unwrap();
    let layer = Layer::new()
        .xattr("security.capability", &capability(13))
        .file("raw/cat", 0o755, &busybox)
        .xattr("security.capability", &capability(12))
        .file("admin/cat", 0o755, &busybox);
    let image = registry().push("t/privileges", &[Image::small_with(vec![layer])]);
    bench.ok(&["pull", "-q", &image]);
    let effective = |flags: &[&str], program: &str| {
        let output = bench.run_rm(&[&["-u", "1000"], flags].concat(), &image, &[program, "/proc/self/status"]);
        if output.code == 0 { proc::parse_status(&output.out())["CapEff"].clone() } else { format!("{}", output.code) }
    };
    assert_eq!(effective(&[], "/raw/cat"), format!("{:016x}", 1 << 13), "file capabilities survive pull and run");
    let refused = effective(&[], "/admin/cat");
    assert!(["125", "126"].contains(&refused.as_str()), "more than the bounding set is refused: {refused}");
    assert_eq!(effective(&["--security-opt", "no-new-privileges"], "/raw/cat"), NO_CAPS);
    // busybox gives privileges away by itself, so a setuid program is made of the host's cat.
    let script = "cp /bin/cat /usr/suid; chmod 4755 /usr/suid; exec setpriv --reuid 1000 --clear-groups /usr/suid /proc/self/status";
    for (flags, expected) in [(&[][..], DEFAULT_CAPS), (&["--security-opt", "no-new-privileges"], NO_CAPS)] {
        let output = bench.run_rm(flags, "rootfs:/", &["sh", "-c", script]).ok();
        assert_eq!(proc::parse_status(&output.out())["CapEff"], expected, "{flags:?}");
    }
}

#[test]
fn every_namespace_is_its_own() {
    let (bench, image) = Bench::with_image();
    bench.start(&["--name", "a"], &image, &["sleep", "100"]);
    bench.start(&["--name", "b"], &image, &["sleep", "100"]);
    let (a, b) = (bench.pid("a"), bench.pid("b"));
    for kind in ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"] {
        let (of_a, of_b, host) = (proc::namespace(a, kind), proc::namespace(b, kind), proc::namespace("self", kind));
        assert!(of_a != host && of_b != host && of_a != of_b, "{kind}: {of_a} {of_b} {host}");
    }
    assert!(proc::status(a)["NSpid"].ends_with("\t1"), "the first process of its pid namespace");
    // One user namespace for all supervisors, the parent of each container's.
    let (sa, sb) = (bench.supervisor("a"), bench.supervisor("b"));
    let shared = proc::namespace(sa, "user");
    assert_eq!(shared, proc::namespace(sb, "user"));
    assert_ne!(shared, proc::namespace(a, "user"));
    let own = rustix::process::geteuid().as_raw();
    let map = read(format!("/proc/{a}/uid_map"));
    let first: Vec<&str> = map.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(first, ["0", &own.to_string(), "1"], "root inside is the user outside");
    let ranges = map.lines().count();
    assert!(ranges >= 2, "subordinate ids are mapped: {map}");
}

#[test]
fn the_proc_files_of_the_host_are_masked_or_read_only() {
    let (bench, image) = Bench::with_image();
    let masked = [
        "/proc/acpi",
        "/proc/asound",
        "/proc/interrupts",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/sched_debug",
        "/proc/scsi",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/sys/firmware",
        "/sys/devices/virtual/powercap",
    ];
    let script = "for path; do if [ -d $path ]; then ls -A $path; elif [ -e $path ]; then head -c 100 $path; fi; done";
    let output = bench.run_rm(&[], &image, &[&["sh", "-c", script, "sh"], &masked[..]].concat()).ok();
    assert_eq!(output.out(), "", "masked paths show something");
    let read_only = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger", "/sys"];
    let output = bench.run_rm(&[], &image, &["cat", "/proc/self/mountinfo"]).ok().out();
    let mounts = proc::parse_mounts(&output);
    for path in read_only.iter().filter(|path| Path::new(path).exists()) {
        let mount = proc::mount_at(&mounts, path);
        assert!(mount.options.contains(&"ro".to_owned()), "{mount:?}");
    }
    for path in ["/proc", "/sys", "/dev/mqueue", "/dev/shm", "/dev/pts", "/dev"] {
        let mount = proc::mount_at(&mounts, path);
        assert!(mount.options.contains(&"nosuid".to_owned()), "{mount:?}");
    }
    for mount in &mounts {
        let outside = [bench.root(), PathBuf::from("/home")];
        let bound = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"].contains(&mount.target.as_str());
        assert!(bound || !outside.iter().any(|path| mount.root.starts_with(path.to_str().unwrap())), "{mount:?}");
    }
    let writes = [
        "/proc/sys/kernel/hostname",
        "/proc/sysrq-trigger",
        "/sys/fs/cgroup/cgroup.procs",
        "/proc/sys/net/core/somaxconn",
    ];
    for path in writes {
        bench.run_rm(&[], &image, &["sh", "-c", &format!("echo 1 >{path}")]).exits(1);
    }
}

#[test]
fn devices_are_the_few() {
    let (bench, image) = Bench::with_image();
    let list = "cd /dev; for f in $(ls); do stat -c '%n %F %t:%T %a' $f; done; for l in fd stdin stdout stderr ptmx; do readlink $l; done; ls pts";
    let output = bench.run_rm(&[], &image, &["sh", "-c", list]).ok().out();
    let expected = "fd symbolic link 0:0 777\nfull character special file 1:7 666\nmqueue directory 0:0 1777\n\
        null character special file 1:3 666\nptmx symbolic link 0:0 777\npts directory 0:0 755\n\
        random character special file 1:8 666\nshm directory 0:0 1777\nstderr symbolic link 0:0 777\n\
        stdin symbolic link 0:0 777\nstdout symbolic link 0:0 777\ntty character special file 5:0 666\n\
        urandom character special file 1:9 666\nzero character special file 1:5 666\n\
        /proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\npts/ptmx\nptmx";
    assert_eq!(output, expected);
    let output =
        bench.run_rm(&["-t"], &image, &["sh", "-c", "stat -c '%F %t' /dev/console; echo x >/dev/console"]).ok();
    assert!(output.out().starts_with("character special file 88"), "{}", output.out());
    let usable =
        "echo x >/dev/null && head -c 3 /dev/zero | wc -c && head -c 3 /dev/urandom | wc -c && echo ok >/dev/stderr";
    let output = bench.run_rm(&["-u", "1000"], &image, &["sh", "-c", usable]).ok();
    assert_eq!((output.out(), output.err()), ("3\n3".into(), "ok".into()));
    bench.run_rm(&[], &image, &["sh", "-c", "mknod /tmp/disk b 254 0 && cat /tmp/disk"]).exits(1);
}

#[test]
fn no_descriptor_of_the_host_gets_in() {
    let (bench, image) = Bench::with_image();
    let canary = bench.mkdir("canary");
    write(canary.join("secret"), "of the host");
    let canary = canary.display();
    let list = "ls /proc/self/fd | tr '\\n' ' '";
    // 3 is ls's own.
    for flags in ["", "-i", "--init", "-t"] {
        let script = format!("exec 9<{canary} 17<{canary}/secret; rbox run --rm {flags} {image} sh -c \"{list}\"");
        assert_eq!(bench.shell(&script).run().ok().out().trim(), "0 1 2 3", "run {flags}");
    }
    bench.shell(&format!("exec 9<{canary} 17<{canary}/secret; rbox run -d --name d {image} sleep 100")).run().ok();
    let pid = bench.pid("d");
    assert_eq!(crate::common::names_in(format!("/proc/{pid}/fd")), ["0", "1", "2"]);
    let supervisor = bench.supervisor("d");
    for entry in crate::common::names_in(format!("/proc/{supervisor}/fd")) {
        let target = std::fs::read_link(format!("/proc/{supervisor}/fd/{entry}")).unwrap_or_default();
        assert!(!target.to_string_lossy().contains("canary"), "the supervisor holds {}", target.display());
    }
    let out = bench.shell(&format!("exec 9<{canary}; rbox exec d sh -c \"{list}\"")).run().ok().out();
    assert_eq!(out.trim(), "0 1 2 3");
}

#[test]
fn a_working_directory_cannot_be_a_way_out() {
    let (bench, image) = Bench::with_image();
    let canary = bench.mkdir("canary");
    write(canary.join("secret"), "of the host");
    bench.start(&["--name", "d"], &image, &["sleep", "100"]);
    let script = format!(
        "exec 7<{0} 8<{0} 9<{0} 10<{0}; for n in $(seq 0 24); do
           for way in 'run --rm -w /proc/self/fd/'$n' {image}' 'exec -w /proc/self/fd/'$n' d'; do
             rbox $way sh -c 'ls; pwd; ls -la ../..' 2>&1
           done; done; true",
        canary.display()
    );
    let output = bench.shell(&script).limit(120).run().ok();
    assert!(!output.out().contains("secret"), "{}", output.report());
    for workdir in ["/proc/self/cwd/../../../..", "/proc/1/root", "/proc/self/fd/../../../../.."] {
        let output = bench.run_rm(&["-w", workdir], &image, &["sh", "-c", "ls /etc/os-release && cat /etc/os-release"]);
        assert!(output.code != 0 || output.out().contains("ID=small"), "{}", output.report());
    }
    let image =
        registry().push("t/workdir", &[images::small().config(serde_json::json!({"WorkingDir": "/proc/self/fd/9"}))]);
    bench.ok(&["pull", "-q", &image]);
    let output = bench.shell(&format!("exec 9<{}; rbox run --rm {image} ls; true", canary.display())).run();
    assert!(!output.out().contains("secret"), "{}", output.report());
}

#[test]
fn our_executable_cannot_be_overwritten() {
    let bench = Bench::new();
    let layer = Layer::new().file("entry", 0o755, "#!/proc/self/exe\n").symlink("link", "/proc/self/exe");
    let image = registry().push("t/selfexe", &[Image::small_with(vec![layer])]);
    // A copy that belongs to the user, whom root in the container maps to.
    let copy = bench.path("rbox");
    std::fs::copy(crate::common::rbox_program(), &copy).unwrap();
    let before = sha256(&std::fs::read(&copy).unwrap());
    let rbox = |args: &[&str]| bench.rbox_at(&copy, args).limit(60);
    rbox(&["pull", "-q", &image]).run().ok();
    for entry in ["/entry", "/link", "/proc/self/exe"] {
        // Whatever runs, it is not the user's file that it could write to afterwards.
        rbox(&["run", "--rm", &image, entry]).run();
    }
    let path = copy.display().to_string();
    let mut watcher =
        rbox(&["run", "--rm", "--name", "w", "--privileged", "rootfs:/", "python3", "-c", WATCH, &path]).spawn();
    watcher.expect("watching");
    for _ in 0..25 {
        rbox(&["exec", "w", "true"]).run().ok();
        rbox(&["exec", "-u", "1000", "w", "/proc/self/exe", "--version"]).run();
    }
    rbox(&["exec", "w", "touch", "/tmp/stop"]).run().ok();
    let output = watcher.wait().ok();
    assert!(!output.out().contains("LEAK"), "{}", output.report());
    assert_eq!(sha256(&std::fs::read(&copy).unwrap()), before);
}

#[test]
fn a_joining_process_shows_nothing_of_the_host() {
    let bench = Bench::new();
    let needle = bench.path("").display().to_string();
    let needle = needle.trim_end_matches("/files/");
    let flags = ["run", "--rm", "--name", "w", "--cap-add", "SYS_PTRACE", "rootfs:/", "python3", "-c", WATCH, needle];
    let mut watcher = bench.rbox(&flags).spawn();
    watcher.expect("watching");
    for number in 0..40 {
        let flags = [&["exec", "-i"][..], &["exec"], &["exec", "-t"], &["exec", "-u", "1"]][number % 4];
        bench.rbox(flags).args(["w", "true"]).run().ok();
    }
    bench.ok(&["exec", "w", "touch", "/tmp/stop"]);
    let output = watcher.wait().ok();
    assert!(!output.out().contains("LEAK"), "{}", output.report());
}

#[test]
fn a_plain_container_can_make_no_namespace_and_mount_nothing() {
    let bench = Bench::new();
    attack(&bench, &[], &["try=nested,kernel,filesystems,processes,network".to_owned()]);
    attack(&bench, &["-u", "1000"], &["try=nested,kernel,network".to_owned()]);
}

#[test]
fn a_privileged_container_cannot_touch_another_nor_the_host() {
    let (bench, image) = Bench::with_image();
    let secret = format!("secret-{}", std::process::id());
    let variable = format!("SECRET={secret}");
    let script = format!("echo $SECRET >/token; exec sleep 1000 # {secret}");
    bench.start(&["--name", "victim", "-e", &variable], &image, &["sh", "-c", &script]);
    bench.start(&["--name", "other"], &image, &["sleep", "1000"]);
    let mut bystander = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let targets = [
        bench.pid("victim"),
        bench.supervisor("victim"),
        bench.supervisor("other"),
        i32::try_from(bystander.id()).unwrap(),
        i32::try_from(std::process::id()).unwrap(),
    ];
    let data = bench.mkdir("data");
    write(data.join("kept"), "kept");
    let bind = format!("{}:/tmp/ro:ro", data.display());
    let arguments = [
        format!("pids={}", targets.map(|pid| pid.to_string()).join(",")),
        format!("secret={secret}"),
        format!("paths={}:{}", bench.root().display(), bench.runroot().display()),
        "bind=/tmp/ro".to_owned(),
        "try=processes,kernel,filesystems,network,keys,bind".to_owned(),
    ];
    for flags in [
        &["--privileged", "-v", &bind][..],
        &["--cap-add", "ALL", "--security-opt", "seccomp=unconfined", "-v", &bind],
        &["--privileged", "--network", "host", "-v", &bind],
    ] {
        attack(&bench, flags, &arguments);
    }
    // To everybody one may signal.
    bench.run_rm(&["--privileged", "--init"], &image, &["sh", "-c", "kill -9 -1"]);
    assert!(targets.iter().all(|pid| proc::is_alive(*pid)), "somebody was killed");
    assert_eq!(bench.ok(&["exec", "victim", "cat", "/token"]), secret);
    assert_eq!(crate::common::names_in(&data), ["kept"]);
    let _ = bystander.kill();
    let _ = bystander.wait();
}

#[test]
fn a_read_only_bind_stays_so_for_root_with_all_capabilities() {
    let (bench, image) = Bench::with_image();
    let data = bench.mkdir("data");
    write(data.join("kept"), "kept");
    let before = tree(&data);
    let bind = format!("{}:/data:ro", data.display());
    let script = "mount -o remount,rw,bind /data; mount -o remount,rw /data; touch /data/a; \
        mkdir /two; mount -o bind /data /two; mount -o remount,rw,bind /two; touch /two/b; \
        unshare -Urm sh -c 'mount -o remount,rw,bind /data; touch /data/c'; umount /data; touch /data/d; true";
    bench.run_rm(&["--privileged", "-v", &bind], &image, &["sh", "-c", script]).ok();
    assert_eq!(tree(&data), before);
    // The same for the container's read-only root.
    let script = "mount -o remount,rw / ; mount -o remount,rw,bind /; echo done";
    bench.run_rm(&["--read-only", "--cap-add", "SYS_ADMIN", "-v", &bind], &image, &["sh", "-c", script]).ok();
}

#[test]
fn keys_of_the_caller_stay_outside() {
    let bench = Bench::new();
    let secret = format!("key-{}", std::process::id());
    // A session keyring and the user's keyring with a key each, then rbox below them.
    let outer = format!(
        "import ctypes, os, sys\nlibc = ctypes.CDLL(None)\nlibc.syscall(250, 1, b'tests')\n\
         for ring in (-3, -4): libc.syscall(248, b'user', b'{secret}', b'x', 1, ring)\n\
         assert libc.syscall(250, 10, -3, b'user', b'{secret}', 0) > 0\nos.execvp(sys.argv[1], sys.argv[1:])"
    );
    let rbox = crate::common::rbox_program();
    let command =
        crate::common::program("python3").args(["-c", &outer]).arg(&rbox).args(["run", "--rm", "--privileged"]);
    let command = command.args(["rootfs:/", "python3", "-c", ATTACK, "try=keys", &format!("secret={secret}")]);
    let output = bench.environment(command).run().ok();
    assert!(!output.out().contains("BREACH") && output.out().contains("done"), "{}", output.report());
}

/// Names, modes, owners and contents below a directory.
fn tree(root: &Path) -> BTreeMap<PathBuf, String> {
    use std::os::unix::fs::MetadataExt;
    let mut found = BTreeMap::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(path) = waiting.pop() {
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        let content = if metadata.is_dir() {
            waiting.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            String::new()
        } else if metadata.is_file() {
            sha256(&std::fs::read(&path).unwrap())
        } else {
            format!("{:?}", std::fs::read_link(&path))
        };
        found.insert(path, format!("{:o} {}:{} {content}", metadata.mode(), metadata.uid(), metadata.gid()));
    }
    found
}

#[test]
fn links_in_an_image_lead_nowhere_outside() {
    let bench = Bench::new();
    let canary = bench.mkdir("canary");
    for name in ["passwd", "group", "hosts", "resolv.conf", "hostname", "null"] {
        write(canary.join(name), format!("canary-{name}:x:0:0::/:/bin/sh\n"));
    }
    std::fs::create_dir(canary.join("sub")).unwrap();
    let before = tree(&canary);
    let host = canary.display().to_string();
    let to = |name: &str| format!("{host}/{name}");
    let up = format!("../../../../../../../..{host}");
    let base = || Layer::new();
    let hostile: Vec<(&str, Layer)> = vec![
        ("dev-absolute", base().symlink("dev", &host)),
        ("dev-relative", base().symlink("dev", &up)),
        ("dev-dangling", base().symlink("dev", &to("made"))),
        ("proc", base().symlink("proc", &host)),
        ("proc-inside", base().symlink("proc", "/tmp")),
        ("sys", base().symlink("sys", &host)),
        ("etc", base().whiteout("etc").symlink("etc", &host)),
        ("hosts", base().symlink("etc/hosts", &to("hosts")).symlink("etc/hostname", &to("hostname"))),
        ("resolv", base().symlink("etc/resolv.conf", &format!("{up}/resolv.conf"))),
        ("dangling", base().symlink("etc/hosts", &to("made")).symlink("etc/resolv.conf", &to("sub/made"))),
        ("passwd", base().symlink("etc/passwd", &to("passwd")).symlink("etc/group", &to("group"))),
        ("pts", base().directory("dev", 0o755).symlink("dev/pts", &to("sub")).symlink("dev/null", &to("null"))),
        ("workdir", base().symlink("work", &to("sub"))),
    ];
    for (name, layer) in hostile {
        let image = registry().push(&format!("hostile/{name}"), &[Image::small_with(vec![layer])]);
        bench.ok(&["pull", "-q", &image]);
        for flags in [&[][..], &["-u", "alice", "-t"], &["-w", "/work/deep"], &["--privileged"]] {
            let script =
                "cat /etc/passwd /etc/hosts /dev/null; echo x >>/etc/hosts; echo x >/dev/null; touch made; true";
            let output = bench.run_rm(flags, &image, &["sh", "-c", script]);
            assert!(!output.report().contains("canary-"), "{name} {flags:?}: {}", output.report());
            assert!(output.took < Duration::from_secs(10), "{name} {flags:?} took {:?}", output.took);
        }
        assert_eq!(tree(&canary), before, "image {name} changed the host");
        bench.no_containers();
    }
}

#[test]
fn the_real_proc_is_where_it_should_be_or_nothing_runs() {
    let bench = Bench::new();
    for name in ["proc", "sys"] {
        let layer = Layer::new().symlink(name, "/tmp");
        let image = registry().push(&format!("hostile/link-{name}"), &[Image::small_with(vec![layer])]);
        bench.ok(&["pull", "-q", &image]);
        let output = bench.run_rm(&[], &image, &["echo", "ran"]);
        assert!(output.code == 125 && output.stdout.is_empty(), "{name}: {}", output.report());
    }
    let image = bench.pull_small();
    let data = bench.mkdir("data").display().to_string();
    for target in ["/proc", "/proc/self", "/proc/sys", "/sys/../proc"] {
        let output = bench.run_rm(&["-v", &format!("{data}:{target}")], &image, &["echo", "ran"]);
        assert!(output.code != 0 && output.stdout.is_empty(), "{target}: {}", output.report());
    }
    bench.no_containers();
}

#[test]
fn account_files_of_any_shape_end_in_an_answer() {
    let bench = Bench::new();
    let huge = "x".repeat(3 << 20);
    let many = "u:x:5:5::/:/bin/sh\n".repeat(60_000);
    let shapes: Vec<(&str, Layer)> = vec![
        ("fifo", Layer::new().whiteout("etc/passwd").whiteout("etc/group").fifo("etc/passwd").fifo("etc/group")),
        ("directory", Layer::new().whiteout("etc/passwd").directory("etc/passwd", 0o755)),
        ("huge", Layer::new().file("etc/passwd", 0o644, &huge).file("etc/group", 0o644, &huge)),
        ("many", Layer::new().file("etc/passwd", 0o644, &many)),
        ("absent", Layer::new().whiteout("etc/passwd").whiteout("etc/group")),
        ("binary", Layer::new().file("etc/passwd", 0o644, crate::common::noise(5, 10_000))),
        ("device", Layer::new().symlink("etc/passwd", "/dev/zero").symlink("etc/group", "/proc/self/fd/0")),
        ("number", Layer::new().file("etc/passwd", 0o644, "1000:x:0:0::/:/bin/sh\n-1:x:0:0::/:/bin/sh\n")),
    ];
    for (name, layer) in shapes {
        let image = registry().push(&format!("hostile/accounts-{name}"), &[Image::small_with(vec![layer])]);
        bench.ok(&["pull", "-q", &image]);
        let output = bench.run_rm(&["-u", "nosuch"], &image, &["true"]);
        assert!(
            output.code != 0 && output.took < Duration::from_secs(5),
            "{name}: {:?} {}",
            output.took,
            output.report()
        );
        assert!(output.err().lines().count() == 1, "{name}: {}", output.report());
        let output = bench.run_rm(&["-u", "1000"], &image, &["sh", "-c", "echo $(id -u)"]);
        assert!(output.took < Duration::from_secs(5), "{name}: {:?}", output.took);
        assert!(output.code != 0 || output.out() == "1000", "{name}: digits are a number: {}", output.report());
    }
}

#[test]
fn the_home_of_a_user_cannot_add_a_line() {
    let bench = Bench::new();
    let layer = Layer::new().file("etc/passwd", 0o644, "evil:x:7:7::/a\rHOME=/b\x1b[2J:/bin/sh\n");
    let image = registry().push("hostile/home", &[Image::small_with(vec![layer])]);
    bench.ok(&["pull", "-q", &image]);
    let output = bench.run_rm(&["-u", "evil"], &image, &["env"]);
    assert!(!output.err().contains('\x1b') && !output.err().contains('\r'), "{}", output.report());
    assert!(output.out().lines().filter(|line| line.starts_with("HOME=")).count() <= 1);
}

#[test]
fn text_of_an_image_cannot_steer_the_terminal() {
    let bench = Bench::new();
    let config = serde_json::json!({
        "Cmd": ["sh", "-c", "true # \u{1b}[31m \u{9b}31m \u{202e}"], "Labels": {"evil": "\u{1b}]52;c;x\u{7}\r\n"},
    });
    let image = registry().push("hostile/text", &[images::small().config(config)]);
    bench.ok(&["pull", "-q", &image]);
    bench.ok(&["create", "--name", "evil", &image]);
    bench.run_rm(&[], &image, &["/no/such\u{1b}[31m"]).exits(127);
    let script = format!(
        "e=$(printf '\\033[31m'); rbox ps -a --no-trunc; rbox ps -a --format '{{{{.Command}}}} {{{{.Labels}}}}'; rbox images
         rbox inspect evil; rbox inspect {image}; rbox run --rm {image} /no/such$e; rbox run --rm -u $e {image} true
         rbox rm $e; rbox tag $e x; rbox stop $e; echo the-end"
    );
    let mut terminal = crate::common::pty::Terminal::shell(&bench, &script);
    terminal.expect("the-end");
    let screen = terminal.screen();
    let bad = |c: char| (c.is_control() && c != '\n' && c != '\r') || ('\u{202a}'..='\u{202e}').contains(&c);
    assert!(!screen.contains(bad), "{:?} reached the terminal: {screen:?}", screen.chars().find(|c| bad(*c)));
    assert!(screen.contains("evil"), "{screen}");
}

#[test]
fn the_store_is_the_users_alone() {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let (bench, image) = Bench::with_image();
    bench.start(&["--name", "a", "-i", "--init"], &image, &["sleep", "100"]);
    for top in [bench.root(), bench.runroot()] {
        let mode = std::fs::metadata(&top).unwrap().mode() & 0o777;
        assert_eq!(mode, 0o700, "{}", top.display());
    }
    let mut waiting = vec![bench.root(), bench.runroot()];
    while let Some(path) = waiting.pop() {
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        if metadata.file_type().is_socket() {
            assert_eq!(metadata.mode() & 0o077, 0, "{}", path.display());
        }
        if metadata.is_dir() && !path.ends_with("diff") && !path.ends_with("upper") && !path.ends_with("work") {
            waiting.extend(std::fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
        }
    }
    let sockets = read("/proc/net/unix");
    assert!(!sockets.contains("@rbox") && !sockets.contains("@/rbox"), "no abstract socket");
    // Looser modes are repaired.
    let loose = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(bench.root(), loose).unwrap();
    bench.ok(&["ps"]);
    assert_eq!(std::fs::metadata(bench.root()).unwrap().mode() & 0o777, 0o700);
}

#[test]
fn a_process_of_another_user_inside_is_another_user_outside() {
    let (bench, image) = Bench::with_image();
    bench.start(&["--name", "a", "-u", "1000:1000"], &image, &["sleep", "100"]);
    let pid = bench.pid("a");
    let own = rustix::process::geteuid().as_raw();
    let uid = proc::status(pid)["Uid"].split_whitespace().next().unwrap().parse::<u32>().unwrap();
    assert!(uid != own && uid != 1000 && uid > 1000, "{uid}");
    // The user can still end what is not theirs by number.
    assert!(comes_true(Duration::from_secs(1), || bench.rbox(&["kill", "a"]).run().code == 0));
    wait_until("it ended", || !proc::is_alive(pid));
}

#[test]
fn devices_brought_along_do_not_unmask() {
    let (bench, image) = Bench::with_image();
    // A /dev of the user's, in which null is something else.
    let dev = bench.mkdir("dev");
    let trap = bench.text("trap");
    write(&trap, "trap");
    std::os::unix::fs::symlink("/proc/sys/kernel/core_pattern", dev.join("null")).unwrap();
    std::os::unix::fs::symlink(&trap, dev.join("zero")).unwrap();
    let bind = format!("{}:/dev", dev.display());
    let script =
        "cat /proc/kcore /proc/keys /proc/timer_list 2>/dev/null | head -c 10 | wc -c; echo x >/proc/timer_list; true";
    let output = bench.run_rm(&["-v", &bind], &image, &["sh", "-c", script]);
    assert!(output.code == 125 || output.out() == "0", "refused, or masked as ever: {}", output.report());
    assert_eq!(read(&trap), "trap");
}

#[test]
fn a_mount_target_raced_by_another_container_stays_inside() {
    let (bench, image) = Bench::with_image();
    let shared = bench.mkdir("shared");
    let canary = bench.mkdir("canary");
    write(canary.join("file"), "untouched");
    std::fs::create_dir(shared.join("target")).unwrap();
    let before = tree(&canary);
    let host = canary.display();
    let bind = format!("{}:/shared", shared.display());
    // One container swaps a directory for a link out, again and again; others mount below it.
    let swap = format!(
        "cd /shared; ln -s {host} link; echo racing; while [ ! -e stop ]; do mv target away; mv link target; mv target link; mv away target; done"
    );
    let mut racer = bench.rbox(&["run", "--rm", "-v", &bind, &image, "sh", "-c", &swap]).spawn();
    racer.expect("racing");
    let data = bench.mkdir("data");
    write(data.join("mine"), "mine");
    let inner = format!("{}:/shared/target/made/deep", data.display());
    for _ in 0..30 {
        let output = bench.run_rm(&["-v", &bind, "-v", &inner], &image, &["ls", "/shared/target"]);
        assert!(!output.out().contains("file"), "{}", output.report());
    }
    write(shared.join("stop"), "");
    racer.wait();
    assert_eq!(tree(&canary), before);
}
