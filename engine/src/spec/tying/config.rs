//! Files of values that are written for a command: `config: {params.yaml: {lr: "${vars.lr}"}}`.
//!
//! Decides how values are written in each format, so that the same values give the same bytes. In
//! YAML they are written so that readers of YAML 1.1 and 1.2 agree on what they mean.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use super::consumer::Consumer;
use super::filling::{has_broken, to_value};
use super::preparing::{Preparing, templates};
use super::values::Values;
use crate::plan::Need;
use crate::spec::text::model;
use crate::spec::text::node::{Data, Node};
use crate::spec::text::problem::{Problem, Span};
use repro_protocol::kind::OutputSpec;
use repro_protocol::relpath::RelPath;

/// A file of values, as written in the pipeline.
pub struct ConfigFile {
    at: RelPath,
    key: Span,
    format: Format,
    /// What it is to hold.
    pub values: Node,
}

#[derive(Clone, Copy)]
enum Format {
    Json,
    Toml,
    Yaml,
}

impl Format {
    fn of(path: &RelPath) -> Option<Format> {
        match path.name().rsplit_once('.')?.1 {
            "json" => Some(Format::Json),
            "toml" => Some(Format::Toml),
            "yaml" | "yml" => Some(Format::Yaml),
            _ => None,
        }
    }
}

/// Reads the files of a stage.
pub fn prepare(
    stage: &model::Stage,
    consumer: &Consumer,
    with: &mut Preparing,
    problems: &mut Vec<Problem>,
) -> Vec<ConfigFile> {
    let mut files: Vec<ConfigFile> = Vec::new();
    for (key, field) in stage.config.iter().flat_map(|c| &c.list) {
        let Some(model_raw) = &field.value else {
            continue;
        };
        let values = model_raw.0.clone();
        let at = match RelPath::new(&key.name) {
            Ok(at) => at,
            Err(e) => {
                problems.push(
                    Problem::new(key.span, format!("a file under `config`: {e}"))
                        .help("it is written inside the command's private directory"),
                );
                continue;
            }
        };
        let Some(format) = Format::of(&at) else {
            problems.push(
                Problem::new(key.span, format!("what to write into `{at}` is not known"))
                    .help("a file under `config` ends with .yaml, .yml, .json or .toml"),
            );
            continue;
        };
        if has_broken(&values) {
            continue;
        }
        if !matches!(values.data, Data::Map(_)) {
            problems.push(Problem::new(
                values.span,
                format!("expected a map of values, found {}", values.describe()),
            ));
            continue;
        }
        templates(&values, &mut |template, span| {
            for reference in template.references() {
                let place = (with.narrow)(span, &format!("${{{reference}}}"));
                problems.extend(consumer.axis(reference, place).err());
            }
        });
        if let Some(other) = files
            .iter()
            .find(|f| f.at.is_within(&at) || at.is_within(&f.at))
        {
            problems.push(
                Problem::new(
                    key.span,
                    format!("`{at}` and `{}` cannot both be files", other.at),
                )
                .also(other.key, "the other one"),
            );
        }
        files.push(ConfigFile {
            at,
            key: key.span,
            format,
            values,
        });
    }
    files
}

/// What is written for the instance of a row.
pub fn files(
    files: &[ConfigFile],
    row: &[u32],
    consumer: &Consumer,
    values: &Values,
    needs: &[Need],
    outputs: &[OutputSpec],
) -> Result<BTreeMap<RelPath, String>, Problem> {
    let mut written = BTreeMap::new();
    for file in files {
        let at = &file.at;
        let touches = |path: &RelPath| path.is_within(at) || at.is_within(path);
        let need = needs
            .iter()
            .find(|n| n.items.iter().any(|i| touches(&i.placed_at)));
        if let Some(need) = need {
            return Err(Problem::new(
                file.key,
                format!("`{at}` would be written over the input `{}`", need.name),
            )
            .help("keep one of them: the file as it is, or the values it is to hold"));
        }
        if let Some(output) = outputs.iter().find(|o| touches(&o.path)) {
            return Err(Problem::new(
                file.key,
                format!(
                    "`{at}` is written before the command starts, and is its output `{}`",
                    output.name
                ),
            )
            .help("give one of them another path"));
        }
        let value = to_value(&file.values, row, consumer, values)?;
        let text = match file.format {
            Format::Json => format!("{value:#}\n"),
            Format::Toml => toml::to_string(&value).map_err(|e| {
                Problem::new(
                    file.values.span,
                    format!("this cannot be written as TOML: {e}"),
                )
                .help("TOML has no null; choose another format, or leave the value out")
            })?,
            Format::Yaml => yaml(&value),
        };
        written.insert(at.clone(), text);
    }
    Ok(written)
}

