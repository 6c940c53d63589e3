//! A real terminal: a program on the inner side of a pty with its own session, and a hand and an
//! eye on the outer side.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, OptionalActions, Termios, Winsize, tcgetattr, tcsetattr, tcsetwinsize};

use super::Bench;

/// A terminal with a program in it.
pub struct Terminal {
    /// None once it was closed.
    outer: Option<File>,
    inner: OwnedFd,
    child: Child,
    reader: Option<JoinHandle<()>>,
    closing: Arc<AtomicBool>,
    seen: Arc<(Mutex<Vec<u8>>, Condvar)>,
    /// How far [`Terminal::expect`] has read.
    read: usize,
}

impl Terminal {
    /// Runs a shell script, in which `rbox` is the program under test, as the leader of a session
    /// whose controlling terminal this is (24 rows, 80 columns).
    #[track_caller]
    pub fn shell(bench: &Bench, script: &str) -> Self {
        let prepared = bench.mkdir("bin");
        let link = prepared.join("rbox");
        if !link.exists() {
            std::os::unix::fs::symlink(super::rbox_program(), &link).expect("a link");
        }
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", prepared.display());
        let environment = [
            ("RBOX_ROOT", bench.root().into_os_string()),
            ("RBOX_RUNROOT", bench.runroot().into_os_string()),
            ("PATH", path.into()),
            ("TERM", "xterm".into()),
        ];
        Self::spawn(&["bash", "--norc", "-c", script], &environment)
    }

    /// Waits until keys go through as they are typed: before that, ctrl-c is a signal to the program.
    #[track_caller]
    pub fn until_raw(&self) {
        let raw = || tcgetattr(&self.inner).is_ok_and(|modes| !modes.local_modes.contains(LocalModes::ICANON));
        super::wait_until("the terminal is raw", raw);
    }

    /// Runs `rbox ARGS...` on a terminal.
    #[track_caller]
    pub fn rbox(bench: &Bench, args: &[&str]) -> Self {
        let program = super::rbox_program();
        let program = program.to_str().expect("a path of text");
        let environment = [
            ("RBOX_ROOT", bench.root().into_os_string()),
            ("RBOX_RUNROOT", bench.runroot().into_os_string()),
            ("TERM", "xterm".into()),
        ];
        Self::spawn(&[&[program], args].concat(), &environment)
    }

    fn spawn(command: &[&str], environment: &[(&str, std::ffi::OsString)]) -> Self {
        let outer = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a pty");
        grantpt(&outer).and_then(|()| unlockpt(&outer)).expect("a pty");
        let name = ptsname(&outer, Vec::new()).expect("a pty").into_string().expect("text");
        // Without O_NOCTTY it could become the terminal of the test program; std sets no such flag.
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY | rustix::fs::OFlags::CLOEXEC;
        let inner = rustix::fs::open(&name, flags, rustix::fs::Mode::empty()).expect("the inner side");
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&inner, size).expect("a terminal");
        let stdio = || Stdio::from(inner.try_clone().expect("a descriptor"));
        // setsid makes its standard input the controlling terminal, then becomes the program.
        let child = Command::new("setsid")
            .arg("--ctty")
            .args(command)
            .envs(environment.iter().map(|(name, value)| (OsStr::new(name), value)))
            .stdin(stdio())
            .stdout(stdio())
            .stderr(stdio())
            .spawn()
            .expect("setsid of util-linux");
        let outer = File::from(outer);
        let seen = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        let closing = Arc::new(AtomicBool::new(false));
        let stream = outer.try_clone().expect("a descriptor");
        let (shared, stop) = (Arc::clone(&seen), Arc::clone(&closing));
        let reader = std::thread::spawn(move || watch(stream, &shared, &stop));
        Self { outer: Some(outer), inner, child, reader: Some(reader), closing, seen, read: 0 }
    }

    /// Closes the outer side, as when a terminal's window is closed or its connection lost.
    pub fn hang_up(&mut self) {
        self.closing.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            reader.join().expect("no panic");
        }
        self.outer = None;
    }

    fn outer(&self) -> &File {
        self.outer.as_ref().expect("not hung up")
    }

    /// Types.
    #[track_caller]
    pub fn send(&mut self, keys: &str) {
        self.outer().write_all(keys.as_bytes()).expect("a terminal");
    }

    /// Types a line.
    #[track_caller]
    pub fn line(&mut self, text: &str) {
        self.send(&format!("{text}\n"));
    }

    /// Waits until `text` appears after what was expected before.
    #[track_caller]
    pub fn expect(&mut self, text: &str) {
        self.expect_within(text, Duration::from_secs(20));
    }

    /// The same with a time limit.
    #[track_caller]
    pub fn expect_within(&mut self, text: &str, limit: Duration) {
        let start = self.read;
        let find = |seen: &[u8]| {
            let position = seen[start..].windows(text.len()).position(|window| window == text.as_bytes())?;
            Some(start + position + text.len())
        };
        let guard = self.seen.0.lock().expect("no panic while held");
        let (guard, _) = self
            .seen
            .1
            .wait_timeout_while(guard, super::patient(limit), |seen| find(seen).is_none())
            .expect("no panic");
        let found = find(&guard);
        let screen = String::from_utf8_lossy(&guard).into_owned();
        drop(guard);
        self.read = found.unwrap_or_else(|| panic!("no {text:?} on the terminal within {limit:?}:\n{screen}\n---"));
    }

    /// All that was shown.
    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&self.seen.0.lock().expect("no panic while held")).into_owned()
    }

    /// Makes the terminal another size.
    pub fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(self.outer(), size).expect("a terminal");
    }

    /// The terminal's settings.
    pub fn settings(&self) -> Termios {
        tcgetattr(&self.inner).expect("a terminal")
    }

    /// The settings that raw mode changes, for comparisons.
    pub fn modes(&self) -> [u32; 4] {
        let settings = self.settings();
        [
            settings.input_modes.bits(),
            settings.output_modes.bits(),
            settings.control_modes.bits(),
            settings.local_modes.bits(),
        ]
    }

    /// Sets the terminal as another one is, as a shell would.
    pub fn set_modes_of(&self, other: &Self) {
        tcsetattr(&self.inner, OptionalActions::Now, &other.settings()).expect("a terminal");
    }

    /// The process on the terminal.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid")
    }

    /// Waits for the program's end; its exit code.
    #[track_caller]
    pub fn wait(mut self) -> i32 {
        use std::os::unix::process::ExitStatusExt as _;
        let deadline = Instant::now() + super::patient(Duration::from_secs(30));
        loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                return status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
            }
            if Instant::now() > deadline {
                panic!("the program on the terminal did not end in 30 s:\n{}\n---", self.screen());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Reads what is shown until told to stop or the other side is closed for good (EIO).
fn watch(mut stream: File, seen: &(Mutex<Vec<u8>>, Condvar), stop: &AtomicBool) {
    let mut buffer = [0; 4096];
    let pause = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
    while !stop.load(Ordering::Relaxed) {
        if !matches!(poll(&mut [PollFd::new(&stream, PollFlags::IN)], Some(&pause)), Ok(1..)) {
            continue;
        }
        let Ok(count @ 1..) = stream.read(&mut buffer) else { return };
        seen.0.lock().expect("no panic while held").extend_from_slice(&buffer[..count]);
        seen.1.notify_all();
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
