//! Credential helpers: programs `docker-credential-NAME` that keep secrets elsewhere, spoken to as
//! docker-credential-helpers has it: a word as argument, the rest on standard input and output.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};

use super::{AuthError, Credentials};
use crate::spec::text::printable;

/// A helper may ask its user something, so it gets time.
pub const PATIENCE: Duration = Duration::from_secs(60);
const ANSWER_MAX: usize = 1 << 20;
const TICK: Duration = Duration::from_millis(20);
/// In place of a user name: the secret is an identity token.
const TOKEN_USER: &str = "<token>";
const NOT_FOUND: &str = "credentials not found in native keychain";

/// One helper.
#[derive(Clone, Copy, Debug)]
pub struct Helper<'a> {
    /// What follows `docker-credential-`.
    pub name: &'a str,
    pub patience: Duration,
    /// The directory that it is in; None is PATH.
    pub programs: Option<&'a Path>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Stored<'a> {
    #[serde(rename = "ServerURL")]
    server: &'a str,
    username: &'a str,
    secret: &'a str,
}

impl Helper<'_> {
    /// What it knows about a server.
    pub fn get(&self, server: &str) -> Result<Option<Credentials>, AuthError> {
        let (status, answer) = self.talk("get", server.as_bytes())?;
        if !status.success() {
            let said = String::from_utf8_lossy(&answer);
            return if said.trim() == NOT_FOUND { Ok(None) } else { Err(self.failed(status, &said)) };
        }
        let answer: Answer =
            serde_json::from_slice(&answer).map_err(|_| self.error("its answer is not the JSON expected"))?;
        Ok(match (answer.username.as_str(), answer.secret) {
            ("", _) => None,
            (TOKEN_USER, secret) => Some(Credentials::IdentityToken(secret)),
            (user, password) => Some(Credentials::Basic { user: user.to_owned(), password }),
        })
    }

    /// Lets it keep credentials.
    pub fn store(&self, server: &str, credentials: &Credentials) -> Result<(), AuthError> {
        let (username, secret) = match credentials {
            Credentials::Basic { user, password } => (user.as_str(), password.as_str()),
            Credentials::IdentityToken(token) => (TOKEN_USER, token.as_str()),
        };
        let text = serde_json::to_vec(&Stored { server, username, secret }).map_err(|_| self.error("encode it"))?;
        let (status, said) = self.talk("store", &text)?;
        if status.success() { Ok(()) } else { Err(self.failed(status, &String::from_utf8_lossy(&said))) }
    }

    /// Makes it forget; false when it knew nothing.
    pub fn erase(&self, server: &str) -> Result<bool, AuthError> {
        let (status, said) = self.talk("erase", server.as_bytes())?;
        let said = String::from_utf8_lossy(&said);
        match status.success() {
            true => Ok(true),
            false if said.trim() == NOT_FOUND => Ok(false),
            false => Err(self.failed(status, &said)),
        }
    }

    fn error(&self, why: impl Into<String>) -> AuthError {
        AuthError::Helper { name: printable(self.name), why: why.into() }
    }

    fn failed(&self, status: ExitStatus, said: &str) -> AuthError {
        let line = said.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let line: String = line.trim().chars().take(300).collect();
        match line.as_str() {
            "" => self.error(format!("it failed: {status}")),
            said => self.error(printable(said)),
        }
    }

    /// Runs it with `input`, and waits for its answer and its end. One that takes too long is killed
    /// with all that it started.
    fn talk(&self, verb: &str, input: &[u8]) -> Result<(ExitStatus, Vec<u8>), AuthError> {
        if self.name.contains('/') {
            return Err(self.error("a helper's name has no slash"));
        }
        let deadline = Instant::now() + self.patience;
        let program = PathBuf::from(format!("docker-credential-{}", self.name));
        let mut command = Command::new(self.programs.map_or(program.clone(), |directory| directory.join(program)));
        command.arg(verb).stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut child = command.spawn().map_err(|error| match error.kind() {
            ErrorKind::NotFound => self.error("there is no such program in PATH: install it, or change the auth file"),
            _ => self.error(error.to_string()),
        })?;
        let talked = converse(&mut child, input, deadline);
        if !matches!(talked, Ok(Some(_))) {
            if let Some(group) = Pid::from_raw(child.id() as i32) {
                let _ = kill_process_group(group, Signal::KILL);
            }
            let _ = child.wait();
        }
        match talked {
            Ok(Some(talked)) => Ok(talked),
            Ok(None) => Err(self.error(format!("no answer within {:?}: it was stopped", self.patience))),
            Err(error) => Err(self.error(error.to_string())),
        }
    }
}

/// Sends the input, reads until the program ends. None: it was too slow.
fn converse(child: &mut Child, input: &[u8], deadline: Instant) -> std::io::Result<Option<(ExitStatus, Vec<u8>)>> {
    if let Some(mut stdin) = child.stdin.take() {
        // Fits a pipe. One that does not read answers without.
        fcntl_setfl(&stdin, fcntl_getfl(&stdin)? | OFlags::NONBLOCK)?;
        let _ = stdin.write_all(input);
    }
    let Some(mut stdout) = child.stdout.take() else { return Err(ErrorKind::BrokenPipe.into()) };
    fcntl_setfl(&stdout, fcntl_getfl(&stdout)? | OFlags::NONBLOCK)?;
    let mut answer = Vec::new();
    loop {
        // Asked before reading: what it wrote before its end is then read below.
        let ended = child.try_wait()?;
        let open = drain(&mut stdout, &mut answer)?;
        if let Some(status) = ended {
            return Ok(Some((status, answer)));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        if open {
            let tick = Timespec { tv_sec: 0, tv_nsec: TICK.subsec_nanos().into() };
            let _ = poll(&mut [PollFd::new(&stdout, PollFlags::IN)], Some(&tick));
        } else {
            std::thread::sleep(TICK / 4);
        }
    }
}

/// Reads what is there; false at the end.
fn drain(from: &mut impl Read, into: &mut Vec<u8>) -> std::io::Result<bool> {
    let mut buffer = [0; 4096];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(_) if into.len() > ANSWER_MAX => return Err(ErrorKind::FileTooLarge.into()),
            Ok(count) => into.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
