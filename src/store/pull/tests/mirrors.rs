//! Several places for one image: what each is asked, and what it never sees.

use super::*;
use crate::store::registry::scripted::Seen;

/// Serves the fixture to whoever brings `token`, and gives that to whoever asks.
fn guarded(fixture: &Fixture, token: &'static str) -> Scripted {
    guarded_by(fixture, token, |fixture, seen| fixture.reply(seen))
}

fn guarded_by(
    fixture: &Fixture,
    token: &'static str,
    reply: impl Fn(&Fixture, &Seen) -> Reply + Send + Sync + 'static,
) -> Scripted {
    let fixture = fixture.clone();
    Scripted::start(move |seen, _| {
        if seen.path.starts_with("/token") {
            return Reply::new(200, format!(r#"{{"token":"{token}"}}"#));
        }
        if seen.header("authorization") == Some(&format!("Bearer {token}")) {
            return reply(&fixture, seen);
        }
        let realm = format!("Bearer realm=\"http://{}/token\"", seen.header("host").unwrap());
        Reply::new(401, "{}").with("WWW-Authenticate", realm)
    })
}

fn tokens(server: &Scripted) -> Vec<String> {
    let mut tokens: Vec<String> =
        server.seen().iter().filter_map(|seen| seen.header("authorization").map(str::to_owned)).collect();
    tokens.sort();
    tokens.dedup();
    tokens
}

impl Bench {
    /// Pulls from `server`, before which stand `mirrors`.
    fn pull_over(&self, mirrors: &[&str], server: &Scripted, name: &str) -> (Result<Pulled, PullError>, Recorder) {
        let reference: ImageRef = format!("{}/{name}", server.address).parse().unwrap();
        let mut options = options();
        let mirrors = mirrors.iter().map(|mirror| mirror.parse().unwrap()).collect();
        options.registries.mirrors.insert(server.address.parse().unwrap(), mirrors);
        let mut progress = Recorder::default();
        let pulled = pull(&self.store, &reference, &options, &mut Hasher, &mut progress);
        (pulled, progress)
    }
}

#[test]
fn the_first_that_has_it_gives_everything() {
    let fixture = one_layer(b"content");
    let (registry, mirror, bench) = (honest(&fixture), honest(&fixture), Bench::new());
    let path = format!("{}/hub/proxy", mirror.address);
    let (pulled, progress) = bench.pull_over(&["127.0.0.1:1", &path], &registry, "a/b");
    assert_eq!(pulled.unwrap().manifest, Digest::of(&fixture.manifest));
    assert!(registry.seen().is_empty(), "{:?}", registry.seen());
    assert!(mirror.seen().iter().all(|seen| seen.path.starts_with("/v2/hub/proxy/a/b/")), "{:?}", mirror.seen());
    let [(dead, reason)] = &progress.passed_over[..] else { panic!("{:?}", progress.passed_over) };
    assert_eq!(
        (dead.as_str(), reason.as_str()),
        ("127.0.0.1:1", "cannot reach registry 127.0.0.1:1: connection refused")
    );
    let name = format!("{}/a/b:latest", registry.address).parse().unwrap();
    assert!(bench.store.images().by_name(&name).unwrap().is_some(), "the name is the registry's");
}

#[test]
fn tokens_stay_where_they_are_from() {
    let fixture = Fixture::new(&[(&noise(1000, 1), Compression::None), (&noise(1000, 2), Compression::None)], false);
    let (registry, bench) = (guarded(&fixture, "registrys"), Bench::new());
    let mirror = guarded_by(&fixture, "mirrors", |fixture, seen| match seen.is_blob() {
        true => Reply::new(404, "{}"),
        false => fixture.reply(seen),
    });
    let (pulled, progress) = bench.pull_over(&[&mirror.address], &registry, "a/b");
    pulled.unwrap();
    assert_eq!(bench.contents().len(), 2);
    assert_eq!(tokens(&mirror), ["Bearer mirrors"]);
    assert_eq!(tokens(&registry), ["Bearer registrys"]);
    assert_eq!(progress.passed_over.len(), 1, "{:?}", progress.passed_over);
}

#[test]
fn a_half_layer_is_gone_on_with_elsewhere() {
    let content = noise(400_000, 3);
    let (fixture, bench) = (one_layer(&content), Bench::new());
    let mirror = guarded_by(&fixture, "mirrors", |fixture, seen| match seen.is_blob() && seen.range().is_none() {
        true if fixture.layers.iter().any(|layer| seen.path.ends_with(&Digest::of(layer).to_string())) => {
            fixture.reply(seen).cut(100_000)
        }
        true => fixture.reply(seen),
        false if seen.is_blob() => Reply::new(500, ""),
        false => fixture.reply(seen),
    });
    let registry = honest(&fixture);
    bench.pull_over(&[&mirror.address], &registry, "a").0.unwrap();
    assert_eq!(bench.contents(), [content]);
    let ranges: Vec<_> = registry.seen().iter().map(Seen::range).collect();
    assert_eq!(ranges, [Some(100_000)], "only the rest is asked of the registry");
}

#[test]
fn wrong_bytes_of_a_mirror_cost_time_only() {
    let content = noise(100_000, 4);
    let (fixture, bench) = (one_layer(&content), Bench::new());
    let mut wrong = fixture.clone();
    wrong.layers[0][5] ^= 1;
    let layer = Digest::of(&content).to_string();
    let mirror = Scripted::start(move |seen, _| match seen.path.ends_with(&layer) {
        true => Reply::new(200, wrong.layers[0].clone()),
        false => wrong.reply(seen),
    });
    let registry = honest(&fixture);
    let (pulled, progress) = bench.pull_over(&[&mirror.address], &registry, "a");
    pulled.unwrap();
    assert_eq!(bench.contents(), [content]);
    assert!(progress.passed_over[0].1.contains("arrived wrong"), "{:?}", progress.passed_over);
    assert_eq!(registry.seen().len(), 1);
}

#[test]
fn a_digest_means_the_same_image_everywhere() {
    let (fixture, other) = (one_layer(b"asked for"), one_layer(b"another"));
    let digest = Digest::of(&fixture.manifest);
    let lying =
        Scripted::start(move |_, _| Reply::new(200, other.manifest.clone()).with("Content-Type", other.manifest_type));
    let (registry, bench) = (honest(&fixture), Bench::new());
    let (pulled, progress) = bench.pull_over(&[&lying.address], &registry, &format!("a@{digest}"));
    assert_eq!(pulled.unwrap().manifest, digest);
    assert_eq!((bench.contents(), lying.count("/blobs/")), (vec![b"asked for".to_vec()], 0));
    assert!(progress.passed_over[0].1.contains("arrived wrong"), "{:?}", progress.passed_over);
}

#[test]
fn the_registrys_error_is_the_last_word() {
    let (registry, mirror) = (honest(&one_layer(b"x")), honest(&one_layer(b"y")));
    let bench = Bench::new();
    let (pulled, progress) = bench.pull_over(&[&mirror.address], &registry, "a:absent");
    let error = pulled.unwrap_err().to_string();
    assert!(error.contains(&format!("{}/a:absent not found", registry.address)), "{error}");
    assert_eq!(progress.passed_over.len(), 1);
    bench.assert_clean(0);
}
