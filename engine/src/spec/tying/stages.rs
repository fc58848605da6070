//! The table of all stages: names, loops and matrix rows, before any reference is followed.
//!
//! Decides what names are taken and which instances there are, in which order within a stage. Does
//! not know what stages do.

use foldhash::HashMap;
use std::sync::Arc;

use super::axis::MAX_ROWS;
use super::matrix::{self, Rows};
use super::values::{Given, Values};
use crate::plan::Policy;
use crate::spec::text::decode::{Field, check_name};
use crate::spec::text::model;
use crate::spec::text::node::{Key, Node};
use crate::spec::text::problem::{Problem, Span};

/// A stage, or an inner stage of a loop.
pub struct Stage {
    /// Its name outside: `train`, or `imp.train`.
    pub name: Arc<str>,
    /// Where its name is written.
    pub key: Span,
    /// The loop it belongs to.
    pub home: Option<usize>,
    /// What is written; `None` when it could not be decoded.
    pub model: Option<model::Stage>,
    /// Its instances. In a loop: all of round 0, then all of round 1, and so on.
    pub rows: Rows,
    /// Position of the axis `round`.
    pub round_axis: Option<usize>,
    /// How it runs.
    pub policy: Arc<Policy>,
    /// Something about its matrix is wrong: what follows from its rows is not reported.
    pub broken: bool,
}

/// A loop.
pub struct Loop {
    /// Its name.
    pub name: Arc<str>,
    /// Where its name is written.
    pub key: Span,
    /// How many rounds.
    pub count: u32,
    /// What bindings are in round 0.
    pub first: Vec<(Key, Node)>,
    /// What bindings are from round 1 on.
    pub carry: Vec<(Key, Node)>,
    /// Positions of its stages.
    pub stages: Vec<usize>,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug)]
pub enum Named {
    /// A stage of its own.
    Stage(usize),
    /// A loop.
    Loop(usize),
}

/// All stages of all files.
#[derive(Default)]
pub struct Table {
    /// Stages and inner stages, in file order.
    pub stages: Vec<Stage>,
    /// Loops, in file order.
    pub loops: Vec<Loop>,
    /// Top-level names.
    pub names: HashMap<Arc<str>, Named>,
    /// Top-level names in file order.
    pub order: Vec<Named>,
    keys: HashMap<Arc<str>, Span>,
}

impl Table {
    /// Adds an entry of `stages:`.
    pub fn add(
        &mut self,
        key: &Key,
        field: Field<model::Stage>,
        defaults: &Arc<Policy>,
        values: &mut Values,
        problems: &mut Vec<Problem>,
    ) {
        let name = match check_name(key, "a stage") {
            Ok(name) => name,
            Err(problem) => return problems.push(problem),
        };
        // The verdict on claim `c` appears in artifacts/claims/c/.
        if &*name == "claims" {
            return problems.push(
                Problem::new(
                    key.span,
                    "`claims` cannot be the name of a stage: the verdicts on claims lie in artifacts/claims/",
                )
                .help("choose another name"),
            );
        }
        if let Some(first) = self.keys.get(&name) {
            return problems.push(crate::spec::text::settings::twice("stage", key, *first));
        }
        self.keys.insert(name.clone(), key.span);
        let looped = field
            .value
            .as_ref()
            .is_some_and(|m| m.rounds.is_some() || m.stages.is_some());
        let named = if looped {
            self.add_loop(name.clone(), key, field, defaults, values, problems);
            Named::Loop(self.loops.len() - 1)
        } else {
            let (rows, broken) = rows_of(field.value.as_ref(), values, problems);
            let policy = policy_of(field.value.as_ref(), defaults, problems);
            self.stages.push(Stage {
                name: name.clone(),
                key: key.span,
                home: None,
                model: field.value,
                rows,
                round_axis: None,
                policy,
                broken,
            });
            Named::Stage(self.stages.len() - 1)
        };
        self.names.insert(name, named);
        self.order.push(named);
    }

