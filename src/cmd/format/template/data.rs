//! JSON as template values. The engine's maps are sorted and know no types, so beside the values
//! stands what docker's behaviour depends on, keyed by the address of the map or list: the JSON's
//! key order, and for each map whether its keys are free (labels) or the fields of a struct.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use gotmpl::Value;
use serde_json::{Map, Value as Json};

use super::super::json::Html;
use super::super::text::{clean, clean_line};

/// How strings become harmless for a terminal; None leaves them as they are.
type Cleaning = Option<fn(&str) -> Cow<'_, str>>;

/// What docker has behind the data, which decides what an unknown name does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// A Go struct of this type: `can't evaluate field X in type T`.
    Struct(&'static str),
    /// Decoded JSON, as `inspect` has: `map has no entry for key "X"`.
    Json,
    /// A map with free keys: `<no value>`.
    Free,
}

/// Template data: the root value and what is known about the maps and lists in it.
#[derive(Clone)]
pub struct Data {
    pub(super) root: Value,
    facts: Arc<Facts>,
    names: Names,
}

#[derive(Default)]
struct Facts {
    maps: HashMap<usize, MapFacts>,
    /// Lists and maps that were null: docker prints them as empty and encodes them as null.
    nulls: HashMap<usize, Value>,
}

struct MapFacts {
    /// The keys that JSON shows, in its order.
    order: Vec<Arc<str>>,
    free: Option<Free>,
    /// Fields of [`OMITTED`] that this map does not show.
    omitted: Vec<(&'static str, Value)>,
    html: Html,
}

/// What a map with free keys yields for one that is absent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Free {
    EmptyString,
    Nothing,
}

/// The maps with free keys, as (parent key or "" for any, key), and what they hold.
const FREE_MAPS: &[(&str, &str, Free)] = &[
    ("", "Labels", Free::EmptyString),
    ("", "Annotations", Free::EmptyString),
    ("", "Attributes", Free::EmptyString),
    ("", "Tmpfs", Free::EmptyString),
    ("", "Sysctls", Free::EmptyString),
    ("", "StorageOpt", Free::EmptyString),
    ("", "DriverOpts", Free::EmptyString),
    ("", "Options", Free::EmptyString),
    ("", "Details", Free::EmptyString),
    ("LogConfig", "Config", Free::EmptyString),
    ("GraphDriver", "Data", Free::EmptyString),
    ("", "Ports", Free::Nothing),
    ("", "PortBindings", Free::Nothing),
    ("", "ExposedPorts", Free::Nothing),
    ("", "Volumes", Free::Nothing),
    ("", "Networks", Free::Nothing),
    ("", "Runtimes", Free::Nothing),
];

/// Keys whose null is a Go pointer (`<nil>`), not an empty list.
const POINTERS: &[&str] = &["PidsLimit", "MemorySwappiness", "IPAMConfig", "Server"];

/// In place of a key for the outermost map.
const ROOT: &str = "\0root";

/// Fields that docker's JSON omits when empty but that exist for templates: (parent, field).
const OMITTED: &[(&str, &[(&str, Zero)])] = &[
    (
        ROOT,
        &[("SizeRw", Zero::Pointer), ("SizeRootFs", Zero::Pointer), ("Variant", Zero::Text), ("OsVersion", Zero::Text)],
    ),
    ("State", &[("Health", Zero::Pointer)]),
    (
        "HostConfig",
        &[
            ("Annotations", Zero::Map),
            ("StorageOpt", Zero::Map),
            ("Tmpfs", Zero::Map),
            ("Sysctls", Zero::Map),
            ("Mounts", Zero::List),
            ("Init", Zero::Pointer),
        ],
    ),
    (
        "Config",
        &[
            ("ExposedPorts", Zero::Map),
            ("Healthcheck", Zero::Pointer),
            ("StopSignal", Zero::Text),
            ("StopTimeout", Zero::Pointer),
            ("Shell", Zero::List),
        ],
    ),
];

#[derive(Clone, Copy)]
enum Zero {
    Pointer,
    Text,
    Map,
    List,
}

impl Data {
    /// No data at all.
    pub(super) fn empty() -> Self {
        Self { root: Value::Nil, facts: Arc::default(), names: Names::Free }
    }

    /// JSON as data. `safe` makes all strings harmless for a terminal.
    pub fn new(json: &Json, names: Names, safe: bool) -> Self {
        let mut builder = Builder { facts: Facts::default(), names, cleaning: safe.then_some(clean) };
        let root = builder.value(json, "", ROOT);
        Self { root, facts: Arc::new(builder.facts), names }
    }

