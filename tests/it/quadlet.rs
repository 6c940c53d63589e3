//! Units of systemd: Quadlet files and what they become, `generate systemd`, and every unit that
//! docs/systemd.md shows, all judged by `systemd-analyze verify`. Nothing here needs a running systemd.
//!
//! RBOX_TEST_KILLS says how often `quadlet install` is killed at a random moment.

use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use crate::common::{Bench, Cmd, names_in, program, rbox_program, read, write};

const ROOT: &str = "rootfs:/";

/// `rbox` with a home directory of its own.
fn rbox(bench: &Bench, args: &[&str]) -> Cmd {
    at_home(bench, bench.rbox(args))
}

fn at_home(bench: &Bench, command: Cmd) -> Cmd {
    let home = bench.mkdir("home");
    command
        .env("HOME", home)
        .without_env("XDG_CONFIG_HOME")
        .without_env("XDG_RUNTIME_DIR")
        .without_env("QUADLET_UNIT_DIRS")
}

fn installed(bench: &Bench) -> PathBuf {
    bench.path("home").join(".config/rbox/systemd")
}

fn services(bench: &Bench) -> PathBuf {
    bench.path("home").join(".config/systemd/user")
}

/// The generator's run over a directory; where the services are.
fn generated(bench: &Bench, files: &Path, flags: &[&str]) -> (crate::common::Output, PathBuf) {
    let name = if flags.contains(&"--user") { "rbox-system-generator" } else { "rbox-user-generator" };
    let link = bench.path(name);
    if !link.exists() {
        symlink(rbox_program(), &link).unwrap();
    }
    let out = bench.mkdir(&format!("out-{}", std::fs::read_dir(bench.path(".")).unwrap().count()));
    let command = at_home(bench, bench.rbox_at(&link, flags)).env("QUADLET_UNIT_DIRS", files);
    (command.arg(&out).arg(&out).arg(&out).run(), out)
}

/// Fails unless systemd finds nothing to say about these units.
#[track_caller]
fn verify(bench: &Bench, units: &[PathBuf]) {
    verify_as(bench, &["--user"], units);
}

#[track_caller]
fn verify_as(bench: &Bench, whose: &[&str], units: &[PathBuf]) {
    if !Path::new("/usr/bin/systemd-analyze").exists() {
        return crate::common::skip("systemd-analyze is not installed");
    }
    let runtime = bench.path("runtime");
    if !runtime.exists() {
        std::fs::DirBuilder::new().mode(0o700).create(&runtime).unwrap();
    }
    let home = bench.mkdir("home");
    let command = program("systemd-analyze").args(whose).arg("verify").args(units);
    let said = command.env("HOME", home).env("XDG_RUNTIME_DIR", runtime).run().ok();
    assert_eq!((said.out(), said.err()), (String::new(), String::new()), "{units:?}");
}

fn units_in(directory: &Path) -> Vec<PathBuf> {
    let names = names_in(directory);
    let is_unit = |name: &&String| name.ends_with(".service") && !name.contains('@');
    names.iter().filter(is_unit).map(|name| directory.join(name)).collect()
}

#[test]
fn every_unit_of_the_documentation_is_one() {
    let bench = Bench::new();
    let tree = std::env::var_os("CARGO_MANIFEST_DIR").expect("started by cargo or scripts/test.sh");
    let text = read(Path::new(&tree).join("docs/systemd.md"));
    let (plain, quadlet) = (bench.mkdir("plain"), bench.mkdir("quadlet"));
    let mut count = 0;
    for block in text.split("```ini\n").skip(1) {
        let block = block.split("```").next().unwrap();
        let (path, unit) = block.strip_prefix("# ").and_then(|rest| rest.split_once('\n')).expect("a unit's path");
        let name = path.rsplit('/').next().unwrap();
        let is_plain = name.ends_with(".service") || name.ends_with(".socket");
        // Two of a name are of the system and of a user.
        let directory = if is_plain { plain.join(count.to_string()) } else { quadlet.clone() };
        std::fs::create_dir_all(&directory).unwrap();
        write(directory.join(name), unit.replace("/usr/local/bin/rbox", rbox_program().to_str().unwrap()));
        if name.ends_with(".service") {
            let whose: &[&str] = if path.starts_with("/etc") { &[] } else { &["--user"] };
            verify_as(&bench, whose, &[directory.join(name)]);
        }
        count += 1;
    }
    assert!(count >= 9, "{count}");
    // The first is as short as it says.
    assert_eq!(text.split("```ini\n").nth(1).unwrap().lines().filter(|line| line.contains('=')).count(), 2);
    let (said, out) = generated(&bench, &quadlet, &[]);
    assert_eq!(said.ok().err(), "");
    let made = units_in(&out);
    assert_eq!(made.len(), names_in(&quadlet).len());
    verify(&bench, &made);
}

