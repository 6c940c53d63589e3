//! Killed at any moment, many at once: the truth afterwards, and nothing left.

use std::time::{Duration, Instant};

use crate::common::{Bench, comes_true, names_in, proc, read, wait_until};
use rustix::process::Signal;

#[test]
fn a_container_dies_with_its_supervisor() {
    let (bench, image) = Bench::with_image();
    for (round, flags) in
        [&[][..], &["--init"], &["-t"], &["-u", "1000"], &["--privileged"], &["-i"]].iter().enumerate()
    {
        let name = format!("c{round}");
        let command = ["sh", "-c", "trap '' TERM HUP INT; sleep 1000 & wait"];
        bench.start(&[&["--name", &name], *flags].concat(), &image, &command);
        let supervisor = bench.supervisor(&name);
        wait_until("the child of the shell runs", || proc::tree(supervisor).len() >= 3);
        let inside: Vec<i32> = proc::tree(bench.pid(&name));
        assert!(inside.len() >= 2);
        proc::kill(supervisor, Signal::KILL);
        let killed = Instant::now();
        let gone = comes_true(Duration::from_secs(1), || !inside.iter().any(|pid| proc::is_alive(*pid)));
        assert!(gone, "{flags:?}: alive {:?} after the supervisor: {inside:?}", killed.elapsed());
        assert_eq!(
            bench.inspect(&name, "{{.State.Status}} {{.State.ExitCode}} {{.State.Running}}"),
            "exited 137 false"
        );
        assert!(bench.ok(&["ps", "-a"]).contains("Exited (137)"));
        assert_eq!(bench.ok(&["ps", "-q"]), "");
        assert_eq!(bench.ok(&["wait", &name]), "137");
        // It can start again.
        bench.ok(&["start", &name]);
        assert_eq!(bench.status(&name), "running");
        assert_eq!(bench.ok(&["rm", "-f", &name]), name);
    }
}

#[test]
fn a_foreground_client_learns_of_a_killed_supervisor() {
    let (bench, image) = Bench::with_image();
    let mut running = bench.rbox(&["run", "--name", "f", &image, "sh", "-c", "echo ready; sleep 1000"]).spawn();
    running.expect("ready");
    proc::kill(bench.supervisor("f"), Signal::KILL);
    let output = running.wait().exits(137);
    assert!(!output.err().is_empty(), "it says why");
    bench.run_rm(&["--name", "next"], &image, &["true"]).ok();
    assert_eq!(bench.ok(&["rm", "f"]), "f");
}

#[test]
fn a_container_ends_with_its_foreground_client() {
    let (bench, image) = Bench::with_image();
    for flags in
        [&["--stop-timeout", "1"][..], &["--stop-timeout", "1", "--rm"], &["--stop-timeout", "1", "-i", "--rm"]]
    {
        let mut command =
            bench.rbox(&["run", "--name", "f"]).args(flags).args([&image, "sh", "-c", "echo ready; sleep 1000"]);
        if flags.contains(&"-i") {
            command = command.piped();
        }
        let mut running = command.spawn();
        running.expect("ready");
        let pid = bench.pid("f");
        running.signal(Signal::KILL);
        running.wait().exits(137);
        proc::wait_gone(pid, Duration::from_secs(8));
        if flags.contains(&"--rm") {
            wait_until("--rm removes it", || bench.ok(&["ps", "-aq"]).is_empty());
        } else {
            wait_until("its end is recorded", || bench.status("f") == "exited");
            bench.ok(&["rm", "f"]);
        }
    }
}

#[test]
fn the_first_process_killed_from_outside_is_an_exit_like_any() {
    let (bench, image) = Bench::with_image();
    bench.start(&["--name", "c"], &image, &["sleep", "1000"]);
    proc::kill(bench.pid("c"), Signal::KILL);
    assert_eq!(bench.ok(&["wait", "c"]), "137");
    let finished = bench.inspect("c", "{{.State.FinishedAt}}");
    assert!(finished.starts_with("20"), "{finished}");
}