    /// One row of a list: `shown` is what `{{json .}}` prints (with Go's HTML escapes), `hidden`
    /// fields exist for templates only, `labels` answers `{{.Label "key"}}`.
    pub fn row(
        shown: &Map<String, Json>,
        hidden: &[(&str, &str)],
        labels: Option<&BTreeMap<String, String>>,
        go_type: &'static str,
        safe: bool,
    ) -> Self {
        let mut builder =
            Builder { facts: Facts::default(), names: Names::Struct(go_type), cleaning: safe.then_some(clean_line) };
        let mut map: BTreeMap<Arc<str>, Value> = BTreeMap::new();
        for (key, value) in shown {
            map.insert(Arc::from(key.as_str()), builder.value(value, "", key));
        }
        for (key, value) in hidden {
            map.insert(Arc::from(*key), builder.string(value));
        }
        if let Some(labels) = labels {
            let labels = labels.clone();
            map.insert(
                Arc::from("Label"),
                label_method(move |name| labels.get(name).cloned().unwrap_or_default(), builder.cleaning),
            );
        }
        let order = shown.keys().map(|key| Arc::from(key.as_str())).collect();
        let root = builder.map(map, MapFacts { order, free: None, omitted: Vec::new(), html: Html::Escape });
        Self { root, facts: Arc::new(builder.facts), names: builder.names }
    }

    /// The header row of a table: field names to column titles.
    pub fn header(titles: &[(&str, &str)]) -> Self {
        let mut builder = Builder { facts: Facts::default(), names: Names::Free, cleaning: None };
        let mut map: BTreeMap<Arc<str>, Value> =
            titles.iter().map(|(field, title)| (Arc::from(*field), Value::String(Arc::from(*title)))).collect();
        map.insert(Arc::from("Label"), label_method(label_title, Some(clean_line)));
        let facts = MapFacts { order: Vec::new(), free: Some(Free::Nothing), omitted: Vec::new(), html: Html::Keep };
        let root = builder.map(map, facts);
        Self { root, facts: Arc::new(builder.facts), names: Names::Free }
    }

    /// The value of an absent key: None when that is an error.
    pub(super) fn absent(&self, map: &Value) -> Option<Value> {
        match self.facts.maps.get(&address(map)?)?.free? {
            Free::EmptyString => Some(Value::String(Arc::from(""))),
            Free::Nothing => Some(Value::Nil),
        }
    }

    /// The value of a field that is left out of this map, as docker leaves out empty ones.
    pub(super) fn omitted(&self, map: &Value, field: &str) -> Option<&Value> {
        let facts = self.facts.maps.get(&address(map)?)?;
        facts.omitted.iter().find(|(name, _)| *name == field).map(|(_, zero)| zero)
    }

    pub(super) fn names(&self) -> Names {
        self.names
    }

    /// The value as JSON, with the HTML escapes that its root asks for.
    pub(super) fn json(&self, value: &Value) -> (Json, Html) {
        let html =
            address(value).and_then(|address| self.facts.maps.get(&address)).map_or(Html::Keep, |facts| facts.html);
        (self.to_json(value), html)
    }

    fn to_json(&self, value: &Value) -> Json {
        if address(value).is_some_and(|address| self.facts.nulls.contains_key(&address)) {
            return Json::Null;
        }
        match value {
            Value::Nil | Value::Function(_) => Json::Null,
            Value::Bool(flag) => Json::from(*flag),
            Value::Int(number) => Json::from(*number),
            Value::Uint(number) => Json::from(*number),
            Value::Float(number) => Json::from(*number),
            Value::String(text) => Json::from(&**text),
            Value::List(items) => items.iter().map(|item| self.to_json(item)).collect(),
            Value::Map(map) => {
                let facts = address(value).and_then(|address| self.facts.maps.get(&address));
                let order: Vec<Arc<str>> =
                    facts.map_or_else(|| map.keys().cloned().collect(), |facts| facts.order.clone());
                let entry = |key: Arc<str>| map.get(&key).map(|value| (key.to_string(), self.to_json(value)));
                Json::Object(order.into_iter().filter_map(entry).collect())
            }
        }
    }
}

/// Where a map or list lives: unique while the data lives, as each has its own allocation.
fn address(value: &Value) -> Option<usize> {
    match value {
        Value::Map(map) => Some(Arc::as_ptr(map) as usize),
        Value::List(list) => Some(Arc::as_ptr(list).cast::<Value>() as usize),
        _ => None,
    }
}

