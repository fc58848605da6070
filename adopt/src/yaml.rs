//! How texts and values are written into a pipeline file, so that its reader reads them back.

use repro_engine::spec::yaml::{Data, Node, Plain, plain};

/// A text in a flow collection or after a key: without quotes where it stays a text without them.
pub fn text(text: &str) -> String {
    let first = text.chars().next();
    let starts = first.is_some_and(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '/' | '_'));
    let plainly = |c: char| c.is_ascii_alphanumeric() || "._/-+=@ ".contains(c);
    let stays = matches!(plain(text), Ok(Plain::Text));
    if starts && stays && !text.ends_with(' ') && text.chars().all(plainly) {
        return text.to_owned();
    }
    quoted(text)
}

/// A text in double quotes.
pub fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if (c as u32) < 0x10000
                && (c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}')) =>
            {
                out.push_str(&format!("\\u{:04x}", c as u32));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A command after `run: `, indented by `depth` spaces where it takes several lines.
pub fn command(script: &str, depth: usize) -> String {
    let is_odd = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}' | '\u{85}')
    };
    let lines = script.contains('\n') || script.contains(['"', '\\']);
    let fits = !script.starts_with([' ', '\n']) && !script.ends_with('\n');
    if !lines || !fits || script.chars().any(is_odd) {
        return quoted(script);
    }
    let pad = " ".repeat(depth);
    let body = script.lines().map(|line| match line.is_empty() {
        true => "\n".to_owned(),
        false => format!("{pad}{line}\n"),
    });
    format!("|\n{}", body.collect::<String>().trim_end_matches('\n'))
}

/// A value, numbers as they stand in texts of the other tool.
pub fn value(node: &Node, number: &dyn Fn(&Node) -> String) -> String {
    match &node.data {
        Data::Null | Data::Broken | Data::Template(_) => "null".to_owned(),
        Data::Bool(_) | Data::Number(_) => number(node),
        Data::String(s) => text(&s.replace("${", "$${")),
        Data::Seq(items) => {
            let items: Vec<String> = items.iter().map(|n| value(n, number)).collect();
            format!("[{}]", items.join(", "))
        }
        Data::Map(entries) => {
            let entries: Vec<String> = entries
                .iter()
                .map(|(k, n)| format!("{}: {}", text(&k.name), value(n, number)))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}
