use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::*;
use crate::store::containers::{State, Status, boot_id};
use crate::store::logs::Form;
use crate::store::testing::{self, TestStore};

fn line(log: &str, stream: &str, second: u32) -> String {
    let time = format!("2026-11-22T00:58:{second:02}.5Z");
    format!("{}\n", serde_json::json!({"log": log, "stream": stream, "time": time}))
}

fn printer<O: Write>(out: O, args: &Args) -> Printer<O, Vec<u8>> {
    let prefixes = Prefixes { timestamps: args.timestamps, details: args.details };
    Printer::new(out, Vec::new(), vec![String::new()], prefixes)
}

/// What goes to stdout and stderr of a log with this text.
fn show(text: &str, args: &Args, query: LogQuery) -> (String, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    std::fs::write(&path, text).unwrap();
    let mut printer = printer(Vec::new(), args);
    let query = LogQuery { tail: args.tail.parse().ok(), ..query };
    let mut source = Source::new(path, Form::Json, query);
    while let Some(entry) = source.next().unwrap() {
        printer.print(0, &entry).unwrap();
    }
    printer.flush().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(printer.out.get_ref()), text(printer.err.get_ref()))
}

/// All that there is for now.
fn read(source: &mut Source) -> String {
    let mut text = Vec::new();
    while let Some(entry) = source.next().unwrap() {
        text.extend_from_slice(&entry.text);
    }
    String::from_utf8(text).unwrap()
}

fn sample() -> String {
    [
        line("one\n", "stdout", 1),
        line("bad\n", "stderr", 2),
        line("three\n", "stdout", 3),
        line("no newline", "stdout", 4),
    ]
    .concat()
}

fn tail(count: &str) -> Args {
    Args { tail: count.to_owned(), ..Args::default() }
}

#[test]
fn streams_are_kept_apart() {
    assert_eq!(show(&sample(), &tail("all"), LogQuery::default()), ("one\nthree\nno newline".into(), "bad\n".into()));
}

#[test]
fn tails_windows_and_prefixes() {
    let at = |text: &str| Some(text.parse().unwrap());
    let stdout = |args: &Args, query: LogQuery| show(&sample(), args, query).0;
    for (count, expected) in [
        ("0", ""),
        ("1", "no newline"),
        ("2", "three\nno newline"),
        ("99", "one\nthree\nno newline"),
        ("-1", "one\nthree\nno newline"),
        ("x", "one\nthree\nno newline"),
    ] {
        assert_eq!(stdout(&tail(count), LogQuery::default()), expected, "{count}");
    }
    let window = LogQuery { tail: None, since: at("2026-11-22T00:58:02Z"), until: at("2026-11-22T00:58:04Z") };
    assert_eq!(show(&sample(), &tail("all"), window), ("three\n".into(), "bad\n".into()));
    let stamped = stdout(&Args { timestamps: true, details: true, ..tail("2") }, LogQuery::default());
    assert_eq!(stamped, "2026-11-22T00:58:03.500000000Z  three\n2026-11-22T00:58:04.500000000Z  no newline");
    let pieces = [line("aa", "stdout", 1), line("bb\n", "stdout", 2), line("cc\n", "stdout", 3)].concat();
    let stamped = show(&pieces, &Args { timestamps: true, ..tail("all") }, LogQuery::default()).0;
    assert_eq!(
        stamped.lines().collect::<Vec<_>>(),
        ["2026-11-22T00:58:01.500000000Z aabb", "2026-11-22T00:58:03.500000000Z cc"]
    );
}

#[test]
fn a_source_survives_growth_truncation_and_replacement() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let mut source = Source::new(path.clone(), Form::Json, LogQuery { tail: Some(9), ..LogQuery::default() });
    let mut read = || read(&mut source);
    assert_eq!(read(), "");
    let whole = line("a\n", "stdout", 1);
    let (front, back) = whole.split_at(7);
    std::fs::write(&path, front).unwrap();
    assert_eq!(read(), "");
    std::fs::write(&path, [front, back].concat()).unwrap();
    assert_eq!(read(), "a\n");
    std::fs::write(&path, line("b", "stdout", 1)).unwrap();
    assert_eq!(read(), "b");
    std::fs::write(&path, [line("b", "stdout", 1), line("c", "stdout", 2)].concat()).unwrap();
    let begin = |text: &str| {
        rotate(&path, 3);
        std::fs::write(&path, line(text, "stdout", 3)).unwrap();
    };
    begin("d");
    assert_eq!(read(), "cd", "the rest of the old file comes first");
    ["e", "f"].into_iter().for_each(begin);
    assert_eq!(read(), "ef", "files that came and went since are read in order");
    ["g", "h", "i", "j"].into_iter().for_each(begin);
    assert_eq!(read(), "hij", "what was dropped meanwhile is gone, what is there is read");
    rotate(&path, 3);
    assert_eq!(read(), "");
}

