//! From the tree to the types of [`super::model`], through serde, without losing places and without
//! stopping at the first error.
//!
//! [`Field`] decodes one field on its own: what is wrong inside it is recorded and its neighbours
//! are still looked at. [`Raw`] keeps a part of the tree as it is. serde's data model has no
//! places, so nodes travel beside it, in a thread-local slot that is filled and emptied within one
//! call.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{self, DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::elsewhere::{self, Meant};
use super::node::{Data, Key, Node};
use super::problem::{Problem, Span};
use crate::similar;

const RAW: &str = "repro::spec::Raw";

thread_local! {
    static NODE: RefCell<Option<Node>> = const { RefCell::new(None) };
    static PROBLEMS: RefCell<Vec<Problem>> = const { RefCell::new(Vec::new()) };
}

/// Decodes a tree; everything wrong with it is returned beside what could be decoded.
pub fn decode<T: de::DeserializeOwned>(node: &Node) -> (Option<T>, Vec<Problem>) {
    let outer = PROBLEMS.take();
    let value = attempt(node);
    (value, PROBLEMS.replace(outer))
}

fn attempt<T: de::DeserializeOwned>(node: &Node) -> Option<T> {
    match T::deserialize(De { node }) {
        Ok(value) => Some(value),
        Err(error) => {
            record(error.at(node.span));
            None
        }
    }
}

fn record(problem: Problem) {
    PROBLEMS.with_borrow_mut(|p| p.push(problem));
}

/// A part of the document, undecoded.
#[derive(Clone, Debug)]
pub struct Raw(pub Node);

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Raw, D::Error> {
        struct TakeNode;
        impl<'de> Visitor<'de> for TakeNode {
            type Value = Raw;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a value of a pipeline file")
            }
            fn visit_unit<E: de::Error>(self) -> Result<Raw, E> {
                NODE.take()
                    .map(Raw)
                    .ok_or_else(|| E::custom("a value of a pipeline file"))
            }
        }
        d.deserialize_newtype_struct(RAW, TakeNode)
    }
}

impl JsonSchema for Raw {
    fn schema_name() -> Cow<'static, str> {
        "Any".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        true.into()
    }
}

/// A field decoded on its own: its place, and its value when it is well-formed.
#[derive(Clone, Debug)]
pub struct Field<T> {
    /// Where the value is written.
    pub span: Span,
    /// `None` when a problem was recorded.
    pub value: Option<T>,
}

impl<'de, T: de::DeserializeOwned> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Field<T>, D::Error> {
        let Raw(node) = Raw::deserialize(d)?;
        Ok(Field {
            span: node.span,
            value: attempt(&node),
        })
    }
}

impl<T: JsonSchema> JsonSchema for Field<T> {
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }
    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }
    fn inline_schema() -> bool {
        T::inline_schema()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// A map with names the user chooses, in file order; every value is decoded on its own.
#[derive(Clone, Debug)]
pub struct Entries<T> {
    /// Where the map is written.
    pub span: Span,
    /// The entries.
    pub list: Vec<(Key, Field<T>)>,
}

impl<'de, T: de::DeserializeOwned> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Entries<T>, D::Error> {
        let Raw(node) = Raw::deserialize(d)?;
        let mut list = Vec::new();
        match &node.data {
            Data::Map(entries) => {
                list.reserve(entries.len());
                for (key, value) in entries.iter() {
                    list.push((
                        key.clone(),
                        Field {
                            span: value.span,
                            value: attempt(value),
                        },
                    ));
                }
            }
            _ => {
                let problem = Problem::new(
                    node.span,
                    format!("expected a map of names, found {}", node.describe()),
                );
                record(match &node.data {
                    Data::Seq(items) => problem.help(named_entries("", items)),
                    _ => problem,
                });
            }
        }
        Ok(Entries {
            span: node.span,
            list,
        })
    }
}

impl<T: JsonSchema> JsonSchema for Entries<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("MapOf{}", T::schema_name()).into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        <std::collections::BTreeMap<String, T>>::json_schema(generator)
    }
}

/// One value or a list of them.
#[derive(Clone, Debug)]
pub struct OneOrMany<T>(pub Vec<Field<T>>);

impl<'de, T: de::DeserializeOwned> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<OneOrMany<T>, D::Error> {
        let Raw(node) = Raw::deserialize(d)?;
        let one = |node: &Node| Field {
            span: node.span,
            value: attempt(node),
        };
        Ok(OneOrMany(match &node.data {
            Data::Seq(items) => items.iter().map(one).collect(),
            _ => vec![one(&node)],
        }))
    }
}

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMany{}", T::schema_name()).into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        schemars::json_schema!({"anyOf": [one, {"type": "array", "items": one}]})
    }
}

/// A decoding error on its way to the field that records it.
#[derive(Debug)]
struct Error {
    span: Option<Span>,
    message: String,
    help: Vec<String>,
}

impl Error {
    fn locate(mut self, span: Span) -> Error {
        self.span.get_or_insert(span);
        self
    }

