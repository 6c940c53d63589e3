//! Dockerfiles: whatever the bytes are, they are read or refused, checked, and their errors shown.
//!
//! The language is pure, so its modules are compiled by themselves: that takes seconds, and only they are
//! instrumented.

#![no_main]
#![allow(dead_code)]

#[path = "../../src/spec"]
mod spec {
    pub mod dockerfile;
    pub mod similar;
    pub mod size;
    pub mod text;
    pub mod time;
    pub mod mount {
        pub mod csv;
    }
}

use libfuzzer_sys::fuzz_target;
use spec::dockerfile::ignore::Ignore;
use spec::dockerfile::lint::{LintInput, Options, lint};
use spec::dockerfile::{expand, parse, report, stages};

fuzz_target!(|bytes: &[u8]| {
    let file = match parse(bytes) {
        Ok(file) => file,
        Err(error) => {
            assert!(!report::parse_error("Dockerfile", bytes, &error).is_empty());
            return;
        }
    };
    let text = String::from_utf8_lossy(bytes);
    let _ = expand::expand(&text, file.directives.escape, &|name| (name.len() < 3).then(|| "a b*c".to_owned()));
    if let Ok(target) = stages::target(&file, None) {
        let _ = stages::needed(&file, target, &|_| None, &|_| false);
    }
    let ignore = Ignore::parse(&text).unwrap_or_default();
    let options = Options::parse("experimental=all").unwrap_or_default();
    let input = LintInput { options, ignore: Some(&ignore), base_env: &|_| Some(Vec::new()) };
    for warning in lint(&file, bytes, &input) {
        assert!(!report::excerpt("Dockerfile", bytes, warning.lines, None).is_empty());
    }
});
