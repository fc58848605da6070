//! How a reference is written: `train[seed=0,*].model/layers`.
//!
//! Knows no stage.

use crate::spec::text::node::Data;
use crate::spec::text::problem::{Problem, Span};
use crate::spec::text::scalar::plain_scalar;
use repro_protocol::relpath::{BadPath, RelPath};
use serde_json::Value;

/// A reference as written.
#[derive(Debug, PartialEq)]
pub struct Selector {
    pub(super) stage: Vec<String>,
    pub(super) picks: Vec<(String, Pick)>,
    pub(super) bracket: bool,
    pub(super) star: bool,
    pub(super) output: Option<String>,
    /// What is picked from the output, a directory.
    pub(super) member: Vec<(String, Pick)>,
    /// A path in the output, a directory.
    pub(super) path: Option<RelPath>,
}

#[derive(Debug, PartialEq)]
pub(super) enum Pick {
    /// A value, and its text without quotes.
    Value(Value, String),
    Last,
}

impl Selector {
    /// The name it begins with.
    pub fn first(&self) -> &str {
        self.stage.first().map_or("", String::as_str)
    }

    /// There is one name only, of a stage or a loop.
    pub fn is_one_name(&self) -> bool {
        self.stage.len() == 1 && self.output.is_none()
    }
}

/// Reads a reference.
pub fn parse(text: &str, span: Span) -> Result<Selector, Problem> {
    let whole = text.trim();
    let (text, path) = split_path(whole);
    let wrong = |what: String| {
        Problem::new(span, what).help("write `stage.output`, `stage[seed=0].output` or `stage[*].output`; a file of the project is `{file: path}`")
    };
    let segments = |s: &str| -> Option<Vec<String>> {
        let ok = |p: &str| {
            !p.is_empty()
                && p.chars()
                    .all(|c| c.is_alphanumeric() || c == '_' || c == '-')
        };
        s.split('.').map(|p| ok(p).then(|| p.to_owned())).collect()
    };
    let not = || {
        wrong(format!(
            "`{}` is not a reference to a stage",
            whole.escape_debug()
        ))
    };
    let Some((before, rest)) = text.split_once('[') else {
        return Ok(Selector {
            stage: segments(text).ok_or_else(not)?,
            picks: Vec::new(),
            bracket: false,
            star: false,
            output: None,
            member: Vec::new(),
            path: path.map(|p| path_inside(p, whole, span)).transpose()?,
        });
    };
    let (inside, after) = rest
        .split_once(']')
        .ok_or_else(|| wrong("`[` without `]`".to_owned()))?;
    let mut selector = Selector {
        stage: segments(before).ok_or_else(not)?,
        picks: Vec::new(),
        bracket: true,
        star: false,
        output: None,
        member: Vec::new(),
        path: path.map(|p| path_inside(p, whole, span)).transpose()?,
    };
    for piece in inside.split(',').map(str::trim) {
        match piece.split_once('=') {
            None if piece == "*" => selector.star = true,
            None => {
                return Err(wrong(format!("`{piece}` picks nothing"))
                    .help("inside `[ ]` stand `axis=value` and `*`"));
            }
            Some((axis, value)) => {
                let (axis, value) = (axis.trim(), value.trim());
                let pick = match (axis, value) {
                    ("round", "last") => Pick::Last,
                    _ => {
                        let (value, text) = pick_value(value)
                            .ok_or_else(|| wrong(format!("`{value}` is not a value of an axis")))?;
                        Pick::Value(value, text)
                    }
                };
                if selector.picks.iter().any(|(a, _)| a == axis) {
                    return Err(wrong(format!("`{axis}` is picked twice")));
                }
                selector.picks.push((axis.to_owned(), pick));
            }
        }
    }
    let after = match after.strip_suffix(']').and_then(|a| a.split_once('[')) {
        Some((after, inside)) if after.starts_with('.') => {
            for piece in inside.split(',').map(str::trim) {
                let (name, value) = piece
                    .split_once('=')
                    .ok_or_else(|| wrong(format!("`{piece}` picks nothing")))?;
                let (value, text) = pick_value(value.trim())
                    .ok_or_else(|| wrong(format!("`{value}` is not a value")))?;
                let name = name.trim().to_owned();
                selector.member.push((name, Pick::Value(value, text)));
            }
            after
        }
        _ => after,
    };
    match after.strip_prefix('.') {
        Some(output) => match segments(output).ok_or_else(not)?.as_slice() {
            [one] => selector.output = Some(one.clone()),
            _ => return Err(not()),
        },
        None if after.is_empty() => {}
        None => return Err(not()),
    }
    Ok(selector)
}

/// `prep.out/model/best.bin`: the path begins behind the first `/` outside of brackets.
pub(super) fn split_path(text: &str) -> (&str, Option<&str>) {
    let mut depth = 0u32;
    for (at, c) in text.char_indices() {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            '/' if depth == 0 => return (&text[..at], Some(&text[at + 1..])),
            _ => {}
        }
    }
    (text, None)
}

/// A path in an output.
pub(super) fn path_inside(path: &str, whole: &str, span: Span) -> Result<RelPath, Problem> {
    let shown = whole.escape_debug();
    let wrong =
        |what: &str, help: &str| Err(Problem::new(span, format!("`{shown}`: {what}")).help(help));
    let example = "write `stage.output/path/in/it`";
    if path.contains(['*', '?']) {
        return wrong(
            "a pattern cannot be used in an output: its contents are known only when it is made",
            "take the whole directory, or name one file or directory of it",
        );
    }
    match RelPath::new(path) {
        Ok(path) => Ok(path),
        Err(BadPath::Empty) => wrong("there is no path after the `/`", example),
        Err(BadPath::Absolute(_)) => wrong("the path in an output cannot begin with `/`", example),
        Err(BadPath::Escapes(_)) => wrong("the path leads out of the output (`..`)", example),
        Err(BadPath::Nul(_)) => wrong("a path cannot hold a NUL byte", example),
    }
}

/// The value of an axis as it is written in brackets, and its text.
pub fn pick_value(text: &str) -> Option<(Value, String)> {
    for quote in ['"', '\''] {
        if let Some(inner) = text.strip_prefix(quote).and_then(|t| t.strip_suffix(quote)) {
            return Some((Value::String(inner.to_owned()), inner.to_owned()));
        }
    }
    let value = match plain_scalar(text).ok()? {
        _ if text.is_empty() => return None,
        Data::Null => Value::Null,
        Data::Bool(b) => b.value.into(),
        Data::Number(n) => n.value.into(),
        Data::String(s) => s.to_string().into(),
        _ => return None,
    };
    Some((value, text.to_owned()))
}
