use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{CWD, FileType, Mode, OFlags};
use tempfile::TempDir;

use super::*;
use crate::build::context::{Ignore, StatCache, Tree};

/// A context and a root.
struct Site {
    directory: TempDir,
}

impl Site {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("context")).unwrap();
        fs::create_dir(directory.path().join("root")).unwrap();
        Self { directory }
    }

    fn context(&self, path: &str) -> PathBuf {
        self.directory.path().join("context").join(path)
    }

    fn root(&self, path: &str) -> PathBuf {
        self.directory.path().join("root").join(path)
    }

    /// Makes files of these names in the context; they hold their names.
    fn files(&self, names: &[&str]) -> &Self {
        for name in names {
            let path = self.context(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        self
    }

    fn tree(&self) -> Tree {
        Tree::open(&self.context(""), None).unwrap()
    }

    fn root_fd(&self) -> OwnedFd {
        rustix::fs::openat(CWD, self.root(""), OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap()
    }

    fn copy(&self, sources: &[&str], destination: &str) -> Result<Placed, String> {
        self.copy_with(&selection(sources), destination, &options())
    }

    fn copy_with(
        &self,
        selection: &Selection,
        destination: &str,
        options: &PlaceOptions<'_>,
    ) -> Result<Placed, String> {
        let mut selected = self.tree().select(selection).map_err(|error| error.to_string())?;
        selected.digest(&StatCache::none(), false).map_err(|error| error.to_string())?;
        let destination = Destination::new("/work", destination);
        place(&selected, self.root_fd().as_fd(), &destination, options, &mut |_| {}).map_err(|error| error.to_string())
    }

    /// All names in the root, sorted; directories with a slash.
    fn found(&self) -> Vec<String> {
        let mut found = Vec::new();
        walk(&self.root(""), "", &mut found);
        found.sort();
        found
    }

    fn digest(&self, sources: &[&str]) -> String {
        self.tree().select(&selection(sources)).unwrap().digest(&StatCache::none(), false).unwrap().to_string()
    }
}

fn walk(directory: &Path, prefix: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type().unwrap().is_dir() {
            walk(&entry.path(), &format!("{name}/"), found);
            found.push(format!("{name}/"));
        } else {
            found.push(name);
        }
    }
}

fn selection(sources: &[&str]) -> Selection {
    Selection { sources: sources.iter().map(|&source| source.to_owned()).collect(), ..Selection::default() }
}

fn options() -> PlaceOptions<'static> {
    let single_id = !rustix::process::geteuid().is_root();
    PlaceOptions { instruction: "COPY", single_id, ..PlaceOptions::default() }
}

struct Hidden(&'static [&'static str], &'static [&'static str]);

impl Ignore for Hidden {
    fn excludes(&self, path: &[u8], _: bool) -> bool {
        let under = |names: &[&str]| {
            names.iter().any(|name| path == name.as_bytes() || path.starts_with(format!("{name}/").as_bytes()))
        };
        under(self.0) && !under(self.1)
    }

    fn may_descend(&self, directory: &[u8]) -> bool {
        self.1.iter().any(|name| name.as_bytes().starts_with(directory))
    }
}

