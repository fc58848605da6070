//! `repro metrics`.

mod grids;

use std::path::PathBuf;

use clap::Args;

use super::from::FromArgs;
use super::sharing::network;
use super::tables::{TableArgs, by_instance};
use super::{Context, Exit, PipelineArgs, completing, output};
use crate::ui::cell::{Cell, Field};
use crate::ui::notices;
use crate::ui::style::{bytes, co2e, duration, energy, energy_by, energy_sum};
use crate::ui::table::Column;
use repro_engine::energy::EnergySum;
use repro_engine::results::Results;
use repro_engine::results::costs::Cost;
use repro_engine::results::metrics::{Rows, TableFound, full_name};
use repro_engine::results::runs::options_of_last;

/// Show the values in the metric tables of recorded results.
///
/// The values come from every output named `metrics`, every output file named `metrics.*` (JSON,
/// YAML, CSV, TSV or Parquet; see docs/data.md), and tables that built-in kinds wrote. The last
/// value of each metric is shown, as `split_name` (`test_accuracy`). Runs that differ only in what
/// repeats the experiment (`seed`, and the axes that claims name in `over`) are one row: mean ± half
/// of the 95 % interval, over n repetitions. Axes that claims name in `within` are averaged first.
/// Tables that are summaries of other runs are shown if they are asked for.
#[derive(Debug, Clone, Args)]
pub struct MetricsArgs {
    /// Stages or instances; by default all.
    #[arg(value_name = "TARGETS", add = completing::targets())]
    targets: Vec<String>,
    #[command(flatten)]
    pipeline: PipelineArgs,
    #[command(flatten)]
    from: FromArgs,
    /// Show only metrics whose name contains this. Can be given several times.
    #[arg(long, value_name = "TEXT")]
    name: Vec<String>,
    /// Show each instance on a row of its own, instead of means.
    #[arg(long, conflicts_with = "all")]
    each: bool,
    /// Show every row of every table, instead of the last row of each metric.
    #[arg(long, conflicts_with = "last")]
    all: bool,
    /// Show the last row of each metric (the default).
    #[arg(long)]
    last: bool,
    /// Never use the network: name the tables that are only on a remote, and leave them out.
    #[arg(long)]
    offline: bool,
    /// Write an array with one object per row: instance, output, run, stage, seed, epoch, step,
    /// split, name, value. These are the rows of the instances, not means.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    table: TableArgs,
    /// Show what the executions took instead: seconds, processor seconds, memory, energy with the
    /// method that measured it, and CO₂e if `REPRO_CO2E_G_PER_KWH` was set.
    #[arg(long, conflicts_with_all = ["name", "each", "all", "last", "parquet", "from"])]
    costs: bool,
    /// Write the rows to this file, as one Parquet table: `stage` and `run` say which instance each
    /// is of, and further columns name instance, output and key. `--from` reads it again.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "md", "csv", "sort", "from"])]
    parquet: Option<PathBuf>,
}

