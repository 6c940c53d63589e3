//! The functions of templates: docker's own, docker's behaviour of `index`, and the three that
//! [`super::rewrite`] plants.

use std::sync::Arc;

use gotmpl::{TemplateError, Value};

use super::super::json;
use super::super::quote::quote;
use super::data::Names;
use super::rewrite::{ACCESS, CHECK, STEP, Site};
use super::{Data, MAX_STRING, Shared};

/// Which meaning docker's functions have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Functions {
    /// They work on values.
    Values,
    /// They leave a table's header as it is; only `pad` works.
    Headers,
}

/// Go's own functions, and docker's.
const KNOWN: &[&str] = &[
    "and", "call", "eq", "ge", "gt", "html", "index", "js", "json", "join", "le", "len", "lower", "lt", "ne", "not",
    "or", "pad", "print", "printf", "println", "slice", "split", "title", "truncate", "upper", "urlquery",
];

pub(super) fn is_known(name: &str) -> bool {
    KNOWN.contains(&name)
}

type Result<T> = gotmpl::Result<T>;

pub(super) fn register(template: gotmpl::Template, functions: Functions, state: &Shared) -> gotmpl::Template {
    let template = plant(template, state).func("pad", pad);
    match functions {
        Functions::Values => with_values(template, state),
        Functions::Headers => ["json", "join", "lower", "split", "title", "truncate", "upper"]
            .into_iter()
            .fold(template, |template, name| template.func(name, first)),
    }
}

fn plant(template: gotmpl::Template, state: &Shared) -> gotmpl::Template {
    let (for_access, for_step, for_check, for_index) = (state.clone(), state.clone(), state.clone(), state.clone());
    template
        .func(ACCESS, move |args| access(&for_access, args))
        .func(STEP, move |_| for_step.step().map(|()| Value::Nil))
        .func(CHECK, move |args| {
            for_check.step()?;
            match args {
                [Value::String(text)] if text.len() > MAX_STRING => {
                    Err(for_check.fail(format!("template: : executing \"\": string longer than {MAX_STRING} bytes")))
                }
                _ => first(args),
            }
        })
        .func("index", move |args| index(&for_index, args))
}

fn with_values(template: gotmpl::Template, state: &Shared) -> gotmpl::Template {
    let for_json = state.clone();
    template
        .func("json", move |args| {
            let data = for_json.lock().data.clone();
            let (value, html) = data.json(argument("json", args, 0, 1)?);
            string(json::compact(&value, html))
        })
        .func("split", |args| {
            let (text, separator) = (text("split", args, 0, 2)?, text("split", args, 1, 2)?);
            let part = |part: &str| Value::String(Arc::from(part));
            Ok(Value::List(match separator {
                "" => text.chars().map(|c| part(c.encode_utf8(&mut [0; 4]))).collect(),
                _ => text.split(separator).map(part).collect(),
            }))
        })
        .func("join", |args| string(join(argument("join", args, 0, 2)?, text("join", args, 1, 2)?)))
        .func("lower", |args| string(text("lower", args, 0, 1)?.to_lowercase()))
        .func("upper", |args| string(text("upper", args, 0, 1)?.to_uppercase()))
        .func("title", |args| string(title(text("title", args, 0, 1)?)))
        .func("truncate", |args| {
            let (text, length) = (text("truncate", args, 0, 2)?, count("truncate", args, 1, 2)?);
            let starts = text.char_indices().map(|(start, _)| start).chain([text.len()]);
            string(text[..starts.take_while(|start| *start <= length).last().unwrap_or(0)].to_owned())
        })
}

fn first(args: &[Value]) -> Result<Value> {
    Ok(args.first().cloned().unwrap_or(Value::Nil))
}

fn string(text: String) -> Result<Value> {
    Ok(Value::String(Arc::from(text)))
}

fn argument<'a>(name: &str, args: &'a [Value], number: usize, wanted: usize) -> Result<&'a Value> {
    match args.get(number) {
        Some(value) if args.len() == wanted => Ok(value),
        _ => Err(TemplateError::Exec(format!("wrong number of args for {name}: want {wanted} got {}", args.len()))),
    }
}

fn text<'a>(name: &str, args: &'a [Value], number: usize, wanted: usize) -> Result<&'a str> {
    let value = argument(name, args, number, wanted)?;
    let mistyped = || TemplateError::Exec(format!("wrong type for value; expected string; got {}", value.type_name()));
    value.as_str().ok_or_else(mistyped)
}

fn count(name: &str, args: &[Value], number: usize, wanted: usize) -> Result<usize> {
    match argument(name, args, number, wanted)?.as_int().map(usize::try_from) {
        Some(Ok(count)) => Ok(count.min(MAX_STRING)),
        _ => Err(TemplateError::Exec(format!("{name}: a length must be a number from 0 up"))),
    }
}

