//! `--format` of the list commands: `table`, `table TEMPLATE`, `json`, or a template that is
//! executed once a row and followed by a newline.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::{Result, anyhow};
use serde_json::{Map, Value};

use super::table::{self, Layout};
use super::template::{Data, Functions, Template, TemplateError};
use super::text::clean_line;

/// What the rows of a command are.
#[derive(Clone, Copy, Debug)]
pub struct Listing {
    /// docker's Go type, which its error texts name: `*formatter.ContainerContext`.
    pub go_type: &'static str,
    /// Field names and column titles.
    pub titles: &'static [(&'static str, &'static str)],
}

/// podman's further fields of a list: templates know them, `json` does not.
pub type Extra<T> = [(&'static str, fn(&T) -> String)];

/// One row.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// Sorted by name.
    shown: Vec<(&'static str, String)>,
    hidden: Vec<(&'static str, String)>,
    labels: Option<BTreeMap<String, String>>,
}

impl Row {
    /// A row of fields, which `json` shows sorted by name.
    pub fn new<const N: usize>(mut fields: [(&'static str, String); N]) -> Self {
        fields.sort();
        Self { shown: fields.into(), ..Self::default() }
    }

    /// Adds fields that templates know and `json` omits.
    pub fn hidden(mut self, fields: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        self.hidden.extend(fields);
        self
    }

    /// Lets `{{.Label "key"}}` answer.
    pub fn labels(mut self, labels: BTreeMap<String, String>) -> Self {
        self.labels = Some(labels);
        self
    }

    /// A field's text, as a template that only names it prints it.
    pub fn text(&self, field: &str) -> Option<&str> {
        let mut fields = self.shown.iter().chain(&self.hidden);
        fields.find(|(name, _)| *name == field).map(|(_, value)| value.as_str())
    }

    /// What `json` shows.
    pub fn object(&self) -> Value {
        Value::Object(
            self.shown.iter().map(|(name, value)| ((*name).to_owned(), Value::from(value.as_str()))).collect(),
        )
    }

    fn data(&self, go_type: &'static str, safe: bool) -> Data {
        let hidden: Vec<(&str, &str)> = self.hidden.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let shown: Map<String, Value> =
            self.shown.iter().map(|(name, value)| ((*name).to_owned(), Value::from(value.as_str()))).collect();
        Data::row(&shown, &hidden, self.labels.as_ref(), go_type, safe)
    }
}

/// A parsed `--format` of a list command.
pub struct Format {
    source: String,
    is_table: bool,
    heading: bool,
    template: Template,
    /// The same, when it is nothing but texts and fields.
    simple: Option<Vec<Piece>>,
}

/// A part of a template that needs no engine; most formats have no other parts.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Field(String),
}

/// Takes a template apart that consists of texts and `{{.Field}}` only.
fn pieces(source: &str) -> Option<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut rest = source;
    while let Some((text, action)) = rest.split_once("{{") {
        let (field, after) = action.split_once("}}")?;
        let field = field.trim_matches(' ').strip_prefix('.')?;
        if field.is_empty() || !field.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return None;
        }
        pieces.push(Piece::Text(text.to_owned()));
        pieces.push(Piece::Field(field.to_owned()));
        rest = after;
    }
    pieces.push(Piece::Text(rest.to_owned()));
    Some(pieces)
}

impl Format {
    /// Parses docker's format string: `\t` and `\n` are expanded, `json` is `{{json .}}`.
    pub fn parse(format: &str) -> Result<Self> {
        let (is_table, template) = match format.strip_prefix("table") {
            Some(rest) => (true, rest),
            None if format == "json" => (false, "{{json .}}"),
            None => (false, format),
        };
        let source = template.trim_matches(' ').replace("\\t", "\t").replace("\\n", "\n");
        let template = Template::parse(&source, Functions::Values).map_err(unparsable)?;
        let simple = pieces(&source);
        Ok(Self { source, is_table, heading: true, template, simple })
    }

    /// The same without a table's first line.
    pub fn without_heading(self) -> Self {
        Self { heading: false, ..self }
    }

    /// Whether the template names `field`, for values that are costly to know or rarely wanted.
    pub fn mentions(&self, field: &str) -> bool {
        let ends = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_alphanumeric());
        self.source.split('.').skip(1).any(|rest| rest.strip_prefix(field).is_some_and(ends))
    }

    /// Those of the further fields that the template names.
    pub fn extra<T>(&self, fields: &Extra<T>, of: &T) -> Vec<(&'static str, String)> {
        let named = fields.iter().filter(|(name, _)| self.mentions(name));
        named.map(|(name, get)| (*name, get(of))).collect()
    }

    /// Prints the rows. `terminal` says that `out` is one: foreign text is then made harmless, as
    /// it always is in tables.
    pub fn write(&self, out: &mut dyn Write, listing: Listing, rows: &[Row], terminal: bool) -> Result<()> {
        let mut text = String::new();
        if self.is_table && self.heading {
            let header = Template::parse(&self.source, Functions::Headers).map_err(unparsable)?;
            text.push_str(&header.render(&Data::header(listing.titles)).map_err(unexecutable)?);
            text.push('\n');
        }
        let safe = self.is_table || terminal;
        for row in rows {
            if !self.print_simply(&mut text, row, safe) {
                let data = row.data(listing.go_type, safe);
                text.push_str(&self.template.render(&data).map_err(unexecutable)?);
            }
            text.push('\n');
        }
        let text = if self.is_table { table::align(&text, Layout::LIST) } else { text };
        out.write_all(text.as_bytes())?;
        Ok(())
    }
}

impl Format {
    /// Prints a row without the engine; false, with nothing printed, when that takes the engine.
    fn print_simply(&self, out: &mut String, row: &Row, safe: bool) -> bool {
        let Some(pieces) = &self.simple else { return false };
        let start = out.len();
        for piece in pieces {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Field(field) => match row.text(field) {
                    Some(value) if safe => out.push_str(&clean_line(value)),
                    Some(value) => out.push_str(value),
                    // The engine knows what to say.
                    None => {
                        out.truncate(start);
                        return false;
                    }
                },
            }
        }
        true
    }
}

