use super::keys::Means;
use super::*;
use crate::spec::unit::{UnitFile, split_words};

fn source(name: &str, text: &str) -> Source {
    let path = format!("/etc/q/{name}");
    let unit = UnitFile::parse(&path, text.as_bytes()).unwrap();
    Source { name: name.to_owned(), path, kind: Kind::of_file(name).unwrap().unwrap(), unit }
}

fn translated(files: &[(&str, &str)], user: bool) -> Translation {
    let all = Sources(files.iter().map(|(name, text)| source(name, text)).collect());
    let host = Host { program: "/usr/bin/rbox", user, has: &|_, _| true, exists: &|path| path == "/dev/null" };
    translate(&all.0[0], &all, &host)
}

/// The words of a command of the only service.
fn command(translation: &Translation, key: &str) -> Vec<String> {
    assert!(translation.problems.is_empty(), "{:?}", translation.problems);
    let unit = UnitFile::parse("made", translation.service.text.as_bytes()).unwrap();
    split_words(&unit.last("Service", key).unwrap_or_else(|| panic!("{key}: {}", translation.service.text)).value)
        .unwrap()
}

fn value(translation: &Translation, section: &str, key: &str) -> Vec<String> {
    let unit = UnitFile::parse("made", translation.service.text.as_bytes()).unwrap();
    unit.all(section, key).into_iter().map(|entry| entry.value.clone()).collect()
}

