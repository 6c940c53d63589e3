//! Services that a user's systemd really runs: Quadlet files, a socket, credentials. Where there is no
//! such systemd, as outside the virtual machine of scripts/test.sh, nothing is tested here.

use std::path::PathBuf;
use std::time::Duration;

use rustix::process::Signal;

use crate::common::{Bench, Cmd, comes_true, proc, program, rbox_program, wait_until, write};

/// Services of a test, in a directory of systemd's that vanishes with the session.
struct Units {
    bench: Bench,
    directory: PathBuf,
    /// What all names begin with.
    name: String,
}

impl Drop for Units {
    fn drop(&mut self) {
        let all = format!("{}*", self.name);
        systemctl(&["stop", &all]).run();
        for entry in std::fs::read_dir(&self.directory).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(&self.name) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
        systemctl(&["reset-failed", &all]).run();
        systemctl(&["daemon-reload"]).run();
    }
}

fn systemctl(args: &[&str]) -> Cmd {
    program("systemctl").arg("--user").args(args)
}

fn show(unit: &str, property: &str) -> String {
    systemctl(&["show", "--value", "-p", property, unit]).ok()
}

impl Units {
    /// None, with the reason printed, without a systemd.
    fn new(name: &str) -> Option<Self> {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let runtime = runtime.filter(|runtime| runtime.join("systemd/private").exists());
        let Some(runtime) = runtime else {
            crate::common::skip("there is no systemd of this user");
            return None;
        };
        let directory = runtime.join("systemd/user");
        std::fs::create_dir_all(&directory).unwrap();
        let name = format!("rbox-it-{}-{name}", std::process::id());
        Some(Self { bench: Bench::new(), directory, name })
    }

    /// Our store, as flags.
    fn store(&self) -> String {
        format!("--root {} --runroot {}", self.bench.root().display(), self.bench.runroot().display())
    }

    /// Has systemd know a unit.
    fn add(&self, end: &str, text: &str) {
        write(self.directory.join(format!("{}{end}", self.name)), text);
        systemctl(&["daemon-reload"]).ok();
    }

    /// Has systemd know the services of Quadlet files.
    fn translate(&self, files: &[(&str, &str)]) {
        let source = self.bench.mkdir("quadlet");
        for (end, text) in files {
            write(source.join(format!("{}{end}", self.name)), text);
        }
        let made = self.bench.mkdir("made");
        self.bench.rbox(&["quadlet", "generate"]).arg(&made).env("QUADLET_UNIT_DIRS", &source).ok();
        for name in crate::common::names_in(&made) {
            std::fs::copy(made.join(&name), self.directory.join(&name)).unwrap();
        }
        systemctl(&["daemon-reload"]).ok();
    }
}

#[test]
fn a_quadlet_file_runs_as_a_service() {
    let Some(units) = Units::new("q") else { return };
    let (name, global) = (&units.name, format!("GlobalArgs={}", units.store()));
    let script = "trap \"exit 0\" TERM; while :; do sleep 0.1; done";
    let container = format!(
        "[Container]\nRootfs=/\n{global}\nVolume={name}.volume:/data\nNetwork={name}.network\nExec=sh -c '{script}'\n\
         [Service]\nRestart=on-failure\nRestartSec=200ms\n"
    );
    units.translate(&[
        (".container", &container),
        (".volume", &format!("[Volume]\n{global}\n")),
        (".network", &format!("[Network]\n{global}\nSubnet=10.231.7.0/24\nNetworkDeleteOnStop=true\n")),
    ]);
    let service = format!("{name}.service");
    systemctl(&["start", &service]).limit(100).ok();
    // It was not ready before its container ran, nor without what it depends on.
    let called = format!("systemd-{name}");
    assert_eq!(units.bench.status(&called), "running");
    assert_eq!(show(&format!("{name}-volume.service"), "ActiveState"), "active");
    assert_eq!(units.bench.ok(&["volume", "ls", "-q"]), called);
    assert!(units.bench.ok(&["network", "ls", "--format", "{{.Name}}"]).contains(&called));
    // Whatever of it is killed, it is there again, as another. systemd may count a restart twice, see vm::Unit.
    let restarts = || show(&service, "NRestarts").parse::<u32>().unwrap();
    for round in 0..3 {
        let before = restarts();
        let victim = match round {
            0 => show(&service, "MainPID").parse().unwrap(),
            1 => units.bench.supervisor(&called),
            _ => units.bench.pid(&called),
        };
        assert!(proc::kill(victim, Signal::KILL));
        let again = || restarts() > before && show(&service, "ActiveState") == "active";
        assert!(
            comes_true(Duration::from_secs(60), again),
            "round {round}: {}",
            systemctl(&["status", &service]).run().report()
        );
    }
    systemctl(&["stop", &service]).limit(60).ok();
    assert_eq!(
        (show(&service, "Result"), show(&service, "ActiveState")),
        ("success".to_owned(), "inactive".to_owned())
    );
    units.bench.no_containers();
    systemctl(&["stop", &format!("{name}-network.service")]).ok();
    assert!(!units.bench.ok(&["network", "ls", "--format", "{{.Name}}"]).contains(&called));
}

