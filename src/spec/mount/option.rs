//! `--mount type=bind,source=/src,target=/dst,readonly`

use std::fmt;
use std::path::Path;

use super::tmpfs::is_mode;
use super::{Bind, Flag, InvalidMount, Mount, MountKind, Propagation, Recursion, Target, Tmpfs, source, target};
use crate::spec::security::parse_bool;
use crate::spec::size::parse_bytes;
use crate::spec::text::printable;

/// What the keys said, before they are held against each other.
#[derive(Default)]
struct Keys {
    kind: Option<String>,
    source: Option<String>,
    target: Option<String>,
    read_only: bool,
    propagation: Option<Propagation>,
    recursion: Option<Recursion>,
    tmpfs: Tmpfs,
}

/// Parses a `--mount` value. A source that begins with `.` is taken below `cwd`.
pub fn parse_mount(text: &str, cwd: &Path) -> Result<Mount, InvalidMount> {
    let fail = |reason: String| InvalidMount::Option { spec: text.to_owned(), reason: printable(&reason) };
    let mut keys = Keys::default();
    for field in split_csv(text).ok_or_else(|| fail("a quote is out of place".to_owned()))? {
        keys.apply(&field).map_err(fail)?;
    }
    let kind = keys.kind.clone().unwrap_or_else(|| "volume".to_owned());
    let to = keys.target.clone().ok_or_else(|| fail("target is required".to_owned()))?;
    match kind.as_str() {
        "bind" => keys.bind(&to, cwd, &fail),
        "tmpfs" => keys.tmpfs(&to, &fail),
        "volume" => Err(match keys.source {
            Some(name) => InvalidMount::NamedVolume(name),
            None => InvalidMount::AnonymousVolume(target("volume", &to)?),
        }),
        other => Err(InvalidMount::Kind(other.to_owned())),
    }
}

impl Keys {
    fn apply(&mut self, field: &str) -> Result<(), String> {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (field, None),
        };
        if key.trim() != key {
            return Err(format!("invalid option '{key}' in '{field}': option should not have whitespace"));
        }
        if let Some(value) = value {
            if value.trim().is_empty() {
                return Err(format!("invalid value for '{key}': value is empty"));
            }
            if value.trim() != value {
                return Err(format!("invalid value for '{key}' in '{field}': value should not have whitespace"));
            }
        }
        let key = key.to_ascii_lowercase();
        match (key.as_str(), value) {
            ("readonly" | "ro", None) => self.read_only = true,
            ("bind-nonrecursive", None) => self.recursion = Some(Recursion::Disabled),
            (_, Some(value)) => self.set(&key, value, field)?,
            _ => return Err(format!("invalid field '{field}' must be a key=value pair")),
        }
        Ok(())
    }

    fn set(&mut self, key: &str, value: &str, field: &str) -> Result<(), String> {
        let invalid = || format!("invalid value for {key}: {value}");
        match key {
            "type" => self.kind = Some(value.to_ascii_lowercase()),
            "source" | "src" => self.source = Some(value.to_owned()),
            "target" | "dst" | "destination" | "dest" => self.target = Some(value.to_owned()),
            "readonly" | "ro" => self.read_only = parse_bool(value).ok_or_else(invalid)?,
            // A hint for file sharing that does nothing on Linux.
            "consistency" => {}
            "bind-propagation" => self.propagation = Some(Propagation::parse(value).ok_or_else(invalid)?),
            "bind-recursive" => self.recursion = Some(recursion(value).ok_or_else(invalid)?),
            "bind-nonrecursive" => {
                let off = parse_bool(value).ok_or_else(invalid)?;
                self.recursion = Some(if off { Recursion::Disabled } else { Recursion::Enabled });
            }
            "tmpfs-size" => {
                let bytes = parse_bytes(value).map_err(|_| invalid())?;
                self.tmpfs.set("size", &bytes.to_string()).ok_or_else(invalid)?;
            }
            "tmpfs-mode" if is_mode(value) => self.tmpfs.set("mode", value).ok_or_else(invalid)?,
            "tmpfs-mode" => return Err(invalid()),
            _ => return Err(format!("unknown option '{key}' in '{field}'")),
        }
        Ok(())
    }

    fn bind(self, to: &str, cwd: &Path, fail: &dyn Fn(String) -> InvalidMount) -> Result<Mount, InvalidMount> {
        if self.tmpfs != Tmpfs::default() {
            return Err(fail("cannot mix 'tmpfs-*' options with mount type 'bind'".to_owned()));
        }
        let recursion = self.recursion.unwrap_or_default();
        let propagation = self.propagation.unwrap_or_default();
        let needs = |what: &str, other: &str| {
            fail(format!("option 'bind-recursive={what}' requires '{other}' to be specified in conjunction"))
        };
        match recursion {
            Recursion::Writable if !self.read_only => return Err(needs("writable", "readonly")),
            Recursion::Readonly if !self.read_only => return Err(needs("readonly", "readonly")),
            Recursion::Readonly if self.propagation != Some(Propagation::Rprivate) => {
                return Err(needs("readonly", "bind-propagation=rprivate"));
            }
            _ => {}
        }
        let source = source(self.source.as_deref().unwrap_or_default(), cwd)?;
        let bind = Bind { source, propagation, recursion, relabel: None, restrictions: Vec::new() };
        let (target, read_only) = (target("bind", to)?, self.read_only);
        Ok(Mount { target, read_only, kind: MountKind::Bind(bind), flag: Flag::Mount })
    }

    fn tmpfs(self, to: &str, fail: &dyn Fn(String) -> InvalidMount) -> Result<Mount, InvalidMount> {
        if self.propagation.is_some() || self.recursion.is_some() {
            return Err(fail("cannot mix 'bind-*' options with mount type 'tmpfs'".to_owned()));
        }
        if self.source.is_some() {
            return Err(InvalidMount::Config { kind: "tmpfs", reason: Target::Unwanted("Source") });
        }
        let (target, read_only) = (target("tmpfs", to)?, self.read_only);
        Ok(Mount { target, read_only, kind: MountKind::Tmpfs(self.tmpfs), flag: Flag::Mount })
    }
}

