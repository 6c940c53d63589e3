use proptest::prelude::*;

use super::*;

fn lookup(name: &str) -> Option<String> {
    let value = match name {
        "A" => "one two",
        "EMPTY" => "",
        "P" => "/usr/lib/libfoo.so.1",
        "S" => "aXbXc",
        "U" => "grün_Grün",
        "Q" => "a\"b'c",
        "PATH" => "/bin",
        "_u1" => "under",
        "1" => "first",
        "STAR" => "a*b?c",
        _ => return None,
    };
    Some(value.to_owned())
}

fn text(word: &str) -> Result<String, String> {
    expand(word, '\\', &lookup).map_err(|error| error.reason)
}

#[test]
fn one_word() {
    for (word, expected) in [
        ("plain", "plain"),
        ("", ""),
        ("$A", "one two"),
        ("${A}x", "one twox"),
        ("$A$EMPTY$NONE.", "one two."),
        ("'$A'", "$A"),
        ("\"$A\"", "one two"),
        ("\\$A", "$A"),
        ("\"\\$A\"", "$A"),
        ("\"a\\b\"", "a\\b"),
        ("\"a\\\"b\"", "a\"b"),
        ("a\\b", "ab"),
        ("a\\\\b", "a\\b"),
        ("end\\", "end"),
        ("'a\\'b", "a\\b"),
        ("a'b'\"c\"d", "abcd"),
        ("$", "$"),
        ("$ x", "$ x"),
        ("a$/b", "a$/b"),
        ("$_u1", "under"),
        ("$1", "first"),
        ("$12", ""),
        ("$Q", "a\"b'c"),
        ("${NONE:-d}", "d"),
        ("${NONE-d}", "d"),
        ("${EMPTY:-d}", "d"),
        ("${EMPTY-d}", ""),
        ("${A:-d}", "one two"),
        ("${A:+y}", "y"),
        ("${A+y}", "y"),
        ("${EMPTY:+y}", ""),
        ("${EMPTY+y}", "y"),
        ("${NONE:+y}", ""),
        ("${A:?e}", "one two"),
        ("${EMPTY?e}", ""),
        ("${NONE:-${EMPTY:-$A}}", "one two"),
        ("${NONE:-\"a}b\"}", "a}b"),
        ("${NONE:-a\\}b}", "a}b"),
        ("${NONE:-'$A'}", "$A"),
        ("${NONE:-a:b-c}", "a:b-c"),
        ("${P#*/}", "usr/lib/libfoo.so.1"),
        ("${P##*/}", "libfoo.so.1"),
        ("${P%.*}", "/usr/lib/libfoo.so"),
        ("${P%%.*}", "/usr/lib/libfoo"),
        ("${P%/*}", "/usr/lib"),
        ("${P#nothing}", "/usr/lib/libfoo.so.1"),
        ("${P%%*}", ""),
        ("${P##*}", ""),
        ("${P#*}", "/usr/lib/libfoo.so.1"),
        ("${S/X/-}", "a-bXc"),
        ("${S//X/-}", "a-b-c"),
        ("${S//X/}", "abc"),
        ("${S/X*/}", "a"),
        ("${S//?/.}", "....."),
        ("${S//b/\\/}", "aX\\/Xc"),
        ("${P//\\//_}", "_usr_lib_libfoo.so.1"),
        ("${U//ü/u}", "grun_Grun"),
        ("${U#gr}", "ün_Grün"),
        ("${U%n}", "grün_Grü"),
        ("${STAR/\\*/x}", "axb?c"),
        ("${STAR%\\?*}", "a*b"),
        ("${STAR#a\\*}", "b?c"),
        ("${NONE#x}", ""),
        ("${NONE/a/b}", ""),
        ("${S/$NONE/x}", "xaXbXc"),
        ("/x:$PATH", "/x:/bin"),
        ("<$A>", "<one two>"),
    ] {
        assert_eq!(text(word), Ok(expected.to_owned()), "{word}");
    }
}

#[test]
fn refusals() {
    for (word, expected) in [
        ("'a", "unexpected end of statement while looking for matching single-quote"),
        ("\"a", "unexpected end of statement while looking for matching double-quote"),
        ("${", "syntax error: missing '}'"),
        ("${A", "syntax error: missing '}'"),
        ("${A:", "syntax error: missing '}'"),
        ("${A:-x", "syntax error: missing '}'"),
        ("${}", "syntax error: bad substitution"),
        ("${:x}", "syntax error: bad substitution"),
        ("${{A}}", "syntax error: bad substitution"),
        ("${A^x}", "unsupported modifier (^) in substitution"),
        ("${A:x}", "unsupported modifier (:x) in substitution"),
        ("${A.x}", "unsupported modifier (.) in substitution"),
        ("${NONE:?}", "NONE: is not allowed to be unset"),
        ("${NONE?gone away}", "NONE: gone away"),
        ("${EMPTY:?}", "EMPTY: is not allowed to be empty"),
        ("${A/x}", "syntax error: missing '/' in ${}"),
        ("${A/x/y", "syntax error: missing '}'"),
        ("${S#\\q}", "invalid pattern (\\q) in substitution: invalid escape '\\q'"),
    ] {
        assert_eq!(text(word), Err(expected.to_owned()), "{word}");
    }
    let deep = "${NONE:-".repeat(5000);
    assert_eq!(text(&deep), Err("substitutions are nested too deeply".to_owned()));
    let long = "x".repeat(1 << 20);
    let error = expand(&"$X".repeat(40), '\\', &|_| Some(long.clone())).unwrap_err();
    assert_eq!(error.reason, "the result is longer than 16777216 bytes");
    assert!(error.to_string().starts_with("failed to process \"$X$X"));
}

