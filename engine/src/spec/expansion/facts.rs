//! What is known of results before anything runs: facts on their way from the kinds that make them
//! to the kinds that take them.
//!
//! The engine carries facts and does not look into them. What a kind finds out is remembered by its
//! parameters and the facts of its inputs, so that a thousand instances alike are asked about once.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

use super::known::{Outputs, Remembered, nothing};
use super::making::{Expander, Making};
use crate::plan::{self, Need, NeedItem, Source};
use crate::spec::text::problem::Problem;
use crate::spec::tying::work::Work;
use repro_protocol::findings::{Finding, Item, Known, Subject};
use repro_protocol::kind::{OutputSpec, ParamProblem};

impl Expander<'_, '_> {
    /// What is known of the outputs of an instance; what cannot work is reported.
    pub fn find_out(
        &mut self,
        making: &mut Making,
        id: &Arc<str>,
        work: &plan::Work,
        needs: &[Need],
        outputs: &[OutputSpec],
    ) -> Outputs {
        let plan::Work::Kind { kind, params } = work else {
            return nothing();
        };
        let Some(ask) = &kind.facts else {
            return nothing();
        };
        let fact = |item: &NeedItem| match &item.source {
            // What is known of a directory is known of the parts that its kind names.
            Source::Output { .. } if item.inside.as_ref().is_some_and(|i| !i.by_kind) => None,
            Source::Output { instance, output } => {
                let known = self.facts.get(instance.0 as usize)?;
                known.get(*output as usize)?.as_ref()
            }
            _ => None,
        };
        let address = |fact: Option<&Arc<Value>>| fact.map_or(0, |f| Arc::as_ptr(f) as usize);
        let mut key = Vec::new();
        for need in needs {
            key.push(need.items.len());
            for item in &need.items {
                key.push(match &item.source {
                    Source::Files(files) => Arc::as_ptr(files) as usize,
                    Source::Output { .. } => address(fact(item)),
                });
                let inside = item
                    .inside
                    .as_ref()
                    .map_or("", |inside| inside.path.as_str());
                key.push(inside.len());
                key.extend(inside.bytes().map(usize::from));
                key.extend(item.axes.iter().map(|(axis, _)| axis.as_ptr() as usize));
            }
        }
        let key = (Arc::as_ptr(params) as usize, key);
        if let Some(known) = making.found.get(&key) {
            let problems = &mut self.problems[known.problems.clone()];
            let warnings = &mut self.warnings[known.warnings.clone()];
            for problem in problems.iter_mut().chain(warnings) {
                if let Some(found) = &mut problem.found_in {
                    found.count += 1;
                }
            }
            return known.outputs.clone();
        }
        let inputs = needs
            .iter()
            .map(|need| {
                let items = need.items.iter().map(|item| Item {
                    fact: fact(item).map(|f| &**f),
                    axes: item.axes.iter().map(|(axis, _)| &**axis).collect(),
                    member: item.inside.as_ref().map(|inside| inside.path.as_str()),
                    from: match &item.source {
                        Source::Output { instance, output } => {
                            let producer = &self.instances[instance.0 as usize];
                            let output = producer.outputs.get(*output as usize);
                            output.map(|output| (&*producer.id, &*output.name))
                        }
                        Source::Files(_) => None,
                    },
                    file: match &item.source {
                        Source::Files(files) => Some(files.at.path(self.tying.root)),
                        Source::Output { .. } => None,
                    },
                });
                (&*need.name, items.collect())
            })
            .collect();
        let found = ask(params, &Known { inputs });
        let add = |list: &mut Vec<Problem>, findings: Vec<Finding>| {
            let from = list.len();
            let placed = findings.into_iter().map(|f| place(making, needs, f));
            list.extend(placed.map(|p| p.found_in(id, 1, making.rows)));
            from..list.len()
        };
        let problems = add(&mut self.problems, found.problems);
        let warnings = add(&mut self.warnings, found.warnings);
        let known: HashMap<String, Arc<Value>> = found
            .outputs
            .into_iter()
            .map(|(name, fact)| (name, Arc::new(fact)))
            .collect();
        let facts: Outputs = outputs
            .iter()
            .map(|o| known.get(&*o.name).cloned())
            .collect();
        let remembered = Remembered {
            outputs: facts.clone(),
            problems,
            warnings,
        };
        making.found.insert(key, remembered);
        facts
    }
}

fn place(making: &Making, needs: &[Need], finding: Finding) -> Problem {
    let Finding {
        place,
        message,
        hint,
    } = finding;
    match (place, &making.work) {
        (Subject::Param(path), Work::Kind(kind)) => kind.place(ParamProblem {
            path,
            message,
            hint,
        }),
        (Subject::Param(_), _) => Problem::new(making.key, message),
        (Subject::Input(name, item), _) => {
            let group = needs
                .iter()
                .find(|n| *n.name == *name)
                .and_then(|n| n.items.get(item))
                .map(|i| i.group.clone());
            let span = making
                .needs
                .iter()
                .find(|n| *n.name == *name)
                .map_or(making.key, |need| {
                    let part = need.items.iter().find(|i| Some(&i.group) == group.as_ref());
                    part.or(need.items.first())
                        .map_or(need.key, |part| part.span)
                });
            let mut problem = Problem::new(span, message);
            problem.help.extend(hint);
            problem
        }
    }
}
