//! Differences between pre-images, field by field: the answer to "why did this re-run?".
//!
//! Works on the stored text of two keys and nothing else, so it explains results of other machines as well.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::record::event::Change;
use crate::ui::begun;

/// The fields in which two pre-images differ, sorted by field. A text that is no JSON differs as a whole.
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
            });
        }
    }
    for (field, new) in after {
        if !before.contains_key(&field) {
            changes.push(Change {
                field,
                old: None,
                new: Some(new),
            });
        }
    }
    changes.sort_by(|a, b| a.field.cmp(&b.field));
    changes
}

/// Leaves by dotted path. An item of an input list is called by its group and axes, not by its position, so that one
/// more item is one change.
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

/// As [`plain`], no longer than a line.
fn brief(value: &Value) -> String {
    let text = plain(value);
    let line = text.lines().next().unwrap_or_default();
    match line.len() < text.len() {
        true => format!("{} …", begun(line, TEXT_SHOWN)),
        false => begun(line, TEXT_SHOWN),
    }
}

/// Characters of a text that are shown in one line, and of a line of a script.
const TEXT_SHOWN: usize = 100;
/// Characters before the place where two texts begin to differ.
const BEFORE: usize = 20;
/// Lines of a script that are shown on each side of a change.
const LINES_SHOWN: usize = 8;

/// Two long texts around the place where they begin to differ.
fn around_difference(old: &str, new: &str) -> (String, String) {
    let same = old
        .chars()
        .zip(new.chars())
        .take_while(|(a, b)| a == b)
        .count();
    let from = match old.chars().count().max(new.chars().count()) > TEXT_SHOWN {
        true => same.saturating_sub(BEFORE),
        false => 0,
    };
    let cut = |text: &str| {
        let rest: String = text.chars().skip(from).collect();
        let dots = if from > 0 { "…" } else { "" };
        format!("{dots}{}", begun(&rest, TEXT_SHOWN))
    };
    (cut(old), cut(new))
}

/// The lines of one side, each with its sign; of many the first.
fn side(text: &mut String, sign: char, lines: &[&str]) {
    for line in lines.iter().take(LINES_SHOWN) {
        text.push_str(&format!("\n      {sign} {}", begun(line, TEXT_SHOWN)));
    }
    if lines.len() > LINES_SHOWN {
        let more = lines.len() - LINES_SHOWN;
        text.push_str(&format!("\n      {sign} … and {more} more lines"));
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

/// One line (or, for a text of several lines, a small diff) per change.
pub fn render(change: &Change) -> String {
    match (&change.old, &change.new) {
        (Some(Value::String(old)), Some(Value::String(new)))
            if old.contains('\n') || new.contains('\n') =>
        {
            let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
            let head = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
            let tail = old[head..]
                .iter()
                .rev()
                .zip(new[head..].iter().rev())
                .take_while(|(a, b)| a == b)
                .count();
            let mut text = format!("{} (line {})", change.field, head + 1);
            side(&mut text, '-', &old[head..old.len() - tail]);
            side(&mut text, '+', &new[head..new.len() - tail]);
            text
        }
        (Some(Value::String(old)), Some(Value::String(new))) => {
            let (old, new) = around_difference(&shorten(old), &shorten(new));
            format!("{}: {old} → {new}", change.field)
        }
        (Some(old), Some(new)) => format!("{}: {} → {}", change.field, brief(old), brief(new)),
        (Some(old), None) => format!("{}: {} → (gone)", change.field, brief(old)),
        (None, Some(new)) => format!("{}: (absent) → {}", change.field, brief(new)),
        (None, None) => change.field.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_changed_fields() {
        let old = r#"{"inputs":{"a":"file:1","m":[{"axes":{"seed":0},"content":"file:2"}]},"params":{"lr":0.1,"x":[1,2]}}"#;
        let new = r#"{"inputs":{"a":"file:1","m":[{"axes":{"seed":0},"content":"file:2"},{"axes":{"seed":1},"content":"file:3"}]},"params":{"lr":0.2,"x":[1,2]}}"#;
        let lines: Vec<String> = changes(old, new).iter().map(render).collect();
        assert_eq!(
            lines,
            [
                "inputs.m[seed=1]: (absent) → file:3",
                "params.lr: 0.1 → 0.2"
            ]
        );
        assert!(changes(old, old).is_empty());
    }

    #[test]
    fn case_27_a_long_script_is_shown_where_it_changed() {
        let script = |word: &str| {
            let long = "x = 1; ".repeat(3000);
            serde_json::json!({"command": {"script": format!("{long}{word}; {long}")}}).to_string()
        };
        let said = render(&changes(&script("old"), &script("new"))[0]);
        assert!(said.chars().count() < 300, "{said}");
        assert!(said.contains("old;") && said.contains("new;"), "{said}");
        let lines = |n: usize| {
            let script: String = (0..n).map(|i| format!("line {i}\n")).collect();
            serde_json::json!({"command": {"script": script}}).to_string()
        };
        let said = render(&changes(&lines(1), &lines(500))[0]);
        assert!(
            said.lines().count() < 12 && said.contains("more lines"),
            "{said}"
        );
        let said = render(&Change {
            field: "command.script".into(),
            old: None,
            new: Some("y".repeat(43_000).into()),
        });
        assert!(said.chars().count() < 200, "{said}");
    }

    #[test]
    fn a_script_is_compared_by_line() {
        let old = serde_json::json!({"command": {"script": "a\nb\nc"}}).to_string();
        let new = serde_json::json!({"command": {"script": "a\nB\nc"}}).to_string();
        assert_eq!(
            render(&changes(&old, &new)[0]),
            "command.script (line 2)\n      - b\n      + B"
        );
    }
}