/// Each key, a value of it, and the argument that it becomes.
const CONTAINER: &[(&str, &str, &[&str])] = &[
    ("AddCapability", "NET_ADMIN SYS_TIME", &["--cap-add=NET_ADMIN", "--cap-add=SYS_TIME"]),
    ("AddDevice", "/dev/fuse -/dev/null:/dev/n -/dev/nosuch", &["--device=/dev/fuse", "--device=/dev/null:/dev/n"]),
    ("AddHost", "a.example:10.0.0.1", &["--add-host=a.example:10.0.0.1"]),
    ("Annotation", "a=b \"c=d e\"", &["--annotation=a=b", "--annotation=c=d e"]),
    ("Annotation", "alone", &["--annotation=alone"]),
    ("AutoUpdate", "registry", &["--label=io.containers.autoupdate=registry"]),
    ("AppArmor", "unconfined", &["--security-opt=apparmor=unconfined"]),
    ("CgroupsMode", "no-conmon", &["--cgroups=no-conmon"]),
    ("ContainerName", "web", &["--name", "web"]),
    ("DNS", "10.0.0.53", &["--dns=10.0.0.53"]),
    ("DNSOption", "ndots:1", &["--dns-option=ndots:1"]),
    ("DNSSearch", "example.com", &["--dns-search=example.com"]),
    ("DropCapability", "all", &["--cap-drop=all"]),
    ("Entrypoint", "/foo.sh", &["--entrypoint=/foo.sh"]),
    ("Entrypoint", "/foo.sh\nEntrypoint=", &["--entrypoint="]),
    ("Environment", "A=b \"C=d e\" F='g h'", &["--env=A=b", "--env=C=d e", "--env=F=g h"]),
    ("Environment", "A=b FROM_HERE", &["--env=A=b", "--env=FROM_HERE"]),
    ("EnvironmentFile", "-env -/d", &["--env-file=-/etc/q/env", "--env-file=-/d"]),
    (
        "EnvironmentFile",
        "env ./b/../c /d %h/e",
        &["--env-file=/etc/q/env", "--env-file=/etc/q/c", "--env-file=/d", "--env-file=%h/e"],
    ),
    ("EnvironmentHost", "true", &["--env-host"]),
    ("Exec", "sleep \"1 2\" %i $$X", &["img", "sleep", "1 2", "%i", "$$X"]),
    ("ExposeHostPort", "50-59", &["--expose=50-59"]),
    ("GIDMap", "0:10000:10", &["--gidmap=0:10000:10"]),
    ("GlobalArgs", "--root /r", &["/usr/bin/rbox", "--root", "/r", "run"]),
    ("GroupAdd", "keep-groups", &["--group-add=keep-groups"]),
    ("HealthCmd", "\"curl -f http://x || exit 1\"", &["--health-cmd=curl -f http://x || exit 1"]),
    ("HealthCmd", "'redis-cli' ping | grep 'PONG'", &["--health-cmd='redis-cli' ping | grep 'PONG'"]),
    ("HealthInterval", "2m", &["--health-interval=2m"]),
    ("HealthLogDestination", "/foo/log", &["--health-log-destination=/foo/log"]),
    ("HealthMaxLogCount", "5", &["--health-max-log-count=5"]),
    ("HealthMaxLogSize", "500", &["--health-max-log-size=500"]),
    ("HealthOnFailure", "kill", &["--health-on-failure=kill"]),
    ("HealthRetries", "5", &["--health-retries=5"]),
    ("HealthStartPeriod", "1m", &["--health-start-period=1m"]),
    ("HealthStartupCmd", "command", &["--health-startup-cmd=command"]),
    ("HealthStartupInterval", "1m", &["--health-startup-interval=1m"]),
    ("HealthStartupRetries", "8", &["--health-startup-retries=8"]),
    ("HealthStartupSuccess", "2", &["--health-startup-success=2"]),
    ("HealthStartupTimeout", "1m33s", &["--health-startup-timeout=1m33s"]),
    ("HealthTimeout", "20s", &["--health-timeout=20s"]),
    ("HostName", "example.com", &["--hostname=example.com"]),
    ("HostName", "$NAME", &["--hostname", "$NAME"]),
    ("HttpProxy", "false", &["--http-proxy=false"]),
    ("IP", "192.5.0.1", &["--ip=192.5.0.1"]),
    ("IP6", "2001:db8::1", &["--ip6=2001:db8::1"]),
    ("Label", "\"XYZ=a b\"", &["--label=XYZ=a b"]),
    ("LoadCredential", "key other:file", &["--load-credential=key", "--load-credential=other:file"]),
    ("LogDriver", "journald", &["--log-driver=journald"]),
    ("LogOpt", "path=/var/log/mine.json", &["--log-opt=path=/var/log/mine.json"]),
    ("Memory", "20g", &["--memory=20g"]),
    (
        "Mount",
        "type=bind,source=./d,target=/d type=tmpfs,target=/t",
        &["--mount=type=bind,source=/etc/q/d,target=/d", "--mount=type=tmpfs,target=/t"],
    ),
    ("Network", "host", &["--network=host"]),
    ("NetworkAlias", "name", &["--network-alias=name"]),
    ("NoNewPrivileges", "true", &["--security-opt=no-new-privileges"]),
    ("Notify", "true", &["--sdnotify=container"]),
    ("Notify", "Healthy", &["--sdnotify=healthy"]),
    ("PidsLimit", "10000", &["--pids-limit=10000"]),
    ("PodmanArgs", "--add-host foobar --x='a b'", &["--add-host", "foobar", "--x=a b", "img"]),
    ("PublishPort", "8080:80", &["--publish=8080:80"]),
    ("Pull", "never", &["--pull=never"]),
    ("RboxArgs", "--interactive", &["--interactive", "img"]),
    ("ReadOnly", "true", &["--read-only"]),
    ("ReadOnlyTmpfs", "yes", &["--read-only-tmpfs"]),
    ("RemapUsers", "keep-id", &["--userns=keep-id"]),
    ("Retry", "5", &["--retry=5"]),
    ("RetryDelay", "5s", &["--retry-delay=5s"]),
    ("RunInit", "no", &["--init=false"]),
    ("SeccompProfile", "my.json", &["--security-opt=seccomp=/etc/q/my.json"]),
    ("Secret", "a,type=env,target=B c", &["--secret=a,type=env,target=B", "--secret=c"]),
    ("SecurityLabelDisable", "true", &["--security-opt=label=disable"]),
    ("ShmSize", "100m", &["--shm-size=100m"]),
    ("StopSignal", "SIGINT", &["--stop-signal=SIGINT"]),
    ("StopTimeout", "20", &["--stop-timeout=20"]),
    ("SubGIDMap", "gtest", &["--subgidname=gtest"]),
    ("SubUIDMap", "utest", &["--subuidname=utest"]),
    ("Sysctl", "net.core.somaxconn=1 kernel.msgmax=2", &["--sysctl=net.core.somaxconn=1", "--sysctl=kernel.msgmax=2"]),
    ("Timezone", "local", &["--tz=local"]),
    ("Tmpfs", "/work:size=1m", &["--tmpfs=/work:size=1m"]),
    ("UIDMap", "0:10000:10 10:20000:5", &["--uidmap=0:10000:10", "--uidmap=10:20000:5"]),
    ("Ulimit", "nofile=1000:10000", &["--ulimit=nofile=1000:10000"]),
    ("User", "bin", &["--user=bin"]),
    ("UserNS", "keep-id:uid=200,gid=210", &["--userns=keep-id:uid=200,gid=210"]),
    ("VolatileTmp", "yes", &["--tmpfs=/tmp:rw,size=512M,mode=1777"]),
    ("Volume", "/source:/dest:ro", &["--volume=/source:/dest:ro"]),
    ("Volume", "./d:/d", &["--volume=/etc/q/d:/d"]),
    ("Volume", "/anonymous", &["--volume=/anonymous"]),
    ("Volume", "%h/x:/y", &["--volume=%h/x:/y"]),
    ("WorkingDir", "/dir", &["--workdir=/dir"]),
];

