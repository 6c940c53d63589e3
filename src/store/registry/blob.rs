//! Blob bodies: opened at an offset, counted, and given up when they stall.

use std::time::{Duration, Instant};

use reqwest::header::CONTENT_RANGE;
use reqwest::{Response, StatusCode};

use super::client::{Client, Target};
use super::error::{Fault, RegistryError};
use super::manifest::Descriptor;

/// Fewer bytes than this in [`Patience::stall`](super::Patience) of waiting is a stall.
pub const STALL_BYTES: u64 = 1024;

/// An answer to a request for a blob from an offset on.
#[derive(Debug)]
pub enum Opened {
    /// Bytes from the offset on.
    Body(Body),
    /// The registry sends from 0, or cannot serve the offset: begin again. Holds the body if there
    /// is one.
    FromStart(Option<Body>),
}

/// The rest of a blob.
#[derive(Debug)]
pub struct Body {
    response: Response,
    host: String,
    blob: Descriptor,
    left: u64,
    stall: Duration,
    waited: Duration,
    since: u64,
}

/// Asks for a blob from `offset` on; one request, no retry.
pub async fn open(client: &Client, blob: Descriptor, offset: u64) -> Result<Opened, RegistryError> {
    let response = client.get(&Target::Blob(blob.digest, offset), "*/*").await?;
    let wrong = |why: String| RegistryError::Blob { digest: blob.digest, why };
    match response.status() {
        StatusCode::OK if offset > 0 => Ok(Opened::FromStart(Some(Body::new(client, response, blob, 0)?))),
        StatusCode::OK => Ok(Opened::Body(Body::new(client, response, blob, 0)?)),
        StatusCode::PARTIAL_CONTENT if offset > 0 => {
            let range = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok());
            // A registry that sends another range than asked is not asked for ranges again.
            if range.is_some_and(|range| is_range(range, offset, blob.size)) {
                Ok(Opened::Body(Body::new(client, response, blob, offset)?))
            } else {
                Ok(Opened::FromStart(None))
            }
        }
        StatusCode::RANGE_NOT_SATISFIABLE if offset > 0 => Ok(Opened::FromStart(None)),
        status => Err(wrong(format!("the registry answered {status} to a request for all of it"))),
    }
}

/// Asks for a whole blob; one request, no retry.
pub async fn open_all(client: &Client, blob: Descriptor) -> Result<Body, RegistryError> {
    match open(client, blob, 0).await? {
        Opened::Body(body) | Opened::FromStart(Some(body)) => Ok(body),
        Opened::FromStart(None) => {
            Err(RegistryError::Blob { digest: blob.digest, why: "it cannot be served".to_owned() })
        }
    }
}

/// Whether a Content-Range is exactly from `offset` to the end of `size` bytes (RFC 9110, 14.4).
fn is_range(text: &str, offset: u64, size: u64) -> bool {
    let exact = |total: &str| text.trim() == format!("bytes {offset}-{}/{total}", size.saturating_sub(1));
    exact(&size.to_string()) || exact("*")
}

impl Body {
    fn new(client: &Client, response: Response, blob: Descriptor, offset: u64) -> Result<Self, RegistryError> {
        let left = blob.size.saturating_sub(offset);
        if let Some(length) = response.content_length()
            && length != left
        {
            let why = format!("the registry announced {length} bytes, {left} were expected");
            return Err(RegistryError::Blob { digest: blob.digest, why });
        }
        let stall = client.patience().stall;
        Ok(Self { response, host: client.host(), blob, left, stall, waited: Duration::ZERO, since: 0 })
    }

    /// The next bytes; None after the last one that belongs to the blob.
    pub async fn chunk(&mut self) -> Result<Option<impl AsRef<[u8]> + use<>>, RegistryError> {
        let patience = self.stall.saturating_sub(self.waited);
        let started = Instant::now();
        let Ok(received) = tokio::time::timeout(patience, self.response.chunk()).await else {
            let why = format!("fewer than {STALL_BYTES} bytes within {:?}", self.stall);
            return Err(RegistryError::timeout(&self.host, &why));
        };
        self.waited += started.elapsed();
        let Some(bytes) = received.map_err(|error| RegistryError::transport(&self.host, &error))? else {
            return if self.left == 0 { Ok(None) } else { Err(self.truncated()) };
        };
        self.count(bytes.len() as u64)?;
        Ok(Some(bytes))
    }

    fn count(&mut self, bytes: u64) -> Result<(), RegistryError> {
        self.left = self.left.checked_sub(bytes).ok_or_else(|| RegistryError::Blob {
            digest: self.blob.digest,
            why: format!("it is longer than the {} bytes expected", self.blob.size),
        })?;
        self.since += bytes;
        if self.since >= STALL_BYTES {
            (self.waited, self.since) = (Duration::ZERO, 0);
        }
        Ok(())
    }

    fn truncated(&self) -> RegistryError {
        let why = format!("the connection ended {} bytes early", self.left);
        RegistryError::Transport { host: self.host.clone(), fault: Fault::Broken, why }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_range_counts() {
        for (text, good) in [
            ("bytes 5-9/10", true),
            ("bytes 5-9/*", true),
            ("bytes 4-9/10", false),
            ("bytes 5-8/10", false),
            ("bytes 5-9/11", false),
            ("bytes 0-9/10", false),
            ("bytes */10", false),
            ("5-9/10", false),
            ("", false),
        ] {
            assert_eq!(is_range(text, 5, 10), good, "{text:?}");
        }
    }
}