#[test]
fn files_and_directories_go_where_buildkit_puts_them() {
    for (sources, destination, expected) in [
        (&["a"][..], "/b", &["b"][..]),
        (&["a"], "/b/", &["b/", "b/a"]),
        (&["a"], "b", &["work/", "work/b"]),
        (&["a"], ".", &["work/", "work/a"]),
        (&["a"], "/x/y/z", &["x/", "x/y/", "x/y/z"]),
        (&["dir"], "/d", &["d/", "d/one", "d/sub/", "d/sub/two"]),
        (&["dir/"], "/d/", &["d/", "d/one", "d/sub/", "d/sub/two"]),
        (&["dir", "a"], "/d/", &["d/", "d/a", "d/one", "d/sub/", "d/sub/two"]),
        (&["dir/sub"], "/", &["two"]),
        (&["/dir/../../../a"], "/q", &["q"]),
        (&["di*"], "/d", &["d/", "d/one", "d/sub/", "d/sub/two"]),
        (&["*/one"], "/d/", &["d/", "d/one"]),
        (&["no*", "a"], "/d/", &["d/", "d/a"]),
        (&["no*"], "/d/", &["d/"]),
        (&["[ab]"], "/d/", &["d/", "d/a", "d/b"]),
    ] {
        let site = Site::new();
        site.files(&["a", "b", "dir/one", "dir/sub/two"]).copy(sources, destination).unwrap();
        assert_eq!(site.found(), expected, "{sources:?} {destination}");
    }
}

#[test]
fn what_cannot_be_copied_is_named_in_buildkits_words() {
    let site = Site::new();
    site.files(&["a", "b", "dir/one", "dir/x/y"]);
    fs::create_dir_all(site.root("dest/one")).unwrap();
    fs::create_dir_all(site.root("real")).unwrap();
    symlink("real", site.root("dest/x")).unwrap();
    fs::write(site.root("file"), "").unwrap();
    symlink("loop", site.context("loop")).unwrap();
    symlink("/nowhere", site.context("dangling")).unwrap();
    let several =
        "When using COPY with more than one source file, the destination must be a directory and end with a /";
    for (sources, destination, expected) in [
        (&["missing"][..], "/", "\"/missing\": not found"),
        (&["../../etc/passwd"], "/", "\"/etc/passwd\": not found"),
        (&["a/b"], "/", "\"/a/b\": not found"),
        (&["dangling"], "/", "\"/dangling\": not found"),
        (&["a", "b"], "/new", several),
        (&["*"], "/new", "\"/dangling\": not found"),
        (&["dir"], "/file", "cannot copy to non-directory: /file"),
        (&["dir/one"], "/dest/", "cannot replace to directory /dest/one with file"),
        (&["dir/x"], "/file/x", "mkdir /file/x: not a directory"),
        (&["a"], "/file/", "mkdir /file: not a directory"),
        (&["loop"], "/", "lstat /loop: too many levels of symbolic links"),
        (&["[a"], "/", "invalid pattern \"[a\": syntax error in pattern"),
    ] {
        assert_eq!(site.copy(sources, destination).unwrap_err(), expected, "{sources:?} {destination}");
    }
    fs::remove_dir(site.root("dest/one")).unwrap();
    assert_eq!(site.copy(&["dir"], "/dest").unwrap_err(), "cannot copy to non-directory: /dest/x");
    assert_eq!(site.tree().select(&selection(&[])).unwrap_err().to_string(), "no source files were specified");
}

#[test]
fn links_lead_nowhere_out() {
    let site = Site::new();
    site.files(&["inside/file"]);
    symlink("/etc", site.context("away")).unwrap();
    symlink("../../../inside", site.context("up")).unwrap();
    assert_eq!(site.copy(&["away/passwd"], "/").unwrap_err(), "\"/away/passwd\": not found");
    // A link to what is inside, however it is spelled, is followed, and keeps its own name.
    symlink("/inside/file", site.context("name")).unwrap();
    site.copy(&["up"], "/up").unwrap();
    site.copy(&["name"], "/d/").unwrap();
    assert_eq!(site.found(), ["d/", "d/name", "up/", "up/file"]);
    // Links below a directory are copied as they are.
    symlink("../../x", site.context("inside/link")).unwrap();
    site.copy(&["inside"], "/i").unwrap();
    assert_eq!(fs::read_link(site.root("i/link")).unwrap(), Path::new("../../x"));
    // In the root, too.
    let outside = tempfile::tempdir().unwrap();
    symlink(outside.path(), site.root("out")).unwrap();
    symlink("/out", site.root("i/again")).unwrap();
    site.copy(&["inside/file"], "/i/again/deep/").unwrap();
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    let made = outside.path().strip_prefix("/").unwrap().join("deep/file");
    assert_eq!(fs::read_to_string(site.root("").join(made)).unwrap(), "inside/file");
}

