//! When to try again, and after what pause.

use std::time::Duration;

use jiff::Timestamp;

use super::error::RegistryError;
use crate::store::fs;

/// Waiting limits of one pull.
#[derive(Clone, Debug)]
pub struct Patience {
    /// How often a request is sent in all before its error is final.
    pub tries: u32,
    /// The first pause; it doubles each time.
    pub pause: Duration,
    /// No pause is longer, whatever a registry asks for.
    pub pause_max: Duration,
    /// For a connection, its handshake included.
    pub connect: Duration,
    /// For response headers, and for the whole of a small body.
    pub answer: Duration,
    /// A blob must bring [`STALL_BYTES`](super::blob::STALL_BYTES) within this much waiting.
    pub stall: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            tries: 5,
            pause: Duration::from_secs(1),
            pause_max: Duration::from_secs(60),
            connect: Duration::from_secs(15),
            answer: Duration::from_secs(60),
            stall: Duration::from_secs(60),
        }
    }
}

/// Counts the failures of one request.
#[derive(Debug)]
pub struct Retry<'a> {
    patience: &'a Patience,
    failures: u32,
}

impl<'a> Retry<'a> {
    /// A request not yet sent.
    pub fn new(patience: &'a Patience) -> Self {
        Self { patience, failures: 0 }
    }

    /// The pause before the next try; the error itself when it is final.
    pub fn after(&mut self, error: RegistryError) -> Result<Duration, RegistryError> {
        self.failures += 1;
        if self.failures >= error.tries(self.patience.tries) {
            return Err(error);
        }
        let doubled = self.patience.pause.saturating_mul(1 << (self.failures - 1).min(16));
        let pause = doubled.max(error.retry_after().unwrap_or_default()).min(self.patience.pause_max);
        Ok(jittered(pause, self.patience.pause_max))
    }

    /// The request brought something before it failed: count from the start.
    pub fn progressed(&mut self) {
        self.failures = 0;
    }
}

/// Up to a quarter more, so that many clients do not return together.
fn jittered(pause: Duration, max: Duration) -> Duration {
    let [byte] = fs::random_bytes::<1>().unwrap_or_default();
    pause.saturating_add(pause / 1024 * u32::from(byte)).min(max)
}

/// Sends a request until it succeeds or fails for good. `notify` hears of each pause.
pub async fn patiently<T>(
    patience: &Patience,
    mut notify: impl FnMut(Duration, &str),
    mut request: impl AsyncFnMut() -> Result<T, RegistryError>,
) -> Result<T, RegistryError> {
    let mut retry = Retry::new(patience);
    loop {
        match request().await {
            Ok(answer) => return Ok(answer),
            Err(error) => {
                let reason = error.to_string();
                let pause = retry.after(error)?;
                notify(pause, &reason);
                tokio::time::sleep(pause).await;
            }
        }
    }
}

/// Reads a Retry-After header: seconds or an HTTP date (RFC 9110, 10.2.3). A past date or garbage
/// asks for nothing.
pub fn parse_retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Duration::try_from(date.duration_since(now)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::registry::error::Fault;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        for (text, expected) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Fri, 02 Jan 2026 03:05:05 GMT", Some(60)),
            ("Fri, 02 Jan 2026 03:03:05 GMT", None),
            ("99999999999999999999", None),
            ("-5", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(parse_retry_after(text, now), expected.map(Duration::from_secs), "{text:?}");
        }
    }

    #[test]
    fn pauses_double_and_end() {
        let patience = Patience {
            tries: 4,
            pause: Duration::from_secs(1),
            pause_max: Duration::from_secs(3),
            ..Patience::default()
        };
        let failure = |fault| RegistryError::Transport { host: "h".to_owned(), fault, why: String::new() };
        let mut retry = Retry::new(&patience);
        for least in [1, 2, 3] {
            let pause = retry.after(failure(Fault::Broken)).unwrap();
            assert!((Duration::from_secs(least)..=Duration::from_secs(3)).contains(&pause), "{pause:?}");
        }
        assert!(retry.after(failure(Fault::Broken)).is_err());
        retry.progressed();
        assert!(retry.after(failure(Fault::Timeout)).is_ok());
        for (fault, tries) in [(Fault::Refused, 1), (Fault::Name, 2), (Fault::Tls, 1)] {
            let mut retry = Retry::new(&patience);
            assert!((1..tries).all(|_| retry.after(failure(fault)).is_ok()) && retry.after(failure(fault)).is_err());
        }
    }
}
