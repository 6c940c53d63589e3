//! A value as it was written, read as the type its key has.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value of a file, or the text of a variable or flag.
#[derive(Clone, Copy, Debug)]
pub enum Given<'a> {
    Toml(&'a DeValue<'a>),
    Text(&'a str),
}

/// Why a value is not taken.
#[derive(Debug, Default)]
pub struct Refusal {
    /// The part of the file at fault, where it is less than the whole value.
    pub span: Option<Range<usize>>,
    /// What the type's name does not say already.
    pub why: Option<String>,
}

impl Refusal {
    /// With a reason.
    pub fn because(why: impl ToString) -> Self {
        Self { span: None, why: Some(why.to_string()) }
    }

    fn within(self, span: Range<usize>) -> Self {
        Self { span: Some(span), ..self }
    }
}

impl<'a> Given<'a> {
    /// Text.
    pub fn text(self) -> Result<&'a str, Refusal> {
        match self {
            Self::Toml(DeValue::String(text)) => Ok(text),
            Self::Toml(_) => Err(Refusal::default()),
            Self::Text(text) => Ok(text),
        }
    }

    /// True or false; outside of files as docker's flags take it.
    pub fn boolean(&self) -> Result<bool, Refusal> {
        match self {
            Self::Toml(DeValue::Boolean(value)) => Ok(*value),
            Self::Toml(_) => Err(Refusal::default()),
            Self::Text(text) => crate::spec::security::parse_bool(text).ok_or_else(Refusal::default),
        }
    }

    /// A whole number's digits. In a file it is a number, not text.
    pub fn digits(&self) -> Result<String, Refusal> {
        match self {
            Self::Toml(DeValue::Integer(number)) => {
                let value = i64::from_str_radix(number.as_str(), number.radix());
                Ok(value.map_err(Refusal::because)?.to_string())
            }
            Self::Toml(_) => Err(Refusal::default()),
            Self::Text(text) => Ok((*text).to_owned()),
        }
    }

    /// Text, or the digits of a whole number.
    pub fn text_or_digits(&self) -> Result<String, Refusal> {
        match self.text() {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => self.digits(),
        }
    }

    /// A list of what `parse` reads; outside of files separated by commas.
    pub fn list<T, E: ToString>(&self, parse: impl Fn(&str) -> Result<T, E>) -> Result<Vec<T>, Refusal> {
        match self {
            Self::Toml(value) => items(value, &parse),
            Self::Text(text) => parts(text).map(|part| parse(part).map_err(Refusal::because)).collect(),
        }
    }

    /// Lists by name; outside of files `NAME=ITEM`, separated by commas, a name as often as it has
    /// items.
    pub fn lists<K, T, E: ToString, F: ToString>(
        &self,
        name: impl Fn(&str) -> Result<K, E>,
        parse: impl Fn(&str) -> Result<T, F>,
    ) -> Result<Vec<(K, Vec<T>)>, Refusal> {
        match self {
            Self::Toml(DeValue::Table(table)) => table_of_lists(table, &name, &parse),
            Self::Toml(_) => Err(Refusal::default()),
            Self::Text(text) => parts(text)
                .map(|part| {
                    let (key, item) = part.split_once('=').ok_or_else(Refusal::default)?;
                    let item = parse(item).map_err(Refusal::because)?;
                    Ok((name(key).map_err(Refusal::because)?, vec![item]))
                })
                .collect(),
        }
    }
}

fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

fn items<T, E: ToString>(value: &DeValue<'_>, parse: impl Fn(&str) -> Result<T, E>) -> Result<Vec<T>, Refusal> {
    let DeValue::Array(array) = value else { return Err(Refusal::default()) };
    let item = |item: &Spanned<DeValue<'_>>| {
        let refuse = |refusal: Refusal| refusal.within(item.span());
        let DeValue::String(text) = item.get_ref() else { return Err(refuse(Refusal::default())) };
        parse(text).map_err(|error| refuse(Refusal::because(error)))
    };
    array.iter().map(item).collect()
}

fn table_of_lists<K, T, E: ToString, F: ToString>(
    table: &DeTable<'_>,
    name: &impl Fn(&str) -> Result<K, E>,
    parse: &impl Fn(&str) -> Result<T, F>,
) -> Result<Vec<(K, Vec<T>)>, Refusal> {
    let mut lists = Vec::new();
    for (key, value) in table {
        let refuse = |refusal: Refusal| Refusal { span: refusal.span.or(Some(value.span())), ..refusal };
        if value.get_ref().is_table() {
            return Err(refuse(Refusal::because(r#"a name with a dot needs quotes, as in "docker.io""#)));
        }
        let items = items(value.get_ref(), parse).map_err(refuse)?;
        let key = name(key.get_ref()).map_err(|error| Refusal::because(error).within(key.span()))?;
        lists.push((key, items));
    }
    Ok(lists)
}
