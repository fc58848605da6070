//! Two sets of instances side by side: means of both, and the mean of differences over pairs.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Context, DiffArgs, Exit, network, notices, output};
use crate::ui::cell::Cell;
use crate::ui::table::{Column, Table};
use repro_engine::plan::InstanceIndex;
use repro_engine::results::Results;
use repro_engine::results::metrics::TableFound;
use repro_engine::session::Session;
use repro_report::Tools;
use repro_report::collect::runs;

/// What was observed of a metric: by repetition, the mean over whatever else a set has.
type Observed = BTreeMap<String, f64>;

/// A metric on both sides.
#[derive(Serialize)]
struct Compared {
    name: String,
    a: Option<Mean>,
    b: Option<Mean>,
    /// Of b − a, over the repetitions that both sides have.
    difference: Option<Mean>,
}

/// A mean over repetitions.
#[derive(Serialize)]
struct Mean {
    mean: f64,
    low: Option<f64>,
    high: Option<f64>,
    n: u64,
}

impl Mean {
    fn of(values: &[f64], tools: &Tools) -> Option<Mean> {
        if values.is_empty() {
            return None;
        }
        let (mean, band) = (tools.mean)(values);
        Some(Mean {
            mean,
            low: band.map(|b| b[0]),
            high: band.map(|b| b[1]),
            n: values.len() as u64,
        })
    }

    /// `n` is that of the row.
    fn cell(mean: Option<&Mean>, n: u64) -> Cell {
        mean.map_or_else(Cell::empty, |m| {
            Cell::mean(m.mean, m.low.zip(m.high).map(|(l, h)| [l, h]), m.n, n)
        })
    }
}

/// Writes two sets in the form that was asked for.
pub(super) fn show(
    context: &Context,
    session: &Session,
    sets: [Vec<InstanceIndex>; 2],
    args: &DiffArgs,
) -> anyhow::Result<Exit> {
    let names = [&args.a, &args.b].map(|name| name.clone().unwrap_or_default());
    let mut sides = Vec::new();
    for (name, set) in names.iter().zip(sets) {
        sides.push(side(context, session, (name, set), args)?);
    }
    let (a, b) = (&sides[0], &sides[1]);
    let tools = &context.tools;
    let all = a
        .order
        .iter()
        .chain(b.order.iter().filter(|n| !a.order.contains(n)));
    let mut compared: Vec<Compared> = all.map(|name| compare(name, [a, b], tools)).collect();
    compared.retain(|c| c.a.is_some() || c.b.is_some());
    anyhow::ensure!(
        !compared.is_empty(),
        "neither `{}` nor `{}` has a recorded metric; `repro run` makes them",
        names[0],
        names[1]
    );
    if args.json {
        let said = serde_json::json!({"a": names[0], "b": names[1], "metrics": compared});
        output::json(&said)?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(vec![
        Column::new("metric").naming(),
        Column::mean("a"),
        Column::mean("b"),
        Column::mean("difference"),
        Column::figure("n"),
    ]);
    for metric in &compared {
        let n = metric.difference.as_ref().map_or(0, |d| d.n);
        table.push(vec![
            Cell::text(&metric.name),
            Mean::cell(metric.a.as_ref(), n),
            Mean::cell(metric.b.as_ref(), n),
            Mean::cell(metric.difference.as_ref(), n),
            Cell::count(n),
        ]);
    }
    if args.table.is_for_terminal() {
        let colour = output::colour();
        let count = |side: &Side| match side.instances {
            1 => "1 instance".to_owned(),
            n => format!("{n} instances"),
        };
        output::text(&format!(
            "{} ({}) → {} ({})\n",
            colour.bold(&names[0]),
            count(a),
            colour.bold(&names[1]),
            count(b)
        ))?;
    }
    args.table.write(vec![table], "")?;
    Ok(Exit::Done)
}

/// One side: what was observed of each metric.
struct Side {
    instances: usize,
    metrics: BTreeMap<String, Observed>,
    /// The metrics in the order in which readers ask for them.
    order: Vec<String>,
}

fn side(
    context: &Context,
    session: &Session,
    (name, set): (&str, Vec<InstanceIndex>),
    args: &DiffArgs,
) -> anyhow::Result<Side> {
    let instances = set.len();
    let results = Results::of_targets(session, set)?;
    let tables = results.tables(network(args.offline), &mut notices())?;
    let is_open = |found: &TableFound| matches!(found, TableFound::Open | TableFound::Elsewhere(_));
    let open = tables.iter().filter(|t| is_open(&t.found)).count();
    if open > 0 {
        crate::say!(
            "warning: {open} of {} tables of `{name}` are not here and are left out (see `repro status`)",
            tables.len()
        );
    }
    let (arms, order) = runs(&session.plan, tables, &context.tools);
    // What a set has several of is averaged within each repetition: n counts repetitions.
    let mut sums: BTreeMap<String, BTreeMap<String, (f64, f64)>> = BTreeMap::new();
    for (metric, measured) in arms.into_iter().flat_map(|arm| arm.metrics) {
        let of = sums.entry(metric).or_default();
        for (repetition, value) in measured.values.into_iter().filter(|(_, v)| v.is_finite()) {
            let sum = of.entry(repetition).or_default();
            *sum = (sum.0 + value, sum.1 + 1.0);
        }
    }
    let mean = |of: BTreeMap<String, (f64, f64)>| -> Observed {
        of.into_iter().map(|(r, (sum, n))| (r, sum / n)).collect()
    };
    Ok(Side {
        instances,
        metrics: sums
            .into_iter()
            .map(|(name, of)| (name, mean(of)))
            .collect(),
        order,
    })
}

fn compare(name: &str, [a, b]: [&Side; 2], tools: &Tools) -> Compared {
    let (of_a, of_b) = (a.metrics.get(name), b.metrics.get(name));
    let mean = |of: Option<&Observed>| {
        let values: Vec<f64> = of.into_iter().flat_map(BTreeMap::values).copied().collect();
        Mean::of(&values, tools)
    };
    let pairs = of_a.zip(of_b).map(|(a, b)| {
        let both = a.iter().filter_map(|(r, a)| Some(b.get(r)? - a));
        both.collect::<Vec<f64>>()
    });
    Compared {
        name: name.to_owned(),
        a: mean(of_a),
        b: mean(of_b),
        difference: pairs.and_then(|pairs| Mean::of(&pairs, tools)),
    }
}
