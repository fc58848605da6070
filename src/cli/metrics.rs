//! `repro metrics`, and the reading of metric tables for `repro diff`.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::json;

use super::sharing::{Network, bring};
use super::{Context, Exit, PipelineArgs, open, output};
use crate::ui::aligned;
use repro_engine::artifacts;
use repro_engine::digest::{Content, Shape};
use repro_engine::plan::InstanceIndex;
use repro_engine::record::event::Event;
use repro_engine::record::journal;
use repro_engine::session::Session;
use repro_engine::survey::Survey;
use repro_protocol::kind::OutputSpec;
use repro_protocol::table::Row;

/// Show the values in the metric tables of recorded results.
///
/// Reads every output called `metrics`, every output file called `metrics.*` (JSON, YAML, CSV, TSV or Parquet; docs/data.md),
/// and tables that built-in kinds wrote. Shown is the last value of each metric, called `split_name` (`test_accuracy`); one
/// line per instance (and per cell, group and seed where a table has several).
#[derive(Debug, Clone, Args)]
pub struct MetricsArgs {
    /// Stages or instances; all of them when absent.
    #[arg(value_name = "TARGETS")]
    targets: Vec<String>,
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Only metrics whose name contains this; may be given several times.
    #[arg(long, value_name = "TEXT")]
    name: Vec<String>,
    /// Every row instead of the last of each metric.
    #[arg(long, conflicts_with = "last")]
    all: bool,
    /// The last row of each metric (the default).
    #[arg(long)]
    last: bool,
    /// Never use the network: say which tables are on a remote only, and leave them out.
    #[arg(long)]
    offline: bool,
    /// Write an array with one object per row: instance, output, run, stage, seed, epoch, step, split, name, value.
    #[arg(long)]
    json: bool,
}

/// `test_accuracy`.
pub fn full_name(row: &Row) -> String {
    row.split
        .as_ref()
        .map_or_else(|| row.name.clone(), |split| format!("{split}_{}", row.name))
}

/// Whether an output is a metric table.
pub fn is_table(name: &str, path: Option<&str>) -> bool {
    is_named(name, path) || path.is_some_and(|p| p.ends_with(".parquet"))
}

/// Whether it says so itself: a Parquet file may hold anything.
fn is_named(name: &str, path: Option<&str>) -> bool {
    let file = path.map(|p| p.rsplit('/').next().unwrap_or(p));
    name == "metrics" || file.is_some_and(|f| f == "metrics" || f.starts_with("metrics."))
}

/// The rows of a table in the store; none of a Parquet file of other columns that is not called `metrics`.
///
/// # Errors
/// It is gone, or no metric table.
pub fn read(
    session: &Session,
    content: &Content,
    (name, path): (&str, Option<&str>),
) -> anyhow::Result<Vec<Row>> {
    drop(session.store.open_object(&content.digest)?);
    let table = (session.catalog.read_table)(&session.store.object_path(&content.digest));
    match table {
        Ok(table) if table.is_own || is_named(name, path) => Ok(table.rows),
        Err(e) if is_named(name, path) => Err(e),
        _ => Ok(Vec::new()),
    }
}

/// The last row of each metric of each cell, group and seed, in the order of first appearance.
pub fn last(rows: Vec<Row>) -> Vec<Row> {
    let mut at: BTreeMap<(Option<String>, Option<String>, Option<i64>, String), usize> =
        BTreeMap::new();
    let mut kept: Vec<Row> = Vec::new();
    for row in rows {
        let key = (
            row.run.clone(),
            row.stage.clone(),
            row.seed,
            full_name(&row),
        );
        match at.get(&key) {
            Some(i) if (kept[*i].epoch, kept[*i].step) <= (row.epoch, row.step) => kept[*i] = row,
            Some(_) => {}
            None => {
                at.insert(key, kept.len());
                kept.push(row);
            }
        }
    }
    kept
}

struct Found<'a> {
    instance: &'a str,
    output: &'a OutputSpec,
    row: Row,
}