/// Every key that this version of rbox can do.
const EVERYTHING: &str = r#"
[Unit]
Description=Everything
After=other.container

[Container]
Image=docker.io/library/x
AddCapability=NET_ADMIN
AddDevice=-/dev/nosuch
AddHost=a.example:10.0.0.1
Annotation=a=b
AppArmor=unconfined
AutoUpdate=registry
ContainerName=everything
DNS=10.0.0.53
DNSOption=ndots:1
DNSSearch=example.com
DropCapability=all
Entrypoint=/foo.sh
Environment=A=b "C=d e" 'F=100%%' G=$$x
EnvironmentFile=env
EnvironmentHost=true
Exec=sh -c "echo \"$$A\"; exec sleep %i" 'it''s' ; x
ExposeHostPort=50-59
GroupAdd=keep-groups
HostName=example.com
HttpProxy=false
IP=10.9.0.2
Label="XYZ=a b"
LogDriver=json-file
LogOpt=max-size=1m
Mount=type=bind,source=./d,target=/d
Network=n.network
NetworkAlias=name
NoNewPrivileges=true
PodmanArgs=--interactive
PublishPort=8080:80
Pull=never
ReadOnly=true
ReadOnlyTmpfs=yes
ReloadCmd=kill -HUP 1
Retry=5
RetryDelay=5s
RunInit=no
SeccompProfile=unconfined
Secret=a,type=env,target=B
SecurityLabelDisable=true
ShmSize=100m
StopSignal=SIGINT
StopTimeout=200
Sysctl=net.core.somaxconn=1
Timezone=local
Tmpfs=/work:size=1m
UIDMap=0:10000:10
GIDMap=0:10000:10
Ulimit=nofile=1000:10000
User=1
Group=2
UserNS=keep-id
Volume=v.volume:/v:ro
Volume=%h/x:/y
LoadCredential=key
WorkingDir=/dir

[Service]
Restart=always
TimeoutStartSec=900

[Install]
WantedBy=default.target
Alias=all.service
"#;

#[test]
fn what_is_generated_is_what_systemd_takes() {
    let bench = Bench::new();
    let files = bench.mkdir("q");
    write(files.join("everything.container"), EVERYTHING);
    write(files.join("other.container"), "[Container]\nRootfs=/\nExec=true\n[Service]\nType=oneshot\n");
    write(files.join("t@.container"), "[Container]\nImage=x\nExec=sleep %i\n[Install]\nWantedBy=default.target\n");
    symlink("t@.container", files.join("t@5.container")).unwrap();
    write(
        files.join("n.network"),
        "[Network]\nSubnet=10.9.0.0/24\nGateway=10.9.0.1\nIPRange=10.9.0.128/25\nInternal=true\nDisableDNS=true\n\
        IPv6=false\nDriver=bridge\nIPAMDriver=host-local\nLabel=a=b\nOptions=mtu=1400\nNetworkName=nn\nNetworkDeleteOnStop=true\nDNS=10.0.0.1\n",
    );
    write(
        files.join("v.volume"),
        "[Volume]\nLabel=a=b\nDriver=local\nUID=1\nGID=2\nDevice=tmpfs\nType=tmpfs\nOptions=size=1m\n",
    );
    write(
        files.join("i.image"),
        "[Image]\nImage=docker.io/library/x\nArch=amd64\nOS=linux\nTLSVerify=true\nRetry=2\nAuthFile=/a\n",
    );
    std::fs::create_dir(files.join("everything.container.d")).unwrap();
    write(files.join("everything.container.d/10-more.conf"), "[Container]\nEnvironment=MORE=1\n");
    std::fs::create_dir(files.join("container.d")).unwrap();
    write(files.join("container.d/10-more.conf"), "[Container]\nEnvironment=MORE=all\n");
    let (said, out) = generated(&bench, &files, &[]);
    let warnings = said.ok().err();
    assert!(
        warnings.lines().count() == 1 && warnings.contains("everything.container:13: AutoUpdate= is only noted"),
        "{warnings}"
    );
    verify(&bench, &units_in(&out));
    let text = read(out.join("everything.service"));
    assert!(text.contains("--env=MORE=1") && !text.contains("MORE=all"), "{text}");
    assert!(read(out.join("other.service")).contains("MORE=all"));
    assert!(text.contains("\nTimeoutStopSec=230\n") && text.contains("After=other.service"), "{text}");
    let mut names = names_in(&out);
    names.retain(|name| !name.ends_with(".service"));
    assert_eq!(names, ["default.target.wants"]);
    assert_eq!(names_in(out.join("default.target.wants")), ["everything.service", "t@5.service"]);
    assert_eq!(std::fs::read_link(out.join("all.service")).unwrap(), Path::new("everything.service"));
    // A dry run prints what would be written.
    let dry = generated(&bench, &files, &["--user", "-dryrun"]).0.ok().out();
    assert!(dry.contains("---everything.service---\n") && dry.contains(text.lines().nth(4).unwrap()), "{dry}");
}

