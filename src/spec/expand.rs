//! The plan from the tied table: every instance, its parameters checked, its inputs resolved to numbers.
//!
//! Instances are numbered before any is made, so a reference is a lookup. What is wrong with many instances in the same way is
//! reported once, with the first as its example.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::claims::ClaimDef;
use super::diagnostic::{Problem, Span};
use super::matrix::ABSENT;
use super::needs::{Consumer, NeedDef, Target, Tying, artifact, placed};
use super::order;
use super::refs::Link;
use super::stages::{Named, Table};
use super::work::{KindWork, Work};
use crate::catalog::{Kind, OutputSpec};
use crate::plan::{
    self, Axes, Claim, Command, Instance, InstanceIndex, Need, NeedItem, Place, Source,
};
use crate::relpath::RelPath;

/// The most instances a plan may have.
const MAX_INSTANCES: u64 = 4_000_000;

/// Where the instances of a stage are: row `r` is number `base + r / round * stride + r % round`.
#[derive(Clone, Copy, Default)]
struct Span32 {
    base: u32,
    round: u32,
    stride: u32,
}

/// Producers before consumers, as top-level entries; the inner order of loops beside it.
pub struct Order {
    units: Vec<Named>,
    inner: Vec<Vec<usize>>,
    spans: Vec<Span32>,
    total: u32,
}

/// Orders all stages, or names the cycles.
pub fn arrange(
    table: &Table,
    needs: &[Vec<NeedDef>],
    problems: &mut Vec<Problem>,
) -> Option<Order> {
    let mut unit_of = vec![0; table.stages.len()];
    for (unit, named) in table.order.iter().enumerate() {
        match *named {
            Named::Stage(s) => unit_of[s] = unit,
            Named::Loop(l) => table.loops[l]
                .stages
                .iter()
                .for_each(|&s| unit_of[s] = unit),
        }
    }
    let mut outer: Vec<Vec<usize>> = vec![Vec::new(); table.order.len()];
    let mut within: Vec<Vec<usize>> = vec![Vec::new(); table.stages.len()];
    let mut first_link: HashMap<(usize, usize), Span> = HashMap::new();
    for (stage, list) in needs.iter().enumerate() {
        let home = table.stages[stage].home;
        let mut links = Vec::new();
        list.iter()
            .flat_map(|n| &n.items)
            .for_each(|item| item.target.links(&mut links, home, table));
        for link in links {
            let (from, to) = (unit_of[stage], unit_of[link.stage]);
            if from != to || home.is_none() {
                outer[from].push(to);
                first_link.entry((from, to)).or_insert(link.span);
            } else {
                within[stage].push(link.stage);
            }
        }
    }
    let mut ok = true;
    let mut cycle = |nodes: Vec<(String, Span)>, at: Option<Span>| {
        let names: Vec<&str> = nodes.iter().map(|(n, _)| n.as_str()).collect();
        let mut problem = Problem::new(
            at.unwrap_or(nodes[0].1),
            format!("stages need each other in a circle: {}", names.join(" → ")),
        )
        .label("this need closes the circle");
        if nodes.len() > 2 {
            for (name, span) in &nodes[1..nodes.len() - 1] {
                problem = problem.also(*span, format!("`{name}` is part of it"));
            }
        }
        problems.push(
            problem.help("remove one of these needs, or make the circle a loop with `rounds`"),
        );
        ok = false;
    };
    let units = match order::sort(&outer) {
        Ok(units) => units,
        Err(found) => {
            let named = |&u: &usize| match table.order[u] {
                Named::Stage(s) => (table.stages[s].name.to_string(), table.stages[s].key),
                Named::Loop(l) => (table.loops[l].name.to_string(), table.loops[l].key),
            };
            cycle(
                found.iter().map(named).collect(),
                first_link.get(&(found[0], found[1])).copied(),
            );
            Vec::new()
        }
    };
    let mut inner = Vec::new();
    for this in &table.loops {
        let local = |s: &usize| this.stages.iter().position(|t| t == s);
        let needs: Vec<Vec<usize>> = this
            .stages
            .iter()
            .map(|&s| within[s].iter().filter_map(local).collect())
            .collect();
        match order::sort(&needs) {
            Ok(sorted) => inner.push(sorted.into_iter().map(|i| this.stages[i]).collect()),
            Err(found) => {
                cycle(
                    found
                        .iter()
                        .map(|&i| {
                            (
                                table.stages[this.stages[i]].name.to_string(),
                                table.stages[this.stages[i]].key,
                            )
                        })
                        .collect(),
                    None,
                );
                inner.push(Vec::new());
            }
        }
    }
    let total: u64 = table.stages.iter().map(|s| s.rows.rows.len() as u64).sum();
    if total > MAX_INSTANCES {
        let largest = table.stages.iter().max_by_key(|s| s.rows.rows.len());
        problems.push(Problem::new(
            largest.map_or(Span::start_of(0), |s| s.key),
            format!("the study has {total} instances; the limit is {MAX_INSTANCES}"),
        ));
        ok = false;
    }
    ok.then(|| {
        number(
            table,
            units.into_iter().map(|u| table.order[u]).collect(),
            inner,
        )
    })
}

