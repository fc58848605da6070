//! Claims about an axis: values rise or fall along it, or the best of them lies between two of its
//! numbers. Decides which runs make a group or a repetition; the tests are those of
//! [`crate::stats`].

use std::collections::BTreeMap;

use serde::Serialize;

use super::expect::{Best, Direction, Expect};
use super::runs::{Run, gathered};
use super::verdict::Verdict;
use super::{Measure, Params, json};
use crate::failure::Failure;
use crate::kinds::statistics::asked::percent;
use crate::observations::{Candidate, observations};
use crate::series::{Extreme, axes_text};
use crate::stats::{Made, clopper_pearson, jonckheere, mean, sign_test, summarise};
use crate::task::Task;

/// `verdict.json` of a claim about an axis; fields in alphabetical order.
#[derive(Debug, Serialize)]
struct Report {
    /// The groups, in the order of the axis.
    along: Vec<Group>,
    /// Where each repetition has its best value, or its equal ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    best: Option<BTreeMap<String, Vec<f64>>>,
    confidence: f64,
    /// The share of pairs of runs that rise less that of those that fall; or the share of
    /// repetitions whose best lies there.
    estimate: Option<f64>,
    expect: Expect,
    #[serde(skip_serializing_if = "Option::is_none")]
    family: Option<String>,
    high: Option<f64>,
    low: Option<f64>,
    n: usize,
    /// Two-sided.
    p: Option<f64>,
    reason: String,
    runs: usize,
    /// Jonckheere's and Terpstra's, and where its distribution comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    trend: Option<Statistic>,
    /// Repetitions that lack a number of the axis.
    unmatched: Vec<String>,
    verdict: Verdict,
}

