//! What each option does, seen from inside the container or on the host.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use serde_json::{Value, json};

use super::{inside, mounts, sh};
use crate::common::images::{Image, Layer};
use crate::common::registry::registry;
use crate::common::{Bench, names_in, proc, read, write};

/// A row: flags, a line for the container's shell, and what it prints. `SRC` is a directory that holds
/// `file` and `sub/deep`.
type Row = (&'static [&'static str], &'static str, &'static str);

/// Those of the mount at /m, without what the kernel adds.
const OPTIONS: &str = "grep ' /m ' /proc/self/mountinfo | cut -d' ' -f6";

const ROWS: &[Row] = &[
    // -v
    (&["-v", "SRC:/m"], "cat /m/file; echo x >/m/made && cat /m/made", "data\nx"),
    (&["-v", "SRC:/m:rw"], "touch /m/made && echo written", "written"),
    (&["-v", "SRC:/m:ro"], "touch /m/new 2>/dev/null || echo refused", "refused"),
    (&["-v", "SRC:/m:rro"], "touch /m/sub/new 2>/dev/null || echo refused", "refused"),
    (&["-v", "SRC:/m:z"], "cat /m/file", "data"),
    (&["-v", "SRC:/m:Z,ro"], "cat /m/file", "data"),
    (&["-v", "SRC:/m:noexec"], "/m/run 2>/dev/null || echo refused", "refused"),
    (&["-v", "SRC:/m:exec"], "/m/run", "ran"),
    (&["-v", "SRC:/m:nosuid,nodev"], OPTIONS, "rw,nosuid,nodev,relatime"),
    (&["-v", "SRC:/m:suid,dev"], OPTIONS, "rw,relatime"),
    (&["-v", "SRC:/m:cached"], OPTIONS, "rw,relatime"),
    (&["-v", "SRC:/m:delegated,ro"], OPTIONS, "ro,relatime"),
    (&["-v", "SRC:/m:consistent,rbind"], OPTIONS, "rw,relatime"),
    (&["-v", "SRC:/m:bind"], "ls /m/sub", "deep"),
    (&["-v", "SRC:/m:private"], OPTIONS, "rw,relatime"),
    (&["-v", "SRC:/m:rprivate"], OPTIONS, "rw,relatime"),
    (&["-v", "SRC:/m:runbindable"], OPTIONS, "rw,relatime"),
    (&["-v", "SRC:/m:unbindable"], OPTIONS, "rw,relatime"),
    (&["-v", "SRC:/m:O"], "touch /m/over /m/sub/over && ls /m | tr '\\n' ' '", "file made over run sub "),
    (&["-v", "SRC:/m:O"], "ls /m | tr '\\n' ' '", "file made run sub "),
    (&["-v", "SRC:/m:O,noexec"], "/m/run 2>/dev/null || echo refused", "refused"),
    (&["-v", "SRC:/m:O,upperdir=UPPER,workdir=WORK"], "echo kept >/m/kept", ""),
    (&["-v", "SRC:/m:O,upperdir=UPPER,workdir=WORK"], "cat /m/kept", "kept"),
    (&["-v", "SRC/file:/m"], "cat /m", "data"),
    (&["-v", "SRC/file:/etc/passwd:ro"], "cat /etc/passwd", "data"),
    // --mount, bind
    (&["--mount", "type=bind,src=SRC,dst=/m"], "cat /m/file", "data"),
    (&["--mount", "type=bind,source=SRC,target=/m,readonly"], "touch /m/new 2>/dev/null || echo refused", "refused"),
    (&["--mount", "type=bind,source=SRC,destination=/m,ro=true"], OPTIONS, "ro,relatime"),
    (&["--mount", "type=bind,source=SRC,dest=/m,ro=false"], OPTIONS, "rw,relatime"),
    (&["--mount", "type=bind,src=SRC,dst=/m,rw,consistency=cached"], OPTIONS, "rw,relatime"),
    (&["--mount", "type=bind,src=SRC,dst=/m,relabel=shared,z"], "cat /m/file", "data"),
    (&["--mount", "type=bind,src=SRC,dst=/m,relabel=private"], "cat /m/file", "data"),
    (&["--mount", "type=bind,src=SRC,dst=/m,bind-propagation=private"], "cat /m/file", "data"),
    (&["--mount", "type=bind,src=SRC,dst=/m,bind-propagation=rprivate"], "cat /m/file", "data"),
    (&["--mount", "type=bind,src=SRC,dst=/m,bind-recursive=disabled"], "ls /m/sub", "deep"),
    (&["--mount", "type=bind,src=SRC,dst=/m,bind-nonrecursive"], "ls /m/sub", "deep"),
    (&["--mount", "type=bind,src=SRC,dst=/m,bind-recursive=enabled"], "ls /m/sub", "deep"),
    (&["--mount", "type=bind,src=SRC,dst=/m,ro,bind-recursive=writable"], OPTIONS, "ro,relatime"),
    (
        &["--mount", "type=bind,src=SRC,dst=/m,ro,bind-recursive=readonly,bind-propagation=rprivate"],
        OPTIONS,
        "ro,relatime",
    ),
    (&["--mount", "type=bind,src=SRC,dst=/m,noexec,nosuid,nodev"], OPTIONS, "rw,nosuid,nodev,noexec,relatime"),
    (&["--mount", "type=bind,src=SRC,dst=/m,O"], "touch /m/over && ls /m/over", "/m/over"),
    (&["--mount", "type=bind,src=SRC/created,dst=/m,bind-create-src"], "touch /m/x && ls /m", "x"),
    (&["-v", "SRC/created:/m"], "ls /m; rm -r /m/x", "x"),
    // --mount, tmpfs
    (&["--mount", "type=tmpfs,dst=/m"], OPTIONS, "rw,nosuid,nodev,noexec,relatime"),
    (
        &["--mount", "type=tmpfs,dst=/tmp,tmpfs-size=16k,tmpfs-mode=1770"],
        "grep ' /tmp ' /proc/self/mountinfo | cut -d' ' -f5,6,8-10 | cut -d, -f1-7; stat -c %a /tmp; \
         df -k /tmp | tail -n1 | awk '{print $2}'",
        "/tmp rw,nosuid,nodev,noexec,relatime tmpfs tmpfs rw,size=16k,mode=1770\n1770\n16",
    ),
    (&["--mount", "type=tmpfs,dst=/m,ro"], "touch /m/x 2>/dev/null || echo refused", "refused"),
    (&["--mount", "type=tmpfs,dst=/m,exec,suid,dev"], OPTIONS, "rw,relatime"),
    (&["--mount", "type=tmpfs,dst=/m,noatime"], OPTIONS, "rw,nosuid,nodev,noexec,noatime"),
    (&["--mount", "type=tmpfs,dst=/m,uid=5,gid=6"], "stat -c %u:%g /m", "5:6"),
    (&["--mount", "type=tmpfs,dst=/m,U", "-u", "1000:2000"], "stat -c %u:%g /m; touch /m/x && ls /m", "1000:2000\nx"),
    (&["--mount", "type=tmpfs,dst=/home,tmpcopyup"], "stat -c '%a %u' /home/alice; touch /home/x", "700 1000"),
    (&["--mount", "type=tmpfs,dst=/home,notmpcopyup"], "ls /home", ""),
    (
        &["--mount", "type=tmpfs,dst=/home,tmpcopyup,ro"],
        "ls /home; touch /home/x 2>/dev/null || echo refused",
        "alice\nrefused",
    ),
    // --mount, devpts
    (
        &["--mount", "type=devpts,dst=/m,uid=3,gid=4,mode=0600,max=7"],
        "ls -A /m; grep ' /m ' /proc/self/mountinfo | grep -o 'mode=600.*max=7'",
        "ptmx\nmode=600,ptmxmode=666,max=7",
    ),
    // --tmpfs
    (
        &["--tmpfs", "/m"],
        "stat -c %a /m; grep ' /m ' /proc/self/mountinfo | cut -d' ' -f6",
        "1777\nrw,nosuid,nodev,noexec,relatime",
    ),
    (&["--tmpfs", "/m:exec"], OPTIONS, "rw,nosuid,nodev,relatime"),
    (&["--tmpfs", "/m:suid,dev,noexec"], OPTIONS, "rw,noexec,relatime"),
    (&["--tmpfs", "/m:rw,noexec,nosuid,nodev,size=64m"], "df -k /m | tail -n1 | awk '{print $2}'", "65536"),
    (&["--tmpfs", "/m:ro"], "touch /m/x 2>/dev/null || echo refused", "refused"),
    (&["--tmpfs", "/m:size=50%,mode=0700,uid=1,gid=2"], "stat -c '%a %u %g' /m", "700 1 2"),
    (&["--tmpfs", "/m:nr_inodes=10"], "df -i /m | tail -n1 | awk '{print $2}'", "10"),
    (&["--tmpfs", "/m:nr_blocks=4"], "df -k /m | tail -n1 | awk '{print $2}'", "16"),
    (&["--tmpfs", "/m:noatime"], OPTIONS, "rw,nosuid,nodev,noexec,noatime"),
    (&["--tmpfs", "/m:U", "-u", "1000"], "touch /m/x && stat -c %u /m", "1000"),
    (&["--tmpfs", "/home:tmpcopyup"], "ls /home", "alice"),
    // The root, and the files of /etc elsewhere
    (&["--read-only"], "touch /x 2>/dev/null || touch /tmp/x 2>/dev/null || echo refused", "refused"),
    (
        &["--read-only", "--read-only-tmpfs"],
        "touch /x 2>/dev/null; touch /run/x /tmp/x /var/tmp/x && echo some",
        "some",
    ),
    (
        &["--chrootdirs", "/jail", "--hostname", "web"],
        "cat /jail/etc/hostname; ls /jail/etc",
        "web\nhostname\nhosts\nresolv.conf",
    ),
];

