use proptest::prelude::*;

use super::*;

fn excludes(patterns: &str, path: &str) -> bool {
    Ignore::parse(patterns).unwrap().excludes(path.as_bytes(), false)
}

#[test]
fn as_mobys_patternmatcher() {
    for (pattern, path, expected) in [
        ("**", "file", true),
        ("**", "dir/file", true),
        ("**/", "file", true),
        ("**/**", "dir/file", true),
        ("dir/**", "dir/file", true),
        ("dir/**", "dir/dir2/file", true),
        ("dir/**", "dir", false),
        ("**/dir", "dir", true),
        ("**/dir", "dir/file", true),
        ("**/dir2/*", "dir/dir2/file", true),
        ("**/dir2/*", "dir/dir2", false),
        ("**/dir2/**", "dir/dir2/dir2/file", true),
        ("**file", "file", true),
        ("**file", "dir/file", true),
        ("**file", "dir/xfile", true),
        ("**/file", "dir/xfile", false),
        ("**/file*", "dir/dir/file.txt", true),
        ("**/file*txt", "dir/dir/file.txt", true),
        ("**/file*.txt*", "dir/dir/file.txt", true),
        ("**/**/*.txt", "dir/dir/file.txt", true),
        ("**/**/*.txt2", "dir/dir/file.txt", false),
        ("**/*.txt", "file.txt", true),
        ("**/**/*.txt", "file.txt", true),
        ("a**/*.txt", "a/file.txt", true),
        ("a**/*.txt", "a/dir/file.txt", true),
        ("a**/*.txt", "a/dir/dir/file.txt", true),
        ("a/*.txt", "a/dir/file.txt", false),
        ("a/*.txt", "a/file.txt", true),
        ("a/*.txt**", "a/file.txt", true),
        ("a[b-d]e", "ae", false),
        ("a[b-d]e", "ace", true),
        ("a[b-d]e", "aae", false),
        ("a[^b-d]e", "aze", true),
        (".*", ".foo", true),
        (".*", "foo", false),
        ("abc.def", "abcdef", false),
        ("abc.def", "abc.def", true),
        ("abc.def", "abcZdef", false),
        ("abc?def", "abcZdef", true),
        ("abc?def", "abcdef", false),
        ("abc?def", "abcédef", true),
        ("a\\\\", "a\\", true),
        ("**/foo/bar", "foo/bar", true),
        ("**/foo/bar", "dir/foo/bar", true),
        ("**/foo/bar", "dir/dir2/foo/bar", true),
        ("abc/**", "abc", false),
        ("abc/**", "abc/def", true),
        ("abc/**", "abc/def/ghi", true),
        ("**/.foo", ".foo", true),
        ("**/.foo", "bar.foo", false),
        ("a(b)c/def", "a(b)c/def", true),
        ("a(b)c/def", "a(b)c/xyz", false),
        ("a.|)$(}+{bc", "a.|)$(}+{bc", true),
        (
            "dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl",
            "dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl",
            true,
        ),
        ("dist/*.whl", "dist/proxy.py-2.4.0rc3.dev36+g08acad9-py3-none-any.whl", true),
        ("a\\*b", "a*b", true),
        ("a\\*b", "axb", false),
        // Directories above.
        ("dir", "dir/file", true),
        ("dir/", "dir/file", true),
        ("/dir", "dir/file", true),
        ("./dir/../dir//", "dir/file", true),
        ("di", "dir/file", false),
        ("d*", "dir/sub/file", true),
        ("*/sub", "dir/sub/file", true),
        ("*/file", "dir/sub/file", false),
        // The last one decides.
        ("dir\n!dir/file", "dir/file", false),
        ("dir\n!dir/file", "dir/other", true),
        ("!dir/file\ndir", "dir/file", true),
        ("*\n!a", "a/b", false),
        ("**\n!util/docker/web", "util/docker/web/foo", false),
        ("**\n!util/docker/web\nutil/docker/web/foo", "util/docker/web/foo", true),
        ("# dir\ndir2", "dir", false),
        (" dir \r\n\n", "dir", true),
        ("!  dir", "dir", false),
        ("*\n! /dir", "dir", false),
        ("\u{feff}dir", "dir", true),
        (".", "dir", false),
        ("..", "dir", false),
        ("../dir", "dir", false),
        ("/", "dir", false),
    ] {
        assert_eq!(excludes(pattern, path), expected, "{pattern:?} {path}");
    }
    for bad in ["[", "a[", "[]a]", "[-x]", "[a-", "a\\"] {
        assert_eq!(Ignore::parse(bad).unwrap_err(), InvalidPattern::Syntax(bad.to_owned()), "{bad}");
    }
    assert_eq!(Ignore::parse("!").unwrap_err().to_string(), "illegal exclusion pattern: \"!\"");
    // Without a file nothing is a comment.
    assert!(Ignore::patterns(&["#a"]).unwrap().excludes(b"#a", false));
    assert!(excludes("a?", "a\u{e9}") && Ignore::parse("a?").unwrap().excludes(b"a\xff", false));
}

