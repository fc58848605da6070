//! The plan from the tied table: every instance, its parameters checked, its inputs resolved to
//! numbers.
//!
//! Instances are numbered before any is made, so a reference is a lookup. What is wrong with many
//! instances in the same way is reported once, with the first as its example.

use foldhash::{HashMap, HashSet};
use std::sync::Arc;

use super::arrange::Order;
use super::making::{Expanded, Expander, Making};
use crate::catalog::Catalog;
use crate::plan::{self, Axes, Command, Instance, Need, Place, Source};
use crate::spec::text::problem::{Problem, Span};
use crate::spec::tying::after::AfterDef;
use crate::spec::tying::claims::ClaimDef;
use crate::spec::tying::consumer::Consumer;
use crate::spec::tying::needs::NeedDef;
use crate::spec::tying::stages::{Named, Table};
use crate::spec::tying::tie::Tying;
use crate::spec::tying::work::{KindWork, Work};
use repro_protocol::kind::OutputSpec;

impl<'a, 't> Expander<'a, 't> {
    /// Nothing made yet.
    pub fn new(
        tying: Tying<'a>,
        table: &'t Table,
        catalog: &'t Catalog,
        place: &'t dyn Fn(Span) -> Place,
        order: Order,
    ) -> Expander<'a, 't> {
        let total = order.total as usize;
        Expander {
            tying,
            table,
            catalog,
            place,
            order,
            instances: Vec::with_capacity(total),
            axes: Vec::with_capacity(total),
            broken: Vec::with_capacity(total),
            reported: HashSet::default(),
            problems: Vec::new(),
            warnings: Vec::new(),
            none: Arc::from([]),
            facts: Vec::with_capacity(total),
        }
    }

    /// Makes all instances of all stages, then those of the claims.
    pub fn run(
        mut self,
        needs: Vec<Vec<NeedDef>>,
        after: Vec<Vec<AfterDef>>,
        works: Vec<Work>,
        places: &[Place],
        claims: Vec<ClaimDef>,
    ) -> Expanded {
        let table = self.table;
        let mut makings: Vec<Making> = needs
            .into_iter()
            .zip(after)
            .zip(works)
            .zip(&table.stages)
            .zip(places)
            .map(|((((needs, after), work), stage), place)| Making {
                consumer_name: stage.name.clone(),
                axes: stage.rows.axes.clone(),
                own_axes: self.none.clone(),
                only: None,
                round_axis: stage.round_axis,
                needs,
                after,
                awaited: None,
                work,
                policy: stage.policy.clone(),
                place: Arc::new(place.clone()),
                key: stage.key,
                gathered: HashMap::default(),
                single: HashMap::default(),
                rows: stage.rows.rows.len(),
                found: Default::default(),
            })
            .collect();
        super::idle::warn(table, &makings, self.tying.values, &mut self.warnings);
        for unit in std::mem::take(&mut self.order.units) {
            match unit {
                Named::Stage(s) => {
                    check_needs(&makings[s], &mut self.problems);
                    for row in &table.stages[s].rows.rows {
                        self.make(&mut makings[s], row);
                    }
                }
                Named::Loop(l) => {
                    let inner = std::mem::take(&mut self.order.inner[l]);
                    inner
                        .iter()
                        .for_each(|&s| check_needs(&makings[s], &mut self.problems));
                    for round in 0..table.loops[l].count as usize {
                        for &s in &inner {
                            let rows = &table.stages[s].rows.rows;
                            let each = rows.len() / table.loops[l].count.max(1) as usize;
                            for row in rows.iter().skip(round * each).take(each) {
                                self.make(&mut makings[s], row);
                            }
                        }
                    }
                }
            }
        }
        for making in &mut makings {
            self.tell_wrong_parameters(making);
        }
        let made = self.claims(claims);
        Expanded {
            instances: self.instances,
            claims: made,
            problems: self.problems,
            warnings: self.warnings,
        }
    }

    pub fn tell_wrong_parameters(&mut self, making: &mut Making) {
        if let Work::Kind(kind) = &mut making.work {
            self.problems.extend(kind.problems(making.rows));
        }
    }

