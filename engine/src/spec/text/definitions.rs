//! What the schemas of kinds define, each thing once: kinds that take a network describe the same
//! one. Decides the names; knows nothing of what is defined.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

/// The definitions of all kinds, before they have names that all can use.
#[derive(Debug, Default)]
pub(super) struct Definitions {
    of_kind: BTreeMap<String, Map<String, Value>>,
}

/// What a definition says, with all that it refers to.
type Meaning = BTreeMap<String, String>;

impl Definitions {
    /// Adds what a kind defines, and refers to by `#/$defs/NAME`.
    pub(super) fn add(&mut self, kind: &str, definitions: Map<String, Value>) {
        self.of_kind.insert(kind.to_owned(), definitions);
    }

    /// The name that each definition of each kind has for all: its own where it means the same
    /// everywhere and is not `taken`, else with the first kind that means it so.
    pub(super) fn names(&self, is_taken: impl Fn(&str) -> bool) -> Names {
        let mut meanings: BTreeMap<&str, Vec<(Meaning, &str)>> = BTreeMap::new();
        let mut first_kinds = Vec::new();
        for (kind, definitions) in &self.of_kind {
            for name in definitions.keys() {
                let meaning = self.meaning(kind, name);
                let known = meanings.entry(name).or_default();
                let first = match known.iter().find(|(other, _)| *other == meaning) {
                    Some((_, first)) => *first,
                    None => {
                        known.push((meaning, kind));
                        kind
                    }
                };
                first_kinds.push((kind, name, first));
            }
        }
        let of = first_kinds.into_iter().map(|(kind, name, first)| {
            let is_alone = meanings[name.as_str()].len() == 1 && !is_taken(name);
            let shared = match is_alone {
                true => name.clone(),
                false => format!("{first}.{name}"),
            };
            ((kind.clone(), name.clone()), shared)
        });
        Names(of.collect())
    }

    /// Each definition once, under its name for all.
    pub(super) fn named(self, names: &Names) -> Map<String, Value> {
        let mut named = Map::new();
        for (kind, definitions) in self.of_kind {
            for (name, mut definition) in definitions {
                names.rename_references(&kind, &mut definition);
                if let Some(shared) = names.0.get(&(kind.clone(), name)) {
                    named.insert(shared.clone(), definition);
                }
            }
        }
        named
    }

    fn meaning(&self, kind: &str, name: &str) -> Meaning {
        let mut meaning = Meaning::new();
        let mut open = vec![name.to_owned()];
        while let Some(name) = open.pop() {
            let definition = self.of_kind.get(kind).and_then(|all| all.get(&name));
            if let (Some(definition), false) = (definition, meaning.contains_key(&name)) {
                let mut referred = BTreeSet::new();
                references(definition, &mut referred);
                open.extend(referred);
                meaning.insert(name, definition.to_string());
            }
        }
        meaning
    }
}

/// From a kind and the name it gives a definition to the name for all.
#[derive(Debug)]
pub(super) struct Names(BTreeMap<(String, String), String>);

impl Names {
    /// Lets what a kind says refer to the names for all.
    pub(super) fn rename_references(&self, kind: &str, schema: &mut Value) {
        match schema {
            Value::Object(object) => {
                for (key, value) in object.iter_mut() {
                    match value {
                        Value::String(text) if key == "$ref" => {
                            let name = text.strip_prefix(PREFIX).unwrap_or_default();
                            if let Some(shared) = self.0.get(&(kind.to_owned(), name.to_owned())) {
                                *text = format!("{PREFIX}{shared}");
                            }
                        }
                        value => self.rename_references(kind, value),
                    }
                }
            }
            Value::Array(items) => items
                .iter_mut()
                .for_each(|item| self.rename_references(kind, item)),
            _ => {}
        }
    }
}

const PREFIX: &str = "#/$defs/";

fn references(schema: &Value, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(object) => {
            for (key, value) in object {
                match value {
                    Value::String(text) if key == "$ref" => {
                        found.extend(text.strip_prefix(PREFIX).map(str::to_owned));
                    }
                    value => references(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Two kinds mean the same by `Net`, which refers to itself; one means another thing by
    /// `Layer`, so what refers to it differs too.
    #[test]
    fn what_means_the_same_has_one_name() {
        let refers = |to: &str| json!({"items": {"$ref": format!("{PREFIX}{to}")}});
        let mut all = Definitions::default();
        let mut add = |kind: &str, layer: Value| {
            let own =
                json!({"Net": refers("Net"), "Stack": refers("Layer"), "Layer": layer, "Axis": {}});
            all.add(kind, own.as_object().cloned().unwrap_or_default());
        };
        add("a", json!({"type": "string"}));
        add("b", json!({"type": "string"}));
        add("c", json!({"type": "number"}));
        let names = all.names(|name| name == "Axis");
        let mut of_c = refers("Layer");
        names.rename_references("c", &mut of_c);
        assert_eq!(of_c, refers("c.Layer"));
        let named = all.named(&names);
        let keys: Vec<&str> = named.keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            ["Net", "a.Axis", "a.Layer", "a.Stack", "c.Layer", "c.Stack"]
        );
        assert_eq!(named["a.Stack"], refers("a.Layer"));
        assert_eq!(named["c.Stack"], refers("c.Layer"));
    }
}
