use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::loss::Loss;
use super::names::numbered;
use super::split::PIECE_MAX;
use super::*;
use crate::spec::log::syslog::Format;
use crate::store::logs::{Form, Input, LogQuery, LogReader};

fn pieces(writes: &[(Stream, &[u8])]) -> Vec<(Stream, Vec<u8>, bool)> {
    let (mut splitter, mut all) = (Splitter::default(), Vec::new());
    let mut add = |piece: Piece<'_>| all.push((piece.stream, piece.text.to_vec(), piece.ends));
    for (stream, bytes) in writes {
        splitter.feed(*stream, bytes, &mut add);
    }
    splitter.finish(&mut add);
    all
}

#[test]
fn lines_are_joined_cut_and_kept_apart_by_stream() {
    let long = vec![b'x'; 40_000];
    let all = pieces(&[
        (Stream::Stdout, b"one\ntw"),
        (Stream::Stderr, b"err\n"),
        (Stream::Stdout, b"o\nthree"),
        (Stream::Stdout, &long),
    ]);
    let out: Vec<&(Stream, Vec<u8>, bool)> = all.iter().filter(|piece| piece.0 == Stream::Stdout).collect();
    assert_eq!((&out[0].1[..], out[0].2, &out[1].1[..], out[1].2), (&b"one"[..], true, &b"two"[..], true));
    assert_eq!(out[2..].iter().map(|piece| &piece.1[..]).collect::<Vec<_>>().concat(), [&b"three"[..], &long].concat());
    assert!(out[2..].iter().all(|piece| piece.1.len() <= PIECE_MAX && !piece.2));
    assert!(all.contains(&(Stream::Stderr, b"err".to_vec(), true)));
    let whole = pieces(&[(Stream::Stdout, &[vec![b'x'; PIECE_MAX], b"\n".to_vec()].concat())]);
    assert_eq!(whole.iter().map(|piece| (piece.1.len(), piece.2)).collect::<Vec<_>>(), [(PIECE_MAX, false), (0, true)]);
}

#[test]
fn no_character_is_cut() {
    let text = "a".to_owned() + &"\u{20ac}".repeat(20_000);
    let all = pieces(&[(Stream::Stdout, text.as_bytes())]);
    assert!(all.len() > 3);
    assert_eq!(all.iter().map(|piece| std::str::from_utf8(&piece.1).unwrap()).collect::<String>(), text);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn what_is_written_comes_back(writes in proptest::collection::vec(
        (any::<bool>(), proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'"'), any::<u8>()], 0..60), 1usize..900), 0..12)) {
        let directory = tempfile::tempdir().unwrap();
        let plan = |name: &str, format| FilePlan {
            path: directory.path().join(name), format, max_size: None, max_file: 1, compress: false,
        };
        let mut json = LogFile::open(&plan("json", FileFormat::Json(vec![("a\"".into(), "b\n".into())]))).unwrap();
        let mut k8s = LogFile::open(&plan("k8s", FileFormat::K8s)).unwrap();
        let (mut splitter, mut wrote) = (Splitter::default(), [Vec::new(), Vec::new()]);
        let stamp = Stamp::now();
        let mut take = |piece: Piece<'_>| {
            json.take(piece, &stamp);
            k8s.take(piece, &stamp);
        };
        for (stderr, bytes, times) in writes {
            let stream = if stderr { Stream::Stderr } else { Stream::Stdout };
            let bytes = bytes.repeat(times);
            wrote[stream as usize].extend_from_slice(&bytes);
            splitter.feed(stream, &bytes, &mut take);
        }
        splitter.finish(&mut take);
        json.flush(&mut Loss::default());
        k8s.flush(&mut Loss::default());
        for (name, form) in [("json", Form::Json), ("k8s", Form::K8s)] {
            let input = Input::Plain(std::fs::File::open(directory.path().join(name)).unwrap());
            let mut reader = LogReader::new(input, form, 0, LogQuery::default()).unwrap();
            let mut read = [Vec::new(), Vec::new()];
            for entry in reader.by_ref() {
                let entry = entry.unwrap();
                read[entry.stream as usize].extend_from_slice(&entry.text);
                prop_assert_eq!(entry.attributes.as_deref(), (form == Form::Json).then_some(r#"{"a\"":"b\n"}"#));
            }
            prop_assert_eq!(reader.skipped(), 0);
            for (read, wrote) in read.iter().zip(&wrote) {
                match form {
                    Form::K8s => prop_assert_eq!(read, wrote),
                    // Where a byte that is no text meets the end of a piece, how many marks there are is open.
                    Form::Json if wrote.is_ascii() => prop_assert_eq!(read, wrote),
                    Form::Json => prop_assert!(std::str::from_utf8(read).is_ok()),
                }
            }
        }
    }
}

