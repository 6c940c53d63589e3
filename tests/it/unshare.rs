//! `unshare`, and the root file systems that are mounted in it.

use std::os::unix::fs::MetadataExt;

use crate::common::pty::Terminal;
use crate::common::registry::registry;
use crate::common::{Bench, program, read, trees, wait_until, write};
use rustix::process::Signal;

/// A script in `rbox unshare`.
fn inside(bench: &Bench, script: &str) -> String {
    bench.shell(&format!("exec rbox unshare bash -ec '{script}'")).ok()
}

#[test]
fn a_command_becomes_root_of_its_own() {
    let bench = Bench::new();
    let (root, run) = (bench.root().display().to_string(), bench.runroot().display().to_string());
    let out = inside(&bench, "id -u; id -g; echo $RBOX_ROOT; echo $RBOX_RUNROOT; readlink /proc/self/ns/mnt");
    let own = program("readlink").args(["/proc/self/ns/mnt"]).ok();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[..4], ["0", "0", &root, &run]);
    assert_ne!(lines[4], own);
    // Others' files are as they are in containers.
    let file = bench.text("file");
    inside(&bench, &format!("touch {file}; chown 7:8 {file}; mount -t tmpfs none /mnt; touch /mnt/{}", "x"));
    assert_ne!(std::fs::metadata(&file).unwrap().uid(), rustix::process::getuid().as_raw());
    assert_eq!(inside(&bench, &format!("stat -c %u:%g {file}; rm {file}")), "7:8");
    assert!(!std::path::Path::new("/mnt/x").exists(), "the mount reached the host");

    for (arguments, code, words) in [
        (&["unshare", "sh", "-c", "exit 7"][..], 7, ""),
        (&["unshare", "nosuch"], 127, "exec: \"nosuch\": executable file not found in $PATH"),
        (&["unshare", "/no/such"], 127, "no such file"),
        (&["unshare", "/etc/passwd"], 126, "exec: \"/etc/passwd\": permission denied"),
        (&["unshare", "--rootless-netns", "true"], 125, "--rootless-netns is not supported"),
        (&["unshare", "--nosuch"], 125, "unknown flag: --nosuch"),
    ] {
        let output = bench.rbox(arguments).run().exits(code);
        assert!(output.err().contains(words), "{}", output.report());
    }
    assert_eq!(bench.ok(&["unshare", "echo", "-n", "--", "--help"]), "-- --help");
    assert_eq!(bench.rbox(&["unshare"]).env("SHELL", "/bin/pwd").current_dir("/usr").ok(), "/usr");
    assert_eq!(bench.rbox(&["unshare", "cat"]).stdin("in and out").ok(), "in and out");
}

#[test]
fn signals_and_the_terminal_are_the_commands() {
    let bench = Bench::new();
    let mut running =
        bench.rbox(&["unshare", "sh", "-c", "trap 'echo told; exit 3' TERM; echo up; read x"]).piped().spawn();
    running.expect("up");
    running.signal(Signal::TERM);
    let output = running.wait().exits(3);
    assert_eq!(output.out(), "up\ntold");
    let mut terminal = Terminal::rbox(&bench, &["unshare", "sh"]);
    terminal.line("test -t 0 && echo terminal-$(id -u)");
    terminal.expect("terminal-0");
    terminal.line("trap 'echo inter''rupted' INT; sleep 60");
    std::thread::sleep(std::time::Duration::from_millis(200));
    terminal.send("\x03");
    terminal.expect("interrupted");
    terminal.line("exit 4");
    assert_eq!(terminal.wait(), 4);
}

#[test]
fn the_store_in_there_is_the_users() {
    let (bench, image) = Bench::with_image();
    bench.ok(&["run", "-d", "--name", "outer", &image, "sleep", "100"]);
    let script = r#"rbox ps --format {{.Names}}; rbox images -q; rbox exec outer echo in it
        rbox run --rm "$0" id -u; rbox run -d --name inner "$0" sleep 100 >/dev/null; rbox inspect -f {{.Id}} "$0""#;
    let out = bench.shell(&format!("exec rbox unshare bash -ec '{script}' {image}")).ok();
    let id = bench.inspect(&image, "{{.Id}}");
    assert_eq!(out, format!("outer\n{}\nin it\n0\n{id}", &id[7..19]));
    // What was started in there goes on, and is one of the user's containers.
    assert_eq!(bench.status("inner"), "running");
    assert_eq!(bench.ok(&["exec", "inner", "echo", "here"]), "here");
    inside(&bench, "rbox rm -f outer inner >&2");
    assert_eq!(bench.ok(&["ps", "-aq"]), "");
    let removed = inside(&bench, &format!("rbox rmi {image}"));
    assert!(removed.contains("Deleted: "), "{removed}");
    assert_eq!(bench.ok(&["images", "-q"]), "");
}

