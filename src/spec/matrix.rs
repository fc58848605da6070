//! `matrix:` to rows of axis values: products, zips, `include` and `exclude` as GitHub Actions has them.
//!
//! Decides the order of instances: the first axis varies slowest. Values are interned, so a row is a few numbers and joins compare
//! numbers. Does not know what the axes are used for.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::{Number, Value};

use super::decode::check_name;
use super::diagnostic::Problem;
use super::document::{Data, Key, Node};

/// The most instances a stage may have.
pub const MAX_ROWS: usize = 1_000_000;
/// A row has no value on this axis.
pub const ABSENT: u32 = u32::MAX;

/// Axis values, each once.
#[derive(Default)]
pub struct Values {
    list: Vec<Value>,
    /// For every value the one it equals in a join: 1 and 1.0 are equal, though they are different parameters.
    equal: Vec<u32>,
    exact: HashMap<String, u32>,
    canonical: HashMap<String, u32>,
}

impl Values {
    /// The number of a value.
    pub fn id(&mut self, value: &Value) -> u32 {
        let text = value.to_string();
        if let Some(&id) = self.exact.get(&text) {
            return id;
        }
        let id = self.list.len() as u32;
        self.list.push(value.clone());
        self.equal.push(*self.canonical.entry(canonical(value)).or_insert(id));
        self.exact.insert(text, id);
        id
    }

    /// The value equal to this one in joins, if any axis has it.
    pub fn find(&self, value: &Value) -> Option<u32> {
        self.canonical.get(&canonical(value)).copied()
    }

    /// The value of a number.
    pub fn value(&self, id: u32) -> &Value {
        self.list.get(id as usize).unwrap_or(&Value::Null)
    }

    /// What joins compare.
    pub fn join(&self, id: u32) -> u32 {
        self.equal.get(id as usize).copied().unwrap_or(id)
    }
}

fn canonical(value: &Value) -> String {
    match value {
        Value::Number(n) => match n.as_f64() {
            Some(x) if n.is_f64() && x.fract() == 0.0 && x.abs() < 9e15 => (x as i64).to_string(),
            _ => n.to_string(),
        },
        other => other.to_string(),
    }
}

/// A stage's combinations.
#[derive(Clone, Debug)]
pub struct Rows {
    /// The axes, as declared.
    pub axes: Vec<Arc<str>>,
    /// One value number, or [`ABSENT`], per axis.
    pub rows: Vec<Box<[u32]>>,
}

impl Rows {
    /// One row without axes.
    pub fn single() -> Rows {
        Rows { axes: Vec::new(), rows: vec![Box::default()] }
    }
}

/// Expands `matrix:`.
pub fn expand(node: &Node, values: &mut Values, problems: &mut Vec<Problem>) -> Option<Rows> {
    let before = problems.len();
    let Data::Map(entries) = &node.data else {
        problems.push(Problem::new(node.span, format!("expected a map of axes, found {}", node.describe())).help("write `matrix: {seed: [0, 1, 2]}`"));
        return None;
    };
    // Each group advances together: one axis, or the axes of a zip.
    let mut axes: Vec<Key> = Vec::new();
    let mut groups: Vec<Vec<Vec<u32>>> = Vec::new();
    let (mut include, mut exclude) = (None, None);
    for (key, value) in entries.iter() {
        match &*key.name {
            "include" => include = Some(value),
            "exclude" => exclude = Some(value),
            "zip" => {
                let sets = match &value.data {
                    Data::Seq(items) => &**items,
                    _ => std::slice::from_ref(value),
                };
                for set in sets {
                    zip(set, values, &mut axes, &mut groups, problems);
                }
            }
            _ => {
                if let (Some(key), Some(list)) = (axis_name(key, &axes, problems), axis_values(key, value, values, problems)) {
                    axes.push(key);
                    groups.push(list.into_iter().map(|v| vec![v]).collect());
                }
            }
        }
    }
    let total = groups.iter().try_fold(1usize, |n, g| n.checked_mul(g.len())).filter(|&n| n <= MAX_ROWS);
    let Some(total) = total else {
        problems.push(Problem::new(node.span, format!("the matrix has more than {MAX_ROWS} combinations")));
        return None;
    };
    let mut rows: Vec<Vec<u32>> = Vec::new();
    if !axes.is_empty() {
        rows.reserve(total);
        rows.push(Vec::new());
        for group in &groups {
            rows = rows.iter().flat_map(|row| group.iter().map(move |more| [row.as_slice(), more.as_slice()].concat())).collect();
        }
    }
    if let Some(list) = exclude {
        let dropped = patterns(list, "exclude", values, problems);
        for (key, _) in dropped.iter().flatten() {
            if !axes.iter().any(|a| a.name == key.name) {
                problems.push(Problem::new(key.span, format!("there is no axis `{}`", key.name)).suggest(&key.name, axes.iter().map(|a| &*a.name)));
            }
        }
        rows.retain(|row| {
            !dropped.iter().any(|pattern| {
                !pattern.is_empty() && pattern.iter().all(|(key, v)| axes.iter().position(|a| a.name == key.name).is_some_and(|at| values.join(row[at]) == values.join(*v)))
            })
        });
    }
    if let Some(list) = include {
        add(&patterns(list, "include", values, problems), &mut axes, &mut rows, values);
    }
    if problems.len() > before {
        return None;
    }
    if rows.is_empty() {
        problems.push(Problem::new(node.span, "the matrix has no combination left").help("give an axis values, or remove an `exclude`"));
        return None;
    }
    // By the text a value has in names: 1 and "1" would be one instance's name for two.
    let mut texts: HashMap<String, u32> = HashMap::new();
    let mut text_of: HashMap<u32, u32> = HashMap::new();
    let mut seen = HashSet::with_capacity(rows.len());
    for row in &rows {
        let mut text = |v: u32| {
            *text_of.entry(values.join(v)).or_insert_with(|| {
                let count = texts.len() as u32;
                if v == ABSENT { ABSENT } else { *texts.entry(super::refs::scalar(values.value(v))).or_insert(count) }
            })
        };
        let key: Vec<u32> = row.iter().map(|&v| text(v)).collect();
        if !seen.insert(key) {
            let text: Vec<String> = axes.iter().zip(row).filter(|(_, v)| **v != ABSENT).map(|(a, v)| format!("{}={}", a.name, super::refs::scalar(values.value(*v)))).collect();
            problems.push(Problem::new(node.span, format!("the matrix has the combination `{}` twice", text.join(","))).help("remove the value that is given twice"));
            return None;
        }
    }
    Some(Rows { axes: axes.into_iter().map(|a| a.name).collect(), rows: rows.into_iter().map(Vec::into_boxed_slice).collect() })
}

