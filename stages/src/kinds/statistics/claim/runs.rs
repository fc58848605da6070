//! From tables to observations: the runs of each side, paired or alone. Decides what is an error,
//! not what a number means.

use std::collections::BTreeMap;

use serde_json::Value;

use super::report::{Report, describe, report};
use super::{Compare, Measure, Params};
use crate::failure::Failure;
use crate::observations::{Candidate, Ties, observations, unaccounted};
use crate::series::{Series, axes_text, compare_axes, read_series};
use crate::stats::{difference, mean};
use crate::task::Task;

pub(super) fn compared(
    compare: &Compare,
    params: &Params,
    task: &Task,
) -> anyhow::Result<(Report, Option<String>)> {
    let expect = &params.expect;
    let side = |name| side(name, task, compare);
    let (a, b) = (side("a")?, side("b")?);
    let without = |one: &[Run], other: &[Run], name: &str| {
        let alone = one.iter().filter(|r| !other.iter().any(|o| o.key == r.key));
        alone
            .map(|r| format!("{name}: {}", axes_text(&r.key)))
            .collect::<Vec<_>>()
    };
    let unmatched = [without(&a, &b, "a"), without(&b, &a, "b")].concat();
    let pairs: Vec<(&Run, &Run)> = a
        .iter()
        .filter_map(|r| Some((r, b.iter().find(|o| o.key == r.key)?)))
        .collect();
    if pairs.is_empty() {
        anyhow::bail!(
            Failure::new(format!(
                "no pair of runs agrees on {}: {}",
                compare.paired_by.0.join(", "),
                unmatched.join("; ")
            ))
            .hint("both stages need the same values on the axes of `paired_by`")
        );
    }
    if expect.ratio.is_some()
        && let Some((a, b)) = pairs.iter().find(|(a, b)| a.value <= 0.0 || b.value <= 0.0)
    {
        anyhow::bail!(
            Failure::new(format!(
                "`ratio` needs positive values; at {}: a is {}, b is {}",
                axes_text(&a.key),
                a.value,
                b.value
            ))
            .hint("use `difference`")
        );
    }
    let over = compare.repeated().unwrap_or_default();
    let observed = |value: &dyn Fn(&Run, &Run) -> f64| {
        let candidate = |(a, b): &(&Run, &Run)| Candidate {
            axes: a.key.clone(),
            value: value(a, b),
            ties: a.ties.and(&b.ties),
        };
        observations(pairs.iter().map(candidate).collect(), &over)
    };
    let (seen, scale) = if expect.ratio.is_some() {
        let logs = pairs
            .iter()
            .flat_map(|(a, b)| [libm::log(a.value), libm::log(b.value)]);
        let scale = logs.fold(1.0, |scale: f64, log| scale.max(log.abs()));
        (
            observed(&|a, b| libm::log(a.value) - libm::log(b.value)),
            scale,
        )
    } else {
        let values = pairs.iter().flat_map(|(a, b)| [a.value, b.value]);
        let scale = values.fold(0.0, |scale: f64, value| scale.max(value.abs()));
        (observed(&|a, b| difference(a.value, b.value)), scale)
    };
    let sides = (
        describe(
            pairs.iter().map(|p| p.0.shown()),
            &observed(&|a, _| a.value),
        )?,
        Some(describe(
            pairs.iter().map(|p| p.1.shown()),
            &observed(&|_, b| b.value),
        )?),
    );
    report(sides, &seen, scale, params, unmatched)
}

pub(super) fn measured(
    measure: &Measure,
    params: &Params,
    task: &Task,
) -> anyhow::Result<(Report, Option<String>)> {
    let runs = gathered(measure, task)?;
    let seen = observations(runs.iter().map(Run::candidate).collect(), &measure.over.0);
    let scale = runs
        .iter()
        .fold(0.0, |scale: f64, run| scale.max(run.value.abs()));
    let side = describe(runs.iter().map(Run::shown), &seen)?;
    report((side, None), &seen, scale, params, Vec::new())
}