#[test]
fn images_are_mounted_as_they_are() {
    let layered = registry().push_once("t/round:1", || vec![trees::layered()]);
    let (bench, small) = Bench::with_image();
    bench.ok(&["pull", "-q", &layered]);
    let refused = |arguments: &[&str], name: &str| {
        let text = format!("cannot run command \"rbox {name}\" in rootless mode, must execute `rbox unshare` first");
        bench.rbox(arguments).run().refused(125, &text);
    };
    refused(&["image", "mount", &small], "image mount");
    refused(&["image", "umount", "-a"], "image unmount");
    refused(&["mount"], "mount");
    refused(&["container", "unmount", "x"], "unmount");

    let tree = bench.path("tree");
    let script = format!(
        r#"m=$(rbox image mount {layered}); test "$m" = "$(rbox image mount {layered})"
        cd "$m"; python3 -c "$LIST" "$m" > {tree}
        if touch "$m/x" 2>/dev/null; then echo writable; fi
        rbox image mount; if rbox image unmount {layered} 2>/dev/null; then echo not busy; fi
        cd /; rbox image unmount {layered} {layered}; rbox image mount
        rbox image mount --all | wc -l; rbox image mount --format json; rbox image unmount -af >&2
        rbox image mount --format json; ls {run}/mounts/images"#,
        tree = tree.display(),
        run = bench.runroot().display()
    );
    let out = bench.shell(&format!("exec rbox unshare bash -ec '{script}'")).env("LIST", trees::LIST).ok();
    assert_eq!(read(&tree).lines().collect::<Vec<_>>(), trees::of_rbox(&bench, &layered));
    let id = &bench.inspect(&layered, "{{.Id}}")[7..];
    let place = format!("{}/mounts/images/{id}", bench.runroot().display());
    let (listed, rest) = out.split_once('\n').unwrap();
    assert_eq!(listed, format!("{layered}  {place}"));
    assert!(rest.starts_with(&format!("{id}\n2\n[\n {{\n  \"id\": \"")) && rest.ends_with("]\n[]"), "{rest}");
    assert!(rest.contains(&format!("\"mountpoint\": \"{place}\"")), "{rest}");
    // One layer, and what goes takes its mount along, whoever has it.
    let script = format!(
        "cat $(rbox image mount {small})/etc/os-release; echo; read x; rbox image mount; grep -c mounts/images /proc/self/mountinfo || true"
    );
    let mut running = bench.shell(&format!("exec rbox unshare bash -ec '{script}'")).piped().spawn();
    running.expect("ID=small\n");
    bench.ok(&["rmi", &small]);
    running.send("\n");
    assert_eq!(running.wait().ok().out(), "ID=small\n\n0");
    let refused = bench.shell("exec rbox unshare rbox image mount nosuch").run().exits(1);
    assert!(refused.err().contains("No such image: nosuch"), "{}", refused.report());
}

#[test]
fn containers_are_mounted_running_or_not() {
    let (bench, image) = Bench::with_image();
    bench.ok(&["create", "--name", "one", &image, "sh", "-c", "cat /etc/written; echo more > /more; sleep 100"]);
    let out = inside(
        &bench,
        r#"m=$(rbox mount one); echo before > $m/etc/written; rbox mount --no-trunc; rbox unmount one; rbox unmount one"#,
    );
    let id = bench.inspect("one", "{{.Id}}");
    let place = format!("{}/mounts/containers/{id}", bench.runroot().display());
    assert_eq!(out, format!("{id}  {place}\none\none"));
    assert_eq!(bench.ok(&["diff", "one"]), "C /etc\nA /etc/written");
    bench.ok(&["start", "one"]);
    wait_until("the container has written", || {
        bench.ok(&["logs", "one"]) == "before" && bench.ok(&["diff", "one"]).contains("/more")
    });
    // While it runs: with what is mounted in it.
    let out = inside(&bench, r#"m=$(rbox mount one); cat $m/more; echo new > $m/new; tr "\0" " " < $m/proc/1/cmdline"#);
    assert!(out.starts_with("more\n") && out.contains("sleep 100"), "{out}");
    assert_eq!(bench.ok(&["exec", "one", "cat", "/new"]), "new");
    bench.ok(&["stop", "-t", "0", "one"]);

    // Started from where it is mounted, it shares the mount; from elsewhere it must not start.
    let script = r#"m=$(rbox mount one); rbox start one; echo shared > $m/shared; rbox exec one cat /shared
        rbox stop -t 0 one; echo up; read x; rbox mount"#;
    let mut running = bench.shell(&format!("exec rbox unshare bash -ec '{script}'")).piped().spawn();
    running.expect("up");
    let refused = bench.rbox(&["start", "one"]).run().exits(1);
    assert!(refused.err().contains("is mounted in 'rbox unshare' (process "), "{}", refused.report());
    let refused = bench.shell("exec rbox unshare rbox mount one").run().exits(1);
    assert!(refused.err().contains("mounted in another 'rbox unshare'"), "{}", refused.report());
    running.send("\n");
    let out = running.wait().ok().out();
    assert!(out.starts_with("one\nshared\none\nup\n") && out.ends_with(&place), "{out}");
    bench.ok(&["start", "one"]);
    assert_eq!(bench.ok(&["exec", "one", "cat", "/shared"]), "shared");

    // A container goes with its mount; a busy one stays without force.
    let out = inside(
        &bench,
        r#"rbox rm -f one; rbox mount; rbox create --name two '"$0"' sh >/dev/null; cd $(rbox mount two)
        if rbox unmount two 2>/dev/null; then echo not busy; fi; rbox unmount -f -a >/dev/null; rbox mount; rbox rm two"#
            .replace("'\"$0\"'", &image)
            .as_str(),
    );
    assert_eq!(out, "one\ntwo");
    assert_eq!(std::fs::read_dir(bench.runroot().join("mounts/containers")).unwrap().count(), 0);
}

#[test]
fn a_directory_of_the_host_is_mounted_too() {
    let bench = Bench::new();
    let host = bench.mkdir("host");
    write(host.join("given"), "by the host");
    bench.ok(&["create", "--name", "box", &format!("rootfs:{}", host.display()), "/x"]);
    let out = inside(&bench, "m=$(rbox mount box); cat $m/given; echo changed > $m/given; cat $m/given");
    assert_eq!(out, "by the hostchanged");
    assert_eq!(read(host.join("given")), "by the host");
}