/// As the writer does it, but without the new file.
fn rotate(path: &Path, files: u32) {
    let numbered = |number: u32| match number {
        0 => path.to_owned(),
        _ => PathBuf::from(format!("{}.{number}", path.display())),
    };
    for number in (0..files - 1).rev() {
        let _ = std::fs::rename(numbered(number), numbered(number + 1));
    }
}

#[test]
fn a_tail_reaches_back_over_files() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    for second in 0..6 {
        rotate(&path, 9);
        let text = [line(&format!("{second}a"), "stdout", second), line(&format!("{second}b"), "stdout", second)];
        std::fs::write(&path, text.concat()).unwrap();
    }
    let read = |query: LogQuery| {
        let mut source = Source::new(path.clone(), Form::Json, query);
        let text = read(&mut source);
        text + &read(&mut source)
    };
    for (tail, expected) in [
        (Some(0), ""),
        (Some(1), "5b"),
        (Some(2), "5a5b"),
        (Some(3), "4b5a5b"),
        (Some(5), "3b4a4b5a5b"),
        (Some(99), "0a0b1a1b2a2b3a3b4a4b5a5b"),
        (None, "0a0b1a1b2a2b3a3b4a4b5a5b"),
    ] {
        assert_eq!(read(LogQuery { tail, ..LogQuery::default() }), expected, "{tail:?}");
    }
    let since = Some("2026-11-22T00:58:04Z".parse().unwrap());
    assert_eq!(read(LogQuery { since, ..LogQuery::default() }), "4a4b5a5b");
    // An empty file that was just begun is no end of the tail.
    rotate(&path, 9);
    std::fs::write(&path, "").unwrap();
    assert_eq!(read(LogQuery { tail: Some(1), ..LogQuery::default() }), "5b");
}

#[test]
fn a_log_is_read_whole_while_it_is_rotated() {
    use crate::sandbox::log::{FileFormat, FilePlan, Log, LogPlan, Stream as Written};
    const LINES: usize = 3000;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let file = FilePlan {
        path: path.clone(),
        format: FileFormat::Json(Vec::new()),
        max_size: Some(2000),
        max_file: 900,
        compress: false,
    };
    let plan = LogPlan { file: Some(file), remote: None, loss: directory.path().join("lost") };
    let writer = std::thread::spawn(move || {
        let mut log = Log::open(&plan, 1).unwrap();
        for number in 0..LINES {
            log.write(Written::Stdout, format!("{number}\n").as_bytes());
        }
    });
    let mut source = Source::new(path, Form::Json, LogQuery::default());
    let mut next = 0;
    while next < LINES {
        let over = writer.is_finished();
        while let Some(entry) = source.next().unwrap() {
            assert_eq!(entry.text, format!("{next}\n").as_bytes(), "in order, nothing twice, nothing left out");
            next += 1;
        }
        assert!(!over || next == LINES, "only {next} of {LINES} lines");
    }
    writer.join().unwrap();
}

/// As the writer does it with the file of a number.
fn compress(path: &Path, number: u32) {
    let from = PathBuf::from(format!("{}.{number}", path.display()));
    let file = File::open(&from).unwrap();
    let original = crate::store::logs::Original::of(&file).unwrap();
    let to = File::create(format!("{}.gz", from.display())).unwrap();
    let mut encoder = flate2::GzBuilder::new().comment(original.to_string()).write(to, flate2::Compression::fast());
    std::io::copy(&mut &file, &mut encoder).unwrap();
    encoder.finish().unwrap();
}

#[test]
fn compressed_files_are_read_once_even_while_they_are_made() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let begin = |text: &str| std::fs::write(&path, line(text, "stdout", 1)).unwrap();
    let shift = || {
        for number in (1..8).rev() {
            let of = |number| format!("{}.{number}.gz", path.display());
            let _ = std::fs::rename(of(number), of(number + 1));
        }
        rotate(&path, 9);
    };
    begin("a");
    let mut follower = Source::new(path.clone(), Form::Json, LogQuery::default());
    assert_eq!(read(&mut follower), "a");
    shift();
    begin("b");
    compress(&path, 1);
    let all = || read(&mut Source::new(path.clone(), Form::Json, LogQuery::default()));
    assert_eq!(all(), "ab", "both forms of a file are there for a moment");
    std::fs::remove_file(directory.path().join("log.1")).unwrap();
    assert_eq!((all().as_str(), read(&mut follower).as_str()), ("ab", "b"));
    shift();
    begin("c");
    compress(&path, 1);
    std::fs::remove_file(directory.path().join("log.1")).unwrap();
    shift();
    begin("d");
    assert_eq!((all().as_str(), read(&mut follower).as_str()), ("abcd", "cd"));
    let tail =
        |lines| read(&mut Source::new(path.clone(), Form::Json, LogQuery { tail: Some(lines), ..LogQuery::default() }));
    assert_eq!([1, 2, 3, 9].map(tail), ["d", "cd", "bcd", "abcd"]);
}