#[test]
fn directories_that_need_not_be_read() {
    for (patterns, directory, expected) in [
        ("dir", "dir", false),
        ("dir", "other", true),
        ("dir\n!dir/a/b", "dir", true),
        ("dir\n!dir/a/b", "dir/a", true),
        ("dir\n!dir/a/b", "dir/b", false),
        ("dir\n!dir/a/b", "dir/a/b", true),
        ("dir\n!other", "dir", false),
        ("dir\n!dir2/x", "dir", false),
        ("*\n!*.txt", "dir", true),
        ("*\n!src/*.txt", "dir", false),
        ("*\n!src/*.txt", "src", true),
        ("*\n!**/x", "any/where", true),
    ] {
        assert_eq!(
            Ignore::parse(patterns).unwrap().may_descend(directory.as_bytes()),
            expected,
            "{patterns:?} {directory}"
        );
    }
}

/// A slow reading of the same rules: components, one after the other.
fn naive(patterns: &[String], path: &str) -> bool {
    fn name(pattern: &[char], text: &[char]) -> bool {
        match pattern {
            [] => text.is_empty(),
            ['*', rest @ ..] => (0..=text.len()).any(|skip| name(rest, &text[skip..])),
            ['?', rest @ ..] => !text.is_empty() && name(rest, &text[1..]),
            [c, rest @ ..] => text.first() == Some(c) && name(rest, &text[1..]),
        }
    }
    fn whole(pattern: &[&str], path: &[&str]) -> bool {
        match pattern {
            [] => path.is_empty(),
            ["**"] => !path.is_empty(),
            ["**", rest @ ..] => (0..=path.len()).any(|skip| whole(rest, &path[skip..])),
            [first, rest @ ..] => {
                let chars = |text: &str| text.chars().collect::<Vec<_>>();
                !path.is_empty() && name(&chars(first), &chars(path[0])) && whole(rest, &path[1..])
            }
        }
    }
    let parts: Vec<&str> = path.split('/').collect();
    let mut hidden = false;
    for pattern in patterns {
        let (exception, pattern) = pattern.strip_prefix('!').map_or((false, pattern.as_str()), |rest| (true, rest));
        let pattern: Vec<&str> = pattern.split('/').collect();
        if (1..=parts.len()).any(|end| whole(&pattern, &parts[..end])) {
            hidden = !exception;
        }
    }
    hidden
}

proptest! {
    #[test]
    fn agrees_with_the_naive_model(
        // `a**` is not two stars of one name, and is left out.
        patterns in proptest::collection::vec(
            "!?((\\*\\*|\\*|\\*?[ab?]{1,2}\\*?)/){0,3}(\\*\\*|\\*|\\*?[ab?]{1,2}\\*?[ab]?)",
            0..4,
        ),
        paths in proptest::collection::vec("([ab]{1,3}/){0,3}[ab]{1,3}", 1..6),
    ) {
        let ignore = Ignore::patterns(&patterns).unwrap();
        for path in &paths {
            prop_assert_eq!(ignore.excludes(path.as_bytes(), false), naive(&patterns, path), "{:?} {}", &patterns, path);
            // What is visible is below directories that are read.
            if !ignore.excludes(path.as_bytes(), false) {
                for (at, _) in path.match_indices('/') {
                    prop_assert!(ignore.may_descend(&path.as_bytes()[..at]), "{:?} {}", &patterns, path);
                }
            }
        }
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[ab/*!?.\\\\\\[\\]^ \n#-]{0,24}", path in proptest::collection::vec(any::<u8>(), 0..12)) {
        if let Ok(ignore) = Ignore::parse(&text) {
            let _ = (ignore.excludes(&path, false), ignore.may_descend(&path));
        }
    }

    #[test]
    fn cleaning_twice_changes_nothing(path in "[ab./]{0,16}") {
        prop_assert_eq!(clean(&clean(&path)), clean(&path));
    }
}

#[test]
fn many_paths() {
    let patterns: Vec<String> = (0..40)
        .map(|n| format!("{}dir{n}/**/*.o{n}", if n % 7 == 0 { "!" } else { "" }))
        .chain(["**/*.tmp".to_owned()])
        .collect();
    let ignore = Ignore::patterns(&patterns).unwrap();
    let hidden = (0..100_000)
        .filter(|n| ignore.excludes(format!("dir{}/some/where/file{n}.o{}", n % 50, n % 40).as_bytes(), false));
    assert!(hidden.count() > 0);
}