#[test]
fn each_key_of_a_container() {
    for (key, given, expected) in CONTAINER {
        let made = translated(&[("a.container", &format!("[Container]\nImage=img\n{key}={given}\n"))], true);
        let line = command(&made, "ExecStart");
        let found = line.windows(expected.len()).any(|words| words == *expected);
        assert!(found, "{key}={given}: {expected:?} not in {line:?}");
    }
    // What has no row of its own above is tested by itself below.
    let elsewhere = [
        "Group",
        "Image",
        "ReloadCmd",
        "ReloadSignal",
        "RemapGid",
        "RemapUid",
        "RemapUidSize",
        "Rootfs",
        "ServiceName",
    ];
    for (key, means) in keys::of(Kind::Container) {
        let tested = CONTAINER.iter().any(|(tested, ..)| tested == key) || elsewhere.contains(key);
        assert!(tested || matches!(means, Means::Refused(_) | Means::Ignored(_)), "{key} is not tested");
    }
}

/// A key, a value, and the arguments they become.
type Row = (&'static str, &'static str, &'static [&'static str]);

#[test]
fn each_key_of_the_others() {
    let tables: &[(&str, &str, &str, &[Row])] = &[
        (
            "a.volume",
            "[Volume]\n",
            "",
            &[
                ("Copy", "false", &["--opt=nocopy"]),
                ("Copy", "true", &["--opt=copy"]),
                ("Device", "tmpfs", &["--opt=device=tmpfs"]),
                ("Driver", "local", &["--driver=local"]),
                (
                    "Device",
                    "x\nType=ext4\nOptions=rw,noatime",
                    &["--opt=device=x", "--opt=type=ext4", "--opt=o=rw,noatime"],
                ),
                ("GID", "192", &["--gid=192"]),
                ("Group", "192", &["--gid=192"]),
                ("UID", "123", &["--uid=123"]),
                ("User", "root", &["--uid=0"]),
                ("Label", "a=b", &["--label=a=b"]),
                ("PodmanArgs", "--foo bar", &["--foo", "bar", "systemd-a"]),
                ("RboxArgs", "--foo", &["--foo", "systemd-a"]),
                ("GlobalArgs", "--root /r", &["--root", "/r", "volume", "create", "--ignore"]),
                ("VolumeName", "mine", &["--ignore", "mine"]),
            ],
        ),
        (
            "a.network",
            "[Network]\n",
            "",
            &[
                ("DNS", "10.0.0.1", &["--dns=10.0.0.1"]),
                ("DisableDNS", "true", &["--disable-dns"]),
                ("Driver", "bridge", &["--driver=bridge"]),
                (
                    "Subnet",
                    "10.1.0.0/24\nGateway=10.1.0.1\nIPRange=10.1.0.128/25",
                    &["--gateway=10.1.0.1", "--ip-range=10.1.0.128/25", "--subnet=10.1.0.0/24"],
                ),
                ("IPAMDriver", "dhcp", &["--ipam-driver=dhcp"]),
                ("IPv6", "true", &["--ipv6"]),
                ("Internal", "true", &["--internal"]),
                ("Label", "a=b", &["--label=a=b"]),
                ("Options", "isolate=true mtu=1400", &["--opt=isolate=true", "--opt=mtu=1400"]),
                ("PodmanArgs", "--x", &["--x", "systemd-a"]),
                ("RboxArgs", "--x", &["--x", "systemd-a"]),
                ("GlobalArgs", "--x", &["--x", "network", "create", "--ignore"]),
                ("NetworkName", "mine", &["--ignore", "mine"]),
            ],
        ),
        (
            "a.image",
            "[Image]\nImage=img\n",
            "",
            &[
                ("AllTags", "true", &["--all-tags"]),
                ("Arch", "arm64", &["--arch=arm64"]),
                ("AuthFile", "/a.json", &["--authfile=/a.json"]),
                ("CertDir", "/certs", &["--cert-dir=/certs"]),
                ("Creds", "me:word", &["--creds=me:word"]),
                ("DecryptionKey", "/key", &["--decryption-key=/key"]),
                ("OS", "linux", &["--os=linux"]),
                ("Policy", "always", &["--policy=always"]),
                ("Retry", "5", &["--retry=5"]),
                ("RetryDelay", "10s", &["--retry-delay=10s"]),
                ("TLSVerify", "false", &["--tls-verify=false"]),
                ("Variant", "v7", &["--variant=v7"]),
                ("PodmanArgs", "--x", &["--x", "img"]),
                ("RboxArgs", "--x", &["--x", "img"]),
                ("GlobalArgs", "--x", &["--x", "pull"]),
            ],
        ),
        (
            "a.build",
            "[Build]\nImageTag=localhost/i\nFile=./Containerfile\n",
            "",
            &[
                ("Annotation", "a=b", &["--annotation=a=b"]),
                ("Arch", "arm64", &["--arch=arm64"]),
                ("AuthFile", "/a", &["--authfile=/a"]),
                ("BuildArg", "A=b", &["--build-arg=A=b"]),
                ("DNS", "10.0.0.1", &["--dns=10.0.0.1"]),
                ("DNSOption", "ndots:1", &["--dns-option=ndots:1"]),
                ("DNSSearch", "x", &["--dns-search=x"]),
                ("Environment", "A=b", &["--env=A=b"]),
                ("File", "sub/Dockerfile", &["--file=/etc/q/sub/Dockerfile", "/etc/q/sub"]),
                ("File", "https://x/y.tar", &["https://x/y.tar"]),
                ("SetWorkingDirectory", "unit", &["--file=/etc/q/Containerfile", "/etc/q"]),
                ("SetWorkingDirectory", "file", &["--file=/etc/q/Containerfile", "/etc/q"]),
                ("SetWorkingDirectory", "https://git/x.git", &["--file=./Containerfile", "https://git/x.git"]),
                ("ForceRM", "false", &["--force-rm=false"]),
                ("GroupAdd", "keep-groups", &["--group-add=keep-groups"]),
                ("IgnoreFile", "ig", &["--ignorefile=/etc/q/ig"]),
                ("ImageTag", "second", &["--tag=localhost/i", "--tag=second"]),
                ("Label", "a=b", &["--label=a=b"]),
                ("Network", "host", &["--network=host"]),
                ("Pull", "never", &["--pull=never"]),
                ("Retry", "5", &["--retry=5"]),
                ("RetryDelay", "10s", &["--retry-delay=10s"]),
                ("Secret", "id=x,src=y", &["--secret=id=x,src=y"]),
                ("TLSVerify", "false", &["--tls-verify=false"]),
                ("Target", "stage", &["--target=stage"]),
                ("Variant", "v7", &["--variant=v7"]),
                ("Volume", "./d:/d", &["--volume=/etc/q/d:/d"]),
                ("PodmanArgs", "--x", &["--x", "/etc/q"]),
                ("RboxArgs", "--x", &["--x", "/etc/q"]),
                ("GlobalArgs", "--x", &["--x", "build"]),
            ],
        ),
    ];
    for (name, start, _, rows) in tables {
        for (key, given, expected) in *rows {
            let line = command(&translated(&[(name, &format!("{start}{key}={given}\n"))], true), "ExecStart");
            let found = line.windows(expected.len()).any(|words| words == *expected);
            assert!(found, "{name} {key}={given}: {expected:?} not in {line:?}");
        }
        for (key, means) in keys::of(Kind::of_file(name).unwrap().unwrap()) {
            let named = |row: &(&str, &str, &[&str])| row.0 == *key || row.1.contains(&format!("\n{key}="));
            let tested = rows.iter().any(named) || start.contains(&format!("{key}="));
            let elsewhere = ["ServiceName", "NetworkDeleteOnStop", "ImageTag"].contains(key);
            assert!(tested || elsewhere || matches!(means, Means::Refused(_) | Means::Ignored(_)), "{name}: {key}");
        }
    }
}