#[test]
fn several_containers_are_told_apart_and_their_lines_are_whole() {
    let directory = tempfile::tempdir().unwrap();
    let texts = [
        [line("one ", "stdout", 1), line("line\n", "stdout", 4), line("a\n", "stderr", 6)].concat(),
        [line("two\n", "stdout", 2), line("open", "stdout", 5), line("x\n", "stdout", 7)].concat(),
    ];
    let store = TestStore::new();
    let mut all = Vec::new();
    for (number, text) in texts.iter().enumerate() {
        let name = ["web", "db"][number];
        let container = store.containers().create(testing::config(name, ["a", "b"][number])).unwrap();
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        let reading = Reading::Files(Box::new(Source::new(path, Form::Json, LogQuery::default())));
        all.push(Followed { container, reading, next: None });
    }
    let mut printer = Printer::new(Vec::new(), Vec::new(), vec!["web ".into(), "db ".into()], Prefixes::default());
    assert_eq!(print_new(&mut all, &mut printer).unwrap(), 6);
    printer.flush().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    assert_eq!(text(printer.out.get_ref()), "web one line\ndb two\ndb openx\n");
    assert_eq!(text(printer.err.get_ref()), "web a\n");
    let containers: Vec<Container> = all.into_iter().map(|one| one.container).collect();
    let args = Args { color: true, names: true, ..Args::default() };
    assert_eq!(names(&containers, &args), ["\x1b[36mweb\x1b[0m ", "\x1b[33mdb\x1b[0m "]);
    assert_eq!(names(&containers[..1], &Args::default()), [""]);
    assert_eq!(names(&containers, &Args::default())[0].len(), 13);
}

#[test]
fn attributes_are_shown_as_docker_shows_them() {
    let entry = r#"{"log":"x\n","stream":"stdout","attrs":{"b":"2 3","a":"1,ä"},"time":"2026-11-22T00:58:01Z"}"#;
    let args = Args { details: true, ..tail("all") };
    assert_eq!(show(&format!("{entry}\n"), &args, LogQuery::default()).0, "a=1%2C%C3%A4,b=2+3 x\n");
}

/// A store with a container whose state says running, and the file it logs to.
fn running() -> (TestStore, Container, PathBuf) {
    let store = TestStore::new();
    let mut container = store.containers().create(testing::config("web", "a")).unwrap();
    let running = State { status: Status::Running, boot_id: boot_id().to_owned(), ..State::created() };
    container.update_state(|state| *state = running).unwrap();
    let path = container.log_path().unwrap();
    std::fs::write(&path, line("first\n", "stdout", 1)).unwrap();
    (store, container, path)
}

fn append(path: &PathBuf, text: &str) {
    std::fs::OpenOptions::new().append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

/// Follows into a pipe on a thread; the end comes through the channel.
fn follow_in_thread(container: Container, until: Option<Timestamp>) -> (File, mpsc::Receiver<Result<()>>) {
    let (reading, writing): (OwnedFd, OwnedFd) = nix::unistd::pipe().unwrap();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut printer = printer(File::from(writing), &Args::default());
        let query = LogQuery { until, ..LogQuery::default() };
        let mut all = [Followed::new(container, query, true).unwrap()];
        let result = print(&mut all, query, true, &mut printer);
        sender.send(result).unwrap();
    });
    (File::from(reading), receiver)
}

#[test]
fn following_ends_with_the_container() {
    let (_store, container, path) = running();
    let mut ending = container.clone();
    let alive = ending.take_alive().unwrap().unwrap();
    let (mut output, finished) = follow_in_thread(container, None);
    let mut text = [0; 64];
    let count = output.read(&mut text).unwrap();
    assert_eq!(&text[..count], b"first\n");
    append(&path, &line("second\n", "stdout", 2));
    let count = output.read(&mut text).unwrap();
    assert_eq!(&text[..count], b"second\n");
    assert!(finished.try_recv().is_err());
    append(&path, &line("last\n", "stdout", 3));
    ending.update_state(|state| state.status = Status::Exited).unwrap();
    drop(alive);
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "last\n");
    finished.recv_timeout(Duration::from_secs(5)).unwrap().unwrap();
}

#[test]
fn following_ends_at_once_when_nothing_runs_when_the_time_is_over_or_nobody_reads() {
    let (_store, container, _) = running();
    let started = Instant::now();
    let (_output, finished) = follow_in_thread(container.clone(), None);
    finished.recv_timeout(Duration::from_secs(5)).unwrap().unwrap();

    let alive = container.take_alive().unwrap().unwrap();
    let soon = Timestamp::now().checked_add(Duration::from_millis(100)).unwrap();
    let (_output, finished) = follow_in_thread(container.clone(), Some(soon));
    finished.recv_timeout(Duration::from_secs(5)).unwrap().unwrap();

    let (output, finished) = follow_in_thread(container, None);
    drop(output);
    // Either the write or the wait notices.
    let result = finished.recv_timeout(Duration::from_secs(5)).unwrap();
    let broken =
        |error: &anyhow::Error| error.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe);
    assert!(result.as_ref().err().is_none_or(broken), "{result:?}");
    assert!(started.elapsed() < Duration::from_secs(5));
    drop(alive);
}
