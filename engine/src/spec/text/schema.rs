//! The JSON Schema of the pipeline file, for editors: the types of [`super::model`] and the
//! parameters of every kind.
//!
//! Wherever a kind's parameters take a value, a text with a reference is valid too. Decides nothing
//! about the file itself.

use serde_json::{Map, Value, json};

use super::definitions::Definitions;
use super::model::File;
use crate::catalog::{Catalog, Kind};

/// JSON Schema of a pipeline file with the kinds of a catalog: draft-07, which the YAML language
/// server of editors reads.
pub fn schema(catalog: &Catalog) -> Value {
    let mut schema = schemars::schema_for!(File).to_value();
    let names: Vec<&str> = catalog.kinds.iter().map(|k| k.name.as_str()).collect();
    let mut definitions = Definitions::default();
    let mut parameters = Vec::new();
    for kind in &catalog.kinds {
        let mut with = Value::clone(&kind.schema);
        if let Some(own) = with.as_object_mut().and_then(|o| o.remove("$defs")) {
            let mut own = own.as_object().cloned().unwrap_or_default();
            own.values_mut().for_each(allow_references);
            definitions.add(&kind.name, own);
        }
        if let Some(object) = with.as_object_mut() {
            object.remove("$schema");
            // The name of a type in Rust.
            object.remove("title");
            object
                .entry("description")
                .or_insert_with(|| kind.summary.clone().into());
        }
        wrap(&mut with);
        parameters.push((kind, with));
    }
    let shared = definitions.names(|name| schema["$defs"].get(name).is_some());
    let mut choices: Vec<Value> = Vec::new();
    for (kind, mut with) in parameters {
        shared.rename_references(&kind.name, &mut with);
        choices.push(json!({
            "if": {"properties": {"uses": {"const": kind.name}}, "required": ["uses"]},
            "then": {"properties": {"with": with, "needs": needs(kind)}, "required": required(kind)},
        }));
    }
    // The references used everywhere stand for a whole value as well.
    if let Some(all) = schema.get_mut("$defs").and_then(Value::as_object_mut) {
        for definition in all.values_mut() {
            allow_references(definition);
        }
        if let Some(stage) = all.get_mut("Stage").and_then(Value::as_object_mut) {
            stage.insert("allOf".to_owned(), choices.into());
            if let Some(properties) = stage.get_mut("properties").and_then(Value::as_object_mut) {
                properties.insert(
                    "desc".to_owned(),
                    json!({"type": "string", "description": "What the stage is for."}),
                );
                properties.insert(
                    "uses".to_owned(),
                    json!({"description": "The kind: a built-in one (see `repro kinds`), or a program of the project such as `./tools/mykind`.", "anyOf": [{"enum": names}, {"type": "string", "pattern": "^\\./|\\$\\{"}]}),
                );
            }
        }
        all.extend(definitions.named(&shared));
    }
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        for name in [
            "mirrors", "name", "salt", "defaults", "claims", "stages", "figures",
        ] {
            properties
                .get_mut(name)
                .into_iter()
                .for_each(allow_references);
        }
    }
    draft_07(&mut schema);
    if let Some(object) = schema.as_object_mut() {
        object.insert(
            "$schema".to_owned(),
            "http://json-schema.org/draft-07/schema#".into(),
        );
    }
    schema
}

/// Says the same in draft-07: definitions and lists of fixed length have other names there, and
/// what stands beside a `$ref` is not read.
fn draft_07(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            if let Some(definitions) = object.remove("$defs") {
                object.insert("definitions".to_owned(), definitions);
            }
            if let Some(items) = object.remove("prefixItems")
                && let Some(more) = object.insert("items".to_owned(), items)
            {
                object.insert("additionalItems".to_owned(), more);
            }
            if let Some(Value::String(target)) = object.get_mut("$ref") {
                *target = target.replacen("#/$defs/", "#/definitions/", 1);
                if object.len() > 1
                    && let Some(target) = object.remove("$ref")
                {
                    let whole = json!({"$ref": target});
                    match object.entry("allOf").or_insert_with(|| json!([])) {
                        Value::Array(all) => all.push(whole),
                        other => *other = json!([whole]),
                    }
                }
            }
            if let Some(Value::String(description)) = object.get_mut("description") {
                *description = flowing(description);
            }
            // What a user's own field is called is no keyword, but no field of this file is called
            // like one.
            object.values_mut().for_each(draft_07);
        }
        Value::Array(items) => items.iter_mut().for_each(draft_07),
        _ => {}
    }
}

/// A text whose paragraphs are a line each. Where the source breaks its lines is nothing to a
/// reader.
fn flowing(text: &str) -> String {
    let paragraphs: Vec<String> = text
        .split("\n\n")
        .map(|p| p.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    paragraphs.join("\n\n")
}

/// The inputs of a kind: their names, which of them must be there, and whether there may be others.
fn needs(kind: &Kind) -> Value {
    let named = || kind.inputs.iter().filter(|i| i.name != "*");
    let properties: Map<String, Value> = named()
        .map(|i| (i.name.clone().into_owned(), json!({"description": i.doc})))
        .collect();
    let required: Vec<&str> = named().filter(|i| i.required).map(|i| &*i.name).collect();
    // Without a type, so that a text with a reference passes.
    json!({"properties": properties, "additionalProperties": kind.inputs.iter().any(|i| i.name == "*"), "required": required})
}

/// Which of `with` and `needs` a stage of the kind cannot do without.
fn required(kind: &Kind) -> Vec<&'static str> {
    let has_list = kind.schema["required"]
        .as_array()
        .is_some_and(|r| !r.is_empty());
    let must_need = kind.inputs.iter().any(|i| i.required && i.name != "*");
    [("with", has_list), ("needs", must_need)]
        .into_iter()
        .filter_map(|(key, must)| must.then_some(key))
        .collect()
}

/// Lets every value also be a text with a reference. Maps keep their own shape inside, so editors
/// still complete their fields.
fn allow_references(schema: &mut Value) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    for key in ["properties", "$defs", "patternProperties"] {
        for (_, child) in object
            .get_mut(key)
            .and_then(Value::as_object_mut)
            .into_iter()
            .flatten()
        {
            match key {
                "$defs" => allow_references(child),
                _ => wrap(child),
            }
        }
    }
    for key in ["items", "additionalProperties"] {
        if let Some(child) = object.get_mut(key).filter(|c| c.is_object()) {
            wrap(child);
        }
    }
    for key in ["anyOf", "oneOf", "allOf", "prefixItems"] {
        for child in object
            .get_mut(key)
            .and_then(Value::as_array_mut)
            .into_iter()
            .flatten()
        {
            if key == "prefixItems" {
                wrap(child);
            } else {
                allow_references(child);
            }
        }
    }
}

fn wrap(schema: &mut Value) {
    allow_references(schema);
    let plain_text = schema.get("type") == Some(&json!("string"))
        && schema.get("enum").is_none()
        && schema.get("pattern").is_none()
        && schema.get("format").is_none();
    if schema.as_object().is_none_or(Map::is_empty) || plain_text {
        return;
    }
    let mut outer = Map::new();
    if let Some(object) = schema.as_object_mut() {
        // Editors show these at the outermost level only.
        for key in ["description", "default", "title"] {
            outer.extend(object.remove(key).map(|v| (key.to_owned(), v)));
        }
    }
    outer.insert(
        "anyOf".to_owned(),
        json!([schema.take(), {"type": "string", "pattern": "\\$\\{"}]),
    );
    *schema = Value::Object(outer);
}
