//! What lies behind a change: producers whose changed output made an input change, and what an
//! instance changed itself.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Explainer;
use crate::change::changes;
use crate::lineage;
use crate::plan::{Instance, InstanceIndex, Need, Source, axes_text};
use crate::record::event::{Change, Reason};
use crate::record::history::Execution;
use crate::survey::Seen;

/// How far back a chain of producers is told.
const CHAIN_MAX: usize = 6;

/// A producer whose changed output made an input change.
#[derive(Debug, Serialize)]
pub struct Link {
    /// The input, as [`changes`] calls it.
    pub field: String,
    /// Who made it.
    pub producer: String,
    /// When the run began that executed the producer last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executed: Option<String>,
    /// Why it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<Reason>,
}

impl Explainer<'_> {
    /// With the outputs its producers had last time in place of those not known yet: what differs
    /// now is the instance's own.
    pub(super) fn own_changes(&self, instance: &Instance, seen: &Seen) -> Vec<Change> {
        let Some(Reason::Upstream(_)) = &seen.reason else {
            return Vec::new();
        };
        let guess = || -> Option<Vec<Change>> {
            let known = self.session.index.get(&instance.id)?;
            let mut results = self.survey.results.clone();
            for producer in instance.producers() {
                let slot = &mut results[producer.0 as usize];
                if slot.is_none() {
                    let outputs = &self
                        .session
                        .index
                        .get(&self.session.plan.instance(producer).id)?
                        .outputs;
                    *slot = Some(outputs.clone());
                }
            }
            let results = |i: InstanceIndex| results[i.0 as usize].as_ref();
            let contents = self.session.input_contents(instance, results).ok()?;
            let key_of = |i| {
                let now = self.survey.get(i).and_then(|seen| seen.key);
                let id = &self.session.plan.instance(i).id;
                now.or_else(|| self.session.index.get(id).map(|known| known.key))
            };
            let lineage = lineage::of(&self.session.plan, instance, key_of);
            let old = self.session.preimage(&known.key)?;
            let new = self.session.key(instance, &contents, &lineage).preimage;
            let mut changes = changes(&old, &new);
            self.session.look_inside(Some(instance), &mut changes);
            Some(changes)
        };
        guess().unwrap_or_default()
    }

    /// Stages, where all their instances are meant.
    pub(super) fn after(&self, instance: &Instance) -> Vec<String> {
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

    /// Adds the producers of changed inputs, and theirs.
    pub(super) fn chain(&self, instance: &Instance, changed: &[Change], links: &mut Vec<Link>) {
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
                    || !changed
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

/// The field of an item, as [`changes`] calls it.
fn input_field(need: &Need, position: usize) -> String {
    let item = &need.items[position];
    let axes = axes_text(&item.axes);
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
