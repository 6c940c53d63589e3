//! Who the user is to a registry: typed at a terminal, read from standard input, or on the command
//! line, where it then no longer shows.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};

use super::Context;
use super::error::AlreadyReported;
use crate::sandbox::terminal::RawMode;
use crate::spec::reference::{ImageRef, InvalidReference};
use crate::spec::registries::Domain;
use crate::store::registry::auth::AuthFiles;
use crate::sys::process;

/// A longer password is none.
const PASSWORD_MAX: u64 = 64 << 10;

/// The auth files of this invocation.
pub fn auth_files(authfile: Option<&Path>) -> AuthFiles {
    AuthFiles::locate(authfile, |name| std::env::var_os(name), super::settings::home().as_deref())
}

/// A registry as typed for `login` and `logout`, and the repository behind it if one was named
/// (podman). An address's path means nothing.
pub fn server(context: &Context, typed: Option<&str>) -> Result<(Domain, String)> {
    let Some(typed) = typed else { return Ok((context.default_registry()?, String::new())) };
    let stripped = typed.strip_prefix("https://").or_else(|| typed.strip_prefix("http://"));
    let (host, path) = match stripped {
        Some(address) => (address.split('/').next().unwrap_or_default(), ""),
        None => typed.split_once('/').unwrap_or((typed, "")),
    };
    // A user name before the host would be shown in every message.
    let host = host.parse::<Domain>().map_err(|why| match host.contains('@') {
        true => anyhow!("invalid registry: leave the user name out and use --username"),
        false => anyhow!("invalid registry {host:?}: {why}"),
    })?;
    let path = path.trim_end_matches('/');
    if !path.is_empty() {
        let read: Result<ImageRef, InvalidReference> = format!("{host}/{path}").parse();
        let exact = read.is_ok_and(|read| read.repository().ends_with(path) && !path.contains(['@', ':']));
        if !exact {
            bail!("invalid repository {path:?} of registry {host}");
        }
    }
    Ok((host, path.to_owned()))
}

/// Takes what was typed off the list of processes: secrets must not be seen there.
pub fn hide_arguments(command: &str) {
    // Without /proc there is no list either.
    let _ = process::set_title(&format!("rbox {command}"));
}

/// Asks for a line at the terminal.
pub fn ask(question: &str) -> Result<String> {
    prompt(question)?;
    let mut line = String::new();
    io::stdin().lock().take(PASSWORD_MAX).read_line(&mut line).context("read the answer")?;
    Ok(line.trim().to_owned())
}

/// Asks for a line that is not shown. An interrupt ends the program as it would without us.
pub fn ask_hidden(question: &str) -> Result<String> {
    // Hidden before it is asked for: fast typists, and programs, answer at once.
    let raw = RawMode::enter().context("hide what is typed")?;
    prompt(question)?;
    let typed = read_hidden(&mut io::stdin().lock());
    drop(raw);
    // The line break was not shown either.
    let _ = writeln!(io::stderr());
    match typed.context("read the password")? {
        Some(password) => Ok(password),
        None => Err(AlreadyReported(130).into()),
    }
}

fn prompt(question: &str) -> Result<()> {
    let mut err = io::stderr().lock();
    Ok(write!(err, "{question}").and_then(|()| err.flush())?)
}

/// One line from a terminal in raw mode; None when it was interrupted.
fn read_hidden(from: &mut impl Read) -> io::Result<Option<String>> {
    let mut typed: Vec<u8> = Vec::new();
    let mut byte = [0];
    loop {
        if from.read(&mut byte)? == 0 {
            break;
        }
        match byte[0] {
            b'\r' | b'\n' => break,
            0x04 if typed.is_empty() => break,
            0x03 | 0x1c => return Ok(None),
            0x08 | 0x7f => {
                // The last character, however many bytes it has.
                while typed.pop().is_some_and(|last| last & 0xc0 == 0x80) {}
            }
            0x15 => typed.clear(),
            other if (typed.len() as u64) < PASSWORD_MAX => typed.push(other),
            _ => {}
        }
    }
    String::from_utf8(typed).map(Some).map_err(|_| io::Error::other("it is not UTF-8"))
}

/// All of standard input, without the last line break.
pub fn password_from_stdin() -> Result<String> {
    let mut text = String::new();
    io::stdin().lock().take(PASSWORD_MAX + 1).read_to_string(&mut text).context("read the password")?;
    if text.len() as u64 > PASSWORD_MAX {
        bail!("the password on standard input is longer than {} KiB", PASSWORD_MAX >> 10);
    }
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

/// Whether there is somebody to ask.
pub fn can_ask() -> bool {
    io::stdin().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_lines_can_be_edited() {
        for (typed, expected) in [
            (&b"hush\rmore"[..], Some("hush")),
            (b"hush\n", Some("hush")),
            (b"hush", Some("hush")),
            (b"hux\x7fsh\r", Some("hush")),
            ("h\u{e9}\u{7f}ush\r".as_bytes(), Some("hush")),
            (b"no\x15hush\r", Some("hush")),
            (b"\x7f\x7fhush\r", Some("hush")),
            (b"\x04", Some("")),
            (b"hu\x03sh\r", None),
        ] {
            assert_eq!(read_hidden(&mut &typed[..]).unwrap().as_deref(), expected, "{typed:?}");
        }
        assert!(read_hidden(&mut &b"\xff\r"[..]).is_err());
    }
}
