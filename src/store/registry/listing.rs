//! Lists that a registry gives page by page: tags, repositories; and docker's old search.

use std::collections::HashSet;

use reqwest::header::{ACCEPT, HeaderValue, LINK};
use reqwest::{Method, Response, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::client::Client;
use super::error::{RegistryError, printable};
use super::retry::patiently;
use super::scope::Scope;
use super::session::{Request, Session};

const PAGE_MAX: u64 = 4 << 20;
/// More pages, or more names, than any honest registry has.
const PAGES_MAX: usize = 1000;
const NAMES_MAX: usize = 1_000_000;
/// docker.io searches elsewhere than it serves.
const HUB_SEARCH: &str = "https://index.docker.io/v1/search";

/// One find of a search.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Hit {
    pub name: String,
    pub description: Option<String>,
    pub star_count: u64,
    pub is_official: bool,
    pub is_automated: bool,
}

#[derive(Deserialize)]
struct Hits {
    results: Vec<Hit>,
}

#[derive(Deserialize)]
struct Tags {
    tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Catalog {
    repositories: Option<Vec<String>>,
}

/// All tags of the client's repository, in the registry's order, each once.
pub async fn tags(client: &Client) -> Result<Vec<String>, RegistryError> {
    let url = client.url("tags/list?n=1000")?;
    let unknown = || RegistryError::RepositoryUnknown(client.reference().familiar_repository());
    let missing = |error| match error {
        RegistryError::Status { status: StatusCode::NOT_FOUND, .. } => unknown(),
        RegistryError::Denied(_) => RegistryError::AccessDenied(client.reference().familiar_repository()),
        other => other,
    };
    let take = |page: Tags| page.tags.unwrap_or_default();
    pages(client.session(), url, client.scope(), take, |_| true).await.map_err(missing)
}

/// The repositories of a registry whose names `wanted` accepts.
pub async fn catalog(session: &Session, wanted: impl Fn(&str) -> bool) -> Result<Vec<String>, RegistryError> {
    let take = |page: Catalog| page.repositories.unwrap_or_default();
    pages(session, session.url("v2/_catalog?n=1000")?, &Scope::catalog(), take, wanted).await
}

/// docker's search (registry v1), at most `limit` finds.
pub async fn search(session: &Session, term: &str, limit: u16) -> Result<Vec<Hit>, RegistryError> {
    let mut url = match session.is_hub() {
        true => Url::parse(HUB_SEARCH).map_err(|error| RegistryError::Setup(error.to_string()))?,
        false => session.url("v1/search")?,
    };
    url.query_pairs_mut().append_pair("q", term).append_pair("n", &limit.to_string());
    let response = get(session, url, &Scope::default()).await?;
    Ok(parse::<Hits>(session, response).await?.results)
}

async fn pages<P: DeserializeOwned>(
    session: &Session,
    mut url: Url,
    scope: &Scope,
    take: impl Fn(P) -> Vec<String>,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<String>, RegistryError> {
    let (mut names, mut seen) = (Vec::new(), HashSet::new());
    for _ in 0..PAGES_MAX {
        let response = get(session, url.clone(), scope).await?;
        let next = response.headers().get(LINK).and_then(|link| link.to_str().ok()).and_then(next_page);
        let next = next.map(|to| session.location(&url, HeaderValue::from_str(to).ok().as_ref())).transpose()?;
        let page = take(parse(session, response).await?);
        names.extend(page.into_iter().filter(|name| wanted(name) && seen.insert(name.clone())));
        match next {
            // Only the registry itself knows its next page.
            Some(next) if session.is_home(&next) && names.len() < NAMES_MAX => url = next,
            _ => return Ok(names),
        }
    }
    let host = session.host();
    Err(RegistryError::TooLarge { what: "list", host, limit: PAGES_MAX as u64 * PAGE_MAX })
}

async fn get(session: &Session, url: Url, scope: &Scope) -> Result<Response, RegistryError> {
    let request = Request::new(Method::GET, url, scope).header(ACCEPT, HeaderValue::from_static("application/json"));
    let patience = session.patience();
    patiently(
        patience,
        |_, _| {},
        async || {
            let response = session.send(&request).await?;
            match response.status() {
                StatusCode::OK => Ok(response),
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(RegistryError::Denied(session.host())),
                _ => Err(session.status_error(response).await),
            }
        },
    )
    .await
}

async fn parse<T: DeserializeOwned>(session: &Session, response: Response) -> Result<T, RegistryError> {
    let body = session.read_capped(response, "list", PAGE_MAX).await?;
    serde_json::from_slice(&body).map_err(|error| {
        let why = printable(&error.to_string());
        RegistryError::Setup(format!("registry {} sent no list: {why}", session.host()))
    })
}

/// The target of a Link header (RFC 8288) whose relation is `next`.
fn next_page(link: &str) -> Option<&str> {
    link.split(',').find_map(|one| {
        let (target, parameters) = one.trim().strip_prefix('<')?.split_once('>')?;
        let next = parameters.split(';').map(str::trim).any(|text| matches!(text, "rel=\"next\"" | "rel=next"));
        next.then_some(target)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_linked() {
        for (link, expected) in [
            (r#"</v2/_catalog?last=b&n=2>; rel="next""#, Some("/v2/_catalog?last=b&n=2")),
            ("</x>;rel=next", Some("/x")),
            (r#"</a>; rel="prev", </b>; rel="next""#, Some("/b")),
            (r#"</a>; rel="prev""#, None),
            ("/a; rel=next", None),
            ("", None),
        ] {
            assert_eq!(next_page(link), expected, "{link}");
        }
    }
}
