//! A change of a key's pre-image as people read it: one line, or the lines of a script that differ.

use serde_json::Value;

use super::{hunks, plain};
use crate::record::event::{Change, Fate, FileChange, Hunk};

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
/// Places of one text where lines differ.
const HUNKS_SHOWN: usize = 3;
/// Files of one input.
const FILES_SHOWN: usize = 5;

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
fn side(text: &mut String, indent: &str, sign: char, lines: &[String]) {
    for line in lines.iter().take(LINES_SHOWN) {
        text.push_str(&format!("\n{indent}{sign} {}", begun(line, TEXT_SHOWN)));
    }
    if lines.len() > LINES_SHOWN {
        let more = lines.len() - LINES_SHOWN;
        text.push_str(&format!("\n{indent}{sign} … and {more} more lines"));
    }
}

/// What is called `name`, and the lines of it that differ; of many groups of lines the first.
fn by_line(name: &str, indent: &str, hunks: &[Hunk]) -> String {
    let mut text = String::new();
    for (at, hunk) in hunks.iter().take(HUNKS_SHOWN).enumerate() {
        match at {
            0 => text.push_str(&format!("{name} (line {})", hunk.line)),
            _ => text.push_str(&format!("\n{indent}(line {})", hunk.line)),
        }
        side(&mut text, indent, '-', &hunk.old);
        side(&mut text, indent, '+', &hunk.new);
    }
    if hunks.len() > HUNKS_SHOWN {
        let more = hunks.len() - HUNKS_SHOWN;
        text.push_str(&format!("\n{indent}… and {more} more places"));
    }
    text
}

/// The files of an input that differ, one below the other.
fn by_file(name: String, files: &[FileChange]) -> String {
    if let [
        FileChange {
            path: None,
            fate: Fate::Changed { hunks },
        },
    ] = files
    {
        return by_line(&name, "      ", hunks);
    }
    let mut text = name;
    for file in files.iter().take(FILES_SHOWN) {
        let path = file.path.as_deref().unwrap_or_default().escape_debug();
        let said = match &file.fate {
            Fate::Changed { hunks } if hunks.is_empty() => format!("{path}: changed"),
            Fate::Changed { hunks } => by_line(&path.to_string(), "        ", hunks),
            Fate::New => format!("{path}: new"),
            Fate::Gone => format!("{path}: gone"),
            Fate::Moved { from } => format!("{path}: was {}", from.escape_debug()),
            Fate::OtherKind => format!("{path}: same bytes, other kind of file"),
        };
        text.push_str(&format!("\n      {said}"));
    }
    if files.len() > FILES_SHOWN {
        let more = files.len() - FILES_SHOWN;
        text.push_str(&format!("\n      … and {more} more files"));
    }
    text
}

/// The text, or its beginning with `…` at the end.
pub fn begun(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// One line per change; below it, the lines of a text of several lines and the files of an input
/// that differ.
pub fn in_words(change: &Change) -> String {
    match (&change.old, &change.new) {
        (Some(Value::String(old)), Some(Value::String(new)))
            if old.contains('\n') || new.contains('\n') =>
        {
            by_line(&change.field, "      ", &hunks(old, new))
        }
        (Some(old), Some(new)) if !change.files.is_empty() => {
            let name = format!("{}: {} → {}", change.field, brief(old), brief(new));
            by_file(name, &change.files)
        }
        (Some(old @ Value::String(_)), Some(new @ Value::String(_))) => {
            let (old, new) = around_difference(&plain(old), &plain(new));
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
    use crate::change::changes;

    use super::*;

    #[test]
    fn case_27_a_long_script_is_shown_where_it_changed() {
        let script = |word: &str| {
            let long = "x = 1; ".repeat(3000);
            serde_json::json!({"command": {"script": format!("{long}{word}; {long}")}}).to_string()
        };
        let said = in_words(&changes(&script("old"), &script("new"))[0]);
        assert!(said.chars().count() < 300, "{said}");
        assert!(said.contains("old;") && said.contains("new;"), "{said}");
        let lines = |n: usize| {
            let script: String = (0..n).map(|i| format!("line {i}\n")).collect();
            serde_json::json!({"command": {"script": script}}).to_string()
        };
        let said = in_words(&changes(&lines(1), &lines(500))[0]);
        assert!(
            said.lines().count() < 12 && said.contains("more lines"),
            "{said}"
        );
        let said = in_words(&Change {
            field: "command.script".into(),
            old: None,
            new: Some("y".repeat(43_000).into()),
            files: Vec::new(),
        });
        assert!(said.chars().count() < 200, "{said}");
    }

    #[test]
    fn texts_are_cut_between_characters() {
        assert_eq!(begun("éééé", 3), "éé…");
    }

    #[test]
    fn a_script_is_compared_by_line() {
        let old = serde_json::json!({"command": {"script": "a\nb\nc"}}).to_string();
        let new = serde_json::json!({"command": {"script": "a\nB\nc"}}).to_string();
        assert_eq!(
            in_words(&changes(&old, &new)[0]),
            "command.script (line 2)\n      - b\n      + B"
        );
    }
}
