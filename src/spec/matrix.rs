//! `matrix:` to rows of axis values: products, zips, `include` and `exclude` as GitHub Actions has them.
//!
//! Decides the order of instances: the first axis varies slowest. Values are interned, so a row is a few numbers and joins compare
//! numbers. Does not know what the axes are used for.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::Value;

use super::axis::{list, scalar};
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
        self.equal
            .push(*self.canonical.entry(canonical(value)).or_insert(id));
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
        Rows {
            axes: Vec::new(),
            rows: vec![Box::default()],
        }
    }
}

/// Expands `matrix:`.
pub fn expand(node: &Node, values: &mut Values, problems: &mut Vec<Problem>) -> Option<Rows> {
    let before = problems.len();
    let Data::Map(entries) = &node.data else {
        problems.push(
            Problem::new(
                node.span,
                format!("expected a map of axes, found {}", node.describe()),
            )
            .help("write `matrix: {seed: [0, 1, 2]}`"),
        );
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
                if let (Some(key), Some(list)) = (
                    axis_name(key, &axes, problems),
                    axis_values(key, value, values, problems),
                ) {
                    axes.push(key);
                    groups.push(list.into_iter().map(|v| vec![v]).collect());
                }
            }
        }
    }
    let total = groups
        .iter()
        .try_fold(1usize, |n, g| n.checked_mul(g.len()))
        .filter(|&n| n <= MAX_ROWS);
    let Some(total) = total else {
        problems.push(Problem::new(
            node.span,
            format!("the matrix has more than {MAX_ROWS} combinations"),
        ));
        return None;
    };
    let mut rows: Vec<Vec<u32>> = Vec::new();
    if !axes.is_empty() {
        rows.reserve(total);
        rows.push(Vec::new());
        for group in &groups {
            rows = rows
                .iter()
                .flat_map(|row| {
                    group
                        .iter()
                        .map(move |more| [row.as_slice(), more.as_slice()].concat())
                })
                .collect();
        }
    }
    if let Some(list) = exclude {
        let dropped = patterns(list, "exclude", values, problems);
        for (key, _) in dropped.iter().flatten() {
            if !axes.iter().any(|a| a.name == key.name) {
                problems.push(
                    Problem::new(key.span, format!("there is no axis `{}`", key.name))
                        .suggest(&key.name, axes.iter().map(|a| &*a.name)),
                );
            }
        }
        rows.retain(|row| {
            !dropped.iter().any(|pattern| {
                !pattern.is_empty()
                    && pattern.iter().all(|(key, v)| {
                        axes.iter()
                            .position(|a| a.name == key.name)
                            .is_some_and(|at| values.join(row[at]) == values.join(*v))
                    })
            })
        });
    }
    if let Some(list) = include {
        add(
            &patterns(list, "include", values, problems),
            &mut axes,
            &mut rows,
            values,
        );
    }
    if problems.len() > before {
        return None;
    }
    if rows.is_empty() {
        problems.push(
            Problem::new(node.span, "the matrix has no combination left")
                .help("give an axis values, or remove an `exclude`"),
        );
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
                if v == ABSENT {
                    ABSENT
                } else {
                    *texts
                        .entry(super::refs::scalar(values.value(v)))
                        .or_insert(count)
                }
            })
        };
        let key: Vec<u32> = row.iter().map(|&v| text(v)).collect();
        if !seen.insert(key) {
            let text: Vec<String> = axes
                .iter()
                .zip(row)
                .filter(|(_, v)| **v != ABSENT)
                .map(|(a, v)| format!("{}={}", a.name, super::refs::scalar(values.value(*v))))
                .collect();
            problems.push(
                Problem::new(
                    node.span,
                    format!("the matrix has the combination `{}` twice", text.join(",")),
                )
                .help("remove the value that is given twice"),
            );
            return None;
        }
    }
    Some(Rows {
        axes: axes.into_iter().map(|a| a.name).collect(),
        rows: rows.into_iter().map(Vec::into_boxed_slice).collect(),
    })
}

fn axis_name(key: &Key, axes: &[Key], problems: &mut Vec<Problem>) -> Option<Key> {
    if let Err(problem) = check_name(key, "an axis") {
        problems.push(problem);
        return None;
    }
    if matches!(&*key.name, "round" | "include" | "exclude" | "zip") {
        problems.push(Problem::new(
            key.span,
            format!(
                "`{}` is reserved and cannot be the name of an axis",
                key.name
            ),
        ));
        return None;
    }
    if let Some(first) = axes.iter().find(|a| a.name == key.name) {
        problems.push(super::settings::twice("axis", key, first.span));
        return None;
    }
    Some(key.clone())
}

