//! `--user` looked up in the container's own /etc/passwd and /etc/group.

use std::io::{self, Read};
use std::path::Path;

use rustix::fs::OFlags;

use super::idmap::{self, IdMaps};
use super::setup::{Doing, ResolvedUser, SetupError};
use super::tree::Root;
use crate::spec::identity::Identity;

/// Account files are the image's: never believed beyond these bounds.
const FILE_LIMIT: u64 = 1 << 20;
const LINES_LIMIT: usize = 10_000;

/// Looks up `asked` (`user[:group]`, names or numbers, empty for root). Digits mean a number, never
/// a name; a number need not exist.
pub fn resolve(root: &Root, asked: &str, identity: &Identity, maps: &IdMaps) -> Result<ResolvedUser, SetupError> {
    let passwd = read(root, "/etc/passwd")?;
    let group = read(root, "/etc/group")?;
    let user = resolve_in(asked, &passwd, &group)?;
    if !maps.has_uid(user.uid) || !maps.has_gid(user.gid) {
        return Err(unmapped(&format!("user {}:{}", user.uid, user.gid), identity, maps));
    }
    let mut groups: Vec<u32> = user.groups.iter().copied().filter(|&gid| maps.has_gid(gid)).collect();
    for name in &identity.groups {
        let gid = find_group(name, &group)?;
        if !maps.has_gid(gid) {
            return Err(unmapped(&format!("group {gid}"), identity, maps));
        }
        if !groups.contains(&gid) {
            groups.push(gid);
        }
    }
    Ok(ResolvedUser { groups, keep_groups: identity.keep_groups, ..user })
}

/// Names the map that an id is not in.
fn unmapped(what: &str, identity: &Identity, maps: &IdMaps) -> SetupError {
    let cure = match identity.maps {
        Some(_) => "choose another id or a larger map",
        None => "add subordinate ids in /etc/subuid and /etc/subgid",
    };
    let (uids, gids) = (idmap::shown(&maps.uids), idmap::shown(&maps.gids));
    SetupError::new(format!("{what} is outside the ids mapped into the container (uids {uids}; gids {gids}): {cure}"))
}

/// The text of an account file; empty when there is none.
pub fn read(root: &Root, path: &str) -> Result<String, SetupError> {
    // NONBLOCK: a FIFO in its place must not hang us.
    let file = match root.open_at(Path::new(path), OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY) {
        Ok(file) => std::fs::File::from(file),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(String::new());
        }
        Err(error) => return Err(SetupError::new(format!("cannot open the container's {path}: {error}"))),
    };
    if !file.metadata().doing(format_args!("inspect the container's {path}"))?.is_file() {
        return Err(SetupError::new(format!("the container's {path} is not a regular file")));
    }
    let mut bytes = Vec::new();
    file.take(FILE_LIMIT + 1).read_to_end(&mut bytes).doing(format_args!("read the container's {path}"))?;
    if bytes.len() as u64 > FILE_LIMIT {
        return Err(SetupError::new(format!("the container's {path} is larger than 1 MiB")));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What counts of a line of /etc/passwd.
pub struct PasswdLine<'a> {
    pub name: &'a str,
    pub uid: u32,
    gid: u32,
    home: &'a str,
}

/// The lines of an /etc/passwd that make sense.
pub fn passwd_lines(text: &str) -> impl Iterator<Item = PasswdLine<'_>> {
    text.lines().take(LINES_LIMIT).filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(PasswdLine { name, uid, gid, home: fields.nth(1).unwrap_or("") })
    })
}

/// Name, gid and members of each line of an /etc/group that makes sense.
pub fn group_lines(text: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    text.lines().take(LINES_LIMIT).filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some((name, gid, fields.next().unwrap_or("")))
    })
}