/// Runs at one number of the axis.
#[derive(Debug, Serialize)]
struct Group {
    at: f64,
    mean: f64,
    n: usize,
    sd: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Statistic {
    distribution: Made,
    pairs: usize,
    statistic: f64,
}

/// The verdict file, and what is said aloud.
pub(super) fn decide(
    measure: &Measure,
    axis: &str,
    params: &Params,
    task: &Task,
) -> anyhow::Result<(String, Vec<String>)> {
    let runs = gathered(measure, task)?;
    let mut placed: Vec<(f64, &Run)> = Vec::new();
    for run in &runs {
        let value = run.key.get(axis);
        let Some(at) = value.and_then(serde_json::Value::as_f64) else {
            let found = value.map_or_else(|| "nothing".to_owned(), ToString::to_string);
            anyhow::bail!(
                Failure::new(format!(
                    "`along: {axis}` needs numbers, and {} has {found} there",
                    axes_text(&run.key)
                ))
                .hint("name an axis whose values are numbers")
            );
        };
        placed.push((at, run));
    }
    placed.sort_by(|a, b| a.0.total_cmp(&b.0));
    let groups: Vec<&[(f64, &Run)]> = placed.chunk_by(|a, b| a.0 == b.0).collect();
    if groups.len() < 2 {
        anyhow::bail!(
            Failure::new(format!("`{axis}` has one value only"))
                .hint("a claim along an axis needs runs at two numbers of it at least")
        );
    }
    match (params.expect.trend, params.expect.best) {
        (Some(direction), _) => trend(measure, axis, direction, params, &groups),
        (None, Some(best)) => vote(measure, axis, best, params, &groups),
        (None, None) => anyhow::bail!("`along` goes with `trend` or `best`"),
    }
}

fn trend(
    measure: &Measure,
    axis: &str,
    direction: Direction,
    params: &Params,
    groups: &[&[(f64, &Run)]],
) -> anyhow::Result<(String, Vec<String>)> {
    for (i, group) in groups.iter().enumerate() {
        let earlier = || groups[..i].iter().flat_map(|g| g.iter());
        for (_, run) in *group {
            if let Some((_, other)) = earlier().find(|(_, other)| run.ties.is_chained(&other.ties))
            {
                anyhow::bail!(
                    Failure::new(format!(
                        "{} and {} are one action, or one was made from the other: they are no two observations along `{axis}`",
                        axes_text(&other.key),
                        axes_text(&run.key)
                    ))
                    .hint("compare two of them, paired by what repeats the experiment")
                );
            }
        }
    }
    let mut warnings = Vec::new();
    let (mut values, mut shown) = (Vec::new(), Vec::new());
    for group in groups {
        let candidates = group.iter().map(|(_, run)| run.candidate()).collect();
        let seen = observations(candidates, &measure.over.0);
        warnings.extend(seen.told("run", "runs"));
        shown.extend(described(group[0].0, &seen.values));
        values.push(seen.values);
    }
    let Some(found) = jonckheere(&values) else {
        anyhow::bail!("groups without runs");
    };
    let confidence = params.expect.confidence;
    let p = (2.0 * found.rising.min(found.falling)).min(1.0);
    let goes = match found.rising < found.falling {
        true => Direction::Increasing,
        false => Direction::Decreasing,
    };
    let verdict = match (p <= 1.0 - confidence, goes == direction) {
        (false, _) => Verdict::Inconclusive,
        (true, true) => Verdict::Holds,
        (true, false) => Verdict::Refuted,
    };
    let word = match (verdict, goes) {
        (Verdict::Inconclusive, _) => "neither rise nor fall clearly",
        (_, Direction::Increasing) => "rise",
        (_, Direction::Decreasing) => "fall",
    };
    let n = values.iter().map(Vec::len).sum();
    let report = Report {
        reason: format!(
            "values {word} along `{axis}` ({n} runs at {} numbers; Jonckheere–Terpstra p = {p:.4}, two-sided, level {} %)",
            groups.len(),
            percent(1.0 - confidence)
        ),
        along: shown,
        best: None,
        confidence,
        estimate: Some(found.concordance()),
        expect: params.expect.clone(),
        family: params.family.clone(),
        high: None,
        low: None,
        n,
        p: Some(p),
        runs: groups.iter().map(|g| g.len()).sum(),
        trend: Some(Statistic {
            distribution: found.made,
            pairs: found.pairs,
            statistic: found.statistic,
        }),
        unmatched: Vec::new(),
        verdict,
    };
    warnings.dedup();
    Ok((json(&report)?, warnings))
}

fn vote(
    measure: &Measure,
    axis: &str,
    best: Best,
    params: &Params,
    groups: &[&[(f64, &Run)]],
) -> anyhow::Result<(String, Vec<String>)> {
    let over = &measure.over.0;
    // Of each repetition the runs at each number of the axis.
    let mut repetitions: BTreeMap<String, Vec<Vec<&Run>>> = BTreeMap::new();
    for (at, group) in groups.iter().enumerate() {
        for (_, run) in *group {
            let mut key = run.key.clone();
            key.retain(|name, _| over.contains(name));
            let empty = || vec![Vec::new(); groups.len()];
            repetitions.entry(axes_text(&key)).or_insert_with(empty)[at].push(run);
        }
    }
    let (mut unmatched, mut candidates, mut bests) = (Vec::new(), Vec::new(), BTreeMap::new());
    for (name, curve) in repetitions {
        if let Some(missing) = curve.iter().position(Vec::is_empty) {
            let at = groups[missing][0].0;
            unmatched.push(format!("{name}: no run at {axis}={at}"));
            continue;
        }
        let values: Vec<f64> = curve
            .iter()
            .map(|runs| mean(&Vec::from_iter(runs.iter().map(|r| r.value))))
            .collect();
        let top = values.iter().copied().reduce(match best.is {
            Extreme::Max => f64::max,
            Extreme::Min => f64::min,
        });
        let at: Vec<f64> = groups
            .iter()
            .zip(&values)
            .filter(|(_, value)| Some(**value) == top)
            .map(|(group, _)| group[0].0)
            .collect();
        let [low, high] = best.between;
        let inside = at.iter().filter(|x| (low..=high).contains(*x)).count();
        let mut members = curve.iter().flatten();
        let Some(first) = members.next() else {
            continue;
        };
        let mut axes = first.key.clone();
        axes.retain(|name, _| over.contains(name));
        candidates.push(Candidate {
            axes,
            value: match inside {
                0 => 0.0,
                n if n == at.len() => 1.0,
                _ => 0.5,
            },
            ties: members.fold(first.ties.clone(), |all, run| all.and(&run.ties)),
        });
        bests.insert(name, at);
    }
    let seen = observations(candidates, over);
    // A repetition with equal best values on both sides of an end says neither.
    let yes = seen.values.iter().filter(|v| **v > 0.5).count();
    let no = seen.values.iter().filter(|v| **v < 0.5).count();
    let (n, confidence) = (yes + no, params.expect.confidence);
    let interval = (n > 0).then(|| clopper_pearson(yes, n, confidence));
    let verdict = match interval {
        Some(i) if i.low > 0.5 => Verdict::Holds,
        Some(i) if i.high < 0.5 => Verdict::Refuted,
        _ => Verdict::Inconclusive,
    };
    let [low, high] = best.between;
    let mut warnings = Vec::from_iter(seen.told("repetition", "repetitions"));
    warnings.extend(
        unmatched
            .iter()
            .map(|text| format!("{text}: the repetition is left out")),
    );
    let shown = groups.iter().flat_map(|group| {
        let values: Vec<f64> = group.iter().map(|(_, run)| run.value).collect();
        described(group[0].0, &values)
    });
    let report = Report {
        along: shown.collect(),
        best: Some(bests),
        confidence,
        estimate: (n > 0).then(|| yes as f64 / n as f64),
        expect: params.expect.clone(),
        family: params.family.clone(),
        high: interval.map(|i| i.high),
        low: interval.map(|i| i.low),
        n,
        p: (n > 0).then(|| sign_test(&seen.values, 0.5, 0.0)),
        reason: match interval {
            None => format!("no repetition has its best `{}` at one place", measure.of),
            Some(i) => format!(
                "the best `{}` lies between {low} and {high} of `{axis}` in {yes} of {n} repetitions; the {} % interval of that \
                 share is [{:.4}, {:.4}]{}",
                measure.of,
                percent(confidence),
                i.low,
                i.high,
                match verdict {
                    Verdict::Inconclusive => ", which does not exclude one half",
                    _ => "",
                }
            ),
        },
        runs: groups.iter().map(|g| g.len()).sum(),
        trend: None,
        unmatched,
        verdict,
    };
    Ok((json(&report)?, warnings))
}

/// A group as it is shown; `None` without values.
fn described(at: f64, values: &[f64]) -> Option<Group> {
    // The confidence matters not: no interval is shown.
    let s = summarise(values, 0.95)?;
    Some(Group {
        at,
        mean: s.mean,
        n: s.n,
        sd: s.sd,
    })
}
