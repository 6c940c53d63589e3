//! Accounts that a container's /etc/passwd and /etc/group lack: that of the user it runs as, and those
//! of the host that were asked for. The image's files stay as they are; copies of ours with further
//! lines are bound over them. A copy lasts as long as its container, which may change it.

use std::collections::HashMap;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;

use super::idmap::IdMaps;
use super::mounts::{self, Detached, Options};
use super::plan::Plan;
use super::setup::{Doing, SetupError};
use super::tree::{self, Root};
use super::user;
use crate::spec::identity::{Account, Identity};

/// The files, and what ours are called in the container's directory.
const FILES: [(&str, &str); 2] = [("/etc/passwd", "passwd"), ("/etc/group", "group")];

/// Mounts of the copies, for a root file system that is mounted at `merged` and not entered yet.
pub fn prepare(plan: &Plan, maps: &IdMaps, merged: &Path) -> Result<Vec<Detached>, SetupError> {
    let identity = &plan.identity;
    let is_root = matches!(plan.user.as_str(), "" | "0" | "root" | "0:0" | "root:root");
    if !identity.passwd || is_root && identity.host_users.is_empty() || is_covered(&plan.spec) {
        return Ok(Vec::new());
    }
    let root = Root::open(merged).doing("open the new root")?;
    let present = |path: &str| root.open_at(Path::new(path), rustix::fs::OFlags::PATH).is_ok();
    let mut found = Vec::new();
    for (path, name) in FILES {
        if present(path) {
            found.push((path, name, plan.directory.join(name)));
        }
    }
    // An image without accounts gets none.
    if !found.iter().any(|(path, ..)| *path == FILES[0].0) {
        return Ok(Vec::new());
    }
    let made = |name: &str| plan.directory.join(name).exists();
    if !made(FILES[0].1) && !made(FILES[1].1) {
        let passwd = user::read(&root, FILES[0].0)?;
        let group = user::read(&root, FILES[1].0)?;
        let new = completed(plan, &root, &passwd, &group);
        for (_, name, path) in &found {
            let (old, new) = if *name == FILES[0].1 { (&passwd, &new.passwd) } else { (&group, &new.group) };
            if old != new {
                write(path, new, maps).doing(format_args!("write the container's {name} file"))?;
            }
        }
    }
    let ours = found.into_iter().filter(|(.., path)| path.exists());
    ours.map(|(target, _, path)| bind(target, &path)).collect()
}

/// Gives the files that are bound over the container's /etc to its root. Their group stays ours, so that
/// they can be brought up to date from outside.
pub fn give_files(plan: &Plan, maps: &IdMaps) -> std::io::Result<()> {
    let (uid, gid) = maps.owner();
    if (uid, gid) == (0, 0) {
        return Ok(());
    }
    for name in ["hostname", "hosts", "resolv.conf"] {
        let path = plan.directory.join(name);
        match chown(&path, Some(uid), None) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            given => given?,
        }
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o664))?;
    }
    Ok(())
}

/// Whether something of the user's is mounted there, which is left alone.
fn is_covered(spec: &Spec) -> bool {
    let targets = ["/etc", FILES[0].0, FILES[1].0];
    spec.mounts().iter().flatten().any(|mount| targets.iter().any(|target| mount.destination() == Path::new(target)))
}

fn bind(target: &str, path: &Path) -> Result<Detached, SetupError> {
    let options = Options { bind: true, ..Options::default() };
    let mount = mounts::clone_tree(path, &options).doing(format_args!("bind the container's {target}"))?;
    Ok(Detached { target: PathBuf::from(target), mount, directory: false })
}

/// Under another name until it is whole.
fn write(path: &Path, text: &str, maps: &IdMaps) -> std::io::Result<()> {
    let new = path.with_extension("new");
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    let (uid, gid) = maps.owner();
    chown(&new, Some(uid), Some(gid))?;
    std::fs::rename(new, path)
}

struct Texts {
    passwd: String,
    group: String,
}

/// The files' texts with what they lack.
fn completed(plan: &Plan, root: &Root, passwd: &str, group: &str) -> Texts {
    let identity = &plan.identity;
    let mut texts = Texts { passwd: passwd.to_owned(), group: group.to_owned() };
    for account in &identity.host_users {
        add_account(&mut texts, account, None, None);
    }
    // An unknown name is told of when the user is looked up.
    let Ok(user) = user::resolve_in(&plan.user, &texts.passwd, &texts.group) else { return texts };
    let account = account_of(identity, user.uid, user.gid, &home(plan, root));
    add_account(&mut texts, &account, identity.passwd_entry.as_deref(), identity.group_entry.as_deref());
    texts
}

