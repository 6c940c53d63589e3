//! What is refused, in BuildKit's words.

use proptest::prelude::*;

use super::*;

#[test]
fn instructions() {
    for (text, message) in [
        ("FORM a", "unknown instruction: FORM (did you mean FROM?)"),
        ("wrkdir /", "unknown instruction: wrkdir (did you mean WORKDIR?)"),
        ("xyzzy", "unknown instruction: xyzzy"),
        ("COPY --frm=a b c", "unknown flag: --frm (did you mean from?)"),
        ("COPY --nonsense b c", "unknown flag: --nonsense"),
        ("COPY --from=a --from=b b c", "duplicate flag specified: --from"),
        ("COPY --from b c", "missing a value on flag: --from"),
        ("COPY --link= b c", "missing a value on flag: --link"),
        ("COPY --link=yes b c", "expecting boolean value for flag --link, not: yes"),
        (
            "COPY a",
            "COPY requires at least two arguments, but only one was provided. Destination could not be determined",
        ),
        (
            "ADD [\"a\"]",
            "ADD requires at least two arguments, but only one was provided. Destination could not be determined",
        ),
        ("COPY a <<EOF\nEOF", "COPY cannot accept a heredoc as a destination"),
        ("FROM", "FROM requires either one or three arguments"),
        ("FROM a as", "FROM requires either one or three arguments"),
        ("FROM a is b", "FROM requires either one or three arguments"),
        ("FROM a AS 1b", "invalid name for build stage: \"1b\", name can't start with a number or contain symbols"),
        ("FROM a AS b/c", "invalid name for build stage: \"b/c\", name can't start with a number or contain symbols"),
        ("FROM --platfrom=x a", "unknown flag: --platfrom (did you mean platform?)"),
        ("ENV", "ENV requires at least one argument"),
        ("ENV A", "ENV must have two arguments"),
        ("ENV A=1 B", "Syntax error - can't find = in \"B\". Must be of the form: name=value"),
        ("ENV =1", "ENV names can not be blank"),
        ("LABEL A", "LABEL must have two arguments"),
        ("ARG", "ARG requires at least one argument"),
        ("ARG =1", "ARG names can not be blank"),
        ("EXPOSE", "EXPOSE requires at least one argument"),
        ("USER", "USER requires exactly one argument"),
        ("WORKDIR", "WORKDIR requires exactly one argument"),
        ("STOPSIGNAL", "STOPSIGNAL requires exactly one argument"),
        ("MAINTAINER", "MAINTAINER requires exactly one argument"),
        ("VOLUME", "VOLUME requires at least one argument"),
        ("VOLUME [\" \"]", "VOLUME specified can not be an empty string"),
        ("CMD [1]", "when using JSON array syntax, arrays must be comprised of strings only"),
        ("RUN [\"a\", null]", "when using JSON array syntax, arrays must be comprised of strings only"),
        ("SHELL", "SHELL requires at least one argument"),
        ("SHELL []", "SHELL requires at least one argument"),
        ("SHELL sh -c", "SHELL requires the arguments to be in JSON form"),
        ("CMD --x y", "unknown flag: --x"),
        ("ONBUILD", "ONBUILD requires at least one argument"),
        ("ONBUILD onbuild RUN x", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
        ("ONBUILD from x", "FROM isn't allowed as an ONBUILD trigger"),
        ("HEALTHCHECK", "HEALTHCHECK requires at least one argument"),
        ("HEALTHCHECK TCP 80", "Unknown type \"TCP\" in HEALTHCHECK (try CMD)"),
        ("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD"),
        ("HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments"),
        ("HEALTHCHECK --retries=x CMD a", "invalid value for HEALTHCHECK --retries: x: not a number"),
        ("RUN --network=nope x", "unsupported network mode \"nope\" (did you mean none?)"),
        ("RUN --network=hots x", "unsupported network mode \"hots\" (did you mean host?)"),
        ("RUN --security=x y", "security \"x\" is not valid"),
        ("RUN --mount=type=bnid,target=/a x", "unsupported mount type \"bnid\" (did you mean bind?)"),
        ("RUN --mount=target=/a,foo=b x", "unexpected key 'foo' in 'foo=b'"),
        ("RUN --mount=tagret=/a x", "unexpected key 'tagret' in 'tagret=/a' (did you mean target?)"),
        ("RUN --mount=target x", "invalid field 'target' must be a key=value pair"),
        ("RUN --mount=from=$A,target=/a x", "'from' doesn't support variable expansion, define alias stage instead"),
        (
            "RUN --mount=type=cache,target=/a,sharing=shred x",
            "unsupported sharing value \"shred\" (did you mean shared?)",
        ),
        ("RUN --mount=target=/a,sharing=shared x", "invalid cache sharing set for bind mount"),
        ("RUN --mount=target=/a,mode=755 x", "mode not allowed for \"bind\" type mounts"),
        ("RUN --mount=type=cache,target=/a,mode=9 x", "invalid value 9 for mode"),
        ("RUN --mount=type=cache,target=/a,uid=-1 x", "invalid value -1 for uid"),
        ("RUN --mount=type=cache,size=1 x", "unexpected key 'size' for mount type 'cache'"),
        ("RUN --mount=target=/a,required x", "unexpected key 'required' for mount type 'bind'"),
        ("RUN --mount=target=/a,ro=maybe x", "invalid value for ro: maybe"),
        ("RUN --mount=type=secret x", "invalid secret mount. one of source, target required"),
        ("RUN --mount=type=secret,id=a,src=b x", "both source and id can't be set"),
        ("RUN --mount=type=secret,id=a,from=b x", "secret mount should not have a from"),
        ("RUN --mount x", "missing a value on flag: --mount"),
    ] {
        let error = refused(&format!("FROM a\n{text}\n"));
        assert_eq!(error.message, message, "{text}");
        assert_eq!(error.lines.first, 2, "{text}");
    }
}

#[test]
fn whole_files() {
    for (text, message, line) in [
        ("", "file with no instructions", 1),
        ("# only\n\n", "file with no instructions", 1),
        ("RUN x\nFROM a", "no build stage in current context", 1),
        ("ARG A\nENV A=1", "no build stage in current context", 2),
        ("FROM a\nRUN \0", "dockerfile holds a NUL byte: it is no text file", 2),
        ("FROM a\nRUN \u{1b}[0m\nR\u{1b}UN", "unknown instruction: R\\u{1b}UN (did you mean RUN?)", 3),
    ] {
        let error = refused(text);
        assert_eq!((error.message.as_str(), error.lines.first), (message, line), "{text:?}");
    }
    let long = |length| format!("FROM a\nRUN {}\n", "x".repeat(length));
    assert_eq!(refused(&long(4 << 20)).message, "dockerfile line greater than max allowed size of 4194304");
    assert_eq!(read(&long(1 << 20)).stages[0].instructions[0].text.len(), (1 << 20) + 4);
    let error = refused(&"x".repeat(1 << 20));
    assert!(error.message.starts_with("unknown instruction: xxx") && error.message.ends_with("xxx..."));
    assert!(report::parse_error("x", &[b'x'; 1 << 20], &error).len() < 1000);
    assert!(parse(b"\x7fELF\x02\x01\x01\x00\x00").is_err());
}

#[test]
fn columns_point_at_the_subject() {
    for (text, column) in [
        ("FORM a", 2..6),
        ("COPY --link --frm=a b c", 14..19),
        ("COPY --from=a --from=b b c", 16..22),
        ("FROM a AS 1b", 12..14),
    ] {
        assert_eq!(refused(&format!("FROM a\n  {text}")).column, Some(column), "{text}");
    }
    assert_eq!(refused("FROM a\nCOPY \\\n --frm=a b c").column, None);
}

#[test]
fn large_files_take_no_longer_than_their_size() {
    let mut text = String::from("FROM a\nRUN ");
    (0..50_000).for_each(|_| text.push_str("x \\\n"));
    text.push_str("y\nRUN <<EOF\n");
    (0..50_000).for_each(|_| text.push_str("line\n"));
    text.push_str("EOF\n");
    (0..50_000).for_each(|n| text.push_str(&format!("ENV A{n}=$A \"b\"=c\n")));
    let file = read(&text);
    assert_eq!(file.stages[0].instructions.len(), 50_002);
    let many = format!("FROM a\n{}", "RUN x\n".repeat(200_000));
    assert_eq!(refused(&many).message, "more than 100000 instructions");
    assert_eq!(refused(&"FROM x\n".repeat(10_002)).message, "more than 10000 stages");
}

#[test]
fn excerpts() {
    let file = "FROM a\n\nRUN one \\\n\ttwo\nCOPY --frm=a b c\nUSER x\nCMD y";
    let meant = |first, last| report::excerpt("Dockerfile", file.as_bytes(), Lines { first, last }, None);
    let expected = "Dockerfile:3\n--------------------\n   2 |     \n   3 | >>> RUN one \\\n   4 | >>> \ttwo\n   5 |     COPY --frm=a b c\n--------------------\n";
    assert_eq!(meant(3, 4), expected);
    assert!(
        meant(1, 1).starts_with("Dockerfile:1\n--------------------\n   1 | >>> FROM a\n   2 |     \n   3 |     RUN")
    );
    assert_eq!(meant(8, 9), "");
    let error = refused(file);
    let expected = "x:5\n--------------------\n   3 |     RUN one \\\n   4 |     \ttwo\n   5 | >>> COPY --frm=a b c\n     |          ^^^^^\n   6 |     USER x\n   7 |     CMD y\n--------------------\n";
    assert_eq!(report::parse_error("x", file.as_bytes(), &error), expected);
    let shown = report::excerpt("D\u{1b}", b"\x1b[0m\xff\t\r\n", Lines { first: 1, last: 1 }, None);
    assert!(shown.starts_with("D\\u{1b}:1\n") && shown.contains(">>> \\u{1b}[0m\u{fffd}\t\n"), "{shown}");
}

/// How many cases the long ones take.
fn cases() -> ProptestConfig {
    let count = std::env::var("RBOX_TEST_FUZZ").ok().and_then(|count| count.parse().ok()).unwrap_or(2000);
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(count) }
}