fn number(table: &Table, units: Vec<Named>, inner: Vec<Vec<usize>>) -> Order {
    let mut spans = vec![Span32::default(); table.stages.len()];
    let mut next = 0;
    for unit in &units {
        match *unit {
            Named::Stage(s) => {
                let rows = table.stages[s].rows.rows.len() as u32;
                spans[s] = Span32 {
                    base: next,
                    round: rows.max(1),
                    stride: 0,
                };
                next += rows;
            }
            Named::Loop(l) => {
                let count = table.loops[l].count.max(1);
                let rows = |s: usize| table.stages[s].rows.rows.len() as u32 / count;
                let stride: u32 = inner[l].iter().map(|&s| rows(s)).sum();
                let mut base = next;
                for &s in &inner[l] {
                    spans[s] = Span32 {
                        base,
                        round: rows(s).max(1),
                        stride,
                    };
                    base += rows(s);
                }
                next += stride * count;
            }
        }
    }
    Order {
        units,
        inner,
        spans,
        total: next,
    }
}

/// Everything a stage needs to make its instances.
struct Making {
    consumer_name: Arc<str>,
    axes: Vec<Arc<str>>,
    round_axis: Option<usize>,
    needs: Vec<NeedDef>,
    work: Work,
    policy: Arc<plan::Policy>,
    place: Place,
    key: Span,
    /// Placed paths by part of a need and producer (gathers) or file name.
    gathered: HashMap<(usize, usize, u32, u32), RelPath>,
    single: HashMap<(usize, usize, Arc<str>), RelPath>,
}

/// Makes instances in order.
pub struct Expander<'a, 't> {
    tying: Tying<'a>,
    table: &'t Table,
    order: Order,
    instances: Vec<Instance>,
    axes: Vec<Axes>,
    broken: Vec<bool>,
    reported: HashSet<(Span, &'static str)>,
    problems: Vec<Problem>,
    none: Axes,
}

impl<'a, 't> Expander<'a, 't> {
    /// Nothing made yet.
    pub fn new(tying: Tying<'a>, table: &'t Table, order: Order) -> Expander<'a, 't> {
        let total = order.total as usize;
        Expander {
            tying,
            table,
            order,
            instances: Vec::with_capacity(total),
            axes: Vec::with_capacity(total),
            broken: Vec::with_capacity(total),
            reported: HashSet::new(),
            problems: Vec::new(),
            none: Arc::from([]),
        }
    }

    /// Makes all instances of all stages, then those of the claims.
    pub fn run(
        mut self,
        needs: Vec<Vec<NeedDef>>,
        works: Vec<Work>,
        places: &[Place],
        claims: Vec<ClaimDef>,
        claim_kind: &Arc<Kind>,
        place: &dyn Fn(Span) -> Place,
    ) -> (Vec<Instance>, Vec<Claim>, Vec<Problem>) {
        let table = self.table;
        let mut makings: Vec<Making> = needs
            .into_iter()
            .zip(works)
            .zip(&table.stages)
            .zip(places)
            .map(|(((needs, work), stage), place)| Making {
                consumer_name: stage.name.clone(),
                axes: stage.rows.axes.clone(),
                round_axis: stage.round_axis,
                needs,
                work,
                policy: stage.policy.clone(),
                place: place.clone(),
                key: stage.key,
                gathered: HashMap::new(),
                single: HashMap::new(),
            })
            .collect();
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
        let mut made = Vec::new();
        for claim in claims {
            let consumer = Consumer {
                stage: None,
                name: &claim.instance,
                axes: &[],
                round_axis: None,
            };
            let work = KindWork::new(
                claim_kind.clone(),
                claim.with,
                claim.key,
                &consumer,
                self.tying.narrow,
                &mut self.problems,
            )
            .map_or(Work::Broken, Work::Kind);
            let mut making = Making {
                consumer_name: claim.instance.clone(),
                axes: Vec::new(),
                round_axis: None,
                needs: claim.needs,
                work,
                policy: Arc::new(super::policy::plain()),
                place: place(claim.key),
                key: claim.key,
                gathered: HashMap::new(),
                single: HashMap::new(),
            };
            made.push(Claim {
                name: claim.name,
                source: claim.source,
                instance: InstanceIndex(self.instances.len() as u32),
            });
            self.make(&mut making, &[]);
        }
        (self.instances, made, self.problems)
    }

