use super::*;
use std::io::Write;

struct Log {
    _directory: tempfile::TempDir,
    path: std::path::PathBuf,
}

impl Log {
    fn new(bytes: &[u8]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        std::fs::write(&path, bytes).unwrap();
        Self { _directory: directory, path }
    }

    fn append(&self, bytes: &[u8]) {
        std::fs::OpenOptions::new().append(true).open(&self.path).unwrap().write_all(bytes).unwrap();
    }

    fn open(&self, query: LogQuery) -> LogReader {
        let mut file = Input::Plain(File::open(&self.path).unwrap());
        let start = query.tail.map_or(0, |lines| Tail::of(&mut file, lines).unwrap().start);
        LogReader::new(file, Form::Json, start, query).unwrap()
    }

    fn texts(&self, query: LogQuery) -> Vec<String> {
        texts(&mut self.open(query))
    }
}

fn texts(reader: &mut LogReader) -> Vec<String> {
    reader.map(|entry| String::from_utf8(entry.unwrap().text).unwrap()).collect()
}

fn line(text: &str, second: u32) -> String {
    let text = serde_json::to_string(text).unwrap();
    format!("{{\"log\":{text},\"stream\":\"stdout\",\"time\":\"2026-11-22T00:00:{second:02}.5Z\"}}\n")
}

fn tail(lines: u64) -> LogQuery {
    LogQuery { tail: Some(lines), ..LogQuery::default() }
}

#[test]
fn entries_have_time_stream_and_text() {
    let log = Log::new(
        b"{\"log\":\"a\\u0000\\n\",\"stream\":\"stderr\",\"time\":\"2026-11-22T00:58:29.449803835Z\",\"attrs\":{\"a\":\"b\"}}\n",
    );
    let entries: Vec<LogEntry> = log.open(LogQuery::default()).map(Result::unwrap).collect();
    let time = "2026-11-22T00:58:29.449803835Z".parse().unwrap();
    let attributes = Some("{\"a\":\"b\"}".into());
    assert_eq!(entries, [LogEntry { time, stream: Stream::Stderr, text: b"a\0\n".to_vec(), attributes }]);
}

#[test]
fn the_tail_is_found_from_the_end() {
    let lines: String = (0..20_000).map(|n| line(&format!("{n}\n"), n % 60)).collect();
    let log = Log::new(lines.as_bytes());
    assert!(log.texts(tail(0)).is_empty());
    assert_eq!(log.texts(tail(2)), ["19998\n", "19999\n"]);
    assert_eq!(log.texts(tail(5000))[0], "15000\n");
    assert_eq!(log.texts(tail(20_000)).len(), 20_000);
    assert_eq!(log.texts(tail(u64::MAX)), log.texts(LogQuery::default()));
    log.append(b"{\"log\":\"unfin");
    assert_eq!(log.texts(tail(1)), ["19999\n"]);
    assert_eq!(Log::new(b"").texts(tail(3)).len(), 0);
}

#[test]
fn a_reader_goes_on_when_the_log_grows() {
    let log = Log::new(line("one\n", 1).as_bytes());
    let mut reader = log.open(LogQuery::default());
    assert_eq!(texts(&mut reader), ["one\n"]);
    let two = line("two\n", 2);
    log.append(&two.as_bytes()[..20]);
    assert!(texts(&mut reader).is_empty());
    log.append(&two.as_bytes()[20..]);
    log.append(line("three\n", 3).as_bytes());
    assert_eq!((texts(&mut reader), reader.skipped()), (vec!["two\n".to_owned(), "three\n".to_owned()], 0));
    let mut follower = log.open(tail(0));
    log.append(line("four\n", 4).as_bytes());
    assert_eq!(texts(&mut follower), ["four\n"]);
}

