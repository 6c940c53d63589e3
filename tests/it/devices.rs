//! Devices: nodes of the host in containers, by path and by the Container Device Interface.

use crate::common::{Bench, write};

const ROOT: &str = "rootfs:/";

/// A bench with a directory of CDI specifications, and the flags that have it looked into.
fn bench() -> (Bench, [String; 2]) {
    let bench = Bench::new();
    let directory = bench.mkdir("cdi");
    (bench, ["--cdi-spec-dir".to_owned(), directory.to_str().unwrap().to_owned()])
}

fn spec(bench: &Bench, file: &str, text: &str) {
    write(bench.path("cdi").join(file), text);
}

#[track_caller]
fn refused(bench: &Bench, flags: &[&str], reason: &str) {
    let output = bench.rbox(&["run", "--rm"]).args(flags).args([ROOT, "true"]).run().exits(125);
    assert!(output.err().contains(reason) && output.err().lines().count() == 1, "{flags:?}: {}", output.err());
}

#[test]
fn paths_of_the_host() {
    let bench = Bench::new();
    let numbers = |flags: &[&str], path: &str| bench.run_rm(flags, ROOT, &["stat", "-c", "%t:%T", path]).ok().out();
    assert_eq!(numbers(&["--device", "/dev/zero:/dev/my/zero"], "/dev/my/zero"), "1:5");
    assert_eq!(numbers(&["--device", "/dev/full:/opt/full:rw"], "/opt/full"), "1:7");
    assert_eq!(numbers(&["--device", "/dev/zero:/dev/null"], "/dev/null"), "1:5");
    let read = ["sh", "-c", "head -c 3 /dev/my0 | wc -c; echo x > /dev/my0 && echo written"];
    assert_eq!(bench.run_rm(&["--device", "/dev/zero:/dev/my0:rwm"], ROOT, &read).ok().out(), "3\nwritten");
    // A link stands for its target, under its own name.
    let link = bench.path("link");
    std::os::unix::fs::symlink("/dev/zero", &link).unwrap();
    assert_eq!(numbers(&["--device", &format!("{}:/dev/linked", link.display())], "/dev/linked"), "1:5");
    // All nodes of a directory that the user may open.
    let all = bench.run_rm(&["--device", "/dev:/opt/dev"], ROOT, &["ls", "/opt/dev"]).ok().out();
    let has = |name: &str| all.lines().any(|line| line == name);
    assert!(has("zero") && has("null") && !has("pts") && !has("shm"), "{all}");
    // For another user too, and again after a restart.
    bench.start(&["--name", "c", "-u", "1000", "--device", "/dev/zero:/dev/my0"], ROOT, &["sleep", "100"]);
    bench.ok(&["restart", "-t", "0", "c"]);
    assert_eq!(bench.ok(&["exec", "c", "sh", "-c", "head -c 3 /dev/my0 | wc -c"]), "3");
    let template = "{{range .HostConfig.Devices}}{{.PathOnHost}} {{.PathInContainer}} {{.CgroupPermissions}}{{end}}";
    assert_eq!(bench.inspect("c", template), "/dev/zero /dev/my0 rwm");
}

