//! The values of one axis: lists, `range` and `logspace`.
//!
//! Decides what can be an axis value, and that computed values are the same on every machine.

use serde_json::{Number, Value};

use super::diagnostic::Problem;
use super::document::{Data, Node};
use super::matrix::MAX_ROWS;

/// The value of a scalar node that may be an axis value.
pub fn scalar(node: &Node) -> Result<Value, Box<Problem>> {
    match &node.data {
        Data::Null => Ok(Value::Null),
        Data::Broken => Err(Box::new(Problem::new(node.span, node.describe()))),
        Data::Bool(b) => Ok(Value::Bool(*b)),
        Data::Number(n) => Ok(Value::Number(n.clone())),
        Data::String(s) if s.chars().any(|c| c.is_control() || matches!(c, ',' | '[' | ']')) || s.is_empty() => {
            Err(Box::new(Problem::new(node.span, format!("`{}` cannot be an axis value: it would make names of instances ambiguous", s.escape_debug())).help("use a short name without `,`, `[`, `]` or line breaks, and look the text up in `vars`")))
        }
        Data::String(s) => Ok(Value::String(s.to_string())),
        Data::Template(t) => Err(Box::new(Problem::new(node.span, format!("`{t}` cannot be used in a matrix")).help("only `${vars...}` and `${env...}` can"))),
        Data::Seq(_) | Data::Map(_) => Err(Box::new(Problem::new(node.span, format!("an axis value is a single value, found {}", node.describe())))),
    }
}

/// The values of an axis as written.
pub fn list(node: &Node) -> Result<Vec<Value>, Vec<Problem>> {
    let wrong = |what: String| {
        vec![Problem::new(node.span, what).help("write a list, `{range: [start, stop, step]}`, `{logspace: [from, to, n]}` or a `${vars.name}` that is one of these")]
    };
    match &node.data {
        Data::Seq(items) => {
            let (mut list, mut problems) = (Vec::new(), Vec::new());
            for item in items.iter() {
                match scalar(item) {
                    Ok(value) => list.push(value),
                    Err(problem) => problems.push(*problem),
                }
            }
            if problems.is_empty() {
                Ok(list)
            } else {
                Err(problems)
            }
        }
        Data::Map(entries) => match &**entries {
            [(key, args)] if matches!(&*key.name, "range" | "logspace") => {
                let numbers: Option<Vec<Number>> = match &args.data {
                    Data::Seq(items) => items
                        .iter()
                        .map(|i| {
                            if let Data::Number(n) = &i.data {
                                Some(n.clone())
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
                made.map_err(|message| vec![Problem::new(args.span, message)])
            }
            _ => Err(wrong("this map is no axis".to_owned())),
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

/// Twelve significant digits: what a person would write, and the same whatever the system's `exp` and `ln` do in the last place.
fn round12(x: f64) -> f64 {
    format!("{x:.11e}").parse().unwrap_or(x)
}