    /// What the newest instance counts are rows of tables: a file whose name says that it is
    /// something else is told before anything runs.
    fn check_tables(&mut self, making: &Making) {
        let Some(reader) = self.instances.last() else {
            return;
        };
        let plan::Work::Kind { kind, .. } = &reader.work else {
            return;
        };
        let is_claim = Arc::ptr_eq(kind, &self.catalog.claim_kind);
        let endings = self.catalog.table_endings;
        let is_table = |file: &str| {
            let ending = file.rsplit_once('.').map(|(_, e)| e.to_ascii_lowercase());
            ending.is_none_or(|e| endings.contains(&&*e))
        };
        let mut problems = Vec::new();
        let counted = |need: &&Need| kind.counts.iter().any(|name| **name == *need.name);
        for need in reader.needs.iter().filter(counted) {
            let Some(def) = making.needs.iter().find(|def| def.name == need.name) else {
                continue;
            };
            for item in &need.items {
                let (file, what, other) = match &item.source {
                    Source::Files(files) => {
                        let path = files.at.to_string();
                        let file = path.rsplit('/').next().unwrap_or_default();
                        (file.to_owned(), format!("`{path}` is"), None)
                    }
                    Source::Output { instance, output } => {
                        let producer = &self.instances[instance.0 as usize];
                        let output = &producer.outputs[*output as usize];
                        let inside = item.inside.as_ref();
                        let path = inside.map_or(&output.path, |inside| &inside.path);
                        let (stage, file) = (&producer.stage, path.name());
                        let mut others = producer.outputs.iter().filter(|o| o.name != output.name);
                        let other = others.find(|o| is_table(o.path.name()));
                        let what = format!(
                            "the output `{}` of `{stage}` is the file `{file}`, which is",
                            output.name
                        );
                        let other = other.map(|o| match is_claim {
                            true => format!("`table: {}` names another output", o.name),
                            false => format!("`{stage}.{}` is another output", o.name),
                        });
                        (file.to_owned(), what, other)
                    }
                };
                if is_table(&file) {
                    continue;
                }
                let part = def.items.iter().find(|part| part.group == item.group);
                let span = part.or(def.items.first()).map_or(def.key, |i| i.span);
                let other = other.unwrap_or_else(|| match is_claim {
                    true => "`table: NAME` names another output".to_owned(),
                    false => "name a file that is one".to_owned(),
                });
                let help = format!("tables end in .{}; {other}", endings.join(", ."));
                problems.push(Problem::new(span, format!("{what} no table of numbers")).help(help));
            }
        }
        for problem in problems {
            // What the kind itself has said of it is enough.
            if !self.problems.iter().any(|p| p.span == problem.span) {
                self.once("table", problem);
            }
        }
    }

    /// Reports a problem unless one of its class was reported at its place.
    pub fn once(&mut self, class: &'static str, problem: Problem) {
        if self.reported.insert((problem.span, class)) {
            self.problems.push(problem);
        }
    }

    pub fn make(&mut self, making: &mut Making, row: &[u32]) {
        let values = self.tying.values;
        let axes: Axes = match row {
            [] => making.own_axes.clone(),
            row => making
                .axes
                .iter()
                .zip(row)
                .filter_map(|(a, v)| Some((a.clone(), values.named(*v)?.clone())))
                .collect(),
        };
        let id: Arc<str> = if axes.is_empty() {
            making.consumer_name.clone()
        } else {
            format!("{}[{}]", making.consumer_name, plan::axes_text(&axes)).into()
        };
        let name = making.consumer_name.clone();
        let axis_names = std::mem::take(&mut making.axes);
        let consumer = Consumer {
            stage: None,
            name: &name,
            axes: &axis_names,
            round_axis: making.round_axis,
        };
        let awaited = self.awaited(making, row, &id, &consumer);
        let result = self.fill(making, row, &id, &consumer);
        making.axes = axis_names;
        let broken = result.is_none() || awaited.is_err();
        let (work, needs, outputs) = result.unwrap_or_else(|| {
            (
                plan::Work::Command(Arc::new(Command::default())),
                Vec::new(),
                Arc::from([]),
            )
        });
        let facts = match broken {
            true => super::known::nothing(),
            false => self.find_out(making, &id, &work, &needs, &outputs),
        };
        self.facts.push(facts);
        self.axes.push(axes.clone());
        self.broken.push(broken);
        self.instances.push(Instance {
            id,
            stage: name.clone(),
            axes,
            work,
            needs,
            after: awaited.unwrap_or_default(),
            outputs,
            policy: making.policy.clone(),
            place: making.place.clone(),
        });
        self.check_tables(making);
    }