fn axis_values(
    key: &Key,
    node: &Node,
    values: &mut Values,
    problems: &mut Vec<Problem>,
) -> Option<Vec<u32>> {
    match list(node) {
        Ok(list) if list.is_empty() => {
            problems.push(Problem::new(
                node.span,
                format!("the axis `{}` has no values", key.name),
            ));
            None
        }
        Ok(list) => Some(list.iter().map(|v| values.id(v)).collect()),
        Err(found) => {
            problems.extend(found);
            None
        }
    }
}

fn zip(
    set: &Node,
    values: &mut Values,
    axes: &mut Vec<Key>,
    groups: &mut Vec<Vec<Vec<u32>>>,
    problems: &mut Vec<Problem>,
) {
    let Data::Map(entries) = &set.data else {
        problems.push(
            Problem::new(
                set.span,
                format!("expected a map of axes, found {}", set.describe()),
            )
            .help("write `zip: {a: [1, 2], b: [x, y]}`"),
        );
        return;
    };
    let mut columns: Vec<Vec<u32>> = Vec::new();
    for (key, value) in entries.iter() {
        let (Some(name), Some(list)) = (
            axis_name(key, axes, problems),
            axis_values(key, value, values, problems),
        ) else {
            continue;
        };
        if let Some(first) = columns.first()
            && first.len() != list.len()
        {
            problems.push(Problem::new(
                key.span,
                format!(
                    "zipped axes must have as many values as each other: `{}` has {}, not {}",
                    key.name,
                    list.len(),
                    first.len()
                ),
            ));
            continue;
        }
        axes.push(name);
        columns.push(list);
    }
    let count = columns.first().map_or(0, Vec::len);
    groups.push(
        (0..count)
            .map(|i| columns.iter().map(|c| c[i]).collect())
            .collect(),
    );
}

/// The entries of `include` or `exclude`.
fn patterns(
    node: &Node,
    what: &str,
    values: &mut Values,
    problems: &mut Vec<Problem>,
) -> Vec<Vec<(Key, u32)>> {
    let Data::Seq(items) = &node.data else {
        problems.push(
            Problem::new(
                node.span,
                format!("expected a list of combinations, found {}", node.describe()),
            )
            .help(format!("write `{what}: [{{seed: 0}}]`")),
        );
        return Vec::new();
    };
    let mut patterns = Vec::new();
    for item in items.iter() {
        let Data::Map(entries) = &item.data else {
            problems.push(Problem::new(
                item.span,
                format!("expected a map of axis values, found {}", item.describe()),
            ));
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
fn add(
    entries: &[Vec<(Key, u32)>],
    axes: &mut Vec<Key>,
    rows: &mut Vec<Vec<u32>>,
    values: &Values,
) {
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
            if entry.iter().all(|(key, v)| {
                at(key) >= original_axes || values.join(row[at(key)]) == values.join(*v)
            }) {
                entry
                    .iter()
                    .filter(|(key, _)| at(key) >= original_axes)
                    .for_each(|(key, v)| row[at(key)] = *v);
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

/// Rows by their values, axis by axis: absent, null, false, true, numbers, texts.
pub fn compare_rows(a: &[u32], b: &[u32], values: &Values) -> std::cmp::Ordering {
    let rank = |id: u32| match values.value(id) {
        _ if id == ABSENT => 0,
        Value::Null => 1,
        Value::Bool(_) => 2,
        Value::Number(_) => 3,
        _ => 4,
    };
    for (&x, &y) in a.iter().zip(b) {
        if x == y {
            continue;
        }
        let order = rank(x)
            .cmp(&rank(y))
            .then_with(|| match (values.value(x), values.value(y)) {
                (Value::Bool(x), Value::Bool(y)) => x.cmp(y),
                (Value::Number(x), Value::Number(y)) => match (x.as_i64(), y.as_i64()) {
                    (Some(x), Some(y)) => x.cmp(&y),
                    _ => x
                        .as_f64()
                        .unwrap_or(0.0)
                        .total_cmp(&y.as_f64().unwrap_or(0.0)),
                },
                (Value::String(x), Value::String(y)) => x.cmp(y),
                _ => std::cmp::Ordering::Equal,
            });
        if order.is_ne() {
            return order;
        }
    }
    std::cmp::Ordering::Equal
}
