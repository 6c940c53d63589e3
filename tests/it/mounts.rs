//! Mounts of `run` and `create`: every option with its effect, every malformed value with its line.

mod effects;
mod hostile;
mod refused;

use crate::common::{Bench, Output, proc, program};

/// Runs a shell line in the image with these flags, without a network.
fn sh(bench: &Bench, flags: &[&str], image: &str, line: &str) -> Output {
    let flags: Vec<&str> = ["--network", "none"].iter().chain(flags).copied().collect();
    bench.run_rm(&flags, image, &["sh", "-c", line])
}

/// The mounts that a container with these flags has.
#[track_caller]
fn mounts(bench: &Bench, flags: &[&str], image: &str) -> Vec<proc::MountLine> {
    proc::parse_mounts(&sh(bench, flags, image, "cat /proc/self/mountinfo").ok().out())
}

/// A shell script as root of a user namespace with a mount namespace of its own, where `rbox` is the
/// program under test: there this user may mount.
fn inside(bench: &Bench, script: &str) -> Output {
    let enter = ["--user", "--map-auto", "--map-root-user", "--mount", "--propagation", "slave"];
    let command = program("unshare").args(enter).args(["bash", "-ec", script]);
    let rbox = crate::common::rbox_program();
    command.env("RBOX", rbox).env("DIR", bench.path("")).env("RBOX_ROOT", bench.path("inner")).run()
}