/// The caller under its own name, anybody else under the number.
fn account_of(identity: &Identity, uid: u32, gid: u32, home: &str) -> Account {
    let caller = identity.caller.as_ref().filter(|caller| caller.uid == uid);
    Account {
        name: caller.map_or_else(|| uid.to_string(), |caller| caller.name.clone()),
        uid,
        gid,
        comment: caller.map_or("container user".to_owned(), |caller| caller.comment.clone()),
        home: home.to_owned(),
        group: caller.filter(|caller| caller.gid == gid).map_or_else(|| gid.to_string(), |caller| caller.group.clone()),
    }
}

/// The caller's home if there is such a directory inside, else where the container works.
fn home(plan: &Plan, root: &Root) -> String {
    let is_directory = |path: &str| {
        path.starts_with('/')
            && root
                .handle(Path::new(path))
                .is_ok_and(|handle| tree::is_directory(std::os::fd::AsFd::as_fd(&handle)).unwrap_or(false))
    };
    let own = plan.identity.caller.as_ref().map(|caller| caller.home.clone()).filter(|home| is_directory(home));
    let work = plan.spec.process().as_ref().map(|process| process.cwd().to_string_lossy().into_owned());
    own.or(work).filter(|path| is_field(path)).unwrap_or_else(|| "/".to_owned())
}

fn add_account(texts: &mut Texts, account: &Account, passwd_entry: Option<&str>, group_entry: Option<&str>) {
    let name = match user::passwd_lines(&texts.passwd).any(|line| line.name == account.name) {
        true => account.uid.to_string(),
        false => account.name.clone(),
    };
    let values = HashMap::from([
        ("$USERNAME", name.clone()),
        ("$UID", account.uid.to_string()),
        ("$GID", account.gid.to_string()),
        ("$NAME", account.comment.clone()),
        ("$HOME", account.home.clone()),
        ("$GROUPNAME", account.group.clone()),
        ("$USERLIST", name),
    ]);
    if !user::passwd_lines(&texts.passwd).any(|line| line.uid == account.uid) {
        append(&mut texts.passwd, passwd_entry.unwrap_or("$USERNAME:*:$UID:$GID:$NAME:$HOME:/bin/sh"), &values);
    }
    if !user::group_lines(&texts.group).any(|(_, gid, _)| gid == account.gid) {
        append(&mut texts.group, group_entry.unwrap_or("$GROUPNAME:x:$GID:$USERLIST"), &values);
    }
}

/// Appends a line, of which no value can make two or add a field.
fn append(text: &mut String, template: &str, values: &HashMap<&str, String>) {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    let mut rest = template;
    while let Some(at) = rest.find('$') {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        // The longest name first: $USERNAME is not $USER and a rest.
        let end = 1 + rest[1..].find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len() - 1);
        match values.get(&rest[..end]) {
            Some(value) if is_field(value) => text.push_str(value),
            Some(_) => {}
            None => text.push_str(&rest[..end]),
        }
        rest = &rest[end..];
    }
    text.push_str(rest);
    text.push('\n');
}

fn is_field(text: &str) -> bool {
    !text.chars().any(|c| c == ':' || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(name: &str, comment: &str) -> Account {
        Account {
            name: name.into(),
            uid: 1000,
            gid: 1001,
            comment: comment.into(),
            home: "/work".into(),
            group: "staff".into(),
        }
    }

    fn added(name: &str, comment: &str, template: Option<&str>) -> Texts {
        let mut texts = Texts { passwd: "root:x:0:0:root:/root:/bin/sh".into(), group: "root:x:0:\n".into() };
        add_account(&mut texts, &account(name, comment), template, None);
        texts
    }

    #[test]
    fn a_missing_account_is_appended() {
        let texts = added("ann", "Ann", None);
        assert_eq!(texts.passwd, "root:x:0:0:root:/root:/bin/sh\nann:*:1000:1001:Ann:/work:/bin/sh\n");
        assert_eq!(texts.group, "root:x:0:\nstaff:x:1001:ann\n");
        // A name that is somebody else's stays that one's.
        assert!(added("root", "", None).passwd.ends_with("\n1000:*:1000:1001::/work:/bin/sh\n"));
        let texts = added("ann", "Ann", Some("$USERNAME:x:$UID:$GID:$$NAME $FOO$:$HOME:/bin/zsh"));
        assert!(texts.passwd.ends_with("\nann:x:1000:1001:$Ann $FOO$:/work:/bin/zsh\n"), "{}", texts.passwd);
    }

    #[test]
    fn no_value_makes_a_line_or_a_field() {
        for bad in ["a\nroot2:x:0:0::/:/bin/sh", "a:b", "a\rb", "\u{7f}"] {
            let texts = added("ann", bad, None);
            assert_eq!(texts.passwd.lines().count(), 2, "{bad:?}");
            assert!(texts.passwd.ends_with("ann:*:1000:1001::/work:/bin/sh\n"), "{bad:?}");
        }
    }
}
