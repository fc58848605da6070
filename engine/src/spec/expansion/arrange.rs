//! The order of stages and the numbers of their instances, decided before any instance is made.
//!
//! A loop is one entry among the others; inside it, its stages are ordered again and its rounds
//! interleaved.

use std::collections::{HashMap, HashSet};

use super::order;
use crate::spec::text::problem::{Problem, Span};
use crate::spec::tying::after::AfterDef;
use crate::spec::tying::needs::NeedDef;
use crate::spec::tying::stages::{Named, Table};

/// The most instances a plan may have.
const MAX_INSTANCES: u64 = 4_000_000;

/// Where the instances of a stage are: row `r` is number `base + r / round * stride + r % round`.
#[derive(Clone, Copy, Default)]
pub struct Span32 {
    /// See above.
    pub base: u32,
    /// See above.
    pub round: u32,
    /// See above.
    pub stride: u32,
}

impl Span32 {
    /// The number of a row.
    pub fn number(self, row: u32) -> u32 {
        self.base + row / self.round * self.stride + row % self.round
    }
}

/// Producers before consumers, as top-level entries; the inner order of loops beside it.
pub struct Order {
    /// Top-level entries.
    pub units: Vec<Named>,
    /// The stages of every loop.
    pub inner: Vec<Vec<usize>>,
    /// Where the instances of every stage are.
    pub spans: Vec<Span32>,
    /// How many instances there are, without claims.
    pub total: u32,
}

/// Orders all stages, or names the cycles.
pub fn arrange(
    table: &Table,
    needs: &[Vec<NeedDef>],
    after: &[Vec<AfterDef>],
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
    let mut first_link: HashMap<(usize, usize), (Span, Option<String>)> = HashMap::new();
    let (mut waits, mut waits_within) = (HashSet::new(), HashSet::new());
    for (stage, (list, after)) in needs.iter().zip(after).enumerate() {
        let home = table.stages[stage].home;
        let mut links = Vec::new();
        list.iter()
            .flat_map(|n| &n.items)
            .for_each(|item| item.target.links(&mut links, home, table));
        let only_waits = after.iter().flat_map(AfterDef::links);
        let links = links.into_iter().map(|link| (link, false));
        for (link, only_waits) in links.chain(only_waits.map(|link| (link, true))) {
            let (from, to) = (unit_of[stage], unit_of[link.stage]);
            if from != to || home.is_none() {
                outer[from].push(to);
                waits.extend(only_waits.then_some((from, to)));
                first_link
                    .entry((from, to))
                    .or_insert_with(|| (link.span, link.as_file()));
            } else {
                within[stage].push(link.stage);
                waits_within.extend(only_waits.then_some((stage, link.stage)));
            }
        }
    }
    let mut ok = true;
    let mut cycle =
        |nodes: Vec<(String, Span)>, at: Option<Span>, files: Vec<String>, waits: bool| {
            let names: Vec<&str> = nodes.iter().map(|(n, _)| n.as_str()).collect();
            let mut problem = Problem::new(
                at.unwrap_or(nodes[0].1),
                match waits {
                    true => format!(
                        "stages wait for each other in a circle: {}",
                        names.join(" → ")
                    ),
                    false => format!("stages need each other in a circle: {}", names.join(" → ")),
                },
            )
            .label(match waits {
                true => "this closes the circle",
                false => "this need closes the circle",
            });
            if nodes.len() > 2 {
                for (name, span) in &nodes[1..nodes.len() - 1] {
                    problem = problem.also(*span, format!("`{name}` is part of it"));
                }
            }
            problem.help.extend(files);
            problems.push(problem.help(match waits {
                true => "remove one of these from `needs` or `after`",
                false => "remove one of these needs, or make the circle a loop with `rounds`",
            }));
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
                first_link.get(&(found[0], found[1])).map(|(span, _)| *span),
                found
                    .windows(2)
                    .filter_map(|pair| first_link.get(&(pair[0], pair[1]))?.1.clone())
                    .collect(),
                found
                    .windows(2)
                    .any(|pair| waits.contains(&(pair[0], pair[1]))),
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
                    Vec::new(),
                    found.windows(2).any(|pair| {
                        waits_within.contains(&(this.stages[pair[0]], this.stages[pair[1]]))
                    }),
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