#[test]
fn every_option_has_its_effect() {
    let (bench, image) = Bench::with_image();
    let source = bench.mkdir("src");
    std::fs::create_dir(source.join("sub")).unwrap();
    write(source.join("sub/deep"), "");
    write(source.join("file"), "data\n");
    write(source.join("run"), "#!/bin/sh\necho ran\n");
    std::fs::set_permissions(source.join("run"), PermissionsExt::from_mode(0o755)).unwrap();
    let (upper, work) = (bench.mkdir("upper"), bench.mkdir("work"));
    for (flags, line, expected) in ROWS {
        let real = |flag: &&str| {
            let flag = flag.replace("SRC", &source.to_string_lossy()).replace("UPPER", &upper.to_string_lossy());
            flag.replace("WORK", &work.to_string_lossy())
        };
        let flags: Vec<String> = flags.iter().map(real).collect();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let output = sh(&bench, &flags, &image, line).ok();
        assert_eq!(output.out(), *expected, "{flags:?}: {}", output.report());
    }
    assert_eq!(names_in(&source), ["created", "file", "made", "run", "sub"], "an overlay kept its changes");
    assert_eq!(names_in(&upper), ["kept"]);
}

/// What only one who may mount can show: mounts below mounts, and other owners.
#[test]
fn mounts_of_the_host_come_along_as_asked() {
    let bench = Bench::new();
    let root = bench.mkdir("root");
    std::fs::create_dir_all(root.join("bin")).unwrap();
    std::fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    std::os::unix::fs::symlink("busybox", root.join("bin/sh")).unwrap();
    let script = r#"
        mount -t tmpfs tmpfs "$DIR"; mount --make-rshared "$DIR"; mkdir -p $DIR/a/b; echo f >$DIR/a/f
        mount -t tmpfs below $DIR/a/b
        export RBOX_ROOT=$DIR/store RBOX_RUNROOT=$DIR/run
        box() { "$RBOX" run --rm --network none "$@"; }
        ROOT=rootfs:/root-of-test
        set +e
        box -v $DIR/a:/m $ROOT /bin/sh -c 'echo x >/m/b/x; busybox ls /m/b'
        box -v $DIR/a:/m:ro $ROOT /bin/sh -c '(echo x >/m/b/y) 2>/dev/null || echo recursive'
        box -v $DIR/a:/m:rro $ROOT /bin/sh -c '(echo x >/m/b/y) 2>/dev/null || echo recursive'
        box --mount type=bind,src=$DIR/a,dst=/m,ro,bind-recursive=writable $ROOT /bin/sh -c \
            'echo x >/m/b/z && echo below; (echo x >/m/z) 2>/dev/null || echo not here'
        box -v $DIR/a:/m:bind $ROOT busybox ls /m/b
        box -v $DIR/a:/m:idmap=uids=0-5-1\;gids=0-7-1 $ROOT busybox stat -c %u:%g /m/f
        box -v $DIR/a:/m:idmap $ROOT busybox stat -c %u:%g /m/f
        box --mount "type=bind,src=$DIR/a,dst=/m,idmap=uids=@0-1000-1" $ROOT busybox stat -c %u:%g /m/f
        box -v $DIR/a:/m:slave $ROOT busybox grep -c ' /m .*master:' /proc/self/mountinfo
        mkdir $DIR/a/late
        box -v $DIR/a:/m:rslave $ROOT /bin/sh -c 'until busybox grep -q "/m/late" /proc/self/mountinfo; do :; done; echo arrived' &
        for i in $(seq 50); do sleep 0.05; mount -t tmpfs late $DIR/a/late; umount -l $DIR/a/late; done & 
        wait %1; kill %2 2>/dev/null; true
    "#;
    let script = script
        .replace("/root-of-test", &root.to_string_lossy())
        .replace("mount -t tmpfs tmpfs \"$DIR\"", "DIR=/mnt; mount -t tmpfs tmpfs $DIR");
    let output = inside(&bench, &script).ok();
    let expected = "x\nrecursive\nrecursive\nbelow\nnot here\n5:7\n0:0\n1000:1000\n1\narrived";
    assert_eq!(output.out(), expected, "{}", output.report());
}

