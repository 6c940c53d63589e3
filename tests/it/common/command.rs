//! Commands with a time limit, captured output, and failures that show what happened.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use super::patient;

/// A command being put together.
pub struct Cmd {
    command: Command,
    shown: String,
    input: Input,
    limit: Duration,
}

enum Input {
    Nothing,
    Bytes(Vec<u8>),
    Pipe,
}

/// A program found on the PATH.
pub fn program(name: impl AsRef<OsStr>) -> Cmd {
    let name = name.as_ref();
    let command = Command::new(name);
    Cmd { command, shown: name.to_string_lossy().into_owned(), input: Input::Nothing, limit: Duration::from_secs(60) }
}

impl Cmd {
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        let arg = arg.as_ref();
        let text = arg.to_string_lossy();
        let plain = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./:=@,+%".contains(c));
        let _ = if plain { write!(self.shown, " {text}") } else { write!(self.shown, " {text:?}") };
        self.command.arg(arg);
        self
    }

    pub fn args<S: AsRef<OsStr>>(self, args: impl IntoIterator<Item = S>) -> Self {
        args.into_iter().fold(self, Self::arg)
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn without_env(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    pub fn current_dir(mut self, directory: impl AsRef<Path>) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// Standard input: these bytes, then its end.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Input::Bytes(bytes.into());
        self
    }

    /// Standard input stays open: see [`Running::stdin`].
    pub fn piped(mut self) -> Self {
        self.input = Input::Pipe;
        self
    }

    /// The time limit; 60 s unless told.
    pub fn limit(mut self, seconds: u64) -> Self {
        self.limit = Duration::from_secs(seconds);
        self
    }

    /// Starts it.
    #[track_caller]
    pub fn spawn(mut self) -> Running {
        self.command.stdin(if matches!(self.input, Input::Nothing) { Stdio::null() } else { Stdio::piped() });
        self.command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = Instant::now();
        let mut child = self.command.spawn().unwrap_or_else(|error| panic!("start {}: {error}", self.shown));
        let mut stdin = child.stdin.take();
        if let Input::Bytes(bytes) = self.input
            && let Some(mut pipe) = stdin.take()
        {
            // A reader that leaves early is its own affair.
            std::thread::spawn(move || drop(pipe.write_all(&bytes)));
        }
        let out = Capture::new(child.stdout.take().expect("piped"));
        let err = Capture::new(child.stderr.take().expect("piped"));
        Running { child, shown: self.shown, stdin, out, err, started, limit: self.limit, waited: None }
    }

    /// Runs it to its end.
    #[track_caller]
    pub fn run(self) -> Output {
        self.spawn().wait()
    }

    /// Runs it; it must succeed. Its standard output as text, without the last newline.
    #[track_caller]
    pub fn ok(self) -> String {
        self.run().ok().out()
    }
}

/// A stream that is read as it comes.
#[derive(Clone)]
struct Capture(Arc<(Mutex<Captured>, Condvar)>);

#[derive(Default)]
struct Captured {
    bytes: Vec<u8>,
    closed: bool,
}

impl Capture {
    fn new(mut stream: impl Read + Send + 'static) -> Self {
        let capture = Self(Arc::default());
        let shared = capture.clone();
        std::thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            loop {
                let count = stream.read(&mut buffer).unwrap_or(0);
                let mut captured = shared.0.0.lock().expect("no panic while held");
                captured.bytes.extend_from_slice(&buffer[..count]);
                captured.closed |= count == 0;
                shared.0.1.notify_all();
                if count == 0 {
                    return;
                }
            }
        });
        capture
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.0.lock().expect("no panic while held").bytes.clone()
    }

    fn wait(&self, limit: Duration, done: impl Fn(&Captured) -> bool) -> bool {
        let guard = self.0.0.lock().expect("no panic while held");
        let (guard, _) = self.0.1.wait_timeout_while(guard, limit, |captured| !done(captured)).expect("no panic");
        done(&guard)
    }
}

/// A command that runs.
pub struct Running {
    child: Child,
    shown: String,
    stdin: Option<ChildStdin>,
    out: Capture,
    err: Capture,
    started: Instant,
    limit: Duration,
    waited: Option<ExitStatus>,
}