/// What another file's name stands for.
#[test]
fn names_of_other_files_mean_what_these_make() {
    let line = |text: &str, other: (&str, &str)| {
        command(&translated(&[("a.container", &format!("[Container]\nImage=i\n{text}\n")), other], true), "ExecStart")
    };
    for (text, name, other, expected) in [
        ("Network=b.container", "b.container", "ServiceName=x", "--network=container:systemd-x"),
        ("Network=b.container", "b.container", "ContainerName=my-%N", "--network=container:my-b"),
        ("Network=b@1.container", "b@.container", "", "--network=container:systemd-b_1"),
    ] {
        let other = format!("[Container]\nImage=i\n{other}\n");
        assert!(line(text, (name, &other)).contains(&expected.to_owned()), "{text} {other}");
    }
    assert!(line("Volume=d@1.volume:/d", ("d@.volume", "[Volume]\n")).contains(&"--volume=systemd-d-1:/d".to_owned()));
    let unclear = ("b.container", "[Container]\nImage=i\nContainerName=%p-c\n");
    let made = translated(&[("a.container", "[Container]\nImage=i\nNetwork=b.container\n"), unclear], true);
    assert!(made.problems[0].starts_with("/etc/q/a.container:3: Network=b.container: "), "{:?}", made.problems);
    let made = translated(
        &[
            ("a.container", "[Unit]\nOnFailure=b.container\n[Container]\nImage=i\n"),
            ("b.container", "[Container]\nImage=i\n"),
        ],
        true,
    );
    assert_eq!(value(&made, "Unit", "OnFailure"), ["b.service"]);
}

