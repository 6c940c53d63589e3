//! The worker in a process of its own, spoken to over its socket.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{Pid, Signal, WaitOptions, kill_process};

use super::super::{UnpackJob, UnpackStream, Unpacked, Worker, serve};
use super::archive::Archive;
use super::bench::Bench;
use crate::spec::digest::Digest;
use crate::store::pull::Unpacker;
use crate::sys::process::{clone, exit_now};
use crate::testing::alone;

/// Started by [`start`]: this binary, this test. The harness has threads, so the worker is a child.
#[test]
#[ignore = "runs in a process of its own, as the other tests' worker"]
fn worker_process() {
    let Some(child) = clone(0).unwrap() else {
        let served = serve(rustix::stdio::stdin().try_clone_to_owned().unwrap());
        exit_now(if served.is_ok() { 0 } else { 1 });
    };
    // Only the worker may hold the socket.
    let null = File::open("/dev/null").unwrap();
    rustix::stdio::dup2_stdin(&null).unwrap();
    let (_, status) = rustix::process::waitpid(Some(child.pid), WaitOptions::empty()).unwrap().unwrap();
    assert_eq!(status.exit_status(), Some(0));
}

/// A running worker: the test process around it and the worker itself.
struct Server {
    harness: Child,
    pid: Pid,
}

impl Server {
    fn ended_well(mut self) -> bool {
        self.harness.wait().unwrap().success()
    }

    fn jobs(&self) -> Vec<Pid> {
        children(self.pid)
    }
}

fn start() -> (Worker, Server) {
    let kind = SocketType::SEQPACKET;
    let (ours, theirs) = rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap();
    let harness = alone(module_path!(), "worker_process")
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let outer = Pid::from_child(&harness);
    until("the worker runs", || !children(outer).is_empty());
    let pid = children(outer)[0];
    (Worker::new(ours), Server { harness, pid })
}

fn answer(result: OwnedFd) -> Option<Result<Unpacked, String>> {
    let mut line = String::new();
    File::from(result).read_to_string(&mut line).unwrap();
    assert!(line.is_empty() || line.ends_with('\n'));
    (!line.is_empty()).then(|| serde_json::from_str(&line).unwrap())
}

fn run(worker: &mut Worker, job: &UnpackJob, bytes: &[u8]) -> Option<Result<Unpacked, String>> {
    let UnpackStream { input, result } = worker.start(job).unwrap();
    // A worker that found an error stops reading.
    let _ = File::from(input).write_all(bytes);
    answer(result)
}

/// Children of a process.
fn children(of: Pid) -> Vec<Pid> {
    let tasks = std::fs::read_dir(format!("/proc/{of}/task")).into_iter().flatten().flatten();
    let lists = tasks.map(|task| std::fs::read_to_string(task.path().join("children")).unwrap_or_default());
    let pids = lists.flat_map(|list| list.split_ascii_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>());
    pids.map(|pid| Pid::from_raw(pid).unwrap()).collect()
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(10), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn jobs_run_side_by_side_and_answer() {
    let (mut worker, server) = start();
    let (one, two, bad) = (Bench::new(), Bench::new(), Bench::new());
    let archive = Archive::new().file("f", &vec![9; 300_000]).end();
    // The first is held open while the others run.
    let held = worker.start(&one.job).unwrap();
    assert_eq!(run(&mut worker, &two.job, &archive).unwrap().unwrap().diff_id, Digest::of(&archive));
    let hostile = Archive::new().file("../\x1b[31mred", b"").end();
    let why = run(&mut worker, &bad.job, &hostile).unwrap().unwrap_err();
    assert!(why.contains("'..'") && !why.chars().any(char::is_control), "{why}");
    let why = run(&mut worker, &bad.job, &hostile).unwrap().unwrap_err();
    assert!(why.contains("diff"), "{why}");
    let mut input = File::from(held.input);
    input.write_all(&archive).unwrap();
    drop(input);
    assert_eq!(answer(held.result).unwrap().unwrap().entries, 1);
    until("ended jobs are reaped", || server.jobs().is_empty());
    drop(worker);
    assert!(server.ended_well());
}

#[test]
fn a_killed_job_answers_nothing_and_the_worker_lives_on() {
    let (mut worker, server) = start();
    let (one, two) = (Bench::new(), Bench::new());
    let held = worker.start(&one.job).unwrap();
    until("the job runs", || !server.jobs().is_empty());
    for job in server.jobs() {
        kill_process(job, Signal::KILL).unwrap();
    }
    assert_eq!(answer(held.result), None);
    assert!(run(&mut worker, &two.job, &Archive::new().end()).unwrap().is_ok());
    drop(worker);
    assert!(server.ended_well());
}

#[test]
fn jobs_die_with_the_client_and_with_the_server() {
    for kill_server in [false, true] {
        let (mut worker, server) = start();
        let bench = Bench::new();
        let held = worker.start(&bench.job).unwrap();
        until("the job runs", || !server.jobs().is_empty());
        if kill_server {
            kill_process(server.pid, Signal::KILL).unwrap();
        } else {
            drop(worker);
        }
        assert_eq!(answer(held.result), None);
        assert_eq!(server.ended_well(), !kill_server);
        // The input's read end is gone as well.
        until("nobody reads", || rustix::io::write(held.input.as_fd(), b"x") == Err(rustix::io::Errno::PIPE));
    }
}
