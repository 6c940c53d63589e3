//! `rootfs:PATH`: a directory of the host as a read-only base.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use crate::common::{Bench, proc, read, write};

#[test]
fn the_hosts_userland_without_an_image() {
    let bench = Bench::new();
    let out = bench.run_rm(&[], "rootfs:/", &["sh", "-c", "id -u; . /etc/os-release; echo $ID; echo $$"]).ok().out();
    let release = read("/etc/os-release");
    let id = release.lines().find_map(|line| line.strip_prefix("ID=")).unwrap();
    assert_eq!(out, format!("0\n{id}\n1"));
    assert!(bench.run_rm(&[], "rootfs:/", &["python3", "-c", "print(6*7)"]).ok().out().contains("42"));
    assert_eq!(bench.ok(&["images", "-q"]), "");
    bench.no_containers();
}

#[test]
fn writes_stay_in_the_container() {
    let bench = Bench::new();
    let mark = format!("/usr/rbox-mark-{}", std::process::id());
    let release = read("/etc/os-release");
    let script = format!("touch {mark}; echo x >>/etc/os-release; rm /usr/bin/env; rm -rf /usr/share/doc; ls {mark}");
    assert_eq!(bench.run_rm(&[], "rootfs:/", &["sh", "-c", &script]).ok().out(), mark);
    assert!(!std::path::Path::new(&mark).exists() && std::path::Path::new("/usr/bin/env").exists());
    assert_eq!(read("/etc/os-release"), release);
    // They stay with the container, until it is removed.
    bench.ok(&["create", "--name", "k", "rootfs:/", "sh", "-c", "ls /root/kept 2>/dev/null; touch /root/kept"]);
    assert_eq!(bench.rbox(&["start", "-a", "k"]).run().ok().out(), "");
    assert_eq!(bench.rbox(&["start", "-a", "k"]).run().ok().out(), "/root/kept");
}

#[test]
fn what_is_the_users_or_the_systems_own_is_hidden() {
    let bench = Bench::new();
    let home = std::env::var("HOME").expect("a home");
    let mark = format!("{home}/.rbox-mark-{}", std::process::id());
    write(&mark, "private");
    let script = format!(
        "cat {mark}; ls -A {home} /root /home/* 2>/dev/null; ls -A /run; ls /sys/kernel/debug 2>/dev/null; ls /dev/disk 2>/dev/null; true"
    );
    let output = bench.run_rm(&[], "rootfs:/", &["sh", "-c", &script]);
    std::fs::remove_file(&mark).unwrap();
    let output = output.ok();
    assert!(!output.report().contains("private") && !output.out().contains("rbox-mark"), "{}", output.report());
    assert!(!output.out().contains("user"), "the host's /run shows: {}", output.report());
    let show = "ls -d /proc/[0-9]* | wc -l; cat /proc/1/cmdline | tr '\\0' ' '";
    let out = bench.run_rm(&[], "rootfs:/", &["sh", "-c", show]).ok().out();
    assert!(out.lines().next().unwrap().trim().parse::<u32>().unwrap() < 6, "its own processes only: {out}");
    let mounts = proc::parse_mounts(&bench.run_rm(&[], "rootfs:/", &["cat", "/proc/self/mountinfo"]).ok().out());
    for (target, kind) in [("/proc", "proc"), ("/sys", "sysfs"), ("/dev", "tmpfs")] {
        assert_eq!(proc::mount_at(&mounts, target).kind, kind);
    }
    // The store itself, which here is not below the home.
    let output = bench.run_rm(&[], "rootfs:/", &["ls", "-A", &bench.root().display().to_string()]);
    assert!(output.out().is_empty(), "the store shows: {}", output.report());
}

#[test]
fn what_the_user_cannot_read_stays_unreadable() {
    let bench = Bench::new();
    assert!(std::fs::read("/etc/shadow").is_err(), "this test needs a file that the user cannot read");
    for flags in [&[][..], &["--privileged"], &["--cap-add", "ALL"]] {
        let script = "cat /etc/shadow; cp /etc/shadow /tmp/s; chmod 666 /etc/shadow; cat /etc/shadow; chown 0 /etc/shadow; \
            cat /etc/shadow; mv /etc/shadow /etc/moved; cat /etc/moved; true";
        let output = bench.run_rm(flags, "rootfs:/", &["sh", "-c", script]).ok();
        assert!(!output.out().contains(':'), "{flags:?}: {}", output.report());
    }
}

