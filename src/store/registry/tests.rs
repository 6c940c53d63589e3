//! Requests against a scripted registry: tokens, redirects, retries, limits.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::Method;

use super::auth::{AuthError, Credentials, Keyring};
use super::client::{Access, Client, Target};
use super::error::{Fault, RegistryError};
use super::manifest;
use super::resolve::{Resolved, resolve};
use super::retry::Patience;
use super::scripted::{Fixture, OCI_INDEX, Reply, Scripted, Seen, impatient};
use super::session::{Payload, Request};
use crate::spec::digest::Digest;
use crate::spec::platform::Platform;
use crate::spec::registries::Domain;
use crate::store::unpack::Compression;

const ACCESS: Access<'static> =
    Access { tls_verify: None, cert_dir: None, mirror: None, keyring: None, registries: None };

fn fixture() -> Fixture {
    Fixture::new(&[(b"one", Compression::Gzip)], false)
}

fn resolve_at(
    address: &str,
    name: &str,
    platform: Option<&str>,
    patience: Patience,
) -> Result<Resolved, RegistryError> {
    let reference = format!("{address}/{name}").parse().unwrap();
    let platform: Option<Platform> = platform.map(|text| text.parse().unwrap());
    super::block_on(async {
        let client = Client::connect(&reference, &ACCESS, patience).await?;
        resolve(&client, platform.as_ref(), &|_| None, &mut |_, _| {}).await
    })
    .unwrap()
}

fn resolved(server: &Scripted, name: &str) -> Result<Resolved, RegistryError> {
    resolve_at(&server.address, name, None, impatient())
}

fn refusal(server: &Scripted) -> String {
    resolved(server, "a/b").unwrap_err().to_string()
}

/// A registry that wants a token; `realm` may use HOST for its own address.
fn guarded(
    fixture: Fixture,
    realm: &'static str,
    answer: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static,
) -> Scripted {
    Scripted::start(move |seen, before| {
        if seen.path.starts_with("/token") {
            return answer(seen, before);
        }
        match seen.header("authorization") {
            Some("Bearer good") => fixture.reply(seen),
            _ => {
                let realm = realm.replace("HOST", seen.header("host").unwrap());
                let challenge = format!(r#"Bearer realm="{realm}",service="tests",scope="repository:other:push""#);
                Reply::new(401, r#"{"errors":[{"code":"UNAUTHORIZED"}]}"#).with("WWW-Authenticate", challenge)
            }
        }
    })
}

#[test]
fn an_index_leads_to_the_platform_asked_for() {
    for docker in [false, true] {
        let mut fixture = Fixture::new(&[(b"one", Compression::Gzip)], docker);
        let index = fixture.index(&[("unknown", "unknown"), ("linux", "s390x"), ("linux", "amd64")], docker);
        let resolved_digest = Digest::of(&index);
        fixture.tag("multi", if docker { super::scripted::DOCKER_LIST } else { OCI_INDEX }, index);
        let server = Scripted::start(move |seen, _| fixture.reply(seen));
        let found = resolve_at(&server.address, "a/b:multi", Some("linux/amd64"), impatient()).unwrap();
        assert_eq!(found.resolved, resolved_digest);
        assert_eq!(found.layers.len(), 1);
        let error = resolve_at(&server.address, "a/b:multi", Some("linux/arm64"), impatient()).unwrap_err().to_string();
        assert!(error.contains("no matching manifest for linux/arm64 in the manifest list entries"), "{error}");
        assert!(error.contains("linux/s390x, linux/amd64") && !error.contains("unknown"), "{error}");
        let error = resolve_at(&server.address, "a/b", Some("linux/arm64"), impatient()).unwrap_err();
        assert!(matches!(error, RegistryError::Platform { .. }), "{error}");
    }
}

#[test]
fn an_index_may_be_nested_once() {
    let mut fixture = fixture();
    let mut body = fixture.index(&[("linux", "amd64")], false);
    for (depth, works) in [("d1", true), ("d2", true), ("d3", false)] {
        fixture.tag(depth, OCI_INDEX, body.clone());
        let server = Scripted::start({
            let fixture = fixture.clone();
            move |seen, _| fixture.reply(seen)
        });
        let found = resolve_at(&server.address, &format!("a/b:{depth}"), Some("linux/amd64"), impatient());
        assert_eq!(found.is_ok(), works, "{depth}");
        let entry = super::scripted::descriptor(OCI_INDEX, &body);
        body = serde_json::json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]})
            .to_string()
            .into_bytes();
    }
}