/// The runs that a measurement is made of, in the order of their axes, which are unique.
pub(super) fn gathered(measure: &Measure, task: &Task) -> anyhow::Result<Vec<Run>> {
    let name = if task.inputs("in").is_empty() {
        "a"
    } else {
        "in"
    };
    let series = read_series(task.inputs(name))?;
    let axes: Vec<_> = distinct(&series).iter().map(|s| &s.axes).collect();
    let along = measure.along.as_slice();
    let named = [&measure.over.0[..], &measure.within.0[..], along];
    if let Some((axis, values)) = unaccounted(&axes, &named).first_key_value() {
        let shown: Vec<String> = values.iter().take(4).map(Value::to_string).collect();
        anyhow::bail!(
            Failure::new(format!(
                "the runs differ in `{axis}` ({}), and the claim does not say what that means",
                shown.join(", ")
            ))
            .hint(format!(
                "say `over: {axis}` if it repeats the experiment, `within: {axis}` to average over it within each repetition, or \
                 pick one value: `in: \"stage[{axis}=...,*]\"`"
            ))
        );
    }
    let mut runs = Vec::new();
    for one in &series {
        runs.push(Run {
            key: one.axes.clone(),
            value: one.value(&measure.of, measure.at)?,
            ties: Ties::of(one, name),
        });
    }
    none_is_an_error(name, &runs)?;
    runs.sort_by(|a, b| compare_axes(&a.key, &b.key));
    if let Some(pair) = runs.windows(2).find(|pair| pair[0].key == pair[1].key) {
        anyhow::bail!(
            Failure::new(format!(
                "two runs have the same axes ({})",
                axes_text(&pair[0].key)
            ))
            .hint("say by an axis what tells them apart")
        );
    }
    Ok(runs)
}

/// The series without those that repeat an earlier run.
fn distinct(series: &[Series]) -> Vec<&Series> {
    let mut kept: Vec<&Series> = Vec::new();
    for one in series {
        let is_twin = |other: &&Series| {
            one.chain.is_some()
                && (one.chain, &one.digest, &one.part) == (other.chain, &other.digest, &other.part)
        };
        if !kept.iter().any(is_twin) {
            kept.push(one);
        }
    }
    kept
}

fn none_is_an_error(side: &str, runs: &[Run]) -> anyhow::Result<()> {
    if runs.is_empty() {
        let message = format!("side `{side}` holds no runs: its tables are empty");
        anyhow::bail!(Failure::new(message));
    }
    Ok(())
}

/// One run of a side, or the mean of those within a repetition.
pub(super) struct Run {
    /// The axes that identify it.
    pub key: BTreeMap<String, Value>,
    /// The value claimed of.
    pub value: f64,
    pub ties: Ties,
}

impl Run {
    fn shown(&self) -> (String, f64) {
        (axes_text(&self.key), self.value)
    }

    pub fn candidate(&self) -> Candidate {
        Candidate {
            axes: self.key.clone(),
            value: self.value,
            ties: self.ties.clone(),
        }
    }
}

/// The runs of a side of a comparison, in the order of their keys, which are unique.
fn side(name: &str, task: &Task, compare: &Compare) -> anyhow::Result<Vec<Run>> {
    let (by, within) = (&compare.paired_by.0, &compare.within.0);
    let series = read_series(task.inputs(name))?;
    let mut groups: Vec<(BTreeMap<String, Value>, Vec<&Series>)> = Vec::new();
    for one in &series {
        let mut key = one.axes.clone();
        key.retain(|axis, _| by.contains(axis));
        match groups.iter_mut().find(|(k, _)| *k == key) {
            Some((_, members)) => members.push(one),
            None => groups.push((key, vec![one])),
        }
    }
    let mut runs = Vec::new();
    for (key, members) in groups {
        let owned: Vec<Series> = members.into_iter().cloned().collect();
        let members = distinct(&owned);
        // Runs are averaged only if they differ in axes of `within`.
        for (i, mine) in members.iter().enumerate() {
            let outer = |s: &Series| -> BTreeMap<String, Value> {
                let axes = s.axes.iter().filter(|(axis, _)| !within.contains(axis));
                axes.map(|(k, v)| (k.clone(), v.clone())).collect()
            };
            let clash = |twin: &&&Series| outer(twin) != outer(mine) || twin.axes == mine.axes;
            if let Some(twin) = members[..i].iter().find(clash) {
                let (mine, other) = (axes_text(&mine.axes), axes_text(&twin.axes));
                let key = axes_text(&key);
                let message = format!(
                    "side `{name}` has two runs with {}: [{other}] and [{mine}]",
                    if key.is_empty() { "no axis" } else { &key }
                );
                anyhow::bail!(Failure::new(message).hint(
                    "pick one of them (`stage[axis=value]`), add the axis that tells them apart to `paired_by`, or average over it: \
                     `within: axis`"
                ));
            }
        }
        let values = members
            .iter()
            .map(|s| s.value(&compare.of, compare.at))
            .collect::<anyhow::Result<Vec<f64>>>()?;
        let mut ties = members.iter().map(|s| Ties::of(s, name));
        let first = ties.next().unwrap_or_default();
        runs.push(Run {
            key,
            value: mean(&values),
            ties: ties.fold(first, |all, one| all.and(&one)),
        });
    }
    none_is_an_error(name, &runs)?;
    runs.sort_by(|a, b| compare_axes(&a.key, &b.key));
    Ok(runs)
}