/// Starts a run, waits a little, kills one of its processes.
fn killed_run(bench: &Bench, image: &str, round: u64) {
    let temporary = ["--rm", "--label", "temporary"];
    let (common, own): (&[&str], &[&str]) =
        [(&temporary[..], &[][..]), (&temporary, &["--init"]), (&temporary, &["-i"]), (&[], &[])][round as usize % 4];
    let script = "echo $$; sleep 0.03 & wait; sleep 0.2";
    let running =
        bench.rbox(&["run", "--stop-timeout", "0"]).args(common).args(own).args([image, "sh", "-c", script]).spawn();
    // Spread over the time a run takes, denser at its start.
    std::thread::sleep(Duration::from_micros((round * 7919 % 61) * (round % 5 + 1) * 700));
    let tree = proc::tree(running.pid());
    let victim = tree[(round as usize / 2) % tree.len()];
    proc::kill(victim, Signal::KILL);
    let output = running.wait();
    assert!(output.took < Duration::from_secs(20), "round {round}: {}", output.report());
}

#[test]
fn sixty_runs_killed_at_random_moments_leave_nothing() {
    let (bench, image) = Bench::with_image();
    std::thread::scope(|scope| {
        for lane in 0..3 {
            let (bench, image) = (&bench, &image);
            scope.spawn(move || (0..20).for_each(|round| killed_run(bench, image, round * 3 + lane)));
        }
    });
    bench.no_processes();
    let left = bench.ok(&["ps", "-a", "--format", "{{.ID}} {{.State}}"]);
    assert!(!left.contains("running"), "{left}");
    bench.rbox(&["system", "check"]).run().ok();
    assert_eq!(bench.ok(&["ps", "-a", "--filter", "label=temporary"]).lines().count(), 1, "a --rm container is left");
    let left = bench.ok(&["ps", "-a", "--format", "{{.ID}}"]);
    for line in left.lines() {
        bench.ok(&["rm", "-f", line]);
    }
    bench.no_containers();
    bench.no_staging();
    assert_eq!(names_in(bench.root().join("leases")), [""; 0]);
    let mounts = read("/proc/self/mountinfo");
    assert!(!mounts.contains(bench.root().to_str().unwrap()), "a mount is left on the host");
    assert_eq!(bench.run_rm(&[], &image, &["echo", "fine"]).ok().out(), "fine");
}

#[test]
fn creates_and_removes_killed_at_random_moments() {
    let (bench, image) = Bench::with_image();
    for round in 0..24_u64 {
        let name = format!("n{}", round % 3);
        let args =
            if round % 2 == 0 { vec!["create", "--name", &name, &image, "true"] } else { vec!["rm", "-f", &name] };
        let running = bench.rbox(&args).spawn();
        std::thread::sleep(Duration::from_micros(round * 1300 % 30_000));
        running.signal(Signal::KILL);
        running.wait();
        bench.ok(&["ps", "-a"]);
    }
    bench.rbox(&["system", "check"]).run().ok();
    bench.no_staging();
    // No name is stuck.
    for name in ["n0", "n1", "n2"] {
        bench.rbox(&["rm", "-f", name]).run().ok();
        bench.run_rm(&["--name", name], &image, &["true"]).ok();
    }
}

#[test]
fn one_of_many_creates_gets_the_name() {
    let (bench, image) = Bench::with_image();
    for _ in 0..3 {
        let racers: Vec<_> =
            (0..10).map(|_| bench.rbox(&["create", "--name", "same", &image, "true"]).spawn()).collect();
        let outputs: Vec<_> = racers.into_iter().map(crate::common::Running::wait).collect();
        let winners: Vec<_> = outputs.iter().filter(|output| output.code == 0).collect();
        assert_eq!(winners.len(), 1, "{outputs:?}");
        for output in outputs.iter().filter(|output| output.code != 0) {
            assert!(output.err().contains("same") && output.err().contains(&winners[0].out()), "{}", output.report());
        }
        assert_eq!(bench.ok(&["ps", "-aq", "--no-trunc"]), winners[0].out());
        bench.ok(&["rm", "same"]);
    }
}

#[test]
fn twenty_runs_at_once() {
    let (bench, image) = Bench::with_image();
    let command =
        |number: usize| bench.rbox(&["run", "--rm", &image, "sh", "-c"]).arg(format!("echo {number}; exit {number}"));
    let running: Vec<_> = (0..20).map(|number| command(number).spawn()).collect();
    for (number, running) in running.into_iter().enumerate() {
        let output = running.wait().exits(i32::try_from(number).unwrap());
        assert_eq!((output.out(), output.err()), (number.to_string(), String::new()));
    }
    bench.no_containers();
}

