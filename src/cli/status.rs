//! `repro status`.

use std::collections::BTreeMap;
use std::io::Write;

use clap::Args;

use super::{Context, Exit, PipelineArgs, output};
use crate::ui::aligned;
use crate::ui::lines::reason_text;
use repro_engine::results::Results;
use repro_engine::results::instances::{InstanceResult, Origin};
use repro_engine::survey::Standing;

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
    #[arg(value_name = "TARGETS")]
    targets: Vec<String>,
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Show one line per instance instead of one per stage.
    #[arg(long)]
    all: bool,
    /// Write an array with one object per instance: instance, kind, state, key, outputs, origin,
    /// elsewhere, reason.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn main(context: &Context, args: &StatusArgs) -> anyhow::Result<Exit> {
    let session = args.pipeline.opening(context).session()?;
    let results = Results::of(&session, &args.targets)?;
    for warning in &session.plan.warnings {
        // Nobody may be listening.
        let _ = writeln!(std::io::stderr(), "warning: {warning}");
    }
    let rows = results.instances();
    if args.json {
        output::json(&rows)?;
    } else if args.all {
        output::text(&by_instance(&rows))?;
    } else {
        output::text(&by_stage(&rows))?;
    }
    Ok(Exit::Done)
}

fn said(row: &InstanceResult) -> String {
    row.problem
        .clone()
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

fn painted(state: Standing, text: &str) -> String {
    let colour = output::colour();
    match state {
        Standing::Cached => colour.green(text),
        Standing::Failed => colour.red(text),
        Standing::Held => text.to_owned(),
        _ => colour.yellow(text),
    }
}

fn by_instance(rows: &[InstanceResult]) -> String {
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|r| {
            vec![
                r.instance.to_owned(),
                r.kind.to_owned(),
                r.state.word().to_owned(),
                said(r),
            ]
        })
        .collect();
    aligned(
        &["instance", "kind", "state", ""],
        &cells,
        output::colour(),
        |i, column, cell| {
            if column == 2 {
                painted(rows[i].state, cell)
            } else {
                cell.to_owned()
            }
        },
    )
}

fn by_stage(rows: &[InstanceResult]) -> String {
    let mut order: Vec<&str> = Vec::new();
    let mut of: BTreeMap<&str, Vec<&InstanceResult>> = BTreeMap::new();
    for row in rows {
        let rows = of.entry(row.stage).or_default();
        if rows.is_empty() {
            order.push(row.stage);
        }
        rows.push(row);
    }
    let mut cells = Vec::new();
    let mut worst = Vec::new();
    for stage in order {
        let rows = &of[stage];
        let counts =
            Standing::ALL.map(|state| (rows.iter().filter(|r| r.state == state).count(), state));
        let words: Vec<String> = counts
            .iter()
            .filter(|(n, _)| *n > 0)
            .map(|(n, state)| format!("{n} {}", state.word()))
            .collect();
        let is_done = |state| matches!(state, Standing::Cached | Standing::Held);
        let open = rows.iter().find(|r| !is_done(r.state));
        cells.push(vec![
            stage.to_owned(),
            rows[0].kind.to_owned(),
            words.join(", "),
            match open {
                Some(row) => said(row),
                None => from_others(rows),
            },
        ]);
        worst.push(
            counts
                .iter()
                .rev()
                .find(|(n, _)| *n > 0)
                .map_or(Standing::Cached, |c| c.1),
        );
    }
    aligned(
        &["stage", "kind", "state", ""],
        &cells,
        output::colour(),
        |i, column, cell| {
            if column == 2 {
                painted(worst[i], cell)
            } else {
                cell.to_owned()
            }
        },
    )
}