#[test]
fn paths_that_are_refused() {
    let bench = Bench::new();
    let start = "error gathering device information while adding custom device";
    for (value, reason) in [
        ("/dev/nonesuch", format!("{start} \"/dev/nonesuch\": no such file or directory")),
        ("/etc/passwd", format!("{start} \"/etc/passwd\": not a device node")),
        ("/etc", format!("{start} \"/etc\": there is no device node below it")),
        ("", "bad format for path:".to_owned()),
        ("/dev/zero:/dev/a:rwm:x", "bad format for path".to_owned()),
        ("/dev/zero:/dev/a:rwx", "bad mode specified: rwx".to_owned()),
        ("/dev/zero:tmp", "tmp is not an absolute path".to_owned()),
        ("zero", "zero is not an absolute path".to_owned()),
        ("/dev/zero:/dev/a:r", "the permissions \"r\" can't be enforced".to_owned()),
        ("/dev/zero:w", "use rw or rwm".to_owned()),
    ] {
        refused(&bench, &["--device", value], &reason);
    }
    refused(&bench, &["--device-cgroup-rule", "c 1:3 rwm"], "only root can program the kernel's device control");
    // Whatever the user cannot open himself.
    let closed = std::fs::read_dir("/dev").unwrap().flatten().map(|entry| entry.path()).find(|path| {
        use std::os::unix::fs::FileTypeExt;
        let device = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_char_device());
        let denied = |error: std::io::Error| error.kind() == std::io::ErrorKind::PermissionDenied;
        device
            && rustix::fs::access(path, rustix::fs::Access::READ_OK).is_err()
            && std::fs::File::open(path).is_err_and(denied)
    });
    match closed {
        Some(path) => refused(&bench, &["--device", path.to_str().unwrap()], "permission denied"),
        None => crate::common::skip("every device here can be opened"),
    }
    bench.no_containers();
}

#[test]
fn devices_by_cdi() {
    let (bench, cdi) = bench();
    let own = bench.path("shared");
    write(&own, "of the host");
    let text = format!(
        "cdiVersion: 0.6.0\nkind: vendor.com/class\ncontainerEdits: {{env: [COMMON=1]}}\ndevices:\n\
         - name: one\n  containerEdits:\n    env: [ONE=1, COMMON=one]\n    deviceNodes: [{{path: /dev/one, hostPath: /dev/zero}}]\n    \
         mounts: [{{hostPath: {}, containerPath: /opt/shared, options: [ro]}}]\n    additionalGids: [42]\n\
         - name: two\n  containerEdits: {{deviceNodes: [{{path: /dev/full}}], env: [TWO=2]}}\n",
        own.display()
    );
    spec(&bench, "a.yaml", &text);
    spec(
        &bench,
        "b.json",
        r#"{"cdiVersion": "0.5.0", "kind": "nvidia.com/gpu", "devices": [{"name": "0", "containerEdits": {
            "deviceNodes": [{"path": "/dev/gpu0", "hostPath": "/dev/zero"}],
            "hooks": [{"hookName": "createContainer", "path": "/usr/bin/nvidia-cdi-hook", "args": ["nvidia-cdi-hook", "update-ldcache", "--folder", "/opt/lib"]},
                      {"hookName": "createContainer", "path": "/usr/bin/nvidia-cdi-hook", "args": ["nvidia-cdi-hook", "create-symlinks", "--link", "libx.so.1::/opt/lib/libx.so"]}]}}]}"#,
    );
    let run = |flags: &[&str], script: &str| {
        let output = bench.rbox(&[&cdi[0], &cdi[1], "run", "--rm"]).args(flags).args([ROOT, "sh", "-c", script]).run();
        output.ok().out()
    };
    let script =
        "stat -c %t:%T /dev/one; cat /opt/shared; echo; echo $COMMON $ONE; id -G; echo x > /opt/shared || true";
    let seen = run(&["--device", "vendor.com/class=one"], script);
    assert_eq!(seen.lines().collect::<Vec<_>>()[..3], ["1:5", "of the host", "one 1"], "{seen}");
    assert!(seen.lines().nth(3).unwrap().split(' ').any(|gid| gid == "42"), "{seen}");
    assert_eq!(std::fs::read_to_string(&own).unwrap(), "of the host");
    assert_eq!(run(&["--device", "vendor.com/class=all"], "echo $ONE $TWO; stat -c %t:%T /dev/full"), "1 2\n1:7");
    let gpu = "stat -c %t:%T /dev/gpu0; echo $LD_LIBRARY_PATH; readlink /opt/lib/libx.so";
    for flags in [["--gpus", "all"], ["--gpus", "1"], ["--gpus", "\"device=0\""], ["--device", "nvidia.com/gpu=0"]] {
        assert_eq!(run(&flags, gpu), "1:5\n/opt/lib\nlibx.so.1", "{flags:?}");
    }
    // A container knows where its devices were described.
    let create =
        ["create", "--name", "c", "--device", "vendor.com/class=two", "--gpus", "all", ROOT, "sh", "-c", "echo $TWO"];
    bench.rbox(&[&cdi[0], &cdi[1]]).args(create).ok();
    assert_eq!(bench.ok(&["start", "-a", "c"]), "2");
    let requests =
        "{{range .HostConfig.DeviceRequests}}{{.Driver}} {{.Count}} {{.DeviceIDs}} {{.Capabilities}};{{end}}";
    assert_eq!(bench.inspect("c", requests), " -1 [] [[gpu]];cdi 0 [vendor.com/class=two] [];");
    std::fs::remove_file(bench.path("cdi").join("a.yaml")).unwrap();
    let gone = bench.rbox(&["start", "c"]).run().exits(1);
    assert!(gone.err().contains("unresolvable CDI devices vendor.com/class=two: not found in "), "{}", gone.err());
}