    fn add_loop(
        &mut self,
        name: Arc<str>,
        key: &Key,
        field: Field<model::Stage>,
        defaults: &Arc<Policy>,
        values: &mut Values,
        problems: &mut Vec<Problem>,
    ) {
        let Some(mut model) = field.value else { return };
        let at = self.loops.len();
        let mut this = Loop {
            name: name.clone(),
            key: key.span,
            count: 1,
            first: Vec::new(),
            carry: Vec::new(),
            stages: Vec::new(),
        };
        for (field, given) in [
            ("uses", model.uses.is_some()),
            ("with", model.with.is_some()),
            ("run", model.run.is_some()),
            ("needs", model.needs.is_some()),
            ("after", model.after.is_some()),
            ("outputs", model.outputs.is_some()),
            ("env", model.env.is_some()),
            ("tools", model.tools.is_some()),
            ("shell", model.shell.is_some()),
        ] {
            if given {
                problems.push(Problem::new(key.span, format!("`{name}` is a loop (it has `rounds` or `stages`) and cannot have `{field}`")).help("give it to one of the inner `stages`"));
            }
        }
        let policy = Arc::new(super::policy::of_stage(&model, defaults, problems));
        match model.rounds.as_ref().map(|r| (r.span, r.value.as_ref())) {
            None => problems.push(
                Problem::new(
                    key.span,
                    format!("`{name}` has inner `stages` but no `rounds`"),
                )
                .help("add `rounds: {count: 3}`"),
            ),
            Some((_, None)) => {}
            Some((span, Some(rounds))) => {
                match &rounds.count {
                    None => problems
                        .push(Problem::new(span, "`count` is missing").help("add `count: 3`")),
                    Some(Field {
                        span,
                        value: Some(0),
                    }) => problems.push(Problem::new(*span, "a loop has at least 1 round")),
                    Some(Field {
                        span,
                        value: Some(n),
                    }) if *n as usize > MAX_ROWS => problems.push(Problem::new(
                        *span,
                        format!("a loop has at most {MAX_ROWS} rounds"),
                    )),
                    Some(Field { value, .. }) => this.count = value.unwrap_or(1),
                }
                for (entries, into) in [
                    (&rounds.first, &mut this.first),
                    (&rounds.carry, &mut this.carry),
                ] {
                    for (key, field) in entries.iter().flat_map(|e| &e.list) {
                        if &*key.name == "index" {
                            problems.push(Problem::new(
                                key.span,
                                "`index` is the number of the round and cannot be a binding",
                            ));
                        } else if let (Ok(_), Some(raw)) = (
                            check_name(key, "a binding").map_err(|p| problems.push(p)),
                            &field.value,
                        ) {
                            into.push((key.clone(), raw.0.clone()));
                        }
                    }
                }
                for (key, _) in &this.first {
                    if !this.carry.iter().any(|(k, _)| k.name == key.name) {
                        problems.push(
                            Problem::new(key.span, format!("`carry` does not say what `{}` is after round 0", key.name))
                                .help(format!("add `{}` to `carry`; an input that never changes is referred to directly", key.name)),
                        );
                    }
                }
            }
        }
        let (outer, outer_broken) = rows_of(Some(&model), values, problems);
        let inner = model.stages.take();
        if inner.as_ref().is_none_or(|s| s.list.is_empty()) {
            problems.push(
                Problem::new(key.span, format!("the loop `{name}` has no inner `stages`"))
                    .help("put the stages of one round under `stages:`"),
            );
        }
        for (key, field) in inner.map(|s| s.list).unwrap_or_default() {
            let local = match check_name(&key, "a stage") {
                Ok(local) => local,
                Err(problem) => {
                    problems.push(problem);
                    continue;
                }
            };
            if field
                .value
                .as_ref()
                .is_some_and(|m| m.rounds.is_some() || m.stages.is_some())
            {
                problems.push(
                    Problem::new(key.span, "a loop cannot be inside a loop")
                        .help("unroll one of them with `matrix:`"),
                );
                continue;
            }
            let (own, broken) = rows_of(field.value.as_ref(), values, problems);
            let (rows, clash) = unroll(&outer, &own, this.count, values);
            if let Some(axis) = clash {
                problems.push(
                    Problem::new(
                        key.span,
                        format!("the axis `{axis}` belongs to the loop already"),
                    )
                    .help("remove it here: inner stages have all axes of their loop"),
                );
            }
            let too_many = rows.is_none();
            if too_many {
                problems.push(Problem::new(
                    key.span,
                    format!("the loop makes more than {MAX_ROWS} instances of this stage"),
                ));
            }
            let policy = policy_of(field.value.as_ref(), &policy, problems);
            this.stages.push(self.stages.len());
            self.stages.push(Stage {
                name: format!("{name}.{local}").into(),
                key: key.span,
                home: Some(at),
                model: field.value,
                rows: rows.unwrap_or_else(Rows::single),
                round_axis: Some(outer.axes.len()),
                policy,
                broken: broken || outer_broken || too_many,
            });
        }
        self.loops.push(this);
    }

