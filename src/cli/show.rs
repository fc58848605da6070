//! `repro show`: a run, an instance, or whatever has a key.

use clap::Args;
use serde_json::{Value, json};

use super::{Context, Exit, PipelineArgs, open, output};
use crate::ui::lines;
use crate::ui::style::{bytes, duration};
use repro_engine::digest::Digest;
use repro_engine::explain;
use repro_engine::record::elsewhere::Remembered;
use repro_engine::record::event::Event;
use repro_engine::record::history::{self, Run};
use repro_engine::record::journal;
use repro_engine::session::Session;
use repro_engine::store::{Record, Store};
use repro_engine::survey::{Seen, Survey};

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
                let view = View {
                    id: None,
                    session: None,
                    store: &store,
                };
                view.key_shown(&key, None, args.json)?;
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
    let index = session.only(what, &targets)?;
    let survey = Survey::of(&session, &targets)?;
    let id = &*session.plan.instance(index).id;
    let Some(key) = survey.get(index).and_then(|s| s.key) else {
        anyhow::bail!(
            "the key of `{id}` is not known yet: what it needs has no result (see `repro why {id}`)"
        );
    };
    let seen = survey.get(index);
    let hit = seen.and_then(|s| s.hit.as_ref());
    // Of a result that is known and elsewhere the record is here.
    let remembered = hit.and_then(|hit| session.remembered(session.plan.instance(index), hit));
    let view = View {
        id: Some(id),
        session: Some(&session),
        store: &session.store,
    };
    if session.store.lookup(&key).is_empty() && remembered.is_none() {
        return nothing_recorded(id, &key, seen, args.json);
    }
    view.key_shown(&key, remembered, args.json)?;
    Ok(Exit::Done)
}

/// There is no result, or of one nothing is known but that it serves.
fn nothing_recorded(
    id: &str,
    key: &Digest,
    seen: Option<&Seen>,
    as_json: bool,
) -> anyhow::Result<Exit> {
    let preimage = seen.and_then(|s| s.preimage.as_ref());
    let shown: Value = match preimage {
        Some(key) => serde_json::from_str(&key.preimage)?,
        None => Value::Null,
    };
    if as_json {
        output::json(&json!({"instance": id, "key": key, "preimage": shown, "results": []}))?;
        return Ok(Exit::Done);
    }
    let mut text = format!("{id}\nkey {key}\n");
    match preimage {
        Some(_) => {
            text.push_str("no result is recorded\n");
            text.push_str(&serde_json::to_string_pretty(&shown)?);
            text.push('\n');
        }
        None => text.push_str(&format!(
            "its result is on the remote only, and nothing else of it is known here; `repro pull '{id}'` gets it\n"
        )),
    }
    output::text(&text)?;
    Ok(Exit::Done)
}

/// What is shown from.
struct View<'a> {
    id: Option<&'a str>,
    /// `None`: without a project.
    session: Option<&'a Session>,
    store: &'a Store,
}

impl View<'_> {
    /// Everything under a key; `remembered` is the result that serves, where the project was asked.
    fn key_shown(
        &self,
        key: &Digest,
        remembered: Option<Remembered>,
        as_json: bool,
    ) -> anyhow::Result<()> {
        let mut results: Vec<Remembered> = self
            .store
            .lookup(key)
            .into_iter()
            .map(|record| Remembered {
                envelopes: self.store.envelopes(key, &record.result()),
                record,
            })
            .collect();
        if let Some(serving) = remembered
            && !results
                .iter()
                .any(|r| r.record.result() == serving.record.result())
        {
            results.push(serving);
        }
        let Some(first) = results.first() else {
            anyhow::bail!("the record of {key} is damaged; `repro fsck` tells more")
        };
        let preimage: Value = serde_json::from_str(&first.record.preimage)
            .unwrap_or_else(|_| Value::String(first.record.preimage.clone()));
        if as_json {
            let results: Vec<Value> = results
                .iter()
                .map(|r| {
                    let record = &r.record;
                    json!({
                        "result": record.result(), "outputs": record.outputs, "observation": record.observation,
                        "elsewhere": self.is_elsewhere(record), "disbelieved": self.disbelieved(r),
                    })
                })
                .collect();
            return output::json(
                &json!({"instance": self.id, "key": key, "preimage": preimage, "results": results}),
            );
        }
        let mut text = String::new();
        if let Some(id) = self.id {
            text.push_str(&format!("{id}\n"));
        }
        text.push_str(&format!(
            "key {key}, made of:\n{}\n",
            serde_json::to_string_pretty(&preimage)?
        ));
        for result in &results {
            text.push_str(&format!(
                "\nresult {}\n{}",
                result.record.result().short(),
                result_text(&result.record)
            ));
            if self.is_elsewhere(&result.record) {
                let id = self.id.unwrap_or("INSTANCE");
                text.push_str(&format!(
                    "  its bytes are on the remote only; `repro pull '{id}'` gets them\n"
                ));
            }
            if let Some(why) = self.disbelieved(result) {
                text.push_str(&format!("  not believed by this project: {why}\n"));
            }
        }
        output::text(&text)
    }

    fn is_elsewhere(&self, record: &Record) -> bool {
        let mut outputs = record.outputs.values();
        outputs.any(|content| !self.store.has(content).unwrap_or(false))
    }

    fn disbelieved(&self, result: &Remembered) -> Option<String> {
        result.record.origin()?;
        let believer = &self.session?.believer;
        let judged = believer.believes(&result.record, &result.envelopes);
        Some(judged.err()?.to_string())
    }
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
