//! What a hostile or unlucky container, or several invocations at once, must not be able to do.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use crate::common::{Bench, names_in, proc, wait_until};

#[test]
fn first_containers_started_at_once_share_a_user_namespace() {
    for _ in 0..3 {
        let (bench, image) = Bench::with_image();
        let names: Vec<String> = (0..5).map(|number| format!("c{number}")).collect();
        let starts: Vec<_> = names
            .iter()
            .map(|name| {
                bench
                    .rbox(&["run", "-d", "--ipc", "shareable", "--name", name, &image, "sleep", "1000"])
                    .limit(20)
                    .spawn()
            })
            .collect();
        for start in starts {
            start.wait().ok();
        }
        let spaces: BTreeSet<String> =
            names.iter().map(|name| proc::namespace(bench.supervisor(name), "user")).collect();
        assert_eq!(spaces.len(), 1, "{spaces:?}");
        bench.run_rm(&["--ipc", "container:c0", "--pid", "container:c4"], &image, &["true"]).ok();
        bench.rbox(&["rm", "-f"]).args(&names).ok();
    }
}

#[test]
fn nothing_outlives_a_container_in_the_hosts_pid_namespace() {
    let (bench, image) = Bench::with_image();
    let script = "sleep 1000 & setsid sleep 1000 & (setsid sleep 1000 &) & sleep 0.2; echo over";
    for flags in [&["--pid", "host"][..], &["--pid", "host", "--init"], &["--pid", "host", "--userns", "host"]] {
        assert_eq!(bench.run_rm(flags, &image, &["sh", "-c", script]).ok().out(), "over");
        bench.no_processes();
    }
    let donor = bench.start(&["--name", "donor"], &image, &["sleep", "1000"]);
    assert_eq!(bench.run_rm(&["--pid", "container:donor"], &image, &["sh", "-c", script]).ok().out(), "over");
    wait_until("only the donor's process is left", || {
        bench.ok(&["exec", "donor", "ps", "-o", "args"]).matches("sleep 1000").count() == 1
    });
    bench.ok(&["rm", "-f", &donor]);
}

#[test]
fn directories_made_for_a_container_are_open_to_its_users() {
    let (bench, image) = Bench::with_image();
    let volume = format!("{}:/made/for/mount", bench.mkdir("volume").display());
    let flags = ["-u", "1000", "-w", "/made/to/work", "-v", &volume];
    let command = ["stat", "-c", "%a", "/made", "/made/to", "/made/to/work", "/made/for"];
    assert_eq!(bench.run_rm(&flags, &image, &command).ok().out(), "755\n755\n755\n755");
}

#[test]
fn a_stalled_reader_delays_neither_stop_nor_removal() {
    let (bench, image) = Bench::with_image();
    let reader = bench.shell(&format!("rbox run --name s {image} yes | sleep 8")).spawn();
    wait_until("the container runs", || {
        bench.rbox(&["inspect", "-f", "{{.State.Status}}", "s"]).run().out() == "running"
    });
    std::thread::sleep(Duration::from_millis(500));
    let begun = Instant::now();
    bench.ok(&["stop", "-t", "0", "s"]);
    bench.ok(&["rm", "s"]);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    reader.wait();
}

#[test]
fn an_exec_ends_with_its_command_though_it_left_a_writer_behind() {
    let (bench, image) = Bench::with_image();
    bench.start(&["--name", "c"], &image, &["sleep", "1000"]);
    bench.rbox(&["exec", "c", "sh", "-c", "yes & sleep 0.2; exit 3"]).limit(20).run().exits(3);
    bench.ok(&["rm", "-f", "c"]);
}

#[test]
fn a_container_that_took_all_rights_to_its_hosts_file_starts_again() {
    let (bench, image) = Bench::with_image();
    let script = "chmod 000 /etc/hosts && chown 1:1 /etc/hostname && rm -f /etc/resolv.conf; echo >> /etc/hostname";
    bench.rbox(&["run", "--name", "c", &image, "sh", "-c", script]).run().ok();
    bench.rbox(&["start", "-a", "c"]).run().ok();
    bench.ok(&["rm", "c"]);
}

#[test]
fn a_command_of_any_length_is_reported_as_missing() {
    let (bench, image) = Bench::with_image();
    for byte in ["x", "\u{1}"] {
        bench.run_rm(&[], &image, &[&byte.repeat(100_000)]).exits(127);
    }
}

#[test]
fn a_supervisor_shows_no_arguments_and_keeps_no_zombie() {
    let (bench, image) = Bench::with_image();
    bench.start(&["--name", "c", "-e", "PASSWORD=hunter2"], &image, &["sleep", "1000"]);
    let supervisor = bench.supervisor("c");
    let shown = std::fs::read(format!("/proc/{supervisor}/cmdline")).unwrap();
    assert!(!String::from_utf8_lossy(&shown).contains("hunter2"));
    assert_eq!(proc::children(supervisor), [bench.pid("c")]);
    bench.ok(&["rm", "-f", "c"]);
}

#[test]
fn a_directory_bound_on_dev_is_left_as_it_is() {
    let (bench, image) = Bench::with_image();
    let volume = format!("{}:/dev", bench.mkdir("dev").display());
    bench.run_rm(&["-i", "-v", &volume], &image, &["ls", "/dev"]).ok();
    assert_eq!(names_in(bench.path("dev")), [""; 0]);
}

#[test]
fn a_read_only_host_directory_is_read_only_in_every_part() {
    let bench = Bench::new();
    for path in ["/etc", "/usr", "/var", "/"] {
        let output = bench.run_rm(&["--read-only"], "rootfs:/", &["touch", &format!("{path}/rbox-probe")]);
        assert!(output.exits(1).err().contains("Read-only file system"));
    }
}

#[test]
fn a_link_into_proc_is_no_mount_point() {
    let (bench, image) = Bench::with_image();
    let volume = format!("{}:/a/sys", bench.mkdir("volume").display());
    let script = "mv /a /old && ln -s /proc /a";
    bench.rbox(&["run", "--name", "c", "-v", &volume, &image, "sh", "-c", script]).run().ok();
    bench.rbox(&["start", "-a", "c"]).run().refused(125, "/proc");
    bench.ok(&["rm", "c"]);
}

#[test]
fn few_open_files_are_enough_where_more_are_allowed() {
    let (bench, image) = Bench::with_image();
    let script = format!("ulimit -S -n 32 && rbox run --rm {image} sh -c 'ulimit -Sn'");
    assert_eq!(bench.shell(&script).ok(), "1024");
}

#[test]
fn the_sealed_executable_cannot_be_made_writable() {
    let (bench, image) = Bench::with_image();
    // A copy that the container's root owns, as after an installation into a home directory.
    let own = bench.path("rbox-copy");
    std::fs::copy(crate::common::rbox_program(), &own).unwrap();
    std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o755)).unwrap();
    let before = crate::common::sha256(&std::fs::read(&own).unwrap());
    let script = "mount -o remount,rw /proc/1/exe; (echo x > /proc/1/exe) || echo refused";
    let output = bench.rbox_at(&own, &["run", "--rm", "--privileged", "--init", &image, "sh", "-c", script]).run();
    assert_eq!(output.out(), "refused");
    assert_eq!(crate::common::sha256(&std::fs::read(&own).unwrap()), before);
}
