//! The host's account files, read by ourselves: a static binary must not load NSS modules.

use std::io;
use std::path::{Path, PathBuf};

/// The most that an account file may hold before it is not believed.
const FILE_LIMIT: u64 = 1 << 20;

/// The ranges that /etc/subuid or /etc/subgid grant a user: (start, count).
pub fn subordinate_ranges(file: &Path, uid: u32, user: Option<&str>) -> Vec<(u32, u32)> {
    let Ok(text) = read_limited(file) else { return Vec::new() };
    let uid = uid.to_string();
    text.lines()
        .filter_map(|line| {
            let mut fields = line.trim().split(':');
            let owner = fields.next()?;
            let start = fields.next()?.parse().ok()?;
            let count = fields.next()?.parse().ok()?;
            (owner == uid || Some(owner) == user).then_some((start, count))
        })
        .filter(|&(_, count): &(u32, u32)| count > 0)
        .collect()
}

/// One line of /etc/subuid or /etc/subgid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// A login name or a uid.
    pub owner: String,
    pub start: u64,
    pub count: u64,
}

impl Grant {
    /// The first id after it.
    pub fn end(&self) -> u64 {
        self.start.saturating_add(self.count)
    }
}

/// Everybody's ranges in /etc/subuid or /etc/subgid; lines that make no sense are passed over.
pub fn grants(file: &Path) -> Vec<Grant> {
    let Ok(text) = read_limited(file) else { return Vec::new() };
    let parse = |line: &str| {
        let mut fields = line.trim().split(':');
        let (owner, start, count) = (fields.next()?, fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        (count > 0).then(|| Grant { owner: owner.to_owned(), start, count })
    };
    text.lines().filter_map(parse).collect()
}

/// The login names and uids of /etc/passwd.
pub fn accounts() -> Vec<(String, u32)> {
    names_in(&read_limited(Path::new("/etc/passwd")).unwrap_or_default())
}

/// The names and gids of /etc/group.
pub fn groups() -> Vec<(String, u32)> {
    names_in(&read_limited(Path::new("/etc/group")).unwrap_or_default())
}

/// The names and numbers in the text of an account file, whose lines begin `name:password:number`.
pub fn names_in(text: &str) -> Vec<(String, u32)> {
    let parse = |line: &str| {
        let mut fields = line.split(':');
        Some((fields.next()?.to_owned(), fields.nth(1)?.parse().ok()?))
    };
    text.lines().filter_map(parse).collect()
}

/// What counts of a line of /etc/passwd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    pub comment: String,
    pub home: String,
}

/// The account of the host by that name, or by that number.
pub fn find(name: &str) -> Option<Entry> {
    let text = read_limited(Path::new("/etc/passwd")).ok()?;
    let entries: Vec<Entry> = text.lines().filter_map(entry).collect();
    let by_name = entries.iter().find(|entry| entry.name == name);
    let number = name.parse::<u32>().ok();
    by_name.or_else(|| entries.iter().find(|entry| Some(entry.uid) == number)).cloned()
}

fn entry(line: &str) -> Option<Entry> {
    let fields: Vec<&str> = line.split(':').collect();
    let field = |index: usize| fields.get(index).map(|field| (*field).to_owned());
    Some(Entry {
        name: field(0)?,
        uid: field(2)?.parse().ok()?,
        gid: field(3)?.parse().ok()?,
        comment: field(4)?,
        home: field(5)?,
    })
}

/// The name of the host's group `gid`.
pub fn group_name(gid: u32) -> Option<String> {
    let text = read_limited(Path::new("/etc/group")).ok()?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(gid)).then(|| name.to_owned())
    })
}

/// The login name of `uid` from /etc/passwd.
pub fn login_name(uid: u32) -> Option<String> {
    passwd_field(uid, 0)
}

/// The home directory of `uid` from /etc/passwd.
pub fn home_directory(uid: u32) -> Option<PathBuf> {
    passwd_field(uid, 5).map(PathBuf::from).filter(|home| home.is_absolute())
}

/// Field `index` (from 0) of the passwd(5) line of `uid`.
fn passwd_field(uid: u32, index: usize) -> Option<String> {
    let text = read_limited(Path::new("/etc/passwd")).ok()?;
    text.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let ours = fields.get(2)?.parse() == Ok(uid);
        ours.then(|| fields.get(index).map(|field| (*field).to_owned())).flatten()
    })
}

fn read_limited(file: &Path) -> io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(file)?.take(FILE_LIMIT).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_and_by_number() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("subuid");
        std::fs::write(&file, "other:1:2\nuser:100000:65536\nbroken\n1000:300000:10\nuser:5:0\n").unwrap();
        assert_eq!(subordinate_ranges(&file, 1000, Some("user")), [(100_000, 65_536), (300_000, 10)]);
        assert_eq!(subordinate_ranges(&file, 7, None), []);
        assert_eq!(subordinate_ranges(Path::new("/nonexistent"), 1000, None), []);
    }
}
