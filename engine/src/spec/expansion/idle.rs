//! Axes that change nothing: instances that differ in nothing their key is made of are one
//! execution, and hardly what was meant.
//!
//! Looks at what reads an axis: parameters, texts of commands, joins. What the values are used for
//! is not known here.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::making::Making;
use crate::spec::text::problem::Problem;
use crate::spec::text::reference::Root;
use crate::spec::text::template::Template;
use crate::spec::tying::needs::Target;
use crate::spec::tying::preparing::templates;
use crate::spec::tying::stages::Table;
use crate::spec::tying::values::{ABSENT, Values};
use crate::spec::tying::work::Work;

/// Warns of every axis on which instances differ that differ in nothing else that counts.
pub fn warn(table: &Table, makings: &[Making], values: &Values, warnings: &mut Vec<Problem>) {
    let idle: Vec<Vec<usize>> = makings
        .iter()
        .zip(&table.stages)
        .map(|(making, stage)| match stage.broken {
            true => Vec::new(),
            false => idle_axes(making, &stage.rows.rows, values),
        })
        .collect();
    for (s, stage) in table.stages.iter().enumerate() {
        for &at in &idle[s] {
            let axis = &stage.rows.axes[at];
            if let Some(home) = stage.home {
                // Axes of a loop are those of all its stages: one that reads it is enough.
                let shared = stage.round_axis.is_some_and(|round| at <= round);
                let inner = &table.loops[home].stages;
                let nobody = inner.iter().all(|&i| {
                    idle[i]
                        .iter()
                        .any(|&other| table.stages[i].rows.axes[other] == *axis)
                });
                if shared && (!nobody || inner.first() != Some(&s)) {
                    continue;
                }
            }
            warnings.push(warning(&makings[s], stage, axis, at, values));
        }
    }
}

fn warning(
    making: &Making,
    stage: &crate::spec::tying::stages::Stage,
    axis: &Arc<str>,
    at: usize,
    values: &Values,
) -> Problem {
    let different: HashSet<u32> = stage
        .rows
        .rows
        .iter()
        .map(|row| values.join(row[at]))
        .collect();
    let place = stage
        .rows
        .places
        .get(at)
        .copied()
        .flatten()
        .unwrap_or(stage.key);
    let round = stage.round_axis == Some(at);
    let what = match round {
        true => format!("the rounds of `{}` change nothing", stage.name),
        false => format!("the axis `{axis}` changes nothing in `{}`", stage.name),
    };
    let problem = Problem::new(
        place,
        format!(
            "{what}: instances that differ only in it have one key, are executed once, and are one observation, not {}",
            different.len()
        ),
    );
    match (&making.work, round) {
        (_, true) => {
            problem.help("refer to `${round.NAME}`, or to a stage of the loop, in `needs`")
        }
        (Work::Kind(kind), _) => {
            let known = kind.kind.schema["properties"].get(&**axis).is_some();
            let field = if known { &**axis } else { "FIELD" };
            problem.help(format!("write `with: {{{field}: \"${{matrix.{axis}}}\"}}`"))
        }
        _ => problem.help(format!(
            "refer to `${{matrix.{axis}}}` in `run`, `env` or `outputs`"
        )),
    }
}

/// Axes that nothing reads and on which otherwise equal rows differ.
fn idle_axes(making: &Making, rows: &[Box<[u32]>], values: &Values) -> Vec<usize> {
    let Some(read) = read_axes(making) else {
        return Vec::new();
    };
    let unread: Vec<usize> = (0..making.axes.len())
        .filter(|at| !read.contains(at))
        .collect();
    if unread.is_empty() || rows.len() < 2 {
        return Vec::new();
    }
    let mut first: HashMap<Vec<u32>, usize> = HashMap::new();
    let mut idle = HashSet::new();
    for (i, row) in rows.iter().enumerate() {
        let seen: Vec<u32> = read.iter().map(|&at| row[at]).collect();
        let other = &rows[*first.entry(seen).or_insert(i)];
        let differ = |at: &&usize| {
            let (a, b) = (row[**at], other[**at]);
            a != ABSENT && b != ABSENT && values.join(a) != values.join(b)
        };
        idle.extend(unread.iter().filter(differ).copied());
    }
    let mut idle: Vec<usize> = idle.into_iter().collect();
    idle.sort_unstable();
    idle
}

/// The axes a stage reads, sorted; `None` where something about it is wrong.
fn read_axes(making: &Making) -> Option<Vec<usize>> {
    let mut read = Vec::new();
    let texts = |template: &Template, read: &mut Vec<usize>| {
        for reference in template.references() {
            match reference.root {
                Root::Matrix => {
                    read.extend(making.axes.iter().position(|a| **a == *reference.head()));
                }
                Root::Round => read.extend(making.round_axis),
                _ => {}
            }
        }
    };
    match &making.work {
        Work::Broken => return None,
        Work::Kind(kind) => read.extend(&kind.axes),
        Work::Command(command) => command.templates(&mut |template, _| texts(template, &mut read)),
    }
    for at in making
        .needs
        .iter()
        .flat_map(|n| &n.items)
        .filter_map(|i| i.at.as_ref())
    {
        templates(at, &mut |template, _| texts(template, &mut read));
    }
    let mut targets: Vec<&Target> = making
        .needs
        .iter()
        .flat_map(|n| &n.items)
        .map(|i| &i.target)
        .collect();
    while let Some(target) = targets.pop() {
        match target {
            Target::Broken => return None,
            Target::Files(_) => {}
            Target::FilesPerRow(written) => written.nodes().for_each(|node| {
                templates(node, &mut |template, _| texts(template, &mut read));
            }),
            Target::Link(link) => read.extend(link.reads()),
            Target::LinkPerRow(template, tied) => {
                texts(template, &mut read);
                read.extend(tied.values().flatten().flat_map(|link| link.reads()));
            }
            Target::Binding(first, carry) => {
                read.extend(making.round_axis);
                targets.extend(first.iter().map(|first| &**first));
                targets.push(carry);
            }
            Target::Grown(grown) => {
                read.extend(making.round_axis);
                targets.extend(grown.first.iter().chain(&grown.carry));
            }
        }
    }
    read.sort_unstable();
    read.dedup();
    Some(read)
}
