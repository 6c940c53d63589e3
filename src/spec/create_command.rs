//! The command line that made a container, in parts, so that the same can be made again.

use serde::{Deserialize, Serialize};

/// Its words, without what is secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateCommand {
    /// Flags before the command's name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub global: Vec<String>,
    /// `run` or `create`, perhaps behind `container`.
    pub command: Vec<String>,
    pub flags: Vec<String>,
    /// The image, and what runs in it.
    pub rest: Vec<String>,
}

/// Flags before a command that have a value.
const GLOBAL: [&str; 5] = ["--cdi-spec-dir", "--config", "--root", "--runroot", "--set"];
/// Flags whose values are secret.
const SECRET: &str = "--creds";

impl CreateCommand {
    /// Takes a command line apart, program first, that ends with `rest` words from the image on.
    pub fn of(words: &[String], rest: usize) -> Self {
        let split = words.len().saturating_sub(rest);
        let head = words.get(1..split).unwrap_or_default();
        let mut at = 0;
        while let Some(word) = head.get(at) {
            if !word.starts_with('-') {
                break;
            }
            at += if GLOBAL.contains(&&**word) { 2 } else { 1 };
        }
        let at = at.min(head.len());
        let names = if head.get(at).is_some_and(|word| word == "container") { 2 } else { 1 };
        let flags_at = (at + names).min(head.len());
        let mut flags = head[flags_at..].to_vec();
        // The end of the flags is known without it.
        if flags.last().is_some_and(|word| word == "--") {
            flags.pop();
        }
        Self {
            global: head[..at].to_vec(),
            command: head[at..flags_at].to_vec(),
            flags: without(flags, &[SECRET]),
            rest: words[split..].to_vec(),
        }
    }

    /// The words in their order.
    pub fn words(&self) -> impl Iterator<Item = &String> {
        self.global.iter().chain(&self.command).chain(&self.flags).chain(&self.rest)
    }

    /// The line for a container like it with another name, and perhaps another image.
    pub fn like(&self, name: &str, image: Option<&str>) -> Self {
        let mut made = self.clone();
        made.flags = self.flags_without(&["--name", "--cidfile", "--pidfile"]);
        made.flags.push(format!("--name={name}"));
        if let (Some(image), Some(first)) = (image, made.rest.first_mut()) {
            image.clone_into(first);
            made.flags.retain(|flag| !matches!(flag.as_str(), "--rootfs" | "--rootfs=true"));
        }
        made
    }

    /// The flags but for these, which have values.
    pub fn flags_without(&self, names: &[&str]) -> Vec<String> {
        without(self.flags.clone(), names)
    }
}

fn without(flags: Vec<String>, names: &[&str]) -> Vec<String> {
    let mut kept = Vec::new();
    let mut flags = flags.into_iter();
    while let Some(flag) = flags.next() {
        if names.contains(&&*flag) {
            flags.next();
        } else if !names.iter().any(|name| flag.strip_prefix(name).is_some_and(|rest| rest.starts_with('='))) {
            kept.push(flag);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str, rest: usize) -> CreateCommand {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        CreateCommand::of(&words, rest)
    }

    #[test]
    fn lines_are_taken_apart() {
        let made = of("rbox --root run --set=a=b container run -d --name x --creds a:b --creds=c:d -- img sh -c x", 4);
        assert_eq!(made.global, ["--root", "run", "--set=a=b"]);
        assert_eq!(made.command, ["container", "run"]);
        assert_eq!(made.flags, ["-d", "--name", "x"]);
        assert_eq!(made.rest, ["img", "sh", "-c", "x"]);
        let made = of("rbox create --cidfile a --cidfile=b -t img", 1);
        assert_eq!(made.flags_without(&["--cidfile"]), ["-t"]);
        assert_eq!(made.words().count(), 6);
        let like = of("rbox run --name a --rootfs -d /dir sh", 2).like("b", None);
        assert_eq!(
            like.words().map(|word| &**word).collect::<Vec<_>>(),
            ["run", "--rootfs", "-d", "--name=b", "/dir", "sh"]
        );
        let other = like.like("c", Some("img"));
        assert_eq!(
            (&other.flags[..], &other.rest[..]),
            (&["-d", "--name=c"].map(str::to_owned)[..], &["img", "sh"].map(str::to_owned)[..])
        );
        assert_eq!(of("rbox run", 1).command, Vec::<String>::new());
        assert_eq!(of("rbox", 3), CreateCommand { rest: vec!["rbox".to_owned()], ..CreateCommand::default() });
    }
}
