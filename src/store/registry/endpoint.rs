//! Where a registry is and what may be sent to it: schemes, loopback, origins, redirects.

use std::net::IpAddr;
use std::path::Path;

use reqwest::Url;

use super::error::{RegistryError, printable};

const DEFAULT_DOMAIN: &str = "docker.io";
const DEFAULT_HOST: &str = "registry-1.docker.io";

/// The host, with its port if any, that serves a reference's domain.
pub fn host_of(domain: &str) -> &str {
    if domain == DEFAULT_DOMAIN { DEFAULT_HOST } else { domain }
}

/// The addresses to try in order, each ending in `/`. Plain http is among them for loopback hosts
/// unless verification was asked for, and for others only when it was switched off.
pub fn candidates(domain: &str, tls_verify: Option<bool>) -> Result<Vec<Url>, RegistryError> {
    let host = host_of(domain);
    let url = |scheme: &str| {
        Url::parse(&format!("{scheme}://{host}/"))
            .map_err(|error| RegistryError::Setup(format!("invalid registry {host:?}: {error}")))
    };
    let (http, https) = (url("http")?, url("https")?);
    Ok(match (is_loopback(&https), tls_verify) {
        (_, Some(true)) | (false, None) => vec![https],
        (true, _) => vec![http, https],
        (false, Some(false)) => vec![https, http],
    })
}

/// The host as an address, when it is one.
fn address(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host).parse().ok()
}

/// Whether the host is `localhost` or an address of 127.0.0.0/8 or ::1.
pub fn is_loopback(url: &Url) -> bool {
    address(url).is_some_and(|address| address.is_loopback()) || url.host_str() == Some("localhost")
}

/// Whether two addresses are the same scheme, host and port: the bound of any credential.
pub fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme() && a.host_str() == b.host_str() && a.port_or_known_default() == b.port_or_known_default()
}

/// Host and port for messages.
pub fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Where `from` may send us: http or https, never down to http, no user name, and plain http only
/// where `plain_allowed` or on loopback.
pub fn redirect(from: &Url, location: &str, plain_allowed: bool) -> Result<Url, RegistryError> {
    let refuse = |why| RegistryError::Redirect { host: authority(from), location: shown(location), why };
    let to = from.join(location).map_err(|_| refuse("not an address"))?;
    check_scheme(from, &to, plain_allowed).map_err(refuse)?;
    Ok(to)
}

/// Whether `realm`, named by `registry`, may be asked for a token. Credentials go to it only when it
/// is plainly of the same house; see [`is_related`].
pub fn realm(registry: &Url, realm: &str, plain_allowed: bool) -> Result<Url, RegistryError> {
    let refuse = |why| RegistryError::Realm { host: authority(registry), realm: shown(realm), why };
    let url = Url::parse(realm).map_err(|_| refuse("not an address"))?;
    check_scheme(registry, &url, plain_allowed).map_err(refuse)?;
    let same_host = url.host_str() == registry.host_str();
    if is_loopback(&url) && !is_loopback(registry) {
        return Err(refuse("it is on this machine, the registry is not"));
    }
    if address(&url).is_some() && !same_host && !is_loopback(registry) {
        return Err(refuse("a bare address other than the registry's"));
    }
    if url.fragment().is_some() {
        return Err(refuse("it has a fragment"));
    }
    Ok(url)
}

/// Whether a token server belongs to the registry that names it, so that what was given for one may
/// be sent to the other: the same host, both on this machine, or names below one domain that a single
/// owner has.
pub fn is_related(registry: &Url, realm: &Url) -> bool {
    if registry.host_str() == realm.host_str() || is_loopback(registry) && is_loopback(realm) {
        return true;
    }
    if address(registry).is_some() || address(realm).is_some() {
        return false;
    }
    let owner = |url: &Url| url.host_str().and_then(owned_domain).map(str::to_owned);
    owner(registry).is_some_and(|domain| owner(realm) == Some(domain))
}

/// The part of a host's name that one owner registered: two labels, or three below such as `co.uk`.
/// Where everybody gets a name of his own (`github.io`), the whole name.
fn owned_domain(host: &str) -> Option<&str> {
    /// Second labels under which countries register names.
    const SECOND: [&str; 12] = ["ac", "co", "com", "edu", "go", "gob", "gov", "gv", "ne", "net", "or", "org"];
    /// Domains whose names belong to different people.
    const SHARED: [&str; 8] = [
        "amazonaws.com",
        "azurewebsites.net",
        "cloudfront.net",
        "duckdns.org",
        "github.io",
        "gitlab.io",
        "herokuapp.com",
        "ngrok.io",
    ];
    let host = host.strip_suffix('.').unwrap_or(host);
    let labels: Vec<&str> = host.rsplit('.').collect();
    let wanted = match labels[..] {
        [top, second, _, ..] if top.len() == 2 && SECOND.contains(&second) => 3,
        [top, second, ..] if top.len() != 2 || !SECOND.contains(&second) => 2,
        _ => return None,
    };
    let last = |count: usize| {
        let length = labels.iter().take(count).map(|label| label.len() + 1).sum::<usize>() - 1;
        &host[host.len() - length..]
    };
    Some(if SHARED.contains(&last(2)) { host } else { last(wanted) })
}

