//! Metrics as tables: what is a row, and what is a column. Axes are columns, and rows that have a
//! metric in common are in one table.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::super::tables::{Axes, by_instance, by_name, whose};
use crate::ui::cell::Cell;
use crate::ui::table::{AxisColumns, Column, Table};
use repro_engine::plan::Plan;
use repro_engine::results::metrics::{Metric, MetricTable, Rows, TableFound, full_name};
use repro_protocol::table::Row;
use repro_report::Tools;
use repro_report::collect::runs;
use repro_report::observed::summarises;

/// A row of a table: whose it is, and its cells by metric.
struct Line {
    stage: String,
    axes: Axes,
    /// The stage that it is about, where that is another one.
    group: Option<String>,
    n: Option<u64>,
    values: BTreeMap<String, Cell>,
}

/// A row for each run, repetitions together. Tables that are summaries of runs themselves follow if
/// `all` are meant; else there is nothing in them that is not in the rows above, and the stages that
/// have them are returned.
pub(super) fn means(
    plan: &Plan,
    tables: Vec<MetricTable>,
    tools: &Tools,
    fits: impl Fn(&str) -> bool,
    all: bool,
) -> (Vec<Table>, Vec<String>) {
    let is_summary = |table: &MetricTable| match &table.found {
        TableFound::Rows(rows) | TableFound::Last(rows) => summarises(rows.iter()),
        _ => false,
    };
    let (summaries, tables): (Vec<_>, Vec<_>) = tables.into_iter().partition(is_summary);
    let (arms, mut order) = runs(plan, tables, tools);
    let mut lines = Vec::new();
    for arm in arms {
        let n = arm.n as u64;
        let metrics = arm.metrics.into_iter().filter(|(name, _)| fits(name));
        let mean = |m: repro_report::Measured| Cell::mean(m.mean, m.band, m.values.len() as u64, n);
        lines.push(Line {
            stage: arm.stage,
            axes: arm.axes,
            group: None,
            n: Some(n),
            values: metrics.map(|(name, m)| (name, mean(m))).collect(),
        });
    }
    if !all && lines.iter().any(|line| !line.values.is_empty()) {
        let by_name = by_name(plan);
        let stages = summaries
            .iter()
            .map(|t| whose(&by_name, t.instance).0.to_owned());
        let mut stages: Vec<String> = stages.collect();
        stages.dedup();
        return (tables_of(lines, &order), stages);
    }
    let found: Vec<Metric> = summaries
        .iter()
        .flat_map(|t| t.values(Rows::Last))
        .collect();
    let found: Vec<Metric> = found
        .into_iter()
        .filter(|metric| fits(&full_name(&metric.row)))
        .collect();
    lines.extend(lines_of(plan, &found, &mut order));
    (tables_of(lines, &order), Vec::new())
}

/// A row for each instance, and for each cell, group and seed in its table.
pub(super) fn instances(plan: &Plan, found: &[Metric]) -> Vec<Table> {
    let mut order = Vec::new();
    let lines = lines_of(plan, found, &mut order);
    tables_of(lines, &order)
}

/// Every value on a row of its own.
pub(super) fn rows(plan: &Plan, found: &[Metric]) -> Vec<Table> {
    if found.is_empty() {
        return Vec::new();
    }
    let by_name = by_name(plan);
    let is_axis = |m: &Metric| {
        whose(&by_name, m.instance)
            .1
            .iter()
            .any(|(a, _)| a == "seed")
    };
    let (mut columns, mut parts) = (Vec::new(), Vec::new());
    let optional: [(&str, fn(&Row) -> Option<String>); 5] = [
        ("cell", |row| row.run.clone()),
        ("group", |row| row.stage.clone()),
        ("seed", |row| row.seed.map(|n| n.to_string())),
        ("epoch", |row| row.epoch.map(|n| n.to_string())),
        ("step", |row| row.step.map(|n| n.to_string())),
    ];
    for (head, part) in optional {
        // The seed of a run is mostly its axis, too.
        let says = |m: &Metric| part(&m.row).is_some() && !(head == "seed" && is_axis(m));
        if found.iter().any(says) {
            columns.push(Column::new(head));
            parts.push(part);
        }
    }
    columns.push(Column::new("metric"));
    columns.push(Column::figure("value"));
    let cells = |row: &Row| {
        let parts = parts
            .iter()
            .map(|part| Cell::text(part(row).unwrap_or_default()));
        let value = [Cell::text(full_name(row)), Cell::number(row.value)];
        parts.chain(value).collect()
    };
    let rows = found.iter().map(|m| (m.instance, cells(&m.row)));
    vec![by_instance(plan, columns, rows)]
}