/// What a service could never do is said before there is one.
#[test]
fn what_could_not_run_is_no_service() {
    let all = |_: &str, flag: &str| !flag.contains("nosuch");
    for (name, text, expected) in [
        ("a.container", "[Container]\nImage=i\nPodmanArgs=--nosuch=1", ":3: PodmanArgs=--nosuch=1: 'rbox run' has no"),
        ("a.container", "[Container]\nImage=i\nGlobalArgs=--nosuch", ":3: GlobalArgs=--nosuch: 'rbox' has no flag"),
        (
            "a.container",
            "[Container]\nImage=i\nMount=type=glob,source=/a*,target=/b",
            ":3: rbox has no mounts of type glob",
        ),
        ("a.container", "[Container]\nRootfs=/r:idmap", ":2: Rootfs=/r:idmap: rbox has no option idmap"),
        ("a.container", "[Container]\nImage=i\nServiceName=a/b", ":3: ServiceName=a/b: systemd takes no such name"),
        ("a.volume", "[Volume]\nDriver=image\nImage=i", ":3: Image= is not supported: mount the image"),
        ("a.volume", "[Volume]\nUser=alice", ":2: User=alice is no number"),
        ("a.build", "[Build]\nImageTag=i", ": neither File= nor SetWorkingDirectory= is given"),
        ("a.container", "[Containr]\nImage=i", ":1: unknown section [Containr]"),
    ] {
        let all = Host { program: "/usr/bin/rbox", user: true, has: &all, exists: &|_| true };
        let sources = Sources(vec![source(name, text)]);
        let made = translate(&sources.0[0], &sources, &all);
        let found = made.problems.iter().any(|problem| problem.starts_with(&format!("/etc/q/{name}{expected}")));
        assert!(found, "{text}: {:?}", made.problems);
    }
    let made = translated(&[("a.container", "[Container]\nRootfs=/r:O\n[Timer]\nOnBootSec=1\n")], true);
    assert!(command(&made, "ExecStart").contains(&"rootfs:/r".to_owned()));
    assert_eq!(made.warnings, ["/etc/q/a.container:3: [Timer] means nothing here"]);
    let bound = "[Volume]\nDevice=/data\nType=bind\nUser=5\nCopy=false\n";
    let made = translated(&[("a.volume", bound)], true);
    assert_eq!(value(&made, "Unit", "RequiresMountsFor"), ["%t/rbox", "/data"]);
    assert!(!command(&made, "ExecStart").iter().any(|word| word.starts_with("--uid")) && made.warnings.len() == 1);
    // A build is done with each start of what needs it.
    let made = translated(&[("a.build", "[Build]\nImageTag=i\n[Service]\nWorkingDirectory=/w\n")], true);
    assert_eq!(command(&made, "ExecStart").last().map(String::as_str), Some("/w"));
    assert!(value(&made, "Service", "RemainAfterExit").is_empty());
}

