//! A tree of values, each with its place and with how it was written.

use std::sync::Arc;

use serde_json::Number;

use super::problem::Span;
use super::template::Template;

/// A value and its place. Cheap to clone: collections and texts are shared.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where it is written; a collection reaches to the end of its last value.
    pub span: Span,
    /// What it is.
    pub data: Data,
}

/// A map key and its place.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its text.
    pub name: Arc<str>,
    /// Where it is written.
    pub span: Span,
}

/// A number or truth value, and how it was written where that differs from how it would be written
/// here: `3.10`, `1e-3`, `True`. In a text it stands as it was written.
#[derive(Clone, Debug)]
pub struct Written<T> {
    /// What it is.
    pub value: T,
    /// As written; `None` where that is how `value` is shown.
    pub form: Option<Arc<str>>,
}

impl<T: ToString> Written<T> {
    /// A value that was not written but computed.
    pub fn plain(value: T) -> Written<T> {
        Written { value, form: None }
    }

    /// A value and the text it was read from.
    pub fn read(value: T, text: &str) -> Written<T> {
        let form = (value.to_string() != text).then(|| text.into());
        Written { value, form }
    }

    /// How it stands in a text.
    pub fn text(&self) -> String {
        self.form
            .as_ref()
            .map_or_else(|| self.value.to_string(), |form| form.to_string())
    }
}

impl<T> std::ops::Deref for Written<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

/// What a node is.
#[derive(Clone, Debug)]
pub enum Data {
    /// `null`, `~` or nothing.
    Null,
    /// `true` or `false`.
    Bool(Written<bool>),
    /// A whole or decimal number; never infinite or NaN.
    Number(Written<Number>),
    /// A text.
    String(Arc<str>),
    /// A text with references that are known only per instance; made by expansion, never by
    /// parsing.
    Template(Arc<Template>),
    /// In the place of a value whose problem was reported: what follows from it is not.
    Broken,
    /// A list.
    Seq(Arc<[Node]>),
    /// A map in file order; keys are unique.
    Map(Arc<[(Key, Node)]>),
}

impl Node {
    /// The value of a key, when this is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries()
            .iter()
            .find(|(k, _)| &*k.name == key)
            .map(|(_, v)| v)
    }

    /// The entries of a map; empty for anything else.
    pub fn entries(&self) -> &[(Key, Node)] {
        match &self.data {
            Data::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The text, when this is one.
    pub fn as_str(&self) -> Option<&str> {
        match &self.data {
            Data::String(s) => Some(s),
            _ => None,
        }
    }

    /// What it is, for messages.
    pub fn describe(&self) -> String {
        match &self.data {
            Data::Null => "nothing".to_owned(),
            Data::Broken => FOLLOWS.to_string(),
            Data::Bool(b) => format!("`{}`", b.text()),
            Data::Number(n) => format!("the number {}", n.text()),
            Data::String(s) if s.chars().count() <= 40 => format!("the text \"{s}\""),
            Data::String(_) => "a long text".to_owned(),
            Data::Template(t) => format!("`{t}`"),
            Data::Seq(_) => "a list".to_owned(),
            Data::Map(_) => "a map".to_owned(),
        }
    }
}

/// In a message: it only follows from a problem that was reported, and is dropped.
pub const FOLLOWS: char = '\0';
