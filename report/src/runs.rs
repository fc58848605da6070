//! The table of runs: axes and metrics as columns, repetitions as mean and interval.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use crate::members;
use crate::study::Arm;

/// Columns of metrics that are shown; the CSV file has all.
const METRICS: usize = 8;

/// The table, ready to be written.
pub struct Table {
    /// Names of axes.
    pub axes: Vec<String>,
    /// Names of metrics that are shown.
    pub metrics: Vec<String>,
    /// Names of metrics that are left out.
    pub hidden: Vec<String>,
}

impl Table {
    /// The columns of these runs: the metrics that claims are about (`first`), then those that most
    /// of them have.
    pub fn of(arms: &[Arm], first: &[String]) -> Table {
        let mut axes: Vec<String> = Vec::new();
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for arm in arms {
            for (axis, _) in &arm.axes {
                if !axes.contains(axis) {
                    axes.push(axis.clone());
                }
            }
            for metric in arm.metrics.keys() {
                *counts.entry(metric).or_default() += 1;
            }
        }
        let mut order: Vec<(&str, usize)> = counts.into_iter().collect();
        let rank = |m: &str| first.iter().position(|f| f == m).unwrap_or(usize::MAX);
        order.sort_by(|a, b| {
            let by_rank = rank(a.0).cmp(&rank(b.0));
            by_rank.then_with(|| members::order(a.0, b.0, || b.1.cmp(&a.1)))
        });
        let shown: BTreeSet<&str> = order.iter().take(METRICS).map(|(m, _)| *m).collect();
        let named = |keep: bool| {
            let names = order.iter().map(|(m, _)| *m);
            let mut names: Vec<String> = names
                .filter(|m| shown.contains(m) == keep)
                .map(str::to_owned)
                .collect();
            names.sort_by(|a, b| members::order(a, b, || Ordering::Equal));
            names
        };
        Table {
            axes,
            metrics: named(true),
            hidden: named(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::Measured;

    fn arm(metrics: &[&str]) -> Arm {
        let of = |name: &&str| (name.to_string(), Measured::default());
        Arm {
            metrics: metrics.iter().map(of).collect(),
            ..Arm::default()
        }
    }

    /// Twelve arms have nine metrics each in front of the one that is asked about.
    #[test]
    fn what_claims_are_about_is_among_the_columns() {
        let many = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
        let arms = [arm(&many), arm(&many), arm(&["test_accuracy"])];
        let has = |first: &[String]| {
            let table = Table::of(&arms, first);
            (
                table.metrics.len(),
                table.metrics.contains(&"test_accuracy".to_owned()),
            )
        };
        assert_eq!(has(&[]), (METRICS, false));
        assert_eq!(has(&["test_accuracy".to_owned()]), (METRICS, true));
    }
}
