//! `repro status`.

use std::collections::BTreeMap;
use std::io::Write;

use clap::Args;
use serde::Serialize;

use super::{Context, Exit, PipelineArgs, open, output};
use crate::ui::aligned;
use crate::ui::lines::reason_text;
use repro_engine::plan::{Instance, Work};
use repro_engine::record::event::Reason;
use repro_engine::session::Session;
use repro_engine::survey::{State, Survey};

/// Show which results are there, and what a run would execute.
///
/// cached: a recorded result serves. stale: it had a result, under another key; `repro why` says what changed.
/// missing: it never had one. running: a process executes it now. failed: its last execution, with this very key,
/// failed. Nothing is executed; the exit code is 0 whatever the states are.
#[derive(Debug, Clone, Args)]
pub struct StatusArgs {
    /// Stages (`train`), instances (`train[seed=1]`) or claims; all of them when absent.
    #[arg(value_name = "TARGETS")]
    targets: Vec<String>,
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// One line per instance instead of one per stage.
    #[arg(long)]
    all: bool,
    /// Write an array with one object per instance: instance, kind, state, key, outputs, origin, elsewhere, reason.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row<'a> {
    instance: &'a str,
    kind: &'a str,
    state: State,
    key: Option<String>,
    outputs: BTreeMap<&'a str, String>,
    /// Where the result comes from, where it was not made here: `remote lab`.
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
    /// Its bytes are on a remote only.
    elsewhere: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a Reason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<&'a str>,
}

/// The kind's name, or `command`.
pub fn kind_name(instance: &Instance) -> &str {
    match &instance.work {
        Work::Kind { kind, .. } => &kind.name,
        Work::Command(_) => "command",
    }
}

/// Runs the command.
pub fn main(context: &Context, args: &StatusArgs) -> anyhow::Result<Exit> {
    let session = open::session(context, &args.pipeline)?;
    let targets = session.targets(&args.targets)?;
    for warning in &session.plan.warnings {
        // Nobody may be listening.
        let _ = writeln!(std::io::stderr(), "warning: {warning}");
    }
    let survey = Survey::of(&session, &targets)?;
    let rows: Vec<Row> = targets
        .iter()
        .filter_map(|index| row(&session, &survey, *index))
        .collect();
    if args.json {
        output::json(&rows)?;
    } else if args.all {
        output::text(&by_instance(&rows))?;
    } else {
        let stages = targets
            .iter()
            .map(|index| &*session.plan.instance(*index).stage);
        output::text(&by_stage(stages, &rows))?;
    }
    Ok(Exit::Done)
}

fn row<'a>(
    session: &'a Session,
    survey: &'a Survey,
    index: repro_engine::plan::InstanceIndex,
) -> Option<Row<'a>> {
    let (instance, seen) = (session.plan.instance(index), survey.get(index)?);
    // What was made here needs no reading of records.
    let foreign = seen.hit.as_ref().filter(|h| h.believed_under.is_some());
    let record = foreign.and_then(|hit| session.record_of(instance, hit));
    let contents = seen.hit.iter().flat_map(|hit| &hit.outputs);
    Some(Row {
        instance: &instance.id,
        kind: kind_name(instance),
        state: seen.state,
        key: seen.key.map(|k| k.hex()),
        outputs: instance
            .outputs
            .iter()
            .zip(contents)
            .map(|(o, c)| (&*o.name, c.to_string()))
            .collect(),
        origin: record.as_ref().and_then(|r| {
            let signers = r.observation.get("signers").and_then(|s| s.as_array());
            let names: Vec<&str> = signers
                .into_iter()
                .flatten()
                .filter_map(|s| s.as_str())
                .collect();
            let by = match names[..] {
                [] => String::new(),
                _ => format!(", signed by {}", names.join(", ")),
            };
            Some(format!("{}{by}", r.origin()?))
        }),
        elsewhere: seen.elsewhere,
        reason: seen.reason.as_ref(),
        problem: seen.problem.as_deref(),
    })
}

fn said(row: &Row) -> String {
    row.problem
        .map(str::to_owned)
        .or_else(|| row.reason.map(reason_text))
        .or_else(|| {
            let from = row.origin.as_ref()?;
            let there = if row.elsewhere { ", there only" } else { "" };
            Some(format!("from {from}{there}"))
        })
        .unwrap_or_default()
}

/// How many results of a stage were not made here.
fn from_others(rows: &[&Row]) -> String {
    let mut from: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
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

fn painted(state: State, text: &str) -> String {
    let colour = output::colour();
    match state {
        State::Cached => colour.green(text),
        State::Failed => colour.red(text),
        _ => colour.yellow(text),
    }
}

fn by_instance(rows: &[Row]) -> String {
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

fn by_stage<'a>(stages: impl Iterator<Item = &'a str>, rows: &[Row]) -> String {
    let mut order: Vec<&str> = Vec::new();
    let mut of: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
    for (stage, row) in stages.zip(rows) {
        let rows = of.entry(stage).or_default();
        if rows.is_empty() {
            order.push(stage);
        }
        rows.push(row);
    }
    let mut cells = Vec::new();
    let mut worst = Vec::new();
    for stage in order {
        let rows = &of[stage];
        let counts =
            State::ALL.map(|state| (rows.iter().filter(|r| r.state == state).count(), state));
        let words: Vec<String> = counts
            .iter()
            .filter(|(n, _)| *n > 0)
            .map(|(n, state)| format!("{n} {}", state.word()))
            .collect();
        let open = rows.iter().find(|r| r.state != State::Cached);
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
                .map_or(State::Cached, |c| c.1),
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
