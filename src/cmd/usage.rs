//! How much disk a container takes.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::store::Store;
use crate::store::containers::Container;

/// Bytes in the container's own layer, and together with its image's.
pub fn sizes(store: &Store, container: &Container) -> (u64, u64) {
    let written = written(&container.path("upper"));
    let record = |layer: &_| store.layers().get(*layer).ok();
    let image: u64 = container.layers().iter().filter_map(record).map(|record| record.size).sum();
    (written, written + image)
}

/// Bytes of the regular files below a directory, each inode once, without leaving its filesystem.
/// What this user may not list, or what vanishes meanwhile, counts nothing.
fn written(top: &Path) -> u64 {
    let Ok(root) = std::fs::symlink_metadata(top) else { return 0 };
    let mut total = 0;
    let mut linked = HashSet::new();
    let mut pending: Vec<PathBuf> = vec![top.to_owned()];
    while let Some(directory) = pending.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() && metadata.dev() == root.dev() {
                pending.push(entry.path());
            } else if metadata.is_file() && (metadata.nlink() == 1 || linked.insert(metadata.ino())) {
                total += metadata.len();
            }
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_count_once_and_links_are_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        std::fs::create_dir(path("sub")).unwrap();
        std::fs::write(path("sub/a"), [0; 10]).unwrap();
        std::fs::hard_link(path("sub/a"), path("b")).unwrap();
        std::fs::write(path("c"), [0; 5]).unwrap();
        std::os::unix::fs::symlink("/", path("sub/root")).unwrap();
        assert_eq!(written(directory.path()), 15);
        assert_eq!(written(&path("absent")), 0);
    }
}