fn recursion(text: &str) -> Option<Recursion> {
    match text {
        "enabled" => Some(Recursion::Enabled),
        "disabled" => Some(Recursion::Disabled),
        "writable" => Some(Recursion::Writable),
        "readonly" => Some(Recursion::Readonly),
        _ => None,
    }
}

/// Splits one line of comma-separated values by RFC 4180: a field in double quotes may hold commas,
/// and a doubled quote stands for one.
fn split_csv(line: &str) -> Option<Vec<String>> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => split_quoted(quoted)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        if !rest.starts_with('"') && field.contains('"') {
            return None;
        }
        fields.push(field);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None if after.is_empty() => return Some(fields),
            None => return None,
        }
    }
}

/// Takes a field whose opening quote is gone, up to and with its closing quote.
fn split_quoted(text: &str) -> Option<(String, &str)> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let end = rest.find('"')?;
        field.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(after) => {
                field.push('"');
                rest = after;
            }
            None => return Some((field, rest)),
        }
    }
}

/// Prints the value that parses to this mount.
pub(super) fn print(mount: &Mount, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut fields = Vec::new();
    match &mount.kind {
        MountKind::Bind(bind) => {
            fields.push("type=bind".to_owned());
            fields.push(format!("source={}", bind.source.display()));
            fields.push(format!("target={}", mount.target));
            fields.extend(mount.read_only.then(|| "readonly".to_owned()));
            let strict = bind.recursion == Recursion::Readonly;
            if strict || bind.propagation != Propagation::default() {
                fields.push(format!("bind-propagation={}", bind.propagation.as_str()));
            }
            let word = match bind.recursion {
                Recursion::Enabled => None,
                Recursion::Disabled => Some("disabled"),
                Recursion::Writable => Some("writable"),
                Recursion::Readonly => Some("readonly"),
            };
            fields.extend(word.map(|word| format!("bind-recursive={word}")));
        }
        MountKind::Tmpfs(tmpfs) => {
            fields.push("type=tmpfs".to_owned());
            fields.push(format!("target={}", mount.target));
            fields.extend(mount.read_only.then(|| "readonly".to_owned()));
            fields.extend(tmpfs.parameters.iter().map(|(name, value)| format!("tmpfs-{name}={value}")));
        }
    }
    let quoted: Vec<String> = fields.iter().map(|field| quote(field)).collect();
    f.write_str(&quoted.join(","))
}

