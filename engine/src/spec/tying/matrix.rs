//! `matrix:` to rows of axis values: products, zips, `include` and `exclude` as GitHub Actions has
//! them.
//!
//! Decides the order of instances: the first axis varies slowest. A row is a few numbers of
//! [`Values`]. Does not know what the axes are used for.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};

use super::axis::MAX_ROWS;
use super::axis::{list, scalar};
use super::values::{ABSENT, Values};
use crate::spec::text::decode::check_name;
use crate::spec::text::node::{Data, Key, Node};
use crate::spec::text::problem::{Problem, Span};

/// The most values that all combinations of a stage may have together.
const MAX_CELLS: usize = 64 * MAX_ROWS;
/// Axes that advance together: their values, row by row.
type Group = Vec<Vec<u32>>;

/// A stage's combinations.
#[derive(Clone, Debug)]
pub struct Rows {
    /// The axes, as declared.
    pub axes: Vec<Arc<str>>,
    /// Where each is written; the round of a loop is not.
    pub places: Vec<Option<Span>>,
    /// One value number, or [`ABSENT`], per axis.
    pub rows: Vec<Box<[u32]>>,
}

impl Rows {
    /// One row without axes.
    pub fn single() -> Rows {
        Rows {
            axes: Vec::new(),
            places: Vec::new(),
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
    let mut groups: Vec<Group> = Vec::new();
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
        let mut dropped = patterns(list, "exclude", values, problems);
        for (key, _) in dropped.iter().flatten() {
            if !axes.iter().any(|a| a.name == key.name) {
                problems.push(
                    Problem::new(key.span, format!("there is no axis `{}`", key.name))
                        .suggest(&key.name, axes.iter().map(|a| &*a.name)),
                );
            }
        }
        by_name(&mut dropped, &axes, &groups, values);
        leave_out(&dropped, &axes, &mut rows, values);
    }
    if let Some(list) = include {
        let mut entries = patterns(list, "include", values, problems);
        by_name(&mut entries, &axes, &groups, values);
        if !add(&entries, &mut axes, &mut rows, values) {
            problems.push(Problem::new(
                list.span,
                format!("the combinations have more than {MAX_CELLS} values in all"),
            ));
        }
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
    let mut texts: HashMap<&str, u32> = HashMap::new();
    let mut text_of: HashMap<u32, u32> = HashMap::new();
    let mut seen = HashSet::with_capacity(rows.len());
    for row in &rows {
        let mut text = |v: u32| {
            *text_of.entry(values.join(v)).or_insert_with(|| {
                let count = texts.len() as u32;
                if v == ABSENT {
                    ABSENT
                } else {
                    *texts.entry(values.text(v)).or_insert(count)
                }
            })
        };
        let key: Vec<u32> = row.iter().map(|&v| text(v)).collect();
        if !seen.insert(key) {
            let text: Vec<String> = axes
                .iter()
                .zip(row)
                .filter(|(_, v)| **v != ABSENT)
                .map(|(a, v)| format!("{}={}", a.name, values.text(*v)))
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
        places: axes.iter().map(|a| Some(a.span)).collect(),
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
        problems.push(crate::spec::text::settings::twice("axis", key, first.span));
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
    groups: &mut Vec<Group>,
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

/// Values that the user calls by their names, for those that the axes have: `exclude: [{model:
/// small}]` where `small` is a map, `1` where the axis has the text.
fn by_name(patterns: &mut [Vec<(Key, u32)>], axes: &[Key], groups: &[Group], values: &Values) {
    let mut columns: Vec<(HashSet<u32>, HashMap<&str, u32>)> = Vec::new();
    for group in groups {
        let width = group.first().map_or(0, Vec::len);
        for column in 0..width {
            let ids = || group.iter().map(move |row| row[column]);
            columns.push((
                ids().map(|id| values.join(id)).collect(),
                ids().map(|id| (values.text(id), id)).collect(),
            ));
        }
    }
    let at: HashMap<&str, usize> = axes
        .iter()
        .enumerate()
        .map(|(i, a)| (&*a.name, i))
        .collect();
    for (key, id) in patterns.iter_mut().flatten() {
        if let Some((joins, names)) = at.get(&*key.name).and_then(|&at| columns.get(at))
            && !joins.contains(&values.join(*id))
            && let Some(&named) = names.get(values.text(*id))
        {
            *id = named;
        }
    }
}

/// Drops the rows that have all values of a pattern. Patterns on the same axes are looked up
/// together: twenty thousand of them cost as much as one.
fn leave_out(
    patterns: &[Vec<(Key, u32)>],
    axes: &[Key],
    rows: &mut Vec<Vec<u32>>,
    values: &Values,
) {
    let at: HashMap<&str, usize> = axes
        .iter()
        .enumerate()
        .map(|(i, a)| (&*a.name, i))
        .collect();
    let mut dropped: HashMap<Vec<usize>, HashSet<Vec<u32>>> = HashMap::new();
    for pattern in patterns {
        let wanted: Option<Vec<(usize, u32)>> = pattern
            .iter()
            .map(|(key, v)| Some((*at.get(&*key.name)?, values.join(*v))))
            .collect();
        let Some(mut wanted) = wanted.filter(|w| !w.is_empty()) else {
            continue;
        };
        wanted.sort_unstable();
        let (places, joined) = wanted.into_iter().unzip();
        dropped.entry(places).or_default().insert(joined);
    }
    let mut joined = Vec::new();
    rows.retain(|row| {
        !dropped.iter().any(|(places, set)| {
            joined.clear();
            joined.extend(places.iter().map(|&at| values.join(row[at])));
            set.contains(&joined)
        })
    });
}

/// GitHub's rule: an entry is added to every original combination of which it changes no original
/// value; when there is none, it becomes a combination of its own. `false` when there would be too
/// much of it.
fn add(
    entries: &[Vec<(Key, u32)>],
    axes: &mut Vec<Key>,
    rows: &mut Vec<Vec<u32>>,
    values: &Values,
) -> bool {
    let (original_axes, original_rows) = (axes.len(), rows.len());
    let mut at: HashMap<Arc<str>, usize> = axes
        .iter()
        .enumerate()
        .map(|(i, a)| (a.name.clone(), i))
        .collect();
    for (key, _) in entries.iter().flatten() {
        at.entry(key.name.clone()).or_insert_with(|| {
            axes.push(key.clone());
            axes.len() - 1
        });
    }
    if axes.len().saturating_mul(rows.len() + entries.len()) > MAX_CELLS {
        return false;
    }
    rows.iter_mut()
        .for_each(|row| row.resize(axes.len(), ABSENT));
    // Original combinations by their values on the axes that some entry names.
    let mut indexes: HashMap<Vec<usize>, HashMap<Vec<u32>, Vec<usize>>> = HashMap::new();
    for entry in entries {
        let mut original: Vec<(usize, u32)> = Vec::new();
        let mut added: Vec<(usize, u32)> = Vec::new();
        for (key, v) in entry {
            match at[&key.name] {
                place if place < original_axes => original.push((place, *v)),
                place => added.push((place, *v)),
            }
        }
        original.sort_unstable_by_key(|(place, _)| *place);
        let places: Vec<usize> = original.iter().map(|(place, _)| *place).collect();
        let wanted: Vec<u32> = original.iter().map(|(_, v)| values.join(*v)).collect();
        let index = indexes.entry(places).or_insert_with_key(|places| {
            let mut index: HashMap<Vec<u32>, Vec<usize>> = HashMap::new();
            for (i, row) in rows[..original_rows].iter().enumerate() {
                let joined = places.iter().map(|&at| values.join(row[at])).collect();
                index.entry(joined).or_default().push(i);
            }
            index
        });
        match index.get(&wanted) {
            Some(found) => {
                for &i in found {
                    added.iter().for_each(|&(place, v)| rows[i][place] = v);
                }
            }
            None => {
                let mut row = vec![ABSENT; axes.len()];
                original
                    .iter()
                    .chain(&added)
                    .for_each(|&(place, v)| row[place] = v);
                rows.push(row);
            }
        }
    }
    true
}
