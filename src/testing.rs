//! What unit tests of several modules use.

use std::process::{Command, Output};

/// The command that runs one test alone, in a process of its own: for what binds or changes a whole process. The
/// test is named by the path of its module and its name, and is `ignore`d, so that it runs in no other way.
pub fn alone(module: &str, test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let module = module.split_once("::").map_or(module, |(_, inner)| inner);
    command.args(["--exact", &format!("{module}::{test}"), "--ignored", "--nocapture", "--test-threads=1"]);
    command
}

/// Holds that such a test ran and passed.
pub fn assert_passed(output: &Output) {
    let text = [&output.stdout[..], &output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}
