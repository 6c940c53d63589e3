//! What happened and what happens: docker's lines, once each, in order, across processes.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::common::{Bench, names_in, proc, wait_until};

/// What each test's lines are compared by.
const SHORT: &str = "{{.Type}} {{.Action}} {{.Name}}";

#[test]
fn a_containers_life_in_dockers_order() {
    let (bench, image) = Bench::with_image();
    let mut watcher = bench.rbox(&["events", "--format", SHORT]).spawn();
    // It shows what comes after it, so it has to be there.
    wait_until("it watches", || {
        bench.ok(&["create", "--rm", "--name", "probe", &image, "true"]);
        bench.ok(&["rm", "probe"]);
        watcher.out_so_far().contains("destroy probe")
    });
    bench.rbox(&["run", "--name", "web", &image, "sh", "-c", "exit 3"]).run().exits(3);
    bench.ok(&["rename", "web", "shop"]);
    bench.ok(&["start", "shop"]);
    bench.ok(&["wait", "shop"]);
    bench.ok(&["rm", "shop"]);
    watcher.expect("container destroy shop");
    watcher.signal(Signal::TERM);
    let lines: Vec<String> = watcher.wait().out().lines().map(str::to_owned).collect();
    let own: Vec<&str> = lines.iter().map(String::as_str).skip_while(|line| !line.ends_with(" web")).collect();
    let own: Vec<&str> = own.into_iter().filter(|line| line.starts_with("container")).collect();
    let expected =
        ["create web", "attach web", "start web", "die web", "rename shop", "start shop", "die shop", "destroy shop"];
    assert_eq!(own, expected.map(|line| format!("container {line}")));
}

#[test]
fn stop_kill_and_exec_say_how() {
    let (bench, image) = Bench::with_image();
    bench.start(&["--name", "deaf"], &image, &["sleep", "100"]);
    bench.rbox(&["exec", "deaf", "sh", "-c", "exit 4"]).run().exits(4);
    bench.ok(&["stop", "-t", "0", "deaf"]);
    let past = |filters: &[&str], format: &str| {
        let mut args = vec!["events", "--since", "1h", "--until", "0s", "--format", format];
        filters.iter().for_each(|filter| args.extend(["--filter", filter]));
        bench.ok(&args)
    };
    assert_eq!(past(&["event=kill"], "{{.Actor.Attributes.signal}}"), "15\n9");
    assert_eq!(past(&["event=die", "container=deaf"], "{{.ContainerExitCode}}"), "137");
    let exec = past(
        &["event=exec_create", "event=exec_start", "event=exec_die"],
        "{{.Action}} {{.Actor.Attributes.exitCode}}",
    );
    assert_eq!(exec, "exec_create: sh -c exit 4 <no value>\nexec_start: sh -c exit 4 <no value>\nexec_die 4");
    assert_eq!(past(&["event=stop", "label=nosuch"], "{{.Action}}"), "");
    let line = past(&["event=start"], "");
    let id = bench.inspect("deaf", "{{.Id}}");
    assert!(line.ends_with(&format!("container start {id} (image={image}, name=deaf)")), "{line}");
    let json: serde_json::Value = serde_json::from_str(&past(&["event=start"], "json")).unwrap();
    assert_eq!([&json["Type"], &json["Action"], &json["Actor"]["ID"]], ["container", "start", id.as_str()]);
}

#[test]
fn images_and_networks_have_theirs() {
    let (bench, image) = Bench::with_image();
    bench.ok(&["tag", &image, "other:1"]);
    bench.ok(&["network", "create", "front"]);
    bench.ok(&["run", "--rm", "--network", "front", "--name", "web", "other:1", "true"]);
    bench.ok(&["network", "rm", "front"]);
    bench.ok(&["save", "-o", bench.path("saved.tar").to_str().unwrap(), "other:1"]);
    bench.ok(&["rmi", "other:1"]);
    bench.ok(&["load", "-i", bench.path("saved.tar").to_str().unwrap()]);
    let past = |kind: &str| {
        let filter = format!("type={kind}");
        bench.ok(&[
            "events",
            "--since",
            "1h",
            "--stream=false",
            "--filter",
            &filter,
            "--format",
            "{{.Action}} {{.Name}}",
        ])
    };
    let images = past("image");
    assert!(images.ends_with("tag other:1\nsave other:1\nuntag other:1\nload other:1"), "{images}");
    assert_eq!(past("network"), "create front\nconnect front\ndisconnect front\ndestroy front");
}

