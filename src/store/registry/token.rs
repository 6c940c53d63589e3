//! Anonymous bearer tokens (distribution spec, token authentication).

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use serde::Deserialize;

/// What a 401 asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Challenge {
    /// A token from `realm`, for `service`.
    Bearer { realm: String, service: Option<String> },
    /// Something an anonymous user cannot give: a password, or nothing that we know.
    Other,
}

/// Reads the challenge of a 401 response; a bearer one wins.
pub fn challenge(headers: &HeaderMap) -> Challenge {
    let texts = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    texts.filter_map(bearer).next().unwrap_or(Challenge::Other)
}

/// The address that gives a token for pulling `repository`. The scope is what we need, whatever
/// the challenge says.
pub fn request(realm: &Url, service: Option<&str>, repository: &str) -> Url {
    let mut url = realm.clone();
    let mut query = url.query_pairs_mut();
    if let Some(service) = service {
        query.append_pair("service", service);
    }
    query.append_pair("scope", &format!("repository:{repository}:pull"));
    drop(query);
    url
}

#[derive(Deserialize)]
struct Answer {
    token: Option<String>,
    access_token: Option<String>,
}

/// The Authorization value of a token server's answer.
pub fn authorization(body: &[u8]) -> Option<HeaderValue> {
    let answer: Answer = serde_json::from_slice(body).ok()?;
    let token = answer.token.filter(|token| !token.is_empty()).or(answer.access_token)?;
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Finds the Bearer challenge in a list of challenges (RFC 9110, 11.6.1).
fn bearer(text: &str) -> Option<Challenge> {
    let mut rest = text;
    loop {
        let (word, after) = token(rest)?;
        if word.eq_ignore_ascii_case("bearer") && after.starts_with(' ') {
            let (realm, service) = parameters(after);
            return realm.map(|realm| Challenge::Bearer { realm, service });
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
            (&[r#"Basic realm="x""#], Challenge::Other),
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
    fn the_scope_is_ours_and_the_token_is_a_header() {
        let realm = Url::parse("https://a/token?account=x").unwrap();
        let url = request(&realm, Some("s&x=1"), "library/alpine");
        assert_eq!(
            url.as_str(),
            "https://a/token?account=x&service=s%26x%3D1&scope=repository%3Alibrary%2Falpine%3Apull"
        );
        assert_eq!(authorization(br#"{"token":"abc","expires_in":1}"#).unwrap(), "Bearer abc");
        assert_eq!(authorization(br#"{"token":"","access_token":"abc"}"#).unwrap(), "Bearer abc");
        for bad in [&b"{}"[..], b"", b"[]", br#"{"token":"a\nb: c"}"#] {
            assert!(authorization(bad).is_none());
        }
    }
}
