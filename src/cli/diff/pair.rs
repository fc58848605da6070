//! Two instances side by side, for people.

use super::{DiffArgs, Exit, INPUTS_SHOWN, output};
use crate::ui::cell::{Cell, Field, signed};
use crate::ui::table::{Column, Table};
use repro_engine::catalog::Parts;
use repro_engine::change::in_words;
use repro_engine::record::event::Change;
use repro_engine::results::diff::{MetricDiff, Pair};

/// Writes a pair in the form that was asked for.
pub(super) fn show(pair: &Pair, args: &DiffArgs) -> anyhow::Result<Exit> {
    if let Some(left_out) = &pair.left_out {
        crate::say!(
            "warning: {} artifacts are on the remote only and are left out ({}); `repro pull STAGE` gets them",
            left_out.tables,
            left_out.why
        );
    }
    if args.json {
        output::json(pair)?;
        return Ok(Exit::Done);
    }
    let mut tables = Vec::new();
    if !pair.metrics.is_empty() {
        let mut table = Table::new(columns(&pair.a, &pair.b));
        pair.metrics.iter().for_each(|m| table.push(metric(m)));
        tables.push(table);
    }
    for output in &pair.outputs {
        tables.extend(output.parts.as_ref().map(|p| parts(&output.output, p)));
    }
    if args.table.is_for_terminal() {
        output::text(&told(pair, args.all))?;
    }
    args.table.write(tables, "")?;
    Ok(Exit::Done)
}

/// What the keys have different, and which outputs are the same.
fn told(pair: &Pair, all: bool) -> String {
    let colour = output::colour();
    let mut text = format!("{} → {}\n", colour.bold(&pair.a), colour.bold(&pair.b));
    let is_input = |c: &&Change| c.field.starts_with("inputs.");
    let (inputs, own): (Vec<&Change>, Vec<&Change>) = pair.fields.iter().partition(is_input);
    let most = if all { inputs.len() } else { INPUTS_SHOWN };
    for change in own.into_iter().chain(inputs.iter().take(most).copied()) {
        text.push_str(&format!("    {}\n", in_words(change)));
    }
    if inputs.len() > most {
        let more = inputs.len() - most;
        text.push_str(&format!("    … and {more} more inputs\n"));
    }
    let named = |same: bool| {
        let outputs = pair.outputs.iter().filter(|o| o.same == same);
        let names: Vec<&str> = outputs.map(|o| &*o.output).collect();
        names.join(", ")
    };
    for (names, word) in [
        (named(true), "the same bytes"),
        (named(false), "other bytes"),
    ] {
        if !names.is_empty() {
            text.push_str(&format!("{names}: {word}\n"));
        }
    }
    text
}

/// Columns of a metric on two sides.
pub(super) fn columns(a: &str, b: &str) -> Vec<Column> {
    vec![
        Column::new("metric").naming(),
        Column::figure(a).fields(["a"]),
        Column::figure(b).fields(["b"]),
        Column::figure("difference"),
    ]
}

/// A metric on two sides.
pub(super) fn metric(metric: &MetricDiff) -> Vec<Cell> {
    let number = |x: Option<f64>| x.map_or_else(Cell::empty, Cell::number);
    let by = metric.a.zip(metric.b).map(|(a, b)| b - a);
    let by = by.map(|by| Cell::said(signed(by), vec![Field::Number(by)]));
    vec![
        Cell::text(&metric.name),
        number(metric.a),
        number(metric.b),
        by.unwrap_or_else(Cell::empty),
    ]
}

/// How far apart the parts of an output are.
fn parts(output: &str, parts: &Parts) -> Table {
    let mut columns = vec![
        Column::new("output").naming(),
        Column::new(parts.part.as_str()).naming(),
    ];
    columns.extend(parts.figures.iter().map(Column::figure));
    let mut table = Table::new(columns);
    for (name, figures) in &parts.rows {
        let figures = figures
            .iter()
            .map(|x| x.map_or_else(Cell::empty, Cell::number));
        let named = [Cell::text(output), Cell::text(name)];
        table.push(named.into_iter().chain(figures).collect());
    }
    table
}
