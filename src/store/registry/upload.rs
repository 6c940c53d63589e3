//! Blobs and manifests on their way to a registry (distribution spec, push): asked for first,
//! mounted from another repository, sent in one piece, or in several where the registry wants that,
//! and gone on with after a broken connection.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream;
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RANGE};
use reqwest::{Method, Response, StatusCode, Url};

use super::blob::{self, Opened};
use super::client::Client;
use super::error::{Fault, RegistryError};
use super::manifest::Descriptor;
use super::repository::{Failed, Repository};
use super::retry::{Retry, patiently};
use super::session::{Chunks, Payload};

/// Bytes that are read and handed on at a time.
const CHUNK: usize = 256 << 10;
/// What is sent in one request to a registry that does not take a blob whole.
const PIECE: u64 = 32 << 20;
const PIECE_MIN: u64 = 1 << 20;
/// How often the progress of a request is looked at.
const TICK: Duration = Duration::from_millis(100);
/// How many repositories are tried for a mount.
const MOUNTS_MAX: usize = 5;
/// Why a stream cannot be sent a second time.
const SPENT: &str = "the other registry's answer was used";
/// An upload that got this much further is not a failing one.
const PROGRESS_BYTES: u64 = 1 << 20;

/// Where a blob's bytes come from.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    File(&'a Path),
    /// Another repository, at the same registry or elsewhere.
    Remote(&'a Client),
}

/// What happened meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// So many bytes of the blob were sent.
    Sent(u64),
    Retrying(Duration),
}

/// How a blob got there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Existed,
    /// The repository it was mounted from.
    Mounted(String),
    Uploaded,
}

/// One blob for one repository.
#[derive(Clone, Copy, Debug)]
pub struct Upload<'a> {
    pub to: &'a Repository,
    pub blob: Descriptor,
    pub content: Content<'a>,
    /// Repositories of the same registry that should have it.
    pub mounts: &'a [String],
}

/// An upload that the registry keeps open.
#[derive(Clone, Debug)]
struct Session {
    url: Url,
    /// The registry wants no smaller pieces than this (OCI-Chunk-Min-Length).
    piece_min: u64,
}

/// How far an upload is, as far as we know.
struct State {
    session: Option<Session>,
    offset: u64,
    /// None: all in one request.
    piece: Option<u64>,
    /// A refusal of the token by the registry was met since the last progress.
    refused: bool,
}

/// What a body in flight tells.
#[derive(Debug, Default)]
struct Flight {
    sent: AtomicU64,
    failed: Mutex<Option<String>>,
}

