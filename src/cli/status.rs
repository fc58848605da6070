//! `repro status`.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use super::tables::TableArgs;
use super::{Context, Exit, PipelineArgs, completing, output};
use crate::ui::cell::{Cell, Tone};
use crate::ui::lines::reason_text;
use crate::ui::table::{AxisColumns, Column, Table};
use repro_cluster::jobs::{Submitted, submitted};
use repro_engine::results::Results;
use repro_engine::results::instances::{InstanceResult, Origin, ShownInstance};
use repro_engine::survey::Standing;
use repro_report::collect::axes_of;

/// Show which results exist, and what a run would execute.
///
/// cached: a recorded result can be used. stale: the instance had a result under another key;
/// `repro why` says what changed. missing: it never had a result. running: a process is executing
/// it. failed: its last execution, with this very key, failed. held: a claim decides whether it is
/// needed, and has not asked for it. unknown: a program of the project has not been asked yet what
/// it is, or something is not on this machine. Nothing is executed. The exit code is 0 whatever the
/// states are.
#[derive(Debug, Clone, Args)]
pub struct StatusArgs {
    /// Stages (`train`), instances (`train[seed=1]`) or claims; by default all.
    #[arg(value_name = "TARGETS", add = completing::targets())]
    targets: Vec<String>,
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Show one line per instance instead of one per stage.
    #[arg(long)]
    all: bool,
    /// Write an array with one object per instance: instance, stage, axes, kind, state, key,
    /// outputs, shown (where artifacts/ shows these outputs), origin, elsewhere, reason, failure,
    /// submitted (executor, job: where its job may not be over).
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    table: TableArgs,
}

/// Runs the command.
pub fn main(context: &Context, args: &StatusArgs) -> anyhow::Result<Exit> {
    let session = args.pipeline.opening(context).session()?;
    let results = Results::of(&session, &args.targets)?;
    let submitted = submitted(&session.project.state());
    for warning in &session.plan.warnings {
        // Nobody may be listening.
        let _ = writeln!(std::io::stderr(), "warning: {warning}");
    }
    if args.json {
        let shown = results.shown_instances();
        let mut rows = Vec::with_capacity(shown.len());
        for shown in shown {
            let submitted = on_its_way(&shown.result, &submitted);
            rows.push(Row { shown, submitted });
        }
        output::json(&rows)?;
    } else {
        let rows = results.instances();
        let table = match args.all {
            true => by_instance(&rows, &submitted),
            false => by_stage(&rows, &submitted),
        };
        args.table.write(vec![table], "")?;
    }
    Ok(Exit::Done)
}

/// An instance in JSON.
#[derive(Serialize)]
struct Row<'a> {
    #[serde(flatten)]
    shown: ShownInstance<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    submitted: Option<&'a Submitted>,
}

/// What was submitted, by instance.
type OnTheirWay = BTreeMap<Arc<str>, Submitted>;

/// Where an instance without a result was submitted, with the key that it has now.
fn on_its_way<'a>(row: &InstanceResult, submitted: &'a OnTheirWay) -> Option<&'a Submitted> {
    let its = submitted.get(row.instance)?;
    let is_other = matches!((row.key, its.key), (Some(now), Some(then)) if now != then);
    (row.state != Standing::Cached && !is_other).then_some(its)
}

fn said(row: &InstanceResult, submitted: &OnTheirWay) -> String {
    let is_open = row.state != Standing::Running && row.state != Standing::Failed;
    if let Some(its) = on_its_way(row, submitted).filter(|_| is_open) {
        let job = its.job.as_ref();
        let job = job.map_or_else(String::new, |job| format!(" as job {job}"));
        return format!("submitted to `{}`{job}", its.executor);
    }
    let first_line = |text: &String| text.lines().next().map(str::to_owned);
    row.problem
        .clone()
        .or_else(|| row.failure.as_ref().and_then(first_line))
        .or_else(|| row.reason.as_ref().map(reason_text))
        .or_else(|| {
            let from = row.origin.as_ref()?;
            let there = if row.elsewhere { ", there only" } else { "" };
            Some(format!("from {from}{there}"))
        })
        .unwrap_or_default()
}