/// Looks a user up in these texts, mapped or not.
pub fn resolve_in(asked: &str, passwd: &str, group: &str) -> Result<ResolvedUser, SetupError> {
    let (user, explicit_group) = match asked.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (asked, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let line = match number(user)? {
        Some(uid) => {
            passwd_lines(passwd).find(|line| line.uid == uid).or(Some(PasswdLine { name: "", uid, gid: 0, home: "" }))
        }
        None => passwd_lines(passwd).find(|line| line.name == user),
    };
    let line =
        line.ok_or_else(|| SetupError::new(format!("unable to find user {user}: no matching entries in passwd file")))?;
    let home = if line.home.starts_with('/') { line.home.to_owned() } else { "/".to_owned() };
    let (gid, mut groups) = match explicit_group {
        Some(name) => (find_group(name, group)?, Vec::new()),
        None => (line.gid, memberships(line.name, group)),
    };
    if !groups.contains(&gid) {
        groups.insert(0, gid);
    }
    Ok(ResolvedUser { uid: line.uid, gid, groups, home, keep_groups: false })
}

fn find_group(name: &str, group: &str) -> Result<u32, SetupError> {
    if let Some(gid) = number(name)? {
        return Ok(gid);
    }
    let found = group_lines(group).find(|&(candidate, ..)| candidate == name);
    found
        .map(|(_, gid, _)| gid)
        .ok_or_else(|| SetupError::new(format!("unable to find group {name}: no matching entries in group file")))
}

fn memberships(user: &str, group: &str) -> Vec<u32> {
    if user.is_empty() {
        return Vec::new();
    }
    group_lines(group)
        .filter(|(_, _, members)| members.split(',').any(|member| member == user))
        .map(|(_, gid, _)| gid)
        .collect()
}

/// All digits is a number within u32, anything else a name.
fn number(text: &str) -> Result<Option<u32>, SetupError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        Ok(id) if id != u32::MAX => Ok(Some(id)),
        _ => Err(SetupError::new(format!("uids and gids must be in range 0-4294967294: {text}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/var/www:\n1000:x:0:0::/evil:\nbad line\nalice:x:1000:1000::relative:\n";
    const GROUP: &str = "root:x:0:\nweb:x:34:\ndisk:x:6:root,web\naudio:x:29:web,alice\n";

    fn user(asked: &str) -> Result<(u32, u32, Vec<u32>, String), String> {
        resolve_in(asked, PASSWD, GROUP).map(|u| (u.uid, u.gid, u.groups, u.home)).map_err(|error| error.text)
    }

    #[test]
    fn users_are_looked_up_as_docker_does() {
        assert_eq!(user(""), Ok((0, 0, vec![0, 6], "/root".into())));
        assert_eq!(user("web"), Ok((33, 34, vec![34, 6, 29], "/var/www".into())));
        assert_eq!(user("33"), Ok((33, 34, vec![34, 6, 29], "/var/www".into())));
        assert_eq!(user("web:disk"), Ok((33, 6, vec![6], "/var/www".into())));
        assert_eq!(user("10000:120000"), Ok((10_000, 120_000, vec![120_000], "/".into())));
        assert_eq!(user("4242"), Ok((4242, 0, vec![0], "/".into())));
        assert_eq!(user("web:"), Ok((33, 34, vec![34, 6, 29], "/var/www".into())));
        // Digits are a number even where a passwd entry has that name.
        assert_eq!(user("1000"), Ok((1000, 1000, vec![1000, 29], "/".into())));
    }

    #[test]
    fn what_is_no_user_is_refused() {
        for bad in [
            "nosuch",
            " 0",
            "-1",
            "+1",
            "4294967295",
            "4294967296",
            "99999999999999999999",
            "0x0",
            "web:nosuch",
            "root\n",
        ] {
            assert!(user(bad).is_err(), "{bad:?}");
        }
        assert_eq!(user("nosuch").unwrap_err(), "unable to find user nosuch: no matching entries in passwd file");
        assert_eq!(user("0:nosuch").unwrap_err(), "unable to find group nosuch: no matching entries in group file");
    }
}