    fn at(self, span: Span) -> Problem {
        let mut problem = Problem::new(self.span.unwrap_or(span), self.message);
        problem.help = self.help;
        problem
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Error {
        Error {
            span: None,
            message: message.to_string(),
            help: Vec::new(),
        }
    }

    fn missing_field(field: &'static str) -> Error {
        Error::custom(format!("`{field}` is missing"))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Error {
        let problem = Problem::new(Span::start_of(0), format!("`{variant}` is not known here"))
            .suggest(variant, expected.iter().copied());
        Error {
            span: None,
            message: problem.message,
            help: problem.help,
        }
    }
}

struct De<'a> {
    node: &'a Node,
}

impl De<'_> {
    fn mismatch(&self, expected: &dyn fmt::Display) -> Error {
        let mut error = Error {
            span: Some(self.node.span),
            message: format!("expected {expected}, found {}", self.node.describe()),
            help: Vec::new(),
        };
        let written = super::substitute::scalar_text(&self.node.data);
        if let (Data::Number(_) | Data::Bool(_), Some(text)) = (&self.node.data, written)
            && expected.to_string().starts_with("a text")
        {
            error.help.push(format!("put it in quotes: `\"{text}\"`"));
        }
        if let Data::Template(_) = self.node.data {
            error.message = format!("{} cannot be used here", self.node.describe());
            error.help.push(
                "only `${vars...}` and `${env...}` can: this is decided before stages are expanded"
                    .to_owned(),
            );
        }
        error
    }
}

/// serde's visitors say what they expect; this shows it.
struct Expecting<'a, V>(&'a V);

impl<'de, V: Visitor<'de>> fmt::Display for Expecting<'_, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }
}

macro_rules! scalars {
    ($($method:ident $expected:literal $variant:ident;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            match &self.node.data {
                Data::$variant(_) => self.deserialize_any(visitor),
                _ => Err(self.mismatch(&$expected)),
            }
        }
    )*};
}

impl<'de> Deserializer<'de> for De<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let span = self.node.span;
        let result = match &self.node.data {
            Data::Null => visitor.visit_unit(),
            Data::Bool(b) => visitor.visit_bool(b.value),
            Data::Number(n) => match (n.as_u64(), n.as_i64()) {
                (Some(n), _) => visitor.visit_u64(n),
                (_, Some(n)) => visitor.visit_i64(n),
                _ => visitor.visit_f64(n.as_f64().unwrap_or_default()),
            },
            Data::String(s) => visitor.visit_str(s),
            Data::Template(_) | Data::Broken => return Err(self.mismatch(&Expecting(&visitor))),
            Data::Seq(items) => visitor.visit_seq(Items {
                items: items.iter(),
            }),
            Data::Map(entries) => visitor.visit_map(Pairs {
                entries: entries.iter(),
                fields: None,
                all: entries,
                taken: Vec::new(),
                value: None,
            }),
        };
        result.map_err(|e| e.locate(span))
    }

    scalars! {
        deserialize_bool "true or false" Bool;
        deserialize_u8 "a whole number" Number;
        deserialize_u16 "a whole number" Number;
        deserialize_u32 "a whole number, 0 or more" Number;
        deserialize_u64 "a whole number, 0 or more" Number;
        deserialize_i8 "a whole number" Number;
        deserialize_i16 "a whole number" Number;
        deserialize_i32 "a whole number" Number;
        deserialize_i64 "a whole number" Number;
        deserialize_f32 "a number" Number;
        deserialize_f64 "a number" Number;
        deserialize_str "a text" String;
        deserialize_string "a text" String;
        deserialize_seq "a list" Seq;
        deserialize_map "a map" Map;
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.node.data {
            Data::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        if name == RAW {
            NODE.set(Some(self.node.clone()));
            visitor.visit_unit()
        } else {
            visitor.visit_newtype_struct(self)
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        owner: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let Data::Map(entries) = &self.node.data else {
            return Err(self.mismatch(&"a map"));
        };
        for (key, value) in entries.iter() {
            if !fields.contains(&&*key.name) {
                let problem = Problem::new(key.span, format!("unknown field `{}`", key.name));
                record(match elsewhere::meant(owner, &key.name) {
                    Some(Meant::Field(ours)) => {
                        let problem = problem.means(ours);
                        match &value.data {
                            Data::Seq(items) if matches!(ours, "needs" | "outputs") => {
                                problem.help(named_entries(ours, items))
                            }
                            _ => problem,
                        }
                    }
                    Some(Meant::Hint(hint)) => problem.help(hint),
                    None => problem.suggest(&key.name, fields.iter().copied()),
                });
            }
        }
        visitor
            .visit_map(Pairs {
                entries: entries.iter(),
                fields: Some((owner, fields)),
                all: entries,
                taken: Vec::new(),
                value: None,
            })
            .map_err(|e| e.locate(self.node.span))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match &self.node.data {
            Data::String(s) => visitor
                .visit_enum((&**s).into_deserializer())
                .map_err(|e: Error| e.locate(self.node.span)),
            _ => Err(self.mismatch(&"a name")),
        }
    }

    serde::forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any
    }
}

