//! gzip by blocks: each is deflated on some thread, with the end of the one before as its
//! dictionary, and closed at a byte boundary; put together they are one member of one stream.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use flate2::{Compress, Compression, Crc, FlushCompress, Status};

/// Input bytes of one block.
const BLOCK: usize = 256 << 10;
/// How far back deflate refers.
const WINDOW: usize = 32 << 10;
/// No name, no time, an unknown system (RFC 1952, 2.3).
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// A gzip stream being written.
pub(super) struct Writer<W> {
    output: W,
    jobs: SyncSender<Job>,
    /// Blocks that are being compressed, in their order.
    waiting: VecDeque<Receiver<io::Result<Block>>>,
    most_waiting: usize,
    /// `dictionary` bytes of the block before, then the bytes of this one.
    buffer: Vec<u8>,
    dictionary: usize,
    crc: Crc,
    started: bool,
}

/// One block on its way to a thread.
struct Job {
    buffer: Vec<u8>,
    dictionary: usize,
    last: bool,
    answer: SyncSender<io::Result<Block>>,
}

/// One compressed block.
struct Block {
    bytes: Vec<u8>,
    crc: Crc,
}

impl<W: Write> Writer<W> {
    /// Starts the threads; they end with the writer.
    pub fn new(output: W, level: u32, threads: usize) -> io::Result<Self> {
        let threads = threads.max(1);
        let (jobs, queue) = sync_channel(threads);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..threads {
            let queue = Arc::clone(&queue);
            std::thread::Builder::new().name("compress".into()).spawn(move || work(&queue, level))?;
        }
        Ok(Self {
            output,
            jobs,
            waiting: VecDeque::new(),
            most_waiting: 2 * threads,
            buffer: Vec::with_capacity(WINDOW + BLOCK),
            dictionary: 0,
            crc: Crc::new(),
            started: false,
        })
    }

    /// Takes what fits into the current block.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Only once more follows is it known that a full block is not the last.
        if self.buffer.len() == self.dictionary + BLOCK && !bytes.is_empty() {
            self.send(false)?;
        }
        let count = bytes.len().min(self.dictionary + BLOCK - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    /// Compresses the rest, writes the trailer and gives the output back.
    pub fn finish(mut self) -> io::Result<W> {
        self.send(true)?;
        while !self.waiting.is_empty() {
            self.receive()?;
        }
        // The length is taken modulo 2^32, which is what the sum counts.
        self.output.write_all(&self.crc.sum().to_le_bytes())?;
        self.output.write_all(&self.crc.amount().to_le_bytes())?;
        Ok(self.output)
    }

    fn send(&mut self, last: bool) -> io::Result<()> {
        if self.waiting.len() == self.most_waiting {
            self.receive()?;
        }
        let mut next = Vec::with_capacity(WINDOW + BLOCK);
        next.extend_from_slice(&self.buffer[self.buffer.len().saturating_sub(WINDOW)..]);
        let dictionary = std::mem::replace(&mut self.dictionary, next.len());
        let buffer = std::mem::replace(&mut self.buffer, next);
        let (answer, waiting) = sync_channel(1);
        self.jobs.send(Job { buffer, dictionary, last, answer }).map_err(|_| gone())?;
        self.waiting.push_back(waiting);
        Ok(())
    }

    /// Waits for the oldest block and writes it.
    fn receive(&mut self) -> io::Result<()> {
        let Some(waiting) = self.waiting.pop_front() else { return Ok(()) };
        let block = waiting.recv().map_err(|_| gone())??;
        if !std::mem::replace(&mut self.started, true) {
            self.output.write_all(&HEADER)?;
        }
        self.crc.combine(&block.crc);
        self.output.write_all(&block.bytes)
    }
}

fn gone() -> io::Error {
    io::Error::other("a compressing thread ended early")
}

/// A thread: compresses blocks until the writer is gone.
fn work(queue: &Mutex<Receiver<Job>>, level: u32) {
    loop {
        // The lock is held while waiting: whoever holds it takes the next block.
        let job = queue.lock().ok().and_then(|queue| queue.recv().ok());
        let Some(job) = job else { return };
        // A writer that gave up needs no answer.
        let _ = job.answer.send(compress(level, &job));
    }
}

fn compress(level: u32, job: &Job) -> io::Result<Block> {
    let (dictionary, input) = job.buffer.split_at(job.dictionary);
    let mut crc = Crc::new();
    crc.update(input);
    // One that was used before finds other matches: its window is not cleared, and hashes at the end
    // of the input look beyond it.
    let mut deflate = Compress::new(Compression::new(level), false);
    if !dictionary.is_empty() {
        deflate.set_dictionary(dictionary).map_err(io::Error::other)?;
    }
    let flush = if job.last { FlushCompress::Finish } else { FlushCompress::Sync };
    let mut bytes = Vec::with_capacity(input.len() + input.len() / 64 + 64);
    loop {
        let done = usize::try_from(deflate.total_in()).unwrap_or(input.len()).min(input.len());
        let status = deflate.compress_vec(&input[done..], &mut bytes, flush).map_err(io::Error::other)?;
        // Room that is left says that nothing is held back (zlib.h, deflate).
        let complete = if job.last { status == Status::StreamEnd } else { bytes.len() < bytes.capacity() };
        if complete {
            return Ok(Block { bytes, crc });
        }
        bytes.reserve(BLOCK / 4);
    }
}
