//! Kill -9 of everything that networks are made of: nothing is left, and the next start works.
//!
//! RBOX_TEST_KILLS says how often the random kills are done; 200 in the long run, fewer otherwise.

use std::time::{Duration, Instant};

use crate::common::wait_until;
use crate::common::world::{HOST, ONE, World};

fn kills() -> usize {
    std::env::var("RBOX_TEST_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(24)
}

const ANCHORS: &str = "pgrep -f '^rbox anchor' || true";

#[test]
fn the_anchor_killed_under_load() {
    let world = World::new();
    world.user("rbox network create --ipv6 net >/dev/null; serve web --network net -p 8080:8000 -p 8080:7/udp; serve peer --network net").ok();
    // Load both ways, all the while.
    let load = world
        .user(&format!(
            "rbox exec -d web bash -c 'while :; do curl -s -m 5 -o /dev/null http://{ONE}:8000/noise/1/50000000; done'
             while :; do curl -s -m 5 -o /dev/null http://127.0.0.1:8080/noise/1/50000000; done"
        ))
        .limit(900)
        .spawn();
    for round in 0..kills().div_ceil(4) {
        std::thread::sleep(Duration::from_millis(150));
        let before = world.at("host", ANCHORS).ok();
        assert_eq!(before.lines().count(), 1, "round {round}: {before:?}");
        world.at("host", &format!("kill -9 {before}")).ok();
        let killed = Instant::now();
        // Out, in, datagrams, names, and the neighbour.
        world
            .user(&format!(
                "for _ in {{1..50}}; do [[ $(rbox exec web curl -s -m 1 http://{ONE}:8000/name) == one ]] && exit; sleep 0.02; done; exit 1"
            ))
            .ok();
        let out = killed.elapsed();
        for script in [
            "[[ $(curl -s -m 1 http://127.0.0.1:8080/name) == web ]]",
            "echo hi | socat -t 1 - udp:127.0.0.1:8080 | grep -q hi",
            "rbox exec web getent hosts peer >/dev/null",
            "[[ $(rbox exec web curl -s -m 1 http://peer:8000/name) == peer ]]",
            "rbox exec peer ping -c 1 -W 1 web >/dev/null",
        ] {
            world.until(script, script);
        }
        assert!(out < Duration::from_millis(2500), "round {round}: new flows after {out:?}");
        assert!(killed.elapsed() < Duration::from_secs(6), "round {round}: all works after {:?}", killed.elapsed());
    }
    let seen = world.at("near", &format!("get http://{HOST}:8080/who")).ok();
    assert!(seen.starts_with("10.77.0.3:"), "{seen}");
    drop(load);
    world.user("serve late --network net; [[ $(rbox exec late curl -s -m 2 http://web:8000/name) == web ]]").ok();
    world.finish();
}

#[test]
fn every_supervisor_at_once() {
    let world = World::new();
    for round in 0..kills().div_ceil(8) {
        let start = "rbox network create net >/dev/null 2>&1; for n in 1 2 3 4; do rbox run -d --name c$n --network net -p 900$n:8000 rootfs:/ sleep 1000; done
                     rbox run -d --name d -p 9010:8000 rootfs:/ sleep 1000";
        world.user(start).ok();
        let victims = world
            .at("host", "for c in $(ps -eo pid=,args= | awk '/[r]box supervisor|[r]box: |conmon/ { print $1 }'); do echo $c; done")
            .ok();
        let supervisors =
            world.user("for c in c1 c2 c3 c4 d; do ps -o ppid= -p $(rbox inspect -f '{{.State.Pid}}' $c); done").ok();
        let all: Vec<&str> = supervisors.split_whitespace().chain(victims.split_whitespace()).collect();
        world.at("host", &format!("kill -9 {}", all.join(" "))).run();
        wait_until("nothing runs", || world.rbox_processes().is_empty());
        assert_eq!(world.user("rbox ps -q").ok(), "", "round {round}");
        world.no_residue();
        // At once again, on the same addresses and ports.
        world.user("rbox start c1 c2 d >/dev/null").ok();
        assert_eq!(world.user(&format!("rbox exec c1 curl -sS -m 3 http://{ONE}:8000/name; rbox exec c1 ping -c 1 -W 2 c2 >/dev/null && echo -n c2")).ok(), "onec2");
        world.user("rbox ps -aq | xargs rbox rm -f >/dev/null").ok();
        world.no_residue();
    }
    world.finish();
}

#[test]
fn invocations_killed_in_the_middle_of_set_up() {
    let world = World::new();
    world.user("rbox network create net >/dev/null; rbox run --rm rootfs:/ true").ok();
    // How long a start takes here says where to aim.
    let took = world.user("start=${EPOCHREALTIME/./}; rbox run --rm --network net -p 8080:80 rootfs:/ true; echo $((${EPOCHREALTIME/./} - start))").ok();
    let took: u64 = took.parse().unwrap();
    let rounds = kills();
    let script = format!(
        "for ((round = 0; round < {rounds}; round++)); do
            (exec rbox run -d --name k$round --network net --network bridge -p 8080:8000 rootfs:/ sleep 1000 >/dev/null 2>&1) &
            pid=$!
            sleep $(awk -v t={took} -v r=$round -v n={rounds} 'BEGIN {{ print t * 1.2 * r / n / 1e6 }}')
            # The invocation alone, or everything of it.
            if ((round % 3)); then kill -9 $pid 2>/dev/null; else pkill -9 -u 1000 rbox; fi
            wait $pid 2>/dev/null
            rbox rm -f k$round >/dev/null 2>&1
            if ((round % 4 == 3)); then
                rbox run -d --name probe --network net -p 8080:8000 rootfs:/ sleep 100 >/dev/null || {{ echo \"no start after round $round\"; exit 1; }}
                [[ $(rbox exec probe curl -sS -m 3 http://{ONE}:8000/name) == one ]] || {{ echo \"no network after round $round\"; exit 1; }}
                rbox rm -f probe >/dev/null
            fi
        done; rbox ps -aq | xargs -r rbox rm -f >/dev/null; rbox system check >/dev/null && echo fine"
    );
    let output = world.user(&script).limit(800).run();
    assert_eq!(output.out(), "fine", "{}", output.report());
    // A relay that was killed with all its members leaves its socket to the next.
    world.user("rbox run --rm --network net --network bridge rootfs:/ true").ok();
    world.no_residue();
    world.user("rbox network rm net").ok();
    world.finish();
}

#[test]
fn networks_that_are_changed_while_something_dies() {
    let world = World::new();
    world.user("rbox network create a >/dev/null; rbox network create b >/dev/null; serve c --network a").ok();
    for round in 0..kills().div_ceil(3) {
        let delay = (round % 8) * 3;
        let script = format!(
            "(exec rbox network connect b c >/dev/null 2>&1) & pid=$!; sleep 0.0{delay:02}; kill -9 $pid 2>/dev/null; wait $pid 2>/dev/null
             rbox network disconnect b c >/dev/null 2>&1; rbox network connect b c 2>/dev/null || rbox network connect b c
             rbox exec c ip -o -4 address show | grep -c eth; rbox network disconnect b c && rbox exec c ip -o -4 address show | grep -c eth"
        );
        let output = world.user(&script).run();
        assert_eq!(output.out(), "2\n1", "round {round}: {}", output.report());
    }
    // Both anchors and the client at once.
    world.user("rbox network connect b c").ok();
    world.at("host", "pkill -9 -f '^rbox anchor'").ok();
    world.until("a network again", &format!("[[ $(rbox exec c curl -s -m 1 http://{ONE}:8000/name) == one ]]"));
    world.user("rbox network disconnect a c").ok();
    world.until("a network again", &format!("[[ $(rbox exec c curl -s -m 1 http://{ONE}:8000/name) == one ]]"));
    world.finish();
}

#[test]
fn starts_and_stops_at_once_on_one_network() {
    let world = World::new();
    let script = "rbox network create net >/dev/null
        lane() { for ((i = 0; i < 12; i++)); do rbox run --rm --network net rootfs:/ bash -c 'curl -s -m 5 -o /dev/null http://198.51.100.10:8000/name' || echo lane $1 round $i: $?; done; }
        for n in 1 2 3 4; do lane $n & done; wait; echo done";
    let output = world.user(script).limit(200).run();
    assert_eq!(output.out(), "done", "the last leaving meets the next coming: {}", output.report());
    world.finish();
}
