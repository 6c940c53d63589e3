use super::*;
use crate::spec::dockerfile::parse;

const FILE: &str = "ARG B=one
FROM a AS one
FROM $B AS Two
COPY --from=0 / /
FROM scratch AS other
RUN --mount=from=later,target=/x x
FROM two
COPY --from=TWO / /
COPY --from=busybox / /
FROM scratch AS later
FROM scratch AS one
";

fn file(text: &str) -> Dockerfile {
    parse(text.as_bytes()).unwrap()
}

#[test]
fn names_mean_stages() {
    let file = file(FILE);
    assert_eq!(named(&file, "TWO"), Some(1));
    assert_eq!(named(&file, "one"), Some(5));
    assert_eq!(base(&file, 1, "one"), Reference::Stage(0));
    assert_eq!(base(&file, 0, "one"), Reference::Outside("one".to_owned()));
    assert_eq!(base(&file, 2, "scratch"), Reference::Scratch);
    assert_eq!(base(&file, 2, "later"), Reference::Outside("later".to_owned()));
    assert_eq!(from(&file, "later"), Ok(Reference::Stage(4)));
    assert_eq!(from(&file, "3"), Ok(Reference::Stage(3)));
    assert_eq!(from(&file, "6"), Err("invalid stage index 6".to_owned()));
    assert_eq!(from(&file, "-1"), Err("invalid stage index -1".to_owned()));
    assert_eq!(from(&file, "busybox:1"), Ok(Reference::Outside("busybox:1".to_owned())));
}

#[test]
fn targets() {
    let file = file(FILE);
    for (name, expected) in [(None, 5), (Some(""), 5), (Some("Other"), 2), (Some("3"), 3)] {
        assert_eq!(target(&file, name), Ok(expected), "{name:?}");
    }
    for (name, message) in [
        ("othr", "target stage \"othr\" could not be found (did you mean other?)"),
        ("nothing", "target stage \"nothing\" could not be found"),
        ("9", "target stage \"9\" could not be found"),
    ] {
        assert_eq!(target(&file, Some(name)).unwrap_err().message, message);
    }
}

#[test]
fn only_what_is_needed() {
    let file = file(FILE);
    let args = |name: &str| (name == "B").then(|| "one".to_owned());
    let of = |target| needed(&file, target, &args, &|_| false).unwrap();
    assert_eq!(of(0), [0]);
    assert_eq!(of(1), [0, 1]);
    assert_eq!(of(2), [4, 2]);
    assert_eq!(of(3), [0, 1, 3]);
    assert_eq!(needed(&file, 3, &args, &|name| name.eq_ignore_ascii_case("two")).unwrap(), [3]);
    // Without the argument the base is an image of no name.
    assert_eq!(needed(&file, 1, &|_| None, &|_| false).unwrap(), [0, 1]);
}

#[test]
fn circles_are_found() {
    for (text, message, line) in [
        ("FROM a AS x\nCOPY --from=x / /", "circular dependency detected on stage: x", 2),
        ("FROM a\nCOPY --from=y / /\nFROM b AS y\nCOPY --from=0 / /", "circular dependency detected on stage: y", 2),
        ("FROM a AS p\nCOPY --from=7 / /", "invalid stage index 7", 2),
        ("FROM ${A", "failed to process \"${A\": syntax error: missing '}'", 1),
    ] {
        let file = file(text);
        let error = needed(&file, file.stages.len() - 1, &|_| None, &|_| false).unwrap_err();
        assert_eq!((error.message.as_str(), error.lines.map(|lines| lines.first)), (message, Some(line)), "{text}");
    }
    // Long chains are no matter.
    let mut text = String::from("FROM a AS s0\n");
    (1..4_000).for_each(|n| text.push_str(&format!("FROM b AS s{n}\nCOPY --from={} / /\n", n - 1)));
    assert_eq!(needed(&file(&text), 3_999, &|_| None, &|_| false).unwrap().len(), 4_000);
}