#[test]
fn files_that_cannot_be_translated_stop_nobody_else() {
    let bench = Bench::new();
    let files = bench.mkdir("q");
    let path = |name: &str| files.join(name).display().to_string();
    write(files.join("good.container"), "[Container]\nImage=x\n");
    for (name, text, expected) in [
        (
            "syntax.container",
            "[Container]\nImage=x\nhello\n",
            "3: \"hello\" is no section, no comment and no KEY=VALUE",
        ),
        (
            "key.container",
            "[Container]\nImage=x\nImagee=y\n",
            "3: unknown key Imagee= in [Container]; did you mean Image=?",
        ),
        ("none.container", "", " there is no [Container] section"),
        ("wrong.volume", "[Container]\nImage=x\n", "1: unknown section [Container]"),
        (
            "p.pod",
            "[Pod]\n",
            " rbox has no pods: let the containers share a network, or a container's (Network=NAME.container)",
        ),
        ("k.kube", "[Kube]\n", " rbox plays no Kubernetes files"),
        ("a b.container", "[Container]\nImage=x\n", " systemd takes no such name: letters, digits and :-_.\\@ only"),
        ("i.image", "[Image]\nImage=\n", " Image= is not given"),
        (
            "c.container",
            "[Container]\nImage=x\nVolume=no.volume:/v\n",
            "3: Volume=no.volume: there is no such Quadlet file",
        ),
    ] {
        write(files.join(name), text);
        let (said, out) = generated(&bench, &files, &[]);
        let line = format!("rbox: {}:{expected}", path(name));
        assert!(said.err().lines().any(|said| said == line), "{line}\n{}", said.report());
        said.exits(1);
        assert_eq!(names_in(out), ["good.service"], "{name}");
        std::fs::remove_file(files.join(name)).unwrap();
    }
    // What is no Quadlet file is nobody's business; one that is a directory, or nowhere, is nothing.
    write(files.join("README"), "hello");
    symlink("/nosuch", files.join("dangling.container")).unwrap();
    let (said, _) = generated(&bench, &files, &[]);
    assert!(said.err().contains("dangling.container: No such file or directory"), "{}", said.report());
    let link = bench.path("rbox-user-generator");
    bench.rbox_at(&link, &[]).run().refused(1, "missing argument: the directory that services go to");
    bench.rbox_at(&link, &["--frob"]).run().refused(1, "unknown flag \"--frob\"");
}