#[test]
fn the_service_of_a_container() {
    let made = translated(&[("web.container", "[Container]\nImage=img\n")], false);
    assert_eq!(made.service.name, "web.service");
    assert_eq!(
        command(&made, "ExecStart"),
        ["/usr/bin/rbox", "run", "--name", "systemd-%N", "--replace", "--rm", "--sdnotify=conmon", "img"]
    );
    assert_eq!(command(&made, "ExecStop"), ["/usr/bin/rbox", "stop", "--ignore", "systemd-%N"]);
    let elsewhere = translated(&[("web.container", "[Container]\nImage=img\nGlobalArgs=--root /r\n")], false);
    assert_eq!(command(&elsewhere, "ExecStop")[..4], ["/usr/bin/rbox", "--root", "/r", "stop"]);
    assert_eq!(command(&elsewhere, "ExecStopPost")[1..4], ["--root", "/r", "rm"]);
    for (key, expected) in [
        ("Type", "notify"),
        ("NotifyAccess", "main"),
        ("KillMode", "mixed"),
        ("Delegate", "yes"),
        ("SyslogIdentifier", "%N"),
        ("SuccessExitStatus", "143"),
    ] {
        assert_eq!(value(&made, "Service", key), [expected], "{key}");
    }
    assert_eq!(value(&made, "Unit", "SourcePath"), ["/etc/q/web.container"]);
    assert_eq!(value(&made, "Unit", "After"), ["network-online.target"]);
    assert_eq!(value(&made, "X-Container", "Image"), ["img"]);
    // A user's systemd has no such target, and the file can say that it needs none.
    for (text, user) in [("", true), ("[Quadlet]\nDefaultDependencies=false\n", false)] {
        let made = translated(&[("web.container", &format!("[Container]\nImage=img\n{text}"))], user);
        assert!(value(&made, "Unit", "After").is_empty());
    }
    // What the file says counts.
    let text = "[Unit]\nDescription=D\n[Container]\nRootfs=root\nUser=1\nGroup=2\nServiceName=other\nReloadCmd=kill -HUP 1\n\
                StopTimeout=100\n[Service]\nType=oneshot\nRestart=on-failure\n[X-Mine]\nA=b\n";
    let made = translated(&[("web.container", text)], true);
    assert_eq!(made.service.name, "other.service");
    assert_eq!(value(&made, "Service", "Type"), ["oneshot"]);
    assert_eq!(value(&made, "Service", "TimeoutStopSec"), ["130"]);
    assert_eq!(value(&made, "Service", "Restart"), ["on-failure"]);
    assert_eq!(value(&made, "X-Mine", "A"), ["b"]);
    let line = command(&made, "ExecStart").join(" ");
    assert!(
        line.contains("--user=1:2") && line.ends_with("rootfs:/etc/q/root") && !line.contains("sdnotify"),
        "{line}"
    );
    assert_eq!(command(&made, "ExecReload")[1..], ["exec", "systemd-%N", "kill", "-HUP", "1"]);
    let made = translated(&[("a.container", "[Container]\nImage=i\nReloadSignal=SIGHUP\n")], true);
    assert_eq!(command(&made, "ExecReload")[1..], ["kill", "--signal", "SIGHUP", "systemd-%N"]);
    let made = translated(
        &[("a.container", "[Container]\nImage=i\nRemapUsers=auto\nRemapUid=0:1\nRemapGid=0:2\nRemapUidSize=9\n")],
        true,
    );
    let line = command(&made, "ExecStart").join(" ");
    assert!(line.contains("--userns=auto:uidmapping=0:1,gidmapping=0:2,size=9"), "{line}");
    let made = translated(&[("a.network", "[Network]\nNetworkDeleteOnStop=yes\n")], true);
    assert_eq!(command(&made, "ExecStopPost")[1..], ["network", "rm", "systemd-a"]);
    assert_eq!(value(&made, "Service", "RemainAfterExit"), ["yes"]);
}

