//! A file by its address, for `import`: the same trust, proxies and rules for redirects as for a
//! registry, nothing sent along.

use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use reqwest::header::{ETAG, HeaderName, HeaderValue, IF_NONE_MATCH, LAST_MODIFIED, LOCATION};
use reqwest::{Response, StatusCode, Url};
use tokio::runtime::Runtime;

use super::client::Access;
use super::error::{RegistryError, printable};
use super::retry::Patience;
use super::{endpoint, trust};

const REDIRECTS_MAX: usize = 5;
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// What an address answers with, as it arrives.
#[derive(Debug)]
pub struct Download {
    runtime: Runtime,
    response: Response,
    stall: Duration,
    chunk: Vec<u8>,
    used: usize,
}

/// Whether a text is an address that [`open`] takes.
pub fn is_url(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

/// Asks for the file at `url`.
pub fn open(url: &str, patience: &Patience) -> Result<Download> {
    open_unless(url, None, patience)
}

/// The same unless the file is still the one that `etag` names; see [`Download::is_unchanged`].
pub fn open_unless(url: &str, etag: Option<&str>, patience: &Patience) -> Result<Download> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let response = runtime.block_on(request(url, etag, patience));
    let response = response.with_context(|| format!("download {}", printable(url)))?;
    Ok(Download { runtime, response, stall: patience.stall, chunk: Vec::new(), used: 0 })
}

async fn request(text: &str, etag: Option<&str>, patience: &Patience) -> Result<Response> {
    let mut url = Url::parse(text).map_err(|error| anyhow!("not an address: {error}"))?;
    let access = Access::default();
    let plain = url.scheme() == "http";
    for _ in 0..=REDIRECTS_MAX {
        let host = endpoint::authority(&url);
        endpoint::check_resolver(&url, Path::new(RESOLV_CONF)).map_err(in_words)?;
        let clients = trust::http_clients(&host, &access, std::slice::from_ref(&url), patience).map_err(in_words)?;
        let mut sent = clients.for_home(false).get(url.clone());
        if let Some(etag) = etag.and_then(|etag| HeaderValue::from_str(etag).ok()) {
            sent = sent.header(IF_NONE_MATCH, etag);
        }
        let sent = sent.send();
        let response = tokio::time::timeout(patience.answer, sent).await;
        let response = response.map_err(|_| anyhow!("{host} does not answer within {:?}", patience.answer))?;
        let response = response.map_err(|error| in_words(RegistryError::transport(&host, &error)))?;
        if response.status().is_success() || etag.is_some() && response.status() == StatusCode::NOT_MODIFIED {
            return Ok(response);
        }
        if !response.status().is_redirection() {
            bail!("{host} answered {}", response.status());
        }
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        url = endpoint::redirect(&url, location.unwrap_or("//"), plain).map_err(in_words)?;
    }
    bail!("more than {REDIRECTS_MAX} redirects")
}

impl Download {
    /// The file is the one whose tag was given; nothing else comes.
    pub fn is_unchanged(&self) -> bool {
        self.response.status() == StatusCode::NOT_MODIFIED
    }

    /// What names this content at its address.
    pub fn etag(&self) -> Option<&str> {
        self.header(&ETAG)
    }

    /// When it was last changed, in seconds since 1970.
    pub fn last_modified(&self) -> Option<i64> {
        let text = self.header(&LAST_MODIFIED)?;
        // RFC 9110's form of a date is one of RFC 2822 with the zone GMT.
        let time = jiff::fmt::rfc2822::parse(text).ok()?;
        Some(time.timestamp().as_second())
    }

    fn header(&self, name: &HeaderName) -> Option<&str> {
        self.response.headers().get(name).and_then(|value| value.to_str().ok())
    }
}

/// What has no registry in it must not speak of one.
fn in_words(error: RegistryError) -> anyhow::Error {
    match error {
        RegistryError::Transport { host, why, .. } => anyhow!("cannot reach {host}: {why}"),
        other => other.into(),
    }
}

impl Read for Download {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.used == self.chunk.len() {
            let next = async { tokio::time::timeout(self.stall, self.response.chunk()).await };
            let chunk = self.runtime.block_on(next);
            let chunk = chunk.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the download stalls"))?;
            match chunk.map_err(|_| io::Error::new(io::ErrorKind::UnexpectedEof, "the download broke off"))? {
                None => return Ok(0),
                Some(bytes) => (self.chunk, self.used) = (bytes.to_vec(), 0),
            }
        }
        let count = (self.chunk.len() - self.used).min(buffer.len());
        buffer[..count].copy_from_slice(&self.chunk[self.used..self.used + count]);
        self.used += count;
        Ok(count)
    }
}