#[test]
fn u_gives_the_source_to_the_containers_user() {
    let (bench, image) = Bench::with_image();
    let data = bench.mkdir("data");
    std::fs::create_dir(data.join("sub")).unwrap();
    write(data.join("sub/file"), "");
    write(bench.path("outside"), "");
    std::os::unix::fs::symlink(bench.path("outside"), data.join("link")).unwrap();
    let own = std::fs::metadata(bench.path("outside")).unwrap().uid();
    let bind = format!("{}:/m:U", data.display());
    let owners = "find /m | sort | xargs stat -c '%n %u:%g'";
    let all = |owner: &str| ["/m", "/m/link", "/m/sub", "/m/sub/file"].map(|path| format!("{path} {owner}")).join("\n");
    assert_eq!(sh(&bench, &["-v", &bind, "-u", "1000:2000"], &image, owners).ok().out(), all("1000:2000"));
    assert_ne!(std::fs::symlink_metadata(data.join("sub/file")).unwrap().uid(), own);
    assert_eq!(std::fs::metadata(bench.path("outside")).unwrap().uid(), own, "a link led out");
    // A name, a read-only mount, and back again.
    let read_only = format!("{bind},ro");
    assert_eq!(sh(&bench, &["-v", &read_only, "-u", "alice"], &image, owners).ok().out(), all("1000:1000"));
    let long = format!("type=bind,src={},dst=/m,chown=true", data.display());
    assert_eq!(sh(&bench, &["--mount", &long], &image, owners).ok().out(), all("0:0"));
    assert_eq!(std::fs::symlink_metadata(data.join("sub/file")).unwrap().uid(), own);
    // Over an overlay the source stays as it is.
    let overlay = format!("{}:/m:O,U", data.display());
    assert_eq!(sh(&bench, &["-v", &overlay, "-u", "7:8"], &image, owners).ok().out(), all("7:8"));
    assert_eq!(std::fs::symlink_metadata(data.join("sub/file")).unwrap().uid(), own);
}

