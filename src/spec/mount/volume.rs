//! `-v SOURCE:TARGET[:OPT[,OPT…]]`

use std::fmt;
use std::path::Path;

use super::{Bind, Flag, InvalidMount, Mount, MountKind, Propagation, Recursion, Restriction, source, target};
use crate::spec::text::printable;

/// Parses a `-v` value. A source that begins with `.` is taken below `cwd`.
pub fn parse_volume(text: &str, cwd: &Path) -> Result<Mount, InvalidMount> {
    if text.is_empty() {
        return Err(InvalidMount::Empty);
    }
    let fields: Vec<&str> = text.split(':').collect();
    if fields.len() > 3 {
        return Err(InvalidMount::TooManyColons(printable(text)));
    }
    if fields.iter().any(|field| field.is_empty()) {
        return Err(InvalidMount::EmptySection(printable(text)));
    }
    let in_spec = |reason| InvalidMount::Volume { spec: printable(text), reason: Box::new(reason) };
    let [from, to, ref options @ ..] = fields[..] else {
        return Err(InvalidMount::AnonymousVolume(target("volume", text).map_err(in_spec)?));
    };
    let is_path = from.starts_with(['/', '.']);
    let to = target(if is_path { "bind" } else { "volume" }, to).map_err(in_spec)?;
    if !is_path {
        return Err(InvalidMount::NamedVolume(from.to_owned()));
    }
    let mut bind = Bind {
        source: source(from, cwd).map_err(in_spec)?,
        propagation: Propagation::default(),
        recursion: Recursion::default(),
        relabel: None,
        restrictions: Vec::new(),
    };
    let options = options.first().copied().unwrap_or("rw");
    let read_only = apply(options, &mut bind).ok_or_else(|| in_spec(InvalidMount::Mode(printable(options))))?;
    Ok(Mount { target: to, read_only, kind: MountKind::Bind(bind), flag: Flag::Volume })
}

/// Applies the comma list to `bind` and gives whether it is read-only. A kind of option given twice
/// is an error, as in docker; None stands for any error.
fn apply(options: &str, bind: &mut Bind) -> Option<bool> {
    let (mut access, mut propagation, mut recursion) = (None, None, None);
    for option in options.split(',') {
        match option {
            "rw" | "ro" => once(&mut access, option == "ro")?,
            "z" | "Z" => once(&mut bind.relabel, option.chars().next()?)?,
            "rbind" => once(&mut recursion, Recursion::Enabled)?,
            "bind" => once(&mut recursion, Recursion::Disabled)?,
            "noexec" => bind.restrictions.push(Restriction::Noexec),
            "nosuid" => bind.restrictions.push(Restriction::Nosuid),
            "nodev" => bind.restrictions.push(Restriction::Nodev),
            // Defaults, and docker's file sharing hints, which do nothing on Linux.
            "exec" | "suid" | "dev" | "consistent" | "cached" | "delegated" => {}
            other => once(&mut propagation, Propagation::parse(other)?)?,
        }
    }
    bind.restrictions.sort();
    bind.restrictions.dedup();
    bind.propagation = propagation.unwrap_or_default();
    bind.recursion = recursion.unwrap_or_default();
    Some(access.unwrap_or(false))
}

fn once<T>(slot: &mut Option<T>, value: T) -> Option<()> {
    slot.replace(value).is_none().then_some(())
}

/// Prints the value that parses to this mount.
pub(super) fn print(mount: &Mount, bind: &Bind, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{}:{}", bind.source.display(), mount.target)?;
    let options = mode(mount, bind);
    if options.is_empty() { Ok(()) } else { write!(f, ":{options}") }
}

/// The options that differ from the defaults, as inspect's Mode shows them.
fn mode(mount: &Mount, bind: &Bind) -> String {
    let mut words: Vec<&str> = Vec::new();
    words.extend(mount.read_only.then_some("ro"));
    words.extend(bind.relabel.map(|letter| if letter == 'Z' { "Z" } else { "z" }));
    words.extend((bind.recursion == Recursion::Disabled).then_some("bind"));
    words.extend((bind.propagation != Propagation::default()).then(|| bind.propagation.as_str()));
    words.extend(bind.restrictions.iter().map(|restriction| restriction.as_str()));
    words.join(",")
}

impl Mount {
    /// The options of a `-v` mount (`ro,z`), empty for others and for the defaults.
    pub fn mode(&self) -> String {
        match (&self.kind, self.flag) {
            (MountKind::Bind(bind), Flag::Volume) => mode(self, bind),
            _ => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Mount, InvalidMount> {
        parse_volume(text, Path::new("/home/me"))
    }

    #[test]
    fn paths_and_options() {
        for (text, printed) in [
            ("/src:/dst", "/src:/dst"),
            ("/src/:/dst/", "/src:/dst"),
            ("./x:/dst:rw", "/home/me/x:/dst"),
            ("..:/dst", "/home:/dst"),
            (".:/dst:ro,Z", "/home/me:/dst:ro,Z"),
            ("/s:/d:rslave,ro,z,nodev,noexec,cached", "/s:/d:ro,z,rslave,noexec,nodev"),
            ("/s:/d:bind", "/s:/d:bind"),
        ] {
            assert_eq!(parse(text).map(|mount| mount.to_string()), Ok(printed.to_owned()), "{text}");
        }
    }

    #[test]
    fn errors_in_dockers_words() {
        for (text, message) in [
            ("", "invalid empty volume spec"),
            ("/a:/b:ro:x", "invalid spec: /a:/b:ro:x: too many colons"),
            ("/a::ro", "invalid spec: /a::ro: empty section between colons"),
            ("/a:/b:foo", "invalid volume specification: '/a:/b:foo': invalid mode: foo"),
            ("/a:/b:ro,rw", "invalid volume specification: '/a:/b:ro,rw': invalid mode: ro,rw"),
            (
                "foo:ro",
                "invalid volume specification: 'foo:ro': invalid mount config for type \"volume\": invalid mount path: 'ro' mount path must be absolute",
            ),
            (
                "/a:/",
                "invalid volume specification: '/a:/': invalid mount config for type \"bind\": invalid specification: destination can't be '/'",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), message);
        }
        assert!(matches!(parse("data:/x"), Err(InvalidMount::NamedVolume(_))));
        assert!(matches!(parse("/x"), Err(InvalidMount::AnonymousVolume(_))));
        assert!(matches!(parse("/a:/proc/1"), Err(InvalidMount::Volume { .. })));
    }

    proptest! {
        #[test]
        fn printing_round_trips(
            source in "(/[a-z. ,=]{1,4}){1,3}",
            target in "(/[a-z. ,=]{1,4}){1,3}",
            options in prop::collection::vec("ro|z|Z|bind|rslave|shared|noexec|nosuid|nodev|rw|cached", 0..4),
        ) {
            let mut text = format!("{source}:{target}");
            if !options.is_empty() {
                text = format!("{text}:{}", options.join(","));
            }
            if let Ok(mount) = parse(&text) {
                prop_assert_eq!(parse(&mount.to_string()), Ok(mount));
            }
        }

        #[test]
        fn never_panics(text in "\\PC{0,20}") {
            let _ = parse(&text);
        }
    }
}
