//! The decompressed tar stream: a second thread decompresses ahead while the applier works, and
//! every byte is hashed on its way, whether the archive uses it or not.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use anyhow::{Context, Result, anyhow};
use flate2::bufread::MultiGzDecoder;
use sha2::{Digest as _, Sha256};

use super::job::{Compression, UnpackLimits};
use super::sparse;
use crate::spec::digest::Digest;
use crate::store::metered::Counted;

/// Decompressed bytes that travel at once.
const CHUNK: usize = 256 << 10;
/// Room before a chunk's data for what was left of the one before it, so that a header that
/// straddles two chunks is made whole without moving a chunk.
const HEADROOM: usize = 4 << 10;
/// Chunks that wait for the applier.
const QUEUE: usize = 4;
/// The largest window a zstd frame may ask for: 64 MiB (RFC 8878 asks decoders for 8 MiB).
const ZSTD_WINDOW_LOG: u32 = 26;

/// A buffer that crosses between the threads: `HEADROOM` free bytes, then data up to `end`.
struct Chunk {
    bytes: Vec<u8>,
    end: usize,
}

/// The applier's end of the stream.
pub(super) struct Stream {
    chunks: Receiver<io::Result<Chunk>>,
    spent: SyncSender<Vec<u8>>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    hasher: Sha256,
}

impl Stream {
    /// Starts to decompress `input`. The thread ends with the input or once the stream is dropped.
    pub fn start(input: impl Read + Send + 'static, compression: Compression, limits: UnpackLimits) -> Result<Self> {
        let (send_chunk, chunks) = sync_channel(QUEUE);
        let (spent, reusable) = sync_channel(QUEUE + 2);
        std::thread::Builder::new()
            .name("decompress".into())
            .spawn(move || produce(input, compression, &limits, &send_chunk, &reusable))
            .context("start the decompressing thread")?;
        Ok(Self { chunks, spent, buffer: Vec::new(), start: 0, end: 0, hasher: Sha256::new() })
    }

    /// What is here and not yet consumed.
    pub fn available(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Marks bytes of [`Stream::available`] as used.
    pub fn consume(&mut self, count: usize) {
        self.start = self.end.min(self.start + count);
    }

    /// Waits until at least `count` bytes are available; false when the stream ends before.
    pub fn fill(&mut self, count: usize) -> Result<bool> {
        while self.end - self.start < count {
            if !self.next_chunk()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reads whatever follows, and returns the digest of the whole stream.
    pub fn finish(mut self) -> Result<Digest> {
        self.start = self.end;
        while self.next_chunk()? {
            self.start = self.end;
        }
        Ok(Digest::from_sha256(self.hasher.finalize().into()))
    }

    /// Appends the next chunk to what is available; false at the end.
    fn next_chunk(&mut self) -> Result<bool> {
        // The sender is gone only after it sent everything or its error.
        let Ok(message) = self.chunks.recv() else { return Ok(false) };
        let mut chunk = message.map_err(|error| anyhow!("{error}"))?;
        self.hasher.update(&chunk.bytes[HEADROOM..chunk.end]);
        let rest = self.end - self.start;
        if rest <= HEADROOM {
            chunk.bytes[HEADROOM - rest..HEADROOM].copy_from_slice(&self.buffer[self.start..self.end]);
            let spent = std::mem::replace(&mut self.buffer, chunk.bytes);
            (self.start, self.end) = (HEADROOM - rest, chunk.end);
            self.recycle(spent);
        } else {
            self.buffer.truncate(self.end);
            self.buffer.drain(..self.start);
            self.buffer.extend_from_slice(&chunk.bytes[HEADROOM..chunk.end]);
            (self.start, self.end) = (0, self.buffer.len());
            self.recycle(chunk.bytes);
        }
        Ok(true)
    }

    fn recycle(&self, spent: Vec<u8>) {
        if spent.len() == HEADROOM + CHUNK {
            // A full queue or a finished thread has no use for it.
            let _ = self.spent.try_send(spent);
        }
    }
}

/// The thread: decompresses, keeps the limits, sends chunks.
fn produce(
    input: impl Read,
    compression: Compression,
    limits: &UnpackLimits,
    chunks: &SyncSender<io::Result<Chunk>>,
    reusable: &Receiver<Vec<u8>>,
) {
    let compressed = Rc::new(Cell::new(0));
    let input = BufReader::with_capacity(CHUNK, Counted { input, count: Rc::clone(&compressed) });
    let mut output = match decoder(input, compression) {
        Ok(output) => output,
        Err(error) => return drop(chunks.send(Err(error))),
    };
    let (mut total, mut dense) = (0, 0);
    loop {
        let bytes = reusable.try_recv().unwrap_or_else(|_| vec![0; HEADROOM + CHUNK]);
        let message = read_chunk(&mut output, bytes).and_then(|chunk| {
            total += (chunk.end - HEADROOM) as u64;
            dense += sparse::dense(&chunk.bytes[HEADROOM..chunk.end]);
            within(limits, compressed.get(), total, dense).map(|()| chunk)
        });
        let last = message.as_ref().map_or(true, |chunk| chunk.end == HEADROOM);
        // The applier is gone when it failed: nothing is left to do.
        if chunks.send(message).is_err() || last {
            return;
        }
    }
}

/// What `input` holds.
pub(in crate::store) fn decoder<'a>(
    mut input: impl BufRead + 'a,
    declared: Compression,
) -> io::Result<Box<dyn Read + 'a>> {
    // Media types are wrong in the field, and other tools go by the first bytes, too. What comes out
    // is held against the image's config in any case.
    Ok(match Compression::of(input.fill_buf()?).unwrap_or(declared) {
        Compression::Gzip => Box::new(MultiGzDecoder::new(input)),
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
        Compression::None => Box::new(input),
    })
}

/// Fills a chunk as far as the stream goes.
fn read_chunk(output: &mut dyn Read, mut bytes: Vec<u8>) -> io::Result<Chunk> {
    let mut end = HEADROOM;
    while end < bytes.len() {
        match output.read(&mut bytes[end..]) {
            Ok(0) => break,
            Ok(count) => end += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(io::Error::new(error.kind(), format!("the layer is damaged: {error}"))),
        }
    }
    Ok(Chunk { bytes, end })
}

fn within(limits: &UnpackLimits, compressed: u64, total: u64, dense: u64) -> io::Result<()> {
    if total > limits.bytes {
        return Err(io::Error::other(format!(
            "the layer holds more than the limit of {} bytes (layer-max-size)",
            limits.bytes
        )));
    }
    if dense > limits.ratio_floor && dense / limits.ratio.max(1) > compressed {
        let UnpackLimits { ratio, ratio_floor, .. } = limits;
        return Err(io::Error::other(format!(
            "the layer unpacks to more than the limit of {ratio} times its compressed size (and {ratio_floor} bytes)"
        )));
    }
    Ok(())
}
