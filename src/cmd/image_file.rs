//! Small files of images, read before there is a container of one.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

use crate::spec::config::RootSource;
use crate::store::Store;

/// They are the image's: not believed beyond this.
const FILE_LIMIT: u64 = 1 << 20;

/// A file of the topmost layer that has it, such as `etc/passwd`; empty where there is none or it can't be
/// read.
pub fn text(store: &Store, root: &RootSource, path: &str) -> String {
    let read = |top: &Path| -> Option<String> {
        let directory = top.join(Path::new(path).parent()?);
        // Never through a link of the image's.
        if !std::fs::symlink_metadata(&directory).ok()?.is_dir() {
            return None;
        }
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
        let flags = i32::try_from(flags).ok()?;
        let file = File::options().read(true).custom_flags(flags).open(top.join(path)).ok()?;
        let mut bytes = Vec::new();
        file.metadata().ok().filter(std::fs::Metadata::is_file)?;
        file.take(FILE_LIMIT).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    match root {
        RootSource::Directory(root) => read(root),
        RootSource::Image { layers, .. } => {
            layers.iter().rev().find_map(|layer| read(&store.layers().diff_path(*layer)))
        }
    }
    .unwrap_or_default()
}