#[test]
fn the_shared_user_namespace_comes_and_goes() {
    let (bench, image) = Bench::with_image();
    for round in 0..5 {
        // All at once when there is none yet, with the last one of the round before just ending.
        let running: Vec<_> =
            (0..4).map(|_| bench.rbox(&["run", "--rm", &image, "cat", "/proc/self/uid_map"]).spawn()).collect();
        let maps: Vec<String> = running.into_iter().map(|running| running.wait().ok().out()).collect();
        assert!(maps.iter().all(|map| *map == maps[0]), "round {round}: {maps:?}");
    }
    bench.start(&["--name", "a"], &image, &["sleep", "100"]);
    bench.start(&["--name", "b"], &image, &["sleep", "100"]);
    let shared = proc::namespace(bench.supervisor("a"), "user");
    proc::kill(bench.supervisor("a"), Signal::KILL);
    bench.start(&["--name", "c"], &image, &["sleep", "100"]);
    assert_eq!(proc::namespace(bench.supervisor("c"), "user"), shared, "b keeps it alive");
}

#[test]
fn a_lost_runtime_directory_is_no_disaster() {
    let (bench, image) = Bench::with_image();
    bench.start(&["--name", "a"], &image, &["sh", "-c", "echo before; sleep 1000"]);
    wait_until("it logged", || bench.ok(&["logs", "a"]) == "before");
    std::fs::remove_dir_all(bench.runroot()).unwrap();
    assert_eq!(bench.status("a"), "running");
    assert_eq!(bench.ok(&["logs", "a"]), "before");
    assert_eq!(bench.ok(&["exec", "a", "echo", "in"]), "in");
    assert_eq!(bench.run_rm(&[], &image, &["echo", "new"]).ok().out(), "new");
    assert_eq!(bench.ok(&["stop", "-t", "0", "a"]), "a");
    assert_eq!(bench.ok(&["rm", "a"]), "a");
}

#[test]
fn a_killed_exec_takes_only_its_own_command_along() {
    let (bench, image) = Bench::with_image();
    bench.start(&["--name", "a"], &image, &["sleep", "1000"]);
    let mut running = bench.rbox(&["exec", "a", "sh", "-c", "echo $$; exec sleep 777"]).spawn();
    running.expect("\n");
    let sleeps = || proc::tree(bench.supervisor("a")).len() + usize::from(command_runs("sleep\x00777"));
    assert!(command_runs("sleep\x00777"));
    let before = sleeps();
    running.signal(Signal::KILL);
    running.wait();
    wait_until("the command is gone", || !command_runs("sleep\x00777"));
    assert!(sleeps() < before || bench.status("a") == "running");
    assert_eq!(bench.status("a"), "running");
}

fn command_runs(start: &str) -> bool {
    proc::pids().into_iter().any(|pid| {
        proc::is_alive(pid)
            && std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(start.as_bytes()))
    })
}

#[test]
fn a_storm_of_everything_agrees_in_the_end() {
    let (bench, image) = Bench::with_image();
    // Comes and goes, and has the other's layer below its own.
    let layer = || crate::common::images::Layer::new().file("own", 0o644, "x");
    let moving = crate::common::registry::registry()
        .push_once("t/storm:1", || vec![crate::common::images::Image::small_with(vec![layer()])]);
    let deadline = Instant::now() + Duration::from_secs(10);
    std::thread::scope(|scope| {
        for lane in 0..4 {
            let (bench, image, moving) = (&bench, &image, &moving);
            scope.spawn(move || {
                let name = format!("lane{lane}");
                while Instant::now() < deadline {
                    let quick = |args: &[&str]| {
                        let output = bench.rbox(args).limit(20).run();
                        assert!(output.code <= 1 || output.code == 125, "{}: {}", output.shown, output.report());
                    };
                    match lane {
                        0 => bench.run_rm(&["--name", &name], image, &["echo", "x"]).ok().exits(0),
                        1 => {
                            bench.start(&["--name", &name], image, &["sleep", "1000"]);
                            quick(&["exec", &name, "true"]);
                            quick(&["stop", "-t", "0", &name]);
                            bench.rbox(&["rm", &name]).run().ok()
                        }
                        2 => {
                            quick(&["tag", moving, "local/again:1"]);
                            quick(&["images"]);
                            quick(&["rmi", "local/again:1"]);
                            bench.rbox(&["pull", "-q", moving]).run().ok()
                        }
                        _ => {
                            quick(&["ps", "-a"]);
                            quick(&["rmi", moving]);
                            bench.rbox(&["system", "check"]).run()
                        }
                    };
                }
            });
        }
    });
    bench.no_processes();
}