fn axis_name(key: &Key, axes: &[Key], problems: &mut Vec<Problem>) -> Option<Key> {
    if let Err(problem) = check_name(key, "an axis") {
        problems.push(problem);
        return None;
    }
    if matches!(&*key.name, "round" | "include" | "exclude" | "zip") {
        problems.push(Problem::new(key.span, format!("`{}` is reserved and cannot be the name of an axis", key.name)));
        return None;
    }
    if let Some(first) = axes.iter().find(|a| a.name == key.name) {
        problems.push(super::settings::twice("axis", key, first.span));
        return None;
    }
    Some(key.clone())
}

fn axis_values(key: &Key, node: &Node, values: &mut Values, problems: &mut Vec<Problem>) -> Option<Vec<u32>> {
    match list(node) {
        Ok(list) if list.is_empty() => {
            problems.push(Problem::new(node.span, format!("the axis `{}` has no values", key.name)));
            None
        }
        Ok(list) => Some(list.iter().map(|v| values.id(v)).collect()),
        Err(found) => {
            problems.extend(found);
            None
        }
    }
}

fn zip(set: &Node, values: &mut Values, axes: &mut Vec<Key>, groups: &mut Vec<Vec<Vec<u32>>>, problems: &mut Vec<Problem>) {
    let Data::Map(entries) = &set.data else {
        problems.push(Problem::new(set.span, format!("expected a map of axes, found {}", set.describe())).help("write `zip: {a: [1, 2], b: [x, y]}`"));
        return;
    };
    let mut columns: Vec<Vec<u32>> = Vec::new();
    for (key, value) in entries.iter() {
        let (Some(name), Some(list)) = (axis_name(key, axes, problems), axis_values(key, value, values, problems)) else { continue };
        if let Some(first) = columns.first()
            && first.len() != list.len()
        {
            problems.push(Problem::new(key.span, format!("zipped axes must have as many values as each other: `{}` has {}, not {}", key.name, list.len(), first.len())));
            continue;
        }
        axes.push(name);
        columns.push(list);
    }
    let count = columns.first().map_or(0, Vec::len);
    groups.push((0..count).map(|i| columns.iter().map(|c| c[i]).collect()).collect());
}

/// The entries of `include` or `exclude`.
fn patterns(node: &Node, what: &str, values: &mut Values, problems: &mut Vec<Problem>) -> Vec<Vec<(Key, u32)>> {
    let Data::Seq(items) = &node.data else {
        problems.push(Problem::new(node.span, format!("expected a list of combinations, found {}", node.describe())).help(format!("write `{what}: [{{seed: 0}}]`")));
        return Vec::new();
    };
    let mut patterns = Vec::new();
    for item in items.iter() {
        let Data::Map(entries) = &item.data else {
            problems.push(Problem::new(item.span, format!("expected a map of axis values, found {}", item.describe())));
            continue;
        };
        let mut pattern = Vec::new();
        for (key, value) in entries.iter() {
            if let Err(problem) = check_name(key, "an axis") {
                problems.push(problem);
                continue;
            }
            match scalar(value) {
                Ok(v) => pattern.push((key.clone(), values.id(&v))),
                Err(problem) => problems.push(*problem),
            }
        }
        patterns.push(pattern);
    }
    patterns
}

