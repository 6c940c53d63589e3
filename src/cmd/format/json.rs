//! JSON as Go's encoder writes it: key order kept, U+2028 and U+2029 escaped, `<>&` on demand.
//! What a terminal would act on (DEL, C1, bidirectional controls) is escaped as well: the same
//! JSON value, harmless to look at.

use std::fmt::Write;

use serde_json::Value;

use super::text;

/// Whether `<`, `>` and `&` become `\u003c`, `\u003e`, `\u0026`, as Go does unless told not to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Html {
    Keep,
    Escape,
}

/// On one line, without spaces.
pub fn compact(value: &Value, html: Html) -> String {
    let mut out = String::new();
    Writer { out: &mut out, html, indent: None }.value(value, 0);
    out
}

/// Indented by four spaces a level, as `inspect` prints.
pub fn pretty(value: &Value) -> String {
    indented(value, "    ")
}

/// Indented by `indent` a level.
pub fn indented(value: &Value, indent: &'static str) -> String {
    let mut out = String::new();
    Writer { out: &mut out, html: Html::Keep, indent: Some(indent) }.value(value, 0);
    out
}

struct Writer<'a> {
    out: &'a mut String,
    html: Html,
    indent: Option<&'static str>,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value, depth: usize) {
        match value {
            Value::Array(items) => self.sequence('[', ']', items, depth, Self::value),
            Value::Object(entries) => self.sequence('{', '}', entries, depth, |writer, (key, value), depth| {
                writer.string(key);
                writer.out.push_str(if writer.indent.is_some() { ": " } else { ":" });
                writer.value(value, depth);
            }),
            Value::String(text) => self.string(text),
            Value::Null | Value::Bool(_) | Value::Number(_) => self.out.push_str(&value.to_string()),
        }
    }

    fn sequence<T>(
        &mut self,
        open: char,
        close: char,
        items: impl IntoIterator<Item = T>,
        depth: usize,
        mut item: impl FnMut(&mut Self, T, usize),
    ) {
        self.out.push(open);
        let mut empty = true;
        for value in items {
            if !empty {
                self.out.push(',');
            }
            empty = false;
            self.line(depth + 1);
            item(self, value, depth + 1);
        }
        if !empty {
            self.line(depth);
        }
        self.out.push(close);
    }

    fn line(&mut self, depth: usize) {
        if let Some(indent) = self.indent {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(indent, depth));
        }
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            // Writing to a String cannot fail.
            let _ = match c {
                '"' => self.out.write_str("\\\""),
                '\\' => self.out.write_str("\\\\"),
                '\n' => self.out.write_str("\\n"),
                '\r' => self.out.write_str("\\r"),
                '\t' => self.out.write_str("\\t"),
                '\u{8}' => self.out.write_str("\\b"),
                '\u{c}' => self.out.write_str("\\f"),
                '<' | '>' | '&' if self.html == Html::Escape => write!(self.out, "\\u{:04x}", u32::from(c)),
                _ if text::is_dangerous(c) => write!(self.out, "\\u{:04x}", u32::from(c)),
                _ => self.out.write_char(c),
            };
        }
        self.out.push('"');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn go_escapes() {
        let value = json!({"b": "0.0.0.0:80->80/tcp <&>", "a": ["\u{1b}\u{2028}\u{7f}\u{8}", 1, null, {}, []]});
        assert_eq!(
            compact(&value, Html::Keep),
            r#"{"b":"0.0.0.0:80->80/tcp <&>","a":["\u001b\u2028\u007f\b",1,null,{},[]]}"#
        );
        assert_eq!(compact(&json!("->"), Html::Escape), r#""-\u003e""#);
    }

    #[test]
    fn indented_by_four() {
        assert_eq!(
            pretty(&json!([{"A": {}, "B": [1]}])),
            "[\n    {\n        \"A\": {},\n        \"B\": [\n            1\n        ]\n    }\n]"
        );
        assert_eq!(pretty(&json!([])), "[]");
    }

    proptest! {
        #[test]
        fn strings_survive(text in any::<String>()) {
            for html in [Html::Keep, Html::Escape] {
                let written = compact(&json!(text), html);
                prop_assert_eq!(serde_json::from_str::<String>(&written).unwrap(), text.as_str());
                prop_assert!(!written.contains(text::is_dangerous));
            }
        }
    }
}
