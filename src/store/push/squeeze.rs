//! A layer compressed, or compressed in another way, into a file of its own.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::spec::digest::Digest;
use crate::store::Store;
use crate::store::compress::{Codec, Compressor};
use crate::store::metered::Digested;
use crate::store::staging::Staging;
use crate::store::unpack::Compression;

const COPY_BYTES: usize = 256 << 10;
const FILE: &str = "blob";
/// The largest window a zstd frame may ask for, as when layers are unpacked.
const ZSTD_WINDOW_LOG: u32 = 26;

/// A compressed layer; its file goes with it.
#[derive(Debug)]
pub struct Squeezed {
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    staging: Staging,
}

impl Squeezed {
    /// Where its bytes are.
    pub fn path(&self) -> PathBuf {
        self.staging.path().join(FILE)
    }
}

/// Compresses what `from` holds in the form `compression`; `done` counts the bytes of `from`.
pub fn squeeze(
    store: &Store,
    from: File,
    compression: Compression,
    codec: Codec,
    done: &AtomicU64,
) -> io::Result<Squeezed> {
    let staging = Staging::create(store)?;
    let file = File::create_new(staging.path().join(FILE))?;
    let counted = Counted { from, done };
    let mut input: Box<dyn Read> = match compression {
        Compression::None => Box::new(counted),
        Compression::Gzip => {
            Box::new(flate2::bufread::MultiGzDecoder::new(BufReader::with_capacity(COPY_BYTES, counted)))
        }
        Compression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::new(counted)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG)?;
            Box::new(decoder)
        }
    };
    let mut compressor = Compressor::new(codec, BufWriter::with_capacity(COPY_BYTES, Digested::new(file)))?;
    let mut buffer = vec![0; COPY_BYTES];
    loop {
        match input.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => compressor.write_all(&buffer[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let written = compressor.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
    Ok(Squeezed { digest: written.digest(), size: written.size(), staging })
}

struct Counted<'a> {
    from: File,
    done: &'a AtomicU64,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.done.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}