#[test]
fn files_are_installed_listed_shown_and_removed() {
    let bench = Bench::new();
    let files = bench.mkdir("q");
    let file = files.join("web.container");
    write(&file, "[Container]\nImage=x\nVolume=./d:/d\n[Install]\nWantedBy=default.target\n");
    let file = file.to_str().unwrap();
    let reload = "--reload-systemd=false";
    let place = installed(&bench).join("web.container");
    assert_eq!(rbox(&bench, &["quadlet", "install", reload, file]).ok(), place.to_str().unwrap());
    rbox(&bench, &["quadlet", "install", reload, file]).run().refused(1, "is installed already: use --replace");
    rbox(&bench, &["quadlet", "install", reload, "--replace", file]).ok();
    assert_eq!(read(&place), read(file));
    // There is no generator here, so the services are there at once.
    verify(&bench, &units_in(&services(&bench)));
    assert!(services(&bench).join("default.target.wants/web.service").exists());
    assert!(
        read(services(&bench).join("web.service"))
            .contains(&format!("--volume={}:/d", installed(&bench).join("d").display()))
    );
    let list = rbox(&bench, &["quadlet", "ls", "--format", "{{.Name}} {{.UnitName}} {{.App}}."]).ok();
    assert_eq!(list, "web.container web.service .");
    assert_eq!(rbox(&bench, &["quadlet", "list", "-f", "name=x*", "--format", "{{.Name}}"]).ok(), "");
    assert_eq!(rbox(&bench, &["quadlet", "print", "web.container"]).ok(), read(file).trim_end());
    assert!(rbox(&bench, &["quadlet", "print", "-s", "web.container"]).ok().contains("\nExecStart="));
    rbox(&bench, &["quadlet", "print", "nosuch.container"]).run().refused(1, "no such Quadlet file: nosuch.container");
    // With what belongs to it, and a directory.
    write(files.join("web.env"), "A=b\n");
    let env = files.join("web.env").display().to_string();
    let app = rbox(&bench, &["quadlet", "install", reload, file, &env]).ok();
    assert_eq!(names_in(&app), ["web.container", "web.env"]);
    write(files.join("n.network"), "[Network]\n");
    let whole = rbox(&bench, &["quadlet", "install", reload, files.to_str().unwrap()]).ok();
    assert_eq!(names_in(&whole), ["n.network", "web.container", "web.env"]);
    assert_eq!(rbox(&bench, &["quadlet", "ls", "-f", "name=n.*", "--format", "{{.App}}"]).ok(), "q");
    rbox(&bench, &["quadlet", "rm", reload, "nosuch"]).run().refused(1, "no such Quadlet file: nosuch");
    rbox(&bench, &["quadlet", "rm", reload, "-i", "nosuch", "../q"]).ok();
    assert_eq!(rbox(&bench, &["quadlet", "rm", reload, "q"]).ok(), "q");
    assert_eq!(names_in(services(&bench)), ["default.target.wants", "web.service"]);
    assert_eq!(rbox(&bench, &["quadlet", "rm", reload, "--all"]).ok(), "web\nweb.container");
    assert_eq!(names_in(services(&bench)), ["default.target.wants"]);
    assert_eq!(names_in(services(&bench).join("default.target.wants")), [""; 0]);
    assert_eq!(names_in(installed(&bench)), [".rbox-lock"]);
    // A unit of the user's own is left alone.
    write(services(&bench).join("mine.service"), "[Service]\nExecStart=/bin/true\n");
    rbox(&bench, &["quadlet", "generate"]).ok();
    assert!(services(&bench).join("mine.service").exists());
}

#[test]
fn services_follow_their_files_and_replace_nothing_else() {
    let bench = Bench::new();
    let place = |name: &str| services(&bench).join(name);
    std::fs::create_dir_all(services(&bench)).unwrap();
    let files = bench.mkdir("q");
    let put = |name: &str, rest: &str| {
        write(files.join(name), format!("[Container]\nImage=x\n{rest}"));
        files.join(name).display().to_string()
    };
    let install = |file: &str| rbox(&bench, &["quadlet", "install", "--reload-systemd=false", "--replace", file]).run();
    // Services and aliases that somebody wrote.
    for name in ["web.service", "site.service"] {
        write(place(name), "[Service]\nExecStart=/bin/true\n");
    }
    let file = put("web.container", "");
    install(&file).refused(1, "web.service is not of a Quadlet file");
    let file = put("web.container", "ServiceName=other\n[Install]\nAlias=site.service\n");
    install(&file).refused(1, "site.service is not of a Quadlet file");
    assert_eq!(names_in(installed(&bench)), [".rbox-lock"]);
    for name in ["web.service", "site.service"] {
        assert_eq!(read(place(name)), "[Service]\nExecStart=/bin/true\n");
        std::fs::remove_file(place(name)).unwrap();
    }
    // What the file does not ask for any more is not asked for.
    install(&put("web.container", "[Install]\nWantedBy=a.target b.target\nAlias=site.service\n")).ok();
    assert_eq!(names_in(services(&bench)), ["a.target.wants", "b.target.wants", "site.service", "web.service"]);
    // As `systemctl enable` has it.
    symlink(place("web.service"), place("a.target.wants").join("enabled.service")).unwrap();
    install(&put("web.container", "[Install]\nWantedBy=b.target\n")).ok();
    assert_eq!(names_in(place("a.target.wants")), ["enabled.service"]);
    assert_eq!(names_in(place("b.target.wants")), ["web.service"]);
    assert!(!place("site.service").exists());
    // Two files cannot have one service.
    let twice = install(&put("z.container", "ServiceName=web\n")).ok();
    assert!(twice.err().contains("z.container: web.service is made of "), "{}", twice.report());
    assert!(read(place("web.service")).contains("web.container"));
}