fn yaml(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => block(map, 0, &mut text),
        other => {
            flow(other, &mut text);
            text.push('\n');
        }
    }
    text
}

/// A map with a line for each of its values; lists stand in one line.
fn block(map: &serde_json::Map<String, Value>, depth: usize, text: &mut String) {
    for (key, value) in map {
        text.extend(std::iter::repeat_n("  ", depth));
        name(key, text);
        text.push(':');
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                text.push('\n');
                block(inner, depth + 1, text);
            }
            other => {
                text.push(' ');
                flow(other, text);
                text.push('\n');
            }
        }
    }
}

fn flow(value: &Value, text: &mut String) {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(b) => text.push_str(if *b { "true" } else { "false" }),
        Value::Number(n) => text.push_str(&number(&n.to_string())),
        Value::String(s) => quoted(s, text),
        Value::Array(items) => {
            text.push('[');
            for (i, item) in items.iter().enumerate() {
                text.push_str(if i > 0 { ", " } else { "" });
                flow(item, text);
            }
            text.push(']');
        }
        Value::Object(map) => {
            text.push('{');
            for (i, (key, item)) in map.iter().enumerate() {
                text.push_str(if i > 0 { ", " } else { "" });
                name(key, text);
                text.push_str(": ");
                flow(item, text);
            }
            text.push('}');
        }
    }
}

/// YAML 1.1 takes `1e-5` for a text: it wants a point before the exponent, and a sign in it.
fn number(shown: &str) -> String {
    let Some((digits, exponent)) = shown.split_once(['e', 'E']) else {
        return shown.to_owned();
    };
    let point = if digits.contains('.') { "" } else { ".0" };
    let sign = if exponent.starts_with(['-', '+']) {
        ""
    } else {
        "+"
    };
    format!("{digits}{point}e{sign}{exponent}")
}

/// A key; without quotes only where no reader takes it for anything but a text.
fn name(key: &str, text: &mut String) {
    let is_word = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && key
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
    let means_more = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    if is_word && !means_more.contains(&key.to_ascii_lowercase().as_str()) {
        text.push_str(key);
    } else {
        quoted(key, text);
    }
}

fn quoted(s: &str, text: &mut String) {
    text.push('"');
    for c in s.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                // Writing to a String cannot fail.
                let _ = write!(text, "\\u{:04x}", c as u32);
            }
            c => text.push(c),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_means_the_same_to_readers_of_both_versions() {
        let value = serde_json::json!({
            "train": {"lr": 1e-7, "big": 1e20, "sizes": [1, [2.5]], "name": "a \"b\"\n", "on": true},
            "yes": "no", "empty": {}, "nothing": null, "1": "0x10", "deep": [{"x": "y"}],
        });
        insta::assert_snapshot!(yaml(&value), @r#"
        "1": "0x10"
        deep: [{x: "y"}]
        empty: {}
        nothing: null
        train:
          big: 1.0e+20
          lr: 1.0e-7
          name: "a \"b\"\n"
          "on": true
          sizes: [1, [2.5]]
        "yes": "no"
        "#);
        let read: Value = {
            let (node, problems) = crate::spec::text::document::parse(0, &yaml(&value));
            assert!(problems.is_empty(), "{problems:?}");
            super::super::axis::as_value(&node.unwrap())
        };
        assert_eq!(read, value);
    }
}