/// Runs the command.
pub fn main(context: &Context, args: &MetricsArgs) -> anyhow::Result<Exit> {
    let session = open::session(context, &args.pipeline)?;
    let targets = session.targets(&args.targets)?;
    let survey = Survey::of(&session, &targets)?;
    let tables: Vec<(InstanceIndex, usize)> = targets
        .iter()
        .flat_map(|index| {
            let outputs = session.plan.instance(*index).outputs.iter().enumerate();
            let tables = outputs.filter(|(_, o)| is_table(&o.name, Some(o.path.as_str())));
            tables.map(|(position, _)| (*index, position))
        })
        .collect();
    let content_of = |(index, position): &(InstanceIndex, usize)| -> Option<Content> {
        Some(survey.results[index.0 as usize].as_ref()?[*position])
    };
    let known = tables.iter().filter_map(content_of).collect();
    let absent = bring(&session, known, Network::unless(args.offline))?;
    let (mut found, mut open) = (Vec::new(), 0);
    for table in &tables {
        let instance = session.plan.instance(table.0);
        let output = &instance.outputs[table.1];
        let Some(content) = content_of(table) else {
            open += 1;
            continue;
        };
        if let Some(why) = absent.get(&content) {
            crate::say!(
                "warning: the metrics of {} are on the remote only ({why}); `repro pull '{}'` gets them",
                instance.id,
                instance.id
            );
            continue;
        }
        let rows = match content.shape {
            Shape::File | Shape::Program => read(
                &session,
                &content,
                (&output.name, Some(output.path.as_str())),
            ),
            Shape::Tree => Err(anyhow::anyhow!("it is a directory")),
        };
        match rows {
            Ok(rows) => {
                let rows = if args.all { rows } else { last(rows) };
                let fits = |row: &Row| {
                    args.name.is_empty()
                        || args
                            .name
                            .iter()
                            .any(|n| full_name(row).contains(n.as_str()))
                };
                found.extend(rows.into_iter().filter(fits).map(|row| Found {
                    instance: &instance.id,
                    output,
                    row,
                }));
            }
            Err(e) => crate::say!(
                "warning: output `{}` of {} is not a table of metrics: {e:#}",
                output.name,
                instance.id
            ),
        }
    }
    if args.json {
        output::json(&found.iter().map(as_json).collect::<Vec<_>>())?;
        return Ok(Exit::Done);
    }
    let mut text = if args.all {
        all_table(&found)
    } else {
        last_table(&found)
    };
    if found.is_empty() {
        text = if tables.is_empty() {
            "no output is a table of metrics\n".into()
        } else {
            "no metric fits\n".into()
        };
    }
    output::text(&text)?;
    if open > 0 {
        crate::say!(
            "{open} of {} tables have no result yet (see `repro status`)",
            tables.len()
        );
    }
    tell_of_others(&session, &survey, &targets);
    Ok(Exit::Done)
}

/// What `artifacts/` shows was made with other parameters (`--set`, `--profile`) or from another version of the files: said, since both
/// are called the same.
fn tell_of_others(session: &Session, survey: &Survey, targets: &[InstanceIndex]) {
    let mut others: Vec<String> = Vec::new();
    for index in targets {
        let instance = session.plan.instance(*index);
        let results = survey.results[index.0 as usize].as_ref();
        for (position, output) in instance.outputs.iter().enumerate() {
            let Ok(path) = artifacts::path_of(instance, output) else {
                continue;
            };
            if !is_table(&output.name, Some(output.path.as_str()))
                || !path.under(&session.project.root).exists()
            {
                continue;
            }
            let shown = session.stats.digest_path(&path).ok();
            if shown.is_some() && shown != results.map(|outputs| outputs[position]) {
                others.push(path.to_string());
            }
        }
    }
    let Some(first) = others.first() else { return };
    let more = match others.len() - 1 {
        0 => " shows another result".to_owned(),
        n => format!(" and {n} more show other results"),
    };
    crate::say!(
        "warning: {first}{more}: the values here are for the parameters as given here and the files as they are now"
    );
    if let Some(options) = options_of_last_run(session) {
        crate::say!(
            "help: the last run had {options}; `repro metrics {options}` reads what it made"
        );
    }
}

/// `--set` and `--profile` of the last run that executed or showed anything, as they are written.
fn options_of_last_run(session: &Session) -> Option<String> {
    let dir = session.runs_dir();
    let runs = journal::list(&dir).ok()?;
    let events = journal::read(&dir, runs.last()?).ok()?;
    let args = events.iter().find_map(|event| match event {
        Event::RunStarted { args, .. } => Some(args),
        _ => None,
    })?;
    let mut words = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        for option in ["--set", "--profile"] {
            if arg == option {
                words.extend([
                    arg.clone(),
                    args.next().map(|v| quoted(v)).unwrap_or_default(),
                ]);
            } else if let Some(value) = arg.strip_prefix(option).and_then(|v| v.strip_prefix('=')) {
                words.extend([option.to_owned(), quoted(value)]);
            }
        }
    }
    (!words.is_empty()).then(|| words.join(" "))
}

/// As a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./=:,".contains(c);
    match word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

fn as_json(found: &Found) -> serde_json::Value {
    let row = &found.row;
    json!({
        "instance": found.instance, "output": &*found.output.name, "run": row.run, "stage": row.stage, "seed": row.seed, "epoch": row.epoch,
        "step": row.step, "split": row.split, "name": row.name, "value": row.value,
    })
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

fn all_table(found: &[Found]) -> String {
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
            "instance", "cell", "group", "seed", "epoch", "step", "metric", "value",
        ],
        &cells,
        output::colour(),
        |_, _, cell| cell.to_owned(),
    )
}

/// One table per set of metrics: instances that measure the same stand together.
fn last_table(found: &[Found]) -> String {
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
        head.extend(celled.then_some("cell"));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_row_is_that_of_the_highest_epoch() {
        let row = |epoch: i64, value: f64| Row {
            run: None,
            stage: None,
            seed: None,
            epoch: Some(epoch),
            step: None,
            split: Some("test".into()),
            name: "x".into(),
            value,
        };
        let kept = last(vec![row(1, 0.1), row(3, 0.3), row(2, 0.2)]);
        assert_eq!(kept, [row(3, 0.3)]);
        assert_eq!(full_name(&kept[0]), "test_x");
    }
}