#[test]
fn an_image_is_built_before_the_service_that_runs_it() {
    let Some(units) = Units::new("b") else { return };
    let (name, global) = (&units.name, format!("GlobalArgs={}", units.store()));
    let context = units.bench.mkdir("context");
    std::fs::copy("/bin/busybox", context.join("busybox")).unwrap();
    let containerfile = "FROM scratch\nARG SAYS\nCOPY busybox /bin/busybox\n\
                         RUN [\"/bin/busybox\", \"touch\", \"/ran\"]\nENV SAYS=$SAYS\n\
                         CMD [\"/bin/busybox\", \"sleep\", \"1000\"]\n";
    write(context.join("Containerfile"), containerfile);
    let directory = context.display();
    units.translate(&[
        (
            ".build",
            &format!(
                "[Build]\n{global}\nImageTag=localhost/{name}\nSetWorkingDirectory={directory}\nBuildArg=SAYS=hello\n"
            ),
        ),
        (".container", &format!("[Container]\n{global}\nImage={name}.build\nStopSignal=SIGKILL\n")),
    ]);
    let service = format!("{name}.service");
    systemctl(&["start", &service]).limit(100).ok();
    assert_eq!(show(&format!("{name}-build.service"), "Result"), "success");
    let called = format!("systemd-{name}");
    assert_eq!(units.bench.inspect(&called, "{{.Config.Image}}"), format!("localhost/{name}"));
    let said = units.bench.ok(&["exec", &called, "/bin/busybox", "sh", "-c", "/bin/busybox ls /ran; echo $SAYS"]);
    assert_eq!(said, "/ran\nhello");
    // What has changed is in the image of the next start.
    write(context.join("Containerfile"), containerfile.replace("ENV SAYS=$SAYS", "ENV SAYS=anew"));
    systemctl(&["restart", &service]).limit(100).ok();
    assert_eq!(units.bench.ok(&["exec", &called, "/bin/busybox", "sh", "-c", "echo $SAYS"]), "anew");
    systemctl(&["stop", &service]).limit(60).ok();
    units.bench.no_containers();
}

#[test]
fn a_socket_and_a_credential_get_into_the_container() {
    let Some(units) = Units::new("s") else { return };
    let (name, socket) = (&units.name, units.bench.text("socket"));
    write(units.bench.path("token"), "of the service");
    units.add(".socket", &format!("[Socket]\nListenStream={socket}\nFileDescriptorName=here\n"));
    let server = "import os,socket\ns=socket.socket(fileno=3)\nwhile True:\n c,_=s.accept()\n \
                  t=open(os.environ['CREDENTIALS_DIRECTORY']+'/token').read()\n \
                  c.sendall((t+' '+os.environ['LISTEN_FDNAMES']).encode())\n c.close()\n";
    write(units.bench.path("server.py"), server);
    let (rbox, store) = (rbox_program(), units.store());
    units.add(
        ".service",
        &format!(
            "[Service]\nType=notify\nLoadCredential=token:{}\nKillMode=mixed\nDelegate=yes\nSuccessExitStatus=143\n\
             ExecStart={} {store} run --rm --init --name {name} --network none --sdnotify=conmon \
             --load-credential token -v {}:/server.py:ro rootfs:/ python3 /server.py\n",
            units.bench.text("token"),
            rbox.display(),
            units.bench.text("server.py"),
        ),
    );
    systemctl(&["start", &format!("{name}.socket")]).ok();
    for _ in 0..2 {
        use std::io::Read;
        let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "of the service here");
    }
    assert!(!units.bench.ok(&["inspect", name]).contains("of the service"));
    systemctl(&["stop", &format!("{name}.socket"), &format!("{name}.service")]).limit(60).ok();
    assert_eq!(show(&format!("{name}.service"), "Result"), "success");
    wait_until("its container is gone", || units.bench.ok(&["ps", "-aq"]).is_empty());
}