fn check_scheme(from: &Url, to: &Url, plain_allowed: bool) -> Result<(), &'static str> {
    match (from.scheme(), to.scheme()) {
        (_, "https") => {}
        ("https", "http") => return Err("from https to plain http"),
        ("http", "http") if plain_allowed || is_loopback(to) => {}
        ("http", "http") => return Err("plain http beyond this machine"),
        _ => return Err("neither http nor https"),
    }
    if to.host_str().is_none_or(str::is_empty) {
        return Err("it has no host");
    }
    if !to.username().is_empty() || to.password().is_some() {
        return Err("it carries a user name");
    }
    Ok(())
}

/// A foreign address without its query, which may hold a signature.
fn shown(location: &str) -> String {
    printable(location.split(['?', '#']).next().unwrap_or_default())
}

/// Refuses to resolve names when `resolv_conf` would not be used: the resolver then falls back to
/// a public DNS service without a word.
pub fn check_resolver(url: &Url, resolv_conf: &Path) -> Result<(), RegistryError> {
    if address(url).is_some() || is_loopback(url) {
        return Ok(());
    }
    let refuse = |why: String| {
        let (path, host) = (resolv_conf.display(), authority(url));
        RegistryError::Setup(format!("cannot look up registry {host}: {path}: {why}"))
    };
    let text = std::fs::read(resolv_conf).map_err(|error| refuse(error.to_string()))?;
    let text = String::from_utf8_lossy(&text);
    let mut servers = 0;
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => servers += usize::from(words.next().is_some_and(is_server)),
            Some("search" | "domain") => {
                if let Some(bad) = words.find(|word| !is_domain(word)) {
                    return Err(refuse(format!("invalid search domain {:?}", printable(bad))));
                }
            }
            _ => {}
        }
    }
    if servers == 0 { Err(refuse("it names no nameserver".to_owned())) } else { Ok(()) }
}

/// An address, perhaps with an IPv6 zone.
fn is_server(word: &str) -> bool {
    word.split('%').next().is_some_and(|address| address.parse::<IpAddr>().is_ok())
}

