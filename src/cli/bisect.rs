//! `repro bisect`.

use std::sync::Arc;

use clap::Args;

use super::run::{Told as SignalsTold, watch_signals};
use super::{Context, Exit, PipelineArgs, completing, output};
use crate::terminal::Colour;
use crate::ui::Lines;
use crate::ui::style::counted;
use repro_engine::bisect::{Answer, Question, Step, Told, bisect};
use repro_engine::exec::Cancel;
use repro_engine::record::event::Event;
use repro_engine::run::RunOptions;

/// Find the change between two commits or runs that flipped the verdict on a claim.
///
/// Plans that have some of the changes are made and run, half of the changes at a time, until a
/// smallest set is left that flips the verdict alone. A change is a field of the pipeline, or another
/// file of the repository. Most of such a plan is cached. Your files, artifacts/ and repro.lock stay
/// as they are; files that git does not track are used as they are now.
///
/// Runs (`last-1`, or the beginning of a name in `repro log`) need no commits: a run records the text
/// of its pipeline and its options, and short texts among its inputs are remembered. An option
/// (`--set`, `--profile`) is a change, too. A run is not compared with a commit.
#[derive(Debug, Clone, Args)]
pub struct BisectArgs {
    /// The claim.
    #[arg(value_name = "CLAIM", add = completing::claims())]
    claim: String,
    /// The commit or run with one verdict, such as `HEAD~3` or `last-1`.
    #[arg(value_name = "BEFORE")]
    before: String,
    /// The commit or run with another verdict; by default the files as they are now.
    #[arg(value_name = "AFTER")]
    after: Option<String>,
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Use this many cores; by default all.
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    jobs: Option<u32>,
    /// Never use the network.
    #[arg(long)]
    offline: bool,
    /// Write the answer as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn main(context: &Context, args: &BisectArgs) -> anyhow::Result<Exit> {
    let cancel = Arc::new(Cancel::new()?);
    watch_signals(&cancel, SignalsTold::ByTheRun)?;
    let options = RunOptions {
        jobs: args.jobs,
        offline: args.offline,
        ..RunOptions::new(context.args.clone(), cancel, std::env::current_exe()?)
    };
    let question = Question {
        claim: args.claim.clone(),
        before: args.before.clone(),
        after: args.after.clone(),
    };
    let mut lines = Lines::new(Colour::of(&std::io::stderr()));
    let opening = args.pipeline.opening(context);
    let answer = bisect(&opening, &options, &question, &mut |step| match step {
        Step::Changes(n) => crate::say!("{}", counted(n, "change")),
        Step::Trying(_) => {}
        Step::Of(event) => {
            // What is cached, and sums, are told once for each plan.
            if !matches!(event, Event::Cached { .. } | Event::Summary(_)) {
                lines.show(event);
            }
        }
        Step::Tried {
            changes,
            told,
            executed,
            cached,
        } => crate::say!(
            "with {}: {} ({executed} executed, {cached} cached)",
            counted(changes, "change"),
            match told {
                Told::Verdict(verdict) => verdict.word(),
                Told::Nothing(_) => "no verdict",
            }
        ),
    })?;
    match args.json {
        true => output::json(&answer)?,
        false => output::text(&told(&args.claim, &answer))?,
    }
    Ok(Exit::Done)
}

fn told(claim: &str, answer: &Answer) -> String {
    let flips = match answer.changes.len() {
        1 => "this change flips",
        _ => "these changes together flip",
    };
    let mut text = format!(
        "{flips} {claim} from {} to {}:\n",
        answer.before.word(),
        answer.after.word()
    );
    for change in &answer.changes {
        text.push_str(&format!("  {change}\n"));
    }
    text.push_str(&format!(
        "{} of {}; {} run, {} executed\n",
        answer.changes.len(),
        counted(answer.all, "change"),
        counted(answer.tried, "plan"),
        counted(answer.executed as usize, "action"),
    ));
    text
}
