//! Restart policies: the pauses, what ends them, and kills of every process that takes part.
//!
//! RBOX_TEST_KILLS says how many processes are killed at random.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::common::{Bench, comes_true, patient, proc, wait_until};
use crate::limits::{MEMORY, can_limit, setting};

fn kills() -> usize {
    std::env::var("RBOX_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(6)
}

/// The processes around a container by their titles: keeper, spare, supervisor, starter.
fn around(id: &str, role: &str) -> Vec<i32> {
    let title = format!("rbox {role} {}", &id[..12]);
    let titled = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).trim_end_matches('\0') == title
    };
    proc::pids().into_iter().filter(titled).collect()
}

fn one_around(id: &str, role: &str) -> i32 {
    wait_until(&format!("one {role}"), || around(id, role).len() == 1);
    around(id, role)[0]
}

fn restarts(bench: &Bench, container: &str) -> u32 {
    bench.inspect(container, "{{.RestartCount}}").parse().expect("a count")
}

/// Moments of an event of a container, in nanoseconds.
fn moments(bench: &Bench, id: &str, action: &str) -> Vec<u64> {
    let format = "{{.TimeNano}}";
    let filters = ["--filter", &format!("container={id}"), "--filter", &format!("event={action}")].map(str::to_owned);
    let out = bench.rbox(&["events", "--since", "10m", "--until", "0s", "--format", format]).args(filters).ok();
    out.lines().map(|line| line.parse().expect("nanoseconds")).collect()
}

#[test]
fn the_pauses_are_dockers() {
    let (bench, image) = Bench::with_image();
    let id = bench.start(&["--restart", "on-failure:4", "--name", "f"], &image, &["sh", "-c", "exit 3"]);
    let ended = || bench.status("f") == "exited";
    assert!(comes_true(Duration::from_secs(20), ended), "{}", bench.ok(&["ps", "-a"]));
    assert_eq!(bench.inspect("f", "{{.RestartCount}} {{.State.ExitCode}} {{.State.Restarting}}"), "4 3 false");
    let (starts, ends) = (moments(&bench, &id, "start"), moments(&bench, &id, "die"));
    assert_eq!((starts.len(), ends.len()), (5, 5));
    for (round, least) in [100, 200, 400, 800].into_iter().enumerate() {
        let pause = (starts[round + 1] - ends[round]) / 1_000_000;
        assert!((least - 10..least + 700).contains(&pause), "pause {round}: {pause} ms");
    }
    wait_until("its keeper has left", || around(&id, "keeper").is_empty());
    bench.ok(&["rm", "f"]);
}

#[test]
fn policies_look_at_the_end() {
    let (bench, image) = Bench::with_image();
    bench.start(&["--restart", "on-failure", "--name", "good"], &image, &["true"]);
    wait_until("no failure, no restart", || bench.status("good") == "exited");
    assert_eq!(restarts(&bench, "good"), 0);
    bench.start(&["--restart", "unless-stopped", "--name", "again"], &image, &["true"]);
    wait_until("restarts after success", || restarts(&bench, "again") >= 2);
    bench.start(&["--restart=always", "--name", "killed"], &image, &["sleep", "1000"]);
    proc::kill(bench.pid("killed"), Signal::TERM);
    proc::kill(bench.pid("killed"), Signal::KILL);
    wait_until("restarts after a signal", || restarts(&bench, "killed") == 1 && bench.status("killed") == "running");
    for (policy, error) in [
        ("foo", "invalid restart policy: unknown policy 'foo'"),
        ("always:2", "maximum retry count cannot be used with restart policy 'always'"),
        ("on-failure:-2", "maximum retry count cannot be negative"),
        ("on-failure:x", "maximum retry count must be an integer"),
        (":2", "no policy provided before colon"),
    ] {
        bench.rbox(&["run", "--restart", policy, &image, "true"]).run().refused(125, error);
    }
    let both = bench.rbox(&["run", "--rm", "--restart", "always", &image, "true"]).run();
    both.refused(125, "conflicting options: cannot specify both --restart and --rm");
    // The first start's failure leaves no keeper.
    let failed = bench.rbox(&["run", "-d", "--restart", "always", "--name", "bad", &image, "nosuch"]).run();
    failed.refused(127, "nosuch");
    assert_eq!(bench.status("bad"), "created");
    assert_eq!(bench.ok(&["ps", "-q", "--filter", "restart-policy=on-failure", "-a"]).lines().count(), 1);
    bench.ok(&["rm", "-f", "good", "again", "killed", "bad"]);
    bench.no_processes();
}