#[test]
fn nothing_is_lost_or_told_twice_among_many_writers() {
    let (bench, image) = Bench::with_image();
    let mut watcher = bench.rbox(&["events", "--filter", "event=create", "--format", "{{.Name}}"]).spawn();
    wait_until("it watches", || {
        bench.ok(&["create", "--rm", "--name", "probe", &image, "true"]);
        bench.ok(&["rm", "probe"]);
        watcher.out_so_far().contains("probe")
    });
    let script = format!("for i in 1 2 3 4 5; do rbox create --name $0-$i {image} true >/dev/null; done");
    let writers: Vec<_> = ["a", "b", "c", "d"].iter().map(|name| bench.shell(&script).arg(name).spawn()).collect();
    writers.into_iter().for_each(|writer| drop(writer.wait().ok()));
    let asked = Instant::now();
    bench.ok(&["create", "--name", "last", &image, "true"]);
    watcher.expect("last");
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    watcher.signal(Signal::TERM);
    let told = watcher.wait().out();
    let mut told: Vec<&str> = told.lines().filter(|name| *name != "probe" && *name != "last").collect();
    for name in ["a", "b", "c", "d"] {
        let own: Vec<&str> = told.iter().copied().filter(|line| line.starts_with(name)).collect();
        assert_eq!(own, ["1", "2", "3", "4", "5"].map(|number| format!("{name}-{number}")));
    }
    told.sort_unstable();
    told.dedup();
    assert_eq!(told.len(), 20);
    assert_eq!(names_in(bench.root().join("events")), ["1.log"]);
}

fn past(bench: &Bench, container: &str) -> Vec<String> {
    let filter = format!("container={container}");
    let form = "{{.Type}} {{.Action}}";
    let lines = bench.ok(&["events", "--since", "1h", "--until", "0s", "--filter", &filter, "--format", form]);
    lines.lines().map(str::to_owned).collect()
}