#[test]
fn a_link_that_is_the_destination_is_followed_and_one_in_a_directory_is_replaced() {
    let site = Site::new();
    site.files(&["a"]);
    fs::write(site.root("target"), "old").unwrap();
    symlink("/target", site.root("link")).unwrap();
    site.copy(&["a"], "/link").unwrap();
    assert_eq!(fs::read_to_string(site.root("target")).unwrap(), "a");
    fs::create_dir(site.root("d")).unwrap();
    symlink("/target", site.root("d/a")).unwrap();
    fs::write(site.root("target"), "old").unwrap();
    site.copy(&["a"], "/d").unwrap();
    assert_eq!(fs::read_to_string(site.root("target")).unwrap(), "old");
    assert!(fs::symlink_metadata(site.root("d/a")).unwrap().is_file());
}

#[test]
fn parents_are_kept_from_the_pivot_on() {
    for (sources, excluded, expected) in [
        (&["x/a.txt"][..], &[][..], &["d/", "d/x/", "d/x/a.txt"][..]),
        (&["./x/./y/b.txt"], &[], &["d/", "d/y/", "d/y/b.txt"]),
        (&["x/*/*.txt"], &[], &["d/", "d/x/", "d/x/y/", "d/x/y/b.txt", "d/x/z/", "d/x/z/c.txt"]),
        (&["**/c.txt"], &[], &["d/", "d/x/", "d/x/z/", "d/x/z/c.txt"]),
        (&["x"], &["x/z"], &["d/", "d/x/", "d/x/a.txt", "d/x/y/", "d/x/y/b.txt"]),
        (&["x/none*"], &[], &["d/"]),
    ] {
        let site = Site::new();
        site.files(&["x/a.txt", "x/y/b.txt", "x/z/c.txt"]);
        let exclude = excluded.iter().map(|&pattern: &&str| pattern.to_owned()).collect();
        let selection = Selection { parents: true, exclude, ..selection(sources) };
        site.copy_with(&selection, "/d/", &options()).unwrap();
        assert_eq!(site.found(), expected, "{sources:?}");
    }
    let site = Site::new();
    site.files(&["x/a"]);
    let missing = Selection { parents: true, ..selection(&["x/b"]) };
    assert_eq!(site.copy_with(&missing, "/d/", &options()).unwrap_err(), "\"/x/b\": not found");
    fs::set_permissions(site.context("x"), fs::Permissions::from_mode(0o750)).unwrap();
    let found = Selection { parents: true, ..selection(&["x/a"]) };
    site.copy_with(&found, "/d/", &options()).unwrap();
    assert_eq!(fs::metadata(site.root("d/x")).unwrap().mode() & 0o7777, 0o750);
}

#[test]
fn excluded_and_ignored_files_are_left_out() {
    let site = Site::new();
    site.files(&["a.txt", "b.md", "sub/c.txt", "sub/d.md", "sub/keep/e.txt"]);
    let exclude = vec!["**/*.txt".to_owned(), "!sub/keep/e.txt".to_owned()];
    site.copy_with(&Selection { exclude, ..selection(&["."]) }, "/d", &options()).unwrap();
    assert_eq!(site.found(), ["d/", "d/b.md", "d/sub/", "d/sub/d.md", "d/sub/keep/", "d/sub/keep/e.txt"]);
    let site = Site::new();
    site.files(&["a.txt", "b.md", "secret/key", "secret/public/x"]);
    let ignore = Rc::new(Hidden(&["secret"], &["secret/public"]));
    let tree = Tree::open(&site.context(""), Some(ignore)).unwrap();
    let select = |sources: &[&str]| tree.select(&selection(sources));
    let count = |sources: &[&str]| select(sources).unwrap().count();
    assert_eq!(count(&["."]), 6);
    assert_eq!(count(&["secret"]), 3);
    let error = select(&["secret/key"]).unwrap_err();
    assert_eq!(error.to_string(), "\"/secret/key\": not found: excluded by .dockerignore");
    assert_eq!(count(&["secret/*"]), 2);
    symlink("secret/key", site.context("way")).unwrap();
    assert!(matches!(select(&["way"]).unwrap_err(), SelectError::Ignored(_)));
}

