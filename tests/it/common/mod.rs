//! What the black-box tests share: the program under test, a store of one's own that ends with a
//! check for leaks, commands with time limits, and what the kernel says about processes.

#![allow(dead_code, unused_imports)] // Each test program uses another part.

pub mod bench;
pub mod command;
pub mod http;
pub mod images;
pub mod machine;
pub mod proc;
pub mod proxy;
pub mod pty;
pub mod registry;
pub mod tmux;
pub mod trees;
pub mod world;

pub use bench::Bench;
pub use command::{Cmd, Output, Running, program};

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Ends the test when it runs as root: everything here is about an ordinary user, and root would
/// pass for the wrong reasons.
pub fn unprivileged() {
    assert!(
        !rustix::process::geteuid().is_root(),
        "these tests drive rbox as an ordinary user: start them with scripts/test.sh"
    );
}

/// Prints why a test does nothing here, in the form that `scripts/test.sh` counts.
pub fn skip(reason: &str) {
    println!("skipped: {reason}");
}

/// Where tests keep their files: never a tmpfs, whose overlays behave differently.
pub fn scratch() -> PathBuf {
    std::env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from)
}

/// The program under test.
pub fn rbox_program() -> PathBuf {
    std::env::var_os("RBOX_BIN").map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_rbox")), PathBuf::from)
}

/// A time limit that suits this machine: `RBOX_TEST_PATIENCE` is how many times slower it may be than
/// a real one, as an emulated one is.
pub fn patient(limit: Duration) -> Duration {
    static FACTOR: OnceLock<u32> = OnceLock::new();
    let factor = || std::env::var("RBOX_TEST_PATIENCE").map_or(1, |text| text.parse().expect("a whole number"));
    limit * *FACTOR.get_or_init(factor)
}

/// Whether `condition` comes true before the time is up; looks every few milliseconds.
pub fn comes_true(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + patient(limit);
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until `condition` is true; fails the test after 20 seconds.
#[track_caller]
pub fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    assert!(comes_true(Duration::from_secs(20), condition), "did not happen in 20 s: {what}");
}

/// Writes a file that must be writable.
pub fn write(path: impl AsRef<Path>, content: impl AsRef<[u8]>) {
    let path = path.as_ref();
    std::fs::write(path, content).unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
}

/// Reads a text file that must exist.
pub fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
}

/// Names in a directory, sorted; none when it does not exist.
pub fn names_in(directory: impl AsRef<Path>) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect();
    names.sort();
    names
}

/// Hex of the SHA-256 of bytes.
pub fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes that do not compress, the same for the same seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
