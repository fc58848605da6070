//! `repro show`: a run, an instance, or whatever has a key.

use clap::Args;
use serde_json::{Value, json};

use super::{Context, Exit, PipelineArgs, open, output};
use crate::digest::Digest;
use crate::explain;
use crate::record::event::Event;
use crate::record::history::{self, Run};
use crate::record::journal;
use crate::store::{Record, Store};
use crate::survey::Survey;
use crate::ui::lines;
use crate::ui::style::{bytes, duration};

/// Digits of a key that are enough to be looked up.
const PREFIX_MIN: usize = 4;

/// Show a run, an instance, or a recorded result.
///
/// A run (`last`, `last-1`, or its name): what it did. An instance or a key (its first four hexadecimal digits or more):
/// exactly what the key is made of, the outputs, and who made them when.
#[derive(Debug, Clone, Args)]
pub struct ShowArgs {
    /// A run, an instance, or the beginning of a key.
    #[arg(value_name = "RUN|INSTANCE|KEY")]
    what: String,
    #[command(flatten)]
    pipeline: PipelineArgs,
    /// Write one object.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn main(context: &Context, args: &ShowArgs) -> anyhow::Result<Exit> {
    let project = open::project(&args.pipeline)?;
    let dir = project.state().join("runs");
    let runs = journal::list(&dir)?;
    let as_run = history::named(&runs, &args.what);
    if let Ok(run) = as_run {
        run_shown(&Run::read(&dir, run)?, args.json)?;
        return Ok(Exit::Done);
    }
    let what = &args.what;
    if what.len() >= PREFIX_MIN && what.bytes().all(|b| b.is_ascii_hexdigit()) {
        let store = open::store()?;
        match store.keys_with_prefix(what)[..] {
            [] => {}
            [key] => {
                key_shown(&store, None, &key, args.json)?;
                return Ok(Exit::Done);
            }
            [a, b, ..] => anyhow::bail!(
                "`{what}` could be {} or {}; write more of it",
                a.hex(),
                b.hex()
            ),
        }
    }
    let session = open::session(context, &args.pipeline)?;
    let targets = session
        .targets(std::slice::from_ref(what))
        .map_err(|e| anyhow::anyhow!("`{what}` is no run and no key; {e}"))?;
    let [index] = targets[..] else {
        let names: Vec<&str> = targets
            .iter()
            .take(10)
            .map(|i| &*session.plan.instance(*i).id)
            .collect();
        anyhow::bail!(
            "`{what}` has {} instances; name one: {}",
            targets.len(),
            names.join(", ")
        );
    };
    let survey = Survey::of(&session, &targets)?;
    let id = &*session.plan.instance(index).id;
    let Some(key) = survey.get(index).and_then(|s| s.key) else {
        anyhow::bail!(
            "the key of `{id}` is not known yet: what it needs has no result (see `repro why {id}`)"
        );
    };
    if session.store.lookup(&key).is_empty() {
        let preimage = survey
            .get(index)
            .and_then(|s| s.preimage.as_ref())
            .map(|k| k.preimage.clone())
            .unwrap_or_default();
        let shown: Value = serde_json::from_str(&preimage)?;
        if args.json {
            output::json(&json!({"instance": id, "key": key, "preimage": shown, "results": []}))?;
        } else {
            output::text(&format!(
                "{id}\nkey {key}\nno result is recorded\n{}\n",
                serde_json::to_string_pretty(&shown)?
            ))?;
        }
        return Ok(Exit::Done);
    }
    key_shown(&session.store, Some(id), &key, args.json)?;
    Ok(Exit::Done)
}

fn key_shown(store: &Store, id: Option<&str>, key: &Digest, as_json: bool) -> anyhow::Result<()> {
    let records = store.lookup(key);
    let Some(first) = records.first() else {
        anyhow::bail!("the record of {key} is damaged; `repro fsck` tells more")
    };
    let preimage: Value = serde_json::from_str(&first.preimage)
        .unwrap_or_else(|_| Value::String(first.preimage.clone()));
    if as_json {
        let results: Vec<Value> = records.iter().map(|r| json!({"result": r.result(), "outputs": r.outputs, "observation": r.observation})).collect();
        return output::json(
            &json!({"instance": id, "key": key, "preimage": preimage, "results": results}),
        );
    }
    let mut text = String::new();
    if let Some(id) = id {
        text.push_str(&format!("{id}\n"));
    }
    text.push_str(&format!(
        "key {key}, made of:\n{}\n",
        serde_json::to_string_pretty(&preimage)?
    ));
    for record in &records {
        text.push_str(&format!(
            "\nresult {}\n{}",
            record.result().short(),
            result_text(record)
        ));
    }
    output::text(&text)
}

fn result_text(record: &Record) -> String {
    let mut text = String::new();
    for (name, content) in &record.outputs {
        text.push_str(&format!(
            "  {name}: {content} ({})\n",
            bytes(content.bytes_total)
        ));
    }
    if let Some(observation) = record.observation.as_object() {
        for (name, value) in observation {
            let said = match (name.as_str(), value.as_f64()) {
                ("wall_s" | "cpu_s", Some(seconds)) => duration(seconds),
                ("max_rss_bytes", Some(count)) => bytes(count as u64),
                _ => explain::plain(value),
            };
            text.push_str(&format!("  {name}: {said}\n"));
        }
    }
    text
}

fn run_shown(run: &Run, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return output::json(
            &json!({"run": run.name, "at": run.at(), "args": run.args(), "summary": run.summary(), "events": run.events}),
        );
    }
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
        Some(summary) => text.push_str(&crate::ui::claims_table(&summary.claims, colour)),
        None if !run.events.iter().any(|e| matches!(e, Event::Summary(_))) => {
            text.push_str("it did not end: it was killed, or runs now\n")
        }
        None => {}
    }
    output::text(&text)
}