#[test]
fn what_waits_to_be_restarted() {
    let (bench, image) = Bench::with_image();
    let waits = |name: &str| {
        let id = bench.start(&["--restart", "always", "--name", name], &image, &["sh", "-c", "exit 4"]);
        // From the fifth on it waits for more than a second.
        wait_until("long pauses", || restarts(&bench, name) >= 5 && bench.status(name) == "restarting");
        id
    };
    let id = waits("w");
    assert!(bench.ok(&["ps"]).contains("Restarting (4) "), "{}", bench.ok(&["ps"]));
    assert_eq!(bench.ok(&["ps", "-q", "--filter", "status=restarting"]).lines().count(), 1);
    let state = "{{.State.Running}} {{.State.Restarting}} {{.State.Pid}} {{.State.ExitCode}}";
    assert_eq!(bench.inspect("w", state), "true true 0 4");
    let text = format!("Container {id} is restarting, wait until the container is running");
    bench.rbox(&["exec", "w", "true"]).run().refused(1, &text);
    bench.rbox(&["attach", "w"]).run().refused(1, "restarting container, wait until it is running");
    bench.rbox(&["rm", "w"]).run().refused(1, "container is restarting: stop the container before removing");
    assert_eq!(bench.ok(&["start", "w"]), "w");
    bench.ok(&["rename", "w", "v"]);
    // Each of these ends the waiting, and at once.
    let asked = Instant::now();
    assert_eq!(bench.ok(&["stop", "v"]), "v");
    assert!(asked.elapsed() < patient(Duration::from_secs(5)), "{:?}", asked.elapsed());
    assert_eq!(bench.status("v"), "exited");
    wait_until("its keeper has left", || around(&id, "keeper").is_empty());
    assert!(bench.ok(&["ps", "-a"]).contains("Exited (4) "));
    let killed = waits("k");
    assert_eq!(bench.ok(&["kill", "k"]), "k");
    assert_eq!(bench.status("k"), "exited");
    wait_until("its keeper has left", || around(&killed, "keeper").is_empty());
    let removed = waits("r");
    bench.ok(&["rm", "-f", "r"]);
    wait_until("no keeper without container", || around(&removed, "keeper").is_empty());
    waits("again");
    bench.ok(&["restart", "again"]);
    assert!(restarts(&bench, "again") < 3, "the user's start counts from 0");
    bench.ok(&["rm", "-f", "v", "k", "again"]);
    bench.no_processes();
}

#[test]
fn each_process_killed_in_turn() {
    let (bench, image) = Bench::with_image();
    bench.mkdir("data");
    let volume = format!("{}:/data", bench.text("data"));
    let id = bench.start(
        &["--restart", "always", "--name", "c", "-v", &volume, "-v", "/anonymous", "-p", "127.0.0.1::80"],
        &image,
        &["sh", "-c", "echo life >>/data/lives; echo life >>/anonymous/lives; sleep 1000"],
    );
    let address = || bench.inspect("c", "{{.NetworkSettings.IPAddress}}");
    let (first, mut expected) = (address(), 0);
    let lives = || std::fs::read_to_string(bench.path("data/lives")).unwrap_or_default().lines().count();
    for round in 0..2 {
        for role in ["init", "supervisor", "keeper", "keeper's spare"] {
            let (keeper, spare) = (one_around(&id, "keeper"), one_around(&id, "keeper's spare"));
            let victim = match role {
                "init" => bench.pid("c"),
                "supervisor" => bench.supervisor("c"),
                "keeper" => keeper,
                _ => spare,
            };
            assert!(proc::kill(victim, Signal::KILL));
            proc::wait_gone(victim, Duration::from_secs(5));
            expected += u32::from(matches!(role, "init" | "supervisor"));
            let whole = || bench.status("c") == "running" && restarts(&bench, "c") == expected;
            assert!(comes_true(Duration::from_secs(10), whole), "round {round}, {role}: {}", bench.ok(&["ps", "-a"]));
            let next = one_around(&id, "keeper");
            assert_eq!(next, if role == "keeper" { spare } else { keeper }, "round {round}, {role}");
            one_around(&id, "keeper's spare");
        }
    }
    wait_until("as many lives", || lives() == 5);
    assert_eq!(address(), first, "the address stays");
    assert_eq!(bench.ok(&["exec", "c", "wc", "-l", "/anonymous/lives"]), "5 /anonymous/lives");
    let codes = moments(&bench, &id, "die").len();
    assert_eq!(codes, 4, "each end was told, by the keeper where the supervisor could not");
    assert_eq!(bench.ok(&["stop", "-t", "0", "c"]), "c");
    wait_until("they have left", || around(&id, "keeper").is_empty() && around(&id, "keeper's spare").is_empty());
    bench.ok(&["rm", "-v", "c"]);
    bench.no_processes();
}

