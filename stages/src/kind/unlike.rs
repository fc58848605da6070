//! Where two values of one type differ, in the words of the file they come from.

use serde_json::Value;

/// The first place where two values of one type differ, and what stands there in each.
pub fn unlike<T: serde::Serialize>(this: &T, other: &T) -> Option<(String, String, String)> {
    fn walk(path: &str, a: &Value, b: &Value) -> Option<(String, String, String)> {
        let step = |name: &str| match path {
            "" => name.to_owned(),
            path => format!("{path}.{name}"),
        };
        let said = |value: Option<&Value>| value.map_or("not given".to_owned(), show);
        match (a, b) {
            (a, b) if a == b => None,
            (Value::Object(x), Value::Object(y)) => {
                // Different choices: their contents cannot be compared.
                if let ([m], [n]) = (&Vec::from_iter(x.keys())[..], &Vec::from_iter(y.keys())[..])
                    && m != n
                {
                    return Some((path.to_owned(), (*m).clone(), (*n).clone()));
                }
                let names = x.keys().chain(y.keys().filter(|n| !x.contains_key(*n)));
                names
                    .into_iter()
                    .find_map(|name| match (x.get(name), y.get(name)) {
                        (Some(a), Some(b)) => walk(&step(name), a, b),
                        (a, b) => Some((step(name), said(a), said(b))),
                    })
            }
            (a, b) => Some((path.to_owned(), show(a), show(b))),
        }
    }
    let value = |of: &T| serde_json::to_value(of).ok();
    walk("", &value(this)?, &value(other)?)
}

/// The value as YAML on one line.
pub(super) fn show(value: &Value) -> String {
    match value {
        Value::String(s) if is_plain(s) => s.clone(),
        Value::Array(list) => {
            format!("[{}]", list.iter().map(show).collect::<Vec<_>>().join(", "))
        }
        Value::Object(map) => {
            let fields = map.iter().map(|(k, v)| format!("{k}: {}", show(v)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

fn is_plain(text: &str) -> bool {
    let word = text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/'));
    let meaning = ["true", "false", "null"].contains(&text.to_lowercase().as_str());
    word && !meaning && text.starts_with(|c: char| c.is_ascii_alphabetic())
}
