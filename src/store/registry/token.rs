//! Challenges and bearer tokens (distribution spec, token authentication).

use std::fmt;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use serde::Deserialize;

use super::auth::Credentials;
use super::scope::Scope;

/// What a 401 asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// A token from `realm`, for `service`.
    Bearer { realm: String, service: Option<String> },
    /// A name and a password (RFC 7617).
    Basic,
    /// Nothing that we know.
    Other,
}

/// Reads the challenge of a 401 response; a bearer one wins.
pub fn challenge(headers: &HeaderMap) -> Challenge {
    let texts = || headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    let basic = || texts().any(|text| find(text, "basic").is_some());
    let other = || if basic() { Challenge::Basic } else { Challenge::Other };
    texts().find_map(bearer).unwrap_or_else(other)
}

/// How long a token is good when its server does not say (distribution spec).
const LIFETIME: Duration = Duration::from_secs(60);
/// A token this close to its end, or closer than a quarter of its life, is not used any more.
const MARGIN: Duration = Duration::from_secs(10);
/// What we call ourselves to token servers.
const CLIENT_ID: &str = "rbox";

/// What is sent to a token server: the address, and a form for the OAuth 2 way.
#[derive(PartialEq, Eq)]
pub struct Request {
    pub url: Url,
    pub authorization: Option<HeaderValue>,
    pub form: Option<String>,
}

/// The request for a token of `scope`, which is what we need, whatever the challenge says: GET with
/// the password in the Authorization header, or POST of an identity token.
pub fn request(realm: &Url, service: Option<&str>, scope: &Scope, credentials: Option<&Credentials>) -> Request {
    let mut url = realm.clone();
    if let Some(Credentials::IdentityToken(token)) = credentials {
        return Request { url, authorization: None, form: Some(form(service, scope, token)) };
    }
    let mut query = url.query_pairs_mut();
    if let Some(service) = service {
        query.append_pair("service", service);
    }
    if let Some(Credentials::Basic { user, .. }) = credentials {
        query.append_pair("account", user);
    }
    for part in scope.parts() {
        query.append_pair("scope", part);
    }
    drop(query);
    // Nothing was added: no lone question mark.
    if url.query() == Some("") {
        url.set_query(None);
    }
    Request { url, authorization: credentials.and_then(basic), form: None }
}

fn form(service: Option<&str>, scope: &Scope, token: &str) -> String {
    let scope = scope.to_string();
    let mut pairs = vec![("grant_type", "refresh_token"), ("refresh_token", token), ("client_id", CLIENT_ID)];
    pairs.extend(service.map(|service| ("service", service)));
    pairs.extend((!scope.is_empty()).then_some(("scope", scope.as_str())));
    encode(&pairs)
}

/// `application/x-www-form-urlencoded`.
fn encode(pairs: &[(&str, &str)]) -> String {
    // Any address will do: what counts is how its query is written.
    let mut url = Url::parse("http://localhost/").ok();
    if let Some(url) = &mut url {
        url.query_pairs_mut().extend_pairs(pairs);
    }
    url.and_then(|url| url.query().map(str::to_owned)).unwrap_or_default()
}

/// The Authorization value of a name and a password; None for other credentials.
pub fn basic(credentials: &Credentials) -> Option<HeaderValue> {
    let Credentials::Basic { user, password } = credentials else { return None };
    let encoded = BASE64.encode(format!("{user}:{password}"));
    let mut value = HeaderValue::from_str(&format!("Basic {encoded}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// An Authorization value, and how long it is to be used.
#[derive(Clone, PartialEq, Eq)]
pub struct Grant {
    pub value: HeaderValue,
    /// None: as long as the registry takes it.
    pub until: Option<Instant>,
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant").field("until", &self.until).finish_non_exhaustive()
    }
}

impl Grant {
    /// Whether it may still be used.
    pub fn is_fresh(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
    /// Seconds; what is no number of them counts as unsaid.
    expires_in: Option<serde_json::Value>,
}

/// What a token server's answer grants.
pub fn grant(body: &[u8], now: Instant) -> Option<Grant> {
    let answer: Answer = serde_json::from_slice(body).ok()?;
    let token = answer.token.filter(|token| !token.is_empty()).or(answer.access_token)?;
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    let seconds = answer.expires_in.and_then(|value| value.as_u64()).filter(|seconds| *seconds > 0);
    let lifetime = seconds.map_or(LIFETIME, Duration::from_secs);
    let until = now.checked_add(lifetime - MARGIN.min(lifetime / 4));
    Some(Grant { value, until })
}

fn bearer(text: &str) -> Option<Challenge> {
    let (realm, service) = parameters(find(text, "bearer")?);
    realm.map(|realm| Challenge::Bearer { realm, service })
}

/// What follows the name of `scheme` in a list of challenges (RFC 9110, 11.6.1).
fn find<'a>(text: &'a str, scheme: &str) -> Option<&'a str> {
    let mut rest = text;
    loop {
        let (word, after) = token(rest.trim_start_matches([' ', ',', '\t']))?;
        if word.eq_ignore_ascii_case(scheme) && (after.is_empty() || after.starts_with(' ')) {
            return Some(after);
        }
        rest = skip_challenge(after);
    }
}

/// Passes the parameters of a challenge that is not ours.
fn skip_challenge(mut rest: &str) -> &str {
    while let Some((_, _, after)) = parameter(rest) {
        rest = after;
    }
    rest.trim_start_matches([' ', ','])
}

fn parameters(mut rest: &str) -> (Option<String>, Option<String>) {
    let (mut realm, mut service) = (None, None);
    while let Some((name, value, after)) = parameter(rest) {
        match name.to_ascii_lowercase().as_str() {
            "realm" if realm.is_none() => realm = Some(value),
            "service" if service.is_none() => service = Some(value),
            _ => {}
        }
        rest = after;
    }
    (realm, service)
}

/// `name=value` or `name="value"`, after spaces and commas; None where a new challenge or the end
/// begins.
fn parameter(text: &str) -> Option<(&str, String, &str)> {
    let (name, rest) = token(text.trim_start_matches([' ', ',', '\t']))?;
    let rest = rest.trim_start().strip_prefix('=')?.trim_start();
    match rest.strip_prefix('"') {
        Some(quoted) => {
            let (value, rest) = unquote(quoted)?;
            Some((name, value, rest))
        }
        None => {
            let (value, rest) = token(rest)?;
            Some((name, value.to_owned(), rest))
        }
    }
}

fn unquote(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[index + 1..])),
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

