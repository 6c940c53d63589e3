//! The container's log in docker's json-file format: one object a line,
//! `{"log":"text\n","stream":"stdout","time":"..."}`, in pieces of at most 16 KiB. A full file is
//! renamed to `NAME.1`, that to `NAME.2` and so on; what exceeds the number of files is gone.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::plan::LogPlan;

/// docker's longest piece of a line.
const PIECE_MAX: usize = 16 * 1024;

/// Which stream a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// What follows the text in an object.
fn tail(stream: Stream) -> String {
    format!(",\"stream\":\"{}\",\"time\":\"{}\"}}\n", stream.name(), jiff::Timestamp::now())
}

/// The writer. It never fails its caller: a full disk costs log lines, which are counted, never the
/// container.
#[derive(Debug)]
pub struct LogFile {
    plan: LogPlan,
    file: File,
    /// Bytes in the file.
    size: u64,
    /// Unfinished last lines of stdout and stderr.
    partial: [Vec<u8>; 2],
    buffer: Vec<u8>,
    /// Bytes lost since the last success.
    lost: u64,
}

impl LogFile {
    /// Opens the log for appending.
    pub fn open(plan: &LogPlan) -> io::Result<Self> {
        let file = append_to(&plan.path)?;
        let size = file.metadata()?.len();
        Ok(Self { plan: plan.clone(), file, size, partial: [Vec::new(), Vec::new()], buffer: Vec::new(), lost: 0 })
    }

    /// Takes what the container wrote; whole lines go to the file at once.
    pub fn write(&mut self, stream: Stream, bytes: &[u8]) {
        let tail = tail(stream);
        let mut rest = bytes;
        let mut pending = std::mem::take(&mut self.partial[stream as usize]);
        if !pending.is_empty()
            && let Some(end) = end_of_line(rest)
        {
            pending.extend_from_slice(&rest[..end]);
            rest = &rest[end..];
            self.push(&pending, &tail);
            pending.clear();
        }
        while pending.is_empty()
            && let Some(end) = end_of_line(rest)
        {
            self.push(&rest[..end], &tail);
            rest = &rest[end..];
        }
        pending.extend_from_slice(rest);
        // More than a piece is not kept, the end of the line may be far.
        let whole = pending.len().saturating_sub(1) / PIECE_MAX * PIECE_MAX;
        self.push(&pending[..whole], &tail);
        pending.drain(..whole);
        self.partial[stream as usize] = pending;
        self.flush();
    }