#[test]
fn what_cannot_be_installed() {
    let bench = Bench::new();
    let files = bench.mkdir("q");
    let install = |name: &str| {
        let path = files.join(name).display().to_string();
        rbox(&bench, &["quadlet", "install", "--reload-systemd=false", &path]).run()
    };
    write(files.join("bad.container"), "[Container]\nImage=x\nFoo=y\n");
    let shown = installed(&bench).join("bad.container");
    install("bad.container").refused(1, &format!("{}:3: unknown key Foo= in [Container]", shown.display()));
    write(files.join("p.pod"), "[Pod]\n");
    install("p.pod").refused(1, "rbox has no pods");
    write(files.join("README"), "x");
    install("README").refused(1, "is no Quadlet file");
    install("nosuch.container").refused(1, "nosuch.container");
    std::fs::create_dir(files.join("empty")).unwrap();
    install("empty").refused(1, "there are no Quadlet files in it");
    symlink("/etc/passwd", files.join("empty/x.container")).unwrap();
    install("empty").refused(1, "links to /etc/passwd, outside the directory");
    rbox(&bench, &["quadlet", "install", "https://example.com/x.container"]).run().refused(1, "fetch the file first");
    assert_eq!(names_in(installed(&bench)), [".rbox-lock"]);
    rbox(&bench, &["quadlet", "install"]).run().refused(1, "missing argument");
}