struct Files {
    directory: tempfile::TempDir,
    plan: FilePlan,
    log: LogFile,
    loss: Loss,
    splitter: Splitter,
}

fn files(max_size: Option<u64>, max_file: u32) -> Files {
    let directory = tempfile::tempdir().unwrap();
    let format = FileFormat::Json(Vec::new());
    let plan = FilePlan { path: directory.path().join("log"), format, max_size, max_file, compress: false };
    let log = LogFile::open(&plan).unwrap();
    Files { log, plan, directory, loss: Loss::default(), splitter: Splitter::default() }
}

impl Files {
    fn write(&mut self, text: &str) {
        let stamp = Stamp::now();
        self.splitter.feed(Stream::Stdout, text.as_bytes(), &mut |piece| self.log.take(piece, &stamp));
        self.log.flush(&mut self.loss);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// What the named files hold, each one's lines joined; empty for one that is absent.
    fn texts<const N: usize>(&self, names: [&str; N]) -> [String; N] {
        names.map(|name| {
            let text = std::fs::read_to_string(self.path(name)).unwrap_or_default();
            let log = |line: &str| {
                serde_json::from_str::<serde_json::Value>(line).unwrap()["log"].as_str().map(str::to_owned)
            };
            text.lines().map(|line| log(line).unwrap()).collect()
        })
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.directory.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[test]
fn full_files_make_room_and_the_oldest_goes() {
    let mut log = files(Some(1), 3);
    for text in ["a\n", "b\n", "c\n", "d\n"] {
        log.write(text);
    }
    assert_eq!(log.texts(["log", "log.1", "log.2"]), ["d\n", "c\n", "b\n"]);
    assert_eq!(log.names(), ["log", "log.1", "log.2"]);
}

#[test]
fn a_compressed_file_moves_with_the_others() {
    let mut log = files(Some(1), 3);
    for name in ["log.1.gz", "log.2.gz", "log.2"] {
        std::fs::write(log.path(name), name).unwrap();
    }
    ["a\n", "b\n"].iter().for_each(|text| log.write(text));
    assert_eq!(log.names(), ["log", "log.1", "log.2.gz"]);
    assert_eq!(std::fs::read_to_string(log.path("log.2.gz")).unwrap(), "log.1.gz");
    log.write("c\n");
    assert_eq!(log.names(), ["log", "log.1", "log.2"]);
}

#[test]
fn one_file_begins_anew() {
    let mut log = files(Some(1), 1);
    log.write("a\nb\n");
    assert_eq!((log.texts(["log"]), log.names()), (["b\n".to_owned()], vec!["log".to_owned()]));
}

#[test]
fn a_burst_is_spread_line_by_line() {
    let mut log = files(Some(1000), 1000);
    let text: String = (0..500).map(|number| format!("line {number}\n")).collect();
    for part in text.as_bytes().chunks(700) {
        log.write(std::str::from_utf8(part).unwrap());
    }
    let mut names = log.names();
    assert!(names.len() > 20, "{names:?}");
    names.sort_by_key(|name| std::cmp::Reverse(name.strip_prefix("log.").map_or(0, |n| n.parse::<u32>().unwrap())));
    let mut all = String::new();
    for (index, name) in names.iter().enumerate() {
        let length = std::fs::metadata(log.path(name)).unwrap().len();
        assert!(length < 1100 && (length >= 1000 || index + 1 == names.len()), "{name} has {length} bytes");
        all.extend(log.texts([name]));
    }
    assert_eq!(all, text);
}

#[test]
fn a_file_that_was_full_before_counts() {
    let mut log = files(Some(200), 2);
    log.write(&("x".repeat(300) + "\n"));
    log.log = LogFile::open(&log.plan).unwrap();
    log.write("y\n");
    assert_eq!(log.texts(["log"]), ["y\n"]);
}

#[test]
fn a_torn_line_goes_when_the_log_is_opened_again() {
    let mut log = files(None, 1);
    log.write("a\n");
    let whole = std::fs::read(log.path("log")).unwrap();
    for torn in [&b"{\"log\":\"b"[..], b"\0\0\0"] {
        std::fs::write(log.path("log"), [&whole, torn].concat()).unwrap();
        log.log = LogFile::open(&log.plan).unwrap();
        assert_eq!(std::fs::read(log.path("log")).unwrap(), whole);
    }
    std::fs::write(log.path("log"), "torn").unwrap();
    log.log = LogFile::open(&log.plan).unwrap();
    log.write("c\n");
    assert_eq!(log.texts(["log"]), ["c\n"]);
}

#[test]
fn only_files_are_logs() {
    let log = files(None, 1);
    let open = |path: &Path| LogFile::open(&FilePlan { path: path.to_owned(), ..log.plan.clone() });
    rustix::fs::mknodat(rustix::fs::CWD, log.path("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    // Neither waits for a reader.
    assert!(open(&log.path("pipe")).is_err() && open(log.directory.path()).is_err());
    assert!(open(Path::new("/dev/null")).is_ok() && open(Path::new("/dev/full")).is_err());
}

#[test]
fn without_a_new_file_the_old_one_goes_on() {
    let mut log = files(Some(1), 2);
    std::fs::create_dir(log.path("log.new")).unwrap();
    log.write("a\nb\n");
    log.write("c\n");
    assert_eq!(log.texts(["log", "log.1"]), ["a\nb\nc\n".to_owned(), String::new()]);
    std::fs::remove_dir(log.path("log.new")).unwrap();
    log.write("d\n");
    assert_eq!(log.texts(["log", "log.1"]), ["d\n", "a\nb\nc\n"]);
}

#[test]
fn what_does_not_fit_on_the_disk_is_counted() {
    let mut log = files(None, 1);
    log.write("a\n");
    // Every write to it fails as on a full disk.
    let full = std::fs::OpenOptions::new().append(true).open("/dev/full").unwrap();
    let good = log.log.replace_file(full);
    log.write("b\nb\n");
    log.write("b\n");
    log.log.replace_file(good);
    log.write("c\n");
    let text = log.texts(["log"])[0].clone();
    assert!(
        text.starts_with("a\n[rbox: 3 messages (") && text.ends_with(" of the log lost: no space left on device]\nc\n"),
        "{text}"
    );
    let directory = tempfile::tempdir().unwrap();
    let mut record = Record::open(directory.path().join("lost"));
    record.loss = log.loss;
    record.save();
    let again = Record::open(directory.path().join("lost"));
    let lost: Lost = serde_json::from_slice(&std::fs::read(directory.path().join("lost")).unwrap()).unwrap();
    assert_eq!((lost.messages, lost.reason.as_str()), (3, "no space left on device"));
    assert!(again.deadline().is_none());
}

fn remote(receiver: Receiver, non_blocking: bool) -> LogPlan {
    let remote = Some(RemotePlan { receiver, buffer: 64 * 1024, non_blocking });
    LogPlan { file: None, remote, loss: tempfile::tempdir().unwrap().path().join("lost") }
}

#[test]
fn the_journal_gets_a_datagram_a_line() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let fields = vec![("CONTAINER_ID".to_owned(), "abc".to_owned()), ("LABEL".to_owned(), "a\nb".to_owned())];
    let plan = remote(Receiver::Journald { socket: socket.clone(), fields }, false);
    let error = Log::open(&plan, 1).unwrap_err().to_string();
    assert!(error.starts_with("journald is not enabled on this host: /"), "{error}");
    let journal = UnixDatagram::bind(&socket).unwrap();
    let mut log = Log::open(&plan, 1).unwrap();
    log.write(Stream::Stdout, b"one\n\xff\n");
    log.write(Stream::Stderr, b"two");
    log.finish();
    let next = || {
        let mut buffer = [0; 4096];
        let count = journal.recv(&mut buffer).unwrap();
        buffer[..count].to_vec()
    };
    let head = b"CONTAINER_ID=abc\nLABEL\n\x03\0\0\0\0\0\0\0a\nb\n";
    assert_eq!(next(), [&head[..], b"PRIORITY=6\nMESSAGE=one\n"].concat());
    assert_eq!(next(), [&head[..], b"PRIORITY=6\nMESSAGE=\xff\n"].concat());
    assert_eq!(next(), [&head[..], b"PRIORITY=3\nCONTAINER_PARTIAL_MESSAGE=true\nMESSAGE=two\n"].concat());
}

#[test]
fn a_message_larger_than_a_datagram_goes_as_a_file() {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let journal = UnixDatagram::bind(&socket).unwrap();
    let large = "x".repeat(4 << 20);
    let fields = vec![("LABEL".to_owned(), large.clone())];
    let mut plan = remote(Receiver::Journald { socket, fields }, false);
    plan.remote.as_mut().unwrap().buffer = 16 << 20;
    let mut log = Log::open(&plan, 1).unwrap();
    log.write(Stream::Stdout, b"one\n");
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    recvmsg(&journal, &mut [], &mut control, RecvFlags::empty()).unwrap();
    let Some(RecvAncillaryMessage::ScmRights(mut files)) = control.drain().next() else { panic!("no file came") };
    let mut file = std::fs::File::from(files.next().unwrap());
    std::io::Seek::rewind(&mut file).unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, format!("LABEL={large}\nPRIORITY=6\nMESSAGE=one\n"));
}

#[test]
fn a_stalled_receiver_costs_messages_and_little_time() {
    for non_blocking in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("socket");
        let journal = UnixDatagram::bind(&socket).unwrap();
        let receiver = Receiver::Journald { socket, fields: Vec::new() };
        let mut log = Log::open(&remote(receiver, non_blocking), 1).unwrap();
        let (began, mut written, mut waited) = (Instant::now(), 0u64, false);
        while log.loss.loss.count() == 0 {
            let now = Instant::now();
            if log.is_busy(now) {
                waited = true;
                std::thread::sleep(log.deadline().unwrap().saturating_duration_since(now));
            }
            log.write(Stream::Stdout, format!("{written:01000}\n").as_bytes());
            written += 1;
        }
        assert_eq!(waited, !non_blocking);
        assert!(began.elapsed() < Duration::from_secs(5) && written > 60, "{written}");
        for _ in 0..5 {
            log.write(Stream::Stdout, format!("{written:01000}\n").as_bytes());
            written += 1;
        }
        let lost = log.loss.loss.count();
        // Whoever reads again gets all that was not lost, in order, and in its place what was.
        journal.set_nonblocking(true).unwrap();
        let (mut next, mut note) = (0, None);
        let mut buffer = [0; 4096];
        let limit = Instant::now() + Duration::from_secs(10);
        while note.is_none() && Instant::now() < limit {
            log.tend();
            while let Ok(count) = journal.recv(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
                match text.split_once("MESSAGE=[rbox: ") {
                    Some((_, text)) => note = Some(text.to_owned()),
                    None => {
                        assert!(text.ends_with(&format!("{next:01000}\n")), "{next}");
                        next += 1;
                    }
                }
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(next, written - lost);
        assert!(note.as_ref().is_some_and(|note| note.starts_with(&format!("{lost} message"))), "{note:?} {lost}");
    }
}

#[test]
fn syslog_messages_look_as_dockers() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("socket");
    let server = UnixDatagram::bind(&socket).unwrap();
    let said = |format| {
        let server_plan = Server::UnixDatagram(socket.clone());
        let receiver = Receiver::Syslog { server: server_plan, tag: "my tag".to_owned(), facility: 3, format };
        let mut log = Log::open(&remote(receiver, false), 42).unwrap();
        log.write(Stream::Stderr, b"text <1>\n");
        let mut buffer = [0; 4096];
        let count = server.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..count].to_vec()).unwrap()
    };
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let matches = |format, pattern: &str| {
        let text = said(format);
        let pattern = pattern.replace("HOST", &regex::escape(&host));
        assert!(regex::Regex::new(&pattern).unwrap().is_match(&text), "{text} is no {pattern}");
    };
    matches(Format::Unix, r"^<27>[A-Z][a-z][a-z] [ 1-3][0-9] [0-9:]{8} my_tag\[42\]: text <1>$");
    matches(Format::Rfc3164, r"^<27>[A-Z][a-z][a-z] [ 1-3][0-9] [0-9:]{8} HOST my_tag\[42\]: text <1>$");
    matches(Format::Rfc5424, r"^<27>1 20[0-9-]{8}T[0-9:]{8}[+-][0-9]{2}:[0-9]{2} HOST my_tag 42 my_tag - text <1>$");
    let micro = r"^<27>1 20[0-9-]{8}T[0-9:]{8}\.[0-9]{6}[+-][0-9]{2}:[0-9]{2} HOST my_tag 42 my_tag - text <1>$";
    matches(Format::Rfc5424Micro, micro);
}

#[test]
fn a_server_that_comes_back_gets_the_rest() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let receiver =
        Receiver::Syslog { server: Server::Tcp(address), tag: "t".to_owned(), facility: 3, format: Format::Rfc5424 };
    let plan = remote(receiver, true);
    let mut log = Log::open(&plan, 1).unwrap();
    let (first, _) = listener.accept().unwrap();
    log.write(Stream::Stdout, b"one\n");
    let mut line = String::new();
    BufReader::new(&first).read_line(&mut line).unwrap();
    assert!(line.ends_with(" - one\n"), "{line}");
    drop((first, listener));
    std::thread::sleep(Duration::from_millis(100));
    log.write(Stream::Stdout, b"two\n");
    assert!(log.deadline().is_some() && log.loss.loss.count() == 0);
    let listener = TcpListener::bind(address).unwrap();
    let began = Instant::now();
    while log.drivers[0].waiting() > 0 && began.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(20));
        log.tend();
    }
    let (second, _) = listener.accept().unwrap();
    let mut line = String::new();
    BufReader::new(&second).read_line(&mut line).unwrap();
    assert!(line.ends_with(" - two\n"), "{line}");
    drop((second, listener));
    let error = Log::open(&plan, 1).unwrap_err().to_string();
    assert_eq!(error, format!("dial {address}: Connection refused (os error 111)"));
}

#[test]
fn files_are_compressed_on_the_side() {
    // The child is forked from a process with other threads here, which only tests may do: see the suite of
    // the whole program. What an earlier life left is sorted out without one.
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    for name in ["log.1", "log.1.gz", "log.gz.new"] {
        std::fs::write(directory.path().join(name), name).unwrap();
    }
    drop(compress::Compressor::new(&path, 3));
    assert!(!numbered(&path, 1).exists() && !directory.path().join("log.gz.new").exists());
}

#[test]
fn labels_become_fields_of_the_journal() {
    for (name, expected) in [
        ("com.example.app-name", Some("COM_EXAMPLE_APP_NAME")),
        ("_HOSTNAME", Some("HOSTNAME")),
        ("", None),
        ("__", None),
        ("1a", None),
        ("\u{e4}b", Some("B")),
    ] {
        assert_eq!(journal_name(name).as_deref(), expected, "{name}");
    }
    assert_eq!(journal_name(&"x".repeat(65)), None);
}