impl Upload<'_> {
    /// Brings the blob there unless it is there. `tell` hears how that goes.
    pub async fn run(&self, tell: &dyn Fn(Event)) -> Result<Outcome, RegistryError> {
        let patience = self.to.patience();
        let retrying = |pause, _: &str| tell(Event::Retrying(pause));
        if patiently(patience, retrying, async || self.to.has_blob(self.blob.digest).await).await? {
            return Ok(Outcome::Existed);
        }
        match patiently(patience, retrying, async || self.begin_or_mount().await).await? {
            Begun::Mounted(from) => Ok(Outcome::Mounted(from)),
            Begun::Session(session) => self.transfer(session, tell).await.map(|()| Outcome::Uploaded),
        }
    }

    async fn begin_or_mount(&self) -> Result<Begun, RegistryError> {
        match self.try_mounts().await? {
            Some(begun) => Ok(begun),
            None => self.begin(None).await,
        }
    }

    /// Asks the repositories in turn. The last one that does not have the blob leaves an upload to go
    /// on with.
    async fn try_mounts(&self) -> Result<Option<Begun>, RegistryError> {
        let candidates = &self.mounts[..self.mounts.len().min(MOUNTS_MAX)];
        for (index, from) in candidates.iter().enumerate() {
            match self.begin(Some(from)).await {
                Ok(Begun::Session(session)) if index + 1 < candidates.len() => self.abandon(session).await,
                Ok(begun) => return Ok(Some(begun)),
                // Somebody else's repository, perhaps: then there is nothing to mount.
                Err(RegistryError::PushDenied { .. } | RegistryError::Status { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Mounts the blob from another repository, and tells from which; sends nothing.
    pub async fn mount(&self) -> Result<Option<String>, RegistryError> {
        match self.try_mounts().await? {
            Some(Begun::Mounted(from)) => Ok(Some(from)),
            Some(Begun::Session(session)) => {
                self.abandon(session).await;
                Ok(None)
            }
            None => Ok(None),
        }
    }

    /// A registry that does not forget an upload when told does it later by itself.
    async fn abandon(&self, session: Session) {
        let _ = self.to.send(Method::DELETE, session.url, Payload::Empty).await;
    }

    /// Opens an upload, or mounts the blob from another repository.
    async fn begin(&self, from: Option<&str>) -> Result<Begun, RegistryError> {
        let response = match from {
            None => self.to.send(Method::POST, self.to.url("blobs/uploads/")?, Payload::Bytes(&[])).await?,
            Some(from) => self.to.mount(self.blob.digest, from).await?,
        };
        match (response.status(), from) {
            (StatusCode::CREATED, Some(from)) => Ok(Begun::Mounted(from.to_owned())),
            (StatusCode::ACCEPTED, _) => {
                let (url, piece_min) = (self.next(&response)?, chunk_minimum(response.headers()));
                Ok(Begun::Session(Session { url, piece_min }))
            }
            _ => Err(self.to.refusal(response).await.error),
        }
    }

    async fn transfer(&self, session: Session, tell: &dyn Fn(Event)) -> Result<(), RegistryError> {
        let mut retry = Retry::new(self.to.patience());
        let mut state = State { session: Some(session), offset: 0, piece: None, refused: false };
        let mut furthest = 0;
        loop {
            let Err(failed) = self.attempt(&mut state, tell).await else { return Ok(()) };
            if !self.adapt(&mut state, &failed) {
                let pause = retry.after(failed.error)?;
                tell(Event::Retrying(pause));
                tokio::time::sleep(pause).await;
            }
            if self.recover(&mut state).await {
                return Ok(());
            }
            if state.offset >= furthest + PROGRESS_BYTES {
                furthest = state.offset;
                state.refused = false;
                retry.progressed();
            }
        }
    }

    /// Sends what is missing and ends the upload.
    async fn attempt(&self, state: &mut State, tell: &dyn Fn(Event)) -> Result<(), Failed> {
        let session = match state.session.clone() {
            Some(session) => session,
            None => match self.begin(None).await? {
                Begun::Session(session) => state.session.insert(session).clone(),
                Begun::Mounted(_) => return Ok(()),
            },
        };
        let (mut url, size) = (session.url, self.blob.size);
        if state.offset == 0 && state.piece.is_none() {
            let part = Part { offset: 0, length: size };
            let response = self.send(Method::PUT, self.closing(&url), part, tell).await?;
            return self.ended(response).await;
        }
        while state.offset < size {
            let length = state.piece.map_or(size, |piece| piece.max(session.piece_min)).min(size - state.offset);
            let part = Part { offset: state.offset, length };
            let response = self.send(Method::PATCH, url, part, tell).await?;
            if !response.status().is_success() {
                return Err(self.refusal(response).await);
            }
            state.offset = received(response.headers()).unwrap_or(state.offset + length).min(size);
            url = self.next(&response)?;
            state.session = Some(Session { url: url.clone(), ..session });
        }
        let response = self.to.send(Method::PUT, self.closing(&url), Payload::Bytes(&[])).await?;
        self.ended(response).await
    }

    async fn ended(&self, response: Response) -> Result<(), Failed> {
        if response.status().is_success() { Ok(()) } else { Err(self.refusal(response).await) }
    }

    /// Changes the way for a registry that does not take this one; false where that is no help.
    fn adapt(&self, state: &mut State, failed: &Failed) -> bool {
        let Some(status) = failed.status else { return false };
        match status.as_u16() {
            // The token ended while the body was on its way: the next request brings a new one.
            401 if !state.refused => {
                state.refused = true;
                true
            }
            // No whole blobs here, or none of this size.
            404 | 405 | 411 | 413 if state.piece.is_none() && self.blob.size > 0 => {
                state.piece = Some(PIECE);
                true
            }
            413 => match state.piece {
                Some(piece) if piece > PIECE_MIN => {
                    state.piece = Some(piece / 4);
                    true
                }
                _ => false,
            },
            _ => false,
        }
    }

    /// Finds out how far the upload is at the registry; true when the blob is there. What cannot be
    /// gone on with is begun anew.
    async fn recover(&self, state: &mut State) -> bool {
        if self.to.has_blob(self.blob.digest).await.unwrap_or(false) {
            return true;
        }
        let standing = match state.session.take() {
            Some(session) => self.standing(session).await,
            None => None,
        };
        (state.session, state.offset) = match standing {
            // What nothing has arrived of is begun anew: `0-0` may mean one byte or none.
            Some((session, offset)) if offset > 1 && offset <= self.blob.size => (Some(session), offset),
            _ => (None, 0),
        };
        false
    }

    async fn standing(&self, session: Session) -> Option<(Session, u64)> {
        let response = self.to.send(Method::GET, session.url.clone(), Payload::Empty).await.ok()?;
        if !matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::OK | StatusCode::ACCEPTED) {
            return None;
        }
        let offset = received(response.headers())?;
        let url = self.next(&response).unwrap_or_else(|_| session.url.clone());
        Some((Session { url, ..session }, offset))
    }

    /// Sends a part of the blob in one request.
    async fn send(&self, method: Method, url: Url, part: Part, tell: &dyn Fn(Event)) -> Result<Response, Failed> {
        let flight = Arc::new(Flight::default());
        let remote = match self.content {
            Content::File(_) => RefCell::new(None),
            Content::Remote(from) => RefCell::new(Some(self.open_remote(from, part).await?)),
        };
        let open = || -> io::Result<Chunks> {
            flight.sent.store(0, Ordering::Relaxed);
            match (self.content, remote.borrow_mut().take()) {
                (Content::File(path), _) => Ok(Box::pin(stream::iter(Pieces::open(path, part, Arc::clone(&flight))?))),
                (Content::Remote(_), Some((body, skip))) => {
                    Ok(Box::pin(stream::try_unfold((body, skip, part.length, Arc::clone(&flight)), relay)))
                }
                (Content::Remote(_), None) => {
                    flight.fail(SPENT);
                    Err(io::Error::other(SPENT))
                }
            }
        };
        let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"))]);
        let range = format!("{}-{}", part.offset, (part.offset + part.length).saturating_sub(1));
        if let (true, Ok(range)) = (method == Method::PATCH, HeaderValue::from_str(&range)) {
            headers.insert(CONTENT_RANGE, range);
        }
        let answer = self.to.send_with(method, url, headers, Payload::Stream { length: part.length, open: &open });
        let answered = told(answer, &flight, part.offset, tell).await;
        let failed = flight.failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        match failed {
            Some(why) if why == SPENT => {
                let host = self.to.host();
                Err(RegistryError::Transport {
                    host,
                    fault: Fault::Broken,
                    why: "asked for the bytes twice".to_owned(),
                })?
            }
            Some(why) => Err(RegistryError::Blob { digest: self.blob.digest, why })?,
            None => Ok(answered?),
        }
    }

    /// Asks the other registry for a part: what it sends, and how much of that is to be left out.
    async fn open_remote(&self, from: &Client, part: Part) -> Result<(blob::Body, u64), RegistryError> {
        Ok(match blob::open(from, self.blob, part.offset).await? {
            Opened::Body(body) => (body, 0),
            Opened::FromStart(Some(body)) => (body, part.offset),
            Opened::FromStart(None) => (blob::open_all(from, self.blob).await?, part.offset),
        })
    }

    /// The address that ends the upload.
    fn closing(&self, url: &Url) -> Url {
        let mut url = url.clone();
        url.query_pairs_mut().append_pair("digest", &self.blob.digest.to_string());
        url
    }

    /// Where the registry wants the next request.
    fn next(&self, response: &Response) -> Result<Url, RegistryError> {
        self.to.location(response.url(), response.headers().get(LOCATION))
    }

    /// What a refusal of the blob itself means.
    async fn refusal(&self, response: Response) -> Failed {
        let failed = self.to.refusal(response).await;
        match &failed.error {
            RegistryError::Status { host, message, .. }
                if message.contains("DIGEST_INVALID") || message.contains("SIZE_INVALID") =>
            {
                let why = format!(
                    "registry {host} refused it{message}: it may be damaged here, 'rbox system check --repair' tells"
                );
                RegistryError::Blob { digest: self.blob.digest, why }.into()
            }
            _ => failed,
        }
    }
}

/// Waits for an answer and tells meanwhile how much was sent.
async fn told<T>(answer: impl Future<Output = T>, flight: &Flight, offset: u64, tell: &dyn Fn(Event)) -> T {
    let mut answer = std::pin::pin!(answer);
    let mut before = 0;
    loop {
        if let Ok(answered) = tokio::time::timeout(TICK, &mut answer).await {
            return answered;
        }
        let sent = flight.sent.load(Ordering::Relaxed);
        if sent != before {
            before = sent;
            tell(Event::Sent(offset + sent));
        }
    }
}

/// A part of a blob.
#[derive(Clone, Copy, Debug)]
struct Part {
    offset: u64,
    length: u64,
}

impl Flight {
    fn fail(&self, why: &str) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.to_owned());
    }
}

/// What an upload began with.
enum Begun {
    Mounted(String),
    Session(Session),
}

/// A part of a file in pieces, as the body of a request.
struct Pieces {
    rest: io::Take<File>,
    flight: Arc<Flight>,
}

impl Pieces {
    fn open(path: &Path, part: Part, flight: Arc<Flight>) -> io::Result<Self> {
        let open = || -> io::Result<File> {
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(part.offset))?;
            Ok(file)
        };
        let file = open().inspect_err(|error| flight.fail(&unreadable(error)))?;
        Ok(Self { rest: file.take(part.length), flight })
    }

    fn read(&mut self) -> io::Result<Vec<u8>> {
        let wanted = self.rest.limit().min(CHUNK as u64);
        let mut bytes = Vec::with_capacity(usize::try_from(wanted).unwrap_or(CHUNK));
        (&mut self.rest).take(wanted).read_to_end(&mut bytes)?;
        if (bytes.len() as u64) < wanted {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it is shorter than its manifest says"));
        }
        Ok(bytes)
    }
}

