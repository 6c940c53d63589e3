//! The context of a case on disk.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::case::{Case, Section};
use crate::common::images::Layer;
use crate::common::{Bench, program, write};

/// When the files of a context were changed, unless a case says another time.
const CHANGED: i64 = 1_000_000_000;

/// Writes the context of a case.
#[track_caller]
pub fn make(bench: &Bench, case: &Case) -> PathBuf {
    let context = bench.mkdir(&format!("corpus-{}", case.name));
    for section in &case.sections {
        section.make(&context);
    }
    // Last, as files change the directories they are made in.
    set_times(&context);
    for section in &case.sections {
        section.finish(&context);
    }
    context
}

/// Removes it.
pub fn remove(context: &Path) {
    let _ = program("chmod").args(["-R", "u+rwX"]).arg(context).run();
    let _ = std::fs::remove_dir_all(context);
}

impl Section {
    fn option(&self, name: &str) -> Option<&str> {
        self.options.iter().find_map(|option| option.strip_prefix(name)?.strip_prefix('='))
    }

    fn has(&self, name: &str) -> bool {
        self.options.iter().any(|option| option == name)
    }

    fn make(&self, context: &Path) {
        let path = context.join(&self.path);
        let parent = path.parent().expect("below the context");
        std::fs::create_dir_all(parent).unwrap_or_else(|error| panic!("{}: {error}", parent.display()));
        if self.path.ends_with('/') {
            std::fs::create_dir_all(&path).expect("a directory of ours");
        } else if let Some(target) = self.option("link") {
            std::os::unix::fs::symlink(target, &path).expect("a directory of ours");
        } else if let Some(same) = self.option("same") {
            std::fs::hard_link(context.join(same), &path).expect("a file of ours");
        } else if self.has("fifo") {
            program("mkfifo").arg(&path).ok();
        } else if self.has("socket") {
            drop(std::os::unix::net::UnixListener::bind(&path).expect("a directory of ours"));
        } else if let Some(compression) = self.option("tar") {
            write(&path, compress(compression, archive(&self.content)));
        } else {
            let content = self.content.replace("\\r\n", "\r\n").replace("\\t", "\t");
            let content = content.strip_suffix('\n').filter(|_| self.has("noeol")).unwrap_or(&content);
            write(&path, content);
        }
        if let Some(xattr) = self.option("xattr") {
            let (name, value) = xattr.split_once(':').expect("NAME:VALUE");
            program("setfattr").args(["-n", name, "-v", value]).arg(&path).ok();
        }
    }

    fn finish(&self, context: &Path) {
        let path = context.join(&self.path);
        if let Some(mode) = self.option("mode") {
            let mode = u32::from_str_radix(mode, 8).expect("an octal mode");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("a file of ours");
        }
        if let Some(time) = self.option("mtime") {
            program("touch").args(["-h", "-d", &format!("@{time}")]).arg(&path).ok();
        }
    }
}

/// Plain modes and old times all over.
fn set_times(context: &Path) {
    let script = format!(
        r#"cd "$1"; find . -type d -exec chmod 755 {{}} +; find . -type f -exec chmod 644 {{}} +
           find . -depth -exec touch -h -d @{CHANGED} {{}} +"#
    );
    program("sh").args(["-ec", &script, "times"]).arg(context).ok();
}

/// A tar of lines `f MODE OWNER PATH TEXT`, `d MODE OWNER PATH`, `l PATH TARGET`, `h PATH TARGET`, `p PATH`.
fn archive(lines: &str) -> Vec<u8> {
    let octal = |text: &str| u32::from_str_radix(text, 8).expect("an octal mode");
    let owner = |text: &str| {
        let (user, group) = text.split_once(':').expect("USER:GROUP");
        (user.parse().expect("a user"), group.parse().expect("a group"))
    };
    let mut layer = Layer::new();
    for line in lines.lines() {
        let words: Vec<&str> = line.splitn(5, ' ').collect();
        layer = match words[..] {
            ["f", mode, ids, path, text] => {
                let (user, group) = owner(ids);
                layer.owned_by(user, group).file(path, octal(mode), text)
            }
            ["d", mode, ids, path] => {
                let (user, group) = owner(ids);
                layer.owned_by(user, group).directory(path, octal(mode))
            }
            ["l", path, target] => layer.symlink(path, target),
            ["h", path, target] => layer.hardlink(path, target),
            ["p", path] => layer.fifo(path),
            _ => panic!("no line of an archive: {line}"),
        };
    }
    layer.into_bytes()
}

fn compress(how: &str, tar: Vec<u8>) -> Vec<u8> {
    let tool = match how {
        "none" => return tar,
        "gzip" | "bzip2" | "xz" | "zstd" => how,
        _ => panic!("no compression: {how}"),
    };
    program(tool).arg("-c").stdin(tar).run().ok().stdout
}