/// Whatever the bytes are: an error is located and its excerpt has no control bytes; what was read is read
/// again from its own text.
fn check(bytes: &[u8]) {
    let count = bytes.split(|byte| *byte == b'\n').count();
    match parse(bytes) {
        Err(error) => {
            assert!(
                1 <= error.lines.first && error.lines.first <= error.lines.last && error.lines.last <= count,
                "{error:?}"
            );
            let shown = report::parse_error("Dockerfile", bytes, &error);
            assert!(!shown.is_empty(), "{error:?}");
            assert!(shown.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\t')), "{shown:?}");
            assert!(error.message.chars().all(|c| !c.is_control()), "{error:?}");
        }
        Ok(file) => {
            let mut last = 0;
            for stage in &file.stages {
                let lines = stage.instructions.iter().map(|instruction| instruction.lines);
                for lines in std::iter::once(stage.from.lines).chain(lines) {
                    assert!(last < lines.first && lines.first <= lines.last && lines.last <= count);
                    last = lines.last;
                }
                for instruction in &stage.instructions {
                    again(&file, instruction);
                }
            }
        }
    }
}

/// The text of an instruction without heredocs stands for the instruction.
fn again(file: &Dockerfile, instruction: &Located<Instruction>) {
    let text = &instruction.text;
    if text.contains("<<") || text.ends_with(file.directives.escape) || text.contains('\r') {
        return;
    }
    let directive = if file.directives.escape == '`' { "# escape=`\n" } else { "" };
    let once = parse(format!("{directive}FROM a\n{text}\n").as_bytes()).unwrap();
    assert_eq!(once.stages[0].instructions[0].value, instruction.value, "{text:?}");
    assert_eq!(once.stages[0].instructions[0].text, *text);
}

const LINE: &str = "(FROM|RUN|COPY|ADD|ENV|ARG|LABEL|CMD|ENTRYPOINT|SHELL|USER|WORKDIR|EXPOSE|VOLUME|HEALTHCHECK|ONBUILD|STOPSIGNAL|MAINTAINER|# escape=`|# check=|EOF|#|FORM)\
    ( (--(from|chown|mount|link|network|frm|interval|platform)(=(a|type=cache|x,y=1|\\$A|\"b c\"))?|<<-?'?EOF'?|\\[\"a\", ?\"b\"\\]|[a-z$\\{\\}=/\"'\\\\`:]{0,8}|AS b|CMD)){0,5}[ \t]?(\\\\|`)?\r?\n";

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn lines_that_look_right(lines in proptest::collection::vec(LINE, 0..12)) {
        check(format!("FROM a\n{}", lines.concat()).as_bytes());
        check(lines.concat().as_bytes());
    }

    #[test]
    fn any_text(text in "[A-Z#<>\\\\`\"'\\[\\]$ \t\r\n=,-]{0,80}") {
        check(text.as_bytes());
        check(format!("FROM a\nRUN {text}").as_bytes());
    }

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        check(&bytes);
    }
}