fn is_domain(word: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    matches!(word, "." | "--") || word.len() <= 253 && word.strip_suffix('.').unwrap_or(word).split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn plain_http_is_for_loopback_or_on_request() {
        let shown = |domain, verify| {
            let found = candidates(domain, verify).unwrap();
            found.iter().map(Url::to_string).collect::<Vec<_>>().join(" ")
        };
        for (domain, verify, expected) in [
            ("docker.io", None, "https://registry-1.docker.io/"),
            ("quay.io", None, "https://quay.io/"),
            ("quay.io:80", None, "https://quay.io:80/"),
            ("quay.io", Some(false), "https://quay.io/ http://quay.io/"),
            ("10.0.0.1:5000", None, "https://10.0.0.1:5000/"),
            ("localhost.example.com", None, "https://localhost.example.com/"),
            ("127.0.0.1.example.com", None, "https://127.0.0.1.example.com/"),
            ("localhost:5000", None, "http://localhost:5000/ https://localhost:5000/"),
            ("127.9.8.7:5000", None, "http://127.9.8.7:5000/ https://127.9.8.7:5000/"),
            ("[::1]:5000", Some(false), "http://[::1]:5000/ https://[::1]:5000/"),
            ("127.0.0.1:5000", Some(true), "https://127.0.0.1:5000/"),
        ] {
            assert_eq!(shown(domain, verify), expected, "{domain} {verify:?}");
        }
    }

    #[test]
    fn realms_are_checked() {
        for (registry, name, allowed) in [
            ("https://registry-1.docker.io/", "https://auth.docker.io/token", true),
            ("https://registry.gitlab.com/", "https://gitlab.com/jwt/auth", true),
            ("https://r.example/", "https://r.example:5001/token?x=1", true),
            ("https://r.example/", "http://r.example/token", false),
            ("https://r.example/", "http://127.0.0.1/token", false),
            ("https://r.example/", "https://127.0.0.1/token", false),
            ("https://r.example/", "https://localhost/token", false),
            ("https://r.example/", "https://[::1]/token", false),
            ("https://r.example/", "https://2130706433/token", false),
            ("https://r.example/", "https://169.254.169.254/token", false),
            ("https://r.example/", "https://user:secret@r.example/token", false),
            ("https://r.example/", "https://user@r.example/token", false),
            ("https://r.example/", "ftp://r.example/token", false),
            ("https://r.example/", "file:///etc/passwd", false),
            ("https://r.example/", "/token", false),
            ("https://r.example/", "", false),
            ("https://r.example/", "https://r.example/token#x", false),
            ("https://10.0.0.1/", "https://10.0.0.1:5001/token", true),
            ("https://10.0.0.1/", "https://10.0.0.2/token", false),
            ("http://127.0.0.1:5000/", "http://127.0.0.1:5001/token", true),
            ("http://127.0.0.1:5000/", "http://localhost:5001/token", true),
            ("http://127.0.0.1:5000/", "http://auth.example/token", false),
            ("http://127.0.0.1:5000/", "https://auth.example/token", true),
        ] {
            assert_eq!(realm(&url(registry), name, false).is_ok(), allowed, "{registry} {name}");
        }
        assert!(realm(&url("http://r.example/"), "http://auth.example/token", true).is_ok());
    }

    #[test]
    fn credentials_stay_in_the_house() {
        for (registry, name, related) in [
            ("https://registry-1.docker.io/", "https://auth.docker.io/token", true),
            ("https://registry.gitlab.com/", "https://gitlab.com/jwt/auth", true),
            ("https://registry.a.co.uk/", "https://auth.a.co.uk/token", true),
            ("https://a.co.uk/", "https://evil.co.uk/token", false),
            ("https://registry.a.example/", "https://auth.b.example/token", false),
            ("https://a.example/", "https://a.example.evil/token", false),
            ("https://a.example/", "https://eviLa.example/token", false),
            ("https://me.github.io/", "https://you.github.io/token", false),
            ("https://me.github.io/", "https://me.github.io/token", true),
            ("https://1.dkr.ecr.eu.amazonaws.com/", "https://evil.s3.amazonaws.com/token", false),
            ("https://registry:5000/", "https://auth:5001/token", false),
            ("https://registry:5000/", "https://registry:5001/token", true),
            ("https://10.0.0.1/", "https://10.0.0.1:5001/token", true),
            ("https://10.0.0.1/", "https://auth.example/token", false),
            ("http://127.0.0.1:5000/", "http://localhost:5001/token", true),
            ("http://127.0.0.1:5000/", "https://auth.example/token", false),
            ("https://auth.example/", "http://127.0.0.1:5000/token", false),
            ("https://co.uk/", "https://ac.uk/", false),
        ] {
            assert_eq!(is_related(&url(registry), &url(name)), related, "{registry} {name}");
        }
    }

    #[test]
    fn redirects_never_go_down() {
        let from = url("https://r.example/v2/a/blobs/x");
        for (location, expected) in [
            ("https://cdn.example/x?sig=1", Some("https://cdn.example/x?sig=1")),
            ("/other", Some("https://r.example/other")),
            ("//cdn.example/x", Some("https://cdn.example/x")),
            ("http://cdn.example/x", None),
            ("http://127.0.0.1/x", None),
            ("https://me:secret@cdn.example/x", None),
            ("ftp://cdn.example/x", None),
            ("data:,x", None),
        ] {
            let found = redirect(&from, location, true).ok().map(String::from);
            assert_eq!(found.as_deref(), expected, "{location}");
        }
        assert!(redirect(&url("http://127.0.0.1:1/"), "http://cdn.example/", false).is_err());
        let error = redirect(&from, "http://cdn.example/\u{1b}[31m?sig=secret", true).unwrap_err().to_string();
        assert!(!error.contains("secret") && !error.contains('\u{1b}'), "{error}");
    }

    #[test]
    fn names_need_a_usable_resolver() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("resolv.conf");
        let (name, loopback) = (url("https://r.example/"), url("https://localhost:1/"));
        assert!(check_resolver(&name, &path).is_err());
        assert!(check_resolver(&loopback, &path).is_ok());
        assert!(check_resolver(&url("https://10.0.0.1/"), &path).is_ok());
        for (text, usable) in [
            ("nameserver 10.0.0.1\nsearch example.com sub.example.com.\n", true),
            ("nameserver fe80::1%eth0\n", true),
            ("# nameserver 10.0.0.1\n", false),
            ("nameserver none\n", false),
            ("nameserver 10.0.0.1\nsearch a..b\n", false),
            ("", false),
        ] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(check_resolver(&name, &path).is_ok(), usable, "{text:?}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let base = url("https://r.example/");
        assert!(same_origin(&base, &url("https://R.EXAMPLE:443/x")));
        for other in ["http://r.example/", "https://r.example:444/", "https://xr.example/"] {
            assert!(!same_origin(&base, &url(other)), "{other}");
        }
    }
}