    /// The inner stage of a loop.
    pub fn inner(&self, at: usize, local: &str) -> Option<usize> {
        self.loops[at]
            .stages
            .iter()
            .copied()
            .find(|&s| self.local(s) == local)
    }

    /// A stage's name inside its loop.
    pub fn local(&self, stage: usize) -> &str {
        let stage = &self.stages[stage];
        match stage.home {
            Some(at) => &stage.name[self.loops[at].name.len() + 1..],
            None => &stage.name,
        }
    }
}

fn policy_of(
    model: Option<&model::Stage>,
    defaults: &Arc<Policy>,
    problems: &mut Vec<Problem>,
) -> Arc<Policy> {
    match model {
        Some(m)
            if m.resources.is_some()
                || m.timeout.is_some()
                || m.grace.is_some()
                || m.retries.is_some()
                || m.sandbox.is_some()
                || m.network.is_some()
                || m.scratch.is_some()
                || m.secrets.is_some()
                || m.executor.is_some() =>
        {
            Arc::new(super::policy::of_stage(m, defaults, problems))
        }
        _ => defaults.clone(),
    }
}

fn rows_of(
    model: Option<&model::Stage>,
    values: &mut Values,
    problems: &mut Vec<Problem>,
) -> (Rows, bool) {
    match model.map(|m| m.matrix.as_ref()) {
        None => (Rows::single(), true),
        Some(None) => (Rows::single(), false),
        Some(Some(raw)) => match matrix::expand(&raw.0, values, problems) {
            Some(rows) => (rows, false),
            None => (Rows::single(), true),
        },
    }
}

/// Outer axes, the round, own axes; all rows of one round together. Also the name of an axis given
/// twice.
fn unroll(
    outer: &Rows,
    own: &Rows,
    count: u32,
    values: &mut Values,
) -> (Option<Rows>, Option<Arc<str>>) {
    let clash = own.axes.iter().find(|a| outer.axes.contains(a)).cloned();
    if (outer.rows.len() as u64)
        .saturating_mul(own.rows.len() as u64)
        .saturating_mul(u64::from(count))
        > MAX_ROWS as u64
    {
        return (None, clash);
    }
    let axes = outer
        .axes
        .iter()
        .cloned()
        .chain(["round".into()])
        .chain(own.axes.iter().cloned())
        .collect();
    let places = [&*outer.places, &[None], &*own.places].concat();
    let mut rows = Vec::new();
    for round in 0..count {
        let id = values.id(&Given::plain(round.into()));
        for a in &outer.rows {
            rows.extend(
                own.rows
                    .iter()
                    .map(|b| [&**a, &[id], &**b].concat().into_boxed_slice()),
            );
        }
    }
    (Some(Rows { axes, places, rows }), clash)
}