    /// `None` when a problem was reported.
    fn fill(
        &mut self,
        making: &mut Making,
        row: &[u32],
        id: &Arc<str>,
        consumer: &Consumer,
    ) -> Option<(plan::Work, Vec<Need>, Arc<[OutputSpec]>)> {
        let values = self.tying.values;
        let mut ok = true;
        let mut needs = Vec::with_capacity(making.needs.len());
        for at in 0..making.needs.len() {
            match self.need(making, at, row, id, consumer) {
                Ok(Some(need)) => needs.push(need),
                Ok(None) => {}
                Err(()) => ok = false,
            }
        }
        // The kind is asked for the outputs even when a need is broken: what else is wrong should
        // be known at once.
        let names: Vec<String> = if ok {
            needs.iter().map(|n| n.name.to_string()).collect()
        } else {
            making.needs.iter().map(|n| n.name.to_string()).collect()
        };
        let (work, outputs) = match &mut making.work {
            Work::Broken => return None,
            Work::Kind(kind) => {
                let kind_spec = kind.kind.clone();
                for spec in kind_spec
                    .inputs
                    .iter()
                    .filter(|i| i.required && i.name != "*")
                {
                    // A need that is written but absent in this round; one that is not written at
                    // all is reported per stage.
                    if ok
                        && !names.iter().any(|n| *n == spec.name)
                        && let Some(need) = making.needs.iter().find(|n| *n.name == *spec.name)
                    {
                        let problem = Problem::new(need.items.first().map_or(need.key, |i| i.span), format!("the kind `{}` requires `{}`, and this binding is absent in round 0", kind_spec.name, spec.name))
                            .help("say under `first:` what it is in round 0");
                        self.once("required", problem);
                        return None;
                    }
                }
                for need in &needs {
                    let spec = kind_spec
                        .inputs
                        .iter()
                        .find(|i| i.name == *need.name)
                        .or_else(|| kind_spec.inputs.iter().find(|i| i.name == "*"));
                    if need.many && spec.is_some_and(|s| !s.many) {
                        let key = making
                            .needs
                            .iter()
                            .find(|n| n.name == need.name)
                            .map_or(making.key, |n| n.items.first().map_or(n.key, |i| i.span));
                        let problem = Problem::new(
                            key,
                            format!(
                                "the input `{}` of `{}` takes one artifact, not several",
                                need.name, kind_spec.name
                            ),
                        )
                        .help("refer to one: `stage.output` or `stage[axis=value].output`");
                        self.once("many", problem);
                        ok = false;
                    }
                }
                let params = kind.params(id, row, &names, consumer, values)?;
                (
                    plan::Work::Kind {
                        kind: kind_spec,
                        params: params.params,
                    },
                    params.outputs,
                )
            }
            Work::Command(command) => {
                let outputs = match command.outputs(row, consumer, values) {
                    Ok(outputs) => outputs,
                    Err(problem) => {
                        self.once("outputs", problem);
                        return None;
                    }
                };
                if !ok {
                    return None;
                }
                for output in outputs.iter() {
                    let hit = needs.iter().find(|n| {
                        n.items.iter().any(|i| {
                            i.placed_at.is_within(&output.path)
                                || output.path.is_within(&i.placed_at)
                        })
                    });
                    if let Some(need) = hit {
                        let problem = Problem::new(
                            command.output_span(&output.name),
                            format!(
                                "the output `{}` would be written over the input `{}`",
                                output.name, need.name
                            ),
                        )
                        .help("give the output another path");
                        self.once("over", problem);
                        return None;
                    }
                }
                match command.command(row, consumer, values, &needs, &outputs) {
                    Ok(made) => (plan::Work::Command(made), outputs),
                    Err(problem) => {
                        self.once("command", problem);
                        return None;
                    }
                }
            }
        };
        ok = ok && self.places_differ(making, &needs);
        ok.then_some((work, needs, outputs))
    }
}

/// What a kind says about its inputs, checked once per stage.
fn check_needs(making: &Making, problems: &mut Vec<Problem>) {
    let Work::Kind(KindWork { kind, .. }) = &making.work else {
        return;
    };
    let any = kind.inputs.iter().any(|i| i.name == "*");
    for need in &making.needs {
        if !any && !kind.inputs.iter().any(|i| i.name == *need.name) {
            problems.push(
                Problem::new(
                    need.key,
                    format!("the kind `{}` has no input `{}`", kind.name, need.name),
                )
                .suggest(&need.name, kind.inputs.iter().map(|i| &*i.name)),
            );
        }
    }
    for at in making
        .needs
        .iter()
        .flat_map(|n| &n.items)
        .filter_map(|i| i.at.as_ref())
    {
        problems.push(
            Problem::new(
                at.span,
                format!("`at` is for commands, and `{}` is a kind", kind.name),
            )
            .help("write the input alone: `stage.output`"),
        );
    }
    let no_needs = making.needs.is_empty().then_some("needs");
    for spec in kind.inputs.iter().filter(|i| i.required) {
        let missing = if spec.name == "*" {
            making.needs.is_empty()
        } else {
            !making.needs.iter().any(|n| *n.name == *spec.name)
        };
        if missing && spec.name == "*" {
            problems.push(
                Problem::new(
                    making.key,
                    format!("the kind `{}` needs at least one input", kind.name),
                )
                .help("add `needs: {NAME: STAGE.OUTPUT}`")
                .lacks(["needs"]),
            );
        } else if missing {
            problems.push(
                Problem::new(
                    making.key,
                    format!(
                        "the kind `{}` requires the input `{}`",
                        kind.name, spec.name
                    ),
                )
                .help(format!(
                    "add `needs: {{{}: STAGE.OUTPUT}}`: {}",
                    spec.name, spec.doc
                ))
                .lacks([&*spec.name].into_iter().chain(no_needs)),
            );
        }
    }
}