#[test]
fn a_restart_that_fails_is_tried_again() {
    let (bench, image) = Bench::with_image();
    let data = bench.mkdir("data");
    let volume = format!("{}:/data", data.display());
    bench.start(&["--restart", "always", "--name", "c", "-v", &volume], &image, &["sleep", "1000"]);
    std::fs::remove_dir(&data).expect("an empty directory");
    proc::kill(bench.pid("c"), Signal::KILL);
    wait_until("several attempts", || restarts(&bench, "c") >= 3);
    wait_until("it waits", || bench.status("c") == "restarting");
    assert!(bench.inspect("c", "{{.State.Error}}").contains("data"), "{}", bench.inspect("c", "{{.State.Error}}"));
    std::fs::create_dir(&data).expect("a directory");
    wait_until("it comes back", || bench.status("c") == "running");
    assert_eq!(bench.inspect("c", "{{.State.Error}}"), "");
    bench.ok(&["rm", "-f", "c"]);
    bench.no_processes();
}

#[test]
fn restart_all_after_everything_was_killed() {
    let (bench, image) = Bench::with_image();
    let sleep = ["sleep", "1000"];
    let policies = ["always", "unless-stopped", "on-failure", "no"];
    let ids: Vec<String> =
        policies.iter().map(|policy| bench.start(&["--restart", policy, "--name", policy], &image, &sleep)).collect();
    bench.start(&["--restart", "unless-stopped", "--name", "stopped"], &image, &sleep);
    bench.start(&["--restart", "always", "--name", "always-stopped"], &image, &sleep);
    bench.ok(&["create", "--restart", "always", "--name", "new", &image, "true"]);
    bench.ok(&["stop", "-t", "0", "stopped", "always-stopped"]);
    let all = || -> Vec<i32> {
        let roles = ["keeper", "keeper's spare", "supervisor"];
        ids.iter().flat_map(|id| roles.iter().flat_map(|role| around(id, role))).collect()
    };
    for id in &ids[..3] {
        one_around(id, "keeper's spare");
    }
    // As a power failure has it: keepers and spares first, or they would go on.
    for role in ["keeper", "keeper's spare", "supervisor"] {
        let victims: Vec<i32> = ids.iter().flat_map(|id| around(id, role)).collect();
        for pid in victims {
            proc::kill(pid, Signal::STOP);
        }
    }
    for pid in all() {
        proc::kill(pid, Signal::KILL);
    }
    wait_until("nothing runs", || all().is_empty());
    for policy in policies {
        assert_eq!(bench.inspect(policy, "{{.State.Status}} {{.State.ExitCode}}"), "exited 137", "{policy}");
    }
    let started = bench.ok(&["system", "restart-all"]);
    assert_eq!(started.lines().count(), 4, "{started}");
    for (name, expected) in [
        ("always", "running"),
        ("unless-stopped", "running"),
        ("on-failure", "running"),
        ("no", "exited"),
        ("stopped", "exited"),
        ("always-stopped", "running"),
        ("new", "created"),
    ] {
        assert_eq!(bench.status(name), expected, "{name}");
    }
    assert_eq!(bench.ok(&["system", "restart-all"]), "", "all is as it should be");
    // A container that runs on without keeper gets one.
    let id = &ids[0];
    for role in ["keeper", "keeper's spare"] {
        proc::kill(one_around(id, role), Signal::STOP);
    }
    for role in ["keeper's spare", "keeper"] {
        for pid in around(id, role) {
            proc::kill(pid, Signal::KILL);
        }
    }
    wait_until("no keeper", || around(id, "keeper").is_empty() && around(id, "keeper's spare").is_empty());
    bench.ok(&["system", "restart-all"]);
    one_around(id, "keeper");
    let names = ["always", "unless-stopped", "on-failure", "no", "stopped", "always-stopped", "new"];
    bench.rbox(&["rm", "-f"]).args(names).ok();
    bench.no_processes();
}

