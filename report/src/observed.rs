//! From tables of metrics to runs, by the shape of the tables alone.
//!
//! Runs that differ only in axes that repeat the experiment are one *arm*. Decides what is one
//! observation, and in which order metrics are told. What is drawn of it is not known here.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use repro_engine::results::metrics::full_name;
use repro_protocol::table::Row;

use crate::MeanOf;
use crate::members;
use crate::study::{Arm, Measured};

/// Which axes are repetitions.
#[derive(Debug, Clone, Default)]
pub struct Repeats {
    /// Those that repeat the experiment.
    pub over: BTreeSet<String>,
    /// Those within one repetition: averaged first.
    pub within: BTreeSet<String>,
}

impl Repeats {
    /// An axis whose values are no arms of their own.
    pub fn is_repetition(&self, axis: &str) -> bool {
        self.over.contains(axis) || self.within.contains(axis)
    }
}

/// The table of an instance.
#[derive(Debug, Clone, Default)]
pub struct Table {
    /// Its stage.
    pub stage: String,
    /// Its axes.
    pub axes: Vec<(String, String)>,
    /// Its rows.
    pub rows: Vec<Row>,
}

/// The name of an arm: its stage, and its axes that are no repetitions.
pub type Name = (String, Vec<(String, String)>);
/// By repetition: its values, one for each axis within it.
pub type Repeated = BTreeMap<String, Vec<f64>>;

/// All that tables say, by arm and metric.
#[derive(Debug, Default)]
pub struct Observed {
    order: Vec<Name>,
    known: HashSet<Name>,
    last: BTreeMap<(Name, String), Repeated>,
    along: BTreeMap<(Name, String), (Course, BTreeMap<i64, Repeated>)>,
    /// Full names of metrics, by their name without the part of the data.
    parts: BTreeMap<String, BTreeSet<String>>,
}

/// What values lie along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Course {
    /// Epochs done.
    Epochs,
    /// Optimizer steps done.
    Steps,
}

/// What is told of the values of other runs.
const STATISTICS: [&str; 6] = ["_mean", "_n", "_runs", "_sd", "_low", "_high"];

/// Whether a table is about other runs: it names their stages, or has nothing but means with their n
/// and what belongs to them. What it says is in their own tables.
pub fn summarises<'a>(rows: impl Iterator<Item = &'a Row> + Clone) -> bool {
    let names: BTreeSet<String> = rows.clone().map(full_name).collect();
    let is_statistic = |name: &String| {
        STATISTICS.iter().any(|ending| {
            let of = name.strip_suffix(ending);
            of.is_some_and(|of| {
                ["mean", "n"]
                    .iter()
                    .all(|s| names.contains(&format!("{of}_{s}")))
            })
        })
    };
    let is_about_others = rows.clone().any(|row| row.stage.is_some());
    is_about_others || (!names.is_empty() && names.iter().all(is_statistic))
}

impl Observed {
    /// Reads tables. Rows about other stages, and means of other runs, are summaries of what is read
    /// anyway.
    pub fn of(tables: &[Table], repeats: &Repeats) -> Observed {
        let mut observed = Observed::default();
        for table in tables {
            observed.add(table, repeats);
        }
        observed
    }

    fn add(&mut self, table: &Table, repeats: &Repeats) {
        let rows = table.rows.iter().filter(|r| r.stage.is_none());
        let rows: Vec<&Row> = rows.collect();
        if summarises(rows.iter().copied()) {
            return;
        }
        let own: Vec<_> = table
            .axes
            .iter()
            .filter(|(a, _)| !repeats.is_repetition(a))
            .cloned()
            .collect();
        let over = table.axes.iter().filter(|(a, _)| repeats.over.contains(a));
        let over: Vec<String> = over.map(|(a, v)| format!("{a}={v}")).collect();
        let has_seed = table.axes.iter().any(|(a, _)| a == "seed");
        let mut latest: BTreeMap<(Name, String, String), ((Option<i64>, Option<i64>), f64)> =
            BTreeMap::new();
        for row in rows.into_iter().filter(|r| r.value.is_finite()) {
            let mut axes = own.clone();
            let mut repetition = over.clone();
            if let Some(run) = &row.run {
                axes.push(("run".to_owned(), run.clone()));
            }
            if let Some(seed) = row.seed.filter(|_| !has_seed) {
                repetition.push(format!("seed={seed}"));
            }
            let name: Name = (table.stage.clone(), axes);
            if !self.known.contains(&name) {
                self.known.insert(name.clone());
                self.order.push(name.clone());
            }
            let (metric, repetition) = (full_name(row), repetition.join(","));
            if row.split.is_some() {
                let parts = self.parts.entry(row.name.clone()).or_default();
                parts.insert(metric.clone());
            }
            let at = (row.epoch, row.step);
            let key = (name.clone(), metric.clone(), repetition.clone());
            match latest.get(&key) {
                Some((there, _)) if *there > at => {}
                _ => drop(latest.insert(key, (at, row.value))),
            }
            let course = match at {
                (Some(epoch), _) => Some((Course::Epochs, epoch)),
                (None, Some(step)) => Some((Course::Steps, step)),
                (None, None) => None,
            };
            if let Some((course, x)) = course {
                let empty = || (course, BTreeMap::new());
                let (known, places) = self.along.entry((name, metric)).or_insert_with(empty);
                if *known == course {
                    let values: &mut Repeated = places.entry(x).or_default();
                    values.entry(repetition).or_default().push(row.value);
                }
            }
        }
        for ((name, metric, repetition), (_, value)) in latest {
            let values = self.last.entry((name, metric)).or_default();
            values.entry(repetition).or_default().push(value);
        }
    }

