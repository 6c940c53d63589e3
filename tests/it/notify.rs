//! sd_notify(3): a socket that plays systemd hears from the right process, and of the right things.

use std::mem::MaybeUninit;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg, sockopt};

use crate::common::{Bench, wait_until};

/// The manager's end, which sees who talks.
struct Manager {
    socket: UnixDatagram,
    path: String,
}

impl Manager {
    fn new(bench: &Bench) -> Self {
        let path = bench.text("notify.sock");
        let socket = UnixDatagram::bind(&path).unwrap();
        sockopt::set_socket_passcred(&socket, true).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self { socket, path }
    }

    /// A message and the pid of its sender.
    fn hear(&self) -> (String, i32) {
        let mut bytes = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmCredentials(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut buffers = [std::io::IoSliceMut::new(&mut bytes)];
        let count = recvmsg(&self.socket, &mut buffers, &mut control, RecvFlags::empty()).unwrap().bytes;
        let pid = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmCredentials(who) => Some(who.pid.as_raw_nonzero().get()),
            _ => None,
        });
        (String::from_utf8(bytes[..count].to_vec()).unwrap(), pid.unwrap_or(0))
    }

    fn is_silent(&self) -> bool {
        self.socket.set_nonblocking(true).unwrap();
        let heard = self.socket.recv(&mut [0; 10]).is_ok();
        self.socket.set_nonblocking(false).unwrap();
        !heard
    }
}

/// Sends what its input says to the container's socket, by python if there is one: busybox can't.
const SAY: &str = "import os,socket,sys
s=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM)
s.connect(os.environ['NOTIFY_SOCKET'])
for line in sys.argv[1:]: s.send(line.encode().decode('unicode_escape').encode())
";

/// A container that shows the host's programs, so that there is a python.
fn on_host(bench: &Bench) -> Option<String> {
    let usr = std::path::Path::new("/usr/bin/python3").exists();
    usr.then(|| {
        crate::common::write(bench.path("say.py"), SAY);
        "rootfs:/".to_owned()
    })
}

#[test]
fn the_invocation_passes_on_what_the_container_says() {
    let bench = Bench::new();
    let Some(image) = on_host(&bench) else { return crate::common::skip("no python3") };
    let manager = Manager::new(&bench);
    let script = "python3 /say.py 'READY=1\\nMAINPID=1\\nSTATUS=all well' 'FDSTORE=1' 'WATCHDOG=1'; \
                  echo $NOTIFY_SOCKET $WATCHDOG_USEC ${WATCHDOG_PID-none}; sleep 100";
    let volume = format!("{}:/say.py:ro", bench.text("say.py"));
    let mut client = bench
        .rbox(&["run", "--name", "web", "-v", &volume, &image, "sh", "-c", script])
        .env("NOTIFY_SOCKET", &manager.path)
        .env("WATCHDOG_USEC", "3000000")
        .spawn();
    let pid = client.pid();
    assert_eq!(manager.hear(), (format!("READY=1\nSTATUS=all well\nMAINPID={pid}"), pid));
    assert_eq!(manager.hear(), ("WATCHDOG=1".to_owned(), pid));
    client.expect("/run/notify/notify.sock 3000000 none");
    assert!(manager.is_silent());
    bench.ok(&["rm", "-f", "web"]);
    client.wait();
}

#[test]
fn readiness_can_be_the_start_or_health() {
    let (bench, image) = Bench::with_image();
    let manager = Manager::new(&bench);
    let run = |mode: &str, flags: &[&str]| {
        let args = [
            &["run", "--rm", "--name", mode, "--sdnotify", mode],
            flags,
            &[&image, "sh", "-c", "echo ${NOTIFY_SOCKET-none}; sleep 100"],
        ];
        bench.rbox(&args.concat()).env("NOTIFY_SOCKET", &manager.path).spawn()
    };
    let mut client = run("conmon", &[]);
    assert_eq!(manager.hear(), (format!("READY=1\nMAINPID={0}", client.pid()), client.pid()));
    client.expect("none");
    let mut client = run("healthy", &["--health-cmd", "test -e /ok", "--health-interval", "100ms"]);
    client.expect("none");
    assert!(manager.is_silent());
    bench.ok(&["exec", "healthy", "touch", "/ok"]);
    assert_eq!(manager.hear(), (format!("READY=1\nMAINPID={0}", client.pid()), client.pid()));
    let mut client = run("ignore", &[]);
    client.expect("none");
    assert!(manager.is_silent());
    bench.ok(&["rm", "-f", "conmon", "healthy", "ignore"]);
    wait_until("none is left", || bench.ok(&["ps", "-aq"]).is_empty());
}

#[test]
fn a_container_in_the_background_hands_over_to_its_supervisor() {
    let bench = Bench::new();
    let Some(image) = on_host(&bench) else { return crate::common::skip("no python3") };
    let manager = Manager::new(&bench);
    let volume = format!("{}:/say.py:ro", bench.text("say.py"));
    let run = |flags: &[&str], script: &str| {
        let args = [&["run", "-d", "-v", &volume], flags, &[&image, "sh", "-c", script]].concat();
        bench.rbox(&args).env("NOTIFY_SOCKET", &manager.path).ok();
    };
    run(&["--name", "own"], "python3 /say.py 'READY=1'; sleep 100");
    let supervisor = bench.supervisor("own");
    assert_eq!(manager.hear().0, format!("MAINPID={supervisor}"));
    assert_eq!(manager.hear(), ("READY=1".to_owned(), supervisor));
    run(&["--name", "ours", "--sdnotify", "conmon"], "sleep 100");
    assert_eq!(manager.hear().0, format!("MAINPID={}\nREADY=1", bench.supervisor("ours")));
    bench.ok(&["rm", "-f", "own", "ours"]);
}

#[test]
fn without_a_manager_nothing_is_there() {
    let (bench, image) = Bench::with_image();
    let output = bench.run_rm(&[], &image, &["sh", "-c", "echo ${NOTIFY_SOCKET-none}; ls /run/notify"]);
    assert_eq!(output.out(), "none");
}