/// Runs the command.
pub fn main(context: &Context, args: &MetricsArgs) -> anyhow::Result<Exit> {
    let session = args.pipeline.opening(context).session()?;
    let given = args.from.read_and_tell(&session)?;
    let results = Results::of(&session, &args.targets)?.with(given.as_ref());
    if args.costs {
        return costs(&results, args);
    }
    let tables = results.tables(network(args.offline), &mut notices())?;
    let rows = match args.all {
        true => Rows::All,
        false => Rows::Last,
    };
    let (mut found, mut open) = (Vec::new(), 0);
    for table in &tables {
        let instance = table.instance;
        match &table.found {
            TableFound::Rows(_) | TableFound::Last(_) => found.extend(table.values(rows)),
            TableFound::Open => open += 1,
            TableFound::Elsewhere(why) => crate::say!(
                "warning: the metrics of {instance} are on the remote only ({why}); `repro pull '{instance}'` gets them"
            ),
            TableFound::Unreadable(why) => crate::say!(
                "warning: output `{}` of {instance} is not a table of metrics: {why}",
                table.output
            ),
        }
    }
    let fits =
        |name: &str| args.name.is_empty() || args.name.iter().any(|n| name.contains(n.as_str()));
    found.retain(|metric| fits(&full_name(&metric.row)));
    if args.json {
        output::json(&serde_json::to_value(&found)?)?;
        return Ok(Exit::Done);
    }
    if let Some(path) = &args.parquet {
        let rows = results.gathered(&found);
        (session.catalog.write_gathered)(path, &rows)?;
        crate::say!("wrote {} rows to {}", rows.len(), path.display());
        return Ok(Exit::Done);
    }
    let (number, plan) = (tables.len(), &session.plan);
    let mut said = match (found.is_empty(), number) {
        (true, 0) => "no output is a table of metrics\n".to_owned(),
        (true, _) => "no metric matches\n".to_owned(),
        (false, _) => String::new(),
    };
    let shown = match (args.all, args.each) {
        (true, _) => grids::rows(plan, &found),
        (_, true) => grids::instances(plan, &found),
        _ => {
            let lost = found.iter().filter(|m| !m.row.value.is_finite()).count();
            if lost > 0 {
                crate::say!(
                    "warning: {lost} values are no numbers and are left out of means; `--each` shows them"
                );
            }
            let all = !args.targets.is_empty();
            let (shown, summaries) = grids::means(plan, tables, &context.tools, fits, all);
            if args.table.is_for_terminal() && !summaries.is_empty() {
                let stages = summaries.join(" ");
                said.push_str(
                    &output::colour().dim(&format!("summaries: `repro metrics {stages}`\n")),
                );
            }
            shown
        }
    };
    args.table.write(shown, &said)?;
    if open > 0 {
        crate::say!("{open} of {number} tables have no result yet (see `repro status`)");
    }
    let others = results.tables_shown_otherwise();
    let Some(first) = others.first() else {
        return Ok(Exit::Done);
    };
    let more = match others.len() - 1 {
        0 => " shows another result".to_owned(),
        n => format!(" and {n} more show other results"),
    };
    crate::say!(
        "warning: {first}{more}: the values here are for the parameters as given here and the files as they are now"
    );
    let options = options_of_last(&session);
    if !options.is_empty() {
        let words = options
            .iter()
            .map(|(option, value)| format!("{option} {}", quoted(value)));
        let options = words.collect::<Vec<_>>().join(" ");
        crate::say!(
            "help: the last run had {options}; `repro metrics {options}` reads what it made"
        );
    }
    Ok(Exit::Done)
}

/// What executions took, one line for each.
fn costs(results: &Results, args: &MetricsArgs) -> anyhow::Result<Exit> {
    let costs = results.costs();
    if args.json {
        output::json(&serde_json::to_value(&costs)?)?;
        return Ok(Exit::Done);
    }
    if costs.is_empty() {
        args.table.write(Vec::new(), "nothing was executed yet\n")?;
        return Ok(Exit::Done);
    }
    let mut sum = EnergySum::default();
    let used = costs.iter().filter_map(|c| c.energy);
    used.for_each(|e| sum.add(&e));
    let all = format!("all together: {}\n", energy_sum(&sum));
    let mut columns = vec![
        Column::new("time").fields(["wall_s"]),
        Column::new("processor").fields(["cpu_s"]),
        Column::new("memory").fields(["max_rss_bytes"]),
        Column::new("energy").fields(["joules"]),
        Column::new("by"),
        Column::new("CO₂e").fields(["co2e_g"]),
    ];
    let has_devices = costs.iter().any(|cost| cost.device.is_some());
    columns.extend(has_devices.then(|| Column::new("device")));
    let table = by_instance(
        results.plan(),
        columns,
        costs.iter().map(|cost| {
            let device =
                has_devices.then(|| Cell::text(cost.device.as_deref().unwrap_or_default()));
            let mut all = cells(cost);
            all.extend(device);
            (cost.instance, all)
        }),
    );
    args.table.write(vec![table], &all)?;
    Ok(Exit::Done)
}

fn cells(cost: &Cost) -> Vec<Cell> {
    let quantity = |value: Option<f64>, text: fn(f64) -> String| match value {
        Some(value) => Cell::said(text(value), vec![Field::Number(value)]),
        None => Cell::said("–", Vec::new()),
    };
    let used = cost.energy;
    vec![
        quantity(cost.wall_s, duration),
        quantity(cost.cpu_s, duration),
        quantity(cost.max_rss_bytes, |b| bytes(b as u64)),
        quantity(used.map(|used| used.joules), energy),
        used.map_or_else(
            || Cell::said("–", Vec::new()),
            |used| Cell::text(energy_by(&used)),
        ),
        quantity(used.and_then(|used| used.co2e_g), co2e),
    ]
}

/// Quoted for a shell.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./=:,".contains(c);
    match word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}
