//! `system reset`.

use crate::common::{Bench, names_in};

#[test]
fn everything_goes_and_the_next_command_begins_anew() {
    let (bench, image) = Bench::with_image();
    bench.rbox(&["secret", "create", "tok", "-"]).stdin("x").ok();
    bench.ok(&["network", "create", "net"]);
    bench.start(
        &["--name", "c", "--net", "none"],
        &image,
        &["sh", "-c", "chown 1000:1000 /tmp; mkdir -m 0 /tmp/d; sleep 100"],
    );
    let asked = bench.rbox(&["system", "reset"]).stdin("n\n").run().ok();
    assert!(asked.out().starts_with("WARNING! This will remove:\n        - all containers\n"), "{}", asked.out());
    assert_eq!(bench.status("c"), "running");
    assert_eq!(bench.ok(&["system", "reset", "--force"]), "");
    bench.no_processes();
    let left: Vec<String> = names_in(bench.root()).into_iter().filter(|name| !name.ends_with(".lock")).collect();
    assert_eq!(left, [""; 0]);
    for list in [&["ps", "-aq"][..], &["images", "-q"], &["secret", "ls", "-q"]] {
        assert_eq!(bench.ok(list), "", "{list:?}");
    }
    assert_eq!(bench.ok(&["network", "ls", "--format", "{{.Name}}"]), "bridge\nhost\nnone");
    bench.ok(&["system", "reset", "-f"]);
    let image = bench.pull_small();
    bench.run_rm(&[], &image, &["true"]).ok();
}