    fn once(&mut self, class: &'static str, problem: Problem) {
        if self.reported.insert((problem.span, class)) {
            self.problems.push(problem);
        }
    }

    fn make(&mut self, making: &mut Making, row: &[u32]) {
        let values = self.tying.values;
        let axes: Axes = match row {
            [] => self.none.clone(),
            row => making
                .axes
                .iter()
                .zip(row)
                .filter(|(_, v)| **v != ABSENT)
                .map(|(a, v)| (a.clone(), values.value(*v).clone()))
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
        let result = self.fill(making, row, &id, &consumer);
        making.axes = axis_names;
        let broken = result.is_none();
        let (work, needs, outputs) = result.unwrap_or_else(|| {
            let nothing = Command {
                script: String::new(),
                shell: Vec::new(),
                env: Default::default(),
                tools: Vec::new(),
            };
            (
                plan::Work::Command(Arc::new(nothing)),
                Vec::new(),
                Arc::from([]),
            )
        });
        self.axes.push(axes.clone());
        self.broken.push(broken);
        self.instances.push(Instance {
            id,
            stage: name.clone(),
            axes,
            work,
            needs,
            outputs,
            policy: making.policy.clone(),
            place: making.place.clone(),
        });
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
        // The kind is asked for the outputs even when a need is broken: what else is wrong should be known at once.
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
                    // A need that is written but absent in this round; one that is not written at all is reported per stage.
                    if ok
                        && !names.contains(&spec.name)
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
                let params = kind.params(id, row, &names, consumer, values, &mut self.problems)?;
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

    /// No two inputs lie at one path unless they are the same.
    fn places_differ(&mut self, making: &Making, needs: &[Need]) -> bool {
        let all = || {
            needs
                .iter()
                .flat_map(|n| n.items.iter().map(move |i| (n, i)))
        };
        let paths = all().any(|(_, i)| matches!(i.source, Source::Path(_)));
        if !paths && needs.iter().all(|n| n.items.len() < 2) {
            return true;
        }
        let mut seen: HashMap<&str, (&Need, &NeedItem)> = HashMap::new();
        for (need, item) in all() {
            if let Some((other, first)) = seen.insert(item.placed_at.as_str(), (need, item)) {
                let same = match (&first.source, &item.source) {
                    (Source::Path(a), Source::Path(b)) => a == b,
                    (
                        Source::Output {
                            instance: a,
                            output: x,
                        },
                        Source::Output {
                            instance: b,
                            output: y,
                        },
                    ) => a == b && x == y,
                    _ => false,
                };
                if !same {
                    let key = making
                        .needs
                        .iter()
                        .find(|n| n.name == need.name)
                        .map_or(making.key, |n| n.key);
                    let problem = Problem::new(
                        key,
                        format!(
                            "two inputs would both be placed at `{}` (one is of the need `{}`)",
                            item.placed_at, other.name
                        ),
                    )
                    .help("rename one of the needs, groups or axis values");
                    self.once("places", problem);
                    return false;
                }
            }
        }
        true
    }

    /// One need of an instance; `None` when it is absent in this round.
    fn need(
        &mut self,
        making: &mut Making,
        at: usize,
        row: &[u32],
        id: &str,
        consumer: &Consumer,
    ) -> Result<Option<Need>, ()> {
        let def = &making.needs[at];
        let mut items: Vec<NeedItem> = Vec::with_capacity(def.items.len());
        let mut many = def.many;
        let mut ok = !def.items.is_empty();
        for (part, item) in def.items.iter().enumerate() {
            let mut target = &item.target;
            if let Target::Binding(first, carry) = target {
                let round = consumer.round_axis.map_or(0, |axis| {
                    self.tying.values.value(row[axis]).as_u64().unwrap_or(0)
                });
                target = match (round, first) {
                    (0, None) => continue,
                    (0, Some(first)) => first,
                    _ => carry,
                };
            }
            let result = match target {
                Target::Broken | Target::Binding(..) => Err(None),
                Target::Path(path) => {
                    items.push(NeedItem {
                        group: item.group.clone(),
                        axes: self.none.clone(),
                        source: Source::Path(path.clone()),
                        placed_at: path.clone(),
                    });
                    Ok(())
                }
                Target::PathPerRow(template, dir) => consumer
                    .text(template, row, self.tying.values, item.span)
                    .and_then(|text| self.tying.path(&text, *dir, item.span))
                    .map_err(Some)
                    .map(|path| {
                        items.push(NeedItem {
                            group: item.group.clone(),
                            axes: self.none.clone(),
                            source: Source::Path(path.clone()),
                            placed_at: path,
                        });
                    }),
                Target::Link(link) => {
                    many |= link.star;
                    let caches = (&mut making.gathered, &mut making.single);
                    self.follow(
                        link,
                        (at, part),
                        &def.name,
                        &item.group,
                        row,
                        id,
                        &mut items,
                        caches,
                    )
                }
                Target::LinkPerRow(template, tied) => {
                    match consumer.text(template, row, self.tying.values, item.span) {
                        Err(problem) => Err(Some(problem)),
                        Ok(text) => match tied.get(&text) {
                            Some(Some(link)) => {
                                many |= link.star;
                                let caches = (&mut making.gathered, &mut making.single);
                                self.follow(
                                    link,
                                    (at, part),
                                    &def.name,
                                    &item.group,
                                    row,
                                    id,
                                    &mut items,
                                    caches,
                                )
                            }
                            _ => Err(None),
                        },
                    }
                }
            };
            if let Err(problem) = result {
                ok = false;
                if let Some(problem) = problem {
                    self.once("need", problem);
                }
            }
        }
        match (ok, items.is_empty()) {
            (false, _) => Err(()),
            (true, true) => Ok(None),
            (true, false) => Ok(Some(Need {
                name: def.name.clone(),
                items,
                many,
            })),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one call site in two forms")]
    fn follow(
        &mut self,
        link: &Link,
        at: (usize, usize),
        need: &Arc<str>,
        group: &Arc<str>,
        row: &[u32],
        id: &str,
        items: &mut Vec<NeedItem>,
        (gathered, single): (
            &mut HashMap<(usize, usize, u32, u32), RelPath>,
            &mut HashMap<(usize, usize, Arc<str>), RelPath>,
        ),
    ) -> Result<(), Option<Problem>> {
        let table = self.table;
        let rows = self.tying.links.follow(link, row, self.tying.values, table);
        if rows.is_empty() || (!link.star && rows.len() > 1) {
            return Err(Some(self.tying.links.not_one(
                link,
                rows.len(),
                id,
                row,
                table,
                self.tying.values,
            )));
        }
        let producer = &table.stages[link.stage];
        let span = self.order.spans[link.stage];
        for row in rows {
            let instance = span.base + row / span.round * span.stride + row % span.round;
            let Some(made) = self.instances.get(instance as usize) else {
                return Err(Some(
                    Problem::new(link.span, format!("`{id}` needs an instance of `{}` that is made after it", producer.name))
                        .help("inside a loop, refer to the same or an earlier round; what follows the loop belongs outside"),
                ));
            };
            if self.broken[instance as usize] {
                return Err(None);
            }
            let output = match &link.output {
                Some(name) => made
                    .outputs
                    .iter()
                    .position(|o| o.name == *name)
                    .ok_or_else(|| {
                        Problem::new(link.span, format!("`{}` has no output `{name}`", made.id))
                            .suggest(name, made.outputs.iter().map(|o| &*o.name))
                    }),
                None if made.outputs.len() == 1 => Ok(0),
                None => Err(Problem::new(
                    link.span,
                    format!(
                        "`{}` has {} outputs: say which",
                        made.id,
                        made.outputs.len()
                    ),
                )
                .suggest("", made.outputs.iter().map(|o| &*o.name))
                .help(format!("write `{}.OUTPUT`", producer.name))),
            };
            let output = output.map_err(Some)?;
            let file = &made.outputs[output];
            let (axes, placed_at) = if link.star {
                let axes = self.axes[instance as usize].clone();
                let path = gathered
                    .entry((at.0, at.1, instance, output as u32))
                    .or_insert_with(|| placed(need, group, &axes, file.path.name()));
                (axes, path.clone())
            } else {
                // The whole path is the key: two outputs may share a last part.
                let path = single
                    .entry((at.0, at.1, file.name.clone()))
                    .or_insert_with(|| placed(need, group, &self.none, file.path.name()));
                let path = if path.name() == file.path.name() {
                    path.clone()
                } else {
                    placed(need, group, &self.none, file.path.name())
                };
                (self.none.clone(), path)
            };
            items.push(artifact(group, axes, instance, output as u32, placed_at));
        }
        Ok(())
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
                .suggest(&need.name, kind.inputs.iter().map(|i| i.name.as_str())),
            );
        }
    }
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
                .help("add `needs: {NAME: STAGE.OUTPUT}`"),
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
                )),
            );
        }
    }
}