/// How many results of a stage were not made here.
fn from_others(rows: &[&InstanceResult]) -> String {
    let mut from: BTreeMap<&Origin, (usize, usize)> = BTreeMap::new();
    for row in rows {
        if let Some(origin) = &row.origin {
            let counts = from.entry(origin).or_default();
            counts.0 += 1;
            counts.1 += usize::from(row.elsewhere);
        }
    }
    let said = from.iter().map(|(origin, (n, there))| match there {
        0 => format!("{n} from {origin}"),
        _ => format!("{n} from {origin} ({there} there only)"),
    });
    said.collect::<Vec<_>>().join("; ")
}

fn tone(state: Standing) -> Tone {
    match state {
        Standing::Cached => Tone::Good,
        Standing::Failed => Tone::Bad,
        Standing::Held => Tone::Plain,
        _ => Tone::Open,
    }
}

fn by_instance(rows: &[InstanceResult], submitted: &OnTheirWay) -> Table {
    let axes: Vec<_> = rows.iter().map(|r| axes_of(r.axes)).collect();
    let columns = AxisColumns::of(axes.iter().map(Vec::as_slice));
    let rest = ["kind", "state"];
    let mut heads = vec![Column::new("stage").naming()];
    heads.extend(columns.columns(&["stage", "kind", "state", "note"]));
    heads.extend(rest.map(Column::new));
    heads.push(Column::new("").fields(["note"]));
    let mut table = Table::new(heads);
    for (row, axes) in rows.iter().zip(&axes) {
        let mut cells = vec![Cell::text(row.stage)];
        cells.extend(columns.cells(axes));
        cells.push(Cell::text(row.kind));
        cells.push(Cell::text(row.state.word()).toned(tone(row.state)));
        cells.push(Cell::text(said(row, submitted)));
        table.push(cells);
    }
    table
}

/// Of a stage, how many of its instances were submitted and where; nothing where none was.
fn counted_on_their_way(rows: &[&InstanceResult], submitted: &OnTheirWay) -> Option<String> {
    let mut at: BTreeMap<&str, usize> = BTreeMap::new();
    for its in rows.iter().filter_map(|row| on_its_way(row, submitted)) {
        *at.entry(&its.executor).or_default() += 1;
    }
    let said: Vec<String> = at
        .iter()
        .map(|(executor, count)| format!("{count} submitted to `{executor}`"))
        .collect();
    (!said.is_empty()).then(|| said.join("; ") + " (`repro jobs`)")
}

fn by_stage(rows: &[InstanceResult], submitted: &OnTheirWay) -> Table {
    let mut order: Vec<&str> = Vec::new();
    let mut of: BTreeMap<&str, Vec<&InstanceResult>> = BTreeMap::new();
    for row in rows {
        let rows = of.entry(row.stage).or_default();
        if rows.is_empty() {
            order.push(row.stage);
        }
        rows.push(row);
    }
    let mut table = Table::new(vec![
        Column::new("stage").naming(),
        Column::new("kind"),
        Column::new("state").fields(Standing::ALL.map(Standing::word)),
        Column::new("").fields(["note"]),
    ]);
    for stage in order {
        let rows = &of[stage];
        let count = |state| rows.iter().filter(|r| r.state == state).count() as u64;
        let counts = Standing::ALL.map(|state| (count(state), state.word()));
        let is_done = |state| matches!(state, Standing::Cached | Standing::Held);
        let failed = rows.iter().find(|r| r.state == Standing::Failed);
        let open = failed.or_else(|| rows.iter().find(|r| !is_done(r.state)));
        let worst = Standing::ALL.into_iter().rfind(|s| count(*s) > 0);
        let on_their_way = || counted_on_their_way(rows, submitted);
        let note = match (failed, open) {
            (None, Some(row)) => on_their_way().unwrap_or_else(|| said(row, submitted)),
            (_, Some(row)) => said(row, submitted),
            (_, None) => from_others(rows),
        };
        table.push(vec![
            Cell::text(stage),
            Cell::text(rows[0].kind),
            Cell::counts(&counts).toned(worst.map_or(Tone::Plain, tone)),
            Cell::text(note),
        ]);
    }
    table
}
