//! `repro metrics`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;

use super::sharing::network;
use super::{Context, Exit, PipelineArgs, output};
use crate::ui::style::{bytes, co2e, duration, energy, energy_sum};
use crate::ui::{CELL, aligned, notices, stage_of};
use repro_engine::energy::EnergySum;
use repro_engine::results::Results;
use repro_engine::results::costs::Cost;
use repro_engine::results::metrics::{Metric, Rows, TableFound, full_name};
use repro_engine::results::runs::options_of_last;
use repro_protocol::table::Row;

/// Show the values in the metric tables of recorded results.
///
/// The values come from every output named `metrics`, every output file named `metrics.*` (JSON,
/// YAML, CSV, TSV or Parquet; see docs/data.md), and tables that built-in kinds wrote. The last
/// value of each metric is shown, as `split_name` (`test_accuracy`), with one line per instance
/// (and per cell, group and seed if a table has several).
#[derive(Debug, Clone, Args)]
pub struct MetricsArgs {
    /// Stages or instances; by default all.
    #[arg(value_name = "TARGETS")]
    targets: Vec<String>,
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Show only metrics whose name contains this. Can be given several times.
    #[arg(long, value_name = "TEXT")]
    name: Vec<String>,
    /// Show every row instead of the last row of each metric.
    #[arg(long, conflicts_with = "last")]
    all: bool,
    /// Show the last row of each metric (the default).
    #[arg(long)]
    last: bool,
    /// Never use the network: name the tables that are only on a remote, and leave them out.
    #[arg(long)]
    offline: bool,
    /// Write an array with one object per row: instance, output, run, stage, seed, epoch, step,
    /// split, name, value.
    #[arg(long)]
    json: bool,
    /// Show what the executions took instead: seconds, processor seconds, memory, energy with the
    /// method that measured it, and CO₂e if `REPRO_CO2E_G_PER_KWH` was set.
    #[arg(long, conflicts_with_all = ["name", "all", "last", "parquet"])]
    costs: bool,
    /// Write the rows to this file, as one Parquet table: `stage` and `run` say which instance each
    /// is of.
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    parquet: Option<PathBuf>,
}