#[test]
fn changes_of_an_overlay_go_when_the_container_ends() {
    let (bench, image) = Bench::with_image();
    let data = bench.mkdir("data");
    let bind = format!("{}:/m:O", data.display());
    let line = "ls /m; mkdir /m/made; chown 1000 /m/made";
    bench.rbox(&["create", "--name", "box", "--network", "none", "-v", &bind, &image, "sh", "-c", line]).ok();
    for _ in 0..2 {
        assert_eq!(bench.ok(&["start", "-a", "box"]), "", "something was left of the run before");
    }
    assert_eq!(names_in(&data), [""; 0]);
    bench.ok(&["rm", "box"]);
    bench.no_containers();
}

#[test]
fn images_are_mounted_whole_or_in_part() {
    let (bench, image) = Bench::with_image();
    let tools = registry().push_once("mounts-tools", || {
        let lower = Layer::new().directory("tools", 0o755).file("tools/one", 0o644, "1\n").file("gone", 0o644, "");
        let upper = Layer::new().file("tools/two", 0o644, "2\n").whiteout("gone").symlink("out", "/etc");
        vec![Image::new(vec![lower, upper])]
    });
    bench.ok(&["pull", "-q", &tools]);
    let whole = format!("type=image,source={tools},target=/m");
    let line = "ls /m; cat /m/tools/*; touch /m/x 2>/dev/null || echo refused";
    assert_eq!(sh(&bench, &["--mount", &whole], &image, line).ok().out(), "out\ntools\n1\n2\nrefused");
    for (options, line, expected) in [
        ("image-subpath=tools", "ls /m", "one\ntwo"),
        ("subpath=tools/one", "cat /m", "1"),
        ("subpath=tools/../tools", "ls /m", "one\ntwo"),
        ("rw", "echo 3 >/m/tools/three && rm /m/tools/one && ls /m/tools", "three\ntwo"),
        ("rw=true,subpath=tools", "echo 3 >/m/three && ls /m", "one\nthree\ntwo"),
        ("readonly", "touch /m/x 2>/dev/null || echo refused", "refused"),
    ] {
        let output = sh(&bench, &["--mount", &format!("{whole},{options}")], &image, line).ok();
        assert_eq!(output.out(), expected, "{options}: {}", output.report());
    }
    sh(&bench, &["--mount", &format!("{whole},subpath=out")], &image, "true").refused(125, "leads out of the source");
    sh(&bench, &["--mount", &format!("{whole},subpath=no/such")], &image, "true").refused(125, "No such file");

    // In use by the container, though the container is made from another.
    bench.ok(&["create", "--name", "user", "--mount", &whole, &image, "true"]);
    bench.rbox(&["rmi", &tools]).run().refused(1, "is using its referenced image");
    bench.ok(&["image", "prune", "-af"]);
    bench.ok(&["start", "-a", "user"]);
    bench.ok(&["rm", "user"]);
    bench.ok(&["rmi", &tools]);
}