/// In the style of scripts that are about: ids by command substitution, no reading of any output.
const PROVISION: &str = r#"set -e
rbox network create stack >/dev/null
DB=$(rbox create --name db --network stack --restart always LIMITS --env PASSWORD=secret -v dbdata:/var/lib/db IMAGE \
    sh -c 'echo $PASSWORD >>/var/lib/db/starts; while :; do echo db | nc -l -p 5432; done')
APP=$(rbox create --name app --network stack --restart always LIMITS --env DB=db IMAGE \
    sh -c 'while :; do nc $DB 5432 </dev/null || sleep 0.1; done')
WEB=$(rbox create --name web --network stack --restart always LIMITS --env APP=app -p 127.0.0.1::80 IMAGE sleep 100000)
for CID in $DB $APP $WEB; do
    rbox start $CID >/dev/null
done
echo $DB $APP $WEB"#;

#[test]
fn a_provisioning_script() {
    let (bench, image) = Bench::with_image();
    let limited = can_limit(&bench);
    let limits = if limited { "--memory 256m --cpu-shares 1024" } else { "" };
    let out = bench.shell(&PROVISION.replace("IMAGE", &image).replace("LIMITS", limits)).ok();
    let ids: Vec<&str> = out.split_whitespace().collect();
    assert_eq!(ids.len(), 3);
    let up = || bench.ok(&["ps", "-q", "--filter", "status=running"]).lines().count() == 3;
    assert!(up());
    let served = || bench.rbox(&["exec", "web", "sh", "-c", "nc -w 2 db 5432 </dev/null"]).run().out() == "db";
    assert!(comes_true(Duration::from_secs(10), served), "{}", bench.ok(&["ps", "-a"]));
    for id in &ids {
        for role in ["init", "supervisor", "keeper", "keeper's spare"] {
            let victim = if role == "init" { bench.pid(id) } else { one_around(id, role) };
            proc::kill(victim, Signal::KILL);
            proc::wait_gone(victim, Duration::from_secs(5));
            // Only then is it certain that the next look does not find the old state.
            wait_until(&format!("up again after the {role} of {id}"), || {
                up() && around(id, "keeper").len() == 1 && around(id, "keeper's spare").len() == 1
            });
        }
    }
    assert!(comes_true(Duration::from_secs(10), served), "{}", bench.ok(&["ps", "-a"]));
    if limited {
        ids.iter().for_each(|id| assert_eq!(setting(&bench, id, MEMORY), "268435456", "{id}"));
    }
    bench
        .shell("rbox stop -t 0 web app db && rbox rm web app db && rbox volume rm dbdata && rbox network rm stack")
        .ok();
    bench.no_processes();
    bench.ok(&["system", "check"]);
}

