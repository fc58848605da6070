//! What `why` finds out about one instance, as data and as text.

use std::cell::Cell;
use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::relative::{self, Relative};
use crate::cli::output;
use crate::ui::lines::reason_text;
use crate::ui::style::{Colour, duration};
use repro_engine::digest::Digest;
use repro_engine::explain;
use repro_engine::lineage;
use repro_engine::plan::{Instance, InstanceIndex, Source};
use repro_engine::record::elsewhere::Remembered;
use repro_engine::record::event::{Change, Reason};
use repro_engine::record::history::{End, Execution};
use repro_engine::session::Session;
use repro_engine::store::Record;
use repro_engine::survey::{Seen, State, Survey};
use repro_engine::trust::{Divergence, SignerName, Trust};
use repro_protocol::relpath::RelPath;

/// What the line about the last execution begins with.
pub const LAST_EXECUTED: &str = "last executed here:";

/// Accounts of other bits that are told.
const ACCOUNTS_MAX: usize = 5;
/// Ignored entries of a directory that are named.
const IGNORED_NAMED: usize = 5;
/// How far back a chain of producers is told.
const CHAIN_MAX: usize = 6;

/// What the reports are made from.
pub struct View<'a> {
    /// The project.
    pub session: &'a Session,
    /// The states.
    pub survey: &'a Survey,
    /// The last execution of every instance.
    pub executions: &'a BTreeMap<String, Execution>,
    /// Who is believed.
    pub trust: &'a Trust,
    /// How many nearest relatives are still looked for: each compares many results.
    pub searches_left: Cell<u32>,
}

/// All about one instance.
#[derive(Serialize)]
pub struct Report {
    instance: String,
    kind: String,
    state: State,
    key: Option<String>,
    /// Why it would be executed; absent when cached.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    /// What changed in the instance itself, where the rest of its key is not known yet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    own_changes: Vec<Change>,
    /// Whom it waits for without taking anything from them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    after: Vec<String>,
    /// Producers whose changed output made an input change, nearest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    upstream: Vec<Link>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nearest: Option<Relative>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resumable: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sandbox: Option<String>,
    /// What does not count in directories of its inputs, by directory.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    ignored: BTreeMap<String, Vec<RelPath>>,
    /// The results recorded under the key, when there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    results: Vec<ResultLine>,
    /// Executions that gave other bits than the recorded result.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    divergence: Vec<OtherBits>,
    /// Who of those the project lists vouches for the result.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    signers: Vec<String>,
    /// Where the result comes from, where it was not made here: `remote lab`.
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
    /// Its bytes are on a remote only.
    elsewhere: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    made: Option<Made>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_execution: Option<LastExecution>,
}

#[derive(Serialize)]
struct Link {
    field: String,
    producer: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    executed: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    because: Option<Reason>,
}

#[derive(Serialize)]
struct ResultLine {
    result: String,
    outputs: BTreeMap<String, String>,
    observation: Value,
}

#[derive(Serialize)]
struct OtherBits {
    /// Machine and time, as they say.
    origin: String,
    /// Who of those the project lists says so; `None`: nobody, or this machine without a key.
    #[serde(skip_serializing_if = "Option::is_none")]
    signer: Option<String>,
    outputs: Vec<String>,
}

#[derive(Serialize)]
struct Made {
    at: Option<String>,
    host: Option<String>,
    wall_s: Option<f64>,
}