#[test]
fn another_escape() {
    let text = |word| expand(word, '`', &lookup).unwrap();
    assert_eq!(text("c:\\$A"), "c:\\one two");
    assert_eq!(text("`$A \"`\"\""), "$A \"");
}

#[test]
fn several_words() {
    for (word, expected) in [
        ("$A", &["one", "two"][..]),
        ("\"$A\"", &["one two"]),
        ("x$A y", &["xone", "two", "y"]),
        ("a\\ b c", &["a b", "c"]),
        ("'a b' c", &["a b", "c"]),
        ("$EMPTY $NONE", &[]),
        ("\"\"", &[]),
        ("  a   b ", &["a", "b"]),
        ("$NONE'x y'", &["x y"]),
    ] {
        assert_eq!(expand_words(word, '\\', &lookup).unwrap(), expected, "{word}");
    }
}

#[test]
fn content_of_heredocs() {
    let text = |content| expand_content(content, &lookup).unwrap();
    assert_eq!(text("it's \"$A\"\n\\$A\n"), "it's \"one two\"\n$A\n");
    assert_eq!(text("${NONE:-'x'}"), "'x'");
}

#[test]
fn which_variables() {
    let expanded = Lexer::new('\\').expand("$A '$Q' ${NONE:-$EMPTY} \"$S\"", &lookup).unwrap();
    assert_eq!(expanded.used.into_iter().collect::<Vec<_>>(), ["A", "EMPTY", "S"]);
    assert_eq!(expanded.missing.into_iter().collect::<Vec<_>>(), ["NONE"]);
    assert_eq!(variables("$B ${A:-x}", '\\').into_iter().collect::<Vec<_>>(), ["A", "B"]);
}

#[test]
fn what_is_left_alone() {
    let expand = |lexer: Lexer, text| lexer.expand(text, &lookup).unwrap().text;
    let skip = Lexer { skip_unset: true, ..Lexer::new('\\') };
    for same in ["$NONE", "${NONE}", "${NONE:-x}", "${NONE#x}", "${NONE/a/b}", "${NONE:+y}"] {
        assert_eq!(expand(skip, same), same);
    }
    assert_eq!(expand(skip, "$A"), "one two");
    let raw = Lexer { raw_quotes: true, raw_escapes: true, ..Lexer::new('\\') };
    assert_eq!(expand(raw, "'a' \"b\\\"$A\" c\\ d"), "'a' \"b\\\"one two\" c\\ d");
}

/// Puts a backslash before all that means something.
fn quote(text: &str) -> String {
    text.chars().flat_map(|c| matches!(c, '"' | '$' | '\\').then_some('\\').into_iter().chain([c])).collect()
}

proptest! {
    #[test]
    fn quoted_text_comes_through(text in "\\PC{0,24}") {
        let quoted = format!("\"{}\"", quote(&text));
        prop_assert_eq!(expand(&quoted, '\\', &lookup).unwrap(), text.clone());
        let words = expand_words(&quoted, '\\', &lookup).unwrap();
        prop_assert_eq!(words, Some(text).filter(|text| !text.is_empty()).into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn text_without_marks_is_itself(text in "[a-z0-9 ./:=_-]{0,24}") {
        prop_assert_eq!(expand(&text, '\\', &lookup).unwrap(), text);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[$\\{\\}AQS:/#%?+*'\"\\\\ x<-]{0,40}") {
        for lexer in [Lexer::new('\\'), Lexer::new('`'), Lexer::content(), Lexer::raw()] {
            if let Ok(expanded) = lexer.expand(&text, &lookup) {
                prop_assert!(expanded.words.iter().all(|word| !word.is_empty()));
            }
        }
    }

    /// What is taken away is the shortest or longest part that the pattern matches.
    #[test]
    fn prefixes_and_suffixes_as_tried_one_by_one(value in "[ab]{0,6}", pattern in "[ab*?]{0,4}") {
        fn matches(pattern: &[u8], text: &[u8]) -> bool {
            match pattern {
                [] => text.is_empty(),
                [b'*', rest @ ..] => (0..=text.len()).any(|skip| matches(rest, &text[skip..])),
                [b'?', rest @ ..] => !text.is_empty() && matches(rest, &text[1..]),
                [c, rest @ ..] => text.first() == Some(c) && matches(rest, &text[1..]),
            }
        }
        let found = Pattern::parse(&pattern).unwrap();
        let (pattern, bytes) = (pattern.as_bytes(), value.as_bytes());
        let ends: Vec<usize> = (0..=value.len()).filter(|end| matches(pattern, &bytes[..*end])).collect();
        let starts: Vec<usize> = (0..=value.len()).filter(|start| matches(pattern, &bytes[*start..])).collect();
        let cut = |end: Option<&usize>| &value[end.copied().unwrap_or(0)..];
        let keep = |start: Option<&usize>| &value[..start.copied().unwrap_or(value.len())];
        prop_assert_eq!(found.without_prefix(&value, false), cut(ends.first()));
        prop_assert_eq!(found.without_prefix(&value, true), cut(ends.last()));
        prop_assert_eq!(found.without_suffix(&value, false), keep(starts.last()));
        prop_assert_eq!(found.without_suffix(&value, true), keep(starts.first()));
        // The first place where it matches, as much of it as there is.
        let place = (0..=value.len()).find_map(|start| {
            let end = (start..=value.len()).rev().find(|end| matches(pattern, &bytes[start..*end]))?;
            Some(format!("{}-{}", &value[..start], &value[end..]))
        });
        prop_assert_eq!(found.replace(&value, "-", false).unwrap(), place.unwrap_or_else(|| value.clone()));
    }
}