#[test]
fn inspect_shows_mounts_as_docker_does() {
    let (bench, image) = Bench::with_image();
    let source = bench.mkdir("src").display().to_string();
    let flags = [
        "-v".to_owned(),
        format!("{source}:/a:ro,z"),
        "-v".to_owned(),
        format!("{source}:/b"),
        "--mount".to_owned(),
        format!("type=bind,src={source},dst=/c,ro,bind-recursive=writable,bind-propagation=private"),
        "--mount".to_owned(),
        "type=tmpfs,dst=/d,tmpfs-size=16k,tmpfs-mode=1770".to_owned(),
        "--mount".to_owned(),
        format!("type=image,src={image},dst=/e,subpath=etc"),
        "--tmpfs".to_owned(),
        "/f:rw,size=1m".to_owned(),
        "--read-only".to_owned(),
    ];
    let flags: Vec<&str> = ["create", "--name", "box"].into_iter().chain(flags.iter().map(String::as_str)).collect();
    bench.rbox(&flags).args([&*image, "true"]).ok();
    let shown = |template: &str| serde_json::from_str::<Value>(&bench.inspect("box", template)).unwrap();
    assert_eq!(shown("{{json .HostConfig.Binds}}"), json!([format!("{source}:/a:ro,z"), format!("{source}:/b")]));
    assert_eq!(shown("{{json .HostConfig.Tmpfs}}"), json!({"/f": "rw,size=1m"}));
    assert_eq!(shown("{{json .HostConfig.ReadonlyRootfs}}"), json!(true));
    assert_eq!(
        shown("{{json .HostConfig.Mounts}}"),
        json!([
            {"Type": "bind", "Source": source, "Target": "/c", "ReadOnly": true,
             "BindOptions": {"Propagation": "private", "ReadOnlyNonRecursive": true}},
            {"Type": "tmpfs", "Target": "/d", "TmpfsOptions": {"SizeBytes": 16384, "Mode": 0o1770}},
            {"Type": "image", "Source": image, "Target": "/e", "ReadOnly": true, "ImageOptions": {"Subpath": "etc"}},
        ])
    );
    let row = |kind: &str, source: &str, target: &str, mode: &str, rw: bool, propagation: &str| json!({"Type": kind, "Source": source, "Destination": target, "Mode": mode, "RW": rw, "Propagation": propagation});
    assert_eq!(
        shown("{{json .Mounts}}"),
        json!([
            row("bind", &source, "/a", "ro,z", false, "rprivate"),
            row("bind", &source, "/b", "", true, "rprivate"),
            row("bind", &source, "/c", "", false, "private"),
            row("tmpfs", "", "/d", "", true, ""),
            row("image", &image, "/e", "", false, ""),
        ])
    );
}