    /// Writes unfinished lines, when the container has ended.
    pub fn finish(&mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            let pending = std::mem::take(&mut self.partial[stream as usize]);
            self.push(&pending, &tail(stream));
        }
        self.flush();
    }

    /// Adds a line, or a part of one.
    fn push(&mut self, line: &[u8], tail: &str) {
        for piece in line.chunks(PIECE_MAX) {
            let start = self.buffer.len();
            self.buffer.extend_from_slice(b"{\"log\":");
            match serde_json::to_writer(&mut self.buffer, &String::from_utf8_lossy(piece)) {
                Ok(()) => self.buffer.extend_from_slice(tail.as_bytes()),
                Err(_) => self.buffer.truncate(start),
            }
        }
    }

    /// Writes the buffer's lines, to as many files as it takes.
    fn flush(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        let mut rest = &buffer[..];
        while !rest.is_empty() {
            // A directory in which nothing can be made still has a file to go on with.
            let stuck = self.is_full() && self.rotate().is_err();
            let (now, later) = rest.split_at(if stuck { rest.len() } else { self.fitting(rest) });
            self.append(now);
            rest = later;
        }
        self.buffer = buffer;
        self.buffer.clear();
    }

    fn is_full(&self) -> bool {
        self.plan.max_size.is_some_and(|limit| self.size >= limit)
    }

    /// How many bytes of whole lines go to the current file: up to and with the line that fills it,
    /// as docker does it.
    fn fitting(&self, lines: &[u8]) -> usize {
        let Some(limit) = self.plan.max_size else { return lines.len() };
        let room = usize::try_from(limit.saturating_sub(self.size)).unwrap_or(usize::MAX);
        let filling = lines.get(room.saturating_sub(1)..).unwrap_or_default();
        let end = filling.iter().position(|byte| *byte == b'\n');
        end.map_or(lines.len(), |end| room.saturating_sub(1) + end + 1)
    }

    /// Begins a new file. It is made before another loses its name, as a full disk may not let it.
    fn rotate(&mut self) -> io::Result<()> {
        let path = &self.plan.path;
        let next = with_suffix(path, "new");
        remove_if_present(&next)?;
        let file = append_to(&next)?;
        for number in (1..self.plan.max_file.saturating_sub(1)).rev() {
            rename_if_present(&numbered(path, number), &numbered(path, number + 1))?;
        }
        if self.plan.max_file > 1 {
            rename_if_present(path, &numbered(path, 1))?;
        }
        std::fs::rename(&next, path)?;
        (self.file, self.size) = (file, 0);
        Ok(())
    }

    fn append(&mut self, lines: &[u8]) {
        if self.lost > 0 && self.write_note().is_ok() {
            self.lost = 0;
        }
        if self.lost > 0 || self.write_whole(lines).is_err() {
            self.lost += lines.len() as u64;
        }
    }

    fn write_note(&mut self) -> io::Result<()> {
        let text = format!("[rbox: {} bytes of log lost: no space]\\n", self.lost);
        let line = format!("{{\"log\":\"{text}\"{}", tail(Stream::Stderr));
        self.write_whole(line.as_bytes())
    }

    /// Writes all or, as half a line would spoil the next one, nothing.
    fn write_whole(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.file.write(rest) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    let written = (bytes.len() - rest.len()) as u64;
                    let length = self.file.metadata()?.len();
                    self.file.set_len(length.saturating_sub(written))?;
                    return Err(error);
                }
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => rest = &rest[count..],
            }
        }
        self.size += bytes.len() as u64;
        Ok(())
    }
}

/// Where the first line ends, behind its newline.
fn end_of_line(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|&byte| byte == b'\n').map(|position| position + 1)
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    with_suffix(path, &number.to_string())
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".");
    name.push(suffix);
    name.into()
}

fn rename_if_present(from: &Path, to: &Path) -> io::Result<()> {
    absence_is_fine(std::fs::rename(from, to))
}

fn remove_if_present(path: &Path) -> io::Result<()> {
    absence_is_fine(std::fs::remove_file(path))
}