#[test]
fn files_that_name_others() {
    let files = [
        (
            "web.container",
            "[Unit]\nAfter=db.container x.target\n[Container]\nImage=app.image\nVolume=data.volume:/d:ro\nVolume=t@a.volume:/t\n\
             Mount=type=volume,source=data.volume,target=/e\nMount=type=image,source=b.build,target=/i\nNetwork=net.network:ip=10.0.0.2\n",
        ),
        ("data.volume", "[Volume]\nVolumeName=store\n"),
        ("t@.volume", "[Volume]\n"),
        ("net.network", "[Network]\n"),
        ("app.image", "[Image]\nImage=quay.io/app\n"),
        ("b.build", "[Build]\nImageTag=localhost/b\nFile=/x/Dockerfile\n"),
        ("db.container", "[Container]\nImage=db\nContainerName=base\n"),
    ];
    let made = translated(&files, true);
    let line = command(&made, "ExecStart").join(" ");
    for part in [
        "--volume=store:/d:ro",
        "--volume=systemd-t-a:/t",
        "--mount=type=volume,source=store,target=/e",
        "--mount=type=image,source=localhost/b,target=/i",
        "--network=systemd-net:ip=10.0.0.2",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(line.ends_with(" quay.io/app"), "{line}");
    let required = value(&made, "Unit", "Requires");
    for service in
        ["data-volume.service", "t-volume@a.service", "net-network.service", "app-image.service", "b-build.service"]
    {
        assert!(required.contains(&service.to_owned()), "{service}: {required:?}");
    }
    assert!(value(&made, "Unit", "After").contains(&"db.service x.target".to_owned()));
    let shared = translated(&[("a.container", "[Container]\nImage=i\nNetwork=db.container\n"), files[6]], true);
    assert!(command(&shared, "ExecStart").contains(&"--network=container:base".to_owned()));
    assert_eq!(value(&shared, "Unit", "BindsTo"), ["db.service"]);
}

#[test]
fn templates_and_installation() {
    let text = "[Container]\nImage=i\n[Install]\nWantedBy=default.target multi-user.target\nAlias=b.service\n";
    let made = translated(&[("a.container", text)], true);
    let links: Vec<_> = made.service.links.iter().map(|link| (link.path.as_str(), link.target.as_str())).collect();
    assert_eq!(
        links,
        [
            ("b.service", "a.service"),
            ("default.target.wants/a.service", "../a.service"),
            ("multi-user.target.wants/a.service", "../a.service"),
        ]
    );
    let template = "[Container]\nImage=i\nExec=%i\n[Install]\nRequiredBy=x.target\n";
    let made = translated(&[("a@.container", template)], true);
    assert_eq!((made.service.name.as_str(), made.service.links.len()), ("a@.service", 0));
    assert!(command(&made, "ExecStart").contains(&"systemd-%p_%i".to_owned()));
    let made = translated(&[("a@.container", &format!("{template}DefaultInstance=one\n"))], true);
    assert_eq!(
        made.service.links,
        [Link { path: "x.target.requires/a@one.service".into(), target: "../a@.service".into() }]
    );
    assert_eq!(
        dropin_directories("a-b@c.container"),
        ["container.d", "a-.container.d", "a-b@.container.d", "a-b@c.container.d"]
    );
    assert_eq!(dropin_directories("a-b.container"), ["container.d", "a-.container.d", "a-b.container.d"]);
}

#[test]
fn what_is_wrong_with_a_file() {
    let image = "[Container]\nImage=i\n";
    for (text, expected) in [
        ("[Container]\n".to_owned(), "/etc/q/a.container: neither Image= nor Rootfs= is given"),
        ("[Unit]\nAfter=x\n".to_owned(), "/etc/q/a.container: there is no [Container] section"),
        (format!("{image}Rootfs=/\n"), "/etc/q/a.container:3: Image= and Rootfs= cannot be given together"),
        (format!("{image}Imgae=x\n"), "/etc/q/a.container:3: unknown key Imgae= in [Container]; did you mean Image=?"),
        (format!("{image}Frobnicate=x\n"), "/etc/q/a.container:3: unknown key Frobnicate= in [Container]"),
        (
            format!("{image}[Instal]\nWantedBy=a\n"),
            "/etc/q/a.container:3: unknown section [Instal]; did you mean [Install]?",
        ),
        (format!("{image}ReadOnly=maybe\n"), "/etc/q/a.container:3: ReadOnly=maybe is neither true nor false"),
        (format!("{image}Sysctl=A\n"), "/etc/q/a.container:3: Sysctl=A is no NAME=VALUE"),
        (format!("{image}Exec='a\n"), "/etc/q/a.container:3: Exec=: the quote ' is not closed"),
        (
            format!("{image}Volume=no.volume:/x\n"),
            "/etc/q/a.container:3: Volume=no.volume: there is no such Quadlet file",
        ),
        (
            format!("{image}Network=no.network\n"),
            "/etc/q/a.container:3: Network=no.network: there is no such Quadlet file",
        ),
        (format!("{image}Group=x\n"), "/etc/q/a.container:3: Group= needs User="),
        (
            format!("{image}Notify=perhaps\n"),
            "/etc/q/a.container:3: Notify=perhaps is not one of true, false and healthy",
        ),
        (
            format!("{image}AppArmor=mine\n"),
            "/etc/q/a.container:3: AppArmor=mine: rbox loads no profiles; unconfined is what it is",
        ),
        (
            format!("{image}Pod=p.pod\n"),
            "/etc/q/a.container:3: Pod= is not supported: rbox has no pods: let the containers share a network",
        ),
        (format!("{image}RemapUid=1\n"), "/etc/q/a.container:3: RemapUid= needs RemapUsers="),
        (format!("{image}RemapUsers=x\n"), "/etc/q/a.container:3: RemapUsers=x is not one of manual, auto and keep-id"),
        (
            format!("{image}ReloadCmd=a\nReloadSignal=b\n"),
            "/etc/q/a.container:4: ReloadCmd= and ReloadSignal= cannot be given together",
        ),
        (
            format!("{image}[Service]\nType=forking\n"),
            "/etc/q/a.container:4: Type=forking: a container's service is of type notify or oneshot",
        ),
        (
            format!("{image}[Service]\nExecStart=x\n"),
            "/etc/q/a.container:4: ExecStart= is made of the section [Container]: say there what is to be done",
        ),
        (
            format!("{image}[Quadlet]\nDefaultDependencies=x\n"),
            "/etc/q/a.container:4: DefaultDependencies=x is neither true nor false",
        ),
        (
            format!("{image}[Quadlet]\nDefaultDependencie=x\n"),
            "/etc/q/a.container:4: unknown key DefaultDependencie= in [Quadlet]; did you mean DefaultDependencies?",
        ),
        (
            format!("{image}[Install]\nWantedBy=../x.target\n"),
            "/etc/q/a.container:4: WantedBy=../x.target is no name of a unit",
        ),
        (
            format!("{image}[Unit]\nAfter=no.container\n"),
            "/etc/q/a.container:4: After=no.container: there is no such Quadlet file",
        ),
        (
            format!("{image}[Unit]\nAfter=a.pod\n"),
            "/etc/q/a.container:4: After=a.pod: rbox has no pods: let the containers share a network, or a container's (Network=NAME.container)",
        ),
    ] {
        assert_eq!(translated(&[("a.container", &text)], true).problems, [expected], "{text}");
    }
    for (name, text, expected) in [
        ("a.volume", "[Volume]\nType=x\n", "/etc/q/a.volume:2: Type= needs Device="),
        ("a.volume", "[Volume]\nDriver=image\n", "/etc/q/a.volume:2: Driver=image needs Image="),
        ("a.network", "[Network]\nGateway=10.0.0.1\n", "/etc/q/a.network:2: there are more Gateway= than Subnet="),
        ("a.image", "[Image]\n", "/etc/q/a.image: Image= is not given"),
        ("a.build", "[Build]\nFile=x\n", "/etc/q/a.build: ImageTag= is not given"),
        ("a.build", "[Build]\nImageTag=x\n", "/etc/q/a.build: neither File= nor SetWorkingDirectory= is given"),
    ] {
        assert_eq!(translated(&[(name, text)], true).problems, [expected], "{text}");
    }
    let made = translated(&[("a.container", "[Container]\nImage=i\nAutoUpdate=registry\n")], true);
    assert!(
        made.problems.is_empty() && made.warnings[0].starts_with("/etc/q/a.container:3: AutoUpdate= is only noted: ")
    );
    assert!(matches!(Kind::of_file("a.pod"), Some(Err(_))) && Kind::of_file("a.conf").is_none());
}

#[test]
fn what_this_rbox_lacks_is_refused() {
    let all = Sources(vec![
        source("a.container", "[Container]\nImage=i\nMemory=1g\n"),
        source("b.build", "[Build]\nImageTag=x\nFile=/f\n"),
    ]);
    let has = |command: &str, flag: &str| command != "build" && flag != "--memory";
    let host = Host { program: "rbox", user: true, has: &has, exists: &|_| true };
    assert_eq!(
        translate(&all.0[0], &all, &host).problems,
        ["/etc/q/a.container:3: Memory= needs 'rbox run --memory', which this version of rbox does not have"]
    );
    assert_eq!(translate(&all.0[1], &all, &host).problems, ["/etc/q/b.build: this version of rbox builds no images"]);
}