#[test]
fn cdi_that_cannot_be() {
    let (bench, cdi) = bench();
    let good =
        |edits: &str| format!("cdiVersion: 0.6.0\nkind: v.com/c\ndevices:\n- name: d\n  containerEdits: {edits}\n");
    for (text, reason) in [
        ("{".to_owned(), "bad.yaml: "),
        (
            "cdiVersion: 9.9.9\nkind: v.com/c\ndevices: [{name: d}]\n".to_owned(),
            "bad.yaml: cdiVersion \"9.9.9\" is not known",
        ),
        (good("{bogus: 1}"), "bad.yaml: "),
        (good("{deviceNodes: [{path: dev/x}]}"), "is not an absolute path"),
        (
            good("{deviceNodes: [{path: /dev/x, hostPath: /dev/nonesuch}]}"),
            "custom device \"/dev/nonesuch\": no such file",
        ),
        (good("{deviceNodes: [{path: /dev/x, hostPath: /etc/passwd}]}"), "not a device node"),
        (good("{deviceNodes: [{path: /dev/x, hostPath: /dev/zero, permissions: r}]}"), "can't be enforced"),
        (good("{mounts: [{hostPath: /nonesuch, containerPath: /x}]}"), "no such file or directory"),
        (
            good("{hooks: [{hookName: createRuntime, path: /bin/sh}]}"),
            "bad.yaml: its createRuntime hook would run /bin/sh, and hooks are not run",
        ),
        (good("{intelRdt: {closID: x}}"), "needs root"),
    ] {
        spec(&bench, "bad.yaml", &text);
        let device = ["--device", "v.com/c=d"];
        refused(&bench, &[&[cdi[0].as_str(), &cdi[1]][..], &device].concat(), reason);
    }
    spec(&bench, "bad.yaml", &good("{env: [A=1]}"));
    spec(&bench, "same.yaml", &good("{env: [A=1]}"));
    let flags = |value| [cdi[0].as_str(), &cdi[1], "--device", value];
    refused(&bench, &flags("v.com/c=d"), "conflicting CDI device v.com/c=d: ");
    refused(&bench, &flags("v.com/c=other"), "unresolvable CDI devices v.com/c=other: not found in ");
    refused(&bench, &flags("v/c=-"), "invalid CDI device name \"v/c=-\": expected VENDOR/CLASS=NAME");
    let gpus = |value| [cdi[0].as_str(), &cdi[1], "--gpus", value];
    refused(
        &bench,
        &gpus("all"),
        "could not select device driver \"\" with capabilities: [[gpu]]: no CDI specification of nvidia.com/gpu",
    );
    refused(&bench, &gpus("x"), "invalid count (x): value must be either \"all\" or an integer");
    refused(&bench, &gpus("bogus=1"), "unexpected key 'bogus' in 'bogus=1'");
    bench.no_containers();
}