fn absence_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &Path) -> Vec<(String, String)> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines()
            .map(|line| {
                let value: serde_json::Value = serde_json::from_str(line).unwrap();
                (value["log"].as_str().unwrap().to_owned(), value["stream"].as_str().unwrap().to_owned())
            })
            .collect()
    }

    struct Log {
        directory: tempfile::TempDir,
        file: LogFile,
    }

    fn log(max_size: Option<u64>, max_file: u32) -> Log {
        let directory = tempfile::tempdir().unwrap();
        let plan = LogPlan { path: directory.path().join("log"), max_size, max_file };
        Log { file: LogFile::open(&plan).unwrap(), directory }
    }

    impl Log {
        fn path(&self, name: &str) -> PathBuf {
            self.directory.path().join(name)
        }

        /// What the named files hold, each one's lines joined; empty for one that is absent.
        fn texts<const N: usize>(&self, names: [&str; N]) -> [String; N] {
            let text = |name: &str| match self.path(name).exists() {
                true => lines(&self.path(name)).into_iter().map(|line| line.0).collect(),
                false => String::new(),
            };
            names.map(text)
        }

        fn names(&self) -> Vec<String> {
            let entries = std::fs::read_dir(self.directory.path()).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        }
    }

    #[test]
    fn lines_are_joined_cut_and_kept_apart_by_stream() {
        let Log { directory, file: mut log } = log(None, 1);
        log.write(Stream::Stdout, b"one\ntw");
        log.write(Stream::Stderr, b"err\n");
        log.write(Stream::Stdout, b"o\nthree");
        log.write(Stream::Stdout, &vec![b'x'; 40_000]);
        log.write(Stream::Stderr, b"bad \xff utf8 \"\\\x1b\n");
        log.finish();
        let lines = lines(&directory.path().join("log"));
        let stdout: Vec<&str> = lines.iter().filter(|l| l.1 == "stdout").map(|l| l.0.as_str()).collect();
        assert_eq!(stdout[..2], ["one\n", "two\n"]);
        assert_eq!(stdout[2..].concat(), format!("three{}", "x".repeat(40_000)));
        assert!(stdout.iter().all(|line| line.len() <= PIECE_MAX));
        let stderr: Vec<&str> = lines.iter().filter(|l| l.1 == "stderr").map(|l| l.0.as_str()).collect();
        assert_eq!(stderr, ["err\n", "bad \u{fffd} utf8 \"\\\u{1b}\n"]);
    }

    #[test]
    fn full_files_make_room_and_the_oldest_goes() {
        let mut log = log(Some(1), 3);
        for text in ["a\n", "b\n", "c\n", "d\n"] {
            log.file.write(Stream::Stdout, text.as_bytes());
        }
        assert_eq!(log.texts(["log", "log.1", "log.2"]), ["d\n", "c\n", "b\n"]);
        assert_eq!(log.names(), ["log", "log.1", "log.2"]);
    }

    #[test]
    fn one_file_begins_anew() {
        let mut log = log(Some(1), 1);
        log.file.write(Stream::Stdout, b"a\nb\n");
        assert_eq!((log.texts(["log"]), log.names()), (["b\n".to_owned()], vec!["log".to_owned()]));
    }

    #[test]
    fn a_burst_is_spread_line_by_line() {
        let mut log = log(Some(1000), 1000);
        let text: String = (0..500).map(|number| format!("line {number}\n")).collect();
        for part in text.as_bytes().chunks(700) {
            log.file.write(Stream::Stdout, part);
        }
        log.file.finish();
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
        let mut log = log(Some(200), 2);
        log.file.write(Stream::Stdout, &[b"x".repeat(300), b"\n".to_vec()].concat());
        let mut again = LogFile::open(&log.file.plan).unwrap();
        again.write(Stream::Stdout, b"y\n");
        assert_eq!(log.texts(["log"]), ["y\n"]);
    }

    #[test]
    fn without_a_new_file_the_old_one_goes_on() {
        let mut log = log(Some(1), 2);
        std::fs::create_dir(log.path("log.new")).unwrap();
        log.file.write(Stream::Stdout, b"a\nb\n");
        log.file.write(Stream::Stdout, b"c\n");
        assert_eq!(log.texts(["log", "log.1"]), ["a\nb\nc\n".to_owned(), String::new()]);
        std::fs::remove_dir(log.path("log.new")).unwrap();
        log.file.write(Stream::Stdout, b"d\n");
        assert_eq!(log.texts(["log", "log.1"]), ["d\n", "a\nb\nc\n"]);
    }

    #[test]
    fn what_does_not_fit_on_the_disk_is_counted() {
        let mut log = log(None, 1);
        log.file.write(Stream::Stdout, b"a\n");
        // Every write to it fails as on a full disk.
        let good = std::mem::replace(&mut log.file.file, append_to(Path::new("/dev/full")).unwrap());
        log.file.write(Stream::Stdout, b"b\n");
        assert!(log.file.lost > 0);
        log.file.file = good;
        log.file.write(Stream::Stdout, b"c\n");
        let text = log.texts(["log"])[0].clone();
        assert!(text.starts_with("a\n[rbox: ") && text.ends_with(" bytes of log lost: no space]\nc\n"), "{text}");
        assert_eq!(log.file.size, std::fs::metadata(log.path("log")).unwrap().len());
    }
}