    /// The names of all arms, in the order of the tables.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        self.order.iter()
    }

    /// The metrics of this name of parts of the data: `test_accuracy` of `accuracy`.
    pub fn of_parts(&self, name: &str) -> impl Iterator<Item = &str> {
        let parts = self.parts.get(name).into_iter().flatten();
        parts.map(String::as_str)
    }

    /// The values of a metric along time.
    pub fn along(&self, name: &Name, metric: &str) -> Option<(Course, &BTreeMap<i64, Repeated>)> {
        let (course, places) = self.along.get(&(name.clone(), metric.to_owned()))?;
        Some((*course, places))
    }

    /// The arms with their last values.
    pub fn arms(&self, mean: MeanOf) -> Vec<Arm> {
        let mut arms = Vec::new();
        for name in &self.order {
            let from = (name.clone(), String::new());
            let own = self.last.range(from..).take_while(|((n, _), _)| n == name);
            let metrics: BTreeMap<String, Measured> = own
                .map(|((_, metric), values)| (metric.clone(), measured(values, mean)))
                .collect();
            arms.push(Arm {
                stage: name.0.clone(),
                axes: name.1.clone(),
                n: metrics.values().map(|m| m.values.len()).max().unwrap_or(0),
                metrics,
            });
        }
        arms
    }
}

/// The values of repetitions, each the mean of what lies within it, and their mean.
pub fn measured(values: &Repeated, mean: MeanOf) -> Measured {
    let means = values
        .iter()
        .map(|(repetition, values)| (repetition.clone(), mean(values).0));
    let values: Vec<(String, f64)> = means.collect();
    let numbers: Vec<f64> = values.iter().map(|(_, v)| *v).collect();
    let (mean, band) = mean(&numbers);
    Measured { mean, band, values }
}

/// The metrics that were measured, those of `first` in front, then those that most have; and those
/// that were set.
pub fn ranked<'a>(arms: &'a [Arm], first: &[String]) -> (Vec<&'a str>, Vec<&'a str>) {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for metric in arms.iter().flat_map(|arm| arm.metrics.keys()) {
        *counts.entry(metric).or_default() += 1;
    }
    let mut metrics: Vec<&str> = counts.keys().copied().collect();
    let rank = |m: &str| first.iter().position(|f| f == m).unwrap_or(usize::MAX);
    metrics.sort_by(|a, b| {
        rank(a)
            .cmp(&rank(b))
            .then(members::order(a, b, || counts[b].cmp(&counts[a])))
    });
    let is_dull = |m: &&str| !first.iter().any(|f| f == m) && is_set(arms, m);
    let (dull, measured) = metrics.into_iter().partition(is_dull);
    (measured, dull)
}

/// Whether a metric was set rather than measured: repetitions have the same values, such as those
/// of a learning rate.
fn is_set(arms: &[Arm], metric: &str) -> bool {
    let measured = || arms.iter().filter_map(|arm| arm.metrics.get(metric));
    let is_same = |m: &Measured| m.values.iter().all(|(_, v)| *v == m.values[0].1);
    measured().any(|m| m.values.len() > 1) && measured().all(is_same)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(stage: &str, names: &[&str]) -> Table {
        let row = |name: &&str| Row {
            run: Some("lr=0.1".into()),
            name: (*name).into(),
            value: 1.0,
            ..Row::default()
        };
        Table {
            stage: stage.into(),
            axes: Vec::new(),
            rows: names.iter().map(row).collect(),
        }
    }

    #[test]
    fn means_of_other_runs_are_no_runs() {
        let tables = [
            table("curve", &["area", "area_mean"]),
            // A program may write means of its own beside other values.
            table("own", &["loss_mean", "loss_n", "accuracy"]),
            // `summarise` of one stage names no other.
            table("curves", &["area_mean", "area_n", "area_sd"]),
        ];
        let observed = Observed::of(&tables, &Repeats::default());
        let stages: Vec<&str> = observed.names().map(|(stage, _)| &**stage).collect();
        assert_eq!(stages, ["curve", "own"]);
    }
}
