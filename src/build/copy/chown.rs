//! `--chown`: numbers, or names of the root's own accounts.

use std::os::fd::BorrowedFd;

use anyhow::{Result, anyhow, bail};

use crate::sandbox::user;
use crate::sandbox::view::Root;

/// The ids that `text` (`USER[:GROUP]`) means in this root. A number alone is the group's too.
pub fn resolve(root: BorrowedFd<'_>, text: &str) -> Result<(u32, u32)> {
    let (name, group) = text.split_once(':').unwrap_or((text, ""));
    if name.is_empty() && group.is_empty() {
        bail!("invalid --chown {text:?}: expected USER[:GROUP]");
    }
    let number = |text: &str| -> Option<u32> {
        (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
    };
    match (number(name), number(group)) {
        (Some(uid), Some(gid)) => return check(uid, gid, text),
        (Some(uid), None) if group.is_empty() => return check(uid, uid, text),
        _ => {}
    }
    let root = Root::of(root.try_clone_to_owned()?);
    let in_words = |error: crate::sandbox::setup::SetupError| anyhow!("--chown {text}: {}", error.text);
    let passwd = user::read(&root, "/etc/passwd").map_err(in_words)?;
    let groups = user::read(&root, "/etc/group").map_err(in_words)?;
    let found = user::resolve_in(text, &passwd, &groups).map_err(in_words)?;
    Ok((found.uid, found.gid))
}

fn check(uid: u32, gid: u32, text: &str) -> Result<(u32, u32)> {
    // The highest id means 'no change' to chown(2).
    if uid == u32::MAX || gid == u32::MAX {
        bail!("--chown {text}: uids and gids must be in range 0-4294967294");
    }
    Ok((uid, gid))
}