/// The rows of single values; new names of metrics follow those in `order`.
fn lines_of(plan: &Plan, found: &[Metric], order: &mut Vec<String>) -> Vec<Line> {
    let by_name = by_name(plan);
    let mut lines: Vec<Line> = Vec::new();
    let mut at: HashMap<(&str, Option<&str>, Option<&str>, Option<i64>), usize> = HashMap::new();
    let mut values: Vec<BTreeMap<String, f64>> = Vec::new();
    for metric in found {
        let row = &metric.row;
        let key = (
            metric.instance,
            row.run.as_deref(),
            row.stage.as_deref(),
            row.seed,
        );
        let line = *at.entry(key).or_insert_with(|| {
            let (stage, mut axes) = whose(&by_name, metric.instance);
            axes.extend(row.run.as_deref().map(cell_axes).unwrap_or_default());
            if let Some(seed) = row.seed
                && !axes.iter().any(|(axis, _)| axis == "seed")
            {
                axes.push(("seed".to_owned(), seed.to_string()));
            }
            lines.push(Line {
                stage: stage.to_owned(),
                axes,
                group: row.stage.clone(),
                n: None,
                values: BTreeMap::new(),
            });
            values.push(BTreeMap::new());
            lines.len() - 1
        });
        values[line].insert(full_name(row), row.value);
    }
    for (line, values) in lines.iter_mut().zip(values) {
        with_means(line, values);
        for name in line.values.keys() {
            if !order.contains(name) {
                order.push(name.clone());
            }
        }
    }
    lines
}

/// The values as cells. `X_mean`, `X_low`, `X_high` and `X_n` are one.
fn with_means(line: &mut Line, mut values: BTreeMap<String, f64>) {
    let means = values.keys().filter_map(|name| name.strip_suffix("_mean"));
    let means: Vec<String> = means.map(str::to_owned).collect();
    let n_of = |values: &BTreeMap<String, f64>, of: &str| {
        values.get(&format!("{of}_n")).map(|n| *n as u64)
    };
    line.n = means.iter().filter_map(|of| n_of(&values, of)).max();
    for of in means {
        let Some(n) = n_of(&values, &of) else {
            continue;
        };
        let mut part = |part: &str| values.remove(&format!("{of}_{part}"));
        let (mean, low, high, _) = (part("mean"), part("low"), part("high"), part("n"));
        if let Some(mean) = mean {
            let band = low.zip(high).map(|(low, high)| [low, high]);
            let cell = Cell::mean(mean, band, n, line.n.unwrap_or(n));
            line.values.insert(of, cell);
        }
    }
    let rest = values
        .into_iter()
        .map(|(name, value)| (name, Cell::number(value)));
    line.values.extend(rest);
}

/// `lr=0.1,model=small` as axes; a text that is something else is the axis `run`.
fn cell_axes(run: &str) -> Axes {
    let parts = run.split(',').map(|part| part.split_once('='));
    let axes: Option<Vec<(&str, &str)>> = parts.collect();
    match axes {
        Some(axes) => axes
            .into_iter()
            .map(|(a, v)| (a.to_owned(), v.to_owned()))
            .collect(),
        None => vec![("run".to_owned(), run.to_owned())],
    }
}

