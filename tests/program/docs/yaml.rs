//! YAML as JSON, the way an editor's schema checker sees a file: the core schema of YAML 1.2,
//! aliases replaced.
//!
//! Written apart from the engine's own reader, so that the schema is checked against what is in the
//! file.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

/// A file as JSON.
///
/// # Errors
/// What the parser says, or what JSON cannot hold.
pub fn parse(text: &str) -> Result<Value, String> {
    let mut stack: Vec<(usize, Value, Option<String>)> = Vec::new();
    let mut anchors: HashMap<usize, Value> = HashMap::new();
    let mut root = Value::Null;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|e| e.to_string())?;
        let done = match event {
            Event::Scalar(text, style, anchor, _) => {
                Some((anchor, scalar(&text, style == ScalarStyle::Plain)))
            }
            Event::Alias(anchor) => Some((
                0,
                anchors.get(&anchor).cloned().ok_or("an alias of nothing")?,
            )),
            Event::SequenceStart(.., anchor, _) => {
                stack.push((anchor, Value::Array(Vec::new()), None));
                None
            }
            Event::MappingStart(.., anchor, _) => {
                stack.push((anchor, Value::Object(Map::new()), None));
                None
            }
            Event::SequenceEnd | Event::MappingEnd => {
                stack.pop().map(|(anchor, value, _)| (anchor, value))
            }
            _ => None,
        };
        let Some((anchor, value)) = done else {
            continue;
        };
        if anchor > 0 {
            anchors.insert(anchor, value.clone());
        }
        match stack.last_mut() {
            None => root = value,
            Some((_, Value::Array(items), _)) => items.push(value),
            Some((_, Value::Object(map), key)) => match (key.take(), value) {
                (Some(key), value) => {
                    map.insert(key, value);
                }
                (None, Value::String(text)) => *key = Some(text),
                (None, other) => {
                    return Err(format!(
                        "line {}: the key {other} is no text",
                        span.start.line()
                    ));
                }
            },
            Some(_) => {}
        }
    }
    Ok(root)
}

fn scalar(text: &str, plain: bool) -> Value {
    match text {
        _ if !plain => text.into(),
        "" | "~" | "null" => Value::Null,
        "true" => true.into(),
        "false" => false.into(),
        _ => text
            .parse::<i64>()
            .map(Value::from)
            .or_else(|_| number(text))
            .unwrap_or_else(|()| text.into()),
    }
}

fn number(text: &str) -> Result<Value, ()> {
    // `inf` and `nan` are words in YAML.
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '+')) {
        return Err(());
    }
    text.parse::<f64>().map(Value::from).map_err(|_| ())
}