#[test]
fn volumes_and_who_watches_are_told_of() {
    let (bench, image) = Bench::with_image();
    bench.start(&["--name", "web", "-v", "data:/data:ro"], &image, &["sleep", "100"]);
    let mut onlooker = bench.rbox(&["attach", "--no-stdin", "web"]).spawn();
    wait_until("it is attached", || past(&bench, "web").iter().any(|line| line == "container attach"));
    let id = bench.inspect("web", "{{.Id}}");
    bench.ok(&["stop", "-t", "0", "web"]);
    assert!(!onlooker.has_ended() || onlooker.out_so_far().is_empty());
    onlooker.wait();
    let of_volume = ["events", "--since", "1h", "--until", "0s", "--filter", "volume=data", "--format"];
    let shown = bench.ok(&[&of_volume[..], &["{{.Action}} {{json .Actor.Attributes}}"]].concat());
    let lines: Vec<&str> = shown.lines().collect();
    let mounted = format!(
        r#"mount {{"container":"{id}","destination":"/data","driver":"local","propagation":"","read/write":"false"}}"#
    );
    let unmounted = format!(r#"unmount {{"container":"{id}","driver":"local"}}"#);
    assert_eq!(lines[1..], [mounted, unmounted]);
}

#[test]
fn the_end_of_a_killed_supervisor_is_told_once() {
    let (bench, image) = Bench::with_image();
    let rounds = std::env::var("RBOX_TEST_KILLS").ok().and_then(|count| count.parse().ok()).unwrap_or(3);
    for round in 0..rounds {
        let name = format!("web{round}");
        bench.start(&["--name", &name], &image, &["sleep", "100"]);
        let supervisor = bench.supervisor(&name);
        assert!(proc::kill(supervisor, Signal::KILL));
        proc::wait_gone(supervisor, Duration::from_secs(10));
        let readers: Vec<_> = (0..4).map(|_| bench.rbox(&["ps", "-a"]).spawn()).collect();
        readers.into_iter().for_each(|reader| drop(reader.wait().ok()));
        wait_until("it is told", || past(&bench, &name).iter().any(|line| line == "container die"));
        assert_eq!(past(&bench, &name), ["container create", "container start", "container die"]);
        assert_eq!(bench.inspect(&name, "{{.State.Status}} {{.State.ExitCode}}"), "exited 137");
    }
}

#[test]
fn lines_are_there_at_once() {
    let (bench, image) = Bench::with_image();
    let mut watcher = bench.rbox(&["events", "--format", "{{.Action}} {{.Name}} {{.TimeNano}}"]).piped().spawn();
    wait_until("it watches", || {
        bench.ok(&["create", "--rm", "--name", "probe", &image, "true"]);
        bench.ok(&["rm", "probe"]);
        watcher.out_so_far().contains("destroy probe")
    });
    let mut late = Vec::new();
    for round in 0..5 {
        let name = format!("web{round}");
        bench.ok(&["create", "--name", &name, &image, "true"]);
        watcher.expect(&format!("create {name}"));
        let seen = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
        let out = watcher.out_so_far();
        let line = out.lines().find(|line| line.starts_with(&format!("create {name} "))).unwrap();
        let told: u128 = line.rsplit(' ').next().unwrap().parse().unwrap();
        late.push(Duration::from_nanos(u64::try_from(seen.saturating_sub(told)).unwrap()));
    }
    late.sort();
    // The quickest: others wait for a processor. The command itself takes some of it.
    assert!(late[0] < Duration::from_millis(500), "{late:?}");
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let bench = Bench::new();
    for (args, code, text) in [
        (
            &["--since", "yesterday"][..],
            1,
            "invalid value for \"since\": failed to parse value as time or duration: \"yesterday\"",
        ),
        (&["--until", " "], 1, "invalid value for \"until\""),
        (&["--filter", "colour=red"], 1, "invalid filter 'colour': use one of config, container, "),
        (&["--since", "1m", "--until", "1h"], 1, "cannot be after `until` time"),
        (&["--filter", "event"], 125, "bad format of filter (expected name=value)"),
        (&["--format", "{{.Action"], 64, "template parsing error"),
    ] {
        bench.rbox(&[&["events"], args].concat()).run().refused(code, text);
    }
    assert_eq!(bench.ok(&["events", "--since", "1h", "--until", "0s"]), "");
    // A moment to come ends it.
    let took = bench.rbox(&["events", "--until", "-1s"]).run().ok().took;
    assert!(took >= Duration::from_millis(500), "{took:?}");
}

#[test]
fn what_a_killed_supervisor_lets_go_of_is_told() {
    let (bench, image) = Bench::with_image();
    bench.ok(&["network", "create", "net"]);
    bench.start(&["--name", "web", "--network", "net", "-v", "data:/data"], &image, &["sleep", "1000"]);
    proc::kill(bench.supervisor("web"), Signal::KILL);
    wait_until("it has ended", || bench.status("web") == "exited");
    let past = ["events", "--since", "1h", "--until", "0s", "--format", "{{.Type}} {{.Action}}"];
    let told = bench.ok(&[&past[..], &["--filter", "container=web"], &["--filter", "event=die"]].concat());
    assert_eq!(told, "container die");
    let told = |action: &str| bench.ok(&[&past[..], &["--filter", &format!("event={action}")]].concat());
    assert_eq!([told("disconnect"), told("unmount")], ["network disconnect", "volume unmount"]);
    bench.ok(&["ps", "-a"]);
    bench.ok(&["rm", "web"]);
    assert_eq!([told("disconnect"), told("unmount")], ["network disconnect", "volume unmount"]);
}

#[test]
fn copies_lists_and_prunes_are_told_and_images_with_their_labels() {
    let (bench, image) = Bench::with_image();
    bench.start(&["--name", "web"], &image, &["sleep", "1000"]);
    bench.ok(&["top", "web"]);
    bench.ok(&["cp", "web:/bin/busybox", bench.path("out").to_str().unwrap()]);
    bench.ok(&["cp", bench.path("out").to_str().unwrap(), "web:/tmp/in"]);
    bench.ok(&["commit", "-c", "LABEL maker=me", "web", "made"]);
    bench.ok(&["tag", "made", "made:2"]);
    bench.ok(&["rm", "-f", "web"]);
    bench.ok(&["rmi", "made", "made:2"]);
    for kind in ["container", "volume", "network", "image"] {
        bench.ok(&[kind, "prune", "-f"]);
    }
    let told = |filters: &[&str], format: &str| {
        let filters = filters.iter().flat_map(|filter| ["--filter", filter]);
        bench.rbox(&["events", "--since", "1h", "--until", "0s", "--format", format]).args(filters).ok()
    };
    let actions = told(&["container=web", "scope=local"], "{{.Action}}");
    let actions: Vec<&str> = actions.lines().filter(|action| !action.starts_with("exec")).collect();
    let expected = ["create", "start", "top", "archive-path", "extract-to-dir", "commit", "kill", "die", "destroy"];
    let of_container: Vec<&&str> =
        actions.iter().filter(|action| !matches!(**action, "connect" | "disconnect")).collect();
    assert_eq!(of_container, expected.iter().collect::<Vec<_>>());
    assert_eq!(told(&["event=prune"], "{{.Type}}"), "container\nvolume\nnetwork\nimage");
    assert!(told(&["event=prune", "type=network"], "{{json .}}").contains(r#""reclaimed":"0""#));
    let of_image = told(&["label=maker=me", "type=image"], "{{.Action}} {{.Actor.Attributes.name}}");
    assert!(of_image.lines().any(|line| line == "tag made:2"), "{of_image}");
    assert_eq!(told(&["service=web"], "{{.Action}}"), "");
    // What did not start was on no network.
    bench.rbox(&["run", "--rm", "--name", "bad", &image, "nosuch"]).run().exits(127);
    let id = told(&["container=bad", "event=create"], "{{.Actor.ID}}");
    assert_eq!(told(&[&format!("container={id}"), "type=network"], "{{.Action}}"), "");
    // A name that changes meanwhile.
    bench.start(&["--name", "old"], &image, &["sleep", "1000"]);
    bench.ok(&["exec", "-d", "old", "sh", "-c", "until test -e /go; do sleep 0.01; done"]);
    bench.ok(&["rename", "old", "new"]);
    bench.ok(&["exec", "new", "touch", "/go"]);
    wait_until("both have ended", || told(&["container=new", "event=exec_die"], "{{.Action}}").lines().count() == 2);
}
