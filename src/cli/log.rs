//! `repro log`.

use clap::Args;

use super::tables::TableArgs;
use super::{Context, Exit, PipelineArgs, output};
use crate::ui::cell::{Cell, Field, Tone};
use crate::ui::style::duration;
use crate::ui::table::{Column, Table};
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
    #[command(flatten)]
    table: TableArgs,
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
        args.table.write(Vec::new(), "no run is recorded\n")?;
        return Ok(Exit::Done);
    }
    let names = journal::list(&dir)?;
    let mut table = Table::new(vec![
        Column::new("run").naming(),
        Column::new("when").fields(["at"]),
        Column::figure("executed"),
        Column::figure("cached"),
        Column::figure("failed"),
        Column::new("took").fields(["wall_s", "end"]),
        Column::new("claims").fields(["hold", "refuted", "inconclusive"]),
        Column::new("command"),
    ]);
    for run in &runs {
        table.push(row(run, &names));
    }
    // Most projects declare no claims, and most lines have no more room.
    args.table.write(vec![table.without_empty()], "")?;
    Ok(Exit::Done)
}

fn row(run: &Run, names: &[String]) -> Vec<Cell> {
    let command = run.args().get(1..).unwrap_or_default().join(" ");
    let name = Cell::said(
        short_name(&run.name, names),
        vec![Field::Text(run.name.clone())],
    );
    let when = Cell::said(day(run.at()), vec![Field::Text(run.at().to_owned())]);
    let Some(summary) = run.summary() else {
        let unknown = || Cell::said("?", Vec::new());
        let end = vec![Field::None, Field::Text("not ended".to_owned())];
        return vec![
            name,
            when,
            unknown(),
            unknown(),
            unknown(),
            Cell::said("not ended", end).toned(Tone::Open),
            Cell::empty(),
            Cell::text(command),
        ];
    };
    let count = |verdict: Verdict| {
        let claims = summary.claims.iter();
        claims.filter(|c| c.verdict == verdict).count() as u64
    };
    let claims = [
        (count(Verdict::Holds), "hold"),
        (count(Verdict::Refuted), "refuted"),
        (count(Verdict::Inconclusive), "inconclusive"),
    ];
    let end = match (summary.interrupted, summary.dry_run) {
        (true, _) => "interrupted",
        (_, true) => "dry run",
        _ => "",
    };
    let took = match end {
        "" => duration(summary.wall_s),
        end => format!("{}, {end}", duration(summary.wall_s)),
    };
    let failed = summary.failed + summary.unstable;
    let bad = if failed > 0 { Tone::Bad } else { Tone::Plain };
    vec![
        name,
        when,
        Cell::count(summary.executed),
        Cell::count(summary.cached),
        Cell::count(failed).toned(bad),
        Cell::said(
            took,
            vec![Field::Number(summary.wall_s), Cell::text(end).field(0)],
        ),
        Cell::counts(&claims),
        Cell::text(command),
    ]
}

/// The minute in the user's time zone. The year is left out: the name of the run has it.
fn day(at: &str) -> String {
    let when = output::when(at);
    when.get(5..).unwrap_or(&when).to_owned()
}
