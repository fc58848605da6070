//! The values of one axis: lists of values or maps, `range` and `logspace`.
//!
//! Decides what can be an axis value and what it is called, and that computed values are the same
//! on every machine.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Number, Value};

use super::values::Given;
use crate::spec::text::node::{Data, Key, Node, Written};
use crate::spec::text::problem::Problem;

/// The most instances a stage may have.
pub const MAX_ROWS: usize = 1_000_000;

/// The value of a node that may be an axis value; a map needs a name of its own.
pub fn scalar(node: &Node) -> Result<Given, Box<Problem>> {
    let problem = |message: String| Box::new(Problem::new(node.span, message));
    let given = |value: Value, text: String| {
        Ok(Given {
            value,
            text: text.into(),
            node: None,
        })
    };
    match &node.data {
        Data::Null => given(Value::Null, "null".to_owned()),
        Data::Broken => Err(problem(node.describe())),
        Data::Bool(b) => given(Value::Bool(b.value), b.text()),
        Data::Number(n) => match meant_as_text(n) {
            Some(help) => Err(Box::new(
                Problem::new(
                    node.span,
                    format!("`{}` is read as the number {}", n.text(), n.value),
                )
                .help(help),
            )),
            None => given(Value::Number(n.value.clone()), n.text()),
        },
        Data::String(s) if !is_name(s) => Err(Box::new(unnameable(node, s))),
        Data::String(s) => given(Value::String(s.to_string()), s.to_string()),
        Data::Template(t) => Err(Box::new(
            Problem::new(node.span, format!("`{t}` cannot be used in a matrix"))
                .help("only `${vars...}` and `${env...}` can"),
        )),
        Data::Map(entries) => match (own_name(entries), &**entries) {
            (Some(name), _) => map(node, &name?),
            (None, [(choice, _)]) => map(node, &choice.name),
            (None, _) => Err(Box::new(
                Problem::new(node.span, "this map has no name").help(
                    "add `name:` to it; in names of instances it stands for the whole map",
                ),
            )),
        },
        Data::Seq(_) => Err(Box::new(
            Problem::new(node.span, "an axis value is a single value or a map, found a list")
                .help("write a map with a name: `{name: small, sizes: [10, 20]}`, and refer to `${matrix.AXIS.sizes}`"),
        )),
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text
            .chars()
            .any(|c| c.is_control() || matches!(c, ',' | '[' | ']'))
}

fn unnameable(node: &Node, text: &str) -> Problem {
    Problem::new(
        node.span,
        format!(
            "`{}` cannot be an axis value: it would make names of instances ambiguous",
            text.escape_debug()
        ),
    )
    .help("use a short name without `,`, `[`, `]` or line breaks, and look the text up in `vars`")
}

/// What to write where zeros would be lost: nobody writes `01` or `3.10` and means 1 or 3.1.
fn meant_as_text(n: &Written<Number>) -> Option<String> {
    let form = n.form.as_deref()?;
    let digits = form.trim_start_matches(['-', '+']);
    let mantissa = digits.split(['e', 'E']).next().unwrap_or_default();
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let is_decimal = digits
        .bytes()
        .all(|b| !b.is_ascii_alphabetic() || matches!(b, b'e' | b'E'));
    let leading = whole.len() > 1 && whole.starts_with('0');
    let trailing = part.len() > 1 && part.ends_with('0');
    (is_decimal && (leading || trailing)).then(|| {
        format!(
            "quote it if you mean a text: `\"{form}\"`; write `{}` if the number is",
            n.value
        )
    })
}

/// What a map calls itself.
fn own_name(entries: &[(Key, Node)]) -> Option<Result<String, Box<Problem>>> {
    let (_, node) = entries
        .iter()
        .find(|(key, _)| matches!(&*key.name, "name" | "label"))?;
    Some(
        match crate::spec::text::substitute::scalar_text(&node.data) {
            Some(text) if is_name(&text) => Ok(text),
            Some(text) => Err(Box::new(unnameable(node, &text))),
            None => Err(Box::new(Problem::new(
                node.span,
                format!("expected a name, found {}", node.describe()),
            ))),
        },
    )
}

fn map(node: &Node, name: &str) -> Result<Given, Box<Problem>> {
    if let Some(span) = unfinished(node) {
        return Err(Box::new(
            Problem::new(span, "this cannot be used in a matrix")
                .help("only `${vars...}` and `${env...}` can"),
        ));
    }
    if !is_name(name) {
        return Err(Box::new(unnameable(node, name)));
    }
    Ok(Given {
        value: as_value(node),
        text: name.into(),
        node: Some(node.clone()),
    })
}

fn unfinished(node: &Node) -> Option<crate::spec::text::problem::Span> {
    match &node.data {
        Data::Template(_) | Data::Broken => Some(node.span),
        Data::Seq(items) => items.iter().find_map(unfinished),
        Data::Map(entries) => entries.iter().find_map(|(_, n)| unfinished(n)),
        _ => None,
    }
}

/// A tree without references as JSON.
pub fn as_value(node: &Node) -> Value {
    match &node.data {
        Data::Null | Data::Broken | Data::Template(_) => Value::Null,
        Data::Bool(b) => Value::Bool(b.value),
        Data::Number(n) => Value::Number(n.value.clone()),
        Data::String(s) => Value::String(s.to_string()),
        Data::Seq(items) => items.iter().map(as_value).collect(),
        Data::Map(entries) => entries
            .iter()
            .map(|(k, n)| (k.name.to_string(), as_value(n)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}

/// The values of a list. Maps without a name are called by their one key where that tells them
/// apart, else by their position.
fn listed(items: &[Node]) -> Result<Vec<Given>, Vec<Problem>> {
    let mut one_key: HashMap<&str, usize> = HashMap::new();
    let mut nameless = false;
    for item in items {
        if let Data::Map(entries) = &item.data
            && own_name(entries).is_none()
        {
            match &**entries {
                [(key, _)] => *one_key.entry(&key.name).or_default() += 1,
                _ => nameless = true,
            }
        }
    }
    let by_position = nameless || one_key.values().any(|&n| n > 1);
    let (mut list, mut problems) = (Vec::new(), Vec::new());
    for (i, item) in items.iter().enumerate() {
        let made = match &item.data {
            Data::Map(entries) if by_position && own_name(entries).is_none() => {
                map(item, &i.to_string())
            }
            _ => scalar(item),
        };
        match made {
            Ok(given) => list.push(given),
            Err(problem) => problems.push(*problem),
        }
    }
    let mut names: HashMap<Arc<str>, usize> = HashMap::new();
    for (i, given) in list.iter().enumerate() {
        let first = *names.entry(given.text.clone()).or_insert(i);
        let both_maps = given.node.is_some() && list[first].node.is_some();
        if first != i && both_maps && given.value != list[first].value {
            problems.push(
                Problem::new(
                    given.node.as_ref().map_or(items[i].span, |n| n.span),
                    format!("two values of this axis are called `{}`", given.text),
                )
                .help("give each a `name:` of its own"),
            );
        }
    }
    if problems.is_empty() {
        Ok(list)
    } else {
        Err(problems)
    }
}

/// The values of an axis as written.
pub fn list(node: &Node) -> Result<Vec<Given>, Vec<Problem>> {
    let wrong = |what: String| {
        vec![Problem::new(node.span, what).help("write a list, `{range: [start, stop, step]}`, `{logspace: [from, to, n]}` or a `${vars.name}` that is one of these")]
    };
    match &node.data {
        Data::Seq(items) => listed(items),
        Data::Map(entries) => match &**entries {
            [(key, args)] if matches!(&*key.name, "range" | "logspace") => {
                let numbers: Option<Vec<Number>> = match &args.data {
                    Data::Seq(items) => items
                        .iter()
                        .map(|i| {
                            if let Data::Number(n) = &i.data {
                                Some(n.value.clone())
                            } else {
                                None
                            }
                        })
                        .collect(),
                    _ => None,
                };
                let numbers = numbers.ok_or_else(|| {
                    wrong(format!(
                        "`{}` takes a list of numbers, found {}",
                        key.name,
                        args.describe()
                    ))
                })?;
                let made = if &*key.name == "range" {
                    range(&numbers)
                } else {
                    logspace(&numbers)
                };
                made.map(|list| list.into_iter().map(Given::plain).collect())
                    .map_err(|message| vec![Problem::new(args.span, message)])
            }
            _ => Err(wrong("this map is not an axis".to_owned())),
        },
        _ => Err(wrong(format!(
            "an axis takes a list, found {}",
            node.describe()
        ))),
    }
}

fn range(numbers: &[Number]) -> Result<Vec<Value>, String> {
    let one = Number::from(1);
    let (start, stop, step) = match numbers {
        [start, stop] => (start, stop, &one),
        [start, stop, step] => (start, stop, step),
        _ => return Err("`range` takes [start, stop] or [start, stop, step]".to_owned()),
    };
    let f = |n: &Number| n.as_f64().unwrap_or(0.0);
    let steps = (f(stop) - f(start)) / f(step);
    if f(step) == 0.0 || !steps.is_finite() {
        return Err("the step of a `range` must not be 0".to_owned());
    }
    // A stop that is a whole number of steps away is not reached, whatever the last digits say.
    let count = (steps - 1e-9).ceil().max(0.0);
    if count > MAX_ROWS as f64 {
        return Err(format!("the range has more than {MAX_ROWS} values"));
    }
    let whole: Option<Vec<i64>> = [start, step].iter().map(|n| n.as_i64()).collect();
    Ok((0..count as i64)
        .filter_map(|i| match whole.as_deref() {
            Some(&[start, step]) => step
                .checked_mul(i)
                .and_then(|d| start.checked_add(d))
                .map(Value::from),
            _ => Some(Value::from(round12(f(start) + i as f64 * f(step)))),
        })
        .collect())
}

fn logspace(numbers: &[Number]) -> Result<Vec<Value>, String> {
    let [from, to, n] = numbers else {
        return Err("`logspace` takes [from, to, n]".to_owned());
    };
    let (a, b) = (from.as_f64().unwrap_or(0.0), to.as_f64().unwrap_or(0.0));
    let Some(n) = n.as_u64().filter(|&n| (1..=MAX_ROWS as u64).contains(&n)) else {
        return Err(
            "the third number of `logspace` says how many values: a whole number from 1".to_owned(),
        );
    };
    if a <= 0.0 || b <= 0.0 {
        return Err("`logspace` goes between numbers above 0".to_owned());
    }
    Ok((0..n)
        .map(|i| match i {
            0 => Value::Number(from.clone()),
            i if i + 1 == n => Value::Number(to.clone()),
            i => Value::from(round12(
                (a.ln() + (b.ln() - a.ln()) * i as f64 / (n - 1) as f64).exp(),
            )),
        })
        .collect())
}

/// Twelve significant digits: what a person would write, and the same whatever the system's `exp`
/// and `ln` do in the last place.
fn round12(x: f64) -> f64 {
    format!("{x:.11e}").parse().unwrap_or(x)
}