fn pad(args: &[Value]) -> Result<Value> {
    let (text, before, after) = (text("pad", args, 0, 3)?, count("pad", args, 1, 3)?, count("pad", args, 2, 3)?);
    string(if text.is_empty() { String::new() } else { format!("{}{text}{}", " ".repeat(before), " ".repeat(after)) })
}

/// Lists in their order, maps by their values, sorted; other values stand for themselves.
fn join(value: &Value, separator: &str) -> String {
    match value {
        Value::List(items) => items.iter().map(Value::to_string).collect::<Vec<_>>().join(separator),
        Value::Map(map) => {
            let mut values: Vec<String> = map.values().map(Value::to_string).collect();
            values.sort();
            values.join(separator)
        }
        other => other.to_string(),
    }
}

/// Go's strings.Title: the first letter of every word, words being letters, digits and `_`.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_word = false;
    for c in text.chars() {
        match in_word {
            true => out.push(c),
            false => out.extend(c.to_uppercase()),
        }
        in_word = c.is_alphanumeric() || c == '_' || !(c.is_ascii() || c.is_whitespace());
    }
    out
}

/// Go's `index`, which yields the zero value for an absent key of a typed map.
fn index(state: &Shared, args: &[Value]) -> Result<Value> {
    let Some((base, keys)) = args.split_first() else {
        return Err(TemplateError::Exec("wrong number of args for index: want at least 1 got 0".into()));
    };
    let data = state.lock().data.clone();
    let mut value = base.clone();
    for key in keys {
        value = match (&value, key) {
            (Value::Map(map), Value::String(name)) if !map.contains_key(name) => {
                data.absent(&value).unwrap_or(Value::Nil)
            }
            _ => value.index(key)?,
        };
    }
    Ok(value)
}

/// `ACCESS site base argument...`: the fields of a site, looked up from `base`; arguments go to
/// the method that the last field must then be.
fn access(state: &Shared, args: &[Value]) -> Result<Value> {
    state.step()?;
    let [Value::Int(site), base, arguments @ ..] = args else {
        return Err(TemplateError::Exec("malformed field access".into()));
    };
    let looked_up = {
        let state = state.lock();
        match usize::try_from(*site).ok().and_then(|site| state.sites.get(site)) {
            Some(site) => look_up(&state.data, site, base, arguments).map_err(|problem| located(site, &problem)),
            None => Ok(Value::Nil),
        }
    };
    looked_up.map_err(|text| state.fail(text))
}

fn located(site: &Site, problem: &str) -> String {
    format!("template: :{}: executing \"\" at <{}>: {problem}", site.position, site.text)
}

fn look_up(data: &Data, site: &Site, base: &Value, arguments: &[Value]) -> std::result::Result<Value, String> {
    let mut value = base.clone();
    let mut printed_nil = false;
    let mut called = false;
    let mut omitted: Option<&str> = None;
    for (number, field) in site.fields.iter().enumerate() {
        let last = number + 1 == site.fields.len();
        let next = match &value {
            Value::Map(map) => match map.get(field) {
                Some(Value::Function(method)) => {
                    called = last;
                    let result = method(if last { arguments } else { &[] });
                    result.map_err(|error| match error {
                        TemplateError::Exec(text) => text,
                        other => other.to_string(),
                    })?
                }
                found => {
                    let zero = data.omitted(&value, field);
                    omitted = zero.is_some().then_some(field);
                    let present = found.or(zero);
                    printed_nil = present.is_some();
                    // By field, even a map of strings has no value for an absent key.
                    let absent = || data.absent(&value).map(|_| Value::Nil);
                    present.cloned().or_else(absent).ok_or_else(|| unknown(data.names(), field))?
                }
            },
            Value::Nil if omitted.is_some() => return Err(unknown(data.names(), omitted.unwrap_or_default())),
            Value::Nil => return Err(format!("nil pointer evaluating interface {{}}.{field}")),
            other => return Err(format!("can't evaluate field {field} in type {}", other.type_name())),
        };
        value = next;
    }
    match (arguments, site.fields.last()) {
        ([_, ..], Some(field)) if !called => Err(format!("{field} is not a method but has arguments")),
        _ if site.printed && printed_nil && matches!(value, Value::Nil) => Ok(Value::String(Arc::from("<nil>"))),
        _ => Ok(value),
    }
}

fn unknown(names: Names, field: &str) -> String {
    match names {
        Names::Struct(go_type) => format!("can't evaluate field {field} in type {go_type}"),
        Names::Json | Names::Free => format!("map has no entry for key {}", quote(field)),
    }
}
