use super::*;
use proptest::prelude::*;

fn changed(changes: &[&str]) -> Result<Defaults, String> {
    let mut config = ImageConfig::default();
    config.config.env = vec!["PATH=/bin".to_owned(), "A=one two".to_owned(), "EMPTY=".to_owned()];
    config.config.cmd = Some(vec!["old".to_owned()]);
    let changes: Vec<String> = changes.iter().map(|change| (*change).to_owned()).collect();
    apply(&mut config, &changes).map_err(|error| error.to_string())?;
    Ok(config.config)
}

fn words(words: &[&str]) -> Option<Vec<String>> {
    Some(words.iter().map(|word| (*word).to_owned()).collect())
}

#[test]
fn commands_in_both_forms() {
    assert_eq!(changed(&["CMD echo  $A"]).unwrap().cmd, words(&["/bin/sh", "-c", "echo  $A"]));
    assert_eq!(changed(&[r#"cmd ["a", "b c"]"#]).unwrap().cmd, words(&["a", "b c"]));
    assert_eq!(changed(&["CMD [a]"]).unwrap().cmd, words(&["/bin/sh", "-c", "[a]"]));
    assert_eq!(changed(&["CMD=/bin/x y"]).unwrap().cmd, words(&["/bin/sh", "-c", "/bin/x y"]));
    assert_eq!(changed(&["CMD []"]).unwrap().cmd, words(&[]));
    let entrypoint = changed(&[r#"ENTRYPOINT ["e"]"#]).unwrap();
    assert_eq!((entrypoint.entrypoint, entrypoint.cmd), (words(&["e"]), None));
    let both = changed(&[r#"CMD ["c"]"#, r#"ENTRYPOINT ["e"]"#]).unwrap();
    assert_eq!((both.entrypoint, both.cmd), (words(&["e"]), words(&["c"])));
    assert_eq!(changed(&["ENTRYPOINT []"]).unwrap().entrypoint, None);
}

#[test]
fn variables_and_labels() {
    let env = |change: &str| changed(&[change]).map(|defaults| defaults.env[1..].join("|"));
    assert_eq!(env(r#"ENV A=1 B="x y" C=z\ w D='$A'"#).unwrap(), "A=1|EMPTY=|B=x y|C=z w|D=$A");
    assert_eq!(env("ENV B the rest of it").unwrap(), "A=one two|EMPTY=|B=the rest of it");
    assert_eq!(env("ENV B=$A C=${A}! D=$NONE E=${NONE:-d}").unwrap(), "A=one two|EMPTY=|B=one two|C=one two!|D=|E=d");
    assert_eq!(env("ENV B=${EMPTY:-d} C=${EMPTY-d} D=${A:+y} E=$").unwrap(), "A=one two|EMPTY=|B=d|C=|D=y|E=$");
    assert_eq!(changed(&["ENV B=1", "ENV C=$B"]).unwrap().env[4], "C=1");
    assert_eq!(changed(&["ENV B=1 \\\n # no\n\n C=2"]).unwrap().env[3..], ["B=1", "C=2"]);
    let labels = changed(&[r#"LABEL a.b=c "d e"="f g""#, "LABEL n=$A"]).unwrap().labels;
    assert_eq!(
        labels.into_iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>(),
        ["a.b=c", "d e=f g", "n=one two"]
    );
}

#[test]
fn everything_else() {
    let all = changed(&[
        "EXPOSE 80 8000-8001/udp",
        "USER me:us\nWORKDIR /a\nWORKDIR b",
        r#"VOLUME /data "/x""#,
        r#"VOLUME ["/with blank"]"#,
        "STOPSIGNAL SIGUSR1",
        "ONBUILD RUN  a b",
        "ONBUILD COPY . /",
        r#"HEALTHCHECK --interval=1m30s --retries=2 --timeout=0s CMD ["c", "d"]"#,
    ]);
    let all = all.unwrap();
    assert_eq!(all.exposed_ports.into_keys().collect::<Vec<_>>(), ["80/tcp", "8000/udp", "8001/udp"]);
    assert_eq!((all.user.as_str(), all.working_dir.as_str(), all.stop_signal.as_str()), ("me:us", "/a/b", "SIGUSR1"));
    assert_eq!(all.volumes.into_keys().collect::<Vec<_>>(), ["/data", "/with blank", "/x"]);
    assert_eq!(all.rest["OnBuild"], json!(["RUN  a b", "COPY . /"]));
    assert_eq!(
        all.rest["Healthcheck"],
        json!({"Test": ["CMD", "c", "d"], "Interval": 90_000_000_000i64, "Retries": 2})
    );
    assert_eq!(changed(&["HEALTHCHECK CMD a b"]).unwrap().rest["Healthcheck"], json!({"Test": ["CMD-SHELL", "a b"]}));
    assert_eq!(changed(&["healthcheck none"]).unwrap().rest["Healthcheck"], json!({"Test": ["NONE"]}));
    assert_eq!(changed(&["WORKDIR a/../b"]).unwrap().working_dir, "/b");
}

#[test]
fn refusals_are_dockers() {
    for (change, message) in [
        ("RUN x", "run is not a valid change command"),
        ("MAINTAINER me", "maintainer is not a valid change command"),
        ("ENV", "ENV requires at least one argument"),
        ("ENV A", "ENV must have two arguments"),
        ("ENV A=1 B", "Syntax error - can't find = in \"B\". Must be of the form: name=value"),
        ("ENV =1", "ENV names can not be blank"),
        ("LABEL", "LABEL requires at least one argument"),
        ("EXPOSE", "EXPOSE requires at least one argument"),
        ("EXPOSE http", "invalid containerPort: http"),
        ("USER", "USER requires exactly one argument"),
        ("WORKDIR ", "WORKDIR requires exactly one argument"),
        ("VOLUME", "VOLUME requires at least one argument"),
        ("VOLUME [\"\"]", "VOLUME specified can not be an empty string"),
        ("STOPSIGNAL NO", "invalid signal: NO"),
        ("CMD [1]", "when using JSON array syntax, arrays must be comprised of strings only"),
        ("CMD --x y", "unknown flag: --x"),
        ("HEALTHCHECK", "HEALTHCHECK requires at least one argument"),
        ("HEALTHCHECK TCP 80", "Unknown type \"TCP\" in HEALTHCHECK (try CMD)"),
        ("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD"),
        ("HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments"),
        ("HEALTHCHECK --interval=1us CMD x", "invalid value for HEALTHCHECK --interval: 1us: cannot be less than 1ms"),
        ("HEALTHCHECK --retries=-1 CMD x", "invalid value for HEALTHCHECK --retries: -1: cannot be negative"),
        ("HEALTHCHECK --nope=1 CMD x", "unknown flag: --nope"),
        ("ONBUILD ONBUILD RUN x", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
        ("ONBUILD from x", "FROM isn't allowed as an ONBUILD trigger"),
        ("ONBUILD", "ONBUILD requires at least one argument"),
        ("USER \0", "NUL byte in a change"),
    ] {
        assert_eq!(changed(&["USER first", change]).unwrap_err(), message, "{change}");
    }
    for bad in ["ENV A=\"x", "ENV A='x", "USER ${A", "USER ${A:", "USER ${A^x}", "USER ${}", "USER ${NONE:?gone}"] {
        assert!(changed(&[bad]).unwrap_err().starts_with("failed to process"), "{bad}");
    }
}

#[test]
fn a_failure_changes_nothing() {
    let mut config = ImageConfig::default();
    assert!(apply(&mut config, &["USER a".to_owned(), "NO".to_owned()]).is_err());
    assert_eq!(config, ImageConfig::default());
}

proptest! {
    #[test]
    fn a_quoted_value_comes_through(value in "[^\\x00\\r\\n]{0,24}") {
        let quoted: String = value.chars().flat_map(|c| {
            let escape = matches!(c, '"' | '$' | '\\').then_some('\\');
            escape.into_iter().chain([c])
        }).collect();
        let defaults = changed(&[&format!("ENV KEY=\"{quoted}\"")]).unwrap();
        prop_assert_eq!(defaults.env.last().unwrap(), &format!("KEY={value}"));
    }

    #[test]
    fn a_json_command_comes_through(given in proptest::collection::vec("[^\\x00\\r\\n]{0,12}", 0..4)) {
        // A line's own end is trimmed, a JSON array's is a bracket.
        let change = format!("CMD {}", serde_json::to_string(&given).unwrap());
        prop_assert_eq!(changed(&[&change]).unwrap().cmd, Some(given));
    }

    #[test]
    fn any_text_is_read_or_refused(text in "(CMD|ENV|LABEL|EXPOSE|USER|VOLUME|HEALTHCHECK|ONBUILD|WORKDIR)[ =]\\PC{0,40}") {
        // Whatever is made of it, nothing panics and nothing is empty that must not be.
        if let Ok(defaults) = changed(&[&text]) {
            prop_assert!(defaults.env.iter().all(|entry| entry.contains('=') && !entry.starts_with('=')));
            prop_assert!(defaults.labels.keys().all(|key| !key.is_empty()));
        }
    }
}