#[test]
fn setuid_programs_of_the_host_give_nothing() {
    let bench = Bench::new();
    let metadata =
        std::fs::metadata("/usr/bin/passwd").or_else(|_| std::fs::metadata("/usr/bin/su")).expect("a setuid program");
    assert!(metadata.mode() & 0o4000 != 0 && metadata.uid() == 0);
    let script = "cp /usr/bin/id /tmp/id; /tmp/id -u; su -c 'id -u' root 2>&1 </dev/null; cat /proc/self/uid_map";
    let output = bench.run_rm(&["-u", "1234"], "rootfs:/", &["sh", "-c", script]);
    assert!(!output.out().lines().skip(1).any(|line| line == "0"), "{}", output.report());
}

#[test]
fn any_directory_will_do() {
    let bench = Bench::new();
    let root = bench.mkdir("root");
    for directory in ["bin", "etc"] {
        std::fs::create_dir(root.join(directory)).unwrap();
    }
    std::fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    std::os::unix::fs::symlink("busybox", root.join("bin/sh")).unwrap();
    write(root.join("etc/mark"), "mine\n");
    let image = format!("rootfs:{}", root.display());
    let out = bench.run_rm(
        &[],
        &image,
        &["/bin/sh", "-c", "busybox cat /etc/mark; echo changed >/etc/mark; busybox cat /etc/mark"],
    );
    assert_eq!(out.ok().out(), "mine\nchanged");
    assert_eq!(read(root.join("etc/mark")), "mine\n");
    assert_eq!(crate::common::names_in(&root), ["bin", "etc"], "no mount point was made in it");
    let out = bench.rbox(&["run", "--rm", "rootfs:./root", "/bin/sh", "-c", "echo relative"]);
    assert_eq!(out.current_dir(bench.path("")).ok(), "relative");
    // Read-only, and with a bind over it.
    let data = bench.mkdir("data");
    write(data.join("x"), "bound\n");
    let flags = ["--read-only", "-v", &format!("{}:/data", data.display())];
    assert_eq!(bench.run_rm(&flags, &image, &["/bin/sh", "-c", "busybox cat /data/x"]).ok().out(), "bound");
}

#[test]
fn what_is_no_directory_is_refused() {
    let bench = Bench::new();
    let file = bench.text("file");
    write(&file, "x");
    let closed = bench.mkdir("closed");
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o000)).unwrap();
    bench.run_rm(&[], &format!("rootfs:{}", bench.text("absent")), &["true"]).refused(125, "absent");
    bench.run_rm(&[], &format!("rootfs:{file}"), &["true"]).refused(125, "file");
    bench.run_rm(&[], &format!("rootfs:{}", closed.display()), &["true"]).exits_with_one_of(&[125, 126, 127]);
    bench.run_rm(&[], "rootfs:", &["true"]).exits(125);
    bench.run_rm(&[], "rootfs:/", &[]).refused(125, "no command");
    bench.rbox(&["pull", "rootfs:/"]).run().exits_with_one_of(&[1, 125]);
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).unwrap();
    bench.no_containers();
}

#[test]
fn detach_exec_logs_and_inspect_work_the_same() {
    let bench = Bench::new();
    bench.start(&["--name", "r"], "rootfs:/", &["sh", "-c", "echo up; exec sleep 100"]);
    assert_eq!(bench.ok(&["exec", "r", "sh", "-c", "readlink /proc/1/exe | grep -c sleep"]), "1");
    crate::common::wait_until("it logged", || bench.ok(&["logs", "r"]) == "up");
    assert_eq!(bench.inspect("r", "{{.Config.Image}}"), "rootfs:/");
    assert!(bench.ok(&["ps"]).contains("rootfs:/"));
    bench.ok(&["rm", "-f", "r"]);
}