#[test]
fn starts_and_stops_at_the_same_time() {
    let (bench, image) = Bench::with_image();
    let id = bench.start(&["--restart", "always", "--name", "c"], &image, &["sh", "-c", "sleep 0.05; exit 1"]);
    std::thread::scope(|scope| {
        for (number, verb) in ["start", "stop", "kill", "restart"].into_iter().enumerate() {
            let bench = &bench;
            scope.spawn(move || {
                for _ in 0..6 {
                    // Refusals are in order: what is asked for contradicts.
                    let flags: &[&str] = if matches!(verb, "stop" | "restart") { &["-t", "0"] } else { &[] };
                    bench.rbox(&[&[verb], flags, &["c"]].concat()).run();
                    std::thread::sleep(Duration::from_millis(10 + 13 * number as u64));
                }
            });
        }
    });
    bench.rbox(&["start", "c"]).run().ok();
    wait_until("it goes on", || restarts(&bench, "c") >= 2);
    assert_eq!(around(&id, "keeper").len(), 1, "one keeper whatever happened");
    bench.ok(&["stop", "-t", "0", "c"]);
    assert_eq!(bench.status("c"), "exited");
    bench.ok(&["rm", "c"]);
    bench.no_processes();
}

#[test]
fn kills_at_random() {
    let (bench, image) = Bench::with_image();
    let id = bench.start(&["--restart", "always", "--name", "c"], &image, &["sleep", "1000"]);
    for round in 0..kills() {
        let seed = u64::from(std::process::id()) + round as u64 * 7919;
        std::thread::sleep(Duration::from_millis(seed * 37 % 240));
        // One at a time is what it survives: a keeper that has just taken its place has no spare as yet.
        one_around(&id, "keeper");
        one_around(&id, "keeper's spare");
        let roles = ["keeper", "keeper's spare", "supervisor", "starter"];
        let mut victims: Vec<i32> = roles.iter().flat_map(|role| around(&id, role)).collect();
        victims.extend(proc::children(around(&id, "supervisor").first().copied().unwrap_or(-1)));
        if let Some(victim) = victims.get((seed % victims.len().max(1) as u64) as usize) {
            proc::kill(*victim, Signal::KILL);
        }
    }
    let up = || bench.status("c") == "running";
    assert!(comes_true(Duration::from_secs(20), up), "{}", bench.ok(&["ps", "-a"]));
    one_around(&id, "keeper");
    one_around(&id, "keeper's spare");
    bench.ok(&["rm", "-f", "c"]);
    bench.no_processes();
}

#[test]
fn lifetimes_requirements_and_pid_files() {
    let (bench, image) = Bench::with_image();
    let output = bench.rbox(&["run", "--rm", "--timeout", "1", &image, "sleep", "1000"]).run();
    output.exits(137);
    bench.ok(&["create", "--name", "base", &image, "sleep", "1000"]);
    bench.ok(&["create", "--name", "middle", "--requires", "base", &image, "sleep", "1000"]);
    let file = bench.text("pid");
    let flags = ["run", "-d", "--name", "top", "--requires", "middle", "--pidfile", &file];
    bench.rbox(&flags).args([&image, "sleep", "1000"]).ok();
    for name in ["base", "middle", "top"] {
        assert_eq!(bench.status(name), "running", "{name}");
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), bench.pid("top").to_string());
    bench.rbox(&["run", "--requires", "nosuch", &image, "true"]).run().refused(125, "nosuch");
    // What is required stays, in whatever order it is asked for.
    let refused = "cannot remove container \"/base\": container middle requires it";
    bench.rbox(&["rm", "-f", "base"]).run().refused(1, refused);
    assert_eq!(bench.status("base"), "running");
    bench.rbox(&["run", "--replace", "--name", "base", &image, "true"]).run().refused(125, refused);
    bench.ok(&["stop", "-t", "0", "base", "middle"]);
    let pruned = bench.ok(&["container", "prune", "-f"]);
    assert!(!pruned.contains("Deleted Containers"), "top runs: {pruned}");
    assert_eq!(bench.ok(&["rm", "-f", "base", "top", "middle"]), "top\nmiddle\nbase");
    for (name, required) in [("one", None), ("two", Some("one")), ("three", Some("two"))] {
        let required = required.map(|name| format!("--requires={name}"));
        bench.rbox(&["create", "--name", name]).args(required).args([&image, "true"]).ok();
    }
    let removed = bench.ok(&["rm", "--depend", "two"]);
    assert!(removed.ends_with("\ntwo") && removed.lines().count() == 2, "{removed}");
    bench.ok(&["create", "--name", "four", "--requires", "one,one", &image, "true"]);
    assert_eq!(bench.ok(&["container", "prune", "-f"]).lines().filter(|line| line.len() == 64).count(), 2);
    // Conditions of wait.
    bench.ok(&["create", "--name", "later", &image, "sh", "-c", "exit 7"]);
    assert_eq!(bench.ok(&["wait", "--condition", "created", "later"]), "-1");
    let waiting = bench.rbox(&["wait", "--condition=exited", "-i", "10ms", "later"]).spawn();
    bench.rbox(&["run", "-d", "--name", "top", &image, "sh", "-c", "exit 9"]).ok();
    let first = bench.rbox(&["wait", "--exit-first-match", "--interval", "10", "later", "top"]).run().ok();
    assert_eq!(first.out(), "9", "the first that has ended is top");
    bench.ok(&["start", "later"]);
    assert_eq!(waiting.wait().ok().out(), "7");
    bench.rbox(&["wait", "--condition", "nosuch", "later"]).run().exits_with_one_of(&[1, 125]);
    bench.rbox(&["rm", "-f"]).args(bench.ok(&["ps", "-aq"]).lines()).ok();
}