#[test]
fn metadata_is_kept_or_chosen() {
    let site = Site::new();
    site.files(&["run", "dir/file", "dir/sub/x"]);
    fs::set_permissions(site.context("run"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::set_permissions(site.context("dir/sub"), fs::Permissions::from_mode(0o2711)).unwrap();
    fs::hard_link(site.context("dir/file"), site.context("dir/sub/same")).unwrap();
    let past = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 123_000_000);
    for path in ["run", "dir/sub"] {
        fs::File::open(site.context(path)).unwrap().set_modified(past).unwrap();
    }
    let has_attributes =
        rustix::fs::setxattr(site.context("dir/file"), "user.color", b"red", rustix::fs::XattrFlags::empty()).is_ok();
    rustix::fs::mknodat(CWD, site.context("dir/pipe"), FileType::Fifo, Mode::from_raw_mode(0o622), 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(site.context("dir/socket")).unwrap();
    fs::File::create(site.context("dir/hole")).unwrap().set_len(1 << 24).unwrap();
    site.copy(&["run"], "/bin/").unwrap();
    let placed = site.copy(&["dir"], "/dir").unwrap();
    assert_eq!(placed.changed, Vec::<String>::new());
    let meta = |path: &str| fs::symlink_metadata(site.root(path)).unwrap();
    assert_eq!(meta("bin/run").mode() & 0o7777, 0o4751);
    assert_eq!((meta("bin/run").mtime(), meta("bin/run").mtime_nsec()), (1_000_000_000, 123_000_000));
    assert_eq!(meta("dir/sub").mode() & 0o7777, 0o2711);
    assert_eq!(meta("dir/sub").mtime(), 1_000_000_000);
    assert_eq!(meta("bin").mode() & 0o7777, 0o755);
    assert_eq!(meta("dir/file").ino(), meta("dir/sub/same").ino());
    assert_eq!(FileType::from_raw_mode(meta("dir/pipe").mode()), FileType::Fifo);
    assert!(!site.root("dir/socket").exists());
    assert!(meta("dir/hole").blocks() < 64);
    if has_attributes {
        let mut value = [0u8; 8];
        assert_eq!(rustix::fs::getxattr(site.root("dir/file"), "user.color", &mut value[..]), Ok(3));
    }
    let chmod = Some(Chmod::parse("u=rwX,go=rX").unwrap());
    site.copy_with(&selection(&["dir"]), "/again", &PlaceOptions { chmod, ..options() }).unwrap();
    assert_eq!(meta("again/sub").mode() & 0o7777, 0o2755);
    assert_eq!(meta("again/pipe").mode() & 0o7777, 0o644);
    if rustix::process::geteuid().is_root() {
        let chown = Some((1234, 5678));
        site.copy_with(&selection(&["dir"]), "/new/own", &PlaceOptions { chown, ..options() }).unwrap();
        for path in ["new", "new/own", "new/own/file", "new/own/sub", "new/own/pipe"] {
            assert_eq!((meta(path).uid(), meta(path).gid()), (1234, 5678), "{path}");
        }
        // Of an image's files the owners are kept, of a context's they are root's.
        std::os::unix::fs::chown(site.context("run"), Some(7), Some(8)).unwrap();
        site.copy(&["run"], "/r1").unwrap();
        let stage = Tree::of_root(rustix::fs::openat(CWD, site.context(""), OFlags::PATH, Mode::empty()).unwrap());
        let mut selected = stage.select(&selection(&["run"])).unwrap();
        let kept = selected.digest(&StatCache::none(), false).unwrap();
        place(&selected, site.root_fd().as_fd(), &Destination::new("", "/r2"), &options(), &mut |_| {}).unwrap();
        assert_eq!([meta("r1").uid(), meta("r2").uid()], [0, 7]);
        assert_ne!(kept, stage.select(&selection(&["run"])).unwrap().digest(&StatCache::none(), true).unwrap());
    }
}

#[test]
fn the_digest_depends_on_what_is_copied_and_on_no_times() {
    let site = Site::new();
    site.files(&["dir/a", "dir/b", "dir/sub/c"]);
    let first = site.digest(&["dir"]);
    let long_ago = std::time::SystemTime::UNIX_EPOCH;
    fs::File::open(site.context("dir/a")).unwrap().set_modified(long_ago).unwrap();
    fs::rename(site.context("dir"), site.context("moved")).unwrap();
    symlink("moved", site.context("dir")).unwrap();
    assert_eq!(site.digest(&["dir"]), first);
    let mut seen = vec![first];
    let mut differs = |change: &dyn Fn()| {
        change();
        let digest = site.digest(&["dir"]);
        assert!(!seen.contains(&digest));
        seen.push(digest);
    };
    differs(&|| fs::write(site.context("dir/a"), "A").unwrap());
    differs(&|| fs::rename(site.context("dir/a"), site.context("dir/d")).unwrap());
    differs(&|| fs::set_permissions(site.context("dir/d"), fs::Permissions::from_mode(0o600)).unwrap());
    differs(&|| symlink("x", site.context("dir/link")).unwrap());
    differs(&|| {
        fs::remove_file(site.context("dir/link")).unwrap();
        symlink("y", site.context("dir/link")).unwrap();
    });
    differs(&|| fs::create_dir(site.context("dir/empty")).unwrap());
}

#[test]
fn unchanged_files_are_not_read_again() {
    let site = Site::new();
    let names: Vec<String> = (0..300).map(|number| format!("d{}/f{number}", number % 7)).collect();
    site.files(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let stored = site.directory.path().join("cache");
    let digest = |cache: &StatCache| site.tree().select(&selection(&["."])).unwrap().digest(cache, false).unwrap();
    let first = digest(&StatCache::load(&stored));
    // All changed just now: nothing is trusted.
    let before = fs::read(&stored).map_or(0, |bytes| bytes.len());
    std::thread::sleep(std::time::Duration::from_millis(80));
    assert_eq!(digest(&StatCache::load(&stored)), first);
    let bytes = fs::read(&stored).unwrap();
    assert!(bytes.len() > before && bytes.len() > 300 * 80);
    // It is believed: with a file that cannot be read the digest is known all the same.
    let cache = StatCache::load(&stored);
    let stat = rustix::fs::stat(site.context("d1/f1")).unwrap();
    assert!(cache.get(&stat).is_some());
    fs::write(site.context("d1/f1"), "changed").unwrap();
    assert!(cache.get(&rustix::fs::stat(site.context("d1/f1")).unwrap()).is_none());
    assert_ne!(digest(&StatCache::load(&stored)), first);
    // A damaged one is worth nothing.
    let mut bad = bytes.clone();
    bad[100] ^= 1;
    fs::write(&stored, &bad).unwrap();
    assert!(StatCache::load(&stored).get(&stat).is_none());
    for length in [0, 7, 40, bytes.len() - 1] {
        fs::write(&stored, &bytes[..length]).unwrap();
        assert!(StatCache::load(&stored).get(&stat).is_none());
    }
}

#[test]
fn a_copy_that_is_not_what_the_digest_says_is_told() {
    let site = Site::new();
    site.files(&["a", "dir/b", "dir/c"]);
    let mut selected = site.tree().select(&selection(&["."])).unwrap();
    selected.digest(&StatCache::none(), false).unwrap();
    // Same size, and so soon after that times may not tell.
    fs::write(site.context("dir/b"), "dir/B").unwrap();
    let to = Destination::new("", "/d/");
    let placed = place(&selected, site.root_fd().as_fd(), &to, &options(), &mut |_| {}).unwrap();
    assert_eq!(placed.changed, ["/dir/b"]);
    // What became a link leads nowhere.
    fs::remove_file(site.context("dir/b")).unwrap();
    symlink("/etc/passwd", site.context("dir/b")).unwrap();
    let error = place(&selected, site.root_fd().as_fd(), &to, &options(), &mut |_| {}).unwrap_err();
    assert_eq!(error.to_string(), "/dir/b changed while it was copied");
    fs::rename(site.context("dir"), site.context("gone")).unwrap();
    symlink("/etc", site.context("dir")).unwrap();
    let error = place(&selected, site.root_fd().as_fd(), &to, &options(), &mut |_| {}).unwrap_err();
    assert!(matches!(error, PlaceError::Changed(_)), "{error}");
}

/// Ends the other thread whatever becomes of this one.
struct Stops<'a>(&'a std::sync::atomic::AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

#[test]
fn links_that_are_swapped_during_the_copy_lead_nowhere_out() {
    let site = Site::new();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("file"), "outside").unwrap();
    site.files(&["d/file", "other/file"]);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = fs::rename(site.context("d"), site.context("kept"));
                let _ = symlink(outside.path(), site.context("d"));
                let _ = fs::remove_file(site.context("d"));
                let _ = fs::rename(site.context("kept"), site.context("d"));
            }
        });
        let _stops = Stops(&stop);
        for _ in 0..100 {
            let _ = site.copy(&["."], "/all/");
            let _ = site.copy(&["d/file"], "/one");
            let _ = site.copy(&["*/file"], "/some/");
            for path in ["all/d/file", "all/kept/file", "one", "some/file"] {
                // A copied link is no copy of what is outside.
                let inside = fs::canonicalize(site.root(path)).is_ok_and(|path| path.starts_with(site.root("")));
                assert!(!inside || fs::read_to_string(site.root(path)).unwrap() != "outside");
            }
            fs::remove_dir_all(site.root("")).unwrap();
            fs::create_dir(site.root("")).unwrap();
        }
    });
}

