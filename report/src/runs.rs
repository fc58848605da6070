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
    /// The columns of these runs: the metrics that most of them have.
    pub fn of(arms: &[Arm]) -> Table {
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
        order.sort_by(|a, b| members::order(a.0, b.0, || b.1.cmp(&a.1)));
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