#[derive(Serialize)]
struct LastExecution {
    run: String,
    at: String,
    reason: Reason,
    end: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    wall_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

impl View<'_> {
    /// The report on an instance of the survey.
    ///
    /// # Errors
    /// Its key cannot be made.
    pub fn report(&self, index: InstanceIndex) -> anyhow::Result<Report> {
        let instance = self.session.plan.instance(index);
        let seen = self
            .survey
            .get(index)
            .ok_or_else(|| anyhow::anyhow!("BUG: `{}` was not surveyed", instance.id))?;
        // The survey has asked already: without a hit there is a record only where its bytes are lost, or where it is not believed.
        let may_have_records = seen.hit.is_some()
            || matches!(
                seen.reason,
                Some(Reason::ResultLost(_) | Reason::Disbelieved(_))
            );
        let mut records = seen
            .key
            .filter(|_| may_have_records)
            .map(|key| self.session.store.lookup(&key))
            .unwrap_or_default();
        let serving = seen
            .hit
            .as_ref()
            .and_then(|hit| self.session.remembered(instance, hit));
        if let Some(serving) = &serving {
            records.retain(|r| r.result() != serving.record.result());
            records.insert(0, serving.record.clone());
        }
        let observation = |name: &str| records.first().and_then(|r| r.observation.get(name));
        let text = |name: &str| observation(name).and_then(Value::as_str).map(str::to_owned);
        let changes: &[Change] = match &seen.reason {
            Some(Reason::Changed(changes)) => changes,
            _ => &[],
        };
        let mut upstream = Vec::new();
        self.chain(instance, changes, &mut upstream);
        let never_seen = matches!(seen.reason, Some(Reason::NeverRun));
        let nearest = match &seen.preimage {
            Some(key) if never_seen && self.searches_left.get() > 0 => {
                self.searches_left.set(self.searches_left.get() - 1);
                relative::nearest(self.session, index, &key.preimage)
            }
            _ => None,
        };
        let resumable = match (&seen.preimage, &seen.contents) {
            (Some(key), Some(contents)) => {
                relative::resumable(self.session, instance, contents, key, nearest.as_ref())
            }
            _ => None,
        };
        Ok(Report {
            instance: instance.id.to_string(),
            kind: instance.kind_name().to_owned(),
            state: seen.state,
            key: seen.key.map(|k| k.hex()),
            reason: seen.reason.clone(),
            problem: seen.problem.clone(),
            own_changes: self.own_changes(instance, seen),
            after: self.after(instance),
            upstream,
            nearest,
            resumable,
            sandbox: text("sandbox").filter(|s| s != "enforced" && s != "not needed"),
            ignored: self.session.ignored(instance),
            results: if records.len() > 1 {
                records.iter().map(result_line).collect()
            } else {
                Vec::new()
            },
            divergence: seen
                .key
                .map(|key| self.divergence(&key))
                .unwrap_or_default(),
            signers: match &serving {
                Some(serving) if records.len() == 1 => self.signers(serving),
                _ => Vec::new(),
            },
            origin: serving
                .as_ref()
                .and_then(|s| s.record.origin())
                .map(str::to_owned),
            elsewhere: seen.elsewhere,
            made: serving.as_ref().map(|_| Made {
                at: text("at"),
                host: text("host"),
                wall_s: observation("wall_s").and_then(Value::as_f64),
            }),
            last_execution: self.executions.get(&*instance.id).map(last_execution),
        })
    }

    /// Stages, where all their instances are meant.
    fn after(&self, instance: &Instance) -> Vec<String> {
        let plan = &self.session.plan;
        let mut by_stage: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for index in instance.after.iter() {
            let awaited = plan.instance(*index);
            let ids = by_stage.entry(&awaited.stage).or_default();
            ids.push(awaited.id.to_string());
        }
        let of = |stage: &str| plan.instances.iter().filter(|i| *i.stage == *stage).count();
        let named = by_stage
            .into_iter()
            .flat_map(|(stage, ids)| match ids.len() {
                n if n > 1 && n == of(stage) => vec![stage.to_owned()],
                _ => ids,
            });
        named.collect()
    }

    fn divergence(&self, key: &Digest) -> Vec<OtherBits> {
        let accounts = self.session.store.divergences(key);
        let accounts = accounts
            .iter()
            .filter_map(|bytes| Divergence::open(bytes, key, self.trust));
        let told = accounts.map(|(account, signer)| OtherBits {
            origin: account.origin(),
            signer: signer.map(|s| s.as_str().to_owned()),
            outputs: account.lines(),
        });
        told.take(ACCOUNTS_MAX).collect()
    }

    fn signers(&self, serving: &Remembered) -> Vec<String> {
        let (signers, _) = self.trust.signers(&serving.record, &serving.envelopes);
        signers
            .iter()
            .map(|s: &SignerName| s.as_str().to_owned())
            .collect()
    }

    /// With the outputs its producers had last time in place of those not known yet: what differs now is the instance's own.
    fn own_changes(&self, instance: &Instance, seen: &Seen) -> Vec<Change> {
        let Some(Reason::Upstream(_)) = &seen.reason else {
            return Vec::new();
        };
        let guess = || -> Option<Vec<Change>> {
            let known = self.session.index.get(&instance.id)?;
            let mut results = self.survey.results.clone();
            for producer in instance
                .needs
                .iter()
                .flat_map(|n| &n.items)
                .filter_map(|item| match item.source {
                    Source::Output { instance, .. } => Some(instance),
                    Source::Files(_) => None,
                })
            {
                let slot = &mut results[producer.0 as usize];
                if slot.is_none() {
                    let outputs = &self
                        .session
                        .index
                        .get(&self.session.plan.instance(producer).id)?
                        .outputs;
                    *slot = Some(outputs.clone().into());
                }
            }
            let contents = self.session.input_contents(instance, &results).ok()?;
            let key_of = |i| {
                let now = self.survey.get(i).and_then(|seen| seen.key);
                let id = &self.session.plan.instance(i).id;
                now.or_else(|| self.session.index.get(id).map(|known| known.key))
            };
            let lineage = lineage::of(&self.session.plan, instance, key_of);
            let old = self.session.preimage(&known.key)?;
            Some(explain::changes(
                &old,
                &self.session.key(instance, &contents, &lineage).preimage,
            ))
        };
        guess().unwrap_or_default()
    }