impl Iterator for Pieces {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.limit() == 0 {
            return None;
        }
        let piece = self.read();
        match &piece {
            Ok(bytes) => {
                self.flight.sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            }
            Err(error) => self.flight.fail(&unreadable(error)),
        }
        Some(piece)
    }
}

fn unreadable(error: &io::Error) -> String {
    format!("cannot read it from the store: {error}")
}

/// Passes on what another registry sends, without the first `skip` bytes and no more than `left`.
async fn relay(
    (mut body, mut skip, left, flight): (blob::Body, u64, u64, Arc<Flight>),
) -> Result<Option<(Vec<u8>, (blob::Body, u64, u64, Arc<Flight>))>, io::Error> {
    if left == 0 {
        return Ok(None);
    }
    loop {
        let chunk = body.chunk().await.map_err(io::Error::other)?;
        let Some(chunk) = chunk else { return Err(io::ErrorKind::UnexpectedEof.into()) };
        let bytes = chunk.as_ref();
        let dropped = skip.min(bytes.len() as u64);
        skip -= dropped;
        let bytes = &bytes[usize::try_from(dropped).unwrap_or(bytes.len())..];
        let bytes = &bytes[..bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX))];
        if !bytes.is_empty() {
            let left = left - bytes.len() as u64;
            flight.sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            return Ok(Some((bytes.to_vec(), (body, skip, left, flight))));
        }
    }
}

/// How many bytes an upload has, by its Range header: `0-END`, END being the last one.
fn received(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(RANGE)?.to_str().ok()?.trim();
    let text = text.strip_prefix("bytes").map_or(text, |rest| rest.trim_start_matches([' ', '=']));
    let end: u64 = text.strip_prefix("0-")?.parse().ok()?;
    end.checked_add(1)
}

fn chunk_minimum(headers: &HeaderMap) -> u64 {
    let text = headers.get("OCI-Chunk-Min-Length").and_then(|value| value.to_str().ok());
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}