/// GitHub's rule: an entry is added to every original combination of which it changes no original value; when there is none, it
/// becomes a combination of its own.
fn add(entries: &[Vec<(Key, u32)>], axes: &mut Vec<Key>, rows: &mut Vec<Vec<u32>>, values: &Values) {
    let (original_axes, original_rows) = (axes.len(), rows.len());
    for entry in entries {
        for (key, _) in entry {
            if !axes.iter().any(|a| a.name == key.name) {
                axes.push(key.clone());
                rows.iter_mut().for_each(|row| row.push(ABSENT));
            }
        }
        let at = |key: &Key| axes.iter().position(|a| a.name == key.name).unwrap_or(0);
        let mut placed = false;
        for row in &mut rows[..original_rows] {
            if entry.iter().all(|(key, v)| at(key) >= original_axes || values.join(row[at(key)]) == values.join(*v)) {
                entry.iter().filter(|(key, _)| at(key) >= original_axes).for_each(|(key, v)| row[at(key)] = *v);
                placed = true;
            }
        }
        if !placed {
            let mut row = vec![ABSENT; axes.len()];
            entry.iter().for_each(|(key, v)| row[at(key)] = *v);
            rows.push(row);
        }
    }
}

/// The value of a scalar node that may be an axis value.
pub fn scalar(node: &Node) -> Result<Value, Box<Problem>> {
    match &node.data {
        Data::Null => Ok(Value::Null),
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

fn list(node: &Node) -> Result<Vec<Value>, Vec<Problem>> {
    let wrong = |what: String| vec![Problem::new(node.span, what).help("write a list, `{range: [start, stop, step]}`, `{logspace: [from, to, n]}` or a `${vars.name}` that is one of these")];
    match &node.data {
        Data::Seq(items) => {
            let (mut list, mut problems) = (Vec::new(), Vec::new());
            for item in items.iter() {
                match scalar(item) {
                    Ok(value) => list.push(value),
                    Err(problem) => problems.push(*problem),
                }
            }
            if problems.is_empty() { Ok(list) } else { Err(problems) }
        }
        Data::Map(entries) => match &**entries {
            [(key, args)] if matches!(&*key.name, "range" | "logspace") => {
                let numbers: Option<Vec<Number>> = match &args.data {
                    Data::Seq(items) => items.iter().map(|i| if let Data::Number(n) = &i.data { Some(n.clone()) } else { None }).collect(),
                    _ => None,
                };
                let numbers = numbers.ok_or_else(|| wrong(format!("`{}` takes a list of numbers, found {}", key.name, args.describe())))?;
                let made = if &*key.name == "range" { range(&numbers) } else { logspace(&numbers) };
                made.map_err(|message| vec![Problem::new(args.span, message)])
            }
            _ => Err(wrong("this map is no axis".to_owned())),
        },
        _ => Err(wrong(format!("an axis takes a list, found {}", node.describe()))),
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
            Some(&[start, step]) => step.checked_mul(i).and_then(|d| start.checked_add(d)).map(Value::from),
            _ => Some(Value::from(round12(f(start) + i as f64 * f(step)))),
        })
        .collect())
}

fn logspace(numbers: &[Number]) -> Result<Vec<Value>, String> {
    let [from, to, n] = numbers else { return Err("`logspace` takes [from, to, n]".to_owned()) };
    let (a, b) = (from.as_f64().unwrap_or(0.0), to.as_f64().unwrap_or(0.0));
    let Some(n) = n.as_u64().filter(|&n| (1..=MAX_ROWS as u64).contains(&n)) else { return Err("the third number of `logspace` says how many values: a whole number from 1".to_owned()) };
    if a <= 0.0 || b <= 0.0 {
        return Err("`logspace` goes between numbers above 0".to_owned());
    }
    Ok((0..n)
        .map(|i| match i {
            0 => Value::Number(from.clone()),
            i if i + 1 == n => Value::Number(to.clone()),
            i => Value::from(round12((a.ln() + (b.ln() - a.ln()) * i as f64 / (n - 1) as f64).exp())),
        })
        .collect())
}

/// Twelve significant digits: what a person would write, and the same whatever the system's `exp` and `ln` do in the last place.
fn round12(x: f64) -> f64 {
    format!("{x:.11e}").parse().unwrap_or(x)
}