/// Runs the command.
pub fn main(context: &Context, args: &MetricsArgs) -> anyhow::Result<Exit> {
    let session = args.pipeline.opening(context).session()?;
    let results = Results::of(&session, &args.targets)?;
    if args.costs {
        return costs(&results, args.json);
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
            TableFound::Rows(_) => found.extend(table.values(rows)),
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
    let fits = |metric: &Metric| {
        let name = full_name(&metric.row);
        args.name.is_empty() || args.name.iter().any(|n| name.contains(n.as_str()))
    };
    found.retain(fits);
    if args.json {
        output::json(&serde_json::to_value(&found)?)?;
        return Ok(Exit::Done);
    }
    if let Some(path) = &args.parquet {
        let rows = Vec::from_iter(found.iter().map(of_instance));
        (session.catalog.write_table)(path, &rows)?;
        crate::say!("wrote {} rows to {}", rows.len(), path.display());
        return Ok(Exit::Done);
    }
    output::text(&match (found.is_empty(), tables.is_empty()) {
        (true, true) => "no output is a table of metrics\n".to_owned(),
        (true, false) => "no metric matches\n".to_owned(),
        (false, _) if args.all => all_table(&found),
        (false, _) => last_table(&found),
    })?;
    if open > 0 {
        crate::say!(
            "{open} of {} tables have no result yet (see `repro status`)",
            tables.len()
        );
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
fn costs(results: &Results, is_json: bool) -> anyhow::Result<Exit> {
    let costs = results.costs();
    if is_json {
        output::json(&serde_json::to_value(&costs)?)?;
        return Ok(Exit::Done);
    }
    if costs.is_empty() {
        output::text("nothing was executed yet\n")?;
        return Ok(Exit::Done);
    }
    let mut sum = EnergySum::default();
    let row = |cost: &Cost| {
        let used = cost.energy;
        vec![
            cost.instance.to_owned(),
            optional(cost.wall_s.map(duration)),
            optional(cost.cpu_s.map(duration)),
            optional(cost.max_rss_bytes.map(|b| bytes(b as u64))),
            optional(used.map(|used| energy(used.joules))),
            optional(used.map(|used| used.method.word())),
            optional(used.and_then(|used| used.co2e_g).map(co2e)),
        ]
    };
    costs
        .iter()
        .filter_map(|c| c.energy)
        .for_each(|e| sum.add(&e));
    let rows: Vec<Vec<String>> = costs.iter().map(row).collect();
    let columns = [
        "instance",
        "time",
        "processor",
        "memory",
        "energy",
        "by",
        "CO₂e",
    ];
    let table = aligned(&columns, &rows, output::colour(), |_, _, cell| {
        cell.to_owned()
    });
    output::text(&format!("{table}all together: {}\n", energy_sum(&sum)))?;
    Ok(Exit::Done)
}

/// The row, with the names of its instance: `fresh[seed=1]` is the run `seed=1` of the stage
/// `fresh`. What the table itself says of stages and runs follows.
fn of_instance(metric: &Metric) -> Row {
    let stage = stage_of(metric.instance);
    let axes = metric.instance[stage.len()..].trim_matches(['[', ']']);
    let own = [metric.row.stage.as_deref(), metric.row.run.as_deref()];
    let run = [Some(axes)].into_iter().chain(own).flatten();
    let run = Vec::from_iter(run.filter(|part| !part.is_empty())).join(" ");
    Row {
        stage: Some(stage.to_owned()),
        run: (!run.is_empty()).then_some(run),
        ..metric.row.clone()
    }
}

/// Quoted for a shell.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./=:,".contains(c);
    match word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

fn optional<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "–".to_owned(), |v| v.to_string())
}

fn number(value: f64) -> String {
    if value == 0.0 || (1e-3..1e6).contains(&value.abs()) {
        format!("{value:.4}")
    } else {
        format!("{value:.4e}")
    }
}

fn all_table(found: &[Metric]) -> String {
    let cells: Vec<Vec<String>> = found
        .iter()
        .map(|f| {
            vec![
                f.instance.to_owned(),
                optional(f.row.run.clone()),
                optional(f.row.stage.clone()),
                optional(f.row.seed),
                optional(f.row.epoch),
                optional(f.row.step),
                full_name(&f.row),
                number(f.row.value),
            ]
        })
        .collect();
    aligned(
        &[
            "instance", CELL, "group", "seed", "epoch", "step", "metric", "value",
        ],
        &cells,
        output::colour(),
        |_, _, cell| cell.to_owned(),
    )
}

/// One table per set of metrics: instances with the same metrics share a table.
fn last_table(found: &[Metric]) -> String {
    type Line<'a> = (&'a str, Option<&'a str>, Option<&'a str>, Option<i64>);
    let mut lines: Vec<(Line, BTreeMap<String, f64>)> = Vec::new();
    for f in found {
        let (cell, group) = (f.row.run.as_deref(), f.row.stage.as_deref());
        let line: Line = (f.instance, cell, group, f.row.seed);
        let here = match lines.iter().rposition(|(l, _)| *l == line) {
            Some(at) => at,
            None => {
                lines.push((line, BTreeMap::new()));
                lines.len() - 1
            }
        };
        lines[here].1.insert(full_name(&f.row), f.row.value);
    }
    let mut tables: Vec<(Vec<&str>, Vec<usize>)> = Vec::new();
    for (i, (_, values)) in lines.iter().enumerate() {
        let names: Vec<&str> = values.keys().map(String::as_str).collect();
        match tables.iter_mut().find(|(n, _)| *n == names) {
            Some((_, members)) => members.push(i),
            None => tables.push((names, vec![i])),
        }
    }
    let mut text = String::new();
    for (names, members) in &tables {
        let celled = members.iter().any(|i| lines[*i].0.1.is_some());
        let grouped = members.iter().any(|i| lines[*i].0.2.is_some());
        let seeded = members.iter().any(|i| lines[*i].0.3.is_some());
        let mut head = vec!["instance"];
        head.extend(celled.then_some(CELL));
        head.extend(grouped.then_some("group"));
        head.extend(seeded.then_some("seed"));
        head.extend(names);
        let cells: Vec<Vec<String>> = members
            .iter()
            .map(|i| {
                let ((instance, cell, group, seed), values) = &lines[*i];
                let mut cells = vec![(*instance).to_owned()];
                cells.extend(celled.then(|| optional(*cell)));
                cells.extend(grouped.then(|| optional(*group)));
                cells.extend(seeded.then(|| optional(*seed)));
                cells.extend(values.values().map(|v| number(*v)));
                cells
            })
            .collect();
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&aligned(&head, &cells, output::colour(), |_, _, cell| {
            cell.to_owned()
        }));
    }
    text
}