#[test]
fn deep_trees_need_few_descriptors() {
    // The stack of a process, not that of a test.
    std::thread::Builder::new().stack_size(8 << 20).spawn(copy_deep_trees).unwrap().join().unwrap();
}

fn copy_deep_trees() {
    let site = Site::new();
    let mut at: OwnedFd = rustix::fs::openat(CWD, site.context(""), OFlags::PATH, Mode::empty()).unwrap();
    for _ in 0..450 {
        rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
        at = rustix::fs::openat(&at, "d", OFlags::PATH, Mode::empty()).unwrap();
    }
    let (soft, _) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap();
    assert!(soft > 256);
    assert_eq!(site.copy(&["."], "/x/").unwrap().entries, 450);
    for _ in 0..100 {
        rustix::fs::mkdirat(&at, "e", Mode::RWXU).unwrap();
        at = rustix::fs::openat(&at, "e", OFlags::PATH, Mode::empty()).unwrap();
    }
    assert!(site.copy(&["."], "/y/").unwrap_err().ends_with("file name too long"));
    crate::store::remove::remove_tree(&site.context("d")).unwrap();
    crate::store::remove::remove_tree(&site.root("x")).unwrap();
}

fn tar(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o640);
        header.set_uid(11);
        header.set_gid(12);
        builder.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn archives_are_extracted_whatever_they_are_called() {
    use std::io::Write;
    let plain = tar(&[("inner/file", "content"), ("link/evil", "x")]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bzip2.write_all(&plain).unwrap();
    let packed = [
        plain.clone(),
        gzip.finish().unwrap(),
        bzip2.finish().unwrap(),
        zstd::encode_all(plain.as_slice(), 1).unwrap(),
    ];
    for bytes in packed {
        let site = Site::new();
        let outside = tempfile::tempdir().unwrap();
        fs::create_dir_all(site.root("work/to")).unwrap();
        symlink(outside.path(), site.root("work/to/link")).unwrap();
        fs::write(site.context("data.bin"), bytes).unwrap();
        let unpack = PlaceOptions { unpack: true, instruction: "ADD", ..options() };
        site.copy_with(&selection(&["data.bin"]), "to", &unpack).unwrap();
        assert_eq!(fs::read_to_string(site.root("work/to/inner/file")).unwrap(), "content");
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
        if rustix::process::geteuid().is_root() {
            assert_eq!(fs::metadata(site.root("work/to/inner/file")).unwrap().uid(), 11);
        }
        // COPY leaves it whole.
        site.copy(&["data.bin"], "/copied").unwrap();
        assert!(site.root("copied").is_file());
    }
    let site = Site::new();
    fs::write(site.context("no.tar.gz"), "no archive").unwrap();
    fs::write(site.context("empty"), "").unwrap();
    fs::write(site.context("zeros.tar"), [0; 10240]).unwrap();
    let unpack = PlaceOptions { unpack: true, instruction: "ADD", ..options() };
    site.copy_with(&selection(&["no.tar.gz", "empty", "zeros.tar"]), "/d/", &unpack).unwrap();
    assert_eq!(site.found(), ["d/", "d/empty", "d/no.tar.gz", "d/zeros.tar"]);
    let mut cut = tar(&[("file", &"x".repeat(10_000))]);
    cut.truncate(3000);
    fs::write(site.context("cut"), cut).unwrap();
    let error = site.copy_with(&selection(&["cut"]), "/e/", &unpack).unwrap_err();
    assert!(error.starts_with("extract /cut: ") && error.ends_with("the archive ends inside a file"), "{error}");
}

#[test]
fn heredocs_become_files() {
    let site = Site::new();
    let place = |name: &str, several: bool, to: &str| {
        place_inline(name, b"text\n", several, site.root_fd().as_fd(), &Destination::new("/w", to), &options())
    };
    place("EOF", false, "/etc/motd").unwrap();
    place("A", true, "./").unwrap();
    assert!(matches!(place("A", true, "/x"), Err(PlaceError::Several("COPY"))));
    assert_eq!(site.found(), ["etc/", "etc/motd", "w/", "w/A"]);
    assert_eq!(fs::metadata(site.root("w/A")).unwrap().mode() & 0o7777, 0o644);
}

#[test]
fn names_of_owners_are_the_roots() {
    let site = Site::new();
    fs::create_dir(site.root("etc")).unwrap();
    fs::write(site.root("etc/passwd"), "root:x:0:0::/:/bin/sh\nweb:x:33:34::/:/bin/sh\n").unwrap();
    fs::write(site.root("etc/group"), "root:x:0:\nstaff:x:50:\n").unwrap();
    let resolve = |text: &str| chown::resolve(site.root_fd().as_fd(), text).map_err(|error| error.to_string());
    for (text, ids) in [
        ("1000", (1000, 1000)),
        ("1:2", (1, 2)),
        ("web", (33, 34)),
        ("web:staff", (33, 50)),
        ("web:7", (33, 7)),
        ("9:staff", (9, 50)),
        (":staff", (0, 50)),
    ] {
        assert_eq!(resolve(text), Ok(ids), "{text}");
    }
    let missing = "--chown ghost: unable to find user ghost: no matching entries in passwd file";
    assert_eq!(resolve("ghost").unwrap_err(), missing);
    assert!(resolve("").is_err() && resolve("4294967295").is_err() && resolve("web:ghost").is_err());
}