/// Tables of lines that have metrics in common, in the order of their first lines.
fn tables_of(lines: Vec<Line>, order: &[String]) -> Vec<Table> {
    let mut groups: Vec<(BTreeSet<String>, Vec<Line>)> = Vec::new();
    for line in lines.into_iter().filter(|line| !line.values.is_empty()) {
        let own: BTreeSet<String> = line.values.keys().cloned().collect();
        let (near, far): (Vec<_>, Vec<_>) = groups.into_iter().partition(|(names, members)| {
            let is_like = members[0].group.is_some() == line.group.is_some();
            is_like && !names.is_disjoint(&own)
        });
        groups = far;
        let mut group = (own, Vec::new());
        for (names, members) in near {
            group.0.extend(names);
            group.1.extend(members);
        }
        group.1.push(line);
        groups.push(group);
    }
    groups
        .into_iter()
        .map(|(names, lines)| table_of(&names, lines, order))
        .collect()
}

/// Stages, groups and words as they come; numbers of an axis by size, however the pipeline lists
/// them.
fn in_order(mut lines: Vec<Line>) -> Vec<Line> {
    let (mut heads, mut axes): (Vec<(String, Option<String>)>, Vec<String>) = Default::default();
    let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in &lines {
        let head = (line.stage.clone(), line.group.clone());
        if !heads.contains(&head) {
            heads.push(head);
        }
        for (axis, value) in &line.axes {
            let known = values.entry(axis.clone()).or_insert_with(|| {
                axes.push(axis.clone());
                Vec::new()
            });
            if !known.contains(value) {
                known.push(value.clone());
            }
        }
    }
    for values in values.values_mut() {
        let numbers: Option<Vec<f64>> = values.iter().map(|v| v.parse().ok()).collect();
        if let Some(numbers) = numbers {
            let mut both: Vec<(f64, String)> = numbers.into_iter().zip(values.drain(..)).collect();
            both.sort_by(|a, b| a.0.total_cmp(&b.0));
            values.extend(both.into_iter().map(|(_, text)| text));
        }
    }
    lines.sort_by_cached_key(|line| {
        let head = (line.stage.clone(), line.group.clone());
        let place = |axis: &String| {
            let (_, value) = line.axes.iter().find(|(a, _)| a == axis)?;
            values.get(axis)?.iter().position(|v| v == value)
        };
        let places = axes.iter().map(place).collect::<Vec<Option<usize>>>();
        (heads.iter().position(|h| *h == head), places)
    });
    lines
}

fn table_of(names: &BTreeSet<String>, lines: Vec<Line>, order: &[String]) -> Table {
    let lines = in_order(lines);
    let axes = AxisColumns::of(lines.iter().map(|line| line.axes.as_slice()));
    let names: Vec<&String> = order.iter().filter(|name| names.contains(*name)).collect();
    let mut others: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
    others.extend(["stage", "about", "n"]);
    let mut columns = vec![Column::new("stage").naming(), Column::new("about").naming()];
    columns.extend(axes.columns(&others));
    columns.push(Column::figure("n"));
    let is_mean = lines.iter().any(|line| line.n.is_some());
    // One run each is no mean.
    let is_repeated = lines.iter().any(|line| line.n > Some(1));
    let column = |name: &&String| {
        let detail = ["_sd", "_runs"]
            .iter()
            .find_map(|end| name.strip_suffix(end));
        match detail {
            Some(of) if is_mean && names.iter().any(|n| *n == of) => {
                Column::figure(name.as_str()).for_programs()
            }
            _ if is_mean => Column::mean(name.as_str()),
            _ => Column::figure(name.as_str()),
        }
    };
    columns.extend(names.iter().map(column));
    let mut table = Table::new(columns);
    for mut line in lines {
        let mut cells = vec![
            Cell::text(line.stage),
            Cell::text(line.group.unwrap_or_default()),
        ];
        cells.extend(axes.cells(&line.axes));
        let n = line.n.filter(|_| is_repeated);
        cells.push(n.map_or_else(Cell::empty, Cell::count));
        let values = names.iter().map(|name| line.values.remove(*name));
        cells.extend(values.map(|cell| cell.unwrap_or_else(Cell::empty)));
        table.push(cells);
    }
    table.without_empty()
}