struct Items<'a> {
    items: std::slice::Iter<'a, Node>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        self.items
            .next()
            .map(|node| {
                seed.deserialize(De { node })
                    .map_err(|e| e.locate(node.span))
            })
            .transpose()
    }
}

struct Pairs<'a> {
    entries: std::slice::Iter<'a, (Key, Node)>,
    /// Keys to skip are those that are not among them, whose type is named.
    fields: Option<(&'static str, &'static [&'static str])>,
    all: &'a [(Key, Node)],
    /// Fields that a misspelt key stood for.
    taken: Vec<&'static str>,
    value: Option<Cow<'a, Node>>,
}

impl Pairs<'_> {
    /// The field a key stands for, and its value. One that is misspelt, or that another tool has,
    /// may stand for ours, so that what follows from its absence is not said too.
    fn field<'k>(&mut self, key: &'k Key, value: &'k Node) -> Option<(&'k str, Cow<'k, Node>)> {
        let as_written = Cow::Borrowed(value);
        let Some((owner, fields)) = self.fields else {
            return Some((&key.name, as_written));
        };
        if fields.contains(&&*key.name) {
            return Some((&key.name, as_written));
        }
        let ours = match elsewhere::meant(owner, &key.name) {
            Some(Meant::Field(ours)) => ours,
            Some(Meant::Hint(_)) => return None,
            None => similar::likest(&key.name, fields)?,
        };
        if self.all.iter().any(|(other, _)| *other.name == *ours) || self.taken.contains(&ours) {
            return None;
        }
        let fits = match ours {
            "run" => value.as_str().is_some() || matches!(value.data, Data::Template(_)),
            "needs" | "outputs" => matches!(value.data, Data::Map(_)),
            _ => false,
        };
        let value = match (fits, is_missed(owner, ours)) {
            (true, _) => as_written,
            (false, true) => Cow::Owned(Node {
                span: value.span,
                data: Data::Broken,
            }),
            (false, false) => return None,
        };
        self.taken.push(ours);
        Some((ours, value))
    }
}

/// Other places speak of a field's absence: the axes of a matrix, the runs that a claim reads.
fn is_missed(owner: &str, field: &str) -> bool {
    matches!(
        (owner, field),
        ("Stage", "matrix")
            | (
                "Claim",
                "expect" | "n" | "until" | "max_n" | "looks" | "n_of"
            )
    )
}

impl<'de> MapAccess<'de> for Pairs<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        while let Some((key, value)) = self.entries.next() {
            if let Some((field, value)) = self.field(key, value) {
                self.value = Some(value);
                return seed
                    .deserialize(field.into_deserializer())
                    .map(Some)
                    .map_err(|e: Error| e.locate(key.span));
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        match self.value.take() {
            Some(node) => seed
                .deserialize(De { node: &node })
                .map_err(|e| e.locate(node.span)),
            None => Err(de::Error::custom("a value without its key")),
        }
    }
}

/// How a list of paths is written as a map of names.
fn named_entries(field: &str, items: &[Node]) -> String {
    let shown = items.iter().take(2).filter_map(Node::as_str).map(|text| {
        let file = text.rsplit('/').next().unwrap_or(text);
        let stem = file.split('.').next().unwrap_or(file);
        let name: String = stem
            .chars()
            .map(|c| {
                if c.is_alphanumeric() || c == '_' {
                    c
                } else {
                    '-'
                }
            })
            .collect();
        match field {
            "needs" => format!("{name}: {{file: {text}}}"),
            "outputs" => format!("{name}: {text}"),
            _ => format!("{name}: ..."),
        }
    });
    let shown: Vec<String> = shown.collect();
    match (field, shown.is_empty()) {
        (_, true) => "every entry has a name: `{NAME: ...}`".to_owned(),
        ("", false) => format!("every entry has a name: `{{{}}}`", shown.join(", ")),
        (field, false) => format!(
            "every entry has a name: `{field}: {{{}}}`",
            shown.join(", ")
        ),
    }
}

/// A name of a stage, loop, need, output, axis, claim or variable.
pub fn check_name(key: &Key, what: &str) -> Result<Arc<str>, Problem> {
    let ok = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    if !key.name.is_empty() && key.name.chars().all(ok) {
        return Ok(key.name.clone());
    }
    let shown = key.name.escape_debug();
    let simpler: String = key
        .name
        .trim()
        .chars()
        .map(|c| if ok(c) { c } else { '-' })
        .collect();
    let problem = Problem::new(
        key.span,
        format!(
            "`{shown}` cannot be the name of {what}: names are made of letters, digits, `_` and `-`"
        ),
    );
    Err(if simpler.is_empty() {
        problem
    } else {
        problem.help(format!("write `{simpler}`"))
    })
}
