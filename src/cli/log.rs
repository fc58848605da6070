//! `repro log`.

use clap::Args;

use super::{Context, Exit, PipelineArgs, output};
use crate::ui::aligned;
use crate::ui::style::duration;
use repro_engine::record::event::Verdict;
use repro_engine::record::history::Run;
use repro_engine::record::journal;
use repro_engine::results::runs::{latest, short_name};

/// List the runs of this project, newest first.
///
/// A run that executed nothing is listed too. A run that was killed has no counts. `repro show RUN`
/// says what a run did; RUN is the name of a run, a beginning of the name that no other run shares,
/// or `last`, `last-1` ...
#[derive(Debug, Clone, Args)]
pub struct LogArgs {
    /// List at most this many runs.
    #[arg(short, long, value_name = "N", default_value_t = 20)]
    n: usize,
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Write an array of objects: run, at, args, and summary (null if the run was killed).
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn main(context: &Context, args: &LogArgs) -> anyhow::Result<Exit> {
    let dir = args
        .pipeline
        .opening(context)
        .project()?
        .state()
        .join("runs");
    let runs = latest(&dir, args.n)?;
    if args.json {
        let ends: Vec<_> = runs.iter().map(Run::ends).collect();
        output::json(&serde_json::to_value(ends)?)?;
        return Ok(Exit::Done);
    }
    if runs.is_empty() {
        output::text("no run is recorded\n")?;
        return Ok(Exit::Done);
    }
    let names = journal::list(&dir)?;
    let cells: Vec<Vec<String>> = runs.iter().map(|run| row(run, &names)).collect();
    let mut head = vec![
        "run", "when", "executed", "cached", "failed", "took", "claims",
    ];
    let mut cells = cells;
    // Most projects declare none, and most lines have no more room.
    if cells.iter().all(|row| row[6].is_empty()) {
        head.remove(6);
        cells.iter_mut().for_each(|row| drop(row.remove(6)));
    }
    head.push("command");
    let table = aligned(&head, &cells, output::colour(), |_, _, cell| {
        cell.to_owned()
    });
    output::text(&table)?;
    Ok(Exit::Done)
}

fn row(run: &Run, names: &[String]) -> Vec<String> {
    let command = run.args().get(1..).unwrap_or_default().join(" ");
    let Some(summary) = run.summary() else {
        return vec![
            short_name(&run.name, names).to_owned(),
            day(run.at()),
            "?".into(),
            "?".into(),
            "?".into(),
            "not ended".into(),
            String::new(),
            command,
        ];
    };
    let count = |verdict: Verdict| {
        summary
            .claims
            .iter()
            .filter(|c| c.verdict == verdict)
            .count()
    };
    let claims = [
        (count(Verdict::Holds), "hold"),
        (count(Verdict::Refuted), "refuted"),
        (count(Verdict::Inconclusive), "inconclusive"),
    ];
    let claims: Vec<String> = claims
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, word)| format!("{n} {word}"))
        .collect();
    let took = duration(summary.wall_s)
        + match (summary.interrupted, summary.dry_run) {
            (true, _) => ", interrupted",
            (_, true) => ", dry run",
            _ => "",
        };
    vec![
        short_name(&run.name, names).to_owned(),
        day(run.at()),
        summary.executed.to_string(),
        summary.cached.to_string(),
        (summary.failed + summary.unstable).to_string(),
        took,
        claims.join(", "),
        command,
    ]
}

/// The minute in the user's time zone. The year is left out: the name of the run has it.
fn day(at: &str) -> String {
    let when = output::when(at);
    when.get(5..).unwrap_or(&when).to_owned()
}