#[test]
fn nested_mounts_lie_in_the_right_order() {
    let (bench, image) = Bench::with_image();
    let (outer, inner) = (bench.mkdir("outer"), bench.mkdir("inner"));
    std::fs::create_dir_all(outer.join("x")).unwrap();
    write(inner.join("mark"), "inner\n");
    write(bench.path("one"), "one\n");
    let (outer, inner) = (outer.display().to_string(), inner.display().to_string());
    let flags = [
        "-v".to_owned(),
        format!("{inner}:/m/x/y/z"),
        "--mount".to_owned(),
        format!("type=bind,src={},dst=/m/x/y/z/file,ro", bench.text("one")),
        "--tmpfs".to_owned(),
        "/m/x/y".to_owned(),
        "-v".to_owned(),
        format!("{outer}:/m:ro"),
        "--tmpfs".to_owned(),
        "/m/x".to_owned(),
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let found = mounts(&bench, &flags, &image);
    let order: Vec<&str> = found.iter().map(|mount| &*mount.target).filter(|target| target.starts_with("/m")).collect();
    assert_eq!(order, ["/m", "/m/x", "/m/x/y", "/m/x/y/z", "/m/x/y/z/file"]);
    assert_eq!(sh(&bench, &flags, &image, "cat /m/x/y/z/mark /m/x/y/z/file").ok().out(), "inner\none");
    assert_eq!(proc::mount_at(&found, "/m").options[0], "ro");
    assert_eq!(names_in(&inner), ["file", "mark"], "the mount point was made in the source");
    assert_eq!(read(bench.path("inner/file")), "");
}

/// A server that keeps its pid and its spool in places of the root.
#[test]
fn a_read_only_server_gets_the_places_it_writes() {
    let (bench, image) = Bench::with_image();
    let server = "mkdir -p /run/apache2 && echo $$ >/run/apache2/pid && echo spool >/tmp/spool && echo serving";
    sh(&bench, &["--read-only"], &image, server).exits(1);
    let flags = ["run", "--name", "tried", "--network", "none", &image, "sh", "-c", server];
    assert_eq!(bench.rbox(&flags).ok(), "serving");
    let diff = bench.ok(&["diff", "tried"]);
    for line in ["A /run/apache2/pid", "A /tmp/spool"] {
        assert!(diff.lines().any(|changed| changed == line), "{line} in {diff}");
    }
    let flags = ["-v", "/run/apache2/", "--tmpfs", "/tmp", "--read-only"];
    assert_eq!(sh(&bench, &flags, &image, server).ok().out(), "serving");
}
