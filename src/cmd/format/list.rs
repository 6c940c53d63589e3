//! `--format` of the list commands: `table`, `table TEMPLATE`, `json`, or a template that is
//! executed once a row and followed by a newline.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::{Result, anyhow};
use serde_json::{Map, Value};

use super::table::{self, Layout};
use super::template::{Data, Functions, Template, TemplateError};

/// What the rows of a command are.
#[derive(Clone, Copy, Debug)]
pub struct Listing {
    /// docker's Go type, which its error texts name: `*formatter.ContainerContext`.
    pub go_type: &'static str,
    /// Field names and column titles.
    pub titles: &'static [(&'static str, &'static str)],
}

/// One row.
#[derive(Clone, Debug, Default)]
pub struct Row {
    shown: Map<String, Value>,
    hidden: Vec<(&'static str, String)>,
    labels: Option<BTreeMap<String, String>>,
}

impl Row {
    /// A row of fields, which `json` shows sorted by name.
    pub fn new<const N: usize>(mut fields: [(&'static str, String); N]) -> Self {
        fields.sort();
        let shown = fields.into_iter().map(|(name, value)| (name.to_owned(), Value::String(value))).collect();
        Self { shown, ..Self::default() }
    }

    /// Adds a field that templates know and `json` omits.
    pub fn hidden(mut self, name: &'static str, value: String) -> Self {
        self.hidden.push((name, value));
        self
    }

    /// Lets `{{.Label "key"}}` answer.
    pub fn labels(mut self, labels: BTreeMap<String, String>) -> Self {
        self.labels = Some(labels);
        self
    }

    fn data(&self, go_type: &'static str, safe: bool) -> Data {
        let hidden: Vec<(&str, &str)> = self.hidden.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Data::row(&self.shown, &hidden, self.labels.as_ref(), go_type, safe)
    }
}

/// A parsed `--format` of a list command.
pub struct Format {
    source: String,
    is_table: bool,
    template: Template,
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
        Ok(Self { source, is_table, template })
    }

    /// Whether the template's text holds `field`, for values that are costly to know.
    pub fn mentions(&self, field: &str) -> bool {
        self.source.contains(field)
    }

    /// Prints the rows. `terminal` says that `out` is one: foreign text is then made harmless, as
    /// it always is in tables.
    pub fn write(&self, out: &mut dyn Write, listing: Listing, rows: &[Row], terminal: bool) -> Result<()> {
        let mut text = String::new();
        if self.is_table {
            let header = Template::parse(&self.source, Functions::Headers).map_err(unparsable)?;
            text.push_str(&header.render(&Data::header(listing.titles)).map_err(unexecutable)?);
            text.push('\n');
        }
        for row in rows {
            let data = row.data(listing.go_type, self.is_table || terminal);
            text.push_str(&self.template.render(&data).map_err(unexecutable)?);
            text.push('\n');
        }
        let text = if self.is_table { table::align(&text, Layout::LIST) } else { text };
        out.write_all(text.as_bytes())?;
        Ok(())
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
        assert_eq!(print("{{.ID}}\\t{{.Names}}", &rows()[..1]).unwrap(), "0123456789ab\tweb\n");
        assert_eq!(print("json", &rows()[..1]).unwrap(), "{\"ID\":\"0123456789ab\",\"Names\":\"web\"}\n");
        assert_eq!(print("{{.Names}}", &rows()[1..]).unwrap(), "a\u{1b}\tb\n", "a pipe gets the bytes as they are");
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
