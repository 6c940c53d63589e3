//! The user's session: its runtime directory, and whether it ends with the login.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use super::{Finding, Places};
use crate::explain::{Code, Explained, facts, path, shell_path, shortage};

const TMPFS: u64 = 0x0102_1994;

/// XDG_RUNTIME_DIR, or the directory given in its place.
pub fn runtime_directory(places: &Places) -> Finding {
    let code = Code::RuntimeDirectory;
    let used = match &places.runtime {
        Ok(used) => used,
        Err(why) => return Finding::fail(Explained::new(code, why.replace('\n', " ")).you(export())),
    };
    if let Some(full) = shortage::full(used) {
        return Finding::fail(Explained { code, ..full });
    }
    if places.runtime_given || rustix::process::geteuid().is_root() {
        return Finding::pass(code, used.display().to_string());
    }
    match session_directory() {
        Ok(directory) => Finding::pass(code, directory.display().to_string()),
        Err(explained) => {
            let cause = format!("{}; {} is used", explained.cause, used.display());
            Finding::warn(Explained { cause, ..explained })
        }
    }
}

/// The directory of XDG_RUNTIME_DIR, if it is as the XDG base directory specification wants it.
fn session_directory() -> Result<PathBuf, Explained> {
    let explained = |cause: String| Explained::new(Code::RuntimeDirectory, cause);
    let directory = match std::env::var_os("XDG_RUNTIME_DIR").filter(|value| !value.is_empty()) {
        Some(value) => PathBuf::from(value),
        None => return Err(mended(explained("XDG_RUNTIME_DIR is not set".to_owned()))),
    };
    let shown = format!("XDG_RUNTIME_DIR ({})", directory.display());
    let metadata = match std::fs::metadata(&directory) {
        _ if !directory.is_absolute() => return Err(mended(explained(format!("{shown} is no absolute path")))),
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(mended(explained(format!("{shown} does not exist"))));
        }
        Err(error) => return Err(mended(explained(format!("{shown} cannot be used: {error}")))),
    };
    let uid = rustix::process::geteuid().as_raw();
    if !metadata.is_dir() {
        return Err(mended(explained(format!("{shown} is not a directory"))));
    }
    if metadata.uid() != uid {
        return Err(mended(explained(format!("{shown} belongs to uid {}, not to uid {uid}", metadata.uid()))));
    }
    if let Some(denied) = path::unusable(&directory, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK) {
        return Err(Explained { code: Code::RuntimeDirectory, ..denied });
    }
    if metadata.mode() & 0o077 != 0 {
        let cause = format!("{shown} is open to other users (mode {:04o})", metadata.mode() & 0o7777);
        return Err(explained(cause).you(format!("chmod 0700 {}", shell_path(&directory))));
    }
    let magic = rustix::fs::statfs(&directory).map(|facts| facts.f_type as u64 & 0xffff_ffff);
    if magic.is_ok_and(|magic| magic != TMPFS) {
        let cause = format!("{shown} is no tmpfs, so what is in it outlives a boot");
        let line = format!("mount -t tmpfs -o mode=700,uid={uid},nosuid,nodev tmpfs {}", shell_path(&directory));
        return Err(explained(cause).administrator(line));
    }
    Ok(directory)
}

fn own() -> String {
    format!("/run/user/{}", rustix::process::getuid().as_raw())
}

fn export() -> String {
    format!("export XDG_RUNTIME_DIR={}", own())
}

/// With the lines that lead to a directory that will do.
fn mended(explained: Explained) -> Explained {
    let own = own();
    if std::fs::metadata(&own).is_ok_and(|metadata| metadata.uid() == rustix::process::getuid().as_raw()) {
        return explained.you(export());
    }
    let name = facts::user_name();
    let explained = if is_systemd() {
        explained.administrator(format!("loginctl enable-linger {name}"))
    } else {
        explained.administrator(format!("install -d -m 700 -o {name} {own}"))
    };
    explained.you(export())
}

fn is_systemd() -> bool {
    Path::new("/run/systemd/system").exists()
}

/// Whether the user's processes may outlive the login, as systemd keeps it.
pub fn lingering() -> Finding {
    let code = Code::Lingering;
    if rustix::process::geteuid().is_root() {
        return Finding::skipped(code, "root needs none");
    }
    if !is_systemd() {
        return Finding::skipped(code, "no systemd here: whether a logout ends processes cannot be asked");
    }
    let name = facts::user_name();
    if Path::new("/var/lib/systemd/linger").join(&name).exists() {
        return Finding::pass(code, format!("on for {name}"));
    }
    Finding::warn(
        Explained::new(code, format!("off for {name}: containers may end when you log out"))
            .you("loginctl enable-linger"),
    )
}
