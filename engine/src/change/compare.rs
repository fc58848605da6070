//! Differences between pre-images, field by field: the answer to "why did this re-run?".

use std::collections::BTreeMap;

use serde_json::Value;

use crate::record::event::Change;

/// The fields in which two pre-images differ, sorted by field. A text that is no JSON differs as a
/// whole.
pub fn changes(old: &str, new: &str) -> Vec<Change> {
    let parse = |text: &str| {
        serde_json::from_str::<Value>(text).unwrap_or_else(|_| Value::String(text.to_owned()))
    };
    let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
    flatten(&parse(old), String::new(), &mut before);
    flatten(&parse(new), String::new(), &mut after);
    let mut changes = Vec::new();
    for (field, old) in &before {
        let new = after.get(field);
        if new != Some(old) {
            changes.push(Change {
                field: field.clone(),
                old: Some(old.clone()),
                new: new.cloned(),
                files: Vec::new(),
            });
        }
    }
    for (field, new) in after {
        if !before.contains_key(&field) {
            changes.push(Change {
                field,
                old: None,
                new: Some(new),
                files: Vec::new(),
            });
        }
    }
    changes.sort_by(|a, b| a.field.cmp(&b.field));
    changes
}

/// Leaves by dotted path. An item of an input list is called by its group and axes, not by its
/// position, so that one more item is one change.
fn flatten(value: &Value, path: String, out: &mut BTreeMap<String, Value>) {
    let join = |name: &str| {
        if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        }
    };
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (name, item) in map {
                flatten(item, join(name), out);
            }
        }
        Value::Array(items)
            if path.starts_with("inputs.") && items.iter().all(|i| i.get("content").is_some()) =>
        {
            for (position, item) in items.iter().enumerate() {
                let axes = item.get("axes").and_then(Value::as_object).map(|axes| {
                    let axes: Vec<String> = axes
                        .iter()
                        .map(|(k, v)| format!("{k}={}", plain(v)))
                        .collect();
                    axes.join(",")
                });
                let parts = [
                    item.get("group").and_then(Value::as_str).map(str::to_owned),
                    axes,
                ];
                let label = parts.into_iter().flatten().collect::<Vec<_>>().join(":");
                let name = if label.is_empty() && items.len() == 1 {
                    path.clone()
                } else {
                    // Files that match a pattern are known by their place.
                    let at = item.get("at").and_then(Value::as_str);
                    let label = match (label.is_empty(), at) {
                        (true, Some(at)) => at.to_owned(),
                        (true, None) => position.to_string(),
                        (false, _) => label,
                    };
                    format!("{path}[{label}]")
                };
                out.insert(name.clone(), item["content"].clone());
                if let Some(at) = item.get("at") {
                    out.insert(format!("{name}.at"), at.clone());
                }
            }
        }
        leaf => {
            out.insert(path, leaf.clone());
        }
    }
}

/// A value as one would say it: strings without quotes, digests short.
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(s) => shorten(s),
        other => other.to_string(),
    }
}

fn shorten(text: &str) -> String {
    match text.split_once(':') {
        Some((shape @ ("file" | "tree"), hex)) if hex.len() == 64 => {
            format!("{shape}:{}…", &hex[..12])
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_changed_fields() {
        let old = r#"{"inputs":{"a":"file:1","m":[{"axes":{"seed":0},"content":"file:2"}]},"params":{"lr":0.1,"x":[1,2]}}"#;
        let new = r#"{"inputs":{"a":"file:1","m":[{"axes":{"seed":0},"content":"file:2"},{"axes":{"seed":1},"content":"file:3"}]},"params":{"lr":0.2,"x":[1,2]}}"#;
        let change = |field: &str, old: Option<Value>, new: Value| Change {
            field: field.into(),
            old,
            new: Some(new),
            files: Vec::new(),
        };
        assert_eq!(
            changes(old, new),
            [
                change("inputs.m[seed=1]", None, "file:3".into()),
                change("params.lr", Some(0.1.into()), 0.2.into()),
            ]
        );
        assert!(changes(old, old).is_empty());
    }
}
