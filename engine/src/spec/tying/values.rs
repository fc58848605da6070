//! Axis values, each once: rows and joins handle numbers.
//!
//! Decides which values are equal, and how one is written in names and texts. Does not know which
//! stage has which axis.

use foldhash::HashMap;
use std::sync::Arc;

use serde_json::Value;

use crate::plan::AxisValue;
use crate::spec::text::node::Node;

/// A row has no value on this axis.
pub const ABSENT: u32 = u32::MAX;

/// A value as an axis has it.
#[derive(Clone, Debug)]
pub struct Given {
    /// What parameters get.
    pub value: Value,
    /// How it is written in names and texts.
    pub text: Arc<str>,
    /// A map as it is written, for references into it.
    pub node: Option<Node>,
}

impl Given {
    /// A computed value, which is written as everybody writes it.
    pub fn plain(value: Value) -> Given {
        let text = match &value {
            Value::String(text) => text.as_str().into(),
            other => other.to_string().into(),
        };
        Given {
            value,
            text,
            node: None,
        }
    }
}

/// See the module.
#[derive(Default)]
pub struct Values {
    list: Vec<Entry>,
    /// For every value the one it equals in a join: 1 and 1.0 are equal, though they are different
    /// parameters.
    equal: Vec<u32>,
    exact: HashMap<String, u32>,
    canonical: HashMap<String, u32>,
}

struct Entry {
    named: Arc<AxisValue>,
    /// A map: its value, and as it is written.
    map: Option<(Value, Node)>,
}

impl Values {
    /// The number of a value.
    pub fn id(&mut self, given: &Given) -> u32 {
        let exact = format!("{}\0{}", given.text, given.value);
        if let Some(&id) = self.exact.get(&exact) {
            return id;
        }
        let id = self.list.len() as u32;
        let map = given.node.clone().map(|node| (given.value.clone(), node));
        let value = match &map {
            Some(_) => Value::String(given.text.to_string()),
            None => given.value.clone(),
        };
        let text = (*given.text).into();
        let named = Arc::new(AxisValue { value, text });
        self.list.push(Entry { named, map });
        let key = canonical(&given.value);
        self.equal.push(*self.canonical.entry(key).or_insert(id));
        self.exact.insert(exact, id);
        id
    }

    /// The value equal to this one in joins, if any axis has it.
    pub fn find(&self, value: &Value) -> Option<u32> {
        self.canonical.get(&canonical(value)).copied()
    }

    /// The value of a number.
    pub fn value(&self, id: u32) -> &Value {
        match self.list.get(id as usize) {
            Some(Entry {
                map: Some((value, _)),
                ..
            }) => value,
            Some(entry) => &entry.named.value,
            None => &Value::Null,
        }
    }

    /// A map as it is written; `None` for anything else.
    pub fn node(&self, id: u32) -> Option<&Node> {
        Some(&self.list.get(id as usize)?.map.as_ref()?.1)
    }

    /// How a value is written in names and texts.
    pub fn text(&self, id: u32) -> &str {
        self.list
            .get(id as usize)
            .map_or("", |entry| &entry.named.text)
    }

    /// A value as plans have it; `None` for [`ABSENT`].
    pub fn named(&self, id: u32) -> Option<&Arc<AxisValue>> {
        self.list.get(id as usize).map(|entry| &entry.named)
    }

    /// What joins compare.
    pub fn join(&self, id: u32) -> u32 {
        self.equal.get(id as usize).copied().unwrap_or(id)
    }
}

fn canonical(value: &Value) -> String {
    match value {
        Value::Number(n) => match n.as_f64() {
            Some(x) if n.is_f64() && x.fract() == 0.0 && x.abs() < 9e15 => (x as i64).to_string(),
            _ => n.to_string(),
        },
        other => other.to_string(),
    }
}

/// Rows by their values, axis by axis: absent, null, false, true, numbers, texts, maps by name.
pub fn compare_rows(a: &[u32], b: &[u32], values: &Values) -> std::cmp::Ordering {
    let rank = |id: u32| match values.value(id) {
        _ if id == ABSENT => 0,
        Value::Null => 1,
        Value::Bool(_) => 2,
        Value::Number(_) => 3,
        Value::String(_) => 4,
        _ => 5,
    };
    for (&x, &y) in a.iter().zip(b) {
        if x == y {
            continue;
        }
        let order = rank(x)
            .cmp(&rank(y))
            .then_with(|| match (values.value(x), values.value(y)) {
                (Value::Bool(x), Value::Bool(y)) => x.cmp(y),
                (Value::Number(x), Value::Number(y)) => match (x.as_i64(), y.as_i64()) {
                    (Some(x), Some(y)) => x.cmp(&y),
                    _ => x
                        .as_f64()
                        .unwrap_or(0.0)
                        .total_cmp(&y.as_f64().unwrap_or(0.0)),
                },
                (Value::String(x), Value::String(y)) => x.cmp(y),
                _ => values.text(x).cmp(values.text(y)),
            });
        if order.is_ne() {
            return order;
        }
    }
    std::cmp::Ordering::Equal
}