#[test]
fn an_installation_that_is_killed_leaves_nothing_half_made() {
    let kills: u64 = std::env::var("RBOX_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(6);
    let bench = Bench::new();
    let files = bench.mkdir("shop");
    for index in 0..30 {
        write(files.join(format!("c{index}.container")), format!("[Container]\nImage=x\nEnvironment=A={index}\n"));
    }
    let source = files.to_str().unwrap();
    for round in 0..kills {
        let running = rbox(&bench, &["quadlet", "install", "--replace", "--reload-systemd=false", source]).spawn();
        std::thread::sleep(Duration::from_millis(round * 37 % 90));
        running.signal(if round % 2 == 0 { Signal::KILL } else { Signal::INT });
        running.wait();
        let app = installed(&bench).join("shop");
        let count = names_in(&app).len();
        assert!(count == 0 && !app.exists() || count == 30, "{count}");
        if round % 3 == 2 {
            rbox(&bench, &["quadlet", "rm", "-i", "--reload-systemd=false", "shop"]).ok();
        }
    }
    rbox(&bench, &["quadlet", "install", "--replace", "--reload-systemd=false", source]).ok();
    assert_eq!(names_in(installed(&bench)), [".rbox-lock", "shop"]);
    assert_eq!(units_in(&services(&bench)).len(), 30);
    // Several at once.
    let all: Vec<_> = (0..4)
        .map(|_| rbox(&bench, &["quadlet", "install", "--replace", "--reload-systemd=false", source]).spawn())
        .collect();
    all.into_iter().for_each(|one| drop(one.wait().ok()));
    assert_eq!(names_in(installed(&bench)), [".rbox-lock", "shop"]);
}

#[test]
fn a_unit_for_a_container() {
    let bench = Bench::new();
    let id = bench.ok(&[
        "create",
        "--name",
        "web",
        "--network=none",
        "-it",
        "--cidfile",
        &bench.text("cid"),
        "-e",
        "A=$x 100%",
        ROOT,
        "sh",
        "-c",
        "echo \"$A\"",
    ]);
    let plain = bench.ok(&["generate", "systemd", "--no-header", "web"]);
    let program = rbox_program().canonicalize().unwrap().display().to_string();
    assert!(plain.contains(&format!("ExecStart={program} start --attach {id}\n")), "{plain}");
    let flags = [
        "--new",
        "--name",
        "--restart-policy",
        "always",
        "--restart-sec",
        "3",
        "--start-timeout",
        "9",
        "-t",
        "5",
        "--wants",
        "a.service",
        "--after",
        "b.service",
        "--requires",
        "c.service",
        "-e",
        "K=a b",
    ];
    let out = bench.mkdir("units");
    let path = bench.rbox(&["generate", "systemd", "--files", "web"]).args(flags).current_dir(&out).ok();
    assert_eq!(path, out.join("container-web.service").display().to_string());
    let text = read(&path);
    for line in [
        "Restart=always",
        "RestartSec=3",
        "TimeoutStartSec=9",
        "TimeoutStopSec=65",
        "Wants=a.service",
        "After=b.service",
        "Requires=c.service",
        "Environment=\"K=a b\"",
        "Type=notify",
    ] {
        assert!(text.contains(&format!("\n{line}\n")), "{line}: {text}");
    }
    let start = text.lines().find(|line| line.starts_with("ExecStart=")).unwrap();
    assert!(start.contains("-e \"A=$$x 100%%\"") && start.ends_with("sh -c \"echo \\\"$$A\\\"\""), "{start}");
    assert!(
        start.contains("--detach=false") && start.contains("--interactive=false") && !start.contains("cid"),
        "{start}"
    );
    for name in ["a.service", "b.service", "c.service"] {
        write(out.join(name), "[Service]\nExecStart=/bin/true\n");
    }
    verify(&bench, &[PathBuf::from(&path)]);
    let template = bench.ok(&[
        "generate",
        "systemd",
        "--new",
        "--template",
        "--container-prefix",
        "c",
        "--separator",
        ".",
        "--name",
        "--format",
        "json",
        "web",
    ]);
    let template: serde_json::Value = serde_json::from_str(&template).unwrap();
    assert!(template["c.web@"].as_str().unwrap().contains("--name=web-%i "), "{template}");
    // Nothing secret is noted.
    let config = read(bench.root().join(format!("containers/{id}/config.json")));
    assert!(config.contains("create_command"), "{config}");
    for (args, text) in [
        (&["--template", "web"][..], "--template needs --new"),
        (&["--format", "yaml", "web"], "invalid --format \"yaml\""),
        (&["--env", "x", "web"], "invalid --env \"x\""),
        (&["--after", "a b", "web"], "\"a b\" is no name of a unit"),
        (&["--separator", "/", "web"], "invalid --separator \"/\""),
        (&["--restart-policy", "sometimes", "web"], "must be one of no, on-success"),
    ] {
        bench.rbox(&["generate", "systemd"]).args(args).run().refused(125, text);
    }
    bench.rbox(&["generate", "systemd", "nosuch"]).run().refused(1, "nosuch");
}

#[test]
fn descriptors_are_passed_on() {
    let bench = Bench::new();
    write(bench.path("a"), "first\n");
    write(bench.path("b"), "second\n");
    let a = bench.text("a");
    let b = bench.text("b");
    let run = |flags: &str, command: &str| {
        bench.shell(&format!("exec 3<{a} 6<{b}; rbox run --rm --network none {flags} {ROOT} sh -c '{command}'")).run()
    };
    assert_eq!(run("--preserve-fds 1", "cat <&3; ls /proc/self/fd | tr \"\\n\" \" \"").ok().out(), "first\n0 1 2 3 4 ");
    assert_eq!(run("--init --preserve-fd 6,3", "cat <&6; cat <&3; echo >&5").out(), "second\nfirst");
    assert_eq!(run("--init", "echo >&3 || echo closed").out(), "closed");
    run("--preserve-fds 2", "true").refused(125, "file descriptor 4 is not available");
    run("--preserve-fd 3,7", "true").refused(125, "file descriptor 7 is not available");
    run("--preserve-fd 2", "true").refused(125, "invalid descriptor \"2\" for --preserve-fd");
    run("--preserve-fds x", "true").refused(125, "--preserve-fds");
    // LISTEN_PID is who gets them, inside; what is meant for another process is left out.
    let listen = |pid: &str, flags: &str, command: &str| {
        let line = format!("LISTEN_PID={pid} LISTEN_FDS=1 LISTEN_FDNAMES=x exec rbox {flags} sh -c '{command}' 3<{a}");
        bench.shell(&line).run()
    };
    let tell = "echo $LISTEN_PID $LISTEN_FDS $LISTEN_FDNAMES $$; cat <&3";
    let run = format!("run --rm --network none {ROOT}");
    assert_eq!(listen("$$", &run, tell).ok().out(), "1 1 x 1\nfirst");
    let init = listen("$$", &format!("run --rm --init --network none {ROOT}"), tell).ok().out();
    let words: Vec<&str> = init.split_whitespace().collect();
    assert!(words[0] == words[3] && words[0] != "1", "{init}");
    assert_eq!(listen("1", &run, "echo $LISTEN_FDS; echo >&3 || echo closed").out(), "\nclosed");
    let two = bench.shell(&format!("LISTEN_PID=$$ LISTEN_FDS=2 exec rbox {run} true 3<{a}")).run();
    two.refused(125, "file descriptor 4 is not open, but LISTEN_FDS=2 says so");
    // In the background, and for exec. Of ours nobody keeps the descriptor.
    let id = listen("$$", &format!("run -d --network none {ROOT}"), "exec 3<&-; sleep 100").ok().out();
    assert_eq!(listen("$$", &format!("exec {id}"), "cat <&3; test $LISTEN_PID = $$").ok().out(), "first");
    let holds = |pid: i32| {
        let links = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
        links.filter_map(|link| std::fs::read_link(link.path()).ok()).any(|target| target == Path::new(&a))
    };
    crate::common::wait_until("nobody holds the file", || !holds(bench.supervisor(&id)) && !holds(bench.pid(&id)));
    bench.ok(&["rm", "-f", &id]);
}

#[test]
fn credentials_are_files_that_nobody_else_has() {
    const VALUE: &str = "cr3d-0f-th3-s3rvice";
    let bench = Bench::new();
    let given = bench.mkdir("given");
    write(given.join("token"), VALUE);
    write(bench.path("file"), "of a file");
    let flags =
        ["--network=none", "--load-credential", "token", "--load-credential", &format!("other:{}", bench.text("file"))];
    let script = "cat $CREDENTIALS_DIRECTORY/token; echo; cat /run/host/credentials/other; echo; echo x 2>/dev/null >/run/host/credentials/token || echo fixed";
    let with = |command: Cmd| command.env("CREDENTIALS_DIRECTORY", &given);
    let run = |flags: &[&str], words: &[&str]| with(bench.rbox(&["run"]).args(flags).arg(ROOT).args(words));
    let out = run(&[&["--rm", "--log-driver", "none"], &flags[..]].concat(), &["sh", "-c", script]).ok();
    assert_eq!(out, format!("{VALUE}\nof a file\nfixed"));
    // Neither on disk nor in what is shown, also while it runs.
    let id = run(&[&["-d", "--name", "c", "--secret", "s"], &flags[..]].concat(), &["sleep", "100"]);
    bench.rbox(&["secret", "create", "s", "-"]).stdin("secret").ok();
    let id = id.ok();
    assert_eq!(
        bench.ok(&["exec", &id, "sh", "-c", "cat /run/secrets/s $CREDENTIALS_DIRECTORY/token"]),
        format!("secret{VALUE}")
    );
    assert!(!bench.ok(&["inspect", &id]).contains(VALUE));
    assert_eq!(program("grep").args(["-rlaF", VALUE]).arg(bench.root()).arg(bench.runroot()).run().out(), "");
    bench.ok(&["stop", "-t", "0", &id]);
    // Outside of the service there are none.
    bench
        .rbox(&["start", &id])
        .without_env("CREDENTIALS_DIRECTORY")
        .run()
        .refused(1, "there is no $CREDENTIALS_DIRECTORY");
    with(bench.rbox(&["start", &id])).ok();
    bench.ok(&["rm", "-f", &id]);
    for (value, code, text) in [
        ("nosuch", 125, "credential \"nosuch\": the service has none called \"nosuch\""),
        ("a/b", 125, "a credential's name is that of a file"),
        ("a:b/c", 125, "the source is an absolute path or the name of a credential"),
        ("a:/nosuch", 125, "credential \"a\": read /nosuch"),
    ] {
        run(&["--rm", "--network=none", "--load-credential", value], &["true"]).run().refused(code, text);
    }
    let big = bench.path("big");
    write(&big, vec![b'x'; (1 << 20) + 1]);
    let big = format!("a:{}", big.display());
    run(&["--rm", "--network=none", "--load-credential", &big], &["true"])
        .run()
        .refused(125, "credential \"a\": read ");
    bench.no_containers();
}