impl Running {
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid")
    }

    /// Sends a signal to the process itself.
    pub fn signal(&self, signal: Signal) {
        let _ = rustix::process::kill_process(Pid::from_raw(self.pid()).expect("a pid"), signal);
    }

    /// Writes to its standard input.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let pipe = self.stdin.as_mut().expect("made with piped()");
        pipe.write_all(bytes.as_ref()).unwrap_or_else(|error| panic!("write to {}: {error}", self.shown));
        pipe.flush().expect("a pipe");
    }

    /// Ends its standard input.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Waits until standard output contains `text`.
    #[track_caller]
    pub fn expect(&mut self, text: &str) {
        let limit = patient(Duration::from_secs(30));
        let found = self.out.wait(limit, |captured| contains(&captured.bytes, text) || captured.closed);
        if found && contains(&self.out.bytes(), text) {
            return;
        }
        super::comes_true(Duration::from_millis(500), || self.has_ended());
        let how = self.waited.map_or_else(|| format!("within {limit:?}"), |status| format!("before {status}"));
        panic!("no {text:?} {how} from {}\n{}", self.shown, self.report());
    }

    pub fn out_so_far(&self) -> String {
        String::from_utf8_lossy(&self.out.bytes()).into_owned()
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        if self.waited.is_none() {
            self.waited = self.child.try_wait().expect("our child");
        }
        self.waited.is_some()
    }

    /// Waits for its end and for the end of what it prints: a process left behind must not hold the
    /// caller's pipes, or `$(rbox run -d ...)` would hang.
    #[track_caller]
    pub fn wait(mut self) -> Output {
        self.stdin = None;
        let deadline = self.started + patient(self.limit);
        while !self.has_ended() {
            if Instant::now() > deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                self.waited = Some(ExitStatus::from_raw(0));
                panic!("no end within {:?}: {}\n{}", self.limit, self.shown, self.report());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let took = self.started.elapsed();
        for (name, capture) in [("output", &self.out), ("error output", &self.err)] {
            let closed = capture.wait(patient(Duration::from_secs(10)), |captured| captured.closed);
            assert!(
                closed,
                "standard {name} is still held open 10 s after the end of {}\n{}",
                self.shown,
                self.report()
            );
        }
        let status = self.waited.expect("ended");
        let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
        let (stdout, stderr) = (self.out.bytes(), self.err.bytes());
        Output { shown: self.shown.clone(), code, signal: status.signal(), stdout, stderr, took }
    }

    fn report(&self) -> String {
        report(&self.out.bytes(), &self.err.bytes())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.has_ended() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// What a finished command left.
#[derive(Debug)]
pub struct Output {
    pub shown: String,
    /// The exit code, or 128 + the signal it died of.
    pub code: i32,
    /// The signal, if it died of one.
    pub signal: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub took: Duration,
}

impl Output {
    /// Standard output as text without the last newline.
    pub fn out(&self) -> String {
        let text = String::from_utf8_lossy(&self.stdout);
        text.strip_suffix('\n').unwrap_or(&text).to_owned()
    }

    /// Error output as text without the last newline.
    pub fn err(&self) -> String {
        let text = String::from_utf8_lossy(&self.stderr);
        text.strip_suffix('\n').unwrap_or(&text).to_owned()
    }

    /// It must have exited with 0.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.exits(0)
    }

    /// It must have exited with `code`.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code of {}\n{}", self.shown, self.report());
        self
    }

    /// It must have exited with one of `codes`.
    #[track_caller]
    pub fn exits_with_one_of(self, codes: &[i32]) -> Self {
        assert!(codes.contains(&self.code), "exit code {} of {}\n{}", self.code, self.shown, self.report());
        self
    }

    /// It must have failed with `code`, nothing on standard output, and one line of rbox's that
    /// contains `text`.
    #[track_caller]
    pub fn refused(self, code: i32, text: &str) -> Self {
        let output = self.exits(code);
        let err = output.err();
        assert!(output.stdout.is_empty(), "nothing on standard output of {}\n{}", output.shown, output.report());
        assert!(err.starts_with("rbox: "), "an error of rbox's from {}\n{}", output.shown, output.report());
        assert_eq!(err.lines().count(), 1, "one line from {}\n{}", output.shown, output.report());
        assert!(err.contains(text), "{text:?} from {}\n{}", output.shown, output.report());
        output
    }

    /// Both streams, for messages.
    pub fn report(&self) -> String {
        report(&self.stdout, &self.stderr)
    }
}

fn report(out: &[u8], err: &[u8]) -> String {
    let cut = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let skip = text.len().saturating_sub(6000);
        let skip = (skip..).find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text[skip..].to_owned()
    };
    format!("--- stdout ({} bytes)\n{}\n--- stderr\n{}\n---", out.len(), cut(out), cut(err))
}

fn contains(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len().max(1)).any(|window| window == needle.as_bytes())
}