#[test]
fn signals_and_who_sends_them() {
    let (bench, image) = Bench::with_image();
    let obeys = ["sh", "-c", "trap 'exit 5' TERM INT USR1; echo ready; while :; do sleep 0.05; done"];
    let start = |name: &str| {
        bench.start(&["--restart", "always", "--name", name], &image, &obeys);
        wait_until("it listens", || bench.ok(&["logs", name]).contains("ready"));
    };
    start("term");
    bench.ok(&["kill", "-s", "TERM", "term"]);
    wait_until("its user ended it", || bench.status("term") == "exited");
    start("usr1");
    bench.ok(&["kill", "-s", "10", "usr1"]);
    wait_until("nobody asked for its end", || restarts(&bench, "usr1") == 1);
    // A session that ends tells all processes.
    start("logout");
    let id = bench.inspect("logout", "{{.Id}}");
    for role in ["keeper", "keeper's spare", "supervisor"] {
        proc::kill(one_around(&id, role), Signal::TERM);
    }
    wait_until("it rests", || bench.status("logout") == "exited");
    assert_eq!(bench.inspect("logout", "{{.State.ExitCode}} {{.RestartCount}}"), "5 1", "it was about to be restarted");
    wait_until("they have left", || around(&id, "keeper").is_empty() && around(&id, "keeper's spare").is_empty());
    assert!(bench.ok(&["system", "restart-all"]).contains(&id));
    // In the foreground: a passed-on signal is the user's wish, an end is not.
    let flags = ["run", "--restart", "always", "--name", "front", &image];
    let mut front = bench.rbox(&flags).args(obeys).spawn();
    front.expect("ready");
    front.signal(Signal::INT);
    front.wait().exits(5);
    wait_until("its user ended it", || bench.status("front") == "exited");
    let flags = ["run", "--restart", "always", "--name", "once", &image, "sh", "-c", "echo life; sleep 0.2; exit 6"];
    let first = bench.rbox(&flags).run().exits(6);
    assert_eq!(first.out(), "life");
    wait_until("it goes on without us", || restarts(&bench, "once") >= 1);
    bench.rbox(&["rm", "-f"]).args(bench.ok(&["ps", "-aq"]).lines()).ok();
    bench.no_processes();
}

