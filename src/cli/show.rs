//! `repro show`: a run, an instance, or anything that has a key.

use clap::Args;

use super::{Context, Exit, PipelineArgs, completing, output};
use crate::ui::lines;
use crate::ui::style::{bytes, duration, energy_used, placement};
use repro_engine::change;
use repro_engine::energy::Energy;
use repro_engine::placement::Placement;
use repro_engine::record::event::Event;
use repro_engine::record::history::Run;
use repro_engine::results::recorded::{Named, Recorded, RecordedResult, named};
use repro_engine::store::Fact;

/// Show a run, an instance, or a recorded result.
///
/// For a run (`last`, `last-1`, or its name): what it did. For an instance or a key (at least its
/// first four hexadecimal digits): exactly what the key is made of, the outputs, and who made them
/// when.
#[derive(Debug, Clone, Args)]
pub struct ShowArgs {
    /// A run, an instance, or the beginning of a key.
    #[arg(value_name = "RUN|INSTANCE|KEY", add = completing::targets())]
    what: String,
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Write one object.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn main(context: &Context, args: &ShowArgs) -> anyhow::Result<Exit> {
    let named = named(&args.pipeline.opening(context), &args.what)?;
    match (&named, args.json) {
        (Named::Run(run), true) => output::json(&serde_json::to_value(run)?)?,
        (Named::Recorded(recorded), true) => output::json(&serde_json::to_value(recorded)?)?,
        (Named::Run(run), false) => output::text(&run_text(run))?,
        (Named::Recorded(recorded), false) => output::text(&recorded_text(recorded)?)?,
    }
    Ok(Exit::Done)
}

fn recorded_text(recorded: &Recorded) -> anyhow::Result<String> {
    let Recorded { instance, key, .. } = recorded;
    let mut text = instance
        .iter()
        .map(|id| format!("{id}\n"))
        .collect::<String>();
    let preimage = serde_json::to_string_pretty(&recorded.preimage)?;
    let id = instance.as_deref().unwrap_or("INSTANCE");
    if recorded.results.is_empty() {
        text.push_str(&format!("key {key}\n"));
        text.push_str(&match recorded.preimage.is_null() {
            false => format!("no result is recorded\n{preimage}\n"),
            true => format!(
                "its result is on the remote only, and nothing else about it is known here; `repro pull '{id}'` gets it\n"
            ),
        });
        return Ok(text);
    }
    text.push_str(&format!("key {key}, made of:\n{preimage}\n"));
    for result in &recorded.results {
        text.push_str(&result_text(result));
        if result.elsewhere {
            text.push_str(&format!(
                "  its bytes are on the remote only; `repro pull '{id}'` gets them\n"
            ));
        }
        if let Some(why) = &result.disbelieved {
            text.push_str(&format!("  not trusted by this project: {why}\n"));
        }
    }
    Ok(text)
}

fn result_text(result: &RecordedResult) -> String {
    let mut text = format!("\nresult {}\n", result.result.short());
    for (name, content) in &result.outputs {
        text.push_str(&format!(
            "  {name}: {content} ({})\n",
            bytes(content.bytes_total)
        ));
    }
    let used = Energy::of(&result.observation);
    let placed = Placement::of(&result.observation);
    for (name, value) in result.observation.all() {
        let is = |fact: Fact| name == fact.name();
        // What is said with its unit needs none in its name.
        let (name, said) = match value.as_f64() {
            Some(seconds) if is(Fact::WallS) => ("wall", duration(seconds)),
            Some(seconds) if is(Fact::CpuS) => ("cpu", duration(seconds)),
            Some(count) if is(Fact::MaxRssBytes) => ("max_rss", bytes(count as u64)),
            None if is(Fact::Energy) => (
                name.as_str(),
                used.map_or_else(|| change::plain(value), |u| energy_used(&u)),
            ),
            None if is(Fact::Placed) => (
                name.as_str(),
                placed.map_or_else(|| change::plain(value), |p| placement(&p)),
            ),
            _ => (name.as_str(), change::plain(value)),
        };
        text.push_str(&format!("  {name}: {said}\n"));
    }
    text
}

fn run_text(run: &Run) -> String {
    let colour = output::colour();
    let mut text = format!(
        "run {}\n  {}\n  {}\n\n",
        run.name,
        output::when(run.at()),
        run.args().join(" ")
    );
    for event in &run.events {
        for line in lines::text(event, colour) {
            text.push_str(&line);
            text.push('\n');
        }
    }
    match run.summary() {
        Some(summary) => text.push_str(&crate::ui::verdicts(&summary.claims, colour)),
        None if !run.events.iter().any(|e| matches!(e, Event::Summary(_))) => {
            text.push_str("it has not ended: it was killed, or is running\n");
        }
        None => {}
    }
    text
}