fn token(text: &str) -> Option<(&str, &str)> {
    let end = text.find([' ', ',', '=', '"', '\t']).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(texts: &[&str]) -> Challenge {
        let mut headers = HeaderMap::new();
        for text in texts {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_str(text).unwrap());
        }
        challenge(&headers)
    }

    #[test]
    fn challenges_are_read() {
        let found = |realm: &str, service: Option<&str>| Challenge::Bearer {
            realm: realm.to_owned(),
            service: service.map(str::to_owned),
        };
        for (texts, expected) in [
            (
                &[r#"Bearer realm="https://a/token",service="s",scope="repository:x:pull,push""#][..],
                found("https://a/token", Some("s")),
            ),
            (&["bearer  Realm = \"https://a/t\""], found("https://a/t", None)),
            (&["Bearer realm=https://a/t,service=s"], found("https://a/t", Some("s"))),
            (&[r#"Basic realm="x, Bearer y", Bearer realm="https://a/t""#], found("https://a/t", None)),
            (&[r#"Basic realm="x""#, r#"Bearer realm="https://a/t""#], found("https://a/t", None)),
            (&[r#"Bearer realm="a\"b""#], found("a\"b", None)),
            (&[r#"Basic realm="x""#], Challenge::Basic),
            (&["Negotiate, basic"], Challenge::Basic),
            (&[r#"Basic realm="x""#, "Bearer"], Challenge::Basic),
            (&["Digest realm=\"Basic x\""], Challenge::Other),
            (&["Bearer service=\"s\""], Challenge::Other),
            (&["Bearer realm=\"unclosed"], Challenge::Other),
            (&["Bearer"], Challenge::Other),
            (&[""], Challenge::Other),
            (&[], Challenge::Other),
        ] {
            assert_eq!(parse(texts), expected, "{texts:?}");
        }
    }

    #[test]
    fn the_scope_is_ours_and_a_password_is_no_part_of_the_address() {
        let realm = Url::parse("https://a/token?account=x").unwrap();
        let scope = Scope::pull("library/alpine");
        let anonymous = request(&realm, Some("s&x=1"), &scope, None);
        assert_eq!(
            anonymous.url.as_str(),
            "https://a/token?account=x&service=s%26x%3D1&scope=repository%3Alibrary%2Falpine%3Apull"
        );
        assert!(anonymous.authorization.is_none() && anonymous.form.is_none());
        let realm = Url::parse("https://a/token").unwrap();
        let named = Credentials::Basic { user: "me".to_owned(), password: "p w:".to_owned() };
        let two = Scope::push("a").and(Scope::pull("b"));
        let basic = request(&realm, None, &two, Some(&named));
        let query = "account=me&scope=repository%3Aa%3Apull%2Cpush&scope=repository%3Ab%3Apull";
        assert_eq!(basic.url.query(), Some(query));
        assert_eq!(basic.authorization.unwrap(), format!("Basic {}", BASE64.encode("me:p w:")));
        assert_eq!(request(&realm, None, &Scope::default(), None).url, realm);
        let token = Credentials::IdentityToken("se+cret&x".to_owned());
        let posted = request(&realm, Some("s"), &two, Some(&token));
        assert_eq!((posted.url, posted.authorization), (realm, None));
        let form = "grant_type=refresh_token&refresh_token=se%2Bcret%26x&client_id=rbox&service=s\
            &scope=repository%3Aa%3Apull%2Cpush+repository%3Ab%3Apull";
        assert_eq!(posted.form.unwrap(), form);
    }

    #[test]
    fn a_token_is_a_header_that_ages() {
        let now = Instant::now();
        let read = |body: &[u8]| grant(body, now);
        for (body, lifetime) in [
            (&br#"{"token":"abc","expires_in":100}"#[..], 90),
            (br#"{"token":"","access_token":"abc","expires_in":4}"#, 3),
            (br#"{"token":"abc"}"#, 50),
            (br#"{"token":"abc","expires_in":0}"#, 50),
            (br#"{"token":"abc","expires_in":-1}"#, 50),
            (br#"{"token":"abc","expires_in":"soon"}"#, 50),
        ] {
            let grant = read(body).unwrap();
            assert_eq!(grant.value, "Bearer abc");
            assert!(grant.value.is_sensitive());
            assert!(grant.is_fresh(now + Duration::from_millis(lifetime * 1000 - 1)));
            assert!(!grant.is_fresh(now + Duration::from_secs(lifetime)));
        }
        assert!(read(br#"{"token":"abc","expires_in":18446744073709551615}"#).unwrap().is_fresh(now));
        for bad in [&b"{}"[..], b"", b"[]", br#"{"token":"a\nb: c"}"#] {
            assert!(read(bad).is_none());
        }
    }
}
