//! Help, mistyped commands and flags, and where they are shown.

use crate::common::Bench;

#[test]
fn help_is_data_and_its_absence_of_a_command_no_failure() {
    let bench = Bench::new();
    let whole = bench.ok(&["--help"]);
    assert!(whole.starts_with("Usage:  rbox [OPTIONS] COMMAND\n") && whole.contains("\nCommon Commands:\n"), "{whole}");
    assert_eq!(bench.ok(&["help"]), whole);
    assert_eq!(bench.ok(&["-h"]), whole);
    let alone = bench.rbox(&[]).run().ok();
    assert_eq!((alone.out(), alone.err()), (String::new(), whole));

    let run = bench.ok(&["run", "--help"]);
    assert!(run.starts_with("Usage:  rbox run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\nCreate and run"), "{run}");
    for args in [
        &["help", "run"][..],
        &["--root", "/x", "run", "--help"],
        &["run", "--name", "ps", "--help"],
        &["run", "-it", "--help", "alpine"],
    ] {
        assert_eq!(bench.ok(args), run, "{args:?}");
    }
    let check = bench.ok(&["help", "system", "check"]);
    assert!(check.starts_with("Usage:  rbox system check [OPTIONS]\n"), "{check}");
    assert_eq!(bench.ok(&["system", "check", "-h"]), check);
    let noun = bench.rbox(&["system"]).run().ok();
    assert!(noun.err().starts_with("Usage:  rbox system COMMAND\n"), "{}", noun.err());
    assert!(!bench.root().exists(), "help made a store");
    assert_eq!(bench.shell("rbox run --help | head -n 1; echo ${PIPESTATUS[0]}").ok().lines().last(), Some("0"));
}

#[test]
fn slips_are_answered_with_what_was_meant() {
    let bench = Bench::new();
    for (args, code, message) in [
        (&["rnu"][..], 1, "unknown command: rnu; did you mean 'run'?; see 'rbox --help'"),
        (&["system", "chek"], 1, "did you mean 'check'?; see 'rbox system --help'"),
        (&["help", "rnu"], 1, "did you mean 'run'?"),
        (&["frobnicate"], 1, "unknown command: frobnicate; see 'rbox --help'"),
        (&["swarm"], 1, "unknown command: swarm; docker or podman has it, this version of rbox does not"),
        (&["run", "--detatch", "x"], 125, "unknown flag: --detatch; did you mean '--detach'?; see 'rbox run --help'"),
        (&["ps", "--no-trunk"], 125, "did you mean '--no-trunc'?"),
        (
            &["run", "--pod", "p", "x"],
            125,
            "unknown flag: --pod; docker or podman has it, this version of rbox does not",
        ),
        (&["run", "--frobnicate=x", "y"], 125, "unknown flag: --frobnicate; see 'rbox run --help'"),
        (&["run", "-Z", "x"], 125, "unknown flag: -Z; see 'rbox run --help'"),
        (&["rm", "--root=/x", "--name", "y"], 125, "unknown flag: --name; see 'rbox rm --help'"),
    ] {
        let output = bench.rbox(args).run().refused(code, message);
        assert!(!output.err().contains("error:"), "{}", output.err());
    }
    assert!(!bench.root().exists(), "a slip made a store");
}

#[test]
fn a_flag_behind_the_image_is_explained_when_it_is_no_command() {
    let (bench, image) = Bench::with_image();
    bench
        .rbox(&["run", "--rm", &image, "--name", "x"])
        .run()
        .refused(127, "flags of rbox itself come before the image");
    let output = bench.rbox(&["run", "--rm", &image, "nosuch", "-x"]).run().exits(127);
    assert!(!output.err().contains("flags of rbox"), "{}", output.err());
    bench.start(&["--name", "web", "--init"], &image, &["sleep", "600"]);
    bench.rbox(&["exec", "web", "-it", "sh"]).run().refused(127, "flags of rbox itself come before the container");
    // Behind the image a flag is the command's.
    assert_eq!(bench.run_rm(&[], &image, &["echo", "--rm", "--help", "-it"]).ok().out(), "--rm --help -it");
}