    /// Adds the producers of changed inputs, and theirs.
    fn chain(&self, instance: &Instance, changes: &[Change], links: &mut Vec<Link>) {
        for need in &instance.needs {
            for (position, item) in need.items.iter().enumerate() {
                let field = input_field(need, position);
                let Source::Output {
                    instance: producer, ..
                } = item.source
                else {
                    continue;
                };
                // Not of an input that is new: there nothing changed upstream.
                if links.len() >= CHAIN_MAX
                    || !changes
                        .iter()
                        .any(|c| c.field == field && c.old.is_some() && c.new.is_some())
                {
                    continue;
                }
                let producer = self.session.plan.instance(producer);
                if links.iter().any(|l| *l.producer == *producer.id) {
                    continue;
                }
                let execution = self.executions.get(&*producer.id);
                links.push(Link {
                    field,
                    producer: producer.id.to_string(),
                    executed: execution.map(|e| e.at.clone()),
                    because: execution.map(|e| e.reason.clone()),
                });
                if let Some(Execution {
                    reason: Reason::Changed(theirs),
                    ..
                }) = execution
                {
                    self.chain(producer, theirs, links);
                }
            }
        }
    }
}

/// The field of an item, as [`explain::changes`] calls it.
fn input_field(need: &repro_engine::plan::Need, position: usize) -> String {
    let item = &need.items[position];
    let axes = repro_engine::plan::axes_text(&item.axes);
    let label: Vec<&str> = [&*item.group, axes.as_str()]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect();
    match (label.is_empty(), need.items.len()) {
        (true, 1) => format!("inputs.{}", need.name),
        (true, _) => format!("inputs.{}[{position}]", need.name),
        (false, _) => format!("inputs.{}[{}]", need.name, label.join(":")),
    }
}

fn result_line(record: &Record) -> ResultLine {
    ResultLine {
        result: record.result().hex(),
        outputs: record
            .outputs
            .iter()
            .map(|(name, content)| (name.clone(), content.to_string()))
            .collect(),
        observation: record.observation.clone(),
    }
}

fn last_execution(execution: &Execution) -> LastExecution {
    let (end, wall_s, message) = match &execution.end {
        End::Finished { wall_s } => ("finished", Some(*wall_s), None),
        End::Failed { message } => ("failed", None, Some(message.clone())),
        End::Unstable => ("unstable", None, None),
        End::Unknown => ("unknown", None, None),
    };
    LastExecution {
        run: execution.run.clone(),
        at: execution.at.clone(),
        reason: execution.reason.clone(),
        end,
        wall_s,
        message,
    }
}

fn change_lines(text: &mut String, changes: &[Change]) {
    for change in changes {
        text.push_str(&format!("    {}\n", crate::ui::change::render(change)));
    }
}