/// docker's column title for a label: its last part, with spaces.
fn label_title(name: &str) -> String {
    name.rsplit('.').next().unwrap_or_default().replace(['-', '_'], " ")
}

fn label_method(get: impl Fn(&str) -> String + Send + Sync + 'static, cleaning: Cleaning) -> Value {
    Value::Function(Arc::new(move |arguments: &[Value]| match arguments {
        [Value::String(name)] => Ok(string(&get(name), cleaning)),
        [_] => Err(gotmpl::TemplateError::Exec("wrong type for value; expected string".into())),
        _ => {
            Err(gotmpl::TemplateError::Exec(format!("wrong number of args for Label: want 1 got {}", arguments.len())))
        }
    }))
}

struct Builder {
    facts: Facts,
    names: Names,
    cleaning: Cleaning,
}

impl Builder {
    fn value(&mut self, json: &Json, parent: &str, key: &str) -> Value {
        match json {
            Json::Null => self.null(parent, key),
            Json::Bool(flag) => Value::Bool(*flag),
            Json::Number(number) => {
                let integer = number.as_i64().map(Value::Int).or_else(|| number.as_u64().map(Value::Uint));
                integer.unwrap_or_else(|| Value::Float(number.as_f64().unwrap_or_default()))
            }
            Json::String(text) => self.string(text),
            Json::Array(items) => Value::List(items.iter().map(|item| self.value(item, key, "")).collect()),
            Json::Object(entries) => self.object(entries, parent, key),
        }
    }

    fn object(&mut self, entries: &Map<String, Json>, parent: &str, key: &str) -> Value {
        let mut map: BTreeMap<Arc<str>, Value> = BTreeMap::new();
        let mut order: Vec<Arc<str>> = Vec::with_capacity(entries.len());
        for (name, value) in entries {
            // Keys of labels are foreign text as well.
            let name: Arc<str> =
                self.cleaning.map_or_else(|| Arc::from(name.as_str()), |clean| Arc::from(&*clean(name)));
            map.insert(Arc::clone(&name), self.value(value, key, &name));
            order.push(name);
        }
        let free = free_kind(parent, key);
        let mut omitted = Vec::new();
        if free.is_none() && self.names == Names::Json {
            let fields = OMITTED.iter().filter(|(owner, _)| *owner == key).flat_map(|(_, fields)| *fields);
            for (name, zero) in fields.filter(|(name, _)| !map.contains_key(*name)) {
                omitted.push((*name, self.zero(*zero, key, name)));
            }
        }
        self.map(map, MapFacts { order, free, omitted, html: Html::Keep })
    }

    fn map(&mut self, map: BTreeMap<Arc<str>, Value>, facts: MapFacts) -> Value {
        let value = Value::Map(Arc::new(map));
        if let Some(address) = address(&value) {
            self.facts.maps.insert(address, facts);
        }
        value
    }

    fn string(&self, text: &str) -> Value {
        string(text, self.cleaning)
    }

    fn null(&mut self, parent: &str, key: &str) -> Value {
        match free_kind(parent, key) {
            _ if key.is_empty() || key == ROOT || POINTERS.contains(&key) => Value::Nil,
            Some(_) => self.zero(Zero::Map, parent, key),
            None => self.zero(Zero::List, parent, key),
        }
    }

    fn zero(&mut self, zero: Zero, parent: &str, key: &str) -> Value {
        let value = match zero {
            Zero::Pointer => return Value::Nil,
            Zero::Text => return Value::String(Arc::from("")),
            Zero::List => Value::List(Arc::from(Vec::new())),
            Zero::Map => {
                let free = free_kind(parent, key);
                self.map(BTreeMap::new(), MapFacts { order: Vec::new(), free, omitted: Vec::new(), html: Html::Keep })
            }
        };
        if let Some(address) = address(&value) {
            // Kept alive here, so that the address stays its own.
            self.facts.nulls.insert(address, value.clone());
        }
        value
    }
}

fn string(text: &str, cleaning: Cleaning) -> Value {
    let text = cleaning.map_or(Cow::Borrowed(text), |clean| clean(text));
    Value::String(Arc::from(text.as_ref()))
}

fn free_kind(parent: &str, key: &str) -> Option<Free> {
    let found = FREE_MAPS.iter().find(|(owner, name, _)| *name == key && (owner.is_empty() || *owner == parent));
    found.map(|(_, _, free)| *free)
}