#[test]
fn other_ways_to_look_at_containers() {
    let (bench, image) = Bench::with_image();
    let id = bench.start(&["--name", "c", "--cidfile", &bench.text("cid")], &image, &["sleep", "1000"]);
    assert_eq!(bench.ok(&["exec", "-l", "echo", "latest"]), "latest");
    assert_eq!(bench.ok(&["exec", "--cidfile", &bench.text("cid"), "sh", "-c", "echo file"]), "file");
    assert_eq!(bench.ok(&["exec", "c", "sh", "-c", "echo -n named"]), "named");
    bench.rbox(&["exec", "c"]).run().exits_with_one_of(&[1, 125]);
    let namespaces = bench.ok(&["ps", "--ns"]);
    let net = proc::namespace(bench.pid("c"), "net");
    let number = net.trim_start_matches("net:[").trim_end_matches(']').to_owned();
    assert!(namespaces.starts_with("CONTAINER ID") && namespaces.contains(&number), "{namespaces}");
    let mut watching = bench.rbox(&["ps", "-w", "1", "--format", "{{.Names}} {{.State}}"]).spawn();
    watching.expect("c running");
    bench.ok(&["rename", "c", "d"]);
    watching.expect("d running");
    watching.signal(Signal::TERM);
    watching.wait();
    bench.rbox(&["ps", "--watch", "0"]).run().exits_with_one_of(&[1, 125]);
    // Namespaces of the host by way of another container.
    bench.start(&["--name", "host", "--pid", "host", "--network", "host", "--uts", "host"], &image, &["sleep", "1000"]);
    let shared = ["--pid", "container:host", "--network", "container:host", "--uts", "container:host"];
    let output =
        bench.run_rm(&shared, &image, &["sh", "-c", "readlink /proc/self/ns/pid; readlink /proc/self/ns/net"]).ok();
    assert_eq!(output.out(), format!("{}\n{}", proc::namespace("self", "pid"), proc::namespace("self", "net")));
    // Made ready before its start.
    bench.ok(&["create", "--name", "ready", "-v", "fresh:/etc", &image, "true"]);
    assert_eq!(bench.ok(&["init", "ready"]), "ready");
    assert_eq!(bench.ok(&["container", "init", "-l"]).len(), 64);
    bench.rbox(&["init", "d"]).run().refused(1, "already been started");
    assert_eq!(id.len(), 64);
    bench.ok(&["rm", "-f", "d", "host", "ready"]);
    bench.ok(&["volume", "rm", "fresh"]);
}

#[test]
fn a_stop_returns_when_the_container_has_ended() {
    let (bench, image) = Bench::with_image();
    let obeys = ["sh", "-c", "trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done"];
    for policy in ["no", "always"] {
        bench.start(&["--restart", policy, "--name", "c"], &image, &obeys);
        wait_until("it listens", || bench.ok(&["logs", "c"]).contains("ready"));
        let asked = Instant::now();
        bench.ok(&["stop", "c"]);
        // Not when the ten seconds are over; how soon is for the benchmarks.
        assert!(asked.elapsed() < patient(Duration::from_secs(5)), "{policy}: {:?}", asked.elapsed());
        bench.ok(&["rm", "c"]);
    }
}

#[test]
fn a_container_replaces_the_only_one_there_is() {
    let (bench, image) = Bench::with_image();
    for round in 0..3 {
        let old = bench.ok(&["ps", "-aq", "--no-trunc"]);
        let id = bench.start(&["--replace", "--name", "a"], &image, &["sleep", "1000"]);
        assert_ne!(id, old, "round {round}");
        assert_eq!(bench.ok(&["ps", "-aq", "--no-trunc"]), id);
    }
    // What is refused leaves it there.
    let id = bench.inspect("a", "{{.Id}}");
    for flags in [&["--requires", "a"][..], &["--network", "container:a"], &["--pid", "container:a"], &["-m", "1k"]] {
        bench.rbox(&["run", "-d", "--replace", "--name", "a"]).args(flags).arg(&image).arg("true").run().exits(125);
        assert_eq!(bench.inspect("a", "{{.Id}} {{.State.Status}}"), format!("{id} running"), "{flags:?}");
    }
    bench.ok(&["pause", "a"]);
    for flags in [&["start", "a"][..], &["start", "-a", "a"]] {
        bench.rbox(flags).run().refused(1, "cannot start a paused container, try unpause instead");
    }
}

#[test]
fn what_is_started_for_another_holds_nothing_of_it() {
    let (bench, image) = Bench::with_image();
    bench.ok(&["create", "--name", "a", &image, "sleep", "1000"]);
    bench.start(&["--requires", "a", "--name", "b"], &image, &["true"]);
    bench.ok(&["wait", "b"]);
    assert_eq!(bench.status("a"), "running");
    bench.ok(&["start", "b"]);
    bench.ok(&["wait", "b"]);
    bench.ok(&["rm", "b"]);
}