fn quote(field: &str) -> String {
    if field.contains([',', '"']) { format!("\"{}\"", field.replace('"', "\"\"")) } else { field.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Mount, InvalidMount> {
        parse_mount(text, Path::new("/home/me"))
    }

    #[test]
    fn keys_in_every_spelling() {
        for (text, printed) in [
            ("type=bind,src=/s,dst=/d", "type=bind,source=/s,target=/d"),
            ("Type=bind,SOURCE=./s,destination=/d/,ro", "type=bind,source=/home/me/s,target=/d,readonly"),
            ("type=bind,source=/s,target=/d,readonly=false,consistency=cached", "type=bind,source=/s,target=/d"),
            (
                "type=bind,source=/s,target=/d,ro=1,bind-recursive=writable,bind-propagation=rslave",
                "type=bind,source=/s,target=/d,readonly,bind-propagation=rslave,bind-recursive=writable",
            ),
            ("type=bind,\"src=/a,\"\"b\",dst=/d", "type=bind,\"source=/a,\"\"b\",target=/d"),
            (
                "type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=700",
                "type=tmpfs,target=/t,tmpfs-size=1048576,tmpfs-mode=700",
            ),
        ] {
            assert_eq!(parse(text).map(|mount| mount.to_string()), Ok(printed.to_owned()), "{text}");
        }
    }

    #[test]
    fn errors_in_dockers_words() {
        for (text, reason) in [
            ("type=bind,src=/s", "target is required"),
            ("bogus=1", "unknown option 'bogus' in 'bogus=1'"),
            ("type=bind, src=/s,dst=/d", "invalid option ' src' in ' src=/s': option should not have whitespace"),
            ("type=bind,src=,dst=/d", "invalid value for 'src': value is empty"),
            ("type=bind,src,dst=/d", "invalid field 'src' must be a key=value pair"),
            ("type=bind,src=/s,dst=/d,tmpfs-size=1m", "cannot mix 'tmpfs-*' options with mount type 'bind'"),
            ("type=tmpfs,dst=/d,bind-propagation=slave", "cannot mix 'bind-*' options with mount type 'tmpfs'"),
            ("type=bind,src=/s,dst=/d,ro=maybe", "invalid value for ro: maybe"),
            ("type=tmpfs,dst=/d,tmpfs-mode=89", "invalid value for tmpfs-mode: 89"),
            (
                "type=bind,src=/s,dst=/d,bind-recursive=writable",
                "option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction",
            ),
            ("type=bind,src=\"/s,dst=/d", "a quote is out of place"),
            ("", "invalid field '' must be a key=value pair"),
        ] {
            let expected = InvalidMount::Option { spec: text.to_owned(), reason: reason.to_owned() };
            assert_eq!(parse(text), Err(expected));
        }
        for (text, message) in [
            ("type=bind,dst=/d", "invalid mount config for type \"bind\": field Source must not be empty"),
            ("type=tmpfs,src=/s,dst=/d", "invalid mount config for type \"tmpfs\": field Source must not be specified"),
            ("type=image,dst=/d", "mount type \"image\" can't be used: this release has bind and tmpfs"),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), message);
        }
        assert!(matches!(parse("src=data,dst=/d"), Err(InvalidMount::NamedVolume(_))));
        assert!(matches!(parse("dst=/d"), Err(InvalidMount::AnonymousVolume(_))));
        assert!(matches!(parse("type=bind,src=s,dst=/d"), Err(InvalidMount::Config { .. })));
        assert!(matches!(parse("type=tmpfs,dst=/proc/self"), Err(InvalidMount::Config { .. })));
    }

    proptest! {
        #[test]
        fn printing_round_trips(
            source in "(/[a-z,\"=:]{1,4}){1,3}",
            target in "(/[a-z,\"=:]{1,4}){1,3}",
            options in prop::collection::vec(
                "readonly|bind-propagation=(shared|rprivate)|bind-recursive=(disabled|readonly|writable)", 0..4),
        ) {
            let text = format!("type=bind,{},{}", quote(&format!("src={source}")), quote(&format!("dst={target}")));
            let text = options.iter().fold(text, |text, option| format!("{text},{option}"));
            if let Ok(mount) = parse(&text) {
                prop_assert_eq!(parse(&mount.to_string()), Ok(mount));
            }
        }

        #[test]
        fn never_panics(text in "\\PC{0,30}") {
            let _ = parse(&text);
        }
    }
}