/// The report for people, without the name of the instance.
pub fn story(report: &Report, colour: Colour) -> String {
    let state = match report.state {
        State::Cached => colour.green("cached"),
        State::Failed => colour.red("failed; will be executed again"),
        State::Running => colour.yellow("running now"),
        State::Stale | State::Missing => colour.yellow("will be executed"),
    };
    let mut text = format!("  {state}");
    match &report.reason {
        None => text.push('\n'),
        Some(Reason::Changed(changes)) if changes.is_empty() => {
            text.push_str(": no result is recorded for its key any more\n")
        }
        Some(Reason::Changed(changes)) => {
            text.push_str(" because:\n");
            change_lines(&mut text, changes);
        }
        Some(Reason::NeverRun) => text.push_str(": no earlier result of this instance is known\n"),
        Some(Reason::ResultLost(what) | Reason::Disbelieved(what)) => {
            text.push_str(&format!(": {what}\n"))
        }
        Some(Reason::Forced) => text.push_str(": forced\n"),
        Some(Reason::Upstream(producer))
            if report.state == State::Stale && report.own_changes.is_empty() =>
        {
            text.push_str(&format!(" if the output of {producer} changes, which is executed first; nothing of its own changed\n"));
        }
        Some(Reason::Upstream(producer)) => {
            text.push_str(&format!(" after {producer}\n"));
            change_lines(&mut text, &report.own_changes);
        }
    }
    if let Some(problem) = &report.problem {
        text.push_str(&format!(": {problem}\n"));
    }
    if !report.after.is_empty() {
        text.push_str(&format!(
            "  waits for {}, and takes nothing from there\n",
            report.after.join(", ")
        ));
    }
    for link in &report.upstream {
        let why = link.because.as_ref().map(reason_text).unwrap_or_default();
        let at = link
            .executed
            .as_deref()
            .map(|at| format!(", executed {}", output::when(at)))
            .unwrap_or_default();
        text.push_str(&format!(
            "  {} comes from {}{at} {why}\n",
            link.field, link.producer
        ));
    }
    if let Some(nearest) = &report.nearest {
        text.push_str(&format!(
            "  nearest recorded result: {}, which differs in:\n",
            nearest.instance
        ));
        change_lines(&mut text, &nearest.changes);
    }
    let mut line =
        |label: &str, what: &str| text.push_str(&format!("  {} {what}\n", colour.dim(label)));
    if let Some(resumable) = &report.resumable {
        line("resume:", resumable);
    }
    if let Some(sandbox) = &report.sandbox {
        line(
            "sandbox:",
            &format!("{sandbox}; undeclared reads were not detected"),
        );
    }
    for (dir, entries) in &report.ignored {
        let named: Vec<&str> = entries
            .iter()
            .take(IGNORED_NAMED)
            .map(RelPath::as_str)
            .collect();
        let more = match entries.len().saturating_sub(IGNORED_NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        line("ignored:", &format!("in {dir}: {}{more}", named.join(", ")));
    }
    if !report.results.is_empty() {
        line(
            "results:",
            &format!(
                "{} different ones under this key: the stage is not deterministic",
                report.results.len()
            ),
        );
        for result in &report.results {
            let from = |name: &str| {
                result
                    .observation
                    .get(name)
                    .and_then(Value::as_str)
                    .unwrap_or("?")
                    .to_owned()
            };
            let outputs: Vec<String> = result
                .outputs
                .iter()
                .map(|(n, c)| format!("{n} {}", explain::plain(&Value::String(c.clone()))))
                .collect();
            line(
                "        ",
                &format!(
                    "{} ({}, {})",
                    outputs.join(", "),
                    output::when(&from("at")),
                    from("host")
                ),
            );
        }
    }
    for other in &report.divergence {
        let by = other
            .signer
            .as_deref()
            .map(|s| format!(", signed by {s}"))
            .unwrap_or_default();
        line(
            "other bits:",
            &format!("{} ({}{by})", other.outputs.join("; "), other.origin),
        );
    }
    if !report.signers.is_empty() {
        line("vouched for by:", &report.signers.join(", "));
    }
    match (&report.origin, report.elsewhere) {
        (Some(origin), false) => line("from:", origin),
        (origin, true) => line(
            "from:",
            &format!(
                "{}; its bytes are there only, and are fetched when they are needed",
                origin.as_deref().unwrap_or("the remote")
            ),
        ),
        (None, false) => {}
    }
    if let Some(made) = &report.made {
        let at = made.at.as_deref().map(output::when).unwrap_or_default();
        let wall = made
            .wall_s
            .map(|s| format!(" in {}", duration(s)))
            .unwrap_or_default();
        line(
            "made:",
            &match &made.host {
                Some(host) => format!("{at} on {host}{wall}"),
                None => format!("{at}{wall}"),
            },
        );
    }
    if let Some(last) = &report.last_execution {
        let end = match (last.end, last.wall_s, &last.message) {
            (_, Some(wall_s), _) => format!("took {}", duration(wall_s)),
            (_, _, Some(message)) => {
                format!("failed: {}", message.lines().next().unwrap_or_default())
            }
            ("unstable", ..) => "an input changed under it".to_owned(),
            _ => "it did not end".to_owned(),
        };
        line(LAST_EXECUTED, &format!("{}, {end}", output::when(&last.at)));
        match &last.reason {
            Reason::Changed(changes) if !changes.is_empty() && report.state == State::Cached => {
                line("then because:", "");
                change_lines(&mut text, changes);
            }
            reason => line(
                "then because:",
                reason_text(reason).trim_matches(['(', ')']),
            ),
        }
    }
    text
}
