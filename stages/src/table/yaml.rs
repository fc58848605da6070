//! YAML as JSON: the core schema of YAML 1.2, enough for a file of metrics. Anchors are not read.

use anyhow::{Context, bail, ensure};
use saphyr_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

/// Deeper nesting is a mistake, or an attack.
const DEPTH_MAX: usize = 64;

/// The first document of a text. Errors name the line.
pub fn parse(text: &str) -> anyhow::Result<Value> {
    let mut stack: Vec<(Value, Option<String>)> = Vec::new();
    let mut root = None;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|e| anyhow::anyhow!("it is not valid YAML: {e}"))?;
        let line = span.start.line();
        let done = match event {
            Event::Scalar(text, style, ..) => Some(scalar(&text, style == ScalarStyle::Plain)),
            Event::Alias(_) => bail!("line {line}: aliases are not read here"),
            Event::SequenceStart(..) => {
                stack.push((Value::Array(Vec::new()), None));
                None
            }
            Event::MappingStart(..) => {
                stack.push((Value::Object(Map::new()), None));
                None
            }
            Event::SequenceEnd | Event::MappingEnd => stack.pop().map(|(value, _)| value),
            Event::DocumentEnd => break,
            _ => None,
        };
        ensure!(
            stack.len() <= DEPTH_MAX,
            "line {line}: it is nested more than {DEPTH_MAX} deep"
        );
        let Some(value) = done else {
            continue;
        };
        match stack.last_mut() {
            None => root = Some(value),
            Some((Value::Array(items), _)) => items.push(value),
            Some((Value::Object(map), key)) => match key.take() {
                Some(key) => {
                    let twice = format!("line {line}: `{key}` appears twice");
                    ensure!(map.insert(key, value).is_none(), twice);
                }
                None => *key = Some(key_text(value).with_context(|| format!("line {line}"))?),
            },
            Some(_) => {}
        }
    }
    root.context("it is empty")
}

fn key_text(value: Value) -> anyhow::Result<String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(truth) => Ok(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => bail!("a key is not text"),
    }
}

fn scalar(text: &str, plain: bool) -> Value {
    if !plain {
        return text.into();
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => true.into(),
        "false" | "False" | "FALSE" => false.into(),
        _ => {
            let lower = text.to_lowercase();
            let special = match lower.trim_start_matches(['+', '-']) {
                ".nan" => Some("NaN"),
                ".inf" if lower.starts_with('-') => Some("-Infinity"),
                ".inf" => Some("Infinity"),
                _ => None,
            };
            if let Some(word) = special {
                return super::json::not_finite(word);
            }
            // `inf` and `nan` are words in YAML.
            let begins = text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c));
            match text.parse::<i64>() {
                Ok(whole) => whole.into(),
                Err(_) if begins => text
                    .parse::<f64>()
                    .ok()
                    .and_then(|x| serde_json::Number::from_f64(x).map(Value::Number))
                    .unwrap_or_else(|| text.into()),
                Err(_) => text.into(),
            }
        }
    }
}