#[test]
fn unknown_names_get_dockers_words() {
    let fixture = fixture();
    let server = Scripted::start(move |seen, _| match &seen.path {
        path if path.contains("/secret/") => Reply::new(403, r#"{"errors":[{"code":"DENIED","message":"no"}]}"#),
        path if path.contains("/nowhere/") => Reply::new(404, r#"{"errors":[{"code":"NAME_UNKNOWN","message":"x"}]}"#),
        _ => fixture.reply(seen),
    });
    let host = server.address.clone();
    let text = |name: &str| resolved(&server, name).unwrap_err().to_string();
    assert_eq!(text("a:no"), format!("manifest for {host}/a:no not found: manifest unknown: manifest unknown"));
    assert!(
        text("secret").starts_with(&format!("pull access denied for {host}/secret, repository does not exist or may"))
    );
    assert!(text("nowhere").starts_with(&format!("repository {host}/nowhere not found: name unknown")));
}

#[test]
fn a_reference_by_digest_gets_that_or_nothing() {
    let fixture = fixture();
    let digest = Digest::of(&fixture.manifest);
    let server = Scripted::start({
        let fixture = fixture.clone();
        move |seen, _| fixture.reply(seen)
    });
    assert_eq!(resolved(&server, &format!("a@{digest}")).unwrap().resolved, digest);
    let liar = Scripted::start(move |_, _| {
        Reply::new(200, [&fixture.manifest[..], b" "].concat())
            .with("Content-Type", fixture.manifest_type)
            .with("Docker-Content-Digest", digest.to_string())
    });
    let error = resolved(&liar, &format!("a@{digest}")).unwrap_err();
    assert!(matches!(error, RegistryError::Digest { expected, .. } if expected == digest), "{error}");
}

#[test]
fn a_token_is_fetched_once_and_renewed_once() {
    let server = guarded(fixture(), "http://HOST/token", |_, _| Reply::new(200, r#"{"token":"good"}"#));
    resolved(&server, "a/b").unwrap();
    let tokens: Vec<_> = server.seen().into_iter().filter(|seen| seen.path.starts_with("/token")).collect();
    assert_eq!(tokens.len(), 1);
    assert_eq!(tokens[0].path, "/token?service=tests&scope=repository%3Aa%2Fb%3Apull");
    assert_eq!(tokens[0].header("authorization"), None);

    let stale = guarded(fixture(), "http://HOST/token", |_, _| Reply::new(200, r#"{"access_token":"stale"}"#));
    assert!(matches!(resolved(&stale, "a/b"), Err(RegistryError::AccessDenied(_))));
    assert_eq!((stale.count("/token"), stale.count("/manifests/")), (1, 2));
}

#[test]
fn token_servers_are_distrusted() {
    for (answer, part) in [
        (Reply::new(200, "{}"), "no usable token"),
        (Reply::new(200, r#"{"token":"a\r\nX: y"}"#), "no usable token"),
        (Reply::new(200, vec![b' '; (1 << 20) + 1]), "larger than"),
        (Reply::new(302, "").with("Location", "/token2"), "refused redirect"),
        (Reply::new(403, ""), "pull access denied"),
        (Reply::new(400, "\u{1b}[31m"), "answered 400"),
    ] {
        let server = guarded(fixture(), "http://HOST/token", move |_, _| answer.clone());
        let error = refusal(&server);
        assert!(error.contains(part) && !error.contains('\u{1b}'), "{error}");
    }
    for realm in
        ["http://192.0.2.1/token", "ftp://HOST/token", "http://me:secret@HOST/token", "file:///token", "nonsense"]
    {
        let server = guarded(fixture(), realm, |_, _| Reply::new(200, r#"{"token":"good"}"#));
        let error = resolved(&server, "a/b").unwrap_err();
        assert!(matches!(error, RegistryError::Realm { .. }), "{realm}: {error}");
        assert_eq!(server.count("token"), 0);
    }
    let basic = Scripted::start(|_, _| Reply::new(401, "").with("WWW-Authenticate", r#"Basic realm="x""#));
    assert!(refusal(&basic).starts_with("authentication required: registry 127.0.0.1:"));
}

#[test]
fn redirects_end_and_carry_no_token_away() {
    let elsewhere = Scripted::start({
        let fixture = fixture();
        move |seen, _| fixture.reply(seen)
    });
    let (fixture, to) = (fixture(), elsewhere.address.clone());
    let server = Scripted::start(move |seen, _| match seen.header("authorization") {
        Some("Bearer good") if seen.is_blob() => {
            Reply::new(307, "").with("Location", format!("http://{to}{}", seen.path))
        }
        Some("Bearer good") => fixture.reply(seen),
        _ if seen.path.starts_with("/token") => Reply::new(200, r#"{"token":"good"}"#),
        _ => {
            let realm = format!(r#"Bearer realm="http://{}/token""#, seen.header("host").unwrap());
            Reply::new(401, "").with("WWW-Authenticate", realm)
        }
    });
    resolved(&server, "a/b").unwrap();
    let seen = elsewhere.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].header("authorization"), seen[0].header("referer")), (None, None));

    let endless = Scripted::start(|seen, _| Reply::new(302, "").with("Location", format!("{}x", seen.path)));
    assert!(refusal(&endless).contains("more than 5 redirects"));
    assert_eq!(endless.seen().len(), 6);
    for location in ["http://192.0.2.1/x", "http://u:p@127.0.0.1/x", "gopher://127.0.0.1/", "http://"] {
        let server = Scripted::start(move |_, _| Reply::new(302, "").with("Location", location));
        let error = refusal(&server);
        assert!(error.contains("refused redirect"), "{location}: {error}");
        assert_eq!(server.seen().len(), 1);
    }
    let nowhere = Scripted::start(|_, _| Reply::new(302, ""));
    assert!(refusal(&nowhere).contains("refused redirect"));
}

#[test]
fn passing_failures_are_retried_and_lasting_ones_are_not() {
    for status in [429, 500, 502, 503, 504] {
        let fixture = fixture();
        let server = Scripted::start(move |seen, before| match before {
            0 | 1 => Reply::new(status, "busy").with("Retry-After", "0"),
            _ => fixture.reply(seen),
        });
        resolved(&server, "a/b").unwrap();
        assert_eq!(server.count("/manifests/"), 3, "{status}");
    }
    let down =
        Scripted::start(|_, _| Reply::new(503, r#"{"errors":[{"code":"UNAVAILABLE","message":"go\u001b[0m away"}]}"#));
    let error = refusal(&down);
    assert!(error.contains("503 Service Unavailable: UNAVAILABLE: go") && !error.contains('\u{1b}'), "{error}");
    assert_eq!(down.seen().len(), impatient().tries as usize);
    for status in [400, 404, 405, 410, 418] {
        let server = Scripted::start(move |_, _| Reply::new(status, "no"));
        assert!(resolved(&server, "a/b").is_err());
        assert_eq!(server.seen().len(), 1, "{status}");
    }
}

#[test]
fn retry_after_is_honoured_up_to_the_cap() {
    let fixture = fixture();
    let server = Scripted::start(move |seen, before| match before {
        0 => Reply::new(429, "").with("Retry-After", "3600"),
        _ => fixture.reply(seen),
    });
    let patience = Patience { pause_max: Duration::from_millis(300), ..impatient() };
    let started = Instant::now();
    resolve_at(&server.address, "a/b", None, patience).unwrap();
    assert!((Duration::from_millis(300)..Duration::from_secs(5)).contains(&started.elapsed()));
}

#[test]
fn truncated_and_slow_documents_are_asked_for_again() {
    let fixture = fixture();
    let server = Scripted::start({
        let fixture = fixture.clone();
        move |seen, before| if before == 0 { fixture.reply(seen).cut(7) } else { fixture.reply(seen) }
    });
    resolved(&server, "a/b").unwrap();
    let slow = Scripted::start(move |seen, before| match before {
        0 => fixture.reply(seen).cut(7).lingering(Duration::from_secs(3)),
        _ => fixture.reply(seen),
    });
    let patience = Patience { answer: Duration::from_millis(500), ..impatient() };
    resolve_at(&slow.address, "a/b", None, patience).unwrap();
}

#[test]
fn documents_have_a_limit() {
    let big = || vec![b' '; (4 << 20) + 1];
    let announced = Scripted::start(move |_, _| Reply::new(200, big()).with("Content-Type", OCI_INDEX));
    assert!(refusal(&announced).contains("manifest from 127.0.0.1:"));
    let unannounced = Scripted::start(move |_, _| Reply::new(200, big()).announcing(None));
    assert!(refusal(&unannounced).contains("is larger than 4194304 bytes"));
    assert_eq!(unannounced.seen().len(), 1);
    // An error body is cut off, not read to its end.
    let error = Scripted::start(move |_, _| Reply::new(404, vec![b'x'; 1 << 20]));
    assert!(refusal(&error).contains("manifest unknown"));
}

#[test]
fn a_config_must_be_what_the_manifest_says() {
    let fixture = fixture();
    let wrong = Scripted::start({
        let fixture = fixture.clone();
        move |seen, _| if seen.is_blob() { Reply::new(200, "{}") } else { fixture.reply(seen) }
    });
    assert!(refusal(&wrong).contains("config arrived wrong: digest sha256:"));
    let config =
        serde_json::json!({"architecture": "amd64", "os": "windows", "rootfs": {"type": "layers", "diff_ids": []}});
    let few = Fixture::with_config(&[(b"one", Compression::None)], false, &config);
    let windows = Scripted::start(move |seen, _| few.reply(seen));
    assert!(refusal(&windows).contains("it is made for windows"));
    let config =
        serde_json::json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}});
    let few = Fixture::with_config(&[(b"one", Compression::None)], false, &config);
    let server = Scripted::start(move |seen, _| few.reply(seen));
    assert!(refusal(&server).contains("its config names 0 layers, its manifest 1"));
}

#[test]
fn an_absent_registry_is_named() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let started = Instant::now();
    let error = resolve_at(&format!("127.0.0.1:{port}"), "a", None, impatient()).unwrap_err();
    assert!(matches!(error, RegistryError::Transport { fault: Fault::Refused, .. }));
    assert_eq!(error.to_string(), format!("cannot reach registry 127.0.0.1:{port}: connection refused"));
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn plain_http_is_not_tried_when_verification_is_asked_for() {
    let fixture = fixture();
    let server = Scripted::start(move |seen, _| fixture.reply(seen));
    let reference = format!("{}/a", server.address).parse().unwrap();
    let access = Access { tls_verify: Some(true), ..ACCESS };
    let patience = Patience { connect: Duration::from_millis(500), answer: Duration::from_millis(500), ..impatient() };
    let answer = super::block_on(async {
        let client = Client::connect(&reference, &access, patience).await?;
        client.get(&Target::Manifest("latest".to_owned()), manifest::ACCEPT).await.map(|_| ())
    });
    assert!(answer.unwrap().is_err());
    assert!(server.seen().iter().all(|seen| !seen.path.starts_with("/v2/")));
}

/// What a registry behind TLS answers to one way of trusting it.
fn resolve_tls(server: &Scripted, access: Access<'_>) -> Result<Resolved, RegistryError> {
    let reference = format!("{}/a", server.address).parse().unwrap();
    let work = async {
        let client = Client::connect(&reference, &access, impatient()).await?;
        resolve(&client, None, &|_| None, &mut |_, _| {}).await
    };
    super::block_on(work).unwrap()
}

#[test]
fn a_private_authority_is_trusted_when_named() {
    let fixture = fixture();
    let server = Scripted::start_tls(move |seen, _| fixture.reply(seen));
    let directory = tempfile::tempdir().unwrap();
    let access = |tls_verify, named| Access {
        tls_verify,
        cert_dir: if named { Some(directory.path()) } else { None },
        ..ACCESS
    };
    for verify in [None, Some(true)] {
        let error = resolve_tls(&server, access(verify, false)).unwrap_err();
        assert!(error.is_tls() && error.to_string().contains("UnknownIssuer"), "{error}");
    }
    assert!(server.seen().is_empty());
    resolve_tls(&server, access(Some(false), false)).unwrap();

    std::fs::write(directory.path().join("ca.crt"), include_bytes!("testdata/ca.crt")).unwrap();
    for verify in [None, Some(true)] {
        resolve_tls(&server, access(verify, true)).unwrap();
    }
    std::fs::write(directory.path().join("bad.crt"), "not a certificate").unwrap();
    let error = resolve_tls(&server, access(None, true)).unwrap_err().to_string();
    assert!(error.contains("bad.crt: no PEM certificate in it"), "{error}");
    let missing = Access { tls_verify: None, cert_dir: Some(&directory.path().join("none")), ..ACCESS };
    assert!(resolve_tls(&server, missing).unwrap_err().to_string().contains("does not exist"));
}

#[test]
fn nothing_leads_from_https_to_plain_http() {
    let plain = Scripted::start(|_, _| Reply::new(200, r#"{"token":"good"}"#));
    let access = Access { tls_verify: Some(false), cert_dir: None, ..ACCESS };
    let to = plain.address.clone();
    let redirecting =
        Scripted::start_tls(move |seen, _| Reply::new(307, "").with("Location", format!("http://{to}{}", seen.path)));
    assert!(matches!(resolve_tls(&redirecting, access), Err(RegistryError::Redirect { .. })));
    let challenge = format!(r#"Bearer realm="http://{}/token""#, plain.address);
    let asking = Scripted::start_tls(move |_, _| Reply::new(401, "").with("WWW-Authenticate", challenge.clone()));
    assert!(matches!(resolve_tls(&asking, access), Err(RegistryError::Realm { .. })));
    assert!(plain.seen().is_empty());
}

/// Knows one registry, and counts how often it is asked.
#[derive(Debug)]
struct Ring {
    registry: String,
    credentials: Credentials,
    asked: std::sync::atomic::AtomicUsize,
}

impl Keyring for Ring {
    fn credentials(&self, registry: &Domain, _: &str) -> Result<Option<Credentials>, AuthError> {
        self.asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok((registry.as_str() == self.registry).then(|| self.credentials.clone()))
    }
}

fn ring(registry: &str, password: &str) -> Arc<Ring> {
    let credentials = Credentials::Basic { user: "me".to_owned(), password: password.to_owned() };
    Arc::new(Ring { registry: registry.to_owned(), credentials, asked: Default::default() })
}

fn resolve_as(server: &Scripted, ring: &Arc<Ring>) -> Result<Resolved, RegistryError> {
    let keyring: Arc<dyn Keyring> = ring.clone();
    let reference = format!("{}/a/b", server.address).parse().unwrap();
    super::block_on(async {
        let access = Access { keyring: Some(&keyring), ..ACCESS };
        let client = Client::connect(&reference, &access, impatient()).await?;
        resolve(&client, None, &|_| None, &mut |_, _| {}).await
    })
    .unwrap()
}

/// `me:hush` in base64.
const BASIC: &str = "Basic bWU6aHVzaA==";

#[test]
fn a_password_is_given_when_it_is_asked_for() {
    let open = Scripted::start({
        let fixture = fixture();
        move |seen, _| fixture.reply(seen)
    });
    let keys = ring(&open.address, "hush");
    resolve_as(&open, &keys).unwrap();
    assert_eq!(keys.asked.load(std::sync::atomic::Ordering::Relaxed), 0);

    let fixture = fixture();
    let server = Scripted::start(move |seen, _| match seen.header("authorization") {
        Some(BASIC) => fixture.reply(seen),
        _ => Reply::new(401, "").with("WWW-Authenticate", r#"Basic realm="x""#),
    });
    let keys = ring(&server.address, "hush");
    resolve_as(&server, &keys).unwrap();
    assert_eq!(keys.asked.load(std::sync::atomic::Ordering::Relaxed), 1);
    // Asked once, then sent along.
    assert_eq!(server.seen().iter().filter(|seen| seen.header("authorization").is_none()).count(), 1);
    let wrong = resolve_as(&server, &ring(&server.address, "wrong")).unwrap_err();
    assert!(matches!(wrong, RegistryError::Unauthorized(_)) && !wrong.to_string().contains("wrong "), "{wrong}");
    let others = resolve_as(&server, &ring("other.example", "hush")).unwrap_err();
    assert!(matches!(others, RegistryError::AuthenticationRequired(_)), "{others}");
}

#[test]
fn a_password_goes_to_the_token_server_of_the_house_only() {
    let server = guarded(fixture(), "http://HOST/token", |seen, _| match seen.header("authorization") {
        Some(BASIC) => Reply::new(200, r#"{"token":"good"}"#),
        Some(_) => Reply::new(401, ""),
        None => Reply::new(403, ""),
    });
    resolve_as(&server, &ring(&server.address, "hush")).unwrap();
    let token = server.seen().into_iter().find(|seen| seen.path.starts_with("/token")).unwrap();
    assert_eq!(token.path, "/token?service=tests&account=me&scope=repository%3Aa%2Fb%3Apull");
    assert!(
        server.seen().iter().all(|seen| seen.path.starts_with("/token") || seen.header("authorization") != Some(BASIC))
    );
    let wrong = resolve_as(&server, &ring(&server.address, "wrong")).unwrap_err();
    assert!(matches!(wrong, RegistryError::Unauthorized(_)), "{wrong}");
    assert!(matches!(resolved(&server, "a/b"), Err(RegistryError::AccessDenied(_))));

    let away = guarded(fixture(), "https://auth.example/token", |_, _| Reply::new(500, ""));
    let refused = resolve_as(&away, &ring(&away.address, "hush")).unwrap_err();
    assert!(matches!(refused, RegistryError::Realm { .. }) && !refused.to_string().contains("hush"), "{refused}");
    assert!(refused.to_string().contains("token-servers"), "{refused}");
}

#[test]
fn an_aged_token_is_renewed_before_and_a_refused_one_after() {
    // What the client is told: that a token is good for long, and for no time at all.
    for (lifetime, unauthorized) in [("3600", 3), ("1", 1)] {
        let fixture = fixture();
        let server = Scripted::start(move |seen, before| {
            if seen.path.starts_with("/token") {
                return Reply::new(200, format!(r#"{{"token":"t{before}","expires_in":{lifetime}}}"#));
            }
            // Each path takes a token of its own, as if all others had expired.
            let number = if seen.is_blob() { "t1" } else { "t0" };
            match seen.header("authorization") {
                Some(value) if value == format!("Bearer {number}") || lifetime == "1" => fixture.reply(seen),
                _ => {
                    let realm = format!(r#"Bearer realm="http://{}/token""#, seen.header("host").unwrap());
                    Reply::new(401, "").with("WWW-Authenticate", realm)
                }
            }
        });
        let reference = format!("{}/a/b", server.address).parse().unwrap();
        super::block_on(async {
            let client = Client::connect(&reference, &ACCESS, impatient()).await.unwrap();
            let manifest = Target::Manifest("latest".to_owned());
            client.get(&manifest, manifest::ACCEPT).await.unwrap();
            tokio::time::sleep(Duration::from_millis(900)).await;
            resolve(&client, None, &|_| None, &mut |_, _| {}).await
        })
        .unwrap()
        .map(drop)
        .unwrap_or_else(|error| panic!("{lifetime}: {error}"));
        assert_eq!(server.count("/token"), 2, "{lifetime}");
        let refused = server.seen().iter().filter(|seen| !seen.path.starts_with("/token")).count();
        assert!(refused >= unauthorized, "{lifetime}: {refused}");
    }
}

#[test]
fn a_body_is_sent_again_with_the_token_and_never_elsewhere() {
    let elsewhere = Scripted::start(|_, _| Reply::new(201, ""));
    let to = elsewhere.address.clone();
    let server = Scripted::start(move |seen, _| match (seen.path.as_str(), seen.header("authorization")) {
        (path, _) if path.starts_with("/token") => Reply::new(200, r#"{"token":"good"}"#),
        ("/v2/a/b/away", Some(_)) => Reply::new(307, "").with("Location", format!("http://{to}/x")),
        (_, Some("Bearer good")) => Reply::new(201, ""),
        _ => {
            let realm = format!(r#"Bearer realm="http://{}/token""#, seen.header("host").unwrap());
            Reply::new(401, "").with("WWW-Authenticate", realm)
        }
    });
    let reference = format!("{}/a/b", server.address).parse().unwrap();
    let opened = std::cell::Cell::new(0);
    let open = || {
        opened.set(opened.get() + 1);
        let pieces = [Ok(b"one ".to_vec()), Ok(b"two".to_vec())];
        Ok(Box::pin(futures_util::stream::iter(pieces)) as super::session::Chunks)
    };
    super::block_on(async {
        let client = Client::connect_to_push(&reference, &ACCESS, impatient()).await.unwrap();
        let put = |path: &str| {
            Request::new(Method::PUT, client.url(path).unwrap(), client.scope())
                .payload(Payload::Stream { length: 7, open: &open })
        };
        let answer = client.session().send(&put("blobs/uploads/1")).await.unwrap();
        assert_eq!(answer.status(), 201);
        let refused = client.session().send(&put("away")).await.unwrap_err();
        assert!(matches!(refused, RegistryError::Redirect { .. }), "{refused}");
    })
    .unwrap();
    assert!(elsewhere.seen().is_empty());
    assert_eq!(opened.get(), 3);
    let token = server.seen().into_iter().find(|seen| seen.path.starts_with("/token")).unwrap();
    assert!(token.path.ends_with("scope=repository%3Aa%2Fb%3Apull%2Cpush"), "{}", token.path);
    let last = server.seen().into_iter().rfind(|seen| seen.path.ends_with("/1")).unwrap();
    assert_eq!((last.method.as_str(), &last.body[..]), ("PUT", &b"one two"[..]));
}