#[test]
fn damage_costs_only_its_own_line() {
    let mut bytes = line("before\n", 1).into_bytes();
    for damage in [&b"\n"[..], b"\0\0\0\n", b"{\n", b"\xff\xfe\n", b"[]\n", b"{\"log\":1}\n", b"{\"log\":\"x\"}\n"] {
        bytes.extend_from_slice(damage);
    }
    bytes.extend_from_slice(b"{\"log\":\"torn by a cra");
    bytes.extend_from_slice(line("after \"{\"log\":\"\n", 2).as_bytes());
    bytes.extend_from_slice(&b"x".repeat(3 * LINE_MAX));
    bytes.push(b'\n');
    bytes.extend_from_slice(line("end\n", 3).as_bytes());
    let log = Log::new(&bytes);
    let mut reader = log.open(LogQuery::default());
    assert_eq!(texts(&mut reader), ["before\n", "after \"{\"log\":\"\n", "end\n"]);
    assert_eq!(reader.skipped(), 9);
    assert!(reader.buffer.capacity() < 3 * LINE_MAX);
}

#[test]
fn times_are_compared_as_moments() {
    let lines: String = (0..10).map(|n| line(&format!("{n}"), n)).collect();
    let log = Log::new(lines.as_bytes());
    let query = LogQuery {
        since: Some("2026-11-22T01:00:03.5+01:00".parse().unwrap()),
        until: Some("2026-11-22T00:00:05.500Z".parse().unwrap()),
        ..LogQuery::default()
    };
    assert_eq!(log.texts(query), ["3", "4", "5"]);
    assert_eq!(log.texts(LogQuery { tail: Some(6), ..query }), ["4", "5"]);
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_survived_and_the_next_line_is_found(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
        let mut bytes = bytes;
        bytes.push(b'\n');
        bytes.extend_from_slice(line("good", 1).as_bytes());
        let found = Log::new(&bytes).texts(LogQuery::default());
        proptest::prop_assert_eq!(found.last().map(String::as_str), Some("good"));
    }
}

#[test]
fn k8s_files_keep_every_byte() {
    let log = Log::new(
        b"2026-11-22T00:58:29.449803835+01:00 stdout P a\xffb\n2026-11-22T00:58:30.4+01:00 stdout F  c\r\n\
          2026-11-22T00:58:31Z stderr F \nnonsense\n2026-11-22T00:58:31Z stdin F x\n2026-11-22T00:58:31Z stdout F",
    );
    let reader =
        LogReader::new(Input::Plain(File::open(&log.path).unwrap()), Form::K8s, 0, LogQuery::default()).unwrap();
    let entries: Vec<LogEntry> = reader.map(Result::unwrap).collect();
    let texts: Vec<(&[u8], Stream)> = entries.iter().map(|entry| (&entry.text[..], entry.stream)).collect();
    let (out, err) = (Stream::Stdout, Stream::Stderr);
    assert_eq!(texts, [(&b"a\xffb"[..], out), (b" c\r\n", out), (b"\n", err)]);
    assert_eq!(entries[0].time.to_string(), "2026-11-21T23:58:29.449803835Z");
}

#[test]
fn compressed_files_are_read_and_known_by_what_they_were() {
    let lines: String = (0..9000).map(|n| line(&format!("{n}\n"), n % 60)).collect();
    let log = Log::new(lines.as_bytes());
    let plain = File::open(&log.path).unwrap();
    let original = Original::of(&plain).unwrap();
    let path = log.path.with_extension("gz");
    let mut encoder = flate2::GzBuilder::new()
        .comment(original.to_string())
        .write(File::create(&path).unwrap(), flate2::Compression::fast());
    encoder.write_all(lines.as_bytes()).unwrap();
    encoder.finish().unwrap();
    let compressed = || Input::compressed(File::open(&path).unwrap());
    assert_eq!(compressed().original(), Some(original));
    assert!(Original::could_be(original, &plain).unwrap());
    log.append(b"x\n");
    assert!(!Original::could_be(original, &plain).unwrap());
    let tail = Tail::of(&mut compressed(), 3).unwrap();
    assert_eq!(tail.lines, 3);
    let mut reader = LogReader::new(compressed(), Form::Json, tail.start, LogQuery::default()).unwrap();
    assert_eq!(texts(&mut reader), ["8997\n", "8998\n", "8999\n"]);
    assert_eq!(Tail::of(&mut compressed(), 10_000).unwrap(), Tail { start: 0, lines: 9000 });
    let mut whole = LogReader::new(compressed(), Form::Json, 0, LogQuery::default()).unwrap();
    assert_eq!(texts(&mut whole).len(), 9000);
}