fn unparsable(error: TemplateError) -> anyhow::Error {
    anyhow!("failed to parse template: {error}")
}

fn unexecutable(error: TemplateError) -> anyhow::Error {
    anyhow!("failed to execute template: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: Listing =
        Listing { go_type: "*formatter.ContainerContext", titles: &[("ID", "CONTAINER ID"), ("Names", "NAMES")] };

    fn print(format: &str, rows: &[Row]) -> Result<String> {
        let mut out = Vec::new();
        Format::parse(format)?.write(&mut out, LISTING, rows, false)?;
        Ok(String::from_utf8(out).unwrap())
    }

    fn rows() -> Vec<Row> {
        let row = |id: &str, name: &str| Row::new([("Names", name.to_owned()), ("ID", id.to_owned())]);
        vec![row("0123456789ab", "web"), row("1", "a\u{1b}\tb")]
    }

    #[test]
    fn formats_of_docker() {
        assert_eq!(
            print("table {{.ID}}\\t{{.Names}}", &rows()).unwrap(),
            "CONTAINER ID   NAMES\n0123456789ab   web\n1              a\\x1b\\tb\n"
        );
        assert_eq!(print("table {{.ID}}", &[]).unwrap(), "CONTAINER ID\n");
        let mut out = Vec::new();
        let bare = Format::parse("table {{.ID}}").unwrap().without_heading();
        bare.write(&mut out, LISTING, &rows(), false).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "0123456789ab\n1\n");
        assert_eq!(print("{{.ID}}\\t{{.Names}}", &rows()[..1]).unwrap(), "0123456789ab\tweb\n");
        assert_eq!(print("json", &rows()[..1]).unwrap(), "{\"ID\":\"0123456789ab\",\"Names\":\"web\"}\n");
        assert_eq!(print("{{.Names}}", &rows()[1..]).unwrap(), "a\u{1b}\tb\n", "a pipe gets the bytes as they are");
    }

    #[test]
    fn simple_templates_are_printed_as_the_engine_does() {
        for (format, is_simple) in [
            ("{{.ID}}", true),
            ("table {{.ID}}\\t{{ .Names }} {", true),
            ("{{.ID}}}} {{.Names}}", true),
            ("plain", true),
            ("", true),
            ("{{- .ID}}", false),
            ("{{.ID -}}", false),
            ("{{.A.B}}", false),
            ("{{.}}", false),
            ("{{json .}}", false),
            ("{{/* {{.ID}} */}}", false),
            ("{{\"}}\"}}", false),
        ] {
            let mut parsed = Format::parse(format).unwrap();
            assert_eq!(parsed.simple.is_some(), is_simple, "{format}");
            let print = |parsed: &Format| {
                let mut out = Vec::new();
                parsed.write(&mut out, LISTING, &rows(), true).map(|()| out).map_err(|error| error.to_string())
            };
            let simply = print(&parsed);
            parsed.simple = None;
            assert_eq!(simply, print(&parsed), "{format}");
        }
    }

    #[test]
    fn errors_of_docker() {
        assert_eq!(
            print("{{.ID", &rows()).unwrap_err().to_string(),
            "failed to parse template: template: :1: unclosed action"
        );
        assert_eq!(
            print("{{.Foo}}", &rows()).unwrap_err().to_string(),
            "failed to execute template: template: :1:2: executing \"\" at <.Foo>: can't evaluate field Foo in type *formatter.ContainerContext"
        );
        assert_eq!(print("{{.Foo}}", &[]).unwrap(), "");
    }
}
