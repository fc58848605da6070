//! The graph of a crate: entities of JSON-LD by their names.

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The entities of the description, by id: each once, in the order of their first mention.
#[derive(Default)]
pub(super) struct Graph {
    pub(super) order: Vec<String>,
    pub(super) entities: BTreeMap<String, Value>,
    pub(super) parts: Vec<Value>,
    pub(super) actions: Vec<Value>,
}

pub(super) fn reference(id: &str) -> Value {
    json!({ "@id": id })
}

impl Graph {
    pub(super) fn add(&mut self, id: &str, kind: Value, fields: Value) -> Value {
        if !self.entities.contains_key(id) {
            let mut entity = Map::from_iter([("@id".into(), id.into()), ("@type".into(), kind)]);
            if let Value::Object(fields) = fields {
                let said = fields.into_iter().filter(|(_, v)| !v.is_null());
                entity.extend(said.map(|(name, value)| (name, single(value))));
            }
            self.order.push(id.to_owned());
            self.entities.insert(id.to_owned(), Value::Object(entity));
        }
        reference(id)
    }

    pub(super) fn part(&mut self, id: &str, kind: Value, fields: Value) -> Value {
        if !self.entities.contains_key(id) {
            self.parts.push(reference(id));
        }
        self.add(id, kind, fields)
    }

    pub(super) fn set(&mut self, id: &str, field: &str, value: Value) {
        if let Some(entity) = self.entities.get_mut(id) {
            entity[field] = single(value);
        }
    }
}

/// RO-Crate wants one value to stand for itself.
pub(super) fn single(value: Value) -> Value {
    match value {
        Value::Array(mut items) if items.len() == 1 => items.remove(0),
        other => other,
    }
}
